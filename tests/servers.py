"""A real PostgreSQL for the tests of one process, and an empty database on it for each test that asks."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import servers

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """A server of this process's own; the folder of its socket. Skips where there is none, unless it is required."""
    from conftest import requires

    with ExitStack() as stack:
        home, why = None, ""
        try:
            home = stack.enter_context(servers.running(["fsync=off"]))
        except servers.MissingError as error:
            why = str(error)
        requires("postgres", home, why)
        assert home is not None
        yield home


@pytest.fixture
def postgres_url(postgres_server: Path) -> Iterator[str]:
    """The URL of an empty database, which is dropped after the test."""
    with servers.database(postgres_server, f"test_{next(_numbers)}") as url:
        yield url
