"""Numbers without a header: the file's name says what they are, or nobody does."""

import pytest
from readings import read


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("loss.txt", "train/loss"),
        ("train_loss.txt", "train/loss"),
        ("val_acc.csv", "val/accuracy"),
        ("resnet_test_acc_list.txt", "test/accuracy"),
        ("train_loss_history.dat", "train/loss"),
        ("logs__acc.txt", "train/accuracy"),
    ],
)
def test_a_files_name_names_its_numbers(path: str, name: str) -> None:
    found = read("0.5\n0.25\n\n1e-2\nnan\n", path=path)
    assert found.format == "series"
    curve = found.runs[0].only(name)
    assert curve.points == [(0, "0.5", 1), (1, "0.25", 2), (2, "0.01", 4), (3, "nan", 5)]
    assert curve.metric.step_unit == "row"


@pytest.mark.parametrize("path", ["numbers.txt", "a.csv", "ports.log", "time.txt", "ids_train.txt"])
def test_numbers_that_nobody_names_are_no_curve(path: str) -> None:
    assert read("1\n2\n3\n", path=path).runs == []


def test_lines_that_are_no_numbers_are_told() -> None:
    found = read("\n".join(["0.5"] * 60 + ["end"]), path="loss.txt")
    assert found.unparsed.examples == ((61, "end"),)


def test_mlflow_keeps_time_value_and_step() -> None:
    text = "1600000000000 0.5 0\n1600000001000 0.25 10\n1600000002000 nan 20\n"
    found = read(text, path="mlruns/0/abc/metrics/val_loss")
    curve = found.runs[0].only("val/loss")
    assert curve.points == [(0, "0.5", 1), (10, "0.25", 2), (20, "nan", 3)]
    assert read("1600000000000 0.5\n1600000001000 0.75\n", path="m/metrics/val/acc").runs[0].only(
        "val/accuracy"
    ).steps == [0, 1]
    again = read(text + "1600000009000 0.75 0\n", path="metrics/val_loss")
    assert [len(run.only("val/loss").points) for run in again.runs] == [3, 1]


def test_times_and_values_of_nobody_knows_what_are_no_curve() -> None:
    assert read("1600000000000 20.5\n1600000001000 21.5\n", path="temperature.txt").runs == []
