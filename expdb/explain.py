"""Why a file was understood as it was: what `parse --explain` says beside the preview, and what to type next."""

import re
from dataclasses import dataclass

from expdb import metrics
from expdb.errors import InputError
from expdb.invocation import shown_command
from expdb.preview import Preview
from expdb.records import ASIDE, Cell, LineKind, Unit
from expdb.reports.text import brief

_NAMED = 3
# What readers say of a table's columns that hold numbers and have no known name.
_UNNAMED_COLUMNS = "a table of numbers: "
_ANY_PATTERN = r"epoch (?P<epoch>\d+).*?loss (?P<loss>\S+)"
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_LAST_WORD = re.compile(r"([^\W\d]\w*)\W*$")
_SUGGESTED = 200
_MOST_GROUPS = 5


@dataclass(frozen=True, slots=True)
class UnitFound:
    """A metric's unit, over all runs of the file, and why it is that."""

    label: str
    name: str
    unit: Unit | None
    why: str


@dataclass(frozen=True, slots=True)
class Next:
    """What a person may type now. why: what for."""

    why: str
    command: str


def asides(found: Preview) -> list[str]:
    """Labels of what is printed beside the results and not stored."""
    return list({one.label: None for run in found.runs for one in run.metrics if one.kind == ASIDE})


def units(found: Preview) -> list[UnitFound]:
    """The units of all results that have one, or could have one."""
    ranges: dict[tuple[str, str], list[tuple[float, int | None]]] = {}
    printed: dict[tuple[str, str], Unit | None] = {}
    guessed: dict[tuple[str, str], Unit | None] = {}
    for run in found.runs:
        for one in run.metrics:
            if one.kind == ASIDE:
                continue
            said = one.name, one.label
            if one.unit_is_printed:
                printed[said] = one.unit
            guessed[said] = guessed.get(said) or one.unit
            ends = one.summary.min_value, one.summary.max_value
            ranges.setdefault(said, []).extend((end, one.decimals) for end in ends if end is not None)
    out = []
    for (name, label), unit in guessed.items():
        quantity = metrics.meaning_of(name.rpartition("/")[2]).quantity
        values = ranges[name, label]
        low, high = (brief(Cell(*end)) for end in (min(values), max(values))) if values else ("nan", "nan")
        if (name, label) in printed:
            why = "the source says so"
        elif unit in metrics.RATIOS:
            why = f"a share of one, and the values go from {low} to {high}"
        elif unit:
            why = "no unit is printed, and such times are in seconds"
        elif quantity and quantity.ratio:
            why = f"not known: a share of one, but the values go from {low} to {high}"
        else:
            continue
        out.append(UnitFound(label, name, unit, why))
    return out


def run_reasons(found: Preview) -> list[str]:
    """For each run why it begins where it does."""
    page = found.format == "page"
    first = "the first on the page" if page else "the first"
    return [run.reason or (first if n == 0 else "a part of its own on the page" if page else "a record of its own")
            for n, run in enumerate(found.runs)]  # fmt: skip


def next_steps(found: Preview) -> list[Next]:
    """What to type, most useful first."""
    file = shown_command([found.file])
    out: list[Next] = []
    parse = f"expdb parse {file}"
    if found.runs:
        out.append(Next("if this is right, store it", f"expdb ingest {file}"))
        out.append(Next("the numbers themselves", parse))
    columns = [text.removeprefix(_UNNAMED_COLUMNS) for _, text in found.examples if text.startswith(_UNNAMED_COLUMNS)]
    if columns:
        # The first column says what the rows are.
        headers = [one.strip() for one in columns[0].split("|")][1:] or columns[:1]
        named = ",".join([one for one in headers if one and "," not in one][:_NAMED])
        out.append(Next("columns of a table that are results", f"{parse} --metric-columns {shown_command([named])}"))
    others = [name for name, sure in found.sureness.items() if sure > 0 and name != found.format]
    if others:
        out.append(Next("if it is of another format", f"{parse} --as {others[0]}"))
    if (found.unparsed * 2 > found.lines or not found.runs) and not columns:
        # The line that names most is likeliest to be one of a training.
        regexes = [suggested(text) or "" for _, text in found.examples]
        regex = max(regexes, key=lambda one: one.count("(?P<"), default="") or _ANY_PATTERN
        why = "lines with results that were not understood: name what is in them"
        out.append(Next(why, f"{parse} --pattern {shown_command([regex])}"))
    if not found.runs:
        out.append(Next("all formats", "expdb parse --formats"))
    unknown = [
        one.label
        for one in {one.label: one for run in found.runs for one in run.metrics if one.kind != ASIDE}.values()
        if not metrics.is_known(one.label) and metrics.better(one.name) is None
    ]
    if unknown:
        said = ", ".join(unknown[:_NAMED]) + (f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else "")
        names = f'[aliases] "{unknown[0]}" = "test/accuracy", or [quantities.NAME] better = "max"'
        out.append(Next(f"nobody knows which way these are better: {said}", f"in expdb.toml: {names}"))
    return out


def suggested(line: str) -> str | None:
    """A regex for lines like this one, its numbers named by the words before them; None where no word is."""
    out: list[str] = []
    names: list[str] = []
    at = 0
    for found in _NUMBER.finditer(line[:_SUGGESTED]):
        between = line[at : found.start()]
        word = _LAST_WORD.search(between)
        name = word[1].lower() if word and len(names) < _MOST_GROUPS else ""
        if not name or name in names:
            if names:
                out.append(_literal(between) + r"\S+")
                at = found.end()
            continue
        out.append(_literal(between if names else between[word.start() :] if word else ""))
        value = r"\d+" if metrics.step_role(name) else r"[-+.\deE]+"
        out.append(f"(?P<{name}>{value})")
        names.append(name)
        at = found.end()
    return "".join(out) if any(not metrics.step_role(name) for name in names) else None


def _literal(text: str) -> str:
    """The text as a pattern, its numbers and blanks free."""
    pieces = re.findall(r"\s+|\d+|[^\s\d]+", text)
    return "".join(r"\s+" if p.isspace() else r"\d+" if p.isdecimal() else re.escape(p) for p in pieces)


def sure(sureness: float) -> str:
    """How sure a reader is, in words."""
    return "certain" if sureness >= 1 else f"{sureness:.0%} sure"


def as_json(found: Preview) -> dict[str, object]:
    """The explanation as JSON values."""
    return {
        "encoding": found.encoding,
        "sureness": found.sureness,
        "kinds": [_kind_json(kind) for kind in found.kinds],
        "runs": [
            {"name": run.name, "line_first": run.line_first, "line_last": run.line_last, "reason": reason}
            for run, reason in zip(found.runs, run_reasons(found), strict=True)
        ],
        "units": [{"label": u.label, "name": u.name, "unit": u.unit, "why": u.why} for u in units(found)],
        "asides": asides(found),
        "unparsed": {
            "count": found.unparsed,
            "examples": [{"line": line, "text": text} for line, text in found.examples],
        },
        "next": [{"why": one.why, "command": one.command} for one in next_steps(found)],
    }


def _kind_json(kind: LineKind) -> dict[str, object]:
    fields = [{"label": label, "name": name, "taken_for": why} for label, name, why in kind.fields]
    return {"line": kind.line, "text": kind.text, "count": kind.count, "step": kind.step, "fields": fields}


def nothing_matched(found: Preview) -> InputError:
    """The error of a person's pattern that gave no run."""
    if found.kinds:
        return InputError(
            "the regex matches, but where its groups are there are no numbers",
            path=found.file,
            line=found.kinds[0].line,
            hint=r"a group holds a number and nothing else: (?P<loss>[\d.eE+-]+)",
        )
    line, text = next(iter(found.examples), (None, None))
    return InputError(
        "the regex matches no line", path=found.file, line=line, hint=f"the first line says: {text}" if text else None
    )
