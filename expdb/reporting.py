"""The commands under `report`: pages for people. Registered on the command line by `cli`."""

from pathlib import Path
from typing import Annotated

import typer

from expdb.options import Db, Experiment, Runs, Where

report_app = typer.Typer(help="Pages for people, made of results.", no_args_is_help=True, rich_markup_mode=None)


@report_app.callback()
def _root() -> None:
    """Pages for people, made of results."""


@report_app.command()
def page(
    runs: Runs = None,
    experiment: Experiment = None,
    where: Where = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Write to this file; - is standard output.", metavar="FILE")
    ] = Path("page.html"),
    db: Db = None,
) -> None:
    """Write one HTML file that needs nothing else: a table to sort and filter, curves, and where numbers came from."""
    raise NotImplementedError


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(report_app, name="report")
