"""Which encoding the bytes of a log are in, and whether they are text at all."""

import codecs
import re
from collections import Counter

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # UTF-32 first: its mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LINE_FEEDS = {name: "\n".encode(name) for _, name in _BOMS if not name.startswith("utf-8")}

# Bytes below a space that text uses: tab, line feed, form feed, return, backspace, bell, escape.
_CONTROL = bytes(set(range(32)) - set(b"\t\n\f\r\b\a\x1b")) + b"\x7f"
# A crash leaves holes of NUL in a log; that is still a log.
_HOLE = re.compile(rb"\0{32,}")
_NOT_PLAIN = re.compile(
    r"[^ -~\t\r\n\f\b\a\x1b\0\xa0-\u024f\u0370-\u052f\u2000-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff00-\uffef]"
)
_LONG = re.compile(r"[^\x00-\u07ff\ufffd]")
_REPLACED = "\ufffd".encode()
# Progress bars stand in logs of every language.
_DRAWN = re.compile(r"[\x00-\x7f\u2500-\u25ff]+")
_EVIDENCE_BYTES = 1 << 13
# What logs are written in besides UTF-8; more candidates only add mistakes.
_OTHERS = ["gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1252", "cp1251"]
_RUN = re.compile(rb"[\x80-\xff]+")


def encoding_of(head: bytes, sample_bytes: int) -> str | None:
    """The encoding of a text whose first bytes are head; None where it is no text.

    The first sample_bytes say whether it is text. Where they are ASCII, the first bytes of head that are not say the
    encoding. A text that is nearly all UTF-8 is UTF-8.
    """
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    sample = head[:sample_bytes]
    if b"\0" in sample:
        if wide := _utf_16(sample):
            return wide
        sample = _HOLE.sub(b"", sample.rstrip(b"\0"))
    encoding = None if sample.isascii() else _encoding_beyond_ascii(sample)
    # A server's log may quote what it was sent; what is no proper UTF-8 has less credit.
    share = 0.9 if encoding is None or _is(sample, "utf-8") else 0.98
    if not sample or len(sample.translate(None, _CONTROL)) < share * len(sample):
        return None
    return encoding or _encoding_after_ascii(head, sample_bytes)


def _encoding_after_ascii(head: bytes, sample_bytes: int) -> str:
    if head.isascii():
        return "utf-8"
    for at in range(sample_bytes, len(head), sample_bytes):
        piece = head[at : at + sample_bytes]
        if not piece.isascii():
            return _encoding_beyond_ascii(piece)
    return "utf-8"


def _is(data: bytes, encoding: str) -> bool:
    try:
        # A sample may end within a character, but not within more than one.
        codecs.getincrementaldecoder(encoding)("strict").decode(data, final=False)
    except UnicodeDecodeError:
        return False
    return True


def _utf_16(sample: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of what is ASCII in it is NUL."""
    pairs = len(sample) // 2
    # Every character U+xx00 (一 is one) has its NUL on the other side.
    even, odd = sample[: 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > 0.3 * pairs and others < 0.1 * pairs and _is(sample[: 2 * pairs], name):
            text = sample[: 2 * pairs].decode(name, "replace")
            if len(_NOT_PLAIN.findall(text)) <= 0.02 * len(text):
                return name
    return None


def _encoding_beyond_ascii(data: bytes) -> str:
    """The encoding of bytes some of which are not ASCII."""
    if _is(data, "utf-8") or _is_damaged_utf_8(data):
        return "utf-8"
    evidence = _lines_beyond_ascii(data)
    if _is_chinese(evidence):
        return "gb18030"
    runs = _RUN.findall(evidence)
    # In the west of Europe letters with marks, and signs such as µ and °, stand between ASCII letters.
    if sum(len(run) == 1 for run in runs) >= 0.9 * len(runs):
        return "cp1252"
    # Its import costs more than reading most logs.
    from charset_normalizer import from_bytes

    best = from_bytes(evidence, cp_isolation=_OTHERS, preemptive_behaviour=False).best()
    if best is None:
        return "gb18030" if _is(data, "gb18030") else "utf-8"
    return best.encoding


def _is_damaged_utf_8(data: bytes) -> bool:
    """Whether more of it is UTF-8 than could be by chance: Chinese in GBK is UTF-8 in one character of seven."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=False)
    replaced = data.count(_REPLACED)
    broken = text.count("\ufffd") - replaced
    good = len(text) - len(text.encode("ascii", "ignore")) - broken
    return len(_LONG.findall(text)) + replaced >= broken or good >= 4 * broken


def _lines_beyond_ascii(data: bytes) -> bytes:
    lines, size = [], 0
    for line in data.splitlines(keepends=True):
        if not line.isascii():
            # The last one may be cut within a character; with others before it, it is not needed.
            lines.append(line[:_EVIDENCE_BYTES])
            size += len(line)
            if size > _EVIDENCE_BYTES:
                break
    if len(lines) > 1 and not lines[-1].endswith((b"\n", b"\r")):
        lines.pop()
    return b"".join(lines)


def _is_chinese(data: bytes) -> bool:
    """Whether GB18030 finds usual characters in it, and not those alone that Korean would have at these codes."""
    text = codecs.getincrementaldecoder("gb18030")("replace").decode(data, final=False)
    counts = Counter(_DRAWN.sub("", text))
    broken = counts.pop("\ufffd", 0)
    rows = {character: character.encode("gb2312", "ignore")[:1] for character in counts}
    usual = sum(count for character, count in counts.items() if b"\xa1" <= rows[character] <= b"\xa3")
    hanzi = {character for character, row in rows.items() if b"\xb0" <= row <= b"\xd7"}
    usual += sum(counts[character] for character in hanzi)
    if len(hanzi) > 12 and all(rows[character] <= b"\xc8" for character in hanzi):
        return False
    return broken <= 0.05 * counts.total() and usual >= 0.85 * counts.total()
