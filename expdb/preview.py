"""What a reader understands of one file, without a database."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from expdb import metrics, parsers, plugins
from expdb.errors import InputError
from expdb.parsers import folders
from expdb.parsers.reading import Reading
from expdb.records import Event, LineKind, Points, Repeat, RunStart, Summary, Unit, Unparsed
from expdb.store.likeness import close, selected

# Values that are enough to draw a curve.
_SHAPE = 4096
_EXAMPLES = 5
_SHOWN = 200


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
    # The source says the unit; else the range of the values does.
    unit_is_printed: bool = False


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
    """What was understood of a file, or of a folder that is one run. format None: no reader knows it.

    examples: lines that were not understood, or the first lines of a file that no reader knows. kinds: the kinds of
    line (or record) that the reader found. sureness: how sure each reader was that was asked, by name. sources: the
    files of a folder, in the order of their numbers.
    """

    file: str
    format: str | None
    lines: int
    encoding: str
    unparsed: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    runs: list[PreviewRun] = field(default_factory=list)
    kinds: list[LineKind] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    sureness: dict[str, float] = field(default_factory=dict)


def preview(
    reading: Reading,
    as_format: str | None = None,
    options: parsers.Options | None = None,
    *,
    whole: bool = True,
    own: parsers.Parser | None = None,
    ask_all: bool = False,
) -> Preview:
    """Read the whole source; keep all points, or only each curve's shape, so that memory stays flat.

    own: a reader to try instead of the known ones. ask_all: fill in how sure every reader is.
    Raises UsageError for an unknown format, InputError where it cannot be read.
    """
    known = plugins.all_parsers()
    parser = own or (parsers.named(as_format, known) if as_format else parsers.reader_of(reading, known))
    lines = reading.digest.line_count + (reading.digest.tail_sha256 is not None)
    out = Preview(reading.path, parser.NAME if parser else None, lines, reading.encoding)
    if ask_all:
        out.sureness = {name: one.recognise(reading.sample) for name, one in known.items()}
    if parser is None:
        shown = enumerate(reading.sample.text.split("\n"), 1)
        out.examples = tuple(islice(((line, text[:_SHOWN]) for line, text in shown if text.strip()), _EXAMPLES))
        return out
    _fill(out, reading.name, parsers.read(parser, reading, options or parsers.Options()), whole)
    out.unparsed += len(reading.overlong)
    return out


def preview_folder(folder: Path, options: parsers.Options | None = None, *, whole: bool = True) -> Preview:
    """What is understood of a folder that is one run. Raises InputError for any other, naming what it holds."""
    shown = os.fspath(folder)
    files = [Path(at, name) for at, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    bundles = folders.bundles(sorted(files))
    refused: list[InputError] = []
    known, options = plugins.all_parsers(), options or parsers.Options()
    found = [(bundle, folders.opened(bundle, refused.append)) for bundle in bundles]
    read = [(bundle, parts) for bundle, opened in found if (parts := folders.parts(opened, known, options))]
    if len(read) > 1:
        # What a run left that broke off before its first value is no second run.
        read = [(bundle, parts) for bundle, parts in read if any(any(part.curves) for part in parts)] or read[:1]
    if len(read) != 1:
        held = f"{len(read)} runs" if read else "no folder that is one run"
        raise InputError(f"holds {held}", path=shown, hint=f"expdb ingest --dry-run {shown} says what it holds")
    if refused:
        raise refused[0]
    ((bundle, parts),) = read
    lines = sum(part.reading.digest.line_count + (part.reading.digest.tail_sha256 is not None) for part in parts)
    encodings = " and ".join(dict.fromkeys(part.reading.encoding for part in parts))
    out = Preview(shown, bundle.kind, lines, encodings, sources=[os.fspath(part.member.path) for part in parts])
    if any(any(part.curves) for part in parts):
        _fill(out, bundle.place.name, _told_once(parts), whole)
    return out


def _told_once(parts: Iterable[folders.Part]) -> Iterator[Event]:
    """The events of a folder's files, without the points that a file before them told already."""
    told: dict[tuple[str, int | None], list[float]] = {}
    for part in parts:
        own: list[tuple[tuple[str, int | None], float]] = []
        for event in part.events:
            if not isinstance(event, Points):
                yield event
                continue
            curves = []
            for curve in event.curves:
                keys = [(curve.metric.name, step) for step in curve.steps]
                pairs = list(zip(keys, curve.values, strict=True))
                own += pairs
                known = [any(close(value, other) for other in told.get(key, ())) for key, value in pairs]
                new = [at for at, is_known in enumerate(known) if not is_known]
                if new:
                    curves.append(selected(curve, new))
            if curves:
                yield replace(event, curves=tuple(curves))
        for key, value in own:
            told.setdefault(key, []).append(value)


def _fill(out: Preview, name: str, events: Iterable[Event], whole: bool) -> None:
    """Take what the reader says; name: of a run that has none of its own."""
    names: set[str] = set()
    runs: dict[int, PreviewRun] = {}
    for event in events:
        if isinstance(event, RunStart):
            known = runs.get(event.index)
            if known:
                # A further file of the same run.
                known.params |= event.params
                known.tags |= event.tags
                continue
            free = _free(event.caption or name, names)
            run = PreviewRun(free, event.line, event.line, event.reason, dict(event.params), dict(event.tags))
            runs[event.index] = run
        elif isinstance(event, Points):
            _take(runs[event.index], event, whole)
        elif isinstance(event, Repeat):
            runs[event.index].repeats.append((event.line_first, event.line_last))
        elif isinstance(event, LineKind):
            out.kinds.append(event)
        elif isinstance(event, Unparsed):
            out.unparsed += event.count
            out.examples = out.examples or event.examples
    out.runs = list(runs.values())
    for run in out.runs:
        for one in run.metrics:
            one.unit_is_printed = one.unit is not None
            one.unit = one.unit or metrics.unit_of(one.name, one.summary.min_value, one.summary.max_value)


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
        **({"sources": found.sources} if found.sources else {}),
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
