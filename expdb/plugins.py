"""All readers: a person's own patterns, those of third parties by entry point, and the built-in ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from expdb import parsers, settings
from expdb.errors import ExpdbError, InputError, UsageError
from expdb.parsers.pattern import PatternReader
from expdb.parsers.reading import Reading, Sample
from expdb.records import Curve, Document, Event, LineKind, Points, Repeat, RunStart, Unparsed

GROUP = "expdb.parsers"
_EVENTS = (Document, LineKind, RunStart, Points, Repeat, Unparsed)


@dataclass(slots=True)
class ThirdParty:
    """A reader of another package. What breaks in it is that package's and stops no other reader.

    faults: what broke while it was asked whether it knows a file, told once.
    """

    NAME: str
    VERSION: int
    SUMMARY: str
    package: str
    reader: parsers.Parser
    faults: list[ExpdbError] = field(default_factory=list)

    def recognise(self, sample: Sample) -> float:
        """How sure the reader is; 0 where it breaks down."""
        try:
            sure = float(self.reader.recognise(sample))
            if not 0 <= sure <= 1:
                raise ValueError(f"recognise() gave {sure}, not 0 to 1")
        except Exception as error:
            if not self.faults:
                self.faults.append(self._broken(error, sample.name))
            return 0.0
        return sure

    def parse(self, reading: Reading, options: parsers.Options) -> Iterator[Event]:
        """Its events. InputError where it breaks down, or gives what is no event."""
        try:
            for event in self.reader.parse(reading, options):
                _check(event)
                yield event
        except (ExpdbError, OSError):
            raise
        except Exception as error:
            raise self._broken(error, reading.path) from error

    def _broken(self, error: Exception, path: str) -> InputError:
        return InputError(
            f"the reader {self.NAME!r} of package {self.package} broke down ({type(error).__name__}: {error})",
            path=path,
            hint=f"please tell the makers of {self.package}; --as NAME chooses another reader",
        )


def _check(event: object) -> None:
    if not isinstance(event, _EVENTS):
        raise TypeError(f"parse() gave {type(event).__name__}, which is no event of expdb.records")
    for curve in event.curves if isinstance(event, Points) else ():
        if not isinstance(curve, Curve) or not len(curve.steps) == len(curve.values) == len(curve.lines) > 0:
            raise TypeError("steps, values and lines of a Curve differ in length, or are empty")


@cache
def _third_parties() -> tuple[tuple[ThirdParty, ...], tuple[ExpdbError, ...]]:
    """The readers of entry point group `expdb.parsers` by name, and what is wrong with those that cannot be used."""
    # An uncached look-up would cost more than reading a log.
    found: dict[str, ThirdParty] = {}
    wrong: list[ExpdbError] = []
    for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            reader = _loaded(point, package)
            if reader.NAME in parsers.built_in() or reader.NAME in found:
                other = f"package {found[reader.NAME].package}" if reader.NAME in found else "expdb itself"
                raise ExpdbError(f"{other} has a reader of that name")
        except ExpdbError as error:
            wrong.append(
                ExpdbError(
                    f"the reader {point.name!r} of package {package} cannot be used: {error.message}",
                    hint=f"all others work; update or uninstall {package.split()[0]}, or tell its makers",
                )
            )
        else:
            found[reader.NAME] = reader
    return tuple(found.values()), tuple(wrong)


def _loaded(point: EntryPoint, package: str) -> ThirdParty:
    """The reader behind an entry point; ExpdbError saying what it lacks."""
    try:
        reader = point.load()
    # A module may do anything while it is imported, ending the process among others.
    except (Exception, SystemExit) as error:
        raise ExpdbError(f"{point.value} cannot be imported ({type(error).__name__}: {error})") from error
    if isinstance(reader, type):
        raise ExpdbError(f"{point.value} is a class; a module or an instance is needed")
    for name, kind in (("NAME", str), ("VERSION", int), ("SUMMARY", str)):
        if not isinstance(getattr(reader, name, None), kind):
            raise ExpdbError(f"{point.value} has no {name} ({kind.__name__})")
    for name in ("recognise", "parse"):
        if not callable(getattr(reader, name, None)):
            raise ExpdbError(f"{point.value} has no function {name}")
    if point.name != reader.NAME:
        raise ExpdbError(f"it calls itself {reader.NAME!r}")
    return ThirdParty(reader.NAME, reader.VERSION, reader.SUMMARY, package, reader)


@cache
def _patterns(patterns: tuple[settings.OwnPattern, ...]) -> tuple[PatternReader, ...]:
    out = []
    for own in patterns:
        path, line = own.place
        try:
            out.append(PatternReader(own))
        except UsageError as error:
            raise InputError(f"pattern {own.name!r}: {error.message}", path=path, line=line, hint=error.hint) from None
    return tuple(out)


def pattern(regex: str, name: str | None = None) -> PatternReader:
    """A reader that is not kept yet. UsageError for a regex or name that is none, or a name that is taken."""
    if name is not None:
        settings.check_pattern_name(name)
    return PatternReader(settings.OwnPattern(name or "", regex))


def all_parsers() -> parsers.Parsers:
    """Every reader by name, in the order they are asked: the person's patterns, third parties', the built-in ones.

    InputError where expdb.toml is wrong. What is wrong with third parties' readers is in `faults`.
    """
    own = {reader.NAME: reader for reader in _patterns(settings.load().patterns)}
    return {**own, **{reader.NAME: reader for reader in _third_parties()[0]}, **parsers.built_in()}


def faults() -> list[ExpdbError]:
    """What is wrong with third parties' readers, as far as they have been asked."""
    found, wrong = _third_parties()
    return [*wrong, *(fault for reader in found for fault in reader.faults)]


def origin(parser: parsers.Parser) -> str:
    """Where a reader comes from."""
    if isinstance(parser, ThirdParty):
        return parser.package
    return settings.FILE if isinstance(parser, PatternReader) else "built-in"
