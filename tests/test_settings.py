"""expdb.toml: what it says is taken, and what is wrong in it is told with its line."""

import json
from pathlib import Path

import pytest
from commands import expdb_in

from expdb import metrics, settings
from expdb.errors import InputError, UsageError
from expdb.settings import OwnPattern

WHOLE = """\
database = "results/all.db"  # relative to this file

[aliases]
"top-1 精度" = "test/accuracy"
"my score" = "score"

[quantities.score]
better = "max"

[[patterns]]
name = "mine"
regex = 'loss (?P<loss>\\S+)'
files = "*.out"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, two below one for expdb.toml."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_the_nearest_file_upward_is_read_and_its_paths_are_relative_to_it(here: Path, tmp_path: Path) -> None:
    (tmp_path / "expdb.toml").write_text(WHOLE, encoding="utf-8")
    found = settings.load()
    assert found.path == tmp_path / "expdb.toml"
    assert found.database == tmp_path / "results/all.db"
    assert found.aliases == {"top-1 精度": "test/accuracy", "my score": "score"}
    assert found.better == {"score": "max"}
    assert found.patterns == (OwnPattern("mine", r"loss (?P<loss>\S+)", ("*.out",)),)
    assert found.patterns[0].place == ("../../expdb.toml", 10)
    (here / "expdb.toml").write_text("", encoding="utf-8")
    assert settings.load().database is None


def test_without_the_file_nothing_is_set(here: Path) -> None:
    assert settings.load() == settings.Settings()


def test_the_flag_and_the_environment_go_before_the_file(here: Path, tmp_path: Path) -> None:
    named = tmp_path / "c.db"
    assert settings.database_path(None, {}, named) == named
    assert settings.database_path(None, {"EXPDB_DB": "e.db"}, named) == Path("e.db")
    assert settings.database_path(Path("o.db"), {"EXPDB_DB": "e.db"}, named) == Path("o.db")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_mark_before_the_text_and_windows_line_ends_are_no_matter(here: Path, mark: str) -> None:
    (here / "expdb.toml").write_bytes((mark + WHOLE.replace("\n", "\r\n")).encode())
    assert settings.load().better == {"score": "max"}


@pytest.mark.parametrize(
    ("text", "line", "said", "remedy"),
    [
        ("database = \n", 1, "is no TOML", "quotes"),
        ("\n[aliases]\nscore = x\n", 3, "is no TOML", "quotes"),
        ("[aliases\n", 1, "is no TOML", "quotes"),
        ("\ndatabse = 'x'\n", 2, "nothing is called 'databse'", "database is meant?"),
        ("\nsomething = 1\n", 2, "nothing is called 'something'", "known are: database, aliases"),
        ("# mine\ndatabase = 3\n", 2, "database is no text", "runs/expdb.db"),
        ("\naliases = 3\n", 2, "aliases is no table", "[aliases]"),
        ("[aliases]\na = 'b'\n'my score' = 1\n", 3, "my score is no text", "test/score"),
        ("[aliases]\na = 'two words'\n", 2, "'two words' is no metric's name", "split/quantity"),
        ("[aliases]\n'%' = 'b'\n", 2, "'%' has no letter", "as the log prints it"),
        ("[quantities.score]\n\n", 1, "says not which way is better", 'better = "max"'),
        ("[quantities.score]\nbetter = 'up'\n", 1, "says not which way is better", 'better = "max"'),
        ("[quantities.score]\nbetter = 'max'\nbeter = 'max'\n", 3, "nothing is called 'beter'", "better is meant?"),
        ("[quantities]\nscore = 3\n", 2, "score is no table", "[quantities.score]"),
        ("[quantities.'a/b']\nbetter = 'max'\n", 1, "'a/b' is no quantity's name", "without its split"),
        ("patterns = 3\n", 1, "patterns is no list", "[[patterns]]"),
        ("[[patterns]]\nname = 'a'\n", 1, "this pattern has no regex", "regex ="),
        ("[[patterns]]\nregex = 'a'\n", 1, "this pattern has no name", "name ="),
        ("[[patterns]]\nname = 'a b'\nregex = 'a'\n", 1, "'a b' is no pattern's name", "letters"),
        ("[[patterns]]\nname = 'a'\nregex = 3\n", 3, "regex is no text", "regex ="),
        ("[[patterns]]\nname = 'a'\nregex = 'a'\nfile = 'x'\n", 4, "nothing is called 'file'", "files is meant?"),
        ("[[patterns]]\nname = 'a'\nregex = 'a'\nfiles = 'x/*.log'\n", 1, "files names files", "*.out"),
        (
            "[[patterns]]\nname = 'a'\nregex = 'a'\n[[patterns]]\nname = 'a'\nregex = 'b'\n",
            4,
            "two patterns",
            "another",
        ),
    ],
)
def test_what_is_wrong_is_one_error_with_its_line_and_a_remedy(
    here: Path, text: str, line: int, said: str, remedy: str
) -> None:
    (here / "expdb.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        settings.load()
    assert caught.value.message.startswith(f"expdb.toml:{line}: ")
    assert said in caught.value.message
    assert caught.value.hint and remedy in caught.value.hint


def test_a_file_in_another_encoding_is_told_with_its_line(here: Path) -> None:
    (here / "expdb.toml").write_bytes("[aliases]\n'精度' = 'accuracy'\n".encode("gb18030"))
    with pytest.raises(InputError, match=r"expdb\.toml:2: is no UTF-8"):
        settings.load()


def test_a_pattern_is_added_behind_what_the_person_wrote(here: Path) -> None:
    (here / "expdb.toml").write_text(WHOLE.rstrip("\n"), encoding="utf-8")
    added = OwnPattern("second", 'it\'s (?P<loss>\\S+) "x"\t', ("*.txt", "b*"))
    path = settings.keep_pattern(added)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(WHOLE + "\n[[patterns]]\nname = 'second'\n")
    assert [one.name for one in settings.load().patterns] == ["mine", "second"]
    assert settings.load().patterns[1] == added
    assert [one.name for one in here.iterdir()] == ["expdb.toml"]


def test_a_file_is_made_where_there_is_none_and_keeps_its_line_ends_and_rights(here: Path) -> None:
    path = settings.keep_pattern(OwnPattern("a", r"loss (?P<loss>\d+)"))
    assert path.read_text() == "[[patterns]]\nname = 'a'\nregex = 'loss (?P<loss>\\d+)'\n"
    path.write_bytes(b"# mine\r\n")
    path.chmod(0o600)
    settings.keep_pattern(OwnPattern("a", "x"))
    assert path.read_bytes() == b"# mine\r\n\r\n[[patterns]]\r\nname = 'a'\r\nregex = 'x'\r\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_taken_or_is_none_is_refused(here: Path) -> None:
    (here / "expdb.toml").write_text(WHOLE, encoding="utf-8")
    with pytest.raises(UsageError, match=r"'mine' stands at expdb\.toml:10 already"):
        settings.keep_pattern(OwnPattern("mine", "x"))
    with pytest.raises(UsageError, match="no pattern's name"):
        settings.keep_pattern(OwnPattern("a b", "x"))


def test_a_file_that_cannot_be_added_to_stays_as_it_is(here: Path) -> None:
    text = "patterns = [{name = 'a', regex = 'x'}]\n"
    (here / "expdb.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        settings.keep_pattern(OwnPattern("b", "y"))
    assert caught.value.hint == "write it there by hand: name = 'b', regex = 'y'"
    assert (here / "expdb.toml").read_text() == text


def test_a_persons_words_name_metrics_and_say_which_way_is_better() -> None:
    aliases = {"top-1 精度": "test/accuracy", "my score": "score", "Rundenzahl": "epoch", "Best F": "val/f1"}
    assert metrics.canonical("my score") == "my_score"
    assert metrics.is_aside("best F")
    try:
        metrics.extend(aliases, {"score": "max", "lag": "min", "fid": "max"})
        assert metrics.canonical("top-1 精度") == "test/accuracy"
        assert metrics.canonical("Top_1 精度:") == "test/accuracy"
        assert metrics.canonical("my score") == "score"
        assert metrics.canonical("val my score") == "val/score"
        assert metrics.canonical("my score", split="val") == "val/score"
        assert metrics.canonical("lag") == "lag"
        assert metrics.is_known("my score") and metrics.is_known("lag")
        assert metrics.better("val/score") == metrics.better("my score") == "max"
        assert (metrics.better("lag"), metrics.better("fid")) == ("min", "max")
        assert metrics.unit_of("test/accuracy", 10, 90) == "percent"
        assert metrics.step_role("rundenzahl") == "epoch"
        assert not metrics.is_aside("best F")
        assert metrics.is_result("my score")
        assert metrics.canonical("loss") == "train/loss"
    finally:
        metrics.extend({}, {})
    assert metrics.canonical("my score") == "my_score"
    assert metrics.better("fid") == "min"
    assert metrics.better("score") is None


def test_what_the_file_says_reaches_every_command(tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    log = "".join(f"epoch {n}, loss 0.{9 - n}, my score {n}.5\n" for n in range(4))
    (tmp_path / "a.log").write_text(log)
    (tmp_path / "expdb.toml").write_text(WHOLE, encoding="utf-8")
    parsed = json.loads(expdb("parse", "a.log", "--json").stdout)
    assert [one["name"] for one in parsed["runs"][0]["metrics"]] == ["train/loss", "score"]
    done = expdb("ingest", "a.log")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/all.db").exists()
    compared = expdb("compare", "--columns", "best(score) as top", "--format", "csv")
    assert compared.stdout == "top\n3.5\n", compared.stderr


def test_a_wrong_file_stops_a_command_before_it_does_anything(tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    (tmp_path / "a.log").write_text("epoch 1, loss 0.5\n")
    (tmp_path / "expdb.toml").write_text("databse = 'x.db'\n")
    for words in (("ingest", "a.log"), ("parse", "a.log"), ("ls",), ("db", "info")):
        done = expdb(*words)
        assert done.returncode == 1
        assert done.stderr == "expdb: expdb.toml:1: nothing is called 'databse'\n  database is meant?\n"
    assert not (tmp_path / "runs").exists()
    (tmp_path / "expdb.toml").write_text("[[patterns]]\nname = 'p'\nregex = '('\n")
    done = expdb("ingest", "a.log")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("expdb: expdb.toml:1: pattern 'p': this is no regex: ")
