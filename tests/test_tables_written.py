"""A page's table written back from the database: byte for byte where nothing was corrected, one row where one was."""

import sys
from pathlib import Path

import pytest
from commands import Expdb, expdb_in
from conftest import requires
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expdb import ingest
from expdb.compare import originals
from expdb.compare.originals import Original, place_of
from expdb.errors import InputError, NotFoundError
from expdb.parsers.pages.markup import cells, spans
from expdb.store import editing, reader
from expdb.store.sqlite import SqliteDatabase as Database

SEEDS = Path(__file__).parents[2] / "shared" / "seeds"

TABLE = """\
| 配置                                          | accuracy | 用时 (s) |
| --------------------------------------------- | -------- | :------: |
| `out = self.bn(out) + self.shortcut(x) `      | 87.62    |    12    |
| `a[:]=1`  <br>`out = (bn(out) + 0.5) * x   `  | **84.10** |   13.5  |
|` x = 1`<br>` y = 2`|   85.83|—|
| plain \\| barred | 81.57 % (↑1.2) | 9
"""
PAGE = f"# Fusion\n\nSome words, | and bars.\n\n{TABLE}\nMore words.\n\n{TABLE}\nThe end."


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def page(database: Database) -> Path:
    return taken(database, Path("page.md"), PAGE.encode())


def taken(database: Database, path: Path, data: bytes) -> Path:
    """Write a page and read it."""
    path.write_bytes(data)
    items, missing = ingest.collect([str(path)], database.address)
    assert not [*missing, *ingest.ingest(database, items, ingest.Request()).refused]
    return path


def written(database: Database, page: str | None = None, line: int | None = None) -> list[Original]:
    return originals.originals(database, reader.runs(database), page, line)


def correct(
    database: Database, row: int, values: dict[str, str] | None = None, params: dict[str, str] | None = None
) -> None:
    """Correct the run of a row of the first table."""
    run = reader.runs(database)[row]
    assert editing.edit(database, run.id, editing.Changes(values=values or {}, params=params or {}), 0)


@pytest.mark.usefixtures("page")
def test_what_was_not_corrected_is_the_page_byte_for_byte(database: Database) -> None:
    (found,) = written(database)
    assert found.text == TABLE
    assert found.data == TABLE.encode()
    assert (found.path, found.line, found.again, found.changed) == ("page.md", 5, (14,), ())


def test_a_table_that_stands_twice_is_written_as_it_stands_there(database: Database, page: Path) -> None:
    (second,) = written(database, "page.md", 15)
    assert second.line == 14
    lines = page.read_bytes().splitlines(keepends=True)
    assert second.data == b"".join(lines[13:19])


@pytest.mark.parametrize(
    ("row", "value", "was", "now"),
    [
        # The width is kept where the number fits, whatever side it stands on.
        (0, "88", "| 87.62    |", "| 88       |"),
        (0, "100.1234567", "| 87.62    |", "| 100.1234567 |"),
        (1, "84.2", "| **84.10** |", "| **84.2**  |"),
        (2, "9.1", "|   85.83|", "|     9.1|"),
        (3, "81.6%", "| 81.57 % (↑1.2) |", "| 81.6 % (↑1.2)  |"),
        (0, "nan", "| 87.62    |", "| nan      |"),
    ],
)
@pytest.mark.usefixtures("page")
def test_one_corrected_number_changes_the_bytes_of_its_row_alone(
    database: Database, row: int, value: str, was: str, now: str
) -> None:
    correct(database, row, values={"accuracy": value})
    (found,) = written(database)
    assert found.changed == (7 + row,)
    expected = TABLE.splitlines(keepends=True)
    assert was in expected[2 + row]
    expected[2 + row] = expected[2 + row].replace(was, now)
    assert found.text == "".join(expected)


@pytest.mark.usefixtures("page")
def test_what_is_corrected_back_is_the_page_again(database: Database) -> None:
    correct(database, 0, values={"accuracy": "80"})
    correct(database, 0, values={"accuracy": "87.62"})
    assert written(database)[0].text == TABLE


@pytest.mark.usefixtures("page")
def test_a_corrected_word_is_escaped_for_its_cell(database: Database) -> None:
    correct(database, 3, params={"配置": "a|b\nself.x = f(1)"})
    line = written(database)[0].text.splitlines()[5]
    assert line == "| a&#124;b<br>`self.x = f(1)` | 81.57 % (↑1.2) | 9"
    correct(database, 3, params={"配置": "c"})
    assert written(database)[0].text.splitlines()[5] == "| c               | 81.57 % (↑1.2) | 9"
    correct(database, 3, params={"配置": ""})
    assert written(database)[0].text.splitlines()[5].split("|")[1].strip() == ""


@pytest.mark.usefixtures("page")
def test_a_missing_number_that_was_added_is_filled_in(database: Database) -> None:
    label = next(m.label for m in reader.runs(database)[0].metrics if m.label != "accuracy")
    correct(database, 2, values={label: "7"})
    assert written(database)[0].text.splitlines()[4] == "|` x = 1`<br>` y = 2`|   85.83|7|"


@pytest.mark.usefixtures("page")
def test_a_removed_run_has_no_row(database: Database) -> None:
    editing.remove(database, [reader.runs(database)[1].id], 0)
    lines = TABLE.splitlines(keepends=True)
    assert written(database)[0].text == "".join(lines[:3] + lines[4:])


@pytest.mark.usefixtures("page")
def test_only_the_rows_of_the_runs_that_are_asked_for_are_written(database: Database) -> None:
    (found,) = originals.originals(database, reader.runs(database)[2:3])
    lines = TABLE.splitlines(keepends=True)
    assert found.text == "".join(lines[:2] + lines[4:5])


@pytest.mark.parametrize(
    ("encoding", "end"), [("utf-8", "\r\n"), ("utf-8-sig", "\n"), ("gb18030", "\r\n"), ("utf-16", "\n")]
)
def test_a_page_keeps_its_encoding_and_its_line_ends(database: Database, encoding: str, end: str) -> None:
    text = TABLE.replace("↑", "+").replace("\n", end)
    taken(database, Path("page.md"), f"配置{end}{end}{text}".encode(encoding))
    (found,) = written(database)
    without_mark = "utf-16-le" if encoding == "utf-16" else "utf-8" if encoding == "utf-8-sig" else encoding
    assert found.data == text.encode(without_mark)


def test_a_table_at_the_very_beginning_and_end_of_a_page_is_all_of_it(database: Database) -> None:
    data = b"\xef\xbb\xbf|a|accuracy|\n|-|-|\n|x|0.5|"
    taken(database, Path("page.md"), data)
    assert written(database)[0].data == data


def test_bytes_that_are_no_text_stay_what_they_are(database: Database) -> None:
    data = "| 配置 | accuracy |\n| --- | --- |\n| a | 0.5 |\n| b | 0.6 |\n".encode().replace(b"| a |", b"| \xff |")
    taken(database, Path("page.md"), ("说明文字。" * 40 + "\n\n").encode() + data)
    (found,) = written(database)
    assert found.encoding == "utf-8"
    assert found.data == data


def test_a_letter_that_the_page_cannot_hold_is_refused(database: Database) -> None:
    text = "# Übersicht der Läufe\n\nFür größere Modelle ändert sich überhaupt nichts daran.\n\n"
    text += "| Größe | accuracy |\n| --- | --- |\n| für | 0.5 |\n| übrig | 0.6 |\n"
    taken(database, Path("page.md"), text.encode("latin-1"))
    (found,) = written(database)
    assert found.data == "".join(text.splitlines(keepends=True)[4:]).encode("latin-1")
    correct(database, 0, params={"Größe": "配置"})
    with pytest.raises(InputError, match=r"page\.md:5: .*has no '配置'"):
        _ = written(database)[0].data


def test_a_page_that_was_read_again_after_it_changed_is_written_as_it_is_now(database: Database, page: Path) -> None:
    changed = page.read_text(encoding="utf-8").replace("87.62", "87.63")
    taken(database, page, changed.encode())
    (found,) = written(database, "page.md", 5)
    assert "87.63" in found.text


def test_a_page_that_was_changed_back_is_written_as_it_was(database: Database, page: Path) -> None:
    taken(database, page, PAGE.replace("87.62", "87.63").encode())
    taken(database, page, PAGE.encode())
    assert written(database, "page.md", 5)[0].text == TABLE


def test_what_stands_on_no_page_is_said(database: Database, page: Path) -> None:
    with pytest.raises(NotFoundError, match=r"other\.md was not read as a page"):
        written(database, "other.md")
    with pytest.raises(NotFoundError, match=r"no table .* stands at page\.md:2"):
        written(database, "page.md", 2)
    with pytest.raises(NotFoundError, match="none of these runs"):
        originals.originals(database, [])
    assert place_of("page.md:12") == ("page.md", 12)
    assert place_of("page.md") == ("page.md", None)
    assert place_of(str(page)) == ("page.md", None)


BLANKS = st.text(alphabet=" \t", max_size=4)
WORDS = st.lists(
    st.sampled_from(
        [
            "`a = b`",
            "`x[:] |= 1`",
            "<br>",
            "<br/>",
            " ",
            "  ",
            "中文",
            "**b**",
            "\\|",
            "a_b",
            "*",
            "~",
            "—",
            "1",
            "\u00a0",
        ]
    ),
    max_size=5,
).map("".join)
NUMBERS = st.sampled_from(
    ["0.5", "87.62", "**84.10**", "81.5%", "~80", "", "—", "n/a", "nan", "1e-3", "90 ± 0.2", "80†"]
)


@st.composite
def table_rows(draw: st.DrawFn) -> str:
    """A row as people write them: with and without outer bars, any padding, too many cells or too few."""
    parts = [draw(BLANKS) + draw(cell) + draw(BLANKS) for cell in (WORDS, NUMBERS, WORDS)]
    row = "|".join(parts[: draw(st.integers(2, 3))])
    return draw(st.sampled_from(["|{}|", "| {} |", "|{}", "{}|x", "|{}|  "])).format(row)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(table_rows(), min_size=1, max_size=4), number=st.integers())
def test_any_table_that_was_not_corrected_is_written_as_it_stands(
    database: Database, rows: list[str], number: int
) -> None:
    table = "\n".join(["|  配置|accuracy |  note|", "|:-|-:|---|", *["| a | 0.5 | b |"] * 5, *rows]) + "\n"
    # Five rows with numbers make it a table of results, whatever the others hold.
    name = f"{number}.md"
    # A number makes pages differ, so that none is known already.
    taken(database, Path(name), f"# {number}\n\n{table}\nText.\n".encode())
    found = written(database, name)
    assert "".join(one.text for one in found) == table
    assert not any(one.changed for one in found)


@given(st.text(alphabet="|\\` ab—中\t", max_size=24), st.booleans())
def test_the_cells_of_a_row_are_what_stands_between_its_bars(line: str, code: bool) -> None:
    places = spans(line, code=code)
    assert [line[a:b].strip().replace("\\|", "|") for a, b in places] == cells(line, code=code)
    edges = [edge for place in places for edge in place]
    assert edges == sorted(edges)
    assert not edges or 0 <= edges[0] <= edges[-1] <= len(line)


# The command


def command(tmp_path: Path) -> Expdb:
    expdb = expdb_in(tmp_path)
    assert expdb("ingest", "page.md").returncode == 0
    return expdb


def test_the_command_writes_the_bytes_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    expdb = command(tmp_path)
    done = expdb("compare", "--like", "page.md")
    assert (done.stdout, done.stderr) == (TABLE, "page.md:5: the same table stands again in line 14\n")
    assert expdb("compare", "--like", "page.md:16").stdout == TABLE
    assert expdb("compare", "--style", "preserve", "-e", "Fusion").stdout == TABLE
    assert expdb("compare", "--style", "preserve", "-o", "table.md").returncode == 0
    assert (tmp_path / "table.md").read_bytes() == TABLE.encode()
    assert expdb("edit", "@1", "--metric", "accuracy=80.00%").returncode == 0
    assert "| 80.00 % (↑1.2) | 9\n" in expdb("compare", "--like", "page.md").stdout


def test_the_command_refuses_what_does_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    expdb = command(tmp_path)
    for words, said in (
        (("--like", "page.md", "--columns", "run"), "takes no --columns"),
        (("--like", "page.md", "--digits", "0"), "takes no --digits"),
        (("--like", "page.md", "--format", "csv"), "has the page's format"),
        (("--like", "page.md", "--style", "github"), "has the page's format"),
        (("--like", "page.md", "-o", "page.md"), "would replace the page"),
        (("--style", "fancy"), "no style called 'fancy'"),
        (("--style", "typora", "--format", "csv"), "--style is of Markdown"),
    ):
        done = expdb("compare", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == PAGE
    assert expdb("compare", "--like", "none.md").returncode == 3


def test_a_page_is_written_in_place_and_the_database_follows(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8", newline="")
    path.chmod(0o640)
    expdb = command(tmp_path)
    assert expdb("compare", "--like", "page.md", "--in-place").stdout == "page.md: current\n"
    assert expdb("edit", "Fusion row 1", "--metric", "accuracy=88").returncode == 0
    assert expdb("rm", "Fusion row 2").returncode == 0
    done = expdb("compare", "--like", "page.md", "--in-place")
    assert (done.stdout, done.stderr) == (
        "page.md: written, lines 7, 16; expdb ingest --again page.md tells the database\n",
        "",
    )
    # Both places, and nothing else; a removed run is still on the page.
    assert path.read_text(encoding="utf-8") == PAGE.replace("| 87.62    |", "| 88       |")
    assert path.stat().st_mode & 0o777 == 0o640
    refused = expdb("compare", "--like", "page.md", "--in-place")
    assert (refused.returncode, "changed since it was ingested" in refused.stderr) == (1, True)
    assert "0 new runs" in expdb("ingest", "--again", "page.md").stdout
    assert expdb("compare", "--like", "page.md", "--in-place").stdout == "page.md: current\n"
    for words in (("--like", "page.md:5"), ("-o", "x.md", "--like", "page.md"), ("-w", "lr", "--like", "page.md"), ()):
        assert expdb("compare", "--in-place", *words).returncode == 2


def test_what_a_page_cannot_say_of_a_corrected_row_is_told(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    page = (
        "| model | accuracy | loss |\n| --- | --- | --- |\n| a | 83.1 ± 0.2 | 0.1 |\n| b | 80.0\n| c | 70.0 | 0.3 |\n"
    )
    path.write_text(page, encoding="utf-8", newline="")
    expdb = command(tmp_path)
    _, *runs = expdb("sql", "SELECT name FROM run ORDER BY id", "--format", "csv").stdout.splitlines()
    assert len(runs) == 3
    assert expdb("edit", runs[1], "--metric", "loss=0.2").returncode == 0
    done = expdb("compare", "--like", "page.md", "--in-place")
    assert done.stdout == "page.md: current, but for what it has no cell for\n"
    assert done.stderr == "page.md:4: loss is 0.2 now, and the row has no cell for it\n"
    assert expdb("edit", runs[0], "--metric", "accuracy=84.2").returncode == 0
    shown = expdb("compare", "--like", "page.md")
    assert "| 84.2 ± 0.2 |" in shown.stdout
    assert "page.md:3: accuracy is now 84.2 ± 0.2, though ± 0.2 was said of 83.1\n" in shown.stderr
    empty = expdb("compare", "--like", "")
    assert (empty.returncode, "--like of no page" in empty.stderr) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="names of Linux")
def test_a_page_is_found_by_the_path_that_a_person_types(tmp_path: Path) -> None:
    (tmp_path / "posts").mkdir()
    (tmp_path / "posts" / "a:3.md").write_text(PAGE, encoding="utf-8")
    expdb = expdb_in(tmp_path)
    assert expdb("ingest", "posts").returncode == 0
    assert expdb("compare", "--like", "./posts/../posts/a:3.md").stdout == TABLE
    assert expdb("compare", "--like", "posts/a:3.md:15").stdout == TABLE


# The first users' page


def test_the_table_of_the_results_page_is_written_back_byte_for_byte(database: Database) -> None:
    requires("seeds", SEEDS.is_dir(), f"the seeds are not at {SEEDS}")
    data = next(SEEDS.glob("000*")).read_bytes()
    taken(database, Path("page.md"), data)
    lines = data.splitlines(keepends=True)
    (found,) = written(database)
    assert found.data == b"".join(lines[30:41])
    assert found.again == (49,)
    assert written(database, "page.md", 49)[0].data == b"".join(lines[48:59])
    for row in range(9):
        before = written(database)[0].data.splitlines()
        correct(database, row, values={"accuracy": "90.01"})
        after = written(database)[0].data.splitlines()
        differ = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        assert differ == [2 + row]
        assert len(before[2 + row]) == len(after[2 + row])
