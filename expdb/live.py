"""Launched runs on their way into the store: their logs while they are written, and what became of them.

The run folder is the truth; the database is brought up to it, by one process at a time. Whoever comes later goes on:
nothing of a run is lost with the process that watched it.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path

from expdb import __version__, launch, parsers, plugins, runners, settings
from expdb.address import Address, Server, without_password
from expdb.errors import DatabaseError, ExpdbError, InputError, NotFoundError
from expdb.growing import Growing, News
from expdb.invocation import shown_command
from expdb.launch import Planned
from expdb.masking import HIDDEN, is_secret, mask_command
from expdb.parsers import tracked
from expdb.parsers.configs.arguments import params_of_command
from expdb.records import ASIDE, PLAN_TAG, Event, Points, RunStart, RunStatus
from expdb.runners import local
from expdb.runners.folder import RunFolder, Spec, State, root_of
from expdb.store import intake, launched, reader
from expdb.store.database import Database
from expdb.store.launched import Birth, Surroundings
from expdb.store.opening import exists, open_database
from expdb.store.reader import RunRecord
from expdb.store.writer import Writer

# A database that cannot be written to is asked again after this long.
_RETRY_S = 2.0
LOGGED, PRINTED, MEASURED = "metrics.jsonl", "stdout.log", "system.jsonl"
_PYTHON_API = "api"
_FORGOTTEN_S = 60.0


@contextmanager
def owned(folder: RunFolder) -> Iterator[bool]:
    """Whether this process alone takes the run into a database, for as long as the block lasts."""
    try:
        handle = os.open(folder.path / "owner.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"cannot be followed: {error.strerror or error}", path=str(folder.path)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@dataclass(slots=True)
class _Log:
    """A file of the run folder. logged: its metrics stand above what others print under the same names."""

    growing: Growing
    logged: bool


class Follower:
    """One run and its database. Call `look` again and again until the run is settled; use it within `owned`."""

    def __init__(self, database: Database, folder: RunFolder, known: parsers.Parsers | None = None) -> None:
        self.database = database
        self.folder = folder
        self.spec = folder.spec()
        self.status: RunStatus = "scheduled"
        self.settled = False
        self.run_id, self.name = -1, self.spec.name
        known = plugins.all_parsers() if known is None else known
        self._writer = Writer(database, settings.now_ms())
        # What is logged goes first: what is printed under the same name is not stored.
        self._logs = [
            _Log(Growing(folder.path / file, database.address, known), logged=file != PRINTED)
            for file in (LOGGED, MEASURED, PRINTED)
        ]
        self._logged: set[str] = set()
        self._environment: Mapping[str, object] = {}
        self._named = self.spec.runner == _PYTHON_API
        self._params: frozenset[str] = frozenset()

    @property
    def troubles(self) -> list[str]:
        """Why logs cannot be read, where they cannot."""
        return [log.growing.trouble for log in self._logs if log.growing.trouble]

    def look(self, state: State | None = None) -> bool:
        """Bring the database up to the folder; whether anything was stored. state: as the runner's engine sees it."""
        # Before the logs are read: what is written before the end is read, then.
        state = state or state_of(self.folder, self.spec)
        ended = state.kind in ("ended", "lost")
        due = [log for log in self._logs if ended or log.growing.due()]
        status = self._status(state)
        environment = {} if self._environment else self.folder.environment()
        if not due and status == self.status and not environment and self.run_id >= 0:
            return False
        try:
            self._store(due, status, environment, ended=ended)
        except OverflowError as error:
            path = str(self.folder.path)
            raise InputError(f"tells a number that no database holds ({error})", path=path) from error
        self.status, self.settled = status, ended
        return True

    def _store(self, due: Sequence[_Log], status: RunStatus, environment: Mapping[str, object], *, ended: bool) -> None:
        # A long log is not read while others wait to write.
        version = self.database.changed_elsewhere()
        news = [(log, log.growing.take(self._writer, whole=ended)) for log in due]
        with self.database.transaction():
            self._writer.begin()
            self.put_run(status)
            if self.database.changed_elsewhere() != version:
                # Somebody may have taken the same lines in.
                news = [(log, log.growing.take(self._writer, whole=True)) for log in due]
            for log, found in news:
                if found:
                    self._put(log, found, whole=ended)
            if environment or ended:
                self._environment = environment or self._environment
                self._put_surroundings()
            if status != self.status or ended:
                self._put_state(status)

    def _status(self, state: State) -> RunStatus:
        if state.kind == "queued":
            return "scheduled"
        if state.kind == "running":
            return "running"
        ended = self.folder.exit()
        return ended.status if ended else "killed"

    def put_run(self, status: RunStatus) -> None:
        """The run's row, within a transaction; once."""
        if self.run_id >= 0:
            return
        keeper = self.folder.keeper()
        spec = self.spec
        said = {} if spec.runner == _PYTHON_API else params_of_command(spec.command, Path(spec.cwd))
        params = {**said, **spec.params}
        self._params = frozenset(params)
        seed = spec.seed if spec.seed is not None else _whole(params.get("seed"))
        origin = "api" if spec.runner == _PYTHON_API else "launch"
        birth = Birth(spec.uid, spec.experiment, spec.name, origin, params, spec.tags, seed, spec.parent)
        self.run_id, self.name = launched.put_run(self._writer, birth, status, keeper.started_ms if keeper else None)
        launched.put_surroundings(
            self._writer,
            self.run_id,
            Surroundings(
                command=shown_command(self._masked()),
                cwd=spec.cwd,
                expdb_version=__version__,
                runner=spec.runner,
            ),
        )

    def _put_surroundings(self) -> None:
        found = self._environment
        known = {one.name for one in fields(Surroundings)} - {"packages", "exit_code", "attempt"}
        said = {name: value for name, value in found.items() if name in known}
        packages = found.get("packages")
        ended, keeper = self.folder.exit(), self.folder.keeper()
        surroundings = Surroundings(
            **said,  # type: ignore[arg-type]  # as another process wrote them
            packages=json.dumps(packages, sort_keys=True) if packages else None,
            exit_code=ended.code if ended else None,
            attempt=keeper.attempt if keeper else None,
        )
        launched.put_surroundings(self._writer, self.run_id, surroundings)

    def _put_state(self, status: RunStatus) -> None:
        keeper, ended = self.folder.keeper(), self.folder.exit()
        started = keeper.started_ms if keeper else None
        end = ended.ended_ms if ended else None
        if end is None and status == "killed":
            end = self._last_sign_ms()
        launched.put_state(self._writer, self.run_id, status, started, end)
        if status not in launched.UNSETTLED:
            self._hide_secrets()
        if ended and ended.error:
            launched.put_words(self._writer, self.run_id, {}, {"expdb.error": ended.error})

    def _hide_secrets(self) -> None:
        """While it was to be run, the command was kept as it is, and nobody else could read it."""
        spec = self.spec
        command, template = self._masked(), tuple(mask_command(spec.template))
        # An address of a server may hold a password.
        env = {key: without_password(value) if key == "EXPDB_DB" else value for key, value in spec.env.items()}
        self.folder.rewrite(replace(spec, command=command, template=template, env=env))

    def _masked(self) -> tuple[str, ...]:
        """The command without tokens, those among the params too, wherever it says them."""
        secret = [key for key in self.spec.params if is_secret(key)]
        places = [f"{{{name}}}" for key in secret for name in (key, key.replace("_", "-"))]
        # What stands in the place of `{key}`, the template tells; behind it come words of their own.
        words = zip_longest(mask_command(self.spec.command), self.spec.template, fillvalue="")
        return tuple(HIDDEN if any(place in word for place in places) else said for said, word in words)

    def _last_sign_ms(self) -> int | None:
        """When a lost run was last heard of."""
        times = []
        for name in (PRINTED, LOGGED, "keeper.json", "spec.json"):
            try:
                times.append((self.folder.path / name).stat().st_mtime_ns // 1_000_000)
            except OSError:
                continue
        return max(times, default=None)

    # ── logs ──

    def _put(self, log: _Log, news: News, *, whole: bool) -> None:
        if log.logged:
            self._put_logged(news)
            self._put_names(log.growing.path)
        elif self._logged:
            news = replace(news, events=tuple(self._printed_only(news)))
        if not any(isinstance(event, RunStart) for event in news.events):
            return
        if not log.logged:
            news = replace(news, events=tuple(map(self._without_known_params, news.events)))
        head = replace(news.head, experiment=self.spec.experiment, run_name=self.name)
        standing = news.standing
        if standing.kind != "same" or news.again:
            intake.write(self._writer, head, standing, news.events, again=news.again, into=self.run_id, apart=True)
        if not whole or not standing.here or news.read_on:
            return
        source_id = self._writer.source_at(news.head.place)
        if source_id is not None and not self._says_the_same(news, source_id):
            # What was read on, a part at a time, said less than the whole does.
            standing = replace(standing, kind="same", source_id=source_id)
            intake.write(self._writer, head, standing, news.events, again=True, into=self.run_id, apart=True)

    def _says_the_same(self, news: News, source_id: int) -> bool:
        """Whether as many points of each metric are stored as the log says."""
        said: Counter[str] = Counter()
        for event in news.events:
            for curve in event.curves if isinstance(event, Points) else ():
                if curve.metric.kind != ASIDE:
                    said[curve.metric.name] += len(curve.values)
        return said == launched.points_of(self._writer, source_id)

    def _put_logged(self, news: News) -> None:
        names = {curve.metric.name for e in news.events if isinstance(e, Points) for curve in e.curves}
        fresh = names - self._logged
        self._logged |= names
        printed = self._writer.source_at(self._logs[-1].growing.place) if fresh else None
        if printed is not None:
            launched.drop_printed(self._writer, self.run_id, frozenset(fresh), printed)
        for event in news.events:
            if isinstance(event, RunStart):
                launched.put_words(self._writer, self.run_id, event.params, event.tags)

    def _without_known_params(self, event: Event) -> Event:
        """What was typed stands above what the script prints of it: 3, not 3.0."""
        if not isinstance(event, RunStart):
            return event
        return replace(event, params={key: value for key, value in event.params.items() if key not in self._params})

    def _put_names(self, path: Path) -> None:
        """The script may say what its run is called and what experiment it is of; the command line stands above it."""
        if self._named or path.name != LOGGED:
            return
        self._named = True
        said = tracked.head_of(path)
        spec = self.spec
        name = said.get("name") if spec.name == launch.name_of(spec.template) else None
        experiment = said.get("experiment") if spec.experiment == Path(spec.cwd).name else None
        self.name = launched.rename(self._writer, self.run_id, name, experiment)

    def _printed_only(self, news: News) -> Iterator[Event]:
        for event in news.events:
            if not isinstance(event, Points):
                yield event
                continue
            yield replace(event, curves=tuple(c for c in event.curves if c.metric.name not in self._logged))


def _whole(text: str | None) -> int | None:
    try:
        number = int(text or "")
    except ValueError:
        return None
    return number if abs(number) < 2**63 else None


def state_of(folder: RunFolder, spec: Spec) -> State:
    """How far a run is, as its files or its engine say."""
    return folder.state() if spec.runner == _PYTHON_API else runners.named(spec.runner).state(folder)


def interrupt(folder: RunFolder) -> None:
    """What Ctrl-C does to a program that runs without expdb: SIGINT to its whole process group."""
    (folder.path / "stop").touch()
    local.signal_group(folder, signal.SIGINT)


class Books:
    """A database and the runs this process follows into it; whatever fails there is tried again, and stops no run.

    said: takes what has to be told of that.
    """

    def __init__(self, database: Address, said: Callable[[str], None]) -> None:
        self._path = database
        self._said = said
        self._database: Database | None = None
        self._known: parsers.Parsers | None = None
        self._followers: dict[str, tuple[Follower, ExitStack]] = {}
        self._not_before = 0.0
        self._trouble = ""
        self._told: set[str] = set()

    def look(self, folder: RunFolder, state: State) -> bool:
        """Bring the database up to a run's folder; whether the run is settled, here or by another process."""
        if time.monotonic() < self._not_before:
            return False
        try:
            follower = self.follower(folder)
            if follower is None:
                # Another process follows it; what it has written is written.
                return state.kind in ("ended", "lost") and not self._is_open(folder)
            follower.look(state)
        except DatabaseError as error:
            self._drop(folder.uid)
            self._retry_later(error.message)
            return False
        except ExpdbError as error:
            # Its folder is gone, or damaged by hand: nothing more can be learnt of it.
            self._drop(folder.uid)
            self._said(f"{folder.uid}: {error.message}")
            return True
        for trouble in follower.troubles:
            if trouble not in self._told:
                self._told.add(trouble)
                self._said(f"{trouble}; the run goes on")
        if follower.settled:
            self._drop(folder.uid)
        return follower.settled

    def record(self, folder: RunFolder) -> RunRecord | None:
        """The run as the database has it; None where it is not there yet."""
        known = self._followers.get(folder.uid)
        if self._database is None or known is None or known[0].run_id < 0:
            return None
        return reader.run(self._database, known[0].run_id)

    def follower(self, folder: RunFolder) -> Follower | None:
        """The run's follower; None where another process has it."""
        known = self._followers.get(folder.uid)
        if known:
            return known[0]
        if self._database is None:
            self._database = open_database(self._path, create=True)
        with ExitStack() as stack:
            if not stack.enter_context(owned(folder)):
                return None
            self._known = self._known or plugins.all_parsers()
            follower = Follower(self._database, folder, self._known)
            self._followers[folder.uid] = follower, stack.pop_all()
        return follower

    def close(self) -> None:
        """Let go of all runs."""
        for uid in list(self._followers):
            self._drop(uid)
        if self._database:
            self._database.close()
            self._database = None

    def _is_open(self, folder: RunFolder) -> bool:
        assert self._database is not None
        return any(run.uid == folder.uid for run in launched.unsettled(self._database))

    def _drop(self, uid: str) -> None:
        _, stack = self._followers.pop(uid, (None, None))
        if stack:
            stack.close()

    def _retry_later(self, message: str) -> None:
        if self._database:
            self._database.close()
            self._database = None
        for uid in list(self._followers):
            self._drop(uid)
        self._not_before = time.monotonic() + _RETRY_S
        if message != self._trouble:
            self._said(f"{message}; the runs go on, it is tried again")
        self._trouble = message


@dataclass(frozen=True, slots=True)
class Done:
    """A run that is what a planned one would be."""

    uid: str
    status: RunStatus


def done(database: Address, experiment: str, planned: Iterable[Planned]) -> dict[str, Done]:
    """The runs of the experiment that need not be started again, by plan: finished, running or waiting."""
    if not exists(database):
        return {}
    adopt(database)
    plans = frozenset(one.plan for one in planned)
    with open_database(database) as opened:
        found = launched.done(opened, experiment, PLAN_TAG, plans)
    return {plan: Done(uid, status) for plan, (uid, status) in found.items()}


def adopt(database: Address) -> None:
    """Bring up to date whatever nobody follows, also runs that the database does not know yet."""
    lost = strays(database)
    if lost:
        settle_if_possible(database, lost)
    if exists(database):
        with open_database(database) as opened:
            open_ = bool(launched.unsettled_here(opened, root_of(database)))
        if open_:
            settle_if_possible(database)


def folder_of(database: Address, text: str) -> RunFolder:
    """The folder of the run that is meant; NotFoundError where it was not launched."""
    with open_database(database) as opened:
        record = reader.run(opened, reader.find_run(opened, text))
        above = launched.parent(opened, record.id)
    folder = RunFolder(root_of(database) / record.uid)
    if above and not folder.path.exists():
        # One of several trainings that one command ran.
        folder = RunFolder(root_of(database) / above[0])
    if not (folder.path / "spec.json").is_file():
        raise NotFoundError(f"{record.name} was not launched from here: it has no run folder", hint=str(folder.path))
    return folder


def name_of(database: Address, folder: RunFolder) -> str:
    """What the run is called now."""
    with open_database(database) as opened:
        return reader.run(opened, reader.find_run(opened, folder.uid)).name


def withdraw(database: Address, folder: RunFolder) -> bool:
    """Take a run that waits out of queue and database, as if it had never been asked for; whether it waited."""
    if folder.state().kind != "queued" or folder.spec().runner != local.NAME:
        return False
    local.stop(folder, wait=False)
    ended = folder.exit()
    if folder.keeper() is not None or ended is None:
        return False
    with open_database(database, create=True) as opened, opened.transaction():
        launched.delete(opened, folder.uid)
    shutil.rmtree(folder.path, ignore_errors=True)
    return True


def stop(database: Address, folder: RunFolder, *, force: bool = False, wait: bool = True) -> str:
    """Stop a run that waits or runs; what became of it, for the person."""
    spec = folder.spec()
    if state_of(folder, spec).kind in ("ended", "lost"):
        return "had ended already"
    if spec.runner == local.NAME:
        local.stop(folder, force=force, wait=wait)
    elif spec.runner == _PYTHON_API:
        # Its group is the person's own: a shell's, or a notebook's.
        local.signal_child(folder, signal.SIGINT)
    else:
        runners.named(spec.runner).stop(folder, force=force)
    if wait:
        settle_if_possible(database, [folder.uid])
    return "stopped" if state_of(folder, spec).kind in ("ended", "lost") else "is asked to stop"


def wait_settled(database: Address, uids: Sequence[str], patience_s: float) -> None:
    """Wait until the database says of all runs how they ended; whoever follows them has that to do still."""
    until = time.monotonic() + patience_s
    wanted = set(uids)
    while time.monotonic() < until:
        with open_database(database) as opened:
            open_ = {run.uid for run in launched.unsettled(opened)} & wanted
        if not open_:
            return
        settle(database, open_)
        time.sleep(0.1)


def settle(database: Address, uids: Iterable[str] | None = None) -> list[str]:
    """Bring runs up to date that no process follows; their uids. uids: these, stored or not; None: whatever the
    database takes for unsettled."""
    out = []
    root = root_of(database)
    with open_database(database, create=True) as opened:
        wanted = [run.uid for run in launched.unsettled_here(opened, root)] if uids is None else list(uids)
        known = plugins.all_parsers()
        for uid in wanted:
            folder = RunFolder(root / uid)
            try:
                if not (folder.path / "spec.json").is_file():
                    if isinstance(database, Server):
                        continue
                    with opened.transaction():
                        launched.put_lost(opened, uid, settings.now_ms())
                    continue
                with owned(folder) as ours:
                    if ours:
                        Follower(opened, folder, known).look()
                        out.append(uid)
            except DatabaseError:
                raise
            except ExpdbError as error:
                # One that is damaged keeps none of the others.
                print(f"expdb: {error.message}; the run is passed over", file=sys.stderr)
    return out


def register(database: Address, folders: Iterable[RunFolder]) -> None:
    """Tell the database of runs that wait, all at once."""
    known = plugins.all_parsers()
    with open_database(database, create=True) as opened:
        followers = [Follower(opened, folder, known) for folder in folders]
        with opened.transaction():
            for follower in followers:
                follower.put_run("scheduled")


def scheduled(database: Address) -> list[str]:
    """The runs that wait, as far as the database knows."""
    if not exists(database):
        return []
    with open_database(database) as opened:
        return [run.uid for run in launched.unsettled(opened) if run.status == "scheduled"]


def is_forgotten(folder: RunFolder) -> bool:
    """Whether a run of this machine waits so long without having been queued that nobody can be about to start it."""
    try:
        spec = folder.spec()
        age_s = time.time() - (folder.path / "spec.json").stat().st_mtime
    except (ExpdbError, OSError):
        return False
    return spec.runner == local.NAME and age_s > _FORGOTTEN_S and folder.state().kind == "queued"


def settle_if_possible(database: Address, uids: Iterable[str] | None = None) -> None:
    """As `settle`, for those who only read: where the database cannot be written to now, it is left as it is."""
    try:
        settle(database, uids)
    except DatabaseError:
        return


def strays(database: Address) -> list[str]:
    """Run folders that the database does not know: whoever launched them ended before it could say so."""
    root = root_of(database)
    if not exists(database):
        return launched.strays(None, root)
    with open_database(database) as opened:
        return launched.strays(opened, root)
