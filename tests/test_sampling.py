"""Sampling a model: parts make the whole, labels, wrong arguments, guidance within its interval and its cost."""

import copy
import math
from collections import deque

import pytest
import torch

from ddpm.config import SamplingConfig
from ddpm.diffusion import autoguided
from ddpm.errors import ConfigError
from ddpm.models import load_model
from ddpm.randomness import ImageNoise, NoiseBetween
from ddpm.samplers import SAMPLERS
from ddpm.sampling import Guide, evaluations, generate, sample
from ddpm.spacing import spaced_timesteps


def last(steps):
    return deque(steps, maxlen=1).pop()


def test_generate_is_sample_in_parts(random_model):
    model = random_model()
    seen = []
    whole = last(sample(model, 5, labels=[3, 1], seed=2)).x0.clamp(-1, 1)
    parts = generate(model, 5, labels=[3, 1], seed=2, batch_size=2, on_batch=seen.append)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-4)
    assert seen == [2, 4, 5]


@pytest.mark.slow
def test_mixed_precision_draws_the_same_images():
    model = load_model("digits")
    exact, mixed = (generate(model, 8, labels=range(8), precision=name) for name in ("fp32", "bf16"))
    difference = (exact - mixed).abs() * 127.5
    assert 0 < difference.mean() < 1  # of 255 levels


@pytest.mark.parametrize(("name", "said"), [("fp16", "needs a CUDA device"), ("bf61", "did you mean 'bf16'")])
def test_a_precision_that_is_not_there_is_refused_at_once(random_model, name, said):
    with pytest.raises(ConfigError, match=said):
        sample(random_model(), 1, precision=name)


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


# -- guidance and what it costs ------------------------------------------------------------------------------------

INTERVALS = [None, (0, 19), (5, 12), (19, 19), (0, 0), (13, 200)]


@pytest.fixture
def looks(random_model):
    """A model, and for every call of its network the timestep and the number of images."""
    model, seen = random_model(), []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append((int(inputs[1][0]), len(inputs[0]))))
    return model, seen


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("labels", [None, [3]])
def test_guidance_acts_inside_its_interval_and_evaluations_are_counted(looks, sampler, interval, labels):
    model, seen = looks
    settings = SamplingConfig(sampler=sampler, num_steps=7, guidance_scale=2, guidance_interval=interval)
    list(sample(model, 3, labels=labels, settings=settings))
    first, end = interval or (0, 19)
    assert all(count == (6 if labels and first <= t <= end else 3) for t, count in seen)
    assert evaluations(settings, model.schedule, labels is not None) * 3 == sum(count for _, count in seen)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interval_around_all_timesteps_is_plain_guidance_and_one_around_none_is_no_guidance(random_model, sampler):
    model = random_model()

    def image(**settings):
        settings = SamplingConfig(sampler=sampler, num_steps=5, **settings)
        return last(sample(model, 2, labels=[1, 2], settings=settings)).x0

    plain, guided = image(), image(guidance_scale=4)
    assert (plain - guided).abs().max() > 1e-3
    torch.testing.assert_close(image(guidance_scale=4, guidance_interval=(0, 19)), guided, rtol=0, atol=0)
    torch.testing.assert_close(image(guidance_scale=4, guidance_interval=(20, 30)), plain, rtol=0, atol=0)


# -- autoguidance --------------------------------------------------------------------------------------------------


def test_a_guide_that_is_the_model_without_classes_is_classifier_free_guidance(random_model):
    """Guided by its own prediction without a label, D = D(null) + w (D(y) - D(null)): both kinds must agree."""
    model = random_model()
    x_t, y = torch.randn(3, 1, 8, 8), torch.tensor([0, 4, 10])
    own, without = model.denoiser(y, clip=False), model.denoiser(torch.full((3,), 10), clip=False)
    for clip in (False, True):
        plain = model.denoiser(y, guidance_scale=2.5, guidance_interval=(5, 15), clip=clip)
        ours = autoguided(own, without, model.schedule, 2.5, interval=(5, 15), clip=clip)
        for t in (3, 10, 19, torch.tensor([3, 10, 19])):
            for mine, theirs in zip(ours(x_t, t), plain(x_t, t), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_scale_of_one_is_off_and_of_zero_the_guide(random_model):
    model, other = random_model(0), random_model(1)
    how = {"labels": [1, 2], "seed": 3}
    assert torch.equal(generate(model, 4, guide=Guide(other, 1.0), **how), generate(model, 4, **how))
    plain = SamplingConfig(num_steps=5)
    theirs = generate(other, 4, settings=plain, **how)
    torch.testing.assert_close(generate(model, 4, guide=Guide(other, 0.0), settings=plain, **how), theirs)
    assert not torch.allclose(generate(model, 4, guide=Guide(other, 2.0), settings=plain, **how), theirs)


def test_a_guide_acts_inside_its_interval_alone(random_model):
    model, other, plain = random_model(0), random_model(1), SamplingConfig(num_steps=5)
    nowhere = generate(model, 4, guide=Guide(other, 3.0, interval=(1, 1)), settings=plain)
    assert torch.equal(nowhere, generate(model, 4, settings=plain))  # of 3, 7, 11, 15, 19 the interval holds none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__num_classes": 0}, "it has classes: 0, not 10"),
        ({"schedule__num_timesteps": 30}, "it has the schedule .*30.*, not "),
        (
            {"data__image_size": 16, "model__attention_resolutions": [8]},
            r"it has images of \(1, 16, 16\), not \(1, 8, 8\)",
        ),
    ],
)
def test_a_guide_of_another_kind_is_refused(random_model, changes, message):
    with pytest.raises(ConfigError, match=f"random model cannot guide random model: {message}"):
        sample(random_model(), 2, guide=Guide(random_model(**changes)))


def test_the_command_takes_a_guide(cli, tmp_path):
    out = tmp_path / "guided.png"
    options = ("--model", "digits", "--guide", "digits", "--num-samples", "4", "--num-steps", "2", "--out", out)
    assert cli("sample", "grid", *options).code == 0
    assert "unknown model 'nobody'" in cli("sample", "grid", *options, "--guide", "nobody").err


def test_the_noise_between_two_seeds_is_gaussian_and_ends_in_theirs():
    shape, shares = (1, 64, 64), [0.0, 0.25, 0.5, 1.0]
    noise = NoiseBetween(ImageNoise(3, [0], shape), ImageNoise(4, [0], shape), shares)
    drawn, (a, b) = noise(), (ImageNoise(seed, [0], shape)()[0] for seed in (3, 4))
    assert torch.equal(drawn[0], a)
    torch.testing.assert_close(drawn[3], b, rtol=0, atol=1e-6)
    torch.testing.assert_close(drawn[2], (a + b) / math.sqrt(2))
    torch.testing.assert_close(drawn.var((1, 2, 3)), torch.ones(4), rtol=0, atol=0.08)
    assert not torch.equal(noise(), drawn)  # fresh noise on the way, as DDPM asks for


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_walk_begins_and_ends_at_the_images_of_its_seeds_and_classes(random_model, guidance):
    model = random_model()
    settings = model.config.sampling.model_copy(update={"sampler": "ddpm", "num_steps": 5, "guidance_scale": guidance})
    ends = [ImageNoise(seed, [0], model.config.image_shape) for seed in (0, 1)]
    shares = torch.nn.functional.one_hot(torch.tensor([2, 2, 7]), 10).float()
    shares[1, 2], shares[1, 7] = 0.5, 0.5
    *_, walk = sample(model, 3, labels=shares, settings=settings, noise=NoiseBetween(*ends, [0.0, 0.5, 1.0]))
    for place, seed, label in ((0, 0, 2), (2, 1, 7)):
        *_, alone = sample(model, 1, labels=[label], settings=settings, seed=seed)
        torch.testing.assert_close(walk.x0[place], alone.x0[0], rtol=0, atol=1e-4)
    assert (walk.x0[1] - walk.x0[0]).abs().max() > 0.1


def test_a_mixture_of_embeddings_is_what_the_network_makes_of_it(random_model):
    network = random_model().network
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 9])
    mixed = torch.zeros(2, 11)
    mixed[:, 1], mixed[:, 4] = 0.25, 0.75
    between = 0.25 * network.class_embedding.weight[1] + 0.75 * network.class_embedding.weight[4]
    expected = copy.deepcopy(network)
    expected.class_embedding.weight[6] = between
    torch.testing.assert_close(network(x, t, mixed), expected(x, t, torch.tensor([6, 6])))


@pytest.mark.parametrize(
    "shares", [[[0.5] * 10] * 2, [[1.0, 0, 0]] * 2, [[1.5, -0.5, *[0] * 8]] * 2, [[1.0, *[0] * 9]]]
)
def test_shares_that_are_none_are_refused(random_model, shares):
    with pytest.raises(ConfigError, match=r"shares of classes must be \(2, 10\), from 0 to 1"):
        sample(random_model(), 2, labels=torch.tensor(shares))
    with pytest.raises(ConfigError, match="random model takes no mixtures of classes"):
        sample(random_model(model__num_classes=0), 2, labels=torch.tensor(shares))
