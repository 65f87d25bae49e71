"""Weights files, read without running anything in them: checkpoints (.pt, ``weights_only=True``) and safetensors."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .config import Config, config_from_dict
from .errors import ConfigError, ModelError
from .files import atomic_write

CHECKPOINT_FORMAT = "ddpm-lab/1"


def read_checkpoint(path: Path, *needed: str) -> tuple[Config, dict[str, Any]]:
    """Read a checkpoint without running any of its code.

    Args:
        needed: keys that must be there, such as ``ema``.

    Raises:
        ModelError: the file is missing, truncated, not a checkpoint, not one of ours, or holds code.
    """
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist")
    try:
        with warnings.catch_warnings():  # torch warns of foreign pickles, which are refused below
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(f"checkpoint {path} is damaged, or holds Python objects, which are never loaded") from None
    except PermissionError as error:
        raise ModelError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError):
        # OSError: torch reads a truncated archive with "Invalid argument".
        raise ModelError(f"checkpoint {path} is damaged, truncated or not a checkpoint") from None
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ModelError(f"checkpoint {path} was not written by ddpm (no format {CHECKPOINT_FORMAT!r} in it)")
    for key in ("config", *needed):
        if key not in content:
            raise ModelError(f"checkpoint {path} holds no {key!r}; it has {', '.join(map(str, content))}")
    try:
        return config_from_dict(content["config"], f"checkpoint {path}"), content
    except ConfigError as error:
        raise ModelError("; ".join(str(error).splitlines())) from None


def load_weights(model: nn.Module, weights: Any, source: str) -> None:
    """Load weights strictly: same names, same shapes, all finite.

    Raises:
        ModelError: names the first parameter that does not fit.
    """
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        raise ModelError(f"{source} holds no weights")
    own = model.state_dict()
    for name in sorted(own.keys() ^ weights.keys(), key=str):
        raise ModelError(
            f"{source} does not fit its config: {name} is {'missing' if name in own else 'not in the network'}"
        )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{source} does not fit its config: {name} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{source} is damaged: {name} holds values that are not finite")
    model.load_state_dict(weights)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ModelError: missing, truncated or no safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {error}") from None


def write_safetensors(model: nn.Module, path: Path) -> None:
    """Write a network's weights atomically."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weights file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
