"""The database as a command finds it: opened, made, or brought up to what nobody follows."""

from typing import TYPE_CHECKING, Any

from expdb.errors import NotFoundError

if TYPE_CHECKING:
    from expdb.address import Address


class _NoDatabase:
    """A dry run without a database to compare with."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def database_at(path: "Address", mode: str = "read") -> Any:  # a context manager of Database, or of None for a dry run
    from expdb.store.opening import exists, open_database

    if mode == "dry-run" and not exists(path):
        return _NoDatabase()
    return open_database(path, write=mode == "write", create=mode == "create")


def current(path: "Address") -> Any:  # a context manager of Database
    """The database, brought up to launched runs that no process follows; made for those that it came too late for."""
    from expdb.runners.folder import root_of
    from expdb.store import launched

    root = root_of(path)
    try:
        database = database_at(path)
        is_behind = bool(launched.unsettled_here(database, root) or launched.strays(database, root))
    except NotFoundError:
        if not launched.strays(None, root):
            raise
        database, is_behind = None, True
    if is_behind:
        from expdb import live

        live.adopt(path)
    return database or database_at(path)
