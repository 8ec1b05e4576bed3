"""Boxes of `| key | value |` between lines of dashes, one box per step, among other lines of a log.

OpenAI's baselines, Stable-Baselines and what took their logger print them. A key may stand below a group
(`| train/ | |`, then `|    loss | 0.5 |`). The step is `total_timesteps`, `step`, `iterations` or the like; numbers are
rounded to a few digits, steps too, so that several boxes may have one step. A box that the file's begin or end cuts is
read as far as it goes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from expdb.parsers import Options
from expdb.parsers.digits import decimals_of
from expdb.parsers.logs.lines import EXAMPLES
from expdb.parsers.reading import Reading, Sample
from expdb.parsers.runs import Boundaries
from expdb.parsers.tabular.headers import count_of, metric_of, step_rank
from expdb.parsers.tabular.sheet import is_missing, number_of
from expdb.records import ASIDE, Curve, Event, LineKind, Metric, Points, RunStart, Unparsed

NAME = "boxed"
VERSION = 1
SUMMARY = "boxes of `| key | value |` between dashes, as baselines, Stable-Baselines and guided-diffusion print them"

_EDGE = re.compile(r"[ \t]*+[-+=]{5,}+[ \t]*+\r?")
_FENCE = re.compile(r"^[ \t]*+[-+=]{9,}+[ \t]*+\r?$", re.MULTILINE)
# A table of a page has a rule with bars in it.
_PAGE_RULE = re.compile(r"^[ \t]*+\|?+[ \t]*+:?+-++:?+[ \t]*+\|[ \t:\-|]*+\r?$", re.MULTILINE)
_FEW = 3
_SHORTEST = len("|a||")
_SURE, _LIKELY = 0.97, 0.7
_TEXT_LIMIT = 200


def recognise(sample: Sample) -> float:
    """Sure of a log that is mostly boxes, less so of one with boxes in it."""
    text = sample.text
    if "|" not in text or "-----" not in text or not _FENCE.search(text) or _PAGE_RULE.search(text):
        return 0.0
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    rows = sum(1 for line in lines if (cells := _cells(line)) and number_of(cells[2]))
    if rows < _FEW:
        return 0.0
    return _SURE if rows * 3 > len(lines) else _LIKELY if rows * 20 > len(lines) else 0.0


def _cells(line: str) -> tuple[str, str, str] | None:
    """(blanks before the key, key, value) of a line of a box, None for every other line."""
    text = line.strip()
    if len(text) < _SHORTEST or text[0] != "|" or text[-1] != "|" or text.count("|") != len("|||"):
        return None
    key, _, value = text[1:-1].partition("|")
    bare = key.strip()
    return (key[: len(key) - len(key.lstrip())], bare, value.strip()) if bare else None


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of a log: one, unless the step falls back to where it began."""
    del options
    boxes = _Boxes()
    for block in reading.blocks():
        yield from boxes.feed(block.line, block.text)
    yield from boxes.end()


@dataclass(slots=True)
class _Box:
    """One box. cells: (line, value) by key; group: the one that stands above the next keys."""

    cells: dict[str, tuple[int, str]] = field(default_factory=dict)
    group: str = ""


@dataclass(slots=True)
class _Column:
    """Points of one key that were not handed over yet."""

    metric: Metric
    steps: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


class _Boxes:
    """Blocks of a log to runs."""

    def __init__(self) -> None:
        self._box = _Box()
        self._boxes = 0
        self._index = -1
        self._bounds = Boundaries("step")
        self._step_key: str | None = None
        self._step: int | None = None
        self._columns: dict[str, _Column] = {}
        self._params: Mapping[str, str] = {}
        self._keys: dict[str, Metric] = {}
        self._first: tuple[int, str] | None = None
        self._unparsed = 0
        self._examples: list[tuple[int, str]] = []

    def feed(self, line: int, text: str) -> Iterator[Event]:
        """Read whole lines, the first of which has the given number."""
        body = text[:-1] if text.endswith("\n") else text
        for number, one in enumerate(body.split("\n"), line):
            if cells := _cells(one):
                indent, key, value = cells
                if self._first is None:
                    self._first = (number, f"| {key} | {value} |")
                if not value:
                    self._box.group = key if key.endswith("/") else f"{key}/"
                    continue
                if not key.endswith("/") and len(indent) > 1 and self._box.group:
                    key = f"{self._box.group}{key}"
                if key in self._box.cells:
                    # The box before lost its edge.
                    yield from self._close()
                self._box.cells[key] = (number, value)
            else:
                if self._box.cells or self._box.group:
                    yield from self._close()
                if one and not one.isspace() and not _EDGE.fullmatch(one):
                    self._skip(number, one)
        yield from self._hand_over()

    def end(self) -> Iterator[Event]:
        """The last box, which may have been cut; what was found, for the person; the lines nobody understood."""
        yield from self._close()
        yield from self._hand_over()
        if self._first:
            fields = tuple((key, metric.name, "a box's row") for key, metric in self._keys.items())
            yield LineKind(*self._first, self._boxes, self._step_key, fields)
        yield Unparsed(self._unparsed, tuple(self._examples))

    def _close(self) -> Iterator[Event]:
        """The box is complete: it begins a run, or gives the open one its points."""
        cells, self._box = self._box.cells, _Box()
        if not cells:
            return
        self._boxes += 1
        numbers = {key: (line, found[0]) for key, (line, text) in cells.items() if (found := number_of(text))}
        if self._step_key is None:
            ranked = sorted((rank, key) for key in numbers if (rank := step_rank(key)) is not None)
            self._step_key = ranked[0][1] if ranked else None
        first = min(line for line, _ in cells.values())
        step = count_of(numbers[self._step_key][1]) if self._step_key in numbers else None
        starts = list(self._bounds.starts([(first, step)])) if step is not None else []
        if starts or self._index < 0:
            yield from self._hand_over()
            self._index += 1
            reason = starts[0][1] if starts else None
            self._step = None
            self._params = {key: text for key, (_, text) in cells.items() if key not in numbers}
            yield RunStart(self._index, first, params=dict(self._params), reason=reason)
        self._take(cells, numbers, step)

    def _take(
        self, cells: Mapping[str, tuple[int, str]], numbers: Mapping[str, tuple[int, str]], step: int | None
    ) -> None:
        unit = "step" if self._step_key else "row"
        if step is None:
            # What has no step of its own follows the box before; boxes without steps are counted.
            step = (self._step or 0) if self._step_key else self._boxes - 1
        self._step = step
        for key, (line, text) in cells.items():
            if key == self._step_key:
                continue
            if key not in numbers:
                if not is_missing(text) and self._params.get(key) != text:
                    self._skip(line, f"{key}: {text}")
                continue
            column = self._columns.get(key)
            if column is None:
                metric = self._keys.setdefault(key, _metric(key, unit))
                column = self._columns[key] = _Column(metric)
            column.steps.append(step)
            column.texts.append(numbers[key][1])
            column.lines.append(line)

    def _hand_over(self) -> Iterator[Points]:
        curves = tuple(
            Curve(one.metric, one.steps, list(map(float, one.texts)), one.lines, decimals_of(one.texts))
            for one in self._columns.values()
        )
        self._columns = {}
        if curves:
            yield Points(self._index, curves, max(curve.lines[-1] or 0 for curve in curves))

    def _skip(self, line: int, text: str) -> None:
        self._unparsed += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append((line, text.rstrip("\r")[:_TEXT_LIMIT]))


def _metric(key: str, step_unit: str) -> Metric:
    metric = metric_of(key, step_unit)
    # Of several counters one is the step.
    return metric if step_rank(key) is None else Metric(key, metric.name, ASIDE, step_unit=step_unit)
