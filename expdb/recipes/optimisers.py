"""Optimisers: torch's six, seed 002's variants beside them, what weight decay touches, and learning rate schedules."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, cast, overload

import torch
from torch import Tensor, nn, optim

from expdb.recipes import RecipeError

OPTIMISERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
VARIANTS = ("torch", "seed")
SCHEDULES = ("none", "step", "cosine", "one-cycle")

# Torch's own defaults, so that a variant differs in its formula alone; the page gives no numbers.
ADAGRAD_EPS = 1e-10
RMSPROP_EPS = 1e-8

# What the seeds do not state: torch's defaults where it has them, and 0.001 for adam (seed 004).
LEARNING_RATES = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.01, "rmsprop": 0.001, "adam": 0.001}

Groups = list[dict[str, list[nn.Parameter] | float]]


def decay_groups(model: nn.Module, weight_decay: float, on: Literal["all", "weights"]) -> Groups:
    """The parameters in groups for an optimiser; with on="weights" matrices and kernels decay, vectors do not.

    Vectors (one dimension or none) are biases and the scales and shifts of normalisations; seed 002 adds its
    L2 term, reg / 2 times the sum of squares, for the weight matrices only.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if on == "all":
        return [{"params": parameters, "weight_decay": weight_decay}]
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    vectors = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups: Groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimiser(
    name: str,
    groups: Groups,
    lr: float,
    *,
    momentum: float = 0.9,
    alpha: float = 0.99,
    betas: tuple[float, float] = (0.9, 0.999),
    variant: str = "torch",
) -> optim.Optimizer:
    """The optimiser of a name in `OPTIMISERS`, in a variant of `VARIANTS`; RecipeError for others.

    momentum: share of the velocity kept, for momentum and nesterov. alpha: share of the squared gradients kept, for
    rmsprop (the seed's decay_rate). betas: shares kept by adam. Seed 002 writes sgd and adam as torch does.
    """
    if variant not in VARIANTS:
        raise RecipeError(f"{variant!r} is no variant; known: {', '.join(VARIANTS)}")
    seed = variant == "seed"
    if name == "sgd":
        return optim.SGD(groups, lr=lr)
    if name in ("momentum", "nesterov"):
        nesterov = name == "nesterov"
        if seed:
            return SeedMomentum(groups, lr=lr, momentum=momentum, nesterov=nesterov)
        return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)
    if name == "adagrad":
        return SeedAdagrad(groups, lr=lr) if seed else optim.Adagrad(groups, lr=lr, eps=ADAGRAD_EPS)
    if name == "rmsprop":
        return SeedRMSprop(groups, lr=lr, alpha=alpha) if seed else optim.RMSprop(groups, lr=lr, alpha=alpha)
    if name == "adam":
        return optim.Adam(groups, lr=lr, betas=betas)
    raise RecipeError(f"{name!r} is no optimiser here; known: {', '.join(OPTIMISERS)}")


def make_schedule(
    name: str,
    optimiser: optim.Optimizer,
    *,
    epochs: int,
    batches: int,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
) -> optim.lr_scheduler.LRScheduler | None:
    """The schedule of a name in `SCHEDULES`, None for "none"; RecipeError for others.

    step multiplies the rate by gamma after each of the epochs `milestones`, cosine falls to 0 over `epochs`: both
    step after an epoch. one-cycle steps after a batch, `batches` to an epoch: from a 25th of the optimiser's rate
    up to it for 30 % of the way, then to nearly 0.
    """
    if name == "none":
        return None
    if name == "step":
        return optim.lr_scheduler.MultiStepLR(optimiser, sorted(milestones), gamma)
    if name == "cosine":
        return optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
    if name == "one-cycle":
        rates = [group["lr"] for group in optimiser.param_groups]
        # It would turn plain SGD, which has momentum 0, into SGD with momentum.
        return optim.lr_scheduler.OneCycleLR(optimiser, rates, max(1, epochs * batches), cycle_momentum=False)
    raise RecipeError(f"{name!r} is no schedule here; known: {', '.join(SCHEDULES)}")


class _ByParameter(optim.Optimizer):
    """What the seed's variants share: L2 by `weight_decay`, then one update per parameter."""

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    gradient = parameter.grad
                    if group["weight_decay"]:
                        gradient = gradient.add(parameter, alpha=group["weight_decay"])
                    self._update(parameter, gradient, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        raise NotImplementedError

    def _kept(self, parameter: Tensor, name: str) -> Tensor:
        """The state tensor of a parameter, zeros at first."""
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        return cast(Tensor, state[name])


class SeedMomentum(_ByParameter):
    """Momentum with the learning rate inside the velocity: v = momentum v - lr g, x = x + v.

    Equal to torch's while the learning rate stands; after a change the old velocity keeps the old rate here, and
    takes the new one in torch. With nesterov the gradient is wanted at x + momentum v (seed 002): the parameters hold
    that point, as torch's do, and `settled` gives x. Source of the form: Sutskever and others, ICML 2013.
    """

    def __init__(
        self, params: Iterable[nn.Parameter] | Groups, lr: float, momentum: float = 0.9, nesterov: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.0})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        velocity = self._kept(parameter, "velocity")
        if group["nesterov"]:
            parameter.sub_(velocity, alpha=group["momentum"])
        velocity.mul_(group["momentum"]).sub_(gradient, alpha=group["lr"])
        parameter.add_(velocity, alpha=1 + group["momentum"] if group["nesterov"] else 1)

    def settled(self, parameter: nn.Parameter) -> Tensor:
        """The page's x for a parameter: itself, less the look-ahead under nesterov."""
        for group in self.param_groups:
            if group["nesterov"] and any(one is parameter for one in group["params"]):
                return parameter.detach().sub(self._kept(parameter, "velocity"), alpha=group["momentum"])
        return parameter.detach().clone()


class SeedAdagrad(_ByParameter):
    """AdaGrad with epsilon inside the root: w = w - lr g / sqrt(s + eps); torch divides by sqrt(s) + eps."""

    def __init__(self, params: Iterable[nn.Parameter] | Groups, lr: float, eps: float = ADAGRAD_EPS) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": 0.0})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        squares = self._kept(parameter, "squares")
        squares.addcmul_(gradient, gradient)
        parameter.addcdiv_(gradient, (squares + group["eps"]).sqrt_(), value=-group["lr"])


class SeedRMSprop(_ByParameter):
    """RMSprop with epsilon inside the root: x = x - lr g / sqrt(s + eps); torch divides by sqrt(s) + eps."""

    def __init__(
        self, params: Iterable[nn.Parameter] | Groups, lr: float, alpha: float = 0.99, eps: float = RMSPROP_EPS
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": 0.0})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        squares = self._kept(parameter, "squares")
        squares.mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
        parameter.addcdiv_(gradient, (squares + group["eps"]).sqrt_(), value=-group["lr"])
