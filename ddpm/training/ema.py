"""Averages of the weights: copies of the model, never swapped into the live one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

LENGTHS = (0.05, 0.10)
"""Of the two power-function averages that a run's snapshots hold (Karras et al. 2024, arXiv:2312.02696)."""


class EMA:
    """The exponential moving average of the weights in ``model``, a copy without gradients.

    The decay warms up as (1 + step) / (10 + step), so that a young average forgets its random start
    (Polyak & Juditsky 1992; the warm-up is TensorFlow's ``ExponentialMovingAverage``).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    def decay_at(self, step: int) -> float:
        """The share that the average keeps at optimizer step ``step``, 1-based."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards ``model`` after optimizer step ``step``, 1-based."""
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - self.decay_at(step))
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)


class PowerEMA(EMA):
    """An average in which step tau weighs tau^gamma, so that it spans the same share of a training however long that
    is (Karras et al. 2024, arXiv:2312.02696, equations 3 and 4).

    Args:
        length: the weights' standard deviation over the steps, as a share of the training so far; below 0.289, that of
            a plain mean.
    """

    def __init__(self, model: nn.Module, length: float):
        super().__init__(model, 1.0)
        self.length, self.gamma = length, power_of(length)

    def decay_at(self, step: int) -> float:
        return (1 - 1 / step) ** (self.gamma + 1)


def power_of(length: float) -> float:
    """gamma of a power function whose relative standard deviation is ``length`` (equation 123 there)."""
    inverse = length**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def coefficients(averages: Sequence[tuple[int, float]], step: int, length: float) -> np.ndarray:
    """Weights (N,) with which stored averages, each of a step and a length, add up to the average of ``length`` at
    ``step`` as nearly as they can: least squares between the power functions (appendix C.3 there)."""
    steps = np.array([step for step, _ in averages], dtype=np.float64)
    gammas = np.array([power_of(stored) for _, stored in averages])
    among = _inner_product(steps[:, None], gammas[:, None], steps[None], gammas[None])
    found = np.linalg.solve(among, _inner_product(steps, gammas, float(step), power_of(length)))
    return found / found.sum()


def _inner_product(step_a, gamma_a, step_b, gamma_b):
    """The integral of the product of two power functions, each of area 1 on (0, step)."""
    exponent = np.where(step_a < step_b, gamma_b, -gamma_a)
    scale = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    # Near zero for the small first step of many, where a power of a large exponent underflows: harmless.
    return scale * (step_a / step_b) ** exponent / np.maximum(step_a, step_b)
