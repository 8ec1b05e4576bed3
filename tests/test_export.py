"""Tables for other tools: what pandas and pyarrow read back is what the database holds."""

import csv
import math
import os
from pathlib import Path

import pytest
from commands import expdb_in
from conftest import WriteLog
from drills import finish, python, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expdb import export as verb
from expdb.datafiles import Content, write
from expdb.errors import UsageError
from expdb.expressions import parse_condition
from expdb.records import CURVE, Curve, Metric
from expdb.store import editing, launched, reader
from expdb.store import statements as sql
from expdb.store.database import Database
from expdb.store.sqlite import SqliteDatabase
from expdb.store.writer import Writer, derived_summary


def exported(database: Database, path: Path, form: str | None = None, **asked: object) -> dict[str, Path]:
    """Export; each table's file."""
    done = verb.export(database, verb.target(path, form, None), **asked)  # type: ignore[arg-type]
    return {one.path.stem: one.path for one in done}


ODD_TAG = {"note": 'a,"b"\n=1+1'}
# The last millisecond of the year 9999.
LAST_MS = 253402300799999


@pytest.fixture
def filled(database: Database, write_log: WriteLog, tmp_path: Path) -> Database:
    """Logs, a page, and a run of the API that diverged, on the edge of what columns hold."""
    take(database, write_log("logs/a_lr0.10.log", epochs=4), experiment="net", params={"lr": "0.10", "模型": "AlexNet"})
    take(
        database, write_log("logs/b.log", salt=2), experiment="net", params={"lr": "1e-4"}, tags={"note": 'a,"b"\n=1+1'}
    )
    take(database, Path(__file__).parent / "data" / "results.md")
    put(
        database, "odd", [1.5, math.nan, math.inf, -math.inf], [0, 2**40, 2**62, -5], [0, 10**12, None, 253402300799999]
    )
    editing.edit(database, reader.find_run(database, "odd"), editing.Changes(note="一二三"), 5)
    return database


def put(database: Database, name: str, values: list[float], steps: list[int | None], times: list[int | None]) -> None:
    """A run with one curve, as a client logs it."""
    writer = Writer(database, 0)
    with database.transaction() as connection:
        writer.begin()
        uid = f"{len(database.rows('SELECT id FROM run')):032x}"
        run_id, _ = launched.put_run(writer, launched.Birth(uid, "api", name, "api", {}, {}, seed=2**53), "finished", 0)
        metric_id = writer.metric_id()
        connection.execute(
            sql.INSERT_METRIC,
            (metric_id, run_id, "loss", "loss", "loss", CURVE, None, None, None, "step", 0, 0, *[None] * 9),
        )
        curve = Curve(Metric("loss", "loss", CURVE, None, "step"), steps, values, [None] * len(steps), times_ms=times)
        writer.insert([metric_id], 0, None, [curve], 0)
        connection.execute(
            sql.UPDATE_METRIC, (None, None, *derived_summary(database.connection, metric_id).row(), metric_id)
        )


POINTS = (
    "SELECT r.uid, e.name, r.name, m.key, m.name, m.unit, p.step, coalesce(p.epoch, CASE WHEN m.step_unit = 'epoch'"
    " THEN p.step END), p.value, p.time_ms, p.line FROM point p JOIN metric m ON m.id = p.metric_id"
    " JOIN run r ON r.id = m.run_id JOIN experiment e ON e.id = r.experiment_id ORDER BY m.id, p.seq"
)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_every_point_comes_back_through_pandas(filled: Database, tmp_path: Path, form: str) -> None:
    import pandas as pd

    path = exported(filled, tmp_path / "out", form)["points"]
    if form == "csv":
        whole = {"step": "Int64", "line": "Int64"}
        found = pd.read_csv(path, dtype=whole, keep_default_na=False, na_values={c: [""] for c in WITH_GAPS})
        found["time"] = pd.to_datetime(found["time"], format="ISO8601", utc=True)
    else:
        found = pd.read_parquet(path, dtype_backend="numpy_nullable")
    wanted = filled.rows(POINTS)
    assert len(found) == len(wanted)
    for (*words, step, epoch, value, time_ms, line), row in zip(wanted, found.itertuples(index=False), strict=True):
        assert [None if pd.isna(one) else one for one in row[:6]] == words
        assert (None if pd.isna(row.step) else int(row.step)) == step
        assert (None if pd.isna(row.epoch) else row.epoch) == epoch
        number = float(row.value) if not pd.isna(row.value) else math.nan
        assert number == value or (value is None and math.isnan(number))
        assert (None if pd.isna(row.time) else int(row.time.timestamp() * 1000)) == time_ms
        assert (None if pd.isna(row.line) else int(row.line)) == line


WITH_GAPS = ("unit", "step", "epoch", "time", "source", "line")


def test_parquet_tells_nan_from_nothing_and_keeps_types(filled: Database, tmp_path: Path) -> None:
    from pyarrow import parquet

    files = exported(filled, tmp_path / "out", "parquet")
    points = parquet.read_table(files["points"])
    assert {field.name: str(field.type) for field in points.schema} == {
        **dict.fromkeys(("uid", "experiment", "run", "metric", "name", "unit", "source"), "string"),
        **dict.fromkeys(("step", "line"), "int64"),
        **dict.fromkeys(("epoch", "value"), "double"),
        "time": "timestamp[ms, tz=UTC]",
    }
    assert points["value"].null_count == 0
    odd = [row["value"] for row in points.to_pylist() if row["run"] == "odd"]
    assert odd[0] == 1.5 and math.isnan(odd[1]) and odd[2:] == [math.inf, -math.inf]
    runs = {row["name"]: row for row in parquet.read_table(files["runs"]).to_pylist()}
    assert runs["a_lr0.10"]["params.lr"] == 0.1 and runs["odd"]["params.lr"] is None
    assert runs["odd"]["metrics.loss"] == -math.inf or runs["odd"]["metrics.loss"] == math.inf
    assert runs["odd"]["seed"] == 2**53 and runs["odd"]["note"] == "一二三"


def test_runs_have_the_columns_and_numbers_of_the_data_frame(filled: Database, tmp_path: Path) -> None:
    import pandas as pd

    import expdb

    files = exported(filled, tmp_path / "out", "parquet")
    found = pd.read_parquet(files["runs"])
    with expdb.open(str(filled.address)) as results:
        wanted = results.runs()
    assert list(found.columns) == list(wanted.columns)
    for title in (title for title in wanted.columns if title.startswith(("metrics.", "best.", "params.lr"))):
        pd.testing.assert_series_equal(found[title].astype(float), wanted[title].astype(float))


def test_csv_keeps_numbers_as_they_were_written_and_text_as_it_is(filled: Database, tmp_path: Path) -> None:
    files = exported(filled, tmp_path / "out")
    with files["runs"].open(encoding="utf-8", newline="") as file:
        runs = {row["name"]: row for row in csv.DictReader(file)}
    assert (runs["a_lr0.10"]["params.lr"], runs["b"]["params.lr"]) == ("0.10", "1e-4")
    assert runs["a_lr0.10"]["params.模型"] == "AlexNet" and runs["b"]["tags.note"] == ODD_TAG["note"]
    assert runs["odd"]["started"] == "1970-01-01T00:00:00.000Z"
    with files["params"].open(encoding="utf-8", newline="") as file:
        assert {(row["run"], row["param"], row["value"]) for row in csv.DictReader(file)} >= {("b", "lr", "1e-4")}
    with files["metrics"].open(encoding="utf-8", newline="") as file:
        odd = next(row for row in csv.DictReader(file) if row["run"] == "odd")
    assert (odd["first"], odd["last"], odd["min"], odd["max"], odd["nonfinite"]) == ("1.5", "inf", "-inf", "inf", "3")


def test_a_byte_order_mark_is_there_for_excel_only_when_asked(filled: Database, tmp_path: Path) -> None:
    plain = exported(filled, tmp_path / "a")["runs"].read_bytes()
    marked = exported(filled, tmp_path / "b", bom=True)["runs"].read_bytes()
    assert marked == b"\xef\xbb\xbf" + plain and b"\r\n" not in plain


def test_only_the_runs_that_are_asked_for_are_written(filled: Database, tmp_path: Path) -> None:
    editing.remove(filled, [reader.find_run(filled, "odd")], 1)
    files = exported(filled, tmp_path / "out", experiment="net", where=parse_condition("lr < 0.01"))
    for name, path in files.items():
        with path.open(encoding="utf-8", newline="") as file:
            assert {row.get("run", row.get("name")) for row in csv.DictReader(file)} == {"b"}, name
    everything = exported(filled, tmp_path / "all")["runs"].read_text(encoding="utf-8")
    assert "odd" not in everything


def test_an_empty_database_gives_tables_of_headers(database: Database, tmp_path: Path) -> None:
    from pyarrow import parquet

    for path in exported(database, tmp_path / "out").values():
        assert path.read_text().count("\n") == 1
    for path in exported(database, tmp_path / "pq", "parquet").values():
        assert parquet.read_table(path).num_rows == 0


# The command ----------------------------------------------------------------------------------------------------------


def test_a_folder_gets_all_tables_and_a_file_one(filled: Database, tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    said = expdb("db", "export", "out")
    assert said.returncode == 0 and said.stdout.splitlines()[0].startswith("out/runs.csv: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"{name}.csv" for name in verb.TABLES)
    assert expdb("db", "export", "points.parquet").returncode == 0
    assert expdb("db", "export", "mine.csv", "--table", "metrics", "-e", "net").stdout == "mine.csv: 8 rows\n"


def test_nothing_is_replaced_unless_it_is_asked_for(filled: Database, tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    (tmp_path / "out").mkdir()
    kept = tmp_path / "out" / "points.csv"
    kept.write_text("mine")
    said = expdb("db", "export", "out")
    assert said.returncode == 2 and "out/points.csv exists already" in said.stderr and "--force" in said.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["points.csv"] and kept.read_text() == "mine"
    assert expdb("db", "export", "out", "--force").returncode == 0
    assert kept.read_text() != "mine" and not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x.csv",), "which table is x.csv to be?"),
        (("x.csv", "--table", "curves"), "there are runs, params"),
        (("out", "--format", "xlsx"), "csv or parquet"),
        (("points.csv", "--format", "parquet"), "ends in .csv"),
        (("out", "--format", "parquet", "--bom"), "--bom is for CSV"),
        (("out", "-w", "lr >"), "character"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(
    database: Database, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    refused = expdb_in(tmp_path)("db", "export", *words)
    assert refused.returncode == 2 and said in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_parquet_without_pyarrow_says_what_to_install(database: Database, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'pyarrow' else find(name, package)\n"
    )
    path = os.pathsep.join([str(tmp_path / "hidden"), *filter(None, [os.environ.get("PYTHONPATH")])])
    said = expdb_in(tmp_path)("db", "export", "out", "--format", "parquet", env={"PYTHONPATH": path})
    assert said.returncode == 1 and "pip install 'expdb[export]'" in said.stderr
    assert not list(tmp_path.rglob("*.parquet*"))


def test_a_folder_that_cannot_be_written_is_said_in_words(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = expdb_in(tmp_path)("db", "export", "file/out")
    assert said.returncode == 4 and "cannot be written" in said.stderr
    with pytest.raises(UsageError, match="is a file"):
        verb.export(database, verb.target(tmp_path / "file", None, None))


# Any text, any size ---------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=8)
NUMBER = st.none() | st.floats()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.lists(st.tuples(TEXT, NUMBER, st.none() | st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=5))
def test_any_text_and_number_survive_both_formats(
    rows: list[tuple[str, float | None, int | None]], tmp_path: Path
) -> None:
    from pyarrow import parquet

    def content() -> Content:
        return Content("t", ("text", "number", "whole"), ("text", "number", "whole"), [tuple(zip(*rows, strict=True))])

    # Half of a surrogate pair is no text, and is written as its escape.
    texts = [text.encode("utf-8", "backslashreplace").decode() for text, _, _ in rows]
    write(content(), tmp_path / "t.csv", "csv", force=True)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))[1:]
    assert [row[0] for row in found] == texts
    assert [row[1] for row in found] == ["" if number is None else str(number) for _, number, _ in rows]
    assert [row[2] for row in found] == ["" if whole is None else str(whole) for _, _, whole in rows]
    write(content(), tmp_path / "t.parquet", "parquet", force=True)
    read = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert read["text"] == texts and read["whole"] == [whole for _, _, whole in rows]
    assert [repr(number) for number in read["number"]] == [repr(number) for _, number, _ in rows]


MEASURED = """
import re, sys
from pathlib import Path
from expdb import export
from expdb.store.opening import open_database
with open_database(Path(sys.argv[1])) as database:
    (done,) = export.export(database, export.target(Path(sys.argv[2]), None, None))
# Not ru_maxrss, which a process has from the one that started it.
print(done.rows, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_points(tmp_path: Path) -> None:
    memory(tmp_path, 100_000, most=64 << 20)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_million_points_are_written_in_bounded_memory_drill(tmp_path: Path) -> None:
    memory(tmp_path, 1_000_000, most=96 << 20)


def memory(tmp_path: Path, points: int, most: int) -> None:
    """Export so many points, and few: the peaks of memory must not be further apart than most bytes."""
    peaks: dict[str, list[int]] = {"csv": [], "parquet": []}
    for count in (10_000, points):
        with SqliteDatabase.create(tmp_path / f"{count}.db") as database:
            each = count // 10
            for n in range(10):
                put(database, f"r{n}", [k / 7 for k in range(each)], list(range(each)), list(range(each)))
        for form, found in peaks.items():
            path = tmp_path / str(count) / f"points.{form}"
            code, out, err = finish(python(MEASURED, tmp_path / f"{count}.db", path))
            assert code == 0, err
            rows, peak = map(int, out.split())
            assert rows == count
            found.append(peak << 10)
    print({form: [f"{peak >> 20} MB" for peak in found] for form, found in peaks.items()})
    # As objects they would take a kilobyte each; pyarrow keeps some tens of megabytes for itself.
    assert all(large - small < most for small, large in peaks.values()), peaks
