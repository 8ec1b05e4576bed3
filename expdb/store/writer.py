"""Parsed sources into the database: new ones, grown ones, and ones that are read again."""

import math
import re
import sqlite3
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar
from uuid import uuid4

from expdb import metrics
from expdb.parsers.digits import decimals_of
from expdb.parsers.reading import Digest
from expdb.records import (
    ASIDE,
    REPORTED,
    Curve,
    Document,
    Event,
    Metric,
    Points,
    Repeat,
    RunStart,
    Summary,
    Unit,
    Unparsed,
    last_of,
)
from expdb.store import statements as sql
from expdb.store.database import Database, translated
from expdb.store.likeness import Likeness, Outline, close, selected

T = TypeVar("T")

_POINTS_AT_ONCE = 50_000
_CURVES_AT_ONCE = 64
# Runs whose metrics are held in memory; a log appended to itself for years holds thousands.
_RUNS_OPEN = 16

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
    """What the database already knows of a source. line_count: lines that were taken in; format: by which reader.

    here: it was read at this very place, not only somewhere.
    """

    kind: Kind
    source_id: int | None = None
    line_count: int = 0
    format: str | None = None
    here: bool = False


@dataclass(slots=True)
class Written:
    """What became of a source. changes: lines for the person, one per difference.

    asides: how often each label was left out, being no result. run_ids: of the runs it tells of.
    """

    kind: Kind
    runs: int = 0
    points: int = 0
    unparsed: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    changes: list[str] = field(default_factory=list)
    reads: int = 0
    asides: Counter[str] = field(default_factory=Counter)
    run_ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _OpenMetric:
    id: int
    metric: Metric
    key: str
    summary: Summary
    decimals: int | None
    seq: int
    stored: bool
    # What a person said, if one did; (None,) is: no unit.
    unit_by_hand: tuple[Unit | None] | None = None
    # Its last value stood in an unterminated line, and was read again.
    reread: bool = False


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
    before: dict[str, tuple[tuple[int | None, float | None], ...]] | None = None
    closed: bool = False
    fresh: bool = False
    # Other sources tell of it too: what they said is not said again.
    shared: bool = False
    outlines: list[Outline] = field(default_factory=list)
    asides: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _KnownRun:
    """A run that the source gave before. caption: what it was called then, without a number behind it."""

    id: int
    name: str
    source_no: int
    caption: str


class Writer:
    """Writes sources; one for each open database. Call `begin` first in every transaction."""

    def __init__(self, database: Database, now_ms: int) -> None:
        self.database = database
        self.now_ms = now_ms
        self._at: sqlite3.Connection = database.connection
        self._version: int | None = None
        self._shape = (0, 0)
        self._names: dict[int, set[str]] = {}
        # The number behind the last free name, or counting would start again for each of a thousand namesakes.
        self._numbers: dict[tuple[int, str], int] = {}
        self._experiments: dict[str, int] = {}
        self._next_metric = self._next_source = 0
        self.likeness = Likeness(self._at)

    def begin(self) -> None:
        """Forget what other processes may have changed since the last transaction."""
        version = self.database.changed_elsewhere()
        if version != self._version:
            self._names.clear()
            self._numbers.clear()
            self._experiments.clear()
            self.likeness.forget()
            self._version = version
        self._next_metric = self._at.execute(sql.NEXT_METRIC).fetchone()[0]
        self._next_source = self._at.execute(sql.NEXT_SOURCE).fetchone()[0]

    def forget(self) -> None:
        """After a transaction that was rolled back: what it was about to store does not exist."""
        self._version = None

    def standing(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        """Whether the source is new, known, has grown since, or was changed at its place."""
        try:
            return self._standing(place, digest, prefix_sha256)
        except sqlite3.Error as error:
            raise translated(error, self.database.path) from error

    def has_runs(self, source_id: int) -> bool:
        """Whether any run was read from the source, or its runs have gone on with a copy that grew."""
        return bool(self._at.execute("SELECT 1 FROM run_source WHERE source_id = ? LIMIT 1", (source_id,)).fetchone())

    def _standing(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        known = self._at.execute(sql.SOURCE_BY_DIGEST, (digest.sha256, digest.tail_sha256)).fetchone()
        if known:
            source_id, _, _, line_count, name = known
            return Standing("same", source_id, line_count, name)
        at_place = self._at.execute(sql.SOURCE_BY_PLACE, (place,)).fetchone()
        if not at_place:
            return Standing("new")
        source_id, sha256, size_bytes, line_count, name = at_place
        if size_bytes <= digest.size_bytes and prefix_sha256(size_bytes) == sha256:
            return Standing("grown", source_id, line_count, name)
        return Standing("changed", source_id, 0, name)

    def standing_in_folder(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        """As `standing`, but what was read at this place counts before equal bytes elsewhere: many runs of a folder
        hold the same settings."""
        row = self._at.execute(sql.SOURCE_BY_PLACE, (place,)).fetchone()
        if row is None:
            return self.standing(place, digest, prefix_sha256)
        source_id, sha256, size_bytes, line_count, name = row
        (tail,) = self._at.execute("SELECT tail_sha256 FROM source WHERE id = ?", (source_id,)).fetchone()
        if sha256 == digest.sha256 and tail == digest.tail_sha256:
            return Standing("same", source_id, line_count, name, here=True)
        if size_bytes <= digest.size_bytes and prefix_sha256(size_bytes) == sha256:
            return Standing("grown", source_id, line_count, name, here=True)
        return Standing("changed", source_id, 0, name, here=True)

    def run_of(self, source_ids: Iterable[int]) -> int | None:
        """The run that was read from the sources; the oldest where there are several."""
        found = [
            run_id
            for source_id in source_ids
            for (run_id,) in self._at.execute("SELECT run_id FROM run_source WHERE source_id = ?", (source_id,))
        ]
        return min(found, default=None)

    def sources_of(self, run_id: int) -> frozenset[int]:
        """The sources a run was read from."""
        rows = self._at.execute("SELECT source_id FROM run_source WHERE run_id = ?", (run_id,))
        return frozenset(source_id for (source_id,) in rows)

    def settle(self, run_id: int, outlines: Sequence[Outline] | None = None, beside: Iterable[int] = ()) -> str | None:
        """Where a new run says what another run of its experiment says, make its sources sources of that one.

        The name of that one; None where there is none. beside: runs of the same source, which are told apart.
        """
        outlines = self.likeness.outlines(run_id) if outlines is None else outlines
        row = self._at.execute("SELECT experiment_id, name FROM run WHERE id = ?", (run_id,)).fetchone()
        experiment_id, name = row
        twin = self.likeness.twin(experiment_id, run_id, outlines, beside)
        if twin is None:
            return None
        (last,) = self._at.execute("SELECT max(source_no) FROM run_source WHERE run_id = ?", (twin,)).fetchone()
        rows = self._at.execute(
            "SELECT source_id, line_first, line_last FROM run_source WHERE run_id = ? ORDER BY source_no", (run_id,)
        ).fetchall()
        for table, columns in (("param", "key, value, number"), ("tag", "key, value")):
            self._at.execute(
                f"INSERT OR IGNORE INTO {table} (run_id, {columns}) SELECT ?, {columns} FROM {table} WHERE run_id = ?",
                (twin, run_id),
            )
        delete_run(self._at, run_id)
        for number, (source_id, first, end) in enumerate(rows, (last or 0) + 1):
            self._at.execute(sql.PUT_RUN_SOURCE, (twin, number, source_id, first, end))
        self._names.get(experiment_id, set()).discard(name)
        (said,) = self._at.execute("SELECT name FROM run WHERE id = ?", (twin,)).fetchone()
        return str(said)

    def remember_place(self, source_id: int, place: str) -> None:
        """The same bytes lie there too."""
        self._at.execute(sql.PUT_PLACE, (source_id, place))

    def write(
        self,
        head: SourceHead,
        standing: Standing,
        events: Iterable[Event],
        *,
        again: bool = False,
        into: int | None = None,
        alike: bool = False,
    ) -> Written:
        """Store what a source says. again: replace what its runs hold instead of adding to it.

        into: the run that the source, which tells of one run, is a further source of. alike: a new run that says what
        another run of the experiment says becomes a source of that one.
        """
        intake = _Intake(self, head, standing, again, into)
        for event in events:
            intake.take(event)
        return intake.finish(alike=alike)

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
        n = self._numbers.get((experiment_id, name), 1)
        free = name if n == 1 else f"{name} ({n})"
        while free in names:
            n += 1
            free = f"{name} ({n})"
        self._numbers[experiment_id, name] = n
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

    def insert(self, ids: Sequence[int], seq: int, source_no: int | None, curves: Sequence[Curve], start: int) -> None:
        """Store points from index start on, of curves that share steps, lines, epochs and times; one id for each."""
        first = curves[0]
        timed = first.epochs is not None or first.times_ms is not None
        at, end, width = start, len(first.steps), len(curves)
        # A statement of the exact length is the quickest, but preparing it costs as much as ten others: only when
        # the last run looked the same is it likely to be wanted again.
        exact = (end - start, width) == self._shape and (end - start) * width <= sql.POINTS_AT_ONCE
        self._shape = (end - start, width)
        ladder = (end - start,) if exact else sql.POINT_ROWS
        for rows in ladder:
            if rows > 1 and rows * width > sql.POINTS_AT_ONCE:
                continue
            while end - at >= rows:
                cut = slice(at, at + rows)
                values: list[object] = [seq + at - start, source_no, *ids]
                values += first.steps[cut]
                values += first.lines[cut]
                if timed:
                    values += first.epochs[cut] if first.epochs else [None] * rows
                    values += first.times_ms[cut] if first.times_ms else [None] * rows
                for curve in curves:
                    values += curve.values[cut]
                self._at.execute(sql.insert_points(rows, width, timed=timed), values)
                at += rows

    def insert_metrics(self, run_id: int, open_metrics: Iterable[_OpenMetric]) -> None:
        """Store the rows of metrics that are new, and the summaries of those that got points."""
        fresh, grown = [], []
        for one in open_metrics:
            summary, metric = one.summary, one.metric
            unit = metric.unit or metrics.unit_of(metric.name, summary.min_value, summary.max_value)
            if one.unit_by_hand:
                (unit,) = one.unit_by_hand
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
        for what, key, new in self._at.execute(sql.CORRECTIONS, (run_id,)):
            if what == "unit" and key in out:
                out[key].unit_by_hand = (new,)
        return out


def delete_run(connection: sqlite3.Connection, run_id: int) -> int:
    """Take a run and all that hangs on it out of the database; the number of points deleted."""
    points = 0
    for (metric_id,) in connection.execute("SELECT id FROM metric WHERE run_id = ?", (run_id,)).fetchall():
        points += connection.execute(sql.DELETE_POINTS, (metric_id,)).rowcount
    for table in ("metric", "param", "tag", "run_source", "edit", "artifact", "provenance", "run_dataset", "finding"):
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    connection.execute("UPDATE logged_model SET run_id = NULL WHERE run_id = ?", (run_id,))
    connection.execute("UPDATE run SET parent_id = NULL WHERE parent_id = ?", (run_id,))
    connection.execute("DELETE FROM run WHERE id = ?", (run_id,))
    return points


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

    def __init__(
        self, writer: Writer, head: SourceHead, standing: Standing, again: bool, into: int | None = None
    ) -> None:
        self.writer = writer
        self.head = head
        self.standing = standing
        self.again = again
        self.into = into
        self.at = writer.database.connection
        self.title: str | None = None
        self.is_page = False
        self.out = Written(standing.kind)
        self.open: dict[int, _OpenRun] = {}
        self.held: list[_OpenRun] = []
        self.experiment_id: int | None = None
        # A changed page is a new source, unless its runs are to be read again.
        self.keeps = standing.kind == "grown" or (again and standing.source_id is not None)
        self.source_id = self._own_source() if self.keeps else None
        self.known = self._known_runs() if self.keeps else {}
        self.purged = self._purged_lines() if self.keeps else frozenset()
        # Lines whose points are in already.
        self.taken = standing.line_count if standing.kind == "grown" and not again and self._gave_runs() else 0
        # Purged runs of which more may follow.
        self.gone: dict[int, RunStart] = {}

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

    def finish(self, *, alike: bool) -> Written:
        """Store the summaries and the source itself."""
        self._close_all()
        self.out.reads = len(self.open)
        if self.open or self.source_id is not None:
            self._put_source()
        if self.taken:
            self._drop_phantoms()
        for known in self.known.values() if self.again else ():
            self.out.changes.append(f"{known.name}: the source no longer holds it; the run is left as it was")
        self.out.run_ids = [run.id for run in self.open.values()]
        for run in self.open.values() if alike else ():
            twin = self.writer.settle(run.id, run.outlines, self.out.run_ids) if run.fresh else None
            if twin:
                self.out.runs -= 1
                self.out.points -= sum(count for _, _, count, *_ in run.outlines)
                self.out.changes.append(f"the same run as {twin}: kept as another source of it")
        return self.out

    def _drop_phantoms(self) -> None:
        """Runs that an unterminated last line seemed to begin, and that the whole line does not."""
        for line, known in self.known.items():
            if line > self.taken and self._is_shared(known.id):
                where = "run_id = ? AND source_no = ?"
                self.at.execute(f"DELETE FROM run_source WHERE {where}", (known.id, known.source_no))
            elif line > self.taken:
                delete_run(self.at, known.id)

    def _close_all(self) -> None:
        """Store what is held of runs."""
        for run in self.held:
            self._correct(run)
            for key in [key for key, one in run.metrics.items() if one.stored and not one.summary.count]:
                # Only an unterminated line had named it.
                self.at.execute(sql.DELETE_METRIC, (run.metrics.pop(key).id,))
            self.writer.insert_metrics(run.id, run.metrics.values())
            run.outlines = [_outline(one) for one in run.metrics.values()] if run.fresh else []
            self._put_run_source(run)
            if run.before is not None:
                self._tell_changes(run)
            run.metrics, run.before, run.closed = {}, None, True
        self.held.clear()

    def _correct(self, run: _OpenRun) -> None:
        """After a run was read again: what a person corrected stands."""
        for what, key, new in self.at.execute(sql.CORRECTIONS, (run.id,)).fetchall():
            one = run.metrics.get(key)
            if one is None or not (one.reread or (run.before is not None and not one.stored)):
                continue
            if what == "unit":
                one.unit_by_hand = (new,)
            elif one.metric.kind == REPORTED:
                self.at.execute("UPDATE point SET value = ? WHERE metric_id = ?", (float(new), one.id))
                one.summary, one.decimals = derived_summary(self.at, one.id), decimals_of((new,))

    def _open_again(self, run: _OpenRun) -> None:
        """More points of a run that was stored already."""
        run.metrics, run.closed = self.writer.open_metrics(run.id), False
        self.held.append(run)

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
        old = self.standing.source_id
        if self.into is not None:
            where = "source_id = ? AND run_id = ?"
            self.at.execute(f"UPDATE run_source SET source_id = ? WHERE {where}", (own, old, self.into))
        for table in ("run_source", "purged_run") if self.into is None else ():
            self.at.execute(f"UPDATE {table} SET source_id = ? WHERE source_id = ?", (own, old))
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

    def _known_runs(self) -> dict[int, _KnownRun]:
        """The runs the source gave, by the line where each begins."""
        out: dict[int, _KnownRun] = {}
        seen: set[int] = set()
        rows = self.at.execute(sql.RUNS_OF_SOURCE, (self.source_id,)).fetchall()
        for run_id, source_no, line, experiment_id, name, first_name in rows:
            self.experiment_id = experiment_id
            # A table that stands on the page twice: the first place is where its runs begin.
            if run_id not in seen:
                seen.add(run_id)
                out[line] = _KnownRun(run_id, name, source_no, _without_number(first_name))
        return out

    def _gave_runs(self) -> bool:
        """Whether anything of the source is in; its runs may have gone on with a copy of it that grew first."""
        return bool(self.known or self.purged)

    def _purged_lines(self) -> frozenset[int]:
        """Where runs began that were deleted for good; they come back only when the person reads again."""
        if self.again:
            self.at.execute("DELETE FROM purged_run WHERE source_id = ?", (self.source_id,))
            return frozenset()
        rows = self.at.execute("SELECT line_first FROM purged_run WHERE source_id = ?", (self.source_id,))
        return frozenset(line for (line,) in rows)

    def _match(self, event: RunStart) -> _KnownRun | None:
        """The run that was read from here before, taken off the list of those still to be met."""
        if self.into is not None:
            line = next((line for line, known in self.known.items() if known.id == self.into), None)
            return None if line is None else self.known.pop(line)
        if self.standing.kind != "changed":
            return self.known.pop(event.line, None)
        # Lines have moved: by what the page calls it, in the order of the page.
        name = _without_number(event.caption) if event.caption else None
        for line, known in self.known.items():
            if name is None or known.caption == name:
                return self.known.pop(line)
        return None

    # ── runs ──

    def _start(self, event: RunStart) -> None:
        if self.source_id is None:
            self.source_id = self.writer.source_id()
        if len(self.held) >= _RUNS_OPEN:
            self._close_all()
        known = self._match(event)
        if known:
            self._hold(event.index, self._reopen(event, known))
        elif self.into is not None:
            self._attach(event, self.into)
        elif event.line in self.purged:
            self.gone[event.index] = event
        else:
            self._make_run(event)

    def _make_run(self, event: RunStart, taken: int = 0) -> None:
        if self.experiment_id is None:
            name = self.head.experiment or self.title or self.head.default_experiment
            self.experiment_id = self.writer.experiment_id(name)
        head = self.head
        name = self.writer.free_name(self.experiment_id, event.caption or head.run_name)
        origin = "page" if self.is_page else "log"
        made = self.at.execute(sql.INSERT_RUN, (uuid4().hex, self.experiment_id, name, origin, "finished", None, None))
        run_id = int(made.lastrowid or 0)
        self._put_words(run_id, {**event.params, **head.params}, {**event.tags, **head.tags}, event.reason)
        self._hold(event.index, _OpenRun(run_id, name, 1, event.line, event.line, taken=taken, fresh=True))
        self.out.runs += 1

    def _attach(self, event: RunStart, run_id: int) -> None:
        """Make the source a further one of a run."""
        name, number = self.at.execute(
            "SELECT name, coalesce((SELECT max(source_no) FROM run_source WHERE run_id = run.id), 0) + 1"
            " FROM run WHERE id = ?",
            (run_id,),
        ).fetchone()
        run = _OpenRun(run_id, name, number, event.line, event.line, shared=True)
        run.metrics = self.writer.open_metrics(run_id)
        self._put_said_words(run_id, event)
        self._hold(event.index, run)

    def _is_shared(self, run_id: int) -> bool:
        return bool(
            self.at.execute(
                "SELECT 1 FROM run_source WHERE run_id = ? AND source_id <> ? LIMIT 1", (run_id, self.source_id)
            ).fetchone()
        )

    def _hold(self, index: int, run: _OpenRun) -> None:
        self.open[index] = run
        self.held.append(run)

    def _put_words(self, run_id: int, params: Mapping[str, str], tags: Mapping[str, str], reason: str | None) -> None:
        if params:
            rows = [(run_id, key, value, as_number(value)) for key, value in params.items()]
            self.at.executemany(sql.PUT_PARAM, rows)
        if reason:
            tags = {**tags, "expdb.boundary": reason}
        if tags:
            self.at.executemany(sql.PUT_TAG, [(run_id, key, value) for key, value in tags.items()])

    def _reopen(self, event: RunStart, known: _KnownRun) -> _OpenRun:
        run_id, source_no = known.id, known.source_no
        run = _OpenRun(run_id, known.name, source_no, event.line, event.line, taken=self.taken)
        run.shared = self._is_shared(run_id)
        if self.again:
            self._empty(run)
            self._put_said_words(run_id, event)
            return run
        run.metrics = self.writer.open_metrics(run_id)
        for one in run.metrics.values():
            # An unterminated last line was read; what it says now may be more.
            if self.at.execute(sql.DELETE_POINTS_BEHIND, (one.id, run.taken, source_no)).rowcount:
                one.summary, one.reread = derived_summary(self.at, one.id), True
        if event.line > self.taken:
            # So did the words of the run.
            self._put_said_words(run_id, event)
        return run

    def _put_said_words(self, run_id: int, event: RunStart) -> None:
        """Params and tags as the source says them now, but for those that a person corrected."""
        kept = {f"{f}:{k}" for f, k in self.at.execute("SELECT field, key FROM edit WHERE run_id = ?", (run_id,))}
        params, tags = {**event.params, **self.head.params}, {**event.tags, **self.head.tags}
        params = {k: v for k, v in params.items() if f"param:{k}" not in kept}
        tags = {k: v for k, v in tags.items() if f"tag:{k}" not in kept}
        self._put_words(run_id, params, tags, event.reason)

    def _empty(self, run: _OpenRun) -> None:
        """Take out what the source said, and leave what a person added by hand, or another source said."""
        run.before = {}
        for one in self.writer.open_metrics(run.id).values():
            rows = self.at.execute(
                "SELECT step, value, source_no FROM point WHERE metric_id = ? ORDER BY seq", (one.id,)
            ).fetchall()
            own = tuple((step, value) for step, value, source_no in rows if source_no == run.source_no)
            others = len(own) < len(rows) and (
                run.shared or all(source_no is None for *_, source_no in rows)
            )  # fmt: skip
            if own or not others:
                run.before[one.key] = own if others else tuple((step, value) for step, value, _ in rows)
            if not others:
                self.at.execute(sql.DELETE_POINTS, (one.id,))
                self.at.execute(sql.DELETE_METRIC, (one.id,))
                continue
            if own:
                self.at.execute("DELETE FROM point WHERE metric_id = ? AND source_no = ?", (one.id, run.source_no))
                one.summary = derived_summary(self.at, one.id)
            run.metrics[one.key] = one
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
            rows = self.at.execute(
                "SELECT step, value FROM point WHERE metric_id = ? AND source_no IS NOT NULL"
                " AND (source_no = ? OR NOT ?) ORDER BY seq",
                (one.id, run.source_no, run.shared),
            )
            new = tuple(rows.fetchall())
            differ = sum(a != b for a, b in zip(old, new, strict=False))
            # A member of a folder that is written anew with every step has only grown.
            if new != old and not (self.standing.kind == "changed" and not differ and len(new) > len(old)):
                both = min(len(old), len(new))
                said = f"{len(old)} → {len(new)} points, {differ} of the first {both} differ"
                if len(old) == len(new) == 1:
                    said = " → ".join(repr(math.nan if value is None else value) for _, value in (*old, *new))
                self.out.changes.append(f"{run.name}: {key} {said}")
        for key, one in run.metrics.items():
            if key not in run.before and not one.stored:
                self.out.changes.append(f"{run.name}: {key} is new ({one.summary.count} points)")

    def _put_run_source(self, run: _OpenRun) -> None:
        self.at.execute(sql.PUT_RUN_SOURCE, (run.id, run.source_no, self.source_id, run.line_first, run.line_last))

    def _repeat(self, event: Repeat) -> None:
        run = self.open.get(event.index)
        if run is None:
            # A purged run's second place.
            return
        run.repeats += 1
        place = (run.id, run.source_no + run.repeats, self.source_id, event.line_first, event.line_last)
        self.at.execute(sql.PUT_RUN_SOURCE, place)

    # ── points ──

    def _points(self, event: Points) -> None:
        if event.index in self.gone:
            if event.line_last <= self.taken:
                return
            self._make_run(self.gone.pop(event.index), taken=self.taken)
        run = self.open[event.index]
        if run.closed:
            self._open_again(run)
        run.line_last = max(run.line_last, event.line_last)
        seen: set[str] = set()
        together: dict[tuple[int, ...], list[tuple[_OpenMetric, Curve]]] = {}
        for curve in self._wanted(run, event.curves):
            one = self._metric(run, curve.metric, seen)
            if one.stored and not run.shared:
                # A file that grew is parsed whole: what it says now decides, also of the units.
                if one.metric.step_unit != curve.metric.step_unit:
                    said = (curve.metric.step_unit, one.id)
                    self.at.execute("UPDATE metric SET step_unit = ? WHERE id = ?", said)
                one.metric = curve.metric
            # A curve may be seen to be one only when there is more of it: then all of it is new.
            known = run.taken and (one.stored or run.shared)
            start = bisect_right(curve.lines, run.taken, key=_line) if known else 0
            if start == len(curve.values):
                continue
            if one.seq < 0:
                one.seq = self.at.execute(sql.NEXT_SEQ, (one.id,)).fetchone()[0]
            alike = (id(curve.steps), id(curve.lines), id(curve.epochs), id(curve.times_ms), one.seq, start)
            together.setdefault(alike, []).append((one, curve))
        for (*_, seq, start), group in together.items():
            for few in _in_parts(group, _CURVES_AT_ONCE):
                self.writer.insert([one.id for one, _ in few], seq, run.source_no, [curve for _, curve in few], start)
            self._summarise(group, start)

    def _wanted(self, run: _OpenRun, curves: Iterable[Curve]) -> Iterator[Curve]:
        """The curves that are stored: no asides, and of a run with other sources only what these do not say."""
        for curve in curves:
            if curve.metric.kind == ASIDE:
                if curve.metric.label not in run.asides:
                    run.asides.add(curve.metric.label)
                    self.out.asides[curve.metric.label] += 1
                continue
            left = self._unsaid(run, curve) if run.shared else curve
            if left:
                yield left

    def _unsaid(self, run: _OpenRun, curve: Curve) -> Curve | None:
        """The points that no other source of the run has told of; None where all are known.

        Where a reader of another kind tells something else of the same steps, it is another metric.
        """
        metric = curve.metric
        known = [one for one in run.metrics.values() if one.metric.name == metric.name and one.stored]
        if not known:
            return curve
        told: dict[int | None, list[tuple[float | None, bool]]] = {}
        for one in known:
            rows = self.at.execute(
                "SELECT p.step, p.value, s.format <> ? FROM point p JOIN run_source l ON l.run_id = ?"
                " AND l.source_no = p.source_no JOIN source s ON s.id = l.source_id"
                " WHERE p.metric_id = ? AND p.source_no <> ?",
                (self.head.format, run.id, one.id, run.source_no),
            )
            for step, value, foreign in rows:
                told.setdefault(step, []).append((value, foreign))
        fresh, apart, agree = [], 0, 0
        for at, (step, value) in enumerate(zip(curve.steps, curve.values, strict=True)):
            there = told.get(step, ())
            if any(close(value, other) for other, _ in there):
                agree += 1
                continue
            fresh.append(at)
            apart += any(foreign for _, foreign in there)
        if apart > agree:
            file = self.head.place.rsplit("/", 1)[-1]
            return replace(curve, metric=replace(metric, label=f"{metric.label} ({file})"))
        if agree:
            # What both tell is one metric, whatever this source calls it.
            curve = replace(curve, metric=replace(metric, label=known[0].metric.label))
        return selected(curve, fresh) if fresh else None

    def _summarise(self, group: Sequence[tuple[_OpenMetric, Curve]], start: int) -> None:
        """Count the points from index start on into the metrics' summaries; the curves share steps and times."""
        steps, times = group[0][1].steps, group[0][1].times_ms
        if start:
            steps, times = steps[start:], times[start:] if times else None
        last = last_of(steps, times)
        for one, curve in group:
            values = curve.values[start:] if start else curve.values
            first = one.summary.count == 0
            one.summary.add(steps, values, times, last)
            one.seq += len(values)
            self.out.points += len(values)
            if first or (one.decimals is not None and (curve.decimals is None or curve.decimals > one.decimals)):
                one.decimals = curve.decimals

    def _metric(self, run: _OpenRun, metric: Metric, seen: set[str]) -> _OpenMetric:
        """The run's metric; labels that mean the same get keys of their own."""
        key = metric.name
        if key in seen or (key in run.metrics and run.metrics[key].metric.label != metric.label):
            key = f"{metric.name} ({metric.label})"
        seen.add(key)
        if key not in run.metrics:
            run.metrics[key] = _OpenMetric(self.writer.metric_id(), metric, key, Summary(), None, 0, stored=False)
        return run.metrics[key]


def _outline(one: _OpenMetric) -> Outline:
    summary = one.summary
    return (
        *(one.metric.name, one.metric.kind, summary.count, summary.first_step, summary.last_step),
        *(summary.first_value, summary.last_value, summary.min_value, summary.max_value),
    )


def _without_number(name: str) -> str:
    return re.sub(r" \(\d+\)$", "", name)


def _in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _line(line: int | None) -> int:
    return line or 0


def as_number(text: str) -> float | None:
    """The text as a number, None where it is none (or not finite, which no filter means)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") and "_" not in text else None
