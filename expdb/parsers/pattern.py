"""A person's own regex as a reader: its named groups are metrics, those that count steps are the position.

`(?P<epoch>\\d+).*?loss (?P<train__loss>\\S+)`: two underscores stand for the `/` that a group's name cannot hold. A
line may match several times, each match with other groups. Lines without a position take the one before them; where
no group is one, rows are counted.
"""

import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import compress, islice
from operator import lt

from expdb import metrics
from expdb.errors import UsageError
from expdb.parsers import CERTAIN, Options
from expdb.parsers.digits import decimals_of
from expdb.parsers.logs.lines import EXAMPLES
from expdb.parsers.logs.terminal import settle
from expdb.parsers.matcher import Found, Matcher, Texts, pieces
from expdb.parsers.reading import Reading, Sample
from expdb.parsers.runs import Boundaries
from expdb.records import Curve, Event, LineKind, Metric, Points, RunStart, Unit, Unparsed
from expdb.settings import OwnPattern

PREFIX = "pattern:"
# So many lines of its own make a file a pattern's.
ENOUGH_LINES = 2
_TEXT_LIMIT = 200
_KINDS = 20

_UNITS = "|".join(sorted(map(re.escape, metrics.UNIT_WORDS), key=len, reverse=True))
_WITH_UNIT = re.compile(rf"\s*([-+]?(?:[\d.]+(?:[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)))\s*({_UNITS})\s*")
_MOST_DIGITS = 18


def compiled(regex: str) -> re.Pattern[str]:
    """The regex, for lines. UsageError where it is none, or names nothing that is measured."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pattern = re.compile(regex, re.MULTILINE)
    except re.error as error:
        place = "" if error.pos is None else f" at character {error.pos + 1}"
        raise UsageError(f"this is no regex: {error.msg}{place}", hint=r"e.g. 'loss (?P<loss>\S+)'") from None
    except (OverflowError, RecursionError) as error:
        raise UsageError(f"this is no regex: {error}", hint=r"e.g. 'loss (?P<loss>\S+)'") from None
    if not pattern.groupindex:
        raise UsageError("the regex names no group", hint=r"a group's name is its metric's: 'loss (?P<loss>\S+)'")
    if all(map(metrics.step_role, pattern.groupindex)):
        raise UsageError(
            f"the regex names a position ({', '.join(pattern.groupindex)}) and no metric",
            hint=r"'epoch (?P<epoch>\d+).*?loss (?P<loss>\S+)'",
        )
    return pattern


class PatternReader:
    """The reader of one OwnPattern. UsageError for a regex that is none."""

    VERSION = 1

    def __init__(self, own: OwnPattern) -> None:
        self.NAME = PREFIX + own.name if own.name else "pattern"
        self.SUMMARY = own.regex if not own.files else f"{own.regex} (files: {', '.join(own.files)})"
        self._files = own.files
        self._regex = compiled(own.regex)

    def recognise(self, sample: Sample) -> float:
        """Certain where the regex matches two lines, else not at all. InputError where it takes too long."""
        if self._files and not any(fnmatchcase(sample.name, glob) for glob in self._files):
            return 0.0
        found = self._matcher(sample.name).find(settle(sample.text)[0], 1, ENOUGH_LINES)
        return CERTAIN if len(found.indexes) >= ENOUGH_LINES else 0.0

    def parse(self, reading: Reading, options: Options) -> Iterator[Event]:
        """Runs of a log: one, unless the position starts again."""
        del options
        matcher = self._matcher(reading.path)
        out = _Pass(matcher, _plan(matcher, reading))
        for block in reading.blocks():
            yield from out.feed(block.line, block.text)
        yield from out.kinds()
        yield out.unparsed

    def _matcher(self, path: str) -> Matcher:
        return Matcher(self._regex, self.NAME, path)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the steps are. epoch, iteration: which group counts it; step: which of them is the step, None for rows."""

    epoch: int | None
    iteration: int | None
    step: int | None
    counts: str
    why: str


def _plan(matcher: Matcher, reading: Reading) -> _Plan:
    """What the step is, by the first rows; with epochs and iterations, by what the iteration does at the next epoch."""
    roles = list(map(metrics.step_role, matcher.names))
    epoch, iteration = ((roles.index(role) if role in roles else None) for role in ("epoch", "iteration"))
    counts = "row" if iteration is None else "step" if "step" in matcher.names[iteration] else "iteration"
    if epoch is None:
        why = "no group counts epochs or iterations: rows are counted" if iteration is None else "named group"
        return _Plan(None, iteration, iteration, counts, why)
    last: tuple[float, float] | None = None
    for number, row in enumerate(_all_rows(matcher, reading)):
        now = _number(row[epoch])
        if now is not None and not now.is_integer():
            why = "epochs have fractions: " + ("rows are counted" if iteration is None else "the iteration is the step")
            return _Plan(epoch, iteration, iteration, counts, why)
        if iteration is None:
            if number > 1000:
                break
            continue
        count = _number(row[iteration])
        if now is None or count is None:
            continue
        if last and now != last[0]:
            if count > last[1]:
                return _Plan(epoch, iteration, iteration, counts, f"it goes on in epoch {now:g}")
            return _Plan(epoch, iteration, epoch, "epoch", f"the {counts} starts again in epoch {now:g}")
        last = now, count
    if iteration is not None:
        return _Plan(epoch, iteration, iteration, counts, "named group")
    return _Plan(epoch, None, epoch, "epoch", "named group")


def _all_rows(matcher: Matcher, reading: Reading) -> Iterator[tuple[str | None, ...]]:
    for block in reading.blocks():
        for index, piece in pieces(block.text):
            yield from zip(*matcher.find(settle(piece)[0], block.line + index).columns, strict=True)


def _positions(texts: Texts) -> Sequence[float | None]:
    """Each row's position; None where it is not printed, or no number."""
    if None not in texts and "" not in texts:
        try:
            whole = list(map(int, texts))  # type: ignore[arg-type]  # there is no None
        except ValueError:
            return list(map(_number, texts))
        # No more digits than a column of the database takes.
        if max(map(abs, whole)) < 10**_MOST_DIGITS:
            return whole
    return list(map(_number, texts))


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 10**_MOST_DIGITS else None


@dataclass(frozen=True, slots=True)
class _Part:
    """Lines as a terminal showed them. origins: how many line feeds of the file stand before each, None where as many
    as lines do."""

    line: int
    lines: Sequence[str]
    origins: Sequence[int] | None

    def number(self, index: int) -> int:
        """The number of a line in the file."""
        return self.line + (index if self.origins is None else self.origins[index])

    def numbers(self, indexes: Sequence[int]) -> list[int]:
        """The numbers of lines."""
        return [self.line + i for i in indexes] if self.origins is None else list(map(self.number, indexes))

    def text(self, number: int) -> str:
        """The first line of that number."""
        index = number - self.line
        return self.lines[index if self.origins is None else bisect_left(self.origins, index)][:_TEXT_LIMIT]


class _Pass:
    """One file on its way to events."""

    def __init__(self, matcher: Matcher, plan: _Plan) -> None:
        self._matcher, self._plan = matcher, plan
        names = matcher.names
        position = (plan.epoch, plan.iteration)
        self._labels = {i: name.replace("__", "/") for i, name in enumerate(names) if i not in position}
        # What falls back tells the runs apart: the step, and the epoch where rows are counted.
        self._told = plan.step if plan.step is not None else plan.epoch
        self._boundaries = Boundaries("epoch" if self._told == plan.epoch else plan.counts)
        self._index = -1
        self._begins: tuple[int, str | None] | None = None
        self._begun = False
        self._row = 0
        self._last: dict[int, float] = {}
        self._kinds: dict[tuple[bool, ...], tuple[int, str, int]] = {}
        self._unparsed = 0
        self._examples: list[tuple[int, str]] = []

    @property
    def unparsed(self) -> Unparsed:
        """Lines so far that do not match, or hold no number where a group is."""
        return Unparsed(self._unparsed, tuple(sorted(self._examples)[:EXAMPLES]))

    def feed(self, line: int, text: str) -> Iterator[RunStart | Points]:
        """Read whole lines, the first of which has the given number."""
        shown, origins = settle(text)
        found = self._matcher.find(shown, line)
        part = _Part(line, shown.split("\n"), origins)
        self._count_others(part, found.indexes)
        if not found.indexes:
            return
        numbers, columns = part.numbers(found.indexes), found.columns
        self._count_kinds(part, found)
        positions = {i: _positions(columns[i]) for i in (self._plan.epoch, self._plan.iteration) if i is not None}
        starts = self._starts(numbers, positions)
        for (first, reason), end in zip(starts, [*(at for at, _ in starts[1:]), len(numbers)], strict=True):
            if reason is not None:
                self._begins, self._begun, self._row = (numbers[first], reason or None), False, 0
            yield from self._segment(slice(first, end), numbers, columns, positions, part)

    def kinds(self) -> Iterator[LineKind]:
        """The kinds of line there were: which groups matched."""
        plan, names = self._plan, self._matcher.names
        step = None if plan.step is None else f"{names[plan.step]}: {plan.why}"
        for mask, (line, text, count) in self._kinds.items():
            fields = []
            for i in compress(range(len(names)), mask):
                label = self._labels.get(i)
                if label is not None:
                    fields.append((label, metrics.canonical(label), f"metric: group (?P<{names[i]}>)"))
                else:
                    taken = f"the step: {plan.why}" if i == plan.step else "the epoch" if i == plan.epoch else "no step"
                    fields.append((names[i], metrics.step_role(names[i]) or "", taken))
            yield LineKind(line, text, count, step, tuple(fields))

    def _count_others(self, part: "_Part", indexes: Sequence[int]) -> None:
        """Count lines that do not match and are not blank."""
        count = sum(map(bool, map(str.strip, part.lines))) - len(indexes)
        self._unparsed += count
        if count > 0 and len(self._examples) < EXAMPLES:
            matched = set(indexes)
            others = (i for i, text in enumerate(part.lines) if i not in matched and text and not text.isspace())
            for index in islice(others, EXAMPLES):
                self._examples.append((part.number(index), part.lines[index][:_TEXT_LIMIT]))

    def _count_kinds(self, part: "_Part", found: Found) -> None:
        indexes, columns = found.indexes, found.columns
        if all(map(all, columns)):
            masks: Sequence[tuple[bool, ...]] = [(True,) * len(columns)]
            counts = [len(indexes)]
        else:
            masks, counts = list(zip(*(map(bool, column) for column in columns), strict=True)), [1] * len(indexes)
        for index, mask, count in zip(indexes, masks, counts, strict=False):
            if mask in self._kinds:
                first, text, before = self._kinds[mask]
                self._kinds[mask] = first, text, before + count
            elif len(self._kinds) < _KINDS:
                self._kinds[mask] = part.number(index), part.lines[index][:_TEXT_LIMIT], count

    def _starts(
        self, numbers: Sequence[int], positions: Mapping[int, Sequence[float | None]]
    ) -> list[tuple[int, str | None]]:
        """(row, reason) of each piece of a run: reason None goes on with the open run, "" is the first of all."""
        starts: list[tuple[int, str | None]] = [(0, None if self._index >= 0 or self._begins else "")]
        if self._told is None:
            return starts
        told = positions[self._told]
        steps: Sequence[float] = [step for step in told if step is not None]
        rows: Sequence[int] = range(len(told))
        if len(steps) < len(told):
            rows = [row for row, step in enumerate(told) if step is not None]
        if not any(map(lt, steps[1:], steps)):
            # Only the first can fall back, from what stood before.
            rows, steps = [*rows[:1], *rows[-1:]], [*steps[:1], *steps[-1:]]
        row = 0

        def each() -> Iterator[tuple[int, float]]:
            nonlocal row
            for row, step in zip(rows, steps, strict=True):
                yield numbers[row], step

        # It says where a run begins as soon as it is told of the step, which is that of the row.
        for _, reason in self._boundaries.starts(each()):
            if row == 0:
                starts.clear()
            starts.append((row, reason))
        return starts

    def _segment(
        self,
        cut: slice,
        numbers: Sequence[int],
        columns: Sequence[Texts],
        positions: Mapping[int, Sequence[float | None]],
        part: "_Part",
    ) -> Iterator[RunStart | Points]:
        """The rows of one run."""
        plan, rows = self._plan, numbers[cut]
        printed = {i: self._carried(i, texts[cut]) for i, texts in positions.items()}
        if plan.step is None:
            steps: Sequence[int] = range(self._row, self._row + len(rows))
            self._row += len(rows)
        else:
            steps = list(map(int, printed[plan.step]))
        epochs = printed[plan.epoch] if plan.epoch is not None and plan.epoch != plan.step else None
        curves: list[Curve] = []
        wrong: set[int] = set()
        for i, label in self._labels.items():
            texts = columns[i][cut]
            if all(texts):
                curves += self._curve(label, steps, rows, epochs, texts, wrong)
            elif any(texts):
                there = list(map(bool, texts))
                some = None if epochs is None else list(compress(epochs, there))
                kept = list(compress(steps, there)), list(compress(rows, there))
                curves += self._curve(label, *kept, some, list(compress(texts, there)), wrong)
        self._unparsed += len(wrong)
        self._examples += [(number, part.text(number)) for number in sorted(wrong)[:EXAMPLES]]
        if not curves:
            return
        if not self._begun:
            assert self._begins is not None
            self._begun = True
            self._index += 1
            yield RunStart(self._index, self._begins[0], reason=self._begins[1])
        yield Points(self._index, tuple(curves), rows[-1])

    def _carried(self, group: int, found: Sequence[float | None]) -> Sequence[float]:
        """Positions, each row without one taking the one before it, the very first 0."""
        if None not in found:
            self._last[group] = found[-1] or 0
            return found  # type: ignore[return-value]  # there is no None
        last = self._last.get(group) or 0
        out = [last := last if one is None else one for one in found]
        self._last[group] = last
        return out

    def _curve(
        self,
        label: str,
        steps: Sequence[int],
        rows: Sequence[int],
        epochs: Sequence[float] | None,
        texts: Texts,
        wrong: set[int],
    ) -> Iterator[Curve]:
        """The values of one group; what is no number is left out, its line added to wrong."""
        unit: Unit | None = None
        words = [text or "" for text in texts]
        try:
            values = list(map(float, words))
        except ValueError:
            units = [_WITH_UNIT.fullmatch(word) for word in words]
            words = [found[1] if found else word for found, word in zip(units, words, strict=True)]
            unit = next((metrics.UNIT_WORDS[found[2]] for found in units if found), None)
            good = list(map(_is_number, words))
            wrong.update(line for line, is_good in zip(rows, good, strict=True) if not is_good)
            words, steps, rows = list(compress(words, good)), list(compress(steps, good)), list(compress(rows, good))
            epochs = None if epochs is None else list(compress(epochs, good))
            values = list(map(float, words))
        if values:
            metric = Metric(label, metrics.canonical(label), unit=unit, step_unit=self._plan.counts)
            yield Curve(metric, steps, values, rows, decimals_of(words), epochs)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
