"""docs/own-formats.md is true: its files are written, its package is installed, its commands print what it shows."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from commands import environment

PAGE = Path(__file__).parent.parent / "docs" / "own-formats.md"
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def installed(project: Path, site: Path) -> None:
    """Put the package of a pyproject.toml where Python finds it, as pip would."""
    said = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    info = site / f"{said['name']}-{said['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {said['name']}\nVersion: {said['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
        for group, found in said["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points)


def _even(text: str) -> str:
    """Columns are as wide as the longest name of any reader."""
    return re.sub(r" +$", "", re.sub(r"(?<=\S)  +", "  ", text), flags=re.MULTILINE)


def test_every_example_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    site = tmp_path / "site"
    path = os.pathsep.join(filter(None, (str(site), str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/expdb").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m expdb "$@"\n')
    (tmp_path / "bin/expdb").chmod(0o755)
    # Messages stand where they come, as on a terminal.
    env = environment(
        {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    )
    commands = 0
    for kind, name, body in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if name:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(body, encoding="utf-8")
            if name == "pyproject.toml":
                installed(tmp_path / name, site)
            continue
        assert kind == "console", f"a fence of {kind} without a file"
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE):
            done = subprocess.run(
                ["sh", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                cwd=tmp_path,
                env=env,
                timeout=60,
            )
            assert _even(done.stdout) == _even(shown), command
            commands += 1
    assert commands >= 9
