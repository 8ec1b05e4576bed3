"""Files of a run that lie elsewhere, by MLflow's artifact repositories: listed, copied here, copied there."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

_DEEPEST = 50
LEADS_HERE = "a server says it lies on this machine, where it is not to be read or written for it"
_LEADS_OUT = "its name leads out of the folder"


def leads_out_of(folder: Path, artifact_uri: str) -> bool:
    """Whether an address is a place of this machine that is not below the folder."""
    parts = urlsplit(artifact_uri)
    if parts.scheme.lower() not in ("", "file") and len(parts.scheme) > 1:
        return False
    path = Path(unquote(parts.path)) if parts.scheme else Path(artifact_uri)
    return not path.resolve().is_relative_to(folder.resolve())


@dataclass(frozen=True, slots=True)
class Copied:
    """One file. path: below the run's artifacts, `/` between parts; error: why it could not be copied."""

    path: str
    size_bytes: int = 0
    is_new: bool = False
    error: str | None = None


def copy(artifact_uri: str, target: Path) -> Iterator[Copied]:
    """Copy all files below an address into a folder. One that is there in the same size is not copied again; none is
    to be seen before it is whole, and none can lie outside the folder, whatever it is called there."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        repository = get_artifact_repository(artifact_uri)
        found = list(_listed(repository, None, 0))
    except (MlflowException, OSError, ImportError) as error:
        yield Copied("artifacts", error=_reason(error))
        return
    for path, size in found:
        if not _stays_inside(path):
            yield Copied(path, error=_LEADS_OUT)
            continue
        place = target.joinpath(*PurePosixPath(path).parts)
        try:
            if place.is_file() and (size is None or place.stat().st_size == size):
                yield Copied(path, place.stat().st_size)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.parent.resolve().is_relative_to(target.resolve()):
                yield Copied(path, error="its folder is a link that leads elsewhere")
                continue
            beside = place.with_name(f".{place.name[:200]}.part")
            repository._download_file(path, str(beside))
            beside.replace(place)
            yield Copied(path, place.stat().st_size, is_new=True)
        except (MlflowException, OSError) as error:
            yield Copied(path, error=_reason(error))


def send(artifact_uri: str, to_uri: str) -> Iterator[Copied]:
    """Copy all files below an address to another one. One that is there in the same size is not sent again."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        source, target = get_artifact_repository(artifact_uri), get_artifact_repository(to_uri)
        found, there = list(_listed(source, None, 0)), dict(_listed(target, None, 0))
    except (MlflowException, OSError, ImportError) as error:
        yield Copied("artifacts", error=_reason(error))
        return
    with tempfile.TemporaryDirectory(prefix="expdb-push-") as scratch:
        for path, size in found:
            if not _stays_inside(path):
                yield Copied(path, error=_LEADS_OUT)
                continue
            if path in there and there[path] == size:
                yield Copied(path, size or 0)
                continue
            parts = PurePosixPath(path)
            place = Path(scratch) / parts.name
            try:
                source._download_file(path, str(place))
                folder = str(parts.parent)
                target.log_artifact(str(place), None if folder == "." else folder)
                yield Copied(path, place.stat().st_size, is_new=True)
                place.unlink()
            except (MlflowException, OSError) as error:
                yield Copied(path, error=_reason(error))


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path and "\0" not in path


def _listed(repository: "object", path: str | None, depth: int) -> Iterator[tuple[str, int | None]]:
    for one in repository.list_artifacts(path):  # type: ignore[attr-defined]
        if not one.is_dir:
            yield one.path, one.file_size
        elif depth < _DEEPEST and one.path != path:
            yield from _listed(repository, one.path, depth + 1)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:300]
