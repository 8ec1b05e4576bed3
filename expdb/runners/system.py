"""What a run takes of its machine: a line into `system.jsonl` every few seconds, as long as its keeper lives.

    python -m expdb.runners.system FOLDER SECONDS

- system/cpu_percent       of all processes of the run, 100 for each core that is busy
- system/memory_gb         their resident memory, shared pages counted in each
- system/gpu_N_percent     how busy the GPU is, whoever uses it; N: its number on the machine
- system/gpu_N_memory_gb   what is taken of its memory, whoever took it

Steps count the samples. Needs the extra `system`: without psutil a line of keeper.log says so and nothing is sampled,
without nvidia-ml-py or its driver only the GPUs are left out.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from expdb.errors import ExpdbError, MissingExtraError, need
from expdb.runners import keeper as keeping
from expdb.runners.folder import Keeper, RunFolder

if TYPE_CHECKING:
    import psutil

NAME = "system.jsonl"
EXTRA = "system"
# How soon the end of the run is seen.
_LOOK_S = 0.5
_GB = 1e9


def main(words: list[str]) -> int:
    """The program; 0 also where nothing can be sampled, which is no failure of the run."""
    if len(words) != 2:
        print("usage: python -m expdb.runners.system FOLDER SECONDS", file=sys.stderr)
        return 2
    folder = RunFolder(Path(words[0]))
    try:
        seconds = float(words[1])
        keeper = folder.keeper()
        need("psutil", extra=EXTRA)
    except (ExpdbError, ValueError) as error:
        _note(folder, f"nothing is sampled: {_told(error)}")
        return 0
    if keeper is None or not seconds > 0:
        _note(folder, "nothing is sampled: no keeper.json, or no time between samples")
        return 0
    try:
        _sample(folder, keeper, seconds)
    except OSError as error:
        _note(folder, f"{NAME}: {error.strerror or error}; no more is sampled")
    return 0


def _sample(folder: RunFolder, keeper: Keeper, seconds: float) -> None:
    """Sample until the run has ended."""
    processes = _Processes(keeper)
    graphics = _Graphics(folder, keeper.gpus)
    fd = os.open(folder.path / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    step = 0
    at = time.monotonic()
    while True:
        # What was missed (a machine that slept) is not made up for.
        at = max(at + seconds, time.monotonic())
        if not _wait(folder, keeper, at):
            break
        found = {key: round(value, 4) for key, value in (*processes.sample(), *graphics.sample())}
        if not found:
            continue
        line = {"step": step, "epoch": None, "time_ms": time.time_ns() // 1_000_000, "metrics": found}
        keeping.write_all(fd, f"{json.dumps(line)}\n".encode())
        step += 1
    os.close(fd)


def _wait(folder: RunFolder, keeper: Keeper, until: float) -> bool:
    """Wait for that time of the monotonic clock; False, at once, when the run has ended or lost its keeper."""
    while True:
        if (folder.path / "exit.json").exists() or not keeping.alive(keeper.keeper.pid, keeper.keeper.start):
            return False
        left = until - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, _LOOK_S))


class _Processes:
    """The processes of a run: those of its group, and what descends from its command."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._at = time.monotonic()
        # CPU seconds so far, by number and start of the process.
        self._spent = self._now()[0]

    def sample(self) -> Iterator[tuple[str, float]]:
        """What they took since the last sample. A process that began since then counts from its start, one that has
        ended since then counts no more."""
        now = time.monotonic()
        spent, resident = self._now()
        if not spent:
            return
        used_s = sum(seconds - self._spent.get(key, 0.0) for key, seconds in spent.items())
        yield "system/cpu_percent", 100 * max(used_s, 0.0) / max(now - self._at, 1e-6)
        yield "system/memory_gb", resident / _GB
        self._at, self._spent = now, spent

    def _now(self) -> tuple[dict[tuple[int, float], float], int]:
        """(CPU seconds by process, resident bytes)."""
        import psutil

        spent, resident = {}, 0
        for process in self._members():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    resident += process.memory_info().rss
                    spent[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                # It ended meanwhile, or became somebody else's.
                continue
        return spent, resident

    def _members(self) -> Iterable["psutil.Process"]:
        import psutil

        child = self.keeper.child.pid
        found = {}
        for pid in psutil.pids():
            try:
                if pid == child or os.getpgid(pid) == self.keeper.pgid:
                    found[pid] = psutil.Process(pid)
            except (OSError, psutil.Error):
                continue
        if child in found:
            try:
                # A process may have made a group of its own, as torchrun's workers do.
                found.update((one.pid, one) for one in found[child].children(recursive=True))
            except psutil.Error:
                pass
        return found.values()


class _Graphics:
    """The GPUs that the run sees: those its keeper chose, else those of CUDA_VISIBLE_DEVICES, else all."""

    def __init__(self, folder: RunFolder, chosen: Iterable[str]) -> None:
        self._devices: list[tuple[int, object]] = []
        try:
            need("pynvml", extra=EXTRA)
        except MissingExtraError as error:
            if Path("/proc/driver/nvidia").exists():
                _note(folder, f"GPUs are not sampled: {_told(error)}")
            return
        import pynvml

        try:
            pynvml.nvmlInit()
            every = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
            wanted = _visible(tuple(chosen), os.environ)
            for number, device in enumerate(every):
                uuid = _text(pynvml.nvmlDeviceGetUUID(device))
                if wanted is None or any(one == str(number) or uuid.startswith(one) for one in wanted):
                    self._devices.append((number, device))
        except pynvml.NVMLError:
            # No driver, no GPU.
            self._devices = []

    def sample(self) -> Iterator[tuple[str, float]]:
        """What each is doing now."""
        if not self._devices:
            return
        import pynvml

        for number, device in self._devices:
            for what, read in (("percent", _busy), ("memory_gb", _taken_gb)):
                try:
                    yield f"system/gpu_{number}_{what}", read(device)
                except pynvml.NVMLError:
                    # Some devices do not tell one or the other (MIG: how busy they are).
                    continue


def _busy(device: object) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)


def _taken_gb(device: object) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetMemoryInfo(device).used) / _GB


def _visible(chosen: tuple[str, ...], environ: Mapping[str, str]) -> set[str] | None:
    """Numbers of GPUs, and ids or how these begin; None for all."""
    if chosen:
        return set(chosen)
    said = environ.get("CUDA_VISIBLE_DEVICES")
    return None if said is None else {word.strip() for word in said.split(",")} - {""}


def _text(said: str | bytes) -> str:
    # Older versions of the package give bytes.
    return said.decode() if isinstance(said, bytes) else said


def _told(error: Exception) -> str:
    hint = error.hint if isinstance(error, ExpdbError) else None
    return f"{error}; {hint}" if hint else str(error)


def _note(folder: RunFolder, message: str) -> None:
    """A line into keeper.log, where there is room for it."""
    try:
        with (folder.path / "keeper.log").open("a", encoding="utf-8") as log:
            log.write(f"system metrics: {message}\n")
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
