"""Metrics against truth: closed forms, scikit-image, and sets whose answer is known."""

import numpy as np
import pytest
import scipy.linalg
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ddpm.config import DataConfig
from ddpm.data import ImageSet, load_dataset, to_float
from ddpm.errors import MetricError
from ddpm.evaluation.calibration import psnr, ssim
from ddpm.evaluation.judge import Judged, judge
from ddpm.evaluation.metrics import (
    frechet_distance,
    kernel_distance,
    nearest,
    pixel_diversity,
    precision_recall,
)
from ddpm.evaluation.real_images import RealImages


def normal(*shape, seed=0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """n vectors whose sample mean and sample covariance are exactly these."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T
    return mean + white @ torch.linalg.cholesky(covariance).T


# -- Fréchet distance ----------------------------------------------------------------------------------------------


def test_frechet_distance_of_two_gaussians_is_the_closed_form():
    d = 6
    a, b = normal(d, d, seed=1), normal(d, d, seed=2)
    m1, m2, c1, c2 = normal(d, seed=3), normal(d, seed=4), a @ a.T + torch.eye(d), b @ b.T + torch.eye(d)
    root = scipy.linalg.sqrtm((c1 @ c2).numpy()).real
    expected = (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * root.trace()
    found = frechet_distance(with_moments(m1, c1, 50, seed=5), with_moments(m2, c2, 80, seed=6))
    assert found == pytest.approx(expected.item(), rel=1e-9)


def test_frechet_distance_along_the_axes_is_the_difference_of_deviations():
    m1, m2, s1, s2 = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 2.0], [2.0, 5.0]], dtype=torch.float64)
    found = frechet_distance(with_moments(m1, s1.square().diag(), 9, 0), with_moments(m2, s2.square().diag(), 9, 1))
    assert found == pytest.approx(25 + 1 + 9)


def test_frechet_distance_of_a_set_to_itself_is_zero():
    x = normal(40, 5)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_refuses_a_singular_covariance():
    with pytest.raises(MetricError, match="5 images are too few for the covariance of 5 features: take more than 5"):
        frechet_distance(normal(5, 5), normal(50, 5))


# -- KID -----------------------------------------------------------------------------------------------------------


def unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, eq. 3, with the kernel of Binkowski et al. 2018."""

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    return (
        (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * kernel(x, y).mean()
    )


@pytest.mark.slow
def test_kid_of_one_distribution_is_zero_within_its_spread():
    mean, std = kernel_distance(normal(800, 8, seed=1), normal(800, 8, seed=2))
    assert abs(mean) < 2 * std
    assert abs(mean) < 0.02


@pytest.mark.slow
def test_kid_is_the_unbiased_mmd():
    x, y = normal(600, 4, seed=1), normal(600, 4, seed=2) * 1.5 + 0.5
    mean, std = kernel_distance(x, y)
    assert mean == pytest.approx(unbiased_mmd(x.numpy(), y.numpy()), rel=0.1)
    assert mean > 3 * std


def test_kid_draws_its_subsets_from_its_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    values = [kernel_distance(normal(30, 4, seed=1), normal(30, 4, seed=2), seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert values[0] == values[1] != values[2]
    with pytest.raises(MetricError, match="3 images are too few"):
        kernel_distance(normal(3, 4), normal(30, 4))


# -- precision and recall ------------------------------------------------------------------------------------------


def test_precision_and_recall_of_a_set_and_itself_are_one():
    x = normal(50, 3)
    assert precision_recall(x, x) == (1, 1)


def test_samples_of_one_of_two_clusters_are_precise_but_recall_half():
    cluster, far = normal(40, 3), torch.tensor([100.0, 0, 0])
    precision, recall = precision_recall(cluster, torch.cat([cluster, cluster + far]))
    assert (precision, recall) == (1, 0.5)


def test_samples_beside_the_real_ones_lose_precision_but_not_recall():
    cluster, far = normal(40, 3), torch.tensor([100.0, 0, 0])
    precision, recall = precision_recall(torch.cat([cluster, cluster + far]), cluster)
    assert (precision, recall) == (0.5, 1)
    assert precision_recall(cluster + far, cluster) == (0, 0)


def test_the_radius_reaches_to_the_third_neighbour_and_not_beyond():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # the radii are 3, 2, 2 and 3
    samples = torch.tensor([[-2.9], [-3.1], [5.9], [6.1]])
    assert precision_recall(samples, real)[0] == 0.5
    with pytest.raises(MetricError, match="3 images are too few for precision and recall: take more than 3"):
        precision_recall(real[:3], real)


# -- PSNR, SSIM ----------------------------------------------------------------------------------------------------


def pair(n: int = 3, border: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of images in [-1, 1] with a plain border, where it makes no difference how a filter continues them."""
    clean, noisy = (torch.full((n, 1, 40, 40), -1.0) for _ in range(2))
    inner = slice(border, -border)
    clean[..., inner, inner] = normal(n, 1, 16, 16).tanh().float()
    noisy[..., inner, inner] = (clean[..., inner, inner] + 0.3 * normal(n, 1, 16, 16, seed=1).float()).clamp(-1, 1)
    return clean, noisy


def test_psnr_is_that_of_scikit_image():
    clean, noisy = pair()
    for found, x, y in zip(psnr(noisy, clean), clean[:, 0].numpy(), noisy[:, 0].numpy(), strict=True):
        expected = peak_signal_noise_ratio((x + 1) / 2, (y + 1) / 2, data_range=1)
        assert found.item() == pytest.approx(expected, rel=1e-5)


def test_ssim_is_that_of_scikit_image():
    clean, noisy = pair()
    options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    for found, x, y in zip(ssim(noisy, clean), clean[:, 0].numpy(), noisy[:, 0].numpy(), strict=True):
        everywhere = structural_similarity((x + 1) / 2, (y + 1) / 2, **options)[1]
        assert found.item() == pytest.approx(everywhere.mean(), abs=1e-5)
    assert ssim(clean, clean).tolist() == pytest.approx([1, 1, 1])


def test_psnr_and_ssim_clamp_to_the_range_of_the_data():
    clean, noisy = pair()
    assert torch.equal(psnr(noisy * 3, clean), psnr((noisy * 3).clamp(-1, 1), clean))
    assert torch.equal(ssim(noisy * 3, clean), ssim((noisy * 3).clamp(-1, 1), clean))
    assert ssim(noisy[:1], clean[:1]).shape == (1,)


# -- diversity -----------------------------------------------------------------------------------------------------


def test_pixel_diversity_is_the_unbiased_deviation_over_images():
    images = normal(7, 1, 4, 4).float()
    assert pixel_diversity(images) == pytest.approx(images.numpy().std(axis=0, ddof=1).mean(), rel=1e-5)
    with pytest.raises(MetricError, match="take 2 or more"):
        pixel_diversity(images[:1])


# -- memorisation --------------------------------------------------------------------------------------------------


def random_set(n: int, seed: int, size: int = 8) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, size, size), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % 10)


def test_nearest_is_what_brute_force_finds():
    among, images = random_set(90, 0).images, to_float(random_set(20, 1).images)
    found = nearest(images, among, chunk=7)
    distances = (images[:, None] - to_float(among)[None]).square().flatten(2).mean(2).sqrt()
    assert torch.equal(found.index, distances.argmin(1))
    assert torch.allclose(found.distance, distances.amin(1))


def judged(images, real, labels=None):
    return judge(Judged(images, labels, real, MetricError("no LPIPS here: none needed")))


def test_a_copy_of_a_training_image_is_found():
    config = DataConfig(dataset="digits", image_size=8)
    real = RealImages(config, random_set(60, 0), random_set(40, 1))
    samples = real.test.scaled()[:12].clone()
    samples[5] = to_float(real.train.images[17])
    result = judged(samples, real)["nearest_training_image"]
    assert result["closest"][0] == {"sample": 5, "training_image": 17, "distance": 0, "ratio": 0}
    assert result["ratio"] == pytest.approx(1, abs=0.1)


def test_a_distance_is_judged_against_test_images_of_its_class():
    config = DataConfig(dataset="digits", image_size=8)
    train, test = random_set(100, 0), random_set(100, 1)
    plain = torch.where(test.labels == 1, 0, 1)[:, None, None, None].to(torch.uint8)  # the ones are flat, and so alike
    flat = (train.images * (train.labels != 1)[:, None, None, None]), test.images * plain + (1 - plain) * 9
    real = RealImages(config, ImageSet(flat[0], train.labels), ImageSet(flat[1], test.labels))
    samples = real.test[real.test.labels <= 1]
    result = judged(samples.scaled(), real, samples.labels)["nearest_training_image"]
    assert result["ratio"] == pytest.approx(1, abs=0.05)
    assert result["closest"][0]["ratio"] > 0.8
    assert result["share_below_test_quantile"] < 0.2


# -- all of them ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_digits(mnist_dir) -> RealImages:
    """A part of MNIST, so that a test takes seconds."""
    config = DataConfig(dataset="mnist", image_size=32)
    test = load_dataset(config, "test")
    return RealImages(config, test[2000:8000], test[:1000])


@pytest.mark.slow
def test_classes_are_counted_and_the_least_sure_samples_named(real_digits):
    real = real_digits
    test = real.draw(real.test, 200)
    labels = test.labels.clone()
    labels[3] = (labels[3] + 1) % 10  # a sample that is not what was asked for
    result = judged(test.scaled(), real, labels)
    confusion = torch.tensor(result["confusion_matrix"])
    assert confusion.sum() == 200
    assert confusion[labels[3], test.labels[3]] >= 1
    assert result["label_accuracy"] == pytest.approx(confusion.trace().item() / 200)
    assert 0.95 <= result["label_accuracy"] < 1
    assert result["class_histogram"] == confusion.sum(0).tolist()
    assert result["least_sure"][0] == 3
    assert result["reference"]["label_accuracy"] > 0.99


@pytest.mark.slow
def test_real_images_are_near_real_images_and_noise_is_only_diverse(real_digits):
    real = real_digits
    noise = judged(torch.rand(150, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1, real)
    level = noise["reference"]
    assert noise["pixel_diversity"] > level["pixel_diversity"]
    assert noise["frechet_distance"] > 10 * level["frechet_distance"]
    assert level["frechet_distance_natural"] == pytest.approx(level["frechet_distance"], rel=0.5)
    assert noise["kid"] > 10 * abs(level["kid"])
    assert noise["precision"] < 0.1 < 0.7 < level["precision"]
    assert noise["nearest_training_image"]["ratio"] > 1
    assert noise["label_accuracy"] == {
        "unavailable": "the samples were asked for no class: evaluate a conditional model"
    }


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance, precision_recall])
def test_features_are_checked_and_may_be_arrays(metric):
    draw = torch.Generator().manual_seed(0)
    features, real = torch.randn(80, 4, generator=draw), torch.randn(90, 4, generator=draw)
    assert metric(features.numpy(), real.numpy()) == metric(features, real)
    with pytest.raises(MetricError, match=r"must be \(N, D\) and \(M, D\), .* got \(80, 1, 2, 2\) and \(90, 4\)"):
        metric(features.view(80, 1, 2, 2), real)
    with pytest.raises(MetricError, match=r"got \(80, 4\) and \(90, 3\)"):
        metric(features, real[:, :3])
    features[3, 1] = float("nan")
    with pytest.raises(MetricError, match="features must be finite"):
        metric(features, real)
