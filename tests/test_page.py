"""Report pages: every pasted log and every row of a result table is a run, and nothing else is."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import Read, ReadRun, read

from expdb import parsers
from expdb.errors import InputError
from expdb.parsers import reading
from expdb.parsers.pages.markup import has_captions, has_markup, scan
from expdb.parsers.reading import Reading

DATA = Path(__file__).parent / "data"
LOG = "epoch 1, loss 0.5\nepoch 2, loss 0.4"
TABLE = "| model | accuracy |\n| - | - |\n| a | 0.5 |\n| b | 0.6 |\n"


def data(name: str) -> Read:
    """What expdb makes of a file of tests/data."""
    return read((DATA / name).read_bytes(), path=name)


def lines_of(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").split("\n")


def facts(run: ReadRun) -> tuple[int, int | None, int | None, float, float, int | None]:
    """(epochs, first, last, last test accuracy, best, best at)."""
    curve = run.only("test/accuracy")
    best = max(curve.values)
    steps = curve.steps
    return len(steps), steps[0], steps[-1], curve.values[-1], best, steps[curve.values.index(best)]


# The group report: ten pasted logs, fenced and not, among code and captions

GROUP = [
    ("动物图片十分类", 6, 80, 85, 0.822, 0.822, 85),
    ("Vgg19 · 不加归一化", 17, 83, 99, 0.811, 0.822, 83),
    ("NIN", 14, 86, 99, 0.820, 0.825, 97),
    ("googLeNet · 截断正态初始化加BN", 8, 36, 43, 0.900, 0.900, 42),
    ("googLeNet · 加入裁剪和颜色抖动", 10, 40, 49, 0.899, 0.905, 48),
    ("googLeNet · 加入裁剪和颜色抖动", 8, 92, 99, 0.920, 0.924, 98),
    ("googLeNet · 改成加载预训练权重", 8, 23, 30, 0.941, 0.944, 25),
    ("ResNet", 9, 41, 49, 0.908, 0.908, 49),
    ("ResNet", 8, 43, 50, 0.904, 0.911, 49),
    ("ResNet", 9, 41, 49, 0.949, 0.952, 41),
]


def test_a_group_report_gives_one_run_for_each_block_of_log_lines() -> None:
    found = data("group-report.md")
    assert found.format == "page"
    assert [(run.start.caption, *facts(run)) for run in found.runs] == GROUP
    assert sum(len(run.only("train/loss").points) for run in found.runs) == 97
    assert found.unparsed.count == 0


def test_every_value_of_a_group_report_stands_on_its_line() -> None:
    lines = lines_of("group-report.md")
    for run in data("group-report.md").runs:
        for curve in run.curves.values():
            for step, value, number in curve.points:
                assert number is not None
                line = lines[number - 1]
                assert line.startswith(f"epoch {step},")
                assert f"{curve.metric.label} {float(value):.{curve.decimals}f}" in line


def test_the_runs_of_a_group_report_cover_its_blocks_line_by_line() -> None:
    lines = lines_of("group-report.md")
    for run in data("group-report.md").runs:
        assert all(line.startswith("epoch ") for line in lines[run.start.line - 1 : run.line_last])
        assert not lines[run.start.line - 2].startswith("epoch ")
        assert not lines[run.line_last].startswith("epoch ")


def test_a_group_report_reads_the_same_however_its_lines_end() -> None:
    text = (DATA / "group-report.md").read_text(encoding="utf-8")
    as_it_is = read(text)
    for other in (
        text.replace("\n", "\r\n").encode(),
        text.encode("utf-8-sig"),
        text.encode("gb18030"),
        text.encode("utf-16"),
        text.removesuffix("\n").encode(),
        text.replace("\n```\n", "\n```  \n").encode(),
    ):
        assert read(other) == as_it_is


# The results page: front matter, and one table of nine rows twice

RESULTS = ["87.62", "78.23", "78.69", "78.57", "82.26", "84.10", "84.85", "85.83", "81.57"]


def test_a_results_page_gives_one_run_for_each_row_and_remembers_both_places() -> None:
    found = data("results.md")
    lines = lines_of("results.md")
    first, second = (i for i, line in enumerate(lines, 1) if line.startswith("| 配置"))
    assert found.format == "page"
    assert [run.start.line for run in found.runs] == list(range(first + 2, first + 11))
    assert [run.repeats for run in found.runs] == [[(n, n)] for n in range(second + 2, second + 11)]
    curves = [run.only("test/accuracy") for run in found.runs]
    assert [f"{curve.values[0]:.{curve.decimals}f}" for curve in curves] == RESULTS
    assert {(curve.metric.unit, curve.metric.kind, curve.metric.label) for curve in curves} == {
        ("percent", "reported", "accuracy")
    }


def test_a_results_page_keeps_the_configuration_canonical_and_raw() -> None:
    run = data("results.md").runs[5]
    out = "out = (self.bn(out).sigmoid() + 0.5) * self.bn_s(self.shortcut(x))"
    assert run.start.params == {"配置": f"self.bn_s.bias.data[:]=1\n{out}"}
    assert run.start.tags["page.cell.配置"] == f"`self.bn_s.bias.data[:]=1`  <br>`{out} `"


def test_the_front_matter_and_the_headings_of_a_page_become_tags() -> None:
    found = data("results.md")
    assert [document.title for document in found.documents] == ["Gated shortcuts"]
    tags = {key: text for key, text in found.runs[0].start.tags.items() if not key.startswith("page.cell")}
    assert tags == {
        "page.title": "Gated shortcuts",
        "page.date": "2022-03-04 09:30:00",
        "page.description": "笔记：门控的残差连接",
        "page.cover": "false",
        "page.categories": "Notes",
        "page.tags": "vision, residual networks",
        "page.heading": "Notes / Gating the residual",
        "page.caption": "归一化放在捷径上，门控放在残差上。",
    }


def test_no_password_of_a_page_is_kept() -> None:
    assert "not-for-the-database" in (DATA / "results.md").read_text(encoding="utf-8")
    assert "not-for-the-database" not in repr(data("results.md"))


# Names and places


def test_a_page_names_its_runs_by_heading_and_caption() -> None:
    page = f"# Report\n\n## ResNet\n\nwith bn\n\n```\n{LOG}\n```\n\n## VGG\n\n{TABLE}"
    found = read(page)
    assert [run.start.caption for run in found.runs] == ["ResNet · with bn", "VGG row 1", "VGG row 2"]
    assert [run.start.tags["page.heading"] for run in found.runs] == ["Report / ResNet", *["Report / VGG"] * 2]
    assert found.documents[0].title == "Report"


def test_a_table_without_a_heading_is_named_after_the_page() -> None:
    assert [run.start.caption for run in read(TABLE, path="notes/week 3.md").runs] == ["week 3 row 1", "week 3 row 2"]
    titled = f"---\ntitle: Week three\n---\n{TABLE}"
    assert [run.start.caption for run in read(titled).runs] == ["Week three row 1", "Week three row 2"]


def test_a_log_on_a_page_that_starts_again_within_its_fence_is_two_runs() -> None:
    first, second = read(f"# T\n\n```\n{LOG}\nagain\n{LOG}\n```\n").runs
    assert (first.start.line, first.line_last, second.start.line, second.line_last) == (4, 5, 7, 8)
    assert second.start.reason == "epoch went 2 → 1 at line 7"


def test_blocks_are_never_merged_though_their_epochs_go_on() -> None:
    page = "# T\n\n```\nepoch 1, loss 1\n```\n\n```\nepoch 2, loss 1\n```\n"
    assert [run.start.line for run in read(page).runs] == [4, 8]


def test_lines_not_understood_are_those_within_blocks() -> None:
    found = read(f"# T\n\nwords, 3 of them\n\n```\n{LOG}\nsaved 1\nepoch 3, loss 0.3\n```\n\nmore 4\n")
    assert (found.unparsed.count, found.unparsed.examples) == (1, ((8, "saved 1"),))


def test_a_table_that_expdb_wrote_is_no_source() -> None:
    page = f"# T\n\n{TABLE}\n<!-- expdb table -->\n{TABLE.replace('0.5', '0.7')}<!-- /expdb -->\n"
    assert len(read(page).runs) == 2


# Which files are pages

STAGES = ["".join(f"epoch {e}, loss 1\n" for e in range(first, first + 5)) for first in (1, 6)]


@pytest.mark.parametrize(
    ("text", "format", "runs"),
    [
        (LOG, "log", 1),
        (f"training on cuda\n\n{LOG}\n\nsaved\n", "log", 1),
        (LOG.replace("\n", "\n\n"), "log", 1),
        ("epoch 1 | loss 0.5 | acc 0.1\nepoch 2 | loss 0.4 | acc 0.2\n", "log", 1),
        (f"ResNet\n\n{LOG}\n\nVGG\n\n{LOG}\n", "page", 2),
        (f"# T\n\n{LOG}\n", "page", 1),
        (f"```\n{LOG}\n```\n", "page", 1),
        (f"---\ntitle: x\n---\n{LOG}\n", "page", 1),
        (f"words\n\n{TABLE}", "page", 2),
        ("# seed 0\n\nepoch 1, loss 1\n\nsaved a\n\nepoch 2, loss 1\n\nsaved b\n\nepoch 3, loss 1\n", "log", 1),
        ("Go\n\n" + "\n\nSaved\n\n".join(f"epoch {e}, loss 1" for e in (1, 2, 3)) + f"\n\nGo\n\n{LOG}", "log", 2),
        ("# seed 0\nepoch 1, loss 1\nsaved a\nepoch 2, loss 1\n", "page", 1),
        (f"# T\n\nfrozen\n\n{STAGES[0]}\nthawed\n\n{STAGES[1]}", "page", 2),
    ],
)
def test_a_page_is_told_from_a_log_by_its_content(text: str, format: str, runs: int) -> None:
    found = read(text)
    assert (found.format, len(found.runs)) == (format, runs)


def test_a_log_with_noise_is_read_as_two_runs() -> None:
    found = data("two-runs.log")
    assert found.format == "log"
    assert [(run.start.line, run.line_last) for run in found.runs] == [(4, 8), (11, 13)]
    assert found.runs[0].curves["best so far"].metric.kind == "aside"
    assert found.runs[0].curves["time"].metric.unit == "s"
    assert (found.unparsed.count, found.unparsed.examples[0]) == (2, (1, "using 2 workers, seed 7"))


def test_a_page_whose_first_64_kb_are_prose_is_read_when_a_person_says_so() -> None:
    page = "# T\n\n" + "some words about it\n\n" * 5000 + f"```\n{LOG}\n```\n"
    assert len(page) > reading.SAMPLE_BYTES
    assert len(read(page, as_format="page").runs) == 1


def test_a_page_too_large_to_be_kept_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEEP_BYTES", 1000)
    page = f"# T\n\n```\n{LOG}\n```\n" + "words\n" * 200
    with pytest.raises(InputError, match=r"^big\.md: too large to be read as a page") as refused:
        read(page, path="big.md", as_format="page")
    assert refused.value.hint == "a log of single lines: --as log"


# What is no source at all

PROSE = """# A model

Install version 2.1 or later. Training took 3 hours on 4 cards; accuracy was 93.1 after epoch 90, with a loss of 0.1.

At epoch 30 and 60 the rate falls. Epochs: 90, lr: 0.1

1. Get the data (12 GB).
2. Run `train.py --epochs 90`.

epoch 90

> epochs 30, 60

| option | default |
| ------ | ------- |
| lr     | 0.1     |
| epochs | 90      |

| time | room |
| ---- | ---- |
| 10   | B4   |
"""
CODE = '''"""Train."""
import torch

LR, EPOCHS = 0.1, 20
# epoch 1, loss 0.5, accuracy 0.1


def train(model):
    for epoch in range(EPOCHS):
        loss, accuracy = 0.0, 0.0
        print(f"epoch {epoch}, loss {loss:.4f}, train accuracy {accuracy:.3f}")
    return 0.5, 1e-3
'''
YAML = """---
model: resnet18
epochs: 90
lr: 0.1
loss: 0.5
accuracy: 0.9
optimizer:
  name: sgd
  momentum: 0.9
milestones: [30, 60, 80]
"""
JSON = '{\n  "epoch": 1,\n  "loss": 0.5,\n\n  "accuracy": [0.1, 0.2],\n  "epochs": 90, "lr": 0.1\n}\n'
ACCESS = '10.0.0.1 - - [18/Jul/2024 02:56:55] "GET / HTTP/1.1" 200 12\n' * 20
DIFF = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-epoch 1, loss 0.5\n+epoch 1, loss 0.6\n"
TEX = "\\begin{tabular}{l|r}\nmodel & accuracy \\\\\nResNet & 84.10 \\\\\n\\end{tabular}\n\nepoch 1\n"
REST = "====== ======\nmodel  loss\n====== ======\na      0.5\n====== ======\n\nTitle\n=====\n\ntext\n"


@pytest.mark.parametrize(
    "text", [PROSE, CODE, YAML, JSON, ACCESS, DIFF, TEX, REST, "x", "\n\n", "#", "|", "```", "---", "-|-\n-|-"]
)
def test_other_texts_give_no_run(text: str) -> None:
    assert read(text).runs == []
    assert read(text, as_format="page").runs == []
    # Who insists that a program is a log gets what it quotes.
    assert text == CODE or read(text, as_format="log").runs == []


def test_a_python_file_that_quotes_a_log_in_its_docstring_is_read_for_what_it_quotes() -> None:
    # By content, not by extension: a log line that stands alone is a log line.
    assert len(read(f'"""Prints:\n\n{LOG}\n"""\n', path="train.py").runs) == 1


# Whatever the bytes


def everything(source: bytes) -> None:
    """Read a source in every format; only InputError may come of it."""
    try:
        Reading.of_bytes(source, "x")
    except InputError:
        return
    for as_format in (None, *parsers.built_in()):
        found = read(source, as_format=as_format, columns=("a",))
        for run in found.runs:
            assert run.line_last >= run.start.line >= 1


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_input_error(source: bytes) -> None:
    everything(source)


@given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030", "utf-32"]))
def test_no_text_raises_anything_but_an_input_error(text: str, encoding: str) -> None:
    everything(text.encode(encoding, "replace"))


PIECES = st.sampled_from(
    [
        *("epoch 1, loss 0.5\n", "epoch 2, loss nan\n", "loss 1, acc 2\n", "\n", "```\n", "~~~~\n", "# T\n"),
        *("| a | acc |\n", "| - | - |\n", "| x | 5 |\n", "---\n", "title: x\n", "**b**\n", "words\n"),
        *("<!-- expdb -->\n", "<!-- /expdb -->\n", "## U\n"),
        *("VGG\n", "改用\n", "\r\n", "epoch 3, loss 1<br>\n", "> ", "  ", "\ufeff", "\0"),
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_what_is_a_page_is_seen_before_it_is_taken_apart(text: str) -> None:
    whole = scan(text)
    if whole.blocks and (whole.marked or whole.headed or whole.captioned):
        assert has_markup(text) or has_captions(text)
    first = scan(text, enough=lambda page: page.marked)
    assert first.blocks == whole.blocks[: len(first.blocks)]
    assert first.marked or first.blocks == whole.blocks
    assert first.title == whole.title


@given(st.lists(PIECES, max_size=40).map("".join))
def test_every_value_of_any_page_stands_on_a_line_that_says_it(page: str) -> None:
    lines = page.replace("\ufeff", "").split("\n")
    try:
        found = read(page, as_format="page", columns=("a",))
    except InputError:
        return
    taken: set[int] = set()
    for run in found.runs:
        numbers = {line for curve in run.curves.values() for line in curve.lines if line}
        assert all(run.start.line <= number <= run.line_last for number in numbers)
        assert not numbers & taken
        taken |= numbers
        for curve in run.curves.values():
            for step, value, number in curve.points:
                assert number is not None
                line = lines[number - 1]
                assert repr(float(value)).removesuffix(".0") in line
                assert step is None or f"epoch {step}" in line or "epoch" not in line


N = 2000


@pytest.mark.parametrize(
    "text",
    [
        "epoch 1, " + "loss 0.1, " * N,
        "a " * N,
        "0 " * N,
        "1" * N * 50,
        "epoch 1, loss 1\n\n" * N,
        "## " + "x " * N + "\n\n" + LOG,
        "ResNet\n\n" * N + LOG,
        "汉字 3 " * N,
        f"ResNet\n\n{LOG}\n\n" * (N // 4),
        "1, 2\n" * N + f"\n{LOG}",
        "|" * N + LOG,
        f"# T\n\n{TABLE}\n" * (N // 10),
    ],
)
@pytest.mark.parametrize("as_format", [None, "page", "log"])
def test_no_source_takes_long_to_read(text: str, as_format: str | None) -> None:
    began = time.process_time()
    read(text, as_format=as_format)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "caption",
    [
        "VGG19:",
        "VGG19：",
        "3. VGG19",
        "VGG19（预训练）",
        "VGG19 (pretrained)",
        "`VGG19`",
        "**VGG19**",
        "VGG19 (lr=0.01)",
    ],
)
def test_a_run_is_never_filed_under_the_caption_before_its_own(caption: str) -> None:
    page = f"ResNet18\n\n{LOG}\n\n{caption}\n\n{LOG}\n"
    first, second = read(page).runs
    assert first.start.caption == "ResNet18"
    assert second.start.caption is not None and second.start.caption.startswith("VGG19")


def test_what_a_comment_hides_and_what_compare_wrote_are_no_results() -> None:
    table = "| m | best(test/accuracy) |\n| --- | --- |\n| a | 0.9 |\n"
    hidden = "<!--\n| m | acc |\n| --- | --- |\n| a | 0.9 |\n-->\n"
    found = read(f"# T\n\n{table}\n{hidden}\n| m | acc |\n| --- | --- |\n| b | 0.8 |\n")
    assert [run.start.params for run in found.runs] == [{"m": "b"}]
