"""Databases of older versions: brought to this schema whole or not at all, and nothing in them lost.

data/schema1 holds a project whose database the first release wrote, and what its commands printed.
"""

import hashlib
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from commands import environment, expdb_in
from drills import assert_sound, expdb, finish, other_user, python
from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from expdb.errors import DatabaseError, OutdatedError
from expdb.store import schema
from expdb.store.database import SCHEMA_VERSION, VERSION_TABLE, revision
from expdb.store.opening import open_database
from expdb.store.sqlite import SqliteDatabase as Database
from expdb.store.upgrade import migrate, upgrade

OLD = Path(__file__).parent / "data" / "schema1"
ADDED = {
    *("run_dataset_tag", "logged_model_param", "logged_model_tag", "logged_model_metric", "run_model"),
    *("counterpart", "counterpart_name", VERSION_TABLE),
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old project's database."""
    with tarfile.open(OLD / "project.tar.xz") as packed:
        packed.extractall(tmp_path / "project", filter="data")
    return tmp_path / "project" / "runs" / "expdb.db"


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in sorted(tables)}


def shape(path: Path) -> dict[str, str]:
    """What each table, index and view was made by."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    return {name: re.sub(r"\s+", " ", text or "").strip() for name, text in found}


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.schema1-*"))


# What an upgrade keeps ------------------------------------------------------------------------------------------------


def test_every_value_of_an_old_database_is_still_there(old: Path) -> None:
    before = rows(old)
    assert before["meta"] == [("schema_version", "1")] and all(before[name] for name in ("edit", "claim", "dataset"))
    done = upgrade(old, 1795000000000, copy=True, say=lambda _: None)
    assert (done.old, done.new) == (1, SCHEMA_VERSION)
    after = rows(old)
    assert after.pop("meta") == [("schema_version", str(SCHEMA_VERSION))]
    assert {name: after[name] for name in before if name != "meta"} == {k: v for k, v in before.items() if k != "meta"}
    assert set(after) - set(before) == ADDED
    assert_sound(old)


@pytest.mark.parametrize("name", sorted(path.name for path in OLD.glob("*.txt")))
def test_commands_print_of_an_upgraded_database_what_they_printed_before(old: Path, name: str) -> None:
    words, _, printed = (OLD / name).read_text(encoding="utf-8").partition("\n")
    upgrade(old, 0, copy=False, say=lambda _: None)
    said = expdb_in(old.parent.parent)(*shlex.split(words), env={"TZ": "UTC", "EXPDB_NOW": "2026-03-01T12:00:00Z"})
    assert said.stdout + said.stderr == printed


def test_the_backup_is_the_old_database(old: Path) -> None:
    before = rows(old)
    old.chmod(0o640)
    said = expdb_in(old.parent.parent)("db", "upgrade", env={"EXPDB_NOW": "2026-11-21T08:00:00Z"})
    named = old.with_name("expdb.schema1-20261121.db")
    assert (said.returncode, said.stdout) == (0, f"{old}: schema 1 → {SCHEMA_VERSION}\nthe old one is kept: {named}\n")
    (backup,) = backups(old)
    assert backup == named and rows(backup) == before and backup.stat().st_mode & 0o777 == 0o640
    # It is a database like any other old one.
    assert upgrade(backup, 0, copy=False, say=lambda _: None).new == SCHEMA_VERSION


def test_what_stands_in_the_log_of_changes_is_in_the_backup(old: Path) -> None:
    with closing(sqlite3.connect(old)) as reader, closing(sqlite3.connect(old)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO meta VALUES ('late', 'yes')")
        writer.commit()
        # While a reader is here, nothing is taken over into the file itself.
        reader.execute("BEGIN").execute("SELECT * FROM meta").fetchall()
        done = upgrade(old, 0, copy=True, say=lambda _: None)
    assert done.backup is not None and ("late", "yes") in rows(done.backup)["meta"]
    assert ("late", "yes") in rows(old)["meta"]


def test_a_second_upgrade_says_that_there_is_nothing_to_do(old: Path) -> None:
    command = expdb_in(old.parent.parent)
    assert command("db", "upgrade").returncode == 0
    state = rows(old)
    said = command("db", "upgrade")
    assert (said.returncode, said.stdout) == (0, f"{old} has schema {SCHEMA_VERSION} already\n")
    assert len(backups(old)) == 1 and rows(old) == state


def test_a_backup_never_takes_the_name_of_another_file(old: Path) -> None:
    taken = old.with_name("expdb.schema1-19700101.db")
    taken.write_text("mine")
    done = upgrade(old, 0, copy=True, say=lambda _: None)
    assert done.backup == old.with_name("expdb.schema1-19700101-2.db") and taken.read_text() == "mine"


def test_without_a_backup_none_is_made(old: Path) -> None:
    said = expdb_in(old.parent.parent)("db", "upgrade", "--no-backup")
    assert (said.returncode, said.stderr, backups(old)) == (0, "", [])


# The schema -----------------------------------------------------------------------------------------------------------


def test_an_upgraded_database_is_shaped_as_a_fresh_one(old: Path, database: Database) -> None:
    upgrade(old, 0, copy=False, say=lambda _: None)
    assert shape(old) == shape(database.path)
    assert rows(old)[VERSION_TABLE] == rows(database.path)[VERSION_TABLE] == [(revision(SCHEMA_VERSION),)]


def test_all_steps_from_nothing_make_what_the_classes_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The steps know no clock: 'Default' is as old as the database only where that is made as a whole.
    monkeypatch.setenv("EXPDB_NOW", "0")
    Database.create(tmp_path / "made.db").close()
    stepped = tmp_path / "stepped.db"
    engine = create_engine(f"sqlite:///{stepped}")
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
    assert shape(stepped) == shape(tmp_path / "made.db")
    assert rows(stepped) == rows(tmp_path / "made.db")


# SQLite cannot reflect them; `shape` compares their text.
@pytest.mark.filterwarnings("ignore:.*expression-based index:Warning")
def test_alembic_finds_no_difference_between_a_database_and_the_classes(old: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    upgrade(old, 0, copy=False, say=lambda _: None)
    engine = create_engine(f"sqlite:///{old}")
    with engine.connect() as connection:
        # A view is no table to Alembic, and our table of its versions is its own.
        assert set(inspect(connection).get_view_names()) == set(schema.VIEWS)
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_the_last_step_is_the_schemas_version_and_steps_go_one_way() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(schema.__file__).with_name("migrations")))
    steps = list(scripts.walk_revisions())
    assert [step.revision for step in steps] == [revision(n) for n in range(SCHEMA_VERSION, 0, -1)]
    assert not any(hasattr(step.module, "downgrade") for step in steps)


def test_a_database_whose_two_versions_disagree_is_refused(old: Path) -> None:
    upgrade(old, 0, copy=False, say=lambda _: None)
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE meta SET value = '1'")
    state = rows(old)
    with pytest.raises(DatabaseError, match=f"its table {VERSION_TABLE} says 0002"):
        upgrade(old, 0, copy=False, say=lambda _: None)
    assert rows(old) == state


# PostgreSQL -----------------------------------------------------------------------------------------------------------

NEXT_STEP = """
import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = {before!r}


def upgrade() -> None:
    op.create_table("later", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("said", sa.String()))
    op.execute("INSERT INTO later (id, said) VALUES (1, 'kept')")
    {more}
"""


def later_steps(folder: Path, more: str = "pass") -> Path:
    """A release to come: this schema, which needs no step, and one more."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    here, there = revision(SCHEMA_VERSION), revision(SCHEMA_VERSION + 1)
    (versions / "here.py").write_text(f'revision = "{here}"\ndown_revision = None\n\n\ndef upgrade(): ...\n')
    (versions / "there.py").write_text(NEXT_STEP.format(number=there, before=here, more=more))
    return folder


def on_server(url: str) -> Engine:
    return create_engine(f"postgresql+psycopg://{url.partition('://')[2]}")


@pytest.mark.filterwarnings("ignore:.*expression-based index:Warning")
def test_alembic_finds_no_difference_between_a_servers_database_and_its_declaration(postgres_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_database(postgres_url, create=True).close()
    engine = on_server(postgres_url)
    with engine.connect() as connection:
        assert set(inspect(connection).get_view_names()) == set(schema.VIEWS)
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.on_server()) == []
        assert context.get_current_heads() == (revision(SCHEMA_VERSION),)
    engine.dispose()


def test_a_later_step_is_taken_on_a_server_whole_or_not_at_all(postgres_url: str, tmp_path: Path) -> None:
    open_database(postgres_url, create=True).close()
    engine = on_server(postgres_url)
    with pytest.raises(DBAPIError), engine.begin() as connection:
        migrate(connection, later_steps(tmp_path / "bad", 'op.execute("SELECT nothing FROM nowhere")'))
    open_database(postgres_url).close()
    with engine.begin() as connection:
        assert not inspect(connection).has_table("later")
        migrate(connection, later_steps(tmp_path / "good"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT said FROM later").scalar_one() == "kept"
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one() == "0003"
    engine.dispose()
    with pytest.raises(DatabaseError, match="newer expdb"):
        open_database(postgres_url)


def test_a_later_step_is_taken_in_a_file(database: Database, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{database.path}")
    with engine.begin() as connection:
        migrate(connection, later_steps(tmp_path / "good"))
    engine.dispose()
    found = rows(database.path)
    assert (found["later"], found[VERSION_TABLE]) == ([(1, "kept")], [("0003",)])
    assert ("schema_version", "3") in found["meta"]


def test_the_upgrade_of_a_server_asks_for_a_dump_first(postgres_url: str, tmp_path: Path) -> None:
    open_database(postgres_url, create=True).close()
    command = expdb_in(tmp_path)
    assert "already" in command("db", "upgrade", "--db", postgres_url).stdout
    engine = on_server(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    engine.dispose()
    refused = command("ls", "--db", postgres_url)
    assert refused.returncode == 4 and "expdb db upgrade" in refused.stderr
    refused = command("db", "upgrade", "--db", postgres_url)
    assert refused.returncode == 2 and "pg_dump" in refused.stderr and "--no-backup" in refused.stderr
    # No expdb wrote this one.
    assert command("db", "upgrade", "--no-backup", "--db", postgres_url).returncode == 4


# What can go wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("ls",), ("ingest", "logs"), ("edit", "vgg16", "--note", "x"), ("db", "backup", "b")]
)
def test_an_old_database_is_left_alone_and_the_error_names_the_command(old: Path, words: tuple[str, ...]) -> None:
    before = hashlib.sha256(old.read_bytes()).digest()
    said = expdb_in(old.parent.parent)(*words)
    assert (said.returncode, said.stdout) == (4, "")
    assert "written by an older expdb (schema 1" in said.stderr and "expdb db upgrade" in said.stderr
    assert hashlib.sha256(old.read_bytes()).digest() == before
    with pytest.raises(OutdatedError):
        Database(old)


def test_there_must_be_a_database_of_ours_to_upgrade(tmp_path: Path) -> None:
    command = expdb_in(tmp_path)
    assert command("db", "upgrade", "--db", "no.db").returncode == 3
    (tmp_path / "text.db").write_text("nothing of SQLite's " * 100)
    assert "not a SQLite database" in command("db", "upgrade", "--db", "text.db").stderr
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
    assert "of another program" in command("db", "upgrade", "--db", "other.db").stderr


HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
held.execute("INSERT INTO meta VALUES ('late', 'yes')")
print("held", flush=True)
sys.stdin.readline()
held.execute("COMMIT")
"""


def test_an_upgrade_waits_for_another_writer_and_keeps_what_it_wrote(old: Path) -> None:
    holder = python(HOLDER, old)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        command = [sys.executable, "-m", "expdb", "db", "upgrade", "--db", str(old)]
        waiting = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment()
        )
        try:
            assert waiting.stderr is not None
            assert "waiting: another process is writing" in waiting.stderr.readline()
            assert holder.stdin is not None
            holder.stdin.write("go\n")
            holder.stdin.flush()
        finally:
            code, _, _ = finish(waiting)
        assert code == 0
    finally:
        finish(holder)
    (backup,) = backups(old)
    assert ("late", "yes") in rows(old)["meta"] and ("late", "yes") in rows(backup)["meta"]


def test_two_upgrades_at_once_make_one(old: Path) -> None:
    before = rows(old)
    command = [sys.executable, "-m", "expdb", "db", "upgrade", "--db", str(old)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment())
        for _ in range(2)
    ]
    ends = [finish(one) for one in both]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert sorted("already" in said for _, said, _ in ends) == [False, True]
    (backup,) = backups(old)
    assert rows(backup) == before
    assert_sound(old)


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_or_folder_that_may_not_be_written_is_said_in_words(old: Path, open_folder: Path, closed: str) -> None:
    user = other_user()
    path = open_folder / "expdb.db"
    path.write_bytes(old.read_bytes())
    path.chmod(0o444 if closed == "file" else 0o666)
    open_folder.chmod(0o777 if closed == "file" else 0o755)
    before = rows(path)
    said = expdb("db", "upgrade", "--db", path, cwd=open_folder, user=user)
    assert (said.returncode, said.stdout) == (4, "")
    assert ("cannot be opened" if closed == "file" else "no copy could be made") in said.stderr
    assert rows(path) == before and not list(open_folder.glob("*.schema1-*"))


# Killed ---------------------------------------------------------------------------------------------------------------

# Ends itself by SIGKILL before its n-th statement, or at the n-th event of that name.
STRUCK = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from expdb.store.opening import open_database
from expdb.store.upgrade import upgrade
path, what, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seen = 0
def strike():
    global seen
    seen += 1
    if seen == moment:
        os.kill(os.getpid(), signal.SIGKILL)
if what == "statement":
    event.listen(Engine, "before_cursor_execute", lambda *_: strike())
else:
    sys.addaudithook(lambda name, _: strike() if name == what else None)
upgrade(path, 0, copy=True, say=lambda _: None)
print(seen)
"""


def strike(path: Path, what: str, moment: int) -> bool:
    """Upgrade in a process that is killed at that moment; whether it came to it. Either way the database is whole."""
    before = rows(path)
    code, out, err = finish(python(STRUCK, path, what, str(moment)))
    if code == 0:
        assert rows(path)["meta"] == [("schema_version", str(SCHEMA_VERSION))]
        return False
    assert (code, out) == (-signal.SIGKILL, ""), err
    assert rows(path) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return True


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(
    ("what", "moment"), [("statement", 9), ("statement", 18), ("statement", 24), ("os.link", 1), ("sqlite3.connect", 4)]
)
def test_a_killed_upgrade_leaves_the_old_database_and_can_be_repeated(
    old: Path, database: Database, what: str, moment: int
) -> None:
    # Half of them with a log of changes, half with a rollback journal.
    if moment % 2 == 0:
        with closing(sqlite3.connect(old)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    assert strike(old, what, moment)
    assert not strike(old, "never", 1)
    assert shape(old) == shape(database.path)
    assert not list(old.parent.glob("*.partial"))
    assert_sound(old)


@pytest.mark.soak
@pytest.mark.parametrize("what", ["statement", "os.link", "sqlite3.connect", "open", "os.remove"])
def test_kill_9_at_every_moment_of_an_upgrade_drill(old: Path, what: str) -> None:
    pristine = old.read_bytes()
    moment = 0
    while strike(old, what, moment := moment + 1):
        if moment > 60:
            break
    assert moment > 1
    old.write_bytes(pristine)
