"""What visitors leave behind in a server's memory, and how long many at once wait: ``python -m benchmarks.visitors``.

``--at-once`` visitors open the Playground of a fresh server together: printed is how long each waits for the finished
page. Then visitors come one after the other: each opens Home, the Playground, Schedules and Evaluate, every page in a
session of its own, as by a link, and goes. Printed is the server's memory after every ten, and some time after the last
has left; it should be flat after the first twenty. They speak Streamlit's protocol and draw nothing: browsers on the
same machine would take most of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.browser.conftest import serve, server_at
from tests.websocket_client import connect

from .public import memory

PATH = ("", "playground", "schedules", "evaluate")
EVERY = 10  # visitors between two lines


def visit(url: str, page: str, query: str = "") -> float:
    """Open a page and leave once it is finished; the seconds that it took."""
    with connect(url, origin=url) as visitor:
        return visitor.open(page, query)


def one_by_one(url: str, server: psutil.Process, count: int, wait: float) -> None:
    print(f"{'visitors':>8} {'MB':>6} {'threads':>7}")
    started = time.monotonic()
    for i in range(1, count + 1):
        for page in PATH:
            visit(url, page)
        if i % EVERY == 0 or i == 3:
            print(f"{i:8} {memory(server) / 1e6:6.0f} {server.num_threads():7}", flush=True)
    print(f"{(time.monotonic() - started) / count:.1f} s a visitor", flush=True)
    time.sleep(wait)
    print(f"{memory(server) / 1e6:.0f} MB {wait:g} s after the last has left", flush=True)


def at_once(url: str, count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        waits = sorted(pool.map(lambda _: visit(url, "playground"), range(count)))
    print(f"{count} at once: the first after {waits[0]:.1f} s, the last after {waits[-1]:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visitors", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="visitors one after the other (default 100)")
    parser.add_argument("--at-once", type=int, default=10, help="visitors at once before them (default 10)")
    parser.add_argument("--wait", type=float, default=150, help="seconds after the last has left (default 150)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as url:
        if arguments.at_once:
            at_once(url, arguments.at_once)
        if arguments.count:
            one_by_one(url, server_at(url), arguments.count, arguments.wait)


if __name__ == "__main__":
    main()
