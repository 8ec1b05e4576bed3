"""Posts begun by `report new`: front matter, living markers that are current at once, and templates that stay in."""

from pathlib import Path

import pytest
import yaml
from commands import Expdb, expdb_in
from conftest import log_lines
from hypothesis import given
from hypothesis import strategies as st

from expdb import ingest
from expdb.errors import InputError, NotFoundError
from expdb.reports import template
from expdb.store.sqlite import SqliteDatabase

CLOCK = {"EXPDB_NOW": "2026-01-31T12:00:00Z", "TZ": "UTC"}


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    """The command in a folder with two models of two seeds each, and a page that reports two more."""
    for model in ("vgg", "nin"):
        for seed in range(2):
            path = tmp_path / f"logs/{model}-{seed}.log"
            path.parent.mkdir(exist_ok=True)
            settings = f"Namespace(model='{model}', seed={seed}, lr=0.1, epochs=6, resume=None)\n"
            path.write_text(settings + "".join(log_lines(6, salt=3 * seed + len(model))))
    (tmp_path / "page.md").write_text("# Reported\n\n| model | accuracy |\n| - | - |\n| a | 87.6 |\n| b | 90.1 |\n")
    path = tmp_path / "runs" / "expdb.db"
    with SqliteDatabase.create(path) as database:
        items, _ = ingest.collect([str(tmp_path / "logs"), str(tmp_path / "page.md")], path)
        ingest.ingest(database, items, ingest.Request())
    return expdb_in(tmp_path)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("engine", ["hexo", "jekyll", "plain"])
def test_a_new_post_is_current_at_once(expdb: Expdb, tmp_path: Path, engine: str, lang: str) -> None:
    words = ("report", "new", "-e", "logs", "--engine", engine, "--lang", lang, "--title", "Two: networks #1")
    done = expdb(*words, env=CLOCK)
    name = {"jekyll": "2026-01-31-two-networks-1.md"}.get(engine, "two-networks-1.md")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{name}: 8 of 8 blocks written\n")
    assert expdb("report", "check", name).stdout == f"{name}: current, 8 blocks\n"
    text = (tmp_path / name).read_text(encoding="utf-8")
    if engine == "plain":
        assert text.startswith("# Two: networks #1\n\n2026-01-31\n\n")
    else:
        front = yaml.safe_load(text.split("---\n")[1])
        assert front["title"] == "Two: networks #1"
        assert str(front["date"]).startswith("2026-01-31 12:00:00")
        assert front["tags"] == ["logs"]
        assert front.get("layout") == ("post" if engine == "jekyll" else None)
    stem = name.removesuffix(".md")
    assert (tmp_path / stem / "test-accuracy.svg").is_file()
    assert f"]({'' if engine == 'hexo' else stem + '/'}test-accuracy.svg)" in text
    # Seeds are chance: means over them, and as few words as tell the rows apart.
    assert 'columns="model" group-by="all-but:seed"' in text
    assert "| vgg   |    2 |" in text
    assert ("## 结论" if lang == "zh" else "## Findings") in text
    assert text.endswith("<!-- /expdb -->\n")


def test_a_post_of_some_runs_names_them(expdb: Expdb, tmp_path: Path) -> None:
    assert expdb("report", "new", "vgg-0", "@1", "-o", "posts/few.md").returncode == 0
    text = (tmp_path / "posts/few.md").read_text(encoding="utf-8")
    assert 'runs="vgg-0, ' in text and "@1" not in text
    assert expdb("report", "check", "posts").returncode == 0


def test_a_post_of_reported_results_has_no_curves(expdb: Expdb, tmp_path: Path) -> None:
    assert expdb("report", "new", "-e", "Reported").returncode == 0
    text = (tmp_path / "reported.md").read_text(encoding="utf-8")
    assert "expdb plot" not in text and "No curves are known" in text
    assert not (tmp_path / "reported").exists()
    assert expdb("report", "check", "reported.md").returncode == 0


def test_a_page_that_is_there_is_not_overwritten(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "logs.md").write_text("mine")
    done = expdb("report", "new", "-e", "logs")
    assert (done.returncode, done.stderr) == (2, "expdb: logs.md is there already\n  -o ANOTHER.md\n")
    assert (tmp_path / "logs.md").read_text() == "mine"
    assert not (tmp_path / "logs" / "test-accuracy.svg").exists()


def test_a_link_that_leads_nowhere_is_not_written_through(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "p.md").symlink_to(tmp_path / "elsewhere.md")
    assert expdb("report", "new", "-e", "logs", "-o", "p.md").returncode == 2
    assert not (tmp_path / "elsewhere.md").exists()


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("--engine", "wordpress"), 3, "no template is called 'wordpress'\n  there are hexo, jekyll, plain"),
        (("--lang", "de"), 2, "no page begins in 'de'\n  --lang en or zh"),
        (("-e", "nowhere"), 3, "no experiment is called 'nowhere'"),
        (("-w", "lr = 7"), 3, "there is no run to write about"),
        (("--template", "nowhere.md"), 2, "there is no template nowhere.md"),
    ],
)
def test_wrong_words_are_one_line_with_a_remedy(expdb: Expdb, words: tuple[str, ...], code: int, expected: str) -> None:
    done = expdb("report", "new", *words)
    assert (done.returncode, done.stderr.startswith(f"expdb: {expected}")) == (code, True), done.stderr


# Templates of one's own


def test_templates_of_ones_own_stand_beside_the_built_in_ones(expdb: Expdb, tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "lab.md").write_text(
        '# {{ title | markdown }}\n\n{{ marker("table", {"columns": results}) }}\n\n{{ runs | length }}\n'
    )
    (own / "_body.en.md").write_text('{{ marker("runs", {}) }}\n')
    (tmp_path / "expdb.toml").write_text('[report]\ntemplates = "mine"\n')
    assert expdb("report", "new", "-e", "logs", "--engine", "lab", "-o", "a.md").returncode == 0
    assert (tmp_path / "a.md").read_text().endswith("<!-- /expdb -->\n\n4\n")
    assert (
        expdb("report", "new", "-e", "logs", "--engine", "plain", "-o", "b.md").stdout == "b.md: 1 of 1 block written\n"
    )
    (tmp_path / "one.md").write_text("{{ title }}\n")
    assert expdb("report", "new", "-e", "logs", "--template", "one.md", "-o", "c.md").returncode == 0
    assert (tmp_path / "c.md").read_text() == "logs\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('[report]\ntemplates = "nowhere"', "expdb.toml:2: report.templates: there is no folder "),
        ("[report]\ntemplates = 3", "expdb.toml:2: templates is no text: 3"),
        ('[report]\ntemplate = "mine"', "expdb.toml:2: nothing is called 'template' in report"),
        ('report = "mine"', "expdb.toml:1: report is no table"),
    ],
)
def test_a_folder_of_templates_that_is_none_is_told_with_its_line(
    expdb: Expdb, tmp_path: Path, said: str, expected: str
) -> None:
    (tmp_path / "expdb.toml").write_text(f"{said}\n")
    done = expdb("report", "new")
    assert (done.returncode, done.stderr.startswith(f"expdb: {expected}")) == (1, True), done.stderr


def test_a_template_whose_markers_are_wrong_begins_no_page(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "t.md").write_text('a\n\n{{ marker("table", {"columns": "nothing"}) }}\n')
    done = expdb("report", "new", "-e", "logs", "--template", "t.md", "-o", "p.md")
    assert done.returncode == 1
    assert done.stderr.startswith("expdb: p.md:3: none of the runs has a param, tag, metric or field called 'nothing'")
    assert not (tmp_path / "p.md").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{{ marker.__globals__ }}",
        "{{ marker.__call__.__self__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ title.__class__ }}",
        "{{ '{0.__class__}'.format(title) }}",
        "{{ title | attr('__class__') }}",
        "{{ self.__init__ }}",
        "{{ runs.append('x') }}",
        "{{ cycler.__init__ }}",
        "{{ lipsum }}",
        "{{ range(1000000) }}",
        "{{ open('secret.md') }}",
        "{% include 'secret.md' %}",
        "{% include '../secret.md' %}",
        "{% include 'a/../../secret.md' %}",
        "{% include 'sly.md' %}",
        "{% import 'sly.md' as x %}{{ x }}",
        "{% extends '/etc/hostname' %}",
        "{% include folder ~ '/secret.md' %}",
        "{{ nothing }}",
        "{{ 1 / 0 }}",
        "{{ title + 1 }}",
        "{% if %}",
        "{{ marker('system', {}) }}",
        *("{{ 'x' * (10**10) }}", "{{ 10**(10**10) }}", "{{ (10**10) * 'x' }}", "{{ [1] * 1000000000 }}"),
        "{% set x = 'x' * 99999 %}{{ x * 99999 }}",
    ],
)
def test_a_hostile_template_reaches_nothing(tmp_path: Path, text: str) -> None:
    own = tmp_path / "templates"
    own.mkdir()
    (tmp_path / "secret.md").write_text("a secret")
    (own / "sly.md").symlink_to(tmp_path / "secret.md")
    (own / "evil.md").write_text(f"a\n{text}\n")

    def marker(kind: str, words: dict[str, str]) -> str:
        raise NotFoundError(f"no marker is called {kind}")

    words = {"title": "T", "runs": ["a"], "marker": marker, "folder": str(tmp_path)}
    with pytest.raises((InputError, NotFoundError)) as caught:
        template.render("evil", words, own)
    assert "a secret" not in caught.value.message


def test_a_fault_of_a_template_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "evil.md").write_text("a\n\n{% for x in [1] %}\n{{ nothing }}\n{% endfor %}\n")
    with pytest.raises(InputError, match=r"evil\.md:4: 'nothing' is undefined"):
        template.render("evil", {}, tmp_path)


@given(st.text() | st.lists(st.text(), max_size=3))
def test_whatever_stands_in_front_matter_is_read_back_as_it_is_shown(value: str | list[str]) -> None:
    from expdb.reports.text import visible

    shown = visible(value) if isinstance(value, str) else [visible(one) for one in value]
    assert yaml.safe_load(f"a: {template.in_yaml(value)}\n") == {"a": shown}
