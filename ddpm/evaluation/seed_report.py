"""The numbers of the report that this project set out to beat, stored only here.

Source: "DDPM Training Report" of 24 August 2025, MNIST at 32x32, T = 1000, linear schedule, eps-prediction, evaluated
on the averaged weights. It states neither how many images it used nor an uncertainty.
"""

from __future__ import annotations

from typing import NamedTuple


class SeedReport(NamedTuple):
    """Its calibration table, and the diversity of its samples from 50 DDIM steps."""

    dataset: str
    timesteps: tuple[int, ...]
    mse: tuple[float, ...]
    """Of the predicted noise, mean over pixels."""
    psnr: tuple[float, ...]
    """Of the predicted x0, in dB."""
    lpips_diversity: float
    pixel_diversity: float


SEED_REPORT = SeedReport(
    dataset="mnist",
    timesteps=(0, 111, 222, 333, 444, 555, 666, 777, 888, 999),
    mse=(
        0.28144953213632107, 0.038997002141550184, 0.026960796462371945, 0.020087096188217402, 0.014219498471356928,
        0.007657712011132389, 0.0023239880555775017, 0.0005230542350909673, 0.00012592900806339456,
        6.481795371655607e-05,
    ),
    psnr=(
        52.03175926208496, 28.797238178253174, 23.81034502029419, 20.145837421417237, 16.80178322792053,
        14.039913501739502, 13.013586149215698, 12.45331386566162, 10.916597442626953, 7.801564230918884,
    ),
    lpips_diversity=0.09361821180209517,
    pixel_diversity=0.34047865867614746,
)  # fmt: skip
