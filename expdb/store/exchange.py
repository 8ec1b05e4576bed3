"""Runs between this database and other tracking stores: in the words both have, and which run here is which there."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from expdb.records import RunStatus
from expdb.store.database import Database

# (step, time_ms, value) as other stores have it: NaN is a value, step and time are always there.
Point = tuple[int, int, float]
Sameness = tuple[int, int, float | None]

PULLED, PUSHED = "pull", "push"
# On a run that was pushed: its uid here, so that a push that was cut off finds it again.
UID_TAG = "expdb.uid"
# What the other store could not take as it was, as JSON, in pieces that fit a tag: `expdb.pushed`, `expdb.pushed.2`.
PUSHED_TAG = "expdb.pushed"


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment. uid: what the store that told of it calls it; it is known by its name."""

    uid: str
    name: str
    artifact_uri: str | None
    created_ms: int
    updated_ms: int
    is_deleted: bool
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """A data set that a run read. context: training, evaluation, ...; tags: without that."""

    name: str
    digest: str
    source_type: str
    source: str
    data_schema: str | None
    profile: str | None
    context: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelLink:
    """A run read (direction input) or wrote (output) a logged model."""

    uid: str
    direction: str
    step: int


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """A number that a run said of a logged model, on a data set where it named one."""

    run_uid: str
    key: str
    point: Point
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(frozen=True, slots=True)
class Model:
    """A logged model. run_uid: of the run that wrote it."""

    uid: str
    experiment_uid: str
    run_uid: str | None
    name: str
    model_type: str | None
    status: str
    status_message: str | None
    artifact_uri: str
    created_ms: int
    updated_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[ModelPoint, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run but for its histories. last: of each metric the newest point, by (step, time)."""

    uid: str
    experiment_uid: str
    name: str
    status: RunStatus
    user_name: str | None
    started_ms: int | None
    ended_ms: int | None
    is_deleted: bool
    artifact_uri: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    last: Mapping[str, Point]
    datasets: tuple[DatasetUse, ...] = ()
    links: tuple[ModelLink, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.status not in ("running", "scheduled")


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A run of this database and the one it is in another store. synced_ms: None while it is under way."""

    other_uid: str
    run_id: int
    direction: str
    synced_ms: int | None


def sameness(point: Point) -> Sameness:
    """What makes two points the same one: NaN equals itself, and infinity the largest number, which MLflow's own
    SQL store makes of it."""
    step, time_ms, value = point
    if value != value:
        return (step, time_ms, None)
    largest = sys.float_info.max
    return (step, time_ms, max(-largest, min(largest, value)))


def missing(wanted: Sequence[Point], there: Sequence[Point]) -> list[Point]:
    """The points that are not there yet, in their order; an exact repeat is one point."""
    known = {sameness(point) for point in there}
    out = []
    for point in wanted:
        mark = sameness(point)
        if mark not in known:
            known.add(mark)
            out.append(point)
    return out


def number(value: float | None) -> float:
    """A value as SQL gives it: NULL is NaN."""
    return math.nan if value is None else value


def counterparts(database: Database, store: str) -> list[Counterpart]:
    """The runs that this database and the other store have both."""
    rows = database.rows(
        "SELECT other_uid, run_id, direction, synced_ms FROM counterpart WHERE store = ? ORDER BY run_id", (store,)
    )
    return [Counterpart(*row) for row in rows]


def put_counterpart(database: Database, store: str, pair: Counterpart) -> None:
    """Remember, within a transaction, which run there is which here."""
    database.connection.execute(
        "INSERT INTO counterpart (store, other_uid, run_id, direction, synced_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (store, other_uid) DO UPDATE SET run_id = excluded.run_id, direction = excluded.direction,"
        " synced_ms = excluded.synced_ms",
        (store, pair.other_uid, pair.run_id, pair.direction, pair.synced_ms),
    )


def drop_counterpart(database: Database, store: str, other_uid: str) -> None:
    """Forget, within a transaction, a run that the other store has no longer."""
    database.connection.execute("DELETE FROM counterpart WHERE store = ? AND other_uid = ?", (store, other_uid))
