"""Units of convolution, normalisation, pooling and ReLU in every order, and up-sampling."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from expdb.recipes import RecipeError, orders


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def twins(first: str, second: str, pool: str) -> tuple[Tensor, Tensor]:
    """What two orders make of the same pictures with the same kernels, in float64."""
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    one, other = (orders.unit(3, 5, order, pool).double() for order in (first, second))
    kernels, others = one[0], other[0]
    others.load_state_dict(kernels.state_dict())
    return one(x), other(x)


def test_there_are_six_orders_and_the_pages_is_one() -> None:
    assert len(set(orders.ORDERS)) == 6
    assert "bn-pool-relu" in orders.ORDERS


@pytest.mark.parametrize("pool", orders.POOLS)
@pytest.mark.parametrize("order", orders.ORDERS)
def test_every_order_halves_the_map_and_has_its_parts_in_order(order: str, pool: str) -> None:
    unit = orders.unit(3, 16, order, pool)
    assert unit(torch.randn(2, 3, 14, 14)).shape == (2, 16, 7, 7)
    kinds = {"bn": nn.BatchNorm2d, "pool": nn.MaxPool2d if pool == "max" else nn.AvgPool2d, "relu": nn.ReLU}
    assert [type(part) for part in unit] == [nn.Conv2d, *(kinds[name] for name in order.split("-"))]


@pytest.mark.parametrize("first, second", [("bn-pool-relu", "bn-relu-pool"), ("pool-relu-bn", "relu-pool-bn")])
def test_maximum_pooling_and_relu_commute(first: str, second: str) -> None:
    one, other = twins(first, second, "max")
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("first, second", [("bn-pool-relu", "bn-relu-pool"), ("pool-relu-bn", "relu-pool-bn")])
def test_average_pooling_and_relu_do_not_commute(first: str, second: str) -> None:
    one, other = twins(first, second, "avg")
    assert (one - other).abs().max() > 0.1


def test_a_mean_of_what_relu_lets_through_is_never_below_relu_of_the_mean() -> None:
    pooled_first, relu_first = twins("bn-pool-relu", "bn-relu-pool", "avg")
    assert (relu_first >= pooled_first).all()


def test_batch_normalisation_and_average_pooling_do_not_commute() -> None:
    # Pooling takes spread away, which normalisation then gives back, or not.
    before, after = twins("bn-pool-relu", "pool-bn-relu", "avg")
    assert before.std() < 0.8 * after.std()


@pytest.mark.parametrize("factor", [2, 3])
def test_nearest_up_sampling_copies_each_value_into_a_square(factor: int) -> None:
    x = torch.rand(1, 16, 7, 7, dtype=torch.float64)
    large = nn.Upsample(scale_factor=factor, mode="nearest")(x)
    assert large.shape == (1, 16, 7 * factor, 7 * factor)
    torch.testing.assert_close(large, x.repeat_interleave(factor, 2).repeat_interleave(factor, 3), rtol=0, atol=0)
    torch.testing.assert_close(F.avg_pool2d(large, factor), x)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_network_up_samples_before_its_last_unit(factor: int) -> None:
    net = orders.ConvNet(3, (4, 8), 10, upsample=factor)
    seen: list[torch.Size] = []
    net.units[-1].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert seen == [torch.Size((2, 4, 8 * factor, 8 * factor))]


def test_up_sampling_before_a_mean_would_change_nothing() -> None:
    x = torch.rand(2, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(F.interpolate(x, scale_factor=3.0, mode="nearest").mean((2, 3)), x.mean((2, 3)))


@pytest.mark.parametrize("order", orders.ORDERS)
def test_gradients_of_every_order_are_those_of_differences(order: str) -> None:
    unit = orders.unit(1, 2, order, "avg").double()
    assert torch.autograd.gradcheck(unit, torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True))


def test_unknown_orders_and_poolings_are_refused() -> None:
    with pytest.raises(RecipeError, match="bn-pool-relu"):
        orders.unit(3, 4, "relu-bn")
    with pytest.raises(RecipeError, match="max, avg"):
        orders.unit(3, 4, pool="min")
