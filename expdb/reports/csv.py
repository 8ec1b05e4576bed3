"""CSV after RFC 4180, for spreadsheets and data frames: the numbers as printed, the text as it is.

The data come first: a text that starts with `=`, `+`, `-` or `@` is not changed, though a spreadsheet may take
it for a formula; import such a column as text. Only what UTF-8 cannot carry is: a byte that was no UTF-8 is
written as its escape, `\\x80`. Which numbers are reported is not marked, so that a number stays a number.
"""

import csv
import re
from typing import Final

from expdb.records import Cell, Table
from expdb.reports.layout import heading
from expdb.reports.text import number, visible

_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


class _Records(list[str]):
    """The one method a csv writer asks of a file."""

    def write(self, record: str) -> None:
        self.append(record)


def render(table: Table) -> str:
    """A header of titles with units, then one record for each row; records end in a line feed, no BOM.

    A missing number is an empty cell. The table's title and rules have no place in CSV and are left out.
    """
    records = _Records()
    # The writer quotes what ends its own records; "\r\n" makes it quote a bare "\r", which readers take for one.
    writer = csv.writer(records, lineterminator="\r\n")
    writer.writerow(_encodable(heading(column)) for column in table.columns)
    writer.writerows([_field(cell) for cell in row] for row in table.rows)
    return "".join(record.removesuffix("\r\n") + "\n" for record in records)


def _field(cell: Cell) -> str:
    return "" if cell.value is None else _encodable(number(cell))


def _encodable(text: str) -> str:
    return text if text.isascii() else _SURROGATES.sub(lambda match: visible(match[0]), text)
