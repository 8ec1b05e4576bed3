"""A page: one HTML file with a table to sort, curves to look into, and the place every number came from.

The table is plain HTML, readable without JavaScript and printed as it is; what moves is added to it. The curves and
the charting library (BokehJS, vendored by the package bokeh) are packed in the file, so that no host is asked for
anything; a content security policy forbids it, and forbids every script but those written here.
"""

import base64
import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Final

from expdb.errors import need
from expdb.records import Better, Cell, Table, Unit
from expdb.reports import layout
from expdb.reports.layout import PrintedColumn
from expdb.reports.text import MISSING, lines, one_line, visible

_LIBRARY: Final = ("bokeh.min.js", "bokeh-api.min.js")
_SCRIPTS: Final = ("state.js", "table.js", "groups.js", "panel.js", "curves.js", "details.js", "start.js")
# Of the library's 1.4 MB 0.4 are left; more effort saves nothing and takes longer.
_EFFORT: Final = 6
_EFFORT_OF_CURVES: Final = 4
# Columns that a sheet of paper shows upright.
_MOST_UPRIGHT: Final = 7
# Characters above which paper may break a cell's line.
_LONG: Final = 24


@dataclass(frozen=True, slots=True)
class PageRun:
    """A row's run. sources: (place, format, first line, last line) of each file it was read from."""

    uid: str
    name: str
    experiment: str
    status: str
    origin: str
    note: str | None
    params: tuple[tuple[str, str], ...]
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a cell's number stands. metric: its key, as `blame` takes it. source: index in the page's sources, None
    where it was typed in. lines: first and last, the same for one line. count: the points it was made of."""

    metric: str
    step: int | None
    source: int | None
    lines: tuple[int, int] | None
    count: int = 1


@dataclass(frozen=True, slots=True)
class PageMetric:
    """What curves are drawn together. unit: of all their values; steps: what they count, "step" where they differ."""

    name: str
    unit: Unit | None
    better: Better | None
    steps: str


@dataclass(frozen=True, slots=True)
class PageCurve:
    """The points of one run's metric; the sequences have one length.

    run, metric: indices. key: as `blame` takes it. values: None is NaN. sources: (how many points, index of the source
    or None). decimals: as printed. count: the points that the database holds, more than there are values when thinned.
    """

    run: int
    metric: int
    key: str
    reported: bool
    steps: Sequence[int | None]
    values: Sequence[float | None]
    lines: Sequence[int | None]
    sources: Sequence[tuple[int, int | None]]
    decimals: int | None
    count: int


@dataclass(frozen=True, slots=True)
class PageOrder:
    """What the rows are sorted by, a cell of each. descending: whether the greatest stands first."""

    numeric: bool
    cells: tuple[Cell, ...]
    descending: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Everything a page shows. runs, origins: of the table's rows; origins: a row's columns, None where the cell is no
    number of a metric. heads: the column that names the run. remarks: sentences beneath the curves. group_by: the
    columns by which the rows are grouped at first, none of them for one group of all, None for no groups. sort: by what
    groups are ordered at first, None for what they share."""

    title: str
    made_ms: int
    version: str
    experiments: tuple[str, ...]
    table: Table
    heads: int
    runs: tuple[PageRun, ...]
    origins: tuple[tuple[Origin | None, ...], ...]
    sources: tuple[str, ...]
    metrics: tuple[PageMetric, ...]
    curves: tuple[PageCurve, ...]
    remarks: tuple[str, ...] = ()
    group_by: tuple[int, ...] | None = None
    sort: PageOrder | None = None
    language: str = "en"


def render(page: Page) -> str:
    """The whole file. Raises MissingExtraError without the charting library, where there are curves to draw."""
    has_curves = any(not curve.reported for curve in page.curves)
    library = _library() if has_curves else b""
    script = _script()
    words = Template(_static("page.html"))
    allowed = " ".join(_digest(text) for text in (script.encode(), library) if text)
    return words.substitute(
        language=page.language,
        title=_text(page.title),
        allowed=allowed,
        style=_static("page.css"),
        about=_about(page),
        curves_hidden="" if has_curves else " hidden",
        wide=' class="wide"' if len(page.table.columns) > _MOST_UPRIGHT else "",
        remarks=_listed(page.remarks),
        table=_table(page),
        rules=_listed(layout.printed(page.table).rules),
        foot=_foot(page),
        rows=_json(_rows(page)),
        curves=_packed(_curves(page).encode(), _EFFORT_OF_CURVES),
        library=_packed_library() if has_curves else "",
        script=script,
    )


def _about(page: Page) -> str:
    made = datetime.fromtimestamp(page.made_ms / 1000, UTC)
    experiments = len(page.experiments)
    said = [f"{len(page.runs):,} {'run' if len(page.runs) == 1 else 'runs'}"]
    if experiments == 1 and page.experiments[0] != page.title:
        said.append(f"experiment {_text(page.experiments[0])}")
    elif experiments > 1:
        said.append(f"{experiments:,} experiments")
    said.append(f'<time datetime="{made:%Y-%m-%dT%H:%M:%SZ}">{made:%Y-%m-%d}</time>')
    return " · ".join(said)


def _foot(page: Page) -> str:
    made = datetime.fromtimestamp(page.made_ms / 1000, UTC)
    return f"Made by expdb {_text(page.version)} on {made:%Y-%m-%d %H:%M} UTC."


def _listed(sentences: Iterable[str]) -> str:
    return "".join(f"<li>{_text(one)}</li>" for one in sentences)


def _table(page: Page) -> str:
    """Head and body of the table."""
    printed = layout.printed(page.table)
    heads = [
        f'<th scope="col" aria-sort="none" class="{"n" if column.numeric else "t"}">'
        f'<button type="button" class="sort">{_heading(column.heading)}</button></th>'
        for column in printed.columns
    ]
    out = [f'<thead><tr><th class="tick js"><span class="quiet">Curve</span></th>{"".join(heads)}</tr></thead><tbody>']
    columns = [list(_cells(column, place == page.heads)) for place, column in enumerate(printed.columns)]
    for row, line in enumerate(zip(*columns, strict=True)):
        tick = f'<td class="tick js"><input type="checkbox" aria-labelledby="n{row}"></td>'
        out.append(f"<tr>{tick}{''.join(line)}</tr>")
    out.append("</tbody>")
    return "\n".join(out)


def _heading(text: str) -> str:
    """A heading that may be broken where an expression has its joints."""
    return re.sub(r"[(/_]", lambda found: f"<wbr>{found[0]}" if found[0] == "(" else f"{found[0]}<wbr>", _text(text))


def _cells(column: PrintedColumn, is_head: bool) -> Iterator[str]:
    widest = max((len(mark.strip()) for mark in column.marks), default=0)
    for row, text in enumerate(column.cells):
        cell = _cell(text, column.numeric)
        if column.is_best(row):
            cell = f"<strong>{cell}</strong>"
        if widest:
            # Beside a number without a mark there is room for one, so that digits stand beneath each other.
            cell += f'<span class="mark" style="width:{widest}ch">{escape(column.mark(row).strip())}</span>'
        if is_head:
            yield f'<th scope="row" id="n{row}"><button type="button" class="run">{cell}</button></th>'
        elif column.numeric:
            yield f'<td class="n">{cell}</td>'
        else:
            yield f'<td class="l">{cell}</td>' if len(text) > _LONG else f"<td>{cell}</td>"


def _cell(text: str, is_number: bool) -> str:
    if text == MISSING:
        return f'<span class="none">{MISSING}</span>'
    if is_number and text in ("nan", "inf", "-inf"):
        return f'<span class="broken">{text}</span>'
    return "<br>".join(escape(line) for line in lines(text))


def _rows(page: Page) -> dict[str, object]:
    """What sorting, filtering and provenance need of the table."""
    cells = list(zip(*page.table.rows, strict=True)) if page.table.rows else [()] * len(page.table.columns)
    columns = [
        {
            "title": one_line(layout.heading(column)),
            "numeric": column.numeric,
            "better": column.better,
            **_said(below, numeric=column.numeric),
        }
        for column, below in zip(page.table.columns, cells, strict=True)
    ]
    return {
        "columns": columns,
        "heads": page.heads,
        "names": [run.name for run in page.runs],
        "uids": [run.uid for run in page.runs],
        "sources": page.sources,
        "origins": [[_origin(one) for one in row] for row in page.origins],
        "group": page.group_by,
        "sort": page.sort
        and {
            "numeric": page.sort.numeric,
            "descending": page.sort.descending,
            **_said(page.sort.cells, numeric=page.sort.numeric),
        },
        "language": page.language,
    }


def _said(cells: Sequence[Cell], *, numeric: bool) -> dict[str, object]:
    """What a column's rows say, as scripts take it."""
    return {
        "values": [_number(cell.value) for cell in cells],
        "decimals": [cell.decimals for cell in cells] if numeric else None,
        "diverged": [row for row, cell in enumerate(cells) if cell.diverged],
    }


def _origin(origin: Origin | None) -> list[object] | None:
    if origin is None:
        return None
    first, last = origin.lines or (None, None)
    return [origin.metric, origin.step, origin.source, first, last, origin.count]


def _number(value: float | str | None) -> float | str | None:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _curves(page: Page) -> str:
    """The curves, and what is told of each run when it is asked for. Steps that several curves share stand once."""
    shared: dict[str, int] = {}
    curves = []
    for curve in page.curves:
        steps = shared.setdefault(_sequence(curve.steps), len(shared))
        values = curve.values
        if not all(map(math.isfinite, filter(None, values))):
            values = [_number(value) for value in values]  # type: ignore[misc]
        curves.append(
            f"[{curve.run},{curve.metric},{_json(curve.key)},{int(curve.reported)},{steps},"
            f"{_json(values)},{_sequence(curve.lines)},{_json(curve.sources)},"
            f"{'null' if curve.decimals is None else curve.decimals},{curve.count}]"
        )
    metrics = [(metric.name, metric.unit, metric.better, metric.steps) for metric in page.metrics]
    runs = [(run.experiment, run.status, run.origin, run.note, run.params, run.tags) for run in page.runs]
    told = f'"metrics":{_json(metrics)},"runs":{_json(runs)}'
    return f'{{{told},"steps":[{",".join(shared)}],"curves":[{",".join(curves)}]}}'


def _sequence(numbers: Sequence[int | None]) -> str:
    """`[first, distance, how many]` in an object for what goes by even steps, else the list."""
    first = numbers[0] if numbers else None
    second = numbers[1] if len(numbers) > 1 else None
    if first is not None and second is not None and second != first:
        even = range(first, first + (second - first) * len(numbers), second - first)
        if list(even) == list(numbers):
            return f'{{"e":[{first},{second - first},{len(numbers)}]}}'
    return _json(numbers)


def _json(value: object) -> str:
    """JSON that stands within a script element without ending it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # A lone surrogate, from a file name that is no UTF-8, is no text to be written.
    return text.encode("utf-8", "backslashreplace").decode()


def _text(text: str) -> str:
    return escape(visible(text))


def _packed(data: bytes, effort: int) -> str:
    return base64.b64encode(gzip.compress(data, effort, mtime=0)).decode("ascii")


def _digest(script: bytes) -> str:
    """A script as the content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'"


@cache
def _static(name: str) -> str:
    return (resources.files(__name__) / name).read_text("utf-8")


@cache
def _script() -> str:
    return "\n".join(['"use strict";', "(() => {", *map(_static, _SCRIPTS), "})();"])


@cache
def _library() -> bytes:
    need("bokeh", extra="report")
    # Found without importing it, which takes longer than all else.
    spec = find_spec("bokeh")
    folder = Path(spec.origin or "").parent / "server" / "static" / "js" if spec else Path()
    return b"\n".join((folder / name).read_bytes() for name in _LIBRARY)


@cache
def _packed_library() -> str:
    return _packed(_library(), _EFFORT)
