"""Numbers without a header: one to a line, or MLflow's `timestamp value step`.

What they are only the file's name can say (`loss.txt`, `metrics/val_acc`); a name that says nothing makes no curve of
numbers that stand alone.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import PurePath

from expdb import metrics
from expdb.parsers import CERTAIN, Options
from expdb.parsers.digits import decimals_of
from expdb.parsers.logs.lines import EXAMPLES
from expdb.parsers.reading import Reading, Sample
from expdb.parsers.runs import Boundaries
from expdb.parsers.tabular.headers import is_result, metric_of, split_around, time_ms
from expdb.records import Curve, Event, LineKind, Metric, Points, RunStart, Unparsed

NAME = "series"
VERSION = 1
SUMMARY = "numbers without a header, one to a line, named by the file; MLflow's metric files `timestamp value step`"

_NUMBER = r"[-+]?(?:(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?+|(?i:nan|inf(?:inity)?))"
_ALONE = re.compile(rf"[ \t]*\[?({_NUMBER}),?\]?[ \t\r]*")
_MLFLOW = re.compile(rf"(\d{{12,13}}) ({_NUMBER})(?: (-?\d{{1,18}}))?[ \t\r]*")
_START = re.compile(r"[ \t\[]*[-+.\dni]", re.IGNORECASE)
_HEAD = 50
_TEXT_LIMIT = 200
# `train_loss_list.txt`, `resnet18_val_acc_epochs`: words that say nothing of the numbers.
_PACKING = re.compile(
    r"(?i)(?:^|[_\W])(?:list|log|logs|history|hist|curve|values?|epochs?|all|data|record|final|txt)(?=$|[_\W])"
)


def recognise(sample: Sample) -> float:
    """Certain of MLflow's files and of numbers that the file's name names."""
    if not _START.match(sample.text):
        return 0.0
    lines = [line for line in sample.text.split("\n", _HEAD)[:_HEAD] if line and not line.isspace()]
    records = list(takewhile(bool, map(_MLFLOW.fullmatch, lines)))
    if len(records) == len(lines):
        # Without a step these may be anything that was measured.
        stepped = all(record[3] is not None for record in records if record)
        return CERTAIN if stepped or is_result(sample.name) else 0.0
    return CERTAIN if len(lines) > 1 and all(map(_ALONE.fullmatch, lines)) and _named(sample.name) else 0.0


def _named(path: str) -> Metric | None:
    """The metric that a file's name says, None where it says none."""
    name = PurePath(path).name
    stem = re.sub(r"\.(?:txt|csv|tsv|log|dat|out|list)$", "", re.split(r"__", name)[-1])
    words = _PACKING.sub(" ", _PACKING.sub(" ", stem.replace("-", "_"))).strip("_ ")
    parts = words.split("_")
    # What stands in front may be the run's name.
    for first in range(len(parts)):
        label = "_".join(parts[first:])
        if metrics.is_known(label) and (is_result(label) or metrics.canonical(label).endswith("lr")):
            around = split_around([label], path)
            return Metric(stem, metric_of(label, "row", around).name, step_unit="row")
    return None


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """One run; MLflow's steps may begin again, which is another."""
    del options
    mlflow = _MLFLOW.match(reading.sample.text) is not None
    metric = metric_of(_key(reading.path), "step") if mlflow else _named(reading.path)
    pattern = _MLFLOW if mlflow else _ALONE
    if metric is None:
        metric = Metric(reading.name, reading.name, step_unit="row")
    metric = Metric(metric.label, metric.name, unit=metric.unit, step_unit=metric.step_unit)
    bounds, index, rows, missed = Boundaries("step"), -1, 0, 0
    examples: list[tuple[int, str]] = []
    first: tuple[int, str] | None = None
    for block in reading.blocks():
        found: list[tuple[int, re.Match[str]]] = []
        for number, line in enumerate(block.text.split("\n"), block.line):
            if match := pattern.fullmatch(line):
                found.append((number, match))
            elif line and not line.isspace():
                missed += 1
                if len(examples) < EXAMPLES:
                    examples.append((number, line[:_TEXT_LIMIT]))
        if not found:
            continue
        first = first or (found[0][0], found[0][1].string[:_TEXT_LIMIT])
        stepped = mlflow and found[0][1][3] is not None
        steps = [int(m[3] or rows + i) if stepped else rows + i for i, (_, m) in enumerate(found)]
        rows += len(found)
        starts = dict(bounds.starts((n, s) for (n, _), s in zip(found, steps, strict=True))) if stepped else {}
        cuts = [0] if index < 0 else []
        cuts = sorted({*cuts, *(i for i, (n, _) in enumerate(found) if n in starts)})
        edges = cuts if cuts and cuts[0] == 0 else [0, *cuts]
        for low, high in zip(edges, [*edges[1:], len(found)], strict=True):
            lines = [number for number, _ in found[low:high]]
            if low in cuts:
                index += 1
                yield RunStart(index, lines[0], reason=starts.get(lines[0]))
            texts = [match[2 if mlflow else 1] for _, match in found[low:high]]
            times = [time_ms(match[1]) for _, match in found[low:high]] if mlflow else None
            values = list(map(float, texts))
            yield Points(
                index,
                (Curve(metric, steps[low:high], values, lines, decimals_of(texts), times_ms=times),),
                lines[-1],
            )
    if first:
        what = "MLflow's metric" if mlflow else "named by the file"
        yield LineKind(*first, rows, "the third number" if mlflow else None, ((metric.label, metric.name, what),))
    yield Unparsed(missed, tuple(examples))


def _key(path: str) -> str:
    """MLflow's key of a metric file: its path below `metrics`."""
    parts = PurePath(path).parts
    return "/".join(parts[parts.index("metrics") + 1 :]) if "metrics" in parts[:-1] else PurePath(path).name
