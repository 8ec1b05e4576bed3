"""Points that a tracking client logs, each once, and curves read back as that client orders them.

A point is (key, step, time, value); the client may send one again, and means the same point. Most points lie behind the
last one of their metric and need no look at the others; for those that do not, what was stored is kept in memory
(`Known`), so that a curve logged backwards costs no more than one logged forwards.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from expdb import metrics
from expdb.records import CURVE, Summary, Unit
from expdb.store import statements as sql
from expdb.store.database import Database
from expdb.store.tracking import STARTED, portions
from expdb.store.writer import derived_summary

_INSERT = "INSERT INTO point (metric_id, seq, step, value, time_ms) VALUES (?, ?, ?, ?, ?)"
_RUN = f"SELECT r.uid, {STARTED} FROM run r WHERE r.id = ?"
_SINCE = (
    "SELECT step, time_ms, value, seq FROM point WHERE metric_id = ? AND seq >= ? AND seq < ?"
    " UNION ALL SELECT step, time_ms, value, seq FROM point WHERE metric_id = ? AND seq = ?"
)
_ELSEWHERE = "SELECT 1 FROM point WHERE metric_id = ? AND seq > ? AND value = ? AND step <> ? LIMIT 1"
_LAST_AT = "SELECT seq, value FROM point WHERE metric_id = ? AND step = ? AND time_ms = ? ORDER BY seq DESC LIMIT 1"
_STORED = (
    "SELECT key, id, unit, decimals, (SELECT max(seq) FROM point WHERE metric_id = metric.id), count, nonfinite,"
    " first_step, first_value, last_step, last_time_ms, last_value, min_step, min_value, max_step, max_value"
    " FROM metric WHERE run_id = ? AND key IN ({})"
)
_CURVE = (
    f"SELECT m.id, m.nonfinite, {STARTED} FROM metric m JOIN run r ON r.id = m.run_id WHERE r.uid = ? AND m.key = ?"
)
# Points kept in memory to know repeats by, of all curves together: some 30 MB.
_KNOWN_POINTS = 200_000

# (step, time, value), the value None where it is NaN, which equals nothing.
Mark = tuple[int, int, float | None]


# (key, value, time, step): a point as a client logs it. No class of its own, for a thousand are made in one call.
Logged = tuple[str, float, int, int]
# (time, step, value): a point as a client reads it, in the order of reading.
HistoryPoint = tuple[int, int, float]


@dataclass(slots=True)
class _Stored:
    """A metric as the database has it. next_seq: of its next point."""

    id: int
    unit: Unit | None
    decimals: int | None
    next_seq: int
    summary: Summary
    # Its summary is to be derived from its points again.
    doubtful: bool = False


@dataclass(slots=True)
class _Curve:
    """What was read of a curve. upto: behind the points read; top: the last of them, as (step, time, seq)."""

    marks: set[Mark]
    upto: int = 0
    top: tuple[int, int, int] | None = None


class Known:
    """What the curves that are not logged in order hold already, by metric; for one store and all its threads.

    Only what is committed is ever in here: points are read before new ones of the same transaction are written.
    """

    def __init__(self) -> None:
        self._curves: OrderedDict[tuple[str, str, int], _Curve] = OrderedDict()

    def repeated(self, database: Database, run_id: int, key: str, stored: _Stored, late: Iterable[Mark]) -> set[Mark]:
        """Those of the points that are stored, as a client reads them."""
        late = set(late)
        ((uid, started_ms),) = database.rows(_RUN, (run_id,))
        if stored.summary.count > _KNOWN_POINTS:
            return _stored_of(database, stored.id, late, started_ms)
        # The number of a run that was purged may be another one's now, its uid never.
        name = (uid, key, stored.id)
        curve = self._curves.pop(name, None)
        if curve is None or len(curve.marks) > stored.summary.count:
            curve = _Curve(set())
        # Of what was read, only where the last point was can another value be: somebody has put a lesser one there.
        altered = -1 if curve.top is None else curve.top[2]
        rows = database.rows(_SINCE, (stored.id, curve.upto, stored.next_seq, stored.id, altered))
        for step, time_ms, value, seq in rows:
            if step is None or time_ms is None:
                curve.marks.add((step or 0, started_ms if time_ms is None else time_ms, value))
                continue
            curve.marks.add((step, time_ms, value))
            if curve.top is None or (step, time_ms, seq) > curve.top:
                curve.top = (step, time_ms, seq)
        curve.upto = stored.next_seq
        self._curves[name] = curve
        while len(self._curves) > 1 and sum(len(one.marks) for one in self._curves.values()) > _KNOWN_POINTS:
            self._curves.popitem(last=False)
        return late & curve.marks


def _stored_of(database: Database, metric_id: int, late: set[Mark], started_ms: int) -> set[Mark]:
    found: set[Mark] = set()
    for some, marks in portions({step for step, _, _ in late}):
        rows = database.rows(
            f"SELECT coalesce(step, 0), coalesce(time_ms, ?), value FROM point"
            f" WHERE metric_id = ? AND coalesce(step, 0) IN ({marks})",
            (started_ms, metric_id, *some),
        )
        found.update((step, time_ms, value) for step, time_ms, value in rows)
    return late & found


def log(database: Database, known: Known, run_id: int, points: Iterable[Logged]) -> None:
    """Store the points that are new, and bring the summaries of their metrics up to date; within a transaction."""
    curves: dict[str, dict[Mark, None]] = {}
    for key, value, time_ms, step in points:
        curves.setdefault(key, {})[step, time_ms, value if value == value else None] = None
    stored = _metrics(database, run_id, list(curves))
    rows: list[tuple[int, int, int, float | None, int]] = []
    fresh: list[tuple[object, ...]] = []
    grown: list[tuple[object, ...]] = []
    next_id = 0
    for key, said in curves.items():
        marks = list(said)
        one = stored.get(key)
        if one is None:
            next_id = next_id or int(database.rows(sql.NEXT_METRIC)[0][0])
            one = _Stored(next_id, None, None, 0, Summary())
            next_id += 1
        elif late := [mark for mark in marks if not _behind(mark, one.summary)]:
            repeated = known.repeated(database, run_id, key, one, late)
            marks = [mark for mark in marks if mark not in repeated]
        if not marks:
            continue
        marks = _greatest_last(marks)
        rows += _grow(database, one, marks)
        if key in stored:
            unit = _unit(database, run_id, key, one)
            grown.append((unit, one.decimals, *_numbers(one.summary), one.id))
        else:
            name = metrics.canonical(key) if metrics.is_known(key) else key
            unit = metrics.unit_of(name, one.summary.min_value, one.summary.max_value)
            said_of = (key, name, key, CURVE, None, unit, None, "step")
            fresh.append((one.id, run_id, *said_of, *_numbers(one.summary)))
    at = database.connection
    if fresh:
        at.executemany(sql.INSERT_METRIC, fresh)
    if grown:
        at.executemany(sql.UPDATE_METRIC, grown)
    if rows:
        at.executemany(_INSERT, rows)
    for one in stored.values():
        if one.doubtful:
            derived = derived_summary(at, one.id)
            at.execute(sql.UPDATE_METRIC, (one.unit, one.decimals, *_numbers(derived), one.id))


def _metrics(database: Database, run_id: int, keys: Sequence[str]) -> dict[str, _Stored]:
    out = {}
    for some, marks in portions(keys):
        for key, metric_id, unit, decimals, seq, *numbers in database.rows(_STORED.format(marks), (run_id, *some)):
            summary = Summary(*numbers)
            out[key] = _Stored(metric_id, unit, decimals, -1 if seq is None else seq, summary)
            out[key].next_seq += 1
    return out


def _behind(mark: Mark, summary: Summary) -> bool:
    """Whether the point lies behind all that are stored, so that it is none of them."""
    if summary.count == 0:
        return True
    if summary.last_step is None or summary.last_time_ms is None:
        # A log or a page has it: what it lacks, a client reads as step 0 and the time of the run's beginning.
        return mark[0] > max(0, summary.last_step or 0)
    return (mark[0], mark[1]) > (summary.last_step, summary.last_time_ms)


def _size(value: float | None) -> float:
    """By what MLflow orders values of one step and time; NaN is as 0 there."""
    return 0.0 if value is None or value != value else value


def _greatest_last(marks: list[Mark]) -> list[Mark]:
    """The points so that of those at the last step and time the greatest value comes last, as MLflow chooses it."""
    if len(marks) < 2:
        return marks
    top = max((step, time_ms) for step, time_ms, _ in marks)
    places = [place for place, (step, time_ms, _) in enumerate(marks) if (step, time_ms) == top]
    if len(places) > 1:
        # Of NaN and 0, which count alike, the first to come stays the last.
        ordered = sorted(places, key=lambda place: (_size(marks[place][2]), -place))
        for place, mark in zip(places, [marks[one] for one in ordered], strict=True):
            marks[place] = mark
    return marks


def _grow(database: Database, one: _Stored, marks: list[Mark]) -> list[tuple[int, int, int, float | None, int]]:
    """The rows of new points; the metric's summary tells of them, too."""
    steps, times, values = (list(column) for column in zip(*marks, strict=True))
    summary = one.summary
    before = (summary.last_step, summary.last_time_ms)
    last_value = summary.last_value
    numbers = [math.nan if value is None else value for value in values]
    summary.add(steps, numbers, times)
    if summary.count > len(marks) and before == (summary.last_step, summary.last_time_ms):
        place = max((i for i in range(len(marks)) if (steps[i], times[i]) == before), default=None)
        if place is not None and _size(last_value) >= _size(values[place]):
            # Two values of one step and time: the lesser one takes the place of the one that came before it.
            values[place] = _swap(database, one, before, marks[: place + 1])
            summary.last_value = math.nan if last_value is None else last_value
    first = one.next_seq
    return [
        (one.id, seq, step, value, time_ms)
        for seq, (step, value, time_ms) in enumerate(zip(steps, values, times, strict=True), first)
    ]


def _swap(database: Database, one: _Stored, last: tuple[int | None, int | None], marks: list[Mark]) -> float | None:
    """Put the value of the last of these points, which are not stored yet, where the metric's last one is; that one's
    is given back. last: step and time of both."""
    *between, (_, _, value) = marks
    last_value: float | None
    ((seq, last_value),) = database.rows(_LAST_AT, (one.id, *last))
    database.connection.execute("UPDATE point SET value = ? WHERE metric_id = ? AND seq = ?", (value, one.id, seq))
    summary = one.summary
    if seq == 0:
        summary.first_value = value
    # Which of two equal extremes came first may be another one now: this value comes earlier, the other one later.
    extremes = ((summary.min_value, summary.min_step), (summary.max_value, summary.max_step))
    if any(extreme == value and step != last[0] for extreme, step in extremes):
        one.doubtful = True
    elif any(extreme == last_value and step == last[0] for extreme, step in extremes):
        one.doubtful = any(number == last_value and step != last[0] for step, _, number in between) or bool(
            database.rows(_ELSEWHERE, (one.id, seq, last_value, last[0]))
        )
    return last_value


def _numbers(summary: Summary) -> list[float | None]:
    return [None if number != number else number for number in summary.row()]


def _unit(database: Database, run_id: int, key: str, one: _Stored) -> Unit | None:
    """The metric's unit, now that it has more values: what began as a fraction may turn out to be percent."""
    name = metrics.canonical(key) if metrics.is_known(key) else key
    found = metrics.unit_of(name, one.summary.min_value, one.summary.max_value)
    if found == one.unit or one.unit not in (None, "fraction") or found is None:
        return one.unit
    by_hand = database.rows("SELECT 1 FROM edit WHERE run_id = ? AND field = 'unit' AND key = ? LIMIT 1", (run_id, key))
    return one.unit if by_hand else found


def history(database: Database, uid: str, key: str) -> list[HistoryPoint]:
    """All points of a run's metric by time, step and value; none where there is no such metric.

    A point without a step is at step 0, one without a time at the run's beginning.
    """
    found = database.rows(_CURVE, (uid, key))
    if not found:
        return []
    ((metric_id, nonfinite, started_ms),) = found
    rows = database.rows(
        "SELECT coalesce(time_ms, ?), coalesce(step, 0), value FROM point WHERE metric_id = ? ORDER BY seq",
        (started_ms, metric_id),
    )
    # Mostly they are in order already, so that sorting costs next to nothing.
    if not nonfinite:
        rows.sort()
        return rows
    out = [(time_ms, step, math.nan if value is None else value) for time_ms, step, value in rows]
    out.sort(key=lambda point: (point[0], point[1], _size(point[2]), math.isnan(point[2])))
    return out


def sampled(database: Database, uid: str, key: str, most: int, steps: tuple[int, int] | None) -> list[HistoryPoint]:
    """At most that many of the points, by step, evenly spread; the first and the last among them. steps: from, to."""
    points = history(database, uid, key)
    if steps:
        points = [point for point in points if steps[0] <= point[1] <= steps[1]]
    points.sort(key=lambda point: (point[1], point[0], _size(point[2]), math.isnan(point[2])))
    if len(points) <= most:
        return points
    # As many buckets as are wanted, the first ones larger by one where they do not come out even.
    size, larger = divmod(len(points), most)
    out = [points[number * size + min(number, larger)] for number in range(most)]
    out[-1] = points[-1]
    return out
