"""Three small looks at batch normalisation, on two numbers.

Source: a blog's notes on Ioffe and Szegedy 2015, with three scripts and the output of the second; docs/recipes.md says
what is known of them. `python -m expdb.recipes.bn_probe --probe 2 --seed 1` ends with the numbers that the page shows.

1. Linear, BatchNorm1d, Sigmoid on 1 and 2e13, trained towards 0 and 1: does the loss fall?
2. The same on 1e5 and 2e5; a line each time the loss has fallen by 100: BN's output in training and in evaluation.
3. Running statistics of 1e5 and 2e5, after no, one and two batches.

Each line holds plain numbers, one for each of the two inputs: `network1` and `network2` come from the linear layer.
"""

import argparse
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from expdb.recipes import diagnosing, start
from expdb.recipes.programs import PROGRAMS

# What each script feeds in.
DATA = {1: (1.0, 2e13), 2: (1e5, 2e5), 3: (1e5, 2e5)}
# The page's second script never ends: from its fourth line on, rounding decides.
STEPS = {1: 5000, 2: 13_000, 3: 2}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What two inputs become, each (2,) float32: behind the linear layer, and behind BN in both modes."""

    network: Tensor
    train: Tensor
    evaluation: Tensor


def squared_error(given: Tensor, targets: Tensor) -> Tensor:
    """The page's loss: the sum over both samples. given, targets (2, 1) float32; a scalar."""
    return (given - targets).square().sum()


def outputs(network: nn.Module, bn: nn.BatchNorm1d, data: Tensor) -> Outputs:
    """What the layers give for data (2, 1), without any effect on BN's running statistics."""
    with torch.no_grad():
        hidden = network(data)
        weight, bias = bn.weight, bn.bias
        train = functional.batch_norm(hidden, None, None, weight, bias, training=True, eps=bn.eps)
        evaluation = functional.batch_norm(hidden, bn.running_mean, bn.running_var, weight, bias, eps=bn.eps)
    return Outputs(hidden.flatten(), train.flatten(), evaluation.flatten())


def learn(settings: argparse.Namespace) -> None:
    """Probes 1 and 2: train the linear layer and BN, print what they give."""
    torch.manual_seed(settings.seed)
    network, bn = nn.Linear(1, 1), nn.BatchNorm1d(1, momentum=settings.momentum)
    data, targets = _column(settings.data), _column((0.0, 1.0))
    optimisers = [torch.optim.Adam(layer.parameters(), lr=settings.lr) for layer in (network, bn)]
    if settings.diagnose:
        model = nn.Sequential(OrderedDict(network=network, bn=bn, sigmoid=nn.Sigmoid()))
        both = torch.optim.Adam(model.parameters(), lr=settings.lr)
        found = diagnosing.check(model, [(data, targets)], squared_error, both, settings.seed)
        raise SystemExit(diagnosing.show(found))
    before: float | None = None
    for step in range(1, settings.steps + 1):
        bn.train(settings.bn == "train")
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss = squared_error(torch.sigmoid(bn(network(data))), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = float(network.weight.grad) if network.weight.grad is not None else 0.0
        for optimiser in optimisers:
            optimiser.step()
        value = loss.item()
        before = value if before is None else before
        if settings.probe == 1:
            if step == 1 or step % settings.every == 0 or step == settings.steps:
                _line(step, value, gradient, outputs(network, bn, data), bn)
        # By a product: the loss reaches zero in the end.
        elif before > value * settings.fall:
            if bn.training:
                # As on the page, whose print is one more batch for the running statistics.
                with torch.no_grad():
                    bn(network(data))
            _line(step, value, gradient, outputs(network, bn, data), bn)
            before = value


def _line(step: int, loss: float, gradient: float, found: Outputs, bn: nn.BatchNorm1d) -> None:
    values = {"network": found.network, "bn train": found.train, "bn eval": found.evaluation}
    said = [f"{name}{number} {value:.9g}" for name, two in values.items() for number, value in enumerate(two, 1)]
    shown = ", ".join([*said, f"gradient {gradient:.3g}", _running(bn)])
    print(f"step {step}, loss {loss:.6g}, {shown}", flush=True)


def _running(bn: nn.BatchNorm1d) -> str:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    return f"running mean {bn.running_mean.item():.9g}, running var {bn.running_var.item():.9g}"


def count(settings: argparse.Namespace) -> None:
    """Probe 3: what the running statistics are after each batch, and what evaluation makes of them.

    `by hand` is (x - running mean) / sqrt(running var), which evaluation mode gives, and training mode does not.
    """
    bn = nn.BatchNorm1d(1, affine=False, momentum=settings.momentum)
    data = _column(settings.data)
    for step in range(settings.steps + 1):
        if step:
            bn(data)
        assert bn.running_mean is not None
        assert bn.running_var is not None
        found = outputs(nn.Identity(), bn, data)
        hand = ((data - bn.running_mean) / bn.running_var.sqrt()).flatten()
        values = {"bn train": found.train, "bn eval": found.evaluation, "by hand": hand}
        said = [f"{name}{number} {value:.9g}" for name, two in values.items() for number, value in enumerate(two, 1)]
        print(f"step {step}, {', '.join([*said, _running(bn)])}", flush=True)


def _column(values: Sequence[float]) -> Tensor:
    """(2, 1) float32."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1)


def parser() -> argparse.ArgumentParser:
    """The flags; their defaults are the page's."""
    flags = argparse.ArgumentParser(prog="expdb.recipes.bn_probe", description=PROGRAMS["bn-probe"])
    flags.add_argument("--probe", type=int, choices=(1, 2, 3), default=2, help="which of the page's three scripts")
    flags.add_argument("--data", type=float, nargs=2, metavar="X", help="the two inputs; default: the script's")
    flags.add_argument("--steps", type=int, help="updates, in probe 3 batches; default 5000, 13000 and 2")
    flags.add_argument("--every", type=int, default=100, help="probe 1: a line every so many steps")
    flags.add_argument("--fall", type=float, default=100.0, help="probe 2: a line when the loss fell by this factor")
    flags.add_argument("--lr", type=float, default=0.04, help="Adam's learning rate")
    flags.add_argument("--momentum", type=float, default=0.1, help="the new batch's share in the running statistics")
    flags.add_argument("--bn", choices=("train", "eval"), default="train", help="BN's mode while probes 1 and 2 train")
    flags.add_argument("--seed", type=int, default=0, help="of the linear layer's first weights")
    diagnosing.add_flags(flags)
    return flags


def main(words: Sequence[str] | None = None) -> None:
    """Run the probe that the words ask for. Two numbers need no GPU: everything is on the CPU."""
    flags = parser()
    settings = flags.parse_args(words)
    if settings.data is None:
        settings.data = list(DATA[settings.probe])
    if settings.steps is None:
        settings.steps = STEPS[settings.probe]
    if settings.every < 1 or settings.steps < 1:
        flags.error("--every and --steps are at least 1")
    if settings.probe == 3 and settings.diagnose:
        flags.error("--diagnose: the third probe trains nothing")
    # Threads would wait for each other longer than two numbers take.
    torch.set_num_threads(1)
    if not settings.diagnose:
        shown = {key: value for key, value in vars(settings).items() if key != "diagnose"}
        print(argparse.Namespace(**shown), flush=True)
    if settings.probe == 3:
        count(settings)
    else:
        learn(settings)


if __name__ == "__main__":
    start(main)
