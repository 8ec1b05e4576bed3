"""The commands of the database as a whole, below `db`. Registered on the command line by `cli`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from expdb.commands.options import Db, Experiment, Where, database_path
from expdb.errors import NotFoundError, OutdatedError

if TYPE_CHECKING:
    from expdb.store.merging import Merged


def info(db: Db = None) -> None:
    """Show where the database is and what it holds."""
    from expdb.commands import feedback
    from expdb.store import upkeep
    from expdb.store.opening import open_database

    with open_database(database_path(db)) as database:
        feedback.described(upkeep.info(database))


def check(db: Db = None) -> None:
    """Check summaries against points, and sources against files."""
    from expdb.commands import feedback
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


def merge(
    other: Annotated[str, typer.Argument(help="The database whose runs are brought in.", metavar="OTHER")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be new; change nothing.")] = False,
    db: Db = None,
) -> None:
    """Bring the runs of another database into this one: laptop and server. Again and again, as they grow."""
    import tempfile

    from expdb import settings
    from expdb.commands import feedback
    from expdb.store import merging
    from expdb.store.opening import exists, open_database

    path = database_path(db)
    try:
        theirs = open_database(other)
    except OutdatedError as error:
        raise OutdatedError(error.message, hint="expdb db upgrade --db OTHER") from None
    except NotFoundError as error:
        raise NotFoundError(error.message, hint="expdb db merge OTHER brings OTHER's runs into --db") from None
    with tempfile.TemporaryDirectory() as folder, theirs:
        # What a dry run would make is made where nobody looks.
        into = path if not dry_run or exists(path) else Path(folder, "expdb.db")
        with open_database(into, create=True) as ours, feedback.progress(merging.count(theirs)) as step:
            done = merging.merge(ours, theirs, settings.now_ms(), dry_run=dry_run, step=step)
    _merged(done, dry_run=dry_run)


def export(
    to: Annotated[
        Path, typer.Argument(help="A folder for all tables, or a file for one: points.csv.", metavar="FOLDER|FILE")
    ],
    experiment: Experiment = None,
    where: Where = None,
    form: Annotated[
        Optional[str], typer.Option("--format", help="csv or parquet. Default: what FILE ends in, else csv.")
    ] = None,
    table: Annotated[
        Optional[str], typer.Option("--table", help="Only this one: runs, params, tags, metrics or points.")
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin CSV with a byte order mark, without which Excel garbles Chinese.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    db: Db = None,
) -> None:
    """Write runs, params, tags, metrics and points as tables for pandas, R and spreadsheets."""
    from expdb import export as verb
    from expdb import expressions
    from expdb.commands.current import current
    from expdb.reports.text import visible

    condition = expressions.parse_condition(where) if where else None
    target = verb.target(to, form, table)
    with current(database_path(db)) as database:
        done = verb.export(database, target, experiment=experiment, where=condition, bom=bom, force=force)
    for one in done:
        print(f"{visible(str(one.path))}: {_count(one.rows, 'row')}")


def _merged(done: "Merged", *, dry_run: bool) -> None:
    """What another database brought: trouble first, then one line."""
    from expdb.reports.text import visible

    for text in done.conflicts:
        _tell(text)
    for text in done.notes:
        print(visible(text))
    parts = [f"{'would bring ' if dry_run else ''}{_count(done.new, 'new run')}"]
    parts += [f"{done.grown:,} grown", f"{done.same:,} the same", _count(done.points, "point")]
    if done.experiments:
        parts.append(_count(done.experiments, "new experiment"))
    if done.purged:
        parts.append(f"{done.purged:,} left out that were deleted for good here")
    print(", ".join(parts))
    if done.twins:
        print(f"{_count(done.twins, 'new run')} of logs that were read here, too: there are two of each; rm hides one")
    if done.conflicts:
        print(f"{_count(len(done.conflicts), 'difference')} between the two, named above")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


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
    db.command("merge")(merge)
    db.command("export")(export)
    app.add_typer(db, name="db")
