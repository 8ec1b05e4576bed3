"""Tables of many runs: means with their n, rules side by side, pivots, and what is said of what diverged."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb import ingest
from expdb.compare import grouping, tables
from expdb.compare.tables import Asked
from expdb.errors import ExpressionError, NotFoundError, UsageError
from expdb.records import Cell, Table
from expdb.reports import render
from expdb.store import editing, reader
from expdb.store.sqlite import SqliteDatabase as Database

Run = Callable[..., None]


@pytest.fixture
def run(database: Database, tmp_path: Path) -> Run:
    """Put in a run with these test accuracies, epoch by epoch; words are params."""

    def put(name: str, accuracies: Sequence[object], loss: object = 0.5, **params: str) -> None:
        path = tmp_path / f"{name}.log"
        lines = [f"epoch {i}, loss {loss}, test accuracy {one}\n" for i, one in enumerate(accuracies)]
        path.write_text("".join(lines), encoding="utf-8")
        items, missing = ingest.collect([str(path)], database.path)
        outcome = ingest.ingest(database, items, ingest.Request(experiment="e", params=params, copy=True))
        assert not missing and not outcome.refused

    return put


@pytest.fixture
def seeds(run: Run) -> None:
    """Two configurations with three seeds each; one of the second diverged."""
    for seed, accuracy in enumerate(("0.90", "0.92", "0.94")):
        run(f"a{seed}", ["0.50", "0.95", accuracy], lr="0.1", model="vgg", seed=str(seed))
    for seed, accuracy in enumerate(("0.80", "0.84")):
        run(f"b{seed}", ["0.50", accuracy, accuracy], lr="0.01", model="vgg", seed=str(seed))
    run("b2", ["0.50", "0.99", "0.10"], "nan", lr="0.01", model="vgg", seed="2")


def asked(database: Database, **words: object) -> Table:
    return tables.table(database, Asked(**words))  # type: ignore[arg-type]


def titles(table: Table) -> list[str]:
    return [column.title for column in table.columns]


# Means


@pytest.mark.usefixtures("seeds")
def test_a_mean_has_its_sample_deviation_and_its_n(database: Database) -> None:
    found = asked(database, group_by="all-but:seed", columns="lr, last(test/accuracy)")
    mean = found.rows[0][2]
    assert (mean.n, mean.of, mean.diverged) == (3, 3, 0)
    assert mean.value == pytest.approx(0.92)
    assert mean.std == pytest.approx(statistics.stdev((0.90, 0.92, 0.94)))
    assert titles(found) == ["lr", "n", "last(test/accuracy)"]
    assert [row[1].value for row in found.rows] == [3, 3]
    assert "0.92 ± 0.02" in render(found, "plain")


@pytest.mark.usefixtures("seeds")
def test_a_run_that_diverged_is_in_no_mean_and_is_named(database: Database) -> None:
    found = asked(database, group_by="all-but:seed", columns="lr, best(test/accuracy)")
    mean = found.rows[1][2]
    # Its best is 0.99, and it is no result.
    assert mean.value == pytest.approx(0.82)
    assert (mean.n, mean.of, mean.diverged) == (2, 3, 1)
    for name in ("plain", "markdown", "latex", "html", "rst"):
        assert "(n=2 of 3, 1 diverged)" in render(found, name)
    assert "lr 0.01: 1 of 3 runs diverged and is in no mean: b2" in found.rules


@pytest.mark.usefixtures("seeds")
def test_a_number_of_a_run_that_diverged_is_marked(database: Database) -> None:
    found = asked(database, columns="run, best(test/accuracy), last(train/loss)", where="run ~ 'b'")
    assert [[cell.diverged for cell in row[1:]] for row in found.rows] == [[0, 0], [0, 0], [1, 1]]
    text = render(found, "plain")
    assert "0.99‡" in text
    assert "nan‡" in text
    assert "‡ diverged: " in text


def test_a_group_of_which_all_diverged_has_no_mean(database: Database, run: Run) -> None:
    run("a", ["0.5", "nan"], lr="1", seed="1")
    run("b", ["0.5", "nan"], lr="1", seed="2")
    found = asked(database, group_by="lr", columns="lr, last(test/accuracy)")
    assert found.rows[0][2] == Cell(None, n=0, of=2, diverged=2, says_n=True)
    assert "— (n=0 of 2, 2 diverged)" in render(found, "plain")


def test_a_run_without_the_metric_is_missed_in_n(database: Database, run: Run, tmp_path: Path) -> None:
    run("a", ["0.5"], lr="1")
    (tmp_path / "c.log").write_text("epoch 0, loss 0.5\nepoch 1, loss 0.4\n", encoding="utf-8")
    items, _ = ingest.collect([str(tmp_path / "c.log")], database.path)
    ingest.ingest(database, items, ingest.Request(experiment="e", params={"lr": "1"}))
    found = asked(database, group_by="lr", columns="lr, last(test/accuracy)")
    assert "0.5 (n=1 of 2)" in render(found, "plain")


@pytest.mark.usefixtures("seeds")
def test_a_mean_is_in_no_format_without_its_n(database: Database) -> None:
    found = asked(database, group_by="model", columns="best(test/accuracy) as acc")
    heads = {
        "plain": "n  ",
        "markdown": "|    n |",
        "latex": "n & acc",
        "html": ">n</th>",
        "rst": "- n\n",
        "csv": "acc n",
    }
    for name, head in heads.items():
        assert head in render(found, name)
    assert json.loads(render(found, "json"))["rows"][0]["acc"]["n"] == 5


def test_a_mean_of_whole_numbers_shows_a_digit_more_and_csv_has_all(database: Database, run: Run) -> None:
    for seed, accuracy in (("1", "87"), ("2", "88"), ("3", "88")):
        run(f"a{seed}", [accuracy], seed=seed)
    words = {"group_by": "all-but:seed", "columns": "last(test/accuracy) as acc"}
    found = asked(database, **words)
    assert "87.7 ± 0.6" in render(found, "plain")
    head, row = render(found, "csv").splitlines()
    assert head == "n,acc (%),acc std (%),acc n,acc of,acc diverged"
    assert row == "3,87.66666666666667,0.5773502691896257,3,3,0"
    assert render(asked(database, digits=2, **words), "csv").splitlines()[1] == "3,87.67,0.58,3,3,0"


@pytest.mark.usefixtures("seeds")
def test_in_csv_what_diverged_is_told_beside_the_numbers_of_single_runs(database: Database) -> None:
    found = asked(database, columns="run, last(test/accuracy) as acc, last(train/loss)", where="run ~ 'b'")
    assert render(found, "csv").splitlines()[0] == "run,acc,acc diverged,last(train/loss),last(train/loss) diverged"
    assert [line.split(",")[2] for line in render(found, "csv").splitlines()[1:]] == ["0", "0", "1"]
    sound = asked(database, columns="run, last(test/accuracy) as acc", where="run ~ 'a'")
    assert render(sound, "csv").splitlines()[0] == "run,acc"


@pytest.mark.usefixtures("seeds")
def test_groups_are_of_params_and_numbers_are_equal_by_value(database: Database, run: Run) -> None:
    run("a9", ["0.96"], lr="0.10", model="vgg", seed="9")
    found = asked(database, group_by="lr as 学习率", columns="lr as 学习率, last(test/accuracy) as 准确率")
    assert titles(found) == ["学习率", "n", "准确率"]
    assert [row[0].value for row in found.rows] == ["0.1", "0.01"]
    assert [row[1].value for row in found.rows] == [4, 3]


@pytest.mark.usefixtures("seeds")
def test_without_columns_a_grouped_table_shows_what_parts_the_groups_and_the_results(database: Database) -> None:
    found = asked(database, group_by="all-but:seed")
    # The model is everywhere the same.
    assert titles(found)[:2] == ["lr", "n"]
    assert "best(test/accuracy)" in titles(found)
    assert "at step" not in titles(found)


@pytest.mark.usefixtures("seeds")
def test_groups_are_sorted_by_their_means_and_cut(database: Database) -> None:
    words = {"group_by": "all-but:seed", "columns": "lr, last(test/accuracy)"}
    assert [row[0].value for row in asked(database, sort="-last(test/accuracy)", **words).rows] == ["0.01", "0.1"]
    assert [row[0].value for row in asked(database, sort="lr", **words).rows] == ["0.01", "0.1"]
    assert [row[0].value for row in asked(database, sort="last(test/accuracy)", top=1, **words).rows] == ["0.1"]


@pytest.mark.usefixtures("seeds")
def test_what_differs_within_a_group_is_listed(database: Database) -> None:
    found = asked(database, group_by="lr", columns="lr, seed, model")
    assert [cell.value for cell in found.rows[0]] == ["0.1", "0, 1, 2", "vgg", 3]


def test_that_no_two_runs_belong_together_is_said_with_what_parts_them(database: Database, run: Run) -> None:
    for seed in "12":
        run(f"a{seed}", ["0.5"], seed=seed, out=f"folder{seed}")
    rules = asked(database, group_by="all-but:seed").rules
    assert "no two runs differ in nothing but seed: each row is one run; they differ in out" in rules
    assert asked(database, group_by="all-but:seed,out").rows[0][0].value == 2


def test_a_seed_that_no_run_has_is_no_error_and_another_unknown_name_is(database: Database, run: Run) -> None:
    run("a", ["0.5"], lr="1")
    assert asked(database, group_by="all-but:seed").rows
    with pytest.raises(NotFoundError, match="'sede'"):
        asked(database, group_by="all-but:sede")
    with pytest.raises(NotFoundError, match="'lrr'"):
        asked(database, group_by="lrr")


@pytest.mark.usefixtures("seeds")
def test_runs_that_have_nothing_of_what_is_grouped_by_are_in_no_row_and_that_is_said(
    database: Database, run: Run
) -> None:
    run("x", ["0.1"], other="1")
    run("y", ["0.2"], model="nin")
    found = asked(database, group_by="lr, model", columns="lr, model, last(test/accuracy)")
    assert [(row[0].value, row[1].value) for row in found.rows] == [("0.1", "vgg"), ("0.01", "vgg"), (None, "nin")]
    assert "1 run has none of lr, model and is in no row" in found.rules
    pivot = asked(database, pivot="lr, model, last(test/accuracy)")
    assert [row[0].value for row in pivot.rows] == ["0.1", "0.01"]
    assert "2 runs have no lr or no model and are in no cell" in pivot.rules


def test_a_param_called_n_is_itself_and_the_count_stands_beside_it(database: Database, run: Run) -> None:
    run("a", ["0.5"], n="7", seed="1")
    run("b", ["0.6"], n="7", seed="2")
    found = asked(database, group_by="n", columns="n, last(test/accuracy)")
    assert titles(found) == ["n", "n", "last(test/accuracy)"]
    assert [cell.value for cell in found.rows[0][:2]] == ["7", 2]


def test_fractions_and_percents_are_averaged_in_one_unit(database: Database, run: Run) -> None:
    run("a", ["0.90"], lr="1", seed="1")
    run("b", ["92.0"], lr="1", seed="2")
    mean = asked(database, group_by="lr", columns="last(test/accuracy)").rows[0][1]
    assert mean.value == pytest.approx(91.0)
    assert mean.unit == "percent"


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_mean_and_deviation_are_those_of_the_standard_library(values: list[float]) -> None:
    cell = grouping.mean([Cell(value) for value in values], says_n=False)
    assert cell.value == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-9)
    assert cell.std == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


@given(st.lists(st.sampled_from((1.0, math.nan, math.inf, -math.inf)), min_size=1, max_size=6))
def test_no_mean_is_of_what_is_no_number(values: list[float]) -> None:
    cells = [Cell(value, diverged=int(not math.isfinite(value))) for value in values]
    found = grouping.mean(cells, says_n=False)
    assert found.value in (1.0, None)
    assert (found.n or 0) + found.diverged == found.of == len(values)


def test_opposite_infinities_have_a_tail_that_is_no_number(database: Database, run: Run) -> None:
    run("a", ["0.5", "0.6"], "inf", lr="1")
    run("b", ["0.5", "0.6"], "-inf", lr="1")
    found = asked(database, columns="tail(train/loss, 2)")
    assert [row[0].diverged for row in found.rows] == [1, 1]


# Rules side by side


@pytest.mark.usefixtures("seeds")
def test_rules_stand_side_by_side_with_places_gained(database: Database) -> None:
    found = asked(database, columns="run, test/accuracy as acc", select="best, last, tail:2, at(1)", where="lr = 0.1")
    assert titles(found) == ["run", "acc (best)", "acc (last)", "acc (tail:2)", "acc (at:1)"]
    # By best all three are equal and first.
    assert [[cell.moved for cell in row[1:]] for row in found.rows] == [
        [None, -2, -2, 0],
        [None, -1, -1, 0],
        [None, 0, 0, 0],
    ]
    assert "0.90 ↓2" in render(found, "plain")


def test_places_go_by_what_is_better(database: Database, run: Run) -> None:
    run("a", ["0.5"], "0.1", lr="1")
    run("b", ["0.5"], "0.2", lr="2")
    found = asked(database, columns="run, first(train/loss), last(train/loss)", sort="last(train/loss)")
    assert [row[0].value for row in found.rows] == ["a", "b"]
    assert [row[2].moved for row in found.rows] == [0, 0]
    assert "no row changes its place against the rule that stands first (first(train/loss))" in found.rules


@pytest.mark.usefixtures("seeds")
def test_a_run_that_diverged_has_no_place(database: Database) -> None:
    found = asked(database, columns="run, best(test/accuracy), last(test/accuracy)", where="run ~ 'b'")
    assert [row[2].moved for row in found.rows] == [0, 0, None]


def test_who_has_but_one_of_two_numbers_is_overtaken_by_nobody(database: Database, run: Run) -> None:
    run("long", ["0.5", "0.6", "0.9"])
    run("short", ["0.7", "0.95"])
    run("other", ["0.4", "0.5", "0.8"])
    found = asked(database, columns="run, best(test/accuracy), at(test/accuracy, 2)", sort="run")
    assert [(row[0].value, row[2].moved) for row in found.rows] == [("long", 0), ("other", 0), ("short", None)]


def test_a_param_that_is_called_as_a_field_is_told_how_to_ask_for(database: Database, run: Run) -> None:
    run("a", ["0.5"], note="warm")
    said = "note: what expdb says of the run; the param of that name is params.note"
    assert said in asked(database, columns="run, note").rules
    assert said not in asked(database, columns="run, note, params.note").rules
    assert said not in asked(database, columns="run").rules


def test_a_name_that_is_near_to_none_has_no_near_one(database: Database, run: Run) -> None:
    run("a", ["0.5"])
    with pytest.raises(NotFoundError) as caught:
        asked(database, columns="nosuch")
    assert "did you mean" not in (caught.value.hint or "")


def test_a_tail_longer_than_a_run_says_so(database: Database, run: Run) -> None:
    run("a", ["0.5", "0.6", "0.9"])
    assert "tail: the mean of the last 3 values, by step" in asked(database, columns="tail(test/accuracy, 3)").rules
    said = "tail: the mean of the last 4 values, by step (of all, where a run has fewer)"
    assert said in asked(database, columns="tail(test/accuracy, 4)").rules


@pytest.mark.usefixtures("seeds")
def test_without_columns_every_result_has_every_rule(database: Database) -> None:
    found = asked(database, select="best,last")
    assert [title for title in titles(found) if "test" in title] == ["best(test/accuracy)", "last(test/accuracy)"]


@pytest.mark.usefixtures("seeds")
def test_groups_have_rules_side_by_side_too(database: Database) -> None:
    found = asked(database, group_by="all-but:seed", select="best,last", columns="lr, test/accuracy")
    assert titles(found) == ["lr", "n", "best(test/accuracy)", "last(test/accuracy)"]
    assert [row[3].moved for row in found.rows] == [0, 0]


# Pivots


@pytest.mark.usefixtures("seeds")
def test_a_pivot_has_a_mean_where_runs_meet_with_n_in_every_cell(database: Database, run: Run) -> None:
    run("c", ["0.70"], lr="0.1", model="nin", seed="0")
    found = asked(database, pivot="model as 模型, lr, last(test/accuracy) as acc")
    assert titles(found) == ["模型", "lr=0.01", "lr=0.1"]
    csv = [line.split(",") for line in render(found, "csv").splitlines()]
    assert csv[0][2:6] == [f"lr=0.01 {word}" for word in ("std", "n", "of", "diverged")]
    assert [float(csv[1][i]) for i in (1, 2, 6, 7)] == pytest.approx([0.82, math.sqrt(0.0008), 0.92, 0.02])
    assert [csv[1][i] for i in (3, 4, 5, 8, 9, 10)] == ["2", "3", "1", "3", "3", "0"]
    # The number of one run is as that printed it.
    assert csv[2] == ["nin", "", "", "", "", "0", "0.70", "", "1", "1", "0"]
    first, second = render(found, "plain").splitlines()[2:4]
    assert first.split("  ")[-1] == "0.92 ± 0.02 (n=3)"
    assert second.split() == ["nin", "—", "0.70", "(n=1)"]
    assert first.index("0.92") == second.index("0.70")
    assert "in each cell: acc, by 模型 (rows) and lr (columns)" in found.rules


def test_a_pivot_of_single_runs_shows_their_numbers(database: Database, run: Run) -> None:
    for model, data, accuracy in (("a", "x", "0.1"), ("a", "y", "0.2"), ("b", "y", "0.3")):
        run(model + data, [accuracy], model=model, data=data)
    found = asked(database, pivot="model, data, last(test/accuracy)", bold="best")
    assert titles(found) == ["model", "x", "y"]
    assert [[cell.value for cell in row] for row in found.rows] == [["a", 0.1, 0.2], ["b", None, 0.3]]
    assert [[cell.n for cell in row] for row in found.rows] == [[None] * 3] * 2
    assert [row[2].bold for row in found.rows] == [False, True]


def test_a_pivot_can_show_words(database: Database, run: Run) -> None:
    for seed in "12":
        run(f"r{seed}", ["0.5"], model="a", data="x", seed=seed)
    assert asked(database, pivot="model, data, seed").rows[0][1].value == "1, 2"


# The last touches


@pytest.mark.usefixtures("seeds")
def test_the_best_is_bold_by_direction_and_by_what_is_printed(database: Database) -> None:
    found = asked(
        database, columns="run, best(test/accuracy), last(train/loss), lr", where="lr = 0.1", bold="best", digits=1
    )
    # All print 0.9 and 0.5: all are the best.
    assert [[cell.bold for cell in row[1:]] for row in found.rows] == [[True, True, False]] * 3


def test_of_an_unknown_metric_nothing_is_bold_and_that_is_said(database: Database, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.log").write_text("epoch 0, wobble 3\nepoch 1, wobble 5\n", encoding="utf-8")
        items, _ = ingest.collect([str(tmp_path / f"{name}.log")], database.path)
        ingest.ingest(database, items, ingest.Request(copy=True))
    found = asked(database, columns="max(wobble)", bold="best")
    assert not any(cell.bold for row in found.rows for cell in row)
    assert any("not known of max(wobble)" in rule for rule in found.rules)


@pytest.mark.usefixtures("seeds")
def test_what_diverged_is_never_the_best(database: Database) -> None:
    found = asked(database, columns="run, best(test/accuracy)", where="lr = 0.01", bold="best")
    assert [row[1].bold for row in found.rows] == [False, True, False]


@pytest.mark.usefixtures("seeds")
def test_digits_and_percent_are_of_results_alone(database: Database) -> None:
    found = asked(database, columns="run, lr, last(test/accuracy)", top=1, percent=True, digits=3)
    assert render(found, "csv") == "run,lr,last(test/accuracy) (%)\na0,0.1,90.000\n"
    means = asked(database, group_by="lr", columns="last(test/accuracy) as acc", percent=True)
    assert "92 ± 2" in render(means, "plain")


def test_percents_have_the_digits_of_their_fractions(database: Database, run: Run) -> None:
    run("a", ["0.709"])
    found = asked(database, columns="last(test/accuracy)", percent=True)
    assert found.rows[0][0].value == 70.9


@pytest.mark.usefixtures("seeds")
def test_that_nothing_is_a_fraction_is_said(database: Database) -> None:
    assert any("no column holds fractions" in rule for rule in asked(database, columns="run", percent=True).rules)


@pytest.mark.usefixtures("seeds")
def test_only_what_changes_stays_and_the_rest_is_told(database: Database) -> None:
    found = asked(database, columns="run, model, lr", where="lr = 0.1", only_changed=True)
    assert titles(found) == ["run"]
    assert "the same in every row: model vgg, lr 0.1" in found.rules
    one = asked(database, columns="run, model, lr", where="run = 'a0'", only_changed=True)
    assert titles(one) == ["run", "model", "lr"]


def test_means_that_differ_in_their_deviation_alone_are_not_the_same(database: Database, run: Run) -> None:
    for lr, accuracies in (("1", ("90", "90")), ("2", ("89", "91"))):
        for seed, accuracy in enumerate(accuracies):
            run(f"{lr}{seed}", [accuracy], lr=lr, seed=str(seed))
    words = {"group_by": "lr", "only_changed": True}
    found = asked(database, columns="lr, last(test/accuracy), last(train/loss)", **words)
    assert titles(found) == ["lr", "n", "last(test/accuracy)"]
    assert "the same in every row: last(train/loss) 0.5 ± 0.0" in found.rules


@pytest.mark.usefixtures("seeds")
def test_a_mean_keeps_its_n_when_only_changed_columns_stay(database: Database) -> None:
    found = asked(database, group_by="all-but:seed", columns="model, lr, last(test/accuracy)", only_changed=True)
    assert titles(found) == ["lr", "n", "last(test/accuracy)"]


def test_a_caption_stands_above_the_table(database: Database, run: Run) -> None:
    run("a", ["0.5"])
    assert render(asked(database, caption="两个模型"), "plain").startswith("两个模型\n\n")


def test_a_value_that_was_reported_can_be_averaged(database: Database, run: Run) -> None:
    for seed in "12":
        run(f"a{seed}", ["0.5"], seed=seed)
        found = reader.find_run(database, f"a{seed}")
        editing.edit(database, found, editing.Changes(values={"f1": f"0.{seed}"}), 0)
    mean = asked(database, group_by="all-but:seed", columns="last(f1)").rows[0][1]
    assert mean.value == pytest.approx(0.15)
    assert mean.reported


# Words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"group_by": "all-but:"}, "all but what"),
        ({"group_by": "best(x)"}, "no name of a param"),
        ({"select": "best,median"}, "no rule is called 'median'"),
        ({"select": "tail"}, "no rule is called 'tail'"),
        ({"select": "tail:0"}, "no rule is called 'tail:0'"),
        ({"select": "best,"}, "no rule is called ''"),
        ({"pivot": "a, b"}, "a pivot is made of"),
        ({"pivot": "best(a), b, c"}, "a pivot is made of"),
        ({"pivot": "a, b, c", "columns": "a"}, "a pivot has no columns"),
        ({"pivot": "a, b, c", "group_by": "a"}, "a pivot has no group-by"),
        ({"bold": "worst"}, "bold is best"),
        ({"digits": 99}, "99 digits"),
        ({"columns": "lr", "select": "best"}, "no column is a metric"),
    ],
)
@pytest.mark.usefixtures("seeds")
def test_words_that_say_nothing_are_refused_with_what_to_type(
    database: Database, words: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        asked(database, **words)
    assert caught.value.hint


def test_an_expression_that_does_not_parse_says_where(database: Database) -> None:
    with pytest.raises(ExpressionError, match="at character 6"):
        asked(database, where="lr = ")


def test_the_attributes_of_a_marker_are_the_words_of_the_command() -> None:
    words = {
        **{"experiment": "e", "runs": "a, b", "where": "lr = 1", "columns": "run", "sort": "-lr", "top": "5"},
        **{"group-by": "all-but:seed", "select": "best", "pivot": "", "only-changed": "yes", "bold": "best"},
        **{"digits": "2", "percent": "", "caption": "c", "lang": "zh"},
    }
    assert set(words) == set(tables.WORDS)
    assert tables.read(words) == Asked(
        "e", ("a", "b"), "lr = 1", "run", "-lr", 5, "all-but:seed", "best", "", True, "best", 2, True, "c", "zh"
    )
    assert tables.read({}) == Asked()
    assert tables.read({"percent": "no"}).percent is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"group_by": "a"}, "knows no 'group_by'"),
        ({"colums": "a"}, "knows no 'colums'"),
        ({"top": "0"}, "no whole number from 1"),
        ({"digits": "two"}, "no whole number from 0 to 15"),
        ({"percent": "perhaps"}, "yes or no"),
    ],
)
def test_attributes_that_nobody_knows_are_refused(words: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        tables.read(words)
    assert caught.value.hint


@pytest.mark.usefixtures("seeds")
def test_runs_that_were_read_once_serve_many_tables(database: Database) -> None:
    runs = reader.runs(database)
    words = Asked(experiment="e", group_by="all-but:seed")
    assert tables.table(database, words, runs) == tables.table(database, words)
    with pytest.raises(NotFoundError, match="no experiment"):
        tables.table(database, Asked(experiment="f"), runs)


def test_a_table_of_no_runs_is_empty_in_every_way(database: Database) -> None:
    for words in ({}, {"group_by": "all-but:seed"}, {"pivot": "a, b, c"}, {"select": "best", "bold": "best"}):
        found = asked(database, only_changed=True, percent=True, digits=2, **words)
        assert not found.rows
        for name in ("plain", "markdown", "latex", "html", "rst", "csv", "json"):
            assert render(found, name).endswith("\n")
