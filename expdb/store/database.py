"""One SQLite database: opened, created, locked and closed; every failure comes out as a DatabaseError."""

import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from expdb.errors import DatabaseError, NotFoundError, OutdatedError, UsageError

SCHEMA_VERSION = 2
# Alembic's own, under a name that no other program's migrations in the same database have.
VERSION_TABLE = "schema_revision"
BUSY_S = 5.0
# A blank file stays blank for this long where its creator has been kept waiting.
_BLANK_S = 0.3
# Of a writer: room for the pages that a batch of ingest changes, and for the indexes it looks into at random.
_CACHE_BYTES = 32 << 20
# Pages in the log of changes before they are taken over: less often than each batch would.
_CHECKPOINT_PAGES = 4000
_RESTORE = "restore a copy made by: expdb db backup"
Value = str | int | float | bytes | None
Row = tuple[Any, ...]  # a row's types stand in the statement beside it

_NETWORK = ("nfs", "cifs", "smb", "sshfs", "fuse.sshfs", "9p", "lustre", "glusterfs", "ceph", "beegfs", "gpfs")


class Database:
    """An open database. write: it may be changed. warn: where a message goes that is no error."""

    def __init__(self, path: Path, *, write: bool = False, warn: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.write = write
        self._warn = warn or _to_stderr
        try:
            there = path.exists()
        except OSError as error:
            raise DatabaseError(f"{path} cannot be opened: {error.strerror or error}") from error
        if not there:
            raise NotFoundError(
                f"there is no database at {path}", hint="expdb ingest PATH... or expdb run -- COMMAND makes one"
            )
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
            if not path.exists() or _is_blank(path):
                if on_network(path):
                    (warn or _to_stderr)(
                        f"{path} is on a network file system: one process at a time should write to it"
                    )
                _create(path)
        except sqlite3.Error as error:
            raise translated(error, path) from error
        except OSError as error:
            raise DatabaseError(f"no database can be made at {path}: {error.strerror or error}") from error
        database = cls(path, write=True, warn=warn)
        database._use_wal()
        return database

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
            raise translated(error, self.path) from error
        except UnicodeEncodeError as error:
            raise _no_text(error) from error
        except OverflowError as error:
            raise UsageError("a number is asked for that is larger than any stored here") from error

    @contextmanager
    def view(self) -> Iterator[None]:
        """Several queries that see one state, whatever other processes commit meanwhile."""
        inside = self.connection.in_transaction
        if inside:
            yield
            return
        self.rows("BEGIN")
        try:
            yield
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

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
                raise translated(error, self.path) from error
            if isinstance(error, UnicodeEncodeError):
                raise _no_text(error) from error
            raise

    def _begin(self) -> None:
        said = False
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise translated(error, self.path) from error
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
                connection = opened(self.path, query)
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if self.write:
                    connection.execute(f"PRAGMA cache_size = -{_CACHE_BYTES >> 10}")
                    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
                return connection
            except sqlite3.Error as error:
                last = error
                # Locked is not read-only: what a writer holds must not be read as if nobody wrote.
                if not _is_closed_to_us(error):
                    break
                if not self.write and (beside := _unmerged(self.path)):
                    raise DatabaseError(
                        f"{self.path}: what {beside.name} holds cannot be read in a folder closed to us",
                        hint="open the database once where its folder may be written to",
                    ) from error
        assert last is not None
        raise translated(last, self.path) from last

    def _use_wal(self) -> None:
        """Let readers and a writer work at once. The mode is kept in the file; a network file system forbids it."""
        if self.rows("PRAGMA journal_mode")[0][0] == "wal" or on_network(self.path):
            return
        until = time.monotonic() + BUSY_S
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                # SQLite does not wait here by itself. Whoever opens the database next tries again.
                if not _is_busy(error) or time.monotonic() > until:
                    return
                time.sleep(0.01)

    def _check_version(self) -> None:
        tables = self._tables()
        if not tables and self._is_being_made():
            tables = self._tables()
        if "meta" not in tables or "metric" not in tables:
            what = "is empty" if not tables else "is a SQLite database of another program"
            raise DatabaseError(f"{self.path} {what}", hint="expdb ingest PATH... --db NEW.db makes one of expdb's own")
        found = self.rows("SELECT value FROM meta WHERE key = 'schema_version'")
        if not found or not str(found[0][0]).isdecimal():
            raise DatabaseError(f"{self.path} does not say its schema's version", hint=_RESTORE)
        check_version(int(found[0][0]), str(self.path))

    def _tables(self) -> set[str]:
        return {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def _is_being_made(self) -> bool:
        """Whether another process is making the tables in this blank file; it is waited for."""
        until = time.monotonic() + _BLANK_S
        try:
            connection = opened(self.path, "mode=rw")
        except sqlite3.Error:
            return False
        try:
            while True:
                # Whoever makes them holds the lock, but for a moment after the file came to be.
                connection.execute("BEGIN IMMEDIATE")
                made = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
                connection.execute("ROLLBACK")
                if made or time.monotonic() > until:
                    return made
                time.sleep(0.01)
        except sqlite3.Error:
            return False
        finally:
            connection.close()


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
            return sqlite3.SQLITE_OK
        # A table's columns may be asked for, nothing may be set.
        asks = action == sqlite3.SQLITE_PRAGMA and first in ("table_info", "table_list", "table_xinfo", "index_list")
        return sqlite3.SQLITE_OK if asks else sqlite3.SQLITE_DENY


def _refused(error: Exception) -> UsageError:
    text = str(error)
    if text == "interrupted":
        # sqlite3 swallows the KeyboardInterrupt that is raised in its callback.
        raise KeyboardInterrupt from error
    if "not authorized" in text or "readonly" in text:
        return UsageError("only reading is allowed here", hint="expdb edit, rm and restore change runs")
    hint = "tables and views: docs/schema.md, or SELECT name FROM sqlite_master" if "no such" in text else None
    return UsageError(f"SQLite says: {text}", hint=hint)


def opened(path: Path, query: str) -> sqlite3.Connection:
    """A connection of SQLite's own, without any check. query: mode=ro, mode=rw or mode=rwc."""
    # A URI takes any file name: its bytes are percent-encoded.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{query}", uri=True, isolation_level=None, timeout=BUSY_S, cached_statements=256
    )


def revision(version: int) -> str:
    """What Alembic calls a version of the schema."""
    return f"{version:04d}"


def check_version(version: int, name: str) -> None:
    """Return where the schema is ours. Raises OutdatedError, or DatabaseError for a newer one, with what to type."""
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"{name} was written by a newer expdb (schema {version}, this one knows {SCHEMA_VERSION})",
            hint="pip install --upgrade expdb",
        )
    if version < SCHEMA_VERSION:
        raise OutdatedError(
            f"{name} was written by an older expdb (schema {version}, this one needs {SCHEMA_VERSION})",
            hint="expdb db upgrade (with the same --db) keeps a copy of it and brings it up to date",
        )


def _is_blank(path: Path) -> bool:
    """Whether the file is empty, or a database in which its creator has not come to the tables yet."""
    if path.stat().st_size == 0:
        return True
    connection = opened(path, "mode=rw")
    try:
        return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    finally:
        connection.close()


def _create(path: Path) -> None:
    """Make the database: it is there at once and whole, or blank and locked where files have but one name."""
    from expdb.store.schema import statements

    texts = statements("sqlite")
    # A link may lead to where it is to be.
    target = Path(os.path.realpath(path))
    if not target.exists() and _create_beside(target, texts):
        return
    _fill(target, texts)


def _create_beside(path: Path, texts: Sequence[str]) -> bool:
    """Make it under another name, and give it its own when it is whole; whether that can be done here."""
    beside = path.with_name(f".expdb-{uuid4().hex}")
    try:
        _fill(beside, texts)
        # Unlike a rename, this leaves what another creator has put there meanwhile.
        os.link(beside, path)
    except FileExistsError:
        return True
    except OSError:
        return False
    finally:
        for left in (beside, beside.with_name(f"{beside.name}-journal")):
            left.unlink(missing_ok=True)
    return True


def _fill(path: Path, texts: Sequence[str]) -> None:
    connection = opened(path, "mode=rwc")
    try:
        # Two creators may meet here: one makes the tables, the other waits and finds them.
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            for text in texts:
                connection.execute(text)
        connection.execute("COMMIT")
    finally:
        connection.close()


def on_network(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether the file lies on a network file system, where WAL is unsafe. False where nobody can say."""
    try:
        lines = [line.split() for line in mounts.read_text("utf-8", "surrogateescape").splitlines()]
    except OSError:
        return False
    target = os.path.realpath(path)
    table = [(_unescaped(words[1]).rstrip("/"), words[2]) for words in lines if len(words) > 2]
    best = max(
        # Of two mounts at one point the later one covers the earlier: an automount comes before its NFS.
        ((point, kind) for point, kind in reversed(table) if f"{target}/".startswith(f"{point}/")),
        key=lambda mount: len(mount[0]),
        default=("", ""),
    )
    return best[1].startswith(_NETWORK)


def _unescaped(point: str) -> str:
    """A mount point with its blanks, which the table writes as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _unmerged(path: Path) -> Path | None:
    """The file beside the database with changes that are not in it yet, or not out of it again."""
    beside = [path.with_name(f"{path.name}{tail}") for tail in ("-wal", "-journal")]
    return next((one for one in beside if one.exists() and one.stat().st_size > 0), None)


def _is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error) or "busy" in str(error)


def _is_closed_to_us(error: sqlite3.Error) -> bool:
    return "unable to open" in str(error) or "readonly" in str(error)


def _no_text(error: UnicodeEncodeError) -> UsageError:
    shown = str(error.object).encode(errors="backslashreplace").decode()
    return UsageError(f"{shown!r} is not valid text", hint="what is given as a name, a param or a tag is UTF-8")


def translated(error: sqlite3.Error, path: Path) -> DatabaseError:
    """What happened, in words a person can act on."""
    text = str(error)
    if "not a database" in text or "malformed" in text:
        if "malformed" in text:
            return DatabaseError(f"{path} is damaged", hint=_RESTORE)
        return DatabaseError(f"{path} is not a SQLite database", hint="name another file: --db FILE")
    if "full" in text:
        return DatabaseError(
            f"{path}: no room left; nothing of this step was stored", hint="free some space, then repeat"
        )
    if _is_closed_to_us(error):
        return DatabaseError(
            f"{path} cannot be opened for this: {text}", hint="check the permissions of file and folder"
        )
    if _is_busy(error):
        return DatabaseError(f"{path} is locked by another process", hint="wait for it to end, then repeat")
    return DatabaseError(f"{path}: SQLite says: {text}")


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)
