"""`pull` and `push`: runs from and to other MLflow stores arrive whole, once, and again only what is new."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from commands import Expdb, environment, expdb_in
from conftest import WriteLog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow_stores import Stores, client, content, fill, history, server

from expdb.bridges import pull, push
from expdb.bridges.files import copy
from expdb.bridges.names import cleaned, is_taken
from expdb.bridges.remote import open_store
from expdb.errors import DatabaseError, NotFoundError, UsageError
from expdb.store import departures, editing, reader, upkeep
from expdb.store.database import Database
from expdb.store.merging import merge
from expdb.store.opening import open_database
from expdb.store.sqlite import SqliteDatabase

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)

NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def source(stores: Stores) -> str:
    """A filled store that no test changes."""
    uri = stores.new("source")
    fill(uri)
    return uri


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    return expdb_in(tmp_path)


def pulled(database: Database, uri: str, **asked: Any) -> pull.Outcome:
    with open_store(uri, "read") as remote:
        return pull.pull(database, remote, pull.Request(**asked), NOW_MS, lambda _: nullcontext(lambda _: None))


def pushed(database: Database, uri: str, *runs: int, **asked: Any) -> push.Outcome:
    ids = runs or tuple(record.id for record in reader.runs(database))
    with open_store(uri, "write") as remote:
        request = push.Request(ids, removed=not runs, **asked)
        return push.push(database, remote, request, NOW_MS, lambda _: nullcontext(lambda _: None))


def one(database: Database, name: str) -> reader.RunRecord:
    (found,) = [record for record in reader.runs(database) if record.name == name]
    return found


# ── round trips ──


def test_what_is_pulled_and_pushed_elsewhere_is_equal(database: Database, source: str, stores: Stores) -> None:
    into = stores.new("round")
    came, went = pulled(database, source), pushed(database, into)
    assert (came.new, went.new, came.points, came.refused, went.refused, went.notes) == (4, 4, went.points, [], [], [])
    assert content(into) == content(source)


def test_old_folders_are_read_and_written(database: Database, tmp_path: Path) -> None:
    old, new = tmp_path / "mlruns", tmp_path / "new"
    fill(str(old))
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    pulled(database, str(old))
    pushed(database, str(new))
    assert content(str(new)) == content(str(old))
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    # They keep infinity as it is, and so do we.
    assert {"inf", "-inf", "nan"} <= {
        value for _, _, value in content(str(new))["vision", "r0", 1_700_000_000_000]["points"]["loss"]
    }


def test_data_sets_and_logged_models_make_the_round_trip(database: Database, stores: Stores) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric

    source, into = stores.new("models"), stores.new("models-into")
    to = client(source)
    run = to.create_run("0", run_name="r", start_time=1)
    uid = run.info.run_id
    data = Dataset("d", "abc", "local", "/x", "a schema", "a profile")
    tags = [InputTag("mlflow.data.context", "training"), InputTag("x", "y")]
    to.log_inputs(uid, [DatasetInput(data, tags)])
    model = to.create_logged_model("0", "m", uid, params={"p": "1"}, tags={"q": "2"}, model_type="cnn")
    to.log_batch(
        uid, [Metric("f1", 0.5, 3, 4, model_id=model.model_id, dataset_name="d", dataset_digest="abc", run_id=uid)]
    )
    to.finalize_logged_model(model.model_id, "READY")
    to.log_outputs(uid, [LoggedModelOutput(model.model_id, 4)])
    to.set_terminated(uid)
    assert (pulled(database, source).models, pushed(database, into).models) == (1, 1)
    assert content(into) == content(source)
    (there,) = client(into).search_runs(["0"])
    assert [(out.step, out.model_id) for out in there.outputs.model_outputs] == [
        (4, client(into).search_logged_models(["0"])[0].model_id)
    ]
    assert (pulled(database, source).models, pushed(database, into).models) == (0, 0)
    assert content(into) == content(source)


_KEYS = st.text("abcXYZ0189_-. /测", min_size=1, max_size=12).filter(lambda key: is_taken(key) and key.strip() == key)
_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
_POINTS = st.lists(
    st.tuples(st.integers(-5, 2**40), st.integers(0, 2**41), st.floats()),
    min_size=1,
    max_size=12,
    unique_by=lambda p: p[:2],
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    runs=st.lists(
        st.tuples(
            st.dictionaries(_KEYS, _WORDS, max_size=4),
            st.dictionaries(_KEYS, _WORDS, max_size=4),
            st.dictionaries(_KEYS, _POINTS, max_size=3),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_was_logged_makes_the_round_trip(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory, runs: Any
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    folder = tmp_path_factory.mktemp("trip")
    source, into = stores.new("hypothesis"), stores.new("hypothesis-into")
    to = client(source)
    for number, (params, tags, curves) in enumerate(runs):
        uid = to.create_run("0", run_name=f"r{number}", start_time=number).info.run_id
        points = [Metric(key, value, time_ms, step) for key, curve in curves.items() for step, time_ms, value in curve]
        to.log_batch(uid, points, [Param(*word) for word in params.items()], [RunTag(*word) for word in tags.items()])
    with SqliteDatabase.create(folder / "e.db") as database:
        pulled(database, source)
        pushed(database, into)
        assert content(into) == content(source)
        again, back = pulled(database, source), pushed(database, into)
        assert (again.new, again.grown, again.points, back.new, back.grown, back.points) == (0, 0, 0, 0, 0, 0)


def test_a_server_is_pulled_from_and_pushed_to(
    database: Database, source: str, stores: Stores, tmp_path: Path, expdb: Expdb
) -> None:
    with server(stores.new("server"), tmp_path) as address:
        pulled(database, source)
        first = expdb("push", address)
        assert (first.returncode, first.stderr) == (0, "")
        assert "3 new runs" in first.stdout or "4 new runs" in first.stdout
        assert content(address) == content(source)
        nothing = pushed(database, f"{address}/")
        assert (nothing.new, nothing.grown, nothing.points) == (0, 0, 0)
        # From there into another database: files are copied, not only named.
        to = client(address)
        (run,) = to.search_runs([to.get_experiment_by_name("vision").experiment_id], "attributes.run_name = 'r0'")
        to.log_text(run.info.run_id, "weights", "best/model.txt")
        with SqliteDatabase.create(tmp_path / "other.db") as other:
            asked: dict[str, Any] = {"artifacts": "copy", "root": tmp_path / "files here"}
            came, again = pulled(other, address, **asked), pulled(other, address, **asked)
            assert (came.new, came.copied, came.copied_bytes, came.refused) == (4, 1, 7, [])
            assert (again.new, again.grown, again.points, again.copied) == (0, 0, 0, 0)
            # It has the id that it began with.
            uid = run.data.tags["expdb.uid"]
            file = tmp_path / "files here" / uid / "artifacts" / "best" / "model.txt"
            assert file.read_text() == "weights"
            found = other.rows("SELECT artifact_uri FROM run WHERE uid = ?", (uid,))
            assert found == [(file.parents[1].as_uri(),)]
        with SqliteDatabase.create(tmp_path / "linked.db") as linked:
            pulled(linked, address)
            # An address that leads there from anywhere.
            ((uri,),) = linked.rows("SELECT artifact_uri FROM run WHERE uid = ?", (uid,))
            assert [(one.path, one.error) for one in copy(uri, tmp_path / "by link")] == [("best/model.txt", None)]


def test_an_experiment_that_is_deleted_there_arrives_deleted(database: Database, stores: Stores) -> None:
    source, into = stores.new("deleted"), stores.new("deleted-into")
    fill(source)
    to = client(source)
    to.delete_experiment(to.get_experiment_by_name("vision").experiment_id)
    pulled(database, source)
    assert reader.runs(database) == []
    assert pushed(database, into).new == 4
    assert content(into) == content(source)
    assert {one["state"][2] for key, one in content(into).items() if "models" not in key} == {"deleted"}
    again, back = pulled(database, source), pushed(database, into)
    assert (again.new, again.grown, back.new, back.grown, back.same, back.refused) == (0, 0, 0, 0, 4, [])


def test_files_go_along_where_that_is_asked_for(database: Database, stores: Stores, tmp_path: Path) -> None:
    from mlflow.entities import ViewType

    source, into = stores.new("files"), stores.new("files-into")
    to, of = client(source), client(into)
    experiment = to.create_experiment("e", artifact_location=(tmp_path / "there").as_uri())
    of.create_experiment("e", artifact_location=(tmp_path / "elsewhere").as_uri())
    uid = to.create_run(experiment).info.run_id
    to.log_text(uid, "weights", "best/模型 1.txt")
    to.log_text(uid, "", "empty.txt")
    pulled(database, source)
    root = tmp_path / "runs"
    first, second = pushed(database, into, root=root), pushed(database, into, root=root)
    assert (first.copied, first.copied_bytes, first.refused) == (2, 7, [])
    assert (second.copied, second.grown) == (0, 0)
    (run,) = of.search_runs([of.get_experiment_by_name("e").experiment_id], run_view_type=ViewType.ALL)
    there = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (there / "best" / "模型 1.txt").read_text() == "weights"
    assert (there / "empty.txt").read_text() == ""


# ── again ──


def test_a_second_pull_brings_nothing_and_a_third_what_was_added(database: Database, stores: Stores) -> None:
    uri = stores.new("growing")
    uid, *_, child = fill(uri)
    pulled(database, uri)
    again = pulled(database, uri)
    assert (again.new, again.grown, again.same, again.points) == (0, 0, 4, 0)
    to = client(uri)
    to.log_metric(child, "loss", 0.25, timestamp=9, step=9)
    to.set_tag(uid, "k", "changed")
    to.log_param(uid, "late", "1")
    to.set_terminated(child)
    grown = pulled(database, uri)
    assert (grown.new, grown.grown, grown.same, grown.points) == (0, 2, 2, 1)
    assert one(database, "r0").tags["k"] == "changed"
    assert one(database, "r0").params["late"] == "1"
    assert (one(database, "child").status, one(database, "child").metrics[0].last_value) == ("finished", 0.25)


def test_a_point_that_comes_behind_the_last_one_of_an_ended_run_is_found_by_again(
    database: Database, stores: Stores
) -> None:
    uri = stores.new("late")
    uid, *_ = fill(uri)
    pulled(database, uri)
    to = client(uri)
    to.log_metric(uid, "loss", 0.125, timestamp=1, step=0)
    assert pulled(database, uri).points == 0
    assert pulled(database, uri, again=True).points == 1
    # Or where anything else was said of the run since.
    to.log_metric(uid, "loss", 0.25, timestamp=1, step=0)
    to.set_tag(uid, "late", "1")
    assert pulled(database, uri).points == 1


def test_an_experiment_that_was_renamed_there_is_told(database: Database, stores: Stores) -> None:
    uri = stores.new("renamed")
    fill(uri)
    assert pulled(database, uri).notes == []
    client(uri).rename_experiment("1", "seeing")
    assert pulled(database, uri).notes == [
        "experiment seeing: 4 of its runs are in vision here; expdb edit -e moves them"
    ]


def test_infinity_comes_back_from_a_store_that_has_none(
    database: Database, stores: Stores, tmp_path: Path, expdb: Expdb
) -> None:
    lines = [f"epoch {n}, loss {value}\n" for n, value in enumerate(("inf", "1.5", "-inf"), 1)]
    (tmp_path / "a.log").write_text("".join(lines))
    into = stores.new("clipped")
    expdb("ingest", "a.log")
    said = expdb("push", into)
    assert (said.returncode, said.stderr.count("\n")) == (0, 1)
    assert "±inf in 1 metric: MLflow's databases keep ±1.797e308" in said.stderr
    with SqliteDatabase.create(tmp_path / "other.db") as other:
        assert pulled(other, into).points == 3
        assert other.rows("SELECT value FROM point ORDER BY seq") == [(math.inf,), (1.5,), (-math.inf,)]
        assert pulled(other, into, again=True).points == 0


def test_an_experiment_without_runs_goes_along_with_everything(database: Database, source: str, stores: Stores) -> None:
    pulled(database, source)
    with database.transaction() as connection:
        connection.execute("INSERT INTO experiment (name, created_ms, updated_ms) VALUES ('empty', 1, 1)")
    into = stores.new("empty")
    assert pushed(database, into, dry_run=True).experiments == 1
    assert (pushed(database, into).experiments, pushed(database, into).experiments) == (1, 0)
    assert client(into).get_experiment_by_name("empty").lifecycle_stage == "active"


def test_a_folder_takes_any_name_and_what_is_none_of_its_experiments_is_told(
    database: Database, expdb: Expdb, tmp_path: Path
) -> None:
    old, new = tmp_path / "mlruns", tmp_path / "new"
    to = client(str(old))
    number = to.create_experiment("it")
    to.create_run(number)
    meta = old / number / "meta.yaml"
    meta.write_text(meta.read_text().replace("name: it", "name: ann's best"))
    (old / "stray").mkdir()
    done = expdb("pull", str(old))
    assert (done.returncode, done.stderr) == (
        0,
        f"expdb: {old / 'stray'}: no experiment of MLflow's (it has no meta.yaml)\n",
    )
    assert pushed(database, str(new)).refused == []
    assert content(str(new)).keys() == content(str(old)).keys()


def test_a_server_has_no_file_of_this_machine_read_or_written(
    database: Database, source: str, stores: Stores, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "key").write_text("secret")
    store = stores.new("lying")
    to = client(store)
    to.create_run(to.create_experiment("e", artifact_location=private.as_uri()))
    uid = to.create_run("1").info.run_id
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (private.as_uri(), uid))
    with server(store, tmp_path) as address:
        found = pulled(database, address, artifacts="copy", root=tmp_path / "fetched")
        assert len(found.refused) == 2 and "on this machine" in found.refused[0]
        assert found.copied == 0 and not (tmp_path / "fetched").exists()
        with SqliteDatabase.create(tmp_path / "linked.db") as linked:
            assert pulled(linked, address).refused == []
            third = stores.new("third")
            sent = pushed(linked, third, root=tmp_path / "runs")
            assert sent.copied == 0 and len(sent.refused) == 2 and "on this machine" in sent.refused[0]


@pytest.mark.parametrize("values", [(1.0, 0.5), (0.5, 1.0), (-1.0, float("nan")), (1.0, float("nan")), (3, 1, 2)])
def test_of_several_values_at_one_step_and_time_the_last_is_that_of_mlflow(
    values: tuple[float, ...], database: Database, stores: Stores
) -> None:
    uri = stores.new("ties")
    to = client(uri)
    uid = to.create_run("0").info.run_id
    for value in values:
        to.log_metric(uid, "m", value, timestamp=1000, step=0)
        pulled(database, uri)
    ((last, count),) = database.rows("SELECT last_value, count FROM metric")
    said = to.get_run(uid).data.metrics["m"]
    assert (repr(float("nan") if last is None else last), count) == (repr(said), len(values))
    assert upkeep.check(database) == []


def test_what_a_person_corrected_or_removed_here_stays(database: Database, stores: Stores) -> None:
    uri = stores.new("corrected")
    uid, second, *_ = fill(uri)
    pulled(database, uri)
    run_id = one(database, "r0").id
    editing.edit(database, run_id, editing.Changes(name="mine", params={"lr": "0.2"}, tags={"k": "ours"}), NOW_MS)
    editing.remove(database, [one(database, "r1").id], NOW_MS)
    client(uri).log_param(uid, "late", "1")
    client(uri).log_param(second, "late", "1")
    pulled(database, uri)
    found = one(database, "mine")
    assert (found.params, found.tags["k"]) == ({"lr": "0.2", "model/depth": "18", "late": "1"}, "ours")
    assert [record.name for record in reader.runs(database)] == ["child", "mine"]


def test_a_run_keeps_its_id_its_parent_and_its_state(database: Database, stores: Stores) -> None:
    uri = stores.new("ids")
    *uids, child = fill(uri)
    pulled(database, uri)
    rows = database.rows("SELECT r.uid, p.uid FROM run r LEFT JOIN run p ON p.id = r.parent_id")
    assert set(rows) == {*((uid, None) for uid in uids), (child, uids[0])}
    assert [record.status for record in reader.runs(database)] == ["running", "failed", "finished"]
    assert database.rows("SELECT uid FROM run WHERE deleted_ms IS NOT NULL") == [(uids[-1],)]


def test_a_run_that_still_goes_on_elsewhere_is_not_taken_for_lost(
    database: Database, source: str, expdb: Expdb
) -> None:
    pulled(database, source)
    listed = expdb("ls", "--format", "csv").stdout
    assert "child,vision,mlflow,running" in listed
    assert expdb("ls", "--format", "csv").stdout == listed


def test_runs_are_not_sent_back_where_they_came_from(database: Database, stores: Stores, write_log: WriteLog) -> None:
    first, second = stores.new("first"), stores.new("second")
    fill(first)
    pulled(database, first)
    assert (pushed(database, first).theirs, pushed(database, second).new) == (4, 4)
    back = pulled(database, second)
    assert (back.new, back.ours, back.points) == (0, 4, 0)
    assert len(content(first)) == len(content(second)) == 5


def test_a_run_that_two_databases_know_is_pushed_once(database: Database, stores: Stores, tmp_path: Path) -> None:
    first, into = stores.new("known-by-two"), stores.new("known-by-two-into")
    uid, *_ = fill(first)
    client(first).create_logged_model("1", "m", uid)
    pulled(database, first)
    with open_database(tmp_path / "other.db", create=True) as other:
        merge(other, database, NOW_MS)
        assert (pushed(database, into).new, pushed(other, into).new) == (4, 0)
        # And who merges later knows what was pushed.
        merge(other, database, NOW_MS)
        again = pushed(other, into)
        assert (again.new, again.models, again.points) == (0, 0, 0)
    assert content(into) == content(first)


def test_two_pushes_at_once_bring_each_run_once(
    database: Database, source: str, stores: Stores, tmp_path: Path
) -> None:
    pulled(database, source)
    into = stores.new("at-once")
    words = [sys.executable, "-m", "expdb", "push", into, "--db", str(database.address)]
    both = [subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=-1, stderr=-1, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sorted(out.count("4 new runs") for out, _ in said) == [0, 1], said
    assert len(client(into).search_runs(["1"])) == 3
    assert list(tmp_path.glob("*-push")) == []


def test_only_what_is_asked_for_is_pulled(database: Database, source: str) -> None:
    with pytest.raises(NotFoundError, match="no experiment 'nosuch'"):
        pulled(database, source, experiments=("nosuch",))
    assert pulled(database, source, experiments=("Default",)).new == 0
    assert pulled(database, source, condition="attributes.status = 'FAILED'").new == 1
    assert [record.name for record in reader.runs(database)] == ["r0"]


def test_a_dry_run_changes_nothing(
    database: Database, source: str, stores: Stores, tmp_path: Path, expdb: Expdb
) -> None:
    assert "4 new runs" in expdb("pull", source, "--dry-run", "--db", "none/x.db").stdout
    assert not (tmp_path / "none").exists()
    into = stores.new("dry")
    assert pulled(database, source, dry_run=True).new == 4
    assert reader.runs(database) == []
    pulled(database, source)
    assert pushed(database, into, dry_run=True).new == 4
    assert content(into) == {}


# ── interrupted ──


def killed_at(words: list[str], folder: Path, reached: Callable[[], bool]) -> int:
    """Kill -9 the command once something is reached; its code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "expdb", *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not reached():
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def count(path: Path, table: str) -> int:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as at:
            return int(at.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_a_killed_pull_and_a_killed_push_are_completed_by_the_same_command(
    stores: Stores, tmp_path: Path, expdb: Expdb
) -> None:
    source, into = stores.new("killed"), stores.new("killed-into")
    fill(source, runs=20, points=150)
    here, there = tmp_path / "runs" / "expdb.db", Path(into.removeprefix("sqlite:///"))
    assert killed_at(["pull", source], tmp_path, lambda: count(here, "run") >= 5) == -signal.SIGKILL
    assert 5 <= count(here, "run") < 21
    assert expdb("pull", source).returncode == 0
    assert expdb("db", "check").returncode == 0
    assert killed_at(["push", into], tmp_path, lambda: count(there, "metrics") >= 500) == -signal.SIGKILL
    assert 3 <= count(there, "runs") < 21
    assert expdb("push", into).returncode == 0
    assert content(into) == content(source)


def test_a_run_that_was_made_there_and_not_remembered_here_is_found_again(
    database: Database, stores: Stores, write_log: WriteLog, expdb: Expdb
) -> None:
    into = stores.new("forgotten")
    write_log()
    expdb("ingest", "logs")
    assert pushed(database, into).new == 1
    with database.transaction() as at:
        at.execute("DELETE FROM counterpart")
    again = pushed(database, into)
    assert (again.new, again.points, count(Path(into.removeprefix("sqlite:///")), "runs")) == (0, 0, 1)


# ── names and values that MLflow refuses ──


def test_names_that_mlflow_refuses_are_mapped_and_come_back_elsewhere(
    database: Database, stores: Stores, tmp_path: Path, expdb: Expdb
) -> None:
    into = stores.new("names")
    (tmp_path / "a.csv").write_text("epoch,acc@1,acc_1,mAP50(B),loss (avg)\n1,0.5,0.4,0.3,2\n2,0.6,0.5,0.4,1\n")
    assert expdb("ingest", "a.csv", "-e", "a", "-s", "lr (base)=0.1", "-t", "what?=yes").returncode == 0
    said = pushed(database, into)
    (run,) = client(into).search_runs([client(into).get_experiment_by_name("a").experiment_id])
    keys = {metric.key for metric in one(database, "a").metrics}
    assert said.refused == []
    assert len(run.data.metrics) == len(keys) == 4
    assert set(said.renamed) == {*(key for key in keys if not is_taken(key)), "lr (base)", "what?"}
    assert run.data.params == {"lr_base": "0.1"}
    assert run.data.tags["what"] == "yes"
    with SqliteDatabase.create(tmp_path / "other.db") as other:
        pulled(other, into)
        there, here = one(other, "a"), one(database, "a")
        assert (there.params, there.uid) == (here.params, here.uid)
        assert there.tags["what?"] == "yes"
        for metric in here.metrics:
            found = there.metric(metric.key)
            assert found and found.key == metric.key
            assert [p.value for p in reader.points(other, found.id)] == [
                p.value for p in reader.points(database, metric.id)
            ]
        # And goes by the same names from there to a third one.
        third = stores.new("names-third")
        pushed(other, third)
        (last,) = client(third).search_runs([client(third).get_experiment_by_name("a").experiment_id])
        assert last.data.metrics == run.data.metrics


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_every_cleaned_name_is_one_that_mlflow_takes(key: str) -> None:
    from mlflow.utils.validation import _validate_metric

    found = cleaned(key)
    assert is_taken(found)
    _validate_metric(found, 1.0, 0, 0)
    if is_taken(key):
        _validate_metric(key, 1.0, 0, 0)


def test_values_that_are_too_long_are_cut_there_and_whole_elsewhere(
    database: Database, stores: Stores, tmp_path: Path, write_log: WriteLog, expdb: Expdb
) -> None:
    into, long = stores.new("long"), "値" * 15_000
    write_log()
    expdb("ingest", "logs")
    run_id = one(database, "a").id
    editing.edit(database, run_id, editing.Changes(params={"config": long}, tags={"words": long}), NOW_MS)
    assert pushed(database, into).refused == []
    with SqliteDatabase.create(tmp_path / "other.db") as other:
        pulled(other, into)
        assert (one(other, "a").params["config"], one(other, "a").tags["words"]) == (long, long)
        assert pulled(other, into).grown == 0
    assert pushed(database, into).grown == 0


def test_reported_values_stand_at_step_0_there_and_are_reported_elsewhere(
    database: Database, stores: Stores, tmp_path: Path, expdb: Expdb
) -> None:
    into = stores.new("reported")
    (tmp_path / "page.md").write_text("# P\n\n| model | acc |\n| --- | --- |\n| A | 91.5 |\n| B | 90.5 |\n")
    assert expdb("ingest", "page.md").returncode == 0
    pushed(database, into)
    of = client(into)
    runs = of.search_runs([of.get_experiment_by_name("P").experiment_id])
    key = reader.runs(database)[0].metrics[0].key
    assert sorted((run.data.metrics[key], history(of, run.info.run_id, key)[0][0]) for run in runs) == [
        (90.5, 0),
        (91.5, 0),
    ]
    with SqliteDatabase.create(tmp_path / "other.db") as other:
        pulled(other, into)
        assert {(m.kind, m.last_step, m.last_value) for record in reader.runs(other) for m in record.metrics} == {
            ("reported", None, 90.5),
            ("reported", None, 91.5),
        }
    assert pushed(database, into, again=True).points == 0


def test_a_log_that_has_grown_sends_only_what_is_new(
    database: Database, stores: Stores, write_log: WriteLog, expdb: Expdb
) -> None:
    into = stores.new("log")
    write_log(epochs=5)
    expdb("ingest", "logs", "-s", "lr=0.1")
    first = pushed(database, into)
    write_log(epochs=8)
    expdb("ingest", "logs")
    second = pushed(database, into)
    assert (first.new, first.points, second.new, second.grown, second.points) == (1, 20, 0, 1, 12)
    (run,) = client(into).search_runs([client(into).get_experiment_by_name("logs").experiment_id])
    assert run.data.tags["mlflow.source.name"].endswith("a.log")
    assert run.data.params == {"lr": "0.1"}
    assert len(history(client(into), run.info.run_id, "test/accuracy")) == 8


def test_a_parent_that_is_pushed_later_still_has_its_children(database: Database, source: str, stores: Stores) -> None:
    into = stores.new("later")
    pulled(database, source)
    child, parent = one(database, "child").id, one(database, "r0").id
    pushed(database, into, child)
    pushed(database, into, parent)
    pushed(database, into, child)
    found = content(into)
    assert found["vision", "child", 7]["parent"] == ("r0", 1_700_000_000_000)


def test_parents_go_before_their_children_and_a_circle_ends(database: Database, source: str) -> None:
    pulled(database, source)
    ids = [record.id for record in reader.runs(database)]
    child, parent = one(database, "child").id, one(database, "r0").id
    order = [outgoing.id for outgoing in departures.runs(database, ids)]
    assert order.index(parent) < order.index(child)
    with database.transaction() as at:
        at.execute("UPDATE run SET parent_id = ? WHERE id = ?", (child, parent))
    assert sorted(outgoing.id for outgoing in departures.runs(database, ids)) == sorted(ids)


def test_a_param_that_says_something_else_there_is_told_and_left(
    database: Database, source: str, stores: Stores
) -> None:
    into = stores.new("conflict")
    pulled(database, source)
    pushed(database, into)
    editing.edit(database, one(database, "r0").id, editing.Changes(params={"lr": "0.2"}), NOW_MS)
    assert pushed(database, into).notes == ["r0: param lr is '0.1' there and cannot be changed to '0.2'"]


# ── what cannot be opened ──


def made(path: Path, *statements: str) -> str:
    with closing(sqlite3.connect(path)) as at:
        for statement in statements:
            at.execute(statement)
        at.commit()
    return f"sqlite:///{path}"


def test_a_store_that_cannot_be_opened_is_named_with_what_to_do(
    stores: Stores, tmp_path: Path, database: Database
) -> None:
    newer, other = stores.new("newer"), made(tmp_path / "other.db", "CREATE TABLE t (x)")
    made(Path(newer.removeprefix("sqlite:///")), "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    (tmp_path / "empty").mkdir()
    for uri, kind, words in (
        ("http://127.0.0.1:9", DatabaseError, "no server answers"),
        ("gopher://x", UsageError, "is no address"),
        ("expdb:///x.db", UsageError, "expdb's own"),
        (f"sqlite:///{database.address}", UsageError, "expdb's own"),
        (str(database.address), UsageError, "expdb's own"),
        (newer, DatabaseError, "newer MLflow"),
        (other, DatabaseError, "is no database of MLflow's"),
        (str(tmp_path / "nothing"), NotFoundError, "no folder and no database"),
        (f"sqlite:///{tmp_path}/nothing.db", NotFoundError, "there is no database"),
        (str(tmp_path / "empty"), Exception, "holds no experiment"),
    ):
        with pytest.raises(kind, match=words):
            open_store(uri, "read")
    with closing(sqlite3.connect(tmp_path / "other.db")) as at:
        assert at.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    assert not (tmp_path / "nothing").exists()


def test_a_password_in_an_address_is_neither_told_nor_kept() -> None:
    with pytest.raises(DatabaseError) as told:
        open_store("http://ann:geheim@127.0.0.1:9", "read")
    assert "geheim" not in told.value.message
    assert "127.0.0.1:9" in told.value.message


def test_an_older_database_is_read_and_not_changed(database: Database, stores: Stores) -> None:
    uri = stores.new("older")
    fill(uri)
    path = Path(uri.removeprefix("sqlite:///"))
    downgraded(path)
    before = path.read_bytes()
    assert pulled(database, uri).new == 4
    assert path.read_bytes() == before
    with pytest.raises(DatabaseError, match="older MLflow"):
        open_store(uri, "write")


def downgraded(path: Path) -> None:
    """Make it one of the MLflow before: the last migration undone."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config

    command.downgrade(_get_alembic_config(f"sqlite:///{path}"), "-1")


def test_without_mlflow_the_command_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'mlflow' else real(name, *a)\n"
        "sys.argv = ['expdb', 'pull', 'x.db']; from expdb.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment()
    )
    assert (done.returncode, done.stderr) == (
        1,
        "expdb: this needs mlflow, which is not installed\n  pip install 'expdb[mlflow]'\n",
    )


@pytest.fixture
def hostile() -> Iterator[str]:
    """A server whose list of files leads out of the folder."""
    import json
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"evil"
            if "path=" in self.path or self.path.endswith("artifacts"):
                names = ("../../evil.txt", "/tmp/evil.txt", "good.txt")
                body = json.dumps(
                    {"files": [{"path": name, "is_dir": False, "file_size": 4} for name in names]}
                ).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/api/2.0/mlflow-artifacts/artifacts"
        serving.shutdown()
        thread.join()


def test_files_cannot_be_copied_out_of_their_folder(hostile: str, tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "artifacts"
    done = list(copy(hostile, target))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] in ([], [target / "good.txt"])
    assert any(one.error for one in done)
    assert not Path("/tmp/evil.txt").exists()


def test_a_database_on_a_server_of_postgresql_pulls_and_pushes_as_well(
    postgres_url: str, source: str, stores: Stores
) -> None:
    into = stores.new("postgres")
    with open_database(postgres_url, create=True) as database:
        came, went = pulled(database, source), pushed(database, into)
        assert (came.new, went.new, came.points, came.refused, went.refused) == (4, 4, went.points, [], [])
        assert content(into) == content(source)
        again, back = pulled(database, source), pushed(database, into)
        assert (again.new, again.grown, again.points, back.new, back.grown, back.points) == (0, 0, 0, 0, 0, 0)
