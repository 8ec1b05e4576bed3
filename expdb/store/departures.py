"""Runs of this database as another tracking store is told of them: every point with a step and a time, every word as
a param or a tag."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from expdb.records import REPORTED, Kind
from expdb.store import exchange
from expdb.store.database import Database
from expdb.store.exchange import DatasetUse, Experiment, Model, ModelLink, ModelPoint, Point, Run

_AT_ONCE = 500
# A run that was read from a log began, as far as anybody knows, when it was taken in.
_STARTED = (
    "coalesce(r.started_ms, (SELECT min(s.ingested_ms) FROM run_source l JOIN source s ON s.id = l.source_id"
    " WHERE l.run_id = r.id), e.created_ms)"
)
_SOURCE = (
    "coalesce((SELECT command FROM provenance WHERE run_id = r.id), (SELECT min(p.path) FROM run_source l"
    " JOIN source_place p ON p.source_id = l.source_id WHERE l.run_id = r.id AND l.source_no = 1))"
)
_COMMIT = "(SELECT git_commit FROM provenance WHERE run_id = r.id)"


@dataclass(frozen=True, slots=True)
class OutgoingMetric:
    """A metric that is to be told of, and its last point as it is here. id: its number here."""

    id: int
    key: str
    kind: Kind
    last_step: int | None
    last_time_ms: int | None
    last_value: float | None
    has_infinity: bool

    def last(self, started_ms: int) -> Point:
        """Its last point as `history` tells it, where there is one without a step."""
        time_ms = started_ms if self.last_time_ms is None else self.last_time_ms
        return (self.last_step or 0, time_ms, exchange.number(self.last_value))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A run that is to be told of. run: in the words of the other store, but with our uids and keys; its experiment
    is named by the number here. foreign: it came from an MLflow store."""

    id: int
    parent_id: int | None
    run: Run
    metrics: tuple[OutgoingMetric, ...]
    foreign: bool


def experiments(database: Database) -> dict[int, Experiment]:
    """All experiments, deleted ones too, by their number."""
    tags: dict[int, dict[str, str]] = {}
    for experiment_id, key, value in database.rows("SELECT experiment_id, key, value FROM experiment_tag"):
        tags.setdefault(experiment_id, {})[key] = value
    out = {}
    for number, name, note, uri, created_ms, updated_ms, deleted_ms in database.rows(
        "SELECT id, name, note, artifact_uri, created_ms, updated_ms, deleted_ms FROM experiment ORDER BY id"
    ):
        said = {**tags.get(number, {}), **({"mlflow.note.content": note} if note else {})}
        out[number] = Experiment(str(number), name, uri, created_ms, updated_ms, deleted_ms is not None, said)
    return out


def from_servers(database: Database) -> frozenset[int]:
    """Runs that were pulled from a tracking server: what it says of files is a stranger's word."""
    rows = database.rows("SELECT run_id FROM counterpart WHERE direction = 'pull' AND substr(store, 1, 4) = 'http'")
    return frozenset(run_id for (run_id,) in rows)


def removed_foreign(database: Database) -> list[int]:
    """Runs that came from an MLflow store and are deleted, there or here."""
    rows = database.rows(
        "SELECT r.id FROM run r JOIN experiment e ON e.id = r.experiment_id WHERE r.origin = 'mlflow'"
        " AND (r.deleted_ms IS NOT NULL OR e.deleted_ms IS NOT NULL) ORDER BY r.id"
    )
    return [run_id for (run_id,) in rows]


def runs(database: Database, run_ids: Sequence[int]) -> list[Outgoing]:
    """These runs, each behind the one it is below."""
    out: dict[int, Outgoing] = {}
    with database.view():
        for some, marks in _portions(run_ids):
            words = {kind: _words(database, kind, some, marks) for kind in ("param", "tag")}
            found = _metrics(database, some, marks)
            datasets, links = _datasets(database, some, marks), _links(database, some, marks)
            for row in database.rows(
                "SELECT r.id, r.uid, r.experiment_id, r.parent_id, r.name, r.origin, r.status, r.user_name, r.note,"
                f" r.artifact_uri, {_STARTED}, r.ended_ms, r.deleted_ms, {_SOURCE}, {_COMMIT}"
                f" FROM run r JOIN experiment e ON e.id = r.experiment_id WHERE r.id IN ({marks})",
                some,
            ):
                run_id, uid, experiment_id, parent_id, name, origin, status, user_name, note, uri = row[:10]
                started_ms, ended_ms, deleted_ms, source, commit = row[10:]
                foreign = origin == "mlflow"
                tags = words["tag"].get(run_id, {})
                if note:
                    tags["mlflow.note.content"] = note
                if not foreign:
                    ours = {
                        "mlflow.user": user_name,
                        "mlflow.source.name": source,
                        "mlflow.source.type": "LOCAL",
                        "mlflow.source.git.commit": commit,
                        "expdb.origin": origin,
                    }
                    tags = {**{key: value for key, value in ours.items() if value}, **tags}
                metrics = tuple(found.get(run_id, ()))
                run = Run(
                    uid=uid,
                    experiment_uid=str(experiment_id),
                    name=name,
                    status=status,
                    user_name=user_name,
                    started_ms=started_ms,
                    ended_ms=ended_ms,
                    is_deleted=deleted_ms is not None,
                    artifact_uri=uri,
                    params=words["param"].get(run_id, {}),
                    tags=tags,
                    last={one.key: one.last(started_ms) for one in metrics},
                    datasets=tuple(datasets.get(run_id, ())),
                    links=tuple(links.get(run_id, ())),
                )
                out[run_id] = Outgoing(run_id, parent_id, run, metrics, foreign)
    return _parents_first([out[run_id] for run_id in dict.fromkeys(run_ids) if run_id in out])


def history(database: Database, metric: OutgoingMetric, started_ms: int) -> list[Point]:
    """All points of a metric in the order they arrived. One without a step is at step 0, or, where there are several,
    where it stands among them; one without a time at the run's beginning."""
    rows = database.rows("SELECT seq, step, time_ms, value FROM point WHERE metric_id = ? ORDER BY seq", (metric.id,))
    alone = metric.kind == REPORTED or len(rows) == 1
    return [
        (
            (0 if alone else seq) if step is None else step,
            started_ms if time_ms is None else time_ms,
            exchange.number(value),
        )
        for seq, step, time_ms, value in rows
    ]


def models(database: Database, run_ids: Iterable[int]) -> list[Model]:
    """The logged models that these runs wrote, with what any run said of them."""
    out = []
    for some, marks in _portions(list(run_ids)):
        for model_id, uid, run_uid, *words in database.rows(
            "SELECT g.id, g.uid, r.uid, g.experiment_id, g.name, g.model_type, g.status, g.status_message,"
            " g.artifact_uri, g.created_ms, g.updated_ms FROM logged_model g JOIN run r ON r.id = g.run_id"
            f" WHERE g.run_id IN ({marks}) AND g.deleted_ms IS NULL ORDER BY g.id",
            some,
        ):
            experiment_id, name, model_type, status, status_message, uri, created_ms, updated_ms = words
            said: dict[str, dict[str, str]] = {
                kind: dict(database.rows(f"SELECT key, value FROM logged_model_{kind} WHERE model_id = ?", (model_id,)))
                for kind in ("param", "tag")
            }
            points = database.rows(
                "SELECT r.uid, m.key, m.step, m.time_ms, m.value, m.dataset_name, m.dataset_digest"
                " FROM logged_model_metric m JOIN run r ON r.id = m.run_id WHERE m.model_id = ? ORDER BY m.seq",
                (model_id,),
            )
            out.append(
                Model(
                    uid=uid,
                    experiment_uid=str(experiment_id),
                    run_uid=run_uid,
                    name=name,
                    model_type=model_type,
                    status=status,
                    status_message=status_message,
                    artifact_uri=uri,
                    created_ms=created_ms,
                    updated_ms=updated_ms,
                    params=said["param"],
                    tags=said["tag"],
                    points=tuple(
                        ModelPoint(by, key, (step, time_ms, exchange.number(value)), *dataset)
                        for by, key, step, time_ms, value, *dataset in points
                    ),
                )
            )
    return out


def names(database: Database, store: str) -> dict[tuple[str, str], str]:
    """What keys are called in the other store where it refuses ours, by (kind, our key)."""
    rows = database.rows("SELECT kind, ours, theirs FROM counterpart_name WHERE store = ?", (store,))
    return {(kind, ours): theirs for kind, ours, theirs in rows}


def put_name(database: Database, store: str, kind: str, ours: str, theirs: str) -> None:
    """Remember what a key is called there."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO counterpart_name (store, kind, ours, theirs) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (store, kind, ours) DO UPDATE SET theirs = excluded.theirs",
            (store, kind, ours, theirs),
        )


def has_key(database: Database, kind: str, key: str) -> bool:
    """Whether any run here has a metric, param or tag of that name."""
    return bool(database.rows(f"SELECT 1 FROM {kind} WHERE key = ? LIMIT 1", (key,)))


def _words(database: Database, kind: str, ids: Sequence[int], marks: str) -> dict[int, dict[str, str]]:
    out: dict[int, dict[str, str]] = {}
    for run_id, key, value in database.rows(f"SELECT run_id, key, value FROM {kind} WHERE run_id IN ({marks})", ids):
        out.setdefault(run_id, {})[key] = value
    return out


def _metrics(database: Database, ids: Sequence[int], marks: str) -> dict[int, list[OutgoingMetric]]:
    out: dict[int, list[OutgoingMetric]] = {}
    for run_id, number, key, kind, step, time_ms, value, infinite in database.rows(
        "SELECT run_id, id, key, kind, last_step, last_time_ms, last_value, nonfinite > 0 AND"
        " (max_value > 1.7976931348623157e308 OR min_value < -1.7976931348623157e308) FROM metric"
        f" WHERE run_id IN ({marks}) AND count > 0 ORDER BY id",
        ids,
    ):
        one = OutgoingMetric(number, key, kind, step, time_ms, value, bool(infinite))
        out.setdefault(run_id, []).append(one)
    return out


def _datasets(database: Database, ids: Sequence[int], marks: str) -> dict[int, list[DatasetUse]]:
    tags: dict[tuple[int, int], dict[str, str]] = {}
    for run_id, dataset_id, key, value in database.rows(
        f"SELECT run_id, dataset_id, key, value FROM run_dataset_tag WHERE run_id IN ({marks})", ids
    ):
        tags.setdefault((run_id, dataset_id), {})[key] = value
    out: dict[int, list[DatasetUse]] = {}
    for run_id, dataset_id, *words, context in database.rows(
        "SELECT u.run_id, d.id, d.name, d.digest, d.source_type, d.source, d.data_schema, d.profile, u.context"
        f" FROM run_dataset u JOIN dataset d ON d.id = u.dataset_id WHERE u.run_id IN ({marks})",
        ids,
    ):
        name, digest, source_type, source, data_schema, profile = words
        use = DatasetUse(
            name, digest, source_type, source, data_schema, profile, context, tags.get((run_id, dataset_id), {})
        )
        out.setdefault(run_id, []).append(use)
    return out


def _links(database: Database, ids: Sequence[int], marks: str) -> dict[int, list[ModelLink]]:
    out: dict[int, list[ModelLink]] = {}
    for run_id, uid, direction, step in database.rows(
        "SELECT l.run_id, g.uid, l.direction, l.step FROM run_model l JOIN logged_model g ON g.id = l.model_id"
        f" WHERE l.run_id IN ({marks})",
        ids,
    ):
        out.setdefault(run_id, []).append(ModelLink(uid, direction, step))
    return out


def _parents_first(found: Sequence[Outgoing]) -> list[Outgoing]:
    waiting: Mapping[int, Outgoing] = {one.id: one for one in found}
    out: dict[int, Outgoing] = {}
    for one in found:
        line: list[Outgoing] = []
        at: Outgoing | None = one
        # A run below itself, however that came about, ends the line, too.
        while at is not None and at.id not in out and at not in line:
            line.append(at)
            at = waiting.get(at.parent_id) if at.parent_id is not None else None
        out.update((each.id, each) for each in reversed(line))
    return list(out.values())


def _portions(ids: Sequence[int]) -> Iterator[tuple[list[int], str]]:
    for at in range(0, len(ids), _AT_ONCE):
        some = list(ids[at : at + _AT_ONCE])
        yield some, ", ".join("?" * len(some))
