"""`expdb plot` as a person uses it: pictures that are the same bytes twice, and say what they show."""

import math
import os
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import expdb_in
from conftest import log_lines, requires
from hypothesis import given, settings
from hypothesis import strategies as st

from expdb.errors import UsageError
from expdb.figures import Figure, Level, Panel, Series
from expdb.reports import plot
from expdb.reports.plot import COLOURS

SVG = "{http://www.w3.org/2000/svg}"
_MATPLOTLIB = {"MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", "")}


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody's matplotlibrc, and its list of fonts made once."""
    _MATPLOTLIB["MPLCONFIGDIR"] = os.environ["MPLCONFIGDIR"] = str(tmp_path_factory.mktemp("matplotlib"))


@dataclass(frozen=True)
class Results:
    """A folder with a database of two learning rates, three seeds each, and the command in it."""

    folder: Path

    def plot(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return expdb_in(self.folder)("plot", *words, env=_MATPLOTLIB | (env or {}))

    def svg(self, *words: str) -> bytes:
        done = self.plot(*words, "-o", "-")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.encode()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    for lr, salt in (("0.1", 10), ("0.01", 0)):
        for seed in range(3):
            Path(folder, f"lr{lr}_seed{seed}.log").write_text("".join(log_lines(8, salt=salt + seed)), encoding="utf-8")
    done = expdb_in(folder)("ingest", ".", "-e", "lr", "--params-from", r"lr(?P<lr>[\d.]+)_seed(?P<seed>\d)")
    assert "6 new runs" in done.stdout
    return Results(folder)


def figure_of(
    *labels: str, points: int = 5, title: str | None = None, size: tuple[float, float] | None = None
) -> Figure:
    """A figure of a curve for each label."""
    series = tuple(
        Series(label, place, list(range(points)), [float(i * (place + 1)) for i in range(points)])
        for place, label in enumerate(labels)
    )
    return Figure((Panel("test/accuracy", "percent", series),), "epoch", len(labels), title=title, size=size)


def texts(svg: bytes) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def strokes(svg: bytes, colour: str) -> int:
    """How many lines or markers are drawn in a colour."""
    styles = (element.get("style") or "" for element in ET.fromstring(svg).iter(f"{SVG}path"))
    return sum(f"stroke: {colour.lower()}" in style.lower() for style in styles)


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_two_processes_write_the_same_bytes(suffix: str, results: Results) -> None:
    written = []
    for salt, name in (("1", f"a.{suffix}"), ("2", f"b.{suffix}")):
        done = results.plot(
            *("-e", "lr", "-y", "test/accuracy,loss", "--group-by", "all-but:seed", "-o", name),
            env={"PYTHONHASHSEED": salt, "TZ": f"UTC+{salt}"},
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        written.append((results.folder / name).read_bytes())
    assert written[0] == written[1]
    assert written[0].startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[suffix])
    assert not [path for path in results.folder.iterdir() if path.name.endswith(".partial")]


def test_a_persons_own_matplotlib_settings_change_no_byte(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from expdb.figures import *; from expdb.reports import plot\n"
        "panel = Panel('loss', None, (Series('a_b', 0, [0, 1], [2.0, 1.0]),))\n"
        "sys.stdout.buffer.write(plot.render(Figure((panel,), 'step', 1), 'svg').data)"
    )
    (tmp_path / "matplotlibrc").write_text(
        "lines.linewidth: 9\naxes.facecolor: black\nfont.size: 30\n", encoding="utf-8"
    )
    drawn = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=folder, env=env).stdout
        for folder, env in ((tmp_path, os.environ | _MATPLOTLIB), (Path.cwd(), os.environ | _MATPLOTLIB))
    ]
    assert drawn[0] == drawn[1] != b""


def test_the_picture_names_every_curve_its_axes_and_its_rules(results: Results) -> None:
    svg = results.svg("-e", "lr", "-y", "test/accuracy", "--group-by", "lr", "--title", "Rates")
    said = texts(svg)
    assert {"Rates", "epoch", "test/accuracy", "lr=0.01 (n=3)", "lr=0.1 (n=3)"} <= set(said)
    assert "mean ± sample standard deviation over n runs" in said
    # The curve, its stub beside the label, its markers.
    assert strokes(svg, COLOURS[0]) >= 2
    assert strokes(svg, COLOURS[1]) >= 2
    assert strokes(svg, COLOURS[2]) == 0
    # No time, no version: nothing that differs tomorrow.
    assert b"dc:date" not in svg


def test_a_hole_breaks_a_line_and_a_point_alone_is_seen() -> None:
    nan = math.nan
    series = (Series("a", 0, list(range(30)), [*([1.0] * 10), nan, 5.0, nan, *([2.0] * 17)], diverged=((9, 1.0),)),)
    svg = plot.render(Figure((Panel("loss", None, series),), "step", 1), "svg").data
    line = next(
        element.get("d") or ""
        for element in ET.fromstring(svg).iter(f"{SVG}path")
        if COLOURS[0].lower() in (element.get("style") or "").lower() and (element.get("d") or "").count("L") > 10 - 1
    )
    # Begun three times: before, between and behind the holes; a straight stretch is simplified.
    assert line.count("M") >= 2
    uses = [
        element
        for element in ET.fromstring(svg).iter(f"{SVG}use")
        if COLOURS[0].lower() in (element.get("style") or "").lower()
    ]
    # The point alone, and the cross where it diverged.
    assert len(uses) == 2


@pytest.mark.parametrize(
    ("count", "named", "rest"), [(1, 0, None), (5, 5, None), (13, 13, None), (50, 12, "and 38 more")]
)
def test_a_legend_names_a_dozen_and_says_how_many_more_there_are(count: int, named: int, rest: str | None) -> None:
    labels = [f"run_{i}" for i in range(count)]
    said = texts(plot.render(figure_of(*labels), "svg").data)
    if count == 1:
        # It stands above.
        assert "run_0" in said
        return
    assert [label for label in labels if label in said] == labels[:named]
    assert (rest in said) if rest else not any("more" in text for text in said)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=24)
    | st.sampled_from(["$x_1$", "_hidden", "<&>", "a\ufffeb", "{x}", "\\frac"])
)
@settings(max_examples=15)
def test_any_text_stays_text(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = plot.render(figure_of(label, "other", title=label), "svg").data
    said = texts(svg)
    shown = plot.shown(label)
    assert said.count(shown) >= 1 or not shown.strip()
    assert "other" in said


def test_labels_stand_at_the_ends_of_their_curves_and_keep_apart() -> None:
    svg = plot.render(figure_of("low", "middle", "high"), "svg").data
    heights = {}
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        place = re.search(
            r"translate\(([\d.]+) ([\d.]+)\)|rotate\(-?0 ([\d.]+) ([\d.]+)\)", element.get("transform") or ""
        )
        if place:
            heights["".join(element.itertext())] = float(place[2] or place[4])
    # Downwards, as SVG counts: the curves end at 4, 8 and 12.
    assert heights["high"] + 9 < heights["middle"] < heights["low"] - 9
    assert heights["low"] - heights["middle"] == pytest.approx(heights["middle"] - heights["high"], rel=0.01)


def test_labels_of_curves_that_end_at_one_place_are_a_list() -> None:
    series = tuple(Series(f"run {i}", i, [0, 1], [float(i), 5.0]) for i in range(6))
    svg = plot.render(Figure((Panel("loss", None, series),), "step", 6), "svg").data
    assert b'id="legend_1"' in svg
    assert b'id="legend_1"' not in plot.render(figure_of("low", "high"), "svg").data


def test_one_step_is_a_whole_number() -> None:
    figure = Figure((Panel("loss", None, (Series("a", 0, [7], [0.5]),)),), "epoch", 1)
    assert {"6", "7", "8"} & set(texts(plot.render(figure, "svg").data)) == {"6", "7", "8"}


def test_long_labels_that_begin_alike_are_told_apart() -> None:
    head = "out = self.bn(out).sigmoid() * self.shortcut(x) + self.bias.data "
    said = texts(plot.render(figure_of(f"{head} first", f"{head} second", size=(3.2, 3)), "svg").data)
    assert any(text.endswith("first") for text in said)
    assert any(text.endswith("second") for text in said)


def test_chinese_is_drawn_with_a_font_that_has_it() -> None:
    from matplotlib import font_manager

    paths = (Path(path).name for path in font_manager.findSystemFonts())
    requires("fonts", any(re.match("wqy|Noto.*CJK|SourceHan", name) for name in paths), "there is no font with Chinese")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = plot.render(figure_of("动物数据集", "残差网络", title="准确率"), "png")
    assert picture.warnings == ()
    assert picture.data != plot.render(figure_of("残差网络", "动物数据集", title="准确率"), "png").data


def test_a_font_that_was_installed_since_matplotlib_made_its_list_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    known = font_manager.fontManager.ttflist
    requires("fonts", any(one.name in plot.CJK for one in known), "there is no font with Chinese")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [one for one in known if one.name not in plot.CJK])
    assert plot.render(figure_of("动物数据集"), "png").warnings == ()


def test_without_a_font_with_chinese_a_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    known = font_manager.fontManager.ttflist
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [one for one in known if one.name not in plot.CJK])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_: [])
    (warning,) = plot.render(figure_of("动物"), "png").warnings
    assert warning.endswith("apt install fonts-wqy-zenhei")


def test_what_no_font_shows_is_one_warning_and_none_in_svg() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figure_of("\U0001fae0 melting", "\U0001fae0 too")
        (warning,) = plot.render(figure, "png").warnings
        assert plot.render(figure, "svg").warnings == ()
    # No package would mend it.
    assert warning == "no font here shows '\U0001fae0'; the picture has boxes in their place"


def test_a_phone_gets_a_legend_below_in_the_size_that_was_asked() -> None:
    svg = plot.render(figure_of(*(f"run {i}" for i in range(6)), size=(3.2, 4)), "svg").data
    root = ET.fromstring(svg)
    assert (root.get("width"), root.get("height")) == ("230.4pt", "288pt")
    assert "run 5" in texts(svg)


def test_a_picture_without_room_is_refused() -> None:
    with pytest.raises(UsageError, match="no room"):
        plot.render(figure_of("a", "b", size=(1, 1)), "png")


@pytest.mark.parametrize("values", [[1e308, -1e308], [5e-324, 1e-323], [1e300], [0.0, 0.0], [1e-20, 1.0, 1e20]])
@pytest.mark.parametrize("log", [False, True])
def test_no_finite_number_is_too_much(values: Sequence[float], log: bool) -> None:
    y = [value if value > 0 or not log else math.nan for value in values]
    if not any(value == value for value in y):
        return
    series = Series("a", 0, list(range(len(y))), y)
    figure = Figure((Panel("loss", None, (series,), (Level("b", 1, 2.0),)),), "step", 2, log=log)
    assert plot.render(figure, "png").data


@pytest.mark.parametrize("values", [[math.nan, math.nan], [math.nan], [math.inf, 1.0], [-math.inf]])
@pytest.mark.parametrize("log", [False, True])
def test_a_curve_without_finite_values_leaves_the_axes_empty(values: list[float], log: bool) -> None:
    series = Series("a", 0, list(range(len(values))), values)
    assert plot.render(Figure((Panel("loss", None, (series,)),), "step", 1, log=log), "png").data


def test_metrics_of_one_panel_differ_in_style_and_those_of_one_run_in_colour(results: Results) -> None:
    words = ("-y", "test/accuracy", "-y", "train/accuracy")
    one = results.svg("lr0.1_seed0", *words)
    assert strokes(one, COLOURS[1])
    assert {"test/accuracy", "train/accuracy", "lr0.1_seed0"} <= set(texts(one))
    two = results.svg("lr0.1_seed0", "lr0.1_seed1", *words)
    assert b"stroke-dasharray" in two
    assert {"test/accuracy", "train/accuracy", "lr0.1_seed0", "lr0.1_seed1"} <= set(texts(two))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-y", "acuracy"), 3, "did you mean"),
        (("-e", "nope"), 3, "nope"),
        (("-w", "lr = 7"), 3, "there is no run to draw"),
        (("-o", "x.gif"), 2, "no picture goes with .gif"),
        (("-o", "curves"), 2, "does not say what kind"),
        (("-o", "logs"), 2, "does not say what kind"),
        (("-o", "folder.svg"), 2, "is a folder"),
        (("-o", "file/x.svg"), 1, "cannot be written"),
        (("--band", "sem"), 2, "band is"),
        (("--size", "6x4"), 2, "a picture's"),
        (("--x", "time"), 3, "no run tells the time"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_with_a_way_out(
    words: tuple[str, ...], code: int, said: str, results: Results
) -> None:
    (results.folder / "folder.svg").mkdir(exist_ok=True)
    (results.folder / "file").touch()
    done = results.plot(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_matplotlib_it_says_what_to_install_and_draws_text(results: Results, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'matplotlib' else find(name, package)\n",
        encoding="utf-8",
    )
    env = {"PYTHONPATH": os.pathsep.join((str(tmp_path), *filter(None, sys.path)))}
    done = results.plot("@1", "-y", "loss", "-o", "x.svg", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'expdb[plot]'" in done.stderr
    assert results.plot("@1", "-y", "loss", env=env).returncode == 0


def test_text_is_drawn_without_anything_heavy(results: Results) -> None:
    done = results.plot("@1", "-y", "loss", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "expdb.reports.chart" in imported
    assert not imported & {"matplotlib", "numpy", "rich", "sqlmodel"}
