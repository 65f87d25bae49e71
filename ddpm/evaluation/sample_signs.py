"""What is wrong with samples of any program, told by signs that are measured beside real images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config.data_section import DataConfig
from ..data import ImageSet
from ..errors import MetricError
from .classifier import classify
from .doctor import HANDED, Sign
from .memorised import SOME, closeness
from .metrics import pixel_diversity
from .real_images import RealImages

IMAGES = 256  # of the samples and of the real ones
LAPLACE = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])


def noise_in(images: Tensor) -> float:
    """The standard deviation of the noise in images (N, C, H, W), estimated with a mask that planes and edges pass
    (Immerkær 1996, Fast Noise Variance Estimation)."""
    pixels = images.flatten(0, 1)[:, None].float()
    return math.sqrt(math.pi / 2) / 6 * F.conv2d(pixels, LAPLACE[None, None]).abs().mean().item()


@dataclass(frozen=True, eq=False)
class Seen:
    """Samples (N, C, H, W) in [-1, 1], the classes that they were asked for, if any, and the real images."""

    samples: Tensor
    labels: Tensor | None
    real: RealImages

    @cached_property
    def beside(self) -> ImageSet:
        """As many test images."""
        return self.real.draw(self.real.test, len(self.samples))

    @cached_property
    def real_samples(self) -> Tensor:
        return self.beside.scaled()


def examine_samples(samples: ImageSet, dataset: str = "mnist") -> list[Sign]:
    """All signs of a set of samples, in the order of how specific they are.

    Args:
        samples: in the colours of the dataset. Real images are resized to their size. Where every label is -1, they
            were asked for no class.

    Raises:
        MetricError: the dataset is not here.
    """
    size, channels = samples.images.shape[-1], samples.images.shape[1]
    config = DataConfig.from_values({"dataset": dataset, "image_size": size, "channels": channels}, "the samples")
    chosen = samples[: min(len(samples), IMAGES)]
    labelled = bool((chosen.labels >= 0).all())
    real = RealImages.load(config, 0, labelled)
    real.check()
    seen = Seen(chosen.scaled(), chosen.labels if labelled else None, real)
    return [sign for look in LOOKS for sign in look(seen)]


# -- the signs -----------------------------------------------------------------------------------------------------


def _content(seen: Seen) -> Iterator[Sign]:
    flat = (seen.samples.flatten(1).std(1) < 1e-3).double().mean().item()
    yield Sign(
        "images hold no content",
        f"{flat:.0%} of the samples have one level everywhere",
        flat > 0.05,
        "Look for values that are no numbers before they become pixels: a root of a negative number.",
    )


def _levels(seen: Seen) -> Iterator[Sign]:
    ours, theirs = (images.mean(0) - images.mean() for images in (seen.samples, seen.real_samples))
    alike = F.cosine_similarity(ours.flatten(), theirs.flatten(), 0).item()
    yield Sign(
        "light and dark are exchanged",
        f"the mean sample and the mean real image have a correlation of {alike:.2f}; healthy is above 0.5",
        alike < -0.3,
        "Show 255 minus the levels, or train with dark on light turned round.",
    )
    darkest, real = (images.flatten().quantile(0.02).item() for images in (seen.samples, seen.real_samples))
    yield Sign(
        "black is grey",
        f"the darkest 2 % of the levels end at {_level(darkest)}, of real images at {_level(real)} of 255",
        darkest > real + 0.25,
        "Map [-1, 1] to [0, 255] only what is in [-1, 1]; or see whether the schedule leaves signal at its end.",
    )


def _level(value: float) -> int:
    return round((value + 1) * 127.5)


def _noise(seen: Seen) -> Iterator[Sign]:
    ours, theirs = noise_in(seen.samples), noise_in(seen.real_samples)
    yield Sign(
        "noise is left",
        f"samples hold {ours / theirs:.2f} times as much noise as real images; healthy is below 1.5",
        ours > 1.5 * theirs,
        "Add no noise in the last step, take all steps down to t = 0, and use the averaged weights.",
    )


def _variety(seen: Seen) -> Iterator[Sign]:
    ours, theirs = pixel_diversity(seen.samples), pixel_diversity(seen.real_samples)
    yield Sign(
        "samples are too much alike",
        f"their pixels vary {ours / theirs:.2f} times as much as those of real images; healthy is near 1",
        ours < 0.6 * theirs,
        "Give every image noise of its own, and lower guidance.",
    )
    copied = closeness(seen.samples, seen.labels, seen.real).share
    yield Sign(
        "samples are copies of training images",
        f"{copied:.0%} lie nearer to a training image than all but 1 % of the test images do",
        copied > SOME,
        "Stop the training earlier, raise model.dropout, or train on more images.",
    )


def _mirror(seen: Seen) -> Iterator[Sign]:
    try:
        seen.real.check_classifier()
    except MetricError:
        return
    if seen.labels is None or seen.real.config.dataset not in HANDED:
        return
    shares = [
        (classify(images).argmax(1) == seen.labels).double().mean().item()
        for images in (seen.samples, seen.samples.flip(-1))
    ]
    yield Sign(
        "samples are mirrored",
        f"{shares[0]:.0%} are read as what was asked for, in the mirror {shares[1]:.0%}",
        shares[1] > shares[0],
        "Train with data.horizontal_flip false, and look at how images are saved.",
    )


LOOKS: tuple[Callable[[Seen], Iterator[Sign]], ...] = (_content, _levels, _noise, _mirror, _variety)
"""A grey or noisy set is also an unusual one in everything that comes later."""
