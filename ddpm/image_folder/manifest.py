"""A folder of images as a dataset: which files belong to it, what each holds, and the split of each.

A dataset is its images and their classes, identified by their content: the folder's path and the names of its files do
not matter. Whether an image is for training, validation or the test follows from the hash of its content alone, so that
no other image can move it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..names import in_short
from .decode import SUFFIXES

TEST_SHARE = 0.1
MANIFEST = "manifest.json"
TAKEN = ".taken.json"  # beside images that came through the browser: what was seen of them
JUNK = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir", "lost+found"}

_some = partial(in_short, most=3)

Side = str  # train, val or test


class Entry(NamedTuple):
    """An image of a folder."""

    path: str
    """Relative to the folder, with / between its parts."""
    class_name: str
    """"" if there are no classes."""
    sha256: str


class Listing(NamedTuple):
    """The image files of a folder, each with its class, and what was skipped, in sentences."""

    root: Path
    files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """The images of a folder, in an order that follows from their content and class."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        return cls(tuple(sorted(entries, key=lambda entry: (entry.sha256, entry.class_name, entry.path))))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over content and class of every image: equal for equal datasets."""
        lines = sorted(f"{entry.sha256} {entry.class_name}\n" for entry in self.entries)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """In natural order: 2 before 10; () if there are none."""
        return tuple(sorted({entry.class_name for entry in self.entries} - {""}, key=natural))

    def to_json(self) -> str:
        rows = [{"path": path, "class": name, "sha256": sha256} for path, name, sha256 in self.entries]
        return json.dumps({"digest": self.digest, "images": rows}, indent=0) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read what ``to_json`` wrote.

        Raises:
            DataError: it is not there, or damaged.
        """
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["images"]
            return cls.of(Entry(str(row["path"]), str(row["class"]), str(row["sha256"])) for row in rows)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is damaged") from None


def natural(name: str) -> tuple:
    """A key for natural sorting: numbers by their value, and capitals among the small letters."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if i % 2 else (-1, part.casefold()) for i, part in enumerate(parts)], name


# -- which files ---------------------------------------------------------------------------------------------------


def list_folder(root: Path) -> Listing:
    """The image files of a folder: those directly in it, or those in its subfolders, which are the classes.

    Raises:
        DataError: there is no such folder, it has fewer than two images, or the class of some is unclear: they are
            beside class folders, or deeper than them.
    """
    if not root.is_dir():
        raise DataError(f"data.path {root} is not a folder")
    top = _scan(root)
    inside = {name: _scan(root / name) for name in top.folders}
    for name, found in inside.items():
        for deeper in found.folders:
            if image := _first_image(root, f"{name}/{deeper}"):
                raise DataError(
                    f"data.path {root}: {image} lies too deep; images lie right in the folder, or one folder deeper, "
                    f"which is their class: name {root / name} if its folders are the classes, or move the images up"
                )
    classes = {name: found.images for name, found in inside.items() if found.images}
    if top.images and classes:
        raise DataError(
            f"data.path {root} has {_count(len(top.images), 'image')} ({_some(top.images)}) beside the class folders "
            f"{_some(sorted(classes, key=natural))}: move them into class folders, or the folders elsewhere"
        )
    files = [(image, "") for image in top.images]
    files += [(f"{name}/{image}", name) for name, images in classes.items() for image in images]
    if len(files) < 2:
        raise DataError(f"data.path {root} holds too few images ({', '.join(SUFFIXES)}): training takes at least 2")
    every = {"": top, **inside}
    junk = [f"{name}/{one}".lstrip("/") for name, found in every.items() for one in found.junk]
    other = [f"{name}/{one}".lstrip("/") for name, found in every.items() for one in found.other]
    empty = sorted(inside.keys() - classes.keys(), key=natural)
    notes = (
        f"skipped as system or hidden files: {_some(junk)}" if junk else "",
        f"skipped, not images by their names: {_some(other)}" if other else "",
        f"no class, since no image is in it: {_some(empty)}" if empty else "",
    )
    return Listing(root, tuple(files), tuple(filter(None, notes)))


class _Scanned(NamedTuple):
    images: list[str]
    folders: list[str]
    junk: list[str]
    other: list[str]


def _scan(folder: Path) -> _Scanned:
    found = _Scanned([], [], [], [])
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    for entry in entries:
        if entry.name == TAKEN:
            continue
        if entry.name.startswith(".") or entry.name.lower() in JUNK:
            found.junk.append(entry.name)
        elif entry.is_dir():
            found.folders.append(entry.name)
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            found.images.append(entry.name)
        else:
            found.other.append(entry.name)
    return found


def _first_image(root: Path, below: str) -> str | None:
    """The first image in a folder or deeper; there, links are not followed."""
    for folder, folders, files in os.walk(root / below):
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in JUNK]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                return (Path(folder) / name).relative_to(root).as_posix()
    return None


def _count(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("s" if count != 1 else "")


# -- splits --------------------------------------------------------------------------------------------------------


def sides(entries: Sequence[Entry], val_fraction: float) -> list[Side]:
    """The split of each image: ``test`` for about a tenth, ``val`` for about ``val_fraction`` of the others.

    Two numbers from 0 to 1, read from the hash of its content, decide, so adding or removing an image moves no other,
    and copies stay together. By chance a small folder may have no image for the test. If it would have none for
    validation, the image whose number comes closest is taken, as long as there is no other.
    """
    shares = [(int(entry.sha256[:8], 16) / 2**32, int(entry.sha256[8:16], 16) / 2**32) for entry in entries]
    nearest = min((second for first, second in shares if first >= TEST_SHARE), default=1.0)
    return [
        "test" if first < TEST_SHARE else "val" if second < val_fraction or second == nearest else "train"
        for first, second in shares
    ]


# -- what changed --------------------------------------------------------------------------------------------------


def changes(before: Manifest, now: Manifest) -> list[str]:
    """The differences between two datasets, a phrase each: ``3 images added``, ``class 'cat' is now 'kitten'``."""
    old, new = (Counter((entry.sha256, entry.class_name) for entry in each.entries) for each in (before, now))
    gone, come = _classes_by_content(old - new), _classes_by_content(new - old)
    moved = Counter(
        pair for sha256 in gone.keys() & come.keys() for pair in zip(gone[sha256], come[sha256], strict=False)
    )
    added, removed = (sum(map(len, each.values())) - moved.total() for each in (come, gone))
    return [
        *([f"{_count(added, 'image')} added"] if added else []),
        *([f"{_count(removed, 'image')} removed"] if removed else []),
        *_moves(moved, {entry.class_name for entry in before.entries}, {entry.class_name for entry in now.entries}),
    ]


def _classes_by_content(images: Counter[tuple[str, str]]) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    for sha256, class_name in sorted(images.elements()):
        classes.setdefault(sha256, []).append(class_name)
    return classes


def _moves(moved: Counter[tuple[str, str]], before: set[str], now: set[str]) -> Iterator[str]:
    for (old, new), count in sorted(moved.items()):
        if old not in now and new not in before and old and new:
            yield f"class {old!r} is now {new!r}"
        else:
            yield f"{_count(count, 'image')} moved from {_class(old)} to {_class(new)}"


def _class(name: str) -> str:
    return repr(name) if name else "no class"
