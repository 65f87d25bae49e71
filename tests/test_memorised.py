"""Copies of training images are told from images that are new, whatever they show."""

import torch

from ddpm.config import DataConfig
from ddpm.data import ImageSet, to_float
from ddpm.evaluation.memorised import closeness, verdict
from ddpm.evaluation.real_images import RealImages


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_what_is_a_training_image_is_a_copy_and_what_is_drawn_as_they_were_is_not():
    labels = torch.arange(60) % 2
    train, test = ImageSet(pictures(60, 0), labels), ImageSet(pictures(40, 1), torch.arange(40) % 2)
    real = RealImages(DataConfig(dataset="folder", path="x", channels=3), train, test, conditional=True)
    new = closeness(to_float(pictures(200, 2)), torch.arange(200) % 2, real)
    assert new.share < 0.1
    assert 0.9 < new.ratio.median() < 1.1
    assert new.verdict.startswith("These are no copies")
    near = to_float(train.images[[7, 3, 9, 11]])
    old = closeness(torch.cat([near + 0.02, to_float(pictures(1, 3))]), torch.tensor([1, 1, 1, 1, 0]), real)
    assert old.nearest.index[:4].tolist() == [7, 3, 9, 11]
    assert old.copied.tolist() == [True, True, True, True, False]
    assert old.verdict.startswith("The model only remembers its images: 4 of 5 are nearer to a training image than the")
    assert verdict(30, 100, 40, 1).startswith("The model remembers some")


def test_noise_and_few_test_images_are_no_proof_that_nothing_is_copied():
    def verdict_with(tests: int, soften: int) -> str:
        sets = [
            ImageSet(pictures(count, seed) // soften, torch.full((count,), -1))
            for seed, count in enumerate((44, tests))
        ]
        real = RealImages(DataConfig(dataset="folder", path="x", channels=3), *sets, conditional=False)
        return closeness(to_float(pictures(10, 2)), None, real).verdict

    said = verdict_with(6, 1)
    assert said.endswith(
        "of 10 are nearer to a training image than the nearest of 6 unseen ones, which are too few to be sure"
    )
    assert verdict_with(30, 8).startswith("Too unlike any training image to judge")
