"""The commands that launch: run, queue, attach, stop, diagnose. Registered on the command line by `cli`."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperCommand

from expdb.commands.options import Db, Experiment, Format, Output, Params, Run, Tags, database_path, pairs
from expdb.errors import ExpdbError, NotFoundError, UsageError

if TYPE_CHECKING:
    from expdb.address import Address
    from expdb.launch import Order, Planned
    from expdb.runners.folder import RunFolder

SEVERAL_FAILED = 5
_LOST = 1
_BEHIND = "expdb.behind"
_GPUS = re.compile(r"auto|none|\d{1,4}")


class _Behind(TyperCommand):
    """Remembers how many words stood behind `--`, which typer forgets."""

    # The context is typer's own copy of click's, or click's: it depends on typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_BEHIND] = len(args) - args.index("--") - 1 if "--" in args else 0
        return super().parse_args(ctx, args)


def run(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            help="Behind `--`: the command, as it is typed without expdb. Or before it the name of a recipe.",
            metavar="RECIPE | -- COMMAND...",
        ),
    ],
    experiment: Experiment = None,
    name: Annotated[Optional[str], typer.Option("--name", help="What the run is called. Default: its script.")] = None,
    params: Annotated[
        Optional[list[str]],
        typer.Option(
            "--set",
            "-s",
            help="Param key=value for {key} in the command, or --key behind it. 0.1,0.01 and 1..9 are several runs.",
        ),
    ] = None,
    seeds: Annotated[
        Optional[str], typer.Option("--seeds", help="0..2 or 1,7,42: a run for each, {seed} or --seed.")
    ] = None,
    draw: Annotated[
        Optional[int], typer.Option("--random", min=1, help="Only N of the combinations, drawn.", metavar="N")
    ] = None,
    jobs: Annotated[
        Optional[int], typer.Option("--jobs", "-j", min=1, help="At most so many at a time.", metavar="N")
    ] = None,
    tags: Tags = None,
    gpus: Annotated[
        str, typer.Option("--gpus", help="How many GPUs each run gets: N, auto (one, where there are any) or none.")
    ] = "auto",
    runner: Annotated[str, typer.Option("--runner", help="Where: local, slurm or ray.")] = "local",
    options: Annotated[
        Optional[list[str]],
        typer.Option("--runner-option", help="For slurm and ray, e.g. partition=gpu.", metavar="KEY=VALUE"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Queue it and return at once.")] = False,
    pty: Annotated[bool, typer.Option("--pty", help="Give the command a terminal of its own.")] = False,
    no_diff: Annotated[bool, typer.Option("--no-diff", help="Keep no git diff.")] = False,
    system: Annotated[
        Optional[float],
        typer.Option("--system", min=0.5, help="Sample GPU, CPU and memory every so many seconds.", metavar="S"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also run what is done already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; run nothing.")] = False,
    db: Db = None,
) -> None:
    """Run a command or a recipe, or a sweep of it, and follow its log into the database."""
    from expdb import launch

    if not _GPUS.fullmatch(gpus):
        raise UsageError(f"--gpus {gpus}: a number, auto or none")
    recipe = launch.recipe_named(command, context.meta[_BEHIND])
    order = launch.Order(
        command=launch.recipe(recipe, command[1:]) if recipe else tuple(command),
        cwd=Path.cwd(),
        experiment=experiment,
        name=name or recipe,
        values=pairs(params, "-s"),
        tags=pairs(tags, "-t"),
        seeds=seeds,
        draw=draw,
        jobs=jobs,
        gpus=gpus,
        runner=runner,
        options=pairs(options, "--runner-option"),
        pty=pty,
        diff=not no_diff,
        system_s=system,
    )
    planned = launch.plan(order)
    path = database_path(db)
    if runner != "local" or options or not (len(planned) == 1 and not order.is_sweep and not detach and not dry_run):
        code = _sweep(order, planned, path, detach=detach, again=again, dry_run=dry_run)
    else:
        code = _single(order, planned[0], path)
    if code:
        raise typer.Exit(code)


def _single(order: "Order", planned: "Planned", database: "Address") -> int:
    """One run, here, started before anything heavy is imported."""
    from expdb import launch
    from expdb.runners import folder as folders
    from expdb.runners import local, slots

    spec = launch.spec_of(planned, order, stdin=_is_fed(), database=database)
    lease = slots.acquire(spec.gpus)
    if lease is None:
        return _sweep(order, (planned,), database, detach=False, again=True, dry_run=False)
    folder = folders.create(folders.root_of(database), spec)
    with lease:
        local.start(folder, lease=lease, stdin=spec.stdin)
    # From here on it runs, whatever becomes of us.
    return _followed(folder, database, stops=True)


def _is_fed() -> bool:
    """Whether standard input is a terminal, a pipe or a file, which the command may read."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode) or os.isatty(0)


def _followed(folder: "RunFolder", database: "Address", *, stops: bool, skip: bool = False) -> int:
    """Show the run to its end; the code to leave with."""
    from expdb.commands import foreground
    from expdb.reports.text import visible

    spec = folder.spec()
    screen = foreground.Terminal(spec.name) if sys.stdout.isatty() else foreground.Pipe()
    state = foreground.follow(folder, database, screen, skip=skip, stops=stops)
    print(visible(foreground.ending(folder, database, state)), file=sys.stderr)
    ended = folder.exit()
    return ended.code if ended else _LOST


def _sweep(
    order: "Order", planned: Sequence["Planned"], database: "Address", *, detach: bool, again: bool, dry_run: bool
) -> int:
    """Several runs, or one that has to wait: through the queue."""
    from expdb import dispatch, launch, live
    from expdb.commands import foreground
    from expdb.reports.terminal import print_table
    from expdb.reports.text import visible
    from expdb.runners import folder as folders
    from expdb.runners import local, named
    from expdb.runners.folder import RunFolder

    engine = named(order.runner)
    if order.runner == local.NAME and order.options:
        raise UsageError("--runner-option is for slurm and ray", hint="--runner slurm")
    if order.runner != local.NAME and order.jobs is not None:
        raise UsageError(f"--jobs counts runs of this machine; {order.runner} has its own limits")
    done = live.done(database, order.in_experiment, planned) if order.is_sweep and not again else {}
    if order.is_sweep or dry_run:
        print_table(foreground.plan_table(planned, done))
    left = [one for one in planned if one.plan not in done]
    if dry_run:
        print(f"{_count(len(left), 'run')} to start, {len(planned) - len(left)} done or under way; nothing was started")
        return 0
    sweep = launch.new_sweep() if order.is_sweep else None
    root = folders.root_of(database)
    started: list[RunFolder] = []
    for one in left:
        folder = folders.create(root, launch.spec_of(one, order, sweep=sweep, database=database))
        if order.runner != local.NAME:
            try:
                engine.submit(folder)
            except ExpdbError:
                # What was never handed over is no run.
                shutil.rmtree(folder.path, ignore_errors=True)
                raise
        dispatch.put(folder, created_ms=folder.spec().created_ms, sweep=sweep, most=order.jobs)
        if not started:
            # Whatever becomes of us, what is queued is worked off.
            dispatch.ensure(database)
        started.append(folder)
    live.register(database, started)
    dispatch.revive(database)
    if detach:
        for folder in started:
            print(f"queued {visible(folder.spec().name)}  {folder.uid[:8]}")
        if started:
            print(f"expdb queue lists what waits and runs; expdb attach {started[-1].uid[:8]} shows a log")
        return 0
    if len(planned) == 1 and len(started) == 1:
        return _followed(started[0], database, stops=True)
    uids = [done[one.plan].uid if one.plan in done else "" for one in planned]
    fresh = iter(started)
    folders_ = [folders.RunFolder(root / uid) if uid else next(fresh) for uid in uids]
    codes = foreground.follow_all(folders_, database)
    print_table(foreground.results(database, [folder.uid for folder in folders_ if folder.path.is_dir()]))
    for line in foreground.summary(folders_):
        print(visible(line), file=sys.stderr)
    failed = [code for code in codes if code]
    return SEVERAL_FAILED if len(failed) > 1 else failed[0] if failed else 0


def queue(format_name: Format = None, output: Output = None, db: Db = None) -> None:
    """List the runs that wait or run, in the order of the queue."""
    from expdb import dispatch, live
    from expdb.commands import foreground
    from expdb.reports.output import show

    path = database_path(db)
    live.adopt(path)
    dispatch.revive(path)
    found = foreground.queue_table(path)
    if not found.rows and format_name is None and output is None:
        print("nothing waits or runs")
        return
    show(found, format_name, output)


def attach(run: Run, db: Db = None) -> None:
    """Show the log of a run as it is written, to its end. Ctrl-C leaves the run alone."""
    from expdb import dispatch, live

    path = database_path(db)
    live.adopt(path)
    dispatch.revive(path)
    folder = live.folder_of(path, run)
    try:
        code = _followed(folder, path, stops=False, skip=True)
    except KeyboardInterrupt:
        print(f"\nit goes on; expdb attach {folder.uid[:8]} shows it again", file=sys.stderr)
        raise
    if code:
        raise typer.Exit(code)


def stop(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="As `queue` and `ls --live` list them.")],
    force: Annotated[bool, typer.Option("--force", help="Kill at once.")] = False,
    db: Db = None,
) -> None:
    """Stop runs that wait or run: the whole process group is asked to end, after ten seconds it is killed."""
    from expdb import live
    from expdb.reports.text import visible

    path = database_path(db)
    live.adopt(path)
    missing: list[ExpdbError] = []
    for text in runs:
        try:
            folder = live.folder_of(path, text)
            said = live.stop(path, folder, force=force)
            print(visible(f"{live.name_of(path, folder)}  {folder.uid[:8]}: {said}"))
        except (NotFoundError, UsageError) as error:
            # The others are stopped all the same.
            missing.append(error)
    if missing:
        raise missing[0]


def diagnose(
    recipe: Annotated[str, typer.Argument(help="Its name: expdb run with a wrong one lists them.", metavar="RECIPE")],
    flags: Annotated[
        Optional[list[str]], typer.Argument(help="Flags of its own, behind `--`.", metavar="[-- FLAG...]")
    ] = None,
    params: Params = None,
) -> None:
    """Look for what would keep a recipe's loss from falling, with evidence and remedy; nothing is trained."""
    from expdb import launch

    command = launch.recipe(recipe, ["--diagnose", *(flags or ())])
    codes = []
    planned = launch.plan(launch.Order(command=command, cwd=Path.cwd(), name=recipe, values=pairs(params, "-s")))
    for one in planned:
        if len(planned) > 1:
            print(f"{one.name}:", flush=True)
        codes.append(subprocess.call(one.command))
    if any(codes):
        raise typer.Exit(next(code for code in codes if code))


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.command(cls=_Behind)(run)
    app.command()(queue)
    app.command()(attach)
    app.command()(stop)
    app.command()(diagnose)
