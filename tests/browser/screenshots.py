"""Every page, in light and dark, wide and as on a phone, as pictures to look at: ``make screenshots``.

They lie in ``screenshots/``, one file each, as long as the page is. ``--readme`` writes the README's picture instead.
The server has an outputs folder of its own, with one short run in it, trained and evaluated.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS, ROOT, environment, serve
from tests.browser.driver import find_chromium, open_page

PAGES = ("", "playground", "ladder", "schedules", "train", "curves", "evaluate?eval_model=run:digits", "share")
WIDTHS, SCHEMES = (1280, 420), ("light", "dark")
HEIGHT, LONGEST = 900, 6000
README = ROOT / "docs" / "playground.png"
RUN = (
    ("train", "--config", "configs/digits.yaml", "--set", "training.epochs=10"),
    ("eval", "--model", "run:digits", "--num-samples", "200"),
)


def prepare(folder: Path) -> None:
    for command in RUN:
        print("python -m ddpm", *command, flush=True)
        subprocess.run(
            [sys.executable, "-m", "ddpm", *command],
            cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip


def settle(page: Page) -> None:
    """Wait for pictures, charts and the last of the moves."""
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    page.locator("[data-testid=stSkeleton], .st-key-sampling_stop").last.wait_for(state="detached")
    page.wait_for_timeout(1500)


def long_picture(page: Page, url: str, width: int, file: Path) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_page(page, url)
    settle(page)
    height = page.locator("[data-testid=stMain]").evaluate("element => element.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(height, HEIGHT), LONGEST)})
    page.wait_for_timeout(800)  # charts are drawn anew
    page.screenshot(path=file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "screenshots")
    parser.add_argument("--readme", action="store_true", help=f"write {README.relative_to(ROOT)} alone")
    arguments = parser.parse_args()
    chromium = find_chromium() or sys.exit("no Chromium: see the README")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        if not arguments.readme:
            prepare(Path(folder))
            arguments.out.mkdir(parents=True, exist_ok=True)
        with serve(Path(folder)) as url:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            if arguments.readme:
                page = browser.new_page(viewport={"width": 1280, "height": HEIGHT})
                open_page(page, f"{url}/playground")
                settle(page)
                page.screenshot(path=README)
                return
            for scheme in SCHEMES:
                page = browser.new_page(color_scheme=scheme)
                page.set_default_timeout(60_000)
                for name in PAGES:
                    for width in WIDTHS:
                        file = arguments.out / f"{name.partition('?')[0] or 'home'}-{width}-{scheme}.png"
                        long_picture(page, f"{url}/{name}", width, file)
                        print(file, flush=True)


if __name__ == "__main__":
    main()
