"""A picture's fingerprint: short enough for a link, and good to say how far another computation of it is off.

A hash tells whether two pictures are the same to the last pixel. On other hardware a sum may round to another level,
which a hash cannot tell from another picture: so a few dozen pixels go with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ConfigError

SAMPLED = 96
HASH_LENGTH = 12


class Comparison(NamedTuple):
    """``exact``: every pixel is the same. ``largest``: the largest difference of those sampled, in levels of 255."""

    exact: bool
    largest: int


def fingerprint(images: Tensor) -> str:
    """The fingerprint of uint8 images (N, C, H, W): letters, digits, - and _ that stand in a URL as they are."""
    return _hash(images) + base64.urlsafe_b64encode(bytes(_sampled(images).tolist())).decode().rstrip("=")


def compare(expected: str, images: Tensor) -> Comparison:
    """How these uint8 images differ from those that ``expected`` is the fingerprint of.

    Raises:
        ConfigError: ``expected`` is no fingerprint.
    """
    try:
        levels = base64.b64decode(expected[HASH_LENGTH:].encode() + b"==", altchars=b"-_", validate=False)
    except (binascii.Error, UnicodeEncodeError):
        levels = b""
    if len(levels) != SAMPLED:
        raise ConfigError(f"{expected[:40]!r} is no fingerprint of a picture: it was cut off or changed")
    difference = _sampled(images).int() - torch.tensor(list(levels), dtype=torch.int)
    return Comparison(expected[:HASH_LENGTH] == _hash(images), int(difference.abs().max()))


def _hash(images: Tensor) -> str:
    shape = repr(tuple(images.shape)).encode()
    return hashlib.sha256(shape + images.contiguous().numpy().tobytes()).hexdigest()[:HASH_LENGTH]


def _sampled(images: Tensor) -> Tensor:
    """Pixels from all over, at places that depend on the shape alone."""
    flat = images.flatten()
    places = torch.randint(0, len(flat), (SAMPLED,), generator=torch.Generator().manual_seed(len(flat)))
    return flat[places]
