"""Readers of other packages: found by entry point, used like ours, and no trouble to others where they break."""

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Expdb, expdb_in

MODULE = '''
"""Reads `STEP|VALUE` lines."""
from expdb import metrics
from expdb.parsers import CERTAIN
from expdb.records import Curve, Metric, Points, RunStart, Unparsed

NAME = "bars"
VERSION = 1
SUMMARY = "lines of a step and a loss with a bar between"


def recognise(sample):
    return CERTAIN if sample.text.startswith("%bars") else 0.0


def parse(reading, options):
    steps, values, lines = [], [], []
    for block in reading.blocks():
        for line, text in enumerate(block.text.splitlines(), block.line):
            if "|" in text:
                step, value = text.split("|")
                steps.append(int(step)), values.append(float(value)), lines.append(line)
    yield RunStart(0, 1)
    metric = Metric("loss", metrics.canonical("loss"))
    yield Points(0, (Curve(metric, steps, values, lines),), lines[-1])
    yield Unparsed(0)
'''
BARS = "%bars\n1|0.5\n2|0.25\n"
LOG = "epoch 1, loss 0.5\nepoch 2, loss 0.4\n"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a package with a reader where Python finds it."""

    def into(module: str, entry: str = "bars = barslog", name: str = "barslog") -> None:
        folder = tmp_path / "site"
        info = folder / f"{name}_package-2.1.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text(f"[expdb.parsers]\n{entry}\n")
        (folder / f"{name}.py").write_text(module)

    return into


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    """The command, with what is installed."""
    import os

    (tmp_path / "a.bars").write_text(BARS)
    (tmp_path / "a.log").write_text(LOG)
    run = expdb_in(tmp_path)
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""))))
    return lambda *words: run(*words, env={"PYTHONPATH": path})


def test_a_reader_of_another_package_is_listed_and_used(install: Install, expdb: Expdb) -> None:
    install(MODULE)
    listed = expdb("parse", "--formats").stdout.splitlines()
    assert listed[0].split() == ["format", "from", "reads"]
    assert any(line.split()[:3] == ["bars", "barslog-package", "2.1"] for line in listed)
    done = expdb("ingest", "a.bars", "a.log")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bars: 1 file, 1 new run, 2 points" in done.stdout
    assert "log: 1 file, 1 new run, 2 points" in done.stdout
    assert "format   bars\n" in expdb("parse", "a.bars", "--as", "bars").stdout


@pytest.mark.parametrize(
    ("module", "entry", "said"),
    [
        ("import nothing_of_that_name", "bars = barslog", "cannot be imported (ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "bars = barslog", "cannot be imported (SystemExit: 3)"),
        ("1 / 0", "bars = barslog", "cannot be imported (ZeroDivisionError"),
        (MODULE, "bars = barslog:nothing", "cannot be imported (AttributeError"),
        (MODULE.replace("VERSION = 1", ""), "bars = barslog", "barslog has no VERSION (int)"),
        (MODULE.replace("VERSION = 1", "VERSION = '1'"), "bars = barslog", "barslog has no VERSION (int)"),
        (MODULE.replace("def parse", "def pars"), "bars = barslog", "barslog has no function parse"),
        (MODULE + "\nclass Reader: ...\n", "bars = barslog:Reader", "is a class; a module or an instance"),
        (MODULE, "pipes = barslog", "it calls itself 'bars'"),
        (MODULE.replace('"bars"', '"log"'), "log = barslog", "expdb itself has a reader of that name"),
    ],
)
def test_a_reader_that_cannot_be_used_is_one_error_naming_its_package(
    install: Install, expdb: Expdb, module: str, entry: str, said: str
) -> None:
    install(module, entry)
    done = expdb("ingest", "a.log")
    assert (done.returncode, done.stdout) == (0, "log: 1 file, 1 new run, 2 points, 0 lines not understood\n")
    first, second = done.stderr.splitlines()
    assert f"of package barslog-package 2.1 cannot be used: {said}" in first or said in first
    assert first.startswith("expdb: the reader '")
    assert "update or uninstall barslog-package" in second
    listed = expdb("parse", "--formats")
    assert "log " in listed.stdout and said in listed.stderr
    assert expdb("parse", "a.log", "--as", "bars").returncode == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "return CERTAIN if",
            "return 1 / 0 if",
        ),
        ("return CERTAIN if", "return 'very' if"),
        ("return CERTAIN if", "return 7.0 if"),
    ],
)
def test_a_reader_that_breaks_while_it_is_asked_is_told_once_and_others_go_on(
    install: Install, expdb: Expdb, wrong: str, said: str, tmp_path: Path
) -> None:
    install(MODULE.replace(wrong, said))
    (tmp_path / "b.bars").write_text(BARS + "3|0.1\n")
    done = expdb("ingest", "a.bars", "b.bars", "a.log")
    assert "log: 1 file, 1 new run, 2 points" in done.stdout
    assert done.stderr.count("the reader 'bars' of package barslog-package 2.1 broke down") == 1
    assert "a.bars: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("wrong", "broken", "said"),
    [
        ("yield Unparsed(0)", "raise KeyError('x')", "KeyError: 'x'"),
        ("yield Unparsed(0)", "yield 'done'", "TypeError: parse() gave str, which is no event"),
        ("Curve(metric, steps, values, lines)", "Curve(metric, steps, values[1:], lines)", "differ in length"),
    ],
)
def test_a_reader_that_breaks_while_it_reads_refuses_that_file_alone(
    install: Install, expdb: Expdb, wrong: str, broken: str, said: str
) -> None:
    install(MODULE.replace(wrong, broken))
    done = expdb("ingest", "a.bars", "a.log")
    assert done.returncode == 1
    assert "log: 1 file, 1 new run, 2 points" in done.stdout
    assert "a.bars: the reader 'bars' of package barslog-package 2.1 broke down" in done.stderr
    assert said in done.stderr
    assert "tell the makers of barslog-package 2.1" in done.stderr
    assert expdb("ls", "--format", "csv").stdout.count("\n") == 2


def test_two_packages_with_one_name_are_told_apart(install: Install, expdb: Expdb) -> None:
    install(MODULE)
    install(MODULE, "bars = otherlog", "otherlog")
    done = expdb("ingest", "a.bars")
    assert "bars: 1 file, 1 new run" in done.stdout
    assert "of package otherlog-package 2.1 cannot be used: package barslog-package 2.1 has a reader" in done.stderr
