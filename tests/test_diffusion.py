"""Noising, the three parametrisations, the loss weights and the denoiser, against the papers' equations."""

import inspect
import math

import pytest
import torch

from ddpm.config import DiffusionConfig, SamplingConfig
from ddpm.diffusion import (
    LOSSES,
    PREDICTION_TYPES,
    diffusion_loss,
    loss_weights,
    make_denoiser,
    q_posterior,
    q_sample,
    target,
    to_prediction,
)
from ddpm.errors import ConfigError
from ddpm.schedule import SCHEDULES, make_schedule

T = 1000
EVERY_T = torch.arange(T)


@pytest.fixture(scope="module")
def linear():
    return make_schedule("linear", T)


def random_images(seed: int, n: int = T, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, 1, 2, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)


def column(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


# -- q(x_t | x0) and q(x_s | x_t, x0) ------------------------------------------------------------------------------


def test_q_sample_is_equation_4(linear):
    x0, eps = random_images(0), random_images(1)
    ab = column(linear.alphas_cumprod)
    torch.testing.assert_close(q_sample(linear, x0, EVERY_T, eps), ab.sqrt() * x0 + (1 - ab).sqrt() * eps)


def test_q_sample_has_the_variance_of_t_of_each_image(linear):
    t = torch.tensor([0, 250, 999])
    x_t = q_sample(
        linear, torch.zeros(3, 200_000), t, torch.randn(3, 200_000, generator=torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(x_t.var(1).double(), 1 - linear.alphas_cumprod[t], rtol=0.02, atol=0)


@pytest.mark.parametrize("t", [0, 1, 2, 500, 998, 999])
def test_q_posterior_of_one_step_is_ho_equations_6_and_7(linear, t):
    betas = [1e-4 + (0.02 - 1e-4) * i / (T - 1) for i in range(T)]
    ab = [math.prod(1 - b for b in betas[: i + 1]) for i in range(T)]
    before = ab[t - 1] if t else 1.0
    x0, x_t = random_images(0, 4), random_images(1, 4)
    mean, variance = q_posterior(linear, x0, x_t, t, t - 1)
    expected = math.sqrt(before) * betas[t] / (1 - ab[t]) * x0
    expected = expected + math.sqrt(1 - betas[t]) * (1 - before) / (1 - ab[t]) * x_t
    torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-9)
    assert variance == pytest.approx((1 - before) / (1 - ab[t]) * betas[t], rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("t", "t_next"), [(999, 949), (500, 3), (20, 0), (999, -1)])
def test_q_posterior_over_a_gap_is_the_composition_of_single_steps(name, t, t_next):
    schedule = make_schedule(name, T)
    x0, x_t = random_images(0, 2), random_images(1, 2)
    composed_mean, composed_variance = x_t, 0.0
    for u in range(t, t_next, -1):
        before = schedule.alpha_bar(u - 1)
        of_x_t = math.sqrt(schedule.alpha_bar(u) / before) * (1 - before) / (1 - schedule.alpha_bar(u))
        composed_mean = q_posterior(schedule, x0, composed_mean, u, u - 1)[0]
        composed_variance = of_x_t**2 * composed_variance + schedule.posterior_variance[u].item()
    mean, variance = q_posterior(schedule, x0, x_t, t, t_next)
    torch.testing.assert_close(mean, composed_mean, rtol=1e-8, atol=1e-8)
    assert variance == pytest.approx(composed_variance, rel=1e-8, abs=1e-15)


def test_q_posterior_of_the_clean_image_is_x0_without_variance(linear):
    x0, x_t = random_images(0, 2), random_images(1, 2)
    mean, variance = q_posterior(linear, x0, x_t, 49, -1)
    torch.testing.assert_close(mean, x0)
    assert variance == 0.0


# -- parametrisations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_to_prediction_inverts_target_at_every_t(name, prediction_type):
    schedule = make_schedule(name, T)
    x0, eps = random_images(0), random_images(1)
    x_t = q_sample(schedule, x0, EVERY_T, eps)
    output = target(schedule, x0, eps, EVERY_T, prediction_type)
    prediction = to_prediction(schedule, output, x_t, EVERY_T, prediction_type)
    if prediction_type == "eps" and schedule.alphas_cumprod[-1] == 0:  # where the noise alone tells no x0
        prediction = prediction._replace(x0=torch.cat([prediction.x0[:-1], x0[-1:]]))
    # Cosine and sigmoid end at an alpha_bar of about 1e-9, which costs x0 half of its digits when eps is known.
    torch.testing.assert_close(prediction.x0, x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(prediction.eps, eps, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("prediction_type", ["x0", "v", "u"])
def test_zero_terminal_snr_leaves_x0_known_and_all_of_x_t_noise(prediction_type):
    schedule = make_schedule("linear", T, zero_terminal_snr=True)
    x0, eps, t = random_images(0, 1), random_images(1, 1), torch.tensor([T - 1])
    x_t = q_sample(schedule, x0, t, eps)
    assert torch.equal(x_t, eps)
    prediction = to_prediction(schedule, target(schedule, x0, eps, t, prediction_type), x_t, t, prediction_type)
    torch.testing.assert_close(prediction.x0, x0)
    torch.testing.assert_close(prediction.eps, eps)


def test_v_is_salimans_and_ho_and_a_rotation(linear):
    x0, eps = random_images(0), random_images(1)
    angle = column(torch.arccos(linear.alphas_cumprod.sqrt()))  # x_t = cos x0 + sin eps, v = -sin x0 + cos eps
    v = target(linear, x0, eps, EVERY_T, "v")
    torch.testing.assert_close(v, angle.cos() * eps - angle.sin() * x0, rtol=1e-9, atol=1e-9)
    x_t = q_sample(linear, x0, EVERY_T, eps)
    torch.testing.assert_close(v**2 + x_t**2, x0**2 + eps**2)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_mse_of_eps_is_snr_times_mse_of_x0(linear, prediction_type):
    x0, eps = random_images(0), random_images(1)
    x_t = q_sample(linear, x0, EVERY_T, eps)
    wrong = target(linear, x0, eps, EVERY_T, prediction_type) + 0.1 * random_images(2)
    prediction = to_prediction(linear, wrong, x_t, EVERY_T, prediction_type)
    mse_x0 = (prediction.x0 - x0).square().flatten(1).mean(1)
    mse_eps = (prediction.eps - eps).square().flatten(1).mean(1)
    torch.testing.assert_close(mse_eps, linear.snr * mse_x0, rtol=1e-7, atol=0)


@pytest.mark.parametrize("function", [target, to_prediction])
def test_an_unknown_prediction_type_is_named(linear, function):
    x = random_images(0, 1)
    with pytest.raises(ConfigError, match="unknown prediction_type 'epsilon': did you mean 'eps'"):
        function(linear, x, x, torch.tensor([0]), "epsilon")


# -- the loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_are_hang_equation_10(linear, gamma):
    for t in (0, 300, 999):
        snr = linear.alpha_bar(t) / (1 - linear.alpha_bar(t))
        capped = min(snr, gamma)
        expected = {"x0": capped, "eps": capped / snr, "v": capped / (snr + 1), "u": capped / (snr**0.5 + 1) ** 2}
        for prediction_type, weight in expected.items():
            weights = loss_weights(linear, prediction_type, "min_snr", gamma)
            assert weights[t].item() == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_same_prediction_costs_its_weighted_error_of_x0_in_every_parametrisation(
    linear, prediction_type, weighting
):
    x0, eps = random_images(0, dtype=torch.float32), random_images(1, dtype=torch.float32)
    x_t = q_sample(linear, x0, EVERY_T, eps)
    eps_hat = eps + 0.1 * random_images(2, dtype=torch.float32)
    prediction = to_prediction(linear, eps_hat, x_t, EVERY_T, "eps")
    output = target(linear, prediction.x0, prediction.eps, EVERY_T, prediction_type)
    weights = loss_weights(linear, prediction_type, weighting, 5.0)
    loss = diffusion_loss(linear, lambda *_: output, x0, EVERY_T, eps, prediction_type=prediction_type, weights=weights)
    snr, squared = linear.snr, (0.1 * random_images(2)).square().flatten(1).mean(1)  # of eps; of x0 it is / snr
    of_x0 = squared / snr
    in_own_output = {"eps": squared, "x0": of_x0, "v": of_x0 * (snr + 1), "u": of_x0 * (snr.sqrt() + 1) ** 2}
    in_own_output = in_own_output[prediction_type]
    expected = in_own_output if weighting == "uniform" else squared / snr * snr.clamp(max=5.0)
    torch.testing.assert_close(loss.double(), expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction_type", ["x0", "v"])
def test_min_snr_weights_are_finite_and_zero_where_the_snr_is_zero(name, prediction_type):
    weights = loss_weights(make_schedule(name, T, zero_terminal_snr=True), prediction_type, "min_snr")
    assert weights.isfinite().all()
    assert weights[-1] == 0


@pytest.mark.parametrize(
    ("loss", "error", "value"), [("mse", 3.0, 9.0), ("l1", -3.0, 3.0), ("huber", 3.0, 2.5), ("huber", 0.5, 0.125)]
)
def test_loss_of_a_constant_error(linear, loss, error, value):
    x0, eps, t = random_images(0, 2), random_images(1, 2), torch.tensor([0, 999])
    result = diffusion_loss(linear, lambda x, t, y: eps + error, x0, t, eps, loss=loss)
    assert result.tolist() == pytest.approx([value, value], rel=1e-5)


def test_loss_weights_apply_per_image_and_the_network_sees_x_t_t_and_y(linear):
    x0, eps, t, y = random_images(0, 2), random_images(1, 2), torch.tensor([3, 700]), torch.tensor([1, 2])
    seen = []

    def network(*arguments):
        seen.extend(arguments)
        return eps + 1

    weights = torch.zeros(T, dtype=torch.float64)
    weights[3], weights[700] = 2.0, 5.0
    assert diffusion_loss(linear, network, x0, t, eps, y, weights=weights).tolist() == pytest.approx([2, 5], rel=1e-5)
    assert torch.equal(seen[0], q_sample(linear, x0, t, eps))
    assert seen[1] is t
    assert seen[2] is y


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: loss_weights(s, "eps", "min-snr"), "unknown loss weighting 'min-snr': did you mean 'min_snr'?"),
        (lambda s: loss_weights(s, "e", "min_snr"), "unknown prediction_type 'e'"),
        (lambda s: diffusion_loss(s, None, None, None, None, loss="l2"), "unknown loss 'l2'"),
    ],
)
def test_unknown_losses_are_named(linear, call, message):
    with pytest.raises(ConfigError, match=message):
        call(linear)
    assert list(LOSSES) == ["mse", "l1", "huber"]


# -- guidance and clipping -----------------------------------------------------------------------------------------

LABELS = torch.tensor([0, 1, 2])
NULL = 3


def network(x_t, t, y):
    """Something that depends on all three and mixes nothing between images."""
    y = torch.full_like(t, NULL) if y is None else y
    return torch.sin(x_t * (1 + y.view(-1, 1, 1, 1)) + 0.01 * t.view(-1, 1, 1, 1))


def denoised(schedule, prediction_type="eps", labels=LABELS, t=400, **settings):
    x_t = random_images(5, 3, torch.float32)
    denoise = make_denoiser(network, schedule, prediction_type, labels, null_label=NULL, clip=False, **settings)
    return denoise(x_t, torch.full((3,), t))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_guidance_1_is_conditional_and_0_is_unconditional(linear, prediction_type):
    x_t, t = random_images(5, 3, torch.float32), torch.full((3,), 400)
    for scale, y in ((1.0, LABELS), (0.0, torch.full((3,), NULL))):
        expected = to_prediction(linear, network(x_t, t, y), x_t, t, prediction_type)
        got = denoised(linear, prediction_type, guidance_scale=scale)
        torch.testing.assert_close(got.x0, expected.x0)
        torch.testing.assert_close(got.eps, expected.eps)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("scale", [0.5, 1.5, 7.0])
def test_guidance_is_linear_in_its_scale_for_x0_and_eps(linear, prediction_type, scale):
    null, conditional, guided = (denoised(linear, prediction_type, guidance_scale=w) for w in (0.0, 1.0, scale))
    for part in ("x0", "eps"):
        u, c = getattr(null, part), getattr(conditional, part)
        torch.testing.assert_close(getattr(guided, part), u + scale * (c - u), rtol=1e-4, atol=1e-5)


def test_guidance_needs_no_second_evaluation_where_it_changes_nothing(linear):
    sizes = []

    def counting(x_t, t, y):
        sizes.append(len(x_t))
        return network(x_t, t, y)

    x_t, t = random_images(5, 3, torch.float32), torch.full((3,), 400)
    for labels, scale in ((LABELS, 1.0), (None, 3.0), (LABELS, 3.0)):
        make_denoiser(counting, linear, "eps", labels, null_label=NULL, guidance_scale=scale)(x_t, t)
    assert sizes == [3, 3, 6]


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_every_image_is_guided_within_the_interval_by_its_own_timestep(linear, scale):
    x_t, timesteps = random_images(5, 3, torch.float32), [199, 200, 601]
    settings = {"null_label": NULL, "clip": False, "guidance_scale": scale, "guidance_interval": (200, 600)}
    together = make_denoiser(network, linear, "v", LABELS, **settings)(x_t, torch.tensor(timesteps))
    for k, t in enumerate(timesteps):
        alone = make_denoiser(network, linear, "v", LABELS[k : k + 1], **settings)(x_t[k : k + 1], t)
        plain = make_denoiser(network, linear, "v", LABELS[k : k + 1], clip=False)(x_t[k : k + 1], t)
        torch.testing.assert_close(together.x0[k : k + 1], alone.x0)
        assert torch.equal(alone.x0, plain.x0) == (t != 200)


def test_a_timestep_of_all_images_may_be_a_number(linear):
    x_t = random_images(5, 3, torch.float32)
    for kind in PREDICTION_TYPES:
        denoise = make_denoiser(network, linear, kind, LABELS, null_label=NULL, guidance_scale=2.0)
        for one, each in zip(denoise(x_t, 400), denoise(x_t, torch.full((3,), 400)), strict=True):
            assert torch.equal(one, each)


def test_an_image_without_class_is_not_changed_by_the_guidance_of_its_neighbours(linear):
    mixed = denoised(linear, labels=torch.tensor([0, NULL, 2]), guidance_scale=4.0)
    alone = denoised(linear, labels=torch.full((3,), NULL))
    torch.testing.assert_close(mixed.x0[1], alone.x0[1])


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("t", [0, 10, 500, 999])
def test_clipping_bounds_x0_and_derives_eps_from_it(linear, prediction_type, t):
    x_t, steps = 3 * random_images(5, 3, torch.float32), torch.full((3,), t)
    denoise = make_denoiser(network, linear, prediction_type, LABELS, null_label=NULL, clip=True)
    clipped = denoise(x_t, steps)
    unclipped = to_prediction(linear, network(x_t, steps, LABELS), x_t, steps, prediction_type)
    torch.testing.assert_close(clipped.x0, unclipped.x0.clamp(-1, 1))
    torch.testing.assert_close(q_sample(linear, clipped.x0, steps, clipped.eps), x_t, rtol=1e-4, atol=1e-5)


def test_defaults_are_those_of_the_config():
    def default(function, name):
        return inspect.signature(function).parameters[name].default

    assert default(loss_weights, "weighting") == DiffusionConfig().weighting
    assert default(loss_weights, "min_snr_gamma") == DiffusionConfig().min_snr_gamma
    assert default(make_denoiser, "clip") == SamplingConfig().clip
