"""Curves as columns of x and y: smoothed, brought to common places, averaged with bands. NaN is a hole in a curve."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from expdb.stats import mean_std, student_95


@dataclass(frozen=True, slots=True)
class Curve:
    """x ascends strictly. ends: the last finite points before others."""

    x: list[float]
    y: list[float]
    ends: tuple[tuple[float, float], ...] = ()


@dataclass(slots=True)
class Mean:
    """The mean of curves; columns of one length. counts: how many curves have a finite value there; the band is NaN
    where that is one alone."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of as many neighbours, half of them on either side, fewer at the ends; what is not finite parts."""
    out: list[float] = []
    start = 0
    while start < len(values):
        if not math.isfinite(values[start]):
            out.append(values[start])
            start += 1
            continue
        end = start
        while end < len(values) and math.isfinite(values[end]):
            end += 1
        sums = [0.0]
        for value in values[start:end]:
            sums.append(sums[-1] + value)
        for i in range(end - start):
            low, high = max(0, i - (width - 1) // 2), min(end - start, i + width // 2 + 1)
            out.append((sums[high] - sums[low]) / (high - low))
        start = end
    return out


def ends_of(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Points behind which the next value is not finite."""
    return tuple((x[i], y[i]) for i in range(len(y) - 1) if math.isfinite(y[i]) and not math.isfinite(y[i + 1]))


def interpolated(curve: Curve, grid: Sequence[float]) -> Curve:
    """Values on the grid's places within the curve's own range, NaN beside what is not finite."""
    x: list[float] = []
    y: list[float] = []
    for at in grid:
        if not curve.x[0] <= at <= curve.x[-1]:
            continue
        right = bisect_left(curve.x, at)
        x.append(at)
        if curve.x[right] == at:
            y.append(curve.y[right])
            continue
        share = (at - curve.x[right - 1]) / (curve.x[right] - curve.x[right - 1])
        y.append(curve.y[right - 1] * (1 - share) + curve.y[right] * share)
    return replace(curve, x=x, y=y)


def meet(curves: Sequence[Curve]) -> bool:
    """Whether any two of the curves have values over a common stretch."""
    ordered = sorted(curves, key=lambda one: (one.x[0], one.x[-1]))
    reached = -math.inf
    for one in ordered:
        if one.x[0] <= reached:
            return True
        reached = max(reached, one.x[-1])
    return False


def mean_of(curves: Sequence[Curve], band: str) -> Mean:
    """The mean at every place of the curves, of those that have a finite value there; NaN where none has."""
    at: dict[float, list[float]] = {}
    for one in curves:
        for x, y in zip(one.x, one.y, strict=True):
            values = at.setdefault(x, [])
            if math.isfinite(y):
                values.append(y)
    out = Mean()
    for x in sorted(at):
        values = at[x]
        low, mean, high = _band(values, band) if values else (math.nan, math.nan, math.nan)
        for column, number in ((out.x, x), (out.y, mean), (out.low, low), (out.high, high)):
            column.append(number)
        out.counts.append(len(values))
    return out


def _band(values: Sequence[float], band: str) -> tuple[float, float, float]:
    mean, std = mean_std(values)
    if std is None:
        return math.nan, mean, math.nan
    if band == "none":
        return mean, mean, mean
    if band == "minmax":
        return min(values), mean, max(values)
    reach = std if band == "std" else student_95(len(values) - 1) * std / math.sqrt(len(values))
    return mean - reach, mean, mean + reach
