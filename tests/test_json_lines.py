"""Records of one line each: every family gives its curves at the right steps, and nothing else becomes a run."""

import json
import math
import time
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import Read, ReadCurve, read

from expdb.parsers import CERTAIN, Options, json_lines
from expdb.parsers.json_lines import record_of
from expdb.parsers.reading import Reading, Sample
from expdb.records import ASIDE, LineKind, Points

Fields = dict[str, object]


def lines(records: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def log(text: str) -> Read:
    """What the reader of records makes of a text, which it has to recognise."""
    assert json_lines.recognise(Sample(text, whole=True, name="log.txt")) > 0
    return read(text, as_format=json_lines.NAME)


def sureness(text: str) -> float:
    return json_lines.recognise(Sample(text, whole=True, name="log.txt"))


def curve(found: Read, label: str, run: int = 0) -> ReadCurve:
    return found.runs[run].curves[label]


# One family after the other

DEIT = [
    {"train_lr": 1e-4 * e, "train_loss": 3.5 / e, "test_acc1": 10.25 * e, "epoch": e - 1, "n_parameters": 5700001}
    for e in range(1, 6)
]


def test_deit_lines_give_one_curve_for_each_result_over_the_epoch() -> None:
    text = lines(DEIT)
    found = log(text)
    assert sureness(text) == CERTAIN
    assert [run.start.params for run in found.runs] == [{"n_parameters": "5700001"}]
    assert found.runs[0].only("test/accuracy").steps == [0, 1, 2, 3, 4]
    assert found.runs[0].only("train/loss").lines == [1, 2, 3, 4, 5]
    assert set(found.runs[0].curves) == {"train_lr", "train_loss", "test_acc1"}
    assert found.unparsed.count == 0


def test_a_list_of_results_is_one_curve_for_each_place() -> None:
    text = lines({"epoch": e, "train_loss": 1.0 / (e + 1), "test_coco_eval_bbox": [0.1 * e, 0.2 * e]} for e in range(3))
    found = log(text)
    assert curve(found, "test_coco_eval_bbox[1]").values == [0.0, 0.2, 0.4]
    assert log(text.split("\n")[0] + "\n").runs[0].curves.keys() >= {"test_coco_eval_bbox[0]"}


MMCV_HEAD = {"env_info": "sys.platform: linux\n" * 99, "seed": 7, "exp_name": "a_net.py", "CLASSES": ["cat", "dog"]}


def mmcv(mode: str, epoch: int, iteration: int, **rest: object) -> Fields:
    return {"mode": mode, "epoch": epoch, "iter": iteration, "lr": 0.01, "memory": 4000, **rest}


def test_where_the_iteration_goes_on_a_validation_takes_the_step_of_the_training_before_it() -> None:
    records = [
        MMCV_HEAD,
        *(mmcv("train", 1, i * 50, loss=9.0 / i, data_time=0.1) for i in range(1, 9)),
        mmcv("val", 1, 120, mIoU=0.31),
        *(mmcv("train", 1, i * 50, loss=9.0 / i, data_time=0.1) for i in range(9, 13)),
        mmcv("val", 2, 120, mIoU=0.35),
    ]
    found = log(lines(records))
    (run,) = found.runs
    assert run.start.params == {"seed": "7", "exp_name": "a_net.py", "CLASSES": '["cat", "dog"]'}
    assert run.start.line == 1
    assert run.only("train/loss").steps == [i * 50 for i in range(1, 13)]
    assert run.only("train/loss").metric.step_unit == "iteration"
    assert run.only("val/miou").steps == [400, 600]
    assert curve(found, "train/memory").metric.kind == ASIDE


def test_where_the_iteration_begins_again_in_every_epoch_the_step_is_the_epoch() -> None:
    records = []
    for epoch in (1, 2, 3):
        records += [mmcv("train", epoch, i, loss=1.0 / i) for i in (50, 100)]
        records.append(mmcv("val", epoch, 625, bbox_mAP=0.1 * epoch, bbox_mAP_copypaste="0.1 0.2"))
    found = log(lines(records))
    (run,) = found.runs
    assert run.only("train/loss").steps == [1, 1, 2, 2, 3, 3]
    assert run.curves["val/bbox_mAP"].steps == [1, 2, 3]
    assert run.curves["val/bbox_mAP"].metric.step_unit == "epoch"
    assert "val/bbox_mAP_copypaste" not in run.curves


def test_mmengine_validations_that_print_the_epoch_as_their_step_take_the_iteration() -> None:
    records: list[Fields] = []
    for epoch in (1, 2):
        for i in range(1, 4):
            step = (epoch - 1) * 30 + i * 10
            records.append({"lr": 0.02, "loss": 5.0 / step, "time": 0.2, "epoch": epoch, "iter": step, "step": step})
        records.append({"coco/bbox_mAP": 0.2 * epoch, "data_time": 0.1, "time": 0.2, "step": epoch})
    (run,) = log(lines(records)).runs
    assert run.only("train/loss").steps == [10, 20, 30, 40, 50, 60]
    assert run.curves["coco/bbox_mAP"].steps == [30, 60]
    assert run.curves["coco/bbox_mAP"].metric.name.startswith("val/")


def test_mmengine_validations_over_iterations_keep_their_step() -> None:
    records: list[Fields] = [{"loss": 5.0 / i, "iter": i, "step": i} for i in range(10, 90, 10)]
    records.append({"mIoU": 41.5, "aAcc": 80.25, "step": 80})
    (run,) = log(lines(records)).runs
    assert run.only("val/miou").points == [(80, "41.5", 9)]
    assert run.curves["aAcc"].decimals == 2


def test_detectron_lines_may_hold_evaluations_alone_and_nan() -> None:
    text = lines({"iteration": i, "total_loss": 2.0 / i, "data_time": 0.1, "eta_seconds": 9.5} for i in (19, 39, 59))
    text += '{"bbox/AP": 21.5, "bbox/APl": NaN, "iteration": 59}\n'
    (run,) = log(text).runs
    assert run.curves["bbox/AP"].points == [(59, "21.5", 4)]
    assert run.curves["bbox/APl"].points == [(59, "nan", 4)]
    assert {label for label, one in run.curves.items() if one.metric.kind == ASIDE} == {"data_time", "eta_seconds"}


def test_configuration_repeated_in_every_line_is_said_once() -> None:
    config = {"depth": 29, "decay": 0.0005, "dataset": "shapes", "epochs": 40, "schedule": [20, 30], "load": None}
    records = [config, *({"epoch": e, **config, "loss": 1.0 / (e + 1), "test": False} for e in range(4))]
    (run,) = log(lines(records)).runs
    assert run.start.params == {
        "depth": "29",
        "decay": "0.0005",
        "dataset": "shapes",
        "epochs": "40",
        "schedule": "[20, 30]",
        "test": "false",
    }
    assert set(run.curves) == {"loss"}


def test_a_rate_stated_as_configuration_is_a_curve_once_it_changes() -> None:
    stated: Fields = {"lr": 0.1, "model": "a"}
    steady = lines([stated]) + lines({"lr": 0.1, "epoch": e, "loss": 1.0} for e in range(3))
    decayed = lines([stated]) + lines({"lr": 0.1 / (e + 1), "epoch": e, "loss": 1.0} for e in range(3))
    assert set(log(steady).runs[0].curves) == {"loss"}
    assert set(log(decayed).runs[0].curves) == {"loss", "lr"}


def test_wandb_history_takes_the_trainings_step_and_the_time() -> None:
    records = [
        {"train/loss": 2.0 / i, "train/global_step": 10 * i, "_timestamp": 1.7e9 + i, "_runtime": i, "_step": i}
        for i in range(1, 5)
    ]
    reading = Reading.of_bytes(lines(records).encode(), "wandb-history.jsonl")
    curves = [c for e in json_lines.parse(reading, Options()) if isinstance(e, Points) for c in e.curves]
    loss = next(one for one in curves if one.metric.label == "train/loss")
    assert list(loss.steps) == [10, 20, 30, 40]
    assert loss.times_ms is not None
    assert loss.times_ms[0] == 1_700_000_001_000


def test_wandb_history_without_another_step_counts_by_its_own() -> None:
    (run,) = log(lines({"loss": 1.0 / (i + 1), "_runtime": i, "_step": 2 * i} for i in range(4))).runs
    assert run.only("train/loss").steps == [0, 2, 4, 6]


def test_nested_records_are_named_by_the_way_to_their_values() -> None:
    (run,) = log(lines({"train": {"loss": 1.0 / e}, "val": {"acc": 0.2 * e}, "epoch": e} for e in (1, 2, 3))).runs
    assert run.only("train/loss").steps == run.only("val/accuracy").steps == [1, 2, 3]


def test_a_split_said_by_a_field_names_the_curves() -> None:
    for label in ("mode", "split", "phase"):
        text = lines({label: split, "epoch": e, "loss": 1.0} for e in (1, 2) for split in ("train", "valid"))
        (run,) = log(text).runs
        assert run.only("train/loss").steps == run.only("val/loss").steps == [1, 2]


def test_a_record_in_long_form_is_the_field_it_stands_for() -> None:
    text = lines({"step": s, "name": n, "value": s / 8} for s in range(4) for n in ("train/loss", "val/acc"))
    (run,) = log(text).runs
    assert run.only("val/accuracy").values == [0.0, 0.125, 0.25, 0.375]


def test_baselines_count_timesteps_rather_than_iterations() -> None:
    records = [
        {"time/iterations": i, "rollout/ep_rew_mean": 2.5 * i, "time/fps": 300, "time/total_timesteps": 2048 * i}
        for i in range(1, 4)
    ]
    (run,) = log(lines(records)).runs
    assert run.curves["rollout/ep_rew_mean"].steps == [2048, 4096, 6144]
    assert run.curves["time/fps"].metric.kind == ASIDE


def test_steps_called_current_go_before_the_total() -> None:
    records: list[Fields] = [
        {"current_steps": 5 * i, "total_steps": 20, "loss": 1.0 / i, "epoch": i / 4, "elapsed_time": f"0:00:0{i}"}
        for i in range(1, 5)
    ]
    records.append({"current_steps": 20, "total_steps": 20, "eval_loss": 0.5, "epoch": 1.0})
    (run,) = log(lines(records)).runs
    assert run.only("train/loss").steps == [5, 10, 15, 20]
    assert run.only("val/loss").steps == [20]
    assert run.start.params == {"total_steps": "20"}


def test_json_behind_a_prefix_as_fairseq_writes_it() -> None:
    text = "2022-02-02 | INFO | task | Namespace(arch='small')\n"
    for epoch in (1, 2, 3):
        inner = {"epoch": epoch, "loss": str(7.5 - epoch), "num_updates": str(100 * epoch - 50), "lr": "0.001"}
        valid = {"epoch": epoch, "valid_loss": str(8.5 - epoch), "valid_num_updates": str(100 * epoch)}
        text += f"2022-02-02 | INFO | train_inner | {json.dumps(inner)}\n"
        text += f"2022-02-02 | INFO | valid | {json.dumps(valid)}\n"
    found = log(text)
    (run,) = found.runs
    assert run.only("train/loss").points == [(50, "6.5", 2), (150, "5.5", 4), (250, "4.5", 6)]
    assert run.only("val/loss").steps == [100, 200, 300]
    assert found.unparsed.count == 1


# Python's dicts


def test_dicts_of_the_trainer_keep_epochs_that_are_no_whole_numbers() -> None:
    text = "".join(f"{{'loss': {2 / i!r}, 'learning_rate': 1e-05, 'epoch': {i / 8!r}}}\n" for i in range(1, 9))
    text += "{'eval_loss': 0.25, 'eval_runtime': 3.2, 'epoch': 1.0}\n"
    reading = Reading.of_bytes(text.encode(), "out.log")
    curves = [c for e in json_lines.parse(reading, Options()) if isinstance(e, Points) for c in e.curves]
    loss = next(one for one in curves if one.metric.label == "loss")
    assert list(loss.steps) == list(range(8))
    assert loss.metric.step_unit == "row"
    assert loss.epochs is not None
    assert list(loss.epochs) == [i / 8 for i in range(1, 9)]
    held_out = next(one for one in curves if one.metric.label == "eval_loss")
    assert list(held_out.steps) == [7]


def test_dicts_among_progress_bars_and_other_lines() -> None:
    text = "***** Running training *****\n  Num examples = 1,000\n"
    for i in range(1, 5):
        text += (
            f"\r {i}%|#   | {i}/9 [00:01<00:09, 1.2it/s]\r    \r{{'loss': '{1 / i:.4f}', 'epoch': '{i / 4}'}}\r {i}%|#|"
        )
        text += "\nSaving model checkpoint to out\n"
    found = log(text)
    (run,) = found.runs
    assert run.only("train/loss").values == [1.0, 0.5, 0.3333, 0.25]
    assert run.only("train/loss").lines == [3, 5, 7, 9]
    assert run.only("train/loss").decimals == 4
    assert found.unparsed.count == 6


def test_a_counter_with_its_total_is_a_step_and_a_share_has_its_unit() -> None:
    text = "".join(
        f"{{'loss': {1 / i}, 'global_step/max_steps': '{10 * i}/900', 'percentage': '{i}.50%', "
        f"'memory(GiB)': 3.2{i}}}\n"
        for i in range(1, 4)
    )
    (run,) = log(text).runs
    assert run.only("train/loss").steps == [10, 20, 30]
    assert run.curves["percentage"].values == [1.5, 2.5, 3.5]
    assert run.curves["percentage"].metric.unit == "percent"
    assert run.curves["memory(GiB)"].metric.kind == ASIDE


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("{'loss': nan, 'epoch': 0.5}", {"loss": math.nan, "epoch": 0.5}),
        ("{'loss': -inf, 'ok': True, 'no': None}", {"loss": -math.inf, "ok": True, "no": None}),
        ('{"loss": NaN, "x": {"y": 2}}', {"loss": math.nan, "x/y": 2}),
        ("{'a': np.float64(0.5), 'b': tensor(1.5, device='cuda:0'), 'c': (1, 2)}", {"a": 0.5, "b": 1.5, "c": [1, 2]}),
        ("INFO:root:{'name': \"it's None\", 'loss': 1}", {"name": "it's None", "loss": 1}),
        ("{'path': 'C:\\\\new', 'loss': 1}", {"path": "C:\\new", "loss": 1}),
        ("  3%|# | 1/9\r{'loss': 2.5}", {"loss": 2.5}),
        ('{"loss": 0.5,}', {"loss": 0.5}),
        ('{"loss": 0.5} {"loss": 0.25}', {"loss": 0.25}),
    ],
)
def test_the_record_of_a_line(text: str, record: Fields) -> None:
    assert repr(record_of(text)) == repr(record)


@pytest.mark.parametrize("text", ["", "epoch 1, loss 0.5", "{", "}{", "{'a'", "f(x) = {x | x > 1}", "{'a': <object>}"])
def test_a_line_without_a_record_has_none(text: str) -> None:
    assert record_of(text) is None


# Runs


def test_a_log_appended_to_itself_is_two_runs_with_their_settings() -> None:
    first = [{"epoch": e, "loss": 1.0 / e, "momentum": 0.9} for e in range(1, 6)]
    again = [{"epoch": e, "loss": 1.0 / e, "momentum": 0.8} for e in range(1, 4)]
    found = log(lines(first + again))
    assert [run.start.params for run in found.runs] == [{"momentum": "0.9"}, {"momentum": "0.8"}]
    assert [run.start.line for run in found.runs] == [1, 6]
    assert found.runs[1].start.reason == "epoch went 5 → 1 at line 6"


def test_a_resumed_training_stays_one_run() -> None:
    text = lines({"step": s, "loss": 1.0} for s in (10, 20, 30, 40, 30, 40, 50))
    assert [run.only("train/loss").steps for run in log(text).runs] == [[10, 20, 30, 40, 30, 40, 50]]


def test_a_configuration_between_two_trainings_belongs_to_the_second() -> None:
    text = lines([{"lr": 0.1, "name": "a"}, *({"epoch": e, "loss": 1.0} for e in (1, 2))])
    text += lines([{"lr": 0.2, "name": "b"}, *({"epoch": e, "loss": 1.0} for e in (1, 2))])
    found = log(text)
    assert [(run.start.line, run.start.params["lr"]) for run in found.runs] == [(1, "0.1"), (4, "0.2")]


def test_numbers_ahead_of_validations_alone_are_their_settings() -> None:
    header: Fields = {"lr": 0.1, "seed": 3}
    records: list[Fields] = [{"epoch": n, "test_accuracy": 0.5 + n / 10} for n in (1, 2, 3)]
    (run,) = log(lines([header, *records])).runs
    assert run.start.params == {"lr": "0.1", "seed": "3"}
    points = [(step, value) for step, value, _ in run.only("test/accuracy").points]
    assert points == [(1, "0.6"), (2, "0.7"), (3, "0.8")]


@pytest.mark.parametrize("label", ["test_accuracy", "loss"])
def test_numbers_that_name_each_of_several_trainings_are_their_settings(label: str) -> None:
    records: list[Fields] = [{"epoch": n, label: 0.5 + n / 10} for n in (1, 2, 3)]
    found = log(lines([{"lr": 0.1, "seed": 0}, *records, {"lr": 0.1, "seed": 1}, *records]))
    assert [run.start.params for run in found.runs] == [{"lr": "0.1", "seed": "0"}, {"lr": "0.1", "seed": "1"}]
    assert [run.start.line for run in found.runs] == [1, 5]


def test_interleaved_trainings_are_told_apart_by_what_names_them() -> None:
    text = lines({"run_id": r, "step": s, "loss": 1.0 / (s + 1), "lr": 0.1} for s in range(4) for r in ("red", "blue"))
    found = log(text)
    assert [run.start.params["run_id"] for run in found.runs] == ["red", "blue"]
    assert [run.only("train/loss").steps for run in found.runs] == [[0, 1, 2, 3]] * 2
    assert found.runs[1].start.reason == "run_id is blue at line 2"


# What is broken, and what is told


def test_lines_that_are_no_records_are_counted() -> None:
    text = '{"epoch": 1, "loss": 0.50}\noops\n\n{"epoch": 2, "loss": Infinity}\n{"epoch": 3, "lo'
    found = log(text)
    assert curve(found, "loss").points == [(1, "0.5", 1), (2, "inf", 4)]
    assert curve(found, "loss").decimals == 2
    assert found.unparsed.count == 2
    assert found.unparsed.examples == ((2, "oops"), (5, '{"epoch": 3, "lo'))


def test_a_list_with_one_record_a_line_and_a_last_comma_is_read_as_lines() -> None:
    body = ",\n".join(json.dumps({"epoch": e, "loss": 1.0 / e}) for e in (1, 2, 3))
    for text in (f"[\n{body},\n]\n", f"[\n{body},\n"):
        found = log(text)
        assert curve(found, "loss").lines == [2, 3, 4]
        assert found.unparsed.count == 0


def test_two_records_on_one_line_are_both_read() -> None:
    found = log('{"epoch": 1, "loss": 3}{"epoch": 2, "loss": 2}\n{"epoch": 3, "loss": 1}\n')
    assert curve(found, "loss").points == [(1, "3.0", 1), (2, "2.0", 1), (3, "1.0", 2)]


def test_a_text_where_a_number_belongs_is_told() -> None:
    found = log(lines([{"epoch": 1, "loss": 1.5}, {"epoch": 2, "loss": "n/a"}, {"epoch": 3, "loss": 0.5}]))
    assert curve(found, "loss").steps == [1, 3]
    assert found.unparsed.examples == ((2, "loss: n/a"),)


def test_the_person_is_told_what_each_field_was_taken_for() -> None:
    text = lines({"epoch": e, "loss": 1.0 / e, "note": f"n{e}", "size": 8, "eta": 9 - e} for e in range(1, 5))
    reading = Reading.of_bytes(text.encode(), "log.txt")
    (kind,) = (event for event in json_lines.parse(reading, Options()) if isinstance(event, LineKind))
    assert (kind.line, kind.count, kind.step) == (1, 4, "epoch")
    told = {label: (name, why) for label, name, why in kind.fields}
    assert told["loss"] == ("train/loss", "a result")
    assert told["note"] == ("", "no number: left out")
    assert "setting" in told["size"][1]
    assert told["eta"][1] == "printed beside results"


@pytest.mark.parametrize(
    "records",
    [
        [{"text": f"a sentence {i}", "label": i % 2, "score": 0.5} for i in range(20)],
        [{"id": f"q{i}", "answer": "yes", "f1": 0.5, "em": 1} for i in range(20)],
        [{"ts": f"2024-01-01T00:00:{i}", "level": "info", "msg": f"GET {i}", "took": 0.1 * i} for i in range(20)],
        [{"image_id": i, "bbox": [1.0, 2.0], "score": 0.5} for i in range(20)],
        [{"epoch": 1_600_000_000 + i, "temperature": 20.5 + i, "host": f"h{i}"} for i in range(20)],
        [{"word": "loss", "count": 3}],
    ],
)
def test_what_is_no_training_is_not_recognised(records: list[Fields]) -> None:
    assert sureness(lines(records)) == 0.0
    assert sureness("".join(f"{record!r}\n" for record in records)) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "x = {'a': 1}\ny = {'lr': 0.1, 'epochs': 10}\nz = {'loss': 'mse'}\n" * 5,
        "{" * 60_000,
        "{'" + "\\'" * 30_000 + "}",
        "epoch 1, loss 0.5\n" * 20,
    ],
)
def test_what_only_looks_like_records_is_passed_over_quickly(text: str) -> None:
    started = time.process_time()
    assert sureness(text) == 0.0
    assert time.process_time() - started < 0.2


def test_blocks_of_a_large_file_make_the_same_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    text = lines([{"lr": 0.1, "seed": 3}, *({"epoch": e % 40, "loss": 1.0 / (e + 1), "size": 8} for e in range(80))])
    whole = log(text)
    monkeypatch.setattr("expdb.parsers.reading.BLOCK_BYTES", 256)
    cut = log(text)
    assert len(whole.runs) == 2
    assert [run.start for run in cut.runs] == [run.start for run in whole.runs]
    assert [run.curves for run in cut.runs] == [run.curves for run in whole.runs]


# What nobody wrote down


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), st.booleans())
def test_what_is_printed_is_read_back(values: list[tuple[float, float]], as_python: bool) -> None:
    records = [{"epoch": e, "train_loss": a, "val_acc": b} for e, (a, b) in enumerate(values)]
    text = "".join((repr(r) if as_python else json.dumps(r)) + "\n" for r in records)
    (run,) = read(text, as_format=json_lines.NAME).runs
    assert run.only("train/loss").points == [(e, repr(a), e + 1) for e, (a, _) in enumerate(values)]
    assert run.only("val/accuracy").points == [(e, repr(b), e + 1) for e, (_, b) in enumerate(values)]


words = st.text(alphabet="a1.%/ é\"'{}\\\n", max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
labels = st.sampled_from(["epoch", "step", "loss", "acc", "mode", "run_id", "lr", "timestamp", "value", "name", ""])


@given(st.lists(st.dictionaries(labels, json_values, max_size=6), max_size=12))
def test_records_of_anything_never_break_the_reader(records: list[Fields]) -> None:
    read(lines(records) or "\n", as_format=json_lines.NAME)
    sureness(lines(records))


@given(st.text(alphabet="{}[]'\":,. \r\n0123eE-Nalosepchxf()\\", max_size=200))
def test_any_text_never_breaks_the_reader(text: str) -> None:
    sureness(text)
    if text.strip("\0"):
        read(text, as_format=json_lines.NAME)


def test_one_metric_under_two_keys_is_one_curve() -> None:
    said: list[Fields] = []
    for n in (1, 2, 3):
        said += [{"mode": "train", "epoch": n, "loss": n}, {"epoch": n, "train/loss": n + 0.5, "val_acc": n}]
    (run,) = log(lines(said)).runs
    assert [value for _, value, _ in run.only("train/loss").points] == ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5"]
