"""The diffusion process: noising, the parametrisations, the loss, and the denoiser that samplers see.

With a_t = sqrt(alpha_bar_t) and s_t = sqrt(1 - alpha_bar_t), x_t = a_t x0 + s_t eps (Ho et al. 2020, eq. 4), and a
network may predict any of

    eps    the noise                                                    Ho et al. 2020, eq. 14
    x0     the clean image
    v      a_t eps - s_t x0                                             Salimans & Ho 2022, appendix D
    u      eps - x0, the velocity of rectified flow                     Liu et al. 2023; Lipman et al. 2023

At fixed x_t they are one thing in several coordinates, and so is the score of x_t, -eps / s_t (Song et al. 2021). One
function, ``to_prediction``, turns each of them into (x0, eps); the loss and every sampler go through it.

Rectified flow goes along straight lines, (1 - w) x0 + w eps for w from 0 to 1. Divided by sqrt((1 - w)^2 + w^2) its
states are x_t of the schedule ``rectified``, w = (t + 1) / T: the same process, and the same samplers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import ConfigError, unknown

if TYPE_CHECKING:
    from .schedule import NoiseSchedule


class Output(NamedTuple):
    """Something that a network may predict, in terms of a, s, x0 and eps at fixed x_t."""

    of: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """(a, s, x0, eps) -> the output."""
    back: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """(a, s, output, x_t) -> (x0, eps)."""
    per_x0_error: Callable[[Tensor], Tensor]
    """SNR -> the squared error of the output over that of x0."""


OUTPUTS: dict[str, Output] = {
    "eps": Output(
        lambda a, s, x0, eps: eps,
        lambda a, s, out, x_t: ((x_t - s * out) / a, out),
        lambda snr: snr,
    ),
    "x0": Output(
        lambda a, s, x0, eps: x0,
        lambda a, s, out, x_t: (out, (x_t - a * out) / s),
        torch.ones_like,
    ),
    "v": Output(
        lambda a, s, x0, eps: a * eps - s * x0,
        lambda a, s, out, x_t: (a * x_t - s * out, s * x_t + a * out),
        lambda snr: snr + 1,
    ),
    "u": Output(
        lambda a, s, x0, eps: eps - x0,
        lambda a, s, out, x_t: ((x_t - s * out) / (a + s), (x_t + a * out) / (a + s)),
        lambda snr: (snr.sqrt() + 1) ** 2,
    ),
    "score": Output(
        lambda a, s, x0, eps: -eps / s,
        lambda a, s, out, x_t: ((x_t + s**2 * out) / a, -s * out),
        lambda snr: snr * (snr + 1),
    ),
}
"""Everything that says the same of x_t."""
PREDICTION_TYPES = ("eps", "x0", "v", "u")
"""Those that a config may ask a network for."""


class Prediction(NamedTuple):
    """What a denoiser says about x_t: the clean image and the noise, both of the shape of x_t."""

    x0: Tensor
    eps: Tensor


def q_sample(schedule: NoiseSchedule, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t ~ q(x_t | x0) for the given noise (Ho et al. 2020, eq. 4). x0, eps: (B, ...); t: (B,) long in 0..T-1.

    Raises:
        ConfigError: a t below 0, which indexing would count from the end. Not checked on a GPU, since the check would
            have to wait for it.
    """
    if t.device.type == "cpu" and len(t) and t.min() < 0:
        raise ConfigError(f"t must be 0 to {schedule.num_timesteps - 1}, got {int(t.min())}")
    a, s = schedule.scales(t, x0)
    return a * x0 + s * eps


def q_posterior(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, t: int, t_next: int) -> tuple[Tensor, float]:
    """Mean and variance of q(x_s | x_t, x0) for any s = ``t_next`` < t; -1 is the clean image.

    For s = t - 1 this is Ho et al. 2020, eq. 6 and 7; between spaced timesteps alpha_t is alpha_bar_t / alpha_bar_s.
    """
    ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    alpha = ab_t / ab_s
    mean = (math.sqrt(ab_s) * (1 - alpha) * x0 + math.sqrt(alpha) * (1 - ab_s) * x_t) / (1 - ab_t)
    return mean, (1 - ab_s) / (1 - ab_t) * (1 - alpha)


def to_prediction(schedule: NoiseSchedule, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: str) -> Prediction:
    """Turn a network's output into (x0, eps). output, x_t: (B, ...); t: (B,) long.

    Raises:
        ConfigError: prediction_type is none of ``OUTPUTS``.
    """
    return Prediction(*_output(prediction_type).back(*schedule.scales(t, x_t), output, x_t))


def target(schedule: NoiseSchedule, x0: Tensor, eps: Tensor, t: int | Tensor, prediction_type: str) -> Tensor:
    """What the network should output for (x0, eps): the inverse of ``to_prediction``."""
    return _output(prediction_type).of(*schedule.scales(t, x0), x0, eps)


def _output(prediction_type: str) -> Output:
    if prediction_type not in OUTPUTS:
        raise ConfigError(unknown("prediction_type", prediction_type, OUTPUTS))
    return OUTPUTS[prediction_type]


# -- the loss ------------------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
WEIGHTINGS = ("uniform", "min_snr")


def loss_weights(
    schedule: NoiseSchedule, prediction_type: str, weighting: str = "uniform", min_snr_gamma: float = 5.0
) -> Tensor:
    """The weight of the loss at every timestep, shape (T,), float64.

    min_snr weighs the error of x0 with min(SNR, gamma) (Hang et al. 2023, eq. 10). For the network's output that is
    min(SNR, gamma) / SNR for eps, min(SNR, gamma) / (SNR + 1) for v and min(SNR, gamma) / (sqrt(SNR) + 1)^2 for u.
    """
    if weighting == "uniform":
        return torch.ones_like(schedule.snr)
    if weighting != "min_snr":
        raise ConfigError(unknown("loss weighting", weighting, WEIGHTINGS))
    return schedule.snr.clamp(max=min_snr_gamma) / _output(prediction_type).per_x0_error(schedule.snr)


def diffusion_loss(
    schedule: NoiseSchedule,
    model: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    y: Tensor | None = None,
    *,
    prediction_type: str = "eps",
    loss: str = "mse",
    weights: Tensor | None = None,
) -> Tensor:
    """The training loss of every image, shape (B,): the (weighted) distance of output and target, mean over pixels.

    Args:
        model: the network, (x_t, t, y) -> output of the shape of x_t.
        x0, eps: (B, C, H, W), x0 in [-1, 1].
        t: (B,) long in 0..T-1.
        y: (B,) long class labels, or None.
        weights: (T,) from ``loss_weights``; None is uniform.
    """
    distance = _distance(loss, weights)
    output = model(q_sample(schedule, x0, t, eps), t, y).float()
    return distance(output, target(schedule, x0, eps, t, prediction_type), t)


def zero_loss(
    schedule: NoiseSchedule,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    prediction_type: str = "eps",
    loss: str = "mse",
    weights: Tensor | None = None,
) -> Tensor:
    """The ``diffusion_loss`` of a network that outputs zero everywhere, as a freshly initialised one does: (B,)."""
    wanted = target(schedule, x0, eps, t, prediction_type)
    return _distance(loss, weights)(torch.zeros_like(wanted), wanted, t)


def _distance(loss: str, weights: Tensor | None) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(output, wanted, t) -> the (weighted) distance of every image, mean over pixels: (B,)."""
    if loss not in LOSSES:
        raise ConfigError(unknown("loss", loss, LOSSES))

    def distance(output: Tensor, wanted: Tensor, t: Tensor) -> Tensor:
        per_image = LOSSES[loss](output, wanted, reduction="none").flatten(1).mean(1)
        return per_image if weights is None else per_image * weights.to(t.device, torch.float32)[t]

    return distance


# -- the denoiser --------------------------------------------------------------------------------------------------

Denoiser = Callable[[Tensor, int | Tensor], Prediction]
"""All that a sampler knows of a model: (x_t, t) -> Prediction(x0, eps), with x_t (B, C, H, W), and t an int or, if
every image has its own timestep, (B,) long. An int can be read without waiting for a device."""


def make_denoiser(
    model: nn.Module,
    schedule: NoiseSchedule,
    prediction_type: str,
    labels: Tensor | None = None,
    *,
    null_label: int | None = None,
    guidance_scale: float | Tensor = 1.0,
    guidance_interval: tuple[int, int] | None = None,
    clip: bool = True,
) -> Denoiser:
    """Wrap a network as a ``Denoiser``, with classifier-free guidance (Ho & Salimans 2022) and clipping.

    Args:
        model: (x_t, t, y) -> output; y is None for a model without classes.
        labels: (B,) long; ``null_label`` marks an unconditional image. Or (B, K) floats, shares of classes, for a model
            that takes such mixtures.
        null_label: the label that the model learned as "no class"; None for a model without classes.
        guidance_scale: w in D = D(null) + w (D(y) - D(null)). 1 is off, 0 unconditional, above 1 exaggerates the
            class. This is the convention of EDM and k-diffusion; the paper's w is smaller by one. A tensor (B,) gives
            every image its own.
        guidance_interval: first and last timestep at which guidance acts, both included (Kynkäänniemi et al. 2024);
            elsewhere the scale is 1. None is all of them.
        clip: clamp x0 to [-1, 1], the range of the data, and derive eps from the clamped x0.
    """

    if isinstance(guidance_scale, Tensor) and guidance_scale.ndim != 1:
        shape = tuple(guidance_scale.shape)
        raise ConfigError(f"guidance_scale must be a number or (B,), one for each image, got {shape}")

    def raw(x_t: Tensor, t: int | Tensor) -> Tensor:
        scale = 1.0 if labels is None else scale_at(t, guidance_scale, guidance_interval)
        steps = t if isinstance(t, Tensor) else torch.full((len(x_t),), t, dtype=torch.long, device=x_t.device)
        if not isinstance(scale, Tensor) and scale == 1:
            return model(x_t, steps, labels)
        # All three outputs are affine in each other at fixed x_t, so guiding the raw output guides x0 and eps alike.
        both = torch.cat([labels, _null_like(labels, null_label)])
        conditional, unconditional = model(torch.cat([x_t, x_t]), torch.cat([steps, steps]), both).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    def denoise(x_t: Tensor, t: int | Tensor) -> Prediction:
        prediction = to_prediction(schedule, raw(x_t, t).float(), x_t, t, prediction_type)
        return _clipped(schedule, prediction, x_t, t) if clip else prediction

    return denoise


def _null_like(labels: Tensor, null_label: int) -> Tensor:
    """Labels of no class, in the form of ``labels``."""
    if labels.ndim == 1:
        return torch.full_like(labels, null_label)
    shares = torch.zeros_like(labels)
    shares[:, null_label] = 1
    return shares


def autoguided(
    denoise: Denoiser,
    guide: Denoiser,
    schedule: NoiseSchedule,
    scale: float,
    *,
    interval: tuple[int, int] | None = None,
    clip: bool = True,
) -> Denoiser:
    """Autoguidance (Karras et al. 2024, arXiv:2406.02507, eq. 3): D = D_guide + w (D - D_guide).

    The guide makes the errors of the model, only larger; what leads away from them leads to better images of the same
    variety. It is evaluated where the scale is not 1.

    Args:
        denoise, guide: the model and a weaker version of it, smaller or less trained, for the same labels; unclipped.
        scale: w; 1 is off.
        interval: first and last timestep at which it acts, both included; None is all of them.
        clip: clamp x0 to [-1, 1], and derive eps from it.
    """

    def guided(x_t: Tensor, t: int | Tensor) -> Prediction:
        own, w = denoise(x_t, t), scale_at(t, scale, interval)
        if isinstance(w, Tensor) or w != 1:
            own = Prediction(*(theirs + w * (ours - theirs) for ours, theirs in zip(own, guide(x_t, t), strict=True)))
        return _clipped(schedule, own, x_t, t) if clip else own

    return guided


def scale_at(t: int | Tensor, scale: float | Tensor, interval: tuple[int, int] | None) -> float | Tensor:
    """The scale of a guidance at t: a number, or (B, 1, 1, 1); 1 outside the interval."""
    if interval is not None and (isinstance(scale, Tensor) or scale != 1):
        first, last = interval
        if isinstance(t, Tensor):
            scale = torch.where((first <= t) & (t <= last), scale, 1.0)
        elif not first <= t <= last:
            return 1.0
    return scale.view(-1, 1, 1, 1) if isinstance(scale, Tensor) else scale


def _clipped(schedule: NoiseSchedule, prediction: Prediction, x_t: Tensor, t: int | Tensor) -> Prediction:
    return to_prediction(schedule, prediction.x0.clamp(-1, 1), x_t, t, "x0")
