"""Verb 1: files to parser to store. What was read is never read twice, and one bad file stops no other."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from expdb import parsers, plugins, settings
from expdb.errors import ExpdbError, InputError
from expdb.parsers.reading import NotTextError, Reading
from expdb.records import Event, Points, RunStart, Unparsed
from expdb.store.database import Database
from expdb.store.places import STDIN, readable, stored
from expdb.store.writer import SourceHead, Standing, Writer, Written

# A transaction is this much: long enough to be fast, short enough that another ingest need not wait.
BATCH_POINTS = 200_000
BATCH_BYTES = 32 << 20

_NEVER_ENTERED = frozenset(("__pycache__", "node_modules", "site-packages"))


@dataclass(frozen=True, slots=True)
class Request:
    """What the person said beside the paths. again: read known files anew; copy: make new runs of them."""

    experiment: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    as_format: str | None = None
    metric_columns: frozenset[str] = frozenset()
    again: bool = False
    copy: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A file to read. given: named by the person, not found in a folder; folder names the experiment."""

    path: Path
    given: bool
    folder: str
    run_name: str
    is_stdin: bool = False

    @property
    def shown(self) -> str:
        """The path for messages."""
        return readable(os.fspath(self.path))


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one file. format None: no reader knows its content."""

    path: str
    format: str | None
    written: Written


@dataclass(slots=True)
class Outcome:
    """What became of all files. refused: one error per bad file; passed_over: binary files found in folders."""

    done: list[Done] = field(default_factory=list)
    refused: list[ExpdbError] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)


def collect(paths: Sequence[str], avoid: Path | None = None) -> tuple[list[Item], list[ExpdbError]]:
    """Files, folders, globs and `-` to the files to read, each once, in a stable order. avoid: the database."""
    found: dict[Path, tuple[bool, str]] = {}
    missing: list[ExpdbError] = []
    skipped = {os.path.abspath(f"{avoid}{tail}") for tail in ("", "-wal", "-shm", "-journal")} if avoid else set()
    for text in paths:
        if text == STDIN:
            continue
        matches = [text] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))
        if not matches:
            missing.append(InputError("no such file or folder", path=readable(text)))
        for match in matches:
            path = Path(match)
            try:
                is_folder = path.is_dir()
            except OSError as error:
                missing.append(InputError(f"cannot be read: {error.strerror}", path=readable(match)))
                continue
            if is_folder:
                name = Path(os.path.abspath(path)).name or "Default"
                for one in _walk(path, missing):
                    if os.path.abspath(one) not in skipped:
                        found.setdefault(one, (False, name))
            else:
                found.setdefault(path, (True, Path(os.path.abspath(path)).parent.name or "Default"))
    names = short_names(list(found))
    items = [
        Item(path, given, readable(folder), readable(name))
        for (path, (given, folder)), name in zip(found.items(), names, strict=True)
    ]
    if STDIN in paths:
        items.append(Item(Path(STDIN), given=True, folder="Default", run_name="stdin", is_stdin=True))
    return items, missing


def _walk(folder: Path, missing: list[ExpdbError]) -> Iterator[Path]:
    """Files below a folder in the order of their names; hidden folders and caches are not entered.

    A folder that cannot be listed is added to missing.
    """

    def refuse(error: OSError) -> None:
        missing.append(InputError(f"cannot be read: {error.strerror}", path=readable(os.fspath(error.filename))))

    for at, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _NEVER_ENTERED)
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(at, name)


def short_names(paths: Sequence[Path]) -> list[str]:
    """For each path the least that tells it from the others: its stem, or the folders in which they differ."""
    out = [path.stem for path in paths]
    by_stem: dict[str, list[int]] = {}
    for i, stem in enumerate(out):
        by_stem.setdefault(stem, []).append(i)
    for stem, group in by_stem.items():
        if len(group) == 1:
            continue
        parts = [Path(os.path.abspath(paths[i])).parts for i in group]
        folders = [one[:-1] for one in parts]
        head, tail = _shared(folders), _shared([one[::-1] for one in folders])
        names = ["/".join(one[head : len(one) - tail]) or stem for one in folders]
        taken = Counter(names)
        for n in range(len(group)):
            # Two in one folder, or a folder called like a file: the file's whole name has to tell.
            if taken[names[n]] > 1 and (folders.count(folders[n]) > 1 or folders[n][head:]):
                names[n] = "/".join(parts[n][head:])
        for i, name in zip(group, names, strict=True):
            out[i] = name
    return out


def _shared(parts: Sequence[tuple[str, ...]]) -> int:
    """How many parts all begin with."""
    return next((n for n, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), min(map(len, parts)))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file that is to be stored. events None: too large to be held, parsed while it is stored."""

    item: Item
    reading: Reading
    parser: parsers.Parser
    head: SourceHead
    events: tuple[Event, ...] | None
    looks_like: str | None = None

    def weight(self) -> tuple[int, int]:
        """(points, bytes) in memory."""
        points = sum(len(c.values) for e in self.events or () if isinstance(e, Points) for c in e.curves)
        return points, self.reading.size_bytes


class Ingest:
    """One run of the command: files in batches, each batch one transaction."""

    def __init__(self, database: Database | None, request: Request, step: Callable[[int], None]) -> None:
        self.database = database
        self.request = request
        self.step = step
        self.out = Outcome()
        self.writer = Writer(database, settings.now_ms()) if database else None
        self.options = parsers.Options(request.metric_columns)
        self.known = plugins.all_parsers()
        self.forced = parsers.named(request.as_format, self.known) if request.as_format else None
        self._dry: set[tuple[str, str | None]] = set()
        self._batch: list[_Prepared] = []
        self._points = self._bytes = 0

    def run(self, items: Iterable[Item]) -> Outcome:
        """Read every item. KeyboardInterrupt leaves whole batches stored and the rest untouched."""
        for item in items:
            try:
                self._read(item)
            except NotTextError as error:
                if item.given or error.kind is None:
                    self.out.refused.append(error)
                else:
                    self.out.passed_over.append((item.shown, error.kind))
            except InputError as error:
                self.out.refused.append(error)
            except OSError as error:
                self.out.refused.append(InputError(f"cannot be read: {error.strerror or error}", path=item.shown))
            self.step(1)
        self._flush()
        return self.out

    def _read(self, item: Item) -> None:
        reading = _open(item)
        parser = self.forced or parsers.reader_of(reading, self.known)
        if parser is None:
            if _one_long_line(reading):
                raise InputError("its first line is longer than 1 MB; that is no log", path=item.shown)
            self.out.done.append(Done(item.shown, None, Written("new")))
            return
        head = self._head(item, reading, parser)
        standing = self._standing(reading, head)
        looks_like: str | None = None
        began = self.known.get(standing.format or "")
        if standing.kind == "grown" and began and not self.request.again and not self.forced:
            # A log may come to look like a page as it grows; its first lines were read as what they were.
            looks_like = parser.NAME if parser is not began else None
            parser = began
            head = replace(head, format=parser.NAME, parser_version=parser.VERSION)
        if standing.kind == "same" and not self.request.again:
            if self.writer and not self.request.dry_run:
                self._put(_Prepared(item, reading, parser, head, ()))
            else:
                self.out.done.append(Done(item.shown, parser.NAME, Written("same")))
            return
        events = tuple(parsers.read(parser, reading, self.options)) if reading.is_small else None
        if self.request.dry_run:
            found = _tally(standing, events or parsers.read(parser, reading, self.options))
            # The same bytes twice in one ingest give their runs once.
            content = (head.digest.sha256, head.digest.tail_sha256)
            if content in self._dry and not self.request.copy:
                found = Written("same")
            self._dry.add(content)
            self.out.done.append(Done(item.shown, parser.NAME if found.reads or found.kind == "same" else None, found))
        elif events is not None and not any(isinstance(event, RunStart) for event in events):
            self.out.done.append(Done(item.shown, None, _tally(Standing("new"), events)))
        else:
            self._put(_Prepared(item, reading, parser, head, events, looks_like))

    def _head(self, item: Item, reading: Reading, parser: parsers.Parser) -> SourceHead:
        request = self.request
        return SourceHead(
            place=STDIN if item.is_stdin or not self.database else stored(item.path, self.database.path),
            digest=reading.digest,
            format=parser.NAME,
            parser_version=parser.VERSION,
            encoding=reading.encoding,
            run_name=item.run_name,
            experiment=request.experiment,
            default_experiment=item.folder,
            params=request.params,
            tags=request.tags,
            content=reading.raw,
        )

    def _standing(self, reading: Reading, head: SourceHead) -> Standing:
        if self.writer is None or self.request.copy:
            return Standing("new")
        standing = self.writer.standing(head.place, head.digest, reading.prefix_sha256)
        # What came through a pipe has no place of its own to grow at.
        return Standing("new") if head.place == STDIN and standing.kind in ("grown", "changed") else standing

    def _put(self, one: _Prepared) -> None:
        self._batch.append(one)
        points, size = one.weight()
        self._points += points
        self._bytes += size
        if one.events is None or self._points >= BATCH_POINTS or self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._points, self._bytes = self._batch, [], 0, 0
        if not batch or self.database is None or self.writer is None:
            return
        done: list[Done] = []
        refused: list[ExpdbError] = []
        try:
            with self.database.transaction() as connection:
                self.writer.begin()
                for one in batch:
                    # What is held in memory cannot fail to be read any more.
                    if one.events is not None:
                        done.append(Done(one.item.shown, one.parser.NAME, self._store(one)))
                        continue
                    connection.execute("SAVEPOINT source")
                    try:
                        done.append(Done(one.item.shown, one.parser.NAME, self._store(one)))
                    except (InputError, OSError) as error:
                        connection.execute("ROLLBACK TO source")
                        self.writer.forget()
                        self.writer.begin()
                        said = error if isinstance(error, InputError) else InputError(str(error), path=one.item.shown)
                        refused.append(said)
                    connection.execute("RELEASE source")
        except BaseException:
            self.writer.forget()
            raise
        self.out.done += done
        self.out.refused += refused

    def _store(self, one: _Prepared) -> Written:
        assert self.writer is not None
        # Another process, or a file before this one, may have stored the same since it was parsed.
        standing = self._standing(one.reading, one.head)
        known = standing.source_id
        if standing.kind == "same" and known is not None and not (self.request.again and self.writer.has_runs(known)):
            self.writer.remember_place(known, one.head.place)
            return Written("same")
        events = one.events or parsers.read(one.parser, one.reading, self.options)
        written = self.writer.write(one.head, standing, events, again=self.request.again)
        if one.reading.overlong:
            written.unparsed += len(one.reading.overlong)
            long = tuple((line, "a line of more than 1 MB") for line in one.reading.overlong[:1])
            written.examples = (*written.examples, *long)
        if standing.kind == "grown" and one.looks_like:
            written.changes.append(
                f"went on being read as {one.parser.NAME}, though it looks like a {one.looks_like} now;"
                " --again reads it as that"
            )
        return written


def _open(item: Item) -> Reading:
    if item.is_stdin:
        return stdin_reading()
    if not item.path.is_file():
        what = "no such file" if not item.path.exists() else "not a regular file"
        raise InputError(what, path=item.shown)
    return Reading.of_file(item.path)


def stdin_reading() -> Reading:
    """Standard input, to its end."""
    if sys.stdin is None:
        raise InputError("standard input is closed", path=STDIN)
    return Reading.of_stream(sys.stdin.buffer, STDIN)


def _one_long_line(reading: Reading) -> bool:
    return not reading.sample.whole and "\n" not in reading.sample.text and _first_line_is_long(reading)


def _first_line_is_long(reading: Reading) -> bool:
    next(reading.blocks(), None)
    return 1 in reading.overlong


def _tally(standing: Standing, events: Iterable[Event]) -> Written:
    """What would be written."""
    out = Written(standing.kind)
    taken = standing.line_count if standing.kind == "grown" else 0
    for event in events:
        if isinstance(event, RunStart):
            out.runs += event.line > taken
            out.reads += 1
        elif isinstance(event, Points):
            out.points += sum((line or 0) > taken for curve in event.curves for line in curve.lines)
        elif isinstance(event, Unparsed):
            out.unparsed, out.examples = event.count, event.examples
    return out


def ingest(
    database: Database | None, items: Sequence[Item], request: Request, step: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Read the items into the database (None: a dry run without one). step is called with 1 after each file."""
    return Ingest(database, request, step).run(items)
