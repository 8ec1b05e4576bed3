"""Pictures decoded once: uint8 pixels in one file on disk, mapped into memory, checksummed.

The file is a line of JSON filled up to HEADER_BYTES, then the pixels. It is written beside its place and moved
there whole: who has it open keeps the old one, who comes later sees a complete one, whatever was killed on the way.
"""

import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from expdb.recipes import RecipeError

HEADER_BYTES = 4096
_VERSION = 1
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class _Header:
    """version: of the layout; made_from: hash of the files' paths, sizes and times; shape: of the pixels."""

    version: int
    made_from: str
    shape: tuple[int, int, int, int]

    def digest(self) -> "hashlib._Hash":
        """What the checksum begins with, before it sees the pixels."""
        return hashlib.sha256(json.dumps(asdict(self)).encode())


def decoded(paths: Sequence[Path], size: int, folder: Path, threads: int = 0) -> Tensor:
    """The pictures as RGB, each squeezed to size x size: (N, 3, size, size) uint8, memory-mapped, in the paths' order.

    The pixels are those of `Resize((size, size))` on PIL's picture. The cache is rebuilt when a file's size or
    modification time differs, when the list of files does, and when its checksum does not hold, which is said on
    stderr; what is written to the tensor never reaches the disk. threads: that decode, 0 for one per processor.
    Raises RecipeError naming the first picture that cannot be read.
    """
    if not paths:
        raise RecipeError("there are no pictures to decode")
    absolute = [Path(os.path.abspath(path)) for path in paths]
    listed = hashlib.sha256("\n".join(map(str, absolute)).encode("utf-8", "surrogateescape")).hexdigest()
    place = folder / f"{listed[:16]}-{size}.pixels"
    made_from = _made_from(absolute)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _opened(place, made_from)
        if found is None:
            with alone(place) as locked:
                # Another may have written it while this one waited.
                found = _opened(place, made_from, say=True)
                if found is None:
                    _write(place, absolute, size, made_from, threads, clean=locked)
                    found = _opened(place, made_from, say=True)
    except OSError as error:
        raise RecipeError(f"{folder}: no cache can be kept there: {error.strerror}; --cache names a folder") from error
    if found is None:
        raise RecipeError(f"{place}: what was just written does not read back; is the disk failing?")
    return found


def _made_from(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = path.stat()
        except OSError as error:
            raise RecipeError(f"{path}: {error.strerror}") from error
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _opened(place: Path, made_from: str, *, say: bool = False) -> Tensor | None:
    """The pixels, or None where there is no cache, an older one or a damaged one; say: which it is, if damaged."""
    try:
        with place.open("rb") as file:
            words = json.loads(file.read(HEADER_BYTES))
            header = _Header(words["version"], words["made_from"], tuple(words["shape"]))
            if header.version != _VERSION or header.made_from != made_from:
                return None
            digest = header.digest()
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
            if digest.hexdigest() == words["sha256"]:
                # Of this very file: another may stand in its place by now. Mode c: torch wants memory that it may
                # write, and the file is to stay as it is.
                return torch.from_numpy(np.memmap(file, np.uint8, "c", HEADER_BYTES, header.shape))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass
    if say:
        print(f"{place}: the cache is damaged, its pictures are decoded again", file=sys.stderr)
    return None


def _write(place: Path, paths: Sequence[Path], size: int, made_from: str, threads: int, clean: bool) -> None:
    if clean:
        # Left behind by a writer that was killed: the lock is ours, so it is nobody's.
        for left in place.parent.glob(f".{place.name}.*"):
            left.unlink(missing_ok=True)
    beside = place.parent / f".{place.name}.{secrets.token_hex(4)}"
    header = _Header(_VERSION, made_from, (len(paths), 3, size, size))
    digest = header.digest()
    try:
        with beside.open("wb") as file, ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            file.write(bytes(HEADER_BYTES))
            rest = iter(paths)
            # By parts: a map over all of them would keep every decoded picture until its turn.
            while part := list(islice(rest, 1024)):
                for pixels in pool.map(lambda path: _picture(path, size), part):
                    digest.update(pixels)
                    file.write(pixels)
            file.seek(0)
            words = {**asdict(header), "sha256": digest.hexdigest()}
            file.write(json.dumps(words).encode().ljust(HEADER_BYTES - 1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _picture(path: Path, size: int) -> bytes:
    """(3, size, size) uint8."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RecipeError(f"{path}: no picture that can be read: {error}") from error
    return np.asarray(small).transpose(2, 0, 1).tobytes()


@contextlib.contextmanager
def alone(place: Path) -> Iterator[bool]:
    """Wait until no other process is at work on this place. False where the file system knows no locks.

    Without a lock two writers do the same work twice, and the later one's equal file stays.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with place.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        # The kernel opens the lock when the process dies, however it dies.
        yield True
