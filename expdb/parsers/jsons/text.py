"""Text to records: JSON objects and printed Python dicts, one or several to a line, with NaN as Python prints it.

A text is decoded twice: PLAIN gives numbers as numbers, which says what each field is; PRINTED leaves what is
printed with a point or an exponent as text, which costs nothing and keeps the digits that repr() would lose (`0.50`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from expdb.parsers.logs.lines import EXAMPLES
from expdb.records import Unparsed

JsonValue: TypeAlias = object
Record: TypeAlias = dict[str, JsonValue]

# Control characters within a text are no reason to lose a line.
PLAIN = json.JSONDecoder(strict=False)
PRINTED = json.JSONDecoder(strict=False, parse_float=str, parse_constant=str)

# More levels or fields than this are no record of a training.
_DEPTH, _FIELDS = 8, 4096
OPENS = ('{"', "{'", '{ "', "{ '")
# How Python prints numbers that are not its own.
_WRAPPED = (
    r"(?:(?:np|numpy|torch|jnp|tf)\.)?(?:(?:b?float|u?int)\d*(?:_\d+)?|tensor|array|Array|DeviceArray)"
    r"\(\s*([^()\[\],\s]++)[^()\n]{0,80}\)"
)
_PYTHON = re.compile(
    # An unclosed quote takes the rest: looking for its end again from every later one would take for ever.
    r"""'(?:[^'\\]|\\.?)*+(?:'|$)|"(?:[^"\\]|\\.?)*+(?:"|$)|"""
    rf"\b(?:True|False|None|nan|inf)\b|\b{_WRAPPED}|[()]"
)
_NUMBER = re.compile(r"[-+\d.eE]*|NaN|-?Infinity")
# A record in long form says its metric's name under one of these, and its value under one of those.
_NAMES, _VALUES = ("name", "metric", "tag", "key", "metric_name"), ("value", "val")
_WORDS = {"True": "true", "False": "false", "None": "null", "nan": "NaN", "inf": "Infinity", "(": "[", ")": "]"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_NOT_PLAIN = re.compile(r"""["\\(]|True|False|None|nan|inf""")
# A member without its value or an item without its neighbour is what a trailing comma leaves.
_LEFT_COMMA = re.compile(r",(\s*[}\]])")


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records: the line each begins at, its fields by label, its text."""

    lines: Sequence[int]
    records: Sequence[Record]
    texts: Sequence[str]


@dataclass(slots=True)
class Skipped:
    """Lines that are no record, counted."""

    count: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """One more; blank ones do not count."""
        if text and not text.isspace():
            self.count += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append((line, text.rstrip("\r")[:200]))

    @property
    def unparsed(self) -> Unparsed:
        """What to tell the person."""
        return Unparsed(self.count, tuple(sorted(self.examples)))


def batch_of(line: int, text: str, decoder: json.JSONDecoder, skipped: Skipped) -> Batch:
    """The records of whole lines, the first of which has the given number; the lines that hold none go to skipped."""
    rows = text.split("\n")
    bodies = [row.strip().rstrip(",").rstrip() for row in rows]
    whole = [i for i, body in enumerate(bodies) if body[:1] == "{" and body[-1:] == "}"]
    found: list[tuple[int, Record, str]] = []
    kept = [bodies[i] for i in whole]
    if kept and "'" in kept[0][:3]:
        kept = [_as_json(body) or body for body in kept]
    records = _decode_all(kept, decoder)
    if records is None:
        whole = []
    else:
        records = _levelled(records, text)
        if len(whole) == len(rows):
            return Batch(range(line, line + len(rows)), records, rows)
        found = [(i, record, rows[i]) for i, record in zip(whole, records, strict=True)]
    read = set(whole)
    for i, body in enumerate(bodies):
        if i in read or not body or body in ("[", "]"):
            continue
        one = _levelled(records_in(rows[i], decoder), rows[i])
        found += [(i, record, rows[i]) for record in one]
        if not one:
            skipped.add(line + i, rows[i])
    found.sort(key=lambda item: item[0])
    return Batch([line + i for i, _, _ in found], [record for _, record, _ in found], [text for _, _, text in found])


def _levelled(records: list[Record], text: str) -> list[Record]:
    """The records that stand in a text, without levels and without the long form."""
    if text.count("{") != len(records):
        records = [flat(record) for record in records]
    if any(f"{quote}{value}{quote}" in text for value in _VALUES for quote in "'\""):
        records = [widened(record) for record in records]
    return records


def _decode_all(bodies: Sequence[str], decoder: json.JSONDecoder) -> list[Record] | None:
    """One record for each body; None where any of them is something else."""
    try:
        values = decoder.decode(f"[{','.join(bodies)}]")
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(bodies) and set(map(type, values)) <= {dict} else None


def records_in(text: str, decoder: json.JSONDecoder) -> list[Record]:
    """The records of one physical line: behind a prefix, a progress bar or each other; [] where there is none."""
    found: list[Record] = []
    for piece in text.split("\r") if "\r" in text else (text,):
        start = min((at for at in (piece.find(mark) for mark in OPENS) if at >= 0), default=-1)
        end = piece.rfind("}") + 1
        if 0 <= start < end:
            found += _objects(piece[start:end], decoder)
    return found


def _as_it_is(text: str) -> str:
    return text


def _without_last_commas(text: str) -> str:
    return _LEFT_COMMA.sub(r"\1", text)


def _objects(text: str, decoder: json.JSONDecoder) -> list[Record]:
    # Each form is made only when the one before it has failed.
    for form_of in (_as_json, _as_it_is, _without_last_commas) if text[1:3].find("'") >= 0 else _FORMS:
        form = form_of(text)
        if form is None:
            continue
        out: list[Record] = []
        at = 0
        try:
            while at < len(form):
                value, at = decoder.raw_decode(form, at)
                while at < len(form) and form[at] in " \t,":
                    at += 1
                if isinstance(value, dict):
                    out.append(value)
        except (ValueError, RecursionError):
            # What stands before a broken object was whole.
            pass
        if out:
            return out
    return []


def _as_json(text: str) -> str | None:
    """A printed Python dict as JSON; None where nothing in it is Python's."""
    if "'" not in text:
        return _PYTHON.sub(_token, text) if _NOT_PLAIN.search(text) else None
    plain = text.replace("'", '"')
    return _PYTHON.sub(_token, text) if _NOT_PLAIN.search(text) else plain


_FORMS: tuple[Callable[[str], str | None], ...] = (_as_it_is, _without_last_commas, _as_json)


def _token(found: re.Match[str]) -> str:
    token = found[0]
    if token[0] in "'\"":
        body = token[1:-1] if len(token) > 1 and token[-1] == token[0] else token[1:]
        return json.dumps(_ESCAPE.sub(_character, body), ensure_ascii=False)
    if found[1]:
        return _WORDS.get(found[1], found[1])
    return _WORDS.get(token, token)


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(found[2], found[2])


def record_of(text: str) -> Record | None:
    """The last record printed on a line, its fields by label; None, quickly, where the line has none."""
    if "{" not in text:
        return None
    found = records_in(text, PLAIN)
    return flat(found[-1]) if found else None


def flat(record: Mapping[str, JsonValue]) -> Record:
    """A record without levels: the names on the way to a value are joined by "/"."""
    for value in record.values():
        if type(value) is dict:
            out: Record = {}
            _flatten(record, "", 0, out)
            return out
    return record if type(record) is dict else dict(record)


def widened(record: Record) -> Record:
    """A record in long form (`{"name": "loss", "value": 0.5, "step": 3}`) as the field it stands for; every other
    record as it is."""
    for value in _VALUES:
        if value in record:
            for name in _NAMES:
                label = record.get(name)
                # A number that is left as text is no name.
                if isinstance(label, str) and label and not _NUMBER.fullmatch(label):
                    rest = {key: one for key, one in record.items() if key not in (name, value)}
                    return {label: record[value], **rest}
    return record


def _flatten(record: Mapping[str, JsonValue], prefix: str, depth: int, out: Record) -> None:
    for key, value in record.items():
        label = f"{prefix}{key}"
        if isinstance(value, dict) and value and depth < _DEPTH:
            _flatten(value, f"{label}/", depth + 1, out)
        elif len(out) < _FIELDS:
            out[label] = value


def members(text: str, at: int, decoder: json.JSONDecoder) -> Iterator[tuple[str, int, JsonValue]]:
    """Key, place and value of each member of the object that begins at `at`; ValueError where it is broken."""
    at = _blank(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = decoder.raw_decode(text, at)
        at = _blank(text, at)
        if text[at : at + 1] != ":" or not isinstance(key, str):
            raise ValueError("no member of an object")
        start = _blank(text, at + 1)
        value, at = decoder.raw_decode(text, start)
        yield key, start, value
        at = _next(text, at, "}")


def elements(text: str, at: int, decoder: json.JSONDecoder) -> Iterator[tuple[int, int, JsonValue]]:
    """Start, end and value of each item of the list that begins at `at`; ValueError where it is broken."""
    at = _blank(text, at + 1)
    while text[at : at + 1] != "]":
        start = at
        value, at = decoder.raw_decode(text, start)
        yield start, at, value
        at = _next(text, at, "]")


_BLANK = re.compile(r"[ \t\n\r]*")


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _next(text: str, at: int, end: str) -> int:
    at = _blank(text, at)
    if text[at : at + 1] == ",":
        return _blank(text, at + 1)
    if text[at : at + 1] != end:
        raise ValueError("a list or object that does not end")
    return at


# No document of results is as deep.
_DEEPEST = 32
_PIECE = re.compile(r'"(?:[^"\\]|\\.?)*+"?|[\[\]{},:]', re.DOTALL)


def mended(text: str) -> str:
    """A document that breaks off, closed behind its last whole member or item."""
    opened: list[str] = []
    cut, closing = 0, ""
    for found in _PIECE.finditer(text):
        piece = found[0]
        if piece in "{[":
            opened.append("}" if piece == "{" else "]")
            if len(opened) > _DEEPEST:
                break
            cut, closing = found.end(), "".join(reversed(opened))
        elif piece in "}]":
            if not opened or opened.pop() != piece:
                break
            cut, closing = found.end(), "".join(reversed(opened))
        elif piece == "," and opened:
            cut, closing = found.start(), "".join(reversed(opened))
    return text[:cut] + closing
