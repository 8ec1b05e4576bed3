"""An older database brought to this schema: forward only, a copy first, one transaction."""

import os
import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from expdb import settings
from expdb.address import Address, Server
from expdb.errors import DatabaseError, OutdatedError, UsageError
from expdb.store import upkeep
from expdb.store.database import (
    SCHEMA_VERSION,
    VERSION_TABLE,
    revision,
)
from expdb.store.opening import open_database
from expdb.store.sqlite import SqliteDatabase, copy_into, opened, translated

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Runs could be stored on a server from this schema on: no step before it is ever taken there.
_FIRST_ON_SERVER = 2
STEPS = Path(__file__).with_name("migrations")
_VERSION = "SELECT value FROM meta WHERE key = 'schema_version'"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """From which schema to which; the same twice where there was nothing to do. backup: the copy of the old one."""

    old: int
    new: int
    backup: Path | None = None


def upgrade(address: str | Address, now_ms: int, *, copy: bool, say: Callable[[str], None]) -> Upgraded:
    """Bring the database to this schema, whole or not at all; a kill at any moment leaves the old one, and whoever
    repeats it begins anew. copy: keep the old one beside it (SQLite only: a server is dumped by its own tools).

    Waits, saying so, while another process writes. Raises what opening a database raises, but for its age.
    """
    named = settings.database_path(address) if isinstance(address, str) else address
    if isinstance(named, Server):
        try:
            open_database(named).close()
        except OutdatedError:
            return _on_server(named, copy=copy)
        return Upgraded(SCHEMA_VERSION, SCHEMA_VERSION)
    path = named
    try:
        SqliteDatabase(path, write=True).close()
    except OutdatedError:
        return _in_file(path, now_ms, copy=copy, say=say)
    return Upgraded(SCHEMA_VERSION, SCHEMA_VERSION)


def migrate(connection: "Connection", steps: Path = STEPS) -> None:
    """Take every step from the connection's schema to the last one (all of them, where the database is empty).

    It happens in the transaction that is open, which the caller commits.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext, MigrationInfo
    from alembic.script import ScriptDirectory
    from sqlalchemy import inspect, text

    config = Config()
    config.set_main_option("script_location", str(steps).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def keep_in_step(
        ctx: MigrationContext, step: MigrationInfo, heads: Collection[str], run_args: Mapping[str, object]
    ) -> None:
        # What is looked at when a database is opened, without Alembic.
        (head,) = heads
        connection.execute(
            text("UPDATE meta SET value = :version WHERE key = 'schema_version'"), {"version": str(int(head))}
        )

    with EnvironmentContext(
        config, scripts, fn=lambda found, _: scripts._upgrade_revs("head", found), destination_rev="head"
    ) as environment:
        # In a transaction of ours, Alembic begins and commits none.
        connection.execute(text("SELECT 1"))
        environment.configure(connection, version_table=VERSION_TABLE, on_version_apply=keep_in_step)
        context = environment.get_context()
        if inspect(connection).has_table("meta"):
            stated = revision(int(connection.exec_driver_sql(_VERSION).scalar_one()))
            if stated not in {step.revision for step in scripts.walk_revisions()}:
                raise DatabaseError(f"no expdb wrote schema {int(stated)}", hint="restore a copy")
            said = context.get_current_heads()
            if not said:
                # Made before there were migrations.
                context.stamp(scripts, stated)
            elif said != (stated,):
                raise DatabaseError(
                    f"the database says its schema is {stated}, and its table {VERSION_TABLE} says {', '.join(said)}",
                    hint="something else has changed it; restore a copy",
                )
        environment.run_migrations()


def _in_file(path: Path, now_ms: int, *, copy: bool, say: Callable[[str], None]) -> Upgraded:
    from sqlalchemy.exc import DBAPIError

    try:
        with closing(opened(path, "mode=rw")) as held:
            engine = _engine_over(held)
            with engine.connect() as connection:
                _lock(held, path, say)
                # SQLite finds only here that a file is closed to us.
                held.execute("UPDATE meta SET value = value WHERE key = 'schema_version'")
                # Another process may have been quicker.
                old = int(held.execute(_VERSION).fetchone()[0])
                if old >= SCHEMA_VERSION:
                    return Upgraded(old, old)
                backup = _copied(path, old, now_ms, say) if copy else None
                migrate(connection)
                held.execute("COMMIT")
            return Upgraded(old, SCHEMA_VERSION, backup)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise translated(error.orig, path) from error
        raise


def _engine_over(held: sqlite3.Connection) -> "Engine":
    """SQLAlchemy over a connection that is open already, whose transaction is ours to begin and end."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    return create_engine("sqlite://", creator=lambda: held, poolclass=StaticPool)


def _lock(held: sqlite3.Connection, path: Path, say: Callable[[str], None]) -> None:
    said = False
    while True:
        try:
            held.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise
            if not said:
                say(f"waiting: another process is writing to {path}")
                said = True


def _copied(path: Path, old: int, now_ms: int, say: Callable[[str], None]) -> Path:
    """A copy of the database as it is under our lock, beside it."""
    day = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d")
    for left in path.parent.glob(f"{_literal(path.stem)}.schema{old}-*.partial"):
        # Of an upgrade that was killed: whoever holds the lock is alone.
        left.unlink(missing_ok=True)
    n = 1
    while os.path.lexists(target := path.with_name(f"{path.stem}.schema{old}-{day}{'' if n == 1 else f'-{n}'}.db")):
        n += 1
    say(f"copying it to {target}")
    # A second connection: it sees what is committed, which is all there is before the first step.
    with closing(opened(path, "mode=rw")) as reading:
        upkeep.copied(partial(copy_into, reading), path, target)
    target.chmod(path.stat().st_mode & 0o777)
    return target


def _literal(text: str) -> str:
    from glob import escape

    return escape(text)


def _on_server(server: Server, *, copy: bool) -> Upgraded:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError

    from expdb.store.postgres import PostgresDatabase

    try:
        PostgresDatabase(server, write=True).close()
        return Upgraded(SCHEMA_VERSION, SCHEMA_VERSION)
    except OutdatedError:
        if copy:
            raise UsageError(
                "a database on a server is copied by PostgreSQL's own programs",
                hint=f"pg_dump --format=custom --file=expdb.dump {server}; then: expdb db upgrade --no-backup",
            ) from None
    engine = create_engine(f"postgresql+psycopg://{server.url.partition('://')[2]}")
    try:
        with engine.begin() as connection:
            # Two upgrades at once: the second waits here, and then finds the new version.
            old = int(connection.exec_driver_sql(f"{_VERSION} FOR UPDATE").scalar_one())
            if old < _FIRST_ON_SERVER:
                raise DatabaseError(
                    f"{server} has schema {old}, which no expdb could write to on a server", hint="createdb NAME"
                )
            if old < SCHEMA_VERSION:
                migrate(connection)
        return Upgraded(old, SCHEMA_VERSION)
    except DBAPIError as error:
        # The first line is PostgreSQL's own sentence; the url may hold a password.
        raise DatabaseError(f"{server}: PostgreSQL says: {str(error.orig).splitlines()[0]}") from error
    finally:
        engine.dispose()
