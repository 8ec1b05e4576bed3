"""Where one run of a source ends and the next begins, by the steps that are printed.

A step that falls back to where the run began, or below, begins a new run (a log appended to itself). One that
only steps back a little is a resumed training and stays in its run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Boundaries:
    """Told of every printed step in the order of the file; says where runs begin.

    counts: what the steps count, for the reason. first: the step the open run began with; last: its latest.
    """

    counts: str = "epoch"
    first: float | None = None
    last: float | None = None

    def starts(self, steps: Iterable[tuple[int, float]]) -> Iterator[tuple[int, str]]:
        """(line, reason) of each run that begins among the next (line, step), the very first run not among them."""
        for line, step in steps:
            if self.first is None or self.last is None:
                self.first = step
            elif step < self.last and step <= self.first:
                yield line, fell(self.counts, self.last, step, line)
                self.first = step
            self.last = step


def fell(counts: str, before: float, step: float, line: int) -> str:
    """Why a run begins where a step falls back."""
    return f"{counts} went {_plain(before)} → {_plain(step)} at line {line}"


def _plain(step: float) -> str:
    return str(int(step)) if step == int(step) else f"{step:g}"
