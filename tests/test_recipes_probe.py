"""bn-probe: the numbers that its page shows come out again, and its lines are numbers that a reader takes."""

import argparse
import os
import re
import subprocess
import sys
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from expdb.recipes import bn_probe  # noqa: E402

Lines = list[dict[str, float]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def probe(capsys: pytest.CaptureFixture[str], *words: str) -> Lines:
    """The values of each line that the program prints, behind its settings."""
    bn_probe.main(words)
    settings, *lines = capsys.readouterr().out.splitlines()
    assert settings.startswith("Namespace(probe=")
    out = []
    for line in lines:
        parts = [re.fullmatch(r"([a-z ]+\d?) (\S+)", part) for part in line.split(", ")]
        out.append({part[1]: float(part[2]) for part in parts if part})
        assert all(parts), line
    return out


@pytest.fixture(scope="module")
def second() -> Lines:
    """The second probe to its end: the third line comes at step 12,347."""
    done = subprocess.run(
        [sys.executable, "-m", "expdb.recipes.bn_probe", "--probe", "2", "--seed", "1"],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=True,
        # Lines are counted in other tests: these are twelve thousand steps.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )
    lines = [line.split(", ") for line in done.stdout.splitlines()[1:]]
    return [{name: float(value) for name, _, value in (part.rpartition(" ") for part in line)} for line in lines]


def test_in_training_bn_gives_the_numbers_that_the_page_shows(second: Lines) -> None:
    # The page: -8.2226 and 8.2227; the last digit is the bias's, which rounding moves.
    assert second[-1]["bn train1"] == pytest.approx(-8.2226, abs=2e-4)
    assert second[-1]["bn train2"] == pytest.approx(8.2227, abs=2e-4)


def test_in_evaluation_it_gives_less_by_the_root_of_two(second: Lines) -> None:
    # The page: -5.8143 and 5.8143. Of two samples the unbiased variance is twice the biased one.
    assert second[-1]["bn eval1"] == pytest.approx(-5.8143, abs=1e-3)
    assert second[-1]["bn eval2"] == pytest.approx(5.8143, abs=1e-3)
    last = second[-1]
    ratio = (last["bn eval2"] - last["bn eval1"]) / (last["bn train2"] - last["bn train1"])
    assert ratio == pytest.approx(2**-0.5, rel=1e-3)


def test_a_line_comes_each_time_the_loss_has_fallen_by_100(second: Lines) -> None:
    assert len(second) == 3
    assert second[0]["loss"] < 0.1447 / 100
    assert all(later["loss"] * 100 < line["loss"] for line, later in pairwise(second))


def test_the_layer_before_bn_gets_no_gradient(second: Lines) -> None:
    # Of two samples BN gives minus and plus one, whatever the layer does.
    assert all(abs(line["gradient"]) < 1e-6 for line in second)


def test_running_statistics_after_two_batches_are_those_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    none, one, two = probe(capsys, "--probe", "3")
    assert (none["running mean"], none["running var"]) == (0, 1)
    assert (one["running mean"], two["running mean"]) == (15000, 28500)
    assert one["running var"] == pytest.approx(5e8, rel=1e-6)
    assert two["running var"] == pytest.approx(9.5e8, rel=1e-6)
    assert none["bn eval2"] == pytest.approx(2e5, rel=1e-4)
    for line in (none, one, two):
        assert [line["bn train1"], line["bn train2"]] == pytest.approx([-1, 1])
    assert [two["bn eval1"], two["bn eval2"]] == pytest.approx([two["by hand1"], two["by hand2"]])


def test_momentum_0_freezes_the_running_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    lines = probe(capsys, "--probe", "3", "--momentum", "0", "--steps", "5")
    assert len(lines) == 6
    assert {(line["running mean"], line["running var"]) for line in lines} == {(0.0, 1.0)}
    # Evaluation then normalises nothing.
    assert [line["bn eval2"] for line in lines] == [pytest.approx(2e5, rel=1e-4)] * 6


def test_momentum_1_keeps_the_last_batch_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _, line, _ = probe(capsys, "--probe", "3", "--momentum", "1")
    assert [line["running mean"], line["running var"]] == pytest.approx([150000, 5e9])


def test_far_apart_inputs_are_told_apart_in_training_mode(capsys: pytest.CaptureFixture[str]) -> None:
    # Not what the page says of its first script; it does hold for BN in evaluation mode, the next test.
    lines = probe(capsys, "--probe", "1", "--seed", "1", "--steps", "1000", "--every", "500")
    assert [line["step"] for line in lines] == [1, 500, 1000]
    assert lines[-1]["loss"] < lines[0]["loss"] / 500


def test_far_apart_inputs_are_not_learned_in_evaluation_mode(capsys: pytest.CaptureFixture[str]) -> None:
    lines = probe(capsys, "--probe", "1", "--seed", "1", "--steps", "1000", "--every", "500", "--bn", "eval")
    assert [line["loss"] for line in lines[1:]] == [pytest.approx(1, abs=1e-3)] * 2
    assert {(line["running mean"], line["running var"]) for line in lines} == {(0.0, 1.0)}


def test_the_same_seed_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--probe", "1", "--steps", "40", "--every", "10", "--seed", "3")
    assert probe(capsys, *words) == probe(capsys, *words)
    assert probe(capsys, *words) != probe(capsys, *words[:-1], "4")


def test_looking_leaves_the_running_statistics_alone() -> None:
    bn = nn.BatchNorm1d(1)
    bn_probe.outputs(nn.Identity(), bn, torch.tensor([[1.0], [3.0]]))
    assert bn.running_mean is not None
    assert bn.running_mean.item() == 0


@pytest.mark.parametrize(
    "words", [("--every", "0"), ("--steps", "0"), ("--probe", "3", "--diagnose"), ("--probe", "4")]
)
def test_settings_that_mean_nothing_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        bn_probe.main(words)
    assert ended.value.code == 2


def test_every_setting_is_a_flag_with_help() -> None:
    actions = [one for one in bn_probe.parser()._actions if not isinstance(one, argparse._HelpAction)]
    assert all(one.help and one.option_strings for one in actions)
