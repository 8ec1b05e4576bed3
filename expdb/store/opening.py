"""Which database is meant by an address: a file of SQLite's, or PostgreSQL by its URL."""

from collections.abc import Callable
from pathlib import Path

from expdb.store.database import Database


def open_database(
    address: str | Path, *, write: bool = False, create: bool = False, warn: Callable[[str], None] | None = None
) -> Database:
    """The database there. create: made first where there is none, and open for writing.

    Raises NotFoundError where there is none to open, DatabaseError where it cannot be opened.
    """
    path = Path(address)
    return Database.create(path, warn) if create else Database(path, write=write, warn=warn)
