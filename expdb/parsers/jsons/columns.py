"""What is learnt of records without keeping them: their kinds, and of each kind's fields the types and the changes."""

import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from expdb import metrics
from expdb.parsers.jsons import fields
from expdb.parsers.jsons.text import Batch, JsonValue

# A list of more numbers than this is no row of results.
LIST_LIMIT = 16
# A field that has changed so often is no setting of a few runs.
_CHANGES = 256


@dataclass(slots=True)
class Column:
    """One field of one kind of record. changes: (row, value) wherever the value is another than before."""

    types: set[type] = field(default_factory=set)
    changes: list[tuple[int, JsonValue]] = field(default_factory=list)
    width: int = 0
    percent: bool = False
    has_text: bool = False
    odd_list: bool = False

    def add(self, rows: Sequence[int], values: list[JsonValue]) -> None:
        """The values of more rows."""
        types = set(map(type, values))
        self.types |= types
        if len(self.changes) < _CHANGES:
            self._compare(rows, values)
        if str in types and not self.has_text:
            texts = [value for value in values if isinstance(value, str)]
            self.has_text = any(fields.number_of(text) is None for text in texts)
            self.percent = texts[0].rstrip().endswith("%")
        if list in types and not self.odd_list:
            lists = [value for value in values if isinstance(value, list)]
            self.width = max(self.width, max(map(len, lists)))
            self.odd_list = self.width > LIST_LIMIT or any(
                fields.number_of(one) is None for value in lists for one in value
            )

    def _compare(self, rows: Sequence[int], values: list[JsonValue]) -> None:
        if self.changes and values[0] == self.changes[-1][1] and values.count(values[0]) == len(values):
            return
        for row, value in zip(rows, values, strict=True):
            if not self.changes or value != self.changes[-1][1]:
                self.changes.append((row, value))
                if len(self.changes) >= _CHANGES:
                    return

    @property
    def numbers(self) -> bool:
        """Whether it holds numbers, printed as such or as text."""
        return bool(self.types & {int, float}) or (str in self.types and not self.has_text)

    @property
    def list_of_numbers(self) -> bool:
        """Whether it holds short lists of numbers."""
        return self.width > 0 and not self.odd_list

    @property
    def has_floats(self) -> bool:
        """Whether its lists hold numbers with a point."""
        return any(isinstance(one, float) for _, value in self.changes if isinstance(value, list) for one in value)

    @property
    def ever_new(self) -> bool:
        """Whether it changes too often to be a setting."""
        return len(self.changes) >= _CHANGES

    def at(self, row: int) -> JsonValue:
        """The value of a row."""
        place = bisect_right(self.changes, row, key=lambda change: change[0]) - 1
        return self.changes[max(place, 0)][1]


@dataclass(slots=True)
class Kind:
    """Records with the same labels in the same order, the same split, and the same training where they name one.

    split: as printed. token: what says the training. rows: the places of its records among all of them.
    """

    place: int
    labels: tuple[str, ...]
    split: str | None
    split_label: str | None
    token: tuple[str, ...]
    line: int
    text: str
    time_label: str | None = None
    rows: "array[int]" = field(default_factory=lambda: array("q"))
    columns: dict[str, Column] = field(default_factory=dict)
    counters: "dict[str, array[float]]" = field(default_factory=dict)
    times: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def measures(self) -> bool:
        """Whether it holds a result."""
        return any(fields.is_measured(x) and (c.numbers or c.list_of_numbers) for x, c in self.columns.items())

    @property
    def trains(self) -> bool:
        """Whether it holds a loss, or what is said of the training."""
        return any(
            metrics.meaning_of(x).split == metrics.TRAIN or fields.is_loss(x) or fields.is_rate(x) for x in self.columns
        )

    @property
    def follows(self) -> bool:
        """Whether it tells of a validation alone, which follows a training."""
        if self.split:
            return fields.split_of(self.split) != metrics.TRAIN
        splits = {metrics.meaning_of(x).split for x, c in self.columns.items() if fields.is_measured(x) and c.numbers}
        return bool(splits) and splits <= {metrics.VAL, metrics.TEST}


@dataclass(slots=True)
class _Shape:
    """What the labels of a record alone tell."""

    splits: list[str]
    runs: list[str]
    counters: list[str]
    time: str | None


@dataclass(slots=True)
class Survey:
    """All records of a source, learnt batch by batch. lines, kind_of: of each record."""

    kinds: list[Kind] = field(default_factory=list)
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    kind_of: "array[int]" = field(default_factory=lambda: array("i"))
    _by_key: dict[tuple[object, ...], Kind] = field(default_factory=dict)
    _shapes: dict[tuple[str, ...], _Shape] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Take in what the fields of a batch look like."""
        base = len(self.lines)
        self.lines.extend(batch.lines)
        groups: dict[tuple[object, ...], list[int]] = {}
        places = array("i", bytes(4 * len(batch.records)))
        for at, record in enumerate(batch.records):
            shape = tuple(record)
            told = self._shapes.get(shape) or self._shape(shape)
            split = next(((x, record[x]) for x in told.splits if _is_split(record[x])), None) if told.splits else None
            token = tuple(text_of(record[x]) for x in told.runs) if told.runs else ()
            key: tuple[object, ...] = (shape, split, token)
            rows = groups.get(key)
            if rows is None:
                rows = groups[key] = []
                if key not in self._by_key:
                    label, said = split or (None, None)
                    assert said is None or isinstance(said, str)
                    kind = Kind(len(self.kinds), shape, said, label, token, batch.lines[at], batch.texts[at][:1000])
                    kind.time_label = told.time
                    kind.columns = {x: Column() for x in shape if x != label}
                    kind.counters = {x: array("d") for x in told.counters}
                    self.kinds.append(kind)
                    self._by_key[key] = kind
            rows.append(at)
            places[at] = self._by_key[key].place
        self.kind_of.extend(places)
        for key, ats in groups.items():
            self._learn(self._by_key[key], base, ats, batch)

    def _shape(self, labels: tuple[str, ...]) -> _Shape:
        told = self._shapes[labels] = _Shape(
            [x for x in labels if fields.says_split(x)],
            [x for x in labels if fields.says_run(x)],
            [x for x in labels if fields.role_of(x)],
            next((x for x in labels if fields.says_time(x)), None),
        )
        return told

    def _learn(self, kind: Kind, base: int, ats: list[int], batch: Batch) -> None:
        records = batch.records if len(ats) == len(batch.records) else [batch.records[at] for at in ats]
        rows = [base + at for at in ats]
        kind.rows.extend(rows)
        for label, column in kind.columns.items():
            column.add(rows, [record[label] for record in records])
        for label, values in kind.counters.items():
            values.extend([_count(record[label]) for record in records])
        if kind.time_label:
            kind.times.extend([_count(record[kind.time_label]) for record in records])


def _is_split(value: JsonValue) -> bool:
    return isinstance(value, str) and fields.split_of(value) is not None


def _count(value: JsonValue) -> float:
    if type(value) is int and -fields.LATEST < value < fields.LATEST:
        return value
    number = fields.number_of(value)
    return math.nan if number is None or not -fields.FARTHEST < number < fields.FARTHEST else number


def text_of(value: JsonValue) -> str:
    """A setting as text: JSON, but for texts, which are themselves."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
