"""Parsed sources into the database: new ones, grown ones, and ones that are read again."""

import math
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import uuid4

from expdb.parsers.digits import decimals_of
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
    Unparsed,
    last_of,
)
from expdb.store import statements as sql
from expdb.store.likeness import Outline, close, selected
from expdb.store.writer import (
    OpenMetric,
    SourceHead,
    Standing,
    Writer,
    Written,
    as_number,
    delete_run,
    derived_summary,
)

T = TypeVar("T")

_CURVES_AT_ONCE = 64
# Runs whose metrics are held in memory; a log appended to itself for years holds thousands.
_RUNS_OPEN = 16


@dataclass(slots=True)
class _OpenRun:
    id: int
    name: str
    source_no: int
    line_first: int
    line_last: int
    metrics: dict[str, OpenMetric] = field(default_factory=dict)
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


def write(
    writer: Writer,
    head: SourceHead,
    standing: Standing,
    events: Iterable[Event],
    *,
    again: bool = False,
    into: int | None = None,
    apart: bool = False,
    alike: bool = False,
) -> Written:
    """Store what a source says. again: replace what its runs hold instead of adding to it.

    into: the run that the source, which tells of one run, is a further source of. apart: the first run of the source is
    `into`, each further one a run of its own below it, and their other sources tell of other metrics. alike: a new run
    that says what another run of the experiment says becomes a source of that one.
    """
    intake = _Intake(writer, head, standing, again, into, apart)
    for event in events:
        intake.take(event)
    return intake.finish(alike=alike)


class _Intake:
    """One source on its way in."""

    def __init__(
        self,
        writer: Writer,
        head: SourceHead,
        standing: Standing,
        again: bool,
        into: int | None = None,
        apart: bool = False,
    ) -> None:
        self.writer = writer
        self.head = head
        self.standing = standing
        self.again = again
        self.into = into
        self.apart = apart
        self.at = writer.database.connection
        self.title: str | None = None
        self.is_page = False
        self.out = Written(standing.kind)
        self.open: dict[int, _OpenRun] = {}
        self.held: list[_OpenRun] = []
        self.experiment_id: int | None = None
        # A changed page is a new source, unless its runs are to be read again.
        self.keeps = standing.kind == "grown" or (again and standing.source_id is not None)
        self.had_tail = self.keeps and self._had_tail()
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
            if self.apart and known.id != self.into:
                delete_run(self.at, known.id)
                continue
            self.out.changes.append(f"{known.name}: the source no longer holds it; the run is left as it was")
        self.out.run_ids = [run.id for run in self.open.values()]
        for run in self.open.values() if alike else ():
            settle = self.writer.settle
            twin = settle(run.id, run.outlines, self.out.run_ids, self.experiment_id) if run.fresh else None
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
            if not run.fresh:
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

    def _had_tail(self) -> bool:
        """Whether points of an unterminated last line may be in."""
        row = self.at.execute("SELECT tail_sha256 FROM source WHERE id = ?", (self.standing.source_id,)).fetchone()
        return bool(row and row[0])

    def _source_row(self) -> tuple[object, ...]:
        head, digest = self.head, self.head.digest
        content = zlib.compress(head.content) if head.content is not None and self.is_page else None
        return (
            *(digest.sha256, digest.tail_sha256, digest.size_bytes, digest.line_count, head.format),
            *(head.parser_version, head.encoding, self.out.unparsed, self.writer.now_ms, content),
        )

    def _put_source(self) -> None:
        assert self.source_id is not None
        self.writer.put_source(self.source_id, self._source_row(), self.head.place)

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
        if self._is_into():
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

    def _is_into(self) -> bool:
        """Whether the next run of the source is the one it was said to tell of."""
        return self.into is not None and not (self.apart and self.open)

    # ── runs ──

    def _start(self, event: RunStart) -> None:
        if self.source_id is None:
            self.source_id = self.writer.source_id()
        if len(self.held) >= _RUNS_OPEN:
            self._close_all()
        known = self._match(event)
        if known:
            self._hold(event.index, self._reopen(event, known))
        elif self.into is not None and self._is_into():
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
        born = (uuid4().hex, self.experiment_id, name, origin, "finished", None, None)
        run_id = int(self.at.execute(sql.INSERT_RUN, born).fetchone()[0])
        if self.into is not None:
            self.at.execute(sql.PUT_BELOW, (self.into, run_id))
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
        run = _OpenRun(run_id, name, number, event.line, event.line, shared=not self.apart)
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
        run.shared = not self.apart and self._is_shared(run_id)
        if self.again:
            self._empty(run)
            self._put_said_words(run_id, event)
            return run
        run.metrics = self.writer.open_metrics(run_id)
        for one in run.metrics.values() if self.had_tail else ():
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
                run.shared or self.apart or all(source_no is None for *_, source_no in rows)
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
        together: dict[tuple[int, ...], list[tuple[OpenMetric, Curve]]] = {}
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

    def _summarise(self, group: Sequence[tuple[OpenMetric, Curve]], start: int) -> None:
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

    def _metric(self, run: _OpenRun, metric: Metric, seen: set[str]) -> OpenMetric:
        """The run's metric; labels that mean the same get keys of their own."""
        key = metric.name
        if key in seen or (key in run.metrics and run.metrics[key].metric.label != metric.label):
            key = f"{metric.name} ({metric.label})"
        seen.add(key)
        if key not in run.metrics:
            run.metrics[key] = OpenMetric(self.writer.metric_id(), metric, key, Summary(), None, 0, stored=False)
        return run.metrics[key]


def _outline(one: OpenMetric) -> Outline:
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
