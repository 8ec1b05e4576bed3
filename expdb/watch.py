"""Logs that grow: what has changed since the last look is ingested, file by file, one line for the person each.

Nothing is kept of a file but its size and times, so a watch may go on for weeks.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from expdb import ingest
from expdb.address import Address
from expdb.errors import ExpdbError, InputError
from expdb.ingest import Done, Ingest, Item, Outcome, Request
from expdb.parsers.reading import EmptyError, Reading
from expdb.store.database import Database
from expdb.store.places import stored
from expdb.store.writer import Writer

_Inode = tuple[int, int]
# However slow the reading is, twice as long is waited.
_REST = 2.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was when it was last read. unparsed: lines not understood so far; told: what was said of it."""

    size: int
    inode: _Inode
    times: tuple[int, int]
    unparsed: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One line for the person. trouble: it belongs to the messages, not to the data."""

    text: str
    trouble: bool = False


@dataclass(slots=True)
class Totals:
    """What a watch has stored. files: that are there now; known: that were in before."""

    runs: int = 0
    points: int = 0
    files: int = 0
    known: int = 0


@dataclass(slots=True)
class Watch:
    """Paths that are looked at again and again. opened: the database, for as long as a look stores something;
    faults: of readers, that the person was told."""

    paths: Sequence[str]
    request: Request
    database: Address
    opened: Callable[[], AbstractContextManager[Database]]
    totals: Totals = field(default_factory=Totals)
    faults: set[str] = field(default_factory=set)
    _seen: dict[Path, _Seen] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Raise InputError for a path that cannot come to be: its folder does not exist."""
        for text in self.paths:
            folder = Path(os.path.abspath(text)).parent
            if not os.path.lexists(text) and not any(mark in text for mark in "*?[") and not folder.is_dir():
                raise InputError("no such file, and no such folder that it could come to be in", path=text)

    def look(self) -> Iterator[Change]:
        """Ingest what has changed; the first look takes in all there is. DatabaseError ends a watch, no file does."""
        items, missing = ingest.collect(self.paths, self.database)
        yield from self._missing(missing)
        own = _own_output()
        states = {item.path: _state(item) for item in items}
        now = {path: found for path, found in states.items() if found is not None and found.inode not in own}
        # Before they are forgotten: a file that is gone may be one that was renamed.
        places = {seen.inode: path for path, seen in self._seen.items() if seen.inode[1]}
        yield from self._gone(now)
        changed = [item for item in items if item.path in now and not self._is_known(item.path, now[item.path])]
        self.totals.files = len(now)
        if changed:
            with self.opened() as database:
                self._follow_renamed(database, changed, places)
                reading = Ingest(database, self.request, lambda _: None)
                try:
                    reading.run(changed)
                finally:
                    # Also of a look that is interrupted: what is stored is stored.
                    self.totals.runs += sum(done.written.runs for done in reading.out.done)
                    self.totals.points += sum(done.written.points for done in reading.out.done)
            yield from self._said(reading.out, changed, now)

    def _is_known(self, path: Path, now: _Seen) -> bool:
        before = self._seen.get(path)
        return before is not None and (before.size, before.inode, before.times) == (now.size, now.inode, now.times)

    def _missing(self, errors: Sequence[ExpdbError]) -> Iterator[Change]:
        waiting = {error.message for error in errors}
        for message in sorted(waiting - self._waiting):
            is_to_come = message.endswith("no such file or folder")
            yield Change(f"{message.rpartition(':')[0]}: not there yet, waited for" if is_to_come else message, True)
        self._waiting = waiting

    def _gone(self, now: dict[Path, _Seen]) -> Iterator[Change]:
        for path in [path for path in self._seen if path not in now]:
            del self._seen[path]
            yield Change(f"{path}: gone; what was read of it stays", trouble=True)

    def _follow_renamed(self, database: Database, changed: Sequence[Item], places: dict[_Inode, Path]) -> None:
        """Tell the database of files that were renamed (rotated), so that what they grew by last goes to their runs.

        places: where each was.
        """
        for item in changed:
            found = None if item.path in self._seen or item.bundle else _state(item)
            old = places.get(found.inode) if found else None
            if old is None:
                continue
            try:
                reading = Reading.of_file(item.path)
            except (InputError, OSError):
                # It is told when it is read.
                continue
            with database.transaction():
                writer = Writer(database, 0)
                standing = writer.standing(stored(old, database.address), reading.digest, reading.prefix_sha256)
                if standing.kind == "grown" and standing.source_id is not None:
                    writer.remember_place(standing.source_id, stored(item.path, database.address))

    def _said(self, outcome: Outcome, changed: Sequence[Item], now: dict[Path, _Seen]) -> Iterator[Change]:
        by_shown = {item.shown: item for item in changed}
        before = {item.path: self._seen.get(item.path) for item in changed}
        for item in changed:
            old = before[item.path]
            kept = (old.unparsed, old.told) if old else (0, "")
            self._seen[item.path] = replace(now[item.path], unparsed=kept[0], told=kept[1])
        for done in outcome.done:
            item = by_shown[done.path]
            self.totals.known += done.written.kind == "same" and before[item.path] is None
            said = self._change(item, done, before[item.path], now[item.path])
            if done.format is None:
                yield from self._once(item, said)
            elif said:
                yield Change(said)
        for error in outcome.refused:
            item_path = error.path if isinstance(error, InputError) else ""
            found = by_shown.get(item_path)
            if found is None:
                yield Change(error.message, trouble=True)
                continue
            if isinstance(error, EmptyError):
                old = before[found.path]
                text = "truncated to nothing; what was read of it stays" if old and old.size else "empty so far"
                yield from self._once(found, f"{found.shown}: {text}" if found.given or (old and old.size) else "")
                continue
            yield from self._once(found, error.message)

    def _once(self, item: Item, text: str) -> Iterator[Change]:
        """What is wrong with a file, unless that was said of it last."""
        seen = self._seen[item.path]
        if text and text != seen.told:
            yield Change(text, trouble=True)
        self._seen[item.path] = replace(seen, told=text or seen.told)

    def _change(self, item: Item, done: Done, before: _Seen | None, now: _Seen) -> str:
        """What became of a file; nothing where nothing did."""
        written = done.written
        if done.format is None:
            return f"{item.shown}: nothing to read in it yet" if item.given else ""
        fresh = written.unparsed - (before.unparsed if before and written.kind == "grown" else 0)
        self._seen[item.path] = replace(self._seen[item.path], unparsed=written.unparsed)
        parts = [f"{_count(written.runs, 'new run')}" if written.runs else ""]
        parts += [_count(written.points, "new point") if written.points else ""]
        parts += [f"{_count(fresh, 'line')} not understood" if fresh > 0 else ""]
        if self.request.params_from and written.runs and not self.request.params_of(item.path):
            parts.append("its path says no params")
        said = ", ".join(filter(None, parts))
        if written.kind == "changed":
            how = "replaced by another file" if before and before.inode != now.inode else "written anew"
            if before and now.size < before.size:
                how += f" ({before.size:,} → {now.size:,} bytes)"
            return f"{item.shown}: {how}, read as a new source: {said or 'nothing in it yet'}; its earlier runs stay"
        if written.kind == "same":
            return ""
        return f"{item.shown}: {said}" if said else ""


def rest_s(every_s: float, took_s: float) -> float:
    """How long to wait after a look that took so long."""
    return max(every_s, _REST * took_s)


def _own_output() -> set[_Inode]:
    """The files that this process prints into: a watch of its own words would not end."""
    out = set()
    for stream in (1, 2):
        try:
            found = os.fstat(stream)
        except OSError:
            # A shell may have closed it.
            continue
        if stat.S_ISREG(found.st_mode):
            out.add((found.st_dev, found.st_ino))
    return out


def _state(item: Item) -> _Seen | None:
    """The file now; None where it is gone. A folder that is one run changes with its files."""
    members = [member.path for member in item.bundle.members] if item.bundle else [item.path]
    try:
        place, found = item.path.stat(), [path.stat() for path in members]
    except OSError:
        return None
    latest = max(one.st_mtime_ns for one in found), max(one.st_ctime_ns for one in found)
    return _Seen(sum(one.st_size for one in found), (place.st_dev, place.st_ino), latest)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
