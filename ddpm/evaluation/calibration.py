"""Calibration: how well a network tells noise from image at every timestep (the seed report's table)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..device import over_cores
from ..diffusion import Denoiser, q_sample
from ..randomness import ImageNoise
from .results import unavailable
from .seed_report import SEED_REPORT

if TYPE_CHECKING:
    from ..schedule import NoiseSchedule

SEED_TIMESTEPS = SEED_REPORT.timesteps
COLUMNS = ("mse", "mse_ci95", "psnr", "psnr_ci95", "ssim", "ssim_ci95", "mse_x0", "identity_residual")
SSIM_MIN_SIZE = 6  # its window of 11 pixels reflects 5 of them at every border


@dataclass(frozen=True)
class CalibrationRow:
    """Means over the images at one timestep.

    ``..._ci95`` is half the width of a 95 % confidence interval of the mean: 1.96 standard errors over the images, each
    noised once (the normal interval, which includes the variation due to the noise).
    """

    t: int
    num_images: int
    mse: float
    """Of the predicted noise, mean over pixels."""
    mse_ci95: float
    psnr: float
    """Of the predicted x0 in dB: per image, clamped and mapped to [0, 1], range 1; then the mean over images."""
    psnr_ci95: float
    ssim: float | None
    """Of the predicted x0, likewise clamped and mapped; None for images smaller than its window."""
    ssim_ci95: float | None
    mse_x0: float
    """Of the predicted x0 before it is clamped."""
    identity_residual: float
    """|MSE_eps - SNR x MSE_x0|, relative to the larger: 0 but for rounding, else the prediction contradicts itself."""


@dataclass(frozen=True, eq=False)
class ImageErrors:
    """The errors of a denoiser at one timestep, image by image: (N,) each; ``snr`` is that of the timestep."""

    t: int
    snr: float
    mse: Tensor
    mse_x0: Tensor
    psnr: Tensor
    ssim: Tensor | None

    def row(self, chosen: Tensor | None = None) -> CalibrationRow:
        """The means over all images, or over those where ``chosen`` (N,) is true."""
        images = slice(None) if chosen is None else chosen
        mse, mse_ci95 = mean_and_ci95(self.mse[images])
        psnr, psnr_ci95 = mean_and_ci95(self.psnr[images])
        ssim, ssim_ci95 = (None, None) if self.ssim is None else mean_and_ci95(self.ssim[images])
        mse_x0 = mean_and_ci95(self.mse_x0[images])[0]
        larger = max(mse, self.snr * mse_x0)
        residual = abs(mse - self.snr * mse_x0) / larger if larger else 0.0
        return CalibrationRow(
            self.t, len(self.mse[images]), mse, mse_ci95, psnr, psnr_ci95, ssim, ssim_ci95, mse_x0, residual
        )


def mean_and_ci95(values: Tensor) -> tuple[float, float]:
    """The mean of (N,) values, and half the width of its normal 95 % interval; 0 for a single value."""
    values = values.double()
    spread = values.std().item() if len(values) > 1 else 0.0
    return values.mean().item(), 1.96 * spread / len(values) ** 0.5


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (N,): both clamped to [-1, 1] and mapped to [0, 1], range 1."""
    error = (images.clamp(-1, 1) - reference.clamp(-1, 1)) / 2
    return -10 * error.square().flatten(1).mean(1).log10()


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), (N,): clamped to [-1, 1], mapped to [0, 1], range 1.

    Gaussian window of 11 pixels, sigma 1.5, reflected at the borders. Both (N, C, H, W), ``SSIM_MIN_SIZE`` or larger.
    """
    from .. import torchvision_cpu  # noqa: F401, I001  before torchmetrics, which imports torchvision
    from torchmetrics.functional.image import structural_similarity_index_measure

    unit = [(x.float().clamp(-1, 1) + 1) / 2 for x in (images, reference)]
    return structural_similarity_index_measure(*unit, data_range=1.0, reduction="none").view(-1)


@torch.inference_mode()
def image_errors(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    images: Tensor,
    timesteps: Sequence[int],
    seed: int = 0,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> Iterator[ImageErrors]:
    """Noise every image once at every timestep and compare what the denoiser predicts with the ground truth.

    Args:
        denoise: must not clip, since the identity of the two errors holds before clipping.
        images: (N, C, H, W) in [-1, 1].
        timesteps: each in 0..T-1.
        seed: image k at timestep t has the noise of (seed, t, k), whatever the batch size and the denoiser.
    """
    has_ssim = min(images.shape[-2:]) >= SSIM_MIN_SIZE

    @over_cores
    def errors_of(x0: Tensor, eps: Tensor, steps: Tensor) -> Tensor:
        """(n, 3) or, with SSIM, (n, 4)."""
        prediction = denoise(q_sample(schedule, x0, steps, eps), steps)
        squares = [(prediction.eps - eps).square(), (prediction.x0 - x0).square()]
        found = [*(square.flatten(1).mean(1) for square in squares), psnr(prediction.x0, x0)]
        return torch.stack([*found, ssim(prediction.x0, x0)] if has_ssim else found, 1).cpu()

    for t in timesteps:
        found = []
        for first in range(0, len(images), batch_size):
            x0 = images[first : first + batch_size].to(device)
            keys = [f"calibration/{t}/{first + k}" for k in range(len(x0))]
            eps = ImageNoise(seed, keys, x0.shape[1:], device)()
            found.append(errors_of(x0, eps, torch.full((len(x0),), t, device=device)))
        mse, mse_x0, peak, *structure = torch.cat(found).unbind(1)
        yield ImageErrors(t, schedule.snr[t].item(), mse, mse_x0, peak, structure[0] if structure else None)


def table_of(rows: list[CalibrationRow]) -> dict[str, Any]:
    """Calibration rows as columns, with the names of the seed report, and further columns."""
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    if any(row.ssim is None for row in rows):
        columns["ssim"] = columns["ssim_ci95"] = unavailable("SSIM needs images of 6 pixels or more: read PSNR instead")
    return {"timesteps": [row.t for row in rows], **columns, "num_images": rows[0].num_images if rows else 0}


def per_class(errors: list[ImageErrors], labels: Tensor) -> dict[str, Any]:
    """A table for each class, by its label."""
    if int(labels.max()) < 0:
        return unavailable("the images have no labels: put them into one folder for each class")
    return {str(k): table_of([found.row(labels == k) for found in errors]) for k in labels.unique().tolist()}
