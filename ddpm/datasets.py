"""The named datasets: what is fixed about each, and the function that loads it.

To add one, write such a function under ``@dataset``: the config, the command line, the pages and the tests read
``DATASETS``.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import DataError, one_line
from .files import data_dir
from .options import enter
from .randomness import derive_seed

Arrays = tuple[Tensor, Tensor]
"""Images (N, C, H, W) uint8, and their labels (N,) long, -1 where there are none."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named dataset and what is known about it before any file is read. None: the config decides."""

    function: Callable[[bool, bool], Arrays] | None
    """(train, download) -> the training and validation images, or the test images; raises ``DataError`` if they are not
    available. None: they come from the folder that the config names."""
    about: str
    channels: int | None = None
    image_size: int | None = None
    """As stored; the config may ask for another."""
    num_train: int | None = None
    """Training images, including those held out for validation."""
    class_names: tuple[str, ...] = ()
    """In the order of their labels; empty: the config decides."""
    offered: bool = True
    """Whether a form offers it; False for images that only a program can supply."""

    @property
    def num_classes(self) -> int | None:
        return len(self.class_names) or None


DATASETS: dict[str, Dataset] = {}
"""Every dataset under the name of its function, and ``folder``."""


def dataset(
    about: str, *, channels: int, image_size: int, num_train: int, class_names: tuple[str, ...] = ()
) -> Callable[[Callable[[bool, bool], Arrays]], Callable[[bool, bool], Arrays]]:
    """Register a function in ``DATASETS``; the arguments are those of ``Dataset``."""
    names = tuple(class_names)
    return lambda function: enter(DATASETS, "dataset", Dataset(function, about, channels, image_size, num_train, names))


NUMERALS = tuple("0123456789")
_GARMENTS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataset(
    "scikit-learn's 1,797 handwritten digits, 8x8, inside the package",
    channels=1, image_size=8, num_train=1_500, class_names=NUMERALS,
)  # fmt: skip
def digits(train: bool, download: bool) -> Arrays:
    # Read the file directly: importing sklearn.datasets takes longer than a training step, in every process.
    folder = Path(find_spec("sklearn").origin).parent
    table = torch.from_numpy(np.loadtxt(folder / "datasets" / "data" / "digits.csv.gz", delimiter=","))
    images = (table[:, :64] * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = table[:, 64].long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed("digits")))
    chosen = order[:1500] if train else order[1500:]
    return images[chosen], labels[chosen]


@dataset(
    "MNIST, 70,000 handwritten digits, through torchvision",
    channels=1, image_size=28, num_train=60_000, class_names=NUMERALS,
)  # fmt: skip
def mnist(train: bool, download: bool) -> Arrays:
    return _torchvision("mnist", "MNIST", train, download)


@dataset(
    "Fashion-MNIST, 70,000 garments, through torchvision",
    channels=1, image_size=28, num_train=60_000, class_names=_GARMENTS,
)  # fmt: skip
def fashion_mnist(train: bool, download: bool) -> Arrays:
    return _torchvision("fashion_mnist", "FashionMNIST", train, download)


@dataset(
    "CIFAR-10, 60,000 photographs, through torchvision",
    channels=3, image_size=32, num_train=50_000, class_names=_THINGS,
)  # fmt: skip
def cifar10(train: bool, download: bool) -> Arrays:
    return _torchvision("cifar10", "CIFAR10", train, download)


DATASETS["folder"] = Dataset(None, "a folder of images; its subfolders, if any, are the classes")
DATASETS["arrays"] = Dataset(None, "images that a program handed over, see ``ddpm.train``", offered=False)


def _torchvision(name: str, class_name: str, train: bool, download: bool) -> Arrays:
    from .torchvision_cpu import datasets

    kind = getattr(datasets, class_name)
    root = data_dir()
    target = root / kind.__name__ if root.exists() else root
    fresh = not target.exists()
    if damaged := _damaged(kind, root, train):
        raise DataError(f"dataset {name} is damaged: {damaged} is incomplete; delete it, and it is downloaded again")
    try:
        found = kind(root, train=train, download=download)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        if fresh:  # torchvision makes its folders before it knows whether it can fill them
            shutil.rmtree(target, ignore_errors=True)
        reason = (one_line(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
        raise DataError(
            f"dataset {name} is not in {root.resolve()} and was not downloaded ({reason}): "
            f"connect to the network once, or put torchvision's files there, or set DDPM_DATA_DIR to where they are"
        ) from error
    images = torch.as_tensor(found.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return images.contiguous(), torch.as_tensor(found.targets).long()


def _damaged(kind: type, root: Path, train: bool) -> Path | None:
    """The first file of a torchvision dataset that exists but is incomplete."""
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
    """Whether a file in MNIST's format is as long as its header says: type and number of dimensions, then the sizes."""
    with open(path, "rb") as file:
        kind, ndim = file.read(3), file.read(1)
        header = file.read(4 * ndim[0]) if ndim else b""
    if kind != b"\0\0\x08" or not ndim or len(header) != 4 * ndim[0]:
        return False
    return path.stat().st_size == 4 + len(header) + math.prod(np.frombuffer(header, ">u4").tolist())
