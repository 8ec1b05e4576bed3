"""What `expdb run` costs: time over the bare command, a share of a core while it follows, and how soon points are in.

python -m benchmarks.launch [--rounds 9] [--seconds 40] [--write]
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes, results
from benchmarks.processes import ROOT
from benchmarks.results import Section, median, verdict

# The limits.
OVERHEAD_LIMIT_S = 0.5
SHARE_LIMIT = 0.01
LATENCY_LIMIT_S = 1.0

LINES_PER_S = 100
# What a run costs once, at its beginning and its end, is the same for a short run and a long one.
_SHORT_S = 5.0
_COUNT = 30

_SLEEP = "import time; time.sleep(2)"
_PRINT = """
import sys, time
seconds, lines_per_s = float(sys.argv[1]), int(sys.argv[2])
began = time.monotonic()
step = 0
while (now := time.monotonic() - began) < seconds:
    while step < now * lines_per_s:
        step += 1
        print(f"epoch {step // 1000} iter {step} loss {1 / step:.6f} acc {step / 1e6:.6f}")
    time.sleep(0.05)
"""
_STAMP = """
import sys, time
for step in range(1, int(sys.argv[1]) + 1):
    time.sleep(0.2)
    print(f"epoch {step} loss {1 / step:.4f} stamp {time.time():.4f}")
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """bare_s, ours_s: of a command of two seconds, round by round; share: of one core, while it follows a log of
    100 lines/s; latency_s: from print to query, point by point."""

    bare_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    share: float
    latency_s: tuple[float, ...]

    @property
    def overhead_s(self) -> float:
        """Median over the rounds."""
        return median([ours - bare for ours, bare in zip(self.ours_s, self.bare_s, strict=True)])


def _started(words: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "expdb", "run", "--", sys.executable, *words]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def cpu_s(words: Sequence[str], folder: Path) -> float:
    """Processor time of `expdb run` itself: the command and its keeper are no children of it."""
    started = _started(words, folder)
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise processes.CommandError(f"expdb run ended with {started.returncode}")
    return used.ru_utime + used.ru_stime


def latency_s(folder: Path, count: int) -> tuple[float, ...]:
    """Seconds between the printing of each of so many points and the first query that finds it."""
    database = folder / "runs" / "expdb.db"
    running = _started(["-u", "-c", _STAMP, str(count)], folder)
    seen: dict[int, float] = {}
    query = (
        "SELECT p.step, p.value FROM point p JOIN metric m ON m.id = p.metric_id JOIN run r ON r.id = m.run_id"
        " WHERE m.label = 'stamp' AND r.id = (SELECT max(id) FROM run)"
    )
    while running.poll() is None:
        if database.exists():
            try:
                connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
                for step, stamp in connection.execute(query):
                    seen.setdefault(step, time.time() - stamp)
                connection.close()
            except sqlite3.Error:
                # It is being made.
                pass
        time.sleep(0.02)
    # The last ones are stored because the run has ended.
    return tuple(seen[step] for step in sorted(seen)[:-1])


def measure(rounds: int, seconds: float, folder: Path, short_s: float = _SHORT_S, count: int = _COUNT) -> Measured:
    """Everything, in a folder of its own. short_s: of the shorter run; count: of the points whose way is timed."""
    cpu_s(["-c", "print('epoch 1 loss 0.5')"], folder)
    bare, ours = [], []
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        bare.append(processes.run([sys.executable, "-c", _SLEEP], folder).seconds)
        command = [sys.executable, "-m", "expdb", "run", "--", sys.executable, "-c", _SLEEP]
        ours.append(processes.run(command, folder).seconds)
    short = cpu_s(["-c", _PRINT, str(short_s), str(LINES_PER_S)], folder)
    long = cpu_s(["-c", _PRINT, str(short_s + seconds), str(LINES_PER_S)], folder)
    return Measured(tuple(bare), tuple(ours), (long - short) / seconds, latency_s(folder, count))


def section(found: Measured, seconds: float) -> Section:
    """The findings as a page shows them."""
    late = max(found.latency_s)
    rows = [
        ["bare command of 2 s", f"{median(found.bare_s):.3f} s", ""],
        ["`expdb run` of it", f"{median(found.ours_s):.3f} s", ""],
        ["over the bare command", f"{found.overhead_s:.3f} s", verdict(found.overhead_s, OVERHEAD_LIMIT_S, "s")],
        [
            f"of one core, {LINES_PER_S} lines/s",
            f"{100 * found.share:.2f} %",
            verdict(100 * found.share, 100 * SHARE_LIMIT, "%"),
        ],
        ["from print to query, median", f"{median(found.latency_s):.2f} s", ""],
        ["from print to query, longest", f"{late:.2f} s", verdict(late, LATENCY_LIMIT_S, "s")],
    ]
    note = (
        f"Medians of {len(found.bare_s)} rounds in turns. The share of a core is what {seconds:g} s more of a log cost"
        f" `expdb run`, in processor time. The first point waits for the database to be opened."
    )
    return Section("launch", "Launching", results.table(["", "", "limit"], rows) + "\n" + note)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    processes.compile_bytecode()
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        try:
            made = section(measure(words.rounds, words.seconds, Path(at)), words.seconds)
        except processes.CommandError as error:
            sys.exit(str(error))
    command = results.command_line("benchmarks.launch")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
