"""Models by name: torchvision's own at width 1, every width and normalisation, initialisation, pre-trained weights."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn

from expdb.recipes import RecipeError, fcnet, models, norms

TINY = models.Settings("resnet18", classes=7, image_size=32, width=0.125)
MAPS = ("vgg19", "nin", "googlenet", "resnet18", "resnet34", "resnet50", "convnet")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def built(model: str, **changes: object) -> nn.Module:
    settings = replace(TINY, model=model, **changes)  # type: ignore[arg-type]
    made = models.build(settings)
    if settings.pretrained:
        models.load_pretrained(made, settings)
    return made


def kinds(model: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in model.modules()}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_learns_from_small_pictures_in_all_its_parameters(name: str, channels: int) -> None:
    model = built(name, channels=channels)
    output = model(torch.randn(4, channels, 32, 32))
    models.cross_entropy(output, torch.arange(4)).backward()  # type: ignore[no-untyped-call]
    assert models.scores_of(output).shape == (4, 7)
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    scores = model(torch.randn(2, channels, 32, 32))
    assert isinstance(scores, Tensor)
    assert scores.shape == (2, 7)


@pytest.mark.parametrize("name", ["nin", "resnet18", "convnet"])
def test_models_take_pictures_large_enough_for_their_large_stems(name: str) -> None:
    assert built(name, image_size=96)(torch.randn(2, 3, 96, 96)).shape == (2, 7)


@pytest.mark.parametrize("name", ["vgg19", "vgg19_bn", "googlenet", "resnet18", "resnet34", "resnet50"])
def test_at_width_1_the_layers_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        options = {"init_weights": False} if name == "googlenet" else {}
        theirs = getattr(torchvision.models, name)(num_classes=7, **options)
        norm = "batch" if name == "vgg19_bn" else None
        ours = built(name.removesuffix("_bn"), width=1.0, image_size=224, norm=norm)
    layers = {key.removeprefix("network."): tensor.shape for key, tensor in ours.state_dict().items()}
    assert [layers.pop(key, None) for key in ("input_scale", "input_shift")] == (
        [(3, 1, 1)] * 2 if name == "googlenet" else [None] * 2
    )
    assert layers == {key: tensor.shape for key, tensor in theirs.state_dict().items()}


@pytest.mark.parametrize("name", ["googlenet", "resnet18"])
def test_at_width_1_the_scores_are_torchvisions(name: str) -> None:
    ours = built(name, width=1.0, stem="library").eval()
    theirs = getattr(torchvision.models, name)(
        num_classes=7, **({"init_weights": False} if name == "googlenet" else {})
    )
    state = {key.removeprefix("network."): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict({key: value for key, value in state.items() if not key.startswith("input_")})
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs.eval()(x))


@pytest.mark.parametrize("name", models.MODELS)
def test_width_multiplies_channels(name: str) -> None:
    with torch.device("meta"):
        narrow, wide = (sum(p.numel() for p in built(name, width=width).parameters()) for width in (0.125, 0.25))
    assert 1.8 < wide / narrow < 4.1


def test_a_width_that_leaves_no_whole_channels_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"width 0\.3 makes 19\.2 of 64 channels; --width 0\.125 and its multiples"):
        built("resnet18", width=0.3)
    with pytest.raises(RecipeError, match="width 0 "):
        built("convnet", width=0.0)


def test_every_model_has_a_normalisation_of_its_own_and_options_name_models() -> None:
    assert models.NORMS.keys() == models.MODELS.keys()
    assert {name for names in models.OPTIONS.values() for name in names} <= models.MODELS.keys()
    assert models.OPTIONS.keys() <= set(models.Settings.__dataclass_fields__)


def test_unknown_names_are_refused_with_those_that_are_known() -> None:
    for name, known in (("model", "vgg19, nin"), ("init", "xavier"), ("stem", "library")):
        with pytest.raises(RecipeError, match=rf"'alexnet'.*{known}"):
            models.build(replace(TINY, **{name: "alexnet"}))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "switchable", "batch-seed"])
@pytest.mark.parametrize("name", MAPS)
def test_every_model_takes_every_normalisation(name: str, norm: str) -> None:
    model = built(name, norm=norm, groups=1)
    kind = type(norms.map_norm(norm, 8, 1))
    assert kind in kinds(model)
    assert not kinds(model) & ({nn.BatchNorm2d, nn.GroupNorm, norms.SwitchableNorm2d, norms.SeedBatchNorm} - {kind})


@pytest.mark.parametrize("name", MAPS)
def test_without_normalisation_every_convolution_has_a_bias(name: str) -> None:
    model = built(name, norm="none")
    assert not kinds(model) & {nn.BatchNorm2d}
    assert all(module.bias is not None for module in model.modules() if isinstance(module, nn.Conv2d))
    assert models.scores_of(model(torch.randn(2, 3, 32, 32))).isfinite().all()


def test_groups_that_do_not_fit_a_narrow_model_are_refused() -> None:
    with pytest.raises(RecipeError, match="32 groups do not divide 8 channels; give --groups"):
        built("resnet18", norm="group")


# --- GoogLeNet's auxiliary heads ---


def test_auxiliary_heads_weigh_three_tenths_and_only_in_training() -> None:
    model, labels = built("googlenet", dropout=0.0), torch.tensor([1, 2])
    output = model(torch.randn(2, 3, 32, 32))
    assert isinstance(output, models.Scores)
    assert len(output.auxiliary) == 2
    parts = [nn.functional.cross_entropy(scores, labels) for scores in (output.logits, *output.auxiliary)]
    torch.testing.assert_close(models.cross_entropy(output, labels), parts[0] + 0.3 * (parts[1] + parts[2]))
    model.eval()
    scores = model(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(models.cross_entropy(scores, labels), nn.functional.cross_entropy(scores, labels))


# --- initialisation ---


@pytest.mark.parametrize("name", models.MODELS)
def test_initialisations_draw_every_weight_within_their_bounds(name: str) -> None:
    for init, std in (("xavier", 0.0), ("trunc_normal", 0.05)):
        model = built(name, init=init, init_std=std)
        for layer in model.modules():
            if not isinstance(layer, (nn.Conv2d, nn.Linear)):
                continue
            size = layer.weight[0, 0].numel()
            fans = size * (layer.weight.shape[0] + layer.weight.shape[1])
            bound = (6 / fans) ** 0.5 if init == "xavier" else 2 * std
            assert float(layer.weight.detach().abs().max()) <= bound * (1 + 1e-6)
            assert layer.bias is None or not layer.bias.any()


def test_the_truncated_normal_is_cut_at_two_standard_deviations() -> None:
    layer = nn.Linear(300, 300)
    models.initialise(layer, "trunc_normal", std=0.01)
    weight = layer.weight.detach()
    assert 0.0199 < float(weight.abs().max()) <= 0.02
    # A normal cut at two deviations has .88 of its deviation left.
    assert 0.0085 < float(weight.std()) < 0.0091
    # Torch's own bounds of -2 and 2 are values and cut nothing off here.
    assert float(nn.init.trunc_normal_(weight.clone(), std=0.01).abs().max()) > 0.03


# --- weights from a file ---


def save(state: object, path: Path) -> str:
    torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("name", models.MODELS)
def test_pretrained_weights_fill_all_but_the_scores_of_other_classes(name: str, tmp_path: Path) -> None:
    source = built(name)
    file = save({"model": source.state_dict(), "epoch": 3}, tmp_path / "weights.pt")
    same = built(name, pretrained=file)
    torch.testing.assert_close(same.state_dict(), source.state_dict(), rtol=0, atol=0)
    other = built(name, classes=5)
    left = models.load_pretrained(other, replace(TINY, model=name, classes=5, pretrained=file))
    assert len(left) == (6 if name == "googlenet" else 2)
    for key, value in other.state_dict().items():
        assert (key in left) == (value.shape != source.state_dict()[key].shape)
        assert key in left or torch.equal(value, source.state_dict()[key])


def test_weights_of_a_compiled_model_load(tmp_path: Path) -> None:
    source = built("convnet")
    state = {f"_orig_mod.{key}": value for key, value in source.state_dict().items()}
    loaded = built("convnet", pretrained=save(state, tmp_path / "weights.pt"))
    torch.testing.assert_close(loaded.state_dict(), source.state_dict())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    file = save(built("resnet18").state_dict(), tmp_path / "weights.pt")
    for changes in ({"model": "resnet34"}, {"width": 0.25}, {"norm": "none"}):
        with pytest.raises(RecipeError, match=r"not of this resnet\d+: \d+ differ, first "):
            built(**{"model": "resnet18", "pretrained": file, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"epoch 1\n", b'{"a": 1}'])
def test_a_file_without_weights_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"no weights in {re.escape(str(file))}") as caught:
        built("resnet18", pretrained=str(file))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 80


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {"model": 3}, {"epoch": 3}, {1: torch.zeros(2)}])
def test_a_file_that_holds_no_tensors_by_name_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(RecipeError, match=r"no weights in .*: it holds no tensors by name"):
        built("resnet18", pretrained=str(tmp_path / "weights.pt"))


def test_weights_from_before_batches_were_counted_are_taken(tmp_path: Path) -> None:
    old = {key: value for key, value in built("resnet18").state_dict().items() if "num_batches" not in key}
    again = built("resnet18", pretrained=save(old, tmp_path / "weights.pt")).state_dict()
    assert all(torch.equal(again[key], value) for key, value in old.items())
    del old["bn1.running_mean"]
    with pytest.raises(RecipeError, match=r"1 differ, first bn1\.running_mean"):
        built("resnet18", pretrained=save(old, tmp_path / "weights.pt"))


def test_torchvisions_googlenet_gets_pictures_as_it_was_trained_with(tmp_path: Path) -> None:
    theirs = torchvision.models.GoogLeNet(num_classes=7, init_weights=False, transform_input=True).eval()
    file = save(theirs.state_dict(), tmp_path / "weights.pt")
    ours = built("googlenet", width=1.0, pretrained=file).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x))
    again = built("googlenet", width=1.0, pretrained=save(ours.state_dict(), tmp_path / "own.pt")).eval()
    torch.testing.assert_close(again(x), theirs(x))


def test_no_layers_and_dropping_everything_out_are_refused() -> None:
    with pytest.raises(RecipeError, match="--layers is at least 1"):
        built("convnet", layers=0)
    with pytest.raises(RecipeError, match="--dropout is a share"):
        built("nin", dropout=1.0)


def test_models_of_our_own_have_no_weights_to_fetch() -> None:
    with pytest.raises(RecipeError, match="torchvision has no weights for nin"):
        built("nin", pretrained=models.TORCH_WEIGHTS)


def test_torchvisions_weights_come_with_the_large_stem() -> None:
    assert replace(TINY, pretrained=None).small
    assert not replace(TINY, pretrained=models.TORCH_WEIGHTS).small
    assert replace(TINY, pretrained=models.TORCH_WEIGHTS, stem="small").small


# --- the fully connected network ---


def test_the_fully_connected_network_repeats_its_unit_and_ends_in_an_affine_layer() -> None:
    net = fcnet.FullyConnected(12, (8, 6), 3, norm="layer", dropout=0.25)
    unit = [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Dropout]
    assert [type(layer) for layer in net.layers] == [nn.Flatten, *unit, *unit, nn.Linear]
    plain = fcnet.FullyConnected(12, (8,), 3)
    assert [type(layer) for layer in plain.layers] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in fcnet.FullyConnected(12, (), 3).layers] == [nn.Flatten, nn.Linear]


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_gradients_of_the_fully_connected_network_are_those_of_differences(norm: str) -> None:
    net = fcnet.FullyConnected(4, (5, 5), 3, norm=norm).double()
    x, labels = torch.randn(6, 1, 2, 2, dtype=torch.float64), torch.arange(6) % 3

    def loss(*parameters: Tensor) -> Tensor:
        named = dict(zip(dict(net.named_parameters()), parameters, strict=True))
        scores = torch.func.functional_call(net, named, (x,))
        weights = [value for name, value in named.items() if value.dim() == 2]
        return nn.functional.cross_entropy(scores, labels) + 0.1 * sum(weight.square().sum() for weight in weights)

    assert torch.autograd.gradcheck(loss, tuple(net.parameters()))


def test_l2_is_half_the_squares_of_weights_and_of_nothing_else() -> None:
    net = fcnet.FullyConnected(4, (5,), 3, norm="batch").double()
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Linear)]
    torch.testing.assert_close(fcnet.l2(net, 0.3), 0.15 * sum(weight.square().sum() for weight in weights))
    fcnet.l2(net, 0.3).backward()  # type: ignore[no-untyped-call]
    for parameter in net.parameters():
        assert (parameter.grad is not None) == any(parameter is weight for weight in weights)
        assert parameter.grad is None or torch.allclose(parameter.grad, 0.3 * parameter)


def test_dropout_keeps_the_expected_value_and_is_off_in_evaluation() -> None:
    net = fcnet.FullyConnected(1, (1000,), 1, dropout=0.25)
    dropped = net.layers[:-1](torch.ones(50, 1)).detach()
    net.eval()
    kept = net.layers[:-1](torch.ones(50, 1)).detach()
    alive = kept > 0
    assert 0.73 < float((dropped[alive] > 0).float().mean()) < 0.77
    hit = dropped > 0
    torch.testing.assert_close(dropped[hit], kept[hit] / 0.75)


def test_the_fully_connected_network_takes_the_seeds_normalisations() -> None:
    for norm, kind in (("batch-seed", norms.SeedBatchNorm), ("layer-seed", norms.SeedLayerNorm)):
        assert kind in kinds(built("fcnet", norm=norm))
    with pytest.raises(RecipeError, match="no normalisation of vectors"):
        built("fcnet", norm="instance")
