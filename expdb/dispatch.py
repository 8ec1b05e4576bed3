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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from expdb import live
from expdb.errors import ExpdbError, InputError
from expdb.runners import local, slots
from expdb.runners.folder import RunFolder, Spec, State, root_of

QUEUE = ".queue"
_LOCK = "lock"
_LOG = "log"
_LOOK_S = 0.1
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


def ensure(database: Path) -> None:
    """See to it that a dispatcher works on the queue beside the database."""
    queue = root_of(database) / QUEUE
    queue.mkdir(parents=True, exist_ok=True)
    # Not `-m`: the current folder, where a person may have an `expdb` of their own, is nowhere on this one's path.
    here = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {here!r}); from expdb.dispatch import main; main()"
    with (queue / _LOG).open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-P", "-c", code, os.path.abspath(database)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def replace_dead(database: Path) -> None:
    """As `ensure`, but only where nobody works on the queue, or did a moment ago."""
    try:
        handle = os.open(root_of(database) / QUEUE / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    finally:
        os.close(handle)
    ensure(database)


class Dispatcher:
    """Works off one queue."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.root = root_of(database)
        self._books = live.Books(database, _say)
        # What stands in entries and specs does not change.
        self._known: dict[str, Entry] = {}
        self._specs: dict[str, Spec] = {}

    def run(self) -> None:
        """Work until there is nothing left."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _IDLE_S:
            if self.look():
                idle_since = time.monotonic()
            time.sleep(_LOOK_S)

    def look(self) -> bool:
        """Start what can be started, follow what runs; whether anything is in the queue."""
        jobs = list(self._jobs())
        running = Counter(entry.sweep for entry, _, state in jobs if state.kind == "running")
        busy = sum(state.kind == "running" and spec.runner == local.NAME and not spec.gpus for _, spec, state in jobs)
        for entry, spec, state in jobs:
            folder = entry.folder
            if state.kind == "queued" and spec.runner == local.NAME:
                if entry.most is not None and running[entry.sweep] >= entry.most:
                    continue
                if not spec.gpus and busy >= slots.cpu_slots():
                    continue
                if not self._start(entry, spec.gpus):
                    continue
                busy += not spec.gpus
                running[entry.sweep] += 1
            elif self._books.look(folder, state):
                entry.path.unlink(missing_ok=True)
        return bool(jobs)

    def _jobs(self) -> Iterator[tuple[Entry, Spec, State]]:
        """The entries, with what their folders say; what has no folder any more is taken out."""
        found = entries(self.root, self._known)
        self._known = {entry.path.name: entry for entry in found}
        for entry in found:
            try:
                spec = self._specs[entry.uid] if entry.uid in self._specs else entry.folder.spec()
                self._specs[entry.uid] = spec
                yield entry, spec, live.state_of(entry.folder, spec)
            except ExpdbError as error:
                _say(error.message)
                entry.path.unlink(missing_ok=True)

    def _start(self, entry: Entry, gpus: int) -> bool:
        """Start a run; whether there was room for it."""
        lease = slots.acquire(gpus) if gpus else None
        if gpus and lease is None:
            return False
        try:
            local.start(entry.folder, lease=lease, environ=entry.environ)
        except ExpdbError as error:
            _say(f"{entry.uid}: {error.message}")
        finally:
            if lease:
                # The keeper and its child hold it from here on.
                lease.close()
        return True


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


def main() -> None:
    """Be the dispatcher of the queue beside the database that is named; at once nothing, where there is one."""
    database = Path(sys.argv[1])
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
    Dispatcher(database).run()
