"""Weights files, read without running anything in them: checkpoints (.pt, ``weights_only=True``) and safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import ModelError
from ..files import atomic_write

DIGEST = "sha256"  # in the metadata of our safetensors files: the digest of the values, see ``values_sha256``
MAX_HEADER = 1_000_000  # bytes of a safetensors file's header: ours have 20,000
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


def load_weights(model: nn.Module, weights: Any, source: str) -> None:
    """Load weights strictly: same names, same shapes and dtypes, all finite. A model on the meta device moves to the
    CPU.

    Raises:
        ModelError: names the first parameter that does not fit.
    """
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        raise ModelError(f"{source} holds no weights")
    check_fit(_infos(model.state_dict()), _infos(weights), source)
    check_finite(weights, source)
    if any(value.is_meta for value in model.state_dict().values()):
        model.to_empty(device="cpu")  # only once they are known to fit
    model.load_state_dict(weights)


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raise ModelError if a tensor holds NaN or infinity."""
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{source} is damaged: {name} holds values that are not finite")


class TensorInfo(NamedTuple):
    """What the header of a safetensors file says about a tensor."""

    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it: F32, BF16, ..."""


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """Open a safetensors file, after a check of its header's length."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ModelError(
                f"{path} is damaged or no safetensors file: it begins with a header of {length:,} bytes, at most "
                f"{MAX_HEADER:,} are read"
            )
        with safe_open(path, "pt") as opened:
            yield opened
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {brief(error)}") from None


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The names, dtypes and shapes of a safetensors file, before any tensor is read.

    Raises:
        ModelError: no safetensors file, one with a header larger than ``MAX_HEADER``, or one whose length is not what
            its header says.
    """
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return {name: TensorInfo(tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


def read_safetensors(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a safetensors file; its header must match ``network``, which may be on the meta device.

    Raises:
        ModelError: missing, truncated, altered or no safetensors file, or one of another network; names the first
            difference.
    """
    check_fit(_infos(network.state_dict()), read_header(path), str(path))
    return read_tensors(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file that this project wrote.

    Raises:
        ModelError: missing, truncated, altered or no safetensors file.
    """
    with _opened(path) as file:
        written = (file.metadata() or {}).get(DIGEST)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if written and written != values_sha256(weights):
        raise ModelError(f"{path} is damaged: its values are not those that were written")
    return weights


def values_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of the values of all tensors, float32, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(weights[name].flatten().numpy())
    return total.hexdigest()


def check_fit(own: Mapping[str, TensorInfo], found: Mapping[str, TensorInfo], source: str) -> None:
    """Check that a file holds a network's tensors: same names, shapes and dtypes.

    Raises:
        ModelError: names the first that differs.
    """
    for name in sorted(own.keys() ^ found.keys(), key=str):
        what = "missing" if name in own else "not in the network"
        raise ModelError(f"{source} does not fit its config: {brief(name)} is {what}")
    for name, info in found.items():
        for has, should in zip(info, own[name], strict=True):
            if has != should:
                raise ModelError(f"{source} does not fit its config: {name} is {brief(has)}, not {should}")


def _infos(weights: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(tuple(value.shape), DTYPES.get(value.dtype, str(value.dtype)))
            for name, value in weights.items()}  # fmt: skip


def brief(value: object) -> str:
    """Text from a file, cut to fit an error's one line: it may be of any length and hold line breaks."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:100]}..."


def size_of(network: nn.Module) -> int:
    """The bytes that a network's weights take, as a safetensors file without its header."""
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


def write_safetensors(model: nn.Module, path: Path) -> None:
    """Write a network's weights atomically, with a digest that shows whether the file was altered."""
    write_tensors(model.state_dict(), path)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """``write_safetensors`` of tensors that are no network's."""
    weights = {name: value.cpu().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        # A single entry: safetensors writes several in an order that varies, and with it the file's hash.
        save_file(weights, temporary, metadata={DIGEST: values_sha256(weights)})
