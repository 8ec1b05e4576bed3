"""Runs that were launched: their rows, their state, and what they ran on."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from expdb.address import Server
from expdb.records import RunStatus
from expdb.store import statements as sql
from expdb.store.database import Database, Value
from expdb.store.writer import Writer, as_number, delete_run

_UID = re.compile(r"[0-9a-f]{32}")
# A run of these goes on, or is yet to begin.
UNSETTLED: tuple[RunStatus, ...] = ("scheduled", "running")


@dataclass(frozen=True, slots=True)
class Birth:
    """What is known of a run before it begins. parent: uid of the run it belongs to; note: for people."""

    uid: str
    experiment: str
    name: str
    origin: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    seed: int | None = None
    parent: str | None = None
    user_name: str | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run ran on, as table `provenance` has it; None is not known. packages: JSON, name to version."""

    command: str | None = None
    cwd: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    git_diff: str | None = None
    host: str | None = None
    gpu: str | None = None
    driver: str | None = None
    python: str | None = None
    torch: str | None = None
    cuda: str | None = None
    packages: str | None = None
    expdb_version: str | None = None
    runner: str | None = None
    attempt: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A run that has not ended, as far as the database knows."""

    id: int
    uid: str
    name: str
    experiment: str
    status: RunStatus


def unsettled(database: Database) -> list[Unsettled]:
    """The runs that have not ended, oldest first."""
    return [Unsettled(*row) for row in database.rows(sql.UNSETTLED)]


def unsettled_here(database: Database, root: Path) -> list[Unsettled]:
    """Those of them that can be told of from here. root: of the run folders. In a file's database that is all: one
    without a folder is lost; in a server's, its folder may be another machine's, or another project's."""
    found = unsettled(database)
    return [one for one in found if (root / one.uid).is_dir()] if isinstance(database.address, Server) else found


def strays(database: Database | None, root: Path) -> list[str]:
    """Run folders below root that the database does not know, or that were made before there was one."""
    try:
        names = {one.name for one in root.iterdir() if _UID.fullmatch(one.name)}
    except OSError:
        return []
    if names and database is not None:
        names -= {str(uid) for (uid,) in database.rows("SELECT uid FROM run")}
    return sorted(name for name in names if (root / name / "spec.json").is_file())


def put_run(writer: Writer, birth: Birth, status: RunStatus, started_ms: int | None) -> tuple[int, str]:
    """The id and the name of the run with that uid; made where there is none, under a name that is free."""
    at = writer.database.connection
    found = at.execute("SELECT id, name FROM run WHERE uid = ?", (birth.uid,)).fetchone()
    if found:
        return int(found[0]), str(found[1])
    experiment_id = writer.experiment_id(birth.experiment)
    name = writer.free_name(experiment_id, birth.name)
    parent = at.execute("SELECT id FROM run WHERE uid = ?", (birth.parent,)).fetchone() if birth.parent else None
    made = at.execute(
        "INSERT INTO run (uid, experiment_id, parent_id, name, origin, status, user_name, seed, started_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            *(birth.uid, experiment_id, parent and parent[0], name, birth.origin, status),
            *(birth.user_name, birth.seed, started_ms),
        ),
    ).fetchone()
    run_id = int(made[0])
    put_words(writer, run_id, birth.params, birth.tags)
    return run_id, name


def rename(writer: Writer, run_id: int, name: str | None, experiment: str | None) -> str:
    """Give a run another name, free in its experiment, and put it into another experiment; None leaves it. Its name.

    What a person corrected stays.
    """
    at = writer.database.connection
    here, old = at.execute("SELECT experiment_id, name FROM run WHERE id = ?", (run_id,)).fetchone()
    kept = {field for (field,) in at.execute("SELECT field FROM edit WHERE run_id = ?", (run_id,))}
    there = here if experiment is None or "experiment" in kept else writer.experiment_id(experiment)
    wanted = old if name is None or "name" in kept else name
    if (there, wanted) == (here, old):
        return str(old)
    free = writer.free_name(there, wanted)
    at.execute("UPDATE run SET experiment_id = ?, name = ? WHERE id = ?", (there, free, run_id))
    return free


def put_words(writer: Writer, run_id: int, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Params and tags of a run, but for those that a person corrected."""
    at = writer.database.connection
    kept = {f"{what}:{key}" for what, key in at.execute("SELECT field, key FROM edit WHERE run_id = ?", (run_id,))}
    at.executemany(sql.PUT_PARAM, [(run_id, k, v, as_number(v)) for k, v in params.items() if f"param:{k}" not in kept])
    at.executemany(sql.PUT_TAG, [(run_id, k, v) for k, v in tags.items() if f"tag:{k}" not in kept])


def put_state(writer: Writer, run_id: int, status: RunStatus, started_ms: int | None, ended_ms: int | None) -> None:
    """What has become of a run, and of the runs that its log told of beside it."""
    writer.database.connection.execute(
        "UPDATE run SET status = ?1, started_ms = coalesce(?2, started_ms), ended_ms = ?3"
        " WHERE id = ?4 OR (parent_id = ?4 AND origin = 'launch' AND status IN ('scheduled', 'running')"
        " AND id IN (SELECT l.run_id FROM run_source l JOIN run_source o ON o.source_id = l.source_id"
        " WHERE o.run_id = ?4))",
        (status, started_ms, ended_ms, run_id),
    )


def put_surroundings(writer: Writer, run_id: int, found: Surroundings) -> None:
    """What a run ran on; what was known before and is not said now stays."""
    names = [one.name for one in fields(Surroundings)]
    values: list[Value] = [getattr(found, name) for name in names]
    kept = ", ".join(f"{name} = coalesce(excluded.{name}, provenance.{name})" for name in names)
    writer.database.connection.execute(
        f"INSERT INTO provenance (run_id, {', '.join(names)}) VALUES (?{', ?' * len(names)})"
        f" ON CONFLICT (run_id) DO UPDATE SET {kept}",
        (run_id, *values),
    )


def drop_printed(writer: Writer, run_id: int, names: frozenset[str], source_id: int) -> None:
    """Take out the metrics of these names that a source gave: another source tells them better."""
    at = writer.database.connection
    for metric_id, name in at.execute(
        "SELECT DISTINCT m.id, m.name FROM metric m JOIN point p ON p.metric_id = m.id AND p.seq = 0"
        " JOIN run_source l ON l.run_id = m.run_id AND l.source_no = p.source_no"
        " WHERE m.run_id = ? AND l.source_id = ?",
        (run_id, source_id),
    ).fetchall():
        if name in names:
            at.execute(sql.DELETE_POINTS, (metric_id,))
            at.execute(sql.DELETE_METRIC, (metric_id,))


def started_for(database: Database, run_id: int) -> tuple[int, str, str] | None:
    """(id, uid, name) of the run whose surroundings are a run's: itself, or the nearest above it that was launched."""
    rows = database.rows(
        "WITH RECURSIVE up(id, parent_id, height) AS (SELECT id, parent_id, 0 FROM run WHERE id = ?"
        " UNION SELECT r.id, r.parent_id, height + 1 FROM run r JOIN up ON r.id = up.parent_id WHERE height < 100)"
        " SELECT r.id, r.uid, r.name FROM up JOIN run r USING (id) JOIN provenance p ON p.run_id = r.id"
        " ORDER BY height LIMIT 1",
        (run_id,),
    )
    return (int(rows[0][0]), str(rows[0][1]), str(rows[0][2])) if rows else None


def parent(database: Database, run_id: int) -> tuple[str, str] | None:
    """(uid, name) of the run that a run is below."""
    rows = database.rows("SELECT p.uid, p.name FROM run r JOIN run p ON p.id = r.parent_id WHERE r.id = ?", (run_id,))
    return (str(rows[0][0]), str(rows[0][1])) if rows else None


def surroundings(database: Database, run_id: int) -> Surroundings | None:
    """What a run ran on; None where it was not launched."""
    names = ", ".join(one.name for one in fields(Surroundings))
    rows = database.rows(f"SELECT {names} FROM provenance WHERE run_id = ?", (run_id,))
    return Surroundings(*rows[0]) if rows else None


def done(database: Database, experiment: str, key: str, values: frozenset[str]) -> dict[str, tuple[str, RunStatus]]:
    """Of the runs of an experiment that carry one of the values as tag `key`: uid and state, by value.

    One that is finished counts before one that is not; one that failed does not count.
    """
    order = {"finished": 2, "running": 1, "scheduled": 0}
    out: dict[str, tuple[str, RunStatus]] = {}
    for value, uid, status in database.rows(
        "SELECT t.value, r.uid, r.status FROM tag t JOIN run r ON r.id = t.run_id"
        " JOIN experiment e ON e.id = r.experiment_id WHERE t.key = ? AND e.name = ?"
        " AND r.deleted_ms IS NULL AND e.deleted_ms IS NULL ORDER BY r.id",
        (key, experiment),
    ):
        if value in values and status in order and order[status] > order.get(out.get(value, ("", ""))[1], -1):
            out[value] = (uid, status)
    return out


def points_of(writer: Writer, source_id: int) -> Counter[str]:
    """How many points of each metric's name a source gave, to all its runs."""
    rows = writer.database.connection.execute(
        "SELECT m.name, count(*) FROM run_source l JOIN metric m ON m.run_id = l.run_id"
        " JOIN point p ON p.metric_id = m.id AND p.source_no = l.source_no WHERE l.source_id = ? GROUP BY m.name",
        (source_id,),
    )
    return Counter(dict(rows.fetchall()))


def below(database: Database, uid: str) -> list[str]:
    """The names of the further runs that a run's log tells of."""
    query = "SELECT r.name FROM run r JOIN run p ON p.id = r.parent_id WHERE p.uid = ? AND r.deleted_ms IS NULL"
    return [str(name) for (name,) in database.rows(f"{query} ORDER BY r.id", (uid,))]


def delete(database: Database, uid: str) -> None:
    """Take a run out as if it had never been."""
    for (run_id,) in database.connection.execute("SELECT id FROM run WHERE uid = ?", (uid,)).fetchall():
        delete_run(database.connection, run_id)


def put_lost(database: Database, uid: str, now_ms: int) -> None:
    """A run whose folder is gone will not be heard of again, but for one that another machine's database brought."""
    import socket

    at = database.connection
    found = at.execute(
        "SELECT p.host FROM provenance p JOIN run r ON r.id = p.run_id WHERE r.uid = ? AND p.runner = 'local'", (uid,)
    ).fetchone()
    if found and found[0] not in (None, socket.gethostname()):
        return
    at.execute("UPDATE run SET status = 'killed', ended_ms = coalesce(ended_ms, ?) WHERE uid = ?", (now_ms, uid))
