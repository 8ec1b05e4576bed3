"""Experiments and runs as a tracking client names them: made, changed, hidden, read back with all their words.

What a client calls a tag is sometimes a column here (`mlflow.runName` is the run's name), or follows from what expdb
knows (a log's path is its source); `DERIVED` says which. Callers that change something do so inside
`Database.transaction`. The statements run on both engines.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from expdb.records import RunStatus
from expdb.store.database import Database, Row, Value
from expdb.store.writer import as_number

RUN_NAME, NOTE, PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
_Key = TypeVar("_Key", int, str)
# Ids bound to one statement; some builds of SQLite take no more than 999 values.
_AT_ONCE = 500

# A run that was read from a log began, as far as anybody knows, when it was taken in.
STARTED = (
    "coalesce(r.started_ms, (SELECT min(s.ingested_ms) FROM run_source l JOIN source s ON s.id = l.source_id"
    " WHERE l.run_id = r.id), 0)"
)
_OURS = "CASE WHEN r.origin <> 'mlflow' THEN {} END"
# Tags that no client wrote, each an expression over run r.
DERIVED = {
    RUN_NAME: "r.name",
    NOTE: "r.note",
    PARENT: "(SELECT above.uid FROM run above WHERE above.id = r.parent_id)",
    "mlflow.user": _OURS.format("r.user_name"),
    "mlflow.source.type": _OURS.format("'LOCAL'"),
    "mlflow.source.name": _OURS.format(
        "coalesce((SELECT command FROM provenance WHERE run_id = r.id), (SELECT min(place.path) FROM run_source l"
        " JOIN source_place place ON place.source_id = l.source_id WHERE l.run_id = r.id AND l.source_no = 1))"
    ),
    "mlflow.source.git.commit": _OURS.format("(SELECT git_commit FROM provenance WHERE run_id = r.id)"),
}
RUN = (
    f"r.id, r.uid, r.experiment_id, r.origin, r.status, r.user_name, r.artifact_uri, {STARTED}, r.ended_ms,"
    f" r.deleted_ms, {', '.join(DERIVED.values())}"
)


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """An experiment with its tags. artifact_uri: None where no client has asked for one yet."""

    id: int
    name: str
    artifact_uri: str | None
    created_ms: int
    updated_ms: int
    deleted_ms: int | None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LastValue:
    """The last point of a metric. value None is NaN; step and time None: a page stated it, or a log without times."""

    key: str
    value: float | None
    time_ms: int | None
    step: int | None


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run with its words and the last value of each metric. tags: those of `DERIVED`, too."""

    id: int
    uid: str
    experiment_id: int
    name: str
    origin: str
    status: RunStatus
    user_name: str | None
    artifact_uri: str | None
    started_ms: int
    ended_ms: int | None
    deleted_ms: int | None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[LastValue] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunHead:
    """What has to be known of a run before it is changed."""

    id: int
    experiment_id: int
    deleted: bool


# Experiments


def experiment(database: Database, experiment_id: int) -> ExperimentRecord | None:
    """The experiment of that number, deleted or not."""
    return next(iter(_experiments(database, "WHERE e.id = ?", (experiment_id,))), None)


def experiment_named(database: Database, name: str) -> ExperimentRecord | None:
    """The experiment of that name, deleted or not."""
    return next(iter(_experiments(database, "WHERE e.name = ?", (name,))), None)


def experiments(database: Database, clauses: str, values: Sequence[Value]) -> list[ExperimentRecord]:
    """Experiments e by clauses made by `tracking_search`."""
    return _experiments(database, clauses, values)


def _experiments(database: Database, clauses: str, values: Sequence[Value]) -> list[ExperimentRecord]:
    columns = "e.id, e.name, e.artifact_uri, e.created_ms, e.updated_ms, e.deleted_ms, e.note"
    with database.view():
        rows = database.rows(f"SELECT {columns} FROM experiment e {clauses}", values)
        found = {row[0]: ExperimentRecord(*row[:6]) for row in rows}
        for some, marks in portions(found):
            for experiment_id, key, value in database.rows(
                f"SELECT experiment_id, key, value FROM experiment_tag WHERE experiment_id IN ({marks})", some
            ):
                found[experiment_id].tags[key] = value
    for row in rows:
        if row[6] is not None:
            found[row[0]].tags[NOTE] = row[6]
    return list(found.values())


def add_experiment(database: Database, name: str, artifact_uri: str | None, now_ms: int) -> int | None:
    """The new experiment's number; None where the name is taken, be it by a deleted one."""
    rows = database.rows(
        "INSERT INTO experiment (name, artifact_uri, created_ms, updated_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO NOTHING RETURNING id",
        (name, artifact_uri, now_ms, now_ms),
    )
    return int(rows[0][0]) if rows else None


def place_experiment(database: Database, experiment_id: int, artifact_uri: str) -> None:
    """Where the experiment's files go, from now on."""
    database.connection.execute("UPDATE experiment SET artifact_uri = ? WHERE id = ?", (artifact_uri, experiment_id))


def rename_experiment(database: Database, experiment_id: int, name: str, now_ms: int) -> bool:
    """Give the experiment another name; False where another one has it."""
    if database.rows("SELECT 1 FROM experiment WHERE name = ? AND id <> ?", (name, experiment_id)):
        return False
    database.connection.execute(
        "UPDATE experiment SET name = ?, updated_ms = ? WHERE id = ?", (name, now_ms, experiment_id)
    )
    return True


def hide_experiment(database: Database, experiment_id: int, now_ms: int) -> None:
    """Delete an experiment with its runs, as MLflow does; `show_experiment` brings all of them back."""
    database.connection.execute(
        "UPDATE experiment SET deleted_ms = ?, updated_ms = ? WHERE id = ?", (now_ms, now_ms, experiment_id)
    )
    database.connection.execute("UPDATE run SET deleted_ms = ? WHERE experiment_id = ?", (now_ms, experiment_id))


def show_experiment(database: Database, experiment_id: int, now_ms: int) -> None:
    """Bring a deleted experiment back with all its runs."""
    database.connection.execute(
        "UPDATE experiment SET deleted_ms = NULL, updated_ms = ? WHERE id = ?", (now_ms, experiment_id)
    )
    database.connection.execute("UPDATE run SET deleted_ms = NULL WHERE experiment_id = ?", (experiment_id,))


def tag_experiment(database: Database, experiment_id: int, key: str, value: str) -> None:
    """Set one tag; the description is the experiment's note."""
    if key == NOTE:
        database.connection.execute("UPDATE experiment SET note = ? WHERE id = ?", (value, experiment_id))
        return
    database.connection.execute(
        "INSERT INTO experiment_tag (experiment_id, key, value) VALUES (?, ?, ?)"
        " ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value",
        (experiment_id, key, value),
    )


def untag_experiment(database: Database, experiment_id: int, key: str) -> bool:
    """Take a tag away; False where there is none."""
    if key == NOTE:
        sql = "UPDATE experiment SET note = NULL WHERE id = ? AND note IS NOT NULL RETURNING id"
        return bool(database.rows(sql, (experiment_id,)))
    sql = "DELETE FROM experiment_tag WHERE experiment_id = ? AND key = ? RETURNING key"
    return bool(database.rows(sql, (experiment_id, key)))


# Runs


def head(database: Database, uid: str) -> RunHead | None:
    """The run of that uid, deleted or not."""
    rows = database.rows("SELECT id, experiment_id, deleted_ms FROM run WHERE uid = ?", (uid,))
    return RunHead(rows[0][0], rows[0][1], rows[0][2] is not None) if rows else None


def runs(database: Database, clauses: str, values: Sequence[Value]) -> list[TrackedRun]:
    """Runs r by clauses made by `tracking_search`, with words and last values. To be read within one view."""
    found: dict[int, TrackedRun] = {}
    for row in database.rows(f"SELECT {RUN} FROM run r {clauses}", values):
        found[row[0]] = _run(row)
    for some, marks in portions(found):
        for run_id, key, value in database.rows(
            f"SELECT run_id, key, value FROM param WHERE run_id IN ({marks})", some
        ):
            found[run_id].params[key] = value
        for run_id, key, value in database.rows(f"SELECT run_id, key, value FROM tag WHERE run_id IN ({marks})", some):
            found[run_id].tags[key] = value
        for run_id, *last in database.rows(
            f"SELECT run_id, key, last_value, last_time_ms, last_step FROM metric WHERE run_id IN ({marks})"
            " AND count > 0",
            some,
        ):
            found[run_id].metrics.append(LastValue(*last))
    return list(found.values())


def _run(row: Row) -> TrackedRun:
    run_id, uid, experiment_id, origin, status, user_name, artifact_uri, started_ms, ended_ms, deleted_ms = row[:10]
    words = {key: str(value) for key, value in zip(DERIVED, row[10:], strict=True) if value is not None}
    name = words[RUN_NAME]
    times = (started_ms, ended_ms, deleted_ms)
    return TrackedRun(*(run_id, uid, experiment_id, name, origin, status, user_name, artifact_uri, *times), tags=words)


def add_run(
    database: Database,
    experiment_id: int,
    name: str,
    user_name: str | None,
    started_ms: int | None,
    artifact_uri: str,
    uid: str | None = None,
) -> tuple[int, str]:
    """Begin a run of MLflow's; its number and its uid."""
    uid = uid or uuid4().hex
    rows = database.rows(
        "INSERT INTO run (uid, experiment_id, name, origin, status, user_name, artifact_uri, started_ms)"
        " VALUES (?, ?, ?, 'mlflow', 'running', ?, ?, ?) RETURNING id",
        (uid, experiment_id, name, user_name, artifact_uri, started_ms),
    )
    return int(rows[0][0]), uid


def update_run(
    database: Database, run_id: int, status: RunStatus | None, ended_ms: int | None, name: str | None
) -> None:
    """Change what is not None."""
    for column, value in (("status", status), ("ended_ms", ended_ms), ("name", name)):
        if value is not None:
            database.connection.execute(f"UPDATE run SET {column} = ? WHERE id = ?", (value, run_id))


def hide_run(database: Database, run_id: int, deleted_ms: int | None) -> None:
    """Delete a run, or bring it back (None)."""
    database.connection.execute("UPDATE run SET deleted_ms = ? WHERE id = ?", (deleted_ms, run_id))


def set_tags(database: Database, run_id: int, tags: Iterable[tuple[str, str]]) -> None:
    """Set tags of a run; the later of two with one key holds. Name, description and parent are no tags here."""
    rows = []
    for key, value in dict(tags).items():
        if key == RUN_NAME:
            # As in MLflow, a run does not lose its name.
            update_run(database, run_id, None, None, value or None)
        elif key == NOTE:
            database.connection.execute("UPDATE run SET note = ? WHERE id = ?", (value, run_id))
        elif key != PARENT or not _put_below(database, run_id, value):
            rows.append((run_id, key, value))
    if rows:
        database.connection.executemany(
            "INSERT INTO tag (run_id, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value",
            rows,
        )


def _put_below(database: Database, run_id: int, parent: str) -> bool:
    """Put a run below another; False where the database does not know that one, or it is the run itself."""
    rows = database.rows("SELECT id FROM run WHERE uid = ? AND id <> ?", (parent, run_id))
    # A run that begins again below another one is below that one alone.
    database.connection.execute("DELETE FROM tag WHERE run_id = ? AND key = ?", (run_id, PARENT))
    database.connection.execute("UPDATE run SET parent_id = ? WHERE id = ?", (rows[0][0] if rows else None, run_id))
    return bool(rows)


def tag(database: Database, run_id: int, key: str) -> str | None:
    """The value of a tag as a client reads it."""
    rows = database.rows("SELECT value FROM tag WHERE run_id = ? AND key = ?", (run_id, key))
    if not rows and key in DERIVED:
        rows = database.rows(f"SELECT {DERIVED[key]} FROM run r WHERE r.id = ?", (run_id,))
    return rows[0][0] if rows else None


def untag(database: Database, run_id: int, key: str) -> bool:
    """Take a tag away; False where there is none. A run keeps its name, and what expdb derived."""
    if database.rows("DELETE FROM tag WHERE run_id = ? AND key = ? RETURNING key", (run_id, key)):
        return True
    there = tag(database, run_id, key) is not None
    for word, column in ((NOTE, "note"), (PARENT, "parent_id")):
        if there and key == word:
            database.connection.execute(f"UPDATE run SET {column} = NULL WHERE id = ?", (run_id,))
    return there


def params_of(database: Database, run_id: int, keys: Sequence[str]) -> dict[str, str]:
    """The values of those of the params that the run has."""
    out: dict[str, str] = {}
    for some, marks in portions(keys):
        rows = database.rows(f"SELECT key, value FROM param WHERE run_id = ? AND key IN ({marks})", (run_id, *some))
        out.update((key, value) for key, value in rows)
    return out


def add_params(database: Database, run_id: int, params: Iterable[tuple[str, str]]) -> None:
    """Store params that the run does not have yet."""
    database.connection.executemany(
        "INSERT INTO param (run_id, key, value, number) VALUES (?, ?, ?, ?)",
        [(run_id, key, value, as_number(value)) for key, value in params],
    )


def portions(keys: Iterable[_Key]) -> Iterator[tuple[list[_Key], str]]:
    """Keys in portions that one statement takes, each with its placeholders."""
    rest = iter(keys)
    while some := list(islice(rest, _AT_ONCE)):
        yield some, ", ".join("?" * len(some))
