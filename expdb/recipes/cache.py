"""Pictures decoded once: uint8 pixels in one file on disk, mapped into memory, checksummed.

The file is a line of JSON filled up to HEADER_BYTES, then the pixels. It is written beside its place and moved
there whole: who has it open keeps the old one, who comes later sees a complete one, whatever was killed on the way.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    """version: of the layout; made_from: hash of the files' paths, sizes and times; sha256: of the pixels."""

    version: int
    made_from: str
    shape: tuple[int, int, int, int]
    sha256: str


def decoded(paths: Sequence[Path], size: int, folder: Path, threads: int = 0) -> Tensor:
    """The pictures as RGB, each squeezed to size x size: (N, 3, size, size) uint8, memory-mapped, in the paths' order.

    The pixels are those of `Resize((size, size))` on PIL's picture. The cache is rebuilt when a file's size or
    modification time differs, when the list of files does, and when its checksum does not hold, which is said on
    stderr; what is written to the tensor never reaches the disk. threads: that decode, 0 for one per processor.
    Raises RecipeError naming the first picture that cannot be read.
    """
    if not paths:
        raise RecipeError("there are no pictures to decode")
    listed = "\n".join(os.path.abspath(path) for path in paths)
    place = folder / f"{hashlib.sha256(listed.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}-{size}.pixels"
    made_from = _made_from(paths)
    folder.mkdir(parents=True, exist_ok=True)
    found = _opened(place, made_from)
    if found is None:
        with _alone(place) as locked:
            # Another may have written it while this one waited.
            found = _opened(place, made_from) if locked else None
            if found is None:
                _write(place, paths, size, made_from, threads, clean=locked)
                found = _opened(place, made_from)
    if found is None:
        raise RecipeError(f"{place}: what was just written does not read back; is the disk full or failing?")
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


def _opened(place: Path, made_from: str) -> Tensor | None:
    """The pixels, or None where there is no cache, an older one or a damaged one."""
    try:
        with place.open("rb") as file:
            words = json.loads(file.read(HEADER_BYTES))
            header = _Header(words["version"], words["made_from"], tuple(words["shape"]), words["sha256"])
            if header.version != _VERSION or header.made_from != made_from:
                return None
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        _say_damaged(place)
        return None
    if digest.hexdigest() != header.sha256:
        _say_damaged(place)
        return None
    # Mode c: torch wants memory that it may write, the file is to stay as it is.
    return torch.from_numpy(np.memmap(place, np.uint8, "c", HEADER_BYTES, header.shape))


def _say_damaged(place: Path) -> None:
    print(f"{place}: the cache is damaged, its pictures are decoded again", file=sys.stderr)


def _write(place: Path, paths: Sequence[Path], size: int, made_from: str, threads: int, clean: bool) -> None:
    if clean:
        # Left behind by a writer that was killed: the lock is ours, so it is nobody's.
        for left in place.parent.glob(f".{place.name}.*"):
            left.unlink(missing_ok=True)
    beside = place.parent / f".{place.name}.{os.getpid()}"
    digest = hashlib.sha256()
    try:
        with beside.open("wb") as file, ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            file.write(bytes(HEADER_BYTES))
            rest = iter(paths)
            # By parts: a map over all of them would keep every decoded picture until its turn.
            while part := list(islice(rest, 1024)):
                for pixels in pool.map(lambda path: _picture(path, size), part):
                    digest.update(pixels)
                    file.write(pixels)
            header = {
                "version": _VERSION,
                "made_from": made_from,
                "shape": (len(paths), 3, size, size),
                "sha256": digest.hexdigest(),
            }
            file.seek(0)
            file.write(json.dumps(header).encode().ljust(HEADER_BYTES - 1) + b"\n")
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
def _alone(place: Path) -> Iterator[bool]:
    """Wait until no other process writes this cache. False where the file system knows no locks.

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
