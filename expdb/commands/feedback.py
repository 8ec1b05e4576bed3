"""What the commands say: one line per kind, every message naming its file."""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import NoReturn

from expdb import explain, plugins, preview
from expdb.ingest import Outcome, Request
from expdb.listing import UID_SHOWN, came, duration, moment, span, tags_for_people
from expdb.parsers.pattern import ENOUGH_LINES, PREFIX
from expdb.parsers.reading import BINARY
from expdb.preview import Preview, PreviewMetric
from expdb.provenance import Blame
from expdb.records import ASIDE, Cell, Column, Table
from expdb.reports.terminal import print_table
from expdb.reports.text import cut, number, pad, sparkline, visible, width
from expdb.runners.folder import root_of
from expdb.store import launched, reader
from expdb.store.database import Database
from expdb.store.places import readable
from expdb.store.reader import RunRecord
from expdb.store.upkeep import Fault, Info
from expdb.watch import Watch, rest_s

# Fewer files than this are read before a bar is drawn.
_BAR_FROM = 50
_SPARK_COLUMNS = 32
_NAMED = 3
_ROWS = 20
_NARROWEST = 20
_COMMIT_SHOWN = 12


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
        tell(error.message, error.hint)
    for done in outcome.done:
        for change in done.written.changes:
            print(f"{visible(done.path)}: {visible(change)}")
        if done.written.kind == "changed" and not request.again:
            tell(
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
    if twins := [f"{done.path} as {done.same_as}" for done in same if done.same_as]:
        print(f"the same bytes: {_count(len(twins), 'file')}, 0 new runs ({_few(twins)})")
    if same := [done for done in same if not done.same_as]:
        print(f"known already: {_count(sum(done.files for done in same), 'file')}, 0 new runs")
        if request.params or request.tags or request.experiment or request.metric_columns or request.params_from:
            tell(
                "-e, -s, -t, --params-from and --metric-columns change nothing of runs that are known already",
                "expdb edit RUN -e EXPERIMENT -s key=value; expdb ingest --again reads the file anew",
            )
    unknown = [done.path for done in outcome.done if done.format is None]
    if unknown:
        print(f"no log: {_count(len(unknown), 'file')}, 0 runs ({_few(unknown)})")
    if outcome.passed_over:
        names = [f"{name}: {kind}" for name, kind in outcome.passed_over]
        print(f"passed over: {_count(len(names), 'binary file')} ({_names(names)})")
    if outcome.refused:
        print(f"refused: {_count(len(outcome.refused), 'file')}")
    if not outcome.done and not outcome.refused and not outcome.passed_over:
        print("no files found")
    _show_path_params(outcome, request)
    _show_unparsed(outcome)
    if any(done.written.runs for done in outcome.done) and not request.dry_run and sys.stdout.isatty():
        print(f"in {visible(str(path))}; next: expdb compare")


def _show_path_params(outcome: Outcome, request: Request) -> None:
    """What the paths said; of a dry run all of it, file by file."""
    logs = {done.path for done in outcome.done if done.format}
    said = {path: params for path, params in outcome.path_params.items() if path in logs}
    found = {path: params for path, params in said.items() if params}
    if found:
        names = dict.fromkeys(name for params in found.values() for name in params)
        print(f"params from paths: {_count(len(found), 'file')} ({visible(', '.join(names))})")
    if request.dry_run:
        for path, params in found.items():
            print(f"  {visible(path)}: {visible(', '.join(f'{key}={value}' for key, value in params.items()))}")
    without = [path for path in said if path not in found]
    if without:
        print(f"no params in the path: {_count(len(without), 'file')} ({_names(without)})")


def _show_unparsed(outcome: Outcome) -> None:
    first = next((done for done in outcome.done if done.written.unparsed), None)
    if first:
        if any(text.startswith("a table of numbers: ") for _, text in first.written.examples):
            tell("a table's columns are results where --metric-columns names their headers", None)
        line, text = (first.written.examples or ((0, "a line of more than 1 MB"),))[0]
        tell(f"not understood, for example {first.path}:{line}: {cut(visible(text), 100)}", None)
        tell(f"expdb parse {visible(first.path)} shows more", None)


def _unit_of_source(found: Preview) -> str:
    """Lines of a text, records of a binary file, both of a folder."""
    return "record" if found.encoding == BINARY else "line"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    # Into a pipe everything goes; a person gets the first few.
    return _few(names) if sys.stdout.isatty() else visible(", ".join(names))


def _few(names: Sequence[str]) -> str:
    more = f", and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return visible(", ".join(names[:_NAMED]) + more)


def tell(message: str, hint: str | None = None) -> None:
    """A sentence that is no result, and what to type next."""
    print(f"expdb: {visible(message)}", file=sys.stderr)
    if hint:
        print(f"  {visible(hint)}", file=sys.stderr)


def faulty() -> None:
    """What is wrong with the readers of other packages, as far as they were asked."""
    for error in plugins.faults():
        tell(error.message, error.hint)


def formats() -> None:
    """Every reader there is: its name, where it comes from, what it reads."""
    columns = tuple(Column(title, title) for title in ("format", "from", "reads"))
    known = plugins.all_parsers()
    rows = [(Cell(name), Cell(plugins.origin(one)), Cell(one.SUMMARY)) for name, one in known.items()]
    print_table(Table(columns, tuple(rows)))


def kept(path: Path, name: str, found: Preview) -> None:
    """A pattern went into expdb.toml."""
    tell(f"kept in {os.path.relpath(path)} as {PREFIX}{name}: parse and ingest use it from now on", None)
    if sum(kind.count for kind in found.kinds) < ENOUGH_LINES:
        tell(
            f"only one line matches, and a file is taken for {PREFIX}{name} where {ENOUGH_LINES} do",
            f"for this one: expdb ingest {visible(found.file)} --as {PREFIX}{name}",
        )


def watched(watch: Watch, every_s: float) -> None:
    """Follow files until Ctrl-C or `kill`: one line for each that changed, a sum at the end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _watch(watch, every_s)
    except KeyboardInterrupt:
        totals = watch.totals
        stored = f"{_count(totals.runs, 'new run')} and {_count(totals.points, 'new point')} stored"
        print(f"stopped: {stored} in {visible(str(watch.database))}; the same command goes on from there", flush=True)


def _watch(watch: Watch, every_s: float) -> NoReturn:
    began_s = time.monotonic()
    _say_changes(watch)
    known = f" ({watch.totals.known:,} known already)" if watch.totals.known else ""
    tell(f"watching {_count(watch.totals.files, 'file')}{known}, a look every {every_s:g} s; Ctrl-C ends", None)
    while True:
        sys.stderr.flush()
        time.sleep(rest_s(every_s, time.monotonic() - began_s))
        began_s = time.monotonic()
        _say_changes(watch)


def _say_changes(watch: Watch) -> None:
    for change in watch.look():
        if change.trouble:
            tell(change.text, None)
        else:
            # Who reads this through a pipe waits for it.
            print(visible(change.text), flush=True)
    for error in plugins.faults():
        if error.message not in watch.faults:
            watch.faults.add(error.message)
            tell(error.message, error.hint)


def explained(found: Preview) -> None:
    """Why a file was understood as it was."""
    word = _unit_of_source(found)
    print(f"file     {visible(readable(found.file))}: {_count(found.lines, word)}, {found.encoding}")
    _say("format   ", _format_said(found))
    if found.runs:
        print(f"runs     {len(found.runs):,}, {_count(found.unparsed, word)} not understood")
    for kind in found.kinds:
        print(f"\n{_count(kind.count, word)} of this kind, the first is {word} {kind.line}:")
        _say("  ", kind.text, cut_short=True)
        if kind.step:
            _say("  step: ", kind.step)
        print_table(_text_table(("field", "metric", "taken for"), kind.fields))
    if found.runs:
        print()
        places = [
            f"{run.line_first}–{run.line_last}" if run.line_first != run.line_last else str(run.line_first)
            for run in found.runs
        ]
        names = [run.name for run in found.runs]
        rows = list(zip(places, names, explain.run_reasons(found), strict=True))
        _say_table((f"{word}s", "run", "begins because"), rows)
    units = explain.units(found)
    if units:
        print()
        _say_table(("label", "metric", "unit", "because"), [(u.label, u.name, u.unit or "", u.why) for u in units])
    _say_asides(found)
    if found.unparsed:
        print(f"\nnot understood: {_count(found.unparsed, word)}" + (", the first:" if found.examples else ""))
    elif found.format is None:
        print("\nit begins:")
    for line, text in found.examples:
        _say(f"  {word} {line}: ", text, cut_short=True)
    print("\nnext")
    for step in explain.next_steps(found):
        _say("  ", f"{step.why}:", style="dim")
        # Folded, it could not be copied.
        print(f"    {visible(step.command)}")


def _format_said(found: Preview) -> str:
    if found.sources:
        return f"{found.format}, a folder of {_count(len(found.sources), 'source')}"
    asked = {name: sure for name, sure in found.sureness.items() if sure > 0}
    own = asked.pop(found.format or "", None)
    said = found.format or "not a log: no reader knows it"
    if found.format:
        said += f" ({explain.sure(own)})" if own else " (as you say; of itself it does not know the file)"
    others = ", ".join(f"{name} {explain.sure(one)}" for name, one in asked.items())
    return f"{said}; also {others}" if others else said


def _say_asides(found: Preview) -> None:
    names = explain.asides(found)
    if names:
        print()
        _say("", f"asides, not stored: {', '.join(names)}", style="dim")


def _say_table(titles: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """A table of words; a person gets its first rows."""
    shown = rows[:_ROWS] if sys.stdout.isatty() else rows
    print_table(_text_table(titles, shown))
    if len(rows) > len(shown):
        print(f"and {len(rows) - len(shown):,} more (all: | less)")


def _text_table(titles: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    return Table(tuple(Column(title, title) for title in titles), tuple(tuple(map(Cell, row)) for row in rows))


def _say(head: str, text: str, *, style: str = "", cut_short: bool = False) -> None:
    """A line with text of the file: on a terminal folded under its head, or cut to the width; anywhere else whole."""
    text = visible(text)
    if not sys.stdout.isatty():
        print(head + text)
        return
    columns = max(shutil.get_terminal_size().columns - width(head), _NARROWEST)
    lines = [cut(text, columns)] if cut_short else wrap(text, columns, break_on_hyphens=False) or [""]
    shown = "\n".join((head if n == 0 else " " * len(head)) + line for n, line in enumerate(lines))
    if not style:
        print(shown)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)
    console.print(Text(shown, style=style), soft_wrap=True)


def as_json(found: Preview, explain_too: bool) -> None:
    """All that was understood, on one line."""
    said = preview.as_json(found)
    if explain_too:
        said["explain"] = explain.as_json(found)
    print(json.dumps(said, ensure_ascii=False, allow_nan=False))


def previewed(found: Preview) -> None:
    """What was understood of a file."""
    word = _unit_of_source(found)
    print(f"file     {visible(readable(found.file))}: {_count(found.lines, word)}, {found.encoding}")
    print(f"format   {found.format or 'not a log: 0 runs'}")
    if found.format is None:
        return
    print(f"runs     {len(found.runs)}, {_count(found.unparsed, word)} not understood")
    for line, text in found.examples:
        print(f"         {word} {line}: {cut(visible(text), 100)}")
    for run in found.runs:
        places = ", ".join(f"{a}–{b}" if a != b else str(a) for a, b in ((run.line_first, run.line_last), *run.repeats))
        reason = f" ({run.reason})" if run.reason else ""
        print(f"\n{visible(run.name)}\n  {word}s {places}{visible(reason)}")
        for key, value in run.params.items():
            print(f"  {visible(key)} = {visible(value)}")
        results = [one for one in run.metrics if one.kind != ASIDE]
        if results:
            print_table(Table(_METRIC_COLUMNS, tuple(map(_preview_row, results))))
    _say_asides(found)


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
            Cell(span(summary.first_step, summary.last_step, one.step_unit) or "reported"),
        ),
        Cell(summary.count, 0),
        *(Cell(value, one.decimals) for value in numbers),
        Cell(_spark(one.values)),
    )


def _spark(values: Sequence[float]) -> str | None:
    return sparkline(values, min(_SPARK_COLUMNS, len(values))) if len(values) > 1 else None


def shown(database: Database, run: RunRecord) -> None:
    """One run: what it is, where it came from, what it holds."""
    facts = [
        ("run", run.name),
        ("uid", run.uid),
        ("experiment", run.experiment),
        ("status", f"{run.status}, {came(run.origin)}"),
        ("seed", None if run.seed is None else str(run.seed)),
        ("note", run.note),
        *_ran(database, run),
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
    facts += [("tag", f"{key} = {value}") for key, value in tags_for_people(run.tags).items()]
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
        steps = span(metric.first_step, metric.last_step, metric.step_unit) or "reported"
        rows.append(
            (
                *(Cell(metric.key), Cell(metric.label), Cell(metric.unit), Cell(steps), Cell(metric.count, 0)),
                *(Cell(nothing if value is None else value, metric.decimals) for value in numbers),
                Cell(_spark(values)),
            )
        )
    print_table(Table(_METRIC_COLUMNS, tuple(rows)))


def _ran(database: Database, run: RunRecord) -> Iterator[tuple[str, str | None]]:
    """What ran a run: when, what, where."""
    above = launched.parent(database, run.id)
    if above:
        yield "below", f"{above[1]} {above[0][:UID_SHOWN]}"
    if run.started_ms is not None:
        took = f", took {duration(run.ended_ms - run.started_ms)}" if run.ended_ms is not None else ", not ended"
        yield "started", f"{moment(run.started_ms)}{took}"
    started = launched.started_for(database, run.id)
    found = launched.surroundings(database, started[0]) if started else None
    if started is None or found is None:
        return
    yield "command", found.command
    yield "", f"in {found.cwd}" if found.command and found.cwd else None
    yield "exit code", None if found.exit_code is None else str(found.exit_code)
    yield "host", found.host
    yield "gpu", found.gpu
    versions = ((found.python, ""), (found.torch, "torch "), (found.cuda, "CUDA "))
    yield "python", ", ".join(f"{what}{version}" for version, what in versions if version) or None
    commit = found.git_commit and found.git_commit[:_COMMIT_SHOWN]
    yield "commit", f"{commit} and changes" if commit and found.git_dirty else commit
    folder = root_of(database.address) / started[1]
    if folder.is_dir():
        here = Path.cwd()
        yield "folder", readable(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))


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
        tell(remark, None)


def described(found: Info) -> None:
    """The database's place, size and counts."""
    print(f"{'database':<12}{visible(str(found.address))}")
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
