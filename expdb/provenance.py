"""Where a number came from: the file, the line, and what the line says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expdb.errors import InputError, NotFoundError
from expdb.parsers.reading import BINARY, Reading
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.places import STDIN, readable, still_begins
from expdb.store.reader import MetricRecord, RunRecord, SourceRecord


@dataclass(frozen=True, slots=True)
class Origin:
    """One value and its line. text None: the line cannot be shown; a remark says why.

    record: the label under which a record of a binary file holds the value; line is the record's number then.
    """

    step: int | None
    value: float | None
    path: str
    line: int | None
    text: str | None
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Blame:
    """The origins of a metric's values, and what has to be said about their sources."""

    origins: tuple[Origin, ...]
    remarks: tuple[str, ...]


def blame(database: Database, run: RunRecord, metric: MetricRecord, step: int | None = None) -> Blame:
    """Every value of the metric, or those of one step. Raises NotFoundError where there is none at that step."""
    with database.view():
        return _blame(database, run, metric, step)


def _blame(database: Database, run: RunRecord, metric: MetricRecord, step: int | None) -> Blame:
    points = reader.points(database, metric.id, step)
    if not points:
        raise NotFoundError(
            f"{metric.key} of {run.name} has no value at step {step}",
            hint=f"its steps go from {metric.first_step} to {metric.last_step}",
        )
    quoted: dict[int, _Quoted] = {}
    remarks: dict[str, None] = {}
    sources = reader.sources(database, run.id)
    used = {p.source_no for p in points}
    read_from = {source.id for source in sources if source.source_no in used}
    for source in sources:
        if source.id not in read_from:
            # It gave other metrics, or other steps.
            continue
        wanted = {p.line for p in points if p.source_no == source.source_no and p.line is not None}
        # A table that stands on the page twice: the second place is told, not quoted.
        quoted[source.source_no] = _quote(database, source, wanted or {source.line_first})
        remarks.update(dict.fromkeys(quoted[source.source_no].remarks))
        if not wanted:
            remarks[f"stated again at {quoted[source.source_no].path}:{source.line_first}"] = None
    origins = []
    for point in points:
        found = quoted.get(point.source_no) if point.source_no is not None else None
        if found is None or point.line is None:
            origins.append(Origin(point.step, point.value, "(typed in by hand)", None, None))
            continue
        record = metric.label if found.is_binary else None
        origins.append(Origin(point.step, point.value, found.path, point.line, found.lines.get(point.line), record))
    corrected = database.rows(
        "SELECT 1 FROM edit WHERE run_id = ? AND field = 'metric' AND key = ?", (run.id, metric.key)
    )
    # A value that was typed in has nothing it was read from.
    if corrected and any(origin.line is not None for origin in origins):
        remarks["the value was corrected by hand after it was read"] = None
    return Blame(tuple(origins), tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Quoted:
    path: str
    lines: dict[int, str]
    remarks: Sequence[str]
    is_binary: bool


def _quote(database: Database, source: SourceRecord, wanted: set[int]) -> _Quoted:
    """The wanted lines of a source, from the page as it was read or from the log as it is now."""
    paths = [path for place, path in zip(source.places, reader.paths(database, source), strict=True) if place != STDIN]
    begins = {path: _begins(path, source) for path in paths}
    # The latest place that still has it, else the latest where there is anything at all.
    path = next((p for answer in (True, False) for p in paths if begins[p] is answer), None)
    shown = readable(str(path or next(iter(paths), STDIN)))
    kept = reader.content(database, source.id)
    remarks = []
    if path is None:
        remarks.append(f"{shown} is no longer there" if paths else "it came through a pipe")
    elif not begins[path]:
        as_it_was = "; the lines are quoted as they were" if kept is not None else ""
        remarks.append(f"{shown} has changed since it was ingested{as_it_was}")
    if source.encoding == BINARY:
        # A record is no text to be quoted.
        return _Quoted(shown, {}, remarks, is_binary=True)
    try:
        reading = Reading.of_bytes(kept, shown) if kept is not None else Reading.of_file(path) if path else None
        lines = dict(_lines(reading, wanted)) if reading else {}
    except InputError:
        # Emptied, or binary by now.
        lines = {}
    return _Quoted(shown, lines, remarks, is_binary=False)


def _begins(path: Path, source: SourceRecord) -> bool | None:
    """Whether the file still begins as it was read; None where it cannot be read at all."""
    try:
        return still_begins(path, source.sha256, source.size_bytes)
    except OSError:
        return None


def _lines(reading: Reading, wanted: set[int]) -> Iterator[tuple[int, str]]:
    last = max(wanted)
    for block in reading.blocks():
        lines = block.text.removesuffix("\n").split("\n")
        for number in sorted(wanted):
            if block.line <= number < block.line + len(lines):
                yield number, lines[number - block.line].removesuffix("\r")
        if block.line + len(lines) > last:
            return
