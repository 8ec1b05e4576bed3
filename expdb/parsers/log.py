"""A training's log, line by line, in whatever words: `Epoch 3/90 loss 0.25 acc 81.2%`, and anything like it."""

import re
from collections.abc import Iterable, Iterator
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
# Read first; most logs show what they are here.
_OPENING = 8192
# Of what follows, runs of so many neighbours from all over it: together about as much as this, and as much again where
# a training may be told of.
_RUN = 8
_REST = 8192
_TELLS = re.compile(r"(?i)epoch|loss|iter|step|acc|eval|train|[\u4e00-\u9fff]")


def recognise(sample: Sample) -> float:
    """Certain of a file whose lines all begin like its first, sure of one that has lines of a training."""
    text = sample.text
    if is_log_line(text[:4096].split("\n", 1)[0]) and _all_alike(text):
        return CERTAIN
    end = text.rfind("\n", 0, _OPENING) + 1 if len(text) > _OPENING else len(text)
    parts = [text[:end], *_some_of(text[end:])]
    is_headed = bool(_HEADING.match(text)) and not any(sign in text for sign in _MARKUP)
    # A program prints, too, and quotes what it prints; but some logs begin with the program.
    quoted = 2 * sum(len(_CODE.findall(part)) for part in parts)
    reader, points, line = LineReader(settings=False), 0, 1
    for place, part in enumerate(parts):
        if part and (place < 2 or _TELLS.search(part)):
            points += _points_in(reader.feed(line, part))
        if points > quoted:
            return CERTAIN if is_headed else _SURE
        line += part.count("\n")
    return 0.0


def _some_of(text: str) -> tuple[str, str]:
    """Twice, neighbouring lines from all over a text: enough to see a training in it."""
    if len(text) <= _REST:
        return text, ""
    lines = text.split("\n")
    stride = max(2 * _RUN, _RUN * len(text) // _REST)
    # After a long prologue a short training stands at the end.
    last = "".join(f"{line}\n" for line in lines[-_RUN:])
    return _every(lines, 0, stride) + last, _every(lines, stride // 2, stride)


def _every(lines: list[str], first: int, stride: int) -> str:
    runs = (lines[at : at + _RUN] for at in range(first, len(lines), stride))
    return "".join(f"{line}\n" for line in chain.from_iterable(runs))


def _points_in(events: Iterable[Event]) -> int:
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


def stream() -> LineReader:
    """A reader that goes on where it stood: for a log that is being written."""
    return LineReader()
