"""The charts of lessons: of schedules, of the evaluations and of the trainings that the shipped models came with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn

from ..config.sections import ScheduleConfig
from ..errors import ConfigError, MetricError
from ..evaluation.results import METRICS, find_results
from ..evaluation.structure import Metric
from ..media.chart import Axis, Chart, Panel, Trace, colour_of
from ..media.figures import bands_chart, calibration_chart, history_chart
from ..media.schedule_figures import QUANTITIES, axis, lines, places
from ..models import Model
from ..storage.places import shipped_histories
from ..training.ema import EMA
from ..training.history import History, read_history
from .kinds import Charted, Scored

Load = Callable[[str], Model]


def charted(asked: Charted, load: Load) -> tuple[str, None, Chart]:
    """A chart, without that beside it, and what it is called, as the first three fields of a figure.

    Raises:
        DDPMError: what it shows is not there.
    """
    made = {
        "schedules": _schedules, "calibration": _calibration, "loss": _loss, "bands": _bands, "scores": _scores,
        "averages": _averages,
    }[asked.of]  # fmt: skip
    label, chart = made(asked, load)
    return label, None, chart if asked.of == "scores" else replace(chart, legend=chart.legend or "above")


def _schedules(asked: Charted, load: Load) -> tuple[str, Chart]:
    quantity = QUANTITIES[asked.quantity]
    traces = [
        Trace(places(line.schedule, "t")[::5], quantity.curves[0](line.schedule).numpy()[::5], line.label, *line.pen)
        for line in lines([ScheduleConfig(name=name) for name in asked.schedules])
    ]
    return f"{quantity.label}: {quantity.meaning}", Chart([Panel(traces, Axis(log=quantity.log_scale))], axis("t"))


def _calibration(asked: Charted, load: Load) -> tuple[str, Chart]:
    model = load(asked.model)
    table = find_results(model)["calibration"]
    if asked.metric not in table:
        raise MetricError(f"the calibration of {asked.model} has no {asked.metric}")
    name = {"mse": "mean squared error of the predicted noise", "mse_x0": "mean squared error of the predicted image"}
    chart = calibration_chart({asked.model: table}, asked.metric, ("wiener",))
    label = name.get(asked.metric, asked.metric)
    return f"{label}, on {table['num_images']:,} test images", replace(chart, height=320)


def _history(name: str) -> History:
    shipped = shipped_histories()
    if name not in shipped:
        raise ConfigError(f"no training history came with a model {name!r}: valid are {', '.join(shipped)}")
    return read_history(shipped[name].metrics)


def _loss(asked: Charted, load: Load) -> tuple[str, Chart]:
    chart = history_chart({asked.model: _history(asked.model)}, "loss")
    return "loss over training steps; dotted: on images held out", chart


def _bands(asked: Charted, load: Load) -> tuple[str, Chart]:
    return "loss by band of t, from dark (little noise) to bright", bands_chart(_history(asked.model), smoothing=0.8)


MEMORISATION = Metric("Memorisation ratio", ".2f", "")
MARGIN = 0.04  # of the longest bar, at its ends: a dot at 0 is shown whole


def _scores(asked: Charted, load: Load) -> tuple[str, Chart]:
    """One bar for each score: the eye compares lengths, and the name of the bar has the number."""
    metric, traces, names = METRICS.get(asked.metric, MEMORISATION), [], []
    for place, bar in enumerate(asked.scores):
        value = _score(bar, asked.metric, load)
        said = metric.format(value) if metric.form[-1] != "g" else f"{value:.2g}"  # as many digits as the texts have
        names.append(f"{bar.label}: {said}")
        traces.append(Trace([0, value], [-place, -place], "", colour_of(place), mark="circle", width=8, size=12))
    places, longest = [-place for place in range(len(names))], max(trace.x[1] for trace in traces)
    heights = Axis(ticks=places, names=names, range=(-len(names) + 0.5, 0.5))
    lengths = Axis(percent=metric.form.endswith("%"), range=(-MARGIN * longest, (1 + MARGIN) * longest))
    return metric.label, Chart([Panel(traces, heights)], lengths, hover="closest", height=60 + 45 * len(names))


def _score(bar: Scored, metric: str, load: Load) -> float:
    if bar.value is not None:
        return bar.value
    stage = find_results(load(bar.model))[bar.stage]
    if metric not in METRICS:
        return stage["nearest_training_image"]["ratio"]
    return (stage["reference"] if bar.real else stage)[metric]


def _averages(asked: Charted, load: Load) -> tuple[str, Chart]:
    """How much of the random start is left in a moving average of the weights, over the steps of the training."""
    steps, traces = np.arange(1, 5001), []
    for decay in asked.decays:
        for warm in (False, True):
            kept = _kept(decay, steps, warm)
            label = f"decay {decay:g}{', warmed up as here' if warm else ''}"
            traces.append(Trace(steps[::20], kept[::20], label, colour_of(len(traces)), "solid" if warm else "dash"))
    return "share of the random start in the average", Chart(
        [Panel(traces, Axis(percent=True, range=(0, 1)))], Axis("training step")
    )


def _kept(decay: float, steps: np.ndarray, warm: bool) -> np.ndarray:
    average = EMA(nn.Identity(), decay)
    return np.cumprod([average.decay_at(int(step)) if warm else decay for step in steps])
