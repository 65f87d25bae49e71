"""The whole way of other people's photographs: a folder with what is found in such folders, learned from the command
line and from the page, drawn by class, evaluated, reported on, and gone on with after it has changed."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm.config import config_to_yaml, load_config
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from ddpm.training import queue
from tests.conftest import ROOT

SIZES = ((40, 30), (30, 40), (64, 64), (200, 120), (90, 300))
MODES = ("RGB", "L", "RGBA", "P", "CMYK", "1", "I;16", "LA")


def photograph(i: int, bright: bool) -> Image.Image:
    """Something bright at the right, or dark at the left, on a ground of its own, in one of many modes."""
    width, height = SIZES[i % len(SIZES)]
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    levels = (200 * x if bright else 200 * (1 - y)) + i % 20
    mode = MODES[i % len(MODES)]
    if mode == "I;16":
        return Image.fromarray((levels * 16).astype(np.uint16))  # 12 bits in 16
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB").convert(mode)


@pytest.fixture
def photographs(tmp_path) -> Path:
    root = tmp_path / "Holiday 2024"
    for bright, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(30):
            image, exif = photograph(i, bool(bright)), Image.Exif()
            exif[0x0112] = 1 + i % 8
            of_colour = ("jpg", "png", "tif", "webp")[i // 8 % 4]
            suffix = {"CMYK": "jpg", "RGB": of_colour, "P": "gif"}.get(image.mode, "png")
            image.save(root / name / f"IMG {i:04}.{suffix}", exif=exif)
    (root / "cat/._IMG 0001.png").write_bytes(b"Mac OS X")
    (root / ".ipynb_checkpoints").mkdir()
    photograph(0, True).save(root / ".ipynb_checkpoints/IMG-checkpoint.jpg")
    (root / "__MACOSX/cat").mkdir(parents=True)
    (root / "__MACOSX/cat/._IMG.jpg").write_bytes(b"Mac OS X")
    (root / "Thumbs.db").write_bytes(b"")
    (root / "dog/caption.txt").write_text("on the beach")
    (root / "dog/IMG 0001 (1).png").write_bytes((root / "dog/IMG 0001.png").read_bytes()[:40])  # half a copy
    return root


@pytest.mark.slow
def test_sixty_photographs_from_the_folder_to_the_report(
    photographs, tiny_config, cli, output_dir, open_page, monkeypatch
):
    monkeypatch.setattr("pages.components.costs.measure_speed", lambda config: 100.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the run that the page launches
    config = tiny_config(
        name="holiday", model__num_classes=2, training__batch_size=16, training__epochs=3, training__val_every=2,
        model__attention_resolutions=[], sampling={"num_steps": 5},
        data={"dataset": "folder", "path": photographs.name, "image_size": 16, "channels": 3, "val_fraction": 0.2},
    )  # fmt: skip
    Path("holiday.yaml").write_text(config_to_yaml(config))

    # The command line learns them.
    done = cli("train", "--config", "holiday.yaml")
    assert done.code == 0, done.err
    assert "of the images: 1 of 61 images cannot be read and were skipped: dog/IMG 0001 (1).png cannot" in done.out
    assert "as system or hidden files: .ipynb_checkpoints, __MACOSX, Thumbs.db and 1 more" in done.out
    assert "skipped, not images by their names: dog/caption.txt" in done.out
    assert "integers of more than 8 bits" in done.out
    trained = load_config(output_dir / "holiday/config.yaml")
    assert trained.data.class_names == ("cat", "dog")
    assert trained.data.path == str(photographs)

    # The page trains them.
    app = open_page("pages/train.py", train_from="run:holiday")
    app.button(key="train_launch").click().run()
    folder, deadline = RunFolder(output_dir / "holiday-2"), time.monotonic() + 240
    while read_status(folder).state in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert read_status(folder).state == "finished", read_status(folder)
    assert load_config(folder.config).data == trained.data

    # The Playground offers the classes by name.
    app = open_page("pages/playground.py", play_model="run:holiday", play_count="2", play_steps="5")
    assert {"cat", "dog"} <= set(app.selectbox(key="play_draw").options)
    done = cli("sample", "grid", "--model", "run:holiday", "--labels", "dog,cat", "--num-samples", 2, "--out", "2.png")
    assert done.code == 0, done.err

    # They are evaluated and reported on.
    done = cli("eval", "--model", "run:holiday", "--num-samples", 4, "--per-class")
    assert done.code == 0, done.err
    results = json.loads((output_dir / "holiday/logs/evaluation_results.json").read_text())
    assert results["calibration"]["num_images"] > 0
    done = cli("report", "--run", "holiday")
    assert done.code == 0, done.err
    report = (output_dir / "holiday/report/report.md").read_text()
    assert "cat" in report
    assert str(photographs.parent) not in report, "who gets it learns no folder of this machine"

    # An image is added: to train on, it says what has changed.
    photograph(3, True).save(photographs / "cat/new.png")
    more = ("train", "--config", "holiday.yaml", "--resume", "--set", "training.epochs=4")
    done = cli(*more)
    assert done.code == 1
    assert "is not what this run began with: 1 image added; put it back, or continue" in done.err
    done = cli(*more, "--accept-changed-data")
    assert done.code == 0, done.err
    assert "going on, not exact to the bit: of the images: 1 image added" in done.out
    queue.delete(folder)
