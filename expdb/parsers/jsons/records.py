"""Records, which are fields by label in the order they were written, to runs, curves and settings.

The records are gone through twice: once to learn what every field is (that a field never changes, which makes it a
setting, only the last record can tell), where runs begin and what the step is; once more for the points. Neither
keeps the records, so that memory stays flat.
"""

import json
import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import merge
from typing import cast

from expdb import metrics
from expdb.masking import is_secret
from expdb.parsers.digits import decimals_of
from expdb.parsers.jsons import fields
from expdb.parsers.jsons.columns import Column, Kind, Survey, text_of
from expdb.parsers.jsons.steps import Steps, steps_of
from expdb.parsers.jsons.text import PLAIN, PRINTED, Batch, JsonValue, Skipped
from expdb.records import ASIDE, CURVE, Curve, Event, LineKind, Metric, Points, RunStart, Unit

# A longer text is no setting but a listing: the machine's state, a whole configuration file.
TEXT_LIMIT = 1000
# Kinds of record that the person is told of.
_TOLD = 12
# From so many records on, a number that stays the same is a setting.
_ENOUGH = 3

# Called twice: with PLAIN first, whose lines that are no record are counted, then with PRINTED.
Source = Callable[[json.JSONDecoder, Skipped], Iterator[Batch]]


class Role(Enum):
    """What a field was taken for; the value says so to the person."""

    STEP = "the step"
    EPOCH = "the epoch, beside the step"
    COUNTER = "counts too, and is not the step: left out"
    SPLIT = "says the split"
    TIME = "the time of each point"
    SETTING = "stays the same in a run: a setting"
    CURVE = "a result"
    OTHER = "a number that changes: a curve"
    ASIDE = "printed beside results"
    TEXT = "no number: left out"


_KEPT = (Role.CURVE, Role.OTHER, Role.ASIDE)


@dataclass(frozen=True, slots=True)
class _Series:
    """One curve of one kind of record: a field, or one place of a field that holds a list."""

    label: str
    place: int | None
    metric: Metric


@dataclass(slots=True)
class _Part:
    """Rows of one run that hold one curve, kind by kind."""

    series: _Series
    rows: list[tuple[str, list[int]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Axes:
    """What the points of several curves have in common."""

    steps: Sequence[int]
    lines: Sequence[int]
    epochs: Sequence[float | None] | None
    times_ms: Sequence[int | None] | None


def _axes(rows: Sequence[int], batch: Batch, base: int, steps: Steps, times: Sequence[int] | None) -> _Axes:
    picked = [base + at for at in rows]
    first, last = rows[0], rows[-1] + 1
    whole = last - first == len(rows)
    return _Axes(
        [steps.steps[at] for at in picked],
        batch.lines[first:last] if whole else [batch.lines[at] for at in rows],
        [_number_or_none(steps.epochs[at]) for at in picked] if steps.epochs is not None else None,
        [times[at] or None for at in picked] if times is not None else None,
    )


class RecordReader:
    """The runs of a source of records. params, tags, caption: of every run, stated elsewhere in the source."""

    def __init__(
        self,
        source: Source,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        caption: str | None = None,
    ) -> None:
        self.source = source
        self.params, self.tags, self.caption = dict(params or {}), dict(tags or {}), caption
        self._skipped = Skipped()
        self._survey = Survey()

    def events(self) -> Iterator[Event]:
        """All of it: runs, points, kinds of record, what was not understood."""
        for batch in self.source(PLAIN, self._skipped):
            self._survey.add(batch)
        steps = steps_of(self._survey)
        settings = _Settings(self._survey, steps)
        roles = settings.roles
        series = [_series(kind, roles, steps) for kind in self._survey.kinds]
        used = {
            run for kind, some in zip(self._survey.kinds, series, strict=True) if some for run in steps.runs_of(kind)
        }
        starts = [start for start in steps.starts if start.run in used]
        index = {start.run: place for place, start in enumerate(starts)}
        times = _times(self._survey)
        base = begun = 0
        for batch in self.source(PRINTED, Skipped()) if used else ():
            while begun < len(starts) and starts[begun].row < base + len(batch.records):
                start = starts[begun]
                params = {**self.params, **settings.of_run.get(start.run, {})}
                yield RunStart(begun, start.line, self.caption, params, self.tags, start.reason)
                begun += 1
            yield from self._points(batch, base, series, steps, index, times)
            base += len(batch.records)
        if not used:
            for kind in self._survey.kinds:
                self._skipped.add(kind.line, kind.text)
                self._skipped.count += len(kind.rows) - 1
        yield from _told(self._survey, roles, steps)
        yield self._skipped.unparsed

    def _points(
        self,
        batch: Batch,
        base: int,
        series: Sequence[Sequence[_Series]],
        steps: Steps,
        index: Mapping[int, int],
        times: Sequence[int] | None,
    ) -> Iterator[Points]:
        """The points of a batch, run by run."""
        groups: dict[tuple[int, int], list[int]] = {}
        end = base + len(batch.records)
        for at, key in enumerate(zip(steps.owners[base:end], self._survey.kind_of[base:end], strict=True)):
            rows = groups.get(key)
            if rows is None:
                rows = groups[key] = []
            rows.append(at)
        runs: dict[int, dict[tuple[str, str], _Part]] = {}
        last: dict[int, int] = {}
        for (run, place), rows in groups.items():
            if run not in index:
                continue
            last[run] = max(last.get(run, 0), batch.lines[rows[-1]])
            parts = runs.setdefault(run, {})
            for one in series[place]:
                part = parts.setdefault((one.metric.label, one.metric.name), _Part(one))
                part.rows.append((one.label, rows))
        axes: dict[int, _Axes] = {}
        for run, parts in runs.items():
            curves = [self._curve(part, batch, base, axes, steps, times) for part in parts.values()]
            if some := tuple(curve for curve in curves if curve):
                yield Points(index[run], some, last[run])

    def _curve(
        self,
        part: _Part,
        batch: Batch,
        base: int,
        axes: dict[int, "_Axes"],
        steps: Steps,
        times: Sequence[int] | None,
    ) -> Curve | None:
        rows = part.rows[0][1] if len(part.rows) == 1 else list(merge(*(some for _, some in part.rows)))
        label, place = part.series.label, part.series.place
        if len(part.rows) == 1:
            found = [batch.records[at][label] for at in rows]
        else:
            # {"mode": "train", "loss": ...} and {"train/loss": ...} tell of one metric under two keys.
            keys = {at: key for key, some in part.rows for at in some}
            found = [batch.records[at][keys[at]] for at in rows]
        if place is not None:
            found = [v[place] if isinstance(v, list) and place < len(v) else None for v in found]
        types = set(map(type, found))
        whole = rows
        texts: list[str]
        if types == {int}:
            texts = ["0"]
            values = _floats(found)
        else:
            if types == {str}:
                texts = cast(list[str], found)
            else:
                kept = [i for i, v in enumerate(found) if type(v) in (str, int, float)]
                rows, texts = [rows[i] for i in kept], [str(found[i]) for i in kept]
            try:
                values = list(map(float, texts))
            except ValueError:
                rows, texts, values = self._odd(label, rows, texts, batch)
        if not values:
            return None
        # The fields of one kind of record share their rows, and so their steps.
        if len(part.rows) == 1 and len(rows) == len(whole):
            along = axes.get(id(whole))
            if along is None:
                along = axes[id(whole)] = _axes(whole, batch, base, steps, times)
        else:
            along = _axes(rows, batch, base, steps, times)
        return Curve(
            part.series.metric, along.steps, values, along.lines, decimals_of(texts), along.epochs, along.times_ms
        )

    def _odd(
        self, label: str, rows: list[int], texts: list[str], batch: Batch
    ) -> tuple[list[int], list[str], list[float]]:
        """The rows, texts and values that are numbers; what is none is told."""
        kept: list[tuple[int, str, float]] = []
        for at, text in zip(rows, texts, strict=True):
            value = fields.number_of(text)
            if value is None:
                self._skipped.add(batch.lines[at], f"{label}: {text}")
            else:
                kept.append((at, text.rstrip().removesuffix("%"), value))
        return [at for at, _, _ in kept], [text for _, text, _ in kept], [value for _, _, value in kept]


def _floats(values: Sequence[JsonValue]) -> list[float]:
    return [math.nan if number is None else number for number in map(fields.number_of, values)]


def _number_or_none(value: float) -> float | None:
    return value if value == value else None


class _Settings:
    """Which fields never change within a run, and what each run's are.

    roles: of every label. of_run: params by run.
    """

    def __init__(self, survey: Survey, steps: Steps) -> None:
        self.roles: dict[str, Role] = {}
        self.of_run: dict[int, dict[str, str]] = {}
        self._survey, self._steps = survey, steps
        self._stated: set[str] = set()
        for row, run in steps.settings:
            kind = survey.kinds[survey.kind_of[row]]
            for label, column in kind.columns.items():
                self._stated.add(label)
                self._put(run, label, column.at(row))
        self._records = sum(len(kind.rows) for kind in survey.kinds if kind.place not in steps.setting_kinds)
        columns: dict[str, list[tuple[Kind, Column]]] = {}
        for kind in survey.kinds:
            if kind.split_label:
                self.roles[kind.split_label] = Role.SPLIT
            if kind.place in steps.setting_kinds:
                for label in kind.columns:
                    self.roles.setdefault(label, Role.SETTING)
                continue
            for label, column in kind.columns.items():
                columns.setdefault(label, []).append((kind, column))
        for label, found in columns.items():
            self.roles[label] = self._role(label, found)

    def _role(self, label: str, found: list[tuple[Kind, Column]]) -> Role:
        steps = self._steps
        if label in (steps.label, steps.epoch_label):
            return Role.STEP if label == steps.label else Role.EPOCH
        if any(kind.time_label == label and _is_time(kind) for kind, _ in found):
            return Role.TIME
        numbers = any(column.numbers for _, column in found)
        lists = any(column.list_of_numbers for _, column in found)
        constant = self._constants(label, found)
        if fields.role_of(label) and numbers:
            return self._setting(label, constant) if constant is not None else Role.COUNTER
        if not numbers and not lists:
            return self._setting(label, constant) if constant is not None else Role.TEXT
        if constant is not None and self._is_setting(label, found):
            return self._setting(label, constant)
        if fields.is_aside(label):
            return Role.ASIDE
        return Role.CURVE if fields.is_measured(label) or metrics.is_known(label) else Role.OTHER

    def _is_setting(self, label: str, found: list[tuple[Kind, Column]]) -> bool:
        """Whether a number that stays the same was chosen rather than measured."""
        if label in self._stated or fields.is_size(label) or fields.says_run(label):
            return True
        if fields.is_watched(label) or fields.is_aside(label):
            return False
        if any(column.list_of_numbers for _, column in found):
            return self._records >= _ENOUGH or not any(column.has_floats for _, column in found)
        if self._records < _ENOUGH:
            return all(column.types == {int} for _, column in found)
        return 10 * sum(len(kind.rows) for kind, _ in found) >= 9 * self._records

    def _setting(self, label: str, constant: Mapping[int, JsonValue]) -> Role:
        for run, value in constant.items():
            self._put(run, label, value)
        return Role.SETTING

    def _constants(self, label: str, found: list[tuple[Kind, Column]]) -> dict[int, JsonValue] | None:
        """The one value of each run; None where a run has several."""
        of_run: dict[int, JsonValue] = {}
        for kind, column in found:
            if column.ever_new:
                return None
            rows = [(run, row) for run, row in self._steps.firsts(kind)]
            rows += [(self._steps.owners[row], row) for row, _ in column.changes]
            for run, row in rows:
                value = column.at(row)
                if of_run.setdefault(run, value) != value:
                    return None
        return of_run

    def _put(self, run: int, label: str, value: JsonValue) -> None:
        if value is not None and not is_secret(label):
            text = text_of(value)
            if len(text) <= TEXT_LIMIT:
                self.of_run.setdefault(run, {}).setdefault(label, text)


def _series(kind: Kind, roles: Mapping[str, Role], steps: Steps) -> list[_Series]:
    """The curves of a kind of record."""
    if kind.place in steps.setting_kinds:
        return []
    # Asides are all there is in a log of speed or memory.
    aside = ASIDE if any(role in (Role.CURVE, Role.OTHER) for role in roles.values()) else CURVE
    out = []
    for label, column in kind.columns.items():
        role = roles[label]
        if role not in _KEPT or not (column.numbers or column.list_of_numbers):
            continue
        places = range(column.width) if column.list_of_numbers else (None,)
        for place in places:
            printed = label if place is None else f"{label}[{place}]"
            said = _with_split(printed, kind.split)
            unit: Unit | None = "percent" if column.percent else None
            metric = Metric(
                said,
                _name(said, kind.place in steps.evaluations),
                aside if role is Role.ASIDE else CURVE,
                unit,
                steps.unit,
            )
            out.append(_Series(label, place, metric))
    return out


def _name(label: str, evaluation: bool) -> str:
    """The canonical name of a label. evaluation: its record is one, though it does not say so."""
    meaning = metrics.meaning_of(label)
    says_it = meaning.split or (meaning.quantity and not meaning.quantity.has_split)
    if evaluation and not says_it and fields.is_measured(label):
        return metrics.canonical(f"{metrics.VAL}/{label}")
    return metrics.canonical(label)


def _with_split(label: str, split: str | None) -> str:
    """A label with the split that its record names."""
    quantity = metrics.meaning_of(label).quantity
    if split is None or (fields.split_of(split) == metrics.TRAIN and quantity and not quantity.has_split):
        return label
    return f"{split}/{label}"


def _is_time(kind: Kind) -> bool:
    """Whether the field that may be the time of day is one: seconds or milliseconds since 1970."""
    return any(1e9 <= value < 1e14 for value in kind.times[:1])


def _times(survey: Survey) -> "array[int] | None":
    """Milliseconds of each record, 0 where it says none; None where none says any."""
    kinds = [kind for kind in survey.kinds if kind.time_label and _is_time(kind)]
    if not kinds:
        return None
    out = array("q", bytes(8 * len(survey.lines)))
    for kind in kinds:
        for row, value in zip(kind.rows, kind.times, strict=True):
            if value == value:
                out[row] = round(value * 1000) if value < 1e11 else round(value)
    return out


def _told(survey: Survey, roles: Mapping[str, Role], steps: Steps) -> Iterator[LineKind]:
    """The most frequent kinds of record, in the order of the file."""
    kinds: dict[tuple[tuple[str, ...], str | None], list[Kind]] = {}
    for kind in survey.kinds:
        kinds.setdefault((kind.labels, kind.split), []).append(kind)
    most = sorted(kinds.values(), key=lambda some: -sum(len(kind.rows) for kind in some))[:_TOLD]
    for some in sorted(most, key=lambda some: some[0].line):
        first = some[0]
        setting = first.place in steps.setting_kinds
        told = []
        for label in first.labels:
            role = Role.SETTING if setting else roles[label]
            said = _with_split(label, first.split)
            name = _name(said, first.place in steps.evaluations) if role in _KEPT else ""
            told.append((label, name, steps.why if role is Role.STEP else role.value))
        step = steps.label if steps.label in first.labels else None
        yield LineKind(first.line, first.text.strip()[:200], sum(len(kind.rows) for kind in some), step, tuple(told))
