"""What is written in bulk: points, metrics and their names; and what the database knows of a source already."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from expdb import metrics
from expdb.parsers.reading import Digest
from expdb.records import Curve, Metric, Summary, Unit
from expdb.store import statements as sql
from expdb.store.database import Connection, Database
from expdb.store.likeness import Likeness, Outline

_POINTS_AT_ONCE = 50_000
_OF_A_RUN = (
    *("metric", "param", "tag", "run_source", "edit", "artifact", "provenance", "run_dataset", "run_dataset_tag"),
    *("run_model", "logged_model_metric", "counterpart", "finding"),
)

Kind = Literal["new", "same", "grown", "changed"]


@dataclass(frozen=True, slots=True)
class SourceHead:
    """A source before its events. place: as stored; run_name: what its runs are called unless a page names them.

    experiment: None lets the page's title name it, or else default_experiment. content: of a page, kept whole.
    """

    place: str
    digest: Digest
    format: str
    parser_version: int
    encoding: str
    run_name: str
    experiment: str | None
    default_experiment: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database already knows of a source. line_count: lines that were taken in; format: by which reader.

    here: it was read at this very place, not only somewhere.
    """

    kind: Kind
    source_id: int | None = None
    line_count: int = 0
    format: str | None = None
    here: bool = False


@dataclass(slots=True)
class Written:
    """What became of a source. changes: lines for the person, one per difference.

    asides: how often each label was left out, being no result. run_ids: of the runs it tells of.
    """

    kind: Kind
    runs: int = 0
    points: int = 0
    unparsed: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    changes: list[str] = field(default_factory=list)
    reads: int = 0
    asides: Counter[str] = field(default_factory=Counter)
    run_ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class OpenMetric:
    """A metric while its run is written. seq: of its next point, below 0 where that is to be asked for."""

    id: int
    metric: Metric
    key: str
    summary: Summary
    decimals: int | None
    seq: int
    stored: bool
    # What a person said, if one did; (None,) is: no unit.
    unit_by_hand: tuple[Unit | None] | None = None
    # Its last value stood in an unterminated line, and was read again.
    reread: bool = False


class Writer:
    """Writes sources; one for each open database. Call `begin` first in every transaction."""

    def __init__(self, database: Database, now_ms: int) -> None:
        self.database = database
        self.now_ms = now_ms
        self._at: Connection = database.connection
        self._version: int | None = None
        self._names: dict[int, set[str]] = {}
        # The number behind the last free name, or counting would start again for each of a thousand namesakes.
        self._numbers: dict[tuple[int, str], int] = {}
        self._experiments: dict[str, int] = {}
        self._next_metric = self._next_source = 0
        # Sources that were looked for and not there, what of them was stored since, and as of which state.
        self._absent: set[tuple[str, Digest]] = set()
        self._stored: set[str] = set()
        self._looked: int | None = None
        self.likeness = Likeness(self._at)

    def begin(self) -> None:
        """Forget what other processes may have changed since the last transaction."""
        version = self.database.changed_elsewhere()
        if version != self._looked:
            self._absent.clear()
            self._looked = version
        if not self._absent:
            self._stored.clear()
        if version != self._version:
            self._names.clear()
            self._numbers.clear()
            self._experiments.clear()
            self.likeness.forget()
            self._version = version
        self._next_metric = self._at.execute(sql.NEXT_METRIC).fetchone()[0]
        self._next_source = self._at.execute(sql.NEXT_SOURCE).fetchone()[0]

    def forget(self) -> None:
        """After a transaction that was rolled back: what it was about to store does not exist."""
        self._version = None

    def standing(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        """Whether the source is new, known, has grown since, or was changed at its place."""
        with self.database.errors():
            if self._at.in_transaction:
                if (place, digest) in self._absent:
                    self._absent.discard((place, digest))
                    if not self._stored & {place, digest.sha256}:
                        return Standing("new")
            elif self._looked is None:
                self._looked = self.database.changed_elsewhere()
            found = self._standing(place, digest, prefix_sha256)
            if found.kind == "new" and not self._at.in_transaction:
                # To be asked again within the transaction, where it costs a word with a server.
                self._absent.add((place, digest))
            return found

    def has_runs(self, source_id: int) -> bool:
        """Whether any run was read from the source, or its runs have gone on with a copy that grew."""
        return bool(self._at.execute("SELECT 1 FROM run_source WHERE source_id = ? LIMIT 1", (source_id,)).fetchone())

    def _standing(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        known = self._at.execute(sql.SOURCE_BY_DIGEST, (digest.sha256, digest.tail_sha256)).fetchone()
        if known:
            source_id, _, _, line_count, name = known
            return Standing("same", source_id, line_count, name)
        at_place = self._at.execute(sql.SOURCE_BY_PLACE, (place,)).fetchone()
        if not at_place:
            return Standing("new")
        source_id, sha256, size_bytes, line_count, name = at_place
        if size_bytes <= digest.size_bytes and prefix_sha256(size_bytes) == sha256:
            return Standing("grown", source_id, line_count, name)
        return Standing("changed", source_id, 0, name)

    def standing_in_folder(self, place: str, digest: Digest, prefix_sha256: Callable[[int], str | None]) -> Standing:
        """As `standing`, but what was read at this place counts before equal bytes elsewhere: many runs of a folder
        hold the same settings."""
        row = self._at.execute(sql.SOURCE_BY_PLACE, (place,)).fetchone()
        if row is None:
            return self.standing(place, digest, prefix_sha256)
        source_id, sha256, size_bytes, line_count, name = row
        (tail,) = self._at.execute("SELECT tail_sha256 FROM source WHERE id = ?", (source_id,)).fetchone()
        if sha256 == digest.sha256 and tail == digest.tail_sha256:
            return Standing("same", source_id, line_count, name, here=True)
        if size_bytes <= digest.size_bytes and prefix_sha256(size_bytes) == sha256:
            return Standing("grown", source_id, line_count, name, here=True)
        return Standing("changed", source_id, 0, name, here=True)

    def source_at(self, place: str) -> int | None:
        """The source that was read at a place last."""
        row = self._at.execute(sql.SOURCE_BY_PLACE, (place,)).fetchone()
        return int(row[0]) if row else None

    def run_of(self, source_ids: Iterable[int]) -> int | None:
        """The run that was read from the sources; the oldest where there are several."""
        found = [
            run_id
            for source_id in source_ids
            for (run_id,) in self._at.execute("SELECT run_id FROM run_source WHERE source_id = ?", (source_id,))
        ]
        return min(found, default=None)

    def sources_of(self, run_id: int) -> frozenset[int]:
        """The sources a run was read from."""
        rows = self._at.execute("SELECT source_id FROM run_source WHERE run_id = ?", (run_id,))
        return frozenset(source_id for (source_id,) in rows)

    def settle(
        self,
        run_id: int,
        outlines: Sequence[Outline] | None = None,
        beside: Iterable[int] = (),
        experiment_id: int | None = None,
    ) -> str | None:
        """Where a new run says what another run of its experiment says, make its sources sources of that one.

        The name of that one; None where there is none. beside: runs of the same source, which are told apart;
        experiment_id: of the run, where it is known.
        """
        outlines = self.likeness.outlines(run_id) if outlines is None else outlines
        if experiment_id is None:
            (experiment_id,) = self._at.execute("SELECT experiment_id FROM run WHERE id = ?", (run_id,)).fetchone()
        assert experiment_id is not None
        twin = self.likeness.twin(experiment_id, run_id, outlines, beside)
        if twin is None:
            return None
        (name,) = self._at.execute("SELECT name FROM run WHERE id = ?", (run_id,)).fetchone()
        (last,) = self._at.execute("SELECT max(source_no) FROM run_source WHERE run_id = ?", (twin,)).fetchone()
        rows = self._at.execute(
            "SELECT source_id, line_first, line_last FROM run_source WHERE run_id = ? ORDER BY source_no", (run_id,)
        ).fetchall()
        for table, columns in (("param", "key, value, number"), ("tag", "key, value")):
            self._at.execute(
                f"INSERT INTO {table} (run_id, {columns}) SELECT CAST(? AS INTEGER), {columns} FROM {table}"
                " WHERE run_id = ? ON CONFLICT DO NOTHING",
                (twin, run_id),
            )
        delete_run(self._at, run_id)
        for number, (source_id, first, end) in enumerate(rows, (last or 0) + 1):
            self._at.execute(sql.PUT_RUN_SOURCE, (twin, number, source_id, first, end))
        self._names.get(experiment_id, set()).discard(name)
        (said,) = self._at.execute("SELECT name FROM run WHERE id = ?", (twin,)).fetchone()
        return str(said)

    def put_source(self, source_id: int, row: tuple[object, ...], place: str) -> None:
        """Store a source and where it lies. row: its columns behind id, as PUT_SOURCE has them."""
        self._at.execute(sql.PUT_SOURCE, (source_id, *row))
        self._stored.add(str(row[0]))
        self.remember_place(source_id, place)

    def remember_place(self, source_id: int, place: str) -> None:
        """The same bytes lie there too."""
        self._at.execute(sql.PUT_PLACE, (source_id, place))
        self._stored.add(place)

    def experiment_id(self, name: str) -> int:
        """The experiment's id; made where there is none."""
        if name not in self._experiments:
            found = self._at.execute(sql.EXPERIMENT_BY_NAME, (name,)).fetchone()
            if found:
                self._experiments[name] = found[0]
                self._at.execute(sql.TOUCH_EXPERIMENT, (self.now_ms, found[0]))
            else:
                made = self._at.execute(sql.INSERT_EXPERIMENT, (name, self.now_ms, self.now_ms)).fetchone()
                self._experiments[name] = int(made[0])
        return self._experiments[name]

    def free_name(self, experiment_id: int, name: str) -> str:
        """The name, with ` (2)`, ` (3)` behind it where the experiment has it already."""
        names = self._names.get(experiment_id)
        if names is None:
            names = {row[0] for row in self._at.execute(sql.RUN_NAMES, (experiment_id,))}
            self._names[experiment_id] = names
        n = self._numbers.get((experiment_id, name), 1)
        free = name if n == 1 else f"{name} ({n})"
        while free in names:
            n += 1
            free = f"{name} ({n})"
        self._numbers[experiment_id, name] = n
        names.add(free)
        return free

    def metric_id(self) -> int:
        """A number no metric has."""
        self._next_metric += 1
        return self._next_metric - 1

    def source_id(self) -> int:
        """A number no source has."""
        self._next_source += 1
        return self._next_source - 1

    def insert(self, ids: Sequence[int], seq: int, source_no: int | None, curves: Sequence[Curve], start: int) -> None:
        """Store points from index start on, of curves that share steps, lines, epochs and times; one id for each."""
        self.database.put_points(ids, seq, source_no, curves, start)

    def insert_metrics(self, run_id: int, open_metrics: Iterable[OpenMetric]) -> None:
        """Store the rows of metrics that are new, and the summaries of those that got points."""
        fresh, grown = [], []
        for one in open_metrics:
            summary, metric = one.summary, one.metric
            unit = metric.unit or metrics.unit_of(metric.name, summary.min_value, summary.max_value)
            if one.unit_by_hand:
                (unit,) = one.unit_by_hand
            numbers = summary.row()
            if one.stored:
                grown.append((unit, one.decimals, *numbers, one.id))
                continue
            said = (metric.name, metric.label, metric.kind, metric.rule, unit, one.decimals, metric.step_unit)
            fresh.append((one.id, run_id, one.key, *said, *numbers))
        self._at.executemany(sql.INSERT_METRIC, fresh)
        self._at.executemany(sql.UPDATE_METRIC, grown)

    def open_metrics(self, run_id: int) -> dict[str, OpenMetric]:
        """The metrics a run has, by key."""
        out = {}
        for row in self._at.execute(sql.METRICS_OF_RUN, (run_id,)):
            metric_id, key, name, label, kind, rule, unit, decimals, step_unit = row[:9]
            metric = Metric(label, name, kind, unit, step_unit, rule)
            out[key] = OpenMetric(metric_id, metric, key, Summary(*row[9:]), decimals, -1, stored=True)
        for what, key, new in self._at.execute(sql.CORRECTIONS, (run_id,)):
            if what == "unit" and key in out:
                out[key].unit_by_hand = (new,)
        return out


def delete_run(connection: Connection, run_id: int) -> int:
    """Take a run and all that hangs on it out of the database; the number of points deleted."""
    points = 0
    for (metric_id,) in connection.execute("SELECT id FROM metric WHERE run_id = ?", (run_id,)).fetchall():
        points += connection.execute(sql.DELETE_POINTS, (metric_id,)).rowcount
    for table in _OF_A_RUN:
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    connection.execute("UPDATE logged_model SET run_id = NULL WHERE run_id = ?", (run_id,))
    connection.execute("UPDATE run SET parent_id = NULL WHERE parent_id = ?", (run_id,))
    connection.execute("DELETE FROM run WHERE id = ?", (run_id,))
    return points


def derived_summary(connection: Connection, metric_id: int) -> Summary:
    """A metric's summary, from its points; memory does not grow with them."""
    summary = Summary()
    cursor = connection.execute(sql.POINTS_OF_METRIC, (metric_id,))
    while rows := cursor.fetchmany(_POINTS_AT_ONCE):
        steps, values, times = zip(*rows, strict=True)
        # SQLite stores NaN as NULL.
        numbers = [math.nan if v is None else v for v in values]
        summary.add(steps, numbers, times if any(time is not None for time in times) else None)
    return summary


def as_number(text: str) -> float | None:
    """The text as a number, None where it is none (or not finite, which no filter means)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") and "_" not in text else None
