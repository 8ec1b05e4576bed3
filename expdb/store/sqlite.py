"""One SQLite database: opened, created, locked and closed; every failure comes out as a DatabaseError."""

import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar, Self
from uuid import uuid4

from expdb import settings
from expdb.errors import DatabaseError, NotFoundError, UsageError
from expdb.records import Curve
from expdb.store import statements
from expdb.store.database import Answer, Database, Row, Value, begun, check_version, no_text, stated_version, to_stderr

BUSY_S = 5.0
# Between two looks whether what is waited for is over.
_LOOK_S = 0.2
# A blank file stays blank for this long where its creator has been kept waiting.
_BLANK_S = 0.3
# Of a writer: room for the pages that a batch of ingest changes, and for the indexes it looks into at random.
_CACHE_BYTES = 32 << 20
# Pages in the log of changes before they are taken over: less often than each batch would.
_CHECKPOINT_PAGES = 4000
_RESTORE = "restore a copy made by: expdb db backup"
_NETWORK = ("nfs", "cifs", "smb", "sshfs", "fuse.sshfs", "9p", "lustre", "glusterfs", "ceph", "beegfs", "gpfs")


class SqliteDatabase(Database):
    """An open file of SQLite's. warn: where a message goes that is no error."""

    MEMBERS: ClassVar[str] = "SELECT value FROM json_each(?)"
    _BEGIN_VIEW: ClassVar[str] = "BEGIN"

    def __init__(self, path: Path, *, write: bool = False, warn: Callable[[str], None] | None = None) -> None:
        super().__init__(path, write=write, warn=warn)
        self.path = path
        # How many rows and curves the last run had.
        self._shape = (0, 0)
        try:
            there = path.exists()
        except OSError as error:
            raise DatabaseError(f"{path} cannot be opened: {error.strerror or error}") from error
        if not there:
            raise NotFoundError(
                f"there is no database at {path}", hint="expdb ingest PATH... or expdb run -- COMMAND makes one"
            )
        self._connection = self._connect()
        try:
            self._check_version()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(cls, path: Path, warn: Callable[[str], None] | None = None) -> Self:
        """Open the database for writing; make it first where there is none. Safe when two processes do it at once."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or _is_blank(path):
                if on_network(path):
                    (warn or to_stderr)(f"{path} is on a network file system: one process at a time should write to it")
                _create(path)
        except sqlite3.Error as error:
            raise translated(error, path) from error
        except OSError as error:
            raise DatabaseError(f"no database can be made at {path}: {error.strerror or error}") from error
        database = cls(path, write=True, warn=warn)
        database._use_wal()
        return database

    @property
    def connection(self) -> sqlite3.Connection:
        return self._connection

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        except UnicodeEncodeError as error:
            raise no_text(error) from error

    def batches(self, sql: str, values: Sequence[Value], size: int) -> Iterator[list[Row]]:
        with self.errors():
            cursor = self._connection.execute(sql, values)
            while rows := cursor.fetchmany(size):
                yield rows

    def _begin(self) -> None:
        said = False
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise translated(error, self.path) from error
                if not said:
                    self._warn(f"waiting: another process is writing to {self.path}")
                    said = True

    @contextmanager
    def alone(self, doing: str) -> Iterator[None]:
        if sys.platform == "win32":
            yield
            return
        import fcntl

        place = self.path.with_name(f"{self.path.name}-{doing}")
        said = False
        while True:
            try:
                handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise DatabaseError(f"{place} cannot be made: {error.strerror or error}") from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever had it before has taken it away, unless this is still the file of that name.
                if place.exists() and os.fstat(handle).st_ino == place.stat().st_ino:
                    break
            except BlockingIOError:
                if not said:
                    self._warn(f"waiting: another {doing} of {self.path} is under way")
                    said = True
                time.sleep(_LOOK_S)
            except OSError:
                # Gone between two looks.
                pass
            os.close(handle)
        try:
            yield
        finally:
            place.unlink(missing_ok=True)
            os.close(handle)

    def changed_elsewhere(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def put_points(
        self, ids: Sequence[int], seq: int, source_no: int | None, curves: Sequence[Curve], start: int
    ) -> None:
        first = curves[0]
        timed = first.epochs is not None or first.times_ms is not None
        at, end, width = start, len(first.steps), len(curves)
        # A statement of the exact length is the quickest, but preparing it costs as much as ten others: only when
        # the last run looked the same is it likely to be wanted again.
        exact = (end - start, width) == self._shape and (end - start) * width <= statements.POINTS_AT_ONCE
        self._shape = (end - start, width)
        ladder = (end - start,) if exact else statements.POINT_ROWS
        for rows in ladder:
            if rows > 1 and rows * width > statements.POINTS_AT_ONCE:
                continue
            while end - at >= rows:
                cut = slice(at, at + rows)
                values: list[object] = [seq + at - start, source_no, *ids]
                values += first.steps[cut]
                values += first.lines[cut]
                if timed:
                    values += first.epochs[cut] if first.epochs else [None] * rows
                    values += first.times_ms[cut] if first.times_ms else [None] * rows
                for curve in curves:
                    values += curve.values[cut]
                self._connection.execute(statements.insert_points(rows, width, timed=timed), values)
                at += rows

    def ask(self, sql: str) -> Answer:
        return _ask(self._connection, sql)

    def like(self, pattern: str) -> tuple[str, str]:
        # Our LIKE takes a for A.
        literal = re.sub(r"[\[*?]", lambda found: f"[{found[0]}]", pattern)
        return "GLOB", literal.replace("%", "*").replace("_", "?")

    def commit_without_waiting(self) -> None:
        # Without the log of changes a loss of power could break the file.
        if self.journal() == "wal":
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def size_bytes(self) -> int:
        beside = (self.path.with_name(self.path.name + tail) for tail in ("", "-wal"))
        return sum(path.stat().st_size for path in beside if path.exists())

    def journal(self) -> str:
        return str(self.rows("PRAGMA journal_mode")[0][0])

    def damage(self) -> list[str]:
        return [f"SQLite: {text}" for (text,) in self.rows("PRAGMA integrity_check") if text != "ok"]

    def dangling(self) -> list[str]:
        return [
            f"{table} {rowid or ''} refers to a {other} that is not there"
            for table, rowid, other, _ in self.rows("PRAGMA foreign_key_check")
        ]

    def copy_to(self, path: Path) -> None:
        copy_into(self._connection, path)

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
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
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
        check_version(stated_version(found, str(self.path), restore=_RESTORE), str(self.path))

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


_READING = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE))


def _ask(connection: sqlite3.Connection, sql: str) -> Answer:
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(_judge)
    # Without a callback Ctrl-C waits for the statement's end.
    connection.set_progress_handler(lambda: 0, 100_000)
    try:
        cursor = connection.execute(sql)
        columns = tuple(column[0] for column in cursor.description or ())
        return Answer(columns, cursor.fetchall())
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _refused(error) from error
    except UnicodeEncodeError as error:
        raise UsageError("the statement is not valid text") from error
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
        connection.execute("PRAGMA query_only = OFF")


def _judge(action: int, first: str | None, *_: str | None) -> int:
    if action in _READING:
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


def copy_into(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a database of any schema into a new file, also while others write to it."""
    with closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)


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
            for text in (*texts, begun(settings.now_ms())):
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
