"""Boxes of keys and values in a log: one box, one step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import read


def box(step: int, loss: float, edge: str = "-" * 24) -> str:
    return f"{edge}\n| loss      | {loss:<8} |\n| samples   | {step * 8:<8} |\n| step      | {step:<8} |\n{edge}\n"


def test_each_box_is_a_step() -> None:
    found = read(
        "Logging to logs\n" + box(0, 16.5) + "saving model 0...\n" + box(10, 15.5) + box(20, 14.25), path="log.txt"
    )
    assert found.format == "boxed"
    (run,) = found.runs
    assert run.curves["loss"].points == [(0, "16.5", 3), (10, "15.5", 9), (20, "14.25", 14)]
    assert run.curves["samples"].metric.kind == "aside"
    assert "step" not in run.curves
    assert found.unparsed.examples == ((1, "Logging to logs"), (7, "saving model 0..."))


def test_a_key_below_a_group_carries_its_name() -> None:
    text = "".join(
        f"---------------------------------\n| rollout/           |          |\n|    ep_rew_mean     | {n}.5    |\n"
        f"| time/              |          |\n|    fps             | 90       |\n|    iterations      | {n}      |\n"
        f"|    total_timesteps | {n * 2048}     |\n| train/             |          |\n"
        f"|    loss            | 0.{n}      |\n"
        "---------------------------------\n"
        for n in (1, 2, 3)
    )
    found = read("Using cpu device\n" + text, path="run.log")
    run = found.runs[0]
    assert run.curves["rollout/ep_rew_mean"].steps == [2048, 4096, 6144]
    assert run.only("train/loss").values == [0.1, 0.2, 0.3]
    assert run.curves["time/fps"].metric.kind == run.curves["time/iterations"].metric.kind == "aside"


def test_a_file_cut_at_both_ends_is_read_as_far_as_it_goes() -> None:
    text = box(10, 0.5) + box(20, 0.25) + box(30, 0.125)
    found = read(text[text.index("| samples") : text.rindex("| samples")], path="log.txt")
    run = found.runs[0]
    assert run.curves["loss"].values == [0.25, 0.125]
    assert run.curves["samples"].steps == [10, 20]
    assert len(found.runs) == 1


def test_rounded_steps_may_be_equal_and_a_fall_to_the_start_is_another_run() -> None:
    text = "".join(
        f"{'-' * 20}\n| loss | {v} |\n| step | {s} |\n"
        for s, v in (("1e+04", 1), ("1e+04", 2), ("1.01e+04", 3), ("0", 4))
    )
    found = read(text + "-" * 20 + "\n", path="log.txt")
    assert [run.curves["loss"].steps for run in found.runs] == [[10000, 10000, 10100], [0]]
    assert found.runs[1].start.reason == "step went 10100 → 0 at line 11"


def test_boxes_without_a_counter_are_counted_and_words_are_params() -> None:
    text = "".join(
        f"{'-' * 20}\n| Env    | Cart |\n| Reward | {n}.5 |\n| Std    | nan |\n{'-' * 20}\n" for n in range(3)
    )
    found = read(text, path="log.txt")
    assert found.runs[0].start.params == {"Env": "Cart"}
    assert found.runs[0].curves["Reward"].steps == [0, 1, 2]
    assert found.runs[0].curves["Reward"].metric.step_unit == "row"


@pytest.mark.parametrize("text", ["| a | 1 |\n|---|---|\n| b | 2 |\n| c | 3 |\n", "-----\ntext | with | bars\n-----\n"])
def test_tables_of_pages_are_no_boxes(text: str) -> None:
    assert read(text, path="a.txt").format != "boxed"


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=20))
def test_what_is_boxed_is_read(values: list[float]) -> None:
    found = read("".join(box(n, v) for n, v in enumerate(values)), path="log.txt")
    assert found.runs[0].curves["loss"].points == [(n, repr(v), 5 * n + 2) for n, v in enumerate(values)]
