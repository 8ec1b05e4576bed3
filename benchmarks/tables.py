"""How long a table takes: whole processes, wall time, in turns.

python -m benchmarks.tables [--runs 1000] [--rounds 9] [--write]

Over so many runs, told apart by params of one digit each: every format, means over groups, rules side by side, a pivot.
"""

import csv
import io
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes, results
from benchmarks.logs import Logs
from benchmarks.results import Section, median, verdict

# The limit, for a table of 1,000 runs × 10 columns, whole process.
LIMIT_S = 0.5
FORMATS = ("table", "md", "latex", "html", "rst", "csv", "json")
_PARAMS = r"run(?P<model>\d)(?P<lr>\d)(?P<seed>\d)"
_RULES = ("--select", "best,last,tail:5")
_GROUPED = ("--group-by", "all-but:seed")
_EXPDB = (sys.executable, "-m", "expdb")


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each table, round by round. columns: of the table that is printed without options."""

    runs: int
    columns: int
    seconds: Mapping[str, tuple[float, ...]]


def tables() -> dict[str, tuple[str, ...]]:
    """What is timed, by what a person types."""
    words: list[tuple[str, ...]] = [
        *(("--format", name, "--bold", "best") for name in FORMATS),
        (*_GROUPED, "--bold", "best"),
        _RULES,
        (*_GROUPED, *_RULES, "--format", "md"),
        ("--pivot", "model, lr, best(test/accuracy)"),
        ("--only-changed", "--percent", "--digits", "2", "--sort", "best(test/accuracy)"),
    ]
    return {shlex.join(("compare", *one)): one for one in words}


def measure(runs: int, rounds: int, folder: Path) -> Measured:
    """Fill a database below the folder with that many runs, then time every table once a round."""
    Logs(runs, epochs=50).write(folder / "logs")
    database = ("--db", str(folder / "expdb.db"))
    processes.run((*_EXPDB, "ingest", "logs", "--params-from", _PARAMS, *database), folder)
    plain = processes.run((*_EXPDB, "compare", "--format", "csv", *database), folder).output
    read = list(csv.reader(io.StringIO(plain)))
    if len(read) != runs + 1:
        raise processes.CommandError(f"{len(read) - 1} rows of {runs} runs")
    seconds: dict[str, list[float]] = {name: [] for name in tables()}
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, words in tables().items():
            seconds[name].append(processes.run((*_EXPDB, "compare", *words, *database), folder).seconds)
    return Measured(runs, len(read[0]), {name: tuple(taken) for name, taken in seconds.items()})


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    rows = [
        [f"`{name}`", f"{1000 * median(taken):.0f}", f"{1000 * max(taken):.0f}", verdict(median(taken), LIMIT_S, "s")]
        for name, taken in found.seconds.items()
    ]
    rounds = len(next(iter(found.seconds.values())))
    note = (
        f"Milliseconds of the whole process, output piped, over {found.runs:,} runs; the table without options has"
        f" {found.columns} columns. {rounds} rounds in turns."
    )
    body = results.table(["table", "median", "worst", "limit"], rows) + "\n" + note
    return Section("tables", "Tables", body)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    results.over_runs("benchmarks.tables", __doc__, lambda *words: section(measure(*words)), runs=1000, rounds=9)


if __name__ == "__main__":
    main()
