"""Images per second of the fusion recipe: the original way, a DataLoader with workers, ours, and the model alone.

python -m benchmarks.train [--device cuda] [--depth 16] [--width 10] [--size 64] [--batch-size 64] [--write]

Without a GPU the sizes are small unless others are given. The pictures are drawn: JPEG files of 300 x 200, as
Caltech101's are large; --root takes a folder of class folders instead. The clock covers training passes, each way in
turns, after one that nobody times; it is read when the device has done all its work.
"""

import argparse
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms  # type: ignore[import-untyped]

from benchmarks import results
from benchmarks.results import Section, median, pairwise_ratio, verdict
from expdb.recipes import cache, data, fusion, training
from expdb.recipes.batches import Batches
from expdb.recipes.data import Data, Images
from expdb.recipes.training import Settings
from expdb.recipes.wide_resnet import FUSIONS, WideResNet

# The limits; the second is one for a GPU.
CEILING_LIMIT, ORIGINAL_LIMIT = 0.9, 5

ORIGINAL, WORKERS, OURS, CEILING = "original", "workers", "ours", "ceiling"
_SAID = {
    ORIGINAL: "original: decoded in the training process, float32",
    WORKERS: "DataLoader with {workers} workers, float32",
    OURS: "ours: cache, batches made on the device{how}",
    CEILING: "the same model on random tensors on the device{how}",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured. pictures: in a pass; amp, channels_last, compile: of ours and of the ceiling."""

    device: str = "cpu"
    depth: int = 10
    width: int = 1
    size: int = 16
    batch_size: int = 64
    pictures: int = 512
    workers: int = 2
    threads: int = 0
    amp: str = "off"
    channels_last: bool = False
    compile: bool = False
    row: int = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """rates: images/s of each way, round by round; decoding_s: the cache's, once; device: its name."""

    shape: Shape
    rates: Mapping[str, Sequence[float]]
    decoding_s: float
    device: str


class Pictures(Dataset[tuple[Tensor, int]]):
    """The original's data set: opened, decoded, scaled and normalised whenever one is asked for."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], size: int) -> None:
        self._paths, self._labels = paths, labels
        self._transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.ToTensor(),
                transforms.Normalize(data.IMAGENET_MEAN, data.IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        with Image.open(self._paths[at]) as image:
            return self._transform(image.convert("RGB")), self._labels[at]


@dataclass(frozen=True, slots=True)
class OnDevice:
    """The same random batch over and over: what is left is the model."""

    inputs: Tensor
    labels: Tensor
    count: int

    @property
    def device(self) -> torch.device:
        """Where it all happens."""
        return self.inputs.device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, self.count, len(self.labels)):
            left = self.count - start
            yield self.inputs[:left], self.labels[:left]


def draw(folder: Path, count: int, classes: int = 10, seed: int = 0) -> None:
    """JPEG files of 300 x 200 in class folders: smooth colours with some grain, 10 to 20 KB each."""
    noise = random.Random(seed)
    for number in range(count):
        below = folder / f"class{number % classes}"
        below.mkdir(parents=True, exist_ok=True)
        coarse = Image.frombytes("RGB", (15, 10), noise.randbytes(450)).resize((300, 200), Image.Resampling.BICUBIC)
        grain = Image.frombytes("RGB", (300, 200), noise.randbytes(180_000))
        Image.blend(coarse, grain, 0.1).save(below / f"{number:05d}.jpg", quality=85)


def measure(shape: Shape, rounds: int, folder: Path, root: Path | None = None) -> Measured:
    """Every way in turns. folder: for the pictures that are drawn, where no root is given, and for the cache."""
    settings = Settings(device=shape.device, threads=shape.threads)
    device = training.prepare(settings)
    if root is None:
        root = folder / "pictures"
        draw(root, shape.pictures)
    paths, labels, classes = data.class_folders(root)
    chosen = sorted(random.Random(0).sample(range(len(paths)), min(shape.pictures, len(paths))))
    paths, labels = [paths[at] for at in chosen], [labels[at] for at in chosen]
    start = time.perf_counter()
    pixels = cache.decoded(paths, shape.size, folder / "cache")
    decoding_s = time.perf_counter() - start
    images = Images.whole(pixels, torch.tensor(labels))
    loaded = Data("pictures", images, images, tuple(classes), data.IMAGENET_MEAN, data.IMAGENET_STD, shape.size)
    ways = _ways(shape, settings, device, loaded, Pictures(paths, labels, shape.size))
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if number:
                rates[way].append(len(paths) / (time.perf_counter() - start))
    return Measured(shape, rates, decoding_s, _name(device))


def _ways(
    shape: Shape, settings: Settings, device: torch.device, loaded: Data, pictures: Pictures
) -> Mapping[str, Callable[[], object]]:
    """A training pass of each way. Each ends with a number on the CPU, so that the device has done its work."""
    layout = torch.channels_last if shape.channels_last else torch.contiguous_format

    def model(fast: bool) -> WideResNet:
        made = WideResNet(shape.depth, shape.width, 0.3, len(loaded.classes), FUSIONS[shape.row - 1]).to(device)
        if fast:
            made.to(memory_format=layout)
            if shape.compile:
                made.compile()
        return made

    def original(loader: "DataLoader[tuple[Tensor, int]]") -> Callable[[], object]:
        network = model(fast=False)
        optimiser = fusion.optimiser(network, settings)

        def run() -> float:
            network.train()
            total = 0.0
            for inputs, labels in loader:
                at, there = inputs.to(device), labels.to(device)
                optimiser.zero_grad()
                output = network(at)
                loss = functional.cross_entropy(output, there)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                # The reports' loops read both numbers after every batch.
                total += loss.item() + float((output.argmax(1) == there).sum().item())
            return total

        return run

    def ours(batches: Batches | OnDevice) -> Callable[[], object]:
        network = model(fast=True)
        optimiser = fusion.optimiser(network, settings)
        return lambda: training.train_epoch(network, batches, optimiser, functional.cross_entropy, amp=shape.amp)

    batch_size = min(shape.batch_size, len(pictures))
    noise = torch.randn(batch_size, 3, shape.size, shape.size, device=device).contiguous(memory_format=layout)
    answers = torch.randint(len(loaded.classes), (batch_size,), device=device)
    return {
        ORIGINAL: original(DataLoader(pictures, batch_size, shuffle=True)),
        WORKERS: original(
            DataLoader(
                *(pictures, batch_size),
                shuffle=True,
                num_workers=shape.workers,
                persistent_workers=True,
                pin_memory=device.type == "cuda",
                # Forked, a worker would inherit torch's threads in whatever they are doing.
                multiprocessing_context="spawn",
            )
        ),
        OURS: ours(
            Batches(
                *(loaded.train, loaded, batch_size, device),
                generator=torch.Generator().manual_seed(0),
                channels_last=shape.channels_last,
            )
        ),
        CEILING: ours(OnDevice(noise, answers, len(pictures))),
    }


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()} CPUs"


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    shape, rates = found.shape, found.rates
    on_gpu = shape.device == "cuda"
    how = [shape.amp] * (shape.amp != "off") + ["channels last"] * shape.channels_last + ["compiled"] * shape.compile
    words = {"workers": shape.workers, "how": "".join(f", {one}" for one in how)}
    rows = []
    for way, said in _SAID.items():
        of_ceiling = pairwise_ratio(rates[way], rates[CEILING])
        of_original = pairwise_ratio(rates[way], rates[ORIGINAL])
        limits = []
        if way == OURS:
            limits = [verdict(of_ceiling, CEILING_LIMIT, "of it", at_least=True)]
            if on_gpu:
                limits.append(verdict(of_original, ORIGINAL_LIMIT, "times", at_least=True))
        cells = [f"{median(rates[way]):,.0f}", f"{of_ceiling:.2f}", f"{of_original:.2f}", " · ".join(limits)]
        rows.append([said.format(**words), *cells])
    text = results.table(["way", "images/s", "of the last", "times the first", "limit"], rows) + "\n"
    text += (
        f"{found.device}. Wide ResNet {shape.depth} x {shape.width}, row {shape.row}, {shape.size} x {shape.size},"
        f" batches of {shape.batch_size}, {shape.pictures:,} JPEG files a pass; median of {len(rates[OURS])} rounds in"
        f" turns, the ratios' medians are the rounds' own. The cache was made once, in {found.decoding_s:.1f} s.\n"
    )
    if shape.device == "cpu":
        text += (
            "\nNo GPU was at hand: what the full model (16 x 10, 64 x 64, batches of 64 and of 512) does on one, where"
            " ours is to reach 5 times the original way, is not measured yet. With one: `python -m benchmarks.train"
            " --device cuda --write`, and with `--batch-size 512`.\n"
        )
    title = f"Training: fusion on {shape.device}, batches of {shape.batch_size}"
    return Section(f"train {shape.device} {shape.batch_size}", title, text)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    small, full = Shape(), Shape("cuda", 16, 10, 64, 64, 6941, 8, 0, "bf16", True)
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: what there is")
    for name, said in (
        ("depth", "of the wide ResNet"),
        ("width", "of the wide ResNet"),
        ("size", "side of the pictures the model sees"),
        ("batch_size", "pictures in a batch"),
        ("pictures", "in a pass"),
        ("workers", "of the DataLoader"),
    ):
        usual = f"{said} (default: {getattr(small, name)}, with CUDA {getattr(full, name)})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=usual)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU (0: torch decides)")
    parser.add_argument("--amp", choices=("bf16", "off"), help="of ours (default: off, with CUDA bf16)")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, help="of ours (default: with CUDA)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="of ours (default: no)")
    parser.add_argument("--row", type=int, default=8, choices=range(1, len(FUSIONS) + 1), help="the fusion")
    parser.add_argument("--root", type=Path, help="a folder of class folders, in place of drawn pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    words.device = words.device or training.device_of("auto").type
    usual_shape = full if words.device == "cuda" else small
    given = {name: getattr(words, name) for name in Shape.__dataclass_fields__ if getattr(words, name) is not None}
    shape = Shape(**{**{name: getattr(usual_shape, name) for name in Shape.__dataclass_fields__}, **given})
    with tempfile.TemporaryDirectory() as folder:
        made = section(measure(shape, words.rounds, Path(folder), words.root))
    command = results.command_line("benchmarks.train")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
