"""The step ladder: one x_T, sampled by every sampler with few steps and with many, each compared with the ground truth.

The ground truth is the image that DDIM with eta 0 reaches from x_T in all T steps, which stands for the exact solution
of the probability-flow ODE. How close a sampler comes to it in a few steps shows how good a solver it is. DDPM adds its
own noise and ends elsewhere: its distance from the ground truth says nothing about its images.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..config.edit import sampling_settings
from ..config.sections import SamplingConfig
from ..device import wait_for
from ..errors import ConfigError
from ..models import Model
from ..samplers import SAMPLERS
from ..sampling import evaluations, sample
from .calibration import mean_and_ci95, psnr

STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
ENDS_ELSEWHERE = ("ddpm",)
"""Samplers that add noise of their own: how far they are from the ground truth says nothing about them."""
BATCH_SIZE = 64


class Rung(NamedTuple):
    """A way of sampling: which sampler, with how many steps."""

    sampler: str
    num_steps: int


@dataclass(frozen=True)
class Climbing:
    """A rung is being sampled; ``share`` of it, 0..1, is done."""

    rung: Rung
    share: float


@dataclass(frozen=True)
class Climbed:
    """A rung's images (N, C, H, W) in [-1, 1], network evaluations for each, and seconds for all of them."""

    rung: Rung
    images: Tensor
    evaluations: int
    seconds: float


class Closeness(NamedTuple):
    """PSNR to the ground truth in dB, mean over images and half of its 95 % interval; infinite for the same images."""

    psnr: float
    ci95: float


def reference_rung(num_steps: int) -> Rung:
    """DDIM; with all T steps it stands for the exact solution."""
    return Rung("ddim", num_steps)


def rungs(
    num_timesteps: int, samplers: Sequence[str] = tuple(SAMPLERS), steps: Sequence[int] = STEPS,
    reference: int | None = None,
) -> list[Rung]:  # fmt: skip
    """Every sampler with every number of steps that T allows, the cheapest first, and the ground truth last: DDIM with
    ``reference`` steps, by default all T."""
    wanted = [Rung(sampler, n) for n in sorted(set(steps)) for sampler in samplers if n <= num_timesteps]
    last = reference_rung(reference or num_timesteps)
    return [*(rung for rung in wanted if rung != last), last]


def within(budget: int, model: Model) -> list[Rung]:
    """Every sampler with as many steps as ``budget`` network evaluations per image allow.

    Raises:
        ConfigError: a budget below one evaluation, or above T.
    """
    if not 1 <= budget <= model.schedule.num_timesteps:
        raise ConfigError(f"a budget must be 1 to {model.schedule.num_timesteps} evaluations, got {budget}")
    found = []
    for name in SAMPLERS:  # no step costs less than one evaluation, and more steps never cost less than fewer
        spent = partial(_evaluations, model, name)
        found.append(Rung(name, bisect_right(range(1, budget + 1), budget, key=spent)))
    return found


def climb(
    model: Model, plan: Sequence[Rung], num_images: int, *, labels: Sequence[int] | None = None,
    settings: SamplingConfig | None = None, seed: int = 0,
) -> Iterator[Climbing | Climbed]:  # fmt: skip
    """Sample the same images on every rung of ``plan``, in its order.

    ``settings`` gives spacing, guidance and clipping; eta is always 0, since the ladder compares solvers.

    Raises:
        ConfigError: more steps than T, or a label that the model does not have.
    """
    for rung in plan:
        chosen = _settings(model, rung, settings)
        done, seconds = [], 0.0
        for first in range(0, num_images, BATCH_SIZE):
            part = range(first, min(first + BATCH_SIZE, num_images))
            steps = sample(model, labels=labels, settings=chosen, seed=seed, indices=part)
            while True:
                started = time.perf_counter()
                step = next(steps, None)
                wait_for(model.device)
                seconds += time.perf_counter() - started
                if step is None:
                    break
                last = step
                yield Climbing(rung, (first + len(part) * step.index / rung.num_steps) / num_images)
            done.append(last.x0.clamp(-1, 1).cpu())
        guided = _guided(labels)
        yield Climbed(rung, torch.cat(done), evaluations(chosen, model.schedule, guided), seconds)


def plan_evaluations(
    model: Model, plan: Sequence[Rung], *, labels: Sequence[int] | None = None, settings: SamplingConfig | None = None
) -> int:
    """Network evaluations per image of a whole ``climb``."""
    guided = _guided(labels)
    return sum(evaluations(_settings(model, rung, settings), model.schedule, guided) for rung in plan)


def _settings(model: Model, rung: Rung, settings: SamplingConfig | None) -> SamplingConfig:
    base = (settings or model.config.sampling).model_dump()
    return sampling_settings(model.config, **base | rung._asdict() | {"eta": 0.0})


def _guided(labels: Sequence[int] | None) -> bool:
    return labels is not None and any(label >= 0 for label in labels)


def closeness(climbed: Climbed, reference: Climbed) -> Closeness:
    """How close the images of a rung are to the ground truth."""
    distance = psnr(climbed.images, reference.images)
    return Closeness(*mean_and_ci95(distance)) if distance.isfinite().all() else Closeness(math.inf, 0.0)


def _evaluations(model: Model, sampler: str, num_steps: int) -> int:
    settings = model.config.sampling.model_copy(update={"sampler": sampler, "num_steps": num_steps})
    return evaluations(settings, model.schedule, guided=False)
