"""The shipped models: whole, within their size, described truthfully, and as good as they are said to be."""

import json
import re

import pytest
import torch

from ddpm.config import DataConfig, load_config, sampling_settings
from ddpm.data import load_dataset
from ddpm.evaluation import classifier
from ddpm.evaluation.calibration import SEED_TIMESTEPS, image_errors
from ddpm.evaluation.results import sample_stages
from ddpm.evaluation.seed_report import SEED_REPORT
from ddpm.files import file_sha256
from ddpm.models import load_model
from ddpm.samplers import SAMPLERS
from ddpm.sampling import generate
from ddpm.storage.layouts import CONFIG, WEIGHTS
from ddpm.storage.places import PRETRAINED, shipped_histories, shipped_models
from ddpm.training.history import read_history
from ddpm.training.loop import TrainState, validate
from tests.conftest import ROOT


def results_of(name: str) -> dict:
    return json.loads((PRETRAINED / name / "evaluation_results.json").read_text())


def test_three_models_are_shipped_within_30_megabytes():
    assert shipped_models() == ["digits", "mnist", "mnist-fast"]
    assert sum(file.stat().st_size for file in PRETRAINED.rglob("*") if file.is_file()) < 30e6
    assert classifier.SHIPPED.stat().st_size < 1e6


@pytest.mark.parametrize("name", ["digits", "mnist", "mnist-fast"])
def test_the_shipped_config_is_the_one_in_configs(name):
    shipped = load_config(PRETRAINED / name / CONFIG)
    assert shipped == load_config(PRETRAINED.parent.parent / "configs" / f"{name}.yaml")


@pytest.mark.parametrize("name", shipped_models())
def test_the_results_and_the_model_card_are_of_these_weights(name):
    results, card = results_of(name), (PRETRAINED / name / "README.md").read_text()
    sha256 = file_sha256(PRETRAINED / name / WEIGHTS)
    assert results["made_by"]["sha256"] == sha256
    assert sha256 in card
    calibration = results["calibration"]
    if name == "mnist-fast":  # which is not calibrated, and says so
        assert "distilled" in calibration["unavailable"]
        return
    for t, mse, psnr in zip(calibration["timesteps"], calibration["mse"], calibration["psnr"], strict=True):
        assert f"| {t} | {mse:.3g} | {psnr:.2f} |" in card


@pytest.mark.parametrize("model", ["mnist", "mnist-fast"])
@pytest.mark.parametrize("where", ["card", "docs"])
def test_the_tables_of_samples_are_the_results(model, where):
    file = PRETRAINED / model / "README.md" if where == "card" else ROOT / "docs/evaluation.md"
    text = file.read_text(encoding="utf-8")
    for name, stage in sample_stages(results_of(model)).items():
        sampler, _, steps = name.removesuffix("steps").rpartition("_")
        made_by = f"{SAMPLERS[sampler].label}, {steps} step{'s' * (steps != '1')}"
        for label, metrics in ((made_by, stage), ("real images", stage["reference"])):
            values = [
                format(metrics[key], form) if isinstance(metrics[key], float) else "–"
                for key, form in (("frechet_distance", ".3g"), ("precision", ".1%"), ("recall", ".1%"),
                                  ("label_accuracy", ".1%"), ("pixel_diversity", ".3g"), ("lpips_diversity", ".3g"))
            ]  # fmt: skip
            assert f"| {label} | {stage['num_samples']:,} | {' | '.join(values)} |" in text
    if model != "mnist":
        return
    theirs = f"{SEED_REPORT.pixel_diversity:.3g} | {SEED_REPORT.lpips_diversity:.3g} |"
    assert f"| seed report: DDIM, 50 steps |  | – | – | – | – | {theirs}" in text


def test_samples_are_as_varied_as_real_images_in_the_eyes_of_lpips():
    """The seed report's samples have 0.094."""
    for stage in sample_stages(results_of("mnist")).values():
        assert stage["lpips_diversity"] == pytest.approx(stage["reference"]["lpips_diversity"], abs=0.015)


@pytest.mark.parametrize("name", ["digits", "mnist-fast"])
def test_the_shipped_history_is_that_of_the_shipped_training(name):
    folder = shipped_histories()[name]
    history, config = read_history(folder.metrics), load_config(folder.config)
    assert history.training[-1]["step"] == history.training[-1]["total_steps"]
    assert history.training[-1]["epoch"] == config.training.epochs
    card = (folder.path / "README.md").read_text()
    assert re.search(rf"validation\sloss is {history.column('val_loss')[-1]:.4f}\.", card)
    assert f"in {history.training[-1]['elapsed'] / 60:.1f} minutes" in card


@pytest.mark.slow
def test_the_shipped_history_ends_with_the_loss_of_the_shipped_weights():
    model, folder = load_model("digits"), shipped_histories()["digits"]
    training = model.config.training.model_copy(update={"precision": "fp32", "device": "cpu"})
    state = TrainState(model.config.model_copy(update={"training": training}))
    loss = validate(state, load_dataset(model.config.data, "val"), network=model.network)
    assert loss == pytest.approx(read_history(folder.metrics).column("val_loss")[-1], rel=1e-4)


def test_the_student_draws_in_few_steps_what_its_teacher_draws_in_many():
    stages = sample_stages(results_of("mnist-fast"))
    assert [*stages] == [f"ddim_{steps}steps" for steps in (1, 2, 4, 8)]
    assert all(stage["num_samples"] == 10_000 for stage in stages.values())
    assert all(stage["label_accuracy"] > 0.98 for stage in stages.values())


def test_samples_are_nearly_as_far_from_the_test_set_as_real_images_are():
    stage = sample_stages(results_of("mnist"))["ddim_50steps"]
    assert stage["num_samples"] == 10_000
    assert stage["frechet_distance"] <= 3 * stage["reference"]["frechet_distance_natural"]  # the lower of the two
    assert stage["precision"] >= 0.9 * stage["reference"]["precision"]
    assert stage["recall"] >= 0.9 * stage["reference"]["recall"]


def test_every_row_of_the_seed_reports_table_is_beaten():
    calibration = results_of("mnist")["calibration"]
    assert calibration["num_images"] == 10_000
    assert tuple(calibration["timesteps"]) == SEED_TIMESTEPS
    assert all(ours <= seed for ours, seed in zip(calibration["mse"], SEED_REPORT.mse, strict=True))
    assert all(ours >= seed for ours, seed in zip(calibration["psnr"], SEED_REPORT.psnr, strict=True))


@pytest.mark.slow
def test_the_committed_table_is_what_the_weights_give(mnist_dir):
    model, committed = load_model("mnist"), results_of("mnist")["calibration"]
    images = load_dataset(model.config.data, "test")[:100].scaled()
    for errors in image_errors(model.denoiser(clip=False), model.schedule, images, [111, 666]):
        row = errors.row()
        # 100 of the 10,000 images: the mean of so many differs by some per cent.
        assert row.mse == pytest.approx(committed["mse"][committed["timesteps"].index(row.t)], rel=0.15)


@pytest.mark.slow
def test_the_classifier_is_right_on_more_than_994_of_1000_test_images(mnist_dir):
    test = load_dataset(DataConfig(dataset="mnist", image_size=32), "test")
    assert classifier.accuracy(classifier.load_classifier(), test) >= 0.994


@pytest.mark.slow
def test_conditional_samples_are_the_digits_that_were_asked_for():
    model = load_model("mnist")
    settings = sampling_settings(model.config, num_steps=20)
    images = generate(model, 100, labels=range(10), settings=settings, seed=0, batch_size=50)
    judged = classifier.classify(images).argmax(1)
    assert (judged == torch.arange(10).repeat(10)).double().mean() >= 0.97
