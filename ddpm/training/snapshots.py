"""Snapshots of a run's averages, in ``outputs/<run>/averages/``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RunFolder
from ..storage.weights import write_tensors

if TYPE_CHECKING:
    from .loop import TrainState


def save_snapshot(state: TrainState, folder: RunFolder) -> None:
    """Write the averages of this step in half precision."""
    weights = {
        f"{average.length:g}/{name}": value.half() if value.is_floating_point() else value
        for average in state.averages
        for name, value in average.model.state_dict().items()
    }
    write_tensors(weights, folder.averages / f"{state.step:07d}.safetensors")


def snapshots_of(folder: RunFolder) -> list[Path]:
    """The snapshots of a run, the oldest first."""
    return sorted(folder.averages.glob("[0-9]" * 7 + ".safetensors"))


def forget_after(folder: RunFolder, step: int) -> None:
    """Delete the snapshots of steps that a resumed run will repeat."""
    for file in snapshots_of(folder):
        if int(file.stem) > step:
            file.unlink()
