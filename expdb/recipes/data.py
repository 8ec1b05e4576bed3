"""Data sets as uint8 pixels and labels: digits, synthetic, CIFAR-10, Caltech101, a folder of classes, a CSV list."""

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expdb.recipes import RecipeError, cache
from expdb.recipes.ranges import whole

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SPLIT_SEED = 42
"""The random_state of the original's stratified split; --seed does not change which pictures are tested."""


@dataclass(frozen=True, slots=True)
class Images:
    """Rows of a store of pictures. pixels (M, C, H, W) uint8, may be memory-mapped; rows, labels (N,) int64."""

    pixels: Tensor
    rows: Tensor
    labels: Tensor

    @classmethod
    def whole(cls, pixels: Tensor, labels: Tensor) -> "Images":
        """All rows of pixels (N, C, H, W) uint8, with their labels (N,) int64."""
        return cls(pixels, torch.arange(len(pixels)), labels)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Tensor) -> "Images":
        """Some of them: positions (K,) int64 below N. Copies no pixels."""
        return Images(self.pixels, self.rows[positions], self.labels[positions])


@dataclass(frozen=True, slots=True)
class Data:
    """A data set in its two parts. mean, std: per channel, of pixels between 0 and 1; size: the side the model sees."""

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int

    @property
    def channels(self) -> int:
        """Of a picture."""
        return self.train.pixels.shape[1]


@dataclass(frozen=True, slots=True)
class Source:
    """Where data come from. size: side of a picture in pixels; stored_size: side it is kept at; limit: 0 for all."""

    data: str
    root: Path
    cache: Path | None = None
    size: int = 32
    stored_size: int = 0
    channels: int = 3
    classes: int = 10
    limit: int = 0
    download: bool = False
    threads: int = 0

    @property
    def kept_size(self) -> int:
        """Side of the pictures in the store."""
        return self.stored_size or self.size

    @property
    def cache_folder(self) -> Path:
        """Where decoded pictures lie; beside a folder of classes, for in it one more folder is one more class."""
        beside = self.data in ("folder", "csv")
        return self.cache or (self.root.absolute().parent if beside else self.root) / ".pixels"


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `Source` is made of."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", choices=sorted(_LOADERS), default="digits", help="the data set (default: %(default)s)")
    group.add_argument(
        "--root", type=Path, default=Path("data"), help="its folder, or the CSV file (default: %(default)s)"
    )
    group.add_argument("--cache", type=Path, help="folder of decoded pictures (default: .pixels)")
    group.add_argument(
        "--size", type=whole(1), default=32, help="side of the pictures the model sees (default: %(default)s)"
    )
    group.add_argument("--stored-size", type=whole(0), default=0, help="side they are kept at, for crops (0: the same)")
    group.add_argument(
        "--channels",
        type=int,
        choices=(1, 3),
        default=3,
        help="of digits and synthetic pictures (default: %(default)s)",
    )
    group.add_argument("--classes", type=whole(1), default=10, help="of synthetic pictures (default: %(default)s)")
    group.add_argument("--limit", type=whole(0), default=0, help="take this many pictures of each part (0: all)")
    group.add_argument("--download", action="store_true", help="fetch CIFAR-10 or Caltech101 into the root")


def source_of(words: argparse.Namespace) -> Source:
    """The flags' values."""
    return Source(
        data=words.data,
        root=words.root,
        cache=words.cache,
        size=words.size,
        stored_size=words.stored_size,
        channels=words.channels,
        classes=words.classes,
        limit=words.limit,
        download=words.download,
        threads=words.threads,
    )


def load(source: Source) -> Data:
    """The data set. Raises RecipeError where it is not there or not what it is called."""
    if source.size < 1 or source.stored_size < 0 or source.limit < 0:
        raise RecipeError("--size is at least 1, --stored-size and --limit at least 0")
    data = _LOADERS[source.data](source)
    if not len(data.train) or not len(data.test):
        raise RecipeError(f"{data.name}: {len(data.train)} pictures to train on and {len(data.test)} to test on")
    if not source.limit:
        return data
    # Of a shuffled list: the first of a list by classes would all be of one class.
    shuffled = torch.Generator().manual_seed(SPLIT_SEED)
    parts = [
        part.take(torch.randperm(len(part), generator=shuffled)[: source.limit]) for part in (data.train, data.test)
    ]
    return Data(data.name, parts[0], parts[1], data.classes, data.mean, data.std, data.size)


def stratified(labels: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(train, test) positions, 80/20 in every class, shuffled: scikit-learn's train_test_split, random_state 42."""
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    try:
        train, test = train_test_split(
            range(len(labels)), test_size=0.2, stratify=list(labels), random_state=SPLIT_SEED
        )
    except ValueError as error:
        raise RecipeError(f"the pictures cannot be split 80/20 by class: {error}") from error
    return torch.tensor(train), torch.tensor(test)


def _digits(source: Source) -> Data:
    """scikit-learn's 1,797 digits of 8 x 8, scaled up by nearest neighbours or bilinearly where that is uneven."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    grey, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(grey).float().reshape(-1, 1, 8, 8) * (255 / 16)
    side = source.kept_size
    if side % 8 == 0:
        large = torch.nn.functional.interpolate(small, (side, side), mode="nearest")
    else:
        large = torch.nn.functional.interpolate(small, (side, side), mode="bilinear", antialias=True)
    pixels = large.round().clamp(0, 255).to(torch.uint8).repeat(1, source.channels, 1, 1)
    return _split(source, Images.whole(pixels, torch.from_numpy(labels).long()), [str(digit) for digit in range(10)])


def _synthetic(source: Source) -> Data:
    """Noise around one random pattern per class; 500 pictures, or --limit of each part. The same ones every time."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    count = max(5 * source.limit, 500)
    shape = (source.channels, source.kept_size, source.kept_size)
    patterns = torch.randint(64, 192, (source.classes, *shape), generator=generator)
    labels = torch.arange(count) % source.classes
    noise = torch.randint(-63, 64, (count, *shape), generator=generator)
    pixels = (patterns[labels] + noise).to(torch.uint8)
    return _split(source, Images.whole(pixels, labels), [str(number) for number in range(source.classes)])


def _cifar10(source: Source) -> Data:
    """50,000 pictures to train on and 10,000 to test on, 32 x 32."""
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

    if source.kept_size != 32:
        raise RecipeError("CIFAR-10's pictures are kept at 32: give --stored-size 32, and --size what the model sees")
    parts = []
    for train in (True, False):

        def read(download: bool, train: bool = train) -> Any:
            return CIFAR10(source.root, train=train, download=download)

        found = _fetched(source, read)
        pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        parts.append(Images.whole(pixels, torch.tensor(found.targets)))
    return Data("cifar10", parts[0], parts[1], tuple(found.classes), CIFAR10_MEAN, CIFAR10_STD, source.size)


def _caltech101(source: Source, *, pictures: int = 8677, classes: int = 101) -> Data:
    """8,677 pictures in 101 classes, without BACKGROUND_Google; 6,941 to train on and 1,736 to test on.

    RecipeError where there are others: a download that was cut short looks like a data set.
    """
    from torchvision.datasets import Caltech101

    def read(download: bool) -> Any:
        found = Caltech101(source.root, download=download)
        if (len(found.y), len(found.categories)) != (pictures, classes):
            raise RecipeError(
                f"{found.root}: {len(found.y):,} pictures in {len(found.categories)} classes, not {pictures:,} in"
                f" {classes}; delete that folder and fetch it again with --download, or take it as --data folder"
            )
        return found

    found = _fetched(source, read)
    below = Path(found.root) / "101_ObjectCategories"
    paths = [
        below / found.categories[label] / f"image_{number:04d}.jpg"
        for number, label in zip(found.index, found.y, strict=True)
    ]
    return _pictures(source, "caltech101", paths, found.y, found.categories)


def _fetched(source: Source, read: Callable[[bool], Any]) -> Any:
    """torchvision's data set that read makes, fetched if it is not there; read takes whether to.

    One process at a time fetches: the runs of a sweep would unpack into each other's files.
    """
    try:
        return read(False)
    except (RecipeError, RuntimeError, OSError, ValueError) as error:
        if not source.download:
            if isinstance(error, RecipeError):
                raise
            raise RecipeError(f"{source.root}: {error}; --download fetches it") from error
    try:
        source.root.mkdir(parents=True, exist_ok=True)
        with cache.alone(source.root / f".{source.data}"):
            # Another may have fetched it while this one waited: then read only reads.
            return read(True)
    except (RuntimeError, OSError, ValueError) as error:
        raise RecipeError(f"{source.root}: {source.data} cannot be fetched: {error}") from error


def _folder(source: Source) -> Data:
    """A folder per class; below train and test (or val) where the root has those, else split 80/20 by class."""
    parts = [source.root / name for name in ("train", "test", "val") if (source.root / name).is_dir()]
    if len(parts) >= 2 and parts[0].name == "train":
        (train_paths, train_labels, classes), (test_paths, test_labels, others) = map(class_folders, parts[:2])
        if classes != others:
            raise RecipeError(f"{parts[0]} and {parts[1]} hold different classes: {sorted({*classes} ^ {*others})}")
        pixels = cache.decoded([*train_paths, *test_paths], source.kept_size, source.cache_folder, source.threads)
        whole = Images.whole(pixels, torch.tensor([*train_labels, *test_labels]))
        first = len(train_paths)
        rows = torch.arange(len(whole))
        return _of_imagenet(source, "folder", whole, (rows[:first], rows[first:]), classes)
    paths, labels, classes = class_folders(source.root)
    return _pictures(source, "folder", paths, labels, classes)


def _csv(source: Source) -> Data:
    """Lines of `path,label`: the first 80 % train, the rest test, as the report does. A path starts at the list."""
    paths, labels, lines = [], [], []
    try:
        with source.root.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if number == 1 and row == ["path", "label"]:
                    continue
                if len(row) != 2 or not row[1].isdecimal() or len(row[1]) > 18:
                    raise RecipeError(f"{source.root}:{number}: not `path,label` with a class number")
                paths.append(source.root.parent / row[0])
                labels.append(int(row[1]))
                lines.append(number)
    except csv.Error as error:
        raise RecipeError(f"{source.root}: {error}") from error
    except OSError as error:
        raise RecipeError(f"{source.root}: {error.strerror}; `python -m expdb.recipes.index` writes one") from error
    if not paths:
        raise RecipeError(f"{source.root} lists no pictures")
    number_of = len(set(labels))
    # Class numbers are 0 to K - 1: the model has a score for each below the largest.
    if beyond := [number for number, label in zip(lines, labels, strict=True) if label >= number_of]:
        raise RecipeError(
            f"{source.root}:{beyond[0]}: class number beyond {number_of - 1}; the list has {number_of} classes, which"
            " go from 0 without a gap"
        )
    names = {label: path.parent.name for path, label in zip(paths, labels, strict=True)}
    classes = tuple(names.get(label, str(label)) for label in range(max(labels) + 1))
    whole = Images.whole(
        cache.decoded(paths, source.kept_size, source.cache_folder, source.threads), torch.tensor(labels)
    )
    first = int(0.8 * len(paths))
    rows = torch.arange(len(paths))
    return _of_imagenet(source, "csv", whole, (rows[:first], rows[first:]), classes)


def class_folders(root: Path) -> tuple[list[Path], list[int], list[str]]:
    """(pictures, their class numbers, class names) of a folder of class folders, in alphabetical order."""
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(root)
    except (OSError, RuntimeError) as error:
        raise RecipeError(f"{root}: {error}") from error
    return [Path(path) for path, _ in found.samples], [label for _, label in found.samples], found.classes


def _pictures(source: Source, name: str, paths: Sequence[Path], labels: Sequence[int], classes: Sequence[str]) -> Data:
    pixels = cache.decoded(paths, source.kept_size, source.cache_folder, source.threads)
    whole = Images.whole(pixels, torch.tensor(labels))
    return _of_imagenet(source, name, whole, stratified(labels), classes)


def _of_imagenet(
    source: Source, name: str, whole: Images, parts: tuple[Tensor, Tensor], classes: Sequence[str]
) -> Data:
    """Photographs, which are normalised as ImageNet's are. parts: positions to train on and to test on."""
    train, test = (whole.take(positions) for positions in parts)
    return Data(name, train, test, tuple(classes), IMAGENET_MEAN, IMAGENET_STD, source.size)


def _split(source: Source, whole: Images, classes: Sequence[str]) -> Data:
    """80/20 by class, with the mean and standard deviation of the pictures to train on."""
    train, test = (whole.take(positions) for positions in stratified(whole.labels.tolist()))
    shares = train.pixels[train.rows].double() / 255
    mean, std = shares.mean((0, 2, 3)).tolist(), shares.std((0, 2, 3)).tolist()
    return Data(source.data, train, test, tuple(classes), tuple(mean), tuple(std), source.size)


_LOADERS: Mapping[str, Callable[[Source], Data]] = {
    "digits": _digits,
    "synthetic": _synthetic,
    "cifar10": _cifar10,
    "caltech101": _caltech101,
    "folder": _folder,
    "csv": _csv,
}
