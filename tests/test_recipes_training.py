"""What the recipes share: resumed is as never stopped, batches are torchvision's, data are what they are called."""

import argparse
import ast
import math
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR
from torchvision.transforms import v2  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional as v2_functional  # type: ignore[import-untyped]

from benchmarks import train
from expdb.parsers.reading import Reading
from expdb.preview import preview
from expdb.recipes import RecipeError, batches, cache, data, index, start, training
from expdb.recipes.batches import Augment, Batches
from expdb.recipes.data import Data, Images, Source
from expdb.recipes.training import Schedule, Settings

CPU = torch.device("cpu")
RECIPES = Path(__file__).parent.parent / "expdb" / "recipes"
TOY = (
    *(
        "-m",
        "expdb.recipes.fusion",
        "--fusion",
        "8",
        "--data",
        "digits",
        "--size",
        "8",
        "--depth",
        "10",
        "--width",
        "1",
    ),
    *("--limit", "96", "--batch-size", "32", "--epochs", "10", "--milestones", "2", "6", "--device", "cpu"),
    *("--threads", "1", "--deterministic", "--no-new-optimiser-each-epoch"),
)


def digits(limit: int = 100, size: int = 8) -> Data:
    return data.load(Source("digits", Path("nowhere"), size=size, limit=limit))


def small_net(loaded: Data) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(loaded.channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(16, len(loaded.classes))),
    )


def unlike_time(lines: list[str]) -> list[str]:
    return [line.split(",\tuse time")[0] for line in lines if line.startswith("epoch")]


def killed_after(lines: int, *words: str) -> list[str]:
    """What a real process has printed when it is killed; after so many of its epochs, or at its end."""
    out: list[str] = []
    with subprocess.Popen([sys.executable, *TOY, *words], stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            out.append(line)
            if sum(one.startswith("epoch") for one in out) == lines:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == 0 or lines > 0
    return out


def test_killed_and_resumed_it_prints_the_curve_of_one_that_never_stopped(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    expected = killed_after(-1, "--checkpoint", str(whole))
    resumed = ("--checkpoint", str(parts), "--resume")
    attempts = [killed_after(2, *resumed), killed_after(2, *resumed), killed_after(-1, *resumed)]
    found: dict[str, str] = {}
    for line in unlike_time([line for attempt in attempts for line in attempt]):
        number, rest = line.split(",", 1)
        # Killed between its line and its checkpoint an epoch comes twice, and is the same.
        assert found.setdefault(number, rest) == rest
    assert [f"{number},{rest}" for number, rest in found.items()] == unlike_time(expected)
    assert len(found) == 10
    assert sum(line.startswith("epoch") for line in attempts[0]) < 10
    # Each attempt says its settings: its log may be another file.
    assert [sum(line.startswith("Namespace") for line in attempt) for attempt in attempts] == [1, 1, 1]
    for name, lines in (("appended", [line for attempt in attempts for line in attempt]), ("last", attempts[-1])):
        (tmp_path / "logs").mkdir(exist_ok=True)
        log = tmp_path / "logs" / f"{name}.log"
        log.write_text("".join(lines))
        (run,) = preview(Reading.of_file(log)).runs
        assert run.params["fusion"] == "8"
    shutil.rmtree(tmp_path / "logs")
    states = [torch.load(path, weights_only=True) for path in (whole, parts)]
    assert same(states[0]["model"], states[1]["model"])
    assert same(states[0]["optimiser"], states[1]["optimiser"])
    assert same(states[0]["random"], states[1]["random"])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["parts.pt", "whole.pt"]


def same(one: object, other: object) -> bool:
    """Bit for bit, down through what holds it."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and all(map(same, one, other)) and len(one) == len(other)
    return one == other


SAVER = """
import sys, torch
from pathlib import Path
from torch import nn
from expdb.recipes.training import _State
model = nn.Linear(1000, 500)
state = _State(model, torch.optim.SGD(model.parameters(), lr=0.1), None, torch.Generator(), None)
for number in range(10**9):
    with torch.no_grad():
        model.weight.fill_(number)
    state.save(Path(sys.argv[1]), number)
    if number == 0:
        print("ready", flush=True)
"""


def test_a_checkpoint_is_whole_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    epochs = set()
    for attempt in range(60):
        if attempt == 50:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        state = torch.load(path, weights_only=True)
        assert float(state["model"]["weight"][0, 0]) == float(state["model"]["weight"][-1, -1]) == state["epoch"]
        epochs.add(state["epoch"])
    assert len(epochs) > 5


Schedules = dict[str, training.MakeSchedule]
SCHEDULES: Schedules = {
    "none": lambda made, steps: None,
    "steps": lambda made, steps: Schedule(MultiStepLR(made, [1, 3], 0.5)),
    "cosine": lambda made, steps: Schedule(CosineAnnealingLR(made, 4)),
    "one-cycle": lambda made, steps: Schedule(OneCycleLR(made, 0.1, 4 * steps), "batch"),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_whatever_the_schedule_and_the_optimiser_it_goes_on_bit_for_bit(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = digits()

    def run(name: str, until: int, resume: bool) -> list[str]:
        settings = Settings(4, 16, 0.01, device="cpu", checkpoint=tmp_path / name, resume=resume, seed=3)
        training.prepare(settings)
        # What a recipe may draw from, apart from torch.
        if resume:
            random.seed()
            np.random.seed()
        model = small_net(loaded)
        # As the process that dies in its epoch does, after what it has printed and saved.
        model.register_forward_pre_hook(lambda *_: stop_at(until))
        try:
            training.train(
                *(model, loaded, settings, lambda model: torch.optim.Adam(model.parameters(), settings.lr)),
                *(SCHEDULES[kind], functional.cross_entropy),
                augment=Augment(),
                shown=argparse.Namespace(kind=kind),
            )
        except StoppedError:
            pass
        return unlike_time(capsys.readouterr().out.splitlines())

    passes = 0

    def stop_at(until: int) -> None:
        nonlocal passes
        passes += 1
        if passes > until:
            raise StoppedError

    expected = run("whole.pt", 10**9, False)
    passes = 0
    # 7 batches to train on and 7 to test on in an epoch: it dies in the third.
    found = run("parts.pt", 2 * 14 + 3, False)
    passes = 0
    found += run("parts.pt", 10**9, True)
    assert found == expected
    assert len(found) == 4
    states = [torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "parts.pt")]
    assert same(*states)


class StoppedError(Exception):
    pass


def finished(tmp_path: Path, epochs: int = 1) -> Callable[..., None]:
    """A training of one epoch with its checkpoint; call it with what shall differ when it goes on."""
    loaded = digits(40)

    def run(
        make_schedule: training.MakeSchedule = SCHEDULES["steps"], epochs: int = 2, resume: bool = True, **shown: object
    ) -> None:
        settings = Settings(epochs, 16, 0.01, device="cpu", checkpoint=tmp_path / "c.pt", resume=resume)
        training.train(
            *(small_net(loaded), loaded, settings, lambda model: torch.optim.SGD(model.parameters(), settings.lr)),
            *(make_schedule, functional.cross_entropy),
            shown=argparse.Namespace(**{"lr": 0.01, "epochs": epochs, **shown}),
        )

    run(epochs=epochs, resume=False)
    return run


def test_more_epochs_go_on_where_the_rate_does_not_depend_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(tmp_path)(epochs=3)
    numbers = [line.split(",")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert numbers == ["epoch 1", "epoch 2", "epoch 3"]


def test_a_finished_training_has_nothing_to_go_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = finished(tmp_path)
    capsys.readouterr()
    again(epochs=1)
    assert capsys.readouterr().out == ""


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    again = finished(tmp_path)
    with pytest.raises(RecipeError, match=r"other settings: there it is lr 0\.01"):
        again(lr=0.02)
    with pytest.raises(RecipeError, match="planned otherwise"):
        again(lambda made, steps: Schedule(MultiStepLR(made, [1, 2], 0.5)))
    with pytest.raises(RecipeError, match="planned otherwise"):
        again(SCHEDULES["cosine"])
    with pytest.raises(RecipeError, match="planned otherwise"):
        again(SCHEDULES["none"])


@pytest.mark.parametrize("lost", ["model", "optimiser", "schedule", "order", "random", "epoch", "random.torch", "file"])
def test_a_checkpoint_that_lacks_a_part_is_refused(lost: str, tmp_path: Path) -> None:
    again = finished(tmp_path)
    path = tmp_path / "c.pt"
    state = torch.load(path, weights_only=True)
    if lost == "file":
        path.write_text('{"epoch": 1}\n')
    elif lost == "random.torch":
        state["random"]["torch"] = state["random"]["torch"][:100]
        torch.save(state, path)
    else:
        del state[lost]
        torch.save(state, path)
    with pytest.raises(RecipeError, match="no checkpoint that can be read") as caught:
        again()
    assert len(str(caught.value)) < len(str(path)) + 80


@pytest.mark.parametrize("cut", [0, 10, -20])
def test_a_damaged_checkpoint_is_refused(cut: int, tmp_path: Path) -> None:
    again = finished(tmp_path)
    path = tmp_path / "c.pt"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RecipeError, match="no checkpoint that can be read"):
        again()


def test_what_a_killed_writer_left_beside_the_checkpoint_is_cleared(tmp_path: Path) -> None:
    left, other = tmp_path / ".c.pt.abcd.new", tmp_path / ".d.pt.abcd.new"
    left.write_bytes(b"half")
    other.write_bytes(b"half")
    finished(tmp_path)
    assert (left.exists(), other.exists()) == (False, True)


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = digits(20)
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "c.pt", tmp_path, Path("/proc/c.pt")):
        settings = Settings(1, 16, 0.01, device="cpu", checkpoint=place)
        with pytest.raises(RecipeError, match="no checkpoint can be written"):
            training.train(
                *(small_net(loaded), loaded, settings, lambda model: torch.optim.SGD(model.parameters(), 0.1)),
                *(SCHEDULES["none"], functional.cross_entropy),
            )
        # It is known before the first epoch.
        assert "epoch" not in capsys.readouterr().out
    assert not list(tmp_path.parent.glob(".*.new"))


def test_a_program_that_is_interrupted_exits_with_130() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        start(interrupted)
    assert caught.value.code == 130


def test_a_new_optimiser_each_epoch_is_one_that_is_made_each_epoch() -> None:
    loaded = digits(48)

    def trained(way: str) -> list[Tensor]:
        settings = Settings(3, 16, 0.05, device="cpu", new_optimiser_each_epoch=way == "flag")
        training.prepare(settings)
        model = small_net(loaded)

        def make(model: nn.Module) -> torch.optim.Optimizer:
            return torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=5e-4)

        if way == "by hand":
            # The original's loop.
            order = torch.Generator().manual_seed(0)
            passes = Batches(loaded.train, loaded, 16, CPU, generator=order)
            for _ in range(3):
                training.train_epoch(model, passes, make(model), functional.cross_entropy)
        else:
            training.train(model, loaded, settings, make, SCHEDULES["none"], functional.cross_entropy)
        return [one.detach() for one in model.parameters()]

    flag, by_hand, kept = trained("flag"), trained("by hand"), trained("kept")
    assert all(map(torch.equal, flag, by_hand))
    assert not all(map(torch.equal, flag, kept))


def test_the_same_seed_is_the_same_curve_and_another_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = digits(48)

    def curve(seed: int) -> list[str]:
        settings = Settings(2, 16, 0.05, device="cpu", seed=seed)
        training.prepare(settings)
        training.train(
            *(small_net(loaded), loaded, settings, lambda model: torch.optim.SGD(model.parameters(), 0.05)),
            *(SCHEDULES["none"], functional.cross_entropy),
        )
        return unlike_time(capsys.readouterr().out.splitlines())

    assert curve(1) == curve(1) != curve(2)


def test_half_precision_casts_the_weights_anew_for_every_batch() -> None:
    loaded, seen = digits(64), []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * 8 * 8, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(x.flatten(1))
            seen.append((logits.dtype, float(logits.detach().float().abs().sum())))
            return logits

    torch.manual_seed(0)
    model = Net()
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    same_batch = loaded.train.take(torch.zeros(64, dtype=torch.int64))
    loss, _ = training.train_epoch(
        model, Batches(same_batch, loaded, 16, CPU), optimiser, functional.cross_entropy, amp="bf16"
    )
    assert math.isfinite(loss)
    assert {kind for kind, _ in seen} == {torch.bfloat16}
    # The same pictures four times, and other logits each time.
    assert len({logits for _, logits in seen}) == 4
    assert model.linear.weight.dtype == torch.float32


def test_accuracy_is_of_the_first_of_what_a_model_returns() -> None:
    loaded = digits(50)

    class Told(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            right = functional.one_hot(torch.zeros(len(x), dtype=torch.int64), 10).float()
            return right, 1 - right

    share = float((loaded.test.labels == 0).float().mean())
    assert training.evaluate(Told(), Batches(loaded.test, loaded, 16, CPU)) == pytest.approx(share)


def test_the_line_is_the_legacy_one() -> None:
    line = training.Epoch(3, 0.12341, 0.9876, 0.5, 1.23456).line()
    assert line == "epoch 3,\tloss 0.1234,\ttrain accuracy 0.988,\ttest accuracy 0.500,\tuse time 1.235"


def flagged(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    training.add_flags(parser)
    data.add_data_flags(parser)
    return parser.parse_args(words)


def test_every_flag_reaches_its_setting() -> None:
    words = flagged(
        *("--epochs", "3", "--batch-size", "5", "--lr", "0.5", "--momentum", "0.1", "--weight-decay", "0.2", "--seed"),
        *("9", "--device", "cpu", "--threads", "2", "--amp", "bf16", "--compile", "--channels-last", "--checkpoint"),
        *("a/c.pt", "--checkpoint-every", "4", "--resume", "--deterministic", "--new-optimiser-each-epoch"),
    )
    whole = Settings(
        *(3, 5, 0.5, 0.1, 0.2, 9, "cpu", 2, "bf16", True, True, Path("a/c.pt"), 4, True, True, True),
    )
    assert training.settings_of(words) == whole
    usual = training.settings_of(flagged())
    assert usual == Settings()
    words = flagged(
        *("--data", "csv", "--root", "a.csv", "--cache", "b", "--size", "9", "--stored-size", "12", "--channels", "1"),
        *("--classes", "4", "--limit", "7", "--download", "--threads", "3"),
    )
    assert data.source_of(words) == Source("csv", Path("a.csv"), Path("b"), 9, 12, 1, 4, 7, True, 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--epochs", "-1"), "invalid integer of at least 0 value: '-1'"),
        (("--batch-size", "0"), "integer of at least 1"),
        (("--threads", "x"), "integer of at least 0"),
        (("--lr=-1",), "--lr: invalid number of at least 0 value: '-1'"),
        (("--lr", "nan"), "number of at least 0"),
        (("--lr", "inf"), "number of at least 0"),
        (("--weight-decay=-0.1",), "number of at least 0 value"),
        (("--momentum", "1"), "number of at least 0, below 1"),
        (("--seed", "99999999999999999999"), "integer of at least 0, at most 9223372036854775807"),
        (("--seed=-1",), "integer of at least 0"),
        (("--classes", "0"), "integer of at least 1"),
        (("--size", "0"), "integer of at least 1"),
        (("--limit=-1",), "integer of at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_a_usage_error(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        flagged(*words)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_resume_asks_for_a_checkpoint() -> None:
    with pytest.raises(RecipeError, match="--checkpoint"):
        training.settings_of(flagged("--resume"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecipeError, match="no cuda device"):
        training.device_of("cuda")


# Batches


def noise(count: int = 10, side: int = 12, channels: int = 3) -> tuple[Images, Data]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
    images = Images.whole(pixels, torch.arange(count))
    mean, std = (0.1, 0.2, 0.3)[:channels], (0.4, 0.5, 0.6)[:channels]
    return images, Data("noise", images, images, ("x",) * count, mean, std, side)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_pass_is_every_picture_once_normalised(resident: bool, channels_last: bool) -> None:
    images, loaded = noise()
    images = images.take(torch.tensor([5, 2, 9, 0, 7, 1, 3]))
    passes = Batches(images, loaded, 3, CPU, resident=resident, channels_last=channels_last)
    found = list(passes)
    assert [len(labels) for _, labels in found] == [3, 3, 1]
    assert len(passes) == 3
    assert torch.cat([labels for _, labels in found]).tolist() == [5, 2, 9, 0, 7, 1, 3]
    expected = v2.Normalize(loaded.mean, loaded.std)(v2.functional.to_dtype(images.pixels, torch.float32, scale=True))
    torch.testing.assert_close(torch.cat([inputs for inputs, _ in found]), expected[images.rows], rtol=0, atol=1e-6)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert found[0][0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("resident", [True, False])
def test_the_generator_alone_decides_order_and_augmentation(resident: bool) -> None:
    images, loaded = noise(20)

    def passes(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        made = Batches(images, loaded, 6, CPU, generator=generator, augment=Augment(), resident=resident)
        return [one for _ in range(2) for batch in made for one in batch]

    first, again, other = passes(0), passes(0), passes(1)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    labels = first[1::2]
    assert sorted(torch.cat(labels[:4]).tolist()) == sorted(torch.cat(labels[4:]).tolist()) == list(range(20))
    assert torch.cat(labels[:4]).tolist() != torch.cat(labels[4:]).tolist()


def test_a_pass_that_is_given_up_leaves_no_thread() -> None:
    images, loaded = noise(40)
    for _ in Batches(images, loaded, 2, CPU, resident=False):
        break
    assert not [one for one in threading.enumerate() if one.name == "batches"]


def test_what_fails_while_reading_is_raised_where_it_is_waited_for() -> None:
    images, loaded = noise(10)
    beyond = Images(images.pixels, torch.tensor([0, 99]), torch.tensor([0, 1]))
    with pytest.raises(IndexError):
        list(Batches(beyond, loaded, 2, CPU, resident=False))


def test_pictures_stored_larger_are_scaled_as_torchvision_scales() -> None:
    images, loaded = noise(4, 16)
    smaller = Data(*("noise", images, images, loaded.classes, loaded.mean, loaded.std, 10))
    ((inputs, _),) = Batches(images, smaller, 4, CPU)
    shares = v2_functional.to_dtype(images.pixels, torch.float32, scale=True)
    expected = v2.Normalize(loaded.mean, loaded.std)(v2_functional.resize(shares, [10, 10], antialias=True))
    torch.testing.assert_close(inputs, expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (batches.brighter, v2_functional.adjust_brightness),
        (batches.contrasted, v2_functional.adjust_contrast),
        (batches.saturated, v2_functional.adjust_saturation),
    ],
)
@pytest.mark.parametrize("channels", [3, 1])
def test_jitter_of_a_batch_is_torchvisions_of_each_picture(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, float], Tensor], channels: int
) -> None:
    inputs = torch.rand(4, channels, 7, 9, generator=torch.Generator().manual_seed(0))
    factors = torch.tensor([0.6, 1.0, 1.4, 0.0])
    expected = torch.stack([theirs(one, float(factor)) for one, factor in zip(inputs, factors, strict=True)])
    torch.testing.assert_close(ours(inputs.clone(), factors.view(4, 1, 1, 1)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_crops_of_a_batch_are_torchvisions_of_each_picture(mirrored: bool) -> None:
    inputs = torch.rand(4, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, 20, 24], [3, 5, 7, 9], [10, 12, 10, 12], [19, 23, 1, 1]])
    found = batches.cropped(inputs, boxes, torch.full((4,), mirrored), 11)
    for one, (top, left, height, width), out in zip(inputs, boxes.tolist(), found, strict=True):
        expected = v2_functional.resized_crop(one, top, left, height, width, [11, 11], antialias=False)
        torch.testing.assert_close(out, expected.flip(-1) if mirrored else expected, rtol=1e-4, atol=1e-5)


def test_crop_boxes_keep_the_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    top, left, height, width = batches.crop_boxes(4000, 200, 200, Augment(), generator).unbind(1)
    share, ratio = height * width / 200**2, width / height
    # Sides are whole pixels.
    assert float(share.min()) > 0.075
    assert float(share.max()) <= 1
    assert float(ratio.min()) > 0.73
    assert float(ratio.max()) < 1.37
    assert bool(((top >= 0) & (left >= 0) & (top + height <= 200) & (left + width <= 200)).all())
    # torchvision's own draws have these means; large crops are redrawn where they do not fit.
    torch.manual_seed(0)
    theirs = [
        v2.RandomResizedCrop.make_params(v2.RandomResizedCrop(200), [torch.empty(3, 200, 200)]) for _ in range(4000)
    ]
    for key, ours in (("top", top), ("left", left), ("height", height), ("width", width)):
        drawn = torch.tensor([float(one[key]) for one in theirs])
        assert float(ours.mean()) == pytest.approx(float(drawn.mean()), abs=4)
        assert float(ours.std()) == pytest.approx(float(drawn.std()), abs=3)
    wide = batches.crop_boxes(5, 100, 300, Augment(scale=(1, 1)), generator)
    assert wide.tolist() == [[0, 83, 100, 133]] * 5
    tall = batches.crop_boxes(5, 300, 100, Augment(scale=(1, 1)), generator)
    assert tall.tolist() == [[83, 0, 133, 100]] * 5


def test_every_picture_of_a_batch_is_augmented_its_own_way() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(64, -1, -1, -1)
    out = batches.augmented(picture.clone(), Augment(), 16, torch.Generator().manual_seed(0))
    assert len({tuple(one.flatten().tolist()) for one in out}) == 64
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    whole = Augment(scale=(1, 1), ratio=(1, 1), jitter=0)
    out = batches.augmented(picture.clone(), whole, 16, torch.Generator().manual_seed(0))
    straight = [bool((one - picture[0]).abs().max() < 1e-5) for one in out]
    mirrored = [bool((one - picture[0].flip(-1)).abs().max() < 1e-5) for one in out]
    assert all(one != other for one, other in zip(straight, mirrored, strict=True))
    assert 20 < sum(mirrored) < 44


# Data sets


def draw(folder: Path, count: int) -> None:
    """Pictures of as many colours as there are classes."""
    for number in range(count):
        name, colour = [("cat", "red"), ("dog", "green"), ("elk", "blue")][number % 3]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10 + number % 4, 10), colour).save(folder / name / f"{number:02d}.jpg")


def colours(images: Images) -> list[int]:
    """The brightest channel of each picture: its class."""
    return [int(one) for one in images.pixels[images.rows].float().mean((2, 3)).argmax(1)]


def test_digits_are_scikit_learns_scaled_up() -> None:
    loaded = data.load(Source("digits", Path("nowhere"), size=32))
    assert (len(loaded.train), len(loaded.test), len(loaded.classes)) == (1437, 360, 10)
    assert loaded.train.pixels.shape == (1797, 3, 32, 32)
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    grey, labels = load_digits(return_X_y=True)
    row = int(loaded.test.rows[7])
    assert int(loaded.test.labels[7]) == labels[row]
    small = loaded.test.pixels[row, 1, ::4, ::4].double() * 16 / 255
    assert torch.equal(small.round(), torch.from_numpy(grey[row]).reshape(8, 8))
    inputs = torch.cat([inputs for inputs, _ in Batches(loaded.train, loaded, 500, CPU)])
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-4)
    assert data.load(Source("digits", Path("nowhere"), size=20, channels=1)).train.pixels.shape == (1797, 1, 20, 20)


def test_the_split_of_the_digits_does_not_depend_on_the_seed() -> None:
    torch.manual_seed(1)
    one = digits(1000)
    torch.manual_seed(2)
    other = digits(1000)
    assert torch.equal(one.test.rows, other.test.rows)
    assert not {*one.train.rows.tolist()} & {*one.test.rows.tolist()}


def test_synthetic_pictures_are_the_same_every_time() -> None:
    source = Source("synthetic", Path("nowhere"), size=12, classes=4, channels=1)
    loaded, again = data.load(source), data.load(source)
    assert torch.equal(loaded.train.pixels, again.train.pixels)
    assert loaded.train.pixels.shape == (500, 1, 12, 12)
    assert len(loaded.classes) == len(set(loaded.train.labels.tolist())) == 4


def test_a_limit_takes_of_every_class() -> None:
    loaded = digits(60)
    assert (len(loaded.train), len(loaded.test)) == (60, 60)
    assert len(set(loaded.train.labels.tolist())) == 10


def test_a_folder_is_split_by_class(tmp_path: Path) -> None:
    draw(tmp_path / "animals", 30)
    loaded = data.load(Source("folder", tmp_path / "animals", size=8))
    assert loaded.classes == ("cat", "dog", "elk")
    assert (len(loaded.train), len(loaded.test)) == (24, 6)
    assert sorted(loaded.test.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    # The cache that is there now is no class.
    assert data.load(Source("folder", tmp_path / "animals", size=8)).classes == loaded.classes
    for part in (loaded.train, loaded.test):
        assert colours(part) == part.labels.tolist()


def test_a_folder_of_train_and_test_is_split_already(tmp_path: Path) -> None:
    draw(tmp_path / "train", 9)
    draw(tmp_path / "test", 6)
    loaded = data.load(Source("folder", tmp_path, size=8))
    assert (len(loaded.train), len(loaded.test)) == (9, 6)
    assert colours(loaded.test) == loaded.test.labels.tolist()
    (tmp_path / "test" / "fox").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "test" / "fox" / "a.png")
    with pytest.raises(RecipeError, match="different classes: \\['fox'\\]"):
        data.load(Source("folder", tmp_path, size=8))


def test_caltech_is_read_without_its_background(tmp_path: Path) -> None:
    below = tmp_path / "caltech101" / "101_ObjectCategories"
    for label, name in enumerate(("BACKGROUND_Google", "Faces", "ant", "zebra")):
        (below / name).mkdir(parents=True)
        for number in range(1, 11):
            colour = (0, 0, 0) if label == 0 else tuple(255 * (channel == label - 1) for channel in range(3))
            Image.new("RGB", (9, 9), colour).save(below / name / f"image_{number:04d}.jpg")
    with pytest.raises(RecipeError, match=r"caltech101: 30 pictures in 3 classes, not 8,677 in 101"):
        data.load(Source("caltech101", tmp_path, size=8, download=True))
    loaded = data._caltech101(Source("caltech101", tmp_path, size=8), pictures=30, classes=3)
    assert len(loaded.classes) == 3
    assert (len(loaded.train), len(loaded.test)) == (24, 6)
    assert colours(loaded.train) == loaded.train.labels.tolist()
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_cifar_is_read_in_its_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "cifar-10-batches-py"
    below.mkdir()
    for number, name in enumerate([*(f"data_batch_{one}" for one in range(1, 6)), "test_batch"]):
        # Two pictures each: the first red, the second blue.
        pixels = np.zeros((2, 3, 32, 32), np.uint8)
        pixels[0, 0], pixels[1, 2] = 255, 100 + number
        (below / name).write_bytes(pickle.dumps({"data": pixels.reshape(2, -1), "labels": [0, 2]}))
    (below / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    # It knows the real files by their sums.
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    loaded = data.load(Source("cifar10", tmp_path, size=32))
    assert (len(loaded.train), len(loaded.test), len(loaded.classes)) == (10, 2, 10)
    assert colours(loaded.train) == loaded.train.labels.tolist() == [0, 2] * 5
    assert loaded.test.pixels[1, :, 3, 4].tolist() == [0, 0, 105]
    assert data.load(Source("cifar10", tmp_path, size=40, stored_size=32)).size == 40
    with pytest.raises(RecipeError, match="--stored-size 32"):
        data.load(Source("cifar10", tmp_path, size=40))


def indexed(folder: Path, output: Path, seed: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "expdb.recipes.index", str(folder), "-o", str(output), "--seed", str(seed)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_index_is_the_split(tmp_path: Path) -> None:
    draw(tmp_path / "animals", 30)
    said = indexed(tmp_path / "animals", tmp_path / "animals.csv")
    assert said == f"{tmp_path / 'animals.csv'}: 30 pictures, 3 classes: cat, dog, elk\n"
    rows = [line.split(",") for line in (tmp_path / "animals.csv").read_text().splitlines()]
    assert {path.split("/")[1]: label for path, label in rows} == {"cat": "0", "dog": "1", "elk": "2"}
    loaded = data.load(Source("csv", tmp_path / "animals.csv", size=8))
    assert loaded.classes == ("cat", "dog", "elk")
    # In the list's order: the first 24 lines train.
    labels = [int(label) for _, label in rows]
    assert (loaded.train.labels.tolist(), loaded.test.labels.tolist()) == (labels[:24], labels[24:])
    assert colours(loaded.test) == labels[24:]
    texts = [index.listed(tmp_path / "animals", tmp_path, seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] == (tmp_path / "animals.csv").read_text()
    assert texts[0] != texts[2]
    assert sorted(texts[0].splitlines()) == sorted(texts[2].splitlines())


def test_a_list_says_which_line_is_none(tmp_path: Path) -> None:
    place = tmp_path / "a.csv"
    place.write_text("path,label\na.jpg,0\nb.jpg,cat\n")
    with pytest.raises(RecipeError, match=r"a\.csv:3: not `path,label` with a class number"):
        data.load(Source("csv", place))
    for label in ("3", "9" * 15, "9" * 5000):
        place.write_text(f"path,label\na.jpg,0\nb.jpg,1\nc.jpg,{label}\n")
        with pytest.raises(RecipeError, match=r"a\.csv:4: .*class number"):
            data.load(Source("csv", place))
    place.write_text(f"{'x' * 200_000},0\n")
    with pytest.raises(RecipeError, match="field larger"):
        data.load(Source("csv", place))
    place.write_text("")
    with pytest.raises(RecipeError, match="lists no pictures"):
        data.load(Source("csv", place))
    with pytest.raises(RecipeError, match=r"recipes\.index"):
        data.load(Source("csv", tmp_path / "none.csv"))


@pytest.mark.parametrize("name", ["cifar10", "caltech101"])
def test_a_data_set_that_is_not_there_says_how_to_fetch_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--download fetches it"):
        data.load(Source(name, tmp_path))


FETCHER = """
import sys, time
from pathlib import Path
from expdb.recipes.data import Source, _fetched
root = Path(sys.argv[1])
def read(download):
    if not (root / "whole").exists():
        if not download:
            raise RuntimeError("not there")
        (root / "part").mkdir()
        time.sleep(0.5)
        (root / "whole").touch()
        (root / "part").rmdir()
        print("fetched")
    return 1
_fetched(Source("cifar10", root, download=True), read)
"""


def test_of_runs_that_start_together_one_fetches_the_data(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCHER, str(tmp_path / "data")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(3)]
    said = [one.communicate()[0] for one in started]
    assert [one.returncode for one in started] == [0, 0, 0]
    assert sorted(said) == ["", "", "fetched\n"]


def test_a_fetch_that_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="cifar10 cannot be fetched"):
        data.load(Source("cifar10", tmp_path / "file" / "data", download=True))


def test_a_folder_without_pictures_or_with_too_few_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="none"):
        data.load(Source("folder", tmp_path / "none"))
    draw(tmp_path, 3)
    with pytest.raises(RecipeError, match="cannot be split"):
        data.load(Source("folder", tmp_path, size=8))
    with pytest.raises(RecipeError, match="--size"):
        data.load(Source("digits", tmp_path, size=0))


# The room


def imported(path: Path) -> set[str]:
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(f"{'.' * node.level}{node.module}")
    return names


def test_recipes_import_nothing_of_expdb_and_nobody_imports_them() -> None:
    files = sorted(RECIPES.glob("*.py"))
    assert len(files) > 5
    for path in files:
        ours = {name for name in imported(path) if name.startswith((".", "expdb"))}
        assert all(name == "expdb.recipes" or name.startswith("expdb.recipes.") for name in ours), path
    others = [path for path in RECIPES.parent.rglob("*.py") if RECIPES not in path.parents]
    assert not [path for path in others for name in imported(path) if name.startswith("expdb.recipes")]


# The benchmark


def test_the_training_benchmark_times_every_way(tmp_path: Path) -> None:
    shape = train.Shape(size=8, batch_size=8, pictures=20, workers=1)
    found = train.measure(shape, 1, tmp_path)
    assert set(found.rates) == {train.ORIGINAL, train.WORKERS, train.OURS, train.CEILING}
    assert all(rate > 0 for rates in found.rates.values() for rate in rates)
    text = train.section(found).body
    assert text.count("|") == 6 * 6
    assert "No GPU was at hand" in text
    on_gpu = train.section(train.Measured(train.Shape("cuda"), found.rates, 0.1, "a GPU")).body
    assert "≥ 5 times" in on_gpu
    assert "No GPU" not in on_gpu


def test_the_benchmarks_pictures_reach_the_model_as_the_recipe_makes_them(tmp_path: Path) -> None:
    train.draw(tmp_path / "pictures", 4)
    paths, labels, classes = data.class_folders(tmp_path / "pictures")
    pixels = cache.decoded(paths, 8, tmp_path / "cache")
    images = Images.whole(pixels, torch.tensor(labels))
    ours = Data("a", images, images, tuple(classes), data.IMAGENET_MEAN, data.IMAGENET_STD, 8)
    ((inputs, _),) = Batches(images, ours, 4, CPU)
    original = train.Pictures(paths, labels, 8)
    assert torch.equal(inputs, torch.stack([original[at][0] for at in range(4)]))
