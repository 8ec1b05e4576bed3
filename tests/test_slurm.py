"""Runs on a real Slurm: a controller and two nodes on the loopback, which the fixture starts and ends."""

import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import requires
from engines import Slurm, new_run, said, slurm, until
from launched import sweep

from expdb.errors import ExpdbError, MissingExtraError, UsageError
from expdb.runners import named
from expdb.runners import slurm as runner
from expdb.runners.folder import RunFolder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    requires("slurm", find_spec("submitit"), "submitit is not installed")
    with slurm() as made:
        yield made


@pytest.fixture
def root(cluster: Slurm, tmp_path: Path) -> Iterator[Path]:
    """Where the runs of one test lie; no job of them stays."""
    yield tmp_path / "runs"
    said("scancel", "--me")
    until(lambda: said("squeue", "-h") == "", what=lambda: said("squeue"))


def started(root: Path, script: str, gpus: int = 0, name: str = "r", **options: str) -> RunFolder:
    folder = new_run(root, script, runner="slurm", gpus=gpus, name=name, options=options)
    runner.submit(folder)
    return folder


def over(folder: RunFolder, seconds: float = 30) -> None:
    until(lambda: runner.state(folder).kind in ("ended", "lost"), seconds, lambda: runner.state(folder))


def printed(folder: RunFolder, text: str, seconds: float = 20) -> None:
    def seen() -> bool:
        return folder.log_path.exists() and text in folder.log_path.read_text()

    until(seen, seconds, lambda: runner.state(folder))


def test_a_run_is_a_job_whose_output_and_ending_lie_in_its_folder(root: Path) -> None:
    folder = started(root, "echo loss 0.5; echo $COLOUR >&2; pwd; exit 3", name="net\n 1")
    over(folder)
    assert runner.state(folder).kind == "ended"
    assert folder.log_path.read_text() == f"loss 0.5\ngreen\n{root.parent}\n"
    ended, kept = folder.exit(), folder.keeper()
    assert ended and kept
    assert (ended.code, ended.signal, ended.stopped, ended.status) == (3, None, False, "failed")
    assert (kept.attempt, kept.gpus) == (1, ())
    number = runner.job_number(folder)
    assert number is not None
    until(lambda: "JobState=FAILED" in said("scontrol", "show", "job", number))
    job = said("scontrol", "show", "job", number)
    for text in ("JobName=net 1\n", "ExitCode=3:0", "Requeue=1"):
        assert text in job, job
    # The partition's, not submitit's own.
    assert "TimeLimit=00:05:00" not in job


def test_gpus_and_the_words_of_sbatch_reach_the_job(root: Path) -> None:
    words = {"cpus-per-task": "2", "time": "00:10:00", "requeue": "false", "comment": "it's mine"}
    folder = started(
        root, "echo $CUDA_VISIBLE_DEVICES $SET $SLURM_CPUS_PER_TASK", gpus=2, setup="export SET=1", **words
    )
    over(folder)
    assert folder.log_path.read_text() == "0,1 1 2\n"
    kept = folder.keeper()
    assert kept and kept.gpus == ("0", "1")
    job = said("scontrol", "show", "job", str(runner.job_number(folder)))
    for text in ("TresPerNode=gres:gpu:2", "TimeLimit=00:10:00", "Requeue=0", "Comment=it's mine", "NodeList=n1"):
        assert text in job, job


def test_a_run_without_room_waits_and_says_what_for(root: Path) -> None:
    first = started(root, "sleep 60", gpus=2)
    second = started(root, "echo never", gpus=1)
    until(lambda: runner.state(first).kind == "running", what=lambda: runner.state(first))
    assert " on n1" in runner.state(first).said
    until(lambda: "Resources" in runner.state(second).said, what=lambda: runner.state(second))
    assert runner.state(second).kind == "queued"
    runner.stop(second)
    ended = second.exit()
    assert ended and ended.stopped and ended.status == "killed" and (second.path / "stop").exists()
    assert second.keeper() is None and runner.state(second).kind == "ended"
    # What is over stays as it is.
    runner.stop(second)
    assert second.exit() == ended
    assert runner.state(first).kind == "running"


@pytest.mark.parametrize("launcher", ["true", "false"])
def test_a_stopped_run_may_tidy_up_and_leaves_its_exit_file(root: Path, launcher: str) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    folder = started(root, script, use_srun=launcher)
    printed(folder, "ready")
    runner.stop(folder)
    assert "bye" in folder.log_path.read_text()
    ended = folder.exit()
    assert ended and (ended.code, ended.stopped, ended.status) == (7, True, "killed")
    assert runner.state(folder).kind == "ended"


def test_a_run_that_does_not_want_to_end_is_made_to(root: Path) -> None:
    folder = started(root, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    printed(folder, "ready")
    began = time.monotonic()
    runner.stop(folder, force=True)
    assert time.monotonic() - began < 5
    ended = folder.exit()
    assert ended and (ended.signal, ended.stopped) == (9, True)


def test_a_command_killed_on_its_node_is_killed_here(root: Path) -> None:
    folder = started(root, "kill -9 $$")
    over(folder)
    ended = folder.exit()
    assert ended and (ended.code, ended.signal, ended.status) == (137, 9, "killed")
    assert runner.state(folder).kind == "ended"


def test_a_lost_node_makes_a_second_attempt_on_another(root: Path, cluster: Slurm) -> None:
    folder = started(root, 'echo on $SLURMD_NODENAME; [ "$SLURM_RESTART_COUNT" ] || sleep 60', nodelist="n2")
    printed(folder, "on n2")
    number = str(runner.job_number(folder))
    cluster.lose_node("n2")
    try:
        until(lambda: runner.state(folder).kind == "queued", what=lambda: runner.state(folder))
        assert "attempt 2" in runner.state(folder).said
        # Slurm lets two minutes pass before it tries again, and the node was asked for by name.
        said("scontrol", "update", f"jobid={number}", "starttime=now", "nodelist=")
        over(folder)
    finally:
        cluster.start_node("n2")
        until(lambda: "n2 idle" in said("sinfo", "-h", "-N", "-o", "%N %T"), what=cluster.log)
    ended, kept = folder.exit(), folder.keeper()
    assert ended and kept
    assert (ended.code, ended.attempt, kept.attempt) == (0, 2, 2)
    assert folder.log_path.read_text() == "on n1\n"
    assert (folder.path / "stdout.1.log").read_text() == "on n2\n"


def test_a_requeued_run_is_not_over_although_its_first_attempt_was_killed(root: Path) -> None:
    folder = started(root, 'echo $SLURM_RESTART_COUNT; [ "$SLURM_RESTART_COUNT" ] || sleep 60')
    until(lambda: folder.keeper() and runner.state(folder).kind == "running", what=lambda: runner.state(folder))
    number = str(runner.job_number(folder))
    said("scontrol", "requeue", number)
    until(lambda: folder.exit() is not None)
    # On a busy machine the controller takes its time to put it back.
    until(lambda: runner.state(folder).kind == "queued", 180, what=lambda: runner.state(folder))
    assert "attempt 2" in runner.state(folder).said
    ended = folder.exit()
    assert ended and (ended.signal, ended.attempt) == (15, 1)
    said("scontrol", "update", f"jobid={number}", "starttime=now")
    until(lambda: (now := folder.exit()) is not None and now.attempt == 2, what=lambda: runner.state(folder))
    assert runner.state(folder).kind == "ended" and folder.log_path.read_text() == "1\n"


def test_a_job_whose_keeper_was_killed_is_lost(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "VISIBLE_S", 1.0)
    folder = started(root, "kill -9 $PPID; sleep 60")
    over(folder)
    assert runner.state(folder).kind == "lost"
    assert folder.exit() is None


def test_the_signal_before_the_time_limit_reaches_who_wants_it_and_ends_nobody(root: Path) -> None:
    waiting = "echo ready; while ! [ -e $EXPDB_RUN/go ]; do sleep 0.05; done; echo end"
    handler = "import signal; signal.signal(signal.SIGUSR2, lambda *_: print('saved')); print('ready'); signal.pause()"
    handling, ignoring = started(root, f'exec {sys.executable} -c "{handler}"'), started(root, waiting)
    for folder in (handling, ignoring):
        printed(folder, "ready")
        said("scancel", "--signal=USR2", str(runner.job_number(folder)))
    printed(handling, "saved")
    for folder in (handling, ignoring):
        (folder.path / "go").touch()
        over(folder)
        ended = folder.exit()
        assert ended and ended.status == "finished"
    assert handling.log_path.read_text() == "ready\nsaved\n"
    assert ignoring.log_path.read_text() == "ready\nend\n"


@pytest.mark.soak
def test_a_run_at_its_time_limit_is_asked_to_end_and_says_why(root: Path) -> None:
    folder = started(root, "while :; do sleep 0.1; done", time="1")
    over(folder, 180)
    found, ended = runner.state(folder), folder.exit()
    assert found.kind == "ended" and "its time limit was reached" in found.said
    assert ended and (ended.signal, ended.stopped, ended.status) == (15, False, "killed")


def test_a_worker_that_cannot_start_says_why(root: Path) -> None:
    folder = started(root, "echo never", python="/nowhere/python")
    over(folder)
    found = runner.state(folder)
    assert found.kind == "lost" and "/nowhere/python" in found.said


def test_what_slurm_refuses_is_said_with_what_to_do(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExpdbError, match=r"Slurm refuses the job: .*invalid partition") as refused:
        started(root, "true", partition="nope")
    assert refused.value.hint and "sinfo" in refused.value.hint
    with pytest.raises(ExpdbError, match="Requested node configuration is not available"):
        started(root, "true", gpus=9)
    with pytest.raises(ExpdbError, match=r"unrecognized option '--no-such-word"):
        started(root, "true", no_such_word="1")
    for key, value in (("array", "0-3"), ("requeue", "perhaps"), ("comment", "a\nb"), ("signal-delay-s", "x")):
        with pytest.raises(UsageError):
            runner.submit(new_run(root, "true", runner="slurm", options={key: value}))
    assert capfd.readouterr() == ("", "")


def test_a_controller_that_is_away_loses_no_run(root: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = started(root, "while ! [ -e $EXPDB_RUN/go ]; do sleep 0.05; done")
    until(lambda: folder.keeper() and runner.state(folder).kind == "running")
    cluster.pause_controller()
    try:
        monkeypatch.setenv("SLURM_CONF", str(quick_to_give_up(cluster)))
        runner.queue().asked_s = float("-inf")
        found = runner.state(folder)
        assert found.kind == "running" and "Slurm does not answer" in found.said
        with pytest.raises(ExpdbError, match="Slurm does not answer"):
            started(root, "true")
        with pytest.raises(ExpdbError, match="Slurm does not answer"):
            runner.stop(folder)
    finally:
        monkeypatch.undo()
        (folder.path / "go").touch()
        cluster.start_controller()
        runner.queue().asked_s = float("-inf")
    over(folder)
    assert runner.state(folder).kind == "ended"


def quick_to_give_up(cluster: Slurm) -> Path:
    """The cluster's configuration for clients that wait a second only."""
    path = cluster.home / "quick.conf"
    path.write_text((cluster.home / "slurm.conf").read_text() + "MessageTimeout=2\n")
    return path


def test_the_number_of_a_job_is_known_although_its_launcher_was_killed(root: Path) -> None:
    folder = started(root, "sleep 0.5", begin="now+2")
    number = runner.job_number(folder)
    (folder.path / "job.json").unlink()
    assert runner.state(folder).kind == "queued"
    until(lambda: folder.keeper() is not None)
    assert runner.job_number(folder) == number
    over(folder)


def test_a_run_that_was_stopped_before_its_number_was_known_does_not_start(root: Path) -> None:
    folder = started(root, "echo never", begin="now+2")
    number = str(runner.job_number(folder))
    (folder.path / "job.json").unlink()
    runner.stop(folder)
    assert runner.state(folder).kind == "ended"
    until(lambda: "JobState=FAILED" in said("scontrol", "show", "job", number))
    assert not folder.log_path.exists()


def test_a_run_that_was_stopped_can_be_handed_over_again(root: Path) -> None:
    folder = started(root, "echo $EXPDB_RUN_UID; [ -e $EXPDB_RUN/stdout.1.log ] || sleep 60")
    printed(folder, folder.uid)
    runner.stop(folder)
    runner.submit(folder)
    assert runner.state(folder).kind in ("queued", "running")
    over(folder)
    ended = folder.exit()
    assert ended and (ended.code, ended.stopped, ended.attempt) == (0, False, 2)


def test_without_submitit_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError) as refused:
        runner.submit(new_run(tmp_path / "runs", "true", runner="slurm"))
    assert refused.value.hint == "pip install 'expdb[slurm]'"


def test_a_machine_without_slurm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requires("slurm", find_spec("submitit"), "submitit is not installed")
    folder = new_run(tmp_path / "runs", "true", runner="slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExpdbError, match="there is no Slurm here") as refused:
        named("slurm").submit(folder)
    assert refused.value.hint and "login node" in refused.value.hint


def test_a_sweep_gives_the_same_table_as_on_this_machine(root: Path, tmp_path: Path) -> None:
    here = sweep(tmp_path, "here")
    there = sweep(tmp_path, "there", "--runner", "slurm")
    assert there == here
