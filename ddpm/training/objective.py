"""What a training minimises: how wrong a network is about noised images, or about the steps of its teacher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..config.schema import Config
from ..data import ImageSet, to_float
from ..diffusion import LOSSES, diffusion_loss, loss_weights, to_prediction, zero_loss
from ..randomness import derive_seed
from ..spacing import spaced_timesteps
from .trajectories import Trajectories

Network = Callable[..., Tensor]
Images = ImageSet | Trajectories
"""What a training learns from: images, or the walks of a teacher."""


class Noised(NamedTuple):
    """Images, the noise that is to be found in them, and their classes, None for a model without."""

    x0: Tensor
    t: Tensor
    eps: Tensor
    y: Tensor | None


class Denoising:
    """Find the noise in an image (Ho et al. 2020, algorithm 1)."""

    def __init__(self, config: Config, device: torch.device):
        self.config, self.device, self.schedule = config, device, config.schedule.build()
        diffusion = config.diffusion
        self.kind = {"prediction_type": diffusion.prediction_type, "loss": diffusion.loss}
        weights = loss_weights(self.schedule, diffusion.prediction_type, diffusion.weighting, diffusion.min_snr_gamma)
        self.weights = weights.to(device, torch.float32)

    def draw(self, images: ImageSet) -> Noised:
        """A batch with fresh noise, from torch's global generator."""
        x0, y = to_float(images.images), None
        if self.config.data.horizontal_flip:
            x0 = torch.where(torch.rand(len(x0), 1, 1, 1, device=self.device) < 0.5, x0.flip(-1), x0)
        if classes := self.config.model.num_classes:
            dropped = torch.rand(len(x0), device=self.device) < self.config.training.label_dropout
            y = torch.where(dropped, classes, images.labels)
        t = TIMESTEPS[self.config.training.timesteps](len(x0), self.schedule.num_timesteps, self.device)
        return Noised(x0, t, torch.randn_like(x0), y)

    def held_out(self, images: ImageSet, start: int) -> Noised:
        """A batch for validation, which begins at image ``start``: labels given, the same noise each time, t spread
        evenly over 0..T-1."""
        x0 = images.scaled()
        if not start:
            self._noise = torch.Generator().manual_seed(derive_seed("validation"))
        eps = torch.randn(x0.shape, generator=self._noise)
        # A golden-ratio sequence covers 0..T-1 evenly however many images there are.
        u = (torch.arange(start, start + len(images), dtype=torch.float64) * 0.6180339887498949) % 1.0
        t = (u * self.schedule.num_timesteps).long()
        return Noised(x0, t, eps, images.labels if self.config.model.num_classes else None)

    def loss(self, network: Network, asked: Noised, *, weighted: bool = True) -> Tensor:
        """The loss of every image, (B,)."""
        return diffusion_loss(self.schedule, network, *asked, **self.kind, weights=self.weights if weighted else None)

    def zero_loss(self, asked: Noised, *, weighted: bool = True) -> Tensor:
        """The loss of a network that predicts zero, (B,)."""
        return zero_loss(self.schedule, *asked[:3], **self.kind, weights=self.weights if weighted else None)


class Shown(NamedTuple):
    """States of a teacher's walk, and the clean images that a DDIM step has to predict there to land where the teacher
    arrived."""

    x_t: Tensor
    t: Tensor
    x0: Tensor
    y: Tensor | None
    n: Tensor
    """The place of the number of steps in ``model.step_counts``."""


class Distilling:
    """Take the place of several steps of a teacher (progressive distillation, Salimans & Ho 2022, arXiv:2202.00512,
    appendix G, from stored walks and for all step counts at once)."""

    def __init__(self, config: Config, device: torch.device):
        self.config, self.device, self.schedule = config, device, config.schedule.build()
        self.counts = torch.tensor(config.model.step_counts, device=device)
        self.stored = math.lcm(*config.model.step_counts)
        times = spaced_timesteps(self.schedule.num_timesteps, self.stored)
        self.times = torch.tensor(times, device=device)
        bars = torch.tensor([*map(self.schedule.alpha_bar, times), 1.0], dtype=torch.float64)
        self.a, self.s = (scale.to(device, torch.float32) for scale in (bars.sqrt(), (1 - bars).sqrt()))

    def draw(self, walks: Trajectories) -> Shown:
        """Of every walk a random step of a random number of steps, from torch's global generator."""
        n = _at(_stratified(len(walks), self.device), len(self.counts))
        return self._step(walks, n, (torch.rand(len(walks), device=self.device) * self.counts[n]).long())

    def held_out(self, walks: Trajectories, start: int) -> Shown:
        """A batch for validation, which begins at walk ``start``: all steps of all step counts in turn."""
        index = torch.arange(start, start + len(walks), device=self.device)
        n = index % len(self.counts)
        return self._step(walks.to(self.device), n, index // len(self.counts) % self.counts[n])

    def _step(self, walks: Trajectories, n: Tensor, step: Tensor) -> Shown:
        every = self.stored // self.counts[n]
        first, last, rows = step * every, (step + 1) * every, torch.arange(len(walks), device=self.device)
        x_t, x_s = walks.states[rows, first].float(), walks.states[rows, last].float()
        a_t, s_t, a_s, s_s = (scale[where].view(-1, 1, 1, 1) for where in (first, last) for scale in (self.a, self.s))
        ratio = s_s / s_t  # DDIM: x_s = a_s x0 + s_s (x_t - a_t x0) / s_t
        x0 = (x_s - ratio * x_t) / (a_s - ratio * a_t)
        return Shown(x_t, self.times[first], x0, walks.labels if self.config.model.num_classes else None, n)

    def loss(self, network: Network, asked: Shown, *, weighted: bool = True) -> Tensor:
        """The distance of every image's predicted x0, (B,)."""
        return self._distance(network(asked.x_t, asked.t, asked.y, asked.n).float(), asked)

    def zero_loss(self, asked: Shown, *, weighted: bool = True) -> Tensor:
        """The loss of a network that predicts zero, (B,)."""
        return self._distance(torch.zeros_like(asked.x_t), asked)

    def _distance(self, output: Tensor, asked: Shown) -> Tensor:
        diffusion = self.config.diffusion
        found = to_prediction(self.schedule, output, asked.x_t, asked.t, diffusion.prediction_type).x0
        return LOSSES[diffusion.loss](found, asked.x0, reduction="none").flatten(1).mean(1)


Objective = Denoising | Distilling


def objective_of(config: Config, device: torch.device) -> Objective:
    """What a config's training minimises."""
    return (Distilling if config.model.step_counts else Denoising)(config, device)


def uniform_timesteps(n: int, num_timesteps: int, device: torch.device | str = "cpu") -> Tensor:
    """n timesteps, independent and uniform on 0..T-1 (Ho et al. 2020, algorithm 1): (n,) long."""
    return torch.randint(num_timesteps, (n,), device=device)


def stratified_timesteps(n: int, num_timesteps: int, device: torch.device | str = "cpu") -> Tensor:
    """n timesteps, each uniform on 0..T-1, spread over the batch (Kingma et al. 2021, appendix I.1): (n,) long."""
    return _at(_stratified(n, device), num_timesteps)


def logit_normal_timesteps(n: int, num_timesteps: int, device: torch.device | str = "cpu") -> Tensor:
    """n timesteps whose place among 0..T-1 has a standard normal logit (Esser et al. 2024, arXiv:2403.03206, section
    3.1), spread over the batch: (n,) long."""
    return _at(torch.special.ndtri(_stratified(n, device)).sigmoid(), num_timesteps)


TIMESTEPS: dict[str, Callable[..., Tensor]] = {
    "stratified": stratified_timesteps,
    "uniform": uniform_timesteps,
    "logit_normal": logit_normal_timesteps,
}
"""How training draws timesteps, by the values of ``training.timesteps``."""


def _stratified(n: int, device: torch.device | str) -> Tensor:
    return (torch.rand(1, device=device) + torch.arange(n, device=device) / n) % 1.0


def _at(share: Tensor, num_timesteps: int) -> Tensor:
    """The timesteps at shares of T."""
    return (share * num_timesteps).long().clamp(max=num_timesteps - 1)
