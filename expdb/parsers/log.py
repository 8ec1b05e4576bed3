"""A training's log, line by line, in whatever words: `Epoch 3/90 loss 0.25 acc 81.2%`, and anything like it."""

import re
from collections.abc import Iterator
from itertools import chain

from expdb.parsers import CERTAIN, Options
from expdb.parsers.logs.lines import LineReader, is_log_line
from expdb.parsers.reading import Reading, Sample
from expdb.records import Event, Points

NAME = "log"
VERSION = 3
SUMMARY = "any log of lines with steps and values; the kinds of line are found in the file itself"

_CODE = re.compile(r"^[ \t]*(?:import \w|from [\w.]+ import |def \w+\(|class \w+|return\b|print\(|@\w+$)", re.MULTILINE)
# "---- Fold 1 ----" heads no page.
_HEADING = re.compile(r"[ \t]*([-=])\1+[ \t]*[^\s\-=][^\n]*?\1\1[ \t]*$", re.MULTILINE)
_MARKUP = ("```", "~~~", "\n#", "|--", "| -", "|:-")
# The most a reader of single lines can be sure of: a page has log lines too.
_SURE = 0.9
# So many lines are looked at from the beginning, and as many from the rest, in runs of neighbours.
_LINES = 160
_RUN = 8
_OPENING = 8192
_MANY = 20


def recognise(sample: Sample) -> float:
    """Certain of a file whose lines all begin like its first, sure of one that has lines of a training."""
    text = sample.text
    head = text[:4096].split("\n", 1)[0]
    if is_log_line(head) and _all_alike(text):
        return CERTAIN
    if _HEADING.match(text) and not any(sign in text for sign in _MARKUP) and _points_in(_some_of(text)):
        return CERTAIN
    # Most logs show what they are at once, and to read all of a sample takes long.
    opening = text[: text.rfind("\n", 0, _OPENING) + 1]
    if opening and len(opening) < len(text) and _points_in(opening) >= _MANY and not _CODE.search(opening):
        return _SURE
    # A program prints, too, and quotes what it prints; but some logs begin with the program.
    return _SURE if _points_in(_some_of(text)) > 2 * len(_CODE.findall(text)) else 0.0


def _some_of(text: str) -> str:
    """The first lines of a text, and neighbours from all over the rest: enough to see a training in it."""
    lines = text.split("\n")
    if len(lines) <= 2 * _LINES:
        return text
    stride = max(_RUN, (len(lines) - _LINES) // (_LINES // _RUN))
    rest = (lines[at : at + _RUN] for at in range(_LINES, len(lines), stride))
    return "\n".join([*lines[:_LINES], *chain.from_iterable(rest)]) + "\n"


def _points_in(text: str) -> int:
    events = LineReader(settings=False).feed(1, text)
    return sum(len(curve.lines) for event in events if isinstance(event, Points) for curve in event.curves)


def _all_alike(text: str) -> bool:
    """Whether every line begins like the first: there is no blank line, heading or fence, so this is no page."""
    return text.count("\n" + text[:5]) + 1 == text.rstrip("\n").count("\n") + 1


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of a log: one, unless the steps start again."""
    del options
    reader = LineReader()
    for block in reading.blocks():
        yield from reader.feed(block.line, block.text)
    yield from reader.kinds()
    yield reader.unparsed
