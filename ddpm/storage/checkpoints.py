"""Checkpoints (.pt), read without running anything in them: ``weights_only=True``, and what torch leaves unchecked."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.edit import config_from_dict
from ..config.schema import Config
from ..errors import ConfigError, ModelError
from .weights import brief

CHECKPOINT_FORMAT = "ddpm-lab/1"
MAX_VALUES = 1_000_000  # names and numbers of a checkpoint besides its tensors: one of mnist has 20,000
TENSORS = re.compile(r"torch\._utils _rebuild_tensor_v2|collections OrderedDict|torch \w+Storage")
"""What a pickle of tensors names."""
NAMING = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""The opcodes by which a pickle names what it makes."""


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
