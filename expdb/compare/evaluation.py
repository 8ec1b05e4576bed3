"""What an expression is worth for a run: names, selection rules, comparisons, order."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import TypeVar

from expdb import metrics
from expdb.errors import ExpressionError, NotFoundError
from expdb.expressions import (
    And,
    ColumnExpr,
    Comparison,
    Condition,
    Count,
    Name,
    Not,
    Number,
    Operand,
    Or,
    Present,
    Selection,
    StepOf,
    Text,
    metrics_in,
    names_in,
)
from expdb.records import REPORTED, Better, Cell, Column, Unit
from expdb.store.database import Database
from expdb.store.reader import MetricRecord, RunRecord
from expdb.store.writer import as_number

T = TypeVar("T", float, str)

_FIELDS: dict[str, Callable[[RunRecord], str | int | None]] = {
    "run": lambda run: run.name,
    "name": lambda run: run.name,
    "experiment": lambda run: run.experiment,
    "uid": lambda run: run.uid,
    "status": lambda run: run.status,
    "origin": lambda run: run.origin,
    "seed": lambda run: run.params.get("seed") if run.seed is None else run.seed,
    "note": lambda run: run.note,
    "epochs": lambda run: epochs(run),
}
_PARAM_ALIASES = {"config": ("配置",), "model": ("模型",), "dataset": ("数据集",), "lr": ("学习率",)}


def has_diverged(run: RunRecord, metric: MetricRecord) -> bool:
    """Whether the metric, or a loss of the run, ended as no finite number."""
    for one in run.metrics:
        # Asked of every number of a table, and hardly ever so.
        if one.nonfinite and (one is metric or one.name.endswith("loss")) and _ends_broken(one):
            return True
    return False


def _ends_broken(metric: MetricRecord) -> bool:
    # SQLite stores NaN as NULL.
    return metric.nonfinite > 0 and (metric.last_value is None or math.isinf(metric.last_value))


def longest_curve(record: RunRecord) -> MetricRecord | None:
    """The curve with the most points that the training told, not its machine; None for reported results."""
    curves = [one for one in record.metrics if one.kind != REPORTED and one.first_step is not None]
    curves = [one for one in curves if not one.name.startswith(metrics.SYSTEM)] or curves
    return max(curves, key=lambda one: one.count, default=None)


def epochs(record: RunRecord) -> str | None:
    """First and last step of the run's longest curve: `80–85`; None for reported results."""
    longest = longest_curve(record)
    if longest is None:
        return None
    if longest.first_step == longest.last_step:
        return str(longest.first_step)
    return f"{longest.first_step}–{longest.last_step}"


@dataclass(frozen=True, slots=True)
class Value:
    """An operand's value for one run."""

    value: float | str | None
    unit: Unit | None = None
    decimals: int | None = None
    reported: bool = False
    diverged: bool = False


_NOTHING = Value(None)


class Evaluation:
    """Expressions over a set of runs."""

    def __init__(self, database: Database, records: Sequence[RunRecord]) -> None:
        self.database = database
        self.records = records
        self._directions: dict[tuple[str, str, str], Better] = {}

    # What the runs have is gathered when it is asked for: a filter by a param needs no metric's name.
    @cached_property
    def _metrics(self) -> set[str]:
        # Triples first: they are few, and runs are many.
        named = {(m.name, m.key, m.label) for record in self.records for m in record.metrics}
        return {name for triple in named for name in triple}

    def _is_known(self, metric: str) -> bool:
        """Whether any run has the metric; mostly the first has."""
        return bool(self.records and self.records[0].metric(metric)) or metric in self._metrics

    @cached_property
    def _params(self) -> set[str]:
        return {key for record in self.records for key in record.params}

    @cached_property
    def _tags(self) -> set[str]:
        return {key for record in self.records for key in record.tags}

    def check(self, expressions: Iterable[Condition | ColumnExpr]) -> None:
        """Raise NotFoundError for a name that no run has, ExpressionError for a best that nobody can choose."""
        for expression in expressions:
            _refuse_literals(expression)
            if not self.records:
                continue
            for name in sorted(metrics_in(expression)):
                if not self._is_known(name):
                    raise self._unknown(name, "metric", self._metrics)
            for name in sorted(names_in(expression)):
                if self._source_of(name) is None:
                    every = self._metrics | self._params | self._tags | set(_FIELDS)
                    raise self._unknown(name, "param, tag, metric or field", every)

    def _unknown(self, name: str, kind: str, names: set[str]) -> NotFoundError:
        close = get_close_matches(name, names, 3, 0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "expdb show RUN lists what a run has"
        hint += f"; if it is text, quote it: '{name}'"
        return NotFoundError(f"none of the runs has a {kind} called {name!r}", hint=hint)

    def _source_of(self, name: str) -> Callable[[RunRecord], Value] | None:
        """How a bare or prefixed name is looked up: field, param, tag, then the last value of a metric."""
        room, _, rest = name.partition(".")
        if rest and room in ("params", "param") and rest in self._params:
            return _word(lambda run: run.params.get(rest))
        if rest and room in ("tags", "tag") and rest in self._tags:
            return _word(lambda run: run.tags.get(rest))
        if rest and room in ("metrics", "metric") and self._is_known(rest):
            return self.operand(Selection("last", rest, None))
        if name in _FIELDS:
            return _word(_FIELDS[name])
        key = next((one for one in (name, *_PARAM_ALIASES.get(name, ())) if one in self._params), None)
        if key is not None:
            return _word(lambda run: run.params.get(key))
        if name in self._tags:
            return _word(lambda run: run.tags.get(name))
        return self.operand(Selection("last", name, None)) if self._is_known(name) else None

    def operand(self, operand: Operand) -> Callable[[RunRecord], Value]:
        """A function from a run to the operand's value."""
        match operand:
            case Number(value, percent, _):
                number = Value(value, "percent" if percent else None)
                return lambda _: number
            case Text(text):
                said = Value(text)
                return lambda _: said
            case Name(name):
                return self._source_of(name) or (lambda _: _NOTHING)
            case Selection():
                return lambda run: self._selected(run, operand)[0]
            case StepOf(selection):
                return lambda run: self._step(run, selection)
            case Count(name):
                return lambda run: Value(m.count) if (m := run.metric(name)) else _NOTHING

    def _step(self, run: RunRecord, selection: Selection) -> Value:
        value, step = self._selected(run, selection)
        return Value(step, diverged=value.diverged)

    def _selected(self, run: RunRecord, selection: Selection) -> tuple[Value, int | None]:
        """(value, step) that a rule selects."""
        metric = stated(run, selection) or run.metric(selection.metric)
        if metric is None:
            return _NOTHING, None
        function = selection.function
        if function == "best":
            function = self._direction(metric, selection)
        if function in ("at", "tail"):
            return (_NOTHING, None) if metric.kind == REPORTED else self._from_points(run, metric, selection)
        if function == "first":
            value, step = metric.first_value, metric.first_step
        elif function == "last":
            value, step = metric.last_value, metric.last_step
        elif function == "min":
            value, step = metric.min_value, metric.min_step
        else:
            value, step = metric.max_value, metric.max_step
        # SQLite stores NaN as NULL.
        number = math.nan if value is None and metric.count else value
        broken = number is not None and (not math.isfinite(number) or has_diverged(run, metric))
        return Value(number, metric.unit, metric.decimals, metric.kind == REPORTED, broken), step

    def _direction(self, metric: MetricRecord, selection: Selection) -> Better:
        """As `direction`, looked up once for all metrics of one name."""
        key = (metric.name, metric.label, metric.kind)
        if key not in self._directions:
            self._directions[key] = direction(metric, selection)
        return self._directions[key]

    def _from_points(self, run: RunRecord, metric: MetricRecord, selection: Selection) -> tuple[Value, int | None]:
        wanted = selection.argument or 0
        if selection.function == "at":
            rows = self.database.rows(
                "SELECT value FROM point WHERE metric_id = ? AND step = ? ORDER BY seq DESC LIMIT 1",
                (metric.id, wanted),
            )
            if not rows:
                return _NOTHING, None
            value = math.nan if rows[0][0] is None else rows[0][0]
            broken = not math.isfinite(value) or has_diverged(run, metric)
            return Value(value, metric.unit, metric.decimals, diverged=broken), wanted
        rows = self.database.rows(
            "SELECT value, step FROM point WHERE metric_id = ?"
            " ORDER BY step DESC NULLS LAST, time_ms DESC NULLS LAST, seq DESC LIMIT ?",
            (metric.id, wanted),
        )
        if not rows:
            return _NOTHING, None
        values = [math.nan if value is None else value for value, _ in rows]
        # A mean knows a digit more than its values.
        decimals = None if metric.decimals is None else metric.decimals + 1
        # Not fsum, which refuses to add opposite infinities.
        mean = sum(values) / len(values) if not all(map(math.isfinite, values)) else math.fsum(values) / len(values)
        broken = not math.isfinite(mean) or has_diverged(run, metric)
        return Value(mean, metric.unit, decimals, diverged=broken), rows[0][1]

    def column(self, column: ColumnExpr) -> tuple[Column, list[Cell]]:
        """The printed column, its numbers in one unit."""
        of = self.operand(column.operand)
        values = [of(record) for record in self.records]
        numbers = [value for value in values if isinstance(value.value, (int, float))]
        units = {value.unit for value in numbers}
        # Beside a number that has no unit, none can be said of the column.
        unit = None if None in units else metrics.common_unit(units)
        cells = [_cell(value, unit) for value in values]
        numeric = bool(numbers) and all(isinstance(v.value, (int, float, type(None))) for v in values)
        title = column.title or str(column.operand)
        metric = self.metric_of(column.operand)
        return Column(title, str(column.operand), numeric, unit, metric, self._better(metric)), cells

    def metric_of(self, operand: Operand) -> str | None:
        """The metric whose values an operand is, by the name that the runs know; None for steps, counts and words."""
        if isinstance(operand, Name) and self._is_metric(operand.text):
            wanted = operand.text.removeprefix("metrics.")
        elif isinstance(operand, Selection):
            wanted = operand.metric
        else:
            return None
        found = next(filter(None, (record.metric(wanted) for record in self.records)), None)
        return found.name if found else wanted

    def knows(self, name: str) -> bool:
        """Whether a bare name means anything to the runs."""
        return self._source_of(name) is not None

    def hides_param(self, name: str) -> bool:
        """Whether a bare name is a field of the run, and a param as well, which then is `params.` and the name."""
        return name in _FIELDS and name != "seed" and name in self._params

    def aliases_of(self, key: str) -> frozenset[str]:
        """The other names that a param goes by."""
        return frozenset(name for name, keys in _PARAM_ALIASES.items() if key in keys)

    def is_word(self, operand: Operand) -> bool:
        """Whether an operand is a param, a tag, a field or a literal, rather than a result."""
        return isinstance(operand, (Number, Text)) or (isinstance(operand, Name) and not self._is_metric(operand.text))

    def _better(self, metric: str | None) -> Better | None:
        if metric is None:
            return None
        found = next(filter(None, (record.metric(metric) for record in self.records)), None)
        return metrics.better(metric) or (metrics.better(found.label) if found else None)

    def sorted(self, records: list[RunRecord], operand: Operand, *, descending: bool) -> list[RunRecord]:
        """Best first for metrics, else ascending; what has no value, or is not a number, comes last."""
        of = self.operand(operand)
        return [records[i] for i in self.order([of(one) for one in records], operand, descending=descending)]

    def order(self, values: Sequence[Value], operand: Operand, *, descending: bool) -> list[int]:
        """The places of an operand's values in the order of `sorted`."""
        descending = self.falls(operand, descending=descending)
        having = [(value, place) for place, value in enumerate(values) if _is_there(value)]
        missing = [place for place, value in enumerate(values) if not _is_there(value)]
        unit = metrics.common_unit(value.unit for value, _ in having)

        numbers = [(number, place) for value, place in having if (number := _as_number(value, unit)) is not None]
        texts = [(str(value.value), place) for value, place in having if _as_number(value, unit) is None]
        numbers.sort(key=lambda pair: pair[0], reverse=descending)
        texts.sort(key=lambda pair: pair[0], reverse=descending)
        return [place for _, place in (*numbers, *texts)] + missing

    def falls(self, operand: Operand, *, descending: bool) -> bool:
        """Whether the order of `sorted` begins with the greatest."""
        return descending != self._best_is_greatest(operand)

    def _best_is_greatest(self, operand: Operand) -> bool:
        """Whether the best of an operand stands at its greatest end; a metric nobody knows has to be asked about."""
        if isinstance(operand, Name) and self._is_metric(operand.text):
            operand = Selection("last", operand.text.removeprefix("metrics."), None)
        if not isinstance(operand, Selection):
            return False
        if operand.function in ("min", "max"):
            return operand.function == "max"
        found = metrics.better(operand.metric)
        if found is None and (metric := next(filter(None, (r.metric(operand.metric) for r in self.records)), None)):
            found = metrics.better(metric.name) or metrics.better(metric.label)
        if found is None:
            raise ExpressionError(
                f"is more of {operand.metric!r} better, or less?",
                text=str(operand),
                position=0,
                hint=f"--sort 'max({operand.metric})' or --sort 'min({operand.metric})'",
            )
        return found == "max"

    def _is_metric(self, name: str) -> bool:
        """Whether a bare name is looked up as a metric."""
        return (
            name not in _FIELDS
            and not {name, *_PARAM_ALIASES.get(name, ())} & self._params
            and name not in self._tags
            and self._is_known(name.removeprefix("metrics."))
        )

    def condition(self, condition: Condition) -> Callable[[RunRecord], bool]:
        """A function that says whether a run fits."""
        match condition:
            case And(parts):
                tests = [self.condition(part) for part in parts]
                return lambda run: all(test(run) for test in tests)
            case Or(parts):
                tests = [self.condition(part) for part in parts]
                return lambda run: any(test(run) for test in tests)
            case Not(part):
                test = self.condition(part)
                return lambda run: not test(run)
            case Present(operand):
                of = self.operand(operand)
                return lambda run: of(run).value is not None
            case Comparison(operator, left, right):
                one, other = self.operand(left), self.operand(right)
                if isinstance(right, Number) and not right.percent and operator != "~":
                    return _against(operator, one, right.value)
                return lambda run: _compared(operator, one(run), other(run))


def _refuse_literals(expression: Condition | ColumnExpr) -> None:
    """`lr = 0.1 or 0.2` says that 0.2 has a value, which nobody means."""
    match expression:
        case And(parts) | Or(parts):
            for part in parts:
                _refuse_literals(part)
        case Not(part):
            _refuse_literals(part)
        case Present(Number() | Text() as literal):
            raise ExpressionError(
                f"{literal} alone is no condition", text=str(literal), position=0, hint="write: lr = 0.1 or lr = 0.2"
            )


def direction(metric: MetricRecord, selection: Selection) -> Better:
    """Which way `best` looks. Raises ExpressionError for a metric that nobody knows."""
    found = metrics.better(metric.name) or metrics.better(metric.label)
    if found is None and metric.kind == REPORTED:
        # There is one value; either way finds it.
        return "max"
    if found is None:
        raise ExpressionError(
            f"is more of {selection.metric!r} better, or less? best() does not know it",
            text=str(selection),
            position=0,
            hint=f"say max({selection.metric}) or min({selection.metric})",
        )
    return found


def stated(run: RunRecord, selection: Selection) -> MetricRecord | None:
    """Of several reported values of one metric (`best acc`, `last acc`) the one the page says was chosen so."""
    for one in run.metrics:
        if one.rule is not None and one.rule == selection.function and one.name == selection.metric:
            return one
    return None


@lru_cache(maxsize=4096)
def _word_of(text: str | int) -> Value:
    return Value(text)


@lru_cache(maxsize=4096)
def _cell_of(text: str | None) -> Cell:
    return Cell(text)


def _word(of: Callable[[RunRecord], str | int | None]) -> Callable[[RunRecord], Value]:
    def value(run: RunRecord) -> Value:
        found = of(run)
        return _NOTHING if found is None else _word_of(found)

    return value


# Params of many runs say the same few words and numbers.
_number_of = lru_cache(maxsize=4096)(as_number)


def _is_there(value: Value) -> bool:
    return value.value is not None and value.value == value.value


def _as_number(value: Value, unit: Unit | None) -> float | None:
    if isinstance(value.value, str):
        return _number_of(value.value)
    return None if value.value is None else metrics.in_unit(value.value, value.unit, unit)


def _compared(operator: str, left: Value, right: Value) -> bool:
    """A comparison; one with a missing side does not hold, whatever the operator."""
    if left.value is None or right.value is None:
        return False
    if operator == "~":
        return re.search(str(right.value), str(left.value)) is not None
    if left.unit is not right.unit:
        left, right = _like(left, right), _like(right, left)
    a = _as_number(left, "fraction" if left.unit in metrics.RATIOS else "s")
    b = _as_number(right, "fraction" if right.unit in metrics.RATIOS else "s")
    if a is None or b is None:
        if operator not in ("=", "!=") and (a is not None or b is not None):
            # A number is neither more nor less than a word.
            return False
        return _holds(operator, str(left.value), str(right.value))
    return _holds(operator, a, b)


def _against(operator: str, one: Callable[[RunRecord], Value], number: float) -> Callable[[RunRecord], bool]:
    """A comparison with a bare number, as `_compared` makes it, in a third of the time: most filters are this."""
    right = Value(number)

    def holds(run: RunRecord) -> bool:
        left = one(run)
        if left.unit is None and left.value is not None:
            value = _number_of(left.value) if isinstance(left.value, str) else left.value
            if value is not None:
                return _holds(operator, value, number)
        return _compared(operator, left, right)

    return holds


def _like(value: Value, other: Value) -> Value:
    """A bare number beside a share: up to 1 it is meant as a fraction, above as percent."""
    if value.unit is None and other.unit in metrics.RATIOS and isinstance(value.value, (int, float)):
        return Value(value.value, "fraction" if abs(value.value) <= 1 else "percent")
    # 0.05 with a percent sign beside a bare param: the sign is just a hundredth.
    return value


def _holds(operator: str, a: T, b: T) -> bool:
    if operator in ("=", "!="):
        # 87.62 % and 0.8762 are equal, though not in binary.
        same = math.isclose(a, b, rel_tol=1e-12) if isinstance(a, float) and isinstance(b, float) else a == b
        return same == (operator == "=")
    if operator in ("<=", ">=") and a == b:
        return True
    return a < b if operator.startswith("<") else a > b


def _cell(value: Value, unit: Unit | None) -> Cell:
    if isinstance(value.value, str) or value.value is None:
        return _cell_of(value.value)
    broken = int(value.diverged)
    if value.unit == unit or value.unit is None or unit is None:
        return Cell(value.value, value.decimals, unit, value.reported, diverged=broken)
    shift = {("fraction", "percent"): -2, ("percent", "fraction"): 2}.get((value.unit, unit), 0)
    decimals = None if value.decimals is None else max(0, value.decimals + shift)
    return Cell(metrics.in_unit(value.value, value.unit, unit), decimals, unit, value.reported, diverged=broken)


def is_field(name: str) -> bool:
    """Whether a bare name means a field of the run, before any param or tag."""
    return name in _FIELDS
