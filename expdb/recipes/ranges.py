"""Types of flags: numbers within a range, so that another one is a usage error that names the flag."""

import math
from collections.abc import Callable


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Integers from least to most."""

    def read(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            raise ValueError
        return value

    # argparse names it in its error.
    read.__name__ = f"integer of at least {least}" + (f", at most {most}" if most is not None else "")
    return read


def real(least: float = -math.inf, *, above: float = -math.inf, below: float = math.inf) -> Callable[[str], float]:
    """Finite numbers from least on, above one and below another."""

    def read(text: str) -> float:
        value = float(text)
        # What is no number is not within anything.
        if not (least <= value and above < value < below):
            raise ValueError
        return value

    bounds = {"of at least": least, "above": above, "below": below}
    said = ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
    read.__name__ = f"number {said}"
    return read
