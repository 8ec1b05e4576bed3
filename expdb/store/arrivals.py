"""Runs of another tracking store, written here: each in one transaction, and only what is not here yet."""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from expdb import metrics
from expdb.records import CURVE, REPORTED, Curve, Metric, Summary
from expdb.store import exchange, ties
from expdb.store import statements as sql
from expdb.store.database import Database
from expdb.store.exchange import PULLED, PUSHED, PUSHED_TAG, UID_TAG, Counterpart, Experiment, Model, Point, Run
from expdb.store.writer import OpenMetric, Writer, as_number

ORIGIN = "mlflow"
NAME_TAG = "mlflow.runName"
NOTE_TAG = "mlflow.note.content"
PARENT_TAG = "mlflow.parentRunId"
# A run's folder has its name: what another store calls a run must not lead elsewhere.
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,99}")

Place = Literal["new", "known", "ours"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What this database knows of a run. ours: it came from here, and is left alone. settled: everything of it had
    arrived after it had ended."""

    place: Place
    run_id: int | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """What of a run was new. words: params and tags that were added or changed."""

    run_id: int
    is_new: bool
    points: int
    words: int

    @property
    def changed(self) -> bool:
        """Whether anything was."""
        return bool(self.is_new or self.points or self.words)


@dataclass(frozen=True, slots=True)
class Originals:
    """What a run was called where it was pushed from: by kind (metric, param, tag), name there to name here; values
    that were too long, by kind and name here; which metrics have no step, and which have
    ±inf where the other store has the largest number."""

    names: Mapping[str, Mapping[str, str]]
    values: Mapping[str, Mapping[str, str]]
    reported: frozenset[str]
    infinite: frozenset[str] = frozenset()

    def name(self, kind: str, theirs: str) -> str:
        """The name as it was."""
        return self.names.get(kind, {}).get(theirs, theirs)


NO_ORIGINALS = Originals({}, {}, frozenset())


def originals(tags: Mapping[str, str]) -> Originals:
    """What `expdb push` wrote beside a run; nothing where it wrote nothing, or somebody else wrote there since."""
    text, part = "", 1
    while (piece := tags.get(pushed_tag(part))) is not None:
        text += piece
        part += 1
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        return NO_ORIGINALS
    if not isinstance(said, dict):
        return NO_ORIGINALS
    names, values = (
        {kind: _texts(some) for kind, some in (said.get(what) or {}).items()}
        if isinstance(said.get(what), dict)
        else {}
        for what in ("names", "values")
    )
    return Originals(names, values, _keys(said.get("reported")), _keys(said.get("infinite")))


def _keys(said: object) -> frozenset[str]:
    return frozenset(map(str, said)) if isinstance(said, list) else frozenset()


def pushed_tag(part: int) -> str:
    """The tag that holds a piece of the originals; the first part is 1."""
    return PUSHED_TAG if part == 1 else f"{PUSHED_TAG}.{part}"


def _texts(said: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}


class Arrivals:
    """Writes what one other store tells. store: its name for itself."""

    def __init__(self, database: Database, store: str, now_ms: int) -> None:
        self.database = database
        self.store = store
        self.now_ms = now_ms
        self.writer = Writer(database, now_ms)
        self._at = database.connection
        self._pairs = {pair.other_uid: pair for pair in exchange.counterparts(database, store)}

    def standing(self, run: Run) -> Standing:
        """Whether a run is here; read without a transaction."""
        pair = self._pairs.get(run.uid)
        if pair:
            if pair.direction == PUSHED:
                return Standing("ours", pair.run_id)
            ((status, ended_ms),) = self.database.rows("SELECT status, ended_ms FROM run WHERE id = ?", (pair.run_id,))
            same = status == run.status and ended_ms == run.ended_ms
            return Standing("known", pair.run_id, settled=same and run.has_ended and pair.synced_ms is not None)
        for uid in (run.uid, run.tags.get(UID_TAG)):
            rows = self.database.rows("SELECT id, started_ms, origin FROM run WHERE uid = ?", (uid,)) if uid else ()
            for run_id, started_ms, origin in rows:
                if origin != ORIGIN:
                    # Our own run: pushed there, or seen through another door of this very database.
                    return Standing("ours", run_id)
                if started_ms == run.started_ms:
                    return Standing("known", run_id)
        return Standing("new")

    def is_ours(self, uid: str) -> bool:
        """Whether a run there is known to have come from here."""
        pair = self._pairs.get(uid)
        return pair is not None and pair.direction == PUSHED

    def stale(self, run: Run, standing: Standing) -> list[str]:
        """The metrics of a run whose histories are to be read: all, or none of a settled run that nothing was said of
        since: by a word, a metric, or a point behind the last."""
        if standing.run_id is None or not standing.settled:
            return list(run.last)
        names = originals(run.tags)
        rows = self.database.rows(
            "SELECT key, kind, last_step, last_time_ms, last_value FROM metric WHERE run_id = ?", (standing.run_id,)
        )
        here = {
            key: None if kind == REPORTED else exchange.sameness((step or 0, time_ms or 0, exchange.number(value)))
            for key, kind, step, time_ms, value in rows
        }
        is_touched = any(
            (ours := names.name("metric", key)) not in here
            or (here[ours] is not None and here[ours] != exchange.sameness(point))
            for key, point in run.last.items()
        )
        if not is_touched:
            is_touched = any(self._new_words(run, standing.run_id, names).values()) or self._is_renamed(run, standing)
        # Who came back to it may have said more than shows in the last points.
        return list(run.last) if is_touched else []

    def _is_renamed(self, run: Run, standing: Standing) -> bool:
        ((name,),) = self.database.rows(
            "SELECT name FROM run WHERE id = ? AND NOT EXISTS"
            " (SELECT 1 FROM edit WHERE run_id = run.id AND field = 'name') UNION ALL SELECT NULL LIMIT 1",
            (standing.run_id,),
        )
        return name is not None and name != run.name

    def apart(self, runs: Sequence[Run], names: Mapping[str, str]) -> list[str]:
        """Which experiments have, here, another name than there: those that were renamed on one side. names: of the
        experiments there."""
        here: dict[int, str] = dict(
            self.database.rows(
                "SELECT r.id, e.name FROM run r JOIN experiment e ON e.id = r.experiment_id WHERE NOT EXISTS"
                " (SELECT 1 FROM edit WHERE run_id = r.id AND field = 'experiment')"
            )
        )
        found: dict[tuple[str, str], int] = {}
        for run in runs:
            pair = self._pairs.get(run.uid)
            ours, theirs = (
                here.get(pair.run_id) if pair and pair.direction == PULLED else None,
                names[run.experiment_uid],
            )
            if ours is not None and ours != theirs:
                found[theirs, ours] = found.get((theirs, ours), 0) + 1
        return [
            f"experiment {theirs}: {count:,} of its runs {'is' if count == 1 else 'are'} in {ours} here; expdb edit"
            " -e moves them"
            for (theirs, ours), count in found.items()
        ]

    def experiment(self, told: Experiment) -> int:
        """The experiment of that name, made where there is none; within a transaction."""
        rows = self._at.execute("SELECT id, artifact_uri FROM experiment WHERE name = ?", (told.name,)).fetchall()
        if rows:
            experiment_id = int(rows[0][0])
        else:
            made = self._at.execute(
                "INSERT INTO experiment (name, note, artifact_uri, created_ms, updated_ms, deleted_ms)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    *(told.name, told.tags.get(NOTE_TAG), told.artifact_uri, told.created_ms, told.updated_ms),
                    self.now_ms if told.is_deleted else None,
                ),
            ).fetchone()
            experiment_id = int(made[0])
        for key, value in told.tags.items():
            if key == NOTE_TAG:
                self._at.execute("UPDATE experiment SET note = ? WHERE id = ?", (value, experiment_id))
                continue
            self._at.execute(
                "INSERT INTO experiment_tag (experiment_id, key, value) VALUES (?, ?, ?)"
                " ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value",
                (experiment_id, key, value),
            )
        return experiment_id

    def put(
        self,
        run: Run,
        experiment_id: int,
        histories: Mapping[str, Sequence[Point]],
        artifact_uri: str | None,
        *,
        complete: bool = True,
    ) -> Arrived:
        """Write what is new of a run, in one transaction. complete: nothing of it is to follow (artifacts)."""
        with self.database.transaction():
            self.writer.begin()
            standing = self.standing(run)
            names = originals(run.tags)
            if standing.run_id is None:
                run_id = self._insert(run, experiment_id, artifact_uri)
            else:
                run_id = standing.run_id
                self._update(run, run_id, artifact_uri)
            words = self._words(run, run_id, names)
            points = self._points(run_id, histories, names)
            words += self._datasets(run, run_id, experiment_id)
            self._pair(run, run_id, PULLED, self.now_ms if complete else None)
        return Arrived(run_id, standing.place == "new", points, 0 if standing.place == "new" else words)

    def claim(self, run: Run, run_id: int) -> None:
        """Remember that the run there is one of ours."""
        if run.uid not in self._pairs:
            with self.database.transaction():
                self._pair(run, run_id, PUSHED, self.now_ms)

    def finish(self, run: Run, run_id: int, artifact_uri: str) -> None:
        """Everything of the run has arrived, also its files, which lie at artifact_uri."""
        with self.database.transaction():
            self._at.execute("UPDATE run SET artifact_uri = ? WHERE id = ?", (artifact_uri, run_id))
            self._pair(run, run_id, PULLED, self.now_ms)

    def put_artifact(self, run_id: int, path: str, size_bytes: int | None) -> None:
        """A file of the run has arrived."""
        with self.database.transaction():
            self._at.execute(
                "INSERT INTO artifact (run_id, path, size_bytes) VALUES (?, ?, ?)"
                " ON CONFLICT (run_id, path) DO UPDATE SET size_bytes = excluded.size_bytes",
                (run_id, path, size_bytes),
            )

    def join(self, runs: Sequence[Run]) -> None:
        """Put runs below those they say they are below, once all have arrived."""
        with self.database.transaction():
            for run in runs:
                parent = self._pairs.get(run.tags.get(PARENT_TAG, ""))
                pair = self._pairs.get(run.uid)
                if parent and pair and pair.direction == PULLED and parent.run_id != pair.run_id:
                    self._at.execute(
                        "UPDATE run SET parent_id = ? WHERE id = ? AND parent_id IS NULL", (parent.run_id, pair.run_id)
                    )
                    self._at.execute("DELETE FROM tag WHERE run_id = ? AND key = ?", (pair.run_id, PARENT_TAG))

    def put_model(self, model: Model, experiment_id: int) -> bool:
        """Write a logged model and what runs said of it; whether it was new. Its run has arrived before."""
        pair = self._pairs.get(model.run_uid or "")
        with self.database.transaction():
            found = self._at.execute("SELECT id FROM logged_model WHERE uid = ?", (model.uid,)).fetchone()
            said = (model.status, model.status_message, model.updated_ms)
            if found:
                model_id = int(found[0])
                self._at.execute(
                    "UPDATE logged_model SET status = ?, status_message = ?, updated_ms = ? WHERE id = ?",
                    (*said, model_id),
                )
            else:
                made = self._at.execute(
                    "INSERT INTO logged_model (status, status_message, updated_ms, uid, experiment_id, run_id, name,"
                    " model_type, artifact_uri, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                    (
                        *(*said, model.uid, experiment_id, pair and pair.run_id, model.name, model.model_type),
                        *(model.artifact_uri, model.created_ms),
                    ),
                ).fetchone()
                model_id = int(made[0])
            for table, words in (("logged_model_param", model.params), ("logged_model_tag", model.tags)):
                self._at.executemany(
                    f"INSERT INTO {table} (model_id, key, value) VALUES (?, ?, ?)"
                    " ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
                    [(model_id, key, value) for key, value in words.items()],
                )
            self._model_points(model, model_id)
        return not found

    def put_links(self, run: Run) -> None:
        """Write which logged models a run read and wrote, once these have arrived."""
        pair = self._pairs.get(run.uid)
        if not run.links or pair is None:
            return
        with self.database.transaction():
            for link in run.links:
                found = self._at.execute("SELECT id FROM logged_model WHERE uid = ?", (link.uid,)).fetchone()
                if found:
                    self._at.execute(
                        "INSERT INTO run_model (run_id, model_id, direction, step) VALUES (?, ?, ?, ?)"
                        " ON CONFLICT (run_id, model_id, direction, step) DO NOTHING",
                        (pair.run_id, found[0], link.direction, link.step),
                    )

    # ── parts of a run ──

    def _insert(self, run: Run, experiment_id: int, artifact_uri: str | None) -> int:
        taken = "SELECT 1 FROM run WHERE uid = ?"
        wanted = (run.tags.get(UID_TAG), run.uid)
        free = (uid for uid in wanted if uid and _UID.fullmatch(uid) and not self._at.execute(taken, (uid,)).fetchone())
        made = self._at.execute(
            "INSERT INTO run (uid, experiment_id, name, origin, status, user_name, note, artifact_uri, started_ms,"
            " ended_ms, deleted_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(next(free, uuid4().hex), experiment_id, run.name, ORIGIN, run.status, run.user_name),
                *(run.tags.get(NOTE_TAG), artifact_uri, run.started_ms, run.ended_ms),
                self.now_ms if run.is_deleted else None,
            ),
        ).fetchone()
        return int(made[0])

    def _update(self, run: Run, run_id: int, artifact_uri: str | None) -> None:
        """What may have changed since; a name that a person corrected stays, and so does what was removed here."""
        self._at.execute(
            "UPDATE run SET status = ?, ended_ms = ?, artifact_uri = coalesce(artifact_uri, ?), name = CASE WHEN EXISTS"
            " (SELECT 1 FROM edit WHERE run_id = run.id AND field = 'name') THEN name ELSE ? END,"
            " note = CASE WHEN EXISTS (SELECT 1 FROM edit WHERE run_id = run.id AND field = 'note') THEN note"
            " ELSE coalesce(?, note) END WHERE id = ?",
            (run.status, run.ended_ms, artifact_uri, run.name, run.tags.get(NOTE_TAG), run_id),
        )
        if run.is_deleted:
            self._at.execute("UPDATE run SET deleted_ms = coalesce(deleted_ms, ?) WHERE id = ?", (self.now_ms, run_id))

    def _words(self, run: Run, run_id: int, names: Originals) -> int:
        """Write params and tags that are new or say something else now; how many."""
        new = self._new_words(run, run_id, names)
        self._at.executemany(sql.PUT_PARAM, [(run_id, key, text, as_number(text)) for key, text in new["param"]])
        self._at.executemany(sql.PUT_TAG, [(run_id, key, text) for key, text in new["tag"]])
        return sum(map(len, new.values()))

    def _new_words(self, run: Run, run_id: int, names: Originals) -> dict[str, list[tuple[str, str]]]:
        """Params and tags that are new or say something else now, but for those that a person corrected."""
        edited = "SELECT field, key FROM edit WHERE run_id = ? AND field IN ('param', 'tag')"
        kept = set(self.database.rows(edited, (run_id,)))
        # Those are columns here, or have been read already; a parent that is not known stays a tag.
        columns = (UID_TAG, NAME_TAG, NOTE_TAG, *((PARENT_TAG,) if run.tags.get(PARENT_TAG) in self._pairs else ()))
        tags = {k: v for k, v in run.tags.items() if k not in columns and not k.startswith(PUSHED_TAG)}
        out: dict[str, list[tuple[str, str]]] = {}
        for kind, said in (("param", run.params), ("tag", tags)):
            here: dict[str, str] = dict(
                self.database.rows(f"SELECT key, value FROM {kind} WHERE run_id = ?", (run_id,))
            )
            rows = out[kind] = []
            for theirs, value in said.items():
                key = names.name(kind, theirs)
                whole = names.values.get(kind, {}).get(key, value)
                # Of a value that was cut, the rest only holds as long as its beginning does.
                text = whole if whole.startswith(value) else value
                if here.get(key) != text and (kind, key) not in kept:
                    rows.append((key, text))
        return out

    def _points(self, run_id: int, histories: Mapping[str, Sequence[Point]], names: Originals) -> int:
        """How many points were new."""
        known = self.writer.open_metrics(run_id) if histories else {}
        fresh: list[tuple[OpenMetric, Curve]] = []
        for theirs, history in histories.items():
            key = names.name("metric", theirs)
            one = known.get(key)
            kind = one.metric.kind if one else REPORTED if theirs in names.reported else CURVE
            there: list[Point] = []
            if one:
                rows = self._at.execute(sql.POINTS_OF_METRIC, (one.id,)).fetchall()
                there = [(step or 0, time_ms or 0, exchange.number(value)) for step, value, time_ms in rows]
            if theirs in names.infinite:
                history = [(step, time_ms, _unclipped(value)) for step, time_ms, value in history]
            if kind == REPORTED:
                # A number without a step has none of its own time either.
                history = [(0, 0, value) for _, _, value in history]
            new = exchange.missing(history, there)
            if not new:
                continue
            if one is None:
                name = metrics.canonical(key, kind) if metrics.is_known(key) else key
                metric = Metric(key, name, kind, step_unit="step")
                one = OpenMetric(self.writer.metric_id(), metric, key, Summary(), None, 0, stored=False)
            fresh.append((one, _curve(one.metric, new)))
        for one, curve in fresh:
            one.summary.add(curve.steps, curve.values, curve.times_ms)
            if one.stored:
                one.seq = self._at.execute(sql.NEXT_SEQ, (one.id,)).fetchone()[0]
        # The metric before its points, which refer to it.
        self.writer.insert_metrics(run_id, [one for one, _ in fresh])
        for one, curve in fresh:
            self.writer.insert([one.id], one.seq, None, [curve], 0)
        for one, _ in fresh:
            ties.settle(self._at, one.id)
        return sum(len(curve.values) for _, curve in fresh)

    def _datasets(self, run: Run, run_id: int, experiment_id: int) -> int:
        """How many data sets of the run are new to it."""
        count = 0
        for use in run.datasets:
            mark = (experiment_id, use.name, use.digest)
            self._at.execute(
                "INSERT INTO dataset (uid, experiment_id, name, digest, source_type, source, data_schema, profile)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (experiment_id, name, digest) DO NOTHING",
                (uuid4().hex, *mark, use.source_type, use.source, use.data_schema, use.profile),
            )
            find = "SELECT id FROM dataset WHERE experiment_id = ? AND name = ? AND digest = ?"
            (dataset_id,) = self._at.execute(find, mark).fetchone()
            new = self._at.execute(
                "INSERT INTO run_dataset (run_id, dataset_id, context) VALUES (?, ?, ?)"
                " ON CONFLICT (run_id, dataset_id) DO NOTHING",
                (run_id, dataset_id, use.context),
            )
            count += max(new.rowcount, 0)
            self._at.executemany(
                "INSERT INTO run_dataset_tag (run_id, dataset_id, key, value) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (run_id, dataset_id, key) DO UPDATE SET value = excluded.value",
                [(run_id, dataset_id, key, value) for key, value in use.tags.items()],
            )
        return count

    def _model_points(self, model: Model, model_id: int) -> None:
        rows = self._at.execute(
            "SELECT run_id, key, step, time_ms, value, dataset_name, dataset_digest FROM logged_model_metric"
            " WHERE model_id = ?",
            (model_id,),
        ).fetchall()
        known = {
            (run_id, key, exchange.sameness((step, time_ms, exchange.number(value))), *dataset)
            for run_id, key, step, time_ms, value, *dataset in rows
        }
        for said in model.points:
            pair = self._pairs.get(said.run_uid)
            if pair is None:
                continue
            step, time_ms, value = said.point
            dataset = (said.dataset_name, said.dataset_digest)
            mark = (pair.run_id, said.key, exchange.sameness(said.point), *dataset)
            if mark in known:
                continue
            known.add(mark)
            self._at.execute(
                "INSERT INTO logged_model_metric (model_id, seq, run_id, key, step, value, time_ms, dataset_name,"
                " dataset_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (model_id, len(known) - 1, pair.run_id, said.key, step, value, time_ms, *dataset),
            )

    def _pair(self, run: Run, run_id: int, direction: str, synced_ms: int | None) -> None:
        pair = Counterpart(run.uid, run_id, direction, synced_ms)
        exchange.put_counterpart(self.database, self.store, pair)
        self._pairs[run.uid] = pair


def _unclipped(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def _curve(metric: Metric, points: Sequence[Point]) -> Curve:
    nothing = [None] * len(points)
    steps, times, values = (list(column) for column in zip(*points, strict=True))
    if metric.kind == REPORTED:
        return Curve(metric, nothing, values, nothing)
    return Curve(metric, steps, values, nothing, times_ms=times)
