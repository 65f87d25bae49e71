"""Samplers: generators that walk from noise to image and yield every step on the way.

A sampler sees a ``Denoiser`` (x_t, t) -> (x0, eps), the schedule, the falling timesteps to visit and a source of
noise; it knows nothing of networks, classes or guidance. It yields a ``Step`` for every visited timestep and a last
one, t = -1, that holds the clean image. One loop over it serves a progress bar, a preview, a trajectory and a GIF.

To add one, write such a generator under ``@sampler``: the config, the command line, the pages and the tests read
``SAMPLERS``. Its keyword-only arguments become fields of ``SamplingConfig``.

In the formulas a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar), so that x_t = a x0 + s eps. ``ddim`` with eta 0,
``heun`` and ``dpmpp_2m`` solve one and the same equation, the probability-flow ODE (Song et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from .diffusion import Denoiser, Prediction, q_posterior
from .options import Entry, enter, option

if TYPE_CHECKING:
    from .schedule import NoiseSchedule


class Step(NamedTuple):
    """One frame of the reverse process.

    ``x_t`` (B, C, H, W) is the state at timestep ``t``, ``x0`` the model's estimate of the clean image behind it and
    ``eps`` that of the noise in it. In the last step, t = -1, ``x_t`` and ``x0`` are the result and ``eps`` is zero.
    """

    index: int
    t: int
    x_t: Tensor
    x0: Tensor
    eps: Tensor


Noise = Callable[[], Tensor]


@dataclass(frozen=True)
class Sampler(Entry):
    """A sampler and its description. Its options are fields of ``SamplingConfig``."""

    function: Callable[..., Iterator[Step]]
    """(denoise, schedule, timesteps, noise, **options) -> the steps."""
    label: str
    about: str
    source: str

    def calls(self, schedule: NoiseSchedule, timesteps: Sequence[int]) -> list[int]:
        """The timestep of every network evaluation, in order, found by walking one pixel."""
        seen = []

        def denoise(x_t: Tensor, t: int) -> Prediction:
            seen.append(t)
            return Prediction(x_t, x_t)

        for _ in self.function(denoise, schedule, timesteps, lambda: torch.zeros(1, 1, 1, 1)):
            pass
        return seen


SAMPLERS: dict[str, Sampler] = {}
"""Every sampler under the name of its function."""


def sampler(label: str, about: str, source: str) -> Callable:
    """Register a generator function in ``SAMPLERS``; the arguments are those of ``Sampler``."""
    return lambda walk: enter(SAMPLERS, "sampler", Sampler(walk, label, about, source))


@sampler(
    "DDPM",
    "Removes noise and adds fresh noise at every step. Needs many steps.",
    "Ho et al. 2020, Denoising Diffusion Probabilistic Models, algorithm 2 (arXiv:2006.11239)",
)
def ddpm(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    noise: Noise,
    *,
    variance: Annotated[
        Literal["fixed_small", "fixed_large"],
        option(
            "Variance of the fresh noise in ddpm: fixed_small is the posterior's, fixed_large is beta, slightly more, "
            "which shows only with few steps."
        ),
    ] = "fixed_small",
) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2).

    Between spaced timesteps t > s it draws from q(x_s | x_t, x0) of the shortened chain (Nichol & Dhariwal 2021,
    section 4). ``variance`` of the noise: fixed_small is that of the posterior, beta tilde; fixed_large is beta =
    1 - alpha_bar_t / alpha_bar_s (Ho et al. 2020, section 3.2).
    """
    x = noise()
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        yield Step(index, t, x, x0, eps)
        mean, small = q_posterior(schedule, x0, x, t, t_next)
        large = 1 - schedule.alpha_bar(t) / schedule.alpha_bar(t_next)
        x = mean + math.sqrt(large if variance == "fixed_large" else small) * noise() if t_next >= 0 else x0
    yield _result(timesteps, x)


@sampler(
    "DDIM",
    "Recombines the predicted image and the predicted noise, with less noise. Deterministic with eta 0.",
    "Song et al. 2021, Denoising Diffusion Implicit Models (arXiv:2010.02502)",
)
def ddim(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    noise: Noise,
    *,
    eta: Annotated[float, option("Fresh noise in ddim: 0 none, 1 as much as ddpm.", "0 to 1", ge=0, le=1)] = 0.0,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12 and 16): eta = 0 is deterministic, eta = 1 has the noise of DDPM."""
    x = noise()
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        yield Step(index, t, x, x0, eps)
        ab_s, deviation = schedule.alpha_bar(t_next), _fresh(schedule, t, t_next, eta)
        x = math.sqrt(ab_s) * x0 + math.sqrt(max(0.0, 1 - ab_s - deviation**2)) * eps
        if deviation > 0:
            x = x + deviation * noise()
    yield _result(timesteps, x)


HEUN_MAX = 1000.0  # the linear schedule ends at 157, EDM starts at 80, the cosine schedule ends at 20,000


@sampler(
    "Heun",
    "DDIM's step, repeated with the mean of the noise predicted at both of its ends. Two evaluations per step.",
    "Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, algorithm 1 "
    "(arXiv:2206.00364)",
)
def heun(denoise: Denoiser, schedule: NoiseSchedule, timesteps: Sequence[int], noise: Noise) -> Iterator[Step]:
    """Heun's method, of second order, on d(x / a) = eps d(s / a) (Karras et al. 2022, algorithm 1, without churn).

    The last step, to the clean image, is DDIM's. So is a step from an s / a above ``HEUN_MAX``, or infinite as at zero
    terminal SNR: over such a long step the mean of two slopes overshoots.
    """
    x = noise()
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        yield Step(index, t, x, x0, eps)
        (a, s), (a_next, s_next) = scales_at(schedule, t), scales_at(schedule, t_next)
        x_next = a_next * x0 + s_next * eps
        if t_next >= 0 and s <= HEUN_MAX * a:
            _, eps_next = denoise(x_next, t_next)
            slope = (eps + eps_next) / 2
            x_next = a_next / a * x + (s_next - a_next / a * s) * slope
        x = x_next
    yield _result(timesteps, x)


@sampler(
    "DPM-Solver++",
    "DDIM's step with the predicted image extrapolated from this step and the one before. One evaluation per step.",
    "Lu et al. 2022, DPM-Solver++, algorithm 2, called 2M (arXiv:2211.01095)",
)
def dpmpp_2m(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    noise: Noise,
    *,
    sde: Annotated[
        float,
        option(
            "Fresh noise in dpmpp_2m: 0 none, which solves the ODE, 1 as much as ddpm, which solves the SDE.",
            "0 to 1",
            ge=0,
            le=1,
        ),
    ] = 0.0,
) -> Iterator[Step]:
    """DPM-Solver++(2M), multistep and of second order (Lu et al. 2022, algorithm 2), in lambda = log(a / s).

    The first step and the last, to the clean image, are of first order: DDIM's. With ``sde`` above 0 it adds as much
    noise as DDIM with that eta; with 1 it is SDE-DPM-Solver++(2M) of the same paper.
    """
    x, x0_before, h_before = noise(), None, math.inf
    for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        yield Step(index, t, x, x0, eps)
        (a, s), (a_next, s_next) = scales_at(schedule, t), scales_at(schedule, t_next)
        h = _lambda(schedule, t_next) - _lambda(schedule, t)
        first_order = x0_before is None or t_next < 0
        towards = x0 if first_order else x0 + h / (2 * h_before) * (x0 - x0_before)
        if deviation := _fresh(schedule, t, t_next, sde):
            left = math.sqrt(max(0.0, s_next**2 - deviation**2))
            x = left / s * x + (a_next - left / s * a) * towards + deviation * noise()
        else:
            x = s_next / s * x - a_next * math.expm1(-h) * towards
        x0_before, h_before = x0, h
    yield _result(timesteps, x)


def repeated(sampler: Sampler, times: int) -> Callable[..., Iterator[Step]]:
    """The function of a sampler that takes every step ``times`` times, with the noise put back in between, for a
    ``denoise`` that holds a part of the image fast: RePaint (Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1, with
    a jump of one step). The last step, to the clean image, is taken once. One ``Step`` is yielded for each timestep,
    that of the last time.

    Every step is a first one: a sampler that learns from the step before, as ``dpmpp_2m`` does, is of first order.
    """

    def walk(
        denoise: Denoiser, schedule: NoiseSchedule, timesteps: Sequence[int], noise: Noise, **options: object
    ) -> Iterator[Step]:
        x = noise()
        for index, (t, t_next) in enumerate(pairwise([*timesteps, -1])):
            pair = [t] if t_next < 0 else [t, t_next]
            # A sampler asks at t_next once more than the step needs, before it yields the state there.
            needed = len(sampler.calls(schedule, pair)) - (t_next >= 0)
            for time in reversed(range(times if t_next >= 0 else 1)):
                asked = _at_most(denoise, needed)
                steps = sampler.function(asked, schedule, pair, starting(x, noise), **options)
                step = next(steps)
                if time == 0:
                    yield step._replace(index=index)
                x = next(steps).x_t
                if time:
                    left = schedule.alpha_bar(t) / schedule.alpha_bar(t_next)
                    x = math.sqrt(left) * x + math.sqrt(1 - left) * noise()
        yield _result(timesteps, x)

    return walk


def _at_most(denoise: Denoiser, calls: int) -> Denoiser:
    """A denoiser that is evaluated so often, and then no more: what it says after that is not used."""
    left = iter(range(calls))
    return lambda x_t, t: denoise(x_t, t) if next(left, None) is not None else Prediction(x_t, x_t)


def starting(x: Tensor, noise: Noise) -> Noise:
    """A source of noise whose first is the state ``x``."""
    first = [x]
    return lambda: first.pop() if first else noise()


def _result(timesteps: Sequence[int], x: Tensor) -> Step:
    return Step(len(timesteps), -1, x, x, torch.zeros_like(x))


def _fresh(schedule: NoiseSchedule, t: int, t_next: int, eta: float) -> float:
    """The standard deviation of the noise that a step adds: ``eta`` times that of the posterior (Song et al. 2021,
    eq. 16)."""
    if eta == 0:
        return 0.0  # whichever way the step goes
    ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    return eta * math.sqrt((1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s))


def scales_at(schedule: NoiseSchedule, t: int) -> tuple[float, float]:
    """a and s at t; 1 and 0 for the clean image."""
    ab = schedule.alpha_bar(t)
    return math.sqrt(ab), math.sqrt(1 - ab)


def _lambda(schedule: NoiseSchedule, t: int) -> float:
    """log(a / s): -inf at zero SNR, inf for the clean image."""
    return float(schedule.log_snr[t]) / 2 if t >= 0 else math.inf
