"""Log lines of any shape to runs: the kinds of line are found in the text itself and compiled for all of it.

The n-th match of the compiled pattern is the n-th line, for one more branch of it takes whatever no kind fits: so
line numbers cost nothing. What stands on lines of several kinds is put together by where the training is: its epoch
and its iteration.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, compress, pairwise
from operator import lt

from expdb import metrics
from expdb.parsers.configs.reader import ConfigReader
from expdb.parsers.logs.forms import form_of, known_forms
from expdb.parsers.logs.templates import LINE_LIMIT, Field, Template, pieces, split_in, template_of, template_of_parts
from expdb.parsers.logs.terminal import settle
from expdb.records import ASIDE, Curve, LineKind, Metric, Points, RunStart, Unparsed

EXAMPLES = 5
# More kinds of line than this in one file are read one by one.
TEMPLATES = 24
# So many lines show which kinds a text has.
_SHOWN = 40
# So many, where they are all of one kind.
_FEW = 2
# No float prints more digits behind the point by itself.
MOST_DIGITS = 20
_MOST_STEP = 1 << 62


def is_log_line(line: str) -> bool:
    """Whether the line, wherever it stands, is measured rather than said: it has a step and a result, or two results
    and nothing else."""
    template = template_of(line)
    if template is None or not template.exact or (template.has_epoch and _EPOCH_SAID.search(line) is None):
        return False
    if template.has_epoch and template.fields[0].role == "epoch":
        return bool(template.values) and _tells(template)
    return template.known > 0 and not template.positions and sum(metrics.is_known(v.label) for v in template.values) > 1


def _tells(template: Template) -> bool:
    # "epochs: 90, lr: 0.1" is a configuration.
    return template.known > 0 or not template.fields[0].label.lower().endswith("epochs")


# "epoch 3.5" and "epoch -1" are none.
_EPOCH_SAID = re.compile(
    r"(?i:epochs?|轮次|轮|第|train)[ \t]*[:=：#]?[ \t]*[\[(]?[ \t]*\d{1,18}"
    r"(?:[ \t]*/[ \t]*\d+(?![\d.]))?(?![\w.%])(?!/\d+\.)"
)
_EPOCH = re.compile(
    r"[ \t]*(?i:epochs?|轮次|轮)[ \t]*(?:[:=：#][ \t]*)?(?:[\[(][ \t]*)?(\d{1,18})"
    r"(?:[ \t]*/[ \t]*\d+)?(?:[ \t]*[\])])?(?:[ \t]*[:：])?(?![\w.%])"
)


def epoch_of(line: str) -> int | None:
    """The epoch a line opens with."""
    found = _EPOCH.match(line)
    return int(found[1]) if found else None


# (epoch, iteration)
_Place = tuple[int, int]


@dataclass(slots=True)
class _Rows:
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

    def between(self, first: int, last: int) -> "_Rows":
        """Those with first <= line < last."""
        low, high = bisect_left(self.lines, first), bisect_left(self.lines, last)
        return self if low == 0 and high == len(self.lines) else self._cut(slice(low, high), max(0, self.counted - low))

    def _cut(self, cut: slice, counted: int) -> "_Rows":
        texts = [t[cut] for t in self.texts]
        epochs = self.epochs[cut] if self.epochs is not None else None
        # What only the first rows counted is not what the others have.
        unit = self.later_unit if self.counted and not counted else self.step_unit
        return _Rows(self.template, self.lines[cut], texts, self.steps[cut], epochs, unit, counted, self.later_unit)

    def where(self, mask: Sequence[bool], template: Template | None = None) -> "_Rows":
        """Those that the mask chooses, as another template's."""
        return _Rows(
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

    def column(self, role: str) -> Sequence[str] | None:
        """The texts of the first field with the role."""
        for one, texts in zip(self.template.fields, self.texts, strict=True):
            if one.role == role:
                return texts
        return None


@dataclass(slots=True)
class _Kind:
    """What is known of one kind of line over all blocks."""

    line: int
    text: str
    count: int = 0
    accepted: bool = False
    last: _Place | None = None


@dataclass(slots=True)
class _Clock:
    """Where the training is. offset: iterations of the epochs before this one, where each counts anew."""

    epoch: int | None = None
    iteration: int | None = None
    base: int | None = None
    offset: int = 0
    in_epoch: bool | None = None


class LineReader:
    """Blocks of log text to runs. index: of the first run it will find; settings: whether params are looked for.

    A run ends where the epoch (or the iteration, where no epoch is printed) falls back to where the run began, or
    below: a log appended to itself. One that only steps back a little is a resumed training and stays in its run.
    Lines of two trainings that wrote into one file at a time are told apart by their steps.
    """

    def __init__(self, index: int = 0, *, settings: bool = True) -> None:
        self._wants_settings = settings
        self.index = index - 1
        self.runs = 0
        self._kinds: dict[Template, _Kind] = {}
        self._compiled: dict[Template, None] = {}
        self._strong = False
        self._names: dict[tuple[Template, int], Metric] = {}
        self._levels: dict[str, dict[str, set[str]]] = {}
        # The first name on the lines that print a label first.
        self._openers: dict[tuple[str, str, str], tuple[str, set[int]]] = {}
        self._unfinished: int | None = None
        self._clock = _Clock()
        self._first: _Place | None = None
        self._begun = False
        self._counted: dict[Template, int] = {}
        self._section: str | None = None
        self._chains: list[_Place] = []
        # Totals of drawn bars that end in the results of an epoch.
        self._drawn: set[str] = set()
        # Of progress bars, in the order they were seen.
        self._totals: list[str] = []
        self._second: str | None = None
        self._settings = ConfigReader()
        self._passed = 0
        self._unparsed = 0
        self._examples: list[tuple[int, str]] = []

    @property
    def unparsed(self) -> Unparsed:
        """Lines read so far that are not blank, of no kind and no settings."""
        self._settings.params()
        settings = self._settings.consumed
        examples = [one for one in sorted(self._examples) if one[0] not in settings]
        return Unparsed(self._unparsed - len(settings), tuple(examples[:EXAMPLES]))

    def kinds(self) -> Iterator[LineKind]:
        """What was found so far, in the order of the file."""
        for template, kind in sorted(self._kinds.items(), key=lambda item: item[1].line):
            if kind.accepted and kind.count:
                yield LineKind(kind.line, kind.text[:200], kind.count, _step_said(template), self._told(template))

    def feed(self, line: int, text: str) -> Iterator[RunStart | Points]:
        """Read whole lines, the first of which has the given number."""
        body, origins = settle(text)
        body = body[:-1] if body.endswith("\n") else body
        # Half a number may be what a program has not finished to print: no run begins with it.
        self._unfinished = None if text.endswith("\n") else line + text.count("\n")
        groups, rest = self._read(body)
        # A state of a rewritten line has that line's number.
        at = range(line, line + body.count("\n") + 1) if origins is None else [line + origin for origin in origins]
        groups = self._judged(groups, body, at, rest)
        for rows in groups:
            rows.lines = _moved(rows.lines, line) if origins is None else [at[i] for i in rows.lines]
        rest = [(at[i], said) for i, said in rest]
        if groups:
            groups = self._parted(groups, rest)
            self._give_steps(groups)
            groups = self._sectioned(groups, rest)
            self._name(groups)
            yield from self._run_events(groups, rest)
        else:
            self._pass(rest)

    # Reading

    def _read(self, body: str) -> tuple[list[_Rows], list[tuple[int, str]]]:
        """Rows by kind, each in the order of lines (0-based); the other lines that are not empty."""
        for _ in range(4):
            groups, rest = self._matched(body)
            if len(rest) < 8 or not self._learn(rest):
                break
        fresh: dict[Template, tuple[list[int], list[Sequence[str]]]] = {}
        left = []
        for number, said in rest:
            template, values = _taken_apart(said)
            if template is None:
                left.append((number, said))
                continue
            numbers, texts = fresh.setdefault(template, ([], []))
            numbers.append(number)
            texts.append(values)
        by_template = {rows.template: rows for rows in groups}
        for template, (numbers, texts) in fresh.items():
            columns: list[Sequence[str]] = list(zip(*texts, strict=True))
            known = by_template.get(template)
            if known is None:
                groups.append(_Rows(template, numbers, columns))
                continue
            # The pattern of a kind may miss a line whose key is the same: put them in order.
            order = sorted(range(len(known.lines) + len(numbers)), key=[*known.lines, *numbers].__getitem__)
            known.lines = [[*known.lines, *numbers][i] for i in order]
            known.texts = [[[*old, *new][i] for i in order] for old, new in zip(known.texts, columns, strict=True)]
        return groups, left

    def _matched(self, body: str) -> tuple[list[_Rows], list[tuple[int, str]]]:
        if not self._compiled:
            return [], [(i, said) for i, said in enumerate(body.split("\n")) if said and not said.isspace()]
        found = _compiled(tuple(self._compiled)).findall(body)
        columns: list[Sequence[str]] = list(zip(*found, strict=True))
        groups, at = [], 0
        for template in self._compiled:
            width = len(template.fields)
            texts, at = columns[at : at + width], at + width
            if "" not in texts[0]:
                return [_Rows(template, range(len(found)), texts)], []
            mask = list(map(bool, texts[0]))
            if any(mask):
                numbers = list(compress(range(len(mask)), mask))
                groups.append(_Rows(template, numbers, [list(compress(t, mask)) for t in texts]))
        rest = columns[-1]
        return groups, [(i, said) for i, said in enumerate(rest) if said and not said.isspace()] if any(rest) else []

    def _learn(self, rest: list[tuple[int, str]]) -> bool:
        """Compile the kinds that are frequent among lines of no compiled kind; whether there are any."""
        if len(self._compiled) >= TEMPLATES:
            return False
        few = {template_of(rest[len(rest) * i // _FEW][1]) for i in range(_FEW)}
        if len(few) == 1 and (only := few.pop()) and only not in self._compiled and only not in known_forms():
            # Most logs have one kind of line, and to take lines apart costs more than to match them.
            self._compiled[only] = None
            return True
        stride = max(1, len(rest) // _SHOWN)
        seen: dict[Template, int] = {}
        for _, said in chain(rest[: _SHOWN // 2], rest[_SHOWN // 2 :: stride]):
            form = form_of(said)
            if form is not None and form not in self._compiled:
                self._compiled = {form: None, **self._compiled}
                return True
            if (template := template_of(said)) and template not in self._compiled:
                seen[template] = seen.get(template, 0) + 1
        often = [t for t, count in sorted(seen.items(), key=lambda item: -item[1]) if count > 1]
        for template in often[: TEMPLATES - len(self._compiled)]:
            self._compiled[template] = None
        return bool(often)

    # Judging

    def _judged(self, groups: list[_Rows], body: str, at: Sequence[int], rest: list[tuple[int, str]]) -> list[_Rows]:
        """The rows of kinds that tell of a training; lines of the others go to rest. at: the lines' numbers."""
        said: list[str] = []
        for rows in groups:
            if rows.template not in self._kinds:
                said = said or body.split("\n")
                self._kinds[rows.template] = _Kind(at[rows.lines[0]], said[rows.lines[0]])
        strong = [rows for rows in groups if self._is_strong(rows)]
        headers = [rows for rows in groups if not rows.template.values and len(rows.lines) > 1]
        results = [rows for rows in groups if rows.template.known and len(rows.lines) > 1]
        if not strong and headers and results:
            strong = results
        self._strong = self._strong or bool(strong)
        begun = min((rows.lines[0] for rows in strong), default=0)
        out = []
        for rows in groups:
            kind = self._kinds[rows.template]
            if not kind.accepted and self._strong:
                kind.accepted = rows in strong or self._is_weak(rows, begun)
            if kind.accepted:
                kind.count += len(rows.lines)
                out.append(rows)
            else:
                said = said or body.split("\n")
                rest += [(i, said[i]) for i in rows.lines]
        rest.sort()
        return out

    def _is_strong(self, rows: _Rows) -> bool:
        """Whether rows of this kind alone show that this is a training's log."""
        template, count = rows.template, len(rows.lines)
        if self._kinds[template].accepted or template in known_forms():
            return True
        values = [one for one in template.values if not one.aside]
        if not values:
            return False
        if template.positions:
            moves = len(set(_position_texts(rows))) > 1
            if template.known:
                return template.exact or (count > 1 and moves) or _varies(rows)
            return (template.exact and _tells(template)) or (count > 2 and moves and _has_points(rows))
        if template.exact and template.known and sum(metrics.is_known(one.label) for one in values) > 1:
            return True
        told = template.exact or template.split is not None or len(values) > 2
        return template.known > 0 and count > 2 and told and _varies(rows)

    def _is_weak(self, rows: _Rows, begun: int) -> bool:
        """Whether rows of this kind tell of a training that others show."""
        template = rows.template
        if not template.values:
            return True
        if template.known or any(metrics.is_best(one.label) for one in template.values):
            return True
        if template.positions:
            # "iterations: 20000, warmup: 0.1" alone is a configuration.
            return len(rows.lines) > 1 and (_has_points(rows) or all(one.aside for one in template.values))
        if template.exact and rows.lines[0] >= begun and all(metrics.is_known(one.label) for one in template.values):
            return True
        # A model's description prints numbers, too.
        return len(rows.lines) > 2 and rows.lines[0] >= begun and _has_points(rows) and _varies(rows)

    def _pass(self, lines: Iterable[tuple[int, str]]) -> None:
        """Lines of no kind, in order: settings of the next run, or not understood."""
        for number, said in lines:
            if self._wants_settings:
                self._settings.feed(number, said)
            if number == self._passed:
                continue
            self._passed = number
            self._unparsed += 1
            # Some may yet turn out to be settings.
            if len(self._examples) < EXAMPLES or (len(self._examples) < 1000 and number < self._examples[0][0] + 2000):
                self._examples.append((number, said.rstrip("\r")[:200]))

    def _start(self, line: int, reason: str | None) -> RunStart:
        self.index += 1
        self.runs += 1
        params, tags = self._settings.params(), self._settings.tags()
        self._settings.reset()
        return RunStart(self.index, line, params=params, tags=tags, reason=reason or None)

    def _parted(self, groups: list[_Rows], rest: list[tuple[int, str]]) -> list[_Rows]:
        """A progress bar that runs first over the training data, then over the test data, is two kinds of line."""
        groups = self._full(groups)
        bars = [rows for rows in groups if _is_bar(rows.template)]
        if not bars:
            return groups
        out = [rows for rows in groups if not _is_bar(rows.template)]
        for i, rows in enumerate(bars):
            totals, counts = rows.totals(), rows.column("iteration")
            assert totals is not None and counts is not None, "a bar has both"
            full = list(map(str.__eq__, counts, totals))
            if rows.template.bar == "=" and any(full) and not all(full):
                # Until a bar is full, its numbers are those of a part of the epoch.
                bars[i] = rows.where(full)
        self._totals = list(
            dict.fromkeys(
                [
                    *self._totals,
                    *(
                        t
                        for _, t in sorted(
                            chain.from_iterable(zip(r.lines, r.totals() or (), strict=True) for r in bars)
                        )
                    ),
                ]
            )
        )
        if len(self._totals) != 2:
            return out + bars
        said = self._second_split(bars, rest)
        for rows in bars:
            if rows.template.fields[0].label != "counter" and not said:
                # "step 10/200" of another training.
                out.append(rows)
                continue
            totals = rows.totals() or ()
            for total, split in zip(self._totals, (metrics.TRAIN, said or metrics.TEST), strict=True):
                mask = [one == total for one in totals]
                if any(mask):
                    kind = _of_split(rows.template, split)
                    self._move_count(rows.template, kind, sum(mask))
                    out.append(rows.where(mask, kind))
        return out

    def _second_split(self, bars: list[_Rows], rest: list[tuple[int, str]]) -> str | None:
        """What the line above the first bar of the second total speaks of, if that is not the training."""
        if self._second is None:
            marks = {number: split for number, said in rest if len(said) < 100 and (split := split_in(said))}
            at = min((i for r in bars for i, t in zip(r.lines, r.totals() or (), strict=True) if t == self._totals[1]))
            self._second = next((split for i in (at - 1, at - 2) if (split := marks.get(i))), "")
        return self._second if self._second != metrics.TRAIN else None

    def _move_count(self, template: Template, kind: Template, count: int) -> None:
        """So many lines of a template turn out to be of another kind."""
        if kind != template:
            self._kinds.setdefault(kind, replace(self._kinds[template], count=0)).count += count
            self._kinds[template].count -= count

    def _full(self, groups: list[_Rows]) -> list[_Rows]:
        """Of drawn bars below lines that name the epoch those that are full: with the results of validation behind
        them they are of another kind than what was drawn before."""
        if not any(rows.template.positions == {"epoch"} for rows in groups) and self._clock.epoch is None:
            return groups
        out = []
        for rows in groups:
            full = _counts_alone(rows.template) and any(one.split == metrics.VAL for one in rows.template.values)
            full = full and rows.column("iteration") == rows.column("total")
            out.append(rows if not full else rows.where([True] * len(rows.lines), _of_epoch(rows.template)))
            if full:
                self._kinds.setdefault(out[-1].template, replace(self._kinds[rows.template]))
                self._drawn.update(rows.column("total") or ())
        if not self._drawn:
            return groups
        for i, rows in enumerate(out):
            if _counts_alone(rows.template) and rows.template.bar == "=":
                out[i] = rows.where([total not in self._drawn for total in rows.column("total") or ()])
        return [rows for rows in out if rows.lines]

    # Where the training is

    def _give_steps(self, groups: list[_Rows]) -> None:
        """Each row's step and epoch; a row without one takes that of the training it follows, or counts its kind."""
        training = [rows for rows in groups if _counts(rows.template)]
        if not training:
            training = [rows for rows in groups if rows.template.positions]
        for rows in training:
            self._own_steps(rows, training)
        known: list[tuple[int, int | None, int | None]] = []
        others = [rows for rows in groups if not rows.steps]
        if others:
            for rows in training:
                if rows.step_unit == "row":
                    continue
                steps = rows.steps if "iteration" in rows.template.positions else [None] * len(rows.lines)
                epochs: Sequence[float | None] = rows.steps if rows.epochs is None else rows.epochs
                if "epoch" not in rows.template.positions:
                    epochs = [None] * len(rows.lines)
                known += zip(rows.lines, steps, epochs, strict=True)  # type: ignore[arg-type]
            known.sort(key=lambda row: row[0])
            known = _filled(known, self._clock)
            at_lines = [line for line, _, _ in known]
            for rows in others:
                self._borrowed_steps(rows, at_lines, known)
        if known:
            self._clock.epoch, self._clock.iteration = known[-1][2], known[-1][1]
        for rows in sorted(training, key=lambda rows: rows.lines[-1]) if not known else ():
            if rows.step_unit == "row":
                continue
            if "iteration" not in rows.template.positions:
                self._clock.epoch = rows.steps[-1]
                continue
            self._clock.iteration = rows.steps[-1]
            epoch = rows.epochs[-1] if rows.epochs else None
            if epoch is not None and abs(epoch) < _MOST_STEP:
                self._clock.epoch = int(epoch)

    def _own_steps(self, rows: _Rows, training: list[_Rows]) -> None:
        epochs = _integers(rows.column("epoch"))
        iterations = _integers(rows.column("iteration"))
        if iterations is None:
            rows.steps, rows.step_unit = epochs or (), "epoch"
            if epochs is None or "iteration" in rows.template.positions:
                # An epoch of 0.53 is no step; it is kept beside the number of the row.
                rows.epochs = _floats(rows.column("epoch"))
                count = self._counted.get(rows.template, 0)
                rows.steps, rows.step_unit = range(count, count + len(rows.lines)), "row"
                self._counted[rows.template] = count + len(rows.lines)
            return
        rows.step_unit = "iteration"
        if epochs is None:
            rows.steps = iterations
            outer = [r for r in training if r.template.positions == {"epoch"} and _integers(r.column("epoch"))]
            if outer:
                self._within(rows, iterations, outer)
            return
        rows.epochs = epochs
        rows.steps = self._risen(rows, epochs, iterations)

    def _within(self, rows: _Rows, iterations: Sequence[int], outer: list[_Rows]) -> None:
        """Steps of rows whose epoch is printed on lines of another kind."""
        marks = sorted(
            chain.from_iterable(zip(r.lines, _integers(r.column("epoch")) or [], strict=True) for r in outer)
        )
        lines = [line for line, _ in marks]
        epochs: list[int | None] = []
        for line in rows.lines:
            place = bisect_right(lines, line)
            epochs.append(marks[place - 1][1] if place else self._clock.epoch)
        if None in epochs:
            # Marks stand above the lines of their epoch, or below.
            low = next((e for e in epochs if e is not None), 1)
            epochs = [low if e is None else e for e in epochs]
        rows.epochs = epochs
        if self._clock.in_epoch is None and rows.template.fields[0].label != "counter":
            # "step 250/20000" below a line that names an epoch counts through.
            rows.steps = iterations
            if not any(map(lt, iterations[1:], iterations)):
                return
        rows.steps = self._risen(rows, [e for e in epochs if e is not None], iterations)

    def _risen(self, rows: _Rows, epochs: Sequence[int], iterations: Sequence[int]) -> Sequence[int]:
        """Iterations counted through, where they are printed from the start of each epoch."""
        clock = self._clock
        if clock.base is None:
            clock.base = min(1, max(0, epochs[0]))
        if clock.in_epoch is None and any(map(lt, iterations[1:], iterations)):
            clock.in_epoch = (
                any(
                    after < before and later > sooner
                    for (before, sooner), (after, later) in pairwise(zip(iterations, epochs, strict=True))
                )
                or None
            )
        totals = _integers(rows.totals()) if rows.template.counts_batches else None
        if totals and (clock.in_epoch or (clock.in_epoch is None and iterations[-1] <= totals[-1])):
            # A counter of samples or batches of the epoch.
            base = clock.base
            if min(epochs) >= base:
                return [(e - base) * t + i for e, t, i in zip(epochs, totals, iterations, strict=True)]
            return [max(0, e - base) * t + i for e, t, i in zip(epochs, totals, iterations, strict=True)]
        if not clock.in_epoch:
            return iterations
        out, offset, last, epoch = [], clock.offset, None, epochs[0]
        for e, i in zip(epochs, iterations, strict=True):
            if last is not None and e > epoch and i < last:
                offset += last
            elif e < epoch:
                offset = 0
            out.append(offset + i)
            last, epoch = i, e
        clock.offset = offset
        return out

    def _borrowed_steps(
        self, rows: _Rows, at_lines: list[int], known: list[tuple[int, int | None, int | None]]
    ) -> None:
        own = _integers(rows.column("epoch"))
        if own is not None:
            rows.steps = own
            return
        count = self._counted.get(rows.template, 0)
        steps, epochs = [], []
        for line in rows.lines:
            place = bisect_right(at_lines, line)
            _, iteration, epoch = known[place - 1] if place else (0, self._clock.iteration, self._clock.epoch)
            if epoch is not None:
                steps.append(epoch)
            elif iteration is not None:
                steps.append(iteration)
                rows.step_unit = rows.later_unit = "iteration"
            else:
                steps.append(count + rows.counted)
                rows.counted += 1
            epochs.append(epoch)
        self._counted[rows.template] = count + rows.counted
        rows.steps = steps
        if rows.counted:
            rows.step_unit = "row"

    # What a line without a split speaks of

    def _sectioned(self, groups: list[_Rows], rest: list[tuple[int, str]]) -> list[_Rows]:
        """Rows that say nothing of their split belong to what was last spoken of: "Evaluating ...", "Test: [3/10]"."""
        vague = [rows for rows in groups if _is_vague(rows.template)]
        marks: list[tuple[int, str]] = []
        if vague or not groups:
            for rows in groups:
                split = rows.template.split or (metrics.TRAIN if "iteration" in rows.template.positions else None)
                if split and not _is_vague(rows.template):
                    marks += zip(rows.lines, [split] * len(rows.lines), strict=True)
            marks += [(number, split) for number, said in rest if len(said) < 100 and (split := split_in(said))]
            marks.sort(key=lambda mark: mark[0])
        out = [rows for rows in groups if not _is_vague(rows.template)]
        lines = [line for line, _ in marks]
        for rows in vague:
            said = []
            for line in rows.lines:
                place = bisect_left(lines, line)
                said.append(marks[place - 1][1] if place else self._section)
            if all(one in (None, metrics.TRAIN) for one in said):
                out.append(rows)
                continue
            for split in dict.fromkeys(said):
                kind = _of_split(rows.template, split) if split not in (None, metrics.TRAIN) else rows.template
                mask = [one == split for one in said]
                self._move_count(rows.template, kind, sum(mask))
                out.append(rows.where(mask, kind))
        if marks:
            self._section = marks[-1][1]
        return [rows for rows in out if rows.lines]

    # Runs

    def _run_events(self, groups: list[_Rows], rest: list[tuple[int, str]]) -> Iterator[RunStart | Points]:
        threads = self._threads(groups)
        passed = 0
        if threads:
            yield from self._thread_events(groups, threads)
            self._pass(rest)
            return
        for first, last, reason in self._runs(groups):
            if reason is not None:
                upto = bisect_left(rest, first, passed, key=lambda one: one[0])
                self._pass(rest[passed:upto])
                passed = upto
                yield self._start(first, reason)
            cut = [rows for rows in (g.between(first, last) for g in groups) if rows.lines]
            curves = tuple(self._curves(cut))
            if curves:
                yield Points(self.index, curves, max(rows.lines[-1] for rows in cut if rows.template.values))
        self._pass(rest[passed:])

    def _runs(self, groups: list[_Rows]) -> list[tuple[int, int, str | None]]:
        """(first line, line behind the last, reason) of each piece; reason None continues the open run."""
        first, end = min(rows.lines[0] for rows in groups), max(rows.lines[-1] for rows in groups) + 1
        starts: list[tuple[int, str | None]] = [(first, None if self._begun else "")]
        self._begun = True
        counts, tellers = _tellers(groups)
        if self._fall(tellers):
            every = [(*one, rows.template) for rows, places in tellers for one in zip(rows.lines, places, strict=True)]
            within = self._phases(tellers)
            for line, place, template in sorted(every, key=lambda row: row[0]):
                kind = self._kinds[template]
                before = kind.last
                if line == self._unfinished and line != first:
                    continue
                if before is not None and place < before and (place <= (self._first or place)):
                    if place[0] == before[0] and within:
                        kind.last = place
                        continue
                    if line == first:
                        starts.clear()
                    starts.append((line, _fell(counts, before, place, line)))
                    self._first = place
                    for other in self._kinds.values():
                        other.last = None
                elif before is None:
                    self._first = min(place, self._first or place)
                kind.last = place
        elif tellers:
            for rows, places in tellers:
                kind = self._kinds[rows.template]
                if kind.last is None:
                    self._first = min(places[0], self._first or places[0])
                kind.last = places[-1]
        ends = [line for line, _ in starts[1:]] + [end]
        return [(one, last, reason) for (one, reason), last in zip(starts, ends, strict=True)]

    def _fall(self, tellers: list[tuple[_Rows, Sequence[_Place]]]) -> bool:
        for rows, places in tellers:
            before = self._kinds[rows.template].last
            if (before is not None and places[0] < before) or any(map(lt, places[1:], places)):
                return True
        return False

    def _phases(self, tellers: list[tuple[_Rows, Sequence[_Place]]]) -> bool:
        """Whether iterations count more than once in an epoch that is not the first: for two phases of it."""
        low = min(min(places) for _, places in tellers)[0]
        return any(
            after < before and after[0] == before[0] > low
            for _, places in tellers
            for before, after in pairwise(places)
        )

    def _threads(self, groups: list[_Rows]) -> list[tuple[int, int]] | None:
        """(line, thread) of every row with a step, where trainings wrote into one file at the same time."""
        _, tellers = _tellers(groups)
        if not self._chains and (len(tellers) != 1 or not self._fall(tellers)):
            return None
        steps = sorted(one for rows, places in tellers for one in zip(rows.lines, places, strict=True))
        if len(steps) < 8:
            return None
        falls = sum(later[1] < sooner[1] for sooner, later in pairwise(steps))
        if not self._chains and (falls < 5 or falls * 3 < len(steps)):
            return None
        chains = list(self._chains)
        out: list[tuple[int, int]] = []
        for line, place in steps:
            # A step that comes again belongs to another training, unless it is the same line's.
            now = out[-1][1] if out else None
            open_to = [i for i, last in enumerate(chains) if last < place or (last == place and i == now)]
            if open_to:
                best = max(open_to, key=lambda i: chains[i])
                chains[best] = place
            elif len(chains) < 4:
                best = len(chains)
                chains.append(place)
            else:
                return None
            out.append((line, best))
        sizes = [sum(one == i for _, one in out) for i in range(len(chains))]
        if len(chains) < 2 or min(sizes) * 10 < len(out):
            return None
        self._chains = chains
        return out

    def _thread_events(self, groups: list[_Rows], threads: list[tuple[int, int]]) -> Iterator[RunStart | Points]:
        lines = [line for line, _ in threads]
        for thread in sorted({one for _, one in threads}):
            cut = []
            for rows in groups:
                mask = [threads[max(0, bisect_right(lines, line) - 1)][1] == thread for line in rows.lines]
                cut.append(rows.where(mask))
            cut = [rows for rows in cut if rows.lines]
            if thread > self.index:
                first = min(rows.lines[0] for rows in cut)
                reason = f"two trainings wrote into the file at the same time; this one's lines begin at {first}"
                yield self._start(first, reason if thread else None)
            self._begun = True
            yield Points(thread, tuple(self._curves(cut)), max(rows.lines[-1] for rows in cut))

    # Names

    def _name(self, groups: list[_Rows]) -> None:
        """A metric for each field; what iterations and epochs print under one name are two."""
        fresh = [rows for rows in groups if rows.template.values and (rows.template, -1) not in self._names]
        if not fresh:
            return
        fresh.sort(key=lambda rows: rows.lines[0])
        for rows in fresh:
            mine = _level_of(rows)
            for one in rows.template.values if mine != "batch" else ():
                self._levels.setdefault(_base_name(one), {}).setdefault(mine, set()).add(one.label)
        promote = not any(
            not one.aside for template, kind in self._kinds.items() if kind.accepted for one in template.values
        )
        for rows in fresh:
            self._names[rows.template, -1] = _NOTHING
            mine = _level_of(rows)
            for i, one in enumerate(rows.template.fields):
                if one.role not in ("value", "average", "of"):
                    continue
                name = _base_name(one)
                label = f"{one.heading} {one.label}" if one.heading else one.label
                if mine == "batch":
                    name += "_batch"
                elif next(iter(self._levels[name])) != mine:
                    # The first to print it has the name for good: a log that grows must not change it.
                    lead = rows.template.lead if mine == "none" else ""
                    if lead:
                        name, label = _joined_name(lead, name), f"{lead} {label}"
                    else:
                        name += "_step" if mine == "iteration" else "_epoch"
                if other := self._overlaid(rows, one):
                    name, label = f"{name}_{other}", f"{label} ({other})"
                label = f"{label} (avg)" if one.role == "average" else label
                aside = (one.aside or _is_batch_time(one, rows)) and not promote
                kind = ASIDE if aside else "curve"
                self._names[rows.template, i] = Metric(label, name, kind, one.unit, rows.step_unit)

    def _overlaid(self, rows: _Rows, one: Field) -> str | None:
        """What tells a field from the same label on lines of another kind, which begin with another result and stand
        at the same steps; the first kind to print it has the label alone."""
        template = rows.template
        values = [value for value in template.values if value.role == "value"]
        # A duration in other words is no number: asides come and go.
        names = [value.label for value in values if not value.aside] or [value.label for value in values]
        if not template.positions or not names:
            return None
        said = (_base_name(one), one.label, _level(template))
        opener, steps = self._openers.setdefault(said, (names[0], set(rows.steps)))
        if opener == names[0] or (steps and steps.isdisjoint(rows.steps)):
            return None
        return names[0] if names[0] != one.label else "2"

    def _curves(self, groups: list[_Rows]) -> Iterator[Curve]:
        """Curves of one run's rows; a metric that several kinds print is put in the order of lines."""
        columns: dict[Metric, list[tuple[_Rows, Sequence[float], Sequence[str]]]] = {}
        for rows in sorted(groups, key=lambda rows: rows.lines[0]):
            for i, (one, texts) in enumerate(zip(rows.template.fields, rows.texts, strict=True)):
                metric = self._names.get((rows.template, i))
                if metric is None:
                    continue
                if metric.step_unit != rows.step_unit:
                    metric = replace(metric, step_unit=rows.step_unit)
                if one.role == "of":
                    totals = map(float, rows.texts[i + 1])
                    values: Sequence[float] = [
                        float(a) / b if b else float("nan") for a, b in zip(texts, totals, strict=True)
                    ]
                else:
                    values = list(map(float, texts))
                columns.setdefault(metric, []).append((rows, values, texts))
        units = {(m.name, m.label): m for m in reversed(columns)}
        joined: dict[tuple[str, str], list[tuple[_Rows, Sequence[float], Sequence[str]]]] = {}
        for metric, parts in columns.items():
            joined.setdefault((metric.name, metric.label), []).extend(parts)
        for said, parts in joined.items():
            metric = units[said]
            if len(parts) == 1:
                rows, values, texts = parts[0]
                yield Curve(metric, rows.steps, values, rows.lines, decimals_of(texts), rows.epochs)
                continue
            yield _merged(metric, parts)

    def _told(self, template: Template) -> tuple[tuple[str, str, str], ...]:
        out = []
        for i, one in enumerate(template.fields):
            metric = self._names.get((template, i))
            if metric:
                why = "aside" if metric.kind == ASIDE else one.role
                out.append((metric.label, metric.name, why + (f", {metric.unit}" if metric.unit else "")))
            elif one.role in ("epoch", "iteration"):
                out.append((one.label, one.role, f"step: {one.why or 'its name'}"))
        return tuple(out)


def _taken_apart(line: str) -> tuple[Template | None, Sequence[str]]:
    """A line's kind and the texts of its fields."""
    if form := form_of(line):
        found = re.fullmatch(form.pattern, line)
        assert found is not None, "a form fits its line"
        return form, found.groups()
    parts = pieces(line) if len(line) <= LINE_LIMIT else [line]
    template = template_of_parts(parts) if len(parts) > 1 else None
    return template, [parts[2 * one.index + 1] for one in template.fields] if template else ()


_NOTHING = Metric("", "")
_WORD = re.compile(r"[^\W_]+")


def _merged(metric: Metric, parts: list[tuple[_Rows, Sequence[float], Sequence[str]]]) -> Curve:
    points = sorted(
        chain.from_iterable(
            zip(r.lines, r.steps, v, r.epochs or [None] * len(r.lines), strict=True) for r, v, _ in parts
        ),
        key=lambda point: point[0],
    )
    lines, steps, values, epochs = zip(*points, strict=True)
    every = [decimals_of(t) for _, _, t in parts]
    decimals = None if None in every else max(d for d in every if d is not None)
    return Curve(metric, steps, values, lines, decimals, epochs if any(e is not None for e in epochs) else None)


def _moved(lines: Sequence[int], by: int) -> Sequence[int]:
    return range(lines.start + by, lines.stop + by) if isinstance(lines, range) else [line + by for line in lines]


@lru_cache(maxsize=256)
def _compiled(templates: tuple[Template, ...]) -> re.Pattern[str]:
    return re.compile(f"^(?:{'|'.join(t.pattern for t in templates)}|(.*))$", re.MULTILINE)


@lru_cache(maxsize=4096)
def _of_split(template: Template, split: str | None) -> Template:
    """The same kind of line where it speaks of another split."""
    fields = tuple(one if one.split else replace(one, split=split) for one in template.fields)
    return replace(template, fields=fields, split=split)


@lru_cache(maxsize=4096)
def _of_epoch(template: Template) -> Template:
    """The same kind of line where its counter says only that the epoch is over."""
    fields = tuple(replace(one, role="total") if one.role == "iteration" else one for one in template.fields)
    return replace(template, fields=fields, positions=frozenset())


def _counts_alone(template: Template) -> bool:
    """Whether all that it says of where the training is are batches of a total."""
    first, second = (*template.fields, None, None)[:2]
    if first is None or second is None:
        return False
    return template.positions == {"iteration"} and first.label == "counter" and second.role == "total"


def _is_bar(template: Template) -> bool:
    """Whether it counts batches of data it does not name."""
    return (
        template.split is None
        and template.positions == {"iteration"}
        and template.counts_batches
        and bool(template.values)
        and not any(one.split for one in template.values)
        and template.fields[1].role == "total"
    )


def _is_vague(template: Template) -> bool:
    """Whether it prints a result and says neither of what data nor of which step."""
    return (
        template.split is None
        and not template.positions
        and any(one.split is None and metrics.is_result(one.label) for one in template.values)
        and not any(one.split for one in template.values)
    )


def _counts(template: Template) -> bool:
    """Whether the step it prints is the training's, and not that of a loop over validation data."""
    if template.split in (None, metrics.TRAIN) or not template.positions:
        return bool(template.positions)
    # "[eval] iter 200: ..." has the training's; "Test: [3/10]" has not.
    return template.positions == {"iteration"} and not template.counts_batches


def _position_texts(rows: _Rows) -> Iterable[tuple[str, ...]]:
    columns = [c for c in (rows.column("epoch"), rows.column("iteration")) if c is not None]
    return zip(*columns, strict=True)


def _has_points(rows: _Rows) -> bool:
    """Whether a value that is no aside is ever printed with a point or an exponent."""
    wanted = [
        t for one, t in zip(rows.template.fields, rows.texts, strict=True) if one.role == "value" and not one.aside
    ]
    return any(any(map(_POINT, texts)) for texts in wanted)


_POINT = re.compile(r"\.\d|\de|nan|inf", re.IGNORECASE).search


def _varies(rows: _Rows) -> bool:
    wanted = [t for one, t in zip(rows.template.fields, rows.texts, strict=True) if one.role == "value"]
    return any(texts[0] != text for texts in wanted for text in texts)


def _is_batch_time(one: Field, rows: _Rows) -> bool:
    """How long a batch took is no result."""
    quantity = metrics.meaning_of(one.label).quantity
    return quantity is not None and quantity.unit == "s" and "iteration" in rows.template.positions


def _base_name(one: Field) -> str:
    name = metrics.canonical(one.label.partition(" (")[0] if one.label.endswith(")") else one.label, split=one.split)
    if one.heading:
        name = _joined_name(one.heading, name)
    return f"{name}_avg" if one.role == "average" else name


def _joined_name(words: str, name: str) -> str:
    split, slash, last = name.rpartition("/")
    return f"{split}{slash}{'_'.join(_WORD.findall(words)).lower()}_{last}"


def _level_of(rows: _Rows) -> str:
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


def _level(template: Template) -> str:
    if "iteration" in template.positions:
        return "batch" if template.split not in (None, metrics.TRAIN) and template.counts_batches else "iteration"
    return "epoch" if template.positions else "none"


def _integers(texts: Sequence[str] | None) -> list[int] | None:
    """Steps; None where they are none: an epoch of 0.53 is no step."""
    if texts is None:
        return None
    try:
        numbers = list(map(int, texts))
    except ValueError:
        return None
    return numbers if all(-1 <= n < _MOST_STEP for n in (min(numbers), max(numbers))) else None


def _floats(texts: Sequence[str] | None) -> Sequence[float | None] | None:
    return list(map(float, texts)) if texts is not None else None


def _filled(known: list[tuple[int, int | None, int | None]], clock: _Clock) -> list[tuple[int, int | None, int | None]]:
    """Positions in the order of lines, each with the latest epoch and iteration."""
    iteration, epoch = clock.iteration, clock.epoch
    out = []
    for line, i, e in known:
        iteration = i if i is not None else iteration
        epoch = e if e is not None else epoch
        out.append((line, iteration, epoch))
    return out


def _tellers(groups: list[_Rows]) -> tuple[str, list[tuple[_Rows, Sequence[_Place]]]]:
    """The rows whose steps tell where a run ends, each with its (epoch, iteration), and what they count."""
    out: list[tuple[_Rows, Sequence[_Place]]] = []
    has_epoch = any("epoch" in rows.template.positions for rows in groups)
    for rows in groups:
        epochs = _integers(rows.column("epoch"))
        iterations = _integers(rows.column("iteration")) if _counts(rows.template) else None
        if epochs is None and iterations is None:
            continue
        if epochs is None and has_epoch and rows.epochs is None:
            continue
        epochs = epochs or (list(rows.epochs) if rows.epochs is not None else [0] * len(rows.lines))  # type: ignore[arg-type]
        out.append((rows, list(zip(epochs, iterations or [0] * len(epochs), strict=True))))
    return "epoch" if has_epoch else "iteration", out


def _fell(counts: str, before: _Place, place: _Place, line: int) -> str:
    what, sooner, later = (counts, before[0], place[0]) if counts == "epoch" else (counts, before[1], place[1])
    if sooner == later:
        what, sooner, later = "iteration", before[1], place[1]
    return f"{what} went {sooner} → {later} at line {line}"


def _step_said(template: Template) -> str | None:
    for role in ("iteration", "epoch"):
        for one in template.fields:
            if one.role == role:
                return one.label
    return None


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
