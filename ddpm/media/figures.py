"""Figures: Plotly for the pages, matplotlib for files. Both draw the same quantities in the same colours."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..files import atomic_write
from ..schedule import SCHEDULES, NoiseSchedule
from ..training.history import History, smoothed

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colour-blind-safe hues as in .streamlit/config.toml, where the reasons stand.
PALETTE = ("#655DA8", "#E17702", "#348266", "#A94422", "#009BF4", "#AC8AA1")
SCHEDULE_COLOURS = dict(zip(SCHEDULES, PALETTE, strict=False))


class Quantity(NamedTuple):
    """Something of a schedule that can be drawn over t."""

    label: str  # for an axis
    latex: str
    meaning: str
    attribute: str  # of NoiseSchedule
    log_scale: bool = False


QUANTITIES: dict[str, Quantity] = {
    "alpha_bar": Quantity(
        "alpha_bar", r"\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)",
        "Share of the image's variance that is left at t: 1 is the clean image, 0 pure noise.", "alphas_cumprod",
    ),
    "beta": Quantity(
        "beta", r"\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1}",
        "Variance of the noise added in step t.", "betas", log_scale=True,
    ),
    "log_snr": Quantity(
        "log SNR", r"\log \mathrm{SNR}_t = \log \frac{\bar\alpha_t}{1 - \bar\alpha_t}",
        "Signal over noise, natural logarithm: 0 where both are equally strong.", "log_snr",
    ),
}  # fmt: skip


def format_alpha_bar(value: float) -> str:
    """Four decimals, or two significant digits where those would say 0 or 1."""
    return f"{value:.4f}" if 5e-4 < value < 0.99995 else f"{value:.2g}" if value < 0.5 else f"1 - {1 - value:.1g}"


def duration(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def span(seconds: float) -> str:
    """A duration in one unit: 42 s, 4.2 min, 1.5 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def values_of(schedule: NoiseSchedule, quantity: str) -> np.ndarray:
    """One of ``QUANTITIES`` over t, (T,); not-a-number where it is infinite, so that a plot leaves a gap."""
    values = getattr(schedule, QUANTITIES[quantity].attribute).numpy()
    return np.where(np.isfinite(values), values, np.nan)


def schedule_figure(
    schedules: Mapping[str, NoiseSchedule], quantity: str, marked_t: int | None = None, height: int = 300
) -> go.Figure:
    """A Plotly figure of one quantity of several schedules over t, with a line at ``marked_t``.

    It has no legend: figures side by side share one, in ``SCHEDULE_COLOURS``.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, schedule in schedules.items():
        figure.add_scatter(
            x=np.arange(schedule.num_timesteps),
            y=values_of(schedule, quantity),
            name=name,
            mode="lines",
            line={"color": SCHEDULE_COLOURS.get(name, PALETTE[-1]), "width": 2},
            hovertemplate="%{y:.4g}",
        )
    if marked_t is not None:
        figure.add_vline(x=marked_t, line={"width": 1, "dash": "dot", "color": "gray"})
    if QUANTITIES[quantity].log_scale:
        figure.update_yaxes(type="log", exponentformat="e", dtick=1)
    return _styled(figure, "t", height)


def _styled(figure: go.Figure, x_label: str, height: int, showlegend: bool = False) -> go.Figure:
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        hovermode="x unified",
        showlegend=showlegend,
        xaxis={"title": x_label},
    )


def save_schedules(schedules: Mapping[str, NoiseSchedule], path: Path, panel_width: float = 4.2) -> None:
    """Write all quantities of several schedules side by side; the suffix of ``path`` chooses PNG, SVG or PDF.

    ``panel_width`` is in inches: the narrower, the larger the writing on the same page.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(panel_width * len(QUANTITIES), 0.86 * panel_width), layout="constrained")
    for axes, (key, quantity) in zip(
        np.atleast_1d(figure.subplots(1, len(QUANTITIES))), QUANTITIES.items(), strict=True
    ):
        for name, schedule in schedules.items():
            draw = axes.semilogy if quantity.log_scale else axes.plot
            draw(values_of(schedule, key), label=name, color=SCHEDULE_COLOURS.get(name), linewidth=1.8)
        axes.set(xlabel="t", ylabel=quantity.label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(schedules), frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)


# -- training curves -----------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """Something of a training run that can be drawn over its steps."""

    label: str
    meaning: str
    columns: tuple[str, ...]
    log_scale: bool = False
    noisy: bool = True  # worth smoothing


CURVES: dict[str, Curve] = {
    "loss": Curve(
        "loss",
        "Solid: of the training batches. Dotted, with marks: of the averaged weights on the validation images.",
        ("train_loss", "val_loss"),
        True,
    ),
    "learning_rate": Curve("learning rate", "Warm-up, then a cosine to zero.", ("learning_rate",), noisy=False),
    "grad_norm": Curve("gradient norm", "Before it is clipped.", ("grad_norm",), True),
    "images_per_second": Curve("images / s", "Speed of training.", ("images_per_second",)),
}
AXES = {"step": "step", "epoch": "epoch", "elapsed": "time / s"}


def run_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for every run, the same on every page: its name decides, as far as colours go round."""
    taken: dict[str, str] = {}
    for name in sorted(names):
        start = zlib.crc32(name.encode()) % len(PALETTE)
        order = PALETTE[start:] + PALETTE[:start]
        taken[name] = next((colour for colour in order if colour not in taken.values()), order[0])
    return taken


def history_figure(
    histories: Mapping[str, History],
    curve: str,
    *,
    axis: str = "step",
    smoothing: float = 0.0,
    log_scale: bool | None = None,
    height: int = 300,
) -> go.Figure:
    """A Plotly figure of one of ``CURVES`` for several runs, over one of ``AXES``; raw values stay faintly visible.

    It has no legend: figures side by side share one, in ``run_colours``.
    """
    import plotly.graph_objects as go

    spec, figure, colours = CURVES[curve], go.Figure(), run_colours(histories)
    for name, history in histories.items():
        for column in spec.columns:
            x, y = history.axis(axis, column), history.column(column)
            validation = column == "val_loss"
            if smoothing and spec.noisy and not validation:
                figure.add_scatter(x=x, y=y, mode="lines", line={"color": colours[name], "width": 1}, opacity=0.25,
                                   showlegend=False, hoverinfo="skip")  # fmt: skip
                y = smoothed(y, smoothing)
            figure.add_scatter(
                x=x,
                y=y,
                name=f"{name}, validation" if validation else name,
                mode="lines+markers" if validation or len(y) == 1 else "lines",
                line={"color": colours[name], "width": 2, "dash": "dot" if validation else "solid"},
                hovertemplate="%{y:.4g}",
            )
    if spec.log_scale if log_scale is None else log_scale:
        figure.update_yaxes(type="log", exponentformat="e")
    return _styled(figure, AXES[axis], height)


def bands_figure(history: History, *, axis: str = "step", smoothing: float = 0.0, height: int = 300) -> go.Figure:
    """A Plotly figure of a run's loss by band of t: dark bands are small t, where detail is decided."""
    import plotly.graph_objects as go
    from plotly.colors import sample_colorscale

    bands = history.column("loss_by_t")
    figure = go.Figure()
    for i, colour in enumerate(sample_colorscale("Viridis", np.linspace(0.2, 0.9, bands.shape[1]).tolist())):
        low, high = i / bands.shape[1], (i + 1) / bands.shape[1]
        figure.add_scatter(
            x=history.axis(axis, "loss_by_t"), y=smoothed(bands[:, i], smoothing), mode="lines",
            line={"color": colour, "width": 1.5}, name=f"t / T {low:.1f} to {high:.1f}", hovertemplate="%{y:.4g}",
        )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="e")
    return _styled(figure, AXES[axis], height, showlegend=True)


def save_curves(history: History, folder: Path) -> list[Path]:
    """Write the curves of one run as PNG files, named as the seed report's; returns their paths."""
    written = []
    for name, column, log_scale in FILES:
        path = folder / f"{name}.png"
        with atomic_write(path) as temporary:
            _drawn(history, [(column, log_scale)], columns=1).savefig(temporary, dpi=150)
        written.append(path)
    return written


def curves_png(history: History) -> bytes:
    """All curves of one run in one PNG."""
    buffer = io.BytesIO()
    _drawn(history, [(column, log_scale) for _, column, log_scale in FILES], columns=2).savefig(buffer, dpi=150)
    return buffer.getvalue()


FILES = (  # (name of the file, column of the history, logarithmic)
    ("train_loss_curve", "train_loss", True),
    ("val_loss_curve", "val_loss", True),
    ("learning_rate", "learning_rate", False),
    ("grad_norm", "grad_norm", True),
    ("images_per_second", "images_per_second", False),
)


def _drawn(history: History, curves: Sequence[tuple[str, bool]], columns: int):
    """A matplotlib figure with a panel for each (column of the history, logarithmic)."""
    from matplotlib.figure import Figure

    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(6 * columns, 3.6 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).flatten()
    for axes, (column, log_scale) in zip(panels, curves, strict=False):
        axes.plot(history.axis("step", column), history.column(column), color=PALETTE[0], linewidth=1.5)
        axes.set(xlabel="step", ylabel=column.replace("_", " "), yscale="log" if log_scale else "linear")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(curves) :]:
        axes.remove()
    return figure


# -- evaluation ----------------------------------------------------------------------------------------------------


def save_calibration(calibration: Mapping[str, Any], path: Path, name: str) -> None:
    """Write the error of the predicted noise over t, with its 95 % intervals and what else is known to compare with.

    ``calibration`` is the stage of that name of ``ddpm.evaluation.evaluate``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    half = _drawable(calibration["mse_ci95"]) if "mse_ci95" in calibration else None
    axes.errorbar(calibration["timesteps"], _drawable(calibration["mse"]), yerr=half, label=name,
                  color=PALETTE[0], marker="o", markersize=4, linewidth=1.6, capsize=3)  # fmt: skip
    for key, label, colour in (("wiener", "linear denoiser", PALETTE[2]), ("seed_report", "seed report", PALETTE[1])):
        other = calibration.get(key, {})
        if "mse" in other:
            axes.plot(
                other["timesteps"], _drawable(other["mse"]), label=label, color=colour, marker=".", linestyle="--"
            )
    axes.set(xlabel="t", ylabel="MSE of the predicted noise", yscale="log")
    _finish(figure, axes, path)


def save_quality(stages: Mapping[str, Mapping[str, Any]], metric: str, label: str, path: Path) -> None:
    """Write a metric of samples over network evaluations an image, one line a sampler, with the level of real images.

    ``stages`` are those of ``ddpm.evaluation.evaluate`` that have a number for ``metric``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    samplers = dict.fromkeys(stage["made_by"]["settings"]["sampler"] for stage in stages.values())
    for sampler, colour in zip(samplers, PALETTE * len(samplers), strict=False):
        chosen = [stage for stage in stages.values() if stage["made_by"]["settings"]["sampler"] == sampler]
        points = sorted((stage["network_evaluations"], stage[metric]) for stage in chosen)
        axes.plot(*zip(*points, strict=True), label=sampler, color=colour, marker="o", markersize=4)
    real = max(stages.values(), key=lambda stage: stage["num_samples"])["reference"][metric]
    if isinstance(real, float):
        axes.axhline(real, color="gray", linewidth=1, linestyle=":", label="real images")
    axes.set(xlabel="network evaluations an image", ylabel=label, xscale="log")
    _finish(figure, axes, path)


REFERENCES = {"wiener": ("linear denoiser", PALETTE[2]), "seed_report": ("seed report", PALETTE[1])}


def calibration_figure(
    tables: Mapping[str, Mapping[str, Any]], metric: str, references: Iterable[str] = REFERENCES, height: int = 360
) -> go.Figure:
    """A Plotly figure of ``mse``, ``psnr`` or ``ssim`` over t for the calibration stages of some models, with their
    95 % intervals, beside those of ``REFERENCES`` that the first of them brings."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (name, table), colour in zip(tables.items(), (PALETTE[0], PALETTE[3], PALETTE[4]), strict=False):
        figure.add_scatter(
            x=table["timesteps"], y=_drawable(table[metric]), name=name, mode="lines+markers",
            line={"color": colour, "width": 2}, hovertemplate="%{y:.4g}",
            error_y={"array": _drawable(table.get(f"{metric}_ci95", ())), "thickness": 1.5},
        )  # fmt: skip
    for key in references:
        other, (label, colour) = next(iter(tables.values())).get(key, {}), REFERENCES[key]
        if metric in other:
            figure.add_scatter(
                x=other["timesteps"], y=_drawable(other[metric]), name=label, mode="lines+markers",
                line={"color": colour, "width": 1.5, "dash": "dot"}, hovertemplate="%{y:.4g}",
            )  # fmt: skip
    if metric == "mse":
        figure.update_yaxes(type="log", exponentformat="e")
    return _styled(figure, "t", height, showlegend=True).update_layout(legend={"orientation": "h", "y": 1.12})


def quality_figure(stages: Mapping[str, Mapping[str, Any]], metric: str, height: int = 320) -> go.Figure:
    """A Plotly figure of a metric of samples over network evaluations an image, one line a sampler, with the level of
    real images; ``stages`` as for ``save_quality``."""
    import plotly.graph_objects as go

    figure, lines = go.Figure(), {}
    for name, stage in stages.items():
        lines.setdefault(stage["made_by"]["settings"]["sampler"], []).append(
            (stage["network_evaluations"], stage[metric], f"{name}, n = {stage['num_samples']:,}")
        )
    for (sampler, points), colour in zip(lines.items(), PALETTE * len(lines), strict=False):
        x, y, names = zip(*sorted(points), strict=True)
        figure.add_scatter(
            x=x, y=y, text=names, name=sampler, mode="lines+markers", line={"color": colour, "width": 2},
            hovertemplate="%{y:.4g}<br>%{text}",
        )  # fmt: skip
    real = max(stages.values(), key=lambda stage: stage["num_samples"])["reference"][metric]
    if isinstance(real, float):
        figure.add_hline(y=real, line={"width": 1, "dash": "dot", "color": "gray"}, annotation_text="real images")
    seen = sorted({stage["network_evaluations"] for stage in stages.values()})
    figure.update_xaxes(type="log", tickvals=seen, ticktext=[f"{value:g}" for value in seen])
    return _styled(figure, "network evaluations per image", height, showlegend=True).update_layout(
        hovermode="closest", legend={"orientation": "h", "y": 1.12}
    )


def confusion_figure(matrix: Sequence[Sequence[int]], height: int = 360) -> go.Figure:
    """A Plotly heat map of how many samples asked to be a digit (rows) the classifier took for which (columns)."""
    import plotly.graph_objects as go

    counts = np.asarray(matrix)
    digits = [str(k) for k in range(len(counts))]
    # The diagonal holds nearly all: on a scale of shares to the power 1/4 the few others can be seen.
    shade = (counts / np.maximum(counts.sum(1, keepdims=True), 1)) ** 0.25
    figure = go.Figure(
        go.Heatmap(
            z=shade, x=digits, y=digits, text=np.where(counts, counts, ""), texttemplate="%{text}", showscale=False,
            colorscale=[[0, "rgba(101,93,168,0)"], [1, PALETTE[0]]], customdata=counts,
            hovertemplate="asked for %{y}, taken for %{x}: %{customdata}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", title="asked for", type="category")
    figure.update_xaxes(type="category")
    return _styled(figure, "taken for", height).update_layout(hovermode="closest")


def _drawable(values: Iterable[Any]) -> list[float]:
    """Numbers, with a gap where one is unavailable."""
    return [value if isinstance(value, int | float) else np.nan for value in values]


def _finish(figure: Figure, axes: Axes, path: Path) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
