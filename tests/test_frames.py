"""The DataFrames: the same runs as `ls`, the same numbers as `compare`, the same points as `blame`."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import WriteLog

import expdb
from expdb import ingest
from expdb.errors import DatabaseError, ExpressionError, NotFoundError
from expdb.store import reader
from expdb.store.sqlite import SqliteDatabase as Database

Take = Callable[..., None]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXPDB_DB", raising=False)


@pytest.fixture
def take(database: Database) -> Take:
    """Ingest paths; words are params."""

    def ingested(*paths: Path, experiment: str = "e", tags: dict[str, str] | None = None, **params: str) -> None:
        items, missing = ingest.collect([str(path) for path in paths], database.path)
        request = ingest.Request(experiment=experiment, params=params, tags=tags or {})
        assert not [*missing, *ingest.ingest(database, items, request).refused]

    return ingested


@pytest.fixture
def two(take: Take, write_log: WriteLog) -> None:
    take(write_log("logs/a.log", epochs=3), lr="0.1", optimizer="sgd", depth="18", seed="1", tags={"why": "first"})
    take(write_log("logs/b.log", epochs=5, salt=3), lr="1e-3", optimizer="7", depth="50")


@pytest.mark.usefixtures("two")
def test_a_run_is_a_row_with_its_words_and_numbers() -> None:
    with expdb.open() as results:
        frame = results.runs()
    a, b = frame.to_dict("records")
    assert (a["experiment"], a["name"], a["status"], a["origin"]) == ("e", "a", "finished", "log")
    assert (a["params.lr"], b["params.lr"]) == (0.1, 0.001)
    assert frame["params.lr"].dtype == "float64"
    assert frame["params.depth"].tolist() == [18, 50]
    assert frame["params.depth"].dtype == "int64"
    # One of the runs has a word there: all are words.
    assert frame["params.optimizer"].tolist() == ["sgd", "7"]
    assert frame["seed"].dtype == "Int64"
    assert frame["seed"].tolist() == [1, pd.NA]
    assert a["tags.why"] == "first"
    assert pd.isna(b["tags.why"])
    assert str(frame["started"].dtype) == "datetime64[ms, UTC]"


@pytest.mark.usefixtures("two")
def test_metrics_are_the_last_values_and_best_those_that_compare_calls_best(database: Database) -> None:
    with expdb.open() as results:
        frame = results.runs()
    for row, record in zip(frame.to_dict("records"), reader.runs(database), strict=True):
        test, loss = record.metric("test/accuracy"), record.metric("train/loss")
        assert test is not None
        assert loss is not None
        assert (row["metrics.test/accuracy"], row["best.test/accuracy"]) == (test.last_value, test.max_value)
        assert (row["metrics.train/loss"], row["best.train/loss"]) == (loss.last_value, loss.min_value)
    # How long an epoch took is no result.
    assert "metrics.epoch_time" in frame
    assert "best.epoch_time" not in frame


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("where", ["lr = 0.1", "best(train/loss) < 0.5", "tags.why ~ 'fir'", "epochs = '0–4'"])
def test_where_chooses_the_runs_that_it_chooses_for_the_commands(where: str, database: Database) -> None:
    from expdb import listing
    from expdb.expressions import parse_condition

    listed = [str(row[1].value) for row in listing.runs(database, None, parse_condition(where)).rows]
    with expdb.open() as results:
        assert results.runs(where=where)["name"].tolist() == listed
        assert results.points(where=where)["run"].unique().tolist() == listed
    assert len(listed) == 1


def test_a_column_is_in_one_unit_and_the_frame_says_which(take: Take, tmp_path: Path) -> None:
    for name, scale in (("a", 1), ("b", 100)):
        (tmp_path / f"{name}.csv").write_text(
            "epoch,test accuracy\n" + "".join(f"{n},{scale * (0.5 + n / 10)}\n" for n in range(3)), encoding="utf-8"
        )
    take(tmp_path / "a.csv", tmp_path / "b.csv")
    with expdb.open() as results:
        frame, points = results.runs(), results.points()
    assert frame["metrics.test/accuracy"].tolist() == [70.0, 70.0]
    assert frame.attrs["units"]["metrics.test/accuracy"] == "percent"
    # Points are as printed, with their unit beside them.
    assert points.groupby("unit")["value"].max().to_dict() == {"fraction": 0.7, "percent": 70.0}


def test_a_value_that_diverged_is_nan(take: Take, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("epoch,train loss\n0,0.5\n1,inf\n2,nan\n", encoding="utf-8")
    take(path)
    with expdb.open() as results:
        (row,) = results.runs().to_dict("records")
        values = results.points()["value"].tolist()
    assert math.isnan(row["metrics.train/loss"])
    assert row["best.train/loss"] == 0.5
    assert values[:2] == [0.5, math.inf]
    assert math.isnan(values[2])


@pytest.mark.usefixtures("two")
def test_a_point_is_a_row_that_says_where_it_was_read(database: Database) -> None:
    with expdb.open() as results:
        points = results.points()
    frame = points[(points["run"] == "b") & (points["metric"] == "test/accuracy")]
    assert list(frame.columns) == [
        *("uid", "run", "experiment", "metric", "label", "unit"),
        *("step", "epoch", "value", "time", "source", "line"),
    ]
    assert frame["step"].tolist() == frame["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert frame["line"].tolist() == [1, 2, 3, 4, 5]
    assert frame["source"].unique().tolist() == ["logs/b.log"]
    assert frame["label"].unique().tolist() == ["test accuracy"]
    assert frame["unit"].unique().tolist() == ["fraction"]
    assert frame["time"].isna().all()
    assert len(points) == database.rows("SELECT count(*) FROM point")[0][0] == 32


@pytest.mark.usefixtures("two")
def test_points_are_those_of_the_view(database: Database) -> None:
    wanted = database.rows("SELECT uid, metric, step, epoch, value, line FROM curve ORDER BY uid, metric, seq")
    with expdb.open() as results:
        found = results.points().sort_values(["uid", "metric"], kind="stable")
    columns = found[["uid", "metric", "step", "epoch", "value", "line"]].itertuples(index=False, name=None)
    assert list(columns) == wanted


def test_steps_epochs_and_times_are_exact(take: Take, tmp_path: Path, database: Database) -> None:
    big = (1 << 60) + 1
    path = tmp_path / "a.jsonl"
    lines = [{"step": n, "epoch": n / 10, "train_loss": 1 / (n + 1)} for n in range(5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    take(path)
    with database.transaction() as connection:
        connection.execute("UPDATE point SET step = ?, time_ms = ? WHERE seq = 4", (big, 1_700_000_000_123))
        connection.execute("UPDATE point SET source_no = NULL, line = NULL, step = NULL WHERE seq = 3")
    with expdb.open() as results:
        frame = results.points(metric="train/loss")
    assert frame["step"].tolist() == [0, 1, 2, pd.NA, big]
    assert frame["time"].iloc[4] == pd.Timestamp("2023-11-14T22:13:20.123Z")
    assert pd.isna(frame["source"].iloc[3])
    assert frame["line"].tolist() == [1, 2, 3, pd.NA, 5]


def test_points_come_run_by_run_even_of_runs_that_grew(take: Take, tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"epoch": 0, "train_loss": {value}}}\n', encoding="utf-8")
    take(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    with (tmp_path / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"epoch": 1, "train_loss": 0.5, "test_acc": 0.7}\n')
    take(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    with expdb.open() as results:
        frame = results.points()
    assert list(zip(frame["run"], frame["metric"], frame["step"], strict=True)) == [
        ("a", "train/loss", 0),
        ("a", "train/loss", 1),
        ("a", "test/accuracy", 1),
        ("b", "train/loss", 0),
    ]


@pytest.mark.usefixtures("two")
def test_a_metric_is_named_by_name_or_label() -> None:
    with expdb.open() as results:
        by_name, by_label = results.points(metric="test/accuracy"), results.points(metric="test accuracy")
        pd.testing.assert_frame_equal(by_name, by_label)
        assert len(by_name) == 8
        with pytest.raises(NotFoundError, match="has a metric called 'test/acuracy'") as caught:
            results.points(metric="test/acuracy")
        assert "test/accuracy" in str(caught.value.hint)


@pytest.mark.usefixtures("two")
def test_what_is_asked_for_wrongly_is_said(tmp_path: Path) -> None:
    with expdb.open() as results:
        with pytest.raises(ExpressionError):
            results.runs(where="lr = = 3")
        with pytest.raises(NotFoundError, match="no experiment"):
            results.runs(experiment="f")
        with pytest.raises(NotFoundError, match="called 'nothing'"):
            results.points(where="nothing = 3")
    with pytest.raises(DatabaseError, match="was closed"):
        results.runs()
    results.close()
    with pytest.raises(NotFoundError, match="no database"):
        expdb.open(tmp_path / "nowhere.db")


@pytest.mark.usefixtures("database")
def test_an_empty_database_gives_empty_frames_with_columns() -> None:
    with expdb.open() as results:
        runs, points = results.runs(), results.points()
    assert (len(runs), len(points)) == (0, 0)
    assert {"uid", "experiment", "name", "status", "origin", "seed", "started", "ended"} <= set(runs.columns)
    assert str(points["step"].dtype) == "Int64"
    assert str(points["time"].dtype) == "datetime64[ms, UTC]"


@pytest.mark.usefixtures("two")
def test_a_removed_run_is_in_no_frame(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE run SET deleted_ms = 1 WHERE name = 'a'")
    with expdb.open() as results:
        assert results.runs()["name"].tolist() == ["b"]
        assert results.points()["run"].unique().tolist() == ["b"]


def test_a_batch_ends_anywhere(take: Take, write_log: WriteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    take(write_log("logs/a.log", epochs=10))
    with expdb.open() as results:
        whole = results.points()
        monkeypatch.setattr("expdb.store.columns.BATCH", 7)
        pd.testing.assert_frame_equal(results.points(), whole)


def test_frames_only_read(take: Take, write_log: WriteLog, database: Database) -> None:
    take(write_log())
    with expdb.open() as results, pytest.raises(DatabaseError):
        results._opened().rows("DELETE FROM run")
    assert len(database.rows("SELECT 1 FROM run")) == 1


@pytest.mark.usefixtures("database")
def test_without_pandas_it_is_said_what_to_install() -> None:
    program = "import sys; sys.modules['pandas'] = None; import expdb; expdb.open()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8")
    assert done.stderr.splitlines()[-1].endswith("MissingExtraError: this needs pandas, which is not installed")


def test_the_tags_that_expdb_keeps_for_itself_are_no_columns(take: Take, write_log: WriteLog) -> None:
    take(write_log("logs/a.log"), tags={"expdb.plan": "1", "expdb.sweep": "2", "by": "me"})
    with expdb.open() as results:
        assert [name for name in results.runs().columns if name.startswith("tags.")] == ["tags.by"]
