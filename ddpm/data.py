"""Datasets as uint8 tensors in memory; scaled to [-1, 1] per batch.

There is no DataLoader: 60,000 small images fit in 60 MB, and a slice costs less than a worker's message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .config.data_section import DataConfig
from .config.schema import Config
from .datasets import DATASETS
from .errors import ConfigError, DataError
from .files import user_path
from .image_folder.decode import read_image
from .image_folder.manifest import Entry, Manifest, list_folder, sides
from .image_folder.reading import Tell, find_manifest, read_folder
from .names import listed
from .randomness import derive_seed

MAX_CLASSES = 1000
PURPOSES = {"train": "training", "val": "validation", "test": "the test"}  # by split


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) uint8 and their labels (N,) long, -1 where there are none."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    """In the order of the labels; () where there are none."""

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any = None,
        *,
        class_names: Sequence[str] = (),
        value_range: tuple[float, float] | None = None,
    ) -> ImageSet:
        """Check your own images and make a set of them.

        Args:
            images: a tensor or an array, (N, H, W), (N, C, H, W) or (N, H, W, C), square, with 1 or 3 channels: uint8
                from 0 to 255, or floats.
            labels: (N,) whole numbers, -1 for an image of no class; none by default.
            class_names: in the order of the labels.
            value_range: for floats, the values of black and white, such as (0, 1) or (-1, 1).

        Raises:
            DataError: says what does not fit, and what would be right.
        """
        images = torch.as_tensor(images)
        if images.ndim == 3:
            images = images[:, None]
        elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
            images = images.permute(0, 3, 1, 2)
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3] or not len(images):
            raise DataError(
                f"images must be square, (N, H, W), (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, got "
                f"{tuple(images.shape)}"
            )
        if images.dtype != torch.uint8:
            images = _to_uint8(images, value_range)
        elif value_range is not None:
            raise DataError("value_range is for floats: these images are uint8, 0 to 255")
        labels = torch.full((len(images),), -1) if labels is None else torch.as_tensor(labels)
        if labels.shape != (len(images),) or labels.is_floating_point() or labels.is_complex():
            raise DataError(
                f"labels must be {len(images):,} whole numbers, one for each image, got {labels.dtype} of shape "
                f"{tuple(labels.shape)}"
            )
        labels, most = labels.long(), len(class_names) or MAX_CLASSES
        if ((labels < -1) | (labels >= most)).any():
            raise DataError(f"labels must be -1 to {most - 1}, got {int(labels.min())} to {int(labels.max())}")
        return cls(images.contiguous(), labels, tuple(map(str, class_names)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> ImageSet:
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device) -> ImageSet:
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def scaled(self) -> Tensor:
        """The images as float32 in [-1, 1]."""
        return to_float(self.images)


def _to_uint8(images: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    if not images.is_floating_point():
        raise DataError(f"images must be uint8 or floats, got {images.dtype}")
    found = f"these go from {float(images.min()):.4g} to {float(images.max()):.4g}"
    if value_range is None:
        raise DataError(f"images of floats need value_range, as (0, 1) or (-1, 1): {found}")
    low, high = map(float, value_range)
    if not low < high or not images.isfinite().all() or images.min() < low or images.max() > high:
        raise DataError(f"images must be finite and within value_range, {low:g} to {high:g}: {found}")
    return ((images - low) * (255 / (high - low))).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def load_dataset(config: DataConfig, split: str, *, download: bool = True) -> ImageSet:
    """Load a split of the configured dataset, resized to ``image_size``.

    Args:
        split: ``train`` (without the validation images), ``val`` (held out of the training set), or ``test``
            (for evaluation only). In a ``folder``, the content of each image decides (``manifest.sides``).
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
    val, train = hold_out(len(images), config.dataset, config.val_fraction)
    return images[val if split == "val" else train]


def same_format(config: Config, images: str) -> DataConfig:
    """The config of a dataset or a folder, with the size, channels and background of a model's training images.

    Class folders are matched to the model's classes by name; a folder with other classes is refused.

    Args:
        images: a dataset's name or a folder's path.

    Raises:
        ConfigError: the dataset has other channels, or other classes than the model.
        DataError: the folder cannot be used, or has classes that the model does not know.
    """
    data = config.data
    alike = data.model_dump(include={"image_size", "channels", "background"})
    if images not in DATASETS or not DATASETS[images].function:
        manifest = find_manifest(list_folder(user_path(images).absolute()))
        if unknown := [name for name in manifest.class_names if config.class_names and name not in config.class_names]:
            raise DataError(
                f"{images} has classes that the model does not know: {listed(unknown)}; its own are "
                f"{listed(config.class_names)}"
            )
        alike |= {"class_names": config.class_names, "digest": manifest.digest}
        return DataConfig.from_values({"dataset": "folder", "path": images, **alike}, images)
    if config.class_names and config.class_names != DATASETS[images].class_names:
        names = DATASETS[images].class_names
        raise ConfigError(f"{images} has the classes {listed(names)}, and the model {listed(config.class_names)}")
    return DataConfig.from_values({"dataset": images, **alike}, images)


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n images in one epoch, a function of (seed, epoch) alone: (n,) long."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed("epoch", seed, epoch)))


def class_by_class(images: ImageSet, count: int) -> ImageSet:
    """The first ``count`` images, classes in turn: 0, 1, 2, ..., 0, 1, 2, ...; unlabelled sets keep their order."""
    rank = torch.zeros(len(images), dtype=torch.long)  # how many images of its class came before
    for label in images.labels.unique():
        of_class = images.labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    order = torch.argsort(rank * (images.labels.max() + 1) + images.labels, stable=True)
    return images[order[:count]]


def _load(config: DataConfig, train: bool, download: bool) -> ImageSet:
    if config.dataset not in DATASETS or not DATASETS[config.dataset].function:
        raise DataError(
            "nothing says which images this model learned from: name those to measure with, as in `--data cifar10` or "
            "`--data path/to/images` of the command line's eval"
        )
    named = DATASETS[config.dataset]
    found = ImageSet.from_arrays(*named.function(train, download), class_names=named.class_names)
    if found.images.shape[1] != config.channels:
        raise DataError(f"dataset {config.dataset} has {found.images.shape[1]} channels, not {config.channels}")
    return replace(found, images=resize(found.images, config.image_size))


def resize(images: Tensor, size: int) -> Tensor:
    """Resize (N, C, H, W) uint8 to size x size, bilinear with antialiasing, as torchvision's Resize does."""
    if images.shape[-2:] == (size, size):
        return images
    chunks = [
        F.interpolate(chunk, (size, size), mode="bilinear", antialias=True, align_corners=False)
        for chunk in images.split(4096)
    ]
    return torch.cat(chunks)


def open_folder(config: DataConfig, *, earlier: bool = False, tell: Tell = lambda doing: None) -> FolderData:
    """Read a folder of images; see ``ddpm.image_folder.reading.read_folder`` for ``tell``.

    Labels follow ``config.class_names``, or if it has none, the natural order of the class folders' names.

    Args:
        earlier: for a model trained before datasets had a digest: images are split by file name, and classes are in
            alphabetical order.

    Raises:
        DataError: the folder cannot be used as it is, has classes that are not among ``config.class_names``, or has
            too many damaged images.
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
    """The split of each image: train, val or test."""
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
    """The splits that images had before hashes decided: by order of names, with every tenth image for the test."""
    ranked = sorted(range(len(entries)), key=lambda i: (entries[i].class_name, entries[i].path))
    of_training = [i for rank, i in enumerate(ranked) if rank % 10 != 9]
    val = {of_training[k] for k in hold_out(len(of_training), "folder", val_fraction)[0].tolist()}
    train = set(of_training) - val
    return ["train" if i in train else "val" if i in val else "test" for i in range(len(entries))]


def hold_out(count: int, dataset: str, val_fraction: float) -> tuple[Tensor, Tensor]:
    """Split ``count`` images into those for validation and those for training, each a tensor of positions."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed("val", dataset)))
    held_out = max(1, round(val_fraction * count))
    return order[:held_out], order[held_out:].sort().values


def photographs(size: int) -> ImageSet:
    """The two photographs inside scikit-learn, a temple and a flower: (2, 3, size, size), cropped to squares."""
    from sklearn import datasets

    folder = Path(datasets.__file__).parent / "images"
    return ImageSet(
        torch.stack([read_image(folder / name, size, 3) for name in ("china.jpg", "flower.jpg")]), torch.full((2,), -1)
    )
