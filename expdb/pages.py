"""What stands on a page: which runs and curves, thinned where they are long, and where each number was read."""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from expdb import __version__, compare, metrics, settings
from expdb.compare import tables
from expdb.compare.evaluation import Evaluation, direction, stated
from expdb.compare.query import Query
from expdb.errors import NotFoundError, UsageError
from expdb.expressions import ColumnExpr, Name, Selection, StepOf, parse_operand
from expdb.records import REPORTED, Column, Unit
from expdb.reports.page import Origin, Page, PageCurve, PageMetric, PageOrder, PageRun
from expdb.store import columns as store_columns
from expdb.store import places as store_places
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.reader import MetricRecord, RunRecord

# Points a page may hold, and what is left of one curve when there are more; of a curve alone, what a screen can show.
MOST_POINTS = 1_000_000
MOST_OF_A_CURVE = 2_000
LEAST_OF_A_CURVE = 100
_RUN = ("run", "name")


@dataclass(frozen=True, slots=True)
class Asked:
    """A page as it is asked for. table: its rows and columns, without groups; metrics: those drawn, all curves where
    none is named. group_by: columns of the table by comma, or all-but:seed."""

    table: tables.Asked
    metrics: tuple[str, ...] = ()
    group_by: str | None = None
    title: str | None = None
    language: str = "en"


def page(database: Database, asked: Asked) -> Page:
    """The page that is asked for.

    Raises NotFoundError where no run is left or a name is none's, and UsageError or ExpressionError for words that say
    nothing.
    """
    with database.view():
        return _page(database, asked)


def _page(database: Database, asked: Asked) -> Page:
    query = tables.understood(asked.table)
    if query.columns and not any(map(_names_the_run, query.columns)):
        # A row has to say whose it is, and what opens it.
        query = replace(query, columns=(ColumnExpr(Name("run"), None), *query.columns))
    everything = reader.runs(database, query.experiment)
    records = compare.select(database, query, everything)
    if not records:
        raise NotFoundError("no run is left for the page", hint="expdb ls lists the runs")
    table = compare.compare(database, query, everything)
    drawn = _drawn(database, records, asked.metrics)
    gathered = _Gathered(database, records, table.columns)
    curves = gathered.curves(drawn)
    experiments = tuple(dict.fromkeys(record.experiment for record in records))
    return Page(
        title=asked.title or (experiments[0] if len(experiments) == 1 else f"{len(experiments)} experiments"),
        made_ms=settings.now_ms(),
        version=__version__,
        experiments=experiments,
        table=table,
        heads=next(i for i, column in enumerate(table.columns) if column.expression in _RUN),
        runs=tuple(map(_run, records)),
        origins=tuple(map(tuple, gathered.origins)),
        sources=tuple(gathered.sources),
        metrics=tuple(_metric(name, [metric for _, metric in found]) for name, found in drawn.items()),
        curves=tuple(curves),
        remarks=tuple(gathered.remarks()),
        group_by=_grouping(asked.group_by, table.columns, records),
        sort=_order(database, query, records),
        language=asked.language,
    )


def _names_the_run(column: ColumnExpr) -> bool:
    return str(column.operand) in _RUN


def _order(database: Database, query: Query, records: Sequence[RunRecord]) -> PageOrder | None:
    """By what groups are ordered as the rows are."""
    if query.sort is None:
        return None
    evaluation = Evaluation(database, records)
    column, cells = evaluation.column(ColumnExpr(query.sort, None))
    return PageOrder(column.numeric, tuple(cells), evaluation.falls(query.sort, descending=query.descending))


def _grouping(wanted: str | None, columns: Sequence[Column], records: Sequence[RunRecord]) -> tuple[int, ...] | None:
    """The columns whose values the rows of a group share, none of them for one group of all; None without groups."""
    if not wanted:
        return None
    text = wanted.replace("：", ":").replace("，", ",").strip()
    is_all_but = text.startswith(tables.ALL_BUT)
    names = [name.strip() for name in text.removeprefix(tables.ALL_BUT).split(",")]
    if not is_all_but:
        return tuple(_place(name, columns) for name in names)
    # What is the same in all runs has no column, and a seed that no run has parts none.
    said = {"seed"}.union(*(record.params for record in records))
    titles = {column.title for column in columns}
    named = [_place(name, columns) for name in names if name in titles or name.removeprefix("params.") not in said]
    # Results and how long a run went are no configuration.
    own = (*_RUN, "epochs", *(columns[place].expression for place in named))
    return tuple(i for i, one in enumerate(columns) if _selection(one) is None and one.expression not in own)


def _place(name: str, columns: Sequence[Column]) -> int:
    for place, column in enumerate(columns):
        if name in (column.title, column.expression, column.expression.removeprefix("params.")):
            return place
    titles = ", ".join(column.title for column in columns)
    raise UsageError(f"--group-by {name}: the table has no such column", hint=f"its columns: {titles}")


def _run(record: RunRecord) -> PageRun:
    return PageRun(
        record.uid,
        record.name,
        record.experiment,
        record.status,
        record.origin,
        record.note,
        tuple(record.params.items()),
        tuple(record.tags.items()),
    )


def _metric(name: str, found: Sequence[MetricRecord]) -> PageMetric:
    steps = {metric.step_unit for metric in found if metric.kind != REPORTED}
    return PageMetric(name, _unit(found), metrics.better(name), steps.pop() if len(steps) == 1 else "step")


def _unit(found: Sequence[MetricRecord]) -> Unit | None:
    """The unit of a chart: that of its curves; a level that a page states comes after."""
    units = {metric.unit for metric in found if metric.kind != REPORTED}
    return None if None in units else metrics.common_unit(units)


def _drawn(
    database: Database, records: Sequence[RunRecord], wanted: Sequence[str]
) -> dict[str, list[tuple[int, MetricRecord]]]:
    """(index of the run, its metric) of everything that is to be drawn, by the name it goes by."""
    out: dict[str, list[tuple[int, MetricRecord]]] = {}
    if wanted:
        for name in wanted:
            compare.check_metric(database, records, name)
            found = [(i, metric) for i, record in enumerate(records) if (metric := record.metric(name))]
            out[found[0][1].name] = found
        return out
    for i, record in enumerate(records):
        taken: set[str] = set()
        for metric in record.metrics:
            if metric.name.startswith(metrics.SYSTEM):
                continue
            name = metric.name if metric.name not in taken else metric.key
            taken.add(name)
            out.setdefault(name, []).append((i, metric))
    # What is reported everywhere is in the table; there is nothing to draw.
    return {name: found for name, found in out.items() if any(metric.kind != REPORTED for _, metric in found)}


@dataclass(frozen=True, slots=True)
class Points:
    """All points of one metric in the order of arrival."""

    steps: list[int | None]
    values: list[float | None]
    sources: list[int | None]
    lines: list[int | None]


class _Gathered:
    """The points of the page, read once: for the curves, and for what the table says."""

    def __init__(self, database: Database, records: Sequence[RunRecord], columns: Sequence[Column]) -> None:
        self.database = database
        self.records = records
        self.origins: list[list[Origin | None]] = [[None] * len(columns) for _ in records]
        self.sources: dict[str, int] = {}
        self._places = _shown_places(database)
        self._thinned = self._most = 0
        # metric's id -> the cells that its points fill.
        self._cells: dict[int, list[tuple[int, int, Selection, MetricRecord]]] = {}
        for place, column in enumerate(columns):
            selection = _selection(column)
            for row, record in enumerate(records if selection else ()):
                metric = stated(record, selection) or record.metric(selection.metric) if selection else None
                if selection and metric:
                    self._cells.setdefault(metric.id, []).append((row, place, selection, metric))

    def curves(self, drawn: dict[str, list[tuple[int, MetricRecord]]]) -> list[PageCurve]:
        """The curves, by metric and run; fills the origins of the table's cells on the way."""
        wanted = {
            metric.id: (run, place, metric) for place, found in enumerate(drawn.values()) for run, metric in found
        }
        units = [_unit([metric for _, metric in found]) for found in drawn.values()]
        total = sum(metric.count for _, _, metric in wanted.values())
        most = MOST_OF_A_CURVE if total <= MOST_POINTS else max(LEAST_OF_A_CURVE, MOST_POINTS // len(wanted))
        self._most = min(most, MOST_OF_A_CURVE)
        runs = {metric_id: row for metric_id, cells in self._cells.items() for row, *_ in cells}
        runs |= {metric_id: run for metric_id, (run, _, _) in wanted.items()}
        out = []
        for metric_id, points in _read(self.database, list(runs)):
            run_id = self.records[runs[metric_id]].id
            for row, place, selection, metric in self._cells.get(metric_id, ()):
                self.origins[row][place] = self._origin(run_id, metric, selection, points)
            if metric_id in wanted:
                run, place, metric = wanted[metric_id]
                out.append(self._curve(run, place, metric, units[place], points))
        return sorted(out, key=lambda curve: (curve.metric, curve.run))

    def remarks(self) -> Iterator[str]:
        """What is left out."""
        if self._thinned:
            yield (
                f"{self._thinned:,} curves are longer than is drawn: of each stretch the least and the greatest value"
                f" are kept, about {self._most:,} points of a curve; nothing is averaged"
            )

    def _curve(self, run: int, place: int, metric: MetricRecord, unit: Unit | None, points: Points) -> PageCurve:
        count = len(points.values)
        if count > self._most:
            points = _thinned(points, self._most)
            self._thinned += 1
        values: Sequence[float | None] = points.values
        decimals = metric.decimals
        if unit is not None and metric.unit != unit:
            values = [None if value is None else metrics.in_unit(value, metric.unit, unit) for value in values]
            # A share in percent has two digits less behind the point.
            is_share = metric.unit == "fraction" and unit == "percent"
            decimals = max(0, decimals - 2) if is_share and decimals is not None else None
        run_id = self.records[run].id
        stretches = [(len(list(same)), source_no) for source_no, same in groupby(points.sources)]
        sources = [(length, self._source(run_id, source_no)) for length, source_no in stretches]
        return PageCurve(
            *(run, place, metric.key, metric.kind == REPORTED, points.steps, values, points.lines, sources),
            *(decimals, count),
        )

    def _source(self, run_id: int, source_no: int | None) -> int | None:
        place = None if source_no is None else self._places.get((run_id, source_no))
        return None if place is None else self.sources.setdefault(place, len(self.sources))

    def _origin(self, run_id: int, metric: MetricRecord, selection: Selection, points: Points) -> Origin | None:
        """The points that a rule selects, as compare selects them."""
        chosen = _chosen(metric, selection, points)
        if not chosen:
            return None
        sources = {points.sources[i] for i in chosen}
        lines = [line for i in chosen if (line := points.lines[i]) is not None]
        source = self._source(run_id, sources.pop()) if len(sources) == 1 else None
        return Origin(
            metric.key,
            points.steps[chosen[0]],
            source,
            (min(lines), max(lines)) if lines and source is not None else None,
            len(chosen),
        )


def _chosen(metric: MetricRecord, selection: Selection, points: Points) -> list[int]:
    """Indices of the points that a rule selects; of a mean all, the last first."""
    steps, values = points.steps, points.values
    function = selection.function
    if function == "best":
        function = direction(metric, selection)
    if function == "first":
        return [0]
    if function in ("min", "max"):
        value = metric.min_value if function == "min" else metric.max_value
        return [values.index(value)] if value in values else []
    if function == "at":
        return [i for i, step in enumerate(steps) if step == selection.argument][-1:]
    if function == "tail":
        by_step = sorted(range(len(steps)), key=lambda i: (-1 if steps[i] is None else steps[i], i), reverse=True)
        return by_step[: selection.argument]
    told = [i for i, step in enumerate(steps) if step == metric.last_step]
    return [next((i for i in reversed(told) if values[i] == metric.last_value), told[-1])] if told else []


def _selection(column: Column) -> Selection | None:
    """The rule that chose a column's numbers."""
    operand = parse_operand(column.expression)
    if isinstance(operand, StepOf):
        return operand.selection
    if isinstance(operand, Selection):
        return operand
    if isinstance(operand, Name) and column.metric:
        return Selection("last", operand.text.removeprefix("metrics."), None)
    return None


def _read(database: Database, metric_ids: Sequence[int]) -> Iterator[tuple[int, Points]]:
    """The points of the metrics, one metric after another."""
    current: int | None = None
    found = Points([], [], [], [])
    for batch in store_columns.points(database, metric_ids):
        ids = batch.metric_ids
        start = 0
        while start < len(ids):
            end = bisect_right(ids, ids[start], start)
            if ids[start] != current:
                if current is not None:
                    yield current, found
                current, found = ids[start], Points([], [], [], [])
            found.steps.extend(batch.steps[start:end])
            found.values.extend(batch.values[start:end])
            found.sources.extend(batch.source_nos[start:end])
            found.lines.extend(batch.lines[start:end])
            start = end
    if current is not None:
        yield current, found


def _thinned(points: Points, most: int) -> Points:
    """About `most` of the points: first and last, and of each stretch the least, the greatest and the first NaN."""
    count = len(points.values)
    stretches = max(1, most // 2 - 1)
    kept = {0, count - 1}
    for i in range(stretches):
        start, end = count * i // stretches, count * (i + 1) // stretches
        values = points.values[start:end]
        numbers = [value for value in values if value is not None]
        if numbers:
            kept |= {start + values.index(min(numbers)), start + values.index(max(numbers))}
        if len(numbers) < len(values):
            kept.add(start + values.index(None))
    order = sorted(kept)
    return Points(
        [points.steps[i] for i in order],
        [points.values[i] for i in order],
        [points.sources[i] for i in order],
        [points.lines[i] for i in order],
    )


def _shown_places(database: Database) -> dict[tuple[int, int], str]:
    """Where sources lie, as a person in the current folder would type it; elsewhere as the database says it."""
    here = os.path.join(Path.cwd(), "")
    out: dict[tuple[int, int], str] = {}
    shown: dict[str, str] = {}
    for key, place in store_columns.places(database).items():
        if place not in shown:
            full = place if place == store_places.STDIN else os.fspath(store_places.located(place, database.address))
            shown[place] = store_places.readable(full.removeprefix(here) if full.startswith(here) else place)
        out[key] = "standard input" if place == store_places.STDIN else shown[place]
    return out
