"""Tables of results on a page: one row is one run, a reported result without its curve."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from expdb import metrics
from expdb.parsers.digits import decimals_of
from expdb.parsers.pages.markup import TableBlock
from expdb.records import REPORTED, Curve, Metric, Points, Repeat, RunStart, Unit

_UNIT = "|".join(sorted(map(re.escape, metrics.UNIT_WORDS), key=len, reverse=True))
_NUMBER = re.compile(
    rf"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan|inf)) ?({_UNIT})?"
    rf"(?: ?(?:±|\+/-|\+-|\\pm) ?(?:\d+(?:\.\d*)?|\.\d+) ?({_UNIT})?)?"
    # A doubt or a gain in brackets.
    rf"(?: ?[(（](?:±|\+/-|\+-|\\pm|[-+↑↓]) ?(?:\d+(?:\.\d*)?|\.\d+) ?(?:{_UNIT})?[)）])?"
)
# Signs of a footnote, a formula or a rough figure around a number.
_AROUND = re.compile(r"^[~≈$*_ ]+|[$*_†‡§ ]+$")
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_HEADER_UNIT = re.compile(r"[(（\[] ?([^()（）\[\]]+?) ?[)）\]] ?[↑↓]? ?$")
_RULE = re.compile(
    r"^(best|max|highest|last|final|mean|average|avg|最佳|最好|最高|最终|平均)[\s_:：的]*", re.IGNORECASE
)
_BOLD = re.compile(r"(\*\*|__)((?:(?!\1).)+)\1", re.DOTALL)
# Titles that expdb's own tables have, and no one else's.
_OWN_TITLE = re.compile(r"(?:first|last|best|min|max|at|tail|step_of|n)\(.+\)")
_RULES = {
    **dict.fromkeys(("best", "max", "highest", "最佳", "最好", "最高"), "best"),
    **dict.fromkeys(("last", "final", "最终"), "last"),
    **dict.fromkeys(("mean", "average", "avg", "平均"), "mean"),
}
_MISSING = frozenset(("", "-", "--", "—", "–", "/", "n/a", "na", "none", "无", "tbd", "todo"))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of results, or of what was chosen (metric None). plain_time: "time" without a unit, as in a schedule."""

    header: str
    metric: Metric | None
    plain_time: bool = False


def canonical_cell(raw: str) -> str:
    """A cell without its dress: `<br>` becomes a line end, code ticks go, blanks in and around code shrink to one.

    A cell that is bold as a whole is not; whatever else stands in it stays as it is, for `3*3*64` is no emphasis.
    """
    out = []
    for line in re.split(r"<br\s*/?>", raw, flags=re.IGNORECASE):
        text = line.replace("\0", "").strip()
        if bold := _BOLD.fullmatch(text):
            text = bold[2]
        # Between ticks everything is meant as it stands.
        code = [found[2].strip() for found in _CODE.finditer(text)]
        text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", _CODE.sub("\0", text)).replace("`", "")
        for one in code:
            text = text.replace("\0", one, 1)
        if text := " ".join(text.split()):
            out.append(text)
    return "\n".join(out)


class TableReader:
    """Tables of one page to runs. metric_columns: headers that hold results though nobody knows them.

    A table that stands on the page a second time gives no runs, only another place for the first ones.
    """

    def __init__(self, metric_columns: frozenset[str]) -> None:
        self.metric_columns = metric_columns
        self._seen: dict[tuple[tuple[str, ...], ...], int] = {}
        # Lines with a cell that should be a number and is none.
        self.unread: list[tuple[int, str]] = []

    def has_results(self, table: TableBlock) -> bool:
        """Whether any column holds results."""
        return _states_results(self._columns(table))

    def columns(self, table: TableBlock) -> list[tuple[str, bool]]:
        """The name of each column, by which a param or a metric goes, and whether it holds results."""
        return [(column.header, column.metric is not None) for column in self._columns(table)]

    def runs(self, table: TableBlock, index: int, name: str) -> Iterator[RunStart | Points | Repeat]:
        """Runs of a table, the first of which gets the index; name: what the table is called."""
        columns = self._columns(table)
        if not _states_results(columns):
            return
        content = (tuple(table.header), *(tuple(map(canonical_cell, cells)) for _, cells in table.rows))
        before = self._seen.setdefault(content, index)
        for place, (line, cells) in enumerate(table.rows):
            if before != index:
                yield Repeat(before + place, line, line)
                continue
            yield from self._row(columns, cells, index + place, line, f"{name} row {place + 1}")

    def _row(
        self, columns: list[_Column], cells: list[str], index: int, line: int, name: str
    ) -> Iterator[RunStart | Points]:
        params, tags = {}, {}
        curves: list[Curve] = []
        for column, raw in zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=False):
            text = canonical_cell(raw)
            number = _number(text) if column.metric else None
            if column.metric and number:
                metric = replace(column.metric, unit=_unit_of(number) or column.metric.unit)
                curves.append(Curve(metric, (None,), (float(number[1]),), (line,), decimals_of((number[1],))))
            unread = column.metric is not None and number is None
            if column.metric is None and text:
                params[column.header] = text
            elif unread and text.lower() not in _MISSING:
                self.unread.append((line, f"{column.header}: {raw}"))
            if raw and (unread or raw != (number[1] if number else text)):
                tags[f"page.cell.{column.header}"] = raw
        for i, extra in enumerate(cells[len(columns) :], len(columns) + 1):
            tags[f"page.cell.column {i}"] = extra
        yield RunStart(index, line, name, params, tags)
        yield Points(index, tuple(curves), line)

    def _columns(self, table: TableBlock) -> list[_Column]:
        if any(_OWN_TITLE.match(header.strip("` ")) for header in table.header):
            # A table that compare wrote: its numbers came from the database.
            return []
        headers = [canonical_cell(h).replace("\n", " ") or f"column {i}" for i, h in enumerate(table.header, 1)]
        out = []
        for i, (header, label) in enumerate(zip(headers, _unique(headers), strict=True)):
            texts = [cells[i] for _, cells in table.rows if i < len(cells)]
            wanted = not self.metric_columns.isdisjoint((header, label, table.header[i]))
            metric = _metric(header, label, texts, wanted)
            said = wanted or _HEADER_UNIT.search(header) or any(map(_unit_of, _numbers(texts)))
            out.append(_Column(label, metric, metrics.meaning_of(header).words in ("time", "时间") and not said))
        return out


def number_in(cell: str) -> str | None:
    """The number that a cell states, as printed; None where it states none."""
    found = _number(canonical_cell(cell))
    return found[1] if found else None


def has_numbers(table: TableBlock) -> bool:
    """Whether any column is mostly numbers, whatever they may be; False for a table that expdb wrote."""
    return not any(map(_OWN_TITLE.match, table.header)) and any(
        _numbers([cells[i] for _, cells in table.rows if i < len(cells)]) for i in range(len(table.header))
    )


def _metric(header: str, label: str, texts: list[str], wanted: bool) -> Metric | None:
    """The metric of a column: known by name or asked for, and mostly numbers."""
    found = _HEADER_UNIT.search(header)
    unit: Unit | None = metrics.UNIT_WORDS.get(found[1].lower()) if found else None
    bare = header[: found.start()].strip() if found and unit else header
    # "mean IoU" is a quantity of its own; "best accuracy" is an accuracy.
    rule = None if metrics.is_known(bare) else _RULE.match(bare)
    if rule and metrics.is_known(bare[rule.end() :]):
        bare = bare[rule.end() :]
    if not (wanted or metrics.better(bare)):
        return None
    numbers = _numbers(texts)
    if not numbers:
        return None
    name = metrics.canonical(bare, REPORTED)
    # A cell that names its own unit says nothing about the others.
    values = [v for number in numbers if not _unit_of(number) and not math.isnan(v := float(number[1]))]
    unit = unit or metrics.unit_of(name, min(values, default=None), max(values, default=None))
    return Metric(label, name, REPORTED, unit, "none", _RULES[rule[1].lower()] if rule else None)


def _states_results(columns: list[_Column]) -> bool:
    return any(column.metric and not column.plain_time for column in columns)


def _unit_of(number: re.Match[str]) -> Unit | None:
    """The unit a cell names itself."""
    return metrics.UNIT_WORDS.get(number[2] or number[3] or "")


def _numbers(texts: list[str]) -> list[re.Match[str]]:
    """The numbers of a column; none where most of its cells are something else."""
    filled = [text for text in map(canonical_cell, texts) if text.lower() not in _MISSING]
    numbers = [number for text in filled if (number := _number(text))]
    return numbers if len(numbers) * 2 >= len(filled) else []


def _number(text: str) -> re.Match[str] | None:
    return _NUMBER.fullmatch(_AROUND.sub("", text))


def _unique(names: list[str]) -> list[str]:
    out: list[str] = []
    for name in names:
        free, n = name, 1
        while free in out or (n > 1 and free in names):
            n += 1
            free = f"{name} ({n})"
        out.append(free)
    return out
