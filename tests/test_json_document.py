"""JSON documents: states, histories, exports and results become runs; configurations and data sets do not."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import Read, read

from expdb import parsers
from expdb.parsers import Options, json_document
from expdb.parsers.reading import SAMPLE_BYTES, Reading, Sample
from expdb.records import ASIDE, REPORTED, Points

HISTORY = [{"epoch": e, "loss": 2.0 / e, "val_loss": 2.5 / e} for e in (1, 2, 3)]


def document(value: object, indent: int | None = 1, path: str = "a.json") -> Read:
    """What the reader of documents makes of a value, which it has to recognise."""
    return text_of(json.dumps(value, indent=indent), path)


def text_of(text: str, path: str = "a.json") -> Read:
    assert json_document.recognise(Sample(text, whole=True, name=path)) > 0.5
    return read(text, as_format=json_document.NAME, path=path)


def sureness(value: object, indent: int | None = 1) -> float:
    return json_document.recognise(Sample(json.dumps(value, indent=indent), whole=True, name="a.json"))


def state(records: int = 4) -> dict[str, object]:
    logs: list[dict[str, object]] = [
        {"epoch": i / 4, "grad_norm": 1.5, "learning_rate": 1e-5, "loss": 3.0 / i, "step": 10 * i}
        for i in range(1, records + 1)
    ]
    logs.append({"epoch": 1.0, "eval_accuracy": 0.75, "eval_loss": 0.6, "eval_runtime": 4.5, "step": 10 * records})
    return {
        "best_metric": 0.75,
        "best_model_checkpoint": "out/checkpoint-40",
        "epoch": 1.0,
        "global_step": 10 * records,
        "is_world_process_zero": True,
        "log_history": logs,
        "max_steps": 40,
        "num_train_epochs": 1,
        "stateful_callbacks": {"TrainerControl": {"args": {"should_log": False}}},
        "train_batch_size": 8,
        "trial_params": None,
    }


def test_a_trainers_state_gives_its_curves_settings_and_what_was_best() -> None:
    text = json.dumps(state(), indent=2)
    (run,) = text_of(text).runs
    assert run.start.params == {"max_steps": "40", "num_train_epochs": "1", "train_batch_size": "8"}
    assert run.start.tags["best_metric"] == "0.75"
    loss = run.only("train/loss")
    assert loss.steps == [10, 20, 30, 40]
    assert loss.metric.step_unit == "step"
    rows = text.split("\n")
    assert [rows[(line or 0) - 1].strip() for line in loss.lines] == ["{"] * 4
    assert run.only("val/accuracy").points[0][:2] == (40, "0.75")
    assert run.curves["grad_norm"].values == [1.5] * 4
    assert run.curves["eval_runtime"].metric.kind == ASIDE


def test_a_state_larger_than_the_sample_is_recognised_by_its_beginning() -> None:
    data = json.dumps(state(3000), indent=2).encode()
    assert len(data) > SAMPLE_BYTES
    reading = Reading.of_bytes(data, "trainer_state.json")
    parser = parsers.reader_of(reading, {json_document.NAME: json_document})
    assert parser is json_document
    assert sum(len(c.values) for e in parser.parse(reading, Options()) if isinstance(e, Points) for c in e.curves) == (
        3000 * 3 + 3
    )


def test_a_keras_history_counts_epochs_from_zero() -> None:
    history = {"loss": [1.0, 0.5, 0.25], "accuracy": [0.5, 0.6, 0.7], "val_loss": [1.1, 0.7, 0.5], "lr": [0.1] * 3}
    (run,) = document(history).runs
    assert run.only("train/accuracy").points == [(0, "0.5", 8), (1, "0.6", 9), (2, "0.7", 10)]
    assert run.only("val/loss").metric.step_unit == "epoch"
    assert run.curves["lr"].values == [0.1, 0.1, 0.1]


def test_lists_below_a_name_stand_beside_their_settings() -> None:
    whole = {"history": {"loss": [1.0, 0.5], "val_loss": [1.1, None]}, "epochs": 2, "model": "cnn"}
    (run,) = document(whole).runs
    assert run.start.params == {"epochs": "2", "model": "cnn"}
    assert run.only("train/loss").values == [1.0, 0.5]
    assert run.only("val/loss").steps == [0]


def test_a_list_that_counts_gives_the_steps_of_its_neighbours() -> None:
    (run,) = document({"iteration": [100, 200, 300], "train_loss": [3.0, 2.0, 1.0]}).runs
    assert run.only("train/loss").steps == [100, 200, 300]
    assert set(run.curves) == {"train_loss"}


SCALARS = {
    f"runs/Jan05_10-00-00_box/{name}/{name}": [[1_650_000_000.25 + i, i, value / i] for i in (1, 2, 3)]
    for name, value in (("train_loss", 3.0), ("test_acc", 0.5))
}


def test_a_tensorboard_export_is_one_run_named_by_its_folder() -> None:
    reading = Reading.of_bytes(json.dumps(SCALARS).encode(), "all.json")
    assert json_document.recognise(reading.sample) > 0.5
    found = document(SCALARS)
    (run,) = found.runs
    assert run.start.caption == "Jan05_10-00-00_box"
    assert run.only("train/loss").steps == [1, 2, 3]
    assert run.only("test/accuracy").values == [0.5, 0.25, 0.5 / 3]
    (points,) = (e for e in json_document.parse(reading, Options()) if isinstance(e, Points))
    assert points.curves[0].times_ms == [1_650_000_001_250, 1_650_000_002_250, 1_650_000_003_250]


def test_tags_keep_the_part_that_says_what_they_measure() -> None:
    one = [[1_650_000_000.0, 1, 0.5]]
    (run,) = document({"runs/a/Loss/train": one, "runs/a/Loss/valid": one}).runs
    assert {c.metric.name for c in run.curves.values()} == {"train/loss", "val/loss"}


def test_tensorboards_own_download_is_named_by_its_file() -> None:
    (run,) = document([[1_650_000_000.5, 1, 3.5], [1_650_000_009.5, 2, 2.5]], None, "run-a-tag-val_loss.json").runs
    assert run.only("val/loss").points == [(1, "3.5", 1), (2, "2.5", 1)]


def test_a_list_of_records_has_the_line_of_each() -> None:
    (run,) = document(HISTORY).runs
    assert run.only("train/loss").points == [(1, "2.0", 2), (2, "1.0", 7), (3, repr(2 / 3), 12)]


def test_chainers_log_counts_iterations_and_keeps_the_epoch() -> None:
    log = [
        {"epoch": e, "iteration": 60 * e, "main/loss": 2.0 / e, "validation/main/accuracy": 0.2 * e, "elapsed_time": e}
        for e in (1, 2, 3)
    ]
    (run,) = document(log, 4).runs
    assert run.curves["main/loss"].steps == [60, 120, 180]
    assert run.curves["validation/main/accuracy"].metric.name.startswith("val/")
    assert run.curves["elapsed_time"].metric.kind == ASIDE


def test_records_below_a_name_stand_beside_their_settings() -> None:
    (run,) = document({"config": {"lr": 0.1, "model": "a"}, "history": HISTORY}).runs
    assert run.start.params == {"config.lr": "0.1", "config.model": "a"}
    assert run.only("val/loss").steps == [1, 2, 3]


def test_a_list_for_each_split_is_one_run() -> None:
    lists = {split: [{"epoch": e, "loss": 1.0 / e} for e in (1, 2)] for split in ("train", "val")}
    (run,) = document(lists).runs
    assert run.only("train/loss").steps == run.only("val/loss").steps == [1, 2]


def test_a_list_for_each_training_is_a_run_for_each() -> None:
    found = document({"small": HISTORY, "large": HISTORY})
    assert [run.start.params["run"] for run in found.runs] == ["small", "large"]


def test_objects_one_after_the_other_are_records() -> None:
    text = "\n".join(json.dumps(record, indent=2) for record in HISTORY)
    (run,) = text_of(text).runs
    assert run.only("train/loss").lines == [1, 6, 11]
    assert json_document.recognise(Sample("\n".join(map(json.dumps, HISTORY)), whole=True, name="a")) == 0.0


def test_sacreds_metrics_have_steps_and_times() -> None:
    metrics = {
        "train.loss": {"steps": [0, 5], "timestamps": ["2021-01-01T00:00:01", "2021-01-01T00:00:02"], "values": [2, 1]},
        "val.acc": {"steps": [5], "timestamps": ["2021-01-01T00:00:02"], "values": [0.5]},
    }
    (run,) = document(metrics).runs
    assert run.only("train/loss").steps == [0, 5]
    assert run.only("val/accuracy").values == [0.5]


def test_sacreds_run_states_its_result_and_how_long_it_took() -> None:
    stated = {
        "command": "main",
        "experiment": {"name": "shapes", "mainfile": "run.py", "sources": [["run.py", "x"]]},
        "host": {"hostname": "box"},
        "meta": {"options": {"UPDATE": ["lr=0.1", "seed=3"]}},
        "result": {"test_acc": 0.875},
        "start_time": "2021-01-01T00:00:00.5",
        "status": "COMPLETED",
        "stop_time": "2021-01-01T00:01:00.5",
    }
    (run,) = document(stated).runs
    assert run.start.params == {"lr": "0.1", "seed": "3"}
    assert run.start.tags["sacred.status"] == "COMPLETED"
    assert run.only("test/accuracy").points[0][:2] == (None, "0.875")
    assert run.only("time").values == [60.0]
    assert sureness({**stated, "result": None, "stop_time": None}) == 0.0


def test_a_dvclive_summary_is_reported_values() -> None:
    summary = {"loss": {"train": 0.15, "val": 0.25}, "accuracy": {"train": 0.95, "val": 0.9}, "step": 9}
    (run,) = document(summary, 4).runs
    assert {c.metric.name: c.values for c in run.curves.values()} == {
        "train/loss": [0.15],
        "val/loss": [0.25],
        "train/accuracy": [0.95],
        "val/accuracy": [0.9],
    }
    assert {(c.metric.kind, c.metric.step_unit) for c in run.curves.values()} == {(REPORTED, "none")}
    assert run.only("val/loss").points == [(None, "0.25", 4)]
    assert run.start.tags == {"step": "9"}


def test_a_wandb_summary_leaves_its_pictures_out() -> None:
    summary = {
        **{"val_acc": 0.9, "my_number": 3.5, "_step": 7, "_runtime": 3.5, "_timestamp": 1.7e9},
        "plot": {"_type": "image-file", "size": 99},
    }
    (run,) = document(summary, None).runs
    assert set(run.curves) == {"val_acc", "my_number"}
    assert run.start.tags["_step"] == "7"


def test_results_alone_are_reported_beside_their_settings() -> None:
    (run,) = document({"accuracy": 0.91, "f1": 0.88, "dropout": 0.1, "n_test": 1000, "model": "a"}).runs
    assert set(run.curves) == {"accuracy", "f1"}
    assert run.only("test/accuracy").decimals == 2
    assert run.start.params == {"dropout": "0.1", "n_test": "1000", "model": "a"}


def test_results_of_an_evaluation_harness_are_named_by_their_task() -> None:
    whole = {"results": {"quiz": {"acc,none": 0.61, "alias": "quiz"}}, "config": {"accuracy": 0.5, "batch_size": 4}}
    (run,) = document(whole).runs
    assert {label: c.values for label, c in run.curves.items()} == {"quiz/acc": [0.61]}


@pytest.mark.parametrize(
    "value",
    [
        {"model": "net", "lr": 0.1, "epochs": 90, "milestones": [30, 60], "data": {"train": "a/", "val": "b/"}},
        {"hidden_size": 768, "attention_dropout": 0.1, "precision": 16, "loss": {"type": "focal", "loss_weight": 1.0}},
        {"name": "a", "version": "1.0.0", "dependencies": {"b": "^2"}},
        {"the": 0, "loss": 1, "accuracy": 2},
        {"images": [{"id": i, "width": 64} for i in range(9)], "annotations": [{"id": 1, "bbox": [1, 2], "area": 2.5}]},
        [{"image_id": i, "category_id": 2, "bbox": [1.0, 2.0], "score": 0.5} for i in range(9)],
        [{"question": f"q{i}", "answer": "a"} for i in range(9)],
        [[1, 2, 3], [4, 5, 6]],
        {"type": "FeatureCollection", "features": [{"geometry": {"coordinates": [1.5, 2.5]}, "properties": {"a": 1}}]},
        {"cells": [{"execution_count": 1, "source": ["x"]}], "nbformat": 4},
        {"error": 404, "time": 0.5},
        {"epoch": 1, "loss": 0.5, "accuracy": [0.1, 0.2], "epochs": 90, "lr": 0.1},
        {"embedding": [0.1, 0.2, 0.3], "tokens": [1, 2, 3]},
        {},
        [],
        3,
    ],
)
def test_what_is_no_training_is_not_recognised(value: object) -> None:
    assert sureness(value) == 0.0
    assert sureness(value, None) == 0.0


def test_a_document_that_breaks_off_is_read_up_to_there() -> None:
    text = json.dumps(HISTORY, indent=2)[:-30]
    found = text_of(text)
    assert found.runs[0].only("train/loss").steps == [1, 2, 3]
    assert found.unparsed.examples == ((text.count("\n") + 1, "the document breaks off here"),)


def test_a_document_without_a_training_is_told_line_by_line() -> None:
    found = read('{\n"a": 1\n}\n', as_format=json_document.NAME)
    assert found.runs == []
    assert found.unparsed.examples == ((1, "{"), (2, '"a": 1'), (3, "}"))


@pytest.mark.parametrize("text", ["[" * 60_000, '[{"a":' * 10_000, '{"a": "' + "x" * 60_000, '{"a": [' + "1," * 30_000])
def test_what_nobody_closes_is_passed_over_quickly(text: str) -> None:
    started = time.process_time()
    assert json_document.recognise(Sample(text, whole=True, name="a")) == 0.0
    assert time.process_time() - started < 0.2


words = st.text(alphabet="a1.%/ é\"'{}\\\n", max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["epoch", "loss", "val_acc", "steps", "values", "log_history", "_step", "_runtime", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values, st.sampled_from([None, 1]), st.integers(0, 40))
def test_documents_of_anything_never_break_the_reader(value: object, indent: int | None, cut: int) -> None:
    text = json.dumps(value, indent=indent)
    text = text[: len(text) - cut] or "{"
    if json_document.recognise(Sample(text, whole=True, name="a.json")) > 0:
        read(text, as_format=json_document.NAME)


def test_secrets_are_no_params() -> None:
    said = {"config": {"lr": 0.1, "wandb_api_key": "x", "hub_token": "x", "pad_token": "<pad>"}}
    history = [{"epoch": n, "loss": 1 / (n + 1), "password": "x"} for n in range(3)]
    (run,) = read(json.dumps({**said, "log_history": history}).encode(), path="a.json").runs
    assert run.start.params == {"config.lr": "0.1", "config.pad_token": "<pad>"}
