"""Ingest: what was read is never read twice, growth is followed, and one odd file stops no other."""

import io
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import WriteLog, log_lines
from drills import (
    State,
    assert_same,
    assert_sound,
    curve,
    expdb,
    finish,
    only_run,
    other_user,
    runs_of,
    start,
    state,
    take,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from expdb import ingest as verb
from expdb.errors import InputError
from expdb.ingest import Item, Outcome
from expdb.store import editing, reader
from expdb.store.sqlite import SqliteDatabase as Database


def kinds(outcome: Outcome) -> list[str]:
    return [done.written.kind for done in outcome.done]


def fresh_state(folder: Path, *paths: Path, **asked: object) -> State:
    """What a new database beside the project's holds after one ingest."""
    folder.mkdir(exist_ok=True)
    for tail in ("", "-wal", "-shm"):
        (folder / f"fresh.db{tail}").unlink(missing_ok=True)
    with Database.create(folder / "fresh.db") as fresh:
        take(fresh, *paths, **asked)
        return state(fresh)


# The same again -------------------------------------------------------------------------------------------------------


def test_a_file_gives_its_runs_once(database: Database, write_log: WriteLog) -> None:
    path = write_log(epochs=300)
    assert kinds(take(database, path)) == ["new"]
    before = state(database)
    again = take(database, path, path.parent)
    assert kinds(again) == ["same"]
    assert [done.written.runs for done in again.done] == [0]
    assert_same(state(database), before)
    assert_sound(database)


def test_the_same_bytes_elsewhere_are_remembered_as_a_place(database: Database, write_log: WriteLog) -> None:
    first = write_log("logs/a.log")
    take(database, first)
    second = write_log("copies/b.log")
    assert kinds(take(database, second)) == ["same"]
    run = only_run(database)
    (source,) = reader.sources(database, run.id)
    assert source.places == ("../copies/b.log", "../logs/a.log")
    third = write_log("x/c.log", salt=9)
    shutil.copy(third, third.with_name("d.log"))
    assert kinds(take(database, third.parent)) == ["new", "same"], "also within one command"
    assert len(runs_of(database)) == 2


def test_copy_makes_new_runs_of_a_known_file(database: Database, write_log: WriteLog) -> None:
    path = write_log()
    take(database, path)
    assert kinds(take(database, path, copy=True)) == ["new"]
    assert list(runs_of(database)) == ["a", "a (2)"]
    assert kinds(take(database, path)) == ["same"]
    with path.open("a") as file:
        file.write(log_lines(1, first=3)[0])
    assert kinds(take(database, path)) == ["grown"]
    assert sorted(m.count for run in reader.runs(database) for m in run.metrics if m.key == "train/loss") == [3, 4]
    assert_sound(database)


def test_a_dry_run_stores_nothing_and_says_what_it_would(database: Database, write_log: WriteLog) -> None:
    path = write_log()
    before = state(database)
    for _ in range(2):
        (done,) = take(database, path, dry_run=True).done
        assert (done.written.kind, done.written.runs, done.written.points) == ("new", 1, 12)
    assert_same(state(database), before)
    take(database, path)
    with path.open("a") as file:
        file.write(log_lines(1, first=3)[0])
    (done,) = take(database, path, dry_run=True).done
    assert (done.written.kind, done.written.runs, done.written.points) == ("grown", 0, 4)


# Growth ---------------------------------------------------------------------------------------------------------------


def test_a_grown_log_adds_its_new_lines(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    path = write_log(epochs=3)
    take(database, path)
    uid = only_run(database).uid
    with path.open("a") as file:
        file.writelines(log_lines(300, first=3))
    (done,) = take(database, path).done
    assert (done.written.kind, done.written.runs, done.written.points) == ("grown", 0, 1200)
    assert only_run(database).uid == uid
    assert_same(state(database), fresh_state(tmp_path / "new", path))


def test_an_unterminated_last_line_is_replaced(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("epoch 0, loss 0.5\nepoch 1, loss 0.02")
    take(database, path)
    assert curve(database, only_run(database), "loss") == [(0, 0.5), (1, 0.02)]
    assert kinds(take(database, path)) == ["same"]
    path.write_text("epoch 0, loss 0.5\nepoch 1, loss 0.0250")
    assert kinds(take(database, path)) == ["grown"]
    assert curve(database, only_run(database), "loss") == [(0, 0.5), (1, 0.025)]
    assert only_run(database).metrics[0].decimals == 4
    path.write_text("epoch 0, loss 0.5\nepoch 1, loss 0.0250\nepoch 2, loss 0.01\n")
    take(database, path)
    assert curve(database, only_run(database), "loss") == [(0, 0.5), (1, 0.025), (2, 0.01)]
    assert_sound(database)
    assert_same(state(database), fresh_state(tmp_path / "new", path))


words = st.sampled_from(
    [
        "loss 0.0250",
        "loss nan",
        "loss 1.5e-3",
        "train accuracy 0.992",
        "test accuracy 91.5%",
        "use time 0.5 min",
        "use time 19.630",
        "lr 0.001",
        "map 1.0",
        "val accuracy 1",
        "val accuracy 90.25",
        "分数 7",
    ]
)  # Labels of one meaning are left out: which of them gets the plain key is a matter of their order.
noise = st.sampled_from(["saving model\n", "训练开始\n", "Traceback (most recent call last):\r\n", "=" * 30 + "\n"])
log_line = st.builds(
    lambda epoch, fields, end: f"epoch {epoch}, {', '.join(fields)}{end}",
    st.integers(0, 12),
    st.lists(words, min_size=1, max_size=3, unique=True),
    st.sampled_from(["\n", "\n", "\r\n"]),
)
log_text = st.lists(st.one_of(log_line, log_line, log_line, noise), min_size=1, max_size=10).map("".join)


@settings(deadline=None, max_examples=100)
@given(text=log_text, cuts=st.lists(st.integers(0, 400), min_size=1, max_size=4), encoding=st.just("utf-8"))
# A metric that was first seen in an unfinished line keeps nothing of what that line seemed to say.
@example(text="epoch 0, use time 0.5 min\n", cuts=[20], encoding="utf-8")
@example(text="epoch 0, loss 1.5\nepoch 0, train accuracy 91.5\nepoch 1, loss 1.25\n", cuts=[20, 34], encoding="utf-8")
@example(text="epoch 0, loss 1.5\nepoch 1, loss 1.5e-3, acc 0.5\n", cuts=[33], encoding="utf-8")
def test_however_a_log_grew_it_ends_as_if_read_at_once(
    text: str, cuts: list[int], encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("grown")
    data = text.encode(encoding)
    path = folder / "a.log"
    try:
        with Database.create(folder / "grown.db") as grown:
            for cut in [*sorted(cuts), len(data)]:
                path.write_bytes(data[:cut])
                items, _ = verb.collect([str(path)], grown.path)
                outcome = verb.ingest(grown, items, verb.Request())
                assert "changed" not in kinds(outcome)
                assert_sound(grown)
            assert_same(state(grown), fresh_state(folder, path) if data else state(grown))
    finally:
        shutil.rmtree(folder)


def test_a_curve_that_is_seen_late_has_its_first_points(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "a.log"
    lines = [f"epoch {e}, loss 0.{9 - e}\nflow: 1.{e}\n" for e in range(5)]
    path.write_text("".join(lines[:2]))
    take(database, path)
    path.write_text("".join(lines))
    take(database, path)
    assert {metric.label: metric.count for metric in only_run(database).metrics} == {"loss": 5, "flow": 5}
    assert_sound(database)


def test_a_shared_file_grows_at_one_place_only(database: Database, write_log: WriteLog) -> None:
    a, b = write_log("logs/a.log"), write_log("logs/b.log")
    take(database, a, b)
    with a.open("a") as file:
        file.write(log_lines(1, first=3)[0])
    assert kinds(take(database, a, b)) == ["grown", "same"]
    run = only_run(database)
    assert (run.name, run.metrics[0].count) == ("a", 4)
    assert reader.sources(database, run.id)[0].places == ("../logs/a.log",)
    assert_sound(database)
    with b.open("a") as file:
        file.write(log_lines(1, first=3)[0])
    assert kinds(take(database, a, b)) == ["same", "same"], "b caught up with a"
    with b.open("a") as file:
        file.write("epoch 4, loss 0.125\n")
    before = state(database)
    take(database, b)
    assert kinds(take(database, a, b)) == ["same", "same"]
    assert [row for row in state(database)["runs"] if row in before["runs"]] == before["runs"]
    assert_sound(database)


def test_a_changed_prefix_is_a_new_source_and_said_aloud(tmp_path: Path, write_log: WriteLog) -> None:
    path = write_log("logs/a.log", epochs=3)
    expdb("ingest", "logs", cwd=tmp_path)
    write_log("logs/a.log", epochs=4, salt=1)
    said = expdb("ingest", "logs", cwd=tmp_path)
    assert said.returncode == 0
    assert "logs/a.log: changed since it was ingested" in said.stderr
    assert "1 new run, 16 points" in said.stdout
    with Database(tmp_path / "runs" / "expdb.db") as database:
        found = runs_of(database)
        assert [(run.name, run.metrics[0].count) for run in found.values()] == [("a", 3), ("a (2)", 4)]
        assert_sound(database)
    path.write_text("".join(log_lines(5, salt=1)))
    assert expdb("ingest", "logs", cwd=tmp_path).stderr == "", "it is the new source that grows"


def test_a_truncated_log_is_a_new_source_too(database: Database, write_log: WriteLog) -> None:
    take(database, write_log(epochs=5))
    assert kinds(take(database, write_log(epochs=2))) == ["changed"]
    assert [run.metrics[0].count for run in runs_of(database).values()] == [5, 2]
    assert kinds(take(database, write_log(epochs=5))) == ["same"], "its first bytes are known still"
    assert_sound(database)


def test_a_log_that_changes_to_and_fro_grows_where_it_stands(database: Database, write_log: WriteLog) -> None:
    # The place's latest source is the one that was read there last, not the one with the greatest id.
    take(database, write_log(epochs=3))
    take(database, write_log(epochs=3, salt=1))
    assert kinds(take(database, write_log(epochs=3))) == ["same"]
    assert kinds(take(database, write_log(epochs=4))) == ["grown"]
    assert len(runs_of(database)) == 2


PAGE = """\
# Fusion

## Results

| 配置 | accuracy |
| --- | --- |
| `a=1` | 84.10 |
| `b=2` | 87.62 |
"""
BLOCK = "\n## Curves\n\n```\nepoch 0, loss 0.5, test accuracy 0.1\nepoch 1, loss 0.4, test accuracy 0.2\n```\n"


def test_a_growing_page_adds_rows_and_blocks(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "fusion.md"
    page.write_text(PAGE, encoding="utf-8")
    take(database, page)
    before = {run.uid: run.name for run in reader.runs(database)}
    assert [run.params["配置"] for run in reader.runs(database)] == ["a=1", "b=2"]
    for more, runs in (("| `c=3` | 90.00 |\n", 3), (BLOCK, 4), ("\n## More\n" + BLOCK[11:].replace("0.5", "0.6"), 5)):
        with page.open("a", encoding="utf-8") as file:
            file.write(more)
        assert kinds(take(database, page)) == ["grown"]
        found = reader.runs(database)
        assert len(found) == runs
        assert {run.uid: run.name for run in found}.items() >= before.items()
        assert_sound(database)
    assert_same(state(database), fresh_state(tmp_path / "new", page))
    (source,) = reader.sources(database, only(reader.runs(database), "Curves").id)
    assert reader.content(database, source.id) == page.read_bytes()


def only(runs: Sequence[reader.RunRecord], name: str) -> reader.RunRecord:
    """The run with that word in its name."""
    (found,) = (run for run in runs if name in run.name)
    return found


table = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(
    lambda digits: "| cfg | accuracy |\n| --- | --- |\n" + "".join(f"| N{d} | 8{d}.10 |\n" for d in digits) + "\n"
)
pasted = st.builds(
    lambda first, values: "".join(f"epoch {first + i}, loss 0.{v}\n" for i, v in enumerate(values)) + "\n",
    st.integers(0, 3),
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
)
block = st.one_of(
    table, pasted, pasted.map("```\n{}```\n\n".format), st.sampled_from(["## More\n\n", "Some prose.\n\n", "Vgg19\n\n"])
)


@settings(deadline=None, max_examples=60)
@given(blocks=st.lists(block, max_size=6), cuts=st.lists(st.integers(7, 60), min_size=1, max_size=3))
def test_however_a_page_grew_each_of_its_numbers_is_stored_once(
    blocks: list[str], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    page = folder / "a.md"
    # No table stands there twice: as long as it grows, a copy is no copy.
    told_apart = (block.replace("| N", f"| {n}.") for n, block in enumerate(blocks))
    lines = (PAGE + "\n" + "".join(told_apart)).splitlines(keepends=True)
    try:
        with Database.create(folder / "grown.db") as grown:
            for cut in [*sorted(cuts), len(lines)]:
                page.write_text("".join(lines[:cut]), encoding="utf-8")
                take(grown, page)
            assert_sound(grown)
            query = "SELECT line, metric, step, value FROM curve ORDER BY line, metric"
            with Database.create(folder / "fresh.db") as fresh:
                take(fresh, page)
                assert grown.rows(query) == fresh.rows(query)
    finally:
        shutil.rmtree(folder)


def test_a_table_that_grew_into_a_copy_does_not_shift_its_neighbours(database: Database, tmp_path: Path) -> None:
    # As above with a purged run: matched by their order alone, the new table's row went into the run of a row that
    # turned out to be a repetition, and a reported value had two points.
    page = tmp_path / "fusion.md"
    half = PAGE + "\n## Again\n\n" + "".join(PAGE.splitlines(keepends=True)[4:7])
    page.write_text(half, encoding="utf-8")
    take(database, page)
    rest = "| `b=2` | 87.62 |\n\n## New\n\n| 配置 | accuracy |\n| --- | --- |\n| `u=1` | 70.00 |\n"
    page.write_text(half + rest, encoding="utf-8")
    take(database, page)
    assert database.rows("SELECT max(count) FROM metric") == [(1,)]
    assert [run.metrics[0].last_value for run in reader.runs(database) if run.params["配置"] == "u=1"] == [70.0]
    assert [run.metrics[0].last_value for run in reader.runs(database) if run.params["配置"] == "b=2"] == [87.62]


def test_rows_that_only_growth_shows_to_be_results_are_taken(database: Database, tmp_path: Path) -> None:
    # A column is one of results when half of its cells are numbers. The row above the one that decides it has no run
    # yet, and writer._start takes it for one that was purged: 84.10 is lost without a word.
    page = tmp_path / "going.md"
    page.write_text(
        PAGE + "\n## Going\n\n| cfg | accuracy |\n| --- | --- |\n| a | 84.10 |\n| b | failed |\n| c | failed |\n"
    )
    take(database, page)
    assert len(reader.runs(database)) == 2
    with page.open("a") as file:
        file.write("| d | 85.00 |\n")
    take(database, page)
    found = {run.params["cfg"]: run.metrics[0].last_value for run in reader.runs(database)[2:] if run.metrics}
    assert found == {"a": 84.1, "d": 85.0}


def test_a_growing_log_stays_with_the_reader_that_began_it(database: Database, tmp_path: Path) -> None:
    # With its captions and blank lines the longer file looks like a page, whose blocks are other runs: what is in
    # the first run already was stored a second time.
    path = tmp_path / "a.log"
    path.write_text("\nepoch 0, loss 0.8\n\nsaving model\nepoch 1, loss 0.7\n")
    take(database, path)
    with path.open("a") as file:
        file.write("\nepoch 0, loss 0.4\n")
    take(database, path)
    assert database.rows("SELECT line, value FROM point ORDER BY line") == [(2, 0.8), (5, 0.7), (7, 0.4)]


def test_a_page_with_a_changed_line_is_a_new_source_unless_read_again(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "fusion.md"
    page.write_text(PAGE, encoding="utf-8")
    take(database, page)
    uids = [run.uid for run in reader.runs(database)]
    page.write_text(PAGE.replace("84.10", "84.20"), encoding="utf-8")
    assert kinds(take(database, page, again=True)) == ["changed"]
    found = reader.runs(database)
    assert [run.uid for run in found] == uids
    assert [run.metrics[0].last_value for run in found] == [84.2, 87.62]
    page.write_text(PAGE.replace("84.10", "84.30"), encoding="utf-8")
    assert kinds(take(database, page)) == ["changed"]
    assert len(reader.runs(database)) == 4
    assert_sound(database)


def test_a_log_behind_a_long_prologue_is_found(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("Loading one more shard of the data\n" * 5000 + "epoch 1, loss 0.5\nepoch 2, loss 0.4\n")
    (done,) = take(database, path).done
    assert (done.format, done.written.points, done.written.unparsed) == ("log", 2, 5000)
    assert database.rows("SELECT line FROM point ORDER BY line") == [(5001,), (5002,)]


# Again ----------------------------------------------------------------------------------------------------------------


def test_again_keeps_what_a_person_did_and_says_what_changed(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "fusion.md"
    page.write_text(PAGE, encoding="utf-8")
    take(database, page, tags={"from": "blog"}, params={"seed": "3"})
    run = reader.runs(database)[0]
    changes = editing.Changes(
        name="first",
        note="checked",
        params={"配置": "a=7", "lr": "0.1"},
        tags={"by": "me", "from": "my blog"},
        units={"test/accuracy": "fraction"},
        values={"test/accuracy": "84.55", "test/f1": "0.5"},
    )
    editing.edit(database, run.id, changes, now_ms=5)
    kept = reader.run(database, run.id)
    other = reader.runs(database)[1]
    page.write_text(PAGE.replace("87.62", "88.00"), encoding="utf-8")
    (done,) = take(database, page, again=True).done
    # Corrections of units and reported values are in the journal; editing.reapply brings them back.
    after = reader.run(database, run.id)
    assert (after.uid, after.name, after.note) == (kept.uid, "first", "checked")
    assert after.params == kept.params
    assert after.tags == kept.tags
    by_key = {m.key: (m.unit, m.last_value, m.decimals) for m in after.metrics}
    assert by_key == {m.key: (m.unit, m.last_value, m.decimals) for m in kept.metrics}
    assert by_key["test/accuracy"] == ("fraction", 84.55, 2)
    changed = reader.run(database, other.id)
    assert changed.metrics[0].last_value == 88
    assert any(other.name in line and "87.62 → 88.0" in line for line in done.written.changes)
    assert not any("first: test/accuracy" in line for line in done.written.changes), "what did not change is not told"
    assert_sound(database)


def test_again_on_an_unchanged_log_changes_nothing(database: Database, write_log: WriteLog) -> None:
    path = write_log(epochs=40)
    take(database, path)
    before, uid = state(database), only_run(database).uid
    (done,) = take(database, path, again=True).done
    assert done.written.changes == []
    assert only_run(database).uid == uid
    assert_same(state(database), before)


def test_again_says_when_the_source_holds_less(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "fusion.md"
    page.write_text(PAGE, encoding="utf-8")
    take(database, page)
    page.write_text(PAGE.replace("| `b=2` | 87.62 |\n", ""), encoding="utf-8")
    (done,) = take(database, page, again=True).done
    assert any("no longer holds it" in line for line in done.written.changes)
    assert len(reader.runs(database)) == 2
    assert_sound(database)


THREE = PAGE + "| `c=3` | 90.00 |\n"


def accuracies(database: Database) -> dict[str, float | None]:
    """Accuracy by uid."""
    return {run.uid: run.metrics[0].last_value for run in reader.runs(database)}


@pytest.mark.parametrize("more", ["", "| `d=4` | 91.00 |\n"])
@pytest.mark.parametrize("again", [False, True])
def test_a_purged_run_does_not_shift_its_neighbours(database: Database, tmp_path: Path, more: str, again: bool) -> None:
    # writer._known_runs matches runs to the source by their order alone: with the middle one purged, the third
    # row's run was given the second row's numbers (--again), or was doubled (growth).
    page = tmp_path / "fusion.md"
    page.write_text(THREE, encoding="utf-8")
    take(database, page)
    first, second, third = reader.runs(database)
    editing.purge(database, [second.id])
    page.write_text(THREE + more, encoding="utf-8")
    take(database, page, again=again)
    found = accuracies(database)
    assert (found[first.uid], found[third.uid]) == (84.1, 90.0)
    values = list(found.values())
    assert values.count(90.0) == 1, "no run is stored twice"
    assert values.count(91.0) == bool(more)
    assert_sound(database)


# Removed and purged ---------------------------------------------------------------------------------------------------


def test_a_removed_run_stays_removed_when_its_file_comes_again(database: Database, write_log: WriteLog) -> None:
    path = write_log()
    take(database, path)
    run = only_run(database)
    editing.remove(database, [run.id], now_ms=5)
    take(database, path)
    with path.open("a") as file:
        file.write(log_lines(1, first=3)[0])
    take(database, path)
    take(database, path, again=True)
    assert reader.runs(database) == []
    editing.restore(database, [run.id])
    assert [m.count for m in only_run(database).metrics] == [4, 4, 4, 4], "it grew in hiding"
    assert_sound(database)


def test_purge_and_ingest_brings_new_runs(database: Database, write_log: WriteLog) -> None:
    path = write_log()
    take(database, path)
    run = only_run(database)
    before = state(database)
    editing.purge(database, [run.id])
    assert all(not rows for what, rows in state(database).items() if what != "experiments")
    assert kinds(take(database, path)) == ["new"]
    assert only_run(database).uid != run.uid
    assert_same(state(database), before)


# File names and kinds of files ----------------------------------------------------------------------------------------

ODD_NAMES = [
    b"with space.log",
    b"new\nline.log",
    "训练 日志.log".encode(),
    "日志.log".encode("gb18030"),
    b"\xff\xfe.log",
    b"quote'\".log",
    b"100%.log",
    b"a?b*c[d].log",
    b"#1 ; -- DROP TABLE run.log",
    b"-x.log",
    b"--help",
    b"bytes:%41.log",
    b"\x1b[31mred.log",
    b"[bold]x[b].log",
    b"back\\slash.log",
    b"tab\t.log",
    b"x" * 251 + b".log",
    b".log.",
]


def test_odd_file_names_survive(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for salt, name in enumerate(ODD_NAMES):
        (folder / os.fsdecode(name)).write_text("".join(log_lines(2, salt=salt)))
    visible = [name for name in ODD_NAMES if not name.startswith(b".")]
    said = expdb("ingest", "logs", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert f"{len(visible)} files, {len(visible)} new runs" in said.stdout
    with Database(tmp_path / "runs" / "expdb.db") as database:
        found = runs_of(database)
        assert len(found) == len(visible)
        assert "日志" in found and "训练 日志" in found
        places = {path for run in found.values() for s in reader.sources(database, run.id) for path in s.places}
        assert len(places) == len(visible)
        for run in found.values():
            (source,) = reader.sources(database, run.id)
            (path,) = reader.paths(database, source)
            assert (tmp_path / path).is_file() and os.fsencode(path.name) in visible
        assert_sound(database)
    again = expdb("ingest", "logs", cwd=tmp_path)
    assert f"known already: {len(visible)} files" in again.stdout
    for command in (("ls",), ("compare",), ("show", "@1"), ("blame", "@1", "train/loss"), ("db", "check")):
        shown = expdb(*command, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "\x1b" not in shown.stdout


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_file_name_can_be_given_by_itself(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_text("".join(log_lines(2)))
    with Database.create(tmp_path / "a.db") as database:
        assert len(take(database, path).done) == 1
        assert_sound(database)


def test_a_file_called_minus_is_a_file_below_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    # Path("./-") is Path("-"), which ingest takes for standard input.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    (tmp_path / "-").write_text("".join(log_lines(2)))
    for paths in (["./-"], ["."]):
        outcome = verb.ingest(database, verb.collect(paths, database.path)[0], verb.Request())
        assert outcome.refused == []
    assert reader.sources(database, only_run(database).id)[0].places == ("../-",) or os.sep != "/"


def test_links_are_followed_to_files_once_and_loops_end(database: Database, write_log: WriteLog) -> None:
    path = write_log("logs/deep/a.log")
    folder = path.parent
    (folder / "b.log").symlink_to("a.log")
    (folder / "up").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "gone.log").symlink_to("nowhere.log")
    outcome = take(database, folder.parent)
    assert kinds(outcome) == ["new", "same"]
    assert sorted(Path(error.path).name for error in refused(outcome)) == ["gone.log", "self"]
    assert only_run(database).name == "a"


def refused(outcome: Outcome) -> list[InputError]:
    """The files that were refused; every one says which it is."""
    assert all(isinstance(error, InputError) for error in outcome.refused)
    return [error for error in outcome.refused if isinstance(error, InputError)]


@pytest.mark.skipif(os.name != "posix", reason="pipes and sockets among files are POSIX's")
def test_a_pipe_or_socket_in_the_folder_does_not_hang(tmp_path: Path, write_log: WriteLog) -> None:
    write_log("logs/a.log")
    os.mkfifo(tmp_path / "logs" / "pipe.log")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listening:
        # A socket's whole path must be short.
        os.chdir(tmp_path / "logs")
        try:
            listening.bind("socket.log")
        finally:
            os.chdir(here)
        said = expdb("ingest", "logs", cwd=tmp_path, timeout=20)
        assert "1 new run" in said.stdout
        assert said.stderr.count("not a regular file") == 2
        assert said.returncode == 1
        again = expdb("ingest", "logs/pipe.log", cwd=tmp_path, timeout=20)
        assert again.returncode == 1 and "pipe.log" in again.stderr


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's here")
def test_what_may_not_be_read_is_named_and_stops_no_other(open_folder: Path) -> None:
    user = other_user()
    logs = open_folder / "logs"
    (logs / "closed").mkdir(parents=True)
    for salt, name in enumerate(("a.log", "b.log", "closed/c.log")):
        (logs / name).write_text("".join(log_lines(2, salt=salt)))
    (open_folder / "runs").mkdir(mode=0o777)
    (open_folder / "runs").chmod(0o777)
    (logs / "a.log").chmod(0)
    (logs / "closed").chmod(0)
    said = expdb("ingest", "logs", cwd=open_folder, user=user)
    assert said.returncode == 1
    assert "1 new run" in said.stdout
    assert "logs/a.log: cannot be read" in said.stderr
    # os.walk passes over a folder that it may not list, unless it is told otherwise.
    assert "logs/closed" in said.stderr
    assert "Traceback" not in said.stderr


NOT_LOGS = {
    "empty.log": (b"", "empty"),
    "zeros.log": (b"\0" * 5000, "not a text file"),
    "noise.log": (bytes(range(256)) * 40, "not a text file"),
    "wide.log": (b"x" * (2 << 20), "longer than 1 MB"),
}


@pytest.mark.parametrize("name", NOT_LOGS)
def test_a_file_that_cannot_be_a_log_is_named_and_stops_no_other(
    database: Database, write_log: WriteLog, name: str
) -> None:
    first, last = write_log("logs/0.log"), write_log("logs/z.log", salt=1)
    bad = first.with_name(name)
    bad.write_bytes(NOT_LOGS[name][0])
    outcome = take(database, first.parent)
    (error,) = refused(outcome)
    assert error.path == str(bad) and NOT_LOGS[name][1] in error.message
    assert list(runs_of(database)) == ["0", "z"]
    assert last.is_file()


def test_prose_gives_no_runs_and_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Today the network was trained.\nIt took 3 hours.\n")
    said = expdb("ingest", "notes.txt", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == "no log: 1 file, 0 runs (notes.txt)\n"


def test_a_database_within_the_folder_is_not_read(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    write_log("logs/a.log")
    for _ in range(2):
        outcome = take(database, tmp_path)
        assert (outcome.refused, outcome.passed_over, len(outcome.done)) == ([], [], 1)
    shutil.copy(database.path, tmp_path / "logs" / "copy.db")
    outcome = take(database, tmp_path)
    assert [kind for _, kind in outcome.passed_over] == ["a SQLite database"]
    assert outcome.refused == []


def test_hidden_folders_and_caches_are_not_entered(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    write_log("logs/a.log")
    for salt, name in enumerate((".git/b.log", "__pycache__/c.log", ".d.log", "node_modules/x/e.log"), 1):
        write_log(f"logs/{name}", salt=salt)
    take(database, tmp_path)
    assert list(runs_of(database)) == ["a"]
    take(database, tmp_path / "logs" / ".d.log")
    assert list(runs_of(database)) == ["a", ".d"], "what is named is read"


def test_a_missing_path_is_named_and_the_others_are_read(tmp_path: Path, write_log: WriteLog) -> None:
    write_log("logs/a.log")
    said = expdb("ingest", "logs", "nowhere", "*.nothing", cwd=tmp_path)
    assert said.returncode == 1
    assert "1 new run" in said.stdout
    assert "nowhere: no such file or folder" in said.stderr and "*.nothing" in said.stderr


def test_globs_are_expanded_where_the_shell_did_not(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    for salt, name in enumerate(("a/x.log", "a/b/y.log", "a/z.txt")):
        write_log(f"logs/{name}", salt=salt)
    take(database, f"{tmp_path}/logs/**/*.log")
    assert sorted(runs_of(database)) == ["x", "y"]
    write_log("logs/[1].log", salt=9)
    take(database, f"{tmp_path}/logs/[1].log")
    assert sorted(runs_of(database)) == ["[1]", "x", "y"], "a file that is there is no glob"


def test_standard_input_is_a_source_without_a_place(tmp_path: Path) -> None:
    text = "".join(log_lines(3))
    said = expdb("ingest", "-", "-e", "pipe", cwd=tmp_path, input=text)
    assert (said.returncode, said.stderr) == (0, "")
    assert "1 file, 1 new run, 12 points" in said.stdout
    assert "known already" in expdb("ingest", "-", cwd=tmp_path, input=text).stdout
    # Another pipe may begin with the same lines; it is not this one, grown.
    longer = expdb("ingest", "-", "-e", "pipe", cwd=tmp_path, input=text + log_lines(1, first=3)[0])
    assert "1 new run, 16 points" in longer.stdout
    assert longer.stderr == ""
    with Database(tmp_path / "runs" / "expdb.db") as database:
        assert list(runs_of(database)) == ["stdin", "stdin (2)"]
        assert reader.sources(database, reader.find_run(database, "stdin"))[0].places == ("-",)
    assert expdb("db", "check", cwd=tmp_path).returncode == 0
    empty = expdb("ingest", "-", cwd=tmp_path, input="")
    assert empty.returncode == 1 and "empty" in empty.stderr


def test_two_thousand_files_are_taken_in_one_go(database: Database, tmp_path: Path) -> None:
    for i in range(2000):
        folder = tmp_path / "logs" / f"{i // 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.log").write_text(f"epoch 0, loss {i}.5\nepoch 1, loss 0.25\n")
    steps: list[int] = []
    items, _ = verb.collect([str(tmp_path / "logs")], database.path)
    outcome = verb.ingest(database, items, verb.Request(), steps.append)
    assert (len(outcome.done), sum(steps)) == (2000, 2000)
    assert database.rows("SELECT count(*), sum(points) FROM run_summary") == [(2000, 4000)]
    assert database.rows("SELECT count(*) FROM source_place") == [(2000,)]
    assert_sound(database)


def test_many_runs_of_one_name_are_named_quickly(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "many.md"
    block = "## Same\n\n```\nepoch 0, loss {}\nepoch 1, loss 0.5\n```\n\n"
    page.write_text("# T\n\n" + "".join(block.format(i) for i in range(800)))
    take(database, page)
    found = runs_of(database)
    assert len(found) == 800
    assert list(found)[:3] == ["Same", "Same (2)", "Same (3)"] and "Same (800)" in found


# Many at once ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "epochs"), [(1, 1), (1, 700), (2, 513), (3, 255), (7, 90), (64, 40), (65, 41), (150, 300)]
)
def test_every_value_of_a_wide_log_finds_its_place(
    database: Database, tmp_path: Path, metrics: int, epochs: int
) -> None:
    # Points are written by statements of many shapes; none may put a value beside its step, line or metric.
    path = tmp_path / "wide.log"

    def lines(count: int) -> str:
        rows = (", ".join(f"m{i} {e * 1000 + i}.5" for i in range(metrics)) for e in range(count))
        return "# a comment\n" + "".join(f"epoch {e}, {row}\n" for e, row in enumerate(rows))

    def wanted(count: int) -> list[tuple[str, int, int, float, int]]:
        every = ((f"m{i}", e, e, e * 1000 + i + 0.5, e + 2) for i in range(metrics) for e in range(count))
        return sorted(every)

    query = "SELECT metric, seq, step, value, line FROM curve ORDER BY metric, seq"
    for count in (epochs, epochs + 1, epochs + 8):
        path.write_text(lines(count))
        take(database, path)
        assert database.rows(query) == wanted(count)
    assert_sound(database)


def test_a_log_of_many_runs_grows_and_is_read_again(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "appended.log"
    lines = [line for run in range(60) for line in log_lines(3, salt=run)]
    for count in (7, 100, len(lines) - 1, len(lines)):
        path.write_text("".join(lines[:count]))
        take(database, path)
    before = state(database)
    assert len(before["runs"]) == 60
    assert_same(before, fresh_state(tmp_path / "new", path))
    (done,) = take(database, path, again=True).done
    assert (done.written.changes, done.written.reads) == ([], 60)
    assert_same(state(database), before)
    path.write_text("".join(lines).replace("loss 2.0000", "loss 3.0000"))
    (done,) = take(database, path, again=True).done
    assert (
        len(done.written.changes) == 1 and "train/loss 3 → 3 points, 1 of the first 3 differ" in done.written.changes[0]
    )
    assert_sound(database)


# Names ----------------------------------------------------------------------------------------------------------------

SHAPES = [
    (["a.log"], ["a"]),
    (["a.log", "b.log"], ["a", "b"]),
    (["x/train.log", "y/train.log"], ["x", "y"]),
    (["x/1/train.log", "x/2/train.log", "y/1/train.log"], ["x/1", "x/2", "y/1"]),
    (["x/lr1/out/train.log", "x/lr2/out/train.log"], ["lr1", "lr2"]),
    (["x/train.log", "x/train.txt"], ["train.log", "train.txt"]),
    (["x/train.log", "train.log"], ["x", "train"]),
    (["x/train.log", "x/y/train.log"], ["train", "y"]),
    (["x/train.log", "y/train.log", "z/other.log"], ["x", "y", "other"]),
    (["x/.log", "y/.log"], ["x", "y"]),
    ([], []),
]


@pytest.mark.parametrize(("paths", "names"), SHAPES)
def test_a_run_is_called_by_the_least_that_tells_it_apart(paths: list[str], names: list[str]) -> None:
    assert verb.short_names([Path(path) for path in paths]) == names


parts = st.sampled_from(["a", "b", "train", "out", "1"])
some_paths = st.lists(
    st.tuples(st.lists(parts, max_size=4), parts, st.sampled_from([".log", ".txt", ""])).map(
        lambda shape: Path(*shape[0], shape[1] + shape[2])
    ),
    max_size=8,
    unique=True,
)


@given(some_paths)
def test_short_names_tell_files_apart_wherever_one_stem_is_shared(paths: list[Path]) -> None:
    names = verb.short_names(paths)
    assert len(names) == len(paths) and all(names)
    for stem in {path.stem for path in paths}:
        group = [name for path, name in zip(paths, names, strict=True) if path.stem == stem]
        assert len(set(group)) == len(group)
    for path, name in zip(paths, names, strict=True):
        assert name == path.stem or set(name.split("/")) <= {*path.parts, *Path.cwd().parts}


def test_names_are_unique_within_their_experiment(database: Database, write_log: WriteLog) -> None:
    for salt in range(3):
        take(database, write_log(f"{salt}/a.log", salt=salt), experiment="one")
    take(database, write_log("x/a.log", salt=9), experiment="two")
    assert [(run.experiment, run.name) for run in reader.runs(database)] == [
        ("one", "a"),
        ("one", "a (2)"),
        ("one", "a (3)"),
        ("two", "a"),
    ]
    editing.edit(database, reader.find_run(database, "a (2)"), editing.Changes(name="b"), 1)
    take(database, write_log("y/a.log", salt=7), experiment="one")
    assert sorted(run.name for run in reader.runs(database, "one")) == ["a", "a (2)", "a (3)", "b"]


def test_an_experiment_is_named_by_the_person_the_page_or_the_folder(
    database: Database, write_log: WriteLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "fusion.md").write_text(PAGE, encoding="utf-8")
    write_log("nets/deep/a.log")
    take(database, tmp_path / "blog", tmp_path / "nets")
    take(database, write_log("single/b.log", salt=1))
    take(database, write_log("single/c.log", salt=2), experiment="mine")
    monkeypatch.chdir(tmp_path / "nets")
    write_log("nets/d.log", salt=3)
    take(database, ".", "d.log")
    assert {run.name: run.experiment for run in reader.runs(database)} == {
        "Results row 1": "Fusion",
        "Results row 2": "Fusion",
        "a": "nets",
        "b": "single",
        "c": "mine",
        "d": "nets",
    }


def test_params_and_tags_of_the_command_go_to_every_new_run(database: Database, write_log: WriteLog) -> None:
    write_log("logs/a.log")
    write_log("logs/b.log", salt=1)
    take(database, write_log("logs/c.log", salt=2).parent, params={"lr": "0.1", "net": "VGG"}, tags={"old": "yes"})
    for run in reader.runs(database):
        assert (run.params, run.tags) == ({"lr": "0.1", "net": "VGG"}, {"old": "yes"})
    assert database.rows("SELECT DISTINCT key, number FROM param ORDER BY key") == [("lr", 0.1), ("net", None)]


# Large files ----------------------------------------------------------------------------------------------------------


def big_log(path: Path, epochs: int) -> None:
    with path.open("w") as file:
        for epoch in range(epochs):
            file.write(f"epoch {epoch}, loss {1 / (epoch + 1):.6f}, test accuracy {epoch / epochs:.6f}\n")
            file.write(f"{'-' * 400}\n")


def test_a_log_too_large_to_hold_is_read_in_pieces_and_followed(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    epochs = 40_000
    big_log(path, epochs)
    assert path.stat().st_size > 16 << 20
    (done,) = take(database, path).done
    assert (done.written.kind, done.written.runs, done.written.points) == ("new", 1, 2 * epochs)
    with path.open("a") as file:
        file.write(f"epoch {epochs}, loss 0.5, test accuracy 1.0")
    (done,) = take(database, path).done
    assert (done.written.kind, done.written.points) == ("grown", 2)
    run = only_run(database)
    assert [(m.count, m.last_step, m.last_value) for m in run.metrics] == [
        (epochs + 1, epochs, 0.5),
        (epochs + 1, epochs, 1.0),
    ]
    assert database.rows(
        "SELECT line, value FROM point WHERE step = 20000 AND metric_id = ?", (run.metrics[1].id,)
    ) == [(40_001, 0.5)]
    assert_sound(database)


def test_a_page_too_large_to_hold_is_refused_and_stops_no_other(database: Database, write_log: WriteLog) -> None:
    first, last = write_log("logs/a.log"), write_log("logs/z.log", salt=1)
    with first.with_name("page.md").open("w", encoding="utf-8") as file:
        file.write(PAGE + "\n")
        for _ in range(17):
            file.write(("words " * 20 + "\n") * (1 << 13) + "\n")
    # Only who says so has it read as a page; it then fails within the transaction that stores the others.
    (error,) = refused(take(database, first.parent, as_format="page"))
    assert error.path.endswith("page.md") and "too large" in error.message
    assert (list(runs_of(database)), last.is_file()) == (["a", "z"], True)
    assert_sound(database)


# Interrupted ----------------------------------------------------------------------------------------------------------


def test_an_interrupted_ingest_keeps_whole_batches(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "BATCH_POINTS", 40)
    for i in range(20):
        (tmp_path / f"{i:02}.log").write_text("".join(log_lines(4, salt=i)))
    paths = sorted(tmp_path.glob("*.log"))

    def pressed(paths: Sequence[Path]) -> Iterator[Item]:
        items, _ = verb.collect([str(path) for path in paths], database.path)
        yield from items[:10]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verb.Ingest(database, verb.Request(), lambda _: None).run(pressed(paths))
    kept = len(runs_of(database))
    assert 0 < kept < 10
    assert_sound(database)
    outcome = take(database, *paths)
    assert kinds(outcome) == ["same"] * kept + ["new"] * (20 - kept)
    assert_same(state(database), fresh_state(tmp_path / "new", *paths))


def test_two_ingests_side_by_side_share_what_they_read(tmp_path: Path, write_log: WriteLog) -> None:
    for i in range(30):
        write_log(f"logs/{i}.log", salt=i)
    both = [start("ingest", "logs", cwd=tmp_path) for _ in range(2)]
    ends = [finish(process) for process in both]
    assert [code for code, _, _ in ends] == [0, 0], ends
    with Database(tmp_path / "runs" / "expdb.db") as database:
        assert len(runs_of(database)) == 30
        assert_sound(database)


# What a second reader found ---------------------------------------------------------------------------------------


def test_copies_of_a_log_that_grow_apart_keep_all_their_lines(database: Database, write_log: WriteLog) -> None:
    first, second = write_log("logs/a.log"), write_log("logs/b.log")
    take(database, first.parent)
    with first.open("a") as file:
        file.writelines(log_lines(2, first=3))
    take(database, first.parent)
    with second.open("a") as file:
        file.writelines(log_lines(1, first=3, salt=9))
    take(database, first.parent)
    assert sorted(run.metrics[0].count for run in reader.runs(database)) == [4, 5]
    assert_sound(database)


def test_a_purge_elsewhere_does_not_forget_a_known_copy(database: Database, write_log: WriteLog) -> None:
    first, second = write_log("logs/a.log"), write_log("logs/b.log")
    other = write_log("logs/c.log", salt=3)
    take(database, first.parent)
    with first.open("a") as file:
        file.writelines(log_lines(2, first=3))
    take(database, first.parent)
    editing.purge(database, [run.id for run in reader.runs(database) if run.name == "c"])
    other.unlink()
    assert kinds(take(database, second)) == ["same"]
    assert take(database, second, again=True).done[0].written.runs == 0


def test_a_correction_of_an_unfinished_row_outlives_its_end(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "fusion.md"
    page.write_text(PAGE.rstrip("\n"), encoding="utf-8")
    take(database, page)
    last = reader.runs(database)[-1]
    editing.edit(database, last.id, editing.Changes(values={"test/accuracy": "86.60"}), now_ms=5)
    with page.open("a", encoding="utf-8") as file:
        file.write("\n\nmore words\n")
    take(database, page)
    assert reader.run(database, last.id).metrics[0].last_value == 86.6


def test_an_unfinished_row_gets_its_whole_words(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "fusion.md"
    page.write_text("# T\n\n| model | acc |\n| --- | --- |\n| A | 84.1 |\n| Res | 85.", encoding="utf-8")
    take(database, page)
    page.write_text(page.read_text().replace("| Res | 85.", "| ResNet18 | 85.2 |\n"), encoding="utf-8")
    take(database, page)
    assert [run.params["model"] for run in reader.runs(database)] == ["A", "ResNet18"]


def test_a_large_log_that_changes_while_it_is_read_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expdb.parsers.reading.KEEP_BYTES", 1000)
    path = tmp_path / "a.log"
    path.write_text("".join(log_lines(100)))
    changed = path.read_text().replace("epoch 99", "epoch 98")
    items, _ = verb.collect([str(path)], database.path)
    work = verb.Ingest(database, verb.Request(), lambda _: None)
    standing = work._standing

    def spoil(*words: object) -> object:
        # Digested by now, and parsed after this.
        found = standing(*words)  # type: ignore[arg-type]
        path.write_text(changed)
        return found

    monkeypatch.setattr(work, "_standing", spoil)
    outcome = work.run(items)
    assert "changed while it was read" in str(outcome.refused[0])
    assert reader.runs(database) == []
    assert_sound(database)


def test_a_run_that_only_an_unfinished_line_began_goes_when_the_line_ends(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("epoch 5, loss 0.5\nepoch 6, loss 0.4\nepoch 1, loss 0.7")
    take(database, path)
    assert sorted(runs_of(database)) == ["a", "a (2)"]
    path.write_text("epoch 5, loss 0.5\nepoch 6, loss 0.4\nepoch 17, loss 0.3\n")
    assert kinds(take(database, path)) == ["grown"]
    assert [run.metrics[0].count for run in reader.runs(database)] == [3]
    assert_sound(database)
