"""What a terminal showed: log text without escape sequences, backspaces and rewritten states of a line.

Sequences are those of ECMA-48 as terminals write them (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
"""

import re
from collections.abc import Iterator, Sequence

_ESCAPE = (
    r"\x1b(?:"
    r"\[[0-?]*+[ -/]*+[@-~]?"  # CSI: colours, cursor, erasing
    r"|[\]PX^_][^\n\x07\x1b]*+(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    r"|[ -/]++[0-~]"  # character sets
    r"|[0-9=>@-OQ-WYZ\\cl-o|}~]"
    r")?"
)
_ESCAPES = re.compile(_ESCAPE)
_COLUMN_1 = re.compile(r"\x1b\[[01]?G")
# What moves the cursor within a line, and what it writes there.
_WRITTEN = re.compile(
    r"(?P<text>[^\x08\x1b\r]++)|(?P<back>\x08++)|\x1b\[(?P<by>[0-9]{0,4})(?P<move>[KD])|\r|" + _ESCAPE
)
_RETURNED_LINE_ENDS = re.compile(r"(?<!\r)\r++\n")

_LOW = "".join(map(chr, [*range(9), *range(11, 32), 127]))
_HIGH = "".join(map(chr, range(128, 160)))
_DROPPED = _LOW.replace("\r", "") + _HIGH
_CONTROLS = re.compile(f"[{re.escape(_DROPPED)}]+")


def settle(text: str) -> tuple[str, Sequence[int] | None]:
    """Text without terminal control; each state of a line rewritten with a return is a line of its own.

    The second result has one entry for each piece of `settled.split("\\n")`: how many line feeds stand before it in
    text. It is None where no line was split, which makes it the identity. Of states, empty ones and repetitions of
    the state before are left out, but every line keeps at least one.
    """
    # One test for each costs a tenth of one search for all.
    low = any(map(text.__contains__, _LOW))
    if not low and (text.isascii() or not any(map(text.__contains__, _HIGH))):
        return text, None
    if "\x1b" in text:
        text = _COLUMN_1.sub("\r", text)
    if "\b" in text:
        text = "\n".join(_retyped(line) if "\b" in line else line for line in text.split("\n"))
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if any(map(text.__contains__, _DROPPED)):
        text = _CONTROLS.sub("", text)
    if "\r" not in text:
        return text, None
    # Most returns stand at line ends, one to each.
    text = text.replace("\r\n", "\n")
    if "\r" not in text:
        return text, None
    text = _RETURNED_LINE_ENDS.sub("\n", text)
    return _unrolled(text) if "\r" in text else (text, None)


def _retyped(line: str) -> str:
    """A line with its backspaces carried out: what is written after one replaces what stood there."""
    return "\r".join(_states_typed(line))


def _states_typed(line: str) -> Iterator[str]:
    cells: list[str] = []
    cursor = 0
    for token in _WRITTEN.finditer(line):
        if written := token["text"]:
            cells[cursor : cursor + len(written)] = written
            cursor += len(written)
            continue
        back = len(token["back"] or "") or (int(token["by"] or 1) if token["move"] == "D" else 0)
        if token["move"] == "K":
            # Only erasing to the right tells what is typed next; "2K" comes before a new state anyway.
            if token["by"] in ("", "0"):
                del cells[cursor:]
        elif back:
            # Progress bars go back to the start of the line, as a return does; manuals print a letter twice.
            if back >= cursor > 0 and back > 1:
                yield "".join(cells)
                cells, cursor = [], 0
            cursor = max(0, cursor - back)
        elif token[0] == "\r":
            yield "".join(cells)
            cells, cursor = [], 0
    yield "".join(cells)


def _unrolled(text: str) -> tuple[str, Sequence[int] | None]:
    """Each state of each line as a line of its own."""
    lines: list[str] = []
    origins: list[int] = []
    split = False
    for number, line in enumerate(text.split("\n")):
        if "\r" not in line:
            lines.append(line)
            origins.append(number)
            continue
        shown = len(lines)
        for state in line.split("\r"):
            if state and not state.isspace() and (len(lines) == shown or state != lines[-1]):
                lines.append(state)
                origins.append(number)
        if len(lines) == shown:
            lines.append("")
            origins.append(number)
        split = split or len(lines) > shown + 1
    return "\n".join(lines), origins if split else None
