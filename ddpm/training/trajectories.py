"""Walks from noise to image, which a distilled model learns from; ``ddpm.training.teacher`` draws them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def held_out(count: int, fraction: float) -> int:
    """How many of ``count`` walks are for validation: the last ones."""
    return max(1, round(fraction * count))


@dataclass(frozen=True)
class Trajectories:
    """States (N, K + 1, C, H, W) float16 of N walks at K timesteps with trailing spacing, the finished image last; and
    the labels (N,) long that the network was given, -1 without classes."""

    states: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index) -> Trajectories:
        return Trajectories(self.states[index], self.labels[index])

    def to(self, device: torch.device) -> Trajectories:
        return Trajectories(self.states.to(device), self.labels.to(device))
