"""Runs that belong together: what makes a group, and what is said of its numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from expdb.expressions import ColumnExpr
from expdb.records import Cell
from expdb.stats import mean_std
from expdb.store.writer import as_number

_MOST_WORDS = 5


@dataclass(frozen=True, slots=True)
class Grouping:
    """What makes a group: names, with titles, whose values its runs share; all_but: every param but those."""

    names: tuple[ColumnExpr, ...]
    all_but: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that share what is grouped by. members: their places among the runs; key: what they share, as shown."""

    key: tuple[Cell, ...]
    members: tuple[int, ...]


def groups(keys: Sequence[Sequence[Cell]], places: Iterable[int]) -> list[Group]:
    """Runs of equal keys, in the order in which the first of each stands. keys: for each name, a cell of each run.

    Numbers are equal by value, 0.1 and 0.10, and shown as the first run writes them.
    """
    found: dict[tuple[float | str | None, ...], list[int]] = {}
    for place in places:
        found.setdefault(tuple(_comparable(cells[place]) for cells in keys), []).append(place)
    return [Group(tuple(cells[members[0]] for cells in keys), tuple(members)) for members in found.values()]


def _comparable(cell: Cell) -> float | str | None:
    if isinstance(cell.value, str):
        number = as_number(cell.value)
        return cell.value if number is None or number != number else number
    return cell.value


def mean(cells: Sequence[Cell], *, says_n: bool) -> Cell:
    """The mean of the cells' finite numbers with its n; what diverged is left out and counted.

    says_n: n stands beside the number anyway; it always does where the mean is not of all of them.
    """
    sound = [cell for cell in cells if not cell.diverged and isinstance(cell.value, (int, float))]
    values = [float(cell.value) for cell in sound if isinstance(cell.value, (int, float))]
    n, of = len(values), len(cells)
    broken = sum(cell.diverged for cell in cells)
    said = says_n or n < of
    if not values:
        return Cell(None, n=0, of=of, diverged=broken, says_n=broken > 0)
    middle, std = mean_std(values)
    digits = [cell.decimals for cell in sound]
    decimals = max((d for d in digits if d is not None), default=None) if None not in digits else None
    if all(isinstance(cell.value, int) for cell in sound) or decimals == 0:
        # A mean of whole numbers knows a digit more than they do.
        decimals = 1 if n > 1 else 0
    reported = all(cell.reported for cell in sound)
    return Cell(middle, decimals, sound[0].unit, reported, std, n, of, broken, says_n=said)


def words(cells: Sequence[Cell]) -> Cell:
    """What the runs of a group say, each word once: `0, 1, 2`."""
    found: dict[float | str | None, Cell] = {}
    for cell in cells:
        if cell.value is not None:
            found.setdefault(_comparable(cell), cell)
    if len(found) < 2:
        return next(iter(found.values()), Cell(None))
    shown = [str(cell.value) for cell in list(found.values())[:_MOST_WORDS]]
    return Cell(", ".join(shown) + ", …" * (len(found) > _MOST_WORDS))
