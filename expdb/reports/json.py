"""JSON, for programs: the numbers as stored, the text without loss."""

import json
import math
import re
from collections.abc import Iterable
from typing import Final

from expdb.records import Cell, Table
from expdb.reports.text import visible

# The controls below are escaped by the json module, which leaves those above and lone surrogates as they are.
_ABOVE_ASCII: Final = re.compile(r"[^\x00-\x7e]+")


def render(table: Table) -> str:
    """`{"title", "columns": [{"title", "expression", "unit"}], "rows": [{title: value}], "rules"}`, UTF-8.

    NaN and the infinities, which JSON has no numbers for, are the strings "nan", "inf" and "-inf"; a missing
    number is null. Titles are the keys, so a title that comes again is told apart: `loss`, `loss (2)`.
    """
    keys = _unique(column.title for column in table.columns)
    document = {
        "title": table.title,
        "columns": [
            {"title": key, "expression": column.expression, "unit": column.unit}
            for key, column in zip(keys, table.columns, strict=True)
        ],
        "rows": [{key: _value(cell) for key, cell in zip(keys, row, strict=True)} for row in table.rows],
        "rules": list(table.rules),
    }
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    return _ABOVE_ASCII.sub(lambda match: _safe(match[0]), text) + "\n"


def _value(cell: Cell) -> float | str | None:
    value = cell.value
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    return value


def _unique(titles: Iterable[str]) -> list[str]:
    keys: dict[str, None] = {}
    for title in titles:
        key, count = title, 1
        while key in keys:
            count += 1
            key = f"{title} ({count})"
        keys[key] = None
    return list(keys)


def _safe(run: str) -> str:
    """Characters of a JSON string, with those that act on a terminal or are no UTF-8 as \\uXXXX: the same string."""
    return run if visible(run) is run else "".join(c if visible(c) is c else f"\\u{ord(c):04x}" for c in run)
