"""What one call costs a training that logs five metrics: expdb, a bare append to a file, MLflow's SQLite store.

python -m benchmarks.tracking [--calls 20000] [--mlflow-calls 300] [--no-mlflow] [--write]

The bare append formats the same line and flushes it; it is the floor.
"""

import argparse
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.results import Section, median, verdict
from expdb import tracking

# The limit.
LIMIT_MS = 0.05
OURS, FLOOR, MLFLOW = "`run.log`", "floor: a line appended to a file", "`mlflow.log_metrics`, SQLite store"
LABELS = ("train/loss", "train/accuracy", "test/loss", "test/accuracy", "lr")


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of each call."""

    way: str
    calls_ms: tuple[float, ...]


def _values(step: int) -> dict[str, float]:
    return {label: (step + n) / 7.0 for n, label in enumerate(LABELS)}


def timed(way: str, log: Callable[[dict[str, float], int], object], calls: int) -> Timed:
    """Each call by itself, as a training loop has it."""
    spent = []
    for step in range(calls):
        values = _values(step)
        start = time.perf_counter()
        log(values, step)
        spent.append((time.perf_counter() - start) * 1000)
    return Timed(way, tuple(spent))


def into_expdb(folder: Path, calls: int) -> Timed:
    """`run.log` of a run in that folder; its end is not timed. Raises AssertionError where a line is missing."""
    made = tracking.start_run("benchmark", "tracking", db=folder / "runs" / "expdb.db")
    out = timed(OURS, lambda values, step: made.log(values, step=step), calls)
    lines = (made.folder / tracking.POINTS).read_bytes().count(b"\n")
    assert lines == calls, f"{lines} of {calls} lines"
    made.finish()
    return out


def into_file(folder: Path, calls: int) -> Timed:
    """The floor."""
    with (folder / "bare.jsonl").open("a", encoding="utf-8") as file:

        def log(values: dict[str, float], step: int) -> None:
            file.write(json.dumps({"step": step, "metrics": values}) + "\n")
            file.flush()

        return timed(FLOOR, log, calls)


def into_mlflow(folder: Path, calls: int) -> Timed:
    """What MLflow's own client does, in its SQLite store."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("benchmark")
    with mlflow.start_run():
        mlflow.log_metrics(_values(0), step=0)
        return timed(MLFLOW, lambda values, step: mlflow.log_metrics(values, step=step), calls)


def measure(calls: int, mlflow_calls: int, folder: Path) -> list[Timed]:
    """All ways; MLflow only where it is installed and some calls are asked for."""
    out = [into_file(folder, calls), into_expdb(folder, calls)]
    if mlflow_calls and importlib.util.find_spec("mlflow"):
        out.append(into_mlflow(folder, mlflow_calls))
    return out


def section(found: Sequence[Timed]) -> Section:
    """The findings as a page shows them."""
    floor = median(found[0].calls_ms)
    rows = []
    for one in found:
        ordered = sorted(one.calls_ms)
        middle = median(ordered)
        limit = verdict(middle, LIMIT_MS, "ms") if one.way == OURS else ""
        tail = ordered[len(ordered) * 99 // 100]
        rows.append([one.way, f"{len(ordered):,}", f"{middle:.4f}", f"{tail:.4f}", f"{middle / floor:,.1f}", limit])
    header = ["way", "calls", "median ms", "99 % below ms", "of the floor", "limit"]
    text = results.table(header, rows)
    text += f"\nOne call with {len(LABELS)} metrics, in one process; what is logged is in the file when it returns.\n"
    return Section("tracking", "Tracking: one call with five metrics", text)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--mlflow-calls", type=int, default=300)
    parser.add_argument("--no-mlflow", action="store_true")
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        made = section(measure(words.calls, 0 if words.no_mlflow else words.mlflow_calls, Path(at)))
    command = results.command_line("benchmarks.tracking")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
