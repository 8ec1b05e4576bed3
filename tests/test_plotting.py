"""What is drawn, in numbers: which curves, over what, in which unit, and means that say what they are of."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import WriteLog
from drills import take
from hypothesis import given
from hypothesis import strategies as st

import expdb
from expdb import plotting
from expdb.compare import select
from expdb.compare.query import Query
from expdb.curves import Curve, ends_of, interpolated, mean_of, running_mean
from expdb.errors import ExpressionError, NotFoundError, UsageError
from expdb.figures import Figure, Series
from expdb.plotting import Asked
from expdb.reports import chart, plot
from expdb.stats import mean_std, student_95
from expdb.store.database import Database
from expdb.store.sqlite import SqliteDatabase

Seeds = Callable[..., None]
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


def drawn(database: Database, **words: object) -> Figure:
    asked = plotting.asked({name.replace("_", "-"): str(word) for name, word in words.items()})
    return plotting.figure(database, asked)


def only(figure: Figure) -> Series:
    (panel,) = figure.panels
    (series,) = panel.series
    return series


@pytest.fixture
def seeds(database: Database, tmp_path: Path) -> Seeds:
    """Runs of one learning rate: a log of losses for each seed."""

    def make(lr: str, *losses: list[float | str]) -> None:
        for seed, values in enumerate(losses):
            path = tmp_path / "logs" / f"lr{lr}_{seed}.log"
            path.parent.mkdir(exist_ok=True)
            rows = [f"epoch {e},\tloss {value},\ttest accuracy 0.{e + 1}\n" for e, value in enumerate(values)]
            path.write_text("".join(rows), encoding="utf-8")
            take(database, path, params={"lr": lr, "seed": str(seed)})

    return make


def test_a_partial_log_is_drawn_where_its_epochs_lie(database: Database, write_log: WriteLog) -> None:
    take(database, write_log("logs/whole.log", epochs=90), write_log("logs/end.log", epochs=6, first=80))
    figure = drawn(database, y="test/accuracy")
    whole, end = figure.panels[0].series
    assert (whole.x[0], whole.x[-1]) == (0, 89)
    assert list(end.x) == [80, 81, 82, 83, 84, 85]
    assert figure.x_label == "epoch"
    assert figure.panels[0].axis() == "test/accuracy"


def test_units_that_meet_become_percent(database: Database, tmp_path: Path) -> None:
    for name, values in (("fraction", (0.5, 0.625)), ("percent", (51.0, 62.5))):
        (tmp_path / f"{name}.log").write_text(
            "".join(f"epoch {e}, loss 1.5, test accuracy {value}\n" for e, value in enumerate(values)), encoding="utf-8"
        )
        take(database, tmp_path / f"{name}.log")
    panel = drawn(database, y="test/accuracy").panels[0]
    assert panel.axis() == "test/accuracy (%)"
    assert [list(one.y) for one in panel.series] == [[50.0, 62.5], [51.0, 62.5]]


def test_a_diverged_run_breaks_and_is_marked(database: Database, seeds: Seeds) -> None:
    seeds("9", [2.0, 1.0, "nan", "nan", 3.0])
    figure = drawn(database, y="loss")
    series = only(figure)
    assert series.y[:2] == [2.0, 1.0]
    assert math.isnan(series.y[2])
    assert list(series.diverged) == [(1, 1.0)]
    assert figure.remarks == ("lr9_0: 2 of 5 values of train/loss are not finite",)
    assert figure.rules == ("×: what follows is not a finite number",)


def test_a_mean_says_how_many_runs_it_is_of_and_leaves_out_what_diverged(database: Database, seeds: Seeds) -> None:
    seeds("0.1", [3.0, 2.0, 1.0], [5.0, 4.0, "nan"], [4.0, 3.0, 3.0])
    seeds("0.01", [9.0, 8.0])
    figure = drawn(database, y="loss", group_by="all-but:seed")
    few, many = figure.panels[0].series
    # Numbers in their order, whatever was read first.
    assert figure.captions() == {0: "lr=0.01 (n=1)", 1: "lr=0.1 (n=2, 1 diverged)"}
    # Not before it diverged either, as in a table.
    assert list(many.y) == [3.5, 2.5, 2.0]
    assert many.counts == [2, 2, 2]
    assert many.low is not None
    assert list(many.low) == pytest.approx([3.5 - math.sqrt(0.5), 2.5 - math.sqrt(0.5), 2.0 - math.sqrt(2)])
    assert list(many.diverged) == [(1, 4.0)]
    assert "lr=0.1: 1 of 3 runs diverged and is in no mean: lr0.1_1" in figure.remarks
    assert "×: what follows is not a finite number, and in no mean" in figure.rules
    # One run has no deviation, and no band.
    assert few.low is None
    assert "mean ± sample standard deviation over n runs" in figure.rules


def test_a_run_whose_loss_diverged_is_in_no_mean_of_another_metric(database: Database, seeds: Seeds) -> None:
    seeds("1", [3.0, 2.0, 1.0], [5.0, "nan", "nan"], [5.0, "nan", 4.0])
    figure = drawn(database, y="test/accuracy", group_by="lr")
    # What broke and was mended is a result.
    assert only(figure).counts == [2, 2, 2]
    assert figure.captions() == {0: "lr=1 (n=2, 1 diverged)"}
    assert "lr=1: 1 of 3 runs diverged and is in no mean: lr1_1" in figure.remarks


def test_a_group_of_which_all_diverged_is_named_and_has_no_line(database: Database, seeds: Seeds) -> None:
    seeds("1", [3.0, "nan"], [5.0, "nan"])
    seeds("2", [3.0, 1.0], [5.0, 1.0])
    figure = drawn(database, y="loss", group_by="lr")
    assert figure.captions() == {0: "lr=1 (2 diverged)", 1: "lr=2 (n=2)"}
    broken, _ = figure.panels[0].series
    assert all(math.isnan(y) for y in broken.y)
    assert list(broken.diverged) == [(0, 3.0), (0, 5.0)]


def test_what_one_run_alone_has_is_drawn_as_that_without_a_band(database: Database, seeds: Seeds) -> None:
    seeds("1", [1.0, 1.0, 1.0, 1.0], [3.0, 3.0], [5.0, 5.0, 5.0])
    figure = drawn(database, y="loss", group_by="lr")
    series = only(figure)
    assert (list(series.x), list(series.y)) == ([0, 1, 2, 3], [3.0, 3.0, 3.0, 1.0])
    assert series.counts == [3, 3, 2, 1]
    assert series.low is not None
    assert math.isnan(series.low[3])
    assert figure.captions() == {0: "lr=1 (n=1–3)"}
    assert figure.remarks == ("lr=1: 1 of 4 values are those of one run alone (n=1, without a band)",)


def test_runs_that_lie_behind_each_other_are_drawn_as_they_are(database: Database, write_log: WriteLog) -> None:
    logs = write_log("logs/a.log", epochs=5), write_log("logs/b.log", epochs=5, first=5)
    take(database, *logs, params={"lr": "1"})
    figure = drawn(database, y="test/accuracy", group_by="lr")
    series = only(figure)
    assert (list(series.x), series.counts, series.low) == (list(range(10)), [1] * 10, None)
    assert not any("interpolated" in one for one in (*figure.rules, *figure.remarks))
    assert plot.render(figure, "png").data
    assert "no finite value" not in chart.render(figure, chart.Canvas())


def test_bands_are_what_their_names_say(database: Database, seeds: Seeds) -> None:
    seeds("1", [1.0], [2.0], [6.0])
    ci = only(drawn(database, y="loss", group_by="lr", band="ci"))
    reach = 4.302652729749464 * math.sqrt(7) / math.sqrt(3)
    assert list(ci.low or ()) == pytest.approx([3 - reach])
    assert list(ci.high or ()) == pytest.approx([3 + reach])
    ends = only(drawn(database, y="loss", group_by="lr", band="minmax"))
    assert (ends.low, ends.high) == ([1.0], [6.0])
    bare = only(drawn(database, y="loss", group_by="lr", band="none"))
    assert bare.low is None
    # With n even where no band is drawn.
    assert bare.counts == [3]


def test_reported_values_are_levels_and_alone_are_refused(database: Database, write_log: WriteLog) -> None:
    page = write_log("page.md")
    page.write_text(
        "# Results\n\n| model | accuracy |\n| --- | --- |\n| A | 87.62% |\n| B | 78.2% |\n", encoding="utf-8"
    )
    take(database, page)
    with pytest.raises(NotFoundError, match="reported without a curve by every run"):
        drawn(database, y="test/accuracy")
    take(database, write_log("logs/curve.log"))
    figure = drawn(database, y="test/accuracy")
    (panel,) = figure.panels
    assert [level.value for level in panel.levels] == [87.62, 78.2]
    assert panel.unit == "percent"
    # A curve is named before what has none.
    captions = list(figure.captions().values())
    assert captions[0] == "curve"
    assert all(caption.endswith(" (reported)") for caption in captions[1:])


def test_metrics_of_one_quantity_share_a_panel_and_others_do_not(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    figure = drawn(database, y="train/accuracy, test/accuracy, loss")
    assert [(panel.title, panel.variants) for panel in figure.panels] == [
        ("accuracy", ("train/accuracy", "test/accuracy")),
        ("loss", ()),
    ]


def test_a_metric_that_is_asked_for_twice_is_drawn_once(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    assert only(drawn(database, y="loss,loss")).label == "a"


def test_without_a_metric_it_is_the_test_result_of_most_runs(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    assert plotting.figure(database, Asked()).panels[0].title == "test/accuracy"


def test_what_a_logarithm_cannot_show_is_said(database: Database, seeds: Seeds) -> None:
    seeds("1", [1.0, 0.0, 0.1])
    figure = drawn(database, y="loss", logy="yes")
    assert math.isnan(only(figure).y[1])
    assert only(figure).diverged == ()
    assert figure.remarks == ("loss: values of zero or less have no place on a logarithmic axis, in lr1_0",)


def test_a_band_on_a_logarithmic_axis_ends_above_zero(database: Database, seeds: Seeds) -> None:
    seeds("1", [1.0], [9.0])
    series = only(drawn(database, y="loss", logy="yes", group_by="lr"))
    assert series.low == [2.5]


def test_time_is_that_since_the_run_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with expdb.start_run(name="timed") as run:
        for step in range(3):
            run.log({"loss": 1.0 / (step + 1)}, step=step)
            time.sleep(0.02)
    with SqliteDatabase(tmp_path / "runs" / "expdb.db") as database:
        figure = drawn(database, y="loss", x="time")
    assert figure.x_label == "time since the start (s)"
    assert 0 <= only(figure).x[0] < only(figure).x[1] < only(figure).x[2] < 60


def test_what_no_run_knows_is_said_with_a_way_out(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    with pytest.raises(NotFoundError, match="no run tells the time") as caught:
        drawn(database, y="loss", x="time")
    assert caught.value.hint == "--x step"
    with pytest.raises(NotFoundError, match="accuracyy") as caught:
        drawn(database, y="test/accuracyy")
    assert "test/accuracy" in (caught.value.hint or "")
    with pytest.raises(NotFoundError, match="no run to draw"):
        drawn(database, where="epochs = 'never'")
    with pytest.raises(NotFoundError, match="widht"):
        drawn(database, group_by="widht")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"x": "epochs"}, "x is step, time or epoch, not 'epochs'"),
        ({"band": "sem"}, "band is std, ci, minmax or none"),
        ({"smooth": "0"}, "smooth is 1 or more"),
        ({"smooth": "wide"}, "no whole number"),
        ({"size": "big"}, "WIDTHxHEIGHT"),
        ({"size": "0.5x3"}, "WIDTHxHEIGHT"),
        ({"size": "nanx3"}, "WIDTHxHEIGHT"),
        ({"logy": "perhaps"}, "yes or no"),
        ({"color": "red"}, "plot knows no 'color'"),
        ({"where": "lr ="}, "name"),
    ],
)
def test_words_that_say_nothing_are_refused(words: dict[str, str], said: str, database: Database) -> None:
    with pytest.raises((UsageError, ExpressionError), match=said):
        plotting.figure(database, plotting.asked(words))


def test_steps_of_different_things_are_said(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    (tmp_path / "steps.log").write_text("".join(f"step {i}: loss {9 - i}.5\n" for i in range(6)), encoding="utf-8")
    take(database, write_log(), tmp_path / "steps.log")
    figure = drawn(database, y="loss")
    assert figure.x_label == "step"
    assert "different things over one axis" in figure.remarks[0]


def test_runs_that_share_no_step_are_interpolated_and_it_is_said(database: Database, tmp_path: Path) -> None:
    for name, steps in (("a", (0, 4, 8)), ("b", (2, 6, 10))):
        (tmp_path / f"{name}.log").write_text("".join(f"epoch {i}, loss {i + 1}.0\n" for i in steps), encoding="utf-8")
        take(database, tmp_path / f"{name}.log", params={"lr": "1"})
    figure = drawn(database, y="loss", group_by="lr")
    series = only(figure)
    assert (list(series.x), list(series.y)) == ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])
    assert series.counts == [1, 2, 2, 2, 2, 1]
    assert "interpolated" in figure.remarks[0]


def test_a_short_curve_among_long_ones_that_are_interpolated_stays(database: Database, tmp_path: Path) -> None:
    for name, steps in (("a", range(0, 9000, 30)), ("b", range(10, 9010, 30)), ("c", (4003, 4004))):
        (tmp_path / f"{name}.log").write_text("".join(f"step {i}: loss 1.5\n" for i in steps), encoding="utf-8")
        take(database, tmp_path / f"{name}.log", params={"lr": "1"})
    assert max(only(drawn(database, y="loss", group_by="lr")).counts or ()) == 3


def test_the_best_few_are_drawn_of_many(database: Database, seeds: Seeds) -> None:
    seeds("1", [5.0], [1.0], [3.0])
    figure = drawn(database, y="loss", sort="min(loss)", top="2")
    assert list(figure.captions().values()) == ["lr1_1", "lr1_2"]
    seeds("2", [0.5], [0.7])
    best = drawn(database, y="loss", sort="min(loss)", top="1", group_by="lr")
    assert list(best.captions().values()) == ["lr=2 (n=2)"]


def test_runs_without_what_is_grouped_by_are_in_no_mean_and_that_is_said(
    database: Database, seeds: Seeds, write_log: WriteLog
) -> None:
    seeds("1", [5.0], [1.0])
    take(database, write_log())
    figure = drawn(database, y="loss", group_by="lr")
    assert list(figure.captions().values()) == ["lr=1 (n=2)"]
    assert figure.remarks == ("not drawn: 1 of the runs, which have none of lr",)


def test_runs_of_one_name_are_told_apart_by_their_uids(database: Database, seeds: Seeds) -> None:
    seeds("1", [5.0])
    records = select(database, Query())
    twice = plotting.run_labels([*records, *records])
    assert twice[0] == f"lr1_0 {records[0].uid[:8]}"


@given(st.lists(numbers, min_size=1, max_size=30), st.integers(1, 12))
def test_a_running_mean_stays_within_the_values_and_keeps_their_number(values: list[float], width: int) -> None:
    smooth = running_mean(values, width)
    assert len(smooth) == len(values)
    slack = 1e-9 * max(abs(value) for value in values) * len(values)
    assert all(min(values) - slack <= value <= max(values) + slack for value in smooth)


def test_a_running_mean_does_not_reach_over_a_hole() -> None:
    assert running_mean([1.0, 3.0, math.nan, 7.0], 3)[:2] == [2.0, 2.0]
    assert running_mean([1.0, 3.0, math.nan, 7.0], 3)[3] == 7.0
    assert running_mean([4.0, 2.0, 6.0], 1) == [4.0, 2.0, 6.0]


@given(st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=2, max_size=4))
def test_a_band_lies_around_its_mean(rows: list[list[float]]) -> None:
    curves = [Curve([0.0, 1.0, 2.0, 3.0, 4.0], row) for row in rows]
    for band in ("std", "ci", "minmax"):
        found = mean_of(curves, band)
        slack = 1e-6 * max(abs(value) for row in rows for value in row)
        for low, middle, high in zip(found.low, found.y, found.high, strict=True):
            assert low - slack <= middle <= high + slack


def test_a_value_between_two_is_on_the_line_between_them_and_a_hole_stays_one() -> None:
    found = interpolated(Curve([0.0, 2.0, 4.0], [0.0, 4.0, math.nan]), [-1.0, 1.0, 2.0, 3.0, 5.0])
    assert found.x == [1.0, 2.0, 3.0]
    assert found.y[:2] == [2.0, 4.0]
    assert math.isnan(found.y[2])
    assert ends_of(found.x, found.y) == ((2.0, 4.0),)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706204736), (2, 4.302652730), (3, 3.182446305), (9, 2.262157163), (30, 2.042272456), (100, 1.983971519)],
)
def test_students_t_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_95(freedom) == pytest.approx(quantile, rel=1e-9)


def test_mean_and_deviation_of_numbers_at_the_edge_of_floats() -> None:
    assert mean_std([5.0]) == (5.0, None)
    assert mean_std([1e308, 1e308]) == (1e308, 0.0)
    mean, std = mean_std([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert std == pytest.approx(math.sqrt(5 / 3))
