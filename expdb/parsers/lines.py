"""Log lines of the kind "epoch 3, loss 0.25, test accuracy 0.81": fields found in one, compiled for all.

The first line of a kind is taken apart by hand; a pattern made from it then reads every line like it at
the speed of `re`. One more branch of the pattern takes whatever no template fits, so that the n-th match
is the n-th line and line numbers cost nothing.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, compress, pairwise
from operator import lt

from expdb import metrics
from expdb.records import Curve, Metric, Points, RunStart, Unit, Unparsed

EXAMPLES = 5
# More kinds of line than this in one file are read one by one.
TEMPLATES = 8
LINE_LIMIT = 4096
# No float prints more digits behind the point by itself.
MOST_DIGITS = 20

_MAYBE, _SOME = "[ \\t]*", "[ \\t]+"
_PUNCTUATION = ",;|:=，；："
_GAP = "[ \\t,;|，；、]"
_NUMBER = r"[-+]?(?:(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?+|(?i:nan|inf(?:inity)?))"
# "loss nan acc 0.5" is two fields.
_WORD = r"(?!(?i:nan|inf(?:inity)?)(?![\w@/\-]))[^\W\d][\w@/\-]*"
_UNIT = "|".join(sorted(map(re.escape, metrics.UNIT_WORDS), key=len, reverse=True))
# On a page a line may end in a hard break.
_END = rf"{_GAP}*(?:(?:<br ?/?>|\\)[ \t]*)?\r?"
_BREAK = re.compile(r"(?:<br ?/?>|\\)$")
# No blanks may be read in two ways: a line of blanks would take for ever.
_EPOCH = re.compile(
    r"[ \t]*(?i:epochs?|轮次|轮)[ \t]*(?:[:=：#][ \t]*)?(?:[\[(][ \t]*)?(\d{1,18})"
    r"(?:[ \t]*/[ \t]*\d+)?(?:[ \t]*[\])])?(?:[ \t]*[:：])?(?![\w.%])"
)
# The digit of "top-1" or "prec@1" belongs to its word.
_ANY_NUMBER = re.compile(r"(?<![\w.@/\-])[-+]?\d+(?:\.\d+)?(?![\w.])")
_FIELD = re.compile(
    rf"({_WORD}(?: {_WORD}){{0,3}})(?:[ \t]*[:=：][ \t]*|[ \t]+)({_NUMBER})"
    # A unit is glued to its number, or ends its field: in "0.5 min 0.1" min is the next label.
    rf"((?:{_UNIT})(?![\w.])| (?:{_UNIT})(?=[ \t]*(?:[,;|，；\t\r]|$)))?(?![\w.%])"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One `label value` of a line."""

    label: str
    unit: Unit | None


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of line. pattern: one group for the epoch where there is one, then one for each field."""

    fields: tuple[Field, ...]
    has_epoch: bool
    pattern: str


def template_of(line: str) -> Template | None:
    """The kind of a log line, None where it is none: every character must belong to a field or a gap.

    A line without an epoch is only taken when two or more of its labels are known quantities. "epoch 10 and 20" is
    prose, "epochs: 90, lr: 0.1" a configuration.
    """
    # The cheap test first: pages ask this of every line of prose.
    if len(line) > LINE_LIMIT or not any(map(str.isdigit, line)):
        return None
    # Lines that differ in their numbers alone are of one kind, which is worked out once.
    template = _template(_ANY_NUMBER.sub("0", _BREAK.sub("", line.removesuffix("\r").rstrip(" \t")).rstrip(" \t")))
    # "epoch 2.5" and "epoch -1" only look like an epoch once all numbers are alike.
    return template if template and re.fullmatch(template.pattern, line) else None


@lru_cache(maxsize=4096)
def _template(line: str) -> Template | None:
    pieces, fields, at = [], [], 0
    found = _EPOCH.match(line)
    if found:
        pieces.append(_tolerant(line[: found.start(1)]) + r"(\d{1,18})" + _counter(line[found.end(1) : found.end()]))
        at = found.end()
    else:
        pieces.append(_MAYBE)
        at = len(line) - len(line.lstrip(" \t"))
    gap = re.compile(f"{_GAP}+")
    while at < len(line):
        space = gap.match(line, at)
        if space:
            at = space.end()
        elif pieces[-1] != _MAYBE:
            return None
        if at == len(line):
            break
        field = _FIELD.match(line, at)
        if not field:
            return None
        label, _, unit = field.groups()
        # A counter among the fields ("epoch 3, step 40") is a matter for readers that know its format.
        fields.append(Field(label, metrics.UNIT_WORDS[unit.strip()] if unit else None))
        pieces.append((_tolerant(space[0]) if space else "") + _tolerant(line[field.start() : field.start(2)]))
        pieces.append(f"({_NUMBER}){re.escape(unit) if unit else ''}")
        at = field.end()
    if not fields or not (_tells(found[0], line[found.end() :], fields) if found else _known(fields) > 1):
        return None
    return Template(tuple(fields), bool(found), "".join(pieces).replace(_MAYBE * 2, _MAYBE) + _END)


def _known(fields: Sequence[Field]) -> int:
    return sum(metrics.is_known(field.label) for field in fields)


def _tells(epoch: str, rest: str, fields: Sequence[Field]) -> bool:
    """Whether what follows the epoch is measured, rather than said or set."""
    if "epochs" in epoch.lower() and "/" not in epoch:
        return any(metrics.better(metrics.canonical(field.label)) for field in fields)
    return any(mark in rest for mark in f"\t{_PUNCTUATION}") or _known(fields) > 0


def epoch_of(line: str) -> int | None:
    """The epoch a line opens with."""
    found = _EPOCH.match(line)
    return int(found[1]) if found else None


def is_log_line(line: str) -> bool:
    """Whether the line is an epoch line or a row of known quantities."""
    return template_of(line) is not None


def _tolerant(text: str) -> str:
    """The text as a pattern that does not mind how wide its blanks are."""
    out: list[str] = []
    for part in re.findall(rf"[ \t]+|[{_PUNCTUATION}]|[^ \t{_PUNCTUATION}]+", text):
        if part in _PUNCTUATION:
            # Around punctuation blanks come and go.
            out[-1:] = [*(one for one in out[-1:] if one not in (_SOME, _MAYBE)), _MAYBE, re.escape(part), _MAYBE]
        elif not part.isspace():
            out.append(re.escape(part))
        elif out[-1:] != [_MAYBE]:
            out.append(_SOME)
    return "".join(out)


def _counter(text: str) -> str:
    """What stands behind the epoch's number: `/200]`, `:` or nothing."""
    parts = re.findall(r"[ \t]+|\d+|[^ \t\d]", text)
    return "".join(_MAYBE if p.isspace() else r"\d+" if p.isdecimal() else re.escape(p) for p in parts)


@dataclass(slots=True)
class _Rows:
    """Lines of one template: texts has one sequence per group."""

    template: Template
    lines: Sequence[int]
    texts: list[Sequence[str]]
    steps: Sequence[int] = ()
    # So many of the first have no epoch: their steps count them.
    counted: int = 0

    def between(self, first: int, last: int) -> "_Rows":
        """Those with first <= line < last."""
        low, high = bisect_left(self.lines, first), bisect_left(self.lines, last)
        if low == 0 and high == len(self.lines):
            return self
        cut = slice(low, high)
        texts = [t[cut] for t in self.texts]
        return _Rows(self.template, self.lines[cut], texts, self.steps[cut], max(0, self.counted - low))


class LineReader:
    """Blocks of log text to runs. index: of the first run it will find.

    A run ends where the epoch falls back to where the run began, or below (a log appended to itself); an
    epoch that only steps back a little is a resumed training and stays in its run.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index - 1
        self.runs = 0
        self._templates: dict[Template, None] = {}
        self._pattern: re.Pattern[str] | None = None
        self._first_step = 0
        self._last_step: int | None = None
        self._begun = False
        self._counted: dict[Template, int] = {}
        self._unparsed = 0
        self._examples: list[tuple[int, str]] = []

    @property
    def unparsed(self) -> Unparsed:
        """Lines read so far that are not blank and fit no template."""
        return Unparsed(self._unparsed, tuple(self._examples))

    def feed(self, line: int, text: str) -> Iterator[RunStart | Points]:
        """Read whole lines, the first of which has the given number."""
        groups = self._read(line, text)
        if not groups:
            return
        self._give_steps(groups)
        for first, last, reason in self._runs(groups):
            if reason is not None:
                self.index += 1
                self.runs += 1
                yield RunStart(self.index, first, reason=reason or None)
            cut = [rows for rows in (g.between(first, last) for g in groups) if rows.lines]
            yield Points(self.index, tuple(_curves(cut)), max(rows.lines[-1] for rows in cut))

    def _read(self, line: int, text: str) -> list[_Rows]:
        """Rows by template, each in the order of lines."""
        body = text[:-1] if text.endswith("\n") else text
        if self._pattern is None and not self._learn(body):
            self._skip(line, body.split("\n"))
            return []
        assert self._pattern is not None
        found = self._pattern.findall(body)
        columns: list[Sequence[str]] = list(zip(*found, strict=True))
        groups, at = [], 0
        for template in self._templates:
            width = len(template.fields) + template.has_epoch
            texts, at = columns[at : at + width], at + width
            if "" not in texts[0]:
                return [_Rows(template, range(line, line + len(found)), texts)]
            mask = list(map(bool, texts[0]))
            if any(mask):
                numbers = list(compress(range(line, line + len(mask)), mask))
                groups.append(_Rows(template, numbers, [list(compress(t, mask)) for t in texts]))
        rest = columns[-1]
        if any(rest):
            groups += self._odd_lines([(line + i, t) for i, t in enumerate(rest) if t and not t.isspace()])
        return groups

    def _learn(self, text: str) -> bool:
        """Find the first line that is a log line and compile it; False where there is none."""
        for one in text.split("\n"):
            if template := template_of(one):
                self._add(template)
                return True
        return False

    def _add(self, template: Template) -> None:
        self._templates[template] = None
        self._pattern = _compiled(tuple(self._templates))

    def _odd_lines(self, lines: list[tuple[int, str]]) -> list[_Rows]:
        """Lines that no compiled template fits: of a new kind, or not understood."""
        fresh: dict[Template, tuple[list[int], list[tuple[str, ...]]]] = {}
        for number, text in lines:
            template = template_of(text)
            if template is None:
                self._skip(number, [text])
                continue
            if template not in self._templates and len(self._templates) < TEMPLATES:
                self._add(template)
            match = re.fullmatch(template.pattern, text)
            assert match is not None, "a template fits the line it was made from"
            rows = fresh.setdefault(template, ([], []))
            rows[0].append(number)
            rows[1].append(match.groups())
        return [_Rows(t, numbers, list(zip(*texts, strict=True))) for t, (numbers, texts) in fresh.items()]

    def _skip(self, line: int, texts: list[str]) -> None:
        for offset, text in enumerate(texts):
            if text and not text.isspace():
                self._unparsed += 1
                if len(self._examples) < EXAMPLES:
                    self._examples.append((line + offset, text.rstrip("\r")[:200]))

    def _give_steps(self, groups: list[_Rows]) -> None:
        """Each row's epoch; a row without one takes the epoch before it, or counts the rows of its kind."""
        for rows in groups:
            if rows.template.has_epoch:
                rows.steps = list(map(int, rows.texts[0]))
                rows.texts = rows.texts[1:]
        bare = [rows for rows in groups if not rows.template.has_epoch]
        if not bare:
            return
        known = sorted(chain.from_iterable(zip(r.lines, r.steps, strict=True) for r in groups if r.template.has_epoch))
        at_lines = [line for line, _ in known]
        for rows in bare:
            steps = []
            count = self._counted.get(rows.template, 0)
            for line in rows.lines:
                place = bisect_left(at_lines, line)
                if place:
                    steps.append(known[place - 1][1])
                elif self._last_step is not None:
                    steps.append(self._last_step)
                else:
                    steps.append(count + rows.counted)
                    rows.counted += 1
            self._counted[rows.template] = count + rows.counted
            rows.steps = steps

    def _runs(self, groups: list[_Rows]) -> list[tuple[int, int, str | None]]:
        """(first line, line behind the last, reason) of each piece; reason None continues the open run."""
        first, end = min(rows.lines[0] for rows in groups), max(rows.lines[-1] for rows in groups) + 1
        starts: list[tuple[int, str | None]] = [(first, None if self._begun else "")]
        self._begun = True
        # Only an epoch that is printed can fall.
        epochs = [rows for rows in groups if rows.template.has_epoch]
        if len(epochs) == 1:
            lines, steps = epochs[0].lines, epochs[0].steps
        else:
            both = sorted(chain.from_iterable(zip(rows.lines, rows.steps, strict=True) for rows in epochs))
            lines, steps = [line for line, _ in both], [step for _, step in both]
        if steps:
            if self._last_step is None:
                self._first_step = steps[0]
            elif steps[0] < self._last_step and steps[0] <= self._first_step:
                if lines[0] == first:
                    starts.clear()
                starts.append((lines[0], self._fell(self._last_step, steps[0], lines[0])))
            if any(map(lt, steps[1:], steps)):
                for (_, before), (line, now) in pairwise(zip(lines, steps, strict=True)):
                    if now < before and now <= self._first_step:
                        starts.append((line, self._fell(before, now, line)))  # _fell moves the bound
            self._last_step = steps[-1]
        ends = [line for line, _ in starts[1:]] + [end]
        return [(first, last, reason) for (first, reason), last in zip(starts, ends, strict=True)]

    def _fell(self, before: int, now: int, line: int) -> str:
        self._first_step = now
        return f"epoch went {before} → {now} at line {line}"


@lru_cache(maxsize=256)
def _compiled(templates: tuple[Template, ...]) -> re.Pattern[str]:
    return re.compile(f"^(?:{'|'.join(t.pattern for t in templates)}|(.*))$", re.MULTILINE)


def _curves(groups: list[_Rows]) -> Iterator[Curve]:
    """Curves of one run's rows; a metric that several templates print is put in the order of lines."""
    columns: dict[str, list[tuple[_Rows, Field, Sequence[str]]]] = {}
    for rows in groups:
        seen: dict[str, int] = {}
        for field, texts in zip(rows.template.fields, rows.texts, strict=True):
            # "loss 0.1, loss 0.2": the second is a metric of its own.
            seen[field.label] = seen.get(field.label, 0) + 1
            label = field.label if seen[field.label] == 1 else f"{field.label} ({seen[field.label]})"
            columns.setdefault(label, []).append((rows, field, texts))
    for label, parts in columns.items():
        rows, field, texts = parts[0] if len(parts) == 1 else min(parts, key=lambda part: part[0].lines[0])
        metric = _metric(label, field, rows.counted > 0)
        if len(parts) == 1:
            yield Curve(metric, rows.steps, list(map(float, texts)), rows.lines, decimals_of(texts))
            continue
        merged = sorted(
            chain.from_iterable(zip(r.lines, r.steps, map(float, t), strict=True) for r, _, t in parts),
            key=lambda point: point[0],
        )
        lines, steps, values = zip(*merged, strict=True)
        every = [decimals_of(t) for _, _, t in parts]
        yield Curve(metric, steps, values, lines, None if None in every else max(d for d in every if d is not None))


@lru_cache(maxsize=1024)
def _metric(label: str, field: Field, counted: bool) -> Metric:
    return Metric(label, metrics.canonical(field.label), unit=field.unit, step_unit="row" if counted else "epoch")


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
