"""Fingerprints: exact where the picture is, a measure where it is not, an error where they are none."""

import re

import pytest
import torch

from ddpm.errors import ConfigError
from ddpm.media.fingerprint import SAMPLED, compare, fingerprint


@pytest.fixture
def images():
    return torch.randint(10, 240, (10, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_picture_matches_its_own_fingerprint_which_stands_in_a_url_as_it_is(images):
    text = fingerprint(images)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert len(text) == 12 + SAMPLED * 4 // 3
    assert compare(text, images) == (True, 0)
    assert compare(fingerprint(images[:3]), images[:3]) == (True, 0)


@pytest.mark.parametrize("levels", [1, 7])
def test_the_largest_difference_is_told(images, levels):
    assert compare(fingerprint(images), images + levels) == (False, levels)


def test_one_changed_pixel_is_another_picture(images):
    changed = images.clone()
    changed[3, 0, 5, 5] += 1
    assert not compare(fingerprint(images), changed).exact


@pytest.mark.parametrize("text", ["", "x", "a" * 139, "a" * 141, "ä" * 140, "0" * 12 + "!" * 128])
def test_what_is_no_fingerprint_is_an_error(images, text):
    with pytest.raises(ConfigError, match="is no fingerprint of a picture"):
        compare(text, images)
