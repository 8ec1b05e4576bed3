"""Whatever the bytes are, a reader ends soon and what it says holds together.

Fuzzing keeps its promise by `EXPDB_FUZZ_S` (seconds of the long drill, 600) and `EXPDB_FUZZ_SEED`. A text that breaks
something is cut down as far as it still does, saved, and shown.
"""

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest
from conftest import LINE, log_lines

from expdb import ingest, parsers
from expdb.errors import InputError
from expdb.parsers import Options
from expdb.parsers.reading import Reading
from expdb.records import Curve, LineKind, Points, RunStart, Unparsed
from expdb.store.sqlite import SqliteDatabase as Database

FUZZ_S = float(os.environ.get("EXPDB_FUZZ_S", "600"))
SEED = os.environ.get("EXPDB_FUZZ_SEED", "expdb")
# Of the processor, for one text: other people's work on the machine does not count.
LIMIT_S = 2.0
# What SQLite and PostgreSQL hold.
STEP_LIMIT = 1 << 63

needs_a_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer interrupts a reader here")


def _sample(lines: Sequence[str], path: str, encoding: str = "utf-8") -> tuple[bytes, str]:
    return "".join(lines).encode(encoding), path


def _event_file() -> bytes:
    # The package takes a second to import, and only this needs it.
    import events

    points = [*events.series("Loss/train"), *events.series("Accuracy/test")]
    return events.version() + b"".join(events.scalar(*point) for point in points) + events.histogram("weights", 3)


def samples() -> list[tuple[bytes, str]]:
    """(content, path) of a small file for every reader, and of several kinds for those of lines, tables and JSON."""
    history = [{"epoch": n / 4, "step": 10 * n, "loss": 2 / n, "eval_loss": 2.5 / n} for n in (1, 2, 3, 4)]
    header = "epoch,train_loss,val_loss,val_acc\n"
    edge = "-" * 30 + "\n"
    texts = [
        (log_lines(5), "a.log"),
        ([LINE.format(n, 1 / (n + 1), 0.5, 0.4, 9) for n in (0, 1, 2, 0, 1, 2)], "twice.log"),
        (
            [
                f"Epoch: [{n}][{10 * i:4d}/40]\tTime  0.{i}21 ( 0.233)\tLoss {6 / (i + 1):.4e} (6.1000e+00)\t"
                f"Acc@1   {n + i}.56 (  0.91)\n"
                for n in (0, 1)
                for i in range(4)
            ]
            + [" * Acc@1 13.250 Acc@5 31.750\n"],
            "imagenet.log",
        ),
        (
            ["2024-03-05 10:11:12,345 INFO train.py:77] Namespace(lr=0.1, arch='wide', milestones=[3, 5], seed=None)\n"]
            + [
                f"[2024-03-05 10:1{n}:13] INFO: epoch {n} iter {50 * n}/200, loss: {1 / (n + 2):.3f}, lr: 1e-03, "
                f"eta: 0:0{n}:33, mem: 4.5G, acc: {70 + n}.25%\n"
                for n in range(5)
            ]
            + ["WARNING: saving checkpoint, best acc 74.25\n"],
            "logger.log",
        ),
        (
            [
                f"Epoch {n}/3:  {p:3d}%|{'█' * (p // 20)}{' ' * (5 - p // 20)}| {p}/100 [00:0{n}<00:09, 9.8it/s, "
                f"loss={3 - p / 50:.3f}]{chr(13) if p < 100 else chr(10)}"
                for n in (1, 2, 3)
                for p in (20, 60, 100)
            ],
            "tqdm.log",
        ),
        (
            [f"\x1b[32m[{n}/9]\x1b[0m train_loss=0.{n}5\b\b\b{n} |====>....| val_loss=1e-{n}\r\n" for n in range(1, 9)],
            "terminal.log",
        ),
        (
            ["\n | Epoch [  1/200] Iter[  1/109]\t\tLoss: 2.3161 Acc@1: 8.594%\r"] * 2
            + ["\n| Validation Epoch #1\t\t\tLoss: 1.8134 Acc@1: 33.15%\n"],
            "wide.log",
        ),
        (
            [f" {n}: {3 / n:.4f}, {4 / n:.4f} avg, 0.0010 rate, 3.21 seconds, {64 * n} images\n" for n in range(1, 7)],
            "a",
        ),
        ([f"第 {n} 轮, 训练集损失 {1 / n:.3f}，测试集准确率 {80 + n}.5%\n" for n in range(1, 6)], "中文.log"),
        ([f"[{n}]\ttrain-auc:0.{n}1\tvalid-auc:0.{n}0\n" for n in range(1, 9)], "boost.log"),
        ([header, *(f"{n},{1 / n:.4f},{1.5 / n:.4f},0.{n}\n" for n in range(1, 7))], "results.csv"),
        (["step\tmetric\tvalue\n", *(f"{n}\t{m}\t0.{n}\n" for n in (1, 2, 3) for m in ("loss", "acc"))], "long.tsv"),
        (["model;accuracy;seeds\n", "small;91.20 ± 0.30;3\n", 'large;"92,10";3\n'], "table.csv"),
        (["Learning Rate  Train Loss  Valid Acc.\n"] + ["0.100000  1.250000  61.5\n"] * 4, "log.txt"),
        (
            [json.dumps({"epoch": n, "train_loss": 1 / (n + 1), "test_acc1": 60 + n}) + "\n" for n in range(5)],
            "log.txt",
        ),
        (
            ['{"params": {"lr": "0.1"}, "tags": {}, "name": "warm", "experiment": null}\n']
            + [
                json.dumps({"step": n, "epoch": None, "time_ms": 1000 * n, "metrics": {"train/loss": 1 / (n + 1)}})
                + "\n"
                for n in range(5)
            ],
            "metrics.jsonl",
        ),
        (
            [json.dumps({"env": "x", "seed": 7}) + "\n"]
            + [json.dumps({"mode": "train", "epoch": 1, "iter": 10 * n, "loss": 1 / (n + 1)}) + "\n" for n in range(5)],
            "a.json",
        ),
        (
            [json.dumps({"best_metric": None, "log_history": history, "global_step": 40}, indent=2)],
            "trainer_state.json",
        ),
        ([json.dumps({"loss": [1.0, 0.5, float("nan")], "val_acc": [0.1, 0.2, 0.3]})], "history.json"),
        ([json.dumps([[1.6e9 + n, n, 0.5 / (n + 1)] for n in range(4)])], "run-train_loss.json"),
        ([json.dumps({"metrics": {"acc": {"steps": [0, 1, 2], "values": [0.1, 0.2, 0.3]}}})], "metrics.json"),
        (
            [
                f"{edge}| rollout/     |       |\n|  ep_rew_mean | {n}.5   |\n| time/        |       |\n"
                f"|  total_steps | {n * 512} |\n| train/       |       |\n|  loss        | {n}e-03 |\n{edge}"
                for n in (1, 2, 3)
            ],
            "progress.log",
        ),
        (["0.5\n", "0.25\n", "1e-2\n", "nan\n"] * 2, "train_loss.txt"),
        ([f"160000000{n}000 0.{n} {n}\n" for n in range(5)], "metrics/val_loss"),
        (
            [
                f"     {n}/4     1.5G       0.1      0.02      0.05      0.17        12       640    0.5   0.25   0.{n}"
                "   0.2   0.09   0.01   0.04\n"
                for n in range(5)
            ],
            "results.txt",
        ),
        (
            [
                *("# A net\n\nlr: 0.1, batch size 128\n\n```\n", *log_lines(4), "```\n\n## Results\n\n"),
                "| model | test accuracy | loss |\n|---|---:|---|\n| a | **84.10%** | 0.5 |\n| b | 85.83 ± 0.2 | - |\n",
            ],
            "page.md",
        ),
        (
            ["<table><tr><th>net</th><th>acc</th></tr><tr><td>a</td><td>91.5</td></tr></table>\n\n", *log_lines(3)],
            "page.html",
        ),
        (
            [
                "batch_size: 64\n",
                "optimizer:\n  name: sgd\n  lr: 0.1\n",
                "----\n",
                "python train.py --lr 0.1 --seed=3\n",
            ]
            + [f"Train Epoch: {n} [{i}/500 ({i // 5}%)]\tLoss: 0.{n}{i}\n" for n in (1, 2) for i in (0, 250, 500)]
            + ["\nTest set: Average loss: 0.1, Accuracy: 9000/10000 (90%)\n"],
            "mnist.log",
        ),
    ]
    out = [_sample(lines, path) for lines, path in texts]
    out += [_sample(log_lines(4), "a.log", "utf-16"), _sample(["第 1 轮 损失 0.5，准确率 0.8\n"] * 3, "b.log", "gbk")]
    return [*out, (_event_file(), "events.out.tfevents.1600000000.host")]


# Pieces that have broken readers of logs: limits of numbers, of text, and of patience.
PIECES = [
    *(b"\0", b"\1", b"\r", b"\r\n", b"\n", b"\n\n\n", b"\t", b"\b\b\b", b"\x1b[2K", b"\x1b[", b"\x1b]0;", b"\x7f"),
    *(
        b"1e999",
        b"-1e-999",
        b"9" * 25,
        b"9" * 400,
        b"9" * 5000,
        b"0" * 60 + b".5",
        b"." * 50,
        b"1." * 40,
        b"nan",
        b"-inf",
    ),
    *(b"9223372036854775807", b"9223372036854775808", b"-1", b"1_000", b"0x1F", b"1,234,567", b"1e5", b"12:34:56"),
    *(
        "٣٤".encode(),
        "²".encode(),
        "１２".encode(),
        "½".encode(),
        "\u2028".encode(),
        "\u0085".encode(),
        "\ufeff".encode(),
    ),
    *(
        "\U0001f600".encode(),
        "İ".encode(),
        "ß".encode(),
        "\u202e".encode(),
        "█".encode() * 30,
        b"\xed\xa0\x80",
        b"\xff\xfe",
    ),
    *(
        b" " * 3000,
        b"\t" * 500,
        b"|" * 200,
        b"-" * 200,
        b"=" * 200,
        b"(" * 200,
        b"[" * 5000,
        b'{"a":' * 3000,
        b'"' * 99,
    ),
    *(b"epoch ", b"Epoch: [3][ 10/40]", b"step 5", b"3/200", b"100%|", b"loss ", b"acc@1 ", b"test ", b"| - | - |\n"),
    *(
        b",",
        b";",
        b"|",
        b":",
        b"=",
        b"%",
        b"{",
        b"}",
        b"]",
        b"NaN",
        b"null",
        b"Infinity",
        b"<br>",
        b"```\n",
        b"Namespace(",
    ),
    *(b"2024-03-05 10:11:12,345 ", b"1d 2h 3min 4s ", b"lr=0.1 ", b"e" * 300, b"a " * 300, b"1 " * 450, b"1,\t" * 300),
]


def _edited(data: bytes, noise: random.Random, others: Sequence[bytes]) -> bytes:
    """The bytes with one thing wrong."""
    at, to = sorted((noise.randrange(len(data) + 1), noise.randrange(len(data) + 1)))
    lines = data.split(b"\n")
    line = noise.randrange(len(lines))
    match noise.randrange(12):
        case 0:
            flipped = bytearray(data)
            for i in noise.choices(range(len(data)), k=noise.randint(1, 8)) if data else ():
                flipped[i] = noise.randrange(256)
            return bytes(flipped)
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:to] or data
        case 3:
            other = noise.choice(others)
            cut = noise.randrange(len(other) + 1)
            return data[:at] + other[cut : cut + noise.randint(1, 400)] + data[at:]
        case 4:
            return data[:at] + data[at : at + noise.randint(1, 60)] * noise.choice((2, 3, 50)) + data[to:]
        case 5 | 6 | 7:
            return data[:at] + noise.choice(PIECES) + data[at:]
        case 8:
            # One number becomes another.
            spots = [i for i, c in enumerate(data) if 48 <= c <= 57]
            i = noise.choice(spots) if spots else 0
            return data[:i] + noise.choice(PIECES) + data[i + 1 :]
        case 9:
            return b"\n".join([*lines[:line], *(lines[line : line + 1] * noise.choice((2, 30))), *lines[line:]])
        case 10:
            noise.shuffle(lines)
            return b"\n".join(lines)
        case _:
            return data.replace(noise.choice((b"\n", b" ", b",", b"|", b"\t", b".")), noise.choice(PIECES), 60)


def texts(seed: str) -> Iterator[tuple[bytes, str]]:
    """(content, path) without end: arbitrary bytes now and then, edited samples otherwise."""
    known = samples()
    contents = [data for data, _ in known]
    noise = random.Random(seed)
    while True:
        data, path = noise.choice(known)
        if noise.random() < 0.05:
            data = noise.randbytes(noise.choice((1, 9, 300, 5000)))
        elif noise.random() < 0.05:
            data = b"".join(noise.choices([*PIECES, b" ", b"\n", b"0.5"], k=noise.randint(1, 60)))
        for _ in range(noise.choice((1, 1, 2, 4, 9))):
            data = _edited(data, noise, contents)
        yield data[: 1 << 18], noise.choice((path, path, "x", "loss.txt", "log.json"))


# What holds of every reader's events


class OutOfTime(BaseException):
    """No reader may catch it."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def check_curve(curve: Curve) -> None:
    """Sequences of one length, steps that a database holds, lines that never fall."""
    count = len(curve.values)
    assert count > 0, "a curve without points"
    for one in (curve.steps, curve.lines, curve.epochs, curve.times_ms):
        assert one is None or len(one) == count, "sequences of different lengths"
    assert all(type(value) is float for value in curve.values), "a value is no float"
    for step in curve.steps:
        assert step is None or (type(step) is int and -STEP_LIMIT <= step < STEP_LIMIT), f"step {step!r:.60}"
    lines = [line for line in curve.lines if line is not None]
    assert all(type(line) is int and line > 0 for line in lines), "a line is no number from 1 on"
    assert all(sooner <= later for sooner, later in pairwise(lines)), "lines fall"
    assert curve.metric.name, "a metric without a name"


def check(data: bytes, path: str, known: parsers.Parsers) -> str:
    """The reader that read the bytes, and all it says held; `refused` or `unknown` where none did."""
    try:
        reading = Reading.of_bytes(data, path)
        parser = parsers.reader_of(reading, known)
        if parser is None:
            return "unknown"
        runs = 0
        last: dict[tuple[int, str, str], int] = {}
        for event in parsers.read(parser, reading, Options()):
            match event:
                case RunStart():
                    assert event.index == runs, "runs are numbered as they come"
                    assert event.line > 0, "a run begins at no line"
                    assert all(type(word) is str for pair in event.params.items() for word in pair), "params are text"
                    runs += 1
                case Points():
                    assert 0 <= event.index < runs, "points of a run that did not begin"
                    for curve in event.curves:
                        check_curve(curve)
                        of = (event.index, curve.metric.name, curve.metric.label)
                        first, end = curve.lines[0], curve.lines[-1]
                        assert first is None or last.get(of, 0) <= first, "lines fall between blocks"
                        last[of] = end or 0
                        assert end is None or end <= event.line_last, "points behind the last line"
                case Unparsed():
                    assert event.count >= 0, "fewer lines than none"
                    assert len(event.examples) <= max(event.count, 0), "more examples than lines"
                case LineKind():
                    assert event.count > 0, "a kind of no line"
    except InputError as error:
        if "broke down" in error.message:
            raise
        return "refused"
    return parser.NAME


def _fault(data: bytes, path: str, known: parsers.Parsers) -> str | None:
    """What is wrong with how the bytes are read, None where nothing is."""
    try:
        with _limited(LIMIT_S):
            check(data, path, known)
    except OutOfTime as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # a fault of any kind is what is looked for
        return f"{type(error.__cause__ or error).__name__}: {error}"
    return None


def _shrunk(data: bytes, path: str, known: parsers.Parsers, fault: str) -> bytes:
    """The bytes without what the fault does not need, as far as a minute takes."""
    kind = fault.partition(":")[0]
    end = time.monotonic() + 60
    size = len(data) // 2
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            less = data[:at] + data[at + size :]
            if less and (_fault(less, path, known) or "").partition(":")[0] == kind:
                data = less
            else:
                at += size
        size //= 2
    return data


def fuzz(seconds: float, seed: str) -> dict[str, int]:
    """Read edited texts for so long; how many each reader read. Fails at the first fault, with its text."""
    known = parsers.built_in()
    # The first call of each reader imports and compiles.
    for data, path in samples():
        check(data, path, known)
    read: dict[str, int] = {}
    end = time.monotonic() + seconds
    for data, path in texts(seed):
        if time.monotonic() > end:
            break
        try:
            with _limited(LIMIT_S):
                name = check(data, path, known)
        except (OutOfTime, Exception) as error:
            fault = _fault(data, path, known)
            if fault is None and isinstance(error, OutOfTime):
                # A pause of the machine, not of the reader.
                continue
            fault = fault or f"{type(error).__name__}: {error} (not repeatable)"
            short = _shrunk(data, path, known, fault)
            with tempfile.NamedTemporaryFile(prefix="expdb-fuzz-", delete=False) as file:
                file.write(short)
            raise AssertionError(f"{fault}\n{path}, saved as {file.name}: {short[:2000]!r}") from error
        read[name] = read.get(name, 0) + 1
    return read


def test_every_sample_is_read_by_a_reader_and_every_reader_has_one() -> None:
    known = parsers.built_in()
    assert {check(data, path, known) for data, path in samples()} == set(known)


@needs_a_timer
def test_edited_logs_of_every_kind_break_no_reader() -> None:
    read = fuzz(4, f"{SEED} short")
    assert sum(read.values()) > 20


@pytest.mark.soak
@needs_a_timer
def test_ten_minutes_of_edited_logs_break_no_reader() -> None:
    # Another seed each day would find more, but a failure must be there again tomorrow.
    read = fuzz(FUZZ_S, SEED)
    print(f"{sum(read.values()):,} texts:", ", ".join(f"{name} {count:,}" for name, count in sorted(read.items())))
    assert set(parsers.built_in()) <= set(read)


def _write_small_logs(folder: Path, files: int) -> None:
    folder.mkdir()
    for i in range(files):
        (folder / f"run{i:06d}.log").write_text("".join(log_lines(3, salt=i)), "utf-8")


def _ingest_s(folder: Path, files: int) -> float:
    """Seconds to store so many small logs."""
    logs = folder / f"logs{files}"
    _write_small_logs(logs, files)
    database = folder / f"{files}.db"
    with Database.create(database) as store:
        start = time.perf_counter()
        items, missing = ingest.collect([str(logs)], database)
        outcome = ingest.ingest(store, items, ingest.Request())
        seconds = time.perf_counter() - start
    assert not missing and not outcome.refused
    assert sum(one.written.points for one in outcome.done) == files * 3 * 4
    return seconds


@pytest.mark.soak
def test_a_hundred_thousand_files_take_no_longer_each_than_ten_thousand(tmp_path: Path) -> None:
    few = _ingest_s(tmp_path, 10_000) / 10_000
    many = _ingest_s(tmp_path, 100_000) / 100_000
    print(f"{few * 1e3:.3f} ms a file of 10,000, {many * 1e3:.3f} ms of 100,000")
    assert many < few * 1.5
