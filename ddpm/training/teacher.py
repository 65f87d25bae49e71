"""A teacher's walks from noise to image, which a distilled model learns from: drawn once, and kept with the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch

from ..config.schema import Config
from ..errors import ConfigError, ModelError
from ..models import Model, load_model
from ..sampling import sample
from ..spacing import spaced_timesteps
from ..storage.weights import read_tensors, write_tensors
from .start import NO_TEACHER, misfit, teacher_settings
from .trajectories import Trajectories, held_out

AT_ONCE = 512  # walks in a file
BATCH = 64
Tell = Callable[[str], None]


def trajectories_of(
    teacher: Model, config: Config, folder: Path | None = None, tell: Tell = lambda doing: None
) -> tuple[Trajectories, Trajectories]:
    """The walks that a config's distillation learns from, and those that it is validated with.

    Args:
        folder: where they are kept; those that are there are not drawn again.
        tell: called with what is happening; can stop it by raising, and nothing is lost.

    Raises:
        ModelError: another teacher drew the walks in ``folder``, or one of its files is damaged.
    """
    count, parts = config.training.trajectories, []
    for first in range(0, count, AT_ONCE):
        indices = range(first, min(count, first + AT_ONCE))
        path = folder and folder / f"{teacher.sha256[:16]}-{first:07d}.safetensors"
        if path and path.is_file() and len(kept := _read(path)) == len(indices):
            parts.append(kept)
            continue
        if folder and any(folder.glob(f"*-{first:07d}.safetensors")):
            raise ModelError(
                f"{config.training.start_from} is not the teacher that drew {folder}, or training.trajectories was "
                "another: set it back, or start a new run"
            )
        parts.append(draw(teacher, config, indices, lambda done: tell(f"the teacher draws: {done:,} of {count:,}")))
        if path:
            write_tensors({"states": parts[-1].states, "labels": parts[-1].labels}, path)
    walks = Trajectories(torch.cat([p.states for p in parts]), torch.cat([p.labels for p in parts]))
    val = held_out(count, config.data.val_fraction)
    return walks[:-val], walks[-val:]


def _read(path: Path) -> Trajectories:
    tensors = read_tensors(path)
    return Trajectories(tensors["states"], tensors["labels"])


def teacher_of(config: Config) -> Model:
    """The teacher of a distillation.

    Raises:
        ConfigError: none is named, or one that cannot teach the config's model.
        ModelError: there is no such model.
    """
    reference = config.training.start_from
    if reference is None:
        raise ConfigError(f"training.start_from: {NO_TEACHER}")
    teacher = load_model(reference, config.training.device)
    if why := misfit(config, teacher.config):
        raise ConfigError(f"training.start_from: {reference} {why}")
    return teacher


def draw(teacher: Model, config: Config, indices: range, on_batch: Callable[[int], None]) -> Trajectories:
    """Walks of the teacher with its own guidance, by DPM-Solver++; every class in turn, and no class."""
    settings, classes = teacher_settings(teacher.config, config.model.step_counts), teacher.num_classes
    kept = {*spaced_timesteps(teacher.schedule.num_timesteps, math.lcm(*config.model.step_counts)), -1}
    labels, states, given = [*range(classes), -1] if classes else None, [], []
    for first in range(indices.start, indices.stop, BATCH):
        part = range(first, min(indices.stop, first + BATCH))
        steps = sample(teacher, labels=labels, settings=settings, seed=config.training.seed, indices=part,
                       precision=config.training.precision)  # fmt: skip
        states.append(torch.stack([step.x_t.half().cpu() for step in steps if step.t in kept], 1))
        y = teacher.class_labels(labels, part)
        given.append(torch.full((len(part),), -1) if y is None else y.cpu())
        on_batch(part.stop)
    return Trajectories(torch.cat(states), torch.cat(given))
