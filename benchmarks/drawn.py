"""What a trained network draws, whoever trained it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm.diffusion import make_denoiser
from ddpm.media.images import to_uint8
from ddpm.randomness import ImageNoise
from ddpm.samplers import ddim
from ddpm.schedule import NoiseSchedule
from ddpm.spacing import spaced_timesteps

NUM_STEPS, AT_ONCE = 50, 100


@torch.no_grad()
def draw(
    predict: Callable[[Tensor, Tensor], Tensor], schedule: NoiseSchedule, prediction_type: str, shape: tuple[int, ...],
    count: int,
) -> Tensor:  # fmt: skip
    """Images of a network, uint8 (N, C, H, W), by DDIM in ``NUM_STEPS`` steps without a class, from the same noise for
    all contenders."""
    denoise = make_denoiser(lambda x, t, y: predict(x, t).float(), schedule, prediction_type)
    timesteps, found = spaced_timesteps(schedule.num_timesteps, NUM_STEPS), []
    for first in range(0, count, AT_ONCE):
        noise = ImageNoise(0, range(first, min(count, first + AT_ONCE)), shape)
        *_, last = ddim(denoise, schedule, timesteps, noise)
        found.append(to_uint8(last.x0))
    return torch.cat(found)
