"""How precisely numbers were printed."""

import re
from collections.abc import Sequence
from functools import lru_cache

# No float prints more digits behind the point by itself.
MOST_DIGITS = 20


@lru_cache(maxsize=32)
def _more_digits(count: int) -> re.Pattern[str]:
    return re.compile(rf"\.\d{{{count}}}")


def decimals_of(texts: Sequence[str]) -> int | None:
    """The most digits behind the point; None where a number has an exponent."""
    joined = " ".join(texts)
    if "e" in joined or "E" in joined:
        return None
    most = len(texts[0].partition(".")[2])
    while most < MOST_DIGITS and _more_digits(most + 1).search(joined):
        most += 1
    return most if most < MOST_DIGITS else max(len(text.partition(".")[2]) for text in texts)
