"""A headless Chromium for tests: pages as a person's browser shows them, and nothing fetched from afar.

The fixture `browser` (conftest) is one: browser.get(url), then settled(browser, lambda: "done" in text(browser)).
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import requires

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--no-default-browser-check", "--window-size=1400,1000", "--force-device-scale-factor=1", "--lang=en-US"),
    # A page is to be whole with what it brings itself: every name but the loopback's leads nowhere.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
)


def start() -> "tuple[Chrome, Path]":
    """A browser and the folder of its profile, which is to be deleted after `quit`.

    Skips, or fails where EXPDB_REQUIRE names chromium, without Chromium, its driver or selenium.
    """
    requires("chromium", CHROMIUM and DRIVER, "chromium and chromedriver are not installed")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        requires("chromium", None, "selenium is not installed")
        raise
    profile = Path(tempfile.mkdtemp(prefix="expdb-chromium-"))
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With a path it does not look for a driver on the network.
    driver = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(30)
    return driver, profile


def settled(browser: "Chrome", check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What check says once it is true; fails with the page's text and its console where that takes too long.

    A part of the page that is replaced while it is looked at counts as not there yet.
    """
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

    end = time.monotonic() + seconds
    while True:
        try:
            if found := check():
                return found
        except (NoSuchElementException, StaleElementReferenceException):
            pass
        shown = "" if time.monotonic() < end else f"{browser.current_url}:\n{text(browser)}\n{said(browser)}"
        assert not shown, f"not within {seconds} s at {shown}"
        time.sleep(0.05)


def text(browser: "Chrome") -> str:
    """What a person can read on the page now."""
    return str(browser.execute_script("return document.body ? document.body.innerText : ''"))


def said(browser: "Chrome") -> list[str]:
    """What the page wrote to its console since this was last asked: errors of scripts, refused requests."""
    return [f"{entry['level']}: {entry['message']}" for entry in browser.get_log("browser")]


def of_page(script: str, browser: "Chrome") -> Any:
    """The value of an expression of JavaScript in the page, as JSON has it."""
    return json.loads(browser.execute_script(f"return JSON.stringify({script})") or "null")
