"""What each column of a table is: the step, a curve, a setting, which run a row belongs to, or what a row is about.

Decided by the header and the first rows together: `epochs` that never changes is a setting, `seed` that changes tells
runs apart, `lr` is a curve, `time` of 1.6e9 is a clock.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from expdb import metrics
from expdb.parsers.tabular.headers import (
    COUNT,
    KEYS,
    LOOSE_NAME_COLUMNS,
    NAME_COLUMNS,
    PARAM_HEADER,
    PARTS,
    PLURAL,
    SETTINGS,
    SPLIT_COLUMNS,
    TIMES,
    UNIT,
    VALUE_COLUMNS,
    is_generic,
    is_result,
    is_setting,
    metric_from_place,
    metric_of,
    rank_of,
    role_of,
    split_around,
    step_unit_of,
    time_ms,
    words_of,
)
from expdb.parsers.tabular.sheet import is_missing, number_of
from expdb.records import ASIDE, CURVE, REPORTED, Metric

Role = Literal["step", "epoch", "curve", "aside", "time", "param", "key", "split", "name", "value", "index", "text"]

# Rows enough to know a column by.
ENOUGH_ROWS = 2000

_CLOCK = re.compile(r"\d{1,3}:\d\d(?::\d\d)?(?:[.,]\d+)?")
# A W&B chart: "RUN - metric", and what the chart's line was drawn between.
_CHART = re.compile(r"(?s)(.+) - (.+?)(__MIN|__MAX)?")
_WANDB_AXES = frozenset(("step", "epoch", "relative time", "wall time", "relative time process", "relative time wall"))

# These words also stand in tables that no training wrote.
_WEAK_STEPS = frozenset(
    (
        *("round", "rounds", "tree", "trees", "it", "its", "batch", "batches", "update", "updates", "frame", "frames"),
        *("generation", "generations", "n iter", "niter", "steps", "epochs", "iterations"),
    )
)
_SPREAD = frozenset(("std", "stddev", "stdev", "stderr", "sem", "var", "variance", "ci", "ci95", "sd"))
_SCORES = frozenset(("score", "mean score", "value", "objective", "best score", "reward", "mean reward", "return"))
_RULES = {
    **dict.fromkeys(("best", "max", "highest", "最佳", "最好", "最高"), "best"),
    **dict.fromkeys(("last", "final", "最终"), "last"),
    **dict.fromkeys(("mean", "average", "avg", "平均"), "mean"),
}
_RULE = re.compile(rf"^({'|'.join(_RULES)})[\s_:：的]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """One column. chart: the run that a column of a W&B chart belongs to."""

    place: int
    label: str
    role: Role
    metric: Metric | None = None
    why: str = ""
    chart: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the columns of a table are. rows_are_runs: a row is a run's reported result; step_unit: what steps count."""

    columns: tuple[Column, ...]
    step_unit: str
    rows_are_runs: bool = False

    def place(self, role: Role) -> int | None:
        """Where the first column of that role is."""
        return next((column.place for column in self.columns if column.role == role), None)

    def of(self, *roles: Role) -> tuple[Column, ...]:
        """The columns of these roles, in their order."""
        return tuple(column for column in self.columns if column.role in roles)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A column of the first rows. cells: as they stand; filled: those with something in them; numbers: of these."""

    place: int
    header: str
    words: str
    cells: Sequence[str]
    filled: tuple[str, ...]
    numbers: tuple[float, ...]

    @property
    def is_number(self) -> bool:
        return not self.filled or len(self.numbers) * 2 > len(self.filled)

    @property
    def varies(self) -> bool:
        return any(cell != self.filled[0] for cell in self.filled)

    @property
    def is_text(self) -> bool:
        """Whether it says something in words: no number, no clock, no yes or no."""
        return not self.is_number and not all(map(_no_words, self.filled))

    @property
    def counts(self) -> bool:
        """Whether its numbers are whole ones."""
        return bool(self.numbers) and all(map(float.is_integer, self.numbers))


def plan_of(
    names: Sequence[str], columns: Sequence[Sequence[str]], where: str, wanted: frozenset[str] = frozenset()
) -> Plan | None:
    """What the columns are; None where the table is no training's.

    columns: cells of the first rows. where: the file's name, or its path. wanted: headers that the person says hold
    results.
    """
    labels = _unique(names)
    seen = [_seen(i, label, columns[i]) for i, label in enumerate(labels)]
    rows = len(columns[0]) if columns else 0
    if not rows:
        return None
    return (
        _monitor(seen)
        or _chart(seen)
        or _long(seen, rows, where)
        or _wide(seen, rows, where, wanted)
        or _results(seen, rows, wanted)
    )


def _seen(place: int, header: str, cells: Sequence[str]) -> _Seen:
    cells = cells[:ENOUGH_ROWS]
    filled = tuple(cell.strip() for cell in cells if not is_missing(cell))
    if role_of(header) or not header:
        # "3/200", "Epoch 3".
        filled = tuple(COUNT.sub(r"\1", cell) for cell in filled)
        cells = [COUNT.sub(r"\1", cell.strip()) for cell in cells]
    numbers = tuple(float(found[0]) for cell in filled if (found := number_of(cell)))
    return _Seen(place, header, words_of(header), cells, filled, numbers)


def _unique(names: Sequence[str]) -> list[str]:
    out: dict[str, None] = {}
    labels, counts = [], Counter(dict.fromkeys(names, 0))
    for name in names:
        free = name
        while free and free in out:
            counts[name] += 1
            free = f"{name} ({counts[name] + 1})"
        out[free] = None
        labels.append(free)
    return labels


def _no_words(cell: str) -> bool:
    return (
        _CLOCK.fullmatch(cell) is not None
        or time_ms(cell) is not None
        or cell.lower() in ("true", "false", "yes", "no", "*", "✓")
    )


# Tables of curves


def _monitor(seen: list[_Seen]) -> Plan | None:
    """Gym's monitor: reward, length and time of each episode."""
    if [one.header for one in seen[:3]] != ["r", "l", "t"] or not all(one.is_number for one in seen):
        return None
    names = ("episode_reward", "episode_length", "time")
    columns = [
        Column(one.place, one.header, _role_for(metric), metric, "as Gym's monitor writes it")
        for one, name in zip(seen, names, strict=False)
        for metric in [Metric(one.header, name, ASIDE if name == "time" else CURVE, step_unit="row")]
    ]
    return Plan((*columns, *(_column(one, "row", None, None, 2) for one in seen[3:])), "row")


def _chart(seen: list[_Seen]) -> Plan | None:
    """A chart that W&B exported: one column is the axis, the others are "RUN - metric"."""
    axis, *rest = seen
    found = [_CHART.fullmatch(one.header) for one in rest]
    if (
        not rest
        or not all(found)
        or not (axis.words in _WANDB_AXES or role_of(axis.header) or any(m and m[3] for m in found))
    ):
        return None
    if not all(one.is_number for one in seen):
        return None
    role = role_of(axis.header)
    step_unit = step_unit_of(role, axis.words) if axis.counts and axis.words != "wall time" else "row"
    clock: Role = "time" if axis.words == "wall time" else "text"
    columns = [Column(0, axis.header, "step" if step_unit != "row" else clock, why="the chart's axis")]
    for one, match in zip(rest, found, strict=True):
        assert match is not None
        run, label, bound = match.groups()
        metric = metric_of(label, step_unit)
        if bound or metrics.step_role(label):
            metric = replace(metric, label=f"{label}{bound or ''}", name=f"{metric.name}{(bound or '').lower()}")
            metric = replace(metric, kind=ASIDE)
        why = "bound of the chart's line" if bound else "a run's curve"
        columns.append(Column(one.place, one.header, _role_for(metric), metric, why, run))
    return Plan(tuple(columns), step_unit) if any(c.role == "curve" for c in columns) else None


def _role_for(metric: Metric) -> Role:
    return "aside" if metric.kind == ASIDE else "curve"


def _long(seen: list[_Seen], rows: int, where: str) -> Plan | None:
    """One column names the metric, another has its value."""
    texts = [one for one in seen if one.is_text]
    name = next((one for one in texts if one.words in NAME_COLUMNS), None)
    name = next((one for one in texts if one.words in LOOSE_NAME_COLUMNS), None) if name is None else name
    value = next((one for one in seen if one.words in VALUE_COLUMNS and one.is_number and one.filled), None)
    if name is None or value is None:
        return None
    known = any(map(is_result, set(name.filled)))
    rest = [one for one in seen if one not in (name, value)]
    grouped = _groups([name, *(one for one in rest if one.words in KEYS and one.varies)], rows)
    step = _step(rest, grouped)
    if not known and (step is None or name.words in LOOSE_NAME_COLUMNS):
        return None
    around = _around(seen, step, rest, rows, where, taken=frozenset((name.place, value.place)))
    out = []
    for column in around.columns:
        if column.place == name.place:
            column = replace(column, role="name", why="names the metric")
        elif column.place == value.place:
            column = replace(column, role="value", why="the metric's value")
        elif column.role in ("curve", "aside"):
            column = replace(column, role="text", why="a second number of the row")
        out.append(column)
    once = step is None and len(grouped) == rows
    return Plan(tuple(out), "none" if once else around.step_unit)


def _wide(seen: list[_Seen], rows: int, where: str, wanted: frozenset[str]) -> Plan | None:
    """One column for each metric, a row for each step."""
    keys = [one for one in seen if one.words in KEYS and one.varies]
    grouped = _groups(keys, rows)
    # A row for each model, seed or run states what came out of it.
    if keys and rows > 1 and len(grouped) == rows and any(one.is_text or one.counts for one in keys):
        return None
    step = _step(seen, grouped)
    if step is None and (
        rows == 1 or any(one.varies and (one.is_text or is_setting(one.header)) for one in seen if one.header)
    ):
        return None
    plan = _around(seen, step, seen, rows, where)
    curves = plan.of("curve")
    known = any(is_result(column.label) or _said_elsewhere(column) or column.label in wanted for column in curves)
    if step is None or words_of(seen[step].header) in _WEAK_STEPS:
        return plan if known and not any(one.words in PARTS for one in seen) else None
    return plan if any(seen[column.place].filled for column in curves) else None


def _said_elsewhere(column: Column) -> bool:
    """Whether the file's name, not the header, says what the column is, and that is a result."""
    named = column.metric.name.rsplit("/", 1)[-1] if column.metric else ""
    return named != metrics.canonical(column.label).rsplit("/", 1)[-1] and is_result(named)


def _around(
    seen: list[_Seen], step: int | None, rest: list[_Seen], rows: int, where: str, taken: frozenset[int] = frozenset()
) -> Plan:
    """The columns with their roles, the step known."""
    index = next((one for one in rest if _is_index(one)), None) if step is None else None
    role = role_of(seen[step].header) if step is not None else None
    unit = step_unit_of(role, seen[step].words) if step is not None else "row"
    epoch = next((one for one in rest if one.place != step and _is_epoch(one)), None)
    generic = {one.place for one in rest if one.is_number and is_generic(one.header)}
    others = [one.header for one in seen if one.place not in taken and one.is_number]
    split = split_around(others, where)
    clock = next((one for one in rest if one.words in TIMES and _is_clock(one)), None)
    out = []
    for one in seen:
        if one.place == step:
            out.append(Column(one.place, one.header, "step", why=f"counts {unit}s"))
        elif one is index:
            out.append(Column(one.place, one.header, "index", why="numbers the rows"))
        elif one is epoch and one.place != step:
            out.append(Column(one.place, one.header, "epoch", why="the epoch beside the step"))
        elif one is clock:
            out.append(Column(one.place, one.header, "time", why="when the row was written"))
        elif one.place in taken:
            out.append(Column(one.place, one.header, "text"))
        else:
            out.append(_column(one, unit, split, where if one.place in generic else None, rows))
    return Plan(tuple(out), unit)


def _column(one: _Seen, unit: str, split: str | None, where: str | None, rows: int) -> Column:
    """A column that is neither step nor time. where: the file's name, where it has to say what the column is."""
    if one.is_number:
        if one.filled and not one.varies and is_setting(one.header) and (rows > 1 or one.words in SETTINGS):
            return Column(one.place, one.header, "param", why="never changes and is named like a setting")
        if one.varies and one.words in KEYS and one.counts:
            return Column(one.place, one.header, "key", why="tells runs apart")
        if not one.header or one.header.lower().startswith("unnamed:"):
            return Column(one.place, one.header or f"column {one.place + 1}", "text", why="has no name")
        metric = metric_of(one.header, unit, split) if where is None else metric_from_place(one.header, where, unit)
        if role_of(one.header):
            metric = replace(metric, kind=ASIDE)
        role = _role_for(metric)
        why = "printed beside results" if role == "aside" else f"numbers, {metric.name.rsplit('/', 1)[-1]}"
        return Column(one.place, one.header, role, metric, why)
    if one.varies and one.words in SPLIT_COLUMNS and all(metrics.meaning_of(c).split for c in set(one.filled)):
        return Column(one.place, one.header, "split", why="says which data the row is about")
    if one.varies and one.words in KEYS and one.is_text:
        return Column(one.place, one.header, "key", why="tells runs apart")
    if not one.varies and one.is_text:
        return Column(one.place, one.header, "param", why="never changes")
    return Column(one.place, one.header, "text", why="no numbers")


def _is_index(one: _Seen) -> bool:
    unnamed = not one.header or one.header.lower().startswith("unnamed:") or one.words in ("index", "row", "idx", "no")
    return unnamed and one.counts and len(one.numbers) == len(one.cells) and _rises(one.numbers)


def _is_epoch(one: _Seen) -> bool:
    return role_of(one.header) == "epoch" and one.is_number and one.words not in PLURAL and bool(one.filled)


def _is_clock(one: _Seen) -> bool:
    return bool(one.filled) and all(time_ms(cell) is not None for cell in (one.filled[0], one.filled[-1]))


def _groups(keys: Sequence[_Seen], rows: int) -> list[list[int]]:
    """Rows that agree in all keys, each group in order."""
    if not keys:
        return [list(range(min(rows, ENOUGH_ROWS)))]
    out: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*(one.cells for one in keys), strict=True)):
        out.setdefault(key, []).append(row)
    return list(out.values())


def _step(seen: Sequence[_Seen], groups: list[list[int]]) -> int | None:
    """The column that counts steps: the iteration where it goes on rising, else the epoch."""
    epochs = [one for one in seen if role_of(one.header) == "epoch" and _counts_on(one, groups)]
    iterations = [one for one in seen if role_of(one.header) == "iteration" and _counts_on(one, groups)]
    iterations.sort(key=lambda one: (len(one.filled) < 0.5 * len(one.cells), rank_of(one.header), -len(one.filled)))
    if not iterations:
        return epochs[0].place if epochs else None
    best = iterations[0]
    if epochs and (
        _restarts(best, epochs[0]) or (len(best.filled) * 2 < len(epochs[0].filled) and rank_of(best.header))
    ):
        return epochs[0].place
    # An epoch alone may be a setting beside it; a step that never changes counts nothing.
    return epochs[0].place if epochs and not best.varies and epochs[0].varies else best.place


def _restarts(iteration: _Seen, epoch: _Seen) -> bool:
    """Whether the iteration begins again with every epoch."""
    last: tuple[float, float] | None = None
    for count, at in zip(iteration.cells, epoch.cells, strict=True):
        if is_missing(count) or is_missing(at):
            continue
        now = float((number_of(count) or ("nan",))[0]), float((number_of(at) or ("nan",))[0])
        if last and now[0] < last[0] and now[1] > last[1]:
            return True
        last = now
    return False


def _counts_on(one: _Seen, groups: list[list[int]]) -> bool:
    """Whether the numbers are whole and rise, or fall back only to where they began."""
    if not one.counts or len(one.numbers) < len(one.filled):
        return False
    if one.words in PLURAL and not one.varies:
        return False
    cells, falls, resets, rises = one.cells, 0, 0, 0
    for group in groups:
        numbers = [float(found[0]) for row in group if (found := number_of(cells[row]))]
        for before, now in pairwise(numbers):
            rises += now > before
            falls += now < before
            resets += now < before and now <= numbers[0]
    return falls == 0 or (falls < rises and (resets * 2 >= falls or falls * 20 <= rises))


def _rises(numbers: Sequence[float]) -> bool:
    return all(now == before + 1 for before, now in pairwise(numbers)) and numbers[0] in (0, 1)


# Tables of results


def _results(seen: list[_Seen], rows: int, wanted: frozenset[str]) -> Plan | None:
    """A row for each run; what is no result was chosen before the run, or says what the row is about."""
    if any(one.words in PARTS or one.words == "support" for one in seen):
        return None
    has_params = any(PARAM_HEADER.fullmatch(one.header) for one in seen)
    columns = [_reported(one, has_params, wanted) for one in seen]
    results = [column for column in columns if column.role == "curve"]
    if not any(column.metric and not _plain_time(column) for column in results):
        return None
    told = any(_tells(one) for one, column in zip(seen, columns, strict=True) if column.role == "param")
    # Numbers in rows that nothing tells apart are no runs.
    return Plan(tuple(columns), "none", rows_are_runs=True) if told or rows == 1 else None


def _tells(one: _Seen) -> bool:
    """Whether a column says which run a row is."""
    return one.is_text or (one.varies and (is_setting(one.header) or one.words in KEYS or not one.header))


def _plain_time(column: Column) -> bool:
    return column.metric is not None and column.metric.name.rsplit("/", 1)[-1] in ("time", "epoch_time")


def _reported(one: _Seen, has_params: bool, wanted: frozenset[str]) -> Column:
    header = one.header or f"column {one.place + 1}"
    found = UNIT.search(header)
    unit = metrics.UNIT_WORDS.get(found[1].lower()) if found else None
    bare = header[: found.start()] if found and unit else header
    words = set(one.words.split())
    if words & _SPREAD or one.words.startswith("rank "):
        return Column(one.place, header, "aside", why="goes with a result")
    if PARAM_HEADER.fullmatch(header):
        return Column(one.place, header, "param", why="named like a setting")
    rule = None if metrics.is_known(bare) else _RULE.match(bare)
    if rule and len(bare) > rule.end():
        bare = bare[rule.end() :]
    scored = has_params and (words_of(bare) in _SCORES or words_of(bare).endswith("score"))
    is_wanted = header in wanted
    if (is_wanted or scored or metrics.better(metrics.canonical(bare))) and one.filled and _mostly(one, _starts_number):
        name = metrics.canonical(bare, REPORTED)
        values = [number for number in one.numbers if not math.isnan(number)]
        unit = unit or metrics.unit_of(name, min(values, default=None), max(values, default=None))
        metric = Metric(header, name, REPORTED, unit, "none", _RULES[rule[1].lower()] if rule else None)
        return Column(one.place, header, "curve", metric, "states a result")
    if metrics.is_aside(header) or role_of(header) or (one.words in TIMES and one.filled and _is_clock(one)):
        return Column(one.place, header, "aside", why="goes with a result")
    return Column(one.place, header, "param", why="says which run the row is")


def _starts_number(cell: str) -> bool:
    return number_of(re.split(r"±|\+/?-|\\pm", cell)[0]) is not None


def _mostly(one: _Seen, test: Callable[[str], bool]) -> bool:
    return sum(map(test, one.filled)) * 2 > len(one.filled)
