"""Text as it can be shown: foreign characters made harmless, widths in terminal columns, numbers, sparklines."""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from expdb.records import Cell

MISSING: Final = "—"

# Controls (ANSI escapes begin with one), line separators, bidi controls, invisible characters and lone surrogates.
_ACTING: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
# A joiner is ordinary between the characters it joins, as in Persian or an emoji of two; anywhere else it is
# invisible, and would join itself to the padding.
_JOINED: Final = rf"[^\x00-\x7f{_ACTING}]"
_FOREIGN: Final = re.compile(rf"[{_ACTING}]|(?<!{_JOINED})\u200d+|\u200d+(?!{_JOINED})")
_ESCAPES: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

# One column each in any terminal, so a table with a dash for a missing number does not wait for rich.
_NARROW: Final = re.compile(r"[ -~\u00a1-\u00ac\u00ae-\u02ff\u2010-\u2027]*")

# Who chooses how many digits to print behind the point chooses no more; below this, five of them would say little.
_MOST_CHOSEN: Final = 10
_SMALL: Final = 0.01

_BARS: Final = "▁▂▃▄▅▆▇█"
_FLAT: Final = "▄"


def visible(text: str) -> str:
    """The text with every character that acts instead of showing written as its escape.

    `\\x1b`, `\\n`, `\\u202e`; a byte that was no UTF-8 (a surrogate from U+DC80) as the byte, `\\x80`.
    Text without such characters is returned as it is. For the eye: a backslash in the text stays one.
    """
    if text.isprintable() or not _FOREIGN.search(text):
        return text
    return _FOREIGN.sub(lambda match: "".join(map(_escape, match[0])), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def lines(text: str) -> list[str]:
    """The visible lines of a value, without blank lines and without blanks around each."""
    if text.isprintable():
        bare = text.strip(" ")
        return [bare] if bare else []
    shown = (visible(line.strip(" \t")) for line in text.replace("\r\n", "\n").split("\n"))
    return [line for line in shown if line and not line.isspace()]


def one_line(text: str) -> str:
    """The visible lines of a value joined by `; `."""
    return text.strip(" ") if text.isprintable() else "; ".join(lines(text))


def width(text: str) -> int:
    """Terminal columns of visible text; a Chinese character takes two."""
    if text.isascii() or _NARROW.fullmatch(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, columns: int, right: bool = False) -> str:
    """The text filled with blanks to `columns`, moved to the right if asked; longer text is left as it is."""
    if text.isascii():
        return text.rjust(columns) if right else text.ljust(columns)
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def cut(text: str, columns: int) -> str:
    """The text in at most `columns`, its end replaced by `…` where it does not fit; no character is halved."""
    if width(text) <= columns:
        return text
    if columns < 1:
        return ""
    kept = bisect_right(range(len(text) + 1), columns - 1, key=lambda length: width(text[:length])) - 1
    return text[:kept] + "…"


def cut_apart(texts: Sequence[str], columns: int) -> list[str]:
    """The texts in so many columns; those that `cut` makes alike without their middle instead of their end."""
    short = [cut(text, columns) for text in texts]
    counted = Counter(short)
    return [
        one if counted[one] == 1 or one == text else cut(text, columns // 2) + _end(text, columns - columns // 2)
        for one, text in zip(short, texts, strict=True)
    ]


def _end(text: str, columns: int) -> str:
    return text[len(text) + 1 - len(cut(text[::-1], columns + 1)) :]


def number(cell: Cell) -> str:
    """A cell as it was printed: 84.1 with two decimals is `84.10`.

    Without known decimals the shortest text that reads back as the same number, integers without `.0`.
    `nan`, `inf`, `-inf`; a missing number is `—`; text stays as it is.
    """
    value = cell.value
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not cell.decimals:
        # Not by way of a float, which rounds beyond 2**53.
        return str(value)
    if cell.decimals is not None:
        return f"{value:.{cell.decimals}f}"
    # float() first: the repr of a NumPy number names its type.
    return str(value) if isinstance(value, int) else repr(float(value)).removesuffix(".0")


def brief(cell: Cell) -> str:
    """A cell for the eye: as `number`, but five digits behind the point where a program printed all of a float."""
    shown = number(cell)
    behind = shown.partition(".")[2]
    if not isinstance(cell.value, float) or len(behind) <= _MOST_CHOSEN:
        return shown
    return f"{cell.value:.5f}" if abs(cell.value) >= _SMALL and "e" not in shown else f"{cell.value:.5g}"


def sparkline(values: Sequence[float], columns: int) -> str:
    """A curve in at most `columns` characters, the lowest as ▁ and the highest as █.

    A longer curve shows the mean of each stretch. NaN is a blank and no part of a mean; ±inf stands at the
    finite extremes; a constant curve is a flat line in the middle; no values or no columns, no text.
    """
    count = min(len(values), columns)
    if count < 1:
        return ""
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [_mean([min(max(v, low), high) for v in values[i:j] if v == v]) for i, j in pairwise(edges)]
    shown = [m for m in means if m == m]
    if not shown:
        return " " * count
    # Halves, because the distance of two floats may not be a float.
    bottom, span = min(shown) / 2, max(shown) / 2 - min(shown) / 2
    if span == 0:
        return "".join(_FLAT if m == m else " " for m in means)
    top = len(_BARS) - 1
    return "".join(_BARS[round((m / 2 - bottom) / span * top)] if m == m else " " for m in means)


def _mean(values: Sequence[float]) -> float:
    if not values:
        return math.nan
    # Divided before it is added, because the sum of two floats may not be a float; held between the extremes,
    # because rounding would give a constant curve steps.
    return min(max(sum(v / len(values) for v in values), min(values)), max(values))
