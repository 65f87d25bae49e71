"""From nothing to a picture: of a command, of an import, and of the app in a browser; and what the idle app keeps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from .contenders import PEERS
from .machine import Machine
from .rows import Row, interleaved

ROOT = Path(__file__).parent.parent
COUNT, STEPS = 16, 20
ALT = 'img[alt^="From noise to a"]'  # the home page's picture
START_SECONDS, SETTLE_SECONDS = 120, 3
# torchvision's wheel does not load beside a CPU build of torch unless two operators are declared (see
# ddpm/torchvision_cpu.py), nor does diffusers then. Declared without the rest of ours, they cost diffusers nothing.
DECLARE = """
import torch
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
DIFFUSERS = """
import sys
import torch
from diffusers import DDIMPipeline
pipeline = DDIMPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
images = pipeline(batch_size={count}, num_inference_steps={steps}, generator=torch.manual_seed(0)).images
from diffusers.utils import make_image_grid
make_image_grid(images, 4, {count} // 4).save(sys.argv[2])
"""


def rows(machine: Machine, quick: bool) -> list[Row]:
    rounds = 3 if quick else 5
    return [*_commands(rounds), *_app(1 if quick else rounds)]


def _run(*words: str) -> Callable[[], None]:
    """Run Python with these words, and be loud where it fails."""

    def run() -> None:
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"python {' '.join(words)[:80]} failed:\n{done.stderr[-2000:]}")

    return run


def _commands(rounds: int) -> list[Row]:
    from diffusers import DDIMPipeline, DDIMScheduler

    peer = next(peer for peer in PEERS if peer.key == "diffusers-params")
    torchvision_loads = (
        subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0
    )
    prelude = "" if torchvision_loads else DECLARE
    with tempfile.TemporaryDirectory() as folder:
        pipeline = DDIMPipeline(peer.make(), DDIMScheduler(beta_schedule="linear"))
        pipeline.save_pretrained(f"{folder}/pipeline")
        script = prelude + DIFFUSERS.format(count=COUNT, steps=STEPS)
        ours = [
            "--model",
            "mnist",
            "--num-samples",
            str(COUNT),
            "--num-steps",
            str(STEPS),
            "--out",
            f"{folder}/ours.png",
        ]
        works = {
            "ours": _run("-m", "ddpm", "sample", "grid", *ours),
            "peer": _run("-c", script, f"{folder}/pipeline", f"{folder}/peer.png"),
            "our import": _run("-c", "import ddpm"),
            "peer's import": _run("-c", f"{prelude}import diffusers; from diffusers import DDIMPipeline"),
        }
        seconds = interleaved(works, rounds)
    what = f"process start to {COUNT} images on disk, {STEPS} steps"
    size = {"params_m": peer.params_m, "gmac": peer.gmac}
    return [
        Row.measured("picture", what, "s", seconds["ours"], seconds["peer"], peer_name=f"{peer.name} (fp32)", **size),
        Row.measured(
            "picture", "import, in a process of its own", "s", seconds["our import"], seconds["peer's import"],
            peer_name="diffusers, with DDIMPipeline",
        ),
    ]  # fmt: skip


# -- the app -------------------------------------------------------------------------------------------------------


def _app(rounds: int) -> list[Row]:
    try:
        from playwright.sync_api import sync_playwright

        from tests.browser.conftest import CHROMIUM_FLAGS
        from tests.browser.driver import find_chromium
    except ImportError as error:
        print(f"picture: make app is left out: {error.name} is not installed (requirements-dev.txt has it)")
        return []
    chromium = find_chromium()
    if not chromium:
        print("picture: make app is left out: no Chromium that runs")
        return []
    seconds, megabytes = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for _ in range(rounds + 1):
            took, memory = _open_the_app(browser)
            seconds.append(took)
            megabytes.append(memory)
        browser.close()
    return [
        Row.measured("picture", "make app, warm, to the first digit in a browser", "s", seconds[1:]),
        Row.measured("picture", "memory of the server, idle after that", "MB", megabytes[1:]),
    ]


def _open_the_app(browser) -> tuple[float, float]:
    """Seconds from the command to the picture, and then the server's megabytes, once the browser has left."""
    from .public import memory

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+", encoding="utf-8") as log:
        start = time.perf_counter()
        server = subprocess.Popen(
            ["make", "app", f"PORT={port}"], cwd=ROOT, env=_without_make() | {"DDPM_OUTPUT_DIR": folder},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_it_listens(port, server, Path(log.name))
            page = browser.new_context().new_page()
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector(ALT, timeout=1000 * START_SECONDS)
            took = time.perf_counter() - start
            page.context.close()
            time.sleep(SETTLE_SECONDS)
            return took, memory(psutil.Process(server.pid)) / 1e6
        finally:
            with suppress(ProcessLookupError):  # it did not start
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _without_make() -> dict[str, str]:
    """This process's environment, without what ``make bench ARGS=...`` hands down to every make below it."""
    return {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MFLAGS")}


def _wait_until_it_listens(port: int, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"make app did not start:\n{log.read_text(encoding='utf-8')}")
