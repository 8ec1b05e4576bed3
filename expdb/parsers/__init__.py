"""One file, or a folder that is one run, to parsed runs: one module per format family.

A reader is a module of this folder (or an entry point `expdb.parsers`) with

    NAME, VERSION, SUMMARY          its name for --as, a number that grows when its output changes, one line
    recognise(sample) -> float      how sure it is that the content is its own, 0 to 1; never by the file's suffix
    parse(reading, options)         an iterator of expdb.records.Event
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol

from expdb.errors import ExpdbError, InputError, UsageError
from expdb.parsers.reading import Reading, Sample
from expdb.records import Event, Unparsed

# A reader that has seen all of the sample and knows every line of it; no other is asked.
CERTAIN = 1.0

BUILT_IN = (
    "tensorboard",
    "tracked",
    "json_document",
    "json_lines",
    "delimited",
    "boxed",
    "series",
    "yolo",
    "log",
    "page",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the person said about a file. metric_columns: headers of table columns that hold results."""

    metric_columns: frozenset[str] = frozenset()


class Parser(Protocol):
    """A reader of one format family."""

    NAME: str
    VERSION: int
    SUMMARY: str

    def recognise(self, sample: Sample) -> float:
        """How sure the reader is that the content is its own, 0 to 1."""
        ...

    def parse(self, reading: Reading, options: Options) -> Iterator[Event]:
        """The runs of a file."""
        ...


Parsers = Mapping[str, Parser]


class Stream(Protocol):
    """A source that is read as it grows. What it says of the first lines may differ from what `parse` says of all."""

    @property
    def unparsed(self) -> Unparsed:
        """Lines so far that were not understood."""
        ...

    def feed(self, line: int, text: str) -> Iterator[Event]:
        """Read whole lines behind those fed so far, the first of which has the given number."""
        ...


def stream(parser: Parser) -> Stream | None:
    """A reader that goes on where it stood, of formats that have one: a function `stream` beside `parse`."""
    begin = getattr(parser, "stream", None)
    return begin() if begin else None


@cache
def built_in() -> Parsers:
    """The readers that ship with expdb, by name."""
    found: dict[str, Parser] = {}
    for name in BUILT_IN:
        module: Parser = import_module(f"expdb.parsers.{name}")
        found[module.NAME] = module
    return found


def recognise(sample: Sample, parsers: Parsers) -> Parser | None:
    """The reader that is surest of the sample; the first that is certain; None where none knows it."""
    best, sureness = None, 0.0
    for parser in parsers.values():
        sure = parser.recognise(sample)
        if sure > sureness:
            best, sureness = parser, sure
        if sure >= CERTAIN:
            break
    return best


def reader_of(reading: Reading, parsers: Parsers) -> Parser | None:
    """The reader that knows the source by its first lines or, where these say nothing, by all of a small one."""
    found = recognise(reading.sample, parsers)
    if found is None and reading.is_small and not reading.sample.whole:
        # A configuration or a prologue of more than the sample.
        found = recognise(Sample(reading.text, whole=True, name=reading.sample.name), parsers)
    return found


def read(parser: Parser, reading: Reading, options: Options) -> Iterator[Event]:
    """The events of a source. A reader that breaks down is an InputError: one file is refused, the others are read."""
    try:
        yield from parser.parse(reading, options)
    except (ExpdbError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"the reader {parser.NAME!r} broke down ({type(error).__name__}: {error})",
            path=reading.path,
            hint="please report this; --as NAME tries another reader",
        ) from error


def named(name: str, parsers: Parsers) -> Parser:
    """The reader with that name; UsageError naming them all otherwise."""
    if name not in parsers:
        raise UsageError(f"no input format is called {name!r}", hint=f"formats: {', '.join(sorted(parsers))}")
    return parsers[name]
