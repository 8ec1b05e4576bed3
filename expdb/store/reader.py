"""What the database holds, as records: runs with their words and summaries, points, sources."""

import math
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from expdb.errors import AmbiguousError, NotFoundError
from expdb.records import Kind, Unit
from expdb.store import statements as sql
from expdb.store.database import Database
from expdb.store.places import STDIN, located

UID_PREFIX = 4


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """A metric and its summary, as table `metric` has them. A None value beside count > 0 is NaN."""

    id: int
    key: str
    name: str
    label: str
    kind: Kind
    rule: str | None
    unit: Unit | None
    decimals: int | None
    step_unit: str
    count: int
    nonfinite: int
    first_step: int | None
    first_value: float | None
    last_step: int | None
    last_value: float | None
    min_step: int | None
    min_value: float | None
    max_step: int | None
    max_value: float | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run with its words and its metrics' summaries."""

    id: int
    uid: str
    name: str
    experiment: str
    origin: str
    status: str
    seed: int | None
    note: str | None
    started_ms: int | None
    ended_ms: int | None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricRecord] = field(default_factory=list)

    def metric(self, name: str) -> MetricRecord | None:
        """The run's metric of that name, key or label, in this order of preference."""
        for one in self.metrics:
            if one.name == name:
                return one
        return next((m for m in self.metrics if m.key == name), None) or next(
            (m for m in self.metrics if m.label == name), None
        )


@dataclass(frozen=True, slots=True)
class PointRecord:
    """A point and where it was read. value None is NaN."""

    seq: int
    step: int | None
    value: float | None
    time_ms: int | None
    source_no: int | None
    line: int | None


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A source of a run. places: every path it was found at, the latest first."""

    source_no: int
    id: int
    line_first: int
    line_last: int
    sha256: str
    size_bytes: int
    line_count: int
    format: str
    parser_version: int
    encoding: str
    unparsed: int
    ingested_ms: int
    places: tuple[str, ...]


def runs(database: Database, experiment: str | None = None, *, words: bool = True) -> list[RunRecord]:
    """All runs that are not removed, oldest first; of one experiment, if named. words: with params and tags."""
    if experiment is not None:
        experiment_id(database, experiment)
    with database.view():
        out = [RunRecord(*row) for row in database.rows(sql.RUNS, (experiment,))]
        by_id = {run.id: run for run in out}
        if words:
            for run_id, key, value in database.rows(sql.PARAMS, (experiment,)):
                by_id[run_id].params[key] = value
            for run_id, key, value in database.rows(sql.TAGS, (experiment,)):
                by_id[run_id].tags[key] = value
        for run_id, *numbers in database.rows(sql.SUMMARIES, (experiment,)):
            by_id[run_id].metrics.append(MetricRecord(*numbers))
    return out


def experiment_id(database: Database, name: str) -> int:
    """Raises NotFoundError, with the names that exist, where there is no such experiment."""
    rows = database.rows("SELECT id, name FROM experiment WHERE deleted_ms IS NULL ORDER BY id")
    for found, other in rows:
        if other == name:
            return int(found)
    names = ", ".join(str(other) for _, other in rows)
    raise NotFoundError(f"no experiment is called {name!r}", hint=f"experiments: {names}")


def find_run(database: Database, text: str, *, removed: bool | None = False) -> int:
    """The id of the run meant by a uid prefix of 4 or more characters, a unique name, or @1 for the newest.

    removed: True looks among removed runs only, None among all. Raises NotFoundError or AmbiguousError.
    """
    alive = {False: "r.deleted_ms IS NULL", True: "r.deleted_ms IS NOT NULL", None: "1 = 1"}[removed]
    query = f"SELECT r.id, r.uid, r.name, e.name FROM run r JOIN experiment e ON e.id = r.experiment_id WHERE {alive}"
    if text.startswith("@"):
        # More digits than this are no number of SQLite's.
        if not text[1:].isdecimal() or len(text) > 19 or int(text[1:]) < 1:
            raise NotFoundError(f"{text!r} is no run", hint="@1 is the newest, @2 the one before it")
        rows = database.rows(f"{query} ORDER BY r.id DESC LIMIT 1 OFFSET ?", (int(text[1:]) - 1,))
    else:
        rows = database.rows(f"{query} AND r.name = ? ORDER BY r.id", (text,))
        if not rows and len(text) >= UID_PREFIX:
            # LIKE would take % and _ for wildcards.
            rows = database.rows(f"{query} AND substr(r.uid, 1, ?) = ? ORDER BY r.id", (len(text), text.lower()))
    if not rows:
        gone = removed is False and database.rows(
            "SELECT 1 FROM run WHERE deleted_ms IS NOT NULL AND (name = ? OR substr(uid, 1, ?) = ?)",
            (text, max(len(text), UID_PREFIX), text.lower()),
        )
        hint = "it was removed; expdb restore brings it back" if gone else "expdb ls lists the runs"
        raise NotFoundError(f"no run is called {text!r}", hint=hint)
    if len(rows) > 1:
        candidates = [f"{uid[:8]}  {experiment} / {name}" for _, uid, name, experiment in rows]
        raise AmbiguousError(f"{len(rows)} runs are called {text!r}", candidates=candidates, hint="name one by its uid")
    return int(rows[0][0])


def run(database: Database, run_id: int) -> RunRecord:
    """One run, removed or not, with everything but its points. Raises NotFoundError where it was purged meanwhile."""
    with database.view():
        return _run(database, run_id)


def _run(database: Database, run_id: int) -> RunRecord:
    rows = database.rows(
        "SELECT r.id, r.uid, r.name, e.name, r.origin, r.status, r.seed, r.note, r.started_ms, r.ended_ms"
        " FROM run r JOIN experiment e ON e.id = r.experiment_id WHERE r.id = ?",
        (run_id,),
    )
    if not rows:
        raise NotFoundError("the run is gone: another process has purged it", hint="expdb ls lists the runs")
    record = RunRecord(*rows[0])
    for table, words in (("param", record.params), ("tag", record.tags)):
        # In the order they were written, as `runs` gives them.
        found = database.rows(f"SELECT key, value FROM {table} WHERE run_id = ? ORDER BY rowid", (run_id,))
        words.update(cast("list[tuple[str, str]]", found))
    for numbers in database.rows(sql.METRICS_OF_RUN, (run_id,)):
        # The time of the last point is the writer's business.
        record.metrics.append(MetricRecord(*numbers[:14], *numbers[15:]))
    return record


def metric_of(database: Database, record: RunRecord, name: str) -> MetricRecord:
    """The run's metric. Raises NotFoundError naming those it has."""
    found = record.metric(name)
    if found is None:
        names = ", ".join(m.key for m in record.metrics) or "none"
        raise NotFoundError(f"{record.name} has no metric {name!r}", hint=f"its metrics: {names}")
    return found


def points(database: Database, metric_id: int, step: int | None = None) -> list[PointRecord]:
    """The points of a metric in the order they arrived; of one step, if given."""
    rows = database.rows(
        "SELECT seq, step, value, time_ms, source_no, line FROM point"
        " WHERE metric_id = ?1 AND (CAST(?2 AS BIGINT) IS NULL OR step = ?2) ORDER BY seq",
        (metric_id, step),
    )
    return [PointRecord(*row) for row in rows]


def outline(database: Database, metric: MetricRecord, most: int) -> list[float]:
    """The metric's values in order of arrival; means of as many neighbours as bring them down to `most`."""
    rows = database.rows(
        "SELECT avg(value) FROM point WHERE metric_id = ? GROUP BY seq * ? / ? ORDER BY min(seq)",
        (metric.id, most, max(metric.count, most)),
    )
    return [math.nan if value is None else value for (value,) in rows]


def sources(database: Database, run_id: int) -> list[SourceRecord]:
    """The sources of a run."""
    rows = database.rows(
        "SELECT l.source_no, s.id, l.line_first, l.line_last, s.sha256, s.size_bytes, s.line_count, s.format,"
        " s.parser_version, s.encoding, s.unparsed, s.ingested_ms"
        " FROM run_source l JOIN source s ON s.id = l.source_id WHERE l.run_id = ? ORDER BY l.source_no",
        (run_id,),
    )
    return [SourceRecord(*(*row, places(database, row[1]))) for row in rows]


def places(database: Database, source_id: int) -> tuple[str, ...]:
    """Paths a source was found at, as stored, the latest first."""
    rows = database.rows("SELECT path FROM source_place WHERE source_id = ? ORDER BY rowid DESC", (source_id,))
    return tuple(path for (path,) in rows)


def content(database: Database, source_id: int) -> bytes | None:
    """The page as it was when it was read; None for logs, which stay where they are."""
    found = database.rows("SELECT content FROM source WHERE id = ?", (source_id,))[0][0]
    return zlib.decompress(found) if found is not None else None


def pages(database: Database) -> list[tuple[int, str, str]]:
    """(source, encoding, place) of each page that is kept whole, for each place; what was read last comes first."""
    rows = database.rows(
        "SELECT s.id, s.encoding, p.path FROM source_place p JOIN source s ON s.id = p.source_id"
        " WHERE s.content IS NOT NULL ORDER BY p.rowid DESC"
    )
    return [(source_id, encoding, place) for source_id, encoding, place in rows]


def lines_of_runs(database: Database, source_id: int) -> list[tuple[int, int, int]]:
    """(run, first line, last line) of what was read from a source, by line."""
    rows = database.rows(
        "SELECT run_id, line_first, line_last FROM run_source WHERE source_id = ? ORDER BY line_first", (source_id,)
    )
    return [(run_id, first, last) for run_id, first, last in rows]


def paths(database: Database, source: SourceRecord) -> list[Path]:
    """Where the source may lie now, relative to the working directory where it is below it."""
    here = Path.cwd()
    out = []
    for place in source.places:
        path = Path(STDIN) if place == STDIN else Path(os.path.normpath(located(place, database.address)))
        out.append(path.relative_to(here) if path.is_relative_to(here) else path)
    return out
