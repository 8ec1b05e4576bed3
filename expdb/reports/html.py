"""HTML: a fragment for a page of one's own, read aloud as a table, which needs neither style sheet nor script.

Text is escaped; `{{` and `{%`, with which template tags of Hexo and Jekyll begin, are kept apart.
"""

import re
from collections.abc import Iterator
from html import escape
from typing import Final

from expdb.records import Table
from expdb.reports.layout import DIVERGED, MARK, PrintedColumn, PrintedTable, printed
from expdb.reports.markdown import is_code
from expdb.reports.text import MISSING, lines

_TEMPLATE: Final = re.compile(r"\{(?=[{%#])|(?<=[}%#])\}")
_MARK: Final = re.compile(f"[{MARK}{DIVERGED}]")
# Headings would stand in the middle.
_LEFT: Final = ' style="text-align: left"'
_RIGHT: Final = ' style="text-align: right"'


def render(table: Table) -> str:
    """A `table` with caption, headings for columns and rows, and a list of the rules, in one `div`."""
    words = printed(table)
    out = ['<div class="expdb-table">', "<table>"]
    if words.title:
        out.append(f"<caption>{escaped(words.title)}</caption>")
    heads = "".join(
        f'<th scope="col"{_RIGHT if column.numeric else _LEFT}>{escaped(column.heading)}</th>'
        for column in words.columns
    )
    out += [f"<thead>\n<tr>{heads}</tr>\n</thead>", "<tbody>"]
    if table.rows:
        out += [f"<tr>{''.join(row)}</tr>" for row in zip(*_columns(words), strict=True)]
    else:
        out.append(f'<tr><td colspan="{max(1, len(words.columns))}">{words.without_rows}</td></tr>')
    out += ["</tbody>", "</table>"]
    if words.rules:
        out.append(f"<ul>{''.join(f'<li>{escaped(rule)}</li>' for rule in words.rules)}</ul>")
    return "\n".join((*out, "</div>")) + "\n"


def _columns(words: PrintedTable) -> Iterator[Iterator[str]]:
    """The cells of each column."""
    for place, column in enumerate(words.columns):
        yield _cells(words, column, place == 0)


def _cells(words: PrintedTable, column: PrintedColumn, is_first: bool) -> Iterator[str]:
    # What stands first names the row, unless it is a number.
    tag, end = (f'th scope="row"{_LEFT}', "th") if is_first and not column.numeric else ("td", "td")
    opening = f"<{tag}{_RIGHT if column.numeric else ''}>"
    for row, cell in enumerate(column.cells):
        yield f"{opening}{_cell(words, column, row, cell)}</{end}>"


def _cell(words: PrintedTable, column: PrintedColumn, row: int, cell: str) -> str:
    if cell == MISSING:
        shown = f'<span aria-label="missing">{MISSING}</span>'
    elif column.numeric:
        shown = escaped(cell + column.spread(row))
    else:
        shown = "<br>".join(f"<code>{escaped(one)}</code>" if is_code(one) else escaped(one) for one in lines(cell))
        shown += escaped(column.spread(row))
    shown = f"<strong>{shown}</strong>" if column.is_best(row) else shown
    mark = column.mark(row)
    return shown + (_MARK.sub(lambda found: _marked(found[0], words.said_of(found[0])), escaped(mark)) if mark else "")


def _marked(mark: str, rule: str) -> str:
    return f'<sup title="{escape(rule)}">{mark}</sup>'


def escaped(line: str) -> str:
    """A visible line as HTML shows it, also behind a template engine."""
    text = escape(line)
    return _TEMPLATE.sub(lambda match: f"&#{ord(match[0])};<wbr>", text) if "{" in text or "}" in text else text
