"""How fast logs become a database on a PostgreSQL server, beside a SQLite file, in one run.

python -m benchmarks.postgres [--files 1000] [--epochs 100] [--rounds 5] [--write]

The benchmark starts the server itself, on a socket, with PostgreSQL's own settings (fsync is on).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import processes, results, servers, ways
from benchmarks.logs import LEGACY, Logs
from benchmarks.results import Section, median, pairwise_ratio, verdict
from benchmarks.ways import Timing

# The limit: within this many times what SQLite takes.
LIMIT = 3.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """The same logs stored in turns. bare: nothing but COPY of as many values, known beforehand, into a bare table;
    again: a second ingest, nothing new; commands: seconds of `expdb ingest` as a whole, start-up included."""

    logs: Logs
    sqlite: tuple[Timing, ...]
    postgres: tuple[Timing, ...]
    bare: tuple[Timing, ...]
    again: tuple[Timing, ...]
    sqlite_commands: tuple[float, ...]
    postgres_commands: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of PostgreSQL's seconds over SQLite's, round by round."""
        return pairwise_ratio([one.seconds for one in self.postgres], [one.seconds for one in self.sqlite])


def measure(logs: Logs, rounds: int, folder: Path, settings: Sequence[str] = ()) -> Rounds:
    """Write the logs below the folder and store them in turns, each time in a new process and a new database.

    settings: of the server, beside its own. Raises servers.MissingError where none can be started.
    """
    source = folder / "logs"
    logs.write(source)
    found: dict[str, list[Timing]] = {"sqlite": [], "postgres": [], "bare": [], "again": []}
    commands: dict[str, list[float]] = {"sqlite": [], "postgres": []}
    with servers.running(settings) as home:
        for i in range(rounds):
            print(f"{logs.files} files, round {i + 1} of {rounds}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as at, servers.database(home, f"timed_{i}") as url:
                found["sqlite"].append(_timed("store", str(Path(at, "a.db")), source, folder))
                found["postgres"].append(_timed("store", url, source, folder))
                found["again"].append(_timed("store", url, source, folder))
                found["bare"].append(_timed("copy", url, source, folder))
            with tempfile.TemporaryDirectory(dir=folder) as at, servers.database(home, f"whole_{i}") as url:
                for engine, address in (("sqlite", str(Path(at, "a.db"))), ("postgres", url)):
                    processes.flush_disks()
                    command = [sys.executable, "-m", "expdb", "ingest", str(source), "--db", address]
                    commands[engine].append(processes.run(command, folder).seconds)
    for way, points in (("sqlite", logs.points), ("postgres", logs.points), ("bare", logs.points), ("again", 0)):
        for one in found[way]:
            if one.points != points:
                raise processes.CommandError(f"{way}: {points} points were due, not {one}")
    return Rounds(
        logs,
        sqlite=tuple(found["sqlite"]),
        postgres=tuple(found["postgres"]),
        bare=tuple(found["bare"]),
        again=tuple(found["again"]),
        sqlite_commands=tuple(commands["sqlite"]),
        postgres_commands=tuple(commands["postgres"]),
    )


def section(found: Rounds) -> Section:
    """The findings as a page shows them."""
    base = median([one.seconds for one in found.sqlite])

    def row(what: str, timings: Sequence[Timing], limit: str = "") -> list[str]:
        seconds = [one.seconds for one in timings]
        ratio = pairwise_ratio(seconds, [one.seconds for one in found.sqlite])
        middle = median(seconds)
        return [what, f"{middle:.3f}", f"{found.logs.points / middle:,.0f}", f"{ratio:.2f}", limit]

    rows = [
        row("`expdb ingest` into a SQLite file", found.sqlite),
        row("`expdb ingest` into PostgreSQL", found.postgres, verdict(found.ratio, LIMIT)),
        row("the same again, nothing new", found.again),
        row("COPY of as many values into a bare table, no logs read", found.bare),
    ]
    ratios = [ours.seconds / theirs.seconds for ours, theirs in zip(found.postgres, found.sqlite, strict=True)]
    whole = [median(seconds) for seconds in (found.sqlite_commands, found.postgres_commands)]
    notes = [
        f"Median of {len(found.sqlite)} rounds in turns; a ratio is the median of the rounds' own"
        f" ({min(ratios):.2f} to {max(ratios):.2f}); {base:.2f} s is 1.",
        f"The command as a whole, start-up and making the tables included: {whole[0]:.2f} s into a file,"
        f" {whole[1]:.2f} s into PostgreSQL, {whole[1] / whole[0]:.2f} times as long.",
        f"{_version()} on this machine, by a socket, with its own settings.",
    ]
    text = results.table(["way", "seconds", "values/s", "of SQLite", "limit"], rows) + "\n" + "  \n".join(notes)
    title = f"PostgreSQL: {found.logs.files:,} files × {found.logs.epochs} epochs × 5 values"
    return Section(f"postgres {found.logs.files}", title, text)


def _version() -> str:
    at = servers.programs()
    said = subprocess.run([f"{at}/postgres", "--version"], capture_output=True, encoding="utf-8", check=True).stdout
    return said.strip().replace("postgres (PostgreSQL)", "PostgreSQL")


def _timed(way: str, address: str, source: Path, folder: Path) -> Timing:
    processes.flush_disks()
    command = [sys.executable, "-m", "benchmarks.postgres", "--one", way, address, str(source)]
    return Timing(**json.loads(processes.run(command, folder).output.splitlines()[-1]))


def _store(address: str, source: Path) -> Timing:
    """Read the logs into the database, whose tables are made before the clock starts."""
    from expdb import ingest
    from expdb.parsers import built_in
    from expdb.store.opening import open_database

    built_in()
    with open_database(address, create=True) as store:
        start = time.perf_counter()
        items, missing = ingest.collect([str(source)], store.address)
        outcome = ingest.ingest(store, items, ingest.Request())
    seconds = time.perf_counter() - start
    for refused in (*missing, *outcome.refused):
        raise refused
    return Timing(seconds, len(items), sum(one.written.points for one in outcome.done))


def _copy(address: str, source: Path) -> Timing:
    """The least that the server has to do."""
    import psycopg

    shape = ways.SHAPES[LEGACY]
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    rows = []
    for metric, curve in enumerate(one for path in paths for one in ways.curves(path, shape)):
        rows += [(metric, seq, step, value) for seq, (step, value) in enumerate(zip(*curve, strict=True))]
    with psycopg.connect(address) as connection:
        connection.execute(
            "CREATE TABLE bare (metric_id INTEGER, seq BIGINT, step BIGINT, value DOUBLE PRECISION,"
            " PRIMARY KEY (metric_id, seq))"
        )
        connection.commit()
        start = time.perf_counter()
        with connection.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "int8", "int8", "float8"])
            for one in rows:
                copy.write_row(one)
        connection.commit()
        return Timing(time.perf_counter() - start, len(paths), len(rows))


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.one:
        way, address, source = words.one
        print(json.dumps(asdict({"store": _store, "copy": _copy}[way](address, Path(source)))))
        return
    processes.compile_bytecode()
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        try:
            made = section(measure(Logs(words.files, words.epochs), words.rounds, Path(at)))
        except (processes.CommandError, servers.MissingError) as error:
            sys.exit(str(error))
    command = results.command_line("benchmarks.postgres")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
