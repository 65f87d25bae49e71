"""Anybody's samples, from a folder of images or an array, judged as an evaluation judges those of our models."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..config.data_section import DataConfig
from ..data import ImageSet, open_folder
from ..datasets import DATASETS
from ..errors import ConfigError, DataError, unknown
from ..files import file_sha256, user_path
from ..storage.weights import values_sha256
from .classifier import SHIPPED, load_classifier
from .evaluate import find_lpips, versions
from .intervals import bootstrap, of_mean, wilson
from .judge import Judged, judge
from .metrics import pixel_diversity
from .real_images import RealImages

INTERVALS = {
    "frechet_distance": "bootstrap over the samples of each class, the test images fixed",
    "pixel_diversity": "bootstrap over the samples",
    "lpips_diversity": "1.96 standard errors over the pairs",
    "precision": "Wilson's score interval over the samples, the test images fixed",
    "recall": "Wilson's score interval over the test images, the samples fixed",
    "label_accuracy": "Wilson's score interval over the samples",
}


def read_samples(path: str | Path, dataset: str = "mnist", image_size: int | None = None) -> ImageSet:
    """Samples of another program, in the colours of a dataset.

    Args:
        path: a folder of images, its subfolders named as the dataset's classes if there are any; a ``.npz`` with
            ``images`` uint8 (N, H, W, C) or (N, H, W) and perhaps ``labels`` (N,), as ``sample grid --npz`` writes it;
            or a ``.npy`` of such images.
        image_size: of a folder's images, which are cut to squares and resized to it; that of ``DataConfig`` by default.

    Raises:
        ConfigError: no such dataset.
        DataError: the file or the folder cannot be read as such; says what would be right.
    """
    known = [name for name, entry in DATASETS.items() if entry.function]
    if dataset not in known:
        raise ConfigError(unknown("dataset", dataset, known))
    path, named = user_path(path), DATASETS[dataset]
    if path.is_dir():
        config = {"dataset": "folder", "path": str(path), "channels": named.channels,
                  "image_size": image_size or DataConfig().image_size, "class_names": named.class_names}  # fmt: skip
        return open_folder(DataConfig.from_values(config, str(path))).images
    if image_size:
        raise DataError("an image size is for a folder of images: an array is judged in the size that it has")
    try:
        with open(path, "rb") as file:  # which NumPy would leave open where it refuses it
            found = np.load(file, allow_pickle=False)
            arrays = {"images": found} if isinstance(found, np.ndarray) else dict(found)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a folder of images, .npz or .npy: {error}") from None
    if "images" not in arrays:
        raise DataError(f"{path} has no array called images; it has {', '.join(arrays) or 'none'}")
    samples = ImageSet.from_arrays(arrays["images"], arrays.get("labels"), class_names=named.class_names)
    if samples.images.shape[1] != named.channels:
        raise DataError(f"{path} has images of {samples.images.shape[1]} channels, and {dataset} of {named.channels}")
    return samples


def judge_samples(
    samples: ImageSet,
    dataset: str = "mnist",
    *,
    seed: int = 0,
    lpips_weights: Path | None = None,
    classifier: Path | None = None,
) -> dict[str, Any]:
    """All metrics of samples beside those of as many real images, as a stage of an evaluation holds them, and in
    ``intervals`` a 95 % interval for each that has one.

    Args:
        samples: in the colours of the dataset. The real images are resized to the size of these. Where every label is
            -1, the samples were asked for no class.
        dataset: whose test images they are measured with.
        seed: of the real images that are drawn, and of the bootstrap.
        lpips_weights: see ``ddpm.evaluation.lpips_weights.load_lpips``.
        classifier: weights of another classifier, as ``train-classifier --seed`` makes them: a second opinion on
            whatever was chosen by the shipped one.

    Raises:
        ModelError: the file holds no such classifier.
        ConfigError: no such dataset, or LPIPS weights that are not there.
        DataError: only some of the samples have a label.
    """
    labelled = bool((samples.labels >= 0).any())
    if labelled and (samples.labels < 0).any():
        raise DataError("some of the samples have a label and others have none: give all of them one, or none")
    size, channels = samples.images.shape[-1], samples.images.shape[1]
    config = DataConfig.from_values({"dataset": dataset, "image_size": size, "channels": channels}, "the samples")
    weights = user_path(classifier) if classifier else SHIPPED
    load_classifier(weights)  # a file that is none is refused before anything is computed
    real = RealImages.load(config, seed, labelled, weights)
    lpips = find_lpips(size, lpips_weights)
    judged = Judged(samples.scaled(), samples.labels if labelled else None, real, lpips)
    found = judge(judged)
    return found | {
        "num_samples": len(samples),
        "intervals": {name: {"low": low, "high": high, "method": INTERVALS[name]}
                      for name, (low, high) in _intervals(judged, found).items()},
        "made_by": {
            "dataset": dataset, "seed": seed, "samples_sha256": values_sha256({"images": samples.images}),
            "preprocessing": f"uint8, {channels} x {size} x {size} pixels, scaled to [-1, 1]; real images resized to "
            "that size, bilinear with antialiasing",
            "classifier_sha256": file_sha256(weights), "versions": versions(),
        },
    }  # fmt: skip


def _intervals(judged: Judged, found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """A 95 % interval for each metric that could be computed and has one."""
    count, real = judged.count, judged.real
    made: dict[str, Callable[[float], tuple[float, float]]] = {
        "frechet_distance": lambda value: _around(value, found["frechet_distance_ci95"]),
        "pixel_diversity": lambda value: _around(value, bootstrap(judged.images, pixel_diversity, real.seed)),
        "lpips_diversity": lambda value: _around(value, of_mean(judged.lpips_pairs)),
        "precision": lambda value: wilson(value, count),
        "recall": lambda value: wilson(value, len(real.test)),
        "label_accuracy": lambda value: wilson(value, count),
    }
    return {name: interval(found[name]) for name, interval in made.items() if isinstance(found[name], float)}


def _around(value: float, half: float) -> tuple[float, float]:
    return max(0.0, value - half), value + half
