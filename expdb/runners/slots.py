"""What there is to run on here: GPUs, each for one run at a time, and CPU slots where there are none.

A GPU is taken by a lock on a file of this machine. The lock goes with its descriptor from who starts a run to its
keeper and its command, so that the kernel frees the GPU when all of them are gone, however they ended.
"""

import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from expdb.errors import InputError, UsageError

# Above it somebody computes on the GPU; a desktop, or a driver that keeps the card awake, stays below.
FOREIGN_BYTES = 500_000_000
_NVIDIA_SMI_S = 2.0


@dataclass(frozen=True, slots=True)
class Lease:
    """GPUs taken for one run. fds: their locks, for `pass_fds`. Closing it here gives back only what was not passed
    on."""

    ids: tuple[str, ...]
    fds: tuple[int, ...]

    def close(self) -> None:
        """Let go of the locks; once."""
        for fd in self.fds:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def gpus(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs to use: those that CUDA_VISIBLE_DEVICES names, where it names any; else all, by their numbers in the
    order of the bus."""
    named = _named(environ)
    return named or tuple(map(str, range(len(_minors()))))


def cpu_slots(environ: Mapping[str, str] = os.environ) -> int:
    """How many runs without a GPU may run at a time: EXPDB_SLOTS, or as many as this process may use cores."""
    said = environ.get("EXPDB_SLOTS")
    if said:
        if not said.isdecimal() or int(said) == 0:
            raise UsageError(f"EXPDB_SLOTS is no number of runs: {said!r}", hint="EXPDB_SLOTS=4")
        return int(said)
    # A container or a job of a cluster has fewer than the machine.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, usable or 1)


def acquire(count: int, environ: Mapping[str, str] = os.environ) -> Lease | None:
    """Take that many GPUs that nobody has; None where not so many are free, and none is taken.

    Passed over are those that other programs compute on, unless CUDA_VISIBLE_DEVICES says what to use. InputError
    where the folder of the locks is not ours alone."""
    if count == 0:
        return Lease((), ())
    candidates = gpus(environ)
    if len(candidates) < count:
        return None
    folder = lock_folder(environ)
    ids: list[str] = []
    fds: list[int] = []
    with _turn(folder):
        passed_over = frozenset[str]() if _named(environ) else busy(used_bytes())
        for one in candidates:
            if len(ids) == count:
                break
            fd = None if one in passed_over else _locked(folder / f"gpu-{_place(one)}.lock")
            if fd is not None:
                ids.append(one)
                fds.append(fd)
    lease = Lease(tuple(ids), tuple(fds))
    if len(ids) == count:
        return lease
    lease.close()
    return None


def lock_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of this user's locks on this machine, made where it is missing: EXPDB_LOCKS, else below /tmp."""
    # Neither XDG_RUNTIME_DIR, which is deleted at log-out while trainings go on, nor TMPDIR, which differs between the
    # shells of one person: two folders would give one GPU twice.
    shared = Path("/tmp")
    parent = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    path = Path(environ.get("EXPDB_LOCKS") or parent / f"expdb-{os.geteuid()}")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror or error}", path=str(path)) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise InputError(
            "is no folder that only you may write to, as that of GPU locks must be",
            path=str(path),
            hint="EXPDB_LOCKS=FOLDER names another",
        )
    return path


def _named(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES names: numbers, GPU-... or MIG-... ids."""
    said = (one.strip() for one in environ.get("CUDA_VISIBLE_DEVICES", "").split(","))
    return tuple(dict.fromkeys(one for one in said if one and one != "-1"))


def _minors() -> tuple[int, ...]:
    """The numbers of the GPUs' device files. A container may have /dev/nvidia3 only, which CUDA calls 0 there."""
    found = (re.fullmatch(r"nvidia(\d+)", one.name) for one in Path("/dev").iterdir())
    return tuple(sorted(int(one[1]) for one in found if one))


def _place(gpu: str) -> str:
    """What the lock of a GPU is called: by its device file, since numbers differ between containers."""
    minors = _minors()
    if gpu.isdecimal() and int(gpu) < len(minors):
        return str(minors[int(gpu)])
    return re.sub(r"[^\w.-]", "_", gpu)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One at a time looks for free GPUs, so that two do not each take half of what both need."""
    fd = os.open(folder / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of the file; None where another has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def used_bytes() -> Mapping[int, int]:
    """Memory in use by a GPU's number, as nvidia-ml-py tells it where that is installed, else nvidia-smi."""
    used = _used_by_library() if find_spec("pynvml") else None
    return used_by_program() if used is None else used


def busy(used: Mapping[int, int]) -> frozenset[str]:
    """The GPUs on which somebody computes."""
    return frozenset(str(number) for number, size in used.items() if size > FOREIGN_BYTES)


def _used_by_library() -> Mapping[int, int] | None:
    """None where the driver does not tell."""
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
            return {n: int(nvml.nvmlDeviceGetMemoryInfo(handle).used) for n, handle in enumerate(handles)}
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError:
        return None


def used_by_program(wait_s: float = _NVIDIA_SMI_S) -> Mapping[int, int]:
    """Memory in use by a GPU's number, in bytes, from nvidia-smi; {} where it does not tell within wait_s."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    words = [program, "--query-gpu=index,memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=wait_s)
    except (subprocess.TimeoutExpired, OSError):
        return {}
    rows = ([one.strip() for one in line.split(",")] for line in done.stdout.splitlines())
    # Where a GPU is shared out (MIG), [N/A] stands in the place of a number.
    return {int(row[0]): int(row[1]) << 20 for row in rows if len(row) == 2 and all(map(str.isdecimal, row))}
