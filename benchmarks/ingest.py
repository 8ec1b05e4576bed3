"""How fast logs become a database: expdb beside the floor and beside MLflow, in one run, and its memory.

python -m benchmarks.ingest [--files 1000] [--epochs 100] [--rounds 5] [--no-mlflow] [--mlflow-files 100] [--write]
python -m benchmarks.ingest --kind lines [--files 10000] [--rounds 3] [--write]
python -m benchmarks.ingest --memory [--large-mb 1024] [--write]
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks import processes, results, ways
from benchmarks.logs import LEGACY, LINES, VALUES, Logs, write_large
from benchmarks.results import Section, median, pairwise_ratio, verdict
from benchmarks.ways import Timing

# The limits: within this many times the floor, at least this many times faster than MLflow.
FLOOR_LIMIT = 2.5
MLFLOW_LIMIT = 100
MEMORY_LIMIT_MB = 300
# From this many files on, a tenth of them is measured too: time should grow as the files do.
LINEAR_FROM = 10_000
# A call for each epoch is so slow in MLflow that a few files tell.
EPOCH_CALL_FILES = 20


@dataclass(frozen=True, slots=True)
class Rounds:
    """The same logs stored in turns: floor, expdb, floor, expdb, ... again: a second ingest, nothing new."""

    logs: Logs
    floor: tuple[Timing, ...]
    ours: tuple[Timing, ...]
    again: tuple[Timing, ...]

    @property
    def floor_s(self) -> float:
        """Median seconds of the floor."""
        return median([one.seconds for one in self.floor])

    @property
    def ours_s(self) -> float:
        """Median seconds of expdb."""
        return median([one.seconds for one in self.ours])

    @property
    def again_s(self) -> float:
        """Median seconds of the second ingest."""
        return median([one.seconds for one in self.again])

    @property
    def ratios(self) -> list[float]:
        """expdb's seconds over the floor's, round by round."""
        return [ours.seconds / floor.seconds for ours, floor in zip(self.ours, self.floor, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return pairwise_ratio([one.seconds for one in self.ours], [one.seconds for one in self.floor])


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of the benchmark found. tenth: a tenth of the files; mlflow, by_epoch: a part of them, once."""

    rounds: Rounds
    tenth: Rounds | None = None
    mlflow: Timing | None = None
    by_epoch: Timing | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """One large log through the command. peak_bytes: resident memory of the whole process."""

    log_bytes: int
    points: int
    seconds: float
    peak_bytes: int
    database_bytes: int


def in_turns(logs: Logs, rounds: int, folder: Path) -> Rounds:
    """Write the logs below the folder and store them in turns, each time in a new process and a new database."""
    source = folder / f"logs{logs.files}"
    logs.write(source)
    floor, ours, again = [], [], []
    for i in range(rounds):
        _progress(f"{logs.files} files, round {i + 1} of {rounds}")
        with tempfile.TemporaryDirectory(dir=folder) as at:
            floor.append(
                _checked(ways.measured(ways.FLOOR, source, Path(at, "floor.db"), logs.kind), logs, logs.points)
            )
            ours.append(_checked(ways.measured(ways.OURS, source, Path(at, "expdb.db"), logs.kind), logs, logs.points))
            again.append(_checked(ways.measured(ways.OURS, source, Path(at, "expdb.db"), logs.kind), logs, 0))
    return Rounds(logs, tuple(floor), tuple(ours), tuple(again))


def measure(logs: Logs, rounds: int, mlflow_files: int, folder: Path) -> Measured:
    """Everything about speed. mlflow_files: 0 leaves MLflow out. folder: empty, for all that is written."""
    tenth = None
    if logs.files >= LINEAR_FROM:
        tenth = in_turns(Logs(logs.files // 10, logs.epochs, logs.seed, logs.kind), rounds, folder)
    whole = in_turns(logs, rounds, folder)
    mlflow = by_epoch = None
    if mlflow_files:
        _progress(f"MLflow, {mlflow_files} files: minutes")
        part = Logs(mlflow_files, logs.epochs, logs.seed)
        part.write(folder / "mlflow-logs")
        mlflow = _checked(ways.measured(ways.MLFLOW, folder / "mlflow-logs", folder / "mlflow.db"), part, part.points)
        few = Logs(min(mlflow_files, EPOCH_CALL_FILES), logs.epochs, logs.seed)
        few.write(folder / "mlflow-few")
        by_epoch = _checked(
            ways.measured(ways.MLFLOW_EPOCHS, folder / "mlflow-few", folder / "by-epoch.db"), few, few.points
        )
    return Measured(whole, tenth, mlflow, by_epoch)


def measure_memory(size_bytes: int, folder: Path) -> Memory:
    """Ingest one log of that size with the command itself."""
    log, database = folder / "large.log", folder / "large.db"
    lines = write_large(log, size_bytes)
    processes.flush_disks()
    _progress(f"a log of {log.stat().st_size >> 20} MB")
    command = [sys.executable, "-m", "expdb", "ingest", str(log), "--db", str(database)]
    done = processes.run(command, folder, peak=True)
    assert done.peak_bytes is not None
    return Memory(log.stat().st_size, lines * VALUES, done.seconds, done.peak_bytes, database.stat().st_size)


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    rounds, logs = found.rounds, found.rounds.logs
    spread = f"{min(rounds.ratios):.2f} to {max(rounds.ratios):.2f}"
    rows = [
        _row("floor: one regex, many-row INSERTs into a bare table", rounds.floor_s, logs, "1", ""),
        _row("expdb ingest", rounds.ours_s, logs, f"{rounds.ratio:.2f}", verdict(rounds.ratio, FLOOR_LIMIT)),
        _row("expdb ingest again, nothing new", rounds.again_s, logs, f"{rounds.again_s / rounds.floor_s:.2f}", ""),
    ]
    notes = [
        f"Median of {len(rounds.ours)} rounds in turns; the ratio is the median of the rounds' own ratios ({spread})."
    ]
    for timing, how in ((found.mlflow, "1,000 values per call"), (found.by_epoch, "a call for each epoch")):
        if timing is None:
            continue
        seconds = timing.seconds * logs.files / timing.files
        what = f"`re` and log_batch of MLflow {version('mlflow')}, {how}"
        rows.append(_row(what, seconds, logs, f"{seconds / rounds.floor_s:.0f}", ""))
        kept = verdict(seconds / rounds.ours_s, MLFLOW_LIMIT, at_least=True)
        notes.append(
            f"expdb is {seconds / rounds.ours_s:.0f} times faster than MLflow with {how} ({kept}); that ran once,"
            f" with {timing.files:,} files in {timing.seconds:.1f} s{', scaled' if timing.files < logs.files else ''}."
        )
    if found.tenth:
        small = found.tenth
        notes.append(
            f"{small.logs.files:,} files took {small.ours_s:.2f} s, {small.ratio:.2f} of the floor's"
            f" {small.floor_s:.2f} s: ten times the files take expdb {rounds.ours_s / small.ours_s:.1f} times as long,"
            f" the floor {rounds.floor_s / small.floor_s:.1f} times."
        )
    text = results.table(["way", "seconds", "values/s", "of the floor", "limit"], rows) + "\n" + "  \n".join(notes)
    if logs.kind == LINES:
        title = f"Ingest: {logs.files:,} files × {logs.epochs} logger lines × {VALUES} values"
        return Section(f"ingest lines {logs.files}", title, text)
    title = f"Ingest: {logs.files:,} files × {logs.epochs} epochs × {VALUES} values"
    return Section(f"ingest {logs.files}", title, text)


def memory_section(found: Memory) -> Section:
    """The findings as a page shows them."""
    size_mb, peak_mb = found.log_bytes / 2**20, found.peak_bytes / 2**20
    row = [
        *(f"{size_mb:.0f} MB", f"{found.points:,}", f"{found.seconds:.1f}", f"{found.points / found.seconds:,.0f}"),
        *(f"{found.database_bytes / 2**20:.0f} MB", f"{peak_mb:.0f} MB", verdict(peak_mb, MEMORY_LIMIT_MB, "MB")),
    ]
    header = ["log", "values", "seconds", "values/s", "database", "peak memory", "limit"]
    return Section("memory", "Memory: one large log", results.table(header, [row]))


def _row(what: str, seconds: float, logs: Logs, ratio: str, limit: str) -> list[str]:
    return [what, f"{seconds:.3f}" if seconds < 10 else f"{seconds:.1f}", f"{logs.points / seconds:,.0f}", ratio, limit]


def _checked(timing: Timing, logs: Logs, points: int) -> Timing:
    """The timing, if the work was done. Raises CommandError otherwise: a fast way to lose points is no way."""
    if (timing.files, timing.points) != (logs.files, points):
        raise processes.CommandError(f"{logs.files} files and {points} points were due, not {timing}")
    return timing


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=(LEGACY, LINES), default=LEGACY, help="the line of the logs")
    parser.add_argument("--no-mlflow", action="store_true", help="leave MLflow out")
    parser.add_argument("--mlflow-files", type=int, default=100, help="files for MLflow, scaled to all of them")
    parser.add_argument("--memory", action="store_true", help="measure memory, and nothing else")
    parser.add_argument("--large-mb", type=int, default=1024, help="size of the log for --memory")
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    words.no_mlflow = words.no_mlflow or words.kind != LEGACY
    if not (words.no_mlflow or words.memory or find_spec("mlflow")):
        parser.error("MLflow is not installed: pip install mlflow, or leave it out with --no-mlflow")
    mlflow_files = 0 if words.no_mlflow else min(words.mlflow_files, words.files)
    processes.compile_bytecode()
    logs = Logs(words.files, words.epochs, kind=words.kind)
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        try:
            if words.memory:
                made = memory_section(measure_memory(words.large_mb << 20, Path(at)))
            else:
                made = section(measure(logs, words.rounds, mlflow_files, Path(at)))
        except processes.CommandError as error:
            sys.exit(str(error))
    command = results.command_line("benchmarks.ingest")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
