"""Runs on a real Ray cluster: two nodes on the loopback, which the fixture starts and ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Ray, kill, new_run, ray, until
from launched import sweep

from expdb.errors import ExpdbError, MissingExtraError, UsageError
from expdb.runners import keeper as keeping
from expdb.runners import named
from expdb.runners import ray as runner
from expdb.runners.folder import RunFolder


@pytest.fixture(scope="module")
def engine() -> Iterator[Ray]:
    with ray() as made:
        yield made
        runner.cluster(made.address).close()


@pytest.fixture
def root(engine: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the runs of one test lie; no worker of them stays."""
    monkeypatch.setenv("RAY_ADDRESS", engine.address)
    runs = tmp_path / "runs"
    yield runs
    at = runner.cluster(engine.address)
    for uid in at.ask("look")["workers"]:
        at.ask("kill", uid=uid, force=True)
    until(lambda: at.ask("look")["workers"] == [])


def started(root: Path, script: str, gpus: int = 0, **options: str) -> RunFolder:
    folder = new_run(root, script, runner="ray", gpus=gpus, options=options)
    runner.submit(folder)
    return folder


def over(folder: RunFolder, seconds: float = 30) -> None:
    until(lambda: runner.state(folder).kind in ("ended", "lost"), seconds, lambda: runner.state(folder))


def printed(folder: RunFolder, text: str, seconds: float = 30) -> None:
    def seen() -> bool:
        return folder.log_path.exists() and text in folder.log_path.read_text()

    until(seen, seconds, lambda: runner.state(folder))


def test_a_sweep_gives_the_same_table_as_on_this_machine(root: Path, tmp_path: Path) -> None:
    here = sweep(tmp_path, "here")
    there = sweep(tmp_path, "there", "--runner", "ray")
    assert there == here


def test_runs_are_spread_over_the_nodes_and_end_in_their_folders(root: Path) -> None:
    folders = [started(root, f"echo loss {n} $COLOUR; sleep 0.3; exit {n}") for n in range(6)]
    for n, folder in enumerate(folders):
        over(folder)
        ended, kept = folder.exit(), folder.keeper()
        assert ended and kept
        assert folder.log_path.read_text() == f"loss {n} green\n"
        assert (ended.code, ended.signal, ended.stopped, ended.attempt) == (n, None, False, 1)
        assert runner.state(folder).kind == "ended" and kept.gpus == ()
    nodes = {str(keeping.read_json(str(folder.path / "job.json"))["node"]) for folder in folders}
    assert len(nodes) == 2
    at = runner.cluster(os.environ["RAY_ADDRESS"])
    # A run that has ended holds no place.
    until(lambda: at.view().workers == frozenset() and at.view().free.get("CPU") == 4, what=at.view)


def test_a_run_sees_the_gpus_it_asked_for_and_the_next_waits(root: Path) -> None:
    first = started(root, "echo [$CUDA_VISIBLE_DEVICES]; sleep 60", gpus=2)
    printed(first, "[0,1]")
    kept = first.keeper()
    assert kept and kept.gpus == ("0", "1")
    second, impossible = started(root, "echo never", gpus=1), started(root, "echo never", gpus=9, memory="1.5G")
    until(lambda: runner.state(second).said == "waits for 1 CPU (free: 3), 1 GPU (free: 0)", 5)
    assert runner.state(impossible).said == "waits: no node has 9 GPU (at most 2 GPU)"
    for waiting in (second, impossible):
        assert runner.state(waiting).kind == "queued"
        runner.stop(waiting)
        ended = waiting.exit()
        assert ended and ended.stopped and ended.status == "killed" and (waiting.path / "stop").exists()
        assert runner.state(waiting).kind == "ended" and waiting.keeper() is None
    assert runner.state(first).kind == "running"


def test_a_stopped_run_may_tidy_up_and_leaves_its_exit_file(root: Path) -> None:
    folder = started(root, "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    printed(folder, "ready")
    runner.stop(folder)
    ended = folder.exit()
    assert ended and (ended.code, ended.stopped, ended.status) == (7, True, "killed")
    assert folder.log_path.read_text().endswith("bye\n")
    assert runner.state(folder).kind == "ended"
    # What is over stays as it is.
    runner.stop(folder)
    assert folder.exit() == ended


def test_a_run_that_does_not_want_to_end_is_made_to(root: Path) -> None:
    folder = started(root, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    printed(folder, "ready")
    began = time.monotonic()
    runner.stop(folder, force=True)
    assert time.monotonic() - began < 5
    ended = folder.exit()
    assert ended and (ended.signal, ended.stopped) == (9, True)


def test_a_lost_node_makes_a_second_attempt_on_another(root: Path, engine: Ray) -> None:
    # Only the second node has GPUs; the attempt after it must wait for one in its place.
    folder = started(root, "echo pid $$; [ -e $EXPDB_RUN/stdout.1.log ] || sleep 60", gpus=1)
    printed(folder, "pid ")
    first = folder.keeper()
    assert first and first.attempt == 1
    engine.tell("lose")
    until(lambda: runner.state(folder).kind == "queued", what=lambda: runner.state(folder))
    found = runner.state(folder).said
    assert "was lost; attempt 2 waits" in found and "no node has 1 GPU" in found
    # The node's processes are still here, but not those of the run.
    until(lambda: not keeping.alive(first.child.pid, first.child.start))
    engine.tell("add")
    over(folder)
    ended, kept = folder.exit(), folder.keeper()
    assert ended and kept and (ended.code, ended.attempt, kept.attempt) == (0, 2, 2)
    assert (folder.path / "stdout.1.log").read_text() == f"pid {first.child.pid}\n"
    assert folder.log_path.read_text() == f"pid {kept.child.pid}\n"


def test_a_killed_worker_takes_its_run_with_it_and_is_tried_again(root: Path) -> None:
    script = "trap 'sleep 1; exit 1' TERM; echo pid $$; n=0; while [ $n -lt 20 ]; do n=$((n+1)); sleep 0.1; done"
    folder = started(root, script)
    printed(folder, "pid ")
    first = folder.keeper()
    assert first is not None
    kill([parent(parent(first.keeper.pid))])
    until(lambda: (now := folder.keeper()) is not None and now.attempt == 2, 20, lambda: runner.state(folder))
    assert not keeping.alive(first.child.pid, first.child.start)
    assert runner.state(folder).kind == "running"
    over(folder)
    ended = folder.exit()
    assert ended and (ended.code, ended.attempt) == (0, 2)


def test_without_retries_a_killed_worker_is_the_end(root: Path) -> None:
    folder = started(root, "echo ready; sleep 60", retries="0")
    printed(folder, "ready")
    kept = folder.keeper()
    assert kept is not None
    kill([parent(parent(kept.keeper.pid))])
    over(folder)
    ended = folder.exit()
    assert runner.state(folder).kind == "ended" and ended and (ended.signal, ended.status) == (15, "killed")


def test_a_run_whose_keeper_was_killed_is_lost_and_its_command_gone(root: Path) -> None:
    folder = started(root, "echo ready; sleep 60")
    printed(folder, "ready")
    kept = folder.keeper()
    assert kept is not None
    kill([kept.keeper.pid])
    over(folder)
    assert runner.state(folder).kind == "lost" and folder.exit() is None
    assert not keeping.alive(kept.child.pid, kept.child.start)


def test_a_run_goes_on_when_who_started_it_is_killed(root: Path) -> None:
    folder = new_run(root, "echo ready; sleep 2; echo done", runner="ray")
    text = (
        "import sys, time; from pathlib import Path; from expdb.runners import ray; from expdb.runners.folder import "
    )
    text += "RunFolder; ray.submit(RunFolder(Path(sys.argv[1]))); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text, str(folder.path)]) as starter:
        printed(folder, "ready")
        kill([starter.pid])
    assert runner.state(folder).kind == "running"
    over(folder)
    assert folder.log_path.read_text() == "ready\ndone\n"


def test_a_run_that_was_handed_over_needs_no_clerk_and_a_killed_one_is_replaced(root: Path) -> None:
    folder = started(root, "echo ready; sleep 60")
    process = runner.cluster(os.environ["RAY_ADDRESS"]).process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    printed(folder, "ready")
    assert runner.state(folder).kind == "running"
    runner.stop(folder)
    assert runner.state(folder).kind == "ended"


def test_a_node_that_does_not_see_the_folder_is_named_as_the_reason(root: Path) -> None:
    folder = new_run(root, "echo never", runner="ray", options={"resources": "head=1"})
    elsewhere = RunFolder(folder.path.rename(root / f"{'0' * 31}1"))
    at = runner.cluster(os.environ["RAY_ADDRESS"])
    at.ask("submit", uid=elsewhere.uid, folder=str(folder.path), scripts="/nowhere", asks={"num_cpus": 1})
    keeping.write_json(str(elsewhere.path / "job.json"), {"engine": "ray", "id": elsewhere.uid, "address": at.address})
    over(elsewhere)
    found = runner.state(elsewhere)
    assert found.kind == "lost" and f"does the node see {elsewhere.path}?" in found.said


def test_a_run_that_was_stopped_can_be_handed_over_again(root: Path) -> None:
    folder = started(root, "echo $EXPDB_RUN_UID; [ -e $EXPDB_RUN/stdout.1.log ] || sleep 60")
    printed(folder, folder.uid)
    runner.stop(folder)
    runner.submit(folder)
    assert runner.state(folder).kind in ("queued", "running")
    over(folder)
    ended = folder.exit()
    assert ended and (ended.code, ended.stopped, ended.attempt) == (0, False, 2)


def test_options_that_are_none_are_refused_in_words(tmp_path: Path) -> None:
    for key, value, said in (
        ("partition", "main", "no option 'partition'"),
        ("num-cpus", "many", "'many' is no number"),
        ("retries", "-1", "'-1' is no number"),
        ("memory", "much", "'much' is no size"),
    ):
        with pytest.raises(UsageError, match=said):
            runner.submit(new_run(tmp_path / "runs", "true", runner="ray", options={key: value}))


def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    folder = new_run(tmp_path / "runs", "true", runner="ray", options={"address": "127.0.0.1:9"})
    began = time.monotonic()
    with pytest.raises(ExpdbError, match=r"no Ray cluster can be reached at 127\.0\.0\.1:9") as refused:
        named("ray").submit(folder)
    assert refused.value.hint and "ray start --head" in refused.value.hint
    assert time.monotonic() - began < 20
    assert runner.state(folder).kind == "queued"


def test_without_ray_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError) as refused:
        runner.submit(new_run(tmp_path / "runs", "true", runner="ray"))
    assert refused.value.hint == "pip install 'expdb[ray]'"


def test_a_cluster_that_goes_away_ends_its_runs_and_holds_nobody_up(engine: Ray, tmp_path: Path) -> None:
    # The last test: the cluster does not come back.
    script = "echo ready; while :; do sleep 0.1; done"
    folder = new_run(tmp_path / "runs", script, runner="ray", options={"address": engine.address})
    runner.submit(folder)
    printed(folder, "ready")
    engine.lose()
    began = time.monotonic()
    over(folder, 40)
    ended = folder.exit()
    assert ended and (ended.signal, ended.stopped) == (15, False)
    assert runner.state(folder).kind == "ended"
    again = new_run(tmp_path / "runs", script, runner="ray", options={"address": engine.address})
    with pytest.raises(ExpdbError, match="no Ray cluster can be reached"):
        runner.submit(again)
    assert time.monotonic() - began < 40


def parent(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
