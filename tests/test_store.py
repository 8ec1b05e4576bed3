"""The store: statements against the declared schema, summaries against their definition, and runs found by name."""

import dataclasses
import math
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from conftest import WriteLog, log_lines
from drills import assert_sound, expdb, only_run, other_user, python, runs_of, take
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

from expdb.errors import AmbiguousError, DatabaseError, ExpdbError, NotFoundError, UsageError
from expdb.records import Summary
from expdb.store import editing, reader, statements, upkeep
from expdb.store.database import VERSION_TABLE
from expdb.store.places import located, stored
from expdb.store.reader import MetricRecord
from expdb.store.schema import VIEWS
from expdb.store.schema import statements as ddl
from expdb.store.sqlite import SqliteDatabase as Database
from expdb.store.sqlite import on_network

TABLES = SQLModel.metadata.tables

# The statements and the schema ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", statements.every())
def test_every_statement_prepares_against_the_declared_schema(database: Database, name: str) -> None:
    text = statements.every()[name]
    numbered = [int(number) for number in re.findall(r"\?(\d+)", text)]
    values = [None] * (max(numbered) if numbered else text.count("?"))
    assert database.rows(f"EXPLAIN {text}", values)


INSERTS = {
    name: found
    for name, text in statements.every().items()
    if (
        found := re.match(
            r"INSERT (?:OR \w+ )?INTO (\w+) \(([^)]+)\) VALUES (\(.+?\))(?: ON CONFLICT .+| RETURNING id)?$", text
        )
    )
}


@pytest.mark.parametrize("name", INSERTS)
def test_an_insert_names_the_columns_of_the_declared_table(name: str) -> None:
    table, columns, rows = INSERTS[name].groups()
    named = columns.split(", ")
    declared = TABLES[table].columns
    assert set(named) <= set(declared.keys())
    left_out = [column for column in declared if column.name not in named]
    assert all(column.nullable or column.primary_key for column in left_out)
    # Of these the hot path writes all there is; a column added to the class must not be forgotten here.
    if table in ("metric", "param", "tag", "point", "run_source", "source", "source_place"):
        assert left_out == []
    for row in re.findall(r"\(([^()]+)\)", rows):
        assert len(row.split(", ")) == len(named)


def test_every_insert_is_looked_at() -> None:
    assert len(INSERTS) == sum(text.startswith("INSERT") for text in statements.every().values()) > 6


def columns_of(database: Database, query: str, values: Sequence[None]) -> list[str]:
    return [column[0] for column in database.connection.execute(query, values).description]


def test_summaries_are_written_and_read_in_one_order(database: Database) -> None:
    numbers = [field.name for field in dataclasses.fields(Summary)]
    assert re.findall(r"\w+", INSERTS["INSERT_METRIC"][2])[-len(numbers) :] == numbers
    assert re.findall(r"(\w+) = \?", statements.UPDATE_METRIC)[-len(numbers) - 1 : -1] == numbers
    assert columns_of(database, statements.METRICS_OF_RUN, [None])[-len(numbers) :] == numbers
    record = [field.name for field in dataclasses.fields(MetricRecord)]
    assert columns_of(database, statements.SUMMARIES, [None]) == ["run_id", *record]


def test_the_created_database_is_the_declared_one(database: Database) -> None:
    made = {name for (name,) in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert made - {"sqlite_sequence", VERSION_TABLE} == set(TABLES)
    for name, table in TABLES.items():
        found = {row[1]: (bool(row[3]), bool(row[5])) for row in database.rows(f"PRAGMA table_info({name})")}
        assert found == {c.name: (not c.nullable, c.primary_key) for c in table.columns}, name
    assert database.rows("SELECT id, name FROM experiment") == [(0, "Default")]


def test_points_are_their_own_index(database: Database) -> None:
    (text,) = database.rows("SELECT sql FROM sqlite_master WHERE name = 'point'")[0]
    assert text.endswith("WITHOUT ROWID")
    plan = database.rows("EXPLAIN QUERY PLAN SELECT value FROM point WHERE metric_id = 1 ORDER BY seq")
    assert [row[3] for row in plan] == ["SEARCH point USING PRIMARY KEY (metric_id=?)"]


def test_columns_that_may_exceed_32_bits_are_bigint() -> None:
    columns = re.findall(r"^\t(\w+) ([A-Z]+)", "\n".join(ddl("postgresql")), re.MULTILINE)
    assert len(columns) > 100
    for name, kind in columns:
        wide = name.endswith(("_ms", "_bytes", "_step")) or name in ("step", "line", "seq", "count", "nonfinite")
        assert not wide or kind == "BIGINT", f"{name} is {kind}"
        assert name != "user", "a reserved word of PostgreSQL"


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_ddl_makes_every_table_and_view(dialect: str) -> None:
    made = re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", "\n".join(ddl(dialect)), re.MULTILINE)
    assert sorted(made) == sorted([*TABLES, *VIEWS, VERSION_TABLE])


def test_the_views_answer_what_a_person_asks(database: Database, write_log: WriteLog) -> None:
    take(database, write_log("logs/a.log", 4), write_log("logs/b.log", 2, salt=1), experiment="net")
    assert database.rows("SELECT experiment, run, metrics, points FROM run_summary ORDER BY run") == [
        ("net", "a", 4, 16),
        ("net", "b", 4, 8),
    ]
    assert database.rows("SELECT step, epoch, value, line FROM curve WHERE run = 'a' AND metric = 'train/loss'") == [
        (0, 0, 2.0, 1),
        (1, 1, 1.0, 2),
        (2, 2, 0.6667, 3),
        (3, 3, 0.5, 4),
    ]
    assert database.rows("SELECT experiment, runs, points FROM experiment_summary ORDER BY 1") == [
        ("Default", 0, 0),
        ("net", 2, 24),
    ]
    editing.remove(database, [runs_of(database)["a"].id], now_ms=1)
    assert database.rows("SELECT count(*), sum(points) FROM run_summary") == [(1, 8)]
    assert database.rows("SELECT count(*) FROM curve WHERE run = 'a'") == [(0,)]
    assert database.rows("SELECT runs, points FROM experiment_summary WHERE experiment = 'net'") == [(1, 8)]


# Opening --------------------------------------------------------------------------------------------------------------


def test_a_database_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for version, words, hint in (("999", "a newer expdb", "upgrade"), ("0", "an older expdb", "expdb db upgrade")):
        with Database.create(tmp_path / "fresh.db") as fresh, fresh.transaction() as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (version,))
        (tmp_path / "fresh.db").replace(path)
        for write in (False, True):
            with pytest.raises(DatabaseError, match=words) as refused:
                Database(path, write=write)
            assert hint in (refused.value.hint or "")
        said = expdb("ls", "--db", path, cwd=tmp_path)
        assert (said.returncode, said.stdout) == (4, "")
        assert words in said.stderr and hint in said.stderr


@pytest.mark.parametrize("damage", ["DELETE FROM meta", "UPDATE meta SET value = 'one'", "UPDATE meta SET value = ''"])
def test_a_database_without_its_version_is_refused_in_words(database: Database, damage: str) -> None:
    with database.transaction() as connection:
        connection.execute(damage)
    with pytest.raises(DatabaseError, match="does not say its schema's version"):
        Database(database.path)


MLFLOW_LIKE = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, experiment_id INTEGER);
CREATE TABLE metrics (key TEXT, value REAL, step BIGINT, run_uuid TEXT, PRIMARY KEY (key, step, run_uuid));
CREATE TABLE alembic_version (version_num TEXT);
INSERT INTO runs VALUES ('0123', 1);
"""


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path, write_log: WriteLog) -> None:
    path = tmp_path / "mlflow.db"
    foreign = sqlite3.connect(path)
    foreign.executescript(MLFLOW_LIKE)
    foreign.close()
    before = path.read_bytes()
    for words in (("ls",), ("ingest", str(write_log())), ("db", "check"), ("rm", "abcd")):
        said = expdb(*words, "--db", path, cwd=tmp_path)
        assert said.returncode == 4, words
        assert "is a SQLite database of another program" in said.stderr
        assert "Traceback" not in said.stderr
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, write_log: WriteLog) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database, " * 100, encoding="utf-8")
    before = path.read_bytes()
    for words in (("ls",), ("ingest", str(write_log()))):
        said = expdb(*words, "--db", path, cwd=tmp_path)
        assert (said.returncode, said.stderr.count("is not a SQLite database")) == (4, 1)
    assert path.read_bytes() == before


def blank_file(path: Path) -> None:
    path.touch()


def blank_database(path: Path) -> None:
    # What a creator leaves that was killed between its first page and its tables.
    blank = sqlite3.connect(path)
    blank.execute("PRAGMA journal_mode = WAL")
    blank.close()
    assert path.stat().st_size > 0


@pytest.mark.parametrize("make", [blank_file, blank_database])
def test_a_blank_database_is_filled_by_ingest_and_refused_by_others(
    tmp_path: Path, write_log: WriteLog, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.db")
    with pytest.raises(DatabaseError, match="is empty"):
        Database(tmp_path / "a.db")
    with Database.create(tmp_path / "a.db") as database:
        assert len(take(database, write_log()).done) == 1
        assert_sound(database)


def test_a_link_to_where_the_database_is_to_be_stays_a_link(tmp_path: Path, write_log: WriteLog) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.db").symlink_to(tmp_path / "disk" / "far.db")
    with Database.create(tmp_path / "a.db") as database:
        assert len(take(database, write_log()).done) == 1
    assert (tmp_path / "a.db").is_symlink()
    with Database(tmp_path / "disk" / "far.db") as database:
        assert_sound(database)


def test_a_damaged_file_is_called_damaged(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    take(database, write_log(epochs=2000))
    database.close()
    copy = tmp_path / "damaged.db"
    data = bytearray(database.path.read_bytes())
    data[4096:] = b"\xa5" * len(data[4096:])
    copy.write_bytes(data)
    for words in (("ls",), ("db", "check"), ("db", "info")):
        said = expdb(*words, "--db", copy, cwd=tmp_path)
        assert said.returncode == 4, (words, said.stderr)
        assert "damaged" in said.stderr and "Traceback" not in said.stderr


def long_name(folder: Path) -> Path:
    return folder / ("x" * 300)


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("text")
    return folder / "file" / "a.db"


@pytest.mark.parametrize("place", [Path, below_a_file, long_name])
def test_a_place_that_cannot_hold_a_database_is_refused_in_words(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    path = place(tmp_path)
    with pytest.raises(DatabaseError):
        Database.create(path)
    with pytest.raises(ExpdbError):
        Database(path)


def test_no_database_says_how_to_make_one(tmp_path: Path) -> None:
    said = expdb("ls", cwd=tmp_path)
    assert said.returncode == 3
    assert "expdb ingest" in said.stderr
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_a_read_only_folder_can_be_read_and_not_written(open_folder: Path) -> None:
    user, folder = other_user(), open_folder
    (folder / "a.log").write_text("".join(log_lines(3)))
    with Database.create(folder / "a.db") as database:
        take(database, folder / "a.log")
    try:
        folder.chmod(0o555)
        read = expdb("ls", "--db", folder / "a.db", cwd=folder, user=user)
        assert (read.returncode, read.stderr) == (0, "")
        assert "log" in read.stdout or "a " in read.stdout
        for words in (("ingest", "a.log", "--db", "a.db"), ("ingest", "a.log", "--db", "new/b.db")):
            refused = expdb(*words, cwd=folder, user=user)
            assert refused.returncode == 4, refused.stderr
            assert "Traceback" not in refused.stderr and "permission" in refused.stderr.lower()
    finally:
        folder.chmod(0o755)


def test_changes_beside_a_read_only_database_are_not_passed_over(open_folder: Path) -> None:
    user, folder = other_user(), open_folder
    (folder / "closed").mkdir()
    (folder / "a.log").write_text("".join(log_lines(3)))
    with Database.create(folder / "a.db") as database:
        database.rows("PRAGMA wal_autocheckpoint = 0")
        take(database, folder / "a.log")
        # As after a crash: the run is in the log beside the database only.
        for tail in ("", "-wal"):
            shutil.copy(folder / f"a.db{tail}", folder / "closed")
    assert (folder / "closed" / "a.db-wal").stat().st_size > 0
    (folder / "closed").chmod(0o555)
    said = expdb("ls", "--db", "closed/a.db", cwd=folder, user=user)
    assert said.returncode == 4, said.stdout
    assert "a.db-wal" in said.stderr and "Traceback" not in said.stderr
    (folder / "closed").chmod(0o777)
    (folder / "closed" / "a.db").chmod(0o666)
    (folder / "closed" / "a.db-wal").chmod(0o666)
    read = expdb("ls", "--db", "closed/a.db", cwd=folder, user=user)
    assert (read.returncode, "a" in read.stdout.split()) == (0, True)


def test_an_unfinished_write_is_not_read_past_its_lock(
    database: Database, write_log: WriteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without WAL, as on a network file system, a writer locks readers out.
    take(database, write_log())
    database.rows("PRAGMA journal_mode = DELETE")
    monkeypatch.setattr("expdb.store.sqlite.BUSY_S", 0.1)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM run")
    with pytest.raises(DatabaseError, match="locked by another process"):
        Database(database.path)
    other.execute("ROLLBACK")
    other.close()
    with Database(database.path) as again:
        assert only_run(again).name == "a"


MOUNTS = """\
sysfs /sys sysfs rw 0 0
/dev/sda1 / ext4 rw 0 0
broken
systemd-1 /data autofs rw 0 0
server:/data /data nfs4 rw 0 0
//box/My\\040Files /mnt/My\\040Files cifs rw 0 0
tmpfs /data/fast tmpfs rw 0 0
me@host:/ /home/me/far fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "far"),
    [
        ("/home/me/runs/expdb.db", False),
        ("/data/runs/expdb.db", True),
        ("/data/fast/expdb.db", False),
        ("/database/expdb.db", False),
        ("/mnt/My Files/expdb.db", True),
        ("/home/me/far/expdb.db", True),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(tmp_path: Path, path: str, far: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert on_network(Path(path), mounts) is far
    assert on_network(Path(path), tmp_path / "none") is False


def test_text_that_is_no_unicode_is_refused_in_words(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    odd = os.fsdecode(b"a\xff")
    with pytest.raises(UsageError, match="not valid text"):
        reader.find_run(database, odd)
    with pytest.raises(NotFoundError, match="no experiment is called"):
        reader.runs(database, odd)
    with pytest.raises(UsageError, match="not valid text"):
        editing.edit(database, only_run(database).id, editing.Changes(name=odd), 1)
    with pytest.raises(UsageError, match="not valid text"):
        take(database, write_log("logs/b.log", salt=1), params={"k": odd})
    assert only_run(database).name == "a"


# A person's own SQL ---------------------------------------------------------------------------------------------------

FORBIDDEN = [
    "DELETE FROM run",
    "UPDATE run SET name = 'x'",
    "INSERT INTO tag VALUES (1, 'a', 'b')",
    "DROP TABLE point",
    "CREATE TEMP TABLE x (y)",
    "CREATE TABLE x (y)",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA user_version = 7",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "SAVEPOINT x",
    "ATTACH 'other.db' AS other",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "REINDEX",
    "ANALYZE",
    "SELECT load_extension('x.so')",
    "SELECT 1; DELETE FROM run",
    "WITH x AS (SELECT 1) DELETE FROM run",
    "REPLACE INTO meta VALUES ('schema_version', '9')",
]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_sql_of_a_person_can_only_read(
    database: Database, write_log: WriteLog, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(database, write_log())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    # Even on a connection that may write.
    with pytest.raises(UsageError):
        database.ask(query)
    assert sorted(tmp_path.rglob("*")) == before
    with Database(database.path) as again:
        assert only_run(again).name == "a"
        assert again.rows("PRAGMA journal_mode") == [("wal",)]


def test_sql_of_a_person_reads_tables_views_and_their_columns(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    wanted = {
        "SELECT run, points FROM run_summary": [("a", 12)],
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n": [
            (1,),
            (2,),
            (3,),
        ],
        "VALUES (1), (2)": [(1,), (2,)],
        "PRAGMA table_info(meta)": [(0, "key", "VARCHAR", 1, None, 1), (1, "value", "VARCHAR", 1, None, 0)],
    }
    for query, rows in wanted.items():
        with Database(database.path) as opened:
            assert opened.ask(query).rows == rows


# Summaries ------------------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, math.nan, math.inf, -math.inf]), st.floats(allow_subnormal=False), st.just(1e308)
)
steps = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(2**62), 2**62))
times = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 2**50))
Point = tuple[int | None, float, int | None]


def defined(points: Sequence[Point]) -> Summary:
    """The summary by its definition, point by point."""
    out = Summary(count=len(points))
    best: tuple[float, float] = (-math.inf, -math.inf)
    for i, (step, value, time_ms) in enumerate(points):
        out.nonfinite += not math.isfinite(value)
        if i == 0:
            out.first_step, out.first_value = step, value
        order = (-math.inf if step is None else step, -math.inf if time_ms is None else time_ms)
        if order >= best:
            best = order
            out.last_step, out.last_value, out.last_time_ms = step, value, time_ms
        if not math.isnan(value):
            if out.min_value is None or value < out.min_value:
                out.min_step, out.min_value = step, value
            if out.max_value is None or value > out.max_value:
                out.max_step, out.max_value = step, value
    return out


def in_words(summary: Summary) -> dict[str, object]:
    """NaN equals nothing, so it is compared by its name."""
    return {k: str(v) if v != v else v for k, v in dataclasses.asdict(summary).items()}


def chunks(points: Sequence[Point], sizes: Sequence[int]) -> Iterator[Sequence[Point]]:
    at = 0
    for size in sizes:
        yield points[at : at + size]
        at += size
    yield points[at:]


@given(st.lists(st.tuples(steps, numbers, times), max_size=12), st.lists(st.integers(0, 5), max_size=5))
def test_a_summary_is_its_definition_however_the_points_arrive(points: list[Point], sizes: list[int]) -> None:
    summary = Summary()
    for piece in chunks(points, sizes):
        stamps = [time_ms for _, _, time_ms in piece]
        timed = any(time_ms is not None for time_ms in stamps)
        summary.add([step for step, _, _ in piece], [value for _, value, _ in piece], stamps if timed else None)
    assert in_words(summary) == in_words(defined(points))


@given(
    st.lists(st.tuples(st.integers(-5, 5), numbers), min_size=1, max_size=12), st.lists(st.integers(0, 5), max_size=5)
)
def test_a_summary_without_times_is_its_definition_too(points: list[tuple[int, float]], sizes: list[int]) -> None:
    summary = Summary()
    plain: list[Point] = [(step, value, None) for step, value in points]
    for piece in chunks(plain, sizes):
        summary.add(tuple(step for step, _, _ in piece), tuple(value for _, value, _ in piece))
    assert in_words(summary) == in_words(defined(plain))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that all examples of a property share."""
    with Database.create(tmp_path_factory.mktemp("shelf") / "a.db") as made:
        yield made


@settings(deadline=None, max_examples=60)
@given(points=st.lists(st.tuples(steps, numbers, times), min_size=1, max_size=12))
# writer.summary_from_points once took any(times) for "has times", which the first millisecond of 1970 has not.
@example(points=[(None, 0.5, 0), (None, 0.25, None)])
def test_the_check_derives_the_summary_that_was_stored(shelf: Database, points: list[Point]) -> None:
    summary = defined(points)
    with shelf.transaction() as connection:
        for table in ("point", "metric", "run"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute(
            "INSERT INTO run (id, uid, experiment_id, name, origin, status) VALUES (1, 'u', 0, 'r', '', '')"
        )
        said = (1, 1, "k", "k", "k", "curve", None, None, None, "epoch")
        connection.execute(statements.INSERT_METRIC, (*said, *summary.row()))
        rows = [(1, seq, step, value, time_ms) for seq, (step, value, time_ms) in enumerate(points)]
        connection.executemany("INSERT INTO point (metric_id, seq, step, value, time_ms) VALUES (?, ?, ?, ?, ?)", rows)
    assert [fault.text for fault in upkeep.check(shelf)] == []
    wrong = dataclasses.replace(summary, count=summary.count + 1)
    with shelf.transaction() as connection:
        connection.execute(statements.UPDATE_METRIC, (None, None, *wrong.row(), 1))
    assert len(upkeep.check(shelf)) == 1, "the check can fail"


# Reading while others write -------------------------------------------------------------------------------------------


def test_a_list_of_runs_is_of_one_moment(database: Database, write_log: WriteLog) -> None:
    take(database, write_log("logs/a.log"))
    more = iter([write_log("logs/b.log", salt=1), write_log("logs/c.log", salt=2)])
    with Database(database.path) as looking:

        def commit_in_between(query: str) -> None:
            # As another process would, between two of the queries that make up the list.
            if "FROM param" in query or "FROM metric" in query:
                for path in more:
                    take(database, path, params={"lr": "0.1"})

        looking.connection.set_trace_callback(commit_in_between)
        found = reader.runs(looking)
        looking.connection.set_trace_callback(None)
        assert [run.name for run in found] == ["a"]
        assert [len(run.metrics) for run in reader.runs(looking)] == [4, 4, 4]


def test_a_run_that_was_purged_meanwhile_is_not_found(database: Database, write_log: WriteLog) -> None:
    take(database, write_log())
    run = only_run(database)
    editing.purge(database, [run.id])
    with pytest.raises(NotFoundError, match="purged"):
        reader.run(database, run.id)
    with pytest.raises(NotFoundError, match="purged"):
        editing.edit(database, run.id, editing.Changes(note="n"), 1)
    assert not inside(database)


def test_a_view_ends_with_its_block_also_after_an_error(database: Database) -> None:
    with pytest.raises(DatabaseError, match="no such table"), database.view():
        database.rows("SELECT 1 FROM nowhere")
    assert not inside(database)
    with database.view():
        with database.view():
            assert inside(database)
        assert inside(database)
    assert not inside(database)


def inside(database: Database) -> bool:
    return database.connection.in_transaction


def test_a_transaction_happens_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
        raise ZeroDivisionError
    assert database.rows("SELECT key FROM meta") == [("schema_version",)]


# Runs by name ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(database: Database, write_log: WriteLog) -> Database:
    """Runs a, b and c of experiment x, and another a of experiment y; uids 00010000..., 00020000..., ..."""
    take(database, *(write_log(f"logs/{name}.log", salt=ord(name)) for name in "abc"), experiment="x")
    take(database, write_log("other/a.log", salt=1), experiment="y")
    with database.transaction() as connection:
        connection.execute("UPDATE run SET uid = printf('%04d', id) || substr(uid, 5)")
    return database


def test_a_run_is_found_by_uid_prefix_name_or_age(named: Database) -> None:
    b = runs_of(named)["b"]
    for text in ("b", b.uid, b.uid[:4], b.uid[:9].upper(), "@3"):
        assert reader.find_run(named, text) == b.id, text
    assert reader.run(named, reader.find_run(named, "@1")).experiment == "y"


def test_an_ambiguous_run_prints_its_candidates(named: Database) -> None:
    with pytest.raises(AmbiguousError) as refused:
        reader.find_run(named, "a")
    assert [line.partition("  ")[2] for line in refused.value.candidates] == ["x / a", "y / a"]
    with named.transaction() as connection:
        connection.execute("UPDATE run SET uid = 'abcd' || substr(uid, 5)")
    with pytest.raises(AmbiguousError, match="4 runs"):
        reader.find_run(named, "ABCD")


@pytest.mark.parametrize(
    "text",
    ["", "000", "@0", "@5", "@-1", "@x", "@", "@99999999999999999999", "0%", "____", "%%%%", "zzzz", "@" + "1" * 5000],
)
def test_what_names_no_run_is_not_found(named: Database, text: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        reader.find_run(named, text)
    assert not isinstance(refused.value, AmbiguousError)


def test_a_removed_run_is_told_from_one_that_never_was(named: Database) -> None:
    b = runs_of(named)["b"]
    editing.remove(named, [b.id], now_ms=1)
    for text in ("b", b.uid[:6]):
        with pytest.raises(NotFoundError) as refused:
            reader.find_run(named, text)
        assert "expdb restore" in (refused.value.hint or "")
        assert reader.find_run(named, text, removed=True) == reader.find_run(named, text, removed=None) == b.id
    for text in ("", "0", "%", "____", "_002"):
        with pytest.raises(NotFoundError) as refused:
            reader.find_run(named, text)
        assert "expdb restore" not in (refused.value.hint or ""), text
    with pytest.raises(NotFoundError):
        reader.find_run(named, "c", removed=True)
    assert reader.run(named, reader.find_run(named, "@3")).name == "a", "removed runs are not counted"


def test_a_name_goes_before_a_uid_prefix(named: Database) -> None:
    c = runs_of(named)["c"]
    editing.edit(named, c.id, editing.Changes(name="0001"), 1)
    assert reader.find_run(named, "0001") == c.id


def test_params_keep_their_order_wherever_they_are_read(database: Database, write_log: WriteLog) -> None:
    take(database, write_log(), params={"z": "1", "a": "2", "m": "3"})
    run = only_run(database)
    assert list(run.params) == list(reader.run(database, run.id).params) == ["z", "a", "m"]


def test_an_unknown_experiment_or_metric_names_those_there_are(named: Database) -> None:
    with pytest.raises(NotFoundError) as refused:
        reader.runs(named, "z")
    assert refused.value.hint == "experiments: Default, x, y"
    with pytest.raises(NotFoundError, match="has no metric 'nothing'") as refused:
        reader.metric_of(named, runs_of(named)["b"], "nothing")
    assert "test/accuracy" in (refused.value.hint or "")
    record = runs_of(named)["b"]
    assert reader.metric_of(named, record, "use time") == reader.metric_of(named, record, "epoch_time")


# Places ---------------------------------------------------------------------------------------------------------------

file_names = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name)
folders = st.lists(file_names.filter(lambda name: name not in (b".", b"..")), max_size=5)


@given(folders, file_names.filter(lambda name: name not in (b".", b"..")), folders)
def test_a_place_is_found_again_whatever_its_name(above: list[bytes], name: bytes, beside: list[bytes]) -> None:
    database = Path(os.fsdecode(b"/" + b"/".join([*beside, b"expdb.db"])))
    path = Path(os.fsdecode(b"/" + b"/".join([*above, name])))
    text = stored(path, database)
    text.encode()
    assert located(text, database) == path
    assert text != "-"


def test_places_move_with_the_project(tmp_path: Path) -> None:
    database = tmp_path / "project" / "runs" / "expdb.db"
    assert stored(tmp_path / "project" / "logs" / "a.log", database) == "../logs/a.log"
    moved = tmp_path / "elsewhere" / "runs" / "expdb.db"
    assert located("../logs/a.log", moved) == tmp_path / "elsewhere" / "logs" / "a.log"
    assert stored(Path("/var/log/a.log"), Path("/home/me/project/runs/expdb.db")) == "/var/log/a.log"


def test_a_log_is_found_again_where_the_database_folder_is_a_link(tmp_path: Path, write_log: WriteLog) -> None:
    (tmp_path / "disk" / "far" / "away").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk" / "far" / "away")
    with Database.create(tmp_path / "runs" / "expdb.db") as database:
        take(database, write_log())
        assert upkeep.check(database) == []


def test_names_that_look_like_ours_stay_file_names(tmp_path: Path) -> None:
    database = tmp_path / "expdb.db"
    for name in ("-", "bytes:%41", "./-", "bytes:", "-x"):
        assert located(stored(tmp_path / name, database), database) == tmp_path / name


# Processes ------------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_long_query_as_interrupted(database: Database, tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    script = (
        "import sys, threading, _thread; threading.Timer(0.3, _thread.interrupt_main).start();"
        "sys.argv[0] = 'expdb'; from expdb.cli import main; main()"
    )
    process = python(script, "sql", endless, "--db", str(database.path))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
