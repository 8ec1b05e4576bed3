"""A training that logs by itself: numbers into `metrics.jsonl` of its run folder, files into `artifacts/`.

    with expdb.start_run("fusion", params={"lr": 0.1}) as run:
        run.log({"train/loss": 0.5}, step=1)

Under `expdb run` the folder is the one that expdb made, and expdb reads it. Elsewhere a folder is made beside the
database, and the process itself has the database read it once, when the run ends; what lists runs meanwhile reads the
folder, too. No call of `log` touches a database.
"""

import atexit
import builtins
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from operator import index
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal, Self, SupportsFloat, SupportsIndex

from expdb import settings
from expdb.address import Address
from expdb.errors import ExpdbError, InputError, UsageError
from expdb.masking import mask_command, mask_value
from expdb.runners import artifacts
from expdb.runners import folder as folders
from expdb.runners import keeper as keeping
from expdb.runners.folder import Exit, Identity, Keeper, RunFolder, Spec
from expdb.runners.lines import Lines, say

Status = Literal["finished", "failed", "killed"]
# float, int, a scalar of numpy, a tensor of torch or jax with one element.
Value = SupportsFloat
Params = Mapping[str, object] | Namespace

POINTS = "metrics.jsonl"
ARTIFACTS = "artifacts"
RUNNER = "api"
DEFAULT = "Default"

_ENVIRONMENT = "EXPDB_RUN"
_EXACT = 1 << 53
_LONGEST_NAME = 500
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# The one piece of state in this module: a command that expdb started is one run, whoever asks in this process.
_inside: set[tuple[int, Path]] = set()


def start_run(
    experiment: str | None = None,
    name: str | None = None,
    params: Params | None = None,
    tags: Mapping[str, object] | None = None,
    db: str | os.PathLike[str] | None = None,
) -> "Run":
    """Begin a run; the folder it logs into is there when this returns.

    Under `expdb run` it is the run that expdb started: its database stays, params and tags are added to it, name and
    experiment hold where the command line says none; a process that begins another one has a run of its own below it.
    Elsewhere the database is db, or the one that the commands use here; name is the script's, where none is given.
    params may be nested (`optimizer.lr`) or an argparse.Namespace.
    Raises UsageError for words that cannot be kept, InputError where the folder cannot be made.
    """
    words, labels = flat(params or {}, "param"), flat(tags or {}, "tag")
    words = {key: mask_value(key, value) for key, value in words.items()}
    for what, said in (("an experiment", experiment), ("a run", name)):
        if said is not None and not _is_name(said):
            raise UsageError(f"{said!r} is no name of {what}", hint="a name is one line of text")
    database = settings.database_path(db, named=settings.load().database)
    if not (path := os.environ.get(_ENVIRONMENT)):
        return _own(database, experiment or DEFAULT, name or _script(), words, labels)
    folder = RunFolder(Path(os.path.abspath(path)))
    if (os.getpid(), folder.path) not in _inside:
        return _given(folder, experiment, name, words, labels)
    # The next fold, or the next of several trainings.
    spec = folder.spec()
    return _own(database, experiment or spec.experiment, name or spec.name, words, labels, parent=spec.uid)


def _given(
    folder: RunFolder, experiment: str | None, name: str | None, params: dict[str, str], tags: dict[str, str]
) -> "Run":
    """The run of the folder that `expdb run` made."""
    spec = folder.spec()
    lines = Lines(folder.path / POINTS)
    if params or tags or name is not None or experiment is not None:
        lines.write(_line({"params": params, "tags": tags, "name": name, "experiment": experiment}))
    _inside.add((os.getpid(), folder.path))
    return Run(folder, spec.experiment, spec.name if name is None else name, lines, None)


def _own(
    database: Address,
    experiment: str,
    name: str,
    params: dict[str, str],
    tags: dict[str, str],
    parent: str | None = None,
) -> "Run":
    """A run in a new folder, which this process keeps by itself."""
    started_ms = settings.now_ms()
    # With the interpreter, whose packages are asked for; what was typed, so that it can be typed again.
    command = tuple(mask_command(sys.orig_argv))
    seed = params.get("seed", "")
    spec = Spec(
        uid=uuid.uuid4().hex,
        name=name,
        experiment=experiment,
        command=command,
        template=command,
        cwd=str(Path.cwd()),
        created_ms=started_ms,
        env={},
        params=params,
        tags=tags,
        seed=int(seed) if seed.isdecimal() and len(seed) < 19 else None,
        runner=RUNNER,
        parent=parent,
    )
    folder = folders.create(folders.root_of(database), spec)
    me = Identity(**keeping.identity(os.getpid()))  # type: ignore[arg-type]
    kept = Keeper(me, me, os.getpgrp(), socket.gethostname(), started_ms, (), 1)
    try:
        keeping.write_json(str(folder.path / "keeper.json"), asdict(kept))
        lines = Lines(folder.path / POINTS)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror or error}", path=str(folder.path)) from error
    try:
        # Whoever sees other numbers of processes than ours, as another container does, sees by it that we live.
        held = keeping.lock(str(folder.path))
    except OSError:
        # A file system without locks.
        held = None
    return Run(folder, experiment, name, lines, _Own(database, folder.path, started_ms, held))


class Run:
    """A run that is going on. folder: its own, absolute; uid: its identity; name: as it was begun.

    Threads may log at once, and so may processes that are forked from this one; only this one ends the run.
    """

    def __init__(self, folder: RunFolder, experiment: str, name: str, lines: Lines, own: "_Own | None") -> None:
        self.folder = folder.path
        self.uid = folder.uid
        self.experiment = experiment
        self.name = name
        self._lines = lines
        self._own = own
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._ended = False
        # The step that comes next, by metric; only names that were found good are in it.
        self._next: dict[str, int] = {}
        atexit.register(self._at_exit)

    def __repr__(self) -> str:
        return f"<expdb run {self.name!r} of {self.experiment!r}: {self.folder}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(*_outcome(error))

    def log(
        self, metrics: Mapping[str, Value], step: SupportsIndex | None = None, epoch: SupportsFloat | None = None
    ) -> None:
        """Append the values to the run; they are in the file when this returns, and a kill of the process does not
        lose them.

        step: whole number; without one, each metric counts on from its last, the first is 0. epoch: where the step is
        not the epoch, and may be a fraction. NaN and infinity are values. Raises UsageError, and keeps nothing of the
        call, for a name that is no line of text or a value that is no number. A disk that is full ends no training:
        it is said once on stderr, and the lines are written with the next call that finds room.
        """
        if self._pid != os.getpid():
            self._forked()
        if not isinstance(metrics, Mapping):
            raise UsageError(f"metrics are no mapping: {_shown(metrics)}", hint='run.log({"train/loss": 0.5})')
        values = {
            key: value if type(value) is float and key in self._next else self._number(key, value)
            for key, value in metrics.items()
        }
        at = None if step is None else _whole(step)
        if epoch is not None:
            epoch = _finite(epoch)
        with self._lock:
            if self._ended:
                raise UsageError(f"the run {self.name!r} has ended", hint="log before finish, or inside the with block")
            now_ms = time.time_ns() // 1_000_000
            steps = self._next
            said = b""
            if at is None:
                for place, some in self._by_next(values).items():
                    said += _line({"step": place, "epoch": epoch, "time_ms": now_ms, "metrics": some})
            elif values:
                said = _line({"step": at, "epoch": epoch, "time_ms": now_ms, "metrics": values})
                for key in values:
                    steps[key] = at + 1
            if said:
                self._lines.write(said)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> Path:
        """Copy a file or a folder into the run's `artifacts/`, under its own name or the given one (`best/model.pt`);
        where it is now. What stood there is replaced, and at no time is a part of it to be seen.

        Raises InputError where it cannot be read or copied, UsageError for a name that leads elsewhere.
        """
        source = Path(os.path.abspath(path))
        parts = PurePosixPath(source.name if name is None else name)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts or not _is_name(str(parts)):
            raise UsageError(f"{str(parts)!r} is no artifact's name", hint="a name of its own: best/model.pt")
        if source.is_dir() and self.folder.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{path} holds the run's own folder", hint="name a folder below it")
        place = self.folder / ARTIFACTS / parts
        try:
            artifacts.keep(source, place, self.folder)
        except OSError as error:
            raise InputError(f"cannot be kept as an artifact: {artifacts.reason(error)}", path=str(path)) from error
        return place

    def finish(self, status: Status = "finished") -> None:
        """End the run; a second time changes nothing. Under `expdb run` the command's own exit says how it ended.

        What cannot be written or stored is told on stderr and raises nothing: the folder keeps what was logged.
        """
        known: dict[str, tuple[int, int | None, bool, str | None]] = {
            "finished": (0, None, False, None),
            "failed": (1, None, False, None),
            "killed": (128 + signal.SIGTERM, None, True, None),
        }
        if status not in known:
            raise UsageError(f"{status!r} is no way to end", hint="one of: finished, failed, killed")
        self._end(*known[status])

    def _end(self, code: int, signum: int | None, stopped: bool, error: str | None) -> None:
        if self._pid != os.getpid():
            # A forked worker leaves the block, too.
            return
        with self._lock:
            if self._ended:
                return
            self._ended = True
            atexit.unregister(self._at_exit)
            self._lines.close()
            if self._own is not None:
                self._own.end(code, signum, stopped, error)

    def _at_exit(self) -> None:
        """The process ends before the run did: as the error says that ends it, where there is one."""
        # Where a person types, or in a notebook, an earlier error has ended nothing.
        asks = hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__")
        error = None if asks else getattr(sys, "last_value", None)
        self._end(*_outcome(error))

    def _forked(self) -> None:
        """In a forked process: what threads of the other held is nobody's here, and its waiting lines are its own."""
        if not self._lines.is_of(os.getpid()):
            self._lock = threading.RLock()
            self._lines.forked()

    def _by_next(self, values: dict[str, float]) -> dict[int, dict[str, float]]:
        """The values by the step that each metric counts on to."""
        out: dict[int, dict[str, float]] = {}
        for key, value in values.items():
            place = self._next[key]
            self._next[key] = place + 1
            out.setdefault(place, {})[key] = value
        return out

    def _number(self, key: object, value: object) -> float:
        """The value as JSON has it; the name is found good."""
        if not isinstance(key, str) or not _is_name(key):
            raise UsageError(f"{_shown(key)} is no name of a metric", hint="a line of text: train/loss")
        number = _plain(key, value)
        self._next.setdefault(key, 0)
        return number


class _Own:
    """What ends a run that no keeper keeps. held: the descriptor that holds its folder."""

    def __init__(self, database: Address, folder: Path, started_ms: int, held: int | None) -> None:
        self.database = database
        self.folder = folder
        self.started_ms = started_ms
        self.held = held
        self.started = time.monotonic()
        self.cpu_s = time.process_time()
        self.gathering = _gather(folder)

    def end(self, code: int, signum: int | None, stopped: bool, error: str | None) -> None:
        """Write exit.json and have the database read the folder; what fails is told."""
        wall_s = time.monotonic() - self.started
        found = Exit(
            code=code,
            signal=signum,
            started_ms=self.started_ms,
            # Not the clock's time now: it may have been set back meanwhile.
            ended_ms=self.started_ms + round(wall_s * 1000),
            wall_s=round(wall_s, 6),
            cpu_s=round(time.process_time() - self.cpu_s, 6),
            max_rss_bytes=_peak_bytes(),
            stopped=stopped or (self.folder / "stop").exists(),
            lingering=0,
            error=error,
            attempt=1,
        )
        try:
            keeping.write_json(str(self.folder / "exit.json"), asdict(found))
        except OSError as problem:
            say(f"{self.folder / 'exit.json'}: {problem.strerror or problem}; the run will count as killed")
        if self.held is not None:
            os.close(self.held)
        if self.gathering is not None:
            try:
                self.gathering.wait(keeping.ENVIRONMENT_S)
            except subprocess.TimeoutExpired:
                self.gathering.kill()
                self.gathering.wait()
        # Importing the store costs more than a run of a few lines.
        from expdb import live

        try:
            settings.in_force()
            live.settle(self.database, [self.folder.name])
        except ExpdbError as problem:
            say(f"the run is not in the database yet: {problem.message}; its folder keeps it: {self.folder}")


def _gather(folder: Path) -> "subprocess.Popen[bytes] | None":
    """The process that writes env.json, as a keeper starts it; the training does not wait for it."""
    script = Path(keeping.__file__).with_name("environment.py")
    if not script.exists():
        return None
    try:
        with (folder / "keeper.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        say(f"what the run runs on is not kept: {error.strerror or error}")
        return None


def flat(said: Params, what: str = "param") -> dict[str, str]:
    """Nested settings as text, their keys joined by dots. what: the noun in the UsageError for what is no text."""
    if not isinstance(said, Mapping | Namespace):
        raise UsageError(f"{what}s are no mapping: {_shown(said)}", hint=f'{what}s={{"lr": 0.1}}')
    out: dict[str, str] = {}
    for key, value in _leaves(said, ()):
        if not _is_name(key):
            raise UsageError(f"{_shown(key)} is no name of a {what}", hint="a line of text: optimizer.lr")
        if key in out:
            raise UsageError(f"two {what}s are called {key!r}")
        if not _is_text(value):
            raise UsageError(f"{what} {key}: {_shown(value)} is not valid text")
        out[key] = value
    return out


def _leaves(node: object, trail: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(node, Namespace):
        node = vars(node)
    if isinstance(node, Mapping) and (node or not trail):
        for key, value in node.items():
            yield from _leaves(value, (*trail, str(key)))
    else:
        yield ".".join(trail), str(node)


def _line(content: Mapping[str, object]) -> bytes:
    return f"{_encode(content)}\n".encode()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _is_name(text: object) -> bool:
    return (
        isinstance(text, str)
        and 0 < len(text) <= _LONGEST_NAME
        and text.isprintable()
        and not text.isspace()
        and _is_text(text)
    )


def _plain(key: str, value: object) -> float:
    """A number of any library as a float, or an int that JSON's readers keep exact."""
    item = getattr(value, "item", None)
    try:
        number = item() if callable(item) else value
    except (TypeError, ValueError, RuntimeError):
        number = None
    if type(number) is float:
        # What most libraries give; the question below is slow.
        return number
    if isinstance(number, int):
        number = int(number)
        if -_EXACT <= number <= _EXACT:
            return number
    if isinstance(number, SupportsFloat) and not isinstance(number, str | bytes):
        try:
            # A float of numpy's is one of Python's by class, but JSON would ask it how it is written.
            return float(number)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            pass
    raise UsageError(f"{key}: {_shown(value)} is no number", hint="one number for each metric: loss.item()")


def _whole(step: SupportsIndex) -> int:
    try:
        found = index(step)
    except TypeError:
        raise UsageError(
            f"step {_shown(step)} is no whole number", hint="fractions of an epoch go into epoch="
        ) from None
    if not -(1 << 63) <= found < (1 << 63) - 1:
        raise UsageError(f"step {_shown(step)} is beyond 64 bits")
    return found


def _finite(epoch: SupportsFloat) -> float:
    found = _plain("epoch", epoch)
    if abs(found) < float("inf"):
        return found
    raise UsageError(f"epoch {_shown(epoch)} is no place in a training")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _outcome(error: BaseException | None) -> tuple[int, int | None, bool, str | None]:
    """(code, signal, stopped, error) of a block or a process that ends so."""
    if error is None:
        return 0, None, False, None
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return code & 0xFF, None, False, None
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, int(signal.SIGINT), False, None
    return 1, None, False, type(error).__name__


def _script() -> str:
    """What a run is called after where nobody named it."""
    stem = Path(sys.argv[0]).stem if sys.argv else ""
    if stem == "ipykernel_launcher":
        return "notebook"
    if stem == "__main__":
        stem = Path(sys.argv[0]).absolute().parent.name
    return stem if stem not in ("", "-c") and _is_name(stem) else "run"


def _peak_bytes() -> int:
    import resource

    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
