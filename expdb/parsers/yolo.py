"""YOLOv3 to v7 `results.txt`: no header, columns known by their place.

    0/199  5.23G  0.102  0.0237  0.0564  0.182  28  640  0  0  0.0078  0.0018  0.0982  0.0214  0.0535

Epoch and last epoch, GPU memory, the losses, their sum, targets and image size; then precision, recall and two
numbers of the validation, then its losses. How many losses there are differs by version: the sum tells.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from expdb.parsers import CERTAIN, Options
from expdb.parsers.digits import decimals_of
from expdb.parsers.logs.lines import EXAMPLES
from expdb.parsers.reading import Reading, Sample
from expdb.parsers.runs import Boundaries
from expdb.parsers.tabular.headers import metric_of
from expdb.parsers.tabular.sheet import number_of
from expdb.records import ASIDE, CURVE, Curve, Event, LineKind, Metric, Points, RunStart, Unparsed

NAME = "yolo"
VERSION = 1
SUMMARY = "YOLOv3 to v7 results.txt: `0/199 5.23G 0.102 ...`, columns by place"

_START = re.compile(r"[ \t]*(\d{1,18})/(\d+)[ \t]+(\d+(?:\.\d+)?)([GM]?)[ \t]+(?=[-+.\dni])")
_LOSSES = {
    2: ("box", "obj"),
    3: ("box", "obj", "cls"),
    4: ("xy", "wh", "conf", "cls"),
}
_FACE = ("box", "obj", "cls", "landmark")
# Printed numbers have four digits.
_ROUNDING = 2e-3
_BEHIND_SUM = 2
_SCORES = 4
_TEXT_LIMIT = 200
_HEAD = 20

_Row = tuple[int, re.Match[str], list[str]]


def recognise(sample: Sample) -> float:
    """Certain of a file whose lines all have a sum of losses at its place."""
    if not _START.match(sample.text):
        return 0.0
    lines = [line for line in sample.text.split("\n", _HEAD)[:_HEAD] if line.strip()]
    rows = [row for number, line in enumerate(lines) if (row := _row(number, line))]
    if len(rows) * 2 < len(lines) or _layout(rows) is None:
        return 0.0
    return CERTAIN if len(rows) >= len(lines) - 1 else 0.8


def _row(number: int, line: str) -> _Row | None:
    found = _START.match(line)
    if not found:
        return None
    rest = line[found.end() :].split()
    return (number, found, rest) if all(number_of(cell) == (cell, False) for cell in rest) else None


def _layout(rows: Sequence[_Row]) -> tuple[tuple[str, bool], ...] | None:
    """(label, whether it is a curve) of every column behind the memory; None where no column is the losses' sum."""
    width = max((len(rest) for _, _, rest in rows), default=0)
    whole = [[float(cell) for cell in rest] for _, _, rest in rows if len(rest) == width]
    if not whole:
        return None
    for losses in (3, 4, 2, 5, 6):
        if width < losses + 1 + _BEHIND_SUM + _SCORES:
            continue
        if sum(_is_sum(row[:losses], row[losses]) for row in whole) * 10 >= len(whole) * 9:
            return _labels(losses, width, whole)
    return None


def _is_sum(parts: Sequence[float], total: float) -> bool:
    # A training that diverged has neither.
    return total != total or abs(sum(parts) - total) <= _ROUNDING * max(1.0, abs(total)) + 1e-9


def _labels(losses: int, width: int, rows: Sequence[Sequence[float]]) -> tuple[tuple[str, bool], ...]:
    after = width - (losses + 1 + _BEHIND_SUM + _SCORES)
    names = _LOSSES.get(losses, tuple(f"loss{n}" for n in range(1, losses + 1)))
    names = _FACE if losses == len(_FACE) and after >= len(_LOSSES[3]) else names
    first = losses + 1 + _BEHIND_SUM
    # The mean over all thresholds is never above the one at 0.5; where it is, the column is F1 (YOLOv3).
    last = "metrics/F1" if any(row[first + 3] > row[first + 2] + 1e-9 for row in rows) else "metrics/mAP_0.5:0.95"
    labels = [(f"train/{name}_loss", True) for name in names]
    labels += [("train/loss", True), ("targets", False), ("img_size", False)]
    labels += [("metrics/precision", True), ("metrics/recall", True), ("metrics/mAP_0.5", True), (last, True)]
    if after == 1:
        return (*labels, ("val/loss", True))
    return (*labels, *((f"val/{names[n] if n < len(names) else f'loss{n + 1}'}_loss", True) for n in range(after)))


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of a file: several where trainings wrote into one."""
    del options
    layout: tuple[tuple[str, bool], ...] | None = None
    bounds, index, count = Boundaries("epoch"), -1, 0
    unparsed: list[tuple[int, str]] = []
    missed = 0
    opening: tuple[int, str] | None = None
    for block in reading.blocks():
        rows: list[_Row] = []
        for number, line in enumerate(block.text.split("\n"), block.line):
            if row := _row(number, line):
                rows.append(row)
            elif line.strip():
                missed += 1
                unparsed.append((number, line[:_TEXT_LIMIT]))
        layout = layout or _layout(rows)
        if layout is None:
            continue
        short = [row for row in rows if len(row[2]) != len(layout)]
        missed += len(short)
        unparsed += [(number, found.string[:_TEXT_LIMIT]) for number, found, _ in short]
        unparsed = sorted(unparsed)[:EXAMPLES]
        rows = [row for row in rows if len(row[2]) == len(layout)]
        if not rows:
            continue
        opening = opening or (rows[0][0], rows[0][1].string[:_TEXT_LIMIT])
        count += len(rows)
        starts = dict(bounds.starts((number, int(found[1])) for number, found, _ in rows))
        runs = _numbered(rows, starts, index)
        for run, group in groupby(zip(runs, rows, strict=True), key=lambda pair: pair[0]):
            these = [row for _, row in group]
            if run > index:
                index = run
                yield RunStart(run, these[0][0], params=_params(layout, these), reason=starts.get(these[0][0]))
            yield Points(run, tuple(_curves(layout, these)), these[-1][0])
    if layout and opening:
        fields = [(label, metric_of(label, "epoch").name, "known by its place") for label, _ in layout]
        yield LineKind(*opening, count, "the first number", (("gpu_mem", "gpu_mem", "GPU memory"), *fields))
    yield Unparsed(missed, tuple(sorted(unparsed)[:EXAMPLES]))


def _numbered(rows: Sequence[_Row], starts: dict[int, str], index: int) -> list[int]:
    """The run of each row."""
    out = []
    for number, _, _ in rows:
        index += index < 0 or number in starts
        out.append(index)
    return out


def _params(layout: Sequence[tuple[str, bool]], rows: Sequence[_Row]) -> dict[str, str]:
    place = [label for label, _ in layout].index("img_size")
    return {"img_size": rows[0][2][place]}


def _curves(layout: Sequence[tuple[str, bool]], rows: Sequence[_Row]) -> Iterator[Curve]:
    steps = [int(found[1]) for _, found, _ in rows]
    lines = [number for number, _, _ in rows]
    memory = [found[3] for _, found, _ in rows]
    yield Curve(Metric("gpu_mem", "gpu_mem", ASIDE), steps, list(map(float, memory)), lines, decimals_of(memory))
    for (label, is_curve), texts in zip(layout, zip(*(rest for _, _, rest in rows), strict=True), strict=True):
        metric = metric_of(label, "epoch")
        metric = Metric(label, metric.name, CURVE if is_curve else ASIDE, metric.unit)
        yield Curve(metric, steps, list(map(float, texts)), lines, decimals_of(texts))
