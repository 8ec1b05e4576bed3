"""The words every room shares: what a parser hands over, and the table a report prints.

experiment > run > metric > point. Values are as printed; the unit and the printed decimals stand beside them.
Lines are 1-based and counted at line feeds, as editors do. A step is an integer or None (a reported value).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["curve", "reported", "aside"]
Unit = Literal["fraction", "percent", "s", "ms", "min", "h"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Better = Literal["max", "min"]
RunStatus = Literal["scheduled", "running", "finished", "failed", "killed"]

# Tags by which launched runs are known again (of the same command, params and seed; of one sweep); they say nothing to
# people.
PLAN_TAG, SWEEP_TAG = "expdb.plan", "expdb.sweep"
BOOKKEEPING_TAGS = frozenset((PLAN_TAG, SWEEP_TAG))

CURVE: Kind = "curve"
REPORTED: Kind = "reported"
# Printed beside the results and no result: ETA, speed, memory, the best so far. Shown by parse, not stored.
ASIDE: Kind = "aside"


@dataclass(frozen=True, slots=True)
class Metric:
    """One curve of one run, or one number that a page states.

    label: as printed. name: canonical, `split/quantity`. unit: None until the values are all seen. kind: a reader
    marks asides as such, and only where a source holds something else: an aside that is all there is is a curve.
    step_unit: what the step counts: epoch, iteration, step or row. rule: how a page says it chose a
    reported value (best, last, mean), None where it does not say.
    """

    label: str
    name: str
    kind: Kind = CURVE
    unit: Unit | None = None
    step_unit: str = "epoch"
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Consecutive points of one metric, in the order of the file; all sequences have one length.

    lines never goes down; None: typed in by hand. epochs: for curves whose step is not the epoch. decimals:
    the most digits printed behind the point by any value, None where one was printed with an exponent.
    """

    metric: Metric
    steps: Sequence[int | None]
    values: Sequence[float]
    lines: Sequence[int | None]
    decimals: int | None = None
    epochs: Sequence[float | None] | None = None
    times_ms: Sequence[int | None] | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """The source is a page: it is kept whole, and its title names the experiment."""

    title: str | None


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run begins. index: 0, 1, ... in the file; caption: what the page calls it, if it does."""

    index: int
    line: int
    caption: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """More points of run `index`, read from the lines up to line_last."""

    index: int
    curves: tuple[Curve, ...]
    line_last: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """The lines state run `index` once more (the same table twice on one page)."""

    index: int
    line_first: int
    line_last: int


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Lines that were read and not understood; examples are the first few, (line, text)."""

    count: int
    examples: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LineKind:
    """One kind of line (or record) that a reader found, told to the person by `parse --explain`.

    line, text: the first of them. count: how many there were. step: which field is the step, None where none is.
    fields: (label, canonical name, what it was taken for and why), in the order of the line.
    """

    line: int
    text: str
    count: int
    step: str | None
    fields: tuple[tuple[str, str, str], ...]


Event = Document | LineKind | RunStart | Points | Repeat | Unparsed


@dataclass(slots=True)
class Summary:
    """What is known of a curve without its points; the columns of table `metric`.

    last is the point with the greatest (step, time, seq), where a point without a step comes first; a
    tie in min or max goes to the first to arrive. NaN is counted in nonfinite and is never min or max;
    ±inf is counted too but is a value. last may be NaN, which is what a diverged run printed last.
    """

    count: int = 0
    nonfinite: int = 0
    first_step: int | None = None
    first_value: float | None = None
    last_step: int | None = None
    last_time_ms: int | None = None
    last_value: float | None = None
    min_step: int | None = None
    min_value: float | None = None
    max_step: int | None = None
    max_value: float | None = None

    def add(
        self,
        steps: Sequence[int | None],
        values: Sequence[float],
        times_ms: Sequence[int | None] | None = None,
        last: int | None = None,
    ) -> None:
        """Take in consecutive points, in order of arrival. last: what `last_of` says of them, where it is known."""
        if not values:
            return
        low, high = min(values), max(values)
        # A NaN anywhere shows in the sum; min and max alone may step over it.
        clean = math.isfinite(sum(values))
        if not clean:
            self.nonfinite += sum(not math.isfinite(v) for v in values)
            numbers = [v for v in values if v == v]
            low, high = (min(numbers), max(numbers)) if numbers else (math.nan, math.nan)
        if self.count == 0:
            self.first_step, self.first_value = steps[0], values[0]
        if low == low:
            if self.min_value is None or low < self.min_value:
                self.min_value, self.min_step = low, steps[values.index(low)]
            if self.max_value is None or high > self.max_value:
                self.max_value, self.max_step = high, steps[values.index(high)]
        place = last_of(steps, times_ms) if last is None else last
        time = times_ms[place] if times_ms else None
        mark = (_order(steps[place]), _order(time))
        if self.count == 0 or mark >= (_order(self.last_step), _order(self.last_time_ms)):
            self.last_step, self.last_time_ms, self.last_value = steps[place], time, values[place]
        self.count += len(values)

    def row(self) -> tuple[int | float | None, ...]:
        """Its numbers in the order of the columns of table `metric`."""
        return (
            *(self.count, self.nonfinite, self.first_step, self.first_value, self.last_step, self.last_time_ms),
            *(self.last_value, self.min_step, self.min_value, self.max_step, self.max_value),
        )


def last_of(steps: Sequence[int | None], times_ms: Sequence[int | None] | None = None) -> int:
    """Which of the points, in order of arrival, is the last: the one with the greatest (step, time, seq)."""
    if times_ms is None and None not in steps:
        top = max(steps)  # type: ignore[type-var]
        return len(steps) - 1 - list(reversed(steps)).index(top) if steps[-1] != top else len(steps) - 1
    times = times_ms or [None] * len(steps)
    return max(range(len(steps)), key=lambda i: (_order(steps[i]), _order(times[i]), i))


def _order(number: int | None) -> float:
    return -math.inf if number is None else number


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table, as printed.

    reported: a page states it without its curve. n: the value is the mean of so many runs of a group of `of`; std is
    their sample standard deviation (n - 1), None below two. diverged: runs whose training broke: a number of one run
    is marked then, a mean leaves them out. bold: the best of its column. moved: places gained against the column of
    the same metric that stands first, None where there is none. says_n: n is told beside the number, because no
    column of the table tells it. chosen: so many decimals were asked for.
    """

    value: float | str | None
    decimals: int | None = None
    unit: Unit | None = None
    reported: bool = False
    std: float | None = None
    n: int | None = None
    of: int | None = None
    diverged: int = 0
    bold: bool = False
    moved: int | None = None
    says_n: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column. expression: what was asked for; unit: of every number below, None for text.

    metric: whose values stand below, None for anything else; better: which way they improve, where that is known.
    """

    title: str
    expression: str
    numeric: bool = False
    unit: Unit | None = None
    metric: str | None = None
    better: Better | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What compare, ls and sql hand to reports. title: its caption. rules: a sentence for each rule that chose.

    language: of the sentences.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str | None = None
    rules: tuple[str, ...] = ()
    language: str = "en"
