"""Which field of records is the step, which step every record has, and which run it belongs to."""

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from expdb.parsers.jsons import fields
from expdb.parsers.jsons.columns import Kind, Survey
from expdb.parsers.runs import Boundaries

# An evaluation comes at most once in so many records of the training.
_RARE = 2
# What the rows of a kind are.
_LEADS, _FOLLOWS, _STATES = range(3)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins: its first record, the line of that, and why."""

    run: int
    row: int
    line: int
    reason: str | None


@dataclass(slots=True)
class Steps:
    """The step of every record. label: the field it stands in, None where the records are counted. epoch_label: the
    field that says the epoch beside it. owners: the run of each record, -1 for one that states settings alone;
    settings: (row, run) of those. evaluations: the kinds of record that follow a training without saying so."""

    unit: str
    why: str
    label: str | None
    epoch_label: str | None
    steps: "array[int]"
    epochs: "array[float] | None"
    owners: "array[int]"
    starts: list[Start] = field(default_factory=list)
    settings: list[tuple[int, int]] = field(default_factory=list)
    setting_kinds: set[int] = field(default_factory=set)
    evaluations: set[int] = field(default_factory=set)
    _firsts: dict[tuple[int, int], int] = field(default_factory=dict)

    def firsts(self, kind: Kind) -> Iterator[tuple[int, int]]:
        """(run, row) of the first record of that kind in every run that has one."""
        for (place, run), row in self._firsts.items():
            if place == kind.place:
                yield run, row

    def runs_of(self, kind: Kind) -> set[int]:
        """The runs that have records of the kind."""
        return {run for run, _ in self.firsts(kind)}


@dataclass(frozen=True, slots=True)
class _Counter:
    """A field that may be the step. share: of the training's records that have it; everywhere: of all; moves: it is
    not always the same."""

    label: str
    share: float
    everywhere: int
    whole: bool
    moves: bool


def steps_of(survey: Survey) -> Steps:
    """The steps of all records that were surveyed."""
    roles = _roles(survey)
    evaluations = _evaluations(survey, roles)
    leading = [kind for kind in survey.kinds if roles[kind.place] == _LEADS]
    step = _best(_counters(survey, leading, "iteration"), must_be_whole=True)
    epoch = _best(_counters(survey, leading, "epoch"), must_be_whole=False)
    if step and epoch and epoch.moves and not step.moves:
        step = None
    counts = _values(survey, step.label) if step else None
    epochs = _values(survey, epoch.label) if epoch else None
    n = len(survey.lines)
    if step and (not epoch or not counts or not epochs or not _restarts(survey, roles, counts, epochs)):
        word = step.label.rpartition("/")[2].partition("/")[0]
        unit = "step" if "step" in word.lower() else "iteration"
        why = f"the step: {step.label} counts on"
        out = Steps(unit, why, step.label, epoch.label if epoch else None, array("q", bytes(8 * n)), epochs, array("i"))
    elif epoch and epoch.whole:
        why = "the step: the epoch"
        if step:
            why += f", for {step.label} begins again in each"
        out = Steps("epoch", why, epoch.label, None, array("q", bytes(8 * n)), None, array("i"))
        counts = epochs
    else:
        out = Steps("row", "", None, epoch.label if epoch else None, array("q", bytes(8 * n)), epochs, array("i"))
        counts = None
    out.evaluations = evaluations
    out.setting_kinds = {place for place, role in enumerate(roles) if role == _STATES}
    _walk(survey, roles, out, counts, epochs)
    return out


def _roles(survey: Survey) -> list[int]:
    """What each kind of record does: leads the training, follows it, or states settings."""
    out: list[int] = []
    bare: list[Kind] = []
    for kind in survey.kinds:
        if kind.measures:
            out.append(_FOLLOWS if kind.follows else _LEADS)
            continue
        counted = any(
            label in kind.columns and kind.columns[label].numbers and fields.rank_of(label) < fields.PLURAL
            for label in kind.counters
        )
        numbers = all(column.numbers for column in kind.columns.values())
        out.append(_LEADS if counted or numbers else _STATES)
        if not counted and numbers:
            bare.append(kind)
    told = [kind for kind in survey.kinds if kind not in bare]
    # Where nothing is told of the training, it is its validations that follow the numbers.
    for role in (_LEADS, _FOLLOWS):
        if any(out[kind.place] == role for kind in told):
            told = [kind for kind in told if out[kind.place] == role]
            break
    first = min((kind.rows[0] for kind in told), default=0)
    names = any(kind.token for kind in told)
    for kind in bare:
        # Numbers that nobody measured, ahead of the training; or which alone name it, ahead of each of several.
        if kind.rows[-1] < first or (kind.token and told and not names):
            out[kind.place] = _STATES
    if _LEADS not in out:
        return [_LEADS if role == _FOLLOWS else role for role in out]
    return out


def _evaluations(survey: Survey, roles: list[int]) -> set[int]:
    """The kinds of record that follow a training without saying so, which are then told to: they measure no loss,
    and are rare among those that do."""
    leading = [kind for kind in survey.kinds if roles[kind.place] == _LEADS and kind.split is None]
    training = sum(len(kind.rows) for kind in leading if kind.trains)
    found = {kind.place for kind in leading if kind.measures and not kind.trains and len(kind.rows) * _RARE <= training}
    for place in found:
        roles[place] = _FOLLOWS
    return found


def _counters(survey: Survey, kinds: list[Kind], role: str) -> list[_Counter]:
    columns: dict[str, list[array[float]]] = {}
    for kind in kinds:
        for label, values in kind.counters.items():
            if fields.role_of(label) == role:
                columns.setdefault(label, []).append(values)
    records = sum(len(kind.rows) for kind in kinds)
    out = []
    for label, some in columns.items():
        numbers = [value for values in some for value in values if value == value]
        # An "epoch" of 1639643170 is a time of day.
        if numbers and (role != "epoch" or max(numbers) < fields.LATEST):
            whole = all(map(float.is_integer, numbers))
            everywhere = sum(len(kind.rows) for kind in survey.kinds if label in kind.counters)
            out.append(_Counter(label, len(numbers) / records, everywhere, whole, min(numbers) < max(numbers)))
    return out


def _best(counters: list[_Counter], *, must_be_whole: bool) -> _Counter | None:
    """The field that counts best: one that moves, that most records have."""
    rated = []
    for one in counters:
        rank = fields.rank_of(one.label)
        if (must_be_whole and not one.whole) or (not one.moves and rank >= fields.DOUBTFUL):
            continue
        rated.append(((not one.moves, one.share < 0.5, rank, -one.share, -one.everywhere), one.label, one))
    return min(rated)[2] if rated else None


def _values(survey: Survey, label: str) -> "array[float]":
    """The field's number in each record, NaN where it has none."""
    out = array("d", [math.nan]) * len(survey.lines)
    counted = fields.counted_by(label)
    for kind in survey.kinds:
        same = [label] if label in kind.counters else [x for x in kind.counters if fields.counted_by(x) == counted]
        for row, value in zip(kind.rows, kind.counters[same[0]], strict=True) if same else ():
            out[row] = value
    return out


def _restarts(survey: Survey, roles: list[int], counts: Iterable[float], epochs: Iterable[float]) -> bool:
    """Whether the count falls back where the epoch goes on."""
    last: dict[tuple[str, ...], tuple[float, float]] = {}
    for place, count, epoch in zip(survey.kind_of, counts, epochs, strict=True):
        if roles[place] == _LEADS and count == count and epoch == epoch:
            token = survey.kinds[place].token
            before = last.get(token)
            if before and epoch > before[1] and count < before[0]:
                return True
            last[token] = (count, epoch)
    return False


@dataclass(slots=True)
class _Open:
    """A training while its records are walked."""

    boundaries: Boundaries
    run: int = -1
    step: int = 0
    count: int = 0
    epoch: float = math.nan
    led: bool = False


def _walk(
    survey: Survey, roles: list[int], out: Steps, counts: "array[float] | None", epochs: "array[float] | None"
) -> None:
    """Give every record its step and its run."""
    trust = [_trusted(kind, out.label) for kind in survey.kinds]
    tokens = {kind.token for kind in survey.kinds if roles[kind.place] != _STATES}
    word = (out.label or out.epoch_label or "row").rpartition("/")[2]
    opened: dict[tuple[str, ...], _Open] = {}
    waiting: list[int] = []
    places, lines, owners, steps = survey.kind_of, survey.lines, out.owners, out.steps
    # Where records are counted, only an epoch tells that another training began.
    marks = counts if counts is not None else epochs
    for row, place in enumerate(places):
        role = roles[place]
        if role == _STATES:
            waiting.append(row)
            owners.append(-1)
            continue
        kind = survey.kinds[place]
        one = opened.get(kind.token)
        if one is None:
            one = opened[kind.token] = _Open(Boundaries(word))
            reason = f"{_said(kind)} at line {lines[row]}" if len(tokens) > 1 else None
            _begin(out, one, row, waiting, lines, reason)
        own = counts[row] if counts is not None else math.nan
        if one.led and counts is not None and epochs is not None and _is_epoch(own, epochs[row], one):
            # The epoch where the training counts iterations, as mmengine writes it: a validation.
            own, role = math.nan, _FOLLOWS
        if role == _LEADS:
            mark = marks[row] if marks is not None else math.nan
            if mark == mark:
                for _, reason in one.boundaries.starts(((lines[row], mark),)):
                    _begin(out, one, row, waiting, lines, reason)
                one.led = True
            if waiting:
                out.settings += [(stated, one.run) for stated in waiting]
                waiting = []
            if counts is None:
                one.step, one.count = one.count, one.count + 1
            elif own == own:
                one.step = int(own)
            if epochs is not None and epochs[row] == epochs[row]:
                one.epoch = epochs[row]
            steps[row] = one.step
        else:
            # Under another name it may count something else, but not if it goes on.
            known = own == own and trust[place] and (own >= one.step or out.label in kind.counters)
            steps[row] = int(own) if known else one.step
        if out.epochs is not None and out.epochs[row] != out.epochs[row]:
            out.epochs[row] = one.epoch
        owners.append(one.run)
        out._firsts.setdefault((place, one.run), row)
    for stated in waiting:
        out.settings.append((stated, out.starts[-1].run if out.starts else -1))


def _begin(out: Steps, one: _Open, row: int, waiting: list[int], lines: "array[int]", reason: str | None) -> None:
    first = waiting[0] if waiting else row
    one.run, one.step, one.count, one.epoch = len(out.starts), 0, 0, math.nan
    out.starts.append(Start(one.run, first, lines[first], reason))


def _is_epoch(own: float, epoch: float, one: _Open) -> bool:
    """Whether what stands where the iteration stands is the epoch that just ended."""
    return own == own and epoch != epoch and own < one.step and own == one.epoch


def _said(kind: Kind) -> str:
    labels = [label for label in kind.labels if fields.says_run(label)]
    return ", ".join(f"{label} is {value}" for label, value in zip(labels, kind.token, strict=True)) or "no name"


def _trusted(kind: Kind, label: str | None) -> bool:
    """Whether a validation's own count is the training's: not where it counts the validation's batches."""
    if kind.split is None or label is None or fields.role_of(label) == "epoch":
        return True
    if kind.split_label == "mode" and label == "iter":
        return False
    values = kind.counters.get(label)
    return values is None or len(values) < 2 or min(values) < max(values)
