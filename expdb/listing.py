"""Lists: runs, experiments, and the answer to a person's own SQL, as tables."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from expdb.compare import Query, select
from expdb.compare.evaluation import longest_curve
from expdb.expressions import Condition
from expdb.records import BOOKKEEPING_TAGS, Cell, Column, Table
from expdb.store.database import Database
from expdb.store.launched import UNSETTLED
from expdb.store.reader import RunRecord

UID_SHOWN = 8
_CAME = {
    "log": "from a log",
    "page": "from a page",
    "launch": "launched",
    "api": "from Python",
    "mlflow": "from MLflow",
}


def runs(database: Database, experiment: str | None, where: Condition | None, *, unsettled: bool = False) -> Table:
    """One row for each run, oldest first. unsettled: only for those that have not ended."""
    records = select(database, Query(experiment=experiment, where=where))
    if unsettled:
        records = [record for record in records if record.status in UNSETTLED]
    rows = []
    for record in records:
        points = sum(metric.count for metric in record.metrics)
        words = (record.uid[:UID_SHOWN], record.name, record.experiment, record.origin, record.status, _steps(record))
        rows.append((*map(Cell, words), Cell(len(record.metrics), 0), Cell(points, 0)))
    words = ("uid", "run", "experiment", "origin", "status", "steps")
    return Table(
        (*(Column(w, w) for w in words), *(Column(w, w, numeric=True) for w in ("metrics", "points"))), tuple(rows)
    )


def _steps(record: RunRecord) -> str | None:
    """What the run's longest curve counts, and from where to where: `epoch 80–85`; None for reported results."""
    longest = longest_curve(record)
    if longest is None:
        return None
    return span(longest.first_step, longest.last_step, longest.step_unit)


def span(first: int | None, last: int | None, step_unit: str) -> str | None:
    """First and last step with what they count, `iteration 100–5000`; None where there are none."""
    if first is None:
        return None
    return f"{step_unit} {first}–{last}" if first != last else f"{step_unit} {first}"


def experiments(database: Database) -> Table:
    """One row for each experiment."""
    found = database.rows(
        "SELECT experiment, runs, metrics, points, updated_ms, note FROM experiment_summary ORDER BY 1"
    )
    rows = tuple(
        (Cell(name), Cell(run_count, 0), Cell(metric_count, 0), Cell(points, 0), Cell(moment(updated)), Cell(note))
        for name, run_count, metric_count, points, updated, note in found
        # The one that always exists is only worth a line once something is in it.
        if run_count or name != "Default"
    )
    numeric = ("runs", "metrics", "points")
    words = ("experiment", *numeric, "updated", "note")
    return Table(tuple(Column(w, w, numeric=w in numeric) for w in words), rows)


def answer(database: Database, sql: str) -> Table:
    """The rows of one reading statement. Raises UsageError for anything else."""
    found = database.ask(sql)
    rows = [tuple(map(_cell, row)) for row in found.rows]
    columns = []
    for place, name in enumerate(found.columns):
        values = [row[place].value for row in rows if row[place].value is not None]
        columns.append(Column(name, name, numeric=bool(values) and not any(isinstance(v, str) for v in values)))
    return Table(tuple(columns), tuple(rows))


def _cell(value: Any) -> Cell:  # whatever SQLite holds
    if isinstance(value, bytes):
        return Cell(f"<{len(value)} bytes>")
    return Cell(value, 0) if isinstance(value, int) else Cell(value)


def moment(milliseconds: int | None) -> str | None:
    """A time as people write it, in their own zone."""
    return datetime.fromtimestamp(milliseconds / 1000).strftime("%Y-%m-%d %H:%M") if milliseconds else None


def duration(milliseconds: int) -> str:
    """1:05, 2:03:04, 3 d 04:05:06."""
    minutes, s = divmod(max(0, milliseconds) // 1000, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h:02}:{m:02}:{s:02}"
    return f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"


def came(origin: str) -> str:
    """How a run got here: `launched`, `from a log`."""
    return _CAME.get(origin, f"from {origin}")


def tags_for_people(tags: Mapping[str, str]) -> dict[str, str]:
    """Without those that expdb keeps for itself."""
    return {key: value for key, value in tags.items() if key not in BOOKKEEPING_TAGS}
