"""A real PostgreSQL, started as an unprivileged user on a socket of its own, and stopped again."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path


class MissingError(Exception):
    """No server can be started here; the message says why."""


@contextlib.contextmanager
def running(settings: Sequence[str] = ()) -> Iterator[Path]:
    """A server with PostgreSQL's own settings but for these (`fsync=off`); the folder of its socket, where user expdb
    needs no password. Raises MissingError."""
    if find_spec("psycopg") is None:
        raise MissingError("psycopg is not installed")
    at, user = programs(), unprivileged()
    if os.name != "posix" or at is None:
        raise MissingError("no PostgreSQL server is installed (initdb)")
    if user is None:
        raise MissingError("PostgreSQL does not run as root, and there is no user postgres")
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
        initdb = [f"{at}/initdb", "-D", str(data), "-U", "expdb", "-A", "trust", "-E", "UTF8", "-N"]
        made = subprocess.run([*user, *initdb], capture_output=True, encoding="utf-8", cwd=home, check=False)
        if made.returncode:
            raise MissingError(made.stderr)
        command = [f"{at}/postgres", "-D", str(data), "-k", str(home), "-c", "listen_addresses="]
        command += [word for one in settings for word in ("-c", one)]
        with log.open("wb") as output:
            process = subprocess.Popen([*user, *command], stdout=output, stderr=output, cwd=home)
        try:
            _wait_for(home, process, log)
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


@contextlib.contextmanager
def database(home: Path, name: str) -> Iterator[str]:
    """The URL of a new and empty database on the server, which is dropped in the end."""
    import psycopg

    with psycopg.connect(host=str(home), user="expdb", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield f"postgresql://expdb@/{name}?host={home}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def programs() -> Path | None:
    """The folder of the server's programs: the newest that a distribution installed, else that on the PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(Path(path).parts[-3]))
    on_path = shutil.which("initdb")
    best = found[-1] if found else on_path
    return Path(best).resolve().parent if best else None


def unprivileged() -> list[str] | None:
    """What to put before a command so that it does not run as root, which the server refuses; None: nothing does."""
    if os.geteuid() != 0:
        return []
    import pwd

    if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return None
    if found := shutil.which("setpriv"):
        return [found, "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [found, "-u", "postgres", "--"] if (found := shutil.which("runuser")) else None


def _wait_for(home: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(home), user="expdb", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise MissingError(log.read_text()) from None
            time.sleep(0.05)
