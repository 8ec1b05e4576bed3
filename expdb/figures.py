"""What is drawn: panels of curves over one axis, as numbers and words; the renderers in `reports` decide how.

Every number of a panel is in the panel's unit. NaN in y breaks a line. Labels are foreign text, raw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from expdb.records import Unit


@dataclass(frozen=True, slots=True)
class Series:
    """One line: a run's curve, or the mean of a group of runs.

    place: 0, 1, ... of the run or group in the whole figure, its colour in every panel. variant: 0, 1, ... of the
    metric in the panel, its line style. x ascends strictly. low, high: the band around y, None where there is none.
    faint: the values before they were smoothed, else None. counts: how many runs each y is the mean of, None for a run
    of its own. runs: how many runs the line stands for. diverged: the last finite points before values that are not.
    broken: how many runs more diverged, and are in no mean.
    """

    label: str
    place: int
    x: Sequence[float]
    y: Sequence[float]
    variant: int = 0
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    faint: Sequence[float] | None = None
    counts: Sequence[int] | None = None
    runs: int = 1
    diverged: tuple[tuple[float, float], ...] = ()
    broken: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """A number that is stated without its curve: the same at every x. runs: of how many it is the mean."""

    label: str
    place: int
    value: float
    variant: int = 0
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over one pair of axes. title: the metric, or what its variants have in common; unit: of every number.
    variants: the metrics, where there are several."""

    title: str
    unit: Unit | None
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    variants: tuple[str, ...] = ()

    def drawn(self) -> tuple[Series | Level, ...]:
        """Everything that is drawn, curves first."""
        return (*self.series, *self.levels)

    def axis(self) -> str:
        """The title with its unit, as the tables say it."""
        sign = {None: "", "fraction": "", "percent": " (%)"}.get(self.unit, f" ({self.unit})")
        return f"{self.title}{sign}"


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels above each other, which share the x axis.

    entries: how many colours there are. size: width and height in inches, None for what suits. rules: what lines and
    bands are, one short sentence each, for the figure itself. remarks: what is not seen in it, for whoever asked.
    """

    panels: tuple[Panel, ...]
    x_label: str
    entries: int
    log: bool = False
    title: str | None = None
    size: tuple[float, float] | None = None
    rules: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def drawn(self) -> Iterator[Series | Level]:
        """Everything that is drawn, panel by panel."""
        for panel in self.panels:
            yield from panel.drawn()

    def captions(self) -> dict[int, str]:
        """What each colour stands for, by its place: the label and, for a mean, over how many runs:
        `lr=0.1 (n=2–3, 1 diverged)`; curves before what has none."""
        drawn: dict[int, list[Series | Level]] = {}
        for one in self.drawn():
            drawn.setdefault(one.place, []).append(one)
        curves = {place for place, found in drawn.items() if any(isinstance(one, Series) for one in found)}
        return {place: _caption(drawn[place]) for place in sorted(drawn, key=lambda one: (one not in curves, one))}


def _caption(found: Sequence[Series | Level]) -> str:
    numbers: set[int] = set()
    for one in found:
        if isinstance(one, Level):
            numbers |= {one.runs} if one.runs > 1 else set()
        elif one.counts is not None:
            numbers |= {n for n, y in zip(one.counts, one.y, strict=True) if y == y}
    told = []
    if numbers:
        least, most = min(numbers), max(numbers)
        told.append(f"n={least}" if least == most else f"n={least}–{most}")
    broken = max((one.broken for one in found if isinstance(one, Series)), default=0)
    if broken:
        told.append(f"{broken} diverged")
    if all(isinstance(one, Level) for one in found):
        told.append("reported")
    return f"{found[0].label} ({', '.join(told)})" if told else found[0].label
