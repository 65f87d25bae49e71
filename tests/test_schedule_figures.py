"""What the charts of schedules show, against the schedules themselves."""

import numpy as np
import pytest
import torch

from ddpm.config.variants import parse_schedules
from ddpm.media.chart import DASHES, PALETTE
from ddpm.media.drawers import to_plotly
from ddpm.media.schedule_figures import AXES, lines, noise_like, noised, panels, places, schedules_chart, steps_chart
from ddpm.schedule import SCHEDULES
from ddpm.spacing import spaced_timesteps


def drawn(text: str):
    return lines(parse_schedules(text))


def test_every_schedule_has_a_colour_of_its_own_and_its_variants_a_dash():
    colour = {name: drawn(name)[0].pen.colour for name in SCHEDULES}
    assert len(set(colour.values())) == min(len(SCHEDULES), len(PALETTE))
    found = drawn("linear,cosine,linear:num_timesteps=50,linear:beta_end=0.1,cosine")
    assert [line.pen.colour for line in found] == [
        colour[name] for name in ("linear", "cosine", "linear", "linear", "cosine")
    ]
    assert [line.pen.dash for line in found] == ["solid", "solid", "dash", "dot", "dash"]
    assert len(drawn(",".join(["linear"] * 6))) == 6 > len(DASHES)


@pytest.mark.parametrize("over", AXES)
@pytest.mark.parametrize("num_timesteps", [2, 320, 321, 10_000])
def test_every_curve_has_both_ends_and_the_values_of_its_schedule(over, num_timesteps):
    (line,) = found = drawn(f"linear:num_timesteps={num_timesteps}:beta_end=0.01")
    figure = to_plotly(schedules_chart(found, over, 0.5))
    curves = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(curves) == sum(len(quantity.curves) for quantity in panels(over))
    x = places(line.schedule, over)
    for trace in curves:
        assert trace.x[0] == x[0]
        assert trace.x[-1] == x[-1]
        assert len(trace.x) <= 320
    kept = np.isin(line.schedule.alphas_cumprod.numpy(), curves[0].y)
    np.testing.assert_array_equal(curves[0].x, x[kept])
    (mark, *_) = [trace for trace in figure.data if trace.mode == "markers"]
    assert mark.y[0] == line.schedule.alpha_bar(num_timesteps // 2)


def test_the_mouse_reads_all_panels_at_once():
    figure = to_plotly(schedules_chart(drawn("linear,cosine")))
    assert (figure.layout.hovermode, figure.layout.hoversubplots) == ("x", "axis")
    assert {trace.xaxis or "x" for trace in figure.data} == {"x"}  # hoversubplots links the panels of one axis
    assert {trace.yaxis for trace in figure.data} == {"y", *(f"y{row}" for row in range(2, 6))}


def test_what_cannot_be_drawn_is_a_gap():
    figure = to_plotly(schedules_chart(drawn("linear:zero_terminal_snr=true"), "log_snr"))
    assert all(np.isfinite(trace.x[:-1]).all() and np.isnan(trace.x[-1]) for trace in figure.data)
    beta_tilde = to_plotly(schedules_chart(drawn("linear"))).data[-1]
    assert np.isnan(beta_tilde.y[0])
    assert (beta_tilde.y[1:] > 0).all()


@pytest.mark.parametrize("over", AXES)
def test_steps_are_drawn_where_the_sampler_goes_and_a_cross_where_it_does_not(over):
    (line,) = found = drawn("cosine")
    _, visited, missed = to_plotly(steps_chart(found, 10, "leading", over)).data
    steps = spaced_timesteps(1000, 10, "leading")
    np.testing.assert_allclose(visited.x, places(line.schedule, over)[steps])
    np.testing.assert_allclose(visited.customdata[:, 1], line.schedule.alphas_cumprod[steps])
    assert missed.customdata[:, 0].tolist() == [999]
    assert len(to_plotly(steps_chart(found, 10, "trailing", over)).data[2].x) == 0


def test_all_schedules_get_the_same_noise_and_psnr_is_that_of_what_is_shown():
    x0 = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    eps = noise_like(x0, 3)
    assert torch.equal(eps, noise_like(x0, 3))
    first, second, other = (noised(line.schedule, x0, eps, [0, 0.5, 1]) for line in drawn("linear,linear,cosine"))
    assert [cell.t for cell in first] == [0, 500, 999]
    for cell, twin in zip(first, second, strict=True):
        assert torch.equal(cell.image, twin.image)
    assert not torch.equal(first[1].image, other[1].image)
    clean = (x0[0] + 1) * 127.5
    for cell in first:
        error = ((cell.image - clean) / 255).square().mean()
        assert cell.psnr == pytest.approx(-10 * error.log10().item(), abs=0.5)  # 256 levels
