"""Diffusion in the plane, where the exact answer is known and everything can be seen.

Points are states of the shape (N, 2, 1, 1): to the schedules, samplers and losses of the library they are images of
one pixel with two channels. For a mixture of Gaussians, and so for any finite set of points, the best possible denoiser
has a closed form, E[x0 | x_t], which ``Mixture.denoiser`` evaluates; ``MLP`` learns the same from samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .diffusion import Denoiser, Prediction, diffusion_loss, scale_at
from .errors import ConfigError, unknown
from .samplers import starting
from .schedule import NoiseSchedule

NOISE = 0.05  # standard deviation around the curves of the presets
KERNELS = 400  # points of a curve that stand for it in the exact answer
LARGEST_BATCH = 128  # small ones, at a high rate, come nearer to the data in the same time


class Points(NamedTuple):
    """Points of the plane (N, 2), and the class of each, (N,) long."""

    x: Tensor
    labels: Tensor

    def states(self) -> Tensor:
        """As samplers and losses take them, (N, 2, 1, 1)."""
        return self.x[:, :, None, None]


# -- data ----------------------------------------------------------------------------------------------------------


def _moons(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(count) % 2
    angle = rng.uniform(0, np.pi, count)
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], 1)
    return np.where(label[:, None] == 0, upper, -upper), label


def _ring(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], 1), (angle > np.pi).astype(int)


def _spiral(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    label, turn = np.arange(count) % 2, np.sqrt(rng.uniform(0.02, 1, count))
    angle = 3 * np.pi * turn + np.pi * label
    return 1.2 * turn[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), label


def _letters(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (200, 100))
    ImageDraw.Draw(page).text((100, 50), "DDPM", 255, ImageFont.load_default(60), anchor="mm")
    rows, columns = np.nonzero(np.asarray(page) > 127)
    chosen = rng.integers(0, len(rows), count)
    x = np.stack([columns[chosen], -rows[chosen]], 1) + rng.uniform(-0.5, 0.5, (count, 2))
    middle = np.array([columns.mean(), -rows.mean()])
    return (x - middle) / 65, (x[:, 0] > middle[0]).astype(int)


_CURVES = {"moons": _moons, "ring": _ring, "spiral": _spiral, "letters": _letters}
MIXTURE = "mixture"
DATASETS = (*_CURVES, MIXTURE)


def sample_data(name: str, count: int, seed: int = 0) -> Points:
    """``count`` points of a preset, about within [-1.5, 1.5]: moons, ring, spiral, letters or mixture, each of two
    classes.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name == MIXTURE:
        return PRESET.sample(count, seed)
    if name not in _CURVES:
        raise ConfigError(unknown("data of the plane", name, DATASETS))
    rng = np.random.default_rng(seed)
    x, labels = _CURVES[name](count, rng)
    x = x + (0 if name == "letters" else NOISE) * rng.standard_normal(x.shape)
    return Points(torch.tensor(x, dtype=torch.float32), torch.tensor(labels))


# -- the exact answer ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixture:
    """A mixture of K round Gaussians: means (K, 2), one standard deviation, weights (K,) that sum to 1, and the class
    of each, (K,). With a deviation of 0 it is a finite set of points."""

    means: Tensor
    deviation: float
    weights: Tensor
    labels: Tensor

    @classmethod
    def of_points(cls, points: Points, deviation: float = 0.0) -> Mixture:
        """The points themselves, each with the same weight: what a network learns that remembers its data."""
        count = len(points.x)
        return cls(points.x, deviation, torch.full((count,), 1 / count), points.labels)

    def sample(self, count: int, seed: int = 0, label: int | None = None) -> Points:
        """``count`` fresh points, of one class or of all."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self._weights_of(label), count, replacement=True, generator=generator)
        noise = torch.randn(count, 2, generator=generator)
        return Points(self.means[chosen] + self.deviation * noise, self.labels[chosen])

    def evenly(self, count: int, label: int | None = None) -> Tensor:
        """``count`` points (count, 2) spread over the law as evenly as they can be, a power of two best: a sum over
        them is near the integral, where that over as many fresh points still varies."""
        u = _sobol(count, 3)
        chosen = torch.bucketize(u[:, 0].contiguous(), self._weights_of(label).cumsum(0).to(u)).clamp(
            max=len(self.means) - 1
        )
        return self.means[chosen] + self.deviation * _normal(u[:, 1:])

    def of_class(self, label: int) -> Mixture:
        """The part of one class."""
        chosen = self.labels == label
        weights = self._weights_of(label)[chosen]
        return Mixture(self.means[chosen], self.deviation, weights, self.labels[chosen])

    def _weights_of(self, label: int | None) -> Tensor:
        """The weights within a class."""
        weights = self.weights if label is None else self.weights * (self.labels == label)
        if weights.sum() == 0:
            raise ConfigError(f"no component has the class {label}")
        return weights / weights.sum()

    def denoiser(
        self,
        schedule: NoiseSchedule,
        label: int | None = None,
        guidance: float = 1.0,
        interval: tuple[int, int] | None = None,
    ) -> Denoiser:
        """E[x0 | x_t], exactly, for all of the mixture or one class of it, as a ``Denoiser``; with classifier-free
        guidance where the scale is not 1, from the first to the last timestep of ``interval`` or at all.

        x_t of component k is a Gaussian around a mu_k with the variance v = a^2 d^2 + s^2, and E[x0 | x_t, k] =
        mu_k + a d^2 / v (x_t - a mu_k).
        """
        whole = self._weights_of(None).log()
        wanted = self._weights_of(label).log()

        def expected(x: Tensor, a: Tensor, s: Tensor, log_weights: Tensor) -> Tensor:
            variance = a**2 * self.deviation**2 + s**2
            away = x[:, None] - a * self.means
            share = (log_weights - away.square().sum(2) / (2 * variance[..., 0])).softmax(1)
            return torch.einsum("nk,nkc->nc", share, self.means + a * self.deviation**2 / variance * away)

        def denoise(x_t: Tensor, t: int | Tensor) -> Prediction:
            a, s = (scale.flatten()[:, None, None] for scale in schedule.scales(t, x_t))
            x = x_t.flatten(1)
            x0, scale = expected(x, a, s, wanted).view_as(x_t), scale_at(t, guidance, interval)
            if isinstance(scale, Tensor) or scale != 1:
                null = expected(x, a, s, whole).view_as(x_t)
                x0 = null + scale * (x0 - null)
            return Prediction(x0, (x_t - a[..., None] * x0) / s[..., None])

        return denoise

    def log_density(self, x: Tensor, schedule: NoiseSchedule, t: int) -> Tensor:
        """The logarithm of the density of x_t at points x (N, 2): (N,). t = -1 is the data."""
        ab = schedule.alpha_bar(t)
        variance = ab * self.deviation**2 + 1 - ab
        away = (x[:, None] - math.sqrt(ab) * self.means).square().sum(2)
        return (self.weights.log() - away / (2 * variance)).logsumexp(1) - math.log(2 * math.pi * variance)


PRESET = Mixture(
    torch.tensor([[-1.0, 0.6], [0.0, 1.0], [1.0, 0.6], [-0.7, -0.7], [0.7, -0.7]]),
    0.18,
    torch.full((5,), 0.2),
    torch.tensor([0, 0, 0, 1, 1]),
)
"""The mixture among the presets: three Gaussians of one class above two of another."""


def law_of(name: str) -> Mixture:
    """The law of a preset: that of the mixture exactly; small Gaussians around points of a curve stand for the others.

    Raises:
        ConfigError: there is no preset of that name.
    """
    return PRESET if name == MIXTURE else Mixture.of_points(sample_data(name, KERNELS, seed=1), NOISE)


# -- the learned answer --------------------------------------------------------------------------------------------


class MLP(nn.Module):
    """A small network with the signature of the UNet: (x_t (B, 2, 1, 1), t (B,), y (B,) or None) -> (B, 2, 1, 1)."""

    def __init__(self, num_timesteps: int, num_classes: int = 0, width: int = 128, depth: int = 3):
        super().__init__()
        self.num_timesteps, self.null_label = num_timesteps, num_classes or None
        self.label = nn.Embedding(num_classes + 1, 16) if num_classes else None
        sizes = [2 + 16 + (16 if num_classes else 0), *[width] * depth]
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 2))

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        share = (t.float() / self.num_timesteps)[:, None]
        frequencies = math.pi * 2.0 ** torch.arange(8, device=x_t.device)
        parts = [x_t.flatten(1), (share * frequencies).sin(), (share * frequencies).cos()]
        if self.label is not None:
            parts.append(self.label(torch.full_like(t, self.null_label) if y is None else y))
        return self.layers(torch.cat(parts, 1)).view_as(x_t)


def train(
    network: MLP,
    points: Points,
    schedule: NoiseSchedule,
    steps: int = 3000,
    *,
    noise: Tensor | None = None,
    prediction_type: str = "v",
    label_dropout: float = 0.4,
    learning_rate: float = 5e-3,
    seed: int = 0,
) -> Iterator[float]:
    """Train the network on points; yields the loss of every step.

    ``noise`` (N, 2, 1, 1) is what a model has made each of the points of: then the paths between the two are learned
    anew, and become straight (reflow, Liu et al. 2023, arXiv:2209.03003). Without it, noise is fresh in every step.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    states = points.states()
    for _ in range(steps):
        chosen = torch.randint(len(states), (min(LARGEST_BATCH, 4 * len(states)),), generator=generator)
        x0, eps = states[chosen], torch.randn(len(chosen), 2, 1, 1, generator=generator)
        eps = eps if noise is None else noise[chosen]
        t = torch.randint(schedule.num_timesteps, (len(chosen),), generator=generator)
        y = None
        if network.null_label is not None:
            dropped = torch.rand(len(chosen), generator=generator) < label_dropout
            y = torch.where(dropped, network.null_label, points.labels[chosen])
        loss = diffusion_loss(schedule, network, x0, t, eps, y, prediction_type=prediction_type).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
        yield loss.item()


# -- how near ------------------------------------------------------------------------------------------------------


def sliced_wasserstein(first: Tensor, second: Tensor, directions: int = 64) -> float:
    """The mean over directions of the Wasserstein-1 distance between two sets of as many points (N, 2), each seen along
    the direction (Bonneel et al. 2015)."""
    angle = torch.arange(directions, dtype=torch.float64) * math.pi / directions
    along = torch.stack([angle.cos(), angle.sin()])
    seen = [(points.double() @ along).sort(0).values for points in (first, second)]
    return (seen[0] - seen[1]).abs().mean().item()


def _sobol(count: int, dimensions: int) -> Tensor:
    return torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0).draw(count, dtype=torch.float64)


def _normal(u: Tensor) -> Tensor:
    return (math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-1 + 1e-9, 1 - 1e-9))).float()


def even_noise(count: int) -> Tensor:
    """Standard normal points (count, 2, 1, 1), spread as evenly as they can be; see ``Mixture.evenly``."""
    return _normal(_sobol(count, 2))[:, :, None, None]


def walk(
    sampler: Callable[..., Iterator], denoise: Denoiser, schedule: NoiseSchedule, timesteps: list[int], count: int,
    seed: int = 0, *, first: Tensor | None = None, **options: object,
) -> Iterator:  # fmt: skip
    """The steps of a sampler from ``count`` points of pure noise, or from those of ``first`` (count, 2, 1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    fresh = lambda: torch.randn(count, 2, 1, 1, generator=generator)  # noqa: E731
    with torch.no_grad():
        yield from sampler(denoise, schedule, timesteps, fresh if first is None else starting(first, fresh), **options)
