"""What an order becomes: values, seeds, names, and the command with its params in it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb.errors import UsageError
from expdb.launch import Order, filled, gpus_of, plan, spec_of, values_of

TRAIN = ("python", "train.py")


def order(*command: str, **asked: object) -> Order:
    return Order(command=command or TRAIN, cwd=Path("/project/lab"), **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1", ("0.1",)),
        ("0.1,0.01", ("0.1", "0.01")),
        ("1..4", ("1", "2", "3", "4")),
        ("0..1..0.25", ("0", "0.25", "0.5", "0.75", "1")),
        ("2..10..4", ("2", "6", "10")),
        ("-1..1", ("-1", "0", "1")),
        ("0.1..0.3..0.1", ("0.1", "0.2", "0.3")),
        ("[1,2],[3,4]", ("[1,2]", "[3,4]")),
        ("'a,b',c", ("'a,b'", "c")),
        ("adam, sgd", ("adam", "sgd")),
        ("../data", ("../data",)),
        ("a..b", ("a..b",)),
        ("1..3,9", ("1", "2", "3", "9")),
        ("", ("",)),
        ("1,1,2", ("1", "2")),
    ],
)
def test_a_text_behind_s_names_its_values(text: str, values: tuple[str, ...]) -> None:
    assert values_of(text) == values


@pytest.mark.parametrize("text", ["0.1..0.5", "5..1", "1..9..0", "1..100000", "1,,2"])
def test_a_range_that_says_nothing_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        values_of(text, "lr")
    assert f"-s lr={text}" in caught.value.message
    assert caught.value.hint


@given(st.text(alphabet="0123456789.,-e[]'\" ab", max_size=20))
def test_any_text_gives_values_or_a_refusal(text: str) -> None:
    try:
        found = values_of(text)
    except UsageError:
        return
    assert found
    assert len(found) <= 10_001 * (text.count(",") + 1)


def test_params_fill_their_places_and_the_others_stand_behind() -> None:
    assert filled(("train", "--cfg={net}", "x"), {"net": "r18", "lr": "0.1"}) == (
        *("train", "--cfg=r18", "x"),
        *("--lr", "0.1"),
    )


def test_a_setting_that_stands_among_the_words_is_replaced_there() -> None:
    assert filled(("train", "optim.lr=5", "+depth=3"), {"optim.lr": "1", "depth": "9", "x": "2"}) == (
        *("train", "optim.lr=1", "+depth=9"),
        *("--x", "2"),
    )


def test_braces_of_the_commands_own_stay() -> None:
    assert filled(("sh", "-c", "echo ${HOME} {a}", '{"k": 1}'), {"a": "1"}) == (
        *("sh", "-c", "echo ${HOME} 1"),
        '{"k": 1}',
    )


def test_a_sweep_is_every_combination_with_the_seeds_innermost() -> None:
    found = plan(order(values={"lr": "0.1,0.01", "net": "a"}, seeds="0..1"))
    assert [one.name for one in found] == [
        "train lr=0.1 seed=0",
        "train lr=0.1 seed=1",
        "train lr=0.01 seed=0",
        "train lr=0.01 seed=1",
    ]
    assert found[0].command == (*TRAIN, "--lr", "0.1", "--net", "a", "--seed", "0")
    assert found[1].seed == 1
    assert dict(found[3].params) == {"lr": "0.01", "net": "a"}
    assert len({one.plan for one in found}) == 4


def test_one_command_is_one_run_and_no_sweep() -> None:
    asked = order("python", "train.py", "--lr", "0.1")
    (only,) = plan(asked)
    assert not asked.is_sweep
    assert (only.name, only.command) == ("train", ("python", "train.py", "--lr", "0.1"))


def test_the_same_order_has_the_same_plans_and_another_has_others() -> None:
    first, again = plan(order(values={"lr": "0.1,0.2"})), plan(order(values={"lr": "0.2,0.1"}))
    assert {one.plan for one in first} == {one.plan for one in again}
    assert not {one.plan for one in first} & {one.plan for one in plan(order("other", values={"lr": "0.1,0.2"}))}
    # A seed among the params and one behind --seeds are the same seed.
    assert plan(order(seeds="3"))[0].seed == plan(order(values={"seed": "3"}))[0].seed == 3


def test_a_draw_takes_so_many_and_the_same_each_time() -> None:
    asked = order(values={"a": "1..50", "b": "1..50"}, draw=7)
    names = [one.name for one in plan(asked)]
    assert len(set(names)) == 7
    assert names == [one.name for one in plan(asked)]
    huge = order(values={"a": "1..5000", "b": "1..5000"}, draw=3)
    assert len(plan(huge)) == 3


def test_too_many_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="25,000,000 runs"):
        plan(order(values={"a": "1..5000", "b": "1..5000"}))


@pytest.mark.parametrize("seeds", ["a", "0.5", "", "1,x"])
def test_seeds_are_whole_numbers(seeds: str) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        plan(order(seeds=seeds))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("python", "train.py"), "train"),
        (("python3.11", "-u", "src/train_net.py", "--lr", "1"), "train_net"),
        (("python", "-m", "pkg.train", "x"), "pkg.train"),
        (("bash", "run.sh"), "run"),
        (("torchrun", "--nproc_per_node", "2", "main.py"), "main"),
        (("CUDA=1", "python", "a.py"), "a"),
        (("./trainer", "--x"), "trainer"),
        (("python", "-c", "print(1)"), "python"),
        (("sh", "-c", "sleep 1"), "sh"),
        (("env", "A=1", "python", "b.py"), "b"),
    ],
)
def test_a_run_is_called_like_its_script(command: tuple[str, ...], name: str) -> None:
    assert plan(order(*command))[0].name == name


def test_gpus_are_counted_by_what_the_launcher_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert gpus_of(order("python", "train.py")) == 1
    assert gpus_of(order("torchrun", "--nproc_per_node=2", "train.py")) == 2
    assert gpus_of(order("torchrun", "--nproc-per-node", "gpu", "train.py")) == 4
    assert gpus_of(order(gpus="3")) == 3
    assert gpus_of(order(gpus="none")) == 0
    with pytest.raises(UsageError, match="this machine has 4"):
        gpus_of(order(gpus="5"))


def test_a_spec_holds_the_order_and_what_was_filled_in() -> None:
    asked = order(values={"lr": "0.1"}, tags={"who": "me"}, gpus="none", experiment="warm")
    spec = spec_of(plan(asked)[0], asked, sweep="abc")
    assert spec.command == (*TRAIN, "--lr", "0.1")
    assert (spec.template, spec.experiment, spec.params, spec.gpus) == (TRAIN, "warm", {"lr": "0.1"}, 0)
    assert spec.tags["who"] == "me"
    assert spec.tags["expdb.sweep"] == "abc"
    assert spec.env == {"CUDA_VISIBLE_DEVICES": ""}
    assert spec_of(plan(order())[0], order()).experiment == "lab"
