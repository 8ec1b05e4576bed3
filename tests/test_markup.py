"""The blocks of a page: what is a heading, a caption, a fence, a table or front matter, and what is none."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb.parsers.pages.markup import LogBlock, Page, Place, TableBlock, cells, front_matter, is_wide, plain, scan

LOG = "epoch 1, loss 0.5\nepoch 2, loss 0.4"


def logs(text: str) -> list[LogBlock]:
    return [block for block in scan(text).blocks if isinstance(block, LogBlock)]


def tables(text: str) -> list[TableBlock]:
    return [block for block in scan(text).blocks if isinstance(block, TableBlock)]


def place(text: str) -> Place:
    """Where the only log of a page stands."""
    (block,) = logs(text)
    return block.place


# Fences


@pytest.mark.parametrize(
    "page",
    [
        f"```\n{LOG}\n```",
        f"```text\n{LOG}\n```",
        f"~~~\n{LOG}\n~~~",
        f"````\n{LOG}\n````",
        f"  ```\n{LOG}\n  ```",
        f"> ```\n{LOG}\n> ```",
        f"- ```\n{LOG}\n  ```",
        f"1. ```\n{LOG}\n   ```",
        f"```\n{LOG}",
    ],
)
def test_a_log_in_a_fence_is_one_block(page: str) -> None:
    (block,) = logs(f"{page}\n")
    assert (block.line, block.lines, block.fenced) == (2, LOG.split("\n"), True)


def test_a_fence_closes_only_with_its_own_mark() -> None:
    page = f"````\n```\n{LOG}\n~~~~\n```\n`````\n\nepoch 1, loss 9"
    first, second = logs(page)
    assert (first.line, first.lines) == (3, LOG.split("\n"))
    assert (second.line, second.fenced) == (9, False)


def test_a_fence_does_not_close_with_words_behind_its_mark() -> None:
    page = f"```\n{LOG}\n``` python\nepoch 3, loss 0.3\n```\n"
    (block,) = logs(page)
    assert (block.line, len(block.lines)) == (2, 4)


def test_back_ticks_behind_back_ticks_open_no_fence() -> None:
    (block,) = logs(f"```pip install```\n\n{LOG}\n")
    assert not block.fenced


def test_code_before_and_behind_a_log_in_a_fence_is_left_out() -> None:
    (block,) = logs(f"```\n$ python train.py\n{LOG}\nsaved\nepoch 3, loss 0.3\n$\n```")
    assert (block.line, len(block.lines)) == (3, 4)


def test_a_fence_of_code_is_no_block() -> None:
    assert scan("```python\n# epoch\nfor epoch in range(3):\n    loss = 0.1\n```\n").blocks == []


def test_an_unclosed_fence_reaches_to_the_end() -> None:
    assert logs(f"```python\nx = 1\n\n# Results\n\n{LOG}\n")[0].place.headings == ()


# Logs without a fence


def test_each_block_of_log_lines_stands_by_itself() -> None:
    first, second = logs(f"{LOG}\n\nsome words\n\n{LOG}\n")
    assert (first.line, second.line) == (1, 6)
    assert first.lines == second.lines == LOG.split("\n")


def test_blank_lines_between_consecutive_epochs_do_not_end_a_log() -> None:
    (block,) = logs("epoch 1, loss 3\n\nepoch 2, loss 2\n\n\nepoch 3, loss 1\n")
    assert len(block.lines) == 6
    assert len(logs("epoch 1, loss 3\n\nepoch 1, loss 2\n")) == 2
    assert len(logs("epoch 1, loss 3\n\nepoch 3, loss 2\n")) == 2


def test_lines_a_program_printed_between_its_epochs_do_not_end_a_log() -> None:
    page = "epoch 1, loss 3\nsaved best.pt\nlr is now 0.01\nepoch 2, loss 2\nvalidating\nepoch 2, test loss 2\n"
    (block,) = logs(page)
    assert (block.line, len(block.lines)) == (1, 6)


@pytest.mark.parametrize("between", ["restarted", "## VGG", "```\ncode\n```", "| a | b |\n| - | - |"])
def test_a_log_that_starts_again_is_another_block(between: str) -> None:
    assert len(logs(f"# T\n\n{LOG}\n{between}\n{LOG}\n")) == 2


def test_a_heading_ends_a_log_though_its_epochs_go_on() -> None:
    assert len(logs("## A\n\nepoch 1, loss 3\n## B\nepoch 2, loss 2\n")) == 2


# Headings and captions


@pytest.mark.parametrize(
    ("heading", "text"),
    [
        ("# ResNet", "ResNet"),
        ("### ResNet ###", "ResNet"),
        ("## C#", "C#"),
        ("##\tResNet", "ResNet"),
        ("## **ResNet** with `bn`", "ResNet with bn"),
        ("## [ResNet](https://example.org)", "ResNet"),
        ("   ## ResNet", "ResNet"),
        ("## lr = a * b * c", "lr = a * b * c"),
    ],
)
def test_a_heading_names_what_follows(heading: str, text: str) -> None:
    assert place(f"{heading}\n\n{LOG}\n").headings == (text,)


def test_headings_are_kept_from_the_outermost() -> None:
    page = f"# Report\n\n## ResNet\n\n### bn\n\n## VGG\n\n```\n{LOG}\n```\n"
    assert place(page).headings == ("Report", "VGG")


@pytest.mark.parametrize("line", ["#include <x>", "#", "####### seven", "    # indented", "#no blank"])
def test_other_lines_with_hashes_are_no_headings(line: str) -> None:
    assert scan(f"{line}\n\n{LOG}\n").headed is False


def test_comments_of_code_are_no_headings() -> None:
    page = f"ResNet\n\n```python\n# a comment\n\n# another\n```\n\nx = 1\n# comment\ny = 2\n\n{LOG}\n"
    found = scan(page)
    assert (found.headed, found.title) == (False, None)
    assert place(page) == Place(("ResNet",))


def test_a_caption_is_a_short_line_that_stands_alone() -> None:
    assert place(f"## ResNet\n\nwith batch norm\n\n{LOG}\n") == Place(("ResNet",), "with batch norm")


def test_a_caption_may_sit_on_top_of_what_it_names() -> None:
    for block in (f"```\n{LOG}\n```", LOG):
        assert place(f"## ResNet\n\nwith bn\n{block}\n").caption == "with bn"
    (table,) = tables("## ResNet\n\nwith bn\n| a | loss |\n| - | - |\n| 1 | 2 |\n")
    assert table.place.caption == "with bn"


def test_a_caption_may_follow_a_fence_without_a_blank_line() -> None:
    first, second = logs(f"NIN\n```\n{LOG}\n```\nVGG\n```\n{LOG}\n```\n")
    assert (first.place, second.place) == (Place(("NIN",)), Place(("VGG",)))


def test_marks_of_emphasis_are_taken_off_a_caption() -> None:
    assert place(f"## A\n\n**bn** and *relu*\n\n{LOG}\n").caption == "bn and relu"


def test_a_heading_ends_what_a_caption_says() -> None:
    assert place(f"## A\n\nwith bn\n\n## B\n\n{LOG}\n") == Place(("B",))


@pytest.mark.parametrize("bold", ["**with bn**", "__with bn__", "**with bn**:", "**with bn** ："])
def test_a_line_in_bold_is_a_caption(bold: str) -> None:
    assert place(f"## A\n\nsome words\n{bold}\n\n{LOG}\n").caption == "with bn"


@pytest.mark.parametrize(
    "line",
    [
        "x = 1",
        "It was better than before.",
        "- an item",
        "1. first",
        "3.4",
        "https://example.org",
        "$x$",
        "效果更好。",
        "> quoted",
        "****************",
        "__  __",
        "<br>",
        "a line which goes on for so long that nobody would ever call it short",
        "这一行文字的宽度超过了六十列所以它是一句话而不是某个图表或者日志的标题",
    ],
)
def test_other_lines_are_no_captions(line: str) -> None:
    assert place(f"## A\n\n{line}\n\n{LOG}\n").caption is None


def test_without_headings_names_carry_on_and_captions_describe() -> None:
    page = f"""
实验记录

动物图片

{LOG}

googLeNet

截断初始化

{LOG}

改用预训练权重

{LOG}

ResNet

{LOG}
"""
    assert [(b.place.headings, b.place.caption) for b in logs(page)] == [
        (("动物图片",), None),
        (("googLeNet",), "截断初始化"),
        (("googLeNet",), "改用预训练权重"),
        (("ResNet",), None),
    ]


def test_the_title_is_the_only_heading_of_the_first_level() -> None:
    assert scan("# Report\n\n## A\n\n# not\n# these\n").title == "Report"
    assert scan("# A\n\ntext\n\n# B\n").title is None
    assert scan("---\ntitle: Front\n---\n\n# Report\n").title == "Front"


# Tables


def test_a_table_gives_its_cells_as_written_and_the_line_of_each_row() -> None:
    (table,) = tables("text\n\n| `a` | **b** |\n|:---|---:|\n| 1 | 2.50 |\n|3|4|\n\nmore | text\n")
    assert (table.line, table.header) == (3, ["`a`", "**b**"])
    assert table.rows == [(5, ["1", "2.50"]), (6, ["3", "4"])]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("| a | b |", ["a", "b"]),
        ("a | b", ["a", "b"]),
        ("|a|b", ["a", "b"]),
        ("| a \\| b | c |", ["a | b", "c"]),
        ("| a | |", ["a", ""]),
        ("| | b |", ["", "b"]),
        ("| a |  | c |", ["a", "", "c"]),
        ("| a |", ["a"]),
        ("| a | b\\", ["a", "b\\"]),
        ("| \\d | b |", ["\\d", "b"]),
        ("|", [""]),
    ],
)
def test_the_cells_of_a_row(row: str, expected: list[str]) -> None:
    assert cells(row) == expected


def test_a_bar_within_code_splits_no_cell_where_the_row_would_be_too_long() -> None:
    (table,) = tables("| op | loss |\n| - | - |\n| `a | b` | 1 |\n| `c` | 2 |\n| `d | 3 |\n| x | y | z |\n")
    assert [row for _, row in table.rows] == [["`a | b`", "1"], ["`c`", "2"], ["`d", "3"], ["x", "y", "z"]]


@pytest.mark.parametrize(
    "page",
    [
        "| a | b |\n| - |\n| 1 | 2 |",
        "a b\n- -\n1 2",
        "| a | b |\n\n| - | - |",
        "| a | b |\n| x | - |",
        "| a | b |",
        "```\n| a | b |\n| - | - |\n```",
    ],
)
def test_other_lines_with_bars_are_no_table(page: str) -> None:
    assert tables(page) == []


def test_what_expdb_wrote_itself_is_passed_over() -> None:
    table = "| run | loss |\n| - | - |\n| a | 1 |\n"
    ours = f"<!-- expdb table -->\n\n{table}\n```\n{LOG}\n<!-- /expdb -->\n"
    page = f"# T\n\n{ours}\nfree\n\n{table}\n{ours}\nfree\n\n{LOG}\n"
    first, second = scan(page).blocks
    assert isinstance(first, TableBlock) and isinstance(second, LogBlock)
    free = [number for number, line in enumerate(page.split("\n"), 1) if line == "free"]
    assert [first.line, second.line] == [number + 2 for number in free]


@pytest.mark.parametrize(
    ("first", "other"), [("- ", "  "), ("> ", "> "), ("12. ", "    "), ("  ", "  "), ("> - ", ">   ")]
)
def test_what_expdb_wrote_into_a_list_or_a_quote_is_passed_over(first: str, other: str) -> None:
    rows = ["<!-- expdb table -->", "", "| run | loss |", "| - | - |", "| a | 1 |", "", "<!-- /expdb -->"]
    ours = "\n".join((other if n else first) + row for n, row in enumerate(rows))
    (block,) = scan(f"# T\n\n{ours}\n\nfree\n\n| run | loss |\n| - | - |\n| b | 2 |\n").blocks
    assert isinstance(block, TableBlock) and block.rows[0][1] == ["b", "2"]


def test_a_mark_of_expdb_that_is_never_closed_hides_nothing() -> None:
    assert len(logs(f"<!-- expdb table -->\n\n{LOG}\n")) == 1


# Front matter


def test_front_matter_gives_scalars_lists_and_nested_keys() -> None:
    text = """
title: "A: \\"B\\""
sub: 'it''s'
note: plain # a comment
sharp: C#
empty:
nothing: null
date: 2021-12-17 10:00:56
tags:
- one
- 'two'
inline: [a, "b", 'c']
- ignored: x
model:
  name: ResNet
  depth: 50
categories:
  - [deep, wide]
description: |
  first: line
  - second
更新: 是
# comment: no
"""
    assert front_matter(text.split("\n")) == {
        "title": 'A: "B"',
        "sub": "it's",
        "note": "plain",
        "sharp": "C#",
        "date": "2021-12-17 10:00:56",
        "tags": "one, two",
        "inline": "a, b, c, ignored: x",
        "model.name": "ResNet",
        "model.depth": "50",
        "categories": "deep, wide",
        "description": "first: line - second",
        "更新": "是",
    }


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "db_password",
        "dbPassword",
        "passwd",
        "pass",
        "pwd",
        "token",
        "auth_token",
        "accessToken",
        "secret",
        "client-secret",
        "api_key",
        "apiKey",
        "github.token",
    ],
)
def test_a_key_that_names_a_secret_is_left_out(key: str) -> None:
    assert front_matter([f"{key}: hunter2", "a: b"]) == {"a": "b"}
    assert front_matter([f"{key}:", "  value: hunter2", "a: b"]) == {"a": "b"}
    assert front_matter([f"{key}:", "- hunter2", "a: b"]) == {"a": "b"}


@pytest.mark.parametrize("key", ["max_tokens", "tokenizer", "passes", "compass", "keyboard"])
def test_a_key_that_only_looks_like_a_secret_is_kept(key: str) -> None:
    assert front_matter([f"{key}: x"]) == {key: "x"}


def test_front_matter_ends_where_its_rule_says() -> None:
    page = f"---\ntitle: x\n---\n\n{LOG}\n\n---\n"
    assert scan(page).front == {"title": "x"}
    assert [block.line for block in logs(page)] == [5]
    assert scan("---\ntitle: x\n...\ntitle: y\n").front == {"title": "x"}
    assert scan("---\r\ntitle: x\r\n---\r\n").front == {"title": "x"}


@pytest.mark.parametrize("inside", [LOG, "epoch: 1, loss: 0.5", "Some words.\n\n" + LOG, f"# Title\n\n{LOG}"])
def test_two_rules_around_anything_else_are_no_front_matter(inside: str) -> None:
    page = f"---\n{inside}\n---\n"
    assert scan(page).front == {}
    assert len(logs(page)) == 1


def test_front_matter_that_never_ends_is_none() -> None:
    assert scan(f"---\ntitle: x\n\n{LOG}\n").front == {}


# Inline marks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**bold** and *thin* and __bold__ and _thin_", "bold and thin and bold and thin"),
        ("***both***", "both"),
        ("a * b * c", "a * b * c"),
        ("a*b", "a*b"),
        ("lr_0_1 and __len__x", "lr_0_1 and __len__x"),
        ("self.bn_s(x)", "self.bn_s(x)"),
        ("`code`", "code"),
        ("[text](link) ![alt](image)", "text alt"),
        ("<b>x</b> and <br/>", "x and"),
        ("x < 0.5 and y > 3, a<0.5 and b>3", "x < 0.5 and y > 3, a<0.5 and b>3"),
        ("bn\\_s and 2\\*3", "bn_s and 2*3"),
        ("\\*not thin\\*", "*not thin*"),
        ("", ""),
    ],
)
def test_inline_marks_are_taken_off_and_nothing_else(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_a_chinese_character_is_two_columns_wide() -> None:
    assert not is_wide("汉字", 4)
    assert is_wide("汉字", 3)
    assert is_wide("abcd", 3)


# Whatever is on the page

MARKS = st.text(alphabet="#-*_`~|>:. \t\r\n\\<!/[]()1eEpoch,lsexd本。", max_size=80)


@given(st.one_of(st.text(), MARKS))
def test_any_text_can_be_taken_apart_and_every_block_is_quoted_as_it_stands(text: str) -> None:
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    page: Page = scan(text)
    last = 0
    for block in page.blocks:
        assert block.line > last
        if isinstance(block, LogBlock):
            assert block.lines == lines[block.line - 1 : block.line - 1 + len(block.lines)]
            last = block.line + len(block.lines) - 1
        else:
            assert all(number > block.line + 1 for number, _ in block.rows)
            last = block.rows[-1][0] if block.rows else block.line + 1


@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_lines_can_be_read_as_front_matter(lines: list[str]) -> None:
    front_matter(lines)


N = 2000


@pytest.mark.parametrize(
    "text",
    [
        "# " + " " * N + "x",
        "# " + "# " * N + "x",
        "## " + "[" * N,
        "## " + "*" * N + "x",
        "## " + "**a " * N,
        "## " + "_a " * N,
        "## " + "<a " * N,
        "**" * N + "x",
        "**" + "a " * N,
        "|a\n" + " " * N + "x",
        "|a\n" + "-" + " " * N + "x",
        "|a\n" + "|-" * N + "x",
        "|" * N + "\n" + "|-" * N,
        "`" * N + "|\n-|-",
        "---\n" + "a: b\n" * N + "x" + " " * N + "#",
        "---\na: " + "[" * N + "]" * N + "\n---",
        "---\na: " + " " * N + "#x\n---",
        "<!-- expdb -->\n" * N,
        "```\n~~~\n" * N,
        "epoch 1, loss 1\n\n" * N,
        "epoch 1, loss 1\nnoise\n" * N,
        "epoch 1, loss 1\n" + "noise\n" * N * 10,
        "a|b\n-|-\n" * N,
        "> " * N + "```",
        "1. " * N + "```",
        "x\n\n" * N,
    ],
)
def test_no_page_takes_long_to_take_apart(text: str) -> None:
    began = time.process_time()
    scan(text)
    assert time.process_time() - began < 1
