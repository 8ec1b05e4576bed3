"""What a printed label means: its split and quantity, its unit, and which way is better.

One alias table serves every reader. A label nobody knows keeps its own words as its name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from expdb.records import Better, Kind, Unit

TRAIN, VAL, TEST = "train", "val", "test"
# What the machine did meanwhile, and no result.
SYSTEM = "system/"

SPLITS = {
    TRAIN: ("train", "training", "tr", "learn", "训练集", "训练"),
    VAL: ("val", "valid", "validation", "dev", "eval", "evaluation", "验证集", "验证", "校验集"),
    TEST: ("test", "testing", "测试集", "测试"),
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of number. ratio: a share of one, printed as a fraction or in percent."""

    name: str
    better: Better | None
    aliases: tuple[str, ...]
    ratio: bool = False
    unit: Unit | None = None
    has_split: bool = True


QUANTITIES = (
    Quantity(
        "loss",
        "min",
        (
            *("loss", "losses", "avg loss", "average loss", "mean loss", "running loss", "epoch loss", "main loss"),
            *("损失", "损失值", "平均损失", "损失函数", "总损失"),
        ),
    ),
    Quantity(
        "accuracy",
        "max",
        (
            *(
                "accuracy",
                "acc",
                "acc1",
                "acc@1",
                "accuracy@1",
                "accuracy top 1",
                "acc 1",
                "top1",
                "top 1",
                "top@1",
                "prec@1",
                "prec1",
            ),
            *("top1 acc", "top 1 acc", "top1 accuracy", "top 1 accuracy", "accuracy top1", "acc top1"),
            *("main accuracy", "epoch acc", "overall acc"),
            *("overall accuracy", "categorical accuracy", "sparse categorical accuracy", "binary accuracy"),
            *("准确率", "正确率", "准确度", "精度", "识别率", "平均准确率", "精确度"),
        ),
        ratio=True,
    ),
    Quantity(
        "accuracy_top5",
        "max",
        (
            *(
                "acc5",
                "acc@5",
                "accuracy@5",
                "accuracy top 5",
                "acc 5",
                "top5",
                "top 5",
                "top@5",
                "prec@5",
                "prec5",
                "top5 acc",
                "top 5 acc",
            ),
            *("top5 accuracy", "top 5 accuracy", "accuracy top5", "acc top5"),
        ),
        ratio=True,
    ),
    Quantity(
        "error",
        "min",
        (
            *("error", "err", "error rate", "err1", "top1 err", "top 1 err", "error@1", "top1 error", "top 1 error"),
            *("错误率", "误差率"),
        ),
        ratio=True,
    ),
    Quantity("f1", "max", ("f1", "f1 score", "fscore", "macro f1", "micro f1", "f1值"), ratio=True),
    Quantity("precision", "max", ("precision", "prec", "精确率", "查准率"), ratio=True),
    Quantity("recall", "max", ("recall", "召回率", "查全率"), ratio=True),
    Quantity("auc", "max", ("auc", "auroc", "roc auc"), ratio=True),
    Quantity("map", "max", ("map", "map50 95"), ratio=True),
    Quantity("map_50", "max", ("map50",), ratio=True),
    Quantity("map_75", "max", ("map75",), ratio=True),
    Quantity("miou", "max", ("miou", "mean iou", "iou"), ratio=True),
    Quantity("dice", "max", ("dice", "dice score"), ratio=True),
    Quantity("bleu", "max", ("bleu",)),
    Quantity("perplexity", "min", ("perplexity", "ppl", "困惑度")),
    Quantity("psnr", "max", ("psnr",)),
    Quantity("ssim", "max", ("ssim",), ratio=True),
    Quantity("fid", "min", ("fid",)),
    Quantity("wer", "min", ("wer", "word error rate"), ratio=True),
    Quantity("mse", "min", ("mse", "均方误差")),
    Quantity("rmse", "min", ("rmse",)),
    Quantity("mae", "min", ("mae",)),
    Quantity("r2", "max", ("r2", "r squared")),
    Quantity("lr", None, ("lr", "l r", "learning rate", "学习率"), has_split=False),
    Quantity(
        "epoch_time",
        "min",
        (
            *(
                "use time",
                "used time",
                "time used",
                "time use",
                "epoch time",
                "time per epoch",
                "cost time",
                "time cost",
                "epoch use time",
            ),
            *("用时", "耗时", "时间", "花费时间"),
        ),
        unit="s",
        has_split=False,
    ),
    Quantity(
        "time",
        "min",
        ("time", "elapsed", "elapsed time", "total time", "took", "total training time"),
        unit="s",
        has_split=False,
    ),
)

SPLIT_OF = {alias: split for split, aliases in SPLITS.items() for alias in aliases}
_QUANTITY_OF = {alias: quantity for quantity in QUANTITIES for alias in quantity.aliases}
# Short for split and quantity at once, as llm.c prints them.
_WHOLE = {"trl": (TRAIN, "loss"), "tel": (TEST, "loss")}
_BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}

UNIT_WORDS: dict[str, Unit] = {
    **dict.fromkeys(("%", "％", "percent"), "percent"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "秒"), "s"),
    **dict.fromkeys(("ms", "msec", "毫秒"), "ms"),
    **dict.fromkeys(("min", "mins", "minutes", "分钟"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hours", "小时"), "h"),
}

# A Chinese label has no spaces: its words are cut at the split's name, which comes first.
_CJK_SPLIT = re.compile(f"({'|'.join(sorted((a for a in SPLIT_OF if not a.isascii()), key=len, reverse=True))})的?")
_CAMEL = re.compile(r"(?<=[a-z0-9]{2})(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+(?:@[\d.]+)?")
# Of one quantity a log may print the batch's value, the running average and the epoch's.
_MOMENT = re.compile(r"(?:_(?:avg|step|epoch|batch|\d+))+$")
# The overlap from which on a detection counts: "mAP@0.5", "mAP@[.5:.95]", "mAP50-95".
OVERLAP = re.compile(
    r"(?i)(?<![a-z])map[ _@]*\[? ?(?:iou=)?(?:0?\.(50?|75)0?|(50|75))(?!\d)(?:[ _]?[:_-][ _]?0?\.?(95)(?!\d))?(?: ?\])?"
)
# LightGBM and Sagemaker number their data: valid_0's auc.
_NUMBERED = re.compile(r"(?<=[a-z])_?\d*'s\b")
# Words that say nothing of the quantity: "accuracy of the network on the 10000 test images".
FILLING = frozenset(
    [
        "set",
        "of",
        "the",
        "on",
        "in",
        "for",
        "at",
        "network",
        "net",
        "model",
        "images",
        "image",
        "data",
        "dataset",
        "samples",
        "examples",
        "current",
        "this",
        "split",
    ]
)
# A label of unknown words is as good or bad as its last one: "semantic loss", "token acc".
_LAST_WORDS: dict[str, Better] = {
    **dict.fromkeys(
        ("loss", "losses", "error", "err", "perplexity", "ppl", "损失", "误差", "错误率", "bpb", "bpc"), "min"
    ),
    **dict.fromkeys(("acc", "accuracy", "precision", "recall", "f1", "auc", "iou", "miou", "map", "dice"), "max"),
    **dict.fromkeys(("reward", "bleu", "psnr", "ssim", "准确率", "正确率", "精度", "召回率"), "max"),
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a label says. quantity is None for words nobody knows."""

    split: str | None
    words: str
    quantity: Quantity | None


@dataclass(frozen=True, slots=True)
class _OwnWords:
    """A person's own words. names: canonical name by the words of a label; quantities: by name."""

    names: Mapping[str, str]
    quantities: Mapping[str, Quantity]


# The one piece of state in this module: labels are asked for everywhere, and a table passed along would have to go
# through every reader. Only `extend` sets it.
_own = _OwnWords({}, {})


def extend(aliases: Mapping[str, str], better: Mapping[str, Better]) -> None:
    """Take a person's own words beside the alias table, instead of those of the last call.

    aliases: canonical name (`test/accuracy`, `score`), or `epoch` or `iteration` for what counts steps, by label, which
    is compared by its words alone. better: which way a quantity improves, by its name. To be called before anything is
    read: other modules remember what labels meant.
    """
    global _own
    quantities = {
        name: replace(_BY_NAME[name], better=way) if name in _BY_NAME else Quantity(name, way, ())
        for name, way in better.items()
    }
    names = {_words(name): name for name in quantities if name not in _BY_NAME}
    _own = _OwnWords({**names, **{_words(label): name for label, name in aliases.items()}}, quantities)
    for remembered in (step_role, is_aside, is_best, is_result, meaning_of):
        remembered.cache_clear()


def _words(label: str) -> str:
    """A label's words, in lower case and without punctuation."""
    return " ".join(_WORD.findall(_CAMEL.sub(" ", label))).lower()


def _plain(label: str) -> str:
    """A label's words where an underscore parts two, too."""
    return _words(label.replace("_", " "))


def _own_meaning(words: str, split: str | None = None) -> Meaning | None:
    """What a person's own table says of the words of a label, None where it says nothing."""
    name = _own.names.get(words)
    if name is None:
        return None
    own_split, _, quantity = name.rpartition("/")
    known = _own.quantities.get(quantity) or _BY_NAME.get(quantity) or Quantity(quantity, None, ())
    return Meaning(split or own_split or None, words, known)


StepRole = Literal["epoch", "iteration"]

# What counts a training's progress, in lower case and without punctuation.
_EPOCH_WORDS = frozenset(
    (
        *("epoch", "epochs", "ep", "train epoch", "training epoch", "current epoch", "epoch num", "epoch idx"),
        *("epoch index", "epoch number", "n epoch", "num epoch", "轮", "轮次", "周期", "回合", "训练轮次", "训练轮数"),
    )
)
_ITERATION_WORDS = frozenset(
    (
        *("iter", "iters", "iteration", "iterations", "it", "its", "step", "steps", "global step", "global steps"),
        *("globalstep", "train step", "training step", "trainstep", "global iter", "global iteration", "total steps"),
        *("batch", "batches", "batch idx", "batch index", "minibatch", "mini batch", "update", "updates", "up"),
        *("num updates", "n updates", "current iteration", "iter num", "iter no", "num iter", "iteration number"),
        *("total timesteps", "timesteps", "num timesteps", "round", "rounds", "boosting round", "tree", "trees"),
        *(
            "episode",
            "episodes",
            "episode num",
            "episode number",
            "迭代",
            "迭代次数",
            "步",
            "步数",
            "批次",
            "训练步数",
            "nstep",
            "n iter",
            "niter",
            "micro step",
        ),
    )
)
# What is printed beside results: the machine's work, what is left to do, what was best so far.
_ASIDE_WORDS = frozenset(
    (
        *("eta", "remaining", "mem", "memory", "max mem", "max memory", "gpu mem", "gpu memory", "cuda mem"),
        *("data", "data time", "batch time", "iter time", "iteration time", "step time", "load time", "net time"),
        *("model time", "forward time", "backward time", "speed", "throughput", "fps", "ips", "wps", "ups", "wpb"),
        *("bsz", "num updates", "tokens", "images", "samples", "samples per sec", "samples sec", "examples sec"),
        *(
            "img s",
            "images sec",
            "imgs sec",
            "it s",
            "tok s",
            "tokens sec",
            "words sec",
            "n parameters",
            "mfu",
            "ppl s",
        ),
        *("wall", "train wall", "gb free", "gnorm wall", "percent complete", "reader cost", "batch cost"),
        *("avg reader cost", "avg batch cost", "avg samples", "memallocated", "maxmemallocated", "mem allocated"),
        *("max mem allocated", "runningavgsamplespersec", "currsamplespersec", "running avg samples per sec"),
        *("curr samples per sec", "train samples per second", "train steps per second", "eval samples per second"),
        *(
            "eval steps per second",
            "samples per second",
            "steps per second",
            "train runtime",
            "eval runtime",
            "runtime",
        ),
        *(
            "total flos",
            "timestamp",
            "wall time",
            "time stamp",
            "patience",
            "bad epochs",
            "v num",
            "global step sec",
            "steps sec",
            "counter",
            "eta seconds",
        ),
        *("gpu", "time iter", "interval time", "elapsed time per iteration", "consumed samples", "number of nan"),
        *("record", "剩余时间", "预计剩余时间", "显存", "内存", "速度"),
    )
)
_BEST_ZH = re.compile("最[佳好高优]")
_BEST_WORDS = frozenset(("best", "highest", "so far", "最佳", "最好", "最高", "历史最佳"))


@lru_cache(maxsize=4096)
def step_role(label: str) -> StepRole | None:
    """Whether a label counts epochs or iterations (steps, batches, updates, boosting rounds); None for everything
    else."""
    words = _plain(label)
    own = _own.names.get(_words(label))
    if own is not None:
        return "epoch" if own == "epoch" else "iteration" if own == "iteration" else None
    return "epoch" if words in _EPOCH_WORDS else "iteration" if words in _ITERATION_WORDS else None


@lru_cache(maxsize=4096)
def is_aside(label: str) -> bool:
    """Whether a label is printed beside results and is none: ETA, speed, memory, the best so far."""
    if _words(label) in _own.names:
        return False
    return _plain(label) in _ASIDE_WORDS or is_best(label)


@lru_cache(maxsize=4096)
def is_best(label: str) -> bool:
    """Whether a label names the best so far: "best acc", "max accuracy" (but "max grad norm" is a setting)."""
    plain = _plain(label)
    words = plain.split()
    if "so far" in plain or any(word in _BEST_WORDS for word in words) or _BEST_ZH.search(label):
        return True
    if words[:1] == [plain] and plain.startswith("best") and is_known(plain.removeprefix("best")):
        # "bestacc"
        return True
    return len(words) > 1 and words[0] in ("max", "maximum") and meaning_of(" ".join(words[1:])).quantity is not None


@lru_cache(maxsize=4096)
def meaning_of(label: str) -> Meaning:
    """Split, remaining words and known quantity of a printed label."""
    own = _own_meaning(_words(label))
    if own:
        return own
    if whole := _WHOLE.get(label.lower()):
        return Meaning(whole[0], whole[1], _BY_NAME[whole[1]])
    words: list[str] = []
    split = None
    label = OVERLAP.sub(_by_overlap, label)
    spaced = _CJK_SPLIT.sub(lambda found: f" {found[1]} ", _CAMEL.sub(" ", _NUMBERED.sub("", label)))
    for word in _WORD.findall(spaced):
        lowered = word.lower()
        # "best val acc" and "acc_val" both name a split; only the first such word does.
        if split is None and lowered in SPLIT_OF:
            split = SPLIT_OF[lowered]
        elif lowered not in FILLING:
            words.append(lowered)
    joined = " ".join(words)
    own = _own_meaning(joined, split)
    if own:
        return own
    quantity = _QUANTITY_OF.get(joined) or _QUANTITY_OF.get(joined.removesuffix(" score").removesuffix(" value"))
    return Meaning(split, joined, _own.quantities.get(quantity.name, quantity) if quantity else None)


def _by_overlap(found: re.Match[str]) -> str:
    low = (found[1] or found[2]).ljust(2, "0")
    return f"map{low} 95 " if found[3] else f"map{low} "


def canonical(label: str, kind: Kind = "curve", split: str | None = None) -> str:
    """Name `split/quantity` of a printed label. split: what stands around it says, where the label says nothing.

    A bare loss or accuracy is the training's own in a log (it prints what it just computed) and the
    test's on a page (a results table states results).
    """
    meaning = meaning_of(label)
    quantity = meaning.quantity
    if quantity and not quantity.has_split:
        return f"{meaning.split}/{quantity.name}" if meaning.split else quantity.name
    words = quantity.name if quantity else meaning.words.replace(" ", "_")
    if not words:
        # Words that say nothing are all there is.
        words = "value" if meaning.split else "_".join(map(str.lower, _WORD.findall(label))) or label.strip() or "value"
    if meaning.split or split:
        return f"{meaning.split or split}/{words}"
    if quantity and quantity.name in _BY_NAME:
        return f"{TEST if kind == 'reported' else TRAIN}/{words}"
    return words


def is_known(label: str) -> bool:
    """Whether the label names a quantity of the alias table."""
    return meaning_of(label).quantity is not None


def better(name: str) -> Better | None:
    """Which way a metric improves, by its canonical name or label; None where nobody can say."""
    quantity = _quantity(name)
    if quantity:
        return quantity.better
    words = meaning_of(name.rsplit("/", 1)[-1]).words.split()
    return _LAST_WORDS.get(words[-1]) if words else None


@lru_cache(maxsize=4096)
def is_result(label: str) -> bool:
    """Whether a label names something trained for: it can be better or worse, and is no time and no aside."""
    quantity = _quantity(label)
    return better(label) is not None and (quantity is None or quantity.unit is None) and not is_aside(label)


def unit_of(name: str, low: float | None, high: float | None) -> Unit | None:
    """Unit of all values of a metric, from their range: an accuracy of 87.62 can only be percent.

    low, high: least and greatest value, None where there is none.
    """
    quantity = _quantity(name)
    if quantity is None:
        return None
    if not quantity.ratio:
        return quantity.unit
    if low is None or high is None or low < 0 or high > 100:
        return None
    return "percent" if high > 1 else "fraction"


def in_unit(value: float, unit: Unit | None, wanted: Unit | None) -> float:
    """The value, given in unit, in the wanted one. Only like units convert; others come back as they are."""
    if unit == wanted or unit is None or wanted is None or (unit in RATIOS) != (wanted in RATIOS):
        return value
    if unit in RATIOS:
        # By digits: 0.709 is 70.9, not 70.89999999999999.
        return float(Decimal(repr(float(value))).scaleb(2 if wanted == "percent" else -2))
    # One rounding instead of two keeps 90 s → 1.5 min.
    ratio = _SCALE[unit] / _SCALE[wanted]
    return value * ratio if ratio >= 1 else value / (_SCALE[wanted] / _SCALE[unit])


RATIOS: tuple[Unit, ...] = ("fraction", "percent")
_SCALE: dict[Unit, float] = {"fraction": 1, "percent": 0.01, "ms": 0.001, "s": 1, "min": 60, "h": 3600}


def common_unit(units: Iterable[Unit | None]) -> Unit | None:
    """The unit a column shows: the one all share; percent where fractions and percents meet, else seconds."""
    known = {unit for unit in units if unit}
    if len(known) < 2:
        return next(iter(known), None)
    return "percent" if known <= set(RATIOS) else None if known & set(RATIOS) else "s"


def _quantity(name: str) -> Quantity | None:
    last = name.rsplit("/", 1)[-1]
    bare = _MOMENT.sub("", last)
    own = _own.quantities.get(last) or _own.quantities.get(bare)
    return own or _BY_NAME.get(last) or _BY_NAME.get(bare) or meaning_of(name).quantity
