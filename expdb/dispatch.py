"""The queue of this machine: runs that wait for a GPU or a CPU slot, started in turn and followed to their end.

A queue is a folder of entries beside the run folders; one process per queue, the dispatcher, works it off. It is
nobody's child, so it survives the terminal, and it ends when nothing is left to do. Killed, it is replaced by the
next command that needs it: entries and run folders say all there is to know.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from expdb import live, settings
from expdb.address import Address, environment
from expdb.errors import ExpdbError, InputError
from expdb.runners import keeper as keeping
from expdb.runners import local, slots
from expdb.runners.folder import RunFolder, Spec, State, root_of

QUEUE = ".queue"
_LOCK = "lock"
_LOG = "log"
_LOOK_S = 0.1
# How often it is asked whether a run that waits was stopped.
_WAITING_S = 1.0
# After the last run has ended, more may come.
_IDLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the queue. most: so many of its sweep may run at a time; environ: that of whoever asked for it."""

    path: Path
    uid: str
    sweep: str | None
    most: int | None
    environ: Mapping[str, str]

    @property
    def folder(self) -> RunFolder:
        """Where the run is."""
        return RunFolder(self.path.parent.parent / self.uid)


def put(folder: RunFolder, *, created_ms: int, sweep: str | None = None, most: int | None = None) -> None:
    """Add a run to the queue, behind all others."""
    queue = folder.path.parent / QUEUE
    queue.mkdir(exist_ok=True)
    said = {"uid": folder.uid, "sweep": sweep, "most": most, "environ": dict(os.environ)}
    # Environments hold tokens: nobody else may read them, not even for a moment.
    partial = queue / f".{folder.uid}.partial"
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(said, file)
    partial.replace(queue / f"{created_ms:015d}-{time.monotonic_ns():020d}-{folder.uid}.json")


def entries(root: Path, known: Mapping[str, Entry] | None = None) -> list[Entry]:
    """The runs in the queue, in their order. known: by file name, those that need not be read again."""
    queue = root / QUEUE
    try:
        names = sorted(one.name for one in queue.iterdir() if one.suffix == ".json")
    except OSError:
        return []
    out = []
    for name in names:
        if known and name in known:
            out.append(known[name])
            continue
        try:
            said = json.loads((queue / name).read_text("utf-8", "surrogateescape"))
            out.append(Entry(queue / name, said["uid"], said["sweep"], said["most"], said["environ"]))
        except FileNotFoundError:
            # The dispatcher was quicker.
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"is no entry of a queue ({error})", path=str(queue / name), hint="delete it") from error
    return out


def ensure(database: Address) -> None:
    """See to it that a dispatcher works on the queue beside the database."""
    queue = root_of(database) / QUEUE
    queue.mkdir(parents=True, exist_ok=True)
    # Not `-m`: the current folder, where a person may have an `expdb` of their own, is nowhere on this one's path.
    here = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {here!r}); from expdb.dispatch import main; main()"
    with (queue / _LOG).open("ab") as log:
        subprocess.Popen(
            # The name is for whoever looks at the processes; a password is seen only by the process itself.
            [sys.executable, "-P", "-c", code, str(database)],
            env={**os.environ, **environment(database)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # From here upward lies the expdb.toml of the project.
            cwd=queue,
            start_new_session=True,
        )


def revive(database: Address) -> None:
    """Where runs wait and nobody works on their queue, start somebody; what waits for nobody has ended."""
    root = root_of(database)
    waiting = entries(root)
    if waiting and not _is_worked_on(root):
        ensure(database)
    queued = {entry.uid for entry in waiting}
    for uid in live.scheduled(database):
        folder = RunFolder(root / uid)
        if uid not in queued and live.is_forgotten(folder):
            _give_up(folder, "whoever launched it ended before it could be started")


def _is_worked_on(root: Path) -> bool:
    try:
        handle = os.open(root / QUEUE / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _give_up(folder: RunFolder, why: str) -> None:
    """A run that cannot be started has ended."""
    said = {**keeping.stopped_before_start(1), "code": keeping.NOT_EXECUTABLE, "stopped": False, "error": why}
    keeping.write_json(str(folder.path / "exit.json"), said)


@dataclass(frozen=True, slots=True)
class _Job:
    """An entry with what its folder says."""

    entry: Entry
    spec: Spec
    state: State

    @property
    def waits(self) -> bool:
        """Whether it is to be started by us."""
        return self.state.kind == "queued" and self.spec.runner == local.NAME


class Dispatcher:
    """Works off one queue."""

    def __init__(self, database: Address) -> None:
        self.database = database
        self.root = root_of(database)
        self._books = live.Books(database, _say)
        # What stands in entries and specs does not change.
        self._known: dict[str, Entry] = {}
        self._jobs: dict[str, _Job] = {}
        self._waiting_seen = 0.0

    def run(self) -> None:
        """Work until there is nothing left."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _IDLE_S:
            if self.look():
                idle_since = time.monotonic()
            time.sleep(_LOOK_S)
        self._books.close()

    def look(self) -> bool:
        """Start what can be started, follow what runs; whether anything is in the queue."""
        jobs = self._look_up()
        running = Counter(job.entry.sweep for job in jobs if job.state.kind == "running")
        busy = sum(job.state.kind == "running" and job.spec.runner == local.NAME and not job.spec.gpus for job in jobs)
        no_gpus = False
        for job in jobs:
            entry, gpus = job.entry, job.spec.gpus
            if not job.waits:
                if self._books.look(entry.folder, job.state):
                    self._forget(entry)
                continue
            if entry.most is not None and running[entry.sweep] >= entry.most:
                continue
            # Whoever asks for many GPUs would wait for ever if those behind it went first.
            if no_gpus if gpus else busy >= slots.cpu_slots(entry.environ):
                continue
            lease = slots.acquire(gpus, entry.environ) if gpus else None
            if gpus and lease is None:
                no_gpus = True
                continue
            self._start(job, lease)
            busy += not gpus
            running[entry.sweep] += 1
        return bool(jobs)

    def _look_up(self) -> list[_Job]:
        """The entries, with what their folders say; what has no folder any more is taken out."""
        found = entries(self.root, self._known)
        self._known = {entry.path.name: entry for entry in found}
        # Thousands may wait: whether one of them was stopped is not asked ten times a second.
        ask_waiting = time.monotonic() - self._waiting_seen > _WAITING_S
        self._waiting_seen = time.monotonic() if ask_waiting else self._waiting_seen
        jobs: dict[str, _Job] = {}
        for entry in found:
            job = self._jobs.get(entry.uid)
            if job is None or ask_waiting or not job.waits:
                try:
                    spec = job.spec if job else entry.folder.spec()
                    job = _Job(entry, spec, live.state_of(entry.folder, spec))
                except ExpdbError as error:
                    _say(error.message)
                    self._forget(entry)
                    continue
            jobs[entry.uid] = job
        self._jobs = jobs
        return list(jobs.values())

    def _forget(self, entry: Entry) -> None:
        entry.path.unlink(missing_ok=True)
        self._jobs.pop(entry.uid, None)

    def _start(self, job: _Job, lease: slots.Lease | None) -> None:
        folder = job.entry.folder
        try:
            local.start(folder, lease=lease, environ=job.entry.environ)
        except ExpdbError as error:
            _say(f"{job.entry.uid}: {error.message}")
            if folder.state().kind == "queued":
                # It would not start the next time, either.
                _give_up(folder, error.message)
        finally:
            if lease:
                # The keeper and its child hold it from here on.
                lease.close()
        self._jobs[job.entry.uid] = replace(job, state=live.state_of(folder, job.spec))


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


def main() -> None:
    """Be the dispatcher of the queue of the database that EXPDB_DB names; at once nothing, where there is one."""
    database = settings.database_path(None)
    queue = root_of(database) / QUEUE
    handle = os.open(queue / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + 2 * _IDLE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            # One that is about to end may not have seen the newest entry: wait it out.
            if time.monotonic() > until:
                return
            time.sleep(_LOOK_S)
    try:
        settings.in_force()
    except InputError as error:
        # What is wrong there now was right when the runs were queued: they go on.
        _say(error.message)
    Dispatcher(database).run()
