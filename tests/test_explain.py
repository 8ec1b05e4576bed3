"""parse --explain: what a file was understood as and why, in words and as JSON, and what to type next."""

import json
import re
from pathlib import Path

import pytest
from commands import Expdb, expdb_in, on_terminal

from expdb import explain, preview
from expdb.parsers.pattern import PatternReader
from expdb.parsers.reading import Reading
from expdb.preview import Preview
from expdb.settings import OwnPattern

LINE = "epoch {0}, loss {1:.3f}, my score {0}.5, test acc {2:.2f}, eta 00:0{0}\n"
LOG = (
    "".join(LINE.format(n, 2 / (n + 1), 0.4 + n / 20) for n in range(6))
    + "".join(LINE.format(n, 1 / (n + 1), 0.5 + n / 20) for n in range(3))
    + "[bold]Traceback[/bold] \x1b[31m(most recent call last)\n"
)


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    """The command, beside a log of two runs."""
    (tmp_path / "a.log").write_text(LOG)
    (tmp_path / "odd.out").write_text("hello, lr=3\n~ i#1 L~0.50\n~ i#2 L~0.25\n")
    return expdb_in(tmp_path)


def section(text: str, title: str) -> str:
    """The lines from one that begins so to a blank one."""
    return re.split(r"\n\n", text[text.index(title) :])[0]


def test_all_is_said_that_a_person_may_ask(expdb: Expdb) -> None:
    done = expdb("parse", "a.log", "--explain")
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert out.startswith("file     a.log: 10 lines, utf-8\nformat   log (")
    assert "runs     2, 1 line not understood" in out
    kind = section(out, "9 lines of this kind, the first is line 1:")
    assert "epoch 0, loss 2.000, my score 0.5, test acc 0.40, eta 00:00" in kind
    assert "step: epoch" in kind
    assert re.search(r"^test acc +test/accuracy ", kind, re.MULTILINE)
    runs = section(out, "lines  run")
    assert re.search(r"^1–6 +a +the first$", runs, re.MULTILINE)
    assert re.search(r"^7–9 +a \(2\) +epoch went 5 → 0 at line 7$", runs, re.MULTILINE)
    assert "fraction  a share of one, and the values go from 0.40 to 0.65" in section(out, "label")
    assert "not understood: 1 line, the first:\n  line 10: [bold]Traceback[/bold]" in out
    assert "\x1b" not in out
    following = out[out.index("\nnext\n") :]
    assert "    expdb ingest a.log\n" in following
    assert "nobody knows which way these are better: my score:" in following


def test_json_says_the_same(expdb: Expdb) -> None:
    said = json.loads(expdb("parse", "a.log", "--explain", "--json").stdout)
    assert len(said["runs"]) == 2
    why = said["explain"]
    assert set(why) == {"encoding", "sureness", "kinds", "runs", "units", "asides", "unparsed", "next"}
    assert why["sureness"]["log"] > 0.5 > why["sureness"]["page"]
    assert (why["kinds"][0]["line"], why["kinds"][0]["count"], why["kinds"][0]["step"]) == (1, 9, "epoch")
    assert why["kinds"][0]["fields"][1].keys() == {"label", "name", "taken_for"}
    assert why["runs"][1] == {
        "name": "a (2)",
        "line_first": 7,
        "line_last": 9,
        "reason": "epoch went 5 → 0 at line 7",
    }
    assert why["unparsed"]["count"] == 1
    assert {"label": "test acc", "name": "test/accuracy", "unit": "fraction"}.items() <= why["units"][0].items()
    assert "explain" not in json.loads(expdb("parse", "a.log", "--json").stdout)


def test_a_file_that_nobody_knows_is_shown_with_a_pattern_to_try(expdb: Expdb) -> None:
    out = expdb("parse", "odd.out", "--explain").stdout
    assert "format   not a log: no reader knows it\n" in out
    assert "it begins:\n  line 1: hello, lr=3\n" in out
    command = next(line for line in out.splitlines() if "--pattern" in line).strip()
    regex = re.search(r"--pattern '(.*)'", command)
    assert regex
    done = expdb("parse", "odd.out", "--pattern", regex[1])
    assert "runs     1, 1 line not understood" in done.stdout


@pytest.mark.parametrize(
    ("line", "regex"),
    [
        (
            "Ep 3/90 | loss=0.25 (acc: 81.2%)",
            r"Ep\s+(?P<ep>\d+)/\S+\s+\|\s+loss=(?P<loss>[-+.\deE]+)\s+\(acc:\s+(?P<acc>[-+.\deE]+)",
        ),
        ("loss 0.1 loss 0.2", r"loss\s+(?P<loss>[-+.\deE]+)\s+loss\s+\S+"),
        ("epoch 3", None),
        ("3 4 5", None),
        ("nothing", None),
    ],
)
def test_a_suggested_regex_names_numbers_by_the_words_before_them(line: str, regex: str | None) -> None:
    assert explain.suggested(line) == regex
    if regex:
        PatternReader(OwnPattern("x", regex))
        assert re.search(regex, line)


def test_a_forced_format_and_a_table_of_numbers_say_so(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "t.md").write_text("# Results\n\n| net | speed |\n|---|---|\n| a | 3.5 |\n| b | 4.5 |\n")
    forced = expdb("parse", "t.md", "--explain", "--as", "page").stdout
    assert "format   page (" in forced
    assert "expdb parse t.md --metric-columns speed\n" in forced
    other = expdb("parse", "a.log", "--as", "page", "--explain").stdout
    assert other.splitlines()[1].startswith("format   page (as you say; of itself it does not know the file); also log")


def test_asides_are_shown_apart(tmp_path: Path) -> None:
    text = "".join(f"epoch {n} loss 0.{n} eta {n}.5 max mem {n}00\n" for n in range(1, 4))
    found = preview.preview(Reading.of_bytes(text.encode(), "a.log"))
    names = explain.asides(found)
    assert "eta" in names
    (tmp_path / "a.log").write_text(text)
    out = expdb_in(tmp_path)("parse", "a.log").stdout
    assert f"\nasides, not stored: {', '.join(names)}\n" in out
    table = out[: out.index("asides")]
    assert "eta" not in table and "train/loss" in table


@pytest.mark.parametrize("columns", [60, 120])
def test_a_terminal_shows_nothing_beyond_its_width_but_commands(expdb: Expdb, tmp_path: Path, columns: int) -> None:
    log = LOG.replace("my score", "a rather long name of a score")
    (tmp_path / "long.log").write_text(log + "x [red]y " * 40 + "\n")
    shown = on_terminal(tmp_path, columns, "parse", "long.log", "--explain")
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert "\x1b[2m" in shown
    assert "[red]" in plain
    for line in plain.splitlines():
        assert len(line) <= columns or line.startswith("    "), line
    assert "\x1b[2m" not in on_terminal(tmp_path, columns, "ls", "--db", "none")


def test_formats_are_listed_with_where_they_come_from(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "expdb.toml").write_text("[[patterns]]\nname = 'p'\nregex = 'L~(?P<loss>\\S+)'\nfiles = '*.out'\n")
    lines = expdb("parse", "--formats").stdout.splitlines()
    assert lines[2].split(maxsplit=2) == ["pattern:p", "expdb.toml", r"L~(?P<loss>\S+) (files: *.out)"]
    assert any(line.split()[:2] == ["log", "built-in"] for line in lines)
    assert len(lines) == 2 + len({line.split()[0] for line in lines[2:]})


def test_the_explanation_of_an_empty_preview_has_something_to_type() -> None:
    assert explain.next_steps(Preview("a b.log", None, 3, "utf-8"))[0].command.startswith("expdb parse 'a b.log'")
    assert explain.next_steps(Preview("训练.log", None, 3, "utf-8"))[0].command.startswith("expdb parse 训练.log")
