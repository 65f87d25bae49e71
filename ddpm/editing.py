"""Put something of your own in: sketches, masks, blends, branches, and images that are turned back into noise.

Each is a thin use of ``ddpm.sample``: another start, another source of noise, or a denoiser that knows a part of the
image. Images are (N, C, H, W) floats in [-1, 1]; what comes are the sampler's steps, whose last holds the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .config.schema import check_num_steps
from .diffusion import Denoiser, Prediction
from .errors import ConfigError
from .randomness import ImageNoise, NoiseBetween
from .samplers import SAMPLERS, Step, ddim, scales_at
from .sampling import sample
from .spacing import spaced_timesteps

if TYPE_CHECKING:
    from .config.sections import SamplingConfig
    from .models import Model
    from .schedule import NoiseSchedule

STRENGTH = 0.6
"""How far back towards noise a sketch goes by default, as a share of T."""
INVERSION_ROUNDS = 3


def start_of(model: Model, strength: float, settings: SamplingConfig | None = None) -> int | None:
    """The timestep that images are noised to at a strength of 0 to 1; None for 0, which is no noise at all.

    The strength is a share of T. A distilled model starts at the nearest of the timesteps that it visits.

    Raises:
        ConfigError: the strength is none.
    """
    if not 0 <= strength <= 1:
        raise ConfigError(f"a strength is a number from 0, which keeps all, to 1, which keeps nothing: got {strength}")
    settings, total = settings or model.config.sampling, model.schedule.num_timesteps
    start = round(strength * total) - 1
    if start < 0:
        return None
    if not model.config.model.step_counts:
        return start
    return min(spaced_timesteps(total, settings.num_steps, settings.spacing), key=lambda t: abs(t - start))


def sketch(
    model: Model,
    images: Tensor,
    strength: float = STRENGTH,
    *,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
    wrap: Callable[[Denoiser], Denoiser] | None = None,
) -> Iterator[Step]:
    """Make images of sketches: noise them, and let the model take the noise away again (SDEdit, Meng et al. 2022,
    arXiv:2108.01073).

    Args:
        images: N sketches (N, C, H, W) in [-1, 1].
        strength: 0 gives the sketches back; 1 forgets them, and gives the samples of the seed.

    Raises:
        ConfigError: see ``ddpm.sample`` and ``start_of``.
    """
    settings = settings or model.config.sampling
    start = start_of(model, strength, settings)
    if start is None:
        return iter([Step(0, -1, images, images, torch.zeros_like(images))])
    begin: dict[str, Any] = {} if strength == 1 else {"init": images, "start": start}
    return sample(model, len(images), labels=labels, settings=within(model, start, settings), seed=seed, wrap=wrap,
                  **begin)  # fmt: skip


def within(model: Model, start: int, settings: SamplingConfig) -> SamplingConfig:
    """Settings with no more steps than there are timesteps up to ``start``."""
    if model.config.model.step_counts or settings.num_steps <= start + 1:
        return settings
    return settings.model_copy(update={"num_steps": start + 1})


def holding(denoise: Denoiser, schedule: NoiseSchedule, images: Tensor, mask: Tensor) -> Denoiser:
    """A denoiser that knows the image wherever ``mask`` is False, and the noise in x_t there.

    Whatever step a sampler takes from it leads those pixels to q(x_s | x_t, x0), as they would come about in the
    forward process: what is known is replaced at every step, in the place where a sampler looks for it, and ends as it
    was.

    Args:
        images: (N, C, H, W) in [-1, 1].
        mask: bool (N, 1, H, W) or (1, 1, H, W), True where the image is to be made.
    """

    def denoise_known(x_t: Tensor, t: int | Tensor) -> Prediction:
        found = denoise(x_t, t)
        a, s = schedule.scales(t, x_t)
        return Prediction(torch.where(mask, found.x0, images), torch.where(mask, found.eps, (x_t - a * images) / s))

    return denoise_known


def inpaint(
    model: Model,
    images: Tensor,
    mask: Tensor,
    *,
    repeats: int = 1,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Make a part of images anew, and keep the rest exactly.

    With ``repeats`` 1 the known part is replaced at every step (Song et al. 2021, arXiv:2011.13456, section 5); above,
    every step is taken so many times, so that the new part can agree with it (RePaint, Lugmayr et al. 2022,
    arXiv:2201.09865). That takes fresh noise: DDPM, or DDIM with eta.

    Args:
        images: (N, C, H, W) in [-1, 1].
        mask: bool (N, 1, H, W) or (1, 1, H, W), True where the image is made.

    Raises:
        ConfigError: the mask does not fit; and see ``ddpm.sample``.
    """
    if (
        mask.dtype != torch.bool
        or tuple(mask.shape[-3:]) != (1, *images.shape[-2:])
        or len(mask) not in (1, len(images))
    ):
        fitting = (len(images), 1, *images.shape[-2:])
        raise ConfigError(f"mask must be bool {fitting}, True where the image is made: got {mask.dtype} "
                          f"{tuple(mask.shape)}")  # fmt: skip
    images, mask = images.to(model.device), mask.to(model.device)
    steps = sample(model, len(images), labels=labels, settings=settings, seed=seed, repeats=repeats,
                   wrap=lambda denoise: holding(denoise, model.schedule, images, mask))  # fmt: skip
    return _ending_with(steps, images, mask)


def _ending_with(steps: Iterator[Step], images: Tensor, mask: Tensor) -> Iterator[Step]:
    """The steps, the last with what is known to the bit: a solver's last step may round it."""
    for step in steps:
        if step.t < 0:
            step = step._replace(x_t=torch.where(mask, step.x_t, images), x0=torch.where(mask, step.x0, images))
        yield step


def blend(
    model: Model,
    first: Tensor,
    second: Tensor,
    shares: Sequence[float],
    start: int,
    *,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Blend two images, (1, C, H, W) each, at timestep ``start``: both are noised alike, mixed, and denoised (Ho et al.
    2020, section 4.3).

    ``shares`` says for every image that comes how much of the second it takes. To blend two images by the noise that
    makes them, see ``blend_inverted``; two seeds, ``ddpm.randomness.NoiseBetween``; classes, give their shares as
    ``labels``.
    """
    part = torch.tensor(shares).view(-1, 1, 1, 1)
    mixed = (1 - part) * first + part * second
    settings = within(model, start, settings or model.config.sampling)
    noise = ImageNoise([seed] * len(shares), [0] * len(shares), model.config.image_shape, model.device)
    return sample(model, len(shares), labels=labels, settings=settings, init=mixed, start=start, noise=noise)


def blend_inverted(
    model: Model,
    first: Tensor,
    second: Tensor,
    shares: Sequence[float],
    *,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    rounds: int = INVERSION_ROUNDS,
) -> Iterator[Step]:
    """Blend two images, (1, C, H, W) each, by the noise that DDIM makes each of: the steps back to both noises, then
    those that draw what lies between them, which is noise as well.

    ``shares`` as in ``blend``, the other arguments as in ``invert``. The ends are the two images as they come back.
    """
    back = invert(model, torch.cat([first, second]), labels=labels, settings=settings, rounds=rounds)
    plain = redrawing(settings or model.config.sampling)

    def steps() -> Iterator[Step]:
        for step in back:
            yield step
        noises = (lambda k=k: step.x_t[k : k + 1] for k in range(2))
        yield from sample(model, len(shares), labels=labels, settings=plain, noise=NoiseBetween(*noises, shares))

    return steps()


def branch(
    model: Model,
    x_t: Tensor,
    t: int,
    count: int,
    *,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Go on from one state ``count`` times, each time with fresh noise. At T - 1 the state is that noise, and every
    branch has its own.

    Where a sampler adds no noise, all children would be one: DDPM, or DDIM with eta, is what tells them apart.

    Args:
        x_t: (1, C, H, W), the state at timestep ``t`` of any walk.

    Raises:
        ConfigError: the settings add no noise; and see ``ddpm.sample``.
    """
    settings = within(model, t, settings or model.config.sampling)
    if not is_random(settings, model.schedule):
        raise ConfigError(f"{SAMPLERS[settings.sampler].label} adds no noise with these settings, so that all branches "
                          "are one: take DDPM, or DDIM with eta above 0")  # fmt: skip
    begin: dict[str, Any] = {"x_t": x_t.expand(count, *x_t.shape[1:]), "start": t}
    if t == model.schedule.num_timesteps - 1:
        begin = {}
    return sample(model, count, labels=labels, settings=settings, seed=seed, **begin)


def is_random(settings: SamplingConfig, schedule: NoiseSchedule) -> bool:
    """Whether a sampler draws noise after its start, found by walking one pixel two steps."""
    sampler, drawn = SAMPLERS[settings.sampler], []

    def noise() -> Tensor:
        drawn.append(torch.zeros(1, 1, 1, 1))
        return drawn[-1]

    options = {name: getattr(settings, name) for name in sampler.options}
    for _ in sampler.function(lambda x, t: Prediction(x, x), schedule, [1, 0], noise, **options):
        pass
    return len(drawn) > 1


def invert(
    model: Model,
    images: Tensor,
    *,
    labels: Sequence[int] | Tensor | None = None,
    settings: SamplingConfig | None = None,
    rounds: int = INVERSION_ROUNDS,
) -> Iterator[Step]:
    """Walk images back to the noise that DDIM makes them of, in the steps of ``settings`` (Song et al. 2021, section
    5.4); the last step's ``x_t`` is that noise, at the timestep where sampling starts.

    A step back has to know the noise that the model will see on its other side. It is guessed from this side, and
    found better with every one of ``rounds`` evaluations (Pan et al. 2023, arXiv:2309.04907). Guidance and clipping are
    off, since they lose what cannot be found again: sample with ``redrawing(settings)`` to see the images come back.

    Raises:
        ConfigError: see ``ddpm.sample``.
    """
    settings = redrawing(settings or model.config.sampling)
    check_num_steps(settings.num_steps, model.schedule.num_timesteps)
    if rounds < 1:
        raise ConfigError(f"rounds must be at least 1, got {rounds}")
    timesteps = spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)
    images = images.to(model.device)
    y = model.class_labels(labels, range(len(images)))
    denoise = model.denoiser(y, clip=False, num_steps=settings.num_steps)
    return _inverted(denoise, model.schedule, images, timesteps, rounds)


def _inverted(
    denoise: Denoiser, schedule: NoiseSchedule, images: Tensor, timesteps: Sequence[int], rounds: int
) -> Iterator[Step]:
    rising = [-1, *reversed(timesteps)]
    after = dict(pairwise(rising))

    def denoise_from_the_other_side(x: Tensor, t: int) -> Prediction:
        if t not in after:  # the noise has been reached: nothing is left to find
            return Prediction(x, x)
        a, s = scales_at(schedule, t)
        a_next, s_next = scales_at(schedule, after[t])
        x0, eps = x / a, torch.zeros_like(x)
        guess = a_next * x0 if t < 0 else x
        for _ in range(rounds):
            eps = denoise(guess, after[t]).eps
            x0 = (x - s * eps) / a
            guess = a_next * x0 + s_next * eps
        return Prediction(x0, eps)

    with torch.no_grad():
        for step in ddim(denoise_from_the_other_side, schedule, rising, lambda: images):
            if step.t >= 0 or step.index == 0:
                yield step
            if step.index == len(timesteps):
                return


def redrawing(settings: SamplingConfig) -> SamplingConfig:
    """The settings with which inverted images come back: DDIM without noise, guidance and clipping."""
    plain = {"sampler": "ddim", "eta": 0.0, "guidance_scale": 1.0, "guidance_interval": None, "clip": False}
    return settings.model_copy(update=plain)
