"""The model that a training starts from, which is its teacher if it is a distillation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import nn

from ..config.edit import renamed, sampling_settings, with_overrides
from ..config.schema import Config
from ..config.sections import SamplingConfig
from ..errors import ConfigError, ModelError
from ..names import listed
from ..storage.places import resolve
from ..storage.weights import load_weights
from ..unet import STEPS_EMBEDDING

NO_TEACHER = "model.step_counts asks for a distillation, and no teacher is named, such as mnist or run:NAME"

STUDENT = (
    "training.trajectories=12288",
    "training.epochs=26",
    "training.batch_size=64",
    "training.learning_rate=4e-4",
    "training.warmup_steps=100",
    "training.ema_decay=0.999",
    "training.val_every=300",
    "sampling.sampler=ddim",
    "sampling.spacing=trailing",
    "sampling.guidance_scale=1",
    "sampling.guidance_interval=null",
    "sampling.eta=0",
)
"""How the config of a student differs from its teacher's; its steps come on top."""
TEACHER_STEPS = 20
FEW = 4  # steps that it draws in unless asked otherwise, if it has learned to


def misfit(config: Config, begun: Config) -> str | None:
    """Why a training cannot start from a model with the config ``begun``, to be said after its name; None if it can."""
    wanted, has = ({**c.network_arguments(), "step_counts": ()} for c in (config, begun))
    if begun.model.step_counts and config.model.step_counts:
        return "is distilled itself, and only a model that takes any number of steps can be a teacher"
    if begun.model.step_counts:
        return "is distilled, and the images that a training learns from say nothing about few steps"
    if differing := [name for name, value in wanted.items() if has[name] != value]:
        return f"has a network of another {listed(differing)}"
    if begun.diffusion.prediction_type != config.diffusion.prediction_type:
        predicts, asked = begun.diffusion.prediction_type, config.diffusion.prediction_type
        return f"predicts {predicts}, and diffusion.prediction_type is {asked}"
    if config.model.step_counts and begun.schedule != config.schedule:
        return "has another schedule, and a student shares its teacher's"
    return None


def teacher_settings(teacher: Config, step_counts: Sequence[int]) -> SamplingConfig:
    """How a teacher draws for its student: with its own guidance, by DPM-Solver++, in ``TEACHER_STEPS`` or as many more
    as make a multiple of all the student's step counts."""
    stored = math.lcm(*step_counts)
    steps = -(-TEACHER_STEPS // stored) * stored
    return sampling_settings(teacher, sampler="dpmpp_2m", spacing="trailing", num_steps=steps)


def start_from(config: Config, networks: Iterable[nn.Module]) -> None:
    """Give networks the weights of the model that ``training.start_from`` names, if it names one; of a teacher, all
    that it has.

    Raises:
        ModelError: there is no such model, or its weights do not fit.
        ConfigError: it is another kind of model.
    """
    reference = config.training.start_from
    if reference is None:
        return
    begun, source, _ = resolve(reference).read()
    if why := misfit(config, begun):
        raise ConfigError(f"training.start_from: {reference} {why}")
    for network in networks:
        own = {name: value for name, value in network.state_dict().items() if name == STEPS_EMBEDDING}
        load_weights(network, own | source.state_dict(), f"training.start_from: {reference}")


def student_of(teacher: str, run: str | None, counts: str, overrides: Sequence[str]) -> Config:
    """The config of a distillation: the teacher's with ``STUDENT``, then ``overrides``.

    Args:
        counts: numbers of steps, ``1,2,4,8``.

    Raises:
        ModelError: there is no such teacher, or it is a pipeline of diffusers.
        ConfigError: a value that does not fit; names the field.
    """
    begun = resolve(teacher).config()
    if begun is None:
        raise ModelError(f"{teacher} is a pipeline of diffusers, which cannot be a teacher")
    steps = FEW if str(FEW) in counts.split(",") else counts.split(",")[-1]
    few = [f"model.step_counts=[{counts}]", f"training.start_from={teacher}", f"sampling.num_steps={steps}"]
    named = renamed(begun, run or f"{begun.name}-fast")
    return with_overrides(named, [*few, *STUDENT, *overrides])
