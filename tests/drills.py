"""What the drills of the store share: files in, the whole state out, and real processes to disturb."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from expdb import ingest as verb
from expdb.ingest import Outcome, Request
from expdb.store import reader, upkeep
from expdb.store.database import Database
from expdb.store.opening import open_database
from expdb.store.reader import RunRecord

State = dict[str, list[tuple[Any, ...]]]

# Everything a person can see, without ids, uids and times of day: two databases that hold the same are equal.
_STATE = {
    "runs": "SELECT e.name, r.name, r.origin, r.status, r.note, r.seed, r.started_ms, r.ended_ms,"
    " r.deleted_ms IS NULL FROM run r JOIN experiment e ON e.id = r.experiment_id",
    "params": "SELECT e.name, r.name, x.key, x.value, x.number FROM param x JOIN run r ON r.id = x.run_id"
    " JOIN experiment e ON e.id = r.experiment_id",
    "tags": "SELECT e.name, r.name, x.key, x.value FROM tag x JOIN run r ON r.id = x.run_id"
    " JOIN experiment e ON e.id = r.experiment_id",
    "metrics": "SELECT e.name, r.name, m.key, m.name, m.label, m.kind, m.rule, m.unit, m.decimals, m.step_unit,"
    " m.count, m.nonfinite, m.first_step, m.first_value, m.last_step, m.last_time_ms, m.last_value, m.min_step,"
    " m.min_value, m.max_step, m.max_value FROM metric m JOIN run r ON r.id = m.run_id"
    " JOIN experiment e ON e.id = r.experiment_id",
    "points": "SELECT e.name, r.name, m.key, p.seq, p.step, p.epoch, p.value, p.time_ms, p.source_no, p.line"
    " FROM point p JOIN metric m ON m.id = p.metric_id JOIN run r ON r.id = m.run_id"
    " JOIN experiment e ON e.id = r.experiment_id",
    "run_sources": "SELECT e.name, r.name, l.source_no, l.line_first, l.line_last, s.sha256, s.tail_sha256"
    " FROM run_source l JOIN source s ON s.id = l.source_id JOIN run r ON r.id = l.run_id"
    " JOIN experiment e ON e.id = r.experiment_id",
    "sources": "SELECT sha256, tail_sha256, size_bytes, line_count, format, parser_version, encoding, unparsed,"
    " content FROM source",
    "places": "SELECT s.sha256, s.tail_sha256, p.path FROM source_place p JOIN source s ON s.id = p.source_id",
    "edits": "SELECT r.name, x.field, x.key, x.old, x.new FROM edit x JOIN run r ON r.id = x.run_id",
    "experiments": "SELECT name, note, deleted_ms FROM experiment",
}


def state(database: Database | Path) -> State:
    """All that a database holds, in an order of its own."""
    if isinstance(database, Path):
        with open_database(database) as opened:
            return state(opened)
    return {
        what: sorted(database.rows(query), key=lambda row: [(v is not None, str(type(v)), v) for v in row])
        for what, query in _STATE.items()
    }


def assert_same(found: State, wanted: State, *, moved: bool = False) -> None:
    """Say which table differs, and by which rows; a whole diff would be unreadable. moved: places may."""
    for what, rows in wanted.items():
        if found[what] != rows and not (moved and what == "places"):
            extra, gone = set(found[what]) - set(rows), set(rows) - set(found[what])
            some = f"+{sorted(extra, key=str)[:3]} -{sorted(gone, key=str)[:3]}"
            pytest.fail(f"{what}: {len(found[what])} rows, not {len(rows)}; {some}", pytrace=False)


def assert_sound(database: Database | Path) -> None:
    """The check of the store finds nothing grave."""
    if isinstance(database, Path):
        with open_database(database) as opened:
            assert_sound(opened)
        return
    assert [fault.text for fault in upkeep.check(database) if fault.grave] == []


def take(database: Database, *paths: Path | str, **asked: Any) -> Outcome:  # the fields of Request
    """Ingest the paths; every one must be there."""
    items, missing = verb.collect([os.fspath(path) for path in paths], database.address)
    assert missing == []
    return verb.ingest(database, items, Request(**asked))


def runs_of(database: Database) -> dict[str, RunRecord]:
    """The runs that are not removed, by name."""
    found = reader.runs(database)
    assert len({(run.experiment, run.name) for run in found}) == len(found), "names within an experiment are unique"
    return {run.name: run for run in found}


def only_run(database: Database) -> RunRecord:
    """The one run of the database."""
    (run,) = reader.runs(database)
    return run


def curve(database: Database, run: RunRecord, metric: str) -> list[tuple[int | None, float | None]]:
    """(step, value) in the order of arrival."""
    return [(p.step, p.value) for p in reader.points(database, reader.metric_of(database, run, metric).id)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without what a person set for expdb and what coverage would have it do."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EXPDB_", "COV"))}
    return {**kept, "PYTHONUTF8": "1", **more}


def expdb(*words: str | Path, cwd: Path, user: Iterable[str] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. options: of subprocess.run."""
    command = [*user, sys.executable, "-m", "expdb", *map(str, words)]
    settings = {"capture_output": True, "encoding": "utf-8", "timeout": 60, "env": environment(), **options}
    return subprocess.run(command, cwd=cwd, **settings)


def start(*words: str | Path, cwd: Path, batch_points: int | None = None) -> subprocess.Popen[str]:
    """Start the command. batch_points: commit that often, so that few files make many transactions."""
    program = ["-m", "expdb"]
    if batch_points is not None:
        # Ctrl-C during these imports would be met by no command.
        script = (
            "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            f"import expdb.ingest as i; i.BATCH_POINTS = min({batch_points}, i.BATCH_POINTS)\n"
            "from expdb.cli import main; signal.signal(signal.SIGINT, signal.default_int_handler); main()"
        )
        program = ["-c", script]
    command = [sys.executable, *program, *map(str, words)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment()
    )


def python(script: str, *words: str | Path) -> subprocess.Popen[str]:
    """Start a program of a few lines that talks through its pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment(),
    )  # fmt: skip


def finish(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, str, str]:
    """Wait for a process; its exit code, stdout and stderr. It never outlives the test."""
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def other_user() -> list[str]:
    """What to put before a command so that permissions hold for it; skips where root cannot step down."""
    if os.name != "posix":
        pytest.skip("permissions are POSIX's here")
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may read everything, and setpriv is not there to step down")
    words = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*words, sys.executable, "-c", "import expdb.cli"], capture_output=True).returncode:
        pytest.skip("user nobody cannot run this Python")
    return words
