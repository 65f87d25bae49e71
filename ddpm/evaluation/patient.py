"""A model under examination: its error, and the same under one change of what it is given or of how it is read.

The error is the share of the variance of what the network should say that it leaves unexplained, averaged over noise
levels that are evenly spaced in the angle arctan(noise / image), with the same noise for every change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import ImageSet
from ..device import over_cores
from ..diffusion import Denoiser, Prediction, q_sample, target
from ..randomness import ImageNoise
from ..spacing import spaced_timesteps
from .wiener import WienerDenoiser

if TYPE_CHECKING:
    from ..config.sections import SamplingConfig
    from ..models import Model

ANGLES = (75, 60, 45, 30, 15)  # degrees
IMAGES = 128
LINEAR = 10_000  # images that a covariance is made of


@dataclass(frozen=True)
class Change:
    """What is changed before the network is asked."""

    shift: int = 0
    """Added to the timestep that it is told."""
    from_zero: bool = False
    """Images in [0, 1] in place of [-1, 1]."""
    mirrored: bool = False
    unlabelled: bool = False
    guided: bool = False
    """As in sampling, by its scale and its interval."""
    seen: bool = False
    """Images that it was trained on."""


PLAIN = Change()


@dataclass(frozen=True, eq=False)
class Patient:
    """A model, how it is to be sampled, and the images that it should know."""

    model: Model
    settings: SamplingConfig
    train: ImageSet
    test: ImageSet
    _said: dict[Change, list[Tensor]] = field(default_factory=dict)

    @cached_property
    def timesteps(self) -> list[int]:
        """One for each of ``ANGLES``."""
        ab = self.model.schedule.alphas_cumprod
        angle = torch.rad2deg(torch.atan2((1 - ab).sqrt(), ab.sqrt()))
        return [int((angle - each).abs().argmin()) for each in ANGLES]

    def error(self, change: Change = PLAIN, kind: str = "") -> float:
        """The share of the target's variance that the network leaves unexplained, its output read as ``kind``, its own
        by default."""
        if change not in self._said:
            self._said[change] = self._ask(change)
        return self._unexplained(self._said[change], self._images(change)[0], kind or self.kind)

    @torch.no_grad()
    def _ask(self, change: Change) -> list[Tensor]:
        """What the network says at each of the timesteps."""
        model, (x0, labels) = self.model, self._images(change)
        none = None if model.network.null_label is None else torch.full_like(labels, model.network.null_label)
        y = None if none is None else none if change.unlabelled else labels
        y = y if y is None else y.to(model.device)
        last, network = model.schedule.num_timesteps - 1, over_cores(model.network)
        guided, said = self._guided(y), []
        for t, x_t, _ in self._noised(x0):
            x_t = x_t.to(model.device)
            if change.guided:
                found = self._as_output(guided(x_t, t), t)
            else:
                told = torch.full((len(x_t),), min(max(t + change.shift, 0), last), device=model.device)
                found = network(x_t, told, y)
            said.append(found.float().cpu())
        return said

    def _guided(self, y: Tensor | None) -> Denoiser:
        """As in sampling, but not clipped."""
        scale, interval = self.settings.guidance_scale, self.settings.guidance_interval
        return self.model.denoiser(y, guidance_scale=scale, guidance_interval=interval, clip=False)

    def _as_output(self, found: Prediction, t: int) -> Tensor:
        return target(self.model.schedule, found.x0.float(), found.eps.float(), t, self.kind)

    @cached_property
    def beside_linear(self) -> float:
        """The error in units of that of the best linear denoiser.

        Raises:
            MetricError: the images are too large for a covariance.
        """
        return self.plain / self._linear_error(self.train.images[:LINEAR])

    @cached_property
    def beside_linear_of_both(self) -> float:
        """The same for one that was fitted to the mirror images, too."""
        return self.plain / self._linear_error(torch.cat([images := self.train.images[:LINEAR], images.flip(-1)]))

    def _linear_error(self, images: Tensor) -> float:
        linear, x0 = WienerDenoiser.fit(images, self.model.schedule), self._images(PLAIN)[0]
        said = [self._as_output(linear(x_t, t), t) for t, x_t, _ in self._noised(x0)]
        return self._unexplained(said, x0, self.kind)

    @cached_property
    def size(self) -> float:
        """How large what the network says is, in units of what fits the targets best in the sense of least squares."""
        self.error()
        x0, along, own = self._images(PLAIN)[0], 0.0, 0.0
        for found, (t, _, eps) in zip(self._said[PLAIN], self._noised(x0), strict=True):
            wanted = target(self.model.schedule, x0, eps, t, self.kind)
            along += ((found * wanted).sum() / wanted.square().sum()).item()
            own += (found.square().sum() / wanted.square().sum()).item()
        return own / along if along > 0 else 0.0

    @cached_property
    @torch.no_grad()
    def beyond(self) -> tuple[float, int]:
        """How far predictions, guided as in sampling but not clipped, leave [-1, 1] at the first timestep, as a root
        mean square, and that timestep."""
        model, settings, (x0, labels) = self.model, self.settings, self._images(PLAIN)
        t = spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)[0]
        y = labels.to(model.device) if model.num_classes else None
        found = self._guided(y)(self._noisy(x0, t)[0].to(model.device), t).x0.float()
        return (found - found.clamp(-1, 1)).square().mean().sqrt().item(), t

    @property
    def kind(self) -> str:
        return self.model.config.diffusion.prediction_type

    def ratio(self, change: Change = PLAIN, kind: str = "") -> float:
        """The error under a change, in units of the error without."""
        return self.error(change, kind) / self.plain

    @cached_property
    def plain(self) -> float:
        return self.error()

    def _images(self, change: Change) -> tuple[Tensor, Tensor]:
        chosen = (self.train if change.seen else self.test)[:IMAGES]
        images = chosen.scaled()
        images = (images + 1) / 2 if change.from_zero else images
        return images.flip(-1) if change.mirrored else images, chosen.labels

    def _noised(self, x0: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each of the timesteps, x_t and the noise in it, the same for every change."""
        for t in self.timesteps:
            yield t, *self._noisy(x0, t)

    def _noisy(self, x0: Tensor, t: int) -> tuple[Tensor, Tensor]:
        eps = ImageNoise(0, [f"doctor/{t}/{k}" for k in range(len(x0))], x0.shape[1:], "cpu")()
        return q_sample(self.model.schedule, x0, torch.full((len(x0),), t), eps), eps

    def _unexplained(self, said: list[Tensor], x0: Tensor, kind: str) -> float:
        shares = []
        for found, (t, _, eps) in zip(said, self._noised(x0), strict=True):
            wanted = target(self.model.schedule, x0, eps, t, kind)
            shares.append(((found - wanted).square().mean() / wanted.var()).item())
        return sum(shares) / len(shares)
