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

    A mean is `{"mean", "std", "n", "of", "diverged"}`: n runs of a group of `of`. What else a table marks stands in
    "marks", which is there when there are any: `[{"row": 0, "column": title, "diverged": true, "best": true, "moved":
    -2, "reported": true}]`.

    NaN and the infinities, which JSON has no numbers for, are the strings "nan", "inf" and "-inf"; a missing
    number is null. Titles are the keys, so a title that comes again is told apart: `loss`, `loss (2)`.
    """
    keys = _unique(column.title for column in table.columns)
    document: dict[str, object] = {
        "title": table.title,
        "columns": [
            {"title": key, "expression": column.expression, "unit": column.unit}
            for key, column in zip(keys, table.columns, strict=True)
        ],
        "rows": [{key: _value(cell) for key, cell in zip(keys, row, strict=True)} for row in table.rows],
        "rules": list(table.rules),
    }
    if marks := [
        {"row": i, "column": key, **said}
        for i, row in enumerate(table.rows)
        for key, cell in zip(keys, row, strict=True)
        if (said := _marks(cell))
    ]:
        document["marks"] = marks
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    return _ABOVE_ASCII.sub(lambda match: _safe(match[0]), text) + "\n"


def _value(cell: Cell) -> object:
    if cell.n is not None:
        return {"mean": cell.value, "std": cell.std, "n": cell.n, "of": cell.of, "diverged": cell.diverged}
    value = cell.value
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    return value


def _marks(cell: Cell) -> dict[str, object]:
    if not (cell.reported or cell.diverged or cell.bold or cell.moved):
        return {}
    said: dict[str, object] = {}
    if cell.reported and cell.value is not None:
        said["reported"] = True
    if cell.diverged and cell.n is None:
        said["diverged"] = True
    if cell.bold:
        said["best"] = True
    if cell.moved:
        said["moved"] = cell.moved
    return said


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
