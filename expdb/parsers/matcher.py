"""A person's regex on text: what its named groups find on each line, at the speed of `re`, within a limit of time."""

import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress

from expdb.errors import InputError

# A regex that needs longer for a piece would not end on a file.
LIMIT_S = 5.0
PIECE_CHARACTERS = 1 << 16
LINE_LIMIT = 4096
# Where fewer lines match, a search for the regex alone is quicker than a pattern for every line.
_DENSE = 0.25

# The text of a group: None, or nothing, where it found nothing.
Texts = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Found:
    """Lines that match. indexes: of the lines, rising; columns: one for each named group."""

    indexes: list[int]
    columns: list[list[str | None]]


class _TooSlow(Exception):  # noqa: N818  # a signal within this module, no error of a person's
    """The time is up."""


@contextmanager
def _limited() -> Iterator[None]:
    """Raise _TooSlow where what stands inside takes longer than LIMIT_S."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        # Nothing interrupts a match here; at least the next piece is not begun.
        began = time.perf_counter()
        yield
        if time.perf_counter() - began > LIMIT_S:
            raise _TooSlow
        return

    def ring(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Matcher:
    """A regex, compiled for lines. name, path: whose it is and what it reads, for messages.

    A line may match several times, each match with other groups; of what it says twice the first counts.
    """

    def __init__(self, regex: re.Pattern[str], name: str, path: str) -> None:
        self.names = tuple(regex.groupindex)
        self._regex, self._name, self._path = regex, name, path
        self._groups = tuple(regex.groupindex.values())
        # These mean a line's ends, and no more than that.
        self._by_line = re.search(r"\\[AZ]", regex.pattern) is not None
        self._whole = None if self._by_line else _whole(regex)
        self._dense = True

    def find(self, text: str, line: int, enough: int | None = None) -> Found:
        """The lines that match, counted from 0; about the first so many where those are enough. line: what the text's
        first line is in the file.

        InputError where the regex takes too long.
        """
        found = Found([], [[] for _ in self.names])
        lines = text.split("\n")
        if max(map(len, lines)) > LINE_LIMIT:
            text = "\n".join(one if len(one) <= LINE_LIMIT else "" for one in lines)
        for first, piece in pieces(text):
            try:
                with _limited():
                    indexes, columns = self._in_piece(piece, enough)
            except _TooSlow:
                raise InputError(
                    f"{self._name} takes more than {LIMIT_S:.0f} s for the 64 KB from this line on",
                    path=self._path,
                    line=line + first,
                    hint="its regex repeats what repeats already, as (a+)+ and .*.*.* do; fixed text between groups"
                    r" helps, as do \S+ and [\d.]+ instead of .*",
                ) from None
            found.indexes.extend(map(first.__add__, indexes))
            for column, more in zip(found.columns, columns, strict=True):
                column.extend(more)
            if enough and len(found.indexes) >= enough:
                break
        return found

    def _in_piece(self, text: str, enough: int | None) -> tuple[Sequence[int], Sequence[Texts]]:
        if self._whole and self._dense and not enough:
            quick = self._every_line(self._whole, text)
            if quick:
                return quick
        rows = None if self._by_line else self._searched(text, enough)
        if rows is None:
            rows = {}
            for index, one in enumerate(text.split("\n")):
                for match in self._regex.finditer(one):
                    _add(rows, index, tuple(match[i] for i in self._groups))
        if not rows:
            return (), [()] * len(self.names)
        return list(rows), list(zip(*rows.values(), strict=True))

    def _every_line(self, whole: re.Pattern[str], text: str) -> tuple[Sequence[int], Sequence[Texts]] | None:
        """What a pattern that takes every line finds; None where its n-th match is not the n-th line, or where a line
        has some of the groups only: its other matches may have the rest."""
        found = whole.findall(text.removesuffix("\n"))
        if len(found) != text.count("\n") + (not text.endswith("\n")):
            return None
        every: list[Texts] = list(zip(*found, strict=True))
        columns = [every[group - 1] for group in self._groups]
        mask = list(map(bool, columns[0]))
        there = sum(mask)
        self._dense = there > _DENSE * len(mask)
        if there == len(mask):
            return None if any("" in column for column in columns) else (range(len(mask)), columns)
        if any(list(map(bool, column)) != mask for column in columns):
            return None
        return list(compress(range(len(mask)), mask)), [list(compress(column, mask)) for column in columns]

    def _searched(self, text: str, enough: int | None) -> dict[int, tuple[str | None, ...]] | None:
        """The rows of the text; None where a match does not end on its line."""
        rows: dict[int, tuple[str | None, ...]] = {}
        at = index = 0
        for match in self._regex.finditer(text):
            start = match.start()
            index += text.count("\n", at, start)
            at = start
            if text.find("\n", start, match.end()) >= 0:
                return None
            _add(rows, index, tuple(match[i] for i in self._groups))
            if enough and len(rows) >= enough:
                break
        self._dense = len(rows) > _DENSE * text.count("\n")
        return rows


def _whole(regex: re.Pattern[str]) -> re.Pattern[str] | None:
    """A pattern whose matches are whole lines, with one more branch for those that the regex does not match; None
    for a regex that cannot stand within another."""
    # An alternative may find other groups further on in the line; flags at the start must stay at the start.
    if regex.flags & (re.DOTALL | re.VERBOSE) or "|" in regex.pattern or re.match(r"\(\?[a-zA-Z]+\)", regex.pattern):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(f"^(?:.*?(?:{regex.pattern}).*+|(.*+))$", regex.flags)
    except re.error:
        return None


def _add(rows: dict[int, tuple[str | None, ...]], index: int, groups: tuple[str | None, ...]) -> None:
    if not any(groups):
        return
    old = rows.get(index)
    rows[index] = groups if old is None else tuple(a or b for a, b in zip(old, groups, strict=True))


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Whole lines, and the index of the first of each piece."""
    at = index = 0
    while at < len(text):
        end = text.rfind("\n", at, at + PIECE_CHARACTERS) + 1
        end = end if end > at else len(text)
        piece = text[at:end]
        yield index, piece
        index += piece.count("\n")
        at = end
