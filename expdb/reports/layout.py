"""A table as words: the headings with their units, the numbers as printed, the marks and the rules below.

Every format that people read takes its words from here, so that all of them say the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from expdb.records import Cell, Column, Table
from expdb.reports.text import brief, one_line

MARK: Final = "†"
MARK_RULE: Final = "† reported on a page, without its curve"


@dataclass(frozen=True, slots=True)
class PrintedColumn:
    """A column as words. heading: one visible line. cells: numbers as printed, text raw and maybe of many lines.

    marks: True for each cell that needs MARK behind it; empty where none of the column does.
    """

    heading: str
    cells: Sequence[str]
    marks: Sequence[bool]
    numeric: bool


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """A table as words. title and rules: one visible line each; a rule that explains MARK is the last."""

    title: str
    columns: Sequence[PrintedColumn]
    rules: Sequence[str]


def heading(column: Column) -> str:
    """The title with the unit of the numbers below: `loss`, `time (s)`, `accuracy (%)`.

    A fraction has no sign, and a title that says its unit is not told twice.
    """
    if column.unit is None or column.unit == "fraction":
        return column.title
    sign = "%" if column.unit == "percent" else column.unit
    told = "%" in column.title if sign == "%" else f"({sign})" in column.title
    return column.title if told else f"{column.title} ({sign})"


def printed(table: Table) -> PrintedTable:
    """The words of a table, once for all formats."""
    cells = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    columns = [_column(column, below) for column, below in zip(table.columns, cells, strict=True)]
    rules = [one_line(rule).strip() for rule in table.rules]
    if any(column.marks for column in columns):
        rules.append(MARK_RULE)
    return PrintedTable(one_line(table.title or "").strip(), columns, [rule for rule in rules if rule])


def _column(column: Column, cells: Sequence[Cell]) -> PrintedColumn:
    # A mark is for telling apart: where every number is reported, the rules say so once.
    kinds = {cell.reported for cell in cells if cell.value is not None}
    marks = [cell.reported and cell.value is not None for cell in cells] if len(kinds) > 1 else []
    return PrintedColumn(one_line(heading(column)), [brief(cell) for cell in cells], marks, column.numeric)
