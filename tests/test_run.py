"""`expdb run` with real processes: what is shown, what is stored, and what survives whom."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from drills import curve, environment
from launched import begin, command, expdb, idle, points, project, run_folder, runs, said, until

from expdb import launch
from expdb import open as results_in
from expdb.runners import local
from expdb.runners.folder import create
from expdb.store.sqlite import SqliteDatabase as Database


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return project(tmp_path)


# One run --------------------------------------------------------------------------------------------------------------


def test_a_command_is_run_its_log_shown_and_its_points_stored(lab: Path) -> None:
    done = expdb("run", *command("--lr", "0.5"), cwd=lab)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "epoch 1, loss 0.6667, test accuracy 0.9167\n"
        "epoch 2, loss 0.5000, test accuracy 0.9375\n"
        "epoch 3, loss 0.4000, test accuracy 0.9500\n"
    )
    assert "train" in done.stderr
    assert "finished after" in done.stderr
    (run,) = runs(lab).values()
    assert (run.name, run.experiment, run.origin, run.status) == ("train", "lab", "launch", "finished")
    assert points(run) == {"train/loss": 3, "test/accuracy": 3}
    assert run.started_ms is not None
    assert run.ended_ms is not None
    assert run.started_ms <= run.ended_ms


def test_the_exit_code_is_the_commands_own(lab: Path) -> None:
    assert expdb("run", *command("--fail", "3"), cwd=lab).returncode == 3
    assert [run.status for run in runs(lab).values()] == ["failed"]


def test_a_command_that_does_not_exist_is_told_in_one_line(lab: Path) -> None:
    done = expdb("run", "--", "no-such-command-anywhere", "--lr", "1", cwd=lab)
    assert done.returncode == 127
    assert done.stderr.count("\n") == 1
    assert "no-such-command-anywhere" in done.stderr
    assert [run.status for run in runs(lab).values()] == ["failed"]


def test_both_streams_come_in_order(lab: Path) -> None:
    code = "import os\nfor n in range(50): os.write(1 + n % 2, f'line {n}\\n'.encode())"
    done = expdb("run", "--", sys.executable, "-c", code, cwd=lab)
    assert done.stdout == "".join(f"line {n}\n" for n in range(50))


def test_what_is_piped_in_is_the_commands_input(lab: Path) -> None:
    done = expdb("run", "--", "cat", cwd=lab, input="epoch 1 loss 0.5\nepoch 2 loss 0.25\n")
    assert done.stdout == "epoch 1 loss 0.5\nepoch 2 loss 0.25\n"
    (run,) = runs(lab).values()
    assert points(run) == {"train/loss": 2}


def test_params_and_tags_are_kept_and_fill_the_command(lab: Path) -> None:
    words = ("-e", "warm", "--name", "first", "-s", "lr=0.5", "-t", "who=me")
    done = expdb("run", *words, *command("--epochs", "1"), cwd=lab)
    assert done.returncode == 0, done.stderr
    run = runs(lab)["first"]
    assert run.experiment == "warm"
    assert run.params["lr"] == "0.5"
    assert run.params["epochs"] == "1"
    assert run.tags["who"] == "me"
    assert said(run_folder(lab, run) / "spec.json")["command"][-2:] == ["--lr", "0.5"]


def test_points_can_be_asked_for_while_it_runs(lab: Path) -> None:
    running = begin(*command("--epochs", "40", "--wait", "0.25"), cwd=lab)
    try:
        until(lambda: any(points(run).get("train/loss", 0) >= 3 for run in runs(lab).values()), "three points")
        assert [run.status for run in runs(lab).values()] == ["running"]
        live = expdb("ls", "--live", cwd=lab).stdout
        assert "train" in live
        assert "running" in live
    finally:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert "epoch 1" in out
    assert "stopped" in err
    assert "stopped" in expdb("ls", cwd=lab).stdout or [run.status for run in runs(lab).values()] == ["killed"]


def test_ctrl_c_reaches_the_command_as_without_expdb(lab: Path) -> None:
    code = (
        "import time\ntry:\n    print('epoch 1 loss 0.5')\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('saved')\n    raise SystemExit(7)"
    )
    running = begin("--", sys.executable, "-c", code, cwd=lab)
    assert running.stdout is not None
    assert running.stdout.readline() == "epoch 1 loss 0.5\n"
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=20)
    assert out == "saved\n"
    assert running.returncode == 7
    assert [run.status for run in runs(lab).values()] == ["killed"]


def test_a_reader_of_the_pipe_that_goes_away_does_not_end_the_run(lab: Path) -> None:
    running = begin(*command("--epochs", "8", "--wait", "0.1"), cwd=lab)
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    running.stdout = None
    running.communicate(timeout=20)
    assert running.returncode == 0
    (run,) = runs(lab).values()
    assert points(run)["train/loss"] == 8


def test_a_long_log_is_read_on_and_ends_as_it_would_be_read_whole(lab: Path) -> None:
    code = (
        "import time\n"
        "for e in range(1, 6):\n"
        "    for i in range(1, 501):\n"
        "        print(f'Epoch: [{e}][{i}/500]  loss {1 / (e * i):.4f} ({1 / e:.4f})  acc {i / 5:.1f}%')\n"
        "    print(f' * epoch {e} test accuracy {e * 10:.1f}%')\n"
        "    time.sleep(0.7)\n"
    )
    done = expdb("run", "--name", "long", "--", sys.executable, "-c", code, cwd=lab)
    assert done.returncode == 0, done.stderr
    log = run_folder(lab, runs(lab)["long"]) / "stdout.log"
    copy = lab / "copy.log"
    copy.write_bytes(log.read_bytes())
    expdb("ingest", copy, "--copy", cwd=lab)
    live, whole = runs(lab)["long"], runs(lab)["copy"]
    with Database(lab / "runs" / "expdb.db") as database:
        assert points(live) == points(whole)
        for metric in points(whole):
            assert curve(database, live, metric) == curve(database, whole, metric)


def test_two_trainings_in_one_command_are_two_runs_one_below_the_other(lab: Path) -> None:
    code = "for fold in (1, 2):\n    for e in range(1, 6):\n        print(f'epoch {e} loss {fold / e:.3f}')"
    expdb("run", "--name", "folds", "--", sys.executable, "-c", code, cwd=lab)
    found = runs(lab)
    assert {name: points(run) for name, run in found.items()} == {
        "folds": {"train/loss": 5},
        "folds (2)": {"train/loss": 5},
    }
    assert {run.status for run in found.values()} == {"finished"}
    shown = expdb("show", "folds (2)", cwd=lab).stdout
    assert f"\nbelow      folds {found['folds'].uid[:8]}\n" in shown
    assert f"\nfolder     runs/{found['folds'].uid}\n" in shown
    assert expdb("diff", "folds", "folds (2)", cwd=lab).stderr == ""


def test_show_tells_what_ran_a_run_when_and_where(lab: Path) -> None:
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=lab, check=True)
    (lab / "train.py").write_text((lab / "train.py").read_text() + "# changed\n")
    expdb("run", "-t", "by=me", "-s", "lr=0.1,0.2", *command("--fail", "3"), cwd=lab)
    shown = expdb("show", "@1", cwd=lab).stdout
    (run,) = (one for one in runs(lab).values() if one.uid in shown)
    facts = dict(line.split(None, 1) for line in shown.replace("exit code", "exit_code").splitlines()[:12])
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=lab, stdout=subprocess.PIPE, encoding="utf-8").stdout
    assert facts["status"] == "failed, launched"
    assert "took 0:0" in facts["started"]
    assert facts["command"].startswith(f"{sys.executable} train.py --fail 3")
    assert facts["in"] == str(lab)
    assert (facts["exit_code"], facts["host"]) == ("3", socket.gethostname())
    assert facts["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert facts["commit"] == f"{commit[:12]} and changes"
    assert facts["folder"] == f"runs/{run.uid}"
    assert "expdb.plan" in run.tags
    assert "expdb.plan" not in shown
    assert "tag        by = me\n" in shown


def test_what_two_runs_print_alike_is_each_ones_own(lab: Path) -> None:
    for _ in range(2):
        assert expdb("run", *command(), cwd=lab).returncode == 0
    assert {name: points(run)["train/loss"] for name, run in runs(lab).items()} == {"train": 3, "train (2)": 3}
    again = expdb("ingest", "runs", cwd=lab)
    assert len(runs(lab)) == 2, again.stdout


def test_options_of_the_command_belong_behind_two_dashes(lab: Path) -> None:
    done = expdb("run", sys.executable, "train.py", "--lr", "1", cwd=lab)
    assert done.returncode == 2
    assert "belong behind `--`: expdb run -- " in done.stderr
    assert "behind `--`" not in expdb("run", "--nonsense", *command(), cwd=lab).stderr
    assert expdb("run", cwd=lab).returncode == 2
    assert runs(lab) == {}


# The queue ------------------------------------------------------------------------------------------------------------


def test_a_detached_run_goes_on_by_itself_and_can_be_attached(lab: Path) -> None:
    done = expdb("run", "--detach", *command("--epochs", "30", "--wait", "0.2"), cwd=lab)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("queued train")
    assert "train" in expdb("queue", cwd=lab).stdout
    shown = expdb("attach", "train", cwd=lab)
    assert shown.returncode == 0
    assert shown.stdout.count("epoch ") == 30
    (run,) = runs(lab).values()
    assert (run.status, points(run)["train/loss"]) == ("finished", 30)
    until(lambda: idle(lab), "an empty queue")
    assert expdb("queue", cwd=lab).stdout == "nothing waits or runs\n"
    assert expdb("queue", "--format", "json", cwd=lab).stdout.startswith("{")


def test_a_run_that_waits_and_one_that_runs_are_stopped(lab: Path) -> None:
    env = environment(EXPDB_SLOTS="1")
    for name in ("first", "second"):
        expdb("run", "--detach", "--name", name, *command("--epochs", "100", "--wait", "0.2"), cwd=lab, env=env)
    until(lambda: points(runs(lab)["first"]).get("train/loss", 0) > 1, "points")
    assert runs(lab)["second"].status == "scheduled"
    done = expdb("stop", "second", "first", cwd=lab)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stopped") == 2
    until(lambda: idle(lab), "an empty queue")
    assert {run.status for run in runs(lab).values()} == {"killed"}
    assert points(runs(lab)["second"]) == {}


def test_two_hundred_short_commands_go_through_one_queue(lab: Path) -> None:
    done = expdb(
        *("run", "-s", "n=1..200", "--", sys.executable, "-S", "-c", "print('epoch 1 loss 0.5')", "{n}"),
        cwd=lab,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = runs(lab)
    assert len(found) == 200
    assert {run.status for run in found.values()} == {"finished"}
    assert all(points(run) == {"train/loss": 1} for run in found.values())


def test_gpus_are_given_out_one_each(lab: Path, tmp_path: Path) -> None:
    env = environment(CUDA_VISIBLE_DEVICES="0,1", EXPDB_LOCKS=str(tmp_path / "locks"))
    code = "import os, time; print('gpu', os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0.6)"
    done = expdb("run", "-s", "n=1..4", "--", sys.executable, "-c", code, "{n}", cwd=lab, env=env)
    assert done.returncode == 0, done.stderr
    keepers = [said(run_folder(lab, run) / "keeper.json") for run in runs(lab).values()]
    logs = [(run_folder(lab, run) / "stdout.log").read_text() for run in runs(lab).values()]
    assert sorted(logs) == ["gpu 0\n", "gpu 0\n", "gpu 1\n", "gpu 1\n"]
    for gpu in ("0", "1"):
        first, second = sorted(one["started_ms"] for one in keepers if one["gpus"] == [gpu])
        assert second - first >= 500


# Sweeps ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_is_shown_run_compared_and_not_run_again(lab: Path) -> None:
    words = ("run", "-s", "lr=0.1,0.5", "-s", "width=4,8", "--seeds", "0..2", *command())
    done = expdb(*words, cwd=lab)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to run") == 12
    assert "best(test/accuracy)" in done.stdout
    found = runs(lab)
    assert len(found) == 12
    assert all(points(run) == {"train/loss": 3, "test/accuracy": 3} for run in found.values())
    assert {run.seed for run in found.values()} == {0, 1, 2}
    again = expdb(*words, cwd=lab)
    assert again.returncode == 0
    assert again.stdout.count("done (") == 12
    assert len(runs(lab)) == 12


def test_a_dry_run_starts_nothing(lab: Path) -> None:
    done = expdb("run", "--dry-run", "-s", "lr=0.1,0.5", *command(), cwd=lab)
    assert done.returncode == 0
    assert "2 runs to start" in done.stdout
    assert not (lab / "runs").exists()


def test_an_interrupted_sweep_goes_on_where_it_stopped(lab: Path) -> None:
    words = ("-s", "lr=0.1,0.2,0.3,0.4", "-j", "1", *command("--wait", "0.3"))
    running = begin(*words, cwd=lab)
    until(lambda: any(run.status == "finished" for run in runs(lab).values()), "a finished run")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    finished = {run.uid for run in runs(lab).values() if run.status == "finished"}
    assert 1 <= len(finished) < 4
    done = expdb("run", *words, cwd=lab)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done (") == len(finished)
    statuses = [run.status for run in runs(lab).values()]
    assert statuses.count("finished") == 4
    assert finished <= {run.uid for run in runs(lab).values() if run.status == "finished"}


def test_several_failures_have_a_code_of_their_own(lab: Path) -> None:
    done = expdb("run", "-s", "fail=0,3,4", *command("--epochs", "1"), cwd=lab)
    assert done.returncode == 5
    assert expdb("run", "-s", "fail=0,3", "-e", "one", *command("--epochs", "1"), cwd=lab).returncode == 3


def test_no_more_than_j_run_at_a_time(lab: Path) -> None:
    words = ("run", "-s", "lr=0.1,0.2,0.3", "-j", "1", *command("--epochs", "2", "--wait", "0.2"))
    assert expdb(*words, cwd=lab).returncode == 0
    spans = sorted(
        (one["started_ms"], one["ended_ms"])
        for one in (said(run_folder(lab, run) / "exit.json") for run in runs(lab).values())
    )
    assert all(end <= begin + 5 for (_, end), (begin, _) in pairwise(spans))


# Faults ---------------------------------------------------------------------------------------------------------------


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_expdb_killed_while_the_training_goes_on_loses_nothing(lab: Path) -> None:
    running = begin(*command("--epochs", "12", "--wait", "0.2"), cwd=lab)
    until(lambda: any(points(run).get("train/loss", 0) > 1 for run in runs(lab).values()), "points")
    kill(running.pid)
    running.communicate()
    shown = expdb("attach", "@1", cwd=lab)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("epoch ") == 12
    (run,) = runs(lab).values()
    assert (run.status, points(run)) == ("finished", {"train/loss": 12, "test/accuracy": 12})


def test_expdb_killed_before_it_could_store_anything_loses_nothing(lab: Path) -> None:
    running = begin(*command("--epochs", "3", "--wait", "0.3"), cwd=lab)
    until(lambda: list((lab / "runs").glob("*/keeper.json")), "a keeper")
    kill(running.pid)
    running.communicate()
    (folder,) = (path.parent for path in (lab / "runs").glob("*/keeper.json"))
    until((folder / "exit.json").exists, "the end")
    assert expdb("queue", cwd=lab).returncode == 0
    (run,) = runs(lab).values()
    assert (run.uid, run.status, points(run)["train/loss"]) == (folder.name, "finished", 3)


@pytest.mark.parametrize("words", [("ls",), ("show", "@1"), ("compare",), ("blame", "@1", "train/loss")])
def test_whoever_looks_finds_a_run_whose_expdb_was_killed_before_there_was_a_database(
    lab: Path, words: tuple[str, ...]
) -> None:
    folder = abandoned(lab)
    assert not (lab / "runs" / "expdb.db").exists()
    done = expdb(*words, cwd=lab)
    assert done.returncode == 0, done.stderr
    assert "epoch" in done.stdout
    (run,) = runs(lab).values()
    assert (run.uid, run.status, points(run)["train/loss"]) == (folder.name, "finished", 3)


def test_whoever_looks_finds_a_run_that_the_database_does_not_know(lab: Path) -> None:
    assert expdb("run", "--name", "first", *command(), cwd=lab).returncode == 0
    folder = abandoned(lab)
    assert folder.name[:8] in expdb("ls", cwd=lab).stdout
    assert [run.status for run in runs(lab).values()] == ["finished", "finished"]


def test_a_data_frame_finds_a_run_that_the_database_does_not_know(lab: Path) -> None:
    folder = abandoned(lab)
    with results_in(lab / "runs" / "expdb.db") as results:
        assert results.runs()[["uid", "status"]].to_numpy().tolist() == [[folder.name, "finished"]]


def test_a_run_that_was_purged_does_not_come_back(lab: Path) -> None:
    assert expdb("run", *command(), cwd=lab).returncode == 0
    (run,) = runs(lab).values()
    assert expdb("rm", "--purge", "@1", cwd=lab).returncode == 0
    for words in (("ls",), ("queue",), ("ls",)):
        assert run.uid[:8] not in expdb(*words, cwd=lab).stdout
    assert (run_folder(lab, run) / "stdout.log").is_file()


def abandoned(lab: Path) -> Path:
    """The folder of a run that has ended, and that no process told a database of."""
    order = launch.Order(command=(sys.executable, "train.py"), cwd=lab)
    folder = create(lab / "runs", launch.spec_of(launch.plan(order)[0], order))
    local.start(folder)
    until((folder.path / "exit.json").exists, "the end")
    return folder.path


def test_a_training_killed_is_killed_and_its_points_stay(lab: Path) -> None:
    running = begin(*command("--epochs", "100", "--wait", "0.1"), cwd=lab)
    until(lambda: any(points(run).get("train/loss", 0) > 1 for run in runs(lab).values()), "points")
    (run,) = runs(lab).values()
    kill(said(run_folder(lab, run) / "keeper.json")["child"]["pid"])
    _, err = running.communicate(timeout=20)
    assert running.returncode == 137
    assert "SIGKILL" in err
    (run,) = runs(lab).values()
    log = (run_folder(lab, run) / "stdout.log").read_text()
    assert (run.status, points(run)["train/loss"]) == ("killed", log.count("epoch "))


def test_everything_killed_is_killed_and_never_running_for_ever(lab: Path) -> None:
    running = begin(*command("--epochs", "100", "--wait", "0.1"), cwd=lab)
    until(lambda: any(points(run).get("train/loss", 0) > 1 for run in runs(lab).values()), "points")
    (run,) = runs(lab).values()
    kept = said(run_folder(lab, run) / "keeper.json")
    for pid in (running.pid, kept["keeper"]["pid"], kept["child"]["pid"]):
        kill(pid)
    running.communicate()
    listed = expdb("ls", cwd=lab).stdout
    assert "killed" in listed
    (run,) = runs(lab).values()
    log = (run_folder(lab, run) / "stdout.log").read_text()
    assert (run.status, points(run)["train/loss"]) == ("killed", log.count("epoch "))
    assert run.ended_ms is not None


def test_a_dispatcher_that_is_killed_is_replaced_and_loses_nothing(lab: Path) -> None:
    running = begin("-s", "lr=0.1,0.2,0.3", "-j", "1", *command("--wait", "0.5"), cwd=lab)
    until(lambda: any(run.status == "running" for run in runs(lab).values()), "a run")
    found = subprocess.run(
        ["pgrep", "-f", f"expdb.dispatch.*{lab}/runs/expdb.db"], capture_output=True, text=True, check=False
    )
    pids = [int(one) for one in found.stdout.split()]
    assert pids
    for pid in pids:
        kill(pid)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "best(test/accuracy)" in out
    assert {run.status for run in runs(lab).values()} == {"finished"}
    assert all(points(run)["train/loss"] == 3 for run in runs(lab).values())


def test_bars_binary_and_a_last_line_without_its_end_are_taken_as_they_are(lab: Path) -> None:
    code = (
        "import sys, time\n"
        "for e in (1, 2):\n"
        "    for n in range(5):\n"
        "        sys.stdout.write(f'\\repoch {e} {n * 25}%')\n"
        "    print(f'\\repoch {e} loss {1 / e:.3f}   ')\n"
        "sys.stdout.flush()\n"
        "sys.stdout.buffer.write(b'\\xff\\xfe\\x80 odd bytes\\n')\n"
        "sys.stdout.write('epoch 3 loss 0.111')\n"
    )
    done = expdb("run", "--", sys.executable, "-c", code, cwd=lab, encoding=None)
    assert done.returncode == 0, done.stderr
    (run,) = runs(lab).values()
    assert points(run)["train/loss"] == 3
    with Database(lab / "runs" / "expdb.db") as database:
        assert curve(database, run, "train/loss") == [(1, 1.0), (2, 0.5), (3, 0.111)]


def test_a_database_that_cannot_be_written_stops_no_training(lab: Path) -> None:
    (lab / "runs").mkdir()
    (lab / "runs" / "expdb.db").write_text("this is no database at all, it is a text of some length\n" * 20)
    done = expdb("run", *command(), cwd=lab, timeout=90)
    assert "not a SQLite database" in done.stderr
    assert done.stdout.count("epoch ") == 3
    (folder,) = (path.parent for path in (lab / "runs").glob("*/exit.json"))
    assert said(folder / "exit.json")["code"] == 0
    (lab / "runs" / "expdb.db").unlink()
    assert expdb("queue", cwd=lab).returncode == 0
    (run,) = runs(lab).values()
    assert (run.status, points(run)["train/loss"]) == ("finished", 3)


def test_what_is_logged_and_what_is_printed_are_both_there_at_the_end(lab: Path) -> None:
    (lab / "both.py").write_text(
        "import time, expdb\n"
        "with expdb.start_run(params={'depth': 3}) as run:\n"
        "    for n in range(1, 13):\n"
        "        run.log({'train/loss': 1 / n}, step=n)\n"
        "        print(f'epoch {n}, test accuracy {n / 20:.3f}')\n"
        "        time.sleep(0.15)\n"
        "    print('Test set: Average loss: 0.0286, Accuracy: 9907/10000 (99%)')\n"
    )
    done = expdb("run", "-s", "password=hunter22", "--", sys.executable, "both.py", "{password}", cwd=lab)
    assert done.returncode == 0, done.stderr
    (run,) = runs(lab).values()
    found = points(run)
    assert found["train/loss"] == 12
    assert sum(count for key, count in found.items() if key.startswith("test/accuracy")) >= 12
    assert run.params["depth"] == "3"
    kept = run_folder(lab, run)
    assert "hunter22" not in (kept / "spec.json").read_text() + repr(run)
    assert expdb("db", "check", cwd=lab).returncode == 0


def test_two_trainings_that_one_script_logs_are_two_runs(lab: Path) -> None:
    (lab / "folds.py").write_text(
        "import expdb\n"
        "for fold in (0, 1):\n"
        "    with expdb.start_run(name=f'fold{fold}') as run:\n"
        "        run.log({'train/loss': fold}, step=1)\n"
    )
    done = expdb("run", "--", sys.executable, "folds.py", cwd=lab)
    assert done.returncode == 0, done.stderr
    assert {name: points(run) for name, run in runs(lab).items()} == {
        "fold0": {"train/loss": 1},
        "fold1": {"train/loss": 1},
    }


def test_a_run_that_breaks_its_own_log_keeps_no_other_from_running(lab: Path) -> None:
    bad = '{"step": null, "epoch": 1e300, "time_ms": 1, "metrics": {"a": 2}}'
    code = (
        "import os, sys\n"
        "print('epoch 1 loss 0.5')\n"
        f"if sys.argv[-1] == '1': open(os.environ['EXPDB_RUN'] + '/metrics.jsonl', 'w').write({bad!r} + chr(10))\n"
    )
    done = expdb("run", "-s", "n=1..4", "-j", "1", "--", sys.executable, "-c", code, cwd=lab)
    assert "Traceback" not in done.stderr
    assert {run.status for run in runs(lab).values()} == {"finished"}
    # A folder that a power cut left.
    stray = lab / "runs" / ("0" * 32)
    stray.mkdir()
    (stray / "spec.json").write_text("")
    for words in (("queue",), ("ls",), ("run", "-s", "n=5,6", "--", "true")):
        again = expdb(*words, cwd=lab)
        assert again.returncode == 0, again.stderr


def test_whoever_is_killed_while_queueing_leaves_a_queue_that_goes_on(lab: Path) -> None:
    running = begin("-s", "lr=0.1,0.2,0.3", "-j", "1", *command("--wait", "0.3"), cwd=lab)
    until(lambda: list((lab / "runs" / ".queue").glob("*.json")), "an entry")
    found = subprocess.run(
        ["pgrep", "-f", f"expdb.dispatch.*{lab}/runs/expdb.db"], capture_output=True, text=True, check=False
    )
    for pid in [running.pid, *map(int, found.stdout.split())]:
        kill(pid)
    running.communicate()
    done = expdb("run", "-s", "lr=0.1,0.2,0.3", "-j", "1", *command("--wait", "0.3"), cwd=lab, timeout=60)
    assert done.returncode == 0, done.stderr
    until(lambda: idle(lab), "an empty queue")
    finished = [run for run in runs(lab).values() if run.status == "finished"]
    assert {run.params["lr"] for run in finished} == {"0.1", "0.2", "0.3"}


def test_a_full_pipe_end_does_not_end_the_watching(lab: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = expdb("run", *command("--fail", "4"), cwd=lab, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 4
    assert "the run goes on" in done.stderr
    (run,) = runs(lab).values()
    assert points(run)["train/loss"] == 3


def test_each_waiting_run_gets_the_gpus_that_its_own_shell_named(lab: Path, tmp_path: Path) -> None:
    locks = str(tmp_path / "locks")
    code = "import os, time; time.sleep(0.5); print('gpu', os.environ['CUDA_VISIBLE_DEVICES'])"
    for gpu in ("0", "6"):
        env = environment(CUDA_VISIBLE_DEVICES=gpu, EXPDB_LOCKS=locks)
        expdb("run", "--detach", "--name", gpu, "--", sys.executable, "-c", code, cwd=lab, env=env)
    until(lambda: {run.status for run in runs(lab).values()} == {"finished"}, "the end")
    for gpu, run in runs(lab).items():
        assert (run_folder(lab, run) / "stdout.log").read_text() == f"gpu {gpu}\n"


def test_a_changed_settings_file_is_another_sweep(lab: Path) -> None:
    (lab / "c.yaml").write_text("depth: 18\nwidth: 4\n")
    words = ("-s", "n=1,2", "--", sys.executable, "-c", "print('epoch 1 loss 0.5')", "--config", "c.yaml")
    assert expdb("run", *words, cwd=lab).returncode == 0
    assert "0 runs to start" in expdb("run", "--dry-run", *words, cwd=lab).stdout
    (lab / "c.yaml").write_text("depth: 50\nwidth: 4\n")
    assert "2 runs to start" in expdb("run", "--dry-run", *words, cwd=lab).stdout


def test_a_sweep_ends_with_what_became_of_it(lab: Path) -> None:
    done = expdb("run", "-s", "fail=0,3", *command("--epochs", "1"), cwd=lab)
    assert "2 runs: 1 finished, 1 failed" in done.stderr
    assert "exit code 3" in done.stderr


def test_words_of_expdb_toml_are_known_to_whoever_follows_a_run(lab: Path) -> None:
    (lab / "expdb.toml").write_text('[aliases]\n"my score" = "test/score"\n')
    prints = ("--", sys.executable, "-c", "print('epoch 1 my score 0.5'); print('epoch 2 my score 0.6')")
    assert expdb("run", "--name", "here", *prints, cwd=lab).returncode == 0
    assert expdb("run", "--name", "queued", "-s", "n=1,2", *prints, cwd=lab).returncode == 0
    logs = "import expdb\nwith expdb.start_run(name='logged') as run: run.log({'my score': 1.0})"
    subprocess.run([sys.executable, "-c", logs], cwd=lab, check=True, env=environment())
    assert {name: set(points(run)) for name, run in runs(lab).items()} == {
        name: {"test/score"} for name in ("here", "queued n=1", "queued n=2", "logged")
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--runner", "moon", "--", "true"), "no runner is called 'moon'"),
        (("--runner-option", "partition=gpu", "--", "true"), "--runner-option is for slurm and ray"),
        (("--runner", "ray", "-j", "2", "--", "true"), "ray has its own limits"),
        (("--gpus", "many", "--", "true"), "a number, auto or none"),
        (("-s", "a=1", "-s", "a=2", "--", "true"), "-s a=1,2"),
        (("-s", "a=3..1", "--", "true"), "a range goes up"),
        (("fusoin",), "no recipe"),
    ],
)
def test_what_cannot_be_launched_is_refused_and_leaves_nothing(lab: Path, words: tuple[str, ...], says: str) -> None:
    done = expdb("run", *words, cwd=lab)
    assert done.returncode in (2, 3)
    assert says in done.stderr
    assert not (lab / "runs").exists()


# Printed with every failure.
SEED = int(os.environ.get("EXPDB_TEST_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(20))
def test_whoever_is_killed_at_whatever_moment_nothing_is_lost(tmp_path: Path, turn: int) -> None:
    chance = random.Random(SEED + turn)
    lab = project(tmp_path)
    who = [name for name in ("expdb", "keeper", "child") if chance.random() < 0.5] or ["expdb"]
    running = begin(*command("--epochs", "15", "--wait", "0.1"), cwd=lab)
    time.sleep(chance.uniform(0.1, 1.8))
    kept = next(iter((lab / "runs").glob("*/keeper.json")), None)
    pids = {"expdb": running.pid}
    if kept:
        pids |= {name: said(kept)[name]["pid"] for name in ("keeper", "child")}
    for name in who:
        if name in pids:
            kill(pids[name])
    running.communicate(timeout=60)
    if kept is None:
        # Killed before there was a run.
        return
    shown = expdb("attach", kept.parent.name, cwd=lab)
    assert "Traceback" not in shown.stderr
    (run,) = runs(lab).values()
    lines = (kept.parent / "stdout.log").read_text().count("epoch ")
    about = f"seed {SEED}, turn {turn}: {who} killed"
    assert points(run).get("train/loss", 0) == lines, about
    # Whoever was killed may have been at its end.
    if "keeper" not in who and "child" not in who:
        assert run.status == "finished", about
    assert run.status == "finished" or not (kept.parent / "exit.json").exists() or "child" in who, about
    assert lines == 15 or "child" in who, about
