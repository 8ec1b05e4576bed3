"""The last touches to a table: digits, percent, the best in bold, places gained, columns that say nothing."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from expdb import metrics
from expdb.compare.wording import wording
from expdb.records import Cell, Table
from expdb.reports.layout import spread
from expdb.reports.text import brief

# The expression of the column that counts the runs of a group.
N = "n"


def with_digits(table: Table, digits: int) -> Table:
    """Every result with so many digits behind the point."""
    rows = [
        tuple(
            replace(cell, decimals=digits, chosen=True) if column.metric else cell
            for column, cell in zip(table.columns, row, strict=True)
        )
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))


def in_percent(table: Table) -> Table:
    """Fractions in percent; that there are none is said."""
    if not any(column.unit in metrics.RATIOS for column in table.columns):
        said = wording(table.language).no_fractions("expdb edit RUN --unit METRIC=fraction")
        return replace(table, rules=(*table.rules, said))
    turned = [column.unit == "fraction" for column in table.columns]
    columns = [replace(c, unit="percent") if turn else c for c, turn in zip(table.columns, turned, strict=True)]
    rows = [
        tuple(_percent(cell) if turn else cell for cell, turn in zip(row, turned, strict=True)) for row in table.rows
    ]
    return replace(table, columns=tuple(columns), rows=tuple(rows))


def _percent(cell: Cell) -> Cell:
    if not isinstance(cell.value, (int, float)):
        return cell
    return replace(
        cell,
        value=metrics.in_unit(cell.value, "fraction", "percent"),
        std=None if cell.std is None else metrics.in_unit(cell.std, "fraction", "percent"),
        decimals=None if cell.decimals is None else max(0, cell.decimals - 2),
        unit="percent",
    )


def with_best(table: Table) -> Table:
    """The best of each column of results in bold; all that print the same number as the best are."""
    columns = list(zip(*table.rows, strict=True))
    for place, column in enumerate(table.columns):
        numbers = {i: number for i, cell in enumerate(columns[place]) if (number := _sound(cell)) is not None}
        if column.better is None or len(numbers) < 2:
            continue
        top = (max if column.better == "max" else min)(numbers, key=numbers.__getitem__)
        shown = brief(columns[place][top])
        columns[place] = tuple(
            replace(cell, bold=True) if i in numbers and brief(cell) == shown else cell
            for i, cell in enumerate(columns[place])
        )
    unknown = [column.title for column in table.columns if column.metric and column.better is None]
    rules = []
    if unknown:
        # Formats explain how they show the best.
        rules.append(wording(table.language).better_unknown(unknown))
    return replace(table, rows=tuple(zip(*columns, strict=True)), rules=(*table.rules, *rules))


def with_moves(table: Table) -> Table:
    """Where rules for one metric stand side by side: by how many places each later one moves a row."""
    columns = list(zip(*table.rows, strict=True))
    first: dict[str, int] = {}
    bases: dict[str, None] = {}
    is_moved = False
    for place, column in enumerate(table.columns):
        if not column.metric or column.better is None:
            continue
        base = first.setdefault(column.metric, place)
        if base == place:
            continue
        # Who has but one of the two overtakes nobody.
        both = [i for i in range(len(table.rows)) if all(_sound(columns[at][i]) is not None for at in (base, place))]
        before, after = (_ranks(columns[i], both, greatest_first=column.better == "max") for i in (base, place))
        columns[place] = tuple(
            replace(cell, moved=before[i] - after[i]) if i in before and i in after else cell
            for i, cell in enumerate(columns[place])
        )
        is_moved = is_moved or any(cell.moved for cell in columns[place])
        bases[table.columns[base].title] = None
    if not bases:
        return table
    rule = wording(table.language).moves(list(bases), are_any=is_moved)
    return replace(table, rows=tuple(zip(*columns, strict=True)), rules=(*table.rules, rule))


def _ranks(cells: Sequence[Cell], places: Iterable[int], *, greatest_first: bool) -> dict[int, int]:
    """The rank of each of the places that has a number, from 1; equal numbers share the better one."""
    numbers = {i: number for i in places if (number := _sound(cells[i])) is not None}
    ordered = sorted(numbers.values(), reverse=greatest_first)
    rank: dict[float, int] = {}
    for place, number in enumerate(ordered, 1):
        rank.setdefault(number, place)
    return {i: rank[number] for i, number in numbers.items()}


def _sound(cell: Cell) -> float | None:
    """The number of a run that did not diverge, or a mean of such."""
    if not isinstance(cell.value, (int, float)) or not math.isfinite(cell.value):
        return None
    return None if cell.diverged and cell.n is None else cell.value


def _says(cell: Cell) -> tuple[object, ...]:
    """All that a cell says: its number, what is around it, what it is of, and its marks."""
    return cell.value, cell.std, cell.n, cell.of, cell.diverged, cell.reported, cell.moved or 0


def only_changed(table: Table) -> Table:
    """Without the columns in which all rows say the same; what they say goes to the rules. One row is left whole."""
    if len(table.rows) < 2:
        return table
    columns = list(zip(*table.rows, strict=True))
    kept = [
        i for i, column in enumerate(table.columns) if column.expression == N or len(set(map(_says, columns[i]))) > 1
    ]
    if not any(table.columns[i].expression != N for i in kept):
        # Rows that say all the same still are so many.
        kept = sorted({0, *kept})
    same = [
        f"{column.title} {brief(columns[i][0])}{spread(columns[i][0])}"
        for i, column in enumerate(table.columns)
        if i not in kept and columns[i][0].value is not None
    ]
    rules = (wording(table.language).the_same(same),) if same else ()
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(zip(*(columns[i] for i in kept), strict=True)),
        rules=(*table.rules, *rules),
    )
