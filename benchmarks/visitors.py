"""What visitors leave behind, and how long many at once wait: ``python -m benchmarks.visitors``.

Visitors come one after the other to a real server, in browsers of their own: each opens Home, the Playground, Schedules
and Evaluate, waits for the pictures, and goes. Printed is the server's memory after every ten, and some time after the
last has left; it should be flat after the first twenty. Before them ``--at-once`` visitors open the Playground of the
fresh server together: printed is how long each waits for the picture.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS, serve, server_at
from tests.browser.driver import find_chromium, wait_until_idle

from .public import memory, opened

PATH = ("", "playground", "schedules", "evaluate")
EVERY, PATIENCE = 10, 600_000  # visitors between two lines; milliseconds for a page


def visit(browser: Browser, url: str) -> None:
    """One visitor from the first page to the last, in a context of their own."""
    page = opened(browser)
    for path in PATH:
        page.goto(f"{url}/{path}")
        page.locator("h1").wait_for()
        wait_until_idle(page, PATIENCE)
    page.context.close()


def one_by_one(browser: Browser, url: str, server: psutil.Process, count: int, wait: float) -> None:
    print(f"{'visitors':>8} {'MB':>6} {'threads':>7}")
    started = time.monotonic()
    for i in range(1, count + 1):
        visit(browser, url)
        if i % EVERY == 0 or i == 3:
            print(f"{i:8} {memory(server) / 1e6:6.0f} {server.num_threads():7}", flush=True)
    print(f"{(time.monotonic() - started) / count:.1f} s a visitor")
    time.sleep(wait)
    print(f"{memory(server) / 1e6:.0f} MB {wait:g} s after the last has left")


def at_once(browser: Browser, url: str, count: int) -> None:
    pages = [opened(browser) for _ in range(count)]
    started = time.monotonic()
    for page in pages:
        page.goto(f"{url}/playground", wait_until="commit", timeout=PATIENCE)
    waits, waiting = [], list(pages)
    while waiting:
        for page in list(waiting):
            if page.locator("img[alt='10 generated images']").count():
                waits.append(time.monotonic() - started)
                waiting.remove(page)
    for page in pages:
        page.context.close()
    print(f"{count} at once: the first after {waits[0]:.1f} s, the last after {waits[-1]:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visitors", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="visitors one after the other (default 100)")
    parser.add_argument("--at-once", type=int, default=10, help="visitors at once before them (default 10)")
    parser.add_argument("--wait", type=float, default=150, help="seconds after the last has left (default 150)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, serve(Path(folder)) as url:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        if arguments.at_once:
            at_once(browser, url, arguments.at_once)
        if arguments.count:
            one_by_one(browser, url, server_at(url), arguments.count, arguments.wait)
        browser.close()


if __name__ == "__main__":
    main()
