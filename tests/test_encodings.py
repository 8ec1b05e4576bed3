"""Encodings: a log reads the same in each, damaged or not, and what is no text is refused."""

import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import read

from expdb.parsers import reading
from expdb.parsers.reading import NotTextError, Reading

LINES = {
    "en": ("epoch {e}, loss {v:.3f}, accuracy {v:.3f}", "training starts"),
    "zh": ("第 {e} 轮，训练损失 {v:.3f}，测试准确率 {v:.3f}", "开始训练模型，请稍候：正在加载数据集"),
    "zh-hant": ("第 {e} 輪，訓練損失 {v:.3f}，測試準確率 {v:.3f}", "開始訓練模型，請稍候：正在載入資料集"),
    "ja": ("エポック {e}: 訓練損失 {v:.3f}, テスト精度 {v:.3f}", "学習を開始します。データを読み込んでいます"),
    "ko": ("에포크 {e}: 훈련 손실 {v:.3f}, 테스트 정확도 {v:.3f}", "학습을 시작합니다. 데이터를 불러오는 중입니다"),
    "fr": ("époque {e} : perte d'entraînement {v:.3f}, précision {v:.3f}", "Début de l'entraînement à Orléans"),
    "de": ("Epoche {e}: Verlust fürs Üben {v:.3f}, Güte der Prüfung {v:.3f}", "Größe der Stichprobe wird geprüft"),
    "ru": ("Эпоха {e}: потери на обучении {v:.3f}, точность {v:.3f}", "Начало обучения модели"),
    "pl": ("Epoka {e}: średnia strata {v:.3f}, dokładność {v:.3f}", "Rozpoczęcie uczenia, zakończone pomyślnie"),
}


def log(language: str, count: int = 20) -> str:
    line, opening = LINES[language]
    return f"{opening}\n" + "".join(line.format(e=e, v=1 / (e + 1)) + "\n" for e in range(count))


def of(data: bytes) -> Reading:
    return Reading.of_bytes(data, "a.log")


@pytest.mark.parametrize(
    ("language", "encoding", "name"),
    [
        ("en", "ascii", "utf-8"),
        ("zh", "utf-8", "utf-8"),
        ("zh", "utf-8-sig", "utf-8-sig"),
        ("zh", "gbk", "gb18030"),
        ("zh", "gb18030", "gb18030"),
        ("zh-hant", "big5", "big5"),
        ("ja", "shift_jis", "cp932"),
        ("ja", "euc_jp", "euc_jp"),
        ("ko", "euc_kr", "cp949"),
        ("fr", "latin-1", "cp1252"),
        ("de", "cp1252", "cp1252"),
        ("ru", "cp1251", "cp1251"),
        *((language, "utf-32", "utf-32-le") for language in LINES),
        *((language, "utf-16", "utf-16-le") for language in LINES),
        *((language, form, form) for language in LINES for form in ("utf-16-le", "utf-16-be")),
    ],
)
@pytest.mark.parametrize("count", [1, 20, 3000])
def test_a_log_in_its_language_is_read_in_its_encoding(language: str, encoding: str, name: str, count: int) -> None:
    text = log(language, count)
    one = of(text.encode(encoding))
    assert one.encoding == name
    assert one.text == text
    assert text.startswith(one.sample.text)
    assert one.digest.line_count == count + 1


@pytest.mark.parametrize("final", [True, False])
def test_utf_32_is_cut_at_its_line_ends(monkeypatch: pytest.MonkeyPatch, final: bool) -> None:
    monkeypatch.setattr(reading, "KEEP_BYTES", 64)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 128)
    # The bytes 0A 00 00 00 also lie across these two.
    text = "\u0a00\U00010000" + log("zh") + ("" if final else "loss")
    one = of(text.encode("utf-32"))
    assert "".join(block.text for block in one.blocks()) == text
    assert one.digest.line_count == text.count("\n")


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("seconds per step: 12 µs ±3\n", "cp1252", "cp1252"),
        ("T = 45 °C\n", "latin-1", "cp1252"),
        ("Prüfung\n", "latin-1", "cp1252"),
        ("训练\n", "gbk", "gb18030"),
        ("损失: 0.5\n", "gbk", "gb18030"),
        (" 40%|████      | 4/10 损失=0.5\n" * 9, "gb18030", "gb18030"),
        ("█" * 40 + " 4/10\n", "gb18030", "gb18030"),
    ],
)
def test_a_few_odd_bytes_are_enough(text: str, encoding: str, name: str) -> None:
    for count in (0, 1000):
        one = of(("epoch 1, loss 0.5\n" * count + text).encode(encoding))
        assert one.encoding == name
        assert one.text.endswith(text)


@pytest.mark.parametrize("language", ["zh", "zh-hant", "ja", "ko", "ru", "fr"])
@pytest.mark.parametrize("share", [0.0005, 0.01])
def test_utf_8_with_broken_bytes_is_utf_8(language: str, share: float) -> None:
    chance = random.Random(7)
    data = bytearray(log(language, 2000).encode())
    for at in chance.sample(range(len(data)), int(share * len(data))):
        data[at] = chance.choice(range(128, 256))
    assert of(bytes(data)).encoding == "utf-8"


@pytest.mark.parametrize("share", [0.0005, 0.005])
def test_gbk_with_broken_bytes_is_gbk(share: float) -> None:
    chance = random.Random(7)
    data = bytearray(log("zh", 2000).encode("gbk"))
    for at in chance.sample(range(len(data)), int(share * len(data))):
        data[at] = 0xFF
    one = of(bytes(data))
    assert one.encoding == "gb18030"
    assert one.text.count("训练损失") > 1900


def test_replacement_marks_that_someone_stored_are_utf_8() -> None:
    assert of(("loss �� 0.5\n" * 50).encode() + b"loss \xff\n").encoding == "utf-8"


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "utf-8"), ("gbk", "gb18030"), ("euc_kr", "cp949")])
def test_a_sample_that_ends_within_a_character_does_not_decide(
    monkeypatch: pytest.MonkeyPatch, encoding: str, name: str
) -> None:
    text = log("ko" if encoding == "euc_kr" else "zh", 40)
    for size in range(300, 330):
        monkeypatch.setattr(reading, "SAMPLE_BYTES", size)
        assert of(text.encode(encoding)).encoding == name


@pytest.mark.parametrize(("encoding", "name"), [("gbk", "gb18030"), ("utf-8", "utf-8"), ("latin-1", "cp1252")])
def test_what_follows_an_english_head_says_the_encoding(encoding: str, name: str) -> None:
    tail = log("fr" if encoding == "latin-1" else "zh")
    data = (log("en", 8000) + tail).encode(encoding)
    assert len(data) > 3 * reading.SAMPLE_BYTES
    one = of(data)
    assert one.encoding == name
    assert one.text.endswith(tail)


def test_a_hole_of_nul_in_a_log_is_no_reason_to_refuse_it() -> None:
    lines = [f"epoch {e}, loss {1 / (e + 1):.3f}\n" for e in range(40)]
    for language in ("en", "zh"):
        data = "".join(lines[:20]).encode() + b"\0" * 8192 + log(language).encode() + "".join(lines[20:]).encode()
        assert of(data).encoding == "utf-8"
    found = read("".join(lines[:20]).encode() + b"\n" + b"\0" * 8192 + b"\n" + "".join(lines[20:]).encode())
    assert [len(run.only("train/loss").points) for run in found.runs] == [40]


def binaries() -> dict[str, bytes]:
    chance = random.Random(1)
    noise = chance.randbytes(20000)
    return {
        "noise": noise,
        "small integers": b"".join(chance.randrange(300).to_bytes(2, "little") for _ in range(9000)),
        "wide integers": b"".join(chance.randrange(90000).to_bytes(4, "little") for _ in range(9000)),
        "labels": b"".join(chance.randrange(10).to_bytes(8, "little") for _ in range(9000)),
        "zeros": b"\0" * 9000,
        "noise with holes": noise[:4000] + b"\0" * 20000 + noise[4000:],
        "pixels": bytes(chance.randrange(256) for _ in range(3000)) * 3,
    }


@pytest.mark.parametrize("name", binaries())
def test_what_is_no_text_is_refused(name: str) -> None:
    with pytest.raises(NotTextError):
        of(binaries()[name])


PIECES = st.sampled_from([*"训练损失é損한あ\n\0\xff 0a"])
MIXED = st.lists(PIECES, min_size=1).map(lambda text: "".join(text).encode("gb18030"))


@given(st.binary(min_size=1, max_size=400) | MIXED)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        one = of(data)
    except NotTextError:
        return
    assert one.text.count("\n") == one.digest.line_count


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), min_size=1))
def test_what_is_utf_8_is_utf_8(text: str) -> None:
    assert of(text.encode()).text == text


def test_an_ordinary_log_is_known_at_once_and_without_the_detector() -> None:
    data = [log("en", 8000).encode(), log("zh", 4000).encode(), b"epoch 1, loss 0.5\r\n" * 800_000]
    for one in data:
        times = []
        for _ in range(5):
            start = time.process_time()
            of(one)
            times.append(time.process_time() - start)
        assert min(times) < 0.02
    samples = [log(language).encode(form).hex() for language, form in (("en", "ascii"), ("zh", "utf-8"), ("zh", "gbk"))]
    code = """
import sys
from expdb.parsers.reading import Reading
assert all(Reading.of_bytes(bytes.fromhex(text), "a.log").encoding for text in sys.argv[1:])
assert "charset_normalizer" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, *samples], check=True)
