"""The house itself: layers, what stands in its files, what start-up may cost, what packages promise."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import expdb
from expdb import errors

ROOT = Path(__file__).parent.parent


def imported_by(folder: Path, *words: str) -> set[str]:
    """Modules that a command imports."""
    program = (
        f"import sys; sys.argv = ['expdb', *{list(words)!r}]\n"
        "from expdb import cli\ntry: cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    # Measured by coverage, a process imports what coverage needs.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    environment["EXPDB_DB"] = "nowhere.db"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", env=environment, cwd=folder
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words", [("--help",), ("ls",), ("compare",), ("plot",), ("diff", "a", "b"), ("ingest", "nowhere")]
)
def test_no_command_pays_for_what_it_does_not_use(words: tuple[str, ...], tmp_path: Path) -> None:
    heavy = {"sqlmodel", "sqlalchemy", "pydantic", "pandas", "mlflow", "rich.table", "matplotlib"}
    if words[0] == "ingest":
        # It makes the database here, and only then needs the schema's classes.
        heavy -= {"sqlmodel", "sqlalchemy", "pydantic"}
    assert not imported_by(tmp_path, *words) & heavy


def test_help_imports_neither_database_nor_readers(tmp_path: Path) -> None:
    assert not {
        name for name in imported_by(tmp_path, "--help") if name.startswith(("expdb.store", "expdb.parsers", "sqlite3"))
    }


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "expdb/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", expdb.__version__)


def test_every_extra_of_the_plan_is_offered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    offered = set(project["optional-dependencies"])
    wanted = {"pandas", "mlflow", "train", "tensorboard", "plot", "stats", "report", "postgres", "slurm", "ray", "all"}
    assert not wanted - offered


def test_a_missing_extra_is_one_line_with_what_to_install() -> None:
    with pytest.raises(errors.MissingExtraError) as caught:
        errors.need("a_module_that_nobody_has", extra="stats")
    assert caught.value.hint == "pip install 'expdb[stats]'"
    errors.need("typer", extra="all")


def test_no_file_names_a_package_registry_or_a_place_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, encoding="utf-8", cwd=ROOT, check=True).stdout
    # Spelled in pieces, so that this file is not its own finding.
    wrong = re.compile("|".join(("pypi" + r"\.org", "index" + "-url", "/ro" + "ot/", "/op" + "t/", "/wo" + "rk/")))
    found = [
        f"{name}:{number}"
        for name in listed.splitlines()
        if name != "LICENSE"
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if wrong.search(line)
    ]
    assert not found


def test_every_reader_keeps_the_contract() -> None:
    from expdb import plugins

    for name, parser in plugins.all_parsers().items():
        assert name == parser.NAME
        assert parser.VERSION >= 1
        assert parser.SUMMARY
