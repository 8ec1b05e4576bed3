"""What a command starts: wrappers, launchers, interpreter and script told apart from the arguments of the script.

Read from the words alone; no file is looked at.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

# Programs that run another one: their options that take a value, and how many words stand before the other program.
_WRAPPERS = {
    "env": (("-u", "--unset", "-C", "--chdir"), 0),
    "nohup": ((), 0),
    "setsid": ((), 0),
    "exec": (("-a",), 0),
    "time": (("-o", "-f"), 0),
    "nice": (("-n",), 0),
    "ionice": (("-c", "-n"), 0),
    "chrt": ((), 1),
    "stdbuf": (("-i", "-o", "-e"), 0),
    "unbuffer": ((), 0),
    "timeout": (("-s", "-k", "--signal", "--kill-after"), 1),
    "taskset": ((), 1),
    "numactl": (("-C", "-N", "-m", "-i", "-p"), 0),
    "sudo": (("-u", "-g", "-C", "-D"), 0),
    "xvfb-run": (("-n", "-s", "-e", "-f"), 0),
    "caffeinate": (("-t", "-w"), 0),
}
# `uv run`: the flags of these programs that take no value; all their other options take one.
_ENVIRONMENTS = {
    "uv": ("-q", "--quiet", "-v", "--verbose", "--frozen", "--locked", "--no-sync", "--isolated", "--no-project",
           "--all-extras", "--exact", "--no-dev", "--dev", "--active", "--offline", "--no-cache", "--no-config",
           "--managed-python", "--no-env-file", "--all-packages", "--all-groups", "--refresh", "-s", "--script"),
    "poetry": ("-q", "--quiet", "-v", "-n", "--no-interaction", "--no-plugins"),
    "pdm": ("-s", "--site-packages"),
    "rye": ("-v", "-q"),
    "pipenv": (),
    "hatch": (),
    "pixi": ("--frozen", "--locked", "-q", "-v"),
    "conda": ("--no-capture-output", "--live-stream", "-v", "--verbose", "--debug-wrapper-scripts"),
    "mamba": ("--no-capture-output", "--live-stream", "-v"),
    "micromamba": ("-v", "-q", "--clean-env"),
}  # fmt: skip
# What starts a script on several processes; its own options stand before the script.
_LAUNCHERS = frozenset(
    ("torchrun", "accelerate", "deepspeed", "horovodrun", "mpirun", "mpiexec", "srun", "composer", "colossalai")
)
_MODULES = ("torch.distributed.run", "torch.distributed.launch", "torch_xla.distributed.xla_dist",
            "accelerate.commands.launch", "deepspeed.launcher.runner", "cProfile", "profile", "coverage", "pdb",
            "debugpy", "kernprof", "memory_profiler", "viztracer")  # fmt: skip
_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh"))
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*w?")
_TAKES_VALUE = re.compile(r"-[A-Za-z]*[WX]|--check-hash-based-pycs")
_MODULE_OR_CODE = re.compile(r"-[bBdEhiIOPqRsStuvVx?]*([mc])(.*)", re.DOTALL)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(slots=True)
class Invocation:
    """A command, taken apart.

    environment: variables set in front of it. programs: what is executed, the outermost first (`uv`, `torchrun`,
    `python`), as typed. options: what was said to each of them. python: the interpreter, where one is named. target:
    the script, or `-m` and a module, or `-c` and code. arguments: what the target reads.
    """

    environment: dict[str, str] = field(default_factory=dict)
    programs: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    python: str | None = None
    target: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def taken_apart(words: Sequence[str]) -> Invocation:
    """The parts of a command; a program that is not known takes all that follows as its arguments."""
    found = Invocation()
    at = 0
    while at < len(words):
        word, name = words[at], program_name(words[at])
        assigned = _ASSIGNMENT.fullmatch(word)
        if assigned:
            found.environment[assigned[1]] = assigned[2]
            at += 1
        elif name in _WRAPPERS:
            at = _wrapped(words, at, found)
        elif name in _ENVIRONMENTS and "run" in words[at + 1 : at + 8]:
            at = _run_by(words, at, found)
            if words[at - 1] in ("-m", "--module"):
                return _with_target(found, ("-m", *words[at : at + 1]), words[at + 1 :])
        elif _PYTHON.fullmatch(name):
            found.programs.append(word)
            found.python = word
            return _behind_python(words, at + 1, found)
        elif name in _LAUNCHERS:
            found.programs.append(word)
            start = _program_in(words, at + 1)
            if start is None:
                return _behind_launcher(words, at + 1, found)
            found.options += words[at + 1 : start]
            at = start
        elif name in _SHELLS:
            found.programs.append(word)
            return _behind_shell(words, at + 1, found)
        else:
            # A script that is executed by itself, or any other program.
            found.programs.append(word)
            return _with_target(found, (word,), words[at + 1 :])
    return found


def shown_command(words: Sequence[str]) -> str:
    """A command as a person types it: in quotes only what a shell would not take as it is."""
    return " ".join(map(_shown_word, words))


def _shown_word(word: str) -> str:
    # shlex.quote takes every letter that is not ASCII for one that needs quotes.
    plain = "".join("a" if not char.isascii() and char.isprintable() else char for char in word)
    return word if shlex.quote(plain) == plain else shlex.quote(word)


def program_name(word: str) -> str:
    """`torchrun` of `/usr/bin/torchrun`."""
    return re.split(r"[\\/]", word)[-1].removesuffix(".exe")


def _with_target(found: Invocation, target: tuple[str, ...], arguments: Sequence[str]) -> Invocation:
    found.target, found.arguments = target, tuple(arguments)
    return found


def _wrapped(words: Sequence[str], at: int, found: Invocation) -> int:
    """Where the program stands that a wrapper runs."""
    valued, places = _WRAPPERS[program_name(words[at])]
    found.programs.append(words[at])
    at += 1
    while at < len(words) and (words[at].startswith("-") or _ASSIGNMENT.fullmatch(words[at]) or places):
        assigned = _ASSIGNMENT.fullmatch(words[at])
        if assigned and not places:
            found.environment[assigned[1]] = assigned[2]
        elif words[at] in valued:
            at += 1
        elif not words[at].startswith("-"):
            places -= 1
        at += 1
    return at


def _run_by(words: Sequence[str], at: int, found: Invocation) -> int:
    """Where the program stands that `uv run` and the like run; behind `-m` the module."""
    flags = _ENVIRONMENTS[program_name(words[at])]
    found.programs.append(words[at])
    at = first = list(words).index("run", at) + 1
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        at += 1
        if word in ("-m", "--module", "--"):
            break
        if "=" not in word and word not in flags and at < len(words):
            at += 1
    found.options += words[first:at]
    return at


def _program_in(words: Sequence[str], start: int) -> int | None:
    """Where behind a launcher an interpreter, a shell or another launcher is named before any script."""
    for at in range(start, len(words)):
        name = program_name(words[at])
        if words[at].endswith(".py") or words[at] in ("-m", "--module"):
            return None
        known = name in _LAUNCHERS or name in _SHELLS or name in _WRAPPERS or name in _ENVIRONMENTS
        if known or (_PYTHON.fullmatch(name) and not words[at - 1].startswith("--")):
            return at
    return None


def _behind_launcher(words: Sequence[str], start: int, found: Invocation) -> Invocation:
    for at in range(start, len(words)):
        if words[at].endswith(".py"):
            found.options += words[start:at]
            return _with_target(found, (words[at],), words[at + 1 :])
        if words[at] in ("-m", "--module") and at + 1 < len(words):
            found.options += words[start:at]
            return _with_target(found, ("-m", words[at + 1]), words[at + 2 :])
    found.options += words[start:]
    return found


def _behind_python(words: Sequence[str], start: int, found: Invocation) -> Invocation:
    at = start
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        word = words[at]
        kind = (
            re.fullmatch(r"-[bBdEhiIOPqRsStuvVx?]*([mc])(.*)", word, re.DOTALL) if not word.startswith("--") else None
        )
        if kind:
            # `-m pkg`, `-mpkg` and `-um pkg` are one.
            value = kind[2] or "".join(words[at + 1 : at + 2])
            rest = words[at + (1 if kind[2] else 2) :]
            if kind[1] == "m" and value in _MODULES:
                found.options += [*words[start:at], "-m", value]
                return _behind_launcher(rest, 0, found)
            found.options += words[start:at]
            return _with_target(found, (f"-{kind[1]}", value), rest)
        at += 2 if _TAKES_VALUE.fullmatch(word) else 1
    found.options += words[start:at]
    return _with_target(found, tuple(words[at : at + 1]), words[at + 1 :])


def _behind_shell(words: Sequence[str], start: int, found: Invocation) -> Invocation:
    at = start
    while at < len(words) and words[at].startswith(("-", "+")):
        if not words[at].startswith("--") and "c" in words[at]:
            return _with_target(found, ("-c", *words[at + 1 : at + 2]), words[at + 2 :])
        at += 2 if words[at] in ("-o", "+o", "--rcfile", "--init-file") else 1
    return _with_target(found, tuple(words[at : at + 1]), words[at + 1 :])
