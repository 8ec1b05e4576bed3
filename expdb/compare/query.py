"""What is asked of the runs, understood: which of them, which columns, what goes together."""

from dataclasses import dataclass
from typing import NamedTuple

from expdb.compare.grouping import Grouping
from expdb.expressions import ColumnExpr, Condition, Function, Operand


class Rule(NamedTuple):
    """A selection rule without its metric. argument: the N of at and tail."""

    function: Function
    argument: int | None = None

    def __str__(self) -> str:
        return self.function if self.argument is None else f"{self.function}:{self.argument}"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. sort: an operand; descending turns its order round. top: rows kept, None for all.

    select: rules that stand side by side for every metric that is a column by its name alone. pivot: row, column,
    value. moves: places gained are marked where rules for one metric stand side by side. bold: the best of each
    column. digits: behind the point, for results. percent: instead of fractions.
    """

    experiment: str | None = None
    runs: tuple[str, ...] = ()
    where: Condition | None = None
    columns: tuple[ColumnExpr, ...] = ()
    sort: Operand | None = None
    descending: bool = False
    top: int | None = None
    group_by: Grouping | None = None
    select: tuple[Rule, ...] = ()
    pivot: tuple[ColumnExpr, ColumnExpr, ColumnExpr] | None = None
    moves: bool = False
    only_changed: bool = False
    bold: bool = False
    digits: int | None = None
    percent: bool = False
    caption: str | None = None
    language: str = "en"
