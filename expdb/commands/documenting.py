"""The commands under `report` that keep living pages: `new`, `sync` and `check`. Registered by `reporting`."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from expdb.commands.options import Db, Experiment, Runs, Where, database_path
from expdb.errors import UsageError

if TYPE_CHECKING:
    from expdb.documents.syncing import Drawn, Looked

Pages = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Markdown pages, globs, or folders of them.", show_default=False)
]


def new(
    runs: Runs = None,
    engine: Annotated[
        str, typer.Option("--engine", help="hexo, jekyll, plain, or a template of your own.", metavar="NAME")
    ] = "plain",
    lang: Annotated[str, typer.Option("--lang", help="zh or en.")] = "en",
    experiment: Experiment = None,
    where: Where = None,
    title: Annotated[Optional[str], typer.Option("--title", help="Default: the experiment's name.")] = None,
    template: Annotated[
        Optional[Path],
        typer.Option("--template", help="Your own Jinja2 template, instead of --engine.", metavar="FILE"),
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", help="Default: after the title, in this folder.", metavar="FILE")
    ] = None,
    db: Db = None,
) -> None:
    """Begin a post: front matter, configuration, curves and results as living markers, and findings to be written."""
    from expdb import settings
    from expdb.commands.current import current
    from expdb.documents import files, posts, syncing
    from expdb.reports.text import visible

    own = settings.in_force().templates
    if template is not None:
        if template.suffix != ".md" or not template.is_file():
            raise UsageError(f"there is no template {template}", hint="--template FILE.md")
        own, engine = template.parent, template.stem
    asked = posts.Asked(engine, lang, tuple(runs or ()), experiment, where, title)
    now_ms = settings.now_ms()
    with current(database_path(db)) as database:
        found = posts.records(database, asked)
        named = Path(posts.name(asked, posts.title(asked, found), now_ms))
        path = named if output is None else output / named if output.is_dir() else output
        if os.path.lexists(path):
            raise UsageError(f"{path} is there already", hint="-o ANOTHER.md")
        page = files.new(path, posts.page(database, asked, found, path, now_ms, own))
        looked = _accepted(syncing.worked_out([page], lambda: nullcontext(database)))
    drawn = syncing.draw(looked)
    for picture in drawn:
        picture.picture.write(picture.data)
    _say_drawn(drawn)
    for one in looked.pages:
        files.create(one.file, one.text)
        print(f"{visible(str(path))}: {_said(one.blocks, one.blocks)}")


def sync(
    pages: Pages,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Draw every picture, also where its numbers are the same.")
    ] = False,
    db: Db = None,
) -> None:
    """Bring what stands between the markers of pages up to the database; every other byte stays.

    A marker is a comment that readers do not see; docs/documents.md lists their words:

        <!-- expdb table where="lr &gt; 0.1" columns="run, best(test/accuracy)" -->

        <!-- /expdb -->
    """
    from expdb.documents import syncing
    from expdb.reports.text import visible

    looked = _looked(pages, db, "sync", redraw=redraw)
    drawn = syncing.draw(looked)
    syncing.write(looked, drawn)
    _say_drawn(drawn)
    for page in looked.pages:
        if page.blocks:
            print(f"{visible(str(page.file.path))}: {_said(page.blocks, len(page.stale))}")
    _say_without(looked)


def check(pages: Pages, db: Db = None) -> None:
    """Say what `report sync` would change on pages, as a difference; exit code 1 where there is any."""
    from expdb.reports.text import visible

    looked = _looked(pages, db, "check")
    stale = [page for page in looked.pages if not page.is_current()]
    for page in looked.pages:
        name = visible(str(page.file.path))
        for changed in page.difference():
            print(visible(changed))
        if page.blocks and page.is_current():
            print(f"{name}: {_said(page.blocks, 0)}")
        for line, picture in page.pictures:
            print(f"{name}:{line}: {visible(picture.name)} does not show what the database says", file=sys.stderr)
        if page.stale:
            blocks = ", ".join(f"{kind} at line {line}" for line, kind in page.stale)
            print(f"{name}: stale: {blocks}", file=sys.stderr)
    _say_without(looked)
    if stale:
        print(f"  expdb report sync {' '.join(str(page.file.path) for page in stale)}", file=sys.stderr)
        raise typer.Exit(1)


def _looked(words: Sequence[str], db: str | None, verb: str, *, redraw: bool = False) -> "Looked":
    """What the pages should say; leaves with code 1 where a marker cannot be understood."""
    from expdb.commands.current import current
    from expdb.documents import syncing

    return _accepted(syncing.look(syncing.collect(words, verb), lambda: current(database_path(db)), redraw=redraw))


def _accepted(looked: "Looked") -> "Looked":
    from expdb.reports.text import visible

    for one in looked.refused:
        print(f"expdb: {visible(one.message)}", file=sys.stderr)
        if one.hint:
            print(f"  {visible(one.hint)}", file=sys.stderr)
    if looked.refused:
        print("nothing was written", file=sys.stderr)
        raise typer.Exit(1)
    return looked


def _say_drawn(drawn: "Sequence[Drawn]") -> None:
    from expdb.reports.text import visible

    for one in drawn:
        print(f"{visible(str(one.path))}: drawn")
        for warning in one.warnings:
            print(f"{visible(str(one.path))}: {visible(warning)}", file=sys.stderr)


def _say_without(looked: "Looked") -> None:
    """A call for all pages of a folder is not told of each that has no marker."""
    without = [page for page in looked.pages if not page.blocks]
    if without:
        print(f"no markers: {len(without)} page{'' if len(without) == 1 else 's'}")


def _said(blocks: int, written: int) -> str:
    if not written:
        return f"current, {blocks} block{'' if blocks == 1 else 's'}"
    return f"{written} of {blocks} block{'' if blocks == 1 else 's'} written"


def register(app: typer.Typer) -> None:
    """Put the commands under `report`."""
    app.command()(new)
    app.command()(sync)
    app.command()(check)
