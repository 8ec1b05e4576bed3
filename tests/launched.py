"""What the tests of launching share: a training of a few lines, and waiting for what another process does."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from drills import environment, expdb

from expdb.store import reader
from expdb.store.reader import RunRecord
from expdb.store.sqlite import SqliteDatabase as Database

T = TypeVar("T")

TRAIN = """
import argparse, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--width", type=int, default=8)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--wait", type=float, default=0.0)
parser.add_argument("--fail", type=int, default=0)
args = parser.parse_args()
for epoch in range(1, args.epochs + 1):
    time.sleep(args.wait)
    loss = 1 / (epoch * args.lr + 1) + args.seed / 1000
    print(f"epoch {epoch}, loss {loss:.4f}, test accuracy {1 - loss / args.width:.4f}")
raise SystemExit(args.fail)
"""


def project(tmp_path: Path) -> Path:
    """A folder with a training in it."""
    folder = tmp_path / "lab"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    return folder


def command(*words: str) -> list[str]:
    """The training's command, behind `--`."""
    return ["--", sys.executable, "train.py", *words]


def until(found: Callable[[], T], what: str, limit_s: float = 20.0) -> T:
    """What `found` gives, as soon as that is something."""
    end = time.monotonic() + limit_s
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {limit_s} s"
        time.sleep(0.03)


def runs(folder: Path) -> dict[str, RunRecord]:
    """The runs of the folder's database, by name; none where there is no database yet."""
    path = folder / "runs" / "expdb.db"
    if not path.exists() or path.stat().st_size == 0:
        return {}
    with Database(path) as database:
        return {run.name: run for run in reader.runs(database)}


def run_folder(folder: Path, record: RunRecord) -> Path:
    """Where a run is."""
    return folder / "runs" / record.uid


def said(path: Path) -> dict[str, Any]:
    """What a JSON file of a run folder says."""
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def points(record: RunRecord) -> dict[str, int]:
    """How many points each metric has."""
    return {one.key: one.count for one in record.metrics}


def begin(*words: str, cwd: Path, **more: str) -> subprocess.Popen[str]:
    """Start `expdb run` with the words."""
    return subprocess.Popen(
        [sys.executable, "-m", "expdb", "run", *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(**more),
    )


def sweep(tmp_path: Path, name: str, *words: str) -> str:
    """The comparison after a sweep of twelve tiny runs in a folder of its own, as CSV. words: where they run."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    sizes = ("-s", "lr=0.1,0.5", "-s", "width=4,8", "--seeds", "0..2")
    done = expdb("run", "-e", "sweep", *words, *sizes, *command(), cwd=folder, timeout=180)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert {run.status for run in runs(folder).values()} == {"finished"}
    table = expdb("compare", "--sort", "params.lr", "--format", "csv", cwd=folder).stdout
    assert table.count("\n") == 13
    head, *rows = table.splitlines()
    # In which order they ended says nothing.
    return "\n".join([head, *sorted(rows)])


def idle(folder: Path) -> bool:
    """Whether nothing is in the queue any more."""
    return not list((folder / "runs" / ".queue").glob("*.json"))


__all__ = ["TRAIN", "begin", "command", "expdb", "idle", "points", "project", "run_folder", "runs", "said"]
__all__ += ["sweep", "until"]
