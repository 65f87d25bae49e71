"""The noise of image k of a seed is the same to the bit, whatever is asked beside it."""

import pytest
import torch

from ddpm.diffusion import Prediction
from ddpm.media.images import to_uint8
from ddpm.models import load_model
from ddpm.randomness import ImageNoise, derive_seed
from ddpm.samplers import ddpm
from ddpm.sampling import generate, sample
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps
from ddpm.storage.places import shipped_models

SHAPE = (1, 8, 8)
GOLDEN = [1.88873959, 0.41596189, 1.44014251, 0.51807272]  # the first pixels of image 0 of seed 0, 32x32


def draws(seed, indices, count=3):
    noise = ImageNoise(seed, indices, SHAPE)
    return torch.stack([noise() for _ in range(count)])


@pytest.mark.parametrize("count", [7, 64])
def test_all_noise_of_an_image_is_the_same_for_any_number_of_images(count):
    many = draws(0, range(count))
    for k in (0, 1, count - 1):
        assert torch.equal(many[:, k], draws(0, [k])[:, 0])


def test_all_noise_is_the_same_when_a_set_is_drawn_in_parts():
    assert torch.equal(draws(3, range(64))[:, 40:47], draws(3, range(40, 47)))


def test_the_noise_of_a_seed_never_changes():
    assert derive_seed(0, 0) == 2928822574489494037
    assert ImageNoise(0, [0], (1, 32, 32))().flatten()[:4].tolist() == pytest.approx(GOLDEN, abs=1e-5)


def test_noise_is_standard_normal_and_independent_between_images_and_draws():
    noise = ImageNoise(0, range(200), (40, 40))
    first, second = noise().flatten(1).double(), noise().flatten(1).double()
    assert first.mean().item() == pytest.approx(0, abs=0.01)
    assert first.var().item() == pytest.approx(1, abs=0.01)
    correlation = torch.corrcoef(torch.cat([first, second])) - torch.eye(400)
    assert correlation.abs().max() < 6 / 40  # 6 standard errors of 1,600 pixels


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63, -1])
def test_neighbouring_seeds_and_seeds_that_differ_by_2_to_the_32_have_other_noise(seed):
    own = draws(seed, [0])
    for other in (seed + 1, seed + 2**32, seed - 2**32):
        assert not torch.equal(own, draws(other, [0]))


def test_image_1_of_seed_0_is_not_image_0_of_seed_1():
    assert not torch.equal(draws(0, [1]), draws(1, [0]))
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_a_thousand_images_have_a_thousand_noises():
    starts = ImageNoise(0, range(1000), (4,))()
    assert len(torch.unique(starts, dim=0)) == 1000


@pytest.mark.parametrize("count", [7, 64])
def test_every_state_of_a_stochastic_walk_is_the_same_to_the_bit(count):
    """With a denoiser that is the same for every batch size, all that differs could only be the noise."""
    schedule = make_schedule("linear", 100)

    def walk(indices):
        noise = ImageNoise(11, indices, SHAPE)
        denoise = lambda x, t: Prediction(torch.tanh(x), x)  # noqa: E731
        return torch.stack([step.x_t for step in ddpm(denoise, schedule, spaced_timesteps(100, 10), noise)])

    many = walk(range(count))
    assert torch.equal(many[:, 0], walk([0])[:, 0])
    assert torch.equal(many[:, 3:6], walk([3, 4, 5]))


def finished(model, count, first=0, **changes):
    settings = model.config.sampling.model_copy(update=changes)
    steps = list(sample(model, labels=range(10), settings=settings, seed=5, indices=range(first, first + count)))
    return steps[0].x_t, to_uint8(steps[-1].x0).int()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random", *({"digits"} & set(shipped_models()))])
@pytest.mark.parametrize("changes", [{"sampler": "ddim"}, {"sampler": "ddpm"}, {"sampler": "ddim", "eta": 1.0}])
def test_finished_pixels_differ_by_at_most_2_levels_between_batch_sizes(random_model, name, changes):
    model = random_model() if name == "random" else load_model(name)
    start, pixels = finished(model, 64, num_steps=10, **changes)
    assert pixels.float().std() > 20  # the images are not all of one grey
    for first, count in ((0, 1), (0, 7), (50, 7)):
        own_start, own_pixels = finished(model, count, first, num_steps=10, **changes)
        assert torch.equal(own_start, start[first : first + count])
        assert (own_pixels - pixels[first : first + count]).abs().max() <= 2


def test_sampling_neither_reads_nor_moves_torchs_global_generator(random_model):
    model = random_model()
    torch.manual_seed(0)
    first, state = generate(model, 2, seed=1), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(generate(model, 2, seed=1), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
