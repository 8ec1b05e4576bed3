"""Two databases brought together: laptop and server. A run is known by its uid; nothing is lost, twice is once."""

import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commands import environment, expdb_in
from conftest import WriteLog, log_lines
from drills import assert_same, assert_sound, curve, finish, only_run, python, runs_of, state, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

from expdb.errors import UsageError
from expdb.records import CURVE, Curve, Metric
from expdb.store import editing, launched, merging, reader
from expdb.store import statements as sql
from expdb.store.database import Database as Store
from expdb.store.merging import Merged, merge
from expdb.store.opening import open_database
from expdb.store.sqlite import SqliteDatabase as Database
from expdb.store.writer import Writer, derived_summary


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Database]:
    """An empty database beside that of fixture `database`, which is the server's here."""
    with Database.create(tmp_path / "laptop" / "runs" / "expdb.db") as made:
        yield made


def bring(ours: Store, theirs: Store) -> Merged:
    """Merge; a second time there must be nothing new, and both ends are sound."""
    done = merge(ours, theirs, 10**12)
    state_then = state(ours)
    again = merge(ours, theirs, 10**12)
    assert (again.new, again.grown, again.points, again.experiments, again.others) == (0, 0, 0, 0, 0), again
    assert_same(state(ours), state_then)
    assert_sound(ours)
    return done


def edit(database: Store, run: str, now_ms: int, **changes: object) -> None:
    editing.edit(database, reader.find_run(database, run), editing.Changes(**changes), now_ms)  # type: ignore[arg-type]


# New runs -------------------------------------------------------------------------------------------------------------


def test_an_empty_database_becomes_a_copy(database: Database, laptop: Database, write_log: WriteLog) -> None:
    take(laptop, write_log("logs/a.log", epochs=30), write_log("logs/b.log", salt=3), params={"lr": "0.1"})
    page = Path(__file__).parent / "data" / "results.md"
    take(laptop, page)
    edit(laptop, "a", 5, note="good", tags={"who": "lin"})
    editing.remove(laptop, [reader.find_run(laptop, "b")], 7)
    done = bring(database, laptop)
    assert done.new == len(laptop.rows("SELECT id FROM run")) and done.conflicts == []
    assert_same(state(database), state(laptop), moved=True)
    # The numbers differ, the places lead to the same files.
    assert merge(laptop, database, 0).new == 0


def test_every_table_of_the_schema_is_brought_over_or_left_on_purpose() -> None:
    known = merging.OWN | merging.NOT_MERGED | set(merging.PLAIN)
    assert known == set(SQLModel.metadata.tables)


def test_whatever_hangs_on_a_run_comes_with_it(database: Database, laptop: Database, write_log: WriteLog) -> None:
    take(laptop, write_log("logs/a.log"), write_log("logs/b.log", salt=1))
    a, b = (runs_of(laptop)[name] for name in "ab")
    # What the server has already shifts every number.
    take(database, write_log("other/x.log", salt=9))
    with laptop.transaction() as connection:
        for text in FILLING:
            connection.execute(text.replace(":a", str(a.id)).replace(":b", str(b.id)))
    bring(database, laptop)
    for text in HANGING:
        assert sorted(database.rows(text), key=repr) == sorted(laptop.rows(text), key=repr), text
        assert laptop.rows(text), text


FILLING = (
    "INSERT INTO experiment_tag SELECT id, 'team', 'vision' FROM experiment WHERE id > 0",
    "INSERT INTO artifact (run_id, path, kind, size_bytes, sha256) VALUES (:a, 'model.pt', 'checkpoint', 5, 'ab')",
    "INSERT INTO provenance (run_id, command, host, exit_code) VALUES (:a, 'python x.py', 'lab', 0)",
    "INSERT INTO dataset (uid, experiment_id, name, digest, source_type, source)"
    " VALUES ('d', 1, 'cifar', '7', 'l', 's')",
    "INSERT INTO run_dataset VALUES (:a, 1, 'training')",
    "INSERT INTO run_dataset_tag VALUES (:a, 1, 'split', 'all')",
    "INSERT INTO logged_model (uid, experiment_id, run_id, name, status, artifact_uri, created_ms, updated_ms)"
    " VALUES ('m-1', 1, :b, 'net', 'READY', 'x', 1, 2)",
    "INSERT INTO logged_model_param VALUES (1, 'depth', '18')",
    "INSERT INTO logged_model_tag VALUES (1, 'stage', 'best')",
    "INSERT INTO logged_model_metric VALUES (1, 0, :b, 'acc', 3, NULL, 7, 'cifar', '7')",
    "INSERT INTO run_model VALUES (:b, 1, 'output', 3)",
    "INSERT INTO counterpart VALUES ('http://tracking', 'other', :a, 'push', 9)",
    "INSERT INTO counterpart_name VALUES ('http://tracking', 'metric', 'acc@1', 'acc_1')",
    "INSERT INTO claim (text, a, source_id, line, created_ms) VALUES ('a is better', 'a', 1, 3, 4)",
    "INSERT INTO finding (run_id, source_id, rule, severity, evidence, created_ms) VALUES (:a, 1, 'r', 'note', 'e', 5)",
    "INSERT INTO finding (rule, severity, evidence, created_ms) VALUES ('seeds', 'note', 'one', 6)",
    "UPDATE run SET parent_id = :b WHERE id = :a",
)
HANGING = (
    "SELECT e.name, t.key, t.value FROM experiment_tag t JOIN experiment e ON e.id = t.experiment_id",
    "SELECT r.uid, x.path, x.kind, x.size_bytes, x.sha256 FROM artifact x JOIN run r ON r.id = x.run_id",
    "SELECT r.uid, x.command, x.host, x.exit_code FROM provenance x JOIN run r ON r.id = x.run_id",
    "SELECT r.uid, d.uid, d.name, x.context, t.key, t.value FROM run_dataset x JOIN run r ON r.id = x.run_id"
    " JOIN dataset d ON d.id = x.dataset_id JOIN run_dataset_tag t ON t.run_id = r.id AND t.dataset_id = d.id",
    "SELECT m.uid, m.name, m.status, r.uid, p.key, p.value, t.key, t.value, x.seq, x.step, x.value, x.time_ms"
    " FROM logged_model m JOIN run r ON r.id = m.run_id JOIN logged_model_param p ON p.model_id = m.id"
    " JOIN logged_model_tag t ON t.model_id = m.id JOIN logged_model_metric x ON x.model_id = m.id",
    "SELECT r.uid, m.uid, x.direction, x.step FROM run_model x JOIN run r ON r.id = x.run_id"
    " JOIN logged_model m ON m.id = x.model_id",
    "SELECT c.store, c.other_uid, r.uid, c.direction, c.synced_ms FROM counterpart c JOIN run r ON r.id = c.run_id",
    "SELECT * FROM counterpart_name",
    "SELECT c.text, c.a, s.sha256, c.line FROM claim c JOIN source s ON s.id = c.source_id",
    "SELECT r.uid, s.sha256, f.rule FROM finding f JOIN run r ON r.id = f.run_id JOIN source s ON s.id = f.source_id",
    "SELECT rule, evidence, created_ms FROM finding WHERE run_id IS NULL",
    "SELECT c.uid, p.uid FROM run c JOIN run p ON p.id = c.parent_id",
)


def test_a_name_that_is_taken_gets_a_number_and_keeps_it(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    take(database, write_log("here/a.log"), experiment="net")
    take(laptop, write_log("there/a.log", salt=5), experiment="net")
    done = bring(database, laptop)
    assert done.twins == 0 and set(runs_of(database)) == {"a", "a (2)"} and "is called a (2) here" in done.notes[0]
    assert len(database.rows("SELECT 1 FROM experiment WHERE name = 'net'")) == 1


def test_a_log_that_was_merged_is_known_where_it_lies(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    path = write_log("logs/a.log", epochs=3)
    take(laptop, path)
    bring(database, laptop)
    assert reader.paths(database, reader.sources(database, only_run(database).id)[0])[0].resolve() == path
    write_log("logs/a.log", epochs=5)
    outcome = take(database, path)
    assert [done.written.kind for done in outcome.done] == ["grown"]
    assert len(curve(database, only_run(database), "train/loss")) == 5


# Runs of both ---------------------------------------------------------------------------------------------------------


def test_a_run_that_grew_there_grows_here_by_what_is_new(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    path = write_log("logs/a.log", epochs=3)
    take(laptop, path)
    bring(database, laptop)
    write_log("logs/a.log", epochs=7)
    take(laptop, path)
    done = bring(database, laptop)
    assert (done.new, done.grown, done.points, done.conflicts) == (0, 1, 16, [])
    assert_same(state(database), state(laptop), moved=True)
    # Its log goes on here, too, from where it was.
    write_log("logs/a.log", epochs=9)
    assert [one.written.points for one in take(database, path).done] == [8]


def test_a_last_line_that_was_read_too_early_is_corrected(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    path = write_log("logs/a.log", epochs=3)
    lines = log_lines(4)
    with path.open("a") as file:
        file.write(lines[3][:20])
    take(laptop, path)
    bring(database, laptop)
    assert curve(database, only_run(database), "train/loss")[-1] == (3, 0.5)
    path.write_text("".join([*lines[:3], lines[3].replace("0.5000", "0.5123")]))
    take(laptop, path)
    done = bring(database, laptop)
    assert done.conflicts == []
    assert curve(database, only_run(database), "train/loss")[-1] == (3, 0.5123)


def test_of_two_corrections_the_later_one_stays_and_both_are_in_the_journal(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    take(laptop, write_log())
    bring(database, laptop)
    edit(laptop, "a", 100, name="there", tags={"x": "1"}, params={"lr": "1"})
    edit(database, "a", 50, name="here", note="mine")
    edit(database, "here", 200, params={"lr": "2"})
    done = bring(database, laptop)
    run = only_run(database)
    assert (run.name, run.note, dict(run.tags)["x"], dict(run.params)["lr"]) == ("there", "mine", "1", "2")
    assert sorted(done.conflicts) == [
        f"{run.uid[:8]} here: name: corrected on both sides, kept the later 'there', not 'here'",
        f"{run.uid[:8]} here: param lr: corrected on both sides, kept the later '2', not '1'",
    ]
    journal = database.rows("SELECT field, new FROM edit ORDER BY edited_ms, field")
    assert journal == [
        ("name", "here"),
        ("note", "mine"),
        ("name", "there"),
        ("param", "1"),
        ("tag", "1"),
        ("param", "2"),
    ]
    # The way back brings the same to the other side, with nothing left to say.
    assert bring(laptop, database).conflicts == []
    assert merge(database, laptop, 0).conflicts == []
    assert_same(state(laptop), state(database), moved=True)


def test_what_was_taken_away_by_hand_does_not_come_back(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    take(laptop, write_log(), tags={"t": "1", "u": "2"})
    bring(database, laptop)
    edit(database, "a", 5, tags={"t": ""})
    edit(laptop, "a", 6, tags={"u": ""})
    bring(database, laptop)
    assert dict(only_run(database).tags) == {}


def test_words_that_differ_without_a_journal_are_those_of_the_side_that_is_further(
    database: Database, laptop: Database
) -> None:
    uid = api_run(laptop, "running", {"loss": [1.0]}, tags={"state": "early"})
    bring(database, laptop)
    extend(laptop, uid, "loss", [0.5, math.nan, math.inf])
    with laptop.transaction() as connection:
        connection.execute("UPDATE tag SET value = 'late'")
        connection.execute("UPDATE run SET status = 'finished', ended_ms = 9")
    assert bring(database, laptop).conflicts == []
    run = only_run(database)
    assert (run.status, run.ended_ms, dict(run.tags)["state"]) == ("finished", 9, "late")
    assert_same(state(database), state(laptop), moved=True)
    with database.transaction() as connection:
        connection.execute("UPDATE tag SET value = 'mine'")
    done = bring(database, laptop)
    assert dict(only_run(database).tags)["state"] == "mine"
    assert done.conflicts == [f"{uid[:8]} api: tag state: kept 'mine', there it is 'late'"]


def test_points_that_each_side_added_are_all_kept(database: Database, laptop: Database) -> None:
    uid = api_run(laptop, "finished", {"loss": [3.0, 2.0]})
    bring(database, laptop)
    extend(laptop, uid, "loss", [1.0, math.nan])
    extend(database, uid, "loss", [1.5])
    done = bring(database, laptop)
    values = [value for _, value in curve(database, only_run(database), "loss")]
    assert values == [3.0, 2.0, 1.5, 1.0, None]
    assert "each side has points of its own" in done.conflicts[0]
    assert bring(laptop, database).points == 1
    assert sorted(map(str, curve(laptop, only_run(laptop), "loss"))) == sorted(
        map(str, curve(database, only_run(database), "loss"))
    )


def test_of_a_run_of_mlflow_s_the_greatest_value_at_the_last_step_and_time_stays_the_last(
    database: Database, laptop: Database
) -> None:
    uid = api_run(laptop, "finished", {"loss": [1.0]})
    laptop.connection.execute("UPDATE run SET origin = 'mlflow'")
    bring(database, laptop)
    for (metric_id,) in laptop.rows("SELECT id FROM metric"):
        laptop.connection.execute("UPDATE point SET value = 0.5 WHERE metric_id = ?", (metric_id,))
        laptop.connection.execute("UPDATE metric SET first_value = 0.5, last_value = 0.5, min_value = 0.5")
    bring(database, laptop)
    assert [value for _, value in curve(database, only_run(database), "loss")] == [0.5, 1.0]
    assert database.rows("SELECT last_value, count FROM metric WHERE key = 'loss'") == [(1.0, 2)]
    assert uid == only_run(database).uid


def test_a_removed_run_stays_what_it_is_on_each_side_and_that_is_said(
    database: Database, laptop: Database, write_log: WriteLog
) -> None:
    take(laptop, write_log())
    bring(database, laptop)
    editing.remove(laptop, [only_run(laptop).id], 7)
    done = bring(database, laptop)
    assert only_run(database).name == "a" and done.conflicts[0].endswith("removed there, kept here")


def test_what_was_deleted_for_good_does_not_come_back(
    database: Database, laptop: Database, tmp_path: Path, write_log: WriteLog
) -> None:
    two = tmp_path / "logs" / "two.log"
    two.parent.mkdir()
    two.write_text("".join([*log_lines(3), *log_lines(3, salt=7)]))
    take(laptop, two)
    bring(database, laptop)
    names = list(runs_of(database))
    assert len(names) == 2
    editing.purge(database, [runs_of(database)[names[1]].id])
    done = bring(database, laptop)
    assert done.purged == 1 and list(runs_of(database)) == [names[0]]
    # The mark travels, and takes nothing away where the run is still wanted.
    bring(laptop, database)
    assert len(runs_of(laptop)) == 2
    with Database.create(tmp_path / "third.db") as third:
        bring(third, database)
        assert [one.written.runs for one in take(third, two).done] == [0]


@pytest.mark.parametrize("host", ["laptop", None])
def test_a_run_that_goes_on_elsewhere_is_not_taken_for_lost(
    database: Database, laptop: Database, tmp_path: Path, host: str | None
) -> None:
    uid = api_run(laptop, "running", {"loss": [1.0]})
    with laptop.transaction() as connection:
        connection.execute(
            "INSERT INTO provenance (run_id, host, runner) SELECT id, ?, 'local' FROM run",
            (host or socket.gethostname(),),
        )
    bring(database, laptop)
    said = expdb_in(tmp_path)("ls").stdout
    assert ("running" if host else "killed") in said
    # However it was taken, how it ended there is what counts.
    extend(laptop, uid, "loss", [0.5])
    with laptop.transaction() as connection:
        connection.execute("UPDATE run SET status = 'finished', ended_ms = 9")
    assert bring(database, laptop).conflicts == []
    assert (only_run(database).status, only_run(database).ended_ms) == ("finished", 9)


# Laptop and server ----------------------------------------------------------------------------------------------------


def test_a_laptop_and_a_server_come_to_hold_the_same(postgres_url: str, laptop: Database, write_log: WriteLog) -> None:
    take(laptop, write_log("logs/a.log", epochs=30), params={"lr": "0.1", "note": "二"}, tags={"who": "lin"})
    take(laptop, Path(__file__).parent / "data" / "results.md")
    uid = api_run(laptop, "running", {"loss": [1.0, math.nan, math.inf]})
    edit(laptop, "a", 5, note="good")
    with laptop.transaction() as connection:
        for text in FILLING:
            connection.execute(text.replace(":a", "1").replace(":b", "2"))
    with open_database(postgres_url, create=True) as server:
        done = bring(server, laptop)
        assert done.new == len(laptop.rows("SELECT id FROM run")) and done.conflicts == []
        assert_same(state(server), state(laptop), moved=True)
        for text in HANGING:
            assert sorted(server.rows(text), key=repr) == sorted(laptop.rows(text), key=repr), text
        extend(server, uid, "loss", [0.5, -math.inf])
        edit(server, "a", 9, name="renamed", tags={"who": "wang"})
        take(laptop, write_log("logs/a.log", epochs=33))
        assert bring(laptop, server).points == 2
        assert bring(server, laptop).points == 12
        assert_same(state(server), state(laptop), moved=True)


# Any history ----------------------------------------------------------------------------------------------------------

VALUE = st.sampled_from([0.5, 1.5, math.nan, math.inf])
STEP = st.one_of(
    st.tuples(st.just("run"), st.integers(0, 1), st.integers(0, 3)),
    st.tuples(st.just("grow"), st.integers(0, 1), st.lists(VALUE, max_size=4)),
    st.tuples(st.just("edit"), st.integers(0, 1), st.sampled_from(["x", "y", ""])),
    st.tuples(st.just("merge"), st.integers(0, 1), st.none()),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(STEP, max_size=14))
def test_whatever_happened_on_both_sides_nothing_is_lost(tmp_path: Path, history: list[tuple[str, int, Any]]) -> None:
    folder = tmp_path / uuid4().hex
    with Database.create(folder / "a.db") as a, Database.create(folder / "b.db") as b:
        sides, made = (a, b), 0
        for now_ms, (what, side, more) in enumerate(history):
            ours = sides[side]
            runs = [uid for (uid,) in ours.rows("SELECT uid FROM run ORDER BY uid")]
            if what == "run":
                made += 1
                api_run(ours, "running", {"loss": [float(n) for n in range(more)]}, name=f"r{made}")
            elif what == "merge":
                merge(ours, sides[1 - side], now_ms)
            elif runs and what == "grow" and more:
                extend(ours, runs[now_ms % len(runs)], "loss", more)
            elif runs and what == "edit":
                edit(ours, runs[now_ms % len(runs)], now_ms, tags={"t": more}, note=more)
        points, journal = told(a, POINTS) | told(b, POINTS), told(a, EDITS) | told(b, EDITS)
        merge(a, b, 100)
        merge(b, a, 100)
        for side_ in sides:
            assert_sound(side_)
            assert told(side_, POINTS) == points and told(side_, EDITS) == journal
        assert merge(a, b, 100).grown == merge(b, a, 100).grown == 0
        # Corrections have a time, so that both sides come to say the same.
        assert told(a, TAGS) == told(b, TAGS)


POINTS = (
    "SELECT r.uid, m.key, p.step, p.value, p.time_ms FROM point p JOIN metric m ON m.id = p.metric_id"
    " JOIN run r ON r.id = m.run_id"
)
EDITS = "SELECT r.uid, e.edited_ms, e.field, e.key, e.new FROM edit e JOIN run r ON r.id = e.run_id"
TAGS = "SELECT r.uid, t.key, t.value FROM tag t JOIN run r ON r.id = t.run_id"


def told(database: Store, text: str) -> Counter[tuple[object, ...]]:
    return Counter(database.rows(text))


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_brought_and_a_dry_run_changes_nothing(
    database: Database, laptop: Database, tmp_path: Path, write_log: WriteLog
) -> None:
    take(laptop, write_log(epochs=4))
    expdb = expdb_in(tmp_path)
    before = state(database)
    other = str(laptop.path)
    said = expdb("db", "merge", other, "--dry-run")
    assert (said.returncode, said.stdout) == (
        0,
        "would bring 1 new run, 0 grown, 0 the same, 16 points, 1 new experiment\n",
    )
    assert_same(state(database), before)
    assert expdb("db", "merge", other).stdout == "1 new run, 0 grown, 0 the same, 16 points, 1 new experiment\n"
    assert expdb("db", "merge", other).stdout == "0 new runs, 0 grown, 1 the same, 0 points\n"
    edit(laptop, "a", 5, note="x")
    edit(database, "a", 6, note="y")
    said = expdb("db", "merge", other)
    assert "corrected on both sides, kept the later 'y', not 'x'" in said.stderr
    assert said.stdout.endswith("1 difference between the two, named above\n")


def test_a_merge_into_nothing_makes_the_database(laptop: Database, tmp_path: Path, write_log: WriteLog) -> None:
    take(laptop, write_log())
    said = expdb_in(tmp_path)("db", "merge", str(laptop.path), "--db", "new/team.db")
    assert said.returncode == 0
    assert_same(state(tmp_path / "new" / "team.db"), state(laptop), moved=True)


def test_wrong_words_are_refused(database: Database, tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    assert expdb("db", "merge", "nowhere.db").returncode == 3
    with pytest.raises(UsageError, match="not merged with itself"):
        merge(database, database, 0)
    assert expdb("db", "merge", "runs/../runs/expdb.db").returncode == 2
    shutil.copy(database.path, tmp_path / "old.db")
    with Database(tmp_path / "old.db", write=True) as old, old.transaction() as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    before = sorted(path.name for path in tmp_path.iterdir())
    said = expdb("db", "merge", str(database.path), "--db", "new.db", "--dry-run")
    assert said.stdout == "would bring 0 new runs, 0 grown, 0 the same, 0 points\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    refused = expdb("db", "merge", "old.db", "--db", "new.db")
    assert refused.returncode == 4 and "expdb db upgrade" in refused.stderr


# Killed ---------------------------------------------------------------------------------------------------------------

STRUCK = """
import os, signal, sys
from pathlib import Path
from expdb.store import merging
from expdb.store.opening import open_database
from expdb.store.sqlite import SqliteDatabase as Database
merging.RUNS_AT_ONCE = 3
done = 0
def step(runs):
    global done
    done += runs
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
with Database(Path(sys.argv[1]), write=True) as ours, Database(Path(sys.argv[2])) as theirs:
    merging.merge(ours, theirs, 0, step=step)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_merge_leaves_whole_runs_and_goes_on(
    database: Database, laptop: Database, tmp_path: Path, write_log: WriteLog
) -> None:
    take(laptop, *(write_log(f"logs/{n}.log", epochs=5, salt=n) for n in range(10)))
    for moment in (3, 6):
        code, _, _ = finish(python(STRUCK, database.path, laptop.path, str(moment)))
        assert code == -signal.SIGKILL
        assert len(runs_of(database)) == min(moment, 10)
        assert_sound(database)
    done = merge(database, laptop, 0)
    assert (done.new, done.same) == (4, 6)
    assert_same(state(database), state(laptop), moved=True)


@pytest.mark.soak
def test_kill_9_at_any_moment_of_a_merge_drill(database: Database, laptop: Database, write_log: WriteLog) -> None:
    take(laptop, *(write_log(f"logs/{n}.log", epochs=200, salt=n) for n in range(600)))
    command = [sys.executable, "-m", "expdb", "db", "merge", str(laptop.path), "--db", str(database.path)]
    chance = random.Random(1)
    for _ in range(30):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
        try:
            process.wait(chance.uniform(0.1, 2.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert_sound(database)
    merge(database, laptop, 0)
    assert_same(state(database), state(laptop), moved=True)


# Helpers --------------------------------------------------------------------------------------------------------------


def api_run(
    database: Store, status: str, curves: dict[str, list[float]], tags: dict[str, str] | None = None, name: str = "api"
) -> str:
    """A run as a client logs it: without a source; its uid."""
    birth = launched.Birth(f"{random.getrandbits(128):032x}", "net", name, "api", {"lr": "0.1"}, tags or {})
    writer = Writer(database, 0)
    with database.transaction():
        writer.begin()
        run_id, _ = launched.put_run(writer, birth, "running", 1)
        database.connection.execute("UPDATE run SET status = ? WHERE id = ?", (status, run_id))
    for key, values in curves.items():
        extend(database, birth.uid, key, values)
    return birth.uid


def extend(database: Store, uid: str, key: str, values: list[float]) -> None:
    """More values of one metric, made where there is none."""
    writer = Writer(database, 0)
    with database.transaction() as connection:
        writer.begin()
        (run_id,) = connection.execute("SELECT id FROM run WHERE uid = ?", (uid,)).fetchone()
        known = writer.open_metrics(run_id)
        metric = Metric(key, key, CURVE, None, "step")
        if key not in known:
            metric_id, first = writer.metric_id(), 0
            connection.execute(
                sql.INSERT_METRIC,
                (metric_id, run_id, key, key, key, CURVE, None, None, None, "step", 0, 0, *[None] * 9),
            )
        else:
            metric_id = known[key].id
            (first,) = connection.execute(sql.NEXT_SEQ, (metric_id,)).fetchone()
        steps = list(range(first, first + len(values)))
        times = [1000 + step for step in steps]
        curve = Curve(metric, steps, values, [None] * len(values), times_ms=times)
        if values:
            writer.insert([metric_id], first, None, [curve], 0)
        found = derived_summary(connection, metric_id)
        connection.execute(sql.UPDATE_METRIC, (None, None, *found.row(), metric_id))
