"""The markers of a page: `<!-- expdb KIND NAME="VALUE" ... -->` and `<!-- /expdb -->`, which renderers hide.

A marker on a line of its own is a block's, and what it writes keeps the indentation and the `>` of its line; `value`
stands within a line. What is code to Markdown is text: fences, indented code, code spans, and the tags of Hexo and
Jekyll that quote. So are front matter and other comments.

Within a value, `&` `"` `<` `>` stand as `&amp;` `&quot;` `&lt;` `&gt;`, any character as `&#N;` or `&#xN;`; an `&` that
begins none of these is itself. `>` and `--` have to be written so, because some renderers end a comment there or show
it, and `{{` `{%` `{#` are, because templates of Hexo and Jekyll run inside comments too.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal, get_args

Kind = Literal["table", "plot", "value", "runs"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
CLOSING: Final = "<!-- /expdb -->"

_ENTITIES: Final = {"amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">"}
_REFERENCE: Final = re.compile(r"&(?:#(?P<number>[0-9]{1,7})|#[xX](?P<hex>[0-9a-fA-F]{1,6})|(?P<name>[a-z]+));")
# Hyphens beside each other, what templates act on, what ends a cell, and what is no visible character of one line.
_TOLD: Final = re.compile(
    r"""[&"<>|]|-(?=-)|(?<=-)-|\{(?=[{%#])|(?<=[}%#])\}|[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]"""
)

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_OURS: Final = re.compile(r"<!--\s*(/?)\s*expdb(?![\w-])")
_KIND: Final = re.compile(r"\s+([^\s=\"'/]+)")
_WORD: Final = re.compile(r"""\s+([A-Za-z][\w-]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'))?(?=\s|\Z)""")
# What may stand before a block: indentation, quotes, the mark of a list item.
_LEAD: Final = re.compile(r"(?:[ \t]|>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))*")
_ITEM: Final = re.compile(r"([ \t]*)(?:[-*+]|\d{1,9}[.)])([ \t]+)(?=\S)")
_FENCE: Final = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])[ \t])*(`{3,}(?![^\r\n]*`)|~{3,})")
_QUOTING: Final = re.compile(r"[ \t]*\{%-?\s*(raw|highlight|codeblock|code)\b")
# Here a paragraph ends, and with it a code span.
_STARTS: Final = re.compile(r"[ \t>]*(?:[-*+][ \t]|\d{1,9}[.)][ \t]|\#{1,6}(?:[ \t]|$)|\||<!--(?!\s*/\s*expdb))")
_STOPS: Final = re.compile(r"\\[\\`<{]|`+|<!--|\{%-?\s*(raw|highlight|codeblock|code)\b")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a line of a page, 1-based, and what to do about it."""

    line: int
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """A pair of markers. start, end: what lies between them, in characters of the text.

    words: the attributes as they are meant; one without a value is "". prefix: what each line of a block begins with,
    None for a marker within a line. newline: how the block's lines end.
    """

    kind: Kind
    words: Mapping[str, str]
    line: int
    start: int
    end: int
    prefix: str | None
    newline: str = "\n"

    def between(self, written: str) -> str:
        """What stands between the markers where their content is `written`, lines joined by line feeds.

        A blank line stands on either side of a block's content: without the first, Markdown would be HTML's.
        """
        if self.prefix is None:
            return written
        lines = ["", *written.strip("\n").split("\n"), ""]
        # Nothing to show is still a blank line.
        lines = lines if written.strip("\n") else [""]
        joined = self.newline.join((self.prefix + line).rstrip() for line in lines)
        return f"{self.newline}{joined}{self.newline}{self.prefix}"


def opening(kind: Kind, words: Mapping[str, str]) -> str:
    """The opening marker that reads back as these words."""
    attributes = "".join(f' {name}="{told(value)}"' if value else f" {name}" for name, value in words.items())
    return f"<!-- expdb {kind}{attributes} -->"


def told(value: str) -> str:
    """The value as an attribute writes it: no `--`, `>`, quote, line end or template tag in it; `meant` reverses it."""
    names = {character: name for name, character in _ENTITIES.items()}
    return _TOLD.sub(lambda found: f"&{names.get(found[0]) or f'#{ord(found[0])}'};", value)


def meant(attribute: str) -> str:
    """The value that an attribute states."""

    def character(found: re.Match[str]) -> str:
        if found["name"]:
            return _ENTITIES.get(found["name"], found[0])
        code = int(found["number"] or found["hex"], 10 if found["number"] else 16)
        return chr(code) if code <= 0x10FFFF else found[0]

    return _REFERENCE.sub(character, attribute)


def read(text: str) -> tuple[list[Marker], list[Fault]]:
    """The pairs of markers of a page in their order, and what is wrong with any of them."""
    page = _Page(text)
    for tag in _tags(text):
        page.take(tag)
    page.end()
    return page.markers, sorted(page.faults, key=lambda fault: fault.line)


@dataclass(frozen=True, slots=True)
class _Tag:
    """One comment of ours. inner: what stands behind the word expdb; end is -1 where it is not closed. paragraph: where
    its paragraph begins, which a marker within a line shares with the one that closes it."""

    closes: bool
    inner: str
    start: int
    end: int
    paragraph: int


class _Page:
    """Tags on their way to markers."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.markers: list[Marker] = []
        self.faults: list[Fault] = []
        self.starts = [found.start() for found in _LINE.finditer(text)]
        self.open: list[_Tag] = []
        self.nested = False

    def fault(self, tag: _Tag, message: str, hint: str | None = None) -> None:
        self.faults.append(Fault(self.line_of(tag.start), message, hint))

    def line_of(self, place: int) -> int:
        return bisect_right(self.starts, place)

    def take(self, tag: _Tag) -> None:
        if tag.end < 0:
            self.fault(tag, "this marker does not end", "close it with --> before the next blank line")
        elif not tag.closes:
            if self.open:
                above = self.line_of(self.open[-1].start)
                self.fault(
                    tag,
                    f"a marker within the one of line {above}",
                    f"close that one first: {CLOSING}",
                )
                self.nested = True
            self.open.append(tag)
        elif not self.open:
            self.fault(tag, "this closes nothing", "take it away, or open a block above it: <!-- expdb table ... -->")
        else:
            opened = self.open.pop()
            # What lies around or within another is no pair to write into.
            if not self.open and not self.nested:
                self.pair(opened, tag)

    def end(self) -> None:
        if not self.nested:
            for tag in self.open:
                self.fault(tag, f"this marker is never closed by {CLOSING}", f"put {CLOSING} behind its block")

    def pair(self, opened: _Tag, closed: _Tag) -> None:
        kind, words = self.kind(opened), self.words(opened)
        if kind is None or words is None:
            return
        said = closed.inner.strip()
        if said not in ("", kind):
            self.fault(closed, f"this closes {said!r}, and a {kind} is open", CLOSING)
            return
        lead = self.before(opened.start)
        stands_first = bool(_LEAD.fullmatch(lead))
        line_end = _LINE.match(self.text, opened.end)
        rest = line_end[0] if line_end else ""
        is_alone = stands_first and not rest.strip()
        line = self.line_of(opened.start)
        if kind == "value":
            if stands_first:
                hint = "begin the line with a word; Markdown takes a line that begins with a comment for HTML"
                self.fault(opened, "a value stands within a line", hint)
            elif "|" in opened.inner and "|" in lead:
                self.fault(opened, "| stands in a marker within a table, where it ends the cell", "write it as &#124;")
            elif opened.paragraph != closed.paragraph:
                self.fault(opened, f"the {CLOSING} of a value stands in the same paragraph", "put it behind the number")
            else:
                self.markers.append(Marker(kind, words, line, opened.end, closed.start, None))
            return
        if not is_alone:
            self.fault(opened, f"a marker of {kind} stands on a line of its own", "put both on lines of their own")
            return
        after = _LINE.match(self.text, closed.end)
        if not _LEAD.fullmatch(self.before(closed.start)) or (after and after[0].strip()):
            self.fault(closed, f"what closes a {kind} stands on a line of its own", "put it on a line of its own")
            return
        prefix = re.sub(r"[^ \t>]", " ", lead)
        newline = rest[len(rest.rstrip("\r\n")) :] or "\n"
        self.markers.append(Marker(kind, words, line, opened.end, closed.start, prefix, newline))

    def before(self, place: int) -> str:
        """What stands before the place on its line."""
        start = max(self.text.rfind("\n", 0, place), self.text.rfind("\r", 0, place)) + 1
        return self.text[start:place]

    def kind(self, tag: _Tag) -> Kind | None:
        found = _KIND.match(tag.inner)
        kind = next((one for one in KINDS if found and one == found[1]), None)
        if kind is None:
            said = found[1] if found else ""
            close = get_close_matches(said, KINDS, 1)
            meant_ = f"did you mean {close[0]}? " if close else ""
            message = f"no marker is called {said!r}" if said else "this marker does not say what it is"
            self.fault(tag, message, f"{meant_}there are {', '.join(KINDS)}")
        return kind

    def words(self, tag: _Tag) -> dict[str, str] | None:
        found = _KIND.match(tag.inner)
        if not found:
            return None
        inner, place, out = tag.inner.rstrip(), found.end(), dict[str, str]()
        if "--" in inner:
            hint = "write each of them as &#45; within quotes"
            self.fault(tag, "`--` cannot stand in a marker: some renderers show the comment then", hint)
            return None
        while place < len(inner):
            word = _WORD.match(inner, place)
            if not word:
                left = inner[place:].strip()
                curly = "; quotes are straight" if re.search("[“”‘’]", left) else ""
                self.fault(tag, f"not understood: {left[:60]}", f'words are NAME="VALUE", apart by blanks{curly}')
                return None
            name, value = word[1], word[2] if word[2] is not None else word[3] or ""
            if name in out:
                self.fault(tag, f"{name} is given twice", "give it once")
                return None
            if ">" in value:
                raw = re.sub(r"\s+", " ", value.replace(">", "&gt;"))
                self.fault(tag, f"> stands in {name}, where some renderers end the comment", f'write: {name}="{raw}"')
                return None
            out[name] = meant(re.sub(r"\r\n?", "\n", value))
            place = word.end()
        return out


def _tags(text: str) -> Iterator[_Tag]:
    """Our comments in the order of the page, without those that are code."""
    for start, end in _paragraphs(text):
        place = start
        # What is not closed in this paragraph is not looked for again.
        missing: set[str] = set()

        def closing(pattern: str, place: int, end: int = end, missing: set[str] = missing) -> int | None:
            found = None if pattern in missing else re.compile(pattern).search(text, place, end)
            if found is None:
                missing.add(pattern)
            return found.end() if found else None

        while stop := _STOPS.search(text, place, end):
            place = stop.end()
            if stop[0][0] == "`":
                place = closing(rf"(?<!`){stop[0]}(?!`)", place) or place
            elif stop[0][0] == "{":
                place = closing(rf"\{{%-?\s*end{stop[1]}\b", place) or place
            elif stop[0] == "<!--":
                close = closing("-->", place)
                ours = _OURS.match(text, stop.start(), end)
                if ours:
                    inner = text[ours.end() : close - 3] if close else ""
                    yield _Tag(bool(ours[1]), inner, stop.start(), close or -1, start)
                place = close or place


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Where text stands that is no code, as (start, end); no code span goes on from one to the next."""
    lines = [found.span() for found in _LINE.finditer(text) if found.end() > found.start()]
    at = _behind_front_matter(text, lines)
    start: int | None = None
    items: list[int] = []
    was_blank, was_code = True, False
    while at < len(lines):
        first, last = lines[at]
        line = text[first:last]
        if not line.strip(" \t\r\n>"):
            if start is not None:
                yield start, first
                start = None
            was_blank = True
            at += 1
            continue
        indent = _indent(line)
        item = _ITEM.match(line)
        while items and indent < items[-1] and (was_blank or item):
            items.pop()
        if indent - (items[-1] if items else 0) >= 4 and (was_blank or was_code):
            # was_blank stays: code goes on behind a blank line.
            was_code = True
            at += 1
            continue
        was_blank, was_code = False, False
        if item:
            items.append(len(item[0].expandtabs(4)))
        fence, quoting = _FENCE.match(line), _QUOTING.match(line)
        behind = at
        if fence:
            behind = _behind_fence(text, lines, at, fence[1])
        elif quoting:
            behind = _behind_line(text, lines, at, re.compile(rf"\{{%-?\s*end{quoting[1]}\b")) or at
        elif line.lstrip(" \t>").startswith("<!--") and "-->" not in line and not _OURS.match(line.lstrip(" \t>")):
            # One that never ends hides the rest of the page.
            behind = _behind_line(text, lines, at, re.compile("-->")) or len(lines)
        if behind > at:
            if start is not None:
                yield start, first
                start = None
            was_blank = True
            at = behind
            continue
        if start is not None and _STARTS.match(line):
            yield start, first
            start = None
        start = first if start is None else start
        at = _behind_marker(text, lines, at)
    if start is not None:
        yield start, len(text)


def _indent(line: str) -> int:
    """Columns of blanks before the first other character."""
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip(" "))


def _behind_front_matter(text: str, lines: list[tuple[int, int]]) -> int:
    words = [text[first:last].rstrip() for first, last in lines[:1000]]
    if not words or words[0] != "---":
        return 0
    return next((at + 1 for at, word in enumerate(words) if at and word in ("---", "...")), 0)


def _behind_fence(text: str, lines: list[tuple[int, int]], at: int, mark: str) -> int:
    is_quoted = text[slice(*lines[at])].lstrip(" \t").startswith(">")
    closing = re.compile(rf"[ \t>]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*[\r\n]*\Z")
    for below in range(at + 1, len(lines)):
        line = text[slice(*lines[below])]
        if is_quoted and not line.lstrip(" \t").startswith(">"):
            # A quote ends, and its fence with it.
            return below
        if closing.match(line):
            return below + 1
    return len(lines)


def _behind_line(text: str, lines: list[tuple[int, int]], at: int, wanted: re.Pattern[str]) -> int | None:
    return next((i + 1 for i in range(at, len(lines)) if wanted.search(text, *lines[i])), None)


def _behind_marker(text: str, lines: list[tuple[int, int]], at: int) -> int:
    """The next line; where a marker of ours goes on over several lines, the one that follows these."""
    first, last = lines[at]
    found = list(_OURS.finditer(text, first, last))
    if not found or text.find("-->", found[-1].end(), last) >= 0:
        return at + 1
    for below in range(at + 1, len(lines)):
        if not text[slice(*lines[below])].strip():
            break
        if text.find("-->", *lines[below]) >= 0:
            return below + 1
    return at + 1
