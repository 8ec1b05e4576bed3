"""One log line taken apart: which of its numbers are steps, which are values, and what they are called.

A line is cut at its numbers. What stands between them is the same on every line of a kind, so the pieces are the
kind's key: they are worked out once, and a pattern made from them reads every line like it at the speed of `re`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from expdb import metrics
from expdb.metrics import StepRole
from expdb.parsers.logs.words import BEFORE_STEP, BESIDE_STEP, INDEXED, LEAD, LEVELS, PROSE
from expdb.records import Unit

LINE_LIMIT = 4096

Role = Literal["epoch", "iteration", "total", "value", "average", "of"]
# What is no step.
VALUES: tuple[Role, ...] = ("value", "average", "of")

_EXPONENT = r"(?:[eE][-+]?+\d++)?+"
NUMBER = rf"[-+]?+(?:\d++\.?+\d*+{_EXPONENT}|\.\d++{_EXPONENT}|(?i:nan|inf(?:inity)?))"
# What loggers mostly print is tried first: one of _DATE's.
_COMMON_DATE = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d++)?+(?!\w)"
_DATE = (
    r"(?:\d{1,2}/\d{1,2} (?=\d\d:\d\d:\d\d)\d\d:\d\d:\d\d(?!\w)"
    r"|(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4})"
    r"(?:[T ,]{1,2}\d{1,2}:\d\d(?::\d\d)?(?:[.,:]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?(?!\w))"
)
_CLOCK = r"(?:\d+ days?, ?)?\d+:\d\d(?::\d\d)*(?:[.,]\d+)?(?![\w:])"
# 8h 27min 16s 779ms, 44s50ms
_SPAN = r"\d+(?:\.\d+)?(?:d|h|min|m|s)(?: {0,2}\d+(?:\.\d+)?(?:h|min|ms|m|s))+(?![a-z])"
# A digit of "top-1", "prec@1" or "layer4" belongs to its word; one of "epoch12" does not.
_FREE = (
    r"(?:(?<![\w.@])(?<![A-Za-z_]/)(?<!\w-)(?<![Tt]op )(?<!TOP )"
    r"|(?<=[Ee]poch)|(?<=EPOCH)|(?<=[Ii]ter)|(?<=[Ss]tep)|(?<=第))"
)
# What detections are judged by is no value: "mAP@0.5:0.95=0.3", "@[ IoU=0.50:0.95 | area= all | maxDets=  1 ]".
_JUDGED_BY = "".join(
    f"(?<!{said})"
    for low in (r"\.5", r"0\.5", r"\.50", r"0\.50")
    for said in (rf"@{low}[:-]", rf"@\[{low}[:-]", rf"IoU={low}[:-]")
) + "".join(f"(?<!{said})" for said in (r"@\[", r"@\[ ", "IoU=", "maxDets=", "maxDets= ", "maxDets=  "))
# Of a number that is glued to letters, these are no part: "3 nan iterations" has one number.
_PLAIN = (
    # "0,534" and "1,234.5" may be read in two ways, and so are not read.
    r"(?!\d+,\d+(?:\.\d+)?(?![\d,]))(?=[-+]?\.?\d)"
    + _JUDGED_BY
    + r"(?:(?<![\w)\]}.])[-+])?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?(?![\d.]*\.\d)"
    r"|(?<![\w.])[-+]?(?<!of )(?i:nan|inf(?:inity)?)(?![\w@/\-])"
)
# What a number may begin with: looked for first, since most letters begin none.
_BEGINS = r"(?=[-+.\d]|[nN][aA]|[iI][nN])"
# Blanks are only looked through from their first on: a line of blanks would take for ever.
_TOKEN = re.compile(
    rf"(?=[ \t\-+.\dnNiI])(?:(?<![ \t])[ \t]++)?{_BEGINS}{_FREE}({_DATE}|{_CLOCK}|{_SPAN}|{_PLAIN})", re.ASCII
)
_IS_PLAIN = re.compile(NUMBER)
_UNIT = "|".join(sorted(map(re.escape, metrics.UNIT_WORDS), key=len, reverse=True))
_UNIT_AFTER = re.compile(rf"(?:({_UNIT})(?![\w/])| ({_UNIT})(?=[ \t]*(?:[,;|，；)\]\t\1]|  | - )))")
_OTHER_UNIT_AFTER = re.compile(r" ?[A-Za-z]+/[A-Za-z]+|[A-Za-z]{1,3}\b| (?:MB|GB|MiB|GiB|KB)\b")
# What a label cannot hold; a lone dash or two blanks end one, too.
_BOUND = re.compile(
    r"[,;|，；、。\t{}\"<>!?`]|(?<!\w)'|'(?!\w)|\s[-–—]+(?=\s)|[ ]{2,}|[=*#~_\-+>]{3,}|[█▏▎▍▌▋▊▉]+| @ |->|=>|^/"
)
_NOTE = re.compile(r"(?<![ \t])[ \t]*+[(\[（]([^()\[\]（）]{0,40})[)\]）][ \t]*$")
# "F1-score (macro avg)"; that over all samples is what others call F1-score.
_AVERAGED = re.compile(r"(?i)macro|weighted")
_WORDS = re.compile(r"[^\W\d_]+")
# What TensorFlow's estimators call their results: "Saving dict for global step 1000: accuracy = 0.9".
_DICT_LINE = "Saving dict for global step"
_SAVE_LINE = re.compile(r"(?i)\bsav(?:e|ed|es|ing)\b(?! dict)|checkpoint|\bimprove|early ?stop|so far\b.*:|保存")
_BEST_LINE = re.compile(r"(?i)(?<![a-z])best(?![a-z])|so far|最佳|最好|最高")
_IS_CODE_FILE = re.compile(r"\.(?:py|cpp|cc|c|cu|h|log|sh|txt|ipynb)$")
_LEVEL = re.compile(r"[ \t]*(?:[^\w\s]*[ \t]+)?\[?(?:INFO|DEBUG|WARNING|ERROR)\b[\]:]*[ \t]+")
_DURATION = re.compile(r"(?:ms|s|sec|min|h)(?!\w)")
# "3.2G max mem"
_SIZE_AFTER = re.compile(r"(?:[KMGT]| ?[KMGT]i?B)(?=[ \t]+[^\W\d])")
_GLUED = re.compile(r"[A-Za-z]{1,3}[ \t]*")
_WRAPPED = re.compile(r"\b(?:tensor|Tensor|array|(?:np\.|numpy\.|torch\.)?float\d*|Variable)$")
_COUNTED = re.compile(r"^[ \t]*(?:个|次)?[ \t]*(?:(?P<epoch>轮|回合|周期|epochs?(?![a-z]))|(?P<iteration>步|迭代|批))")
_CODE_FILE = re.compile(r"[\w./\\-]+\.(?:py|cpp|cc|c|cu|log|sh|txt|pth?|pkl|ckpt|json|yaml)\b")
_SPLIT_WORD = re.compile(
    r"(?<![A-Za-z])(?P<train>[Tt]rain(?:ing|_inner)?|TRAIN(?:ING)?)(?![A-Za-z])"
    r"|(?<![A-Za-z])(?P<val>[Vv]al(?:id(?:ation)?|idate|idating|uation)?|VAL(?:ID(?:ATION)?)?|[Dd]ev|DEV"
    r"|[Ee]val(?:uat(?:e|ing|ion))?|EVAL(?:UATION)?)(?![A-Za-z])"
    r"|(?<![A-Za-z])(?P<test>[Tt]est(?:ing)?|TEST(?:ING)?|[Ii]nference)(?![A-Za-z])"
    r"|(?P<train_zh>训练)|(?P<val_zh>验证|评估)|(?P<test_zh>测试)"
)
# "3: loss 0.5", "3 | loss 0.5", "3 [D loss: 0.5]"
_OPENS_LINE = re.compile(r"(?::[ \t]+|[ \t]+\|[ \t]+|[ \t]+\[)[A-Za-z][^,;|:=]*[:=]?$")
# Where a logger's line was written: "__main__:train:88 - "; behind a date "train.py:fit:88] ", too.
_SOURCE, _BEHIND_SOURCE = re.compile(r"[\w.<>]+:[\w.<>]+:$"), re.compile(r" +- ")
_BEHIND_DATED_SOURCE = re.compile(r"[ \t]*[-|\]][ \t]")
# A program that quotes itself: "val_loss:{val_loss:.4f}"
_FORMAT_BEFORE = re.compile(r"\{[^{}]*:[<>^+,]?$")
_FORMAT_AFTER = re.compile(r"[efgdE%]\}")
_RATE_AFTER = re.compile(r" ?[A-Za-z]+/s(?:ec)?(?=[ \t]*[:,;|])")
# A list of more numbers than this is no list of results.
_LONGEST_LIST = 16
# pycocotools' "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.312".
_COCO = re.compile(
    r"\(A(?P<what>[PR])\)[ \t]*@\[ IoU=0?(?P<low>\.\d+)(?P<high>:0?\.\d+)?[ \t]*\|"
    r" area=[ \t]*(?P<area>\w+)[ \t]*\| maxDets=[ \t]*(?P<most>\d+)[ \t]*\][ \t]*=[ \t]*$"
)
# Between two numbers of a counter.
_OF = re.compile(r"^[ \t]*(?:/|of|/ of)$")


@dataclass(frozen=True, slots=True)
class Field:
    """One number that a kind of line prints. index: which of its numbers it is.

    label: as printed; split: what the line says it belongs to, None where it says nothing; heading: the words before
    the label, which tell two lines of one label apart; aside: printed beside the results; member: which of a list's
    numbers it is, ".0" for the first.
    """

    index: int
    role: Role
    label: str
    split: str | None = None
    unit: Unit | None = None
    heading: str = ""
    aside: bool = False
    why: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of line. pattern: one group for each field, in the order of fields.

    exact: nothing stands on the line but steps, fields and gaps. split: what the line as a whole speaks of.
    bar: what its progress bar is drawn with; lead: the words that open the line, before its first value; values: its
    fields that are no steps.
    """

    fields: tuple[Field, ...]
    pattern: str
    exact: bool
    split: str | None
    positions: frozenset[Role]
    bar: str = ""
    lead: str = ""
    values: tuple[Field, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(one for one in self.fields if one.role in VALUES))

    def __hash__(self) -> int:
        # The key of many dictionaries: the text knows its hash, the fields would be gone through.
        return hash(self.pattern)

    @property
    def counts_batches(self) -> bool:
        """Whether its iteration is printed with a total or without a name, as a loop over batches does."""
        for one, following in zip(self.fields, [*self.fields[1:], None], strict=False):
            if one.role == "iteration":
                return one.label == "counter" or (following is not None and following.role == "total")
        return False

    @property
    def has_epoch(self) -> bool:
        """Whether it prints the epoch."""
        return "epoch" in self.positions

    @property
    def known(self) -> int:
        """How many of its values are results: quantities that can be better or worse, time not among them."""
        return sum(metrics.is_result(one.label) for one in self.values if one.role != "average")


# "accuracy is 0.5", "准确率为51%"
_VERB = re.compile(r"(?<=\s)(?:is|was|of|at|reached)$|(?<=[^\W\da-zA-Z])(?:为|是|达到)$")
_BREAK = re.compile(r"(?<![ \t])[ \t]*+(?:<br ?/?>|\\)[ \t]*$")


def pieces(line: str) -> list[str]:
    """The line cut at its numbers: text, number, text, number, ... text."""
    line = line.rstrip("\r \t")
    if line.endswith((">", "\\")):
        # On a page a line may end in a hard break.
        line = _BREAK.sub("", line)
    if "|" in line or "==" in line:
        line = _DRAWN.sub(lambda found: _BLOCKS if found["blocks"] is not None else _EQUALS, line)
    return _TOKEN.split(line)


# Progress bars differ in length alone.
_BLOCKS, _EQUALS = "\ue000", "\ue001"
_DRAWN = re.compile(
    r"(?P<blocks>(?<=\|)[█▏▎▍▌▋▊▉#\d ]*(?=\|))|(?P<equals>"
    r"(?<![=>])[=>]++(?=[=>. ]{0,300}\.)[=>. ]{1,300}+(?=\])|={8,}>?|>?={8,})"
)


def split_in(text: str) -> str | None:
    """The split that a line without numbers speaks of, None where it speaks of none."""
    said = [found.lastgroup or "" for found in _SPLIT_WORD.finditer(_CODE_FILE.sub("", text))]
    return said[-1].removesuffix("_zh") if said else None


def key_of(parts: Sequence[str]) -> str:
    """What is the same on all lines of a kind."""
    numbers = " ".join(parts[1::2])
    plain = not (":" in numbers or "/" in numbers or _ODD.search(numbers))
    kinds = "" if plain else "".join("n" if _IS_PLAIN.fullmatch(n) else "t" for n in parts[1::2])
    return "\0".join(parts[0::2]) + "\1" + kinds


_ODD = re.compile(r"[hsmd]|\d-\d|T|\d\.\d+\.\d")


@lru_cache(maxsize=64)
def template_of(line: str) -> Template | None:
    """The kind of a line; None where none of its numbers has a name and none is a step."""
    if (
        len(line) > LINE_LIMIT
        or "\0" in line
        or "\1" in line
        or (not any(map(str.isdigit, line)) and "nan" not in line.lower())
    ):
        return None
    return template_of_parts(pieces(line))


def template_of_parts(parts: Sequence[str]) -> Template | None:
    """The kind of a line that was cut into pieces."""
    return _template(key_of(parts))


@lru_cache(maxsize=1 << 15)
def _template(key: str) -> Template | None:
    body, _, kinds = key.rpartition("\1")
    texts = body.split("\0")
    count = len(texts) - 1
    if count == 0 or count > 400:
        return None
    # A mark behind the last text, where a unit may end.
    return _Reader([*texts[:-1], texts[-1] + "\1"], kinds or "n" * count).read()


class _Reader:
    """Goes over the numbers of one line from left to right."""

    def __init__(self, texts: list[str], kinds: str) -> None:
        self.texts = texts
        self.kinds = kinds
        self.count = len(kinds)
        self.fields: list[Field] = []
        self.split: str | None = None
        self.heading = ""
        self.leftover = 0
        self.split_of_step: str | None = None
        if _DICT_LINE in texts[0]:
            self.split = metrics.VAL
        self.best = bool(_SAVE_LINE.search("0".join(texts)) or _BEST_LINE.search(texts[0]))

    def read(self) -> Template | None:
        texts, at = self.texts, 0
        noise = ""
        pending = ""  # words in front of a number that belongs to a label
        while at < self.count:
            before = texts[at]
            if noise:
                place = before.rfind(noise)
                if place < 0:
                    at += 1
                    continue
                before, noise = before[place + 1 :], ""
            elif at and (opened := self._opens_after_number(before, at)):
                if opened == "average":
                    at += 1
                    # The closing bracket is the beginning of the next text.
                    continue
                noise = ")" if "(" in before else "]"
                place = before.rfind(noise)
                if place < 0:
                    at += 1
                    continue
                before, noise = before[place + 1 :], ""
            if self.kinds[at] != "n":
                self._context(before)
                at += 1
                continue
            at, pending = self._number(at, before, pending)
        values = [f for f in self.fields if f.role in VALUES]
        exact = self._exact()
        self._number_twins()
        if self.best:
            # "Saved the best of epoch 3": that is not where the training is.
            self.fields = [f for f in self.fields if f.role not in ("epoch", "iteration") and f.label != "counter"]
        positions = frozenset(f.role for f in self.fields if f.role in ("epoch", "iteration"))
        if not values and not positions:
            return None
        if not values and not self._is_header():
            return None
        fields = tuple(self.fields)
        bar = "=" if any("==" in text or _EQUALS in text or "━━━━" in text for text in self.texts) else ""
        return Template(fields, self._pattern(fields), exact, self._split_of_line(), positions, bar, self._lead())

    def _split_of_line(self) -> str | None:
        """What the line as a whole speaks of: with results of two splits on it, that said before its step."""
        steps = [f for f in self.fields if f.role in ("epoch", "iteration")]
        said = {f.split for f in self.fields if f.role in ("value", "of") and metrics.is_result(f.label)}
        total = any(f.role == "total" for f in self.fields)
        iteration = next((f.label.lower() for f in steps if f.role == "iteration"), "")
        named = iteration != "counter" and "batch" not in iteration if total else True
        if iteration and (len(said) > 1 or named):
            return self.split_of_step
        return self.split

    def _opens_after_number(self, before: str, at: int) -> str | None:
        """Whether the text behind a number opens a bracket: of its average, or of a remark."""
        unit = _UNIT_AFTER.match(before)
        rest = before[unit.end() :] if unit else before
        found = re.match(r"[^\s(（]{0,8}[ \t]*[(（](.*)$", rest)
        if not found:
            return None
        last = self.fields[-1] if self.fields else None
        if last is None or last.index != at - 1 or last.role not in ("value", "total"):
            # "epoch 3 (loss 0.5)" tells of the epoch, "0.5s (10 it/s)" of a number.
            return "remark" if last is not None and last.role not in ("epoch", "iteration") else None
        close = re.match(rf"[ \t]*(?:{_UNIT}|[A-Za-z/]{{1,4}})?[ \t]*[)）]", self.texts[at + 1])
        if found[1] or not close or self.kinds[at] != "n":
            return "remark"
        unit_after = _UNIT_AFTER.match(self.texts[at + 1])
        one = metrics.UNIT_WORDS[unit_after[1] or unit_after[2]] if unit_after else last.unit
        if last.role == "total":
            # "Accuracy: 9827/10000 (98%)"
            if one == "percent" and len(self.fields) > 1 and self.fields[-2].role == "of":
                of = self.fields[-2]
                self.fields[-2:] = [Field(at, "value", of.label, of.split, one, of.heading, of.aside, "in brackets")]
                return "average"
            return "remark"
        self.fields.append(
            Field(at, "average", last.label, last.split, one, last.heading, last.aside, "a running average in brackets")
        )
        return "average"

    def _number(self, at: int, before: str, pending: str) -> tuple[int, str]:
        """Take in number `at`; the next one to look at, and words that may belong to it."""
        texts = self.texts
        if at and (unit := _UNIT_AFTER.match(before)) and before is texts[at]:
            before = before[unit.end() :]
        elif at and before is texts[at] and (rate := _RATE_AFTER.match(before)):
            before = before[rate.end() :]
        elif at and before is texts[at] and (size := _SIZE_AFTER.match(before)):
            before = before[size.end() :]
        after = texts[at + 1].removesuffix("\1")
        if at and before is texts[at] and _GLUED.fullmatch(before):
            # "3.52G   1.2": a unit is no label.
            before = ""
        if at and texts[at - 1].rstrip().endswith("第") and (counted := _COUNTED.match(before)):
            before = before[counted.end() :].removeprefix("的")
        if "maxDets" in before and (found := _COCO.search(before)):
            self.split = self.split or metrics.VAL
            self._value(at, _coco_label(found), "", "=", "", "", after)
            return at + 1, ""
        if _FORMAT_BEFORE.search(before) and _FORMAT_AFTER.match(after):
            return at + 1, ""
        dated = at > 0 and not self.fields and "n" not in self.kinds[:at]
        behind = _BEHIND_DATED_SOURCE if dated else _BEHIND_SOURCE
        if _SOURCE.search(before) and behind.match(after):
            return at + 1, ""
        label, heading, sep, note, opened = _label(before)
        if pending and not metrics.is_known(label) and metrics.is_known(f"{pending} {label}"):
            label = f"{pending} {label}"
        total = at + 1 < self.count and _OF.match(after) is not None and self.kinds[at + 1] == "n"
        following = at + (2 if total else 1)
        self._context(heading if label else before)
        if note and not _unit_note(note):
            self._context(note)
        if before.rstrip().endswith(("#", "No.")) and not _position(label)[0]:
            self._context(before)
            return following, ""
        if not sep and not opened and self._is_index(at, label):
            return following, label
        if after.startswith(f"%|{_BLOCKS}"):
            self._context(label)
            return following, ""
        role, said = self._position(at, label, sep, before, after)
        if role:
            if said:
                self.split = said
            if not self._in_remark(before):
                self._step(at, role, label, total, split_in(note))
            return following, ""
        if total and (two := _two_labels(label)):
            # "Acc/Loss: 0.5/1.2"
            for i, one in enumerate(two):
                self._value(at + i, one, heading, sep, note, opened, texts[at + 1 + i].removesuffix("\1"))
            return following, ""
        if total:
            self._context(label)
            if label and metrics.is_known(label):
                split = self._split_of(label)
                self.heading = _heading(heading) or self.heading
                self.fields.append(Field(at, "of", label, split, "fraction", self.heading, self._aside(label)))
                self.fields.append(Field(at + 1, "total", label))
            elif not self._in_remark(before):
                self._step(at, "iteration", "counter", total)
            return following, ""
        if not label:
            self._nameless(at, before, after, opened)
            return following, ""
        self._value(at, label, heading, sep, note, opened, after)
        if opened == "[" and not after.lstrip().startswith("]"):
            while following < self.count and "]" not in texts[following]:
                following += 1
            self._list(at, following)
        return following, ""

    def _list(self, at: int, end: int) -> None:
        """The other results of a list; of a list of settings the first is taken."""
        first = self.fields[-1] if self.fields else None
        if first is None or first.index != at or first.role != "value" or not metrics.is_result(first.label):
            return
        if end - at > _LONGEST_LIST or any(text.strip(" \t,;") for text in self.texts[at + 1 : end]):
            return
        if "n" * (end - at) != self.kinds[at:end]:
            return
        self.fields[-1:] = [replace(first, index=at + i, member=f".{i}") for i in range(end - at)]

    def _position(self, at: int, label: str, sep: str, before: str, after: str) -> tuple[StepRole | None, str | None]:
        """What the number counts, and the split its label names on the way."""
        role, said = _position(label)
        if role and _DURATION.match(after):
            # "Step: 20ms" tells how long one takes.
            return None, None
        if role and sep and label.lower().endswith(("epochs", "iterations")) and not _OF.match(after):
            # "epochs: 90" says how many there will be.
            return None, None
        if role:
            return role, said
        if at == 0 and sep and label in ("s", "i", "n", "e"):
            # "s:760 trl:4.66"
            return ("epoch" if label == "e" else "iteration"), None
        if sep == "" and before.rstrip().endswith("@") and label.lower() in metrics.SPLIT_OF:
            # "eval @ 200: loss 1.2"
            return "iteration", metrics.SPLIT_OF[label.lower()]
        if before.rstrip().endswith("第") and (counted := _COUNTED.match(after)):
            return ("epoch" if counted["epoch"] else "iteration"), None
        return None, None

    def _step(self, at: int, role: StepRole, label: str, total: bool, split: str | None = None) -> None:
        have = [f.role for f in self.fields]
        if role in have:
            first = self.fields[have.index(role)]
            if label == "counter" and first.label == "counter" and "epoch" not in have:
                # "Train: [0/300][10/1251]": of two counters the first counts epochs.
                self.fields[have.index(role)] = replace(first, role="epoch")
            elif label.lower().startswith("global"):
                self.fields[:] = [f for f in self.fields if f.role != role]
            else:
                return
        self.split_of_step = self.split
        self.fields.append(Field(at, role, label, split))
        if total:
            self.fields.append(Field(at + 1, "total", label))

    def _value(self, at: int, label: str, heading: str, sep: str, note: str, opened: str, after: str) -> None:
        words = [w.lower() for w in label.split()]
        known = metrics.is_known(label)
        if (
            not words
            or len(words) > 9
            or (not sep and not known and (words[-1] in PROSE or len(words) > 4))
            or words[0] in INDEXED
            or words[-1] in ("epochs", "iterations")
            or _IS_CODE_FILE.search(label)
            or (metrics.step_role(words[-1]) and words[-2:-1] and words[-2] in BEFORE_STEP)
        ):
            self.leftover += len(words) + 1
            return
        if (
            at == 0
            and len(words) == 1
            and words[0] in metrics.SPLIT_OF
            and (re.match(r"[ \t]*[,\[:]", after) if not opened else opened == "[" and after.startswith("]["))
            and self.count > 1
        ):
            # "Train: 0 [   0/374 ...", "Train 3, loss: ...", "Test: [3][1/79]"
            self.fields.append(Field(at, "epoch", label))
            self.split = metrics.SPLIT_OF[words[0]]
            return
        unit_after = _UNIT_AFTER.match(self.texts[at + 1])
        unit: Unit | None = metrics.UNIT_WORDS[unit_after[1] or unit_after[2]] if unit_after else _unit_note(note)
        per_step = unit is not None and metrics.step_role(label) is not None
        other = unit is None and _OTHER_UNIT_AFTER.match(after) is not None and not known
        split = self._split_of(label)
        self.heading = _heading(heading) or self.heading
        told = f"{self.heading} {averaged[0].lower()}".strip() if (averaged := _AVERAGED.match(note)) else self.heading
        self.fields.append(Field(at, "value", label, split, unit, told, self._aside(label) or other or per_step))

    def _split_of(self, label: str) -> str | None:
        meaning = metrics.meaning_of(label)
        if meaning.split and meaning.quantity and meaning.quantity.has_split:
            # "val loss 0.4 acc 0.8": what follows belongs to it, too.
            self.split = meaning.split
        return meaning.split or self.split

    def _aside(self, label: str) -> bool:
        return self.best or metrics.is_aside(label)

    def _nameless(self, at: int, before: str, after: str, opened: str) -> None:
        """A number without a name: a step where it opens the line, else nothing."""
        have = [f.role for f in self.fields]
        if before.strip(" \t[(<{|*-=>#,:])}"):
            return
        closed = after.lstrip().startswith("]")
        if at == 0 and opened == "[" and re.match(r"[ \t]*,[ \t]*$", after) and self.count > 2:
            self.fields.append(Field(at, "epoch", "counter", why="first of two counters in brackets"))
        elif not have and at == 0 and not before.strip() and _OPENS_LINE.match(after) and self.count > 1:
            self.fields.append(Field(at, "iteration", "counter", why="a number that opens the line"))
        elif not have and at == 0 and opened == "[" and closed:
            self.fields.append(Field(at, "iteration", "counter", why="a counter in brackets"))
        elif have in (["epoch"], ["epoch", "total"]) and (closed or (opened and re.match(r"[ \t]*[,:]", after))):
            self.fields.append(Field(at, "iteration", "counter", why="a counter behind the epoch"))
        elif have in (["epoch"], ["iteration"]) and at == self.count - 1 == 1 and not after.strip():
            # "epoch1\t0.2549"
            self.fields.append(Field(at, "value", "value"))

    def _is_index(self, at: int, label: str) -> bool:
        """Whether a number is part of the next one's label: "on the 10000 test images: 81.2"."""
        return (
            bool(label.strip())
            and at + 1 < self.count
            and self.kinds[at + 1] == "n"
            and not metrics.step_role(label.split()[-1])
            and not metrics.is_known(label.split()[-1])
            and re.fullmatch(r"[ \t]+[^\W\d][^,;|:=\t]*[:=：]", self.texts[at + 1]) is not None
        )

    def _in_remark(self, before: str) -> bool:
        """Whether a bracket that opened behind a value is still open."""
        done = any(f.role in VALUES for f in self.fields)
        return done and "(" in before and ")" not in before

    def _context(self, text: str) -> None:
        """A word of the split in what stands before a label; the nearest one counts."""
        self.split = split_in(text) or self.split

    def _number_twins(self) -> None:
        """ "loss 0.1, loss 0.2": the second is a metric of its own."""
        seen: dict[tuple[str, str, Role, str], int] = {}
        for i, one in enumerate(self.fields):
            if one.role not in VALUES:
                continue
            said = (one.label, metrics.canonical(one.label, split=one.split), one.role, one.member)
            seen[said] = seen.get(said, 0) + 1
            if seen[said] > 1:
                self.fields[i] = replace(one, label=f"{one.label} ({seen[said]})")

    def _is_header(self) -> bool:
        """Whether a line without values says where the training is, rather than speaking about it."""
        line = "0".join(self.texts)
        words = [w.lower() for w in _WORDS.findall(_CODE_FILE.sub("", line))]
        said = {w for f in self.fields for w in map(str.lower, _WORDS.findall(f.label))}
        told = said | LEAD | BESIDE_STEP
        rest = [w for w in words if w not in told and w not in metrics.SPLIT_OF]
        named = any(f.role in ("epoch", "iteration") and f.label != "counter" for f in self.fields)
        return named and len(rest) <= 1 and not self.best and self.fields[0].index <= 5

    def _lead(self) -> str:
        """The words that open the line: of "final_roundtrip val_loss:1.97" the first."""
        value = next((f for f in self.fields if f.role == "value"), None)
        if value is None or any(f.index < value.index for f in self.fields):
            return ""
        for text in reversed(self.texts[: value.index + 1]):
            said = text.rstrip(" \t:=：([{'\"")
            if text is self.texts[value.index] and said.endswith(value.label):
                said = said[: -len(value.label)]
                own = value.label.split()
                said = said + " ".join(own[:-1])
            piece = _BOUND.split(said)[-1].rpartition("]")[2].rpartition(")")[2].strip(" \t:=*#.-")
            words = [w for w in _WORDS.findall(piece.lower()) if w not in LEVELS or w in ("net", "output")]
            if piece and value.label.endswith(piece):
                # The label went on behind a number: "on the 10000 test images: 81.2".
                return ""
            if any(w not in LEAD and w not in metrics.SPLIT_OF for w in words) and not _CODE_FILE.search(piece):
                return piece
        return ""

    def _exact(self) -> bool:
        """Whether every character of the line belongs to a field, to the gap between two or to a logger's prefix."""
        if self.leftover or not self.fields:
            return False
        first = self.fields[0].index
        if [f.index for f in self.fields] != list(range(first, self.count)):
            return False
        dated = any(kind != "n" for kind in self.kinds[:first])
        if "n" in self.kinds[:first]:
            return False
        for i, text in enumerate(self.texts):
            if i > first:
                unit = _UNIT_AFTER.match(text) or _SIZE_AFTER.match(text)
                text = text[unit.end() :] if unit else text
                if self.texts[i - 1].rstrip().endswith("第") and (counted := _COUNTED.match(text)):
                    text = text[counted.end() :]
            if first <= i < self.count:
                one = self.fields[i - first]
                label = one.label if one.role != "total" and one.label != "counter" else ""
                if label and label in text:
                    at = text.rfind(label)
                    text = text[:at] + text[at + len(label) :]
            if i <= first:
                words = [w.lower() for w in _WORDS.findall(text)]
                if not dated and not all(w in LEVELS or w in metrics.SPLIT_OF for w in words):
                    return False
                text = "" if dated or words else text
            if text.strip(" \t,;|，；、:=：#[](){}/\r\1") not in ("", "of"):
                return False
        return True

    def _pattern(self, fields: tuple[Field, ...]) -> str:
        wanted = {one.index for one in fields}
        out = [_MAYBE, _literal(self.texts[0], first=True)]
        for i, kind in enumerate(self.kinds):
            if kind == "n":
                out.append(rf"{_MAYBE}({NUMBER})" if i in wanted else rf"{_MAYBE}{NUMBER}")
            else:
                out.append(rf"{_MAYBE}(?>{_COMMON_DATE}|{_DATE}|{_CLOCK}|{_SPAN})")
            out.append(_literal(self.texts[i + 1].removesuffix("\1")))
        return "".join(out) + r"[ \t]*+(?:(?:<br ?/?>|\\)[ \t]*+)?\r?"


_MAYBE = r"[ \t]*+"


def _literal(text: str, first: bool = False) -> str:
    """The text as a pattern that does not mind how wide its blanks are."""
    text = text.lstrip(" \t") if first else text
    parts = re.findall(r"[ \t]+|[^ \t]+", text)
    pattern = "".join(r"[ \t]++" if part[0] in " \t" else _escaped(part) for part in parts)
    return pattern.removesuffix(r"[ \t]++") + (r"[ \t]*+" if text[-1:] in (" ", "\t") else "")


def _escaped(text: str) -> str:
    return re.escape(text).replace(_BLOCKS, r"[^|\n]*+").replace(_EQUALS, r"[=>. ]*")


def _label(before: str) -> tuple[str, str, str, str, str]:
    """Label, heading, separator, remark in brackets and open bracket of what stands before a number."""
    text = before.rstrip()
    opened = ""
    while text and text[-1] in "[(<{\"'`":
        opened, text = text[-1] if text[-1] in "[(<{" else opened, text[:-1].rstrip()
    sep = ""
    if text and text[-1] in ":=：＝":
        sep, text = text[-1], text[:-1].rstrip()
    elif (found := _VERB.search(text)) and metrics.is_known(text[: found.start()]):
        sep, text = found[0], text[: found.start()].rstrip()
    if (found := metrics.OVERLAP.search(text)) and found.end() == len(text):
        # The colon and the bracket of "mAP@[.5:.95]" part nothing.
        label, heading, _, _, _ = _label(text[: found.start()])
        return f"{label} {found[0]}".strip(), heading, sep, "", opened
    note = ""
    found = _NOTE.search(text)
    if found and (sep or opened or metrics.is_known(_BOUND.split(text[: found.start()])[-1])):
        note, text = found[1], text[: found.start()]
    text = text.rstrip("\"'` ")
    if opened == "(" and (found := _WRAPPED.search(text)):
        # "loss: tensor(0.13)"
        text = text[: found.start()].rstrip()
        if text and text[-1] in ":=":
            sep, text = text[-1], text[:-1].rstrip()
        opened = ""
    cut = 0
    for found in _BOUND.finditer(text):
        cut = found.end()
    label = text[cut:]
    heading = text[:cut]
    if found := _LEVEL.match(label):
        heading, label = heading + found[0], label[found.end() :]
    # What follows a bracket or a colon that is not at the end.
    place = max(map(label.rfind, "])([:：=（）"))
    if place >= 0:
        heading, label = heading + label[: place + 1], label[place + 1 :]
    return label.strip(" \t.*#>|-–~^+&@/\\%"), heading, sep, note, opened


def _coco_label(found: re.Match[str]) -> str:
    """mAP, mAP50, mAP small, AR@10."""
    area = "" if found["area"] == "all" else f" {found['area']}"
    if found["what"] == "R":
        return f"AR{area}" if area else f"AR@{found['most']}"
    return f"mAP{area}" if found["high"] else f"mAP{found['low'][1:]}{area}"


def _two_labels(label: str) -> tuple[str, str] | None:
    """Both of "Train Acc/Loss", None where these are no two quantities."""
    one, _, other = label.partition("/")
    if not (metrics.is_known(one) and metrics.is_known(other)):
        return None
    split = metrics.meaning_of(one).split
    return one, f"{split} {other}" if split and metrics.meaning_of(other).split is None else other


def _heading(text: str) -> str:
    """The words before a colon that tell lines of one label apart: "ORG: precision 99.5". Empty where they only say
    what splits and steps say already."""
    text = text.rstrip()
    if not text.endswith((":", "：")):
        return ""
    said = re.split(r"[\])>:：]", _BOUND.split(text.rstrip(" :："))[-1])[-1].strip(" \t.*#>|-")
    words = [w.lower() for w in re.findall(r"[^\W_]+", said)]
    told = all(
        w in LEAD or w in metrics.SPLIT_OF or w in LEVELS or metrics.step_role(w) or w in metrics.FILLING for w in words
    )
    return "" if told or not words or len(words) > 5 or _CODE_FILE.search(said) else said


_SAID_BY_LOGGERS = frozenset(("info", "debug", "warning", "warn", "error", "critical", "trace"))


def _unit_note(note: str) -> Unit | None:
    return metrics.UNIT_WORDS.get(note.strip().lower())


def _position(label: str) -> tuple[StepRole | None, str | None]:
    """What a label counts, and the split it names on the way ("Train Epoch")."""
    if not label:
        return None, None
    role = metrics.step_role(label)
    meaning = metrics.meaning_of(label)
    if role:
        return role, meaning.split
    # "test_iter: 100" is a setting.
    lowered = [w.strip("#.-*").lower() for w in label.split()]
    for size in (2, 1):
        tail = " ".join(lowered[-size:])
        role = metrics.step_role(tail)
        if not role:
            continue
        ahead = lowered[:-size]
        if all(w in LEAD or w in metrics.SPLIT_OF or metrics.step_role(w) for w in ahead):
            return role, meaning.split
        if any(w in _SAID_BY_LOGGERS for w in ahead) and not any(map(metrics.is_known, ahead)):
            # "trainer INFO step 100": who logs it, and how grave it is.
            return role, meaning.split
    return None, None
