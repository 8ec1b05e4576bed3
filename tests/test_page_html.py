"""`report page` as bytes: what stands in the file, whence its numbers come, and what is refused."""

import base64
import gzip
import json
import math
import re
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from commands import expdb_in
from conftest import WriteLog, requires
from drills import take
from hypothesis import given
from hypothesis import strategies as st
from pages import ESCAPING, HOSTILE, NOW, project, write_page

from expdb import metrics, pages, provenance
from expdb.compare import tables
from expdb.errors import MissingExtraError
from expdb.expressions import StepOf, parse_operand
from expdb.reports import page as written
from expdb.reports.page import Page
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.sqlite import SqliteDatabase


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    requires("bokeh", find_spec("bokeh"), "bokeh is not installed")
    return project(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return write_page(folder).read_text("utf-8")


class Parts(HTMLParser):
    """Cells of the table, scripts by id, attributes that a browser would follow, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.scripts: dict[str, str] = {}
        self.followed: list[str] = []
        self.tags: dict[str, int] = {}
        self._within = ""
        self._script = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.followed += [value for name, value in attrs if name in ("src", "href", "srcset", "action") and value]
        assert not [name for name in said if name.startswith("on")], said
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self._within = tag
            self.rows[-1].append("")
        if tag == "script":
            self._script = said.get("id") or "main"
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        self._within = "" if tag == self._within else self._within
        self._script = "" if tag == "script" else self._script

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] += data
        elif self._within:
            self.rows[-1][-1] += data


def packed(parts: Parts) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(parts.scripts["packed-curves"])))
    return found


def test_the_table_is_read_without_any_script(text: str) -> None:
    head, *rows = Parts(text).rows
    assert head[1:4] == ["run", "model", "seed"]
    # Ticks and buttons are added where scripts run; the words stand in the page itself.
    assert [row[1] for row in rows][:3] == ["broken_seed0", HOSTILE, "中文名 二号"]
    assert [row[2:4] for row in rows][:3] == [["broken", "0"], ["resnet", "0"], ["resnet", "1"]]
    assert len(rows) == 9
    last = dict(zip(head, rows[0], strict=True))
    assert last["last(train/loss)"] == "nan‡"


def test_foreign_text_stays_text(text: str) -> None:
    parts = Parts(text)
    assert parts.tags["script"] == 4
    assert "img" not in parts.tags
    assert [row[1] for row in parts.rows].count(HOSTILE) == 1
    said = json.loads(parts.scripts["rows"])
    assert said["names"][1] == HOSTILE
    told = packed(parts)["runs"][1]
    assert dict(told[4])["remark"] == ESCAPING
    assert "window.pwned=2</script" not in text


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none(), st.lists))
def test_values_in_a_script_neither_end_nor_open_one(value: object) -> None:
    told = written._json(value)
    assert json.loads(told) == value
    assert not re.search(r"[<>&\u2028\u2029]", told)


def test_a_page_asks_no_host_for_anything(text: str) -> None:
    parts = Parts(text)
    assert parts.followed == ["data:,"]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    # Scripts are named by their digests: none else runs, wherever it comes from.
    assert all(word.startswith("'sha256-") for word in rules["script-src"].split())
    assert {"base-uri", "form-action"} <= rules.keys()


def test_the_same_database_and_clock_give_the_same_bytes(folder: Path, text: str) -> None:
    assert write_page(folder, name="again.html").read_bytes() == text.encode()
    assert '<time datetime="2026-03-14T09:26:53Z">2026-03-14</time>' in text
    assert not list(folder.glob(".*partial"))


def test_the_language_is_declared(folder: Path) -> None:
    assert '<html lang="zh">' in write_page(folder, "--lang", "zh", name="zh.html").read_text("utf-8")


def test_the_rules_that_chose_the_numbers_stand_beneath(text: str) -> None:
    assert "<li>last: the value at the greatest step</li>" in text
    assert "<li>best: the greatest test/accuracy of all steps, chosen by looking at that very number</li>" in text
    assert "<li>‡ diverged" in text
    assert "<li>† reported on a page, without its curve</li>" in text


def page_of(database: Database, asked: tables.Asked, metrics: tuple[str, ...] = ()) -> Page:
    return pages.page(database, pages.Asked(asked, metrics))


def test_every_number_of_the_table_stands_where_blame_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    rules = ("first", "last", "best", "min", "max")
    asked = ", ".join(f"{rule}(test/accuracy), step_of({rule}(test/accuracy))" for rule in rules)
    asked = f"run, train/loss, at(test/accuracy, 5), {asked}"
    with SqliteDatabase(folder / "runs" / "expdb.db") as database:
        page = page_of(database, tables.Asked(columns=asked))
        looked = 0
        for row, record in enumerate(reader.runs(database)):
            for place, column in enumerate(page.table.columns[1:], 1):
                cell, origin = page.table.rows[row][place], page.origins[row][place]
                if cell.value is None and origin is None:
                    continue
                assert origin and origin.lines and origin.source is not None
                metric = reader.metric_of(database, record, origin.metric)
                found = provenance.blame(database, record, metric, origin.step).origins[0]
                assert (found.path, found.line) == (page.sources[origin.source], origin.lines[0])
                assert origin.lines[0] == origin.lines[1]
                if isinstance(parse_operand(column.expression), StepOf):
                    assert cell.value == found.step
                elif found.value is None:
                    assert isinstance(cell.value, float) and math.isnan(cell.value)
                else:
                    assert cell.value == pytest.approx(metrics.in_unit(found.value, metric.unit, column.unit))
                looked += 1
    assert looked > 80


def test_a_mean_names_all_its_lines(folder: Path) -> None:
    with SqliteDatabase(folder / "runs" / "expdb.db") as database:
        page = page_of(database, tables.Asked(columns="run, tail(test/accuracy, 4)", where="model = 'vgg'"))
    origins = [row[1] for row in page.origins]
    assert [(one.lines, one.count, one.step) for one in origins if one] == [((9, 12), 4, 11)] * 3


def test_curves_are_the_points_of_the_database(folder: Path, text: str) -> None:
    told = packed(Parts(text))
    names = [metric[0] for metric in told["metrics"]]
    with SqliteDatabase(folder / "runs" / "expdb.db") as database:
        records = reader.runs(database)
        assert len(told["curves"]) == 7 * 3 + 2
        for run, metric, key, reported, steps, values, lines, sources, decimals, count in told["curves"]:
            record = reader.metric_of(database, records[run], key)
            points = reader.points(database, record.id)
            assert names[metric] == record.name
            assert (reported, decimals, count) == (record.kind == "reported", record.decimals, len(points)) or reported
            if not reported:
                assert spread(told["steps"][steps]) == [point.step for point in points]
                assert values == [point.value if point.value is not None else None for point in points]
                assert spread(lines) == [point.line for point in points]
                assert sources == [[12, sources[0][1]]]


def spread(said: Any) -> list[int]:
    if isinstance(said, list):
        return said
    first, distance, count = said["e"]
    return list(range(first, first + distance * count, distance))


@given(st.lists(st.none() | st.floats(allow_nan=False, width=16), min_size=5, max_size=400), st.integers(4, 40))
def test_a_thinned_curve_keeps_ends_and_extremes_and_invents_nothing(values: list[float | None], most: int) -> None:
    places: list[int | None] = list(range(len(values)))
    kept = pages._thinned(pages.Points(places, values, places, places), most)
    assert [values[step or 0] for step in kept.steps] == kept.values
    assert kept.steps == kept.lines == kept.sources == sorted(set(kept.steps), key=lambda step: step or 0)
    assert (kept.steps[0], kept.steps[-1]) == (0, len(values) - 1)
    numbers = [value for value in values if value is not None]
    if numbers:
        assert {min(numbers), max(numbers)} <= set(kept.values)
    assert (None in values) == (None in kept.values)
    assert len(kept.values) <= 3 * most


def test_a_long_curve_is_thinned_and_the_page_says_so(database: Database, write_log: WriteLog) -> None:
    take(database, write_log(epochs=5000))
    page = page_of(database, tables.Asked())
    assert {curve.count for curve in page.curves} == {5000}
    assert max(len(curve.values) for curve in page.curves) in range(1500, pages.MOST_OF_A_CURVE + 1)
    assert "nothing is averaged" in page.remarks[0]
    (origin,) = [one for one in page.origins[0] if one and one.step == 4999][:1]
    assert origin.lines == (5000, 5000)


def test_only_the_curves_that_are_named_are_drawn_under_their_own_names(folder: Path) -> None:
    told = packed(Parts(write_page(folder, "-y", "loss", name="loss.html").read_text("utf-8")))
    assert [metric[0] for metric in told["metrics"]] == ["train/loss"]
    assert len(told["curves"]) == 7


def test_columns_without_the_run_get_it(folder: Path) -> None:
    head, *rows = Parts(write_page(folder, "--columns", "model, last(train/loss) as loss").read_text("utf-8")).rows
    assert head[1:] == ["run", "model", "loss"]
    assert len(rows) == 9


def test_a_page_of_reported_numbers_needs_no_charts(folder: Path) -> None:
    found = write_page(folder, "-w", "origin = 'page'", name="reported.html")
    assert found.stat().st_size < 100_000
    assert '<section id="curves" class="js" aria-labelledby="curves-title" hidden>' in found.read_text("utf-8")


def test_a_page_goes_to_standard_output(folder: Path, text: str) -> None:
    write_page(folder)
    done = expdb_in(folder)("report", "page", "-o", "-", env={"EXPDB_NOW": NOW})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (folder / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-o", "page.png"), 2, "a page is HTML"),
        (("-o", "page.html", "-w", "lr > 7"), 3, "none of the runs has"),
        (("-o", "page.html", "-w", "model = 'x'"), 3, "no run is left for the page"),
        (("-o", "page.html", "-e", "nowhere"), 3, "no experiment is called 'nowhere'"),
        (("-o", "page.html", "--columns", "tset/accuracy"), 3, "did you mean test/accuracy"),
        (("-o", "page.html", "-y", "tset/accuracy"), 3, "did you mean test/accuracy"),
        (("-o", "page.html", "--columns", "best(("), 2, "best(("),
        (("-o", "page.html", "--group-by", "height"), 2, "the table has no such column"),
        (("-o", "page.html", "--lang", '"><script>'), 2, "names no language"),
        (("-o", "logs/broken_seed0.log/page.html"), 1, "cannot be written"),
        ((), 2, "Missing option"),
    ],
)
def test_what_cannot_be_is_refused_in_words(folder: Path, words: tuple[str, ...], code: int, said: str) -> None:
    before = sorted(folder.rglob("*"))
    done = expdb_in(folder)("report", "page", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_without_the_library_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteDatabase(folder / "runs" / "expdb.db") as database:
        page = page_of(database, tables.Asked())
    written._library.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as refused:
        written.render(page)
    assert refused.value.hint == "pip install 'expdb[report]'"


def test_a_title_is_text_too(folder: Path) -> None:
    parts = Parts(write_page(folder, "--title", f"</title>{ESCAPING}", name="titled.html").read_text("utf-8"))
    assert (parts.tags["script"], parts.tags["title"]) == (4, 1)
