"""Normalisation layers: torch's, switchable normalisation, and the formulas of seed 002 where they differ from torch.

Feature maps are (N, C, H, W), features of a fully connected layer (N, D); float tensors of any precision. Sources:
batch normalisation, Ioffe and Szegedy, arXiv:1502.03167; layer, Ba and others, arXiv:1607.06450; instance, Ulyanov and
others, arXiv:1607.08022; group, Wu and He, arXiv:1803.08494; switchable, Luo and others, arXiv:1806.10779.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from expdb.recipes import RecipeError

NORMS = ("none", "batch", "layer", "instance", "group", "switchable", "batch-seed", "layer-seed")
GROUPS = 32  # the default of the group normalisation paper and of seed 002


def map_norm(name: str, channels: int, groups: int = GROUPS, eps: float = 1e-5) -> nn.Module:
    """A normalisation over feature maps (N, channels, H, W), with a learned scale and shift per channel.

    Raises RecipeError for a name that is none of `NORMS` or knows no maps, and where `groups` does not divide
    `channels`.
    """
    if name == "none":
        return nn.Identity()
    if name == "batch":
        return nn.BatchNorm2d(channels, eps=eps)
    if name == "layer":
        # One group over C, H and W; nn.LayerNorm would want H and W beforehand and learn a scale per place.
        return nn.GroupNorm(1, channels, eps=eps)
    if name == "instance":
        return nn.InstanceNorm2d(channels, eps=eps, affine=True)
    if name == "group":
        if channels % groups:
            raise RecipeError(f"{groups} groups do not divide {channels} channels; give --groups a divisor of it")
        return nn.GroupNorm(groups, channels, eps=eps)
    if name == "switchable":
        return SwitchableNorm2d(channels, eps=eps)
    if name == "batch-seed":
        return SeedBatchNorm(channels, eps=eps)
    raise RecipeError(f"{name!r} is no normalisation of feature maps; known: {', '.join(NORMS[:-1])}")


def vector_norm(name: str, features: int, eps: float = 1e-5) -> nn.Module:
    """A normalisation of vectors (N, features): none, batch, layer, batch-seed or layer-seed; RecipeError otherwise."""
    if name == "none":
        return nn.Identity()
    if name == "batch":
        return nn.BatchNorm1d(features, eps=eps)
    if name == "layer":
        return nn.LayerNorm(features, eps=eps)
    if name == "batch-seed":
        return SeedBatchNorm(features, eps=eps)
    if name == "layer-seed":
        return SeedLayerNorm(features, eps=eps)
    raise RecipeError(f"{name!r} is no normalisation of vectors; known: none, batch, layer, batch-seed, layer-seed")


def _wide(x: Tensor) -> Tensor:
    """In float32 at least: under autocast x is bf16, and its squares are too coarse for a variance."""
    return x if x.dtype == torch.float64 else x.float()


def _broadcast(value: Tensor, dims: int) -> Tensor:
    """(C,) as (1, C, 1, ...) with `dims` dimensions."""
    return value.view(1, -1, *[1] * (dims - 2))


class SeedBatchNorm(nn.Module):
    """Batch normalisation as seed 002 writes it, over (N, D) or (N, C, H, W).

    Three things differ from torch. `momentum` is the share of the running value that is *kept* (torch's is the share
    replaced: .1 there is .9 here). The running variance is biased, divided by the count and not by the count less one.
    And epsilon: form "formula" divides by sqrt(variance + eps), as torch and the page's formula do; form "code" divides
    by sqrt(variance) + eps while its backward pass is the formula's, so that its gradient is not that of its output.

    The page does not show where the running values begin: they begin here as torch's, mean 0 and variance 1. At batch
    size 1 the output for vectors is the shift alone; nothing is refused.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, features: int, eps: float = 1e-5, momentum: float = 0.9, form: Literal["formula", "code"] = "code"
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.form = eps, momentum, form
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, momentum={self.momentum} kept, form={self.form}"

    def forward(self, x: Tensor) -> Tensor:
        given, x = x.dtype, _wide(x)
        if self.training:
            axes = [0, *range(2, x.dim())]
            variance, mean = torch.var_mean(x, axes, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, 1 - self.momentum)
                self.running_var.lerp_(variance, 1 - self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        centred = x - _broadcast(mean, x.dim())
        normal = centred / _broadcast((variance + self.eps).sqrt(), x.dim())
        if self.form == "code":
            with torch.no_grad():
                written = centred / _broadcast(variance.sqrt() + self.eps, x.dim())
            # The values of the code, the gradient of the formula: the page's backward pass.
            normal = normal + (written - normal).detach()
        out = _broadcast(self.weight, x.dim()) * normal + _broadcast(self.bias, x.dim())
        return out.to(given)


class SeedLayerNorm(nn.Module):
    """Layer normalisation of vectors (N, D) as seed 002 computes it: epsilon is added twice on the way back.

    Its backward pass takes sqrt(stored + eps). The page lacks the forward code; stored here is the variance with
    epsilon already in it, as in its group normalisation. So the output is torch's and the gradient is that of
    (x - mean) / sqrt(variance + 2 eps).
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, added twice in the gradient"

    def forward(self, x: Tensor) -> Tensor:
        given, x = x.dtype, _wide(x)
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        centred = x - mean
        normal = centred / (variance + 2 * self.eps).sqrt()
        with torch.no_grad():
            written = centred / (variance + self.eps).sqrt()
        out = self.weight * (normal + (written - normal).detach()) + self.bias
        return out.to(given)


class SwitchableNorm2d(nn.Module):
    """Means and variances of instance, layer and batch normalisation, mixed by softmaxes over three learned numbers.

    Maps (N, C, H, W) to the same shape. The three stand in the order instance, layer, batch in `mean_logits` and
    `var_logits`. In evaluation the batch's statistics are running ones: `momentum` is the share replaced, as in torch,
    and the variance is biased, as in the paper's mixture.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean_logits = nn.Parameter(torch.zeros(3))
        self.var_logits = nn.Parameter(torch.zeros(3))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, x: Tensor) -> Tensor:
        given, x = x.dtype, _wide(x)
        instance_var, instance_mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        # E[v + m^2] - E[m]^2 of the paper, without its cancellation.
        spread, layer_mean = torch.var_mean(instance_mean, 1, correction=0, keepdim=True)
        layer_var = instance_var.mean(1, keepdim=True) + spread
        if self.training:
            spread, batch_mean = torch.var_mean(instance_mean, 0, correction=0, keepdim=True)
            batch_var = instance_var.mean(0, keepdim=True) + spread
            with torch.no_grad():
                self.running_mean.lerp_(batch_mean.flatten(), self.momentum)
                self.running_var.lerp_(batch_var.flatten(), self.momentum)
        else:
            batch_mean, batch_var = _broadcast(self.running_mean, 4), _broadcast(self.running_var, 4)
        mean_share, var_share = self.mean_logits.softmax(0), self.var_logits.softmax(0)
        mean = mean_share[0] * instance_mean + mean_share[1] * layer_mean + mean_share[2] * batch_mean
        variance = var_share[0] * instance_var + var_share[1] * layer_var + var_share[2] * batch_var
        normal = (x - mean) * torch.rsqrt(variance + self.eps)
        out = _broadcast(self.weight, 4) * normal + _broadcast(self.bias, 4)
        return out.to(given)
