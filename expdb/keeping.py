"""The commands of the database as a whole: db info, check, backup, upgrade. Registered on the command line by `cli`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from expdb.options import Db, database_path


def info(db: Db = None) -> None:
    """Show where the database is and what it holds."""
    from expdb import feedback
    from expdb.store import upkeep
    from expdb.store.opening import open_database

    with open_database(database_path(db)) as database:
        feedback.described(upkeep.info(database))


def check(db: Db = None) -> None:
    """Check summaries against points, and sources against files."""
    from expdb import feedback
    from expdb.store import upkeep
    from expdb.store.opening import open_database

    with open_database(database_path(db)) as database:
        total = upkeep.info(database).counts["run"]
        with feedback.progress(total) as step:
            faults = upkeep.check(database, step)
    if feedback.checked(faults, total):
        raise typer.Exit(1)


def backup(target: Annotated[Path, typer.Argument(help="A file that does not exist yet.")], db: Db = None) -> None:
    """Copy it into one file, also while others write to it."""
    from expdb.reports.text import visible
    from expdb.store import upkeep
    from expdb.store.opening import open_database

    with open_database(database_path(db)) as database:
        size = upkeep.backup(database, target)
    print(f"{visible(str(target))}: {size:,} bytes")


def upgrade(
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Keep no copy; needed for PostgreSQL, after pg_dump.")
    ] = False,
    db: Db = None,
) -> None:
    """Bring a database of an older expdb up to date; the old one is kept beside it."""
    from expdb import settings
    from expdb.reports.text import visible
    from expdb.store.upgrade import upgrade as verb

    path = database_path(db)
    done = verb(path, settings.now_ms(), copy=not no_backup, say=_tell)
    if done.old == done.new:
        print(f"{visible(str(path))} has schema {done.new} already")
    else:
        print(f"{visible(str(path))}: schema {done.old} → {done.new}")
    if done.backup:
        print(f"the old one is kept: {visible(str(done.backup))}")


def _tell(message: str) -> None:
    from expdb.reports.text import visible

    print(visible(message), file=sys.stderr, flush=True)


def register(app: typer.Typer) -> None:
    """Put the commands below `db`."""
    db = typer.Typer(help="The database as a whole.", no_args_is_help=True, rich_markup_mode=None)
    db.command("info")(info)
    db.command("check")(check)
    db.command("backup")(backup)
    db.command("upgrade")(upgrade)
    app.add_typer(db, name="db")
