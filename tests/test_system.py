"""The sampler: real processes that are busy, hold memory, and end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from expdb.runners import keeper as keeping
from expdb.runners.folder import RunFolder, Spec, create

ROOT = Path(__file__).parent.parent
DEADLINE_S = 30.0
# Holds 100 MB in a grandchild of a session of its own, and is busy.
BUSY = """
import subprocess, sys
held = "import time, sys; held = b'x' * 100_000_000; print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", held], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
while True:
    pass
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test starts ends with it."""
    made: list[subprocess.Popen[str]] = []
    yield made
    for one in made:
        one.kill()
        one.communicate()


@pytest.fixture
def folder(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> Iterator[RunFolder]:
    """A run that goes on: a keeper that sleeps, a command that is busy."""
    words = (sys.executable, "-c", BUSY)
    made = create(
        tmp_path / "runs",
        Spec("0" * 32, "r", "e", words, words, str(tmp_path), 1, env={}, params={}, tags={}, system_s=0.1),
    )
    keeper = subprocess.Popen(["sleep", "60"], text=True)
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, process_group=0)
    processes += [keeper, child]
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    keeping.write_json(
        str(made.path / "keeper.json"),
        {
            "keeper": keeping.identity(keeper.pid),
            "child": keeping.identity(child.pid),
            "pgid": child.pid,
            "host": os.uname().nodename,
            "started_ms": 1,
            "gpus": [],
            "attempt": 1,
        },
    )
    yield made
    os.kill(grandchild, signal.SIGKILL)


def sampler(
    folder: RunFolder, processes: list[subprocess.Popen[str]], *, before: str = "", path: str = "", every: str = "0.1"
) -> subprocess.Popen[str]:
    """The program as a keeper starts it; before: what happens in its process first."""
    program = f"{before}\nimport runpy, sys\nsys.argv = ['system', {str(folder.path)!r}, {every!r}]\n"
    program += "runpy.run_module('expdb.runners.system', run_name='__main__')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT))))}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    made = subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], env=env, stderr=subprocess.PIPE, text=True)
    processes.append(made)
    return made


def samples(folder: RunFolder) -> list[dict[str, Any]]:
    path = folder.path / "system.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < until, "waited for too long"
        time.sleep(0.02)


def test_it_samples_all_processes_of_the_run(folder: RunFolder, processes: list[subprocess.Popen[str]]) -> None:
    pytest.importorskip("psutil")
    sampler(folder, processes)
    wait_for(lambda: len(samples(folder)) >= 5)
    found = samples(folder)
    assert [one["step"] for one in found] == list(range(len(found)))
    assert all(one["time_ms"] > 1_700_000_000_000 and one["epoch"] is None for one in found)
    metrics = [one["metrics"] for one in found]
    # Its share of a machine that tests fill may be small, but it asks for all there is.
    assert max(one["system/cpu_percent"] for one in metrics) > 10
    assert all(one["system/cpu_percent"] < 100 * (os.cpu_count() or 1) + 50 for one in metrics)
    assert all(0.1 < one["system/memory_gb"] < 1 for one in metrics)


def test_it_ends_with_the_run(folder: RunFolder, processes: list[subprocess.Popen[str]]) -> None:
    pytest.importorskip("psutil")
    sampling = sampler(folder, processes)
    wait_for(lambda: bool(samples(folder)))
    (folder.path / "exit.json").write_text("{}", encoding="utf-8")
    assert sampling.wait(DEADLINE_S) == 0


def test_it_ends_with_its_keeper_however_long_it_sleeps(
    folder: RunFolder, processes: list[subprocess.Popen[str]]
) -> None:
    pytest.importorskip("psutil")
    sampling = sampler(folder, processes, every="600")
    wait_for(lambda: (folder.path / "system.jsonl").exists())
    processes[0].kill()
    # It stays a zombie until it is asked for its code, and is gone all the same.
    assert sampling.wait(DEADLINE_S) == 0


def test_without_psutil_a_line_says_so(folder: RunFolder, processes: list[subprocess.Popen[str]]) -> None:
    sampling = sampler(folder, processes, before="import sys; sys.modules['psutil'] = None")
    assert sampling.wait(DEADLINE_S) == 0
    said = (folder.path / "keeper.log").read_text(encoding="utf-8")
    assert said == (
        "system metrics: nothing is sampled: this needs psutil, which is not installed; pip install 'expdb[system]'\n"
    )
    assert not (folder.path / "system.jsonl").exists()


def test_a_full_disk_ends_only_the_sampling(folder: RunFolder, processes: list[subprocess.Popen[str]]) -> None:
    pytest.importorskip("psutil")
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (folder.path / "system.jsonl").symlink_to("/dev/full")
    assert sampler(folder, processes).wait(DEADLINE_S) == 0
    said = (folder.path / "keeper.log").read_text(encoding="utf-8")
    assert said == "system metrics: system.jsonl: No space left on device; no more is sampled\n"


# What the package of NVIDIA gives, for a machine with three GPUs, of which the second does not tell how busy it is.
NVIDIA = """
from types import SimpleNamespace
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 3
def nvmlDeviceGetHandleByIndex(n): return n
def nvmlDeviceGetUUID(n): return f"GPU-{n}abc"
def nvmlDeviceGetUtilizationRates(n):
    if n == 1: raise NVMLError
    return SimpleNamespace(gpu=10 * n)
def nvmlDeviceGetMemoryInfo(n): return SimpleNamespace(used=(n + 1) * 10**9)
"""


@pytest.mark.parametrize(
    ("chosen", "visible", "numbers"),
    [
        (["0", "2"], None, "02"),
        (["GPU-2abc"], "1", "2"),
        ([], "GPU-0", "0"),
        ([], None, "012"),
        ([], "", ""),
        ([], "2,1", "12"),
    ],
)
def test_the_gpus_are_those_the_run_sees(
    chosen: list[str], visible: str | None, numbers: str, folder: RunFolder, processes: list[subprocess.Popen[str]]
) -> None:
    pytest.importorskip("psutil")
    (folder.path / "pynvml.py").write_text(NVIDIA, encoding="utf-8")
    path = folder.path / "keeper.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    keeping.write_json(str(path), {**kept, "gpus": chosen})
    before = f"import os; os.environ['CUDA_VISIBLE_DEVICES'] = {visible!r}" if visible is not None else ""
    sampler(folder, processes, before=before, path=str(folder.path))
    wait_for(lambda: bool(samples(folder)))
    found = {key: value for key, value in samples(folder)[0]["metrics"].items() if "gpu" in key}
    wanted = {f"system/gpu_{n}_percent": 10.0 * int(n) for n in numbers if n != "1"}
    assert found == wanted | {f"system/gpu_{n}_memory_gb": int(n) + 1.0 for n in numbers}


def test_on_a_machine_with_gpus_they_are_sampled(folder: RunFolder, processes: list[subprocess.Popen[str]]) -> None:
    pytest.importorskip("psutil")
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        count = 0
    sampler(folder, processes)
    wait_for(lambda: bool(samples(folder)))
    found = samples(folder)[0]["metrics"]
    assert sum(key.endswith("_memory_gb") and "gpu" in key for key in found) == count
    assert all(0 <= value <= 100 for key, value in found.items() if "gpu" in key and key.endswith("_percent"))
