"""Commands run and timed from outside: wall time, peak memory, and bytecode that is there before the clock starts."""

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A process inherits the high-water mark of the one that forked it, so a small one stands between.
_PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended well. seconds: wall time of the whole process; peak_bytes: resident memory."""

    seconds: float
    output: str
    peak_bytes: int | None = None


class CommandError(Exception):
    """A measured command failed: there is nothing to report."""


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, *, peak: bool = False
) -> Finished:
    """Run a command in a folder, its output piped. peak: measure its memory too (POSIX only).

    Raises CommandError with what it wrote to stderr where it does not exit with 0.
    """
    environ = {**os.environ, **(environment or {})}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))
    whole = [sys.executable, "-c", _PEAK, *command] if peak else list(command)
    start = time.perf_counter()
    done = subprocess.run(whole, cwd=folder, env=environ, capture_output=True, text=True, encoding="utf-8", check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise CommandError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    if not peak:
        return Finished(seconds, done.stdout)
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(seconds, done.stdout, int(done.stderr.split()[-1]) * unit)


def compile_bytecode() -> None:
    """Compile what is installed, and expdb.

    Where PYTHONDONTWRITEBYTECODE is set nobody else does, and every import would be timed as a compilation.
    """
    paths = sysconfig.get_paths()
    folders = {paths["purelib"], paths["platlib"], str(ROOT / "expdb"), str(ROOT / "benchmarks")}
    # Packages ship templates that are no Python; that they do not compile is no failure of ours.
    subprocess.run([sys.executable, "-m", "compileall", "-qq", "-j", "0", *sorted(folders)], check=False)


def flush_disks() -> None:
    """Write out what earlier work left behind, so that the next does not pay for it."""
    if hasattr(os, "sync"):
        os.sync()
