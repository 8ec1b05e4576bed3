"""The command that compares: a table for terminal, blog, paper or spreadsheet. Registered by `cli`."""

from typing import Annotated, Optional

import typer

from expdb.current import current
from expdb.options import Db, Experiment, Format, Output, Runs, Where, database_path


def compare(
    runs: Runs = None,
    experiment: Experiment = None,
    where: Where = None,
    columns: Annotated[
        Optional[str], typer.Option("--columns", help="e.g. run, best(test/accuracy) as acc", metavar="EXPR,...")
    ] = None,
    group_by: Annotated[
        Optional[str],
        typer.Option("--group-by", help="Mean ± std and n over runs: all-but:seed, or params.", metavar="NAME,..."),
    ] = None,
    select: Annotated[
        Optional[str],
        typer.Option("--select", help="Rules side by side, e.g. best,last,tail:5.", metavar="RULE,..."),
    ] = None,
    pivot: Annotated[
        Optional[str],
        typer.Option("--pivot", help="e.g. model, dataset, best(test/accuracy)", metavar="ROW,COLUMN,VALUE"),
    ] = None,
    sort: Annotated[
        Optional[str], typer.Option("--sort", help="Best first for metrics; -EXPR turns it round.", metavar="EXPR")
    ] = None,
    top: Annotated[Optional[int], typer.Option("--top", min=1, help="Only the first N rows.", metavar="N")] = None,
    only_changed: Annotated[
        bool, typer.Option("--only-changed", help="Leave out columns in which all rows say the same.")
    ] = False,
    bold: Annotated[
        Optional[str], typer.Option("--bold", help="best: the best of each column, ties too.", metavar="best")
    ] = None,
    digits: Annotated[
        Optional[int], typer.Option("--digits", min=0, max=15, help="Of results, behind the point.", metavar="N")
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Show fractions in percent.")] = False,
    caption: Annotated[Optional[str], typer.Option("--caption", help="What stands above the table.")] = None,
    format_name: Format = None,
    style: Annotated[
        Optional[str], typer.Option("--style", help="Of Markdown: github, or typora's padding.", metavar="NAME")
    ] = None,
    output: Output = None,
    db: Db = None,
) -> None:
    """Compare runs: a table for terminal, blog, paper or spreadsheet."""
    from expdb import tables
    from expdb.reports.output import show

    asked = tables.Asked(
        experiment=experiment,
        runs=tuple(runs or ()),
        where=where,
        columns=columns,
        sort=sort,
        top=top,
        group_by=group_by,
        select=select,
        pivot=pivot,
        only_changed=only_changed,
        bold=bold,
        digits=digits,
        percent=percent,
        caption=caption,
    )
    with current(database_path(db)) as database:
        found = tables.table(database, asked)
    show(found, format_name, output, style)
