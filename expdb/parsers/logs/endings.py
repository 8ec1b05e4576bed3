"""Where one run of a log ends and the next begins, and which lines belong to which of two at a time."""

from dataclasses import dataclass
from itertools import pairwise
from operator import lt

from expdb.parsers.logs.rows import Place, Rows, counts_training
from expdb.parsers.logs.templates import Template
from expdb.parsers.runs import fell


@dataclass(frozen=True, slots=True)
class Tellers:
    """The rows of a block whose steps tell where a run ends, each with its (epoch, iteration).

    counts: which of the two; fall: whether one is ever less than the one before.
    """

    counts: str
    rows: list[tuple[Rows, list[Place]]]
    fall: bool


class Endings:
    """Told of the rows of each block, in order."""

    def __init__(self) -> None:
        self.begun = False
        self._first: Place | None = None
        self._last: dict[Template, Place] = {}
        self._chains: list[Place] = []

    def tellers(self, groups: list[Rows]) -> Tellers:
        """What the rows of a block tell."""
        out: list[tuple[Rows, list[Place]]] = []
        has_epoch = any(rows.template.has_epoch for rows in groups)
        for rows in groups:
            epochs = rows.numbers("epoch")
            iterations = rows.numbers("iteration") if counts_training(rows.template) else None
            if epochs is None and iterations is None:
                continue
            if epochs is None and has_epoch and rows.epochs is None:
                continue
            epochs = epochs or (list(rows.epochs) if rows.epochs is not None else [0] * len(rows.lines))  # type: ignore[arg-type]
            out.append((rows, list(zip(epochs, iterations or [0] * len(epochs), strict=True))))
        return Tellers("epoch" if has_epoch else "iteration", out, any(self._falls(*one) for one in out))

    def _falls(self, rows: Rows, places: list[Place]) -> bool:
        before = self._last.get(rows.template)
        return (before is not None and places[0] < before) or any(map(lt, places[1:], places))

    def pieces(self, groups: list[Rows], tellers: Tellers) -> list[tuple[int, int, str | None]]:
        """(first line, line behind the last, reason) of each piece; reason None continues the open run."""
        first, end = min(rows.lines[0] for rows in groups), max(rows.lines[-1] for rows in groups) + 1
        starts: list[tuple[int, str | None]] = [(first, None if self.begun else "")]
        self.begun = True
        if tellers.fall:
            every = [
                (*one, rows.template) for rows, places in tellers.rows for one in zip(rows.lines, places, strict=True)
            ]
            within = _has_phases(tellers)
            for line, place, template in sorted(every, key=lambda row: row[0]):
                before = self._last.get(template)
                if before is not None and place < before and (place <= (self._first or place)):
                    if place[0] == before[0] and within:
                        self._last[template] = place
                        continue
                    if line == first:
                        starts.clear()
                    starts.append((line, _fell(tellers.counts, before, place, line)))
                    self._first = place
                    self._last.clear()
                elif before is None:
                    self._first = min(place, self._first or place)
                self._last[template] = place
        else:
            for rows, places in tellers.rows:
                if rows.template not in self._last:
                    self._first = min(places[0], self._first or places[0])
                self._last[rows.template] = places[-1]
        ends = [line for line, _ in starts[1:]] + [end]
        return [(one, last, reason) for (one, reason), last in zip(starts, ends, strict=True)]

    def threads(self, tellers: Tellers) -> list[tuple[int, int]] | None:
        """(line, thread) of every row with a step, where trainings wrote into one file at the same time."""
        if not self._chains and (len(tellers.rows) != 1 or not tellers.fall):
            return None
        steps = sorted(one for rows, places in tellers.rows for one in zip(rows.lines, places, strict=True))
        if len(steps) < 8:
            return None
        falls = sum(later[1] < sooner[1] for sooner, later in pairwise(steps))
        if not self._chains and (falls < 5 or falls * 3 < len(steps)):
            return None
        chains = list(self._chains)
        out: list[tuple[int, int]] = []
        for line, place in steps:
            # A step that comes again belongs to another training, unless it is the same line's.
            now = out[-1][1] if out else None
            open_to = [i for i, last in enumerate(chains) if last < place or (last == place and i == now)]
            if open_to:
                best = max(open_to, key=lambda i: chains[i])
                chains[best] = place
            elif len(chains) < 4:
                best = len(chains)
                chains.append(place)
            else:
                return None
            out.append((line, best))
        sizes = [sum(one == i for _, one in out) for i in range(len(chains))]
        if len(chains) < 2 or min(sizes) * 10 < len(out):
            return None
        self._chains = chains
        return out


def _has_phases(tellers: Tellers) -> bool:
    """Whether iterations count more than once in an epoch that is not the first: for two phases of it."""
    low = min(min(places) for _, places in tellers.rows)[0]
    return any(
        after < before and after[0] == before[0] > low
        for _, places in tellers.rows
        for before, after in pairwise(places)
    )


def _fell(counts: str, before: Place, place: Place, line: int) -> str:
    what, sooner, later = (counts, before[0], place[0]) if counts == "epoch" else (counts, before[1], place[1])
    if sooner == later:
        what, sooner, later = "iteration", before[1], place[1]
    return fell(what, sooner, later, line)
