"""Files that are there whole or not at all: written beside their place, then moved there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Where a file is written before it takes its place; what is left there when the block ends is removed.

    Its name is short, for the target's may be as long as names can be. For one file of a folder at a time.
    """
    partial = target.with_name(f".expdb-{os.getpid()}.partial")
    try:
        yield partial
    finally:
        # Where its folder is none, looking for it fails, too.
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def place(partial: Path, target: Path) -> None:
    """Give a finished file a name that is free. Raises FileExistsError where another took the name meanwhile."""
    try:
        # Unlike a rename, this leaves what another process has put there.
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        partial.rename(target)
