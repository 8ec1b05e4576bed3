"""Result tables: one row is one run, a numeric column that states a result is a metric, every other one a param."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import Read, ReadRun, read

from expdb.parsers.pages.markup import Place, TableBlock, scan
from expdb.parsers.pages.tables import TableReader, canonical_cell, has_numbers


def table(header: str, *rows: str) -> str:
    """A pipe table of cells written with `|` between them."""
    width = header.count("|") + 1
    return "\n".join([f"| {header} |", "|" + " --- |" * width, *(f"| {row} |" for row in rows)]) + "\n"


def rows_of(header: str, *rows: str, columns: tuple[str, ...] = ()) -> list[ReadRun]:
    """The runs of a page with one table."""
    return read(f"# Page\n\n{table(header, *rows)}", columns=columns).runs


def values(runs: list[ReadRun]) -> list[dict[str, float]]:
    return [{label: curve.values[0] for label, curve in run.curves.items()} for run in runs]


def units(runs: list[ReadRun], label: str) -> list[str | None]:
    return [run.curves[label].metric.unit for run in runs if label in run.curves]


# Rows


def test_a_row_is_a_run_with_a_reported_value_without_a_step() -> None:
    first, second = rows_of("model | accuracy", "ResNet | 84.10", "VGG | 9.5")
    curve = first.only("test/accuracy")
    assert (curve.metric.kind, curve.metric.unit, curve.metric.step_unit) == ("reported", "percent", "none")
    assert (curve.decimals, curve.points) == (2, [(None, "84.1", 5)])
    assert (first.start.params, first.start.line, first.line_last) == ({"model": "ResNet"}, 5, 5)
    assert second.only("test/accuracy").points == [(None, "9.5", 6)]
    assert second.only("test/accuracy").decimals == 1
    assert [run.start.caption for run in (first, second)] == ["Page row 1", "Page row 2"]


def test_a_table_in_a_log_page_counts_on_from_the_runs_before_it() -> None:
    page = f"# P\n\nepoch 1, loss 1\n\n{table('a | loss', 'x | 1', 'y | 2')}\nepoch 1, loss 2\n"
    runs = read(page).runs
    assert [run.start.line for run in runs] == [3, 7, 8, 10]


@pytest.mark.parametrize("cell", ["84.10", "**84.10**", "__84.10__", "`84.10`", " 84.10 ", "*84.10*", "+84.10"])
def test_a_number_may_be_dressed(cell: str) -> None:
    (run,) = rows_of("m | acc", f"a | {cell}")
    assert run.curves["acc"].points[0][1] == "84.1"
    assert run.curves["acc"].decimals == 2


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        ("84.10%", "percent"),
        ("84.10 %", "percent"),
        ("84.10％", "percent"),
        ("84.10±0.3", "percent"),
        ("84.10 ± 0.30 %", "percent"),
        ("84.10 +/- .3", "percent"),
        ("84.10% ± 0.3%", "percent"),
    ],
)
def test_a_number_may_carry_its_unit_and_its_spread(cell: str, unit: str) -> None:
    (run,) = rows_of("m | acc", f"a | {cell}")
    assert run.curves["acc"].points[0][1] == "84.1"
    assert units([run], "acc") == [unit]
    assert run.start.tags["page.cell.acc"] == cell


@pytest.mark.parametrize("cell", ["", "-", "--", "—", "N/A", "none", "TBD", "无"])
def test_a_cell_without_a_number_gives_neither_value_nor_param(cell: str) -> None:
    first, second = rows_of("m | acc", "a | 0.5", f"b | {cell}")
    assert values([first, second]) == [{"acc": 0.5}, {}]
    assert second.start.params == {"m": "b"}


def test_one_bad_cell_is_told_and_hides_no_number_of_its_column() -> None:
    runs = rows_of("m | acc", "a | 0.5", "b | diverged", "c | 0.7")
    assert values(runs) == [{"acc": 0.5}, {}, {"acc": 0.7}]
    assert (runs[1].start.params, runs[1].start.tags["page.cell.acc"]) == ({"m": "b"}, "diverged")


def test_a_column_that_is_mostly_words_is_a_param() -> None:
    runs = rows_of("acc | loss", "good | 1", "bad | 2", "0.5 | 3")
    assert values(runs) == [{"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0}]
    assert runs[2].start.params == {"acc": "0.5"}


def test_missing_cells_are_empty_and_extra_ones_are_kept_as_tags() -> None:
    first, second = rows_of("m | acc | note", "a", "b | 0.5 | x | y | z")
    assert (values([first]), first.start.params) == ([{}], {"m": "a"})
    assert (values([second]), second.start.params) == ([{"acc": 0.5}], {"m": "b", "note": "x"})
    assert second.start.tags["page.cell.column 4"] == "y"
    assert second.start.tags["page.cell.column 5"] == "z"


def test_bars_in_cells_belong_to_them() -> None:
    runs = rows_of("op | acc", "a \\| b | 0.5", "`c | d` | 0.7")
    assert [run.start.params["op"] for run in runs] == ["a | b", "c | d"]
    assert values(runs) == [{"acc": 0.5}, {"acc": 0.7}]


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e-3"])
def test_odd_numbers_are_taken_as_printed(cell: str) -> None:
    (run,) = rows_of("m | loss", f"a | {cell}")
    assert run.curves["loss"].points[0][1] == repr(float(cell))
    assert run.curves["loss"].decimals == (None if "e" in cell else 0)


@pytest.mark.parametrize("cell", ["1,234", "84 (best)", "v2", "84.1.2", "84 85", "八"])
def test_what_is_not_all_a_number_is_none(cell: str) -> None:
    second = rows_of("m | loss", "a | 1", f"b | {cell}")[1]
    assert second.curves == {}
    assert second.start.tags["page.cell.loss"] == cell


@pytest.mark.parametrize("cell", ["~84.10", "84.10*", "84.10†", "$84.10$", "84.10 (±0.2)", "84.10 (+1.2)", "**84.10**"])
def test_a_number_with_a_footnote_or_a_doubt_is_a_number(cell: str) -> None:
    (run,) = rows_of("m | acc", f"a | {cell}")
    assert (values([run]), run.curves["acc"].decimals) == ([{"acc": 84.1}], 2)
    assert run.start.tags["page.cell.acc"] == cell


# Columns


@pytest.mark.parametrize(
    ("header", "name", "unit", "rule"),
    [
        ("accuracy", "test/accuracy", "percent", None),
        ("准确率", "test/accuracy", "percent", None),
        ("测试集准确率", "test/accuracy", "percent", None),
        ("训练准确率（%）", "train/accuracy", "percent", None),
        ("**Val Acc**", "val/accuracy", "percent", None),
        ("`accuracy`", "test/accuracy", "percent", None),
        ("accuracy (%)", "test/accuracy", "percent", None),
        ("accuracy [%] ↑", "test/accuracy", "percent", None),
        ("accuracy<br>(%)", "test/accuracy", "percent", None),
        ("best accuracy", "test/accuracy", "percent", "best"),
        ("Best val acc (%)", "val/accuracy", "percent", "best"),
        ("最佳准确率", "test/accuracy", "percent", "best"),
        ("final loss", "test/loss", None, "last"),
        ("mean accuracy", "test/accuracy", "percent", "mean"),
        ("mean IoU", "test/miou", "percent", None),
        ("top-5 accuracy", "test/accuracy_top5", "percent", None),
        ("time (min)", "time", "min", None),
        ("use time", "epoch_time", "s", None),
        ("PSNR", "test/psnr", None, None),
    ],
)
def test_a_header_says_what_its_column_is(header: str, name: str, unit: str | None, rule: str | None) -> None:
    (run,) = rows_of(f"配置 | {header}", "a | 42.5")
    (curve,) = run.curves.values()
    assert (curve.metric.name, curve.metric.unit, curve.metric.rule) == (name, unit, rule)
    assert run.start.params == {"配置": "a"}


@pytest.mark.parametrize("header", ["batch size", "params (M)", "seed", "lr", "学习率", "epoch", "year", "dropout"])
def test_numbers_that_state_no_result_are_params(header: str) -> None:
    (run,) = rows_of(f"{header} | accuracy", "0.10 | 0.5")
    assert list(run.curves) == ["accuracy"]
    assert run.start.params == {header: "0.10"}


@pytest.mark.parametrize("header", ["score", "Score (mine)", "得分", "lr", "**score**"])
def test_a_person_says_which_columns_hold_results(header: str) -> None:
    assert rows_of(f"m | {header}", "a | 0.5") == []
    plain = header.strip("*")
    (run,) = rows_of(f"m | {header}", "a | 0.5", columns=(plain,))
    assert values([run]) == [{plain: 0.5}]


def test_a_fraction_stays_a_fraction() -> None:
    assert units(rows_of("m | acc", "a | 0.876", "b | 1"), "acc") == ["fraction", "fraction"]


def test_the_unit_of_a_column_is_that_of_all_its_numbers() -> None:
    assert units(rows_of("m | acc", "a | 0.9", "b | 87.6"), "acc") == ["percent", "percent"]


def test_a_cell_that_names_its_unit_speaks_for_itself_alone() -> None:
    assert units(rows_of("m | acc", "a | 93.1%", "b | 0.92"), "acc") == ["percent", "fraction"]
    assert units(rows_of("m | time (s)", "a | 93.1", "b | 2 min", "c | 10ms"), "time (s)") == ["s", "min", "ms"]


def test_a_header_twice_is_two_columns() -> None:
    (run,) = rows_of("acc | acc | note | note", "0.5 | 0.6 | x | y")
    assert values([run]) == [{"acc": 0.5, "acc (2)": 0.6}]
    assert {curve.metric.name for curve in run.curves.values()} == {"test/accuracy"}
    assert run.start.params == {"note": "x", "note (2)": "y"}


def test_a_column_without_a_header_gets_a_number() -> None:
    (run,) = rows_of(" | acc", "a | 0.5")
    assert run.start.params == {"column 1": "a"}


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("name | year", "a | 2014"),
        ("accuracy | note", "good | x"),
        ("loss", "-"),
        ("时间 | 内容", "2.18 | 组会"),
        ("time | room", "10 | B4"),
        ("lr | batch size", "0.1 | 64"),
    ],
)
def test_other_tables_give_no_runs(header: str, row: str) -> None:
    assert rows_of(header, row) == []


def test_a_table_without_rows_gives_no_runs() -> None:
    assert rows_of("m | accuracy") == []
    assert not TableReader(frozenset()).has_results(TableBlock(1, ["accuracy"], [], Place()))


def test_a_table_of_unknown_numbers_may_yet_hold_results() -> None:
    def block(*cells: str) -> TableBlock:
        return TableBlock(1, ["m", "x"], [(3 + i, ["a", cell]) for i, cell in enumerate(cells)], Place())

    assert has_numbers(block("1", "2", "-"))
    assert not has_numbers(block("good", "bad", "1"))
    assert not has_numbers(block())


# Cells


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("`out = self.bn(out) + x `", "out = self.bn(out) + x"),
        ("`a=1`<br>`b=2`", "a=1\nb=2"),
        ("` a=1`  <BR/>  ` b   = 2`", "a=1\nb = 2"),
        ("<br>`a`<br><br>", "a"),
        ("self.bn.bias.data[:]=1", "self.bn.bias.data[:]=1"),
        ("`a * b * c`", "a * b * c"),
        ("a * b * c", "a * b * c"),
        ("`__init__`", "__init__"),
        ("**`x`** and `y`", "**x** and y"),
        ("3*3*64", "3*3*64"),
        ("**`x` y**", "x y"),
        ("*a*", "*a*"),
        ("x<0.5 and y>0.3", "x<0.5 and y>0.3"),
        ("bn\\_s", "bn_s"),
        ("``", ""),
        ("`a", "a"),
        ("", ""),
    ],
)
def test_a_cell_is_kept_canonical(raw: str, expected: str) -> None:
    assert canonical_cell(raw) == expected


def test_a_cell_is_kept_raw_where_it_was_dressed() -> None:
    (run,) = rows_of("config | plain | acc", "` a=1`<br>`b=2` | c | **0.5**")
    assert run.start.params == {"config": "a=1\nb=2", "plain": "c"}
    assert {key: text for key, text in run.start.tags.items() if key.startswith("page.cell")} == {
        "page.cell.config": "` a=1`<br>`b=2`",
        "page.cell.acc": "**0.5**",
    }


@given(st.text())
def test_a_canonical_cell_has_no_stray_blanks(text: str) -> None:
    lines = canonical_cell(text).split("\n")
    assert lines == [""] or all(line and line == " ".join(line.split()) for line in lines)


# The same table twice


def repeated(found: Read) -> list[list[tuple[int, int]]]:
    return [run.repeats for run in found.runs]


def test_the_same_table_twice_gives_its_runs_once_and_both_places() -> None:
    one = table("m | acc", "a | 0.5", "b | 0.6")
    found = read(f"# P\n\n{one}\nonce more\n\n{one}")
    assert [run.start.line for run in found.runs] == [5, 6]
    assert repeated(found) == [[(12, 12)], [(13, 13)]]


def test_a_table_that_differs_only_in_its_dress_is_the_same() -> None:
    found = read(f"# P\n\n{table('m | acc', '`a ` | 0.5')}\n## Q\n\n{table('m | acc', 'a | **0.5**')}")
    assert repeated(found) == [[(11, 11)]]


def test_a_table_with_other_digits_is_another() -> None:
    found = read(f"# P\n\n{table('m | acc', 'a | 0.5')}\n{table('m | acc', 'a | 0.50')}")
    assert repeated(found) == [[], []]


def test_two_equal_rows_of_one_table_are_two_runs() -> None:
    assert repeated(read(f"# P\n\n{table('m | acc', 'a | 0.5', 'a | 0.5')}")) == [[], []]


# Whatever a table holds

CELLS = st.lists(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=12), max_size=4), max_size=4)


@given(st.lists(st.sampled_from(["acc", "loss (%)", "time", "m", "", "best acc", "(", "[%"]), min_size=1), CELLS)
def test_any_cells_can_be_read(header: list[str], body: list[list[str]]) -> None:
    block = TableBlock(1, header, [(3 + i, cells) for i, cells in enumerate(body)], Place())
    events = list(TableReader(frozenset({"m"})).runs(block, 0, "t"))
    assert len(events) in (0, 2 * len(body))


N = 2000


@pytest.mark.parametrize(
    "text",
    [
        table("acc (" + " " * N + "x", "1"),
        table("acc " + "(" * N, "1"),
        table("acc", "1" + " " * N + "x"),
        table("acc", "1" * N + "x"),
        table("acc", "`" * N),
        table("acc", "*a " * N),
        table("acc", "**" * N + "x"),
        table("acc", "<br" * N),
        table("acc", "<br" + " " * N),
        table("acc | b", *["`a | 1"] * N),
        table("acc", *["1"] * N),
    ],
)
def test_no_table_takes_long_to_read(text: str) -> None:
    began = time.process_time()
    read(f"# P\n\n{text}")
    reader = TableReader(frozenset())
    for block in scan(text).blocks:
        assert isinstance(block, TableBlock)
        list(reader.runs(block, 0, "t"))
    assert time.process_time() - began < 1
