"""Strokes of a pen as text, as pixels, and as a mask.

A stroke is a width and points, in thousandths of the side of a square, from the top left: ``60:120,400;130,410`` is a
short line, ``|`` comes between strokes. A page's canvas writes such text, a link holds it, and tests draw with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..errors import DataError

UNIT = 1000
MOST_LETTERS = 20_000  # about three thousand points
FINER = 8  # pixels that one pixel is averaged of, along each side
A_THREE = "95:290,230;420,160;600,180;660,290;560,420;440,470|95:440,470;600,520;700,640;620,780;450,840;280,790"
"""What a page has on its canvas before one draws, for a model of digits."""
A_RING = "95:500,220;698,302;780,500;698,698;500,780;302,698;220,500;302,302;500,220"
"""The same for a model of anything else."""
LOWER_HALF = "250:150,640;850,640|250:150,840;850,840"
"""What it has painted over."""
_STROKE = re.compile(r"\d{1,3}:\d{1,4},\d{1,4}(;\d{1,4},\d{1,4})*")


class Stroke(NamedTuple):
    """A line of round ends through ``points`` (x, y), all in thousandths of the side."""

    width: int
    points: tuple[tuple[int, int], ...]


def read_strokes(text: str) -> list[Stroke]:
    """Strokes from their text.

    Raises:
        DataError: it is none, or too long.
    """
    if len(text) > MOST_LETTERS:
        raise DataError(f"a drawing may have {MOST_LETTERS:,} letters as text; this one has {len(text):,}")
    pieces = [piece for piece in text.split("|") if piece]
    if wrong := next((piece for piece in pieces if not _STROKE.fullmatch(piece)), None):
        raise DataError(f"{wrong[:40]!r} is no stroke: it must look like 60:120,400;130,410, a width and points")
    return [_stroke(piece) for piece in pieces]


def _stroke(piece: str) -> Stroke:
    width, points = piece.split(":")
    pairs = (point.split(",") for point in points.split(";"))
    return Stroke(max(1, int(width)), tuple((min(int(x), UNIT), min(int(y), UNIT)) for x, y in pairs))


def strokes_text(strokes: Sequence[Stroke]) -> str:
    """The text of strokes."""
    return "|".join(f"{width}:{';'.join(f'{x},{y}' for x, y in points)}" for width, points in strokes)


def draw_strokes(strokes: Sequence[Stroke], size: int) -> Tensor:
    """How much of each pixel the strokes cover: (1, size, size) floats, 0 to 1."""
    side = FINER * size
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for width, points in strokes:
        places = [(x * side / UNIT, y * side / UNIT) for x, y in points]
        thick = max(1, round(width * side / UNIT))
        if len(places) > 1:
            pen.line(places, 255, thick, joint="curve")
        for x, y in places:
            pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], 255)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(1, size, size) / 255


def sketch_of(strokes: Sequence[Stroke], size: int, channels: int = 1) -> Tensor:
    """The strokes as an image, white on black: (1, channels, size, size) in [-1, 1]."""
    return (draw_strokes(strokes, size) * 2 - 1).expand(1, channels, -1, -1)


def mask_of(strokes: Sequence[Stroke], size: int) -> Tensor:
    """Where the strokes cover at least half of a pixel: bool (1, 1, size, size)."""
    return draw_strokes(strokes, size)[None] >= 0.5
