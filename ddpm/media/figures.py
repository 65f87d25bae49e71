"""The charts of training runs and evaluations."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..evaluation.intervals import ci95
from ..evaluation.results import METRICS, Series, real_levels, series_of, stage_label
from ..samplers import SAMPLERS
from ..training.history import History, smoothed
from .chart import PALETTE, Axis, Chart, Panel, Trace, colour_of
from .drawers import ABOVE, MARGIN, save_chart, to_matplotlib
from .schedule_figures import axis, places

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..evaluation.ladder import Climbed, Closeness
    from ..schedule import NoiseSchedule


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


def history_chart(
    histories: Mapping[str, History],
    curve: str,
    *,
    axis: str = "step",
    smoothing: float = 0.0,
    log_scale: bool | None = None,
) -> Chart:
    """One of ``CURVES`` for several runs, over one of ``AXES``; raw values stay faintly visible.

    It has no legend: charts side by side share one, in ``run_colours``.
    """
    spec, traces, colours = CURVES[curve], [], run_colours(histories)
    for name, history in histories.items():
        for column in spec.columns:
            x, y = history.axis(axis, column), history.column(column)
            validation = column == "val_loss"
            if smoothing and spec.noisy and not validation:
                traces.append(Trace(x, y, colour=colours[name], width=1, opacity=0.25, hover=""))
                y = smoothed(y, smoothing)
            label, dash = (f"{name}, validation", "dot") if validation else (name, "solid")
            mark = "circle" if validation or len(y) == 1 else ""
            traces.append(Trace(x, y, label, colours[name], dash, mark=mark))
    log = spec.log_scale if log_scale is None else log_scale
    return Chart([Panel(traces, Axis(log=log))], Axis(AXES[axis]))


def bands_chart(history: History, *, axis: str = "step", smoothing: float = 0.0) -> Chart:
    """A run's loss by band of t: dark bands are small t, where detail is decided."""
    from plotly.colors import sample_colorscale

    x, bands = history.axis(axis, "loss_by_t"), history.column("loss_by_t").T
    count = len(bands)
    colours = sample_colorscale("Viridis", np.linspace(0.2, 0.9, count).tolist(), colortype="tuple")
    traces = [
        Trace(x, smoothed(band, smoothing), f"t / T {i / count:.1f} to {(i + 1) / count:.1f}",
              "#" + bytes(round(255 * part) for part in colour).hex(), width=1.5)
        for i, (band, colour) in enumerate(zip(bands, colours, strict=True))
    ]  # fmt: skip
    return Chart([Panel(traces, Axis(log=True))], Axis(AXES[axis]), legend="right")


FILES = (  # (name of the file, column of the history, logarithmic)
    ("train_loss_curve", "train_loss", True),
    ("val_loss_curve", "val_loss", True),
    ("learning_rate", "learning_rate", False),
    ("grad_norm", "grad_norm", True),
    ("images_per_second", "images_per_second", False),
)


def _panels(history: History) -> dict[str, Panel]:
    """The curves of one run by the names of their files."""
    return {
        name: Panel([Trace(history.axis("step", column), history.column(column))], Axis(column.replace("_", " "), log))
        for name, column, log in FILES
    }


def save_curves(history: History, folder: Path) -> list[Path]:
    """Write the curves of one run as PNG files, named as the seed report's; returns their paths."""
    written = {folder / f"{name}.png": panel for name, panel in _panels(history).items()}
    for path, panel in written.items():
        save_chart(Chart([panel], Axis("step")), path)
    return list(written)


def curves_png(history: History) -> bytes:
    """All curves of one run in one PNG."""
    buffer = io.BytesIO()
    to_matplotlib(Chart([*_panels(history).values()], Axis("step"), columns=2)).savefig(buffer, dpi=150)
    return buffer.getvalue()


# -- evaluation ----------------------------------------------------------------------------------------------------


DISTANCES = ("frechet_distance", "kid")  # where 0 is the goal, so that an axis must show how far it is
# What a calibration is compared with: its label and colour.
REFERENCES = {"wiener": ("linear denoiser", PALETTE[2]), "seed_report": ("seed report", PALETTE[1])}
EVALUATIONS = "network evaluations per image"


def calibration_chart(
    tables: Mapping[str, Mapping[str, Any]], metric: str, references: Iterable[str] = REFERENCES, y_label: str = "",
    over: str = "t", schedules: Mapping[str, NoiseSchedule] | None = None,
) -> Chart:  # fmt: skip
    """``mse``, ``psnr`` or ``ssim`` for the calibration stages of some models, with their 95 % intervals, beside those
    of ``REFERENCES`` that the first of them brings; over t, or by the models' ``schedules`` over another of ``AXES``.
    """

    def x(name: str, timesteps: Sequence[int]) -> Sequence[float]:
        return timesteps if over == "t" else places((schedules or {})[name], over)[timesteps]

    traces = [
        Trace(x(name, table["timesteps"]), _drawable(table[metric]), name, colour, mark="circle",
              error=_drawable(table.get(f"{metric}_ci95", ())) or None)
        for (name, table), colour in zip(tables.items(), (PALETTE[0], PALETTE[3], PALETTE[4]), strict=False)
    ]  # fmt: skip
    first, table = next(iter(tables.items()))
    for key in references:
        other, (label, colour) = table.get(key, {}), REFERENCES[key]
        if metric in other:
            seen = x(first, other["timesteps"])
            traces.append(Trace(seen, _drawable(other[metric]), label, colour, "dot", 1.5, "circle"))
    return Chart([Panel(traces, Axis(y_label, log=metric == "mse"))], axis(over), legend="above", height=360)


def quality_chart(models: Mapping[str, Mapping[Any, Mapping[str, Any]]], metric: str, y_label: str = "") -> Chart:
    """A metric of samples over network evaluations an image, one line a ``Series`` of a model, with the level of real
    images for each number of samples. The second of two models is dotted.

    Each model's stages are those of ``ddpm.evaluation.evaluate`` that have a number for ``metric``.
    """
    every = [stage for stages in models.values() for stage in stages.values()]
    colours, marks = _colours(series_of(every)), _marks(series_of(every))
    seen, traces = sorted({stage["network_evaluations"] for stage in every}), []
    for (model, stages), dash in zip(models.items(), ("solid", "dot"), strict=False):
        of_model = "" if len(models) == 1 else f"{model}: "
        for line in series_of(stages.values()):
            half = [ci95(stage, metric) for stage in line.stages]
            traces.append(Trace(
                [stage["network_evaluations"] for stage in line.stages], [stage[metric] for stage in line.stages],
                of_model + line.label, colours[line.sampler], dash, mark=marks[line.num_samples], size=8,
                error=half if None not in half else None, hover="%{y:.4g}<br>%{customdata}",
                hover_data=[f"{stage_label(stage)}, n = {stage['num_samples']:,}" for stage in line.stages],
            ))  # fmt: skip
        levels = real_levels(stages.values(), metric)
        for count, real in levels.items():
            label = "real images" if len(levels) == 1 else f"real images, n = {count:,}"
            traces.append(Trace([seen[0], seen[-1]], [real, real], of_model + label, "gray",
                                dash if of_model else "dot", 1, marks[count]))  # fmt: skip
    y = Axis(y_label, percent=METRICS[metric].form.endswith("%"), with_zero=metric in DISTANCES)
    return Chart(
        [Panel(traces, y)], Axis(EVALUATIONS, log=True, ticks=_legible(seen)), hover="closest", legend="above",
        height=320 + 20 * (len(traces) // 3),  # rows of the legend where the page is narrow
    )  # fmt: skip


def length_chart(losses: Mapping[float, float], chosen: float) -> Chart:
    """The validation loss over the length of the average, with one length marked."""
    line = Trace(list(losses), list(losses.values()), mark="circle", hover="%{y:.5f}")
    marked = Trace([chosen], [losses[chosen]], colour=PALETTE[1], dash="", mark="diamond", size=11, hover="")
    ticks = _legible(list(losses))
    return Chart(
        [Panel([line, marked], Axis("validation loss"))], Axis("length, share of the training", log=True, ticks=ticks)
    )


def ladder_chart(results: Sequence[tuple[Climbed, Closeness]]) -> Chart:
    """The PSNR to the reference over network evaluations an image, one line a sampler, with 95 % intervals."""
    traces = []
    for number, name in enumerate(SAMPLERS):
        chosen = sorted((c.evaluations, near) for c, near in results if c.rung.sampler == name)
        if chosen:
            evaluations, nears = zip(*chosen, strict=True)
            decibels, ci95 = zip(*nears, strict=True)
            traces.append(
                Trace(evaluations, decibels, SAMPLERS[name].label, colour_of(number), mark="circle", error=ci95)
            )
    steps = sorted({climbed.rung.num_steps for climbed, _ in results if climbed.rung.sampler == "ddim"})
    x = Axis(EVALUATIONS, log=True, ticks=_legible(steps))
    return Chart([Panel(traces, Axis("PSNR to all steps of DDIM, dB"))], x, legend="above")


def _legible(values: Sequence[float]) -> list[float]:
    """Those of some rising numbers that can stand side by side on a logarithmic axis: 99 and 100 would be one blot."""
    kept: list[float] = []
    for value in values:
        if not kept or value > 1.12 * kept[-1]:
            kept.append(value)
    return kept


def _marks(series: Iterable[Series]) -> dict[int, str]:
    """What stands for each number of samples."""
    counts = sorted({line.num_samples for line in series}, reverse=True)
    marks = ("circle", "diamond", "square", "triangle-up")
    return dict(zip(counts, marks * len(counts), strict=False))


def _colours(series: Iterable[Series]) -> dict[str, str]:
    samplers = dict.fromkeys(line.sampler for line in series)
    return {name: colour_of(number) for number, name in enumerate(samplers)}


def _drawable(values: Iterable[Any]) -> list[float]:
    """Numbers, with a gap where one is unavailable."""
    return [value if isinstance(value, int | float) else np.nan for value in values]


def _over_digits(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    figure.update_xaxes(type="category", title="taken for")
    return figure.update_layout(height=height, margin=MARGIN, **layout)


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
    return _over_digits(figure, height, hovermode="closest")


def class_figure(counts: Sequence[int], real: Sequence[int] | Any, height: int = 360) -> go.Figure:
    """A Plotly figure of the shares of the samples that the classifier took for each digit, beside those of ``real``
    images, if these are known."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, found, colour in (("samples", counts, PALETTE[0]), ("test images", real, PALETTE[5])):
        if isinstance(found, list):
            figure.add_bar(x=[str(k) for k in range(len(found))], y=np.asarray(found) / sum(found), name=name,
                           marker={"color": colour}, hovertemplate="%{y:.1%}")  # fmt: skip
    figure.update_yaxes(tickformat=".0%")
    return _over_digits(figure, height, hovermode="x unified", showlegend=True, legend=ABOVE)
