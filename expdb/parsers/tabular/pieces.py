"""Rows of one table, column by column: cut, picked and grouped; their numbers at the speed of `float`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import lt

from expdb.parsers.runs import Boundaries
from expdb.parsers.tabular.sheet import is_missing, number_of

Cells = Sequence[str]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows one after the other, column by column. steps: None where rows are counted instead."""

    lines: Sequence[int]
    columns: Sequence[Cells]
    steps: Sequence[int] | None

    def cut(self, low: int, high: int) -> "Piece":
        """The rows low <= row < high."""
        if low == 0 and high == len(self.lines):
            return self
        part = slice(low, high)
        steps = self.steps[part] if self.steps is not None else None
        return Piece(self.lines[part], [column[part] for column in self.columns], steps)

    def picked(self, mask: Sequence[bool]) -> "Piece":
        """The rows of a mask."""
        if all(mask):
            return self
        steps = list(compress(self.steps, mask)) if self.steps is not None else None
        columns = [list(compress(column, mask)) for column in self.columns]
        return Piece(list(compress(self.lines, mask)), columns, steps)

    def by(self, places: Sequence[int]) -> Iterator[tuple[tuple[str, ...], "Piece"]]:
        """Its rows by what stands in these columns."""
        if all(column.count(column[0]) == len(column) for column in (self.columns[place] for place in places)):
            yield tuple(self.columns[place][0].strip() for place in places), self
            return
        keys = [tuple(map(str.strip, key)) for key in zip(*(self.columns[place] for place in places), strict=True)]
        rows: dict[tuple[str, ...], list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        for key, these in rows.items():
            steps = [self.steps[row] for row in these] if self.steps is not None else None
            columns = [[column[row] for row in these] for column in self.columns]
            yield key, Piece([self.lines[row] for row in these], columns, steps)


def numbers_of(
    label: str, cells: Cells, lines: Sequence[int], unread: list[tuple[int, str]]
) -> tuple[list[float], Sequence[str], Sequence[bool] | None, bool]:
    """(values, as printed, which cells have one where some have none, whether they are in percent). Cells
    that should be numbers and are none are added to unread."""
    mask: list[bool] | None = None
    texts = cells
    if "" in cells:
        mask = list(map(bool, cells))
        texts = list(compress(cells, mask))
    try:
        values = list(map(float, texts))
    except ValueError:
        pass
    else:
        joined = "".join(texts)
        if "_" not in joined:
            return values, list(map(str.strip, texts)) if " " in joined or "\t" in joined else texts, mask, False
    found = list(map(number_of, cells))
    for number, cell, line in zip(found, cells, lines, strict=True):
        if number is None and not is_missing(cell):
            unread.append((line, f"{label}: {cell.strip()}"))
    texts = [number[0] for number in found if number is not None]
    in_percent = any(number[1] for number in found if number is not None)
    return list(map(float, texts)), texts, [number is not None for number in found], in_percent


def falls_of(bounds: Boundaries, lines: Sequence[int], steps: Sequence[int]) -> list[tuple[int, str | None]]:
    """(row, reason) where the step falls back to where the run began."""
    if not any(map(lt, steps[1:], steps)):
        # Only the first can have fallen.
        found = [(0, reason) for _, reason in bounds.starts([(lines[0], steps[0])])]
        bounds.last = steps[-1]
        return list(found)
    # Rows stand for lines: a line of carriage returns has many.
    out: list[tuple[int, str | None]] = []
    for row, reason in bounds.starts(enumerate(steps)):
        out.append((row, f"{reason.rpartition(' at line ')[0]} at line {lines[row]}"))
    return out
