"""Tables of text: every common writer's layout gives its runs and curves, and what is no training's gives none."""

import math
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import Read, read

from expdb import parsers
from expdb.parsers.reading import Reading
from expdb.records import LineKind, Points


def table(text: str | bytes, path: str = "metrics.csv") -> Read:
    """What the reader of tables makes of a text; the text must be found to be its own."""
    found = read(text, path=path)
    assert found.format == "delimited", found.format
    return found


def names(found: Read, run: int = 0) -> list[str]:
    return [curve.metric.name for curve in found.runs[run].curves.values()]


def rows(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


# One row per step


def test_keras_csvlogger_has_its_epochs_and_splits() -> None:
    found = table(rows("epoch,accuracy,loss,val_accuracy,val_loss", "0,0.5,0.9,0.4,1.1", "1,0.6,0.8,0.45,1.0"))
    run = found.runs[0]
    assert run.only("train/accuracy").points == [(0, "0.5", 2), (1, "0.6", 3)]
    assert run.only("val/loss").steps == [0, 1]
    assert found.unparsed.count == 0


@pytest.mark.parametrize("end", ["\r\n", "\r", "\r\r\n", "\r\r"])
def test_line_ends_of_every_kind_part_rows(end: str) -> None:
    text = end.join(["epoch,acc,loss", "0,0.25,1.5", "1,0.5,1.25", "2,0.75,1.125", ""])
    found = table(text, "training.log")
    assert found.runs[0].only("train/accuracy").values == [0.25, 0.5, 0.75]
    by_feeds = [2, 3, 4] if "\n" in end else [1, 1, 1]
    assert found.runs[0].only("train/accuracy").lines == by_feeds
    assert len(found.runs) == 1


def test_lightning_cells_may_be_empty_and_both_counters_are_kept() -> None:
    text = rows(
        "epoch,lr-SGD,step,train_loss_epoch,train_loss_step,val_acc,val_loss",
        ",0.1,9,,,,",
        "0,,9,,2.5,,",
        "0,,19,,,0.25,2.0",
        "0,,19,2.25,,,",
        "1,,29,,nan,,",
        "1,,39,,,0.5,1.5",
        "1,,39,1.75,,,",
    )
    reading = Reading.of_bytes(text.encode(), "metrics.csv")
    events = list(parsers.built_in()["delimited"].parse(reading, parsers.Options()))
    curves = {c.metric.label: c for e in events if isinstance(e, Points) for c in e.curves}
    assert list(curves["val_loss"].steps) == [19, 39]
    assert list(curves["val_loss"].epochs or ()) == [0.0, 1.0]
    assert list(curves["lr-SGD"].epochs or ()) == [None]
    assert curves["train_loss_epoch"].metric.name == "train/loss"
    assert math.isnan(curves["train_loss_step"].values[1])
    assert curves["val_acc"].metric.step_unit == "step"
    kind = next(e for e in events if isinstance(e, LineKind))
    assert (kind.step, kind.count, kind.line) == ("step", 7, 1)


def test_an_iteration_that_begins_again_every_epoch_is_not_the_step() -> None:
    found = table(rows("epoch,iter,loss", "1,0,5.0", "1,1,4.0", "2,0,3.0", "2,1,2.0", "3,0,1.5", "3,1,1.0"))
    assert len(found.runs) == 1
    assert found.runs[0].only("train/loss").steps == [1, 1, 2, 2, 3, 3]


def test_padded_names_and_cells_are_stripped_and_decimals_counted() -> None:
    found = table(
        rows("   epoch,   train/box_loss, metrics/mAP_0.5", "       0,       0.10697,   0.024", "       1, 0.1, 0.5")
    )
    curve = found.runs[0].curves["train/box_loss"]
    assert (curve.decimals, curve.values) == (5, [0.10697, 0.1])
    assert found.runs[0].curves["metrics/mAP_0.5"].metric.name.startswith("val/")


def test_yolov8_names_say_boxes_and_mean_the_validation() -> None:
    found = table(
        rows("epoch,time,train/box_loss,metrics/precision(B),lr/pg0", "1,10.5,1.5,0.5,0.01", "2,21.0,1.25,0.75,0.009")
    )
    assert found.runs[0].curves["metrics/precision(B)"].metric.name == "val/precision"
    assert found.runs[0].curves["time"].values == [10.5, 21.0]


def test_a_clock_is_no_curve_and_a_duration_is_one() -> None:
    text = rows("epoch,train_loss,eval_top1,time", "0,5.5,1.5,1600000000.25", "1,5.0,2.5,1600000100.5")
    reading = Reading.of_bytes(text.encode(), "summary.csv")
    points = next(e for e in parsers.built_in()["delimited"].parse(reading, parsers.Options()) if isinstance(e, Points))
    assert [c.metric.label for c in points.curves] == ["train_loss", "eval_top1"]
    assert list(points.curves[0].times_ms or ()) == [1600000000250, 1600000100500]
    found = table(rows("epoch,loss,timestamp", "1,0.5,2021-03-04 10:00:00", "2,0.4,2021-03-04 10:01:00"))
    assert names(found) == ["train/loss"]


def test_rows_without_a_step_are_counted() -> None:
    found = table(
        "Learning Rate\tTrain Loss\tValid Loss\tTrain Acc.\tValid Acc.\t\n" + "0.1\t2.5\t2.0\t20.5\t25.0\t\n" * 3,
        "log.txt",
    )
    curve = found.runs[0].only("val/accuracy")
    assert (curve.steps, curve.metric.step_unit) == ([0, 1, 2], "row")
    assert names(found) == ["lr", "train/loss", "val/loss", "train/accuracy", "val/accuracy"]


def test_a_header_may_be_parted_otherwise_than_its_rows() -> None:
    found = table(
        "Learning Rate\tepoch\tTrain Loss\tValid Acc.\t\r\n0.1|1.0|2.5|20.5|\r\n0.1|2.0|2.25|22.5|\r\n", "log.txt"
    )
    assert found.runs[0].only("val/accuracy").points == [(1, "20.5", 2), (2, "22.5", 3)]


def test_pandas_index_is_the_row() -> None:
    found = table(rows(",loss,accuracy,val_loss", "0,1.5,0.5,1.6", "1,1.25,0.55,1.5"))
    assert names(found) == ["train/loss", "train/accuracy", "val/loss"]
    assert found.runs[0].only("train/loss").steps == [0, 1]
    found = table(rows("Unnamed: 0,epoch,loss", "0,5,1.5", "1,6,1.25"))
    assert found.runs[0].only("train/loss").steps == [5, 6]
    assert names(found) == ["train/loss"]


def test_flair_writes_a_missing_value_as_an_underscore() -> None:
    found = table(
        rows(
            "EPOCH\tTIMESTAMP\tBAD_EPOCHS\tLEARNING_RATE\tTRAIN_LOSS\tDEV_LOSS\tDEV_F1",
            "1\t10:00:01\t0\t0.1\t0.75\t_\t_",
            "2\t10:00:09\t1\t0.1\t0.5\t0.625\t0.5",
        ),
        "loss.tsv",
    )
    assert found.runs[0].only("val/f1").points == [(2, "0.5", 3)]
    assert found.runs[0].curves["BAD_EPOCHS"].metric.kind == "aside"
    assert found.unparsed.count == 0


def test_stable_baselines_counts_environment_steps_wherever_the_column_stands() -> None:
    found = table(
        rows(
            "train/loss,time/iterations,rollout/ep_rew_mean,time/fps,time/total_timesteps",
            "nan,1,-20.5,100,2048",
            "3.5,2,-18.0,90,4096",
        ),
        "progress.csv",
    )
    assert found.runs[0].only("train/loss").steps == [2048, 4096]
    assert found.runs[0].curves["time/fps"].metric.kind == "aside"
    assert found.runs[0].curves["time/iterations"].metric.kind == "aside"


def test_baselines_counts_under_total_and_the_order_of_columns_says_nothing() -> None:
    found = table(
        rows(
            "reference_Q_std,total/episodes,total/epochs,rollout/return,total/steps,success_rate,train/loss_critic",
            "198.5,14.0,1,-40.5,2000,,158.5",
            "385.5,29.0,2,-30.5,4000,,98.5",
        ),
        "progress.csv",
    )
    assert found.runs[0].curves["rollout/return"].steps == [2000, 4000]
    assert found.runs[0].curves["total/episodes"].metric.kind == "aside"
    assert "success_rate" not in found.runs[0].curves


def test_a_shorter_training_behind_a_longer_one_is_another_run() -> None:
    found = table(
        rows("num_episodes,total_loss,total timesteps", "9,0.5,5120", "19,0.4,10240", "2,0.75,1280", "4,0.5,2560")
    )
    assert [run.curves["total_loss"].steps for run in found.runs] == [[5120, 10240], [1280, 2560]]


def test_spinning_up_writes_tabs_and_its_own_names() -> None:
    found = table(
        rows("Epoch\tAverageEpRet\tTotalEnvInteracts\tLossPi", "0\t20.5\t4000\t0.0", "1\t25.5\t8000\t-0.01"),
        "progress.txt",
    )
    assert found.runs[0].curves["AverageEpRet"].steps == [4000, 8000]


def test_gyms_monitor_has_rewards_of_episodes_and_says_what_was_run() -> None:
    found = table('#{"t_start": 1600000000.5, "env_id": "Cart-v1"}\nr,l,t\n21.0,21,0.5\n30.0,30,0.9\n', "monitor.csv")
    assert found.runs[0].start.params["env_id"] == "Cart-v1"
    assert found.runs[0].only("episode_reward").points == [(0, "21.0", 3), (1, "30.0", 4)]


def test_torch7_logs_one_number_to_a_line() -> None:
    found = table("% mean class accuracy (train set)\t\n 4.5e+01\t\n 5.5e+01\t\n", "train.log")
    (curve,) = found.runs[0].curves.values()
    assert curve.metric.name.startswith("train/")
    assert (curve.values, curve.metric.unit, curve.metric.step_unit) == ([45.0, 55.0], "percent", "row")
    found = table("train loss\ttest loss\t\n 2.5\t 2.75\t\n 2.0\t 2.25\t\n", "loss.log")
    assert names(found) == ["train/loss", "test/loss"]


def test_a_files_name_says_the_split_where_no_header_does() -> None:
    assert names(table("% mean accuracy\t\n 45.5\t\n 55.0\t\n", "test.log"))[0].startswith("test/")
    assert names(table(rows("epoch,loss,acc", "1,0.5,0.5", "2,0.4,0.6"), "valid.csv")) == ["val/loss", "val/accuracy"]
    assert names(table(rows("epoch,loss,val_loss", "1,0.5,0.5", "2,0.4,0.6"), "test.csv")) == ["train/loss", "val/loss"]


@pytest.mark.parametrize(
    ("path", "header", "name"),
    [
        ("dvclive/plots/metrics/loss/train.tsv", "step\ttrain", "train/loss"),
        ("dvclive/plots/metrics/accuracy/val.tsv", "step\tval", "val/accuracy"),
        ("dvclive/plots/metrics/val/loss.tsv", "step\tloss", "val/loss"),
        ("dvclive/plots/metrics/train/acc.tsv", "timestamp\tstep\tacc", "train/accuracy"),
        ("plots__metrics__eval__accuracy.tsv", "step\taccuracy", "val/accuracy"),
        ("dvclive/loss.tsv", "timestamp\tstep\tloss", "train/loss"),
    ],
)
def test_dvclive_says_in_folders_what_a_column_is(path: str, header: str, name: str) -> None:
    clock = "1600000000000\t" if header.startswith("timestamp") else ""
    found = table(rows(header, f"{clock}0\t0.5", f"{clock}1\t0.25"), path)
    assert names(found) == [name]
    assert found.runs[0].only(name).steps == [0, 1]


def test_tensorboards_download_is_named_by_its_file() -> None:
    text = rows("Wall time,Step,Value", "1600000000.5,0,0.5", "1600000001.5,10,0.25")
    assert names(table(text, "run-resnet_validation-tag-epoch_loss.csv"))[0].endswith("loss")
    assert names(table(text, "run-a-tag-val_accuracy.csv")) == ["val/accuracy"]


@pytest.mark.parametrize("cells", [("1/90", "2/90"), ("Epoch 1", "Epoch 2"), ("1.0", "2.0"), ("[1/90]", "[2/90]")])
def test_an_epoch_may_say_of_how_many_it_is(cells: tuple[str, str]) -> None:
    found = table(rows("Epoch,loss", f"{cells[0]},0.5", f"{cells[1]},0.25"))
    assert found.runs[0].only("train/loss").steps == [1, 2]


def test_caffes_own_tables_are_read() -> None:
    found = table(
        rows("NumIters,Seconds,LearningRate,accuracy,loss", "0.0,1.5,nan,0.25,2.5", "500.0,9.5,0.01,0.5,1.5"),
        "a.log.test",
    )
    assert found.runs[0].curves["loss"].steps == [0, 500]
    found = table(
        rows("#Iters Seconds TestAccuracy TestLoss", "0      1.5     0.25   2.5", "500    9.5   0.5 1.5"), "a.log.test"
    )
    assert found.runs[0].only("test/loss").steps == [0, 500]


def test_columns_that_only_name_a_split_are_of_what_the_file_names() -> None:
    assert names(table(rows("epoch,train,val", "1,0.5,0.6", "2,0.4,0.5"), "out/loss.csv")) == ["train/loss", "val/loss"]


def test_the_step_of_a_notebooks_trainer_may_have_no_log_yet() -> None:
    found = table(rows("Step,Training Loss,Validation Loss", "100,No log,1.5", "200,1.25,1.0"))
    assert found.runs[0].only("train/loss").steps == [200]
    assert found.unparsed.count == 0


def test_rows_longer_than_their_header_are_told_and_what_has_a_name_is_read() -> None:
    found = table(rows("EPOCH\tTRAIN_LOSS\tDEV_LOSS", "1\t0.5\t0.6\t0.7\t0.8", "2\t0.4\t0.5\t0.7\t0.8"))
    assert names(found) == ["train/loss", "val/loss"]
    assert found.unparsed.count == 2


# Marks, quotes, encodings


def test_decimal_commas_stand_between_semicolons() -> None:
    found = table(rows("epoch;loss;val_acc", "1;0,5;0,75", "2;0,25;0,8"))
    assert found.runs[0].only("train/loss").values == [0.5, 0.25]
    assert found.runs[0].only("val/accuracy").decimals == 2


def test_decimal_commas_may_stand_in_quotes_and_thousands_are_none() -> None:
    found = table(rows("epoch,loss", '1,"0,5"', '2,"0,125"'))
    assert found.runs[0].only("train/loss").values == [0.5, 0.125]
    found = table(rows("step,loss", '"1,000",0.5', '"2,000",0.25'))
    assert found.runs[0].only("train/loss").steps == [1000, 2000]
    found = table(rows("epoch,loss", '1,"1,250"', '2,"1,125"'))
    assert found.runs[0].only("train/loss").values == [1250.0, 1125.0]


def test_bars_and_blanks_part_cells() -> None:
    assert names(table(rows("epoch|loss|acc", "1|0.5|0.7", "2|0.4|0.8"))) == ["train/loss", "train/accuracy"]
    found = table(
        rows(
            "epoch     train_loss  valid_loss  accuracy  time",
            "0         0.5         0.4   0.88   00:12",
            "1         0.4   0.3   0.9   00:11",
        )
    )
    assert names(found) == ["train/loss", "val/loss", "train/accuracy"]
    found = table(rows("# epoch loss acc", "1 0.5 0.7", "2 0.4 0.8"), "log.dat")
    assert found.runs[0].only("train/loss").steps == [1, 2]


def test_what_pandas_prints_has_one_cell_more_than_its_header() -> None:
    found = table(
        rows("   epoch  train_loss  val_acc", "0      1         0.5     0.75", "1      2         0.4     0.80")
    )
    assert found.runs[0].only("val/accuracy").points == [(1, "0.75", 2), (2, "0.8", 3)]


def test_a_quoted_field_may_hold_line_feeds_and_lines_are_still_right() -> None:
    found = table(rows("epoch,note,loss", '1,"first\nline, and more",0.5', "2,plain,0.25", '3,"a ""word""",0.125'))
    assert found.runs[0].only("train/loss").points == [(1, "0.5", 2), (2, "0.25", 4), (3, "0.125", 5)]


def test_a_quote_too_many_costs_its_line_alone() -> None:
    found = table(rows("epoch,note,loss", '1,"open,0.5', *(f"{n},fine,0.5" for n in range(2, 200))))
    assert len(found.runs[0].only("train/loss").points) == 198
    assert found.unparsed.count == 1
    assert found.unparsed.examples[0][0] == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_encodings_of_windows_are_read(encoding: str) -> None:
    found = table("epoch,训练损失,验证准确率\n1,0.5,0.25\n2,0.25,0.5\n".encode(encoding))
    assert names(found) == ["train/loss", "val/accuracy"]
    assert found.runs[0].only("train/loss").steps == [1, 2]


def test_tensors_percents_and_thousands_are_numbers() -> None:
    found = table(
        rows("epoch,loss,acc", "1,\"tensor(0.5, device='cuda:0')\",87.5%", '2,"tensor(1,250.5)",88%', "3,0.25,89.5%")
    )
    run = found.runs[0]
    assert run.only("train/accuracy").values == [87.5, 88.0, 89.5]
    assert run.only("train/accuracy").metric.unit == "percent"
    assert run.only("train/loss").values[0] == 0.5


def test_short_and_long_rows_are_told() -> None:
    found = table(rows("epoch,loss,acc,lr", "1,0.5,0.5,0.1", "2,0.4", "3,0.3,0.6,0.1,77", "4,0.2,0.7,0.1") + "5,0.")
    assert found.runs[0].only("train/loss").steps[:3] == [1, 2, 3]
    assert found.runs[0].only("train/accuracy").steps == [1, 3, 4]
    assert [line for line, _ in found.unparsed.examples] == [4]


def test_a_word_among_numbers_is_told_with_its_line() -> None:
    found = table(rows("epoch,loss,acc", "1,0.5,0.5", "2,oops,0.6", "3,0.3,0.7", "Saved to disk", "4,0.2,0.8"))
    assert found.runs[0].only("train/loss").steps == [1, 3, 4]
    assert found.unparsed.examples == ((3, "loss: oops"), (5, "Saved to disk"))


def test_thousands_of_columns_are_read() -> None:
    header = ",".join(["step", *(f"layer{i}/loss" for i in range(3000))])
    text = rows(header, *(",".join([str(s), *["0.5"] * 3000]) for s in range(3)))
    assert len(table(text).runs[0].curves) == 3000


# Runs


def test_a_log_appended_to_itself_is_two_runs() -> None:
    found = table(rows("epoch,loss", "0,1.5", "1,1.25", "2,1.0", "0,2.5", "1,2.25"))
    assert [len(run.only("train/loss").points) for run in found.runs] == [3, 2]
    assert found.runs[1].start.reason == "epoch went 2 → 0 at line 5"


def test_a_header_in_the_middle_begins_a_run() -> None:
    found = table(rows("train_loss,val_loss", "1.5,1.6", "1.25,1.5", "train_loss,val_loss", "2.5,2.6"))
    assert [run.only("train/loss").points for run in found.runs] == [[(0, "1.5", 2), (1, "1.25", 3)], [(0, "2.5", 5)]]
    assert found.runs[1].start.reason == "the header stands again at line 4"


def test_a_header_with_another_column_is_followed() -> None:
    found = table(rows("epoch,loss", "0,1.5", "1,1.25", "epoch,loss,acc", "0,2.5,0.5", "1,2.25,0.6"))
    assert len(found.runs) == 2
    assert found.runs[1].only("train/accuracy").points == [(0, "0.5", 5), (1, "0.6", 6)]


def test_a_resumed_log_stays_one_run_though_its_header_comes_twice() -> None:
    found = table(rows("epoch,loss", "0,1.5", "1,1.25", "epoch,loss", "2,1.0", "3,0.75"))
    assert len(found.runs) == 1
    assert found.runs[0].only("train/loss").steps == [0, 1, 2, 3]


@pytest.mark.parametrize("order", [0, 1])
def test_a_column_tells_runs_apart_in_any_order(order: int) -> None:
    lines = [f"{seed},{epoch},{epoch + seed / 10}" for seed in (1, 2) for epoch in (0, 1, 2)]
    lines = sorted(lines, key=lambda line: line.split(",")[order])
    found = table(rows("seed,epoch,val_loss", *lines))
    assert [run.only("val/loss").values for run in found.runs] == [[0.1, 1.1, 2.1], [0.2, 1.2, 2.2]]
    assert [run.start.params["seed"] for run in found.runs] == ["1", "2"]


def test_the_long_form_names_its_metrics_in_a_column() -> None:
    found = table(
        rows(
            "run,step,metric,value",
            *(
                f"{run},{step},{metric},{step}.5"
                for run in "ab"
                for step in (0, 10)
                for metric in ("train/loss", "val/acc")
            ),
        )
    )
    assert [run.start.caption for run in found.runs] == ["a", "b"]
    assert found.runs[1].only("val/accuracy").points == [(0, "0.5", 7), (10, "10.5", 9)]


def test_a_column_may_say_the_split() -> None:
    found = table(rows("epoch,phase,loss,acc", "1,train,1.5,0.5", "1,val,1.6,0.4", "2,train,1.0,0.6", "2,val,1.1,0.5"))
    assert sorted(names(found)) == ["train/accuracy", "train/loss", "val/accuracy", "val/loss"]
    assert found.runs[0].only("val/loss").points == [(1, "1.6", 3), (2, "1.1", 5)]


def test_what_never_changes_was_chosen_before_the_run() -> None:
    found = table(
        rows("epoch,model,batch_size,n_parameters,lr,loss", *(f"{n},resnet,64,1200,0.1,0.5" for n in range(4)))
    )
    assert found.runs[0].start.params == {"model": "resnet", "batch_size": "64", "n_parameters": "1200"}
    assert names(found) == ["lr", "train/loss"]


def test_a_chart_of_wandb_has_a_run_for_each_of_its_columns() -> None:
    found = table(
        rows(
            '"Step","blue-1 - val/loss","blue-1 - val/loss__MIN","blue-1 - val/loss__MAX","a - b - val/loss"',
            '"0","2.5","2.5","2.5",""',
            '"5","","","","2.0"',
            '"10","1.5","1.5","1.5","1.75"',
        ),
        "wandb_export.csv",
    )
    assert [run.start.caption for run in found.runs] == ["blue-1", "a - b"]
    assert found.runs[0].curves["val/loss"].points == [(0, "2.5", 2), (10, "1.5", 4)]
    assert found.runs[0].curves["val/loss__MIN"].metric.kind == "aside"
    assert found.runs[1].only("val/loss").steps == [5, 10]


# One row per run


def test_a_row_for_each_run_states_results() -> None:
    found = table(
        rows("model,seed,lr,test_acc,std,n_seeds", "resnet18,1,0.1,93.5,0.2,3", "vgg16,2,0.05,92.25,0.1,3"),
        "results.csv",
    )
    assert [run.start.caption for run in found.runs] == ["resnet18", "vgg16"]
    run = found.runs[1]
    assert run.start.params == {"model": "vgg16", "seed": "2", "lr": "0.05", "n_seeds": "3"}
    assert run.start.tags == {"std": "0.1"}
    curve = run.only("test/accuracy")
    assert (curve.points, curve.metric.kind, curve.metric.step_unit) == ([(None, "92.25", 3)], "reported", "none")


def test_a_run_is_called_by_its_own_name_before_its_model() -> None:
    text = rows("Model,Seed,Accuracy,Epoch Time (s),RunID", "LSTM,1,0.5,0.9,lstm_1", "LSTM,1,0.75,0.9,lstm_2")
    found = table(text, "metrics.csv")
    assert [run.start.caption for run in found.runs] == ["lstm_1", "lstm_2"]
    assert found.runs[0].only("test/accuracy").values == [0.5]


def test_scikit_learns_search_has_scores_of_its_params() -> None:
    found = table(
        rows(
            ",mean_fit_time,param_C,params,split0_test_score,mean_test_score,std_test_score,rank_test_score",
            "0,0.5,1,{'C': 1},0.9,0.91,0.01,2",
            "1,0.6,10,{'C': 10},0.92,0.93,0.02,1",
        ),
        "cv_results.csv",
    )
    assert len(found.runs) == 2
    curve = found.runs[0].curves["mean_test_score"]
    assert (curve.values, curve.metric.rule, curve.metric.kind) == ([0.91], "mean", "reported")
    assert found.runs[1].start.params["param_C"] == "10"
    assert found.runs[1].start.tags["std_test_score"] == "0.02"


def test_a_doubt_behind_a_result_is_a_tag_and_a_row_of_means_no_run() -> None:
    found = table(rows("run,accuracy,f1", "a,93.5 ± 0.2,0.9", "b,91%,0.8", "mean,92.2,0.85"), "results.csv")
    assert [run.start.caption for run in found.runs] == ["a", "b"]
    assert found.runs[0].only("test/accuracy").values == [93.5]
    assert found.runs[0].start.tags == {"cell.accuracy": "93.5 ± 0.2"}
    assert found.unparsed.count == 1


def test_two_columns_of_names_and_values_are_one_run() -> None:
    found = table(rows("metric,value", "accuracy,0.91", "f1,0.88", "loss,0.31"), "test_metrics.csv")
    assert sorted(names(found)) == ["test/accuracy", "test/f1", "test/loss"]
    assert len(found.runs) == 1


# What is no training's


@pytest.mark.parametrize(
    "text",
    [
        rows("sepal,petal,species", "5.5,1.5,a", "6.5,2.5,b"),
        rows("id,text,label", "1,hello there,0", "2,good bye,1"),
        rows("date,steps,calories", "2021-03-04,9000,2000", "2021-03-05,4000,2100", "2021-03-06,7000,1900"),
        rows("class,precision,recall,f1-score,support", "cat,0.9,0.8,0.85,50", "dog,0.7,0.8,0.75,60"),
        rows("image,dice,iou", "a.png,0.9,0.8", "b.png,0.7,0.6"),
        rows("year,team,points,round", "2001,a,10,1", "2002,b,11,2", "2003,a,9,1"),
        rows("timestamp,latency,error", "1600000000,12.5,0", "1600000001,13.5,1"),
        rows("0.5,0.25", "0.4,0.2", "0.3,0.1"),
        rows("name: job", "loss: 0.5", "path: here"),
        rows("| a | b |", "| - | - |", "| 1 | 2 |"),
        rows("Dear reader,", "this is a letter, with commas,", "in it, and 3, 4, 5 numbers."),
        rows("time,temperature,pressure", "0,20.5,1.0", "1,21.5,1.1"),
    ],
)
def test_tables_of_other_things_give_no_runs(text: str) -> None:
    assert read(text, path="data.csv").runs == []


def test_a_large_table_keeps_its_lines_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from expdb.parsers import reading

    monkeypatch.setattr(reading, "BLOCK_BYTES", 256)
    monkeypatch.setattr(reading, "KEEP_BYTES", 512)
    note = '"two\nlines"'
    text = rows("step,note,loss", *(f"{n},{note if n % 7 == 0 else 'x'},{n}.5" for n in range(300)))
    found = table(text)
    curve = found.runs[0].only("train/loss")
    assert curve.steps == list(range(300))
    lines = text.split("\n")
    firsts = [i for i, line in enumerate(lines, 1) if line[:1].isdigit()]
    assert curve.lines == firsts
    assert found.unparsed.count == 0


@pytest.mark.parametrize("name", ["delimited", "boxed", "yolo", "series"])
@pytest.mark.parametrize(
    "text",
    [
        "-----------\n" + "| a | 1 |\n" * 4 + "| a" + " " * 60000 + "x\n",
        "-----------\n" + "| a | 1 |\n" * 4 + "|" + "-" * 60000 + "\n",
        "epoch,loss" + " " * 60000 + "(x\n1,2\n",
        "epoch,loss\n1," + "1" * 60000 + "x\n2,3\n",
        "epoch,loss\n" + "1" * 60000 + ",2\n",
        "epoch,loss\n" + '1,"a\n' * 20000,
        "epoch,loss\n1,2\n" * 20000,
        "," * 60000 + "\n" + "," * 60000 + "\n",
        "0/1 1G " + "0.1 " * 60000 + "\n",
    ],
)
def test_no_text_takes_for_ever(name: str, text: str) -> None:
    parser = parsers.built_in()[name]
    reading = Reading.of_bytes(text.encode(), "loss.txt")
    began = time.process_time()
    parser.recognise(reading.sample)
    list(parser.parse(reading, parsers.Options()))
    # Twenty thousand headers take two seconds while lines are counted; the square of that would be hours.
    assert time.process_time() - began < 6


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    st.lists(st.lists(st.none() | NUMBERS, min_size=3, max_size=3), min_size=2, max_size=20),
    st.sampled_from([",", "\t", ";", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_is_written_is_read(values: list[list[float | None]], mark: str, end: str, padded: bool) -> None:
    labels = ["train_loss", "val_loss", "val_acc"]
    values[0] = [0.5, 0.5, 0.5]
    cells = [[str(step), *("" if v is None else repr(v) for v in row)] for step, row in enumerate(values)]
    if padded:
        cells = [[cell.rjust(12) for cell in row] for row in cells]
    found = table(end.join(mark.join(row) for row in [["epoch", *labels], *cells]) + end)
    assert found.unparsed.count == 0
    for i, label in enumerate(labels):
        wanted = [(step, repr(v), step + 2) for step, row in enumerate(values) if (v := row[i]) is not None]
        assert found.runs[0].curves[label].points == wanted


@given(st.text(st.sampled_from('epoch,loss\t;|"\r\n 0123.-_%#'), max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    if not text.strip():
        return
    for start in ("", "epoch,loss\n1,0.5\n2,0.25\n", "---------\n| a | 1 |\n| b | 2 |\n| c | 3 |\n", "0/1 1G 0.5 "):
        reading = Reading.of_bytes((start + text).encode(), "loss.csv")
        for name in ("delimited", "boxed", "yolo", "series"):
            parser = parsers.built_in()[name]
            assert 0 <= parser.recognise(reading.sample) <= 1
            for event in parser.parse(reading, parsers.Options()):
                for curve in event.curves if isinstance(event, Points) else ():
                    assert len(curve.steps) == len(curve.values) == len(curve.lines) > 0
                    assert all(a <= b for a, b in pairwise(curve.lines) if a is not None and b is not None)
