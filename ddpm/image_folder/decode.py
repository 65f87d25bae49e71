"""Decode an image file: upright, on a background where it is transparent, cropped to a centred square, and scaled.

Files come from anywhere, so nothing in them is trusted: only the orientation is read from EXIF, and whatever Pillow
raises becomes one ``DataError`` that names the file.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageColor, PngImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base
from torch import Tensor

from ..errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
KINDS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")  # Pillow's names of these formats
COLOUR = 24  # levels between the channels of a pixel; compression alone causes less
MAX_PIXELS = 200_000_000  # of an image file, in any format
MAX_MEMORY = 8 * MAX_PIXELS  # bytes that all images being decoded take together: 1.6 GB
WHITE = "white"

# Pillow warns at 90 million pixels and refuses 180; the limit here is MAX_PIXELS, or the caller's.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# A photograph may have a long description. All texts of a PNG together stay limited, to 67 MB once unpacked.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
# Pillow warns of damaged metadata, which are not read.
warnings.filterwarnings("ignore", module=r"PIL\.")

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by the value of EXIF's orientation; 1 is upright


class Depth(NamedTuple):
    """For an image with more than 8 bits per value: what its values are, and the lowest and highest among them.

    Of ``colour``, 16 bits for each of red, green and blue, only the upper 8 can be read; the range is of those.
    """

    kind: Literal["integer", "float", "colour"]
    lowest: float
    highest: float


class Picture(NamedTuple):
    """An image file, read: (C, size, size) uint8; if ``integer`` or ``float``, float32 in its own values."""

    pixels: Tensor
    depth: Depth | None


def colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of ``white``, ``black`` or ``#rrggbb``."""
    red, green, blue, *_ = ImageColor.getrgb(text)
    return red, green, blue


def read_image(
    file: Path | BinaryIO, size: int, channels: int, name: str = "", *,
    background: str = WHITE, max_pixels: int = MAX_PIXELS, kinds: tuple[str, ...] | None = None,
) -> Tensor:  # fmt: skip
    """An image file as uint8 (``channels``, size, size); see ``read_picture``.

    Integers of more than 8 bits and floats are scaled by the range of this file alone (``full_range``).

    Raises:
        DataError: it is no image of these kinds, is damaged, or has more than ``max_pixels``.
    """
    read = read_picture(file, size, channels, name, background=background, max_pixels=max_pixels, kinds=kinds)
    depth = read.depth
    if depth is None or depth.kind == "colour":
        return read.pixels
    return scaled_levels(read.pixels, *full_range(depth.kind, depth.lowest, depth.highest))


def read_picture(
    file: Path | BinaryIO, size: int, channels: int, name: str = "", *,
    background: str = WHITE, max_pixels: int = MAX_PIXELS, kinds: tuple[str, ...] | None = None,
) -> Picture:  # fmt: skip
    """Read an image file: turn it upright, crop it to a centred square, and scale it to ``size``.

    A JPEG much larger than that is decoded at an eighth, a quarter or half of its size, and at least twice ``size``.

    Args:
        file: a path, or an open file that errors call ``name``.
        background: what shows where the image is transparent, see ``colour``.
        max_pixels: the most that is decoded.
        kinds: Pillow's names of the formats to accept; by default all that it knows.

    Raises:
        DataError: it is no image of these kinds, is damaged, or has more than ``max_pixels``.
    """
    name = name or str(file)
    try:
        with Image.open(file, formats=kinds) as image:  # which reads only the header
            full = image.width * image.height
            if full > max_pixels:
                raise DataError(f"{name} has {image.width:,} x {image.height:,} pixels; {max_pixels:,} is the most")
            if image.format == "PNG":
                image.verify()  # its checksums, or damaged pixels would go unnoticed
        with Image.open(file, formats=kinds) as image:  # again, since nothing can be read after verify()
            image.draft(None, (2 * size, 2 * size))  # affects only JPEGs
            with _unpacking(_memory(image, full)):
                return _picture(image, size, channels, colour(background))
    except UnidentifiedImageError:
        raise DataError(f"{name} cannot be read as an image: its content is of no known kind") from None
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers let through whatever error a damaged file leads to
        reason = (str(error).strip().splitlines() or [""])[0]
        raise DataError(f"{name} cannot be read as an image: {reason or type(error).__name__}") from None


def in_colour(pixels: Tensor) -> bool:
    """Whether an image, (3, H, W) uint8, is in colour and not only saved so."""
    levels = pixels.int()
    return bool(((levels.amax(0) - levels.amin(0)) > COLOUR).float().mean() > 0.01)


def full_range(kind: str, lowest: float, highest: float) -> tuple[float, float]:
    """Which values become black and white, for images whose values all lie between ``lowest`` and ``highest``.

    Unsigned integers go from 0 to the largest number with as many bits as the highest, at least 8, so that 12 bits in a
    16-bit file keep their 4,096 levels. Floats within 0 to 1 go from 0 to 1. All else goes from lowest to highest.
    """
    if kind == "integer" and lowest >= 0:
        return 0.0, float(2 ** max(8, int(highest).bit_length()) - 1)
    if kind == "float" and lowest >= 0 and highest <= 1:
        return 0.0, 1.0
    return lowest, highest


def scaled_levels(values: Tensor, black: float, white: float) -> Tensor:
    """Values as uint8, ``black`` at 0 and ``white`` at 255; all 0 if these are the same."""
    return ((values.double() - black) * (255 / max(white - black, 1e-300))).round().clamp(0, 255).to(torch.uint8)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1, which is upright, if EXIF is damaged or says something else, and for a TIFF, which Pillow turns."""
    if image.format == "TIFF":
        return 1
    try:
        value = image.getexif().get(Base.Orientation.value)
    except Exception:  # of 6,000 damaged EXIFs 1,200 raised one of six kinds: such a file says nothing of orientation
        return 1
    return value if isinstance(value, int) and value in TURNS else 1


def _picture(image: Image.Image, size: int, channels: int, ground: tuple[int, int, int]) -> Picture:
    deep_colour = any(";16" in str(tile.args) for tile in image.tile)
    turn = TURNS.get(_orientation(image))  # this decodes a PNG, whose EXIF may be at the end
    if image.mode.startswith("I") or image.mode == "F":
        values, depth = _deep(image)
        small = _cut(Image.fromarray(values), size, turn)
        return Picture(torch.from_numpy(np.array(small)).expand(channels, size, size).clone(), depth)
    if image.has_transparency_data:
        clear = _cut(image if image.mode in ("RGBA", "LA") else image.convert("RGBA"), size, turn).convert("RGBA")
        small = Image.alpha_composite(Image.new("RGBA", clear.size, (*ground, 255)), clear)
    else:
        small = _cut(image if image.mode in ("L", "RGB") else image.convert("RGB"), size, turn)
    depth = None
    if deep_colour:
        extremes = image.convert("RGB").getextrema()
        depth = Depth("colour", min(low for low, _ in extremes), max(high for _, high in extremes))
    pixels = torch.from_numpy(np.array(small.convert("L" if channels == 1 else "RGB")))
    return Picture(pixels[None] if channels == 1 else pixels.permute(2, 0, 1), depth)


def _cut(image: Image.Image, size: int, turn: Image.Transpose | None) -> Image.Image:
    """The centred square, scaled and then turned; Pillow weights colours by their alpha."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    small = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return small if turn is None else small.transpose(turn)


def _deep(image: Image.Image) -> tuple[np.ndarray, Depth]:
    """The values of a grey image of integers with more than 8 bits, or of floats, as float32, and their depth."""
    values = np.asarray(image)
    kind: Literal["integer", "float"] = "float" if image.mode == "F" else "integer"
    if image.mode == "I" and image.format == "TIFF" and image.tag_v2.get(339, (1,))[0] == 1:  # unsigned
        values = values.view(np.uint32)
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite([lowest, highest]).all():
        raise ValueError("some of its values are not finite")
    return values.astype(np.float32), Depth(kind, lowest, highest)


# -- memory --------------------------------------------------------------------------------------------------------

_taken, _free = 0, threading.Condition()


@contextmanager
def _unpacking(memory: int) -> Iterator[None]:
    """Wait until ``memory`` more bytes fit into ``MAX_MEMORY``, over all threads of this process."""
    global _taken
    memory = min(memory, MAX_MEMORY)
    with _free:
        _free.wait_for(lambda: _taken + memory <= MAX_MEMORY)
        _taken += memory
    try:
        yield
    finally:
        with _free:
            _taken -= memory
            _free.notify_all()


def _memory(image: Image.Image, full: int) -> int:
    """Peak bytes of decoding: Pillow holds 4 for a pixel in colour, and as many again if it has to convert it.

    The decoder of a progressive JPEG holds 2 for each of its coefficients, of all ``full`` pixels.
    """
    pixels = image.width * image.height
    held = pixels * (4 if image.mode in ("L", "RGB") and not image.has_transparency_data else 8)
    if image.info.get("progressive") and (layers := getattr(image, "layer", None)):
        most = max(h * v for _, h, v, *_ in layers)
        held += 2 * full * sum(h * v for _, h, v, *_ in layers) // most
    return held
