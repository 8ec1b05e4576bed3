"""Image classifiers by name: torchvision's at any width and with any normalisation, network in network, small ones.

Every model takes images (N, channels, H, W) and gives scores (N, classes). GoogLeNet in training gives
`Scores(logits, auxiliary)`, with the scores of its two auxiliary heads. Sources: VGG, arXiv:1409.1556; network in
network, arXiv:1312.4400; GoogLeNet, arXiv:1409.4842; ResNet, arXiv:1512.03385; torchvision's module of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812, the name everyone reads it by
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn

from expdb.recipes import RecipeError, fcnet, norms, orders

# What a model has where nothing is said: torchvision's, the NiN paper's and seed 002's.
NORMS = {
    "vgg19": "none",
    "nin": "none",
    "googlenet": "batch",
    "resnet18": "batch",
    "resnet34": "batch",
    "resnet50": "batch",
    "fcnet": "none",
    "convnet": "batch",
}
# Settings that only some models have.
OPTIONS = {
    "layers": ("fcnet", "convnet"),
    "dropout": ("vgg19", "nin", "googlenet", "fcnet"),
    "order": ("convnet",),
    "pool": ("convnet",),
    "upsample": ("convnet",),
    "stem": ("nin", "resnet18", "resnet34", "resnet50"),
}
INITS = ("default", "xavier", "trunc_normal")
STEMS = ("auto", "library", "small")
AUXILIARY_WEIGHT = 0.3  # seed 004 and the GoogLeNet paper, section 5
SMALL_IMAGE = 96  # pixels; below it the stems made for 224 leave no map to speak of
TORCH_WEIGHTS = "torchvision"


@dataclass(frozen=True, slots=True)
class Settings:
    """What makes a model. width multiplies every layer's channels; norm None is the one of `NORMS`.

    layers: of fcnet, and units of convnet. dropout None: the model's own. pretrained: a file or `TORCH_WEIGHTS`.
    """

    model: str
    classes: int
    channels: int = 3
    image_size: int = 224
    width: float = 1.0
    norm: str | None = None
    groups: int = norms.GROUPS
    init: str = "default"
    init_std: float = 0.01
    stem: str = "auto"
    layers: int = 3
    dropout: float | None = None
    order: str = "bn-pool-relu"
    pool: str = "max"
    upsample: int = 1
    pretrained: str | None = None

    def scaled(self, channels: int) -> int:
        """Channels times width. RecipeError where that is no whole number: parts that are joined would not fit."""
        wanted = channels * self.width
        if wanted < 1 or wanted != round(wanted):
            raise RecipeError(
                f"width {self.width:g} makes {wanted:g} of {channels} channels; --width 0.125 and its multiples fit all"
            )
        return round(wanted)

    @property
    def normalisation(self) -> str:
        """The name in `norms.NORMS` that is used."""
        return self.norm or NORMS[self.model]

    @property
    def small(self) -> bool:
        """Whether the first layers are those for small images; torchvision's weights have none for them."""
        auto = self.image_size < SMALL_IMAGE and self.pretrained != TORCH_WEIGHTS
        return self.stem == "small" or (self.stem == "auto" and auto)


class Scores(NamedTuple):
    """What a model with auxiliary heads gives in training: logits (N, classes), and the same of each such head."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...]


def scores_of(output: Tensor | Scores) -> Tensor:
    """The scores (N, classes) that a prediction is made from."""
    return output.logits if isinstance(output, Scores) else output


def cross_entropy(output: Tensor | Scores, labels: Tensor) -> Tensor:
    """Mean cross entropy, a scalar; each auxiliary head adds its own times 0.3. labels (N,) int64."""
    loss = F.cross_entropy(scores_of(output), labels)
    if isinstance(output, Scores):
        for head in output.auxiliary:
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(head, labels)
    return loss


def build(settings: Settings) -> nn.Module:
    """The model, initialised by torch's global generator; `load_pretrained` fills it.

    Raises RecipeError for unknown names, and for a width or groups that do not fit.
    """
    if settings.model not in MODELS:
        raise RecipeError(f"{settings.model!r} is no model here; known: {', '.join(MODELS)}")
    if settings.init not in INITS:
        raise RecipeError(f"{settings.init!r} is no initialisation here; known: {', '.join(INITS)}")
    if settings.stem not in STEMS:
        raise RecipeError(f"{settings.stem!r} is no stem; known: {', '.join(STEMS)}")
    if settings.layers < 1:
        raise RecipeError("--layers is at least 1")
    if settings.dropout is not None and not 0 <= settings.dropout < 1:
        raise RecipeError("--dropout is a share: at least 0, below 1")
    model = MODELS[settings.model](settings)
    if settings.init != "default":
        initialise(model, settings.init, settings.init_std)
    return model


def check_size(model: nn.Module, settings: Settings) -> None:
    """Raise RecipeError where pictures of the settings' size leave the model no map. Leaves it in evaluation."""
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, settings.channels, settings.image_size, settings.image_size))
    except (RuntimeError, ValueError) as error:
        raise RecipeError(
            f"{settings.model} does not take pictures of {settings.image_size}: {error}; a larger --size may do"
        ) from error


def initialise(model: nn.Module, init: str, std: float = 0.01) -> None:
    """Draw every weight of convolutions and affine layers anew and set their biases to 0; normalisations stay.

    xavier: uniform, gain 1. trunc_normal: mean 0, values beyond two `std` redrawn. The bounds of torch's function
    are values, not multiples of std: its defaults cut nothing off at std 0.01.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if init == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# torchvision's models are made without memory, at full width and for one class, then rebuilt layer by layer: so their
# structure is the library's and width, normalisation and image channels are ours.


def _rebuilt(model: nn.Module, settings: Settings, norm: str) -> None:
    """Replace, in place, every layer with parameters by one of the settings' width and normalisation."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d):
            inputs = settings.channels if child.in_channels == 3 else settings.scaled(child.in_channels)
            layer: nn.Module = nn.Conv2d(
                inputs,
                settings.scaled(child.out_channels),
                cast(tuple[int, int], child.kernel_size),
                cast(tuple[int, int], child.stride),
                cast(tuple[int, int], child.padding),
                # A normalisation that follows has a shift of its own.
                bias=child.bias is not None or norm == "none",
            )
        elif isinstance(child, nn.Linear):
            outputs = settings.classes if child.out_features == 1 else settings.scaled(child.out_features)
            layer = nn.Linear(settings.scaled(child.in_features), outputs)
        elif isinstance(child, nn.BatchNorm2d):
            layer = norms.map_norm(norm, settings.scaled(child.num_features), settings.groups, child.eps)
        else:
            _rebuilt(child, settings, norm)
            continue
        model.add_module(name, layer)


def _kaiming(model: nn.Module) -> None:
    """torchvision's start of VGG and ResNet: fan out, ReLU; convolution biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _resnet(settings: Settings) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = getattr(torchvision.models, settings.model)(num_classes=1)
    if settings.small:
        # For small images, as the ResNet paper has it for CIFAR-10 (section 4.2): 3x3 without stride, no pooling.
        model.add_module("conv1", nn.Conv2d(3, 64, 3, padding=1, bias=False, device="meta"))
        model.add_module("maxpool", nn.Identity())
    _rebuilt(model, settings, settings.normalisation)
    _kaiming(model)
    return model


def _vgg19(settings: Settings) -> nn.Module:
    norm = settings.normalisation
    library = torchvision.models.vgg19 if norm == "none" else torchvision.models.vgg19_bn
    with torch.device("meta"):
        model: nn.Module = library(num_classes=1, dropout=0.5 if settings.dropout is None else settings.dropout)
    _rebuilt(model, settings, norm)
    _kaiming(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return model


class GoogLeNet(nn.Module):
    """torchvision's GoogLeNet, its auxiliary heads' scores handed out in training and those heads unused otherwise.

    Inputs are scaled and shifted per channel first, by 1 and 0 unless torchvision's weights are loaded: those want
    images in -1 to 1. Both are buffers, so that a checkpoint knows.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("input_scale", torch.ones(channels, 1, 1))
        self.register_buffer("input_shift", torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor | Scores:
        x = x * self.input_scale + self.input_shift
        if not self.training:
            scores: Tensor = self.network(x)
            return scores
        logits, second, first = self.network(x)
        return Scores(logits, (first, second))


def _googlenet(settings: Settings) -> nn.Module:
    dropout = {} if settings.dropout is None else {"dropout": settings.dropout}
    with torch.device("meta"):
        network: nn.Module = torchvision.models.GoogLeNet(num_classes=1, init_weights=False, **dropout)
    _rebuilt(network, settings, settings.normalisation)
    # torchvision's start, at the bounds it means.
    initialise(network, "trunc_normal", 0.01)
    return GoogLeNet(network, settings.channels)


def _nin(settings: Settings) -> nn.Module:
    """Network in network: blocks of one spatial convolution and two of 1x1; the last block's maps are the scores.

    For small images the layout of the paper for CIFAR-10, otherwise the one for ImageNet: spatial kernels 11, 5, 3, 3.
    """
    norm = settings.normalisation
    dropout = 0.5 if settings.dropout is None else settings.dropout

    def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=norm == "none")]
        if norm != "none":
            layers.append(norms.map_norm(norm, outputs, settings.groups))
        return [*layers, nn.ReLU()]

    scaled = settings.scaled
    # Of each block: kernel, stride and padding of its spatial convolution, and the channels of all three.
    plan: list[tuple[int, int, int, tuple[int, ...]]]
    if settings.small:
        plan = [(5, 1, 2, (192, 160, 96)), (5, 1, 2, (192, 192, 192)), (3, 1, 1, (192, 192))]
    else:
        plan = [(11, 4, 0, (96,) * 3), (5, 1, 2, (256,) * 3), (3, 1, 1, (384,) * 3), (3, 1, 1, (1024,) * 2)]
    layers: list[nn.Module] = []
    inputs = settings.channels
    for number, (kernel, stride, padding, channels) in enumerate(plan):
        if number:
            small_average = settings.small and number == 2
            layers.append(nn.AvgPool2d(3, 2, ceil_mode=True) if small_average else nn.MaxPool2d(3, 2, ceil_mode=True))
            if settings.small or number == len(plan) - 1:
                layers.append(nn.Dropout(dropout))
        for place, wide in enumerate(channels):
            outputs = scaled(wide)
            layers += convolution(inputs, outputs, *((kernel, stride, padding) if place == 0 else (1,)))
            inputs = outputs
    body = nn.Sequential(*layers)
    _kaiming(body)
    # The class maps: neither normalised nor rectified, or half of all scores would be 0.
    return nn.Sequential(*body, nn.Conv2d(inputs, settings.classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _fcnet(settings: Settings) -> nn.Module:
    inputs = settings.channels * settings.image_size**2
    hidden = (settings.scaled(128),) * (settings.layers - 1)
    return fcnet.FullyConnected(inputs, hidden, settings.classes, settings.normalisation, settings.dropout or 0.0)


def _convnet(settings: Settings) -> nn.Module:
    channels = tuple(settings.scaled(32 * 2**number) for number in range(settings.layers))
    return orders.ConvNet(
        settings.channels,
        channels,
        settings.classes,
        order=settings.order,
        pool=settings.pool,
        norm=settings.normalisation,
        groups=settings.groups,
        upsample=settings.upsample,
    )


MODELS: dict[str, Callable[[Settings], nn.Module]] = {
    "vgg19": _vgg19,
    "nin": _nin,
    "googlenet": _googlenet,
    "resnet18": _resnet,
    "resnet34": _resnet,
    "resnet50": _resnet,
    "fcnet": _fcnet,
    "convnet": _convnet,
}


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _heads(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers whose size is the number of classes: the last one, and those of auxiliary heads."""
    layers = [name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return (*(name for name in layers if name.endswith(".fc2")), layers[-1])


def _state_in(file: str) -> dict[str, Tensor]:
    """Tensors by name, of a state or of a checkpoint with one. RecipeError, one line, where there are none."""
    try:
        read = torch.load(Path(file), map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError(f"no weights in {file}: {error.strerror or error}") from error
    except Exception as error:
        # torch raises half a dozen kinds for a file that is something else, one of them a paragraph long.
        raise RecipeError(f"no weights in {file}: it is no file that torch.save wrote, or a damaged one") from error
    state = read.get("model", read) if isinstance(read, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise RecipeError(f"no weights in {file}: it holds no tensors by name")
    return state


def load_pretrained(model: nn.Module, settings: Settings) -> list[str]:
    """Load torchvision's weights, or those of the file `settings.pretrained` (a state or a checkpoint with one).

    Returns the names of tensors left as they were: the class scores' layers, where the number of classes differs.
    Raises RecipeError where anything else is missing, unknown or of another shape, or where no file is.
    """
    if settings.pretrained == TORCH_WEIGHTS:
        name = "vgg19_bn" if settings.model == "vgg19" and settings.normalisation != "none" else settings.model
        if name not in torchvision.models.list_models():
            raise RecipeError(f"torchvision has no weights for {name}; give --pretrained a file")
        weights = torchvision.models.get_model_weights(name).DEFAULT
        try:
            state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise RecipeError(f"torchvision's weights cannot be fetched: {error}") from error
    else:
        state = _state_in(str(settings.pretrained))
    # torch.compile puts this before the names of what it wraps.
    state = {key.removeprefix("_orig_mod."): value for key, value in state.items()}
    own = model.state_dict()
    if isinstance(model, GoogLeNet) and not any(key.startswith("network.") for key in state):
        state = {f"network.{key}": value for key, value in state.items()}
        scale = torch.tensor(IMAGENET_STD).view(3, 1, 1) / 0.5
        state["input_scale"] = scale
        state["input_shift"] = (torch.tensor(IMAGENET_MEAN).view(3, 1, 1) - 0.5) / 0.5
    # Files written before torch counted batches lack it, and torch's own strict load takes them.
    missing = {key for key in own.keys() - state.keys() if not key.endswith(".num_batches_tracked")}
    wrong = [*missing, *(state.keys() - own.keys())]
    wrong += [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    left = sorted(key for key in wrong if key in own and key in state and key.rpartition(".")[0] in _heads(model))
    wrong = sorted(set(wrong) - set(left))
    if wrong:
        raise RecipeError(f"these weights are not of this {settings.model}: {len(wrong)} differ, first {wrong[0]}")
    model.load_state_dict({key: value for key, value in state.items() if key not in left}, strict=False)
    return left
