"""Figures of noise schedules: Plotly for the page, matplotlib for files, the same curves in the same colours.

What is drawn of a schedule is computed here once, for both, and for the images that it noises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import ScheduleConfig
from ..config.variants import labels
from ..diffusion import q_sample
from ..evaluation.calibration import psnr
from ..files import atomic_write
from ..randomness import ImageNoise
from ..schedule import SCHEDULES, NoiseSchedule
from ..spacing import spaced_timesteps
from .figures import PALETTE
from .images import to_pil, to_uint8

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}  # Plotly's name: matplotlib's
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

    def x(self, over: str) -> np.ndarray:
        """Where its timesteps lie on one of ``AXES``, (T,); not-a-number where the log-SNR is infinite."""
        if over == "log_snr":
            return _finite(self.schedule.log_snr)
        t = np.arange(self.schedule.num_timesteps)
        return t / self.schedule.num_timesteps if over == "share" else t


def pen_of(name: str, before: Sequence[ScheduleConfig]) -> Pen:
    """A schedule keeps its colour; its second variant, after those in ``before``, is dashed, and so on."""
    dashes = list(DASHES)
    variants = sum(config.name == name for config in before)
    return Pen(PALETTE[list(SCHEDULES).index(name) % len(PALETTE)], dashes[variants % len(dashes)])


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


def schedules_figure(
    drawn: Sequence[Line], over: str = "t", share: float | None = None, height: int = 150
) -> go.Figure:
    """All ``panels`` below one another over one axis, so that the mouse reads all of them off at once.

    Args:
        over: one of ``AXES``.
        share: of T, where every curve gets a mark.
        height: of one panel, in pixels.
    """
    import plotly.graph_objects as go

    quantities, data = panels(over), []
    for line in drawn:
        kept = _thinned(line.schedule.num_timesteps)
        x, t = line.x(over), None if share is None else line.schedule.timestep_at(share)
        for row, quantity in enumerate(quantities, 1):
            values = [_finite(curve(line.schedule), quantity.log_scale) for curve in quantity.curves]
            for i, y in enumerate(values):
                common = {"type": "scatter", "yaxis": f"y{row}", "name": line.label, "showlegend": False}
                stroke = {"color": line.pen.colour, "width": 1.1 if i else 2.2, "dash": line.pen.dash}
                # One label for both curves of a panel: two for each schedule would hide the panels around.
                label = {"hoverinfo": "skip"} if i else {
                    "customdata": values[-1][kept],
                    "hoverlabel": {"bordercolor": line.pen.colour, "font": {"size": 11}},
                    "hovertemplate": f"%{{y:.3g}}{' · %{customdata:.3g}' if values[1:] else ''}<extra></extra>",
                }  # fmt: skip
                data.append({**common, **label, "x": x[kept], "y": y[kept], "mode": "lines", "line": stroke})
                if t is not None:
                    data.append({**common, "x": x[t : t + 1], "y": y[t : t + 1], "mode": "markers", "hoverinfo": "skip",
                                 "marker": {"color": line.pen.colour, "size": 7}})  # fmt: skip
    return go.Figure({"data": data, "layout": _stacked(quantities, over, height)}, skip_invalid=True)


def _stacked(quantities: Sequence[Quantity], over: str, height: int) -> dict:
    """The layout of panels below one another that share their x axis, each with its name above it."""
    count, gap = len(quantities), 0.24  # of a panel's height, for the name
    layout = {
        "height": height * count + 60,
        "margin": {"l": 8, "r": 8, "t": 4, "b": 8},
        "hovermode": "x",
        "hoversubplots": "axis",
        "xaxis": {"title": AXES[over], "anchor": f"y{count}", "showspikes": True, "spikemode": "across",
                  "spikethickness": 1, "spikedash": "solid", "spikecolor": "gray",
                  "autorange": "reversed" if over == "log_snr" else True},  # time runs to the right
        "annotations": [],
    }  # fmt: skip
    for row, quantity in enumerate(quantities, 1):
        top = 1 - (row - 1 + gap) / count
        axis = {"domain": [1 - row / count + 0.02 / count, top], "anchor": "x", "automargin": True, "nticks": 5}
        if quantity.log_scale:
            axis |= {"type": "log", "tickformat": ".0e", "dtick": 2}
        layout[f"yaxis{row}"] = axis
        layout["annotations"].append(
            {"text": f"<b>{quantity.label}</b>  {quantity.meaning}", "x": 0, "y": top, "xref": "paper", "yref": "paper",
             "xanchor": "left", "yanchor": "bottom", "showarrow": False, "align": "left"}
        )  # fmt: skip
    return layout


def save_schedules(drawn: Sequence[Line], path: Path, over: str = "t", panel_width: float = 4.2) -> None:
    """Write all ``panels`` side by side; the suffix of ``path`` chooses PNG, SVG or PDF.

    ``panel_width`` is in inches: the narrower, the larger the writing on the same page.
    """
    from matplotlib.figure import Figure

    quantities = panels(over)
    columns, rows = 3, math.ceil(len(quantities) / 3)
    figure = Figure(figsize=(panel_width * columns, 0.8 * panel_width * rows), layout="constrained")
    axes = figure.subplots(rows, columns).flatten()
    for place, quantity in zip(axes, quantities, strict=False):
        for line in drawn:
            for width, curve in zip((1.8, 0.8), quantity.curves, strict=False):
                y = _finite(curve(line.schedule), quantity.log_scale)
                place.plot(line.x(over), y, linewidth=width, **_pen(line))
        place.set(xlabel=AXES[over], yscale="log" if quantity.log_scale else "linear")
        place.set_title(quantity.label, fontsize="medium")
        if over == "log_snr":
            place.xaxis.set_inverted(True)
        _plain(place)
    for place in axes[len(quantities) :]:
        place.remove()
    _save_with_legend(figure, drawn, path)


# -- where the steps land ------------------------------------------------------------------------------------------


class Landing(NamedTuple):
    """A schedule with the timesteps that a sampler visits, as it is drawn."""

    line: Line
    x: np.ndarray  # (T,)
    y: np.ndarray  # (T,)
    visited: list[int]
    missed: list[int]  # T - 1, where the sampler does not visit it


def _landings(drawn: Sequence[Line], num_steps: int, spacing: str, over: str) -> list[Landing]:
    """Over t on the curve of alpha_bar; over log SNR, where all those curves are one, each on a level of its own."""
    found = []
    for i, line in enumerate(drawn):
        x, ab = line.x(over), line.schedule.alphas_cumprod.numpy()
        y = np.full(len(x), float(len(drawn) - i)) if over == "log_snr" else ab
        visited = spaced_timesteps(len(x), num_steps, spacing)
        found.append(Landing(line, x, y, visited, [t for t in [len(x) - 1] if t not in visited]))
    return found


def steps_figure(drawn: Sequence[Line], num_steps: int, spacing: str, over: str = "t", height: int = 280) -> go.Figure:
    """The timesteps that a sampler of ``num_steps`` visits; a cross marks T - 1 where it is not visited."""
    import plotly.graph_objects as go

    data = []
    for line, x, y, visited, missed in _landings(drawn, num_steps, spacing, over):
        kept, ab = _thinned(len(x)), line.schedule.alphas_cumprod.numpy()
        common = {"type": "scatter", "name": line.label, "showlegend": False}
        data.append({**common, "x": x[kept], "y": y[kept], "mode": "lines", "hoverinfo": "skip", "opacity": 0.6,
                     "line": {"color": line.pen.colour, "width": 1.5, "dash": line.pen.dash}})  # fmt: skip
        for timesteps, marker, what in (
            (visited, {"size": 7}, ""),
            (missed, {"size": 11, "symbol": "x-thin-open", "line": {"width": 2}}, ", not visited"),
        ):
            data.append({**common, "x": x[timesteps], "y": y[timesteps], "mode": "markers",
                         "marker": marker | {"color": line.pen.colour},
                         "customdata": np.stack([timesteps, ab[timesteps]], 1),
                         "hovertemplate": f"t = %{{customdata[0]}}, ᾱ = %{{customdata[1]:.3g}}{what}"})  # fmt: skip
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hovermode": "closest",
        "xaxis": {"title": AXES[over], "autorange": "reversed" if over == "log_snr" else True},
        "yaxis": {"title": "ᾱ"} if over != "log_snr" else {"visible": False, "range": [0.4, len(drawn) + 0.6]},
    }
    return go.Figure({"data": data, "layout": layout}, skip_invalid=True)


def save_steps(drawn: Sequence[Line], num_steps: int, spacing: str, path: Path, over: str = "t") -> None:
    """Write what ``steps_figure`` draws; the suffix of ``path`` chooses PNG, SVG or PDF."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for line, x, y, visited, missed in _landings(drawn, num_steps, spacing, over):
        axes.plot(x, y, linewidth=1.2, alpha=0.6, **_pen(line))
        axes.plot(x[visited], y[visited], "o", color=line.pen.colour, markersize=4)
        axes.plot(x[missed], y[missed], "x", color=line.pen.colour, markersize=8)
    axes.set(xlabel=AXES[over], ylabel="ᾱ")
    if over == "log_snr":
        axes.xaxis.set_inverted(True)
        axes.set(ylabel="", yticks=[])
    _plain(axes)
    _save_with_legend(figure, drawn, path)


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
    _save(figure, path)


# -- matplotlib ----------------------------------------------------------------------------------------------------


def _pen(line: Line) -> Mapping[str, str]:
    return {"color": line.pen.colour, "linestyle": DASHES[line.pen.dash]}


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _save_with_legend(figure, drawn: Sequence[Line], path: Path) -> None:
    from matplotlib.lines import Line2D

    strokes = [Line2D([], [], linewidth=1.8, label=line.label, **_pen(line)) for line in drawn]
    figure.legend(handles=strokes, loc="outside upper center", ncols=min(len(drawn), 4), frameon=False)
    _save(figure, path)


def _save(figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
