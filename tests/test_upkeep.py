"""The database as a whole: what the check finds, what it does not mind, and copies made while others write."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from conftest import WriteLog, log_lines
from drills import assert_same, assert_sound, expdb, finish, only_run, other_user, python, state, take

from expdb.errors import DatabaseError, UsageError
from expdb.store import editing, reader, upkeep
from expdb.store.sqlite import SqliteDatabase as Database


def faults(database: Database) -> list[str]:
    """The grave ones."""
    return [fault.text for fault in upkeep.check(database) if fault.grave]


def notes(database: Database) -> list[str]:
    """What is only told."""
    return [fault.text for fault in upkeep.check(database) if not fault.grave]


# What is in it --------------------------------------------------------------------------------------------------------


def test_info_counts_what_there_is(database: Database, write_log: WriteLog) -> None:
    take(database, write_log("logs/a.log"), write_log("logs/b.log", salt=1))
    editing.remove(database, [reader.find_run(database, "b")], now_ms=1)
    found = upkeep.info(database)
    assert found.counts == {"experiment": 2, "run": 2, "metric": 8, "source": 2, "point": 24}
    assert (found.removed, found.journal, found.address) == (1, "wal", database.path)
    assert found.size_bytes >= 4096


# The check ------------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("count", "nonfinite", "first_step", "first_value", "last_step", "last_time_ms"),
    *("last_value", "min_step", "min_value", "max_step", "max_value"),
)


@pytest.mark.parametrize("column", COLUMNS)
def test_the_check_finds_a_summary_that_is_not_its_points(database: Database, write_log: WriteLog, column: str) -> None:
    take(database, write_log())
    assert faults(database) == []
    with database.transaction() as connection:
        connection.execute(f"UPDATE metric SET {column} = coalesce({column}, 0) + 5 WHERE name = 'train/loss'")
    (fault,) = faults(database)
    assert only_run(database).uid[:8] in fault and "train/loss" in fault and f"{column} " in fault


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM point WHERE step = 1",
        "UPDATE point SET value = NULL WHERE step = 0",
        "UPDATE point SET value = 9e999 WHERE step = 2",
        "UPDATE point SET step = 7 WHERE step = 0",
        "UPDATE point SET time_ms = 5 WHERE step = 2",
        "INSERT INTO point (metric_id, seq, step, value) VALUES (1, 99, 99, 0.5)",
    ],
)
def test_the_check_finds_points_that_were_tampered_with(database: Database, write_log: WriteLog, damage: str) -> None:
    take(database, write_log())
    with database.transaction() as connection:
        connection.execute(damage)
    assert faults(database)


@pytest.mark.parametrize(
    ("table", "damage"),
    [
        ("point", "DELETE FROM metric WHERE id = 1"),
        ("metric", "UPDATE metric SET run_id = 77 WHERE id = 1"),
        ("run_source", "DELETE FROM source"),
        ("run", "DELETE FROM experiment WHERE id > 0"),
    ],
)
def test_the_check_finds_rows_that_refer_to_nothing(
    database: Database, write_log: WriteLog, table: str, damage: str
) -> None:
    take(database, write_log())
    with database.transaction() as connection:
        connection.execute(damage)
    assert any(fault.startswith(f"{table} ") and "not there" in fault for fault in faults(database))


def test_the_check_finds_a_changed_log_and_not_a_grown_one(database: Database, write_log: WriteLog) -> None:
    path = write_log(epochs=3)
    take(database, path)
    write_log(epochs=5)
    assert upkeep.check(database) == [], "a log that grew still begins as it was read"
    write_log(epochs=3, salt=1)
    assert faults(database) == ["../logs/a.log: changed since it was ingested"]
    take(database, path)
    assert faults(database) == []
    assert notes(database) == ["../logs/a.log: changed since, and was ingested again"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG" + b"\0" * 5000, b"epoch"])
def test_a_log_that_holds_something_else_now_has_changed(
    database: Database, write_log: WriteLog, content: bytes
) -> None:
    path = write_log()
    take(database, path)
    path.write_bytes(content)
    assert faults(database) == ["../logs/a.log: changed since it was ingested"]


@pytest.mark.parametrize("instead", ["nothing", "folder", "pipe", "dangling"])
def test_a_log_that_is_gone_is_told_and_no_fault(database: Database, write_log: WriteLog, instead: str) -> None:
    path = write_log()
    take(database, path)
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "pipe":
        if os.name != "posix":
            pytest.skip("named pipes among files are POSIX's")
        # Opening it would wait for ever.
        os.mkfifo(path)
    elif instead == "dangling":
        path.symlink_to("nowhere")
    assert faults(database) == []
    assert notes(database) == ["../logs/a.log: no longer there; its numbers are kept"]


def test_a_log_that_may_not_be_read_is_told_and_no_fault(open_folder: Path) -> None:
    user = other_user()
    with Database.create(open_folder / "a.db") as database:
        (open_folder / "a.log").write_text("".join(log_lines(3)))
        take(database, open_folder / "a.log")
    (open_folder / "a.log").chmod(0)
    said = expdb("db", "check", "--db", "a.db", cwd=open_folder, user=user)
    assert (said.returncode, said.stderr) == (0, "")
    assert "a.log: cannot be read: Permission denied" in said.stdout


def test_every_place_of_a_source_is_looked_at(database: Database, write_log: WriteLog) -> None:
    a, b = write_log("logs/a.log"), write_log("logs/b.log")
    take(database, a, b)
    a.unlink()
    b.write_text("epoch 0, loss 9\n")
    assert [fault.text for fault in upkeep.check(database)] == [
        "../logs/b.log: changed since it was ingested",
        "../logs/a.log: no longer there; its numbers are kept",
    ]


def test_a_large_log_is_compared_by_its_first_bytes(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"epoch {i}, loss 0.5\n" for i in range(150_000)))
    take(database, path)
    with path.open("a") as file:
        file.write("epoch 150000, loss 0.5\n")
    assert upkeep.check(database) == []
    with path.open("r+b") as binary:
        binary.seek(2_000_000)
        binary.write(b"#")
    assert faults(database) == ["../a.log: changed since it was ingested"]


def test_the_check_counts_runs_and_ends_with_a_verdict(tmp_path: Path, write_log: WriteLog) -> None:
    path = write_log()
    expdb("ingest", "logs", cwd=tmp_path)
    sound = expdb("db", "check", cwd=tmp_path)
    assert (sound.returncode, sound.stdout) == (0, "1 run checked: sound\n")
    path.write_text("epoch 0, loss 9\n")
    changed = expdb("db", "check", cwd=tmp_path)
    assert (changed.returncode, changed.stdout) == (
        1,
        "FAULT ../logs/a.log: changed since it was ingested\n1 run checked: 1 fault\n",
    )


def test_the_check_sees_one_moment(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    more = iter([write_log("logs/b.log", salt=1)])
    with Database(database.path) as looking:

        def commit_in_between(query: str) -> None:
            if "FROM metric" in query:
                for path in more:
                    take(database, path)
                    with database.transaction() as connection:
                        connection.execute("UPDATE metric SET count = 9")

        looking.connection.set_trace_callback(commit_in_between)
        assert faults(looking) == []
        looking.connection.set_trace_callback(None)
        assert len(faults(looking)) == 8


# Copies ---------------------------------------------------------------------------------------------------------------


def test_a_copy_is_the_whole_database_in_one_file(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    take(database, write_log(epochs=500))
    target = tmp_path / "copies ? #%41.db"
    assert upkeep.backup(database, target) == target.stat().st_size
    assert [path.name for path in tmp_path.iterdir() if "copies" in path.name] == [target.name]
    (tmp_path / "elsewhere").mkdir()
    shutil.move(target, tmp_path / "elsewhere" / "a.db")
    assert_same(state(tmp_path / "elsewhere" / "a.db"), state(database), moved=True)


def test_a_copy_never_replaces_a_file(database: Database, tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("mine")
    (tmp_path / "dangling.db").symlink_to("nowhere")
    for name in ("there.db", "dangling.db", ".", "runs/expdb.db"):
        with pytest.raises(UsageError, match="exists already"):
            upkeep.backup(database, tmp_path / name)
    assert (tmp_path / "there.db").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling.db", "runs", "there.db"]


@pytest.mark.parametrize("name", ["nowhere/a.db", "x" * 300])
def test_a_copy_that_cannot_be_made_says_so_and_leaves_nothing(database: Database, tmp_path: Path, name: str) -> None:
    with pytest.raises(DatabaseError, match="no copy could be made"):
        upkeep.backup(database, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


WRITER = """
import sys
from pathlib import Path
from expdb.store.sqlite import SqliteDatabase as Database
with Database(Path(sys.argv[1]), write=True) as database:
    print("ready", flush=True)
    for n in range(100000):
        # Both rows or none: a copy that holds one of them was torn.
        with database.transaction() as connection:
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"a{n}", "x" * 5000))
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"b{n}", "x" * 5000))
"""


def test_a_copy_made_while_another_process_writes_is_of_one_moment(database: Database, tmp_path: Path) -> None:
    writer = python(WRITER, database.path)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        sizes = []
        for i in range(5):
            target = tmp_path / f"copy{i}.db"
            said = expdb("db", "backup", target, "--db", database.path, cwd=tmp_path)
            assert said.returncode == 0, said.stderr
            with Database(target) as copy:
                sizes.append(copy.rows("SELECT count(*) FROM meta")[0][0])
                assert copy.rows("PRAGMA integrity_check") == [("ok",)]
                assert copy.rows(
                    "SELECT sum(key LIKE 'a%'), sum(key LIKE 'b%') FROM meta WHERE key <> 'schema_version'"
                ) == [((sizes[-1] - 1) / 2, (sizes[-1] - 1) / 2)]
        assert writer.poll() is None, "it wrote all the while"
        assert sizes[0] < sizes[-1] and sizes == sorted(sizes)
    finally:
        writer.kill()
        finish(writer)


COPIER = """
import sys
from pathlib import Path
from expdb.errors import UsageError
from expdb.store import upkeep
from expdb.store.sqlite import SqliteDatabase as Database
with Database(Path(sys.argv[1])) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        upkeep.backup(database, Path(sys.argv[2]))
        print("made")
    except UsageError:
        print("refused")
"""


def test_two_copies_to_one_name_give_one(database: Database, tmp_path: Path, write_log: WriteLog) -> None:
    take(database, write_log(epochs=2000))
    both = [python(COPIER, database.path, tmp_path / "copy.db") for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(finish(process)[1] for process in both) == ["made\n", "refused\n"]
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    assert_same(state(tmp_path / "copy.db"), state(database), moved=True)


def test_a_copy_reads_a_database_nobody_may_write(open_folder: Path) -> None:
    user = other_user()
    with Database.create(open_folder / "a.db") as database:
        (open_folder / "a.log").write_text("".join(log_lines(3)))
        take(database, open_folder / "a.log")
        wanted = state(database)
    (open_folder / "a.db").chmod(0o444)
    (open_folder / "out").mkdir()
    (open_folder / "out").chmod(0o777)
    said = expdb("db", "backup", "out/b.db", "--db", "a.db", cwd=open_folder, user=user)
    assert said.returncode == 0, said.stderr
    assert_same(state(open_folder / "out" / "b.db"), wanted, moved=True)
    assert_sound_file(open_folder / "out" / "b.db")


def assert_sound_file(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_soundness_is_about_removed_runs_too(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    editing.remove(database, [only_run(database).id], now_ms=1)
    assert_sound(database)
    with database.transaction() as connection:
        connection.execute("UPDATE metric SET count = 9 WHERE id = 1")
    assert len(faults(database)) == 1


def test_a_copy_elsewhere_still_finds_its_logs(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    path = write_log("logs/a.log")
    take(database, path)
    (tmp_path / "far" / "away").mkdir(parents=True)
    upkeep.backup(database, tmp_path / "far" / "away" / "b.db")
    with Database(tmp_path / "far" / "away" / "b.db") as copy:
        assert upkeep.check(copy) == []
