"""What a JSON document holds: a list of records, lists of numbers, curves with their steps, or results alone."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from expdb import metrics
from expdb.masking import is_secret
from expdb.parsers.digits import decimals_of
from expdb.parsers.jsons import fields
from expdb.parsers.jsons.columns import text_of
from expdb.parsers.jsons.records import TEXT_LIMIT, RecordReader
from expdb.parsers.jsons.series import Series, by_place, exported, sacred, series_events
from expdb.parsers.jsons.text import PLAIN, Batch, JsonValue, Skipped, elements, flat, members, widened
from expdb.records import REPORTED, Curve, Event, LineKind, Metric, Points, RunStart, Unit, Unparsed

_SURE, _RATHER = 0.95, 0.8
_DEPTH = 6
_EVIDENCE = 64
# What a tracker writes into its summary beside the numbers.
_SUMMARY_KEYS = frozenset(("_runtime", "_timestamp", "_wandb"))
# What a state says of the moment it was written, rather than of the training's settings.
_STATE_PREFIXES = ("is_", "best_", "total_flos", "trial_")
_STATE_KEYS = ("global_step", "epoch")
# What the Trainer's callbacks keep for a restart.
_CALLBACKS = "stateful_callbacks"
# Numbers below such a name are settings, whatever their own name is.
_WRAPPERS = frozenset(("results", "result", "metrics", "scores"))
_SETTING_KEYS = frozenset(("config", "configs", "args", "params", "hparams", "hyperparameters", "settings", "cfg"))


class Contents(Protocol):
    """What a document was taken for."""

    @property
    def sureness(self) -> float:
        """How sure it is a training, 0 to 1."""
        ...

    def events(self, broken_at: int | None) -> Iterator[Event]:
        """Its runs. broken_at: the line at which the document breaks off, if it does."""
        ...


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is no object. path: the names that lead to it; at: where it begins in the text."""

    path: tuple[str, ...]
    at: int
    value: JsonValue

    @property
    def label(self) -> str:
        """The path as one name."""
        return "/".join(self.path)


def contents_of(text: str, name: str) -> Contents | None:
    """What the document holds, None where that is no training. name: of the file. ValueError where it is no JSON."""
    start = len(text) - len(text.lstrip())
    value, end = PLAIN.raw_decode(text, start)
    if text[end:].strip():
        return _stream(text, start, end)
    if isinstance(value, list):
        return _of_list(text, start, value, name)
    if not isinstance(value, dict):
        return None
    leaves = sorted(_leaves(text, start), key=lambda leaf: leaf.at)
    found = _records_within(text, leaves) or _curves_within(text, leaves)
    if found:
        return found
    if "\n" not in text[start:end] and _is_record(value):
        return None
    return _run_of(text, value, leaves) or _results(text, value, leaves)


def _is_record(value: Mapping[str, JsonValue]) -> bool:
    """Whether an object on one line is the only record of a log so far, rather than a summary."""
    return fields.evidence([flat(value)]).stepped > 0 and not _SUMMARY_KEYS & set(value)


def _leaves(text: str, at: int) -> Iterator[Leaf]:
    """The values below an object, those of each level together."""
    pending: list[tuple[tuple[str, ...], int]] = [((), at)]
    while pending:
        path, at = pending.pop()
        below = []
        for key, start, found in members(text, at, PLAIN):
            here = (*path, key)
            if isinstance(found, dict) and found and len(here) < _DEPTH:
                below.append((here, start))
            else:
                yield Leaf(here, start, found)
        pending += reversed(below)


def line_of(text: str, at: int) -> int:
    """The line on which a place of the text stands."""
    return text.count("\n", 0, at) + 1


# Lists of records


@dataclass(frozen=True, slots=True)
class _List:
    """A list of records. at: where it begins; extra: what its place says of every record in it."""

    at: int
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Records:
    """Records that stand in lists, or one after the other."""

    text: str
    walk: Callable[[json.JSONDecoder], Iterator[tuple[int, int, JsonValue, Mapping[str, str]]]]
    sureness: float = _SURE
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def events(self, broken_at: int | None) -> Iterator[Event]:
        def source(decoder: json.JSONDecoder, skipped: Skipped) -> Iterator[Batch]:
            lines, records, texts = [], [], []
            line, before = 1, 0
            for start, end, value, extra in self.walk(decoder):
                line += self.text.count("\n", before, start)
                before = start
                if not isinstance(value, dict):
                    skipped.add(line, self.text[start:end])
                    continue
                lines.append(line)
                records.append(widened({**flat(value), **extra}) if extra else widened(flat(value)))
                texts.append(" ".join(self.text[start : min(end, start + 1000)].split()))
            if broken_at is not None:
                skipped.add(broken_at, "the document breaks off here")
            if records:
                yield Batch(lines, records, texts)

        yield from RecordReader(source, self.params, self.tags).events()


def _stream(text: str, start: int, end: int) -> _Records | None:
    """Objects one after the other, each over several lines; records of one line each are not a document's."""
    if text[start] != "{" or "\n" not in text[start:end]:
        return None

    def walk(decoder: json.JSONDecoder) -> Iterator[tuple[int, int, JsonValue, Mapping[str, str]]]:
        at = start
        while at < len(text):
            value, stop = decoder.raw_decode(text, at)
            yield at, stop, value, {}
            at = stop
            while at < len(text) and text[at] in " \t\r\n,":
                at += 1

    # One that breaks is no stream, which shows here.
    values = [value for _, _, value, _ in walk(PLAIN)]
    if not _tell_a_training(values):
        return None
    return _Records(text, walk)


def _tell_a_training(values: list[JsonValue]) -> bool:
    """Whether the items of a list are records of a training."""
    records = [widened(flat(value)) for value in values[:_EVIDENCE] if isinstance(value, dict)]
    if not records:
        return False
    found = fields.evidence(records)
    if not found.measured:
        # A first part may state learning rates alone.
        return found.stepped == found.count > 2 and found.moving and not found.told_apart
    return found.stepped * 2 >= found.count or (found.measured * 2 > found.count and not found.told_apart)


def _walk_lists(
    text: str, lists: list[_List]
) -> Callable[[json.JSONDecoder], Iterator[tuple[int, int, JsonValue, Mapping[str, str]]]]:
    def walk(decoder: json.JSONDecoder) -> Iterator[tuple[int, int, JsonValue, Mapping[str, str]]]:
        for one in lists:
            for start, end, value in elements(text, one.at, decoder):
                yield start, end, value, one.extra

    return walk


def _of_list(text: str, start: int, values: list[JsonValue], name: str) -> Contents | None:
    if _tell_a_training(values):
        return _Records(text, _walk_lists(text, [_List(start)]))
    series = exported([((), start, values)], name)
    return _Curves(text, series) if series else None


def _records_within(text: str, leaves: list[Leaf]) -> _Records | None:
    """Lists of records below an object; whatever else stands there are settings."""
    found = [leaf for leaf in leaves if isinstance(leaf.value, list) and _tell_a_training(leaf.value)]
    if not found:
        return None
    lists = []
    for leaf in found:
        split = fields.split_of(leaf.path[-1])
        if len(found) > 1:
            lists.append(_List(leaf.at, {"split": split} if split else {"run": leaf.label}))
        else:
            lists.append(_List(leaf.at))
    params, tags = _stated([leaf for leaf in leaves if leaf not in found])
    return _Records(text, _walk_lists(text, lists), params=params, tags=tags)


def _stated(leaves: list[Leaf]) -> tuple[dict[str, str], dict[str, str]]:
    """Settings, and what is said of the training afterwards."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for leaf in leaves:
        value = leaf.value
        if (
            value is None
            or value == {}
            or is_secret(leaf.path[-1])
            or leaf.path[0] == _CALLBACKS
            or (isinstance(value, list) and any(isinstance(x, dict | list) for x in value))
        ):
            continue
        text = text_of(value)
        if len(text) <= TEXT_LIMIT:
            after = leaf.path[0].startswith(_STATE_PREFIXES) or leaf.path[0] in _STATE_KEYS
            (tags if after else params)[".".join(leaf.path)] = text
    return params, tags


# Curves of their own


@dataclass(frozen=True, slots=True)
class _Curves:
    """Curves that stand one after the other, of one run."""

    text: str
    series: list[Series]
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    sureness: float = _SURE

    def events(self, broken_at: int | None) -> Iterator[Event]:
        yield from series_events(self.text, self.series, self.params, self.tags)
        yield Unparsed(1, ((broken_at, "the document breaks off here"),)) if broken_at is not None else Unparsed(0)


def _curves_within(text: str, leaves: list[Leaf]) -> _Curves | None:
    lists = [(leaf.path, leaf.at, leaf.value) for leaf in leaves if isinstance(leaf.value, list)]
    if not lists:
        return None
    series = sacred(lists) or exported(lists, "") or by_place(lists)
    if not series:
        return None
    taken = {one.path for one in series}
    params, tags = _stated([leaf for leaf in leaves if leaf.path not in taken and not _below(leaf.path, taken)])
    run = {x.tag for x in series if x.tag}
    if len(run) == 1:
        tags["tensorboard.folder"] = run.pop()
    return _Curves(text, series, params, tags)


def _below(path: tuple[str, ...], taken: set[tuple[str, ...]]) -> bool:
    return any(path[: len(one)] == one for one in taken)


# Numbers without their curves


@dataclass(frozen=True, slots=True)
class _Results:
    """One run's results."""

    text: str
    results: list[tuple[str, int, float, str]]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    sureness: float = _RATHER

    def events(self, broken_at: int | None) -> Iterator[Event]:
        yield RunStart(0, 1, params=self.params, tags=self.tags)
        curves = []
        told = []
        for label, at, value, printed in self.results:
            # A duration that Sacred states by its two ends.
            name = "time" if label == _ELAPSED else metrics.canonical(label, REPORTED)
            unit: Unit | None = "s" if label == _ELAPSED else None
            metric = Metric(label, name, REPORTED, unit, "none")
            curves.append(Curve(metric, (None,), (value,), (line_of(self.text, at),), decimals_of([printed])))
            told.append((label, name, "a number stated without its curve"))
        yield Points(0, tuple(curves), line_of(self.text, len(self.text.rstrip())))
        line = line_of(self.text, len(self.text) - len(self.text.lstrip()))
        yield LineKind(line, " ".join(self.text[:1000].split())[:200], 1, None, tuple(told))
        yield Unparsed(1, ((broken_at, "the document breaks off here"),)) if broken_at is not None else Unparsed(0)


def _results(text: str, value: Mapping[str, JsonValue], leaves: list[Leaf]) -> _Results | None:
    """Results that someone wrote down, or a tracker's summary."""
    # A picture or a table is told by a few numbers that are no results.
    media = {leaf.path[:-1] for leaf in leaves if leaf.path[-1] == "_type"}
    leaves = [leaf for leaf in leaves if leaf.path[:-1] not in media]
    numbers = [leaf for leaf in leaves if isinstance(leaf.value, int | float) and not isinstance(leaf.value, bool)]
    numbers = [leaf for leaf in numbers if not _SETTING_KEYS & {part.lower() for part in leaf.path[:-1]}]
    summary = len(_SUMMARY_KEYS & set(value)) > 0 and "_step" in value
    known = [leaf for leaf in numbers if fields.is_result(leaf.label) and isinstance(leaf.value, float)]
    if not known and not (summary and any(isinstance(leaf.value, float) for leaf in numbers)):
        return None
    # One number beside a learning rate and a number of epochs, with no split to it, may be what is aimed at.
    scheduled = any(fields.is_rate(leaf.label) or fields.rank_of(leaf.label) == fields.PLURAL for leaf in numbers)
    if scheduled and not summary and len(known) < 2 and not metrics.meaning_of(known[0].label).split:
        return None
    results: list[tuple[str, int, float, str]] = []
    rest = []
    for leaf in leaves:
        label = leaf.label
        step = fields.role_of(label) is not None
        result = fields.is_measured(label) or (isinstance(leaf.value, float) and metrics.meaning_of(label).split)
        if leaf not in numbers or step or fields.is_aside(label) or not (result or summary):
            rest.append(leaf)
            continue
        number = fields.number_of(leaf.value)
        assert number is not None
        results.append((_said(leaf.path), leaf.at, number, _printed(text, leaf.at)))
    if not results:
        return None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for leaf in rest:
        said = leaf.value
        if said is None or isinstance(said, list | dict) or is_secret(leaf.path[-1]) or len(text_of(said)) > TEXT_LIMIT:
            continue
        after = fields.role_of(leaf.label) or fields.is_aside(leaf.label) or leaf.path[0].startswith("_")
        (tags if after else params)[".".join(leaf.path)] = text_of(said)
    return _Results(text, results, params, tags)


def _said(path: tuple[str, ...]) -> str:
    """A result's label, without a first name that only says that these are results, and without lm-eval's filter."""
    short = path[1:] if len(path) > 1 and path[0].lower() in _WRAPPERS else path
    return "/".join(short).removesuffix(",none")


def _printed(text: str, at: int) -> str:
    end = at
    while end < len(text) and text[end] not in ",}] \t\r\n":
        end += 1
    return text[at:end]


_ELAPSED = "stop_time - start_time"


def _run_of(text: str, value: Mapping[str, JsonValue], leaves: list[Leaf]) -> _Results | None:
    """Sacred's run.json: what the run came to, and how long it took."""
    if not (isinstance(value.get("experiment"), dict) and {"start_time", "status", "command"} <= set(value)):
        return None
    results: list[tuple[str, int, float, str]] = []
    tags, params = {}, {}
    for leaf in leaves:
        if leaf.path[0] == "result":
            number = None if isinstance(leaf.value, str) else fields.number_of(leaf.value)
            if number is not None:
                path = leaf.path[:-1] if leaf.path[-1] == "value" else leaf.path
                results.append(("/".join(path[1:] or path), leaf.at, number, _printed(text, leaf.at)))
        elif leaf.path[-1] == "UPDATE" and isinstance(leaf.value, list):
            for said in leaf.value:
                key, mark, setting = str(said).partition("=")
                if mark and not is_secret(key):
                    params[key] = setting
        elif leaf.path in _SAID_OF_RUNS and isinstance(leaf.value, str):
            tags[f"sacred.{'.'.join(leaf.path)}"] = leaf.value
    elapsed = _seconds_between(value["start_time"], value.get("stop_time"))
    if elapsed is not None:
        place = next(leaf.at for leaf in leaves if leaf.path == ("stop_time",))
        results.append((_ELAPSED, place, elapsed, str(elapsed)))
    return _Results(text, results, params, tags, _SURE) if results else None


_SAID_OF_RUNS = {
    *((one,) for one in ("status", "start_time", "stop_time", "command", "fail_trace")),
    *(("experiment", one) for one in ("name", "mainfile", "base_dir")),
    *(("host", one) for one in ("hostname", "os", "cpu", "python_version")),
}


def _seconds_between(start: JsonValue, stop: JsonValue) -> float | None:
    try:
        begun, ended = (datetime.fromisoformat(str(one)) for one in (start, stop))
        return round((ended - begun).total_seconds(), 6)
    except (ValueError, TypeError):
        return None
