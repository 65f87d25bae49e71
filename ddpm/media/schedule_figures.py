"""The charts of noise schedules: their curves, the timesteps that a sampler visits, an image under their noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config.sections import ScheduleConfig
from ..config.variants import labels
from ..diffusion import q_sample
from ..evaluation.calibration import psnr
from ..randomness import ImageNoise
from ..schedule import SCHEDULES, NoiseSchedule
from ..spacing import spaced_timesteps
from .chart import DASHES, PALETTE, Axis, Chart, Panel, Trace, colour_of
from .drawers import save_figure
from .images import to_pil, to_uint8

AXES = {"t": "t", "share": "t / T", "log_snr": "log SNR"}
MAX_POINTS = 320  # of a curve: finer than the pixels that it is drawn with
EDGE = 24  # timesteps at either end that are all kept, since there the curves bend most


class Pen(NamedTuple):
    """What a curve is drawn with, in every figure: a colour and one of ``DASHES``."""

    colour: str
    dash: str


@dataclass(frozen=True)
class Line:
    """A schedule as it is drawn."""

    label: str
    schedule: NoiseSchedule
    pen: Pen


def places(schedule: NoiseSchedule, over: str) -> np.ndarray:
    """Where the timesteps lie on one of ``AXES``, (T,); not-a-number where the log-SNR is infinite."""
    if over == "log_snr":
        return _finite(schedule.log_snr)
    t = np.arange(schedule.num_timesteps)
    return t / schedule.num_timesteps if over == "share" else t


def axis(over: str, *, reverse: bool = False) -> Axis:
    """The x axis for one of ``AXES``: the forward process runs to the right, or the reverse process does."""
    return Axis(AXES[over], reversed=(over == "log_snr") != reverse)


def pen_of(name: str, before: Sequence[ScheduleConfig]) -> Pen:
    """A schedule keeps its colour; its second variant, after those in ``before``, is dashed, and so on. A schedule that
    came after all colours had been given has the first again, dashed from the start."""
    dashes, number = list(DASHES), list(SCHEDULES).index(name)
    variants = sum(config.name == name for config in before) + number // len(PALETTE)
    return Pen(colour_of(number), dashes[variants % len(dashes)])


def lines(configs: Sequence[ScheduleConfig]) -> list[Line]:
    """The schedules with what tells them apart in a figure."""
    return [
        Line(label, config.build(), pen_of(config.name, configs[:i]))
        for i, (config, label) in enumerate(zip(configs, labels(configs), strict=True))
    ]


class Quantity(NamedTuple):
    """Something of a schedule that can be drawn over t."""

    label: str
    meaning: str
    curves: tuple[Callable[[NoiseSchedule], Tensor], ...]  # the second, if any, is drawn thin
    log_scale: bool = False


QUANTITIES: dict[str, Quantity] = {
    "alpha_bar": Quantity("ᾱ", "share of the image's variance that is left", (lambda s: s.alphas_cumprod,)),
    "amplitudes": Quantity(
        "√ᾱ and √(1 − ᾱ)",
        "amplitudes of image (bold) and noise (thin)",
        (lambda s: s.alphas_cumprod.sqrt(), lambda s: (1 - s.alphas_cumprod).sqrt()),
    ),
    "log_snr": Quantity(
        "log SNR", "log ᾱ / (1 − ᾱ): 0 where image and noise are equally strong", (lambda s: s.log_snr,)
    ),
    "density": Quantity(
        "timesteps per unit of log SNR",
        "share of T: which noise levels training sees most",
        (lambda s: s.log_snr_density,),
    ),
    "beta": Quantity("β", "variance of the noise that step t adds", (lambda s: s.betas,), log_scale=True),
    "posterior_variance": Quantity(
        "β̃",
        "variance of the step back, q(x<sub>t−1</sub> | x<sub>t</sub>, x<sub>0</sub>)",
        (lambda s: s.posterior_variance,),
        log_scale=True,
    ),
}


def panels(over: str) -> list[Quantity]:
    """What is drawn over one of ``AXES``: over log SNR itself, its density in its place."""
    left_out = "log_snr" if over == "log_snr" else "density"
    return [quantity for key, quantity in QUANTITIES.items() if key != left_out]


def _finite(values: Tensor, log_scale: bool = False) -> np.ndarray:
    """Gaps where a value cannot be drawn: infinities, and on a logarithmic axis 0."""
    y = values.numpy()
    return np.where(np.isfinite(y) & ((y > 0) | (not log_scale)), y, np.nan)


def _thinned(num_timesteps: int) -> np.ndarray:
    """The timesteps that a curve is drawn through."""
    if num_timesteps <= MAX_POINTS:
        return np.arange(num_timesteps)
    even = np.linspace(0, num_timesteps - 1, MAX_POINTS - 2 * EDGE).round().astype(int)
    return np.unique(np.concatenate([even, np.arange(EDGE), num_timesteps - 1 - np.arange(EDGE)]))


# -- curves --------------------------------------------------------------------------------------------------------


def schedules_chart(drawn: Sequence[Line], over: str = "t", share: float | None = None) -> Chart:
    """All ``panels`` over one of ``AXES``; every curve gets a mark at ``share`` of T."""
    found = [
        Panel(
            [trace for line in drawn for trace in _curves(line, quantity, over, share)],
            Axis(log=quantity.log_scale),
            quantity.label,
            quantity.meaning,
        )
        for quantity in panels(over)
    ]
    return Chart(found, axis(over), hover="x", height=150 * len(found) + 60, columns=3)


def _curves(line: Line, quantity: Quantity, over: str, share: float | None) -> Iterator[Trace]:
    x, kept = places(line.schedule, over), _thinned(line.schedule.num_timesteps)
    first, *second = [_finite(curve(line.schedule), quantity.log_scale) for curve in quantity.curves]
    # One label for both curves of a panel: two for each schedule would hide the panels around.
    hover = f"%{{y:.3g}}{' · %{customdata:.3g}' if second else ''}<extra></extra>"
    yield Trace(x[kept], first[kept], line.label, *line.pen, 2.2, hover=hover,
                hover_data=second[0][kept] if second else None)  # fmt: skip
    for y in second:
        yield Trace(x[kept], y[kept], line.label, *line.pen, 1.1, hover="")
    if share is not None:
        t = [line.schedule.timestep_at(share)]
        for y in (first, *second):
            yield Trace(x[t], y[t], line.label, line.pen.colour, "", mark="circle", size=7, hover="")


# -- where the steps land ------------------------------------------------------------------------------------------


def steps_chart(drawn: Sequence[Line], num_steps: int, spacing: str, over: str = "t") -> Chart:
    """The timesteps that a sampler of ``num_steps`` visits; a cross marks T - 1 where it is not visited.

    Over t on the curve of alpha_bar; over log SNR, where all those curves are one, each on a level of its own.
    """
    traces = []
    for level, line in zip(range(len(drawn), 0, -1), drawn, strict=True):
        x, ab = places(line.schedule, over), line.schedule.alphas_cumprod.numpy()
        y, kept = np.full(len(x), float(level)) if over == "log_snr" else ab, _thinned(len(x))
        traces.append(Trace(x[kept], y[kept], line.label, *line.pen, 1.5, opacity=0.6, hover=""))
        visited = spaced_timesteps(len(x), num_steps, spacing)
        missed = [t for t in [len(x) - 1] if t not in visited]
        for ts, mark, size, what in ((visited, "circle", 7, ""), (missed, "x-thin-open", 11, ", not visited")):
            hover = f"t = %{{customdata[0]}}, ᾱ = %{{customdata[1]:.3g}}{what}"
            traces.append(Trace(x[ts], y[ts], line.label, line.pen.colour, "", mark=mark, size=size, hover=hover,
                                hover_data=np.stack([ts, ab[ts]], 1)))  # fmt: skip
    y_axis = Axis(visible=False, range=(0.4, len(drawn) + 0.6)) if over == "log_snr" else Axis("ᾱ")
    return Chart([Panel(traces, y_axis)], axis(over), hover="closest", height=280)


# -- a real image --------------------------------------------------------------------------------------------------


class Noised(NamedTuple):
    """An image at one timestep of one schedule."""

    t: int
    image: Tensor  # uint8 (C, H, W)
    psnr: float  # dB, of what is shown against the clean image


def noise_like(x0: Tensor, seed: int) -> Tensor:
    """The noise of image 0 of a seed, of the shape of x0 (1, C, H, W)."""
    return ImageNoise(seed, [0], tuple(x0.shape[1:]))()


def noised(schedule: NoiseSchedule, x0: Tensor, eps: Tensor, shares: Sequence[float]) -> list[Noised]:
    """x0 (1, C, H, W) in [-1, 1], noised by the one ``eps`` of its shape, at each of ``shares`` of T."""
    timesteps = [schedule.timestep_at(share) for share in shares]
    many = x0.expand(len(timesteps), -1, -1, -1)
    x_t = q_sample(schedule, many, torch.tensor(timesteps), eps)
    return [Noised(*row) for row in zip(timesteps, to_uint8(x_t), psnr(x_t, many).tolist(), strict=True)]


def save_noised(drawn: Sequence[Line], x0: Tensor, eps: Tensor, shares: Sequence[float], path: Path) -> None:
    """Write the image noised by every schedule: rows are schedules, columns timesteps, below each its PSNR."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.1 * len(shares), 1.4 * len(drawn)), layout="constrained")
    grid = figure.subplots(len(drawn), len(shares), squeeze=False)
    for line, row in zip(drawn, grid, strict=True):
        for place, cell in zip(row, noised(line.schedule, x0, eps, shares), strict=True):
            place.imshow(to_pil(cell.image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            place.set_title(f"t = {cell.t}", fontsize="small")
            place.set_xlabel(f"{cell.psnr:.1f} dB", fontsize="small")
            place.set(xticks=[], yticks=[])
        row[0].set_ylabel(line.label.replace(", ", "\n"), color=line.pen.colour, fontsize="small")
    save_figure(figure, path)
