"""Corrections by hand: all or none, each in the journal; runs removed, restored and purged."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import WriteLog
from drills import assert_same, assert_sound, curve, only_run, runs_of, state, take

from expdb.errors import NotFoundError, UsageError
from expdb.store import editing, reader
from expdb.store.reader import RunRecord
from expdb.store.sqlite import SqliteDatabase as Database

PAGE = """\
# Fusion

| config | accuracy | speed |
| --- | --- | --- |
| a=1 | 84.10 | 12 |
| b=2 | 0.8762 | 13 |
"""
Edit = Callable[..., list[str]]


@pytest.fixture
def page(database: Database, tmp_path: Path) -> Path:
    """A page whose two rows are runs."""
    path = tmp_path / "fusion.md"
    path.write_text(PAGE)
    take(database, path)
    return path


@pytest.fixture
def edit(database: Database, page: Path) -> Edit:
    """Correct the first row's run."""
    run_id = reader.runs(database)[0].id
    return lambda **changes: editing.edit(database, run_id, editing.Changes(**changes), now_ms=7)


def journal(database: Database) -> list[tuple[Any, ...]]:
    return database.rows("SELECT field, key, old, new FROM edit ORDER BY id")


def first(database: Database) -> RunRecord:
    return reader.runs(database)[0]


def test_each_correction_is_made_said_and_kept_in_the_journal(database: Database, edit: Edit) -> None:
    said = edit(
        name="best",
        note="was wrong",
        params={"config": "a=7", "lr": "1e-3"},
        tags={"by": "me"},
        units={"test/accuracy": "fraction"},
        values={"test/accuracy": "84.55"},
    )
    run = first(database)
    assert (run.name, run.note, run.params["config"], run.params["lr"], run.tags["by"]) == (
        *("best", "was wrong", "a=7", "1e-3", "me"),
    )
    (metric,) = run.metrics
    assert (metric.last_value, metric.decimals, metric.unit) == (84.55, 2, "fraction")
    assert journal(database) == [
        ("name", None, "Fusion row 1", "best"),
        ("note", None, None, "was wrong"),
        ("param", "config", "a=1", "a=7"),
        ("param", "lr", None, "1e-3"),
        ("tag", "by", None, "me"),
        ("metric", "test/accuracy", "84.10", "84.55"),
        ("unit", "test/accuracy", "percent", "fraction"),
    ]
    assert len(said) == 7
    assert "param config: a=1 → a=7" in said and "note: (none) → was wrong" in said
    assert database.rows("SELECT DISTINCT edited_ms, run_id FROM edit") == [(7, run.id)]
    assert database.rows("SELECT number FROM param WHERE key = 'lr'") == [(0.001,)]
    assert_sound(database)


def test_what_is_so_already_is_no_correction(database: Database, edit: Edit) -> None:
    assert edit(name="Fusion row 1", params={"config": "a=1"}, units={"test/accuracy": "percent"}) == []
    assert edit(values={"test/accuracy": "84.10"}, note="", tags={"none": ""}) == []
    assert journal(database) == []


def test_an_empty_value_takes_a_param_tag_note_or_unit_away(database: Database, edit: Edit) -> None:
    edit(tags={"by": "me"}, note="n")
    edit(params={"config": ""}, tags={"by": ""}, note="", units={"test/accuracy": ""})
    run = first(database)
    assert ("config" in run.params, "by" in run.tags, run.note, run.metrics[0].unit) == (False, False, None, None)
    assert journal(database)[-4:] == [
        ("note", None, "n", None),
        ("param", "config", "a=1", None),
        ("tag", "by", "me", None),
        ("unit", "test/accuracy", "percent", None),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": {"test/accuracy": "high"}},
        {"values": {"test/accuracy": ""}},
        {"values": {"test/accuracy": "0x10"}},
        {"values": {"test/accuracy": "1_000"}},
        {"units": {"test/accuracy": "parsec"}},
        {"units": {"nothing": "percent"}},
        {"name": "Fusion row 2"},
        {"name": "  "},
    ],
)
def test_of_corrections_all_are_made_or_none(database: Database, edit: Edit, wrong: dict[str, Any]) -> None:
    before = state(database)
    right = {"note": "n", "params": {"lr": "1"}, "tags": {"t": "1"}, "values": {"f1": "0.5"}, "name": "new"}
    both = {
        key: {**value, **wrong[key]} if key in wrong and isinstance(value, dict) else wrong.get(key, value)
        for key, value in {**right, **wrong}.items()
    }
    with pytest.raises((UsageError, NotFoundError)):
        edit(**both)
    assert_same(state(database), before)


def test_a_name_is_free_in_another_experiment(database: Database, edit: Edit, write_log: WriteLog) -> None:
    take(database, write_log(), experiment="other")
    edit(name="a")
    assert [run.name for run in reader.runs(database)].count("a") == 2
    removed = runs_of_experiment(database, "Fusion")[1]
    editing.remove(database, [removed.id], now_ms=1)
    with pytest.raises(UsageError, match="is called"):
        edit(name=removed.name)


def runs_of_experiment(database: Database, name: str) -> list[RunRecord]:
    return reader.runs(database, name)


def test_a_reported_value_keeps_its_printed_digits(database: Database, edit: Edit) -> None:
    for text, value, decimals in (("84.100", 84.1, 3), ("85", 85.0, 0), ("8.5e1", 85.0, None), (".5", 0.5, 1)):
        edit(values={"test/accuracy": text})
        (metric,) = first(database).metrics
        assert (metric.last_value, metric.min_value, metric.max_value, metric.first_value) == (value,) * 4
        assert (metric.decimals, metric.count) == (decimals, 1)
        assert curve(database, first(database), "test/accuracy") == [(None, value)]
        assert_sound(database)
    assert [row[2:] for row in journal(database)] == [
        ("84.10", "84.100"),
        ("84.100", "85"),
        ("85", "8.5e1"),
        ("85.0", ".5"),
    ]


def test_a_diverged_result_can_be_typed_in_and_taken_back(database: Database, edit: Edit) -> None:
    for text, nonfinite in (("nan", 1), ("-inf", 1), ("12.5", 0), ("1e999", 1)):
        edit(values={"test/accuracy": text})
        (metric,) = first(database).metrics
        assert (metric.count, metric.nonfinite) == (1, nonfinite)
        wanted = None if text == "nan" else float(text)
        assert (metric.last_value, metric.max_value) == (wanted, wanted)
        assert_sound(database)
    assert journal(database)[1][2:] == ("nan", "-inf")


def test_a_percent_sign_makes_a_fraction_a_percentage(database: Database, edit: Edit) -> None:
    second = reader.runs(database)[1]
    with database.transaction() as connection:
        connection.execute("UPDATE metric SET unit = 'fraction' WHERE run_id = ?", (second.id,))
    for text, unit in (("0.91", "fraction"), ("91", "percent"), ("92%", "percent"), (" 93.5 % ", "percent")):
        editing.edit(database, second.id, editing.Changes(values={"test/accuracy": text}), 7)
        (metric,) = reader.run(database, second.id).metrics
        assert metric.unit == unit
    assert (metric.last_value, metric.decimals) == (93.5, 1)
    assert ("unit", "test/accuracy", "fraction", "percent") in journal(database)


def test_a_value_can_be_added_and_corrected_with_its_unit(database: Database, edit: Edit) -> None:
    edit(values={"test f1": "0.913", "val accuracy": "91.3%", "my score": "7"}, units={"my score": "ms"})
    by_key = {m.key: m for m in first(database).metrics}
    added = by_key["test f1"]
    assert (added.name, added.kind, added.unit, added.last_value, added.decimals) == (
        *("test/f1", "reported", "fraction", 0.913, 3),
    )
    assert (by_key["val accuracy"].unit, by_key["val accuracy"].last_value) == ("percent", 91.3)
    assert by_key["my score"].unit == "ms"
    points = reader.points(database, added.id)
    assert [(p.seq, p.step, p.value, p.source_no, p.line) for p in points] == [(0, None, 0.913, None, None)]
    edit(values={"test/f1": "0.92"}, units={"test/f1": "percent"})
    corrected = reader.metric_of(database, first(database), "test f1")
    assert (corrected.last_value, corrected.unit, corrected.id) == (0.92, "percent", added.id)
    assert_sound(database)


def test_two_names_of_one_metric_are_one_metric(database: Database, edit: Edit) -> None:
    edit(values={"test f1": "0.5", "test/f1": "0.6"})
    assert [(m.key, m.last_value) for m in first(database).metrics if m.name == "test/f1"] == [("test f1", 0.6)]


def test_a_curve_is_not_corrected_by_hand(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    run = only_run(database)
    before = state(database)
    with pytest.raises(UsageError, match="is a curve of 3 points") as refused:
        editing.edit(database, run.id, editing.Changes(values={"test/accuracy": "0.9"}), 1)
    assert "--again" in (refused.value.hint or "")
    assert_same(state(database), before)
    editing.edit(database, run.id, editing.Changes(units={"test accuracy": "percent"}), 1)
    assert reader.metric_of(database, only_run(database), "test/accuracy").unit == "percent"


def test_a_unit_that_a_person_set_stays_when_the_log_grows(database: Database, write_log: WriteLog) -> None:
    path = write_log(epochs=3)
    take(database, path)
    units = {"test/accuracy": "percent", "train/loss": "ms"}
    editing.edit(database, only_run(database).id, editing.Changes(units=units), 1)
    take(database, write_log(epochs=5))
    run = only_run(database)
    for name, unit in units.items():
        assert (reader.metric_of(database, run, name).unit, reader.metric_of(database, run, name).count) == (unit, 5)


def test_the_journal_survives_removing_and_restoring(database: Database, edit: Edit) -> None:
    edit(note="n")
    run = first(database)
    editing.remove(database, [run.id], now_ms=9)
    assert editing.removed_runs(database) == [(run.id, run.uid, run.name)]
    assert [r.id for r in reader.runs(database)] == [run.id + 1]
    editing.restore(database, [run.id])
    assert editing.removed_runs(database) == []
    assert first(database) == run
    assert len(journal(database)) == 1


def test_purge_leaves_nothing_of_a_run_and_everything_of_the_others(
    database: Database, page: Path, edit: Edit, write_log: WriteLog
) -> None:
    before = state(database)
    log = write_log("logs/a.log", epochs=50)
    take(database, log, params={"lr": "0.1"}, tags={"t": "1"})
    run = runs_of(database)["a"]
    editing.edit(database, run.id, editing.Changes(note="n", values={"f1": "0.5"}), 1)
    with database.transaction() as connection:
        connection.execute("INSERT INTO artifact (run_id, path) VALUES (?, 'a.pt')", (run.id,))
        connection.execute("INSERT INTO provenance (run_id, host) VALUES (?, 'h')", (run.id,))
        connection.execute(
            "INSERT INTO dataset (id, uid, experiment_id, name, digest, source_type, source)"
            " VALUES (1, 'u', 0, 'CIFAR', 'd', 's', 's')"
        )
        connection.execute("INSERT INTO run_dataset (run_id, dataset_id) VALUES (?, 1)", (run.id,))
        connection.execute("UPDATE run SET parent_id = ? WHERE id <> ?", (run.id, run.id))
        connection.execute(
            "INSERT INTO logged_model (uid, experiment_id, run_id, name, status, artifact_uri, created_ms, updated_ms)"
            " VALUES ('m', 0, ?, 'm', 'READY', '', 0, 0)",
            (run.id,),
        )
        connection.execute(
            "INSERT INTO finding (run_id, rule, severity, evidence, created_ms) VALUES (?, 'r', 's', 'e', 0)",
            (run.id,),
        )
    assert editing.purge(database, [run.id]) == 50 * 4 + 1
    for table in ("artifact", "provenance", "run_dataset", "finding"):
        assert database.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert database.rows("SELECT run_id FROM logged_model") == [(None,)]
    after = state(database)
    after["experiments"] = before["experiments"]
    assert_same(after, before)
    assert_sound(database)


def test_purge_keeps_a_source_that_something_still_refers_to(database: Database, page: Path) -> None:
    first_run, second = reader.runs(database)
    editing.purge(database, [first_run.id])
    assert len(state(database)["sources"]) == 1, "the other row was read from it"
    (source,) = reader.sources(database, second.id)
    with database.transaction() as connection:
        connection.execute("INSERT INTO claim (text, source_id, created_ms) VALUES ('c', ?, 0)", (source.id,))
    editing.purge(database, [second.id])
    assert len(state(database)["sources"]) == 1, "a claim stands on it"
    with database.transaction() as connection:
        connection.execute("UPDATE claim SET source_id = NULL")
        connection.execute(
            "INSERT INTO finding (source_id, rule, severity, evidence, created_ms) VALUES (?, 'r', 's', 'e', 0)",
            (source.id,),
        )
    editing.purge(database, [])
    assert len(state(database)["sources"]) == 1, "a finding stands on it"
    assert_sound(database)


def test_a_hidden_nan_is_printed_as_one(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "nan.md"
    path.write_text("# N\n\n| config | accuracy |\n| --- | --- |\n| a | nan |\n| b | 0.5 |\n")
    take(database, path)
    run = reader.runs(database)[0]
    assert [(m.last_value, m.count, m.nonfinite) for m in run.metrics] == [(None, 1, 1)]
    said = editing.edit(database, run.id, editing.Changes(values={"test/accuracy": "0.25"}), 1)
    assert said == ["metric test/accuracy: nan → 0.25"]
    assert not any(math.isnan(v) for _, v in curve(database, reader.run(database, run.id), "test/accuracy") if v)
