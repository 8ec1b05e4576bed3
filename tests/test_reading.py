"""Files as text: encodings, blocks cut at line ends, overlong lines, and the digest that follows growth."""

import codecs
import hashlib
import io
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import log_lines
from hypothesis import assume, example, given
from hypothesis import strategies as st
from readings import read

from expdb.errors import InputError
from expdb.parsers import reading
from expdb.parsers.reading import EmptyError, NotTextError, Reading

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"]
LOG = "训练日志\n" + "".join(log_lines(40))


def encoded(text: str, encoding: str) -> bytes:
    """Text as a file has it: UTF-16 with its mark."""
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    return marks.get(encoding, b"") + text.encode(encoding)


def of(data: bytes) -> Reading:
    return Reading.of_bytes(data, "a.log")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every limit a thousand times smaller, so that small files take the way of large ones."""
    with monkeypatch.context() as patch:
        shrink(patch)
        yield


def shrink(patch: pytest.MonkeyPatch, keep: int = 64, block: int = 32, line: int = 100) -> None:
    patch.setattr(reading, "KEEP_BYTES", keep)
    patch.setattr(reading, "BLOCK_BYTES", block)
    patch.setattr(reading, "LINE_LIMIT_BYTES", line)


# Encodings


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_a_log_reads_the_same_in_every_encoding(encoding: str, end: str, final: bool) -> None:
    text = LOG.replace("\n", end)
    found = read(encoded(text if final else text.removesuffix(end), encoding))
    assert found == read(LOG)
    (run,) = found.runs
    assert (run.start.line, run.line_last, len(run.curves)) == (2, 41, 4)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("gbk", "gb18030"),
        ("ascii", "utf-8"),
    ],
)
def test_the_encoding_is_known_by_the_first_bytes(encoding: str, name: str) -> None:
    text = LOG if encoding != "ascii" else LOG.removeprefix("训练日志")
    assert of(encoded(text, encoding)).encoding == name


def test_logs_joined_with_the_marks_of_each_lose_no_line() -> None:
    one = "".join(log_lines(3)).encode("utf-8-sig")
    assert [len(run.only("train/loss").points) for run in read(one + one).runs] == [3, 3]


def test_bytes_that_are_no_text_in_a_line_spoil_no_other_line() -> None:
    (run,) = read(b"epoch 1, loss 1\n\xff\xfe\x81\nepoch 2, loss 2\n\x81\nepoch 3, loss 3\n").runs
    assert run.curves["loss"].lines == [1, 3, 5]


def test_a_log_padded_with_nul_by_a_crash_is_still_a_log() -> None:
    (run,) = read("".join(log_lines(30)).encode() + b"\0" * 4096).runs
    assert len(run.only("train/loss").points) == 30


def test_a_log_that_quotes_what_a_stranger_sent_is_text() -> None:
    sent = '"\x16\x03\x01\0\xc2\x85\x01\0\0\x81" 400 '
    text = (sent + "x" * 100 + "\n") * 20
    assert len(text.encode()) * 0.02 < sum(ord(c) < 9 for c in text)
    assert of(text.encode()).encoding == "utf-8"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "an image"),
        (b"PK\x03\x04" + b"\0" * 100, "an archive or checkpoint"),
        (b"\x1f\x8b\x08\0" + b"text" * 100, "a compressed file"),
        (b"SQLite format 3\0" + b"\0" * 100, "a SQLite database"),
        (b"\x80\x02}q\0(X" + b"\0" * 100, "a pickle or checkpoint"),
        (b'\x18\0\0\0\0\0\0\0\xa3\x7fK"\n\0\0\x80.B\xa5\xd8Abrain.Event:2' * 5, "a file of TFRecord data"),
        (bytes(range(256)) * 10, None),
        (b"\0" * 100, None),
    ],
)
def test_a_binary_file_is_refused_by_name_and_kind(data: bytes, kind: str | None) -> None:
    with pytest.raises(NotTextError, match=r"^a\.log: not a text file") as refused:
        of(data)
    assert refused.value.kind == kind
    assert kind is None or kind in refused.value.message


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(EmptyError, match=r"^a\.log: empty"):
        of(b"")


def test_a_file_that_cannot_be_opened_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Reading.of_file(tmp_path / "nowhere.log")
    with pytest.raises(InputError, match="directory"):
        Reading.of_file(tmp_path)


def test_a_file_is_called_as_the_person_called_it(tmp_path: Path) -> None:
    path = tmp_path / "run 1.train.log"
    path.write_text("epoch 1, loss 1\n")
    one = Reading.of_file(path)
    assert (one.path, one.name, one.sample.name) == (str(path), "run 1.train", "run 1.train.log")
    assert (one.is_small, one.raw, one.text) == (True, b"epoch 1, loss 1\n", "epoch 1, loss 1\n")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_sample_is_whole_lines(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SAMPLE_BYTES", 501)
    sample = of(encoded(LOG, encoding)).sample
    assert not sample.whole
    assert LOG.startswith(sample.text)
    assert sample.text.endswith("\n")
    assert 150 < len(sample.text) <= 501
    short = of(encoded(LOG[:50], encoding)).sample
    assert (short.whole, short.text) == (True, LOG[:50])


def test_a_pipe_can_be_read_more_than_once() -> None:
    reader, writer = os.pipe()
    data = LOG.encode()
    os.write(writer, data)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as stream:
        one = Reading.of_stream(stream, "-")
    assert one.digest.sha256 == hashlib.sha256(data).hexdigest()
    for _ in range(2):
        assert "".join(block.text for block in one.blocks()) == LOG


def test_a_large_pipe_can_be_read_more_than_once(small: None) -> None:
    one = Reading.of_stream(io.BytesIO(LOG.encode()), "-")
    assert not one.is_small
    for _ in range(2):
        assert "".join(block.text for block in one.blocks()) == LOG
    assert one.digest.size_bytes == len(LOG.encode())


# Blocks


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("block", [1, 7, 32, 33, 1000])
def test_a_large_file_comes_in_blocks_of_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, block: int
) -> None:
    if encoding.startswith("utf-16"):
        block += block % 2
    shrink(monkeypatch, block=block, line=1000)
    path = tmp_path / "a.log"
    path.write_bytes(encoded(LOG, encoding))
    one = Reading.of_file(path)
    assert not one.is_small
    blocks = list(one.blocks())
    assert "".join(b.text for b in blocks) == LOG
    line = 1
    for b in blocks:
        assert b.line == line
        line += b.text.count("\n")
    assert len(blocks) > 1 or block == 1000
    assert one.overlong == []


def test_a_large_log_reads_like_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = (LOG * 3).encode()
    whole = read(data, as_format="log")
    shrink(monkeypatch)
    assert read(data, as_format="log") == whole
    assert len(whole.runs) == 3


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", [0, 1, 5, 39])
@pytest.mark.parametrize("length", [101, 5000])
def test_an_overlong_line_is_blank_and_every_other_line_keeps_its_number(
    monkeypatch: pytest.MonkeyPatch, encoding: str, place: int, length: int
) -> None:
    shrink(monkeypatch)
    lines = [f"epoch {e}, loss 1" for e in range(40)]
    lines[place] = "一\n"[:1] * length
    one = of(encoded("\n".join(lines) + "\n", encoding))
    text = "".join(block.text for block in one.blocks())
    assert text.split("\n") == [*lines[:place], "", *lines[place + 1 :], ""]
    assert one.overlong == [place + 1]


def test_an_overlong_last_line_without_an_end_is_blank_too(small: None) -> None:
    one = of(b"epoch 1, loss 1\n" + b"x" * 500)
    assert "".join(block.text for block in one.blocks()) == "epoch 1, loss 1\n\n"
    assert one.overlong == [2]


def test_a_line_of_more_than_one_megabyte_is_no_log_line(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    line = "epoch {}, loss 0.5, test accuracy 0.9\n"
    with path.open("w") as file:
        file.write(line.format(1))
        file.write("x" * (reading.KEEP_BYTES + 100) + "\n")
        file.write("y" * (reading.LINE_LIMIT_BYTES + 1) + "\n")
        file.write(line.format(2))
    one = Reading.of_file(path)
    assert one.digest.line_count == 4
    found = [(block.line, len(block.text)) for block in one.blocks() if block.text.strip()]
    assert one.overlong == [2, 3]
    assert found == [(1, len(line) - 1), (3, len(line))]


def test_a_line_feed_across_two_characters_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # U+0A75 U+4E00 in UTF-16: the bytes 0A 00 lie between them.
    for encoding, pair in (("utf-16-le", "ੵ一"), ("utf-16-be", "一ੵ")):
        text = f"{pair * 20}\n{pair * 200}\n{pair}\nepoch 1, loss 1\n"
        assert codecs.encode("\n", encoding) in codecs.encode(pair, encoding)
        assert of(encoded(text, encoding)).digest.line_count == 4
        with monkeypatch.context() as patch:
            shrink(patch)
            one = of(encoded(text, encoding))
            assert one.digest.line_count == 4
            assert "".join(block.text for block in one.blocks()) == f"{pair * 20}\n\n{pair}\nepoch 1, loss 1\n"
            assert one.overlong == [2]


def test_what_is_read_is_what_was_there_when_the_file_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for keep in (64, 1 << 20):
        shrink(monkeypatch, keep=keep)
        path = tmp_path / "a.log"
        path.write_text("".join(log_lines(5)))
        one = Reading.of_file(path)
        with path.open("a") as file:
            file.write("epoch 99, loss 9\n")
        assert "".join(block.text for block in one.blocks()) == "".join(log_lines(5))
        assert one.digest.line_count == 5


# The digest


@given(st.binary(min_size=1, max_size=300).map(lambda data: b"log\n" + data.translate(None, bytes(range(9)))))
@example(b"log\nunterminated")
@example(b"log")
@example(b"log\n\n\n\n")
def test_the_digest_of_pieces_is_that_of_the_whole(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for keep, block in ((1 << 20, 1 << 20), (2, 1), (2, 7), (2, 64)):
            shrink(patch, keep=keep, block=block)
            try:
                one = of(data)
            except NotTextError:
                return
            cut = data.rfind(b"\n") + 1
            assert one.digest.size_bytes == cut
            assert one.digest.sha256 == hashlib.sha256(data[:cut]).hexdigest()
            assert one.digest.line_count == data.count(b"\n")
            rest = hashlib.sha256(data).hexdigest() if cut < len(data) else None
            assert one.digest.tail_sha256 == rest


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["utf-16-le", "utf-16-be"]))
def test_the_digest_of_utf_16_ends_at_its_last_line(text: str, encoding: str) -> None:
    # Behind a mark of UTF-16 a NUL makes it the mark of UTF-32.
    assume(not text.startswith("\0"))
    data = encoded(f"{text}\n{text}", encoding)
    with pytest.MonkeyPatch.context() as patch:
        for block in (1 << 20, 2, 6):
            shrink(patch, keep=4, block=block)
            try:
                one = of(data)
            except NotTextError:
                return
            kept = encoded(f"{text}\n{text}".rpartition("\n")[0] + "\n", encoding)
            assert one.digest.size_bytes == len(kept)
            assert one.digest.sha256 == hashlib.sha256(kept).hexdigest()
            assert one.digest.line_count == 1 + 2 * text.count("\n")


@pytest.mark.parametrize("keep", [8, 1 << 20])
def test_a_log_that_grew_begins_with_what_it_was(monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    shrink(monkeypatch, keep=keep)
    states = [LOG[:100], LOG[:101], LOG[:500], LOG, LOG + "epoch"]
    for before, after in pairwise(states):
        old, new = of(before.encode()).digest, of(after.encode())
        assert new.prefix_sha256(old.size_bytes) == old.sha256
        assert of(after.encode().replace(b"loss", b"lass", 1)).prefix_sha256(old.size_bytes) != old.sha256
    assert of(LOG.encode()).prefix_sha256(len(LOG.encode()) + 1) is None


def test_an_unterminated_last_line_is_read_and_told_from_its_end() -> None:
    before, after = of(b"epoch 1, loss 1\nepoch 2, loss 0.02"), of(b"epoch 1, loss 1\nepoch 2, loss 0.0250")
    assert before.digest.sha256 == after.digest.sha256
    assert before.digest.tail_sha256 != after.digest.tail_sha256
    (run,) = read(b"epoch 1, loss 1\nepoch 2, loss 0.02").runs
    assert run.curves["loss"].values == [1, 0.02]
