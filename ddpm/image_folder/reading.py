"""Read a folder of images once: on all cores, with damaged files counted and named, and the result cached.

The cache is ``.folders`` in the output folder: the hashes of files, by their size and time, and the images as they were
read, by the digest of the dataset and how they are read. All of it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import TimeoutError as NotYet
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import PIL
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config.data_section import DataConfig
from ..device import allowed_cores
from ..errors import DataError, one_line
from ..files import atomic_write, file_sha256, output_dir, remove_leftovers, write_text
from .decode import Depth, Picture, full_range, read_picture, scaled_levels
from .manifest import TEST_SHARE, Entry, Listing, Manifest, list_folder, sides

READING = 1  # version of how images are read: raise it when the same files give other pixels
MAX_UNREADABLE = 0.05  # of a folder's images
MAX_KEPT = 4_000_000_000  # bytes of the whole cache
QUICK = 200_000_000  # bytes of files to hash while somebody waits for a page
TICK = 0.2  # seconds between two reports
CORES = max(1, int(min(os.cpu_count() or 1, allowed_cores())))  # all, even if training leaves one free

Tell = Callable[[str], None]
T, R = TypeVar("T"), TypeVar("R")


@dataclass(frozen=True)
class Folder:
    """A folder of images, read."""

    manifest: Manifest
    """Of every image file, including those that could not be read."""
    entries: tuple[Entry, ...]
    images: Tensor
    """Of ``entries``: (N, C, H, W) uint8."""
    notes: tuple[str, ...]
    """What was skipped, and what is odd about the images, in sentences."""


class Sizes(NamedTuple):
    """How many images of a dataset are for training, for validation, and for evaluation; damaged ones count too."""

    train: int
    val: int
    test: int | None
    """None if the dataset has a separate test set, so that they are not taken from the same images."""
    exact: bool = True
    """If False, the expected sizes of a folder whose files would take long to hash."""


def read_folder(config: DataConfig, tell: Tell = lambda doing: None) -> Folder:
    """Read all images of ``config.path``, or take them from the cache.

    Integers of more than 8 bits are scaled by the range of all such images of the folder, and so are floats
    (``ddpm.image_folder.decode.full_range``).

    Args:
        tell: called several times a second with what is happening, as in ``reading 3,200 of 10,000 images``. If it
            raises, the reading stops within a second.

    Raises:
        DataError: the folder cannot be used as it is, or more than ``MAX_UNREADABLE`` of its images are damaged.
    """
    listing = list_folder(config.folder)
    manifest = find_manifest(listing, tell)
    kept = _kept_at(manifest, config)
    read = _take(kept) if kept.is_file() else None
    trouble = ()
    if read is None:
        read = _read(manifest, config, tell)
        trouble = _keep(read, kept)
    entries = tuple(manifest.entries[i] for i in read.index.tolist())
    notes = (*listing.notes, *_notes(manifest, read), *trouble)
    return Folder(manifest, entries, read.images, notes)


def find_manifest(listing: Listing, tell: Tell = lambda doing: None) -> Manifest:
    """The manifest of a folder; only files that are new or have changed are read.

    Raises:
        DataError: a file cannot be read at all.
    """
    return _hashed(listing, tell, _Hashes(listing))


def count_folder(config: DataConfig) -> Sizes:
    """How many images of ``config.path`` each split has, without decoding any.

    Raises:
        DataError: there is no such folder, too few images in it, or it cannot be used as it is.
    """
    listing = list_folder(config.folder)
    hashes = _Hashes(listing)
    if sum(hashes.size(path) for path, _ in listing.files if not hashes.known(path)) > QUICK:
        rest = len(listing.files) - (test := round(TEST_SHARE * len(listing.files)))
        return Sizes(rest - (val := max(1, round(config.val_fraction * rest))), val, test, exact=False)
    found = sides(_hashed(listing, lambda doing: None, hashes).entries, config.val_fraction)
    if "train" not in found:
        raise DataError(f"data.path {listing.root} holds too few images that differ: none would be left to learn from")
    return Sizes(*(found.count(side) for side in ("train", "val", "test")))


# -- hashes --------------------------------------------------------------------------------------------------------


class _Hashes:
    """The hashes of a folder's files, as far as they are cached."""

    def __init__(self, listing: Listing):
        self.root = listing.root
        place = hashlib.sha256(os.fsencode(listing.root.resolve())).hexdigest()[:16]
        self.path = _kept_dir() / f"hashes-{place}.json"
        self.stats = {path: os.stat(listing.root / path) for path, _ in listing.files}
        self.rows: dict[str, list] = {}
        with suppress(OSError, ValueError):  # without it they are computed again
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            self.rows = {path: rows[path] for path, _ in listing.files if path in rows}

    def size(self, path: str) -> int:
        return self.stats[path].st_size

    def known(self, path: str) -> str | None:
        size, changed = self.stats[path].st_size, self.stats[path].st_mtime_ns
        match self.rows.get(path):
            case [then_size, then_changed, str(sha256)] if (then_size, then_changed) == (size, changed):
                return sha256
        return None

    def compute(self, path: str) -> None:
        try:
            sha256 = file_sha256(self.root / path)
        except OSError as error:
            raise DataError(f"{self.root / path}: {error.strerror}") from None
        self.rows[path] = [self.stats[path].st_size, self.stats[path].st_mtime_ns, sha256]


def _hashed(listing: Listing, tell: Tell, hashes: _Hashes) -> Manifest:
    unknown = [path for path, _ in listing.files if not hashes.known(path)]
    if unknown:
        try:
            in_threads(hashes.compute, unknown, lambda done: tell(_so_far("comparing", done, len(unknown))))
        finally:  # so that hashes computed before an interruption are kept
            with suppress(OSError):
                write_text(hashes.path, json.dumps(hashes.rows))
    return Manifest.of(Entry(path, name, hashes.rows[path][2]) for path, name in listing.files)


# -- images --------------------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """The images that were read from a manifest's files, as they are cached."""

    images: Tensor
    index: Tensor
    """Which of the manifest's entries they are."""
    damaged: list[tuple[int, str]]
    """Which of them could not be read, and why."""
    scaling: list[str]
    """How images of more than 8 bits were scaled, in sentences."""


def _read(manifest: Manifest, config: DataConfig, tell: Tell) -> _Read:
    entries, damaged = manifest.entries, []
    root, most = config.folder, int(MAX_UNREADABLE * len(manifest.entries))

    def read(i: int) -> Picture | None:
        try:
            path = entries[i].path
            return read_picture(root / path, config.image_size, config.channels, path, background=config.background)
        except DataError as error:
            damaged.append((i, str(error)))
            return None

    def report(done: int) -> None:
        tell(_so_far("reading", done, len(entries)))
        if len(damaged) > most:
            raise DataError(
                f"data.path {root}: of {len(entries):,} images {len(damaged):,} or more cannot be read, and "
                f"{MAX_UNREADABLE:.0%} is the most: {damaged[0][1]}; repair or remove them"
            )

    pictures = in_threads(read, range(len(entries)), report)
    index = [i for i, picture in enumerate(pictures) if picture]
    found = [pictures[i] for i in index]
    levels, scaling = _to_levels(found, [entries[i].path for i in index], root)
    return _Read(torch.stack(levels), torch.tensor(index), sorted(damaged), scaling)


def _to_levels(pictures: Sequence[Picture], paths: Sequence[str], root: Path) -> tuple[list[Tensor], list[str]]:
    """All pictures as uint8; those of more than 8 bits are scaled by the range of all pictures of their kind."""
    levels, scaling = [picture.pixels for picture in pictures], []
    for kind in ("integer", "float", "colour"):
        which = [i for i, picture in enumerate(pictures) if picture.depth and picture.depth.kind == kind]
        if not which:
            continue
        lowest, highest = _range([pictures[i].depth for i in which])
        if kind == "colour":
            if highest < 64:
                raise DataError(
                    f"data.path {root}: the colours of {paths[which[0]]} and {len(which) - 1:,} more have 16 bits, of "
                    "which the highest two or more are never used; only the highest eight can be read: save them with 8"
                )
            continue
        black, white = full_range(kind, lowest, highest)
        for i in which:
            levels[i] = scaled_levels(levels[i], black, white)
        what = "integers of more than 8 bits" if kind == "integer" else "floats"
        scaling.append(
            f"of {len(which):,} images the pixels are {what}, {lowest:g} to {highest:g} over all of them: "
            f"{black:g} is black and {white:g} white"
        )
    return levels, scaling


def _range(depths: Iterable[Depth]) -> tuple[float, float]:
    depths = list(depths)
    return min(depth.lowest for depth in depths), max(depth.highest for depth in depths)


def _notes(manifest: Manifest, read: _Read) -> list[str]:
    notes = []
    if read.damaged:
        first = "; ".join(reason for _, reason in read.damaged[:3])
        more = len(read.damaged) - 3
        notes.append(
            f"{len(read.damaged):,} of {len(manifest.entries):,} images cannot be read and were skipped: {first}"
            + (f"; and {more:,} more" if more > 0 else "")
        )
    notes += read.scaling
    flat = read.images.flatten(1)
    if constant := int((flat.amax(1) == flat.amin(1)).sum()):
        notes.append(f"{constant:,} of {len(flat):,} images are all of one level, with nothing to see in them")
    contents = {entry.sha256 for entry in manifest.entries}
    if copies := len(manifest.entries) - len(contents):
        notes.append(f"{copies:,} of {len(manifest.entries):,} images are copies of others, to the byte")
    return notes


def _so_far(what: str, done: int, total: int) -> str:
    return f"{what} {done:,} of {total:,} images"


def in_threads(function: Callable[[T], R], items: Sequence[T], report: Callable[[int], None]) -> list[R]:
    """Apply ``function`` to every item, in as many threads as there are cores.

    ``report`` is called several times a second, and at the end, with how many are done. If it raises, the work stops;
    threads in the middle of an item then finish it in the background.
    """
    results: list[Any] = [None] * len(items)
    done, told = 0, 0.0
    with ThreadPool(CORES) as pool:
        found = pool.imap_unordered(lambda i: (i, function(items[i])), range(len(items)))
        while done < len(items):
            with suppress(NotYet):
                i, result = found.next(TICK)
                results[i], done = result, done + 1
            if time.monotonic() - told > TICK or done == len(items):
                told = time.monotonic()
                report(done)
    return results


# -- the cache -----------------------------------------------------------------------------------------------------


def _kept_dir() -> Path:
    return output_dir() / ".folders"


def _kept_at(manifest: Manifest, config: DataConfig) -> Path:
    how = (READING, PIL.__version__, manifest.digest, config.image_size, config.channels, config.background)
    return _kept_dir() / f"images-{hashlib.sha256(repr(how).encode()).hexdigest()[:32]}.safetensors"


def _take(path: Path) -> _Read | None:
    """The images cached in a file, None if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            read = _Read(file.get_tensor("images"), file.get_tensor("index"), about["damaged"], about["scaling"])
        os.utime(path)  # the least recently used goes first
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        path.unlink(missing_ok=True)
        return None
    return read


def _keep(read: _Read, path: Path) -> tuple[str, ...]:
    """Cache what was read; returns the reason if that cannot be done."""
    if read.images.numel() > MAX_KEPT:
        return (f"not kept for the next time: the images are more than {MAX_KEPT / 1e9:.0f} GB",)
    about = json.dumps({"damaged": read.damaged, "scaling": read.scaling})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        with atomic_write(path) as temporary:
            save_file({"images": read.images, "index": read.index}, temporary, {"about": about})
        _make_room(path.parent)
    except (OSError, SafetensorError) as error:
        return (f"not kept for the next time: {one_line(error)}",)
    return ()


def _make_room(folder: Path) -> None:
    total = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        total += path.stat().st_size
        if total > MAX_KEPT:
            path.unlink(missing_ok=True)
