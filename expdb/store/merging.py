"""Another database's runs brought into this one: laptop and server. A run is known by its uid.

What is new is copied as it is; what both sides have is reconciled (`store.reconcile`). Nothing is deleted here, and
what cannot be brought together is said.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby

from expdb.address import Address, Server
from expdb.errors import UsageError
from expdb.records import Curve, Metric
from expdb.store import statements as sql
from expdb.store.database import Database, Row
from expdb.store.places import STDIN, located, stored
from expdb.store.reconcile import Side, pages, reconcile
from expdb.store.writer import Writer

# One transaction takes so much at most: a merge that is killed goes on from there.
RUNS_AT_ONCE = 200
POINTS_AT_ONCE = 400_000
# What hangs on a run and refers to nothing but it, by the columns that tell its rows apart.
PLAIN = {
    "param": ("key",),
    "tag": ("key",),
    "edit": (),
    "artifact": ("path",),
    "provenance": (),
}
# Tables that are brought over by words of their own, and those that are none of a merge's business.
OWN = frozenset(
    (
        *(
            "experiment",
            "experiment_tag",
            "run",
            "metric",
            "point",
            "source",
            "source_place",
            "run_source",
            "purged_run",
        ),
        *("dataset", "run_dataset", "run_dataset_tag", "logged_model", "logged_model_param", "logged_model_tag"),
        *("logged_model_metric", "run_model", "counterpart", "counterpart_name", "claim", "finding"),
    )
)
NOT_MERGED = frozenset(("meta",))
_NUMBERED = frozenset(
    ("experiment", "run", "source", "edit", "dataset", "logged_model", "artifact", "claim", "finding")
)
# Of a metric nothing is asked while points are stored.
_NO_METRIC = Metric("", "", "curve", None, "none")


@dataclass(slots=True)
class Merged:
    """What a merge brought. grown: runs that were here and got something new; same: those that did not.

    twins: new ones whose logs were read here, too, as other runs. conflicts: what both sides say differently, and what
    was kept; notes: what a person may wonder about.
    """

    new: int = 0
    grown: int = 0
    same: int = 0
    points: int = 0
    purged: int = 0
    twins: int = 0
    experiments: int = 0
    others: int = 0
    conflicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _SeenError(Exception):
    """A dry run has seen all."""


def merge(
    ours: Database,
    theirs: Database,
    now_ms: int,
    *,
    dry_run: bool = False,
    step: Callable[[int], None] = lambda _: None,
) -> Merged:
    """Bring everything of theirs into ours; a second time there is nothing new. dry_run: take it back in the end.

    step: called with the number of runs that were looked at. Raises UsageError where both are one database.
    """
    if _resolved(ours.address) == _resolved(theirs.address):
        raise UsageError("a database is not merged with itself", hint="expdb db merge OTHER [--db THIS]")
    work = _Merge(ours, theirs, now_ms)
    with theirs.view():
        if not dry_run:
            work.all(step)
            return work.done
        with suppress(_SeenError), ours.transaction():
            work.inside = True
            work.all(step)
            raise _SeenError
    return work.done


def count(database: Database) -> int:
    """The runs there are to look at."""
    return int(database.rows("SELECT count(*) FROM run")[0][0])


@cache
def columns(table: str) -> tuple[str, ...]:
    """The columns of a table, without the number that the database itself gives each row."""
    from sqlmodel import SQLModel

    from expdb.store import schema  # noqa: F401  # declares the tables

    return tuple(name for name in SQLModel.metadata.tables[table].columns.keys() if name != "id")  # noqa: SIM118


class _Merge:
    def __init__(self, ours: Database, theirs: Database, now_ms: int) -> None:
        self.ours = ours
        self.theirs = theirs
        self.at = ours.connection
        self.writer = Writer(ours, now_ms)
        self.done = Merged()
        # Already within one transaction, which is not ours to end.
        self.inside = False
        self._version: int | None = None
        # Theirs → ours.
        self._experiments: dict[int, int] = {}
        self._sources: dict[int, int] = {}
        self._datasets: dict[int, int] = {}
        self._models: dict[int, int] = {}

    def all(self, step: Callable[[int], None]) -> None:
        for runs in self._batches():
            with self._transaction():
                for run in runs:
                    self._run(run)
            step(len(runs))
        with self._transaction():
            self._rest()

    def _batches(self) -> Iterator[list[Row]]:
        """Their runs, few enough for one transaction."""
        rows = self.theirs.rows(
            "SELECT r.id, r.uid, (SELECT coalesce(sum(m.count), 0) FROM metric m WHERE m.run_id = r.id) FROM run r"
            " ORDER BY r.id"
        )
        batch: list[Row] = []
        points = 0
        for row in rows:
            if batch and (len(batch) == RUNS_AT_ONCE or points + row[2] > POINTS_AT_ONCE):
                yield batch
                batch, points = [], 0
            batch.append(row)
            points += int(row[2])
        if batch:
            yield batch

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction; nothing of its own within a dry run, which is one as a whole."""
        with nullcontext() if self.inside else self.ours.transaction():
            self._begin()
            yield

    def _begin(self) -> None:
        """Forget what other processes may have changed since the last transaction."""
        version = self.ours.changed_elsewhere()
        if version != self._version:
            for known in (self._experiments, self._sources, self._datasets, self._models):
                known.clear()
            self._version = version
        self.writer.begin()

    # Runs -------------------------------------------------------------------------------------------------------------

    def _run(self, row: Row) -> None:
        their_id, uid, _ = row
        found = self._one("SELECT id FROM run WHERE uid = ?", uid)
        if found is None:
            self._new(their_id)
        else:
            self._both(their_id, int(found[0]))

    def _new(self, their_id: int) -> None:
        run = dict(zip(columns("run"), self._theirs("run", "id", their_id)[0], strict=True))
        sources = self._theirs("run_source", "run_id", their_id)
        if self._was_read("purged_run", sources):
            self.done.purged += 1
            return
        self.done.twins += self._was_read("run_source", sources)
        experiment_id = self.experiment(run["experiment_id"])
        name = self.writer.free_name(experiment_id, str(run["name"]))
        if name != run["name"]:
            twin = self._one("SELECT uid FROM run WHERE experiment_id = ? AND name = ?", experiment_id, run["name"])
            beside = f", beside {twin[0][:8]}" if twin else ""
            self.done.notes.append(f"{str(run['uid'])[:8]} {run['name']}: is called {name} here{beside}")
        run |= {"experiment_id": experiment_id, "name": name, "parent_id": self._parent(their_id)}
        (run_id,) = self.at.execute(
            f"INSERT INTO run ({', '.join(run)}) VALUES ({_marks(len(run))}) RETURNING id", tuple(run.values())
        ).fetchone()
        for table in PLAIN:
            self.insert(table, [(run_id, *row[1:]) for row in self._theirs(table, "run_id", their_id)])
        for _, source_no, source_id, *lines in sources:
            self.at.execute(sql.PUT_RUN_SOURCE, (run_id, source_no, self.source(source_id), *lines))
        for metric in self.theirs.rows(sql.METRICS_OF_RUN, (their_id,)):
            self.copy_metric(run_id, metric)
        self._hanging(their_id, run_id)
        self.done.new += 1

    def _both(self, their_id: int, run_id: int) -> None:
        result = reconcile(self, Side(self.theirs, their_id), Side(self.ours, run_id))
        self.done.conflicts += result.conflicts
        more = self._hanging(their_id, run_id)
        if result.changed or more:
            self.done.grown += 1
        else:
            self.done.same += 1

    def _was_read(self, table: str, sources: Sequence[Row]) -> bool:
        """Whether table (run_source, purged_run) knows a run that was read from where this one begins."""
        if not sources:
            return False
        _, _, source_id, line_first, _ = sources[0]
        known = self._known_source(self._theirs("source", "id", source_id)[0])
        text = f"SELECT 1 FROM {table} WHERE source_id = ? AND line_first = ? LIMIT 1"
        return known is not None and self._one(text, known, line_first) is not None

    def _parent(self, their_id: int) -> int | None:
        """Our id of their run's parent, None where it is not here yet."""
        found = self.theirs.rows("SELECT p.uid FROM run r JOIN run p ON p.id = r.parent_id WHERE r.id = ?", (their_id,))
        ours = self._one("SELECT id FROM run WHERE uid = ?", found[0][0]) if found else None
        return int(ours[0]) if ours else None

    def _hanging(self, their_id: int, run_id: int) -> int:
        """What is told apart by more than the run: data sets, models, other stores, findings; how many are new."""
        new = 0
        for _, dataset_id, *rest in self._theirs("run_dataset", "run_id", their_id):
            new += self.insert("run_dataset", [(run_id, self.dataset(dataset_id), *rest)])
        for _, dataset_id, *rest in self._theirs("run_dataset_tag", "run_id", their_id):
            new += self.insert("run_dataset_tag", [(run_id, self.dataset(dataset_id), *rest)])
        for _, model_id, *rest in self._theirs("run_model", "run_id", their_id):
            new += self.insert("run_model", [(run_id, self.model(model_id), *rest)])
        for model_id, _, _, *rest in self._theirs("logged_model_metric", "run_id", their_id):
            new += self._model_metric(self.model(model_id), run_id, rest)
        for store, other_uid, _, *rest in self._theirs("counterpart", "run_id", their_id):
            new += self.insert("counterpart", [(store, other_uid, run_id, *rest)])
        for _, source_id, *rest in self._theirs("finding", "run_id", their_id):
            new += self._finding(run_id, source_id, rest)
        parent = self._parent(their_id)
        if parent is not None:
            new += self.at.execute(
                "UPDATE run SET parent_id = ? WHERE id = ? AND parent_id IS NULL", (parent, run_id)
            ).rowcount
        return new

    # What runs refer to -----------------------------------------------------------------------------------------------

    def experiment(self, their_id: int) -> int:
        """Our id of their experiment, by its name; made where there is none."""
        if their_id not in self._experiments:
            row = dict(zip(columns("experiment"), self._theirs("experiment", "id", their_id)[0], strict=True))
            name = str(row["name"])
            found = self._one("SELECT id, note, deleted_ms FROM experiment WHERE name = ?", name)
            if found is None:
                (ours,) = self.at.execute(
                    f"INSERT INTO experiment ({', '.join(row)}) VALUES ({_marks(len(row))}) RETURNING id",
                    tuple(row.values()),
                ).fetchone()
                self.done.experiments += 1
            else:
                ours, note, deleted_ms = found
                self.at.execute(
                    "UPDATE experiment SET note = coalesce(note, ?), artifact_uri = coalesce(artifact_uri, ?),"
                    " updated_ms = CASE WHEN updated_ms < ? THEN ? ELSE updated_ms END WHERE id = ?",
                    (row["note"], row["artifact_uri"], row["updated_ms"], row["updated_ms"], ours),
                )
                if note is not None and row["note"] not in (None, note):
                    self.done.conflicts.append(f"experiment {name}: note: kept {note!r}, there it is {row['note']!r}")
                if (deleted_ms is None) != (row["deleted_ms"] is None):
                    there, here = ("removed", "kept") if deleted_ms is None else ("not removed", "still removed")
                    self.done.conflicts.append(f"experiment {name}: {there} there, {here} here")
            said: dict[str, str] = dict(
                self.ours.rows("SELECT key, value FROM experiment_tag WHERE experiment_id = ?", (ours,))
            )
            for _, key, value in self._theirs("experiment_tag", "experiment_id", their_id):
                self.insert("experiment_tag", [(ours, key, value)])
                if said.get(key, value) != value:
                    self.done.conflicts.append(
                        f"experiment {name}: tag {key}: kept {said[key]!r}, there it is {value!r}"
                    )
            self._experiments[their_id] = int(ours)
        return self._experiments[their_id]

    def _known_source(self, row: Row) -> int | None:
        sha256, tail = row[0], row[1]
        found = self._one(sql.SOURCE_BY_DIGEST, sha256, tail)
        return int(found[0]) if found else None

    def source(self, their_id: int) -> int:
        """Our id of their source, by its digest; with its places."""
        if their_id not in self._sources:
            row = self._theirs("source", "id", their_id)[0]
            ours = self._known_source(row)
            if ours is None:
                ours = self.writer.source_id()
                self.at.execute(sql.PUT_SOURCE, (ours, *row))
            self.places(their_id, ours)
            self._sources[their_id] = ours
        return self._sources[their_id]

    def replace_source(self, old: int, new: int) -> None:
        """A log is known at its greater length; nothing refers to the shorter one any more, nor does a run."""
        for (path,) in self.at.execute(
            "SELECT path FROM source_place WHERE source_id = ? ORDER BY rowid", (old,)
        ).fetchall():
            self.at.execute(sql.PUT_PLACE, (new, path))
        gone = self.at.execute("SELECT line_first FROM purged_run WHERE source_id = ?", (old,)).fetchall()
        self.insert("purged_run", [(new, line_first) for (line_first,) in gone])
        for table in ("claim", "finding"):
            self.at.execute(f"UPDATE {table} SET source_id = ? WHERE source_id = ?", (new, old))
        for table, key in (("purged_run", "source_id"), ("source_place", "source_id"), ("source", "id")):
            self.at.execute(f"DELETE FROM {table} WHERE {key} = ?", (old,))
        self._sources = {theirs: new if ours == old else ours for theirs, ours in self._sources.items()}

    def places(self, their_id: int, ours: int) -> None:
        """Their source was found there, too."""
        known = {path for (path,) in self.at.execute("SELECT path FROM source_place WHERE source_id = ?", (ours,))}
        for (path,) in self.theirs.rows(
            "SELECT path FROM source_place WHERE source_id = ? ORDER BY rowid", (their_id,)
        ):
            place = path if path == STDIN else stored(located(path, self.theirs.address), self.ours.address)
            if place in known:
                continue
            latest = self._one(sql.SOURCE_BY_PLACE, place)
            self.at.execute(sql.PUT_PLACE, (ours, place))
            if latest:
                # What we read there ourselves is what lies there: it stays the last.
                self.at.execute(sql.PUT_PLACE, (latest[0], place))

    def dataset(self, their_id: int) -> int:
        """Our id of their data set, by experiment, name and digest."""
        if their_id not in self._datasets:
            uid, experiment_id, name, digest, *rest = self._theirs("dataset", "id", their_id)[0]
            experiment = self.experiment(experiment_id)
            found = self._one(
                "SELECT id FROM dataset WHERE uid = ? OR (experiment_id = ? AND name = ? AND digest = ?)",
                *(uid, experiment, name, digest),
            )
            if found is None:
                self.insert("dataset", [(uid, experiment, name, digest, *rest)])
                self.done.others += 1
                found = self._one("SELECT id FROM dataset WHERE uid = ?", uid)
                assert found is not None
            self._datasets[their_id] = int(found[0])
        return self._datasets[their_id]

    def model(self, their_id: int) -> int:
        """Our id of their logged model, by its uid; the state that was written last stays."""
        if their_id not in self._models:
            row = dict(zip(columns("logged_model"), self._theirs("logged_model", "id", their_id)[0], strict=True))
            row["experiment_id"] = self.experiment(row["experiment_id"])
            row["run_id"] = self._run_of(row["run_id"])
            found = self._one("SELECT id, updated_ms FROM logged_model WHERE uid = ?", row["uid"])
            if found is None:
                self.insert("logged_model", [tuple(row.values())])
                self.done.others += 1
                found = self._one("SELECT id, 0 FROM logged_model WHERE uid = ?", row["uid"])
            elif row["updated_ms"] > found[1]:
                later = ("status", "status_message", "updated_ms", "deleted_ms", "name", "model_type")
                self.at.execute(
                    f"UPDATE logged_model SET {', '.join(f'{word} = ?' for word in later)} WHERE id = ?",
                    (*(row[word] for word in later), found[0]),
                )
            assert found is not None
            ours = int(found[0])
            if row["run_id"] is not None:
                self.at.execute(
                    "UPDATE logged_model SET run_id = ? WHERE id = ? AND run_id IS NULL", (row["run_id"], ours)
                )
            for table in ("logged_model_param", "logged_model_tag"):
                self.insert(table, [(ours, *rest) for _, *rest in self._theirs(table, "model_id", their_id)])
            self._models[their_id] = ours
        return self._models[their_id]

    def _run_of(self, their_id: int | None) -> int | None:
        if their_id is None:
            return None
        uid = self.theirs.rows("SELECT uid FROM run WHERE id = ?", (their_id,))[0][0]
        found = self._one("SELECT id FROM run WHERE uid = ?", uid)
        return int(found[0]) if found else None

    def _model_metric(self, model_id: int, run_id: int, rest: Sequence[object]) -> int:
        known = self.at.execute(
            f"SELECT {', '.join(columns('logged_model_metric')[3:])} FROM logged_model_metric"
            " WHERE model_id = ? AND run_id = ?",
            (model_id, run_id),
        )
        if any(list(row) == list(rest) for row in known.fetchall()):
            return 0
        (seq,) = self.at.execute(
            "SELECT coalesce(max(seq), -1) + 1 FROM logged_model_metric WHERE model_id = ?", (model_id,)
        ).fetchone()
        return self.insert("logged_model_metric", [(model_id, seq, run_id, *rest)])

    def _finding(self, run_id: int | None, their_source: int | None, rest: Sequence[object]) -> int:
        source_id = None if their_source is None else self.source(their_source)
        row = (run_id, source_id, *rest)
        return self._unless_there("finding", row)

    def _unless_there(self, table: str, row: Sequence[object]) -> int:
        """Insert a row that nothing tells apart but all it says."""
        names = columns(table)
        first = names.index("created_ms")
        known = self.at.execute(
            f"SELECT {', '.join(names)} FROM {table} WHERE created_ms = ?", (row[first],)
        ).fetchall()
        if tuple(row) in {tuple(one) for one in known}:
            return 0
        return self.insert(table, [row])

    # Points -----------------------------------------------------------------------------------------------------------

    def copy_metric(self, run_id: int, metric: Row) -> None:
        """A metric that is not here, with its points. metric: as METRICS_OF_RUN gives it."""
        metric_id = self.writer.metric_id()
        self.at.execute(sql.INSERT_METRIC, (metric_id, run_id, *metric[1:]))
        for rows in pages(self.theirs, metric[0]):
            self.put_points(metric_id, rows)

    def put_points(self, metric_id: int, rows: Sequence[Row]) -> None:
        """Points as `pages` gives them, each with its seq."""
        for (source_no, _), group in groupby(enumerate(rows), key=lambda one: (one[1][5], one[1][0] - one[0])):
            points = [row for _, row in group]
            seqs, steps, epochs, values, times, _, lines = zip(*points, strict=True)
            curve = Curve(
                _NO_METRIC,
                steps,
                values,
                lines,
                epochs=epochs if any(epoch is not None for epoch in epochs) else None,
                times_ms=times if any(time is not None for time in times) else None,
            )
            self.writer.insert([metric_id], seqs[0], source_no, [curve], 0)
        self.done.points += len(rows)

    # The rest ---------------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """What hangs on no run, and parents that came after their children."""
        for table, bring in (
            ("experiment", self.experiment),
            ("dataset", self.dataset),
            ("logged_model", self.model),
            ("source", self.source),
        ):
            # A source without runs is known, so that it is not read again.
            for (their_id,) in self.theirs.rows(f"SELECT id FROM {table} ORDER BY id"):
                bring(their_id)
        children = "SELECT c.uid, p.uid FROM run c JOIN run p ON p.id = c.parent_id"
        for child, parent in self.theirs.rows(children):
            self.at.execute(
                "UPDATE run SET parent_id = (SELECT id FROM run WHERE uid = ?) WHERE uid = ? AND parent_id IS NULL",
                (parent, child),
            )
        for row in self._theirs("counterpart_name"):
            self.done.others += self.insert("counterpart_name", [row])
        for source_id, line_first in self._theirs("purged_run"):
            self._purged(self.source(source_id), line_first)
        names = columns("claim")
        for claim in self._theirs("claim"):
            said = dict(zip(names, claim, strict=True))
            if said["source_id"] is not None:
                said["source_id"] = self.source(said["source_id"])
            self.done.others += self._unless_there("claim", tuple(said.values()))
        for run_id, source_id, *rest in self._theirs("finding"):
            if run_id is None:
                self.done.others += self._finding(None, source_id, rest)

    def _purged(self, source_id: int, line_first: int) -> None:
        """What was deleted for good there does not come back here by its log, unless it is still here."""
        alive = self._one("SELECT 1 FROM run_source WHERE source_id = ? AND line_first = ?", source_id, line_first)
        if alive is None:
            self.insert("purged_run", [(source_id, line_first)])

    # Rows -------------------------------------------------------------------------------------------------------------

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> int:
        """Insert the rows that are not there yet; how many were not."""
        names = columns(table)
        text = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({_marks(len(names))}) ON CONFLICT DO NOTHING"
        return sum(max(self.at.execute(text, tuple(row)).rowcount, 0) for row in rows)

    def _theirs(self, table: str, key: str | None = None, value: int | None = None) -> list[Row]:
        """Their rows of a table, in the order they were written."""
        where = f" WHERE {key} = ?" if key else ""
        order = "rowid" if table in ("param", "tag") else ", ".join(columns(table)[:2])
        if table in _NUMBERED:
            order = "id"
        text = f"SELECT {', '.join(columns(table))} FROM {table}{where} ORDER BY {order}"
        return self.theirs.rows(text, (value,) if key else ())

    def _one(self, text: str, *values: object) -> Row | None:
        found: Row | None = self.at.execute(text, values).fetchone()
        return found


def _marks(number: int) -> str:
    return ", ".join("?" * number)


def _resolved(address: Address) -> str:
    return address.url if isinstance(address, Server) else str(address.resolve())
