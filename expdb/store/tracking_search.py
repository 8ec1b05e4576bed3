"""Filters and orders of a tracking client, made SQL with bound parameters: no search loads what it does not return."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from expdb.errors import UsageError
from expdb.store.database import Database, Value
from expdb.store.tracking import DERIVED, NOTE, STARTED, ExperimentRecord, TrackedRun, experiments, runs

Field = Literal["attribute", "metric", "param", "tag", "dataset"]
Lifecycle = Literal["active", "deleted", "all", "none"]
# What a filter may say of one value.
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL")

_RUN_ATTRIBUTES = {
    "run_id": "r.uid",
    "run_name": "r.name",
    "status": "upper(r.status)",
    # Bound to `Search.artifact_root`.
    "artifact_uri": (
        "coalesce(r.artifact_uri, (SELECT coalesce(e.artifact_uri, ? || CAST(e.id AS TEXT)) || '/' || r.uid ||"
        " '/artifacts' FROM experiment e WHERE e.id = r.experiment_id))"
    ),
    "user_id": "coalesce(r.user_name, '')",
    "experiment_id": "CAST(r.experiment_id AS TEXT)",
    "start_time": STARTED,
    "end_time": "r.ended_ms",
    "lifecycle_stage": "CASE WHEN r.deleted_ms IS NULL THEN 'active' ELSE 'deleted' END",
}
_EXPERIMENT_ATTRIBUTES = {
    "experiment_id": "e.id",
    "name": "e.name",
    "creation_time": "e.created_ms",
    "last_update_time": "e.updated_ms",
}
_DATASET_ATTRIBUTES = {"name": "d.name", "digest": "d.digest", "context": "u.context"}

_LIFECYCLE: dict[Lifecycle, str] = {
    "active": "{} IS NULL",
    "deleted": "{} IS NOT NULL",
    "all": "1 = 1",
    "none": "1 = 0",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. operator: of OPERATORS; value: a tuple for lists, None where the operator needs none."""

    field: Field
    key: str
    operator: str
    value: str | float | tuple[str | int, ...] | None


@dataclass(frozen=True, slots=True)
class Order:
    """By what a search orders; what lacks the value comes last either way, NaN just before it."""

    field: Field
    key: str
    ascending: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Which of the results. limit: None is all of them."""

    limit: int | None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Search:
    """A search: all conditions hold. artifact_root: below it, by its number, an experiment has its files for which
    nobody said another place; it ends with a slash."""

    conditions: Sequence[Condition]
    orders: Sequence[Order]
    lifecycle: Lifecycle
    page: Page
    artifact_root: str = "/"


class Clauses:
    """SQL text and its values while they are put together. joins, tests, orders: in the order of their values."""

    def __init__(self, database: Database) -> None:
        self._like = database.like
        self.joins: list[tuple[str, list[Value]]] = []
        self.tests: list[tuple[str, list[Value]]] = []
        self.orders: list[tuple[str, list[Value]]] = []

    def test(self, text: str, *values: Value) -> None:
        """One more condition."""
        self.tests.append((text, list(values)))

    def order(self, text: str, *values: Value) -> None:
        """One more thing to order by."""
        self.orders.append((text, list(values)))

    def compared(self, column: str, condition: Condition) -> tuple[str, list[Value]]:
        """The comparison of a column with the condition's value."""
        return comparison(column, condition.operator, condition.value, self._like)

    def sql(self, page: Page) -> tuple[str, list[Value]]:
        """Everything behind FROM."""
        parts = [text for text, _ in self.joins]
        if self.tests:
            parts.append("WHERE " + " AND ".join(text for text, _ in self.tests))
        if self.orders:
            parts.append("ORDER BY " + ", ".join(text for text, _ in self.orders))
        values = [value for some in (self.joins, self.tests, self.orders) for _, mine in some for value in mine]
        if page.limit is not None:
            parts.append("LIMIT ? OFFSET ?")
            values += [page.limit, page.offset]
        elif page.offset:
            # SQLite has no OFFSET by itself.
            parts.append("LIMIT ? OFFSET ?")
            values += [2**62, page.offset]
        return " ".join(parts), values


def comparison(
    column: str,
    operator: str,
    value: str | float | tuple[str | int, ...] | None,
    like: Callable[[str], tuple[str, str]],
) -> tuple[str, list[Value]]:
    """The text and values that compare a column. Raises UsageError for an operator that nobody knows, or a list where
    it compares with one value."""
    if operator not in OPERATORS:
        raise UsageError(f"no comparison is called {operator!r}")
    if operator in ("IS NULL", "IS NOT NULL"):
        return f"{column} {operator}", []
    if operator in ("IN", "NOT IN"):
        # A list of one comes as that one from some versions of MLflow.
        many = value if isinstance(value, tuple) else (value,)
        if not many:
            return ("1 = 0" if operator == "IN" else "1 = 1"), []
        return f"{column} {operator} ({', '.join('?' * len(many))})", list(many)
    if isinstance(value, tuple):
        raise UsageError(f"{operator} compares with one value, not with a list: {value}")
    if operator == "LIKE":
        word, pattern = like(str(value))
        return f"{column} {word} ?", [pattern]
    if operator == "ILIKE":
        return f"lower({column}) LIKE lower(?)", [str(value)]
    return f"{column} {'<>' if operator == '!=' else operator} ?", [value]


def find_runs(database: Database, experiment_ids: Sequence[int], search: Search) -> list[TrackedRun]:
    """The runs of these experiments that the search asks for, newest first where it does not say."""
    if not experiment_ids:
        return []
    clauses = Clauses(database)
    clauses.test(f"r.experiment_id IN ({', '.join('?' * len(experiment_ids))})", *experiment_ids)
    clauses.test(_LIFECYCLE[search.lifecycle].format("r.deleted_ms"))
    for condition in search.conditions:
        _test_run(clauses, condition, search.artifact_root)
    for number, order in enumerate(search.orders):
        _order_runs(clauses, number, order, search.artifact_root)
    if not any(order.field == "attribute" and order.key == "start_time" for order in search.orders):
        clauses.order(f"{STARTED} DESC")
    clauses.order("r.uid")
    text, values = clauses.sql(search.page)
    with database.view():
        return runs(database, text, values)


def _test_run(clauses: Clauses, condition: Condition, artifact_root: str) -> None:
    key = condition.key
    if condition.field == "attribute":
        text, values = clauses.compared(attribute_of(_RUN_ATTRIBUTES, key), condition)
        clauses.test(text, *([artifact_root] if key == "artifact_uri" else []), *values)
    elif condition.field == "metric":
        text, values = clauses.compared("m.last_value", condition)
        # NaN differs from every number.
        text = f"({text} OR m.last_value IS NULL)" if condition.operator == "!=" else text
        within = "SELECT 1 FROM metric m WHERE m.run_id = r.id AND m.key = ? AND m.count > 0"
        clauses.test(f"EXISTS ({within} AND {text})", key, *values)
    elif condition.field == "dataset":
        text, values = clauses.compared(attribute_of(_DATASET_ATTRIBUTES, key), condition)
        within = "SELECT 1 FROM run_dataset u JOIN dataset d ON d.id = u.dataset_id WHERE u.run_id = r.id"
        clauses.test(f"EXISTS ({within} AND {text})", *values)
    else:
        # Names of tables are ours: a field is one of few words.
        table = "param" if condition.field == "param" else "tag"
        derived = DERIVED.get(key) if table == "tag" else None
        if derived:
            column = f"coalesce((SELECT w.value FROM tag w WHERE w.run_id = r.id AND w.key = ?), {derived})"
            text, values = clauses.compared(column, condition)
            clauses.test(text, key, *values)
        elif condition.operator in ("IS NULL", "IS NOT NULL"):
            negated = "NOT " if condition.operator == "IS NULL" else ""
            clauses.test(f"{negated}EXISTS (SELECT 1 FROM {table} w WHERE w.run_id = r.id AND w.key = ?)", key)
        else:
            text, values = clauses.compared("w.value", condition)
            clauses.test(
                f"EXISTS (SELECT 1 FROM {table} w WHERE w.run_id = r.id AND w.key = ? AND {text})", key, *values
            )


def _order_runs(clauses: Clauses, number: int, order: Order, artifact_root: str) -> None:
    way = "ASC" if order.ascending else "DESC"
    if order.field == "attribute":
        column = attribute_of(_RUN_ATTRIBUTES, order.key)
        values = [artifact_root] if order.key == "artifact_uri" else []
        clauses.order(f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END", *values)
        clauses.order(f"{column} {way}", *values)
        return
    if order.field == "tag" and order.key in DERIVED:
        column = f"coalesce((SELECT w.value FROM tag w WHERE w.run_id = r.id AND w.key = ?), {DERIVED[order.key]})"
        clauses.order(f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END", order.key)
        clauses.order(f"{column} {way}", order.key)
        return
    name = f"o{number}"
    table = {"metric": "metric", "param": "param", "tag": "tag"}[order.field]
    counted = f" AND {name}.count > 0" if table == "metric" else ""
    clauses.joins.append((f"LEFT JOIN {table} {name} ON {name}.run_id = r.id AND {name}.key = ?{counted}", [order.key]))
    if table == "metric":
        last = f"{name}.last_value"
        clauses.order(f"CASE WHEN {name}.id IS NULL THEN 2 WHEN {last} IS NULL THEN 1 ELSE 0 END")
        clauses.order(f"{last} {way}")
    else:
        clauses.order(f"CASE WHEN {name}.value IS NULL THEN 1 ELSE 0 END")
        clauses.order(f"{name}.value {way}")


def find_experiments(database: Database, search: Search) -> list[ExperimentRecord]:
    """The experiments that the search asks for; orders are of attributes."""
    clauses = Clauses(database)
    clauses.test(_LIFECYCLE[search.lifecycle].format("e.deleted_ms"))
    for condition in search.conditions:
        if condition.field == "attribute":
            text, values = clauses.compared(attribute_of(_EXPERIMENT_ATTRIBUTES, condition.key), condition)
            clauses.test(text, *values)
        elif condition.key == NOTE:
            text, values = clauses.compared("e.note", condition)
            clauses.test(text, *values)
        else:
            within = "SELECT 1 FROM experiment_tag w WHERE w.experiment_id = e.id AND w.key = ?"
            if condition.operator in ("IS NULL", "IS NOT NULL"):
                negated = "NOT " if condition.operator == "IS NULL" else ""
                clauses.test(f"{negated}EXISTS ({within})", condition.key)
                continue
            text, values = clauses.compared("w.value", condition)
            clauses.test(f"EXISTS ({within} AND {text})", condition.key, *values)
    for order in search.orders:
        clauses.order(f"{attribute_of(_EXPERIMENT_ATTRIBUTES, order.key)} {'ASC' if order.ascending else 'DESC'}")
    text, values = clauses.sql(search.page)
    return experiments(database, text, values)


def attribute_of(known: dict[str, str], key: str) -> str:
    """The column of an attribute. Raises UsageError for one that is not known."""
    if key not in known:
        raise UsageError(f"Invalid attribute key '{key}' specified. Valid keys are '{sorted(known)}'")
    return known[key]
