"""What a training logs through `expdb.start_run`: metrics.jsonl of a run folder, a record a line, written as it runs.

{"params": {"lr": "0.1"}, "tags": {}, "name": "warm"}
{"step": 3, "epoch": null, "time_ms": 1760000000000, "metrics": {"train/loss": 0.25}}
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from expdb import metrics
from expdb.parsers import CERTAIN, Options
from expdb.parsers.reading import Reading, Sample
from expdb.records import Curve, Event, Metric, Points, RunStart, Unparsed

NAME = "tracked"
VERSION = 1
SUMMARY = "metrics.jsonl and system.jsonl of a run folder, as expdb.start_run writes them"

_OPENINGS = ('{"step":', '{"params":')
_WORDS = ("params", "tags")
_EXAMPLES = 5
# A computed number prints seventeen digits, and nobody reads them.
_DECIMALS = 6
_LARGEST_STEP = 2**63


def recognise(sample: Sample) -> float:
    """Certain of a file that opens with such a record."""
    if not sample.text.startswith(_OPENINGS):
        return 0.0
    first = _record(sample.text.partition("\n")[0])
    return CERTAIN if first and (_is_points(first) or _is_head(first)) else 0.0


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """The one run of the file."""
    del options
    reader = Tracked()
    for block in reading.blocks():
        yield from reader.feed(block.line, block.text)
    yield reader.unparsed


def stream() -> "Tracked":
    """A reader that goes on where it stood."""
    return Tracked()


class Tracked:
    """Records to the points of one run, block by block."""

    def __init__(self) -> None:
        self._begun = False
        self._count = 0
        self._examples: list[tuple[int, str]] = []

    @property
    def unparsed(self) -> Unparsed:
        """Lines that are no records."""
        return Unparsed(self._count, tuple(self._examples))

    def feed(self, line: int, text: str) -> Iterator[Event]:
        """Read whole lines, the first of which has the given number."""
        points: dict[str, _Points] = {}
        last = line
        heads: list[tuple[int, Mapping[str, Any]]] = []
        for number, said in enumerate(text.removesuffix("\n").split("\n"), line):
            if not said.strip():
                continue
            record = _record(said)
            if record and _is_head(record) and not self._begun:
                # Each process of a run may say what it knows.
                heads.append((number, record))
            elif record and _is_points(record):
                last = number
                for key, value in record["metrics"].items():
                    points.setdefault(_text(key), _Points()).add(
                        record.get("step"), record.get("epoch"), value, number, record["time_ms"]
                    )
            else:
                self._count += 1
                if len(self._examples) < _EXAMPLES:
                    self._examples.append((number, said[:200]))
        if (heads or points) and not self._begun:
            self._begun = True
            name = next((_text(one["name"]) for _, one in heads if one.get("name")), None)
            params, tags = ({k: v for _, one in heads for k, v in _texts(one.get(what)).items()} for what in _WORDS)
            first = min(
                [number for number, _ in heads] + [number or line for p in points.values() for number in p.lines]
            )
            yield RunStart(0, first, name, params, tags)
        if points:
            yield Points(0, tuple(one.curve(key) for key, one in points.items()), last)


def head_of(path: Path) -> dict[str, str]:
    """Name and experiment, where the first record of the file says them."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = _record(file.readline())
    except OSError:
        return {}
    said = first if first and _is_head(first) else {}
    words = {key: _text(said[key]) for key in ("name", "experiment") if isinstance(said.get(key), str)}
    return {key: word for key, word in words.items() if word.strip()}


class _Points:
    """Points of one metric, on their way to a curve."""

    def __init__(self) -> None:
        self.steps: list[int | None] = []
        self.epochs: list[float | None] = []
        self.values: list[float] = []
        self.lines: list[int | None] = []
        self.times: list[int | None] = []

    def add(self, step: int | None, epoch: float | None, value: float, line: int, time_ms: int) -> None:
        self.steps.append(step)
        self.epochs.append(epoch)
        self.values.append(float(value))
        self.lines.append(line)
        self.times.append(time_ms)

    def curve(self, key: str) -> Curve:
        """The curve of a metric whose client calls it key. Its steps are epochs where these are all that is said."""
        name = metrics.canonical(key) if metrics.is_known(key) else key
        decimals = min(_DECIMALS, max(map(_decimals, self.values)))
        whole = [int(e) for e in self.epochs if e is not None and e == int(e) and abs(e) < _LARGEST_STEP]
        if not any(step is not None for step in self.steps) and len(whole) == len(self.epochs):
            return Curve(Metric(key, name), whole, self.values, self.lines, decimals, None, self.times)
        epochs = self.epochs if any(epoch is not None for epoch in self.epochs) else None
        metric = Metric(key, name, step_unit="step")
        return Curve(metric, self.steps, self.values, self.lines, decimals, epochs, self.times)


def _record(line: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_head(record: Mapping[str, Any]) -> bool:
    name = record.get("name")
    return isinstance(record.get("params"), dict) and (name is None or isinstance(name, str))


def _is_points(record: Mapping[str, Any]) -> bool:
    values, step, epoch = record.get("metrics"), record.get("step"), record.get("epoch")
    return (
        isinstance(values, dict)
        and all(_is_number(value) for value in values.values())
        and (step is None or (isinstance(step, int) and abs(step) < _LARGEST_STEP))
        and (epoch is None or (_is_number(epoch) and math.isfinite(epoch)))
        and isinstance(record.get("time_ms"), int)
        and abs(record["time_ms"]) < _LARGEST_STEP
    )


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 10**300


def _texts(said: object) -> dict[str, str]:
    found = said if isinstance(said, dict) else {}
    return {_text(key): _text(value if isinstance(value, str) else json.dumps(value)) for key, value in found.items()}


def _text(said: str) -> str:
    """Without what no database takes for text: halves of characters, NUL."""
    return said.encode("utf-8", "replace").decode().replace("\0", "")


def _decimals(value: float) -> int:
    if not math.isfinite(value) or value == int(value):
        return 0
    text = repr(value)
    return _DECIMALS if "e" in text else len(text.partition(".")[2])
