"""This machine: a run's command under a keeper of its own, which outlives whoever started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from expdb.errors import ExpdbError, InputError, UsageError
from expdb.runners import keeper as keeping
from expdb.runners import slots
from expdb.runners.folder import Keeper, RunFolder, State

NAME = "local"
SUMMARY = "this machine: its GPUs, or CPU slots where there are none"

# What a killed process takes to be gone, with its keeper's last words; what a keeper takes to start a command.
_KILLED_S = 10.0
_STARTING_S = 5.0


def submit(folder: RunFolder) -> None:
    """Start the run now, on as many GPUs as it asks for; UsageError where not enough are free."""
    count = folder.spec().gpus
    lease = slots.acquire(count)
    if lease is None:
        raise UsageError(
            f"{count} GPUs are not free now, of {len(slots.gpus())} here", hint="expdb queue shows what runs on them"
        )
    with lease:
        start(folder, lease=lease)


def start(
    folder: RunFolder,
    gpus: Sequence[str] = (),
    *,
    lease: slots.Lease | None = None,
    stdin: bool = False,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Start the command and return as soon as it runs; its keeper, outside our process group, stays.

    gpus: the ids it is to see; ("none",) hides all; () leaves them as they are. lease: GPUs taken for it, which stay
    taken until the command and its keeper are gone, wherever the lease is closed. stdin: the command reads what we
    read. environ: its variables, to which the spec adds; None: ours. A command that cannot be started is no error
    here: the run has ended, and its exit file says why.
    InputError where the folder is none, or the run runs already.
    """
    ids = tuple(gpus) or (lease.ids if lease else ())
    words = [sys.executable, "-I", "-S", keeping.__file__, str(folder.path), "--detach"]
    if ids:
        words += ["--gpus", ",".join(ids)]
    try:
        done = subprocess.run(
            words,
            stdin=None if stdin else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=lease.fds if lease else (),
            start_new_session=True,
            env=environ,
        )
    except OSError as error:
        raise ExpdbError(f"the run could not be started: {error.strerror}") from error
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise InputError(why or "its keeper could not be started", path=str(folder.path))


def state(folder: RunFolder) -> State:
    """What is known of the run."""
    return folder.state()


def stop(folder: RunFolder, *, force: bool = False, grace_s: float = keeping.GRACE_S, wait: bool = True) -> None:
    """End the run: its whole process group is asked to (SIGTERM) and, after grace_s, made to; with force at once.

    A run that waits does not start any more; one that has ended stays as it is. Returns once it has ended or, without
    wait, once it was asked (a keeper's own grace, GRACE_S, holds then). UsageError where it runs where no signal can
    reach it from here, ExpdbError where it does not end.
    """
    if folder.state().kind in ("ended", "lost"):
        return
    try:
        (folder.path / "stop").touch()
        if _stopped_waiting(folder):
            return
    except OSError as error:
        raise InputError(f"the run cannot be stopped: {error.strerror}", path=str(folder.path)) from error
    keeper = folder.keeper()
    if keeper is None or folder.state().kind != "running":
        return
    if not is_here(keeper):
        raise UsageError(f"the run is on {keeper.host}, where no signal from here can reach it", hint="stop it there")
    _end(keeper, force)
    until = time.monotonic() + grace_s
    while wait and _there(keeper, folder):
        if time.monotonic() > until:
            if force:
                raise ExpdbError(f"the run does not end, although it was killed (process {keeper.child.pid})")
            force = True
            until = time.monotonic() + _KILLED_S
        if force:
            # Again, since a command that is just being started is in no group yet.
            _end(keeper, force)
        time.sleep(0.01)


def signal_group(folder: RunFolder, signum: signal.Signals) -> None:
    """Send the run's whole process group a signal, where it runs and can be reached from here."""
    keeper = folder.keeper()
    if keeper and is_here(keeper) and keeper.pgid > 1 and keeping.alive(keeper.child.pid, keeper.child.start):
        try:
            os.killpg(keeper.pgid, signum)
        except ProcessLookupError:
            # It ended meanwhile.
            pass


def signal_child(folder: RunFolder, signum: signal.Signals) -> None:
    """Send the run's own process a signal, where it runs and can be reached from here."""
    keeper = folder.keeper()
    if keeper and is_here(keeper) and keeper.child.pid > 1 and keeping.alive(keeper.child.pid, keeper.child.start):
        os.kill(keeper.child.pid, signum)


def is_here(keeper: Keeper) -> bool:
    """Whether its processes have their numbers in our space of numbers, since the machine was started last."""
    return (keeper.keeper.boot, keeper.keeper.pidns) == (keeping.boot(), keeping.pidns())


def _stopped_waiting(folder: RunFolder) -> bool:
    """Whether the run waited; its exit file then says that it was stopped. No keeper starts it meanwhile."""
    until = time.monotonic() + _STARTING_S
    while (held := keeping.lock(str(folder.path))) is None:
        # A keeper has it, and tells in a moment what it started.
        if folder.state().kind != "queued" or time.monotonic() > until:
            return False
        time.sleep(0.005)
    try:
        if folder.state().kind != "queued":
            return False
        keeping.write_json(str(folder.path / "exit.json"), keeping.stopped_before_start(1))
        return True
    finally:
        os.close(held)


def _end(keeper: Keeper, force: bool) -> None:
    """Signal the run: through its keeper, which sees to the whole group, or directly where that is gone."""
    if not force and keeping.alive(keeper.keeper.pid, keeper.keeper.start):
        os.kill(keeper.keeper.pid, signal.SIGTERM)
    elif keeping.alive(keeper.child.pid, keeper.child.start) or keeping.members(keeper.pgid):
        try:
            os.killpg(keeper.pgid, signal.SIGKILL if force else signal.SIGTERM)
            # What was suspended hears no other signal.
            os.killpg(keeper.pgid, signal.SIGCONT)
        except ProcessLookupError:
            # It ended meanwhile.
            pass


def _there(keeper: Keeper, folder: RunFolder) -> bool:
    """Whether anything of a run that is being stopped is still there."""
    if keeping.alive(keeper.keeper.pid, keeper.keeper.start):
        return folder.state().kind == "running"
    return keeping.members(keeper.pgid) > 0
