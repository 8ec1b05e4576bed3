"""Where sources lie, as the database remembers it: movable with the project, and safe for any file name."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote_to_bytes

from expdb.address import Address, Server

STDIN = "-"
_BYTES = "bytes:"
_PIECE_BYTES = 1 << 20
# `runs/expdb.db` beside `logs/`: the project is the folder above the database's.
_FAR = os.path.join("..", "..", "..")


def stored(path: Path, database: Address) -> str:
    """A path as text: relative to the database's folder within its project, absolute elsewhere; for a database on a
    server, which is nowhere among the files, always absolute."""
    # Strings, not Paths: this is done for every file of a folder.
    if isinstance(database, Server):
        text = os.path.abspath(path)
    else:
        folder, name = os.path.split(os.path.abspath(path))
        text = os.path.join(_relative(folder, os.path.split(os.path.abspath(database))[0]), name)
    text = text.replace(os.sep, "/") if os.sep != "/" else text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Linux takes any bytes as a name; a database takes text.
        return _BYTES + quote(os.fsencode(text))
    return f"./{text}" if text.startswith((_BYTES, STDIN)) else text


@lru_cache(maxsize=256)
def _relative(folder: str, start: str) -> str:
    """A folder as `stored` writes it, "" where it is the start; both are absolute."""
    try:
        text = os.path.relpath(folder, start)
    except ValueError:
        # Another drive of Windows.
        return folder
    return "" if text == os.curdir else folder if text.startswith(_FAR) else text


def located(place: str, database: Address) -> Path:
    """The path that was stored, made absolute."""
    text = os.fsdecode(unquote_to_bytes(place[len(_BYTES) :])) if place.startswith(_BYTES) else place
    # Back by the words, as they were made: a folder that is a link has another `..` on the disk.
    folder = Path("/") if isinstance(database, Server) else Path(os.path.abspath(database)).parent
    return Path(os.path.normpath(folder / PurePosixPath(text)))


def still_begins(path: Path, sha256: str, size_bytes: int) -> bool | None:
    """Whether the file's first bytes have that digest; None where it is gone. Raises OSError where it is closed."""
    # A pipe in its place would never end, nor even open.
    if not path.is_file():
        return None
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size_bytes and (piece := file.read(min(_PIECE_BYTES, size_bytes))):
            found.update(piece)
            size_bytes -= len(piece)
    return not size_bytes and found.hexdigest() == sha256


def readable(path: str) -> str:
    """A file name as text: bytes that are no UTF-8 are read as GB 18030, what Chinese Windows writes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("gb18030", "replace")
    return path
