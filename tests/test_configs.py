"""Settings around a training: every way they are printed gives the same params, and what is none gives none."""

import argparse
import json
import keyword
import shlex
import time
from collections.abc import Iterable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from expdb import metrics
from expdb.parsers.configs.reader import LONGEST_VALUE, MOST_PARAMS, PATIENCE_CHARS, ConfigReader

STAMP = "2021-03-04 05:06:07,891 - train.log - INFO - "


def fed(text: str | Iterable[str]) -> ConfigReader:
    reader = ConfigReader()
    for number, line in enumerate(text.split("\n") if isinstance(text, str) else text, 1):
        if line.strip():
            reader.feed(number, line)
    reader.params()
    return reader


def params(text: str) -> dict[str, str]:
    return fed(text).params()


WANTED = {"lr": "0.02", "model": "resnet9", "nesterov": "True"}


@pytest.mark.parametrize(
    "text",
    [
        "Namespace(lr=0.02, model='resnet9', nesterov=True)",
        "INFO:root:Namespace(lr=0.02, model='resnet9', nesterov=True)",
        "Training parameters Namespace(lr=0.02, model='resnet9', nesterov=True)",
        "[2021-03-04 05:06:07] args: Namespace(\n  lr=0.02,\n  model='resnet9',\n  nesterov=True\n)",
        "[INFO:tool] args: TrainArguments(\nlr=0.02,\nmodel=resnet9,\nnesterov=True,\n)",
        "lr: 0.02\nmodel: resnet9\nnesterov: True",
        "lr = 0.02\nmodel = 'resnet9'\nnesterov = True",
        "lr=0.02\nmodel=resnet9\nnesterov=True",
        "lr          :\t0.02\nmodel       :\tresnet9\nnesterov    :\tTrue",
        "-------- arguments --------\n  lr ......... 0.02\n  model ...... resnet9\n  nesterov ... True\n--- end",
        "--lr 0.02\n--model resnet9\n--nesterov True",
        "+----+----+\n| lr | 0.02 |\n|----|----|\n| model | resnet9 |\n| nesterov | True |\n+----+----+",
        "lr=0.02, model=resnet9, nesterov=True",
        "lr:0.02 model:resnet9\nnesterov:True",
        f"{STAMP}lr : 0.02\n{STAMP}model : resnet9\n{STAMP}nesterov : True",
        f"{STAMP}lr: 0.02\n{' ' * 40}model: resnet9\n{' ' * 40}nesterov: True",
        "INFO - 03/04/21 05:06:07 - 0:00:01 - lr: 0.02\n          model: resnet9\n          nesterov: True",
        '2021-03-04 05:06:07,891  - lr: "0.02"\n2021-03-04 05:06:07,892  - model: "resnet9"\n'
        '2021-03-04 05:06:07,893  - nesterov: "True"',
        "[rank0]: lr: 0.02\n[rank0]: model: resnet9\n[rank0]: nesterov: True",
        "[2021-03-04 05:06:07,891] [INFO] [config.py:9:print]   lr .... 0.02\n"
        "[2021-03-04 05:06:07,891] [INFO] [config.py:9:print]   model .... resnet9\n"
        "[2021-03-04 05:06:07,891] [INFO] [config.py:9:print]   nesterov .... True",
        "{'lr': 0.02, 'model': 'resnet9', 'nesterov': True}",
        "config: {'lr': 0.02,\n 'model': 'resnet9',\n 'nesterov': True}",
        '2021-03-04 05:06:07 | INFO | some.train | {"lr": 0.02, "model": "resnet9", "nesterov": "True"}',
        "python train.py --lr 0.02 --model resnet9 --nesterov True",
        "+ python -u train.py --lr=0.02 --model resnet9 --nesterov True",
        "(env) me@box:~/work$ CUDA_VISIBLE_DEVICES=1 python train.py --lr 0.02 --model=resnet9 --nesterov True > log",
        "cmd = deepspeed --num_gpus 2 train.py --lr 0.02 --model resnet9 --nesterov True",
        "torchrun --nproc_per_node 2 \\\n  train.py --lr 0.02 \\\n  --model resnet9 --nesterov True",
        "Script command line:\n/home/me/train.py --lr 0.02 --model resnet9 --nesterov True",
        "I0304 05:06:07.891011  1234 solver.cpp:44] Initializing solver from parameters: \n"
        'lr: 0.02\nmodel: "resnet9"\ntrain_state {\n  level: 0\n}\nnesterov: True',
    ],
)
def test_settings_are_found_however_they_are_printed(text: str) -> None:
    for around in ("{}", "Using cuda:0\n\n{}\n\nStart training\n", "Loading data ...\n{}\n=> done"):
        assert params(around.format(text)) == WANTED


def test_nested_settings_are_joined_by_dots() -> None:
    wanted = {"seed": "7", "optim.name": "sgd", "optim.betas": "[0.8, 0.9]", "optim.sched.warmup": "3", "tags": "[]"}
    for text in (
        "Namespace(seed=7, optim=Namespace(name='sgd', betas=[0.8, 0.9], sched=dict(warmup=3)), tags=[])",
        "seed: 7\noptim:\n  name: sgd\n  betas: [0.8, 0.9]\n  sched:\n    warmup: 3\ntags: []",
        "seed: 7\noptim:\n  name: sgd\n  betas:\n  - 0.8\n  - 0.9\n  sched:\n    warmup: 3\ntags: []",
        "{'seed': 7, 'optim': {'name': 'sgd', 'betas': [0.8, 0.9], 'sched': {'warmup': 3}}, 'tags': []}",
        "Config:\nseed = 7\noptim = dict(\n    name='sgd',\n    betas=[0.8, 0.9],\n    sched=dict(\n  warmup=3))\n"
        "tags = []",
    ):
        assert params(text) == wanted


def test_a_value_that_is_an_object_stays_as_printed() -> None:
    assert params("Namespace(device=device(type='cuda', index=0), f=<function f at 0x7f>, s={1, 2}, lr=0.1)") == {
        "device": "device(type='cuda', index=0)",
        "f": "<function f at 0x7f>",
        "s": "{1, 2}",
        "lr": "0.1",
    }


def test_a_command_is_kept_and_its_flags_are_params() -> None:
    command = "python -m pkg.train data/ -b 32 -r --no-amp --neg -0.5 --ids 1 2 3 > out.log 2>&1 &"
    reader = fed(f"me@box:~$ {command}")
    assert reader.tags() == {"command": command}
    assert reader.params() == {"b": "32", "r": "true", "no_amp": "true", "neg": "-0.5", "ids": "1 2 3"}
    assert fed("python main.py optim.lr=0.1 +model=big").params() == {"optim.lr": "0.1", "model": "big"}


def test_a_program_started_later_has_its_own_settings() -> None:
    reader = fed("$ python prepare.py --size 9\nwriting\n$ python train.py --lr 0.1\nNamespace(lr=0.1, wd=0)")
    assert reader.params() == {"lr": "0.1", "wd": "0"}
    assert reader.tags() == {"command": "python train.py --lr 0.1"}


def test_tokens_and_passwords_are_kept_out() -> None:
    command = "python train.py --lr 0.1 --api-key abc123 --hub_token t0k"
    reader = fed(f"{command}\nNamespace(lr=0.1, wandb_token='s', eos_token='x')")
    assert reader.params() == {"lr": "0.1", "eos_token": "x"}
    assert reader.tags() == {"command": "python train.py --lr 0.1 --api-key *** --hub_token ***"}


NOTHING = {
    "prose": "Note: this takes long.\nSee: the manual\nWe use python 3.8 here, run train.py first.",
    "a model": "ResNet(\n  (conv1): Conv2d(3, 64, kernel_size=(7, 7), bias=False)\n  (layer): Sequential(\n"
    "    (0): Linear(in_features=9, out_features=2, bias=True)\n  )\n)",
    "a summary": "Layer (type)  Output Shape  Param #\n======================\n   Conv2d-1   [-1, 64, 8, 8]   1,792\n"
    "   ReLU-2   [-1, 64, 8, 8]   0",
    "an environment": "sys.platform: linux\nPython: 3.8.1 (default)\nCUDA available: True\nGCC: gcc 9\nPyTorch: 1.9.0",
    "environment in JSON": 'Env_stats:\n{\n  "torch": "1.9.0",\n  "python": "3.8.1",\n  "pwd": "/home/me"\n}',
    "packages": "alpha==1.0.2\nbeta==2.3.4\ngamma==0.0.1",
    "packages by colon": "alpha: 1.0.2\nbeta: 2.3.4\ngamma: 0.0.1",
    "a network": 'layer {\n  name: "a"\n  type: "Data"\n  top: "b"\n  param {\n    lr_mult: 1\n  }\n}\n' * 20,
    "results": "Validation results\nsteps: 100\nvalid loss: 5.3\nvalid accuracy: 0.2\nlr: 0.1",
    "a JSON line": '{"epoch": 3, "train_loss": 0.5, "lr": 0.1, "time": 3}',
    "source": "import torch\nlr = 0.1\nbatch = 32\nmodel = net(9)\nx = y",
    "two rows": "shards: 4\nbatch_size: 32",
    "a traceback": 'Traceback (most recent call last):\n  File "train.py", line 3\nValueError: no\nFoo: a\n',
    "pip": "$ python -m pip install torch\nCollecting torch\n$ python setup.py install",
    "progress": "saved: a.pth\nsaved: b.pth\nsaved: c.pth\nsaved: d.pth",
    "urls": "http://a.example/x\nhttps://b.example/y\nftp://c.example/z",
    "levels": "WARNING: low\nERROR: high\nINFO: none",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lr: 0.1\nbatch_size: 32", {"lr": "0.1", "batch_size": "32"}),
        ("Learning rate = 0.2, Batch size = 8", {}),
        ("Learning rate = 0.2\nBatch size = 8", {"Learning rate": "0.2", "Batch size": "8"}),
        ("--lr 0.1\n--weight-decay 1e-4", {"lr": "0.1", "weight_decay": "1e-4"}),
        ("lr: 0.1", {}),
    ],
)
def test_two_rows_are_enough_where_both_name_a_known_setting(text: str, found: dict[str, str]) -> None:
    assert params(text) == found


@pytest.mark.parametrize("name", NOTHING)
def test_what_sets_nothing_gives_no_params(name: str) -> None:
    reader = fed(NOTHING[name])
    assert reader.params() == {}
    assert reader.tags() == {}


@pytest.mark.parametrize(
    ("name", "share"), [("a model", 1), ("a summary", 0.75), ("an environment", 1), ("a network", 1), ("prose", 0)]
)
def test_lines_of_a_dump_are_known_for_what_they_are(name: str, share: float) -> None:
    lines = [line for line in NOTHING[name].split("\n") if line.strip()]
    assert len(fed(NOTHING[name]).consumed) >= share * len(lines)
    if not share:
        assert fed(NOTHING[name]).consumed == set()


def test_consumed_lines_are_those_of_the_dump() -> None:
    reader = fed("hello\nNamespace(\n  a=1,\n  b=2)\nworld\n\nlr: 1\nwd: 2\nbs: 3\nthe end of it")
    assert reader.consumed == {2, 3, 4, 7, 8, 9}


def test_what_changes_from_print_to_print_is_a_report() -> None:
    one = "  Num examples = {}\n  Batch size = 8\n  Shuffle = True\n"
    assert params("\nworking\n".join(one.format(n) for n in (50, 60, 70))) == {"Batch size": "8", "Shuffle": "True"}


def test_a_line_of_dashes_parts_what_is_printed_between() -> None:
    stamp = "2021-03-04 05:06:07,891 "
    rows = ["Parameters:", ' - rate: "0.1"', ' - size: "32"', ' - kind: "x"']
    lines = ["Corpus: small", "-" * 60, *rows, "-" * 60, "Device: cpu"]
    assert params("\n".join(stamp + line for line in lines)) == {"rate": "0.1", "size": "32", "kind": "x"}


def test_a_run_has_the_settings_before_it() -> None:
    reader = ConfigReader()
    reader.feed(1, "Namespace(lr=0.1)")
    reader.feed(2, "python train.py -x 1")
    assert (reader.params(), reader.tags()) == ({"lr": "0.1", "x": "1"}, {"command": "python train.py -x 1"})
    reader.reset()
    assert (reader.params(), reader.tags()) == ({}, {})
    reader.feed(90, "Namespace(lr=0.2)")
    assert reader.params() == {"lr": "0.2"}
    assert reader.consumed == {1, 2, 90}


def test_too_much_is_left_out_and_counted() -> None:
    many = ", ".join(f"key{i}={i}" for i in range(MOST_PARAMS + 7))
    reader = fed(f"Namespace({many}, long='{'x' * (LONGEST_VALUE + 1)}')")
    assert (len(reader.params()), reader.left_out) == (MOST_PARAMS, 8)


def test_brackets_that_nobody_closes_do_not_hide_what_follows() -> None:
    assert params("config: {\n 'a': 1,\nsomething else\nNamespace(lr=0.1)") == {"lr": "0.1"}
    prefix = "2021-03-04 05:06:07 INFO "
    text = f"{prefix}cfg: {{\n  'a': 1,\n{prefix}oh no\n{prefix}lr: 1\n{prefix}wd: 2\n{prefix}bs: 3"
    assert params(text) == {"lr": "1", "wd": "2", "bs": "3"}


# Print, then read

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda key: not keyword.iskeyword(key) and not key.endswith(("token", "key", "password", "passwd", "secret"))
)
WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_./+-]{0,15}", fullmatch=True).filter(lambda w: w not in ("nan", "inf"))
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=30)
SCALARS = st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False)


def as_printed(value: object) -> str:
    return value if isinstance(value, str) else str(value)


@given(st.dictionaries(KEYS, SCALARS | TEXTS | st.lists(st.integers(), max_size=3), min_size=1, max_size=12))
@example({"a": "it's", "b": '"', "c": "\\", "d": "a, b=c", "e": ")"})
def test_a_namespace_reads_as_it_was(settings: dict[str, object]) -> None:
    wanted = {key: as_printed(value) for key, value in settings.items()}
    assert params(str(argparse.Namespace(**settings))) == wanted
    spread = ",\n  ".join(f"{key}={value!r}" for key, value in settings.items())
    assert params(f"args: Namespace(\n  {spread}\n)") == wanted


def unmeasured(settings: dict[str, object]) -> bool:
    """Without names that a result or a counter could have."""
    words = ("step", "epoch", "iter", "loss", "acc", "lr", "time")
    return not any(metrics.better(metrics.canonical(key)) or any(word in key for word in words) for key in settings)


NESTED = st.recursive(
    SCALARS | TEXTS, lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=4), max_leaves=12
)


def flat(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{path}.{key}" if path else key)
    return found


@given(st.fixed_dictionaries({"xx": SCALARS, "yy": TEXTS, "zz": NESTED}), st.sampled_from([None, 2, 4]))
def test_json_reads_as_it_was(settings: dict[str, object], indent: int | None) -> None:
    # A record of results is none of settings.
    assume(not any(metrics.is_known(word) for key in flat(settings) for word in key.split(".")))
    leaves = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in flat(settings).items()
        if not (key.endswith("_name") and value is None)
    }
    for ascii_only in (True, False):
        text = json.dumps(settings, indent=indent, ensure_ascii=ascii_only)
        assert params(text) == params(f"config: {text}") == leaves
    assert params(repr(settings)) == {key: as_printed(value) for key, value in flat(settings).items()}


PLAIN = st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | WORDS


@given(
    st.dictionaries(KEYS.map("p_{}".format), PLAIN, min_size=3, max_size=12),
    st.sampled_from(["{}: {}", "{} = {}", "{}={}", "{} ....... {}", "  --{} {}", "| {} | {} |", "{:<14}:\t{}"]),
    st.sampled_from(["", STAMP, "I0304 05:06:07.891011  1234 a.cpp:44] ", "[rank1]: "]),
)
def test_rows_of_arguments_read_as_they_were(settings: dict[str, object], form: str, prefix: str) -> None:
    if unmeasured(settings):
        text = "\n".join(prefix + form.format(key, value) for key, value in settings.items())
        assert params(text) == {key: as_printed(value) for key, value in settings.items()}


YAML = st.recursive(PLAIN, lambda inner: st.dictionaries(KEYS.map("q_{}".format), inner, min_size=1, max_size=4))


def yaml_lines(value: dict[str, object], indent: int = 0) -> list[str]:
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines += [f"{' ' * indent}{key}:", *yaml_lines(inner, indent + 2)]
        else:
            lines.append(f"{' ' * indent}{key}: {inner}")
    return lines


@given(st.fixed_dictionaries({"xx": PLAIN, "yy": PLAIN, "zz": YAML, "ww": PLAIN}))
def test_yaml_reads_as_it_was(settings: dict[str, object]) -> None:
    if unmeasured(flat(settings)):
        assert params("\n".join(yaml_lines(settings))) == {k: as_printed(v) for k, v in flat(settings).items()}


@given(
    st.dictionaries(KEYS, st.none() | TEXTS.filter(lambda text: text[:1] not in ("", "-", ">", "<", "|", "&", ";"))),
    st.sampled_from(["", "$ ", "+ ", "(base) me@box:/tmp# ", "Command: "]),
)
def test_a_command_reads_as_it_was(settings: dict[str, str | None], prompt: str) -> None:
    words = ["python", "train.py"]
    for key, value in settings.items():
        words += [f"--{key}"] if value is None else [f"--{key}", value]
    operators = any(value and value.strip()[:2] and value[0].isdigit() and ">" in value for value in settings.values())
    if "\\" not in "".join(words) and not operators:
        reader = fed(prompt + shlex.join(words))
        assert reader.params() == {key: "true" if value is None else value for key, value in settings.items()}
        assert reader.tags() == {"command": shlex.join(words)}


# Anything

FRAGMENTS = st.sampled_from(
    [
        "Namespace(",
        "{",
        "}",
        ")",
        "(",
        "'",
        '"',
        "a=1",
        "lr: 0.1",
        "b: ",
        "  c: d",
        "- x",
        ",",
        "=",
        "\\",
        "dict(",
        "\n",
    ]
) | st.sampled_from(
    [
        "layer {",
        "| a | b |",
        "k .... v",
        "--x 1",
        "python a.py ",
        "$ ",
        "Command:",
        "  (0): Linear(",
        "[",
        "INFO ",
        STAMP,
    ]
)


@given(st.lists(FRAGMENTS | st.text(max_size=5), max_size=60).map("".join))
def test_no_text_is_too_odd(text: str) -> None:
    reader = fed(text)
    assert all(isinstance(value, str) and len(value) <= LONGEST_VALUE for value in reader.params().values())
    assert reader.consumed <= set(range(1, text.count("\n") + 2))


PIECES = [
    *(
        "{",
        "(",
        "Namespace(a=",
        "{'a':",
        "a: ",
        "a=",
        "'",
        "\\'",
        "['",
        "- ",
        "x.",
        "a b ",
        "/",
        "[1]",
        "python ",
        "--a ",
    ),
    *("=(", "a=b ", "INFO ", "12:30 ", "a:b,", " ' ", '"{', "dict(a=", ".... ", "| ", "(a): ", "x" * 99, "x@", "::"),
]


@pytest.mark.parametrize("piece", PIECES)
def test_reading_takes_time_in_proportion_to_the_text(piece: str) -> None:
    for opening in ("", "Namespace(", "{'a': ", "cfg: {", "$ python a.py ", "k = dict(", "key: "):
        for line_length in (80_000, 50):
            line = opening + piece * (line_length // len(piece))
            reader = ConfigReader()
            start = time.process_time()
            for number in range(1, 1 + 80_000 // line_length):
                reader.feed(number, line)
            reader.params()
            assert time.process_time() - start < 2


def test_a_log_without_settings_costs_next_to_nothing_in_the_end() -> None:
    reader = ConfigReader()
    lines = [f"something happened {i}: it took {i} ms, all is well" for i in range(300_000)]
    enough = PATIENCE_CHARS // 40
    for number, line in enumerate(lines[:enough], 1):
        reader.feed(number, line)
    start = time.process_time()
    for number, line in enumerate(lines[enough:], enough + 1):
        reader.feed(number, line)
    assert (time.process_time() - start) / len(lines) < 2e-6
    reader.feed(400_000, "Namespace(lr=0.1)")
    assert reader.params() == {"lr": "0.1"}
