"""Verb 2: a command to runs: what is to be started, what is done already, and the start itself.

Nothing heavy is imported here: a single command runs before its database is opened.
"""

import hashlib
import json
import math
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePath
from uuid import uuid4

from expdb.address import Address, environment
from expdb.errors import NotFoundError, UsageError, need
from expdb.invocation import program_name, taken_apart
from expdb.masking import mask_value
from expdb.records import PLAN_TAG, SWEEP_TAG
from expdb.runners import slots
from expdb.runners.folder import Spec

_SETTINGS = frozenset((".yaml", ".yml", ".json", ".toml", ".cfg", ".ini"))
_SETTINGS_BYTES = 1 << 20
_RECIPES = Path(__file__).parent / "recipes"
# Nobody means to start more at once.
_MOST_RUNS = 10_000
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
# What torchrun, accelerate and deepspeed call it.
_PROCESSES = re.compile(r"--(?:nproc[-_]per[-_]node|num[-_]processes|num[-_]gpus)[ =](\d+|gpu|auto)")
_PLACE = re.compile(r"\{([A-Za-z_][\w.-]*)\}")


@dataclass(frozen=True, slots=True)
class Order:
    """What the person asks for. values: of each param, as texts behind `-s`; gpus: a number, auto or none;
    jobs: how many may run at a time; draw: so many runs, drawn from all there could be."""

    command: tuple[str, ...]
    cwd: Path
    experiment: str | None = None
    name: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    seeds: str | None = None
    draw: int | None = None
    jobs: int | None = None
    gpus: str = "auto"
    runner: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    pty: bool = False
    diff: bool = True
    system_s: float | None = None

    @property
    def in_experiment(self) -> str:
        """The experiment of its runs: the one that was named, or the folder."""
        return self.experiment or self.cwd.name or "Default"

    @property
    def is_sweep(self) -> bool:
        """Whether it may be several runs, of which those that are done are not run again."""
        return self.seeds is not None or any(len(values_of(text, key)) > 1 for key, text in self.values.items())


def recipes() -> Mapping[str, str]:
    """What each recipe does, by its name. Read from the file that says so: nobody imports recipes."""
    import runpy

    found = runpy.run_path(str(_RECIPES / "programs.py"))["PROGRAMS"]
    return {str(name): str(summary) for name, summary in found.items()}


def recipe(name: str, flags: Sequence[str] = ()) -> tuple[str, ...]:
    """The command that starts a recipe. NotFoundError, with their names; MissingExtraError without torch."""
    known = recipes()
    if name not in known:
        hint = "a command of your own stands behind --: expdb run -- python train.py"
        raise NotFoundError(f"{name} is no recipe; there are {', '.join(known)}", hint=hint)
    need("torch", extra="train")
    return (sys.executable, "-m", f"expdb.recipes.{name.replace('-', '_')}", *flags)


def recipe_named(words: Sequence[str], behind: int) -> str | None:
    """The recipe that `expdb run` is to start, the last so many of its words standing behind `--`; None: a command.

    A recipe stands alone before `--`. NotFoundError where a lone word there is neither a recipe nor a program.
    """
    ahead = words[: len(words) - behind]
    if len(ahead) != 1 or (ahead[0] not in recipes() and (behind or shutil.which(ahead[0]))):
        return None
    recipe(ahead[0])
    return ahead[0]


def values_of(text: str, key: str = "value") -> tuple[str, ...]:
    """The values that a text behind `-s key=` names: `0.1,0.01` and `1..9` and `0..1..0.25` are several.

    A comma within brackets or quotes separates nothing. UsageError for a range that has no end.
    """
    out: list[str] = []
    parts = list(_parts(text))
    if len(parts) > 1 and "" in parts:
        raise UsageError(f"-s {key}={text}: a value is missing between commas", hint=f"-s {key}=0.1,0.01")
    for part in parts:
        found = _RANGE.fullmatch(part)
        out += _ranged(found, part, key) if found else (part,)
    return tuple(dict.fromkeys(out))


def _parts(text: str) -> Iterator[str]:
    """What stands between commas."""
    depth, quote, part = 0, "", ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth <= 0:
            yield part.strip()
            part = ""
            continue
        part += c
    yield part.strip()


def _ranged(found: re.Match[str], text: str, key: str) -> Iterator[str]:
    hint = f"-s {key}=1..9 counts, -s {key}=0..1..0.25 says the distance"
    try:
        low, high = float(found[1]), float(found[2])
        distance = float(found[3]) if found[3] else 1.0
    except ValueError:
        raise UsageError(f"-s {key}={text}: this is no range", hint=hint) from None
    whole = all(re.fullmatch(r"[-+]?\d+", one) for one in (found[1], found[2], found[3] or "1"))
    if not whole and not found[3]:
        raise UsageError(f"-s {key}={text}: how far apart?", hint=hint)
    if distance <= 0 or high < low or (high - low) / distance > _MOST_RUNS:
        raise UsageError(f"-s {key}={text}: a range goes up, by at most {_MOST_RUNS:,} values", hint=hint)
    for n in range(math.floor((high - low) / distance + 1e-9) + 1):
        yield str(int(low + n * distance)) if whole else f"{low + n * distance:.12g}"


@dataclass(frozen=True, slots=True)
class Planned:
    """One run that is to be. varied: what tells it from the others; plan: of equal command, params and seed."""

    name: str
    command: tuple[str, ...]
    params: Mapping[str, str]
    seed: int | None
    varied: Mapping[str, str]
    plan: str


def plan(order: Order) -> tuple[Planned, ...]:
    """The runs of an order, in the order of its values, the seeds innermost. UsageError where it is no order."""
    if not order.command:
        raise UsageError("which command?", hint="expdb run -- python train.py --lr 0.1")
    seeds: tuple[int | None, ...] = _seeds(order.seeds) if order.seeds is not None else (None,)
    if order.seeds is not None and "seed" in order.values:
        raise UsageError("--seeds and -s seed= say the same thing; choose one")
    texts = {key: values_of(text, key) for key, text in order.values.items()}
    count = math.prod(map(len, texts.values())) * len(seeds)
    if count > _MOST_RUNS and order.draw is None:
        raise UsageError(f"that would be {count:,} runs", hint="--random N draws N of them")
    name = order.name or name_of(order.command)
    several = [key for key, values in texts.items() if len(values) > 1]
    combinations: Sequence[tuple[str, ...]] = list(product(*texts.values())) if count <= _MOST_RUNS else ()
    if order.draw is not None:
        combinations = _drawn(list(texts.values()), combinations, order.draw, order.command)
    stated = _files_of(order.command, order.cwd)
    out = []
    for values in combinations:
        params = dict(zip(texts, values, strict=True))
        for seed in seeds:
            said = {**params, **({"seed": str(seed)} if seed is not None else {})}
            varied = {key: said[key] for key in (*several, *(("seed",) if len(seeds) > 1 else ()))}
            title = " ".join([name, *(f"{key}={value}" for key, value in varied.items())])
            own = seed if seed is not None else _whole(params.get("seed"))
            fingerprint = _fingerprint((*order.command, *stated), params, own)
            out.append(Planned(title, filled(order.command, said), params, own, varied, fingerprint))
    return tuple(out)


def _seeds(text: str) -> tuple[int, ...]:
    found = [_whole(value) for value in values_of(text, "seeds")]
    if not found or None in found:
        raise UsageError(f"--seeds {text}: these are no whole numbers", hint="--seeds 0..2, or --seeds 1,7,42")
    return tuple(dict.fromkeys(seed for seed in found if seed is not None))


def _drawn(
    axes: list[tuple[str, ...]], every: Sequence[tuple[str, ...]], count: int, command: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """So many of all combinations, the same ones for the same command, in the order of the whole."""
    chance = random.Random("\0".join(command))
    if every:
        return sorted(chance.sample(every, min(count, len(every))), key=every.index)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        found[tuple(chance.choice(axis) for axis in axes)] = None
    return list(found)


def _fingerprint(command: Sequence[str], params: Mapping[str, str], seed: int | None) -> str:
    said = json.dumps([list(command), sorted(params.items()), seed], ensure_ascii=False)
    return hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()[:32]


def _files_of(command: Sequence[str], cwd: Path) -> list[str]:
    """What the settings files that the command names hold, as digests: another content is another command."""
    out = []
    for word in command:
        path = cwd / word.rpartition("=")[2]
        try:
            if path.suffix.lower() in _SETTINGS and path.is_file() and path.stat().st_size <= _SETTINGS_BYTES:
                out.append(hashlib.sha256(path.read_bytes()).hexdigest())
        except (OSError, ValueError):
            continue
    return out


def filled(command: Sequence[str], params: Mapping[str, str]) -> tuple[str, ...]:
    """The command with the params in its `{places}`, or in the place of `key=...`; others stand behind it as `--key
    value`."""
    placed: set[str] = set()

    def put(found: re.Match[str]) -> str:
        if found[1] not in params:
            # A brace of the command's own.
            return found[0]
        placed.add(found[1])
        return params[found[1]]

    out = [_PLACE.sub(put, word) for word in command]
    for key, value in params.items():
        if key in placed:
            continue
        # As Hydra has it: `optim.lr=5` among the words is where that setting stands.
        stands = [at for at, word in enumerate(out) if word.lstrip("+").startswith(f"{key}=") and at]
        if stands:
            head, _, _ = out[stands[-1]].partition("=")
            out[stands[-1]] = f"{head}={value}"
        else:
            out += [f"--{key}", value]
    return tuple(out)


def name_of(command: Sequence[str]) -> str:
    """What a run of the command is called: its script, its module, or its program."""
    found = taken_apart(command)
    match found.target:
        case ("-m", module, *_):
            return module
        case ("-c", *_) | ():
            return program_name((*found.programs, command[0])[-1])
        case (script, *_):
            return PurePath(script).stem or script
    return program_name(command[0])


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[-+]?\d{1,18}", text.strip()) else None


def gpus_of(order: Order) -> int:
    """How many GPUs a run gets: as many as were asked for; else as many as processes are started, else one, where this
    machine has any. UsageError where it has not so many."""
    there = len(slots.gpus())
    if order.gpus == "auto":
        if not there:
            return 0
        asked = _PROCESSES.search(" ".join(order.command))
        wanted = 1 if asked is None else int(asked[1]) if asked[1].isdecimal() else there
        return min(wanted, there)
    wanted = 0 if order.gpus == "none" else int(order.gpus)
    if wanted > there and order.runner == "local":
        hint = "--gpus auto takes one, where there are any"
        raise UsageError(f"--gpus {wanted}: this machine has {there}", hint=hint)
    return wanted


def new_sweep() -> str:
    """What the runs of one order have in common."""
    return uuid4().hex[:12]


def spec_of(
    planned: Planned, order: Order, *, sweep: str | None = None, stdin: bool = False, database: Address | None = None
) -> Spec:
    """What a run's folder says of it. sweep: what the runs of one order have in common; database: the one that the
    command's own expdb commands are to use."""
    env = {"CUDA_VISIBLE_DEVICES": ""} if order.gpus == "none" else {}
    if database is not None:
        env |= environment(database)
    tags = {**order.tags, PLAN_TAG: planned.plan, **({SWEEP_TAG: sweep} if sweep else {})}
    return Spec(
        uid=uuid4().hex,
        name=planned.name,
        experiment=order.in_experiment,
        command=planned.command,
        template=order.command,
        cwd=str(order.cwd),
        env=env,
        # As argparse calls them, and so what a script prints of them.
        params={key.replace("-", "_"): mask_value(key, value) for key, value in planned.params.items()},
        tags=tags,
        seed=planned.seed,
        runner=order.runner,
        gpus=gpus_of(order) if order.runner == "local" or order.gpus.isdecimal() else 0,
        pty=order.pty,
        diff=order.diff,
        system_s=order.system_s,
        created_ms=time.time_ns() // 1_000_000,
        parent=None,
        stdin=stdin,
        options=dict(order.options),
    )
