"""Every page, in light and dark, wide and as on a phone, as pictures to look at: ``make screenshots``.

They lie in ``screenshots/``, one file each, as long as the page is; the static page is among them. ``--readme`` writes
the README's picture instead. The server has an outputs folder of its own, with one short run in it, trained and
evaluated.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from ddpm.deploy.space import write_space
from ddpm.deploy.static_page import static_files
from tests.browser.conftest import CHROMIUM_FLAGS, ROOT, environment, plain_server, serve
from tests.browser.driver import find_chromium, open_page

PAGES = ("", "playground", "ladder", "lessons?lesson=ddim&card=1&answers=a.-.-.-.-.-", "schedules", "train", "curves",
         "evaluate?eval_model=run:digits", "share")  # fmt: skip
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


def static_picture(page: Page, url: str, width: int, file: Path) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.goto(url)
    page.locator("main[data-state=done]").wait_for()
    page.screenshot(path=file, full_page=True)


def long_picture(page: Page, url: str, width: int, file: Path) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_page(page, url)
    settle(page)
    height = page.locator("[data-testid=stMain]").evaluate("element => element.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(height, HEIGHT), LONGEST)})
    page.wait_for_timeout(800)  # charts are drawn anew
    page.screenshot(path=file)


def readme_picture(browser: Browser, folder: Path) -> None:
    with serve(folder) as url:
        page = browser.new_page(viewport={"width": 1280, "height": HEIGHT})
        open_page(page, f"{url}/playground")
        settle(page)
        page.screenshot(path=README)


def all_pictures(browser: Browser, folder: Path, out: Path) -> None:
    prepare(folder)
    write_space(static_files("mnist-fast", "mnist"), folder / "static")
    out.mkdir(parents=True, exist_ok=True)
    with serve(folder) as url, plain_server(folder / "static", folder) as static_url:
        addresses = {name.partition("?")[0] or "home": f"{url}/{name}" for name in PAGES}
        for scheme in SCHEMES:
            page = browser.new_page(color_scheme=scheme)
            page.set_default_timeout(60_000)
            for width in WIDTHS:
                for name, address in addresses.items():
                    long_picture(page, address, width, out / f"{name}-{width}-{scheme}.png")
                static_picture(page, static_url, width, out / f"static-{width}-{scheme}.png")
                static_picture(page, f"{static_url}/plane.html", width, out / f"static-plane-{width}-{scheme}.png")
                print(f"{len(addresses) + 2} pages, {width} pixels wide, {scheme}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "screenshots")
    parser.add_argument("--readme", action="store_true", help=f"write {README.relative_to(ROOT)} alone")
    arguments = parser.parse_args()
    chromium = find_chromium() or sys.exit("no Chromium: set CHROMIUM=/path/to/one, see docs/settings.md")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        if arguments.readme:
            readme_picture(browser, Path(folder))
        else:
            all_pictures(browser, Path(folder), arguments.out)


if __name__ == "__main__":
    main()
