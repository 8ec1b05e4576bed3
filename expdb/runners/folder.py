"""The folder of a run, `runs/<uid>/`: what the launcher, the keeper and the run itself wrote there.

Whatever is said of a run that was launched is read from here; nothing is remembered elsewhere.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeVar

from expdb.address import Address, Server
from expdb.errors import InputError, NotFoundError
from expdb.runners import keeper as keeping

VERSION = keeping.VERSION

StateKind = Literal["queued", "running", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class State:
    """How far a run is. lost: it ended without an exit file. said: what to tell a person beside it, may be empty."""

    kind: StateKind
    said: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is to be run, as `spec.json` has it. template: the command with {placeholders}; env: variables added to
    the inherited ones; gpus: how many; diff: keep the git diff; system_s: seconds between samples of the machine,
    None for none; stdin: the command reads what the launcher reads; options: words for the runner's engine."""

    uid: str
    name: str
    experiment: str
    command: tuple[str, ...]
    template: tuple[str, ...]
    cwd: str
    created_ms: int
    env: Mapping[str, str]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    seed: int | None = None
    runner: str = "local"
    gpus: int = 0
    pty: bool = False
    diff: bool = True
    system_s: float | None = None
    parent: str | None = None
    stdin: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, told from every other that has had its number."""

    pid: int
    start: str
    boot: str
    pidns: str


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who runs the command, and since when. attempt: 1 for the first; gpus: the ids the command sees."""

    keeper: Identity
    child: Identity
    pgid: int
    host: str
    started_ms: int
    gpus: tuple[str, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended. code: 128 + n for a signal, 127 no such command, 126 not executable; stopped: a stop had been
    asked for; lingering: processes of its group that were still there; error: why the command could not be started."""

    code: int
    signal: int | None
    started_ms: int
    ended_ms: int
    wall_s: float
    cpu_s: float
    max_rss_bytes: int
    stopped: bool
    lingering: int
    error: str | None
    attempt: int

    @property
    def status(self) -> Literal["finished", "failed", "killed"]:
        """The status that the store keeps."""
        # What was stopped may have ended in good order, and is still not all it was to be.
        if self.stopped or self.signal is not None:
            return "killed"
        return "finished" if self.code == 0 else "failed"


_Part = TypeVar("_Part", Spec, Keeper, Exit)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder; nothing is read before it is asked for."""

    path: Path

    @property
    def uid(self) -> str:
        """The run's identity."""
        return self.path.name

    @property
    def log_path(self) -> Path:
        """What the command printed, both streams in order."""
        return self.path / "stdout.log"

    def spec(self) -> Spec:
        """What is to be run; NotFoundError where this is no run's folder."""
        found = self._read("spec.json", Spec)
        if found is None:
            raise NotFoundError(f"{self.path} is no run's folder: it has no spec.json")
        return found

    def keeper(self) -> Keeper | None:
        """Who runs it; None before it began."""
        return self._read("keeper.json", Keeper)

    def exit(self) -> Exit | None:
        """How it ended; None where it has not, or nobody lived to say so."""
        return self._read("exit.json", Exit)

    def environment(self) -> dict[str, object]:
        """What it ran on, keys as in the table `provenance`, and `user_name`; what is missing is not known."""
        return _object(self.path / "env.json") or {}

    def state(self) -> State:
        """How far the run is, by its files and the processes they name; NotFoundError where this is no run's folder."""
        if (self.path / "exit.json").exists():
            return State("ended")
        try:
            keeper = self.keeper()
        except InputError:
            # Written before the command's first instruction; what is no JSON is a file that a power cut emptied.
            return State("lost", "keeper.json cannot be read")
        if keeper is None:
            if not (self.path / "spec.json").exists():
                raise NotFoundError(f"{self.path} is no run's folder: it has no spec.json")
            return State("queued")
        lives = alive(keeper, self)
        if lives is None:
            return State("running", f"on {keeper.host}, as far as can be seen from here")
        if lives:
            return State("running")
        # The exit file is written before the keeper ends.
        if (self.path / "exit.json").exists():
            return State("ended")
        return State("lost", "its command and its keeper are gone, without an exit file")

    def rewrite(self, spec: Spec) -> None:
        """Put another spec in the place of the one there is."""
        keeping.write_json(str(self.path / "spec.json"), asdict(spec))

    def _read(self, name: str, kind: type[_Part]) -> _Part | None:
        path = self.path / name
        said = _object(path)
        if said is None:
            return None
        if isinstance(said.get("version"), int) and said["version"] != VERSION:
            raise InputError(f"is of version {said['version']}, this expdb knows {VERSION}", path=str(path))
        made: Callable[..., _Part] = kind
        try:
            return made(**{one.name: _value(said[one.name]) for one in fields(kind)})
        except (KeyError, TypeError) as error:
            raise InputError(f"says nothing of {error}", path=str(path)) from error


def _value(value: object) -> object:
    """A value of JSON as the dataclasses have it."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict) and value.keys() == {"pid", "start", "boot", "pidns"}:
        return Identity(**value)
    return value


def _object(path: Path) -> dict[str, object] | None:
    """The object in the file; None where there is no file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=str(path)) from error
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", path=str(path)) from error
    if not isinstance(value, dict):
        raise InputError("is no JSON object", path=str(path))
    return value


def root_of(database: Address) -> Path:
    """Where the run folders of a database are: beside it in `runs`, or in a folder `runs` there; a server names its
    own."""
    if isinstance(database, Server):
        return database.root
    beside = Path(os.path.abspath(database)).parent
    return beside if beside.name == "runs" else beside / "runs"


def create(root: Path, spec: Spec) -> RunFolder:
    """A new folder below root with the spec in it, made with root where that is missing."""
    if not re.fullmatch(r"[0-9a-f]{32}", spec.uid):
        raise InputError(f"{spec.uid!r} is no run's uid", path=str(root))
    path = Path(os.path.abspath(root)) / spec.uid
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror or error}", path=str(path)) from error
    try:
        keeping.write_json(str(path / "spec.json"), asdict(spec))
        # Until the run has ended the command stands there with its tokens.
        (path / "spec.json").chmod(0o600)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise InputError(f"cannot be made: {error.strerror or error}", path=str(path)) from error
    return RunFolder(path)


def alive(keeper: Keeper, folder: RunFolder) -> bool | None:
    """Whether the keeper or its command still runs; None where that cannot be seen from this machine."""
    boot = keeping.boot()
    if keeper.keeper.boot != boot:
        # Another running of the machine: what ran before has ended.
        return False if keeper.host == os.uname().nodename else None
    if not boot and keeper.host != os.uname().nodename:
        return None
    if keeper.keeper.pidns != keeping.pidns():
        # The same machine, but numbers of processes of another container: its kernel still knows who holds the folder.
        return keeping.is_held(str(folder.path))
    return any(keeping.alive(one.pid, one.start) for one in (keeper.keeper, keeper.child))
