"""Recipes: what a picture or a movie was made with, inside its file.

A PNG holds it as text under the keyword ``ddpm``, a GIF and an MP4 as their comment. It is JSON: the model and the
SHA-256 of its weights, and the link of the page that opens with the same settings.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..errors import DataError
from .images import RECIPE

MAKER = "DDPM Lab"
MOST_LETTERS = 50_000  # of a recipe that is read


class Recipe(NamedTuple):
    """What a picture was made with."""

    model: str
    """Its reference."""
    sha256: str
    """Of its weights."""
    page: str
    """The page that made it: playground, draw."""
    link: str
    """The query that opens the page with the same settings."""

    def text(self) -> str:
        return json.dumps({"made_by": MAKER, **self._asdict()})


def read_recipe(content: bytes) -> Recipe:
    """The recipe inside a PNG, GIF or MP4.

    Raises:
        DataError: the file is none of these, or holds no recipe, as after it was converted or cut.
    """
    text = _mp4_comment(content) if content[4:8] == b"ftyp" else _picture_text(content)
    try:
        values = json.loads(text[:MOST_LETTERS])
        recipe = Recipe(*(values[name] for name in Recipe._fields))
        if values["made_by"] != MAKER or not all(isinstance(value, str) for value in recipe):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError("the file holds no recipe: it was made elsewhere, or lost it when it was converted") from None
    if not re.fullmatch(r"[a-z_]+", recipe.page):
        raise DataError(f"the file's recipe names no page: {recipe.page[:40]!r}")
    return recipe


def _picture_text(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "GIF")) as image:
            if image.format == "PNG":
                image.load()  # texts may come after the pixels
            found = image.info.get(RECIPE, image.info.get("comment", ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the file is no PNG, GIF or MP4 that can be read ({str(error)[:80]})") from None
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


def _mp4_comment(content: bytes) -> str:
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.mp4"
        path.write_bytes(content)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "ffmetadata", "-"]
        said = subprocess.run(command, capture_output=True, timeout=30).stdout.decode(errors="replace")
    found = re.search(r"^comment=((?:[^\n\\]|\\.)*)", said, re.MULTILINE | re.DOTALL)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else ""
