"""Samplers that are measured and not shipped, for docs/ablations.md: ``python -m ddpm --import benchmarks.knobs eval
--sampler ddim_between ...`` in the root of the repository."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

import torch

import ddpm


@ddpm.register_sampler(
    "DDIM, noise in between",
    "DDIM that adds fresh noise at some timesteps alone.",
    "Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models (arXiv:2206.00364)",
)
def ddim_between(
    denoise,
    schedule: ddpm.NoiseSchedule,
    timesteps: Sequence[int],
    noise,
    *,
    between_eta: Annotated[
        float, ddpm.option("Fresh noise in ddim_between: 0 none, 1 as much as ddpm.", "0 to 1", ge=0, le=1)
    ] = 1.0,
    between_first: Annotated[int, ddpm.option("The smallest t that adds it.", "timesteps", ge=0, le=9999)] = 200,
    between_last: Annotated[int, ddpm.option("The largest t that adds it.", "timesteps", ge=0, le=9999)] = 600,
) -> Iterator[ddpm.Step]:
    """DDIM (Song et al. 2021, eq. 12) with eta ``between_eta`` inside the interval, and 0 outside."""
    x = noise()
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        yield ddpm.Step(index, t, x, x0, eps)
        ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        eta = between_eta if between_first <= t <= between_last else 0.0
        deviation = eta * math.sqrt((1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s))
        x = math.sqrt(ab_s) * x0 + math.sqrt(max(0.0, 1 - ab_s - deviation**2)) * eps
        if deviation > 0:
            x = x + deviation * noise()
    yield ddpm.Step(len(timesteps), -1, x, x, torch.zeros_like(x))
