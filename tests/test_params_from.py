"""ingest --params-from: what the path of a log says becomes params of its runs."""

from pathlib import Path

import pytest
from commands import Expdb, expdb_in
from conftest import log_lines

REGEX = r"(?P<model>[a-z0-9]+)_lr(?P<lr>\d+(\.\d+)?)_seed(?P<seed>\d+)"


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    """The command, beside three logs of which two say their params."""
    for n, name in enumerate(("resnet18_lr0.1_seed3", "vgg_lr0.05_seed4", "plain")):
        (tmp_path / "logs").mkdir(exist_ok=True)
        (tmp_path / "logs" / f"{name}.log").write_text("".join(log_lines(2, salt=n)))
    return expdb_in(tmp_path)


def params(expdb: Expdb) -> list[str]:
    """`run key=value` of every run."""
    query = "SELECT r.name || ' ' || p.key || '=' || p.value FROM param p JOIN run r ON r.id = p.run_id ORDER BY 1"
    return expdb("sql", query, "--format", "csv").stdout.splitlines()[1:]


ALL = [
    *("resnet18_lr0.1_seed3 lr=0.1", "resnet18_lr0.1_seed3 model=resnet18", "resnet18_lr0.1_seed3 seed=3"),
    *("vgg_lr0.05_seed4 lr=0.05", "vgg_lr0.05_seed4 model=vgg", "vgg_lr0.05_seed4 seed=4"),
]


def test_named_groups_are_params_and_a_path_without_them_is_told_and_read(expdb: Expdb) -> None:
    done = expdb("ingest", "logs", "--params-from", REGEX)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 new runs" in done.stdout
    assert "params from paths: 2 files (model, lr, seed)\n" in done.stdout
    assert "no params in the path: 1 file (logs/plain.log)\n" in done.stdout
    assert params(expdb) == ALL
    assert expdb(
        "compare", "-w", "lr < 0.1", "--columns", "run, params.seed as seed", "--format", "csv"
    ).stdout.endswith("seed4,4\n")


def test_a_dry_run_says_them_file_by_file(expdb: Expdb, tmp_path: Path) -> None:
    done = expdb("ingest", "logs", "--params-from", REGEX, "--dry-run")
    assert "  logs/resnet18_lr0.1_seed3.log: model=resnet18, lr=0.1, seed=3\n" in done.stdout
    assert "no params in the path: 1 file" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_what_the_person_says_goes_first(expdb: Expdb) -> None:
    expdb("ingest", "logs", "--params-from", REGEX, "-s", "lr=7")
    assert [one for one in params(expdb) if " lr=" in one] == [
        *("plain lr=7", "resnet18_lr0.1_seed3 lr=7", "vgg_lr0.05_seed4 lr=7"),
    ]


def test_folders_are_part_of_the_path_as_it_was_given(expdb: Expdb, tmp_path: Path) -> None:
    expdb("ingest", "./logs/plain.log", "--params-from", r"^(?P<folder>\w+)/(?P<name>\w+)(?P<no>x)?")
    assert params(expdb) == ["plain folder=logs", "plain name=plain"]
    expdb("ingest", str(tmp_path / "logs/vgg_lr0.05_seed4.log"), "--params-from", r"/(?P<place>logs)/")
    assert params(expdb)[2:] == ["vgg_lr0.05_seed4 place=logs"]


def test_known_files_get_them_when_they_are_read_again(expdb: Expdb) -> None:
    expdb("ingest", "logs")
    known = expdb("ingest", "logs", "--params-from", REGEX)
    assert "known already: 3 files" in known.stdout
    assert "--params-from" in known.stderr and "--again" in known.stderr
    assert params(expdb) == []
    again = expdb("ingest", "logs", "--params-from", REGEX, "--again")
    assert again.returncode == 0
    assert params(expdb) == ALL


def test_what_comes_through_a_pipe_has_no_path(expdb: Expdb) -> None:
    done = expdb("ingest", "-", "--params-from", "(?P<x>.)", stdin="".join(log_lines(2, salt=8)))
    assert "1 new run" in done.stdout
    assert "path" not in done.stdout
    assert params(expdb) == []


@pytest.mark.parametrize(("regex", "said"), [("(", "this is no regex"), ("lr", "names no group")])
def test_a_wrong_regex_is_a_usage_error(expdb: Expdb, regex: str, said: str) -> None:
    done = expdb("ingest", "logs", "--params-from", regex)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--params-from: {said}" in done.stderr or f"--params-from: the regex {said}" in done.stderr
