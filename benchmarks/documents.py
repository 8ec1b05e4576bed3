"""How long a living page takes to bring up to its database: whole processes, wall time.

python -m benchmarks.documents [--runs 10000] [--rounds 5] [--write]

The page has twenty markers: eight tables, eight values, two lists of runs and two plots.
"""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes, results, ways
from benchmarks.logs import Logs
from benchmarks.results import Section, median, verdict
from expdb.documents.markers import CLOSING, Kind, opening

LIMIT_S = 2
EPOCHS = 10
SYNC_ALL, SYNC_NOTHING, CHECK = (
    "`report sync`, nothing on the page yet",
    "`report sync`, nothing to change",
    "`report check`",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each command, round by round."""

    runs: int
    markers: int
    seconds: Mapping[str, tuple[float, ...]]


def page() -> tuple[str, int]:
    """The page, its markers empty, and how many they are."""
    best = "best(test/accuracy)"
    group = {"columns": f"lr, {best}, last(train/loss)", "group-by": "lr"}
    blocks: list[tuple[Kind, dict[str, str]]] = [
        *(("table", {"where": f"lr = {lr}", "sort": best, "top": "20"}) for lr in (0.1, 0.2, 0.3, 0.4)),
        ("table", group),
        ("table", {**group, "group-by": "lr, width", "columns": f"lr, width, {best}", "bold": "best", "percent": ""}),
        ("table", {"columns": f"run, {best}, tail(train/loss, 5)", "top": "50", "sort": f"-{best}"}),
        ("table", {"pivot": f"lr, width, {best}"}),
        *(
            ("value", {"of": best, "over": over, "where": f"lr = {lr}"})
            for over in ("max", "mean")
            for lr in (0.1, 0.2)
        ),
        *(("value", {"over": "count", "where": f"{best} > 0.{n}"}) for n in (3, 4, 5)),
        ("value", {"of": best, "runs": "run0007"}),
        *(("runs", {"where": f"width = {width}", "top": "20"}) for width in (16, 64)),
        ("plot", {"y": "test/accuracy", "top": "5", "file": "img/accuracy.svg"}),
        ("plot", {"y": "train/loss", "where": "width = 16", "top": "5", "file": "img/loss.svg"}),
    ]
    between = {"value": ("so ", "")}
    lines = []
    for kind, words in blocks:
        before, gap = between.get(kind, ("", "\n"))
        lines.append(f"{before}{opening(kind, words)}{gap}{CLOSING}\n")
    return "\n".join(lines), len(blocks)


def measure(runs: int, rounds: int, folder: Path) -> Measured:
    """Fill a database below the folder with that many runs, then time the commands on the page in turns."""
    for i, path in enumerate(Logs(runs, EPOCHS).write(folder / "logs")):
        settings = f"Namespace(lr={(i % 10 + 1) / 10}, width={16 << i % 3}, seed={i // 30}, model='net')\n"
        path.write_text(settings + path.read_text("utf-8"), "utf-8", newline="\n")
        if i == 7:
            path.rename(path.with_name("run0007.log"))
    database = folder / "expdb.db"
    ways.measured(ways.OURS, folder / "logs", database)
    text, markers = page()
    seconds: dict[str, list[float]] = {SYNC_ALL: [], SYNC_NOTHING: [], CHECK: []}
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        shutil.rmtree(folder / "img", ignore_errors=True)
        (folder / "page.md").write_text(text, "utf-8")
        for name, taken in seconds.items():
            word = "check" if name == CHECK else "sync"
            words = (sys.executable, "-m", "expdb", "report", word, "page.md", "--db", str(database))
            done = processes.run(words, folder)
            said = f"{markers} of {markers} blocks written" if name == SYNC_ALL else f"current, {markers} blocks"
            if said not in done.output:
                raise processes.CommandError(f"{' '.join(words)} printed:\n{done.output[:2000]}")
            taken.append(done.seconds)
    return Measured(runs, markers, {name: tuple(all_s) for name, all_s in seconds.items()})


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    rows = []
    for name, seconds in found.seconds.items():
        rows.append([name, f"{median(seconds):.2f}", f"{min(seconds):.2f}–{max(seconds):.2f}"])
        rows[-1].append(verdict(median(seconds), LIMIT_S, "s"))
    note = (
        f"A page of {found.markers} markers over {found.runs:,} runs of {EPOCHS} epochs and five values; whole process,"
        f" median of {len(found.seconds[CHECK])} rounds. The first draws two plots, and imports matplotlib for them."
    )
    body = results.table(["command", "seconds", "from–to", "limit"], rows) + "\n" + note
    return Section("documents", "Living pages", body)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    results.over_runs("benchmarks.documents", __doc__, lambda *words: section(measure(*words)), runs=10_000, rounds=5)


if __name__ == "__main__":
    main()
