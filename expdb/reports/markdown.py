"""Markdown: a pipe table that GitHub, Typora, Hexo (marked) and Jekyll (kramdown) all show as it is meant.

Escapes are those that all four take. A backslash goes before `\\ * _ [ ]` and before `$`, which is mathematics
on GitHub and in kramdown. Entities stand for what a backslash does not save everywhere: a back-tick (kramdown
splits rows at code spans before it sees backslashes), `~` (kramdown alone shows the backslash), `|`, HTML's
`<`, `>` and `&`, and `{`, with which kramdown's attributes and template tags begin. Jekyll runs its templates
before the Markdown, Hexo after it, when entities may be characters again: there `<wbr>` keeps `{{` apart.
`--` and `...` are escaped because kramdown and Hexo set them as one character, and `--lr` is no dash; the curly
quotes they set are left to the page. Signs that open a block are harmless inside a cell.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal

from expdb.records import Table
from expdb.reports.layout import PrintedColumn, printed, spelled
from expdb.reports.text import lines, one_line, pad, width

# What Typora pads at most, in columns of a terminal.
_TYPORA: Final = 60

_SPECIAL: Final = re.compile(r"[\\*_\[\]$`~|<>&{]|-{2,}|\.{3,}")
_ENTITIES: Final = {
    "`": "&#96;",
    "~": "&#126;",
    "|": "&#124;",
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
    "{": "&#123;",
}
_TEMPLATE: Final = re.compile(r"(?<=&#123;)(?=&#123;|[%#])|(?<=#)(?=\})")
_ADDRESS: Final = re.compile(r"(?<=[a-z])://|(?<=www)\.", re.IGNORECASE)

# A sign of code that touches an identifier: f(x), data[:], lr=0.1, bn_s, a*b, x<3, {k: 1}, f();, --lr, ~/data.
_CODE: Final = re.compile(
    r"""\w[\[{=_] | [={}_]\w | \w\([\w'"*)\[{] | \w\*{1,2}\w | \w[<>]=?\w | ;\w | \w[)\]]?;$ | --\w | ~/""",
    re.ASCII | re.VERBOSE,
)
# What a code span cannot carry through all four: its own fence, a cell's end, a template tag, and an HTML
# tag, which kramdown looks for in a row before it looks for code.
_NO_CODE: Final = re.compile(r"[`|]|\{[{%#]|#\}|<[A-Za-z/!?]")

# kramdown takes a row made only of these for a line between the parts of the table.
_RULER: Final = re.compile(r"[-+:= ]+")


def render(table: Table, style: Literal["github", "typora"] = "github", encoding: str = "utf-8") -> str:
    """The title in bold, the table padded to equal terminal width, one paragraph in italics for each rule.

    A value of several lines keeps them, by `<br>`; a line that looks like code is a code span. A table
    without rows is a paragraph that says so, because kramdown shows a table without rows as its source.
    style: `typora` pads as Typora does when it saves, so that it changes nothing: no column wider than 60 is padded,
    and numbers stand at the left. encoding: of the page; signs of ours that it lacks are spelled out.
    """
    words = spelled(printed(table), encoding)
    aligned = _aligned if style == "github" else _as_typora
    parts = [f"**{_literal(words.title)}**"] if words.title else []
    if table.rows and table.columns:
        rows = zip(*map(aligned, words.columns), strict=True)
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    else:
        parts.append(f"*{words.without_rows}*")
    parts += [f"*{_literal(rule)}*" for rule in words.rules]
    return "\n\n".join(parts) + "\n"


def _cells(column: PrintedColumn) -> list[str]:
    """Heading and cells of a column as they stand in the source."""
    cells = [cell_of(cell) for cell in column.cells]
    if column.spreads or column.marks or column.best:
        cells = [_dressed(cell, column, row) for row, cell in enumerate(cells)]
    return [cell_of(column.heading), *cells]


def _dressed(cell: str, column: PrintedColumn, row: int) -> str:
    number = cell + column.spread(row)
    return (f"**{number}**" if column.is_best(row) else number) + column.mark(row)


def _aligned(column: PrintedColumn) -> Iterator[str]:
    """Heading, delimiter and cells of a column, all of one width."""
    heading, *cells = _cells(column)
    columns = max(4, width(heading), *map(width, cells))
    dashes = "-" * (columns - 1)
    yield pad(heading, columns, column.numeric)
    yield f"{dashes}:" if column.numeric else f":{dashes}"
    for cell in cells:
        yield pad(cell, columns, column.numeric)


def _as_typora(column: PrintedColumn) -> Iterator[str]:
    heading, *cells = _cells(column)
    columns = min(_TYPORA, max(3, width(heading), *map(width, cells)))
    yield pad(heading, columns)
    yield "-" * columns
    for cell in cells:
        yield pad(cell, columns)


def cell_of(text: str) -> str:
    """A value as the cell of a row: its lines by `<br>`, code as code, everything else escaped."""
    cell = "<br>".join(f"`{line}`" if is_code(line) else _literal(line) for line in lines(text))
    return f"\\{cell}" if _RULER.fullmatch(cell) else cell


def is_code(line: str) -> bool:
    """Whether a visible line looks like code, and can be a code span."""
    return bool(_CODE.search(line)) and not _NO_CODE.search(line)


def _literal(line: str) -> str:
    """A visible line, escaped so that it shows as it is."""
    escaped = _SPECIAL.sub(lambda match: _ENTITIES.get(match[0]) or re.sub("(.)", r"\\\1", match[0]), line)
    if escaped != line:
        # An address is linked as it stands in the source, and would show the escapes.
        escaped = _ADDRESS.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", escaped)
    return _TEMPLATE.sub("<wbr>", escaped)


def inline(text: str) -> str:
    """Foreign text on one line of Markdown, where it shows as it is: in a sentence, or as what a picture is called."""
    return _literal(one_line(text)).replace("<wbr>", " ")
