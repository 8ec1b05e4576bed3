"""Batches for a model: gathered as bytes, copied without waiting, normalised and augmented whole on the device."""

import math
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from expdb.recipes.data import Data, Images

RESIDENT_BYTES = 2 << 30
"""Pictures of up to so many bytes are kept on the device whole, and no batch is copied at all."""

_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Augment:
    """The report's: a random crop of the area's share and ratio (width / height), half of them flipped, jitter.

    jitter: brightness, contrast and saturation are each multiplied by 1 - jitter to 1 + jitter.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.4


class Passes(Protocol):
    """What a model can be trained on: an iteration is one pass, of count pictures on a device."""

    @property
    def device(self) -> torch.device: ...

    @property
    def count(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Batches:
    """One pass over pictures for each iteration: (inputs (B, C, size, size) float32, labels (B,) int64) on the device.

    generator: on the CPU; shuffles, and draws what is augmented, so that its state is all there is to resume from.
    Without one the pictures come in their order. The last batch may be smaller.
    """

    def __init__(
        self,
        images: Images,
        data: Data,
        batch_size: int,
        device: torch.device,
        *,
        generator: torch.Generator | None = None,
        augment: Augment | None = None,
        channels_last: bool = False,
        resident: bool | None = None,
    ) -> None:
        self._batch_size, self.device, self._size = batch_size, device, data.size
        self._generator, self._augment = generator, augment
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._mean = torch.tensor(data.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(data.std, device=device).view(-1, 1, 1)
        self._images = images
        self._labels = images.labels.to(device)
        size_bytes = math.prod(images.pixels.shape[1:]) * len(images)
        self._pixels: Tensor | None = None
        if size_bytes <= RESIDENT_BYTES if resident is None else resident:
            self._pixels = images.pixels[images.rows].to(device)

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    @property
    def count(self) -> int:
        """Pictures in a pass."""
        return len(self._images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in self._bytes():
            yield self._inputs(pixels), labels

    def _inputs(self, pixels: Tensor) -> Tensor:
        inputs = pixels.contiguous(memory_format=self._format).float().div_(255)
        if self._augment is not None and self._generator is not None:
            inputs = augmented(inputs, self._augment, self._size, self._generator)
        elif inputs.shape[-1] != self._size:
            inputs = functional.interpolate(inputs, (self._size, self._size), mode="bilinear", antialias=True)
        return inputs.sub_(self._mean).div_(self._std).contiguous(memory_format=self._format)

    def _bytes(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels (B, C, H, W) uint8, labels (B,)) on the device."""
        count = len(self._images)
        order = torch.arange(count) if self._generator is None else torch.randperm(count, generator=self._generator)
        there = torch.split(_sent(order, self.device), self._batch_size)
        if self._pixels is not None:
            for at in there:
                yield self._pixels[at], self._labels[at]
            return
        gathered = _gathered(self._images, torch.split(order, self._batch_size), self.device)
        for pixels, at in zip(gathered, there, strict=True):
            yield pixels.to(self.device, non_blocking=True), self._labels[at]


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory() if device.type == "cuda" else tensor


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting: from memory that is not pinned it would wait for all the work before it."""
    return _pinned(tensor, device).to(device, non_blocking=True)


def _gathered(images: Images, parts: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The pixels at each part's positions, read by a thread that is a few batches ahead; pinned for CUDA."""
    ahead = queue.Queue[Tensor | BaseException](_AHEAD)
    stopped = threading.Event()

    def put(one: Tensor | BaseException) -> None:
        while not stopped.is_set():
            try:
                ahead.put(one, timeout=0.1)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for part in parts:
                if stopped.is_set():
                    return
                put(_pinned(images.pixels[images.rows[part]], device))
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name="batches", daemon=True)
    thread.start()
    try:
        for _ in parts:
            one = ahead.get()
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        stopped.set()
        thread.join()


def augmented(inputs: Tensor, augment: Augment, size: int, generator: torch.Generator) -> Tensor:
    """Every picture its own crop, flip and jitter. inputs (B, C, H, W) float in 0..1 -> (B, C, size, size).

    Crops are sampled bilinearly without antialiasing: store pictures about as large as they are used.
    """
    count, _, height, width = inputs.shape
    boxes = crop_boxes(count, height, width, augment, generator)
    flipped = torch.rand(count, generator=generator) < augment.flip
    out = cropped(inputs, _sent(boxes, inputs.device), _sent(flipped, inputs.device), size)
    if augment.jitter:
        spread = 2 * torch.rand(3, count, 1, 1, 1, generator=generator) - 1
        factors = _sent(1 + augment.jitter * spread, inputs.device)
        # One order for the batch, as ColorJitter draws one for each call.
        for kind in torch.randperm(3, generator=generator).tolist():
            out = _JITTERS[kind](out, factors[kind])
    return out


def crop_boxes(count: int, height: int, width: int, augment: Augment, generator: torch.Generator) -> Tensor:
    """(count, 4) float of top, left, height, width in pixels, by the rule of torchvision's RandomResizedCrop.

    Ten tries each, uniform in area and in the logarithm of the ratio; where none fits, the middle of the picture.
    """
    tries = (count, 10)
    low, high = (math.log(ratio) for ratio in augment.ratio)
    area = height * width * torch.empty(tries).uniform_(*augment.scale, generator=generator)
    ratio = torch.empty(tries).uniform_(low, high, generator=generator).exp()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    box_w, box_h = widths.gather(1, first)[:, 0], heights.gather(1, first)[:, 0]
    whole_w, whole_h = float(width), float(height)
    if width / height < augment.ratio[0]:
        whole_h = round(width / augment.ratio[0])
    elif width / height > augment.ratio[1]:
        whole_w = round(height * augment.ratio[1])
    any_fits = fits.any(1)
    box_w = torch.where(any_fits, box_w, torch.tensor(whole_w))
    box_h = torch.where(any_fits, box_h, torch.tensor(whole_h))
    place = torch.rand(2, count, generator=generator)
    top = torch.where(any_fits, (place[0] * (height - box_h + 1)).floor(), ((height - box_h) / 2).floor())
    left = torch.where(any_fits, (place[1] * (width - box_w + 1)).floor(), ((width - box_w) / 2).floor())
    return torch.stack((top, left, box_h, box_w), 1)


def cropped(inputs: Tensor, boxes: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Each picture's box scaled to size x size, mirrored where flipped (B,) says so: one sampling for all."""
    height, width = inputs.shape[-2:]
    centres = (torch.arange(size, device=inputs.device, dtype=inputs.dtype) + 0.5) / size
    top, left, box_h, box_w = (boxes.to(inputs.dtype)[:, at, None] for at in range(4))
    across = torch.where(flipped[:, None], centres.flip(0), centres)
    # A centre stays within its crop, as it does where the crop is cut out before it is scaled.
    y = (top + torch.minimum((box_h * centres).clamp(min=0.5), box_h - 0.5)) * (2 / height) - 1
    x = (left + torch.minimum((box_w * across).clamp(min=0.5), box_w - 0.5)) * (2 / width) - 1
    grid = torch.stack((x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)), -1)
    return functional.grid_sample(inputs, grid, "bilinear", "border", align_corners=False)


def _grey(inputs: Tensor) -> Tensor:
    """(B, 1, H, W): torchvision's weights; a picture of one channel is grey."""
    if inputs.shape[1] == 1:
        return inputs
    red, green, blue = inputs.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]


def brighter(inputs: Tensor, factor: Tensor) -> Tensor:
    """transforms.v2.functional.adjust_brightness with a factor (B, 1, 1, 1) for each picture."""
    return (inputs * factor).clamp_(0, 1)


def contrasted(inputs: Tensor, factor: Tensor) -> Tensor:
    """transforms.v2.functional.adjust_contrast with a factor (B, 1, 1, 1) for each picture."""
    return torch.lerp(_grey(inputs).mean((1, 2, 3), keepdim=True), inputs, factor).clamp_(0, 1)


def saturated(inputs: Tensor, factor: Tensor) -> Tensor:
    """transforms.v2.functional.adjust_saturation with a factor (B, 1, 1, 1) for each picture."""
    return torch.lerp(_grey(inputs), inputs, factor).clamp_(0, 1)


_JITTERS = (brighter, contrasted, saturated)
