"""The benchmarks themselves run, at a size that takes a second; their figures stand in benchmarks/RESULTS.md."""

from pathlib import Path

import pytest
from conftest import requires

from benchmarks import documents, ingest, launch, page, plot, postgres, readers, servers, startup, tables, tracking
from benchmarks.logs import LINES, Logs


def test_the_ingest_benchmark_stores_every_point_on_both_sides(tmp_path: Path) -> None:
    found = ingest.measure(Logs(20), 1, 0, tmp_path).rounds
    assert found.ours_s > 0
    # At this size fixed costs rule; ten times the floor would be a defect even so.
    assert found.ratio < 100


def test_the_memory_benchmark_sees_a_whole_process(tmp_path: Path) -> None:
    found = ingest.measure_memory(1 << 20, tmp_path)
    assert 10 << 20 < found.peak_bytes < 300 << 20


def test_the_start_up_benchmark_times_every_command(tmp_path: Path) -> None:
    found = startup.measure(20, 2, tmp_path)
    assert found.median_s(startup.LS) > found.median_s(startup.PASS) > 0


def test_the_tables_benchmark_times_every_table(tmp_path: Path) -> None:
    found = tables.measure(101, 1, tmp_path)
    assert found.columns >= 9
    assert tables.section(found).body.count("≤ 0.5 s") == len(tables.tables())


def test_logger_lines_are_stored_on_both_sides_too(tmp_path: Path) -> None:
    found = ingest.measure(Logs(20, kind=LINES), 1, 0, tmp_path).rounds
    assert found.ratio < 100


def test_the_readers_benchmark_finds_every_point_and_every_reader() -> None:
    read = readers.compared(200, 1)
    # Of the ImageNet line each value has its average beside it.
    assert [one.points for one in read] == [1000, 2000, 1000]
    found = {one.kind: one.reader for one in readers.detection(1)}
    assert found["CSV"] == "delimited"
    assert found["prose"] is None
    assert readers.section(read, readers.detection(1)).body.count("|") > 50


def test_the_launch_benchmark_measures_time_share_and_latency(tmp_path: Path) -> None:
    found = launch.measure(1, 1.0, tmp_path, short_s=1.0, count=8)
    assert 0 < found.overhead_s < 10
    assert found.share < 1
    assert len(found.latency_s) >= 4
    assert "lines/s" in launch.section(found, 1.0).body


def test_the_tracking_benchmark_times_every_call(tmp_path: Path) -> None:
    found = tracking.measure(50, 0, tmp_path)
    assert [len(one.calls_ms) for one in found] == [50, 50]
    assert tracking.section(found).body.count("|") > 20


def test_the_plot_benchmark_draws_what_it_times(tmp_path: Path) -> None:
    found = plot.measure(3, 20, 1, tmp_path)
    assert found.svg_bytes > 5_000
    assert plot.section(found).body.count("|") > 15


def test_the_postgres_benchmark_stores_every_point_on_both_sides(tmp_path: Path) -> None:
    try:
        found = postgres.measure(Logs(20), 1, tmp_path, ["fsync=off"])
    except servers.MissingError as error:
        requires("postgres", None, str(error))
    assert 0 < found.ratio < 100
    assert postgres.section(found).body.count("|") > 20


def test_the_documents_benchmark_fills_every_marker(tmp_path: Path) -> None:
    found = documents.measure(60, 1, tmp_path)
    assert found.markers == 20
    assert documents.section(found).body.count("|") > 15


@pytest.mark.soak
def test_a_hundred_thousand_files_take_ten_times_as_long_as_ten_thousand(tmp_path: Path) -> None:
    found = ingest.measure(Logs(100_000), 1, 0, tmp_path)
    print(ingest.section(found).body)
    assert found.tenth is not None
    # Beside the floor, for a machine's disk is not as fast after a minute as it was before.
    assert found.rounds.ratio < 1.3 * found.tenth.ratio


def test_the_page_benchmark_writes_and_opens_one(tmp_path: Path) -> None:
    found = page.measure(Logs(6, 5), 1, tmp_path)
    assert 100_000 < found.size_bytes < 2_000_000
    body = page.section(found).body
    assert "6 runs of 5 epochs, 150 points" in body
    assert all(name in body for name in found.seconds)
