"""RESULTS.md: one section per benchmark, refreshed in place, each with the command that made it."""

import argparse
import os
import platform
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks import processes

RESULTS = Path(__file__).with_name("RESULTS.md")
_TOP = "# Benchmark results\n\nEach section is written by the command it names, with `--write`.\n"


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found. name: of its markers; body: Markdown."""

    name: str
    title: str
    body: str

    def text(self, command: str) -> str:
        """The section with the circumstances of the measurement, between its markers."""
        machine = f"{platform.system()} {platform.machine()} · {os.cpu_count()} CPUs"
        made = f"{date.today().isoformat()} · Python {platform.python_version()} · {machine}"
        return (
            f"<!-- benchmark {self.name} -->\n## {self.title}\n\n`{command}`  \n{made}\n\n{self.body.strip()}\n"
            f"<!-- /benchmark {self.name} -->\n"
        )

    def write(self, command: str, path: Path = RESULTS) -> None:
        """Put the section in its place on the page, or at its end."""
        page = path.read_text("utf-8") if path.exists() else _TOP
        name = re.escape(self.name)
        there = re.compile(f"<!-- benchmark {name} -->\n.*?<!-- /benchmark {name} -->\n", re.DOTALL)
        text = self.text(command)
        page = there.sub(lambda _: text, page) if there.search(page) else f"{page}\n{text}"
        path.write_text(page, "utf-8", newline="\n")


def command_line(module: str) -> str:
    """What a person types to repeat this."""
    return shlex.join(["python", "-m", module, *(one for one in sys.argv[1:] if one != "--write")])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def median(numbers: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(numbers)


def pairwise_ratio(numbers: Sequence[float], base: Sequence[float]) -> float:
    """Median over the rounds of number / base, both measured in the same round."""
    return statistics.median(a / b for a, b in zip(numbers, base, strict=True))


def verdict(number: float, limit: float, unit: str = "", *, at_least: bool = False) -> str:
    """The limit, and whether the number keeps it."""
    kept = number >= limit if at_least else number <= limit
    return f"{'≥' if at_least else '≤'} {limit:g}{unit and ' '}{unit} {'kept' if kept else '**missed**'}"


def over_runs(
    module: str, caption: str | None, measured: Callable[[int, int, Path], Section], *, runs: int, rounds: int
) -> None:
    """The command line of a benchmark over so many runs, in a folder of its own: print the section, and put it on the
    page when asked to. measured: from runs, rounds and the folder."""
    parser = argparse.ArgumentParser(description=caption, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    processes.compile_bytecode()
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        try:
            made = measured(words.runs, words.rounds, Path(at))
        except processes.CommandError as error:
            sys.exit(str(error))
    command = command_line(module)
    print(made.text(command))
    if words.write:
        made.write(command)
