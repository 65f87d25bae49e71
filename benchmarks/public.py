"""What twenty visitors who keep asking for the most can do to a public page: ``python -m benchmarks.public``.

A server in public mode, and real browser sessions: most of them roll the most expensive picture that the Playground
allows, one after the other, some climb the widest ladder; beside them others come, one at a time, who ask for 16
digits, and one who moves a slider of the Schedules page. Printed are what went wrong, how long those others waited,
from opening the page to the picture and from the key to the answer, and the server's memory and threads, which should
stay flat after the first two minutes. The browsers run on the same machine and take their share of it.

With ``--live slider`` all of them drag: the steps of the distilled model, then its seed, each as soon as the picture
has followed; with ``--live pen`` they draw strokes that the same model makes digits of; with ``--live lessons`` they
are a class, see ``lessons.py``. With ``--think 3`` they look at every answer for three seconds, as people do. Printed
is how long it took from the hand to the picture.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS
from tests.browser.driver import find_chromium

from .lessons import study

ROOT = Path(__file__).parent.parent
GOAL_BYTES, GOAL_SECONDS, GOAL_LIVE_SECONDS = 3e9, 60, 2
MOST = "playground?play_count=20&play_steps=50&play_seed={seed}"  # as much as a page may ask for
LADDER = "ladder?ladder_seed={seed}"
WARM_UP = 120  # seconds, after which memory and threads should stay as they are
STATE = """() => ({
  running: document.querySelector('[data-testid=stApp]')?.dataset.testScriptState !== 'notRunning',
  exceptions: document.querySelectorAll('[data-testid=stException]').length,
  picture: document.querySelector('img[alt="16 generated images"]')?.src.slice(-300) ?? '',
  stop: document.querySelectorAll('.st-key-sampling_stop, .st-key-ladder_stop').length,
})"""


@dataclass
class Greedy:
    """A visitor who asks for the next one as soon as the last one is there."""

    page: Page
    button: str
    asked: int = 0
    wrong: int = 0

    def look(self) -> None:
        state = self.page.evaluate(STATE)
        self.wrong += state["exceptions"]
        if not state["running"] and not state["stop"]:
            self.page.locator(f".st-key-{self.button} button").first.click(timeout=20_000, no_wait_after=True)
            self.asked += 1


@dataclass
class Ordinary:
    """Visitors one after the other, who come, ask for 16 digits, and go when these are there."""

    browser: Browser
    url: str
    every: float
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    asked: float = 0.0
    done: float = 0.0
    page: Page | None = None

    def look(self) -> None:
        now = time.monotonic()
        if self.page is None:
            if now - self.done > self.every:
                self.page, self.asked = opened(self.browser), now
                self.page.goto(f"{self.url}/playground?play_count=16&play_seed={len(self.seconds)}")
            return
        state = self.page.evaluate(STATE)
        self.wrong += state["exceptions"]
        if state["picture"] and not state["stop"]:
            self.seconds.append(now - self.asked)
            print(f"  16 digits after {self.seconds[-1]:.1f} s", flush=True)
            self.page.context.close()
            self.page, self.done = None, now


@dataclass
class Learner:
    """A visitor who moves t on the Schedules page, and waits for the images to follow, which the browser draws."""

    page: Page
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0

    def look(self) -> None:
        image = ".noised .large figure:nth-of-type(2) img"
        before = self.page.locator(image).get_attribute("alt")
        slider = self.page.locator(".st-key-sched_t").get_by_role("slider")
        slider.focus()
        pressed = time.monotonic()
        slider.press("ArrowLeft" if len(self.seconds) // 60 % 2 else "ArrowRight")
        self.page.wait_for_function(
            "([image, before]) => document.querySelector(image)?.alt !== before", arg=[image, before]
        )
        self.seconds.append(time.monotonic() - pressed)
        self.wrong += self.page.evaluate(STATE)["exceptions"]


ANSWERS = """(picture) => {
  window.asked = window.answered = 0;
  let before = document.querySelector(picture)?.src;
  const look = () => {
    const now = document.querySelector(picture)?.src;
    if (now && now !== before) [before, window.answered] = [now, performance.now()];
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributeFilter: ["src"] });
}"""


@dataclass
class Follower:
    """A visitor who acts as soon as the picture has followed, or ``think`` seconds after, and the seconds that it took
    each time."""

    page: Page
    think: float = 0
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    moves: int = 0
    clicks: int = 0
    acted: float = 0
    picture = ""

    def look(self) -> None:
        self.wrong += self.page.evaluate(STATE)["exceptions"]
        if self.moves == 0:
            self.page.locator(self.picture).wait_for()
            self.begin()
            self.page.evaluate(ANSWERS, self.picture)
        else:
            milliseconds = self.page.evaluate("window.answered - window.asked")
            if milliseconds < 0:
                self.insist()
            if milliseconds < 0 or time.monotonic() < self.acted + milliseconds / 1000 + self.think:
                return
            self.seconds.append(milliseconds / 1000)
        self.act()
        self.acted = time.monotonic()
        self.moves += 1

    def begin(self) -> None:
        """Do what has to come first."""

    def act(self) -> None:
        raise NotImplementedError

    def insist(self) -> None:
        """Do what the page asks for before it answers."""


class Dragger(Follower):
    """Of the Playground: drags the steps from 4 to 1, takes another seed, drags them back, and so on."""

    address = "playground?play_model=mnist-fast&play_steps=4&play_seed={seed}"
    picture = 'img[alt="10 generated images"]'

    def begin(self) -> None:
        for _ in range(2):  # of a model that has drawn nothing yet a server does not know whether it is quick
            self.page.locator(".st-key-play_roll button").first.click()
            self.page.wait_for_timeout(1000)
            self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()

    def act(self) -> None:
        self.page.evaluate("window.asked = performance.now()")
        turn, place = divmod(self.moves, 3)
        if place == 2:
            self.page.locator(".st-key-play_seed input").press("ArrowUp", no_wait_after=True)
        else:
            slider = self.page.locator(".st-key-play_steps").get_by_role("slider")
            slider.press("ArrowRight" if turn % 2 else "ArrowLeft", no_wait_after=True)

    def insist(self) -> None:
        button = self.page.locator(".st-key-play_generate button")
        if button.is_visible() and not self.page.evaluate(STATE)["running"]:
            button.click(no_wait_after=True)
            self.clicks += 1


class Sketcher(Follower):
    """Of the Draw page: draws a stroke, and another one, and clears them after five. The time is that from lifting the
    pen."""

    address = "draw?draw_model=mnist-fast&draw_seed={seed}"
    picture = 'img[alt="4 answers"]'

    def act(self) -> None:
        canvas = self.page.locator(".drawing canvas")
        canvas.evaluate("(element) => element.scrollIntoView()")  # after Clear, which may be below the window
        box = canvas.bounding_box()
        if self.moves % 6 == 5:
            self.page.evaluate("window.asked = performance.now()")
            self.page.locator(".drawing .clear").click(no_wait_after=True)
            return
        mouse, low = self.page.mouse, 0.1 + 0.8 * (0.618 * self.moves % 1)  # none twice: that would be kept
        mouse.move(box["x"] + low * box["width"], box["y"] + 0.2 * box["height"])
        mouse.down()
        mouse.move(box["x"] + (1 - low) * box["width"], box["y"] + 0.8 * box["height"])
        self.page.evaluate("window.asked = performance.now()")
        mouse.up()


FOLLOWERS = {"slider": Dragger, "pen": Sketcher}


@dataclass
class Watch:
    """The server's memory and threads over time."""

    server: psutil.Process
    started: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, int, int]] = field(default_factory=list)

    def look(self) -> None:
        self.seen.append((time.monotonic() - self.started, memory(self.server), self.server.num_threads()))

    def report(self) -> None:
        peak = max(size for _, size, _ in self.seen)
        print(f"memory: peak {peak / 1e9:.2f} GB (goal: under {GOAL_BYTES / 1e9:g} GB)")
        warm = [seen for seen in self.seen if seen[0] > WARM_UP]
        for name, part in zip(("first", "last"), (warm[: len(warm) // 4], warm[-(len(warm) // 4) :]), strict=True):
            if part:
                sizes, threads = (statistics.median(seen[i] for seen in part) for i in (1, 2))
                print(f"  {name} quarter after {WARM_UP} s: median {sizes / 1e9:.2f} GB, {threads:g} threads")


def waits(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]
    median, longest = statistics.median(ordered), ordered[-1]
    return f"{len(ordered)} times, median {median:.2f} s, p95 {p95:.2f} s, longest {longest:.2f} s"


def memory(server: psutil.Process) -> int:
    """Bytes of the server and all that it started."""
    total = 0
    for process in (server, *server.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def cpu_seconds(server: psutil.Process) -> float:
    """Of the server so far, user and system."""
    times = server.cpu_times()
    return times.user + times.system


def start(port: int, folder: Path) -> subprocess.Popen:
    environment = os.environ | {"DDPM_PUBLIC": "1", "DDPM_OUTPUT_DIR": str(folder / "outputs")}
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", f"--server.port={port}"]
    with open(folder / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
                return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise SystemExit(f"the server did not start:\n{(folder / 'server.log').read_text(encoding='utf-8')}")


def opened(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 800, "height": 600}).new_page()
    page.set_default_timeout(120_000)
    return page


def drive(url: str, browser: Browser, server: psutil.Process, arguments: argparse.Namespace) -> None:
    greedy = []
    for i in range(arguments.sessions):
        button, address = ("ladder_go", LADDER) if i % 5 == 4 else ("play_roll", MOST)
        greedy.append(Greedy(opened(browser), button))
        greedy[-1].page.goto(f"{url}/{address.format(seed=i)}")
    ordinary, learner = Ordinary(browser, url, arguments.every), Learner(opened(browser))
    learner.page.goto(f"{url}/schedules")
    go_round([ordinary, learner, *greedy], server, arguments.minutes)
    if ordinary.page:
        print(f"  the last 16 digits had not come after {time.monotonic() - ordinary.asked:.1f} s")
        ordinary.seconds.append(time.monotonic() - ordinary.asked)
    asked = sorted(visitor.asked for visitor in greedy)
    print(f"the greedy asked {sum(asked)} times, each {asked[0]} to {asked[-1]}")
    print(f"16 digits: {waits(ordinary.seconds)} (goal: within {GOAL_SECONDS} s)")
    print(f"slider: {waits(learner.seconds)}")


def drag(url: str, browser: Browser, server: psutil.Process, arguments: argparse.Namespace) -> None:
    kind = FOLLOWERS[arguments.live]
    followers = [kind(opened(browser), arguments.think) for _ in range(arguments.sessions)]
    for i, follower in enumerate(followers):
        follower.page.goto(f"{url}/{kind.address.format(seed=1000 * i)}")
    before = cpu_seconds(server)
    go_round(followers, server, arguments.minutes, pause=0.1)
    took = cpu_seconds(server) - before
    answers = [seconds for follower in followers for seconds in follower.seconds]
    each, cores = took / max(1, len(answers)), took / arguments.minutes / 60
    print(f"the server's CPU time: {each:.2f} s an answer, {cores:.2f} cores; the browsers have the rest")
    print(f"clicks where the page asked for one: {sum(follower.clicks for follower in followers)}")
    print(f"from hand to picture: {waits(answers)} (goal: a median under {GOAL_LIVE_SECONDS} s)")


def teach(url: str, browser: Browser, server: psutil.Process, arguments: argparse.Namespace) -> None:
    print(f"{arguments.sessions} students for {arguments.minutes:g} minutes", flush=True)
    before = cpu_seconds(server)
    students = study(url, server, arguments)
    took = cpu_seconds(server) - before
    answers, others = ([seconds for student in students for seconds in getattr(student, kind)]
                       for kind in ("answers", "others"))  # fmt: skip
    wrong = [fault for student in students for fault in student.wrong]
    print(f"the server's CPU time: {took / max(1, len(answers)):.2f} s a card; memory {memory(server) / 1e9:.2f} GB")
    print(f"went wrong: {len(wrong)} {wrong[:3] or ''}")
    print(f"to open a card, and to take a choice: {waits(others)}")
    print(f"from running the experiment to its answer: {waits(answers)} (goal: a median under {GOAL_LIVE_SECONDS} s)")


def go_round(visitors: list, server: psutil.Process, minutes: float, pause: float = 1) -> None:
    """Let the visitors act in turn; ``pause`` in seconds after each round, since looking costs the machine that is
    looked at."""
    watch = Watch(server)
    print(f"{len(visitors)} sessions are asking; {minutes:g} minutes from now", flush=True)
    end, failures = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end and server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        for visitor in visitors:
            try:
                visitor.look()
            except Exception as error:  # a click that came between two drawings; counted and told, never hidden
                failures += 1
                print(f"  {type(visitor).__name__}: {str(error).splitlines()[0]}", flush=True)
        watch.look()
        time.sleep(pause)
    print(f"up: {'yes' if server.is_running() else 'NO'}")
    watch.report()
    wrong = sum(visitor.wrong for visitor in visitors)
    print(f"exceptions on the pages: {wrong}; clicks that failed: {failures}")


@contextmanager
def closing_down(server: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        server.terminate()
        server.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.public", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5, help="how long (default 5)")
    parser.add_argument("--sessions", type=int, default=20, help="visitors who keep asking (default 20)")
    parser.add_argument("--every", type=float, default=30, help="seconds between two others (default 30)")
    parser.add_argument("--live", choices=(*FOLLOWERS, "lessons"),
                        help="they drag a slider of the Playground, draw, or go through lessons instead")  # fmt: skip
    parser.add_argument("--think", type=float, default=0, help="seconds from an answer to the next move (default 0)")
    parser.add_argument("--port", type=int, default=0, help="of the server (default: one that is free)")
    arguments = parser.parse_args()
    port = arguments.port
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = start(port, Path(folder))
        with sync_playwright() as playwright, closing_down(server):
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
            act = {None: drive, "lessons": teach}.get(arguments.live, drag)
            act(f"http://127.0.0.1:{port}", browser, psutil.Process(server.pid), arguments)
            browser.close()
        log = (Path(folder) / "server.log").read_text(encoding="utf-8")
        print(f"tracebacks in the server's log: {log.count('Traceback')}")


if __name__ == "__main__":
    main()
