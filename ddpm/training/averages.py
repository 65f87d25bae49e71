"""Averages of any length, made after the training from the snapshots that it left in ``outputs/<run>/averages/``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from ..config.edit import load_config
from ..config.schema import Config
from ..data import load_dataset
from ..errors import ConfigError, ModelError
from ..files import RunFolder
from ..models import Model
from ..names import listed
from ..storage.layouts import empty_network
from ..storage.weights import load_weights, read_tensors
from .ema import LENGTHS, coefficients
from .loop import TrainState, validate
from .snapshots import snapshots_of

GRID = (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.14, 0.20)
"""Lengths that are compared."""
SHORTEST, LONGEST = 0.005, 0.25
"""The lengths that snapshots of ``LENGTHS`` can give."""


def average_of(folder: RunFolder, length: float, step: int | None = None) -> Model:
    """The model of a run with its weights averaged over ``length``, a share of the training up to ``step``, one of its
    snapshots; by default the last.

    Raises:
        ConfigError: the length is out of range, or there is no snapshot of that step.
        ModelError: the run has no snapshots, or one is damaged.
    """
    if not SHORTEST <= length <= LONGEST:
        raise ConfigError(f"the length must be {SHORTEST:g} to {LONGEST:g} of the training, got {length:g}")
    files = snapshots_of(folder)
    if not files:
        raise ModelError(
            f"run {folder.path.name} has no snapshots of its averages: train it with training.ema_snapshots=16 or more"
        )
    steps = [int(file.stem) for file in files]
    if step is not None and step not in steps:
        raise ConfigError(f"run {folder.path.name} has no snapshot of step {step:,}: take one of {listed(steps)}")
    step = step or steps[-1]
    files, config = files[: steps.index(step) + 1], load_config(folder.config)
    network = empty_network(config)
    load_weights(network, _summed(files, coefficients(_stored(files), step, length)), str(folder.averages))
    return Model(config, network.eval().requires_grad_(False), f"run '{folder.path.name}', average of {length:g}")


def _stored(files: Sequence[Path]) -> list[tuple[int, float]]:
    return [(int(file.stem), length) for file in files for length in LENGTHS]


def _summed(files: Sequence[Path], factors: Sequence[float]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for number, file in enumerate(files):
        stored = read_tensors(file)
        for place, length in enumerate(LENGTHS):
            factor, prefix = float(factors[number * len(LENGTHS) + place]), f"{length:g}/"
            for name, value in stored.items():
                if name.startswith(prefix):
                    own = name.removeprefix(prefix)
                    part = value.float() * factor if value.is_floating_point() else value
                    total[own] = total[own] + part if own in total and value.is_floating_point() else part
    return total


def compare_lengths(folder: RunFolder, lengths: Sequence[float] = GRID) -> Iterator[tuple[float, float]]:
    """Each length with the validation loss of its average.

    Raises:
        ModelError: see ``average_of``.
        DataError: the run's images are no longer there.
    """
    state, images = None, None
    for length in lengths:
        network = average_of(folder, length).network
        if state is None:
            config: Config = load_config(folder.config)
            state, images = TrainState(config), load_dataset(config.data, "val")
        yield length, validate(state, images, network=network.to(state.device))
