"""reStructuredText: a `list-table`, which holds for any text; grids break where widths are counted otherwise."""

import re
from collections.abc import Iterator
from typing import Final

from expdb.records import Table
from expdb.reports.layout import PrintedColumn, printed
from expdb.reports.text import lines

_SPECIAL: Final = re.compile(r"[\\`*_|<>\[\]:]")
# A list, an option, a doctest or a line of signs begins like this: the first sign is escaped.
_OPENING: Final = re.compile(r"(?=[^\w\s\\\x80-\U0010ffff])|(?=\(?[\w#]+[.)](?:\s|$))|(?=[•‣⁃—])")


def render(table: Table) -> str:
    """The title as the table's, one list item for each row, and a paragraph for each rule.

    A value of several lines keeps them, as a line block. A table without rows is a paragraph that says so.
    """
    words = printed(table)
    title = f" {escaped(words.title)}" if words.title else ""
    if table.rows and words.columns:
        rows = zip(*map(_cells, words.columns), strict=True)
        body = "\n".join(line for row in rows for line in _row(row))
        parts = [f".. list-table::{title}\n   :header-rows: 1\n   :widths: auto\n\n{body}"]
    else:
        parts = [title.strip()] if title else []
        parts.append(f"*{words.without_rows}*")
    parts += [escaped(rule) for rule in words.rules]
    return "\n\n".join(parts) + "\n"


def _row(cells: tuple[str, ...]) -> Iterator[str]:
    for place, cell in enumerate(cells):
        first, *others = cell.split("\n")
        yield f"   {' ' if place else '*'} -{f' {first}' if first else ''}"
        yield from (f"       {line}" for line in others)


def _cells(column: PrintedColumn) -> Iterator[str]:
    yield escaped(column.heading)
    for row, cell in enumerate(column.cells):
        shown = [escaped(line) for line in lines(cell)]
        text = shown[0] if len(shown) == 1 else "\n".join(f"| {line}" for line in shown)
        spread, mark = column.spread(row), column.mark(row)
        if column.is_best(row):
            # An empty comment parts the marks from what stands behind them.
            yield f"**{text}{spread}**" + (f"\\ {escaped_mark(mark)}" if mark else "")
        else:
            yield text + spread + (f"\\ {escaped_mark(mark)}" if mark else "")


def escaped_mark(mark: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", mark)


def escaped(line: str) -> str:
    """A visible line that shows as it is, wherever a paragraph may begin."""
    text = _SPECIAL.sub(r"\\\g<0>", line)
    if text.startswith("\\") and not text.strip("\\"):
        # A line of one sign alone is a line across the page; an empty escape is none.
        return f"\\ {text}"
    return f"\\{text}" if _OPENING.match(text) else text
