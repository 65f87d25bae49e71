"""Rectified flow is the same process in other coordinates: its Euler steps are DDIM, its losses weightings of one."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ddpm.diffusion import OUTPUTS, diffusion_loss, make_denoiser, q_sample, target, to_prediction
from ddpm.samplers import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps

T = 1000
SHAPE = (3, 1, 4, 4)
KERNEL = 0.3 * torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def random_images(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def rectified():
    return make_schedule("rectified", T)


def velocity(x: Tensor, w: float) -> Tensor:
    """A small fixed network on the flow's own path, smooth in x and w."""
    return torch.nn.functional.conv2d(torch.tanh(x), KERNEL, padding=1) + w


def as_network(x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """The same network for states of variance 1: the flow's are those times sqrt((1 - w)^2 + w^2)."""
    w = ((t + 1) / T)[0].item()
    return velocity(x_t * ((1 - w) ** 2 + w**2) ** 0.5, w)


def test_the_states_of_the_flow_are_those_of_its_schedule_up_to_a_factor(rectified):
    x0, eps = random_images(0), random_images(1)
    for t in (0, 499, 998, 999):
        w = (t + 1) / T
        straight = (1 - w) * x0 + w * eps
        x_t = q_sample(rectified, x0, torch.full((3,), t), eps)
        torch.testing.assert_close(x_t * ((1 - w) ** 2 + w**2) ** 0.5, straight)
    assert rectified.alphas_cumprod[-1] == 0  # at w = 1 there is noise alone


@pytest.mark.parametrize("num_steps", [1, 4, 50])
def test_euler_on_the_flow_is_ddim(rectified, num_steps):
    noise = random_images(2)
    denoise = make_denoiser(as_network, rectified, "u", clip=False)
    exact = _exact(denoise, rectified)
    *_, last = SAMPLERS["ddim"].function(exact, rectified, spaced_timesteps(T, num_steps), lambda: noise)
    x, times = noise, [(t + 1) / T for t in spaced_timesteps(T, num_steps)] + [0.0]
    for w, after in pairwise(times):
        x = x + (after - w) * velocity(x, w)
    torch.testing.assert_close(last.x0, x, rtol=1e-5, atol=1e-5)


def _exact(denoise, schedule):
    """In float64: a denoiser takes what a network says as float32."""

    def exact(x_t: Tensor, t: int):
        return to_prediction(schedule, as_network(x_t, torch.full((len(x_t),), t)), x_t, t, "u")

    x = random_images(3)
    torch.testing.assert_close(denoise(x, 500).x0.float(), exact(x, 500).x0.float(), rtol=1e-4, atol=1e-4)
    return exact


@pytest.mark.parametrize("num_steps", [5, 20])
def test_ddim_agrees_with_the_flow_matching_scheduler_of_diffusers(rectified, num_steps):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=T)
    timesteps = spaced_timesteps(T, num_steps)
    scheduler.set_timesteps(sigmas=[(t + 1) / T for t in timesteps])
    x = noise = random_images(2)
    for sigma, t in zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step(velocity(x, sigma.item()), t, x).prev_sample
    exact = _exact(make_denoiser(as_network, rectified, "u", clip=False), rectified)
    *_, last = SAMPLERS["ddim"].function(exact, rectified, timesteps, lambda: noise)
    torch.testing.assert_close(last.x0, x.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["linear", "cosine", "rectified"])
def test_all_losses_are_weightings_of_the_error_of_x0(name):
    """Kingma & Gao 2023, section 2: what differs between eps, x0, v, u and score is the weight over t."""
    schedule = make_schedule(name, T)
    x0, eps, wrong = random_images(0), random_images(1), 0.1 * random_images(2)
    for t in (1, 250, 700, 990):
        at = torch.full((3,), t)
        x_t = q_sample(schedule, x0, at, eps)
        found = x0 + wrong
        prediction = to_prediction(schedule, found, x_t, at, "x0")
        of_x0 = wrong.square().flatten(1).mean(1)
        for kind, output in OUTPUTS.items():
            said = target(schedule, *prediction, at, kind).float()
            loss = diffusion_loss(schedule, lambda *_, said=said: said, x0, at, eps, prediction_type=kind)
            expected = output.per_x0_error(schedule.snr)[t] * of_x0
            torch.testing.assert_close(loss.double(), expected, rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("other", OUTPUTS)
def test_what_one_network_says_can_be_said_in_any_coordinates(kind, other):
    schedule, at = make_schedule("linear", T), torch.tensor([3, 400, 900])
    x_t, output = random_images(4), random_images(5)
    first = to_prediction(schedule, output, x_t, at, kind)
    again = to_prediction(schedule, target(schedule, *first, at, other), x_t, at, other)
    torch.testing.assert_close(again.x0, first.x0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(again.eps, first.eps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ["x0", "v", "u"])
@pytest.mark.parametrize("clip", [False, True])
def test_the_end_of_pure_noise_is_never_not_a_number(rectified, sampler, kind, clip):
    noise = random_images(6).float()
    denoise = make_denoiser(lambda x, t, y: 0.5 * torch.tanh(x), rectified, kind, clip=clip)
    for step in SAMPLERS[sampler].function(denoise, rectified, spaced_timesteps(T, 7), lambda: noise):
        assert all(values.isfinite().all() for values in step[2:])
