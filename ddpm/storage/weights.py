"""Weights files, read without running anything in them: checkpoints (.pt, ``weights_only=True``) and safetensors."""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..config.edit import config_from_dict
from ..config.schema import Config
from ..errors import ConfigError, ModelError
from ..files import atomic_write

CHECKPOINT_FORMAT = "ddpm-lab/1"
DIGEST = "sha256"  # in the metadata of our safetensors files: the digest of the values, see ``values_sha256``
MAX_HEADER = 1_000_000  # bytes of a safetensors file's header: ours have 20,000
MAX_VALUES = 1_000_000  # names and numbers of a checkpoint besides its tensors: one of mnist has 20,000
TENSORS = re.compile(r"torch\._utils _rebuild_tensor_v2|collections OrderedDict|torch \w+Storage")
"""What a pickle of tensors names."""
NAMING = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""The opcodes by which a pickle names what it makes."""
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


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
        archive = _checked_archive(path)
        with warnings.catch_warnings():  # torch warns of foreign pickles, which are refused below
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(archive, map_location="cpu", weights_only=True)
        size = path.stat().st_size
    except pickle.UnpicklingError:
        raise ModelError(f"checkpoint {path} is damaged, or holds Python objects, which are never loaded") from None
    except PermissionError as error:
        raise ModelError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    except (
        RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, zipfile.BadZipFile,
        zlib.error, OSError,  # torch reads a truncated archive with "Invalid argument"
    ):  # fmt: skip
        raise ModelError(f"checkpoint {path} is damaged, truncated or not a checkpoint") from None
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ModelError(f"checkpoint {path} was not written by ddpm (no format {CHECKPOINT_FORMAT!r} in it)")
    for key in ("config", *needed):
        if key not in content:
            there = ", ".join(name for name in content if isinstance(name, str))
            raise ModelError(f"checkpoint {path} holds no {key!r}; it has {brief(there)}")
    if _is_larger(content, size + MAX_VALUES):
        raise ModelError(f"checkpoint {path} is damaged: it stands for more than its {size:,} bytes can hold")
    try:
        return config_from_dict(content["config"], f"checkpoint {path}"), content
    except ConfigError as error:
        raise ModelError("; ".join(str(error).splitlines())) from None


def _checked_archive(path: Path) -> io.BytesIO:
    """Check the checksums of a checkpoint's entries and repack them. Torch checks none, and in an altered file it may
    read another directory than the one checked here, so it never gets the file itself.

    Raises:
        BadZipFile: not an archive, or one that was altered, is compressed, names an entry twice, or holds more than
            its size.
        UnpicklingError: a pickle without an archive around it, or something else.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            raise pickle.UnpicklingError
    checked = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(checked, "w") as packed:
        entries = source.infolist()
        if (
            any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            or len(set(source.namelist())) < len(entries)
            or sum(entry.file_size for entry in entries) > path.stat().st_size
        ):
            raise zipfile.BadZipFile
        for name in source.namelist():
            if name.endswith(".pkl"):
                check_pickle(source.read(name))
        for entry in entries:
            packed.writestr(entry.filename, source.read(entry))
    checked.seek(0)
    return checked


def check_pickle(content: bytes) -> None:
    """Refuse a pickle that asks for more than tensors in dicts and lists. ``weights_only`` keeps it from running code,
    but still lets it make, for example, a bytearray of any size.

    Raises:
        UnpicklingError: it names anything else.
        ValueError: it is no pickle.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in NAMING and not (opcode.name == "GLOBAL" and TENSORS.fullmatch(argument)):
            raise pickle.UnpicklingError


def _is_larger(value: Any, most: int) -> bool:
    """Whether a value that was read stands for more than ``most`` bytes, counting repeated objects every time: a tensor
    of any size may be a view of one number, and a list may hold the same list again and again."""
    left, rest = most, [value]
    while rest and left >= 0:
        match rest.pop():
            case Tensor() as tensor:
                left -= tensor.numel() * tensor.element_size()
            case dict() as table:
                rest += [*table.keys(), *table.values()]
            case list() | tuple() as items:
                rest += items
            case str() | bytes() as text:
                left -= len(text)
        left -= 1
    return left < 0


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
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_write(path) as temporary:
        # A single entry: safetensors writes several in an order that varies, and with it the file's hash.
        save_file(weights, temporary, metadata={DIGEST: values_sha256(weights)})


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weights file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
