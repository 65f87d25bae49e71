"""Strokes: their text, and the pixels that they cover."""

import math

import pytest

from ddpm.errors import DataError
from ddpm.media.strokes import MOST_LETTERS, Stroke, draw_strokes, mask_of, read_strokes, strokes_text


def test_strokes_are_what_their_text_says():
    text = "60:120,400;130,410|9:0,0"
    strokes = read_strokes(text)
    assert strokes == [Stroke(60, ((120, 400), (130, 410))), Stroke(9, ((0, 0),))]
    assert strokes_text(strokes) == text
    assert read_strokes("") == []
    assert read_strokes("0:5000,1") == [Stroke(1, ((1000, 1),))]  # held within the square


@pytest.mark.parametrize("text", ["60", "60:", "60:1", "60:1,2;", "x:1,2", "60:1,2,3", "60:-1,2", "60:1,2 "])
def test_a_text_that_is_no_stroke_is_named(text):
    with pytest.raises(DataError, match="is no stroke: it must look like 60:120,400;130,410"):
        read_strokes(f"60:1,2|{text}")


def test_a_drawing_may_not_be_endless():
    with pytest.raises(DataError, match="a drawing may have 20,000 letters"):
        read_strokes("60:" + "1,2;" * (MOST_LETTERS // 4))


def test_strokes_cover_their_area():
    size = 64
    line = draw_strokes([Stroke(100, ((300, 500), (700, 500)))], size)
    assert line.shape == (1, size, size)
    expected = 0.4 * 0.1 + math.pi * 0.05**2  # a line and its round ends, in squares of the side
    assert line.mean().item() == pytest.approx(expected, rel=0.03)
    assert (line - line.flip(1)).abs().max() < 2 / 8  # an eighth of a pixel on either side
    assert (line[0, size // 2, 20:44] == 1).all()
    dot = draw_strokes([Stroke(200, ((500, 500),))], size)
    assert dot.mean().item() == pytest.approx(math.pi * 0.1**2, rel=0.03)
    assert draw_strokes([], size).sum() == 0


def test_a_mask_is_what_is_covered_at_least_by_half():
    strokes = [Stroke(250, ((0, 125), (1000, 125)))]
    mask = mask_of(strokes, 8)
    assert mask.shape == (1, 1, 8, 8)
    assert mask[0, 0].tolist() == [[True] * 8] * 2 + [[False] * 8] * 6
