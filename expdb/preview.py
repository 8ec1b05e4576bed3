"""What a reader understands of one file, without a database."""

import math
from dataclasses import dataclass, field

from expdb import metrics, parsers, plugins
from expdb.parsers.reading import Reading
from expdb.records import Points, Repeat, RunStart, Summary, Unit, Unparsed

# Values that are enough to draw a curve.
_SHAPE = 4096


@dataclass(slots=True)
class PreviewMetric:
    """The points of one metric of one run: all of them, or every stride-th value alone where only their shape is
    wanted."""

    name: str
    label: str
    kind: str
    unit: Unit | None
    step_unit: str
    decimals: int | None = None
    steps: list[int | None] = field(default_factory=list)
    lines: list[int | None] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)
    stride: int = 1


@dataclass(slots=True)
class PreviewRun:
    """One run of the file. places: (first line, last line) of each place it stands at."""

    name: str
    line_first: int
    line_last: int
    reason: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[PreviewMetric] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Preview:
    """What was understood of a file. format None: no reader knows it. overlong: lines of more than 1 MB."""

    file: str
    format: str | None
    lines: int
    encoding: str
    unparsed: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    runs: list[PreviewRun] = field(default_factory=list)


def preview(
    reading: Reading, as_format: str | None = None, options: parsers.Options | None = None, *, whole: bool = True
) -> Preview:
    """Read the whole source; keep all points, or only each curve's shape, so that memory stays flat.

    Raises UsageError for an unknown format, InputError where it cannot be read.
    """
    known = plugins.all_parsers()
    parser = parsers.named(as_format, known) if as_format else parsers.reader_of(reading, known)
    lines = reading.digest.line_count + (reading.digest.tail_sha256 is not None)
    out = Preview(reading.path, parser.NAME if parser else None, lines, reading.encoding)
    if parser is None:
        return out
    names: set[str] = set()
    runs: dict[int, PreviewRun] = {}
    for event in parsers.read(parser, reading, options or parsers.Options()):
        if isinstance(event, RunStart):
            name = _free(event.caption or reading.name, names)
            run = PreviewRun(name, event.line, event.line, event.reason, dict(event.params), dict(event.tags))
            runs[event.index] = run
        elif isinstance(event, Points):
            _take(runs[event.index], event, whole)
        elif isinstance(event, Repeat):
            runs[event.index].repeats.append((event.line_first, event.line_last))
        elif isinstance(event, Unparsed):
            out.unparsed, out.examples = event.count + len(reading.overlong), event.examples
    out.runs = list(runs.values())
    for run in out.runs:
        for one in run.metrics:
            one.unit = one.unit or metrics.unit_of(one.name, one.summary.min_value, one.summary.max_value)
    return out


def _take(run: PreviewRun, points: Points, whole: bool) -> None:
    run.line_last = max(run.line_last, points.line_last)
    known = {(one.name, one.label): one for one in run.metrics}
    for curve in points.curves:
        metric = curve.metric
        one = known.get((metric.name, metric.label))
        if one is None:
            one = PreviewMetric(metric.name, metric.label, metric.kind, metric.unit, metric.step_unit, curve.decimals)
            run.metrics.append(one)
        elif one.decimals is not None:
            one.decimals = None if curve.decimals is None else max(one.decimals, curve.decimals)
        one.summary.add(curve.steps, curve.values, curve.times_ms)
        if whole:
            one.steps += curve.steps
            one.lines += curve.lines
            one.values += curve.values
            continue
        one.values += curve.values[:: one.stride]
        while len(one.values) > _SHAPE:
            del one.values[1::2]
            one.stride *= 2


def _free(name: str, names: set[str]) -> str:
    free, n = name, 1
    while free in names:
        n += 1
        free = f"{name} ({n})"
    names.add(free)
    return free


def as_json(found: Preview) -> dict[str, object]:
    """The preview as JSON values: NaN and ±inf are the strings nan, inf and -inf, a reported value's step is null."""
    return {
        "file": found.file,
        "format": found.format or "unknown",
        "lines": found.lines,
        "unparsed": found.unparsed,
        "runs": [
            {
                "name": run.name,
                "line_first": run.line_first,
                "line_last": run.line_last,
                "params": run.params,
                "tags": run.tags,
                "metrics": [
                    {
                        "name": one.name,
                        "label": one.label,
                        "kind": one.kind,
                        "unit": one.unit,
                        "step_unit": one.step_unit,
                        "steps": one.steps,
                        "lines": one.lines,
                        "values": [v if math.isfinite(v) else str(v) for v in one.values],
                    }
                    for one in run.metrics
                ],
            }
            for run in found.runs
        ],
    }
