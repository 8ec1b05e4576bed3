"""MLflow's model registry beside our store: empty and read-only, so that client and page need no other one."""

from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.model_registry.abstract_store import AbstractStore

from expdb.bridges.absent import nothing, refusal, refusing_the_rest


def _unknown(_: object, name: str, *__: object, **___: object) -> NoReturn:
    raise MlflowException(f"Registered Model with name={name} not found", RESOURCE_DOES_NOT_EXIST)


# What the base class does by the methods below.
_KEPT = frozenset(
    ("search_prompts", "search_prompt_versions", "get_prompt", "get_prompt_version", "get_prompt_version_by_alias")
)


@refusing_the_rest(AbstractStore, _KEPT)
class EmptyRegistry(AbstractStore):
    """Lists are empty, a named model is not found, everything else is refused as not supported."""

    search_registered_models: Any = nothing
    search_model_versions: Any = nothing
    list_webhooks: Any = nothing
    list_webhooks_by_event: Any = nothing
    get_registered_model: Any = _unknown
    get_latest_versions: Any = _unknown
    get_model_version: Any = _unknown
    get_model_version_by_alias: Any = _unknown
    get_model_version_download_uri: Any = _unknown

    # They are abstract: each has to be named.
    create_registered_model: Any = refusal("create_registered_model")
    update_registered_model: Any = refusal("update_registered_model")
    rename_registered_model: Any = refusal("rename_registered_model")
    delete_registered_model: Any = refusal("delete_registered_model")
    set_registered_model_tag: Any = refusal("set_registered_model_tag")
    delete_registered_model_tag: Any = refusal("delete_registered_model_tag")
    create_model_version: Any = refusal("create_model_version")
    update_model_version: Any = refusal("update_model_version")
    transition_model_version_stage: Any = refusal("transition_model_version_stage")
    delete_model_version: Any = refusal("delete_model_version")
    set_model_version_tag: Any = refusal("set_model_version_tag")
    delete_model_version_tag: Any = refusal("delete_model_version_tag")
    set_registered_model_alias: Any = refusal("set_registered_model_alias")
    delete_registered_model_alias: Any = refusal("delete_registered_model_alias")

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri=store_uri, tracking_uri=tracking_uri)  # type: ignore[no-untyped-call]

    @property
    def supports_workspaces(self) -> bool:
        """One database is one workspace."""
        return False
