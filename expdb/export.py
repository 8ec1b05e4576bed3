"""Verb: the store → tables for other tools: runs, params, tags, metrics, points.

Runs have a row each, with the columns that `expdb.open().runs()` has; all others are long, one row for each thing, and
join by uid (and metric).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expdb import datafiles, metrics
from expdb.compare import select
from expdb.compare.query import Query
from expdb.datafiles import FORMATS, Content, Format, Kind, Values
from expdb.errors import UsageError
from expdb.expressions import Condition
from expdb.listing import tags_for_people
from expdb.records import Unit
from expdb.store import columns
from expdb.store.database import Database
from expdb.store.reader import MetricRecord, RunRecord
from expdb.store.writer import as_number

TABLES = ("runs", "params", "tags", "metrics", "points")


@dataclass(frozen=True, slots=True)
class Target:
    """Where tables go: a folder for all of them, or a file for one."""

    path: Path
    form: Format
    tables: tuple[str, ...]
    is_folder: bool

    def file(self, table: str) -> Path:
        """The file of a table."""
        return self.path / f"{table}.{self.form}" if self.is_folder else self.path


@dataclass(frozen=True, slots=True)
class Written:
    """A file and its rows."""

    path: Path
    rows: int


def target(path: Path, form: str | None, table: str | None) -> Target:
    """What is meant by FOLDER or FILE: a name that ends in .csv or .parquet is a file, with the table it is called
    after, or --table. Raises UsageError for words that do not go together."""
    if form is not None and form not in FORMATS:
        raise UsageError(f"--format {form!r}: tables are written as {' or '.join(FORMATS)}")
    if table is not None and table not in TABLES:
        raise UsageError(f"--table {table!r}: there are {', '.join(TABLES)}")
    suffix = path.suffix.lower().removeprefix(".")
    found: Format | None = next((one for one in FORMATS if one == suffix), None)
    if found is None or path.is_dir():
        chosen: Format = next((one for one in FORMATS if one == form), "csv")
        return Target(path, chosen, TABLES if table is None else (table,), is_folder=True)
    if form not in (None, found):
        raise UsageError(f"{path} ends in .{found}, and --format says {form}")
    named = table or (path.stem if path.stem in TABLES else None)
    if named is None:
        raise UsageError(
            f"which table is {path.name} to be?", hint=f"--table {'|'.join(TABLES)}, or a folder for all of them"
        )
    return Target(path, found, (named,), is_folder=False)


def export(
    database: Database,
    to: Target,
    *,
    experiment: str | None = None,
    where: Condition | None = None,
    bom: bool = False,
    force: bool = False,
    step: Callable[[int], None] = lambda _: None,
) -> list[Written]:
    """Write the tables, each whole or not at all, of the runs for which where holds. step: called with their rows.

    Raises UsageError where a file exists (unless force), before any is written.
    """
    if bom and to.form != "csv":
        raise UsageError("--bom is for CSV")
    for table in to.tables:
        datafiles.check_free(to.file(table), force=force)
    if to.is_folder and to.path.exists() and not to.path.is_dir():
        raise UsageError(f"{to.path} is a file", hint="name a folder, or a file that ends in .csv or .parquet")
    out = []
    with database.view():
        runs = select(database, Query(experiment=experiment, where=where))
        for table in to.tables:
            content = content_of(database, runs, table)
            rows = datafiles.write(content, to.file(table), to.form, bom=bom, force=force)
            step(rows)
            out.append(Written(to.file(table), rows))
    return out


def content_of(database: Database, runs: Sequence[RunRecord], table: str) -> Content:
    """One of TABLES; points are read as they are written."""
    if table == "points":
        return _points(database, runs)
    return {"runs": _runs, "params": _params, "tags": _tags, "metrics": _metrics}[table](runs)


# A row for each run ---------------------------------------------------------------------------------------------------


def _runs(runs: Sequence[RunRecord]) -> Content:
    found: list[tuple[str, Kind, Values]] = [
        (word, "text", [getattr(run, word) for run in runs])
        for word in ("uid", "experiment", "name", "status", "origin")
    ]
    found.append(("seed", "whole", [run.seed for run in runs]))
    found.append(("note", "text", [run.note for run in runs]))
    found.append(("started", "time", [run.started_ms for run in runs]))
    found.append(("ended", "time", [run.ended_ms for run in runs]))
    for key, words in _by_key(runs, lambda run: run.params).items():
        said = [words.get(place) for place in range(len(runs))]
        is_number = all(as_number(word) is not None for word in words.values())
        found.append((f"params.{key}", "number" if is_number else "text", _printed(said) if is_number else said))
    for key, words in _by_key(runs, lambda run: tags_for_people(run.tags)).items():
        found.append((f"tags.{key}", "text", [words.get(place) for place in range(len(runs))]))
    for title, chosen in (("metrics", _last), ("best", _best)):
        for key, values_of in _by_key(runs, chosen).items():
            found.append((f"{title}.{key}", "number", _in_one_unit(values_of, len(runs))))
    titles, kinds, every = zip(*found, strict=True)
    return Content("runs", titles, kinds, [every] if runs else [])


class _Printed(float):
    """A number that is written as it was printed: 0.10, 1e-4."""

    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def _printed(words: Sequence[str | None]) -> Values:
    out: list[float | None] = []
    for word in words:
        number = None
        if word is not None:
            number = _Printed(word)
            number.text = word.strip()
        out.append(number)
    return out


def _by_key(runs: Sequence[RunRecord], said: Callable[[RunRecord], Mapping[str, Any]]) -> dict[str, dict[int, Any]]:
    out: dict[str, dict[int, Any]] = {}
    for place, run in enumerate(runs):
        for key, value in said(run).items():
            out.setdefault(key, {})[place] = value
    return out


def _last(run: RunRecord) -> dict[str, tuple[float, Unit | None]]:
    return {one.key: (_value(one.last_value), one.unit) for one in run.metrics}


def _best(run: RunRecord) -> dict[str, tuple[float, Unit | None]]:
    """Of each result of which it is known which way is better."""
    out = {}
    for one in run.metrics:
        word = next(filter(metrics.is_result, (one.name, one.label)), None)
        if word is not None:
            best = one.max_value if metrics.better(word) == "max" else one.min_value
            out[one.key] = (_value(best), one.unit)
    return out


def _in_one_unit(values: Mapping[int, tuple[float, Unit | None]], length: int) -> Values:
    """The column's values, as `expdb.open().runs()` has them: percent where fractions and percents meet."""
    units = {unit for _, unit in values.values()}
    unit = None if None in units else metrics.common_unit(units)
    out: list[float | None] = [None] * length
    for place, (value, own) in values.items():
        out[place] = value if unit is None else metrics.in_unit(value, own, unit)
    return out


def _value(found: float | None) -> float:
    # The store keeps NaN as NULL.
    return math.nan if found is None else found


# A row for each of its words, metrics, points -------------------------------------------------------------------------


def _params(runs: Sequence[RunRecord]) -> Content:
    rows = [
        (run.uid, run.experiment, run.name, key, value, as_number(value))
        for run in runs
        for key, value in run.params.items()
    ]
    titles = ("uid", "experiment", "run", "param", "value", "number")
    return Content("params", titles, ("text", "text", "text", "text", "text", "number"), _one_batch(rows))


def _tags(runs: Sequence[RunRecord]) -> Content:
    rows = [
        (run.uid, run.experiment, run.name, key, value)
        for run in runs
        for key, value in tags_for_people(run.tags).items()
    ]
    return Content("tags", ("uid", "experiment", "run", "tag", "value"), ("text",) * 5, _one_batch(rows))


_METRIC: tuple[tuple[str, Kind], ...] = (
    *(("uid", "text"), ("experiment", "text"), ("run", "text"), ("metric", "text"), ("name", "text")),
    *(("label", "text"), ("kind", "text"), ("rule", "text"), ("unit", "text"), ("step_unit", "text")),
    *(("count", "whole"), ("nonfinite", "whole"), ("first_step", "whole"), ("first", "number")),
    *(("last_step", "whole"), ("last", "number"), ("min_step", "whole"), ("min", "number")),
    *(("max_step", "whole"), ("max", "number")),
)


def _metrics(runs: Sequence[RunRecord]) -> Content:
    rows = [
        (
            *(run.uid, run.experiment, run.name, one.key, one.name, one.label, one.kind, one.rule, one.unit),
            *(one.step_unit, one.count, one.nonfinite, one.first_step, _of(one, one.first_value)),
            *(one.last_step, _of(one, one.last_value), one.min_step, one.min_value, one.max_step, one.max_value),
        )
        for run in runs
        for one in run.metrics
    ]
    titles, kinds = zip(*_METRIC, strict=True)
    return Content("metrics", titles, kinds, _one_batch(rows))


def _of(one: MetricRecord, value: float | None) -> float | None:
    return _value(value) if one.count else None


_POINT: tuple[tuple[str, Kind], ...] = (
    *(("uid", "text"), ("experiment", "text"), ("run", "text"), ("metric", "text"), ("name", "text")),
    *(("unit", "text"), ("step", "whole"), ("epoch", "number"), ("value", "number"), ("time", "time")),
    *(("source", "text"), ("line", "whole")),
)


def _points(database: Database, runs: Sequence[RunRecord]) -> Content:
    titles, kinds = zip(*_POINT, strict=True)
    return Content("points", titles, kinds, _batches(database, runs))


def _batches(database: Database, runs: Sequence[RunRecord]) -> Iterator[Sequence[Values]]:
    """Points by metric, in the order of arrival; epoch as view `curve` tells it."""
    of = {one.id: (run, one) for run in runs for one in run.metrics}
    places = columns.places(database)
    for batch in columns.points(database, list(of)):
        told = [of[metric_id] for metric_id in batch.metric_ids]
        yield (
            [run.uid for run, _ in told],
            [run.experiment for run, _ in told],
            [run.name for run, _ in told],
            [one.key for _, one in told],
            [one.name for _, one in told],
            [one.unit for _, one in told],
            batch.steps,
            [
                (None if step is None else float(step)) if epoch is None and one.step_unit == "epoch" else epoch
                for (_, one), step, epoch in zip(told, batch.steps, batch.epochs, strict=True)
            ],
            [_value(value) for value in batch.values],
            batch.times_ms,
            [
                None if number is None else places.get((run.id, number))
                for (run, _), number in zip(told, batch.source_nos, strict=True)
            ],
            batch.lines,
        )


def _one_batch(rows: Iterable[tuple[Any, ...]]) -> list[Sequence[Values]]:
    found = list(zip(*rows, strict=True))
    return [found] if found else []
