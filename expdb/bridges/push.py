"""Runs of this database into another MLflow store: each once, and again only what is new."""

import json
from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from expdb.bridges import files
from expdb.bridges.delivery import Delivery, Said
from expdb.bridges.names import Names
from expdb.bridges.pull import Progress
from expdb.bridges.remote import Remote
from expdb.errors import RefusedError
from expdb.records import REPORTED
from expdb.store import departures, exchange
from expdb.store.arrivals import NOTE_TAG, PARENT_TAG, pushed_tag
from expdb.store.database import Database
from expdb.store.departures import Outgoing
from expdb.store.exchange import PULLED, PUSHED, UID_TAG, Counterpart, Experiment, Model, Point, Run

_PIECE = 4000


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. run_ids: these runs; removed: those that MLflow deleted, too, and experiments without runs:
    everything. again: compare every point.

    root: where the folders of runs are; files are copied only with it.
    """

    run_ids: tuple[int, ...]
    removed: bool = False
    root: Path | None = None
    again: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of it. theirs: runs that were pulled from there; renamed: keys that are called otherwise there, ours
    to theirs; notes: what could not be said there; refused: runs that were not taken."""

    store: str
    new: int = 0
    grown: int = 0
    same: int = 0
    theirs: int = 0
    # Of those without a run.
    experiments: int = 0
    points: int = 0
    models: int = 0
    copied: int = 0
    copied_bytes: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Form:
    """A run as the other store takes it: keys and values in its limits. keys: of the metrics, ours to theirs."""

    run: Run
    keys: Mapping[str, str]


def push(database: Database, remote: Remote, request: Request, now_ms: int, progress: Progress) -> Outcome:
    """Bring the runs there; with dry_run only count them.

    One push of a database waits for another. What has arrived stays, whatever ends this; the same call goes on from
    there. Raises DatabaseError where the other store fails; what it refuses of one run keeps none of the others.
    """
    with nullcontext() if request.dry_run else database.alone("push"):
        return _pushed(database, remote, request, now_ms, progress)


def _pushed(database: Database, remote: Remote, request: Request, now_ms: int, progress: Progress) -> Outcome:
    ids = [*request.run_ids, *(departures.removed_foreign(database) if request.removed else ())]
    work = _Push(database, remote, request, now_ms)
    going = departures.runs(database, ids)
    work.plan_models(going)
    with progress(len(ids)) as step:
        for outgoing in going:
            work.one(outgoing)
            step(1)
    if request.removed:
        work.empty_experiments({int(outgoing.run.experiment_uid) for outgoing in going})
    if not request.dry_run:
        work.models()
        work.finish()
    if work.clipped:
        count = f"{work.clipped:,} metric{'' if work.clipped == 1 else 's'}"
        work.out.notes.append(
            f"±inf in {count}: MLflow's databases keep ±1.797e308 for it; here, and where expdb pulls it, it is ±inf"
        )
    return work.out


class _Push:
    def __init__(self, database: Database, remote: Remote, request: Request, now_ms: int) -> None:
        self.database = database
        self.remote = remote
        self.request = request
        self.now_ms = now_ms
        self.out = Outcome(remote.name)
        self.clipped = 0
        self.names = Names(database, remote.name)
        self.delivery = Delivery(remote)
        self.pairs: dict[int, Counterpart] = {}
        for pair in exchange.counterparts(database, remote.name):
            # One run here may be several there; the one that was pulled is the first.
            if self.pairs.get(pair.run_id, pair).direction != PULLED or pair.direction == PULLED:
                self.pairs[pair.run_id] = pair
        self.experiments = departures.experiments(database)
        self.from_servers = departures.from_servers(database)
        self.there = {one.name: one for one in remote.experiments()}
        # The runs of an experiment there, by their ids; and those that say whose they are, by our uids.
        self.runs: dict[str, dict[str, Run]] = {}
        self.marked: dict[str, str] = {}
        self.pushed: dict[int, Outgoing] = {}
        self.closing: dict[str, Experiment] = {}
        # Models that are to be made there, by their uid; and what runs said of them, which is said with the model: by
        # run's uid and key. A store of files would have a point twice that is said without it before.
        self.new_models: dict[str, Model] = {}
        self.held: dict[tuple[str, str], set[exchange.Sameness]] = {}

    def empty_experiments(self, with_runs: Set[int]) -> None:
        """Make the experiments that have no run, where they are not there."""
        for number, ours in self.experiments.items():
            if number in with_runs or ours.name in self.there or ours.is_deleted:
                continue
            if not self.request.dry_run:
                try:
                    self._experiment(ours)
                except RefusedError as error:
                    self.out.refused.append(f"experiment {ours.name}: {error.message}")
                    continue
            self.out.experiments += 1

    def plan_models(self, going: Sequence[Outgoing]) -> None:
        """Learn which logged models are to go with the runs."""
        for model in departures.models(self.database, [outgoing.id for outgoing in going]):
            if self.names.model(model.uid) is None:
                self.new_models[model.uid] = model
                for said in model.points:
                    self.held.setdefault((said.run_uid, said.key), set()).add(exchange.sameness(said.point))

    def one(self, outgoing: Outgoing) -> None:
        """Bring one run there, or what is new of it."""
        pair = self.pairs.get(outgoing.id)
        if pair and pair.direction == PULLED:
            self.out.theirs += 1
            return
        try:
            self._one(outgoing, pair)
        except RefusedError as error:
            self.out.refused.append(f"{outgoing.run.name}: {error.message}")

    def _one(self, outgoing: Outgoing, pair: Counterpart | None) -> None:
        ours = self.experiments[int(outgoing.run.experiment_uid)]
        there = self.there.get(ours.name)
        if self.request.dry_run:
            known = bool(there and self._at(outgoing, pair, self._runs(there.uid)))
            self.out.new += not known
            self.out.same += known
            return
        if there and there.is_deleted and ours.is_deleted and pair and pair.synced_ms is not None:
            # It was deleted once all its runs had arrived.
            self.out.same += 1
            return
        experiment_uid = self._experiment(ours)
        runs = self._runs(experiment_uid)
        at = self._at(outgoing, pair, runs)
        if at is not None and at.uid == outgoing.run.uid:
            # No other store gives a run our uid: it was pulled from there, or there is this very database behind it.
            self.out.theirs += 1
            return
        if at is not None and at.is_deleted:
            if not outgoing.run.is_deleted:
                self.out.notes.append(f"{outgoing.run.name}: it is deleted there, and left alone")
            self.pushed[outgoing.id] = outgoing
            self.out.same += 1
            return
        form = self._form(outgoing)
        is_new = at is None
        if at is None:
            mark = {UID_TAG: outgoing.run.uid}
            uid, files_uri = self.delivery.run(experiment_uid, form.run, mark)
            at = replace(form.run, uid=uid, params={}, tags=mark, last={}, datasets=())
            at = replace(at, status="running", ended_ms=None, artifact_uri=files_uri)
        settled = pair is not None and pair.synced_ms is not None and at.has_ended and outgoing.run.has_ended
        if pair is None or pair.other_uid != at.uid:
            pair = self._remember(outgoing, at.uid, None)
        changed = self._say(outgoing, form, at, settled=settled and not is_new)
        changed = self._send_files(outgoing, at) or changed
        if pair.synced_ms is None or changed:
            self._remember(outgoing, at.uid, self.now_ms)
        self.pushed[outgoing.id] = outgoing
        self.out.new += is_new
        self.out.grown += changed and not is_new
        self.out.same += not changed and not is_new

    def _say(self, outgoing: Outgoing, form: _Form, at: Run, *, settled: bool) -> bool:
        """Say what is new of a run; whether anything was."""
        uid, run = at.uid, form.run
        params = {key: value for key, value in run.params.items() if at.params.get(key) != value}
        for key in [key for key in params if key in at.params]:
            self.out.notes.append(
                f"{run.name}: param {key} is {at.params[key]!r} there and cannot be changed to {params.pop(key)!r}"
            )
        tags = {key: value for key, value in run.tags.items() if at.tags.get(key) != value}
        points = self._points(outgoing, form, at, settled=settled)
        known = {(use.name, use.digest) for use in at.datasets}
        datasets = [use for use in run.datasets if (use.name, use.digest) not in known]
        state = (run.status, run.ended_ms, run.name) != (at.status, at.ended_ms, at.name)
        if params or tags:
            self.delivery.words(uid, params, tags)
        if points:
            self.delivery.points(uid, points)
            self.out.points += len(points)
        if datasets:
            self.delivery.datasets(uid, datasets)
        if state:
            self.delivery.state(uid, run)
        return bool(params or tags or points or datasets or state)

    def _send_files(self, outgoing: Outgoing, at: Run) -> bool:
        """Copy the run's files there, where that is asked for; whether any was new."""
        source = outgoing.run.artifact_uri
        folder = self.request.root / outgoing.run.uid / "artifacts" if self.request.root else None
        if source is None and folder is not None and folder.is_dir():
            # What expdb launched keeps its files in its folder.
            source = folder.absolute().as_uri()
        if self.request.root is None or source is None or at.artifact_uri is None:
            return False
        if self.remote.leads_here(at.artifact_uri):
            self.out.refused.append(f"{outgoing.run.name}: {at.artifact_uri}: {files.LEADS_HERE}")
            return False
        if outgoing.id in self.from_servers and files.leads_out_of(self.request.root, source):
            # A server could name any folder of ours, to have it sent on.
            self.out.refused.append(f"{outgoing.run.name}: {source}: {files.LEADS_HERE}")
            return False
        count = 0
        for done in files.send(source, self.remote.reachable(at.artifact_uri)):
            if done.error is not None:
                self.out.refused.append(f"{outgoing.run.name}: {done.path}: {done.error}")
            elif done.is_new:
                count += 1
                self.out.copied_bytes += done.size_bytes
        self.out.copied += count
        return count > 0

    def _points(
        self, outgoing: Outgoing, form: _Form, at: Run, *, settled: bool
    ) -> list[tuple[str, Point, Said | None]]:
        out: list[tuple[str, Point, Said | None]] = []
        # A log that grows is taken in anew, and begins anew as far as we know: what its points were told to be holds.
        started_ms = at.started_ms or 0
        for metric in outgoing.metrics:
            key = form.keys[metric.key]
            last = at.last.get(key)
            same = last is not None and exchange.sameness(last) == exchange.sameness(metric.last(started_ms))
            if settled and same and not self.request.again:
                continue
            history = departures.history(self.database, metric, started_ms)
            there = self.remote.history(at.uid, key) if last is not None else []
            held = self.held.get((outgoing.run.uid, metric.key), ())
            new = exchange.missing(history, there)
            out += [(key, point, None) for point in new if not held or exchange.sameness(point) not in held]
        return out

    # ── what is there ──

    def _experiment(self, ours: Experiment) -> str:
        """The id there of an experiment of ours, made where there is none."""
        there = self.there.get(ours.name)
        tags = {
            self.names.theirs("experiment_tag", key): value for key, value in ours.tags.items() if not _is_theirs(key)
        }
        if there is None:
            made = self.delivery.experiment(ours, tags)
            self.there[ours.name] = replace(ours, uid=made, tags=tags, is_deleted=False)
            self.runs[made] = {}
            if ours.is_deleted:
                self.closing[made] = ours
            return made
        if there.is_deleted:
            raise RefusedError(
                f"its experiment {ours.name!r} is deleted there", hint="mlflow experiments restore, or another name"
            )
        for key, value in tags.items():
            if there.tags.get(key) != value:
                self.delivery.experiment_tag(there.uid, key, value)
        self.there[ours.name] = replace(there, tags={**there.tags, **tags})
        return there.uid

    def _runs(self, experiment_uid: str) -> dict[str, Run]:
        if experiment_uid not in self.runs:
            self.runs[experiment_uid] = {run.uid: run for run in self.remote.runs([experiment_uid])}
        for run in self.runs[experiment_uid].values():
            if UID_TAG in run.tags:
                self.marked.setdefault(run.tags[UID_TAG], run.uid)
        return self.runs[experiment_uid]

    def _at(self, outgoing: Outgoing, pair: Counterpart | None, runs: Mapping[str, Run]) -> Run | None:
        """The run there, if it is there: as it was remembered, as it says itself, or by the same uid in a store that
        has our runs by another door."""
        uids = (pair.other_uid if pair else None, self.marked.get(outgoing.run.uid), outgoing.run.uid)
        return next((runs[uid] for uid in uids if uid is not None and uid in runs), None)

    def _remember(self, outgoing: Outgoing, uid: str, synced_ms: int | None) -> Counterpart:
        old, pair = self.pairs.get(outgoing.id), Counterpart(uid, outgoing.id, PUSHED, synced_ms)
        with self.database.transaction():
            if old and old.other_uid != uid:
                exchange.drop_counterpart(self.database, self.remote.name, old.other_uid)
            exchange.put_counterpart(self.database, self.remote.name, pair)
        self.pairs[outgoing.id] = pair
        return pair

    # ── a run in their limits ──

    def _form(self, outgoing: Outgoing) -> _Form:
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

        run = outgoing.run
        kept = _Kept()
        parent = self.pairs.get(outgoing.parent_id) if outgoing.parent_id is not None else None
        said_tags = {**run.tags, **({PARENT_TAG: parent.other_uid} if parent else {})}
        params = self._words("param", run.params, MAX_PARAM_VAL_LENGTH, kept)
        tags = self._words("tag", said_tags, MAX_TAG_VAL_LENGTH, kept)
        keys = {}
        for metric in outgoing.metrics:
            theirs = keys[metric.key] = self._name("metric", metric.key, kept)
            if metric.has_infinity and self.remote.may_clip:
                kept.infinite.append(theirs)
                self.clipped += 1
            if metric.kind == REPORTED:
                kept.reported.append(theirs)
        # It stays: another database that has the run, too, knows it by that.
        tags[UID_TAG] = run.uid
        for part, piece in enumerate(kept.pieces(), 1):
            tags[pushed_tag(part)] = piece
        return _Form(replace(run, params=params, tags=tags), keys)

    def _words(self, kind: str, words: Mapping[str, str], longest: int, kept: "_Kept") -> dict[str, str]:
        out = {}
        for key, value in words.items():
            theirs = self._name(kind, key, kept)
            if len(value) > longest:
                kept.values.setdefault(kind, {})[key] = value
            out[theirs] = value[:longest]
        return out

    def _name(self, kind: str, ours: str, kept: "_Kept") -> str:
        theirs = self.names.theirs(kind, ours)
        if theirs != ours:
            kept.names.setdefault(kind, {})[theirs] = ours
            self.out.renamed[ours] = theirs
        return theirs

    # ── behind the runs ──

    def models(self) -> None:
        """Bring the logged models of the runs there, and say which run read and wrote which."""
        by_uid = {outgoing.run.uid: outgoing for outgoing in self.pushed.values()}
        marks: dict[str, dict[str, Model]] = {}
        for model in self.new_models.values():
            if model.run_uid in by_uid:
                outgoing = by_uid[model.run_uid]
                experiment = self.there[self.experiments[int(outgoing.run.experiment_uid)].name]
                if experiment.uid not in marks:
                    marks[experiment.uid] = {
                        one.tags[UID_TAG]: one for one in self.remote.models([experiment.uid]) if UID_TAG in one.tags
                    }
                try:
                    self._model(model, outgoing, experiment.uid, marks[experiment.uid])
                except RefusedError as error:
                    self.out.notes.append(f"model {model.name}: {error.message}")
        self._release(by_uid)
        for outgoing in self.pushed.values():
            links = [replace(link, uid=theirs) for link in outgoing.run.links if (theirs := self.names.model(link.uid))]
            runs = self.runs[self.there[self.experiments[int(outgoing.run.experiment_uid)].name].uid]
            at = runs.get(self.pairs[outgoing.id].other_uid) if outgoing.id in self.pairs else None
            new = [link for link in links if at is None or link not in at.links]
            if new and not (at and at.is_deleted):
                try:
                    self.delivery.links(self.pairs[outgoing.id].other_uid, new)
                except RefusedError as error:
                    self.out.notes.append(f"{outgoing.run.name}: {error.message}")

    def _model(self, model: Model, outgoing: Outgoing, experiment_uid: str, marked: Mapping[str, Model]) -> None:
        run_uid = self.pairs[outgoing.id].other_uid
        there = marked.get(model.uid)
        mark_of_ours = (UID_TAG, model.uid)
        theirs = there.uid if there else self.delivery.model(experiment_uid, run_uid, model, mark_of_ours)
        # A store of files would have a point twice.
        known = {(said.key, exchange.sameness(said.point), said.dataset_name) for said in there.points} if there else ()
        by_uid = {one.run.uid: self.pairs[one.id].other_uid for one in self.pushed.values() if one.id in self.pairs}
        for said in model.points:
            if said.run_uid in by_uid:
                key = self.names.theirs("metric", said.key)
                if (key, exchange.sameness(said.point), said.dataset_name) in known:
                    continue
                mark: Said = (theirs, said.dataset_name, said.dataset_digest)
                self.delivery.points(by_uid[said.run_uid], [(key, said.point, mark)])
                self.out.points += 1
        self.names.put_model(model.uid, theirs)
        self.out.models += there is None

    def _release(self, by_uid: Mapping[str, Outgoing]) -> None:
        """Say without a model what was held back for one that could not be made."""
        for run_uid, key in self.held:
            if (outgoing := by_uid.get(run_uid)) and outgoing.id in self.pairs:
                uid, theirs = self.pairs[outgoing.id].other_uid, self.names.theirs("metric", key)
                metric = next((one for one in outgoing.metrics if one.key == key), None)
                history = departures.history(self.database, metric, outgoing.run.started_ms or 0) if metric else []
                left = exchange.missing(history, self.remote.history(uid, theirs))
                self.delivery.points(uid, [(theirs, point, None) for point in left])
                self.out.points += len(left)

    def finish(self) -> None:
        """Delete what is deleted here, once everything of it is there."""
        for outgoing in self.pushed.values():
            pair = self.pairs.get(outgoing.id)
            experiment = self.there[self.experiments[int(outgoing.run.experiment_uid)].name]
            at = self.runs[experiment.uid].get(pair.other_uid) if pair else None
            if outgoing.run.is_deleted and pair and not (at and at.is_deleted):
                self.delivery.delete(pair.other_uid)
        for uid in self.closing:
            self.delivery.delete_experiment(uid)


class _Kept:
    """What the other store cannot take as it is, to be written beside the run: see `arrivals.originals`."""

    def __init__(self) -> None:
        self.names: dict[str, dict[str, str]] = {}
        self.values: dict[str, dict[str, str]] = {}
        self.reported: list[str] = []
        self.infinite: list[str] = []

    def pieces(self) -> list[str]:
        """It as JSON, in pieces that fit a tag; none where there is nothing."""
        said: dict[str, object] = {"names": self.names, "values": self.values, "reported": sorted(self.reported)}
        said["infinite"] = sorted(self.infinite)
        left = {what: some for what, some in said.items() if some}
        text = json.dumps(left, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if left else ""
        return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _is_theirs(key: str) -> bool:
    """Whether a tag of an experiment is one that each server sets for itself."""
    return key.startswith("mlflow.") and key != NOTE_TAG
