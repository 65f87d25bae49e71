"""The config section ``data``: which images, and how they are read."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import field_validator, model_validator

from ..datasets import DATASETS
from ..files import user_path
from .faults import shown
from .section import OneOf, Section, setting
from .yaml_text import dump_yaml

MAX_NAME = 100  # characters of a class's name
MAX_NAMES = 50_000  # bytes of all of them as YAML; the names of 1,000 classes have 15,000


class DataConfig(Section):
    title: ClassVar = "data"

    dataset: Annotated[str, OneOf(DATASETS)] = setting(
        "mnist", "The training images. digits is in the package; the others are downloaded once; folder is your own."
    )
    path: str | None = setting(None, "The folder of images, for the dataset 'folder' only; its subfolders are classes.")
    image_size: int = setting(
        32,
        "Height and width that images are resized to. Twice the size costs four times the work.",
        "pixels",
        ge=4,
        le=512,
    )
    channels: Literal[1, 3] = setting(1, "1 for grey images, 3 for colour; fixed by most datasets.", "channels")
    background: str = setting(
        "white", "What shows where an image is transparent: white, black, or a colour such as #336699. For folders."
    )
    digest: str | None = setting(
        None, "SHA-256 of the content of the folder's images when it was trained on. Training fills it in."
    )
    val_fraction: float = setting(
        0.05,
        "Part of the training images held out to measure the validation loss. More gives a steadier number and "
        "leaves fewer images to learn from.",
        "0 to 1",
        gt=0,
        lt=0.5,
    )
    horizontal_flip: bool = setting(
        False, "Mirror half of the training images at random: more variety for photographs, wrong for digits and text."
    )
    class_names: tuple[str, ...] | None = setting(
        None,
        "Names of the folder's classes, in the order of their labels. Training fills them in from its subfolders.",
        "names",
    )

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        if not re.fullmatch(r"white|black|#[0-9a-fA-F]{6}", background):
            raise ValueError("must be white, black or a colour such as '#336699'")
        return background

    @field_validator("digest")
    @classmethod
    def _is_a_hash(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("must be 64 of 0-9 and a-f, or left out")
        return digest

    @field_validator("class_names")
    @classmethod
    def _are_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if not names:
            return None
        for name in names:
            # Python turns the bytes of a file name that is not UTF-8 into surrogates, which our files cannot hold.
            if not 1 <= len(name) <= MAX_NAME or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
                raise ValueError(
                    f"must have names of 1 to {MAX_NAME} characters without line breaks, control characters or bytes "
                    f"that are not UTF-8; one is {shown(name)}"
                )
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"must differ from each other; {shown(twice[0])} stands there twice")
        if (size := len(dump_yaml(list(names)).encode())) > MAX_NAMES:
            raise ValueError(f"must be shorter: together they have {size:,} bytes, {MAX_NAMES:,} are the most")
        return names

    @model_validator(mode="after")
    def _fits_the_dataset(self):
        info = DATASETS[self.dataset]
        if info.channels and self.channels != info.channels:
            raise ValueError(f"channels must be {info.channels} for {self.dataset}, got {self.channels}")
        if self.dataset == "folder" and not (self.path or "").strip():
            raise ValueError("path must name the folder that holds the images")
        if self.dataset != "folder" and self.path is not None:
            raise ValueError(f"path must be left out for {self.dataset}: it is for the dataset 'folder' alone")
        if self.digest and self.dataset != "folder":
            raise ValueError("digest goes with dataset 'folder', and only with it")
        if self.class_names and info.function:
            raise ValueError(f"class_names go with dataset 'folder'; {self.dataset} has its own")
        return self

    @property
    def folder(self) -> Path:
        """``path`` as an absolute path, with ~ expanded."""
        return user_path(self.path).absolute()

    @property
    def known_class_names(self) -> tuple[str, ...]:
        """The names of the dataset's classes if they are known before it is read, else ()."""
        return self.class_names or DATASETS[self.dataset].class_names
