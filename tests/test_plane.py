"""The plane: exact denoisers against integration, samplers that reach the data, a network that learns the same."""

import math
import runpy
from collections import deque

import pytest
import torch

from ddpm.diffusion import make_denoiser
from ddpm.errors import ConfigError
from ddpm.plane import DATASETS, MLP, PRESET, Mixture, Points, sample_data, sliced_wasserstein, train, walk
from ddpm.samplers import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps
from tests.conftest import ROOT

T = 1000
COUNT = 10_000
SETTINGS = {"ddpm": {}, "ddim": {}, "heun": {}, "dpmpp_2m": {}}


@pytest.fixture(scope="module")
def linear():
    return make_schedule("linear", T)


def finished(steps) -> torch.Tensor:
    return deque(steps, maxlen=1).pop().x0.flatten(1)


@pytest.mark.parametrize("name", DATASETS)
def test_every_preset_has_two_classes_and_is_reproducible(name):
    points = sample_data(name, 2000, seed=3)
    assert points.x.shape == (2000, 2)
    assert points.states().shape == (2000, 2, 1, 1)
    assert points.x.abs().max() < 2
    assert set(points.labels.tolist()) == {0, 1}
    again = sample_data(name, 2000, seed=3)
    assert torch.equal(points.x, again.x)
    assert not torch.equal(points.x, sample_data(name, 2000, seed=4).x)


def test_data_that_there_is_not_are_named():
    with pytest.raises(ConfigError, match="unknown data of the plane 'moon': did you mean 'moons'"):
        sample_data("moon", 5)


@pytest.mark.parametrize("t", [0, 300, 700, 999])
@pytest.mark.parametrize("label", [None, 1])
def test_the_exact_denoiser_is_the_integral_of_bayes(linear, t, label):
    """E[x0 | x_t] by a fine grid over x0, which knows nothing of components."""
    at = torch.tensor([[0.3, -0.2], [-1.1, 0.9]])
    axis = torch.linspace(-2.2, 2.2, 441, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mixture = PRESET if label is None else PRESET.of_class(label)
    prior = mixture.log_density(grid, linear, -1)
    a, s = math.sqrt(linear.alpha_bar(t)), math.sqrt(1 - linear.alpha_bar(t))
    posterior = (prior - (at[:, None].double() - a * grid).square().sum(2) / (2 * s**2)).softmax(1)
    if s > 0.05:  # else the grid is too coarse for what is left
        expected = posterior @ grid
        found = PRESET.denoiser(linear, label)(at[:, :, None, None], t).x0.flatten(1)
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_eps_is_minus_the_scaled_gradient_of_the_log_density(linear):
    """The score (Song et al. 2021) by differences."""
    x, t, h = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64), 400, 1e-5
    mixture = Mixture(PRESET.means.double(), PRESET.deviation, PRESET.weights.double(), PRESET.labels)
    eps = mixture.denoiser(linear)(x[:, :, None, None], t).eps.flatten(1)
    s = math.sqrt(1 - linear.alpha_bar(t))
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = h
        slope = (mixture.log_density(x + step, linear, t) - mixture.log_density(x - step, linear, t)) / (2 * h)
        torch.testing.assert_close(eps[:, axis], -s * slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("sampler", "options"), [*((name, {}) for name in SAMPLERS), ("ddim", {"eta": 0.5})])
def test_with_the_exact_denoiser_every_sampler_reaches_the_data(linear, sampler, options):
    sets = [PRESET.sample(COUNT, seed).x for seed in range(6)]
    floor = sum(map(sliced_wasserstein, sets[:-1], sets[1:])) / 5
    steps = walk(SAMPLERS[sampler].function, PRESET.denoiser(linear), linear, spaced_timesteps(T, 200), COUNT, 7,
                 **options)  # fmt: skip
    drawn = finished(steps)
    assert sum(sliced_wasserstein(drawn, fresh) for fresh in sets) / 6 < 1.5 * floor


def test_a_finite_set_of_points_is_remembered(linear):
    points = sample_data("moons", 20)
    denoise = Mixture.of_points(points).denoiser(linear)
    drawn = finished(walk(SAMPLERS["ddim"].function, denoise, linear, spaced_timesteps(T, T), 300))
    assert torch.cdist(drawn, points.x).min(1).values.quantile(0.95) < 0.02


def test_guidance_of_one_is_the_class_and_of_none_the_whole(linear):
    x, t = torch.randn(50, 2, 1, 1, generator=torch.Generator().manual_seed(0)), 500
    for scale, label in ((1.0, 1), (0.0, None)):
        guided, plain = PRESET.denoiser(linear, 1, scale)(x, t), PRESET.denoiser(linear, label)(x, t)
        torch.testing.assert_close(guided.x0, plain.x0)


@pytest.mark.slow
def test_a_small_network_learns_the_exact_denoiser(linear):
    torch.manual_seed(0)
    points, network = sample_data("mixture", 5000), MLP(T, num_classes=2)
    losses = list(train(network, points, linear, 1500))
    assert sum(losses[-100:]) < 0.9 * sum(losses[:100])  # most of it is the noise that nobody can know
    learned = make_denoiser(network.eval(), linear, "v", torch.full((2000,), 1), null_label=2, clip=False)
    drawn = finished(walk(SAMPLERS["ddim"].function, learned, linear, spaced_timesteps(T, 50), 2000))
    fresh, other = PRESET.sample(2000, 1, label=1).x, PRESET.sample(2000, 1, label=0).x
    assert sliced_wasserstein(drawn, fresh) < 0.1
    assert sliced_wasserstein(drawn, other) > 0.5


def test_the_distance_of_a_shift_is_known():
    """Shifting by d moves the view along an angle by d |cos|, whose mean is 2 d / pi."""
    x = PRESET.sample(3000).x
    assert sliced_wasserstein(x, x) == 0
    assert sliced_wasserstein(x, x + torch.tensor([0.3, 0.0])) == pytest.approx(0.3 * 2 / math.pi, rel=1e-3)


def test_points_are_a_mixture_of_their_own():
    points = Points(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1]))
    mixture = Mixture.of_points(points)
    assert torch.equal(mixture.sample(10, label=1).x, torch.ones(10, 2))
    with pytest.raises(ConfigError, match="no component has the class 3"):
        mixture.sample(1, label=3)


@pytest.mark.slow
def test_the_whole_of_diffusion_fits_into_sixty_lines():
    script = ROOT / "docs" / "sixty_lines.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 60
    whole = runpy.run_path(str(script))
    torch.manual_seed(0)
    network = whole["Network"]()
    before = whole["draw"](network, 1000)
    whole["train"](network, 1500)
    drawn, fresh = whole["draw"](network, 1000), whole["moons"](1000)
    assert sliced_wasserstein(drawn, fresh) < 0.2 < sliced_wasserstein(before, fresh)
