"""Every format of one table that has everything, and what programs that read the format make of it.

What each is to be stands in tests/data/golden; `python tests/test_reports_golden.py` writes it anew, to be looked at.
"""

import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import requires
from docutils import nodes
from docutils.core import publish_doctree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from expdb.errors import UsageError
from expdb.records import Cell, Column, Table
from expdb.reports import render
from expdb.reports.latex import escaped, label
from expdb.reports.text import lines, one_line

GOLDEN = Path(__file__).parent / "data" / "golden"
FILES = {
    "plain": ("plain", None, "txt"),
    "github": ("markdown", None, "md"),
    "typora": ("markdown", "typora", "md"),
    "latex": ("latex", None, "tex"),
    "html": ("html", None, "html"),
    "rst": ("rst", None, "rst"),
    "csv": ("csv", None, "csv"),
    "json": ("json", None, "json"),
}


def mean(value: float, std: float | None, n: int, of: int, diverged: int = 0, moved: int | None = None) -> Cell:
    return Cell(value, 1, "percent", False, std, n, of, diverged, moved=moved, says_n=n < of)


EVERYTHING = Table(
    title="Residual branches: sum & product, 100 % of *Caltech101*",
    columns=(
        Column("配置", "config"),
        Column("lr", "lr"),
        Column("n", "n", numeric=True),
        Column("准确率 (best)", "best(test/accuracy)", True, "percent", "test/accuracy", "max"),
        Column("准确率 (last)", "last(test/accuracy)", True, "percent", "test/accuracy", "max"),
        Column("loss", "last(train/loss)", True, None, "train/loss", "min"),
        Column("paper's", "last(paper)", True, "percent", "paper", "max"),
    ),
    rows=(
        (
            Cell("out = self.bn(out) + self.shortcut(x)"),
            Cell("0.1"),
            Cell(3),
            Cell(87.62, 1, "percent", std=0.31, n=3, of=3, bold=True),
            mean(86.0, 1.25, 3, 3, moved=0),
            Cell(0.0512, 4, bold=True),
            Cell(87.62, 2, "percent", reported=True),
        ),
        (
            Cell("self.bn_s.bias.data[:]=1\nno weight decay; 50% dropout"),
            Cell("1e-3"),
            Cell(4),
            mean(9.5, 0.0, 3, 4, diverged=1),
            mean(84.1, 11.5, 3, 4, diverged=1, moved=2),
            Cell(math.nan, 4, diverged=1),
            Cell(85.0, 1, "percent"),
        ),
        (
            Cell("残差网络 <b>{{ x }}</b> | #2 $5 \\alpha~^_`"),
            Cell(None),
            Cell(1),
            Cell(84.1, 1, "percent", n=1, of=1),
            Cell(84.1, 1, "percent", n=1, of=1, moved=-1),
            Cell(-1.5, 4),
            Cell(None),
        ),
    ),
    rules=("best: the greatest test/accuracy of all steps", "mean ± standard deviation (sample, n − 1) over n runs"),
)

SIGNS = st.sampled_from(
    [
        *"\\`*_[]~$<>&|{}()#+-=.!:;,?\"'^@/%  a1中é\u3000\u2028†±—",
        *("{{", "{%", "#}", "--", "---", "...", "``", "''", "<<", ">>", "~~", "&amp;", "<br>", "<!--", "-->", "</td>"),
        *(
            "\n",
            "\\\\",
            "\\begin{x}",
            "$$",
            "::",
            ".. x::",
            "_a_",
            "|a|",
            "1. ",
            "- ",
            "a_",
            "`a`_",
            ">>> ",
            "http://a.b/",
        ),
    ]
)
FOREIGN = st.one_of(st.lists(SIGNS, max_size=8).map("".join), st.text(st.characters(exclude_categories=()), max_size=8))


def one_cell(text: str, numeric: bool = False) -> Table:
    return Table((Column("t", "t", numeric),), ((Cell(text),),))


@pytest.mark.parametrize("name", FILES)
def test_a_table_that_has_everything_is_in_each_format_what_it_was(name: str) -> None:
    format_name, style, suffix = FILES[name]
    wanted = (GOLDEN / f"{name}.{suffix}").read_bytes().decode("utf-8")
    assert render(EVERYTHING, format_name, style) == wanted


def test_a_style_is_of_markdown() -> None:
    with pytest.raises(UsageError, match="no style called 'x'; there are github, typora"):
        render(EVERYTHING, "markdown", "x")
    with pytest.raises(UsageError, match="of Markdown, not of csv"):
        render(EVERYTHING, "csv", "typora")


# Markdown as Typora writes it


def test_typora_pads_to_sixty_columns_at_most() -> None:
    long, short = "配" * 31, "配" * 3
    table = Table((Column("a", "a"), Column("b", "b", numeric=True)), ((Cell(long), Cell(1)), (Cell(short), Cell(22))))
    assert render(table, "markdown", "typora").splitlines() == [
        f"| a{' ' * 59} | b   |",
        f"| {'-' * 60} | --- |",
        f"| {long} | 1   |",
        f"| {short}{' ' * 54} | 22  |",
    ]


@given(FOREIGN)
def test_typora_shows_what_github_shows(value: str) -> None:
    parser = MarkdownIt("commonmark").enable("table")
    github, typora = (parser.render(render(one_cell(value), "markdown", style)) for style in ("github", "typora"))
    assert typora == github.replace(' style="text-align:left"', "")


# HTML


class _Reader(HTMLParser):
    """The tags of a fragment, properly nested, and the text of its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "br":
            self.handle_data("\n")
        elif tag != "wbr":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def read_html(text: str) -> _Reader:
    found = _Reader()
    found.feed(text)
    found.close()
    assert not found.open
    return found


KNOWN_TAGS = {
    *("div", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li"),
    *("br", "wbr", "code", "strong", "sup", "span"),
}


@given(FOREIGN, st.booleans())
def test_html_shows_any_text_as_it_is_and_holds_no_other_tags(value: str, numeric: bool) -> None:
    table = Table((Column(value, "t", numeric), Column("u", "u")), ((Cell("a"), Cell(value)),), value, (value,))
    text = render(table, "html")
    found = read_html(text)
    assert found.tags <= KNOWN_TAGS
    assert found.cells[0] == one_line(value)
    assert found.cells[3] == "\n".join(lines(value))
    # What opens a tag of a template engine is nowhere, not even when its characters are no entities any more.
    assert not {"{{", "{%", "{#"} & {text[i : i + 2] for i in range(len(text))}


def test_html_names_its_rows_and_columns_for_those_who_hear_it() -> None:
    text = render(EVERYTHING, "html")
    assert text.count('<th scope="col"') == 7
    assert text.count('<th scope="row"') == 3
    assert "<caption>" in text
    assert '<span aria-label="missing">—</span>' in text
    assert '<sup title="‡ diverged' in text


# reStructuredText


def rst_cells(text: str) -> list[str]:
    """What docutils reads in each cell; any complaint of it is an error."""
    settings_of = {"report_level": 2, "halt_level": 2, "file_insertion_enabled": False, "raw_enabled": False}
    tree = publish_doctree(text, settings_overrides={**settings_of, "warning_stream": False})
    return ["\n".join(node.astext() for node in _lines(entry)) for entry in tree.findall(nodes.entry)]


def _lines(entry: nodes.Node) -> Iterator[nodes.Node]:
    for node in entry.findall():
        # What docutils remarks below a warning is not shown.
        if isinstance(node, nodes.paragraph | nodes.line) and not isinstance(node.parent, nodes.system_message):
            yield node


@given(FOREIGN)
@example("\\" * 4)
def test_rst_shows_any_text_as_it_is(value: str) -> None:
    found = rst_cells(render(one_cell(value), "rst"))
    # docutils takes other blanks for blanks, and joins them.
    assert [" ".join(cell.split()) for cell in found] == ["t", " ".join("\n".join(lines(value)).split())]


def test_rst_shows_means_marks_and_the_best() -> None:
    text = render(EVERYTHING, "rst")
    found = rst_cells(text)
    assert len(found) == 28
    assert found[10] == "87.6 ± 0.3"
    assert found[17] == "9.5 ± 0.0 (n=3 of 4, 1 diverged)"
    assert found[18] == "84.1 ± 11.5 ↑2 (n=3 of 4, 1 diverged)"
    assert found[19] == "nan‡"
    assert found[14] == "self.bn_s.bias.data[:]=1\nno weight decay; 50% dropout"


# LaTeX

# Paper on which any table has room; cmap, so that what is set can be read back.
PREAMBLE = r"""\documentclass{article}
\usepackage{cmap}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage[paperwidth=60in,paperheight=40in]{geometry}
"""


def compiled(body: str) -> str:
    """What pdfLaTeX sets, as text; any error of it is one."""
    requires("latex", shutil.which("pdflatex"), "pdflatex is not installed (texlive-latex-recommended)")
    with tempfile.TemporaryDirectory() as folder:
        document = f"{PREAMBLE}\\pagestyle{{empty}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
        Path(folder, "a.tex").write_text(document, encoding="utf-8")
        words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
        done = subprocess.run(words, capture_output=True, cwd=folder, timeout=60, check=False)
        assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-2000:]
        log = Path(folder, "a.log").read_text(encoding="latin-1")
        assert "LaTeX Warning: Command" not in log
        assert "Missing character" not in log
        if not shutil.which("pdftotext"):
            return ""
        read = ["pdftotext", "-raw", "a.pdf", "-"]
        return subprocess.run(read, capture_output=True, cwd=folder, check=True, encoding="utf-8").stdout


ASCII_EVERYTHING = Table(
    columns=tuple(
        Column(c.title.replace("配置", "config").replace("准确率", "accuracy"), c.expression, c.numeric, c.unit)
        for c in EVERYTHING.columns
    ),
    rows=(
        *EVERYTHING.rows[:2],
        (Cell("[a] *b* <c> | #2 $5 \\alpha~^_` 'q' \"q\" -- --- ,, ?` !` << >>"), *EVERYTHING.rows[2][1:]),
    ),
    title="Sums & products: 100 % of \\alpha_1 {#3}",
    rules=EVERYTHING.rules,
)


def test_latex_is_set_by_a_real_latex_and_shows_what_it_is_to_show() -> None:
    shown = compiled(render(ASCII_EVERYTHING, "latex"))
    if not shown:
        return
    for words in (
        "Table 1: Sums & products: 100 % of \\alpha_1 {#3}",
        "out = self.bn(out) + self.shortcut(x)",
        "self.bn_s.bias.data[:]=1",
        "no weight decay; 50% dropout",
        "87.6 ± 0.3",
        "(n=3 of 4, 1 diverged)",
        "↑2",
        "−1.5000",
        "—",
    ):
        assert words in shown
    assert "[a] *b* <c> | #2 $5 \\alpha~^_`" in shown
    assert '"q" -- --- ,, ?` !` << >>' in shown


def test_latex_sets_every_sign_that_is_ascii_and_letters_with_accents() -> None:
    signs = "".join(chr(code) for code in range(0x21, 0x7F))
    rows = [signs, *(f"{sign}{sign} {sign}x" for sign in signs), "Größe, déjà vu, naïve, łódź, Ærø"]
    table = Table((Column("text", "t"), Column("x", "x")), tuple((Cell(row), Cell(row)) for row in rows[:50]))
    other = Table((Column("text", "t"),), tuple((Cell(row),) for row in rows[50:]))
    shown = compiled(render(table, "latex") + render(other, "latex"))
    # The straight quote of a roman font is curly.
    assert not shown or signs.replace("'", "’") in shown.replace("'", "’")


@settings(max_examples=1)
@given(st.lists(st.lists(SIGNS, max_size=8).map("".join), min_size=40, max_size=40))
def test_latex_sets_any_text_of_signs(values: list[str]) -> None:
    ascii_values = ["".join(c for c in value if c.isascii() or c in "é†±—") for value in values]
    rows = tuple((Cell(value), Cell("x")) for value in ascii_values)
    compiled(
        render(
            Table((Column(ascii_values[0], "t"), Column("x", "x")), rows, ascii_values[1], (ascii_values[2],)), "latex"
        )
    )


@given(FOREIGN)
def test_no_sign_of_latex_stays_alone(value: str) -> None:
    text = escaped(one_line(value))
    bare = text.replace("\\\\", "")
    assert bare.count("{") - bare.count("\\{") == bare.count("}") - bare.count("\\}")
    for sign in "#%&_":
        assert text.count(sign) == text.count(f"\\{sign}")
    assert "~" not in text.replace("\\textasciitilde", "") or "\u00a0" in value
    assert "--" not in text.replace("---", "") or {"–", "—"} & set(value)


def test_latex_says_what_its_preamble_needs() -> None:
    first = [render(one_cell(text), "latex").split("\\begin")[0] for text in ("a", "é", "中")]
    assert first[0] == "% \\usepackage{booktabs}\n"
    assert first[1] == "% \\usepackage{booktabs}\n% \\usepackage[T1]{fontenc}\n"
    assert "ctex" in first[2] and "XeLaTeX" in first[2]


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("Two losses", "tab:two-losses"),
        ("两个 losses!", "tab:losses"),
        ("a " * 20, "tab:a-a-a-a-a-a"),
        ("", "tab:e3b0c442"),
    ],
)
def test_a_label_is_made_of_the_caption(caption: str, said: str) -> None:
    assert label(caption) == said


def test_captions_in_other_letters_have_labels_of_their_own() -> None:
    assert label("准确率") != label("损失")
    assert label("准确率").isascii()


# CSV and JSON


def test_csv_has_a_column_for_each_part_of_a_mean() -> None:
    header = render(EVERYTHING, "csv").splitlines()[0].split(",")
    words = (" (%)", " std (%)", " n", " of", " diverged")
    parts = [f"准确率 ({rule}){part}" for rule in ("best", "last") for part in words]
    assert header == ["配置", "lr", "n", *parts, "loss", "loss diverged", "paper's (%)"]


def write() -> None:
    """Write what each format is now."""
    for name, (format_name, style, suffix) in FILES.items():
        (GOLDEN / f"{name}.{suffix}").write_bytes(render(EVERYTHING, format_name, style).encode("utf-8"))


if __name__ == "__main__":
    write()
