"""Normalisation layers: what is identical to what, the formulas of seed 002 against torch's, batches of one."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from expdb.recipes import RecipeError, norms

CHANNELS = 6


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def maps(pictures: int = 4) -> Tensor:
    """(pictures, 6, 5, 3) in float64, each channel with a mean and a spread of its own."""
    shape = (1, CHANNELS, 1, 1)
    return torch.randn(pictures, CHANNELS, 5, 3, dtype=torch.float64) * torch.rand(shape) * 3 + torch.randn(shape)


def learned(layer: nn.Module) -> nn.Module:
    """The layer in float64 with scales and shifts that are not 1 and 0."""
    layer = layer.double()
    for name, parameter in layer.named_parameters():
        if name in ("weight", "bias"):
            nn.init.normal_(parameter)
    return layer


def gradients(layer: nn.Module, x: Tensor, out_gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the input, of the scale and of the shift."""
    x = x.clone().requires_grad_()
    layer(x).backward(out_gradient)
    found = (x.grad, layer.weight.grad, layer.bias.grad)
    assert all(isinstance(one, Tensor) for one in found)
    return found  # type: ignore[return-value]


# --- identities ---


def test_group_normalisation_with_a_group_per_channel_is_instance_normalisation() -> None:
    x = maps()
    group, instance = norms.map_norm("group", CHANNELS, groups=CHANNELS), norms.map_norm("instance", CHANNELS)
    torch.testing.assert_close(group.double()(x), instance.double()(x))
    torch.testing.assert_close(group(x), F.instance_norm(x))


def test_group_normalisation_with_one_group_is_layer_normalisation_over_channels_and_places() -> None:
    x = maps()
    group, layer = norms.map_norm("group", CHANNELS, groups=1).double(), norms.map_norm("layer", CHANNELS).double()
    torch.testing.assert_close(group(x), F.layer_norm(x, x.shape[1:]))
    torch.testing.assert_close(layer(x), F.layer_norm(x, x.shape[1:]))


def one_hot(which: int) -> norms.SwitchableNorm2d:
    """Switchable normalisation that takes instance (0), layer (1) or batch (2) statistics alone."""
    layer = norms.SwitchableNorm2d(CHANNELS).double()
    with torch.no_grad():
        for logits in (layer.mean_logits, layer.var_logits):
            logits.fill_(-torch.inf)
            logits[which] = 0
    return layer


def test_switchable_normalisation_set_to_one_of_its_three_is_that_one() -> None:
    x = maps()
    torch.testing.assert_close(one_hot(0)(x), F.instance_norm(x))
    torch.testing.assert_close(one_hot(1)(x), F.layer_norm(x, x.shape[1:]))
    torch.testing.assert_close(one_hot(2)(x), F.batch_norm(x, None, None, training=True))


def test_switchable_normalisation_evaluates_with_running_batch_statistics() -> None:
    x, layer = maps(), one_hot(2)
    layer(x)
    layer.eval()
    count = x.numel() / CHANNELS
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * x.var((0, 2, 3)) * (count - 1) / count)
    torch.testing.assert_close(layer(x), F.batch_norm(x, layer.running_mean, layer.running_var))


def test_switchable_normalisation_is_the_papers_mixture() -> None:
    x, layer = maps(), learned(norms.SwitchableNorm2d(CHANNELS))
    assert isinstance(layer, norms.SwitchableNorm2d)
    nn.init.normal_(layer.mean_logits)
    nn.init.normal_(layer.var_logits)
    # Equations 3 to 5, as the page copies them.
    mean_in, var_in = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    mean_ln = mean_in.mean(1, keepdim=True)
    var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
    mean_bn = mean_in.mean(0, keepdim=True)
    var_bn = (var_in + mean_in**2).mean(0, keepdim=True) - mean_bn**2
    w, v = layer.mean_logits.exp(), layer.var_logits.exp()
    mean = (w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn) / w.sum()
    variance = (v[0] * var_in + v[1] * var_ln + v[2] * var_bn) / v.sum()
    wanted = layer.weight.view(1, -1, 1, 1) * (x - mean) / (variance + 1e-5).sqrt() + layer.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("name", ["layer", "instance", "group"])
@pytest.mark.parametrize("pictures", [1, 2, 8])
def test_layer_instance_and_group_see_one_picture_whatever_the_batch(name: str, pictures: int) -> None:
    x, layer = maps(8), norms.map_norm(name, CHANNELS, groups=3).double()
    torch.testing.assert_close(layer(x[:pictures]), layer(x)[:pictures])


@pytest.mark.parametrize("name", ["batch", "batch-seed", "switchable"])
def test_batch_and_switchable_depend_on_the_batch(name: str) -> None:
    x, layer = maps(8), norms.map_norm(name, CHANNELS).double()
    assert (layer(x[:2]) - layer(x)[:2]).abs().max() > 0.05


@pytest.mark.parametrize("pictures", [1, 2, 8])
@pytest.mark.parametrize("name", norms.NORMS[1:-1])
def test_every_normalisation_takes_maps_of_every_batch_size_and_gives_them_unit_spread(
    name: str, pictures: int
) -> None:
    out = norms.map_norm(name, CHANNELS, groups=3).double()(maps(pictures))
    assert out.shape == (pictures, CHANNELS, 5, 3)
    assert abs(float(out.mean().detach())) < 0.3
    assert 0.7 < float(out.std().detach()) < 1.3


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    assert norms.GROUPS == 32
    with pytest.raises(RecipeError, match="32 groups do not divide 48 channels"):
        norms.map_norm("group", 48)


def test_unknown_normalisations_are_named_with_those_that_are_known() -> None:
    with pytest.raises(RecipeError, match="known: none, batch"):
        norms.map_norm("layer-seed", CHANNELS)
    with pytest.raises(RecipeError, match="layer-seed"):
        norms.vector_norm("group", CHANNELS)


@pytest.mark.parametrize("name", ["batch-seed", "switchable"])
def test_maps_of_autocast_are_normalised_in_float32(name: str) -> None:
    x = (maps().float() + 100).bfloat16()
    layer = norms.map_norm(name, CHANNELS)
    out, wanted = layer(x), layer(x.float())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, wanted.bfloat16(), rtol=0, atol=0)


def test_vectors_of_autocast_are_normalised_in_float32() -> None:
    x = (torch.randn(5, CHANNELS) + 100).bfloat16()
    layer = norms.vector_norm("layer-seed", CHANNELS)
    torch.testing.assert_close(layer(x), layer(x.float()).bfloat16(), rtol=0, atol=0)


# --- a batch of one ---


def test_a_batch_of_one_vector_leaves_the_shift_alone_by_the_pages_formula() -> None:
    layer = learned(norms.vector_norm("batch-seed", CHANNELS))
    assert isinstance(layer, norms.SeedBatchNorm)
    x = torch.randn(1, CHANNELS, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.bias[None], rtol=0, atol=0)
    of_input, of_scale, of_shift = gradients(layer, x, torch.ones_like(x))
    # It learns nothing but the shift.
    assert not of_input.any()
    assert not of_scale.any()
    assert of_shift.all()


def test_torch_refuses_a_batch_of_one_vector() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norms.vector_norm("batch", CHANNELS)(torch.randn(1, CHANNELS))


@pytest.mark.parametrize("name", ["batch", "switchable"])
def test_a_batch_of_one_map_is_normalised_as_instance_normalisation_does(name: str) -> None:
    x = maps(1)
    layer = norms.map_norm("batch", CHANNELS).double() if name == "batch" else one_hot(2)
    torch.testing.assert_close(layer(x), F.instance_norm(x))
    assert layer(x).std() > 0.9


# --- seed 002's formulas ---


def page_batch(x: Tensor, scale: Tensor, shift: Tensor, eps: float, out_gradient: Tensor) -> tuple[Tensor, ...]:
    """The page's forward and backward code, statement by statement: output, dx, dgamma, dbeta. x (N, D)."""
    mean, variance = x.mean(0), x.var(0, correction=0)
    x_std = (x - mean) / (variance.sqrt() + eps)
    out = scale * x_std + shift
    dgamma, dbeta = (out_gradient * x_std).sum(0), out_gradient.sum(0)
    a = 1 / (variance + eps).sqrt()
    dx_hat = out_gradient * scale
    dx = (
        dx_hat * a
        + (dx_hat * (x - mean) * -0.5 * a**3).sum(0) * 2 * (x - mean) / len(x)
        + (-dx_hat * a).sum(0) / len(x)
    )
    return out, dx, dgamma, dbeta


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_batch_normalisation_is_the_pages_code_forward_and_backward(eps: float) -> None:
    x, out_gradient = torch.randn(2, 7, CHANNELS, dtype=torch.float64)
    layer = learned(norms.SeedBatchNorm(CHANNELS, eps=eps))
    assert isinstance(layer, norms.SeedBatchNorm)
    out, *wanted = page_batch(x, layer.weight.detach(), layer.bias.detach(), eps, out_gradient)
    torch.testing.assert_close(layer(x), out)
    torch.testing.assert_close(list(gradients(layer, x, out_gradient)), wanted)


def test_spatial_batch_normalisation_is_that_of_places_as_rows() -> None:
    x = maps()
    rows = x.movedim(1, 3).reshape(-1, CHANNELS)
    layer = norms.SeedBatchNorm(CHANNELS, eps=0.1).double()
    torch.testing.assert_close(layer(x).movedim(1, 3).reshape(-1, CHANNELS), layer(rows))


def test_epsilon_outside_the_root_divides_by_more_than_torch_does() -> None:
    x = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)  # mean 0, biased variance 4
    code, formula = (norms.SeedBatchNorm(1, eps=0.5, form=form).double()(x) for form in ("code", "formula"))
    torch.testing.assert_close(formula, x / 4.5**0.5)
    torch.testing.assert_close(code, x / 2.5)
    torch.testing.assert_close(formula, F.batch_norm(x, None, None, training=True, eps=0.5))


def test_a_feature_without_spread_is_divided_by_epsilon_itself() -> None:
    # Where the two forms differ most in practice: 1e-5 against its root, 0.0032.
    x = torch.tensor([[1.0], [1.0 + 1e-6]], dtype=torch.float64)
    code, formula = (norms.SeedBatchNorm(1, form=form).double()(x) for form in ("code", "formula"))
    torch.testing.assert_close(code[1] / formula[1], torch.tensor([287.5], dtype=torch.float64), rtol=0.05, atol=0)


def test_only_the_formulas_gradient_is_that_of_its_output() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    formula = learned(norms.SeedBatchNorm(3, eps=0.1, form="formula"))
    code = learned(norms.SeedBatchNorm(3, eps=0.1))
    assert torch.autograd.gradcheck(formula, x)
    assert not torch.autograd.gradcheck(code, x, raise_exception=False)


@pytest.mark.parametrize("name", ["batch", "layer", "instance", "group", "switchable"])
def test_gradients_of_normalised_maps_are_those_of_differences(name: str) -> None:
    layer = learned(norms.map_norm(name, CHANNELS, groups=2))
    x = maps(2)[:, :, :2].requires_grad_()
    inputs = [x, *layer.parameters()]

    def out(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(dict(layer.named_parameters()), parameters, strict=True))
        result: Tensor = torch.func.functional_call(layer, named, (x,))
        return result

    assert torch.autograd.gradcheck(out, inputs)


def test_the_running_variance_is_biased_and_momentum_is_the_share_kept() -> None:
    x = torch.randn(4, CHANNELS, dtype=torch.float64)
    seed, torchs = norms.SeedBatchNorm(CHANNELS, momentum=0.9).double(), nn.BatchNorm1d(CHANNELS, momentum=0.1).double()
    seed(x)
    torchs(x)
    assert torchs.running_mean is not None
    assert torchs.running_var is not None
    torch.testing.assert_close(seed.running_mean, torchs.running_mean)
    torch.testing.assert_close(seed.running_var, 0.9 + 0.1 * x.var(0, correction=0))
    # Torch's is unbiased: a third more of four pictures' variance.
    torch.testing.assert_close(
        (torchs.running_var - 0.9) / (seed.running_var - 0.9), torch.full((CHANNELS,), 4 / 3).double()
    )
    seed.eval()
    torch.testing.assert_close(seed(x), (x - seed.running_mean) / (seed.running_var.sqrt() + 1e-5))


def page_layer(x: Tensor, scale: Tensor, eps: float, out_gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The page's backward code of layer normalisation; the stored variance holds epsilon already. x (N, D)."""
    mean = x.mean(1)
    stored = x.var(1, correction=0) + eps
    x_hat = ((x.T - mean) / stored.sqrt()).T
    dgamma, dbeta = (out_gradient * x_hat).sum(0), out_gradient.sum(0)
    turned, count = x.T, x.shape[1]
    dx_hat = (out_gradient * scale).T
    a = (stored + eps).sqrt()
    dvar = (-0.5 * (turned - mean) * dx_hat / a**3).sum(0)
    dmean = (-dx_hat / a).sum(0) + dvar * (-2 * (turned - mean)).sum(0) / count
    dx = dx_hat / a + dmean / count + 2 * dvar * (turned - mean) / count
    return dx.T, dgamma, dbeta


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_normalisation_adds_epsilon_twice_on_the_way_back(eps: float) -> None:
    x, out_gradient = torch.randn(2, 7, CHANNELS, dtype=torch.float64)
    layer = learned(norms.SeedLayerNorm(CHANNELS, eps=eps))
    assert isinstance(layer, norms.SeedLayerNorm)
    torchs = nn.LayerNorm(CHANNELS, eps=eps).double()
    torchs.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), torchs(x))
    ours, theirs = gradients(layer, x, out_gradient), gradients(torchs, x, out_gradient)
    torch.testing.assert_close(ours, page_layer(x, layer.weight.detach(), eps, out_gradient))
    torch.testing.assert_close(ours[1:], theirs[1:])
    off = float((ours[0] - theirs[0]).norm() / theirs[0].norm())
    # In proportion to epsilon over the variance, which differs from row to row.
    assert eps / 10 < off < 50 * eps


def test_group_normalisation_as_the_page_means_it_is_torchs() -> None:
    x, out_gradient = maps(), torch.randn(4, CHANNELS, 5, 3, dtype=torch.float64)
    n, c, h, w = x.shape
    groups = 3
    layer = norms.map_norm("group", c, groups)
    layer = learned(layer)
    assert isinstance(layer, nn.GroupNorm)
    # The page types N+G and H+W for the two products: no reshape of x to that is possible.
    assert (n + groups) * (c // groups * h + w) != x.numel()
    size = (n * groups, c // groups * h * w)
    rows = x.reshape(size).T
    std = (rows.var(0, correction=0) + 1e-5).sqrt()
    z = (rows - rows.mean(0)) / std
    gamma, beta = layer.weight.detach().view(1, -1, 1, 1), layer.bias.detach().view(1, -1, 1, 1)
    torch.testing.assert_close(layer(x), gamma * z.T.reshape(x.shape) + beta)
    dfdz = (out_gradient * gamma).reshape(size).T
    dx = (dfdz - dfdz.sum(0) / len(z) - (dfdz * z).sum(0) * z / len(z)) / std
    dgamma = (out_gradient * z.T.reshape(x.shape)).sum((0, 2, 3))
    wanted = (dx.T.reshape(x.shape), dgamma, out_gradient.sum((0, 2, 3)))
    torch.testing.assert_close(gradients(layer, x, out_gradient), wanted)
