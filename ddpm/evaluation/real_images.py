"""The real images that samples are compared with, and what is computed from them once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config.data_section import DataConfig
from ..data import ImageSet, class_by_class, epoch_order, load_dataset, open_folder
from ..errors import DataError, MetricError
from .classifier import SHIPPED, extract_features
from .metrics import Nearest, nearest

TEST_NEIGHBOURS = 1000  # test images whose distance to the nearest training image sets the level of not copying


@dataclass(frozen=True, eq=False)
class RealImages:
    """The images that samples are compared with, and what is computed from them once."""

    config: DataConfig
    train: ImageSet | None
    test: ImageSet | None
    missing: str = ""
    """Why there are none, and the remedy."""
    seed: int = 0
    conditional: bool = True
    digest: str | None = None
    """For a folder, as it is now."""
    classifier: Path = SHIPPED
    """The weights of the network that sees the images."""
    _references: dict[tuple[int, tuple[str, ...]], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, config: DataConfig, seed: int, conditional: bool, classifier: Path = SHIPPED) -> RealImages:
        """The dataset that the config names, or why it is missing."""
        how = {"seed": seed, "conditional": conditional, "classifier": classifier}
        try:
            train, test, digest = splits(config)
            return cls(config, train, test, digest=digest, **how)
        except DataError as error:
            return cls(config, None, None, str(error), **how)

    def check(self) -> None:
        """Raise MetricError if the dataset is missing."""
        if self.missing:
            raise MetricError(self.missing)

    def features(self, images: Tensor) -> Tensor:
        """The classifier's penultimate layer, (N, 96).

        Raises:
            MetricError: it does not know such images.
        """
        self.check_classifier()
        return extract_features(images, weights=self.classifier)

    def check_classifier(self) -> None:
        """Raise MetricError if the shipped classifier does not know such images."""
        if self.config.dataset == "mnist" and self.config.image_size >= 28:
            return
        if self.config.dataset == "digits":
            why = "of scikit-learn's 8x8 digits it takes one in six for another"
        else:
            images = "a folder's" if self.config.dataset == "folder" else self.config.dataset
            why = f"and these images are {images} at {self.config.image_size} pixels"
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
        """The training image nearest to each of the first test images: how close images come that are no copies."""
        return nearest(self._neighbour_images.scaled(), self.train.images)

    def neighbour_levels(self, labels: Tensor | None, count: int) -> Tensor:
        """(count,): the median distance of test images of each sample's class, since a 1 is always close to another 1;
        of all test images if ``labels`` is None."""
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
        """``count`` images at random (all, if there are fewer), the classes in turn if those of the samples are."""
        return class_by_class(self._shuffled(images), count) if self.conditional else self._shuffled(images)[:count]

    # The images to compare with ``count`` samples; each measure names one of these.

    def as_samples(self, count: int) -> ImageSet:
        return self.draw(self.train, count)

    def as_samples_unbalanced(self, count: int) -> ImageSet:
        """The classes in their natural proportions."""
        return self._shuffled(self.train)[:count]

    def as_tests(self, count: int) -> ImageSet:
        return self.draw(self.test, count)

    def whole_test(self, count: int) -> ImageSet:
        return self.test

    def _shuffled(self, images: ImageSet) -> ImageSet:
        return images[epoch_order(len(images), self.seed, 0)]


def splits(config: DataConfig) -> tuple[ImageSet, ImageSet, str | None]:
    """Training and test images, and the current digest of a folder.

    Raises:
        DataError: the dataset is missing, and cannot be downloaded.
    """
    if config.dataset == "folder":  # a model that does not say which images it held is from an earlier version
        opened = open_folder(config, earlier=config.digest is None)
        return opened.split("train"), opened.split("test"), opened.manifest.digest
    return load_dataset(config, "train"), load_dataset(config, "test"), None
