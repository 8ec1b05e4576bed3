"""Tables of text: CSV, TSV, semicolons, bars or aligned blanks, with a header.

- One row per step, one column per metric (Keras, Lightning, timm, YOLO, Stable-Baselines, bearpaw, Torch7, DVCLive), or
  a column that names the metric beside one that has its value, or a W&B chart with a column per run.
- One row per run: its results are reported values, everything else in the row its params.
- The step is the iteration where it goes on rising, else the epoch, else the row. A cell may be empty.
- A run ends where the step falls back to where it began, where the header stands once more and where a column that
  tells runs apart (`run`, `seed`, `fold`, `model`) changes.
- Text and settings that never change are params; a table with no result in its header is no training's.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from expdb import metrics
from expdb.parsers import CERTAIN, Options
from expdb.parsers.digits import decimals_of
from expdb.parsers.logs.lines import EXAMPLES, is_log_line
from expdb.parsers.reading import Block, Reading, Sample
from expdb.parsers.runs import Boundaries
from expdb.parsers.tabular.columns import Column, Plan, plan_of
from expdb.parsers.tabular.headers import STEP_LIMIT, count_of, metric_of, names_a_run, names_a_run_alone, time_ms
from expdb.parsers.tabular.pieces import Cells, Piece, falls_of, numbers_of
from expdb.parsers.tabular.sheet import (
    Rows,
    Sheet,
    bare,
    head_of,
    is_missing,
    is_number,
    is_rule,
    number_of,
    rows_of,
    sheet_of,
)
from expdb.records import REPORTED, Curve, Event, LineKind, Metric, Points, RunStart, Unparsed

NAME = "delimited"
VERSION = 2
SUMMARY = "a table of text with a header: CSV, TSV, `;`, `|` or aligned blanks; a row per step or a row per run"

# How sure a table makes whose rows are not all alike.
_SURE = 0.9
_TEXT_LIMIT = 200
# So many columns mostly tell what a table is.
_ENOUGH_COLUMNS = 100
# A row that stands for other rows.
_SUMMARIES = frozenset(("mean", "std", "average", "avg", "median", "min", "max", "stddev", "total", "平均", "mean±std"))
_DOUBT = re.compile(r"\s*(?:±|\+/-|\+-|\\pm|\(±)")
_SETTING = re.compile(r"([A-Za-z][\w.\-]*)\s*[:=]\s*([^\s,;]+)")


_MARKDOWN = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*\|[-:| \t]*$", re.MULTILINE)


def recognise(sample: Sample) -> float:
    """Certain of a file that is one table with results, sure of one with a few odd lines in it."""
    if is_log_line(sample.text[:4096].partition("\n")[0]):
        # To take a log for a table costs more than to read it.
        return 0.0
    sheet = sheet_of(sample.text)
    if sheet is None:
        return 0.0
    unread: list[tuple[int, str]] = []
    head = head_of(sample.text)
    rows = next(rows_of([Block(1, head)], sheet, unread), None)
    if rows is None:
        return 0.0
    # The head may end within a row.
    cells = rows.cells if len(head) == len(sample.text) or len(rows.cells) < 2 else rows.cells[:-1]
    whole = [row for row in (_fitted(sheet, row) for row in cells) if row is not None]
    fitting = whole or [row for row in (_cut(sheet, row) for row in cells) if row is not None]
    if not fitting:
        return 0.0
    columns = _columns(fitting)
    few = plan_of(sheet.names[:_ENOUGH_COLUMNS], columns[:_ENOUGH_COLUMNS], sample.name)
    if few is None and (len(columns) <= _ENOUGH_COLUMNS or plan_of(sheet.names, columns, sample.name) is None):
        return 0.0
    share = len(fitting) / (len(cells) + len(unread))
    if _MARKDOWN.search(head):
        # A page knows better what to call its rows.
        share = min(share, 0.9)
    return CERTAIN if whole and share > 0.95 else _SURE * share if share > 0.5 else 0.0


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of a table."""
    first = next(iter(reading.blocks())).text if reading.is_small else reading.sample.text
    sheet = sheet_of(first)
    if sheet is None:
        yield Unparsed(0)
        return
    table, missed = _Table(sheet, reading, options), 0
    for rows in rows_of(reading.blocks(), sheet, table.unread):
        yield from table.take(rows)
        # A file of nothing but odd lines must not fill the memory.
        missed += table.forget()
    yield from table.kinds()
    missed += table.forget()
    yield Unparsed(missed, tuple((line, text[:_TEXT_LIMIT]) for line, text in table.examples))


def _fitted(sheet: Sheet, row: list[str]) -> list[str] | None:
    """A row with as many cells as the header; None where it has more, or is no row of the table."""
    width = len(sheet.names)
    if len(row) == width:
        return row
    if len(row) > width:
        return row[:width] if not any(map(str.strip, row[width:])) else None
    # What is missing at a row's end was left out; one cell alone may be anything.
    return [*row, *[""] * (width - len(row))] if len(row) > 1 and any(map(is_number, row)) else None


def _cut(sheet: Sheet, row: list[str]) -> list[str] | None:
    """A row that is longer than the header, without what has no name."""
    return row[: len(sheet.names)] if len(row) > len(sheet.names) and is_number(row[0]) else None


def _columns(rows: Sequence[Cells]) -> list[Cells]:
    return list(zip(*rows, strict=True))


@dataclass(slots=True)
class _Run:
    """The open run of one key, which is what the columns say that tell runs apart. rows: how many it has; why: set
    where another header came, which begins a run unless the steps go on."""

    index: int
    bounds: Boundaries
    params: dict[str, str]
    rows: int = 0
    why: str | None = None


@dataclass(slots=True)
class _Kind:
    """What is told of one header: how many rows followed it."""

    sheet: Sheet
    plan: Plan
    rows: int = 0


class _Table:
    """Blocks of rows to runs. unread: lines and cells that were not understood; examples: the first of those before."""

    def __init__(self, sheet: Sheet, reading: Reading, options: Options) -> None:
        self.unread: list[tuple[int, str]] = []
        self.examples: list[tuple[int, str]] = []
        self._sheet = sheet
        self._reading = reading
        self._wanted = options.metric_columns
        self._plan: Plan | None = None
        self._kinds: list[_Kind] = []
        self._index = -1
        self._runs: dict[tuple[str, ...], _Run] = {}
        self._last_step: int | None = None
        self._rows = 0

    def take(self, rows: Rows) -> Iterator[Event]:
        """Read one block."""
        for sheet, piece in self._sections(rows):
            if sheet is not None:
                self._begin(sheet)
            if not piece.cells:
                continue
            columns = _columns(piece.cells)
            if self._plan is None:
                self._plan = plan_of(self._sheet.names, columns, self._reading.path, self._wanted)
                if self._plan is None:
                    self.unread += [(line, " ".join(row)) for line, row in zip(piece.lines, piece.cells, strict=True)]
                    continue
                self._kinds.append(_Kind(self._sheet, self._plan))
            self._kinds[-1].rows += len(piece.lines)
            if self._plan.rows_are_runs:
                yield from self._results(self._plan, piece)
            else:
                yield from self._curves(self._plan, piece.lines, columns)

    def forget(self) -> int:
        """How many were not understood since the last time; the first few become examples."""
        count = len(self.unread)
        self.examples = sorted([*self.examples, *sorted(self.unread)[:EXAMPLES]])[:EXAMPLES]
        self.unread.clear()
        return count

    def kinds(self) -> Iterator[LineKind]:
        """What was found, for the person."""
        for kind in self._kinds:
            step = kind.plan.place("step")
            fields = tuple(
                (column.label, column.metric.name if column.metric else column.role, column.why)
                for column in kind.plan.columns
            )
            header = kind.plan.columns[step].label if step is not None else None
            yield LineKind(kind.sheet.line, kind.sheet.text[:_TEXT_LIMIT], kind.rows, header, fields)

    # Rows

    def _sections(self, rows: Rows) -> Iterator[tuple[Sheet | None, Rows]]:
        """Rows cut where a header stands; each section with its header, the first with none where it goes on."""
        width = len(self._sheet.names)
        heads = [row[0] if row else "" for row in rows.cells]
        if set(map(len, rows.cells)) == {width} and not self._odd(heads, rows):
            yield None, rows
            return
        sheet: Sheet | None = None
        shape = self._sheet
        lines: list[int] = []
        cells: list[list[str]] = []
        for line, row in zip(rows.lines, rows.cells, strict=True):
            if head := self._header(shape, row, line):
                yield sheet, Rows(lines, cells)
                sheet = shape = head
                lines, cells = [], []
                continue
            fitted = _fitted(shape, row)
            mark = shape.dialect.mark
            if fitted is None and (fitted := _cut(shape, row)):
                self.unread.append((line, mark.join(row)))
            if fitted is not None and any(map(str.strip, fitted)):
                lines.append(line)
                cells.append(fitted)
            elif any(map(str.strip, row)) and not is_rule(mark.join(row)):
                self.unread.append((line, mark.join(row)))
        yield sheet, Rows(lines, cells)

    def _odd(self, heads: list[str], rows: Rows) -> bool:
        """Whether a header may stand among the rows."""
        names = self._sheet.names
        if names[0] in heads or self._sheet.text.split(self._sheet.dialect.header_mark)[0] in heads:
            return True
        # In a column of numbers whatever is no number is odd.
        probe = 0
        if self._plan is not None:
            steps = self._plan.of("step") or self._plan.of("curve")
            probe = steps[0].place if steps else 0
        try:
            list(map(float, [row[probe] or "0" for row in rows.cells]))
        except ValueError:
            return True
        return False

    def _header(self, sheet: Sheet, row: list[str], line: int) -> Sheet | None:
        """The header that a row is: the same once more, or another one like it."""
        names = [bare(cell) for cell in row]
        while len(names) > 1 and not names[-1]:
            names.pop()
        mark = sheet.dialect.mark
        if tuple(names) == sheet.names or tuple(names) == sheet.names[1:]:
            return replace(sheet, line=line, text=mark.join(row))
        if len(names) < 2 or any(map(is_number, names)) or any(map(is_missing, names[1:])):
            return None
        shared = len(set(names) & set(sheet.names))
        if shared * 2 < min(len(names), len(sheet.names)):
            return None
        return Sheet(replace(sheet.dialect, header_mark=mark), tuple(names), line, mark.join(row))

    def _begin(self, sheet: Sheet) -> None:
        """Another header: the columns may be others from here on."""
        if sheet.names != self._sheet.names:
            self._plan = None
        for run in self._runs.values():
            run.why = f"the header stands again at line {sheet.line}"
        self._sheet = sheet

    # Curves

    def _curves(self, plan: Plan, lines: Sequence[int], columns: list[Cells]) -> Iterator[Event]:
        piece = self._stepped(plan, lines, columns)
        if not piece.lines:
            return
        if not any(column.chart for column in plan.columns):
            for key, part in piece.by([column.place for column in plan.of("key")]):
                yield from self._run(plan, key, part, None)
            return
        for chart in dict.fromkeys(column.chart for column in plan.columns if column.chart):
            curves = [column.place for column in plan.of("curve") if column.chart == chart]
            mask = [not all(map(is_missing, row)) for row in zip(*(columns[place] for place in curves), strict=True)]
            if any(mask):
                yield from self._run(plan, (chart,), piece.picked(mask), chart)

    def _stepped(self, plan: Plan, lines: Sequence[int], columns: list[Cells]) -> Piece:
        """The rows with their steps; a row without one takes the step before it, one whose step is no number is
        counted as not understood."""
        place = plan.place("step")
        place = plan.place("index") if place is None else place
        if place is None:
            return Piece(lines, columns, None)
        cells = columns[place]
        try:
            numbers = list(map(int, cells))
        except ValueError:
            numbers = []
        steps: list[int | None] = list(numbers)
        if not numbers or max(numbers) >= STEP_LIMIT or min(numbers) <= -STEP_LIMIT:
            steps = list(map(count_of, cells))
            bad = [step is None and not is_missing(cell) for step, cell in zip(steps, cells, strict=True)]
            if any(bad):
                rows = zip(*columns, strict=True)
                self.unread += [(line, " ".join(row)) for line, row, odd in zip(lines, rows, bad, strict=True) if odd]
                good = [not odd for odd in bad]
                steps = list(compress(steps, good))
                lines, columns = list(compress(lines, good)), [list(compress(column, good)) for column in columns]
        known = next((step for step in steps if step is not None), 0) if None in steps else 0
        last = known if self._last_step is None else self._last_step
        filled = []
        for step in steps:
            last = last if step is None else step
            filled.append(last)
        self._last_step = last
        return Piece(lines, columns, filled)

    def _run(self, plan: Plan, key: tuple[str, ...], piece: Piece, chart: str | None) -> Iterator[Event]:
        """Rows of one key, cut where the step begins again."""
        run = self._runs.get(key)
        starts: list[tuple[int, str | None]] = [(0, None)]
        begins = run is None
        bounds = run.bounds if run else Boundaries(plan.step_unit)
        if run and run.why:
            # A log that was resumed has its header twice, and its steps go on.
            goes_on = piece.steps is not None and bounds.last is not None and piece.steps[0] > bounds.last
            if not goes_on:
                begins, starts, bounds = True, [(0, run.why)], Boundaries(plan.step_unit)
            run.why = None
        elif run is None and self._runs:
            starts = [(0, self._told_apart(plan, key, piece.lines[0]))]
        if piece.steps is not None:
            falls = falls_of(bounds, piece.lines, piece.steps)
            if falls and falls[0][0] == 0:
                begins, starts = True, []
            starts += falls
        ends = [row for row, _ in starts[1:]] + [len(piece.lines)]
        for (low, reason), high in zip(starts, ends, strict=True):
            part = piece.cut(low, high)
            if begins or run is None:
                self._index += 1
                run = self._runs[key] = _Run(self._index, bounds, self._params(plan, part))
                caption = chart or " ".join(filter(None, key)) or None
                yield RunStart(run.index, part.lines[0], caption, dict(run.params), reason=reason)
            begins = True
            yield from self._points(plan, run, part, chart)

    def _told_apart(self, plan: Plan, key: tuple[str, ...], line: int) -> str:
        """Why another key is another run."""
        columns = [column.label for column in plan.of("key")]
        if len(columns) != len(key):
            return f"the chart has a column for {key[0]}"
        return f"{', '.join(f'{label} is {value}' for label, value in zip(columns, key, strict=True))} at line {line}"

    def _params(self, plan: Plan, piece: Piece) -> dict[str, str]:
        """What was chosen before the run: by the comments above the header, and by columns that never change."""
        out = _noted(self._sheet.notes)
        for column in plan.of("param", "key"):
            if value := next((cell.strip() for cell in piece.columns[column.place] if not is_missing(cell)), None):
                out[column.label] = value
        return out

    def _points(self, plan: Plan, run: _Run, piece: Piece, chart: str | None) -> Iterator[Points]:
        steps = piece.steps if piece.steps is not None else range(run.rows, run.rows + len(piece.lines))
        run.rows += len(piece.lines)
        piece = replace(piece, steps=steps)
        curves: list[Curve] = []
        split = plan.place("split")
        for (said,), part in piece.by([split]) if split is not None else [(("",), piece)]:
            curves += self._of_split(plan, run, part, said, chart)
        if curves:
            yield Points(run.index, tuple(curves), piece.lines[-1])

    def _of_split(self, plan: Plan, run: _Run, piece: Piece, said: str, chart: str | None) -> Iterator[Curve]:
        """Curves of rows about one split."""
        epochs, times = self._beside(plan, piece)
        name, value = plan.place("name"), plan.place("value")
        if name is not None and value is not None:
            for (label,), part in piece.by([name]):
                metric = metric_of(f"{said} {label}".strip(), plan.step_unit)
                if plan.step_unit == "none":
                    metric = replace(metric, name=metrics.canonical(metric.label, REPORTED), kind=REPORTED)
                yield from self._curve(metric, part, part.columns[value], *self._beside(plan, part))
        for column in plan.columns:
            if column.metric is not None and column.chart == chart and column.role in ("curve", "aside"):
                metric = column.metric
                if said and metrics.meaning_of(metric.label).split is None:
                    metric = replace(metric_of(f"{said} {metric.label}", plan.step_unit), kind=metric.kind)
                yield from self._curve(metric, piece, piece.columns[column.place], epochs, times)
            elif column.role == "param":
                yield from self._changed(plan, run, piece, column)

    def _changed(self, plan: Plan, run: _Run, piece: Piece, column: Column) -> Iterator[Curve]:
        """A setting that was thought never to change, and did."""
        cells = piece.columns[column.place]
        said = run.params.get(column.label, "")
        if cells.count(cells[0]) == len(cells) and cells[0].strip() == said:
            return
        other = [not is_missing(cell) and cell.strip() != said for cell in cells]
        if any(other):
            part = piece.picked(other)
            metric = metric_of(column.label, plan.step_unit)
            yield from self._curve(metric, part, part.columns[column.place], None, None)

    def _beside(self, plan: Plan, piece: Piece) -> tuple[Sequence[float | None] | None, Sequence[int | None] | None]:
        """(epochs, times) of the rows."""
        epoch, clock = plan.place("epoch"), plan.place("time")
        epochs: list[float | None] | None = None
        if epoch is not None:
            cells = piece.columns[epoch]
            try:
                epochs = list(map(float, cells))
            except ValueError:
                epochs = [float(number[0]) if (number := number_of(cell)) else None for cell in cells]
        return epochs, list(map(time_ms, piece.columns[clock])) if clock is not None else None

    def _curve(
        self,
        metric: Metric,
        piece: Piece,
        cells: Cells,
        epochs: Sequence[float | None] | None,
        times: Sequence[int | None] | None,
    ) -> Iterator[Curve]:
        """The points of a column, none where all its cells are empty."""
        assert piece.steps is not None
        values, texts, mask, in_percent = numbers_of(metric.label, cells, piece.lines, self.unread)
        if not texts:
            return
        steps: Sequence[int | None] = piece.steps
        lines = piece.lines
        if mask is not None:
            steps, lines = list(compress(steps, mask)), list(compress(lines, mask))
            epochs = list(compress(epochs, mask)) if epochs is not None else None
            times = list(compress(times, mask)) if times is not None else None
        if metric.kind == REPORTED:
            steps = [None] * len(texts)
        metric = replace(metric, unit="percent") if in_percent else metric
        yield Curve(metric, steps, values, lines, decimals_of(texts), epochs, times)

    # Results

    def _results(self, plan: Plan, rows: Rows) -> Iterator[Event]:
        """A run for each row."""
        for line, row in zip(rows.lines, rows.cells, strict=True):
            self._rows += 1
            params = {c.label: row[c.place].strip() for c in plan.of("param") if not is_missing(row[c.place])}
            tags = {c.label: row[c.place].strip() for c in plan.of("aside") if not is_missing(row[c.place])}
            if any(value.lower() in _SUMMARIES for value in params.values()):
                # It sums up the others.
                self.unread.append((line, " ".join(row)))
                continue
            curves = []
            for column in plan.of("curve"):
                cell = row[column.place].strip()
                metric = column.metric
                number = number_of(_DOUBT.split(cell)[0])
                if metric is None or is_missing(cell):
                    continue
                if number is None:
                    self.unread.append((line, f"{column.label}: {cell}"))
                    continue
                if number[0] != cell:
                    tags[f"cell.{column.label}"] = cell
                metric = replace(metric, unit="percent") if number[1] else metric
                curves.append(Curve(metric, (None,), (float(number[0]),), (line,), decimals_of((number[0],))))
            if curves:
                self._index += 1
                said = [c.label for c in plan.of("param") if c.label in params and names_a_run(c.label)]
                named = [params[label] for label in sorted(said, key=names_a_run_alone, reverse=True)]
                caption = named[0] if named and not is_number(named[0]) else f"{self._reading.name} row {self._rows}"
                yield RunStart(self._index, line, caption, params, tags)
                yield Points(self._index, tuple(curves), line)
            else:
                self.unread.append((line, " ".join(row)))


def _noted(notes: Sequence[str]) -> dict[str, str]:
    """Settings in the comments above a header: `# lr: 0.1`, or JSON as Gym's monitor writes it."""
    out: dict[str, str] = {}
    for note in notes:
        text = note.lstrip("# ")
        if text.startswith("{"):
            try:
                said = json.loads(text)
            except ValueError:
                continue
            out |= {str(key): str(value) for key, value in said.items() if not isinstance(value, dict | list)}
        else:
            out |= {found[1]: found[2] for found in _SETTING.finditer(text)}
    return out
