"""One SQLite database: opened, created, locked and closed; every failure comes out as a DatabaseError."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from expdb.errors import DatabaseError, NotFoundError, UsageError

SCHEMA_VERSION = 1
BUSY_S = 5.0
Value = str | int | float | bytes | None
Row = tuple[Any, ...]  # a row's types stand in the statement beside it

_NETWORK = ("nfs", "cifs", "smb", "sshfs", "fuse.sshfs", "9p", "lustre", "glusterfs", "ceph", "beegfs", "gpfs")


class Database:
    """An open database. write: it may be changed. warn: where a message goes that is no error."""

    def __init__(self, path: Path, *, write: bool = False, warn: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.write = write
        self._warn = warn or _to_stderr
        if not path.exists():
            raise NotFoundError(f"there is no database at {path}", hint="expdb ingest PATH... makes one")
        self.connection = self._connect()
        try:
            self._check_version()
        except BaseException:
            self.connection.close()
            raise

    @classmethod
    def create(cls, path: Path, warn: Callable[[str], None] | None = None) -> Self:
        """Open the database for writing; make it first where there is none. Safe when two processes do it at once."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.stat().st_size == 0:
                _create(path, warn or _to_stderr)
        except sqlite3.Error as error:
            raise _translated(error, path) from error
        except OSError as error:
            raise DatabaseError(f"no database can be made at {path}: {error.strerror or error}") from error
        return cls(path, write=True, warn=warn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self.connection.close()

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that happen whole or not at all. Waits, saying so, while another process writes."""
        self._begin()
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _translated(error, self.path) from error
            raise

    def _begin(self) -> None:
        said = False
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise _translated(error, self.path) from error
                if not said:
                    self._warn(f"waiting: another process is writing to {self.path}")
                    said = True

    def changed_elsewhere(self) -> int:
        """A number that differs after another connection has changed the database."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        last: sqlite3.Error | None = None
        # A reader of a database in a folder it may not write to cannot share memory with writers.
        for query in ("mode=rw",) if self.write else ("mode=ro", "mode=ro&immutable=1"):
            try:
                connection = _open(self.path, query)
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return connection
            except sqlite3.Error as error:
                last = error
        assert last is not None
        raise _translated(last, self.path) from last

    def _check_version(self) -> None:
        tables = {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "meta" not in tables or "metric" not in tables:
            what = "is empty" if not tables else "is a SQLite database of another program"
            raise DatabaseError(f"{self.path} {what}", hint="expdb ingest PATH... --db NEW.db makes one of expdb's own")
        version = int(self.rows("SELECT value FROM meta WHERE key = 'schema_version'")[0][0])
        if version > SCHEMA_VERSION:
            raise DatabaseError(
                f"{self.path} was written by a newer expdb (schema {version}, this one knows {SCHEMA_VERSION})",
                hint="pip install --upgrade expdb",
            )
        if version < SCHEMA_VERSION:
            raise DatabaseError(
                f"{self.path} was written by an older expdb (schema {version}, this one needs {SCHEMA_VERSION})",
                hint="keep the file, and ingest its logs into a new database",
            )


class ReadOnlySql:
    """One statement of the person's own, which can read this database and do nothing else."""

    _ALLOWED = frozenset(
        (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    )

    def __init__(self, database: Database, sql: str) -> None:
        connection = database.connection
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(self._judge)
        # Without a callback Ctrl-C waits for the statement's end.
        connection.set_progress_handler(lambda: 0, 100_000)
        self._path = database.path
        try:
            self._cursor = connection.execute(sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _refused(error) from error
        except UnicodeEncodeError as error:
            raise UsageError("the statement is not valid text") from error
        self.columns = tuple(column[0] for column in self._cursor.description or ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cursor.close()

    def rows(self) -> list[Row]:
        """Every row. Raises UsageError where the statement fails half-way."""
        try:
            return self._cursor.fetchall()
        except sqlite3.Error as error:
            raise _refused(error) from error

    def _judge(self, action: int, first: str | None, *_: str | None) -> int:
        if action in self._ALLOWED:
            # load_extension and its like would reach outside the database.
            return sqlite3.SQLITE_OK
        # A table's columns may be asked for, nothing may be set.
        asks = action == sqlite3.SQLITE_PRAGMA and first in ("table_info", "table_list", "table_xinfo", "index_list")
        return sqlite3.SQLITE_OK if asks else sqlite3.SQLITE_DENY


def _refused(error: Exception) -> UsageError:
    text = str(error)
    if "not authorized" in text or "readonly" in text:
        return UsageError("only reading is allowed here", hint="expdb edit, rm and restore change runs")
    hint = "tables and views: docs/schema.md, or SELECT name FROM sqlite_master" if "no such" in text else None
    return UsageError(f"SQLite says: {text}", hint=hint)


def _open(path: Path, query: str) -> sqlite3.Connection:
    # A URI takes any file name: its bytes are percent-encoded.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{query}", uri=True, isolation_level=None, timeout=BUSY_S, cached_statements=256
    )


def _create(path: Path, warn: Callable[[str], None]) -> None:
    from expdb.store.schema import statements

    connection = _open(path, "mode=rwc")
    try:
        if on_network(path):
            warn(f"{path} is on a network file system: one process at a time should write to it")
        else:
            # The mode is kept in the file. Two creators may meet here; the winner's choice is the same.
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError:
                if not path.stat().st_size:
                    raise
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            for statement in statements("sqlite"):
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        connection.close()


def on_network(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether the file lies on a network file system, where WAL is unsafe. False where nobody can say."""
    try:
        table = [line.split()[1:3] for line in mounts.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return False
    target = os.path.realpath(path)
    best = max(
        ((point.rstrip("/"), kind) for point, kind in table if f"{target}/".startswith(f"{point.rstrip('/')}/")),
        key=lambda mount: len(mount[0]),
        default=("", ""),
    )
    return best[1].startswith(_NETWORK)


def _translated(error: sqlite3.Error, path: Path) -> DatabaseError:
    """What happened, in words a person can act on."""
    text = str(error)
    if "not a database" in text or "malformed" in text:
        hint = "restore a copy made by: expdb db backup"
        what = "is damaged" if "malformed" in text else "is not a SQLite database"
        return DatabaseError(f"{path} {what}", hint=hint if "malformed" in text else "name another file: --db FILE")
    if "full" in text:
        return DatabaseError(
            f"{path}: no room left; nothing of this step was stored", hint="free some space, then repeat"
        )
    if "readonly" in text or "unable to open" in text:
        return DatabaseError(
            f"{path} cannot be opened for this: {text}", hint="check the permissions of file and folder"
        )
    if "locked" in text:
        return DatabaseError(f"{path} is locked by another process", hint="wait for it to end, then repeat")
    return DatabaseError(f"{path}: SQLite says: {text}")


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)
