"""The commands under `report` that keep living pages: `new`, `sync` and `check`. Registered by `reporting`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expdb.options import Db, database_path

if TYPE_CHECKING:
    from expdb.documents.syncing import Looked

Pages = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Markdown pages, globs, or folders of them.", show_default=False)
]


def sync(pages: Pages, db: Db = None) -> None:
    """Bring what stands between the markers of pages up to the database; every other byte stays.

    A marker is a comment that readers do not see; docs/documents.md lists their words:

        <!-- expdb table where="lr &gt; 0.1" columns="run, best(test/accuracy)" -->

        <!-- /expdb -->
    """
    from expdb.documents import syncing
    from expdb.reports.text import visible

    looked = _looked(pages, db)
    for page in looked.pages:
        for picture, warnings in syncing.draw(page):
            name = visible(str(page.file.path.parent / picture.name))
            print(f"{name}: drawn")
            for one in warnings:
                print(f"{name}: {visible(one)}", file=sys.stderr)
    syncing.write(looked, lambda page, done: print(f"{visible(str(page.file.path))}: {_said(page.blocks, done)}"))


def check(pages: Pages, db: Db = None) -> None:
    """Say what `report sync` would change on pages, as a difference; exit code 1 where there is any."""
    from expdb.reports.text import visible

    looked = _looked(pages, db)
    stale = [page for page in looked.pages if not page.is_current()]
    for page in looked.pages:
        name = visible(str(page.file.path))
        for changed in page.difference():
            print(visible(changed))
        if page.is_current():
            print(f"{name}: {_said(page.blocks, 0)}")
        for line, picture in page.pictures:
            print(f"{name}:{line}: {visible(picture.name)} does not show what the database says", file=sys.stderr)
        if page.stale:
            blocks = ", ".join(f"{kind} at line {line}" for line, kind in page.stale)
            print(f"{name}: stale: {blocks}", file=sys.stderr)
    if stale:
        print(f"  expdb report sync {' '.join(str(page.file.path) for page in stale)}", file=sys.stderr)
        raise typer.Exit(1)


def _looked(words: Sequence[str], db: Path | None) -> "Looked":
    """What the pages should say; leaves with code 1 where a marker cannot be understood."""
    from expdb.current import current
    from expdb.documents import syncing
    from expdb.reports.text import visible

    looked = syncing.look(syncing.collect(words), lambda: current(database_path(db)))
    for one in looked.refused:
        print(f"expdb: {visible(one.message)}", file=sys.stderr)
        if one.hint:
            print(f"  {visible(one.hint)}", file=sys.stderr)
    if looked.refused:
        print("nothing was written", file=sys.stderr)
        raise typer.Exit(1)
    return looked


def _said(blocks: int, written: int) -> str:
    if not blocks:
        return "no markers"
    if not written:
        return f"current, {blocks} block{'' if blocks == 1 else 's'}"
    return f"{written} of {blocks} block{'' if blocks == 1 else 's'} written"


def register(app: typer.Typer) -> None:
    """Put the commands under `report`."""
    app.command()(sync)
    app.command()(check)
