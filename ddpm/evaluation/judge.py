"""All metrics of a set of samples, each beside its real baseline, as a dict for JSON.

A number alone says little: noise is diverse, and 500 real images are some distance from the other real images too. So
``reference`` holds the real baseline, the score of as many real images: training images where the metric is a distance
to the test set, test images for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import ImageSet
from ..errors import MetricError
from ..options import check_name
from .classifier import classify
from .intervals import bootstrap
from .lpips_weights import Distance
from .memorised import QUANTILE, closeness
from .metrics import (
    frechet_distance,
    kernel_distance,
    lpips_distances,
    lpips_order,
    pixel_diversity,
    precision_recall,
)
from .real_images import RealImages
from .results import unavailable
from .structure import METRICS, Metric

EXTREMES = 8  # how many of the nearest, best and worst samples are named


@dataclass(frozen=True, eq=False)
class Judged:
    """Images (N, C, H, W) in [-1, 1] to judge, and what is computed from them once."""

    images: Tensor
    labels: Tensor | None
    """The classes (N,) that were requested; None if none were."""
    real: RealImages
    lpips: Distance | MetricError
    """The network, or why there is none."""
    indices: Sequence[int] | None = None
    """Which samples of a larger set they are; None if they are the whole set."""
    set_size: int = 0
    """The size of that larger set."""

    @property
    def count(self) -> int:
        """The size of the whole set."""
        return len(self.images) if self.indices is None else self.set_size

    def at(self, indices: Sequence[int]) -> Tensor:
        """The images of these samples of the set."""
        if self.indices is None:
            return self.images[indices]
        rows = {index: row for row, index in enumerate(self.indices)}
        return self.images[[rows[index] for index in indices]]

    @cached_property
    def features(self) -> Tensor:
        return self.real.features(self.images)

    @cached_property
    def probabilities(self) -> Tensor:
        """The classifier's probabilities, (N, 10)."""
        self.real.check_classifier()
        return classify(self.images, weights=self.real.classifier)

    @cached_property
    def lpips_pairs(self) -> Tensor:
        """The distances of the pairs of images that LPIPS diversity is the mean of.

        Raises:
            MetricError: the network is missing, or these images have no such distance.
        """
        if isinstance(self.lpips, MetricError):
            raise self.lpips
        return lpips_distances(self.at(lpips_order(self.count, self.real.seed)), self.lpips)

    @property
    def confidence(self) -> Tensor:
        """The classifier's confidence in the class requested, or if none was, in the one that it sees, (N,)."""
        if self.labels is None:
            return self.probabilities.amax(1)
        return self.probabilities[torch.arange(len(self.labels)), self.labels]


class Measure(NamedTuple):
    """Metrics that are computed together."""

    names: tuple[str, ...]
    compute: Callable[[Judged], tuple]
    """Their values, or a MetricError that says why they are unavailable, and the remedy."""
    beside: Callable[[RealImages, int], ImageSet] | None = None
    """The real images for the baseline; None if a baseline would say nothing."""
    depends_on: tuple[str, ...] = ()
    """Keys of a result's ``made_by``: if the value of one has changed, these metrics are computed again."""
    needs: Callable[[int, int], Sequence[int]] = lambda count, seed: range(count)
    """(number of samples, seed) -> those of them that it uses."""

    def of(self, judged: Judged) -> dict[str, Any]:
        """The metrics by name, or for each of them the reason why it cannot be computed."""
        try:
            return dict(zip(self.names, self.compute(judged), strict=True))
        except MetricError as error:
            return dict.fromkeys(self.names, unavailable(error))


def judge(judged: Judged, measures: Sequence[Measure] | None = None) -> dict[str, Any]:
    """Metrics of samples, all by default, and in ``reference`` those of as many real images."""
    measures = measures_of(judged.real) if measures is None else measures
    found: dict[str, Any] = {}
    for measure in measures:
        found |= {} if measure in OF_REAL_ALONE else measure.of(judged)
    return found | {"reference": reference(judged.count, judged.real, judged.lpips, measures)}


def reference(
    count: int, real: RealImages, lpips: Distance | MetricError, measures: Iterable[Measure]
) -> dict[str, Any]:
    """The same metrics of ``count`` real images."""
    if real.missing:
        return unavailable(real.missing)
    train, test = min(count, len(real.train)), min(count, len(real.test))
    balanced = ", balanced as the samples (frechet_distance_natural: unbalanced)," if real.conditional else ""
    found = {
        "what": f"distance, precision and recall: {train:,} training images{balanced} against the "
        f"{len(real.test):,} of the test set; diversity: {test:,} test images; label accuracy: the whole test set"
    }
    judged: dict[Callable, Judged] = {}  # images that serve several measures are judged once
    for measure in measures:
        if measure.beside is None:
            continue
        key = (count, measure.names)
        if key not in real._references:
            if measure.beside not in judged:
                images = measure.beside(real, count)
                judged[measure.beside] = Judged(images.scaled(), images.labels, real, lpips)
            real._references[key] = measure.of(judged[measure.beside])
        found |= real._references[key]
    return found


# -- the measures --------------------------------------------------------------------------------------------------


def _frechet(judged: Judged) -> tuple[float, float]:
    def distance(features: Tensor) -> float:
        return frechet_distance(features, judged.real.test_features)

    return distance(judged.features), bootstrap(judged.features, distance, judged.real.seed, judged.labels)


def _frechet_natural(judged: Judged) -> tuple[float]:
    return (frechet_distance(judged.features, judged.real.test_features),)


def _classes(judged: Judged) -> tuple:
    """What the classifier takes the images for."""
    seen, labels = judged.probabilities.argmax(1), judged.labels
    histogram = seen.bincount(minlength=10).tolist()
    if labels is None:
        none = unavailable("the samples were asked for no class: evaluate a conditional model")
        return none, none, histogram
    confusion = (labels * 10 + seen).bincount(minlength=100).view(10, 10).tolist()
    return (seen == labels).double().mean().item(), confusion, histogram


def _extremes(judged: Judged) -> tuple[list[int], list[int]]:
    """Which images the classifier is surest and least sure of."""
    order = judged.confidence.argsort(descending=True, stable=True).tolist()
    return order[:EXTREMES], order[-EXTREMES:][::-1]


def _memorisation(judged: Judged) -> tuple[dict[str, Any]]:
    """How close the samples come to a training image, relative to how close test images of their class do.

    A ratio of about 1 is as new as a test image; far below 1 is a copy. Of samples that copy nothing, about 1 % lie
    below the 1 % quantile of the test images.
    """
    close, of_test = closeness(judged.images, judged.labels, judged.real), judged.real.test_neighbours
    found, ratio = close.nearest, close.ratio
    closest = ratio.argsort()[:EXTREMES].tolist()
    values = {
        "ratio": ratio.median().item(),
        "share_below_test_quantile": close.share,
        "test_quantile": QUANTILE,
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
    return (values,)


DATASET, LPIPS, CLASSIFIER = "dataset_found", "lpips_found", "classifier_sha256"  # of ``made_by`` of a stage
SEEN = (DATASET, CLASSIFIER)
# A name here is a key of a stage's result; ``ddpm.evaluation.structure`` says how it is shown.
MEASURES = [
    Measure(
        ("lpips_diversity",),
        lambda judged: (judged.lpips_pairs.mean().item(),),
        RealImages.as_tests,
        (DATASET, LPIPS),
        lpips_order,
    ),
    Measure(("pixel_diversity",), lambda judged: (pixel_diversity(judged.images),), RealImages.as_tests, (DATASET,)),
    Measure(("frechet_distance", "frechet_distance_ci95"), _frechet, RealImages.as_samples, SEEN),
    Measure(
        ("kid", "kid_std"),
        lambda judged: kernel_distance(judged.features, judged.real.test_features, judged.real.seed),
        RealImages.as_samples,
        SEEN,
    ),
    Measure(
        ("precision", "recall"),
        lambda judged: precision_recall(judged.features, judged.real.test_features),
        RealImages.as_samples,
        SEEN,
    ),
    Measure(("label_accuracy", "confusion_matrix", "class_histogram"), _classes, RealImages.whole_test, SEEN),
    Measure(("surest", "least_sure"), _extremes, None, (CLASSIFIER,)),
    Measure(("nearest_training_image",), _memorisation, None, (DATASET,)),
]
# Samples have balanced classes, the test set does not: the real baseline with the classes in their natural proportions.
OF_REAL_ALONE = (
    Measure(
        ("frechet_distance_natural",), _frechet_natural, RealImages.as_samples_unbalanced, SEEN, lambda count, seed: ()
    ),
)


def metric(
    label: str,
    form: str,
    meaning: str,
    *,
    beside: Callable[[RealImages, int], ImageSet] | None = RealImages.as_tests,
    depends_on: tuple[str, ...] = SEEN,
) -> Callable[[Callable[[Judged], float]], Callable[[Judged], float]]:
    """Register a metric of one number, a function of ``Judged``, under its name: evaluations compute it, and reports,
    cards and pages show it. Results that were stored before show it as missing.

    Args:
        label, form, meaning: how it is shown, as in ``Metric``.
        beside, depends_on: as in ``Measure``.

    Raises:
        ConfigError: another metric has this name.
    """

    def entered(function: Callable[[Judged], float]) -> Callable[[Judged], float]:
        name = function.__name__
        known = next((measure for measure in MEASURES if name in measure.names), None)
        check_name("metric", function, known.compute if known else None)

        def compute(judged: Judged) -> tuple[float]:
            return (float(function(judged)),)

        compute.__module__ = function.__module__
        METRICS[name] = Metric(label, form, meaning)
        MEASURES[:] = [measure for measure in MEASURES if measure is not known]
        MEASURES.append(Measure((name,), compute, beside, depends_on))
        return function

    return entered


def measures_of(real: RealImages) -> tuple[Measure, ...]:
    """The measures of samples beside these real images."""
    return (*MEASURES, *OF_REAL_ALONE) if real.conditional else tuple(MEASURES)
