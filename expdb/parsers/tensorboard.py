"""TensorBoard's event files: scalars to curves, hyperparameters to params; a point's line is its record's number.

An event file has no lines. Its records are numbered from 1 instead, the version record among them, and the store,
`parse` and `blame` use that number wherever a text has its line. What a person chose to write as a scalar is a result:
no tag is an aside here. Values are 32-bit floats in most files and are kept as they were read.
"""

import math
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from expdb import metrics
from expdb.errors import need
from expdb.parsers import CERTAIN, Options
from expdb.parsers.framing import Frames, is_event_file
from expdb.parsers.reading import Reading, Sample
from expdb.records import ASIDE, CURVE, Curve, Event, LineKind, Metric, Points, RunStart, Unparsed

NAME = "tensorboard"
VERSION = 1
SUMMARY = "TensorBoard event files: scalars, hyperparameters (needs the extra `tensorboard`)"

_EXAMPLES = 5
# A text of more is a document, not a word about the run.
_TEXT_LIMIT = 1000
_HPARAMS = "_hparams_/"
_KERAS = "epoch_"
# How types.proto numbers the types a single number may have: the struct code and the field of a tensor proto.
_TYPES = {
    1: ("<f", "float_val"),
    2: ("<d", "double_val"),
    3: ("<i", "int_val"),
    4: ("<B", "int_val"),
    5: ("<h", "int_val"),
    6: ("<b", "int_val"),
    9: ("<q", "int64_val"),
    10: ("<?", "bool_val"),
    14: ("<H", "half_val"),
    17: ("<H", "int_val"),
    19: ("<e", "half_val"),
    22: ("<I", "uint32_val"),
    23: ("<Q", "uint64_val"),
}
_STRING, _BFLOAT16, _HALF = 7, 14, 19


class _Tensor(Protocol):
    """What is used of a TensorProto."""

    dtype: int
    tensor_content: bytes
    string_val: Sequence[bytes]


@dataclass(slots=True)
class _Scalar:
    """The points of one tag; columns, for there may be millions."""

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    records: "array[int]" = field(default_factory=lambda: array("q"))
    times_ms: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class _Found:
    """What an event file holds. others: (what, its first record's number) to how often it was met."""

    scalars: dict[str, _Scalar] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    first_other: dict[str, int] = field(default_factory=dict)
    broken: list[tuple[int, str]] = field(default_factory=list)
    has_hparams: bool = False
    records: int = 0

    def count_other(self, what: str, record: int) -> None:
        """Something that is no number."""
        self.others[what] += 1
        self.first_other.setdefault(what, record)


def recognise(sample: Sample) -> float:
    """Certain of a file of framed records whose first one begins as an event does."""
    return CERTAIN if is_event_file(sample.head) else 0.0


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """The file's one run: where its steps fall back, the training was resumed. A file without scalars gives none.

    Raises MissingExtraError where the package tensorboard is not installed.
    """
    del options
    need("tensorboard", extra="tensorboard")
    with reading.records() as frames:
        found = _read(frames)
    if found.scalars or found.has_hparams:
        yield RunStart(0, 1, params=found.params, tags=_tags(found))
    curves = tuple(_curves(found.scalars))
    if curves:
        yield Points(0, curves, max(curve.lines[-1] or 0 for curve in curves))
    yield from _kinds(found, curves)
    yield Unparsed(len(found.broken), tuple(found.broken[:_EXAMPLES]))


def tags_of(reading: Reading, most: int) -> frozenset[str]:
    """The scalar tags among the first records of an event file, of which `most` are read."""
    need("tensorboard", extra="tensorboard")
    with reading.records() as frames:
        return frozenset(_read(frames, most).scalars)


def _read(frames: Frames, most: int | None = None) -> _Found:
    # Without TensorFlow and numpy, which every other way into the package imports, it takes 40 ms instead of 160.
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event as EventProto

    found = _Found()
    plugins: dict[str, str] = {}
    for number, record in enumerate(frames, 1):
        if most is not None and number > most:
            break
        found.records = number
        try:
            event = EventProto.FromString(record.data)
        except DecodeError:
            found.broken.append((number, "a record that is no event"))
            continue
        what = event.WhichOneof("what")
        if what != "summary":
            if what in ("graph_def", "meta_graph_def"):
                found.count_other("graph", number)
            continue
        values = event.summary.value
        # What is only counted, a picture or a thousand of them, is not worth a checksum in Python.
        if any(one.WhichOneof("value") in ("simple_value", "tensor") for one in values) and not record.is_sound:
            found.broken.append((number, "a record whose checksum is wrong; it was left out"))
            continue
        for one in values:
            kind = one.WhichOneof("value")
            if kind == "simple_value":
                value: float | None = one.simple_value
            elif one.tag.startswith(_HPARAMS):
                _take_hparams(found, one.metadata.plugin_data.content)
                continue
            elif kind == "tensor":
                # Only the first value of a tag need say which plugin it is for.
                plugin = plugins.setdefault(one.tag, one.metadata.plugin_data.plugin_name)
                value = _number(one.tensor) if plugin in ("", "scalars") else None
                if plugin == "text" and _take_text(found, one.tag, one.tensor):
                    continue
                kind = plugin or kind
            else:
                value = None
            if value is None:
                found.count_other(_OTHER_NAMES.get(kind, kind or "value without a number"), number)
                continue
            scalar = found.scalars.get(one.tag)
            if scalar is None:
                scalar = found.scalars[one.tag] = _Scalar()
            scalar.steps.append(event.step)
            scalar.values.append(value)
            scalar.records.append(number)
            scalar.times_ms.append(_ms(event.wall_time))
    if frames.damage:
        behind = frames.size_bytes - frames.end
        found.broken.append((found.records + 1, f"{frames.damage}: the last {behind:,} bytes were not read"))
    return found


_OTHER_NAMES = {"histo": "histogram", "histograms": "histogram", "images": "image", "graphs": "graph", "text": "text"}


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if math.isfinite(seconds) and abs(seconds) < 1e15 else 0


def _number(tensor: _Tensor) -> float | None:
    """The one number of a tensor; None where it holds several, or none."""
    code, name = _TYPES.get(tensor.dtype, ("", ""))
    if not code:
        return None
    if tensor.tensor_content:
        if len(tensor.tensor_content) != struct.calcsize(code):
            return None
        number = struct.unpack(code, tensor.tensor_content)[0]
    else:
        numbers: Sequence[float] = getattr(tensor, name)
        if len(numbers) != 1:
            return None
        number = numbers[0]
        if tensor.dtype == _HALF:
            # The sixteen bits, as an integer.
            return float(struct.unpack("<e", struct.pack("<H", number))[0])
    if tensor.dtype == _BFLOAT16:
        # The upper half of a 32-bit float.
        return float(struct.unpack("<f", struct.pack("<I", int(number) << 16))[0])
    return float(number)


def _take_text(found: _Found, tag: str, tensor: _Tensor) -> bool:
    """Keep a short text as a word about the run."""
    if tensor.dtype != _STRING or len(tensor.string_val) != 1 or tag in found.texts:
        return False
    text = tensor.string_val[0].decode("utf-8", "replace").strip()
    if not text or len(text) > _TEXT_LIMIT:
        return False
    found.texts[tag.removesuffix("/text_summary")] = text
    return True


def _take_hparams(found: _Found, content: bytes) -> None:
    """Take the params that a session was started with."""
    from google.protobuf.message import DecodeError
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    try:
        said = HParamsPluginData.FromString(content)
    except DecodeError:
        found.count_other("hparams", found.records)
        return
    if said.WhichOneof("data") != "session_start_info":
        return
    found.has_hparams = True
    for key, value in sorted(said.session_start_info.hparams.items()):
        kind = value.WhichOneof("kind")
        if kind == "number_value":
            whole = value.number_value.is_integer() and abs(value.number_value) < 1e15
            found.params[key] = str(int(value.number_value) if whole else value.number_value)
        elif kind == "bool_value":
            found.params[key] = str(value.bool_value)
        elif kind == "string_value":
            found.params[key] = value.string_value


def _tags(found: _Found) -> dict[str, str]:
    others = ", ".join(f"{count:,} {what}{'' if count == 1 else 's'}" for what, count in sorted(found.others.items()))
    return {**found.texts, **({"tensorboard.not_scalars": others} if others else {})}


def _curves(scalars: dict[str, _Scalar]) -> Iterator[Curve]:
    """A curve for each tag. Where Lightning writes the epoch beside the results, they are given it."""
    counters = [tag for tag in scalars if metrics.step_role(tag) == "epoch"]
    epochs = dict(zip(scalars[counters[0]].steps, scalars[counters[0]].values, strict=True)) if counters else {}
    for tag, scalar in scalars.items():
        counts = tag in counters and len(scalars) > len(counters)
        beside: list[float | None] = [] if counts else [epochs.get(step) for step in scalar.steps]
        yield Curve(
            metric_of(tag, ASIDE if counts else CURVE),
            scalar.steps,
            scalar.values,
            scalar.records,
            epochs=beside if any(epoch is not None for epoch in beside) else None,
            times_ms=scalar.times_ms,
        )


def metric_of(tag: str, kind: str = CURVE) -> Metric:
    """The metric a tag names. Keras puts `epoch_` before what it counts by epochs."""
    by_epoch = tag.startswith(_KERAS) and len(tag) > len(_KERAS)
    name = metrics.canonical(tag.removeprefix(_KERAS) if by_epoch else tag)
    return Metric(tag, name, ASIDE if kind == ASIDE else CURVE, step_unit="epoch" if by_epoch else "step")


def _kinds(found: _Found, curves: Iterable[Curve]) -> Iterator[LineKind]:
    for curve in curves:
        metric = curve.metric
        meant = "the epoch of the other scalars" if metric.kind == ASIDE else "a scalar"
        first = curve.lines[0] or 0
        yield LineKind(first, metric.label, len(curve.values), "step", ((metric.label, metric.name, meant),))
    for what, count in found.others.items():
        yield LineKind(found.first_other[what], what, count, None, ((what, "", "counted; it is no number"),))
