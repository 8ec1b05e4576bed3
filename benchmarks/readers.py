"""How fast lines are read and files are known, without a database: the line reader beside a regex, and every reader.

python -m benchmarks.readers [--lines 100000] [--rounds 7] [--corpus FOLDER] [--write]

The regex is what a person would write by hand for any log: names, gaps, numbers, and line feeds to count lines by.
"""

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import logs, results
from benchmarks.results import Section, median, pairwise_ratio, verdict
from expdb import parsers, plugins
from expdb.errors import InputError
from expdb.parsers.logs.lines import LineReader
from expdb.parsers.reading import Reading
from expdb.records import Points

# The limits.
REGEX_LIMIT = 2
DETECTION_LIMIT_MS = 10

_TOLERANT = re.compile(r"([A-Za-z_@0-9]+)[ :=]+\(?([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)|(\n)")
_SAID_SHARE = 0.2
_KINDS: Mapping[str, Callable[[int, random.Random], str]] = {
    "legacy line": logs.legacy_text,
    "PyTorch's ImageNet line, with averages": logs.averaged_text,
    "logger line, a fifth of other lines": lambda count, noise: logs.logger_text(count, noise, _SAID_SHARE),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """One text, read by both in turns. points: what the line reader found."""

    kind: str
    lines: int
    points: int
    regex_s: tuple[float, ...]
    ours_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Detected:
    """One sample, asked for by every reader. reader: whose it is; first_ms: with all there is to compile."""

    kind: str
    reader: str | None
    first_ms: float
    warm_ms: tuple[float, ...]


def by_regex(text: str) -> dict[str, tuple[list[int], list[float]]]:
    """(lines, values) of each name."""
    line, curves = 1, dict[str, tuple[list[int], list[float]]]()
    for name, number, feed in _TOLERANT.findall(text):
        if feed:
            line += 1
            continue
        known = curves.get(name)
        if known is None:
            known = curves[name] = ([], [])
        known[0].append(line)
        known[1].append(float(number))
    return curves


def by_lines(text: str) -> int:
    """Points that the line reader finds."""
    read = LineReader().feed(1, text)
    return sum(len(curve.values) for event in read if isinstance(event, Points) for curve in event.curves)


def compared(lines: int, rounds: int, seed: int = 0) -> list[Compared]:
    """Both over each kind of text, in turns."""
    out = []
    for kind, write in _KINDS.items():
        text = write(lines, random.Random(f"{seed} {kind}"))
        regex_s, ours_s, points = [], [], 0
        for _ in range(rounds):
            start = time.perf_counter()
            by_regex(text)
            regex_s.append(time.perf_counter() - start)
            start = time.perf_counter()
            points = by_lines(text)
            ours_s.append(time.perf_counter() - start)
        out.append(Compared(kind, text.count("\n"), points, tuple(regex_s), tuple(ours_s)))
    return out


def _files(seed: int = 0) -> dict[str, tuple[str, bytes]]:
    """(path, content) of more than a sample, by kind."""
    noise = random.Random(seed)
    rows = [(n, 2 / (n + 1), 0.5 + noise.random() / 9, noise.random()) for n in range(4000)]
    records = [{"epoch": n, "train_loss": a, "val_acc": b, "lr": c} for n, a, b, c in rows]
    prose = "The model was trained on two machines, and nobody knows which of them printed the log. "
    page = "# A net\n\n" + (prose * 3 + "\n\n| model | accuracy |\n|---|---|\n| a | 91.2 |\n| b | 92.5 |\n\n") * 200
    return {
        "legacy log": ("a.log", logs.legacy_text(2000, noise).encode()),
        "ImageNet log": ("a.log", logs.averaged_text(2000, noise).encode()),
        "logger, a fifth of other lines": ("a.log", logs.logger_text(2000, noise, _SAID_SHARE).encode()),
        "CSV": ("a.csv", ("epoch,loss,acc,lr\n" + "".join(f"{n},{a},{b},{c}\n" for n, a, b, c in rows)).encode()),
        "JSON lines": ("a.txt", "".join(json.dumps(one) + "\n" for one in records).encode()),
        "JSON document": ("a.json", json.dumps({"log_history": records}, indent=2).encode()),
        "page with tables": ("a.md", page.encode()),
        "prose": ("a.txt", ((prose * 4 + "\n") * 400).encode()),
        "server log": ("a.log", ('10.0.0.1 - - [18/Jul/2024 02:56:55] "GET / HTTP/1.1" 200 12\n' * 2000).encode()),
        "numbers": ("loss.txt", "".join(f"{a:.6f}\n" for _, a, _, _ in rows * 3).encode()),
    }


def detected(
    path: str, data: bytes, rounds: int, known: parsers.Parsers
) -> tuple[str | None, float, tuple[float, ...]]:
    """(reader, first ms, warm ms) for the first 64 KB of a file, until a reader is certain, as ingest asks.

    Of the processor: other work on the machine does not count.
    """
    spent = []
    for _ in range(rounds + 1):
        # A new one each time: its text is decoded within the clock, as it is in an ingest.
        reading = Reading.of_bytes(data, path)
        start = time.process_time()
        found = parsers.recognise(reading.sample, known)
        spent.append((time.process_time() - start) * 1000)
    return found.NAME if found else None, spent[0], tuple(spent[1:])


def detection(rounds: int) -> list[Detected]:
    """Every kind of file."""
    known = plugins.all_parsers()
    return [Detected(kind, *detected(*file, rounds, known)) for kind, file in _files().items()]


def of_corpus(folder: Path, rounds: int) -> list[tuple[Path, float]]:
    """(file, median warm ms), the slowest first; files that are no text are left out."""
    known, out = plugins.all_parsers(), []
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and one.name != "MANIFEST.json"):
        try:
            _, _, warm = detected(str(path), path.read_bytes(), rounds, known)
        except InputError:
            continue
        out.append((path, median(warm)))
    return sorted(out, key=lambda one: -one[1])


def section(read: Sequence[Compared], known: Sequence[Detected], corpus: Sequence[tuple[Path, float]] = ()) -> Section:
    """The findings as a page shows them."""
    rows = []
    for one in read:
        ratio = pairwise_ratio(one.ours_s, one.regex_s)
        ours = median(one.ours_s)
        rows.append(
            [
                *(one.kind, f"{one.lines:,}", f"{one.points:,}", f"{median(one.regex_s):.3f}", f"{ours:.3f}"),
                *(f"{one.lines / ours:,.0f}", f"{ratio:.2f}", verdict(ratio, REGEX_LIMIT)),
            ]
        )
    header = ["text", "lines", "points", "regex s", "reader s", "lines/s", "of the regex", "limit"]
    text = results.table(header, rows) + "\n"
    text += (
        f"Median of {len(read[0].ours_s)} rounds in turns in one process, text in memory; the ratio is the median of"
        " the rounds' own ratios. The regex finds `name number`, counts lines and groups floats by name.\n\n"
    )
    rows = [
        [
            *(one.kind, one.reader or "none", f"{one.first_ms:.1f}", f"{median(one.warm_ms):.2f}"),
            *(f"{max(one.warm_ms):.2f}", verdict(median(one.warm_ms), DETECTION_LIMIT_MS, "ms")),
        ]
        for one in known
    ]
    text += results.table(["64 KB of", "reader", "first ms", "ms", "worst ms", "limit"], rows) + "\n"
    text += (
        f"Every reader is asked until one is certain; {len(known[0].warm_ms)} times after the first, processor time.\n"
    )
    if corpus:
        over = sum(spent > DETECTION_LIMIT_MS for _, spent in corpus)
        spent = [one for _, one in corpus]
        text += f"{len(corpus)} real files: median {median(spent):.2f} ms, worst {max(spent):.2f} ms,"
        text += f" {over} over the limit.\n"
    return Section("readers", "Readers: lines beside a regex, and whose file it is", text)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--corpus", type=Path, help="a folder of real files whose readers are found too")
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    known = detection(words.rounds * 3)
    corpus = of_corpus(words.corpus, 3) if words.corpus and words.corpus.is_dir() else []
    for path, spent in corpus[:8]:
        print(f"{spent:8.2f} ms {path}")
    made = section(compared(words.lines, words.rounds), known, corpus)
    command = results.command_line("benchmarks.readers")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
