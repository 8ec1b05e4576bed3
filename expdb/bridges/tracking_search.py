"""MLflow's filter language, parsed by MLflow itself, as the conditions that the store compiles."""

from collections.abc import Sequence
from typing import Any, Protocol

from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.utils.search_logged_model_utils import EntityType, parse_filter_string
from mlflow.utils.search_utils import SearchExperimentsUtils, SearchUtils

from expdb.store.tracking_models import ModelOrder, is_model_attribute
from expdb.store.tracking_search import Condition, Field, Lifecycle, Order

_MODEL_ALIASES = {
    "creation_time": "creation_timestamp_ms",
    "creation_timestamp": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
}
_MODEL_FIELDS: dict[EntityType, Field] = {
    EntityType.ATTRIBUTE: "attribute",
    EntityType.METRIC: "metric",
    EntityType.PARAM: "param",
    EntityType.TAG: "tag",
}


class _Comparison(Protocol):
    entity: Any
    op: str
    value: Any


def lifecycle_of(view_type: Any) -> Lifecycle:
    """Which runs or experiments a view shows: none where it is no view, as in MLflow."""
    stages = LifecycleStage.view_type_to_stages(view_type)
    if not stages:
        return "none"
    return "all" if len(stages) > 1 else "active" if stages[0] == LifecycleStage.ACTIVE else "deleted"


def check_max_results(max_results: int | None, *, optional: bool) -> None:
    """Raises MlflowException for a number of results that MLflow does not give."""
    if (max_results is None and not optional) or (max_results is not None and max_results < 1):
        raise _refused(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer"
        )
    if max_results is not None and max_results > SEARCH_MAX_RESULTS_THRESHOLD:
        raise _refused(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be at "
            f"most {SEARCH_MAX_RESULTS_THRESHOLD}"
        )


def run_conditions(filter_string: str | None) -> list[Condition]:
    """The conditions of a filter over runs. Raises MlflowException where MLflow's own store would."""
    return [_run_condition(said) for said in SearchUtils.parse_search_filter(filter_string)]


def _run_condition(said: dict[str, Any]) -> Condition:
    kind, value, operator = said["type"], said["value"], said["comparator"].upper()
    key = SearchUtils.translate_key_alias(said["key"])
    field = _field(kind, key, operator)
    if field is None:
        raise _refused(f"Invalid search expression type '{kind}'")
    # MLflow 3.1 has lists of data sets' words as such.
    if isinstance(value, list):
        return Condition(field, key, operator, tuple(value))
    return Condition(field, key, operator, float(value) if field == "metric" else value)


def _field(kind: str, key: str, operator: str) -> Field | None:
    """What a comparison is about, None for what runs are not searched by. Raises where the operator does not fit."""
    if SearchUtils.is_string_attribute(kind, key, operator) or SearchUtils.is_numeric_attribute(kind, key, operator):
        return "attribute"
    if SearchUtils.is_metric(kind, operator):
        return "metric"
    if SearchUtils.is_param(kind, operator):
        return "param"
    if SearchUtils.is_tag(kind, operator):
        return "tag"
    return "dataset" if SearchUtils.is_dataset(kind, operator) else None


def run_orders(order_by: Sequence[str] | None) -> list[Order]:
    """By what runs are ordered. Raises MlflowException where MLflow's own store would."""
    orders = []
    seen = set()
    for clause in order_by or []:
        kind, key, ascending = SearchUtils.parse_order_by_for_search_runs(clause)
        key = SearchUtils.translate_key_alias(key)
        field = None if kind == "dataset" else _field(kind, key, "=")
        if field is None:
            raise _refused(f"Invalid identifier type '{kind}'")
        if (kind, key) in seen:
            raise MlflowException(f"`order_by` contains duplicate fields: {order_by}")
        seen.add((kind, key))
        orders.append(Order(field, key, ascending))
    return orders


def experiment_conditions(filter_string: str | None) -> list[Condition]:
    """The conditions of a filter over experiments. Raises MlflowException where MLflow's own store would."""
    return [_experiment_condition(said) for said in SearchExperimentsUtils.parse_search_filter(filter_string)]


def _experiment_condition(said: dict[str, Any]) -> Condition:
    # Unlike those over runs, these filters know their operators in capitals only.
    kind, key, value, operator = said["type"], said["key"], said["value"], said["comparator"]
    if kind == "tag":
        if operator not in ("=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"):
            raise _refused(f"Invalid comparator for tag: {operator}")
        return Condition("tag", key, operator, value)
    if kind != "attribute":
        raise _refused(f"Invalid token type: {kind}")
    if key == "experiment_id":
        if operator not in ("=", "!=", "IN", "NOT IN"):
            raise _refused(f"Invalid comparator for experiment_id: {operator}")
        many = isinstance(value, tuple)
        return Condition("attribute", key, operator, tuple(map(number_of, value)) if many else number_of(value))
    if key in SearchExperimentsUtils.NUMERIC_ATTRIBUTES:
        if operator not in ("=", "!=", "<", "<=", ">", ">="):
            raise _refused(f"Invalid comparator for numeric attribute: {operator}")
        if isinstance(value, float):
            raise _refused(f"Invalid value for numeric attribute '{key}': {str(value)!r}")
        try:
            value = int(value)
        except (TypeError, ValueError) as error:
            raise _refused(f"Invalid value for numeric attribute '{key}': {value!r}") from error
    elif SearchExperimentsUtils.is_string_attribute(kind, key, operator) and operator in ("IN", "NOT IN"):
        raise _refused(f"Invalid comparator for string attribute: {operator}")
    return Condition("attribute", key, operator, value)


def experiment_orders(order_by: Sequence[str] | None) -> list[Order]:
    """By what experiments are ordered: the newest first where nothing is said."""
    orders = []
    for clause in order_by or ["creation_time DESC", "experiment_id ASC"]:
        kind, key, ascending = SearchExperimentsUtils.parse_order_by_for_search_experiments(clause)
        if kind != "attribute":
            raise _refused(f"Invalid order_by entity: {kind}")
        orders.append(Order("attribute", key, ascending))
    if not any(order.key == "experiment_id" for order in orders):
        orders.append(Order("attribute", "experiment_id", ascending=False))
    return orders


def model_conditions(filter_string: str | None) -> list[Condition]:
    """The conditions of a filter over logged models. Raises MlflowException where MLflow's own store would."""
    found: list[_Comparison] = list(parse_filter_string(filter_string))
    return [Condition(_MODEL_FIELDS[one.entity.type], one.entity.key, one.op, one.value) for one in found]


def model_orders(order_by: Sequence[dict[str, Any]] | None) -> list[ModelOrder]:
    """By what logged models are ordered. Raises MlflowException for a field that models have not."""
    orders = []
    for said in order_by or []:
        name, ascending = str(said.get("field_name")), bool(said.get("ascending", True))
        entity, dot, key = name.partition(".")
        if not dot:
            attribute = _MODEL_ALIASES.get(name, name)
            if not is_model_attribute(attribute):
                raise _refused(f"Invalid order by field name: {name}")
            orders.append(ModelOrder(attribute, None, ascending))
        elif entity != "metrics":
            raise _refused(f"Invalid order by field name: {name}. Only metrics are supported.")
        else:
            on = (said.get("dataset_name") or None, said.get("dataset_digest") or None)
            orders.append(ModelOrder(None, key, ascending, *on))
    return orders


def number_of(experiment_id: object) -> int:
    """An experiment's number. Raises MlflowException for what is none."""
    try:
        return int(experiment_id)  # type: ignore[call-overload,no-any-return]
    except (ValueError, TypeError) as error:
        raise _refused(f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.") from error


def _refused(message: str) -> MlflowException:
    return MlflowException(message, INVALID_PARAMETER_VALUE)
