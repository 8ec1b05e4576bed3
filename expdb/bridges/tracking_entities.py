"""What the store hands over, as MLflow's own objects."""

import math
import sys
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    ExperimentTag,
    InputTag,
    LifecycleStage,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from expdb.records import RunStatus as Status
from expdb.store.tracking import ExperimentRecord, LastValue, TrackedRun
from expdb.store.tracking_models import DatasetUse, ModelLink, ModelRecord
from expdb.store.tracking_points import HistoryPoint

_STATUS: dict[int, Status] = {
    RunStatus.RUNNING: "running",
    RunStatus.SCHEDULED: "scheduled",
    RunStatus.FINISHED: "finished",
    RunStatus.FAILED: "failed",
    RunStatus.KILLED: "killed",
}
_NAN = float("nan")


def status_of(status: int | str) -> Status:
    """Our word for MLflow's status. Raises MlflowException for what is none."""
    number = RunStatus.from_string(status) if isinstance(status, str) else status
    if number not in _STATUS:
        raise MlflowException(f"{number} is no run status. Valid run statuses: {sorted(_STATUS)}", INTERNAL_ERROR)
    return _STATUS[number]


def stage_of(deleted_ms: int | None) -> str:
    """MLflow's word for deleted or not."""
    return str(LifecycleStage.ACTIVE if deleted_ms is None else LifecycleStage.DELETED)


def experiment_of(record: ExperimentRecord, artifact_location: str) -> Experiment:
    """The experiment."""
    return Experiment(
        experiment_id=str(record.id),
        name=record.name,
        artifact_location=artifact_location,
        lifecycle_stage=stage_of(record.deleted_ms),
        tags=[ExperimentTag(key, value) for key, value in record.tags.items()],
        creation_time=record.created_ms,
        last_update_time=record.updated_ms,
    )


def info_of(run: TrackedRun, artifact_uri: str) -> RunInfo:
    """What stands above a run's data."""
    return RunInfo(
        run_id=run.uid,
        experiment_id=str(run.experiment_id),
        user_id=run.user_name or "",
        status=run.status.upper(),
        start_time=run.started_ms,
        end_time=run.ended_ms,
        lifecycle_stage=stage_of(run.deleted_ms),
        artifact_uri=artifact_uri,
        run_name=run.name,
    )


def run_of(run: TrackedRun, artifact_uri: str, datasets: list[DatasetUse], models: list[ModelLink]) -> Run:
    """The run with all that is known of it but for its curves."""
    data = RunData(
        metrics=[_last_value(value, run.started_ms) for value in run.metrics],
        params=[Param(key, value) for key, value in run.params.items()],
        tags=[RunTag(key, value) for key, value in run.tags.items()],
    )
    inputs = RunInputs(
        dataset_inputs=[_dataset_input(use) for use in datasets],
        model_inputs=[LoggedModelInput(model_id=link.model_uid) for link in models if link.direction == "input"],
    )
    outputs = [LoggedModelOutput(link.model_uid, link.step) for link in models if link.direction == "output"]
    return Run(info_of(run, artifact_uri), data, inputs, RunOutputs(outputs))


def _last_value(last: LastValue, started_ms: int) -> Metric:
    value = _NAN if last.value is None else last.value
    if math.isinf(value):
        value = _as_asked(value)
    return Metric(last.key, value, started_ms if last.time_ms is None else last.time_ms, last.step or 0)


def _as_asked(value: float) -> float:
    """The infinity; the largest number where MLflow's page asks by GraphQL, which knows no infinity and would fail
    with the whole run. MLflow's own SQL store tells it so everywhere."""
    # Only in a server; there it is long imported.
    flask = sys.modules.get("flask")
    if flask is not None and flask.has_request_context() and flask.request.path.endswith("/graphql"):
        return math.copysign(sys.float_info.max, value)
    return value


def _dataset_input(use: DatasetUse) -> DatasetInput:
    dataset = Dataset(
        name=use.name,
        digest=use.digest,
        source_type=use.source_type,
        source=use.source,
        schema=use.schema,
        profile=use.profile,
    )
    context = [] if use.context is None else [InputTag(MLFLOW_DATASET_CONTEXT, use.context)]
    return DatasetInput(dataset=dataset, tags=context + [InputTag(key, value) for key, value in use.tags.items()])


def use_of(dataset_input: DatasetInput) -> DatasetUse:
    """How a run reads a data set, as the store takes it."""
    dataset: Any = dataset_input.dataset
    tags = {tag.key: tag.value for tag in dataset_input.tags or []}
    context = tags.pop(MLFLOW_DATASET_CONTEXT, None)
    said = (dataset.name, dataset.digest, dataset.source_type, dataset.source, dataset.schema, dataset.profile)
    return DatasetUse(*said, context, tags)


def curve_of(key: str, points: list[HistoryPoint]) -> list[Metric]:
    """A curve's points."""
    return [Metric(key, value, time_ms, step) for time_ms, step, value in points]


def model_of(record: ModelRecord) -> LoggedModel:
    """The logged model."""
    metrics = [
        Metric(
            key=one.key,
            value=one.value,
            timestamp=one.time_ms,
            step=one.step,
            model_id=record.uid,
            dataset_name=one.dataset_name,
            dataset_digest=one.dataset_digest,
            run_id=one.run_uid,
        )
        for one in record.metrics
    ]
    return LoggedModel(
        experiment_id=str(record.experiment_id),
        model_id=record.uid,
        name=record.name,
        artifact_location=record.artifact_uri,
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        model_type=record.model_type,
        source_run_id=record.run_uid,
        status=LoggedModelStatus(record.status),
        status_message=record.status_message,
        tags=record.tags or None,
        params=record.params or None,
        metrics=metrics or None,
    )
