"""All metrics of a set of samples, each beside the same metric of real images, as a dict for JSON.

A number alone says little: noise is diverse, and 500 real images are some distance from the other real images too. So
``reference`` holds what as many real images reach: training images in the place of samples where a distance to the test
set is taken, test images for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..config import DataConfig
from ..data import ImageSet, class_by_class, epoch_order, load_dataset, open_folder
from ..errors import DataError, MetricError
from .classifier import classify, extract_features
from .lpips_weights import Distance
from .metrics import (
    Nearest,
    frechet_distance,
    kernel_distance,
    lpips_diversity,
    nearest,
    pixel_diversity,
    precision_recall,
)
from .results import unavailable

TEST_NEIGHBOURS = 1000  # test images whose nearest training image is looked for, as the level of not copying
EXTREMES = 8  # how many of the nearest, best and worst samples are named


def attempt(names: tuple[str, ...], compute: Callable[[], tuple]) -> dict[str, Any]:
    """The metrics called ``names``, or for each of them the reason why it cannot be computed."""
    try:
        return dict(zip(names, compute(), strict=True))
    except MetricError as error:
        return dict.fromkeys(names, unavailable(error))


@dataclass(frozen=True, eq=False)
class RealImages:
    """The images that samples are measured with, and what is computed of them once."""

    config: DataConfig
    train: ImageSet | None
    test: ImageSet | None
    missing: str = ""
    """Why there are none, and the remedy."""
    seed: int = 0
    conditional: bool = True
    _references: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, config: DataConfig, seed: int, conditional: bool) -> RealImages:
        """The dataset that the config names, or why it is missing."""
        try:
            return cls(config, *_splits(config), "", seed, conditional)
        except DataError as error:
            return cls(config, None, None, str(error), seed, conditional)

    def check(self) -> None:
        """Raise MetricError where the dataset is missing."""
        if self.missing:
            raise MetricError(self.missing)

    def features(self, images: Tensor) -> Tensor:
        """The classifier's penultimate layer, (N, 96).

        Raises:
            MetricError: it does not know such images.
        """
        self.check_classifier()
        return extract_features(images)

    def check_classifier(self) -> None:
        """Raise MetricError where the shipped classifier does not know such images."""
        if self.config.dataset == "mnist" and self.config.image_size >= 28:
            return
        if self.config.dataset == "digits":
            why = "of scikit-learn's 8x8 digits it takes one in six for another"
        else:
            why = f"and these images are {self.config.dataset} at {self.config.image_size} pixels"
        raise MetricError(
            f"it is taken through the shipped classifier, which knows MNIST's digits at 28 pixels or more; {why}: "
            f"read pixel diversity, nearest images and calibration instead"
        )

    @cached_property
    def test_features(self) -> Tensor:
        self.check()
        return self.features(self.test.scaled())

    @cached_property
    def _neighbour_images(self) -> ImageSet:
        return class_by_class(self.test, TEST_NEIGHBOURS)

    @cached_property
    def test_neighbours(self) -> Nearest:
        """The nearest training image of the first test images: how near an image comes that is no copy."""
        return nearest(self._neighbour_images.scaled(), self.train.images)

    def neighbour_levels(self, labels: Tensor | None, count: int) -> Tensor:
        """(count,): the median distance of test images of each sample's class, since a 1 is always near to another 1;
        of all test images where ``labels`` is None."""
        distance, classes = self.test_neighbours.distance, self._neighbour_images.labels
        level = distance.median().expand(count).clone()
        for label in () if labels is None else classes.unique():
            level[labels == label] = distance[classes == label].median()
        return level

    def neighbour_quantile(self, share: float) -> float:
        """The quantile over test images of their distance in units of their level."""
        labels = self._neighbour_images.labels if self.conditional else None
        level = self.neighbour_levels(labels, len(self._neighbour_images))
        return (self.test_neighbours.distance / level).quantile(share).item()

    def draw(self, images: ImageSet, count: int) -> ImageSet:
        """``count`` images at random (all, where there are fewer), the classes in turn where samples are."""
        return class_by_class(self._shuffled(images), count) if self.conditional else self._shuffled(images)[:count]

    def draw_naturally(self, images: ImageSet, count: int) -> ImageSet:
        """``count`` images at random, the classes as often as they come."""
        return self._shuffled(images)[:count]

    def _shuffled(self, images: ImageSet) -> ImageSet:
        return images[epoch_order(len(images), self.seed, 0)]


def _splits(config: DataConfig) -> tuple[ImageSet, ImageSet]:
    """Training and test images. A model that does not say which images a folder held is of an earlier version."""
    if config.dataset == "folder":
        opened = open_folder(config, earlier=config.digest is None)
        return opened.split("train"), opened.split("test")
    return load_dataset(config, "train"), load_dataset(config, "test")


def judge(images: Tensor, labels: Tensor | None, real: RealImages, lpips: Distance | MetricError) -> dict[str, Any]:
    """All metrics of samples (N, C, H, W) in [-1, 1], asked to be of the classes ``labels`` (N,); None: of no class.

    ``lpips`` is the network, or why there is none.
    """
    return {
        "num_samples": len(images),
        **_diversity(images, real.seed, lpips),
        **_distance(lambda: real.features(images), real),
        **_classes(images, labels, real),
        "nearest_training_image": unavailable(real.missing) if real.missing else _memorisation(images, labels, real),
        "reference": reference(len(images), real, lpips),
    }


def reference(count: int, real: RealImages, lpips: Distance | MetricError) -> dict[str, Any]:
    """The same metrics of ``count`` real images."""
    if real.missing:
        return unavailable(real.missing)
    if count not in real._references:
        train, test = real.draw(real.train, count), real.draw(real.test, count)
        balanced = ", balanced as the samples (frechet_distance_natural: unbalanced)," if real.conditional else ""
        real._references[count] = {
            "what": f"distance, precision and recall: {len(train):,} training images{balanced} against the "
            f"{len(real.test):,} of the test set; diversity: {len(test):,} test images; label accuracy: the whole test "
            f"set",
            **_diversity(test.scaled(), real.seed, lpips),
            **_distance(lambda: real.features(train.scaled()), real),
            **(attempt(("frechet_distance_natural",), lambda: (_natural_distance(count, real),)) if balanced else {}),
            **_classes(real.test.scaled(), real.test.labels, real, extremes=False),
        }
    return real._references[count]


def _natural_distance(count: int, real: RealImages) -> float:
    """The Fréchet distance of training images whose classes are not balanced, as those of the test set are not."""
    features = real.features(real.draw_naturally(real.train, count).scaled())
    return frechet_distance(features, real.test_features)


def _diversity(images: Tensor, seed: int, lpips: Distance | MetricError) -> dict[str, Any]:
    def by_lpips() -> tuple[float]:
        if isinstance(lpips, MetricError):
            raise lpips
        return (lpips_diversity(images, lpips, seed),)

    return {
        **attempt(("lpips_diversity",), by_lpips),
        **attempt(("pixel_diversity",), lambda: (pixel_diversity(images),)),
    }


def _distance(features: Callable[[], Tensor], real: RealImages) -> dict[str, Any]:
    """Of features that are computed when first asked for, and may turn out to be unavailable."""
    known: list[Tensor] = []

    def both() -> tuple[Tensor, Tensor]:
        if not known:
            known.append(features())
        return known[0], real.test_features

    return {
        **attempt(("frechet_distance",), lambda: (frechet_distance(*both()),)),
        **attempt(("kid", "kid_std"), lambda: kernel_distance(*both(), real.seed)),
        **attempt(("precision", "recall"), lambda: precision_recall(*both())),
    }


def _classes(images: Tensor, labels: Tensor | None, real: RealImages, extremes: bool = True) -> dict[str, Any]:
    """What the classifier takes the images for; with ``extremes``, which it is surest and least sure of."""
    names = ("label_accuracy", "confusion_matrix", "class_histogram", *(("surest", "least_sure") if extremes else ()))

    def values() -> tuple:
        real.check_classifier()
        probabilities = classify(images)
        found = probabilities.argmax(1)
        histogram = found.bincount(minlength=10).tolist()
        if labels is None:
            none = unavailable("the samples were asked for no class: evaluate a conditional model")
            accuracy, confusion, confidence = none, none, probabilities.amax(1)
        else:
            accuracy = (found == labels).double().mean().item()
            confusion = (labels * 10 + found).bincount(minlength=100).view(10, 10).tolist()
            confidence = probabilities[torch.arange(len(labels)), labels]
        order = confidence.argsort(descending=True, stable=True).tolist()
        return accuracy, confusion, histogram, *((order[:EXTREMES], order[-EXTREMES:][::-1]) if extremes else ())

    return attempt(names, values)


def _memorisation(images: Tensor, labels: Tensor | None, real: RealImages) -> dict[str, Any]:
    """How near the samples come to a training image, against how near test images of their class do.

    A ratio of about 1 is as new as a test image; far below 1 is a copy. Of samples that copy nothing, about 1 % lie
    below the 1 % quantile of the test images.
    """
    found, level = nearest(images, real.train.images), real.neighbour_levels(labels, len(images))
    if not (level > 0).all():
        return unavailable("half of the test images are copies of training images: split the data anew")
    ratio, of_test = found.distance / level, real.test_neighbours
    closest = ratio.argsort()[:EXTREMES].tolist()
    return {
        "ratio": ratio.median().item(),
        "share_below_test_quantile": (ratio < real.neighbour_quantile(0.01)).double().mean().item(),
        "test_quantile": 0.01,
        "median_distance": found.distance.median().item(),
        "median_distance_test": of_test.distance.median().item(),
        "num_test_images": len(of_test.distance),
        "closest": [
            {
                "sample": k,
                "training_image": int(found.index[k]),
                "distance": found.distance[k].item(),
                "ratio": ratio[k].item(),
            }
            for k in closest
        ],
    }
