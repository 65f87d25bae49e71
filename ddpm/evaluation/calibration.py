"""Calibration: how well a network tells noise from image at every timestep (the seed report's table)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import q_sample
from ..models import Model
from ..randomness import ImageNoise

SEED_TIMESTEPS = tuple(range(0, 1000, 111))


@dataclass(frozen=True)
class CalibrationRow:
    """Means over the images at one timestep."""

    t: int
    mse: float
    """Of the predicted noise, mean over pixels."""
    psnr: float
    """Of the predicted x0 in dB: per image, clamped and mapped to [0, 1], range 1; then the mean over images."""


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (N,): both clamped to [-1, 1] and mapped to [0, 1], range 1."""
    error = (images.clamp(-1, 1) - reference.clamp(-1, 1)) / 2
    return -10 * error.square().flatten(1).mean(1).log10()


@torch.inference_mode()
def calibrate(
    model: Model, images: Tensor, timesteps: Sequence[int], seed: int = 0, batch_size: int = 250
) -> Iterator[CalibrationRow]:
    """Noise every image once at every timestep, without a class, and compare what the model predicts with the truth.

    Args:
        images: (N, C, H, W) in [-1, 1].
        timesteps: each in 0..T-1.
        seed: image k at timestep t has the noise of (seed, t, k), whatever the batch size.
    """
    denoise = model.denoiser(clip=False)
    for t in timesteps:
        mse, quality = [], []
        for first in range(0, len(images), batch_size):
            x0 = images[first : first + batch_size].to(model.device)
            keys = [f"calibration/{t}/{first + k}" for k in range(len(x0))]
            eps = ImageNoise(seed, keys, x0.shape[1:], model.device)()
            steps = torch.full((len(x0),), t, device=model.device)
            prediction = denoise(q_sample(model.schedule, x0, steps, eps), steps)
            mse.append((prediction.eps - eps).square().flatten(1).mean(1).cpu())
            quality.append(psnr(prediction.x0, x0).cpu())
        yield CalibrationRow(t, torch.cat(mse).double().mean().item(), torch.cat(quality).double().mean().item())
