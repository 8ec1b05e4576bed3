"""The command line: flags in, exit codes out. Heavy imports wait inside the command that needs them."""

import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from expdb import __version__
from expdb.commands import bridging, comparing, drawing, keeping, launching, reporting
from expdb.commands.current import current, database_at
from expdb.commands.options import (
    As,
    Columns,
    Db,
    Experiment,
    Format,
    Output,
    Params,
    Run,
    Runs,
    Tags,
    Where,
    database_path,
    headers,
    named_groups,
    pairs,
)
from expdb.errors import AmbiguousError, ExpdbError, UsageError

if TYPE_CHECKING:
    from expdb.address import Address
    from expdb.ingest import Request
    from expdb.parsers.reading import Reading
    from expdb.records import Table
    from expdb.store.reader import RunRecord

INTERRUPTED = 130
# They say what Ctrl-C has done to the runs.
_TELL_THEMSELVES = ("run", "attach", "stop")

app = typer.Typer(
    name="expdb",
    help="Old training logs and report pages in, new trainings beside them, comparison tables out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    """Old training logs and report pages in, new trainings beside them, comparison tables out."""
    if version:
        print(f"expdb {__version__}")
        raise typer.Exit


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for standard input.")],
    experiment: Experiment = None,
    params: Params = None,
    params_from: Annotated[
        Optional[str],
        typer.Option(
            "--params-from",
            help="Params from paths: lr(?P<lr>\\d+(\\.\\d+)?) finds lr=0.1 in a_lr0.1.log.",
            metavar="REGEX",
        ),
    ] = None,
    tags: Tags = None,
    as_format: As = None,
    metric_columns: Columns = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored; store nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Read known files again and update their runs.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Make new runs even of known files.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with what is added, until Ctrl-C.")] = False,
    every: Annotated[
        Optional[float], typer.Option("--every", min=0.1, help="With --watch: seconds between looks. Default: 2.")
    ] = None,
    db: Db = None,
) -> None:
    """Read training logs and report pages into the database."""
    from expdb import ingest as verb
    from expdb.commands import feedback

    if again and copy:
        raise UsageError("--again updates runs and --copy makes new ones; choose one")
    request = verb.Request(
        experiment=experiment,
        params=pairs(params, "-s"),
        tags=pairs(tags, "-t"),
        as_format=as_format,
        metric_columns=headers(metric_columns),
        again=again,
        copy=copy,
        dry_run=dry_run,
        params_from=named_groups(params_from, "--params-from"),
    )
    path = database_path(db)
    if every is not None and not watch:
        raise UsageError("--every goes with --watch")
    if watch:
        _watch(paths, request, path, every or 2.0)
        return
    items, missing = verb.collect(paths, path)
    try:
        with feedback.progress(len(items)) as step, database_at(path, "dry-run" if dry_run else "create") as database:
            outcome = verb.ingest(database, items, request, step)
    finally:
        feedback.faulty()
    outcome.refused[:0] = missing
    feedback.ingested(outcome, path, request)
    if outcome.refused:
        raise typer.Exit(1)


def _watch(paths: list[str], request: "Request", path: "Address", every_s: float) -> None:
    from expdb import watch as verb
    from expdb.commands import feedback

    if request.again or request.copy or request.dry_run or "-" in paths:
        raise UsageError("--watch adds what is new in files: without --again, --copy, --dry-run and -")
    watch = verb.Watch(paths, request, path, lambda: database_at(path, "create"))
    watch.check()
    feedback.watched(watch, every_s)


@app.command()
def parse(
    file: Annotated[
        Optional[str],
        typer.Argument(help="A file, a folder that is one run, or - for standard input.", show_default=False),
    ] = None,
    as_format: As = None,
    metric_columns: Columns = None,
    pattern: Annotated[
        Optional[str],
        typer.Option(
            "--pattern",
            help="Try a regex of your own: its named groups are metrics; epoch, iter and step the position.",
            metavar="REGEX",
        ),
    ] = None,
    save: Annotated[
        Optional[str],
        typer.Option("--save", help="With --pattern: keep it in expdb.toml, for ingest too.", metavar="NAME"),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why: kinds of line, step, units, runs, what was not understood.")
    ] = False,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats that are known, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")] = False,
) -> None:
    """Show what is understood of a file; no database is touched."""
    from expdb import explain as why
    from expdb import parsers, plugins, preview, settings
    from expdb.commands import feedback

    settings.in_force()
    if save is not None and pattern is None:
        raise UsageError("--save keeps a --pattern")
    if pattern is not None and as_format is not None:
        raise UsageError("--pattern is a format of its own; without --as")
    try:
        if formats:
            feedback.formats()
            return
        if file is None:
            raise UsageError("which file?", hint="expdb parse FILE, or expdb parse --formats")
        own = None if pattern is None else plugins.pattern(pattern, save)
        options = parsers.Options(headers(metric_columns))
        if Path(file).is_dir():
            if pattern is not None or as_format is not None:
                raise UsageError("--pattern and --as read a file, not a folder")
            found = preview.preview_folder(Path(file), options, whole=as_json)
        else:
            found = preview.preview(_reading(file), as_format, options, whole=as_json, own=own, ask_all=explain)
    finally:
        feedback.faulty()
    if own and not found.runs:
        raise why.nothing_matched(found)
    if as_json:
        feedback.as_json(found, explain)
    else:
        (feedback.explained if explain else feedback.previewed)(found)
    if pattern is not None and save is not None:
        feedback.kept(settings.keep_pattern(settings.OwnPattern(save, pattern)), save, found)


def _reading(file: str) -> "Reading":
    from expdb import ingest
    from expdb.parsers.reading import Reading

    path = Path(file)
    if file == "-":
        return ingest.stdin_reading()
    if path.is_fifo():
        # `parse <(command)`
        with path.open("rb") as stream:
            return Reading.of_stream(stream, file)
    return Reading.of_file(path)


@app.command()
def ls(
    experiment: Experiment = None,
    experiments: Annotated[bool, typer.Option("--experiments", help="List experiments, not runs.")] = False,
    where: Where = None,
    live: Annotated[bool, typer.Option("--live", help="Only runs that have not ended.")] = False,
    format_name: Format = None,
    output: Output = None,
    db: Db = None,
) -> None:
    """List the runs, or the experiments."""
    from expdb import expressions, listing

    condition = expressions.parse_condition(where) if where else None
    if live and experiments:
        raise UsageError("--live lists runs, --experiments experiments; choose one")
    with current(database_path(db)) as database:
        if experiments:
            found = listing.experiments(database)
        else:
            found = listing.runs(database, experiment, condition, unsettled=live)
    _show(found, format_name, output)


@app.command()
def show(run: Run, db: Db = None) -> None:
    """Show one run: where it came from, its metrics, sparklines."""
    from expdb.commands import feedback
    from expdb.store import reader

    with current(database_path(db)) as database:
        feedback.shown(database, reader.run(database, reader.find_run(database, run)))


app.command()(comparing.compare)
app.command()(drawing.plot)


@app.command()
def blame(
    run: Run,
    metric: Annotated[str, typer.Argument(help="Its name, or as the log prints it.")],
    step: Annotated[Optional[int], typer.Argument(help="Only this step.", show_default=False)] = None,
    db: Db = None,
) -> None:
    """Show file, line and text that values were read from."""
    from expdb import provenance
    from expdb.commands import feedback
    from expdb.store import reader

    with current(database_path(db)) as database:
        record = reader.run(database, reader.find_run(database, run))
        feedback.blamed(provenance.blame(database, record, reader.metric_of(database, record, metric), step))


@app.command()
def diff(a: Run, b: Run, format_name: Format = None, output: Output = None, db: Db = None) -> None:
    """Show what differs between two runs: params, environment, code, results."""
    from expdb import diff as verb
    from expdb.commands import differences

    with current(database_path(db)) as database:
        found = verb.diff(database, a, b)
    if format_name or output:
        _show(found.table(), format_name, output)
    else:
        differences.told(found)


@app.command()
def edit(
    run: Run,
    name: Annotated[Optional[str], typer.Option("--name", help="A new name.")] = None,
    experiment: Experiment = None,
    note: Annotated[Optional[str], typer.Option("--note", help="A note; '' takes it away.")] = None,
    params: Params = None,
    tags: Tags = None,
    unit: Annotated[Optional[list[str]], typer.Option("--unit", metavar="METRIC=UNIT", help="e.g. acc=percent")] = None,
    metric: Annotated[
        Optional[list[str]], typer.Option("--metric", metavar="NAME=VALUE", help="Set or add a reported value.")
    ] = None,
    db: Db = None,
) -> None:
    """Correct a run; the journal keeps what it said before. An empty value takes a param or tag away."""
    from expdb import settings
    from expdb.store import editing, reader

    changes = editing.Changes(
        name,
        experiment,
        note,
        pairs(params, "-s"),
        pairs(tags, "-t"),
        pairs(unit, "--unit"),
        pairs(metric, "--metric"),
    )
    if changes == editing.Changes():
        raise UsageError("nothing to correct", hint="--name, --note, -s, -t, --unit or --metric")
    with database_at(database_path(db), "write") as database:
        said = editing.edit(database, reader.find_run(database, run), changes, settings.now_ms())
    print("\n".join(map(_plain, said)) if said else "nothing changed: it said so already")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; tables and views: docs/schema.md.")],
    format_name: Format = None,
    output: Output = None,
    db: Db = None,
) -> None:
    """Ask the database in SQL; it can only be read."""
    from expdb import listing

    with database_at(database_path(db)) as database:
        found = listing.answer(database, query)
    _show(found, format_name, output)


@app.command()
def rm(
    runs: Runs = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete for good; without RUN, whatever rm has hidden.")
    ] = False,
    db: Db = None,
) -> None:
    """Hide runs from every table; restore brings them back."""
    from expdb import settings
    from expdb.store import editing, reader

    if not runs and not purge:
        raise UsageError("which runs?", hint="expdb rm RUN...")
    with database_at(database_path(db), "write") as database:
        removed = None if purge else False
        ids = list({reader.find_run(database, run, removed=removed): None for run in runs or ()})
        if not purge:
            editing.remove(database, ids, settings.now_ms())
            print(f"removed {len(ids)} {_runs(ids)}; expdb restore brings them back")
            return
        ids = ids if runs else [run_id for run_id, _, _ in editing.removed_runs(database)]
        found = [reader.run(database, run_id) for run_id in ids]
        points = editing.purge(database, ids)
        print(f"deleted {len(ids)} {_runs(ids)} with {points:,} points for good")
        _let_lie(database, found)


@app.command()
def restore(
    runs: Annotated[Optional[list[str]], typer.Argument(metavar="[RUN]...", help="Without RUN: list them.")] = None,
    db: Db = None,
) -> None:
    """Bring removed runs back."""
    from expdb.store import editing, reader

    with database_at(database_path(db), "write") as database:
        if not runs:
            found = editing.removed_runs(database)
            print("\n".join(f"{uid[:8]}  {_plain(name)}" for _, uid, name in found) or "no run is removed")
            return
        ids = list({reader.find_run(database, run, removed=True): None for run in runs})
        editing.restore(database, ids)
        print(f"restored {len(ids)} {_runs(ids)}")


def _let_lie(database: Any, runs: Iterable["RunRecord"]) -> None:  # Any: a Database
    """The folders of purged runs keep their logs, and are nobody's any more."""
    from expdb.runners.folder import root_of
    from expdb.store.launched import UNSETTLED

    for run in runs:
        spec = root_of(database.address) / run.uid / "spec.json"
        if run.status not in UNSETTLED and spec.is_file():
            spec.rename(spec.with_name("spec.purged.json"))


def _runs(ids: list[int]) -> str:
    return "run" if len(ids) == 1 else "runs"


def _plain(text: str) -> str:
    from expdb.reports.text import visible

    return visible(text)


def _show(table: "Table", format_name: str | None, output: Path | None) -> None:
    from expdb.reports.output import show

    show(table, format_name, output)


launching.register(app)
reporting.register(app)
keeping.register(app)
bridging.register(app)


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    # A shell may have closed them (`>&-`).
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.encoding.lower() in ("ascii", "ansi_x3.4-1968", "us-ascii") and not stream.isatty():
            # LC_ALL=C says nothing about who reads the pipe; names and JSON need all of Unicode.
            stream.reconfigure(encoding="utf-8")
        # A terminal that cannot show a character gets its code, not a traceback.
        stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except ExpdbError as error:
        code = _refuse(error)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away (head, less): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = _refuse(
            ExpdbError(
                f"the system refuses: {error.strerror or error}{f': {error.filename}' if error.filename else ''}"
            )
        )
    except Exception as error:
        # Click's own exceptions know how they are shown; others are bugs and keep their traceback.
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        error.show()
        code = error.exit_code
        if _command() == "run" and "--" not in sys.argv:
            print("Options of the command belong behind `--`: expdb run -- python train.py --lr 0.1", file=sys.stderr)
    # Within a command, typer has made this code of the exception.
    if code == INTERRUPTED:
        _tell_interrupted()
    sys.exit(code if isinstance(code, int) else 0)


def _command() -> str | None:
    """The command that was typed."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), None)


def _tell_interrupted() -> None:
    command = _command()
    if command in _TELL_THEMSELVES:
        return
    goes_on = command in ("ingest", "pull", "push")
    more = "; what was stored stays stored, the same command goes on from there" if goes_on else ""
    print(f"interrupted{more}", file=sys.stderr)


def _refuse(error: ExpdbError) -> int:
    from expdb.reports.text import visible

    if os.environ.get("EXPDB_DEBUG") == "1":
        raise error
    print(f"expdb: {visible(error.message)}", file=sys.stderr)
    if isinstance(error, AmbiguousError):
        for candidate in error.candidates:
            print(f"  {visible(candidate)}", file=sys.stderr)
    if error.hint:
        print(f"  {visible(error.hint)}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
