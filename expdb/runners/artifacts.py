"""Files and folders that are copied into a run's folder: whole, or not at all."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path


def keep(source: Path, place: Path, beside: Path) -> None:
    """Copy a file or a folder to a place; what stood there is replaced, and at no time is a part of it to be seen.

    beside: a folder of the same disk, where the copy is made. Raises OSError, and leaves nothing behind.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = beside / f".{uuid.uuid4().hex}.partial"
    try:
        if source.is_dir():
            shutil.copytree(source, partial)
        else:
            _copy_file(source, partial)
        _replace(partial, place)
    finally:
        _remove(partial)


def _copy_file(source: Path, target: Path) -> None:
    # A pipe would never end.
    if source.exists() and not source.is_file():
        raise OSError(0, "it is neither a file nor a folder")
    shutil.copy2(source, target)


def _replace(partial: Path, place: Path) -> None:
    """Put the partial in its place, whole, whatever is there."""
    if not place.is_dir() and not partial.is_dir():
        partial.replace(place)
        return
    old = partial.with_suffix(".old")
    if place.exists():
        place.rename(old)
    try:
        partial.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    finally:
        _remove(old)


def _remove(path: Path) -> None:
    remove: Callable[[Path], object] = shutil.rmtree if path.is_dir() else Path.unlink
    if path.exists():
        remove(path)


def reason(error: OSError) -> str:
    """Why it failed, as a person is told."""
    # Of a folder's files shutil tells (source, target, why) in a list.
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(f"{one[0]}: {one[2]}" for one in error.args[0][:3])
    return error.strerror or str(error)
