"""Lines of one kind, column by column, and where the training was when they were printed."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress

from expdb import metrics
from expdb.parsers.logs.templates import Template

MOST_STEP = 1 << 62

# (epoch, iteration)
Place = tuple[int, int]


@dataclass(slots=True)
class Rows:
    """Lines of one kind: texts has one sequence per field.

    steps, epochs: where the training was; counted: so many of the first have no step, theirs count them;
    later_unit: what the steps of the others count.
    """

    template: Template
    lines: Sequence[int]
    texts: list[Sequence[str]]
    steps: Sequence[int] = ()
    epochs: Sequence[float | None] | None = None
    step_unit: str = "epoch"
    counted: int = 0
    later_unit: str = "epoch"
    _numbers: dict[str, list[int] | None] = field(default_factory=dict, repr=False, compare=False)

    def between(self, first: int, last: int) -> "Rows":
        """Those with first <= line < last."""
        low, high = bisect_left(self.lines, first), bisect_left(self.lines, last)
        return self if low == 0 and high == len(self.lines) else self._cut(slice(low, high), max(0, self.counted - low))

    def _cut(self, cut: slice, counted: int) -> "Rows":
        texts = [t[cut] for t in self.texts]
        epochs = self.epochs[cut] if self.epochs is not None else None
        # What only the first rows counted is not what the others have.
        unit = self.later_unit if self.counted and not counted else self.step_unit
        return Rows(self.template, self.lines[cut], texts, self.steps[cut], epochs, unit, counted, self.later_unit)

    def where(self, mask: Sequence[bool], template: Template | None = None) -> "Rows":
        """Those that the mask chooses, as another template's."""
        return Rows(
            template or self.template,
            list(compress(self.lines, mask)),
            [list(compress(t, mask)) for t in self.texts],
            list(compress(self.steps, mask)) if self.steps else (),
            list(compress(self.epochs, mask)) if self.epochs is not None else None,
            self.step_unit,
            self.counted,
            self.later_unit,
        )

    def totals(self) -> Sequence[str] | None:
        """How many iterations there are, as printed behind each."""
        for one, following, texts in zip(self.template.fields, self.template.fields[1:], self.texts[1:], strict=False):
            if one.role == "iteration" and following.role == "total":
                return texts
        return None

    def numbers(self, role: str) -> list[int] | None:
        """The steps of the first field with the role; None where they are none."""
        if role not in self._numbers:
            self._numbers[role] = integers(self.column(role))
        return self._numbers[role]

    def column(self, role: str) -> Sequence[str] | None:
        """The texts of the first field with the role."""
        for one, texts in zip(self.template.fields, self.texts, strict=True):
            if one.role == role:
                return texts
        return None


def moved(lines: Sequence[int], by: int) -> Sequence[int]:
    return range(lines.start + by, lines.stop + by) if isinstance(lines, range) else [line + by for line in lines]


def counts_training(template: Template) -> bool:
    """Whether the step it prints is the training's, and not that of a loop over validation data."""
    if template.split in (None, metrics.TRAIN) or not template.positions:
        return bool(template.positions)
    # "[eval] iter 200: ..." has the training's; "Test: [3/10]" has not.
    if template.counts_batches:
        return False
    return template.positions == {"iteration"} or any(
        one.role == "iteration" and one.label.lower() in _OF_TRAINING for one in template.fields
    )


# No loop over validation data counts these: Marian's "Up. 2000".
_OF_TRAINING = frozenset(("up", "update", "updates", "global step", "global_step"))


def moves(rows: Rows) -> bool:
    """Whether the training is ever at another place than at the first."""
    columns = [c for c in (rows.column("epoch"), rows.column("iteration")) if c is not None]
    return len(set(zip(*columns, strict=True))) > 1


def has_points(rows: Rows) -> bool:
    """Whether a value that is no aside is ever printed with a point or an exponent."""
    wanted = [
        t for one, t in zip(rows.template.fields, rows.texts, strict=True) if one.role == "value" and not one.aside
    ]
    return any(any(map(_POINT, texts)) for texts in wanted)


_POINT = re.compile(r"\.\d|\de|nan|inf", re.IGNORECASE).search


def varies(rows: Rows) -> bool:
    wanted = [t for one, t in zip(rows.template.fields, rows.texts, strict=True) if one.role == "value"]
    return any(texts[0] != text for texts in wanted for text in texts)


# Boosters say at the end once more how the best iteration went.
_BEST_FOLLOWS = re.compile(r"(?i)\bbest (?:iteration|round)(?: is| was)?[ \t]*:$")


def without_best(groups: list[Rows], body: str, rest: list[tuple[int, str]]) -> list[Rows]:
    """Rows without the best iteration where it was printed before; that line goes to rest."""
    said = {number + 1 for number, text in rest if text.rstrip().endswith(":") and _BEST_FOLLOWS.search(text.rstrip())}
    if not said:
        return groups
    lines, out = body.split("\n"), []
    for rows in groups:
        counts = rows.column("iteration") or ()
        told: set[int] = set()
        since = 0
        for at in [i for i, line in enumerate(rows.lines) if line in said and counts]:
            if counts[at] in counts[since:at]:
                told.add(rows.lines[at])
            since = at + 1
        rest += [(line, lines[line]) for line in told]
        out.append(rows.where([line not in told for line in rows.lines]) if told else rows)
    return out


def integers(texts: Sequence[str] | None) -> list[int] | None:
    """Steps; None where they are none: an epoch of 0.53 is no step."""
    if texts is None:
        return None
    try:
        # Totals are the same on every line.
        same = texts[0] == texts[-1] and texts.count(texts[0]) == len(texts)
        numbers = [int(texts[0])] * len(texts) if same else list(map(int, texts))
    except ValueError:
        return None
    return numbers if all(-1 <= n < MOST_STEP for n in (min(numbers), max(numbers))) else None


def floats(texts: Sequence[str] | None) -> Sequence[float | None] | None:
    return list(map(float, texts)) if texts is not None else None
