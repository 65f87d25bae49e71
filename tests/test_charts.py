"""Both drawers show what a chart describes: the same values, colours, strokes and axes on a page and in a file."""

import numpy as np
import pytest
from PIL import Image

from ddpm.config.variants import parse_schedules
from ddpm.evaluation.ladder import Climbed, Closeness, Rung
from ddpm.evaluation.results import read_results, sample_stages
from ddpm.files import RESULTS
from ddpm.media.chart import DASHES, MARKS, PALETTE, Axis, Chart, Panel, Trace
from ddpm.media.drawers import save_chart, to_matplotlib, to_plotly
from ddpm.media.figures import (
    CURVES,
    bands_chart,
    calibration_chart,
    curves_png,
    history_chart,
    ladder_chart,
    length_chart,
    quality_chart,
    save_curves,
)
from ddpm.media.schedule_figures import lines, schedules_chart, steps_chart
from ddpm.schedule import make_schedule
from ddpm.storage.places import shipped_histories
from ddpm.training.history import History, read_history
from tests.conftest import ROOT


def shipped_history() -> History:
    return read_history(shipped_histories()["digits"].metrics)


def shipped_results(name: str) -> dict:
    return read_results(ROOT / "ddpm" / "pretrained" / name / RESULTS)


def measured(name: str, metric: str) -> dict:
    stages = sample_stages(shipped_results(name))
    return {key: stage for key, stage in stages.items() if isinstance(stage[metric], float)}


def climbed(sampler: str, steps: int) -> tuple[Climbed, Closeness]:
    return Climbed(Rung(sampler, steps), None, steps, 1.0), Closeness(10.0 + steps, 0.5)


def some_schedules():
    return lines(parse_schedules("linear,cosine,linear:zero_terminal_snr=true"))


CHARTS = {
    **{key: lambda key=key: history_chart({"digits": shipped_history()}, key, smoothing=0.6) for key in CURVES},
    "bands": lambda: bands_chart(shipped_history()),
    "calibration": lambda: calibration_chart({"mnist": shipped_results("mnist")["calibration"]}, "mse"),
    "distance": lambda: quality_chart({"mnist": measured("mnist", "frechet_distance")}, "frechet_distance"),
    "share": lambda: quality_chart({name: measured(name, "precision") for name in ("mnist", "digits")}, "precision"),
    "lengths": lambda: length_chart({0.02: 0.11, 0.05: 0.10, 0.1: 0.12}, 0.05),
    "ladder": lambda: ladder_chart([climbed(name, steps) for name in ("ddim", "heun") for steps in (5, 10)]),
    "schedules": lambda: schedules_chart(some_schedules(), "log_snr", 0.3),
    "steps": lambda: steps_chart(some_schedules(), 10, "leading", "log_snr"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_page_and_file_show_the_same(name):
    chart = CHARTS[name]()
    page, panels = to_plotly(chart), to_matplotlib(chart).axes
    drawn = [(axes, container) for axes in panels for container in axes.containers]
    for trace, (axes, container) in zip(page.data, drawn, strict=True):
        line, _, bars = container.lines
        np.testing.assert_array_equal(np.asarray(trace.x, float), line.get_xdata())
        np.testing.assert_array_equal(np.asarray(trace.y, float), line.get_ydata())
        colour = (trace.line if "lines" in trace.mode else trace.marker).color
        assert line.get_color() == colour
        assert line.get_linestyle() == (DASHES[trace.line.dash] if "lines" in trace.mode else "None")
        assert line.get_marker() == (MARKS[trace.marker.symbol] if "markers" in trace.mode else "none")
        if trace.error_y.array is not None:
            ends = np.array([segment[:, 1] for segment in bars[0].get_segments()])
            np.testing.assert_allclose(ends.T, np.asarray(trace.y) + [[-1], [1]] * np.asarray(trace.error_y.array))
        assert panels.index(axes) == int((trace.yaxis or "y")[1:] or 1) - 1
    for row, axes in enumerate(panels, 1):
        for one, theirs in ((axes.xaxis, page.layout.xaxis), (axes.yaxis, page.layout[f"yaxis{row}"])):
            assert one.get_scale() == (theirs.type or "linear")
            assert one.get_label_text() == (theirs.title.text or "")
            assert one.get_inverted() == (theirs.autorange == "reversed")
            assert one.get_visible() == theirs.visible


def test_the_values_are_those_that_were_recorded():
    history = shipped_history()
    train, val = history_chart({"digits": history}, "loss").panels[0].traces
    np.testing.assert_array_equal(train.y, [record["train_loss"] for record in history.training])
    np.testing.assert_array_equal(val.x, [record["step"] for record in history.validation])
    table = shipped_results("mnist")["calibration"]
    model, linear, seed_report = calibration_chart({"mnist": table}, "mse").panels[0].traces
    assert (model.x, model.y, model.error) == (table["timesteps"], table["mse"], table["mse_ci95"])
    assert linear.y == table["wiener"]["mse"]
    assert seed_report.y == table["seed_report"]["mse"]


def test_a_calibration_over_log_snr_stands_where_the_schedule_says():
    table, schedule = shipped_results("mnist")["calibration"], make_schedule("linear", 1000)
    chart = calibration_chart({"mnist": table}, "mse", over="log_snr", schedules={"mnist": schedule})
    model, linear, seed_report = chart.panels[0].traces
    ab = schedule.alphas_cumprod.numpy()[table["timesteps"]]
    for trace in (model, linear, seed_report):
        np.testing.assert_allclose(trace.x, np.log(ab / (1 - ab)))
    assert chart.x.reversed  # the forward process runs to the right
    assert model.y == table["mse"]


def chart_of(y: Axis, *values: float, x: Axis | None = None) -> Chart:
    return Chart([Panel([Trace([*range(1, len(values) + 1)], values)], y)], x or Axis())


def y_axis(chart: Chart):
    figure = to_matplotlib(chart)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    return axes, [label.get_text() for label in axes.get_yticklabels()]


def test_an_axis_that_must_show_zero_does():
    far = chart_of(Axis(with_zero=True), 5.0, 6.0)
    assert to_plotly(far).layout.yaxis.rangemode == "tozero"
    assert y_axis(far)[0].get_ylim()[0] == 0
    assert y_axis(chart_of(Axis(with_zero=True), -0.5, 2.0))[0].get_ylim()[0] < -0.5
    assert y_axis(chart_of(Axis(), 5.0, 6.0))[0].get_ylim()[0] > 4


def test_numbers_stand_as_one_writes_them():
    assert "40%" in y_axis(chart_of(Axis(percent=True), 0.0, 1.0))[1]
    assert {"0.05", "0.1", "0.2"} <= set(y_axis(chart_of(Axis(log=True), 0.03, 0.5))[1])
    assert "0.24" in y_axis(chart_of(Axis(log=True), 0.2, 0.25))[1]
    assert "$\\mathdefault{10^{-3}}$" in y_axis(chart_of(Axis(log=True), 1e-5, 0.5))[1]  # 1-2-5 would be a crowd
    few = chart_of(Axis(), 1.0, 2.0, 3.0, x=Axis(log=True, ticks=[1, 2]))
    assert [label.get_text() for label in y_axis(few)[0].get_xticklabels()] == ["1", "2"]
    assert to_plotly(few).layout.xaxis.ticktext == ("1", "2")


def test_a_file_names_every_label_once_and_a_page_takes_it_for_what_it_says():
    hostile = Trace([1, 2], [1, 2], "<a href='x'>a</a>", PALETTE[1], opacity=0.5)
    chart = Chart([Panel([hostile, Trace([1], [2], hostile.label), Trace([1], [3])])] * 2, Axis())
    (legend,) = to_matplotlib(chart).legends
    assert [text.get_text() for text in legend.get_texts()] == [hostile.label]
    assert [handle.get_alpha() for handle in legend.legend_handles] == [1]  # as bold as a name needs it
    assert to_plotly(chart).data[0].name == "&lt;a href='x'&gt;a&lt;/a&gt;"
    assert not to_matplotlib(chart_of(Axis(), 1.0)).legends


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_suffix_chooses_the_format(tmp_path, suffix):
    save_chart(chart_of(Axis("y"), 1.0, 2.0), path := tmp_path / f"chart.{suffix}", inches=(2, 1))
    assert path.read_bytes()[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[suffix]
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (300, 150)


def test_a_run_that_has_just_begun_can_be_drawn(tmp_path):
    record = {"step": 1, "epoch": 0, "elapsed": 1.0, "train_loss": 0.9, "learning_rate": 1e-3, "grad_norm": 1.0}
    history = History([record | {"images_per_second": 9.0, "loss_by_t": [0.5, 1.0]}], [])
    assert set(save_curves(history, tmp_path)) == set(tmp_path.iterdir())
    assert curves_png(history).startswith(b"\x89PNG")
    assert to_plotly(history_chart({"new": history}, "loss")).data[0].mode == "lines+markers"
