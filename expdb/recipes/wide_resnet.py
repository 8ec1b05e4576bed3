"""Wide residual networks whose blocks join their two branches in nine ways: "feature map multiplication".

The network is Zagoruyko and Komodakis's (2016) as the code of these experiments has it: convolutions with biases, batch
normalisation before each, and a last one with momentum 0.9.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional, init

from expdb.recipes import RecipeError

Held = Literal["bn.bias", "bn.weight", "bn_s.bias"]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a block joins out, its residual branch, and its shortcut; a row of the experiments' table.

    gate: what the sigmoid sees, None where the branches are added; offset: is added to the sigmoid; held: parameters
    that are set back to these values at every forward; recorded: accuracy in percent, best epoch on the test pictures.
    """

    gate: Literal["out", "bn(out)"] | None
    offset: float
    held: tuple[tuple[Held, int], ...]
    recorded: float

    @property
    def expression(self) -> str:
        """As the table writes it."""
        held = "".join(f"self.{name}.data[:]={value}; " for name, value in self.held)
        if self.gate is None:
            return f"{held}out = self.bn(out) + self.shortcut(x)"
        gate = "out" if self.gate == "out" else "self.bn(out)"
        offset = f" + {self.offset:g}" if self.offset else ""
        return f"{held}out = ({gate}.sigmoid(){offset}) * self.bn_s(self.shortcut(x))"


FUSIONS = (
    Fusion(None, 0, (), 87.62),
    Fusion("out", 1, (), 78.23),
    Fusion("bn(out)", 1, (), 78.69),
    Fusion("bn(out)", 0.5, (), 78.57),
    Fusion("bn(out)", 1, (("bn_s.bias", 1),), 82.26),
    Fusion("bn(out)", 0.5, (("bn_s.bias", 1),), 84.10),
    Fusion("bn(out)", 0.5, (("bn.bias", 0), ("bn_s.bias", 1)), 84.85),
    Fusion("bn(out)", 0, (("bn.bias", 0), ("bn_s.bias", 1)), 85.83),
    Fusion("bn(out)", 0, (("bn.bias", 0), ("bn.weight", 1), ("bn_s.bias", 1)), 81.57),
)
"""The table's rows in its order; the first is row 1."""


class Join(nn.Module):
    """out and shortcut, both (N, C, H, W), to one of the same shape. Has bn and bn_s only where the row calls them."""

    def __init__(self, channels: int, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion
        self.bn = nn.BatchNorm2d(channels) if fusion.gate != "out" else None
        self.bn_s = nn.BatchNorm2d(channels) if fusion.gate is not None else None

    def forward(self, out: Tensor, shortcut: Tensor) -> Tensor:
        # At every forward: a step and its weight decay move them. By .data: of two forwards before one backward the
        # second changes no value, and autograd need not see it.
        for name, value in self.fusion.held:
            self.get_parameter(name).data.fill_(value)
        if self.bn is not None:
            out = self.bn(out)
        if self.bn_s is None:
            return out + shortcut
        product: Tensor = (out.sigmoid() + self.fusion.offset) * self.bn_s(shortcut)
        return product


class Block(nn.Module):
    """bn1, relu, 3x3, dropout, bn2, relu, 3x3 with the stride; then the fusion with what came in."""

    def __init__(self, inside: int, channels: int, stride: int, dropout: float, fusion: Fusion) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1)
        same = stride == 1 and inside == channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, channels, 1, stride)
        self.join = Join(channels, fusion)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, H, W) -> (N, channels, H / stride, W / stride)."""
        out = self.dropout(self.conv1(functional.relu(self.bn1(x))))
        out = self.conv2(functional.relu(self.bn2(out)))
        joined: Tensor = self.join(out, self.shortcut(x))
        return joined


class WideResNet(nn.Module):
    """(N, channels, H, W) float -> logits (N, classes). depth: 6 n + 4; width: times 16, 32 and 64 channels.

    Raises RecipeError for another depth.
    """

    def __init__(
        self, depth: int, width: int, dropout: float, classes: int, fusion: Fusion, *, channels: int = 3
    ) -> None:
        super().__init__()
        blocks, left = divmod(depth - 4, 6)
        if left or blocks < 1 or width < 1:
            raise RecipeError(f"a wide ResNet is 10, 16, 22, ... deep and at least 1 wide, not {depth} x {width}")
        inside = 16
        self.conv1 = nn.Conv2d(channels, inside, 3, padding=1)
        layers: list[Block] = []
        for planes, first_stride in ((16, 1), (32, 2), (64, 2)):
            for number in range(blocks):
                stride = first_stride if number == 0 else 1
                layers.append(Block(inside, planes * width, stride, dropout, fusion))
                inside = planes * width
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inside, momentum=0.9)
        self.linear = nn.Linear(inside, classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn(self.layers(self.conv1(x))))
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


def _initialise(module: nn.Module) -> None:
    """The linear layer keeps torch's own."""
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        init.xavier_uniform_(module.weight, gain=2**0.5)
        init.zeros_(module.bias)
