"""Records in a binary file, as TFRecord frames them: a length and its checksum, then data and its checksum.

All numbers are little-endian; a checksum is CRC-32C, masked as
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details says. TensorBoard's event files
are framed like this. Where a header's checksum is wrong, nothing behind it can be found any more.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

HEADER_BYTES = 12
_TRAILER_BYTES = 4
_PIECE_BYTES = 4 << 20
# The first field of an event is its time: number 1, eight bytes wide.
_EVENT_BEGINS = b"\x09"


def _table() -> tuple[int, ...]:
    out = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
        out.append(crc)
    return tuple(out)


_TABLE = _table()


def checksum(data: bytes) -> int:
    """The masked CRC-32C of the data."""
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=4096)
def _length(header: bytes) -> int | None:
    """The length a header states; None where its checksum is wrong. Cached: most records are of few lengths."""
    length: int = struct.unpack_from("<Q", header)[0]
    return length if struct.unpack_from("<I", header, 8)[0] == checksum(header[:8]) else None


def is_framed(head: bytes) -> bool:
    """Whether a file that begins like this holds framed records."""
    return len(head) >= HEADER_BYTES and _length(head[:HEADER_BYTES]) is not None


def is_event_file(head: bytes) -> bool:
    """Whether the framed records are TensorBoard's events, by how the first one begins."""
    return head[HEADER_BYTES : HEADER_BYTES + 1] == _EVENT_BEGINS and is_framed(head)


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record. end: the byte behind it; stated: the checksum that stands behind the data."""

    data: bytes
    end: int
    stated: int

    @property
    def is_sound(self) -> bool:
        """Whether the data are what was written."""
        return checksum(self.data) == self.stated


@dataclass(slots=True)
class Frames:
    """The records of a file in order, read once. count, end: of the whole records met so far, when asked.

    damage: what is wrong behind the last whole record, None where nothing is.
    """

    file: BinaryIO
    size_bytes: int
    count: int = 0
    end: int = 0
    damage: str | None = None

    def __iter__(self) -> Iterator[Record]:
        held, at, left = b"", 0, self.size_bytes
        while True:
            # A record is whole, or as much more is read as it needs.
            wanted = HEADER_BYTES
            if len(held) - at >= HEADER_BYTES:
                length = _length(held[at : at + HEADER_BYTES])
                if length is None:
                    self.damage = f"damaged at byte {self.end}"
                    return
                wanted = HEADER_BYTES + length + _TRAILER_BYTES
                if len(held) - at >= wanted:
                    data = held[at + HEADER_BYTES : at + wanted - _TRAILER_BYTES]
                    stated: int = struct.unpack_from("<I", held, at + wanted - _TRAILER_BYTES)[0]
                    at += wanted
                    self.end += wanted
                    self.count += 1
                    yield Record(data, self.end, stated)
                    continue
            if wanted > len(held) - at + left:
                self.damage = "cut off within a record" if left or at < len(held) else None
                return
            pieces, at = [held[at:]], 0
            have = len(pieces[0])
            while have < wanted and (piece := self.file.read(min(max(_PIECE_BYTES, wanted - have), left))):
                pieces.append(piece)
                have += len(piece)
                left -= len(piece)
            held = b"".join(pieces)
            if have < wanted:
                # Shorter than when it was opened.
                left = 0
