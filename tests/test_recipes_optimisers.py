"""Optimisers: the seed's formulas against torch's, what weight decay touches, learning rates over a training."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn, optim

from expdb.recipes import RecipeError, fcnet, optimisers

STEPS = 6


def gradient(x: Tensor) -> Tensor:
    """Of a bowl with steep and flat directions, and of one direction that has no slope at all."""
    return x * torch.tensor([100.0, 1.0, 1e-3, 0.0], dtype=x.dtype)


def start() -> nn.Parameter:
    return nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64))


def path(optimiser: optim.Optimizer, parameter: nn.Parameter, rates: list[float] | None = None) -> Tensor:
    """The parameter after each step, (steps, 4), each step at its own learning rate where given."""
    points = []
    for number in range(STEPS):
        if rates is not None:
            optimiser.param_groups[0]["lr"] = rates[number]
        parameter.grad = gradient(parameter.detach())
        optimiser.step()
        points.append(parameter.detach().clone())
    return torch.stack(points)


def made(name: str, variant: str, lr: float = 0.01) -> Tensor:
    parameter = start()
    groups: optimisers.Groups = [{"params": [parameter]}]
    return path(optimisers.make_optimiser(name, groups, lr, variant=variant), parameter)


@pytest.mark.parametrize("variant", optimisers.VARIANTS)
@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
def test_every_optimiser_goes_down_in_both_variants(name: str, variant: str) -> None:
    points = made(name, variant, lr=1e-3)
    assert (points[-1].abs() <= start().detach().abs()).all()
    assert points[-1][0] < 1
    assert points[-1][3] == 4


def test_unknown_optimisers_variants_and_schedules_are_refused() -> None:
    groups: optimisers.Groups = [{"params": [start()]}]
    with pytest.raises(RecipeError, match="sgd, momentum"):
        optimisers.make_optimiser("lion", groups, 0.1)
    with pytest.raises(RecipeError, match="torch, seed"):
        optimisers.make_optimiser("sgd", groups, 0.1, variant="mine")
    with pytest.raises(RecipeError, match="one-cycle"):
        optimisers.make_schedule("triangle", optim.SGD(groups), epochs=1, batches=1)


def test_the_seeds_adagrad_is_its_formula() -> None:
    x, squares, wanted = start().detach(), torch.zeros(4).double(), []
    for _ in range(STEPS):
        g = gradient(x)
        squares = squares + g**2
        x = x - 0.01 / (squares + optimisers.ADAGRAD_EPS).sqrt() * g
        wanted.append(x)
    torch.testing.assert_close(made("adagrad", "seed"), torch.stack(wanted))


def test_the_seeds_rmsprop_is_its_code() -> None:
    w, cache, wanted = start().detach(), torch.zeros(4).double(), []
    for _ in range(STEPS):
        dw = gradient(w)
        cache = 0.99 * cache + (1 - 0.99) * dw * dw
        w = w - 0.01 * dw / (cache + optimisers.RMSPROP_EPS).sqrt()
        wanted.append(w)
    torch.testing.assert_close(made("rmsprop", "seed"), torch.stack(wanted))


def test_the_pages_adam_is_torchs() -> None:
    w, m, v, wanted = start().detach(), torch.zeros(4).double(), torch.zeros(4).double(), []
    for t in range(1, STEPS + 1):
        dw = gradient(w)
        m = 0.9 * m + (1 - 0.9) * dw
        v = 0.999 * v + (1 - 0.999) * dw * dw
        w = w - m / (1 - 0.9**t) * 0.01 / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        wanted.append(w)
    torch.testing.assert_close(made("adam", "seed"), torch.stack(wanted))
    torch.testing.assert_close(made("adam", "torch"), torch.stack(wanted))


@pytest.mark.parametrize("name, eps, share", [("adagrad", 1e-10, 1.0), ("rmsprop", 1e-8, 0.01)])
def test_epsilon_inside_the_root_weighs_more_where_gradients_are_small(name: str, eps: float, share: float) -> None:
    for size in (1.0, 1e-4, 1e-6):
        moved = {}
        for variant in optimisers.VARIANTS:
            parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
            parameter.grad = torch.full_like(parameter, size)
            optimisers.make_optimiser(name, [{"params": [parameter]}], 1.0, variant=variant).step()
            moved[variant] = -float(parameter.detach())
        assert math.isclose(moved["torch"], size / (math.sqrt(share) * size + eps), rel_tol=1e-9)
        assert math.isclose(moved["seed"], size / math.sqrt(share * size**2 + eps), rel_tol=1e-9)
        # By 1e-6 the seed's step has shrunk to a tenth and less, torch's has not.
        assert moved["seed"] / moved["torch"] > 0.999 if size == 1 else moved["seed"] < moved["torch"]
    assert moved["seed"] / moved["torch"] < 0.11


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_the_seeds_momentum_is_torchs_while_the_learning_rate_stands(name: str) -> None:
    torch.testing.assert_close(made(name, "seed"), made(name, "torch"))


@pytest.mark.parametrize("nesterov", [False, True])
def test_after_a_change_of_learning_rate_the_old_velocity_keeps_the_old_rate(nesterov: bool) -> None:
    rates = [0.01] * 3 + [0.001] * 3
    first, second = start(), start()
    seed = path(optimisers.SeedMomentum([first], 0.01, nesterov=nesterov), first, rates)
    torchs = path(optim.SGD([second], 0.01, momentum=0.9, nesterov=nesterov), second, rates)
    torch.testing.assert_close(seed[:3], torchs[:3])
    assert (seed[3] - torchs[3]).abs().max() > 0.01
    if not nesterov:
        before, earlier = seed[2], seed[1]
        torch.testing.assert_close(seed[3], before + 0.9 * (before - earlier) - 0.001 * gradient(before))
        torch.testing.assert_close(torchs[3], before + 0.1 * 0.9 * (before - earlier) - 0.001 * gradient(before))


def test_nesterov_takes_the_gradient_where_the_velocity_leads_and_settles_at_the_pages_point() -> None:
    parameter = start()
    optimiser = optimisers.SeedMomentum([parameter], 0.01, momentum=0.9, nesterov=True)
    x, velocity = start().detach(), torch.zeros(4).double()
    for _ in range(STEPS):
        parameter.grad = gradient(parameter.detach())
        optimiser.step()
        velocity = 0.9 * velocity - 0.01 * gradient(x + 0.9 * velocity)
        x = x + velocity
        torch.testing.assert_close(optimiser.settled(parameter), x)
        torch.testing.assert_close(parameter.detach(), x + 0.9 * velocity)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adagrad", "rmsprop"])
def test_a_variant_goes_on_from_its_saved_state(name: str) -> None:
    whole = made(name, "seed")
    parameter = start()
    first = optimisers.make_optimiser(name, [{"params": [parameter]}], 0.01, variant="seed")
    path(first, parameter)
    torch.testing.assert_close(parameter.detach(), whole[-1], rtol=0, atol=0)
    other = nn.Parameter(parameter.detach().clone())
    second = optimisers.make_optimiser(name, [{"params": [other]}], 0.5, variant="seed")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.testing.assert_close(path(second, other), path(first, parameter), rtol=0, atol=0)


def test_a_step_may_compute_its_loss_itself_and_skips_what_has_no_gradient() -> None:
    used, unused = start(), start()
    optimiser = optimisers.SeedAdagrad([used, unused], 0.01)

    def loss() -> float:
        optimiser.zero_grad()
        value = used.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    assert optimiser.step(loss) == 30
    assert not torch.equal(used, start())
    assert torch.equal(unused, start())


# --- weight decay ---


@pytest.mark.parametrize("variant", optimisers.VARIANTS)
@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
def test_decay_on_weights_is_the_pages_l2_term_and_leaves_biases_and_scales(name: str, variant: str) -> None:
    torch.manual_seed(1)
    x, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 3
    nets = [fcnet.FullyConnected(5, (4, 4), 3, norm="batch").double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    by_decay = optimisers.make_optimiser(name, optimisers.decay_groups(nets[0], 0.3, "weights"), 0.01, variant=variant)
    by_loss = optimisers.make_optimiser(name, optimisers.decay_groups(nets[1], 0.0, "all"), 0.01, variant=variant)
    for _ in range(3):
        for net, optimiser, strength in ((nets[0], by_decay, 0.0), (nets[1], by_loss, 0.3)):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(x), labels) + fcnet.l2(net, strength)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    torch.testing.assert_close(nets[0].state_dict(), nets[1].state_dict())


def test_groups_hold_every_parameter_that_learns_once() -> None:
    net = fcnet.FullyConnected(5, (4,), 3, norm="layer")
    for parameter in net.layers[-1].parameters():
        parameter.requires_grad_(False)
    weights, vectors = optimisers.decay_groups(net, 0.1, "weights")
    assert isinstance(weights["params"], list)
    assert isinstance(vectors["params"], list)
    assert [tuple(one.shape) for one in weights["params"]] == [(4, 5)]
    assert [tuple(one.shape) for one in vectors["params"]] == [(4,)] * 3
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.1, 0)
    (everything,) = optimisers.decay_groups(net, 0.1, "all")
    assert isinstance(everything["params"], list)
    assert len(everything["params"]) == 4


# --- schedules ---


def rates(name: str, optimiser: optim.Optimizer, steps: int) -> list[float]:
    """The learning rate at every step, over a plan of 4 epochs of 5 batches."""
    schedule = optimisers.make_schedule(name, optimiser, epochs=4, batches=5, milestones=(3, 1), gamma=0.2)
    assert schedule is not None
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_learning_rates_follow_their_plan() -> None:
    def sgd() -> optim.Optimizer:
        return optim.SGD([start()], 0.1)

    assert rates("step", sgd(), 4) == pytest.approx([0.1, 0.02, 0.02, 0.004])
    assert rates("cosine", sgd(), 4) == pytest.approx([0.1 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)])
    cycle = rates("one-cycle", sgd(), 20)
    assert cycle[0] == pytest.approx(0.1 / 25)
    assert max(cycle) == pytest.approx(0.1)
    assert cycle[-1] < 1e-4
    assert optimisers.make_schedule("none", sgd(), epochs=1, batches=1) is None


def test_one_cycle_leaves_plain_sgd_without_momentum() -> None:
    optimiser = optim.SGD([start()], 0.1)
    rates("one-cycle", optimiser, 20)
    assert optimiser.param_groups[0]["momentum"] == 0
