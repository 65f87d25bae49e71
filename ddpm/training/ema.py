"""The exponential moving average of the weights: a second copy, never swapped into the live model."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """Averaged weights in ``model``, a copy without gradients.

    The decay warms up as (1 + step) / (10 + step), so that a young average forgets its random start
    (Polyak & Juditsky 1992; the warm-up is TensorFlow's ``ExponentialMovingAverage``).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards ``model`` after optimizer step ``step``, 1-based."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
