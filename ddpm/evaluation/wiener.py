"""The best linear denoiser: what the training data's mean and covariance alone tell of x0. A network should beat it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import to_float
from ..diffusion import Prediction
from ..errors import MetricError
from ..schedule import NoiseSchedule

MAX_PIXELS = 4096  # the covariance is pixels x pixels, and its eigendecomposition costs the cube of that


@dataclass(frozen=True, eq=False)
class WienerDenoiser:
    """The linear least-squares estimate of x0 (Wiener 1949; Kay 1993, Estimation Theory, eq. 12.20), a ``Denoiser``.

    For x_t = a x0 + s eps and data of mean mu and covariance C, it is mu + a C (a^2 C + s^2 I)^-1 (x_t - a mu): along
    an eigenvector of C with variance v, x_t is shrunk by a v / (a^2 v + s^2). For Gaussian data it is the true
    posterior mean.
    """

    schedule: NoiseSchedule
    mean: Tensor
    """(D,) float64, D = C x H x W."""
    variances: Tensor
    """(D,) float64, 0 or more: the eigenvalues of the covariance."""
    axes: Tensor
    """(D, D) float64: its eigenvectors as columns."""

    @classmethod
    def fit(cls, images: Tensor, schedule: NoiseSchedule, batch_size: int = 4096) -> WienerDenoiser:
        """The denoiser of training images (N, C, H, W) uint8, N of 2 or more.

        Raises:
            MetricError: too many pixels for a covariance matrix.
        """
        pixels = images[0].numel()
        if pixels > MAX_PIXELS:
            raise MetricError(
                f"the linear denoiser needs a covariance of {pixels:,} x {pixels:,} pixels, more than the "
                f"{MAX_PIXELS:,} that are tried: evaluate a model of smaller images"
            )
        total, products = torch.zeros(pixels, dtype=torch.float64), torch.zeros(pixels, pixels, dtype=torch.float64)
        for batch in images.split(batch_size):
            x = to_float(batch).flatten(1).double()
            total += x.sum(0)
            products += x.T @ x
        mean = total / len(images)
        covariance = (products - len(images) * torch.outer(mean, mean)) / (len(images) - 1)
        variances, axes = torch.linalg.eigh(covariance)
        return cls(schedule, mean, variances.clamp(min=0), axes)

    def __call__(self, x_t: Tensor, t: int | Tensor) -> Prediction:
        """x_t (B, C, H, W), t an int or (B,) long -> x0 and eps, both float64 of the shape of x_t, on the CPU."""
        flat = x_t.cpu().flatten(1).double()
        a, s = self.schedule.scales(t.cpu() if isinstance(t, Tensor) else t, flat)
        gain = a * self.variances / (a**2 * self.variances + s**2)
        x0 = self.mean + ((flat - a * self.mean) @ self.axes * gain) @ self.axes.T
        return Prediction(x0.view(x_t.shape), ((flat - a * x0) / s).view(x_t.shape))
