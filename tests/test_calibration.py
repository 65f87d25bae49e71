"""Calibration: intervals, the identity of the two errors, the linear denoiser against its closed form."""

from collections import deque

import pytest
import torch

from ddpm.diffusion import Prediction, q_sample
from ddpm.errors import MetricError
from ddpm.evaluation.calibration import image_errors, mean_and_ci95
from ddpm.evaluation.wiener import WienerDenoiser
from ddpm.samplers import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps


def images(n: int = 20, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_interval_is_the_normal_one_of_the_mean():
    assert mean_and_ci95(torch.tensor([1.0, 2.0, 3.0, 4.0])) == (2.5, pytest.approx(1.96 * (5 / 3) ** 0.5 / 2))
    assert mean_and_ci95(torch.tensor([7.0])) == (7, 0)


def test_the_interval_holds_the_mean_of_more_images_about_95_times_in_100():
    generator = torch.Generator().manual_seed(0)
    draws = [mean_and_ci95(torch.rand(200, generator=generator)) for _ in range(400)]
    assert 0.92 <= sum(abs(mean - 0.5) <= half for mean, half in draws) / 400 <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("prediction_type", ["eps", "x0", "v"])
def test_the_two_errors_obey_their_identity_before_clipping(random_model, prediction_type):
    model = random_model(diffusion__prediction_type=prediction_type, schedule__num_timesteps=1000)
    for errors in image_errors(model.denoiser(clip=False), model.schedule, images(), [0, 300, 999]):
        assert errors.row().identity_residual < 1e-4


def test_the_identity_finds_a_prediction_that_contradicts_itself():
    schedule = make_schedule("linear", 1000)

    def clipped(x_t, t):  # x0 is clamped and eps is not: the fault that the identity is there to find
        return Prediction(torch.zeros_like(x_t), torch.zeros_like(x_t))

    (errors,) = image_errors(clipped, schedule, images(), [500])
    assert errors.row().identity_residual > 0.1


def test_rows_hold_the_errors_of_a_denoiser_that_is_known():
    schedule, x0 = make_schedule("linear", 1000), images()

    def half(x_t, t):
        return Prediction(torch.full_like(x_t, 0.5), torch.zeros_like(x_t))

    (errors,) = image_errors(half, schedule, x0, [400], batch_size=6)
    row = errors.row()
    assert row.mse_x0 == pytest.approx((x0 - 0.5).square().mean().item(), rel=1e-5)
    assert row.mse == pytest.approx(1, abs=0.1)  # the variance of the noise
    assert row.num_images == 20
    chosen = torch.arange(20) < 5
    assert errors.row(chosen).mse_x0 == pytest.approx((x0[:5] - 0.5).square().mean().item(), rel=1e-5)
    assert errors.row(chosen).num_images == 5


def test_images_smaller_than_its_window_have_no_ssim():
    schedule = make_schedule("linear", 10)
    (errors,) = image_errors(lambda x, t: Prediction(x, x), schedule, images(size=4), [3])
    assert errors.row().ssim is errors.row().ssim_ci95 is None


# -- the linear denoiser -------------------------------------------------------------------------------------------


def gaussian_images(n: int, size: int = 4) -> torch.Tensor:
    """Correlated uint8 images, (n, 1, size, size)."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(size**2, size**2, generator=generator) * 7
    pixels = 128 + torch.randn(n, size**2, generator=generator) @ mixing
    return pixels.round().clamp(0, 255).to(torch.uint8).view(n, 1, size, size)


def test_the_linear_denoiser_solves_the_normal_equations():
    schedule, train = make_schedule("linear", 1000), gaussian_images(400)
    wiener = WienerDenoiser.fit(train, schedule, batch_size=64)
    x = train.double().flatten(1) / 127.5 - 1
    mean, covariance = x.mean(0), x.T.cov()
    x_t, t = torch.randn(3, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 400, 999])
    x0, eps = wiener(x_t, t)
    for k, step in enumerate(t.tolist()):
        ab = schedule.alpha_bar(step)
        left = ab * covariance + (1 - ab) * torch.eye(16, dtype=torch.float64)
        expected = mean + ab**0.5 * covariance @ torch.linalg.solve(left, x_t[k].flatten() - ab**0.5 * mean)
        assert torch.allclose(x0[k].flatten(), expected, atol=1e-6)
    assert torch.allclose(q_sample(schedule, x0, t, eps), x_t, atol=1e-6)


def test_its_error_is_the_closed_form_of_a_gaussian():
    schedule, train = make_schedule("linear", 1000), gaussian_images(3000)
    wiener = WienerDenoiser.fit(train, schedule)
    for errors in image_errors(wiener, schedule, train.float() / 127.5 - 1, [100, 500, 900]):
        ab = schedule.alpha_bar(errors.t)
        expected = (wiener.variances * (1 - ab) / (ab * wiener.variances + 1 - ab)).mean().item()
        assert errors.row().mse_x0 == pytest.approx(expected, rel=0.05)
        assert errors.row().identity_residual < 1e-5


def test_no_linear_shrinking_does_better_on_the_data_it_was_fitted_to():
    schedule, train = make_schedule("linear", 1000), gaussian_images(2000)
    x0 = train.float() / 127.5 - 1
    wiener = WienerDenoiser.fit(train, schedule)

    def shrunk(by):
        def denoise(x_t, t):
            x0 = wiener.mean.view(1, 1, 4, 4) * (1 - by) + by * wiener(x_t, t).x0
            return Prediction(x0, x0)

        return next(image_errors(denoise, schedule, x0, [500])).row().mse_x0

    assert shrunk(1.0) < min(shrunk(0.8), shrunk(1.2))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_walks_it_to_images_of_the_data_s_mean_and_variance(sampler):
    schedule, train = make_schedule("cosine", 1000), gaussian_images(400)
    wiener = WienerDenoiser.fit(train, schedule)
    generator = torch.Generator().manual_seed(0)
    steps = SAMPLERS[sampler].function(
        wiener, schedule, spaced_timesteps(1000, 250), lambda: torch.randn(4000, 1, 4, 4, generator=generator)
    )
    drawn = deque(steps, maxlen=1).pop().x0.flatten(1)
    x = train.double().flatten(1) / 127.5 - 1
    torch.testing.assert_close(drawn.mean(0), x.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.T.cov().trace(), x.T.cov().trace(), rtol=0.06, atol=0)


def test_too_many_pixels_for_a_covariance_are_refused():
    with pytest.raises(MetricError, match="a covariance of 16,384 x 16,384 pixels"):
        WienerDenoiser.fit(torch.zeros(2, 1, 128, 128, dtype=torch.uint8), make_schedule("linear", 10))
