"""Curves of runs: which, over what, and together with which others. Answers in numbers; `reports` draws them."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal, get_args

from expdb import compare, metrics
from expdb.compare import tables
from expdb.compare.evaluation import Evaluation, has_diverged
from expdb.compare.grouping import Grouping
from expdb.compare.query import Query
from expdb.compare.sheets import Sheet
from expdb.curves import Curve, ends_of, interpolated, mean_of, meet, running_mean
from expdb.errors import NotFoundError, UsageError
from expdb.figures import Figure, Level, Panel, Series
from expdb.records import REPORTED, Unit
from expdb.reports.text import brief
from expdb.stats import mean_std
from expdb.store import columns
from expdb.store.database import Database
from expdb.store.reader import MetricRecord, RunRecord
from expdb.store.writer import as_number

Band = Literal["std", "ci", "minmax", "none"]
X = Literal["step", "time", "epoch"]
# Colours that are told apart; beyond them a line's style says which run it is, and no longer which metric.
COLOURS = 7
_STYLES = 4
# Inches; a page's column is 6, a poster 40.
_SIZES = (1.0, 40.0)
_MOST_INTERPOLATED = 200
_NAMED = 3
_UID_SHOWN = 8
# A label and the places of its runs.
_Group = tuple[str, Sequence[int]]
# The attributes of a page's marker.
WORDS = ("y", "x", "group-by", "band", "smooth", "logy", "runs", "experiment", "where", "sort", "top", "title", "size")
_BANDS: Mapping[str, str] = {
    "std": "mean ± sample standard deviation over n runs",
    "ci": "mean and its 95 % confidence interval (Student's t) over n runs",
    "minmax": "mean, least and greatest of n runs",
    "none": "mean over n runs",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for, in their own words, as flags of `plot` or as attributes of a page's marker.

    metrics: none for the result that most runs have. sort: as compare's, `-EXPR` turns it round. group_by: names of
    params (or tags, experiment, run) by comma, or all-but: and the params that a group's runs may differ in. smooth:
    values of a running mean. size: WIDTHxHEIGHT in inches.
    """

    experiment: str | None = None
    runs: tuple[str, ...] = ()
    where: str | None = None
    metrics: tuple[str, ...] = ()
    x: str = "step"
    group_by: str | None = None
    band: str = "std"
    smooth: int | None = None
    log: bool = False
    sort: str | None = None
    top: int | None = None
    title: str | None = None
    size: str | None = None


def asked(words: Mapping[str, str]) -> Asked:
    """What the attributes of a marker ask for: `y`, `x`, `group-by`, `band`, `smooth`, `logy`, `runs`, `experiment`,
    `where`, `sort`, `top`, `title`, `size`; lists by comma. Raises UsageError for a word or a value that is none."""
    unknown = next((word for word in words if word not in WORDS), None)
    if unknown is not None:
        close = get_close_matches(unknown, WORDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(WORDS)}"
        raise UsageError(f"plot knows no {unknown!r}", hint=hint)
    return Asked(
        experiment=words.get("experiment"),
        runs=listed(words.get("runs", "")),
        where=words.get("where"),
        metrics=listed(words.get("y", "")),
        x=words.get("x", "step"),
        group_by=words.get("group-by"),
        band=words.get("band", "std"),
        smooth=_whole(words, "smooth"),
        log=_truth(words, "logy"),
        sort=words.get("sort"),
        top=_whole(words, "top"),
        title=words.get("title"),
        size=words.get("size"),
    )


def figure(database: Database, asked: Asked, runs: Sequence[RunRecord] | None = None) -> Figure:
    """The curves that are asked for. runs: all runs of the database, where somebody has read them already.

    Raises UsageError and ExpressionError for words that cannot be taken, NotFoundError where no run is left, or none
    has a curve of the metric.
    """
    _check(asked)
    size = _size(asked.size)
    query = tables.understood(
        tables.Asked(
            experiment=asked.experiment,
            runs=asked.runs,
            where=asked.where,
            sort=asked.sort,
            top=asked.top,
            group_by=asked.group_by,
        )
    )
    with database.view():
        # Of groups it is those that are sorted, and of which the first are kept.
        of_runs = query if query.group_by is None else replace(query, sort=None, top=None)
        records = compare.select(database, of_runs, runs)
        if not records:
            raise NotFoundError("there is no run to draw", hint="expdb ls lists the runs; is -w too narrow?")
        names = tuple(dict.fromkeys(asked.metrics)) or (_first_result(records),)
        for name in names:
            compare.check_metric(database, records, name)
        if query.group_by is None:
            groups: list[_Group] = [(label, (place,)) for place, label in enumerate(run_labels(records))]
        else:
            groups = _in_groups(database, records, query, query.group_by)
        drawing = _Drawing(asked, records, names, groups)
        if asked.group_by and query.top is None and (left := len(records) - sum(len(one) for _, one in groups)):
            drawing.remarks.append(f"not drawn: {left} of the runs, which have none of {asked.group_by}")
        drawing.read(database)
    return drawing.figure(size)


def _check(asked: Asked) -> None:
    """Raise UsageError for a word that is none."""
    for flag, word, known in (("x", asked.x, get_args(X)), ("band", asked.band, get_args(Band))):
        if word not in known:
            raise UsageError(f"{flag} is {', '.join(known[:-1])} or {known[-1]}, not {word!r}")
    for flag, number in (("smooth", asked.smooth), ("top", asked.top)):
        if number is not None and number < 1:
            raise UsageError(f"{flag} is 1 or more, not {number}")


def _size(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    numbers = [as_number(part) for part in text.lower().replace("×", "x").split("x")]
    low, high = _SIZES
    if len(numbers) != 2 or not all(one is not None and low <= one <= high for one in numbers):
        raise UsageError(
            f"size {text!r} is not WIDTHxHEIGHT in inches, each {low:g} to {high:g}", hint="for example 6.4x4"
        )
    return numbers[0] or low, numbers[1] or low


def listed(text: str) -> tuple[str, ...]:
    """Words by comma."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def _whole(words: Mapping[str, str], word: str) -> int | None:
    text = words.get(word)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise UsageError(f"plot: {word}={text!r} is no whole number")
    return int(text)


def _truth(words: Mapping[str, str], word: str) -> bool:
    text = words.get(word, "no")
    if text not in ("yes", "true", "no", "false", word, ""):
        raise UsageError(f"plot: {word}={text!r}: yes or no")
    return text not in ("no", "false")


def _first_result(records: Sequence[RunRecord]) -> str:
    """The result that most runs have a curve of; of the test before validation before training."""
    found: Counter[str] = Counter()
    for record in records:
        found.update({one.name for one in record.metrics if one.kind != REPORTED})
    if not found:
        raise NotFoundError("none of the runs has a curve", hint="expdb compare tables what is reported")
    splits = (metrics.TEST, metrics.VAL, metrics.TRAIN)

    def rank(name: str) -> tuple[bool, int, int, bool]:
        split = name.partition("/")[0]
        place = splits.index(split) if split in splits else len(splits)
        return not metrics.is_result(name), -found[name], place, metrics.better(name) != "max"

    return min(found, key=rank)


@dataclass(frozen=True, slots=True)
class _Line:
    """Which line of the figure: see Series."""

    label: str
    place: int
    variant: int


@dataclass(slots=True)
class _Points:
    """A run's curve as it is read: y by x, in order of arrival."""

    at: dict[float, float] = field(default_factory=dict)
    repeated: bool = False

    def add(self, x: float, y: float) -> None:
        self.repeated = self.repeated or x in self.at
        # Of several values at one step the last is meant, as by at().
        self.at[x] = y


@dataclass(slots=True)
class _Drawing:
    """The work on one figure."""

    asked: Asked
    records: Sequence[RunRecord]
    names: tuple[str, ...]
    groups: Sequence[_Group]
    # The metric's record by (name as asked, run's place).
    found: dict[tuple[str, int], MetricRecord] = field(default_factory=dict)
    points: dict[int, _Points] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    rules: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Of runs whose groups are left out nothing is said.
        places = sorted(place for _, members in self.groups for place in members)
        for name in self.names:
            for place in places:
                metric = self.records[place].metric(name)
                if metric is not None:
                    self.found[name, place] = metric

    def read(self, database: Database) -> None:
        """All points that are needed, at once."""
        curves = {one.id: (place, one) for (_, place), one in self.found.items() if one.kind != REPORTED}
        counts_epochs = {key: one.step_unit == "epoch" for key, (_, one) in curves.items()}
        began: dict[int, float] = {
            place: record.started_ms for place, record in enumerate(self.records) if record.started_ms is not None
        }
        by = self.asked.x
        for batch in columns.points(database, list(curves)):
            rows = zip(batch.metric_ids, batch.steps, batch.epochs, batch.values, batch.times_ms, strict=True)
            for key, step, epoch, value, time_ms in rows:
                x: float | None
                if by == "step":
                    x = step
                elif by == "epoch":
                    x = step if epoch is None and counts_epochs[key] else epoch
                else:
                    x = time_ms
                if x is None:
                    continue
                points = self.points.get(key)
                if points is None:
                    points = self.points[key] = _Points()
                # SQLite stores NaN as NULL.
                points.add(x, math.nan if value is None else value)
        if by == "time":
            for key, points in self.points.items():
                place = curves[key][0]
                began[place] = min(began.get(place, math.inf), min(points.at))
            for key, points in self.points.items():
                start = began[curves[key][0]]
                points.at = {(x - start) / 1000: y for x, y in points.at.items()}

    def figure(self, size: tuple[float, float] | None) -> Figure:
        groups = self.groups
        alike: dict[str, list[str]] = {}
        for name in self.names:
            metric = next(one for (asked, _), one in self.found.items() if asked == name)
            key = metric.name.rsplit("/", 1)[-1] if len(groups) <= COLOURS and len(self.names) <= _STYLES else name
            alike.setdefault(key, []).append(name)
        self._without()
        x_label, scale = self._axis()
        panels = tuple(self._panel(names, groups, scale) for names in alike.values())
        if not any(panel.series for panel in panels):
            self._refuse()
        if self.asked.smooth and self.asked.smooth > 1:
            self.rules[f"running mean of {self.asked.smooth} values"] = None
        return Figure(
            panels=tuple(panel for panel in panels if panel.series or panel.levels),
            x_label=x_label,
            entries=len(groups),
            log=self.asked.log,
            title=self.asked.title,
            size=size,
            rules=tuple(self.rules),
            remarks=tuple(self.remarks),
        )

    def _refuse(self) -> None:
        """There is nothing that has an x."""
        told = ", ".join(self.names)
        if all(one.kind == REPORTED for one in self.found.values()):
            raise NotFoundError(
                f"{told}: reported without a curve by every run", hint="expdb compare tables reported results"
            )
        by = self.asked.x
        wanted = {"time": "the time of its values", "epoch": "the epoch of its values"}.get(by, "a step")
        raise NotFoundError(f"{told}: no run tells {wanted}", hint="--x step" if by != "step" else None)

    def _without(self) -> None:
        """Say which runs lack a metric, or what it is to be drawn over."""
        for name in self.names:
            places = (place for _, members in self.groups for place in members)
            missing = [self.records[place].name for place in sorted(places) if (name, place) not in self.found]
            if missing:
                self.remarks.append(f"{name}: not in {_named(missing)}")
            curves = [(p, one) for (asked, p), one in self.found.items() if asked == name and one.kind != REPORTED]
            lost = [self.records[place].name for place, one in curves if one.id not in self.points]
            if lost:
                self.remarks.append(f"{name}: no {self.asked.x} is known in {_named(lost)}")
            several = [
                self.records[p].name for p, one in curves if one.id in self.points and self.points[one.id].repeated
            ]
            if several:
                self.remarks.append(
                    f"{name}: several values at one {self.asked.x} in {_named(several)}; the last of them is drawn"
                )

    def _axis(self) -> tuple[str, float]:
        """The label of the x axis, and by what its numbers are divided."""
        if self.asked.x == "epoch":
            return "epoch", 1
        if self.asked.x == "time":
            longest = max((max(one.at) for one in self.points.values()), default=0)
            for unit, seconds in (("h", 3600.0), ("min", 60.0)):
                if longest >= 2 * seconds:
                    return f"time since the start ({unit})", seconds
            return "time since the start (s)", 1
        units = {one.step_unit for one in self.found.values() if one.id in self.points}
        if len(units) > 1:
            told = " and ".join(sorted(units))
            self.remarks.append(f"the steps of these runs are {told}: different things over one axis; see --x epoch")
            return "step", 1
        return next(iter(units), "step"), 1

    def _panel(self, names: list[str], groups: Sequence[_Group], scale: float) -> Panel:
        here = {key: one for key, one in self.found.items() if key[0] in names}
        units = {one.unit for one in here.values()}
        # Beside a number that has no unit, none can be said of the axis.
        unit = None if None in units else metrics.common_unit(units)
        if len(units) > 1 and unit is None:
            told = ", ".join(sorted(one or "no unit" for one in units))
            self.remarks.append(f"{', '.join(names)}: units differ ({told}) and are drawn as they are")
        series: list[Series] = []
        levels: list[Level] = []
        hidden: list[str] = []
        grouped = self.asked.group_by is not None
        for variant, name in enumerate(names):
            for place, (label, runs) in enumerate(groups):
                found = [(run, one) for run in runs if (one := here.get((name, run)))]
                curves = [(run, c) for run, one in found if (c := self._curve(run, one, unit, scale, hidden))]
                broken = {run for run, one in found if grouped and has_diverged(self.records[run], one)}
                stated = [one for run, one in found if one.kind == REPORTED and run not in broken]
                level = _level(label, place, variant, stated, unit)
                if level and not (self.asked.log and level.value <= 0):
                    levels.append(level)
                elif level:
                    hidden.append(label)
                self._say_broken(label, name, runs, broken)
                if curves and grouped:
                    sound = [curve for run, curve in curves if run not in broken]
                    fallen = [curve for run, curve in curves if run in broken]
                    series.append(self._mean(_Line(label, place, variant), sound, fallen))
                elif curves:
                    series.append(self._alone(_Line(label, place, variant), curves[0][1]))
        if levels:
            self.rules["horizontal: reported on a page, without its curve"] = None
        if any(one.diverged for one in series):
            in_no_mean = ", and in no mean" if self.asked.group_by else ""
            self.rules[f"×: what follows is not a finite number{in_no_mean}"] = None
        if hidden:
            self.remarks.append(
                f"{', '.join(names)}: values of zero or less have no place on a logarithmic axis, in"
                f" {_named(list(dict.fromkeys(hidden)))}"
            )
        title = names[0] if len(names) == 1 else _common(names, here)
        drawn = _on_log_axis(series) if self.asked.log else series
        return Panel(title, unit, tuple(drawn), tuple(levels), tuple(names) if len(names) > 1 else ())

    def _curve(
        self, run: int, metric: MetricRecord, unit: Unit | None, scale: float, hidden: list[str]
    ) -> Curve | None:
        """A run's curve in the panel's unit; what a logarithm cannot show is missing, its run named in hidden."""
        points = self.points.get(metric.id)
        if points is None:
            return None
        pairs = sorted(points.at.items())
        x = [at / scale for at, _ in pairs]
        y = [value for _, value in pairs]
        if metric.unit != unit and metric.unit is not None and unit is not None:
            y = [metrics.in_unit(value, metric.unit, unit) for value in y]
        if metric.nonfinite:
            self.remarks.append(
                f"{self.records[run].name}: {metric.nonfinite} of {metric.count} values of {metric.name} are not finite"
            )
        ends = ends_of(x, y)
        if self.asked.log and any(value <= 0 for value in y):
            hidden.append(self.records[run].name)
            y = [value if value > 0 else math.nan for value in y]
            ends = tuple(end for end in ends if end[1] > 0)
        return Curve(x, y, ends)

    def _say_broken(self, label: str, name: str, runs: Sequence[int], broken: Collection[int]) -> None:
        """Name the runs that diverged, as a table of means does."""
        if broken:
            names = [self.records[run].name for run in sorted(broken)]
            are = "is" if len(names) == 1 else "are"
            share = f"{len(names)} of {len(runs)} runs diverged and {are} in no mean: {_named(names)}"
            # For each metric, because it may be its own values that broke.
            self.remarks.append(f"{label}, {name}: {share}" if len(self.names) > 1 else f"{label}: {share}")

    def _alone(self, line: _Line, curve: Curve) -> Series:
        """A run's own curve."""
        y = running_mean(curve.y, self._smooth) if self._smooth else curve.y
        faint = curve.y if self._smooth else None
        return Series(line.label, line.place, curve.x, y, line.variant, faint=faint, diverged=curve.ends)

    @property
    def _smooth(self) -> int | None:
        return self.asked.smooth if self.asked.smooth and self.asked.smooth > 1 else None

    def _mean(self, line: _Line, sound: Sequence[Curve], fallen: Sequence[Curve]) -> Series:
        """The mean of the runs that did not diverge; of none a line that is nowhere, whose ends are marked."""
        curves = sound or [replace(one, y=[math.nan] * len(one.y)) for one in fallen]
        if self._smooth:
            curves = [replace(one, y=running_mean(one.y, self._smooth)) for one in curves]
        band = self.asked.band
        mean = mean_of(self._on_one_grid(line.label, curves), band)
        self.rules[_BANDS[band]] = None
        if alone := sum(n == 1 for n in mean.counts) if len(sound) > 1 else 0:
            share = f"{alone:,} of {len(mean.counts):,} values are those of one run alone"
            self.remarks.append(f"{line.label}: {share} (n=1, without a band)")
        has_band = band != "none" and any(low < high for low, high in zip(mean.low, mean.high, strict=True))
        return Series(
            line.label,
            line.place,
            mean.x,
            mean.y,
            line.variant,
            low=mean.low if has_band else None,
            high=mean.high if has_band else None,
            counts=mean.counts,
            runs=len(sound),
            diverged=tuple(end for one in (*sound, *fallen) for end in one.ends),
            broken=len(fallen),
        )

    def _on_one_grid(self, label: str, curves: Sequence[Curve]) -> Sequence[Curve]:
        """The curves as they are where they share most of their steps, or lie behind each other; else interpolated."""
        if not meet(curves):
            return curves
        seen = Counter(x for one in curves for x in one.x)
        shared = sum(count > 1 for count in seen.values())
        if 2 * shared >= min(len(one.x) for one in curves):
            return curves
        self.remarks.append(
            f"{label}: its runs have values at different places on the x axis; those between two are interpolated"
        )
        self.rules["between values interpolated"] = None
        if len(seen) <= _MOST_INTERPOLATED:
            grid = sorted(seen)
        else:
            low, high = min(seen), max(seen)
            last = _MOST_INTERPOLATED - 1
            even = [low + (high - low) * i / last for i in range(last)] + [high]
            # However short a curve is, its ends are places of the grid.
            grid = sorted({*even, *(x for one in curves for x in (one.x[0], one.x[-1]))})
        return [interpolated(one, grid) for one in curves]


def run_labels(records: Sequence[RunRecord]) -> list[str]:
    """A name for each run: its own, with the uid's beginning where several share it."""
    names = Counter(record.name for record in records)
    return [
        record.name if names[record.name] == 1 else f"{record.name} {record.uid[:_UID_SHOWN]}" for record in records
    ]


def _in_groups(database: Database, records: Sequence[RunRecord], query: Query, by: Grouping) -> list[_Group]:
    """Labels of the groups and the places of their runs. Without an order asked for, numbers are in theirs."""
    names, found = Sheet(Evaluation(database, records), query).groups(by)
    if query.sort is None:
        for at in reversed(range(len(names))):
            numbers = [as_number(str(group.key[at].value)) for group in found]
            if all(number is not None and number == number for number in numbers):
                found = [found[i] for i in sorted(range(len(found)), key=lambda i: numbers[i] or 0.0)]
    titles = [name.title or str(name.operand) for name in names]
    labels = [", ".join(f"{title}={brief(cell)}" for title, cell in zip(titles, one.key, strict=True)) for one in found]
    return [(label or "all runs", one.members) for label, one in zip(labels, found, strict=True)]


def _level(label: str, place: int, variant: int, found: Sequence[MetricRecord], unit: Unit | None) -> Level | None:
    """What is reported of the runs, as one number."""
    values = [
        metrics.in_unit(one.last_value, one.unit, unit)
        for one in found
        if one.last_value is not None and math.isfinite(one.last_value)
    ]
    if not values:
        return None
    return Level(label, place, mean_std(values)[0], variant, len(values))


def _on_log_axis(series: Iterable[Series]) -> list[Series]:
    """Bands end above zero, where a logarithm can show them: at half of the least value."""
    drawn = list(series)
    least = min((y for one in drawn for y in one.y if y > 0), default=1.0) / 2
    return [
        one if one.low is None else replace(one, low=[max(low, least) if low == low else low for low in one.low])
        for one in drawn
    ]


def _common(names: Sequence[str], found: Mapping[tuple[str, int], MetricRecord]) -> str:
    """What the metrics of a panel have in common: their quantity."""
    metric = next(one for (name, _), one in found.items() if name in names)
    return metric.name.rsplit("/", 1)[-1]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
