"""The doctor: what is wrong with a model or with how it is sampled, told by signs that were measured.

Every sign compares the network's error with that of the same network under one change: another reading of its output,
other inputs, other images. A healthy network is worse off under any of these changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..diffusion import OUTPUTS
from ..errors import DataError, MetricError
from ..spacing import spaced_timesteps, starting_point
from ..training.advice import advice
from ..training.history import read_history
from .patient import Change, Patient
from .real_images import splits

if TYPE_CHECKING:
    from ..config.sections import SamplingConfig
    from ..models import Model

FEW_TIMESTEPS = 30  # up to which one timestep more or less shows: of 40 it changes the error by 1 %
HANDED = ("digits", "mnist")  # datasets whose images mean something else, or nothing, in a mirror
MUCH_GUIDANCE = 3.0
HALF_WAY = 0.7  # of the size of an output
NO_BETTER = 1.05  # than the best linear denoiser


class Sign(NamedTuple):
    """Something that was measured, and whether it is the sign of a fault."""

    cause: str
    """The fault that it would be the sign of, in a few words."""
    measured: str
    """What was found, and what a healthy model has."""
    wrong: bool
    remedy: str


def examine(model: Model, settings: SamplingConfig | None = None) -> list[Sign]:
    """All signs that can be looked at, the most specific first: of those that are ``wrong`` the first is the likely
    cause, and may explain the others.

    Args:
        settings: how the model is to be sampled; as its config says, if None.

    Raises:
        MetricError: the images that the model should know are not here, or a distilled model, whose errors say nothing.
    """
    return list(looks_at(model, settings or model.config.sampling))


def looks_at(model: Model, settings: SamplingConfig) -> Iterator[Sign]:
    """The signs of ``examine``, one after the other.

    Raises:
        MetricError: see ``examine``.
    """
    if model.config.model.step_counts:
        raise MetricError(f"{model.source} is distilled: it aims at its teacher's images, so examine the teacher")
    if not all(parameter.isfinite().all() for parameter in model.network.parameters()):
        yield Sign("the training diverged", "some of the weights are no numbers", True,
                   "Train again with a lower training.learning_rate, or with training.grad_clip.")  # fmt: skip
        return
    try:
        train, test, _ = splits(model.config.data)
    except DataError as error:
        raise MetricError(f"a model is examined with the images that it should know: {error}") from None
    patient = Patient(model, settings, train, test)
    for look in LOOKS:
        yield from look(patient)


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
        f"read as {patient.kind}, as the config says, it leaves {patient.plain:.1%} unexplained; read as {best} "
        f"{ratios[best]:.2f} times as much, and a healthy network's least is well above 1",
        ratios[best] < 0.5,
        f"Set diffusion.prediction_type to {best}, or whichever it was trained with.",
    )


def _memory(patient: Patient) -> Iterator[Sign]:
    """Whether it learned by heart."""
    seen = patient.ratio(Change(seen=True))
    yield Sign(
        "it remembers its training images",
        f"on images that it was trained on it errs {seen:.2f} times as much as on new ones; healthy is near 1",
        seen < 0.75,
        "Stop earlier (ckpts/best.pt), raise model.dropout, or train on more images.",
    )


def _inputs(patient: Patient) -> Iterator[Sign]:
    """Whether it was trained on images and timesteps as they are given to it here."""
    from_zero = patient.ratio(Change(from_zero=True))
    yield Sign(
        "the images had another range in training",
        f"with images in [0, 1] it errs {from_zero:.2f} times as much as with images in [-1, 1]; healthy is above 2",
        from_zero < 0.7,
        "Scale images to [-1, 1] for training, or map samples from [0, 1].",
    )
    if patient.model.schedule.num_timesteps <= FEW_TIMESTEPS:
        shifts = {shift: patient.ratio(Change(shift=shift)) for shift in (-1, 1)}
        best = min(shifts, key=shifts.get)
        yield Sign(
            "timesteps are counted from another number",
            f"told t {best:+d} it errs {shifts[best]:.3f} times as much; healthy is 1 or more",
            shifts[best] < 0.985,
            "Count timesteps from 0 to T - 1 in training and in sampling.",
        )


def _average(patient: Patient) -> Iterator[Sign]:
    """Whether the averaged weights have left their start, where the last layer of every block is zero."""
    yield Sign(
        "the average of the weights has not caught up",
        f"it says {patient.size:.2f} times what would fit best; healthy is near 1, a network starts at 0",
        0 <= patient.size < HALF_WAY,
        "Lower training.ema_decay, train longer, or warm the average up; the weights themselves may be fine.",
    )


def _learned(patient: Patient) -> Iterator[Sign]:
    """Whether it learned more than a mean and a covariance."""
    try:
        beside = patient.beside_linear
        measured = (
            f"it errs {beside:.2f} times as much as the best linear denoiser, which knows the mean and covariance of "
            "the training images alone; healthy is below 1"
        )
    except MetricError as error:  # images too large for a covariance
        beside, measured = 0.0, f"not looked at: {error}"
    yield Sign(
        "it has learned too little, or its training diverged",
        measured,
        beside > NO_BETTER,
        "Look at the loss: where it jumped or stayed high, lower training.learning_rate; where it still falls, go on.",
    )


def _labels(patient: Patient) -> Iterator[Sign]:
    """Whether guidance has something to guide by."""
    model, scale = patient.model, patient.settings.guidance_scale
    if not model.num_classes or scale == 1:
        return
    ratio = patient.ratio(Change(unlabelled=True))
    dropped = model.config.training.label_dropout
    yield Sign(
        "guidance needs a network that knows images without a label",
        f"training dropped {dropped:.0%} of the labels, and without one it errs {ratio:.2f} times as much as with it; "
        f"guidance at {scale:g} trusts both",
        dropped == 0,
        "Train with training.label_dropout of 0.1 or more, or sample with --guidance-scale 1.",
    )
    guided = patient.ratio(Change(guided=True))
    yield Sign(
        "guidance is far too high",
        f"at {scale:g} predictions err {guided:.2f} times as much as at 1; healthy is below {MUCH_GUIDANCE:g}",
        guided > MUCH_GUIDANCE,
        "Sample with --guidance-scale between 1 and 3, or within --guidance-interval.",
    )


def _clipping(patient: Patient) -> Iterator[Sign]:
    """Whether predictions that no image can have are used as they are."""
    beyond, t = patient.beyond
    yield Sign(
        "predictions leave the range of images",
        f"at t = {t}, where sampling starts, predicted images go beyond [-1, 1] by {beyond:.2f} (root mean square), "
        f"and clipping is {'on' if patient.settings.clip else 'off'}",
        beyond > 1 and not patient.settings.clip,
        "Clip predicted images: sampling.clip, or --clip.",
    )


def _mirror(patient: Patient) -> Iterator[Sign]:
    """Whether it has learned images that its data do not hold."""
    data = patient.model.config.data
    if data.dataset not in HANDED:
        return
    ratio = patient.ratio(Change(mirrored=True))
    try:  # one that has learned nothing knows no image from its mirror image either
        learned = patient.beside_linear_of_both <= NO_BETTER
    except MetricError:  # images too large for a covariance
        learned = True
    yield Sign(
        "it was trained on mirrored images",
        f"on mirrored images it errs {ratio:.2f} times as much; for {data.dataset} healthy is above 1.3",
        ratio < 1.1 and learned,
        "Train with data.horizontal_flip false: a mirrored digit is none.",
    )


def _curves(patient: Patient) -> Iterator[Sign]:
    """What the curves of its training warn of."""
    run = patient.model.run
    if run is None or not run.metrics.exists():
        return
    for sentence in advice(read_history(run.metrics), patient.model.config):
        measured, _, remedy = sentence.partition(": ")
        yield Sign("the curves of its training warn", measured, True, remedy)


LOOKS: tuple[Callable[[Patient], Iterator[Sign]], ...] = (
    _start, _reading, _memory, _inputs, _average, _mirror, _labels, _clipping, _learned, _curves,
)  # fmt: skip
"""In the order of how specific they are: a network that is misread also errs more than a linear denoiser, and one that
remembers errs less on new images when it is told of more noise."""
