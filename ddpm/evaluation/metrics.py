"""Metrics of a set of samples: how far from the real images, how varied, how sure of their class, how much copied.

Every function takes tensors and gives numbers; a metric that makes no sense for them raises ``MetricError`` with the
reason and the remedy. ``ddpm.evaluation.judge`` puts them together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data import to_float
from ..device import over_cores
from ..errors import MetricError
from ..randomness import derive_seed

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # as in Binkowski et al. 2018
NEIGHBOURS = 3  # as in Kynkäänniemi et al. 2019
LPIPS_PAIRS = 100
LPIPS_MIN_SIZE = 31  # pixels: with fewer, AlexNet's strides and pooling leave nothing


# -- distance of two sets in feature space -------------------------------------------------------------------------


def _checked(features: Any, real: Any) -> tuple[Tensor, Tensor]:
    """Two sets of features as float64 tensors, (N, D) and (M, D).

    Raises:
        MetricError: they are not such sets; says what they are.
    """
    checked = torch.as_tensor(features).double(), torch.as_tensor(real).double()
    shapes = [tuple(values.shape) for values in checked]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise MetricError(
            f"features must be (N, D) and (M, D), a row for each image, got {shapes[0]} and {shapes[1]}: flatten "
            "images with .flatten(1), or take a network's features of them"
        )
    if not all(values.isfinite().all() for values in checked):
        raise MetricError("features must be finite: some are infinite or not a number")
    return checked


class _Identity(nn.Identity):
    """Stands in for torchmetrics' feature network, since the features are already computed."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


def frechet_distance(features: Tensor, real: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the Gaussians through two sets (Heusel et al. 2017, eq. 6).

    Biased upwards by few samples: compare only at equal n, and with the real baseline.

    Args:
        features, real: (N, D) and (M, D).

    Raises:
        MetricError: no more samples than features, so that a covariance is singular.
    """
    features, real = _checked(features, real)
    fewest, num_features = min(len(features), len(real)), features.shape[1]
    if fewest <= num_features:
        raise MetricError(
            f"{fewest} images are too few for the covariance of {num_features} features: take more than {num_features}"
        )
    from .. import torchvision_cpu  # noqa: F401, I001  before torchmetrics, which imports torchvision
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Identity(num_features)).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(features, real=False)
    return metric.compute().item()


def kernel_distance(features: Tensor, real: Tensor, seed: int = 0) -> tuple[float, float]:
    """KID, the squared MMD with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, section 4), unbiased: 0 on average
    for two sets of one distribution, so it may come out negative.

    Returns:
        Its mean and its standard deviation over ``KID_SUBSETS`` random subsets of at most ``KID_SUBSET_SIZE`` images.

    Raises:
        MetricError: fewer than 4 images.
    """
    features, real = _checked(features, real)
    fewest = min(len(features), len(real))
    if fewest < 4:
        raise MetricError(f"{fewest} images are too few for the kernel distance: take 4 or more")
    from .. import torchvision_cpu  # noqa: F401, I001  before torchmetrics, which imports torchvision
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():  # it warns that it keeps the features, which are small here
        warnings.simplefilter("ignore", UserWarning)
        metric = KernelInceptionDistance(
            feature=_Identity(features.shape[1]), subsets=KID_SUBSETS, subset_size=min(KID_SUBSET_SIZE, fewest // 2)
        )
    metric.update(real, real=True)
    metric.update(features, real=False)
    with torch.random.fork_rng(devices=[]):  # torchmetrics draws the subsets from torch's global generator
        torch.manual_seed(derive_seed("kid", seed))
        mean, std = metric.compute()
    return mean.item(), std.item()


def precision_recall(features: Tensor, real: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2), each in 0..1.

    A set's manifold is the union of balls around its points that reach to their k-th nearest neighbour. Precision is
    the share of samples on the manifold of the real images, recall the share of real images on that of the samples.
    Both depend on the sizes of the sets: compare only at equal n.

    Args:
        features, real: (N, D) and (M, D), N and M above k.

    Raises:
        MetricError: no more than k images.
    """
    features, real = _checked(features, real)
    if min(len(features), len(real)) <= k:
        raise MetricError(f"{min(len(features), len(real))} images are too few for precision and recall: "
                          f"take more than {k}")  # fmt: skip
    return _share_inside(features, real, k), _share_inside(real, features, k)


def _share_inside(points: Tensor, manifold: Tensor, k: int, chunk: int = 1000) -> float:
    # The point itself is its own nearest, hence k + 1.
    radii = torch.cat([torch.cdist(part, manifold).kthvalue(k + 1).values for part in manifold.split(chunk)])
    inside = [(torch.cdist(part, manifold) <= radii).any(1) for part in points.split(chunk)]
    return torch.cat(inside).double().mean().item()


# -- diversity -----------------------------------------------------------------------------------------------------


def pixel_diversity(images: Tensor) -> float:
    """The unbiased standard deviation over images of each pixel in [-1, 1], mean over pixels. images: (N, C, H, W).

    Raises:
        MetricError: a single image.
    """
    if len(images) < 2:
        raise MetricError("one image has no diversity: take 2 or more")
    return images.std(0).mean().item()


def lpips_order(count: int, seed: int) -> list[int]:
    """Which images of a set of ``count`` LPIPS compares, each with the next: the seed report's pairs of neighbours in a
    random permutation, at most ``LPIPS_PAIRS`` of them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed("lpips", seed)))
    return order[: LPIPS_PAIRS + 1].tolist()


def lpips_distances(images: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The distance of each image to the next, (N - 1,) float64.

    Args:
        images: (N, C, H, W) in [-1, 1]; grey becomes three equal channels.
        distance: of two batches (B, 3, H, W), as ``ddpm.evaluation.lpips_weights.load_lpips`` gives it.

    Raises:
        MetricError: a single image, or images smaller than AlexNet's first layers.
    """
    if len(images) < 2:
        raise MetricError("one image has no diversity: take 2 or more")
    check_lpips_size(min(images.shape[-2:]))
    images = images.expand(-1, 3, -1, -1)
    with torch.inference_mode():
        return over_cores(distance)(images[:-1], images[1:]).double().flatten()


def check_lpips_size(pixels: int) -> None:
    """Raise MetricError for images that are too small for AlexNet."""
    if pixels < LPIPS_MIN_SIZE:
        raise MetricError(
            f"LPIPS looks through AlexNet, which needs images of {LPIPS_MIN_SIZE} pixels or more, not {pixels}: "
            f"read pixel diversity, which is computed at any size"
        )


# -- memorisation --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Nearest:
    """For each of N images the nearest one in a set: its index (N,) long, and its distance (N,)."""

    index: Tensor
    distance: Tensor
    """Root of the mean squared difference over pixels, in units of [-1, 1]."""


def nearest(images: Tensor, among: Tensor, chunk: int = 2000) -> Nearest:
    """The nearest image in pixel space. images: (N, C, H, W) in [-1, 1]; among: (M, C, H, W) uint8."""
    flat = images.flatten(1)
    best = torch.full((len(flat),), torch.inf)
    index = torch.zeros(len(flat), dtype=torch.long)
    for first, part in zip(range(0, len(among), chunk), among.split(chunk), strict=True):
        others = to_float(part).flatten(1)
        # |x - y|^2 but for |x|^2, which does not change who is nearest.
        found = [(others.square().sum(1) - 2 * rows @ others.T).min(1) for rows in flat.split(chunk)]
        value, where = (torch.cat(tensors) for tensors in zip(*found, strict=True))
        closer = value < best
        best, index = torch.where(closer, value, best), torch.where(closer, where + first, index)
    # Computed again, since the expansion above loses the last digits of small distances.
    distance = torch.cat(
        [
            (rows - to_float(among[chosen]).flatten(1)).square().mean(1).sqrt()
            for rows, chosen in zip(flat.split(chunk), index.split(chunk), strict=True)
        ]
    )
    return Nearest(index, distance)
