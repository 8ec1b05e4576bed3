"""Plain text: every character of the table, aligned, for pipes, files and diffs; no colours, nothing cut."""

from collections.abc import Iterator, Sequence

from expdb.records import Table
from expdb.reports.layout import PrintedColumn, printed
from expdb.reports.text import one_line, pad, width

_GAP = "  "
_BEST = "*"


def render(table: Table) -> str:
    """The title, the aligned table, and each rule as a line that starts with `# `; complete at any width.

    A value of several lines stands on one, joined by `; `. The best of a column has a star. No line ends in a blank.
    """
    words = printed(table, best=_BEST)
    grid = [line.rstrip(" ") for line in map(_GAP.join, zip(*map(_aligned, words.columns), strict=True))]
    parts = [[words.title] if words.title else [], grid, [f"# {rule}" for rule in words.rules]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _aligned(column: PrintedColumn) -> Iterator[str]:
    """Heading, underline and cells of a column, all of one width."""
    cells: Sequence[str] = [one_line(cell) for cell in column.cells]
    heading = column.heading
    tails = tails_of(column, star=_BEST)
    if tails:
        if column.numeric:
            columns = max(map(width, cells), default=0)
            cells = [pad(cell, columns, right=True) for cell in cells]
        cells = [cell + tail for cell, tail in zip(cells, tails, strict=True)]
    columns = max(width(heading), max(map(width, cells), default=0))
    yield pad(heading, columns, column.numeric)
    yield "-" * columns
    for cell in cells:
        yield pad(cell, columns, column.numeric)


def tails_of(column: PrintedColumn, star: str) -> list[str]:
    """What stands behind each number, all of one width in a column of numbers; empty where nothing does anywhere.

    The blanks keep the digits of plain numbers under those of marked ones.
    """
    if not (column.spreads or column.marks or (star and column.best)):
        return []
    rows = range(len(column.cells))
    spreads = [column.spread(row) for row in rows]
    longest = max(map(width, spreads), default=0)
    tails = [
        (pad(spread, longest) if column.numeric else spread) + star * column.is_best(row) + column.mark(row)
        for row, spread in zip(rows, spreads, strict=True)
    ]
    if not column.numeric:
        return tails
    longest = max(map(width, tails))
    return [pad(tail, longest) for tail in tails]
