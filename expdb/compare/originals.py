"""Tables of a page as they were written, with what the database says now: every byte that still holds is kept."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from expdb.errors import InputError, NotFoundError
from expdb.masking import is_secret
from expdb.parsers.pages.markup import TableBlock, scan, spans
from expdb.parsers.pages.tables import TableReader, canonical_cell, number_in
from expdb.parsers.reading import Reading
from expdb.records import REPORTED, Cell
from expdb.reports.markdown import cell_of
from expdb.reports.text import number, width
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.places import STDIN, located, readable
from expdb.store.reader import MetricRecord, RunRecord

# A deviation, said of the number before it.
_AROUND = re.compile(r"(?:±|\+/-|\+-|\\pm)\s*[0-9.]+")
_UNREADABLE = re.compile("[\udc80-\udcff\ufffd]+")


@dataclass(frozen=True, slots=True)
class Original:
    """A table of a page. path: the page, as a person here would type it; line: of its header, from 1.

    text: its lines with their ends, rows of other runs left out. encoding: the page's. changed: lines whose row no
    longer says what the page said. again: lines at which the same table begins once more. remarks: what the text
    cannot say, (line, sentence).
    """

    path: str
    line: int
    text: str
    encoding: str
    changed: tuple[int, ...]
    again: tuple[int, ...] = ()
    remarks: tuple[tuple[int, str], ...] = ()

    @property
    def data(self) -> bytes:
        """The bytes that stand on the page. Raises InputError for what its encoding has no letters for."""
        return _encoded(self.text, self.encoding, self.path, self.line)


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was read, and with what the database says now. changed: lines that are no longer the same;
    remarks: what the page cannot say, (line, sentence)."""

    read: bytes
    now: bytes
    changed: tuple[int, ...]
    remarks: tuple[tuple[int, str], ...] = ()


def _encoded(text: str, encoding: str, path: str, line: int | None) -> bytes:
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(f"{encoding} has no {text[error.start : error.end]!r}", path=path, line=line) from None


def place_of(text: str) -> tuple[str, int | None]:
    """PAGE or PAGE:LINE as a file and a line."""
    page, colon, line = text.rpartition(":")
    if colon and re.fullmatch(r"[0-9]{1,9}", line) and not Path(text).exists():
        return page, int(line)
    return text, None


def originals(
    database: Database, records: Sequence[RunRecord], page: str | None = None, line: int | None = None
) -> list[Original]:
    """The tables that state the runs' results, in the order of their pages; a table that stands on a page again is
    given once, unless its line is asked for.

    page: only those of this file, as it was read last; line: only the table that it belongs to. Raises NotFoundError
    where there is none.
    """
    with database.view():
        found = list(_originals(database, {record.id: record for record in records}, page, line))
    if found:
        return found
    if page is None:
        hint = "expdb ls -w \"origin = 'page'\" lists those that were"
        raise NotFoundError("none of these runs was read from a table of a page", hint=hint)
    where = f"{page}:{line}" if line is not None else page
    raise NotFoundError(
        f"no table of results of these runs stands at {where}", hint="expdb blame RUN METRIC says where"
    )


def whole(database: Database, page: str) -> Page:
    """A page with all its tables as the database has them now. Rows of removed runs stay as they are.

    Raises NotFoundError for a page that was never read.
    """
    with database.view():
        sheet = next(_sheets(database, page))
        return sheet.whole({record.id: record for record in reader.runs(database)})


def _originals(
    database: Database, records: Mapping[int, RunRecord], page: str | None, line: int | None
) -> Iterator[Original]:
    told: set[int] = set()
    found: list[list[Original]] = []
    for sheet in _sheets(database, page):
        # A page that was read anew states the same runs again.
        wanted = {at: run for at, run in sheet.rows.items() if run in records and run not in told}
        found.append([])
        for block, first in sheet.tables:
            lines = (block.line, block.line + 1, *(at for at, _ in block.rows))
            stated = {at: records[wanted[at]] for at in lines if at in wanted}
            if stated and (line in lines if line is not None else first == block.line):
                found[-1].append(sheet.restated(block, stated))
        told.update(wanted.values())
    for one in reversed(found):
        yield from one


def _sheets(database: Database, page: str | None) -> Iterator["_Sheet"]:
    """The pages that are kept, the one read last first; of one place only that."""
    asked = Path(os.path.abspath(page)) if page is not None else None
    told: set[int] = set()
    for source_id, encoding, place in reader.pages(database):
        path = Path(STDIN) if place == STDIN else located(place, database.address)
        if source_id in told or asked not in (None, path):
            continue
        told.add(source_id)
        yield _Sheet(database, source_id, encoding, STDIN if place == STDIN else _typed(path))
        if asked is not None:
            return
    if asked is not None:
        hint = f"expdb ingest {page}" if asked.is_file() else None
        raise NotFoundError(f"{page} was not read as a page", hint=hint)


def _typed(path: Path) -> str:
    here = Path.cwd()
    return readable(str(path.relative_to(here) if path.is_relative_to(here) else path))


class _Sheet:
    """A page as it was read."""

    def __init__(self, database: Database, source_id: int, encoding: str, path: str) -> None:
        self.path = path
        # A byte order mark is a character of the first line.
        self.encoding = "utf-8" if encoding == "utf-8-sig" else encoding
        self.content = reader.content(database, source_id) or b""
        # A table's row is one line; a log that was pasted has more, and stands in no table.
        self.rows = {first: run for run, first, last in reader.lines_of_runs(database, source_id) if first == last}

    @cached_property
    def lines(self) -> list[str]:
        """Each line with its end; bytes that are no text as surrogates."""
        # Not splitlines, which takes other characters for line ends, too.
        return re.findall(r"[^\n]*\n|[^\n]+", self.content.decode(self.encoding, "surrogateescape"))

    @cached_property
    def tables(self) -> list[tuple[TableBlock, int]]:
        """The tables of the page, each with the line at which the same table first stands."""
        out: list[tuple[TableBlock, int]] = []
        first: dict[frozenset[int], int] = {}
        for block in scan(Reading.of_bytes(self.content, self.path).text).blocks:
            if isinstance(block, TableBlock):
                runs = frozenset(self.rows[at] for at, _ in block.rows if at in self.rows)
                out.append((block, first.setdefault(runs, block.line) if runs else block.line))
        return out

    def restated(self, block: TableBlock, records: Mapping[int, RunRecord]) -> Original:
        """The table with what the database says of its runs."""
        text, changed = [self.lines[block.line - 1], self.lines[block.line]], []
        remarks: list[tuple[int, str]] = []
        for at, row in self._rows(block, records):
            text.append(row.text)
            remarks += ((at, said) for said in row.remarks)
            if row.text != self.lines[at - 1]:
                changed.append(at)
        again = tuple(one.line for one, first in self.tables if first == block.line and one is not block)
        return Original(self.path, block.line, "".join(text), self.encoding, tuple(changed), again, tuple(remarks))

    def _rows(self, block: TableBlock, records: Mapping[int, RunRecord]) -> Iterator[tuple[int, "_Row"]]:
        """(line, row) of each row of these runs as the database has them now."""
        labels = frozenset(m.label for record in records.values() for m in record.metrics if m.kind == REPORTED)
        columns = TableReader(labels).columns(block)
        for at, cells in block.rows:
            if at in records:
                yield at, _restated(self.lines[at - 1], len(cells), columns, records[at])

    def whole(self, records: Mapping[int, RunRecord]) -> Page:
        """The page with every row of these runs as the database has it now; every other byte alone."""
        lines = list(self.lines)
        changed = []
        remarks: list[tuple[int, str]] = []
        for block, _ in self.tables:
            for at, row in self._rows(block, {at: records[run] for at, run in self.rows.items() if run in records}):
                remarks += ((at, said) for said in row.remarks)
                if row.text != lines[at - 1]:
                    changed.append(at)
                    lines[at - 1] = row.text
        now = _encoded("".join(lines), self.encoding, self.path, None)
        return Page(self.content, now, tuple(changed), tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it is now. remarks: what it cannot say, a sentence each."""

    text: str
    remarks: tuple[str, ...] = ()


def _restated(line: str, count: int, columns: Sequence[tuple[str, bool]], record: RunRecord) -> _Row:
    """A row with what the run says now in the place of what it no longer says. count: of cells that the reader saw."""
    places = spans(line)
    if len(places) != count:
        places = spans(line, code=True)
    remarks = [
        f"{name} is {now} now, and the row has no cell for it"
        for name, is_result in columns[len(places) :]
        if (now := _result("", name, record) if is_result else _word("", name, record))
    ]
    # From behind, so that what is replaced moves nothing that is still to come.
    for (start, end), (name, is_result) in reversed(list(zip(places, columns, strict=False))):
        raw = line[start:end]
        now = _result(raw, name, record) if is_result else _word(raw, name, record)
        if now is not None:
            line = line[:start] + _fitted(raw, now) + line[end:]
            if is_result and (around := _AROUND.search(now)):
                remarks.append(f"{name} is now {now}, though {around[0]} was said of {number_in(raw)}")
    return _Row(line, tuple(remarks))


def _result(raw: str, name: str, record: RunRecord) -> str | None:
    """What a cell of results says now; None where it says so already."""
    metric = next((m for m in record.metrics if m.label == name and m.kind == REPORTED), None)
    if metric is None:
        return None
    bare = raw.strip()
    stated, printed = number_in(bare), _printed(metric)
    if stated is None:
        return printed
    if float(stated) == metric.last_value or stated == printed:
        return None
    # Its unit, its bold and its doubt stay as they are.
    return printed.join(bare.rsplit(stated, 1)) if bare.count(stated) == 1 else bare.replace(stated, printed, 1)


def _printed(metric: MetricRecord) -> str:
    # SQLite stores NaN as NULL.
    return number(Cell(float("nan") if metric.last_value is None else metric.last_value, metric.decimals))


def _word(raw: str, name: str, record: RunRecord) -> str | None:
    """What a cell of words says now; None where it says so already, or where nobody may know it."""
    stated, now = canonical_cell(raw.strip().replace("\\|", "|")), record.params.get(name, "")
    # Bytes that are no text are stored as U+FFFD, and stand here as surrogates.
    if _UNREADABLE.sub("\ufffd", stated) == _UNREADABLE.sub("\ufffd", now) or is_secret(name):
        return None
    return cell_of(now) if now else ""


def _fitted(raw: str, now: str) -> str:
    """The new text in the room of the old cell, as wide where it fits, and on the same side."""
    bare = raw.strip()
    left = raw[: len(raw) - len(raw.lstrip())] if bare else " "
    right = raw[len(raw.rstrip()) :] if bare else " "
    spare = width(raw) - width(now)
    if len(left) > 1 and len(right) <= 1:
        return " " * max(spare - len(right), 1) + now + right
    return left + now + " " * max(spare - len(left), min(1, len(right)))
