"""CSV after RFC 4180, for spreadsheets and data frames: the numbers as printed, the text as it is.

The data come first: a text that starts with `=`, `+`, `-` or `@` is not changed, though a spreadsheet may take
it for a formula; import such a column as text. Only what UTF-8 cannot carry is: a byte that was no UTF-8 is
written as its escape, `\\x80`. Which numbers are reported, broken or the best is not marked, so that a number stays
a number; what a mean is made of stands in columns of its own.
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

    A missing number is an empty cell. A column of means is four: mean, `std`, `n` and `diverged`. The table's title
    and rules have no place in CSV and are left out.
    """
    records = _Records()
    # The writer quotes what ends its own records; "\r\n" makes it quote a bare "\r", which readers take for one.
    writer = csv.writer(records, lineterminator="\r\n")
    means = [any(row[i].n is not None for row in table.rows) for i in range(len(table.columns))]
    titles = [_titles(column, is_mean) for column, is_mean in zip(table.columns, means, strict=True)]
    writer.writerow(_encodable(title) for title in chain.from_iterable(titles))
    writer.writerows(
        chain.from_iterable(map(_fields, row, means)) if any(means) else [_field(cell) for cell in row]
        for row in table.rows
    )
    return "".join(record.removesuffix("\r\n") + "\n" for record in records)


def _titles(column: Column, is_mean: bool) -> list[str]:
    if not is_mean:
        return [heading(column)]
    std = heading(replace(column, title=f"{column.title} std"))
    return [heading(column), std, f"{column.title} n", f"{column.title} diverged"]


def _fields(cell: Cell, is_mean: bool) -> list[str]:
    """A number; or a mean, its deviation, how many runs it is of and how many diverged."""
    if not is_mean:
        return [_field(cell)]
    std = "" if cell.std is None else number(replace(cell, value=cell.std))
    return [_field(cell), std, str(cell.n if cell.n is not None else ""), str(cell.diverged)]


def _field(cell: Cell) -> str:
    return "" if cell.value is None else _encodable(number(cell))


def _encodable(text: str) -> str:
    return text if text.isascii() else _SURROGATES.sub(lambda match: visible(match[0]), text)
