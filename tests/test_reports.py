"""Reports: what a person reads is aligned, complete and harmless; what a program reads is the same data."""

import csv
import io
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from expdb.errors import UsageError
from expdb.records import Cell, Column, Table, Unit
from expdb.reports import FORMATS, format_of, render, text
from expdb.reports.layout import MARK, MARK_RULES, heading, printed
from expdb.reports.output import write
from expdb.reports.terminal import MOST_ROWS, print_table

RESULTS = Table(
    title="CIFAR-10 *results*",
    columns=(
        Column("run", "name"),
        Column("best(test/accuracy)", "best(test/accuracy)", numeric=True, unit="percent"),
        Column("time", "last(time)", numeric=True, unit="min"),
        Column("change", "tag.change"),
    ),
    rows=(
        (Cell("ResNet-18"), Cell(84.1, 2, "percent"), Cell(12.0), Cell("self.bn_s.bias.data[:]=1\r\nno warm-up")),
        (Cell("残差网络"), Cell(9.5, 1, "percent", reported=True), Cell(None), Cell("a|b, \x1b[31m {{ x }}")),
        (Cell("-"), Cell(math.nan, 2, "percent"), Cell(3.25), Cell("R&D, $5 -- <b>")),
    ),
    rules=("best(test/accuracy): the greatest value of the curve",),
)

PLAIN = r"""
CIFAR-10 *results*

run        best(test/accuracy) (%)  time (min)  change
---------  -----------------------  ----------  ------------------------------------
ResNet-18                   84.10           12  self.bn_s.bias.data[:]=1; no warm-up
残差网络                      9.5†           —  a|b, \x1b[31m {{ x }}
-                             nan         3.25  R&D, $5 -- <b>

# best(test/accuracy): the greatest value of the curve
# † reported on a page, without its curve
"""

MARKDOWN = r"""
**CIFAR-10 \*results\***

| run       | `best(test/accuracy) (%)` | time (min) | change                                      |
| :-------- | ------------------------: | ---------: | :------------------------------------------ |
| ResNet-18 |                     84.10 |         12 | `self.bn_s.bias.data[:]=1`<br>no warm-up    |
| 残差网络  |                      9.5† |          — | a&#124;b, \\x1b\[31m &#123;<wbr>&#123; x }} |
| \-        |                       nan |       3.25 | R&amp;D, \$5 \-\- &lt;b&gt;                 |

*best(test/accuracy): the greatest value of the curve*

*† reported on a page, without its curve*
"""

CSV = """
run,best(test/accuracy) (%),time (min),change
ResNet-18,84.10,12,"self.bn_s.bias.data[:]=1\r
no warm-up"
残差网络,9.5,,"a|b, \x1b[31m {{ x }}"
-,nan,3.25,"R&D, $5 -- <b>"
"""

JSON = r"""
{
 "title": "t",
 "columns": [
  {
   "title": "loss",
   "expression": "last(train/loss)",
   "unit": null
  },
  {
   "title": "loss (2)",
   "expression": "last(test/loss)",
   "unit": "fraction"
  }
 ],
 "rows": [
  {
   "loss": 0.5,
   "loss (2)": "-inf"
  },
  {
   "loss": null,
   "loss (2)": "中 \u001b \u202e \udc80"
  }
 ],
 "rules": [
  "a rule"
 ]
}
"""

# Every sign that means something to Markdown, HTML, a template engine or a terminal, and any character at all.
SIGNS = st.sampled_from(
    [
        *"\\`*_[]~$<>&|{}()#+-=.!:\"'^@/ a1\t\n\x00\x1b中\u3000\u202e\udc80",
        *("{{", "{%", "#}", "a_b", "x=1", "--", "...", "**", "~~", "\u200d", "&amp;", "\r\n", "](b)", "![", "://"),
        *("http://a.b/", "<br>", "<!--", "</code>", "| - |", "1. "),
    ]
)
FOREIGN = st.one_of(st.lists(SIGNS, max_size=8).map("".join), st.text(st.characters(exclude_categories=()), max_size=8))
NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-(2**60), 2**60))


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy[float | str | None] = FOREIGN) -> Table:
    columns = draw(st.lists(st.builds(Column, FOREIGN, FOREIGN, st.booleans()), min_size=1, max_size=4))
    cells = st.builds(Cell, values, reported=st.booleans())
    rows = draw(st.lists(st.tuples(*[cells] * len(columns)), min_size=1, max_size=4))
    return Table(tuple(columns), tuple(rows), draw(st.none() | FOREIGN), tuple(draw(st.lists(FOREIGN, max_size=2))))


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Show(Protocol):
    """Print a table on a terminal of so many columns; what it wrote."""

    def __call__(self, table: Table, columns: int = 80, **environment: str) -> str: ...


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Show:
    def show(table: Table, columns: int = 80, **environment: str) -> str:
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"COLUMNS": str(columns), "TERM": "xterm-256color", **environment}.items():
            monkeypatch.setenv(name, value)
        file = Terminal()
        print_table(table, file)
        return file.getvalue()

    return show


# The formats


def test_every_format_is_found_by_its_name_and_ends_in_one_line_feed() -> None:
    for name in FORMATS:
        shown = render(RESULTS, name)
        assert shown.endswith("\n")
        assert not shown.endswith("\n\n")


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'xlsx'; there are plain, markdown, csv, json, latex, html, rst"):
        render(RESULTS, "xlsx")


def test_a_suffix_says_its_format_in_either_case() -> None:
    names = ["a.md", "a.MARKDOWN", "x/a.csv", "a.json", "a.tar.txt", "a.TeX", "a.htm", "a.rst", "a.py", "csv"]
    assert [format_of(n) for n in names] == [
        "markdown",
        "markdown",
        "csv",
        "json",
        "plain",
        "latex",
        "html",
        "rst",
        None,
        None,
    ]


def test_plain_text_is_aligned_complete_and_without_colours() -> None:
    assert "\n" + render(RESULTS, "plain") == PLAIN


def test_markdown_is_padded_as_typora_does_and_escaped_for_four_engines() -> None:
    assert "\n" + render(RESULTS, "markdown") == MARKDOWN


def test_csv_keeps_printed_decimals_and_foreign_text() -> None:
    assert "\n" + render(RESULTS, "csv") == CSV


def test_json_keeps_titles_apart_and_numbers_numbers() -> None:
    columns = (Column("loss", "last(train/loss)", True), Column("loss", "last(test/loss)", True, "fraction"))
    rows = ((Cell(0.5, 3), Cell(-math.inf)), (Cell(None), Cell("中 \x1b \u202e \udc80")))
    assert "\n" + render(Table(columns, rows, "t", ("a rule",)), "json") == JSON


def test_a_table_without_rows_still_says_what_it_is() -> None:
    empty = Table(RESULTS.columns[:2], (), "t", ("r",))
    assert render(empty, "plain") == ("t\n\nrun  best(test/accuracy) (%)\n---  -----------------------\n\n# r\n")
    assert render(empty, "markdown") == "**t**\n\n*no rows*\n\n*r*\n"
    assert render(empty, "csv") == "run,best(test/accuracy) (%)\n"
    assert json.loads(render(empty, "json"))["rows"] == []


# What all formats say alike


@pytest.mark.parametrize(
    ("title", "unit", "shown"),
    [
        ("accuracy", "percent", "accuracy (%)"),
        ("top-5 (%)", "percent", "top-5 (%)"),
        ("accuracy", "fraction", "accuracy"),
        ("loss", None, "loss"),
        ("time", "s", "time (s)"),
        ("time (ms)", "ms", "time (ms)"),
        ("epoch", "min", "epoch (min)"),
    ],
)
def test_a_heading_says_its_unit_once(title: str, unit: Unit | None, shown: str) -> None:
    assert heading(Column(title, title, True, unit)) == shown


def test_reported_numbers_are_marked_only_where_a_column_mixes_them_with_measured_ones() -> None:
    columns = (Column("all", "a", True), Column("some", "b", True))
    rows = ((Cell(1.0, reported=True), Cell(2.0, reported=True)), (Cell(3.0, reported=True), Cell(4.0)))
    table = Table(columns, rows)
    assert [column.marks for column in printed(table).columns] == [(), ["†", ""]]
    for name in ("plain", "markdown"):
        assert "2†" in render(table, name)
        assert "1†" not in render(table, name)
        assert MARK_RULES["en"][MARK] in render(table, name)
    assert MARK_RULES["en"][MARK] not in render(Table(columns[:1], tuple(row[:1] for row in rows)), "plain")


def test_a_missing_number_neither_makes_a_column_mixed_nor_gets_a_mark() -> None:
    rows = ((Cell(1.0, reported=True),), (Cell(None),), (Cell(None, reported=True),))
    assert "†" not in render(Table((Column("a", "a", True),), rows), "plain")
    mixed = printed(Table((Column("a", "a", True),), (*rows, (Cell(2.0),))))
    assert mixed.columns[0].marks == ["†", "", "", ""]


# Text and numbers


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (Cell(84.1, 2), "84.10"),
        (Cell(84.1, 0), "84"),
        (Cell(0.1), "0.1"),
        (Cell(3.0), "3"),
        (Cell(3), "3"),
        (Cell(2**60), "1152921504606846976"),
        (Cell(1e-07), "1e-07"),
        (Cell(1e16), "1e+16"),
        (Cell(-0.0), "-0"),
        (Cell(math.nan, 2), "nan"),
        (Cell(math.nan), "nan"),
        (Cell(-math.inf, 3), "-inf"),
        (Cell(math.inf), "inf"),
        (Cell(None, 2), "—"),
        (Cell("84.10 ± 0.2", 1), "84.10 ± 0.2"),
    ],
)
def test_a_number_shows_as_it_was_printed(cell: Cell, shown: str) -> None:
    assert text.number(cell) == shown


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (Cell(0.5, 10), "0.5000000000"),
        (Cell(0.51234567890123456, 17), "0.51235"),
        (Cell(91.23456789012345), "91.23457"),
        (Cell(-0.00012345678901234, 17), "-0.00012346"),
        (Cell(1.2345678901234e-07), "1.2346e-07"),
        (Cell(1.2345678901234e22), "1.2346e+22"),
        (Cell(12345678.5), "12345678.5"),
        (Cell(math.nan, 17), "nan"),
        (Cell(None, 17), "—"),
        (Cell("0.51234567890123456"), "0.51234567890123456"),
    ],
)
def test_all_the_digits_of_a_float_are_five_for_the_eye(cell: Cell, shown: str) -> None:
    assert text.brief(cell) == shown


def test_a_file_of_values_keeps_every_digit_that_a_table_leaves_out() -> None:
    table = Table((Column("loss", "loss", numeric=True),), ((Cell(0.5123456789012346, 16),),))
    assert "0.5123456789012346" in render(table, "csv")


@given(st.floats(allow_nan=False))
def test_a_number_without_decimals_reads_back_as_itself(value: float) -> None:
    assert float(text.number(Cell(value))) == value


def test_characters_that_act_are_shown_as_their_escapes() -> None:
    assert text.visible("\x1b[31m\x00\t\r\n\x9b\x7f") == r"\x1b[31m\x00\t\r\n\x9b\x7f"
    assert text.visible("a\u202eb\u2066\u200f\ufeff\u2028") == r"a\u202eb\u2066\u200f\ufeff\u2028"
    assert text.visible("gb\udcce\udcc4 \ud800") == r"gb\xce\xc4 \ud800"


@pytest.mark.parametrize(
    "ordinary", ["", "ResNet-18 ± 0.1", "残差网络\u3000二", "é\u00a0e\u0301", "👩\u200d🔬", "می\u200cخواهم"]
)
def test_ordinary_text_is_returned_as_the_same_object(ordinary: str) -> None:
    assert text.visible(ordinary) is ordinary


@given(FOREIGN)
def test_visible_text_can_be_encoded_and_stays_as_it_is(value: str) -> None:
    shown = text.visible(value)
    shown.encode()
    assert text.visible(shown) is shown
    assert text.one_line(value).splitlines() in ([], [text.one_line(value)])


@given(FOREIGN.map(text.visible), st.integers(0, 12), st.booleans())
def test_widths_agree_with_the_terminal_library_and_padding_reaches_them(value: str, columns: int, right: bool) -> None:
    assert text.width(value) == cell_len(value)
    assert text.width(text.pad(value, columns, right)) == max(columns, cell_len(value))


@given(FOREIGN.map(text.visible), st.integers(0, 12))
def test_cut_text_fits_and_begins_like_the_text(value: str, columns: int) -> None:
    short = text.cut(value, columns)
    assert text.width(short) <= columns or short == value == ""
    assert short == value or columns == 0 or (short.endswith("…") and value.startswith(short[:-1]))


def test_a_joiner_that_joins_nothing_is_shown() -> None:
    assert text.visible("\u200d\u200d👩\u200d🔬\u200d a\u200db") == "\\u200d\\u200d👩\u200d🔬\\u200d a\\u200db"


def test_a_cut_never_halves_a_wide_character() -> None:
    assert text.cut("👩\u200d🔬👩\u200d🔬", 3) == "👩\u200d🔬…"
    assert [text.cut("残差网络", n) for n in (8, 7, 6, 2, 1, 0)] == ["残差网络", "残差网…", "残差…", "…", "…", ""]


def test_a_value_has_its_lines_without_the_blank_ones() -> None:
    assert text.lines("  a\r\n\n\u3000\n\tb \n") == ["a", "b"]
    assert text.one_line("a\n\x0b\nb") == r"a; \x0b; b"
    assert text.lines(" ") == text.lines("") == []


def test_importing_the_text_room_does_not_import_rich() -> None:
    code = "import sys, expdb.reports.text, expdb.reports.terminal as t; assert 'rich' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_piped_table_with_a_missing_number_does_not_import_rich() -> None:
    code = (
        "import sys; from expdb.records import *; from expdb.reports.terminal import print_table as p\n"
        "p(Table((Column('a', 'a'),), ((Cell(None),),))); assert 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, "a\n-\n—\n")


@pytest.mark.parametrize(
    ("values", "columns", "shown"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 20, "▁▂▃▄▅▆▇█"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([0.1, 0.1, 0.1], 5, "▄▄▄"),
        ([0.1] * 20, 3, "▄▄▄"),
        ([sys.float_info.max] * 7 + [0.0], 2, "█▁"),
        ([0, math.nan, 7], 5, "▁ █"),
        ([0, math.inf, 7, -math.inf], 5, "▁██▁"),
        ([math.nan, math.nan], 5, "  "),
        ([math.inf, -math.inf], 5, "█▁"),
        ([1e308, -1e308], 5, "█▁"),
        ([0.0, 5e-324], 5, "▄▄"),
        ([], 5, ""),
        ([1.0], 0, ""),
    ],
)
def test_a_sparkline_shows_the_curve(values: list[float], columns: int, shown: str) -> None:
    assert text.sparkline(values, columns) == shown


@given(st.lists(st.floats(), max_size=50), st.integers(0, 20))
def test_a_sparkline_has_one_character_for_each_value_or_column(values: list[float], columns: int) -> None:
    assert len(text.sparkline(values, columns)) == min(len(values), columns)


# Plain text


@given(tables(st.one_of(NUMBERS, FOREIGN)))
def test_plain_columns_align_and_no_line_ends_in_a_blank(table: Table) -> None:
    shown = render(table, "plain")
    shown.encode()
    assert not any(line.endswith(" ") for line in shown.split("\n"))
    body = shown.split("\n")[2 if printed(table).title else 0 :][: len(table.rows) + 2]
    assert set(body[1]) <= set("- ")
    assert max(map(text.width, body)) == text.width(body[1])


@given(st.lists(st.tuples(st.floats(), st.integers(0, 4)), min_size=1))
def test_plain_numbers_end_in_one_column(numbers: list[tuple[float, int]]) -> None:
    rows = tuple((Cell("a" * decimals), Cell(value, decimals)) for value, decimals in numbers)
    shown = render(Table((Column("text", "t"), Column("number", "n", True)), rows), "plain")
    assert len({len(line) for line in shown.splitlines()}) == 1


@pytest.mark.parametrize(("rows", "limit_s"), [(1_000, 0.3), (10_000, 3.0)])
def test_plain_lays_out_many_rows_in_time(rows: int, limit_s: float) -> None:
    # 6 and 61 ms where nothing else runs and no coverage is measured; what must not come is a square of the rows.
    columns = (Column("run", "name"), *(Column(f"m{i}", f"last(m{i})", True, "percent") for i in range(9)))
    table = Table(
        columns, tuple((Cell(f"run-{r}"), *(Cell(r * 0.37 + i, 2, "percent") for i in range(9))) for r in range(rows))
    )
    seconds = []
    for _ in range(5):
        start = time.process_time()
        render(table, "plain")
        seconds.append(time.process_time() - start)
    assert min(seconds) < limit_s


# Markdown


def cells_of(markdown: str) -> list[list[str]]:
    """The cells a CommonMark parser with tables reads: text as shown, `<br>` as a line feed."""
    rows: list[list[str]] = []
    current: list[str] | None = None
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            current = rows[-1]
        elif token.type in ("th_close", "td_close"):
            current = None
        elif token.type == "inline" and current is not None:
            assert token.children is not None
            assert {child.type for child in token.children} <= {"text", "code_inline", "html_inline"}
            breaks = {"<br>": "\n", "<wbr>": ""}
            shown = (breaks[c.content] if c.type == "html_inline" else c.content for c in token.children)
            current.append("".join(shown))
    return rows


@given(tables())
def test_whatever_the_text_markdown_shows_exactly_its_cells(table: Table) -> None:
    words = printed(table)
    expected = [[[column.heading] for column in words.columns]]
    expected += [[text.lines(column.cells[row]) for column in words.columns] for row in range(len(table.rows))]
    marks = [[False] * len(words.columns)]
    marks += [[bool(c.marks and c.marks[row]) for c in words.columns] for row in range(len(table.rows))]
    shown = cells_of(render(table, "markdown"))
    assert [[[line.strip() for line in cell.split("\n")] for cell in row] for row in shown] == [
        [
            [line.strip() for line in ("\n".join(cell) + "†" * mark).strip().split("\n")]
            for cell, mark in zip(row, marked, strict=True)
        ]
        for row, marked in zip(expected, marks, strict=True)
    ]


@given(tables())
def test_every_line_of_a_markdown_table_has_one_width_and_no_template_tag(table: Table) -> None:
    markdown = render(table, "markdown")
    markdown.encode()
    assert len({text.width(line) for line in markdown.split("\n") if line.startswith("| ")}) == 1
    assert not any(tag in markdown for tag in ("{{", "{%", "{#", "#}"))


@given(FOREIGN, FOREIGN)
def test_a_markdown_title_is_bold_and_a_rule_italic_whatever_they_say(title: str, rule: str) -> None:
    words = printed(Table((), (), title, (rule,)))
    tokens = MarkdownIt("commonmark").enable("strikethrough").parse(render(Table((), (), title, (rule,)), "markdown"))
    paragraphs = [token.children for token in tokens if token.type == "inline"]
    expected = [("strong", words.title)] * bool(words.title) + [("em", "no rows")] + [("em", r) for r in words.rules]
    assert len(paragraphs) == len(expected)
    for children, (kind, shown) in zip(paragraphs, expected, strict=True):
        assert children is not None
        inside = [child for child in children if child.content or child.type not in ("text",)]
        assert (inside[0].type, inside[-1].type) == (f"{kind}_open", f"{kind}_close")
        assert "".join(c.content for c in inside if c.type == "text") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("self.bn_s.bias.data[:]=1", "`self.bn_s.bias.data[:]=1`"),
        ("weight_decay", "`weight_decay`"),
        ("python train.py --lr 0.1", "`python train.py --lr 0.1`"),
        ("a_b | c", r"a\_b &#124; c"),
        ("a_b `c`", r"a\_b &#96;c&#96;"),
        ("x = {{ a_b }}", r"x = &#123;<wbr>&#123; a\_b }}"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("ResNet (ours), 3 runs", "ResNet (ours), 3 runs"),
        ("Top-1(%)", "Top-1(%)"),
        ("准确率", "准确率"),
        ("https://example.org/a-b", "https://example.org/a-b"),
        ("# 1. - +", "# 1. - +"),
        ("-", r"\-"),
        ("~~a~~ ~b~ $x$", r"&#126;&#126;a&#126;&#126; &#126;b&#126; \$x\$"),
        ("wait...", r"wait\.\.\."),
        ("https://a.org/ & b", "https&#58;//a.org/ &amp; b"),
    ],
)
def test_a_line_that_looks_like_code_is_a_code_span_and_all_else_shows_literally(value: str, shown: str) -> None:
    row = render(Table((Column("a", "a"),), ((Cell(value),),)), "markdown").splitlines()[2]
    assert row.removeprefix("| ").removesuffix("|").rstrip() == shown


# CSV and JSON


@given(tables(st.one_of(NUMBERS, FOREIGN)))
def test_csv_reads_back_what_the_cells_say(table: Table) -> None:
    shown = render(table, "csv")
    read = list(csv.reader(io.StringIO(shown, newline=""), strict=True))
    keep = str.maketrans({code: text.visible(chr(code)) for code in range(0xD800, 0xE000)})
    expected = [[heading(column) for column in table.columns]]
    expected += [["" if cell.value is None else text.number(cell) for cell in row] for row in table.rows]
    shown.encode()
    assert read == [[cell.translate(keep) for cell in row] for row in expected]


@given(tables(st.one_of(NUMBERS, FOREIGN)))
def test_json_reads_back_the_same_data(table: Table) -> None:
    shown = render(table, "json")
    shown.encode()
    assert text.visible(shown.replace("\n", "")) == shown.replace("\n", "")
    read = json.loads(shown)
    keys = [column["title"] for column in read["columns"]]
    assert len(set(keys)) == len(keys)
    assert (read["title"], read["rules"]) == (table.title, list(table.rules))
    assert [column["expression"] for column in read["columns"]] == [column.expression for column in table.columns]
    for row, cells in zip(read["rows"], table.rows, strict=True):
        assert list(row) == keys
        for value, cell in zip(row.values(), cells, strict=True):
            odd = isinstance(cell.value, float) and not math.isfinite(cell.value)
            assert value == (str(cell.value) if odd else cell.value)


# The terminal


def test_a_file_that_is_no_terminal_gets_plain_text() -> None:
    file = io.StringIO()
    print_table(RESULTS, file)
    assert file.getvalue() == render(RESULTS, "plain")


def test_standard_output_is_looked_up_when_a_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(RESULTS)
    assert capsys.readouterr().out == render(RESULTS, "plain")


def test_a_terminal_gets_colours_and_dim_marks_unless_no_color_is_set(on_terminal: Show) -> None:
    assert "9.5\x1b[2m†\x1b[0m" in on_terminal(RESULTS)
    assert "9.5†" in on_terminal(RESULTS, NO_COLOR="1")
    assert "\x1b" not in on_terminal(RESULTS, NO_COLOR="1")


def test_on_a_terminal_text_wraps_and_numbers_stay_whole_and_aligned(on_terminal: Show) -> None:
    shown = on_terminal(RESULTS, 60, NO_COLOR="1").splitlines()
    assert max(map(text.width, shown)) <= 60
    first, second = (next(line for line in shown if number in line) for number in ("84.10", "9.5†"))
    assert text.width(first.split("84.10")[0]) + 5 == text.width(second.split("†")[0])
    assert first.endswith("self.bn_s.bias.data[:]=")
    assert any(line.strip() == "1" for line in shown)


def test_a_window_too_narrow_for_the_numbers_gets_plain_text(on_terminal: Show) -> None:
    assert on_terminal(RESULTS, 30) == render(RESULTS, "plain")


def test_more_rows_than_a_person_looks_at_go_plain_on_a_terminal_too(on_terminal: Show) -> None:
    long = Table(RESULTS.columns, RESULTS.rows * (MOST_ROWS // 3 + 1))
    assert on_terminal(long) == render(long, "plain")


def test_markup_and_emoji_codes_in_foreign_text_show_literally(on_terminal: Show) -> None:
    table = Table((Column("[bold]a[/]", "a"),), ((Cell("[red]:smile:[/] \x1b[2J"),),), "[b]t", ("[i]r",))
    shown = on_terminal(table, NO_COLOR="1")
    for literal in ("[bold]a[/]", r"[red]:smile:[/] \x1b[2J", "[b]t", "# [i]r"):
        assert literal in shown


@pytest.mark.parametrize("columns", [40, 50, 60, 80, 120])
def test_no_number_is_cut_at_any_width(on_terminal: Show, columns: int) -> None:
    numbers = [f"{i}.12345678" for i in range(3)]
    table = Table(
        (Column("text", "t"), *(Column(f"a long heading {i}", "x", numeric=True) for i in range(3))),
        ((Cell("word " * 40), *(Cell(float(n), 8) for n in numbers)),) * 2,
    )
    shown = on_terminal(table, columns, NO_COLOR="1")
    assert all(shown.count(number) == 2 for number in numbers)
    assert shown == render(table, "plain") if columns < 45 else max(map(len, shown.splitlines())) <= columns


def test_a_file_whose_name_is_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'页' * 84}.md"
    for text_of_it in ("one", "two"):
        write(text_of_it, path)
        assert path.read_text() == text_of_it and list(tmp_path.iterdir()) == [path]
