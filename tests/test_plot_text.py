"""Curves as text: as wide as asked, told apart without colours, and the same twice."""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from commands import expdb_in, on_terminal
from conftest import log_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from expdb.figures import Figure, Level, Panel, Series
from expdb.reports import chart
from expdb.reports.chart import Canvas
from expdb.reports.text import width

GOLDEN = Path(__file__).parent / "data" / "golden"
_ESCAPES = re.compile(r"\x1b\[\d+m")
finite = st.floats(allow_nan=False, allow_infinity=False)


def curve(label: str, place: int = 0, points: int = 40, variant: int = 0) -> Series:
    """An exponential approach; another place approaches more slowly."""
    return Series(
        label, place, list(range(points)), [1 - math.exp(-i / (5 + 8 * place)) for i in range(points)], variant
    )


def figure_of(*series: Series, levels: tuple[Level, ...] = (), log: bool = False, title: str | None = None) -> Figure:
    panel = Panel("test/accuracy", "fraction", series, levels)
    places = {one.place for one in panel.drawn()}
    return Figure((panel,), "epoch", len(places), log=log, title=title, rules=("a rule",), remarks=("a remark",))


BROKEN = Series(
    *("diverged", 2, [0, 1, 2, 3, 4, 20, 21], [0.1, 0.3, 0.5, 0.6, math.nan, 0.2, 0.25]), diverged=((3, 0.6),)
)
MEAN = Series("lr=0.1", 0, [0, 1, 2], [0.5, 0.6, 0.7], low=[0.4, 0.5, 0.6], high=[0.6, 0.7, 0.8], counts=[3, 3, 2])


@pytest.mark.parametrize(
    ("name", "figure", "canvas"),
    [
        ("one", figure_of(curve("resnet18")), Canvas()),
        ("several", figure_of(curve("resnet18"), curve("残差网络", 1), BROKEN, title="准确率"), Canvas(60)),
        ("ascii", figure_of(MEAN, curve("a", 1), levels=(Level("page", 3, 0.9),)), Canvas(60, ascii=True)),
        ("colours", figure_of(curve("a"), curve("b", 1)), Canvas(60, 16, colours=True)),
        ("log", figure_of(Series("lr", 0, [0, 1, 2, 3], [1e-1, 1e-2, 1e-4, 1e-5]), log=True), Canvas(40, 14)),
    ],
)
def test_a_chart_is_as_it_was(name: str, figure: Figure, canvas: Canvas) -> None:
    expected = (GOLDEN / f"chart_{name}.txt").read_text(encoding="utf-8")
    assert chart.render(figure, canvas) == expected


def test_curves_of_one_colour_are_told_apart_by_letters() -> None:
    text = chart.render(figure_of(curve("fast"), curve("slow", 1)), Canvas())
    legend = [line for line in text.splitlines() if line.startswith(("a  ", "b  "))]
    assert [line[:7] for line in legend] == ["a  fast", "b  slow"]
    assert "⠤" not in text
    colourful = chart.render(figure_of(curve("fast"), curve("slow", 1)), Canvas(colours=True))
    assert "\x1b[34m" in colourful
    assert "\x1b[31m" in colourful
    assert re.search("[⠁-⣿]", colourful)


def test_ascii_is_ascii() -> None:
    text = chart.render(figure_of(curve("a", 1), MEAN, BROKEN, levels=(Level("b", 3, 0.5),)), Canvas(ascii=True))
    assert text.isascii()


def test_a_point_alone_a_flat_curve_and_no_finite_value_are_drawn() -> None:
    for values in ([3.0], [3.0, 3.0], [math.nan], [0.0]):
        series = Series("a", 0, list(range(len(values))), values)
        text = chart.render(figure_of(series), Canvas())
        assert ("no finite value" in text) == math.isnan(values[0])


def test_many_runs_are_counted_not_listed() -> None:
    text = chart.render(figure_of(*(curve(f"run {i}", i) for i in range(30))), Canvas())
    assert "and 18 more" in text


@given(
    st.lists(finite, min_size=1, max_size=30),
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.integers(10, 200),
    st.booleans(),
)
@settings(max_examples=60)
def test_no_line_is_wider_than_the_terminal(values: list[float], label: str, columns: int, colours: bool) -> None:
    series = (Series(label, 0, list(range(len(values))), values), curve("other", 1))
    figure = figure_of(*series, title=label)
    text = chart.render(figure, Canvas(columns, 24, colours=colours))
    assert max(width(_ESCAPES.sub("", line)) for line in text.splitlines()) <= max(columns, 24)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", _ESCAPES.sub("", text))


@given(st.lists(st.floats(min_value=5e-324, allow_infinity=False), min_size=1, max_size=20))
@settings(max_examples=40)
def test_any_number_above_zero_has_a_place_on_a_logarithmic_axis(values: list[float]) -> None:
    series = Series("a", 0, list(range(len(values))), values)
    assert chart.render(figure_of(series, log=True), Canvas())


@given(finite, finite, st.integers(1, 12))
def test_ticks_are_few_ascend_and_differ(one: float, other: float, most: int) -> None:
    low, high = sorted((max(one, -1e300), min(other, 1e300)))
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        return
    ticks = chart.ticks(low, high, most)
    assert 2 <= len(ticks) <= most + 4
    assert all(a < b for a, b in pairwise(ticks))


def test_a_pipe_gets_plain_text_and_an_old_encoding_gets_ascii(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("".join(log_lines(8)), encoding="utf-8")
    expdb = expdb_in(tmp_path)
    expdb("ingest", "a.log")
    piped = expdb("plot")
    assert (piped.returncode, piped.stderr) == (0, "")
    assert "\x1b" not in piped.stdout
    assert max(map(len, piped.stdout.splitlines())) <= 80
    assert piped.stdout.startswith("test/accuracy\n")
    old = expdb("plot", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "gbk"})
    assert old.stdout.isascii()
    assert "*" in old.stdout
    expdb("plot", "-o", "chart.txt")
    assert "⠤" in (tmp_path / "chart.txt").read_text(encoding="utf-8")


def test_a_terminal_gets_colours_unless_it_says_no(tmp_path: Path) -> None:
    for name, salt in (("a", 0), ("b", 7)):
        (tmp_path / f"{name}.log").write_text("".join(log_lines(8, salt=salt)), encoding="utf-8")
    expdb_in(tmp_path)("ingest", ".")
    colourful = on_terminal(tmp_path, 60, "plot")
    assert "\x1b[34m" in colourful
    assert max(width(_ESCAPES.sub("", line)) for line in colourful.splitlines()) <= 60
    plain = on_terminal(tmp_path, 60, "plot", env={"NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert "\nb  b" in plain
