"""The wide ResNet of the nine fusions: each formula by hand in float64, its parameters, its constants, its schedule."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from expdb.recipes import RecipeError, data, fusion
from expdb.recipes.training import Settings
from expdb.recipes.wide_resnet import FUSIONS, Block, Fusion, Join, WideResNet

Norm = Callable[[Tensor], Tensor]

# A row: its text in the table, its formula in numbers, the accuracy that was recorded.
TABLE: tuple[tuple[str, Callable[[Tensor, Tensor, Norm, Norm], Tensor], float], ...] = (
    ("out = self.bn(out) + self.shortcut(x)", lambda out, cut, bn, bn_s: bn(out) + cut, 87.62),
    (
        "out = (out.sigmoid() + 1) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: (sigmoid(out) + 1) * bn_s(cut),
        78.23,
    ),
    (
        "out = (self.bn(out).sigmoid() + 1) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: (sigmoid(bn(out)) + 1) * bn_s(cut),
        78.69,
    ),
    (
        "out = (self.bn(out).sigmoid() + 0.5) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: (sigmoid(bn(out)) + 0.5) * bn_s(cut),
        78.57,
    ),
    (
        "self.bn_s.bias.data[:]=1; out = (self.bn(out).sigmoid() + 1) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: (sigmoid(bn(out)) + 1) * bn_s(cut),
        82.26,
    ),
    (
        "self.bn_s.bias.data[:]=1; out = (self.bn(out).sigmoid() + 0.5) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: (sigmoid(bn(out)) + 0.5) * bn_s(cut),
        84.10,
    ),
    (
        "self.bn.bias.data[:]=0; self.bn_s.bias.data[:]=1;"
        " out = (self.bn(out).sigmoid() + 0.5) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: (sigmoid(bn(out)) + 0.5) * bn_s(cut),
        84.85,
    ),
    (
        "self.bn.bias.data[:]=0; self.bn_s.bias.data[:]=1;"
        " out = (self.bn(out).sigmoid()) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: sigmoid(bn(out)) * bn_s(cut),
        85.83,
    ),
    (
        "self.bn.bias.data[:]=0; self.bn.weight.data[:]=1; self.bn_s.bias.data[:]=1;"
        " out = (self.bn(out).sigmoid()) * self.bn_s(self.shortcut(x))",
        lambda out, cut, bn, bn_s: sigmoid(bn(out)) * bn_s(cut),
        81.57,
    ),
)

# What each row sets: (bn.bias, bn.weight, bn_s.bias), None where it is learned.
HELD = (
    *((None, None, None),) * 4,
    *((None, None, 1.0),) * 2,
    *((0.0, None, 1.0),) * 2,
    (0.0, 1.0, 1.0),
)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def norm_by_hand(norm: nn.BatchNorm2d | None, bias: float | None, weight: float | None, training: bool) -> Norm:
    """Over batch and pixels, with the biased variance; a constant in the parameter's place where one is given."""

    def normalised(x: Tensor) -> Tensor:
        assert norm is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean, norm.running_var
        if training:
            count = x.shape[0] * x.shape[2] * x.shape[3]
            mean = x.sum((0, 2, 3)) / count
            var = ((x - mean[:, None, None]) ** 2).sum((0, 2, 3)) / count
        scale = norm.weight if weight is None else torch.full_like(norm.weight, weight)
        shift = norm.bias if bias is None else torch.full_like(norm.bias, bias)
        shares = (x - mean[:, None, None]) / torch.sqrt(var + 1e-5)[:, None, None]
        return shares * scale[:, None, None] + shift[:, None, None]

    return normalised


def unlike_their_start(module: nn.Module) -> None:
    """Random parameters and running statistics: at 1 and 0 half of the formula could be missing."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 2)


def tiny(row: int = 1, classes: int = 10, dropout: float = 0.0) -> WideResNet:
    return WideResNet(10, 1, dropout, classes, FUSIONS[row - 1])


def test_the_rows_are_the_tables_in_its_order() -> None:
    assert [one.expression for one in FUSIONS] == [text for text, _, _ in TABLE]
    assert [one.recorded for one in FUSIONS] == [recorded for _, _, recorded in TABLE]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("row", range(1, 10))
def test_a_fusion_is_its_formula(row: int, training: bool) -> None:
    torch.manual_seed(row)
    join = Join(3, FUSIONS[row - 1]).double().train(training)
    unlike_their_start(join)
    out, cut = torch.randn(2, 4, 3, 5, 6, dtype=torch.float64).mul(2).add(0.5)
    bias, weight, bias_s = HELD[row - 1]
    bn = norm_by_hand(join.bn, bias, weight, training)
    bn_s = norm_by_hand(join.bn_s, bias_s, None, training)
    expected = TABLE[row - 1][1](out, cut, bn, bn_s)
    torch.testing.assert_close(join(out, cut), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", range(1, 10))
def test_a_fusions_gradients_are_its_formulas(row: int) -> None:
    torch.manual_seed(row)
    join = Join(2, FUSIONS[row - 1]).double()
    unlike_their_start(join)
    inputs = [torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(join, inputs)


@pytest.mark.parametrize(("inside", "channels", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2), (4, 6, 2)])
def test_a_block_is_what_the_page_draws(inside: int, channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block = Block(inside, channels, stride, 0.3, FUSIONS[0]).double().eval()
    unlike_their_start(block)
    x = torch.randn(2, inside, 6, 6, dtype=torch.float64)
    bn1, bn2, bn = (norm_by_hand(one, None, None, False) for one in (block.bn1, block.bn2, block.join.bn))
    out = functional.conv2d(bn1(x).clamp(min=0), block.conv1.weight, block.conv1.bias, padding=1)
    out = functional.conv2d(bn2(out).clamp(min=0), block.conv2.weight, block.conv2.bias, stride, padding=1)
    cut = x
    if (inside, 1) != (channels, stride):
        assert isinstance(block.shortcut, nn.Conv2d)
        assert block.shortcut.kernel_size == (1, 1)
        cut = functional.conv2d(x, block.shortcut.weight, block.shortcut.bias, stride)
    torch.testing.assert_close(block(x), bn(out) + cut)


def test_dropout_stands_between_the_convolutions() -> None:
    block = Block(4, 4, 1, 1.0, FUSIONS[0])
    seen: list[Tensor] = []
    block.bn2.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    block(torch.randn(2, 4, 6, 6))
    assert not seen[0].any()


def counted(depth: int, width: int, classes: int, norms: int) -> int:
    """Parameters, added up layer by layer. norms: of those two that a fusion calls."""
    total, inside = 3 * 16 * 9 + 16, 16
    for planes in (16 * width, 32 * width, 64 * width):
        for _ in range((depth - 4) // 6):
            total += 2 * inside + (inside * planes * 9 + planes) + 2 * planes + (planes * planes * 9 + planes)
            if planes != inside:
                total += inside * planes + planes
            total += 2 * planes * norms
            inside = planes
    return total + 2 * inside + inside * classes + classes


@pytest.mark.parametrize(("depth", "width", "classes"), [(16, 10, 101), (10, 1, 10), (22, 2, 5)])
def test_the_parameters_are_as_many_as_its_layers_have(depth: int, width: int, classes: int) -> None:
    for row, norms in ((1, 1), (2, 1), (3, 2), (9, 2)):
        model = WideResNet(depth, width, 0.3, classes, FUSIONS[row - 1])
        assert sum(one.numel() for one in model.parameters()) == counted(depth, width, classes, norms)


def test_the_full_model_has_seventeen_million() -> None:
    assert counted(16, 10, 101, 1) == 17_185_061
    assert counted(16, 10, 101, 2) == 17_189_541


def test_the_network_ends_as_the_original_does() -> None:
    model = tiny()
    assert model.bn.momentum == 0.9
    assert {one.momentum for one in model.layers.modules() if isinstance(one, nn.BatchNorm2d)} == {0.1}
    # Adaptive pooling: the side of the pictures is free.
    assert model(torch.randn(2, 3, 8, 8)).shape == model(torch.randn(2, 3, 20, 28)).shape == (2, 10)


def test_convolutions_start_xavier_uniform_with_gain_root_two() -> None:
    torch.manual_seed(0)
    for module in WideResNet(16, 4, 0.3, 10, FUSIONS[0]).modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is not None
            assert not module.bias.any()
            weight = module.weight.detach()
            outside, inside, height, width = weight.shape
            bound = math.sqrt(2) * math.sqrt(6 / ((inside + outside) * height * width))
            assert 0.95 * bound < float(weight.abs().max()) <= bound
            if weight.numel() > 5000:
                assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("row", range(1, 10))
def test_constants_are_back_at_the_forward_after_a_step(row: int) -> None:
    torch.manual_seed(0)
    join = Join(3, FUSIONS[row - 1])
    optimiser = torch.optim.SGD(join.parameters(), lr=0.5, weight_decay=0.1)
    moved = set()
    for _ in range(3):
        join(*torch.randn(2, 8, 3, 4, 4)).square().sum().backward()
        before = {name: one.detach().clone() for name, one in join.named_parameters()}
        optimiser.step()
        moved |= {name for name, one in join.named_parameters() if not torch.equal(one, before[name])}
    join(*torch.randn(2, 8, 3, 4, 4))
    for name, value in zip(("bn.bias", "bn.weight", "bn_s.bias"), HELD[row - 1], strict=True):
        if value is not None:
            assert bool((join.get_parameter(name) == value).all())
    # The optimiser moves them all: it is the forward that keeps some.
    assert moved == {name for name, _ in join.named_parameters()}


def rates(epochs: int, milestones: tuple[int, ...], gamma: float) -> list[float]:
    """Learning rate of each epoch, from 1."""
    made = fusion.optimiser(nn.Linear(1, 1), Settings())
    schedule, out = fusion.schedule(made, milestones, gamma), []
    for _ in range(epochs):
        out.append(made.param_groups[0]["lr"])
        made.step()
        schedule.scheduler.step()
    return out


def test_the_rate_falls_after_epochs_60_120_and_160() -> None:
    found = rates(200, (60, 120, 160), 0.2)
    expected = [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_settings_are_the_experiments_unless_others_are_given() -> None:
    words = fusion.flags().parse_args([])
    model = (words.depth, words.width, words.dropout, words.size, words.data)
    assert model == (16, 10, 0.3, 64, "caltech101")
    assert (words.epochs, words.batch_size, words.lr, words.momentum, words.weight_decay) == (200, 64, 0.1, 0.9, 5e-4)
    assert (words.milestones, words.gamma, words.new_optimiser_each_epoch) == ([60, 120, 160], 0.2, True)
    group = fusion.optimiser(nn.Linear(1, 1), Settings()).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.1, 0.9, 5e-4, False)


@pytest.mark.parametrize(("depth", "width"), [(15, 1), (4, 1), (10, 0)])
def test_a_depth_that_is_none_is_refused(depth: int, width: int) -> None:
    with pytest.raises(RecipeError, match="10, 16, 22"):
        WideResNet(depth, width, 0.3, 10, FUSIONS[0])


def test_caltech_is_split_as_the_original_splits_it() -> None:
    labels = [number % 101 for number in range(8677)]
    train, test = data.stratified(labels)
    assert (len(train), len(test)) == (6941, 1736)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(8677))
    again = data.stratified(labels)
    assert torch.equal(train, again[0])
    assert torch.equal(test, again[1])


def start(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "expdb.recipes.fusion", *words, "--threads", "1"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


SMALL = ("--data", "digits", "--size", "8", "--depth", "10", "--width", "1", "--limit", "64", "--device", "cpu")


def test_a_rows_expression_is_a_parameter_of_the_run_that_the_log_reader_finds(tmp_path: Path) -> None:
    done = start(*SMALL, "--fusion", "8", "--epochs", "2", "--batch-size", "32")
    assert (done.returncode, done.stderr) == (0, "")
    log = tmp_path / "row8.log"
    log.write_text(done.stdout, encoding="utf-8")
    read = subprocess.run(
        [sys.executable, "-m", "expdb", "parse", str(log), "--json"], capture_output=True, encoding="utf-8", check=True
    )
    (run,) = json.loads(read.stdout)["runs"]
    params: Mapping[str, str] = run["params"]
    assert params["expression"] == TABLE[7][0]
    assert (params["fusion"], params["lr"], params["device"]) == ("8", "0.1", "cpu")
    assert params["parameters"] == str(counted(10, 1, 10, 2))
    curves = {one["name"]: one["steps"] for one in run["metrics"]}
    names = ("train/loss", "train/accuracy", "test/accuracy", "epoch_time")
    assert curves == {name: [1, 2] for name in names}


def test_a_data_set_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = start("--root", str(tmp_path / "none"), "--epochs", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "--download" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_learns_the_digits() -> None:
    words = [*SMALL, "--limit", "500", "--fusion", "1", "--epochs", "4", "--batch-size", "32", "--milestones", "3"]
    done = start(*words)
    final = done.stdout.splitlines()[-1]
    assert final.startswith("epoch 4,\tloss ")
    assert float(final.split("test accuracy ")[1].split(",")[0]) > 0.6


def test_a_fusion_says_what_it_computes() -> None:
    made = Fusion("bn(out)", 0.25, (("bn.weight", 2),), 0.0)
    assert (
        made.expression
        == "self.bn.weight.data[:]=2; out = (self.bn(out).sigmoid() + 0.25) * self.bn_s(self.shortcut(x))"
    )
