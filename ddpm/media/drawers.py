"""The two ways to draw a ``Chart``: with Plotly on a page, with matplotlib into a file."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_write
from .chart import DASHES, MARKS, Axis, Chart, Panel, Trace

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}
ABOVE = {"orientation": "h", "y": 1.03, "yanchor": "bottom"}  # a legend that grows upwards, not into the figure


# -- Plotly --------------------------------------------------------------------------------------------------------


def to_plotly(chart: Chart) -> go.Figure:
    import plotly.graph_objects as go

    rows = list(enumerate(chart.panels, 1))
    data = [_plotly_trace(trace, row) for row, panel in rows for trace in panel.traces]
    layout = {
        "height": chart.height,
        "margin": MARGIN,
        "hovermode": chart.hover,
        "showlegend": bool(chart.legend),
        "legend": ABOVE if chart.legend == "above" else None,
        "xaxis": _plotly_axis(chart.x),
        **{f"yaxis{row}": _plotly_axis(panel.y) for row, panel in rows},
    }
    if len(rows) > 1:
        _stack(chart, layout)
    return go.Figure({"data": data, "layout": layout})


def _plotly_trace(trace: Trace, row: int) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "type": "scatter",
        "x": trace.x,
        "y": trace.y,
        "yaxis": f"y{row}",
        "name": escape(trace.label, quote=False),  # Plotly takes some HTML in it, links among it
        "mode": "+".join(["lines"] * bool(trace.dash) + ["markers"] * bool(trace.mark)),
        "opacity": trace.opacity,
        "customdata": trace.hover_data,
        "hoverlabel": {"bordercolor": trace.colour},
        **({"hovertemplate": trace.hover} if trace.hover else {"hoverinfo": "skip"}),
    }
    if trace.dash:
        drawn["line"] = {"color": trace.colour, "width": trace.width, "dash": trace.dash}
    if trace.mark:
        drawn["marker"] = {"color": trace.colour, "symbol": trace.mark, "size": trace.size}
    if "open" in trace.mark:
        drawn["marker"]["line"] = {"width": 2}
    if trace.error is not None:
        drawn["error_y"] = {"array": trace.error, "thickness": 1.5}
    return drawn


def _plotly_axis(axis: Axis) -> dict[str, Any]:
    return {
        "title": axis.label or None,
        "type": "log" if axis.log else None,
        "exponentformat": "e" if axis.log else None,
        "tickformat": ".0%" if axis.percent else None,
        "rangemode": "tozero" if axis.with_zero else None,
        "autorange": "reversed" if axis.reversed else None,
        "tickvals": axis.ticks or None,
        "ticktext": axis.names or [f"{value:g}" for value in axis.ticks] or None,
        "range": axis.range,
        "automargin": bool(axis.names) or None,
        "visible": axis.visible,
    }


def _stack(chart: Chart, layout: dict[str, Any]) -> None:
    """Lay panels out below one another, each under its title, so that the mouse reads all of them off at once."""
    count, gap = len(chart.panels), 0.24  # of a panel's height, for the title
    spike = {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikedash": "solid", "spikecolor": "gray"}
    layout["xaxis"] |= {"anchor": f"y{count}"} | spike
    layout |= {"hoversubplots": "axis", "hoverlabel": {"font": {"size": 11}}, "annotations": []}
    for row, panel in enumerate(chart.panels, 1):
        top = 1 - (row - 1 + gap) / count
        axis = layout[f"yaxis{row}"]
        axis |= {"domain": [1 - row / count + 0.02 / count, top], "anchor": "x", "automargin": True, "nticks": 5}
        if panel.y.log:
            axis |= {"tickformat": ".0e", "dtick": 2}
        layout["annotations"].append(
            {"text": f"<b>{panel.title}</b>  {panel.meaning}", "x": 0, "y": top, "xref": "paper", "yref": "paper",
             "xanchor": "left", "yanchor": "bottom", "showarrow": False, "align": "left"}
        )  # fmt: skip


# -- matplotlib ----------------------------------------------------------------------------------------------------


def save_chart(chart: Chart, path: Path, inches: tuple[float, float] = (6.4, 3.6)) -> None:
    """Write a chart whose panels are of so many ``inches``; the suffix of ``path`` chooses PNG, SVG or PDF.

    The smaller its panels, the larger the writing on the same page.
    """
    save_figure(to_matplotlib(chart, inches), path)


def save_figure(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)


def to_matplotlib(chart: Chart, inches: tuple[float, float] = (6.4, 3.6)) -> Figure:
    from matplotlib.figure import Figure

    rows = -(-len(chart.panels) // chart.columns)
    figure = Figure(figsize=(inches[0] * chart.columns, inches[1] * rows), layout="constrained")
    places = figure.subplots(rows, chart.columns, squeeze=False).flatten()
    named: dict[str, Any] = {}
    for axes, panel in zip(places, chart.panels, strict=False):
        _draw(axes, panel, chart.x)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    for axes in places[len(chart.panels) :]:
        axes.remove()
    if named:
        legend = figure.legend(named.values(), named, loc="outside upper center", ncols=3,
                               frameon=False, fontsize="small")  # fmt: skip
        for stroke in legend.legend_handles:
            stroke.set_alpha(1)
    return figure


def _draw(axes: Axes, panel: Panel, x: Axis) -> None:
    for trace in panel.traces:
        axes.errorbar(
            trace.x, trace.y, trace.error, label=trace.label, color=trace.colour, alpha=trace.opacity, capsize=3,
            linestyle=DASHES.get(trace.dash, "none"), linewidth=0.8 * trace.width,
            marker=MARKS.get(trace.mark, "none"), markersize=0.6 * trace.size,
        )  # fmt: skip
    axes.set_title(panel.title, fontsize="medium")
    axes.set(xscale="log" if x.log else "linear", yscale="log" if panel.y.log else "linear")
    for one, axis in ((axes.xaxis, x), (axes.yaxis, panel.y)):
        one.set_label_text(axis.label)
        one.set_visible(axis.visible)
        one.set_inverted(axis.reversed)
    if panel.y.range:
        axes.set_ylim(panel.y.range)
    if x.ticks:
        axes.set_xticks(x.ticks, [f"{value:g}" for value in x.ticks])
        axes.set_xticks([], minor=True)
    if panel.y.names:
        axes.set_yticks(panel.y.ticks, panel.y.names)
    if x.range:
        axes.set_xlim(x.range)
    if x.percent:
        axes.xaxis.set_major_formatter("{x:.0%}")
    if panel.y.percent:
        axes.yaxis.set_major_formatter("{x:.0%}")
    if panel.y.with_zero:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0), max(high, 0))
    if panel.y.log:
        _plain_ticks(axes)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _plain_ticks(axes: Axes) -> None:
    """On a logarithmic axis of few decades numbers as one writes them, 0.2 for 2 x 10^-1, and some within a decade."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_ylim()
    if high > 100 * low:
        return
    axes.yaxis.set_major_locator(MaxNLocator(6) if high < 10 * low else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
