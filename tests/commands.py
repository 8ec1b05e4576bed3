"""expdb as a person runs it: a process in a folder of its own."""

import os
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
