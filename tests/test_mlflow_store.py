"""MLflow's client on expdb's database: directly, and through a server of MLflow's. What is asked is what MLflow's base
class and REST store promise; `test_mlflow_parity.py` asks MLflow's own store the same."""

import json
import math
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import expdb_in
from mlflow_doors import QUIET, needed, server

from expdb.address import Server
from expdb.bridges.tracking import address_of, uri_of
from expdb.errors import UsageError
from expdb.store.opening import open_database
from expdb.store.upkeep import check

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [
    # MLflow's own imports, and what its pages of documentation say of themselves.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]
DOORS = ("direct", "server", "postgres")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database that all doors of this module lead to."""
    needed()
    os.environ.update(QUIET)
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def uri(home: Path) -> str:
    """The database's tracking URI."""
    return uri_of(home / "results.db")


@pytest.fixture(scope="module")
def address(home: Path, uri: str) -> Iterator[str]:
    """A server over it."""
    with server(uri, home) as url:
        yield url


@pytest.fixture(scope="module")
def postgres_uri(postgres_server: Path, home: Path) -> Iterator[str]:
    """A database on a server of PostgreSQL's, which all tests of this module share."""
    import psycopg

    with psycopg.connect(host=str(postgres_server), user="expdb", dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EXPDB_RUNS", str(home / "runs"))
            yield f"expdb+postgresql://expdb@/mlflow?host={postgres_server}"
        connection.execute("DROP DATABASE mlflow WITH (FORCE)")


@pytest.fixture(params=DOORS)
def client(request: pytest.FixtureRequest, uri: str) -> "MlflowClient":
    """A client of the store, through each door."""
    from mlflow import MlflowClient

    named = {"server": "address", "postgres": "postgres_uri"}.get(request.param, "uri")
    return MlflowClient(request.getfixturevalue(named))


@pytest.fixture
def experiment(client: "MlflowClient", request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return str(client.create_experiment(request.node.name))


@pytest.fixture
def run_id(client: "MlflowClient", experiment: str) -> str:
    """A run of the test's own."""
    return str(client.create_run(experiment).info.run_id)


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """Error code and message of a call that is refused."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as caught:
        call()
    return str(caught.value.error_code), str(caught.value)


def values_of(client: "MlflowClient", run_id: str, key: str) -> list[tuple[int, int, str]]:
    """A curve as (time, step, value)."""
    return [(one.timestamp, one.step, repr(one.value)) for one in client.get_metric_history(run_id, key)]


# Experiments


def test_an_experiment_is_made_named_tagged_and_found(client: "MlflowClient", experiment: str) -> None:
    name = client.get_experiment(experiment).name
    client.set_experiment_tag(experiment, "team", "vision")
    client.set_experiment_tag(experiment, "mlflow.note.content", "what it is about")
    found = client.get_experiment_by_name(name)
    assert found is not None
    assert found.experiment_id == experiment
    assert found.lifecycle_stage == "active"
    assert found.tags == {"team": "vision", "mlflow.note.content": "what it is about"}
    assert found.creation_time == found.last_update_time
    assert [one.name for one in client.search_experiments(filter_string=f"name = '{name}' and tags.team = 'vision'")]
    client.delete_experiment_tag(experiment, "team")
    assert refused(lambda: client.delete_experiment_tag(experiment, "team"))[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_name_is_taken_even_by_a_deleted_experiment(client: "MlflowClient", experiment: str) -> None:
    name = client.get_experiment(experiment).name
    assert refused(lambda: client.create_experiment(name))[0] == "RESOURCE_ALREADY_EXISTS"
    run_id = client.create_run(experiment).info.run_id
    client.delete_experiment(experiment)
    assert refused(lambda: client.create_experiment(name))[0] == "RESOURCE_ALREADY_EXISTS"
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert refused(lambda: client.create_run(experiment))[0] == "INVALID_PARAMETER_VALUE"
    assert refused(lambda: client.delete_experiment(experiment))[0] == "RESOURCE_DOES_NOT_EXIST"
    client.restore_experiment(experiment)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    client.rename_experiment(experiment, f"{name} again")
    assert client.get_experiment(experiment).name == f"{name} again"


def test_the_default_experiment_is_number_zero(client: "MlflowClient") -> None:
    assert client.get_experiment("0").name == "Default"


# Runs


def test_a_run_has_the_words_it_was_given(client: "MlflowClient", experiment: str) -> None:
    from mlflow.entities import RunStatus

    tags = {"a": "b", "mlflow.user": "ann", "mlflow.source.name": "train.py", "leer": ""}
    run = client.create_run(experiment, start_time=12345, tags=tags, run_name="first")
    found = client.get_run(run.info.run_id)
    assert found.info.run_name == "first"
    assert found.info.start_time == 12345
    assert (found.info.status, found.info.end_time, found.info.user_id) == ("RUNNING", None, "ann")
    assert found.data.tags == {**tags, "mlflow.runName": "first"}
    client.set_terminated(run.info.run_id, "KILLED", end_time=99999)
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.info.end_time) == (RunStatus.to_string(RunStatus.KILLED), 99999)


def test_a_name_is_a_tag_and_a_tag_is_a_name(client: "MlflowClient", run_id: str) -> None:
    assert client.get_run(run_id).info.run_name
    client.set_tag(run_id, "mlflow.runName", "by tag")
    assert client.get_run(run_id).info.run_name == "by tag"
    client.update_run(run_id, name="by name")
    assert client.get_run(run_id).data.tags["mlflow.runName"] == "by name"


def test_a_deleted_run_is_closed_until_it_is_restored(client: "MlflowClient", experiment: str, run_id: str) -> None:
    client.log_metric(run_id, "loss", 1.0)
    client.delete_run(run_id)
    for call in (
        lambda: client.log_metric(run_id, "loss", 2.0),
        lambda: client.log_param(run_id, "a", "b"),
        lambda: client.set_tag(run_id, "a", "b"),
        lambda: client.set_terminated(run_id),
    ):
        code, message = refused(call)
        assert code == "INVALID_PARAMETER_VALUE"
        assert "must be in the 'active' state" in message
    assert client.search_runs([experiment]) == []
    assert [run.info.run_id for run in client.search_runs([experiment], run_view_type=2)] == [run_id]
    client.restore_run(run_id)
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_an_unknown_run_is_not_found(client: "MlflowClient") -> None:
    for call in (
        lambda: client.get_run("0" * 32),
        lambda: client.log_metric("0" * 32, "a", 1.0),
        lambda: client.delete_run("0" * 32),
    ):
        assert refused(call)[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_nested_run_is_below_its_parent(client: "MlflowClient", experiment: str, run_id: str) -> None:
    child = client.create_run(experiment, tags={"mlflow.parentRunId": run_id}).info.run_id
    found = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    assert [run.info.run_id for run in found] == [child]
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == run_id
    stranger = client.create_run(experiment, tags={"mlflow.parentRunId": "f" * 32}).info.run_id
    assert client.get_run(stranger).data.tags["mlflow.parentRunId"] == "f" * 32


# What a run logs


def test_a_param_cannot_be_changed(client: "MlflowClient", run_id: str) -> None:
    from mlflow.entities import Metric, Param

    client.log_param(run_id, "lr", "0.1")
    client.log_param(run_id, "lr", "0.1")
    client.log_batch(run_id, params=[Param("lr", "0.1"), Param("depth", "18")])
    code, message = refused(lambda: client.log_batch(run_id, [Metric("m", 1.0, 1, 1)], [Param("lr", "0.2")]))
    assert code == "INVALID_PARAMETER_VALUE"
    assert "Changing param values is not allowed" in message
    found = client.get_run(run_id).data
    assert found.params == {"lr": "0.1", "depth": "18"}
    assert found.metrics == {}, "a batch that is refused leaves nothing"


def test_values_come_back_as_they_were_written(client: "MlflowClient", run_id: str) -> None:
    written = [0.1, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 1 / 3]
    for step, value in enumerate(written):
        client.log_metric(run_id, "m", value, timestamp=1000 + step, step=step)
    assert [repr(one.value) for one in client.get_metric_history(run_id, "m")] == [repr(value) for value in written]


def test_a_repeat_is_stored_once_and_other_values_of_its_step_beside_it(client: "MlflowClient", run_id: str) -> None:
    from mlflow.entities import Metric

    points = [Metric("m", value, 7, step) for step in (5, 3, 3) for value in (1.0, 2.0, math.nan, 1.0)]
    for _ in range(2):
        client.log_batch(run_id, points)
    client.log_metric(run_id, "m", 2.0, timestamp=7, step=3)
    expected = sorted((7, step, repr(value)) for step in (3, 5) for value in (1.0, 2.0, math.nan))
    assert sorted(values_of(client, run_id, "m")) == expected


def test_the_last_value_is_that_of_the_greatest_step_then_time_then_value(client: "MlflowClient", run_id: str) -> None:
    for step, time, value in ((1, 9, 5.0), (2, 3, 1.0), (2, 4, 7.0), (2, 4, 8.0), (2, 4, 6.0), (0, 99, 100.0)):
        client.log_metric(run_id, "m", value, timestamp=time, step=step)
    assert client.get_run(run_id).data.metrics == {"m": 8.0}


def test_a_curve_is_read_by_time_and_in_pages(client: "MlflowClient", run_id: str) -> None:
    from mlflow.entities import Metric

    client.log_batch(run_id, [Metric("m", float(n), 1000 - n, n) for n in range(25)])
    assert [one.step for one in client.get_metric_history(run_id, "m")] == list(reversed(range(25)))
    store = client._tracking_client.store
    page = store.get_metric_history(run_id, "m", max_results=10)
    steps = [one.step for one in page]
    while page.token:
        page = store.get_metric_history(run_id, "m", max_results=10, page_token=page.token)
        steps += [one.step for one in page]
    assert steps == list(reversed(range(25)))
    assert client.get_metric_history(run_id, "other") == []


def test_limits_are_those_of_mlflow(client: "MlflowClient", run_id: str) -> None:
    from mlflow.entities import Metric, Param, RunTag

    def store(metrics: int, params: int, tags: int) -> None:
        client._tracking_client.store.log_batch(
            run_id,
            [Metric("m", 1.0, 1, n) for n in range(metrics)],
            [Param(f"p{n}", "x") for n in range(params)],
            [RunTag(f"t{n}", "x") for n in range(tags)],
        )

    store(800, 100, 100)
    for numbers in ((1001, 0, 0), (0, 101, 0), (0, 0, 101), (900, 60, 60)):
        code, message = refused(lambda numbers=numbers: store(*numbers))  # type: ignore[misc]
        assert code == "INVALID_PARAMETER_VALUE"
        assert "can contain at most" in message
    assert refused(lambda: client.log_metric(run_id, "a(b)", 1.0))[0] == "INVALID_PARAMETER_VALUE"
    assert refused(lambda: client.log_param(run_id, "k" * 251, "x"))[0] == "INVALID_PARAMETER_VALUE"


def test_tags_are_overwritten_and_deleted(client: "MlflowClient", run_id: str) -> None:
    client.set_tag(run_id, "a", "1")
    client.set_tag(run_id, "a", "2")
    client.set_tag(run_id, "mlflow.note.content", "# a note")
    assert client.get_run(run_id).data.tags["a"] == "2"
    assert client.get_run(run_id).data.tags["mlflow.note.content"] == "# a note"
    for key in ("a", "mlflow.note.content"):
        client.delete_tag(run_id, key)
        assert refused(lambda key=key: client.delete_tag(run_id, key))[0] == "RESOURCE_DOES_NOT_EXIST"  # type: ignore[misc]


# Data sets and models


def test_a_run_reads_data_sets(client: "MlflowClient", experiment: str, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(name="digits", digest="d1", source_type="local", source="{}", schema="{}", profile="{}")
    tags = [InputTag("mlflow.data.context", "training"), InputTag("fold", "1")]
    for _ in range(2):
        client.log_inputs(run_id, [DatasetInput(data, tags)])
    inputs: Any = client.get_run(run_id).inputs
    (found,) = inputs.dataset_inputs
    assert found.dataset.to_dictionary() == data.to_dictionary()
    assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training", "fold": "1"}
    for filter_string in ("dataset.name = 'digits'", "datasets.digest LIKE 'd%'", "dataset.context IN ('training')"):
        assert len(client.search_runs([experiment], filter_string)) == 1
    assert client.search_runs([experiment], "dataset.name != 'digits'") == []


def test_a_logged_model_is_made_written_found_and_deleted(client: "MlflowClient", experiment: str, run_id: str) -> None:
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    model = client.create_logged_model(
        experiment, "net", source_run_id=run_id, tags={"a": "b"}, params={"lr": "0.1"}, model_type="torch"
    )
    assert model.status == LoggedModelStatus.PENDING
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.set_logged_model_tags(model.model_id, {"stage": "best"})
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
    for value in (0.5, 0.9, 0.9):
        client.log_metric(run_id, "acc", value, timestamp=1, step=int(value * 10), model_id=model.model_id)
    found = client.get_logged_model(model.model_id)
    assert found.status == LoggedModelStatus.READY
    assert (found.name, found.source_run_id, found.model_type) == ("net", run_id, "torch")
    assert found.tags == {"a": "b", "stage": "best"}
    assert found.params == {"lr": "0.1"}
    assert [(one.key, one.value, one.run_id) for one in found.metrics or []] == [
        ("acc", 0.5, run_id),
        ("acc", 0.9, run_id),
    ]
    assert client.get_run(run_id).data.metrics == {"acc": 0.9}
    outputs: Any = client.get_run(run_id).outputs
    (output,) = outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 3)

    def named(filter_string: str, **rest: Any) -> list[str]:
        return [one.name for one in client.search_logged_models([experiment], filter_string, **rest)]

    client.create_logged_model(experiment, "other", params={"lr": "0.2"})
    assert named("params.lr = '0.1'") == named("metrics.acc > 0.8") == named("tags.stage LIKE 'b%'") == ["net"]
    by_name = [{"field_name": "name", "ascending": True}]
    assert named("", order_by=by_name) == ["net", "other"]
    assert named("", order_by=[{"field_name": "metrics.acc", "ascending": False}]) == ["net", "other"]
    page = client.search_logged_models([experiment], max_results=1, order_by=by_name)
    again = client.search_logged_models([experiment], max_results=1, order_by=by_name, page_token=page.token)
    assert [one.name for one in again] == ["other"]
    client.delete_logged_model(model.model_id)
    assert refused(lambda: client.get_logged_model(model.model_id))[0] == "RESOURCE_DOES_NOT_EXIST"
    assert named("") == ["other"]


def test_artifacts_go_below_the_run(client: "MlflowClient", run_id: str, tmp_path: Path) -> None:
    client.log_text(run_id, "hello", "notes/a.txt")
    assert [one.path for one in client.list_artifacts(run_id)] == ["notes"]
    target = client.download_artifacts(run_id, "notes/a.txt", str(tmp_path))
    assert Path(target).read_text() == "hello"


# What is not here


def test_what_is_not_here_is_empty_or_refused(client: "MlflowClient", experiment: str) -> None:
    assert client.search_registered_models() == []
    assert client.search_model_versions() == []
    assert client.search_traces(locations=[experiment]) == []
    code, message = refused(lambda: client.create_registered_model("m"))
    assert code == "NOT_IMPLEMENTED"
    assert "not supported" in message
    assert refused(lambda: client.get_registered_model("m"))[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_server_of_mlflow_stands_before_one_of_postgresql(postgres_uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    with server(postgres_uri, tmp_path) as url:
        client = MlflowClient(url)
        experiment = client.create_experiment("behind a server", tags={"team": "vision"})
        run = client.create_run(experiment, run_name="first", tags={"k": "v"})
        uid = run.info.run_id
        for values in ((5.0,), (3.0,), (3.0, 5.0, math.nan)):
            client.log_batch(uid, [Metric("m", value, 1, 0) for value in values])
        client.log_param(uid, "lr", "0.1")
        client.log_text(uid, "hello", "a.txt")
        text = f"metrics.m = 5 and params.lr = '0.1' and tags.k LIKE 'v' and artifact_uri = '{run.info.artifact_uri}'"
        (found,) = client.search_runs([experiment], text, order_by=["attributes.artifact_uri DESC", "metrics.m"])
        assert found.info.run_name == "first"
        assert sorted(value for _, _, value in values_of(client, uid, "m")) == ["3.0", "5.0", "nan"]
        assert [one.path for one in client.list_artifacts(uid)] == ["a.txt"]
        model = client.create_logged_model(experiment, "net", source_run_id=uid)
        by_state = [{"field_name": "status"}, {"field_name": "metrics.m", "dataset_digest": "d"}]
        (listed,) = client.search_logged_models([experiment], "lifecycle_stage = 'active'", order_by=by_state)
        assert listed.model_id == model.model_id
        assert refused(lambda: client.search_runs([experiment], "run_name LIKE ('a', 'b')"))[0] != "INTERNAL_ERROR"
        assert refused(lambda: client.create_experiment("behind a server"))[0] == "RESOURCE_ALREADY_EXISTS"


def test_old_clients_traces_are_refused_and_evaluation_data_sets_are_empty(address: str) -> None:
    def ask(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{address}/api/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["error_code"]

    begun = {"experiment_id": "0", "timestamp_ms": 1, "request_metadata": [], "tags": []}
    assert ask("POST", "2.0/mlflow/traces", begun) == (501, "NOT_IMPLEMENTED")
    assert ask("PATCH", "2.0/mlflow/traces/t", {"timestamp_ms": 1, "status": "OK"}) == (501, "NOT_IMPLEMENTED")
    assert ask("GET", "3.0/mlflow/datasets/d/experiment-ids") == (200, {})
    assert ask("GET", "3.0/mlflow/datasets/d/records") == (200, {"records": "[]"})


def test_the_page_is_served_and_what_it_asks_is_answered(address: str, experiment_of_page: str) -> None:
    def ask(path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{address}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    assert b"<html" in ask("")
    one = {"experiment_ids": [experiment_of_page]}
    found = json.loads(ask("ajax-api/2.0/mlflow/runs/search", {**one, "max_results": 100}))
    (run,) = found["runs"]
    uid = run["info"]["run_id"]
    bulk = f"metrics/get-history-bulk-interval?run_ids={uid}&metric_key=loss&max_results=5"
    points = json.loads(ask(f"ajax-api/2.0/mlflow/{bulk}"))["metrics"]
    assert points[0]["step"] == 0
    assert points[-1]["step"] == 19
    assert len(points) == 5
    for path, body in (
        ("ajax-api/2.0/mlflow/experiments/search-datasets", one),
        ("ajax-api/2.0/mlflow/logged-models/search", one),
        ("ajax-api/3.0/mlflow/traces/search", {"locations": []}),
        ("ajax-api/2.0/mlflow/registered-models/search", None),
        ("ajax-api/3.0/mlflow/datasets/search", one),
        (f"ajax-api/3.0/mlflow/scorers/list?experiment_id={experiment_of_page}", None),
    ):
        assert json.loads(ask(path, body)) in ({}, {"next_page_token": ""}), path
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask("api/2.0/mlflow/runs/get?run_id=nothing")
    assert caught.value.code == 404
    assert json.loads(caught.value.read())["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.fixture
def experiment_of_page(uri: str) -> str:
    """An experiment with one run and one curve."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    made = str(client.create_experiment("page"))
    run_id = client.create_run(made).info.run_id
    client.log_batch(run_id, [Metric("loss", 1 / (n + 1), n, n) for n in range(20)])
    return made


# One truth


LOG = "".join(f"epoch {n}, loss {2 / (n + 1):.4f}, test accuracy {0.3 + n / 100:.3f}\n" for n in range(5))
PAGE = "# Animals\n\n| model | test accuracy |\n| --- | --- |\n| VGG | 84.10% |\n"


def test_runs_from_logs_and_pages_appear_beside_those_of_mlflow(tmp_path: Path) -> None:
    needed()
    from mlflow import MlflowClient

    (tmp_path / "train.log").write_text(LOG)
    (tmp_path / "page.md").write_text(PAGE)
    run = expdb_in(tmp_path)("ingest", "train.log", "page.md", "-e", "both", "--db", "r.db")
    assert run.returncode == 0, run.stderr
    client = MlflowClient(uri_of(tmp_path / "r.db"))
    experiment = client.get_experiment_by_name("both")
    assert experiment is not None
    ours = client.create_run(experiment.experiment_id, run_name="mine")
    client.log_metric(ours.info.run_id, "test/accuracy", 0.5)
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(found) == {"train", "Animals row 1", "mine"}
    log, page = found["train"], found["Animals row 1"]
    assert log.info.status == "FINISHED"
    assert log.info.start_time > 0
    assert log.data.tags["mlflow.source.name"].endswith("train.log")
    assert log.data.metrics["test/accuracy"] == 0.34
    assert [one.step for one in client.get_metric_history(log.info.run_id, "train/loss")] == [0, 1, 2, 3, 4]
    (stated,) = client.get_metric_history(page.info.run_id, "test/accuracy")
    assert (stated.step, stated.value) == (0, 84.1)
    best = client.search_runs(
        [experiment.experiment_id], "metrics.`test/accuracy` < 1", order_by=["metrics.`test/accuracy` DESC"]
    )
    assert [run.info.run_name for run in best] == ["mine", "train"]


def test_what_a_client_reads_of_a_log_or_a_page_it_finds_again_and_stores_no_second_time(tmp_path: Path) -> None:
    needed()
    from mlflow import MlflowClient

    (tmp_path / "train.log").write_text(LOG)
    (tmp_path / "page.md").write_text(PAGE)
    run = expdb_in(tmp_path)("ingest", "train.log", "page.md", "-e", "both", "--db", "r.db")
    assert run.returncode == 0, run.stderr
    path = tmp_path / "r.db"
    client = MlflowClient(uri_of(path))
    experiment = client.get_experiment_by_name("both")
    assert experiment is not None
    for found in client.search_runs([experiment.experiment_id]):
        uid = found.info.run_id
        for text in (
            f"attributes.artifact_uri = '{found.info.artifact_uri}'",
            "user_id = '' and artifact_uri LIKE '%'",
        ):
            assert uid in [one.info.run_id for one in client.search_runs([experiment.experiment_id], text)]
        for key in found.data.metrics:
            before = values_of(client, uid, key)
            for one in client.get_metric_history(uid, key):
                client.log_metric(uid, key, one.value, one.timestamp, one.step)
            assert values_of(client, uid, key) == before
            last = client.get_metric_history(uid, key)[-1]
            for _ in range(2):
                client.log_metric(uid, key, 0.25, last.timestamp + 1, last.step + 1)
            assert len(values_of(client, uid, key)) == len(before) + 1
            assert client.get_run(uid).data.metrics[key] == 0.25
    with open_database(path) as database:
        assert check(database) == []


def test_a_run_of_mlflow_is_a_run_like_any_other(tmp_path: Path) -> None:
    needed()
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri_of(tmp_path / "runs" / "expdb.db"))
    for lr in ("0.1", "0.01"):
        run = client.create_run("0", run_name=f"lr {lr}")
        client.log_param(run.info.run_id, "lr", lr)
        client.log_batch(run.info.run_id, [Metric("val_acc", float(lr) * (1 + n % 3), n, n) for n in range(9)])
        client.set_terminated(run.info.run_id)
    expdb = expdb_in(tmp_path)
    table = expdb("compare", "--columns", "lr, max(val/accuracy), first(val/accuracy)", "--format", "csv")
    assert table.returncode == 0, table.stderr
    assert [line.split(",")[-3:] for line in table.stdout.splitlines()[1:]] == [
        ["0.1", "0.30000000000000004", "0.1"],
        ["0.01", "0.03", "0.01"],
    ]
    for words in (("ls",), ("show", "lr 0.1"), ("db", "check")):
        run_of = expdb(*words)
        assert run_of.returncode == 0, run_of.stderr
    renamed = expdb("edit", "lr 0.1", "--name", "wide", "--note", "kept")
    assert renamed.returncode == 0, renamed.stderr
    (found,) = client.search_runs(["0"], "run_name = 'wide'")
    assert found.data.tags == {"mlflow.runName": "wide", "mlflow.note.content": "kept"}


WORKERS = """
import os, sys
from mlflow import MlflowClient
from mlflow.entities import Metric
client = MlflowClient(sys.argv[1])
shared = client.create_run("0", run_name="shared").info.run_id
children = []
for number in range(8):
    if child := os.fork():
        children.append(child)
        continue
    run = client.create_run("0", run_name=f"worker {number}").info.run_id
    for step in range(40):
        client.log_metric(run, "loss", step / 7, step=step)
        client.log_metric(shared, "shared", step, timestamp=step, step=step)
        client.log_batch(shared, [Metric(f"own{number}", n, n, step) for n in range(5)])
    client.set_terminated(run)
    os._exit(0)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_eight_processes_log_at_once(tmp_path: Path) -> None:
    needed()
    from mlflow import MlflowClient

    uri = uri_of(tmp_path / "many.db")
    workers = subprocess.run(
        [sys.executable, "-c", WORKERS, uri],
        env={**os.environ, **QUIET},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert workers.returncode == 0, workers.stderr
    client = MlflowClient(uri)
    runs = client.search_runs(["0"], "status = 'FINISHED'")
    assert len(runs) == 8
    assert all(len(client.get_metric_history(run.info.run_id, "loss")) == 40 for run in runs)
    (shared,) = client.search_runs(["0"], "run_name = 'shared'")
    # The same point from eight processes is one point.
    assert len(client.get_metric_history(shared.info.run_id, "shared")) == 40
    assert all(len(client.get_metric_history(shared.info.run_id, f"own{number}")) == 200 for number in range(8))
    with open_database(tmp_path / "many.db") as database:
        assert check(database) == []


# The fluent API, and what logs by itself


def test_the_fluent_api_nests_runs_and_logs_what_a_loop_says(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        mlflow.set_experiment("fluent")
        with mlflow.start_run(run_name="outer") as outer:
            mlflow.log_params({"lr": 0.1, "layers": [1, 2]})
            for epoch in range(3):
                mlflow.log_metrics({"loss": 1 / (epoch + 1), "acc": epoch / 3}, step=epoch)
            with mlflow.start_run(run_name="inner", nested=True) as inner:
                mlflow.log_metric("loss", 0.25)
            mlflow.log_dict({"a": 1}, "a.json")
        frame = mlflow.search_runs(experiment_names=["fluent"], order_by=["attributes.start_time"])
        assert list(frame["tags.mlflow.runName"]) == ["outer", "inner"]
        assert mlflow.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id
        assert mlflow.get_run(outer.info.run_id).data.params == {"lr": "0.1", "layers": "[1, 2]"}
        assert mlflow.get_run(outer.info.run_id).info.status == "FINISHED"
        assert mlflow.artifacts.load_dict(f"{outer.info.artifact_uri}/a.json") == {"a": 1}
    finally:
        mlflow.set_tracking_uri("")


def test_what_is_logged_asynchronously_arrives(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    operations = [client.log_metric(run_id, "m", float(n), step=n, synchronous=False) for n in range(20)]
    for operation in operations:
        assert operation is not None
        operation.wait()
    assert [one.value for one in client.get_metric_history(run_id, "m")] == [float(n) for n in range(20)]


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_logs_by_itself(uri: str) -> None:
    pytest.importorskip("sklearn")
    import mlflow
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    mlflow.set_tracking_uri(uri)
    try:
        experiment = mlflow.set_experiment("sklearn")
        mlflow.sklearn.autolog(silent=True)
        with mlflow.start_run() as run:
            LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
        found = mlflow.get_run(run.info.run_id)
        assert found.data.params["C"] == "0.5"
        assert found.data.metrics["training_accuracy_score"] == 1.0
        (model,) = mlflow.search_logged_models(experiment_ids=[experiment.experiment_id], output_format="list")
        assert str(model.status) == "READY"
        assert model.source_run_id == run.info.run_id
        assert {metric.key for metric in model.metrics or []} >= {"training_accuracy_score"}
        outputs: Any = found.outputs
        assert [one.model_id for one in outputs.model_outputs] == [model.model_id]
        assert mlflow.sklearn.load_model(f"models:/{model.model_id}").predict([[3.0]]) == [1]
    finally:
        mlflow.sklearn.autolog(disable=True)
        mlflow.set_tracking_uri("")


def test_a_plain_loop_of_torch_logs_its_tensors(uri: str) -> None:
    torch: Any = pytest.importorskip("torch")
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        weight = torch.zeros(1, requires_grad=True)
        with mlflow.start_run(experiment_id="0") as run:
            for step in range(3):
                loss = ((weight - 1) ** 2).mean()
                loss.backward()
                with torch.no_grad():
                    weight -= 0.25 * weight.grad
                    weight.grad.zero_()
                mlflow.log_metric("loss", loss.detach(), step=step)
        found = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
        assert [(one.step, one.value) for one in found] == [(0, 1.0), (1, 0.25), (2, 0.0625)]
    finally:
        mlflow.set_tracking_uri("")


@pytest.mark.filterwarnings("ignore")
def test_lightning_logs_by_itself(uri: str, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    lightning: Any = pytest.importorskip("lightning", reason="lightning is not installed; MLflow logs it as any other")
    import mlflow

    module: Any = lightning.LightningModule

    class Line(module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, _: int) -> Any:
            loss = (self.layer(batch[0]) ** 2).mean()
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 1)), batch_size=4)
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.pytorch.autolog(log_models=False, silent=True)
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        )
        with mlflow.start_run(experiment_id="0") as run:
            trainer.fit(Line(), data)
        found = mlflow.get_run(run.info.run_id)
        assert found.data.params["optimizer_name"] == "SGD"
        points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train_loss")
        assert [one.step for one in points] == [0, 1]
    finally:
        mlflow.pytorch.autolog(disable=True)
        mlflow.set_tracking_uri("")


# URIs


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("expdb:///a/b.db", "/a/b.db"),
        ("expdb:////a/b.db", "/a/b.db"),
        ("expdb:/a/b.db", "/a/b.db"),
        ("expdb:///a%20b/c%25.db", "/a b/c%.db"),
        ("expdb:///a b/ü?#.db", "/a b/ü?#.db"),
    ],
)
def test_a_file_is_named_by_its_path(uri: str, path: str) -> None:
    assert address_of(uri) == Path(path)
    assert address_of(uri_of(Path(path))) == Path(path)


def test_a_server_is_named_by_its_url() -> None:
    named = address_of("expdb+postgresql://me@host/results")
    assert isinstance(named, Server)
    assert named.url == "postgresql://me@host/results"
    assert uri_of(named) == "expdb+postgresql://me@host/results"


@pytest.mark.parametrize("uri", ["expdb://a/b.db", "expdb:///", "expdb:", "sqlite:///a.db"])
def test_what_names_no_database_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        address_of(uri)


def test_a_uri_that_cannot_be_opened_is_told_in_mlflows_words(tmp_path: Path) -> None:
    needed()
    from mlflow import MlflowClient

    (tmp_path / "text.db").write_text("no database\n" * 100)
    code, message = refused(lambda: MlflowClient(uri_of(tmp_path / "text.db")).search_experiments())
    assert code == "INTERNAL_ERROR"
    assert "not a SQLite database" in message
