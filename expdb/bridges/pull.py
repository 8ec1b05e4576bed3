"""Runs of another MLflow store into this database: all of them, each once, and again only what is new."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from expdb.bridges import files
from expdb.bridges.remote import Remote
from expdb.errors import NotFoundError, RefusedError
from expdb.store.arrivals import Arrivals, Standing
from expdb.store.database import Database
from expdb.store.exchange import Experiment, Run

Artifacts = Literal["none", "link", "copy"]
ARTIFACTS: tuple[Artifacts, ...] = get_args(Artifacts)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. experiments: by name, all without any; condition: in MLflow's own filter language.

    artifacts: keep no address of them, keep it, or copy the files below root. again: read the histories of runs anew
    that have ended as they were known.
    """

    experiments: tuple[str, ...] = ()
    condition: str = ""
    artifacts: Artifacts = "link"
    root: Path | None = None
    again: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of it. ours: runs there that had been pushed from here; notes: what a person may wonder about;
    refused: one line for each file or run that could not be taken."""

    store: str
    experiments: int = 0
    new: int = 0
    grown: int = 0
    same: int = 0
    ours: int = 0
    points: int = 0
    models: int = 0
    copied: int = 0
    copied_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def pull(database: Database | None, remote: Remote, request: Request, now_ms: int, progress: Progress) -> Outcome:
    """Bring the runs over; without a database, or with dry_run, only count what is new.

    What has arrived stays, whatever ends this; the same call goes on from there.
    Raises NotFoundError for an experiment that is not there, DatabaseError where the other store fails.
    """
    found = {one.uid: one for one in _wanted(remote, request)}
    runs = [run for few in _in_parts(list(found)) for run in remote.runs(few, request.condition)]
    # Those of one moment (read from one log, on the day it was taken in) would come in the order of their random ids.
    runs.sort(key=lambda run: (run.started_ms or 0, run.name))
    out = Outcome(remote.name, experiments=len({run.experiment_uid for run in runs}), notes=list(remote.notes))
    arrivals = Arrivals(database, remote.name, now_ms) if database else None
    with progress(len(runs)) as step:
        if arrivals is None or request.dry_run:
            _count(arrivals, runs, out, request)
            return out
        ids = _experiments(arrivals, list(found.values()), runs, request)
        for run in runs:
            if run.experiment_uid in ids:
                try:
                    _one(arrivals, remote, run, ids[run.experiment_uid], out, request)
                except RefusedError as error:
                    out.refused.append(f"{run.name}: {error.message}")
            step(1)
        out.notes += arrivals.apart(runs, {one.uid: one.name for one in found.values()})
        arrivals.join(runs)
        uids = {run.uid for run in runs}
        for few in _in_parts(list(ids)):
            for model in remote.models(few):
                if model.run_uid in uids and not arrivals.is_ours(model.run_uid):
                    out.models += arrivals.put_model(model, ids[model.experiment_uid])
        for run in runs:
            arrivals.put_links(run)
    return out


def _wanted(remote: Remote, request: Request) -> Iterator[Experiment]:
    there = remote.experiments()
    names = {one.name for one in there}
    for name in request.experiments:
        if name not in names:
            said = ", ".join(sorted(names)) or "none"
            raise NotFoundError(f"{remote.name} has no experiment {name!r}", hint=f"it has: {said}")
    return (one for one in there if not request.experiments or one.name in request.experiments)


def _experiments(
    arrivals: Arrivals, found: Sequence[Experiment], runs: Sequence[Run], request: Request
) -> dict[str, int]:
    """The experiments here, by their ids there. An empty one that is deleted, or was not asked for, is left away."""
    used = {run.experiment_uid for run in runs}
    out = {}
    with arrivals.database.transaction():
        for one in found:
            if one.uid in used or (not one.is_deleted and not request.condition):
                out[one.uid] = arrivals.experiment(one)
    return out


def _one(arrivals: Arrivals, remote: Remote, run: Run, experiment_id: int, out: Outcome, request: Request) -> None:
    standing = arrivals.standing(run)
    if standing.place == "ours":
        assert standing.run_id is not None
        arrivals.claim(run, standing.run_id)
        out.ours += 1
        return
    keys = list(run.last) if request.again else arrivals.stale(run, standing)
    histories = {key: remote.history(run.uid, key) for key in keys}
    linked = request.artifacts == "link" and run.artifact_uri
    address = remote.reachable(run.artifact_uri) if linked and run.artifact_uri else None
    copies = request.artifacts == "copy" and run.artifact_uri is not None and request.root is not None
    arrived = arrivals.put(run, experiment_id, histories, address, complete=not copies)
    copied = _copy(arrivals, remote, run, arrived.run_id, out, request) if copies else 0
    out.points += arrived.points
    if arrived.is_new:
        out.new += 1
    elif arrived.changed or copied:
        out.grown += 1
    else:
        out.same += 1


def _copy(arrivals: Arrivals, remote: Remote, run: Run, run_id: int, out: Outcome, request: Request) -> int:
    """Copy the run's files into its folder; how many are new. What cannot be copied is told, and asked for again."""
    assert request.root is not None
    assert run.artifact_uri is not None
    ((uid,),) = arrivals.database.rows("SELECT uid FROM run WHERE id = ?", (run_id,))
    target = request.root / str(uid) / "artifacts"
    if remote.leads_here(run.artifact_uri):
        out.refused.append(f"{run.name}: {run.artifact_uri}: {files.LEADS_HERE}")
        return 0
    count = 0
    failed = False
    for done in files.copy(remote.reachable(run.artifact_uri), target):
        if done.error is not None:
            out.refused.append(f"{run.name}: {done.path}: {done.error}")
            failed = True
        elif done.is_new:
            count += 1
            out.copied_bytes += done.size_bytes
            arrivals.put_artifact(run_id, done.path, done.size_bytes)
    out.copied += count
    if not failed:
        arrivals.finish(run, run_id, target.absolute().as_uri())
    return count


def _count(arrivals: Arrivals | None, runs: Sequence[Run], out: Outcome, request: Request) -> None:
    """What `pull` would do, as far as it can be said without reading a history."""
    for run in runs:
        standing = arrivals.standing(run) if arrivals else Standing("new")
        if standing.place == "new":
            out.new += 1
        elif standing.place == "ours":
            out.ours += 1
        elif arrivals and (request.again or arrivals.stale(run, standing)):
            out.grown += 1
        else:
            out.same += 1


def _in_parts(uids: list[str], size: int = 50) -> Iterator[list[str]]:
    # A server takes so many experiments in one search.
    return (uids[at : at + size] for at in range(0, len(uids), size))
