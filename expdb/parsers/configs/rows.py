"""Rows of keys and values, one or a few to a line, as programs print their settings."""

import re
from collections import Counter
from dataclasses import dataclass, field

from expdb import metrics
from expdb.parsers.configs.literals import Pairs, unquoted
from expdb.parsers.configs.prefixes import LEVEL

_DIGITS = re.compile(r"\d+")
_WORD = r"[^\W\d][\w.\-]*+"
_VALUE = r"(?:\[[^\[\]]*+\]|\([^()]*+\)|'[^']*+'|\"[^\"]*+\"|[^\s,;|'\"\[\](){}:=][^\s,;|'\"\[\](){}=]*+)"
_DOTS = re.compile(rf"({_WORD}) \.{{3,}} ?(.*)")
_CELLS = re.compile(r"\|([^|]*+)\|([^|]*+)\|$")
RULE = re.compile(r"[+|=\-:\s]+$")
_PAIR = re.compile(rf"({_WORD})[ \t]*[:=][ \t]*({_VALUE})(?:[ \t]*[,;|][ \t]*|[ \t]+|$)")
_FLAG = re.compile(rf"--({_WORD})(?:[ =]+(.*))?")
ROW = re.compile(
    rf"['\"]?({_WORD}(?: [\w.()\-]++){{0,5}}+)['\"]?[ \t]*+(?:(=)(?!=)|([:：])(?=\s|$|['\"\[{{]))[ \t]*(.*)"
)
_COUNTED = re.compile(r"(?i)(?:epochs?|iter(?:ation)?s?|steps?|batch)[^\w]*\d")
_RESULT = re.compile(r"(?i)(?:^|[^a-z])(?:loss|acc(?:uracy)?|error|score|f1|mAP|auc|ppl)[ \t]*[:=]?[ \t]*\d*\.\d")
ITEM = re.compile(r"-(?: (.*)|$)")
OPENS = re.compile(r"[\w.]*[\[({]")
_ENVIRONMENT = re.compile(
    r"(?i)(?:sys\.platform|platform|os|pwd|hostname|gcc|nvcc|msvc|libc version|gpu \d+"
    r"|(?:python|(?:py)?torch|cuda|cuda runtime|cudnn)(?: version)?|cuda_home|cuda available"
    r"|torchvision|torchaudio|numpy|opencv|mm(?:cv|engine|det|seg|cls)|transformers|tensorflow|detectron2|tokenizers"
    r"|datasets|coreclock|pcibusid|devicememory\w+)$"
)
# Two of these are a configuration; of other keys it takes three.
_SETTINGS = frozenset(
    (
        *("lr", "learningrate", "initlr", "baselr", "batchsize", "trainbatchsize", "testbatchsize", "weightdecay"),
        *("momentum", "dropout", "dropoutrate", "optimizer", "optim", "scheduler", "lrscheduler", "seed", "randomseed"),
        *("model", "modelname", "arch", "architecture", "backbone", "dataset", "datasetname", "numworkers", "workers"),
        *("epochs", "numepochs", "nepochs", "maxepochs", "totalepochs", "hiddensize", "hiddendim", "numlayers"),
        *("imagesize", "imgsize", "inputsize", "seqlen", "seqlength", "maxlen", "maxlength", "warmup", "warmupsteps"),
        *("warmupepochs", "numclasses", "device", "gamma", "numheads", "embeddim", "gradclip"),
    )
)
_NO_LETTER = re.compile(r"[^a-z]")
_VERSION = re.compile(r"v?\d+\.\d+(?:\.|$)")


@dataclass(slots=True)
class Rows:
    """Consecutive rows of one style. parents: indentation and key of what the next row may belong to."""

    style: str
    numbers: list[int] = field(default_factory=list)
    pairs: Pairs = field(default_factory=list)
    parents: list[tuple[int, str, bool]] = field(default_factory=list)
    prefixed: bool = False
    starts_at: int = 0

    @property
    def last(self) -> Pairs:
        """The pairs of the last row."""
        return self.pairs[self.starts_at :]

    def drop_last(self) -> None:
        """Forget the last row."""
        del self.pairs[self.starts_at :], self.numbers[-1:]

    def add(self, key: str, value: str, indent: int) -> None:
        """One row, below the rows that are less indented and have no value."""
        while self.parents and (self.parents[-1][0] >= indent or self.parents[-1][2]):
            self.parents.pop()
        path = ".".join(parent for _, parent, _ in self.parents if " " not in parent)
        # What turns out to hold rows below it has no value of its own.
        if self.parents and self.pairs and not self.pairs[-1][1] and self.pairs[-1][0].endswith(self.parents[-1][1]):
            self.pairs.pop()
        self.pairs.append((f"{path}.{key}" if path else key, value))
        self.parents.append((indent, key, bool(value)))

    def add_item(self, text: str) -> None:
        """One item of a list."""
        if self.pairs:
            key, value = self.pairs[-1]
            if value.startswith("[") and value.endswith("]"):
                self.pairs[-1] = (key, f"{value[:-1]}, {text}]")
            elif not value or value.startswith("!!"):
                self.pairs[-1] = (key, f"[{text}]")

    def settings(self) -> Pairs | None:
        """Each key once, with all its values; None where the rows are no configuration."""
        counts = Counter(key for key, _ in self.pairs)
        # What a line says again and again is progress; a configuration may repeat a key to list its values.
        often = 3 if self.style == "&" else 24
        shapes = Counter(_DIGITS.sub("0", key) for key in counts if " " in key)
        pairs = [(k, v) for k, v in self.pairs if counts[k] < often and shapes[_DIGITS.sub("0", k)] < 3]
        # "Parameters:" above the rows is their heading.
        pairs = pairs if not pairs or pairs[0][1] else pairs[1:]
        found: dict[str, str] = {}
        for key, value in pairs:
            found[key] = f"{found[key]}, {value}" if key in found else value
        enough = len(found) > 2 or (len(found) == 2 and all(map(_is_known_setting, found)))
        if not enough or len(found) < 0.6 * len(pairs) or is_measured(pairs):
            return None
        return list(found.items())


def _is_known_setting(key: str) -> bool:
    return _NO_LETTER.sub("", key.rpartition(".")[2].lower()) in _SETTINGS


def row_of(body: str) -> tuple[str, Pairs] | None:
    """How keys and values are set apart in a row, and what they are."""
    if found := _DOTS.fullmatch(body):
        return ".", [(found[1], unquoted(found[2]))]
    if body[0] == "|":
        cells = _CELLS.fullmatch(body)
        key, value = (cells[1].strip(), cells[2].strip()) if cells else ("", "")
        return ("|", [(key, unquoted(value))]) if key[:1].isalpha() else None
    if body[0] == "-":
        flag = _FLAG.fullmatch(body)
        return ("-", [(flag[1].replace("-", "_"), unquoted(flag[2] or "") or "true")]) if flag else None
    if pairs := _pairs(body):
        return "&", pairs
    row = ROW.fullmatch(body)
    if not row:
        return None
    key, value = row[1], row[4].rstrip()
    if value.startswith("//") or LEVEL.fullmatch(key) or _COUNTED.match(key):
        return None
    if value[:1] not in tuple("[({'\"") and (len(value.split(None, 9)) > 8 or " = " in value or _RESULT.search(value)):
        return None
    # Rows within brackets whose opening was missed.
    if value.endswith(",") and (row[2] or body[0] in "'\""):
        return None
    return row[2] or ":", [(key, value if OPENS.match(value) else unquoted(value))]


def _pairs(body: str) -> Pairs:
    """The pairs of a line that has nothing else: two or more, or one without blanks."""
    found: Pairs = []
    at = 0
    while at < len(body):
        pair = _PAIR.match(body, at)
        if not pair or pair[2].startswith("//"):
            return []
        found.append((pair[1], unquoted(pair[2])))
        at = pair.end()
    return found if len(found) > 1 or ("=" not in body and len(body.split()) == 1) else []


def is_measured(pairs: Pairs) -> bool:
    """Whether a few results stand among them: a report, where a configuration was expected."""
    if len(pairs) > 24:
        return False
    results = [key for key, value in pairs if _is_number(value) and metrics.better(metrics.canonical(key))]
    counters = [key for key, value in pairs if _is_number(value) and metrics.step_role(key) == key.lower()]
    beside = [key for key, _ in pairs if metrics.is_aside(key)]
    return bool(results or counters) or len(beside) > 0.5 * len(pairs)


def _is_number(value: str) -> bool:
    try:
        float(value.rstrip("%"))
    except ValueError:
        return False
    return True


def is_environment(pairs: Pairs) -> bool:
    """Whether it says where a training ran, or what was installed, rather than how."""
    about = sum(_ENVIRONMENT.match(key) is not None for key, _ in pairs)
    versions = sum(_VERSION.match(value) is not None and value.count(".") > 1 for _, value in pairs)
    return (about > 1 and about >= 0.15 * len(pairs)) or versions > 0.5 * len(pairs)
