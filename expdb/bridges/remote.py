"""Another MLflow store: a tracking server, a database or an old folder `mlruns`, read and written as MLflow does it."""

import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from expdb.errors import DatabaseError, ExpdbError, InputError, NotFoundError, RefusedError, UsageError, need
from expdb.records import RunStatus
from expdb.store.exchange import DatasetUse, Experiment, Model, ModelLink, ModelPoint, Point, Run

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel as MlflowModel
    from mlflow.entities import Run as MlflowRun
    from mlflow.store.tracking.abstract_store import AbstractStore

Purpose = Literal["read", "write"]

PAGE = 1000
MODEL_PAGE = 50
CONTEXT_TAG = "mlflow.data.context"
USER_TAG = "mlflow.user"
NAME_TAG = "mlflow.runName"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_FORMS = "http://HOST:PORT, sqlite:///FILE.db, postgresql://USER@HOST/NAME or a folder mlruns"
_PROBE_S = 10.0
_STATUS: dict[str, RunStatus] = {
    "SCHEDULED": "scheduled",
    "RUNNING": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
MLFLOW_STATUS = {ours: theirs for theirs, ours in _STATUS.items()}
_ARTIFACTS_API = "/api/2.0/mlflow-artifacts/artifacts"


class Remote:
    """An open store. name: how this database remembers it, without user and password; uri: as MLflow opens it.
    notes: what a person may wonder about."""

    def __init__(
        self, store: "AbstractStore", uri: str, name: str, scratch: Path | None, notes: tuple[str, ...] = ()
    ) -> None:
        self.store = store
        self.uri = uri
        self.name = name
        self.notes = notes
        self._scratch = scratch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    # ── reading ──

    def experiments(self) -> list[Experiment]:
        """All of them, deleted ones too."""
        from mlflow.entities import ViewType

        out: list[Experiment] = []
        token = None
        while True:
            with told(self.name):
                page = self.store.search_experiments(view_type=ViewType.ALL, max_results=PAGE, page_token=token)
            out += [
                Experiment(
                    uid=str(one.experiment_id),
                    name=one.name,
                    artifact_uri=one.artifact_location,
                    created_ms=one.creation_time or 0,
                    updated_ms=one.last_update_time or one.creation_time or 0,
                    is_deleted=one.lifecycle_stage == "deleted",
                    tags=dict(one.tags),
                )
                for one in page
            ]
            if not (token := page.token):
                return out

    def runs(self, experiment_uids: Sequence[str], condition: str = "") -> Iterator[Run]:
        """The runs of the experiments, oldest first, deleted ones too. condition: in MLflow's language."""
        from mlflow.entities import ViewType

        token = None
        while True:
            with told(self.name):
                page = self.store.search_runs(
                    list(experiment_uids), condition, ViewType.ALL, PAGE, ["attributes.start_time ASC"], token
                )
            yield from map(_run, page)
            if not (token := page.token):
                return

    def history(self, run_uid: str, key: str) -> list[Point]:
        """All points of a metric, in the order the store gives them."""
        out: list[Point] = []
        token = None
        while True:
            with told(self.name):
                page = self.store.get_metric_history(run_uid, key, None, token)
            out += [(int(one.step), int(one.timestamp), float(one.value)) for one in page]
            if not (token := getattr(page, "token", None)):
                return out

    def models(self, experiment_uids: Sequence[str]) -> list[Model]:
        """The logged models of the experiments; none where the store is too old to have any."""
        from mlflow.exceptions import MlflowException

        out: list[Model] = []
        token = None
        while True:
            try:
                page = self.store.search_logged_models(list(experiment_uids), max_results=MODEL_PAGE, page_token=token)
            except (NotImplementedError, MlflowException) as error:
                if out or not _is_unknown(error):
                    raise _error(error, self.name) from error
                return []
            out += map(_model, page)
            if not (token := page.token):
                return out

    @property
    def may_clip(self) -> bool:
        """Whether ±inf may become the largest number there, as in MLflow's SQL store; a folder keeps it."""
        return not self.uri.startswith("file:")

    def leads_here(self, artifact_uri: str) -> bool:
        """Whether a server says that files of its lie on whatever machine asks: what a hostile one would have read or
        written on ours."""
        if not self.uri.startswith(("http://", "https://")):
            return False
        scheme = urlsplit(artifact_uri).scheme.lower()
        # `runs:` and `models:` are looked up in whatever store this process means, in the end.
        return scheme in ("", "file", "runs", "models") or len(scheme) == 1

    def reachable(self, artifact_uri: str) -> str:
        """The address of a run's files for who does not ask this server: `mlflow-artifacts:` leads nowhere else."""
        parts = urlsplit(artifact_uri)
        if parts.scheme != "mlflow-artifacts" or not self.uri.startswith(("http://", "https://")):
            return artifact_uri
        base = urlsplit(self.uri)
        host = parts.netloc or base.netloc.rpartition("@")[2]
        path = f"{base.path.rstrip('/')}{_ARTIFACTS_API}/{parts.path.lstrip('/')}"
        return urlunsplit((base.scheme, host, path, "", ""))


@contextmanager
def told(name: str) -> Iterator[None]:
    """What goes wrong in MLflow comes out as an error of ours: RefusedError or DatabaseError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        # requests' exceptions are OSErrors; SQLAlchemy's come wrapped.
        raise _error(error, name) from error


def _error(error: Exception, name: str) -> ExpdbError:
    from mlflow.exceptions import MlflowException

    text = str(getattr(error, "message", None) or error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    # What a driver says stands behind MLflow's sentence, or is all there is: then without the driver's class.
    first = re.sub(r"^\(\w+(?:\.\w+)*\) ", "", re.sub(r" Error: \(\w+(?:\.\w+)+\).*", "", first))
    if "Max retries exceeded" in first or "Connection" in type(error).__name__:
        return DatabaseError(f"{name} does not answer any more", hint="what has arrived stays; repeat the command")
    if isinstance(error, MlflowException) and error.get_http_status_code() < 500:
        return RefusedError(f"{name}: {first[:500]}")
    return DatabaseError(f"{name}: {first[:500]}")


def _is_unknown(error: Exception) -> bool:
    """Whether the store only lacks the call."""
    code = getattr(error, "error_code", "")
    return isinstance(error, NotImplementedError) or code in ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")


# ── opening ──


def open_store(text: str, purpose: Purpose) -> Remote:
    """The store that is meant. write: a database or folder that is not there is made.

    Raises UsageError for what is no address of a store, NotFoundError where there is none, DatabaseError where it
    cannot be opened, MissingExtraError without MLflow.
    """
    need("mlflow", extra="mlflow")
    _quiet()
    scheme = text.partition(":")[0] if re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:", text) else ""
    kind = scheme.partition("+")[0].lower()
    if kind == "expdb":
        raise UsageError("this is a database of expdb's own", hint="expdb db merge OTHER.db")
    if kind in ("http", "https"):
        _probe(text)
        return _opened(text, _without_password(text).rstrip("/"), None)
    if kind == "sqlite":
        return _sqlite(text, purpose)
    if kind in _DATABASES:
        _check_revision(text, purpose)
        return _opened(text, _without_password(text), None)
    if kind in ("", "file"):
        path = Path(_file_path(text))
        if path.is_file() or (not path.is_dir() and path.suffix in (".db", ".sqlite", ".sqlite3")):
            return _sqlite(f"sqlite:///{path}", purpose)
        return _folder(path, purpose)
    if kind.startswith("databricks"):
        return _opened(text, text, None)
    raise UsageError(f"{text!r} is no address of an MLflow store", hint=f"one of: {_FORMS}")


def _opened(uri: str, name: str, scratch: Path | None) -> Remote:
    from mlflow.tracking._tracking_service.utils import _get_store

    with told(name):
        return Remote(_get_store(store_uri=uri), uri, name, scratch)


def _quiet() -> None:
    """MLflow's own words on stderr are for its users; what matters is told by us."""
    # Before MLflow is imported: it asks once.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A server that went away is told after half a minute, not after four.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    # MLflow sets its own level when it is imported.
    import mlflow  # noqa: F401

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Of a folder it says so by the root's logger, with a traceback; those that it means are named by us.
    logging.getLogger().addFilter(_is_no_folder_of_mlflow_s)


def _is_no_folder_of_mlflow_s(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Malformed experiment")


def _probe(uri: str) -> None:
    import requests

    host = _without_password(uri)
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=_PROBE_S)
    except requests.exceptions.InvalidURL as error:
        raise UsageError(f"{host!r} is no address", hint=f"one of: {_FORMS}") from error
    except (requests.exceptions.RequestException, OSError) as error:
        raise DatabaseError(f"no server answers at {host}", hint="mlflow server --port 5000 starts one") from error
    if answer.status_code >= 500:
        raise DatabaseError(f"the server at {host} is not well: it answers {answer.status_code}")


def _sqlite(uri: str, purpose: Purpose) -> Remote:
    path = Path(os.path.abspath(unquote(uri.partition(":///")[2].partition("?")[0])))
    name = f"sqlite:///{os.path.realpath(path)}"
    if not path.exists() or path.stat().st_size == 0:
        if purpose == "read":
            raise NotFoundError(f"there is no database at {path}")
        if not path.parent.is_dir():
            raise NotFoundError(f"there is no folder {path.parent}")
        return _opened(f"sqlite:///{path}", name, None)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            revision = None
            if "alembic_version" in tables:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
                revision = row and str(row[0])
    except sqlite3.Error as error:
        raise DatabaseError(f"{path} cannot be read as a SQLite database: {error}") from error
    if {"meta", "metric", "point"} <= tables:
        raise UsageError(f"{path} is a database of expdb's own", hint=f"expdb db merge {path}")
    # MLflow would make its tables in whatever database it is shown.
    if not {"experiments", "runs"} <= tables or revision is None:
        raise DatabaseError(f"{path} is no database of MLflow's")
    if not _is_older(revision, path):
        return _opened(f"sqlite:///{path}", name, None)
    if purpose == "write":
        raise DatabaseError(f"{path} was written by an older MLflow", hint=f"mlflow db upgrade sqlite:///{path}")
    # It is not ours to change: a copy is brought up to date and read.
    scratch = Path(tempfile.mkdtemp(prefix="expdb-pull-"))
    try:
        copy = scratch / "mlflow.db"
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        _upgrade(f"sqlite:///{copy}", name)
        return _opened(f"sqlite:///{copy}", name, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _upgrade(uri: str, name: str) -> None:
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(uri)
    try:
        with told(name):
            _upgrade_db(engine)
    finally:
        engine.dispose()


def _is_older(revision: str, what: object) -> bool:
    """Whether a database is older than this MLflow. Raises DatabaseError where it is newer."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision

    if revision == _get_latest_schema_revision():
        return False
    try:
        ScriptDirectory.from_config(_get_alembic_config("")).get_revision(revision)
    except CommandError as error:
        from mlflow.version import VERSION

        raise DatabaseError(
            f"{what} was written by a newer MLflow than this one ({VERSION})", hint="pip install --upgrade mlflow"
        ) from error
    return True


def _check_revision(uri: str, purpose: Purpose) -> None:
    """Refuse a database that MLflow would change by opening it. Raises DatabaseError."""
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    name = _without_password(uri)
    try:
        engine = create_engine(uri)
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError(f"{name!r} is no address of a database", hint=f"one of: {_FORMS}") from error
    except ImportError as error:
        raise DatabaseError(f"the driver for {name} is not installed: {error}") from error
    try:
        with engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            found = (
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
                if tables >= {"alembic_version", "experiments", "runs"}
                else None
            )
    except SQLAlchemyError as error:
        first = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DatabaseError(f"{name} cannot be opened: {first}") from error
    finally:
        engine.dispose()
    if {"meta", "metric", "point"} <= tables:
        raise UsageError(f"{name} is a database of expdb's own", hint="expdb db merge")
    if found is None and (purpose == "read" or tables):
        raise DatabaseError(f"{name} is no database of MLflow's")
    if found is not None and _is_older(str(found), name):
        raise DatabaseError(f"{name} was written by an older MLflow", hint="mlflow db upgrade URI; take a backup first")


def _folder(path: Path, purpose: Purpose) -> Remote:
    """Old `./mlruns`, which MLflow reads only when it is told to."""
    path = Path(os.path.abspath(path))
    if not path.is_dir() and (purpose == "read" or path.exists()):
        raise NotFoundError(f"there is no folder and no database at {path}", hint=f"one of: {_FORMS}")
    if purpose == "read" and not any(one.is_file() for one in path.glob("*/meta.yaml")):
        trashed = any(path.glob(".trash/*/meta.yaml"))
        if not trashed:
            raise InputError("holds no experiment of MLflow's (meta.yaml)", path=str(path))
    # What MLflow passes over; it keeps its models beside the experiments.
    notes = (
        ()
        if purpose == "write"
        else tuple(
            f"{one}: no experiment of MLflow's (it has no meta.yaml)"
            for one in sorted(path.iterdir())
            if one.is_dir() and one.name not in (".trash", "models") and not (one / "meta.yaml").is_file()
        )
    )
    # In our process only: the person's own scripts are told by MLflow itself.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    name = Path(os.path.realpath(path)).as_uri()
    with told(name):
        return Remote(_file_store(path.as_uri()), path.as_uri(), name, None, notes)


def _file_store(uri: str) -> "AbstractStore":
    from mlflow.entities import ViewType
    from mlflow.store.tracking.file_store import FileStore

    class AnyName(FileStore):
        """MLflow's own looks a name up by a filter, which one with a quotation mark in it breaks."""

        def get_experiment_by_name(self, experiment_name: str) -> Any:
            token = None
            while True:
                page: Any = self.search_experiments(view_type=ViewType.ALL, max_results=PAGE, page_token=token)  # type: ignore[no-untyped-call]
                if found := [one for one in page if one.name == experiment_name]:
                    return found[0]
                if not (token := page.token):
                    return None

    return AnyName(uri, uri)  # type: ignore[no-untyped-call]


def _file_path(text: str) -> str:
    return unquote(urlsplit(text).path) if text.startswith("file:") else str(Path(text).expanduser())


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


# ── MLflow's objects in our words ──


def _run(one: "MlflowRun") -> Run:
    info, data = one.info, one.data
    links: list[ModelLink] = []
    inputs, outputs = one.inputs, getattr(one, "outputs", None)
    if inputs:
        links += [ModelLink(m.model_id, "input", 0) for m in getattr(inputs, "model_inputs", None) or ()]
    if outputs:
        links += [ModelLink(m.model_id, "output", m.step or 0) for m in outputs.model_outputs or ()]
    return Run(
        uid=info.run_id,
        experiment_uid=str(info.experiment_id),
        name=info.run_name or data.tags.get(NAME_TAG) or info.run_id[:8],
        status=_STATUS.get(str(info.status), "finished"),
        user_name=info.user_id or None,
        started_ms=info.start_time,
        ended_ms=info.end_time,
        is_deleted=info.lifecycle_stage == "deleted",
        artifact_uri=info.artifact_uri,
        params=dict(data.params),
        tags=dict(data.tags),
        last={m.key: (int(m.step), int(m.timestamp), float(m.value)) for m in data._metric_objs},
        datasets=tuple(map(_use, inputs.dataset_inputs)) if inputs else (),
        links=tuple(links),
    )


def _use(said: Any) -> DatasetUse:  # mlflow.entities.DatasetInput
    tags = {tag.key: tag.value for tag in said.tags or ()}
    context = tags.pop(CONTEXT_TAG, None)
    data = said.dataset
    return DatasetUse(data.name, data.digest, data.source_type, data.source, data.schema, data.profile, context, tags)


def _model(one: "MlflowModel") -> Model:
    return Model(
        uid=one.model_id,
        experiment_uid=str(one.experiment_id),
        run_uid=one.source_run_id,
        name=one.name,
        # A server says nothing as an empty text.
        model_type=one.model_type or None,
        status=str(one.status),
        status_message=one.status_message or None,
        artifact_uri=one.artifact_location,
        created_ms=one.creation_timestamp,
        updated_ms=one.last_updated_timestamp,
        params=dict(one.params or {}),
        tags=dict(one.tags or {}),
        points=tuple(
            ModelPoint(
                m.run_id,
                m.key,
                (int(m.step), int(m.timestamp), float(m.value)),
                m.dataset_name,
                m.dataset_digest,
            )
            for m in one.metrics or ()
            if m.run_id
        ),
    )
