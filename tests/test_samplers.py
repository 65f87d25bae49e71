"""Samplers against diffusers, an independent float64 reference, and the closed-form Gaussian denoiser."""

import math
from collections import deque
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm.config import SamplingConfig
from ddpm.diffusion import Prediction, make_denoiser
from ddpm.errors import ConfigError
from ddpm.randomness import ImageNoise, derive_seed
from ddpm.samplers import SAMPLERS, ddim, ddpm, generate, sample
from ddpm.schedule import SCHEDULES, SPACINGS, make_schedule, spaced_timesteps

T = 1000
SHAPE = (2, 4, 4)
SEED, COUNT = 7, 3
THEIR_PREDICTION_TYPE = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
KERNEL = 0.3 * torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1))


def network(x, t, y=None):
    """A small fixed network, smooth in x and t."""
    return F.conv2d(torch.tanh(x), KERNEL.to(x.dtype), padding=1) + 0.1 * torch.cos(t / 100).view(-1, 1, 1, 1)


def walk(sampler, spacing, num_steps, prediction_type, clip, eta=0.0):
    schedule = make_schedule("linear", T)
    denoise = make_denoiser(network, schedule, prediction_type, clip=clip)
    noise = ImageNoise(SEED, range(COUNT), SHAPE)
    return list(sampler(denoise, schedule, spaced_timesteps(T, num_steps, spacing), noise, eta=eta))


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


def assert_same_walk(ours, theirs):
    assert len(ours) == len(theirs)
    for step, x in zip(ours, theirs, strict=True):
        torch.testing.assert_close(step.x_t, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("spacing", "num_steps"), [*product(SPACINGS, (10, 50)), ("leading", 7), ("leading", 333)])
@pytest.mark.parametrize("prediction_type", THEIR_PREDICTION_TYPE)
@pytest.mark.parametrize("clip", [False, True])
def test_ddpm_agrees_with_diffusers_at_every_step(spacing, num_steps, prediction_type, clip):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(
        num_train_timesteps=T,
        prediction_type=THEIR_PREDICTION_TYPE[prediction_type],
        timestep_spacing=spacing,
        clip_sample=clip,
        variance_type="fixed_small",
    )
    assert_same_walk(walk(ddpm, spacing, num_steps, prediction_type, clip), walk_diffusers(scheduler, num_steps))


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
    assert_same_walk(walk(ddim, spacing, num_steps, prediction_type, clip, eta), theirs)


def test_ddpm_of_all_thousand_steps_agrees_with_diffusers():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(num_train_timesteps=T, prediction_type="v_prediction", clip_sample=True)
    assert_same_walk(walk(ddpm, "leading", T, "v", True), walk_diffusers(scheduler, T))


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
    ours = walk(sampler, spacing, num_steps, prediction_type, clip=False, eta=eta)
    reference = walk_reference(sampler, spacing, num_steps, prediction_type, eta)
    assert_same_walk(ours, [torch.from_numpy(x).float() for x in reference])


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_with_eta_1_is_ddpm(clip):
    ancestral = walk(ddpm, "trailing", 40, "v", clip)
    stochastic = walk(ddim, "trailing", 40, "v", clip, eta=1.0)
    assert_same_walk(ancestral, [step.x_t for step in stochastic])


# -- the closed-form Gaussian denoiser -----------------------------------------------------------------------------

MU, S = 0.3, 0.5  # x0 ~ N(MU, S^2), independent pixels


def gaussian_gain(ab: float) -> tuple[float, float]:
    """E[x0 | x_t] = gain * x_t + offset, for x0 ~ N(MU, S^2)."""
    gain = math.sqrt(ab) * S**2 / (ab * S**2 + 1 - ab)
    return gain, MU * (1 - gain * math.sqrt(ab))


def gaussian_denoiser(schedule):
    def denoise(x_t, t):
        ab = schedule.alpha_bar(int(t[0]))
        gain, offset = gaussian_gain(ab)
        x0 = gain * x_t + offset
        return Prediction(x0, (x_t - math.sqrt(ab) * x0) / math.sqrt(1 - ab))

    return denoise


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
        gaussian_denoiser(schedule), schedule, timesteps, lambda: torch.randn(n, 1, 1, 1, generator=generator), eta=eta
    )
    samples = last(steps).x0.double()
    mean, variance = exact_moments(schedule, timesteps, eta=1.0 if sampler is ddpm else eta)
    assert samples.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / n))
    assert samples.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / n))
    if num_steps == T:
        assert (mean, variance) == (pytest.approx(MU, abs=0.002), pytest.approx(S**2, rel=0.02))


# -- the steps that are yielded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [ddpm, ddim])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_are_the_visited_timesteps_and_then_the_clean_image(sampler, spacing):
    steps = walk(sampler, spacing, 7, "eps", clip=True)
    assert [step.t for step in steps] == [*spaced_timesteps(T, 7, spacing), -1]
    assert [step.index for step in steps] == list(range(8))
    assert torch.equal(steps[-1].x_t, steps[-1].x0)


@pytest.mark.parametrize("sampler", [ddpm, ddim])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_last_step_is_the_predicted_x0_of_the_step_before_without_noise(sampler, spacing):
    steps = walk(sampler, spacing, 7, "eps", clip=True, eta=1.0)
    torch.testing.assert_close(steps[-1].x0, steps[-2].x0)
    assert steps[-1].x0.abs().max() <= 1


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_perfect_denoiser_gives_the_image_back_after_any_number_of_steps(eta):
    x0 = torch.linspace(-1, 1, 32).reshape(1, *SHAPE)
    schedule = make_schedule("linear", T)

    def denoise(x_t, t):
        ab = schedule.alpha_bar(int(t[0]))
        return Prediction(x0, (x_t - math.sqrt(ab) * x0) / math.sqrt(1 - ab))

    for num_steps in (1, 2, 50):
        steps = ddim(denoise, schedule, spaced_timesteps(T, num_steps), ImageNoise(0, [0], SHAPE), eta=eta)
        torch.testing.assert_close(last(steps).x0, x0)


# -- nothing is NaN ------------------------------------------------------------------------------------------------

SMALL_T = 12


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_no_documented_setting_gives_nan(name, zero_terminal_snr):
    schedule = make_schedule(name, SMALL_T, zero_terminal_snr=zero_terminal_snr)
    labels, shape = torch.tensor([0, 1]), (2, 2, 2)
    settings = product(
        ("x0", "v") if zero_terminal_snr else ("eps", "x0", "v"),
        (1, 2, 3, SMALL_T - 1, SMALL_T),
        SPACINGS,
        ((True, 1.0), (True, 20.0), (False, 0.0), (False, 3.0)),  # clip, guidance
        (("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0)),
    )
    for prediction_type, num_steps, spacing, (clip, scale), (sampler, eta) in settings:
        denoise = make_denoiser(
            lambda x, t, y: torch.sin(x + y.view(-1, 1, 1, 1) + t.view(-1, 1, 1, 1)),
            schedule, prediction_type, labels, null_label=2, guidance_scale=scale, clip=clip,
        )  # fmt: skip
        timesteps = spaced_timesteps(SMALL_T, num_steps, spacing)
        for step in SAMPLERS[sampler](denoise, schedule, timesteps, ImageNoise(0, [0, 1], shape), eta=eta):
            assert step.x_t.isfinite().all(), (prediction_type, num_steps, spacing, clip, scale, sampler, eta, step.t)
            assert step.x0.isfinite().all(), (prediction_type, num_steps, spacing, clip, scale, sampler, eta, step.t)


# -- sampling a model ----------------------------------------------------------------------------------------------


def test_generate_is_sample_in_parts(random_model):
    model = random_model()
    seen = []
    whole = last(sample(model, 5, labels=[3, 1], seed=2)).x0.clamp(-1, 1)
    parts = generate(model, 5, labels=[3, 1], seed=2, batch_size=2, on_batch=seen.append)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-4)
    assert seen == [2, 4, 5]


def test_labels_repeat_to_fill_and_continue_over_batches(random_model):
    model = random_model()
    assert model.class_labels([4, -1, 6], range(5)).tolist() == [4, 10, 6, 4, 10]
    assert model.class_labels([4, -1, 6], [4, 5]).tolist() == [10, 6]
    assert model.class_labels(None, range(3)) is None
    assert model.class_labels([-1], range(3)) is None


def test_the_models_own_settings_are_the_default(random_model):
    model = random_model()
    assert [step.t for step in sample(model, 1)] == [*spaced_timesteps(20, 5, "trailing"), -1]


def test_sampling_leaves_inference_mode_between_steps(random_model):
    for _ in sample(random_model(), 1):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [10]}, "label 10 is out of range: 0 to 9, or -1 for no class"),
        ({"labels": [0, -2]}, "label -2 is out of range: 0 to 9, or -1 for no class"),
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        (
            {"settings": SamplingConfig(num_steps=21)},
            "sampling.num_steps must be at most schedule.num_timesteps (20), got 21",
        ),
        (
            {"settings": SamplingConfig.model_construct(sampler="dim", num_steps=5)},
            "unknown sampler 'dim': did you mean 'ddim'?",
        ),
    ],
)
def test_wrong_arguments_fail_at_the_call_and_not_at_the_first_step(random_model, arguments, message):
    with pytest.raises(ConfigError) as caught:
        sample(random_model(), **arguments)
    assert str(caught.value).startswith(message)


def test_an_unconditional_model_takes_no_label(random_model):
    with pytest.raises(ConfigError, match="random model is unconditional: it takes no labels, got"):
        sample(random_model(model__num_classes=0), labels=[1])


def test_generate_of_nothing_is_an_error(random_model):
    with pytest.raises(ConfigError, match="num_images must be at least 1, got 0"):
        generate(random_model(), 0)
