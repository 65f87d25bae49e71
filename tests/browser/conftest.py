"""A real server, started as a user starts it, and a real Chromium. Each test takes `page` and `app_url`."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

from ddpm import jobs
from ddpm.files import RunFolder
from tests.browser.driver import find_chromium

expect.set_options(timeout=30_000)  # as for everything else that a test waits for

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# No GPU, no QUIC, and none of what Chromium fetches for itself.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def chromium() -> str:
    path = find_chromium()
    if not path:
        reason = "no Chromium: install chromium or Google Chrome, or set CHROMIUM=/path/to/one"
        if os.environ.get("DDPM_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def app_url(chromium, tmp_path_factory):
    """The address of one server for all browser tests. Needs the Chromium first: without one, nothing is started."""
    with serve(tmp_path_factory.mktemp("server")) as url:
        yield url


def app_command(port: int) -> list[str]:
    app = ["streamlit", "run", "streamlit_app.py", "--server.address=127.0.0.1", f"--server.port={port}"]
    return [sys.executable, "-m", *app]


def environment(folder: Path) -> dict[str, str]:
    """This process's, with the outputs in ``folder``."""
    return os.environ | {"DDPM_OUTPUT_DIR": str(folder / "outputs")}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def server_at(url: str) -> psutil.Process:
    """The process behind an address that ``serve`` yielded."""
    port = int(url.rsplit(":", 1)[1])
    return next(
        process
        for process in psutil.Process().children(recursive=True)
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
    )


@contextmanager
def serve(
    folder: Path,
    command=app_command,
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
    port: int | None = None,
    health: str = "/_stcore/health",
):
    """A server with its outputs and its log in ``folder``, on a free port unless one is given; yields its address.

    ``command`` makes the command line of a port; ``env`` is its whole environment, this process's unless it is given;
    ``health`` is the path that answers once it serves.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    with open(folder / "server.log", "a+", encoding="utf-8") as log:
        server = subprocess.Popen(
            command(port),
            cwd=cwd,
            env=environment(folder) if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(url + health, server, Path(log.name))
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def plain_server(files: Path, folder: Path):
    """A plain file server of ``files``, as ``serve``, with its log in ``folder``."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(files)]
    return serve(folder, lambda port: [*command, str(port)], health="/")


def _wait_until_healthy(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start; its log:\n{log.read_text(encoding='utf-8')}")


def _is_probe(url: str) -> bool:
    # Opened at a page's own address, Streamlit first looks for its server below that address, and gets a 404.
    return re.fullmatch(r"/[^/]+/_stcore/(health|host-config)", urlsplit(url).path) is not None


@pytest.fixture
def folder(tmp_path):
    """A server's folder; no run in it outlives the test."""
    yield tmp_path
    for config in (tmp_path / "outputs").glob("*/config.yaml"):
        jobs.kill(RunFolder(config.parent))


@pytest.fixture
def page(browser):
    """A page in a context of its own. The test fails where the page logged an error, a request failed, or one left
    this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints = []

    def on_request(request):
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            complaints.append(f"left this machine: {request.url}")

    def on_request_failed(request):
        # A request that the page itself gave up, as when it is left, is no failure.
        if request.failure != "net::ERR_ABORTED":
            complaints.append(f"failed: {request.url} ({request.failure})")

    def on_response(response):
        if response.status >= 400 and not _is_probe(response.url):
            complaints.append(f"{response.status}: {response.url}")

    def on_console(message):
        if message.type == "error" and not _is_probe(message.location["url"]):
            complaints.append(f"console: {message.text}")

    context.on("request", on_request)
    context.on("requestfailed", on_request_failed)
    context.on("response", on_response)
    context.on("console", on_console)
    context.on("weberror", lambda error: complaints.append(f"uncaught: {error.error}"))
    yield page
    context.close()
    assert not complaints, "\n".join(complaints)
