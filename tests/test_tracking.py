"""The Python API: what `log` returned for is there, whatever becomes of the process, the disk or the other threads."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from commands import environment

import expdb
from expdb.errors import InputError, UsageError
from expdb.runners.folder import RunFolder, Spec, create
from expdb.runners.lines import BACKLOG_BYTES, Lines
from expdb.tracking import flat

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EXPDB_RUN", "EXPDB_DB", "EXPDB_NOW"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[expdb.Run]:
    made = expdb.start_run("e", "r")
    yield made
    made.finish()


def lines(folder: Path) -> list[dict[str, Any]]:
    """What was logged, each line read as JSON."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def logged(folder: Path) -> list[tuple[int, dict[str, float]]]:
    return [(line["step"], line["metrics"]) for line in lines(folder)]


def only_folder(at: Path) -> Path:
    """The one run's folder below a project."""
    (found,) = (one.parent for one in (at / "runs").glob("*/spec.json"))
    return found


def exit_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "exit.json").read_text(encoding="utf-8"))
    return found


def started(program: str, at: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A training of its own process; `run` is what it logs with where it begins one itself."""
    path = at / "train.py"
    path.write_text(textwrap.dedent(program), encoding="utf-8")
    environ = environment({"PYTHONPATH": str(ROOT), **(env or {})})
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=at,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def ended(program: str, at: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    process = started(program, at, env)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def launched(at: Path) -> RunFolder:
    """A folder as `expdb run` makes it."""
    uid = f"{len(list(at.iterdir())):032x}"
    words = ("python", "train.py")
    spec = Spec(uid, "given", "theirs", words, words, str(at), 1, env={}, params={}, tags={})
    return create(at / "runs", spec)


def test_the_package_imports_nothing_before_it_is_asked() -> None:
    program = "import sys, expdb; dir(expdb); print(*(m for m in sys.modules if m.startswith('expdb')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    assert done.stdout.split() == ["expdb"]


def test_a_training_that_logs_imports_neither_pandas_nor_a_database(tmp_path: Path) -> None:
    done = ended(
        """
        import sys, expdb
        run = expdb.start_run("e")
        run.log({"loss": 1.0})
        print(*sys.modules)
        """,
        tmp_path,
    )
    loaded = set(done.stdout.split())
    # What counts the covered lines keeps them in a database of its own.
    heavy = {"pandas", "numpy", "sqlmodel", "typer"} | ({"sqlite3"} if "coverage" not in loaded else set())
    assert not heavy & loaded


def test_what_is_asked_for_and_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = expdb.nothing_of_ours  # type: ignore[attr-defined]
    assert {"start_run", "open", "Run"} <= set(dir(expdb))


def test_a_value_is_in_the_file_when_log_returns(run: expdb.Run) -> None:
    before = time.time_ns() // 1_000_000
    run.log({"train/loss": 0.5, "lr": 1}, step=3, epoch=0.25)
    (line,) = lines(run.folder)
    assert before <= line.pop("time_ms") <= time.time_ns() // 1_000_000
    assert line == {"step": 3, "epoch": 0.25, "metrics": {"train/loss": 0.5, "lr": 1}}


def test_nothing_that_log_returned_for_is_lost_to_kill_9(tmp_path: Path) -> None:
    process = started(
        """
        import os, expdb
        run = expdb.start_run("e")
        step = 0
        while True:
            run.log({"loss": 1 / (step + 1), "accuracy": 0.5}, step=step)
            os.write(1, b"%d\\n" % step)
            step += 1
        """,
        tmp_path,
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(200)]
    folder = only_folder(tmp_path)
    assert RunFolder(folder).state().kind == "running"
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.communicate()
    found = logged(folder)
    assert len(found) >= int(told[-1]) + 1 >= 200
    assert [step for step, _ in found] == list(range(len(found)))
    # Nobody lived to write exit.json; the keeper's identity tells.
    assert RunFolder(folder).state().kind == "lost"


def test_the_folder_says_what_a_launched_one_says(tmp_path: Path) -> None:
    done = ended(
        """
        import argparse, expdb
        with expdb.start_run("e", "r", {"optimizer": {"lr": 0.1}, "seed": 7}, {"why": "test"}) as run:
            run.log({"loss": 1.0})
        print(run.folder)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    folder = RunFolder(Path(done.stdout.strip()))
    assert folder.path == tmp_path / "runs" / folder.uid
    spec, keeper, left = folder.spec(), folder.keeper(), folder.exit()
    assert (spec.name, spec.experiment, spec.runner, spec.seed) == ("r", "e", "api", 7)
    assert spec.params == {"optimizer.lr": "0.1", "seed": "7"}
    assert spec.tags == {"why": "test"}
    assert spec.command == (sys.executable, str(tmp_path / "train.py"))
    assert keeper is not None
    assert keeper.keeper == keeper.child
    assert left is not None
    assert left.status == "finished"
    assert left.wall_s > 0
    assert left.max_rss_bytes > 1 << 20
    assert folder.state().kind == "ended"


_ENDS: list[tuple[str, int, str | None, str]] = [
    ("raise ValueError('no')", 1, "ValueError", "failed"),
    ("raise KeyboardInterrupt", 130, None, "killed"),
    ("run.finish('failed')", 1, None, "failed"),
    ("run.finish('killed')", 143, None, "killed"),
    ("pass", 0, None, "finished"),
]
_EXITS: list[tuple[str, int, str | None, str]] = [
    ("raise SystemExit(3)", 3, None, "failed"),
    ("raise SystemExit", 0, None, "finished"),
    ("raise SystemExit('what went wrong')", 1, None, "failed"),
]


@pytest.mark.parametrize(("body", "code", "error", "status"), [*_ENDS, *_EXITS])
def test_how_a_block_ended_stands_in_the_exit_file(
    body: str, code: int, error: str | None, status: str, tmp_path: Path
) -> None:
    ended(f"import expdb\nwith expdb.start_run('e') as run:\n    run.log({{'loss': 1.0}})\n    {body}\n", tmp_path)
    found = RunFolder(only_folder(tmp_path)).exit()
    assert found is not None
    assert (found.code, found.error, found.status) == (code, error, status)


@pytest.mark.parametrize(("body", "code", "error", "status"), _ENDS)
def test_a_run_that_nobody_ended_ends_as_its_process(
    body: str, code: int, error: str | None, status: str, tmp_path: Path
) -> None:
    ended(f"import expdb\nrun = expdb.start_run('e')\nrun.log({{'loss': 1.0}})\n{body}\n", tmp_path)
    found = RunFolder(only_folder(tmp_path)).exit()
    assert found is not None
    assert (found.code, found.error, found.status) == (code, error, status)


def test_the_error_of_a_block_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError), expdb.start_run("e") as run:
        run.log({"loss": 1 / 0})
    assert exit_of(run.folder)["error"] == "ZeroDivisionError"


def test_a_run_that_ended_takes_no_more_and_ends_once(run: expdb.Run) -> None:
    run.finish("failed")
    run.finish()
    assert exit_of(run.folder)["code"] == 1
    with pytest.raises(UsageError, match="has ended"):
        run.log({"loss": 1.0})
    with pytest.raises(UsageError, match="no way to end"):
        run.finish("fine")  # type: ignore[arg-type]


class Scalar:
    """As torch has it: a tensor of one element or of many."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def item(self) -> float:
        if len(self.values) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.values[0]

    def __float__(self) -> float:
        return float(self.item())


def test_scalars_of_every_library_are_numbers(run: expdb.Run) -> None:
    numpy = pytest.importorskip("numpy")
    values = {
        "a": numpy.float32(0.5),
        "b": numpy.int64(3),
        "c": numpy.array(0.25),
        "d": numpy.float64(0.1),
        "e": Scalar(2.5),
        "f": Decimal("0.75"),
        "g": True,
        "h": numpy.bool_(False),
        "i": 10**30,
        "j": 5,
    }
    run.log(values)
    run.log(values)
    wanted = {"a": 0.5, "b": 3, "c": 0.25, "d": 0.1, "e": 2.5, "f": 0.75, "g": 1, "h": 0, "i": 1e30, "j": 5}
    assert logged(run.folder) == [(0, wanted), (1, wanted)]
    # Not true, which is no number of JSON's.
    assert b"true" not in (run.folder / "metrics.jsonl").read_bytes()


def test_nan_and_infinity_are_values(run: expdb.Run) -> None:
    run.log({"a": math.nan, "b": math.inf, "c": -math.inf})
    assert b'"metrics":{"a":NaN,"b":Infinity,"c":-Infinity}' in (run.folder / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("value", ["0.5", None, [0.5], {"x": 1}, 1j, Scalar(1, 2), b"1", 10**400, object()])
def test_what_is_no_number_is_refused_and_nothing_of_the_call_is_kept(value: Any, run: expdb.Run) -> None:
    with pytest.raises(UsageError, match=r"b: .* is no number"):
        run.log({"a": 1.0, "b": value})
    assert lines(run.folder) == []


@pytest.mark.parametrize("key", ["", " ", "a\nb", "a\0b", "\ud800", 3, None, "x" * 501])
def test_what_is_no_name_is_refused(key: Any, run: expdb.Run) -> None:
    with pytest.raises(UsageError, match="is no name of a metric"):
        run.log({key: 1.0})
    assert lines(run.folder) == []


def test_metrics_that_are_no_mapping_are_refused(run: expdb.Run) -> None:
    with pytest.raises(UsageError, match="no mapping"):
        run.log([("loss", 1.0)])  # type: ignore[arg-type]
    run.log({})
    assert lines(run.folder) == []


@pytest.mark.parametrize("step", [1.5, "1", 1 << 63, -(1 << 63) - 1])
def test_a_step_is_a_whole_number_of_64_bits(step: Any, run: expdb.Run) -> None:
    with pytest.raises(UsageError, match="step"):
        run.log({"loss": 1.0}, step=step)


@pytest.mark.parametrize("epoch", ["1", math.nan, math.inf, [1]])
def test_an_epoch_is_a_place_in_the_training(epoch: Any, run: expdb.Run) -> None:
    with pytest.raises(UsageError, match="epoch"):
        run.log({"loss": 1.0}, step=1, epoch=epoch)


def test_without_a_step_each_metric_counts_on_by_itself(run: expdb.Run) -> None:
    run.log({"a": 1.0, "b": 1.0})
    run.log({"a": 2.0})
    run.log({"a": 3.0, "b": 2.0})
    run.log({"b": 9.0}, step=10)
    run.log({"b": 10.0})
    assert logged(run.folder) == [
        (0, {"a": 1.0, "b": 1.0}),
        (1, {"a": 2.0}),
        (2, {"a": 3.0}),
        (1, {"b": 2.0}),
        (10, {"b": 9.0}),
        (11, {"b": 10.0}),
    ]


def test_threads_log_whole_lines(run: expdb.Run) -> None:
    def work(n: int) -> None:
        for step in range(300):
            run.log({f"loss/{n}": step / 7}, step=step)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = logged(run.folder)
    assert len(found) == 8 * 300
    for n in range(8):
        assert [step for step, metrics in found if f"loss/{n}" in metrics] == list(range(300))


def test_forked_workers_log_whole_lines_and_do_not_end_the_run(tmp_path: Path) -> None:
    done = ended(
        """
        import os, threading, time, expdb
        with expdb.start_run("e") as run:
            # A thread that logs all the time holds the lock when the fork comes, sooner or later.
            going = True
            def chatter():
                while going:
                    run.log({"chatter": 1.0})
            thread = threading.Thread(target=chatter)
            thread.start()
            workers = []
            for n in range(8):
                pid = os.fork()
                if pid == 0:
                    for step in range(200):
                        run.log({f"worker/{n}": step / 7}, step=step)
                    # As multiprocessing's workers, but through the block.
                    raise SystemExit(0)
                workers.append(pid)
            codes = [os.waitpid(pid, 0)[1] for pid in workers]
            assert codes == [0] * 8, codes
            assert not (run.folder / "exit.json").exists()
            going = False
            thread.join()
            run.log({"last": 1.0})
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = logged(only_folder(tmp_path))
    for n in range(8):
        assert [step for step, metrics in found if f"worker/{n}" in metrics] == list(range(200))
    assert found[-1][1] == {"last": 1.0}
    assert exit_of(only_folder(tmp_path))["code"] == 0


def test_a_full_disk_ends_no_training_and_is_told_once(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    folder = launched(tmp_path)
    (folder.path / "metrics.jsonl").symlink_to("/dev/full")
    program = """
        import expdb
        with expdb.start_run() as run:
            for step in range(100):
                run.log({"loss": 1.0}, step=step)
        print("trained")
        """
    done = ended(program, tmp_path, {"EXPDB_RUN": str(folder.path)})
    assert (done.returncode, done.stdout) == (0, "trained\n")
    waits, lost = done.stderr.splitlines()
    assert waits.startswith(f"expdb: {folder.path}/metrics.jsonl: No space left on device; what is logged waits")
    assert lost.endswith("metrics.jsonl: 100 lines could not be written and are lost")


def test_lines_that_found_no_room_are_written_when_there_is_some(tmp_path: Path) -> None:
    done = ended(
        """
        import resource, expdb
        run = expdb.start_run("e")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for step in range(100):
            run.log({"loss": step / 7}, step=step)
        size = (run.folder / "metrics.jsonl").stat().st_size
        assert size == 1000, size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        run.log({"loss": 100 / 7}, step=100)
        run.finish()
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert logged(only_folder(tmp_path)) == [(step, {"loss": step / 7}) for step in range(101)]


def test_a_half_line_that_another_process_wrote_behind_is_told_again_whole(tmp_path: Path) -> None:
    done = ended(
        """
        import os, resource, expdb
        from expdb.runners.lines import Lines
        from pathlib import Path
        lines, other = Lines(Path("a")), Lines(Path("a"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        lines.write(b"0123456\\n")
        lines.write(b"abcdefg\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        other.write(b"other\\n")
        lines.write(b"last\\n")
        lines.close()
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == b"0123456\nabother\n\nabcdefg\nlast\n"


def test_what_waits_for_room_is_bounded_and_the_newest_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    full = Lines(path)
    piece = b"x" * (1 << 20) + b"\n"
    for _ in range(40):
        full.write(piece)
    room = tmp_path / "room"
    fd = os.open(room, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, full._fd)
    os.close(fd)
    full.write(b"newest\n")
    full.close()
    found = room.read_bytes()
    assert BACKLOG_BYTES - (2 << 20) < len(found) <= BACKLOG_BYTES
    assert found.endswith(b"\nnewest\n")
    assert "lines could not be written and are lost" in capsys.readouterr().err


def test_an_exit_file_that_cannot_be_written_is_told_and_ends_nothing(tmp_path: Path) -> None:
    done = ended(
        """
        import expdb
        run = expdb.start_run("e")
        run.log({"loss": 1.0})
        (run.folder / "exit.json").mkdir()
        run.finish()
        print("trained")
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert "the run will count as killed" in done.stderr


def test_under_expdb_run_the_folder_is_the_one_that_was_made(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    program = """
        import expdb
        with expdb.start_run("mine", "r", {"lr": 0.1}, {"a": "b"}) as run:
            run.log({"loss": 1.0}, step=0)
            print(run.folder, run.uid, run.name, run.experiment)
        with expdb.start_run("mine") as second:
            second.log({"loss": 2.0})
        print(second.uid)
        """
    done = ended(program, tmp_path, {"EXPDB_RUN": str(folder.path)})
    first, second = done.stdout.splitlines()
    assert first.split() == [str(folder.path), folder.uid, "r", "theirs"]
    assert RunFolder(folder.path.parent / second).spec().parent == folder.uid
    said, values = lines(folder.path)
    assert said == {"params": {"lr": "0.1"}, "tags": {"a": "b"}, "name": "r", "experiment": "mine"}
    assert values["metrics"] == {"loss": 1.0}
    # Who keeps the command writes the rest.
    assert {one.name for one in folder.path.iterdir()} == {"spec.json", "metrics.jsonl"}
    assert {one.name for one in (tmp_path / "runs").iterdir() if one.is_dir()} == {folder.uid, second}


def test_a_run_that_says_nothing_of_itself_adds_no_line(tmp_path: Path) -> None:
    folder = launched(tmp_path)
    ended("import expdb\nexpdb.start_run().log({'loss': 1.0})", tmp_path, {"EXPDB_RUN": str(folder.path)})
    assert logged(folder.path) == [(0, {"loss": 1.0})]


def test_a_folder_that_is_gone_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPDB_RUN", str(tmp_path / "nowhere"))
    with pytest.raises(expdb.errors.NotFoundError, match="nowhere is no run's folder"):
        expdb.start_run("e")


@pytest.mark.parametrize(
    ("database", "root"), [("runs/expdb.db", "runs"), ("results.db", "runs"), ("far/runs/other.db", "far/runs")]
)
def test_runs_lie_beside_their_database(database: str, root: str, tmp_path: Path) -> None:
    with expdb.start_run("e", db=database) as run:
        pass
    assert run.folder == tmp_path / root / run.uid


def test_the_database_that_expdb_toml_names_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "expdb.toml").write_text("database = 'kept/all.db'\n", encoding="utf-8")
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    with expdb.start_run("e") as run:
        pass
    assert run.folder.parent == tmp_path / "kept" / "runs"


def test_a_run_without_a_name_is_called_after_its_script(tmp_path: Path) -> None:
    ended("import expdb\nwith expdb.start_run():\n    pass", tmp_path)
    spec = RunFolder(only_folder(tmp_path)).spec()
    assert (spec.name, spec.experiment) == ("train", "Default")


def test_a_place_that_is_closed_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be made"):
        expdb.start_run("e")


@pytest.mark.parametrize("words", [{"experiment": "a\nb"}, {"experiment": ""}, {"experiment": "e", "name": " "}])
def test_names_are_lines_of_text(words: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is no name of"):
        expdb.start_run(**words)  # type: ignore[arg-type]


def test_params_are_flattened_whatever_holds_them() -> None:
    said: dict[Any, Any] = {"optimizer": {"name": "sgd", "sched": {"steps": [1, 2]}}, "amp": False, "note": None}
    said |= {3: Path("x"), "e": {}}
    assert flat(said) == {
        "optimizer.name": "sgd",
        "optimizer.sched.steps": "[1, 2]",
        "amp": "False",
        "note": "None",
        "3": "x",
        "e": "{}",
    }
    assert flat(Namespace(lr=0.1, data=Namespace(size=32), more={"a": 1})) == {
        "lr": "0.1",
        "data.size": "32",
        "more.a": "1",
    }
    assert flat({}) == {}


@pytest.mark.parametrize("said", [["lr"], "lr", {"": 1}, {"a\n": 1}, {"a": "\ud800"}, {"a": {"b": 1}, "a.b": 2}])
def test_params_that_cannot_be_kept_are_refused_at_the_start(said: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        expdb.start_run("e", params=said)
    assert not (tmp_path / "runs").exists()


def test_an_artifact_is_a_copy_under_its_name(run: expdb.Run, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "deep" / "a.png").write_bytes(b"png")
    artifacts = run.folder / "artifacts"
    assert run.log_artifact("model.pt") == artifacts / "model.pt"
    assert run.log_artifact(tmp_path / "model.pt", "best/of all.pt") == artifacts / "best" / "of all.pt"
    assert run.log_artifact("plots/") == artifacts / "plots"
    assert (artifacts / "plots" / "deep" / "a.png").read_bytes() == b"png"
    (tmp_path / "model.pt").write_bytes(b"other")
    run.log_artifact("model.pt")
    (tmp_path / "plots" / "deep" / "a.png").rename(tmp_path / "plots" / "b.png")
    run.log_artifact("plots")
    assert (artifacts / "model.pt").read_bytes() == b"other"
    assert (artifacts / "best" / "of all.pt").read_bytes() == b"weights"
    assert sorted(one.name for one in (artifacts / "plots").iterdir()) == ["b.png", "deep"]
    assert not list(run.folder.glob(".*"))


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a\nb"])
def test_an_artifact_cannot_lie_elsewhere(name: str, run: expdb.Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(UsageError, match="is no artifact's name"):
        run.log_artifact("a", name)


def test_an_artifact_that_cannot_be_copied_is_an_error_and_leaves_nothing(run: expdb.Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "dangling").symlink_to("nowhere")
    for name in ("missing", "pipe", "folder"):
        with pytest.raises(InputError, match=f"{name}: cannot be kept as an artifact"):
            run.log_artifact(name)
    with pytest.raises(UsageError, match="holds the run's own folder"):
        run.log_artifact(".")
    assert not list(run.folder.glob(".*"))
    assert not list((run.folder / "artifacts").iterdir())


def test_a_disk_that_is_full_keeps_no_part_of_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x" * 100_000)
    done = ended(
        """
        import resource, expdb
        run = expdb.start_run("e")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            run.log_artifact("model.pt")
        except expdb.errors.InputError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        """,
        tmp_path,
    )
    assert done.stdout == "model.pt: cannot be kept as an artifact: File too large\n"
    folder = only_folder(tmp_path)
    assert not list(folder.glob(".*"))
    assert not list((folder / "artifacts").iterdir())


def test_a_run_is_in_the_database_when_its_block_ends(tmp_path: Path) -> None:
    with expdb.start_run("e", "r", {"optimizer": {"lr": 0.1}}) as run:
        for step in range(3):
            run.log({"train/loss": 1 / (step + 1)}, step=step)
    with expdb.open() as results:
        (row,) = results.runs().to_dict("records")
        points = results.points(metric="train/loss")
    assert (row["uid"], row["experiment"], row["name"]) == (run.uid, "e", "r")
    assert (row["status"], row["origin"], row["params.optimizer.lr"]) == ("finished", "api", 0.1)
    assert points["step"].tolist() == [0, 1, 2]
    assert points["value"].tolist() == [1.0, 0.5, 1 / 3]


def test_what_a_run_ran_on_is_there_when_it_has_ended(tmp_path: Path) -> None:
    pytest.importorskip("expdb.runners.environment")
    with expdb.start_run("e") as run:
        run.log({"loss": 1.0})
    # On a busy machine it may be gathered a little later.
    end = time.monotonic() + 30
    while "packages" not in (found := RunFolder(run.folder).environment()) and time.monotonic() < end:
        time.sleep(0.1)
    assert found["host"]
    assert isinstance(found["packages"], dict)
    assert "pytest" in found["packages"]
    assert (run.folder / "keeper.log").read_bytes() == b""
