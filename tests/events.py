"""Event files for the tests, written as TensorBoard's writers do."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event

from expdb.parsers.framing import checksum

# Another second for every file, as writers name them.
START = 1_600_000_000.0


def framed(data: bytes) -> bytes:
    """A record."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", checksum(length)) + data + struct.pack("<I", checksum(data))


def version(time: float = START) -> bytes:
    """The record every event file begins with."""
    return framed(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())


def summary(step: int, time: float | None = None) -> tuple[Any, Any]:  # the messages have no types
    """(event, its first value), to be filled in."""
    event = Event(wall_time=START + step if time is None else time, step=step)
    return event, event.summary.value.add()


def scalar(tag: str, step: int, value: float, time: float | None = None) -> bytes:
    """A record with one number, as PyTorch writes it."""
    event, one = summary(step, time)
    one.tag, one.simple_value = tag, value
    return framed(event.SerializeToString())


def histogram(tag: str, step: int) -> bytes:
    """A record with a histogram."""
    event, one = summary(step)
    one.tag = tag
    one.histo.num = 3
    return framed(event.SerializeToString())


def write(path: Path, points: Iterable[tuple[str, int, float]] = (), time: float = START) -> Path:
    """An event file of (tag, step, value), its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(version(time) + b"".join(scalar(tag, step, value, time + step) for tag, step, value in points))
    return path


def series(tag: str, count: int = 5, start: float = 1.0, first: int = 1) -> list[tuple[str, int, float]]:
    """A falling curve; what float32 cannot hold exactly is among its values."""
    return [(tag, step, start / (step + 0.7)) for step in range(first, first + count)]
