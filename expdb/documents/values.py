"""One number within a sentence: the `value` marker."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from expdb import compare, expressions
from expdb.compare import tables
from expdb.errors import NotFoundError, UsageError
from expdb.records import Cell, Table
from expdb.reports.text import brief
from expdb.stats import mean_std
from expdb.store.database import Database
from expdb.store.reader import RunRecord
from expdb.store.writer import as_number

WORDS: Final = ("of", "over", "runs", "experiment", "where", "sort", "top", "digits", "percent", "lang")
OVER: Final = ("max", "min", "mean", "std", "median", "count")
_NAMED: Final = 5


def value(database: Database, words: Mapping[str, str], runs: Sequence[RunRecord]) -> str:
    """The one number that the words of a marker say.

    of: an expression. over: one of OVER, for several runs; what is more than a choice says over how many. The others
    are a table's. Raises UsageError, ExpressionError or NotFoundError where it is no number, or more than one.
    """
    for word in words:
        if word not in WORDS:
            close = get_close_matches(word, WORDS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"a value knows no {word!r}", hint=f"{hint}its words: {', '.join(WORDS)}")
    over = words.get("over")
    if over is not None and over not in OVER:
        raise UsageError(f"over={over!r}: {', '.join(OVER[:-1])} or {OVER[-1]}", hint='over="max"')
    if not words.get("of") and over != "count":
        raise UsageError("a value of what?", hint='of="best(test/accuracy)"')
    of = expressions.parse_column(words["of"]) if words.get("of") else None
    asked = tables.read({name: text for name, text in words.items() if name not in ("of", "over")})
    if of is None:
        return str(len(compare.select(database, tables.understood(asked), runs)))
    columns = f"run, {of.operand}"
    table = tables.table(database, replace(asked, columns=columns), runs)
    if over == "count":
        return str(sum(row[-1].value is not None for row in table.rows))
    return _number(table, over, asked.digits, "%" if asked.percent and table.columns[-1].unit == "percent" else "")


def _number(table: Table, over: str | None, digits: int | None, sign: str) -> str:
    """The number of the table's last column with its sign, as people read it."""
    of = table.columns[-1].expression
    if not table.rows:
        raise NotFoundError("no run fits", hint="expdb ls lists the runs")
    if over is None:
        if len(table.rows) > 1:
            few = ", ".join(f"{row[0].value} {brief(row[1])}" for row in table.rows[:_NAMED])
            more = ", ..." if len(table.rows) > _NAMED else ""
            raise UsageError(
                f"{len(table.rows)} runs fit: {few}{more}",
                hint='name one: runs="NAME"; or say over="max", "min", "mean"; or sort="..." top="1"',
            )
        if _as_float(table.rows[0][1]) is None:
            shown = brief(table.rows[0][1])
            raise UsageError(f"{of} of {table.rows[0][0].value} is no number: {shown}", hint="expdb show lists metrics")
        return brief(table.rows[0][1]) + sign
    cells = [(number, row[1]) for row in table.rows if (number := _as_float(row[1])) is not None]
    if not cells:
        raise UsageError(f"{of} is no number in any of {len(table.rows)} runs", hint="expdb show lists metrics")
    if over in ("max", "min"):
        choose: Callable[..., tuple[float, Cell]] = max if over == "max" else min
        return brief(choose(cells, key=lambda pair: pair[0])[1]) + sign
    numbers = [number for number, _ in cells]
    mean, std = mean_std(numbers)
    found = {"mean": mean, "std": std, "median": statistics.median(numbers)}[over]
    if found is None:
        raise UsageError("one run has no standard deviation", hint='over="mean"')
    known = [cell.decimals for _, cell in cells if cell.decimals is not None]
    # A mean knows a digit more than its values.
    decimals = digits if digits is not None else max(known) + 1 if len(known) == len(cells) else None
    n = str(len(cells)) if len(cells) == len(table.rows) else _part(len(cells), len(table.rows), table.language)
    return f"{brief(Cell(found, decimals))}{sign} (n = {n})"


def _part(n: int, of: int, language: str) -> str:
    return f"{n}/{of}" if language == "zh" else f"{n} of {of}"


def _as_float(cell: Cell) -> float | None:
    """A number that can be stated; a run that diverged has none."""
    number = as_number(cell.value) if isinstance(cell.value, str) else cell.value
    return None if number is None or math.isnan(number) or cell.diverged else float(number)
