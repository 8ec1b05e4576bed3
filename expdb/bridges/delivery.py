"""What is written into another MLflow store, in portions that it takes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from expdb.bridges.remote import CONTEXT_TAG, MLFLOW_STATUS, Remote, told
from expdb.store.exchange import DatasetUse, Experiment, Model, ModelLink, Point, Run

METRICS_AT_ONCE = 1000
WORDS_AT_ONCE = 100
# A server refuses requests above a million bytes; JSON may write a character in six.
BYTES_AT_ONCE = 400_000

# A point of a run that was said of a logged model: the model's id there, and the data set.
Said = tuple[str, str | None, str | None]


class Delivery:
    """Writes into one open store."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._store: Any = remote.store  # AbstractStore: its types say nothing

    def experiment(self, told_of: Experiment, tags: Mapping[str, str]) -> str:
        """Make an experiment; its id there."""
        from mlflow.entities import ExperimentTag

        with told(self._remote.name):
            made = self._store.create_experiment(
                told_of.name, None, [ExperimentTag(key, value) for key, value in tags.items()]
            )
        return str(made)

    def experiment_tag(self, uid: str, key: str, value: str) -> None:
        """Set a tag of an experiment."""
        from mlflow.entities import ExperimentTag

        with told(self._remote.name):
            self._store.set_experiment_tag(uid, ExperimentTag(key, value))

    def delete_experiment(self, uid: str) -> None:
        """Delete an experiment, as MLflow does: it can be restored."""
        with told(self._remote.name):
            self._store.delete_experiment(uid)

    def run(self, experiment_uid: str, run: Run, tags: Mapping[str, str]) -> tuple[str, str | None]:
        """Begin a run; its id there, and where its files go."""
        from mlflow.entities import RunTag

        with told(self._remote.name):
            made = self._store.create_run(
                experiment_uid,
                run.user_name or "",
                run.started_ms or 0,
                [RunTag(key, value) for key, value in tags.items()],
                run.name,
            )
        return str(made.info.run_id), made.info.artifact_uri

    def words(self, uid: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Log params and set tags."""
        from mlflow.entities import Param, RunTag

        for some in _portions(params):
            with told(self._remote.name):
                self._store.log_batch(uid, [], [Param(key, value) for key, value in some], [])
        for some in _portions(tags):
            with told(self._remote.name):
                self._store.log_batch(uid, [], [], [RunTag(key, value) for key, value in some])

    def points(self, uid: str, points: Sequence[tuple[str, Point, Said | None]]) -> None:
        """Log points, by the thousand."""
        from mlflow.entities import Metric

        for at in range(0, len(points), METRICS_AT_ONCE):
            some: list[Metric] = []
            for key, (step, time_ms, value), said in points[at : at + METRICS_AT_ONCE]:
                model, dataset, digest = said or (None, None, None)
                some.append(Metric(key, value, max(0, time_ms), step, model, dataset, digest, run_id=uid))
            with told(self._remote.name):
                self._store.log_batch(uid, some, [], [])

    def datasets(self, uid: str, uses: Sequence[DatasetUse]) -> None:
        """Say which data sets a run read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = []
        for use in uses:
            data = Dataset(use.name, use.digest, use.source_type, use.source, use.data_schema, use.profile)
            tags = {**({CONTEXT_TAG: use.context} if use.context is not None else {}), **use.tags}
            inputs.append(DatasetInput(data, [InputTag(key, value) for key, value in tags.items()]))
        if inputs:
            with told(self._remote.name):
                self._store.log_inputs(uid, inputs)

    def links(self, uid: str, links: Sequence[ModelLink]) -> None:
        """Say which logged models a run read and wrote; their uids are those there."""
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        with told(self._remote.name):
            if inputs := [LoggedModelInput(link.uid) for link in links if link.direction == "input"]:
                self._store.log_inputs(uid, models=inputs)
            if outputs := [LoggedModelOutput(link.uid, link.step) for link in links if link.direction == "output"]:
                self._store.log_outputs(uid, outputs)

    def model(self, experiment_uid: str, run_uid: str, model: Model, mark: tuple[str, str]) -> str:
        """Make a logged model; its id there. mark: a tag by which it is found again."""
        from mlflow.entities import LoggedModelParameter, LoggedModelStatus, LoggedModelTag

        tags = {**model.tags, mark[0]: mark[1]}
        with told(self._remote.name):
            made = self._store.create_logged_model(
                experiment_uid,
                model.name,
                run_uid,
                [LoggedModelTag(key, value) for key, value in tags.items()],
                [LoggedModelParameter(key, value) for key, value in model.params.items()],
                model.model_type,
            )
            if model.status in ("READY", "FAILED"):
                self._store.finalize_logged_model(made.model_id, LoggedModelStatus(model.status))
        return str(made.model_id)

    def state(self, uid: str, run: Run) -> None:
        """Say how a run stands or ended."""
        from mlflow.entities import RunStatus

        with told(self._remote.name):
            self._store.update_run_info(uid, RunStatus.from_string(MLFLOW_STATUS[run.status]), run.ended_ms, run.name)

    def delete(self, uid: str) -> None:
        """Delete a run, as MLflow does: it can be restored."""
        with told(self._remote.name):
            self._store.delete_run(uid)


def _portions(words: Mapping[str, str]) -> Iterator[list[tuple[str, str]]]:
    some: list[tuple[str, str]] = []
    size = 0
    for key, value in words.items():
        own = len(json.dumps(key)) + len(json.dumps(value))
        if some and (len(some) == WORDS_AT_ONCE or size + own > BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append((key, value))
        size += own
    if some:
        yield some
