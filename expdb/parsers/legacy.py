"""The legacy line: `epoch 80, loss 0.0250, train accuracy 0.992, test accuracy 0.766, use time 19.630`.

Comma, tab or blanks between fields; any subset of fields; epochs from 0 or from 1.
"""

import re
from collections.abc import Iterator

from expdb.parsers import CERTAIN, Options
from expdb.parsers.lines import LineReader, epoch_of, is_log_line, template_of
from expdb.parsers.reading import Reading, Sample
from expdb.records import Event

NAME = "legacy"
VERSION = 1
SUMMARY = "one line per epoch: `epoch N, loss x, train accuracy x, test accuracy x, use time s`"

# The most a reader of single lines can be sure of: a page has log lines too.
_SURE = 0.9
_FIRST = 6


def recognise(sample: Sample) -> float:
    """Certain of a file whose lines all begin like its first, sure of one that opens with log lines, half sure of
    one that has some."""
    head = [line for line in sample.text[:4096].split("\n", 2 * _FIRST)[: 2 * _FIRST] if line and not line.isspace()]
    lines = head[:_FIRST]
    template = next(filter(None, map(template_of, lines)), None)
    if template:
        pattern = re.compile(template.pattern)
        if sum(pattern.fullmatch(line) is not None for line in lines) * 2 > len(lines):
            return CERTAIN if _all_alike(sample.text) else _SURE
    found = [line for line in sample.text.split("\n") if is_log_line(line)]
    # "error 3, time 12 ms" once in a text is a message.
    alone = len(found) == 1 and epoch_of(found[0]) is None and len(head) > 1
    return _SURE / 2 if found and not alone else 0.0


def _all_alike(text: str) -> bool:
    """Whether every line begins like the first: there is no blank line, heading or fence, so this is no page."""
    return text.count("\n" + text[:5]) + 1 == text.rstrip("\n").count("\n") + 1


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of a log: one, unless the epoch starts again."""
    del options
    reader = LineReader()
    for block in reading.blocks():
        yield from reader.feed(block.line, block.text)
    yield reader.unparsed
