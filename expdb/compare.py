"""Verb 3: the store to tables of numbers. Columns, filters and selection rules; every table says its rules."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
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
from expdb.records import REPORTED, Better, Cell, Column, Table, Unit
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.reader import MetricRecord, RunRecord
from expdb.store.writer import as_number

T = TypeVar("T", float, str)

# Settings, clocks and memory say how a run went, not how good it is.
_NO_RESULTS = frozenset(("lr", "time", "epoch_time"))
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
# Columns that the table has of itself.
_OWN_COLUMNS = ("run", "experiment", "epochs")
_PARAM_ALIASES = {"config": ("配置",), "model": ("模型",), "dataset": ("数据集",), "lr": ("学习率",)}
_EXPLAINED = {
    "first": "first: the value that was printed first",
    "last": "last: the value at the greatest step",
    "min": "min: the least value of the curve",
    "max": "max: the greatest value of the curve",
    "at": "at: the value at step {n}, the last where there are several",
    "tail": "tail: the mean of the last {n} values, by step",
}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. sort: an operand; descending turns its order round. top: rows kept, None for all."""

    experiment: str | None = None
    runs: tuple[str, ...] = ()
    where: Condition | None = None
    columns: tuple[ColumnExpr, ...] = ()
    sort: Operand | None = None
    descending: bool = False
    top: int | None = None


def compare(database: Database, query: Query) -> Table:
    """The table of a query; without columns, what differs between the runs and how good they are."""
    records = select(database, query)
    columns = query.columns or default_columns(records)
    evaluation = _Evaluation(database, records)
    evaluation.check(columns)
    printed = [evaluation.column(column) for column in columns]
    rows = tuple(zip(*(cells for _, cells in printed), strict=True)) if records else ()
    return Table(tuple(c for c, _ in printed), rows, rules=tuple(_rules(columns, records, evaluation)))


def select(database: Database, query: Query) -> list[RunRecord]:
    """The runs of a query in its order."""
    records = reader.runs(database, query.experiment)
    if query.runs:
        wanted = {reader.find_run(database, text): None for text in query.runs}
        by_id = {record.id: record for record in records}
        for run_id in wanted:
            if run_id not in by_id:
                name = reader.run(database, run_id).name
                raise NotFoundError(f"{name} is not in experiment {query.experiment}", hint="leave out -e")
        records = [by_id[run_id] for run_id in wanted]
    evaluation = _Evaluation(database, records)
    if query.where is not None:
        evaluation.check([query.where])
        holds = evaluation.condition(query.where)
        records = [record for record in records if holds(record)]
    if query.sort is not None:
        evaluation.check([ColumnExpr(query.sort, None)])
        records = evaluation.sorted(records, query.sort, descending=query.descending)
    return records[: query.top] if query.top is not None else records


def check_metric(database: Database, records: Sequence[RunRecord], name: str) -> None:
    """Raise NotFoundError, with the names that are near, where none of the runs has such a metric."""
    _Evaluation(database, records).check([ColumnExpr(Selection("last", name, None), None)])


def default_columns(records: Sequence[RunRecord]) -> tuple[ColumnExpr, ...]:
    """Name, experiment and params where they differ, then the last value of each result, and the best of the test's."""
    out = [ColumnExpr(Name("run"), None)]
    if len({record.experiment for record in records}) > 1:
        out.append(ColumnExpr(Name("experiment"), None))
    values: dict[str, Counter[str | None]] = {}
    for record in records:
        for key, value in record.params.items():
            values.setdefault(key, Counter())[value] += 1
    for key, counted in values.items():
        if len(counted) > 1 or counted.total() < len(records):
            name = f"params.{key}"
            out.append(ColumnExpr(Name(name), name if key in _OWN_COLUMNS else key))
    if any(epochs(record) for record in records):
        out.append(ColumnExpr(Name("epochs"), None))
    kinds: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    for record in records:
        for metric in record.metrics:
            kinds.setdefault(metric.key, set()).add(metric.kind)
            labels.setdefault(metric.key, set()).add(metric.label)
    taken = Counter(next(iter(found)) for found in labels.values() if len(found) == 1)
    for name, kind in kinds.items():
        if name.rsplit("/", 1)[-1] in _NO_RESULTS or name.startswith(metrics.SYSTEM):
            continue
        if kind == {REPORTED}:
            label = next(iter(labels[name])) if len(labels[name]) == 1 else None
            is_free = label not in values and label not in _OWN_COLUMNS
            title = label if label and taken[label] == 1 and is_free else name
            out.append(ColumnExpr(Selection("last", name, None), title))
            continue
        out.append(ColumnExpr(Selection("last", name, None), None))
        if metrics.better(name) and name.startswith((f"{metrics.TEST}/", f"{metrics.VAL}/")):
            best = Selection("best", name, None)
            out += [ColumnExpr(best, None), ColumnExpr(StepOf(best), "at step")]
    return tuple(out)


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
class _Value:
    """An operand's value for one run."""

    value: float | str | None
    unit: Unit | None = None
    decimals: int | None = None
    reported: bool = False


_NOTHING = _Value(None)


class _Evaluation:
    """Expressions over a set of runs."""

    def __init__(self, database: Database, records: Sequence[RunRecord]) -> None:
        self.database = database
        self.records = records
        self._metrics = {name for r in records for m in r.metrics for name in (m.name, m.key, m.label)}
        self._params = {key for record in records for key in record.params}
        self._tags = {key for record in records for key in record.tags}

    def check(self, expressions: Iterable[Condition | ColumnExpr]) -> None:
        """Raise NotFoundError for a name that no run has, ExpressionError for a best that nobody can choose."""
        for expression in expressions:
            _refuse_literals(expression)
            if not self.records:
                continue
            for name in sorted(metrics_in(expression) - self._metrics):
                raise self._unknown(name, "metric", self._metrics)
            for name in sorted(names_in(expression)):
                if self._source_of(name) is None:
                    every = self._metrics | self._params | self._tags | set(_FIELDS)
                    raise self._unknown(name, "param, tag, metric or field", every)

    def _unknown(self, name: str, kind: str, names: set[str]) -> NotFoundError:
        close = get_close_matches(name, names, 3, 0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "expdb show RUN lists what a run has"
        hint += f"; if it is text, quote it: '{name}'"
        return NotFoundError(f"none of the runs has a {kind} called {name!r}", hint=hint)

    def _source_of(self, name: str) -> Callable[[RunRecord], _Value] | None:
        """How a bare or prefixed name is looked up: field, param, tag, then the last value of a metric."""
        room, _, rest = name.partition(".")
        if rest and room in ("params", "param") and rest in self._params:
            return _word(lambda run: run.params.get(rest))
        if rest and room in ("tags", "tag") and rest in self._tags:
            return _word(lambda run: run.tags.get(rest))
        if rest and room in ("metrics", "metric") and rest in self._metrics:
            return self.operand(Selection("last", rest, None))
        if name in _FIELDS:
            return _word(_FIELDS[name])
        key = next((one for one in (name, *_PARAM_ALIASES.get(name, ())) if one in self._params), None)
        if key is not None:
            return _word(lambda run: run.params.get(key))
        if name in self._tags:
            return _word(lambda run: run.tags.get(name))
        return self.operand(Selection("last", name, None)) if name in self._metrics else None

    def operand(self, operand: Operand) -> Callable[[RunRecord], _Value]:
        """A function from a run to the operand's value."""
        match operand:
            case Number(value, percent, _):
                return lambda _: _Value(value, "percent" if percent else None)
            case Text(text):
                return lambda _: _Value(text)
            case Name(name):
                return self._source_of(name) or (lambda _: _NOTHING)
            case Selection():
                return lambda run: self._selected(run, operand)[0]
            case StepOf(selection):
                return lambda run: _Value(self._selected(run, selection)[1])
            case Count(name):
                return lambda run: _Value(m.count) if (m := run.metric(name)) else _NOTHING

    def _selected(self, run: RunRecord, selection: Selection) -> tuple[_Value, int | None]:
        """(value, step) that a rule selects."""
        metric = _stated(run, selection) or run.metric(selection.metric)
        if metric is None:
            return _NOTHING, None
        function = selection.function
        if function == "best":
            function = direction(metric, selection)
        if function in ("at", "tail"):
            return (_NOTHING, None) if metric.kind == REPORTED else self._from_points(metric, selection)
        value, step = {
            "first": (metric.first_value, metric.first_step),
            "last": (metric.last_value, metric.last_step),
            "min": (metric.min_value, metric.min_step),
            "max": (metric.max_value, metric.max_step),
        }[function]
        # SQLite stores NaN as NULL.
        number = math.nan if value is None and metric.count else value
        return _Value(number, metric.unit, metric.decimals, metric.kind == REPORTED), step

    def _from_points(self, metric: MetricRecord, selection: Selection) -> tuple[_Value, int | None]:
        wanted = selection.argument or 0
        if selection.function == "at":
            rows = self.database.rows(
                "SELECT value FROM point WHERE metric_id = ? AND step = ? ORDER BY seq DESC LIMIT 1",
                (metric.id, wanted),
            )
            if not rows:
                return _NOTHING, None
            value = math.nan if rows[0][0] is None else rows[0][0]
            return _Value(value, metric.unit, metric.decimals), wanted
        rows = self.database.rows(
            "SELECT value, step FROM point WHERE metric_id = ? ORDER BY step DESC, time_ms DESC, seq DESC LIMIT ?",
            (metric.id, wanted),
        )
        if not rows:
            return _NOTHING, None
        values = [math.nan if value is None else value for value, _ in rows]
        # A mean knows a digit more than its values.
        decimals = None if metric.decimals is None else metric.decimals + 1
        return _Value(math.fsum(values) / len(values), metric.unit, decimals), rows[0][1]

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
        return Column(column.title or str(column.operand), str(column.operand), numeric, unit), cells

    def sorted(self, records: list[RunRecord], operand: Operand, *, descending: bool) -> list[RunRecord]:
        """Best first for metrics, else ascending; what has no value, or is not a number, comes last."""
        of = self.operand(operand)
        if self._best_is_greatest(operand):
            descending = not descending
        having = [(value, record) for record in records if _is_there(value := of(record))]
        missing = [record for record in records if not _is_there(of(record))]
        unit = metrics.common_unit(value.unit for value, _ in having)

        numbers = [(number, record) for value, record in having if (number := _as_number(value, unit)) is not None]
        texts = [(str(value.value), record) for value, record in having if _as_number(value, unit) is None]
        numbers.sort(key=lambda pair: pair[0], reverse=descending)
        texts.sort(key=lambda pair: pair[0], reverse=descending)
        return [record for _, record in (*numbers, *texts)] + missing

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
            name.removeprefix("metrics.") in self._metrics
            and name not in _FIELDS
            and not {name, *_PARAM_ALIASES.get(name, ())} & self._params
            and name not in self._tags
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


def _stated(run: RunRecord, selection: Selection) -> MetricRecord | None:
    """Of several reported values of one metric (`best acc`, `last acc`) the one the page says was chosen so."""
    return next((m for m in run.metrics if m.name == selection.metric and m.rule == selection.function), None)


def _word(of: Callable[[RunRecord], str | int | None]) -> Callable[[RunRecord], _Value]:
    def value(run: RunRecord) -> _Value:
        found = of(run)
        return _NOTHING if found is None else _Value(found)

    return value


def _is_there(value: _Value) -> bool:
    return value.value is not None and value.value == value.value


def _as_number(value: _Value, unit: Unit | None) -> float | None:
    if isinstance(value.value, str):
        return as_number(value.value)
    return None if value.value is None else metrics.in_unit(value.value, value.unit, unit)


def _compared(operator: str, left: _Value, right: _Value) -> bool:
    """A comparison; one with a missing side does not hold, whatever the operator."""
    if left.value is None or right.value is None:
        return False
    if operator == "~":
        return re.search(str(right.value), str(left.value)) is not None
    left, right = _like(left, right), _like(right, left)
    a, b = (_as_number(side, "fraction" if side.unit in metrics.RATIOS else "s") for side in (left, right))
    if a is None or b is None:
        if operator not in ("=", "!=") and (a is not None or b is not None):
            # A number is neither more nor less than a word.
            return False
        return _holds(operator, str(left.value), str(right.value))
    return _holds(operator, a, b)


def _like(value: _Value, other: _Value) -> _Value:
    """A bare number beside a share: up to 1 it is meant as a fraction, above as percent."""
    if value.unit is None and other.unit in metrics.RATIOS and isinstance(value.value, (int, float)):
        return _Value(value.value, "fraction" if abs(value.value) <= 1 else "percent")
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


def _cell(value: _Value, unit: Unit | None) -> Cell:
    if isinstance(value.value, str) or value.value is None:
        return Cell(value.value)
    if value.unit == unit or value.unit is None or unit is None:
        return Cell(value.value, value.decimals, unit, value.reported)
    shift = {("fraction", "percent"): -2, ("percent", "fraction"): 2}.get((value.unit, unit), 0)
    decimals = None if value.decimals is None else max(0, value.decimals + shift)
    return Cell(metrics.in_unit(value.value, value.unit, unit), decimals, unit, value.reported)


def _rules(columns: Sequence[ColumnExpr], records: Sequence[RunRecord], evaluation: _Evaluation) -> Iterable[str]:
    """One sentence for each rule that chose numbers, and one for each run whose numbers broke."""
    used: dict[str, None] = {}
    chosen: dict[str, None] = {}
    for column in columns:
        for name in sorted(metrics_in(column)):
            chosen[name] = None
        operand = column.operand.selection if isinstance(column.operand, StepOf) else column.operand
        if isinstance(operand, Name) and operand.text in evaluation._metrics and operand.text not in evaluation._params:
            operand = Selection("last", operand.text, None)
            chosen[operand.metric] = None
        if not isinstance(operand, Selection):
            continue
        found = [m for record in records if (m := record.metric(operand.metric))]
        if found and all(m.kind == REPORTED for m in found):
            rules = sorted({m.rule for m in found if m.rule})
            said = f" (the page says: {', '.join(rules)})" if rules else ""
            used[f"{column.title or operand.metric}: as reported on a page{said}, without a curve"] = None
        elif operand.function == "best" and found:
            way = {"max": "greatest", "min": "least"}[direction(found[0], operand)]
            used[f"best: the {way} {operand.metric} of all steps, chosen by looking at that very number"] = None
        else:
            used[_EXPLAINED[operand.function].format(n=operand.argument)] = None
    yield from used
    for name in chosen:
        for record in records:
            metric = record.metric(name)
            if metric and metric.nonfinite:
                yield f"{record.name}: {metric.nonfinite} of {metric.count} values of {metric.name} are not finite"
