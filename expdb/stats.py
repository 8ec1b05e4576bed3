"""What numbers of independent runs say together; the same with and without SciPy, since figures must not change."""

import math
from collections.abc import Sequence
from functools import lru_cache


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) of at least one number; None below two."""
    count = len(values)
    try:
        mean = math.fsum(values) / count
    except OverflowError:
        # The sum of two floats may not be a float; a share of each is.
        mean = math.fsum(value / count for value in values)
    if count < 2:
        return mean, None
    largest = max(abs(value - mean) for value in values)
    if largest == 0:
        return mean, 0.0
    # Squares of the relative distances neither overflow nor vanish.
    squares = math.fsum(((value - mean) / largest) ** 2 for value in values)
    return mean, largest * math.sqrt(squares / (count - 1))


@lru_cache(maxsize=1024)
def student_95(freedom: int) -> float:
    """The t that a two-sided 95 % interval of Student's distribution reaches to. freedom: degrees, 1 or more."""
    low, high = 1.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(|T| < t), exact for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    if freedom % 2:
        term = math.cos(angle)
        total = 0.0
        for k in range(1, freedom, 2):
            total += term
            term *= square * (k + 1) / (k + 2)
        return 2 / math.pi * (angle + math.sin(angle) * total)
    term, total = 1.0, 0.0
    for k in range(0, freedom, 2):
        total += term
        term *= square * (k + 1) / (k + 2)
    return math.sin(angle) * total
