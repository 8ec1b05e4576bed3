"""One run that two databases hold: what the other side has more is taken over, what both say differently is said.

Who is right where they differ: whoever corrected it by hand (the later of two corrections), else the side on which
the run is further. Where neither decides, ours is kept and the difference told, each time anew.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, Protocol

from expdb.records import REPORTED
from expdb.store import statements as sql
from expdb.store import ties
from expdb.store.database import Database, Row, Value
from expdb.store.writer import Writer, as_number, derived_summary

_PAGE = 50_000
Who = Literal["ours", "theirs"]
_RANK = {"scheduled": 0, "running": 1, "killed": 2, "failed": 3, "finished": 3}
_RUN = (
    *("uid", "experiment_id", "name", "status", "user_name", "seed", "note", "artifact_uri"),
    *("started_ms", "ended_ms", "deleted_ms", "origin"),
)
_PROVENANCE = (
    *("command", "cwd", "git_commit", "git_dirty", "git_diff", "host", "gpu", "driver", "python", "torch", "cuda"),
    *("packages", "expdb_version", "runner", "attempt", "exit_code"),
)
# The columns of METRICS_OF_RUN.
_KEY, _KIND, _UNIT, _DECIMALS, _COUNT, _LAST = 1, 4, 6, 7, 9, 14


class Bringer(Protocol):
    """What brings over rows that runs refer to."""

    writer: Writer

    def experiment(self, their_id: int) -> int:
        """Our id of their experiment."""
        ...

    def source(self, their_id: int) -> int:
        """Our id of their source."""
        ...

    def replace_source(self, old: int, new: int) -> None:
        """A log is known at its greater length."""
        ...

    def copy_metric(self, run_id: int, metric: Row) -> None:
        """A metric that is not here, with its points."""
        ...

    def put_points(self, metric_id: int, rows: Sequence[Row]) -> None:
        """Points, each with its seq."""
        ...

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> int:
        """Insert the rows that are not there yet; how many were not."""
        ...


@dataclass(frozen=True, slots=True)
class Side:
    """The run in one of the databases."""

    database: Database
    run_id: int

    def rows(self, text: str) -> list[Row]:
        """Rows of the run: `?` is its id."""
        return self.database.rows(text, (self.run_id,))


@dataclass(slots=True)
class Reconciled:
    """changed: something was taken over. conflicts: lines for the person."""

    changed: bool = False
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Edit:
    edited_ms: int
    field: str
    key: str | None
    old: str | None
    new: str | None


def reconcile(bringer: Bringer, theirs: Side, ours: Side) -> Reconciled:
    """Take over what is new on their side, within the transaction that is open."""
    return _Reconciling(bringer, theirs, ours).all()


class _Reconciling:
    def __init__(self, bringer: Bringer, theirs: Side, ours: Side) -> None:
        self.bringer = bringer
        self.theirs = theirs
        self.ours = ours
        self.at = ours.database.connection
        self.out = Reconciled()
        self._here = self._run(ours)
        self._there = self._run(theirs)
        self._metrics_here = {row[_KEY]: row for row in ours.rows(sql.METRICS_OF_RUN)}
        self._metrics_there = {row[_KEY]: row for row in theirs.rows(sql.METRICS_OF_RUN)}
        self._edits_here = self._edits(ours)
        self._edits_there = self._edits(theirs)
        known_here, known_there = Counter(self._edits_here), Counter(self._edits_there)
        self._new_there = list((known_there - known_here).elements())
        self._new_here = list((known_here - known_there).elements())
        self._further = self._who_is_further()

    def all(self) -> Reconciled:
        self._fields()
        self._words("param")
        self._words("tag")
        self._sources()
        for key, metric in self._metrics_there.items():
            if key in self._metrics_here:
                self._metric(self._metrics_here[key], metric)
            else:
                self.bringer.copy_metric(self.ours.run_id, metric)
                self.out.changed = True
        self._journal()
        self._provenance()
        self._artifacts()
        return self.out

    # Who is right -----------------------------------------------------------------------------------------------------

    def _by_hand(self, what: str, key: str | None = None) -> Who | None:
        """Whose correction counts, of those that only one side has; None where neither made one."""
        there = [edit for edit in self._new_there if (edit.field, edit.key) == (what, key)]
        here = [edit for edit in self._new_here if (edit.field, edit.key) == (what, key)]
        if there and here:
            latest_there = max(there, key=lambda edit: edit.edited_ms)
            latest_here = max(here, key=lambda edit: edit.edited_ms)
            who: Who = "theirs" if latest_there.edited_ms > latest_here.edited_ms else "ours"
            if latest_there.new != latest_here.new:
                kept, left = (latest_there, latest_here) if who == "theirs" else (latest_here, latest_there)
                named = f"{what} {key}" if key else what
                self._conflict(f"{named}: corrected on both sides, kept the later {kept.new!r}, not {left.new!r}")
            return who
        return "theirs" if there else "ours" if here else None

    def _who_is_further(self) -> Who | None:
        def mark(run: dict[str, Any], metrics: dict[str, Row]) -> tuple[int, int, int]:
            points = sum(row[_COUNT] for row in metrics.values())
            return _RANK.get(run["status"], 0), points, run["ended_ms"] or 0

        there = mark(self._there, self._metrics_there)
        here = mark(self._here, self._metrics_here)
        return "theirs" if there > here else "ours" if here > there else None

    def _conflict(self, text: str) -> None:
        self.out.conflicts.append(f"{self._here['uid'][:8]} {self._here['name']}: {text}")

    def _kept(self, named: str, here: object, there: object) -> None:
        self._conflict(f"{named}: kept {here!r}, there it is {there!r}")

    # The run ----------------------------------------------------------------------------------------------------------

    def _fields(self) -> None:
        here, there = self._here, self._there
        change: dict[str, Value] = {}
        if self._by_hand("experiment") == "theirs":
            change["experiment_id"] = self.bringer.experiment(there["experiment_id"])
        # Names differ where one was taken; only corrections are of interest.
        moved = change.get("experiment_id", here["experiment_id"])
        if self._by_hand("name") == "theirs" and there["name"] != here["name"]:
            change["name"] = self.bringer.writer.free_name(int(moved or 0), there["name"])
        elif "experiment_id" in change and moved != here["experiment_id"]:
            change["name"] = self.bringer.writer.free_name(int(moved or 0), here["name"])
        if here["note"] != there["note"]:
            who = self._by_hand("note")
            if who == "theirs" or (who is None and here["note"] is None):
                change["note"] = there["note"]
            elif who is None and there["note"] is not None:
                self._kept("note", here["note"], there["note"])
        for word in ("user_name", "seed", "artifact_uri"):
            if here[word] is None and there[word] is not None:
                change[word] = there[word]
        if self._further == "theirs":
            change |= {word: there[word] for word in ("status", "started_ms", "ended_ms") if there[word] != here[word]}
        if (here["deleted_ms"] is None) != (there["deleted_ms"] is None):
            said = (
                "removed there, kept here" if here["deleted_ms"] is None else "removed here, not there: still removed"
            )
            self._conflict(said)
        if change:
            self._update("run", "id", change)

    def _words(self, table: str) -> None:
        text = f"SELECT key, value FROM {table} WHERE run_id = ? ORDER BY rowid"
        here = {row[0]: row[1] for row in self.ours.rows(text)}
        there = {row[0]: row[1] for row in self.theirs.rows(text)}
        for key, value in there.items():
            if here.get(key) == value:
                continue
            who = self._by_hand(table, key)
            if key not in here:
                take = who != "ours"
            else:
                take = (who or self._further) == "theirs"
                if not take and who is None and self._further is None:
                    self._kept(f"{table} {key}", here[key], value)
            if take:
                self._put_word(table, key, value)
        for key in here.keys() - there.keys():
            # Taken away by hand there; what only we have otherwise is ours.
            if self._by_hand(table, key) == "theirs":
                self.at.execute(f"DELETE FROM {table} WHERE run_id = ? AND key = ?", (self.ours.run_id, key))
                self.out.changed = True

    def _put_word(self, table: str, key: str, value: str) -> None:
        if table == "param":
            self.at.execute(sql.PUT_PARAM, (self.ours.run_id, key, value, as_number(value)))
        else:
            self.at.execute(sql.PUT_TAG, (self.ours.run_id, key, value))
        self.out.changed = True

    def _journal(self) -> None:
        """Both journals as one, in the order of time."""
        if not self._new_there:
            return
        self.at.execute("DELETE FROM edit WHERE run_id = ?", (self.ours.run_id,))
        edits = sorted([*self._edits_here, *self._new_there], key=lambda edit: edit.edited_ms)
        self.bringer.insert(
            "edit", [(self.ours.run_id, one.edited_ms, one.field, one.key, one.old, one.new) for one in edits]
        )
        self.out.changed = True

    def _provenance(self) -> None:
        text = f"SELECT {', '.join(_PROVENANCE)} FROM provenance WHERE run_id = ?"
        there, here = self.theirs.rows(text), self.ours.rows(text)
        if not there:
            return
        if not here:
            self.bringer.insert("provenance", [(self.ours.run_id, *there[0])])
            self.out.changed = True
            return
        change = {
            word: b
            for word, a, b in zip(_PROVENANCE, here[0], there[0], strict=True)
            if b is not None and a != b and (a is None or self._further == "theirs")
        }
        if change:
            self._update("provenance", "run_id", change)

    def _artifacts(self) -> None:
        text = "SELECT path, kind, size_bytes, sha256 FROM artifact WHERE run_id = ?"
        here = {row[0]: tuple(row[1:]) for row in self.ours.rows(text)}
        for path, *rest in self.theirs.rows(text):
            if path not in here:
                self.bringer.insert("artifact", [(self.ours.run_id, path, *rest)])
                self.out.changed = True
            elif here[path] != tuple(rest) and self._further == "theirs":
                self.at.execute(
                    "UPDATE artifact SET kind = ?, size_bytes = ?, sha256 = ? WHERE run_id = ? AND path = ?",
                    (*rest, self.ours.run_id, path),
                )
                self.out.changed = True
            elif here[path] != tuple(rest) and self._further is None:
                self._conflict(f"artifact {path}: kept ours, there it is another file")

    def _update(self, table: str, key: str, change: dict[str, Value]) -> None:
        words = ", ".join(f"{word} = ?" for word in change)
        self.at.execute(f"UPDATE {table} SET {words} WHERE {key} = ?", (*change.values(), self.ours.run_id))
        self.out.changed = True

    # Sources ----------------------------------------------------------------------------------------------------------

    def _sources(self) -> None:
        """What the run was read from: more of it where their log had grown."""
        text = (
            "SELECT l.source_no, l.source_id, l.line_first, l.line_last, s.size_bytes, s.sha256 FROM run_source l"
            " JOIN source s ON s.id = l.source_id WHERE l.run_id = ?"
        )
        here = {row[0]: row[1:] for row in self.ours.rows(text)}
        for number, their_source, first, last, size, sha256 in self.theirs.rows(text):
            if number in here and (here[number][4] == sha256 or here[number][3] >= size):
                continue
            source_id = self.bringer.source(their_source)
            self.at.execute(sql.PUT_RUN_SOURCE, (self.ours.run_id, number, source_id, first, last))
            self.out.changed = True
            if number not in here:
                continue
            # The shorter log is nobody's any more, once all its runs have gone on.
            old = here[number][0]
            used = self.at.execute("SELECT 1 FROM run_source WHERE source_id = ? LIMIT 1", (old,)).fetchone()
            if used is None:
                self.bringer.replace_source(old, source_id)

    # Metrics ----------------------------------------------------------------------------------------------------------

    def _metric(self, here: Row, there: Row) -> None:
        metric_id, key = here[0], here[_KEY]
        if here[_KIND] != there[_KIND]:
            self._conflict(f"metric {key}: kept the {here[_KIND]} one, there it is {there[_KIND]}")
            return
        if here[_KIND] == REPORTED:
            self._reported(here, there)
        else:
            self._curve(metric_id, there[0], key)
        if here[_UNIT] != there[_UNIT]:
            who = self._by_hand("unit", key)
            if who == "theirs" or (who is None and here[_UNIT] is None):
                self.at.execute("UPDATE metric SET unit = ? WHERE id = ?", (there[_UNIT], metric_id))
                self.out.changed = True
            elif who is None and there[_UNIT] is not None:
                self._kept(f"unit of {key}", here[_UNIT], there[_UNIT])

    def _reported(self, here: Row, there: Row) -> None:
        if here[_LAST] == there[_LAST] and here[_COUNT] == there[_COUNT]:
            return
        who = self._by_hand("metric", here[_KEY])
        if who == "theirs":
            self.at.execute("UPDATE point SET value = ? WHERE metric_id = ?", (there[_LAST], here[0]))
            self.at.execute(sql.UPDATE_METRIC, (here[_UNIT], there[_DECIMALS], *there[9:], here[0]))
            self.out.changed = True
        elif who is None:
            self._kept(f"metric {here[_KEY]}", here[_LAST], there[_LAST])

    def _curve(self, ours: int, theirs: int, key: str) -> None:
        """Their points that are not here, behind ours; a point that was read again counts as its longer log says it."""
        known: Counter[tuple[object, ...]] = Counter()
        places: dict[tuple[object, ...], tuple[int, tuple[object, ...]]] = {}
        is_prefix, here = True, list(chain.from_iterable(pages(self.ours.database, ours)))
        there = list(chain.from_iterable(pages(self.theirs.database, theirs)))
        if [row[1:] for row in there[: len(here)]] == [row[1:] for row in here[: len(there)]]:
            more = there[len(here) :]
        else:
            is_prefix = False
            known.update(_said(row) for row in here)
            places = {(row[5], row[6], row[1]): (row[0], _said(row)) for row in here if row[6] is not None}
            more = []
            for row in there:
                said = _said(row)
                if known[said]:
                    known[said] -= 1
                    continue
                more.append(row)
        if not more:
            return
        fresh = []
        for row in more:
            found = places.get((row[5], row[6], row[1]))
            if found is None:
                fresh.append(row)
            elif self._further == "theirs":
                self.at.execute(
                    "UPDATE point SET epoch = ?, value = ?, time_ms = ? WHERE metric_id = ? AND seq = ?",
                    (row[2], row[3], row[4], ours, found[0]),
                )
                self.out.changed = True
            elif self._further is None:
                self._kept(f"metric {key}, step {row[1]}", found[1][2], row[3])
        if fresh:
            seq = here[-1][0] + 1 if here else 0
            self.bringer.put_points(ours, [(seq + at, *row[1:]) for at, row in enumerate(fresh)])
            self.out.changed = True
            if not is_prefix and known.total():
                self._conflict(f"metric {key}: each side has points of its own; all are kept, theirs behind ours")
        row = self._metrics_here[key]
        self.at.execute(sql.UPDATE_METRIC, (row[_UNIT], row[_DECIMALS], *derived_summary(self.at, ours).row(), ours))
        if self._here["origin"] == "mlflow":
            ties.settle(self.at, ours)

    @staticmethod
    def _run(side: Side) -> dict[str, Any]:
        row = side.rows(f"SELECT {', '.join(_RUN)} FROM run WHERE id = ?")[0]
        return dict(zip(_RUN, row, strict=True))

    @staticmethod
    def _edits(side: Side) -> list[_Edit]:
        rows = side.rows("SELECT edited_ms, field, key, old, new FROM edit WHERE run_id = ? ORDER BY id")
        return [_Edit(*row) for row in rows]


def pages(database: Database, metric_id: int) -> Iterator[list[Row]]:
    """A metric's points in the order of arrival: seq, step, epoch, value, time_ms, source_no, line."""
    seq = -1
    while True:
        rows = database.rows(
            "SELECT seq, step, epoch, value, time_ms, source_no, line FROM point WHERE metric_id = ? AND seq > ?"
            f" ORDER BY seq LIMIT {_PAGE}",
            (metric_id, seq),
        )
        if rows:
            yield rows
        if len(rows) < _PAGE:
            return
        seq = rows[-1][0]


def _said(row: Row) -> tuple[object, ...]:
    """What a point says, wherever it stands: step, epoch, value, time and line."""
    return (row[1], row[2], row[3], row[4], row[6])
