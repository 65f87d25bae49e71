"""What an evaluation measures: which ways of sampling, on how many samples, from which seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..samplers import SAMPLERS

if TYPE_CHECKING:
    from ..config.sections import SamplingConfig
    from ..models import Model

DDIM_STEPS = (10, 20, 50, 100)
FEW_STEPS = (("heun", 5), ("heun", 10), ("dpmpp_2m", 10), ("dpmpp_2m", 20))
"""Samplers of second order at 9, 19, 10 and 20 network evaluations, with the spacing that suits them."""
FULL_CHAIN_SAMPLES = 64  # ddpm with all T steps costs too much for more


@dataclass(frozen=True)
class Protocol:
    """What is evaluated, and how."""

    settings: SamplingConfig
    num_samples: int = 500
    seed: int = 0
    all_methods: bool = False
    """``DDIM_STEPS``, every other sampler, ``FEW_STEPS``, and ddpm with all T steps, instead of only ``settings``'
    sampler; of a distilled model, all its numbers of steps."""
    per_class: bool = False
    lpips_weights: Path | None = None
    samples_only: bool = False
    """Without the calibration."""


class Method(NamedTuple):
    """A way of sampling that is judged: the name of its stage, its settings, and how many samples it gets."""

    name: str
    settings: SamplingConfig
    num_samples: int


def methods_of(model: Model, protocol: Protocol) -> list[Method]:
    """The ways of sampling that a protocol asks for, each at most once."""
    chosen, total = protocol.settings, model.schedule.num_timesteps
    if not protocol.all_methods:
        return [_method(chosen, protocol.num_samples)]
    if counts := model.config.model.step_counts:  # all that a distilled model can do
        return [_method(chosen.model_copy(update={"num_steps": count}), protocol.num_samples) for count in counts]
    ddim = [chosen.model_copy(update={"sampler": "ddim", "num_steps": steps}) for steps in DDIM_STEPS if steps <= total]
    others = [chosen.model_copy(update={"sampler": name}) for name in SAMPLERS if name != "ddim"]
    few = [chosen.model_copy(update={"sampler": name, "num_steps": steps, "spacing": "quadratic"})
           for name, steps in FEW_STEPS if steps <= total]  # fmt: skip
    full = _method(
        chosen.model_copy(update={"sampler": "ddpm", "num_steps": total}), min(FULL_CHAIN_SAMPLES, protocol.num_samples)
    )
    wanted = [_method(settings, protocol.num_samples) for settings in (chosen, *ddim, *others, *few)]
    return list({method.name: method for method in (*wanted, full)}.values())


def _method(settings: SamplingConfig, num_samples: int) -> Method:
    if settings.guidance_scale == 1:  # without guidance its interval has no effect
        settings = settings.model_copy(update={"guidance_interval": None})
    return Method(f"{settings.sampler}_{settings.num_steps}steps", settings, num_samples)
