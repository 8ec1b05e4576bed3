"""What a field of a record is: a counter of steps, a result, an aside, a setting, or what says the split."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from expdb import metrics
from expdb.metrics import StepRole

# Beyond this an "epoch" is a time of day.
LATEST = 1e8
# Beyond this a float no longer counts.
FARTHEST = 2.0**53

_LETTERS = re.compile(r"[A-Za-z]+")
_WORDS = re.compile(r"[^\W_]+")
_BRACKETS = re.compile(r"\s*[(\[].*?[)\]]\s*$")
_TOP = re.compile(r"top[-_@ ]?\d(?!\d)", re.IGNORECASE)
_COUNTER = re.compile(r"\s*(\d{1,18})\s*/\s*\d+\s*")
# Words that make a number a result, whatever stands beside them.
_MEASURED = frozenset(
    (
        *("loss", "losses", "acc", "accuracy", "err", "error", "ap", "map", "ar", "iou", "miou", "dice", "precision"),
        *("recall", "auc", "auroc", "ppl", "perplexity", "bleu", "rouge", "rougel", "meteor", "cider", "psnr", "ssim"),
        *("lpips", "fid", "wer", "cer", "mse", "rmse", "mae", "reward", "rewards", "rew", "return", "returns"),
        *("elbo", "nll", "bpb", "bpc", "kl", "mrr", "ndcg", "pearson", "spearman", "kappa", "mcc", "logloss", "epe"),
        *("entropy", "xent", "prec", "aacc", "macc", "amacc", "mdice", "mfscore", "winrate", "em", "squad", "f"),
        *("perf", "correct", "sacrebleu"),
    )
)
# And words that make it a setting all the same.
_SETTING = frozenset(
    (
        *("weight", "weights", "coef", "coeff", "coefficient", "lambda", "type", "name", "fn", "scale", "scaling"),
        *("threshold", "thresh", "smoothing", "margin", "top_k", "topk", "mode", "func", "function", "gain"),
    )
)
_NO_RESULT = frozenset(("lr", "time", "epoch_time"))
# Numbers that say how large something is: once for the whole run.
_SIZES = frozenset(("parameters", "params", "flops", "macs", "model size", "n parameters", "num params", "n params"))
_DURATIONS = frozenset(("time", "times", "sec", "secs", "seconds", "hours", "fps", "throughput"))
# Numbers of the training that may well stay the same and are no settings.
_WATCHED = frozenset(("grad", "gnorm", "gradnorm", "norm"))
_SPEED = frozenset(("percentage", "percent", "progress", "remaining", "used", "elapsed", "runtime", "duration"))
_FILLERS = frozenset(
    ("current", "cur", "training", "train", "trainer", "total", "num", "n", "idx", "index", "no", "id")
)
_RANKS = (
    frozenset(("global step", "global steps", "globalstep", "total timesteps", "timesteps total", "current steps")),
    frozenset(("step", "iter", "iteration", "iterations", "training iteration", "trainstep", "train step", "nstep")),
    frozenset(
        ("update", "updates", "num updates", "n updates", "timesteps", "num timesteps", "round", "rounds", "tree")
    ),
)
# What names a total rather than a count; what counts only if it moves.
PLURAL, DOUBTFUL = 5, 4
_TOTALS = frozenset(
    (
        *("epochs", "num epochs", "n epochs", "total epochs", "max epochs", "n epoch", "num epoch", "steps", "iters"),
        *("total steps", "max steps", "num steps", "n steps", "total iters", "max iters", "num iters", "max iter"),
        *("max iterations", "total iterations", "num iterations", "total batches", "num batches", "batches"),
    )
)
_BATCH_WORDS = frozenset(("batch", "batches", "minibatch", "idx"))
_SPLIT_KEYS = frozenset(
    (
        *("mode", "split", "phase", "set", "stage", "subset", "type", "kind", "event", "dataset", "part", "section"),
        *("step type", "data split", "name", "prefix", "loop", "task type", "partition"),
    )
)
_SPLIT_FILLERS = frozenset(("", "epoch", "step", "iter", "end", "log", "logs", "metrics", "inner", "batch", "results"))
_RUN_KEYS = frozenset(
    (
        *("run", "run id", "run name", "run idx", "run uid", "runid", "trial", "trial id", "trial name", "trial index"),
        *("experiment id", "experiment name", "experiment", "exp", "exp id", "exp name", "seed", "fold", "run index"),
    )
)
_TIMES = frozenset(("timestamp", "time stamp", "wall time", "walltime", "unix time", "ts"))


def _plain(label: str) -> str:
    return " ".join(word.lower() for word in _WORDS.findall(label))


@lru_cache(maxsize=4096)
def role_of(label: str) -> StepRole | None:
    """Whether a field counts epochs or steps, also as `train/global_step`, `current_steps` or
    `global_step/max_steps`."""
    first, last = label.partition("/")[0], label.rpartition("/")[2]
    for form in (label, last, first if last.startswith(("max", "total", "num")) else label):
        role = metrics.step_role(form)
        if role:
            return role
    words = _plain(last).split()
    if metrics.meaning_of(last).split:
        words = metrics.meaning_of(last).words.split()
        if metrics.step_role(" ".join(words)):
            return metrics.step_role(" ".join(words))
    while words and words[0] in _FILLERS:
        words = words[1:]
    while words and words[-1] in _FILLERS:
        words = words[:-1]
    return metrics.step_role(" ".join(words)) if words else None


@lru_cache(maxsize=4096)
def counted_by(label: str) -> str:
    """What a counter counts, whatever split it is said of: `valid_num_updates` and `num_updates` are one."""
    return metrics.meaning_of(label).words


@lru_cache(maxsize=4096)
def rank_of(label: str) -> int:
    """How good a counter of steps the field makes: 0 is the best. A plural names how many there will be."""
    words = _plain(label.rpartition("/")[2])
    first = _plain(label.partition("/")[0])
    if words in _TOTALS and first not in _RANKS[0]:
        return PLURAL
    for rank, known in enumerate(_RANKS):
        if words in known or (rank == 0 and first in known):
            # W&B counts its own calls.
            return 3 if label == "_step" else rank
    if _BATCH_WORDS & set(words.split()):
        return DOUBTFUL
    return 3


@lru_cache(maxsize=4096)
def is_measured(label: str) -> bool:
    """Whether a number of that name is the result of a training or a test."""
    if metrics.is_aside(label):
        return False
    quantity = metrics.meaning_of(label).quantity
    if quantity:
        return quantity.name not in _NO_RESULT
    words = {word.lower() for word in _LETTERS.findall(label.replace("_", " "))}
    return (bool(words & _MEASURED) or _TOP.search(label) is not None) and not words & _SETTING


@lru_cache(maxsize=4096)
def is_aside(label: str) -> bool:
    """Whether a number of that name is printed beside results: also `memory(GiB)`, `train_speed(s/it)`,
    `perf/mfu`."""
    bare = _BRACKETS.sub("", label)
    forms = (label, bare, bare.rpartition("/")[2], metrics.meaning_of(bare).words)
    if any(metrics.is_aside(form) for form in forms) or set(_plain(bare).split()) & _SPEED:
        return True
    return bool(set(_plain(forms[2]).split()) & _DURATIONS) and not metrics.is_known(bare)


@lru_cache(maxsize=4096)
def is_loss(label: str) -> bool:
    """Whether a label names a loss, whichever."""
    return any("loss" in word or word in ("reward", "rew", "nll", "return") for word in _plain(label).split())


@lru_cache(maxsize=4096)
def is_rate(label: str) -> bool:
    """Whether a label names a learning rate."""
    quantity = metrics.meaning_of(label).quantity
    return quantity is not None and quantity.name == "lr"


@lru_cache(maxsize=4096)
def is_watched(label: str) -> bool:
    """Whether a number of that name is measured, even where it never changes."""
    return is_measured(label) or metrics.is_known(label) or bool(set(_plain(label).split()) & _WATCHED)


@lru_cache(maxsize=4096)
def is_size(label: str) -> bool:
    """Whether a number of that name says how large the model is."""
    return _plain(label) in _SIZES or _plain(label.rpartition("/")[2]) in _SIZES


@lru_cache(maxsize=4096)
def is_result(label: str) -> bool:
    """Whether a number of that name is a known quantity that is better large or better small, and no time."""
    for form in (label, label.rpartition("/")[2]):
        quantity = metrics.meaning_of(form.partition(",")[0]).quantity
        if quantity and quantity.better and quantity.name not in _NO_RESULT:
            return True
    return False


@lru_cache(maxsize=4096)
def says_split(label: str) -> bool:
    """Whether the text of a field of that name may say the split of its record."""
    return _plain(label) in _SPLIT_KEYS


@lru_cache(maxsize=4096)
def split_of(text: str) -> str | None:
    """The split that a text names, and nothing else: `val`, `Train`, `train_epoch`."""
    meaning = metrics.meaning_of(text)
    return meaning.split if meaning.words in _SPLIT_FILLERS else None


@lru_cache(maxsize=4096)
def says_run(label: str) -> bool:
    """Whether a field of that name says which of several trainings its record belongs to."""
    return _plain(label) in _RUN_KEYS


@lru_cache(maxsize=4096)
def says_time(label: str) -> bool:
    """Whether a number of that name may be the time of day."""
    return _plain(label) in _TIMES


def number_of(value: object) -> float | None:
    """The number that a value is or prints, a counter's first (`3/200`); None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str):
        try:
            return float(value.rstrip().removesuffix("%"))
        except ValueError:
            found = _COUNTER.fullmatch(value)
            return float(found[1]) if found else None
    return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What records look like: how many there are, how many count steps, measure something, and do both.

    moving: whether a step is ever another; told_apart: whether they differ in a text, as the items of a data set do.
    """

    count: int
    stepped: int
    measured: int
    both: int
    moving: bool
    told_apart: bool


def evidence(records: Iterable[Mapping[str, object]]) -> Evidence:
    """What the records look like, their levels joined."""
    count = stepped = measured = both = 0
    steps: dict[str, float] = {}
    texts: dict[str, str] = {}
    items: dict[str, float] = {}
    moving = told_apart = False
    for record in records:
        count += 1
        has_step = has_result = False
        for label, value in record.items():
            if isinstance(value, list):
                has_result |= 0 < len(value) <= 16 and is_measured(label) and number_of(value[0]) is not None
                continue
            number = number_of(value)
            if number is None:
                if isinstance(value, str) and not _is_when(label):
                    told_apart |= texts.setdefault(label, value) != value and split_of(value) is None
            elif _is_number_of_item(label):
                told_apart |= items.setdefault(label, number) != number
            elif role_of(label):
                if -1 <= number < (LATEST if role_of(label) == "epoch" else FARTHEST):
                    has_step = has_step or rank_of(label) < PLURAL
                    moving |= steps.setdefault(label, number) != number
            elif is_measured(label):
                has_result = True
        stepped += has_step
        measured += has_result
        both += has_step and has_result
    return Evidence(count, stepped, measured, both, moving, told_apart)


@lru_cache(maxsize=4096)
def _is_number_of_item(label: str) -> bool:
    words = _plain(label).split()
    return bool(words) and words[-1] in ("id", "ids", "idx", "index") and role_of(label) is None


@lru_cache(maxsize=4096)
def _is_when(label: str) -> bool:
    """Whether a text of that name is a time or a duration."""
    words = set(_plain(label).split())
    return bool(words & {"time", "date", "timestamp", "ts", "asctime", "eta", "lr"}) or is_aside(label)
