"""The schema on a real PostgreSQL, which the fixture starts on a socket of its own and stops again."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from commands import environment, expdb_in
from conftest import WriteLog, log_lines, requires
from drills import assert_same, state, take
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

import expdb
from expdb import address
from expdb.errors import DatabaseError, NotFoundError, UsageError
from expdb.records import Curve, Metric
from expdb.store import columns, editing, reader, statements, upkeep
from expdb.store.database import SCHEMA_VERSION, VERSION_TABLE, Database
from expdb.store.opening import exists, open_database
from expdb.store.postgres import PostgresDatabase, create_schema, translated
from expdb.store.schema import IN_ORDER, VIEWS
from expdb.store.writer import Writer

TABLES = SQLModel.metadata.tables


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Any]:
    """A connection to a database with our schema, whose changes end with the test."""
    import psycopg

    create_schema(server(postgres_url))
    with psycopg.connect(postgres_url) as connection:
        yield connection
        connection.rollback()


def server(url: str) -> address.Server:
    """The URL as the store takes it."""
    return address.server(url, Path("runs"))


@pytest.fixture
def shared(postgres_url: str) -> Iterator[PostgresDatabase]:
    """An empty database on the server, open for writing."""
    with PostgresDatabase.create(server(postgres_url)) as made:
        yield made


def fill(postgres: Any) -> None:
    """One run with one curve, on the edge of what the columns hold."""
    postgres.execute("INSERT INTO experiment (id, name, created_ms, updated_ms) VALUES (1, 'net', 1, %s)", (2**41,))
    postgres.execute(
        "INSERT INTO run (id, uid, experiment_id, name, origin, status, seed, started_ms)"
        " VALUES (1, 'u1', 1, 'a', 'log', 'finished', %s, %s)",
        (2**62, 2**41),
    )
    postgres.execute(
        "INSERT INTO metric (id, run_id, key, name, label, kind, step_unit, count, nonfinite, last_step, last_value)"
        " VALUES (1, 1, 'loss', 'train/loss', 'loss', 'curve', 'epoch', 4, 2, %s, 0.5)",
        (2**33,),
    )
    values = [(0, 0, 0.5), (1, 2**31, None), (2, 2**33, math.inf), (3, 2**62, -math.inf)]
    with postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO point (metric_id, seq, step, value, source_no, line) VALUES (1, %s, %s, %s, 1, 1)", values
        )


def test_tables_and_columns_are_the_declared_ones(postgres: Any) -> None:
    rows = postgres.execute(
        "SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns"
        " JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    ).fetchall()
    found: dict[str, dict[str, bool]] = {}
    for table, column, nullable in rows:
        found.setdefault(table, {})[column] = nullable
    assert found.pop(VERSION_TABLE) == {"version_num": False}
    declared = {name: {c.name: bool(c.nullable) for c in t.columns} for name, t in TABLES.items()}
    assert found == declared | {name: declared[name] | {"rowid": False} for name in IN_ORDER}
    views = postgres.execute("SELECT table_name FROM information_schema.views WHERE table_schema = 'public'").fetchall()
    assert {name for (name,) in views} == set(VIEWS)
    assert postgres.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall() == [
        (str(SCHEMA_VERSION),)
    ]
    assert postgres.execute("SELECT id, name FROM experiment").fetchall() == [(0, "Default")]


def test_large_steps_infinities_and_missing_values_come_back(postgres: Any) -> None:
    fill(postgres)
    assert postgres.execute("SELECT step, value FROM point ORDER BY seq").fetchall() == [
        (0, 0.5),
        (2**31, None),
        (2**33, math.inf),
        (2**62, -math.inf),
    ]
    postgres.execute("INSERT INTO point (metric_id, seq, value) VALUES (1, 4, 'NaN')")
    (value,) = postgres.execute("SELECT value FROM point WHERE seq = 4").fetchone()
    assert math.isnan(value)
    assert postgres.execute("SELECT count(*) FROM point WHERE value IS NULL").fetchone() == (1,)
    # A value is stored with every digit that a float has.
    postgres.execute("UPDATE point SET value = %s WHERE seq = 0", (0.1 + 0.2,))
    assert postgres.execute("SELECT value FROM point WHERE seq = 0").fetchone() == (0.1 + 0.2,)


def test_the_views_answer(postgres: Any) -> None:
    fill(postgres)
    assert postgres.execute("SELECT experiment, run, metrics, points, seed FROM run_summary").fetchall() == [
        ("net", "a", 1, 4, 2**62)
    ]
    assert postgres.execute("SELECT step, epoch, value FROM curve WHERE metric = 'train/loss' ORDER BY seq").fetchall()[
        :2
    ] == [(0, 0.0, 0.5), (2**31, 2.0**31, None)]
    assert postgres.execute(
        "SELECT experiment, runs, metrics, points FROM experiment_summary ORDER BY 1"
    ).fetchall() == [
        ("Default", 0, 0, 0),
        ("net", 1, 1, 4),
    ]
    postgres.execute("UPDATE run SET deleted_ms = 1")
    assert postgres.execute("SELECT count(*) FROM run_summary").fetchone() == (0,)


def test_a_param_and_a_tag_may_be_as_long_as_a_pasted_configuration(postgres: Any) -> None:
    fill(postgres)
    # Random-looking, so that it cannot be compressed into an index row.
    value = "".join(f"{i * 2654435761 % 2**32:08x}" for i in range(37_500))
    assert len(value) == 300_000
    for table in ("param", "tag"):
        postgres.execute(f"INSERT INTO {table} (run_id, key, value) VALUES (1, 'config', %s)", (value,))
        assert postgres.execute(f"SELECT value FROM {table}").fetchone() == (value,)
    postgres.execute("UPDATE run SET note = %s", (value,))


def test_numbers_give_themselves_and_keys_are_unique(postgres: Any) -> None:
    import psycopg

    fill(postgres)
    (made,) = postgres.execute(
        "INSERT INTO source (sha256, size_bytes, line_count, format, parser_version, encoding, unparsed, ingested_ms)"
        " VALUES ('s', %s, %s, 'log', 1, 'utf-8', 0, 0) RETURNING id",
        (2**40, 2**33),
    ).fetchone()
    assert made == 1
    for text in (
        "INSERT INTO experiment (name, created_ms, updated_ms) VALUES ('net', 0, 0)",
        "INSERT INTO point (metric_id, seq) VALUES (1, 0)",
        "INSERT INTO metric (run_id, key, name, label, kind, step_unit, count, nonfinite)"
        " VALUES (1, 'loss', '', '', '', '', 0, 0)",
    ):
        with pytest.raises(psycopg.errors.IntegrityError), postgres.transaction():
            postgres.execute(text)
    # References are looked at when all is written.
    postgres.execute("INSERT INTO param (run_id, key, value) VALUES (99, 'a', 'b')")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        postgres.execute("SET CONSTRAINTS ALL IMMEDIATE")


# Opening --------------------------------------------------------------------------------------------------------------


def test_a_database_is_made_once_and_by_whoever_comes_first(postgres_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "expdb", "ingest", str(tmp_path / "a.log"), "--db", postgres_url]
    (tmp_path / "a.log").write_text("".join(log_lines(3)))
    with pytest.raises(NotFoundError, match="no database of expdb's"):
        open_database(postgres_url)
    assert not exists(server(postgres_url))
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    with open_database(postgres_url) as made:
        assert made.rows("SELECT count(*) FROM run") == [(1,)]
    assert exists(server(postgres_url))


def test_a_creation_that_fails_half_way_leaves_nothing(postgres_url: str) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE run_summary (x int)")
    with pytest.raises(DatabaseError, match="run_summary"):
        open_database(postgres_url, create=True)
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("run_summary",)]
        connection.execute("CREATE TABLE meta (x int)")
    with pytest.raises(DatabaseError, match="another program"):
        open_database(postgres_url, create=True)


@pytest.mark.parametrize(
    ("version", "words"), [("999", "a newer expdb"), ("0", "an older expdb"), ("x", "does not say")]
)
def test_a_database_of_another_version_says_what_to_do(shared: Database, version: str, words: str) -> None:
    with shared.transaction() as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (version,))
    with pytest.raises(DatabaseError, match=words) as refused:
        open_database(shared.address)
    assert refused.value.hint


def test_who_opens_it_for_reading_cannot_write(shared: Database) -> None:
    with open_database(shared.address) as opened:
        for statement in ("DELETE FROM run", "CREATE TABLE x (y int)", "TRUNCATE run"):
            with pytest.raises(DatabaseError, match="for reading only"):
                opened.rows(statement)
        with pytest.raises(DatabaseError, match="for reading only"), opened.transaction() as connection:
            connection.execute("DELETE FROM run")


PASSWORDS = [
    "postgresql://me:secret@/db?host={folder}",
    "postgresql://me:secret%40@127.0.0.1:1/db",
    "postgresql://me:se@cret/secret@127.0.0.1:1/db",
    "postgres://me@127.0.0.1:1/db?password=secret",
    "expdb+postgresql://me:se%cret-secret@127.0.0.1:1/db",
    "postgresql://me:secret@host:port/db",
    "mysql://me:secret@host/db",
    "postgresql://me:secret@[::1/db",
]


def test_an_address_whose_password_ends_early_is_refused_before_it_is_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="written %40") as refused:
        address.server("postgresql://anna:s3cr@etAnna@127.0.0.1:1/results", tmp_path)
    assert "s3cr" not in refused.value.message and "etAnna" not in refused.value.message


@pytest.mark.parametrize("url", PASSWORDS)
def test_no_message_holds_a_password(tmp_path: Path, url: str) -> None:
    requires("postgres", find_spec("psycopg"), "psycopg is not installed")
    (tmp_path / "a.log").write_text("".join(log_lines(3)))
    said = expdb_in(tmp_path)("ingest", "a.log", "--db", url.format(folder=tmp_path), env={"EXPDB_DEBUG": ""})
    assert said.returncode in (2, 4) and "Traceback" not in said.stderr
    assert "secret" not in said.stdout + said.stderr
    assert said.stderr.count("\n") == 2


@given(st.text(min_size=1).map(lambda text: f"pw{text}wp"), st.booleans())
@example("pw@/:?wp", True)
def test_an_address_is_shown_without_its_password(password: str, quoted: bool) -> None:
    from urllib.parse import quote

    said = quote(password, safe="") if quoted else re.sub(r"[?@]", "", password)
    for url in (
        f"postgresql://me:{said}@host/db?x=1",
        f"postgresql://me@host/db?x=1&password={quote(password, safe='')}",
    ):
        assert address.without_password(url) == "postgresql://me@host/db?x=1"


def test_without_psycopg_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['psycopg'] = None\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    said = expdb_in(tmp_path)("ls", "--db", "postgresql://me@host/db", env={"PYTHONPATH": path})
    assert said.returncode == 1
    assert said.stderr == "expdb: this needs psycopg, which is not installed\n  pip install 'expdb[postgres]'\n"
    # As with `pip install psycopg` on a machine without libpq.
    path = os.pathsep.join([str(tmp_path), *sys.path])
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['PSYCOPG_IMPL'] = 'nonsense'\n")
    said = expdb_in(tmp_path)("ls", "--db", "postgresql://me@host/db", env={"PYTHONPATH": path})
    assert said.returncode == 1 and "psycopg does not work here" in said.stderr


def test_a_connection_that_the_server_closed_is_opened_again(shared: PostgresDatabase, postgres_url: str) -> None:
    import psycopg

    ((number,),) = shared.rows("SELECT pg_backend_pid()")
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (number,))
    with pytest.raises(DatabaseError, match="PostgreSQL says"), shared.transaction() as connection:
        connection.execute("SELECT 1")
    with shared.transaction() as connection:
        connection.execute("UPDATE experiment SET note = 'again'")
    assert shared.rows("SELECT note FROM experiment") == [("again",)]


# Statements and values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in statements.every() if not name.startswith("insert_points")])
def test_every_statement_of_the_store_is_one_of_postgresqls(shared: PostgresDatabase, name: str) -> None:
    shared.connection.live().execute("PREPARE one AS " + translated(statements.every()[name]))


def test_what_stands_in_quotes_is_no_place_for_a_value() -> None:
    assert translated("SELECT '?', '??1' WHERE a = ? AND b = ?") == "SELECT '?', '??1' WHERE a = $1 AND b = $2"
    assert translated("SELECT ?2, ?1") == "SELECT $2, $1"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=30)
@given(st.lists(st.tuples(WORDS, WORDS), max_size=4))
@example([("'; DROP TABLE run; --", "$1 ? ?1 %s {0} \\ \" '")])
@example([("nul", "a\0b")])
def test_a_hostile_value_is_a_value(hostile: PostgresDatabase, words: list[tuple[str, str]]) -> None:
    pairs = {key.replace("\0", "␀"): value for key, value in words}
    with hostile.transaction() as connection:
        connection.execute("DELETE FROM tag")
        connection.executemany(statements.PUT_TAG, [(1, key, value) for key, value in pairs.items()])
        connection.executemany(statements.PUT_PARAM, [(1, key, value, None) for key, value in pairs.items()])
    # PostgreSQL's text has no NUL: its picture is stored.
    wanted = [(key, value.replace("\0", "␀")) for key, value in pairs.items()]
    assert hostile.rows("SELECT key, value FROM tag ORDER BY rowid") == wanted
    for key, value in pairs.items():
        assert hostile.rows("SELECT value FROM tag WHERE key = ? AND value = ?", (key, value))


@pytest.fixture(scope="module")
def hostile(postgres_server: Path) -> Iterator[PostgresDatabase]:
    """A database with one run."""
    import psycopg

    with psycopg.connect(host=str(postgres_server), user="expdb", dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE hostile")
    with PostgresDatabase.create(server(f"postgresql://expdb@/hostile?host={postgres_server}")) as made:
        with made.transaction() as at:
            at.execute(
                "INSERT INTO run (id, uid, experiment_id, name, origin, status)"
                " VALUES (1, 'u', 0, 'a', 'log', 'finished')"
            )
        yield made


def test_text_that_is_none_and_numbers_that_are_too_large_are_refused_in_words(shared: Database) -> None:
    with pytest.raises(UsageError, match="not valid text"):
        shared.rows("SELECT 1 FROM run WHERE name = ?", ("\udcff",))
    with pytest.raises(UsageError, match="larger than any"):
        shared.rows("SELECT 1 FROM run WHERE seed = ?", (2**70,))
    with pytest.raises(OverflowError), shared.transaction() as connection:
        connection.execute("UPDATE run SET seed = ?", (2**63,))
        connection.execute("UPDATE experiment SET updated_ms = ?", (2**63,))


NUMBERS = st.one_of(st.none(), st.floats())
WHOLE = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
POINTS = st.lists(st.tuples(WHOLE, NUMBERS, WHOLE, NUMBERS, WHOLE), min_size=1, max_size=6)


@settings(max_examples=40)
@given(POINTS, st.one_of(st.none(), st.just(1)), st.integers(0, 3), st.booleans())
@example([(1, 0.5, 7, None, None), (2, math.inf, 8, None, None)], 1, 0, False)
@example([(1, 0.5, 7, None, None), (2, math.nan, 8, None, None)], 1, 1, False)
def test_points_come_back_as_they_were_copied(
    hostile: PostgresDatabase,
    points: list[tuple[int | None, float | None, int | None, float | None, int | None]],
    source_no: int | None,
    start: int,
    timed: bool,
) -> None:
    steps, values, lines, epochs, times = (list(column) for column in zip(*points, strict=True))
    numbers = [math.nan if value is None else value for value in values]
    metric = Metric("loss", "train/loss", "curve", None, "epoch")
    curve = Curve(metric, steps, numbers, lines, None, epochs if timed else None, times if timed else None)
    start = min(start, len(points))
    with hostile.transaction() as connection:
        connection.execute("DELETE FROM point")
        hostile.put_points([5], 3, source_no, [curve], start)
        # What was sent late is there for whoever looks.
        (count,) = connection.execute("SELECT count(*) FROM point").fetchone()
        assert count == len(points) - start
    wanted = [
        (3 + i, step, _null(epoch) if timed else None, _null(value), time_ms if timed else None, source_no, line)
        for i, (step, value, line, epoch, time_ms) in enumerate(points[start:])
    ]
    query = "SELECT seq, step, epoch, value, time_ms, source_no, line FROM point ORDER BY seq"
    assert hostile.rows(query) == wanted


def _null(number: float | None) -> float | None:
    return None if number is None or math.isnan(number) else number


def test_a_number_beyond_64_bits_is_no_point(shared: PostgresDatabase) -> None:
    metric = Metric("loss", "train/loss", "curve", None, "epoch")
    for step in (2**63, -(2**63) - 1):
        with pytest.raises(OverflowError), shared.transaction():
            shared.put_points([1], 0, 1, [Curve(metric, [step], [0.5], [1], None)], 0)
    assert shared.rows("SELECT count(*) FROM point") == [(0,)]


# The same as with SQLite ----------------------------------------------------------------------------------------------


def test_the_commands_say_the_same_on_both(tmp_path: Path, postgres_url: str, write_log: WriteLog) -> None:
    """One story, told to a file and to a server: every table is the same, but for uids, the clock and the place."""
    logs = tmp_path / "logs"
    for salt in range(3):
        write_log(f"logs/run{salt}.log", epochs=4 + salt, salt=salt)
    (logs / "diverged.log").write_text("epoch 1, loss 0.5\nepoch 2, loss nan\nepoch 3, loss inf\nunterminated 4")
    (logs / "page.md").write_text("# Nets\n\n| net | Acc |\n|---|---|\n| a | 91.2 |\n| b | 92.4 |\n")
    story: list[list[str] | Callable[[], object]] = [
        ["ingest", "logs", "-e", "net", "-s", "lr=0.1", "-t", "who=me"],
        ["ingest", "logs"],
        lambda: (logs / "run0.log").write_text("".join(log_lines(9))),
        lambda: (logs / "run1.log").write_text("".join(log_lines(5, salt=7))),
        ["ingest", "logs", "-e", "net"],
        ["ingest", "logs/run0.log", "-e", "net", "--again"],
        ["ingest", "logs/run2.log", "-e", "net", "--copy"],
        ["edit", "run0", "--note", "a note", "-s", "lr=0.2", "-t", "tag=ä ␀", "--unit", "train/loss=percent"],
        ["edit", "a", "--metric", "Acc=90.1"],
        ["compare", "--columns", "run,lr,best(test/accuracy),tail(train/loss, 3),at(train/loss, 2)", "-w", "lr > 0"],
        ["compare", "--group-by", "lr", "--select", "best,last,tail:2", "--columns", "lr,test/accuracy,train/loss"],
        ["compare", "--like", "logs/page.md"],
        ["ls", "--experiments"],
        ["show", "run0"],
        ["show", "diverged"],
        ["blame", "run0", "train/loss", "3"],
        ["blame", "a", "Acc"],
        ["diff", "run0", "run2"],
        ["rm", "run2", "run2 (2)"],
        ["ls"],
        ["rm", "--purge"],
        ["ingest", "logs", "-e", "net"],
        ["db", "check"],
        ["sql", "SELECT experiment, runs, metrics, points FROM experiment_summary ORDER BY 1"],
        ["sql", "DELETE FROM run"],
    ]
    begun = {path.name: path.read_bytes() for path in logs.iterdir()}
    told: list[list[tuple[int, str, str]]] = []
    for db in ("runs/expdb.db", postgres_url):
        for name, content in begun.items():
            (logs / name).write_bytes(content)
        told.append([])
        for step in story:
            if callable(step):
                step()
                continue
            said = expdb_in(tmp_path)(*step, "--db", db, env={"EXPDB_NOW": "2026-01-31T12:00:00Z", "TZ": "UTC"})
            # A server is nowhere among the files: places are absolute there.
            out, err = (_same(text.replace(f"{logs}/", "../logs/"), db) for text in (said.stdout, said.stderr))
            told[-1].append((said.returncode, out, err))
    words = [step for step in story if not callable(step)]
    for said_by_sqlite, said_by_server, step in zip(*told, words, strict=True):
        assert said_by_server == said_by_sqlite, step
    with open_database(tmp_path / "runs/expdb.db") as ours, open_database(postgres_url) as theirs:
        assert_same(state(theirs), state(ours), moved=True)


def _same(text: str, db: str) -> str:
    return re.sub(r"\b[0-9a-f]{8}([0-9a-f]{24})?\b", "UID", text.replace(db, "DATABASE"))


def test_the_api_reads_what_was_read_from_logs(shared: Database, database: Database, write_log: WriteLog) -> None:
    pytest.importorskip("pandas")
    for opened in (shared, database):
        take(opened, write_log("logs/a.log", 40), write_log("logs/b.log", 3, salt=2), experiment="net")
    with expdb.open(os.fspath(address_of(shared))) as theirs, expdb.open(os.fspath(address_of(database))) as ours:
        assert theirs.runs().drop(columns="uid").equals(ours.runs().drop(columns="uid"))
        assert theirs.points().drop(columns=["uid"]).equals(ours.points().drop(columns=["uid"]))


def address_of(database: Database) -> str:
    """What a script names."""
    return database.address.url if isinstance(database.address, address.Server) else str(database.address)


def test_what_diverged_from_the_first_step_has_no_numbers(shared: Database, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("".join(f"epoch {n}, loss nan, x\0y 1.5\n" for n in range(3)), encoding="utf-8")
    take(shared, tmp_path / "a.log")
    ((*numbers,),) = shared.rows("SELECT count, nonfinite, last_value, min_value FROM metric WHERE name = 'train/loss'")
    assert numbers == [3, 3, None, None]
    assert upkeep.check(shared) == []


def test_many_points_are_read_in_batches(shared: Database, write_log: WriteLog) -> None:
    take(shared, write_log("logs/a.log", 5000))
    run = reader.run(shared, reader.find_run(shared, "a"))
    with shared.view():
        read = [len(one.values) for one in columns.points(shared, [metric.id for metric in run.metrics])]
        assert sum(read) == 20_000 and max(read) == columns.BATCH
        # One while another is.
        query = "SELECT seq FROM point WHERE metric_id = ? ORDER BY seq"
        both = zip(shared.batches(query, (1,), 100), shared.batches(query, (2,), 100), strict=True)
        assert all(a == b for a, b in both)


def test_an_address_in_a_file_is_found_and_what_is_wrong_there_is_told(tmp_path: Path, postgres_url: str) -> None:
    run = expdb_in(tmp_path)
    (tmp_path / "a.log").write_text("".join(log_lines(3)))
    (tmp_path / "expdb.toml").write_text(f'database = "expdb+{postgres_url}"\n')
    (tmp_path / "below").mkdir()
    assert run("ingest", "a.log").returncode == 0
    assert "a " in expdb_in(tmp_path / "below")("ls").stdout
    assert not (tmp_path / "runs" / "expdb.db").exists()
    (tmp_path / "expdb.toml").write_text('\ndatabase = "mysql://me:secret@host/db"\n')
    said = run("ls")
    assert said.returncode == 1 and "expdb.toml:2: mysql://me@host/db is no address" in said.stderr


def test_a_password_is_in_no_file_and_no_row_of_a_run_that_has_ended(tmp_path: Path, postgres_url: str) -> None:
    url = postgres_url.replace("expdb@", "expdb:secret@")
    (tmp_path / "train.py").write_text(
        "import os\nassert 'secret' in os.environ['EXPDB_DB']\nprint('epoch 1, loss 1')\n"
    )
    done = expdb_in(tmp_path)("run", "--db", url, "--", sys.executable, "train.py")
    assert done.returncode == 0, done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert len(files) > 4
    assert not [path for path in files if b"secret" in path.read_bytes()]
    with open_database(postgres_url) as opened:
        for table in TABLES:
            assert "secret" not in str(opened.rows(f"SELECT * FROM {table}"))


def test_a_run_and_what_it_logs_come_to_the_server(tmp_path: Path, postgres_url: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import expdb\n"
        "for fold in range(2):\n"
        "    with expdb.start_run(name=f'fold{fold}', params={'lr': 0.1}) as run:\n"
        "        for step in range(3):\n"
        "            run.log({'train/loss': 1 / (step + 1)}, step=step)\n"
        "print('epoch 1, accuracy 0.5')\n"
    )
    run = expdb_in(tmp_path)
    done = run("run", "-e", "net", "--db", postgres_url, "--", sys.executable, "train.py")
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout + done.stderr
    alone = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment({"EXPDB_DB": postgres_url}), timeout=60
    )
    assert alone.returncode == 0
    swept = run(
        "run", "-s", "lr=1,2", "-e", "sweep", "--db", postgres_url, "--", sys.executable, "-c", "print('loss 1')"
    )
    assert swept.returncode == 0, swept.stderr
    with open_database(postgres_url) as opened:
        found = opened.rows("SELECT e.name, r.name, r.status FROM run r JOIN experiment e ON e.id = r.experiment_id")
        folds = {(experiment, f"fold{n}", "finished") for experiment in ("Default", "net") for n in range(2)}
        assert folds <= set(found), found
        assert sum(experiment == "sweep" for experiment, *_ in found) == 2
        assert upkeep.check(opened) == []
    assert not (tmp_path / "runs" / "expdb.db").exists()
    # Their folders are apart from those of a file's runs.
    (root,) = (tmp_path / "runs").iterdir()
    assert root.name.endswith("@localhost") and len([one for one in root.iterdir() if len(one.name) == 32]) >= 4


def test_a_run_that_another_machine_runs_is_left_alone(shared: PostgresDatabase, tmp_path: Path) -> None:
    """Its folder is not here: that says nothing about the run."""
    with shared.transaction() as connection:
        born = ("f" * 32, 0, "far", "launch", "running", 1, None)
        connection.execute(statements.INSERT_RUN, born)
    run = expdb_in(tmp_path)
    for words in (["ls"], ["show", "far"], ["queue"], ["run"]):
        command = ["--", sys.executable, "-c", "print()"] if words == ["run"] else []
        assert run(*words, "--db", shared.server.url, *command).returncode == 0
    assert shared.rows("SELECT status FROM run WHERE name = 'far'") == [("running",)]
    assert run("stop", "far", "--db", shared.server.url).returncode == 3
    # One whose folder is here is brought to its end by whoever looks.
    (root,) = (tmp_path / "runs").iterdir()
    ((uid,),) = shared.rows("SELECT uid FROM run WHERE name <> 'far'")
    with shared.transaction() as connection:
        connection.execute("UPDATE run SET status = 'running', ended_ms = NULL WHERE uid = ?", (uid,))
    assert run("ls", "--db", shared.server.url).returncode == 0
    assert (root / uid).is_dir()
    assert shared.rows("SELECT status FROM run WHERE uid = ?", (uid,)) == [("finished",)]


def test_growing_logs_are_followed_into_the_server(tmp_path: Path, postgres_url: str) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(log_lines(2)))
    command = [sys.executable, "-m", "expdb", "ingest", "a.log", "--watch", "--every", "0.1", "--db", postgres_url]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for epochs in (2, 5):
            log.write_text("".join(log_lines(epochs)))
            until = time.monotonic() + 30
            while time.monotonic() < until:
                if exists(server(postgres_url)):
                    with open_database(postgres_url) as opened:
                        if opened.rows("SELECT count(*) FROM point") == [(4 * epochs,)]:
                            break
                time.sleep(0.05)
            else:
                pytest.fail("the points did not come")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


# Several at once ------------------------------------------------------------------------------------------------------


def test_several_processes_ingest_at_once(tmp_path: Path, postgres_url: str, write_log: WriteLog) -> None:
    for part in range(3):
        for salt in range(6):
            write_log(f"part{part}/run{salt}.log", epochs=30, salt=part * 6 + salt)
    command = [sys.executable, "-m", "expdb", "ingest", "--db", postgres_url, "-e", "net"]
    folders = [f"part{part}" for part in range(3)]
    # The last one reads what another one is reading.
    at_once = [
        subprocess.Popen([*command, one], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
        for one in (*folders, folders[0])
    ]
    assert [process.wait(60) for process in at_once] == [0, 0, 0, 0]
    with open_database(postgres_url) as opened:
        assert opened.rows("SELECT count(*) FROM run") == [(18,)]
        assert opened.rows("SELECT count(*) FROM point") == [(18 * 30 * 4,)]
        assert upkeep.check(opened) == []


def test_a_writer_waits_and_says_so(shared: PostgresDatabase, write_log: WriteLog, tmp_path: Path) -> None:
    said: list[str] = []
    write_log("a.log")
    with PostgresDatabase(shared.server, write=True, warn=said.append) as other:
        writer = Writer(other, 1)
        writer.begin()
        before = other.changed_elsewhere()
        with shared.transaction() as connection:
            process = subprocess.Popen(
                [sys.executable, "-m", "expdb", "ingest", "a.log", "--db", shared.server.url],
                cwd=tmp_path,
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
            assert process.stderr is not None
            assert process.stderr.readline() == f"waiting: another process is writing to {shared.server}\n"
            connection.execute("INSERT INTO experiment (name, created_ms, updated_ms) VALUES ('mine', 1, 1)")
            # Whoever reads does not wait, and sees nothing half done.
            assert other.rows("SELECT count(*) FROM experiment") == [(1,)]
            assert other.changed_elsewhere() == before
        assert process.wait(30) == 0
        process.stderr.close()
        assert other.changed_elsewhere() == before + 2
        with other.transaction() as connection:
            connection.execute("UPDATE experiment SET note = 'own'")
        assert other.changed_elsewhere() == before + 2
    assert shared.rows("SELECT name FROM experiment ORDER BY name") == [("Default",), ("mine",), (tmp_path.name,)]


def test_a_view_sees_one_state(shared: PostgresDatabase) -> None:
    with PostgresDatabase(shared.server) as other, other.view():
        assert other.rows("SELECT count(*) FROM experiment") == [(1,)]
        with shared.transaction() as connection:
            connection.execute("INSERT INTO experiment (name, created_ms, updated_ms) VALUES ('mine', 1, 1)")
        assert other.rows("SELECT count(*) FROM experiment") == [(1,)]
        with other.view():
            assert other.rows("SELECT count(*) FROM experiment") == [(1,)]


def test_a_writer_that_is_killed_leaves_whole_batches(tmp_path: Path, postgres_url: str, write_log: WriteLog) -> None:
    for salt in range(40):
        write_log(f"logs/run{salt:02}.log", epochs=50, salt=salt)
    script = (
        "import expdb.ingest as i; i.BATCH_POINTS = 400\n"
        f"from expdb.store.opening import open_database\nwith open_database({postgres_url!r}, create=True) as opened:\n"
        "    i.ingest(opened, i.collect(['logs'], opened.address)[0], i.Request())\n"
    )
    counts: list[int] = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment())
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            if exists(server(postgres_url)):
                with open_database(postgres_url) as opened:
                    ((runs,),) = opened.rows("SELECT count(*) FROM run")
                if runs > (counts[-1] if counts else 0):
                    break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with open_database(postgres_url) as opened:
            assert upkeep.check(opened) == []
            ((runs,),) = opened.rows("SELECT count(*) FROM run")
            assert opened.rows("SELECT count(*) FROM point") == [(runs * 200,)]
            counts.append(runs)
    assert expdb_in(tmp_path)("ingest", "logs", "--db", postgres_url).returncode == 0
    with open_database(postgres_url) as opened:
        assert opened.rows("SELECT count(*), (SELECT count(*) FROM point) FROM run") == [(40, 40 * 200)]


def test_what_the_page_says_of_setting_it_up_is_true(postgres_server: Path, tmp_path: Path) -> None:
    import psycopg

    page = (Path(__file__).parent.parent / "docs" / "postgres.md").read_text("utf-8")
    people, guest = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    another = people[people.index("CREATE ROLE anna") :].replace("anna", "ben")

    def ask(name: str, text: str) -> None:
        with psycopg.connect(host=str(postgres_server), user="expdb", dbname=name, autocommit=True) as at:
            for statement in filter(str.strip, text.split(";")):
                at.execute(statement.encode())

    def code(by: str, *words: str) -> int:
        return expdb_in(tmp_path)(*words, "--db", f"postgresql://{by}@/results?host={postgres_server}").returncode

    ask("postgres", people + another)
    (tmp_path / "a.log").write_text("".join(log_lines(3)))
    assert code("anna", "ingest", "a.log") == 0
    (tmp_path / "a.log").write_text("".join(log_lines(5)))
    assert code("ben", "ingest", "a.log") == 0
    assert code("guest", "ls") == 4
    ask("results", guest)
    assert (code("guest", "show", "a"), code("guest", "rm", "a")) == (0, 4)


# Asking in SQL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM run",
        "WITH gone AS (DELETE FROM run RETURNING 1) SELECT * FROM gone",
        "SELECT 1; DELETE FROM run",
        "SELECT * INTO other FROM run",
        "COMMIT",
        "SET default_transaction_read_only = off",
        "COPY (SELECT 1) TO PROGRAM 'touch here'",
        "DO $$ BEGIN DELETE FROM run; END $$",
        "SELECT setval('run_id_seq', 1)",
        "SELECT * FROM run FOR UPDATE",
        "SELEC 1",
        "SELECT * FROM nowhere",
        "",
    ],
)
def test_a_persons_statement_only_reads(shared: Database, write_log: WriteLog, query: str) -> None:
    take(shared, write_log())
    with pytest.raises(UsageError):
        shared.ask(query)
    # The connection is as it was.
    assert shared.ask("SELECT name FROM run").rows == [("a",)]
    editing.edit(shared, 1, editing.Changes(note="still"), 1)


def test_an_answer_holds_what_a_table_can_show(shared: Database) -> None:
    found = shared.ask("SELECT 1 AS a, 0.5, NULL, true, sum(2), date '2026-01-31', '?'::text, decode('00ff', 'hex')")
    assert found.columns[0] == "a"
    assert found.rows == [(1, 0.5, None, 1, 2, "2026-01-31", "?", b"\0\xff")]


def test_info_check_and_backup_on_a_server(shared: PostgresDatabase, write_log: WriteLog, tmp_path: Path) -> None:
    take(shared, write_log())
    found = upkeep.info(shared)
    assert found.address == shared.server and found.journal.startswith("PostgreSQL 1")
    assert found.counts["point"] == 12 and found.size_bytes > 1_000_000
    assert upkeep.check(shared) == []
    with shared.transaction() as connection:
        connection.execute("UPDATE metric SET max_value = 7 WHERE id = 1")
        connection.execute("INSERT INTO point (metric_id, seq) VALUES (77, 0)")
    assert sorted(fault.text for fault in upkeep.check(shared))[1] == "point 77 refers to a metric that is not there"
    with pytest.raises(UsageError, match="PostgreSQL's own programs") as refused:
        upkeep.backup(shared, tmp_path / "copy.db")
    assert "pg_dump" in (refused.value.hint or "")
    assert list(tmp_path.glob("copy*")) == []
