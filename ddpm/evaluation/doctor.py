"""The doctor: what is wrong with a model or with how it is sampled, told by signs that were measured.

Every sign compares the network's error with that of the same network under one change: another reading of its output,
other inputs, other images. The error is the share of the variance of what the network should say that it leaves
unexplained, averaged over noise levels that are evenly spaced in the angle arctan(noise / image), with the same noise
for both. A healthy network is worse off under any of these changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..device import over_cores
from ..diffusion import OUTPUTS, Prediction, q_sample, target
from ..errors import DataError, MetricError
from ..randomness import ImageNoise
from ..spacing import spaced_timesteps, starting_point
from .real_images import splits
from .wiener import WienerDenoiser

if TYPE_CHECKING:
    from ..config.sections import SamplingConfig
    from ..data import ImageSet
    from ..models import Model

ANGLES = (75, 60, 45, 30, 15)  # degrees
IMAGES = 128
FEW_TIMESTEPS = 30  # up to which one timestep more or less shows: of 40 it changes the error by 1 %
HANDED = ("digits", "mnist")  # datasets whose images mean something else, or nothing, in a mirror
MUCH_GUIDANCE = 3.0


class Sign(NamedTuple):
    """Something that was measured, and whether it is the sign of a fault."""

    cause: str
    """The fault that it would be the sign of, in a few words."""
    measured: str
    """What was found, and what a healthy model has."""
    wrong: bool
    remedy: str


@dataclass(frozen=True)
class _Change:
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


PLAIN = _Change()


@dataclass(frozen=True, eq=False)
class Patient:
    """A model, how it is to be sampled, and the images that it should know."""

    model: Model
    settings: SamplingConfig
    train: ImageSet
    test: ImageSet
    _said: dict[_Change, list[Tensor]] = field(default_factory=dict)

    @cached_property
    def timesteps(self) -> list[int]:
        """One for each of ``ANGLES``."""
        ab = self.model.schedule.alphas_cumprod
        angle = torch.rad2deg(torch.atan2((1 - ab).sqrt(), ab.sqrt()))
        return [int((angle - each).abs().argmin()) for each in ANGLES]

    def error(self, change: _Change = PLAIN, kind: str = "") -> float:
        """The share of the target's variance that the network leaves unexplained, its output read as ``kind``, its own
        by default."""
        if change not in self._said:
            self._said[change] = self._ask(change)
        return self._unexplained(self._said[change], self._images(change)[0], kind or self.kind)

    @torch.no_grad()
    def _ask(self, change: _Change) -> list[Tensor]:
        """What the network says at each of the timesteps."""
        model, settings, (x0, labels) = self.model, self.settings, self._images(change)
        none = None if model.network.null_label is None else torch.full_like(labels, model.network.null_label)
        y = None if none is None else none if change.unlabelled else labels
        y = y if y is None else y.to(model.device)
        last, network = model.schedule.num_timesteps - 1, over_cores(model.network)
        guided = model.denoiser(y, guidance_scale=settings.guidance_scale, guidance_interval=settings.guidance_interval,
                                clip=False)  # fmt: skip
        said = []
        for t, x_t, _ in self._noised(x0):
            x_t = x_t.to(model.device)
            if change.guided:
                found = self._as_output(guided(x_t, t), t)
            else:
                told = torch.full((len(x_t),), min(max(t + change.shift, 0), last), device=model.device)
                found = network(x_t, told, y)
            said.append(found.float().cpu())
        return said

    def _as_output(self, found: Prediction, t: int) -> Tensor:
        return target(self.model.schedule, found.x0.float(), found.eps.float(), t, self.kind)

    @cached_property
    def linear_error(self) -> float:
        """The same of the best linear denoiser."""
        linear, x0 = WienerDenoiser.fit(self.train.images, self.model.schedule), self._images(PLAIN)[0]
        said = [self._as_output(linear(x_t, t), t) for t, x_t, _ in self._noised(x0)]
        return self._unexplained(said, x0, self.kind)

    @property
    def kind(self) -> str:
        return self.model.config.diffusion.prediction_type

    def ratio(self, change: _Change = PLAIN, kind: str = "") -> float:
        """The error under a change, in units of the error without."""
        return self.error(change, kind) / self._plain

    @cached_property
    def _plain(self) -> float:
        return self.error()

    def _images(self, change: _Change) -> tuple[Tensor, Tensor]:
        chosen = (self.train if change.seen else self.test)[:IMAGES]
        images = chosen.scaled()
        images = (images + 1) / 2 if change.from_zero else images
        return images.flip(-1) if change.mirrored else images, chosen.labels

    def _noised(self, x0: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each of the timesteps, x_t and the noise in it, the same for every change."""
        for t in self.timesteps:
            eps = ImageNoise(0, [f"doctor/{t}/{k}" for k in range(len(x0))], x0.shape[1:], "cpu")()
            yield t, q_sample(self.model.schedule, x0, torch.full((len(x0),), t), eps), eps

    def _unexplained(self, said: list[Tensor], x0: Tensor, kind: str) -> float:
        shares = []
        for found, (t, _, eps) in zip(said, self._noised(x0), strict=True):
            wanted = target(self.model.schedule, x0, eps, t, kind)
            shares.append(((found - wanted).square().mean() / wanted.var()).item())
        return sum(shares) / len(shares)


def examine(model: Model, settings: SamplingConfig | None = None) -> list[Sign]:
    """All signs that can be looked at, the most specific first: of those that are ``wrong`` the first is the likely
    cause, and may explain the others.

    Args:
        settings: how the model is to be sampled; as its config says, if None.

    Raises:
        MetricError: the images that the model should know are not here, or a distilled model, whose errors say nothing.
    """
    settings = settings or model.config.sampling
    if model.config.model.step_counts:
        raise MetricError(f"{model.source} is distilled: it aims at its teacher's images, so examine the teacher")
    if not all(parameter.isfinite().all() for parameter in model.network.parameters()):
        return [Sign("the training diverged", "some of the weights are no numbers", True,
                     "Train again with a lower training.learning_rate, or with training.grad_clip.")]  # fmt: skip
    try:
        train, test, _ = splits(model.config.data)
    except DataError as error:
        raise MetricError(f"a model is examined with the images that it should know: {error}") from None
    patient = Patient(model, settings, train, test)
    return [sign for look in LOOKS for sign in look(patient)]


# -- the signs -----------------------------------------------------------------------------------------------------


def _start(patient: Patient) -> Iterator[Sign]:
    """Whether sampling starts where training ended."""
    schedule, settings = patient.model.schedule, patient.settings
    values = math.prod(patient.model.config.image_shape)
    timesteps = spaced_timesteps(schedule.num_timesteps, settings.num_steps, settings.spacing)
    last = schedule.num_timesteps - 1
    terminal = starting_point(schedule, [last], values)
    yield Sign(
        "the schedule leaves signal at its end",
        f"at T - 1 = {last} training left {math.sqrt(schedule.alpha_bar(last)):.2%} of an image's amplitude, and "
        f"sampling starts there from noise alone; what is too faint to shift the mean of {values:,} values is harmless",
        terminal.harmful,
        "Train with schedule.zero_terminal_snr, with more timesteps, or with betas that fit their number.",
    )
    first = starting_point(schedule, timesteps, values)
    yield Sign(
        "the first step is not at T - 1",
        f"{settings.spacing} spacing in {settings.num_steps} steps starts at t = {timesteps[0]} of {last}, where "
        f"training left {math.sqrt(schedule.alpha_bar(timesteps[0])):.2%} of an image's amplitude",
        first.harmful and not terminal.harmful,
        "Sample with --spacing trailing.",
    )


def _reading(patient: Patient) -> Iterator[Sign]:
    """Whether the output is what the config says."""
    ratios = {kind: patient.ratio(kind=kind) for kind in OUTPUTS if kind != patient.kind}
    best = min(ratios, key=ratios.get)
    yield Sign(
        "the output is read as what it is not",
        f"read as {patient.kind}, as the config says, it leaves {patient._plain:.1%} unexplained; read as {best} "
        f"{ratios[best]:.2f} times as much, and a healthy network's least is well above 1",
        ratios[best] < 0.5,
        f"Set diffusion.prediction_type to {best}, or whichever it was trained with.",
    )


def _inputs(patient: Patient) -> Iterator[Sign]:
    """Whether it was trained on images and timesteps as they are given to it here."""
    from_zero = patient.ratio(_Change(from_zero=True))
    yield Sign(
        "the images had another range in training",
        f"with images in [0, 1] it errs {from_zero:.2f} times as much as with images in [-1, 1]; healthy is above 2",
        from_zero < 0.7,
        "Scale images to [-1, 1] for training, or map samples from [0, 1].",
    )
    if patient.model.schedule.num_timesteps <= FEW_TIMESTEPS:
        shifts = {shift: patient.ratio(_Change(shift=shift)) for shift in (-1, 1)}
        best = min(shifts, key=shifts.get)
        yield Sign(
            "timesteps are counted from another number",
            f"told t {best:+d} it errs {shifts[best]:.3f} times as much; healthy is 1 or more",
            shifts[best] < 0.985,
            "Count timesteps from 0 to T - 1 in training and in sampling.",
        )


def _learned(patient: Patient) -> Iterator[Sign]:
    """Whether it learned, and not by heart."""
    try:
        linear = patient._plain / patient.linear_error
        measured = (
            f"it errs {linear:.2f} times as much as the best linear denoiser, which knows the mean and covariance of "
            "the training images alone; healthy is below 1"
        )
    except MetricError as error:  # images too large for a covariance
        linear, measured = 0.0, f"not looked at: {error}"
    yield Sign(
        "it has learned too little, or its training diverged",
        measured,
        linear > 1.05,
        "Look at the loss: where it jumped or stayed high, lower training.learning_rate; where it still falls, go on.",
    )
    seen = patient.ratio(_Change(seen=True))
    yield Sign(
        "it remembers its training images",
        f"on images that it was trained on it errs {seen:.2f} times as much as on new ones; healthy is near 1",
        seen < 0.75,
        "Stop earlier (ckpts/best.pt), raise model.dropout, or train on more images.",
    )


def _labels(patient: Patient) -> Iterator[Sign]:
    """Whether guidance has something to guide by."""
    model, scale = patient.model, patient.settings.guidance_scale
    if not model.num_classes or scale == 1:
        return
    ratio = patient.ratio(_Change(unlabelled=True))
    dropped = model.config.training.label_dropout
    yield Sign(
        "guidance needs a network that knows images without a label",
        f"training dropped {dropped:.0%} of the labels, and without one it errs {ratio:.2f} times as much as with it; "
        f"guidance at {scale:g} trusts both",
        dropped == 0,
        "Train with training.label_dropout of 0.1 or more, or sample with --guidance-scale 1.",
    )
    guided = patient.ratio(_Change(guided=True))
    yield Sign(
        "guidance is far too high",
        f"at {scale:g} predictions err {guided:.2f} times as much as at 1; healthy is below {MUCH_GUIDANCE:g}",
        guided > MUCH_GUIDANCE,
        "Sample with --guidance-scale between 1 and 3, or within --guidance-interval.",
    )


def _mirror(patient: Patient) -> Iterator[Sign]:
    """Whether it has learned images that its data do not hold."""
    data = patient.model.config.data
    if data.dataset not in HANDED:
        return
    ratio = patient.ratio(_Change(mirrored=True))
    yield Sign(
        "it was trained on mirrored images",
        f"on mirrored images it errs {ratio:.2f} times as much; for {data.dataset} healthy is above 1.3",
        ratio < 1.1,
        "Train with data.horizontal_flip false: a mirrored digit is none.",
    )


LOOKS: tuple[Callable[[Patient], Iterator[Sign]], ...] = (_start, _reading, _inputs, _mirror, _labels, _learned)
"""In the order of how specific they are: a network that is misread also errs more than a linear denoiser."""
