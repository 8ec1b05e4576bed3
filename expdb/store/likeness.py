"""Runs that say the same: an export beside its event files is another source of that run, not another run."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from expdb.records import CURVE, Curve
from expdb.store.database import Connection

# Two ways of writing a 32-bit float differ by less.
TOLERANCE = 1e-6
# So many points may agree by chance: a training that broke off, a model that always guesses.
_FEWEST = 4

# (name, kind, count, first step, last step, first value, last value, least, greatest) of one metric.
Outline = tuple[str, str, int, int | None, int | None, float | None, float | None, float | None, float | None]
# What equal runs have in common, where their first values lie, and where the others; neighbours may be equal too.
_Signature = tuple[int, int, int]

_NEIGHBOURS = tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))

_OUTLINES = (
    "SELECT m.run_id, m.name, m.kind, m.count, m.first_step, m.last_step, m.first_value, m.last_value, m.min_value,"
    " m.max_value FROM metric m JOIN run r ON r.id = m.run_id"
    " WHERE r.experiment_id = ? AND r.deleted_ms IS NULL ORDER BY m.run_id"
)
_OUTLINES_OF_RUN = (
    "SELECT name, kind, count, first_step, last_step, first_value, last_value, min_value, max_value"
    " FROM metric WHERE run_id = ?"
)
_CURVES = "SELECT name, id FROM metric WHERE run_id = ? ORDER BY name, id"
_POINTS = "SELECT step, value FROM point WHERE metric_id = ? ORDER BY step, seq"
_CONTRADICTION = (
    "SELECT 1 FROM param a JOIN param b ON a.key = b.key WHERE a.run_id = ? AND b.run_id = ? AND a.value <> b.value"
    " AND (a.number IS NULL OR b.number IS NULL OR a.number <> b.number) LIMIT 1"
)


class Likeness:
    """The runs of an open database by what their curves look like, each experiment read when it is first asked for."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection
        self._by_experiment: dict[int, dict[_Signature, list[int]]] = {}

    def forget(self) -> None:
        """What was stored may have changed."""
        self._by_experiment.clear()

    def outlines(self, run_id: int) -> list[Outline]:
        """What is known of the metrics of a stored run."""
        return self._at.execute(_OUTLINES_OF_RUN, (run_id,)).fetchall()

    def twin(
        self, experiment_id: int, run_id: int, outlines: Iterable[Outline], not_among: Iterable[int]
    ) -> int | None:
        """Another run of the experiment with the same curves, and no param that contradicts; the oldest of them.

        The same curves: names, steps, and values within 1e-6 of each other, relatively. Where there is none, later
        runs may be like this one.
        """
        signature = _signature(outlines)
        if signature is None:
            return None
        known = self._by_experiment.get(experiment_id)
        if known is None:
            known = self._by_experiment[experiment_id] = self._load(experiment_id)
        common, first, others = signature
        near = ((common, first + a, others + b) for a, b in _NEIGHBOURS)
        found = {one for place in near for one in known.get(place, ())} - {run_id, *not_among}
        twin = next((one for one in sorted(found) if self._same(run_id, one)), None)
        if twin is None:
            known[signature].append(run_id)
        return twin

    def _load(self, experiment_id: int) -> dict[_Signature, list[int]]:
        runs: dict[int, list[Outline]] = defaultdict(list)
        for run_id, *outline in self._at.execute(_OUTLINES, (experiment_id,)):
            runs[run_id].append(tuple(outline))
        out: dict[_Signature, list[int]] = defaultdict(list)
        for run_id, outlines in runs.items():
            signature = _signature(outlines)
            if signature:
                out[signature].append(run_id)
        return out

    def _same(self, a: int, b: int) -> bool:
        first, second = (self._at.execute(_CURVES, (run_id,)).fetchall() for run_id in (a, b))
        if [name for name, _ in first] != [name for name, _ in second]:
            return False
        if self._at.execute(_CONTRADICTION, (a, b)).fetchone():
            return False
        return all(
            same_points(*(self._at.execute(_POINTS, (metric,)).fetchall() for metric in pair))
            for pair in zip((metric for _, metric in first), (metric for _, metric in second), strict=True)
        )


def same_points(a: Sequence[tuple[int | None, float | None]], b: Sequence[tuple[int | None, float | None]]) -> bool:
    """Whether two curves, (step, value) each, are the same; None is NaN."""
    return len(a) == len(b) and all(s == t and close(x, y) for (s, x), (t, y) in zip(a, b, strict=True))


def close(a: float | None, b: float | None) -> bool:
    """Whether two values are one number, written twice; None is NaN."""
    a, b = (math.nan if value is None else value for value in (a, b))
    return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=TOLERANCE)


def selected(curve: Curve, places: Sequence[int]) -> Curve:
    """Only the points at those places."""
    return replace(
        curve,
        steps=[curve.steps[at] for at in places],
        values=[curve.values[at] for at in places],
        lines=[curve.lines[at] for at in places],
        epochs=[curve.epochs[at] for at in places] if curve.epochs else None,
        times_ms=[curve.times_ms[at] for at in places] if curve.times_ms else None,
    )


def _signature(outlines: Iterable[Outline]) -> _Signature | None:
    """None where there is too little to tell runs apart by, or a number that a page merely states."""
    outlines = sorted(outlines, key=lambda one: one[:5] if None not in one[:5] else (one[0], "", 0, 0, 0))
    if any(kind != CURVE for _, kind, *_ in outlines) or sum(one[2] for one in outlines) < _FEWEST:
        return None
    if all(one[7] == one[8] for one in outlines):
        return None
    common = hash(tuple(one[:5] for one in outlines))
    # Runs of one kind are dense along one number, and each that is near is read: along two they lie apart.
    return common, _band(one[5] for one in outlines), _band(value for one in outlines for value in one[6:])


def _band(values: Iterable[float | None]) -> int:
    """A number for the size of values; where these differ by no more than the tolerance, it differs by one at most."""
    size = sum(abs(value) for value in values if value is not None and math.isfinite(value))
    # A sum of sizes is as close as its terms are; a band is four times as wide.
    return math.floor(math.log(size) / (4 * TOLERANCE)) if size else 0
