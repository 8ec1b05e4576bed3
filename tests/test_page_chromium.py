"""The page in a headless Chromium, as a person has it: opened from a file, sorted, searched, pointed at, printed."""

import base64
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsers import of_page, said, settled
from commands import expdb_in
from conftest import requires
from pages import HOSTILE, NOW, project, write_page

from expdb.store import reader
from expdb.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BROKEN, VGG = "broken_seed0", "vgg_seed0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    requires("bokeh", find_spec("bokeh"), "bokeh is not installed")
    found = project(tmp_path_factory.mktemp("page"))
    write_page(found)
    return found


@pytest.fixture
def page(browser: "Chrome", folder: Path) -> "Iterator[Chrome]":
    """The page, its curves drawn; afterwards nothing may have gone wrong in it, and nothing may have been fetched."""
    opened(browser, folder / "page.html")
    yield browser
    assert said(browser) == []
    assert of_page("performance.getEntriesByType('resource').map((one) => one.name)", browser) == []


def opened(browser: "Chrome", path: Path, *, dark: bool = False, width: int = 1280, phone: bool = False) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    screen = {"width": width, "height": 844 if phone else 1000, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(path.as_uri())
    settled(browser, lambda: of_page("document.documentElement.dataset.ready ?? null", browser))


def names(browser: "Chrome") -> list[str]:
    """The runs that the table shows, in its order."""
    found: list[str] = of_page(
        "[...document.querySelectorAll('#runs tbody tr')].filter((row) => !row.hidden && row.querySelector('.run'))"
        ".map((row) => row.querySelector('.run').textContent)",
        browser,
    )
    return found


def column(browser: "Chrome", title: str) -> list[str]:
    """The column's texts in the rows that are shown."""
    found: list[str] = of_page(
        f"(() => {{ const place = [...document.querySelectorAll('#runs thead tr:first-child th')]"
        f".findIndex((head) => head.textContent === {title!r});"
        " return [...document.querySelectorAll('#runs tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => row.cells[place].textContent); })()",
        browser,
    )
    return found


def press(browser: "Chrome", selector: str, place: int = 0) -> None:
    browser.execute_script(
        "const one = document.querySelectorAll(arguments[0])[arguments[1]]; one.focus(); one.click()", selector, place
    )


def typed(browser: "Chrome", selector: str, text: str) -> None:
    browser.execute_script(
        "const field = document.querySelector(arguments[0]); field.value = arguments[1];"
        " for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true }))",
        *(selector, text),
    )


def drawn(browser: "Chrome", panel: int = 0) -> int:
    """How many lines a chart shows."""
    return int(of_page(f"Number(document.querySelectorAll('.chart')[{panel}].dataset.lines)", browser))


def tip(browser: "Chrome") -> list[str]:
    found: list[str] = of_page(
        "(document.getElementById('tip').hidden ? [] :"
        " [...document.getElementById('tip').children].map((line) => line.textContent))",
        browser,
    )
    return found


def told_of(browser: "Chrome", run: str) -> list[str]:
    """What the tip says once it speaks of the run."""
    settled(browser, lambda: tip(browser)[:1] == [run])
    return tip(browser)


def sort_by(browser: "Chrome", title: str) -> str:
    """Press a heading; what it says of its order then."""
    heads = of_page(
        "[...document.querySelectorAll('#runs thead tr:first-child th')].map((head) => head.textContent)", browser
    )
    press(browser, "#runs .sort", heads.index(title) - 1)
    place = heads.index(title)
    return str(of_page(f"document.querySelectorAll('#runs thead th')[{place}].getAttribute('aria-sort')", browser))


def test_a_heading_sorts_best_first_then_the_other_way_then_as_before(page: "Chrome") -> None:
    before = names(page)
    title = "last(test/accuracy) (%)"
    assert sort_by(page, title) == "descending"
    best_first = [float(text.rstrip("†‡")) for text in column(page, title)]
    assert best_first == sorted(best_first, reverse=True)
    assert sort_by(page, title) == "ascending"
    assert [float(text.rstrip("†‡")) for text in column(page, title)] == best_first[::-1]
    assert sort_by(page, title) == "none"
    assert names(page) == before


def test_what_is_missing_or_no_number_comes_last_either_way(page: "Chrome") -> None:
    for way in ("ascending", "descending"):
        assert sort_by(page, "last(train/loss)") == way
        assert [text.rstrip("‡") for text in column(page, "last(train/loss)")[-3:]] == ["nan", "—", "—"]


def test_search_and_filters_leave_what_matches_and_say_how_many(page: "Chrome") -> None:
    typed(page, "#search", "VGG seed1")
    assert names(page) == ["vgg_seed1"]
    assert of_page("document.getElementById('counted').textContent", page) == "1 of 9 runs"
    typed(page, "#search", "二号")
    assert names(page) == ["中文名 二号"]
    typed(page, "#search", "")
    press(page, "#filter")
    fields = of_page(
        "[...document.querySelectorAll('#filters input')].map((field) => field.getAttribute('aria-label'))", page
    )
    loss = next(i for i, label in enumerate(fields) if label.startswith("Filter last(train/loss):"))
    model = next(i for i, label in enumerate(fields) if label.startswith("Filter model:"))
    typed(page, f"#filters th:nth-child({model + 2}) input", "= resnet")
    assert names(page) == [HOSTILE, "中文名 二号", "resnet_seed2"]
    typed(page, f"#filters th:nth-child({loss + 2}) input", "> 0.22")
    assert names(page) == ["中文名 二号", "resnet_seed2"]
    typed(page, f"#filters th:nth-child({loss + 2}) input", "0.22..0.23")
    assert names(page) == ["中文名 二号"]
    typed(page, f"#filters th:nth-child({loss + 2}) input", "< many")
    field = f"document.querySelector('#filters th:nth-child({loss + 2}) input').getAttribute('aria-invalid')"
    assert of_page(field, page) == "true"
    typed(page, f"#filters th:nth-child({loss + 2}) input", "")
    typed(page, f"#filters th:nth-child({model + 2}) input", "nothing like this")
    assert names(page) == []
    press(page, "#runs .empty button")
    assert len(names(page)) == 9


def test_curves_are_ticked_muted_and_cleared(page: "Chrome") -> None:
    assert drawn(page) == 9
    press(page, "#runs tbody input", 1)
    assert drawn(page) == 8
    press(page, "#legend button", 0)
    assert of_page("document.querySelector('#legend button').getAttribute('aria-pressed')", page) == "false"
    assert drawn(page) == 7
    press(page, "#show-none")
    assert drawn(page) == 0
    assert not of_page("document.querySelectorAll('#runs tbody input:checked').length", page)
    typed(page, "#search", "vgg")
    press(page, "#show-first")
    assert names(page)[-1] == "Others row 2"
    # The three curves, and the level of what a page reports.
    assert drawn(page) == 4
    assert of_page("document.getElementById('shown').textContent", page).startswith("showing 4 of 9")


def point_at(browser: "Chrome", panel: int, run: str, step: int) -> None:
    """Move the mouse to where the chart has that point."""
    # Lines stand in the order of the runs that are shown, those of reported numbers last.
    place = names(browser).index(run)
    browser.execute_script("document.getElementById('panels').scrollIntoView()")
    x, y = of_page(f"document.querySelectorAll('.chart')[{panel}].pointAt({place}, {step})", browser)
    for nearer in (3, 0):
        moved = {"type": "mouseMoved", "x": x - nearer, "y": y - nearer}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", moved)


def test_what_is_pointed_at_is_what_the_database_holds(page: "Chrome", folder: Path) -> None:
    with SqliteDatabase(folder / "runs" / "expdb.db") as database:
        for run, panel, metric, step in ((VGG, 0, "test/accuracy", 3), (HOSTILE, 1, "train/loss", 8)):
            record = reader.run(database, reader.find_run(database, run))
            found = reader.metric_of(database, record, metric)
            (point,) = reader.points(database, found.id, step)
            point_at(page, panel, run, step)
            _, value, place = told_of(page, run)
            assert value == f"{metric} {point.value:.{found.decimals}f} at epoch {step}"
            assert place.endswith(f"seed0.log:{point.line}")


def test_arrow_keys_read_a_curve_without_a_mouse(page: "Chrome") -> None:
    from selenium.webdriver.common.keys import Keys

    chart = page.find_element("css selector", ".chart")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert tip(page)[0] == BROKEN
    assert "at epoch 11" in tip(page)[1]
    chart.send_keys(Keys.ARROW_LEFT)
    assert "at epoch 10" in tip(page)[1]
    chart.send_keys(Keys.ARROW_DOWN)
    assert tip(page)[0] == HOSTILE
    chart.send_keys(Keys.ESCAPE)
    assert tip(page) == []


def test_a_number_says_its_file_and_line(page: "Chrome", folder: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    cell = page.find_element("xpath", "//tr[th/button[text()='vgg_seed2']]/td[contains(@class, 'n')][last()]")
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", cell)

    def pointed() -> list[str]:
        # A page that still scrolls takes the tip away again.
        ActionChains(page, duration=0).move_by_offset(1, 0).move_to_element(cell).perform()
        return tip(page)

    settled(page, pointed)
    name, what, place, command = tip(page)
    assert (name, what, place) == ("vgg_seed2", "test/accuracy at step 10", "logs/vgg_seed2.log:11")
    assert re.fullmatch(r"expdb blame [0-9a-f]{8} test/accuracy 10", command)


def test_a_number_says_its_file_and_line_by_keys_alone(page: "Chrome") -> None:
    from selenium.webdriver.common.keys import Keys

    page.execute_script("[...document.querySelectorAll('.run')].find((one) => one.textContent === 'vgg_seed1').focus()")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    first = told_of(page, "vgg_seed1")
    assert first[2].startswith("logs/vgg_seed1.log:")
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert told_of(page, "vgg_seed2")[1] == first[1]
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert tip(page) == []


def test_a_run_opens_with_all_it_says_and_closes_with_escape(page: "Chrome") -> None:
    from selenium.webdriver.common.keys import Keys

    press(page, "#runs .run", 1)
    assert settled(page, lambda: of_page("document.getElementById('details').open", page))
    shown = of_page("document.getElementById('details').innerText", page)
    assert HOSTILE in shown
    assert "</script><script>window.pwned=2</script><!--<script>" in shown
    assert "logs/resnet_seed0.log:12" in shown
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not of_page("document.getElementById('details').open", page)


def test_foreign_text_is_never_run(page: "Chrome") -> None:
    press(page, "#filter")
    typed(page, "#group", of_page("document.querySelector('#group option:nth-child(2)').value", page))
    assert of_page("typeof window.pwned", page) == "undefined"
    assert of_page("document.images.length", page) == 0
    assert HOSTILE in names(page)


def test_groups_tell_mean_and_deviation_over_runs_that_did_not_diverge(page: "Chrome") -> None:
    values = of_page("[...document.querySelector('#group').options].map((one) => [one.text, one.value])", page)
    typed(page, "#group", dict(values)["model"])
    heads = of_page("[...document.querySelectorAll('tr.group th')].map((head) => head.textContent)", page)
    assert heads == ["broken · 1 run", "resnet · 3 runs", "vgg · 3 runs", "— · 2 runs"]
    means = [text for text in column(page, "last(train/loss)") if "±" in text or "diverged" in text]
    # 2/12 + lr + seed/100 for seeds 0, 1, 2.
    assert means == ["1 diverged", "0.2267 ± 0.0100", "0.2767 ± 0.0100"]
    legend = of_page("[...document.querySelectorAll('#legend .name')].map((name) => name.textContent)", page)
    assert legend == ["broken (1)", "resnet (3)", "vgg (3)", "— (2)"]
    press(page, "tr.group .fold", 1)
    assert HOSTILE not in names(page)
    assert of_page("document.querySelectorAll('tr.group .fold')[1].getAttribute('aria-expanded')", page) == "false"


def test_a_curve_that_broke_ends_in_a_mark_and_a_log_axis_leaves_out_what_it_cannot_show(page: "Chrome") -> None:
    loss = of_page("document.querySelectorAll('.panel')[1].querySelector('.note').textContent", page)
    assert loss == ("× 1 curve broke here: not finite from the next step on. 2 runs of those shown without train/loss.")
    press(page, ".panel:nth-child(2) button")
    assert of_page("document.querySelectorAll('.chart')[1].dataset.scale", page) == "log"
    typed(page, "#smooth", "2")
    assert of_page("document.getElementById('smooth-says').textContent", page) == "mean of 5"
    # The values as they were stay behind the means, faint.
    assert drawn(page, 1) == 14


def test_groups_that_were_asked_for_are_there_at_once(browser: "Chrome", folder: Path) -> None:
    for words, groups in ((("--group-by", "all-but:seed"), 6), (("--group-by", "model, seed"), 8)):
        opened(browser, write_page(folder, *words, name="grouped.html"))
        assert of_page("document.querySelectorAll('tr.group').length", browser) == groups
    assert of_page("document.querySelector('#group').selectedOptions[0].text", browser) == "model, seed"
    assert said(browser) == []


def saved(browser: "Chrome", selector: str) -> str:
    """What a button would save to a file."""
    browser.execute_script(
        "window.blobs = []; URL.createObjectURL = (blob) => { blobs.push(blob); return '#'; };"
        " HTMLAnchorElement.prototype.click = () => undefined; document.querySelector(arguments[0]).click()",
        selector,
    )
    return str(browser.execute_async_script("blobs[0].text().then(arguments[arguments.length - 1])"))


def test_what_is_shown_is_saved_as_csv_and_a_chart_as_svg(page: "Chrome") -> None:
    typed(page, "#search", "seed2")
    lines = saved(page, "#csv").removeprefix("\ufeff").splitlines()
    assert lines[0].split(",")[:3] == ["run", "model", "seed"]
    assert [line.split(",")[0] for line in lines[1:]] == ["resnet_seed2", "vgg_seed2"]
    picture = saved(page, ".panel .reset + button")
    assert picture.startswith("<svg")
    assert picture.count("<path") > 9
    assert "epoch" in picture


def luminance(browser: "Chrome", selector: str) -> float:
    colour = of_page(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor", browser)
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


def test_it_is_dark_where_the_person_is_and_the_switch_changes_that(browser: "Chrome", folder: Path) -> None:
    opened(browser, folder / "page.html", dark=True)
    assert luminance(browser, "body") < 0.2
    press(browser, ".theme button[data-theme=light]")
    assert luminance(browser, "body") > 0.9
    font = "document.querySelector('.chart').dataset.ink"
    light = of_page(font, browser)
    press(browser, ".theme button[data-theme=dark]")
    assert of_page(font, browser) != light
    assert said(browser) == []


def test_a_phone_shows_it_without_scrolling_sideways(browser: "Chrome", folder: Path) -> None:
    opened(browser, folder / "page.html", width=390, phone=True)
    assert of_page("[document.documentElement.scrollWidth, innerWidth]", browser) == [390, 390]
    outside = (
        "[...document.querySelectorAll('body *')].filter((one) => !one.closest('#scroll, dialog, svg') &&"
        " one.getBoundingClientRect().right > 391).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert of_page(outside, browser) == []
    assert said(browser) == []


def test_it_prints(browser: "Chrome", folder: Path) -> None:
    opened(browser, folder / "page.html", dark=True)
    pdf = base64.b64decode(browser.print_page())
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
    # Ink on white paper, whatever the screen looks like.
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    pictures = of_page("[...document.querySelectorAll('.on-paper')].map((one) => decodeURIComponent(one.src))", browser)
    assert len(pictures) == 2
    assert all('stroke="#0072b2"' in picture and "rgb(86,180,233)" not in picture for picture in pictures)
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    # Afterwards the screen is as it was.
    settled(browser, lambda: not of_page("document.querySelectorAll('.on-paper').length", browser))
    assert said(browser) == []


def test_without_javascript_the_table_stands(browser: "Chrome", folder: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((folder / "page.html").as_uri())
        tree: Any = browser.execute_cdp_cmd("DOM.getDocument", {"depth": -1})
        shot = browser.execute_cdp_cmd("DOM.getOuterHTML", {"nodeId": tree["root"]["nodeId"]})["outerHTML"]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "vgg_seed2" in shot
    assert 'class="scripted"' not in shot


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose params only read as numbers in order, three seeds each; a large lr has the best single run, and the
    worst mean."""
    folder = tmp_path_factory.mktemp("sweep")
    for lr, best in (("1e-03", 0.80), ("0.002", 0.70), ("1e-05", 0.60), ("1e-04", 0.75), ("0.10", 0.50)):
        for seed in range(3):
            accuracy = 0.95 if lr == "0.10" and seed == 0 else best + seed / 100
            accuracy = 0.1 if lr == "0.10" and seed == 2 else accuracy
            written = "0.1" if lr == "0.10" and seed else lr
            text = f"epoch 0,\ttest accuracy {accuracy:.3f}\n"
            (folder / f"lr{written}_shift{-int(best * 100)}_s{seed}.log").write_text(text, "utf-8")
    pattern = r"lr(?P<lr>[\d.e-]+)_shift(?P<shift>-?\d+)_s(?P<seed>\d)"
    logs = sorted(path.name for path in folder.glob("*.log"))
    done = expdb_in(folder)("ingest", *logs, "-e", "sweep", "--params-from", pattern, env={"EXPDB_NOW": NOW})
    assert done.returncode == 0, done.stderr
    return folder


def groups(browser: "Chrome") -> list[str]:
    """The groups in their order, by their names."""
    found: list[str] = of_page("[...document.querySelectorAll('tr.group th')].map((head) => head.textContent)", browser)
    return [name.split(" · ")[0] for name in found]


def test_a_column_of_numbers_sorts_as_numbers(browser: "Chrome", sweep: Path) -> None:
    requires("bokeh", find_spec("bokeh"), "bokeh is not installed")
    opened(browser, write_page(sweep))
    for title, ascending in (
        ("lr", ["1e-05", "1e-04", "1e-03", "0.002", "0.10"]),
        ("shift", ["-80", "-75", "-70", "-60", "-50"]),
    ):
        assert sort_by(browser, title) == "ascending"
        shown = ["0.10" if text == "0.1" else text for text in column(browser, title)]
        assert list(dict.fromkeys(shown)) == ascending
        assert sort_by(browser, title) == "descending"
        shown = ["0.10" if text == "0.1" else text for text in column(browser, title)]
        assert list(dict.fromkeys(shown)) == ascending[::-1]
    assert said(browser) == []


BEST = "last(test/accuracy)"
BY_MEAN = ["1e-03", "1e-04", "0.002", "1e-05", "0.10"]


@pytest.mark.parametrize("words", [(), ("--sort", BEST), ("--sort", f"-{BEST}")])
def test_groups_are_ranked_by_their_own_means(browser: "Chrome", sweep: Path, words: tuple[str, ...]) -> None:
    requires("bokeh", find_spec("bokeh"), "bokeh is not installed")
    shared = ("--columns", f"run, lr, seed, {BEST}", "--group-by", "lr")
    opened(browser, write_page(sweep, *shared, *words, name="groups.html"))
    asked = {(): ["1e-05", "1e-04", "1e-03", "0.002", "0.10"], ("--sort", BEST): BY_MEAN}
    # 0.1 and 0.10 are one learning rate.
    assert [name.replace("0.10", "0.1") for name in groups(browser)] == [
        name.replace("0.10", "0.1") for name in asked.get(words, BY_MEAN[::-1])
    ]
    assert sort_by(browser, BEST) == "descending"
    assert [name.replace("0.10", "0.1") for name in groups(browser)] == [
        name.replace("0.10", "0.1") for name in BY_MEAN
    ]
    # Within a group its runs are in that order, too.
    assert column(browser, BEST)[1:4] == ["0.820", "0.810", "0.800"]
    assert said(browser) == []


def test_groups_are_saved_as_they_are_shown(browser: "Chrome", sweep: Path) -> None:
    requires("bokeh", find_spec("bokeh"), "bokeh is not installed")
    shared = ("--columns", f"run, lr, seed, {BEST}", "--group-by", "lr", "--sort", BEST)
    opened(browser, write_page(sweep, *shared, name="groups.html"))
    lines = saved(browser, "#csv").removeprefix("\ufeff").splitlines()
    assert lines[0] == f"group,runs,lr,seed,{BEST},{BEST} s,{BEST} n"
    assert lines[1] == "1e-03,3,1e-03,,0.810,0.010,3"
    assert len(lines) == 6


def test_what_leaves_no_column_is_one_group_of_all(browser: "Chrome", sweep: Path) -> None:
    requires("bokeh", find_spec("bokeh"), "bokeh is not installed")
    opened(browser, write_page(sweep, "--group-by", "all-but:seed,lr,shift", name="groups.html"))
    assert groups(browser) == ["all runs"]
    assert said(browser) == []
