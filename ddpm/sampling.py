"""Sampling a model: its network, its settings and one seed's noise, walked by the sampler that the settings name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .config import SamplingConfig, check_num_steps
from .device import resolve_precision
from .errors import ConfigError, unknown
from .models import Model
from .randomness import ImageNoise
from .samplers import SAMPLERS, Step
from .schedule import NoiseSchedule, spaced_timesteps


def sample(
    model: Model,
    num_images: int = 16,
    *,
    labels: Sequence[int] | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    precision: str = "fp32",
) -> Iterator[Step]:
    """Sample a model, step by step, in one batch.

    Args:
        num_images: how many images.
        labels: one class per image, repeated to fill; -1 or None is unconditional.
        settings: sampler, steps, guidance; the model's own by default.
        seed: of the whole set. Image k has the same noise whatever ``num_images`` is.
        indices: which images of the set to draw, to sample a large one in parts; by default the first num_images.
        precision: of the network, see ``ddpm.device.resolve_precision``. In fp32 a picture is the same on machines with
            bf16 and without.

    Yields:
        ``Step``, num_steps + 1 of them; the last holds the images in ``x0``, (N, C, H, W) in about [-1, 1].

    Raises:
        ConfigError: unknown sampler, num_steps above T, a label that the model does not have, or a precision that the
            device does not have.
    """
    settings = settings or model.config.sampling
    if settings.sampler not in SAMPLERS:
        raise ConfigError(unknown("sampler", settings.sampler, SAMPLERS))
    indices = range(num_images) if indices is None else indices
    if len(indices) < 1:
        raise ConfigError(f"num_images must be at least 1, got {len(indices)}")
    check_num_steps(settings.num_steps, model.schedule.num_timesteps)
    y = model.class_labels(labels, indices)
    denoise = model.denoiser(
        y,
        guidance_scale=settings.guidance_scale,
        guidance_interval=settings.guidance_interval,
        clip=settings.clip,
        precision=resolve_precision(precision, model.device),
    )
    timesteps = spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)
    noise = ImageNoise(seed, indices, model.config.image_shape, model.device)
    sampler = SAMPLERS[settings.sampler]
    options = {name: getattr(settings, name) for name in sampler.options}

    def steps() -> Iterator[Step]:  # so that a wrong argument is an error here, not at the first step
        walk = sampler.function(denoise, model.schedule, timesteps, noise, **options)
        while True:
            # Entered per step: a mode held across a yield would leak into the caller's code.
            with torch.inference_mode():
                step = next(walk, None)
            if step is None:
                return
            yield step

    return steps()


def evaluations(settings: SamplingConfig, schedule: NoiseSchedule, guided: bool) -> int:
    """How often the network looks at each image: once for every call of the sampler, twice where guidance acts.

    ``guided`` says whether a class is asked for; without one there is nothing to guide towards.
    """
    calls = _calls(settings.sampler, schedule, settings.num_steps, settings.spacing)
    if not guided or settings.guidance_scale == 1:
        return len(calls)
    first, last = settings.guidance_interval or (0, schedule.num_timesteps - 1)
    return sum(2 if first <= t <= last else 1 for t in calls)


@lru_cache(maxsize=256)  # walking a thousand steps takes 50 ms, and a page asks again at every click
def _calls(sampler: str, schedule: NoiseSchedule, num_steps: int, spacing: str) -> list[int]:
    timesteps = spaced_timesteps(schedule.num_timesteps, num_steps, spacing)
    return SAMPLERS[sampler].calls(schedule, timesteps)


def generate(
    model: Model,
    num_images: int,
    *,
    labels: Sequence[int] | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    precision: str = "fp32",
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """The finished images of ``sample`` for any number of images, (N, C, H, W) float32 in [-1, 1] on the CPU.

    ``on_batch`` is told how many images are done after each batch.
    """
    indices, done = range(num_images) if indices is None else indices, []
    for first in range(0, len(indices), batch_size):
        part = indices[first : first + batch_size]
        steps = sample(model, labels=labels, settings=settings, seed=seed, indices=part, precision=precision)
        last = deque(steps, maxlen=1).pop()
        done.append(last.x0.clamp(-1, 1).cpu())
        if on_batch:
            on_batch(first + len(part))
    if not done:
        raise ConfigError(f"num_images must be at least 1, got {len(indices)}")
    return torch.cat(done)
