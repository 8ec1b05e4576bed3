"""How long a person waits for a command: whole processes, wall time, in turns.

python -m benchmarks.startup [--runs 1000] [--rounds 15] [--write]

`ls` and `compare` read a database that holds so many runs.
"""

import sqlite3
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes, results, ways
from benchmarks.logs import Logs
from benchmarks.results import Section, median, pairwise_ratio, verdict
from expdb.store import statements

# The limits: help and completion in twice the time of importing typer, tables in half a second.
TYPER_LIMIT = 2
TABLE_LIMIT_S = 0.5

PASS, TYPER, HELP, COMPLETION, LS, COMPARE = (
    "`python -c pass`",
    "`python -c 'import typer'`",
    "`expdb --help`",
    "completion of `expdb in`",
    "`expdb ls`",
    "`expdb compare`",
)
# What the script `expdb` does, where none is installed.
_SCRIPT = "import sys; sys.argv[0] = 'expdb'; from expdb.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Command:
    """A command to time. shows: what its output holds when it worked; lines: and how many at least."""

    words: tuple[str, ...]
    shows: str = ""
    lines: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)

    def seconds(self, folder: Path) -> float:
        """Wall time of the whole process. Raises CommandError where it does not show what it should."""
        done = processes.run(self.words, folder, self.environment)
        if self.shows not in done.output or done.output.count("\n") < self.lines:
            raise processes.CommandError(f"{' '.join(self.words)} printed:\n{done.output[:2000]}")
        return done.seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each command, round by round; read_s: of the summary read alone, within a process."""

    runs: int
    seconds: Mapping[str, tuple[float, ...]]
    read_s: float

    def median_s(self, name: str) -> float:
        """Median of a command's rounds."""
        return median(self.seconds[name])

    def of_typer(self, name: str) -> float:
        """Median over the rounds of the command's time over that of importing typer."""
        return pairwise_ratio(self.seconds[name], self.seconds[TYPER])


def commands(database: Path, runs: int) -> dict[str, Command]:
    """What is timed, by name, over a database of so many runs."""
    script = Path(sysconfig.get_path("scripts"), "expdb")
    expdb = (str(script),) if script.exists() else (sys.executable, "-c", _SCRIPT)
    completion = {"_EXPDB_COMPLETE": "complete_bash", "COMP_WORDS": "expdb in", "COMP_CWORD": "1"}
    return {
        PASS: Command((sys.executable, "-c", "pass")),
        TYPER: Command((sys.executable, "-c", "import typer")),
        HELP: Command((*expdb, "--help"), shows="ingest"),
        COMPLETION: Command(expdb, shows="ingest", environment=completion),
        LS: Command((*expdb, "ls", "--db", str(database)), lines=runs),
        COMPARE: Command((*expdb, "compare", "--db", str(database)), lines=runs),
    }


def measure(runs: int, rounds: int, folder: Path) -> Measured:
    """Fill a database below the folder with that many runs, then time every command once a round."""
    Logs(runs).write(folder / "logs")
    database = folder / "expdb.db"
    ways.measured(ways.OURS, folder / "logs", database)
    timed = commands(database, runs)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, command in timed.items():
            seconds[name].append(command.seconds(folder))
    return Measured(runs, {name: tuple(all_s) for name, all_s in seconds.items()}, read_s(database, rounds))


def read_s(database: Path, rounds: int) -> float:
    """Median seconds of reading every run's summaries: the SQL that `ls` and `compare` stand on, and nothing else."""
    taken = []
    for _ in range(rounds):
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        start = time.perf_counter()
        for statement in (statements.RUNS, statements.SUMMARIES):
            connection.execute(statement, (None,)).fetchall()
        taken.append(time.perf_counter() - start)
        connection.close()
    return median(taken)


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    rows = []
    for name in found.seconds:
        seconds, ratio = found.median_s(name), found.of_typer(name)
        limit = ""
        if name in (HELP, COMPLETION):
            limit = verdict(ratio, TYPER_LIMIT)
        elif name in (LS, COMPARE):
            limit = verdict(seconds, TABLE_LIMIT_S, "s")
        rows.append([name, f"{1000 * seconds:.0f}", f"{ratio:.2f}", limit])
    rows.append(["the SQL of `ls` and `compare` alone", f"{1000 * found.read_s:.1f}", "", ""])
    rounds = len(found.seconds[PASS])
    note = (
        f"Wall time of the whole process, output piped; median of {rounds} rounds in turns. `ls` and `compare` over"
        f" {found.runs:,} stored runs. The ratio is the median of the rounds' own ratios."
    )
    body = results.table(["command", "milliseconds", "of `import typer`", "limit"], rows) + "\n" + note
    return Section("startup", "Start-up", body)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    results.over_runs("benchmarks.startup", __doc__, lambda *words: section(measure(*words)), runs=1000, rounds=15)


if __name__ == "__main__":
    main()
