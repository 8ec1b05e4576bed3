"""What a reader said, put together for the tests: runs with their curves, and the lines nobody understood."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from expdb import parsers
from expdb.parsers import Options
from expdb.parsers.logs.lines import LineReader
from expdb.parsers.reading import Reading
from expdb.records import Document, Event, Metric, Points, Repeat, RunStart, Unparsed

Point = tuple[int | None, str, int | None]


@dataclass
class ReadCurve:
    """A curve. points: (step, value as repr, line), so that nan equals nan."""

    metric: Metric
    decimals: int | None
    points: list[Point] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """The values alone."""
        return [float(value) for _, value, _ in self.points]

    @property
    def steps(self) -> list[int | None]:
        """The steps alone."""
        return [step for step, _, _ in self.points]

    @property
    def lines(self) -> list[int | None]:
        """The lines alone."""
        return [line for _, _, line in self.points]


@dataclass
class ReadRun:
    """A run; curves by label, and by label and name where two names have one label."""

    start: RunStart
    line_last: int = 0
    curves: dict[str, ReadCurve] = field(default_factory=dict)
    repeats: list[tuple[int, int]] = field(default_factory=list)

    def only(self, name: str) -> ReadCurve:
        """The one curve with the canonical name."""
        found = [curve for curve in self.curves.values() if curve.metric.name == name]
        assert len(found) == 1, f"{name}: {len(found)} in {[c.metric.name for c in self.curves.values()]}"
        return found[0]


@dataclass
class Read:
    """All a source says. format None: no reader knows it."""

    format: str | None = None
    runs: list[ReadRun] = field(default_factory=list)
    unparsed: Unparsed = field(default_factory=lambda: Unparsed(0))
    documents: list[Document] = field(default_factory=list)


def gathered(events: Iterable[Event], format: str | None = None) -> Read:
    """Events to runs, as the store and the preview take them in."""
    out = Read(format)
    by_index: dict[int, ReadRun] = {}
    for event in events:
        match event:
            case RunStart():
                assert event.index == len(by_index), "runs are numbered as they come"
                by_index[event.index] = ReadRun(event)
            case Points():
                _take(by_index[event.index], event)
            case Repeat():
                by_index[event.index].repeats.append((event.line_first, event.line_last))
            case Unparsed():
                out.unparsed = event
            case Document():
                out.documents.append(event)
    out.runs = list(by_index.values())
    return out


def _take(run: ReadRun, points: Points) -> None:
    run.line_last = max(run.line_last, points.line_last)
    for curve in points.curves:
        assert len(curve.steps) == len(curve.values) == len(curve.lines) > 0
        label = curve.metric.label
        if label in run.curves and run.curves[label].metric.name != curve.metric.name:
            label = f"{label} [{curve.metric.name}]"
        known = run.curves.get(label)
        if known is None:
            known = run.curves[label] = ReadCurve(curve.metric, curve.decimals)
        elif known.decimals is not None:
            known.decimals = None if curve.decimals is None else max(known.decimals, curve.decimals)
        known.points += zip(curve.steps, map(repr, curve.values), curve.lines, strict=True)


def read_lines(*blocks: str) -> Read:
    """What the reader of single lines makes of consecutive blocks of whole lines."""

    def events() -> Iterator[Event]:
        reader, line = LineReader(), 1
        for block in blocks:
            yield from reader.feed(line, block)
            line += block.count("\n")
        yield reader.unparsed

    return gathered(events())


def read(
    source: str | bytes, *, columns: Iterable[str] = (), as_format: str | None = None, path: str = "page.md"
) -> Read:
    """What expdb makes of a source, whatever format it finds."""
    data = source.encode() if isinstance(source, str) else source
    reading = Reading.of_bytes(data, path)
    known = parsers.built_in()
    parser = parsers.named(as_format, known) if as_format else parsers.recognise(reading.sample, known)
    if parser is None:
        return Read()
    return gathered(parser.parse(reading, Options(frozenset(columns))), parser.NAME)
