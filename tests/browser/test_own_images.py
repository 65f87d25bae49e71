"""Sixty photographs in two folders, from the ZIP that is dropped on Train to a report and an export, in a browser.

With DDPM_SOAK=1 the network is the one that the page proposes, and it learns for three minutes, or until its first
samples.
"""

import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect
from sklearn import datasets

from ddpm import load_model
from tests.browser.conftest import serve
from tests.browser.driver import SLOW, open_page, wait_until_idle

THREE_MINUTES = bool(os.environ.get("DDPM_SOAK"))
QUICK = {
    "model": {"base_channels": "8", "head_channels": "8", "stem_channels": "8"},
    "training": {"epochs": "40", "val_every": "40", "sample_every": "40", "warmup_steps": "5", "ema_decay": "0.9"},
}
ZONE = "[class*=st-key-train_files_] [data-testid=stFileUploaderDropzone]:visible"


def photographs() -> dict[str, bytes]:
    """Thirty details of each of the two photographs inside scikit-learn, as JPEG files by their paths."""
    draw, found = np.random.default_rng(0), {}
    for name, source in (("temple", "china.jpg"), ("flower", "flower.jpg")):
        whole = Image.open(Path(datasets.__file__).parent / "images" / source)
        for i in range(30):
            side = int(draw.integers(200, min(whole.size)))
            left, top = (int(draw.integers(0, length - side + 1)) for length in whole.size)
            content = io.BytesIO()
            whole.crop((left, top, left + side, top + side)).save(content, "JPEG", quality=90)
            found[f"Holiday 2024/{name}/IMG_{i:04}.JPG"] = content.getvalue()
    return found


def drop(page, *paths: Path) -> None:
    """Files and folders let go over the uploader, as from a file manager."""
    page.locator(ZONE).scroll_into_view_if_needed()
    box = page.locator(ZONE).bounding_box()
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def change(page, section: str, field: str, value: str) -> None:
    box = page.locator(f".st-key-train_{section}_{field} input")
    box.fill(value)
    box.press("Enter")
    yaml = "text => document.querySelector('.st-key-train_yaml textarea')?.value.includes(text)"
    page.wait_for_function(yaml, arg=f"  {field}: {value}\n")


def picture(page, folder: Path, name: str) -> None:
    page.mouse.move(0, 0)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_sixty_photographs_from_the_drop_to_the_export(page, chromium, folder, warm, run_cli, monkeypatch):
    found = photographs()
    few = {path: content for path, content in found.items() if path.endswith(("_0000.JPG", "_0001.JPG", "_0002.JPG"))}
    for path, content in few.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    with zipfile.ZipFile(folder / "Holiday.zip", "w") as archive:
        for path, content in found.items():
            archive.writestr(path, content)
        archive.writestr("Holiday 2024/notes.txt", "on the beach")

    with serve(folder) as url:
        open_page(page, f"{url}/train")
        drop(page, folder / "Holiday 2024")  # whose folders Streamlit alone would forget
        page.get_by_text("6 images, as the network will see them; row by row flower (3), temple (3)").wait_for()
        wait_until_idle(page)
        drop(page, folder / "Holiday.zip")
        page.get_by_text("60 images, as the network will see them; row by row flower (30), temple (30)").wait_for()
        page.get_by_text("Left out: 1 files that are no images by their names: Holiday 2024/notes.txt").wait_for()
        page.get_by_text("2 classes: one for each folder").wait_for()
        page.get_by_text("≥").wait_for(timeout=60_000)  # the time that it will take
        picture(page, folder, "proposal")

        if not THREE_MINUTES:
            page.get_by_text("Advanced: every field").click()
            for section, fields in QUICK.items():
                page.get_by_role("tab", name=section.capitalize()).click()
                for field, value in fields.items():
                    change(page, section, field, value)
        page.get_by_role("button", name="Looks right, start").click()
        if THREE_MINUTES:
            page.get_by_text(" of training").or_(page.get_by_text("images/s")).first.wait_for(timeout=SLOW)
            page.wait_for_timeout(180_000)
            validated = page.get_by_text(re.compile(r"validation [\d.]+, best"))
            validated.first.wait_for(timeout=3 * SLOW)  # with the first samples, on a slow machine
            page.locator(".st-key-train_Stop_holiday").get_by_role("button").first.click()
        page.get_by_text("stopped" if THREE_MINUTES else "finished", exact=True).wait_for(timeout=SLOW)

        open_page(page, f"{url}/curves?curves_runs=holiday")
        page.locator(".st-key-curves_plot_loss .js-plotly-plot:visible").first.wait_for(timeout=60_000)
        page.get_by_text("The classes flower, temple in turn").wait_for()
        picture(page, folder, "curves")

        open_page(page, f"{url}/playground?play_model=run:holiday&play_draw=temple&play_count=10&play_steps=20")
        page.get_by_alt_text("10 generated images").wait_for(timeout=60_000)
        page.get_by_alt_text("Generated images, and training images").wait_for()
        page.get_by_text("Too unlike any training image to judge").or_(
            page.get_by_text("nearer to a training image")
        ).wait_for()
        wait_until_idle(page, 60_000)
        picture(page, folder, "playground")
        with page.expect_download(timeout=SLOW) as waiting:
            page.get_by_role("button", name="NPZ", exact=True).click()
        drawn = np.load(waiting.value.path())
        assert drawn["class_names"].tolist() == ["flower", "temple"]
        assert drawn["images"].shape == (10, 32, 32, 3)
        assert set(drawn["labels"]) == {1}

        open_page(page, f"{url}/evaluate?eval_model=run:holiday")
        count = page.locator(".st-key-eval_count").get_by_role("slider")
        count.focus()
        count.press("Home")  # the fewest
        wait_until_idle(page)
        page.locator(".st-key-eval_start").get_by_role("button").first.click()
        page.get_by_text("Re-evaluate").wait_for(timeout=SLOW)
        page.get_by_role("heading", name="Calibration").wait_for()
        page.get_by_alt_text("Samples, and training images").wait_for(timeout=SLOW)
        wait_until_idle(page, 60_000)
        expect(page.locator("body")).not_to_contain_text("Requested digit")
        picture(page, folder, "evaluate")
        with page.expect_download(timeout=SLOW) as waiting:
            page.get_by_role("button", name="Report", exact=True).click()
        assert "temple" in waiting.value.path().read_text(encoding="utf-8")
        wait_until_idle(page)
        page.goto("about:blank")
    monkeypatch.setenv("DDPM_OUTPUT_DIR", str(folder / "outputs"))
    assert run_cli("export", "--model", "run:holiday", "--out", folder / "mine").returncode == 0
    assert load_model(str(folder / "mine")).class_names == ("flower", "temple")
