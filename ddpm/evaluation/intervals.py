"""95 % confidence intervals of metrics, and how sure it is which of two values is the better one."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .results import Stage

BOOTSTRAP = 100  # resamples behind an interval that no formula gives
Z = 1.96  # standard errors on either side of a 95 % interval


def wilson(share: float, count: int) -> tuple[float, float]:
    """The score interval of a share of ``count`` (Wilson 1927, JASA 22, p. 209)."""
    middle, denominator = share + Z**2 / (2 * count), 1 + Z**2 / count
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, (middle - half) / denominator), min(1.0, (middle + half) / denominator)


def of_share(share: float, count: int) -> float:
    """Half the width of the interval of a share of ``count``, normal approximation of the binomial."""
    return Z * math.sqrt(share * (1 - share) / count)


def of_mean(values: Tensor) -> float:
    """Half the width of the interval of the mean of ``values`` (N,)."""
    return Z * values.std().item() / math.sqrt(len(values))


def bootstrap(rows: Tensor, statistic: Callable[[Tensor], float], seed: int, classes: Tensor | None = None) -> float:
    """Half the width of the interval of a statistic of ``rows`` (N, ...): 1.96 standard deviations over resamples.
    Resampling shifts a distance up, so its quantiles would not lie around the value. Where the ``classes`` (N,) were
    chosen, each is resampled by itself: their shares are no chance."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.zeros(len(rows), dtype=torch.long) if classes is None else classes
    groups = [(classes == label).nonzero().flatten() for label in classes.unique()]

    def resampled() -> Tensor:
        return rows[
            torch.cat([group[torch.randint(len(group), (len(group),), generator=generator)] for group in groups])
        ]

    drawn = [statistic(resampled()) for _ in range(BOOTSTRAP)]
    return Z * torch.tensor(drawn, dtype=torch.float64).std().item()


def certainty(first: float, first_half: float, second: float, second_half: float) -> float:
    """The probability that the true value behind ``first`` is the smaller one, given the halves of both intervals:
    normal and independent errors. 0.5 if both intervals have no width and the values are equal."""
    error = math.hypot(first_half, second_half) / Z
    if error == 0:
        return 0.5 + 0.5 * ((second > first) - (second < first))
    return NormalDist().cdf((second - first) / error)


# -- of a stage of an evaluation ------------------------------------------------------------------------------------


def ci95(stage: Stage, key: str) -> float | None:
    """Half the width of the 95 % interval of a metric; None for one that has none. Those of precision and label
    accuracy are about other samples, that of recall about other test images."""
    value, half = stage.get(key), stage.get(f"{key}_ci95")
    if not isinstance(value, int | float):
        return None
    if isinstance(half, int | float):
        return half
    nearest = stage.get("nearest_training_image") or {}
    counts = dict.fromkeys(("precision", "label_accuracy"), stage["num_samples"])
    counts["recall"] = nearest.get("num_test_images")
    return of_share(value, counts[key]) if counts.get(key) else None


class Better(NamedTuple):
    """Which of two models does better by a metric."""

    metric: str
    first: bool
    """Whether it is the first one."""
    certainty: float
    """0.5 to 1."""


def better_of(first: Stage, second: Stage) -> list[Better]:
    """Which of two stages does better, by every metric that has an interval in both and means the same in both: the
    Fréchet distance and recall depend on the number of samples."""
    found = []
    for key, lower in (("frechet_distance", True), ("precision", False), ("recall", False), ("label_accuracy", False)):
        halves = ci95(first, key), ci95(second, key)
        comparable = first["num_samples"] == second["num_samples"] or key in ("precision", "label_accuracy")
        if None not in halves and comparable:
            smaller = certainty(first[key], halves[0], second[key], halves[1])
            sure = smaller if lower else 1 - smaller
            found.append(Better(key, sure >= 0.5, max(sure, 1 - sure)))
    return found
