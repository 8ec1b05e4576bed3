"""Pages brought up to the database, or what is stale on them: nothing is written before all of it is known."""

import difflib
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from expdb.documents import files, markers
from expdb.documents.contents import Contents
from expdb.documents.files import PageFile
from expdb.documents.markers import Fault, Marker
from expdb.documents.pictures import Picture
from expdb.errors import AmbiguousError, ExpdbError, InputError, MissingExtraError, NotFoundError, UsageError
from expdb.store.database import Database

SUFFIXES: Final = (".md", ".markdown", ".mdown", ".mkd")
OpenDatabase = Callable[[], AbstractContextManager[Database]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page and what it should be. stale: the blocks, by their line, that say something else.

    pictures: those that have to be drawn, each with the line of its marker.
    """

    file: PageFile
    text: str
    blocks: int
    stale: tuple[tuple[int, markers.Kind], ...] = ()
    pictures: tuple[tuple[int, Picture], ...] = ()

    def is_current(self) -> bool:
        """Whether neither the page nor a picture has to change."""
        return not self.stale and not self.pictures

    def difference(self) -> Iterator[str]:
        """What would change in the text, as lines of a unified difference."""
        before, after = (_lines(text) for text in (self.file.text, self.text))
        name = str(self.file.path)
        yield from difflib.unified_diff(before, after, name, f"{name} by the database", lineterm="")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture ready to be written. path: as a person here would type it; warnings: what is wrong with it."""

    path: Path
    picture: Picture
    data: bytes
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a page cannot be worked out: a sentence that begins with file and line, and what to type."""

    message: str
    hint: str | None = None

    @classmethod
    def at(cls, page: Path, fault: Fault) -> Self:
        """A fault with the page's name, as it was typed."""
        return cls(f"{page}:{fault.line}: {fault.message}", fault.hint)


@dataclass(frozen=True, slots=True)
class Looked:
    """The pages of a call; with any refusal, nothing of it is written."""

    pages: tuple[Page, ...]
    refused: tuple[Refusal, ...]


def collect(words: Sequence[str], verb: str = "sync") -> list[Path]:
    """The pages meant by files, globs and folders, each once. Raises NotFoundError where there is none.

    verb: the command that asks.
    """
    found: dict[Path, Path] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            pages = [Path(at, name) for at, folders, names in os.walk(path) for name in _pages(folders, names)]
        elif path.exists() or not glob.has_magic(word):
            pages = [path]
        else:
            pages = [one for one in map(Path, sorted(glob.glob(word, recursive=True))) if one.is_file()]
        if not pages or not all(one.exists() for one in pages):
            raise NotFoundError(f"there is no page {word}", hint=f"expdb report {verb} 'posts/*.md'")
        for one in pages:
            found.setdefault(Path(os.path.realpath(one)), one)
    return list(found.values())


def _pages(folders: list[str], names: list[str]) -> list[str]:
    """Names of pages in a folder; hidden folders and those of packages are not entered."""
    folders[:] = sorted(one for one in folders if not one.startswith(".") and one != "node_modules")
    return sorted(one for one in names if one.lower().endswith(SUFFIXES))


def look(paths: Sequence[Path], database: OpenDatabase, *, redraw: bool = False) -> Looked:
    """What the pages should say. The database is opened only where a page has a marker.

    redraw: pictures are drawn also where they show what they should, for another look or another font.
    """
    refused: list[Refusal] = []
    read: list[PageFile] = []
    for path in paths:
        try:
            read.append(files.read(path))
        except InputError as error:
            refused.append(Refusal(error.message, error.hint))
    looked = worked_out(read, database, redraw=redraw)
    return Looked(looked.pages, (*refused, *looked.refused))


def worked_out(texts: Sequence[PageFile], database: OpenDatabase, *, redraw: bool = False) -> Looked:
    """What pages that are read already should say."""
    refused: list[Refusal] = []
    read: list[tuple[PageFile, list[Marker]]] = []
    for file in texts:
        found, faults = markers.read(file.text)
        refused += [Refusal.at(file.path, fault) for fault in faults]
        read.append((file, found))
    if not any(found for _, found in read):
        return Looked(tuple(Page(file, file.text, 0) for file, _ in read), tuple(refused))
    pages: list[Page] = []
    drawn: dict[Path, Picture] = {}
    with database() as opened, opened.view():
        contents = Contents(opened)
        for file, found in read:
            page, wrong = _page(file, found, contents, drawn, redraw=redraw)
            pages.append(page)
            refused += wrong
    return Looked(tuple(pages), tuple(refused))


def _page(
    file: PageFile, found: Sequence[Marker], contents: Contents, drawn: dict[Path, Picture], *, redraw: bool
) -> tuple[Page, list[Refusal]]:
    """A page as it should be. drawn: the pictures that pages before it name."""
    pieces: list[str] = []
    stale: list[tuple[int, markers.Kind]] = []
    pictures: list[tuple[int, Picture]] = []
    refused: list[Refusal] = []
    place = 0
    for marker in found:
        try:
            content = contents.of(marker, file.target, file.encoding)
            if content.picture:
                other = drawn.setdefault(content.picture.path, content.picture)
                if other.digest != content.picture.digest:
                    raise UsageError(
                        f"file={content.picture.name!r} is another plot's already", hint="give it a name of its own"
                    )
                if other is content.picture and (not other.is_current() or redraw):
                    pictures.append((marker.line, other))
        except (UsageError, NotFoundError, InputError, MissingExtraError) as error:
            refused.append(Refusal.at(file.path, Fault(marker.line, error.message, _hint(error))))
            continue
        written = marker.between(content.text)
        if fault := _unwritable(written, file, marker.line):
            refused.append(Refusal.at(file.path, fault))
            continue
        if written != file.text[marker.start : marker.end]:
            stale.append((marker.line, marker.kind))
        pieces += (file.text[place : marker.start], written)
        place = marker.end
    text = "".join((*pieces, file.text[place:]))
    return Page(file, text, len(found), tuple(stale), tuple(pictures)), refused


def _unwritable(written: str, file: PageFile, line: int) -> Fault | None:
    """What a page's encoding cannot say, at the marker's line of the page as it is."""
    lacking = file.lacking(written)
    if lacking is None:
        return None
    return Fault(line, f"the page is written in {file.encoding}, which has no {lacking!r}", "save the page as UTF-8")


def _hint(error: ExpdbError) -> str | None:
    if isinstance(error, AmbiguousError):
        return f"{error.hint}: {'; '.join(error.candidates)}"
    return error.hint


def draw(looked: Looked) -> list[Drawn]:
    """The pictures that have to be drawn, in memory.

    Raises MissingExtraError where there is nothing to draw with, UsageError for what cannot be drawn.
    """
    wanted = [(page, line, picture) for page in looked.pages for line, picture in page.pictures]
    if not wanted:
        return []
    # Only who draws pays for it.
    from expdb.reports import plot

    out = []
    for page, line, picture in wanted:
        try:
            drawn = plot.render(picture.figure, plot.kind_of(picture.path.name))
        except UsageError as error:
            raise UsageError(f"{page.file.path}:{line}: {error.message}", hint=error.hint) from error
        out.append(Drawn(page.file.path.parent / picture.name, picture, drawn.data, drawn.warnings))
    return out


def write(looked: Looked, drawn: Sequence[Drawn]) -> None:
    """Write the pictures, and then the pages that show them.

    Raises InputError where a page is read-only or somebody changed it since it was read: then nothing is written. Where
    the disk fails later, the error names what was written before.
    """
    stale = [page for page in looked.pages if page.stale]
    for page in stale:
        page.file.check()
    written: list[str] = []
    try:
        for one in drawn:
            one.picture.write(one.data)
            written.append(str(one.path))
        for page in stale:
            page.file.replace(page.text)
            written.append(str(page.file.path))
    except InputError as error:
        if not written:
            raise
        hint = f"{error.hint}; " if error.hint else ""
        said = error.message.removeprefix(f"{error.path}: ")
        raise InputError(said, path=error.path, hint=f"{hint}written before: {', '.join(written)}") from error


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
