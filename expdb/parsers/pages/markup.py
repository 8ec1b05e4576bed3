"""The blocks of a page: front matter, headings and captions, pasted logs, pipe tables.

Markdown or plain text. Only what is needed to tell results from prose; everything else is passed over.
Sources: CommonMark 0.31 (fences 4.5, ATX headings 4.2), GitHub Flavored Markdown 0.29 (tables 4.10).
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from expdb.parsers.logs.lines import epoch_of, is_log_line

CAPTION_COLUMNS = 60
NOISE_LINES = 20
# So far into a text without markup its first log stands.
_OPENING = 1 << 14

# Patterns run over whole pages: none may read the same blanks in two ways.
# A fence may open within a quote or a list item; back-ticks behind back-ticks are code in a line.
_FENCE = re.compile(r"(?:[ \t>]|[-*+][ \t]|\d{1,9}[.)][ \t])*(`{3,}(?!.*`)|~{3,})")
_FENCE_END = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t]*$")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t](.*)")
# Nearly so, and sooner known.
_FENCE_OR_HEADING = re.compile(r"[ \t>\d.)*+-]*(?:`{3}|~{3})| {0,3}#{1,6}[ \t]")
_RULE = re.compile(r"[-|: \t\r]+")
_DELIMITER = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_BOLD = re.compile(r"(\*\*|__)((?:(?!\1).)+)\1[ \t]*[:：]?")
# Also within a quote or a list item.
_OURS = re.compile(r"(?:[\s>]|(?:[-*+]|\d{1,9}[.)])[ \t])*<!--\s*expdb\b")
_COMMENT = re.compile(r" {0,3}<!--")
_OURS_END = re.compile(r"[\s>]*<!--\s*/expdb\b")
_FRONT_KEY = re.compile(r"([\w.-]+)[ \t]*:(?:[ \t]+(.*))?$")
# Not `max_tokens`, `tokenizer`, `passes`.
_SECRET = re.compile(
    r"passw(?:or)?d|passphrase|secret|credential|(?:api|access|private)[._-]?key"
    r"|(?:^|[._-])(?:pass|pwd|token)(?:$|\.)|(?:^|\.)tokens(?:$|\.)",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_YAML_LINE = re.compile(r"[\"'\w][^:|]{0,80}:(?:[ \t]|$)|[\]}]|- ")
_BLOCK_SCALARS = ("|", ">", "|-", ">-", "|+", ">+")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')[ \t]*(?:#.*)?$""")
# A line with these is code, a sentence, a list item, a link or a table.
_NO_CAPTION = re.compile(r"[={}\[\];<>|\\$&]|[，。？！；]|[.?!]$|://|^[-*+>#] |^[\d\W_]+$")
_IN_BRACKETS = re.compile(r"[(（][^()（）]*[)）]")
_NUMBERED = re.compile(r"\d+[.)、．] ?")
_CELL = re.compile(r"(?:\\.|[^|])*")
_CODE_CELL = re.compile(r"(?:\\.|`[^`]*`|[^|])*")
_MARKED = "[<`*_\\"
_MARKS = (
    (re.compile(r"!?\[([^\[\]]{0,500})\]\([^()]{0,2000}\)"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]{0,500}>"), ""),
    (re.compile(r"(?<!\\)`"), ""),
    (re.compile(r"(?<!\\)\*\*(?=\S)(.{1,500}?)(?<=[^\s\\])\*\*"), r"\1"),
    (re.compile(r"(?<![\w\\])__(?=\S)(.{1,500}?)(?<=[^\s\\])__(?!\w)"), r"\1"),
    (re.compile(r"(?<!\\)\*(?=[^\s*])([^*]{1,500})(?<=[^\s\\])\*"), r"\1"),
    (re.compile(r"(?<![\w\\])_(?=[^\s_])([^_]{1,500}|\w{1,500}?)(?<=[^\s\\])_(?!\w)"), r"\1"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
_NAME = re.compile(r"[A-Za-z][\w.+/-]*$")
# First words of a description ("with batch norm", "改用预训练模型"), as opposed to a name ("ResNet").
_DESCRIBES = frozenset(
    (
        *("with", "without", "using", "use", "used", "after", "before", "adding", "add", "added", "plus", "change"),
        *(
            "changed",
            "replace",
            "replaced",
            "no",
            "then",
            "and",
            "on",
            "in",
            "for",
            "from",
            "to",
            "by",
            "the",
            "a",
            "an",
        ),
        *("train", "training", "trained", "test", "testing", "results", "result"),
    )
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the page a block stands: headings from the outermost, and the caption above it."""

    headings: tuple[str, ...] = ()
    caption: str | None = None


@dataclass(slots=True)
class LogBlock:
    """Lines of a pasted log; the first is number `line`."""

    line: int
    lines: list[str]
    place: Place
    fenced: bool


@dataclass(slots=True)
class TableBlock:
    """A pipe table: header cells, and rows as (line, cells); cells as written, without outer blanks."""

    line: int
    header: list[str]
    rows: list[tuple[int, list[str]]]
    place: Place


@dataclass(slots=True)
class Page:
    """A page taken apart. marked: it has front matter, fences or tables; headed: it has `#` headings; captioned:
    stand-alone lines name its blocks; prose: so many lines are sentences."""

    front: Mapping[str, str] = field(default_factory=dict)
    blocks: list[LogBlock | TableBlock] = field(default_factory=list)
    title: str | None = None
    marked: bool = False
    headed: bool = False
    captioned: bool = False
    prose: int = 0


def has_markup(text: str) -> bool:
    """Whether there is front matter, a fence, a heading or a table, or what looks like one."""
    above = ""
    for line in text.split("\n"):
        if _FENCE_OR_HEADING.match(line):
            return True
        if "|" in above and "-" in line and _RULE.fullmatch(line) and len(cells(line)) == len(cells(above)):
            return True
        above = line
    return text[: text.find("\n")].rstrip() == "---"


def has_captions(text: str) -> bool:
    """Whether a text without markup may have captions and, near its beginning, a log: most logs have no caption."""
    lines = text.split("\n")
    above = ""
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        stands_alone = not above or above.isspace()
        above = line
        if ("**" in line or "__" in line) and _BOLD.fullmatch(line.strip()):
            break
        if not stands_alone or not line or _caption(line) is None or is_log_line(line):
            continue
        if not after.strip() or is_log_line(after):
            break
    else:
        return False
    return any(map(is_log_line, text[:_OPENING].split("\n")))


def scan(text: str, enough: Callable[[Page], bool] | None = None) -> Page:
    """The blocks of a page, in order. enough: asked after each block whether to stop at it."""
    return _Scanner(text.split("\n"), enough).page()


class _Scanner:
    def __init__(self, lines: list[str], enough: Callable[[Page], bool] | None = None) -> None:
        self.enough = enough
        self.lines = [line.removesuffix("\r") for line in lines]
        self.at = 0
        self.out = Page()
        self.headings: list[tuple[int, str]] = []
        self.caption: str | None = None
        self.name: str | None = None
        self.has_headings = False
        self.fence_end = 0
        # Behind the last of these marks none is looked for.
        self.ours_end = max((i for i, line in enumerate(self.lines) if _OURS_END.match(line)), default=-1)

    def page(self) -> Page:
        self._front_matter()
        start = self.at
        # A page either has `#` headings or names its parts by stand-alone lines.
        self.has_headings = any(True for _ in self._atx(start))
        self.out.marked, self.out.headed = bool(self.out.front), self.has_headings
        self.at = start
        known = 0
        while self.at < len(self.lines):
            self._block()
            if self.enough and len(self.out.blocks) > known:
                known = len(self.out.blocks)
                if self.enough(self.out):
                    break
        self.out.title = self.out.front.get("title") or self._first_title(start)
        return self.out

    def _first_title(self, start: int) -> str | None:
        tops = [text for _, level, text in self._atx(start) if level == 1]
        return tops[0] if len(tops) == 1 else None

    def _block(self) -> None:
        line = self.lines[self.at]
        if not line or line.isspace():
            self.at += 1
        elif _OURS.match(line):
            self._skip_ours()
        elif _COMMENT.match(line):
            self._skip_comment()
        elif fence := _FENCE.match(line):
            self._fence(fence[1])
        elif self.has_headings and (heading := self._heading_at(self.at)):
            self._open_heading(*heading)
            self.at += 1
        elif self._is_table(self.at):
            self._table()
        elif is_log_line(line):
            self._log()
        else:
            self._text(line)
            self.at += 1

    def _place(self) -> Place:
        names = tuple(text for _, text in self.headings) if self.has_headings else (self.name,) if self.name else ()
        return Place(names, self.caption)

    def _front_matter(self) -> None:
        if not self.lines or self.lines[0].rstrip() != "---":
            return
        ends = (i for i, line in enumerate(self.lines[1:], 1) if line.rstrip() in ("---", "..."))
        end = next(ends, None)
        # Two rules across a page enclose prose.
        if end is None or not _is_yaml(self.lines[1:end]):
            return
        self.out.front = front_matter(self.lines[1:end])
        self.at = end + 1

    def _atx(self, start: int) -> Iterator[tuple[int, int, str]]:
        """(index, level, text) of headings outside fences."""
        fence = ""
        for i in range(start, len(self.lines)):
            if fence:
                fence = "" if _closes(self.lines[i], fence) else fence
            elif mark := _FENCE.match(self.lines[i]):
                fence = mark[1]
            elif heading := self._heading_at(i):
                yield i, *heading

    def _heading_at(self, i: int) -> tuple[int, str] | None:
        found = _HEADING.match(self.lines[i])
        if not found:
            return None
        text = found[2].strip()
        # Closing marks stand behind a blank: "## C#" keeps its own.
        text = text.rstrip("#").rstrip() if re.search(r"(?:^|[ \t])#+$", text) else text
        if not text:
            return None
        # `# text` is a comment of pasted code unless it stands alone.
        if len(found[1]) == 1:
            above = self.lines[i - 1].strip() if i else ""
            below = self.lines[i + 1].strip() if i + 1 < len(self.lines) else ""
            if (above and above != "---") or below.startswith("# "):
                return None
        return len(found[1]), plain(text)

    def _open_heading(self, level: int, text: str) -> None:
        self.headings = [one for one in self.headings if one[0] < level] + [(level, text)]
        self.caption = None

    def _text(self, line: str) -> None:
        """A line of prose, or the caption of what follows."""
        text = self._caption_of(line)
        if text is None:
            self.out.prose += is_wide(line, CAPTION_COLUMNS - 1) or bool(re.search("[，。]", line))
            return
        self.out.captioned = True
        if self.has_headings:
            self.caption = text
        elif _is_name(text) or self.name is None or (not _has_latin(self.name) and not _describes(text)):
            # Until a model is named, each short line opens a part of the page.
            self.name, self.caption = text, None
        else:
            self.caption = text

    def _caption_of(self, line: str) -> str | None:
        """The text of a short line that stands alone, or of one in bold."""
        if bold := _BOLD.fullmatch(line.strip()):
            return plain(bold[2]) or None
        above = self.at not in (0, self.fence_end) and bool(self.lines[self.at - 1].strip())
        text = None if above else _caption(line)
        if text is None:
            return None
        below = self.at + 1 < len(self.lines) and bool(self.lines[self.at + 1].strip())
        if below:
            # A caption may sit right on top of what it names.
            after = self.lines[self.at + 1]
            below = not (_FENCE.match(after) or self._is_table(self.at + 1) or is_log_line(after))
        return None if below else text

    def _skip_comment(self) -> None:
        """What a page hides is no result; a comment that never ends is none."""
        end = next((i for i in range(self.at, len(self.lines)) if "-->" in self.lines[i]), self.at)
        self.at = end + 1

    def _skip_ours(self) -> None:
        """What expdb itself wrote on the page is no source."""
        for i in range(self.at + 1, self.ours_end + 1):
            if _OURS_END.match(self.lines[i]):
                self.at = i + 1
                return
        self.at += 1

    def _fence(self, mark: str) -> None:
        start = self.at + 1
        end = start
        while end < len(self.lines):
            if _closes(self.lines[end], mark):
                break
            end += 1
        self.at = self.fence_end = end + 1
        self.out.marked = True
        logs = [i for i in range(start, min(end, len(self.lines))) if is_log_line(self.lines[i])]
        if logs:
            first, last = logs[0], logs[-1]
            self.out.blocks.append(LogBlock(first + 1, self.lines[first : last + 1], self._place(), fenced=True))

    def _log(self) -> None:
        """Log lines without a fence: up to the first line that is none.

        Blank lines between consecutive epochs do not end it: that is how a log is pasted into Markdown
        when each line has to be its own paragraph. Nor do a few other lines without a blank one, where the
        epochs go on behind them: that is what a program printed between its epochs.
        """
        start = self.at
        end = start + 1
        epoch = epoch_of(self.lines[start])
        while end < len(self.lines):
            after = end if is_log_line(self.lines[end]) else self._goes_on_at(end, epoch)
            if after is None:
                break
            epoch = epoch_of(self.lines[after]) if epoch_of(self.lines[after]) is not None else epoch
            end = after + 1
        # One line of known quantities amid prose is a sentence.
        if end > start + 1 or epoch_of(self.lines[start]) is not None:
            self.out.blocks.append(LogBlock(start + 1, self.lines[start:end], self._place(), fenced=False))
        self.at = end

    def _goes_on_at(self, end: int, epoch: int | None) -> int | None:
        """Index of the line where a log goes on that stopped before index end at the epoch."""
        after = end
        if not self.lines[end].strip():
            while after < len(self.lines) and not self.lines[after].strip():
                after += 1
            following: set[int | None] = {epoch + 1} if epoch is not None else set()
        else:
            while after < min(end + NOISE_LINES, len(self.lines)) and self._is_noise(after):
                after += 1
            following = {epoch, epoch + 1} if epoch is not None else {None}
        if after == len(self.lines) or not is_log_line(self.lines[after]):
            return None
        return after if epoch_of(self.lines[after]) in following else None

    def _is_noise(self, i: int) -> bool:
        """Whether a log's program may have printed the line."""
        line = self.lines[i]
        if not line.strip() or is_log_line(line) or _FENCE.match(line) or self._is_table(i):
            return False
        return not (self.has_headings and self._heading_at(i))

    def _is_table(self, i: int) -> bool:
        return "|" in self.lines[i] and i + 1 < len(self.lines) and self._is_delimiter(i + 1)

    def _is_delimiter(self, i: int) -> bool:
        line = self.lines[i].strip()
        return bool(_DELIMITER.fullmatch(line)) and len(cells(line)) == len(cells(self.lines[i - 1]))

    def _table(self) -> None:
        header = cells(self.lines[self.at])
        block = TableBlock(self.at + 1, header, [], self._place())
        self.at += 2
        while self.at < len(self.lines) and "|" in self.lines[self.at]:
            line = self.lines[self.at]
            row = cells(line)
            if len(row) > len(header):
                row = cells(line, code=True)
            block.rows.append((self.at + 1, row))
            self.at += 1
        self.out.marked = True
        self.out.blocks.append(block)


def _caption(line: str) -> str | None:
    """What a line that stands alone may name: a few words, no sentence."""
    text = plain(line.strip()).rstrip(":： ")
    if number := _NUMBERED.match(text):
        # "3. NIN" is a heading, "3. Download the data" an item of a list.
        text = text[number.end() :]
        if not (_is_name(text) and re.search(r"[A-Z\d]", text)):
            return None
    # What stands in brackets is a remark: "ResNet-50 (pretrained, lr=0.01)". Right behind a word they are a call.
    if (
        not text
        or re.search(r"\w\(", text)
        or is_wide(text, CAPTION_COLUMNS)
        or _NO_CAPTION.search(_IN_BRACKETS.sub(" ", text).strip())
    ):
        return None
    return text


def _closes(line: str, mark: str) -> bool:
    found = _FENCE_END.match(line)
    return found is not None and found[1].startswith(mark)


def _has_latin(text: str) -> bool:
    return bool(re.match(r"[A-Za-z]", text))


def _describes(text: str) -> bool:
    """Whether a Chinese caption says what was done rather than what it is about."""
    return bool(
        re.match("使用|改用|采用|换用|加入|增加|加上|去掉|去除|换成|改为|改成|调整|对|将|把|在|用|不|没有|只", text)
    )


def _is_name(text: str) -> bool:
    """Whether a caption names a model or data set: `Vgg19`, `Wide ResNet`, `ResNet50 (pretrained)`."""
    words = _IN_BRACKETS.sub("", text).split()
    if not words or not all(_NAME.match(word) for word in words):
        # "ResNet50 预训练": a name with a remark.
        return len(words) > 1 and bool(_NAME.match(words[0])) and any(c.isupper() or c.isdigit() for c in words[0])
    return len(words) <= 3 and words[0].lower() not in _DESCRIBES and (len(words) == 1 or any(map(str.isupper, text)))


def is_wide(text: str, most: int) -> bool:
    """Whether the text needs more terminal columns than most."""
    if text.isascii() or len(text) > most:
        return len(text) > most
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text) > most


def plain(text: str) -> str:
    """Inline Markdown without its marks: emphasis, code ticks, links, tags, escapes. `a * b` and `x < y` stay."""
    # Most lines bear no mark at all.
    if any(map(text.__contains__, _MARKED)):
        for pattern, kept in _MARKS:
            text = pattern.sub(kept, text)
    return text.strip()


def cells(line: str, *, code: bool = False) -> list[str]:
    """Cells of a table row, as written. code: a bar within back-ticks belongs to its cell."""
    return [line[start:end].strip().replace("\\|", "|") for start, end in spans(line, code=code)]


def spans(line: str, *, code: bool = False) -> list[tuple[int, int]]:
    """Where the cells of a table row stand: what lies between its bars, blanks and all."""
    body = line.strip().removeprefix("|")
    shift = len(line) - len(line.lstrip()) + (line.lstrip().startswith("|"))
    pattern = _CODE_CELL if code else _CELL
    found, at = [], 0
    while at <= len(body):
        match = pattern.match(body, at)
        assert match is not None, "the pattern fits the empty text"
        found.append((shift + at, shift + match.end()))
        at = match.end() + 1
    # The closing bar opens no cell.
    if len(found) > 1 and body.rstrip().endswith("|") and not body[found[-1][0] - shift :].strip():
        found.pop()
    return found


def front_matter(lines: list[str]) -> dict[str, str]:
    """Keys and values of a YAML front matter: scalars, lists (joined by commas) and nested keys (dotted).

    The subset of YAML that blogs write; PyYAML is no part of the core. Keys that name a password or
    token are left out, for what is stored is shown.
    """
    out: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    block: int | None = None
    for line in lines:
        text = line.strip()
        if not text:
            continue
        depth = len(line) - len(line.lstrip())
        block = block if block is not None and depth > block else None
        key = ".".join(name for _, name in path)
        if block is not None:
            out[key] = " ".join(filter(None, (out.get(key), text)))
        elif text.startswith("#"):
            continue
        elif text.startswith("- ") and path:
            out[key] = ", ".join(filter(None, (out.get(key), _scalar(text[2:]))))
        elif found := _FRONT_KEY.match(text):
            path = [one for one in path if one[0] < depth] + [(depth, found[1])]
            value = _scalar(found[2] or "")
            if value:
                out[".".join(name for _, name in path)] = value
            block = depth if found[2] and found[2].strip() in _BLOCK_SCALARS else None
    return {key: value for key, value in out.items() if not _SECRET.search(_CAMEL.sub("_", key))}


def _is_yaml(lines: list[str]) -> bool:
    """Whether lines between two rules are keys and values."""
    said = [line for line in lines if line.strip() and not line.startswith(("#", " ", "\t"))]
    if not said:
        return not any(map(str.strip, lines))
    return all(_YAML_LINE.match(line) and not is_log_line(line) for line in said)


def _scalar(text: str) -> str:
    text = text.strip()
    if quoted := _QUOTED.match(text):
        return quoted[1].replace('\\"', '"') if quoted[2] is None else quoted[2].replace("''", "'")
    text = "" if text.startswith("#") else text.partition(" #")[0].rstrip()
    if text.startswith("[") and text.endswith("]"):
        return ", ".join(filter(None, (one.strip().strip("'\"") for one in text[1:-1].split(","))))
    return "" if text in ("null", "~", *_BLOCK_SCALARS) else text
