"""A table written as text: how its cells are parted, and its rows with the numbers of their lines.

Cells are parted by tab, semicolon, bar, comma or blanks. The header may be parted otherwise than the rows (a header of
tabs over rows of bars), stand behind a `#` or `%`, or be padded; rows may end in one more mark than they need. A file
whose lines end in a bare carriage return is one line with many rows.
"""

import csv
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

from expdb import metrics
from expdb.parsers.reading import Block

# Rows that are looked at before anything is decided.
HEAD_ROWS = 60
HEAD_CHARS = 1 << 15
# A quoted field of more lines than this is a quote too many.
_LONGEST_FIELD = 50
_LONGEST_NAME = 500
_BLANKS = " "
_MARKS = ("\t", ";", "|", ",", _BLANKS)
# So many lines may stand above a header of aligned columns.
_PROLOGUE = 20
_RETURNS = re.compile(r"\r+\n")
_RULE = re.compile(r"\s*+[|+]?(?=[^-=]*+[-=]{2})[-=+|:\s]+")
# What opens JSON, a fence, a tag or a heading opens no table.
_NO_HEADER = ("{", "[", "```", "<", "---", "===", "+-", "##")
_WIDE_GAP = re.compile(r"[ \t]{2,}|\t")
_DATE = re.compile(r"\d{4}-\d\d-\d\d[ \t]+\d\d?:\d\d")
_PLAIN = r"[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?+"
_VALUE = rf"({_PLAIN}|[-+]?(?:nan|inf(?:inity)?))"
NUMBER = re.compile(rf"{_VALUE} ?(%)?|(?:tensor|(?:np\.)?float\d*)\({_VALUE}(?:,[^)]*)?\)", re.IGNORECASE)
_COMMA_DECIMAL = re.compile(r"[-+]?\d++,\d++(?:[eE][-+]?\d++)?+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
# What stands in a cell that has no value. `nan` is a value.
MISSING = frozenset(("", "_", "-", "--", "—", "?", ".", "na", "n/a", "<na>", "#n/a", "none", "null", "nil", "no log"))


@dataclass(frozen=True, slots=True)
class Dialect:
    """How rows are parted. header_mark: the header's own; comma_decimal: 0,5 is a half."""

    mark: str
    header_mark: str
    comma_decimal: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the order of the file, as many cells as they have; lines: the number of each one's line."""

    lines: Sequence[int]
    cells: list[list[str]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The head of a table. names: the header's cells, stripped (rows may have one cell more in front: it has no name);
    line, text: of the header; notes: comment lines above the header."""

    dialect: Dialect
    names: tuple[str, ...]
    line: int
    text: str
    notes: tuple[str, ...] = ()


def is_number(cell: str) -> bool:
    """Whether the cell is one number, perhaps in percent."""
    text = cell.strip()
    return NUMBER.fullmatch(text) is not None or _THOUSANDS.fullmatch(text) is not None


def is_missing(cell: str) -> bool:
    """Whether the cell says that there is no value."""
    return cell.strip().lower() in MISSING


def number_of(cell: str) -> tuple[str, bool] | None:
    """(digits as printed, whether in percent) of a cell, None where it is no number."""
    text = cell.strip()
    if found := NUMBER.fullmatch(text):
        return found[1] or found[3], found[2] is not None
    return (text.replace(",", ""), False) if _THOUSANDS.fullmatch(text) else None


def sheet_of(text: str, first_line: int = 1) -> Sheet | None:
    """The table that a text opens with, None where it opens with something else. Only the head is looked at."""
    lead = head_of(text)
    lines, numbers = _lines(first_line, lead)
    if len(text) > len(lead) and len(lines) > 2 and not lead.endswith("\n"):
        # The line at which the head was cut tells nothing.
        lines.pop()
    place, notes = 0, []
    # "sep=;" is an order to Excel.
    while place < len(lines) and (not lines[place].strip() or re.fullmatch(r"sep=.", lines[place].strip())):
        place += 1
    while place + 1 < len(lines) and lines[place].lstrip().startswith("#") and _goes_on(lines, place):
        notes.append(lines[place].strip())
        place += 1
    if place >= len(lines):
        return None
    found_below = _aligned_below(lines, place)
    if found_below is not None:
        notes = [line.strip() for line in lines[:found_below] if line.strip()]
        place = found_below
    header = lines[place]
    body = [line for line in lines[place + 1 : place + 1 + HEAD_ROWS] if line.strip() and not is_rule(line)]
    # A header in bars with a rule below it is a table of a page.
    paged = header.lstrip().startswith("|") and any(is_rule(line) for line in lines[place + 1 : place + 2])
    if not body or paged or header.lstrip().startswith(_NO_HEADER):
        return None
    for mark in _MARKS:
        if found := _parted(header, body, mark):
            names, dialect, shift = found
            return Sheet(dialect, ("", *names) if shift else names, numbers[place], header, tuple(notes))
    # One column: a name, and numbers below it.
    name = _names(header, "\t")
    if name and len(name) == 1 and all(is_number(line) or is_missing(line) for line in body):
        rows = [[line.strip()] for line in body]
        return Sheet(Dialect("\t", "\t", _has_comma_decimals(rows)), name, numbers[place], header, tuple(notes))
    return None


def _aligned_below(lines: list[str], place: int) -> int | None:
    """Where the header of aligned columns stands that a script prints below a few words of its own, as Chainer's
    PrintReport does; None where the text opens with its table."""
    for at in range(place + 1, min(place + _PROLOGUE, len(lines) - 1)):
        names, cells = _WIDE_GAP.split(lines[at].strip()), lines[at + 1].split()
        if (
            len(names) > 2
            and len(names) == len(cells)
            and all(map(is_number, cells))
            and metrics.step_role(names[0]) is not None
            and not any(map(is_number, names))
        ):
            above = [line for line in lines[place:at] if line.strip()]
            return at if not any(len(_WIDE_GAP.split(line.strip())) > 2 for line in above) else None
    return None


def head_of(text: str) -> str:
    """The first lines of a text: so many that a table is known by them, though its lines may be long."""
    if len(text) <= HEAD_CHARS:
        return text
    at = 0
    for _ in range(HEAD_ROWS):
        at = text.find("\n", at) + 1 or len(text)
        if at >= HEAD_CHARS:
            break
    second = text.find("\n", text.find("\n") + 1) + 1
    return text[: max(second, min(at, HEAD_CHARS))]


def is_rule(line: str) -> bool:
    """Whether the line only underlines: `---- ----`."""
    return _RULE.fullmatch(line) is not None


def _goes_on(lines: list[str], place: int) -> bool:
    """Whether the comment at place is followed by another or by a header, not by numbers."""
    below = next((line for line in lines[place + 1 :] if line.strip()), "")
    return below.lstrip().startswith("#") or not re.match(rf"\s*{_PLAIN}(?:[\s,;|]|$)", below)


def _parted(header: str, body: list[str], mark: str) -> tuple[tuple[str, ...], Dialect, bool] | None:
    """(names, dialect, shift) where rows parted at the mark fit the header, parted there or elsewhere."""
    rows = [_trimmed(cells) for line in body if (cells := _cells(line, mark)) is not None]
    if not rows:
        return None
    comma = _has_comma_decimals(rows)
    width, often = Counter(map(len, rows)).most_common(1)[0]
    if often * 2 < len(rows) and len({len(row) for row in rows}) > 3:
        return None
    widest = max(map(len, rows))
    for header_mark in (mark, *(m for m in (*_MARKS, "  ") if m != mark)):
        names = _names(header, header_mark)
        if names is None or len(names) == 1:
            continue
        shift = len(names) + 1 == width == widest and width > 1
        # Rows may be shorter than their header (what is missing at the end is left out), not most of them longer.
        fits = len(names) == width or shift or (header_mark == mark and width < len(names) <= widest)
        # Flair's rows may be longer than its header.
        fits = fits or (header_mark == mark != _BLANKS and 2 < len(names) < width)
        if fits and (header_mark == mark or _mostly_numbers(rows)):
            return names, Dialect(mark, header_mark, comma), shift
    return None


def _names(header: str, mark: str) -> tuple[str, ...] | None:
    """The header's names, None where it has none."""
    cells = _WIDE_GAP.split(header.strip()) if mark == "  " else _cells(header, mark)
    if cells is None:
        return None
    names = [bare(cell) for cell in _trimmed(cells)]
    if names and names[0] == "" and len(names) > 1 and mark == _BLANKS:
        names = names[1:]
    if any(len(name) > _LONGEST_NAME for name in names):
        return None
    words = [name for name in names if re.search(r"[^\W\d_]", name)]
    # The index that pandas writes has no name, and it may not be alone in that.
    if not words or len(words) + 2 < len(names) or any(is_number(name) for name in names if name):
        return None
    if len(names) == 1 and (len(names[0].split()) > 6 or names[0][-1] in ".:,;!?>"):
        return None
    return tuple(names)


def bare(cell: str) -> str:
    """A header's cell without its padding and the mark of a comment."""
    return cell.strip().lstrip("#\ufeff").strip()


def _mostly_numbers(rows: list[list[str]]) -> bool:
    cells = [cell for row in rows for cell in row if not is_missing(cell)]
    return sum(map(is_number, cells)) * 2 > len(cells)


def _has_comma_decimals(rows: list[list[str]]) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    decimals = [cell for cell in cells if _COMMA_DECIMAL.fullmatch(cell)]
    # 1,250 may be a thousand and more.
    return any(not _THOUSANDS.fullmatch(cell) or cell.startswith("0,") for cell in decimals) and not any(
        re.fullmatch(r"[-+]?\d+\.\d+", cell) for cell in cells
    )


def _trimmed(cells: list[str]) -> list[str]:
    """Without the empty cell that a mark at the line's end makes."""
    return cells[:-1] if len(cells) > 1 and not cells[-1].strip() else cells


def _cells(line: str, mark: str) -> list[str] | None:
    """The cells of one line; None where a quote is left open."""
    if mark == _BLANKS:
        return _DATE.sub(lambda found: found[0].replace(" ", "T"), line).split()
    if '"' not in line:
        return line.split(mark)
    try:
        rows = list(csv.reader([line], delimiter=mark, skipinitialspace=True, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def rows_of(blocks: Iterable[Block], sheet: Sheet, unread: list[tuple[int, str]]) -> Iterator[Rows]:
    """All rows below the header's line, block by block; lines that cannot be taken apart are added to unread."""
    header = sheet.line
    rest = ""
    for block in blocks:
        first = block.line - rest.count("\n")
        text, rest = rest + block.text, ""
        if '"' in text and sheet.dialect.mark != _BLANKS and text.count('"') % 2:
            # A quoted field may go on in the next block.
            cut = text.rfind("\n", 0, len(text) - 1) + 1
            while cut > 0 and text.count('"', 0, cut) % 2 and len(text) - cut < HEAD_CHARS:
                cut = text.rfind("\n", 0, cut - 1) + 1
            if cut and not text.count('"', 0, cut) % 2:
                text, rest = text[:cut], text[cut:]
        yield from _rows(first, text, sheet.dialect, header, unread)
    if rest:
        yield from _rows(first + text.count("\n"), rest, sheet.dialect, header, unread)


def _rows(line: int, text: str, dialect: Dialect, header: int, unread: list[tuple[int, str]]) -> Iterator[Rows]:
    lines, numbers = _lines(line, text)
    if numbers and numbers[0] <= header:
        lines, numbers = _below(lines, numbers, header)
    if not all(map(str.strip, lines)):
        filled = [not (not one or one.isspace()) for one in lines]
        lines, numbers = list(compress(lines, filled)), list(compress(numbers, filled))
    if not lines:
        return
    mark = dialect.mark
    if mark == _BLANKS:
        dated = any(map(_DATE.search, lines[:5]))
        cells = [_cells(one, mark) or [] for one in lines] if dated else list(map(str.split, lines))
    elif '"' not in text:
        cells = [one.split(mark) for one in lines]
    else:
        quoted = _quoted(lines, numbers, mark, unread)
        numbers, cells = quoted.lines, quoted.cells
    if dialect.comma_decimal:
        cells = [[c.replace(",", ".") if _COMMA_DECIMAL.fullmatch(c.strip()) else c for c in row] for row in cells]
    if cells:
        yield Rows(numbers, cells)


def _below(lines: list[str], numbers: Sequence[int], header: int) -> tuple[list[str], Sequence[int]]:
    """What follows the header's line; in a text of carriage returns, which is one line, what follows its first row."""
    at = bisect_left(numbers, header)
    while at < len(lines) and not lines[at].strip():
        at += 1
    return lines[at + 1 :], numbers[at + 1 :]


def _lines(line: int, text: str) -> tuple[list[str], Sequence[int]]:
    """The rows of a text and the numbers of their lines."""
    text = text[:-1] if text.endswith("\n") else text
    if "\r" in text:
        text = _RETURNS.sub("\n", text).rstrip("\r")
    lines = text.split("\n")
    if "\r" not in text:
        return lines, range(line, line + len(lines))
    out, numbers = [], []
    for number, one in enumerate(lines, line):
        pieces = re.split(r"\r+", one)
        out += pieces
        numbers += [number] * len(pieces)
    return out, numbers


def _quoted(lines: list[str], numbers: Sequence[int], mark: str, unread: list[tuple[int, str]]) -> Rows:
    """Rows with quotes in them; a quoted field may run over several lines."""
    try:
        cells = list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except csv.Error:
        cells = []
    if len(cells) == len(lines):
        return Rows(numbers, cells)
    out: list[list[str]] = []
    at_lines: list[int] = []
    place = 0
    while place < len(lines):
        whole, size = lines[place], 1
        row = _cells(whole, mark)
        while row is None and size < _LONGEST_FIELD and place + size < len(lines):
            whole, size = f"{whole}\n{lines[place + size]}", size + 1
            row = _cells_of_lines(whole, mark)
        if row is None:
            unread.append((numbers[place], lines[place]))
            place += 1
            continue
        out.append(row)
        at_lines.append(numbers[place])
        place += size
    return Rows(at_lines, out)


def _cells_of_lines(text: str, mark: str) -> list[str] | None:
    """The one row that a text of several lines is, None where it is not."""
    if text.count('"') % 2:
        return None
    try:
        rows = list(csv.reader(text.splitlines(keepends=True), delimiter=mark, skipinitialspace=True, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None
