"""How soon the static page's picture follows a slider, in a real browser: ``python -m benchmarks.dragging``.

The page of ``mnist-fast``, ten images, from a plain file server, in WebAssembly with two threads. A time is that from
the slider's event to the frame after the picture was painted. Of the app, ``python -m benchmarks.public --live slider
--sessions 1`` measures the same. ``--record`` films the app instead: the steps of DDIM, dragged from 1 to 40.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from ddpm.deploy.space import write_space
from ddpm.deploy.static_page import static_files
from ddpm.files import write_bytes
from tests.browser.conftest import CHROMIUM_FLAGS, plain_server, serve
from tests.browser.driver import find_chromium, open_page, wait_until_idle

from .public import waits

MODEL, MOVES = "mnist-fast", 20
MOVE = """async (to) => {
  const slider = document.getElementById("steps"), main = document.querySelector("main");
  const asked = performance.now();
  slider.value = to;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  const followed = main.dataset.state === "busy";
  if (!followed) slider.dispatchEvent(new Event("change", { bubbles: true })); // too slow to follow: the hand lets go
  while (main.dataset.state === "busy") await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  const seconds = (performance.now() - asked) / 1000;
  slider.dispatchEvent(new Event("change", { bubbles: true }));
  return [seconds, followed];
}"""
FILMED = "playground?play_count=4&play_guidance=1&play_steps=1&play_draw=all+classes&play_seed=3"
FILMED_STEPS = 11  # positions of the slider, 1 to 40
CLIP = {"x": 0, "y": 60, "width": 1080, "height": 680}
FILM_WIDTH, FILM_COLOURS, FILM_MILLISECONDS = 720, 64, 500
MOST_BYTES = 2_000_000


def moves(browser: Browser, url: str) -> list[tuple[float, bool]]:
    """The seconds to the picture at 4 steps, each time after one at 2, and whether it came before the hand let go."""
    page = browser.new_context().new_page()
    page.set_default_timeout(120_000)
    for _ in range(2):  # the second visit has threads
        page.goto(f"{url}/?engine=wasm&count=10")
        page.locator("main[data-offline=ready]").wait_for()
    print(page.locator("#status").inner_text())
    found = []
    for seed in range(1, MOVES + 1):
        page.locator("#seed").fill(str(seed))
        page.locator("#seed").press("Enter")
        page.locator("main[data-state=done]").wait_for()
        page.evaluate(MOVE, 2)
        found.append(tuple(page.evaluate(MOVE, 4)))
    return found


def film(browser: Browser, url: str) -> list[Image.Image]:
    page = browser.new_page(viewport={"width": CLIP["width"], "height": CLIP["y"] + CLIP["height"]})
    open_page(page, f"{url}/{FILMED}")
    slider, frames = page.locator(".st-key-play_steps").get_by_role("slider"), []
    for _ in range(2):  # what was drawn once is shown again at once
        slider.press("Home")
        for k in range(FILMED_STEPS):
            if k:
                slider.press("ArrowRight")
            page.wait_for_timeout(700)
            wait_until_idle(page)
            if (button := page.locator(".st-key-play_generate button")).count():
                button.click()
                page.wait_for_timeout(500)
                wait_until_idle(page, 120_000)
            frames.append(Image.open(io.BytesIO(page.screenshot(clip=CLIP))))
    return frames[FILMED_STEPS:]


def gif_of(frames: list[Image.Image]) -> bytes:
    height = round(FILM_WIDTH * CLIP["height"] / CLIP["width"])
    small = [frame.convert("RGB").resize((FILM_WIDTH, height), Image.Resampling.LANCZOS) for frame in frames]
    small = [frame.quantize(FILM_COLOURS, dither=Image.Dither.NONE) for frame in small]
    file = io.BytesIO()
    small[0].save(file, "GIF", save_all=True, append_images=[*small[1:], *small[-2:0:-1]],
                  duration=FILM_MILLISECONDS, loop=0)  # fmt: skip
    assert len(file.getvalue()) < MOST_BYTES, f"{len(file.getvalue()):,} bytes"
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dragging", description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, metavar="GIF", help="film the app instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        if arguments.record:
            with serve(folder) as url:
                write_bytes(arguments.record, gif_of(film(browser, url)))
            return
        write_space(static_files(MODEL), folder / "page")
        with plain_server(folder / "page", folder) as url:
            seconds, followed = zip(*moves(browser, url), strict=True)
            print(f"10 digits, 4 evaluations each: {waits(list(seconds))}; {sum(followed)} followed the hand")


if __name__ == "__main__":
    main()
