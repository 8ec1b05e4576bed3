"""What a results store does not hold, of all that MLflow's stores may be asked: empty answers, and clear refusals."""

from collections.abc import Callable
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED
from mlflow.store.entities.paged_list import PagedList


def refusing_the_rest(base: type[Any], keep: frozenset[str]) -> Callable[[type[Any]], type[Any]]:
    """A class decorator: public methods that are still base's refuse, but for those to keep.

    A newer MLflow asks for things that this version has not heard of; these are refused as clearly as the known ones.
    """

    def refuse_the_rest(store: type[Any]) -> type[Any]:
        for name in dir(base):
            inherited = getattr(store, name) is getattr(base, name)
            if not name.startswith("_") and name not in keep and inherited and callable(getattr(base, name)):
                setattr(store, name, refusal(name))
        return store

    return refuse_the_rest


def refusal(name: str) -> Callable[..., NoReturn]:
    """A method that says that it is not supported, whatever it is asked."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise MlflowException(
            f"{name} is not supported: expdb's database holds experiments, runs and their results",
            error_code=NOT_IMPLEMENTED,
        )

    refuse.__name__ = name
    return refuse


def nothing(*_: object, **__: object) -> "PagedList[Any]":
    """A method that lists what is not there."""
    return PagedList([], None)
