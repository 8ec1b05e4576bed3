"""Settings out of the text around a training: argument dumps, configuration files, command lines.

Fed with the lines that are no measurements. What a dump looks like is known by its form alone: brackets after a name
that holds settings, rows of keys and values of one style, flags of a command.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from expdb.masking import is_secret
from expdb.parsers.configs.commands import command_in, flags_of, shown
from expdb.parsers.configs.literals import HOLDERS, Depth, Pairs, pairs_of
from expdb.parsers.configs.prefixes import body_of
from expdb.parsers.configs.rows import ITEM, OPENS, ROW, RULE, Rows, is_environment, is_measured, row_of

MOST_PARAMS = 400
LONGEST_VALUE = 500
# After so much text without a setting only the surest forms are looked for.
PATIENCE_CHARS = 300_000
_LONGEST_LINE = 200_000
_LONGEST_BLOCK = 3000
_MOST_ROWS = 1000
# Lines that a log reader took for itself may leave gaps in a dump.
_WIDEST_GAP = 5

_CALL = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*+)\((?=\s*(?:$|[\w.]+\s*=|\*\*\{))")
_BRACES = re.compile(r"(?:[^={}'\"]{0,80}[:= ]\s*)?(\{)(?=\s*(?:$|['\"]))")
_PROTO = re.compile(r"[\w.]+:?\s*\{\s*")
_MODULE = re.compile(r"\s*\([\w.\-]+\): ")
_MODULES = re.compile(r"(?:.*[\s:\"])?[A-Z]\w*\($")
_SUMMARY = re.compile(
    r"\s*[\w\-]+(?: ?\(\w+\))?\s+[\[(]+(?:-?\d+|None|\?)[\d, \])(None]*\s+[\d,\-]+|\s*Layer \(type|={20,}$|_{20,}$"
    r"|(?:Total|Trainable|Non-trainable) params:|(?:Input|Forward|Params|Estimated).* size \(MB\)"
)
_WEIGHTS = re.compile(
    r"(?i)(?!non)(?:[^:=]{0,40}\b)?"
    r"(?:number of (?:\w+ )?param(?:eter)?s|(?:total|model|trainable) param(?:eter)?s|n_param(?:eter)?s)"
    r"(?: \([MKB]\))?[\s:=]+([\d.,]*\d ?[kKmMbB]?)$"
)
_CODE = re.compile(
    r"\s*(?:import \w|from [\w.]+ import|def \w|class \w|return\b|elif |else:|try:|except\b|(?:if|for|while|with) .*:$"
    r"|@\w|assert |raise |self\.|\"\"\"|print\()"
)
_CODE_REACHES = 40


@dataclass(slots=True)
class _Block:
    """Brackets that opened and did not close yet. done: what to make of the text; None where it only goes by."""

    done: Callable[[str], bool] | None
    depth: Depth
    prefixed: bool
    lines: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    continued: bool | None = None


class ConfigReader:
    """Params and tags of the run that begins next.

    Feed it every line that is no measurement, in order; blank ones may be left out. When a run begins take `params`
    and `tags`, then `reset`. `consumed` has the numbers of lines that belong to a dump.
    """

    def __init__(self) -> None:
        self.consumed: set[int] = set()
        # Values that were too long, and settings beyond the limit.
        self.left_out = 0
        self.reset()

    def reset(self) -> None:
        """A run begins: what follows belongs to the next one."""
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._block: _Block | None = None
        self._rows: Rows | None = None
        self._last = self._header = self._module_at = -1
        self._asked = False
        self._code_until = 0
        self._in_vain = 0
        self._seen: dict[tuple[str, ...], Pairs] = {}
        self._unsteady: set[str] = set()

    def params(self) -> dict[str, str]:
        """Settings since the last reset, nested keys joined by dots, values as printed."""
        self._end_rows()
        return dict(self._params)

    def tags(self) -> dict[str, str]:
        """`command`, where one was printed."""
        return dict(self._tags)

    def feed(self, number: int, text: str) -> None:
        """One line that is no measurement. number: 1-based, never less than the one before."""
        if self._in_vain > PATIENCE_CHARS and self._block is None and "Namespace(" not in text and ".py " not in text:
            return
        self._in_vain += len(text) + 1
        if len(text) > _LONGEST_LINE or not text or text.isspace():
            return
        gap = number - self._last
        self._last = number
        if self._block and self._continues(self._block, number, text, gap):
            return
        if self._rows and gap > 1:
            self._end_rows()
        body, indent = body_of(text)
        if not body:
            self._end_rows()
            return
        if self._is_command(number, body) or self._is_brackets(number, text, body, indent):
            return
        if self._is_architecture(number, text, body):
            return
        if _CODE.match(body):
            self._code_until = number + _CODE_REACHES
        self._take_row(number, text, body, indent)

    # Brackets

    def _open(self, number: int, text: str, at: int, indent: int | None, done: Callable[[str], bool] | None) -> bool:
        """Brackets that open at text[at]; True where they stay open, or closed and done took them."""
        block = _Block(done, Depth(), indent is None, [text[at:]], [number])
        if block.depth.take(text, at) is None:
            self._block = block
            return True
        return self._close(block)

    def _continues(self, block: _Block, number: int, text: str, gap: int) -> bool:
        """Whether the line belongs to the open brackets; where it cannot, they are given up."""
        prefixed = body_of(text)[1] is None
        if block.continued is None:
            block.continued = prefixed
        # A new message ends one whose lines went on without a prefix.
        broken = block.prefixed and prefixed != block.continued
        if gap > _WIDEST_GAP or broken or len(block.numbers) > _LONGEST_BLOCK or "Namespace(" in text:
            self._block = None
            return False
        line = body_of(text)[0] if prefixed else text
        block.numbers.append(number)
        if block.done:
            block.lines.append(line)
        if block.depth.take(line) is not None:
            self._block = None
            self._close(block)
        return True

    def _close(self, block: _Block) -> bool:
        taken = block.done is None or block.done("\n".join(block.lines))
        if taken:
            self.consumed.update(block.numbers)
        return taken

    def _is_brackets(self, number: int, text: str, body: str, indent: int | None) -> bool:
        if "(" in body:
            for call in _CALL.finditer(body):
                if HOLDERS.search(call[1]) and (call[1] != "dict" or call.start() == 0):
                    self._end_rows()
                    return self._open(number, body, call.end() - 1, indent, self._take_call)
        if "{" not in body:
            return False
        if _PROTO.fullmatch(body) and "onfig" not in body:
            return self._open(number, body, body.index("{"), indent, None)
        braces = _BRACES.match(body)
        if not braces:
            return False
        row = ROW.fullmatch(body)
        if self._rows and row and row[4].startswith("{") and self._rows.style == (row[2] or ":"):
            return False
        return self._open(number, body, braces.start(1), indent, self._take_dict)

    def _take_call(self, text: str) -> bool:
        pairs = pairs_of(text, 0)
        if pairs:
            self._keep(pairs)
        return bool(pairs)

    def _take_dict(self, text: str) -> bool:
        pairs = pairs_of(text, 0)
        if not pairs or len(pairs) < 3 or is_measured(pairs):
            return False
        if is_environment(pairs):
            return True
        self._keep(self._steady(pairs))
        return True

    # Commands

    def _is_command(self, number: int, body: str) -> bool:
        asked, self._asked = self._asked, False
        if body.endswith(":") and "ommand" in body:
            self._asked = True
            return False
        if " -" not in body and ".py" not in body and body[-1] != "\\":
            return False
        found = command_in(f"command: {body}" if asked else body)
        if not found:
            return False
        command, typed = found
        self._end_rows()
        if typed:
            # Whatever was printed before belongs to another program.
            self._params.clear()
        block = _Block(self._take_command, _Backslash(), False, [command], [number])
        if block.depth.take(command) is None:
            self._block = block
            return True
        return self._close(block)

    def _take_command(self, text: str) -> bool:
        command = " ".join(line.rstrip("\\").strip() for line in text.split("\n"))
        if not command_in(f"command: {command}"):
            return False
        self._tags["command"] = shown(command)
        self._keep(list(flags_of(command).items()))
        return True

    # Models

    def _is_architecture(self, number: int, text: str, body: str) -> bool:
        """Layers of a model, which are no settings."""
        weights = _WEIGHTS.match(body)
        if weights:
            # The whole model is counted before what of it is trained.
            self._keep([] if "n_parameters" in self._params else [("n_parameters", weights[1])])
            self.consumed.add(number)
            return True
        if _MODULE.match(text) or (self._module_at == number - 1 and body.strip(')"') == ""):
            if self._header == number - 1:
                self.consumed.add(self._header)
            self._module_at = number
            self.consumed.add(number)
            return True
        if _MODULES.match(body):
            self._header = number
            return True
        if _SUMMARY.match(text):
            self.consumed.add(number)
            return True
        return False

    # Rows

    def _take_row(self, number: int, text: str, body: str, indent: int | None) -> None:
        rows = self._rows
        if rows and rows.style == "|" and RULE.match(body):
            rows.numbers.append(number)
            return
        item = ITEM.match(body) if rows and rows.style == ":" else None
        if rows and item:
            rows.add_item(item[1] or "")
            rows.numbers.append(number)
            return
        found = row_of(body)
        if not found or (number < self._code_until and found[0] in "=:"):
            self._end_rows()
            return
        style, pairs = found
        prefixed = indent is None
        kept: Pairs = []
        if rows and rows.prefixed and not prefixed and rows.style == style:
            # A message of many lines has its prefix, and may have its first row, in the first.
            kept = [pair for pair in rows.last if pair[1]]
            rows.drop_last()
        if rows is None or rows.style != style or rows.prefixed != prefixed or len(rows.numbers) >= _MOST_ROWS:
            self._end_rows()
            rows = self._rows = Rows(style, prefixed=prefixed)
            if kept:
                rows.numbers.append(number - 1)
                rows.pairs += kept
        rows.starts_at = len(rows.pairs)
        rows.numbers.append(number)
        for key, value in pairs:
            if style in "=:" and (opens := OPENS.match(value)) and (value[0] in "[{(" or HOLDERS.search(opens[0][:-1])):
                self._open_value(number, rows, key, value, indent)
            else:
                rows.add(key, value, (indent or 0) if style == ":" else 0)

    def _open_value(self, number: int, rows: Rows, key: str, value: str, indent: int | None) -> None:
        """A value that is a mapping or a list, of one line or many."""
        level = (indent or 0) if rows.style == ":" else 0

        def take(text: str) -> bool:
            opening = min(at for at in map(text.find, "([{") if at >= 0)
            pairs = pairs_of(text, opening) if text[opening] == "{" or opening else None
            rows.add(key, " ".join(text.split()) if pairs is None else "", level)
            if pairs:
                path = rows.pairs.pop()[0]
                rows.parents.pop()
                rows.pairs += [(f"{path}.{one}", inner) for one, inner in pairs]
                rows.parents.append((level, key, True))
            return True

        block = _Block(take, Depth(), indent is None, [value], [number])
        if block.depth.take(value) is None and block.depth.open:
            self._block = block
        else:
            take(value)

    def _end_rows(self) -> None:
        rows, self._rows = self._rows, None
        if rows is None:
            return
        pairs = rows.settings()
        if pairs is None:
            return
        self.consumed.update(rows.numbers)
        if not is_environment(pairs):
            self._keep(self._steady(pairs))

    # What is kept

    def _steady(self, pairs: Pairs) -> Pairs:
        """Without what changes from one print of the same keys to the next: a report, or a rank."""
        signature = tuple(key for key, _ in pairs)
        before = self._seen.get(signature)
        if before is None and len(self._seen) < 200:
            self._seen[signature] = pairs
        for one, other in zip(before or (), pairs, strict=False):
            if one != other:
                self._unsteady.add(one[0])
                self._params.pop(one[0], None)
        return [pair for pair in pairs if pair[0] not in self._unsteady]

    def _keep(self, pairs: Pairs) -> None:
        for key, value in pairs:
            # A token is nobody's business, and Hydra names every group, mostly None.
            if is_secret(key) or (value == "None" and re.search(r"(?:^|\.)_name$", key)):
                continue
            if len(value) > LONGEST_VALUE or len(key) > 200 or (key not in self._params and self._full):
                self.left_out += 1
            else:
                if key not in self._params:
                    self._in_vain = 0
                self._params[key] = value

    @property
    def _full(self) -> bool:
        return len(self._params) >= MOST_PARAMS


class _Backslash(Depth):
    """A command that goes on as long as its lines end in a backslash."""

    def take(self, line: str, at: int = 0) -> int | None:
        """The end of the line where it is the last."""
        return None if line.rstrip().endswith("\\") else len(line)
