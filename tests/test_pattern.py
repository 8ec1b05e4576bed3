"""A person's own regex as a reader: positions, metrics, runs, and regexes that are wrong or take for ever."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from commands import expdb_in
from hypothesis import given
from hypothesis import strategies as st
from readings import Read, gathered

from expdb import parsers, plugins
from expdb.errors import InputError, UsageError
from expdb.parsers import matcher
from expdb.parsers.pattern import PatternReader
from expdb.parsers.reading import Reading
from expdb.records import Event, LineKind, RunStart
from expdb.settings import OwnPattern

BOTH = r"ep (?P<epoch>\S+) it (?P<it>\d+) l=(?P<loss>\S+)"


def events(regex: str, text: str) -> Iterator[Event]:
    """What a pattern says of a text."""
    return PatternReader(OwnPattern("mine", regex)).parse(Reading.of_bytes(text.encode(), "a.log"), parsers.Options())


def read(regex: str, text: str) -> Read:
    """The same, put together."""
    return gathered(event for event in events(regex, text) if not isinstance(event, LineKind))


def test_groups_are_metrics_and_two_underscores_a_slash() -> None:
    found = read(r"E(?P<epoch>\d+) (?P<train__loss>\S+) (?P<my_thing>\S+)", "E1 0.50 7\nnoise\nE2 0.25 8\n")
    run = found.runs[0]
    assert run.curves["train/loss"].metric.name == "train/loss"
    assert run.curves["train/loss"].points == [(1, "0.5", 1), (2, "0.25", 3)]
    assert run.curves["train/loss"].decimals == 2
    assert run.curves["my_thing"].metric.name == "my_thing"
    assert (found.unparsed.count, found.unparsed.examples) == (1, ((2, "noise"),))


def test_a_line_may_match_several_times_and_takes_the_position_before_it() -> None:
    text = "start acc 0.1\nepoch 3\nloss 0.5 acc 0.6\nacc 0.7 acc 0.9\n"
    run = read(r"epoch (?P<epoch>\d+)|loss (?P<loss>\S+)|acc (?P<acc>\S+)", text).runs[0]
    assert run.curves["loss"].points == [(3, "0.5", 3)]
    assert run.curves["acc"].points == [(0, "0.1", 1), (3, "0.6", 3), (3, "0.7", 4)]


def test_without_a_position_rows_are_counted() -> None:
    run = read(r"loss (?P<loss>\S+)", "loss 3\nx\nloss 2\nloss 1\n").runs[0]
    assert run.curves["loss"].steps == [0, 1, 2]
    assert run.curves["loss"].metric.step_unit == "row"


def test_an_iteration_that_goes_on_is_the_step_and_keeps_its_epochs() -> None:
    text = "".join(f"ep {n // 3} it {n} l=0.{9 - n}\n" for n in range(7))
    curve = read(BOTH, text).runs[0].curves["loss"]
    assert (curve.steps, curve.metric.step_unit) == (list(range(7)), "iteration")
    points = [event for event in events(BOTH, text) if hasattr(event, "curves")]
    assert list(points[0].curves[0].epochs or ()) == [0, 0, 0, 1, 1, 1, 2]


def test_an_iteration_that_starts_again_leaves_the_step_to_the_epoch() -> None:
    text = "".join(f"ep {n // 3} it {n % 3} l=0.{9 - n}\n" for n in range(7))
    curve = read(BOTH, text).runs[0].curves["loss"]
    assert (curve.steps, curve.metric.step_unit) == ([0, 0, 0, 1, 1, 1, 2], "epoch")


def test_epochs_with_fractions_go_beside_the_step() -> None:
    curve = read(BOTH, "ep 0.5 it 5 l=1\nep 1.0 it 10 l=2\n").runs[0].curves["loss"]
    assert curve.steps == [5, 10]
    alone = read(r"ep (?P<epoch>\S+) l=(?P<loss>\S+)", "ep 0.5 l=1\nep 1.0 l=2\nep 0.5 l=3\n")
    assert [run.curves["loss"].steps for run in alone.runs] == [[0, 1], [0]]
    assert alone.runs[1].start.reason == "epoch went 1 → 0.5 at line 3"


def test_a_position_that_falls_back_begins_a_run_and_says_so() -> None:
    text = "".join(f"ep {n % 3} it {n % 3} l={n}\n" for n in range(6))
    found = read(BOTH, text)
    assert [run.start.line for run in found.runs] == [1, 4]
    assert found.runs[1].start.reason in ("iteration went 2 → 0 at line 4", "epoch went 2 → 0 at line 4")
    resumed = read(r"ep (?P<epoch>\d+) l=(?P<loss>\S+)", "ep 0 l=1\nep 5 l=1\nep 4 l=1\nep 5 l=1\n")
    assert len(resumed.runs) == 1


def test_values_are_as_printed_with_their_unit_nan_and_inf_among_them() -> None:
    text = "a 12.5% b nan\na 13% b inf\na x b 1e-3\n"
    found = read(r"a (?P<acc>\S+) b (?P<loss>\S+)", text)
    curves = found.runs[0].curves
    assert (curves["acc"].points, curves["acc"].metric.unit) == ([(0, "12.5", 1), (1, "13.0", 2)], "percent")
    assert curves["loss"].points == [(0, "nan", 1), (1, "inf", 2), (2, "0.001", 3)]
    assert found.unparsed.examples == ((3, "a x b 1e-3"),)


def test_what_a_terminal_rewrote_and_coloured_is_read() -> None:
    text = "\x1b[32mloss 0.5\x1b[0m\nloss 0.4\rloss 0.3\n"
    assert read(r"^loss (?P<loss>[\d.]+)$", text).runs[0].curves["loss"].points == [
        *((0, "0.5", 1), (1, "0.4", 2), (2, "0.3", 2)),
    ]


def test_a_line_longer_than_the_limit_is_counted_and_not_searched() -> None:
    found = read(r"loss (?P<loss>\S+)", "loss 1\n" + "x" * (matcher.LINE_LIMIT + 1) + " loss 2\nloss 3\n")
    assert found.runs[0].curves["loss"].values == [1, 3]
    assert found.unparsed.count == 1


@pytest.mark.parametrize(
    "regex", [r"loss:\s*(?P<loss>[\d.]+)", r"loss:[^x]*?(?P<loss>[\d.]+)\Z", r"(?s)loss:.*?(?P<loss>\d+)"]
)
def test_a_match_never_goes_on_in_the_next_line(regex: str) -> None:
    found = read(regex, "loss: 1\nloss:\n7\nloss: 2\nother 3\n")
    assert found.runs[0].curves["loss"].points == [(0, "1.0", 1), (1, "2.0", 4)]
    assert found.unparsed.count == 3


@given(st.lists(st.sampled_from(["loss 0.5 acc 1", "loss 2", "", "acc 3", "noise 4 loss", "acc 7 loss 8"]), min_size=1))
def test_the_quick_way_reads_what_a_search_line_by_line_reads(lines: list[str]) -> None:
    import re

    regex = r"loss (?P<loss>\S+)(?: acc (?P<acc>\S+))?"
    expected: dict[str, list[tuple[int, float]]] = {"loss": [], "acc": []}
    for number, line in enumerate(lines, 1):
        for name in expected:
            values = [match[name] for match in re.finditer(regex, line) if match[name]]
            expected[name] += [(number, float(values[0]))] if values else []
    runs = read(regex, "\n".join(lines) + "\n").runs if any(lines) else []
    curves = runs[0].curves if runs else {}
    for name, points in expected.items():
        read_points = [(line, float(value)) for _, value, line in curves[name].points] if name in curves else []
        assert read_points == points


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(allow_nan=False))), st.integers(1, 40))
def test_what_is_printed_is_read_back_whatever_the_pieces(rows: list[tuple[int, float]], size: int) -> None:
    text = "".join(f"at {step} value {value!r} ok\n" for step, value in rows)
    before, matcher.PIECE_CHARACTERS = matcher.PIECE_CHARACTERS, size
    try:
        found = read(r"at (?P<epoch>\d+) value (?P<loss>\S+) ok", text or "x\n")
    finally:
        matcher.PIECE_CHARACTERS = before
    points = [point for run in found.runs for point in run.curves["loss"].points]
    assert points == [(step, repr(value), line) for line, (step, value) in enumerate(rows, 1)]
    steps = [step for step, _ in rows]
    assert (len(found.runs) > 1) <= any(b < a for a, b in pairwise(steps))


@pytest.mark.parametrize(
    ("regex", "said"),
    [
        ("(", "this is no regex: missing ), unterminated subpattern at character 1"),
        (r"loss (\S+)", "the regex names no group"),
        (r"epoch (?P<epoch>\d+)", "names a position (epoch) and no metric"),
        ("(?P<a>x){99999999999}", "this is no regex"),
    ],
)
def test_a_wrong_regex_is_a_usage_error(regex: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        PatternReader(OwnPattern("mine", regex))
    assert said in caught.value.message
    assert caught.value.hint


def test_a_regex_that_takes_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "LIMIT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        read(r"(a+)+b (?P<loss>\d)", "first\n" + "a" * 60 + "\n")
    assert time.monotonic() - began < 5
    assert "a.log:1: pattern:mine takes more than" in caught.value.message
    assert caught.value.hint and "(a+)+" in caught.value.hint


def test_a_file_is_a_patterns_with_two_lines_of_its_own_and_a_name_that_fits() -> None:
    reader = PatternReader(OwnPattern("mine", r"L~(?P<loss>\S+)", ("*.out", "train*")))
    sure = {
        (name, lines): reader.recognise(Reading.of_bytes(b"x\n" + b"L~1\n" * lines, f"logs/{name}").sample)
        for name in ("a.out", "train.txt", "a.log")
        for lines in (1, 2)
    }
    assert {said for said, certain in sure.items() if certain} == {("a.out", 2), ("train.txt", 2)}


ODD = "Set up\n" + "".join(f"=> i@{n} :: L~{1 / (n + 1):.3f} A~{n * 10}.5\n" for n in range(4))
REGEX = r"i@(?P<iter>\d+) :: L~(?P<loss>\S+) A~(?P<val__acc>\S+)"


def test_a_pattern_is_tried_kept_and_then_used(tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    (tmp_path / "odd.txt").write_text(ODD)
    assert "not a log" in expdb("parse", "odd.txt").stdout
    tried = expdb("parse", "--pattern", REGEX, "odd.txt")
    assert tried.returncode == 0, tried.stderr
    assert "format   pattern\nruns     1, 1 line not understood\n" in tried.stdout
    assert "val/accuracy" in tried.stdout
    assert not (tmp_path / "expdb.toml").exists()
    kept = expdb("parse", "--pattern", REGEX, "--save", "odd", "odd.txt", "--json")
    assert kept.stdout.startswith('{"file": "odd.txt", "format": "pattern:odd"')
    assert kept.stderr == "expdb: kept in expdb.toml as pattern:odd: parse and ingest use it from now on\n"
    assert expdb("ingest", "odd.txt").stdout == "pattern:odd: 1 file, 1 new run, 8 points, 1 line not understood\n"
    (tmp_path / "more.txt").write_text(ODD.replace("0.5", "1.5"))
    assert expdb("ingest", "more.txt", "--as", "pattern:odd").stdout.startswith("pattern:odd: 1 file, 1 new run")
    taken = expdb("parse", "--pattern", REGEX, "--save", "odd", "odd.txt")
    assert (taken.returncode, taken.stderr.splitlines()[0]) == (
        2,
        "expdb: a pattern 'odd' stands at expdb.toml:1 already",
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--pattern", "(", "odd.txt"), 2, "this is no regex"),
        (("--pattern", "x", "odd.txt"), 2, "names no group"),
        (
            ("--pattern", "(?P<loss>zzz)", "odd.txt"),
            1,
            "odd.txt:1: the regex matches no line\n  the first line says: Set",
        ),
        (("--pattern", "(?P<loss>i)@", "odd.txt"), 1, "odd.txt:2: the regex matches, but"),
        (("--pattern", REGEX, "--as", "log", "odd.txt"), 2, "without --as"),
        (("--save", "x", "odd.txt"), 2, "--save keeps a --pattern"),
        (("--pattern", REGEX, "--save", "a b", "odd.txt"), 2, "no pattern's name"),
        ((), 2, "which file?"),
    ],
)
def test_what_cannot_be_tried_is_one_clear_error_and_nothing_is_kept(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "odd.txt").write_text(ODD)
    done = expdb_in(tmp_path)("parse", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "expdb.toml").exists()


def test_a_pattern_that_matches_one_line_is_kept_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text(ODD)
    done = expdb_in(tmp_path)("parse", "--pattern", r"@0 :: L~(?P<loss>\S+)", "--save", "one", "odd.txt")
    assert done.returncode == 0
    assert "only one line matches" in done.stderr


def test_a_slow_pattern_refuses_its_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "expdb.toml").write_text("[[patterns]]\nname = 'slow'\nregex = '(a+)+b (?P<loss>x)'\nfiles = 's*'\n")
    (tmp_path / "slow.log").write_text("a" * 60 + "\n")
    (tmp_path / "good.log").write_text("epoch 1, loss 0.5\nepoch 2, loss 0.4\n")
    done = expdb_in(tmp_path)("ingest", "slow.log", "good.log")
    assert done.returncode == 1
    assert "slow.log:1: pattern:slow takes more than 5 s" in done.stderr
    assert "1 new run, 2 points" in done.stdout


def test_patterns_are_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "expdb.toml").write_text("[[patterns]]\nname = 'p'\nregex = 'loss (?P<x>\\d)'\n")
    known = plugins.all_parsers()
    assert next(iter(known)) == "pattern:p"
    found = parsers.recognise(Reading.of_bytes(b"epoch 1, loss 1\nepoch 2, loss 2\n", "a").sample, known)
    assert found is known["pattern:p"]
    assert any(
        isinstance(event, RunStart) for event in found.parse(Reading.of_bytes(b"loss 1\n", "a"), parsers.Options())
    )
