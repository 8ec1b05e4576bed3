"""The doors that MLflow knows by their entry points: `expdb:///abs/path.db`, `expdb+postgresql://...`.

MLflow loads this module while it is itself half imported, so that nothing of MLflow may be imported up here.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from expdb import settings
from expdb.address import Address, Server
from expdb.errors import UsageError

if TYPE_CHECKING:
    from expdb.bridges.registry import EmptyRegistry
    from expdb.bridges.tracking_store import ExpdbStore

FILE, SERVER = "expdb:", "expdb+postgresql:"
SCHEMES = (FILE.removesuffix(":"), SERVER.removesuffix(":"))


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> "ExpdbStore":
    """MLflow's tracking store over the database of that URI, which is made where there is none.

    artifact_uri: below it the files of new experiments go; None is a folder beside the database.
    Raises MlflowException.
    """
    from expdb.bridges.tracking_store import ExpdbStore, told_to_mlflow

    with told_to_mlflow():
        return ExpdbStore(store_uri, address_of(store_uri), artifact_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> "EmptyRegistry":
    """MLflow's model registry beside that store: nothing is in it, and nothing can be put there."""
    from expdb.bridges.registry import EmptyRegistry

    return EmptyRegistry(store_uri, tracking_uri)


def address_of(uri: str) -> Address:
    """The database meant by a tracking URI: a file's path, percent-encoded where it needs to be, or a server's URL.

    Raises UsageError for what is neither.
    """
    if uri.startswith(SERVER):
        return settings.database_path(uri)
    rest = uri.removeprefix(FILE)
    if rest == uri:
        raise UsageError(f"{uri!r} is no URI of expdb's", hint="expdb:///absolute/path.db")
    if rest.startswith("//") and not rest.startswith("///"):
        raise UsageError(f"{uri!r} has two slashes, and so names a host", hint=f"a file has three: {FILE}//{rest[1:]}")
    path = unquote(rest.removeprefix("//"))
    if not path.strip("/"):
        raise UsageError(f"{uri!r} names no file", hint="expdb:///absolute/path.db")
    # As sqlite:////abs/path is written, four slashes are an absolute path, too.
    return Path(os.path.abspath(f"/{path.lstrip('/')}" if path.startswith("/") else path))


def uri_of(address: Address) -> str:
    """The tracking URI of a database; that of a server holds its password, where there is one."""
    if isinstance(address, Server):
        return f"expdb+{address.url}"
    return f"{FILE}{Path(os.path.abspath(address)).as_uri().removeprefix('file:')}"


def artifacts_beside(address: Address) -> str:
    """Where files go when nobody says where: a folder beside the database, or beside the run folders of a server's.

    As a path, or as a URI where that says more.
    """
    if isinstance(address, Server):
        folder = address.root / "artifacts"
    else:
        folder = address.with_name(f"{address.stem}-artifacts")
    # In a URI these have a meaning of their own.
    return folder.as_uri() if any(sign in str(folder) for sign in "#?%") else str(folder)
