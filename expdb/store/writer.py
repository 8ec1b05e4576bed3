"""Parsed sources into the database: new ones, grown ones, and ones that are read again."""

import math
import sqlite3
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import uuid4

from expdb import metrics
from expdb.parsers.reading import Digest
from expdb.records import Curve, Document, Event, Metric, Points, Repeat, RunStart, Summary, Unparsed
from expdb.store import statements as sql
from expdb.store.database import Database

_POINTS_AT_ONCE = 50_000

Kind = Literal["new", "same", "grown", "changed"]


@dataclass(frozen=True, slots=True)
class SourceHead:
    """A source before its events. place: as stored; run_name: what its runs are called unless a page names them.

    experiment: None lets the page's title name it, or else default_experiment. content: of a page, kept whole.
    """

    place: str
    digest: Digest
    format: str
    parser_version: int
    encoding: str
    run_name: str
    experiment: str | None
    default_experiment: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database already knows of a source. line_count: lines of it that were taken in."""

    kind: Kind
    source_id: int | None = None
    line_count: int = 0


@dataclass(slots=True)
class Written:
    """What became of a source. changes: lines for the person, one per difference."""

    kind: Kind
    runs: int = 0
    points: int = 0
    unparsed: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    changes: list[str] = field(default_factory=list)
    reads: int = 0


@dataclass(slots=True)
class _OpenMetric:
    id: int
    metric: Metric
    key: str
    summary: Summary
    decimals: int | None
    seq: int
    stored: bool


@dataclass(slots=True)
class _OpenRun:
    id: int
    name: str
    source_no: int
    line_first: int
    line_last: int
    metrics: dict[str, _OpenMetric] = field(default_factory=dict)
    # Points up to this line are in already.
    taken: int = 0
    repeats: int = 0
    before: dict[str, tuple[object, ...]] | None = None


class Writer:
    """Writes sources; one for each open database. Call `begin` first in every transaction."""

    def __init__(self, database: Database, now_ms: int) -> None:
        self.database = database
        self.now_ms = now_ms
        self._at: sqlite3.Connection = database.connection
        self._version: int | None = None
        self._names: dict[int, set[str]] = {}
        self._experiments: dict[str, int] = {}
        self._next_metric = self._next_source = 0

    def begin(self) -> None:
        """Forget what other processes may have changed since the last transaction."""
        version = self.database.changed_elsewhere()
        if version != self._version:
            self._names.clear()
            self._experiments.clear()
            self._version = version
        self._next_metric = self._at.execute(sql.NEXT_METRIC).fetchone()[0]
        self._next_source = self._at.execute(sql.NEXT_SOURCE).fetchone()[0]

    def forget(self) -> None:
        """After a transaction that was rolled back: what it was about to store does not exist."""
        self._version = None

    def standing(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        """Whether the source is new, known, has grown since, or was changed at its place."""
        known = self._at.execute(sql.SOURCE_BY_DIGEST, (digest.sha256, digest.tail_sha256)).fetchone()
        if known:
            return Standing("same", known[0], known[4])
        at_place = self._at.execute(sql.SOURCE_BY_PLACE, (place,)).fetchone()
        if not at_place:
            return Standing("new")
        source_id, sha256, _, size_bytes, line_count = at_place
        if size_bytes <= digest.size_bytes and prefix_sha256(size_bytes) == sha256:
            return Standing("grown", source_id, line_count)
        return Standing("changed", source_id)

    def remember_place(self, source_id: int, place: str) -> None:
        """The same bytes lie there too."""
        self._at.execute(sql.PUT_PLACE, (source_id, place))

    def write(self, head: SourceHead, standing: Standing, events: Iterable[Event], *, again: bool = False) -> Written:
        """Store what a source says. again: replace what its runs hold instead of adding to it."""
        intake = _Intake(self, head, standing, again)
        for event in events:
            intake.take(event)
        return intake.finish()

    def experiment_id(self, name: str) -> int:
        """The experiment's id; made where there is none."""
        if name not in self._experiments:
            found = self._at.execute(sql.EXPERIMENT_BY_NAME, (name,)).fetchone()
            if found:
                self._experiments[name] = found[0]
                self._at.execute(sql.TOUCH_EXPERIMENT, (self.now_ms, found[0]))
            else:
                made = self._at.execute(sql.INSERT_EXPERIMENT, (name, self.now_ms, self.now_ms))
                self._experiments[name] = int(made.lastrowid or 0)
        return self._experiments[name]

    def free_name(self, experiment_id: int, name: str) -> str:
        """The name, with ` (2)`, ` (3)` behind it where the experiment has it already."""
        names = self._names.get(experiment_id)
        if names is None:
            names = {row[0] for row in self._at.execute(sql.RUN_NAMES, (experiment_id,))}
            self._names[experiment_id] = names
        free, n = name, 1
        while free in names:
            n += 1
            free = f"{name} ({n})"
        names.add(free)
        return free

    def metric_id(self) -> int:
        """A number no metric has."""
        self._next_metric += 1
        return self._next_metric - 1

    def source_id(self) -> int:
        """A number no source has."""
        self._next_source += 1
        return self._next_source - 1

    def insert(self, metric_id: int, seq: int, source_no: int | None, curve: Curve, start: int) -> None:
        """Store the curve's points from index start on."""
        timed = curve.epochs is not None or curve.times_ms is not None
        at, end = start, len(curve.values)
        for rows in sql.POINT_ROWS:
            while end - at >= rows:
                cut = slice(at, at + rows)
                values: list[object] = [metric_id, seq + at - start, source_no]
                values += curve.steps[cut]
                values += curve.values[cut]
                values += curve.lines[cut]
                if timed:
                    values += curve.epochs[cut] if curve.epochs else [None] * rows
                    values += curve.times_ms[cut] if curve.times_ms else [None] * rows
                self._at.execute(sql.insert_points(rows, timed=timed), values)
                at += rows

    def insert_metrics(self, run_id: int, open_metrics: Iterable[_OpenMetric]) -> None:
        """Store the rows of metrics that are new, and the summaries of those that got points."""
        fresh, grown = [], []
        for one in open_metrics:
            summary, metric = one.summary, one.metric
            unit = metric.unit or metrics.unit_of(metric.name, summary.min_value, summary.max_value)
            numbers = summary.row()
            if one.stored:
                grown.append((unit, one.decimals, *numbers, one.id))
                continue
            said = (metric.name, metric.label, metric.kind, metric.rule, unit, one.decimals, metric.step_unit)
            fresh.append((one.id, run_id, one.key, *said, *numbers))
        self._at.executemany(sql.INSERT_METRIC, fresh)
        self._at.executemany(sql.UPDATE_METRIC, grown)

    def open_metrics(self, run_id: int) -> dict[str, _OpenMetric]:
        """The metrics a run has, by key."""
        out = {}
        for row in self._at.execute(sql.METRICS_OF_RUN, (run_id,)):
            metric_id, key, name, label, kind, rule, unit, decimals, step_unit = row[:9]
            metric = Metric(label, name, kind, unit, step_unit, rule)
            out[key] = _OpenMetric(metric_id, metric, key, Summary(*row[9:]), decimals, -1, stored=True)
        return out


def derived_summary(connection: sqlite3.Connection, metric_id: int) -> Summary:
    """A metric's summary, from its points; memory does not grow with them."""
    summary = Summary()
    cursor = connection.execute(sql.POINTS_OF_METRIC, (metric_id,))
    while rows := cursor.fetchmany(_POINTS_AT_ONCE):
        steps, values, times = zip(*rows, strict=True)
        # SQLite stores NaN as NULL.
        numbers = [math.nan if v is None else v for v in values]
        summary.add(steps, numbers, times if any(time is not None for time in times) else None)
    return summary


class _Intake:
    """One source on its way in."""

    def __init__(self, writer: Writer, head: SourceHead, standing: Standing, again: bool) -> None:
        self.writer = writer
        self.head = head
        self.standing = standing
        self.again = again
        self.at = writer.database.connection
        self.title: str | None = None
        self.is_page = False
        self.out = Written(standing.kind)
        self.open: dict[int, _OpenRun] = {}
        self.experiment_id: int | None = None
        # A changed page is a new source, unless its runs are to be read again.
        self.keeps = standing.kind == "grown" or (again and standing.source_id is not None)
        self.source_id = self._own_source() if self.keeps else None
        self.known = self._known_runs() if self.keeps else []

    def take(self, event: Event) -> None:
        """One event of the parser."""
        if isinstance(event, Points):
            self._points(event)
        elif isinstance(event, RunStart):
            self._start(event)
        elif isinstance(event, Repeat):
            self._repeat(event)
        elif isinstance(event, Document):
            self.title, self.is_page = event.title, True
        elif isinstance(event, Unparsed):
            self.out.unparsed, self.out.examples = event.count, event.examples

    def finish(self) -> Written:
        """Store the summaries and the source itself."""
        for run in self.open.values():
            self.writer.insert_metrics(run.id, run.metrics.values())
            self._put_run_source(run)
            if run.before is not None:
                self._tell_changes(run)
        self.out.reads = len(self.open)
        if self.open or self.source_id is not None:
            self._put_source()
        if self.again and len(self.open) < len(self.known):
            for run_id, name, _ in self.known[len(self.open) :]:
                self.out.changes.append(f"{name}: the source no longer holds it (run {run_id} is left as it was)")
        return self.out

    # ── the source ──

    def _own_source(self) -> int:
        """The source's row, to be brought up to date; a new one where other places share the old."""
        assert self.standing.source_id is not None
        places = self.at.execute(
            "SELECT count(*) FROM source_place WHERE source_id = ? AND path <> ?",
            (self.standing.source_id, self.head.place),
        ).fetchone()[0]
        if not places or self.standing.kind == "same":
            return self.standing.source_id
        # The other places still hold the shorter file: its row stays, so that they are known.
        own = self.writer.source_id()
        self.at.execute("UPDATE run_source SET source_id = ? WHERE source_id = ?", (own, self.standing.source_id))
        self.at.execute(
            "DELETE FROM source_place WHERE source_id = ? AND path = ?", (self.standing.source_id, self.head.place)
        )
        return own

    def _source_row(self) -> tuple[object, ...]:
        head, digest = self.head, self.head.digest
        content = zlib.compress(head.content) if head.content is not None and self.is_page else None
        return (
            *(digest.sha256, digest.tail_sha256, digest.size_bytes, digest.line_count, head.format),
            *(head.parser_version, head.encoding, self.out.unparsed, self.writer.now_ms, content),
        )

    def _put_source(self) -> None:
        self.at.execute(sql.PUT_SOURCE, (self.source_id, *self._source_row()))
        self.at.execute(sql.PUT_PLACE, (self.source_id, self.head.place))

    def _known_runs(self) -> list[tuple[int, str, int]]:
        """(run id, name, source_no) of the runs the source gave, in the order they stand in it."""
        out: dict[int, tuple[int, str, int]] = {}
        for run_id, source_no, _, _, name, _, experiment_id in self.at.execute(
            sql.RUNS_OF_SOURCE, (self.source_id,)
        ).fetchall():
            out.setdefault(run_id, (run_id, name, source_no))
            self.experiment_id = experiment_id
        return list(out.values())

    # ── runs ──

    def _start(self, event: RunStart) -> None:
        if self.source_id is None:
            self.source_id = self.writer.source_id()
        if event.index < len(self.known):
            self.open[event.index] = self._reopen(event)
            return
        if self.experiment_id is None:
            name = self.head.experiment or self.title or self.head.default_experiment
            self.experiment_id = self.writer.experiment_id(name)
        head = self.head
        name = self.writer.free_name(self.experiment_id, event.caption or head.run_name)
        origin = "page" if self.is_page else "log"
        made = self.at.execute(sql.INSERT_RUN, (uuid4().hex, self.experiment_id, name, origin, "finished", None, None))
        run_id = int(made.lastrowid or 0)
        self._put_words(run_id, {**event.params, **head.params}, {**event.tags, **head.tags}, event.reason)
        self.open[event.index] = _OpenRun(run_id, name, 1, event.line, event.line)
        self.out.runs += 1

    def _put_words(self, run_id: int, params: Mapping[str, str], tags: Mapping[str, str], reason: str | None) -> None:
        if params:
            rows = [(run_id, key, value, as_number(value)) for key, value in params.items()]
            self.at.executemany(sql.PUT_PARAM, rows)
        if reason:
            tags = {**tags, "expdb.boundary": reason}
        if tags:
            self.at.executemany(sql.PUT_TAG, [(run_id, key, value) for key, value in tags.items()])

    def _reopen(self, event: RunStart) -> _OpenRun:
        run_id, name, source_no = self.known[event.index]
        run = _OpenRun(run_id, name, source_no, event.line, event.line)
        if self.again:
            self._empty(run)
            kept = {f"{f}:{k}" for f, k in self.at.execute("SELECT field, key FROM edit WHERE run_id = ?", (run_id,))}
            params = {k: v for k, v in event.params.items() if f"param:{k}" not in kept}
            tags = {k: v for k, v in event.tags.items() if f"tag:{k}" not in kept}
            self._put_words(run_id, params, tags, event.reason)
            return run
        run.taken = self.standing.line_count
        run.metrics = self.writer.open_metrics(run_id)
        for one in run.metrics.values():
            # An unterminated last line was read; what it says now may be more.
            if self.at.execute(sql.DELETE_POINTS_BEHIND, (one.id, run.taken, source_no)).rowcount:
                one.summary = derived_summary(self.at, one.id)
        return run

    def _empty(self, run: _OpenRun) -> None:
        """Take out what the source said, and leave what a person added by hand."""
        run.before = {}
        for one in self.writer.open_metrics(run.id).values():
            rows = self.at.execute(
                "SELECT step, value, source_no FROM point WHERE metric_id = ? ORDER BY seq", (one.id,)
            ).fetchall()
            if rows and all(source_no is None for _, _, source_no in rows):
                run.metrics[one.key] = one
                continue
            run.before[one.key] = tuple((step, value) for step, value, _ in rows)
            self.at.execute(sql.DELETE_POINTS, (one.id,))
            self.at.execute(sql.DELETE_METRIC, (one.id,))
        self.at.execute(
            "DELETE FROM run_source WHERE run_id = ? AND source_id = ? AND source_no > ?",
            (run.id, self.source_id, run.source_no),
        )

    def _tell_changes(self, run: _OpenRun) -> None:
        assert run.before is not None
        for key, old in run.before.items():
            one = run.metrics.get(key)
            if one is None:
                self.out.changes.append(f"{run.name}: {key} is gone ({len(old)} points)")
                continue
            rows = self.at.execute("SELECT step, value FROM point WHERE metric_id = ? ORDER BY seq", (one.id,))
            new = tuple(rows.fetchall())
            if new != old:
                differ = sum(a != b for a, b in zip(old, new, strict=False))
                both = min(len(old), len(new))
                self.out.changes.append(
                    f"{run.name}: {key} {len(old)} → {len(new)} points, {differ} of the first {both} differ"
                )
        for key, one in run.metrics.items():
            if key not in run.before and not one.stored:
                self.out.changes.append(f"{run.name}: {key} is new ({one.summary.count} points)")

    def _put_run_source(self, run: _OpenRun) -> None:
        self.at.execute(sql.PUT_RUN_SOURCE, (run.id, run.source_no, self.source_id, run.line_first, run.line_last))

    def _repeat(self, event: Repeat) -> None:
        run = self.open[event.index]
        run.repeats += 1
        place = (run.id, run.source_no + run.repeats, self.source_id, event.line_first, event.line_last)
        self.at.execute(sql.PUT_RUN_SOURCE, place)

    # ── points ──

    def _points(self, event: Points) -> None:
        run = self.open[event.index]
        run.line_last = max(run.line_last, event.line_last)
        seen: set[str] = set()
        for curve in event.curves:
            one = self._metric(run, curve.metric, seen)
            start = bisect_right(curve.lines, run.taken, key=_line) if run.taken else 0
            if start == len(curve.values):
                continue
            if one.seq < 0:
                one.seq = self.at.execute(sql.NEXT_SEQ, (one.id,)).fetchone()[0]
            self.writer.insert(one.id, one.seq, run.source_no, curve, start)
            steps, values, times = curve.steps, curve.values, curve.times_ms
            if start:
                steps, values, times = steps[start:], values[start:], times[start:] if times else None
            first = one.summary.count == 0
            one.summary.add(steps, values, times)
            one.seq += len(values)
            self.out.points += len(values)
            if first or (one.decimals is not None and (curve.decimals is None or curve.decimals > one.decimals)):
                one.decimals = curve.decimals
            # A grown curve may show that its fractions were percents.
            if one.stored and one.metric.unit == "fraction" and (one.summary.max_value or 0) > 1:
                one.metric = replace(one.metric, unit=None)

    def _metric(self, run: _OpenRun, metric: Metric, seen: set[str]) -> _OpenMetric:
        """The run's metric; labels that mean the same get keys of their own."""
        key = metric.name
        if key in seen or (key in run.metrics and run.metrics[key].metric.label != metric.label):
            key = f"{metric.name} ({metric.label})"
        seen.add(key)
        if key not in run.metrics:
            run.metrics[key] = _OpenMetric(self.writer.metric_id(), metric, key, Summary(), None, 0, stored=False)
        return run.metrics[key]


def _line(line: int | None) -> int:
    return line or 0


def as_number(text: str) -> float | None:
    """The text as a number, None where it is none (or not finite, which no filter means)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") and "_" not in text else None
