"""What the numbers of a log are called: labels as printed, and canonical names that tell them apart."""

import re
from collections.abc import Iterable, Sequence

from expdb import metrics
from expdb.parsers.logs.rows import Rows
from expdb.parsers.logs.templates import VALUES, Field, Template
from expdb.records import ASIDE, Metric

_WORD = re.compile(r"[^\W_]+")


class Names:
    """Metrics of the fields of each kind of line.

    Where two kinds print one name, the first has it for good: a log that grows must not change it.
    """

    def __init__(self) -> None:
        self._metrics: dict[tuple[Template, int], Metric] = {}
        self._named: set[Template] = set()
        # What the first line to print a name sums up.
        self._levels: dict[str, str] = {}
        # The first name on the lines that print a label first, and their steps.
        self._openers: dict[tuple[str, str, str], tuple[str, Sequence[int]]] = {}

    def metric(self, template: Template, place: int) -> Metric | None:
        """The metric of a field, None where it is a step."""
        return self._metrics.get((template, place))

    def give(self, groups: list[Rows], accepted: Iterable[Template]) -> None:
        """A metric for each field; what iterations and epochs print under one name are two."""
        fresh = [rows for rows in groups if rows.template.values and rows.template not in self._named]
        if not fresh:
            return
        fresh.sort(key=lambda rows: rows.lines[0])
        levels = list(map(_level_of, fresh))
        names = [[_base_name(one) if one.role in VALUES else None for one in rows.template.fields] for rows in fresh]
        for mine, bare in zip(levels, names, strict=True):
            for name in bare if mine != "batch" else ():
                if name:
                    self._levels.setdefault(name, mine)
        promote = all(one.aside for template in accepted for one in template.values)
        for rows, mine, bare in zip(fresh, levels, names, strict=True):
            self._named.add(rows.template)
            for i, (one, base) in enumerate(zip(rows.template.fields, bare, strict=True)):
                if base is None:
                    continue
                name = base
                label = (f"{one.heading} {one.label}" if one.heading else one.label) + one.member
                if mine == "batch":
                    name += "_batch"
                elif self._levels[name] != mine:
                    # The first to print it has the name for good: a log that grows must not change it.
                    lead = rows.template.lead if mine == "none" else ""
                    if lead:
                        name, label = _joined_name(lead, name), f"{lead} {label}"
                    else:
                        name += "_step" if mine == "iteration" else "_epoch"
                if other := self._overlaid(rows, one, base):
                    name, label = f"{name}_{other}", f"{label} ({other})"
                if one.aside and metrics.is_result(one.label):
                    # "Saving checkpoint, acc 45.0" says once more what a curve says.
                    name, label = f"{name}_best", f"{label} (best)"
                label = f"{label} (avg)" if one.role == "average" else label
                aside = (one.aside or _is_batch_time(one, rows)) and not promote
                kind = ASIDE if aside else "curve"
                self._metrics[rows.template, i] = Metric(label, name, kind, one.unit, rows.step_unit)

    def _overlaid(self, rows: Rows, one: Field, name: str) -> str | None:
        """What tells a field from the same label on lines of another kind, which begin with another result and stand
        at the same steps; the first kind to print it has the label alone."""
        template = rows.template
        values = [value for value in template.values if value.role == "value"]
        # A duration in other words is no number: asides come and go.
        names = [value.label for value in values if not value.aside] or [value.label for value in values]
        if not template.positions or not names:
            return None
        said = (name, one.label, _level(template))
        opener, steps = self._openers.get(said) or self._openers.setdefault(said, (names[0], rows.steps))
        if opener == names[0] or (steps and set(steps).isdisjoint(rows.steps)):
            return None
        return names[0] if names[0] != one.label else "2"

    def told(self, template: Template) -> tuple[tuple[str, str, str], ...]:
        """(label, name or step, why) of each field of a kind of line."""
        out = []
        for i, one in enumerate(template.fields):
            metric = self._metrics.get((template, i))
            if metric:
                why = "aside" if metric.kind == ASIDE else one.role
                out.append((metric.label, metric.name, why + (f", {metric.unit}" if metric.unit else "")))
            elif one.role in ("epoch", "iteration"):
                out.append((one.label, one.role, f"step: {one.why or 'its name'}"))
        return tuple(out)


def _is_batch_time(one: Field, rows: Rows) -> bool:
    """How long a batch took is no result."""
    quantity = metrics.meaning_of(one.label).quantity
    return quantity is not None and quantity.unit == "s" and "iteration" in rows.template.positions


def _base_name(one: Field) -> str:
    name = metrics.canonical(one.label.partition(" (")[0] if one.label.endswith(")") else one.label, split=one.split)
    if one.heading:
        name = _joined_name(one.heading, name)
    return f"{name}_avg" if one.role == "average" else name + one.member


def _joined_name(words: str, name: str) -> str:
    split, slash, last = name.rpartition("/")
    return f"{split}{slash}{'_'.join(_WORD.findall(words)).lower()}_{last}"


def _level(template: Template) -> str:
    if "iteration" in template.positions:
        return "batch" if template.split not in (None, metrics.TRAIN) and template.counts_batches else "iteration"
    return "epoch" if template.positions else "none"


def _level_of(rows: Rows) -> str:
    """What a kind of line sums up, by its first: one that begins with the last batch is of all of them."""
    level = _level(rows.template)
    if level == "batch":
        if any(one.role == "epoch" and one.split for one in rows.template.fields):
            # mmcv's `Epoch(val) [1][79]`.
            return "epoch"
        totals, counts = rows.totals(), rows.column("iteration")
        if totals and counts and totals[0] == counts[0]:
            return "epoch"
    return level
