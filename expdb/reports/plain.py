"""Plain text: every character of the table, aligned, for pipes, files and diffs; no colours, nothing cut."""

from collections.abc import Iterator, Sequence

from expdb.records import Table
from expdb.reports.layout import MARK, PrintedColumn, printed
from expdb.reports.text import one_line, pad, width

_GAP = "  "


def render(table: Table) -> str:
    """The title, the aligned table, and each rule as a line that starts with `# `; complete at any width.

    A value of several lines stands on one, joined by `; `. No line ends in a blank.
    """
    words = printed(table)
    grid = [line.rstrip(" ") for line in map(_GAP.join, zip(*map(_aligned, words.columns), strict=True))]
    parts = [[words.title] if words.title else [], grid, [f"# {rule}" for rule in words.rules]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _aligned(column: PrintedColumn) -> Iterator[str]:
    """Heading, underline and cells of a column, all of one width."""
    cells: Sequence[str] = [one_line(cell) for cell in column.cells]
    heading = column.heading
    if column.marks:
        # The blank keeps the digits of unmarked numbers under those of marked ones.
        cells = [cell + (MARK if marked else " ") for cell, marked in zip(cells, column.marks, strict=True)]
    columns = max(width(heading), max(map(width, cells), default=0))
    yield pad(heading, columns, column.numeric)
    yield "-" * columns
    for cell in cells:
        yield pad(cell, columns, column.numeric)
