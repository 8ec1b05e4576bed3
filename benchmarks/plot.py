"""How long a person waits for curves: whole processes, wall time, in turns.

python -m benchmarks.plot [--runs 20] [--epochs 1000] [--rounds 7] [--write]
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes, results, ways
from benchmarks.logs import Logs
from benchmarks.results import Section, median

IMPORT = "`python -c 'import matplotlib.figure, matplotlib.backends.backend_agg'`"
TEXT, SVG, PNG, GROUPED = (
    "`expdb plot`, in the terminal",
    "`expdb plot -o curves.svg`",
    "`expdb plot -o curves.png`",
    "`expdb plot --group-by experiment -o curves.svg`",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each command, round by round. values: of the metric that is drawn."""

    runs: int
    values: int
    seconds: Mapping[str, tuple[float, ...]]
    svg_bytes: int


def measure(runs: int, epochs: int, rounds: int, folder: Path) -> Measured:
    """Fill a database below the folder with so many runs, then draw one metric of all of them."""
    Logs(runs, epochs).write(folder / "logs")
    database = folder / "expdb.db"
    ways.measured(ways.OURS, folder / "logs", database)
    plot = (sys.executable, "-m", "expdb", "plot", "-y", "test/accuracy", "--db", str(database))
    commands = {
        IMPORT: (sys.executable, "-c", "import matplotlib.figure, matplotlib.backends.backend_agg"),
        TEXT: plot,
        SVG: (*plot, "-o", "curves.svg"),
        PNG: (*plot, "-o", "curves.png"),
        GROUPED: (*plot, "--group-by", "experiment", "-o", "mean.svg"),
    }
    # Its list of fonts is made once for each person, not for each picture.
    environment = {"MPLCONFIGDIR": str(folder / "matplotlib")}
    processes.run(commands[SVG], folder, environment)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, words in commands.items():
            seconds[name].append(processes.run(words, folder, environment).seconds)
    size = (folder / "curves.svg").stat().st_size
    return Measured(runs, runs * epochs, {name: tuple(all_s) for name, all_s in seconds.items()}, size)


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    rows = [[name, f"{1000 * median(seconds):.0f}"] for name, seconds in found.seconds.items()]
    note = (
        f"Wall time of the whole process; median of {len(found.seconds[TEXT])} rounds in turns. {found.runs} runs with"
        f" {found.values:,} values of the metric that is drawn; the SVG is {found.svg_bytes / 1000:.0f} kB."
    )
    return Section("plot", "Plots", results.table(["command", "milliseconds"], rows) + "\n" + note)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    processes.compile_bytecode()
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        try:
            made = section(measure(words.runs, words.epochs, words.rounds, Path(at)))
        except processes.CommandError as error:
            sys.exit(str(error))
    command = results.command_line("benchmarks.plot")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
