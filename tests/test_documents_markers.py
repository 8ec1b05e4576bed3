"""Markers of a page: which comments are some, what they say, and what is wrong with them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb.documents.markers import CLOSING, KINDS, Marker, meant, opening, read, told

TABLE = f"<!-- expdb table -->\n\n| a |\n\n{CLOSING}"
VALUE = f'so <!-- expdb value of="x" -->1{CLOSING}'


def found(text: str) -> list[Marker]:
    """The markers of a page without faults."""
    markers, faults = read(text)
    assert not faults
    return markers


def fault(text: str) -> str:
    """The only fault of a page, `LINE: message (hint)`."""
    (one,) = read(text)[1]
    return f"{one.line}: {one.message} ({one.hint})"


def rewritten(text: str, written: str) -> str:
    """The page with every marker saying so."""
    for marker in reversed(found(text)):
        text = text[: marker.start] + marker.between(written) + text[marker.end :]
    return text


# What a marker says


def test_a_marker_says_its_kind_and_its_words() -> None:
    (marker,) = found(
        f"# T\n\n<!-- expdb table where=\"lr &gt; 0.1 and m = 'a'\" columns='run, lr' percent -->\n{CLOSING}\n"
    )
    assert (marker.kind, marker.line) == ("table", 3)
    assert marker.words == {"where": "lr > 0.1 and m = 'a'", "columns": "run, lr", "percent": ""}


def test_a_marker_may_stand_on_several_lines() -> None:
    (marker,) = found(f'text\n\n<!-- expdb table\n     where="lr &gt; 1"\n     top="3"\n-->\n\n| a |\n\n{CLOSING}\n')
    assert marker.words == {"where": "lr > 1", "top": "3"}


def test_the_closing_marker_may_say_what_it_closes() -> None:
    assert found("<!-- expdb runs -->\n\n<!-- /expdb runs -->\n")
    assert fault("<!-- expdb runs -->\n\n<!-- /expdb table -->\n").startswith(
        "3: this closes 'table', and a runs is open"
    )


@given(st.text())
def test_every_value_is_told_and_read_back(value: str) -> None:
    attribute = told(value)
    assert meant(attribute) == value
    assert not re.search('--|[<>"\r\n]|\\{[{%#]|[}%#]\\}', attribute)
    text = f"{opening('table', {'where': value, 'top': '1'})}\n\n{CLOSING}\n"
    (marker,) = found(text)
    assert marker.words == {"where": value, "top": "1"}


def test_what_needs_no_reference_is_written_as_it_is() -> None:
    assert told("-best(test/accuracy), `a-b`, 'x{2}' as 准确率") == "-best(test/accuracy), `a-b`, 'x{2}' as 准确率"
    assert told("a--b > {{c}}") == "a&#45;&#45;b &gt; &#123;{c}&#125;"
    assert meant("a & b &copy; &#x2d; &#45;") == "a & b &copy; - -"


# Where markers are


@pytest.mark.parametrize(
    "page",
    [
        f"```\n{TABLE}\n```\n",
        f"```html\n{TABLE}\n{VALUE}\n",
        f"~~~~\n```\n{TABLE}\n~~~\n~~~~\n",
        f"- item\n\n  ```\n  {VALUE}\n  ```\n",
        f"> ```\n> {VALUE}\n> ```\n",
        "text\n\n    <!-- expdb table -->\n\n    <!-- /expdb -->\n",
        "\t<!-- expdb table -->\n\n\t<!-- /expdb -->\n",
        f"in code: `{VALUE}` is text\n",
        f"in code: ``a ` {VALUE}`` is text\n",
        f"a span `goes\non {VALUE} here` and ends\n",
        r"escaped: \<!-- expdb value -->",
        f"---\ntitle: {VALUE}\n---\n\ntext\n",
        f"<!--\n{VALUE}\n",
        "<!-- expdbs table -->\n<!-- expdb-like -->\n<!-- by expdb -->\n",
        f"{{% raw %}}\n{TABLE}\n{{% endraw %}}\n",
        f"{{% codeblock lang:html %}}\n{VALUE}\n{{% endcodeblock %}}\n",
        f"in a tag: {{% raw %}}{VALUE}{{% endraw %}}\n",
        "",
    ],
)
def test_what_is_code_or_hidden_is_no_marker(page: str) -> None:
    assert found(page) == []


@pytest.mark.parametrize(
    "page",
    [
        f"---\ntitle: T\n---\n{VALUE}\n",
        f"---\n\ntext\n\n{VALUE}\n",
        f"```\ncode\n```\n{VALUE}\n",
        f"> ```\n> code\n\n{VALUE}\n",
        f"a stray ` here\n\nand {VALUE} ` there\n",
        f"- a stray ` here\n- and {VALUE} ` there\n",
        f"| a ` |\n| {VALUE} ` |\n",
        f"an escaped \\` here {VALUE} and ` there\n",
        f"<!-- note -->\n{VALUE}\n",
        f"<!-- a note\nthat goes on -->\n\n{VALUE}\n",
        f"a line <!-- note --> and {VALUE}\n",
        f"- item\n\n  more {VALUE}\n",
        f"1. item\n\n    more {VALUE}\n",
        f"- item\n    - below\n\n        more {VALUE}\n",
        f"text\n    {VALUE} goes on\n",
        f"| a | {VALUE} |\n| - | - |\n",
        f"## T {VALUE}\n",
        f"{{% note %}}\n{VALUE}\n{{% endnote %}}\n",
    ],
)
def test_what_is_text_is_a_marker(page: str) -> None:
    (marker,) = found(page)
    assert page[marker.start : marker.end] == "1"


# What is written


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("@\n/", "@\n\nA\n\nB\n\n/"),
        ("@\r\nold\r\n/\r\n", "@\r\n\r\nA\r\n\r\nB\r\n\r\n/\r\n"),
        ("- @\n  /\n", "- @\n\n  A\n\n  B\n\n  /\n"),
        ("> @\n> /\n", "> @\n>\n> A\n>\n> B\n>\n> /\n"),
        ("1. x\n\n   @  \n/", "1. x\n\n   @\n\n   A\n\n   B\n\n   /"),
    ],
)
def test_a_block_keeps_the_dress_of_its_line(page: str, expected: str) -> None:
    page, expected = (text.replace("@", "<!-- expdb table -->").replace("/", CLOSING) for text in (page, expected))
    assert rewritten(page, "A\n\nB\n") == expected
    assert rewritten(expected, "A\n\nB\n") == expected


def test_a_value_stays_within_its_line() -> None:
    assert (
        rewritten(f"so <!-- expdb value -->\n12\n{CLOSING}, and\n", "13")
        == f"so <!-- expdb value -->13{CLOSING}, and\n"
    )


# What is wrong


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"a\n\n<!-- expdb tabel -->\n\n{CLOSING}", "3: no marker is called 'tabel' (did you mean table? there are"),
        (f"<!-- expdb -->\n\n{CLOSING}", "1: this marker does not say what it is (there are table, plot, value, runs)"),
        ("a\n\n<!-- expdb table -->\n", "3: this marker is never closed by <!-- /expdb -->"),
        (f"a\n\n{CLOSING}\n", "3: this closes nothing"),
        (f"<!-- expdb table -->\n\nso {VALUE}\n\n{CLOSING}", "3: a marker within the one of line 1"),
        (f"<!-- expdb table -->\n\n{TABLE}\n", "3: a marker within the one of line 1"),
        ("<!-- expdb table\n\nwhere -->\n", "1: this marker does not end"),
        (f"<!-- expdb table where=lr -->\n\n{CLOSING}", '1: not understood: where=lr (words are NAME="VALUE"'),
        (f"<!-- expdb table where=“lr” -->\n\n{CLOSING}", "1: not understood: where=“lr” (words are"),
        (f'<!-- expdb table where="lr" where="m" -->\n\n{CLOSING}', "1: where is given twice"),
        (f'<!-- expdb table where="lr > 1" -->\n\n{CLOSING}', "1: > stands in where, where some renderers end"),
        (f'<!-- expdb table where="a--b" -->\n\n{CLOSING}', "1: `--` cannot stand in a marker"),
        (f"so <!-- expdb table -->{CLOSING}", "1: a marker of table stands on a line of its own"),
        (f"<!-- expdb table -->{CLOSING}\n", "1: a marker of table stands on a line of its own"),
        (f"<!-- expdb table -->\n\n| a | {CLOSING}\n", "3: what closes a table stands on a line of its own"),
        (f"<!-- expdb value -->1{CLOSING} is it", "1: a value stands within a line (begin the line with a word"),
        (f"- <!-- expdb value -->1{CLOSING}", "1: a value stands within a line"),
        (f"so <!-- expdb value -->1\n\n{CLOSING}", "1: the <!-- /expdb --> of a value stands in the same paragraph"),
        (f'| a | <!-- expdb value of="`x|y`" -->1{CLOSING} |', "1: | stands in a marker within a table"),
        (f"<!-- expdb table -->\n\n```\n{CLOSING}\n```\n", "1: this marker is never closed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(page: str, expected: str) -> None:
    assert fault(page).startswith(expected)


def test_every_fault_of_a_page_is_said() -> None:
    _, faults = read(f"{CLOSING}\n\n<!-- expdb tble -->\n\n{CLOSING}\n\nso <!-- expdb table -->{CLOSING}\n")
    assert [one.line for one in faults] == [1, 3, 7]


def test_lines_are_counted_as_editors_do() -> None:
    assert fault(f"a\r\nb\r\n\r\n{CLOSING}").startswith("4: ")
    assert fault(f"a\rb\r\r{CLOSING}").startswith("4: ")


# Whatever a page holds

PIECES = st.sampled_from(
    [
        *(
            "`",
            "```",
            "\n",
            "\r\n",
            "<!-- expdb table -->",
            '<!-- expdb value of="a" -->',
            CLOSING,
            "<!--",
            "-->",
            "- ",
        ),
        *("> ", "    ", "text", "{% raw %}", "{% endraw %}", "---\n", "| a |", "\\", "~~~", "准确率", "<!-- expdb"),
    ]
)


@given(st.lists(PIECES).map("".join))
def test_markers_of_any_page_do_not_overlap_and_are_its_own(page: str) -> None:
    markers, faults = read(page)
    place = 0
    for marker in markers:
        assert place <= marker.start <= marker.end
        assert page[marker.end :].startswith("<!--")
        assert marker.kind in KINDS
        place = marker.end
    assert all(1 <= one.line <= page.count("\n") + page.count("\r") + 1 for one in faults)


@given(st.lists(PIECES).map("".join))
def test_what_is_written_reads_back_as_the_same_markers(page: str) -> None:
    markers, faults = read(page)
    if not faults:
        again = rewritten(page, "A")
        assert rewritten(again, "A") == again
        assert len(found(again)) == len(markers)


LONG = ["`", "<!--", "<!-- expdb", "- ", "> ", "{% raw %}", "```\n", " ", "<!-- expdb table -->", "``` "]


@pytest.mark.parametrize("piece", LONG)
def test_no_page_takes_long_to_read(piece: str) -> None:
    began = time.process_time()
    read(piece * 20_000)
    assert time.process_time() - began < 2
