"""Checkpoints: plain dicts of tensors and numbers, written atomically, opened with ``weights_only=True``.

No random state is saved, since none is needed: the noise of a step and the order of an epoch are functions of the seed
and the step (see ``ddpm.training.loop``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..config.edit import differences
from ..config.schema import Config
from ..device import resolve_device, resolve_precision
from ..errors import ModelError
from ..files import atomic_write
from ..storage.checkpoints import CHECKPOINT_FORMAT, read_checkpoint
from ..storage.weights import load_weights
from .loop import TrainState

# The fields that the weights depend on: change one, and the checkpoint belongs to another model.
DEFINING = ("data", "schedule", "diffusion", "model")
WATCHED = "training.track"  # by whom a training is watched changes nothing in it


def save_checkpoint(state: TrainState, path: Path) -> None:
    """Write everything that training needs to resume."""
    averages = {"averages": [average.model.state_dict() for average in state.averages]} if state.averages else {}
    _save(
        path,
        state.config,
        state.step,
        model=state.model.state_dict(),
        ema=state.ema.model.state_dict(),
        optimizer=state.optimizer.state_dict(),
        scaler=state.scaler.state_dict(),
        **averages,
        best_val_loss=state.best_val_loss,
        elapsed=state.elapsed,
        made_on=_circumstances(state.device, state.precision, torch.get_num_threads(), state.world.size),
    )


def save_ema(state: TrainState, path: Path) -> None:
    """Write only the averaged weights, for sampling."""
    _save(path, state.config, state.step, ema=state.ema.model.state_dict())


def _save(path: Path, config: Config, step: int, **content: Any) -> None:
    header = {"format": CHECKPOINT_FORMAT, "config": config.model_dump(mode="json"), "step": step}
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save({**header, **content}, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch's writer does not pass on why a write failed
                raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from None
            raise


def _circumstances(
    device: torch.device, precision: torch.dtype, threads: int, processes: int = 1
) -> dict[str, str | int]:
    """What the last bit of a step depends on besides the state and the config."""
    return {
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": threads,
        "precision": str(precision).removeprefix("torch."),
        "processes": processes,
    }


def restore(state: TrainState, path: Path) -> list[str]:
    """Load a checkpoint of ``save_checkpoint`` into ``state``, whose config applies from here on.

    Returns:
        Why resuming is not bit-exact, one reason each; empty if it is.

    Raises:
        ModelError: unreadable, incomplete, or from another network, dataset or diffusion.
    """
    saved, content = read_checkpoint(path, "model", "ema", "optimizer", "scaler", "step", "best_val_loss", "elapsed")
    changed = differences(saved, state.config)
    for field, (before, now) in changed.items():
        if field.split(".")[0] in DEFINING and not _of_the_folder(field, saved):
            raise ModelError(
                f"{field} was {before!r} when {path} was written and is {now!r} now: set it back, or start a new run"
            )
    if state.averages and not content.get("averages"):
        raise ModelError(
            f"training.ema_snapshots was 0 when {path} was written, and averages begin with a run: set it back to 0, "
            "or start a new run"
        )
    for average, weights in zip(state.averages, content.get("averages", ()), strict=False):
        load_weights(average.model, weights, str(path))
    load_weights(state.model, content["model"], str(path))
    load_weights(state.ema.model, content["ema"], str(path))
    try:
        state.optimizer.load_state_dict(content["optimizer"])
        state.scaler.load_state_dict(content["scaler"])
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(f"checkpoint {path} holds an optimizer state that does not fit: {error}") from None
    state.step, state.best_val_loss, state.elapsed = content["step"], content["best_val_loss"], content["elapsed"]
    return _reasons(
        changed,
        content.get("made_on", {}),
        _circumstances(state.device, state.precision, torch.get_num_threads(), state.world.size),
    )


def _of_the_folder(field: str, saved: Config) -> bool:
    """Whether a field is about a folder of images, which ``ddpm.training.identity`` has checked by its content."""
    named = saved.data.class_names and saved.model.num_classes
    return field in ("data.path", "data.digest") or (field == "data.class_names" and not named)


def why_inexact(path: Path, config: Config, threads: int) -> list[str]:
    """Why a run resumed from this checkpoint, on this machine with ``threads`` threads, would not be bit-exact; empty
    if it would.

    Raises:
        ModelError: the checkpoint is unreadable.
        ConfigError: the config's device cannot be used here.
    """
    saved, content = read_checkpoint(path, "made_on")
    device = resolve_device(config.training.device)
    now = _circumstances(device, resolve_precision(config.training.precision, device), threads)
    return _reasons(differences(saved, config), content["made_on"], now)


def _reasons(changed: Mapping[str, object], then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    then = {"processes": 1, **then}  # old checkpoints do not record it: there was always one
    return [
        *(f"{field} has changed" for field in changed if field.startswith("training.") and field != WATCHED),
        *(
            f"{name} was {then.get(name, 'not recorded')}, is {now[name]}"
            for name in now
            if then.get(name) != now[name]
        ),
    ]
