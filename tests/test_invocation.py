"""A command is told apart into what starts it and what it reads."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb.invocation import shown_command, taken_apart


@pytest.mark.parametrize(
    ("command", "python", "target", "arguments"),
    [
        ("python train.py --lr 0.1", "python", "train.py", "--lr 0.1"),
        ("/usr/bin/python3.11 -u -W ignore -X dev train.py a", "/usr/bin/python3.11", "train.py", "a"),
        ("python -m pkg.train --lr 1", "python", "-m pkg.train", "--lr 1"),
        ("python -um pkg -m 3", "python", "-m pkg", "-m 3"),
        ("python -c pass a", "python", "-c pass", "a"),
        ("A=1 B= python train.py", "python", "train.py", ""),
        ("env -u X A=1 nohup nice -n 5 python train.py", "python", "train.py", ""),
        ("timeout -s INT 10 python train.py 1", "python", "train.py", "1"),
        ("taskset -c 0-3 python train.py 1", "python", "train.py", "1"),
        ("torchrun --standalone --nproc_per_node 2 train.py --lr 1", None, "train.py", "--lr 1"),
        ("torchrun --nproc-per-node=2 -m pkg.train --lr 1", None, "-m pkg.train", "--lr 1"),
        ("python -m torch.distributed.run --nproc_per_node 2 train.py --lr 1", "python", "train.py", "--lr 1"),
        ("accelerate launch --config_file a.yaml --num_processes 2 train.py --lr 1", None, "train.py", "--lr 1"),
        ("deepspeed --num_gpus 2 train.py --lr 1", None, "train.py", "--lr 1"),
        ("mpirun -np 2 python train.py --lr 1", "python", "train.py", "--lr 1"),
        ("srun -n 2 torchrun --nproc_per_node 1 train.py --lr 1", None, "train.py", "--lr 1"),
        ("uv run train.py --lr 1", None, "train.py", "--lr 1"),
        ("uv run --frozen --with a python train.py --lr 1", "python", "train.py", "--lr 1"),
        ("uv run -m pkg --lr 1", None, "-m pkg", "--lr 1"),
        ("uv --directory x run -- python train.py", "python", "train.py", ""),
        ("conda run --no-capture-output -n env python train.py", "python", "train.py", ""),
        ("bash -x train.sh --lr 1", None, "train.sh", "--lr 1"),
        ("bash -lc 'python train.py' a", None, "-c 'python train.py'", "a"),
        ("./train.py --lr 1", None, "./train.py", "--lr 1"),
        ("yolo train --lr 1", None, "yolo", "train --lr 1"),
        ("python", "python", "", ""),
        ("env", None, "", ""),
        ("torchrun --standalone", None, "", ""),
        ("uv run", None, "", ""),
        ("uv run -m", None, "-m", ""),
        ("python -m", "python", "-m ''", ""),
        ("timeout", None, "", ""),
        ("", None, "", ""),
    ],
)
def test_interpreter_target_and_arguments(command: str, python: str | None, target: str, arguments: str) -> None:
    found = taken_apart(shlex.split(command))
    assert (found.python, shlex.join(found.target), shlex.join(found.arguments)) == (python, target, arguments)


def test_variables_and_programs_are_told() -> None:
    found = taken_apart(shlex.split("A=1 env B=2 uv run --frozen torchrun --standalone train.py"))
    assert found.environment == {"A": "1", "B": "2"}
    assert found.programs == ["env", "uv", "torchrun"]
    assert found.options == ["--frozen", "--standalone"]


WORDS = ("python", "uv", "run", "torchrun", "accelerate", "launch", "env", "A=1", "-m", "-c", "-u", "--", "-",
         "timeout", "taskset", "srun", "bash", "train.py", "pkg", "--lr", "0.1", "-n", "2", "",
         "torch.distributed.run")  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_any_order_of_words_is_taken_apart_and_no_word_is_made_up(words: list[str]) -> None:
    found = taken_apart(words)
    assert {*found.programs, *found.options, *found.arguments} <= {*words, "-m"}
    assert list(found.arguments) == words[len(words) - len(found.arguments) :]
    assert set(found.target) <= {*words, "", "-m", "-c"}


@given(st.lists(st.text(), max_size=5))
def test_a_shown_command_is_read_back_by_a_shell_as_it_was(words: list[str]) -> None:
    assert shlex.split(shown_command(words)) == words


def test_only_what_a_shell_would_change_stands_in_quotes() -> None:
    words = ["python", "训练.py", "--名字", "b n", "a　b", "$HOME", "", "x=1"]
    assert shown_command(words) == "python 训练.py --名字 'b n' 'a　b' '$HOME' '' x=1"
