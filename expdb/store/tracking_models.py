"""Logged models and data sets as a tracking client names them, and the runs that read or wrote them.

Callers that change something do so inside `Database.transaction`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from expdb.errors import UsageError
from expdb.store.database import Database, Value
from expdb.store.tracking import portions
from expdb.store.tracking_search import Clauses, Condition, Page, attribute_of

_MODEL = (
    "SELECT g.id, g.uid, g.experiment_id, r.uid, g.name, g.model_type, g.status, g.status_message, g.artifact_uri,"
    " g.created_ms, g.updated_ms, g.deleted_ms FROM logged_model g LEFT JOIN run r ON r.id = g.run_id"
)
_METRIC_OF_MODEL = (
    "SELECT f.model_id, r.uid, f.key, f.step, f.value, f.time_ms, f.dataset_name, f.dataset_digest"
    " FROM logged_model_metric f JOIN run r ON r.id = f.run_id WHERE f.model_id IN ({}) ORDER BY f.model_id, f.seq"
)
_ATTRIBUTES = {
    "model_id": "g.uid",
    "experiment_id": "CAST(g.experiment_id AS TEXT)",
    "name": "g.name",
    "artifact_location": "g.artifact_uri",
    "creation_timestamp_ms": "g.created_ms",
    "last_updated_timestamp_ms": "g.updated_ms",
    "status": "g.status",
    "model_type": "g.model_type",
    "source_run_id": "r.uid",
    "status_message": "g.status_message",
    "lifecycle_stage": "CASE WHEN g.deleted_ms IS NULL THEN 'active' ELSE 'deleted' END",
}
# Not by the alphabet.
_ORDERED = _ATTRIBUTES | {"status": "CASE g.status WHEN 'PENDING' THEN 1 WHEN 'READY' THEN 2 ELSE 3 END"}

Direction = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class ModelValue:
    """A number said of a model. data set: where it was measured, both None where nobody said."""

    run_uid: str
    key: str
    step: int
    value: float
    time_ms: int
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A logged model. run_uid: of the run that wrote it."""

    id: int
    uid: str
    experiment_id: int
    run_uid: str | None
    name: str
    model_type: str | None
    status: str
    status_message: str | None
    artifact_uri: str
    created_ms: int
    updated_ms: int
    deleted_ms: int | None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[ModelValue] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model that is to be logged."""

    uid: str
    experiment_id: int
    run_uid: str | None
    name: str
    model_type: str | None
    status: str
    artifact_uri: str


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """By what models are ordered: an attribute, or the latest value of a metric, on a data set where one is named."""

    attribute: str | None
    metric: str | None
    ascending: bool
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ModelLink:
    """A run read a model or wrote it."""

    model_uid: str
    direction: Direction
    step: int


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """A data set as a run read it. tags: context among them, in the order they were written but for it."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    context: str | None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A data set of an experiment, once for each context it was read in."""

    experiment_id: int
    name: str
    digest: str
    context: str | None


# Models


def add_model(database: Database, model: NewModel, params: dict[str, str], tags: dict[str, str], now_ms: int) -> None:
    """Store a model that is being logged; a run nobody knows is not remembered."""
    database.connection.execute(
        "INSERT INTO logged_model (uid, experiment_id, run_id, name, model_type, status, artifact_uri, created_ms,"
        " updated_ms) VALUES (?, ?, (SELECT id FROM run WHERE uid = ?), ?, ?, ?, ?, ?, ?)",
        (
            *(model.uid, model.experiment_id, model.run_uid, model.name, model.model_type, model.status),
            *(model.artifact_uri, now_ms, now_ms),
        ),
    )
    found = model_id(database, model.uid)
    assert found is not None
    add_model_params(database, found, params)
    tag_model(database, found, tags)


def model_id(database: Database, uid: str) -> int | None:
    """The number of a model, deleted or not."""
    rows = database.rows("SELECT id FROM logged_model WHERE uid = ?", (uid,))
    return int(rows[0][0]) if rows else None


def models(database: Database, clauses: str, values: Sequence[Value]) -> list[ModelRecord]:
    """Models g, with the runs r that wrote them, by clauses. To be read within one view."""
    found = {row[0]: ModelRecord(*row) for row in database.rows(f"{_MODEL} {clauses}", values)}
    for some, marks in portions(found):
        for word in ("param", "tag"):
            for model, key, value in database.rows(
                f"SELECT model_id, key, value FROM logged_model_{word} WHERE model_id IN ({marks})", some
            ):
                (found[model].params if word == "param" else found[model].tags)[key] = value
        for model, run_uid, key, step, number, *rest in database.rows(_METRIC_OF_MODEL.format(marks), some):
            number = math.nan if number is None else number
            found[model].metrics.append(ModelValue(run_uid, key, step, number, *rest))
    return list(found.values())


def model(database: Database, uid: str) -> ModelRecord | None:
    """The model of that uid, deleted or not."""
    with database.view():
        return next(iter(models(database, "WHERE g.uid = ?", (uid,))), None)


def find_models(
    database: Database,
    experiment_ids: Sequence[int],
    conditions: Sequence[Condition],
    datasets: Sequence[tuple[str, str | None]],
    orders: Sequence[ModelOrder],
    page: Page,
) -> list[ModelRecord]:
    """The models of these experiments for which all conditions hold. datasets: name and digest; a condition on a
    metric, or any metric where there is no such condition, has to be of one of them."""
    if not experiment_ids:
        return []
    clauses = Clauses(database)
    clauses.test(f"g.experiment_id IN ({', '.join('?' * len(experiment_ids))})", *experiment_ids)
    clauses.test("g.deleted_ms IS NULL")
    on, on_values = _on(datasets)
    for condition in conditions:
        if condition.field == "attribute":
            text, values = clauses.compared(attribute_of(_ATTRIBUTES, condition.key), condition)
            clauses.test(text, *values)
        elif condition.field == "metric":
            text, values = clauses.compared("f.value", condition)
            within = "SELECT 1 FROM logged_model_metric f WHERE f.model_id = g.id AND f.key = ?"
            clauses.test(f"EXISTS ({within} AND {text}{on})", condition.key, *values, *on_values)
        else:
            text, values = clauses.compared("w.value", condition)
            table = "logged_model_param" if condition.field == "param" else "logged_model_tag"
            within = f"SELECT 1 FROM {table} w WHERE w.model_id = g.id AND w.key = ? AND {text}"
            clauses.test(f"EXISTS ({within})", condition.key, *values)
    if datasets and not any(condition.field == "metric" for condition in conditions):
        clauses.test(f"EXISTS (SELECT 1 FROM logged_model_metric f WHERE f.model_id = g.id{on})", *on_values)
    _order(clauses, orders)
    text, values = clauses.sql(page)
    with database.view():
        return models(database, text, values)


def _on(datasets: Sequence[tuple[str | None, str | None]]) -> tuple[str, list[str]]:
    """What restricts metrics f to data sets, by name, digest or both."""
    texts, values = [], []
    for words in datasets:
        said = [pair for pair in zip(("f.dataset_name", "f.dataset_digest"), words, strict=True) if pair[1] is not None]
        if said:
            texts.append(" AND ".join(f"{column} = ?" for column, _ in said))
            values += [word for _, word in said if word is not None]
    return (f" AND ({' OR '.join(texts)})" if texts else ""), values


def _order(clauses: Clauses, orders: Sequence[ModelOrder]) -> None:
    named = set()
    for order in orders:
        way = "ASC" if order.ascending else "DESC"
        if order.attribute is not None:
            named.add(order.attribute)
            column = attribute_of(_ORDERED, order.attribute)
            clauses.order(f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END")
            clauses.order(f"{column} {way}")
        else:
            on, on_values = _on([(order.dataset_name, order.dataset_digest)])
            latest = (
                f"(SELECT f.value FROM logged_model_metric f WHERE f.model_id = g.id AND f.key = ?{on}"
                " ORDER BY f.time_ms DESC, f.step DESC, f.seq LIMIT 1)"
            )
            values = [str(order.metric), *on_values]
            clauses.order(f"CASE WHEN {latest} IS NULL THEN 1 ELSE 0 END", *values)
            clauses.order(f"{latest} {way}", *values)
    if "creation_timestamp_ms" not in named:
        clauses.order("g.created_ms DESC")
    if "model_id" not in named:
        clauses.order("g.uid")


def is_model_attribute(name: str) -> bool:
    """Whether models may be ordered by it."""
    return name in _ATTRIBUTES


def set_model_state(database: Database, model: int, status: str, now_ms: int) -> None:
    """The model is written, or could not be."""
    database.connection.execute(
        "UPDATE logged_model SET status = ?, updated_ms = ? WHERE id = ?", (status, now_ms, model)
    )


def hide_model(database: Database, model: int, now_ms: int) -> None:
    """Delete a model."""
    database.connection.execute(
        "UPDATE logged_model SET deleted_ms = ?, updated_ms = ? WHERE id = ?", (now_ms, now_ms, model)
    )


def add_model_params(database: Database, model: int, params: dict[str, str]) -> None:
    """Store params of a model. Raises UsageError where one of them is there and says something else."""
    there: dict[str, str] = dict(
        database.rows("SELECT key, value FROM logged_model_param WHERE model_id = ?", (model,))
    )
    for key, value in params.items():
        if there.get(key, value) != value:
            raise UsageError(f"the model has a param {key!r} already: {there[key]!r}")
    rows = [(model, key, value) for key, value in params.items() if key not in there]
    if rows:
        database.connection.executemany("INSERT INTO logged_model_param (model_id, key, value) VALUES (?, ?, ?)", rows)


def tag_model(database: Database, model: int, tags: dict[str, str]) -> None:
    """Set tags of a model."""
    if tags:
        database.connection.executemany(
            "INSERT INTO logged_model_tag (model_id, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
            [(model, key, value) for key, value in tags.items()],
        )


def untag_model(database: Database, model: int, key: str) -> bool:
    """Take a tag away; False where there is none."""
    sql = "DELETE FROM logged_model_tag WHERE model_id = ? AND key = ? RETURNING key"
    return bool(database.rows(sql, (model, key)))


def add_model_values(database: Database, model: int, run_id: int, said: Iterable[ModelValue]) -> None:
    """Store numbers said of a model, each once."""
    stored = set(
        database.rows(
            "SELECT key, step, value, time_ms, dataset_name, dataset_digest FROM logged_model_metric"
            " WHERE model_id = ? AND run_id = ?",
            (model, run_id),
        )
    )
    (seq,) = database.rows("SELECT coalesce(max(seq), -1) + 1 FROM logged_model_metric WHERE model_id = ?", (model,))[0]
    rows: list[tuple[Value, ...]] = []
    for one in said:
        number = None if one.value != one.value else one.value
        row = (one.key, one.step, number, one.time_ms, one.dataset_name, one.dataset_digest)
        if row not in stored:
            stored.add(row)
            rows.append((model, seq + len(rows), run_id, *row))
    if rows:
        database.connection.executemany(
            "INSERT INTO logged_model_metric (model_id, seq, run_id, key, step, value, time_ms, dataset_name,"
            " dataset_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def link_model(database: Database, run_id: int, model: int, direction: Direction, step: int) -> None:
    """A run read a model or wrote it."""
    database.connection.execute(
        "INSERT INTO run_model (run_id, model_id, direction, step) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (run_id, model, direction, step),
    )


def links(database: Database, run_ids: Sequence[int]) -> dict[int, list[ModelLink]]:
    """The models that runs read and wrote, by the run's number."""
    out: dict[int, list[ModelLink]] = {}
    for some, marks in portions(run_ids):
        for run_id, *link in database.rows(
            "SELECT l.run_id, g.uid, l.direction, l.step FROM run_model l JOIN logged_model g ON g.id = l.model_id"
            f" WHERE l.run_id IN ({marks}) ORDER BY l.run_id, l.step, g.id",
            some,
        ):
            out.setdefault(run_id, []).append(ModelLink(*link))
    return out


# Data sets


def use_dataset(database: Database, run_id: int, experiment_id: int, use: DatasetUse) -> None:
    """A run read a data set, which the experiment has once; a second time says nothing new."""
    database.connection.execute(
        "INSERT INTO dataset (uid, experiment_id, name, digest, source_type, source, data_schema, profile)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (experiment_id, name, digest) DO NOTHING",
        (uuid4().hex, experiment_id, use.name, use.digest, use.source_type, use.source, use.schema, use.profile),
    )
    ((dataset_id,),) = database.rows(
        "SELECT id FROM dataset WHERE experiment_id = ? AND name = ? AND digest = ?",
        (experiment_id, use.name, use.digest),
    )
    new = database.rows(
        "INSERT INTO run_dataset (run_id, dataset_id, context) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING run_id",
        (run_id, dataset_id, use.context),
    )
    if new and use.tags:
        database.connection.executemany(
            "INSERT INTO run_dataset_tag (run_id, dataset_id, key, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(run_id, dataset_id, key, value) for key, value in use.tags.items()],
        )


def dataset_uses(database: Database, run_ids: Sequence[int]) -> dict[int, list[DatasetUse]]:
    """The data sets that runs read, by the run's number."""
    found: dict[tuple[int, int], DatasetUse] = {}
    for some, marks in portions(run_ids):
        for run_id, dataset_id, *words in database.rows(
            "SELECT u.run_id, d.id, d.name, d.digest, d.source_type, d.source, d.data_schema, d.profile, u.context"
            f" FROM run_dataset u JOIN dataset d ON d.id = u.dataset_id WHERE u.run_id IN ({marks})"
            " ORDER BY u.run_id, d.id",
            some,
        ):
            found[run_id, dataset_id] = DatasetUse(*words)
        if not found:
            continue
        for run_id, dataset_id, key, value in database.rows(
            f"SELECT run_id, dataset_id, key, value FROM run_dataset_tag WHERE run_id IN ({marks})", some
        ):
            found[run_id, dataset_id].tags[key] = value
    out: dict[int, list[DatasetUse]] = {}
    for (run_id, _), use in found.items():
        out.setdefault(run_id, []).append(use)
    return out


def dataset_summaries(database: Database, experiment_ids: Sequence[int], most: int) -> list[DatasetSummary]:
    """The data sets that runs of these experiments read."""
    if not experiment_ids:
        return []
    rows = database.rows(
        "SELECT DISTINCT d.experiment_id, d.name, d.digest, u.context FROM dataset d"
        " JOIN run_dataset u ON u.dataset_id = d.id"
        f" WHERE d.experiment_id IN ({', '.join('?' * len(experiment_ids))}) LIMIT ?",
        (*experiment_ids, most),
    )
    return [DatasetSummary(*row) for row in rows]
