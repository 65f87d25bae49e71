"""Reproducible noise, passed in from outside: one CPU generator per image, seeded from (seed, index).

All noise of image k of seed s is bit-identical whatever the batch size, the device or the number of images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 64-bit seed from integers and strings.

    torch's CPU generator keeps only the low 32 bits of a seed, so the parts are hashed (BLAKE2b) instead of added up,
    which keeps neighbouring seeds apart.
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes a signed 64-bit seed


class ImageNoise:
    """Standard normal noise for a batch of images, each drawn from its own generator.

    Args:
        seed: the seed of the whole set of images, or a seed for each image.
        indices: which images of that set: B integers, or other names.
        shape: (C, H, W) of one image.
        device: where to put the noise; it is always drawn on the CPU.
    """

    def __init__(
        self,
        seed: int | Sequence[int],
        indices: Sequence[int | str],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
    ):
        seeds = [seed] * len(indices) if isinstance(seed, int) else seed
        self.generators = [
            torch.Generator().manual_seed(derive_seed(*named)) for named in zip(seeds, indices, strict=True)
        ]
        self.shape, self.device = shape, device

    def __call__(self) -> Tensor:
        """The next noise of every image: (B, C, H, W) float32."""
        noise = torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])
        return noise.to(self.device, non_blocking=torch.device(self.device).type == "cuda")


class NoiseBetween:
    """Noise on the way from one image to another: standard normal everywhere, since cos^2 + sin^2 = 1.

    Args:
        first, second: sources of noise for one image each, such as ``ImageNoise(seed, [0], shape)``.
        shares: how far along each of B images is, 0 to 1.
    """

    def __init__(self, first: Callable[[], Tensor], second: Callable[[], Tensor], shares: Sequence[float]):
        self.first, self.second = first, second
        self.angles = torch.tensor(shares, dtype=torch.float64).mul(torch.pi / 2).view(-1, 1, 1, 1)

    def __call__(self) -> Tensor:
        """The next noise of every image: (B, C, H, W) float32."""
        a, b = self.first(), self.second()
        return self.angles.cos().to(a) * a + self.angles.sin().to(a) * b
