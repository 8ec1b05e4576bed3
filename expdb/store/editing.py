"""Corrections by hand, each in the journal; removing, restoring and purging runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from expdb import metrics
from expdb.errors import UsageError
from expdb.parsers.digits import decimals_of
from expdb.records import REPORTED, UNITS, Curve, Metric, Summary
from expdb.store import reader
from expdb.store import statements as sql
from expdb.store.database import Connection, Database
from expdb.store.reader import MetricRecord
from expdb.store.writer import Writer, as_number, delete_run

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan|inf)")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a person corrects. An empty value takes a param or tag away; units and values go by metric name."""

    name: str | None = None
    experiment: str | None = None
    note: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


def edit(database: Database, run_id: int, changes: Changes, now_ms: int) -> list[str]:
    """Make the corrections, all or none; a line for each that changed something."""
    with database.transaction() as connection:
        return _Edit(database, connection, run_id, now_ms).make(changes)


class _Edit:
    def __init__(self, database: Database, connection: Connection, run_id: int, now_ms: int) -> None:
        self.database = database
        self.at = connection
        self.run_id = run_id
        self.now_ms = now_ms
        self.said: list[str] = []

    def make(self, changes: Changes) -> list[str]:
        record = reader.run(self.database, self.run_id)
        if changes.experiment is not None:
            self._experiment(record, changes.experiment)
        if changes.name is not None:
            self._name(record, changes.name)
        if changes.note is not None:
            self._set("note", None, record.note, changes.note or None)
            self.at.execute("UPDATE run SET note = ? WHERE id = ?", (changes.note or None, self.run_id))
        for key, value in changes.params.items():
            self._word("param", key, record.params.get(key), value)
        for key, value in changes.tags.items():
            self._word("tag", key, record.tags.get(key), value)
        # Read anew for each: a value may be the second of its name, a unit that of a value just added.
        for name, value in changes.values.items():
            self._value(reader.run(self.database, self.run_id), name, value)
        for name, unit in changes.units.items():
            self._unit(reader.metric_of(self.database, reader.run(self.database, self.run_id), name), unit)
        return self.said

    def _set(self, what: str, key: str | None, old: str | None, new: str | None) -> None:
        if old == new:
            return
        self.at.execute(
            "INSERT INTO edit (run_id, edited_ms, field, key, old, new) VALUES (?, ?, ?, ?, ?, ?)",
            (self.run_id, self.now_ms, what, key, old, new),
        )
        named = f"{what} {key}" if key else what
        self.said.append(f"{named}: {old if old is not None else '(none)'} → {new if new is not None else '(none)'}")

    def _experiment(self, record: reader.RunRecord, name: str) -> None:
        """Move the run; its name must be free there."""
        if not name.strip():
            raise UsageError("an experiment needs a name")
        if name == record.experiment:
            return
        experiment_id = Writer(self.database, self.now_ms).experiment_id(name)
        if self.at.execute(
            "SELECT 1 FROM run WHERE name = ? AND experiment_id = ?", (record.name, experiment_id)
        ).fetchone():
            raise UsageError(f"{name} has a run called {record.name!r} already", hint="give it another: --name")
        self._set("experiment", None, record.experiment, name)
        self.at.execute("UPDATE run SET experiment_id = ? WHERE id = ?", (experiment_id, self.run_id))

    def _name(self, record: reader.RunRecord, name: str) -> None:
        if not name.strip():
            raise UsageError("a run needs a name")
        other = self.at.execute(
            "SELECT uid FROM run WHERE name = ? AND id <> ?"
            " AND experiment_id = (SELECT experiment_id FROM run WHERE id = ?)",
            (name, self.run_id, self.run_id),
        ).fetchone()
        if other:
            raise UsageError(f"run {other[0][:8]} of {record.experiment} is called {name!r} already")
        self._set("name", None, record.name, name)
        self.at.execute("UPDATE run SET name = ? WHERE id = ?", (name, self.run_id))

    def _word(self, table: str, key: str, old: str | None, new: str) -> None:
        self._set(table, key, old, new or None)
        if not new:
            self.at.execute(f"DELETE FROM {table} WHERE run_id = ? AND key = ?", (self.run_id, key))
        elif table == "param":
            self.at.execute(sql.PUT_PARAM, (self.run_id, key, new, as_number(new)))
        else:
            self.at.execute(sql.PUT_TAG, (self.run_id, key, new))

    def _unit(self, metric: MetricRecord, unit: str) -> None:
        if unit and unit not in UNITS:
            raise UsageError(f"no unit is called {unit!r}", hint=f"units: {', '.join(UNITS)}, or nothing")
        self._set("unit", metric.key, metric.unit, unit or None)
        self.at.execute("UPDATE metric SET unit = ? WHERE id = ?", (unit or None, metric.id))

    def _value(self, record: reader.RunRecord, name: str, text: str) -> None:
        """Correct a reported value, or add one."""
        number = text.strip().removesuffix("%").strip()
        if not _NUMBER.fullmatch(number):
            raise UsageError(f"{name}: {text!r} is no number", hint="--metric test/accuracy=84.10")
        found = record.metric(name)
        if found and found.kind != REPORTED:
            raise UsageError(
                f"{name} is a curve of {found.count} points, read from a log",
                hint="correct the log and ingest it again with --again; only reported values are set by hand",
            )
        decimals, percent = decimals_of((number,)), text.strip().endswith("%")
        if found is None:
            metric = Metric(name, metrics.canonical(name, REPORTED), REPORTED, "percent" if percent else None, "none")
            self._add(metric, name, float(number), decimals)
            self._set("metric", name, None, number)
            return
        self._replace(found, float(number), decimals)
        self._set("metric", found.key, _printed(found), number)
        # 84.1 in the place of 0.841 is no fraction any more.
        if percent or (found.unit == "fraction" and float(number) > 1):
            self._unit(found, "percent")

    def _add(self, metric: Metric, key: str, value: float, decimals: int | None) -> None:
        summary = Summary()
        summary.add((None,), (value,))
        unit = metric.unit or metrics.unit_of(metric.name, value, value)
        metric_id = self.at.execute(sql.NEXT_METRIC).fetchone()[0]
        said = (metric.name, metric.label, metric.kind, None, unit, decimals, metric.step_unit)
        self.at.execute(sql.INSERT_METRIC, (metric_id, self.run_id, key, *said, *summary.row()))
        # No source: it was typed in.
        curve = Curve(metric, (None,), (value,), (None,), decimals)
        Writer(self.database, self.now_ms).insert([metric_id], 0, None, [curve], 0)

    def _replace(self, metric: MetricRecord, value: float, decimals: int | None) -> None:
        summary = Summary()
        summary.add((None,), (value,))
        self.at.execute("UPDATE point SET value = ? WHERE metric_id = ?", (value, metric.id))
        self.at.execute(sql.UPDATE_METRIC, (metric.unit, decimals, *summary.row(), metric.id))


def remove(database: Database, run_ids: list[int], now_ms: int) -> None:
    """Hide runs; restore brings them back."""
    with database.transaction() as connection:
        connection.executemany("UPDATE run SET deleted_ms = ? WHERE id = ?", [(now_ms, one) for one in run_ids])


def restore(database: Database, run_ids: list[int]) -> None:
    """Bring removed runs back."""
    with database.transaction() as connection:
        connection.executemany("UPDATE run SET deleted_ms = NULL WHERE id = ?", [(one,) for one in run_ids])


def purge(database: Database, run_ids: list[int]) -> int:
    """Delete runs for good, and sources that no run was read from any more; the number of points deleted."""
    points = 0
    with database.transaction() as connection:
        touched: set[int] = set()
        for run_id in run_ids:
            rows = connection.execute("SELECT source_id FROM run_source WHERE run_id = ?", (run_id,))
            touched.update(source_id for (source_id,) in rows)
            connection.execute(
                "INSERT INTO purged_run (source_id, line_first)"
                " SELECT source_id, line_first FROM run_source WHERE run_id = ? ON CONFLICT DO NOTHING",
                (run_id,),
            )
            points += delete_run(connection, run_id)
        used = " UNION ".join(
            f"SELECT source_id FROM {table} WHERE source_id IS NOT NULL" for table in ("run_source", "claim", "finding")
        )
        for source_id in touched:
            # A source whose runs went on with a grown copy has none, and is still known.
            for table, key in (("source_place", "source_id"), ("purged_run", "source_id"), ("source", "id")):
                connection.execute(f"DELETE FROM {table} WHERE {key} = ? AND {key} NOT IN ({used})", (source_id,))
    return points


def removed_runs(database: Database) -> list[tuple[int, str, str]]:
    """(id, uid, name) of the runs that rm has hidden."""
    return [
        (row[0], row[1], row[2])
        for row in database.rows("SELECT id, uid, name FROM run WHERE deleted_ms IS NOT NULL ORDER BY id")
    ]


def _printed(metric: MetricRecord) -> str | None:
    value = metric.last_value
    if value is None:
        return "nan" if metric.count else None
    return repr(value) if metric.decimals is None else f"{value:.{metric.decimals}f}"
