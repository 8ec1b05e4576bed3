"""expdb as a person runs it: a process in a folder of its own."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Expdb = Callable[..., subprocess.CompletedProcess[str]]


def environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """What a command inherits in a test."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("EXPDB_")}
    return inherited | {"PYTHONUTF8": "1", "COLUMNS": "80", **(env or {})}


def expdb_in(folder: Path) -> Expdb:
    """The command in that folder."""

    def run(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "expdb", *words],
            capture_output=True,
            encoding="utf-8",
            cwd=folder,
            env=environment(env),
            input=stdin,
            timeout=60,
        )

    return run


def on_terminal(folder: Path, columns: int, *words: str, env: dict[str, str] | None = None) -> str:
    """What a terminal of so many columns shows."""
    leader, follower = pty.openpty()
    inherited = environment({"COLUMNS": str(columns), "TERM": "xterm", **(env or {})})
    command = [sys.executable, "-m", "expdb", *words]
    process = subprocess.Popen(command, cwd=folder, env=inherited, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    out = b""
    while select.select([leader], [], [], 30)[0]:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    process.wait()
    os.close(leader)
    return out.decode().replace("\r\n", "\n")
