"""The schema on a real PostgreSQL, which the fixture starts on a socket of its own and stops again."""

import contextlib
import glob
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import requires
from sqlmodel import SQLModel

from expdb.errors import DatabaseError
from expdb.store.database import SCHEMA_VERSION, VERSION_TABLE
from expdb.store.schema import VIEWS, create_postgresql

TABLES = SQLModel.metadata.tables


def programs() -> Path | None:
    """The folder of the server's programs: the newest that a distribution installed, else that on the PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(Path(path).parts[-3]))
    on_path = shutil.which("initdb")
    best = found[-1] if found else on_path
    return Path(best).resolve().parent if best else None


def unprivileged() -> list[str] | None:
    """What to put before a command so that it does not run as root, which the server refuses."""
    if os.geteuid() != 0:
        return []
    import pwd

    if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return None
    if found := shutil.which("setpriv"):
        return [found, "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [found, "-u", "postgres", "--"] if (found := shutil.which("runuser")) else None


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A server of this module's own; the folder of its socket."""
    requires("postgres", find_spec("psycopg"), "psycopg is not installed")
    folder_of_programs, user = programs(), unprivileged()
    requires("postgres", os.name == "posix" and folder_of_programs, "no PostgreSQL server is installed (initdb)")
    requires("postgres", user is not None, "PostgreSQL does not run as root, and there is no user postgres")
    assert folder_of_programs is not None and user is not None
    # Not pytest's folder: user postgres may not enter that, and a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="expdb-pg-"))
    try:
        home.chmod(0o755)
        data = home / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(home, "postgres", "postgres")
            shutil.chown(data, "postgres", "postgres")
        log = home / "log"
        initdb = [f"{folder_of_programs}/initdb", "-D", str(data), "-U", "expdb", "-A", "trust", "-E", "UTF8", "-N"]
        made = subprocess.run([*user, *initdb], capture_output=True, encoding="utf-8", cwd=home)
        assert made.returncode == 0, made.stderr
        command = [f"{folder_of_programs}/postgres", "-D", str(data), "-k", str(home), "-c", "fsync=off"]
        command += ["-c", "listen_addresses="]
        with log.open("wb") as output:
            process = subprocess.Popen([*user, *command], stdout=output, stderr=output, cwd=home)
        try:
            wait_for(home, process, log)
            yield home
        finally:
            # Fast shutdown is SIGINT to the server's own process, which runuser is not.
            with contextlib.suppress(OSError):
                os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(home)


def wait_for(home: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(home), user="expdb", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)


@pytest.fixture
def url(server: Path, request: pytest.FixtureRequest) -> str:
    """An empty database on the server."""
    import psycopg

    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(host=str(server), user="expdb", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://expdb@/{name}?host={server}"


@pytest.fixture
def postgres(url: str) -> Iterator[Any]:
    """A connection to a database with our schema, whose changes end with the test."""
    import psycopg

    create_postgresql(url)
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


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
    assert found == {name: {c.name: bool(c.nullable) for c in t.columns} for name, t in TABLES.items()}
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
        "INSERT INTO point (metric_id, seq) VALUES (2, 0)",
        "INSERT INTO metric (run_id, key, name, label, kind, step_unit, count, nonfinite)"
        " VALUES (1, 'loss', '', '', '', '', 0, 0)",
    ):
        with pytest.raises(psycopg.errors.IntegrityError), postgres.transaction():
            postgres.execute(text)


def test_a_second_creation_is_refused_in_words_and_changes_nothing(url: str) -> None:
    import psycopg

    create_postgresql(url)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO meta VALUES ('mine', 'kept')")
    with pytest.raises(DatabaseError, match="already exists"):
        create_postgresql(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM meta").fetchone() == (2,)


def test_a_creation_that_fails_half_way_leaves_nothing(url: str) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE run_summary (x int)")
    with pytest.raises(DatabaseError, match="run_summary"):
        create_postgresql(url)
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("run_summary",)]


def test_a_server_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    requires("postgres", find_spec("psycopg"), "psycopg is not installed")
    with pytest.raises(DatabaseError, match="PostgreSQL says") as refused:
        create_postgresql(f"postgresql://me:secret@/db?host={tmp_path}")
    assert "secret" not in str(refused.value)
