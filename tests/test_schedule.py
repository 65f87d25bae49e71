"""Noise schedules against closed forms, the papers' formulas and diffusers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from ddpm.config import ScheduleConfig
from ddpm.errors import ConfigError
from ddpm.schedule import SCHEDULES, NoiseSchedule, make_schedule, rescale_zero_terminal_snr
from ddpm.spacing import SPACINGS, spaced_timesteps, starting_point

T = 1000
ALL = [(name, zero) for name in SCHEDULES for zero in (False, True)]
every_schedule = pytest.mark.parametrize(("name", "zero_terminal_snr"), ALL)


def diffusers_scheduler(**settings):
    from diffusers import DDPMScheduler

    return DDPMScheduler(num_train_timesteps=T, **settings)


def exact_alphas_cumprod(betas: list[float]) -> list[float]:
    """The running product, through correctly rounded sums of logarithms."""
    logs = [math.log1p(-beta) for beta in betas]
    return [math.exp(math.fsum(logs[: t + 1])) for t in range(len(logs))]


# -- the named schedules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "power", "ends"),
    [
        ("linear", 1, (1e-4, 0.02)),
        ("quadratic", 2, (1e-4, 0.02)),
        ("scaled_linear", 2, (0.00085, 0.012)),
        ("power", 3, (1e-4, 0.02)),
    ],
)
def test_power_schedules_equal_the_closed_form_in_float64(name, power, ends):
    first, last = (end ** (1 / power) for end in ends)
    betas = [(first + (last - first) * t / (T - 1)) ** power for t in range(T)]
    schedule = make_schedule(name, T)
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), exact_alphas_cumprod(betas), rtol=1e-12)
    np.testing.assert_allclose(schedule.betas.numpy(), betas, rtol=1e-11)


@pytest.mark.parametrize(("name", "power"), [("linear", 1), ("quadratic", 2)])
def test_the_power_schedule_continues_linear_and_quadratic(name, power):
    assert torch.equal(make_schedule("power", T, power=power).betas, make_schedule(name, T).betas)


@pytest.mark.parametrize(
    ("name", "theirs", "ends"),
    [
        ("linear", "linear", (1e-4, 0.02)),
        ("scaled_linear", "scaled_linear", (0.00085, 0.012)),
        ("cosine", "squaredcos_cap_v2", None),
    ],
)
def test_schedules_equal_diffusers(name, theirs, ends):
    settings = {"beta_start": ends[0], "beta_end": ends[1]} if ends else {}
    reference = diffusers_scheduler(beta_schedule=theirs, **settings)
    schedule = make_schedule(name, T)
    np.testing.assert_allclose(schedule.betas.numpy(), reference.betas.numpy(), rtol=1e-5, atol=1e-8)
    # diffusers multiplies a thousand float32.
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), reference.alphas_cumprod.numpy(), rtol=1e-4)


def test_cosine_equals_equation_17_until_beta_is_clipped():
    def f(u, s=0.008):
        return math.cos((u + s) / (1 + s) * math.pi / 2) ** 2

    schedule = make_schedule("cosine", T)
    expected = [f((t + 1) / T) / f(0) for t in range(T - 1)]
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1].numpy(), expected, rtol=1e-10)
    assert schedule.betas[-1].item() == pytest.approx(0.999, abs=1e-12)


@pytest.mark.parametrize(("start", "end", "tau"), [(-3, 3, 1.0), (0, 3, 0.7), (-2, 1, 0.3)])
def test_sigmoid_equals_chens_algorithm_1(start, end, tau):
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    def gamma(u):
        v_start, v_end = sigmoid(start / tau), sigmoid(end / tau)
        return (v_end - sigmoid((u * (end - start) + start) / tau)) / (v_end - v_start)

    schedule = make_schedule("sigmoid", T, sigmoid_start=start, sigmoid_end=end, sigmoid_tau=tau)
    expected = [gamma((t + 1) / T) for t in range(T - 1)]
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1].numpy(), expected, rtol=1e-9)
    # Chen's curve ends at 0; here beta is clipped at 0.999.
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(expected[-1] * 0.001, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "t", "value"),
    [
        ("linear", 0, 0.9999),
        ("linear", 499, 0.0786),
        ("linear", 999, 4.0358e-5),
        ("cosine", 499, 0.4938),
        ("sigmoid", 99, 0.9605),
        ("sigmoid", 499, 0.5000),
        ("scaled_linear", 999, 0.0047),
    ],
)
def test_alpha_bar_has_the_values_known_from_the_literature(name, t, value):
    assert make_schedule(name, T).alpha_bar(t) == pytest.approx(value, rel=2e-2 if name == "scaled_linear" else 1e-3)


# -- zero terminal SNR ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_zero_terminal_snr_equals_diffusers(name):
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr as theirs

    plain = make_schedule(name, T)
    expected = torch.cumprod(1 - theirs(plain.betas), 0)
    rescaled = make_schedule(name, T, zero_terminal_snr=True)
    torch.testing.assert_close(rescaled.alphas_cumprod, expected, rtol=1e-7, atol=1e-15)
    torch.testing.assert_close(rescale_zero_terminal_snr(plain).alphas_cumprod, rescaled.alphas_cumprod)


@pytest.mark.parametrize("name", SCHEDULES)
def test_zero_terminal_snr_is_exactly_zero_and_keeps_the_first_step(name):
    rescaled, plain = make_schedule(name, T, zero_terminal_snr=True), make_schedule(name, T)
    assert rescaled.alpha_bar(T - 1) == 0.0
    assert rescaled.alpha_bar(0) == pytest.approx(plain.alpha_bar(0), rel=1e-14)
    assert rescaled.log_snr[-1] == -math.inf


# -- identities ----------------------------------------------------------------------------------------------------


@every_schedule
def test_betas_give_alphas_cumprod_back(name, zero_terminal_snr):
    schedule = make_schedule(name, T, zero_terminal_snr=zero_terminal_snr)
    again = torch.cumprod(1 - schedule.betas, 0)
    torch.testing.assert_close(again, schedule.alphas_cumprod, rtol=1e-10, atol=1e-16)
    assert schedule.alphas_cumprod.dtype == schedule.betas.dtype == torch.float64


@every_schedule
def test_snr_and_log_snr_are_those_of_alpha_bar(name, zero_terminal_snr):
    schedule = make_schedule(name, T, zero_terminal_snr=zero_terminal_snr)
    for t in (0, 1, T // 2, T - 2):
        ab = schedule.alpha_bar(t)
        assert schedule.snr[t].item() == pytest.approx(ab / (1 - ab), rel=1e-14)
        assert schedule.log_snr[t].item() == pytest.approx(math.log(ab) - math.log1p(-ab), rel=1e-10)
    assert (schedule.snr[1:] < schedule.snr[:-1]).all()


@every_schedule
def test_posterior_variance_is_the_product_of_two_gaussians(name, zero_terminal_snr):
    """1 / beta tilde = alpha_t / beta_t + 1 / (1 - alpha_bar_{t-1}): precisions of likelihood and prior add up."""
    schedule = make_schedule(name, T, zero_terminal_snr=zero_terminal_snr)
    beta, before = schedule.betas[1:], schedule.alphas_cumprod[:-1]
    precision = (1 - beta) / beta + 1 / (1 - before)
    torch.testing.assert_close(schedule.posterior_variance[1:], 1 / precision, rtol=1e-10, atol=0)
    assert schedule.posterior_variance[0] == 0


@every_schedule
@pytest.mark.parametrize("num_timesteps", [2, 3, 10, 10_000])
def test_every_schedule_is_valid_for_every_number_of_timesteps(name, zero_terminal_snr, num_timesteps):
    schedule = make_schedule(name, num_timesteps, zero_terminal_snr=zero_terminal_snr)
    ab = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alphas_cumprod])
    assert len(ab) == num_timesteps + 1
    assert (ab[1:] < ab[:-1]).all()
    assert (schedule.alphas_cumprod > 0)[:-1].all()
    assert schedule.posterior_variance.isfinite().all()


@every_schedule
def test_the_density_over_log_snr_integrates_to_one(name, zero_terminal_snr):
    schedule = make_schedule(name, 4000, zero_terminal_snr=zero_terminal_snr)
    last = -1 if schedule.alphas_cumprod[-1] == 0 else None  # the log-SNR is infinite there
    area = -torch.trapezoid(schedule.log_snr_density[:last], schedule.log_snr[:last])
    assert area.item() == pytest.approx(1, abs=2e-3)
    assert (schedule.log_snr_density >= 0).all()


def test_the_density_over_log_snr_of_a_schedule_that_is_even_in_it():
    log_snr = torch.linspace(6, -6, 241, dtype=torch.float64)  # 20 timesteps a unit
    schedule = NoiseSchedule(torch.sigmoid(log_snr))
    torch.testing.assert_close(schedule.log_snr_density, torch.full((241,), 20 / 241, dtype=torch.float64))


@pytest.mark.parametrize(("share", "t"), [(0, 0), (0.3, 300), (0.9994, 999), (1, 999)])
def test_the_timestep_at_a_share_of_t(share, t):
    assert make_schedule("linear", T).timestep_at(share) == t


def test_the_step_past_t_0_is_the_clean_image():
    schedule = make_schedule("linear", T)
    assert schedule.alpha_bar(-1) == 1.0
    assert schedule.alphas_cumprod_prev[0] == 1.0
    assert torch.equal(schedule.alphas_cumprod_prev[1:], schedule.alphas_cumprod[:-1])


# -- immutability and errors ---------------------------------------------------------------------------------------


def test_a_schedule_cannot_be_reassigned_nor_changed_through_the_tensor_it_was_built_from():
    given = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    schedule = NoiseSchedule(given)
    given[0] = 0.0
    assert schedule.alpha_bar(0) == 0.9
    with pytest.raises(AttributeError):
        schedule.alphas_cumprod = given


def test_whatever_it_is_built_from_a_schedule_is_in_float64_and_by_default_that_of_the_config():
    given = NoiseSchedule(torch.tensor([0.9, 0.5], requires_grad=True)).alphas_cumprod
    assert (given.dtype, given.requires_grad) == (torch.float64, False)
    beta = torch.tensor(0.01)  # in float32
    assert NoiseSchedule.from_betas(beta.repeat(T)).alpha_bar(T - 1) == pytest.approx((1 - beta.item()) ** T, rel=1e-12)
    assert torch.equal(make_schedule().alphas_cumprod, ScheduleConfig().build().alphas_cumprod)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_are_picked_per_image_and_broadcast_in_the_dtype_of_the_images(dtype):
    schedule, t = make_schedule("linear", T), torch.tensor([0, 999])
    with torch.inference_mode():
        schedule.scales(t, torch.zeros(2, 1, 4, 4, dtype=dtype))
    images = torch.ones(2, 1, 4, 4, dtype=dtype, requires_grad=True)
    signal, noise = schedule.scales(t, images)
    assert signal.shape == noise.shape == (2, 1, 1, 1)
    assert signal.dtype == noise.dtype == dtype
    assert signal.square().flatten().tolist() == pytest.approx([0.9999, 4.0358e-5], rel=1e-4)
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones_like(signal))
    (signal * images).sum().backward()  # which takes no tensor that belongs to inference


def test_where_the_values_stop_being_a_schedule_is_named():
    with pytest.raises(ConfigError, match=r"at t = 2 it does not \(0.5\)"):
        NoiseSchedule(torch.tensor([0.9, 0.5, 0.5, 0.1]))


@pytest.mark.parametrize(
    "alphas_cumprod",
    [[0.5], [[0.9, 0.5]], [1.0, 0.5], [0.5, 0.9], [0.5, 0.5], [0.5, -0.1], [0.5, 0.0, 0.0], [math.nan, 0.1]],
)
def test_values_that_are_no_schedule_are_refused(alphas_cumprod):
    with pytest.raises(ConfigError):
        NoiseSchedule(torch.tensor(alphas_cumprod))


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (("cosin", T), {}, "unknown schedule 'cosin': did you mean 'cosine'? valid are linear, cosine"),
        (("linear", 1), {}, "num_timesteps must be at least 2, got 1"),
        (
            ("cosine", T),
            {"beta_start": 0.1},
            "unknown parameter of the cosine schedule 'beta_start': valid are cosine_s",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, parameters, message):
    with pytest.raises(ConfigError) as caught:
        make_schedule(*arguments, **parameters)
    assert str(caught.value).startswith(message)


# -- which timesteps are visited -----------------------------------------------------------------------------------

STEPS = [2, 3, 4, 7, 10, 20, 50, 64, 100, 250, 300, 333, 500, 999, 1000]


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("num_steps", STEPS)
def test_spaced_timesteps_equal_diffusers(spacing, num_steps):
    reference = diffusers_scheduler(timestep_spacing=spacing)
    reference.set_timesteps(num_steps)
    assert spaced_timesteps(T, num_steps, spacing) == reference.timesteps.tolist()


@pytest.mark.parametrize("spacing", SPACINGS)
def test_spaced_timesteps_fall_strictly_inside_the_range_for_every_t_and_n(spacing):
    for num_timesteps in range(2, 41):
        for num_steps in range(1, num_timesteps + 1):
            steps = spaced_timesteps(num_timesteps, num_steps, spacing)
            assert len(steps) == num_steps
            assert all(a > b for a, b in pairwise(steps))
            assert num_timesteps > steps[0] >= steps[-1] >= 0


@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_steps_are_all_timesteps(spacing):
    assert spaced_timesteps(T, T, spacing) == list(range(T - 1, -1, -1))


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [800, 600, 400, 200, 0]),
        ("trailing", [999, 799, 599, 399, 199]),
        ("linspace", [999, 749, 500, 250, 0]),
        ("quadratic", [999, 639, 359, 159, 39]),
    ],
)
def test_the_ends_of_each_spacing(spacing, expected):
    assert spaced_timesteps(T, 5, spacing) == expected


@pytest.mark.parametrize(
    ("spacing", "only"), [("leading", 0), ("trailing", T - 1), ("linspace", T - 1), ("quadratic", T - 1)]
)
def test_a_single_step(spacing, only):
    assert spaced_timesteps(T, 1, spacing) == [only]


@pytest.mark.parametrize(
    ("num_steps", "spacing", "message"),
    [
        (T + 1, "trailing", "num_steps must be between 1 and the model's 1000 timesteps, got 1001"),
        (0, "trailing", "num_steps must be between 1 and the model's 1000 timesteps, got 0"),
        (10, "trailling", "unknown timestep spacing 'trailling': did you mean 'trailing'?"),
    ],
)
def test_wrong_spacings_are_named(num_steps, spacing, message):
    with pytest.raises(ConfigError) as caught:
        spaced_timesteps(T, num_steps, spacing)
    assert str(caught.value).startswith(message)


# -- where a sampler starts ----------------------------------------------------------------------------------------


def start_of(name: str, num_steps: int, spacing: str, num_values: int = 32 * 32, num_timesteps: int = T, **settings):
    schedule = make_schedule(name, num_timesteps, **settings)
    return starting_point(schedule, spaced_timesteps(num_timesteps, num_steps, spacing), num_values)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_a_start_from_pure_noise_where_training_had_it_has_no_problem(name, spacing):
    start = start_of(name, 10, spacing)
    assert (start.problems, start.harmful) == ((), False)


def test_the_terminal_snr_of_latent_diffusion_shows_and_zero_terminal_snr_removes_it():
    # Lin et al. 2024, table 1: sqrt(alpha_bar) at T is 0.068265 for Stable Diffusion's schedule.
    start = start_of("scaled_linear", 10, "trailing", 4 * 64 * 64)
    assert start.harmful
    (problem,) = start.problems
    assert problem.startswith("the terminal SNR is not near zero: training left 6.8 % of the image's amplitude")
    assert start_of("scaled_linear", 10, "trailing", 4 * 64 * 64, zero_terminal_snr=True).problems == ()


def test_the_more_pixels_the_fainter_a_signal_shows():
    assert start_of("linear", 10, "trailing", 32 * 32).problems == ()
    assert start_of("linear", 10, "trailing", 3 * 256 * 256).harmful


def test_a_first_step_below_the_last_timestep_is_named():
    start = start_of("linear", 10, "leading")
    assert not start.harmful
    assert start.problems[0].startswith("the first step is at t = 900, not at T - 1 = 999; training left 1.6 % of the")
    assert "too faint to matter" in start.problems[0]
    assert start_of("cosine", 10, "leading").harmful
    assert len(start_of("linear", 5, "leading", num_timesteps=100).problems) == 2


@pytest.mark.parametrize(("errors", "shows"), [(0.97, False), (1.03, True)])
def test_a_signal_shows_from_one_standard_error_of_the_mean_on(errors, shows):
    snr = errors**2 / 100
    schedule = NoiseSchedule(torch.tensor([0.9, snr / (1 + snr)]))
    problems, harmful = starting_point(schedule, [1, 0], num_values=100)
    assert (len(problems), harmful) == (int(shows), shows)
    first_problem = starting_point(NoiseSchedule(torch.tensor([0.9, snr / (1 + snr), 0.0])), [1], num_values=100)[0][0]
    assert ("it shows" in first_problem) == shows


def test_what_shows_is_what_a_test_of_the_mean_can_tell():
    """The mean of white images at t against that of pure noise, in standard errors of the latter."""
    schedule, pixels = make_schedule("scaled_linear", T), 32 * 32
    ab = schedule.alpha_bar(T - 1)
    noise = torch.randn(4000, pixels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    white = math.sqrt(ab) + math.sqrt(1 - ab) * noise
    means = white.mean(1)
    problem = starting_point(schedule, [T - 1], pixels).problems[0]
    assert f"({means.mean() / means.std():.1f} standard errors" in problem
