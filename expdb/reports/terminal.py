"""The terminal: a table fitted to the window, where text gives way and numbers are never cut."""

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

from expdb.records import Table
from expdb.reports import plain
from expdb.reports.layout import PrintedColumn, PrintedTable, printed
from expdb.reports.text import lines, pad, width

if TYPE_CHECKING:
    import rich.table
    import rich.text

# More is searched or paged rather than looked at, and rich needs 0.9 s for 2,000 rows of ten columns, plain 0.01 s.
MOST_ROWS: Final = 200

_GAP = 2
_STAR = "*"
_NARROW = 12
# What `accuracy)` needs, the last line of a heading.
_NARROWEST = 9
_READABLE = 24


def print_table(table: Table, file: TextIO | None = None) -> None:
    """Print a table to file, standard output by default: fitted on a terminal, plain anywhere else.

    Plain on a terminal too when there are more than MOST_ROWS rows or the numbers do not fit side by side.
    NO_COLOR keeps the layout and drops every escape sequence.
    """
    out = sys.stdout if file is None else file
    if not out.isatty() or not table.columns or len(table.rows) > MOST_ROWS:
        out.write(plain.render(table))
        return
    # rich costs time, which a pipe need not pay.
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)
    is_styled = console.color_system is not None
    words = printed(table, best=None if is_styled else _STAR)
    # Without escape sequences nothing is bold.
    tails = [plain.tails_of(column, "" if is_styled else _STAR) for column in words.columns]
    widths = _widths(words, tails, console.width)
    if widths is None:
        out.write(plain.render(table))
        return
    if words.title:
        console.print(Text(words.title, style="bold"))
    console.print(_fitted(words, tails, widths))
    if words.rules:
        console.print()
    for rule in words.rules:
        console.print(Text(f"# {rule}", style="dim"))


def _widths(words: PrintedTable, tails: Sequence[Sequence[str]], columns: int) -> list[int] | None:
    """The least width of each column, with headings whole or else folded; None where the numbers do not fit."""
    for heading_columns, text_columns in ((columns, _READABLE), (_NARROW, _NARROW), (_NARROWEST, _NARROWEST)):
        widths = [
            _least_width(column, behind, heading_columns, text_columns)
            for column, behind in zip(words.columns, tails, strict=True)
        ]
        if sum(widths) + _GAP * (len(widths) - 1) <= columns:
            return widths
    return None


def _least_width(column: PrintedColumn, tails: Sequence[str], heading_columns: int, text_columns: int) -> int:
    longest = max((width(line) for cell in column.cells for line in lines(cell)), default=0)
    longest += max(map(width, tails), default=0)
    if column.numeric:
        return max(longest, min(width(column.heading), heading_columns))
    return min(max(longest, width(column.heading)), text_columns)


def _fitted(words: PrintedTable, tails: Sequence[Sequence[str]], widths: Sequence[int]) -> "rich.table.Table":
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column, least in zip(words.columns, widths, strict=True):
        grid.add_column(
            Text("\n".join(_folded(column.heading, least)) if column.numeric else column.heading),
            justify="right" if column.numeric else "left",
            overflow="fold",
            width=least if column.numeric else None,
            min_width=least,
        )
    for row in range(len(words.columns[0].cells)):
        parts = zip(words.columns, tails, widths, strict=True)
        grid.add_row(*(_cell(column, row, behind[row] if behind else "", least) for column, behind, least in parts))
    return grid


def _folded(heading: str, columns: int) -> list[str]:
    """A heading in lines of at most so many columns where it can be broken: behind blanks, slashes and brackets."""
    out = [""]
    for piece in re.findall(r"[^ /(]*[ /(]?", heading):
        if out[-1] and width(out[-1] + piece.rstrip()) > columns:
            out.append("")
        out[-1] += piece
    return [line.rstrip() for line in out]


def _cell(column: PrintedColumn, row: int, tail: str, columns: int) -> "rich.text.Text":
    # Text, never a string: rich reads markup and emoji codes in strings.
    from rich.text import Text

    shown = lines(column.cells[row])
    style = "bold" if column.is_best(row) else ""
    if column.numeric:
        # Filled here, because rich would strip the blanks that keep unmarked digits under marked ones.
        room = columns - width(tail)
        shown = [pad(line, room, right=True) for line in shown or [""]]
    text = Text("\n".join(shown), style=style, justify="left")
    at = len(column.spread(row))
    return text.append(tail[:at], style=style).append(tail[at:], style="not bold dim")
