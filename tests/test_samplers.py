"""Samplers against diffusers, an independent float64 reference, and the closed-form Gaussian denoiser."""

import math
from collections import deque
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.order import COUNTS, MU, S, errors, gaussian_denoiser, order
from ddpm.config import config_from_dict
from ddpm.config.settings import all_settings
from ddpm.diffusion import Prediction, make_denoiser
from ddpm.errors import ConfigError
from ddpm.randomness import ImageNoise, derive_seed
from ddpm.samplers import SAMPLERS, ddim, ddpm, dpmpp_2m, heun
from ddpm.schedule import SCHEDULES, make_schedule
from ddpm.spacing import SPACINGS, spaced_timesteps

T = 1000
SHAPE = (2, 4, 4)
SEED, COUNT = 7, 3
THEIRS = ("leading", "linspace", "trailing")  # the spacings that diffusers has too
THEIR_PREDICTION_TYPE = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
WALKS = [pytest.param(sampler.function, id=name) for name, sampler in SAMPLERS.items()]
KERNEL = 0.3 * torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1))


def network(x, t, y=None):
    """A small fixed network, smooth in x and t."""
    return F.conv2d(torch.tanh(x), KERNEL.to(x.dtype), padding=1) + 0.1 * torch.cos(t / 100).view(-1, 1, 1, 1)


def walk(sampler, spacing, num_steps, prediction_type, clip, **options):
    schedule = make_schedule("linear", T)
    denoise = make_denoiser(network, schedule, prediction_type, clip=clip)
    noise = ImageNoise(SEED, range(COUNT), SHAPE)
    return list(sampler(denoise, schedule, spaced_timesteps(T, num_steps, spacing), noise, **options))


def generators():
    """What diffusers draws from, one generator an image, as ``ImageNoise`` has them."""
    return [torch.Generator().manual_seed(derive_seed(SEED, k)) for k in range(COUNT)]


def walk_diffusers(scheduler, num_steps, **step_arguments):
    from diffusers.utils.torch_utils import randn_tensor

    source = generators()
    scheduler.set_timesteps(num_steps)
    x, states = randn_tensor((COUNT, *SHAPE), generator=source), []
    for t in scheduler.timesteps:
        states.append(x)
        output = network(x, torch.full((COUNT,), int(t)))
        x = scheduler.step(output, t, x, generator=source, **step_arguments).prev_sample
    return [*states, x]


# -- diffusers -----------------------------------------------------------------------------------------------------


def assert_same_walk(ours, theirs, tolerance=1e-4):
    assert len(ours) == len(theirs)
    for step, x in zip(ours, theirs, strict=True):
        torch.testing.assert_close(step.x_t, x, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("spacing", "num_steps"), [*product(THEIRS, (10, 50)), ("leading", 7), ("leading", 333)])
@pytest.mark.parametrize("prediction_type", THEIR_PREDICTION_TYPE)
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_agrees_with_diffusers_at_every_step(spacing, num_steps, prediction_type, clip, variance):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(
        num_train_timesteps=T,
        prediction_type=THEIR_PREDICTION_TYPE[prediction_type],
        timestep_spacing=spacing,
        clip_sample=clip,
        variance_type=variance,
    )
    ours = walk(ddpm, spacing, num_steps, prediction_type, clip, variance=variance)
    theirs = walk_diffusers(scheduler, num_steps)
    if (spacing, variance) == ("trailing", "fixed_large"):  # theirs leaves noise in an image that comes from t > 0
        ours, theirs = ours[:-1], theirs[:-1]
    assert_same_walk(ours, theirs)


@pytest.mark.parametrize(
    ("spacing", "num_steps"), [("leading", 7), ("leading", 10), ("leading", 333), ("trailing", 10), ("trailing", 50)]
)
@pytest.mark.parametrize("prediction_type", THEIR_PREDICTION_TYPE)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("clip", [False, True])
def test_ddim_agrees_with_diffusers_at_every_step(spacing, num_steps, prediction_type, eta, clip):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=T,
        prediction_type=THEIR_PREDICTION_TYPE[prediction_type],
        timestep_spacing=spacing,
        clip_sample=clip,
        set_alpha_to_one=True,
    )
    theirs = walk_diffusers(scheduler, num_steps, eta=eta, use_clipped_model_output=clip)
    assert_same_walk(walk(ddim, spacing, num_steps, prediction_type, clip, eta=eta), theirs)


@pytest.mark.slow
def test_ddpm_of_all_thousand_steps_agrees_with_diffusers():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(num_train_timesteps=T, prediction_type="v_prediction", clip_sample=True)
    assert_same_walk(walk(ddpm, "leading", T, "v", True), walk_diffusers(scheduler, T))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [1, 3, 20])
@pytest.mark.parametrize("prediction_type", ["eps", "v"])  # all that theirs knows
@pytest.mark.parametrize("clip", [False, True])
def test_heun_agrees_with_diffusers_at_every_step(spacing, num_steps, prediction_type, clip):
    from diffusers import HeunDiscreteScheduler

    ours = walk(heun, spacing, num_steps, prediction_type, clip)
    scheduler = HeunDiscreteScheduler(
        num_train_timesteps=T,
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type=THEIR_PREDICTION_TYPE[prediction_type],
        clip_sample=clip,
    )
    scheduler.set_timesteps(timesteps=spaced_timesteps(T, num_steps, spacing))
    # Theirs is x_t / sqrt(alpha_bar_t), and takes every step but the last in two calls.
    scales = scheduler.alphas_cumprod[scheduler.timesteps.long()].sqrt()
    x, states = ours[0].x_t.double() / scales[0], []  # theirs divides by a small sigma, which fp32 does not bear
    for index, t in enumerate(scheduler.timesteps):
        if index % 2 == 0 or index == len(scheduler.timesteps) - 1:
            states.append(x * scales[index])
        x = scheduler.step(network(scheduler.scale_model_input(x, t), t.expand(COUNT)), t, x).prev_sample
    assert_same_walk(ours, [state.float() for state in (*states[: len(ours) - 1], x)], tolerance=1e-3)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [1, 3, 20])
@pytest.mark.parametrize("prediction_type", THEIR_PREDICTION_TYPE)
@pytest.mark.parametrize(("sde", "theirs"), [(0.0, "dpmsolver++"), (1.0, "sde-dpmsolver++")])
def test_dpmpp_2m_agrees_with_diffusers_at_every_step(spacing, num_steps, prediction_type, sde, theirs):
    from diffusers import DPMSolverMultistepScheduler
    from diffusers.utils.torch_utils import randn_tensor

    ours = walk(dpmpp_2m, spacing, num_steps, prediction_type, clip=False, sde=sde)
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=T,
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type=THEIR_PREDICTION_TYPE[prediction_type],
        algorithm_type=theirs,
        solver_order=2,
    )
    scheduler.set_timesteps(timesteps=spaced_timesteps(T, num_steps, spacing))
    source, states = generators(), []
    x = randn_tensor((COUNT, *SHAPE), generator=source)
    for t in scheduler.timesteps:
        states.append(x)
        x = scheduler.step(network(x, t.expand(COUNT)), t, x, generator=source).prev_sample
    assert_same_walk(ours, [*states, x], tolerance=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_first_step_of_dpmpp_2m_with_noise_is_ddims(name, eta):
    schedule = make_schedule(name, T, zero_terminal_snr=True)
    denoise = gaussian_denoiser(schedule)

    def second(sampler, **option):
        generator = torch.Generator().manual_seed(0)
        steps = sampler(denoise, schedule, [T - 1, 400], lambda: torch.randn(5, 1, 1, 1, generator=generator), **option)
        return [*steps][1].x_t

    torch.testing.assert_close(second(dpmpp_2m, sde=eta), second(ddim, eta=eta), rtol=1e-5, atol=1e-5)


# -- an independent float64 reference ------------------------------------------------------------------------------


def walk_reference(sampler, spacing, num_steps, prediction_type, eta):
    """Textbook formulas in NumPy, stepping to the next visited timestep; alpha_bar = 1 past the last."""
    betas = np.linspace(1e-4, 0.02, T)
    ab = np.append(np.cumprod(1 - betas), 1.0)  # ab[-1] is the clean image
    if spacing == "trailing":
        visited = [int(np.round(T - i * T / num_steps)) - 1 for i in range(num_steps)]
    else:
        visited = np.linspace(0, T - 1, num_steps).round().astype(int)[::-1].tolist()
    source = generators()

    def noise():
        return np.stack([torch.randn(SHAPE, generator=g).double().numpy() for g in source])

    x, states = noise(), []
    for t, s in zip(visited, [*visited[1:], -1], strict=True):
        states.append(x)
        out = network(torch.from_numpy(x), torch.full((COUNT,), t, dtype=torch.float64)).numpy()
        a, b = np.sqrt(ab[t]), np.sqrt(1 - ab[t])
        x0 = {"eps": (x - b * out) / a, "x0": out, "v": a * x - b * out}[prediction_type]
        eps = (x - a * x0) / b
        if sampler is ddpm:
            beta = 1 - ab[t] / ab[s]
            mean = np.sqrt(ab[s]) * beta / (1 - ab[t]) * x0 + np.sqrt(1 - beta) * (1 - ab[s]) / (1 - ab[t]) * x
            deviation = np.sqrt(beta * (1 - ab[s]) / (1 - ab[t]))
        else:
            deviation = eta * np.sqrt((1 - ab[s]) / (1 - ab[t])) * np.sqrt(1 - ab[t] / ab[s])
            mean = np.sqrt(ab[s]) * x0 + np.sqrt(np.maximum(1 - ab[s] - deviation**2, 0)) * eps
        x = mean + deviation * noise() if deviation > 0 else mean
    return [*states, x]


@pytest.mark.parametrize(("sampler", "eta"), [(ddpm, 0.0), (ddim, 0.0), (ddim, 0.5), (ddim, 1.0)])
@pytest.mark.parametrize(
    ("spacing", "num_steps"), [("trailing", 7), ("trailing", 300), ("linspace", 10), ("linspace", 37)]
)
@pytest.mark.parametrize("prediction_type", THEIR_PREDICTION_TYPE)
def test_samplers_step_to_the_next_visited_timestep(sampler, eta, spacing, num_steps, prediction_type):
    options = {} if sampler is ddpm else {"eta": eta}
    ours = walk(sampler, spacing, num_steps, prediction_type, clip=False, **options)
    reference = walk_reference(sampler, spacing, num_steps, prediction_type, eta)
    assert_same_walk(ours, [torch.from_numpy(x).float() for x in reference])


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_with_eta_1_is_ddpm(clip):
    ancestral = walk(ddpm, "trailing", 40, "v", clip)
    stochastic = walk(ddim, "trailing", 40, "v", clip, eta=1.0)
    assert_same_walk(ancestral, [step.x_t for step in stochastic])


# -- the closed-form Gaussian denoiser -----------------------------------------------------------------------------


def gaussian_gain(ab: float) -> tuple[float, float]:
    """E[x0 | x_t] = gain * x_t + offset, for x0 ~ N(MU, S^2)."""
    gain = math.sqrt(ab) * S**2 / (ab * S**2 + 1 - ab)
    return gain, MU * (1 - gain * math.sqrt(ab))


def exact_moments(schedule, timesteps, eta):
    """Mean and variance of what DDIM with ``eta`` (1: DDPM) makes of N(0, 1): the map is linear at every step."""
    mean, variance = 0.0, 1.0
    for t, s in zip(timesteps, [*timesteps[1:], -1], strict=True):
        ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
        gain, offset = gaussian_gain(ab_t)
        fresh = eta**2 * (1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s)
        of_eps = math.sqrt(1 - ab_s - fresh) / math.sqrt(1 - ab_t)
        slope = math.sqrt(ab_s) * gain + of_eps * (1 - math.sqrt(ab_t) * gain)
        mean = slope * mean + math.sqrt(ab_s) * offset - of_eps * math.sqrt(ab_t) * offset
        variance = slope**2 * variance + fresh
    return mean, variance


@pytest.mark.parametrize(
    ("sampler", "expected", "tolerance"), [("ddim", 1, 0.2), ("heun", 2, 0.3), ("dpmpp_2m", 2, 0.3)]
)
def test_the_error_falls_with_the_order_of_the_sampler(sampler, expected, tolerance):
    assert order(COUNTS, errors(sampler)) == pytest.approx(expected, abs=tolerance)


def last(steps):
    return deque(steps, maxlen=1).pop()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [1, 3, 50])
def test_ddim_without_noise_is_the_exact_linear_map(name, spacing, num_steps):
    schedule, timesteps = make_schedule(name, T), spaced_timesteps(T, num_steps, spacing)
    start = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    at_0, at_1 = last(ddim(gaussian_denoiser(schedule), schedule, timesteps, lambda: start)).x0.flatten().tolist()
    mean, variance = exact_moments(schedule, timesteps, eta=0.0)
    assert at_0 == pytest.approx(mean, abs=1e-9)
    assert (at_1 - at_0) ** 2 == pytest.approx(variance, abs=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_ddim_reaches_the_mean_and_variance_of_the_data(name):
    schedule = make_schedule(name, T)
    mean, variance = exact_moments(schedule, spaced_timesteps(T, T), eta=0.0)
    assert mean == pytest.approx(MU, abs=0.005)
    assert variance == pytest.approx(S**2, rel=0.02)


@pytest.mark.parametrize(
    ("sampler", "eta", "num_steps"), [(ddpm, 0.0, 20), (ddpm, 0.0, T), (ddim, 1.0, 50), (ddim, 0.5, 50)]
)
def test_stochastic_samplers_have_the_moments_of_theory(sampler, eta, num_steps):
    n = 40_000
    schedule, timesteps = make_schedule("linear", T), spaced_timesteps(T, num_steps)
    generator = torch.Generator().manual_seed(0)
    steps = sampler(
        gaussian_denoiser(schedule),
        schedule,
        timesteps,
        lambda: torch.randn(n, 1, 1, 1, generator=generator),
        **({} if sampler is ddpm else {"eta": eta}),
    )
    samples = last(steps).x0.double()
    mean, variance = exact_moments(schedule, timesteps, eta=1.0 if sampler is ddpm else eta)
    assert samples.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / n))
    assert samples.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / n))
    if num_steps == T:
        assert (mean, variance) == (pytest.approx(MU, abs=0.002), pytest.approx(S**2, rel=0.02))


# -- the steps that are yielded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", WALKS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_are_the_visited_timesteps_and_then_the_clean_image(sampler, spacing):
    steps = walk(sampler, spacing, 7, "eps", clip=True)
    assert [step.t for step in steps] == [*spaced_timesteps(T, 7, spacing), -1]
    assert [step.index for step in steps] == list(range(8))
    assert torch.equal(steps[-1].x_t, steps[-1].x0)


@pytest.mark.parametrize("sampler", WALKS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_last_step_is_the_predicted_x0_of_the_step_before_without_noise(sampler, spacing):
    steps = walk(sampler, spacing, 7, "eps", clip=True)
    torch.testing.assert_close(steps[-1].x0, steps[-2].x0)
    assert steps[-1].x0.abs().max() <= 1


@pytest.mark.parametrize(
    ("sampler", "options", "draws"),
    [("ddpm", {}, 7), ("ddim", {"eta": 1.0}, 7), ("ddim", {}, 1), ("heun", {}, 1), ("dpmpp_2m", {}, 1)],
)
def test_noise_is_drawn_at_the_start_and_then_where_it_is_added(sampler, options, draws):
    drawn, schedule = [], make_schedule("linear", T)

    def noise():
        drawn.append(torch.ones(COUNT, *SHAPE))
        return drawn[-1]

    denoise = make_denoiser(network, schedule, "eps")
    list(SAMPLERS[sampler].function(denoise, schedule, spaced_timesteps(T, 7), noise, **options))
    assert len(drawn) == draws


@pytest.mark.parametrize("sampler", WALKS)
def test_a_perfect_denoiser_gives_the_image_back_after_any_number_of_steps(sampler):
    x0 = torch.linspace(-1, 1, 32).reshape(1, *SHAPE)
    schedule = make_schedule("linear", T)

    def denoise(x_t, t):
        ab = schedule.alpha_bar(t)
        return Prediction(x0, (x_t - math.sqrt(ab) * x0) / math.sqrt(1 - ab))

    for num_steps in (1, 2, 50):
        steps = sampler(denoise, schedule, spaced_timesteps(T, num_steps), ImageNoise(0, [0], SHAPE))
        torch.testing.assert_close(last(steps).x0, x0)


# -- nothing is NaN ------------------------------------------------------------------------------------------------

NUMBERS = {setting.name: setting for setting in all_settings()["schedule"]}


def random_settings(random: np.random.Generator) -> dict:
    """Any documented schedule, prediction and way of sampling it; extremes as often as what is usual."""

    def between(low, high):
        return float(random.choice([low, high, random.uniform(low, high)]))

    name = str(random.choice(list(SCHEDULES)))
    schedule = {"name": name, "num_timesteps": int(random.choice([2, 3, 12, 100, 1000]))}
    if random.random() < 0.5:
        for parameter in SCHEDULES[name].defaults:
            limits = NUMBERS[parameter].limits
            low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
            inside = (high - low) * 1e-6  # of ranges that leave out their ends
            schedule[parameter] = between(low + inside, high - inside)
    schedule["zero_terminal_snr"] = bool(random.random() < 0.4)
    steps = min(schedule["num_timesteps"], int(random.choice([1, 2, 3, 10, 30])))
    first, last = sorted(map(int, random.integers(0, schedule["num_timesteps"], 2)))
    sampling = {
        "sampler": str(random.choice(list(SAMPLERS))),
        "num_steps": steps,
        "eta": between(0, 1),
        "sde": between(0, 1),
        "variance": str(random.choice(["fixed_small", "fixed_large"])),
        "spacing": str(random.choice(SPACINGS)),
        "guidance_scale": between(0, 20),
        "guidance_interval": None if random.random() < 0.5 else (first, last),
        "clip": bool(random.random() < 0.7),
    }
    return {
        "schedule": schedule,
        "sampling": sampling,
        "diffusion": {"prediction_type": str(random.choice(list(THEIR_PREDICTION_TYPE)))},
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_documented_setting_gives_nan(seed):
    random, sampled = np.random.default_rng(seed), 0
    for _ in range(500):
        values = random_settings(random)
        try:
            config = config_from_dict(values)
        except ConfigError:
            continue
        schedule, settings = config.schedule.build(), config.sampling
        denoise = make_denoiser(
            lambda x, t, y: torch.sin(x + y.view(-1, 1, 1, 1) + t.view(-1, 1, 1, 1)),
            schedule, config.diffusion.prediction_type, torch.tensor([0, 1]), null_label=2,
            guidance_scale=settings.guidance_scale, guidance_interval=settings.guidance_interval, clip=settings.clip,
        )  # fmt: skip
        sampler = SAMPLERS[settings.sampler]
        timesteps = spaced_timesteps(schedule.num_timesteps, settings.num_steps, settings.spacing)
        options = {name: getattr(settings, name) for name in sampler.options}
        for step in sampler.function(denoise, schedule, timesteps, ImageNoise(0, [0, 1], (2, 2, 2)), **options):
            assert step.x_t.isfinite().all(), (values, step.t)
            assert step.x0.isfinite().all(), (values, step.t)
        sampled += 1
    assert sampled > 250
