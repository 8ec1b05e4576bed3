"""Where sources lie, as the database remembers it: movable with the project, and safe for any file name."""

import os
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote_to_bytes

STDIN = "-"
_BYTES = "bytes:"
# `runs/expdb.db` beside `logs/`: the project is the folder above the database's.
_UPWARD = 2


def stored(path: Path, database: Path) -> str:
    """A path as text: relative to the database's folder within its project, absolute elsewhere."""
    full = Path(os.path.abspath(path))
    folder = Path(os.path.abspath(database)).parent
    try:
        relative = Path(os.path.relpath(full, folder))
    except ValueError:
        # Another drive of Windows.
        relative = full
    text = (full if relative.parts[: _UPWARD + 1] == ("..",) * (_UPWARD + 1) else relative).as_posix()
    try:
        text.encode()
    except UnicodeEncodeError:
        # Linux takes any bytes as a name; a database takes text.
        return _BYTES + quote(os.fsencode(text))
    return f"./{text}" if text.startswith((_BYTES, STDIN)) else text


def located(place: str, database: Path) -> Path:
    """The path that was stored, made absolute."""
    text = os.fsdecode(unquote_to_bytes(place[len(_BYTES) :])) if place.startswith(_BYTES) else place
    return Path(os.path.abspath(database)).parent / PurePosixPath(text)


def readable(path: str) -> str:
    """A file name as text: bytes that are no UTF-8 are read as GB 18030, what Chinese Windows writes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("gb18030", "replace")
    return path
