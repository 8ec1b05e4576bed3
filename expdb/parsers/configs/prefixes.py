"""What loggers put before a message: time, level, name, rank."""

import re

_STAMP = re.compile(
    r"[\[(]?(?:\d{4}[-/]\d\d?[-/]\d\d?|\d\d?/\d\d?/\d{2,4})?[ T_,]{0,2}\d\d?:\d\d(?::\d\d)?(?:[.,]\d+)?Z?"
)
LEVEL = re.compile(r"\b(?:INFO|WARNING|WARN|DEBUG|NOTICE|ERROR)\b")
_ELAPSED = re.compile(r" - \d+:\d\d:\d\d")
_GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\] ?")
_RANK = re.compile(r"(?:\[?(?:default|rank) ?\d+\]?|\d{1,4}): ?|\((?:\w+ )?pid=\d+\) ?")
_LOGGER = re.compile(r":[\w.]*:|[ \t]*\|[ \t]*[\w.]+[ \t]*\|| - [A-Za-z_][\w.]* - ")
_FIELDS = re.compile(r"[\])]?(?:[ \t]*\[[^\]]{1,60}\])*(?:[\s:|>]|-(?!-))*")
# The first bar of a table's row is no separator of fields.
_FIELDS_OF_ROW = re.compile(r"[\])]?(?:[ \t]*\[[^\]]{1,60}\])*(?:[\s:>]|-(?!-))*")


def body_of(line: str) -> tuple[str, int | None]:
    """A log line without time, level and logger; its indentation, None where it had such a prefix."""
    start = len(line) - len(line.lstrip())
    at = start
    glog = _GLOG.match(line, at)
    if glog:
        return line[glog.end() :].strip(), None
    rank = _RANK.match(line, at)
    if rank:
        at = rank.end()
    first = line[at : at + 1]
    if not (first.isdigit() or first in "[(IWDEN"):
        return (line[at:].strip(), None) if rank else (line.strip(), start)
    stamp = _STAMP.match(line, at)
    level = LEVEL.search(line, at, at + 120)
    # A level in the midst of a sentence is a word.
    if level and not (stamp or level.start() <= at + 1 or first in "[("):
        level = None
    if level:
        at = level.end()
        logger = _LOGGER.match(line, at)
        at = logger.end() if logger else at
        again = _STAMP.match(line, fields.end()) if (fields := _FIELDS.match(line, at)) else None
        at = again.end() if again else at
        elapsed = _ELAPSED.match(line, at)
        at = elapsed.end() if elapsed else at
    elif stamp and stamp.end() > at + 4:
        at = stamp.end()
    elif not rank:
        return line.strip(), start
    fields = (_FIELDS_OF_ROW if line.endswith("|") else _FIELDS).match(line, at)
    return line[fields.end() if fields else at :].strip(), None
