"""Folders that are one run: which files belong together, what becomes of them, and runs told of twice."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import events
import pytest
from conftest import WriteLog
from drills import assert_same, assert_sound, curve, expdb, only_run, runs_of, state, take
from hypothesis import given
from hypothesis import strategies as st

from expdb import ingest as verb
from expdb import parsers, plugins
from expdb.ingest import Outcome, Request
from expdb.parsers import folders
from expdb.parsers.configs.files import settings_of
from expdb.parsers.reading import Reading, Sample
from expdb.records import ASIDE, Curve, Event, LineKind, Metric, Points, RunStart, Unparsed
from expdb.store import reader
from expdb.store.sqlite import SqliteDatabase as Database


class Table:
    """A reader of tables by tabs or commas, as far as these tests need one: a column called step, and others."""

    NAME = "a table"
    VERSION = 1
    SUMMARY = "for the tests"

    def recognise(self, sample: Sample) -> float:
        return float("step" in sample.text.partition("\n")[0].replace(",", "\t").split("\t"))

    def parse(self, reading: Reading, options: parsers.Options) -> Iterator[Event]:
        rows = [line.split("\t") for line in reading.text.replace(",", "\t").splitlines()]
        at = rows[0].index("step")
        yield RunStart(0, 1)
        for column, label in enumerate(rows[0]):
            if column == at:
                continue
            cells = [(int(row[at]), float(row[column]), n) for n, row in enumerate(rows[1:], 2) if row[column]]
            steps, values, lines = zip(*cells, strict=True)
            yield Points(0, (Curve(Metric(label, _name(label), step_unit="step"), steps, values, lines),), lines[-1])


class Numbers:
    """A reader of one number a line under a title; and one of JSON that is a curve for each key."""

    NAME = "numbers"
    VERSION = 1
    SUMMARY = "for the tests"

    def recognise(self, sample: Sample) -> float:
        return float("\t\n " in sample.text or '"values"' in sample.text)

    def parse(self, reading: Reading, options: parsers.Options) -> Iterator[Event]:
        yield RunStart(0, 1)
        if reading.text.startswith("{"):
            for label, said in json.loads(reading.text).items():
                lines = [1] * len(said["values"])
                yield Points(0, (Curve(Metric(label, _name(label)), said["steps"], said["values"], lines),), 1)
            return
        title, *rows = reading.text.splitlines()
        values = [float(row) for row in rows]
        lines = list(range(2, 2 + len(rows)))
        yield Points(0, (Curve(Metric(title.strip(), _name(title)), lines, values, lines),), lines[-1])


def _name(label: str) -> str:
    from expdb import metrics

    return metrics.canonical(label.strip())


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, parsers.Parser]:
    """The readers of this house, and those of a third party for tables and numbers."""
    third: dict[str, parsers.Parser] = {one.NAME: one for one in (Table(), Numbers())}
    both = {**third, **parsers.built_in()}
    monkeypatch.setattr(plugins, "all_parsers", lambda: both)
    return both


def found(root: Path) -> dict[str, list[str]]:
    """The bundles below a folder: the run's folder to its files, both relative."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        bundle.folder.relative_to(root).as_posix(): [
            member.path.relative_to(root).as_posix() for member in bundle.members
        ]
        for bundle in folders.bundles(files)
    }


def labels(database: Database, run: str) -> dict[str, str]:
    return {metric.name: metric.label for metric in runs_of(database)[run].metrics}


def counts(outcome: Outcome) -> tuple[int, int]:
    """(new runs, points)."""
    return sum(done.written.runs for done in outcome.done), sum(done.written.points for done in outcome.done)


# TensorBoard's layouts ------------------------------------------------------------------------------------------------


def test_the_old_add_scalars_layout_is_one_run(database: Database, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run = tmp_path / "runs" / name
        events.write(run / "events.1", time=events.START + ord(name))
        for tag in ("train_loss", "test_acc"):
            events.write(run / tag / tag / "events.2", events.series(tag, start=ord(name)))
    outcome = take(database, tmp_path / "runs")
    assert counts(outcome) == (2, 20)
    assert [done.files for done in outcome.done] == [3, 3]
    assert labels(database, "a") == {"train/loss": "train_loss", "test/accuracy": "test_acc"}
    assert len(reader.sources(database, runs_of(database)["a"].id)) == 3
    assert_sound(database)


def test_the_new_add_scalars_layout_is_one_run_and_its_keys_are_kept(database: Database, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    events.write(run / "events.1", events.series("lr"))
    for key in ("train", "val"):
        events.write(run / f"Loss_all_{key}" / "events.2", events.series("Loss/all", start=len(key)))
    take(database, tmp_path / "runs")
    assert labels(database, "a") == {
        "lr": "lr",
        "train/loss_all": "Loss/all/train",
        "val/loss_all": "Loss/all/val",
    }


def test_sub_folders_called_train_and_validation_are_splits_of_one_run(database: Database, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        events.write(tmp_path / "logs" / "x1" / split / "events", events.series("epoch_accuracy", start=len(split)))
    take(database, tmp_path / "logs")
    assert set(runs_of(database)) == {"x1"}
    assert labels(database, "x1") == {
        "train/accuracy": "train/epoch_accuracy",
        "val/accuracy": "val/epoch_accuracy",
    }


def test_runs_side_by_side_stay_apart(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    # A stray event file above them, a run called test, and runs called after their only tag.
    events.write(root / "deep" / "events", events.series("loss"))
    for name in ("exp1", "test", "loss_1"):
        events.write(root / name / "events", events.series("loss"))
    for name in ("one", "two"):
        events.write(root / "deep" / name / "events", [*events.series("loss"), *events.series("acc")])
    assert set(found(root)) == {"deep", "exp1", "test", "loss_1", "deep/one", "deep/two"}


def test_restarted_trainings_and_hparams_belong_to_their_folder(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    events.write(run / "events.1", events.series("loss"))
    events.write(run / "events.2", events.series("loss", first=6))
    events.write(run / "1639385456.7" / "events.3", events.series("hparam/accuracy", 1))
    assert found(tmp_path) == {"runs/a": ["runs/a/events.1", "runs/a/events.2", "runs/a/1639385456.7/events.3"]}


def test_a_folder_of_lightning_is_one_run_told_twice(
    database: Database, tmp_path: Path, readers: Mapping[str, parsers.Parser]
) -> None:
    run = tmp_path / "lightning_logs" / "version_0"
    points = events.series("train_loss", 4)
    events.write(run / "events.out", points)
    rows = "".join(f"{step},{value:.9g},{step / 8}\n" for _, step, value in points)
    (run / "metrics.csv").write_text(f"step,train_loss,val_acc\n{rows}", encoding="utf-8")
    (run / "hparams.yaml").write_text("lr: 0.1\nmodel:\n  name: 'net'\n", encoding="utf-8")
    assert counts(take(database, tmp_path / "lightning_logs")) == (1, 8)
    one = only_run(database)
    assert one.params == {"lr": "0.1", "model.name": "net"}
    assert len(curve(database, one, "train/loss")) == 4
    assert len(curve(database, one, "val/accuracy")) == 4
    # Both grow; what one of them tells the other does not tell again.
    with (run / "events.out").open("ab") as file:
        file.write(events.scalar("train_loss", 9, 0.125))
    with (run / "metrics.csv").open("a", encoding="utf-8") as text:
        text.write("9,0.125,0.75\n")
    assert counts(take(database, tmp_path / "lightning_logs")) == (0, 2)
    assert curve(database, only_run(database), "train/loss")[-1] == (9, 0.125)
    assert_sound(database)


def test_a_table_that_contradicts_the_event_file_is_a_metric_of_its_own(
    database: Database, tmp_path: Path, readers: Mapping[str, parsers.Parser]
) -> None:
    run = tmp_path / "version_0"
    events.write(run / "events.out", events.series("loss", 3))
    (run / "metrics.csv").write_text("step,loss\n1,7\n2,8\n3,9\n", encoding="utf-8")
    take(database, run)
    assert {metric.label for metric in only_run(database).metrics} == {"loss", "loss (metrics.csv)"}


def test_a_folder_without_any_value_is_counted_and_not_stored(tmp_path: Path) -> None:
    for name in "abc":
        events.write(tmp_path / "runs" / name / "events")
    events.write(tmp_path / "runs" / "d" / "events", events.series("loss"))
    database = tmp_path / "e.db"
    done = expdb("ingest", "runs", "--db", database, cwd=tmp_path)
    assert done.stdout == (
        "tensorboard: 4 files, 1 new run, 5 points, 0 lines not understood; 3 folders without any value\n"
    )
    again = expdb("ingest", "runs", "--db", database, cwd=tmp_path)
    assert "known already: 1 file, 0 new runs\n" in again.stdout


# Other layouts --------------------------------------------------------------------------------------------------------


def test_a_folder_of_dvclive_is_one_run(
    database: Database, tmp_path: Path, readers: Mapping[str, parsers.Parser]
) -> None:
    run = tmp_path / "project" / "dvclive"
    for at, name in enumerate(("train/acc", "val/acc", "loss")):
        path = run / "plots" / "metrics" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"step\t{path.stem}\n0\t0.{at}5\n1\t0.{at}7\n", encoding="utf-8")
    (run / "metrics.json").write_text('{"final": {"values": [0.9], "steps": [1]}}', encoding="utf-8")
    (run / "params.yaml").write_text("lr: 0.01\n", encoding="utf-8")
    take(database, tmp_path / "project")
    assert labels(database, "project") == {
        "train/accuracy": "train/acc",
        "val/accuracy": "val/acc",
        "train/loss": "loss",
        "final": "final",
    }
    assert runs_of(database)["project"].params == {"lr": "0.01"}
    # It writes its file of last values anew with every step.
    (run / "metrics.json").write_text('{"final": {"values": [0.95], "steps": [2]}}', encoding="utf-8")
    outcome = take(database, tmp_path / "project")
    assert counts(outcome) == (0, 1)
    assert curve(database, runs_of(database)["project"], "final") == [(2, 0.95)]
    assert_sound(database)


@pytest.mark.parametrize("has_metrics", [True, False])
def test_a_folder_of_sacred_is_one_run(
    database: Database, tmp_path: Path, readers: Mapping[str, parsers.Parser], has_metrics: bool
) -> None:
    run = tmp_path / "runs" / "1"
    run.mkdir(parents=True)
    said = {"experiment": {"name": "mnist"}, "command": "main", "start_time": "2020-01-01", "status": "COMPLETED"}
    (run / "run.json").write_text(json.dumps(said), encoding="utf-8")
    (run / "config.json").write_text('{"seed": 3, "net": {"depth": 18}}', encoding="utf-8")
    metrics = {"test.loss": {"steps": [1, 2], "values": [0.5, 0.25]}} if has_metrics else {}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (run / "cout.txt").write_text("epoch 1, loss 1.5\nepoch 2, loss 1.25\n", encoding="utf-8")
    take(database, tmp_path / "runs")
    one = only_run(database)
    assert one.name == "1"
    assert one.params == {"seed": "3", "net.depth": "18"}
    assert one.tags["sacred.experiment.name"] == "mnist"
    assert [metric.name for metric in one.metrics] == (["test/loss"] if has_metrics else ["train/loss"])
    # Also the file that nobody can read is known from now on.
    assert [done.written.kind for done in take(database, tmp_path / "runs").done] == ["same"]


def test_train_and_test_logs_of_torch7_are_one_run(
    database: Database, tmp_path: Path, readers: Mapping[str, parsers.Parser]
) -> None:
    for name, split in (("lr0.1", "test"), ("lr0.01", "train")):
        for log in ("train", "test"):
            path = tmp_path / "logs" / name / f"{log}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"% acc\t\n 8.{len(log)}e+01\t\n 9.{len(split)}e+01\t\n", encoding="utf-8")
    take(database, tmp_path / "logs")
    assert set(runs_of(database)) == {"lr0.1", "lr0.01"}
    assert labels(database, "lr0.1") == {"train/accuracy": "train/% acc", "test/accuracy": "test/% acc"}


def test_logs_called_train_and_test_of_another_make_are_two_files(tmp_path: Path) -> None:
    for log in ("train", "test"):
        (tmp_path / f"{log}.log").write_text("epoch 1, loss 0.5\n", encoding="utf-8")
    assert found(tmp_path) == {}


# Growth ---------------------------------------------------------------------------------------------------------------


def test_a_new_event_file_beside_adds_its_points_to_the_run(database: Database, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    events.write(run / "events.1", events.series("loss", 3))
    take(database, tmp_path / "runs")
    uid = only_run(database).uid
    events.write(run / "events.2", events.series("loss", 3, first=3))
    # Step 3 is in both files, with the same value.
    assert counts(take(database, tmp_path / "runs")) == (0, 2)
    assert only_run(database).uid == uid
    assert [step for step, _ in curve(database, only_run(database), "train/loss")] == [1, 2, 3, 4, 5]
    before = state(database)
    assert counts(take(database, tmp_path / "runs")) == (0, 0)
    assert_same(state(database), before)
    assert_sound(database)


def test_again_reads_every_file_of_the_folder_anew(database: Database, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    for n in (1, 2):
        events.write(run / f"events.{n}", events.series(f"loss{n}", 3))
    take(database, tmp_path / "runs")
    before = state(database)
    assert [done.written.changes for done in take(database, tmp_path / "runs", again=True).done] == [[]]
    assert_same(state(database), before)
    events.write(run / "events.2", [("loss2", 1, 4.0)])
    (done,) = take(database, tmp_path / "runs", again=True).done
    assert done.written.changes == ["a: loss2 3 → 1 points, 1 of the first 1 differ"]
    assert_sound(database)


def test_a_copied_folder_is_known_and_its_places_are_kept(database: Database, tmp_path: Path) -> None:
    for name in ("runs", "copy"):
        for tag in ("loss", "acc"):
            events.write(tmp_path / name / "a" / f"events.{tag}", events.series(tag))
    take(database, tmp_path / "runs")
    assert counts(take(database, tmp_path / "copy")) == (0, 0)
    assert [len(source.places) for source in reader.sources(database, only_run(database).id)] == [2, 2]
    assert counts(take(database, tmp_path / "copy", copy=True)) == (1, 10)


def test_equal_settings_do_not_join_runs(database: Database, tmp_path: Path) -> None:
    for name in ("a", "b"):
        events.write(tmp_path / "runs" / name / "events", events.series("loss", start=ord(name)))
        (tmp_path / "runs" / name / "hparams.yaml").write_text("lr: 0.1\n", encoding="utf-8")
    take(database, tmp_path / "runs")
    assert {name: run.params for name, run in runs_of(database).items()} == {"a": {"lr": "0.1"}, "b": {"lr": "0.1"}}
    (tmp_path / "runs" / "b" / "hparams.yaml").write_text("lr: 0.2\n", encoding="utf-8")
    take(database, tmp_path / "runs")
    assert {name: run.params["lr"] for name, run in runs_of(database).items()} == {"a": "0.1", "b": "0.2"}


def test_a_dry_run_of_folders_says_what_is_stored(database: Database, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    events.write(run / "events.1", events.series("loss", 3))
    assert counts(take(database, tmp_path / "runs", dry_run=True)) == (1, 3)
    assert runs_of(database) == {}
    take(database, tmp_path / "runs")
    events.write(run / "events.2", events.series("acc", 2))
    assert counts(take(database, tmp_path / "runs", dry_run=True)) == (0, 2)


# One run told twice ---------------------------------------------------------------------------------------------------


def exported(path: Path, points: list[tuple[str, int, float]], change: float = 1.0) -> Path:
    """A log of single lines that says what an event file says, in other digits."""
    rows = "".join(f"epoch {step}, loss {value * change:.8f}\n" for _, step, value in points)
    path.write_text(rows, encoding="utf-8")
    return path


def test_runs_whose_numbers_add_up_alike_are_told_apart_without_reading_their_points(
    database: Database, tmp_path: Path
) -> None:
    for n in range(20):
        # First, last, least and greatest: 2 - d, 1, 1 and 3 + d.
        values = (2 - n / 100, 3 + n / 100, 2.0, 1.0)
        exported(tmp_path / f"{n}.log", [("train_loss", step, value) for step, value in enumerate(values)])
    said: list[str] = []
    database.connection.set_trace_callback(said.append)
    assert counts(take(database, tmp_path)) == (20, 80)
    database.connection.set_trace_callback(None)
    assert len(said) > 20, "the trace sees what is said to SQLite"
    assert not [one for one in said if "FROM point" in one]


def test_an_export_beside_its_event_files_is_another_source_of_the_run(database: Database, tmp_path: Path) -> None:
    points = events.series("train_loss", 6)
    events.write(tmp_path / "all" / "runs" / "a" / "events", points)
    exported(tmp_path / "all" / "a_export.log", points)
    outcome = take(database, tmp_path / "all")
    assert counts(outcome) == (1, 6)
    assert [done.written.changes for done in outcome.done] == [[], ["the same run as a: kept as another source of it"]]
    run = only_run(database)
    assert run.name == "a"
    assert [source.format for source in reader.sources(database, run.id)] == ["tensorboard", "log"]
    # Known from now on; and when it grows as the run does, nothing is told twice.
    before = state(database)
    assert counts(take(database, tmp_path / "all")) == (0, 0)
    assert_same(state(database), before)
    with (tmp_path / "all" / "runs" / "a" / "events").open("ab") as file:
        file.write(events.scalar("train_loss", 7, 0.125))
    with (tmp_path / "all" / "a_export.log").open("a", encoding="utf-8") as text:
        text.write("epoch 7, loss 0.12500000\nepoch 8, loss 0.06250000\n")
    assert counts(take(database, tmp_path / "all")) == (0, 2)
    assert curve(database, only_run(database), "train/loss")[-2:] == [(7, 0.125), (8, 0.0625)]
    take(database, tmp_path / "all", again=True)
    assert len(curve(database, only_run(database), "train/loss")) == 8
    assert_sound(database)


def test_event_files_written_twice_are_one_run(database: Database, tmp_path: Path) -> None:
    for name, time in (("a", 0), ("b", 5000)):
        events.write(tmp_path / name / "events", events.series("loss", 6), events.START + time)
    outcome = take(database, tmp_path)
    assert counts(outcome) == (1, 6)
    assert set(runs_of(database)) == {"a"}


@pytest.mark.parametrize("change", [1.0001, 1.00001])
def test_runs_that_differ_a_little_are_two(database: Database, tmp_path: Path, change: float) -> None:
    points = events.series("train_loss", 6)
    events.write(tmp_path / "a" / "events", points)
    exported(tmp_path / "b.log", points, change)
    take(database, tmp_path)
    assert set(runs_of(database)) == {"a", "b"}


def test_a_param_that_contradicts_keeps_equal_runs_apart(database: Database, write_log: WriteLog) -> None:
    take(database, write_log("logs/a.log", 9), params={"seed": "1"})
    same = write_log("logs/b.log", 9)
    same.write_bytes(same.read_bytes().replace(b"\n", b"\r\n"))
    take(database, same, params={"seed": "2"})
    assert set(runs_of(database)) == {"a", "b"}
    third = write_log("logs/c.log", 9)
    third.write_bytes(third.read_bytes().replace(b"\n", b" \n"))
    take(database, third, params={"seed": "1.0"})
    assert set(runs_of(database)) == {"a", "b"}


# What is no result ----------------------------------------------------------------------------------------------------


class WithAsides(Table):
    """A reader that marks a column and names its kinds of line."""

    NAME = "with asides"

    def parse(self, reading: Reading, options: parsers.Options) -> Iterator[Event]:
        yield RunStart(0, 1)
        values = [0.5, 0.25]
        metrics = (Metric("loss", "loss"), Metric("eta", "eta", ASIDE), Metric("memory", "memory", ASIDE))
        curves = [Curve(metric, [1, 2], values, [2, 3]) for metric in metrics]
        yield Points(0, tuple(curves), 3)
        yield LineKind(2, "1,0.5", 2, "step", (("loss", "loss", "a result"),))
        yield Unparsed(0)


@pytest.mark.parametrize("dry_run", [True, False])
def test_asides_are_left_out_and_counted(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dry_run: bool,
) -> None:
    from expdb import preview
    from expdb.commands import feedback

    readers: dict[str, parsers.Parser] = {"with asides": WithAsides()}
    monkeypatch.setattr(plugins, "all_parsers", lambda: readers)
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n1,0.5\n2,0.25\n", encoding="utf-8")
    items, _ = verb.collect([str(path)])
    outcome = verb.ingest(database, items, Request(dry_run=dry_run))
    assert counts(outcome) == (1, 2)
    feedback.ingested(outcome, database.path, Request(dry_run=dry_run))
    assert "left out: 2 asides (eta, memory); expdb parse --explain shows them\n" in capsys.readouterr().out
    if not dry_run:
        assert [metric.name for metric in only_run(database).metrics] == ["loss"]
    shown = preview.preview(Reading.of_file(path))
    assert [(one.name, one.kind) for one in shown.runs[0].metrics] == [
        ("loss", "curve"),
        ("eta", "aside"),
        ("memory", "aside"),
    ]
    assert [kind.count for kind in shown.kinds] == [2]


# parse FOLDER ---------------------------------------------------------------------------------------------------------


def test_parse_shows_a_folder_that_is_one_run(tmp_path: Path) -> None:
    for tag in ("train_loss", "test_acc"):
        events.write(tmp_path / "a" / tag / tag / "events", events.series(tag, 3))
    got = json.loads(expdb("parse", "a", "--json", cwd=tmp_path).stdout)
    assert (got["format"], len(got["runs"]), len(got["sources"])) == ("tensorboard", 1, 2)
    assert got["runs"][0]["name"] == "a"
    assert {one["name"]: one["lines"] for one in got["runs"][0]["metrics"]} == {
        "train/loss": [2, 3, 4],
        "test/accuracy": [2, 3, 4],
    }


def test_parse_refuses_a_folder_of_several_runs_by_their_number(tmp_path: Path) -> None:
    for name in "ab":
        events.write(tmp_path / name / "events", events.series("loss"))
    done = expdb("parse", tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "holds 2 runs" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "holds no folder that is one run" in expdb("parse", "empty", cwd=tmp_path).stderr


def test_parse_of_a_folder_without_values_gives_no_runs(tmp_path: Path) -> None:
    events.write(tmp_path / "a" / "events")
    assert json.loads(expdb("parse", "a", "--json", cwd=tmp_path).stdout)["runs"] == []


# Settings -------------------------------------------------------------------------------------------------------------


def test_settings_are_read_from_yaml_and_json() -> None:
    text = """# settings
lr: 0.1   # the rate
model:
  name: "res net: 18"
  layers:
  - 3
  - 4
betas: [0.9, 0.99]
args: !!python/object:argparse.Namespace
  gpus: 2
url: http://a.b/c
empty:
"""
    assert settings_of(text) == {
        "lr": "0.1",
        "model.name": "res net: 18",
        "model.layers": "[3, 4]",
        "betas": "[0.9, 0.99]",
        "args.gpus": "2",
        "url": "http://a.b/c",
    }
    assert settings_of('{"a": {"b": [1], "c": null}, "d": "x"}') == {"a.b": "[1]", "a.c": "null", "d": "x"}
    assert settings_of("{") == {}
    assert settings_of('{"a": ' * 100_000) == {}


def test_secrets_of_a_settings_file_are_no_params() -> None:
    said = {"lr": "0.1", "pad_token": "<pad>", "num_tokens": "5"}
    secret = {"password": "x", "hub_token": "x", "wandb.api_key": "x", "aws-secret-key": "x", "OPENAI_API_KEY": "x"}
    assert settings_of(json.dumps({**said, **secret})) == said
    assert settings_of("".join(f"{key}: {value}\n" for key, value in {**said, **secret}.items())) == said


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader_of_settings(text: str) -> None:
    settings_of(text)
    settings_of("a:\n" + text)
