"""MLflow's own server and page over this database, as a process of its own that ends with us."""

import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from expdb.address import Address, Server
from expdb.bridges.tracking import artifacts_beside, uri_of
from expdb.errors import DatabaseError, ExpdbError, UsageError, need
from expdb.runners import leash

LOOPBACK = "127.0.0.1"
FIRST_PORT = 5000
_PORTS = 20
_READY_S = 120.0
_GRACE_S = 5.0
_TAIL_LINES = 15


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host's address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int | None) -> int:
    """The port, or the first free one from 5000 on where none is named. Raises UsageError where it is taken."""
    tried = (port,) if port is not None else range(FIRST_PORT, FIRST_PORT + _PORTS)
    for one in tried:
        if _is_free(host, one):
            return one
    if port is None:
        raise UsageError(
            f"no port from {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} is free", hint="--port N names another"
        )
    raise UsageError(
        f"port {port} is taken by another program", hint="--port N names another; without it a free one is found"
    )


def _is_free(host: str, port: int) -> bool:
    try:
        family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as held:
            # As the server does: a port whose last connections are still dying is free.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(address)
    except socket.gaierror as error:
        raise UsageError(f"{host!r} is no address of this machine", hint=f"--host {LOOPBACK}") from error
    except PermissionError as error:
        raise UsageError(f"port {port} may not be used: {error.strerror}", hint="--port 5000") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host!r} is no address of this machine", hint=f"--host {LOOPBACK}") from error
        return False
    return True


@contextmanager
def serving(database: Address, host: str, port: int) -> Iterator["Running"]:
    """The server, as long as the block lasts; it answers when the block begins, and is gone with all its processes
    when it ends, also when we are killed.

    Raises MissingExtraError without MLflow, DatabaseError for a file that may only be read, ExpdbError where it does
    not start.
    """
    need("mlflow", extra="mlflow")
    if not isinstance(database, Server) and not os.access(database, os.W_OK):
        raise DatabaseError(
            f"{database} may not be written to, and whoever uses MLflow's page does",
            hint=f"expdb db backup COPY.db --db {database}, then expdb ui --db COPY.db",
        )
    with tempfile.TemporaryDirectory(prefix="expdb-ui-") as folder:
        server = Running(database, host, port, Path(folder) / "server.log")
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


class Running:
    """MLflow's server while it runs. url: for people and clients alike."""

    def __init__(self, database: Address, host: str, port: int, log: Path) -> None:
        shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{port}"
        self._log = log
        # Beside the database, where direct clients put files, too; those of another machine send them here.
        address = database if isinstance(database, Server) else Path(os.path.abspath(database))
        root, uri = artifacts_beside(address), uri_of(address)
        here = ("--no-serve-artifacts", "--default-artifact-root", root)
        words = (
            *(sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
            *(here if is_loopback(host) else ("--artifacts-destination", root)),
        )
        debug = os.environ.get("EXPDB_DEBUG") == "1"
        with log.open("wb") as out:
            # Of its own session: Ctrl-C is for us, who end it in order. The leash ends it when we are killed.
            self._process = subprocess.Popen(
                [sys.executable, leash.__file__, *words],
                stdin=subprocess.DEVNULL,
                stdout=None if debug else out,
                stderr=None if debug else out,
                env=_environment(host, uri),
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Return once the page answers. Raises ExpdbError with the end of the log where the server ends before."""
        until = time.monotonic() + _READY_S
        asks = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            if self._process.poll() is not None:
                raise self._failed("MLflow's server does not start")
            try:
                with asks.open(f"{self.url}/health", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                raise DatabaseError(f"another program answers at {self.url}", hint="--port N names another") from error
            except OSError:
                if time.monotonic() > until:
                    raise self._failed(f"MLflow's server does not answer within {_READY_S:.0f} s") from None
            time.sleep(0.1)

    def wait(self) -> None:
        """Return when a signal asks us to end. Raises ExpdbError where the server ends by itself."""
        asked: list[int] = []

        def ask(signum: int, _: FrameType | None) -> None:
            asked.append(signum)

        before = {signum: signal.signal(signum, ask) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            while not asked:
                if self._process.poll() is not None:
                    raise self._failed("MLflow's server has ended by itself")
                time.sleep(0.1)
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def stop(self) -> None:
        """End it and whatever it started; a second time does nothing."""
        for signum, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
            try:
                os.killpg(self._process.pid, signum)
            except ProcessLookupError:
                break
            until = time.monotonic() + patience_s
            # The leash is ours to wait for, the others are not: the group is empty when nobody takes a signal.
            while time.monotonic() < until and _is_group(self._process):
                time.sleep(0.02)
        self._process.wait()

    def _failed(self, message: str) -> ExpdbError:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return ExpdbError("\n".join([message, *lines[-_TAIL_LINES:]]), hint="EXPDB_DEBUG=1 shows all it says")


def _is_group(process: "subprocess.Popen[bytes]") -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _environment(host: str, uri: str) -> dict[str, str]:
    # Jobs of MLflow's would be processes beside the server that a results store has no use for.
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    # A URI may hold a password, and everybody may read a command line.
    own |= {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_REGISTRY_STORE_URI": uri}
    own["MLFLOW_DISABLE_TELEMETRY"] = os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true")
    if not is_loopback(host) and "MLFLOW_SERVER_ALLOWED_HOSTS" not in os.environ:
        # By these names the server knows that it is meant, and not a page of somebody else's that leads here.
        names = {"localhost", LOOPBACK, host.strip("[]"), socket.gethostname(), socket.getfqdn()}
        own["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(sorted({*names, *(f"{name}:*" for name in names)}))
    return {**os.environ, **own}
