"""Does a model remember its training images? How close samples come to one, beside how close test images come."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..errors import MetricError
from .metrics import Nearest, nearest
from .real_images import RealImages

QUANTILE = 0.01  # of the test images: what comes nearer than they do is taken for a copy
SOME, MOST = 0.15, 0.5  # shares of copies among samples
FEW = 20  # test images, of which the nearest says little about the nearest 1 %
UNLIKE = 2.0  # times as far from any training image as test images are: no such image at all, as noise is none


class Closeness(NamedTuple):
    """How close each of N samples comes to a training image."""

    nearest: Nearest
    ratio: Tensor
    """(N,): its distance over the median of that of test images of its class. About 1 is as new as a test image."""
    copied: Tensor
    """(N,) bool: nearer than all but 1 % of the test images; of fewer than 100, nearer than the nearest."""
    tests: int
    """How many test images these were."""

    @property
    def share(self) -> float:
        """Of the samples that are copies; about 1 % of what copies nothing."""
        return self.copied.double().mean().item()

    @property
    def verdict(self) -> str:
        """What it means, see ``verdict``."""
        return verdict(int(self.copied.sum()), len(self.copied), self.tests, self.ratio.median().item())


def closeness(images: Tensor, labels: Tensor | None, real: RealImages) -> Closeness:
    """Compare samples (N, C, H, W) in [-1, 1] with the training images; ``labels`` are their classes, None for none.

    Raises:
        MetricError: the training images are not here, or half of the test images are copies of them.
    """
    real.check()
    found, level = nearest(images, real.train.images), real.neighbour_levels(labels, len(images))
    if not (level > 0).all():
        raise MetricError("half of the test images are copies of training images: split the data again")
    ratio = found.distance / level
    tests = len(real.test_neighbours.distance)
    return Closeness(found, ratio, ratio < real.neighbour_quantile(QUANTILE if tests >= 1 / QUANTILE else 0.0), tests)


def verdict(copies: int, samples: int, tests: int, ratio: float) -> str:
    """What copies among samples mean: a sentence without its full stop.

    Args:
        copies: of so many ``samples``, as ``Closeness.copied`` counts them.
        tests: how many test images they were compared with.
        ratio: the median of ``Closeness.ratio`` over the samples.
    """
    if ratio > UNLIKE:
        return (
            f"Too unlike any training image to judge: these are {ratio:.1f} times as far from one as unseen images; "
            "train longer, then look again"
        )
    level = f"than the nearest of {tests:,} unseen ones" if tests < 1 / QUANTILE else "than all but 1 % of unseen ones"
    said = f"{copies:,} of {samples:,} are nearer to a training image {level}" if copies else (
        f"none of {samples:,} is nearer to a training image {level}"
    )  # fmt: skip
    if copies > MOST * samples:
        return f"The model only remembers its images: {said}; more images, or a shorter training, would help"
    if tests < FEW:
        return f"{said[:1].upper()}{said[1:]}, which are too few to be sure"
    if copies > SOME * samples:
        return f"The model remembers some of its images: {said}"
    return f"These are no copies: {said}"
