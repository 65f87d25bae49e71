"""Does a model remember its training images? How close samples come to one, beside how close test images come."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..errors import MetricError
from .metrics import Nearest, nearest
from .real_images import RealImages

QUANTILE = 0.01  # of the test images: what comes nearer than they do is taken for a copy
SOME, MOST = 0.15, 0.5  # shares of copies among samples


class Closeness(NamedTuple):
    """How close each of N samples comes to a training image."""

    nearest: Nearest
    ratio: Tensor
    """(N,): its distance over the median of that of test images of its class. About 1 is as new as a test image."""
    copied: Tensor
    """(N,) bool: nearer than all but 1 % of the test images."""

    @property
    def share(self) -> float:
        """Of the samples that are copies; about 1 % of what copies nothing."""
        return self.copied.double().mean().item()


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
    return Closeness(found, ratio, ratio < real.neighbour_quantile(QUANTILE))


def verdict(share: float, noun: str = "image") -> str:
    """What a share of copies among samples means: a sentence without its full stop."""
    copies = f"{share:.0%} of these {noun}s come nearer to a training image than all but 1 % of the test images do"
    if share > MOST:
        return f"The model only remembers its images: {copies}; more images, or a shorter training, would help"
    if share > SOME:
        return f"The model remembers some of its images: {copies}"
    return f"These are no copies: {copies}"
