"""Noise schedules: how much of the image is left at every timestep.

A schedule is one float64 tensor, ``alphas_cumprod`` (alpha_bar), of shape (T,): the forward process is

    q(x_t | x0) = N(sqrt(alpha_bar_t) x0, (1 - alpha_bar_t) I)          Ho et al. 2020, eq. 4

and everything else (betas, SNR, posterior variance) follows from it. ``t`` is 0-based; the step past t = 0 is the
clean image, where alpha_bar = 1.

To add one, write the function of its betas under ``@schedule``: the config, the command line, the pages and the tests
read ``SCHEDULES``. Its keyword-only arguments are its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import torch
from torch import Tensor

from .errors import ConfigError, unknown
from .options import Entry, enter, option


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """An immutable noise schedule of T = ``num_timesteps`` steps, everything derived from ``alphas_cumprod``.

    PyTorch has no read-only tensors: do not write into these, whose derived values are computed once.

    Args:
        alphas_cumprod: alpha_bar, shape (T,), float64, strictly decreasing in [0, 1). 0 is allowed at T - 1 only
            (zero terminal SNR).

    Raises:
        ConfigError: T < 2, or values that are not a noise schedule.
    """

    alphas_cumprod: Tensor

    def __post_init__(self):
        ab = self.alphas_cumprod.detach().to("cpu", torch.float64).clone()
        if ab.ndim != 1 or len(ab) < 2:
            raise ConfigError(f"a noise schedule needs at least 2 timesteps, got shape {tuple(ab.shape)}")
        falls = (torch.cat([torch.ones(1, dtype=ab.dtype), ab]).diff() < 0) & (ab >= 0)
        if not falls.all():
            t = int(falls.logical_not().nonzero()[0])
            raise ConfigError(
                f"alphas_cumprod must fall strictly from below 1 to 0 or above; at t = {t} it does not ({ab[t]:.3g})"
            )
        object.__setattr__(self, "alphas_cumprod", ab)

    @classmethod
    def from_betas(cls, betas: Tensor) -> NoiseSchedule:
        """The schedule of the given betas, shape (T,), each in (0, 1): alpha_bar_t = prod_{s<=t} (1 - beta_s)."""
        return cls(torch.cumprod(1.0 - betas.to(torch.float64), dim=0))

    @property
    def num_timesteps(self) -> int:
        return len(self.alphas_cumprod)

    @cached_property
    def alphas_cumprod_prev(self) -> Tensor:
        """alpha_bar one step earlier, 1 before the first: shape (T,)."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])

    @cached_property
    def betas(self) -> Tensor:
        """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, shape (T,)."""
        return 1.0 - self.alphas_cumprod / self.alphas_cumprod_prev

    @cached_property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar), shape (T,) (Kingma et al. 2021, eq. 3)."""
        return self.alphas_cumprod / (1.0 - self.alphas_cumprod)

    @cached_property
    def log_snr(self) -> Tensor:
        """Natural logarithm of ``snr``, shape (T,); -inf where the terminal SNR is zero."""
        return self.snr.log()

    @cached_property
    def posterior_variance(self) -> Tensor:
        """beta tilde_t, the variance of q(x_{t-1} | x_t, x0), shape (T,); 0 at t = 0 (Ho et al. 2020, eq. 7)."""
        return (1.0 - self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod) * self.betas

    @cached_property
    def log_snr_density(self) -> Tensor:
        """Share of the timesteps per unit of log-SNR, -d(t / T) / d log_snr, shape (T,), by central differences.

        This is the density of the noise levels that training draws, and all that the loss sees of a schedule
        (Kingma & Gao 2023, arXiv:2303.00848); 0 beside an infinite log-SNR.
        """
        return -1 / (self.num_timesteps * torch.gradient(self.log_snr)[0])

    def timestep_at(self, share: float) -> int:
        """The timestep that lies at ``share`` of T, 0 to 1."""
        return min(round(share * self.num_timesteps), self.num_timesteps - 1)

    def alpha_bar(self, t: int) -> float:
        """alpha_bar at one timestep as a float; 1 for t = -1, the clean image."""
        return 1.0 if t < 0 else float(self.alphas_cumprod[t])

    def scales(self, t: int | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar) and sqrt(1 - alpha_bar) at ``t``, an int for all images or (B,), in the dtype and on the
        device of ``like`` (B, ...), shaped to broadcast."""
        shape = (-1, *[1] * (like.ndim - 1))
        signal, noise = _scales(self, like.dtype, like.device)
        return signal[t].view(shape), noise[t].view(shape)


@lru_cache(maxsize=64)  # copied once: a copy to a GPU waits for all of its queued work
def _scales(schedule: NoiseSchedule, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    ab = schedule.alphas_cumprod
    with torch.inference_mode(False):  # or training could not use a tensor that sampling cached
        return ab.sqrt().to(dtype).to(device), (1 - ab).sqrt().to(dtype).to(device)


# -- the named schedules -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScheduleSpec(Entry):
    """A named schedule: the function of its betas, whose keyword-only arguments are its parameters."""

    function: Callable[..., Tensor]
    """(num_timesteps, **parameters) -> betas, (T,) float64."""
    formula: str
    """LaTeX."""
    source: str

    @property
    def defaults(self) -> dict[str, float]:
        return {name: info.default for name, info in self.options.items()}


SCHEDULES: dict[str, ScheduleSpec] = {}
"""Every schedule under the name of its function."""


def schedule(formula: str, source: str) -> Callable:
    """Register a function in ``SCHEDULES``; the arguments are those of ``ScheduleSpec``."""
    return lambda function: enter(SCHEDULES, "schedule", ScheduleSpec(function, formula, source))


BetaStart = Annotated[
    float, option("beta at t = 0. Smaller keeps the first steps closer to the image.", "variance", gt=0, lt=1)
]
BetaEnd = Annotated[float, option("beta at t = T - 1. Larger destroys the image earlier.", "variance", gt=0, lt=1)]


def _power_betas(num_timesteps: int, beta_start: float, beta_end: float, power: float) -> Tensor:
    _check_order("beta", beta_start, beta_end)
    ends = beta_start ** (1 / power), beta_end ** (1 / power)
    return torch.linspace(*ends, num_timesteps, dtype=torch.float64) ** power


def _betas_of(alpha_bar: Callable[[Tensor], Tensor], num_timesteps: int, max_beta: float = 0.999) -> Tensor:
    """Betas whose product follows alpha_bar(u), u in [0, 1], each clipped at ``max_beta`` as in Nichol & Dhariwal."""
    ab = alpha_bar(torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64))
    return (1.0 - ab[1:] / ab[:-1]).clamp(max=max_beta)


def _check_order(name: str, start: float, end: float) -> None:
    if start >= end:
        raise ConfigError(f"{name}_start must be below {name}_end, got {start} and {end}")


@schedule(
    r"\beta_t = \beta_0 + \frac{t}{T-1}\,(\beta_{T-1} - \beta_0)",
    "Ho et al. 2020, Denoising Diffusion Probabilistic Models, section 4 (arXiv:2006.11239)",
)
def linear(num_timesteps: int, *, beta_start: BetaStart = 1e-4, beta_end: BetaEnd = 0.02) -> Tensor:
    return _power_betas(num_timesteps, beta_start, beta_end, power=1)


@schedule(
    r"\bar\alpha(u) \propto \cos^2\!\left(\frac{u + s}{1 + s}\cdot\frac{\pi}{2}\right),\quad u = \frac{t+1}{T}",
    "Nichol & Dhariwal 2021, Improved DDPM, eq. 17 (arXiv:2102.09672)",
)
def cosine(
    num_timesteps: int,
    *,
    cosine_s: Annotated[
        float,
        option(
            "Offset s of the cosine schedule, which keeps the first betas from vanishing.", "share of T", gt=0, le=1
        ),
    ] = 0.008,
) -> Tensor:
    return _betas_of(lambda u: torch.cos((u + cosine_s) / (1 + cosine_s) * math.pi / 2) ** 2, num_timesteps)


@schedule(
    r"\bar\alpha(u) \propto \sigma\left(-\frac{a + u (b - a)}{\tau}\right) - \sigma\left(-\frac{b}{\tau}\right)",
    "Chen 2023, On the Importance of Noise Scheduling for Diffusion Models, algorithm 1 (arXiv:2301.10972)",
)
def sigmoid(
    num_timesteps: int,
    *,
    sigmoid_start: Annotated[
        float,
        option(
            "Where on the sigmoid the schedule starts. Further below 0 keeps the image longer.", "logits", ge=-20, le=20
        ),
    ] = -3.0,
    sigmoid_end: Annotated[
        float,
        option(
            "Where on the sigmoid the schedule ends. Further above 0 spends longer on pure noise.",
            "logits", ge=-20, le=20,
        ),
    ] = 3.0,
    sigmoid_tau: Annotated[
        float, option("Temperature of the sigmoid. Smaller makes the fall steeper.", "logits", gt=0, le=10)
    ] = 1.0,
) -> Tensor:  # fmt: skip
    _check_order("sigmoid", sigmoid_start, sigmoid_end)

    def alpha_bar(u: Tensor) -> Tensor:
        v = torch.sigmoid(-(u * (sigmoid_end - sigmoid_start) + sigmoid_start) / sigmoid_tau)
        # Chen divides by v[0] - v[-1], which no beta depends on. His curve ends at exactly 0; the clip of beta at 0.999
        # keeps the last step finite.
        return v - v[-1]

    return _betas_of(alpha_bar, num_timesteps)


_QUADRATIC = r"\sqrt{\beta_t} = \sqrt{\beta_0} + \frac{t}{T-1}\left(\sqrt{\beta_{T-1}} - \sqrt{\beta_0}\right)"


@schedule(_QUADRATIC, "Ho et al. 2020, the 'quad' schedule of the authors' code, over the paper's range of beta")
def quadratic(num_timesteps: int, *, beta_start: BetaStart = 1e-4, beta_end: BetaEnd = 0.02) -> Tensor:
    return _power_betas(num_timesteps, beta_start, beta_end, power=2)


@schedule(
    _QUADRATIC,
    "Rombach et al. 2022, Latent Diffusion (arXiv:2112.10752): the quadratic formula over a narrower range of beta",
)
def scaled_linear(num_timesteps: int, *, beta_start: BetaStart = 0.00085, beta_end: BetaEnd = 0.012) -> Tensor:
    return _power_betas(num_timesteps, beta_start, beta_end, power=2)


@schedule(
    r"\beta_t^{1/p} = \beta_0^{1/p} + \frac{t}{T-1}\left(\beta_{T-1}^{1/p} - \beta_0^{1/p}\right)",
    "linear (p = 1) and quadratic (p = 2) continued; Karras et al. 2022 space their noise levels by the same rule "
    "with p = 7 (arXiv:2206.00364, eq. 5)",
)
def power(
    num_timesteps: int,
    *,
    beta_start: BetaStart = 1e-4,
    beta_end: BetaEnd = 0.02,
    power: Annotated[
        float,
        option(
            "Exponent p of the power schedule: 1 is linear, 2 quadratic. Larger keeps beta small for longer.",
            "exponent", gt=0, le=20,
        ),
    ] = 3.0,
) -> Tensor:  # fmt: skip
    return _power_betas(num_timesteps, beta_start, beta_end, power)


@schedule(
    r"\bar\alpha(u) = \frac{(1 - u)^2}{(1 - u)^2 + u^2},\quad u = \frac{t+1}{T}",
    "Liu et al. 2023, Flow Straight and Fast (arXiv:2209.03003): the straight path (1 - u) x0 + u eps, scaled to "
    "variance 1",
)
def rectified(num_timesteps: int) -> Tensor:
    return _betas_of(lambda u: (1 - u) ** 2 / ((1 - u) ** 2 + u**2), num_timesteps, max_beta=1.0)


def make_schedule(
    name: str = "linear", num_timesteps: int = 1000, *, zero_terminal_snr: bool = False, **parameters: float
) -> NoiseSchedule:
    """Build a schedule of ``SCHEDULES`` by name.

    Args:
        name: linear, cosine, sigmoid, quadratic, scaled_linear, power, rectified, or one that was registered.
        num_timesteps: T >= 2.
        zero_terminal_snr: rescale so that alpha_bar at T - 1 is exactly 0 (Lin et al. 2024, algorithm 1).
        **parameters: overrides of the schedule's own defaults.

    Raises:
        ConfigError: unknown name or parameter, or values that give no valid schedule.
    """
    if name not in SCHEDULES:
        raise ConfigError(unknown("schedule", name, SCHEDULES))
    spec = SCHEDULES[name]
    for key in parameters:
        if key not in spec.options:
            raise ConfigError(unknown(f"parameter of the {name} schedule", key, spec.options))
    if num_timesteps < 2:
        raise ConfigError(f"num_timesteps must be at least 2, got {num_timesteps}")
    made = NoiseSchedule.from_betas(spec.function(num_timesteps, **parameters))
    return rescale_zero_terminal_snr(made) if zero_terminal_snr else made


def rescale_zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shift and scale sqrt(alpha_bar): its last value becomes 0, its first stays (Lin et al. 2024, algorithm 1)."""
    root = schedule.alphas_cumprod.sqrt()
    first, last = root[0], root[-1]
    return NoiseSchedule(((root - last) * first / (first - last)) ** 2)
