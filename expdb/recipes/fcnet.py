"""The fully connected network of seed 002: affine[-normalisation]-relu[-dropout] times (layers - 1), then affine."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from expdb.recipes import norms


class FullyConnected(nn.Module):
    """Inputs (N, ...) are flattened to (N, inputs); out come class scores (N, classes) before any softmax.

    hidden: features of the layers but the last, so that len(hidden) + 1 is the page's number of layers. norm: a name
    that `norms.vector_norm` knows. dropout: the share that is zeroed in training; what stays is divided by 1 - dropout
    (the page's "inverted" dropout, and torch's). RecipeError for an unknown norm.
    """

    def __init__(
        self, inputs: int, hidden: tuple[int, ...], classes: int, norm: str = "none", dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise((inputs, *hidden)):
            layers.append(nn.Linear(before, after))
            if norm != "none":
                layers.append(norms.vector_norm(norm, after))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear((inputs, *hidden)[-1], classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x)
        return scores


def l2(model: nn.Module, strength: float) -> Tensor:
    """Seed 002's term of the loss: strength / 2 times the sum of squares of the weights of affine layers, no bias.

    Its gradient, strength times the weight, is what weight decay on the same tensors adds, so that training uses that
    (`optimisers.decay_groups`, on="weights") and this stands for the loss as the page prints it. A scalar tensor.
    """
    squares = [module.weight.square().sum() for module in model.modules() if isinstance(module, nn.Linear)]
    return strength / 2 * torch.stack(squares).sum()
