"""The same calls on MLflow's own SQLite store and on ours: the same answers, error codes and messages.

Known differences, wanted: ±inf is exact here, and a name that is taken is told without the SQL that found out.
"""

import math
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow_doors import QUIET, needed

from expdb.bridges.tracking import tracking_store, uri_of
from expdb.store.opening import open_database
from expdb.store.upkeep import check

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # SQLAlchemy's connections, which MLflow's store leaves to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

Call = Callable[[int, Any], Any]
RUNS = 40
NUMBERS = (0.1, 0.5, 0.9, 1.5, math.nan, -1.0, 0.0)
TEXTS = ("ResNet", "resnet", "VGG_16", "a%b", "x*y[z]?", "[a]")


class Pair:
    """Ours and theirs, filled alike. uids: each run's two uids; experiments: the two ids of the experiment."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.path = folder / "ours.db"
        self.clients = (MlflowClient(uri_of(self.path)), MlflowClient(f"sqlite:///{folder / 'theirs.db'}"))
        # Our database once more, as another process has it.
        self.other: Any = tracking_store(uri_of(self.path))
        self.experiments = [str(client.create_experiment("parity")) for client in self.clients]
        self.uids: list[tuple[str, str]] = []

    def run(self, words: Callable[[int, "MlflowClient"], "Run"]) -> tuple[str, str]:
        """A run in each store; its two uids."""
        ours, theirs = (words(side, client).info.run_id for side, client in enumerate(self.clients))
        self.uids.append((ours, theirs))
        return ours, theirs

    def same(self, call: Callable[[int, "MlflowClient"], Any]) -> Any:
        """What both stores answer to the call, or how both refuse it; fails where they differ."""
        ours, theirs = (self._answer(side, client, call) for side, client in enumerate(self.clients))
        assert ours == theirs
        return ours

    def _answer(self, side: int, client: "MlflowClient", call: Callable[[int, "MlflowClient"], Any]) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            answer: object = call(side, client)
        except MlflowException as error:
            answer = (error.error_code, str(error))
        text = repr(answer)
        for number, uids in enumerate(self.uids):
            text = text.replace(uids[side], f"run{number}")
        # Python prints a set in the order of that moment.
        return re.sub(r"\{('[^{}:]*')\}", lambda found: str(sorted(found[1].split(", "))), text)


def begun(pair: Pair, start_ms: int, tags: dict[str, str], name: str) -> "Callable[[int, MlflowClient], Run]":
    """What begins a run with these words."""
    return lambda side, client: client.create_run(pair.experiments[side], start_time=start_ms, tags=tags, run_name=name)


def names(runs: "list[Run]") -> list[str]:
    """The runs by their uids."""
    return [run.info.run_id for run in runs]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both stores, with the same runs."""
    needed()
    os.environ.update(QUIET)
    from mlflow.entities import Metric, Param

    made = Pair(tmp_path_factory.mktemp("parity"))
    dice = random.Random(7)
    for number in range(RUNS):
        metrics = {"acc": dice.choice(NUMBERS)} if number % 4 else {}
        params = {"lr": dice.choice(("0.1", "0.01")), "M": dice.choice(TEXTS)} if number % 5 else {}
        tags = {"team": dice.choice(("A", "a", "b_c", "%")), "sp ace": "v"} if number % 2 else {}
        name = dice.choice((f"n{number}", "same", "Same"))
        uids = made.run(begun(made, 1000 + number, tags, name))
        for uid, client in zip(uids, made.clients, strict=True):
            client.log_batch(
                uid, [Metric(k, v, 5, 1) for k, v in metrics.items()], [Param(k, v) for k, v in params.items()]
            )
            if number % 7 == 0:
                client.set_terminated(uid, "FAILED", end_time=2000 + number)
            if number % 11 == 0:
                client.delete_run(uid)
    yield made
    # Whatever was logged, and in whatever order, its summaries are those of its points.
    with open_database(made.path) as database:
        assert check(database) == []


FILTERS = (
    *("", "metrics.acc > 0.4", "metrics.acc != 0.5", "metrics.acc = 0.0", "metrics.`acc` >= -1e3"),
    *("metrics.acc < 0.5 and params.lr = '0.1'", "params.M LIKE '%_1_'", "params.M like '%*y[z]?'"),
    *("params.M LIKE '%*Y[z]?'", "params.M ILIKE 'res%'", "params.M LIKE 'Res%'", "params.M LIKE '[a]'"),
    *("params.M != 'ResNet'", "params.M IS NULL", "params.M IS NOT NULL", "tags.team ILIKE 'a'", 'tags.team = "A"'),
    *("tags.`sp ace` = 'v'", "tags.\"sp ace\" = 'v'", "tags.team IS NULL", "tags.`mlflow.note.content` IS NULL"),
    *("status = 'FAILED'", "attributes.status != 'FAILED'", "status LIKE 'F%'", "run_name = 'same'"),
    *("run_name ILIKE 'SAME'", "attributes.`run name` LIKE 'n%'", "tags.mlflow.runName = 'same'"),
    *("start_time > 1005", "created >= 1010", "end_time != 2000", "user_id = 'unknown'"),
    *("artifact_uri LIKE '%artifacts'", "run_id NOT IN ('a', 'b')", "dataset.name = 'd'", "datasets.context = 'x'"),
    *("metrics.acc > 'x'", "metrics.acc LIKE 'x'", "params.lr = 0.1", "params.lr > '0.1'", "foo.bar = 1"),
    *("attributes.foo = 'x'", "metrics.acc", "metrics.acc > 0.4 or metrics.acc < 3", "status IN ('FAILED')"),
    *("metrics.acc IS NULL", "dataset.foo = 'd'", "metrics.acc > 0.4; metrics.acc > 1", "run_id IN ()"),
)
ORDERS = (
    *("metrics.acc", "metrics.acc DESC", "params.M", "params.`M` desc", "tags.team DESC", "tags.mlflow.runName"),
    *("attributes.run_name DESC", "start_time ASC", "attributes.end_time", "end_time DESC", "status", "Created"),
    *("metrics.nothere DESC", "foo.x", "metrics", "metrics.acc UP", "user_id", "lifecycle_stage", "`Run Name`"),
)


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_finds_the_same_runs(pair: Pair, text: str) -> None:
    pair.same(lambda side, client: names(client.search_runs([pair.experiments[side]], text)))


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_is_the_same(pair: Pair, order: str) -> None:
    pair.same(lambda side, client: names(client.search_runs([pair.experiments[side]], order_by=[order])))


def test_views_pages_and_limits_are_the_same(pair: Pair) -> None:
    def whole(runs: "list[Run]") -> list[object]:
        kept = ("status", "lifecycle_stage", "start_time", "end_time", "user_id", "run_name")
        return [
            (sorted(r.data.params.items()), sorted(r.data.tags.items()), [getattr(r.info, name) for name in kept])
            for r in runs
        ]

    def pages(side: int, client: "MlflowClient") -> list[list[str]]:
        out, token = [], None
        while True:
            page = client.search_runs([pair.experiments[side]], max_results=7, page_token=token)
            out.append(names(page))
            if not (token := page.token):
                return out

    def search(ids: list[str] | None = None, **words: Any) -> None:
        pair.same(
            lambda side, client: whole(client.search_runs([pair.experiments[side]] if ids is None else ids, **words))
        )

    for view in (1, 2, 3):
        search(run_view_type=view)
    pair.same(pages)
    search(order_by=["metrics.acc DESC", "params.M ASC", "start_time"])
    search(order_by=["metrics.acc DESC", "metrics.acc"])
    for most in (0, -1, 50_001):
        search(max_results=most)
    for ids in (["abc"], ["9999"], []):
        search(ids)


def test_what_is_refused_is_refused_in_the_same_words(pair: Pair) -> None:
    import mlflow.entities
    from mlflow.entities import Param, RunTag

    # Some are given what is no metric.
    Metric: Any = mlflow.entities.Metric  # noqa: N806
    run, deleted = pair.uids[1], pair.uids[0]
    none = "0" * 32

    def store(client: "MlflowClient") -> Any:
        return client._tracking_client.store

    calls: list[Callable[[int, MlflowClient], Any]] = [
        lambda s, c: c.get_run(none),
        lambda s, c: c.delete_run(none),
        lambda s, c: c.restore_run(none),
        lambda s, c: c.log_metric(none, "a", 1.0),
        lambda s, c: c.log_batch(none, [Metric("a", 1.0, 1, 1)]),
        lambda s, c: c.log_batch("?", [Metric("a", 1.0, 1, 1)]),
        lambda s, c: c.log_metric(deleted[s], "a", 1.0),
        lambda s, c: c.log_param(deleted[s], "a", "1"),
        lambda s, c: c.delete_tag(deleted[s], "a"),
        lambda s, c: c.log_batch(deleted[s], [Metric("a", 1.0, 1, 1)]),
        lambda s, c: c.set_terminated(deleted[s]),
        lambda s, c: c.log_metric(run[s], "a(b)", 1.0),
        lambda s, c: c.log_metric(run[s], "../x", 1.0),
        lambda s, c: c.log_metric(run[s], "x" * 251, 1.0),
        lambda s, c: store(c).log_metric(run[s], Metric("x", None, 1, 1)),
        lambda s, c: store(c).log_metric(run[s], Metric("x", True, 1, 1)),
        lambda s, c: store(c).log_metric(run[s], Metric("x", "1", 1, 1)),
        lambda s, c: store(c).log_metric(run[s], Metric("x", 1.0, -1, 1)),
        lambda s, c: store(c).log_metric(run[s], Metric("x", 1.0, 1, "s")),
        lambda s, c: store(c).log_metric(run[s], Metric(None, 1.0, 1, 1)),
        lambda s, c: store(c).log_batch(run[s], [Metric("ok", 1.0, 1, 1), Metric("ok", None, 1, 1)], [], []),
        lambda s, c: store(c).log_batch(run[s], [Metric("x", 1.0, 1, n) for n in range(1001)], [], []),
        lambda s, c: store(c).log_batch(run[s], [], [Param(f"p{n}", "1") for n in range(101)], []),
        lambda s, c: store(c).log_batch(run[s], [], [], [RunTag(f"t{n}", "1") for n in range(101)]),
        lambda s, c: store(c).log_batch(run[s], [], [Param("q", "1"), Param("q", "2")], []),
        lambda s, c: c.log_batch(run[s], [Metric("ok", 1.0, 1, 1), Metric("b(", 1.0, 1, 1)]),
        lambda s, c: c.log_batch(run[s], [], [], [RunTag("a", "b"), RunTag("", "b")]),
        lambda s, c: c.log_param(run[s], "np", "1"),
        lambda s, c: c.log_param(run[s], "np", "1"),
        lambda s, c: c.log_param(run[s], "np", "2"),
        lambda s, c: c.log_batch(run[s], [Metric("left", 1.0, 1, 1)], [Param("np", "7")], [RunTag("left", "1")]),
        lambda s, c: (sorted(c.get_run(run[s]).data.tags.items()), sorted(c.get_run(run[s]).data.metrics)),
        lambda s, c: c.log_param(run[s], "k" * 251, "x"),
        lambda s, c: c.log_param(run[s], "long", "x" * 7000),
        lambda s, c: len(c.get_run(run[s]).data.params["long"]),
        lambda s, c: c.delete_tag(run[s], "nope"),
        lambda s, c: c.set_tag(run[s], "mlflow.runName", ""),
        lambda s, c: c.log_batch(run[s], tags=[RunTag("mlflow.runName", "batch"), RunTag("z", "1"), RunTag("z", "2")]),
        lambda s, c: (c.get_run(run[s]).info.run_name, sorted(c.get_run(run[s]).data.tags.items())),
        lambda s, c: c.create_run(pair.experiments[s], run_name="a", tags={"mlflow.runName": "b"}),
        lambda s, c: c.create_run("777"),
        lambda s, c: c.create_run("x7"),
        lambda s, c: c.get_metric_history(none, "nope"),
        lambda s, c: c.get_experiment("999"),
        lambda s, c: c.get_experiment_by_name("nope"),
        lambda s, c: c.create_experiment(""),
        lambda s, c: c.create_experiment("x" * 600),
        lambda s, c: c.rename_experiment("999", "q"),
        lambda s, c: c.delete_experiment("999"),
        lambda s, c: c.restore_experiment(pair.experiments[s]),
        lambda s, c: c.delete_experiment_tag(pair.experiments[s], "zz"),
        lambda s, c: c.set_experiment_tag(pair.experiments[s], "k" * 300, "v"),
        lambda s, c: c.set_experiment_tag(pair.experiments[s], "", "v"),
        lambda s, c: c.get_logged_model("m-x"),
        lambda s, c: c.delete_logged_model("m-x"),
        lambda s, c: c.create_logged_model(pair.experiments[s], name="a/b"),
        lambda s, c: c.finalize_logged_model("m-x", "READY"),
        lambda s, c: c.search_logged_models([pair.experiments[s]], "foo.x = 1"),
        lambda s, c: c.search_logged_models([pair.experiments[s]], order_by=[{"field_name": "zz"}]),
        lambda s, c: c.search_logged_models([pair.experiments[s]], order_by=[{"field_name": "params.x"}]),
        lambda s, c: c.search_logged_models([pair.experiments[s]], datasets=[{"dataset_digest": "x"}]),
    ]
    for call in calls:
        pair.same(call)


def test_what_makes_no_sense_is_refused_with_the_same_code(pair: Pair) -> None:
    """By MLflow's exception with a code, which a server answers as JSON; anything else would be a page of HTML."""
    import mlflow.entities
    from mlflow.exceptions import MlflowException

    # Some are given what is none of it.
    of: Any = mlflow.entities
    run, experiments = pair.uids[1], pair.experiments

    def store(client: "MlflowClient") -> Any:
        return client._tracking_client.store

    def search(text: str = "", order: str = "start_time", view: Any = 1) -> Call:
        return lambda s, c: names(store(c).search_runs([experiments[s]], text, view, 99, [order]))

    def models(text: str = "") -> Call:
        return lambda s, c: c.search_logged_models([experiments[s]], text)

    def inputs(*tags: Any) -> list[Any]:
        data = of.Dataset(name="twice", digest="1", source_type="local", source="{}")
        return [of.DatasetInput(data, list(tags))]

    twice = [of.ExperimentTag("a", "1"), of.ExperimentTag("a", "2")]
    input_tags = (of.InputTag("a", "1"), of.InputTag("a", "2"))
    model_tags = [of.LoggedModelTag("a", "1"), of.LoggedModelTag("a", "2")]
    model_params = [of.LoggedModelParameter("a", "1"), of.LoggedModelParameter("a", "2")]
    calls: list[Call] = [
        search("datasets.name = ('a','b')"),
        search("run_name LIKE ('a','b')"),
        search("run_name ILIKE ('a','b')"),
        search("tags.x = ('a','b')"),
        search(order='tags.`d"q`'),
        search(view=0),
        search(view=5),
        search(view=None),
        models("metrics.acc = 'x'"),
        models("creation_timestamp > 'x'"),
        models("lifecycle_stage = 'active'"),
        lambda s, c: store(c).update_run_info(run[s], 99, None, None),
        lambda s, c: store(c).log_outputs(run[s], None),
        lambda s, c: store(c).log_metric(run[s], of.Metric("n", 1.0, math.nan, 1)),
        lambda s, c: store(c).log_metric(run[s], of.Metric("n", 1.0, 1, math.nan)),
        lambda s, c: store(c).log_param(run[s], of.Param("none", None)),
        lambda s, c: store(c).log_param(run[s], of.Param("many", [1, 2])),
        lambda s, c: store(c).set_tag(run[s], of.RunTag("five", 5)),
        lambda s, c: c.log_metric(run[s], "acc", 1.0, model_id="m-nope"),
        lambda s, c: store(c).log_inputs(run[s], inputs(*input_tags)),
        lambda s, c: store(c).create_logged_model(experiments[s], "m", params=model_params),
        lambda s, c: store(c).create_logged_model(experiments[s], "m", tags=model_tags),
        lambda s, c: store(c).create_experiment("twice", tags=twice),
        lambda s, c: c.rename_experiment(experiments[s], "Default"),
        lambda s, c: c.delete_experiment(None),
        lambda s, c: c.delete_experiment(""),
        lambda s, c: store(c).create_run("", "u", 1, [], "n"),
        lambda s, c: store(c).create_logged_model(None),
        lambda s, c: store(c).delete_traces(experiments[s]),
        lambda s, c: store(c).delete_traces(experiments[s], trace_ids=["t"], max_traces=1),
        lambda s, c: store(c).get_metric_history_bulk([run[s]], "acc", -1)[0].value,
        lambda s, c: (c.get_experiment("0").lifecycle_stage, c.get_experiment(None).name),
    ]

    def code(call: Call) -> Call:
        def ask(side: int, client: Any) -> Any:
            try:
                return call(side, client)
            except MlflowException as error:
                return error.get_http_status_code()

        return ask

    for call in calls:
        pair.same(code(call))
    ours: Any = pair.clients[0]
    # MLflow takes the first for the default experiment, and puts the second into none.
    for refused in (ours.restore_experiment, lambda none: store(ours).create_run(none, "u", 1, [], "n")):
        with pytest.raises(MlflowException, match="experiment ID"):
            refused(None)


EXPERIMENT_FILTERS = (
    *(None, "name = 'E01'", "name != 'E01'", "name LIKE 'E0%'", "name LIKE 'e0%'", "name ILIKE 'e0%'"),
    *("tags.k = '1'", "tag.k != '1'", "tags.m ILIKE 'YES'", "tags.zz IS NULL", "tags.k IS NOT NULL"),
    *("experiment_id IN ('3', '4')", "experiment_id > '3'", "experiment_id = 'x'", "creation_time > 1.5"),
    *("creation_time > 'x'", "foo = 'x'", "params.x = 'y'", "name like 'E%'", "name IN ('a')", "name IS NULL"),
)


def test_experiments_are_found_alike(pair: Pair) -> None:
    for client in pair.clients:
        for number in range(6):
            made = client.create_experiment(
                f"E{number:02}", tags={"k": str(number % 3), "m": ("no", "Yes")[number % 2]}
            )
            if number == 3:
                client.delete_experiment(made)

    def found(**words: Any) -> None:
        pair.same(
            lambda _, client: [
                (one.name, one.experiment_id, one.lifecycle_stage, sorted(one.tags.items()))
                for one in client.search_experiments(**words)
            ]
        )

    for text in EXPERIMENT_FILTERS:
        for view in (1, 3):
            found(view_type=view, filter_string=text, order_by=["experiment_id"])
    for order in (["name DESC"], ["experiment_id DESC"], ["foo"], ["tags.k"]):
        found(order_by=order)


POINT = st.tuples(
    st.sampled_from(("a", "b")),
    st.sampled_from((0.0, 1.0, -2.5, 7.0, math.nan, 1e300)),
    st.integers(0, 2),
    st.integers(-1, 1),
)
# By which of two processes' stores, and what is logged there at once.
BATCHES = st.lists(st.tuples(st.integers(0, 1), st.lists(POINT, min_size=1, max_size=6)), min_size=1, max_size=8)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
# A lesser value takes the place of the last one, known or not, and is sent again.
@example([(0, [("a", value, 1, 0)]) for value in (5.0, 3.0, 3.0)])
@example([(who, [("a", value, 1, 0)]) for who, value in ((0, 5.0), (0, 5.0), (1, 3.0), (0, 3.0))])
@example(
    [(who, [("a", *point)]) for who, point in ((0, (5.0, 1, 0)), (0, (5.0, 1, 0)), (1, (3.0, 1, 0)))]
    + [(1, [("a", 0.0, 2, 0)]), (0, [("a", 3.0, 1, 0)])]
)
def test_points_of_any_order_are_read_alike(
    pair: Pair, batches: list[tuple[int, list[tuple[str, float, int, int]]]]
) -> None:
    from mlflow.entities import Metric

    others = [pair.other, pair.clients[1]._tracking_client.store]
    run = pair.run(lambda side, client: client.create_run(pair.experiments[side]))

    def log(side: int, client: "MlflowClient") -> object:
        for who, batch in batches:
            store = others[side] if who else client._tracking_client.store
            if len(batch) == 1:
                store.log_metric(run[side], Metric(*batch[0]))
            else:
                store.log_batch(run[side], [Metric(*point) for point in batch], [], [])
        curves = {
            key: [(m.timestamp, m.step, repr(m.value)) for m in client.get_metric_history(run[side], key)]
            for key in ("a", "b")
        }
        last = client.get_run(run[side]).data.metrics
        return curves, sorted((key, repr(value)) for key, value in last.items())

    pair.same(log)


@pytest.mark.parametrize("count", [1, 3, 10, 11, 25])
def test_a_long_curve_is_thinned_alike(pair: Pair, count: int) -> None:
    from mlflow.entities import Metric

    run = pair.run(lambda side, client: client.create_run(pair.experiments[side]))
    for uid, client in zip(run, pair.clients, strict=True):
        client.log_batch(uid, [Metric("m", float(n * 7 % 5), n % 4, n // 2) for n in range(count)])

    def thinned(most: int, first: int | None, last: int | None) -> None:
        def ask(side: int, client: "MlflowClient") -> object:
            store: Any = client._tracking_client.store
            points = store.get_metric_history_bulk_interval([run[side]], "m", most, first, last)
            return [(point.step, point.timestamp, point.value) for point in points]

        pair.same(ask)

    for words in ((1, None, None), (3, None, None), (5, 2, 8), (10, None, None), (0, None, None), (5, 3, None)):
        thinned(*words)
