"""MLflow stores for tests: made quickly, filled by hand, and everything in them as plain values."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines import free_ports

# Before MLflow is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

_POINT = tuple[int, int, str]


def client(uri: str) -> Any:
    """MLflow's client for a store."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def fill(uri: str, runs: int = 3, points: int = 20) -> list[str]:
    """An experiment with every kind of thing a run can have; the uids of its runs, a child last."""
    from mlflow.entities import Metric, Param, RunTag

    to = client(uri)
    experiment = to.create_experiment("vision", tags={"team": "a b", "mlflow.note.content": "a note"})
    uids = []
    for number in range(runs):
        run = to.create_run(
            experiment,
            run_name=f"r{number}",
            start_time=1_700_000_000_000 + number,
            tags={"k": "值", "mlflow.user": "ann", "mlflow.source.name": "train.py"},
        )
        uid = run.info.run_id
        uids.append(uid)
        values = (1.5, math.nan, math.inf, -math.inf, 0.1 + 0.2, -0.0, 1e-300)
        to.log_batch(
            uid,
            [Metric("loss", values[n % 7], 1_700_000_000_000 + n, n // 2) for n in range(points)],
            [Param("lr", "0.1"), Param("model/depth", "18")],
            [RunTag("t", "first\nsecond")],
        )
        # Several values for one step, of one time, and one that comes late.
        for value, step in ((0.5, 0), (0.6, 0), (0.4, -3)):
            to.log_metric(uid, "acc top 1", value, timestamp=5, step=step)
        to.set_terminated(uid, ["FAILED", "FINISHED", "KILLED"][number % 3], end_time=1_700_000_009_999)
    child = to.create_run(experiment, run_name="child", start_time=7, tags={"mlflow.parentRunId": uids[0]})
    to.delete_run(uids[-1])
    return [*uids, child.info.run_id]


def content(uri: str) -> dict[Any, Any]:
    """Everything in a store but the ids it gave and the marks of a push, ready to be compared."""
    from mlflow.entities import ViewType

    of = client(uri)
    out: dict[Any, Any] = {}
    for experiment in of.search_experiments(view_type=ViewType.ALL):
        found = of.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1000)
        called = {run.info.run_id: (run.info.run_name, run.info.start_time) for run in found}
        for run in found:
            tags = {key: value for key, value in run.data.tags.items() if key != "expdb.uid"}
            parent = called.get(tags.pop("mlflow.parentRunId", ""))
            out[experiment.name, *called[run.info.run_id]] = {
                "experiment": {k: v for k, v in experiment.tags.items() if "note" in k or not k.startswith("mlflow.")},
                "state": (run.info.status, run.info.end_time, run.info.lifecycle_stage, run.info.user_id),
                "parent": parent,
                "params": dict(run.data.params),
                "tags": tags,
                "points": {key: history(of, run.info.run_id, key) for key in run.data.metrics},
                "last": {key: repr(value + 0.0) for key, value in run.data.metrics.items()},
                "datasets": [
                    (one.dataset.to_dictionary(), sorted((tag.key, tag.value) for tag in one.tags))
                    for one in run.inputs.dataset_inputs
                ],
            }
        if found:
            out[experiment.name, "models"] = sorted(
                (
                    *(model.name, str(model.status), model.model_type or None, sorted(model.params.items())),
                    *(
                        sorted(tag for tag in model.tags.items() if tag[0] != "expdb.uid"),
                        called.get(model.source_run_id),
                    ),
                    sorted((m.key, m.step, m.timestamp, repr(m.value), m.dataset_name) for m in model.metrics or ()),
                )
                for model in of.search_logged_models([experiment.experiment_id])
            )
    return out


def history(of: Any, uid: str, key: str) -> list[_POINT]:
    """A metric's points in an order of their own."""
    # SQLite has one zero.
    return sorted((one.step, one.timestamp, repr(one.value + 0.0)) for one in of.get_metric_history(uid, key))


class Stores:
    """Databases of MLflow's below a folder. The first costs a second, for MLflow migrates it from nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template: Path | None = None

    def new(self, name: str) -> str:
        """The URI of an empty one."""
        if self._template is None:
            self._template = self._folder / "template.db"
            client(f"sqlite:///{self._template}").search_experiments()
        path = self._folder / f"{name}.db"
        shutil.copy(self._template, path)
        return f"sqlite:///{path}"


@contextmanager
def server(store: str, folder: Path) -> Iterator[str]:
    """The address of MLflow's own server over a store, as long as the block lasts."""
    (port,) = free_ports(1)
    # Its jobs are seven processes that nobody here has a use for.
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    words = ("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri", store)
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, "--artifacts-destination", str(folder / "files")],
            cwd=folder,
            env=env,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", process, log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 60.0) -> None:
    """Return once the address answers; fail with the log where the process ends or takes too long."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
