"""Units of a convolutional network in every order: seed 003's convolution, then normalisation, pooling and ReLU.

The page says that the order of the last three hardly matters. Maximum pooling and ReLU commute exactly, since both keep
the order of numbers; average pooling and ReLU do not.
"""

from itertools import permutations

from torch import Tensor, nn

from expdb.recipes import RecipeError, norms

ORDERS = tuple("-".join(order) for order in permutations(("bn", "pool", "relu")))
POOLS = ("max", "avg")


def unit(
    inputs: int,
    outputs: int,
    order: str = "bn-pool-relu",
    pool: str = "max",
    norm: str = "batch",
    groups: int = norms.GROUPS,
) -> nn.Sequential:
    """Convolution 3x3, then the three parts in `order`: (N, inputs, H, W) to (N, outputs, H // 2, W // 2).

    "bn" in the order is where the normalisation of that name in `norms.NORMS` stands, not always batch
    normalisation. RecipeError for an order not in `ORDERS` or a pooling not in `POOLS`.
    """
    if order not in ORDERS:
        raise RecipeError(f"{order!r} is no order of the three; known: {', '.join(ORDERS)}")
    if pool not in POOLS:
        raise RecipeError(f"{pool!r} is no pooling here; known: {', '.join(POOLS)}")
    parts: dict[str, nn.Module] = {
        "bn": norms.map_norm(norm, outputs, groups),
        "pool": nn.MaxPool2d(2, stride=2) if pool == "max" else nn.AvgPool2d(2, stride=2),
        "relu": nn.ReLU(),
    }
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), *(parts[name] for name in order.split("-")))


class ConvNet(nn.Module):
    """Units of one order, nearest up-sampling before the last of them, a mean over the map and an affine layer.

    x (N, image channels, H, W), with H and W at least 2 ** len(channels), to scores (N, classes). channels: what each
    unit gives. upsample: the factor, 1 for none; before the last unit, since before the mean it would change nothing.
    """

    def __init__(
        self,
        image_channels: int,
        channels: tuple[int, ...],
        classes: int,
        *,
        order: str = "bn-pool-relu",
        pool: str = "max",
        norm: str = "batch",
        groups: int = norms.GROUPS,
        upsample: int = 1,
    ) -> None:
        super().__init__()
        before = (image_channels, *channels)
        parts: list[nn.Module] = [
            unit(before[number], channels[number], order, pool, norm, groups) for number in range(len(channels))
        ]
        if upsample > 1:
            parts.insert(-1, nn.Upsample(scale_factor=upsample, mode="nearest"))
        self.units = nn.Sequential(*parts)
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.units(x).mean((2, 3)))
        return scores
