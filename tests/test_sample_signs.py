"""The doctor's signs of samples: each fault made of real images is found, and real images have none."""

import numpy as np
import pytest
import torch

from ddpm.data import ImageSet, class_by_class, load_dataset
from ddpm.evaluation import real_images
from ddpm.evaluation.real_images import DataConfig
from ddpm.evaluation.sample_signs import examine_samples, noise_in


@pytest.fixture
def mnist(monkeypatch) -> tuple[ImageSet, ImageSet]:
    """4,000 training images, and 500 test images beside which samples are seen; others of the test set are the
    samples."""
    config = DataConfig()
    train, test = class_by_class(load_dataset(config, "train"), 4000), load_dataset(config, "test")
    monkeypatch.setattr(real_images, "splits", lambda config: (train, class_by_class(test[:5000], 500), None))
    return train, class_by_class(test[5000:], 200)


def wrong(images: torch.Tensor, labels: torch.Tensor) -> list[str]:
    samples = ImageSet.from_arrays(images.clamp(0, 255).byte()[:, 0].numpy(), labels.numpy())
    return [sign.cause for sign in examine_samples(samples) if sign.wrong]


def test_noise_is_measured_in_its_own_unit():
    noise = 0.3 * torch.randn(20, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert noise_in(noise) == pytest.approx(0.3, rel=0.02)
    ramp = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    assert noise_in(ramp) < 1e-5


def test_real_images_have_no_sign(mnist):
    _, samples = mnist
    assert wrong(samples.images, samples.labels) == []
    assert wrong(samples.images, torch.full_like(samples.labels, -1)) == []


@pytest.mark.parametrize(
    ("cause", "change"),
    [
        ("images hold no content", torch.zeros_like),
        ("light and dark are exchanged", lambda images: 255 - images),
        ("black is grey", lambda images: images / 2 + 127),
        ("noise is left", lambda images: images + 25 * torch.randn(images.shape, generator=torch.Generator())),
        ("samples are mirrored", lambda images: images.flip(-1)),
        ("samples are too much alike", lambda images: images[:1].expand_as(images)),
    ],
)
def test_a_fault_is_named_first(mnist, cause, change):
    _, samples = mnist
    labels = samples.labels if "alike" not in cause else samples.labels[:1].expand_as(samples.labels)
    assert wrong(change(samples.images.float()), labels)[0] == cause


def test_copies_are_found(mnist):
    train, _ = mnist
    copies = class_by_class(train, 200)
    assert wrong(copies.images, copies.labels) == ["samples are copies of training images"]


def test_the_command_takes_samples_of_any_program(mnist, cli, tmp_path):
    _, samples = mnist
    np.savez(tmp_path / "grey.npz", images=samples.images[:, 0].numpy() // 2 + 127, labels=samples.labels.numpy())
    found = cli("doctor", "--samples", tmp_path / "grey.npz")
    assert found.code == 0, found.err
    assert found.out.startswith("Likely cause: black is grey")
    both = cli("doctor", "--samples", tmp_path / "grey.npz", "--model", "digits")
    assert both.code == 2
    assert "either a model or --samples" in both.err
