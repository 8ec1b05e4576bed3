"""The database as a whole: what is in it, whether it is sound, and a copy of it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from expdb import whole
from expdb.address import Address
from expdb.errors import DatabaseError, UsageError
from expdb.records import Summary
from expdb.store import reader
from expdb.store import statements as sql
from expdb.store.database import SCHEMA_VERSION, Database
from expdb.store.places import STDIN, located, still_begins, stored
from expdb.store.writer import derived_summary

_COUNTED = ("experiment", "run", "metric", "point", "source")


@dataclass(frozen=True, slots=True)
class Info:
    """Sizes and counts. removed: runs that rm has hidden."""

    address: Address
    size_bytes: int
    schema_version: int
    journal: str
    counts: dict[str, int]
    removed: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something a check found. grave: the database disagrees with itself or with a source; else it is only told."""

    text: str
    grave: bool = True


def info(database: Database) -> Info:
    """What the database holds."""
    counts = {
        table: int(database.rows(f"SELECT count(*) FROM {table}")[0][0]) for table in _COUNTED if table != "point"
    }
    counts["point"] = int(database.rows("SELECT coalesce(sum(count), 0) FROM metric")[0][0])
    removed = int(database.rows("SELECT count(*) FROM run WHERE deleted_ms IS NOT NULL")[0][0])
    return Info(database.address, database.size_bytes(), SCHEMA_VERSION, database.journal(), counts, removed)


def check(database: Database, step: Callable[[int], None] = lambda _: None) -> list[Fault]:
    """What is wrong: pages of the file, references, summaries that differ from their points, changed sources."""
    with database.view():
        faults = [Fault(text) for text in database.damage()]
        if faults:
            return faults
        faults += map(Fault, database.dangling())
        faults += _summaries(database, step)
        faults += _sources(database)
        return faults


def _summaries(database: Database, step: Callable[[int], None]) -> list[Fault]:
    """Metrics whose summary columns are not what their points say."""
    faults = []
    for run_id, uid, name in database.rows("SELECT id, uid, name FROM run ORDER BY id"):
        for row in database.rows(sql.METRICS_OF_RUN, (run_id,)):
            stored = _comparable(Summary(*row[9:]))
            derived = _comparable(derived_summary(database.connection, row[0]))
            if stored != derived:
                differ = ", ".join(
                    f"{column} {a} should be {b}"
                    for column, a, b in zip(_SUMMARY_COLUMNS, stored, derived, strict=True)
                    if a != b
                )
                faults.append(Fault(f"{uid[:8]} {name}: {row[1]}: {differ}"))
        step(1)
    return faults


_SUMMARY_COLUMNS = tuple(Summary.__dataclass_fields__)


def _comparable(summary: Summary) -> tuple[object, ...]:
    # SQLite stores NaN as NULL, and NaN equals nothing.
    return tuple(None if value != value else value for value in summary.row())


def _sources(database: Database) -> list[Fault]:
    """Sources whose files say something else by now."""
    faults = []
    for source_id, sha256, size_bytes in database.rows("SELECT id, sha256, size_bytes FROM source ORDER BY id"):
        for place in reader.places(database, source_id):
            if place == STDIN:
                continue
            try:
                same = still_begins(located(place, database.address), sha256, size_bytes)
            except OSError as error:
                faults.append(Fault(f"{place}: cannot be read: {error.strerror or error}", grave=False))
                continue
            if same is None:
                faults.append(Fault(f"{place}: no longer there; its numbers are kept", grave=False))
                continue
            newer = database.rows(
                "SELECT 1 FROM source_place WHERE path = ? AND source_id > ? LIMIT 1", (place, source_id)
            )
            if not same:
                what = "changed since, and was ingested again" if newer else "changed since it was ingested"
                faults.append(Fault(f"{place}: {what}", grave=not newer))
    return faults


def backup(database: Database, target: Path) -> int:
    """Copy the database, also while others write to it; the copy's size in bytes. Never replaces a file."""
    return copied(database.copy_to, database.address, target)


def copied(copy_to: Callable[[Path], None], address: Address, target: Path) -> int:
    """As `backup`, of a database of any schema at that address. copy_to: writes all of it into a new file."""
    if not target.name:
        raise UsageError(f"{str(target)!r} is a folder, not a file")
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        if os.path.lexists(target):
            raise FileExistsError
        try:
            copy_to(partial)
            with closing(sqlite3.connect(partial)) as copy:
                _move_places(copy, address, target)
            whole.place(partial, target)
            return target.stat().st_size
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{target} exists already", hint="name a file that does not") from error
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"no copy could be made at {target}: {error}") from error


def _move_places(copy: sqlite3.Connection, old: Address, new: Path) -> None:
    """Paths relative to the old database, made relative to the new one."""
    if isinstance(old, Path) and os.path.abspath(old.parent) == os.path.abspath(new.parent):
        return
    with copy:
        for rowid, place in copy.execute("SELECT rowid, path FROM source_place WHERE path <> ?", (STDIN,)).fetchall():
            moved = stored(located(place, old), new)
            copy.execute("UPDATE source_place SET path = ? WHERE rowid = ?", (moved, rowid))
