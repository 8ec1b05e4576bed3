"""GPUs and CPU slots of a machine, with real locks and real processes; what CUDA_VISIBLE_DEVICES names stands for the
GPUs of a machine that has none."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from expdb.errors import InputError, UsageError
from expdb.runners import local, slots
from expdb.runners.folder import RunFolder, Spec, create


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Return as soon as it holds; fail when it does not for that long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.003)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, str]:
    """The variables of a machine with two GPUs."""
    return {"CUDA_VISIBLE_DEVICES": "0,1", "EXPDB_LOCKS": str(tmp_path / "locks")}


@pytest.fixture
def run(tmp_path: Path, two: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A run that wants a GPU of that machine and does nothing with it for a minute."""
    for name, value in two.items():
        monkeypatch.setenv(name, value)
    command = ("sh", "-c", 'echo "$CUDA_VISIBLE_DEVICES"; exec sleep 60')
    spec = Spec(uuid.uuid4().hex, "a", "e", command, command, str(tmp_path), 0, {}, {}, {}, gpus=1)
    made = create(tmp_path / "runs", spec)
    yield made
    local.stop(made, force=True)


def free(environ: dict[str, str]) -> int:
    """How many GPUs nobody has."""
    count = 0
    while lease := slots.acquire(count + 1, environ):
        lease.close()
        count += 1
        if count == len(slots.gpus(environ)):
            break
    return count


def test_the_gpus_are_those_that_the_variable_names() -> None:
    for said, seen in (
        ("0,1", ("0", "1")),
        (" 2 , 0,", ("2", "0")),
        ("3,3", ("3",)),
        ("GPU-8932f937-d72c,MIG-GPU-1/2/0", ("GPU-8932f937-d72c", "MIG-GPU-1/2/0")),
    ):
        assert slots.gpus({"CUDA_VISIBLE_DEVICES": said}) == seen


def test_without_the_variable_each_device_file_is_one_gpu() -> None:
    files = [one for one in Path("/dev").iterdir() if one.name.removeprefix("nvidia").isdecimal()]
    assert slots.gpus({}) == slots.gpus({"CUDA_VISIBLE_DEVICES": ""}) == tuple(str(n) for n in range(len(files)))


def test_each_gpu_is_given_once_and_all_that_are_asked_for_or_none(two: dict[str, str]) -> None:
    with slots.acquire(1, two) or pytest.fail("none is free") as first:
        assert first.ids == ("0",)
        assert slots.acquire(2, two) is None
        with slots.acquire(1, two) or pytest.fail("none is free") as second:
            assert second.ids == ("1",)
            assert slots.acquire(1, two) is None
        assert free(two) == 1
    assert free(two) == 2
    assert slots.acquire(3, two) is None


def test_no_gpu_is_always_free(two: dict[str, str]) -> None:
    lease = slots.acquire(0, two)
    assert lease is not None
    assert (lease.ids, lease.fds) == ((), ())


def test_processes_that_ask_at_once_each_get_their_own(two: dict[str, str], tmp_path: Path) -> None:
    script = (
        "import sys; from expdb.runners import slots; sys.stdin.readline(); lease = slots.acquire(2)\n"
        "print(lease.ids if lease else None, flush=True); sys.stdin.readline()"
    )
    environ = os.environ | two | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5"}
    words = [sys.executable, "-c", script]
    asking = [
        subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(5)
    ]
    for one in asking:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = []
    for one in asking:
        assert one.stdout is not None
        said.append(one.stdout.readline().strip())
    for one in asking:
        one.communicate("end\n")
    assert sorted(said) == ["('0', '1')", "('2', '3')", "('4', '5')", "None", "None"]


def test_a_run_has_its_gpu_until_it_ends_wherever_the_lease_was_closed(run: RunFolder, two: dict[str, str]) -> None:
    local.submit(run)
    assert free(two) == 1
    until(lambda: run.log_path.read_text() == "0\n")
    keeper = run.keeper()
    assert keeper is not None
    assert keeper.gpus == ("0",)
    os.kill(keeper.keeper.pid, signal.SIGKILL)
    time.sleep(0.05)
    assert free(two) == 1, "the command still computes"
    os.kill(keeper.child.pid, signal.SIGKILL)
    until(lambda: free(two) == 2)


def test_a_gpu_is_free_again_when_its_run_has_ended(run: RunFolder, two: dict[str, str]) -> None:
    local.submit(run)
    local.stop(run, force=True)
    until(lambda: free(two) == 2)


def test_a_run_that_finds_no_gpu_free_is_not_started(run: RunFolder, two: dict[str, str]) -> None:
    with (
        slots.acquire(2, two) or pytest.fail("none is free"),
        pytest.raises(UsageError, match="1 GPUs are not free now, of 2 here"),
    ):
        local.submit(run)
    assert run.state().kind == "queued"


def test_a_gpu_on_which_others_compute_is_passed_over(
    two: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '0, 20000\\n1, 400\\n2, [N/A]\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert slots.used_by_program() == {0: 20000 << 20, 1: 400 << 20}
    assert slots.busy(slots.used_by_program()) == {"0"}
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    began = time.monotonic()
    assert slots.used_by_program(0.1) == {}
    assert time.monotonic() - began < 2
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert slots.used_by_program() == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slots.used_by_program() == {}


def test_the_folder_of_the_locks_must_be_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    assert slots.lock_folder({"EXPDB_LOCKS": str(folder)}) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for one in (folder, link):
        with pytest.raises(InputError, match="only you may write to"):
            slots.acquire(1, {"CUDA_VISIBLE_DEVICES": "0", "EXPDB_LOCKS": str(one)})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        slots.lock_folder({"EXPDB_LOCKS": str(tmp_path / "file" / "locks")})


def test_two_shells_of_one_person_lock_in_the_same_folder(tmp_path: Path) -> None:
    assert slots.lock_folder({}) == slots.lock_folder({"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})


def test_cpu_slots_are_the_cores_one_may_use_or_what_was_said() -> None:
    words = [sys.executable, "-c", "from expdb.runners import slots; print(slots.cpu_slots({}))"]
    if hasattr(os, "sched_getaffinity"):
        core = min(os.sched_getaffinity(0))
        done = subprocess.run(["taskset", "-c", str(core), *words], capture_output=True, text=True, check=True)
        assert done.stdout == "1\n"
    assert slots.cpu_slots({"EXPDB_SLOTS": "7"}) == 7
    for wrong in ("0", "-1", "two"):
        with pytest.raises(UsageError, match="EXPDB_SLOTS"):
            slots.cpu_slots({"EXPDB_SLOTS": wrong})
