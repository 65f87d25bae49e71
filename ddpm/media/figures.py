"""Figures: Plotly for the pages, matplotlib for files. Both draw the same quantities in the same colours."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..evaluation.results import METRICS, Series, real_levels, series_of, share_ci95, stage_label
from ..files import atomic_write
from ..samplers import SAMPLERS
from ..training.history import History, smoothed

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..evaluation.ladder import Climbed, Closeness

# Okabe & Ito's colour-blind-safe hues as in .streamlit/config.toml, where the reasons stand.
PALETTE = ("#655DA8", "#E17702", "#348266", "#A94422", "#009BF4", "#AC8AA1")


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


ABOVE = {"orientation": "h", "y": 1.03, "yanchor": "bottom"}  # a legend that grows upwards, not into the figure


def _plain(text: str) -> str:
    """A text for Plotly, which takes some HTML in it, links among it, for what it says."""
    return escape(text, quote=False)


def _styled(figure: go.Figure, x_label: str, height: int, showlegend: bool = False) -> go.Figure:
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        hovermode="x unified",
        showlegend=showlegend,
        xaxis={"title": x_label},
    )


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
                name=_plain(f"{name}, validation" if validation else name),
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
        if log_scale:
            _plain_ticks(axes)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(curves) :]:
        axes.remove()
    return figure


def _ticks_at(axes: Axes, values: Sequence[float]) -> None:
    """On the x axis, which is logarithmic, these numbers alone, as one writes them."""
    values = _legible(values)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)


def _legible(values: Sequence[float]) -> list[float]:
    """Those of some rising numbers that can stand side by side on a logarithmic axis: 99 and 100 would be one blot."""
    kept: list[float] = []
    for value in values:
        if not kept or value > 1.12 * kept[-1]:
            kept.append(value)
    return kept


def _plain_ticks(axes: Axes) -> None:
    """On a logarithmic axis numbers as one writes them, 0.2 instead of 2 x 10^-1, and some also within one decade."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(MaxNLocator(6) if high < 10 * low else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


# -- evaluation ----------------------------------------------------------------------------------------------------


DISTANCES = ("frechet_distance", "kid")  # where 0 is the goal, so that an axis must show how far it is
# What a calibration is compared with: its label and colour.
REFERENCES = {"wiener": ("linear denoiser", PALETTE[2]), "seed_report": ("seed report", PALETTE[1])}


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
    for key, (label, colour) in REFERENCES.items():
        other = calibration.get(key, {})
        if "mse" in other:
            axes.plot(
                other["timesteps"], _drawable(other["mse"]), label=label, color=colour, marker=".", linestyle="--"
            )
    axes.set(xlabel="t", ylabel="MSE of the predicted noise", yscale="log")
    _finish(figure, axes, path)


def save_quality(stages: Mapping[str, Mapping[str, Any]], metric: str, label: str, path: Path) -> None:
    """Write a metric of samples over network evaluations an image, one line a ``Series``, with the level of real images
    for each number of samples.

    ``stages`` are those of ``ddpm.evaluation.evaluate`` that have a number for ``metric``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    series, levels = series_of(stages.values()), real_levels(stages.values(), metric)
    colours, marks = _colours(series), _marks(series)
    seen = sorted({stage["network_evaluations"] for stage in stages.values()})
    for line in series:
        axes.plot(
            [stage["network_evaluations"] for stage in line.stages], [stage[metric] for stage in line.stages],
            label=line.label, color=colours[line.sampler], marker=marks[line.num_samples].matplotlib, markersize=4,
        )  # fmt: skip
    for count, real in levels.items():
        axes.plot([seen[0], seen[-1]], [real, real], color="gray", linewidth=1, linestyle=":",
                  marker=marks[count].matplotlib, markersize=4, label=_real_label(count, levels))  # fmt: skip
    axes.set(xlabel="network evaluations an image", ylabel=label, xscale="log")
    _ticks_at(axes, seen)
    if metric in DISTANCES:
        axes.update_datalim([(seen[0], 0)])
        axes.autoscale_view()
    _finish(figure, axes, path)


class _Mark(NamedTuple):
    """What stands for a number of samples, in the names of either library."""

    matplotlib: str
    plotly: str


_MARKS = (_Mark("o", "circle"), _Mark("D", "diamond"), _Mark("s", "square"), _Mark("^", "triangle-up"))


def _marks(series: Iterable[Series]) -> dict[int, _Mark]:
    counts = sorted({line.num_samples for line in series}, reverse=True)
    return dict(zip(counts, _MARKS * len(counts), strict=False))


def _colours(series: Iterable[Series]) -> dict[str, str]:
    samplers = dict.fromkeys(line.sampler for line in series)
    return dict(zip(samplers, PALETTE * len(samplers), strict=False))


def _real_label(count: int, levels: Mapping[int, float]) -> str:
    return "real images" if len(levels) == 1 else f"real images, n = {count:,}"


def save_ladder(results: Sequence[tuple[Climbed, Closeness]], path: Path) -> None:
    """Write the PSNR to the reference over network evaluations an image, one line a sampler, with 95 % intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, colour in zip(SAMPLERS, PALETTE, strict=False):
        chosen = sorted((c.evaluations, near) for c, near in results if c.rung.sampler == name)
        if chosen:
            evaluations, nears = zip(*chosen, strict=True)
            decibels, ci95 = zip(*nears, strict=True)
            label = SAMPLERS[name].label
            axes.errorbar(evaluations, decibels, ci95, label=label, color=colour, marker="o", markersize=4, capsize=2)
    axes.set(xlabel="network evaluations an image", ylabel="PSNR to all steps of DDIM, dB", xscale="log")
    _ticks_at(axes, sorted({climbed.rung.num_steps for climbed, _ in results if climbed.rung.sampler == "ddim"}))
    _finish(figure, axes, path)


def calibration_figure(
    tables: Mapping[str, Mapping[str, Any]], metric: str, references: Iterable[str] = REFERENCES, height: int = 360
) -> go.Figure:
    """A Plotly figure of ``mse``, ``psnr`` or ``ssim`` over t for the calibration stages of some models, with their
    95 % intervals, beside those of ``REFERENCES`` that the first of them brings."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (name, table), colour in zip(tables.items(), (PALETTE[0], PALETTE[3], PALETTE[4]), strict=False):
        figure.add_scatter(
            x=table["timesteps"], y=_drawable(table[metric]), name=_plain(name), mode="lines+markers",
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
    return _styled(figure, "t", height, showlegend=True).update_layout(legend=ABOVE)


def quality_figure(models: Mapping[str, Mapping[str, Mapping[str, Any]]], metric: str, height: int = 320) -> go.Figure:
    """A Plotly figure of a metric of samples over network evaluations an image, one line a ``Series`` of a model, with
    the levels of real images; each model's stages as for ``save_quality``. The second model's lines are dotted."""
    import plotly.graph_objects as go

    figure, share = go.Figure(), METRICS[metric].form.endswith("%")
    every = [stage for stages in models.values() for stage in stages.values()]
    colours, marks = _colours(series_of(every)), _marks(series_of(every))
    seen = sorted({stage["network_evaluations"] for stage in every})
    for (model, stages), dash in zip(models.items(), ("solid", "dot"), strict=False):
        of_model = "" if len(models) == 1 else f"{model}: "
        for line in series_of(stages.values()):
            half = [share_ci95(stage, metric) for stage in line.stages]
            figure.add_scatter(
                x=[stage["network_evaluations"] for stage in line.stages], y=[stage[metric] for stage in line.stages],
                name=_plain(of_model + line.label), mode="lines+markers", hovertemplate="%{y:.4g}<br>%{text}",
                line={"color": colours[line.sampler], "width": 2, "dash": dash},
                marker={"symbol": marks[line.num_samples].plotly, "size": 8},
                text=[f"{stage_label(stage)}, n = {stage['num_samples']:,}" for stage in line.stages],
                error_y={"array": half, "thickness": 1} if None not in half else None,
            )  # fmt: skip
        levels = real_levels(stages.values(), metric)
        for count, real in levels.items():
            figure.add_scatter(
                x=[seen[0], seen[-1]], y=[real, real], mode="lines+markers", hovertemplate="%{y:.4g}",
                line={"width": 1, "dash": dash, "color": "gray"}, marker={"symbol": marks[count].plotly, "size": 6},
                name=_plain(of_model + _real_label(count, levels)),
            )  # fmt: skip
    ticks = _legible(seen)
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{value:g}" for value in ticks])
    if share:
        figure.update_yaxes(tickformat=".0%")
    elif metric in DISTANCES:
        figure.update_yaxes(rangemode="tozero")
    height += 20 * (len(figure.data) // 3)  # rows of the legend where the page is narrow
    return _styled(figure, "network evaluations per image", height, showlegend=True).update_layout(
        hovermode="closest", legend=ABOVE
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


def class_figure(counts: Sequence[int], real: Sequence[int] | Any, height: int = 360) -> go.Figure:
    """A Plotly figure of the shares of the samples that the classifier took for each digit, beside those of ``real``
    images, if these are known."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, found, colour in (("samples", counts, PALETTE[0]), ("test images", real, PALETTE[5])):
        if isinstance(found, list):
            figure.add_bar(x=[str(k) for k in range(len(found))], y=np.asarray(found) / sum(found), name=name,
                           marker={"color": colour}, hovertemplate="%{y:.1%}")  # fmt: skip
    figure.update_xaxes(type="category")
    figure.update_yaxes(tickformat=".0%")
    return _styled(figure, "taken for", height, showlegend=True).update_layout(legend=ABOVE)


def _drawable(values: Iterable[Any]) -> list[float]:
    """Numbers, with a gap where one is unavailable."""
    return [value if isinstance(value, int | float) else np.nan for value in values]


def _finish(figure: Figure, axes: Axes, path: Path) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.get_legend_handles_labels()[1]) > 4:  # it would cover what is drawn
        figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize="small")
    else:
        axes.legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
