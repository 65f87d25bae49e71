"""Datasets as uint8 tensors in memory; scaled to [-1, 1] per batch.

There is no DataLoader: 60,000 small images fit in 60 MB, and a slice costs less than a worker's message.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .config import DATASETS, Config, DataConfig, data_from_dict
from .errors import ConfigError, DataError, one_line
from .files import data_dir, user_path
from .image_folder.decode import read_image
from .image_folder.manifest import Entry, Manifest, list_folder, sides
from .image_folder.reading import Tell, find_manifest, read_folder
from .names import listed
from .randomness import derive_seed

PURPOSES = {"train": "training", "val": "validation", "test": "the test"}  # by split


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
            (for evaluation only). Of a ``folder``, the content of each image decides (``manifest.sides``).
        download: fetch a dataset that is not on disk.

    Raises:
        DataError: the dataset is missing and cannot be downloaded, is unreadable, or has too few images.
    """
    if split not in PURPOSES:
        raise DataError(f"unknown split {split!r}: valid are {', '.join(PURPOSES)}")
    if config.dataset == "folder":
        return open_folder(config).split(split)
    images = _load(config, train=split != "test", download=download)
    if split == "test":
        return images
    val, train = _held_out(len(images), config.dataset, config.val_fraction)
    return images[val if split == "val" else train]


def same_format(config: Config, images: str) -> DataConfig:
    """A dataset, or a folder of images, read in the size and the colours of what a model learned from.

    The class folders are those of the model's classes that they are called as; a folder has to have no others.

    Args:
        images: a dataset's name or a folder's path.

    Raises:
        ConfigError: the dataset is of other colours, or its classes are not those of the model.
        DataError: the folder cannot be used, or has classes that the model does not know.
    """
    data = config.data
    alike = data.model_dump(include={"image_size", "channels", "background"})
    if images not in DATASETS or images == "folder":
        manifest = find_manifest(list_folder(user_path(images).absolute()))
        if unknown := [name for name in manifest.class_names if config.class_names and name not in config.class_names]:
            raise DataError(
                f"{images} has classes that the model does not know: {listed(unknown)}; its own are "
                f"{listed(config.class_names)}"
            )
        alike |= {"class_names": config.class_names, "digest": manifest.digest}
        return data_from_dict({"dataset": "folder", "path": images, **alike}, images)
    if config.class_names and config.class_names != DATASETS[images].class_names:
        names = DATASETS[images].class_names
        raise ConfigError(f"{images} has the classes {listed(names)}, and the model {listed(config.class_names)}")
    return data_from_dict({"dataset": images, **alike}, images)


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
    images = _digits(train) if config.dataset == "digits" else _torchvision(config.dataset, train, download)
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
    if damaged := _damaged(kind, root, train):
        raise DataError(f"dataset {name} is damaged: {damaged} is not whole; delete it, and it is downloaded anew")
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


def _damaged(kind: type, root: Path, train: bool) -> Path | None:
    """The first file of a dataset of torchvision that is there, but not whole."""
    from .torchvision_cpu import datasets

    if kind is datasets.CIFAR10:
        wanted = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
        files = ((root / kind.base_folder / name, md5) for name, md5 in wanted)
        return next((path for path, md5 in files if path.is_file() and _md5(path) != md5), None)
    raw = root / kind.__name__ / "raw"
    names = (f"{'train' if train else 't10k'}-{what}-idx{ndim}-ubyte" for what, ndim in (("images", 3), ("labels", 1)))
    return next((raw / name for name in names if (raw / name).is_file() and not _is_whole(raw / name)), None)


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether a file of MNIST's format is as long as its header says: type and number of sizes, then the sizes."""
    with open(path, "rb") as file:
        kind, ndim = file.read(3), file.read(1)
        header = file.read(4 * ndim[0]) if ndim else b""
    if kind != b"\0\0\x08" or not ndim or len(header) != 4 * ndim[0]:
        return False
    return path.stat().st_size == 4 + len(header) + math.prod(np.frombuffer(header, ">u4").tolist())


def open_folder(config: DataConfig, *, earlier: bool = False, tell: Tell = lambda doing: None) -> FolderData:
    """Read a folder of images; see ``ddpm.image_folder.reading.read_folder`` for ``tell``.

    Labels follow ``config.class_names``, or where it has none the natural order of the names of the class folders.

    Args:
        earlier: of a model that was trained before datasets had a digest: its images are split by the names of files,
            and its classes are in alphabetical order.

    Raises:
        DataError: the folder cannot be used as it is, has classes that are not among ``config.class_names``, or too
            many images that are damaged.
    """
    folder = read_folder(config, tell)
    found = folder.manifest.class_names
    names = config.class_names or (tuple(sorted(found)) if earlier else found)
    if unknown := [name for name in found if name not in names]:
        raise DataError(
            f"data.path {config.folder} has classes that are not among data.class_names: {listed(unknown)}; these are "
            f"{listed(names)}"
        )
    label_of = {name: label for label, name in enumerate(names)} | {"": -1}
    labels = torch.tensor([label_of[entry.class_name] for entry in folder.entries])
    side_of = earlier_sides if earlier else sides
    return FolderData(
        ImageSet(folder.images, labels, names if found else ()), tuple(side_of(folder.entries, config.val_fraction)),
        folder.manifest, folder.notes, str(config.folder),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class FolderData:
    """A folder of images as a dataset."""

    images: ImageSet
    sides: tuple[str, ...]
    """What each image is for: train, val or test."""
    manifest: Manifest
    notes: tuple[str, ...]
    """What was skipped, and what is odd about the images, in sentences."""
    path: str

    def split(self, name: str) -> ImageSet:
        """The images of a split.

        Raises:
            DataError: there are none.
        """
        chosen = torch.tensor([i for i, side in enumerate(self.sides) if side == name], dtype=torch.long)
        if not len(chosen):
            raise DataError(
                f"data.path {self.path}: by chance none of its {len(self.sides):,} images is for {PURPOSES[name]}: add "
                "images" + (" (about one in ten is for the test), or name others with --data" if name == "test" else "")
            )
        return self.images[chosen]


def earlier_sides(entries: Sequence[Entry], val_fraction: float) -> list[str]:
    """What images were for before hashes decided: by the order of their names, every tenth for the test."""
    ranked = sorted(range(len(entries)), key=lambda i: (entries[i].class_name, entries[i].path))
    of_training = [i for rank, i in enumerate(ranked) if rank % 10 != 9]
    val = {of_training[k] for k in _held_out(len(of_training), "folder", val_fraction)[0].tolist()}
    train = set(of_training) - val
    return ["train" if i in train else "val" if i in val else "test" for i in range(len(entries))]


def _held_out(count: int, dataset: str, val_fraction: float) -> tuple[Tensor, Tensor]:
    """Of ``count`` images, those to validate with and those to learn from, each a tensor of positions."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed("val", dataset)))
    held_out = max(1, round(val_fraction * count))
    return order[:held_out], order[held_out:].sort().values


def photographs(size: int) -> ImageSet:
    """The two photographs inside scikit-learn, a temple and a flower: (2, 3, size, size), cut to squares."""
    from sklearn import datasets

    folder = Path(datasets.__file__).parent / "images"
    return ImageSet(
        torch.stack([read_image(folder / name, size, 3) for name in ("china.jpg", "flower.jpg")]), torch.full((2,), -1)
    )
