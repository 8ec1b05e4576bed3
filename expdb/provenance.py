"""Where a number came from: the file, the line, and what the line says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expdb.errors import InputError, NotFoundError
from expdb.parsers.reading import Reading
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.places import STDIN, readable
from expdb.store.reader import MetricRecord, RunRecord, SourceRecord


@dataclass(frozen=True, slots=True)
class Origin:
    """One value and its line. text None: the line cannot be shown; why says so."""

    step: int | None
    value: float | None
    path: str
    line: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Blame:
    """The origins of a metric's values, and what has to be said about their sources."""

    origins: tuple[Origin, ...]
    remarks: tuple[str, ...]


def blame(database: Database, run: RunRecord, metric: MetricRecord, step: int | None = None) -> Blame:
    """Every value of the metric, or those of one step. Raises NotFoundError where there is none at that step."""
    points = [p for p in reader.points(database, metric.id) if step is None or p.step == step]
    if not points:
        raise NotFoundError(
            f"{metric.key} of {run.name} has no value at step {step}",
            hint=f"its steps go from {metric.first_step} to {metric.last_step}",
        )
    quoted: dict[int, _Quoted] = {}
    remarks: dict[str, None] = {}
    for source in reader.sources(database, run.id):
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
        origins.append(Origin(point.step, point.value, found.path, point.line, found.lines.get(point.line)))
    edits = database.rows("SELECT 1 FROM edit WHERE run_id = ? AND field = 'metric' AND key = ?", (run.id, metric.key))
    if edits:
        remarks["the value was corrected by hand after it was read"] = None
    return Blame(tuple(origins), tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Quoted:
    path: str
    lines: dict[int, str]
    remarks: Sequence[str]


def _quote(database: Database, source: SourceRecord, wanted: set[int]) -> _Quoted:
    """The wanted lines of a source, from the page as it was read or from the log as it is now."""
    paths = reader.paths(database, source)
    path = next((p for p in paths if p.is_file()), paths[0] if paths else Path(STDIN))
    shown = readable(str(path))
    try:
        now = Reading.of_file(path) if path != Path(STDIN) else None
        changed = now is not None and now.prefix_sha256(source.size_bytes) != source.sha256
    except (InputError, OSError):
        now, changed = None, False
    remarks = []
    if changed:
        remarks.append(f"{shown} has changed since it was ingested")
    elif now is None:
        remarks.append(f"{shown} is no longer there" if path != Path(STDIN) else "it came through a pipe")
    kept = reader.content(database, source.id)
    then = Reading.of_bytes(kept, shown) if kept is not None else now
    if kept is not None and changed:
        remarks[-1] += "; the lines are quoted as they were"
    return _Quoted(shown, dict(_lines(then, wanted)) if then else {}, remarks)


def _lines(reading: Reading, wanted: set[int]) -> Iterator[tuple[int, str]]:
    last = max(wanted)
    for block in reading.blocks():
        lines = block.text.split("\n")
        for number in sorted(wanted):
            if block.line <= number < block.line + len(lines):
                yield number, lines[number - block.line].removesuffix("\r")
        if block.line + len(lines) > last + 1:
            return
