"""`expdb run RECIPE` and `expdb diagnose RECIPE`: recipes are started by name, like any command, and read like one."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import requires
from launched import expdb, points, run_folder, runs, said

from expdb import launch
from expdb.errors import MissingExtraError, NotFoundError

RECIPES = Path(launch.__file__).parent / "recipes"
TINY = ("--", "--data", "digits", "--size", "8", "--depth", "10", "--width", "1", "--limit", "100", "--threads", "1")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def torch() -> None:
    """Skips the test where a recipe cannot run."""
    there = importlib.util.find_spec("torch") and importlib.util.find_spec("sklearn")
    requires("torch", there, "torch or scikit-learn is not installed")


# By name --------------------------------------------------------------------------------------------------------------


def test_every_program_of_the_folder_is_known_by_its_name() -> None:
    starts = {path.stem for path in RECIPES.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    # It lists pictures, and trains nothing.
    assert {name.replace("-", "_") for name in launch.recipes()} == starts - {"index"}
    assert all(launch.recipes().values())


def test_a_list_of_recipes_costs_no_torch() -> None:
    code = "import sys; from expdb import launch; launch.recipes(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "False\n"


@pytest.mark.usefixtures("torch")
def test_a_lone_name_before_the_dashes_is_a_recipe() -> None:
    assert launch.recipe_named(["fusion"], behind=0) == "fusion"
    assert launch.recipe_named(["bn-probe", "--steps", "3"], behind=2) == "bn-probe"


def test_what_stands_behind_the_dashes_is_a_command() -> None:
    assert launch.recipe_named(["fusion"], behind=1) is None
    assert launch.recipe_named(["python", "train.py"], behind=0) is None
    assert launch.recipe_named(["python", "train.py"], behind=1) is None
    assert launch.recipe_named([sys.executable], behind=0) is None


def test_without_torch_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        launch.recipe("fusion")
    assert caught.value.hint == "pip install 'expdb[train]'"


def test_an_unknown_name_is_answered_with_the_recipes(tmp_path: Path) -> None:
    for words in (("run", "fusoin"), ("run", "fusoin", "-s", "fusion=1..9"), ("diagnose", "fusoin")):
        done = expdb(*words, cwd=tmp_path)
        assert done.returncode == NotFoundError.exit_code
        assert "fusoin is no recipe; there are bn-probe, classify, fusion" in done.stderr
        assert "expdb run -- python train.py" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_program_of_the_same_name_is_run_behind_the_dashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "bin"
    own.mkdir()
    (own / "fusion").write_text("#!/bin/sh\necho epoch 1, loss 0.5\n")
    (own / "fusion").chmod(0o755)
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
    done = expdb("run", "--", "fusion", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "epoch 1, loss 0.5\n"


# Started --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("torch")
def test_a_recipe_is_run_its_settings_and_points_stored(tmp_path: Path) -> None:
    done = expdb("run", "bn-probe", "-s", "probe=3", "-e", "norms", "--", "--steps", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = runs(tmp_path)["bn-probe"]
    assert (run.experiment, run.status) == ("norms", "finished")
    assert [run.params[key] for key in ("probe", "steps", "momentum", "seed")] == ["3", "4", "0.1", "0"]
    assert points(run) == dict.fromkeys(
        ("bn_train1", "bn_train2", "bn_eval1", "bn_eval2", "by_hand1", "by_hand2", "running_mean", "running_var"), 5
    )
    command = said(run_folder(tmp_path, run) / "spec.json")["command"]
    assert command == [sys.executable, "-m", "expdb.recipes.bn_probe", "--steps", "4", "--probe", "3"]


@pytest.mark.usefixtures("torch")
def test_several_values_and_seeds_are_a_sweep_of_the_recipe(tmp_path: Path) -> None:
    words = ("run", "fusion", "-s", "fusion=1,8", "--seeds", "0..1", *TINY, "--epochs", "1")
    done = expdb(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = runs(tmp_path)
    assert set(found) == {f"fusion fusion={row} seed={seed}" for row in (1, 8) for seed in (0, 1)}
    for run in found.values():
        assert points(run) == {"train/loss": 1, "train/accuracy": 1, "test/accuracy": 1, "epoch_time": 1}
    assert {run.params["expression"] for run in found.values()} == {
        "out = self.bn(out) + self.shortcut(x)",
        found["fusion fusion=8 seed=0"].params["expression"],
    }
    assert "done" in expdb(*words, cwd=tmp_path).stdout
    assert len(runs(tmp_path)) == 4


@pytest.mark.usefixtures("torch")
def test_the_plan_of_a_sweep_over_a_recipe(tmp_path: Path) -> None:
    done = expdb("run", "fusion", "-s", "fusion=1..9", "--seeds", "0..2", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^fusion fusion=\d seed=\d ", done.stdout, re.MULTILINE)) == 27
    assert "27 runs to start" in done.stdout


@pytest.mark.usefixtures("torch")
def test_the_exit_code_is_the_recipes_own(tmp_path: Path) -> None:
    done = expdb("run", "bn-probe", "-s", "probe=7", cwd=tmp_path)
    assert done.returncode == 2
    assert "invalid choice" in done.stdout


# Diagnosed ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("torch")
def test_diagnose_prints_rule_evidence_and_remedy_and_stores_nothing(tmp_path: Path) -> None:
    done = expdb("diagnose", "bn-probe", "-s", "lr=0.5", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert re.search(r"^learning rate\n  evidence: Adam at 0.5; .*\n  remedy:   .*Adam at 0.001", done.stdout, re.M)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("torch")
def test_diagnose_takes_several_values_and_flags_of_the_recipe(tmp_path: Path) -> None:
    done = expdb("diagnose", "fusion", "-s", "lr=0.1,1e-12", *TINY, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    healthy, _, ill = done.stdout.partition("fusion lr=1e-12:\n")
    assert healthy == "fusion lr=0.1:\nnone of 8 rules is broken\n"
    assert "SGD at 1e-12 is too low" in ill
    assert not (tmp_path / "runs").exists()
