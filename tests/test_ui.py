"""`expdb ui`: MLflow's page over this database, as a person sees it in a browser; and its end, whatever ends it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from browsers import said, settled, text
from commands import environment, expdb_in
from conftest import WriteLog
from engines import descendants, free_ports, until

from expdb.bridges import serving
from expdb.errors import DatabaseError, UsageError

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

EXAMPLES = Path(__file__).parent.parent / "examples"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
RUNS = 4


def start(folder: Path, *words: str) -> "tuple[subprocess.Popen[str], str, list[int]]":
    """`expdb ui` as a person starts it, the address for clients, and all its processes."""
    # What the server says goes to a file that a test may read.
    with (folder / "said.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "expdb", "ui", *words],
            cwd=folder,
            env=environment({"EXPDB_DEBUG": "1"}),
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
    assert process.stdout is not None
    found = None
    while found is None:
        line = process.stdout.readline()
        assert line, (folder / "said.txt").read_text()
        found = re.fullmatch(r"(http\S+)  \(Ctrl-C ends it\)\n", line)
    return process, found[1], descendants(process.pid)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Page:
    """A page that is open to be looked at. experiment: of the four runs of examples/logs, by name their uids."""

    url: str
    folder: Path
    experiment: str
    runs: dict[str, str]

    def at(self, place: str) -> str:
        return f"{self.url}/#/experiments/{self.experiment}/{place}"


def ask(url: str, path: str, body: object) -> Any:
    """What MLflow's REST API answers."""
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def browser(browser: "Chrome", page: Page) -> "Chrome":
    """A browser of somebody who has chosen Model training, and closed what covers half of the page."""
    browser.get(page.url)
    browser.execute_script(
        "localStorage.setItem('mlflow.workflowType_v1', '\"machine_learning\"');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    browser.get("about:blank")
    return browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page over a database filled by ingest, one of whose runs has a hostile name."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(EXAMPLES / "logs", folder / "logs")
    shutil.copytree(EXAMPLES / "pages", folder / "pages")
    expdb = expdb_in(folder)
    assert expdb("ingest", "logs", "pages").returncode == 0
    assert expdb("edit", "vgg16", "--name", HOSTILE, "-s", f"{HOSTILE}={HOSTILE}", "-t", f"t={HOSTILE}").returncode == 0
    (folder / "diverged.log").write_text("epoch 1, loss 1.5\nepoch 2, loss inf\n")
    assert expdb("ingest", "diverged.log", "-e", "diverged").returncode == 0
    (port,) = free_ports(1)
    process, url, _ = start(folder, "--port", str(port))
    try:
        found = ask(url, "experiments/search", {"max_results": 10})["experiments"]
        (experiment,) = [one["experiment_id"] for one in found if one["name"] == "logs"]
        runs = ask(url, "runs/search", {"experiment_ids": [experiment]})["runs"]
        yield Page(url, folder, experiment, {run["info"]["run_name"]: run["info"]["run_id"] for run in runs})
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()


def clicked(browser: "Chrome", css: str, words: str) -> Any:
    """Whether an element with these words was there to be clicked."""
    from selenium.common.exceptions import ElementNotInteractableException, WebDriverException
    from selenium.webdriver.common.by import By

    for one in browser.find_elements(By.CSS_SELECTOR, css):
        if one.text.strip() == words:
            try:
                one.click()
            except (ElementNotInteractableException, WebDriverException):
                return False
            return True
    return False


def ticked(browser: "Chrome", words: str) -> bool:
    """Whether an entry of a tree with boxes was there to be ticked."""
    script = (
        "const all = [...document.querySelectorAll('[class*=tree-treenode]')];"
        "const node = all.find(n => n.textContent == arguments[0]);"
        "const box = node && node.querySelector('span[class*=tree-checkbox]'); if (box) box.click(); return !!box"
    )
    return bool(browser.execute_script(script, words))


def shows(browser: "Chrome", *words: str) -> bool:
    found = text(browser)
    return all(word in found for word in words)


def is_untouched(browser: "Chrome") -> bool:
    """Whether nothing that a name says was executed, or became a part of the page."""
    found = browser.execute_script("return [document.title, document.querySelectorAll('img[src=x]').length]")
    return bool(found[0] != "taken" and found[1] == 0)


def test_the_runs_stand_in_a_list_with_their_metrics(page: Page, browser: "Chrome") -> None:
    browser.get(page.at("runs"))
    settled(browser, lambda: shows(browser, "resnet18", "resnet34", "googlenet", f"{RUNS} matching runs"))
    settled(browser, lambda: clicked(browser, "button", "Columns"))
    for column in ("test/accuracy", "train/loss"):
        settled(browser, lambda column=column: ticked(browser, column))  # type: ignore[misc]
    settled(browser, lambda: shows(browser, "0.917", "0.922", "0.889", "0.0276"))
    assert shows(browser, HOSTILE)
    assert is_untouched(browser)


def test_the_runs_are_drawn_as_curves(page: Page, browser: "Chrome") -> None:
    browser.get("about:blank")
    browser.get(page.at("runs?compareRunsMode=CHART"))
    count = "return document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length"
    settled(
        browser, lambda: shows(browser, "test/accuracy", "train/loss") and browser.execute_script(count) >= 2 * RUNS
    )
    settled(browser, lambda: shows(browser, "resnet18 (test/accuracy)", "train/loss"))
    assert is_untouched(browser)


def test_a_run_has_a_page_of_its_own(page: Page, browser: "Chrome") -> None:
    browser.get("about:blank")
    browser.get(page.at(f"runs/{page.runs['resnet18']}"))
    settled(browser, lambda: shows(browser, "resnet18", "Metrics (4)", "0.917", "Finished", "train.log"))
    browser.get(page.at(f"runs/{page.runs['resnet18']}/model-metrics"))
    count = "return document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length"
    settled(browser, lambda: browser.execute_script(count) >= 2)


def test_a_run_that_ended_at_infinity_can_be_opened_and_is_told_whole(page: Page, browser: "Chrome") -> None:
    found = ask(page.url, "experiments/search", {"max_results": 10})["experiments"]
    (experiment,) = [one["experiment_id"] for one in found if one["name"] == "diverged"]
    (run,) = ask(page.url, "runs/search", {"experiment_ids": [experiment]})["runs"]
    assert [one["value"] for one in run["data"]["metrics"]] == ["Infinity"]
    browser.get("about:blank")
    browser.get(f"{page.url}/#/experiments/{experiment}/runs/{run['info']['run_id']}")
    settled(browser, lambda: shows(browser, "diverged", "Metrics (1)", "1.797", "Finished"))


def test_a_hostile_name_is_shown_and_not_executed(page: Page, browser: "Chrome") -> None:
    browser.get("about:blank")
    browser.get(page.at(f"runs/{page.runs[HOSTILE]}"))
    settled(browser, lambda: shows(browser, HOSTILE, "Parameters (1)", "Metrics (4)"))
    assert is_untouched(browser)


def test_two_runs_stand_beside_each_other(page: Page, browser: "Chrome") -> None:
    runs = json.dumps([page.runs["resnet18"], page.runs[HOSTILE]], separators=(",", ":"))
    browser.get("about:blank")
    browser.get(f"{page.url}/#/compare-runs?runs={quote(runs)}&experiments={quote(json.dumps([page.experiment]))}")
    settled(browser, lambda: shows(browser, "Comparing 2 Runs", "resnet18", HOSTILE, "0.917", "0.852"))
    assert is_untouched(browser)


def test_a_page_of_results_has_its_values_too(page: Page, browser: "Chrome") -> None:
    browser.get("about:blank")
    browser.get(f"{page.url}/#/experiments")
    settled(browser, lambda: shows(browser, "动物图片分类", "Fusing the residual branch"))
    settled(browser, lambda: clicked(browser, "a", "Fusing the residual branch"))
    settled(browser, lambda: shows(browser, "Product instead of sum row 9", "9 matching runs"))


def test_nothing_that_the_page_asks_for_fails(page: Page, browser: "Chrome") -> None:
    said(browser)
    for place in (
        "traces",
        "models",
        "evaluation-runs",
        "datasets",
        "prompts",
        f"runs/{page.runs['resnet34']}/artifacts",
    ):
        browser.get("about:blank")
        browser.get(page.at(place))
        settled(browser, lambda: shows(browser, "logs"))
        browser.execute_async_script("requestIdleCallback(arguments[0])")
    time.sleep(0.5)
    log = (page.folder / "said.txt").read_text()
    assert re.findall(r'"[A-Z]+ (\S+) HTTP/1.1" 5\d\d', log) == []
    assert "Traceback" not in log
    # Without users MLflow's own server does not know the current one either.
    errors = [line for line in said(browser) if line.startswith("SEVERE") and "/users/current" not in line]
    assert [line for line in errors if page.url in line and "ResizeObserver" not in line] == []


def test_files_cannot_be_fetched_from_outside_their_folder(page: Page) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uid = page.runs["resnet18"]
    secret = page.folder / "secret.txt"
    secret.write_text("secret")
    up = "/".join([".."] * 12)
    for path in (f"{up}{secret}", f"..%2F..%2F{up}{secret}", str(secret), f"file://{secret}", f"a/{up}{secret}"):
        for place in (
            "get-artifact?run_uuid",
            "ajax-api/2.0/mlflow/artifacts/list?run_id",
            "api/2.0/mlflow/artifacts/list?run_id",
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{page.url}/{place}={uid}&path={quote(path)}", timeout=30)
            assert 400 <= refused.value.code < 500
            refused.value.close()
    of = MlflowClient(page.url)
    for path in (f"{up}{secret}", str(secret)):
        with pytest.raises((MlflowException, OSError)):
            of.download_artifacts(uid, path, str(page.folder))
    with pytest.raises(MlflowException):
        of.log_artifact(uid, str(secret), "../../..")
    of.log_artifact(uid, str(secret), "good")
    assert Path(of.get_run(uid).info.artifact_uri.removeprefix("file://"), "good", "secret.txt").read_text() == "secret"


def test_the_database_is_neither_pulled_from_nor_pushed_to_itself(page: Page) -> None:
    expdb = expdb_in(page.folder)
    state = "SELECT count(*), (SELECT count(*) FROM point), (SELECT count(*) FROM tag) FROM run"
    before = expdb("sql", state, "--format", "csv").stdout
    assert "0 new runs, 0 as they were, 18 that came from here; 0 new points" in expdb("pull", page.url).stdout
    assert "0 new runs, 0 as they were, 18 that came from there; 0 new points" in expdb("push", page.url).stdout
    assert expdb("sql", state, "--format", "csv").stdout == before


# ── beginning and end ──


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_whatever_ends_it(signum: signal.Signals, tmp_path: Path, write_log: WriteLog) -> None:
    write_log()
    expdb_in(tmp_path)("ingest", "logs")
    (port,) = free_ports(1)
    process, url, family = start(tmp_path, "--port", str(port))
    assert len(family) >= 3
    with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(signum)
    assert process.wait(30) == (0 if signum == signal.SIGTERM else -signal.SIGKILL)
    until(lambda: not any(map(is_alive, family)), what=lambda: [pid for pid in family if is_alive(pid)])
    assert serving.free_port("127.0.0.1", port) == port
    assert process.stdout is not None
    process.stdout.close()


def test_a_port_that_is_taken_is_said_and_another_one_found() -> None:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken"):
            serving.free_port("127.0.0.1", port)
    assert serving.free_port("127.0.0.1", None) >= serving.FIRST_PORT
    with pytest.raises(UsageError, match="no address of this machine"):
        serving.free_port("192.0.2.1", None)


def test_only_this_machine_is_served_unless_told_otherwise(tmp_path: Path, write_log: WriteLog) -> None:
    assert [host for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8") if not serving.is_loopback(host)] == []
    assert [host for host in ("0.0.0.0", "::", "10.0.0.1", "example.com") if serving.is_loopback(host)] == []
    expdb = expdb_in(tmp_path)
    assert "there is no database" in expdb("ui").stderr
    write_log()
    expdb("ingest", "logs")
    # An address nobody has: told what it means, and then refused.
    told = expdb("ui", "--host", "192.0.2.1")
    assert told.returncode == 2
    assert "192.0.2.1 can be reached from other machines" in told.stderr


def test_a_server_that_does_not_start_says_why(tmp_path: Path, write_log: WriteLog) -> None:
    write_log()
    expdb = expdb_in(tmp_path)
    expdb("ingest", "logs")
    told = expdb("ui", env={"MLFLOW_ENABLE_WORKSPACES": "true", "MLFLOW_WORKSPACE_STORE_URI": "nonsense://x"})
    assert told.returncode == 1
    assert told.stderr.startswith("expdb: MLflow's server does not start")


def test_a_file_that_may_only_be_read_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write to any file.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with (
        pytest.raises(DatabaseError, match="may not be written to"),
        serving.serving(tmp_path / "a.db", "127.0.0.1", 1),
    ):
        pass
