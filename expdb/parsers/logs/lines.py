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
from itertools import chain, compress

from expdb import metrics
from expdb.parsers.configs.reader import ConfigReader
from expdb.parsers.digits import decimals_of
from expdb.parsers.logs.commas import has_decimal_commas, says_decimal_comma, with_points
from expdb.parsers.logs.endings import Endings
from expdb.parsers.logs.forms import form_of, known_forms
from expdb.parsers.logs.names import Names
from expdb.parsers.logs.rows import Rows, has_points, moved, moves, varies, without_best
from expdb.parsers.logs.steps import Steps
from expdb.parsers.logs.templates import LINE_LIMIT, Template, pieces, split_in, template_of, template_of_parts
from expdb.parsers.logs.terminal import settle
from expdb.records import Curve, LineKind, Metric, Points, RunStart, Unparsed

EXAMPLES = 5
# More kinds of line than this in one file are read one by one.
TEMPLATES = 24
# So many lines show which kinds a text has.
_SHOWN = 40


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
    r"(?i:epochs?|轮次|轮|第|train)[ \t]*+(?:[:=：#][ \t]*+)?(?:[\[(][ \t]*+)?\d{1,18}"
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


@dataclass(slots=True)
class _Kind:
    """What is known of one kind of line over all blocks."""

    line: int
    text: str
    count: int = 0
    accepted: bool = False


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
        self._names = Names()
        self._steps = Steps()
        self._ends = Endings()
        self._section: str | None = None
        # Totals of drawn bars that end in the results of an epoch.
        self._drawn: set[str] = set()
        # Of progress bars, in the order they were seen.
        self._totals: list[str] = []
        self._second: str | None = None
        self._settings = ConfigReader()
        # Whether this log prints 0,5 for a half.
        self._commas = False
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
                yield LineKind(kind.line, kind.text[:200], kind.count, _step_said(template), self._names.told(template))

    def feed(self, line: int, text: str) -> Iterator[RunStart | Points]:
        """Read whole lines, the first of which has the given number."""
        body, origins = settle(text)
        body = body[:-1] if body.endswith("\n") else body
        self._commas = self._commas or has_decimal_commas(body)
        groups, rest = self._read(with_points(body) if self._commas else body)
        groups = without_best(groups, body, rest)
        # A state of a rewritten line has that line's number.
        at = range(line, line + body.count("\n") + 1) if origins is None else [line + origin for origin in origins]
        groups = self._judged(groups, body, at, rest)
        for rows in groups:
            rows.lines = moved(rows.lines, line) if origins is None else [at[i] for i in rows.lines]
        rest = [(at[i], said) for i, said in rest]
        if groups:
            groups = self._parted(groups, rest)
            self._steps.give(groups)
            groups = self._sectioned(groups, rest)
            self._names.give(groups, (template for template, kind in self._kinds.items() if kind.accepted))
            yield from self._run_events(groups, rest)
        else:
            self._pass(rest)

    # Reading

    def _read(self, body: str) -> tuple[list[Rows], list[tuple[int, str]]]:
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
                groups.append(Rows(template, numbers, columns))
                continue
            # The pattern of a kind may miss a line whose key is the same: put them in order.
            order = sorted(range(len(known.lines) + len(numbers)), key=[*known.lines, *numbers].__getitem__)
            known.lines = [[*known.lines, *numbers][i] for i in order]
            known.texts = [[[*old, *new][i] for i in order] for old, new in zip(known.texts, columns, strict=True)]
        return groups, left

    def _matched(self, body: str) -> tuple[list[Rows], list[tuple[int, str]]]:
        if not self._compiled:
            return [], _not_blank(body.split("\n"))
        found = _compiled(tuple(self._compiled)).findall(body)
        columns: list[Sequence[str]] = list(zip(*found, strict=True))
        groups, at = [], 0
        for template in self._compiled:
            width = len(template.fields)
            texts, at = columns[at : at + width], at + width
            if "" not in texts[0]:
                return [Rows(template, range(len(found)), texts)], []
            mask = list(map(bool, texts[0]))
            if any(mask):
                numbers = list(compress(range(len(mask)), mask))
                groups.append(Rows(template, numbers, [list(compress(t, mask)) for t in texts]))
        rest = columns[-1]
        return groups, _not_blank(rest) if any(rest) else []

    def _learn(self, rest: list[tuple[int, str]]) -> bool:
        """Compile the kinds that are frequent among lines of no compiled kind; whether there are any."""
        if len(self._compiled) >= TEMPLATES:
            return False
        only, middle = template_of(rest[0][1]), rest[len(rest) // 2][1]
        if only and only not in self._compiled and only not in known_forms() and _is_of(only, middle):
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

    def _judged(self, groups: list[Rows], body: str, at: Sequence[int], rest: list[tuple[int, str]]) -> list[Rows]:
        """The rows of kinds that tell of a training; lines of the others go to rest. at: the lines' numbers."""
        fresh = [rows for rows in groups if rows.template not in self._kinds]
        opening = body.split("\n", max(rows.lines[0] for rows in fresh) + 1) if fresh else []
        for rows in fresh:
            self._kinds[rows.template] = _Kind(at[rows.lines[0]], opening[rows.lines[0]])
        said: list[str] = []
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
                if not self._commas and says_decimal_comma(kind.text):
                    # Other numbers of the line were read, this one was not.
                    self._unparsed += len(rows.lines)
                    self._examples.append((at[rows.lines[0]], kind.text))
            else:
                said = said or body.split("\n")
                rest += [(i, said[i]) for i in rows.lines]
        rest.sort()
        return out

    def _is_strong(self, rows: Rows) -> bool:
        """Whether rows of this kind alone show that this is a training's log."""
        template, count = rows.template, len(rows.lines)
        if self._kinds[template].accepted or template in known_forms():
            return True
        values = [one for one in template.values if not one.aside]
        if not values:
            return False
        if template.known and _TESTED.search(self._kinds[template].text):
            return True
        if template.positions:
            if template.known:
                return template.exact or (count > 1 and moves(rows)) or varies(rows)
            told = template.exact and template.has_epoch and _tells(template)
            return told or (count > 2 and moves(rows) and has_points(rows) and not _is_timing(template))
        if template.exact and template.known and sum(metrics.is_known(one.label) for one in values) > 1:
            return True
        told = template.exact or template.split is not None or len(values) > 2
        return template.known > 0 and count > 2 and told and varies(rows)

    def _is_weak(self, rows: Rows, begun: int) -> bool:
        """Whether rows of this kind tell of a training that others show."""
        template = rows.template
        if not template.values:
            return True
        if template.known or any(metrics.is_best(one.label) for one in template.values):
            return True
        if template.positions:
            # "iterations: 20000, warmup: 0.1" alone is a configuration.
            return len(rows.lines) > 1 and (has_points(rows) or all(one.aside for one in template.values))
        if template.exact and rows.lines[0] >= begun and all(metrics.is_known(one.label) for one in template.values):
            return True
        # A model's description prints numbers, too.
        return len(rows.lines) > 2 and rows.lines[0] >= begun and has_points(rows) and varies(rows)

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

    def _parted(self, groups: list[Rows], rest: list[tuple[int, str]]) -> list[Rows]:
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
        seen = sorted(chain.from_iterable(zip(rows.lines, rows.totals() or (), strict=True) for rows in bars))
        self._totals = list(dict.fromkeys([*self._totals, *(total for _, total in seen)]))
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

    def _second_split(self, bars: list[Rows], rest: list[tuple[int, str]]) -> str | None:
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

    def _full(self, groups: list[Rows]) -> list[Rows]:
        """Of drawn bars below lines that name the epoch those that are full: with the results of validation behind
        them they are of another kind than what was drawn before."""
        if not any(rows.template.positions == {"epoch"} for rows in groups) and self._steps.epoch is None:
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

    # What a line without a split speaks of

    def _sectioned(self, groups: list[Rows], rest: list[tuple[int, str]]) -> list[Rows]:
        """Rows that say nothing of their split belong to what was last spoken of: "Evaluating ...", "Test: [3/10]"."""
        vague = [rows for rows in groups if _is_vague(rows.template)]
        marks: list[tuple[int, str]] = []
        if vague:
            for rows in groups:
                split = rows.template.split or (metrics.TRAIN if "iteration" in rows.template.positions else None)
                if split and _speaks(rows.template) and not _is_vague(rows.template):
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
            is_report = bool(_REPORT.match(self._kinds[rows.template].text))
            if not is_report and all(one in (None, metrics.TRAIN) for one in said):
                out.append(rows)
                continue
            if is_report:
                said = [metrics.TEST if one in (None, metrics.TRAIN) else one for one in said]
            for split in dict.fromkeys(said):
                kind = _of_split(rows.template, split) if split not in (None, metrics.TRAIN) else rows.template
                mask = [one == split for one in said]
                self._move_count(rows.template, kind, sum(mask))
                out.append(rows.where(mask, kind))
        if marks:
            self._section = marks[-1][1]
        return [rows for rows in out if rows.lines]

    # Runs

    def _run_events(self, groups: list[Rows], rest: list[tuple[int, str]]) -> Iterator[RunStart | Points]:
        tellers = self._ends.tellers(groups)
        threads = self._ends.threads(tellers)
        passed = 0
        if threads:
            yield from self._thread_events(groups, threads)
            self._pass(rest)
            return
        for first, last, reason in self._ends.pieces(groups, tellers):
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

    def _thread_events(self, groups: list[Rows], threads: list[tuple[int, int]]) -> Iterator[RunStart | Points]:
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
            self._ends.begun = True
            yield Points(thread, tuple(self._curves(cut)), max(rows.lines[-1] for rows in cut))

    def _curves(self, groups: list[Rows]) -> Iterator[Curve]:
        """Curves of one run's rows; a metric that several kinds print is put in the order of lines."""
        columns: dict[Metric, list[tuple[Rows, Sequence[float], Sequence[str]]]] = {}
        for rows in sorted(groups, key=lambda rows: rows.lines[0]):
            for i, (one, texts) in enumerate(zip(rows.template.fields, rows.texts, strict=True)):
                metric = self._names.metric(rows.template, i)
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
        joined: dict[tuple[str, str], list[tuple[Rows, Sequence[float], Sequence[str]]]] = {}
        for metric, parts in columns.items():
            joined.setdefault((metric.name, metric.label), []).extend(parts)
        for said, parts in joined.items():
            metric = units[said]
            if len(parts) == 1:
                rows, values, texts = parts[0]
                yield Curve(metric, rows.steps, values, rows.lines, decimals_of(texts), rows.epochs)
                continue
            yield _merged(metric, parts)


# scikit-learn's report on predictions, which nobody asks for before an evaluation.
_REPORT = re.compile(r"[ \t]*accuracy[ \t]{9,}[01]\.\d+[ \t]+\d+[ \t]*\r?$")


def _is_of(template: Template, line: str) -> bool:
    """Whether a line is of a kind."""
    if not template.exact:
        return template_of(line) == template
    # The pattern of what is measured will be wanted anyway, and to match costs less than to take apart.
    found = _compiled((template,)).match(line)
    return found is not None and bool(found[1])


def _not_blank(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Lines with their numbers, from 0."""
    return list(compress(enumerate(lines), map(str.strip, lines)))


# Prose is not taken apart.
_NUMBERED = re.compile(r"\d|nan|inf", re.IGNORECASE).search


def _taken_apart(line: str) -> tuple[Template | None, Sequence[str]]:
    """A line's kind and the texts of its fields."""
    if form := form_of(line):
        found = re.fullmatch(form.pattern, line)
        assert found is not None, "a form fits its line"
        return form, found.groups()
    if len(line) > LINE_LIMIT or not _NUMBERED(line):
        return None, ()
    parts = pieces(line)
    template = template_of_parts(parts) if len(parts) > 1 else None
    return template, [parts[2 * one.index + 1] for one in template.fields] if template else ()


def _merged(metric: Metric, parts: list[tuple[Rows, Sequence[float], Sequence[str]]]) -> Curve:
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


# What PyTorch's tutorial prints at the end may be all that a log holds.
_TESTED = re.compile(
    r"(?i)\baccuracy of the (?:\w+ )?(?:network|net|model) on "
    r"(?:the )?\d+ (?:test|val|train)\w* (?:image|sample|example)s"
)


def _is_timing(template: Template) -> bool:
    """Whether all it measures is how long something took."""
    return all(one.aside or one.unit in ("s", "ms", "min", "h") for one in template.values)


def _speaks(template: Template) -> bool:
    """Whether the line as a whole speaks of its split, rather than a label: "Test: loss 0.3", not "test loss 0.3"."""
    said = any(one.split and metrics.meaning_of(one.label).split is None for one in template.values)
    return said or "iteration" in template.positions


def _is_vague(template: Template) -> bool:
    """Whether it prints a result and says neither of what data nor of which step."""
    return (
        template.split is None
        and not template.positions
        and any(one.split is None and metrics.is_result(one.label) for one in template.values)
        and not any(one.split for one in template.values)
    )


def _step_said(template: Template) -> str | None:
    for role in ("iteration", "epoch"):
        for one in template.fields:
            if one.role == role:
                return one.label
    return None
