"""Documents that follow from the code say what the code says."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from commands import expdb_in

from docs import generate

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["cli.md", "schema.md", "formats.md"])
def test_a_generated_page_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generate.pages()[name], "run: make docs"


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "README.zh.md", "CHANGELOG.md"),
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
    ],
)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing


@pytest.mark.parametrize("name", ["tables.md", "plots.md"])
def test_the_commands_of_a_page_print_what_it_says(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    expdb = expdb_in(tmp_path)
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```\n", page, re.DOTALL)
    commands = [
        one for block in blocks for one in re.findall(r"^\$ expdb (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]
    assert len(commands) > 3
    for words, printed in commands:
        done = expdb(*shlex.split(words))
        assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


def test_the_examples_of_both_readmes_are_what_the_demo_prints(tmp_path: Path) -> None:
    from expdb import compare, expressions, ingest, reports
    from expdb.store.sqlite import SqliteDatabase as Database

    with Database.create(tmp_path / "demo.db") as database:
        items, _ = ingest.collect([str(ROOT / "examples/logs"), str(ROOT / "examples/pages")])
        ingest.ingest(database, items, ingest.Request())
        logs = compare.Query(experiment="logs", sort=expressions.parse_operand("best(test/accuracy)"))
        animals = compare.Query(experiment="动物图片分类")
        for page, query in (("README.md", logs), ("README.zh.md", animals)):
            printed = reports.render(compare.compare(database, query), "plain")
            assert printed in (ROOT / page).read_text(encoding="utf-8")
