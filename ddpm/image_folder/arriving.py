"""What arrives from a browser, as files, folders or ZIPs: which of it are images, of which class, and what is left out.

Nothing in what arrives is trusted: names are taken apart and never used as paths, sizes are limited before anything is
unpacked, and an archive within an archive is refused.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from ..errors import DataError
from ..names import in_short
from .decode import MAX_PIXELS, SUFFIXES
from .manifest import JUNK

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
PHONES = (".heic", ".heif")
ENCRYPTED = 1  # bit of a ZIP entry's flags

_some = partial(in_short, most=3)


@dataclass(frozen=True)
class Most:
    """The limits of what may arrive at once."""

    files: int = 2_000
    """As they are; a ZIP may hold more, and counts as one."""
    images: int = 10_000
    image_bytes: int = 100_000_000
    """Of one image's file."""
    bytes: int = 4_000_000_000
    """Of all images' files, unpacked."""
    ratio: int = 200
    """Unpacked over packed bytes of an image in a ZIP; of photographs it is 1."""
    pixels: int = MAX_PIXELS


MOST = Most()


class Arrival(NamedTuple):
    """A file that has arrived, or an entry of a ZIP."""

    path: str
    """With its folders, / between them, as far as they are known."""
    size: int
    """Bytes, unpacked."""
    read: Callable[[int], bytes]
    """Its first bytes, at most so many."""


class Image(NamedTuple):
    """An image among what has arrived."""

    arrival: Arrival
    class_name: str
    """"" if there are no classes."""


@dataclass(frozen=True)
class Sorted:
    """What has arrived, with every image in its class."""

    name: str
    """Of the ZIP or folder; "" for loose files."""
    images: tuple[Image, ...]
    skipped: tuple[str, ...]
    """What is left out, in sentences."""


def sort_in(files: Sequence[tuple[str, BinaryIO]], most: Most = MOST) -> Sorted:
    """Find the images among files, each with its name or path, and take the folder of each for its class.

    Folders that all images share are no class; ZIPs are opened, and where there are several things, each is a folder.

    Raises:
        DataError: names the file: it is a ZIP that is damaged, encrypted, holds another archive or unpacks to too much;
            it lies too deep, or beside class folders; or there are too few images, or more than ``most``.
    """
    if len(files) > most.files:
        raise DataError(f"more than {most.files:,} files have come, which are the most at once: send them as a ZIP")
    arrived = [arrival for name, file in files for arrival in _opened(name, file, len(files) > 1, most)]
    images, hidden, other = [], [], []
    for arrival in arrived:
        parts = PurePosixPath(arrival.path).parts
        suffix = PurePosixPath(arrival.path).suffix.lower()
        if any(part.startswith(".") or part.lower() in JUNK for part in parts):
            hidden.append(arrival.path)
        elif suffix in ARCHIVES:
            raise DataError(f"{arrival.path} is an archive within what you sent: unpack it first, or send it alone")
        elif suffix in SUFFIXES:
            images.append(arrival)
        else:
            other.append(arrival.path)
    _check_sizes(images, most)
    shared, classes = _classes([PurePosixPath(arrival.path).parts[:-1] for arrival in images])
    zipped = [name for name, _ in files if name.lower().endswith(".zip")]
    name = PurePosixPath(zipped[0]).stem if len(files) == 1 and zipped else shared
    found = tuple(Image(arrival, name) for arrival, name in zip(images, classes, strict=True))
    _check_places(found)
    return Sorted(name, found, tuple(_skipped(hidden, other)))


def _opened(name: str, file: BinaryIO, among_others: bool, most: Most) -> Iterator[Arrival]:
    if not name.lower().endswith(".zip"):
        size = file.seek(0, 2)
        yield Arrival(_safe(name, name), size, partial(_read, file))
        return
    place = f"{PurePosixPath(_safe(name, name)).stem}/" if among_others else ""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{name} cannot be opened as a ZIP: {error}; pack the folder again") from None
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        path = place + _safe(entry.filename, name)
        if entry.flag_bits & ENCRYPTED:
            raise DataError(f"{name} is encrypted ({path}): pack it without a password")
        if path.lower().endswith(SUFFIXES) and entry.file_size > most.ratio * max(entry.compress_size, 10_000):
            raise DataError(
                f"{path} in {name} unpacks from {entry.compress_size:,} to {entry.file_size:,} bytes, more than "
                f"{most.ratio} times as many: no image does; leave it out"
            )
        yield Arrival(path, entry.file_size, partial(_unpack, archive, entry))


def _read(file: BinaryIO, most: int) -> bytes:
    file.seek(0)
    return file.read(most)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    try:
        with archive.open(entry) as file:
            return file.read(most)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        raise DataError(f"{entry.filename} cannot be unpacked: {error}") from None


def _safe(path: str, source: str) -> str:
    """A path from outside with / between its parts.

    Raises:
        DataError: it leads out of the folder that it belongs into.
    """
    found = path.replace("\\", "/")
    if found.startswith("/") or ".." in found.split("/") or re.match("[a-zA-Z]:", found) or "\0" in found:
        raise DataError(f"{source} holds the name {path[:200]!r}, which leads out of its folder: pack the folder again")
    return str(PurePosixPath(found))


def _check_sizes(images: Sequence[Arrival], most: Most) -> None:
    if len(images) < 2:
        raise DataError(f"{len(images)} images ({', '.join(SUFFIXES)}) are in what you sent: training takes at least 2")
    if len(images) > most.images:
        raise DataError(
            f"{len(images):,} images are in what you sent, and {most.images:,} are the most: send fewer, or train on "
            "their folder with data.path, which has no limit"
        )
    largest = max(images, key=lambda arrival: arrival.size)
    if largest.size > most.image_bytes:
        raise DataError(
            f"{largest.path} has {largest.size / 1e6:,.0f} MB, and {most.image_bytes / 1e6:,.0f} MB are the most of an "
            "image: leave it out, or make it smaller"
        )
    if (total := sum(arrival.size for arrival in images)) > most.bytes:
        raise DataError(
            f"the images have {total / 1e9:,.1f} GB together, and {most.bytes / 1e9:,.1f} GB are the most: send fewer "
            f"or smaller ones ({largest.path} is the largest)"
        )


def _classes(folders: Sequence[tuple[str, ...]]) -> tuple[str, list[str]]:
    """The last folder that all share, "" if there is none, and below it the folder of each; several are kept with /."""
    shared = 0
    while all(len(each) > shared for each in folders) and len({each[shared] for each in folders}) == 1:
        shared += 1
    return folders[0][shared - 1] if shared else "", ["/".join(each[shared:]) for each in folders]


def _check_places(images: Sequence[Image]) -> None:
    loose = [image.arrival.path for image in images if not image.class_name]
    within = {image.class_name: image.arrival.path for image in images if image.class_name}
    if deep := next((path for name, path in within.items() if "/" in name), None):
        raise DataError(
            f"{deep} lies too deep: images lie side by side, or in one folder for each class; send the folder that "
            "holds the class folders"
        )
    if loose and within:
        raise DataError(
            f"{len(loose):,} images ({_some(loose)}) lie beside the class folders {_some(sorted(within))}: move them "
            "into class folders, or send the folders alone"
        )


def _skipped(hidden: Sequence[str], other: Sequence[str]) -> Iterable[str]:
    if hidden:
        yield f"{len(hidden):,} system or hidden files: {_some(hidden)}"
    phones = [path for path in other if path.lower().endswith(PHONES)]
    if phones:
        yield f"{len(phones):,} HEIC photographs, which cannot be read; save them as JPEG: {_some(phones)}"
    if rest := [path for path in other if path not in set(phones)]:
        yield f"{len(rest):,} files that are no images by their names: {_some(rest)}"
