"""Runs on the terminal while they run: their log, their newest numbers, and how they ended."""

import codecs
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from expdb import compare, dispatch, live, metrics
from expdb.address import Address
from expdb.compare import evaluation
from expdb.errors import ExpdbError
from expdb.invocation import shown_command
from expdb.launch import Planned
from expdb.listing import duration
from expdb.masking import mask_command
from expdb.records import Cell, Column, Table
from expdb.reports.text import brief, cut, visible
from expdb.runners.folder import RunFolder, State, root_of
from expdb.store import launched, reader
from expdb.store.opening import exists, open_database
from expdb.store.reader import MetricRecord, RunRecord

if TYPE_CHECKING:
    from rich.table import Table as Grid
    from rich.text import Text

_POLL_S = 0.1
_REFRESH_S = 0.5
_PIECE_BYTES = 1 << 20
# Of a long log that is attached to, so much is shown of what was printed before.
_BEFORE_BYTES = 16 << 10
_NEWEST = 5
# A database that cannot be written to when a run has ended is waited for so long; the run folder keeps everything.
_PATIENCE_S = 6.0
_SWEEP_POLL_S = 0.2
_NAMED = 5
# Somebody may have killed the dispatcher: that is looked for so often.
_DISPATCHER_S = 2.0


class Screen(Protocol):
    """Where a followed run is shown. wants_numbers: whether `tell` is of use to it."""

    wants_numbers: bool

    def write(self, data: bytes) -> None:
        """What the run printed."""
        ...

    def tell(self, record: RunRecord | None) -> None:
        """The run as the database has it now."""
        ...

    def close(self) -> None:
        """The run has ended."""
        ...


class Pipe:
    """Standard output as it is: the run's bytes, no more and no less."""

    wants_numbers = False

    def __init__(self) -> None:
        self._gone = False

    def write(self, data: bytes) -> None:
        """Print the bytes; when nobody reads them any more, the run goes on unheard."""
        if self._gone:
            return
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        except OSError as error:
            self._gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                print(f"expdb: the log cannot be shown ({error.strerror}); the run goes on", file=sys.stderr)

    def tell(self, record: RunRecord | None) -> None:
        """Nothing: who reads a pipe wants the log."""

    def close(self) -> None:
        """Nothing is left to be done."""


class Terminal:
    """The log scrolls; below it one line says how the run is doing."""

    wants_numbers = True

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Console = Console(highlight=False, markup=False, soft_wrap=True)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._name = name
        self._began = time.monotonic()
        self._record: RunRecord | None = None
        self._live = Live(get_renderable=self._status, console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def write(self, data: bytes) -> None:
        """Show whole lines as they were when they were finished; a line that is being rewritten waits."""
        *lines, self._line = (self._line + self._decoder.decode(data)).split("\n")
        if lines:
            from rich.text import Text

            shown = (Text.from_ansi(_settled(line)) for line in lines)
            self._console.print(*shown, sep="\n")
        if len(self._line) > _PIECE_BYTES:
            self._line = self._line[-_PIECE_BYTES:]

    def tell(self, record: RunRecord | None) -> None:
        """Keep what is newest."""
        self._record = record

    def close(self) -> None:
        """Leave the log alone on the screen."""
        if self._line:
            self.write(b"\n")
        self._live.stop()

    def _status(self) -> "Text":
        from rich.text import Text

        room = self._console.width - 1
        parts = [f"{visible(self._name)} · {duration(round(1000 * (time.monotonic() - self._began)))}"]
        if self._record:
            parts += newest(self._record)
        line = Text(cut(" · ".join(parts), room), style="bold")
        waiting = _settled(self._line).strip()
        return Text(cut(visible(waiting), room) + "\n").append(line) if waiting else line


def _settled(line: str) -> str:
    """A line as a terminal shows it in the end: what a bar wrote last."""
    states = [state for state in line.rstrip("\r").split("\r") if state]
    return states[-1] if states else ""


def newest(record: RunRecord, most: int = _NEWEST) -> list[str]:
    """The step of a run and its newest values: `epoch 3`, `test/accuracy 81.2 %`."""
    longest = evaluation.longest_curve(record)
    if longest is None:
        return []
    curves = [m for m in record.metrics if m.last_step is not None and not m.name.startswith(metrics.SYSTEM)]
    told = sorted(curves, key=_weight)
    return [f"{longest.step_unit} {longest.last_step}", *(f"{one.key} {_last(one)}" for one in told[:most])]


def _weight(metric: MetricRecord) -> tuple[bool, bool, int]:
    """What people look at comes first: results on data that was not trained on, then losses."""
    unseen = metric.name.startswith(("test/", "val/")) and metrics.better(metric.name) == "max"
    return not unseen, metrics.better(metric.name) is None, metric.id


def _last(metric: MetricRecord) -> str:
    value = float("nan") if metric.last_value is None else metric.last_value
    return brief(Cell(value, metric.decimals)) + (" %" if metric.unit == "percent" else "")


class Log:
    """What a run printed, as it comes; a log that is begun anew (another attempt) is read from its beginning."""

    def __init__(self, folder: RunFolder, *, skip: bool = False) -> None:
        self._path = folder.log_path
        self._at = 0
        self._inode = 0
        if skip and self._path.exists() and (size := self._path.stat().st_size) > _BEFORE_BYTES:
            self._at, self._inode = size - _BEFORE_BYTES, self._path.stat().st_ino
            with self._path.open("rb") as file:
                file.seek(self._at)
                self._at += len(file.readline())

    def pieces(self) -> Iterator[bytes]:
        """All there is now."""
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode or os.fstat(file.fileno()).st_size < self._at:
                    self._at, self._inode = (0 if self._inode else self._at), inode
                file.seek(self._at)
                while data := file.read(_PIECE_BYTES):
                    self._at += len(data)
                    yield data
        except FileNotFoundError:
            return


def follow(folder: RunFolder, database: Address, screen: Screen, *, skip: bool = False, stops: bool = True) -> State:
    """Show a run until it has ended, and keep the database up to it; how it stands then.

    stops: Ctrl-C stops the run (as it does without expdb), a second one kills it; else it raises KeyboardInterrupt
    and leaves the run alone. skip: of a long log only the end is shown.
    """
    spec = folder.spec()
    books = live.Books(database, lambda text: print(f"expdb: {visible(text)}", file=sys.stderr))
    log = Log(folder, skip=skip)
    refreshed, ended_at = 0.0, None
    interrupts, state_kind = 0, "queued"
    try:
        while True:
            try:
                state = live.state_of(folder, spec)
                state_kind = state.kind
                for data in log.pieces():
                    screen.write(data)
                is_settled = books.look(folder, state)
                now = time.monotonic()
                if screen.wants_numbers and now - refreshed > _REFRESH_S:
                    refreshed = now
                    screen.tell(books.record(folder))
                if state.kind in ("ended", "lost"):
                    ended_at = ended_at or now
                    if is_settled or now - ended_at > _PATIENCE_S:
                        return state
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                if not stops:
                    raise
                interrupts += 1
                if interrupts == 1 and state_kind == "running":
                    live.interrupt(folder)
                else:
                    live.stop(database, folder, force=interrupts > 2, wait=False)
    finally:
        books.close()
        screen.close()


def ending(folder: RunFolder, database: Address, state: State) -> str:
    """One line on how a run ended."""
    spec, ended = folder.spec(), folder.exit()
    who = f"{spec.name} ({folder.uid[:8]})"
    if ended is None:
        return f"expdb: {who} was killed: {state.said or 'nobody saw its end'}"
    took = f"after {duration(round(1000 * ended.wall_s))}"
    if ended.error:
        return f"expdb: {who} could not be started: {ended.error}"
    if ended.stopped or ended.signal:
        name = signal.Signals(ended.signal).name if ended.signal else f"exit code {ended.code}"
        said = f"was stopped {took}" if ended.stopped else f"was killed {took} ({name})"
    else:
        said = f"finished {took}" if ended.code == 0 else f"failed {took} with exit code {ended.code}"
    if ended.lingering:
        said += f"; {ended.lingering} of its processes go on, and what they print is not followed"
    try:
        with open_database(database) as opened:
            record = reader.run(opened, reader.find_run(opened, folder.uid))
            others = launched.below(opened, folder.uid)
    except ExpdbError as error:
        return f"expdb: {who} {said}; not in the database yet ({error.message}), but all in {folder.path}"
    if record.status in launched.UNSETTLED:
        said += "; the database does not have all of it yet, the next expdb ls takes it in"
    if os.environ.get("EXPDB_RUN"):
        # The run around this one would take the numbers for its own.
        return f"expdb: {record.name} ({folder.uid[:8]}) {said}"
    numbers = newest(record)
    told = "; ".join([said, *([", ".join(numbers)] if numbers else ["no metrics were found in what it printed"])])
    if others:
        told += f"; its log tells of {len(others)} more: {', '.join(others)}"
    return f"expdb: {record.name} ({folder.uid[:8]}) {told}"


def summary(folders: Sequence[RunFolder]) -> list[str]:
    """What became of the runs of a sweep: counts, and what to type for those that did not end well."""
    exits = {folder.uid: folder.exit() for folder in folders if folder.path.is_dir()}
    counts = Counter(ended.status if ended else "killed" for ended in exits.values())
    withdrawn = len(folders) - len(exits)
    said = [f"{count} {word}" for word, count in counts.items()]
    if withdrawn:
        said.append(f"{withdrawn} not started")
    lines = [f"expdb: {len(folders)} runs: {', '.join(said)}"]
    bad = [(uid, ended) for uid, ended in exits.items() if ended is None or ended.status != "finished"]
    for uid, ended in bad[:_NAMED]:
        why = "lost" if ended is None else ended.error or f"exit code {ended.code}"
        lines.append(f"  {uid[:8]}: {why}; expdb attach {uid[:8]} shows its log")
    if len(bad) > _NAMED:
        lines.append(f"  and {len(bad) - _NAMED} more")
    if bad or withdrawn:
        lines.append("the same line typed again runs what is missing")
    return lines


_PLAN_COLUMNS = (Column("run", "run"), Column("command", "command"), Column("state", "state"))


def plan_table(planned: Sequence[Planned], done: Mapping[str, live.Done]) -> Table:
    """What is going to be run, and what is not, since it is done."""
    words = {"finished": "done", "running": "running", "scheduled": "queued"}
    rows = []
    for one in planned:
        known = done.get(one.plan)
        said = f"{words[known.status]} ({known.uid[:8]})" if known else "to run"
        rows.append((Cell(one.name), Cell(cut(shown_command(mask_command(one.command)), 100)), Cell(said)))
    return Table(_PLAN_COLUMNS, tuple(rows))


def queue_table(database: Address) -> Table:
    """The runs that have not ended: those of the queue in its order, then those that run beside it."""
    columns = tuple(Column(w, w) for w in ("uid", "run", "experiment", "status", "where", "since", "newest"))
    if not exists(database):
        return Table(columns, ())
    root = root_of(database)
    waiting = [entry.uid for entry in dispatch.entries(root)]
    place = {uid: n for n, uid in enumerate(waiting)}
    rows = []
    with open_database(database) as opened:
        known = launched.unsettled(opened)
        for one in sorted(known, key=lambda run: (place.get(run.uid, -1), run.id)):
            folder = RunFolder(root / one.uid)
            try:
                spec, keeper = folder.spec(), folder.keeper()
            except ExpdbError:
                continue
            state = live.state_of(folder, spec)
            where = spec.runner if spec.runner != "local" else ""
            if keeper:
                where = " ".join([keeper.host, *(f"GPU {gpu}" for gpu in keeper.gpus)])
            since = keeper.started_ms if keeper else spec.created_ms
            said = "waits" if state.kind == "queued" else "runs" if state.kind == "running" else "has ended"
            said += f" ({state.said})" if state.said else ""
            if keeper and keeper.attempt > 1:
                said += f", attempt {keeper.attempt}"
            numbers = ", ".join(newest(reader.run(opened, one.id), 2))
            elapsed = duration(time.time_ns() // 1_000_000 - since)
            cells = (one.uid[:8], one.name, one.experiment, said, where, elapsed, numbers or None)
            rows.append(tuple(map(Cell, cells)))
    return Table(columns, tuple(rows))


_PLURAL = {"runs": "run", "waits": "wait"}


class _Board:
    """The runs of a sweep: on a terminal one live table, elsewhere a line for each change."""

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        self.specs = {folder.uid: folder.spec() for folder in folders}
        # What had ended before is no news.
        self.states: dict[str, str] = {f.uid: ended.status for f in folders if (ended := f.exit())}
        self.records: Mapping[str, RunRecord] = {}
        self._live: Any = None
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self._console = Console(highlight=False, markup=False)
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def tell(self, folder: RunFolder, state: State) -> None:
        """How far one of them is."""
        ended = folder.exit()
        said = {"queued": "waits", "running": "runs", "lost": "killed"}.get(state.kind) or (
            ended.status if ended else "ended"
        )
        if ended and ended.status == "failed":
            said += f" ({ended.error or f'exit code {ended.code}'})"
        if said != self.states.get(folder.uid):
            self.states[folder.uid] = said
            if self._live is None and said != "waits":
                print(visible(f"{self.specs[folder.uid].name}  {folder.uid[:8]}: {said}"), flush=True)

    def close(self) -> None:
        """No more is to come."""
        if self._live:
            self._live.stop()

    def _table(self) -> "Grid":
        from rich.table import Table as Grid

        grid = Grid.grid(padding=(0, 2))
        for _ in range(3):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        # What runs is seen first; what waits is only counted where there is no room.
        order = {"runs": 0, "waits": 2}
        shown = sorted(self.states, key=lambda uid: order.get(self.states[uid], 1))
        room = max(4, self._console.height - 4)
        for uid in shown[:room]:
            record = self.records.get(uid)
            numbers = " · ".join(newest(record, 3)) if record else ""
            grid.add_row(self.states[uid], visible(self.specs[uid].name), visible(numbers))
        counts = Counter(_PLURAL.get(said, said.partition(" ")[0]) for said in self.states.values())
        grid.add_row(", ".join(f"{count} {said}" for said, count in counts.items()))
        return grid


def follow_all(folders: Sequence[RunFolder], database: Address) -> list[int]:
    """Show runs of the queue until all have ended; their exit codes. Ctrl-C stops them all."""
    board = _Board(folders)
    open_ = {folder.uid: folder for folder in folders}
    interrupts, looked_after = 0, time.monotonic()
    try:
        while open_:
            try:
                for uid, folder in list(open_.items()):
                    try:
                        state = live.state_of(folder, board.specs[uid])
                        board.tell(folder, state)
                    except ExpdbError as error:
                        # Somebody deleted or damaged its folder.
                        print(f"expdb: {visible(error.message)}", file=sys.stderr)
                        state = State("lost")
                    if state.kind in ("ended", "lost"):
                        del open_[uid]
                if time.monotonic() - looked_after > _DISPATCHER_S:
                    looked_after = time.monotonic()
                    dispatch.revive(database)
                board.records = _records(database, board.specs)
                time.sleep(_SWEEP_POLL_S)
            except KeyboardInterrupt:
                interrupts += 1
                for uid, folder in reversed(list(open_.items())):
                    if live.withdraw(database, folder):
                        del open_[uid]
                    else:
                        live.stop(database, folder, force=interrupts > 1, wait=False)
        left = [folder for folder in folders if folder.path.is_dir()]
        live.wait_settled(database, [folder.uid for folder in left], _PATIENCE_S)
    finally:
        board.close()
    return [ended.code if (ended := folder.exit()) else 1 for folder in folders]


def _records(database: Address, uids: Iterable[str]) -> dict[str, RunRecord]:
    wanted = set(uids)
    with open_database(database) as opened:
        return {one.uid: one for one in reader.runs(opened, words=False) if one.uid in wanted}


def results(database: Address, uids: Sequence[str]) -> Table:
    """The comparison of runs that have ended."""
    with open_database(database) as opened:
        return compare.compare(opened, compare.Query(runs=tuple(uids)))
