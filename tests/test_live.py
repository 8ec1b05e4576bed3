"""Run folders into the database: read on and read whole, printed and logged, full disks, several who want to."""

import json
import sys
import time
from pathlib import Path

import pytest
from drills import assert_sound, curve
from launched import TRAIN, points, until

from expdb import launch, live
from expdb.errors import DatabaseError
from expdb.growing import STREAM_BYTES
from expdb.launch import Order
from expdb.parsers.reading import KEEP_BYTES
from expdb.runners import local
from expdb.runners.folder import RunFolder, State, create, root_of
from expdb.store import editing, launched, reader
from expdb.store.reader import RunRecord
from expdb.store.sqlite import SqliteDatabase as Database


def folder_for(database: Database, code: str, cwd: Path, **asked: object) -> RunFolder:
    """A run of a Python program, which waits."""
    order = Order(command=(sys.executable, "-u", "-c", code), cwd=cwd, name="run", **asked)  # type: ignore[arg-type]
    return create(root_of(database.path), launch.spec_of(launch.plan(order)[0], order))


def ended(folder: RunFolder) -> bool:
    return folder.state().kind == "ended"


def record(database: Database, folder: RunFolder) -> RunRecord:
    return reader.run(database, reader.find_run(database, folder.uid))


def test_a_run_is_there_before_it_begins_and_its_state_follows(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "import time; print('epoch 1 loss 0.5'); time.sleep(60)", tmp_path)
    with live.owned(folder) as ours:
        assert ours
        follower = live.Follower(database, folder)
        follower.look()
        assert record(database, folder).status == "scheduled"
        local.start(folder)
        follower.look()
        assert record(database, folder).status == "running"
        until(lambda: folder.log_path.read_text(), "a line")
        local.stop(folder, force=True)
        follower.look()
        assert follower.settled
    found = record(database, folder)
    assert (found.status, points(found)) == ("killed", {"train/loss": 1})
    assert not launched.unsettled(database)


def test_a_log_read_on_and_a_log_read_whole_say_the_same(database: Database, tmp_path: Path) -> None:
    lines = [
        f"Epoch: [{e}][{i}/200]\tloss {1 / (e * 200 + i):.5f} ({1 / e:.5f})\tacc@1 {i / 4:.2f}\n"
        + (f" * validation: acc@1 {e * 5:.2f}\n" if i == 200 else "")
        for e in range(1, 11)
        for i in range(1, 201)
    ]
    text = "".join(lines).encode()
    assert len(text) > 2 * STREAM_BYTES
    whole = folder_for(database, "pass", tmp_path)
    whole.log_path.write_bytes(text)
    local.start(whole)
    until(lambda: ended(whole), "the end")
    grown = folder_for(database, "pass", tmp_path)
    local.start(grown)
    until(lambda: ended(grown), "the end")
    (grown.path / "exit.json").rename(grown.path / "kept.json")
    # Its processes are gone; for the reader of its log it only has to go on.
    state = State("running")
    follower = live.Follower(database, grown)
    at = 0
    while at < len(text):
        # Ends in the middle of lines, too.
        at += 7_001 if at < STREAM_BYTES else 31_003
        grown.log_path.write_bytes(text[:at])
        for log in follower._logs:
            log.growing._not_before = 0.0
        follower.look(state)
    assert 0 < points(record(database, grown))["train/loss"] <= 2000
    (grown.path / "kept.json").rename(grown.path / "exit.json")
    follower.look()
    live.Follower(database, whole).look()
    one, other = record(database, grown), record(database, whole)
    assert points(one) == points(other)
    assert points(one)["train/loss"] == 2000
    for metric in points(one):
        assert curve(database, one, metric) == curve(database, other, metric)
    assert_sound(database)


def test_what_is_logged_stands_above_what_is_printed(database: Database, tmp_path: Path) -> None:
    code = "for e in (1, 2, 3): print(f'epoch {e} loss 0.{e} accuracy 0.{e}5')"
    folder = folder_for(database, code, tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    (folder.path / "exit.json").rename(folder.path / "kept.json")
    follower = live.Follower(database, folder)
    follower.look(State("running"))
    assert points(record(database, folder)) == {"train/loss": 3, "train/accuracy": 3}
    said = [{"step": n, "epoch": None, "time_ms": 1000 * n, "metrics": {"train/loss": n / 7}} for n in (1, 2)]
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in said))
    (folder.path / "kept.json").rename(folder.path / "exit.json")
    follower.look()
    found = record(database, folder)
    assert points(found) == {"train/accuracy": 3, "train/loss": 2}
    assert curve(database, found, "train/loss") == [(1, 1 / 7), (2, 2 / 7)]
    assert_sound(database)


def test_a_full_disk_is_told_and_stops_nothing_and_later_all_is_in(database: Database, tmp_path: Path) -> None:
    code = "for e in range(20000): print(f'epoch {e} loss {1 / (e + 1):.6f}')"
    folder = folder_for(database, code, tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    pages = database.rows("PRAGMA page_count")[0][0]
    database.rows(f"PRAGMA max_page_count = {pages + 2}")
    follower = live.Follower(database, folder)
    with pytest.raises(DatabaseError, match="no room left"):
        follower.look()
    assert_sound(database)
    database.rows("PRAGMA max_page_count = 1000000")
    live.Follower(database, folder).look()
    assert points(record(database, folder)) == {"train/loss": 20000}
    assert_sound(database)


def test_one_process_at_a_time_takes_a_run_in(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "print('epoch 1 loss 0.5')", tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    with live.owned(folder) as ours:
        assert ours
        with live.owned(folder) as second:
            assert not second
        assert live.settle(database.path, [folder.uid]) == []
    assert live.settle(database.path, [folder.uid]) == [folder.uid]
    assert points(record(database, folder)) == {"train/loss": 1}


def test_a_folder_that_the_database_does_not_know_is_found(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "print('epoch 1 loss 0.5')", tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    assert live.strays(database.path) == [folder.uid]
    live.adopt(database.path)
    assert live.strays(database.path) == []
    assert record(database, folder).status == "finished"


def test_a_run_whose_folder_is_deleted_does_not_run_for_ever(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "pass", tmp_path)
    live.settle(database.path, [folder.uid])
    for path in folder.path.iterdir():
        path.unlink()
    folder.path.rmdir()
    live.adopt(database.path)
    assert record(database, folder).status == "killed"


def test_a_command_that_held_a_token_is_kept_without_it(database: Database, tmp_path: Path) -> None:
    token = "hf_" + "a1B2c3D4e5F6" * 3
    order = Order(command=("sh", "-c", "true", "--api-key", token), cwd=tmp_path, values={"password": "hunter22"})
    folder = create(root_of(database.path), launch.spec_of(launch.plan(order)[0], order))
    local.start(folder)
    until(lambda: ended(folder), "the end")
    live.Follower(database, folder).look()
    kept = (folder.path / "spec.json").read_text() + repr(database.rows("SELECT * FROM provenance, param"))
    assert token not in kept
    assert "hunter22" not in kept


def test_a_training_of_a_minute_is_followed_without_being_read_again_and_again(
    database: Database, tmp_path: Path
) -> None:
    # Ten thousand lines at once, then a few: the second look must not cost what the first did.
    (tmp_path / "train.py").write_text(TRAIN)
    folder = folder_for(database, "pass", tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    follower = live.Follower(database, folder)
    took = []
    for count in (40_000, 40_010):
        folder.log_path.write_text("".join(f"step {n} loss {1 / (n + 1):.6f}\n" for n in range(count)))
        for log in follower._logs:
            log.growing._not_before = 0.0
        began = time.process_time()
        follower.look(State("running"))
        took.append(time.process_time() - began)
    assert points(record(database, folder)) == {"train/loss": 40_010}
    assert took[1] < took[0] / 4


def test_what_is_read_again_takes_nothing_from_other_sources(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "print('epoch 1 loss 0.5')", tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    (folder.path / "exit.json").rename(folder.path / "kept.json")
    measured = {"step": 0, "epoch": None, "time_ms": 5, "metrics": {"system/cpu": 1.5}}
    (folder.path / "system.jsonl").write_text(json.dumps(measured) + "\n")
    follower = live.Follower(database, folder)
    follower.look(State("running"))
    # Written anew by the command, which no log should be.
    folder.log_path.write_text("epoch 1 loss 0.7\nepoch 2 loss 0.6\n")
    (folder.path / "kept.json").rename(folder.path / "exit.json")
    live.Follower(database, folder).look()
    found = record(database, folder)
    assert points(found) == {"train/loss": 2, "system/cpu": 1}
    assert curve(database, found, "train/loss") == [(1, 0.7), (2, 0.6)]
    assert_sound(database)


def test_what_was_typed_in_while_it_ran_stays(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "print('epoch 1 loss 0.5')", tmp_path, values={"lr": "0.1"})
    local.start(folder)
    until(lambda: ended(folder), "the end")
    (folder.path / "exit.json").rename(folder.path / "kept.json")
    follower = live.Follower(database, folder)
    follower.look(State("running"))
    changes = editing.Changes(name="mine", params={"lr": "0.5"}, values={"test/f1": "0.9"})
    editing.edit(database, follower.run_id, changes, 5)
    (folder.path / "kept.json").rename(folder.path / "exit.json")
    live.Follower(database, folder).look()
    found = record(database, folder)
    assert (found.name, found.status, found.params["lr"]) == ("mine", "finished", "0.5")
    assert points(found) == {"train/loss": 1, "test/f1": 1}


def test_a_very_long_log_is_not_read_again_at_its_end(database: Database, tmp_path: Path) -> None:
    folder = folder_for(database, "pass", tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    (folder.path / "exit.json").rename(folder.path / "kept.json")
    line = "step {0} loss {1:.8f} " + "." * 400 + "\n"
    text = "".join(line.format(n, 1 / (n + 1)) for n in range(42_000))
    assert len(text) > KEEP_BYTES
    cut = text.index("\n", len(text) // 2) + 1
    follower = live.Follower(database, folder)
    folder.log_path.write_text(text[:cut])
    follower.look(State("running"))
    folder.log_path.write_text(text)
    (folder.path / "kept.json").rename(folder.path / "exit.json")
    follower.look()
    assert points(record(database, folder)) == {"train/loss": 42_000}
    assert_sound(database)


def test_a_very_long_log_that_another_one_replaces_is_read_from_its_beginning(
    database: Database, tmp_path: Path
) -> None:
    folder = folder_for(database, "pass", tmp_path)
    local.start(folder)
    until(lambda: ended(folder), "the end")
    (folder.path / "exit.json").rename(folder.path / "kept.json")
    follower = live.Follower(database, folder)
    folder.log_path.write_text("".join(f"step {n} loss {1 / (n + 1):.8f}\n" for n in range(2_000)))
    follower.look(State("running"))
    other = folder.path / "other"
    other.write_text("".join(f"step {n} loss {2 / (n + 1):.8f} " + "." * 400 + "\n" for n in range(42_000)))
    assert other.stat().st_size > KEEP_BYTES
    other.replace(folder.log_path)
    (folder.path / "kept.json").rename(folder.path / "exit.json")
    follower.look()
    found = record(database, folder)
    assert points(found) == {"train/loss": 42_000}
    assert curve(database, found, "train/loss")[0] == (0, 2.0)
