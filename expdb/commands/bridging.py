"""The commands beside MLflow: pull, push, ui. Registered on the command line by `cli`."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from expdb.commands.options import Db, Experiment, Runs, Where, database_path
from expdb.errors import UsageError

if TYPE_CHECKING:
    from expdb.bridges.pull import Outcome as Pulled
    from expdb.bridges.push import Outcome as Pushed

Store = Annotated[
    str,
    typer.Argument(
        metavar="URI",
        help="A tracking server (http://HOST:PORT), a database (sqlite:///FILE, postgresql://...) or a folder mlruns.",
    ),
]
Experiments = Annotated[
    Optional[list[str]], typer.Option("--experiment", "-e", help="Only this experiment. Repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
Again = Annotated[
    bool, typer.Option("--again", help="Compare every point, also of runs that had ended when they were last seen.")
]


def pull(
    store: Store,
    experiments: Experiments = None,
    condition: Annotated[
        Optional[str],
        typer.Option("--filter", help="Only runs for which this holds, in MLflow's language.", metavar="FILTER"),
    ] = None,
    artifacts: Annotated[
        str, typer.Option("--artifacts", help="Files: link (keep their address), copy or none.", metavar="HOW")
    ] = "link",
    again: Again = False,
    dry_run: DryRun = False,
    db: Db = None,
) -> None:
    """Bring runs here from another MLflow store: all there is to each, and later only what is new."""
    from expdb.bridges import pull as verb
    from expdb.bridges.remote import open_store

    how = next((one for one in verb.ARTIFACTS if one == artifacts), None)
    if how is None:
        raise UsageError(f"--artifacts {artifacts}: not known", hint=f"one of: {', '.join(verb.ARTIFACTS)}")
    from expdb import settings
    from expdb.commands import feedback
    from expdb.runners.folder import root_of
    from expdb.store.opening import exists, open_database

    path = database_path(db)
    request = verb.Request(tuple(experiments or ()), condition or "", how, root_of(path), again, dry_run)
    with open_store(store, "read") as remote:
        database = None if dry_run and not exists(path) else open_database(path, create=not dry_run)
        try:
            found = verb.pull(database, remote, request, settings.now_ms(), feedback.progress)
        finally:
            if database is not None:
                database.close()
    _pulled(found, request.dry_run)
    if found.refused:
        raise typer.Exit(1)


def push(
    store: Store,
    runs: Runs = None,
    experiment: Experiment = None,
    where: Where = None,
    artifacts: Annotated[str, typer.Option("--artifacts", help="Files: copy or none.", metavar="HOW")] = "none",
    again: Again = False,
    dry_run: DryRun = False,
    db: Db = None,
) -> None:
    """Bring runs to another MLflow store; without RUN, -e and -w all. Later only what is new."""
    from expdb import compare, expressions, settings
    from expdb.bridges import push as verb
    from expdb.bridges.remote import open_store
    from expdb.commands import feedback
    from expdb.runners.folder import root_of
    from expdb.store.opening import open_database

    if artifacts not in ("copy", "none"):
        raise UsageError(f"--artifacts {artifacts}: not known", hint="one of: copy, none")
    condition = expressions.parse_condition(where) if where else None
    path = database_path(db)
    with open_database(path, write=True) as database:
        found = compare.select(database, compare.Query(experiment=experiment, runs=tuple(runs or ()), where=condition))
        ids, everything = tuple(run.id for run in found), not (runs or experiment or where)
        chosen = verb.Request(ids, everything, root_of(path) if artifacts == "copy" else None, again, dry_run)
        with open_store(store, "write") as remote:
            outcome = verb.push(database, remote, chosen, settings.now_ms(), feedback.progress)
    _pushed(outcome, dry_run)
    if outcome.refused:
        raise typer.Exit(1)


def _pushed(found: "Pushed", dry_run: bool) -> None:
    from expdb.commands.feedback import tell
    from expdb.reports.text import visible

    for line in (*found.refused, *found.notes):
        tell(line)
    for ours, theirs in sorted(found.renamed.items()):
        print(f"{visible(ours)} is called {visible(theirs)} there")
    said = [_count(found.new, "new run")]
    if found.grown:
        said.append(f"{found.grown:,} with something new")
    said.append(f"{found.same:,} {'there already' if dry_run else 'as they were'}")
    if found.theirs:
        said.append(f"{found.theirs:,} that came from there")
    if found.experiments:
        said.append(f"{_count(found.experiments, 'new experiment')} without runs")
    tail = "" if dry_run else f"; {_count(found.points, 'new point')}"
    if found.models:
        tail += f", {_count(found.models, 'new model')}"
    if found.copied:
        tail += f", {_count(found.copied, 'file')} ({found.copied_bytes:,} bytes) copied"
    print(f"{visible(found.store)}: {', '.join(said)}{tail}")


def _pulled(found: "Pulled", dry_run: bool) -> None:
    from expdb.commands.feedback import tell
    from expdb.reports.text import visible

    for line in (*found.refused, *found.notes):
        tell(line)
    said = [_count(found.new, "new run")]
    if found.grown:
        said.append(f"{found.grown:,} {'to be looked at' if dry_run else 'with something new'}")
    said.append(f"{found.same:,} as they were")
    if found.ours:
        said.append(f"{found.ours:,} that came from here")
    tail = "" if dry_run else f"; {_count(found.points, 'new point')}"
    if found.models:
        tail += f", {_count(found.models, 'new model')}"
    if found.copied:
        tail += f", {_count(found.copied, 'file')} ({found.copied_bytes:,} bytes) copied"
    print(f"{visible(found.store)}: {_count(found.experiments, 'experiment')}; {', '.join(said)}{tail}")


def ui(
    port: Annotated[
        Optional[int], typer.Option("--port", min=1, max=65535, help="Default: the first free one from 5000 on.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Who may reach it; this machine only, unless told.")
    ] = "127.0.0.1",
    db: Db = None,
) -> None:
    """Show the database on MLflow's page, until Ctrl-C; its clients can log there, too."""
    from expdb.bridges import serving
    from expdb.commands.current import current
    from expdb.commands.feedback import tell

    database = database_path(db)
    current(database).close()
    if not serving.is_loopback(host):
        tell(f"{host} can be reached from other machines: who gets there can read and change all that is in {database}")
    with serving.serving(database, host, serving.free_port(host, port)) as server:
        print(f"{server.url}  (Ctrl-C ends it)", flush=True)
        server.wait()


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.command()(pull)
    app.command()(push)
    app.command()(ui)
