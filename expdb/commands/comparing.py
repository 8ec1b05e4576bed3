"""The command that compares: a table for terminal, blog, paper or spreadsheet. Registered by `cli`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Optional

import typer

from expdb.commands.current import current
from expdb.commands.options import Db, Experiment, Format, Output, Runs, Where, database_path
from expdb.errors import InputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from expdb.compare.tables import Asked

PRESERVE: Final = "preserve"


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
    lang: Annotated[Optional[str], typer.Option("--lang", help="Of the sentences beneath: en, zh.")] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="With --like PAGE: write the page itself, corrected rows alone.")
    ] = False,
    format_name: Format = None,
    style: Annotated[
        Optional[str],
        typer.Option(
            "--style",
            help="Of Markdown: github, typora's padding, or preserve: as their page wrote it.",
            metavar="NAME",
        ),
    ] = None,
    like: Annotated[
        Optional[str],
        typer.Option("--like", help="The tables of an ingested page, or the one at LINE.", metavar="PAGE[:LINE]"),
    ] = None,
    output: Output = None,
    db: Db = None,
) -> None:
    """Compare runs: a table for terminal, blog, paper or spreadsheet."""
    from expdb.compare import tables
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
        lang=lang,
    )
    if in_place:
        _write_back(asked, like, format_name, style, output, db)
        return
    if like is not None or style == PRESERVE:
        _preserve(asked, like, style, format_name, output, db)
        return
    with current(database_path(db)) as database:
        found = tables.table(database, asked)
    show(found, format_name, output, style)


def _preserve(
    asked: "Asked", like: str | None, style: str | None, format_name: str | None, output: Path | None, db: str | None
) -> None:
    """Print tables as their pages wrote them, with what the database says now."""
    from expdb.compare import originals, tables
    from expdb.reports.output import write_bytes
    from expdb.reports.text import visible

    tables.check_selection(asked)
    if like is not None and not like.strip():
        raise UsageError("--like of no page", hint="--like PAGE, or PAGE:LINE")
    if style not in (None, PRESERVE) or format_name not in (None, "md", "markdown"):
        raise UsageError("a table as its page wrote it has the page's format", hint="leave out --format and --style")
    page, line = originals.place_of(like) if like is not None else (None, None)
    if output is not None and page is not None and output.exists() and output.samefile(page):
        hint = f"--like {page} --in-place writes the page; or -o another file"
        raise UsageError(f"-o {output} would replace the page by its tables", hint=hint)
    with current(database_path(db)) as database:
        found = originals.originals(database, tables.selected(database, asked), page, line)
    # Tables in one stream are parted by a blank line, as on a page.
    write_bytes(b"\n".join(one.data for one in found), output)
    for one in found:
        for line, said in one.remarks:
            print(f"{visible(one.path)}:{line}: {visible(said)}", file=sys.stderr)
        for again in one.again:
            print(f"{one.path}:{one.line}: the same table stands again in line {again}", file=sys.stderr)


def _write_back(
    asked: "Asked", like: str | None, format_name: str | None, style: str | None, output: Path | None, db: str | None
) -> None:
    """Bring the tables of a page up to the database, in the page's own file."""
    from expdb.compare import originals, tables
    from expdb.reports.output import write_bytes
    from expdb.reports.text import visible

    if like is None or asked != tables.Asked() or format_name or style not in (None, PRESERVE) or output is not None:
        raise UsageError(
            "--in-place goes with --like PAGE, and with nothing else", hint="expdb compare --like PAGE --in-place"
        )
    if not like.strip():
        raise UsageError("--like of no page", hint="expdb compare --like PAGE --in-place")
    page, line = originals.place_of(like)
    if line is not None:
        raise UsageError("--in-place writes all tables of a page", hint=f"expdb compare --like {page} --in-place")
    with current(database_path(db)) as database:
        found = originals.whole(database, page)
    again = f"expdb ingest --again {page}"
    if not Path(page).is_file():
        raise NotFoundError(f"{page} is no longer there")
    if Path(page).read_bytes() != found.read:
        raise InputError("changed since it was ingested; nothing was written", path=page, hint=again)
    for at, said in found.remarks:
        print(f"{visible(page)}:{at}: {visible(said)}", file=sys.stderr)
    if not found.changed:
        print(f"{visible(page)}: current" + (", but for what it has no cell for" if found.remarks else ""))
        return
    write_bytes(found.now, Path(page))
    lines = ", ".join(map(str, found.changed))
    print(
        f"{visible(page)}: written, line{'s' * (len(found.changed) > 1)} {lines}; {visible(again)} tells the database"
    )
