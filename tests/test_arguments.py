"""The params of a command: its options, and what the configuration files it names say."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb.masking import HIDDEN
from expdb.parsers.configs.arguments import params_of_command
from expdb.parsers.configs.commands import flags_of

WANTED = {"lr": "0.1", "b": "32", "amp": "true"}


@pytest.mark.parametrize(
    "command",
    [
        "python train.py --lr 0.1 -b 32 --amp",
        "python -u -W ignore train.py --lr=0.1 -b 32 --amp",
        "python -m pkg.train --lr 0.1 -b=32 --amp",
        "env SEED=1 CUDA_VISIBLE_DEVICES=0 python train.py lr=0.1 b=32 amp=true",
        "torchrun --standalone --nproc_per_node 2 train.py --lr 0.1 -b 32 --amp",
        "python -m torch.distributed.run --nproc_per_node=2 -m pkg.train --lr 0.1 -b 32 --amp",
        "accelerate launch --num_processes 2 --mixed_precision fp16 train.py --lr 0.1 -b 32 --amp",
        "uv run --with torch train.py --lr 0.1 -b 32 --amp",
        "srun -n 2 --gpus=2 python train.py --lr 0.1 -b 32 --amp",
        "bash -c 'cd x && python train.py --lr 0.1 -b 32 --amp 2>&1 | tee log'",
        "./train --lr 0.1 -b 32 --amp",
    ],
)
def test_what_the_script_reads_is_a_param_and_what_starts_it_is_not(command: str, tmp_path: Path) -> None:
    assert params_of_command(shlex.split(command), tmp_path) == WANTED


def test_names_and_values_are_as_argparse_has_them(tmp_path: Path) -> None:
    command = shlex.split("python t.py data --learning-rate -1e-3 --sizes 1 2 3 --no-amp --name= --f 'a b' -- rest")
    assert params_of_command(command, tmp_path) == {
        "learning_rate": "-1e-3",
        "sizes": "1 2 3",
        "no_amp": "true",
        "name": "",
        "f": "a b",
    }


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), st.from_regex(r"[\w.]{1,8}", fullmatch=True))
)
def test_a_launched_command_gives_what_a_log_that_prints_it_gives(settings: dict[str, str]) -> None:
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]
    found = params_of_command(["python", "train.py", *words], Path("/nowhere"))
    printed = flags_of(shlex.join(["python", "train.py", *words]))
    assert found.keys() == printed.keys() == settings.keys()
    assert all(found[key] in (printed[key], HIDDEN) for key in found)


def test_a_configuration_file_gives_what_no_option_sets(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("lr: 0.5\nmodel:\n  depth: 18\nbatch-size: 8\n", encoding="utf-8")
    (tmp_path / "more.json").write_text('{"model": {"depth": 50}, "hub_token": "x", "size": [1, 2]}', encoding="utf-8")
    (tmp_path / "opt.toml").write_text("[optimizer]\nname = 'adam'\nsince = 2024-01-02\n", encoding="utf-8")
    (tmp_path / "net.cfg").write_text("[net]\nMomentum=0.9 %\n[a]\nx=1\n[a]\nx=2\n", encoding="utf-8")
    command = "python t.py --config base.yaml -c more.json --opt=opt.toml net.cfg --lr 0.1 --batch_size 4"
    assert params_of_command(command.split(), tmp_path) == {
        "config": "base.yaml",
        "c": "more.json",
        "opt": "opt.toml",
        "lr": "0.1",
        "batch_size": "4",
        "model.depth": "50",
        "size": "[1, 2]",
        "optimizer.name": "adam",
        "optimizer.since": "2024-01-02",
        "net.Momentum": "0.9 %",
        "a.x": "2",
    }


def test_a_file_of_data_gives_no_params_and_a_configuration_its_first(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({f"w{n}": n for n in range(500)}), encoding="utf-8")
    assert params_of_command(["python", "t.py", "--vocab", "vocab.json"], tmp_path) == {"vocab": "vocab.json"}
    assert len(params_of_command(["python", "t.py", "--config", "vocab.json"], tmp_path)) == 400


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"{", b"[1, 2]", b"[" * 100_000, b"{" * 100_000, b"a: b\n" * 300_000, b'{"a":' * 5000],
)
@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml", ".cfg"])
def test_a_file_that_is_no_configuration_is_passed_over(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_bytes(content)
    (tmp_path / "folder.yaml").mkdir()
    found = params_of_command(["python", "t.py", f"x{suffix}", "folder.yaml", "gone.yaml", "\0.yaml"], tmp_path)
    assert found == {}


def test_secrets_are_hidden(tmp_path: Path) -> None:
    command = ["python", "t.py", "--token", "x", "--url", "https://me:pw@host", "--key", "hf_" + "a" * 30]
    assert params_of_command(command, tmp_path) == {"token": HIDDEN, "url": "https://me:***@host", "key": HIDDEN}


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_words_have_params(words: list[str]) -> None:
    params_of_command(words, Path("/nowhere"))
