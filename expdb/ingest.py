"""Verb 1: files to parser to store. What was read is never read twice, and one bad file stops no other."""

import gc
import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from expdb import parsers, plugins, settings
from expdb.address import Address
from expdb.errors import ExpdbError, InputError, MissingExtraError
from expdb.parsers import folders
from expdb.parsers.folders import Bundle, Member, Part
from expdb.parsers.reading import NotTextError, Reading
from expdb.records import ASIDE, Event, Points, RunStart, Unparsed
from expdb.store import intake
from expdb.store.database import Database
from expdb.store.places import STDIN, readable, stored
from expdb.store.writer import SourceHead, Standing, Writer, Written

# A transaction is this much: long enough to be fast, short enough that another ingest need not wait.
BATCH_POINTS = 200_000
BATCH_BYTES = 32 << 20
# Points are millions of small objects and no cycles: to look for these less often saves a thirtieth of the time.
_COLLECT_AFTER = 50_000

_NEVER_ENTERED = frozenset(("__pycache__", "node_modules", "site-packages"))


@dataclass(frozen=True, slots=True)
class Request:
    """What the person said beside the paths. again: read known files anew; copy: make new runs of them;
    params_from: what its named groups find in a file's path are params, where params says nothing else."""

    experiment: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    as_format: str | None = None
    metric_columns: frozenset[str] = frozenset()
    again: bool = False
    copy: bool = False
    dry_run: bool = False
    params_from: re.Pattern[str] | None = None

    def params_of(self, path: Path) -> dict[str, str] | None:
        """The params that the path says; None where the regex does not match it."""
        found = self.params_from.search(readable(path.as_posix())) if self.params_from else None
        return {key: value for key, value in found.groupdict().items() if value} if found else None


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or a folder that is one run. given: named by the person, not found in a folder; folder names the
    experiment; bundle: what belongs to the run of a folder, None for a file."""

    path: Path
    given: bool
    folder: str
    run_name: str
    is_stdin: bool = False
    bundle: Bundle | None = None

    @property
    def files(self) -> int:
        """How many files are read."""
        return len(self.bundle.members) if self.bundle else 1

    @property
    def shown(self) -> str:
        """The path for messages."""
        return readable(os.fspath(self.path))


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one file, or of the files of a folder. format None: no reader knows its content.

    same_as: of a dry run, the file before it that holds the same bytes.
    """

    path: str
    format: str | None
    written: Written
    files: int = 1
    same_as: str | None = None


@dataclass(slots=True)
class Outcome:
    """What became of all files. refused: one error per bad file; passed_over: binary files found in folders."""

    done: list[Done] = field(default_factory=list)
    refused: list[ExpdbError] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    # With params_from, of each file that a reader knows: what its path says, None where it says nothing.
    path_params: dict[str, dict[str, str] | None] = field(default_factory=dict)


def collect(paths: Sequence[str], avoid: Address | None = None) -> tuple[list[Item], list[ExpdbError]]:
    """Files, folders, globs and `-` to what is to be read, each file once, in a stable order. avoid: the database.

    Folders that are one run come first: what lies beside them may be an export of theirs.
    """
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
    items = _items(found)
    if STDIN in paths:
        items.append(Item(Path(STDIN), given=True, folder="Default", run_name="stdin", is_stdin=True))
    return items, missing


def _items(found: Mapping[Path, tuple[bool, str]]) -> list[Item]:
    bundles = folders.bundles(found)
    taken = {member.path for bundle in bundles for member in bundle.members}
    sources: list[tuple[Path, Bundle | None]] = [
        *((bundle.folder, bundle) for bundle in bundles),
        *((path, None) for path in found if path not in taken),
    ]
    names = short_names([bundle.place if bundle else path for path, bundle in sources], {b.place for b in bundles})
    items = []
    for (path, bundle), name in zip(sources, names, strict=True):
        given, folder = found[bundle.members[0].path if bundle else path]
        items.append(Item(path, given, readable(folder), readable(name), bundle=bundle))
    return items


def _walk(folder: Path, missing: list[ExpdbError]) -> Iterator[Path]:
    """Files below a folder in the order of their names; hidden folders and caches are not entered.

    A folder that cannot be listed is added to missing.
    """

    def refuse(error: OSError) -> None:
        missing.append(InputError(f"cannot be read: {error.strerror}", path=readable(os.fspath(error.filename))))

    for at, inner, files in os.walk(folder, onerror=refuse):
        inner[:] = sorted(f for f in inner if not f.startswith(".") and f not in _NEVER_ENTERED)
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(at, name)


def short_names(paths: Sequence[Path], whole: Collection[Path] = ()) -> list[str]:
    """For each path the least that tells it from the others: its stem, or the folders in which they differ.

    whole: folders, whose names end in no suffix.
    """
    out = [path.name if path in whole else path.stem for path in paths]
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


@dataclass(frozen=True, slots=True)
class _PreparedFolder:
    """A folder that is to be stored as one run."""

    item: Item
    bundle: Bundle
    parts: tuple[tuple[Part, SourceHead], ...]

    def weight(self) -> tuple[int, int]:
        """(points, bytes) in memory."""
        points = sum(len(curve.values) for part, _ in self.parts for curve in part.curves)
        return points, sum(part.reading.size_bytes for part, _ in self.parts)


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
        self._dry: dict[tuple[str, str | None], str] = {}
        self._batch: list[_Prepared | _PreparedFolder] = []
        # What each missing package leaves unread; one of them would be told for every file.
        self._missing: dict[str, tuple[MissingExtraError, int]] = {}
        self._points = self._bytes = 0

    def run(self, items: Iterable[Item]) -> Outcome:
        """Read every item. KeyboardInterrupt leaves whole batches stored and the rest untouched."""
        for item in self._unfolded(items):
            try:
                if item.bundle:
                    self._read_folder(item, item.bundle)
                else:
                    self._read(item)
            except MissingExtraError as error:
                _, files = self._missing.get(error.message, (error, 0))
                self._missing[error.message] = (error, files + item.files)
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
        for missing, files in self._missing.values():
            said = f"{files:,} file{'' if files == 1 else 's'} not read: {missing.message}"
            self.out.refused.append(MissingExtraError(said, hint=missing.hint))
        return self.out

    def _unfolded(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; where the person named a format, every file for itself."""
        for item in items:
            if item.bundle and self.forced:
                members = [member.path for member in item.bundle.members]
                for path, name in zip(members, short_names(members), strict=True):
                    yield replace(item, path=path, run_name=readable(name), bundle=None)
            else:
                yield item

    def _read_folder(self, item: Item, bundle: Bundle) -> None:
        """Read a folder that is one run. What is known of every file is not read again."""
        readings = folders.opened(bundle, self.out.refused.append)
        if self.writer and not self.request.again and not self.request.copy:
            standings = [self._standing_in_folder(member, reading) for member, reading in readings]
            if standings and all(one.kind == "same" for one in standings if one):
                self._remember(item, readings, standings)
                return
        parts = folders.parts(readings, self.known, self.options)
        heads = [(part, self._head_of(item, part)) for part in parts]
        if not any(any(part.curves) for part in parts):
            formats = (part.format for part in parts if part.member.role == "curves")
            read_by = next((name for name in formats if name != folders.UNREAD), None)
            found = Written("new", unparsed=sum(_tally(Standing("new"), part.events).unparsed for part in parts))
            self.out.done.append(Done(item.shown, read_by, found, item.files))
        elif self.request.dry_run:
            self._dry_folder(item, heads)
        else:
            self._put(_PreparedFolder(item, bundle, tuple(heads)))

    def _standing_in_folder(self, member: Member, reading: Reading) -> Standing | None:
        assert self.writer is not None and self.database is not None
        place = stored(member.path, self.database.address)
        found = self.writer.standing_in_folder(place, reading.digest, reading.prefix_sha256)
        # Settings that another run has too say nothing about this one.
        return None if member.role == "params" and not found.here else found

    def _remember(
        self, item: Item, readings: Sequence[tuple[Member, Reading]], standings: Sequence[Standing | None]
    ) -> None:
        """The files are known, here or elsewhere: keep their places."""
        assert self.database is not None and self.writer is not None and item.bundle is not None
        if not self.request.dry_run and not all(one and one.here for one in standings):
            with self.database.transaction():
                self.writer.begin()
                for (member, _), one in zip(readings, standings, strict=True):
                    if one and one.source_id is not None and not one.here:
                        self.writer.remember_place(one.source_id, stored(member.path, self.database.address))
        self.out.done.append(Done(item.shown, item.bundle.kind, Written("same"), item.files))

    def _dry_folder(self, item: Item, heads: Sequence[tuple[Part, SourceHead]]) -> None:
        """What a folder would give."""
        assert item.bundle is not None
        total = Written("new", runs=1)
        for part, head in heads:
            standing = Standing("new")
            if self.writer and not self.request.copy:
                standing = self.writer.standing_in_folder(head.place, part.reading.digest, part.reading.prefix_sha256)
            if standing.here:
                total.kind, total.runs = "grown", 0
            if standing.kind != "same" or not standing.here:
                found = _tally(standing, part.events)
                total.points += found.points
                total.unparsed += found.unparsed
                total.asides += found.asides
        total.reads = 1
        self.out.done.append(Done(item.shown, item.bundle.kind, total, item.files))

    def _head_of(self, item: Item, part: Part) -> SourceHead:
        head = self._head(item, part.reading, part.format, part.version)
        place = stored(part.member.path, self.database.address) if self.database else STDIN
        return replace(head, place=place, content=None)

    def _read(self, item: Item) -> None:
        reading = _open(item)
        parser = self.forced or parsers.reader_of(reading, self.known)
        if parser is None:
            if _one_long_line(reading):
                raise InputError("its first line is longer than 1 MB; that is no log", path=item.shown)
            self.out.done.append(Done(item.shown, None, Written("new")))
            return
        head = self._head(item, reading, parser.NAME, parser.VERSION)
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
            twin = self._dry.get(content) if not self.request.copy else None
            found = Written("same") if twin else found
            self._dry.setdefault(content, item.shown)
            name = parser.NAME if found.reads or found.kind == "same" else None
            self.out.done.append(Done(item.shown, name, found, same_as=twin))
        elif events is not None and not any(isinstance(event, RunStart) for event in events):
            self.out.done.append(Done(item.shown, None, _tally(Standing("new"), events)))
        else:
            self._put(_Prepared(item, reading, parser, head, events, looks_like))

    def _head(self, item: Item, reading: Reading, format_name: str, version: int) -> SourceHead:
        request, params = self.request, self.request.params
        if request.params_from and not item.is_stdin:
            found = self.out.path_params[item.shown] = request.params_of(item.path)
            params = {**(found or {}), **params}
        return SourceHead(
            place=STDIN if item.is_stdin or not self.database else stored(item.path, self.database.address),
            digest=reading.digest,
            format=format_name,
            parser_version=version,
            encoding=reading.encoding,
            run_name=item.run_name,
            experiment=request.experiment,
            default_experiment=item.folder,
            params=params,
            tags=request.tags,
            content=reading.raw,
        )

    def _standing(self, reading: Reading, head: SourceHead) -> Standing:
        if self.writer is None or self.request.copy:
            return Standing("new")
        standing = self.writer.standing(head.place, head.digest, reading.prefix_sha256)
        # What came through a pipe has no place of its own to grow at.
        return Standing("new") if head.place == STDIN and standing.kind in ("grown", "changed") else standing

    def _put(self, one: _Prepared | _PreparedFolder) -> None:
        self._batch.append(one)
        points, size = one.weight()
        self._points += points
        self._bytes += size
        streams = isinstance(one, _Prepared) and one.events is None
        if streams or self._points >= BATCH_POINTS or self._bytes >= BATCH_BYTES:
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
                    if isinstance(one, _PreparedFolder):
                        done.append(Done(one.item.shown, one.bundle.kind, self._store_folder(one), one.item.files))
                        continue
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
        written = intake.write(
            self.writer, one.head, standing, events, again=self.request.again, alike=not self.request.copy
        )
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

    def _store_folder(self, one: _PreparedFolder) -> Written:
        """Store the files of a folder as sources of one run."""
        assert self.writer is not None
        writer, copy = self.writer, self.request.copy
        standings = [
            Standing("new")
            if copy
            else writer.standing_in_folder(head.place, part.reading.digest, part.reading.prefix_sha256)
            for part, head in one.parts
        ]
        run_id = writer.run_of(at.source_id for at in standings if at.here and at.source_id is not None)
        is_new = run_id is None
        own = writer.sources_of(run_id) if run_id is not None else frozenset()
        total = Written("new" if is_new else "grown")
        for (part, head), found in zip(one.parts, standings, strict=True):
            standing = found
            if found.source_id not in own:
                # Settings that other runs have too, or a copy of a run's file.
                standing = Standing("new")
            elif found.kind == "same" and not self.request.again:
                continue
            # What is written anew, as DVCLive does with every step, is read anew.
            again = self.request.again or standing.kind == "changed"
            written = intake.write(writer, head, standing, part.events, again=again, into=run_id)
            run_id = written.run_ids[0]
            total.runs += written.runs
            total.points += written.points
            total.unparsed += written.unparsed
            total.examples = total.examples or written.examples
            total.asides += written.asides
            total.changes += written.changes
        total.reads = 1
        twin = writer.settle(run_id) if is_new and not copy and run_id is not None else None
        if twin:
            total.runs, total.points = 0, 0
            total.changes.append(f"the same run as {twin}: kept as another source of it")
        return total


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
    asides: dict[int, set[str]] = {}
    for event in events:
        if isinstance(event, RunStart):
            out.runs += event.line > taken
            out.reads += 1
        elif isinstance(event, Points):
            results = [curve for curve in event.curves if curve.metric.kind != ASIDE]
            out.points += sum((line or 0) > taken for curve in results for line in curve.lines)
            labels = {curve.metric.label for curve in event.curves if curve.metric.kind == ASIDE}
            out.asides.update(sorted(labels - asides.setdefault(event.index, set())))
            asides[event.index] |= labels
        elif isinstance(event, Unparsed):
            out.unparsed, out.examples = event.count, event.examples
    return out


def ingest(
    database: Database | None, items: Sequence[Item], request: Request, step: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Read the items into the database (None: a dry run without one). step is called with 1 after each file."""
    with _rarely_collected():
        return Ingest(database, request, step).run(items)


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Python looks for unreachable cycles less often."""
    before = gc.get_threshold()
    gc.set_threshold(max(_COLLECT_AFTER, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
