"""Three ways to store a folder of logs: the floor, expdb, MLflow. Each is timed in a process of its own.

The clock covers the work alone: files to stored points. Imports and the making of an empty database come before it.
"""

import argparse
import json
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import logs, processes

FLOOR, OURS, MLFLOW, MLFLOW_EPOCHS = "floor", "expdb", "mlflow", "mlflow-epochs"

_ROWS = 500
_BATCH_POINTS = 200_000
_MLFLOW_BATCH = 1000

_NUMBER = r"([-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?+|nan|inf)"


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of line as the floor knows it. line: its first group is the step, then one group for each label."""

    labels: tuple[str, ...]
    line: re.Pattern[str]


_LEGACY_LABELS = ("loss", "train accuracy", "test accuracy", "use time", "lr")
_LINES_LABELS = ("loss", "loss_cls", "loss_box", "acc", "lr")
SHAPES = {
    # Comma, tab or blanks between fields, any subset of the fields, CRLF. Possessive: a quarter faster than without.
    logs.LEGACY: Shape(
        _LEGACY_LABELS,
        re.compile(
            r"^[ \t]*epoch[ \t]+(\d+)"
            + "".join(rf"(?:[,\t ]++{label.replace(' ', '[ ]++')}[ \t:=]++{_NUMBER})?" for label in _LEGACY_LABELS)
            + r"[,\t ]*\r?$",
            re.MULTILINE,
        ),
    ),
    logs.LINES: Shape(
        _LINES_LABELS,
        re.compile(
            r"^\S++ \S++ - \w++ - INFO - Epoch \[\d++\]\[(\d++)/\d++\]"
            + "".join(rf"(?:[,\t ]++{label}[ \t:=]++{_NUMBER})?" for label in _LINES_LABELS)
            + r"[,\t ]*\r?$",
            re.MULTILINE,
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """What one way took for so many files and points."""

    seconds: float
    files: int
    points: int


def measured(way: str, folder: Path, database: Path, kind: str = logs.LEGACY) -> Timing:
    """Store the folder's logs in a fresh process. The database is made where there is none."""
    processes.flush_disks()
    command = [sys.executable, "-m", "benchmarks.ways", way, str(folder), str(database), "--kind", kind]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
    done = processes.run(command, database.parent, environment)
    return Timing(**json.loads(done.output.splitlines()[-1]))


def into_bare_table(paths: Sequence[Path], database: Path, shape: Shape) -> Timing:
    """The least anyone can do: one regex over each file, many-row INSERTs into a bare table. Nothing else is kept."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS point (metric_id INTEGER, seq INTEGER, step INTEGER, value REAL,"
        " PRIMARY KEY (metric_id, seq)) WITHOUT ROWID"
    )
    full = _insert(_ROWS)

    start = time.perf_counter()
    cells: list[float | None] = []
    metric_id = points = pending = 0
    connection.execute("BEGIN")
    for path in paths:
        for steps, values in curves(path, shape):
            count = len(values)
            row: list[float | None] = [metric_id] * (4 * count)
            row[1::4], row[2::4], row[3::4] = range(count), steps, values
            cells += row
            metric_id += 1
            points += count
            pending += count
        while len(cells) >= 4 * _ROWS:
            connection.execute(full, cells[: 4 * _ROWS])
            del cells[: 4 * _ROWS]
        if pending >= _BATCH_POINTS:
            connection.execute("COMMIT")
            connection.execute("BEGIN")
            pending = 0
    if cells:
        connection.execute(_insert(len(cells) // 4), cells)
    connection.execute("COMMIT")
    timing = _stopped(start, len(paths), points)
    connection.close()
    return timing


def into_expdb(paths: Sequence[Path], database: Path, shape: Shape) -> Timing:
    """`expdb ingest FOLDER` without its start-up and its progress bar, up to the closed database."""
    del shape
    from expdb import ingest
    from expdb.parsers import built_in
    from expdb.store.sqlite import SqliteDatabase

    built_in()
    with SqliteDatabase.create(database) as store:
        start = time.perf_counter()
        items, missing = ingest.collect([str(paths[0].parent)], database)
        outcome = ingest.ingest(store, items, ingest.Request())
    timing = _stopped(start, len(items), sum(one.written.points for one in outcome.done))
    refused = [*missing, *outcome.refused]
    if refused:
        raise refused[0]
    return timing


def into_mlflow(paths: Sequence[Path], database: Path, shape: Shape) -> Timing:
    """Parse with `re`, then log_batch into MLflow's SQLite store: a run per file, the most metrics a call takes."""
    return _into_mlflow(paths, database, shape, _MLFLOW_BATCH)


def into_mlflow_by_epoch(paths: Sequence[Path], database: Path, shape: Shape) -> Timing:
    """The same with a call for each epoch, which is how a training loop logs."""
    return _into_mlflow(paths, database, shape, len(shape.labels))


def _into_mlflow(paths: Sequence[Path], database: Path, shape: Shape, at_once: int) -> Timing:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiment_id = client.create_experiment("logs", artifact_location=str(database.parent / "artifacts"))

    start = time.perf_counter()
    points = 0
    for path in paths:
        run_id = client.create_run(experiment_id, run_name=path.stem).info.run_id
        now_ms = time.time_ns() // 1_000_000
        batch = [
            Metric(label, value, now_ms, step)
            for label, (steps, values) in zip(shape.labels, curves(path, shape), strict=True)
            for step, value in zip(steps, values, strict=True)
        ]
        for at in range(0, len(batch), at_once):
            client.log_batch(run_id, metrics=batch[at : at + at_once])
        points += len(batch)
    return _stopped(start, len(paths), points)


WAYS: dict[str, Callable[[Sequence[Path], Path, Shape], Timing]] = {
    FLOOR: into_bare_table,
    OURS: into_expdb,
    MLFLOW: into_mlflow,
    MLFLOW_EPOCHS: into_mlflow_by_epoch,
}


def curves(path: Path, shape: Shape) -> Iterator[tuple[list[int], list[float]]]:
    """(steps, values) of each label's curve, in the order of the labels; empty where no line has it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [match.groups() for match in shape.line.finditer(file.read())]
    if not rows:
        yield from (([], []) for _ in shape.labels)
        return
    epochs, *columns = zip(*rows, strict=True)
    steps = list(map(int, epochs))
    for texts in columns:
        if None not in texts:
            yield steps, list(map(float, texts))
        else:
            there = [(step, float(text)) for step, text in zip(steps, texts, strict=True) if text is not None]
            yield [step for step, _ in there], [value for _, value in there]


def _insert(rows: int) -> str:
    return f"INSERT INTO point VALUES {','.join(['(?,?,?,?)'] * rows)}"


def _stopped(start: float, files: int, points: int) -> Timing:
    return Timing(time.perf_counter() - start, files, points)


def main() -> None:
    """`python -m benchmarks.ways WAY FOLDER DATABASE`: do it once and print the timing as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--kind", choices=SHAPES, default=logs.LEGACY)
    words = parser.parse_args()
    paths = sorted(words.folder.iterdir())
    print(json.dumps(asdict(WAYS[words.way](paths, words.database, SHAPES[words.kind]))))


if __name__ == "__main__":
    main()
