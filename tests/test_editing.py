"""Editing: the identities of sketches, masks, blends, branches and inversions, and the law of a Gaussian."""

import math
from collections import deque

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm import load_model, sample, train
from ddpm.config import sampling_settings
from ddpm.data import load_dataset, to_float
from ddpm.diffusion import Prediction
from ddpm.editing import blend, blend_inverted, branch, holding, inpaint, invert, redrawing, sketch, start_of
from ddpm.errors import ConfigError
from ddpm.media.images import to_uint8
from ddpm.randomness import ImageNoise
from ddpm.samplers import SAMPLERS, repeated
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps
from tests.test_pipelines import save

SAMPLER_NAMES = list(SAMPLERS)


def last(steps):
    return deque(steps, maxlen=1).pop().x0


def some_images(model, count=2):
    return torch.rand(count, *model.config.image_shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


# -- sketch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_strength_of_nothing_keeps_the_sketch_and_of_one_is_the_sample_of_the_seed(random_model, sampler):
    model = random_model()
    settings, images = sampling_settings(model.config, sampler=sampler, num_steps=5), some_images(model)
    assert torch.equal(last(sketch(model, images, 0, settings=settings, seed=4)), images)
    drawn = last(sample(model, 2, labels=[1, 0], settings=settings, seed=4))
    assert torch.equal(last(sketch(model, images, 1, labels=[1, 0], settings=settings, seed=4)), drawn)


def test_a_sketch_is_noised_to_its_share_of_all_timesteps(random_model):
    model = random_model()
    total = model.schedule.num_timesteps
    assert [start_of(model, strength) for strength in (0, 0.5, 1)] == [None, total // 2 - 1, total - 1]
    steps = list(sketch(model, some_images(model), 0.1, settings=sampling_settings(model.config, num_steps=20)))
    assert [step.t for step in steps] == [*range(round(0.1 * total) - 1, -1, -1), -1]
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match="a strength is a number from 0"):
            start_of(model, strength)


def test_a_distilled_model_takes_a_sketch_at_the_timesteps_that_it_knows(random_model):
    model = random_model(model__step_counts=[1, 2, 4, 8], sampling__num_steps=4, sampling__guidance_scale=1)
    total = model.schedule.num_timesteps
    visited = spaced_timesteps(total, 4)
    assert start_of(model, 0.55) == visited[2]
    steps = list(sketch(model, some_images(model), 0.55))
    assert [step.t for step in steps] == [*visited[2:], -1]


# -- repair ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_what_is_known_is_kept_to_the_byte_and_what_is_not_is_the_sample(random_model, sampler, repeats):
    model = random_model()
    settings, images = sampling_settings(model.config, sampler=sampler, num_steps=4), some_images(model)
    none, whole = (torch.full((1, 1, *images.shape[-2:]), value) for value in (False, True))
    half = whole.clone()
    half[..., :3] = False

    def made(mask):
        return last(inpaint(model, images, mask, settings=settings, labels=[1], seed=2, repeats=repeats))

    assert torch.equal(to_uint8(made(none)), to_uint8(images))
    drawn = last(sample(model, 2, settings=settings, labels=[1], seed=2, repeats=repeats))
    assert torch.equal(made(whole), drawn)
    kept = to_uint8(made(half))[..., :3]
    assert torch.equal(kept, to_uint8(images)[..., :3])
    assert not torch.equal(made(half)[..., 3:], images[..., 3:])


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (torch.ones(2, 1, 3, 3, dtype=torch.bool), r"torch.bool \(2, 1, 3, 3\)"),
        (torch.ones(3, 1, 8, 8, dtype=torch.bool), r"torch.bool \(3, 1, 8, 8\)"),
        (torch.ones(2, 1, 8, 8), r"torch.float32 \(2, 1, 8, 8\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(random_model, mask, got):
    model = random_model()
    with pytest.raises(
        ConfigError, match=r"mask must be bool \(2, 1, 8, 8\), True where the image is made: got " + got
    ):
        inpaint(model, some_images(model), mask)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_step_that_is_taken_once_is_a_step(random_model, sampler):
    model = random_model()
    settings = sampling_settings(model.config, sampler=sampler, num_steps=4)
    plain = list(sample(model, 2, settings=settings))
    walk = repeated(SAMPLERS[sampler], 1)
    calls = []

    def denoise(x_t, t):
        calls.append(t)
        return model.denoiser(None)(x_t, t)

    noise = ImageNoise(0, range(2), model.config.image_shape)
    timesteps = spaced_timesteps(model.schedule.num_timesteps, 4, settings.spacing)
    with torch.no_grad():
        steps = list(walk(denoise, model.schedule, timesteps, noise))
    assert [(step.index, step.t) for step in steps] == [(step.index, step.t) for step in plain]
    if sampler != "dpmpp_2m":  # which learns from the step before
        unlabelled = list(sample(model, 2, labels=[-1], settings=settings.model_copy(update={"clip": True})))
        torch.testing.assert_close(steps[-1].x0, unlabelled[-1].x0)
        assert calls == SAMPLERS[sampler].calls(model.schedule, timesteps)


RHO, COUNT = 0.8, 4096  # two pixels of variance 1 with this correlation; one is known


def correlated(schedule):
    """The denoiser of two pixels with mean 0, variance 1 and correlation RHO: E[x0 | x_t] in closed form."""
    sigma = torch.tensor([[1.0, RHO], [RHO, 1.0]])

    def denoise(x_t, t):
        a, s = schedule.scales(t, x_t)
        a, s = a.flatten()[0], s.flatten()[0]
        gain = a * sigma @ torch.linalg.inv(a**2 * sigma + s**2 * torch.eye(2))
        x0 = (x_t.flatten(1) @ gain.T).view_as(x_t)
        return Prediction(x0, (x_t - a * x0) / s)

    return denoise


def completed(repeats, known, num_steps=100, **options):
    """The unknown one of the two pixels, (COUNT,), where the other is ``known``."""
    schedule = make_schedule("linear", 1000)
    images = torch.full((COUNT, 1, 1, 2), known)
    mask = torch.tensor([False, True]).view(1, 1, 1, 2)
    function = SAMPLERS["ddpm"].function if repeats == 1 else repeated(SAMPLERS["ddpm"], repeats)
    generator = torch.Generator().manual_seed(repeats)
    walk = function(
        holding(correlated(schedule), schedule, images, mask),
        schedule,
        spaced_timesteps(1000, num_steps),
        lambda: torch.randn(COUNT, 1, 1, 2, generator=generator),
        **options,
    )
    return last(walk)[:, 0, 0, 1]


def errors_of(found, known):
    """How far the mean and the variance are from E[b | a] = rho a and Var[b | a] = 1 - rho^2, in standard errors."""
    mean, variance = RHO * known, 1 - RHO**2
    return (
        abs(found.mean().item() - mean) / math.sqrt(variance / COUNT),
        abs(found.var().item() - variance) / (variance * math.sqrt(2 / COUNT)),
    )


def test_repaint_reaches_the_conditional_law_of_a_gaussian_and_replacement_does_not():
    """With the variance of fixed_large, which is that of the reverse process for pixels of variance 1."""
    replaced, resampled = (completed(repeats, 1.5, 250, variance="fixed_large") for repeats in (1, 40))
    assert max(errors_of(resampled, 1.5)) < 3
    assert min(errors_of(replaced, 1.5)) > 10


# -- blend ----------------------------------------------------------------------------------------------------------


def test_a_blend_ends_at_its_two_images(random_model):
    model = random_model()
    first, second = some_images(model).split(1)
    settings = sampling_settings(model.config, num_steps=4)
    shown = last(blend(model, first, second, [0, 0.5, 1], 9, settings=settings, labels=[1], seed=5))
    for image, end in ((first, shown[0]), (second, shown[2])):
        alone = last(sample(model, 1, labels=[1], settings=settings, seed=5, init=image, start=9))
        torch.testing.assert_close(end, alone[0], rtol=1e-4, atol=1e-5)
    assert not any(torch.allclose(shown[1], shown[k]) for k in (0, 2))


def test_a_blend_by_inversion_ends_at_its_two_images_as_they_come_back(random_model):
    model = random_model()
    first, second = some_images(model).split(1)
    settings, shares = sampling_settings(model.config, num_steps=10), [0, 0.5, 1]
    shown = last(blend_inverted(model, first, second, shares, labels=[1], settings=settings))
    assert shown.shape == (3, *model.config.image_shape)
    for image, end in ((first, shown[:1]), (second, shown[2:])):
        *_, noise = invert(model, image, labels=[1], settings=settings)
        back = last(sample(model, 1, labels=[1], settings=redrawing(settings), noise=lambda: noise.x_t))  # noqa: B023
        torch.testing.assert_close(end, back, rtol=1e-4, atol=1e-4)
    assert not any(torch.allclose(shown[1], shown[k], atol=1e-2) for k in (0, 2))


# -- branch ---------------------------------------------------------------------------------------------------------


def test_branches_share_their_root_and_nothing_at_the_first_timestep(random_model):
    model = random_model()
    settings = sampling_settings(model.config, sampler="ddpm", num_steps=5)
    walk = list(sample(model, 1, labels=[1], settings=settings, seed=0))
    root = walk[2]
    grown = list(branch(model, root.x_t, root.t, 3, labels=[1], settings=settings, seed=6))
    assert grown[0].t == root.t
    assert torch.equal(grown[0].x_t, root.x_t.expand(3, -1, -1, -1))
    assert not torch.equal(grown[-1].x0[0], grown[-1].x0[1])
    fresh = last(branch(model, walk[0].x_t, walk[0].t, 3, labels=[1], settings=settings, seed=6))
    assert torch.equal(fresh, last(sample(model, 3, labels=[1], settings=settings, seed=6)))


@pytest.mark.parametrize("settings", [{"sampler": "ddim", "eta": 0.0}, {"sampler": "heun"}, {"sampler": "dpmpp_2m"}])
def test_a_sampler_without_noise_cannot_branch(random_model, settings):
    model = random_model()
    with pytest.raises(ConfigError, match="adds no noise with these settings, so that all branches are one"):
        branch(model, some_images(model, 1), 3, 2, settings=sampling_settings(model.config, **settings))
    branch(model, some_images(model, 1), 3, 2, settings=sampling_settings(model.config, sampler="ddim", eta=0.5))


# -- invert ---------------------------------------------------------------------------------------------------------


def test_the_inversion_of_a_gaussian_is_the_inverse_of_the_linear_map_of_ddim(random_model, monkeypatch):
    model = random_model()
    schedule = model.schedule

    def denoise(x_t, t):
        a, s = schedule.scales(t, x_t)
        x0 = a * 0.25 / (a**2 * 0.25 + s**2) * x_t  # of a Gaussian with the standard deviation 0.5
        return Prediction(x0, (x_t - a * x0) / s)

    monkeypatch.setattr(type(model), "denoiser", lambda *_, **__: denoise)
    settings, images = sampling_settings(model.config, num_steps=8), some_images(model)
    noise = list(invert(model, images, settings=settings, rounds=60))[-1]
    assert noise.t == model.schedule.num_timesteps - 1
    back = last(sample(model, 2, settings=redrawing(settings), noise=lambda: noise.x_t))
    torch.testing.assert_close(back, images, rtol=1e-4, atol=1e-4)


# -- other models ----------------------------------------------------------------------------------------------------


@pytest.fixture
def of_photographs(tmp_path, tiny_config):
    """A model that was trained on a folder of photographs: fires, red towards the top, and seas, blue towards the
    bottom."""
    rng = np.random.default_rng(0)
    for name, channel in (("fire", 0), ("sea", 2)):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for i in range(40):
            levels = rng.uniform(0, 60, (48, 64, 3))
            levels[..., channel] += np.linspace(*((180, 90) if name == "fire" else (90, 180)), 48)[:, None]
            Image.fromarray(levels.astype(np.uint8)).save(tmp_path / f"photographs/{name}/{i}.jpg")
    config = tiny_config(
        data={"dataset": "folder", "path": str(tmp_path / "photographs"), "image_size": 8, "channels": 3,
              "class_names": ["fire", "sea"]},
        schedule={"name": "cosine", "num_timesteps": 100}, model__num_classes=2, training__epochs=60,
        training__batch_size=32, training__learning_rate=4e-3, training__warmup_steps=10, training__ema_decay=0.9,
    )  # fmt: skip
    training = train(config)
    deque(training, maxlen=0)
    return training.model


@pytest.fixture(params=["colour", "photographs", "pipeline"])
def colour_model(request, random_model, tmp_path):
    """Models of ours of three channels, with classes: of random weights, and trained on photographs; and a pipeline of
    diffusers, without."""
    if request.param == "colour":
        return random_model(data__dataset="cifar10", data__channels=3)
    if request.param == "photographs":
        return request.getfixturevalue("of_photographs")
    return load_model(str(save(tmp_path / "pipeline")))


@pytest.mark.slow
def test_colour_models_and_pipelines_are_edited_alike(colour_model):
    model = colour_model
    settings = sampling_settings(model.config, sampler="ddpm", num_steps=4)
    images, total = some_images(model), model.schedule.num_timesteps
    drawn = last(sample(model, 2, settings=settings, seed=2))
    assert torch.equal(last(sketch(model, images, 0, settings=settings)), images)
    assert torch.equal(last(sketch(model, images, 1, settings=settings, seed=2)), drawn)
    half = torch.zeros(1, 1, *images.shape[-2:], dtype=torch.bool)
    half[..., 3:] = True
    mended = last(inpaint(model, images, half, settings=settings, repeats=2))
    assert torch.equal(to_uint8(mended)[..., :3], to_uint8(images)[..., :3])
    assert not torch.equal(mended[..., 3:], images[..., 3:])
    *walk, _ = sample(model, 1, settings=settings, seed=2)
    assert torch.equal(last(branch(model, walk[0].x_t, total - 1, 2, settings=settings, seed=2)), drawn)
    start = start_of(model, 0.5)
    plain = sampling_settings(model.config, sampler="ddim", num_steps=4)
    ends = last(blend(model, images[:1], images[1:], [0, 1], start, settings=plain, seed=3))
    for k, end in enumerate(ends):
        alone = last(sketch(model, images[k : k + 1], 0.5, settings=plain, seed=3))
        torch.testing.assert_close(end, alone[0], rtol=1e-4, atol=1e-4)
    *_, noise = invert(model, images, settings=plain, rounds=1)
    assert (noise.t, noise.x_t.shape) == (total - 1, images.shape)
    assert noise.x_t.isfinite().all()


@pytest.mark.slow
def test_photographs_are_finished_and_mended_in_the_colours_of_their_class(of_photographs):
    model = of_photographs
    settings = sampling_settings(model.config, sampler="ddpm", num_steps=20, guidance_scale=1.0)
    photographs = load_dataset(model.config.data, "val")
    lower = torch.zeros(1, 1, *model.config.image_shape[1:], dtype=torch.bool)
    lower[..., 4:, :] = True
    fire = photographs.labels == 0
    for labels, is_red in ((photographs.labels, fire), (1 - photographs.labels, ~fire)):
        asked = {"labels": labels.tolist(), "settings": settings}
        anew = last(sketch(model, photographs.scaled(), 1, **asked))
        assert torch.equal((anew[:, 0] > anew[:, 2]).float().mean((1, 2)) > 0.5, is_red)
    mended = last(inpaint(model, photographs.scaled(), lower, labels=photographs.labels.tolist(), settings=settings))
    assert torch.equal((mended[:, 0] > mended[:, 2])[:, 4:].float().mean((1, 2)) > 0.5, fire)


@pytest.mark.slow
def test_digits_come_back_from_their_noise():
    from ddpm.evaluation.calibration import psnr

    model = load_model("digits")
    images = load_dataset(model.config.data, "test")[:50]
    x0, labels = to_float(images.images), images.labels.tolist()
    found = {}
    for steps in (20, 50):
        settings = sampling_settings(model.config, num_steps=steps)
        noise = list(invert(model, x0, labels=labels, settings=settings))[-1].x_t
        back = last(sample(model, 50, labels=labels, settings=redrawing(settings), noise=lambda noise=noise: noise))
        found[steps] = psnr(back, x0).mean().item()
        assert abs(noise.std().item() - 1) < 0.1
    assert found[20] > 25
    assert found[50] > 30
