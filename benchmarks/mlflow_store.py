"""MLflow's API on expdb's database, on MLflow's own SQLite store, and on a store that does nothing.

python -m benchmarks.mlflow_store [--rounds 7] [--runs 1000 10000] [--write]

All three are asked through `MlflowClient`, in turns, in one process. What the third one costs is MLflow's client
itself, and so the ceiling: no store can be faster.
"""

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.results import Section, median, pairwise_ratio, verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The limit: as many times as fast as MLflow's own store.
LIMIT = 5.0
OURS, THEIRS, NOTHING = "expdb", "MLflow's SQLite store", "a store that does nothing"
POINTS, CALLS, CURVE = 1000, 50, 10_000
_FILTER, _ORDER = "metrics.accuracy > 0.5 and params.lr = '0.1'", ["metrics.accuracy DESC", "params.model"]
_PAGE = 1000


@dataclass(slots=True)
class Timed:
    """Milliseconds of one call in each round, by store."""

    what: str
    calls_ms: dict[str, list[float]] = field(default_factory=dict)


def _words(number: int) -> tuple[dict[str, float], dict[str, str], dict[str, str]]:
    """Last values, params and tags of one of many runs."""
    metrics = {"loss": 1 / (number + 1), "accuracy": (number * 7919 % 1000) / 1000, "lr": 0.1}
    params = {"lr": ("0.1", "0.01")[number % 2], "model": f"net{number % 13}", "seed": str(number), "depth": "18"}
    return metrics, params, {"team": f"t{number % 3}", "mlflow.user": "somebody"}


def fill_ours(path: Path, runs: int) -> None:
    """Runs as a client would have logged them, in one transaction."""
    from expdb.store import tracking, tracking_points
    from expdb.store.opening import open_database

    with open_database(path, write=True, create=True) as database, database.transaction():
        known = tracking_points.Known()
        for number in range(runs):
            metrics, params, tags = _words(number)
            run_id, _ = tracking.add_run(database, 0, f"run{number}", "somebody", number + 1, f"/nowhere/{number}")
            tracking.add_params(database, run_id, params.items())
            tracking.set_tags(database, run_id, tags.items())
            points = [(key, value, number + 1, 1) for key, value in metrics.items()]
            tracking_points.log(database, known, run_id, points)


def fill_theirs(path: Path, runs: int) -> None:
    """The same runs in the tables of MLflow's store, which its API would take minutes to fill."""
    connection = sqlite3.connect(path)
    for number in range(runs):
        uid = f"{number:032x}"
        metrics, params, tags = _words(number)
        connection.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES (?, ?, 'LOCAL', '', '', 'somebody',"
            " 'RUNNING', ?, '', 'active', ?, 0)",
            (uid, f"run{number}", number + 1, f"/nowhere/{number}"),
        )
        for table in ("metrics", "latest_metrics"):
            connection.executemany(
                f"INSERT INTO {table} (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, 1, 0)",
                [(uid, key, value, number + 1) for key, value in metrics.items()],
            )
        connection.executemany(
            "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", [(uid, k, v) for k, v in params.items()]
        )
        tagged = {"mlflow.runName": f"run{number}", **tags}
        connection.executemany(
            "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", [(uid, k, v) for k, v in tagged.items()]
        )
    connection.commit()
    connection.close()


def client_of_nothing(answers: "MlflowClient", run_id: str) -> "MlflowClient":
    """A client of a store that gives back, at once, what another client has answered before."""
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    history = answers.get_metric_history(run_id, "curve") if run_id else None
    found = answers.search_runs(["0"], _FILTER, order_by=_ORDER, max_results=_PAGE)

    class Nothing:
        def log_batch(self, *_: object, **__: object) -> None:
            pass

        def log_metric(self, *_: object, **__: object) -> None:
            pass

        def get_metric_history(self, *_: object, **__: object) -> Any:
            return history

        def search_runs(self, *_: object, **__: object) -> Any:
            return found

    scheme = f"nothing{id(found)}"
    _tracking_store_registry.register(scheme, lambda store_uri, artifact_uri: Nothing())
    return MlflowClient(f"{scheme}://")


def in_turns(what: str, ways: dict[str, Callable[[int], object]], rounds: int, calls: int = 1) -> Timed:
    """Each way once in each round; the first round is not counted."""
    timed = Timed(what, {name: [] for name in ways})
    for turn in range(rounds + 1):
        for name, call in ways.items():
            start = time.perf_counter()
            for number in range(calls):
                call(turn * calls + number)
            spent = (time.perf_counter() - start) * 1000 / calls
            if turn:
                timed.calls_ms[name].append(spent)
    return timed


def _clients(folder: Path) -> "dict[str, MlflowClient]":
    from mlflow import MlflowClient

    from expdb.bridges.tracking import uri_of

    folder.mkdir()
    clients = {
        OURS: MlflowClient(uri_of(folder / "expdb.db")),
        THEIRS: MlflowClient(f"sqlite:///{folder / 'mlflow.db'}"),
    }
    for client in clients.values():
        client.search_experiments()
    return clients


def measure_logging(folder: Path, rounds: int) -> list[Timed]:
    """Points written, in batches and one by one, and a curve read back."""
    from mlflow.entities import Metric

    clients = _clients(folder)
    uids = {name: client.create_run("0").info.run_id for name, client in clients.items()}
    for name, client in clients.items():
        for first in range(0, CURVE, POINTS):
            client.log_batch(uids[name], [Metric("curve", n / 7, n, n) for n in range(first, first + POINTS)])
    clients[NOTHING], uids[NOTHING] = client_of_nothing(clients[OURS], uids[OURS]), uids[OURS]
    assert [m.value for m in clients[OURS].get_metric_history(uids[OURS], "curve")] == [
        m.value for m in clients[THEIRS].get_metric_history(uids[THEIRS], "curve")
    ]

    def batch(name: str) -> Callable[[int], object]:
        return lambda turn: clients[name].log_batch(
            uids[name], [Metric(f"m{n % 10}", n / 7, 1000 * turn + n, 100 * turn + n // 10) for n in range(POINTS)]
        )

    def at_zero(name: str) -> Callable[[int], object]:
        return lambda turn: clients[name].log_batch(
            uids[name], [Metric("zero", turn * POINTS + n / 7, 1, 0) for n in range(POINTS)]
        )

    def single(name: str) -> Callable[[int], object]:
        return lambda turn: clients[name].log_metric(uids[name], "single", turn / 7, step=turn)

    def history(name: str) -> Callable[[int], object]:
        return lambda _: clients[name].get_metric_history(uids[name], "curve")

    return [
        in_turns(f"log_batch, {POINTS:,} metrics", {name: batch(name) for name in clients}, rounds),
        in_turns(f"log_batch, {POINTS:,} of one step and time", {name: at_zero(name) for name in clients}, rounds),
        in_turns("log_metric", {name: single(name) for name in clients}, rounds, CALLS),
        in_turns(f"get_metric_history, {CURVE:,} points", {name: history(name) for name in clients}, rounds),
    ]


def measure_search(folder: Path, runs: int, rounds: int) -> Timed:
    """A page of runs by a filter, ordered."""
    clients = _clients(folder)
    fill_ours(folder / "expdb.db", runs)
    fill_theirs(folder / "mlflow.db", runs)
    clients[NOTHING] = client_of_nothing(clients[OURS], "")

    def search(name: str) -> Callable[[int], Any]:
        return lambda _: clients[name].search_runs(["0"], _FILTER, order_by=_ORDER, max_results=_PAGE)

    named = {name: [run.info.run_name for run in search(name)(0)] for name in (OURS, THEIRS)}
    assert named[OURS] == named[THEIRS]
    ways = {name: search(name) for name in clients}
    return in_turns(f"search_runs over {runs:,}, {len(named[OURS]):,} found", ways, rounds)


def section(found: Sequence[Timed]) -> Section:
    """The findings as a page shows them."""
    rows = []
    for one in found:
        ours, theirs, nothing = (one.calls_ms[name] for name in (OURS, THEIRS, NOTHING))
        ratio, ceiling = pairwise_ratio(theirs, ours), pairwise_ratio(theirs, nothing)
        times = [f"{median(calls):.3f}" for calls in (ours, theirs, nothing)]
        rows.append([one.what, *times, f"{ratio:.1f}", f"{ceiling:,.0f}", verdict(ratio, LIMIT, at_least=True)])
    header = ["one call", "expdb ms", "MLflow's SQLite ms", "nothing ms", "times as fast", "ceiling", "limit"]
    text = results.table(header, rows)
    text += "\nThrough `MlflowClient` in one process, in turns; medians. The ceiling is a store that does nothing.\n"
    text += "expdb's commits do not wait for the disk (WAL, synchronous NORMAL), those of MLflow's SQLite store do.\n"
    return Section("mlflow_store", "MLflow's API: expdb's database beside MLflow's own store", text)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        found = measure_logging(Path(at) / "logging", words.rounds)
        found += [measure_search(Path(at) / str(runs), runs, words.rounds) for runs in words.runs]
    made = section(found)
    command = results.command_line("benchmarks.mlflow_store")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
