"""Image classification as a program: every model, optimiser, schedule and data set at toy size, killed and resumed."""

import argparse
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from commands import environment
from PIL import Image
from torch import nn

from expdb.parsers.reading import Reading
from expdb.preview import preview
from expdb.recipes import RecipeError, classify, data, index, models, norms, optimisers

LINE = re.compile(
    r"epoch (\d+),\tloss (\d+\.\d{4}),"
    r"\ttrain accuracy ([01]\.\d{3}),\ttest accuracy ([01]\.\d{3}),\tuse time \d+\.\d{3}"
)
# An epoch of any model in well under a second.
TOY = ("--data", "digits", "--limit", "32", "--batch-size", "16", "--width", "0.125", "--epochs", "1", "--threads", "1")
Curve = list[tuple[int, float, float, float]]
Train = Callable[..., Curve]


def curve(text: str) -> Curve:
    """(epoch, loss, train accuracy, test accuracy) of every epoch line."""
    return [(int(epoch), float(a), float(b), float(c)) for epoch, a, b, c in LINE.findall(text)]


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Iterator[Train]:
    """The program in this process, at toy size unless told otherwise: what it printed of its epochs."""
    threads = torch.get_num_threads()

    def run(*words: str) -> Curve:
        capsys.readouterr()
        classify.main([*TOY, *words])
        return curve(capsys.readouterr().out)

    yield run
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def program(*words: str) -> list[str]:
    return [sys.executable, "-m", "expdb.recipes.classify", *words]


@pytest.mark.parametrize("augment", ["none", "report"])
@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_trains_on_digits_with_and_without_augmentation(model: str, augment: str, train: Train) -> None:
    ((epoch, loss, _, _),) = train("--model", model, "--augment", augment, "--optimiser", "adam")
    assert epoch == 1
    # About that of a guess among ten, ln 10; GoogLeNet's heads add .6 of it.
    assert 1.5 < loss < 5


@pytest.mark.parametrize("norm", norms.NORMS[1:-1])
def test_every_normalisation_trains(norm: str, train: Train) -> None:
    first, *_, last = train("--model", "convnet", "--width", "0.25", "--norm", norm, "--groups", "2", "--epochs", "4")
    assert last[1] < first[1]


@pytest.mark.parametrize("words", [("fcnet", "--layers", "4"), ("convnet", "--width", "0.5", "--batch-norm")])
def test_digits_are_learned(words: tuple[str, ...], train: Train) -> None:
    points = train("--model", *words, "--optimiser", "adam", "--lr", "0.003", "--limit", "500", "--epochs", "8")
    assert points[-1][3] > 0.8


@pytest.mark.parametrize("variant", optimisers.VARIANTS)
@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
def test_every_optimiser_learns_at_its_own_rate_in_both_variants(name: str, variant: str, train: Train) -> None:
    first, *_, last = train(
        *("--model", "fcnet", "--width", "0.5", "--limit", "500", "--epochs", "4"),
        *("--optimiser", name, "--variant", variant, "--weight-decay", "0.0001"),
    )
    assert last[1] < 0.8 * first[1]
    assert last[3] > 0.3


@pytest.mark.parametrize("plan", [("step", "--milestones", "1", "2"), ("cosine",), ("one-cycle",)])
def test_every_schedule_trains_and_changes_the_curve(plan: tuple[str, ...], train: Train) -> None:
    words = ("--model", "fcnet", "--epochs", "3", "--optimiser", "sgd")
    planned, constant = train(*words, "--schedule", *plan), train(*words)
    assert [epoch for epoch, *_ in planned] == [1, 2, 3]
    assert planned[-1] != constant[-1]


@pytest.mark.parametrize("init", models.INITS)
def test_every_initialisation_starts_elsewhere(init: str, train: Train) -> None:
    ((_, loss, _, _),) = train("--model", "convnet", "--init", init, "--lr", "0", "--norm", "none")
    # Without a step: what the weights alone make of the digits.
    assert (abs(loss - 2.3026) < 1e-3) == (init == "trunc_normal")


def test_the_seed_decides_the_curve(train: Train) -> None:
    words = ("--model", "nin", "--epochs", "2", "--deterministic", "--augment", "report")
    assert train(*words) == train(*words)
    assert train(*words) != train(*words, "--seed", "1")


def test_pictures_of_one_channel_and_other_sizes_train(train: Train) -> None:
    assert train("--model", "convnet", "--channels", "1", "--size", "8", "--pool", "avg", "--order", "relu-pool-bn")
    assert train("--model", "convnet", "--data", "synthetic", "--classes", "5", "--upsample", "3", "--layers", "2")


# --- data of a user ---


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Class folders of small JPEGs, each class of one colour."""
    for name, colour in (("cat", (200, 40, 40)), ("dog", (40, 200, 40)), ("owl", (40, 40, 200))):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number in range(10):
            picture = Image.new("RGB", (20 + number, 24), tuple(part + number for part in colour))
            picture.save(tmp_path / "animals" / name / f"{number}.jpg")
    return tmp_path / "animals"


def test_a_folder_and_a_list_of_it_train(animals: Path, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = animals.parent / "animals.csv"
    monkeypatch.setattr(sys, "argv", ["index", str(animals), "-o", str(listed)])
    index.main()
    for kind, root in (("folder", animals), ("csv", listed)):
        words = ("--data", kind, "--root", str(root), "--model", "convnet", "--width", "0.5", "--optimiser", "adam")
        points = train(*words, "--lr", "0.01", "--size", "16", "--batch-size", "8", "--epochs", "8")
        assert points[-1][2] == 1


# --- weights and checkpoints ---


def test_training_starts_from_the_weights_of_a_checkpoint(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "first.pt")
    words = ("--model", "fcnet", "--optimiser", "adam", "--limit", "300")
    before = train(*words, "--epochs", "5", "--checkpoint", file)
    after = train(*words, "--seed", "1", "--pretrained", file)
    assert after[0][1] < before[1][1]
    classify.main([*TOY, *words, "--data", "synthetic", "--classes", "4", "--limit", "8", "--pretrained", file])
    assert f"{file}: loaded, but for layers.5.bias, layers.5.weight" in capsys.readouterr().err


def test_killed_and_resumed_it_prints_the_uninterrupted_curve(tmp_path: Path, train: Train) -> None:
    words = (
        *(*TOY, "--model", "convnet", "--epochs", "12", "--limit", "200", "--deterministic", "--augment", "report"),
        *("--optimiser", "nesterov", "--variant", "seed", "--schedule", "one-cycle", "--norm", "switchable"),
    )
    whole = train(*words)
    kept = program(*words, "--checkpoint", str(tmp_path / "state.pt"), "--resume")
    seen = []
    with subprocess.Popen(kept, stdout=subprocess.PIPE, encoding="utf-8", env=environment()) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            seen += curve(line)
            if len(seen) == 5:
                killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    rest = subprocess.run(kept, capture_output=True, encoding="utf-8", env=environment(), check=True)
    resumed = curve(rest.stdout)
    assert 4 <= resumed[0][0] <= len(seen) + 1
    both = {point[0]: point for point in (*seen, *resumed)}
    assert list(both.values()) == whole
    assert len(both) == 12


# --- what it prints, and refuses ---


def test_expdb_reads_the_log_with_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classify.main([*TOY, "--model", "fcnet", "--epochs", "3", "--optimiser", "rmsprop", "--batch-norm"])
    printed = capsys.readouterr().out
    log = tmp_path / "train.log"
    log.write_text(printed, encoding="utf-8")
    (run,) = preview(Reading.of_file(log)).runs
    wanted = {"model": "fcnet", "norm": "batch", "optimiser": "rmsprop", "lr": "0.001", "decay": "weights", "seed": "0"}
    assert wanted.items() <= run.params.items()
    # Not a setting of this model.
    assert "order" not in run.params
    read = {metric.name: metric.values for metric in run.metrics}
    points = curve(printed)
    assert read["train/loss"] == [loss for _, loss, _, _ in points]
    assert read["test/accuracy"] == [test for *_, test in points]


def refusal(*words: str) -> str:
    with pytest.raises(RecipeError) as caught:
        classify.main([*TOY, *words])
    return str(caught.value)


def test_an_option_of_another_model_is_refused() -> None:
    assert refusal("--model", "resnet18", "--order", "bn-pool-relu") == "resnet18 has no --order; convnet have it"
    assert "vgg19, nin, googlenet, fcnet" in refusal("--model", "convnet", "--dropout", "0.5")


@pytest.mark.parametrize(
    "words, said",
    [
        (("vgg19", "--size", "16"), "vgg19 does not take pictures of 16: .*; a larger --size may do"),
        (("convnet", "--layers", "6"), "convnet does not take pictures of 32"),
    ],
)
def test_a_model_without_a_map_left_is_refused(words: tuple[str, ...], said: str) -> None:
    assert re.match(said, refusal("--model", *words), re.DOTALL)


@pytest.mark.parametrize("model", ["googlenet", "convnet", "fcnet"])
def test_autocast_to_bf16_trains(model: str, train: Train) -> None:
    norm = {"googlenet": "batch", "convnet": "switchable", "fcnet": "layer-seed"}[model]
    words = ("--model", model, "--amp", "bf16", "--channels-last", "--norm", norm, "--optimiser", "adam")
    ((_, loss, _, _),) = train(*words)
    assert 1.5 < loss < 5


def test_a_batch_of_one_vector_is_refused_in_words(train: Train) -> None:
    words = ("--model", "fcnet", "--batch-size", "1", "--limit", "4")
    assert "try another --batch-size or --norm" in refusal(*words, "--norm", "batch")
    # The page's own formula takes it, and gives every picture the same scores.
    assert len(train(*words, "--norm", "batch-seed")) == 1


def test_what_does_not_fit_is_one_line_and_exit_code_1() -> None:
    done = subprocess.run(
        program(*TOY, "--model", "resnet18", "--norm", "group"),
        capture_output=True,
        encoding="utf-8",
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: 32 groups do not divide 8 channels; give --groups a divisor of it\n"


def test_every_flag_has_help() -> None:
    assert all(action.help for action in classify.flags()._actions)


def test_what_is_not_given_follows_from_what_is() -> None:
    def words(*given: str) -> argparse.Namespace:
        return classify.completed(classify.flags().parse_args(given))

    assert (words().norm, words().decay, words().lr) == ("batch", "all", 0.01)
    assert (words("--model", "fcnet").norm, words("--model", "fcnet").decay) == ("none", "weights")
    assert words("--optimiser", "adam").lr == 0.001
    assert words("--optimiser", "adam", "--lr", "0.5", "--decay", "weights").lr == 0.5
    assert words("--pretrained").pretrained == models.TORCH_WEIGHTS


def test_the_model_fits_the_data() -> None:
    words = classify.completed(classify.flags().parse_args([*TOY, "--channels", "1", "--size", "16"]))
    loaded = data.load(data.source_of(words))
    made = classify.model_settings(words, loaded)
    assert (made.classes, made.channels, made.image_size, made.stem) == (10, 1, 16, "auto")
    first = next(module for module in models.build(made).modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--dropout", "1.5", "--model", "nin"),
        ("--dropout", "nan", "--model", "nin"),
        ("--width", "0"),
        ("--groups", "0"),
        ("--init-std", "0"),
        ("--layers", "0"),
        ("--alpha", "1"),
        ("--gamma=-1",),
        ("--milestones=-1",),
    ],
)
def test_a_number_out_of_its_range_is_a_usage_error(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        classify.main(words)
    assert caught.value.code == 2
    assert f"argument {words[0].split('=')[0]}: invalid " in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--batch-size", "31"), ("--batch-size", "1"), ("--batch-size", "31", "--diagnose")])
def test_a_last_batch_of_one_that_cannot_be_normalised_is_refused_before_it_trains(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    toy = ("--data", "digits", "--limit", "32", "--size", "8", "--threads", "1", "--epochs", "1", "--model", "fcnet")
    with pytest.raises(RecipeError, match=r"the last batch of 32 pictures by \d+ is one picture"):
        classify.main([*toy, "--batch-norm", *words])
    assert capsys.readouterr().out == ""
    if "--diagnose" not in words:
        classify.main([*toy, "--norm", "layer", *words])


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(RecipeError, match="--momentum above 0"):
        classify.main(["--optimiser", "nesterov", "--momentum", "0"])
