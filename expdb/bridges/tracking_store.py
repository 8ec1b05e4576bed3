"""MLflow's tracking store over expdb's database: what MLflow's client, server and page read and write.

Checks, messages and error codes are MLflow's own, by its own functions where it has some; the database is
`expdb.store`'s. One connection for each thread of each process.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from mlflow.entities import (
    DatasetInput,
    Experiment,
    ExperimentTag,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    Run,
    RunInfo,
    RunTag,
    ViewType,
    _DatasetSummary,
)
from mlflow.entities.metric import MetricWithRunId
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import (
    SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT,
    SEARCH_MAX_RESULTS_DEFAULT,
)
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_MODELS
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.search_utils import SearchExperimentsUtils, SearchLoggedModelsPaginationToken, SearchUtils
from mlflow.utils.uri import append_to_uri_path, resolve_uri_if_local
from mlflow.utils.validation import (
    _validate_batch_log_data,
    _validate_batch_log_limits,
    _validate_dataset_inputs,
    _validate_experiment_artifact_location_length,
    _validate_experiment_name,
    _validate_experiment_tag,
    _validate_logged_model_name,
    _validate_metric,
    _validate_param,
    _validate_param_keys_unique,
    _validate_run_id,
    _validate_tag,
)

from expdb import settings
from expdb.address import Address
from expdb.bridges import tracking_search as words
from expdb.bridges.absent import nothing, refusal, refusing_the_rest
from expdb.bridges.tracking import artifacts_beside
from expdb.bridges.tracking_entities import (
    curve_of,
    experiment_of,
    info_of,
    model_of,
    run_of,
    status_of,
    use_of,
)
from expdb.errors import DatabaseError, ExpdbError, NotFoundError, UsageError
from expdb.runners.folder import root_of
from expdb.store import tracking, tracking_models, tracking_points, tracking_search
from expdb.store.database import Database
from expdb.store.opening import open_database
from expdb.store.tracking import RUN_NAME, ExperimentRecord, RunHead, TrackedRun
from expdb.store.tracking_models import ModelValue, NewModel
from expdb.store.tracking_points import Known, Logged
from expdb.store.tracking_search import Page, Search

ARTIFACTS, MODELS = "artifacts", "models"
_MOST_SUMMARIES = 1000
_log = logging.getLogger("expdb")

# What the base class does by the methods below.
_KEPT = frozenset(
    (
        *("search_runs", "log_metric_async", "log_param_async", "set_tag_async", "log_batch_async"),
        *("end_async_logging", "flush_async_logging", "shut_down_async_logging", "set_model_versions_tags"),
        *("supports_workspaces", "supports_trace_archival", "resolve_trace_archival_config", "delete_traces"),
        *("list_scorers_across_experiments", "filter_active_experiment_ids"),
    )
)


@contextmanager
def told_to_mlflow() -> Iterator[None]:
    """Our errors become MLflow's, with the code that its clients know; as in its own store, so does any other one."""
    try:
        yield
    except MlflowException:
        raise
    except ExpdbError as error:
        code = INTERNAL_ERROR
        if isinstance(error, UsageError):
            code = INVALID_PARAMETER_VALUE
        elif isinstance(error, NotFoundError):
            code = RESOURCE_DOES_NOT_EXIST
        elif isinstance(error, DatabaseError) and "locked" in error.message:
            code = TEMPORARILY_UNAVAILABLE
        hint = f" ({error.hint})" if error.hint else ""
        raise MlflowException(f"{error.message}{hint}", code) from error
    except OverflowError as error:
        raise MlflowException("a step, a time or a size is larger than 64 bits", INVALID_PARAMETER_VALUE) from error
    except Exception as error:
        raise MlflowException(f"{type(error).__name__}: {error}", INTERNAL_ERROR) from error


@refusing_the_rest(AbstractStore, _KEPT)
class ExpdbStore(AbstractStore):
    """Experiments, runs, params, tags, metrics, data sets and logged models; of all else the store is empty."""

    def __init__(self, store_uri: str, address: Address, artifact_uri: str | None = None) -> None:
        """Open the database at address, which is made where there is none. Raises ExpdbError where that fails."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.store_uri = store_uri
        self._address = address
        self._local = threading.local()
        self._known = Known()
        root = artifact_uri or artifacts_beside(address)
        self.artifact_root_uri = str(resolve_uri_if_local(root))
        self._database()

    @property
    def supports_workspaces(self) -> bool:
        """One database is one workspace."""
        return False

    def _database(self) -> Database:
        """This thread's connection. One that was opened before a fork is its parent's, and left alone."""
        database: Database | None = getattr(self._local, "database", None)
        if database is None or self._local.process != os.getpid():
            # Closing it here would take the parent's locks away.
            self._local.inherited = database
            database = open_database(self._address, write=True, create=True, warn=_log.warning)
            database.commit_without_waiting()
            self._local.database, self._local.process = database, os.getpid()
        return database

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        with told_to_mlflow():
            database = self._database()
            with database.view():
                yield database

    @contextmanager
    def _writing(self) -> Iterator[Database]:
        with told_to_mlflow():
            database = self._database()
            with database.transaction():
                yield database

    # Experiments

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Sequence[ExperimentTag] | None = None
    ) -> str:
        """The new experiment's id."""
        _validate_experiment_name(name)
        if artifact_location:
            artifact_location = resolve_uri_if_local(artifact_location)
            _validate_experiment_artifact_location_length(artifact_location)
        for tag in tags or []:
            _validate_experiment_tag(tag.key, tag.value)
        with self._writing() as database:
            said = _each_once(tags)
            made = tracking.add_experiment(database, name, artifact_location or None, settings.now_ms())
            if made is None:
                raise MlflowException(f"Experiment(name={name}) already exists.", RESOURCE_ALREADY_EXISTS)
            if not artifact_location:
                tracking.place_experiment(database, made, self._root_of(made))
            for key, value in said.items():
                tracking.tag_experiment(database, made, key, value)
        return str(made)

    def get_experiment(self, experiment_id: str) -> Experiment:
        """The experiment, deleted or not; nothing is the default one."""
        with self._reading() as database:
            return self._experiment(_experiment(database, experiment_id or 0))

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """The experiment of that name, deleted or not; None where there is none."""
        with self._reading() as database:
            record = tracking.experiment_named(database, experiment_name)
        return self._experiment(record) if record else None

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Give an active experiment another name."""
        _validate_experiment_name(new_name)
        with self._writing() as database:
            record = _experiment(database, experiment_id)
            if record.deleted_ms is not None:
                raise MlflowException("Cannot rename a non-active experiment.", INVALID_STATE)
            if not tracking.rename_experiment(database, record.id, new_name, settings.now_ms()):
                # Unlike where an experiment is made, MLflow has no better word for it.
                raise MlflowException(f"Experiment(name={new_name}) already exists.", BAD_REQUEST)

    def delete_experiment(self, experiment_id: str) -> None:
        """Hide an active experiment with its runs."""
        with self._writing() as database:
            record = _experiment(database, experiment_id, deleted=False)
            tracking.hide_experiment(database, record.id, settings.now_ms())

    def restore_experiment(self, experiment_id: str) -> None:
        """Bring a deleted experiment back with its runs."""
        with self._writing() as database:
            record = _experiment(database, experiment_id, deleted=True)
            tracking.show_experiment(database, record.id, settings.now_ms())

    def search_experiments(
        self,
        view_type: Any = ViewType.ACTIVE_ONLY,
        max_results: int = SEARCH_MAX_RESULTS_DEFAULT,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> "PagedList[Experiment]":
        """One page of experiments."""
        words.check_max_results(max_results, optional=False)
        with self._reading() as database:
            offset = SearchUtils.parse_start_offset_from_page_token(page_token)
            conditions, orders = words.experiment_conditions(filter_string), words.experiment_orders(order_by)
            search = Search(conditions, orders, words.lifecycle_of(view_type), Page(max_results + 1, offset))
            found = tracking_search.find_experiments(database, search)
        token = None
        if len(found) > max_results:
            token = SearchExperimentsUtils.create_page_token(offset + max_results)
        return PagedList([self._experiment(record) for record in found[:max_results]], token)

    def set_experiment_tag(self, experiment_id: str, tag: ExperimentTag) -> None:
        """Set a tag of an active experiment."""
        _validate_experiment_tag(tag.key, tag.value)
        with self._writing() as database:
            record = _active_experiment(database, experiment_id)
            tracking.tag_experiment(database, record.id, tag.key, _text(tag.value))

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Take a tag of an active experiment away."""
        with self._writing() as database:
            record = _active_experiment(database, experiment_id)
            if not tracking.untag_experiment(database, record.id, key):
                raise MlflowException(
                    f"No tag with name: {key} in experiment with id {experiment_id}", RESOURCE_DOES_NOT_EXIST
                )

    def _experiment(self, record: ExperimentRecord) -> Experiment:
        return experiment_of(record, record.artifact_uri or self._root_of(record.id))

    def _root_of(self, experiment_id: int) -> str:
        """Where the files of an experiment go for which nobody said it."""
        return str(append_to_uri_path(self.artifact_root_uri, str(experiment_id)))

    # Runs

    def create_run(
        self,
        experiment_id: str,
        user_id: str,
        start_time: int,
        tags: Sequence[RunTag] | None,
        run_name: str | None,
    ) -> Run:
        """Begin a run."""
        with self._writing() as database:
            record = _active_experiment(database, experiment_id)
            said = {tag.key: _text(tag.value) for tag in tags or []}
            tagged = said.pop(RUN_NAME, None)
            if run_name and tagged and run_name != tagged:
                raise MlflowException(
                    "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
                    f"different values (run_name='{run_name}', mlflow.runName='{tagged}').",
                    INVALID_PARAMETER_VALUE,
                )
            name = run_name or tagged or _generate_random_name()
            location = record.artifact_uri or self._root_of(record.id)
            uid = uuid4().hex
            artifact_uri = append_to_uri_path(location, uid, ARTIFACTS)
            run_id, _ = tracking.add_run(database, record.id, name, user_id, start_time, artifact_uri, uid)
            tracking.set_tags(database, run_id, said.items())
            return self._whole(database, tracking.runs(database, "WHERE r.id = ?", (run_id,)))[0]

    def get_run(self, run_id: str) -> Run:
        """The run, deleted or not, with the last value of each metric."""
        with self._reading() as database:
            found = tracking.runs(database, "WHERE r.uid = ?", (run_id,))
            if not found:
                raise _no_run(run_id)
            return self._whole(database, found)[0]

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """Change what is said of an active run."""
        with self._writing() as database:
            status = None if run_status is None else status_of(run_status)
            head = _active(database, run_id)
            tracking.update_run(database, head.id, status, end_time, run_name or None)
            (run,) = tracking.runs(database, "WHERE r.id = ?", (head.id,))
            return info_of(run, self._artifacts_of(database, [run])[0])

    def delete_run(self, run_id: str) -> None:
        """Hide a run."""
        with self._writing() as database:
            tracking.hide_run(database, _head(database, run_id).id, settings.now_ms())

    def restore_run(self, run_id: str) -> None:
        """Bring a deleted run back."""
        with self._writing() as database:
            tracking.hide_run(database, _head(database, run_id).id, None)

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: Any,
        max_results: int | None,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        words.check_max_results(max_results, optional=True)
        with self._reading() as database:
            offset = SearchUtils.parse_start_offset_from_page_token(page_token)
            page = Page(None if max_results is None else max_results + 1, offset)
            conditions, orders = words.run_conditions(filter_string), words.run_orders(order_by)
            root = f"{self.artifact_root_uri.rstrip('/')}/"
            search = Search(conditions, orders, words.lifecycle_of(run_view_type), page, root)
            found = tracking_search.find_runs(database, [words.number_of(one) for one in experiment_ids], search)
            token = None
            if max_results is not None and len(found) > max_results:
                token = SearchUtils.create_page_token(offset + max_results)
                found = found[:max_results]
            return self._whole(database, found), token

    def _whole(self, database: Database, runs: Sequence[TrackedRun]) -> list[Run]:
        ids = [run.id for run in runs]
        datasets, links = tracking_models.dataset_uses(database, ids), tracking_models.links(database, ids)
        return [
            run_of(run, artifact_uri, datasets.get(run.id, []), links.get(run.id, []))
            for run, artifact_uri in zip(runs, self._artifacts_of(database, runs), strict=True)
        ]

    def _artifacts_of(self, database: Database, runs: Sequence[TrackedRun]) -> list[str]:
        """Where each run's files are. What expdb launched keeps them in its folder."""
        roots: dict[int, str] = {}
        out = []
        for run in runs:
            uri = run.artifact_uri
            if uri is None and run.origin in ("launch", "api"):
                folder = root_of(self._address) / run.uid / ARTIFACTS
                uri = str(folder) if folder.is_dir() else None
            if uri is None:
                if run.experiment_id not in roots:
                    record = tracking.experiment(database, run.experiment_id)
                    known = record and record.artifact_uri
                    roots[run.experiment_id] = known or self._root_of(run.experiment_id)
                uri = str(append_to_uri_path(roots[run.experiment_id], run.uid, ARTIFACTS))
            out.append(uri)
        return out

    # What a run logs

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Store a point."""
        with told_to_mlflow():
            points = _points([metric], "")
        with self._writing() as database:
            self._log_points(database, _active(database, run_id), [metric], points)

    def log_param(self, run_id: str, param: Param) -> None:
        """Store a param, which cannot be changed."""
        with self._writing() as database:
            param = _validate_param(param.key, param.value)
            head = _active(database, run_id)
            value = _param_text(param)
            old = tracking.params_of(database, head.id, [param.key]).get(param.key)
            if old is None:
                tracking.add_params(database, head.id, [(param.key, value)])
            elif old != value:
                raise MlflowException(
                    f"Changing param values is not allowed. Param with key='{param.key}' was already"
                    f" logged with value='{old}' for run ID='{run_id}'. Attempted logging new value '{value}'.",
                    INVALID_PARAMETER_VALUE,
                )

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set a tag."""
        with self._writing() as database:
            tag = _validate_tag(tag.key, tag.value)
            tracking.set_tags(database, _active(database, run_id).id, [(tag.key, _text(tag.value))])

    def delete_tag(self, run_id: str, key: str) -> None:
        """Take a tag away."""
        with self._writing() as database:
            if not tracking.untag(database, _active(database, run_id).id, key):
                raise MlflowException(
                    f"No tag with name: {key} in run with id {run_id}", error_code=RESOURCE_DOES_NOT_EXIST
                )

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Store points, params and tags, all or nothing."""
        _validate_run_id(run_id)
        with told_to_mlflow():
            points = _points(metrics, "metrics[{}]")
            _, params, tags = _validate_batch_log_data([], params, tags)
            _validate_batch_log_limits(metrics, params, tags)
            _validate_param_keys_unique(params)
        with self._writing() as database:
            head = _active(database, run_id)
            if params:
                _log_params(database, head.id, run_id, params)
            if metrics:
                self._log_points(database, head, metrics, points)
            if tags:
                tracking.set_tags(database, head.id, [(tag.key, _text(tag.value)) for tag in tags])

    def _log_points(
        self, database: Database, head: RunHead, metrics: Sequence[Metric], points: Sequence[Logged]
    ) -> None:
        of_models: dict[str, list[ModelValue]] = {}
        for metric, (key, value, time_ms, step) in zip(metrics, points, strict=True):
            if metric.model_id:
                said = ModelValue("", key, step, value, time_ms, metric.dataset_name, metric.dataset_digest)
                of_models.setdefault(metric.model_id, []).append(said)
        for uid, values in of_models.items():
            model = tracking_models.model_id(database, uid)
            if model is None:
                raise MlflowException(f"Logged model with ID '{uid}' not found.", BAD_REQUEST)
            tracking_models.add_model_values(database, model, head.id, values)
        tracking_points.log(database, self._known, head.id, points)

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> "PagedList[Metric]":
        """A curve by time, step and value; empty where there is none."""
        offset = SearchUtils.parse_start_offset_from_page_token(page_token)
        with self._reading() as database:
            points = tracking_points.history(database, run_id, metric_key)
        token = None
        if max_results is not None and len(points) > offset + max_results:
            token = SearchUtils.create_page_token(offset + max_results)
        if offset or token:
            points = points[offset : None if max_results is None else offset + max_results]
        return PagedList(curve_of(metric_key, points), token)

    def get_metric_history_bulk(self, run_ids: Sequence[str], metric_key: str, max_results: int) -> list[Any]:
        """The curves of several runs one after the other, by run, time, step and value; max_results in all, or less
        than 0 for all there are."""
        most = max_results if max_results >= 0 else sys.maxsize
        out: list[MetricWithRunId] = []
        with self._reading() as database:
            for run_id in sorted(set(run_ids)):
                if len(out) >= most:
                    break
                points = tracking_points.history(database, run_id, metric_key)[: most - len(out)]
                out += [MetricWithRunId(metric, run_id) for metric in curve_of(metric_key, points)]
        return out

    def get_max_step_for_metric(self, run_id: str, metric_key: str) -> int:
        """The greatest step of a curve, 0 where there is none."""
        with self._reading() as database:
            points = tracking_points.history(database, run_id, metric_key)
        return max((step for _, step, _ in points), default=0)

    def get_metric_history_bulk_interval_from_steps(
        self, run_id: str, metric_key: str, steps: Sequence[int], max_results: int
    ) -> list[Any]:
        """The points at these steps, by step, time and value."""
        wanted = set(steps)
        with self._reading() as database:
            points = [p for p in tracking_points.history(database, run_id, metric_key) if p[1] in wanted]
        points.sort(key=lambda point: (point[1], point[0]))
        return [MetricWithRunId(metric, run_id) for metric in curve_of(metric_key, points[:max_results])]

    def get_metric_history_bulk_interval(
        self,
        run_ids: Sequence[str],
        metric_key: str,
        max_results: int,
        start_step: int | None,
        end_step: int | None,
    ) -> list[Any]:
        """Of each run at most max_results points, evenly spread from its first to its last."""
        if (start_step is None) != (end_step is None):
            raise MlflowException.invalid_parameter_value(
                "Both start_step and end_step must be specified together, or neither may be specified."
            )
        steps = None if start_step is None or end_step is None else (start_step, end_step)
        out: list[MetricWithRunId] = []
        with self._reading() as database:
            for run_id in run_ids:
                points = tracking_points.sampled(database, run_id, metric_key, max(1, max_results), steps)
                out += [MetricWithRunId(metric, run_id) for metric in curve_of(metric_key, points)]
        return out

    # Data sets

    def log_inputs(
        self,
        run_id: str,
        datasets: list[DatasetInput] | None = None,
        models: Sequence[LoggedModelInput] | None = None,
    ) -> None:
        """A run reads data sets and models."""
        _validate_run_id(run_id)
        if datasets is not None:
            if not isinstance(datasets, list):
                raise TypeError(f"Argument 'datasets' should be a list, got '{type(datasets)}'")
            _validate_dataset_inputs(datasets)
        with self._writing() as database:
            head = _active(database, run_id)
            for dataset in datasets or []:
                _each_once(dataset.tags)
                tracking_models.use_dataset(database, head.id, head.experiment_id, use_of(dataset))
            for model in models or []:
                tracking_models.link_model(database, head.id, _model_id(database, model.model_id), "input", 0)

    def log_outputs(self, run_id: str, models: Sequence[LoggedModelOutput]) -> None:
        """A run wrote models."""
        with self._writing() as database:
            head = _active(database, run_id)
            for model in models:
                tracking_models.link_model(
                    database, head.id, _model_id(database, model.model_id), "output", int(model.step)
                )

    def _search_datasets(self, experiment_ids: Sequence[str]) -> list[Any]:
        """The data sets that runs of these experiments read; the page asks for it."""
        ids = [words.number_of(one) for one in experiment_ids]
        with self._reading() as database:
            found = tracking_models.dataset_summaries(database, ids, _MOST_SUMMARIES)
        return [
            _DatasetSummary(experiment_id=str(one.experiment_id), name=one.name, digest=one.digest, context=one.context)
            for one in found
        ]

    # Logged models

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Sequence[LoggedModelTag] | None = None,
        params: Sequence[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Begin a model, whose files are yet to be written."""
        _validate_logged_model_name(name)
        with self._writing() as database:
            record = _active_experiment(database, experiment_id)
            uid = f"m-{uuid4().hex}"
            location = record.artifact_uri or self._root_of(record.id)
            artifact_uri = append_to_uri_path(location, MODELS, uid, ARTIFACTS)
            called = name or _generate_random_name()
            status = LoggedModelStatus.PENDING.value
            model = NewModel(uid, record.id, source_run_id, called, model_type, status, artifact_uri)
            if source_run_id and tracking.head(database, source_run_id) is None:
                raise _no_run(source_run_id)
            tracking_models.add_model(database, model, _each_once(params), _each_once(tags), settings.now_ms())
            return _model(database, uid)

    def log_logged_model_params(self, model_id: str, params: Sequence[LoggedModelParameter]) -> None:
        """Store params of a model."""
        with self._writing() as database:
            tracking_models.add_model_params(database, _model_id(database, model_id), _each_once(params))

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """The model."""
        with self._reading() as database:
            return _model(database, model_id, allow_deleted=allow_deleted)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """The model's files are written, or could not be."""
        with self._writing() as database:
            found = _model_id(database, model_id)
            tracking_models.set_model_state(database, found, LoggedModelStatus(status).value, settings.now_ms())
            return _model(database, model_id, allow_deleted=True)

    def delete_logged_model(self, model_id: str) -> None:
        """Hide a model."""
        with self._writing() as database:
            tracking_models.hide_model(database, _model_id(database, model_id), settings.now_ms())

    def set_logged_model_tags(self, model_id: str, tags: Sequence[LoggedModelTag]) -> None:
        """Set tags of a model."""
        with self._writing() as database:
            texts = {tag.key: _text(tag.value) for tag in tags}
            tracking_models.tag_model(database, _model_id(database, model_id), texts)

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Take a tag of a model away."""
        with self._writing() as database:
            if not tracking_models.untag_model(database, _model_id(database, model_id), key):
                raise MlflowException(
                    f"No tag with key {key!r} found for model with ID {model_id!r}.", RESOURCE_DOES_NOT_EXIST
                )

    def search_logged_models(
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: Sequence[dict[str, str]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> "PagedList[LoggedModel]":
        """One page of models."""
        if datasets and not all(one.get("dataset_name") for one in datasets):
            raise MlflowException("`dataset_name` in the `datasets` clause must be specified.", INVALID_PARAMETER_VALUE)
        with self._reading() as database:
            offset = 0
            if page_token:
                token = SearchLoggedModelsPaginationToken.decode(page_token)
                token.validate(experiment_ids, filter_string, order_by)
                offset = token.offset
            most = max_results or SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT
            on = [(one["dataset_name"], one.get("dataset_digest") or None) for one in datasets or []]
            conditions, orders = words.model_conditions(filter_string), words.model_orders(order_by)
            ids = [words.number_of(one) for one in experiment_ids]
            found = tracking_models.find_models(database, ids, conditions, on, orders, Page(most + 1, offset))
        following = None
        if len(found) > most:
            following = SearchLoggedModelsPaginationToken(
                offset=offset + most, experiment_ids=experiment_ids, filter_string=filter_string, order_by=order_by
            ).encode()
        return PagedList([model_of(record) for record in found[:most]], following)

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Note a model in the run's list of them, which older clients read."""
        from mlflow.models import Model

        if not isinstance(mlflow_model, Model):
            raise TypeError(f"Argument 'mlflow_model' should be mlflow.models.Model, got '{type(mlflow_model)}'")
        with self._writing() as database:
            head = _active(database, run_id)
            before = tracking.tag(database, head.id, MLFLOW_LOGGED_MODELS)
            value = json.dumps([*(json.loads(before) if before else []), mlflow_model.get_tags_dict()])
            _validate_tag(MLFLOW_LOGGED_MODELS, value)
            tracking.set_tags(database, head.id, [(MLFLOW_LOGGED_MODELS, value)])

    # What is not here: the page asks for it, and gets nothing

    query_trace_metrics: Any = nothing
    batch_get_traces: Any = nothing
    batch_get_trace_infos: Any = nothing
    find_completed_sessions: Any = nothing
    search_datasets: Any = nothing
    get_dataset_experiment_ids: Any = nothing
    search_issues: Any = nothing
    list_scorers: Any = nothing
    get_online_scoring_configs: Any = nothing
    get_active_online_scorers: Any = nothing
    list_label_schemas: Any = nothing
    list_review_queues: Any = nothing
    list_secret_infos: Any = nothing
    list_gateway_endpoints: Any = nothing
    list_gateway_model_definitions: Any = nothing
    list_endpoint_bindings: Any = nothing
    list_gateway_guardrails: Any = nothing
    list_endpoint_guardrail_configs: Any = nothing
    list_budget_policies: Any = nothing
    search_mcp_servers: Any = nothing
    search_mcp_server_versions: Any = nothing
    search_mcp_access_endpoints: Any = nothing

    def search_traces(self, *_: object, **__: object) -> tuple[list[Any], None]:
        """One page of traces: none."""
        return [], None

    def _delete_traces(self, *_: object, **__: object) -> int:
        """How many were deleted: none, for there are none."""
        return 0

    def _load_dataset_records(self, *_: object, **__: object) -> tuple[list[Any], None]:
        """One page of an evaluation data set's records: none."""
        return [], None

    def get_trace_info(self, trace_id: str, *_: object, **__: object) -> Any:
        """Raises MlflowException: there is no trace."""
        raise MlflowException(f"Trace with ID '{trace_id}' not found.", RESOURCE_DOES_NOT_EXIST)

    get_trace: Any = get_trace_info
    link_traces_to_run: Any = refusal("link_traces_to_run")
    # The base class does not name them, but MLflow's server does.
    deprecated_start_trace_v2: Any = refusal("deprecated_start_trace_v2")
    deprecated_end_trace_v2: Any = refusal("deprecated_end_trace_v2")


def _experiment(database: Database, experiment_id: object, *, deleted: bool | None = None) -> ExperimentRecord:
    """The experiment. deleted: None takes both. Raises MlflowException without one."""
    number = words.number_of(experiment_id)
    record = tracking.experiment(database, number)
    if record is None or (deleted is not None and deleted == (record.deleted_ms is None)):
        raise MlflowException(f"No Experiment with id={number} exists", RESOURCE_DOES_NOT_EXIST)
    return record


def _active_experiment(database: Database, experiment_id: object) -> ExperimentRecord:
    if experiment_id in (None, ""):
        raise MlflowException("No experiment ID is given", BAD_REQUEST)
    record = _experiment(database, experiment_id)
    if record.deleted_ms is not None:
        raise MlflowException(
            f"The experiment {record.id} must be in the 'active' state. Current state is deleted.",
            INVALID_PARAMETER_VALUE,
        )
    return record


def _no_run(run_id: str) -> MlflowException:
    return MlflowException(f"Run with id={run_id} not found", RESOURCE_DOES_NOT_EXIST)


def _head(database: Database, run_id: str) -> RunHead:
    head = tracking.head(database, run_id)
    if head is None:
        raise _no_run(run_id)
    return head


def _active(database: Database, run_id: str) -> RunHead:
    head = _head(database, run_id)
    if head.deleted:
        raise MlflowException(
            f"The run {run_id} must be in the 'active' state. Current state is deleted.", INVALID_PARAMETER_VALUE
        )
    return head


def _points(metrics: Sequence[Metric], place: str) -> list[Logged]:
    """Points as the store takes them. place: where a message says that each was. Raises MlflowException."""
    names: set[str] = set()
    out: list[Logged] = []
    for number, metric in enumerate(metrics):
        key, value, time_ms, step = metric.key, metric.value, metric.timestamp, metric.step
        # Of a thousand points few have a name that was not looked at already; the rest of MLflow's check is this.
        plain = type(value) is float and type(time_ms) is int and type(step) is int and time_ms >= 0
        if not plain or key not in names:
            _validate_metric(key, value, time_ms, step, place.format(number))
            names.add(key)
            try:
                value, time_ms, step = float(value), int(time_ms), int(step)
            except ValueError as error:
                raise MlflowException(f"{key}: a step or a time is no number ({error})", BAD_REQUEST) from error
        out.append((key, value, time_ms, step))
    return out


def _log_params(database: Database, run_number: int, run_id: str, params: Sequence[Param]) -> None:
    there = tracking.params_of(database, run_number, [param.key for param in params])
    said = [(param.key, _param_text(param)) for param in params]
    changed = [
        {"key": key, "old_value": there[key], "new_value": value}
        for key, value in said
        if there.get(key, value) != value
    ]
    if changed:
        raise MlflowException(
            f"Changing param values is not allowed. Params were already logged='{changed}' for run ID='{run_id}'.",
            INVALID_PARAMETER_VALUE,
        )
    tracking.add_params(database, run_number, [(key, value) for key, value in said if key not in there])


def _model_id(database: Database, model_id: str) -> int:
    found = tracking_models.model_id(database, model_id)
    if found is None:
        raise _no_model(model_id)
    return found


def _model(database: Database, model_id: str, *, allow_deleted: bool = False) -> LoggedModel:
    record = tracking_models.model(database, model_id)
    if record is None or (record.deleted_ms is not None and not allow_deleted):
        raise _no_model(model_id)
    return model_of(record)


def _no_model(model_id: str) -> MlflowException:
    return MlflowException(f"Logged model with ID '{model_id}' not found.", RESOURCE_DOES_NOT_EXIST)


def _param_text(param: Param) -> str:
    """A param's value as it is stored. Raises MlflowException for what is no one value."""
    # A client may say what MLflow's types forbid.
    value: object = param.value
    if value is None or isinstance(value, list | tuple | dict | set):
        raise MlflowException(f"Param {param.key!r} has no value that can be stored: {value!r}", BAD_REQUEST)
    return str(value)


def _each_once(words: Sequence[Any] | None) -> dict[str, str]:
    """Params or tags that are said at once, by key. Raises MlflowException where two have one key."""
    out: dict[str, str] = {}
    for word in words or ():
        if word.key in out:
            raise MlflowException(f"{word.key!r} is said twice in one request", BAD_REQUEST)
        out[word.key] = _text(word.value)
    return out


def _text(value: object) -> str:
    """A value as it is stored: text. What a client left out is empty."""
    return "" if value is None else str(value)
