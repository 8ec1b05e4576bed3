"""The commands under `report`: pages for people. Registered on the command line by `cli`."""

import re
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from expdb.commands import documenting
from expdb.commands.current import current
from expdb.commands.options import Db, Experiment, Runs, Where, database_path
from expdb.errors import UsageError

STDOUT = Path("-")
# What opens at once on a phone.
LARGE_MB = 10

report_app = typer.Typer(help="Pages for people, made of results.", no_args_is_help=True, rich_markup_mode=None)


@report_app.callback()
def _root() -> None:
    """Pages for people, made of results."""


@report_app.command()
def page(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The HTML file; - is standard output.", metavar="FILE")
    ],
    runs: Runs = None,
    experiment: Experiment = None,
    where: Where = None,
    columns: Annotated[
        Optional[str], typer.Option("--columns", help="e.g. run, best(test/accuracy) as acc", metavar="EXPR,...")
    ] = None,
    sort: Annotated[
        Optional[str], typer.Option("--sort", help="Best first for metrics; -EXPR turns it round.", metavar="EXPR")
    ] = None,
    top: Annotated[Optional[int], typer.Option("--top", min=1, help="Only the first N runs.", metavar="N")] = None,
    metrics: Annotated[
        Optional[list[str]], typer.Option("-y", "--metric", help="A curve to draw. Repeatable. Default: all.")
    ] = None,
    group_by: Annotated[
        Optional[str],
        typer.Option("--group-by", help="Group rows at first: columns, or all-but:seed.", metavar="NAME,..."),
    ] = None,
    select: Annotated[
        Optional[str],
        typer.Option("--select", help="Rules side by side, e.g. best,last,tail:5.", metavar="RULE,..."),
    ] = None,
    digits: Annotated[
        Optional[int], typer.Option("--digits", min=0, max=15, help="Of results, behind the point.", metavar="N")
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Show fractions in percent.")] = False,
    title: Annotated[Optional[str], typer.Option("--title", help="Default: the experiment.")] = None,
    language: Annotated[
        str, typer.Option("--lang", help="Language the page declares, e.g. zh for Chinese names.")
    ] = "en",
    db: Db = None,
) -> None:
    """Write one HTML file that needs nothing else: a table to sort and filter, curves, and where numbers came from."""
    from expdb import pages
    from expdb.compare import tables
    from expdb.reports import page as written
    from expdb.reports.output import write
    from expdb.reports.text import visible

    if output != STDOUT and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {output}: a page is HTML", hint=f"-o {output.with_suffix('.html').name}, or -o -")
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language):
        raise UsageError(f"--lang {language!r} names no language", hint="--lang en, --lang zh")
    asked = pages.Asked(
        tables.Asked(
            experiment=experiment,
            runs=tuple(runs or ()),
            where=where,
            columns=columns,
            select=select,
            sort=sort,
            top=top,
            digits=digits,
            percent=percent,
        ),
        metrics=tuple(metrics or ()),
        group_by=group_by,
        title=title,
        language=language,
    )
    with current(database_path(db)) as database:
        found = pages.page(database, asked)
    text = written.render(found)
    if output == STDOUT:
        sys.stdout.write(text)
        return
    write(text, output)
    size = len(text.encode("utf-8")) / 1e6
    curves = sum(not curve.reported for curve in found.curves)
    runs_said = f"{len(found.runs):,} {'run' if len(found.runs) == 1 else 'runs'}"
    print(f"{visible(str(output))}: {runs_said}, {curves:,} {'curve' if curves == 1 else 'curves'}, {size:.1f} MB")
    if size > LARGE_MB:
        print("  a large page opens slowly: fewer runs by -w or --top, fewer curves by -y", file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    documenting.register(report_app)
    app.add_typer(report_app, name="report")
