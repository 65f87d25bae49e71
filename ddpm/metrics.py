"""Metrics of samples, for your own code; ``import ddpm.metrics`` loads what they need.

Every evaluation computes the metrics registered here; reports, model cards and pages show them.
"""

from .evaluation.judge import Judged
from .evaluation.judge import metric as register_metric
from .evaluation.metrics import (
    frechet_distance,
    kernel_distance,
    nearest,
    pixel_diversity,
    precision_recall,
)
from .evaluation.samples import judge_samples, read_samples

__all__ = [
    "Judged",
    "frechet_distance",
    "judge_samples",
    "kernel_distance",
    "nearest",
    "pixel_diversity",
    "precision_recall",
    "read_samples",
    "register_metric",
]
