"""Sample a model: run the sampler that the settings name on the model's network and one seed's noise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .config.schema import check_few_steps, check_num_steps
from .device import resolve_precision
from .diffusion import Denoiser, autoguided, q_sample
from .errors import ConfigError, unknown
from .names import either
from .randomness import ImageNoise
from .samplers import SAMPLERS, Noise, Step, repeated, starting
from .spacing import spaced_timesteps

if TYPE_CHECKING:
    from .config.sections import SamplingConfig
    from .models import Model
    from .schedule import NoiseSchedule


class Guide(NamedTuple):
    """Autoguidance: leads a model away from what a weaker version of it does (Karras et al. 2024, arXiv:2406.02507)."""

    model: Model
    """With the classes, images and schedule of the model that it guides."""
    scale: float = 2.0
    """1 is off."""
    interval: tuple[int, int] | None = None
    """First and last timestep at which it acts; None for all."""


def sample(
    model: Model,
    num_images: int = 16,
    *,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    guidance: float | Sequence[float] | Tensor | None = None,
    guide: Guide | None = None,
    init: Tensor | None = None,
    x_t: Tensor | None = None,
    start: int | None = None,
    repeats: int = 1,
    noise: Noise | None = None,
    wrap: Callable[[Denoiser], Denoiser] | None = None,
    precision: str = "fp32",
) -> Iterator[Step]:
    """Sample a model, step by step, in one batch. No gradients are recorded, but callers may record some on the steps.

    Args:
        num_images: how many images.
        labels: one class per image, repeated to fill; -1 or None is unconditional. Or a tensor (N, num_classes) with
            the shares of all classes in each image, whose embeddings are mixed.
        settings: sampler, steps, guidance; the model's own by default.
        seed: of the whole set. Image k has the same noise whatever ``num_images`` is.
        indices: which images of the set to draw, to sample a large set in parts; by default the first num_images. Image
            k has label k modulo the number of labels, whatever its position in ``indices``.
        seeds: one seed per image, each image being the first of its seed; replaces ``seed``, ``num_images`` and
            ``indices``; labels follow the order of the seeds.
        guidance: replaces the settings' guidance_scale; a sequence has one for each image.
        guide: a weaker model for autoguidance, on top of the guidance by class.
        init: images (N, C, H, W) in [-1, 1] to start from instead of pure noise, noised to timestep ``start`` (SDEdit,
            Meng et al. 2022, arXiv:2108.01073); the sampler's steps are spaced from there to 0. See ``ddpm.editing``.
        x_t: states (N, C, H, W) at timestep ``start`` to go on from, in place of ``init``.
        start: 0 to T - 1; smaller keeps more of ``init``. For a distilled model one of the timesteps that it visits;
            the steps are those from there on.
        repeats: how often every step is taken, with the noise put back in between; see ``ddpm.samplers.repeated``.
        noise: a source of noise (N, C, H, W) for each image in place of the seed's, such as
            ``ddpm.randomness.NoiseBetween``.
        wrap: turns the model's denoiser into another, for your own guidance.
        precision: of the network, see ``ddpm.device.resolve_precision``. fp32 gives the same images on machines with
            and without bf16.

    Yields:
        ``Step``, num_steps + 1 of them; the last holds the images in ``x0``, (N, C, H, W) in about [-1, 1].

    Raises:
        ConfigError: unknown sampler, num_steps above T, settings that a distilled model has not learned, a label that
            the model does not have, a precision that the device does not support, or arguments that do not fit each
            other.
    """
    settings = settings or model.config.sampling
    if settings.sampler not in SAMPLERS:
        raise ConfigError(unknown("sampler", settings.sampler, SAMPLERS))
    if seeds is not None and indices is not None:
        raise ConfigError("seeds and indices exclude each other: each seed of seeds is an image")
    indices = range(num_images if seeds is None else len(seeds)) if indices is None else indices
    if len(indices) < 1:
        raise ConfigError(f"num_images must be at least 1, got {len(indices)}")
    for number in [seed, *(seeds or ())]:
        if not isinstance(number, int) or isinstance(number, bool):
            raise ConfigError(f"a seed must be a whole number, got {number!r}")
    check_num_steps(settings.num_steps, model.schedule.num_timesteps)
    check_few_steps(settings, model.config.model.step_counts)
    y = model.class_labels(labels, indices)
    dtype = resolve_precision(precision, model.device)
    denoise = model.denoiser(
        y,
        guidance_scale=_guidance(guidance, settings, len(indices), model.device),
        guidance_interval=settings.guidance_interval,
        clip=settings.clip and not guide,
        precision=dtype,
        num_steps=settings.num_steps,
    )
    if guide:
        _check_guide(guide, model)
        weak = guide.model.denoiser(guide.model.class_labels(labels, indices), clip=False, precision=dtype,
                                    num_steps=settings.num_steps)  # fmt: skip
        denoise = autoguided(denoise, weak, model.schedule, guide.scale, interval=guide.interval, clip=settings.clip)
    denoise = wrap(denoise) if wrap else denoise
    if noise is None and seeds is None:
        noise = ImageNoise(seed, indices, model.config.image_shape, model.device)
    elif noise is None:
        noise = ImageNoise(list(seeds), [0] * len(seeds), model.config.image_shape, model.device)
    timesteps = spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)
    if start is not None or init is not None or x_t is not None:
        given, timesteps = _given(model, init, x_t, len(indices)), timesteps_from(model, start, settings)
        if x_t is not None and timesteps[0] != start:
            raise ConfigError(f"the spacing {settings.spacing} does not start at {start}, where x_t is: take trailing")
        if x_t is None:
            at = torch.full((len(indices),), timesteps[0], device=model.device)
            given = q_sample(model.schedule, given, at, noise())
        noise = starting(given, noise)
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}")
    sampler = SAMPLERS[settings.sampler]
    function = sampler.function if repeats == 1 else repeated(sampler, repeats)
    options = {name: getattr(settings, name) for name in sampler.options}

    def steps() -> Iterator[Step]:  # nested, so that wrong arguments fail at the call, not at the first step
        walk = function(denoise, model.schedule, timesteps, noise, **options)
        while True:
            # Entered per step: a mode held across a yield would leak into the caller's code. Not inference mode:
            # callers could not compute gradients with its tensors.
            with torch.no_grad():
                step = next(walk, None)
            if step is None:
                return
            yield step

    return steps()


def _check_guide(guide: Guide, model: Model) -> None:
    theirs, ours = guide.model, model
    for what, has, needs in (
        ("images of", theirs.config.image_shape, ours.config.image_shape),
        ("classes:", theirs.num_classes, ours.num_classes),
        ("the schedule", theirs.config.schedule.model_dump(), ours.config.schedule.model_dump()),
    ):
        if has != needs:
            raise ConfigError(f"{theirs.source} cannot guide {ours.source}: it has {what} {has}, not {needs}")


def _guidance(
    guidance: float | Sequence[float] | Tensor | None, settings: SamplingConfig, count: int, device: torch.device
) -> float | Tensor:
    if guidance is None:
        return settings.guidance_scale
    scales = torch.as_tensor(guidance, dtype=torch.float32)
    if scales.ndim == 0:
        return scales.item()
    if scales.shape != (count,):
        raise ConfigError(f"guidance must be a number or one for each of {count} images, got {tuple(scales.shape)}")
    return scales.to(device)


def timesteps_from(model: Model, start: int | None, settings: SamplingConfig) -> list[int]:
    """The timesteps that a sampler visits from ``start`` on: as many as the settings say, but for a distilled model.

    Raises:
        ConfigError: there is no such timestep, or the model cannot start there.
    """
    total, counts = model.schedule.num_timesteps, model.config.model.step_counts
    if not isinstance(start, int) or not 0 <= start < total:
        raise ConfigError(f"start must be a timestep, 0 to {total - 1}, got {start!r}")
    if not counts:
        return spaced_timesteps(start + 1, settings.num_steps, settings.spacing)
    visited = spaced_timesteps(total, settings.num_steps, settings.spacing)
    if start not in visited:
        raise ConfigError(
            f"{model.source} is distilled: in {settings.num_steps} steps it can start at {either(visited)}, "
            f"not at {start}"
        )
    return visited[visited.index(start) :]


def _given(model: Model, init: Tensor | None, x_t: Tensor | None, count: int) -> Tensor:
    """The images or states to start from.

    Raises:
        ConfigError: there are none, both, or they do not fit.
    """
    if (init is None) == (x_t is None):
        raise ConfigError("start goes with init, the images that are noised to it, or x_t, the states there")
    given, name, values = (init, "init", " in [-1, 1]") if x_t is None else (x_t, "x_t", "")
    wanted = (count, *model.config.image_shape)
    too_far = x_t is None and given.abs().max() > 1 + 1e-3
    if tuple(given.shape) != wanted or not given.is_floating_point() or too_far:
        raise ConfigError(f"{name} must be floats {wanted}{values}, got {given.dtype} {tuple(given.shape)}")
    return given.to(model.device)


def evaluations(settings: SamplingConfig, schedule: NoiseSchedule, guided: bool) -> int:
    """Network evaluations per image: one for every call of the sampler, two where guidance acts.

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
    guide: Guide | None = None,
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
        steps = sample(
            model, labels=labels, settings=settings, seed=seed, indices=part, guide=guide, precision=precision
        )
        last = deque(steps, maxlen=1).pop()
        done.append(last.x0.clamp(-1, 1).cpu())
        if on_batch:
            on_batch(first + len(part))
    if not done:
        raise ConfigError(f"num_images must be at least 1, got {len(indices)}")
    return torch.cat(done)
