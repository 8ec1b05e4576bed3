"""A table as words: the headings with their units, the numbers as printed, the marks and the rules below.

Every format that people read takes its words from here, so that all of them say the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from expdb.records import Cell, Column, Table
from expdb.reports.text import MISSING, brief, one_line

MARK: Final = "†"
DIVERGED: Final = "‡"
MARK_RULES: Final = {
    "en": {
        MARK: "† reported on a page, without its curve",
        DIVERGED: "‡ diverged: this number, or a loss of its run, ended as no finite number",
    },
    "zh": {MARK: "† 页面上报告的数字，没有曲线", DIVERGED: "‡ 发散：这个数或这次实验的某个 loss 最后不是有限数"},
}
_BEST_RULES: Final = {"en": "{best}: the best of its column", "zh": "{best}：该列最好的值"}
_NO_ROWS: Final = {"en": "no rows", "zh": "没有数据"}
_BOLD: Final = {"en": "bold", "zh": "粗体"}
# Signs of ours for encodings that lack them: GBK has no minus and no daggers, Latin-1 no arrows.
_SPELLINGS: Final = {
    "−": "-",
    "–": "-",
    MISSING: "n/a",
    "…": "...",
    "±": "+/-",
    "×": "x",
    "↑": "up ",
    "↓": "down ",
    MARK: "(r)",
    DIVERGED: "(d)",
}
_RANGE: Final = re.compile(r"-?\d+–-?\d+(?:\n-?\d+–-?\d+)*")


@dataclass(frozen=True, slots=True)
class PrintedColumn:
    """A column as words. heading: one visible line. cells: numbers as printed, text raw and maybe of many lines.

    spreads: what follows the number and belongs to it, ` ± 0.20`; marks: what is said of it behind that, `†`, ` ↑2`,
    ` (n=3 of 4, 1 diverged)`; best: whether it is the best of its column. Each has a place for every cell, or is
    empty where none of the column has any.
    """

    heading: str
    cells: Sequence[str]
    numeric: bool
    spreads: Sequence[str] = ()
    marks: Sequence[str] = ()
    best: Sequence[bool] = ()

    def spread(self, row: int) -> str:
        return self.spreads[row] if self.spreads else ""

    def mark(self, row: int) -> str:
        return self.marks[row] if self.marks else ""

    def is_best(self, row: int) -> bool:
        return bool(self.best) and self.best[row]


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """A table as words. title and rules: one visible line each; rules that explain marks are the last."""

    title: str
    columns: Sequence[PrintedColumn]
    rules: Sequence[str]
    language: str = "en"

    @property
    def without_rows(self) -> str:
        """What stands where no row is."""
        return _NO_ROWS[self.language]

    def said_of(self, mark: str) -> str:
        """What † or ‡ says."""
        return MARK_RULES[self.language][mark]


def heading(column: Column) -> str:
    """The title with the unit of the numbers below: `loss`, `time (s)`, `accuracy (%)`.

    A fraction has no sign, and a title that says its unit is not told twice.
    """
    if column.unit is None or column.unit == "fraction":
        return column.title
    sign = "%" if column.unit == "percent" else column.unit
    told = "%" in column.title if sign == "%" else f"({sign})" in column.title
    return column.title if told else f"{column.title} ({sign})"


def printed(table: Table, best: str | None = None) -> PrintedTable:
    """The words of a table, once for all formats. best: how the format shows the best of a column, if not in bold."""
    cells = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    columns = [_column(column, below, table.language) for column, below in zip(table.columns, cells, strict=True)]
    rules = [one_line(rule).strip() for rule in table.rules]
    said = "".join(mark for column in columns for mark in column.marks)
    if any(column.best for column in columns):
        rules.append(_BEST_RULES[table.language].format(best=best or _BOLD[table.language]))
    rules += [rule for mark, rule in MARK_RULES[table.language].items() if mark in said]
    title = one_line(table.title or "").strip()
    return PrintedTable(title, columns, [rule for rule in rules if rule], table.language)


def spelled(words: PrintedTable, encoding: str) -> PrintedTable:
    """The words with signs of ours that the encoding lacks spelled in ASCII; a person's text is left as it is."""
    lacking = {sign: spelling for sign, spelling in _SPELLINGS.items() if not _has(encoding, sign)}
    if not lacking:
        return words
    signs = str.maketrans(lacking)

    def cell(text: str) -> str:
        return text.translate(signs) if text == MISSING or _RANGE.fullmatch(text) else text

    columns = [
        replace(
            column,
            cells=[cell(text) for text in column.cells],
            spreads=[text.translate(signs) for text in column.spreads],
            marks=[text.translate(signs) for text in column.marks],
        )
        for column in words.columns
    ]
    return replace(words, columns=columns, rules=[rule.translate(signs) for rule in words.rules])


def _has(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def spread(cell: Cell) -> str:
    """What follows a mean: ` ± 0.20`; nothing where there is no deviation."""
    return "" if cell.std is None else f" ± {brief(replace(cell, value=cell.std))}"


def _column(column: Column, cells: Sequence[Cell], language: str) -> PrintedColumn:
    # A mark is for telling apart: where every number is reported, the rules say so once.
    mixed = len({cell.reported for cell in cells if cell.value is not None}) > 1
    marks = [_mark(cell, mixed, language) for cell in cells]
    spreads = [spread(cell) for cell in cells]
    best = [cell.bold for cell in cells]
    return PrintedColumn(
        one_line(heading(column)),
        [brief(cell) for cell in cells],
        column.numeric,
        spreads if any(spreads) else (),
        marks if any(marks) else (),
        best if any(best) else (),
    )


def _mark(cell: Cell, mixed: bool, language: str) -> str:
    if not (mixed or cell.diverged or cell.moved or cell.says_n):
        return ""
    mark = MARK if mixed and cell.reported and cell.value is not None else ""
    if cell.n is None and cell.diverged:
        mark += DIVERGED
    if cell.moved:
        mark += f" {'↑' if cell.moved > 0 else '↓'}{abs(cell.moved)}"
    return mark + (f" ({count(cell, language)})" if cell.says_n else "")


def count(cell: Cell, language: str = "en") -> str:
    """What a mean is of: `n=3`, `n=3 of 4`, `n=3 of 4, 1 diverged`."""
    is_part = cell.of is not None and cell.n != cell.of
    if language == "zh":
        of = f"/{cell.of}" if is_part else ""
        return f"n={cell.n}{of}" + (f"，{cell.diverged} 次发散" if cell.diverged else "")
    of = f" of {cell.of}" if is_part else ""
    return f"n={cell.n}{of}" + (f", {cell.diverged} diverged" if cell.diverged else "")
