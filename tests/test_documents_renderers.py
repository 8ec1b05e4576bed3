"""Markers as four real renderers show them: not at all, and what stands between them as it is meant."""

import json
import os
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser

import pytest
from conftest import requires

from expdb.documents import markers
from expdb.documents.markers import CLOSING, opening

_NODE = {**os.environ, "NODE_PATH": "/usr/share/nodejs:/usr/lib/nodejs"}
_READ = "require('fs').readFileSync(0, 'utf8')"
# Hexo's renderers show HTML, as these do.
COMMANDS = {
    "commonmark": ["cmark", "--unsafe"],
    "kramdown": ["ruby", "-e", "require 'kramdown'; print Kramdown::Document.new(STDIN.read).to_html"],
    "marked": ["node", "-e", f"const m = require('marked'); process.stdout.write((m.marked || m)({_READ}))"],
    "markdown-it": [
        *("node", "-e"),
        f"process.stdout.write(new (require('markdown-it'))({{html: true}}).render({_READ}))",
    ],
}
EVIL = "a--b > 1 and note = \"x\" or -->{{ c }}{% raw %} {# n #} <b> `t` 'q' * _ [l](m)\n$x$ 准确率"
WORDS = {"where": EVIL, "columns": "run, best(test/accuracy) as `a|b`"}
TABLE = "| run | acc |\n| :-- | --: |\n| r1  | 0.9 |\n\n*a rule*\n"


class _Shown(HTMLParser):
    """What a reader sees: words, and which elements stand around which."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.comments: list[str] = []
        self.words: list[str] = []
        self.seen: list[str] = []
        self.around: list[str] = []
        self.feed(html)
        self.text = " ".join("".join(self.words).split())

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("br", "img", "hr", "col"):
            self.around.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.around:
            while self.around.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@cache
def is_installed(name: str) -> bool:
    """Whether the renderer can be started here."""
    if not shutil.which(COMMANDS[name][0]):
        return False
    return subprocess.run(COMMANDS[name], input=b"a", env=_NODE, capture_output=True).returncode == 0


@pytest.fixture(params=COMMANDS)
def renderer(request: pytest.FixtureRequest) -> str:
    """The name of a renderer that is installed."""
    name: str = request.param
    requires("renderers", is_installed(name), f"{name} is not installed")
    return name


def shown(renderer: str, page: str) -> _Shown:
    """The page as a reader sees it, every marker filled."""
    text = page
    found, faults = markers.read(text)
    assert not faults
    for marker in reversed(found):
        written = "**84.1**%" if marker.kind == "value" else TABLE
        text = text[: marker.start] + marker.between(written) + text[marker.end :]
    assert len(markers.read(text)[0]) == len(found)
    done = subprocess.run(
        COMMANDS[renderer], input=text, env=_NODE, capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    out = _Shown(done.stdout)
    assert len([one for one in out.comments if "expdb" in one]) == 2 * len(found)
    assert "expdb" not in out.text and "-->" not in out.text
    return out


BLOCK = f"{opening('table', WORDS)}\n{CLOSING}"
VALUE = f"{opening('value', WORDS)}{CLOSING}"


@pytest.mark.parametrize(
    "page",
    [
        f"# T\n\n{BLOCK}\n\nafter *it*\n",
        f"text\n{BLOCK}\nafter *it*\n",
        f"{BLOCK}\n\nafter *it*\n\n{BLOCK}\n",
        f"| x | y |\n| - | - |\n| 1 | 2 |\n\n{BLOCK}\n\n| x | y |\n| - | - |\n| 1 | *2* |\n",
        f"- item\n\n  {opening('runs', WORDS)}\n  {CLOSING}\n\n- after *it*\n",
        f"1. {opening('runs', WORDS)}\n   {CLOSING}\n\n2. after *it*\n",
        f"> quoted\n>\n> {opening('table', WORDS)}\n> {CLOSING}\n\nafter *it*\n",
        f"{opening('table', WORDS).replace(' columns', chr(10) + '     columns')}\n{CLOSING}\n\nafter *it*\n",
    ],
)
def test_a_block_is_hidden_and_its_table_is_one(renderer: str, page: str) -> None:
    out = shown(renderer, page)
    # CommonMark has no tables: there it is a paragraph, and no code.
    assert out.seen.count("table") >= 1 or (renderer == "commonmark" and "| r1 | 0.9 |" in out.text)
    assert not {"pre", "code"} & set(out.seen)
    assert "em" in out.seen
    assert "r1" in out.text and "a rule" in out.text


@pytest.mark.parametrize(
    "page",
    [
        f"The best is {VALUE} of *all*.\n",
        f"A line\nand {VALUE} of *all*.\n",
        f"- item with {VALUE} of *all*\n- another\n",
        f"> quoted {VALUE} of *all*\n",
        f"## Heading {VALUE} of *all*\n",
        f"*all* **bold {VALUE}** here\n",
        f"最好的准确率是{VALUE}，比*基线*好。\n",
    ],
)
def test_a_value_is_hidden_and_its_number_stands_in_the_sentence(renderer: str, page: str) -> None:
    out = shown(renderer, page)
    assert "84.1%" in out.text
    assert "em" in out.seen and "strong" in out.seen
    assert not {"pre", "code"} & set(out.seen)


def test_a_value_may_stand_in_a_cell(renderer: str) -> None:
    out = shown(renderer, f"| a | b |\n| --- | --- |\n| x | {VALUE} |\n")
    assert "84.1%" in out.text
    assert renderer == "commonmark" or out.seen.count("td") == 2


def test_what_is_code_to_us_is_code_to_the_renderer(renderer: str) -> None:
    for page in (f"```\n{BLOCK}\n```\n", f"text\n\n    {VALUE}\n", f"in `{VALUE}` code\n", f"``{VALUE} ` ``\n"):
        if renderer == "kramdown" and page.startswith("```"):
            page = page.replace("```", "~~~")
        assert not markers.read(page)[0]
        done = subprocess.run(
            COMMANDS[renderer], input=page, env=_NODE, capture_output=True, encoding="utf-8", timeout=60, check=True
        )
        out = _Shown(done.stdout)
        assert not out.comments and "expdb" in out.text, json.dumps(page)
