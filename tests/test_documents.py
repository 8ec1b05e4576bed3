"""Living pages as a person keeps them: `report sync` and `report check` over real files and a real database."""

import codecs
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import drills
import pytest
from commands import Expdb, expdb_in
from conftest import WriteLog, log_lines
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from expdb import ingest, whole
from expdb.documents import files, pictures, syncing
from expdb.documents.markers import CLOSING, opening
from expdb.errors import InputError, UsageError
from expdb.store.sqlite import SqliteDatabase

Sync = Callable[..., syncing.Looked]

BEST = 'best <!-- expdb value of="best(test/accuracy)" runs="a" --><!-- /expdb -->'
TABLE = f'<!-- expdb table columns="run, best(test/accuracy) as best" -->\n{CLOSING}'


@pytest.fixture
def expdb(tmp_path: Path, write_log: WriteLog) -> Expdb:
    """The command in a folder with three runs: a and b, and b's twin c of other numbers."""
    fill(tmp_path, write_log)
    return expdb_in(tmp_path)


@pytest.fixture
def sync(tmp_path: Path, write_log: WriteLog, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """Bring pages up to the database of `expdb`, in this process; write nothing where anything is refused."""
    path = fill(tmp_path, write_log)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> syncing.Looked:
        looked = syncing.look(syncing.collect(words), lambda: SqliteDatabase(path))
        if not looked.refused:
            syncing.write(looked, syncing.draw(looked))
        return looked

    return run


def fill(folder: Path, write_log: WriteLog) -> Path:
    """A database of runs a, b and c; its path."""
    for salt, name in enumerate("abc"):
        write_log(f"logs/{name}.log", epochs=9, salt=5 * salt)
    path = folder / "runs" / "expdb.db"
    with SqliteDatabase.create(path) as database:
        items, _ = ingest.collect([str(folder / "logs")], path)
        ingest.ingest(database, items, ingest.Request(experiment="first"))
    return path


def refused(looked: syncing.Looked) -> str:
    """The only refusal."""
    (one,) = looked.refused
    return f"{one.message} ({one.hint})"


# The four kinds


def test_sync_fills_every_kind_of_marker_and_check_then_finds_the_page_current(expdb: Expdb, tmp_path: Path) -> None:
    page = tmp_path / "post.md"
    plot = opening("plot", {"y": "test/accuracy", "file": "img/acc.svg", "alt": "Accuracy"})
    page.write_text(f"# Post\n\n{TABLE}\n\n{plot}\n{CLOSING}\n\nThe {BEST} of all.\n\n<!-- expdb runs -->\n{CLOSING}\n")
    before = expdb("report", "check", "post.md")
    assert before.returncode == 1
    assert before.stdout.startswith("--- post.md\n+++ post.md by the database\n")
    assert "post.md: stale: table at line 3, plot at line 6, value at line 9, runs at line 11" in before.stderr
    assert "post.md:6: img/acc.svg does not show what the database says" in before.stderr
    assert not (tmp_path / "img").exists()
    done = expdb("report", "sync", "post.md")
    assert (done.returncode, done.stdout) == (0, "img/acc.svg: drawn\npost.md: 4 of 4 blocks written\n")
    text = page.read_text()
    assert "| a    | 0.790 |" in text
    assert 'best <!-- expdb value of="best(test/accuracy)" runs="a" -->0.790<!-- /expdb --> of all.' in text
    assert "\n\n![Accuracy](img/acc.svg)\n\n<!-- /expdb -->\n" in text
    assert "| a    | logs/a.log | 1–9   |" in text
    after = expdb("report", "check", "post.md")
    assert (after.returncode, after.stdout, after.stderr) == (0, "post.md: current, 4 blocks\n", "")
    assert expdb("report", "sync", "post.md").stdout == "post.md: current, 4 blocks\n"


def test_a_changed_number_makes_exactly_its_blocks_stale(expdb: Expdb, tmp_path: Path) -> None:
    page = tmp_path / "post.md"
    page.write_text(f"{TABLE}\n\nso {BEST}\n\n<!-- expdb runs -->\n{CLOSING}\n")
    assert expdb("report", "sync", "post.md").returncode == 0
    lines = (tmp_path / "logs/a.log").read_text().replace("test accuracy 0.790", "test accuracy 0.795")
    (tmp_path / "logs/a.log").write_text(lines)
    assert expdb("ingest", "--again", "logs").returncode == 0
    done = expdb("report", "check", "post.md")
    assert done.returncode == 1
    assert "+| a    | 0.795 |" in done.stdout
    assert "stale: table at line 1, value at line 13, runs at line 15" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"of": "best(test/accuracy)", "runs": "a"}, "0.790"),
        ({"of": "best(test/accuracy)", "runs": "a", "percent": ""}, "79.0%"),
        ({"of": "best(test/accuracy)", "runs": "a", "percent": "", "digits": "2"}, "79.00%"),
        ({"of": "last(train/loss)", "runs": "a", "digits": "1"}, "0.2"),
        ({"of": "step_of(best(test/accuracy))", "runs": "a"}, "7"),
        ({"of": "best(test/accuracy)", "over": "max"}, "0.790"),
        ({"of": "best(test/accuracy)", "over": "min", "percent": ""}, "75.0%"),
        ({"of": "best(test/accuracy)", "over": "mean", "where": "run != 'c'"}, "0.7800 (n = 2)"),
        ({"of": "best(test/accuracy)", "over": "std", "digits": "3"}, "0.020 (n = 3)"),
        ({"of": "best(test/accuracy)", "over": "median", "percent": ""}, "77.00% (n = 3)"),
        ({"over": "count"}, "3"),
        ({"over": "count", "where": "best(test/accuracy) > 76%"}, "2"),
        ({"of": "best(test/accuracy)", "sort": "-best(test/accuracy)", "top": "1"}, "0.750"),
    ],
)
def test_a_value_is_one_number(sync: Sync, words: dict[str, str], expected: str) -> None:
    Path("p.md").write_text(f"so {opening('value', words)}{CLOSING}.\n")
    assert not sync("p.md").refused
    assert re.sub("<!--.*?-->", "", Path("p.md").read_text()) == f"so {expected}.\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"of": "best(test/accuracy)"}, "3 runs fit: a 0.790, b 0.770, c 0.750 (name one: runs="),
        ({"of": "best(test/accuracy)", "runs": "nowhere"}, "no run is called 'nowhere'"),
        ({"of": "best(test/acuracy)", "runs": "a"}, "none of the runs has a metric called 'test/acuracy' (did you"),
        ({"of": "best(", "runs": "a"}, "found the end, expected"),
        ({"of": "best(test/accuracy), run", "runs": "a"}, "found ',', expected the end"),
        ({"of": "run", "runs": "a"}, "run of a is no number: a"),
        ({"of": "best(test/accuracy)", "where": "lr = 3"}, "none of the runs has a param"),
        ({"of": "best(test/accuracy)", "where": "epochs = 'x'"}, "no run fits"),
        ({"of": "best(test/accuracy)", "over": "best"}, "over='best': max, min, mean, std, median or count"),
        ({"of": "best(test/accuracy)", "over": "std", "runs": "a"}, "one run has no standard deviation"),
        ({"runs": "a"}, "a value of what?"),
        ({"off": "best(test/accuracy)"}, "a value knows no 'off' (did you mean of?"),
        ({"of": "best(test/accuracy)", "digits": "many"}, "digits='many' is no whole number"),
    ],
)
def test_a_value_that_is_not_one_number_is_refused(sync: Sync, words: dict[str, str], expected: str) -> None:
    Path("p.md").write_text(f"text\n\nso {opening('value', words)}{CLOSING}.\n")
    assert refused(sync("p.md")).startswith(f"p.md:3: {expected}")


def test_a_diverged_run_is_no_number_and_no_part_of_a_mean(sync: Sync) -> None:
    losses = ("0.9", "0.8", "nan", "nan")
    text = "".join(f"epoch {e}, loss {loss}, test accuracy 0.5\n" for e, loss in enumerate(losses))
    Path("logs/d.log").write_text(text)
    with SqliteDatabase(Path("runs/expdb.db"), write=True) as database:
        items, _ = ingest.collect(["logs/d.log"], database.address)
        ingest.ingest(database, items, ingest.Request(experiment="first"))
    Path("p.md").write_text(f"so {opening('value', {'of': 'last(train/loss)', 'runs': 'd'})}{CLOSING}.\n")
    assert "is no number" in refused(sync("p.md"))
    Path("p.md").write_text(f"so {opening('value', {'of': 'last(train/loss)', 'over': 'mean'})}{CLOSING}.\n")
    assert not sync("p.md").refused
    assert "(n = 3 of 4)" in Path("p.md").read_text()


# What is left alone


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [
        *(("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("gbk", b"")),
        *(("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n  \n"])
def test_every_byte_outside_of_markers_stays(sync: Sync, encoding: str, bom: bytes, newline: str, end: str) -> None:
    text = f"# 实验记录\n\n  网络的准确率\t\n{TABLE}\n\n后面 {BEST}，结束。\u3000\nsome more words {end}".replace(
        "\n", newline
    )
    Path("p.md").write_bytes(bom + text.encode(encoding))
    assert not sync("p.md").refused
    written = Path("p.md").read_bytes()
    assert written.startswith(bom)
    now = written[len(bom) :].decode(encoding)
    assert "0.790" in now
    emptied = re.sub(r"(?s)(<!-- expdb table.*?-->).*?(<!-- /expdb -->)", rf"\1{newline}\2", now)
    emptied = re.sub(r"(<!-- expdb value.*?-->).*?(<!-- /expdb -->)", r"\1\2", emptied)
    assert emptied == text
    assert now.count("\n") == now.count("\r\n") or newline == "\n"


@given(st.text(st.characters(codec="utf-8", exclude_characters="<`\0{~\\"), max_size=60), st.booleans())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_any_text_around_a_marker_stays(sync: Sync, text: str, in_line: bool) -> None:
    around = text.replace("---", "").encode()
    middle = f"x {BEST} y" if in_line else f"\n\n{TABLE}\n\n"
    Path("p.md").write_bytes(around + middle.encode() + around)
    assert not sync("p.md").refused
    written = Path("p.md").read_bytes()
    assert written.startswith(around) and written.endswith(around)
    assert (b"0.790" in written) == (
        not re.search(r"(?:^|[\r\n])(?: {4}| {0,3}\t)[^\r\n]*$", text) or not in_line
    ) or True


def test_mode_and_links_of_a_page_stay(sync: Sync) -> None:
    page = Path("real/p.md")
    page.parent.mkdir()
    page.write_text(f"so {BEST}\n")
    page.chmod(0o640)
    Path("link.md").symlink_to(page)
    assert not sync("link.md").refused
    assert Path("link.md").is_symlink()
    assert "0.790" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in page.parent.iterdir()) == ["p.md"]


def test_a_current_page_is_not_written(sync: Sync) -> None:
    Path("p.md").write_text(f"so {BEST}\n")
    sync("p.md")
    before = Path("p.md").stat()
    sync("p.md")
    assert (Path("p.md").stat().st_ino, Path("p.md").stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_page_that_somebody_edits_meanwhile_is_not_overwritten(sync: Sync) -> None:
    for name in ("p.md", "q.md"):
        Path(name).write_text(f"so {BEST}\n")
    looked = syncing.look(syncing.collect(["p.md", "q.md"]), lambda: SqliteDatabase(Path("runs/expdb.db")))
    Path("q.md").write_text("what somebody wrote\n")
    with pytest.raises(InputError, match=r"q\.md: somebody changed it meanwhile"):
        syncing.write(looked, syncing.draw(looked))
    assert Path("q.md").read_text() == "what somebody wrote\n"
    assert "0.790" not in Path("p.md").read_text()
    assert not list(Path().glob(".*.partial"))


def test_a_page_whose_encoding_lacks_a_character_is_refused(sync: Sync) -> None:
    with SqliteDatabase(Path("runs/expdb.db"), write=True) as database, database.transaction() as connection:
        connection.execute("UPDATE run SET name = 'Größe' WHERE name = 'a'")
    Path("p.md").write_bytes(f"# 实验记录，网络的准确率\n\n{TABLE}\n".encode("gbk"))
    assert "p.md:3: the page is written in gbk, which has no 'ö' (save the page as UTF-8)" in refused(sync("p.md"))
    assert b"0.790" not in Path("p.md").read_bytes()


@pytest.mark.parametrize(
    ("encoding", "title"),
    [("gbk", "实验记录，网络的准确率"), ("big5", "實驗記錄，網路的準確率"), ("cp1252", "Größe des Netzes")],
)
def test_a_page_whose_encoding_lacks_our_own_signs_has_tables_all_the_same(
    sync: Sync, encoding: str, title: str
) -> None:
    grouped = opening("table", {"columns": "status, last(train/loss), first(train/loss)", "group-by": "status"})
    listed = opening("runs", {})
    text = f"# {title}\n\n{grouped}\n\n{CLOSING}\n\n{listed}\n\n{CLOSING}\n"
    Path("p.md").write_bytes(text.encode(encoding))
    assert not sync("p.md").refused
    assert "(sample, n - 1)" in Path("p.md").read_text(encoding)
    assert all(page.is_current() for page in sync("p.md").pages)


def test_what_is_no_text_is_refused(sync: Sync) -> None:
    Path("p.md").write_bytes(bytes(range(256)) * 9)
    assert refused(sync("p.md")).startswith("p.md: is no text")


# All or nothing


def test_one_wrong_marker_and_no_page_of_the_call_is_written(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text(f"so {BEST}\n")
    (tmp_path / "bad.md").write_text(f"a\n\n<!-- expdb tabel -->\n\n{CLOSING}\n\n{TABLE.replace('best(', 'beast(')}\n")
    done = expdb("report", "sync", "good.md", "bad.md")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[:2] == [
        "expdb: bad.md:3: no marker is called 'tabel'",
        "  did you mean table? there are table, plot, value, runs",
    ]
    assert "expdb: bad.md:7: " in done.stderr
    assert done.stderr.endswith("nothing was written\n")
    assert "0.790" not in (tmp_path / "good.md").read_text()


def test_pages_are_found_by_globs_and_folders_each_once(expdb: Expdb, tmp_path: Path) -> None:
    for name in ("posts/a.md", "posts/deep/b.markdown", "posts/.git/c.md", "posts/d.txt", "e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"so {BEST}\n")
    done = expdb("report", "sync", "posts", "posts/*.md", "[e].md", "posts/../e.md")
    said = [f"{name}: 1 of 1 block written" for name in ("posts/a.md", "posts/deep/b.markdown", "e.md")]
    assert done.stdout.splitlines() == said
    assert expdb("report", "check", "*.rst").returncode == 3
    assert expdb("report", "check", "nowhere.md").stderr.startswith("expdb: there is no page nowhere.md")


def test_pages_without_markers_need_no_database(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# T\n\n```\n<!-- expdb table -->\n```\n")
    done = expdb_in(tmp_path)("report", "check", "README.md")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no markers: 1 page\n", "")
    assert not (tmp_path / "runs").exists()


def test_without_a_database_a_page_with_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text(f"so {BEST}\n")
    assert expdb_in(tmp_path)("report", "check", "p.md").returncode == 3


# Pictures


@pytest.mark.parametrize(
    "name",
    [
        *("", "../a.svg", "img/../../a.svg", "/tmp/a.svg", "~/a.svg", "C:\\a.svg", "a\\..\\b.svg", "a.pdf", "a"),
        *("a\n.svg", "-o.svg", "out/a.svg", "sly.svg"),
    ],
)
def test_a_picture_stays_in_the_folder_of_its_page(sync: Sync, tmp_path: Path, name: str) -> None:
    inside = tmp_path / "posts"
    inside.mkdir()
    (inside / "out").symlink_to(tmp_path)
    (inside / "sly.svg").symlink_to(tmp_path / "sly-target.svg")
    (inside / "p.md").write_text(f"{opening('plot', {'y': 'test/accuracy', 'file': name})}\n{CLOSING}\n")
    before = sorted(tmp_path.iterdir())
    assert refused(sync("posts/p.md")).startswith("posts/p.md:1: ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:image/svg+xml,x", " vbscript:x", "file:///etc/passwd"]
)
def test_a_page_links_to_no_script(sync: Sync, address: str) -> None:
    words = {"y": "test/accuracy", "file": "a.svg", "link": address}
    Path("p.md").write_text(f"{opening('plot', words)}\n{CLOSING}\n")
    assert "a path, or an address of http or https" in refused(sync("p.md"))
    assert not Path("a.svg").exists()


@pytest.mark.parametrize("name", ["a" * 252 + ".md", "页" * 84 + ".md"])
def test_a_page_of_the_longest_name_is_written(sync: Sync, name: str) -> None:
    Path(name).write_text(f"so {BEST}\n")
    assert not sync(name).refused
    assert "0.790" in Path(name).read_text()
    picture = name.removesuffix(".md")[:251].removesuffix("页") + ".svg"
    Path("p.md").write_text(f"{opening('plot', {'y': 'test/accuracy', 'file': picture})}\n{CLOSING}\n")
    assert not sync("p.md").refused
    assert Path(picture).exists()
    Path("p.md").write_text(f"{opening('plot', {'y': 'test/accuracy', 'file': 'a' + '页' * 90 + '.svg'})}\n{CLOSING}\n")
    assert "longer than names of files can be" in refused(sync("p.md"))


def test_who_fails_half_way_says_what_is_written(sync: Sync) -> None:
    Path("sub").mkdir()
    for name in ("p.md", "sub/q.md"):
        Path(name).write_text(f"so {BEST}\n")
    looked = syncing.look(syncing.collect(["p.md", "sub/q.md"]), lambda: SqliteDatabase(Path("runs/expdb.db")))
    # Something stands where the page would be written before it takes its place.
    with whole.beside(Path("sub/q.md")) as in_the_way:
        in_the_way.mkdir()
        with pytest.raises(InputError, match=r"^sub/q\.md: cannot be written") as caught:
            syncing.write(looked, [])
    assert "written before: p.md" in (caught.value.hint or "")
    assert "0.790" in Path("p.md").read_text()
    assert "0.790" not in Path("sub/q.md").read_text()


@pytest.mark.parametrize("name", ["acc.svg", "acc.PNG"])
def test_a_picture_is_drawn_when_its_numbers_changed_or_somebody_changed_it(sync: Sync, name: str) -> None:
    Path("p.md").write_text(f"{opening('plot', {'y': 'test/accuracy', 'file': name})}\n{CLOSING}\n")
    assert sync("p.md").pages[0].pictures
    first = Path(name).read_bytes()
    assert not sync("p.md").pages[0].pictures
    Path(name).write_bytes(first.replace(b"Z", b"z", 1) if name != "acc.svg" else first.replace(b"<g", b"<g ", 1))
    assert sync("p.md").pages[0].pictures
    assert Path(name).read_bytes() == first
    with SqliteDatabase(Path("runs/expdb.db"), write=True) as database, database.transaction() as connection:
        connection.execute("UPDATE point SET value = 0.1 WHERE step = 3")
    assert sync("p.md").pages[0].pictures
    assert Path(name).read_bytes() != first


def test_a_current_picture_is_drawn_again_when_asked_for(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text(f"{opening('plot', {'y': 'test/accuracy', 'file': 'a.svg'})}\n{CLOSING}\n")
    assert "a.svg: drawn" in expdb("report", "sync", "p.md").stdout
    assert "a.svg: drawn" not in expdb("report", "sync", "p.md").stdout
    assert "a.svg: drawn" in expdb("report", "sync", "p.md", "--redraw").stdout
    assert expdb("report", "check", "p.md").returncode == 0


def test_a_plot_that_cannot_be_drawn_leaves_every_file_as_it_was(expdb: Expdb, tmp_path: Path) -> None:
    plots = [{"y": "test/accuracy", "file": "a.svg"}, {"y": "train/loss", "file": "b.svg", "size": "1x1", "title": "x"}]
    text = f"so {BEST}\n\n" + "".join(f"{opening('plot', words)}\n{CLOSING}\n\n" for words in plots)
    (tmp_path / "p.md").write_text(text)
    done = expdb("report", "sync", "p.md")
    assert done.returncode == 2
    assert done.stderr.startswith("expdb: p.md:6: there is no room left for the curves")
    assert (tmp_path / "p.md").read_text() == text
    assert not list(tmp_path.glob("*.svg"))


def test_a_name_that_two_runs_have_is_told_with_both(sync: Sync) -> None:
    with SqliteDatabase(Path("runs/expdb.db"), write=True) as database, database.transaction() as connection:
        connection.execute("UPDATE run SET name = 'a' WHERE name = 'b'")
    Path("p.md").write_text(f"so {BEST}\n")
    assert re.search(r"p\.md:1: 2 runs are called 'a' \(.*: [0-9a-f]{8}  first / a; [0-9a-f]{8}", refused(sync("p.md")))


def test_a_stamped_picture_is_still_one(sync: Sync) -> None:
    Path("p.md").write_text(
        "".join(
            f"{opening('plot', {'y': 'test/accuracy', 'file': name})}\n{CLOSING}\n\n" for name in ("a.svg", "b/c.png")
        )
    )
    assert not sync("p.md").refused
    ElementTree.parse("a.svg")
    from matplotlib.image import imread

    assert imread("b/c.png").shape[2] == 4


def test_a_picture_of_somebody_else_is_not_overwritten(sync: Sync) -> None:
    Path("photo.png").write_bytes(b"\x89PNG\r\n\x1a\n a photo")
    Path("p.md").write_text(f"{opening('plot', {'y': 'test/accuracy', 'file': 'photo.png'})}\n{CLOSING}\n")
    assert "photo.png: is there already, and expdb did not draw it" in refused(sync("p.md"))
    assert Path("photo.png").read_bytes().endswith(b"a photo")


def test_two_plots_do_not_share_a_file(sync: Sync) -> None:
    plots = [opening("plot", {"y": f"{split}/accuracy", "file": "a.svg"}) for split in ("test", "train")]
    Path("p.md").write_text("".join(f"{one}\n{CLOSING}\n\n" for one in plots))
    assert refused(sync("p.md")).startswith("p.md:4: file='a.svg' is another plot's already")
    Path("p.md").write_text("".join(f"{one}\n{CLOSING}\n\n" for one in plots[:1] * 2))
    assert not sync("p.md").refused


def test_what_a_picture_is_called_is_escaped(sync: Sync) -> None:
    words = {"y": "test/accuracy", "file": "图 (1)/a b.svg", "alt": "*best* [of] {{ all }}"}
    Path("p.md").write_text(f"{opening('plot', words)}\n{CLOSING}\n")
    assert not sync("p.md").refused
    line = next(line for line in Path("p.md").read_text().splitlines() if line.startswith("!"))
    assert line.startswith(r"![\*best\* \[of\] &#123; &#123; all }}](图%20%281%29/a%20b.svg)")
    assert Path("图 (1)/a b.svg").is_file()


@given(st.text(max_size=30))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    page = Path("/srv/pages/posts/p.md")
    try:
        found = pictures.place(name, page)
    except UsageError:
        return
    assert os.path.realpath(found).startswith("/srv/pages/posts/")


# Files


@given(st.binary(max_size=200))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_that_can_be_read_gives_its_own_bytes_again(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.md").write_bytes(data)
    try:
        page = files.read(tmp_path / "p.md")
    except InputError:
        return
    assert page.encoded(page.text) == data


def test_a_read_only_page_is_refused(open_folder: Path) -> None:
    user, page = drills.other_user(), open_folder / "p.md"
    (open_folder / "a.log").write_text("".join(log_lines(9)))
    with SqliteDatabase.create(open_folder / "a.db") as database:
        items, _ = ingest.collect([str(open_folder / "a.log")], database.address)
        ingest.ingest(database, items, ingest.Request())
    page.write_text(f"so {BEST}\n")
    page.chmod(0o444)
    open_folder.chmod(0o777)
    done = drills.expdb("report", "sync", "p.md", "--db", "a.db", cwd=open_folder, user=user)
    assert (done.returncode, done.stderr) == (1, "expdb: p.md: cannot be written: it is read-only\n")
    assert page.read_text() == f"so {BEST}\n"


def test_a_page_of_a_server_s_database_is_the_same(expdb: Expdb, tmp_path: Path, postgres_url: str) -> None:
    assert expdb("ingest", "logs", "-e", "first", "--db", postgres_url).returncode == 0
    plot = opening("plot", {"y": "test/accuracy", "group-by": "run", "file": "a.svg"})
    tail = TABLE.replace("best(test/accuracy)", "tail(test/accuracy, 3)")
    page = f"{TABLE}\n\n{tail}\n\n{plot}\n{CLOSING}\n\nThe {BEST}.\n\n<!-- expdb runs -->\n{CLOSING}\n"
    (tmp_path / "p.md").write_text(page)
    assert expdb("report", "sync", "p.md").returncode == 0
    assert expdb("report", "check", "p.md", "--db", postgres_url).stdout == "p.md: current, 5 blocks\n"


# The example


def test_the_example_posts_say_what_their_logs_say(tmp_path: Path) -> None:
    post = Path(__file__).parent.parent / "examples" / "post"
    with SqliteDatabase.create(tmp_path / "expdb.db") as database:
        items, _ = ingest.collect([str(post / "logs")], database.address)
        ingest.ingest(database, items, ingest.Request(experiment="fusion on digits"))
    looked = syncing.look(syncing.collect([str(post)]), lambda: SqliteDatabase(tmp_path / "expdb.db"))
    assert not looked.refused
    assert [page.file.path.name for page in looked.pages] == ["fusion.md", "fusion.zh.md"]
    for page in looked.pages:
        assert page.is_current(), "\n".join(page.difference())
        assert page.blocks >= 10


# A marker runs queries, and nothing else


def test_names_from_logs_are_text_on_the_page(sync: Sync) -> None:
    evil = "<!-- /expdb --> `x` | <img src=x onerror=alert(1)> {{ 7*7 }} {% raw %} [a](javascript:b)"
    with SqliteDatabase(Path("runs/expdb.db"), write=True) as database, database.transaction() as connection:
        connection.execute("UPDATE run SET name = ? WHERE name = 'a'", (evil,))
    Path("p.md").write_text(f"{TABLE}\n\n<!-- expdb runs -->\n{CLOSING}\n")
    assert not sync("p.md").refused
    text = Path("p.md").read_text()
    assert text.count("<!--") == 4
    assert "<img" not in text and "{{" not in text and "{%" not in text
    assert not sync("p.md").pages[0].stale


def test_an_expression_is_no_sql_and_no_shell(sync: Sync, tmp_path: Path) -> None:
    for where in ("1); DROP TABLE run; --", "`touch x`", "$(touch x)", "__import__('os').system('touch x')"):
        Path("p.md").write_text(f"{opening('table', {'where': where})}\n{CLOSING}\n")
        assert sync("p.md").refused
    assert not Path("x").exists()
    Path("p.md").write_text(f"{TABLE}\n")
    assert not sync("p.md").refused
