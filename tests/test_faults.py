"""Faults: locks, full disks, two processes at once, kill -9 and Ctrl-C. What is stored stays whole and can go on."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import WriteLog, log_lines
from drills import State, assert_same, assert_sound, environment, expdb, finish, only_run, python, start, state, take

from expdb.errors import DatabaseError
from expdb.store import upkeep
from expdb.store.sqlite import SqliteDatabase as Database

# Printed with every failure; the moment of a kill follows from it, the state it meets also from the machine.
SEED = int(os.environ.get("EXPDB_TEST_SEED") or random.SystemRandom().randrange(10**6))

# Locks ----------------------------------------------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM run")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("let go", flush=True)
"""


def hold(path: Path) -> "subprocess.Popen[str]":
    """A process that keeps the database locked until a line comes, and then takes back what it did."""
    holder = python(HOLDER, path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def let_go(holder: "subprocess.Popen[str]") -> None:
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()


def test_a_writer_waits_for_another_process_and_says_so_once(
    database: Database, write_log: WriteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expdb.store.sqlite.BUSY_S", 0.05)
    said: list[str] = []
    holder = hold(database.path)
    timer = threading.Timer(0.5, let_go, [holder])
    timer.start()
    with Database(database.path, write=True, warn=said.append) as waiting:
        began = time.monotonic()
        take(waiting, write_log())
        assert time.monotonic() - began > 0.4, "it had to wait"
        assert said == [f"waiting: another process is writing to {database.path}"]
        assert only_run(waiting).name == "a"
    timer.join()
    assert finish(holder) == (0, "let go\n", "")


def test_the_command_waits_for_another_process_and_succeeds(tmp_path: Path, write_log: WriteLog) -> None:
    write_log()
    expdb("ingest", "logs", cwd=tmp_path)
    write_log(epochs=5)
    holder = hold(tmp_path / "runs" / "expdb.db")
    commands = [start(*words, cwd=tmp_path) for words in (("ingest", "logs"), ("edit", "a", "--note", "n"))]
    time.sleep(0.6)
    assert [command.poll() for command in commands] == [None, None], "they wait"
    looked = expdb("ls", cwd=tmp_path)
    assert (looked.returncode, "log" in looked.stdout or "a" in looked.stdout) == (0, True), "readers do not"
    let_go(holder)
    assert [finish(command)[0] for command in commands] == [0, 0]
    assert finish(holder)[0] == 0
    with Database(tmp_path / "runs" / "expdb.db") as database:
        run = only_run(database)
        assert (run.note, run.metrics[0].count) == ("n", 5)


def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path, write_log: WriteLog) -> None:
    write_log()
    expdb("ingest", "logs", cwd=tmp_path)
    holder = hold(tmp_path / "runs" / "expdb.db")
    waiting = start("edit", "a", "--note", "n", cwd=tmp_path)
    time.sleep(0.3)
    assert waiting.poll() is None
    holder.kill()
    finish(holder)
    assert finish(waiting)[0] == 0
    with Database(tmp_path / "runs" / "expdb.db") as database:
        assert only_run(database).note == "n", "and what it had begun is undone"


# Full disks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [1, 2, 4, 6, 8])
def test_a_full_disk_is_said_and_leaves_the_database_sound(
    database: Database, write_log: WriteLog, tmp_path: Path, pages: int
) -> None:
    take(database, write_log("first/a.log", epochs=20))
    before = state(database)
    paths = [write_log(f"logs/{i}.log", epochs=150, salt=i) for i in range(3)]
    (used,) = database.rows("PRAGMA page_count")[0]
    database.rows(f"PRAGMA max_page_count = {used + pages}")
    with pytest.raises(DatabaseError, match="no room left") as refused:
        take(database, *paths)
    assert "free some space" in (refused.value.hint or "")
    assert_same(state(database), before)
    assert upkeep.check(database) == []
    with pytest.raises(DatabaseError, match="no room left"):
        take(database, *paths)
    database.rows("PRAGMA max_page_count = 1000000")
    take(database, *paths)
    with Database.create(tmp_path / "runs" / "fresh.db") as fresh:
        take(fresh, tmp_path / "first" / "a.log")
        take(fresh, *paths)
        assert_same(state(database), state(fresh))
    assert_sound(database)


SMALL_FILES = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from expdb.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
@pytest.mark.parametrize("limit", [5_000, 60_000, 200_000])
def test_a_disk_that_refuses_to_write_ends_in_words(tmp_path: Path, limit: int) -> None:
    (tmp_path / "a.log").write_text("".join(log_lines(3000)))
    process = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, str(limit), "ingest", "a.log", "--db", "a.db"],
        capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment(), timeout=60,
    )  # fmt: skip
    assert process.returncode == 4, process.stderr
    assert "Traceback" not in process.stderr and "a.db" in process.stderr
    again = expdb("ingest", "a.log", "--db", "a.db", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert expdb("db", "check", "--db", "a.db", cwd=tmp_path).returncode == 0


# Two at once ----------------------------------------------------------------------------------------------------------

CREATOR = """
import os, sys
from pathlib import Path
def refuse(*_): raise PermissionError(1, "Operation not permitted")
if sys.argv[1:]: os.link = refuse
from expdb.store.sqlite import SqliteDatabase as Database
print("ready", flush=True)
for line in sys.stdin:
    with Database.create(Path(line.rstrip("\\n"))) as database:
        print(database.rows("SELECT count(*) FROM experiment")[0][0], flush=True)
"""


@pytest.mark.parametrize("links", [(), ("as on a file system where a file has but one name",)])
def test_processes_that_create_one_database_at_once_all_succeed(tmp_path: Path, links: tuple[str, ...]) -> None:
    creators = [python(CREATOR, *links) for _ in range(3)]
    try:
        for process in creators:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for i in range(40):
            for process in creators:
                assert process.stdin is not None
                process.stdin.write(f"{tmp_path / f'{i}.db'}\n")
                process.stdin.flush()
            for process in creators:
                assert process.stdout is not None
                assert process.stdout.readline() == "1\n", finish(process)
    finally:
        ends = [finish(process) for process in creators]
    assert ends == [(0, "", "")] * 3
    for i in range(40):
        with Database(tmp_path / f"{i}.db") as database:
            assert database.rows("PRAGMA journal_mode") == [("wal",)]
            assert_sound(database)


@pytest.mark.parametrize("links", [(), ("as on a file system where a file has but one name",)])
def test_a_reader_that_comes_while_a_database_is_made_finds_it_whole(tmp_path: Path, links: tuple[str, ...]) -> None:
    creator = python(CREATOR, *links)
    assert creator.stdin is not None and creator.stdout is not None
    assert creator.stdout.readline() == "ready\n"
    for i in range(20):
        path = tmp_path / f"{i}.db"
        creator.stdin.write(f"{path}\n")
        creator.stdin.flush()
        while not path.exists():
            pass
        with Database(path) as database:
            assert database.rows("SELECT count(*) FROM experiment") == [(1,)]
        assert creator.stdout.readline() == "1\n"
    assert finish(creator) == (0, "", "")
    assert {one.name.partition(".")[2].partition("-")[0] for one in tmp_path.iterdir()} == {"db"}


@dataclass(frozen=True)
class Project:
    """A folder of logs, what one undisturbed ingest of them stores, and how long it takes."""

    root: Path
    wanted: State
    seconds: float

    @property
    def database(self) -> Path:
        return self.root / "runs" / "expdb.db"

    def start(self, *paths: str, batch_points: int | None) -> "subprocess.Popen[str]":
        return start("ingest", *(paths or ("logs",)), cwd=self.root, batch_points=batch_points)

    def clear(self) -> None:
        shutil.rmtree(self.root / "runs", ignore_errors=True)

    def has_database(self) -> bool:
        """Whether it was made; a file without tables is what a creator leaves that was killed at once."""
        if not self.database.exists():
            return False
        try:
            Database(self.database).close()
        except DatabaseError as error:
            # Killed while it made the tables: the next writer rolls them back.
            assert "is empty" in error.message or "-journal" in error.message
            return False
        return True


def project(root: Path, files: int, epochs: int, batch_points: int | None) -> Project:
    """Logs in folders of a hundred, and a page, read once to know how it ends."""
    for i in range(files):
        folder = root / "logs" / f"{i // 100:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:05}.log").write_text("".join(log_lines(epochs, salt=i)))
    rows = "".join(f"| {i} | 8{i % 10}.{i:02} |\n" for i in range(50))
    (root / "logs" / "page.md").write_text(f"# Page\n\n| config | accuracy |\n| --- | --- |\n{rows}")
    began = time.monotonic()
    code, _, err = finish(start("ingest", "logs", cwd=root, batch_points=batch_points))
    seconds = time.monotonic() - began
    assert (code, err) == (0, "")
    made = Project(root, state(root / "runs" / "expdb.db"), seconds)
    made.clear()
    return made


SMALL_BATCH = 2_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """300 logs, taken in by many short transactions."""
    return project(tmp_path_factory.mktemp("small"), files=300, epochs=20, batch_points=SMALL_BATCH)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """1,200 logs, taken in by many short transactions; the drill has thousands."""
    return project(tmp_path_factory.mktemp("large"), files=1200, epochs=5, batch_points=SMALL_BATCH)


@pytest.mark.parametrize(
    "paths", [[["logs"], ["logs"]], [["logs/000", "logs/page.md", "logs/002"], ["logs/002", "logs/001", "logs/000"]]]
)
def test_two_ingests_at_once_end_as_one(small: Project, paths: list[list[str]]) -> None:
    small.clear()
    both = [small.start(*some, batch_points=SMALL_BATCH) for some in paths]
    ends = [finish(process) for process in both]
    assert [(code, err) for code, _, err in ends] == [(0, ""), (0, "")]
    # The same once more: nothing is left to do, and what was read in whatever order has its name.
    finish(small.start(batch_points=None))
    found = state(small.database)
    if paths[0] == ["logs"]:
        assert_same(found, small.wanted)
    for what in ("sources", "places"):
        assert found[what] == small.wanted[what]
    assert sorted(row[1] for row in found["runs"]) == sorted(row[1] for row in small.wanted["runs"])
    assert_sound(small.database)


# Killed ---------------------------------------------------------------------------------------------------------------


def strike(one: Project, moments: Sequence[float], batch_points: int | None) -> int:
    """Kill an ingest at each moment (a share of its time), check, and let the next go on; how many were struck."""
    struck = 0
    for moment in moments:
        process = one.start(batch_points=batch_points)
        time.sleep(moment * one.seconds)
        process.kill()
        code, _, err = finish(process)
        assert code in (0, -signal.SIGKILL), err
        struck += code != 0
        if one.has_database():
            said = expdb("db", "check", cwd=one.root)
            assert (said.returncode, said.stderr) == (0, ""), said.stdout
            looked = expdb("ls", "--experiments", cwd=one.root)
            assert (looked.returncode, looked.stderr) == (0, "")
    code, _, err = finish(one.start(batch_points=None))
    assert (code, err) == (0, "")
    assert_same(state(one.database), one.wanted)
    assert_sound(one.database)
    return struck


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_kill_9_at_any_moment_leaves_what_can_go_on(large: Project) -> None:
    print(f"EXPDB_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    large.clear()
    # One after the other on one database: each meets what the last one left.
    assert strike(large, [chance.uniform(0.1, 0.9) for _ in range(4)], SMALL_BATCH) > 0


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_kill_9_while_the_database_is_made_leaves_what_can_go_on(tmp_path: Path) -> None:
    print(f"EXPDB_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    tiny = project(tmp_path, files=2, epochs=3, batch_points=None)
    for _ in range(3):
        tiny.clear()
        process = tiny.start(batch_points=None)
        # A database appears with its first byte; strike between that and its tables.
        until = time.monotonic() + 20
        while not tiny.database.exists() and time.monotonic() < until:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        finish(process)
        tiny.has_database()
        assert strike(tiny, [], None) == 0


@pytest.mark.soak
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_kill_9_drill(tmp_path_factory: pytest.TempPathFactory) -> None:
    print(f"EXPDB_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    for batch_points, files, epochs in ((None, 2500, 60), (5_000, 4000, 8)):
        drilled = project(tmp_path_factory.mktemp("drill"), files, epochs, batch_points)
        for _ in range(8):
            drilled.clear()
            moments = [chance.uniform(0, 1) for _ in range(chance.randint(1, 6))]
            print(batch_points, [round(moment * drilled.seconds, 3) for moment in moments])
            strike(drilled, moments, batch_points)


COMMANDS = (
    *(
        "ingest logs",
        "ingest logs/000 --again",
        "ingest logs/001 -e other --copy",
        "ls",
        "compare",
        "db check",
        "db info",
    ),
    *(
        "show @1",
        "blame @2 train/loss 1",
        "edit @3 --note n -s k=1",
        "edit @1 --metric f1=0.5",
        "rm @2",
        "rm @1 --purge",
    ),
    *("rm --purge", "restore", "sql 'SELECT count(*) FROM curve'"),
)


@pytest.mark.soak
def test_everything_at_once_drill(tmp_path: Path) -> None:
    print(f"EXPDB_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    drilled = project(tmp_path, files=200, epochs=6, batch_points=None)
    assert finish(drilled.start(batch_points=None))[0] == 0
    running: list[tuple[str, subprocess.Popen[str]]] = []
    until = time.monotonic() + 60
    done = 0
    while time.monotonic() < until or running:
        while len(running) < 4 and time.monotonic() < until:
            words = chance.choice(COMMANDS)
            running.append((words, start(*shlex.split(words), cwd=tmp_path, batch_points=100)))
        words, process = running.pop(0)
        code, out, err = finish(process)
        done += 1
        # A run that another process has just taken away is not found; nothing else may go wrong.
        assert code == 0 or (code == 3 and "run" in err), (words, code, out, err)
        assert "Traceback" not in err
    print(f"{done} commands")
    assert_sound(drilled.database)


@pytest.mark.skipif(os.name != "posix", reason="SIGINT is POSIX's")
def test_ctrl_c_ends_with_130_and_leaves_what_can_go_on(large: Project) -> None:
    print(f"EXPDB_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    large.clear()
    codes = []
    for _ in range(3):
        process = large.start(batch_points=SMALL_BATCH)
        until = time.monotonic() + 20
        while not large.database.exists() and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.05, 0.3) * large.seconds)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
        codes.append(code)
        assert code in (0, 130), (code, err)
        assert "Traceback" not in err
        # Click turns KeyboardInterrupt into Abort, so that main's own branch for it, and its words, were never met.
        assert code == 0 or "interrupted" in err, "it says that what was stored stays stored"
        said = expdb("db", "check", cwd=large.root)
        assert (said.returncode, said.stderr) == (0, ""), said.stdout
    assert 130 in codes
    assert strike(large, [], None) == 0
