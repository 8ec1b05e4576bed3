"""An open database, whatever keeps it: what its two kinds, SQLite's file and PostgreSQL's server, have in common.

The SQL of the store is written once, in the words both know: `?` and `?1` for what is bound, ON CONFLICT, RETURNING.
What they do not share stands in `store.sqlite` and `store.postgres`, and nowhere else.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from expdb.address import Address
from expdb.errors import DatabaseError, OutdatedError, UsageError
from expdb.records import Curve

SCHEMA_VERSION = 2
# Alembic's own, under a name that no other program's migrations in the same database have.
VERSION_TABLE = "schema_revision"
Value = str | int | float | bytes | None
Row = tuple[Any, ...]  # a row's types stand in the statement beside it


class Cursor(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def fetchone(self) -> Any:  # a Row, or None
        """The next row, None behind the last."""
        ...

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        ...

    def fetchmany(self, size: int, /) -> list[Row]:
        """So many rows; fewer at the end, none behind it."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What executes statements. Where it fails, the driver's own error is raised: `Database.errors` translates it."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """One statement."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        """One statement for each of the rows."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person's own statement found."""

    columns: tuple[str, ...]
    rows: list[Row]


class Database(ABC):
    """An open database. write: it may be changed. Opened by `store.opening.open_database`, used by one thread."""

    # A bound JSON list of whole numbers, as a query to look into.
    MEMBERS: ClassVar[str]
    _BEGIN_VIEW: ClassVar[str]

    address: Address
    write: bool

    def __init__(self, address: Address, *, write: bool, warn: Callable[[str], None] | None) -> None:
        self.address = address
        self.write = write
        self._warn = warn or to_stderr

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """Where statements are executed; within `transaction` where they change something."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Release the database."""

    @abstractmethod
    def errors(self) -> AbstractContextManager[None]:
        """Within it the driver's failures come out as DatabaseErrors, text that is none as a UsageError."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query."""
        try:
            with self.errors():
                return self.connection.execute(sql, values).fetchall()
        except OverflowError as error:
            raise UsageError("a number is asked for that is larger than any stored here") from error

    @abstractmethod
    def batches(self, sql: str, values: Sequence[Value], size: int) -> Iterator[list[Row]]:
        """The rows of a query, so many at a time: memory does not grow with them. Within one `view`."""

    @contextmanager
    def view(self) -> Iterator[None]:
        """Several queries that see one state, whatever other processes commit meanwhile."""
        inside = self.connection.in_transaction
        if inside:
            yield
            return
        with self.errors():
            self.connection.execute(self._BEGIN_VIEW)
        try:
            yield
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Changes that happen whole or not at all. Waits, saying so, while another process writes."""
        self._begin()
        try:
            with self.errors():
                yield self.connection
                self._commit()
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @abstractmethod
    def _begin(self) -> None:
        """Begin a transaction in which no other process can write."""

    def _commit(self) -> None:
        self.connection.execute("COMMIT")

    @abstractmethod
    def alone(self, doing: str) -> AbstractContextManager[None]:
        """What only one process may do at a time with this database, though many may write to it meanwhile. Waits,
        saying so. doing: a word."""

    @abstractmethod
    def changed_elsewhere(self) -> int:
        """A number that differs after another connection has changed the database."""

    @abstractmethod
    def put_points(
        self, ids: Sequence[int], seq: int, source_no: int | None, curves: Sequence[Curve], start: int
    ) -> None:
        """Store points from index start on, of curves that share steps, lines, epochs and times; an id for each curve.
        seq: of the first point. Within `transaction`."""

    @abstractmethod
    def ask(self, sql: str) -> Answer:
        """One statement of the person's own, which can read and do nothing else. Raises UsageError for any other."""

    @abstractmethod
    def like(self, pattern: str) -> tuple[str, str]:
        """What compares with a pattern of LIKE's where case counts: the operator, and the pattern as it wants it."""

    @abstractmethod
    def commit_without_waiting(self) -> None:
        """Let this connection's commits not wait for the disk, as a line that a training logs into a file does not,
        where that can do no harm: a kill takes none away; a loss of power may take the last ones, each whole."""

    @abstractmethod
    def size_bytes(self) -> int:
        """What it takes on the disk."""

    @abstractmethod
    def journal(self) -> str:
        """How changes are kept safe, in the engine's own words."""

    @abstractmethod
    def damage(self) -> list[str]:
        """What is broken below the level of rows, in sentences; nothing else can be asked of a database that is."""

    @abstractmethod
    def dangling(self) -> list[str]:
        """References to rows that are not there, in sentences."""

    @abstractmethod
    def copy_to(self, path: Path) -> None:
        """Write all of it into a new file of SQLite's. Raises UsageError where that is another program's work."""


def begun(now_ms: int) -> str:
    """What says, in a database that was just made, since when its first experiment exists."""
    return f"UPDATE experiment SET created_ms = {now_ms:d}, updated_ms = {now_ms:d} WHERE id = 0"


def to_stderr(message: str) -> None:
    """The place for messages, where no other is named."""
    print(message, file=sys.stderr)


def no_text(error: UnicodeEncodeError) -> UsageError:
    """What was given holds bytes that are no text."""
    shown = str(error.object).encode(errors="backslashreplace").decode()
    return UsageError(f"{shown!r} is not valid text", hint="what is given as a name, a param or a tag is UTF-8")


def revision(version: int) -> str:
    """What Alembic calls a version of the schema."""
    return f"{version:04d}"


def stated_version(found: Sequence[Row], name: str, *, restore: str) -> int:
    """The version that a database says its schema has; DatabaseError where it says none. restore: what to do then."""
    if not found or not str(found[0][0]).isdecimal():
        raise DatabaseError(f"{name} does not say its schema's version", hint=restore)
    return int(found[0][0])


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
