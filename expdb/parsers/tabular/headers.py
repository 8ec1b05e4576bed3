"""What the header of a column says: which quantity of which split, whether it counts steps, is a setting or a clock.

More is said here than `metrics` knows, for a table's header has conventions of its writer's: groups (`time/fps`,
`metrics/mAP50(B)`), Lightning's `_epoch`, Torch7's `%`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from expdb import metrics
from expdb.parsers.tabular.sheet import number_of
from expdb.records import ASIDE, CURVE, Metric, Unit

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
UNIT = re.compile(r"\s*[(（\[]\s*([^()（）\[\]]+?)\s*[)）\]]\s*[↑↓]?\s*$")
COUNT = re.compile(r"(?i)^(?:epochs?|ep|iter(?:ation)?|step)?[ _:#\[]*(\d{1,18})(?: ?/ ?\d+)?\]?$")
_STEP_RANKS = (
    *(("total timesteps", 0), ("timesteps total", 0), ("global step", 0), ("total steps", 0), ("num timesteps", 0)),
    *(("total env interacts", 0), ("env steps", 0), ("env step", 0), ("num env steps sampled", 0), ("timesteps", 1)),
    *(
        ("timestep", 1),
        ("num frames", 1),
        ("frames", 1),
        ("frame", 1),
        ("env steps sampled", 0),
        ("total env steps", 0),
    ),
    *(("step", 2), ("steps", 2), ("training iteration", 3), ("iteration", 3), ("iterations", 3), ("iter", 3)),
    *(
        ("episode", 3),
        ("episodes", 3),
        ("n episodes", 4),
        ("num episodes", 4),
        ("generation", 3),
        ("generations", 3),
        ("n updates", 4),
    ),
    *(("nupdates", 4), ("serial timesteps", 4), ("episodes total", 4), ("total episodes", 4), ("batch", 5)),
    *(("batch idx", 5), ("minibatch", 5), ("itr", 3), ("iters", 3), ("timesteps so far", 0), ("samples seen", 4)),
    *(("num iters", 3), ("numiters", 3), ("n iters", 3), ("batches seen", 4), ("env interacts", 0)),
)
_RANK_OF = dict(_STEP_RANKS)
_COMMON_RANK = 4
PLURAL = frozenset(("epochs", "iterations", "steps", "iters", "timesteps", "n epochs", "num epochs", "episodes"))
SETTINGS = frozenset(
    (
        *("batch size", "batchsize", "bs", "seed", "random seed", "n parameters", "num parameters", "num params"),
        *("n params", "param count", "parameters", "params", "parameter count", "weight decay", "wd", "momentum"),
        *("dropout", "hidden size", "hidden dim", "hidden units", "hidden", "num layers", "n layers", "layers"),
        *("depth", "width", "img size", "image size", "imgsz", "resolution", "num workers", "workers", "world size"),
        *("gpus", "num gpus", "n gpus", "fold", "max epochs", "total epochs", "epochs", "num epochs", "n epochs"),
        *("n estimators", "max depth", "num leaves", "min child weight", "heads", "num heads", "embed dim"),
        *("context length", "seq len", "max seq len", "sequence length", "block size", "n seeds", "k", "n runs"),
        *("trial", "version", "gamma", "beta", "alpha", "warmup", "warmup steps", "num classes", "n classes"),
        *("accumulation", "grad accum", "gradient accumulation steps", "n train", "n test", "train size", "rank"),
    )
)
KEYS = frozenset(
    (
        *(
            "run",
            "run id",
            "run name",
            "run uuid",
            "runid",
            "runname",
            "experiment",
            "experiment name",
            "exp",
            "exp id",
        ),
        *("exp name", "experiment id", "seed", "random seed", "fold", "cv fold", "trial", "trial id", "trial name"),
        *("model", "model name", "arch", "architecture", "backbone", "network", "net", "method", "algorithm", "algo"),
        *("agent", "client", "client id", "config", "config id", "job", "job id", "variant", "optimizer", "setting"),
        *("dataset", "repeat", "repetition", "replicate", "name", "id", "group", "approach", "classifier", "estimator"),
        *("模型", "种子", "算法", "方法", "实验", "run no", "run number", "task", "hp", "hparams", "loss function"),
    )
)
SPLIT_COLUMNS = frozenset(("split", "phase", "mode", "set", "stage", "subset", "dataset", "data", "partition", "type"))
NAME_COLUMNS = frozenset(
    ("metric", "metrics", "metric name", "metric key", "tag", "variable", "quantity", "measure", "scalar", "指标")
)
# Words that may also name the run.
LOOSE_NAME_COLUMNS = frozenset(("name", "key", "type", "curve", "series"))
VALUE_COLUMNS = frozenset(("value", "val", "values", "y", "metric value", "scalar", "score", "值", "数值"))
# What a row is about where rows are no runs: the parts of one evaluation.
PARTS = frozenset(
    (
        *("class", "classes", "class name", "label", "labels", "category", "image", "img", "image id", "image name"),
        *("file", "filename", "file name", "path", "filepath", "case", "case id", "patient", "patient id", "sample"),
        *("sample id", "subject", "subject id", "sentence", "question", "query", "utterance", "video", "slice", "text"),
        *("target", "prediction", "predicted", "y true", "y pred", "feature", "features", "species", "word", "token"),
    )
)
TIMES = frozenset(
    (
        *("time", "timestamp", "wall time", "walltime", "date", "datetime", "created at", "created", "ts", "date time"),
        *("time stamp", "start time", "end time", "logged at", "时间", "日期"),
    )
)
PARAM_HEADER = re.compile(r"(?i)(?:params?|config|hparams?|hp|args?|hyperparameters?)[_./ :].+")
# A step is kept in 64 bits.
STEP_LIMIT = 10**18
_PER_EPOCH = re.compile(r"_epoch$")
# Groups that say who printed a value, not what it is.
_PREFIX = re.compile(r"(?i)^(?:time|misc|charts|perf|custom_metrics|x|logs?|scalars?)/(?=.)")


def words_of(header: str) -> str:
    """The words of a header, in lower case, without marks."""
    return " ".join(_WORD.findall(_CAMEL.sub(" ", header))).lower()


def names_a_run(header: str) -> bool:
    """Whether a column of that name says which run a row is of."""
    return words_of(header) in KEYS


def names_a_run_alone(header: str) -> bool:
    """Whether a column of that name says by itself which run a row is of."""
    words = words_of(header).split()
    return "run" in words or words in (["runid"], ["name"], ["trial", "name"], ["experiment", "name"])


def is_setting(header: str) -> bool:
    """Whether a column of that name says what was chosen before the run, where it never changes."""
    return words_of(header) in SETTINGS or PARAM_HEADER.fullmatch(header) is not None


def role_of(header: str) -> metrics.StepRole | None:
    """What a header counts, whatever group it stands in: `time/total_timesteps`, `_step`."""
    last = header.rsplit("/", 1)[-1].strip("_ #")
    return metrics.step_role(last) or ("iteration" if words_of(last) in _RANK_OF else None)


def step_unit_of(role: metrics.StepRole | None, words: str) -> str:
    """What a counter counts, by its role and the words of its header."""
    if role == "epoch":
        return "epoch"
    return "step" if any(word in words for word in ("step", "frame", "interacts")) else "iteration"


def rank_of(header: str) -> int:
    """How good a step a counter is, 0 the best: what counts the whole training before what begins again."""
    return _RANK_OF.get(words_of(header.rsplit("/", 1)[-1]), _COMMON_RANK)


def count_of(cell: str) -> int | None:
    """A whole number that the store can hold, however it is written: `3`, `3.0`, `1e+03`, `3/200`, `Epoch 3`."""
    if found := COUNT.fullmatch(cell.strip()):
        return int(found[1])
    number = number_of(cell)
    value = float(number[0]) if number else 0.5
    return int(value) if value.is_integer() and abs(value) < STEP_LIMIT else None


def time_ms(cell: str) -> int | None:
    """A date with a time, or seconds, milli-, micro- or nanoseconds since 1970; a date without a zone is taken for
    UTC."""
    text = cell.strip()
    try:
        number = float(text)
    except ValueError:
        if not re.match(r"\d{4}-\d\d-\d\d", text):
            return None
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            return None
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 5e8 < number < 5e18:
        return None
    return round(
        number * 1000 if number < 5e10 else number if number < 5e13 else number / 1000 ** (1 + (number > 5e16))
    )


def step_rank(header: str) -> int | None:
    """How good a step a counter is, 0 the best; None for what counts no steps."""
    return rank_of(header) if role_of(header) else None


def metric_of(header: str, step_unit: str, split: str | None = None) -> Metric:
    """The curve of a header. split: what stands around it says, where the header says nothing."""
    return _named(header, header, step_unit, split)


def _named(label: str, header: str, step_unit: str, split: str | None) -> Metric:
    unit: Unit | None = None
    text = header
    if found := UNIT.search(header):
        unit = metrics.UNIT_WORDS.get(found[1].lower())
        # YOLO says of what a result is: boxes, masks or poses.
        text = header[: found.start()] if unit or found[1] == "B" else header
    text = _PREFIX.sub("", re.sub(r"^metrics/", "val/", text)).strip()
    if text.startswith("%") or text.endswith("%"):
        # Torch7 heads a column "% accuracy"; elsewhere a mark in front is a comment's.
        unit, text = None if "loss" in text.lower() else "percent", text.strip("% ")
    text = text.replace("_0.5:0.95", "50-95").replace("_0.5", "50")
    if _PER_EPOCH.search(text) and metrics.is_known(bare := _PER_EPOCH.sub("", text)):
        # Lightning says of a mean over the epoch that it is one.
        text = bare
    if split and metrics.meaning_of(text).split is None:
        text = f"{split} {text}"
    kind = ASIDE if metrics.is_aside(label) or metrics.is_aside(text.rsplit("/", 1)[-1]) else CURVE
    return Metric(label, metrics.canonical(text), kind, unit, step_unit)


def is_result(label: str) -> bool:
    """Whether a label names what a training is judged by: known, better or worse, and no time."""
    meaning = metrics.meaning_of(re.sub(r"^.*/(?=.)", "", UNIT.sub("", label)))
    name = metrics.canonical(UNIT.sub("", label)).rsplit("/", 1)[-1]
    last = meaning.words.rsplit(" ", 1)[-1]
    if name in ("time", "epoch_time") or last == "time":
        return False
    # "box loss" is a loss. A server counts errors too.
    judged = metrics.better(name) or (last != "error" and metrics.better(last))
    return judged is not None and (name != "error" or metrics.meaning_of(label).split is not None)


def is_generic(header: str) -> bool:
    """Whether the header says nothing of the quantity: `value`, or a split's word alone."""
    meaning = metrics.meaning_of(header)
    return words_of(header) in VALUE_COLUMNS or (meaning.split is not None and not meaning.words)


def metric_from_place(header: str, where: str, step_unit: str) -> Metric:
    """The curve of a column whose header says little, by the file's name and its folders (DVCLive, TensorBoard)."""
    parts = [part for part in re.split(r"[/\\]|__|-(?=tag-)", re.sub(r"\.\w{1,5}$", "", where)) if part]
    split = metrics.meaning_of(header).split
    for part in reversed(parts):
        tag = part.startswith("tag-")
        text = part.removeprefix("tag-")
        if tag or is_result(text) or metrics.is_known(text):
            words = metrics.meaning_of(text).words
            return replace(_named(header, f"{split} {words}" if split else text, step_unit, None), label=header)
    return metric_of(header, step_unit)


def split_around(headers: Sequence[str], where: str) -> str | None:
    """The split that a file's name or folder says, where no header says one: `test.log`, `metrics/val/loss.tsv`."""
    if any(metrics.meaning_of(header).split for header in headers):
        return None
    parts = [part for part in re.split(r"[/\\]|__", re.sub(r"\.\w{1,5}$", "", where)) if part]
    for part in reversed(parts[-2:]):
        words = [word for word in words_of(part).split() if metrics.meaning_of(word).split]
        if len(words) == 1 and (part is parts[-1] or words[0] == part.lower()):
            return metrics.meaning_of(words[0]).split
    return None
