"""Which timesteps a sampler visits, and whether it starts where training ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .errors import ConfigError, unknown

if TYPE_CHECKING:
    from .schedule import NoiseSchedule

SPACINGS = ("leading", "linspace", "trailing", "quadratic")


def spaced_timesteps(num_timesteps: int, num_steps: int, spacing: str = "trailing") -> list[int]:
    """The timesteps that a sampler of ``num_steps`` steps visits, falling, 0-based (Lin et al. 2024, table 2).

    leading starts below T - 1 and ends at 0; linspace has both ends; trailing starts at T - 1 and ends above 0.
    quadratic (Song et al. 2021, appendix D.2) has the same ends as trailing, with timesteps closer together where there
    is less noise: best for higher-order solvers in few steps.

    Raises:
        ConfigError: unknown spacing, or num_steps outside 1..T.
    """
    if spacing not in SPACINGS:
        raise ConfigError(unknown("timestep spacing", spacing, SPACINGS))
    if not 1 <= num_steps <= num_timesteps:
        raise ConfigError(f"num_steps must be between 1 and the model's {num_timesteps} timesteps, got {num_steps}")
    if spacing == "leading":
        return [i * (num_timesteps // num_steps) for i in reversed(range(num_steps))]
    if spacing == "trailing":
        return [round(num_timesteps * (num_steps - i) / num_steps) - 1 for i in range(num_steps)]
    if spacing == "quadratic":
        rising: list[int] = []
        for i in range(1, num_steps + 1):  # timesteps that coincide after rounding move up
            rising.append(max(round(num_timesteps * (i / num_steps) ** 2) - 1, rising[-1] + 1 if rising else 0))
        return rising[::-1]
    if num_steps == 1:  # both ends at once is impossible: start where the noise is
        return [num_timesteps - 1]
    return [round((num_timesteps - 1) * i / (num_steps - 1)) for i in reversed(range(num_steps))]


class Start(NamedTuple):
    """The verdict on where a sampler starts."""

    problems: tuple[str, ...]
    """What is wrong, in plain words, each without a full stop; empty if all is well."""
    harmful: bool
    """Whether it can affect the samples; ``HARM`` says how."""


HARM = (
    "A model relies on what it can see: it takes the mean of the noise, medium grey, for the brightness of the image, "
    "and samples cannot reach full black or white."
)


def starting_point(schedule: NoiseSchedule, timesteps: Sequence[int], num_values: int) -> Start:
    """Judge where a sampler starts, which is always from pure noise (Lin et al. 2024, section 3).

    In training, x_t still held sqrt(alpha_bar_t) of the image. This shows if it shifts the mean over all values of a
    white image by more than the standard error that the noise gives this mean: sqrt(SNR_t C H W) > 1.

    Args:
        timesteps: those that the sampler visits, falling, as ``spaced_timesteps`` gives them.
        num_values: C H W of one image. The more there are, the fainter a signal shows (Chen 2023, section 2).
    """
    first, last = timesteps[0], schedule.num_timesteps - 1

    def shift(t: int) -> float:
        return math.sqrt(float(schedule.snr[t]) * num_values)

    def shows(t: int) -> bool:
        return shift(t) > 1

    def left(t: int) -> str:
        return (
            f"{100 * math.sqrt(schedule.alpha_bar(t)):.2g} % of the image's amplitude "
            f"({shift(t):.2g} standard errors of the mean: {'it shows' if shows(t) else 'too faint to matter'})"
        )

    problems = []
    if first != last:
        problems.append(f"the first step is at t = {first}, not at T - 1 = {last}; training left {left(first)} there")
    if shows(last):
        problems.append(f"the terminal SNR is not near zero: training left {left(last)} at T - 1 = {last}")
    return Start(tuple(problems), harmful=shows(first) or shows(last))
