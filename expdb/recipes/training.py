"""The loop that every recipe trains in: its flags, its log line, and checkpoints that resume exactly."""

import argparse
import contextlib
import copy
import errno
import glob
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from expdb.recipes import RecipeError, diagnosing
from expdb.recipes.batches import Augment, Batches, Passes
from expdb.recipes.data import Data
from expdb.recipes.ranges import real, whole

Loss = Callable[[Any, Tensor], Tensor]
"""(what the model returns, labels (B,) int64) -> a scalar. A model returns logits (B, C), or a tuple that begins so."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Of the learning rate. every: when its step() is called, after an epoch or after a batch."""

    scheduler: LRScheduler
    every: Literal["epoch", "batch"] = "epoch"


MakeOptimiser = Callable[[nn.Module], Optimizer]
MakeSchedule = Callable[[Optimizer, int], Schedule | None]
"""(optimiser, batches in an epoch) -> the schedule, or None where the learning rate stays."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is trained. threads: 0 leaves them to torch; checkpoint_every: epochs; device: auto, cpu, cuda or mps."""

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    amp: Literal["bf16", "off"] = "off"
    compile: bool = False
    channels_last: bool = False
    checkpoint: Path | None = None
    checkpoint_every: int = 1
    resume: bool = False
    deterministic: bool = False
    new_optimiser_each_epoch: bool = False
    diagnose: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is printed of one. loss: mean over the pictures; accuracies: fractions; seconds: training and testing."""

    number: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float

    def line(self) -> str:
        """The legacy line."""
        return (
            f"epoch {self.number},\tloss {self.loss:.4f},\ttrain accuracy {self.train_accuracy:.3f},"
            f"\ttest accuracy {self.test_accuracy:.3f},\tuse time {self.seconds:.3f}"
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `Settings` is made of; a recipe's own defaults go in by `parser.set_defaults`."""
    group, usual = parser.add_argument_group("training"), Settings()
    group.add_argument("--epochs", type=whole(0), default=usual.epochs, help="counted from 1 (default: %(default)s)")
    group.add_argument(
        "--batch-size", type=whole(1), default=usual.batch_size, help="pictures in a batch (default: %(default)s)"
    )
    group.add_argument("--lr", type=real(0), default=usual.lr, help="learning rate at the start (default: %(default)s)")
    group.add_argument(
        "--momentum",
        type=real(0, below=1),
        default=usual.momentum,
        help="of the optimiser, where it has one (default: %(default)s)",
    )
    group.add_argument(
        "--weight-decay",
        type=real(0),
        default=usual.weight_decay,
        help="L2, as torch.optim adds it (default: %(default)s)",
    )
    group.add_argument(
        "--seed",
        type=whole(0, 2**63 - 1),
        default=usual.seed,
        help="of weights, order, dropout and augmentation (default: %(default)s)",
    )
    group.add_argument(
        "--new-optimiser-each-epoch",
        action=argparse.BooleanOptionalAction,
        default=usual.new_optimiser_each_epoch,
        help="forget momentum and the like after every epoch (default: %(default)s)",
    )
    group.add_argument("--deterministic", action="store_true", help="only algorithms that repeat bit for bit")
    diagnosing.add_flags(group)
    group = parser.add_argument_group("checkpoints")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="write the training's state to this file")
    group.add_argument(
        "--checkpoint-every",
        type=whole(1),
        default=1,
        metavar="N",
        help="epochs; the last always (default: %(default)s)",
    )
    group.add_argument("--resume", action="store_true", help="go on from --checkpoint where that file exists")
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default=usual.device,
        help="what it runs on (default: %(default)s)",
    )
    group.add_argument("--threads", type=whole(0), default=usual.threads, help="of the CPU (0: torch decides)")
    group.add_argument(
        "--amp", choices=("bf16", "off"), default=usual.amp, help="autocast to this type (default: %(default)s)"
    )
    group.add_argument("--compile", action="store_true", help="run the model through torch.compile")
    group.add_argument("--channels-last", action="store_true", help="lay pictures out channels last")


def settings_of(words: argparse.Namespace) -> Settings:
    """The flags' values. Raises RecipeError where they do not go together."""
    if words.resume and words.checkpoint is None:
        raise RecipeError("--resume goes on from a file: give --checkpoint FILE, too")
    return Settings(**{name: getattr(words, name) for name in Settings.__dataclass_fields__})


def prepare(settings: Settings) -> torch.device:
    """Seed everything, set threads and determinism, and say what to train on. Comes before the model is built."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.deterministic:
        # cuBLAS reads it when the device is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    elif torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
    random.seed(settings.seed)
    np.random.seed(settings.seed % 2**32)
    torch.manual_seed(settings.seed)
    return device_of(settings.device)


def device_of(name: str) -> torch.device:
    """auto: CUDA, else MPS, else the CPU. Raises RecipeError where the one asked for is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(one for one, is_there in there.items() if is_there)
    if not there[name]:
        raise RecipeError(f"there is no {name} device here; --device auto takes what there is")
    return torch.device(name)


def train(
    model: nn.Module,
    data: Data,
    settings: Settings,
    make_optimiser: MakeOptimiser,
    make_schedule: MakeSchedule,
    loss: Loss,
    *,
    augment: Augment | None = None,
    shown: argparse.Namespace | None = None,
) -> None:
    """Train and print what is shown (the flags, and what else is known before), then a line for each epoch.

    With `diagnose` it trains nothing, prints what is found, and raises SystemExit with 1 where anything is.
    Resumed, the settings and only epochs that no checkpoint has seen are printed; nothing where none is left. An
    epoch's line comes before its checkpoint: killed between the two it is computed and printed again, not lost.
    Raises RecipeError where the checkpoint is damaged or of another training.
    """
    device = device_of(settings.device)
    model.to(device)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(settings.seed)
    batches = Batches(
        *(data.train, data, settings.batch_size, device),
        generator=order,
        augment=augment,
        channels_last=settings.channels_last,
    )
    tests = Batches(data.test, data, settings.batch_size, device, channels_last=settings.channels_last)
    optimiser = make_optimiser(model)
    schedule = make_schedule(optimiser, len(batches))
    _check_last_batch(model, data, settings.batch_size, device)
    if settings.diagnose:
        # Before any checkpoint: it is the beginning that is looked at.
        raise SystemExit(diagnosing.show(diagnosing.check(model, batches, loss, optimiser, settings.seed)))
    state = _State(model, optimiser, schedule, order, shown)
    if settings.checkpoint is not None:
        _make_room(settings.checkpoint)
    done = 0
    if settings.resume and settings.checkpoint is not None and settings.checkpoint.exists():
        done = state.load(settings.checkpoint)
        print(f"{settings.checkpoint}: going on after epoch {done}", file=sys.stderr)
    if shown is not None and (done == 0 or done < settings.epochs):
        # As argparse prints itself: readers of logs take it for the run's parameters. Resumed, too: the log may be new.
        print(argparse.Namespace(**{**_plain(shown), "device": device.type}), flush=True)
    if settings.compile:
        model.compile()
    for number in range(done + 1, settings.epochs + 1):
        start = time.perf_counter()
        if settings.new_optimiser_each_epoch:
            # All that a new one would not have. The schedule stays tied to this one.
            optimiser.state.clear()
        mean_loss, train_accuracy = train_epoch(model, batches, optimiser, loss, schedule, amp=settings.amp)
        test_accuracy = evaluate(model, tests, amp=settings.amp)
        seconds = time.perf_counter() - start
        print(Epoch(number, mean_loss, train_accuracy, test_accuracy, seconds).line(), flush=True)
        last = number == settings.epochs
        if settings.checkpoint is not None and (last or number % settings.checkpoint_every == 0):
            state.save(settings.checkpoint, number)


def _check_last_batch(model: nn.Module, data: Data, batch_size: int, device: torch.device) -> None:
    """RecipeError where the last batch is one picture and the model cannot train on one: batch norm of vectors.

    It would end the first epoch at its end.
    """
    count = len(data.train)
    if (count % batch_size or batch_size) != 1:
        return
    # A copy: the pass changes running statistics.
    trial = copy.deepcopy(model).train()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            trial(torch.zeros(1, data.channels, data.size, data.size, device=device))
    except ValueError as error:
        # Torch's word for it.
        if not str(error).startswith("Expected more than 1"):
            raise
        raise RecipeError(
            f"the last batch of {count} pictures by {batch_size} is one picture, too few for its normalisation;"
            " try another --batch-size or --norm"
        ) from error


def autocast(device: torch.device, amp: str) -> contextlib.AbstractContextManager[object]:
    """Of one forward pass: bf16 where amp says so. Its exponent is float32's, so that no loss needs scaling."""
    return torch.autocast(device.type, torch.bfloat16, enabled=amp != "off")


def logits_of(output: Any) -> Tensor:
    """(B, C) of what a model returned: itself, or the first of a tuple, before the auxiliary ones."""
    return output if isinstance(output, Tensor) else output[0]


def train_epoch(
    model: nn.Module,
    batches: Passes,
    optimiser: Optimizer,
    loss: Loss,
    schedule: Schedule | None = None,
    *,
    amp: str = "off",
) -> tuple[float, float]:
    """(mean loss, accuracy) over one pass, as the model was at each batch. Waits for the device once, at the end."""
    model.train()
    total: Tensor | float = 0.0
    right: Tensor | int = 0
    for inputs, labels in batches:
        # Anew for each: autocast keeps the weights it has cast, and the next step changes them.
        with autocast(batches.device, amp):
            output = model(inputs)
            value = loss(output, labels)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if schedule is not None and schedule.every == "batch":
            schedule.scheduler.step()
        total = total + value.detach() * len(labels)
        right = right + (logits_of(output).detach().argmax(1) == labels).sum()
    if schedule is not None and schedule.every == "epoch":
        schedule.scheduler.step()
    return float(total) / batches.count, float(right) / batches.count


def evaluate(model: nn.Module, batches: Passes, *, amp: str = "off") -> float:
    """Accuracy, a fraction. Waits for the device once, at the end."""
    model.eval()
    right: Tensor | int = 0
    with torch.no_grad():
        for inputs, labels in batches:
            with autocast(batches.device, amp):
                output = model(inputs)
            right = right + (logits_of(output).argmax(1) == labels).sum()
    return float(right) / batches.count


_FREE = {"epochs", "checkpoint", "checkpoint_every", "resume", "device", "threads", "root", "cache", "download"}
"""Settings that may differ when a training goes on: they do not change what is learned in an epoch."""

_PLAN = ("milestones", "step_size", "gamma", "T_max", "eta_min", "total_steps", "base_lrs")
"""What a schedule's state holds of its plan, beside how far it is: more epochs are another cosine."""


def _plain(shown: argparse.Namespace) -> dict[str, Any]:
    return {key: str(one) if isinstance(one, Path) else one for key, one in vars(shown).items() if key != "diagnose"}


@dataclass(frozen=True, slots=True)
class _State:
    """All that the rest of a training depends on. shown: its settings, so that no other one goes on from it."""

    model: nn.Module
    optimiser: Optimizer
    schedule: Schedule | None
    order: torch.Generator
    shown: argparse.Namespace | None

    def save(self, path: Path, epoch: int) -> None:
        """Replace the file: at every moment it is the old checkpoint or the new one, whole."""
        state = {
            "epoch": epoch,
            "settings": self._settings(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule and self.schedule.scheduler.state_dict(),
            "order": self.order.get_state(),
            "random": _random_state(),
        }
        beside = _beside(path)
        try:
            with beside.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise RecipeError(f"{path}: no checkpoint can be written: {error.strerror}") from error
        finally:
            beside.unlink(missing_ok=True)

    def load(self, path: Path) -> int:
        """Put everything back as it was; the last epoch that was done."""
        try:
            return self._taken(path, torch.load(path, map_location="cpu", weights_only=True))
        except (RecipeError, torch.OutOfMemoryError):
            raise
        except OSError as error:
            raise RecipeError(f"{path} is no checkpoint that can be read: {error.strerror or error}") from error
        except Exception as error:
            # torch raises half a dozen kinds for a file that is cut or is something else, some a paragraph long.
            raise RecipeError(f"{path} is no checkpoint that can be read: damaged, or something else") from error

    def _taken(self, path: Path, state: Mapping[str, Any]) -> int:
        epoch, settings = int(state["epoch"]), dict(state["settings"])
        ours = self._settings()
        if other := sorted(key for key in settings.keys() | ours if settings.get(key) != ours.get(key)):
            was = ", ".join(f"{key} {settings.get(key)}" for key in other)
            raise RecipeError(f"{path} is of a training with other settings: there it is {was}")
        plan = self.schedule.scheduler.state_dict() if self.schedule is not None else {}
        if (state["schedule"] is None) != (self.schedule is None) or any(
            plan[key] != state["schedule"].get(key) for key in _PLAN if key in plan
        ):
            raise RecipeError(f"{path} is of a training whose learning rate is planned otherwise, over other epochs")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.scheduler.load_state_dict(state["schedule"])
        self.order.set_state(state["order"])
        _set_random_state(state["random"])
        return epoch

    def _settings(self) -> dict[str, str]:
        shown = _plain(self.shown) if self.shown is not None else {}
        return {key: repr(one) for key, one in shown.items() if key not in _FREE}


def _make_room(path: Path) -> None:
    """The checkpoint's folder, without what one left there that was killed while it wrote.

    RecipeError where nothing can be written: now, not after the first epoch.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
            left.unlink(missing_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        beside = _beside(path)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise RecipeError(f"{path}: no checkpoint can be written: {error.strerror}") from error


def _beside(path: Path) -> Path:
    """Where a checkpoint is written before it is moved to its place."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")


def _random_state() -> Mapping[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        # As plain values: a checkpoint is loaded without unpickling objects.
        "numpy": (kind, [int(key) for key in keys], position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
