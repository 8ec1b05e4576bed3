"""PostgreSQL's side of a database: the same schema and the same SQL, on a server that several people share.

What differs from SQLite stands here. The statements of the store are translated once each (`?1` becomes `$1`); points
go in by COPY; writers take turns by an advisory lock, since ids are the greatest there is plus one; and a NUL, which
PostgreSQL's text cannot hold, is stored as its picture, `␀`.
"""

import re
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from itertools import count, groupby, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Self

from expdb import settings
from expdb.address import Server
from expdb.errors import DatabaseError, MissingExtraError, NotFoundError, UsageError, need
from expdb.records import Curve
from expdb.store.database import Answer, Cursor, Database, Row, Value, begun, check_version, no_text, stated_version
from expdb.store.statements import INSERT_METRIC, UNANSWERED

if TYPE_CHECKING:
    import psycopg
    from psycopg.adapt import AdaptersMap

# Any number that no other program locks by chance: `expdb` in ASCII.
_LOCK = 0x6578706462
# Seconds of waiting for another writer before that is said.
_QUIET_S = 2
# Between two looks whether what is waited for is over.
_LOOK_S = 0.2
_UNLESS_SAID = {"connect_timeout": "10", "application_name": "expdb"}
# Tables whose rows are sent late, and the words beside which all of them are due.
_LATE = frozenset(("point", *UNANSWERED.values()))
_ANY = frozenset(("curve", "run_summary", "experiment_summary", "savepoint", "release", "commit"))
_LATE_ROWS = 10_000
# Bytes of points in memory before they are sent.
_COPY_BYTES = 4 << 20
# Of cursors: one may be read while another is.
_numbers = count(1)
_NUL, _NUL_SHOWN = "\0", "␀"
_RESTORE = "restore a copy made by: pg_dump"
# The first word of what a cursor cannot be declared for, which PostgreSQL calls a syntax error.
_CHANGES = re.compile(
    r"(?i)\s*(?:insert|update|delete|merge|truncate|create|alter|drop|copy|grant|revoke|set|reset|do|call|begin|start"
    r"|commit|rollback|vacuum|analyze|reindex|lock|prepare|execute|discard|listen|notify)\b"
)
_COPY = "COPY point (metric_id, seq, step, epoch, value, time_ms, source_no, line) FROM STDIN (FORMAT BINARY)"
# Of PostgreSQL's binary format, and of the row that most points are: eight columns, no epoch, no time.
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_COPY_END = struct.pack("!h", -1)
_LEAN = struct.Struct("!14sq4sq8sd16sq")
_NULL = struct.pack("!i", -1)
_EIGHT = struct.pack("!i", 8)


@lru_cache(maxsize=512)
def translated(sql: str) -> str:
    """A statement of the store in PostgreSQL's words: `?` and `?1` become `$1`."""
    count = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal count
        if found[0].startswith("'"):
            return found[0]
        count += 1
        return f"${found[1] or count}"

    return re.sub(r"'[^']*'|\?(\d*)", numbered, sql)


@lru_cache(maxsize=512)
def _due(sql: str) -> frozenset[str]:
    """The tables that a statement may look into, of those whose rows are sent late."""
    words = frozenset(re.findall(r"\w+", re.sub("'[^']*'", "", sql.lower())))
    # Views look anywhere; what is marked or kept is all that came before.
    return _LATE if words & _ANY else _LATE & words


class _Connection:
    """psycopg's connection, as the store uses one. It is opened anew where the server closed it between two uses.

    A word with the server takes as long as storing a hundred rows: within a transaction, rows that nobody waits for are
    held back until they are many, or a statement looks into their table. What order the tables are filled in does not
    matter: references are checked at the end.
    """

    def __init__(self, server: Server, *, write: bool) -> None:
        self._server = server
        self._write = write
        self._psycopg = _connected(server, write=write)
        # Bulk writes on their way, by table, in their order.
        self._late: dict[str, list[tuple[str, Sequence[Any]]]] = {}
        # Points on their way, in PostgreSQL's binary format.
        self._points: list[bytes] = []
        self._point_bytes = 0

    @property
    def in_transaction(self) -> bool:
        from psycopg.pq import TransactionStatus

        status = self._psycopg.info.transaction_status
        return status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        if sql in UNANSWERED and self.in_transaction:
            self._hold(sql, (values,))
            return _NOTHING
        self._settle(sql)
        with _overflow():
            return self.live().execute(translated(sql), values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        rows = list(rows)
        if not rows:
            return _NOTHING
        if sql in UNANSWERED and self.in_transaction:
            self._hold(sql, rows)
            return _NOTHING
        self._settle(sql)
        cursor = self.live().cursor()
        with _overflow():
            cursor.executemany(translated(sql), rows)
        return cursor

    def live(self) -> "psycopg.Connection[Row]":
        """The driver's connection."""
        if self._psycopg.closed:
            self._psycopg = _connected(self._server, write=self._write)
        return self._psycopg

    def close(self) -> None:
        self._forget()
        self._psycopg.close()

    def copy_points(self, rows: bytes) -> None:
        """Take rows of table point, which are there for every later statement that speaks of points."""
        self._points.append(rows)
        self._point_bytes += len(rows)
        if self._point_bytes > _COPY_BYTES:
            self._send_points()

    def settle(self) -> None:
        """Send all that is held back."""
        self._send(_LATE)

    def _hold(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        table = UNANSWERED[sql]
        held = self._late.setdefault(table, [])
        held += [(sql, values) for values in rows]
        if len(held) > _LATE_ROWS:
            self._send(frozenset((table,)))

    def _settle(self, sql: str) -> None:
        if not (self._late or self._points):
            return
        if sql.startswith("ROLLBACK"):
            self._forget()
        else:
            self._send(_due(sql))

    def _forget(self) -> None:
        self._late.clear()
        self._points.clear()
        self._point_bytes = 0

    def _send(self, tables: frozenset[str]) -> None:
        if self._points and "point" in tables:
            self._send_points()
        due = [(table, self._late.pop(table)) for table in list(self._late) if table in tables]
        if not due:
            return
        copied = [(table, held) for table, held in due if all(sql == INSERT_METRIC for sql, _ in held)]
        with _overflow():
            for table, held in copied:
                self._copy(table, [values for _, values in held])
            left = [each for each in due if each not in copied]
            with self.live().pipeline() if left else nullcontext():
                for _, held in left:
                    for sql, group in groupby(held, key=itemgetter(0)):
                        values = [values for _, values in group]
                        self.live().cursor().executemany(translated(sql), values)

    def _copy(self, table: str, rows: list[Sequence[Any]]) -> None:
        columns = re.search(r"\((.+?)\)", INSERT_METRIC)
        assert columns is not None
        with self.live().cursor() as cursor, cursor.copy(f"COPY {table} ({columns[1]}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def _send_points(self) -> None:
        pieces, self._points, self._point_bytes = self._points, [], 0
        with self.live().cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(b"".join((_COPY_HEAD, *pieces, _COPY_END)))


class _Nothing:
    """What a statement answers that nobody waits for."""

    rowcount = -1

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Row]:
        return []

    def fetchmany(self, size: int, /) -> list[Row]:
        del size
        return []

    def __iter__(self) -> Iterator[Row]:
        return iter(())


_NOTHING = _Nothing()


class PostgresDatabase(Database):
    """An open database on a server. Raises MissingExtraError without psycopg. warn: as for `open_database`."""

    MEMBERS: ClassVar[str] = "SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(? AS JSON))"
    _BEGIN_VIEW: ClassVar[str] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, server: Server, *, write: bool = False, warn: Callable[[str], None] | None = None) -> None:
        super().__init__(server, write=write, warn=warn)
        self.server = server
        # Changes of this connection, which are none from elsewhere.
        self._own_changes = 0
        with self.errors():
            self._connection = _Connection(server, write=write)
        try:
            self._check_version()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(cls, server: Server, warn: Callable[[str], None] | None = None) -> Self:
        """Open the database for writing; make the tables first where there are none. Safe when two do it at once."""
        try:
            return cls(server, write=True, warn=warn)
        except NotFoundError:
            create_schema(server)
        return cls(server, write=True, warn=warn)

    @property
    def connection(self) -> _Connection:
        return self._connection

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        with _errors(self.server):
            yield

    def batches(self, sql: str, values: Sequence[Value], size: int) -> Iterator[list[Row]]:
        from psycopg import RawServerCursor

        # On the server: the driver would hold the whole answer.
        with self.errors():
            self._connection.settle()
        with self.errors(), RawServerCursor(self._connection.live(), f"expdb_batches_{next(_numbers)}") as cursor:
            cursor.execute(translated(sql), values)
            while rows := cursor.fetchmany(size):
                yield rows

    def _begin(self) -> None:
        from psycopg.errors import LockNotAvailable

        said = False
        with self.errors():
            while True:
                self._connection.execute("BEGIN")
                try:
                    if not said:
                        # Most who write have written before this is over.
                        self._connection.execute(f"SET LOCAL lock_timeout = '{_QUIET_S}s'")
                    self._connection.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
                    if not said:
                        self._connection.execute("SET LOCAL lock_timeout = DEFAULT")
                    return
                except BaseException as error:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    if not isinstance(error, LockNotAvailable):
                        raise
                    self._warn(f"waiting: another process is writing to {self.server}")
                    said = True

    def _commit(self) -> None:
        # Whoever holds the lock is the only one to count.
        self._connection.execute(
            "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS VARCHAR) WHERE key = 'changes'"
        )
        self._connection.execute("COMMIT")
        self._own_changes += 1

    @contextmanager
    def alone(self, doing: str) -> Iterator[None]:
        # Of this database and this connection: it is gone with the process.
        key = zlib.crc32(doing.encode()) << 32 | _LOCK & 0xFFFFFFFF
        key -= (key >> 63) << 64
        said = False
        while not self.rows("SELECT pg_try_advisory_lock(CAST(? AS BIGINT))", (key,))[0][0]:
            if not said:
                self._warn(f"waiting: another {doing} of {self.server} is under way")
                said = True
            time.sleep(_LOOK_S)
        try:
            yield
        finally:
            self.rows("SELECT pg_advisory_unlock(CAST(? AS BIGINT))", (key,))

    def changed_elsewhere(self) -> int:
        ((value,),) = self.rows("SELECT value FROM meta WHERE key = 'changes'")
        return int(value) - self._own_changes

    def put_points(
        self, ids: Sequence[int], seq: int, source_no: int | None, curves: Sequence[Curve], start: int
    ) -> None:
        with _overflow():
            for metric_id, curve in zip(ids, curves, strict=True):
                self._connection.copy_points(_copied(metric_id, seq, source_no, curve, start))

    def ask(self, sql: str) -> Answer:
        import psycopg

        connection = self._connection.live()
        try:
            self._connection.execute("BEGIN READ ONLY")
            try:
                # A cursor can be declared for one statement that reads, and for nothing else.
                with psycopg.RawServerCursor(connection, "expdb_sql") as cursor:
                    cursor.execute(sql, ())
                    columns = tuple(column.name for column in cursor.description or ())
                    return Answer(columns, [tuple(map(_plain, row)) for row in cursor.fetchall()])
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except UnicodeEncodeError as error:
            raise UsageError("the statement is not valid text") from error
        except psycopg.OperationalError as error:
            raise _failure(error, self.server) from error
        except psycopg.Error as error:
            raise _refused(error, sql) from error

    def like(self, pattern: str) -> tuple[str, str]:
        return "LIKE", pattern

    def commit_without_waiting(self) -> None:
        # How safe its commits are is for those to say who run the server: synchronous_commit.
        pass

    def size_bytes(self) -> int:
        return int(self.rows("SELECT pg_database_size(current_database())")[0][0])

    def journal(self) -> str:
        return f"PostgreSQL {self.rows('SHOW server_version')[0][0]}"

    def damage(self) -> list[str]:
        # Its pages are the server's own business: pg_amcheck, checksums.
        return []

    def dangling(self) -> list[str]:
        # All other references are the server's business too.
        lost = (
            "SELECT DISTINCT metric_id FROM point p"
            " WHERE NOT EXISTS (SELECT 1 FROM metric m WHERE m.id = p.metric_id) ORDER BY metric_id"
        )
        return [f"point {metric_id} refers to a metric that is not there" for (metric_id,) in self.rows(lost)]

    def copy_to(self, path: object) -> None:
        raise UsageError(
            "a database on a server is copied by PostgreSQL's own programs",
            hint=f"pg_dump --format=custom --file=expdb.dump '{self.server}'",
        )

    def _check_version(self) -> None:
        ((meta, metric),) = self.rows("SELECT to_regclass('meta'), to_regclass('metric')")
        if (meta is None) != (metric is None):
            raise DatabaseError(f"{self.server} holds tables of another program", hint="createdb NAME makes a database")
        if meta is None:
            raise NotFoundError(
                f"there is no database of expdb's at {self.server}",
                hint="expdb ingest PATH... or expdb run -- COMMAND makes one there",
            )
        found = self.rows("SELECT value FROM meta WHERE key = 'schema_version'")
        check_version(stated_version(found, str(self.server), restore=_RESTORE), str(self.server))


def create_schema(server: Server) -> None:
    """Make the tables in a database that has none of them, whole or not at all; nothing where another process was
    quicker. Raises MissingExtraError without psycopg, DatabaseError where the server refuses."""
    from expdb.store.schema import statements

    with _errors(server):
        connection = _connected(server, write=True)
        try:
            connection.execute("BEGIN")
            connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            ((there,),) = connection.execute("SELECT to_regclass('meta')").fetchall()
            for text in (*statements("postgresql"), begun(settings.now_ms())) if there is None else ():
                connection.execute(text)
            connection.execute("COMMIT")
        finally:
            connection.close()


def _connected(server: Server, *, write: bool) -> "psycopg.Connection[Row]":
    _check_driver()
    import psycopg

    try:
        known = psycopg.conninfo.conninfo_to_dict(server.url)
    except psycopg.ProgrammingError:
        # What the driver says of it repeats it, with the password.
        raise UsageError(f"{server} is no address of a database", hint="postgresql://USER@HOST/NAME") from None
    unsaid = {key: said for key, said in _UNLESS_SAID.items() if key not in known}
    connection = psycopg.Connection.connect(
        psycopg.conninfo.make_conninfo(server.url, **unsaid),
        autocommit=True,
        context=_adapters(),
        cursor_factory=psycopg.RawCursor,
    )
    try:
        said = "SET client_min_messages = warning"
        # A reader cannot change anything, whatever its role may do.
        connection.execute(said if write else f"{said}; SET default_transaction_read_only = on")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_driver() -> None:
    """Raise MissingExtraError where psycopg is not there, or is there without the library it stands on."""
    need("psycopg", extra="postgres")
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        said = str(error).splitlines()[0]
        raise MissingExtraError(f"psycopg does not work here: {said}", hint="pip install 'expdb[postgres]'") from error


@lru_cache(maxsize=1)
def _adapters() -> "AdaptersMap":
    """How Python's values travel: numbers as text whose type the statement decides, as SQLite takes them."""
    import psycopg
    from psycopg.adapt import AdaptersMap, Dumper, Loader
    from psycopg.types.numeric import FloatDumper
    from psycopg.types.string import StrDumperUnknown

    class Whole(Dumper):
        def dump(self, obj: int) -> bytes:
            return str(obj).encode()

        def quote(self, obj: int) -> bytes:
            # FETCH takes a bare number only.
            return self.dump(obj)

    class Number(FloatDumper):
        def dump(self, obj: float) -> Any:  # bytes, or None for NULL
            return None if obj != obj else super().dump(obj)

    class Text(StrDumperUnknown):
        def dump(self, obj: str) -> Any:  # bytes
            return super().dump(obj.replace(_NUL, _NUL_SHOWN) if _NUL in obj else obj)

    class Sum(Loader):
        """A sum of whole numbers is one too; PostgreSQL calls it numeric."""

        def load(self, data: Any) -> int | float:  # bytes or memoryview
            text = bytes(data).decode()
            return int(text) if text.lstrip("-").isdigit() else float(text)

    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(int, Whole)
    adapters.register_dumper(float, Number)
    adapters.register_dumper(str, Text)
    adapters.register_loader("numeric", Sum)
    return adapters


def _copied(metric_id: int, seq: int, source_no: int | None, curve: Curve, start: int) -> bytes:
    """The points of a curve from index start on, as rows of table point in PostgreSQL's binary format."""
    count = len(curve.values) - start
    steps, lines, values = curve.steps, curve.lines, curve.values
    if start:
        steps, lines, values = steps[start:], lines[start:], values[start:]
    head = struct.pack("!hiii", 8, 4, metric_id, 8)
    seqs = range(seq, seq + count)
    if curve.epochs is None and curve.times_ms is None and source_no is not None:
        try:
            if all(map(float.__eq__, values, values)):
                tail = struct.pack("!iiii", -1, 4, source_no, 8)
                between = _NULL + _EIGHT
                rows = map(
                    _LEAN.pack, repeat(head), seqs, repeat(_EIGHT), steps, repeat(between), values, repeat(tail), lines
                )
                return b"".join(rows)
        except (struct.error, TypeError):
            # A step, a line or a value is missing, or is no number of its column's.
            pass
    epochs = curve.epochs[start:] if curve.epochs else repeat(None, count)
    times = curve.times_ms[start:] if curve.times_ms else repeat(None, count)
    source = _NULL if source_no is None else struct.pack("!ii", 4, source_no)
    out: list[bytes] = []
    for at, step, epoch, value, time_ms, line in zip(seqs, steps, epochs, values, times, lines, strict=True):
        out += (
            *(head, struct.pack("!q", at), _whole(step), _number(epoch), _number(value), _whole(time_ms)),
            *(source, _whole(line)),
        )
    return b"".join(out)


def _whole(number: int | None) -> bytes:
    return _NULL if number is None else struct.pack("!iq", 8, number)


def _number(number: float | None) -> bytes:
    return _NULL if number is None or number != number else struct.pack("!id", 8, number)


def _plain(value: Any) -> Any:  # what a table can show
    """A value of a type that SQLite has; others as PostgreSQL would write them."""
    if value is None or isinstance(value, str | int | float | bytes):
        return int(value) if isinstance(value, bool) else value
    return str(value)


@contextmanager
def _overflow() -> Iterator[None]:
    """Numbers beyond a column raise OverflowError, as they do with SQLite."""
    try:
        yield
    except struct.error as error:
        raise OverflowError("a number too large for 64 bits") from error
    except Exception as error:
        if getattr(error, "sqlstate", None) == "22003":
            raise OverflowError("a number too large for 64 bits") from error
        raise


@contextmanager
def _errors(server: Server) -> Iterator[None]:
    _check_driver()
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise _failure(error, server) from error
    except UnicodeEncodeError as error:
        raise no_text(error) from error


def _failure(error: "psycopg.Error", server: Server) -> DatabaseError:
    """What happened, in words a person can act on."""
    from psycopg import errors

    said = _first_line(error)
    hint: str | None = None
    if isinstance(error, errors.InsufficientPrivilege):
        hint = "whoever owns the database may allow it: docs/postgres.md"
    elif isinstance(error, errors.ReadOnlySqlTransaction):
        return DatabaseError(f"{server} is open for reading only")
    elif isinstance(error, errors.DiskFull):
        return DatabaseError(f"{server}: no room left; nothing of this step was stored", hint="free some space there")
    elif isinstance(error, errors.DuplicateTable):
        hint = "a database of its own: createdb NAME"
    elif error.sqlstate is None and isinstance(error, errors.OperationalError):
        hint = "is the server running, and is the address right? the password may stand in ~/.pgpass"
        if "does not exist" in said:
            hint = "createdb NAME makes a database, createuser NAME a role: docs/postgres.md"
    return DatabaseError(f"{server}: PostgreSQL says: {said}", hint=hint)


def _refused(error: "psycopg.Error", sql: str) -> UsageError:
    """What is wrong with a person's own statement."""
    from psycopg import errors

    said = _first_line(error)
    if isinstance(error, errors.ReadOnlySqlTransaction) or "DECLARE CURSOR" in said or _CHANGES.match(sql):
        return UsageError("only reading is allowed here", hint="expdb edit, rm and restore change runs")
    if isinstance(error, errors.SyntaxError):
        return UsageError(f"PostgreSQL says: {said}", hint="one SELECT")
    unknown = isinstance(error, errors.UndefinedTable | errors.UndefinedColumn)
    return UsageError(f"PostgreSQL says: {said}", hint="tables and views: docs/schema.md" if unknown else None)


def _first_line(error: "psycopg.Error") -> str:
    with suppress(AttributeError):
        if error.diag.message_primary:
            return error.diag.message_primary
    return next(iter(str(error).splitlines()), type(error).__name__)
