"""`report page`: how long it takes to write one, how large it is, and when a browser that was just started is ready.

python -m benchmarks.page [--runs 1000] [--epochs 100] [--rounds 5] [--write]

Every round starts a headless Chromium (with chromedriver and selenium) of its own: nothing is compiled or cached.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes, results, ways
from benchmarks.logs import Logs
from benchmarks.results import Section, median, verdict

# The limits, for 1,000 runs of 100 points.
WRITTEN_LIMIT_S, READY_LIMIT_S, SIZE_LIMIT_MB = 3, 2, 10

WRITTEN, TABLE, CHARTS, SORTED, SEARCHED, TICKED = (
    "`expdb report page`, whole process",
    "Chromium: table sorts and filters",
    "Chromium: charts drawn",
    "a heading pressed, to the next frame",
    "a search typed, to the next frame",
    "twenty other curves shown, to the next frame",
)
_LIMITS = {WRITTEN: WRITTEN_LIMIT_S, TABLE: READY_LIMIT_S, CHARTS: READY_LIMIT_S}
_FRAME = (
    "const done = arguments[arguments.length - 1]; const start = performance.now(); {act};"
    " requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))"
)
_ACTS = {
    SORTED: "document.querySelectorAll('#runs .sort')[3].click()",
    SEARCHED: "const field = document.getElementById('search'); field.value = '7';"
    " field.dispatchEvent(new Event('input'))",
    TICKED: "document.getElementById('show-first').click()",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds by what was timed, round by round."""

    logs: Logs
    size_bytes: int
    seconds: Mapping[str, tuple[float, ...]]


def measure(logs: Logs, rounds: int, folder: Path) -> Measured:
    """Fill a database below the folder, then write and open the page once a round."""
    logs.write(folder / "logs")
    database = folder / "expdb.db"
    ways.measured(ways.OURS, folder / "logs", database)
    page = folder / "page.html"
    seconds: dict[str, list[float]] = {}
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        words = (sys.executable, "-m", "expdb", "report", "page", "--db", str(database), "-o", str(page))
        seconds.setdefault(WRITTEN, []).append(processes.run(words, folder).seconds)
        for name, taken in opened(page).items():
            seconds.setdefault(name, []).append(taken)
    return Measured(logs, page.stat().st_size, {name: tuple(all_s) for name, all_s in seconds.items()})


def opened(page: Path) -> dict[str, float]:
    """Seconds in a fresh browser; nothing where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        return {}
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    with tempfile.TemporaryDirectory(prefix="expdb-chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for option in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(option)
        with webdriver.Chrome(options=options, service=Service(executable_path=driver)) as chrome:
            chrome.get(page.as_uri())
            ready = "return document.documentElement.dataset.ready"
            WebDriverWait(chrome, 60, 0.05).until(lambda one: one.execute_script(ready))
            told = "const { table, ready } = document.documentElement.dataset; return [table, ready].map(Number)"
            table, charts = chrome.execute_script(told)
            out = {TABLE: table / 1000, CHARTS: charts / 1000}
            for name, act in _ACTS.items():
                out[name] = chrome.execute_async_script(_FRAME.replace("{act}", act)) / 1000
            return out


def section(found: Measured) -> Section:
    """The findings as a page shows them."""
    rows = []
    for name, all_s in found.seconds.items():
        limit = verdict(median(all_s), _LIMITS[name], "s") if name in _LIMITS else ""
        rows.append([name, f"{1000 * median(all_s):.0f}", limit])
    size = found.size_bytes / 1e6
    rounds = len(found.seconds[WRITTEN])
    note = (
        f"{found.logs.files:,} runs of {found.logs.epochs:,} epochs, {found.logs.points:,} points, all in the page:"
        f" {size:.1f} MB ({verdict(size, SIZE_LIMIT_MB, 'MB')}). Median of {rounds} rounds, each in a browser that was"
        " started for it; what Chromium needs is counted from the start of the navigation."
    )
    return Section("page", "A page", results.table(["", "milliseconds", "limit"], rows) + "\n" + note)


def main() -> None:
    """Measure, print the section, and put it on RESULTS.md when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="refresh the section in RESULTS.md")
    words = parser.parse_args()
    processes.compile_bytecode()
    with tempfile.TemporaryDirectory(prefix="expdb-benchmark-") as at:
        try:
            made = section(measure(Logs(words.runs, words.epochs), words.rounds, Path(at)))
        except processes.CommandError as error:
            sys.exit(str(error))
    command = results.command_line("benchmarks.page")
    print(made.text(command))
    if words.write:
        made.write(command)


if __name__ == "__main__":
    main()
