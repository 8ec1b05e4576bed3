"""CSV after RFC 4180, for spreadsheets and data frames: the numbers as printed, the text as it is.

The data come first: a text that starts with `=`, `+`, `-` or `@` is not changed, though a spreadsheet may take
it for a formula; import such a column as text. Only what UTF-8 cannot carry is: a byte that was no UTF-8 is
written as its escape, `\\x80`. Which numbers are reported, broken or the best is not marked, so that a number stays
a number; what a mean is made of, and where any number of single runs is broken, stands in columns of their own.
"""

import csv
import re
from dataclasses import replace
from itertools import chain
from typing import Final

from expdb.records import Cell, Column, Table
from expdb.reports.layout import heading
from expdb.reports.text import number, visible

_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


class _Records(list[str]):
    """The one method a csv writer asks of a file."""

    def write(self, record: str) -> None:
        self.append(record)


def render(table: Table) -> str:
    """A header of titles with units, then one record for each row; records end in a line feed, no BOM.

    A missing number is an empty cell. A column of means is five: mean and `std` in full, unless digits were asked for,
    `n`, `of` and `diverged`. A column of single runs of which any diverged has `diverged`, 0 or 1, beside it. The
    table's title and rules have no place in CSV and are left out.
    """
    records = _Records()
    # The writer quotes what ends its own records; "\r\n" makes it quote a bare "\r", which readers take for one.
    writer = csv.writer(records, lineterminator="\r\n")
    shapes = [_shape([row[i] for row in table.rows]) for i in range(len(table.columns))]
    titles = [_titles(column, shape) for column, shape in zip(table.columns, shapes, strict=True)]
    writer.writerow(_encodable(title) for title in chain.from_iterable(titles))
    writer.writerows(
        chain.from_iterable(map(_fields, row, shapes)) if any(shapes) else [_field(cell) for cell in row]
        for row in table.rows
    )
    return "".join(record.removesuffix("\r\n") + "\n" for record in records)


# What stands beside a number: nothing, whether it is broken, or what a mean is made of.
_BARE, _MARKED, _MEAN = range(3)


def _shape(cells: list[Cell]) -> int:
    if any(cell.n is not None for cell in cells):
        return _MEAN
    return _MARKED if any(cell.diverged for cell in cells) else _BARE


def _titles(column: Column, shape: int) -> list[str]:
    if shape == _BARE:
        return [heading(column)]
    if shape == _MARKED:
        return [heading(column), f"{column.title} diverged"]
    std = heading(replace(column, title=f"{column.title} std"))
    return [heading(column), std, *(f"{column.title} {word}" for word in ("n", "of", "diverged"))]


def _fields(cell: Cell, shape: int) -> list[str]:
    """A number; whether it is broken; or a mean, its deviation, of how many of how many runs, and how many diverged."""
    if shape == _BARE:
        return [_field(cell)]
    if shape == _MARKED:
        return [_field(cell), str(cell.diverged)]
    # The numbers of one run are as it printed them; a mean was printed by nobody.
    full = cell if cell.chosen or cell.n in (None, 1) else replace(cell, decimals=None)
    std = "" if full.std is None else number(replace(full, value=full.std))
    counts = ["" if count is None else str(count) for count in (full.n, full.of)]
    return [_field(full), std, *counts, str(full.diverged)]


def _field(cell: Cell) -> str:
    return "" if cell.value is None else _encodable(number(cell))


def _encodable(text: str) -> str:
    return text if text.isascii() else _SURROGATES.sub(lambda match: visible(match[0]), text)
