"""ingest --watch as a process of its own, while logs grow, rotate, vanish and come to be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Expdb, environment, expdb_in
from conftest import log_lines

from expdb import watch

LIMIT_S = 30.0


class Watched:
    """A watch that runs. out, err: the files it prints into."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.out, self.err = folder / ".out", folder / ".err"
        self.streams = self.out.open("wb"), self.err.open("wb")
        command = [sys.executable, "-m", "expdb", "ingest", "--watch", "--every", "0.1", *words]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=self.streams[0], stderr=self.streams[1]
        )
        self.until(lambda: "watching" in self.said)

    @property
    def said(self) -> str:
        """All it has printed."""
        return self.out.read_text(encoding="utf-8") + self.err.read_text(encoding="utf-8")

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it."""
        ends = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < ends, f"not said: {self.said}"
            assert self.process.poll() is None, f"ended: {self.said}"
            time.sleep(0.02)

    def says(self, text: str) -> None:
        """Wait for it to be printed."""
        self.until(lambda: text in self.said)

    def end(self, by: signal.Signals = signal.SIGINT) -> str:
        """Stop it as a person does; its last line."""
        self.process.send_signal(by)
        assert self.process.wait(LIMIT_S) == 0
        return self.said.splitlines()[-1] if not self.err.read_text() else self.out.read_text().splitlines()[-1]

    def close(self) -> None:
        """Leave nothing running."""
        self.process.kill()
        self.process.wait()
        for stream in self.streams:
            stream.close()


Start = Callable[..., Watched]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a watch in the test's folder."""
    running: list[Watched] = []

    def begin(*words: str) -> Watched:
        running.append(Watched(tmp_path, *words))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    """The command in the same folder."""
    return expdb_in(tmp_path)


def append(path: Path, text: str) -> None:
    """As a training does."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def points(expdb: Expdb) -> list[tuple[str, int]]:
    """(run, points), in the order they were made."""
    rows = expdb(
        "sql", "SELECT r.name, (SELECT sum(count) FROM metric m WHERE m.run_id = r.id) FROM run r", "--format", "csv"
    )
    return [(name, int(n)) for name, n in (line.split(",") for line in rows.stdout.splitlines()[1:])]


def test_a_log_is_followed_from_before_it_is_there(start: Start, expdb: Expdb, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    watched = start("a.log")
    watched.says("a.log: not there yet")
    path.touch()
    watched.says("a.log: empty so far")
    for n, line in enumerate(log_lines(3)):
        append(path, line)
        watched.says("a.log: 1 new run, 4 new points" if n == 0 else "a.log: 4 new points")
        watched.until(lambda n=n: points(expdb) == [("a", 4 * (n + 1))])  # type: ignore[misc]
    append(path, "no metric here\n")
    watched.says("a.log: 1 line not understood")
    last = watched.end()
    assert last.startswith(f"stopped: 1 new run and 12 new points stored in {tmp_path}/runs/expdb.db; the same command")
    assert watched.out.read_text().count("\n") == 4 + 1
    assert expdb("ingest", "a.log").stdout == "known already: 1 file, 0 new runs\n"
    assert expdb("db", "check").returncode == 0


def test_new_files_of_a_folder_are_taken_in_and_what_is_no_log_is_passed_over(
    start: Start, expdb: Expdb, tmp_path: Path
) -> None:
    append(tmp_path / "logs/a.log", "".join(log_lines(2)))
    expdb("ingest", "logs")
    watched = start("logs")
    assert "watching 1 file (1 known already)" in watched.said
    (tmp_path / "logs/plot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "logs/notes.txt").write_text("Nothing here.\n")
    append(tmp_path / "logs/b.log", "".join(log_lines(2, salt=1)))
    watched.says("logs/b.log: 1 new run, 8 new points")
    (tmp_path / "logs/a.log").unlink()
    watched.says("logs/a.log: gone; what was read of it stays")
    append(tmp_path / "logs/b.log", "".join(log_lines(1, first=2, salt=1)))
    watched.says("logs/b.log: 4 new points")
    last = watched.end(signal.SIGTERM)
    assert last.startswith("stopped: 1 new run and 12 new points stored")
    assert points(expdb) == [("a", 8), ("b", 12)]
    assert "notes" not in watched.said and "plot" not in watched.said


def test_a_truncated_and_a_rotated_log_are_told_and_lose_nothing(start: Start, expdb: Expdb, tmp_path: Path) -> None:
    path = tmp_path / "logs/a.log"
    append(path, "".join(log_lines(3)))
    watched = start("logs")
    path.write_text("")
    watched.says("logs/a.log: truncated to nothing; what was read of it stays")
    append(path, "".join(log_lines(2, salt=5)))
    watched.says("logs/a.log: written anew, read as a new source: 1 new run, 8 new points; its earlier runs stay")
    # What is written between the last look and the rotation belongs to the run all the same.
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(log_lines(1, first=2, salt=5)))
        path.rename(tmp_path / "logs/a.log.1")
        path.write_text("".join(log_lines(1, salt=9)), encoding="utf-8")
    watched.says("logs/a.log: replaced by another file")
    watched.until(lambda: len(points(expdb)) == 3)
    watched.end()
    assert sorted(n for _, n in points(expdb)) == [4, 12, 12]
    assert expdb("db", "check").returncode == 0


def test_a_file_that_cannot_be_read_is_told_once_and_stops_no_other(start: Start, expdb: Expdb, tmp_path: Path) -> None:
    append(tmp_path / "logs/a.log", "".join(log_lines(1)))
    watched = start("logs")
    (tmp_path / "logs/bad.log").write_bytes(b"\x00\x01\x02" * 100)
    watched.says("logs/bad.log: not a text file")
    append(tmp_path / "logs/a.log", "".join(log_lines(1, first=1)))
    watched.says("logs/a.log: 4 new points")
    (tmp_path / "logs/bad.log").touch()
    append(tmp_path / "logs/a.log", "".join(log_lines(1, first=2)))
    watched.until(lambda: points(expdb) == [("a", 12)])
    watched.end()
    assert watched.said.count("bad.log") == 1


def test_a_watch_that_prints_into_its_folder_does_not_follow_itself(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "".join(log_lines(1)))
    (tmp_path / "expdb.toml").write_text("[[patterns]]\nname = 'p'\nregex = ': (?P<x>\\d+) new'\n")
    with (tmp_path / "out.txt").open("wb") as out:
        command = [sys.executable, "-m", "expdb", "ingest", "--watch", "--every", "0.1", "."]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=out, stderr=subprocess.STDOUT)
        try:
            ends = time.monotonic() + LIMIT_S
            while "watching" not in (tmp_path / "out.txt").read_text():
                assert time.monotonic() < ends
                time.sleep(0.02)
            time.sleep(0.5)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S) == 0
    assert "out.txt" not in (tmp_path / "out.txt").read_text()


def test_params_come_from_the_paths_of_new_files_too(start: Start, expdb: Expdb, tmp_path: Path) -> None:
    watched = start("--params-from", r"lr(?P<lr>[\d.]+\d)", "*.log")
    append(tmp_path / "a_lr0.1.log", "".join(log_lines(1)))
    append(tmp_path / "b.log", "".join(log_lines(1, salt=1)))
    watched.says("a_lr0.1.log: 1 new run, 4 new points")
    watched.says("b.log: 1 new run, 4 new points, its path says no params")
    watched.end()
    assert expdb("ls", "-w", "lr = 0.1", "--format", "csv").stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--watch", "nowhere/a.log"), 1, "nowhere/a.log: no such file, and no such folder"),
        (("--watch", "--again", "."), 2, "without --again"),
        (("--watch", "--dry-run", "."), 2, "without --again, --copy, --dry-run"),
        (("--watch", "-"), 2, "and -"),
        (("--every", "3", "."), 2, "--every goes with --watch"),
        (("--watch", "--every", "0", "."), 2, "0.1"),
    ],
)
def test_what_cannot_be_watched_is_one_error(expdb: Expdb, words: tuple[str, ...], code: int, said: str) -> None:
    done = expdb("ingest", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_slow_look_is_followed_by_a_longer_rest() -> None:
    assert watch.rest_s(2, 0.1) == 2
    assert watch.rest_s(2, 30) == 60


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_an_idle_watch_takes_no_time(start: Start, tmp_path: Path) -> None:
    append(tmp_path / "a.log", "".join(log_lines(2)))
    watched = start("a.log")

    def used_s() -> float:
        fields = Path(f"/proc/{watched.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used_s()
    time.sleep(1.5)
    assert used_s() - before < 0.3
