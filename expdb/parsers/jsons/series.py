"""Curves that a JSON document holds as lists: of numbers (Keras), of [time, step, value] (TensorBoard), or steps and
values side by side (Sacred)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from expdb import metrics
from expdb.parsers.digits import decimals_of
from expdb.parsers.jsons import fields
from expdb.parsers.jsons.text import PRINTED, JsonValue, elements
from expdb.parsers.tabular.headers import STEP_LIMIT
from expdb.records import ASIDE, CURVE, Curve, Event, LineKind, Metric, Points, RunStart

Path = tuple[str, ...]
Lists = Sequence[tuple[Path, int, JsonValue]]

# Wall times that TensorBoard may have written, in seconds since 1970.
_FIRST_TIME, _LAST_TIME = 1e9, 1e11
_LATEST_STEP = 2**62
_ALONE = 3


@dataclass(frozen=True, slots=True)
class Series:
    """One curve. path: where it stands; at: where its list begins; steps: of each value, counting unit; tag: the
    folder its name began with. place: which item of each element is the value, None where the element is."""

    path: Path
    label: str
    at: int
    steps: Sequence[int]
    unit: str
    why: str
    place: int | None = None
    times_ms: Sequence[int] | None = None
    tag: str | None = None


def series_events(
    text: str, series: Sequence[Series], params: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[Event]:
    """One run with all the curves."""
    asides = [one for one in series if fields.is_aside(one.label)]
    if len(asides) == len(series):
        asides = []
    curves: list[Curve] = []
    told: list[LineKind] = []
    first = 0
    last = 1
    for one in sorted(series, key=lambda one: one.at):
        curve = _curve(text, one, ASIDE if one in asides else CURVE)
        if curve is None:
            continue
        curves.append(curve)
        line = text.count("\n", 0, one.at) + 1
        first = first or line
        last = max(last, curve.lines[-1] or 1)
        why = "printed beside results" if one in asides else f"a curve; its steps: {one.why}"
        shown = " ".join(text[one.at : one.at + 300].split())[:160]
        told.append(LineKind(line, f"{one.label}: {shown}", 1, one.why, ((one.label, curve.metric.name, why),)))
    if curves:
        name = next((one.tag for one in series if one.tag), None)
        yield RunStart(0, first, name.rpartition("/")[2] if name else None, params, tags)
        yield Points(0, tuple(curves), last)
    yield from told[:12]


def _curve(text: str, one: Series, kind: str) -> Curve | None:
    lines: list[int] = []
    texts: list[str] = []
    values: list[float] = []
    kept: list[int] = []
    line, before = 1, 0
    for at, (start, _, element) in enumerate(elements(text, one.at, PRINTED)):
        line += text.count("\n", before, start)
        before = start
        printed = element if one.place is None else element[one.place] if isinstance(element, list) else None
        number = fields.number_of(printed)
        if number is None or at >= len(one.steps):
            continue
        kept.append(at)
        lines.append(line)
        texts.append(str(printed))
        values.append(number)
    if not values:
        return None
    metric = Metric(one.label, metrics.canonical(one.label), ASIDE if kind == ASIDE else CURVE, None, one.unit)
    steps = [one.steps[at] for at in kept]
    times = [one.times_ms[at] for at in kept] if one.times_ms is not None else None
    return Curve(metric, steps, values, lines, decimals_of(texts), None, times)


def by_place(lists: Lists) -> list[Series]:
    """Lists of numbers of which one at least measures something, as Keras keeps its history: the n-th value is of
    the n-th epoch, unless a list beside them counts."""
    numbers = [(path, at, list(value)) for path, at, value in lists if isinstance(value, list) and _are_numbers(value)]
    if not any(fields.is_measured("/".join(path)) for path, _, _ in numbers):
        return []
    # Alone, a pair of numbers is a range.
    if len(numbers) == 1 and len(numbers[0][2]) < _ALONE:
        return []
    lengths = {len(v) for path, _, v in numbers if fields.is_measured("/".join(path))}
    splits = {metrics.meaning_of("/".join(path)).split for path, _, _ in numbers}
    unit, why = ("epoch", "its place, counted from 0, is the epoch") if len(splits) > 1 else ("row", "counted from 0")
    out = []
    counters = [(path, v) for path, _, v in numbers if fields.role_of(path[-1]) and _rise(v)]
    for path, at, values in numbers:
        label = "/".join(path)
        if any(path == one for one, _ in counters):
            continue
        if not fields.is_measured(label) and (len(values) not in lengths or len(values) < 2):
            continue
        steps: Sequence[int] = range(len(values))
        said, because = unit, why
        for counter, counted in counters:
            if len(counted) == len(values) and counter[:-1] == path[: len(counter) - 1]:
                steps = [int(fields.number_of(one) or 0) for one in counted]
                role = fields.role_of(counter[-1])
                said = "epoch" if role == "epoch" else "step" if "step" in counter[-1].lower() else "iteration"
                because = counter[-1]
                break
        out.append(Series(path, _without_wrapper(path), at, steps, said, because))
    return out


def _without_wrapper(path: Path) -> str:
    """The label, without a first name that only says that this is a history."""
    return "/".join(path[1:] if len(path) > 1 and path[0].lower() in ("history", "hist", "logs", "log") else path)


def _are_numbers(values: Sequence[JsonValue]) -> bool:
    return (
        bool(values)
        and any(v is not None for v in values)
        and all(v is None or fields.number_of(v) is not None for v in values)
    )


def _rise(values: Sequence[JsonValue]) -> bool:
    """Whether they are whole numbers that never fall."""
    numbers = [number for number in map(fields.number_of, values) if number is not None and abs(number) < _LATEST_STEP]
    return len(numbers) == len(values) and numbers == sorted(map(float, map(int, numbers)))


def exported(lists: Lists, name: str) -> list[Series]:
    """Lists of [wall time, step, value], as TensorBoard's export_scalars_to_json and its download button write them.

    name: of the file, which says the tag where no key does.
    """
    found = [(path, at, value) for path, at, value in lists if isinstance(value, list) and _are_scalars(value)]
    if not found or len(found) * 2 < len(lists):
        return []
    # A key is the path of the writer's folder, and ends in the tag, or twice in the tag.
    paths = [tuple("/".join(path).split("/")) if path else () for path, _, _ in found]
    shared = _shared(paths)
    folder = "/".join(paths[0][:shared]) or None
    out = []
    for (path, at, value), parts in zip(found, paths, strict=True):
        label = "/".join(_once(parts[shared:])) if parts else _tag_of(name)
        steps = [int(fields.number_of(one[1]) or 0) for one in value if isinstance(one, list)]
        times = [round((fields.number_of(one[0]) or 0) * 1000) for one in value if isinstance(one, list)]
        out.append(Series(path, label, at, steps, "step", "the second number", 2, times, folder))
    return out


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """How many parts all paths begin with, none of which belongs to a tag."""
    least = min(map(len, paths))
    shared = 0
    while shared < least - 1 and len({path[shared] for path in paths}) == 1:
        shared += 1
    while shared and (fields.is_measured(paths[0][shared - 1]) or metrics.is_known(paths[0][shared - 1])):
        shared -= 1
    return shared


def _once(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`train_loss/train_loss` as add_scalars writes it is one name."""
    return parts[:-1] if len(parts) > 1 and parts[-1] == parts[-2] else parts


def _tag_of(name: str) -> str:
    """The tag in the name that the download button gives: run-NAME-tag-TAG."""
    return name.rpartition("-tag-")[2] or name


def _are_scalars(values: Sequence[JsonValue]) -> bool:
    for one in values:
        if not isinstance(one, list) or len(one) != 3:
            return False
        time, step, value = map(fields.number_of, one)
        if time is None or step is None or value is None or not _FIRST_TIME <= time < _LAST_TIME:
            return False
        if not abs(step) < _LATEST_STEP or step != int(step):
            return False
    return bool(values)


def sacred(lists: Lists) -> list[Series]:
    """Curves with a list of steps and a list of values, as Sacred writes metrics.json."""
    known: dict[Path, dict[str, tuple[int, list[JsonValue]]]] = {}
    for path, at, value in lists:
        if isinstance(value, list) and len(path) > 1 and path[-1] in ("steps", "values", "timestamps", "step", "value"):
            known.setdefault(path[:-1], {})[path[-1].rstrip("s")] = (at, value)
    out = []
    for path, parts in known.items():
        if "step" not in parts or "value" not in parts:
            continue
        (_, steps), (at, values) = parts["step"], parts["value"]
        if len(steps) != len(values) or not _are_numbers(values) or not _are_numbers(steps) or None in steps:
            continue
        numbers = [fields.number_of(one) or 0 for one in steps]
        if not all(abs(number) < STEP_LIMIT for number in numbers):
            continue
        counted = list(map(int, numbers))
        times = [_time_ms(one) for one in parts["timestamp"][1]] if "timestamp" in parts else []
        whole = [time for time in times if time is not None]
        label = "/".join(path)
        out.append(Series(path, label, at, counted, "step", "steps", None, whole if len(whole) == len(steps) else None))
    return out


def _time_ms(text: JsonValue) -> int | None:
    try:
        return round(datetime.fromisoformat(str(text)).replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
