"""Where a number came from: the line as it stood on the page, or as the log has it now, with what changed said."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import WriteLog, log_lines
from drills import expdb, only_run, take

from expdb.errors import ExpdbError, NotFoundError
from expdb.provenance import Blame, blame
from expdb.store import editing, reader
from expdb.store.sqlite import SqliteDatabase as Database

PAGE = """\
# Fusion

| config | accuracy |
| --- | --- |
| a=1 | 84.10 |
| b=2 | 87.62 |
"""


def blamed(database: Database, metric: str, step: int | None = None, run: int = 0) -> Blame:
    record = reader.runs(database)[run]
    return blame(database, record, reader.metric_of(database, record, metric), step)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the database below it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_value_of_a_log_names_its_file_line_and_text(database: Database, project: Path, write_log: WriteLog) -> None:
    take(database, write_log(epochs=4))
    found = blamed(database, "train/loss")
    assert [(o.step, o.line, o.path) for o in found.origins] == [(i, i + 1, "logs/a.log") for i in range(4)]
    assert [f"{o.text}\n" for o in found.origins] == log_lines(4)
    assert found.remarks == ()
    (one,) = blamed(database, "train/loss", step=2).origins
    assert (one.step, one.value, one.line) == (2, 0.6667, 3)
    with pytest.raises(NotFoundError, match="no value at step 4") as refused:
        blamed(database, "train/loss", step=4)
    assert refused.value.hint == "its steps go from 0 to 3"


def test_a_step_beyond_all_numbers_is_refused_in_words(database: Database, project: Path, write_log: WriteLog) -> None:
    take(database, write_log())
    for step in (10**30, -(10**30), 2**63):
        with pytest.raises(ExpdbError):
            blamed(database, "train/loss", step)


def test_step_0_is_a_step(database: Database, project: Path, write_log: WriteLog) -> None:
    take(database, write_log())
    assert [o.step for o in blamed(database, "train/loss", step=0).origins] == [0]


def test_a_page_is_quoted_as_it_was_after_it_changed(database: Database, project: Path) -> None:
    page = project / "fusion.md"
    page.write_text(PAGE)
    take(database, page)
    page.write_text(PAGE.replace("84.10", "99.99").replace("# Fusion\n", "# Fusion\n\nNew words.\n"))
    found = blamed(database, "accuracy")
    assert [(o.line, o.text) for o in found.origins] == [(5, "| a=1 | 84.10 |")]
    assert found.remarks == ("fusion.md has changed since it was ingested; the lines are quoted as they were",)
    page.unlink()
    found = blamed(database, "accuracy")
    assert [o.text for o in found.origins] == ["| a=1 | 84.10 |"]
    assert found.remarks == ("fusion.md is no longer there",)


def test_a_log_that_changed_or_went_is_said(database: Database, project: Path, write_log: WriteLog) -> None:
    path = write_log(epochs=3)
    take(database, path)
    write_log(epochs=9)
    assert blamed(database, "train/loss").remarks == (), "only grown"
    path.write_text("# a comment\n" + "".join(log_lines(3)))
    found = blamed(database, "train/loss", step=0)
    assert found.origins[0].text == "# a comment", "the line as it is now, and that is said"
    assert found.remarks == ("logs/a.log has changed since it was ingested",)
    path.write_text("# one line\n")
    assert [o.text for o in blamed(database, "train/loss").origins] == ["# one line", None, None]
    for content in (b"", b"\0" * 500):
        path.write_bytes(content)
        found = blamed(database, "train/loss")
        assert [o.text for o in found.origins] == [None] * 3
        assert found.remarks == ("logs/a.log has changed since it was ingested",)
    path.unlink()
    found = blamed(database, "train/loss")
    assert [(o.path, o.line, o.text) for o in found.origins] == [("logs/a.log", i, None) for i in (1, 2, 3)]
    assert found.remarks == ("logs/a.log is no longer there",)


@pytest.mark.skipif(os.name != "posix", reason="named pipes among files are POSIX's")
def test_a_pipe_in_the_place_of_a_log_is_not_opened(project: Path, write_log: WriteLog) -> None:
    path = write_log()
    expdb("ingest", "logs", cwd=project)
    path.unlink()
    os.mkfifo(path)
    said = expdb("blame", "a", "train/loss", cwd=project, timeout=20)
    assert said.returncode == 0
    assert "logs/a.log is no longer there" in said.stderr


def test_of_several_places_the_one_that_still_has_it_is_quoted(
    database: Database, project: Path, write_log: WriteLog
) -> None:
    first = write_log("logs/a.log")
    last = project / "copy.log"
    shutil.copy(first, last)
    take(database, first, last)
    assert blamed(database, "train/loss").origins[0].path == "copy.log", "the latest"
    last.write_text("epoch 0, loss 9\n")
    found = blamed(database, "train/loss")
    assert (found.origins[0].path, found.remarks) == ("logs/a.log", ())
    assert f"{found.origins[0].text}\n" == log_lines(1)[0]
    first.unlink()
    assert blamed(database, "train/loss").remarks == ("copy.log has changed since it was ingested",)
    last.unlink()
    assert blamed(database, "train/loss").remarks == ("copy.log is no longer there",)


def test_lines_of_a_large_log_are_found_across_its_blocks(database: Database, project: Path) -> None:
    path = project / "big.log"
    epochs = 30_000
    with path.open("w") as file:
        for epoch in range(epochs):
            file.write(f"{'-' * 300}\nepoch {epoch}, loss {epoch / 8:.3f}\n")
    assert path.stat().st_size > 2 * (4 << 20), "several blocks"
    take(database, path)
    found = blamed(database, "train/loss")
    assert len(found.origins) == epochs
    wrong = [
        o for o in found.origins if o.text != f"epoch {o.step}, loss {o.value:.3f}" or o.line != 2 * (o.step or 0) + 2
    ]
    assert wrong == []


def test_the_line_before_and_behind_a_block_are_their_own(database: Database, project: Path) -> None:
    # Lines of 4 bytes times a power of two, so that a block ends exactly at a line feed.
    path = project / "even.log"
    line = "epoch {:08}, loss 0.50000000, x{}\n"
    pad = 64 - len(line.format(0, " 1"))
    rows = [line.format(i, "y" * pad + " 1") for i in range((4 << 20) // 64 * 2 + 2)]
    assert {len(row) for row in rows} == {64}
    path.write_text("".join(rows))
    take(database, path)
    edge = (4 << 20) // 64
    for step in (edge - 1, edge, 2 * edge - 1, 2 * edge, 2 * edge + 1):
        (one,) = blamed(database, "train/loss", step).origins
        assert (one.line, f"{one.text}\n") == (step + 1, rows[step])


def test_windows_line_ends_are_no_part_of_a_line(database: Database, project: Path) -> None:
    path = project / "a.log"
    path.write_bytes(b"\xef\xbb\xbfepoch 0, loss 0.5\r\nepoch 1, loss 0.25")
    take(database, path)
    assert [o.text for o in blamed(database, "loss").origins] == ["epoch 0, loss 0.5", "epoch 1, loss 0.25"]


def test_a_log_of_another_encoding_is_quoted_in_words(database: Database, project: Path) -> None:
    path = project / "a.log"
    path.write_bytes("第一次训练\nepoch 0, 测试集准确率 0.5\n".encode("gb18030"))
    take(database, path)
    assert [o.text for o in blamed(database, "test/accuracy").origins] == ["epoch 0, 测试集准确率 0.5"]


def test_a_value_that_was_typed_in_has_no_line(database: Database, project: Path) -> None:
    page = project / "fusion.md"
    page.write_text(PAGE)
    take(database, page)
    run = reader.runs(database)[0]
    for value in ("0.5", "0.6"):
        editing.edit(database, run.id, editing.Changes(values={"f1": value}), 1)
        found = blamed(database, "f1")
        assert [(o.value, o.path, o.line) for o in found.origins] == [(float(value), "(typed in by hand)", None)]
        assert found.remarks == ()


def test_a_value_that_was_corrected_says_so_beside_its_line(database: Database, project: Path) -> None:
    page = project / "fusion.md"
    page.write_text(PAGE)
    take(database, page)
    run = reader.runs(database)[0]
    editing.edit(database, run.id, editing.Changes(values={"test/accuracy": "84.55"}), 1)
    found = blamed(database, "accuracy")
    assert [(o.value, o.text) for o in found.origins] == [(84.55, "| a=1 | 84.10 |")]
    assert found.remarks == ("the value was corrected by hand after it was read",)
    assert blamed(database, "accuracy", run=1).remarks == ()


def test_a_table_that_stands_twice_names_both_places(database: Database, project: Path) -> None:
    page = project / "fusion.md"
    page.write_text(PAGE + "\nAnd again:\n\n" + PAGE.split("\n\n")[1])
    take(database, page)
    assert len(reader.runs(database)) == 2
    found = blamed(database, "accuracy")
    assert [o.line for o in found.origins] == [5]
    assert found.remarks == ("stated again at fusion.md:12",)


def test_what_came_through_a_pipe_says_so(project: Path) -> None:
    expdb("ingest", "-", cwd=project, input="".join(log_lines(2)))
    said = expdb("blame", "stdin", "train/loss", "1", cwd=project)
    assert said.returncode == 0
    assert said.stdout.startswith("-:2: (step 1 = ")
    assert "it came through a pipe" in said.stderr


def test_a_file_called_minus_is_not_taken_for_the_pipe(database: Database, project: Path) -> None:
    path = project / "-"
    path.write_text("".join(log_lines(2)))
    # By its whole path: ingest takes "-" alone for standard input.
    take(database, path)
    found = blamed(database, "train/loss")
    assert (found.remarks, [f"{o.text}\n" for o in found.origins]) == ((), log_lines(2))


def test_blame_of_the_command_prints_file_line_and_text(project: Path, write_log: WriteLog) -> None:
    write_log(epochs=2)
    expdb("ingest", "logs", cwd=project)
    said = expdb("blame", "@1", "test accuracy", "1", cwd=project)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("logs/a.log:2: epoch 1,") and "test accuracy" in said.stdout
    missing = expdb("blame", "@1", "f1", cwd=project)
    assert (missing.returncode, missing.stdout) == (3, "")
    with Database(project / "runs" / "expdb.db") as database:
        assert only_run(database).name == "a"
