"""Make a dataset of the output folder from images that arrive, and keep what was seen on the way.

It lies in ``images/<name>`` of the output folder, whole or not at all: images are read, counted and written beside it,
and renamed into place.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import statistics
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import PIL.Image

from ..errors import DataError
from ..files import output_dir
from ..names import in_short
from .arriving import MOST, Image, Most, Sorted, sort_in
from .decode import KINDS, in_colour, read_image
from .manifest import TAKEN, natural
from .reading import in_threads

MAX_NAME = 60  # characters of a dataset's name, so that its runs have room for a number
MAX_FILE_NAME = 100  # characters, of which UTF-8 has up to four bytes
SEEN_AT = 64  # pixels at which an image is decoded to see what it is
STALE = 86_400  # seconds after which what somebody killed has begun is removed

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Taken:
    """A dataset of the output folder."""

    name: str
    images: int
    classes: dict[str, int]
    """Images by class, in the order of their labels; {} if there are none."""
    skipped: tuple[str, ...]
    """What was left out and why, in sentences."""
    side: int
    """Median of the shorter sides, in pixels."""
    coloured: float
    """Share of the images with colour in them."""

    @property
    def folder(self) -> Path:
        return images_dir() / self.name


def images_dir() -> Path:
    """The folder of the datasets that were taken in."""
    return output_dir() / "images"


def take_in(
    files: Sequence[tuple[str, BinaryIO]], *, most: Most = MOST, tell: Tell = lambda done, total: None
) -> Taken:
    """Make a dataset of files, folders or ZIPs, with the folders as classes.

    Every image is decoded. One that cannot be read is left out, and named. A name that is taken stays as it is: the
    new dataset gets a number.

    Args:
        files: the path or name of each as the browser gave it, and its content.
        tell: called several times a second with how many images are read, and of how many.

    Raises:
        DataError: what has arrived cannot be used, see ``sort_in``; or fewer than two images can be read.
        OSError: it cannot be written.
    """
    found = sort_in(files, most)
    _check_room(found)
    images_dir().mkdir(parents=True, exist_ok=True)
    _remove_stale()
    staging = Path(tempfile.mkdtemp(dir=images_dir(), prefix=".taking-"))
    try:
        taken = _write(found, staging, most, tell)
        (staging / TAKEN).write_text(json.dumps(asdict(taken) | {"name": None}), encoding="utf-8")
        staging.chmod(0o755)  # mkdtemp makes it private to its owner
        return _into_place(staging, taken, slug(found.name))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def all_taken() -> list[str]:
    """The names of the datasets that were taken in, the newest first."""
    found = sorted(images_dir().glob(f"[!.]*/{TAKEN}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in found]


def taken(name: str) -> Taken:
    """A dataset that was taken in.

    Raises:
        DataError: there is none of that name, or what was kept about it is damaged.
    """
    path = images_dir() / name / TAKEN
    if name not in all_taken():
        raise DataError(f"no images called {name!r} are in {images_dir()}")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        classes = {str(key): int(count) for key, count in kept["classes"].items()}
        return Taken(name, int(kept["images"]), classes, tuple(map(str, kept["skipped"])), int(kept["side"]),
                     float(kept["coloured"]))  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is damaged: delete {path.parent} and send the images again") from None


def forget(name: str) -> None:
    """Delete a dataset that was taken in.

    Raises:
        DataError: there is none of that name.
    """
    if name not in all_taken():
        raise DataError(f"no images called {name!r} are in {images_dir()}")
    shutil.rmtree(images_dir() / name)


def slug(text: str) -> str:
    """A name that a dataset and a run can have: ``Holiday 2024`` is ``holiday-2024``; ``images`` if nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9_]+", "-", plain)[:MAX_NAME].strip("-_") or "images"


# -- writing -------------------------------------------------------------------------------------------------------


class _Looked(NamedTuple):
    class_name: str
    side: int
    coloured: bool


def _write(found: Sorted, staging: Path, most: Most, tell: Tell) -> Taken:
    places = _places(found.images)
    for folder in {place.parent for place in places}:
        (staging / folder).mkdir(exist_ok=True)
    unreadable: list[str] = []

    def one(i: int) -> _Looked | None:
        image = found.images[i]
        try:
            content = _content(image, most)
            looked = _look(content, image, most)
        except DataError as error:
            unreadable.append(str(error))
            return None
        (staging / places[i]).write_bytes(content)
        return looked

    total = len(found.images)
    looked = in_threads(one, range(total), lambda done: tell(done, total))
    kept = [each for each in looked if each]
    if len(kept) < 2:
        raise DataError(f"{len(kept)} of {total:,} images can be read, and training takes at least 2: {unreadable[0]}")
    counts = Counter(each.class_name for each in kept)
    skipped = [*found.skipped]
    if unreadable:
        skipped.append(f"{len(unreadable):,} images that cannot be read: {in_short(sorted(unreadable), 3)}")
    return Taken(
        "",
        len(kept),
        {name: counts[name] for name in sorted(counts.keys() - {""}, key=natural)},
        tuple(skipped),
        int(statistics.median(each.side for each in kept)),
        sum(each.coloured for each in kept) / len(kept),
    )


def _content(image: Image, most: Most) -> bytes:
    """The bytes of an image's file, never more than are possible, whatever its size was said to be."""
    path = image.arrival.path
    content = image.arrival.read(most.image_bytes + 1)
    if len(content) > most.image_bytes or len(content) > image.arrival.size:
        raise DataError(f"{path} has more bytes than it says")
    return content


def _look(content: bytes, image: Image, most: Most) -> _Looked:
    pixels = read_image(io.BytesIO(content), SEEN_AT, 3, image.arrival.path, max_pixels=most.pixels, kinds=KINDS)
    with PIL.Image.open(io.BytesIO(content), formats=KINDS) as opened:
        side = min(opened.size)
    return _Looked(image.class_name, side, in_colour(pixels))


def _places(images: Sequence[Image]) -> list[Path]:
    """Where each image goes, its class and a name of its own; neither can lead anywhere else."""
    found, used = [], set()
    for image in images:
        if image.class_name and (image.class_name.strip(". ") == "" or len(image.class_name) > MAX_FILE_NAME):
            raise DataError(f"the folder {image.class_name[:80]!r} cannot be a class: rename it, with 1 to 100 letters")
        given = PurePosixPath(image.arrival.path)
        stem = "".join(c if c.isprintable() else "_" for c in given.stem)[: MAX_FILE_NAME - 20].strip(" .") or "image"
        names = (f"{stem}{f'-{n}' if n > 1 else ''}{given.suffix.lower()}" for n in itertools.count(1))
        place = next(place for name in names if (place := Path(image.class_name, name)) not in used)
        used.add(place)
        found.append(place)
    return found


def _check_room(found: Sorted) -> None:
    if (images_dir() / "config.yaml").exists():
        raise DataError(f"{images_dir()} is the folder of a run, and images that arrive go there: rename the run")
    needed = sum(image.arrival.size for image in found.images)
    above = next(folder for folder in (images_dir(), *images_dir().absolute().parents) if folder.exists())
    if needed > (free := shutil.disk_usage(above).free):
        raise DataError(f"the images have {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {above}")


def _into_place(staging: Path, taken: Taken, name: str) -> Taken:
    for number in itertools.count(1):
        free = f"{name}-{number}" if number > 1 else name
        if (images_dir() / free).exists():
            continue
        try:
            os.rename(staging, images_dir() / free)
        except FileExistsError:
            continue  # somebody else was quicker
        return Taken(**(asdict(taken) | {"name": free}))
    raise AssertionError("numbers do not end")


def _remove_stale() -> None:
    for path in images_dir().glob(".taking-*"):
        if time.time() - path.stat().st_mtime > STALE:
            shutil.rmtree(path, ignore_errors=True)
