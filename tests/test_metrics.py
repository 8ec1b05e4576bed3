"""Labels to names: what was measured, on which split, in which unit, and which way is better."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb import metrics
from expdb.metrics import QUANTITIES, SPLITS, better, canonical, common_unit, in_unit, is_known, meaning_of, unit_of
from expdb.records import UNITS, Unit


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("loss", "train/loss"),
        ("Loss", "train/loss"),
        ("train loss", "train/loss"),
        ("train_loss", "train/loss"),
        ("train/loss", "train/loss"),
        ("trainLoss", "train/loss"),
        ("Train-Loss", "train/loss"),
        ("loss/train", "train/loss"),
        ("tr loss", "train/loss"),
        ("val_loss", "val/loss"),
        ("validation loss", "val/loss"),
        ("valid acc", "val/accuracy"),
        ("dev acc", "val/accuracy"),
        ("eval accuracy", "val/accuracy"),
        ("train accuracy", "train/accuracy"),
        ("test accuracy", "test/accuracy"),
        ("test set accuracy", "test/accuracy"),
        ("testAcc", "test/accuracy"),
        ("prec@1", "train/accuracy"),
        ("val acc@5", "val/accuracy_top5"),
        ("test top-5 accuracy", "test/accuracy_top5"),
        ("top-1", "train/accuracy"),
        ("top 1 error", "train/error"),
        ("use time", "epoch_time"),
        ("time", "time"),
        ("test time", "test/time"),
        ("lr", "lr"),
        ("learning_rate", "lr"),
        ("ppl", "train/perplexity"),
        ("map@0.5", "train/map_50"),
        ("mAP@[.5:.95]", "train/map"),
        ("val mAP_0.75", "val/map_75"),
        ("损失", "train/loss"),
        ("训练损失", "train/loss"),
        ("训练集准确率", "train/accuracy"),
        ("测试准确率", "test/accuracy"),
        ("验证集上的准确率", "val/上的准确率"),
        ("验证集的准确率", "val/accuracy"),
        ("用时", "epoch_time"),
        ("dice score", "train/dice"),
        ("grad norm", "grad_norm"),
        ("train grad_norm", "train/grad_norm"),
        ("best val acc", "val/best_acc"),
        ("train", "train/value"),
        ("%", "%"),
        ("", "value"),
    ],
)
def test_a_label_has_one_canonical_name(label: str, name: str) -> None:
    assert canonical(label) == name


def test_a_bare_quantity_is_the_trainings_own_in_a_log_and_the_tests_on_a_page() -> None:
    assert (canonical("accuracy"), canonical("accuracy", "reported")) == ("train/accuracy", "test/accuracy")
    assert (canonical("train acc"), canonical("train acc", "reported")) == ("train/accuracy",) * 2
    assert canonical("score", "reported") == "score"


def test_only_the_first_split_of_a_label_counts() -> None:
    assert canonical("train test loss") == "train/test_loss"


def test_no_alias_names_two_quantities_or_two_splits() -> None:
    aliases = [alias for quantity in QUANTITIES for alias in quantity.aliases]
    assert len(aliases) == len(set(aliases))
    splits = [alias for names in SPLITS.values() for alias in names]
    assert len(splits) == len(set(splits))


def test_every_alias_and_every_name_is_found() -> None:
    for quantity in QUANTITIES:
        for alias in quantity.aliases:
            assert meaning_of(alias).quantity is quantity, alias
            assert meaning_of(alias.upper()).quantity is quantity, alias
            assert is_known(f"test {alias}")
        assert better(quantity.name) == better(f"test/{quantity.name}") == quantity.better


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_canonical_name_is_its_own_canonical_name(split: str) -> None:
    for quantity in QUANTITIES:
        name = f"{split}/{quantity.name}"
        assert canonical(name) == name


@given(st.text())
def test_any_label_has_a_name(label: str) -> None:
    name = canonical(label)
    assert name
    assert canonical(label, "reported")
    unit_of(name, 0, 1)


@pytest.mark.parametrize(
    ("label", "way"),
    [
        *(("train/loss", "min"), ("test/accuracy", "max"), ("epoch_time", "min"), ("val/error", "min"), ("lr", None)),
        *(("test acc", "max"), ("score", None), ("psnr", "max"), ("train/accuracy_top5", "max")),
    ],
)
def test_a_known_metric_has_a_better_way(label: str, way: str | None) -> None:
    assert better(label) == way


@pytest.mark.parametrize(
    ("name", "low", "high", "unit"),
    [
        ("test/accuracy", 0.1, 0.95, "fraction"),
        ("test/accuracy", 0, 1, "fraction"),
        ("test/accuracy", 0.9, 87.62, "percent"),
        ("test/accuracy", 12, 100, "percent"),
        ("test/accuracy", -1, 0.5, None),
        ("test/accuracy", 0, 128, None),
        ("test/accuracy", None, None, None),
        ("test/accuracy", math.nan, math.nan, "fraction"),
        ("train/loss", 0.1, 0.5, None),
        ("epoch_time", 10, 200, "s"),
        ("lr", 0.1, 0.1, None),
        ("score", 0, 1, None),
    ],
)
def test_a_unit_is_inferred_from_all_values(
    name: str, low: float | None, high: float | None, unit: Unit | None
) -> None:
    assert unit_of(name, low, high) == unit


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "expected"),
    [
        (0.9, "fraction", "percent", 90),
        (87.5, "percent", "fraction", 0.875),
        (90, "s", "min", 1.5),
        (2, "min", "s", 120),
        (1500, "ms", "s", 1.5),
        (3, "h", "min", 180),
        (5, "percent", "percent", 5),
        (5, None, "percent", 5),
        (5, "percent", None, 5),
        (5, "percent", "s", 5),
        (5, "s", "fraction", 5),
    ],
)
def test_like_units_convert_and_others_stay(
    value: float, unit: Unit | None, wanted: Unit | None, expected: float
) -> None:
    assert in_unit(value, unit, wanted) == expected


@given(st.floats(allow_nan=False, allow_infinity=False, max_value=1e100, min_value=-1e100), st.sampled_from(UNITS))
def test_a_value_converted_there_and_back_is_the_same(value: float, unit: Unit) -> None:
    for wanted in UNITS:
        assert in_unit(in_unit(value, unit, wanted), wanted, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("units", "shared"),
    [
        ([], None),
        ([None], None),
        (["s", None, "s"], "s"),
        (["fraction", "percent"], "percent"),
        (["min", "s", "h"], "s"),
        (["percent", "s"], None),
    ],
)
def test_the_unit_of_a_column(units: list[Unit | None], shared: Unit | None) -> None:
    assert common_unit(units) == shared


def test_every_unit_word_is_a_unit() -> None:
    assert set(metrics.UNIT_WORDS.values()) <= set(UNITS)
    assert all(word == word.lower() for word in metrics.UNIT_WORDS)


@pytest.mark.parametrize(("label", "name"), [("mIoU", "test/miou"), ("trainLoss", "train/loss"), ("mAP", "test/map")])
def test_capitals_inside_a_label_part_words_but_not_abbreviations(label: str, name: str) -> None:
    assert metrics.canonical(label, "reported") == name
