"""Datasets as uint8 tensors in memory; scaled to [-1, 1] per batch.

There is no DataLoader: 60,000 small images fit in 60 MB, and a slice costs less than a worker's message.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .config import DATASETS, DataConfig, data_from_dict
from .errors import DataError, one_line
from .files import data_dir
from .randomness import derive_seed

MAX_PIXELS = 50_000_000  # of an image file; far more than anything that is scaled down to an image to train on
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) uint8 and their labels (N,) long, -1 where there are none."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    """In the order of the labels; () where there are none."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> ImageSet:
        return replace(self, images=self.images[index], labels=self.labels[index])

    def scaled(self) -> Tensor:
        """The images as float32 in [-1, 1]."""
        return to_float(self.images)


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def load_dataset(config: DataConfig, split: str, *, download: bool = True) -> ImageSet:
    """Load a split of the configured dataset, resized to ``image_size``.

    Args:
        split: ``train`` (without the validation images), ``val`` (held out of the training set), or ``test``
            (for evaluation only). ``folder`` keeps a tenth of its images as its test set.
        download: fetch a dataset that is not on disk.

    Raises:
        DataError: the dataset is missing and cannot be downloaded, is unreadable, or has too few images.
    """
    if split not in ("train", "val", "test"):
        raise DataError(f"unknown split {split!r}: valid are train, val, test")
    images = _load(config, train=split != "test", download=download)
    if split != "test":
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed("val", config.dataset)))
        held_out = max(1, round(config.val_fraction * len(images)))
        if held_out >= len(images):
            raise DataError(f"{config.dataset}: {len(images)} images are too few to hold out a validation split")
        images = images[order[:held_out] if split == "val" else order[held_out:].sort().values]
    return images


def same_format(data: DataConfig, images: str) -> DataConfig:
    """A dataset, or a folder of images, read in the size and the colours of ``data``.

    Args:
        images: a dataset's name or a folder's path.

    Raises:
        ConfigError: the dataset is of other colours.
    """
    named = images in DATASETS and images != "folder"
    which = {"dataset": images} if named else {"dataset": "folder", "path": images}
    return data_from_dict({**which, "image_size": data.image_size, "channels": data.channels}, images)


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n images in one epoch, a function of (seed, epoch) alone: (n,) long."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed("epoch", seed, epoch)))


def class_by_class(images: ImageSet, count: int) -> ImageSet:
    """The first ``count`` images, the classes in turn: 0, 1, 2, ..., 0, 1, 2, ...; unlabelled sets as they come."""
    rank = torch.zeros(len(images), dtype=torch.long)  # how many of its class came before
    for label in images.labels.unique():
        of_class = images.labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    order = torch.argsort(rank * (images.labels.max() + 1) + images.labels, stable=True)
    return images[order[:count]]


def _load(config: DataConfig, train: bool, download: bool) -> ImageSet:
    if config.dataset not in DATASETS:
        raise DataError(
            "nothing says which images this model learned from: name those to measure with, as in `--data cifar10` or "
            "`--data path/to/images` of the command line's eval"
        )
    if config.dataset == "digits":
        images = _digits(train)
    elif config.dataset == "folder":
        return _folder(Path(config.path), config, train)
    else:
        images = _torchvision(config.dataset, train, download)
    names = DATASETS[config.dataset].class_names
    return ImageSet(resize(images.images, config.image_size), images.labels, names)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize (N, C, H, W) uint8 to size x size, bilinear with antialiasing, as torchvision's Resize does."""
    if images.shape[-2:] == (size, size):
        return images
    chunks = [
        F.interpolate(chunk, (size, size), mode="bilinear", antialias=True, align_corners=False)
        for chunk in images.split(4096)
    ]
    return torch.cat(chunks)


def _digits(train: bool) -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed("digits")))
    chosen = order[:1500] if train else order[1500:]
    return ImageSet(images[chosen], labels[chosen])


def _torchvision(name: str, train: bool, download: bool) -> ImageSet:
    from .torchvision_cpu import datasets

    kind = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[name]
    root = data_dir()
    target = root / kind.__name__ if root.exists() else root
    fresh = not target.exists()
    try:
        dataset = kind(root, train=train, download=download)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        if fresh:  # torchvision makes its folders before it knows whether it can fill them
            shutil.rmtree(target, ignore_errors=True)
        reason = (one_line(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
        raise DataError(
            f"dataset {name} is not in {root.resolve()} and was not downloaded ({reason}): "
            f"connect to the network once, or put torchvision's files there, or set DDPM_DATA_DIR to where they are"
        ) from error
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return ImageSet(images.contiguous(), torch.as_tensor(dataset.targets).long())


def _folder(root: Path, config: DataConfig, train: bool) -> ImageSet:
    files = _listed(root, train)
    images = torch.stack([read_image(file, config.image_size, config.channels) for file, _ in files])
    return ImageSet(images, torch.tensor([label for _, label in files]), _classes(root))


def _listed(root: Path, train: bool) -> list[tuple[Path, int]]:
    """The files of a split and their labels."""
    if not root.is_dir():
        raise DataError(f"data.path {root} is not a folder")
    files = [(file, label) for label, name in enumerate(_classes(root)) for file in _image_files(root / name)]
    files = files or [(file, -1) for file in _image_files(root)]
    # Every tenth is the test set: stable when the folder is read again, spread over the classes.
    files = [pair for i, pair in enumerate(files) if (i % 10 != 9) == train]
    if len(files) < 2:
        raise DataError(f"data.path {root} holds too few images ({', '.join(IMAGE_SUFFIXES)}); at least 20 are needed")
    return files


def _classes(root: Path) -> tuple[str, ...]:
    """The names of the subfolders with images."""
    return tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and any(_image_files(p))))


def count_images(root: Path) -> int:
    """How many training images a folder holds, those of validation included, without reading one.

    Raises:
        DataError: there is no such folder, or too few images in it.
    """
    return len(_listed(root, train=True))


def _image_files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def read_image(
    file: Path | BinaryIO, size: int, channels: int, name: str = "",
    max_pixels: int | None = None, kinds: tuple[str, ...] | None = None,
) -> Tensor:  # fmt: skip
    """An image file as uint8 (``channels``, size, size): turned as its EXIF says, cut to a square about its middle.

    Args:
        file: a path, or an open file that errors call ``name``.
        max_pixels: the most that is unpacked; by default ``MAX_PIXELS``.
        kinds: Pillow's names of the formats that are read; by default all that it knows.

    Raises:
        DataError: it is no image of these kinds, is damaged, or has more than ``max_pixels``.
    """
    name = name or str(file)
    try:
        with Image.open(file, formats=kinds) as image:  # which reads the header alone
            most = max_pixels or MAX_PIXELS
            if image.width * image.height > most:
                raise DataError(f"{name} has {image.width:,} x {image.height:,} pixels; {most:,} is the most")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to white
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        raise DataError(f"{name} cannot be read as an image: its content is of no known kind") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow has all of them
        raise DataError(f"{name} cannot be read as an image: {error}") from None
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def photographs(size: int) -> ImageSet:
    """The two photographs inside scikit-learn, a temple and a flower: (2, 3, size, size), cut to squares."""
    from sklearn import datasets

    folder = Path(datasets.__file__).parent / "images"
    return ImageSet(
        torch.stack([read_image(folder / name, size, 3) for name in ("china.jpg", "flower.jpg")]), torch.full((2,), -1)
    )
