"""Recipes: a file says what made it, whichever kind it is, and others are refused."""

import io

import pytest
from PIL import Image

from ddpm.errors import DataError
from ddpm.media.images import gif_bytes, mp4_bytes, png_bytes
from ddpm.media.recipe import Recipe, read_recipe

RECIPE = Recipe("mnist", "a" * 64, "playground", "play_model=mnist&play_draw=a=b;c#d\\e&play_seed=7")
FRAMES = [Image.new("L", (64, 64), grey) for grey in (0, 120, 255)]
ENCODERS = {
    "png": lambda recipe: png_bytes(FRAMES[0], recipe),
    "gif": lambda recipe: gif_bytes(FRAMES, recipe=recipe),
    "mp4": lambda recipe: mp4_bytes(FRAMES, recipe=recipe),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_file_gives_its_recipe_back(kind):
    assert read_recipe(ENCODERS[kind](RECIPE.text())) == RECIPE


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("text", ["", "hello", "[]", '{"made_by": "DDPM Lab"}', '{"made_by": "X", "model": "m"}'])
def test_a_file_without_one_says_so(kind, text):
    with pytest.raises(DataError, match="holds no recipe"):
        read_recipe(ENCODERS[kind](text))


def test_a_page_that_is_none_is_refused():
    with pytest.raises(DataError, match="names no page: '//evil'"):
        read_recipe(png_bytes(FRAMES[0], RECIPE._replace(page="//evil").text()))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"0000ftypisom"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(DataError, match=r"no PNG, GIF or MP4|holds no recipe"):
        read_recipe(content)


def test_a_picture_of_another_program_is_no_recipe():
    buffer = io.BytesIO()
    FRAMES[0].save(buffer, "JPEG")
    with pytest.raises(DataError, match="no PNG, GIF or MP4"):
        read_recipe(buffer.getvalue())
