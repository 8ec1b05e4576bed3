"""Numbers with decimal commas: "loss 0,534" is read where a log has no decimal points of its own.

Nothing but a fraction begins with a nought and a comma; of "1,234" alone nobody can say what it is.
"""

import re

_COMMA = re.compile(r"0,(?<![^\s:=(+\-]0,)\d\d++(?![\w,.])")
_POINT = re.compile(r"(?<![\w.:,])[-+]?0?\.\d")
# No number of a list, and no clock's milliseconds.
_ANY = re.compile(r"(?<![\w.,\[])(?<!\d:)([-+]?\d+),(\d+)(?![\d,.\]])")


def says_decimal_comma(text: str) -> bool:
    """Whether a number in the text can only be one with a decimal comma."""
    return "0," in text and _COMMA.search(text) is not None


def has_decimal_commas(text: str) -> bool:
    """Whether the text prints fractions with commas, and none with a point."""
    return says_decimal_comma(text) and _POINT.search(text) is None


def with_points(text: str) -> str:
    """The text with points instead of decimal commas; every character stays where it is."""
    return _ANY.sub(r"\1.\2", text)
