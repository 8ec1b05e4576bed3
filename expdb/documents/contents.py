"""What stands between the markers of a page, worked out over one reading of the runs."""

import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Final

from expdb import compare, plotting
from expdb.compare import tables
from expdb.compare.wording import checked
from expdb.documents import pictures, values
from expdb.documents.markers import Marker
from expdb.documents.pictures import Picture
from expdb.errors import UsageError
from expdb.listing import came
from expdb.records import Cell, Column, Table
from expdb.reports import markdown
from expdb.reports.markdown import inline
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.places import STDIN, located, readable
from expdb.store.reader import RunRecord, SourceRecord

_RUNS_WORDS: Final = ("runs", "experiment", "where", "sort", "top", "caption", "lang")
_PLOT_WORDS: Final = (*plotting.WORDS, "file", "alt", "link")
_DIGEST_SHOWN: Final = 8
_TITLES: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("run", "source", "lines", "sha256"),
    "zh": ("运行", "来源", "行", "sha256"),
}


@dataclass(frozen=True, slots=True)
class Content:
    """Markdown, and the picture that it shows, if any."""

    text: str
    picture: Picture | None = None


class Contents:
    """What markers say, by one state of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _runs(self) -> list[RunRecord]:
        """All of them; twenty markers over ten thousand runs are one reading."""
        gc.disable()
        try:
            found = reader.runs(self._database)
        finally:
            gc.enable()
        # It all stays to the end; who looks through it for what can go spends a fifth of the time on that.
        gc.freeze()
        return found

    def of(self, marker: Marker, page: Path, encoding: str = "utf-8") -> Content:
        """The content of a marker on that page, a resolved path, in what its encoding has.

        Raises UsageError, ExpressionError, NotFoundError or InputError for what it cannot state.
        """
        match marker.kind:
            case "table":
                found = tables.table(self._database, tables.read(marker.words), self._runs)
                return Content(markdown.render(found, encoding=encoding))
            case "value":
                return Content(values.value(self._database, marker.words, self._runs))
            case "runs":
                return Content(markdown.render(self._listed(marker.words, page), encoding=encoding))
            case "plot":
                return self._plot(marker.words, page)

    def _plot(self, words: Mapping[str, str], page: Path) -> Content:
        _known("plot", words, _PLOT_WORDS)
        pictures.place(words.get("file", ""), page)
        asked = plotting.asked({name: text for name, text in words.items() if name in plotting.WORDS})
        figure = plotting.figure(self._database, asked, self._runs)
        picture = pictures.picture(words["file"], page, figure)
        alt = words.get("alt") or figure.title or ", ".join(panel.title for panel in figure.panels)
        address = pictures.link(words.get("link") or words["file"])
        return Content(f"![{inline(alt)}]({address})", picture)

    def _listed(self, words: Mapping[str, str], page: Path) -> Table:
        _known("runs", words, _RUNS_WORDS)
        asked = tables.read(words)
        language = checked(words.get("lang") or "en")
        records = compare.select(self._database, tables.understood(asked), self._runs)
        rows = tuple(self._row(record, page) for record in records)
        columns = tuple(Column(title, title) for title in _TITLES[language])
        return Table(columns, rows, title=words.get("caption") or None)

    def _row(self, record: RunRecord, page: Path) -> tuple[Cell, ...]:
        sources = reader.sources(self._database, record.id)
        named = "\n".join(self._place(source, page) for source in sources) or came(record.origin)
        lines = "\n".join(f"{source.line_first}–{source.line_last}" for source in sources)
        digests = "\n".join(source.sha256[:_DIGEST_SHOWN] for source in sources)
        return Cell(record.name), Cell(named), Cell(lines or None), Cell(digests or None)

    def _place(self, source: SourceRecord, page: Path) -> str:
        """Where it lies, seen from the page; outside of the project only its name, for a page is published."""
        place = source.places[0] if source.places else STDIN
        if place == STDIN:
            return STDIN
        path = located(place, self._database.address)
        home = _project(page)
        if path.is_relative_to(home):
            return readable(os.path.relpath(path, page.parent)).replace(os.sep, "/")
        return readable(path.name)


def _project(page: Path) -> Path:
    """The folder around the page that is one piece of work: with expdb.toml or a repository, else the page's own."""
    marks = ("expdb.toml", ".git")
    return next((one for one in page.parents if any((one / mark).exists() for mark in marks)), page.parent)


def _known(kind: str, words: Mapping[str, str], known: Sequence[str]) -> None:
    for word in words:
        if word not in known:
            close = get_close_matches(word, known, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"{kind} knows no {word!r}", hint=f"{hint}its words: {', '.join(known)}")
