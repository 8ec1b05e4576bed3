"""What keeps a loss from falling: eight rules, looked at before a training, each with its evidence and a remedy.

The remedies are those of a group's report (docs/recipes.md, seed 004): initialise the parameters, add BN, Adam at
0.001 with normalised input, look at what the middle layers give and how their weights change, check the last layer.
The bounds are ours: wide enough that no recipe of this folder is accused with its defaults.

`check` takes a few steps on one batch to see what the learning rate does; model, optimiser and generators are
afterwards what they were.
"""

import argparse
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Batch = tuple[Tensor, Tensor]
# (what the model gives, targets) to a scalar. GoogLeNet gives a tuple in training.
Loss = Callable[[Any, Tensor], Tensor]

BATCHES = 4
STEPS = 10
INPUT_MEAN = 0.75
INPUT_STD = (0.5, 2.0)
# Cross-entropy at the start, as a multiple of ln C; half a nat on top for few classes.
INITIAL_LOSS = (0.5, 1.5)
INITIAL_SLACK = 0.5
DEAD_SHARE = 0.5
ACTIVATION_STD = (1e-3, 100.0)
# Short weights before BN make a long first step, which does no harm.
UPDATE_RATIO = (1e-7, 5.0)
# Of the loss on one batch, after STEPS steps.
LEAST_CHANGE = 1e-5
MOST_GROWTH = 2.0
ADAPTIVE_LR = 0.02

_ADAPTIVE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop")
_RELU = frozenset(("relu", "relu_", "relu6"))
# log_softmax is no fault: the loss that goes with it takes it.
_BENT = _RELU | frozenset(
    ("sigmoid", "sigmoid_", "softmax", "tanh", "tanh_", "leaky_relu", "leaky_relu_", "elu", "elu_", "gelu", "silu",
     "hardtanh", "softplus", "clamp", "clamp_")
)  # fmt: skip
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)

NOT_FINITE = "not finite"
INITIALISE = "initialise the parameters again (--init)"
ADD_BN = "add BN layers"
ADAM = "take an optimiser that minds the learning rate less, such as Adam at 0.001, and normalise the input"
MIDDLE = "look at what the middle layers give and how their weights change"
LAST = "check the last layer: it must not be non-linear nor have a ReLU behind it"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that the training breaks: what was seen, with its numbers, and what to do."""

    rule: str
    evidence: str
    remedy: str


@dataclass(slots=True)
class _Seen:
    """What the forward passes show. Layers in the order in which they are called."""

    # Spread over the samples, root mean square over the units; one value a batch.
    spread: dict[str, list[float]] = field(default_factory=dict)
    # (C,) bool: which units were positive, or NaN, for any sample.
    alive: dict[str, Tensor] = field(default_factory=dict)
    broken: str | None = None
    bent: tuple[str, Tensor] | None = None
    losses: list[float] = field(default_factory=list)
    classes: int | None = None
    entropy: list[float] = field(default_factory=list)
    ends_bent: str | None = None


class _Calls(TorchFunctionMode):
    """Sees every call of a non-linear function, of a module or not."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self._seen = seen
        self._counts: dict[str, int] = {}
        self.within = [""]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The call as it was, noted where it bends."""
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _BENT and isinstance(out, Tensor):
            place = ".".join(part for part in (self.within[-1], name.rstrip("_")) if part)
            self._counts[place] = nth = self._counts.get(place, 0) + 1
            place = f"{place} (call {nth})" if nth > 1 else place
            # Held, so that its memory is nobody else's while the model's output is compared with it.
            self._seen.bent = (place, out.detach())
            if name in _RELU and out.dim() > 1:
                self._note(place, out.detach())
        return out

    def _note(self, place: str, out: Tensor) -> None:
        # Channels come second in images, last in sequences.
        units = out.movedim(1 if out.dim() > 3 else -1, 0).flatten(1)
        # What is NaN is not dead; another rule names it.
        alive = ~(units <= 0).all(1)
        self._seen.alive[place] = alive | self._seen.alive.get(place, alive)


def add_flags(parser: argparse._ActionsContainer) -> None:
    """`--diagnose`, for a program that trains."""
    text = "train nothing: look for what would keep the loss from falling; exit code 1 where something is found"
    parser.add_argument("--diagnose", action="store_true", help=text)


def check(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    seed: int,
) -> list[Finding]:
    """What the rules find, the input first, the learning rate last.

    batches: (inputs, targets) as the training would see them, of which BATCHES are taken; where targets are int64 of
    shape (N,) and the model gives (N, C), it is a classification. seed: of what drops out. ValueError without batches.
    """
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    taken = [(inputs.to(device), targets.to(device)) for inputs, targets in islice(batches, BATCHES)]
    if not taken:
        raise ValueError("there is no batch to look at")
    with _kept(model, optimiser), torch.random.fork_rng():
        torch.manual_seed(seed)
        model.train()
        found = _inputs([inputs for inputs, _ in taken])
        if any(one.rule == NOT_FINITE for one in found):
            # What follows would only say so again.
            return found
        seen = _forward(model, taken, loss)
        found += [*_initial_loss(seen), *_dead(seen), *_scales(seen), *_last(seen)]
        if seen.broken:
            return [*found, Finding(NOT_FINITE, seen.broken, f"{MIDDLE}; {ADAM}")]
        return [*found, *_steps(model, taken[0], loss, optimiser, seed)]


def show(findings: Sequence[Finding]) -> int:
    """Print them: rule, evidence, remedy. The exit code: 1 where there are any."""
    for one in findings:
        print(f"{one.rule}\n  evidence: {one.evidence}\n  remedy:   {one.remedy}")
    print(f"{len(findings)} of 8 rules broken" if findings else "none of 8 rules is broken", flush=True)
    return 1 if findings else 0


@contextmanager
def _kept(model: nn.Module, optimiser: torch.optim.Optimizer) -> Iterator[None]:
    """Whatever happens within, both are afterwards what they were."""
    training = {name: one.training for name, one in model.named_modules()}
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimiser.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(weights)
        optimiser.load_state_dict(state)
        optimiser.zero_grad(set_to_none=True)
        for name, one in model.named_modules():
            one.training = training[name]


def _forward(model: nn.Module, batches: Sequence[Batch], loss: Loss) -> _Seen:
    """Passes in training mode, watched."""
    seen = _Seen()
    for inputs, targets in batches:
        if seen.broken:
            break
        calls = _Calls(seen)
        hooks = []
        for name, module in model.named_modules():
            hooks += _watched(name, module, calls, seen)
        try:
            with torch.no_grad(), calls:
                given = model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        with torch.no_grad():
            value = float(loss(given, targets))
            out = given if isinstance(given, Tensor) else given[0]
        if seen.bent is not None and _same(seen.bent[1], out):
            seen.ends_bent = seen.bent[0]
        seen.bent = None
        if not seen.broken and not math.isfinite(value):
            seen.broken = f"the loss of the first batches is {value}"
        seen.losses.append(value)
        if out.dim() == 2 and targets.dim() == 1 and not targets.is_floating_point():
            seen.classes = out.shape[1]
            # Of the bare outputs: weight penalties and auxiliary heads stand in the loss, too.
            seen.entropy.append(float(functional.cross_entropy(out.float(), targets)))
    return seen


def _watched(name: str, module: nn.Module, calls: _Calls, seen: _Seen) -> list[torch.utils.hooks.RemovableHandle]:
    def enter(_module: nn.Module, _inputs: Any) -> None:
        calls.within.append(name)

    def leave(_module: nn.Module, _inputs: Any, out: Any) -> None:
        calls.within.pop()
        if not isinstance(out, Tensor) or not out.is_floating_point():
            return
        if seen.broken is None and not bool(torch.isfinite(out).all()):
            seen.broken = f"{name or 'the model'} ({type(module).__name__}) gives NaN or an infinity"
        if isinstance(module, _LAYERS):
            seen.spread.setdefault(name, []).append(_spread(out))

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def _spread(out: Tensor) -> float:
    """How far samples differ; of a single one, how far its values do."""
    out = out.detach().float()
    if len(out) < 2:
        return float(out.std(correction=0))
    return float(out.var(0, correction=0).mean().sqrt())


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether both are the same numbers in memory, whatever their shape."""
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()


def _inputs(inputs: Sequence[Tensor]) -> list[Finding]:
    floats = [one.float() for one in inputs if one.is_floating_point() or one.dtype == torch.uint8]
    if not floats:
        return []
    every = torch.cat([one.flatten() for one in floats])
    mean, std = float(every.mean()), float(every.std(correction=0))
    said = f"mean {mean:.4g}, standard deviation {std:.4g} over {sum(map(len, floats))} inputs"
    if not math.isfinite(mean) or not math.isfinite(std):
        return [Finding(NOT_FINITE, f"the input has {said}", "look for damaged files, and divisions by zero")]
    if abs(mean) <= INPUT_MEAN and INPUT_STD[0] <= std <= INPUT_STD[1]:
        return []
    return [Finding("input scale", f"{said}; 0 and 1 are normal", "normalise the input in preprocessing")]


def _initial_loss(seen: _Seen) -> Iterator[Finding]:
    if not seen.entropy or seen.classes is None or seen.classes < 2:
        return
    value, chance = sum(seen.entropy) / len(seen.entropy), math.log(seen.classes)
    if INITIAL_LOSS[0] * chance <= value <= INITIAL_LOSS[1] * chance + INITIAL_SLACK:
        return
    if math.isfinite(value):
        said = f"cross-entropy {value:.4f} before the first step, where ln {seen.classes} = {chance:.4f} is chance"
        yield Finding("initial loss", said, f"{INITIALISE}; {LAST}")


def _dead(seen: _Seen) -> Iterator[Finding]:
    shares = {name: 1 - float(alive.float().mean()) for name, alive in seen.alive.items()}
    worst = {name: share for name, share in shares.items() if share > DEAD_SHARE}
    if worst:
        said = _listed(worst, lambda name, share: f"{share:.0%} of {len(seen.alive[name])} units in {name}")
        yield Finding("dead ReLU", f"never positive: {said}", f"{INITIALISE}; {ADD_BN}")


def _scales(seen: _Seen) -> Iterator[Finding]:
    middle = {name: sum(values) / len(values) for name, values in seen.spread.items()}
    last = next(reversed(middle), None)
    outside = {
        name: value
        for name, value in middle.items()
        # The last layer may begin with small weights, even zeros; what it gives is judged by the loss.
        if math.isfinite(value) and (value > ACTIVATION_STD[1] or (value < ACTIVATION_STD[0] and name != last))
    }
    if outside:
        said = _listed(outside, lambda name, value: f"{value:.3g} in {name}")
        yield Finding("activation scale", f"spread over the samples: {said}", f"{ADD_BN}; {INITIALISE}; {MIDDLE}")


def _last(seen: _Seen) -> Iterator[Finding]:
    if seen.ends_bent:
        yield Finding("last layer", f"the model's output is that of {seen.ends_bent}", LAST)


def _steps(
    model: nn.Module, batch: Batch, loss: Loss, optimiser: torch.optim.Optimizer, seed: int
) -> Iterator[Finding]:
    """What some steps on one batch do."""
    inputs, targets = batch
    ratios: dict[str, list[float]] = {}
    values: list[float] = []
    broken = None
    for step in range(STEPS + 1):
        # The same units drop out at each step, so that only the weights make the difference.
        torch.manual_seed(seed)
        value = loss(model(inputs), targets)
        values.append(value.item())
        if not math.isfinite(values[-1]):
            broken = f"the loss is {values[-1]} after {step} steps on one batch"
            break
        if step == STEPS:
            break
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        broken = _bad_gradient(model)
        if broken:
            break
        # Of vectors nothing is said: a bias begins at zero.
        weights = {name: one for name, one in model.named_parameters() if one.dim() > 1 and one.grad is not None}
        before = {name: one.detach().clone() for name, one in weights.items()}
        optimiser.step()
        for name, one in weights.items():
            length = float(before[name].norm())
            if length > 0:
                ratios.setdefault(name, []).append(float((one.detach() - before[name]).norm()) / length)
    yield from _updates(ratios)
    yield from _rate(values, optimiser, broken)
    if broken:
        yield Finding(NOT_FINITE, broken, f"{MIDDLE}; {ADAM}")


def _bad_gradient(model: nn.Module) -> str | None:
    for name, one in model.named_parameters():
        if one.grad is not None and not bool(torch.isfinite(one.grad).all()):
            return f"the gradient of {name} is NaN or infinite"
    return None


def _updates(ratios: dict[str, list[float]]) -> Iterator[Finding]:
    # The longest of all steps: behind a scale that begins at zero there is no gradient at the first one.
    longest = {name: max(each) for name, each in ratios.items()}
    outside = {name: one for name, one in longest.items() if not UPDATE_RATIO[0] <= one <= UPDATE_RATIO[1]}
    if outside:
        said = _listed(outside, lambda name, ratio: f"{ratio:.3g} in {name}")
        yield Finding("update scale", f"a step's length by the weights' own: {said}", f"{MIDDLE}; {ADAM}")


def _rate(values: Sequence[float], optimiser: torch.optim.Optimizer, broken: str | None) -> Iterator[Finding]:
    kind, rates = type(optimiser).__name__, sorted({float(group["lr"]) for group in optimiser.param_groups})
    rate = " and ".join(f"{one:g}" for one in rates)
    moved = f"in {len(values) - 1} steps on one batch the loss goes from {values[0]:.6g} to {values[-1]:.6g}"
    late = values[-3:]
    if kind in _ADAPTIVE and rates[-1] > ADAPTIVE_LR:
        yield Finding("learning rate", f"{kind} at {rate}; {moved}", ADAM)
    elif broken or (len(values) > STEPS and sum(late) / len(late) > MOST_GROWTH * abs(values[0]) + 1e-6):
        yield Finding("learning rate", f"{kind} at {rate} is too high: {moved}", ADAM)
    elif abs(values[-1] - values[0]) < LEAST_CHANGE * abs(values[0]):
        yield Finding("learning rate", f"{kind} at {rate} is too low: {moved}", ADAM)


def _listed(places: dict[str, float], said: Callable[[str, float], str]) -> str:
    """The first three, in the order of the layers, and how many more."""
    shown = [said(name, value) for name, value in list(places.items())[:3]]
    more = len(places) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
