"""Tables of results on a page: one row is one run, a reported result without its curve."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from expdb import metrics
from expdb.parsers.lines import decimals_of
from expdb.parsers.markup import TableBlock, plain
from expdb.records import REPORTED, Curve, Metric, Points, Repeat, RunStart, Unit

_NUMBER = re.compile(
    r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan|inf))\s*([%％]|m?s|min|h)?"
    r"(?:\s*(?:±|\+/-|\+-|\\pm)\s*(?:\d+(?:\.\d*)?|\.\d+)\s*[%％]?)?"
)
_HEADER_UNIT = re.compile(r"[(（\[]\s*([^()（）\[\]]+?)\s*[)）\]]\s*[↑↓]?\s*$")
_RULE = re.compile(
    r"^(best|max|highest|last|final|mean|average|avg|最佳|最好|最高|最终|平均)[\s_:：的]*", re.IGNORECASE
)
_RULES = {
    **dict.fromkeys(("best", "max", "highest", "最佳", "最好", "最高"), "best"),
    **dict.fromkeys(("last", "final", "最终"), "last"),
    **dict.fromkeys(("mean", "average", "avg", "平均"), "mean"),
}
_MISSING = frozenset(("", "-", "--", "—", "–", "/", "n/a", "na", "none", "无", "tbd", "todo"))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of results, or of what was chosen (metric None)."""

    header: str
    metric: Metric | None


def canonical_cell(raw: str) -> str:
    """A cell without its dress: `<br>` becomes a line end, code ticks go, blanks in and around code shrink to one."""
    lines = re.split(r"<br\s*/?>", raw, flags=re.IGNORECASE)
    out = []
    for line in lines:
        # Marks of emphasis count only outside code, where * and _ are operators and names.
        parts = [part if i % 2 else plain(part) for i, part in enumerate(re.split(r"`+", line))]
        text = " ".join(" ".join(parts).split())
        if text:
            out.append(text)
    return "\n".join(out)


class TableReader:
    """Tables of one page to runs. metric_columns: headers that hold results though nobody knows them.

    A table that stands on the page a second time gives no runs, only another place for the first ones.
    """

    def __init__(self, metric_columns: frozenset[str]) -> None:
        self.metric_columns = metric_columns
        self._seen: dict[tuple[tuple[str, ...], ...], int] = {}

    def has_results(self, table: TableBlock) -> bool:
        """Whether any column holds results."""
        return bool(table.rows) and any(column.metric for column in self._columns(table))

    def runs(self, table: TableBlock, index: int, name: str) -> Iterator[RunStart | Points | Repeat]:
        """Runs of a table, the first of which gets the index; name: what the table is called."""
        columns = self._columns(table)
        if not any(column.metric for column in columns):
            return
        content = (tuple(table.header), *(tuple(map(canonical_cell, cells)) for _, cells in table.rows))
        before = self._seen.setdefault(content, index)
        for place, (line, cells) in enumerate(table.rows):
            if before != index:
                yield Repeat(before + place, line, line)
                continue
            yield from _row(columns, cells, index + place, line, f"{name} row {place + 1}")

    def _columns(self, table: TableBlock) -> list[_Column]:
        headers, out = _unique([plain(h) or f"column {i}" for i, h in enumerate(table.header, 1)]), []
        for i, header in enumerate(headers):
            texts = [cells[i] for _, cells in table.rows if i < len(cells)]
            wanted = header in self.metric_columns or plain(table.header[i]) in self.metric_columns
            out.append(_Column(header, _metric(header, texts, wanted)))
        return out


def _row(columns: list[_Column], cells: list[str], index: int, line: int, name: str) -> Iterator[RunStart | Points]:
    params, tags, curves = {}, {}, []
    for column, raw in zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=False):
        text = canonical_cell(raw)
        number = _number(text) if column.metric else None
        if column.metric and number:
            curves.append(Curve(column.metric, (None,), (float(number[1]),), (line,), decimals_of((number[1],))))
        if number is None and text and (column.metric is None or text.lower() not in _MISSING):
            params[column.header] = text
        if raw and raw != (number[1] if number else text):
            tags[f"page.cell.{column.header}"] = raw
    for i, extra in enumerate(cells[len(columns) :], len(columns) + 1):
        tags[f"page.cell.column {i}"] = extra
    yield RunStart(index, line, name, params, tags)
    yield Points(index, tuple(curves), line)


def _metric(header: str, texts: list[str], wanted: bool) -> Metric | None:
    """The metric of a column: known by name or asked for, and mostly numbers."""
    found = _HEADER_UNIT.search(header)
    unit: Unit | None = metrics.UNIT_WORDS.get(found[1].lower()) if found else None
    bare = header[: found.start()].strip() if found and unit else header
    rule = _RULE.match(bare)
    if not (wanted or metrics.is_known(bare) or (rule and metrics.is_known(bare[rule.end() :]))):
        return None
    filled = [text for text in map(canonical_cell, texts) if text.lower() not in _MISSING]
    numbers = [number for text in filled if (number := _number(text))]
    if not numbers or len(numbers) * 2 < len(filled):
        return None
    if rule and metrics.is_known(bare[rule.end() :]):
        bare = bare[rule.end() :]
    name = metrics.canonical(bare, REPORTED)
    values = [v for v in (float(number[1]) for number in numbers) if v == v]
    marked = {metrics.UNIT_WORDS[number[2]] for number in numbers if number[2]}
    unit = unit or (marked.pop() if len(marked) == 1 else None)
    unit = unit or metrics.unit_of(name, min(values, default=None), max(values, default=None))
    return Metric(header, name, REPORTED, unit, "none", _RULES[rule[1].lower()] if rule else None)


def _number(text: str) -> re.Match[str] | None:
    return _NUMBER.fullmatch(text)


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
