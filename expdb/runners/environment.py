"""What a run runs on: code, machine, interpreter and packages, written to its folder as env.json.

Run as a script, `python -I -S environment.py FOLDER`, beside the command, never before it: it asks git and the
command's own interpreter, which may take seconds. What cannot be found out is left out. Standard library only.
"""

import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    # As a script without site-packages it does not find the package it belongs to. Behind the standard library,
    # so that nothing beside the package is taken for a part of it.
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from expdb.invocation import program_name, taken_apart
from expdb.masking import mask

LIMIT_S = 60.0
MOST_DIFF_BYTES = 1_000_000
MOST_UNTRACKED = 200
MOST_PACKAGES = 2_000
_MOST_OUTPUT_BYTES = 4_000_000
_GIT_S = 25.0
_PROBE_S = 25.0
UNTRACKED = "?? "
CUT = "\\ cut here: the diff is longer than {0:,} bytes"

_GIT = (
    *("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "diff.noprefix=false"),
    *("-c", "diff.mnemonicPrefix=false", "-c", "diff.relative=false", "-c", "color.ui=false"),
    # A table of data is no code: above this size git takes a file for binary.
    *("-c", "core.bigFileThreshold=8m"),
)
# Set by git for its hooks, they would speak of another repository than that of the working directory.
_OF_OTHER_REPOSITORIES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
                          "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS")  # fmt: skip
_MARK = "expdb-environment:"
# Asked of the command's interpreter, which may be an old one; what lies in the working directory must not be imported.
_PROBE = r"""
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]
import json, platform, re
said = {"version": platform.python_version(), "name": platform.python_implementation(), "path": sys.executable}
packages = {}
try:
    from importlib import metadata
    found = metadata.distributions()
except ImportError:
    found = ()
for one in found:
    try:
        name = one.metadata["Name"]
        if name and name not in packages:
            packages[name] = one.version
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        # One that is damaged does not hide the others.
        continue
said["packages"] = packages
try:
    import importlib.util, os
    # This finds torch and does not import it.
    with open(os.path.join(os.path.dirname(importlib.util.find_spec("torch").origin), "version.py")) as stream:
        text = stream.read()
except (AttributeError, ImportError, OSError, TypeError, ValueError):
    text = ""
for key in ("__version__", "cuda", "hip"):
    value = re.search(r"(?m)^%s\s*(?::[^=\n]*)?=\s*['\"]([^'\"\n]+)" % key, text)
    if value:
        said["torch" + key] = value.group(1)
sys.stdout.write("\n" + "MARK" + json.dumps(said) + "\n")
""".replace("MARK", _MARK)
_CUDA_PACKAGES = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?|jax-cuda\d+-plugin")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked: of which command, in which folder, with which variables.

    gpus: those given to the run, by index or uuid; empty: what the variables say. kept_in: the folder with the runs'
    folders, no part of the code. with_diff: keep what was changed since the last commit.
    """

    command: tuple[str, ...]
    cwd: Path
    variables: Mapping[str, str]
    gpus: tuple[str, ...] = ()
    kept_in: Path | None = None
    with_diff: bool = True


def gathered(wanted: Wanted, limit_s: float = LIMIT_S) -> dict[str, object]:
    """The columns of table `provenance` that can be found out here, packages as name to version, and user_name."""
    until = time.monotonic() + limit_s
    out: dict[str, object] = {"host": socket.gethostname(), "user_name": _user()}
    variables = {**wanted.variables, **taken_apart(wanted.command).environment}
    out.update(_gpus(wanted, variables))
    out.update(_code(wanted, min(until, time.monotonic() + _GIT_S)))
    out.update(_interpreter(wanted, variables, min(until, time.monotonic() + _PROBE_S)))
    return {key: value for key, value in out.items() if value is not None}


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A user without a name, as in a container.
        return None


def _output(
    command: Sequence[str], cwd: Path, variables: Mapping[str, str], until: float, most_bytes: int
) -> tuple[bytes, int | None]:
    """What a command prints, at most so many bytes and one, and its exit code; None where it was ended."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        return b"", None
    try:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A shim starts another program, and both have to go.
            start_new_session=True,
        )
    except (OSError, ValueError):
        return b"", None
    late = threading.Timer(left_s, _end, (child,))
    late.start()
    try:
        with child:
            assert child.stdout is not None
            said = child.stdout.read(most_bytes + 1)
            if len(said) > most_bytes:
                _end(child)
                return said, None
            code = child.wait()
    finally:
        late.cancel()
    return said, code if code >= 0 else None


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


# Code


def _code(wanted: Wanted, until: float) -> dict[str, object]:
    variables = {key: value for key, value in os.environ.items() if key not in _OF_OTHER_REPOSITORIES}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def git(*words: str, most_bytes: int = _MOST_OUTPUT_BYTES) -> tuple[str, int | None]:
        said, code = _output((*_GIT, *words), wanted.cwd, variables, until, most_bytes)
        return said.decode("utf-8", "replace"), code

    top, code = git("rev-parse", "--show-toplevel")
    if code != 0:
        return {}
    out: dict[str, object] = {}
    commit, code = git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    base = commit.strip()
    if code == 0:
        out["git_commit"] = base
    elif code == 1:
        # Without a commit everything that was added is new.
        base = git("hash-object", "-t", "tree", os.devnull)[0].strip()
    with tempfile.TemporaryDirectory(prefix="expdb-") as folder, contextlib.suppress(OSError):
        # Looking must not write: git diff refreshes the index it reads, and takes its lock.
        index = git("rev-parse", "--git-path", "index")[0].rstrip("\n")
        if (wanted.cwd / index).is_file():
            variables["GIT_INDEX_FILE"] = shutil.copy2(wanted.cwd / index, folder)
        elsewhere = _outside(wanted.kept_in, Path(top.rstrip("\n")))
        listed, code = git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", *elsewhere)
        if code != 0:
            return out
        entries = [entry for entry in listed.split("\0") if entry]
        untracked = [entry[3:] for entry in entries if entry.startswith(UNTRACKED)]
        out["git_dirty"] = len(untracked) < len(entries)
        if not wanted.with_diff or not base:
            return out
        changes = ("diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-color", base, *elsewhere)
        diff, code = git(*changes, most_bytes=MOST_DIFF_BYTES)
        if len(diff.encode("utf-8")) > MOST_DIFF_BYTES:
            # A line that is cut may have lost half of a token, and with it the shape it is known by.
            diff = f"{diff[: diff.rfind(chr(10)) + 1]}{CUT.format(MOST_DIFF_BYTES)}\n"
        elif code != 0:
            return out
        named = "".join(f"{UNTRACKED}{_one_line(name)}\n" for name in untracked[:MOST_UNTRACKED])
        if len(untracked) > MOST_UNTRACKED:
            named += f"{UNTRACKED}and {len(untracked) - MOST_UNTRACKED:,} more\n"
        out["git_diff"] = mask(diff + named)
    return out


def _outside(folder: Path | None, top: Path) -> tuple[str, ...]:
    """Pathspecs that leave the runs' own folders out."""
    if folder is None:
        return ("--",)
    try:
        below = folder.resolve().relative_to(top.resolve()).as_posix()
    except (OSError, ValueError):
        return ("--",)
    return ("--", ":(top)") if below == "." else ("--", ":(top)", f":(top,exclude,literal){below}")


def _one_line(name: str) -> str:
    return name.replace("\n", "\\n").replace("\r", "\\r")


# Machine


def _gpus(wanted: Wanted, variables: Mapping[str, str]) -> dict[str, object]:
    """`gpu`: the names of the GPUs the command sees, and `driver`."""
    there, driver = gpus_there()
    if not there:
        there, driver = _of_nvidia_smi(variables)
    chosen = variables.get("CUDA_VISIBLE_DEVICES")
    asked = wanted.gpus or (None if chosen is None else tuple(one.strip() for one in chosen.split(",")))
    by_bus = variables.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    names = [name for name, _ in there] if asked is None else chosen_gpus(there, asked, by_bus=by_bus)
    return {"gpu": _counted(names), "driver": driver}


def gpus_there(
    proc: Path = Path("/proc/driver/nvidia"), devices: Path = Path("/dev")
) -> tuple[list[tuple[str, str]], str | None]:
    """(name, uuid) of the GPUs of this machine, or of this container, in the order of their bus; the driver."""
    out = []
    for place in sorted(proc.glob("gpus/*/information")):
        try:
            text = place.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        facts = dict(re.findall(r"(?m)^([^:\n]+):[ \t]*(.*?)[ \t]*$", text))
        minor = facts.get("Device Minor")
        # A container sees all of them here, and only its own as devices.
        if facts.get("Model") and (minor is None or (devices / f"nvidia{minor}").exists()):
            out.append((facts["Model"], facts.get("GPU UUID", "")))
    driver = None
    with contextlib.suppress(OSError):
        text = (proc / "version").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", text)
        driver = found[1] if found else None
    return out, driver


def _of_nvidia_smi(variables: Mapping[str, str]) -> tuple[list[tuple[str, str]], str | None]:
    """The same where there is no such folder, as in WSL and some sandboxes."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], None
    command = (program, "--query-gpu=name,uuid,driver_version", "--format=csv,noheader")
    said, code = _output(command, Path("/"), variables, time.monotonic() + 10, _MOST_OUTPUT_BYTES)
    rows = [row for line in said.decode("utf-8", "replace").splitlines() if len(row := line.split(", ")) == 3]
    if code != 0 or not rows:
        return [], None
    return [(name, uuid) for name, uuid, _ in rows], rows[0][2]


def chosen_gpus(there: Sequence[tuple[str, str]], asked: Sequence[str], *, by_bus: bool) -> list[str]:
    """The names of those asked for, by number or uuid; what cannot be told apart is only named where all are alike.

    by_bus: the numbers are those of the bus. CUDA's own order is by speed.
    """
    alike = len({name for name, _ in there}) == 1
    out = []
    for one in asked:
        if one.isdecimal() and int(one) < len(there):
            out += [there[int(one)][0]] if by_bus or alike else []
        elif one.startswith(("GPU-", "MIG-")):
            same = [name for name, uuid in there if uuid and uuid.startswith(one)]
            out += same[:1] if same else [there[0][0]] if alike else []
        else:
            # As CUDA does: the list ends at the first that is none.
            break
    return out


def _counted(names: Sequence[str]) -> str | None:
    said = [name if count == 1 else f"{count} x {name}" for name, count in Counter(names).items()]
    return ", ".join(said) or None


# Interpreter


def interpreter(wanted: Wanted, variables: Mapping[str, str]) -> str | None:
    """The Python that the command uses, as a path; the one on PATH where the command does not tell."""
    found = taken_apart(wanted.command)
    for at, word in enumerate(found.programs):
        name = program_name(word)
        if name in ("uv", "poetry", "pdm", "rye", "pipenv") and (own := _of_project(wanted.cwd, variables)):
            return own
        if name in ("conda", "mamba", "micromamba") and (own := _of_conda(found.options, variables)):
            return own
        if word == found.python:
            return _which(word, wanted.cwd, variables)
        if at == len(found.programs) - 1 or name in ("torchrun", "accelerate", "deepspeed"):
            place = _which(word, wanted.cwd, variables)
            own = _of_first_line(Path(place), wanted.cwd, variables) if place else None
            if own:
                return own
    return next(filter(None, (_which(name, wanted.cwd, variables) for name in ("python", "python3"))), None)


def _which(word: str, cwd: Path, variables: Mapping[str, str]) -> str | None:
    if "/" in word:
        place = cwd / word
        return str(place) if os.access(place, os.X_OK) and place.is_file() else None
    folders = [str(cwd / folder) for folder in variables.get("PATH", os.defpath).split(os.pathsep)]
    return shutil.which(word, path=os.pathsep.join(folders))


def _of_project(cwd: Path, variables: Mapping[str, str]) -> str | None:
    """The environment that belongs to the project, which these programs take before any other."""
    named = variables.get("UV_PROJECT_ENVIRONMENT")
    folders = [cwd / named] if named else []
    for folder in (*folders, *(above / ".venv" for above in (cwd, *cwd.parents))):
        if (folder / "bin" / "python").exists():
            return str(folder / "bin" / "python")
    return None


def _of_conda(options: Sequence[str], variables: Mapping[str, str]) -> str | None:
    named: Path | None = None
    for flag, value in zip(options, [*options[1:], ""], strict=True):
        if flag in ("-p", "--prefix"):
            named = Path(value)
        elif flag in ("-n", "--name") and (program := variables.get("CONDA_EXE") or variables.get("MAMBA_EXE")):
            root = Path(variables.get("MAMBA_ROOT_PREFIX") or Path(program).parent.parent)
            named = root if value == "base" else root / "envs" / value
    python = named / "bin" / "python" if named else None
    return str(python) if python and python.exists() else None


def _of_first_line(script: Path, cwd: Path, variables: Mapping[str, str]) -> str | None:
    """The interpreter a script names in its first line, or in its second where the path was too long for one."""
    try:
        with script.open("rb") as stream:
            head = stream.read(1024).decode("utf-8", "replace")
    except OSError:
        return None
    lines = head.split("\n")
    if not head.startswith("#!"):
        return None
    long = re.match(r"'''exec' \"?([^\"\n]+?)\"? \"\$0\"", lines[1]) if len(lines) > 1 else None
    words = [long[1]] if long else lines[0][2:].split()
    if words and program_name(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if not words or not re.fullmatch(r"(?:python|pypy)[\d.]*", program_name(words[0])):
        return None
    return _which(words[0], cwd, variables)


def _interpreter(wanted: Wanted, variables: Mapping[str, str], until: float) -> dict[str, object]:
    python = interpreter(wanted, variables)
    if python is None:
        return {}
    # With PYTHONINSPECT it would not end by itself.
    asked = {key: value for key, value in variables.items() if key not in ("PYTHONINSPECT", "PYTHONVERBOSE")}
    printed, _ = _output((python, "-c", _PROBE), wanted.cwd, asked, until, _MOST_OUTPUT_BYTES)
    answer = printed.decode("utf-8", "replace").rpartition(f"\n{_MARK}")[2]
    try:
        said = json.loads(answer)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    packages = dict(sorted(said.get("packages", {}).items(), key=lambda pair: str(pair[0]).lower())[:MOST_PACKAGES])
    name = "" if said.get("name") == "CPython" else f"{said.get('name')} "
    runtime = next((version for key, version in packages.items() if _CUDA_PACKAGES.fullmatch(key)), None)
    hip = f"hip {said['torchhip']}" if "torchhip" in said else None
    return {
        "python": f"{name}{said.get('version')} ({said.get('path') or python})",
        "torch": said.get("torch__version__") or packages.get("torch"),
        "cuda": said.get("torchcuda") or hip or runtime,
        "packages": packages or None,
    }


# The script


def _wanted(folder: Path) -> Wanted:
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    variables = {**os.environ, **(spec.get("env") or {})}
    gpus: tuple[str, ...] = ()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        keeper = json.loads((folder / "keeper.json").read_text(encoding="utf-8"))
        gpus = tuple(map(str, keeper["gpus"]))
        inherited = _inherited(int(keeper["child"]["pid"]), folder)
        if inherited:
            variables, gpus = inherited, ()
    return Wanted(
        command=tuple(spec["command"]),
        cwd=Path(spec["cwd"]),
        variables=variables,
        gpus=gpus,
        kept_in=folder.absolute().parent,
        with_diff=bool(spec.get("diff", True)),
    )


def _inherited(pid: int, folder: Path) -> dict[str, str]:
    """The variables the command was started with; empty where it has ended, or somebody else has its number."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    found = dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)
    return found if found.get("EXPDB_RUN_UID") == folder.name else {}


def _write(path: Path, content: Mapping[str, object]) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # What is no UTF-8 in a name would be refused.
    text = json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    try:
        with partial.open("wb") as stream:
            stream.write(text + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def main(words: Sequence[str]) -> int:
    """Write env.json into the folder named; 2 where there is no spec.json to begin with."""
    try:
        folder = Path(words[0])
        wanted = _wanted(folder)
    except (IndexError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"environment: no run's folder, or none with a spec.json that can be read: {error!r}", file=sys.stderr)
        return 2
    _write(folder / "env.json", gathered(wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
