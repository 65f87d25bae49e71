"""Samplers: generators that walk from noise to image and yield every step on the way.

A sampler sees a ``Denoiser`` (x_t, t) -> (x0, eps), the schedule, the falling timesteps to visit and a source of
noise; it knows nothing of networks, classes or guidance. It yields a ``Step`` for every visited timestep and a last
one, t = -1, that holds the clean image. One loop over it serves a progress bar, a preview, a trajectory and a GIF.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .config import SamplingConfig, check_num_steps
from .diffusion import Denoiser, q_posterior
from .errors import ConfigError, unknown
from .randomness import ImageNoise
from .schedule import NoiseSchedule, spaced_timesteps

if TYPE_CHECKING:
    from .models import Model


class Step(NamedTuple):
    """One frame of the reverse process.

    ``x_t`` (B, C, H, W) is the state at timestep ``t`` and ``x0`` what the model takes for the clean image behind it.
    In the last step, t = -1, both are the result.
    """

    index: int
    t: int
    x_t: Tensor
    x0: Tensor


Sampler = Callable[..., Iterator[Step]]


def ddpm(
    denoise: Denoiser, schedule: NoiseSchedule, timesteps: Sequence[int], noise: Callable[[], Tensor], eta: float = 0.0
) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) with the posterior variance beta tilde.

    Between spaced timesteps it draws from q(x_s | x_t, x0) of the shortened chain (Nichol & Dhariwal 2021, section 4).
    ``eta`` belongs to DDIM and is not read.
    """
    x = noise()
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0 = denoise(x, _batch(t, x)).x0
        yield Step(index, t, x, x0)
        mean, variance = q_posterior(schedule, x0, x, t, t_next)
        x = mean + math.sqrt(variance) * noise() if t_next >= 0 else x0
    yield Step(len(timesteps), -1, x, x)


def ddim(
    denoise: Denoiser, schedule: NoiseSchedule, timesteps: Sequence[int], noise: Callable[[], Tensor], eta: float = 0.0
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12 and 16): eta = 0 is deterministic, eta = 1 has the noise of DDPM."""
    x = noise()
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, _batch(t, x))
        yield Step(index, t, x, x0)
        ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        sigma = eta * math.sqrt((1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s))
        x = math.sqrt(ab_s) * x0 + math.sqrt(max(0.0, 1 - ab_s - sigma**2)) * eps
        if sigma > 0:
            x = x + sigma * noise()
    yield Step(len(timesteps), -1, x, x)


SAMPLERS: dict[str, Sampler] = {"ddpm": ddpm, "ddim": ddim}


def _batch(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)


# -- sampling a model ----------------------------------------------------------------------------------------------


def sample(
    model: Model,
    num_images: int = 16,
    *,
    labels: Sequence[int] | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
) -> Iterator[Step]:
    """Sample a model, step by step, in one batch.

    Args:
        num_images: how many images.
        labels: one class per image, repeated to fill; -1 or None is unconditional.
        settings: sampler, steps, guidance; the model's own by default.
        seed: of the whole set. Image k has the same noise whatever ``num_images`` is.
        indices: which images of the set to draw, to sample a large one in parts; by default the first num_images.

    Yields:
        ``Step``, num_steps + 1 of them; the last holds the images in ``x0``, (N, C, H, W) in about [-1, 1].

    Raises:
        ConfigError: unknown sampler, num_steps above T, or a label that the model does not have.
    """
    settings = settings or model.config.sampling
    if settings.sampler not in SAMPLERS:
        raise ConfigError(unknown("sampler", settings.sampler, SAMPLERS))
    indices = range(num_images) if indices is None else indices
    if len(indices) < 1:
        raise ConfigError(f"num_images must be at least 1, got {len(indices)}")
    check_num_steps(settings.num_steps, model.schedule.num_timesteps)
    y = model.class_labels(labels, indices)
    denoise = model.denoiser(y, guidance_scale=settings.guidance_scale, clip=settings.clip)
    timesteps = spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)
    noise = ImageNoise(seed, indices, model.config.image_shape, model.device)

    def steps() -> Iterator[Step]:  # so that a wrong argument is an error here, not at the first step
        walk = SAMPLERS[settings.sampler](denoise, model.schedule, timesteps, noise, eta=settings.eta)
        while True:
            # Entered per step: a mode held across a yield would leak into the caller's code.
            with torch.inference_mode():
                step = next(walk, None)
            if step is None:
                return
            yield step

    return steps()


def generate(
    model: Model,
    num_images: int,
    *,
    labels: Sequence[int] | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """The finished images of ``sample`` for any number of images, (N, C, H, W) float32 in [-1, 1] on the CPU.

    ``on_batch`` is told how many images are done after each batch.
    """
    done = []
    for first in range(0, num_images, batch_size):
        count = min(batch_size, num_images - first)
        steps = sample(model, labels=labels, settings=settings, seed=seed, indices=range(first, first + count))
        last = deque(steps, maxlen=1).pop()
        done.append(last.x0.clamp(-1, 1).cpu())
        if on_batch:
            on_batch(first + count)
    if not done:
        raise ConfigError(f"num_images must be at least 1, got {num_images}")
    return torch.cat(done)
