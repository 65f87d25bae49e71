"""How long a folder of photographs takes to read, at first and when it was read before.

``python -m benchmarks.photographs`` makes 40 of 12 megapixels in a folder of its own, and reads them for training.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ddpm.config import DataConfig
from ddpm.data import open_folder


def make(path: Path, index: int, size: tuple[int, int]) -> None:
    """A JPEG as a phone writes it: smooth areas, edges and some noise."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 9, width, dtype=np.float32), np.linspace(0, 7, height, dtype=np.float32))
    noise = np.random.default_rng(index).normal(0, 6, (height, width)).astype(np.float32)
    levels = [120 + 60 * np.sin(x * k + index) + 50 * np.sign(np.cos(y + k)) + noise for k in (1, 2, 3)]
    Image.fromarray(np.stack(levels, -1).clip(0, 255).astype(np.uint8)).save(path, quality=90)


def seconds(config: DataConfig) -> float:
    started = time.perf_counter()
    opened = open_folder(config)
    for split in ("train", "val"):
        opened.split(split)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--image-size", type=int, default=64)
    options = parser.parse_args()
    side = (options.megapixels * 1e6 / 12) ** 0.5
    with tempfile.TemporaryDirectory() as name:
        os.environ["DDPM_OUTPUT_DIR"] = f"{name}/outputs"
        folder = Path(name, "photographs")
        folder.mkdir()
        for i in range(options.count):
            make(folder / f"{i}.jpg", i, (round(4 * side), round(3 * side)))
        config = DataConfig(dataset="folder", path=str(folder), image_size=options.image_size, channels=3)
        print(f"{options.count} photographs of {options.megapixels:g} megapixels, for training and validation")
        print(f"read: {seconds(config):.2f} s")
        print(f"read before: {seconds(config):.2f} s")


if __name__ == "__main__":
    main()
