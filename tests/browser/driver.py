"""What the browser tests share beside their fixtures: which Chromium they drive, and when a page has settled.

Run as a script, it prints the Chromium's path or exits 1; `make test` asks so whether one has to be installed.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from playwright.sync_api import TimeoutError as Late

CHROMIUMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
SLOW = 400_000  # ms for a run, which gives way to everything else that this machine does


def _runs(path: str) -> bool:
    # Ubuntu's chromium-browser may be a script that only says where to get one, and a download may lack libraries.
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_chromium() -> str | None:
    """The Chromium to drive: $CHROMIUM and nothing else where it is set; one in PATH; Playwright's own."""
    if named := os.environ.get("CHROMIUM"):
        found = shutil.which(named)
        return found if found and _runs(found) else None
    for name in CHROMIUMS:
        if (found := shutil.which(name)) and _runs(found):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.executable_path
    return found if os.path.exists(found) and _runs(found) else None


def wait_until_idle(page, timeout: float = 30_000) -> None:
    """Wait until the script behind the page has run to its end (milliseconds, as everywhere in Playwright)."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=timeout)


def open_page(page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("h1")
    wait_until_idle(page, 60_000)


def unfold(expander) -> None:
    """Open an expander that may move at any time, since the charts above it are still being drawn: a click that began
    on it and ended beside it does nothing."""
    details = expander.locator("details")
    for wait in (1_000, 5_000, 30_000):
        if details.get_attribute("open") is None:
            expander.locator("summary").click()
        with suppress(Late):
            return expander.get_by_test_id("stExpanderDetails").first.wait_for(timeout=wait)
    raise AssertionError(f"does not open: {expander.locator('summary').inner_text()}")


def wait_until(page, holds: Callable[[], bool], seconds: float = 30) -> None:
    """For what no expectation of Playwright's can say, such as what canvases show."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        page.wait_for_timeout(50)


if __name__ == "__main__":
    path = find_chromium()
    if not path:
        sys.exit(1)
    print(path)
