"""What the tests share: a database, logs to put in, and what a test may need beyond Python."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from servers import postgres_server as postgres_server  # a fixture
from servers import postgres_url as postgres_url

from expdb.store.sqlite import SqliteDatabase as Database

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

LINE = "epoch {0},\tloss {1:.4f},\ttrain accuracy {2:.3f},\ttest accuracy {3:.3f},\tuse time {4:.3f}\n"
WriteLog = Callable[..., Path]

# Several files of tests run at a time: torch's threads would wait for each other, and burn four times the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on what else the machine does; tests of speed count processor time.
settings.register_profile("expdb", deadline=None)
settings.load_profile("expdb")


def requires(name: str, there: object, reason: str) -> None:
    """Skip the test, with its reason, where what it needs is not there; fail it where EXPDB_REQUIRE lists the name."""
    if there:
        return
    if name in os.environ.get("EXPDB_REQUIRE", "").split(","):
        pytest.fail(f"EXPDB_REQUIRE names {name}, but {reason}", pytrace=False)
    pytest.skip(reason)


def log_lines(epochs: int, first: int = 0, salt: int = 0) -> list[str]:
    """Lines of a legacy log; another salt gives other numbers for the same epochs."""
    return [
        LINE.format(e, 2 / (e + 1) + salt / 100, 0.4 + e / (e + 9), 0.3 + (e * 7 + salt) % 50 / 100, 19 + salt % 7)
        for e in range(first, first + epochs)
    ]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database, open for writing, at the place a project has it."""
    with Database.create(tmp_path / "runs" / "expdb.db") as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    """A headless Chromium, one for the tests of a file: starting it takes a second. See browsers.py."""
    import browsers

    driver, profile = browsers.start()
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter and look into; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="expdb-open-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    for at, folders, _ in os.walk(folder):
        # What a test closed must open again before it can be deleted.
        for name in folders:
            Path(at, name).chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def write_log(tmp_path: Path) -> WriteLog:
    """Write a legacy log below tmp_path."""

    def write(name: str = "logs/a.log", epochs: int = 3, salt: int = 0, first: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(log_lines(epochs, first, salt)), encoding="utf-8", newline="")
        return path

    return write
