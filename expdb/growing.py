"""One log that is being written: what is new in it, ready to be stored.

A small log is read whole at every look, for the whole tells more than its last lines do. A long one is read on from
where the last look ended, so that following it costs what is written, not what was written before.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from expdb import parsers
from expdb.address import Address
from expdb.errors import InputError
from expdb.parsers.reading import KEEP_BYTES, Digest, EmptyError, Reading
from expdb.records import Event, RunStart
from expdb.store.places import stored
from expdb.store.writer import SourceHead, Standing, Writer

# From here on a log is read on.
STREAM_BYTES = 24 << 10
_PIECE_BYTES = 4 << 20
# In these a line feed is one byte, and no part of another character.
_BYTEWISE = ("utf-8", "utf-8-sig", "ascii")
# What is printed can be asked for within a second, but in logs that are long and cannot be read on: reading one whole
# may take so small a part of the time.
EVERY_S = 0.6
_WHOLE_REST = 50.0
_LONGEST_REST_S = 10.0


@dataclass(frozen=True, slots=True)
class News:
    """What a look found. again: it replaces what was stored of the log; read_on: it is only what was added."""

    head: SourceHead
    standing: Standing
    events: tuple[Event, ...]
    again: bool
    read_on: bool = False


@dataclass(slots=True)
class _Tail:
    """Where a log that is read on stands. starts: the runs met so far."""

    parser: parsers.Parser
    stream: parsers.Stream
    inode: int
    size_bytes: int = 0
    lines: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    starts: list[RunStart] = field(default_factory=list)

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events of whole lines."""
        first = self.lines + 1
        self.digest.update(data)
        self.size_bytes += len(data)
        self.lines += data.count(b"\n")
        for event in self.stream.feed(first, data.decode("utf-8", "replace").replace("\ufeff", "")):
            if isinstance(event, RunStart):
                self.starts.append(event)
            yield event


class Growing:
    """A log and how far it has been taken. trouble: why it cannot be read, if it cannot."""

    def __init__(self, path: Path, database: Address, known: parsers.Parsers) -> None:
        self.path = path
        self.place = stored(path, database)
        self.trouble: str | None = None
        self._known = known
        self._seen: tuple[int, int] | None = None
        self._tail: _Tail | None = None
        self._not_before = 0.0

    def due(self) -> bool:
        """Whether there is something new, and the last look did not cost so much that the next has to wait."""
        return self._state() != self._seen and time.monotonic() >= self._not_before

    def take(self, writer: Writer, *, whole: bool = False) -> News | None:
        """What is to be stored; None where nothing is. whole: at last, all of it together, however long it is."""
        state = self._state()
        if state is None:
            return None
        self._seen, began = state, time.monotonic()
        try:
            tail = self._tail
            if tail and (tail.inode != state[1] or tail.size_bytes > state[0]):
                # Another file in its place, or one that was cut.
                tail = None
            if tail and whole and state[0] > KEEP_BYTES and self._ends_its_last_line():
                # To read it all again would keep the others waiting.
                return self._read_on(tail, writer, state[0])
            if tail and not whole:
                news = self._read_on(tail, writer, tail.size_bytes + _PIECE_BYTES)
                if news or state[0] - tail.size_bytes < _PIECE_BYTES:
                    return news
            self._tail = None
            return self._read_whole(writer, state, last=whole)
        except EmptyError:
            return None
        except (InputError, OSError) as error:
            self.trouble = error.message if isinstance(error, InputError) else str(error)
            return None
        finally:
            took = time.monotonic() - began
            rest = 0.0 if self._tail else min(_WHOLE_REST * took, _LONGEST_REST_S)
            self._not_before = began + max(EVERY_S, rest)

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_size, found.st_ino

    def _read_whole(self, writer: Writer, state: tuple[int, int], *, last: bool) -> News | None:
        reading = Reading.of_file(self.path)
        parser = parsers.reader_of(reading, self._known)
        if parser is None:
            return None
        standing = writer.standing_in_folder(self.place, reading.digest, reading.prefix_sha256)
        if not standing.here:
            # Many runs print the same.
            standing = Standing("new")
        # A log may come to look like something else as it grows, and what it says now is right.
        again = standing.kind == "changed" or standing.format not in (None, parser.NAME)
        stream = None
        if not last and reading.size_bytes >= STREAM_BYTES and reading.encoding in _BYTEWISE:
            stream = parsers.stream(parser)
        if stream:
            tail = _Tail(parser, stream, state[1])
            events = tuple(self._pieces(tail, reading.size_bytes))
            # A line too long for a piece is left to the reading of all.
            if tail.size_bytes >= reading.digest.size_bytes:
                self._tail = tail
                head = self._head(parser, _digest_of(tail))
                return News(head, standing, (*events, stream.unparsed), again)
        events = tuple(parsers.read(parser, reading, parsers.Options()))
        return News(self._head(parser, reading.digest, reading.encoding), standing, events, again)

    def _ends_its_last_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _read_on(self, tail: _Tail, writer: Writer, size_bytes: int) -> News | None:
        lines, met = tail.lines, len(tail.starts)
        news = tuple(self._pieces(tail, size_bytes))
        if tail.lines == lines:
            return None
        if self.path.stat().st_size > size_bytes:
            # There is more than one look can take.
            self._seen = None
        standing = Standing("grown", writer.source_at(self.place), lines, tail.parser.NAME, here=True)
        # Runs that were met before are named again, so that they are known.
        events = (*tail.starts[:met], *news, tail.stream.unparsed)
        return News(self._head(tail.parser, _digest_of(tail)), standing, events, again=False, read_on=True)

    def _pieces(self, tail: _Tail, end: int) -> Iterator[Event]:
        """Feed whole lines from where the tail stands up to byte `end`."""
        with self.path.open("rb") as file:
            while tail.size_bytes < end:
                file.seek(tail.size_bytes)
                data = file.read(min(_PIECE_BYTES, end - tail.size_bytes))
                whole = data.rfind(b"\n") + 1
                if not whole:
                    return
                yield from tail.feed(data[:whole])

    def _head(self, parser: parsers.Parser, digest: Digest, encoding: str = "utf-8") -> SourceHead:
        return SourceHead(
            place=self.place,
            digest=digest,
            format=parser.NAME,
            parser_version=parser.VERSION,
            encoding=encoding,
            run_name=self.path.parent.name,
            experiment=None,
            default_experiment="Default",
            params={},
            tags={},
            content=None,
        )


def _digest_of(tail: _Tail) -> Digest:
    return Digest(tail.digest.hexdigest(), tail.size_bytes, tail.lines, None)
