"""A file as text: encoding, blocks cut at line ends, and the digest that says whether it grew or changed."""

import hashlib
import io
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from expdb.errors import InputError
from expdb.parsers.encoding import LINE_FEEDS, encoding_of
from expdb.parsers.framing import Frames, is_event_file, is_framed

# What stands for the encoding of files that hold records, not text.
BINARY = "binary"
SAMPLE_BYTES = 1 << 16
BLOCK_BYTES = 4 << 20
# Up to this size a file is read once and kept; beyond it every pass reads the file again.
KEEP_BYTES = 16 << 20
LINE_LIMIT_BYTES = 1 << 20

_MAGIC = (
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "an archive or checkpoint"),
    (b"\x1f\x8b", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"\xfd7zXZ", "a compressed file"),
    (b"(\xb5/\xfd", "a compressed file"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program"),
    (b"\x80\x02", "a pickle or checkpoint"),
    (b"\x80\x03", "a pickle or checkpoint"),
    (b"\x80\x04", "a pickle or checkpoint"),
    (b"\x80\x05", "a pickle or checkpoint"),
)
_EVENTS = "TensorBoard's event file"


class NotTextError(InputError):
    """The file is binary. kind: what its first bytes say it is, None where they say nothing."""

    def __init__(self, path: str, kind: str | None) -> None:
        super().__init__(f"not a text file{f': it is {kind}' if kind else ''}; nothing was read", path=path)
        self.kind = kind


class EmptyError(InputError):
    """The file has no bytes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The first lines of a file. whole: they are all of it; fits: the file is small enough to be read as a page.

    head: of a file of records its first bytes, and the text is empty; of a text nothing.
    """

    text: str
    whole: bool
    name: str
    fits: bool = True
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file. line: number of the first one."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Digest:
    """What was taken in: size_bytes, line_count and sha256 end at the last line feed, or the last whole record.

    tail_sha256: of all bytes, where an unterminated line follows; None where none does.
    """

    sha256: str
    size_bytes: int
    line_count: int
    tail_sha256: str | None


class Reading:
    """One source, opened as often as needed. path: as the person gave it, for messages.

    Raises InputError where the file cannot be opened, is empty or is not text.
    """

    def __init__(self, path: str, reopen: Callable[[], BinaryIO]) -> None:
        self.path = path
        self.overlong: list[int] = []
        self._reopen = reopen
        try:
            with reopen() as file:
                # Fixed now: a log that grows while it is read is taken in up to here.
                self.size_bytes = file.seek(0, io.SEEK_END)
                file.seek(0)
                head = file.read(min(self.size_bytes, KEEP_BYTES))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
        if not head:
            raise EmptyError("empty: there is nothing to read", path=path)
        self._raw = head if self.size_bytes <= KEEP_BYTES else None
        self._head = head[: SAMPLE_BYTES + 1]
        self.encoding = BINARY if _holds_records(self._head, path) else _encoding_of(head, path)
        self._newline = LINE_FEEDS.get(self.encoding, b"\n")

    @classmethod
    def of_file(cls, path: Path) -> "Reading":
        """The file at path."""
        return cls(os.fspath(path), lambda: path.open("rb", buffering=0))

    @classmethod
    def of_bytes(cls, data: bytes, path: str) -> "Reading":
        """Bytes at hand, called path in messages."""
        return cls(path, lambda: io.BytesIO(data))

    @classmethod
    def of_stream(cls, stream: BinaryIO, path: str) -> "Reading":
        """A pipe: read once into a temporary file, so that passes can be repeated."""
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the reading does
        while piece := stream.read(BLOCK_BYTES):
            spool.write(piece)

        def reopen() -> BinaryIO:
            spool.seek(0)
            return _Kept(spool)

        reading = cls(path, reopen)
        weakref.finalize(reading, spool.close)
        return reading

    @cached_property
    def sample(self) -> Sample:
        """The first lines, up to 64 KB."""
        whole = self.size_bytes <= SAMPLE_BYTES
        if self.is_binary:
            return Sample("", whole, Path(self.path).name, fits=False, head=self._head)
        head = self._head if whole else self._head[: self._cut(self._head) or SAMPLE_BYTES]
        return Sample(self._decode(head), whole, Path(self.path).name, self._raw is not None)

    @cached_property
    def text(self) -> str:
        """All of it, for sources that are small (raises InputError above 16 MB, and where it is no text)."""
        if self.is_binary:
            raise NotTextError(self.path, _EVENTS)
        if self._raw is None:
            raise InputError(
                "too large to be read as a page (16 MB)", path=self.path, hint="a log of single lines: --as log"
            )
        return self._decode(self._raw)

    @property
    def name(self) -> str:
        """The file's name without its folder and suffix."""
        return Path(self.path).stem

    @property
    def is_binary(self) -> bool:
        """Whether it holds records instead of lines; they are numbered as lines are."""
        return self.encoding == BINARY

    @contextmanager
    def records(self) -> Iterator[Frames]:
        """The records of a binary file, up to where it ended when it was opened."""
        with self._reopen() if self._raw is None else io.BytesIO(self._raw) as file:
            yield Frames(file, self.size_bytes)

    @property
    def is_small(self) -> bool:
        """Whether `text` and `raw` are at hand."""
        return self._raw is not None

    @property
    def raw(self) -> bytes | None:
        """The bytes, for sources that are small."""
        return self._raw

    def blocks(self) -> Iterator[Block]:
        """The lines in order, in blocks of a few megabytes.

        A line of more than 1 MB comes as an empty one; its number goes into `overlong`. Raises NotTextError where
        the file holds records.
        """
        if self.is_binary:
            raise NotTextError(self.path, _EVENTS)
        self.overlong.clear()
        if self._raw is not None and len(self._raw) <= BLOCK_BYTES:
            yield from self._blocks_of(self._raw, 1)
            return
        line, rest, seen = 1, b"", hashlib.sha256()
        # What was digested is what is read, though the file may have changed since.
        with self._reopen() if self._raw is None else io.BytesIO(self._raw) as file:
            left = self.size_bytes
            while left > 0 and (piece := file.read(min(BLOCK_BYTES, left))):
                left -= len(piece)
                seen.update(piece)
                rest += piece
                cut = self._cut(rest)
                if cut:
                    for block in self._blocks_of(rest[:cut], line):
                        yield block
                        line += block.text.count("\n")
                    rest = rest[cut:]
                if len(rest) > LINE_LIMIT_BYTES:
                    self.overlong.append(line)
                    rest, left = self._after_line(file, left, rest, seen.update)
                    yield Block(line, "\n")
                    line += 1
        if rest:
            yield from self._blocks_of(rest, line)
        if self._raw is None and seen.hexdigest() != (self.digest.tail_sha256 or self.digest.sha256):
            raise InputError(
                "changed while it was read; nothing of it was stored", path=self.path, hint="ingest it again"
            )

    def _blocks_of(self, data: bytes, line: int) -> Iterator[Block]:
        """The block of data, its overlong lines blanked."""
        text = self._decode(data)
        if len(text) > LINE_LIMIT_BYTES:
            lines = text.split("\n")
            longest = [at for at, one in enumerate(lines) if len(one) > LINE_LIMIT_BYTES]
            if longest:
                self.overlong += [line + at for at in longest]
                for at in longest:
                    lines[at] = ""
                text = "\n".join(lines)
        yield Block(line, text)

    def _after_line(self, file: BinaryIO, left: int, rest: bytes, seen: Callable[[bytes], object]) -> tuple[bytes, int]:
        """Skip to the next line feed; what was read behind it, and the bytes left. seen: told of every piece."""
        width = len(self._newline)
        while left > 0 and (piece := file.read(min(BLOCK_BYTES, left))):
            left -= len(piece)
            seen(piece)
            # Half a character may have been read before.
            rest = rest[len(rest) - len(rest) % width :] + piece
            at = rest.find(self._newline)
            while at > 0 and at % width:
                at = rest.find(self._newline, at + 1)
            if at >= 0:
                return rest[at + width :], left
        return b"", 0

    @cached_property
    def digest(self) -> Digest:
        """Of the bytes that were there when the file was opened."""
        if self.is_binary:
            return self._digest_of_records()
        if self._raw is not None and self._cut(self._raw) == self.size_bytes:
            return Digest(hashlib.sha256(self._raw).hexdigest(), self.size_bytes, self._line_feeds(self._raw), None)
        return self._digest(self.size_bytes)

    def prefix_sha256(self, size_bytes: int) -> str | None:
        """SHA-256 of the first bytes, None where the file is shorter."""
        if size_bytes > self.size_bytes:
            return None
        if self._raw is not None:
            return hashlib.sha256(self._raw[:size_bytes]).hexdigest()
        return self._digest(size_bytes, whole=True).sha256

    def _digest(self, size_bytes: int, *, whole: bool = False) -> Digest:
        done, tail, lines, taken = hashlib.sha256(), hashlib.sha256(), 0, 0
        tail_bytes = 0
        for piece in self._pieces(size_bytes):
            cut = len(piece) if whole else self._cut(piece)
            if cut:
                if tail_bytes:
                    # The tail so far turns out to belong to a line that ends here.
                    done, tail = tail, hashlib.sha256()
                done.update(piece[:cut])
                taken += tail_bytes + cut
                tail = done.copy()
                tail_bytes = 0
                lines += self._line_feeds(piece)
            if cut < len(piece):
                tail = tail if tail_bytes else done.copy()
                tail.update(piece[cut:])
                tail_bytes += len(piece) - cut
        return Digest(done.hexdigest(), taken, lines, tail.hexdigest() if tail_bytes else None)

    def _digest_of_records(self) -> Digest:
        with self.records() as frames:
            # Only where they end is wanted.
            for _ in frames:
                pass
        done = self._digest(frames.end, whole=True)
        tail = None if frames.end == self.size_bytes else self._digest(self.size_bytes, whole=True).sha256
        return Digest(done.sha256, frames.end, frames.count, tail)

    def _pieces(self, size_bytes: int) -> Iterator[bytes]:
        if self._raw is not None:
            yield self._raw[:size_bytes]
            return
        with self._reopen() as file:
            while size_bytes > 0 and (piece := file.read(min(BLOCK_BYTES, size_bytes))):
                size_bytes -= len(piece)
                yield piece

    def _line_feeds(self, data: bytes) -> int:
        # In UTF-16 the bytes of a line feed may also lie across two characters.
        return data.count(b"\n") if len(self._newline) == 1 else self._decode(data).count("\n")

    def _cut(self, data: bytes) -> int:
        """Where the last whole line of data ends; 0 where there is none."""
        at = data.rfind(self._newline)
        width = len(self._newline)
        # In UTF-16 the two bytes may straddle two characters.
        while at > 0 and at % width:
            at = data.rfind(self._newline, 0, at + width - 1)
        return at + width if at >= 0 else 0

    def _decode(self, data: bytes) -> str:
        text = data.decode("utf-8" if self.encoding == "utf-8-sig" else self.encoding, "replace")
        # Logs joined by a shell carry a mark at every seam.
        return text.replace("\ufeff", "")


class _Kept(io.BytesIO):
    """A view of a spooled stream whose closing leaves the spool open."""

    def __init__(self, spool: BinaryIO) -> None:
        super().__init__()
        self._spool = spool

    def read(self, size: int | None = -1, /) -> bytes:
        return self._spool.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._spool.seek(offset, whence)

    def tell(self) -> int:
        return self._spool.tell()


def _holds_records(head: bytes, path: str) -> bool:
    """Whether a file that begins like this is an event file. Raises NotTextError for other framed records."""
    if not is_framed(head):
        return False
    if not is_event_file(head):
        raise NotTextError(path, "a file of TFRecord data")
    return True


def _encoding_of(head: bytes, path: str) -> str:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise NotTextError(path, kind)
    encoding = encoding_of(head, SAMPLE_BYTES + 1)
    if encoding is None:
        raise NotTextError(path, None)
    return encoding
