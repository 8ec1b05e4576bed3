"""YOLO's results.txt: columns known by their place, the number of losses by their sum."""

import pytest
from readings import read


def line(epoch: int, losses: tuple[float, ...], scores: str, after: str) -> str:
    parts = "".join(f"{loss:10.4g}" for loss in losses)
    return f"{epoch:6d}/2     1.5G{parts}{sum(losses):10.4g}        12       640 {scores} {after}\n"


def test_fifteen_columns_have_the_names_of_the_later_csv() -> None:
    text = "".join(line(n, (0.1, 0.02, 0.05), f"0.5 0.25 0.4{n} 0.2", "0.09 0.01 0.04") for n in range(3))
    found = read(text, path="results.txt")
    assert found.format == "yolo"
    (run,) = found.runs
    assert run.curves["metrics/mAP_0.5"].points == [(0, "0.4", 1), (1, "0.41", 2), (2, "0.42", 3)]
    assert run.only("train/box_loss").values == [0.1, 0.1, 0.1]
    assert run.curves["val/cls_loss"].values == [0.04, 0.04, 0.04]
    assert run.curves["gpu_mem"].metric.kind == run.curves["targets"].metric.kind == "aside"
    assert run.start.params["img_size"] == "640"


def test_a_last_score_above_the_first_is_f1() -> None:
    text = "".join(line(n, (1.5, 0.5, 0.25), "0.5 0.5 0.3 0.5", "0.09 0.01 0.04") for n in range(3))
    assert read(text, path="results.txt").runs[0].curves["metrics/F1"].values == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("losses", "after", "wanted"),
    [
        ((0.1, 0.2, 0.3, 0.4), "1.5", ["train/wh_loss", "val/loss"]),
        ((0.1, 0.2, 0.3, 0.4), "0.1 0.2 0.3", ["train/landmark_loss", "val/cls_loss"]),
        ((0.1, 0.2), "0.1 0.2", ["train/obj_loss", "val/obj_loss"]),
    ],
)
def test_other_versions_have_more_or_fewer_losses(losses: tuple[float, ...], after: str, wanted: list[str]) -> None:
    found = read("".join(line(n, losses, "0.5 0.5 0.3 0.2", after) for n in range(3)), path="results.txt")
    assert set(wanted) <= set(found.runs[0].curves)


def test_trainings_in_one_file_and_cut_lines_are_told_apart() -> None:
    one = "".join(line(n, (0.1, 0.02, 0.05), "0.5 0.25 0.4 0.2", "0.09 0.01 0.04") for n in range(3))
    found = read(one + one + one[:40], path="results.txt")
    assert [len(run.curves["train/box_loss"].points) for run in found.runs] == [3, 3]
    assert found.runs[1].start.reason == "epoch went 2 → 0 at line 4"
    assert found.unparsed.count == 1


def test_a_diverged_sum_is_no_obstacle() -> None:
    nan = float("nan")
    text = line(0, (0.1, 0.02, 0.05), "0.5 0.25 0.4 0.2", "0.09 0.01 0.04") + line(
        1, (nan, nan, nan), "0 0 0 0", "nan nan nan"
    )
    assert len(read(text, path="results.txt").runs[0].curves["train/loss"].points) == 2


def test_a_progress_bar_is_no_results_file() -> None:
    assert read("  0/299  2.75G  0.1  0.2  0.3  10  640: 100%|###| 10/10\n" * 3, path="out.txt").format != "yolo"
