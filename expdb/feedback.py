"""What the commands say: one line per kind, every message naming its file."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from expdb.ingest import Outcome, Request
from expdb.listing import moment
from expdb.parsers.reading import BINARY
from expdb.preview import Preview, PreviewMetric
from expdb.provenance import Blame
from expdb.records import Cell, Column, Table
from expdb.reports.terminal import print_table
from expdb.reports.text import cut, number, pad, sparkline, visible
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.places import readable
from expdb.store.reader import RunRecord
from expdb.store.upkeep import Fault, Info

# Fewer files than this are read before a bar is drawn.
_BAR_FROM = 50
_SPARK_COLUMNS = 32
_NAMED = 3


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal where there is much to do; the value is called with each step's size."""
    if total < _BAR_FROM or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)


def ingested(outcome: Outcome, path: object, request: Request) -> None:
    """What became of the files: trouble first, then one line per kind."""
    for error in outcome.refused:
        _tell(error.message, error.hint)
    for done in outcome.done:
        for change in done.written.changes:
            print(f"{visible(done.path)}: {visible(change)}")
        if done.written.kind == "changed" and not request.again:
            _tell(
                f"{done.path}: changed since it was ingested, not only grown: read as a new source",
                "its earlier runs are kept beside the new ones; --again updates runs in place instead"
                " (expdb rm hides those you do not want)",
            )
    formats: dict[str, list[int]] = {}
    for done in outcome.done:
        if done.format is None or (done.written.kind == "same" and not done.written.reads):
            continue
        counts = formats.setdefault(done.format, [0, 0, 0, 0, 0])
        written = done.written
        is_empty = written.kind == "new" and not written.reads
        for place, count in enumerate((done.files, written.runs, written.points, written.unparsed, is_empty)):
            counts[place] += count
    would = "would give " if request.dry_run else ""
    for name, (files, runs, points, unparsed, empty) in sorted(formats.items()):
        said = f"{would}{_count(runs, 'new run')}, {_count(points, 'point')}, {_count(unparsed, 'line')} not understood"
        without = f"; {_count(empty, 'folder')} without any value" if empty else ""
        print(f"{name}: {_count(files, 'file')}, {said}{without}")
    asides = sum((done.written.asides for done in outcome.done), Counter())
    if asides:
        print(f"left out: {_count(asides.total(), 'aside')} ({_names(list(asides))}); expdb parse --explain shows them")
    same = [done for done in outcome.done if done.format and done.written.kind == "same" and not done.written.reads]
    if same:
        print(f"known already: {_count(sum(done.files for done in same), 'file')}, 0 new runs")
        if request.params or request.tags or request.experiment or request.metric_columns:
            _tell(
                "-e, -s, -t and --metric-columns change nothing of runs that are known already",
                "expdb edit RUN -e EXPERIMENT -s key=value; expdb ingest --again reads the file anew",
            )
    unknown = [done.path for done in outcome.done if done.format is None]
    if unknown:
        print(f"no log: {_count(len(unknown), 'file')}, 0 runs ({_names(unknown)})")
    if outcome.passed_over:
        names = [f"{name}: {kind}" for name, kind in outcome.passed_over]
        print(f"passed over: {_count(len(names), 'binary file')} ({_names(names)})")
    if outcome.refused:
        print(f"refused: {_count(len(outcome.refused), 'file')}")
    if not outcome.done and not outcome.refused and not outcome.passed_over:
        print("no files found")
    _show_unparsed(outcome)
    if any(done.written.runs for done in outcome.done) and not request.dry_run and sys.stdout.isatty():
        print(f"in {visible(str(path))}; next: expdb compare")


def _show_unparsed(outcome: Outcome) -> None:
    first = next((done for done in outcome.done if done.written.unparsed), None)
    if first:
        if any(text.startswith("a table of numbers: ") for _, text in first.written.examples):
            _tell("a table's columns are results where --metric-columns names their headers", None)
        line, text = (first.written.examples or ((0, "a line of more than 1 MB"),))[0]
        _tell(f"not understood, for example {first.path}:{line}: {cut(visible(text), 100)}", None)
        _tell(f"expdb parse {visible(first.path)} shows more", None)


def _counted(found: Preview, n: int) -> str:
    """Lines of a text, records of a binary file, both of a folder."""
    return _count(n, "record" if found.encoding == BINARY else "line")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    # Into a pipe everything goes; a person gets the first few.
    shown = names[:_NAMED] if sys.stdout.isatty() else names
    more = f", and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return visible(", ".join(shown) + more)


def _tell(message: str, hint: str | None) -> None:
    print(f"expdb: {visible(message)}", file=sys.stderr)
    if hint:
        print(f"  {visible(hint)}", file=sys.stderr)


def previewed(found: Preview) -> None:
    """What was understood of a file."""
    print(f"file     {visible(readable(found.file))}: {_counted(found, found.lines)}, {found.encoding}")
    print(f"format   {found.format or 'not a log: 0 runs'}")
    if found.format is None:
        return
    print(f"runs     {len(found.runs)}, {_counted(found, found.unparsed)} not understood")
    word = "record" if found.encoding == BINARY else "line"
    for line, text in found.examples:
        print(f"         {word} {line}: {cut(visible(text), 100)}")
    for run in found.runs:
        places = ", ".join(f"{a}–{b}" if a != b else str(a) for a, b in ((run.line_first, run.line_last), *run.repeats))
        reason = f" ({run.reason})" if run.reason else ""
        print(f"\n{visible(run.name)}\n  {word}s {places}{visible(reason)}")
        for key, value in run.params.items():
            print(f"  {visible(key)} = {visible(value)}")
        if run.metrics:
            print_table(Table(_METRIC_COLUMNS, tuple(map(_preview_row, run.metrics))))


_METRIC_COLUMNS = (
    *(Column(title, title) for title in ("metric", "label", "unit", "steps")),
    *(Column(title, title, numeric=True) for title in ("n", "first", "last", "min", "max")),
    Column("curve", "curve"),
)


def _preview_row(one: PreviewMetric) -> tuple[Cell, ...]:
    summary = one.summary
    numbers = (summary.first_value, summary.last_value, summary.min_value, summary.max_value)
    return (
        *(
            Cell(one.name),
            Cell(one.label),
            Cell(one.unit),
            Cell(_span(summary.first_step, summary.last_step, one.step_unit)),
        ),
        Cell(summary.count, 0),
        *(Cell(value, one.decimals) for value in numbers),
        Cell(_spark(one.values)),
    )


def _span(first: int | None, last: int | None, step_unit: str) -> str:
    if first is None:
        return "reported"
    return f"{step_unit} {first}–{last}" if first != last else f"{step_unit} {first}"


def _spark(values: Sequence[float]) -> str | None:
    return sparkline(values, min(_SPARK_COLUMNS, len(values))) if len(values) > 1 else None


def shown(database: Database, run: RunRecord) -> None:
    """One run: what it is, where it came from, what it holds."""
    facts = [
        ("run", run.name),
        ("uid", run.uid),
        ("experiment", run.experiment),
        ("status", f"{run.status}, from a {run.origin}"),
        ("seed", None if run.seed is None else str(run.seed)),
        ("note", run.note),
    ]
    for source in reader.sources(database, run.id):
        where = [readable(str(path)) for path in reader.paths(database, source)]
        lines = (
            f"{source.line_first}–{source.line_last}" if source.line_first != source.line_last else source.line_first
        )
        facts.append(("source", f"{where[0]}:{lines}"))
        facts += [("", f"the same file lies at {other}") for other in where[1:]]
        facts.append(
            ("", f"read as {source.format} {source.parser_version}, {source.encoding}, {moment(source.ingested_ms)},"
             f" sha256 {source.sha256[:12]}, {_count(source.unparsed, 'line')} not understood")
        )  # fmt: skip
    facts += [("param", f"{key} = {value}") for key, value in run.params.items()]
    facts += [("tag", f"{key} = {value}") for key, value in run.tags.items()]
    edits = database.rows("SELECT edited_ms, field, key, old, new FROM edit WHERE run_id = ? ORDER BY id", (run.id,))
    for edited, what, key, old, new in edits:
        facts.append(("edited", f"{moment(edited)} {what} {key or ''}: {old or '(none)'} → {new or '(none)'}"))
    before = ""
    for name, value in facts:
        if value is not None:
            print(f"{pad('' if name == before else name, 11)}{visible(value)}")
            before = name or before
    if not run.metrics:
        print("no metrics")
        return
    print()
    rows = []
    for metric in run.metrics:
        values = reader.outline(database, metric, _SPARK_COLUMNS)
        nothing = float("nan") if metric.count else None
        numbers = (metric.first_value, metric.last_value, metric.min_value, metric.max_value)
        steps = _span(metric.first_step, metric.last_step, metric.step_unit)
        rows.append(
            (
                *(Cell(metric.key), Cell(metric.label), Cell(metric.unit), Cell(steps), Cell(metric.count, 0)),
                *(Cell(nothing if value is None else value, metric.decimals) for value in numbers),
                Cell(_spark(values)),
            )
        )
    print_table(Table(_METRIC_COLUMNS, tuple(rows)))


def blamed(found: Blame) -> None:
    """`file:line: text`, as grep prints it."""
    for origin in found.origins:
        value = number(Cell(float("nan") if origin.value is None else origin.value))
        step = f"step {origin.step} = " if origin.step is not None else ""
        if origin.line is None:
            print(f"{origin.path}: {step}{value}")
            continue
        if origin.record:
            at = f" at step {origin.step}" if origin.step is not None else ""
            print(f"{visible(origin.path)}: record {origin.line}: {visible(origin.record)} = {value}{at}")
            continue
        # A tab is the line's own; every other control character is shown as a code.
        text = "\t".join(map(visible, (origin.text or "").split("\t")))
        if origin.text is None:
            text = f"({step}{value}; the line cannot be shown)"
        print(f"{visible(origin.path)}:{origin.line}: {text}")
    for remark in found.remarks:
        _tell(remark, None)


def described(found: Info) -> None:
    """The database's place, size and counts."""
    print(f"{'database':<12}{visible(str(found.path))}")
    print(f"{'size':<12}{found.size_bytes:,} bytes, schema {found.schema_version}, journal {found.journal}")
    for table, count in found.counts.items():
        print(f"{table + 's':<12}{count:,}")
    if found.removed:
        print(f"{'removed':<12}{found.removed:,} (expdb restore, or expdb rm --purge)")


def checked(faults: Sequence[Fault], runs: int) -> bool:
    """Every fault, then a verdict; whether any is grave."""
    grave = [fault for fault in faults if fault.grave]
    for fault in faults:
        print(f"{'FAULT' if fault.grave else 'note '} {visible(fault.text)}")
    print(f"{_count(runs, 'run')} checked: {_count(len(grave), 'fault') if grave else 'sound'}")
    return bool(grave)
