"""Which database is meant by an address: a file of SQLite's, or PostgreSQL by its URL. The only door to either."""

import os
from collections.abc import Callable

from expdb import settings
from expdb.address import Address, Server
from expdb.errors import NotFoundError
from expdb.store.database import Database


def open_database(
    address: str | Address, *, write: bool = False, create: bool = False, warn: Callable[[str], None] | None = None
) -> Database:
    """The database there. create: made first where there is none, and open for writing. warn: takes what is no error.

    Raises NotFoundError where there is none to open, DatabaseError where it cannot be opened, MissingExtraError for a
    server's without psycopg.
    """
    named = settings.database_path(address) if isinstance(address, str) else address
    if isinstance(named, Server):
        from expdb.store.postgres import PostgresDatabase

        return PostgresDatabase.create(named, warn) if create else PostgresDatabase(named, write=write, warn=warn)
    from expdb.store.sqlite import SqliteDatabase

    return SqliteDatabase.create(named, warn) if create else SqliteDatabase(named, write=write, warn=warn)


def exists(address: Address) -> bool:
    """Whether there is a database of expdb's at a server's address, or any file at a path."""
    if not isinstance(address, Server):
        return os.path.exists(address)  # noqa: PTH110  # a closed folder is no error here
    try:
        open_database(address).close()
    except NotFoundError:
        return False
    return True
