"""Samples of any program, judged: the numbers of an evaluation, closed forms, and what cannot be read."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.data import ImageSet, class_by_class
from ddpm.errors import DataError, ModelError
from ddpm.evaluation import classifier, real_images
from ddpm.evaluation.intervals import wilson
from ddpm.evaluation.protocol import Protocol
from ddpm.evaluation.samples import judge_samples, read_samples
from ddpm.files import file_sha256
from ddpm.media.images import npz_bytes
from ddpm.storage.weights import write_safetensors


@pytest.fixture
def few_real(monkeypatch):
    """MNIST of 1,200 training and 300 test images, classes in turn; the test images."""
    train, test, _ = real_images.splits(real_images.DataConfig())
    train, test = class_by_class(train, 1200), class_by_class(test, 300)

    def splits(config):
        assert config.image_size == 32
        return train, test, None

    monkeypatch.setattr(real_images, "splits", splits)
    return test


@pytest.mark.slow
def test_the_real_images_themselves_have_the_scores_of_closed_forms(few_real):
    found = judge_samples(few_real)
    assert found["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert (found["precision"], found["recall"]) == (1.0, 1.0)
    assert found["kid"] == pytest.approx(0, abs=5 * found["kid_std"])
    assert found["pixel_diversity"] == pytest.approx(few_real.scaled().std(0).mean().item())
    assert found["label_accuracy"] == found["reference"]["label_accuracy"] > 0.98
    assert found["intervals"]["recall"]["high"] == pytest.approx(1)
    assert found["intervals"]["recall"]["low"] == pytest.approx(300 / (300 + 1.96**2))
    assert "the test images fixed" in found["intervals"]["frechet_distance"]["method"]
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_an_interval_holds_the_score_of_another_half_as_often_as_it_says(few_real):
    """Noise on real images: their pixel diversity has a closed form, and so has its standard error."""
    noise = torch.randn(400, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 20 + 128
    samples = ImageSet(noise.round().clamp(0, 255).byte(), torch.full((400,), -1))
    found = judge_samples(samples)
    between = found["intervals"]["pixel_diversity"]
    assert between["low"] < 20 / 127.5 < between["high"]
    # The standard error of a standard deviation of n is sigma / sqrt(2 (n - 1)), here of a mean over 1,024 pixels.
    half = 1.96 * (20 / 127.5) / (2 * 399) ** 0.5 / 1024**0.5
    assert (between["high"] - between["low"]) / 2 == pytest.approx(half, rel=0.25)
    assert "asked for no class" in found["label_accuracy"]["unavailable"]
    assert "label_accuracy" not in found["intervals"]


def test_wilsons_interval():
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(1.0, 10)[1] == 1.0


@pytest.mark.slow
def test_the_npz_of_a_grid_has_the_numbers_of_the_evaluation(few_real, cli, tmp_path):
    from ddpm.evaluation.evaluate import evaluate
    from ddpm.models import load_model

    model = load_model("mnist")
    settings = model.config.sampling.model_copy(update={"sampler": "ddim", "num_steps": 5, "guidance_scale": 1.0})
    *_, last = evaluate(model, Protocol(settings, num_samples=100, samples_only=True))
    stage = last.results["ddim_5steps"]
    grid = ("sample", "grid", "--model", "mnist", "--sampler", "ddim", "--num-steps", "5", "--guidance-scale", "1",
            "--num-samples", "100", "--npz", "a.npz")  # fmt: skip
    assert cli(*grid).code == 0
    ended = cli("judge", "--samples", "a.npz", "--out", "a.json")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "a.json").read_text())
    for key, close in {"frechet_distance": 0.02, "pixel_diversity": 0.002, "kid": 0.03}.items():  # 8 bits a pixel
        assert found[key] == pytest.approx(stage[key], rel=close)
    for key in ("precision", "recall", "label_accuracy"):
        assert found[key] == pytest.approx(stage[key], abs=0.021)
    assert found["reference"]["frechet_distance"] == stage["reference"]["frechet_distance"]
    assert f"| Label accuracy | {found['label_accuracy']:.1%} | " in ended.out


@pytest.mark.slow
def test_a_folder_of_images_has_the_numbers_of_its_array(few_real, tmp_path):
    samples = few_real[:120]
    for k, (image, label) in enumerate(zip(samples.images, samples.labels.tolist(), strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{k}.png")
    (tmp_path / "digits.npz").write_bytes(npz_bytes(samples.images, samples.labels.tolist(), samples.class_names))
    of_folder, of_array = (judge_samples(read_samples(tmp_path / name, "mnist")) for name in ("digits", "digits.npz"))
    for key in ("frechet_distance", "precision", "recall", "label_accuracy", "pixel_diversity"):
        assert of_folder[key] == pytest.approx(of_array[key], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "arrays", "named"),
    [
        ("a.npz", {"pictures": np.zeros((4, 8, 8), np.uint8)}, "has no array called images; it has pictures"),
        ("a.npz", {"images": np.zeros((4, 8, 8, 3), np.uint8)}, "has images of 3 channels, and mnist of 1"),
        ("a.npz", {"images": np.zeros((4, 8, 8))}, "need value_range|images must be uint8"),
        ("a.npz", {"images": np.array([{}])}, "cannot be read as"),
        ("a.npz", None, "cannot be read as"),
        ("a.npy", None, "cannot be read as"),
    ],
)
def test_what_are_no_samples_is_named(tmp_path, name, arrays, named):
    if arrays is None:
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    else:
        np.savez(tmp_path / name, **arrays)
    with pytest.raises(DataError, match=named):
        read_samples(tmp_path / name, "mnist")


@pytest.mark.slow
def test_a_second_opinion_comes_from_another_classifier_and_the_result_names_it(few_real, tmp_path):
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    write_safetensors(classifier.Classifier(), other)  # untrained: it takes one in ten for what it is
    found, shipped = judge_samples(few_real, classifier=other), judge_samples(few_real)
    assert found["label_accuracy"] < 0.5 < 0.98 < shipped["label_accuracy"]
    assert found["pixel_diversity"] == shipped["pixel_diversity"]
    assert found["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert found["made_by"]["classifier_sha256"] == file_sha256(other)
    assert shipped["made_by"]["classifier_sha256"] == file_sha256(classifier.SHIPPED)

    (tmp_path / "none.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"none\.safetensors is damaged or no safetensors file"):
        judge_samples(few_real, classifier=tmp_path / "none.safetensors")
