"""Nested values as Python and JSON print them, taken apart and not evaluated: `Namespace(lr=0.1, opt={'a': 1})`."""

import re

Pairs = list[tuple[str, str]]

# A quote inside a word is an apostrophe.
_STRING = r"(?<![^\[({,:=\s])[rbuRBU]{0,2}(?:'(?:[^'\\\n]|\\.)*+'|\"(?:[^\"\\\n]|\\.)*+\")"
_MARK = re.compile(rf"{_STRING}|[\[\](){{}},:=]")
_QUOTED = re.compile(r"(['\"])(.*)\1", re.DOTALL)
_ESCAPE = re.compile(r"((?:\\u[0-9a-fA-F]{4})+)|\\(?:x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(n)|(t)|([^\w\s]))")
# What holds settings by name, rather than being a value of its own such as device(type='cuda').
HOLDERS = re.compile(
    r"(?i)(?:namespace|arguments?|args|config|cfg|dict|munch|hparams|hyperparameters|options|settings)$"
)
_KEY = re.compile(r"[^\W\d][^\s=,()\[\]{}'\"]*|'[^'\n]+'|\"[^\"\n]+\"|\d+")
_DEPTH = 40


class Depth:
    """How many brackets are open after the lines taken so far."""

    def __init__(self) -> None:
        self.open = 0

    def take(self, line: str, at: int = 0) -> int | None:
        """Count from at on; where the last open bracket closes, the index behind it."""
        for mark in _MARK.finditer(line, at):
            if mark[0] in "([{":
                self.open += 1
            elif mark[0] in ")]}":
                self.open -= 1
                if self.open <= 0:
                    return mark.end()
        return None


def pairs_of(text: str, at: int) -> Pairs | None:
    """Keys, nested ones joined by dots, and values of the brackets that open at text[at]; None where it holds none.

    Values are as printed, strings without their quotes. Brackets that nobody closed end with the text.
    """
    tree = _Tree(text, at)
    return tree.pairs if tree.marks and tree.walk(0, "", 0) else None


def unquoted(text: str) -> str:
    """A value without the quotes around it, its escapes resolved."""
    text = text.strip()
    found = _QUOTED.fullmatch(text)
    if not found:
        return " ".join(text.split()) if "\n" in text else text
    return _ESCAPE.sub(_unescaped, found[2]) if "\\" in found[2] else found[2]


def _unescaped(found: re.Match[str]) -> str:
    units, byte, wide, line_feed, tab, sign = found.groups()
    if units:
        # JSON writes what lies beyond U+FFFF in two.
        return bytes.fromhex(units.replace("\\u", "")).decode("utf-16-be", "replace")
    if byte or wide:
        code = int(byte or wide, 16)
        # Databases take no NUL and terminals no control characters: these stay as printed.
        plain = 32 <= code < 0xD800 or 0xE000 <= code < 0x110000
        return chr(code) if plain else found[0]
    return "\n" if line_feed else "\t" if tab else str(sign)


class _Tree:
    """marks: brackets, commas and signs outside strings; closers: of each opening mark, the index of its end."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.pairs: Pairs = []
        self.marks: list[tuple[str, int]] = []
        self.closers: dict[int, int] = {}
        open_marks: list[int] = []
        for found in _MARK.finditer(text, at):
            sign = found[0]
            if sign in "([{":
                open_marks.append(len(self.marks))
            elif sign in ")]}":
                self.closers[open_marks.pop()] = len(self.marks)
            elif sign not in ",:=":
                continue
            self.marks.append((sign, found.start()))
            if not open_marks:
                break
        for opened in open_marks:
            self.closers[opened] = len(self.marks)
        self.marks.append(("", len(text)))

    def walk(self, opened: int, path: str, depth: int) -> bool:
        """Add the pairs within the marks opened; False, and nothing added, where it is no mapping."""
        bracket, start = self.marks[opened]
        end, known = self.closers[opened], len(self.pairs)
        sign = ":" if bracket == "{" else "="
        start += 1
        key: str | None = None
        leaf, nested = False, False
        at = opened + 1
        while at <= end:
            mark, position = self.marks[at]
            if at == end or mark == ",":
                item = self.text[start:position]
                if nested:
                    leaf = False
                elif key is not None:
                    self.pairs.append((key, unquoted(item)))
                    leaf = True
                elif leaf and item.strip():
                    # An unquoted value with a comma in it.
                    before, value = self.pairs[-1]
                    self.pairs[-1] = (before, f"{value},{item.rstrip()}")
                start, key, nested = position + 1, None, False
                at += 1
            elif mark == sign and key is None and not nested:
                name = _KEY.fullmatch(self.text[start:position].strip())
                if name:
                    key = f"{path}{unquoted(name[0])}"
                    start = position + 1
                at += 1
            elif mark in "([{":
                nested = self._enter(at, self.text[start:position].strip(), key, path, depth) or nested
                at = self.closers[at] + (self.closers[at] < end)
            else:
                at += 1
        return len(self.pairs) > known

    def _enter(self, at: int, before: str, key: str | None, path: str, depth: int) -> bool:
        """Walk the brackets that open at a mark where they hold settings by name."""
        holds = before in ("", "**") if self.marks[at][0] == "{" else bool(before and HOLDERS.search(before))
        if not holds or depth > _DEPTH or (key is None and before != "**"):
            return False
        return self.walk(at, path if key is None else f"{key}.", depth + 1)
