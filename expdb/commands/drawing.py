"""The command that draws: curves as a picture for a page, or as text in the terminal. Registered by `cli`."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from expdb.commands.current import current
from expdb.commands.options import Db, Experiment, Runs, Where, database_path
from expdb.errors import UsageError

if TYPE_CHECKING:
    from expdb.figures import Figure

_STDOUT = Path("-")


def plot(
    runs: Runs = None,
    experiment: Experiment = None,
    where: Where = None,
    metrics: Annotated[
        Optional[list[str]],
        typer.Option("-y", "--metric", help="What to draw. Repeatable. Default: the result most runs have."),
    ] = None,
    x: Annotated[str, typer.Option("--x", help="Over what: step, epoch or time.")] = "step",
    group_by: Annotated[
        Optional[str],
        typer.Option("--group-by", help="Means over runs: all-but:seed, or params.", metavar="NAME,..."),
    ] = None,
    band: Annotated[
        str, typer.Option("--band", help="Around a mean: std, ci (95 % of the mean), minmax or none.")
    ] = "std",
    smooth: Annotated[
        Optional[int], typer.Option("--smooth", min=1, help="Running mean of so many values.", metavar="N")
    ] = None,
    logy: Annotated[bool, typer.Option("--logy", help="A logarithmic y axis.")] = False,
    sort: Annotated[
        Optional[str], typer.Option("--sort", help="Best first for metrics; -EXPR turns it round.", metavar="EXPR")
    ] = None,
    top: Annotated[
        Optional[int], typer.Option("--top", min=1, help="Only the first N runs or groups.", metavar="N")
    ] = None,
    title: Annotated[Optional[str], typer.Option("--title", help="What stands above.")] = None,
    size: Annotated[
        Optional[str], typer.Option("--size", help="Of a picture, in inches: 6.4x4.", metavar="WxH")
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "-o", "--output", help="FILE.svg, .png, .pdf or .txt; - is SVG on standard output.", metavar="FILE"
        ),
    ] = None,
    db: Db = None,
) -> None:
    """Draw curves of runs, or means over them with bands: as a picture, or here as text."""
    from expdb import plotting

    asked = plotting.Asked(
        experiment=experiment,
        runs=tuple(runs or ()),
        where=where,
        metrics=tuple(name for text in metrics or () for name in plotting.listed(text)),
        x=x,
        group_by=group_by,
        band=band,
        smooth=smooth,
        log=logy,
        sort=sort,
        top=top,
        title=title,
        size=size,
    )
    is_text = output is None or output.suffix.lower() == ".txt"
    if is_text and size is not None:
        raise UsageError("--size is a picture's", hint="-o FILE.svg, .png or .pdf; text is as wide as the terminal")
    if not is_text and output is not None and output != _STDOUT:
        from expdb.reports import plot as pictures

        # Before the database is asked for what cannot be written.
        pictures.check(output.name)
    with current(database_path(db)) as database:
        figure = plotting.figure(database, asked)
    if output is None:
        _print(figure)
    elif is_text:
        from expdb.reports import chart
        from expdb.reports.output import write

        write(chart.render(figure, chart.Canvas()), output)
    else:
        _picture(figure, output)


def _print(figure: "Figure") -> None:
    """The figure as text, as wide as the terminal; plain where it is no terminal."""
    from expdb.reports import chart

    columns, rows = shutil.get_terminal_size()
    canvas = chart.Canvas(
        columns=columns,
        rows=rows,
        colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        ascii=not _shows("⣿┤━×"),
    )
    sys.stdout.write(chart.render(figure, canvas))


def _shows(characters: str) -> bool:
    try:
        characters.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _picture(figure: "Figure", output: Path) -> None:
    from expdb.reports import plot as pictures
    from expdb.reports.output import write_bytes
    from expdb.reports.text import visible

    picture = pictures.render(figure, "svg" if output == _STDOUT else pictures.kind_of(output.name))
    write_bytes(picture.data, output)
    for remark in (*figure.remarks, *picture.warnings):
        print(f"expdb: {visible(remark)}", file=sys.stderr)
