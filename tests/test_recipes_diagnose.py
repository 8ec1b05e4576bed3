"""diagnose: one planted fault for each rule is found with its evidence, and healthy models are left in peace."""

import copy
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.optim import SGD, Adam, Optimizer  # noqa: E402

from expdb.recipes import classify, diagnosing  # noqa: E402
from expdb.recipes.diagnosing import Batch, Finding  # noqa: E402

CLASSES = 10


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def pictures(count: int = 3, *, mean: float = 0.0, std: float = 1.0) -> list[Batch]:
    """Batches of 32 pictures, 3 x 8 x 8, which show their label in one of their pixels."""
    out = []
    for _ in range(count):
        labels = torch.randint(CLASSES, (32,))
        inputs = torch.randn(32, 3, 8, 8)
        inputs.view(32, -1)[torch.arange(32), labels] += 3
        inputs = (inputs - inputs.mean()) / inputs.std()
        out.append((inputs * std + mean, labels))
    return out


def network(*behind: nn.Module) -> nn.Sequential:
    """Two convolutions and two linear layers, as torch initialises them."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, CLASSES)),
        *behind,
    )


def found(
    model: nn.Module,
    batches: list[Batch] | None = None,
    optimiser: Callable[[nn.Module], Optimizer] = lambda model: Adam(model.parameters(), lr=1e-3),
    loss: diagnosing.Loss = functional.cross_entropy,
) -> dict[str, Finding]:
    """What check finds, by rule."""
    findings = diagnosing.check(model, batches or pictures(), loss, optimiser(model), seed=0)
    assert len({one.rule for one in findings}) == len(findings)
    assert all(one.evidence and one.remedy for one in findings)
    return {one.rule: one for one in findings}


class Functional(nn.Module):
    """Calls its non-linearities as functions, one of them twice."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(192, 32), nn.Linear(32, 32), nn.Linear(32, CLASSES)
        nn.init.constant_(self.second.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x.flatten(1)))
        out: Tensor = self.last(self.second(x).relu_())
        return out


# Healthy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda model: Adam(model.parameters(), lr=1e-3),
        lambda model: SGD(model.parameters(), lr=0.01),
        lambda model: SGD(model.parameters(), lr=0.05, momentum=0.9),
    ],
    ids=["adam", "sgd", "momentum"],
)
def test_a_healthy_training_is_left_in_peace(optimiser: Callable[[nn.Module], Optimizer]) -> None:
    assert found(network(), optimiser=optimiser) == {}


@pytest.mark.parametrize("model", ["resnet18", "vgg19", "nin", "googlenet", "fcnet", "convnet"])
def test_no_model_of_classify_is_accused_with_its_defaults(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    words = ["--data", "digits", "--model", model, "--width", "0.125", "--batch-size", "16"]
    with pytest.raises(SystemExit) as ended:
        classify.main(["--diagnose", *words])
    assert capsys.readouterr().out == "none of 8 rules is broken\n"
    assert ended.value.code == 0


def test_a_block_that_begins_with_a_zero_scale_is_healthy() -> None:
    model = nn.Sequential(*network()[:3], nn.BatchNorm2d(16), *network()[3:])
    nn.init.zeros_(model.get_parameter("3.weight"))
    assert "update scale" not in found(model)


def test_nothing_is_changed_by_looking() -> None:
    model = nn.Sequential(nn.Dropout(0.5), *network()[:3], nn.BatchNorm2d(16), *network()[3:])
    model[4].eval()
    optimiser = SGD(model.parameters(), lr=0.1, momentum=0.9)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    batches = pictures()
    torch.set_rng_state(state)
    diagnosing.check(model, batches, functional.cross_entropy, optimiser, seed=1)
    assert all(torch.equal(before[key], one) for key, one in model.state_dict().items())
    assert not optimiser.state
    assert all(one.grad is None for one in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not model[4].training
    assert model[0].training
    assert not model[1]._forward_hooks


def test_looking_twice_finds_the_same() -> None:
    model, batches = nn.Sequential(nn.Dropout(0.5), *network()), pictures(mean=5)
    assert found(model, batches) == found(model, batches) != {}


def test_without_a_batch_there_is_nothing_to_look_at() -> None:
    model = network()
    with pytest.raises(ValueError, match="no batch"):
        diagnosing.check(model, [], functional.cross_entropy, SGD(model.parameters()), seed=0)


# A fault for each rule ------------------------------------------------------------------------------------------------


def test_initial_loss_far_from_chance() -> None:
    model = network()
    nn.init.normal_(model.get_parameter("8.weight"), std=20.0)
    one = found(model)["initial loss"]
    assert f"ln 10 = {math.log(10):.4f}" in one.evidence
    assert "initialise" in one.remedy


def test_initial_loss_far_below_chance_is_no_beginning() -> None:
    def cheat(inputs: Tensor) -> Tensor:
        return 20 * functional.one_hot(inputs.flatten(1)[:, 0].long(), CLASSES).float()

    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return cheat(x) * self.weight

    batches = [(torch.randn(32, 3, 8, 8), labels) for _, labels in pictures()]
    for inputs, labels in batches:
        inputs.view(32, -1)[:, 0] = labels.float()
    assert "initial loss" in found(Told(), batches)


@pytest.mark.parametrize(("mean", "std"), [(130.0, 70.0), (0.45, 0.25), (0.0, 30.0)], ids=["bytes", "0..1", "wide"])
def test_input_that_is_not_normalised(mean: float, std: float) -> None:
    one = found(network(), pictures(mean=mean, std=std))["input scale"]
    numbers = [float(number) for number in re.findall(r"(?:mean|deviation) (\S+?),? ", one.evidence)]
    assert numbers == pytest.approx([mean, std], rel=0.01, abs=0.1)
    assert "over 96 inputs" in one.evidence
    assert "normalise" in one.remedy


def test_dead_units_are_named_by_layer() -> None:
    model = network()
    nn.init.constant_(model.get_parameter("3.bias"), -100.0)
    one = found(model)["dead ReLU"]
    assert "100% of 16 units in 4.relu" in one.evidence
    assert "BN" in one.remedy


def test_dead_units_are_seen_where_relu_is_a_function() -> None:
    assert found(Functional(bias=-100.0))["dead ReLU"].evidence == "never positive: 100% of 32 units in relu (call 2)"
    assert found(Functional()) == {}


@pytest.mark.parametrize("gain", [1e-3, 1e4])
def test_activations_that_vanish_or_explode(gain: float) -> None:
    model = network()
    with torch.no_grad():
        for one in model[3].parameters():
            one.mul_(gain)
    seen = found(model)["activation scale"]
    assert " in 3" in seen.evidence
    assert "BN" in seen.remedy


def test_a_deep_network_whose_signal_is_lost_in_its_biases() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU())
    for _ in range(12):
        model += nn.Sequential(nn.Linear(32, 32), nn.ReLU())
    model.append(nn.Linear(32, CLASSES))
    assert "and " in found(model)["activation scale"].evidence


def test_steps_that_are_longer_than_the_weights() -> None:
    one = found(network(), optimiser=lambda model: Adam(model.parameters(), lr=1.0))
    assert "0.weight" in one["update scale"].evidence
    assert "0.001" in one["update scale"].remedy


def test_weights_that_do_not_move() -> None:
    one = found(network(), optimiser=lambda model: SGD(model.parameters(), lr=1e-9))
    assert "weight" in one["update scale"].evidence
    assert "too low" in one["learning rate"].evidence


@pytest.mark.parametrize(
    "behind",
    [nn.ReLU(), nn.Sigmoid(), nn.Softmax(1), nn.Tanh(), nn.Sequential(nn.ReLU(), nn.Flatten())],
    ids=["relu", "sigmoid", "softmax", "tanh", "relu, flattened"],
)
def test_a_last_layer_that_is_not_linear(behind: nn.Module) -> None:
    one = found(network(behind))["last layer"]
    assert "9" in one.evidence
    assert "last layer" in one.remedy


def test_log_softmax_with_its_own_loss_is_no_fault() -> None:
    assert found(network(nn.LogSoftmax(1)), loss=functional.nll_loss) == {}


@pytest.mark.parametrize(
    ("optimiser", "said"),
    [
        (lambda model: SGD(model.parameters(), lr=20.0), "SGD at 20 is too high"),
        (lambda model: SGD(model.parameters(), lr=1e-9), "SGD at 1e-09 is too low"),
        (lambda model: Adam(model.parameters(), lr=0.1), "Adam at 0.1"),
    ],
    ids=["high", "low", "adam"],
)
def test_a_learning_rate_that_does_not_fit(optimiser: Callable[[nn.Module], Optimizer], said: str) -> None:
    one = found(network(), optimiser=optimiser)["learning rate"]
    assert said in one.evidence
    assert "in 10 steps" in one.evidence or "nan" in one.evidence
    assert "Adam at 0.001" in one.remedy


def test_nan_is_traced_to_the_layer_that_gives_it() -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("3.weight")[0, 0, 0, 0] = math.nan
    findings = found(model)
    assert findings["not finite"].evidence == "3 (Conv2d) gives NaN or an infinity"
    nn.init.constant_(model.get_parameter("3.weight"), math.nan)
    assert "dead ReLU" not in findings | found(model)


def test_nan_in_the_input_is_told_from_nan_in_the_model() -> None:
    batches = pictures()
    batches[1][0][0, 0, 0, 0] = math.nan
    assert found(network(), batches)["not finite"].evidence.startswith("the input has mean nan")


def test_nan_of_the_loss_alone() -> None:
    def loss(given: Tensor, _labels: Tensor) -> Tensor:
        return (given - given.max() - 1).log().sum()

    assert found(network(), loss=loss)["not finite"].evidence == "the loss of the first batches is nan"


def test_nan_of_a_gradient_alone() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            # The root of zero is zero; its slope is not a number.
            out: Tensor = self.inner(x)
            return out + (out - out).sqrt()

    assert "the gradient of inner.0.weight" in found(Root())["not finite"].evidence


# The programs ---------------------------------------------------------------------------------------------------------


def program(name: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A recipe, started with `--diagnose`."""
    command = [sys.executable, "-m", f"expdb.recipes.{name}", "--diagnose", *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, cwd=cwd)


def test_a_program_trains_nothing_says_what_it_finds_and_ends_with_1(tmp_path: Path) -> None:
    words = ("--data", "digits", "--size", "8", "--depth", "10", "--width", "1", "--lr", "1000")
    kept = tmp_path / "kept.pt"
    done = program("fusion", *words, "--checkpoint", str(kept))
    assert done.returncode == 1, done.stderr
    assert "learning rate\n  evidence: SGD at 1000 is too high" in done.stdout
    assert "\n  remedy:   take an optimiser" in done.stdout
    assert "epoch" not in done.stdout
    assert not kept.exists()


def test_a_program_that_cannot_look_ends_with_another_code_than_one_that_finds(tmp_path: Path) -> None:
    done = program("classify", "--data", "csv", "--root", "none.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: none.csv: No such file")
    assert done.stderr.count("\n") == 1


def test_the_probe_breaks_what_its_page_says_one_must_not() -> None:
    done = program("bn_probe", "--seed", "1")
    rules = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert rules == ["input scale", "activation scale", "last layer", "learning rate", "4 of 8 rules broken"]
    assert done.returncode == 1
