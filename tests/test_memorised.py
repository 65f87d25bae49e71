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
    assert verdict(new.share).startswith("These are no copies")
    near = to_float(train.images[[7, 3, 9, 11]])
    old = closeness(torch.cat([near + 0.02, to_float(pictures(1, 3))]), torch.tensor([1, 1, 1, 1, 0]), real)
    assert old.nearest.index[:4].tolist() == [7, 3, 9, 11]
    assert old.copied.tolist() == [True, True, True, True, False]
    assert verdict(old.share).startswith("The model only remembers its images: 80% of these images come nearer")
    assert verdict(0.3).startswith("The model remembers some")
