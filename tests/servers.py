"""A real PostgreSQL, started as an unprivileged user on a socket of its own, and stopped with the tests."""

import contextlib
import glob
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

_numbers = itertools.count(1)


def programs() -> Path | None:
    """The folder of the server's programs: the newest that a distribution installed, else that on the PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(Path(path).parts[-3]))
    on_path = shutil.which("initdb")
    best = found[-1] if found else on_path
    return Path(best).resolve().parent if best else None


def unprivileged() -> list[str] | None:
    """What to put before a command so that it does not run as root, which the server refuses."""
    if os.geteuid() != 0:
        return []
    import pwd

    if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return None
    if found := shutil.which("setpriv"):
        return [found, "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [found, "-u", "postgres", "--"] if (found := shutil.which("runuser")) else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """A server of this process's own; the folder of its socket."""
    from conftest import requires

    requires("postgres", find_spec("psycopg"), "psycopg is not installed")
    folder_of_programs, user = programs(), unprivileged()
    requires("postgres", os.name == "posix" and folder_of_programs, "no PostgreSQL server is installed (initdb)")
    requires("postgres", user is not None, "PostgreSQL does not run as root, and there is no user postgres")
    assert folder_of_programs is not None and user is not None
    # Not pytest's folder: user postgres may not enter that, and a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="expdb-pg-"))
    try:
        home.chmod(0o755)
        data = home / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(home, "postgres", "postgres")
            shutil.chown(data, "postgres", "postgres")
        log = home / "log"
        initdb = [f"{folder_of_programs}/initdb", "-D", str(data), "-U", "expdb", "-A", "trust", "-E", "UTF8", "-N"]
        made = subprocess.run([*user, *initdb], capture_output=True, encoding="utf-8", cwd=home)
        assert made.returncode == 0, made.stderr
        command = [f"{folder_of_programs}/postgres", "-D", str(data), "-k", str(home), "-c", "fsync=off"]
        command += ["-c", "listen_addresses="]
        with log.open("wb") as output:
            process = subprocess.Popen([*user, *command], stdout=output, stderr=output, cwd=home)
        try:
            wait_for(home, process, log)
            yield home
        finally:
            # Fast shutdown is SIGINT to the server's own process, which runuser is not.
            with contextlib.suppress(OSError):
                os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(home)


def wait_for(home: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(home), user="expdb", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)


@pytest.fixture
def postgres_url(postgres_server: Path) -> Iterator[str]:
    """The URL of an empty database, which is dropped after the test."""
    import psycopg

    name = f"test_{next(_numbers)}"
    with psycopg.connect(host=str(postgres_server), user="expdb", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql://expdb@/{name}?host={postgres_server}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
