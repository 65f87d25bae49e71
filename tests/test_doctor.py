"""The doctor finds the fault that was made, and none in healthy models."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from ddpm import load_model
from ddpm.config import config_from_dict, sampling_settings
from ddpm.data import ImageSet, load_dataset
from ddpm.diffusion import target
from ddpm.errors import MetricError
from ddpm.evaluation import doctor, patient
from ddpm.evaluation.doctor import examine
from ddpm.evaluation.wiener import WienerDenoiser
from ddpm.files import RunFolder, write_text
from ddpm.models import Model
from ddpm.schedule import make_schedule


def causes(model: Model, **settings) -> list[str]:
    return [sign.cause for sign in examine(model, sampling_settings(model.config, **settings)) if sign.wrong]


def changed(of: Model, **sections) -> Model:
    """The same network under another config."""
    values = of.config.model_dump(mode="json")
    for name, fields in sections.items():
        values[name] = {**values[name], **fields}
    return Model(config_from_dict(values), of.network, "changed")


class Linear(nn.Module):
    """The best linear denoiser of some images as a network that predicts v; ``told`` is added to the timestep."""

    null_label = None

    def __init__(self, images: torch.Tensor, schedule, told: int = 0):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.denoise, self.schedule, self.told = WienerDenoiser.fit(images, schedule), schedule, told

    def forward(self, x_t, t, y=None):
        t = (t - self.told).clamp(0, self.schedule.num_timesteps - 1)
        found = self.denoise(x_t, t)
        return target(self.schedule, found.x0.float(), found.eps.float(), t, "v")


@pytest.fixture
def linear(tiny_config):
    """A model whose network is linear, made of the digits after ``change``; 20 timesteps."""

    def make(change=lambda images: images, told: int = 0) -> Model:
        config = tiny_config(schedule={"name": "cosine", "num_timesteps": 20}, model__num_classes=0)
        train: ImageSet = load_dataset(config.data, "train")
        schedule = make_schedule("cosine", 20)
        return Model(config, Linear(change(train.images), schedule, told), "linear")

    return make


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_shipped_models_are_healthy(name, mnist_dir):
    assert causes(load_model(name)) == []


@pytest.mark.parametrize("kind", ["eps", "u", "x0"])
def test_an_output_that_is_read_as_another_is_named_first(kind):
    model = changed(load_model("digits"), diffusion={"prediction_type": kind})
    signs = [sign for sign in examine(model) if sign.wrong]
    if kind != "u":  # which v is nearly, but for its length
        assert signs[0].cause == "the output is read as what it is not"
        assert "to v" in signs[0].remedy


def test_images_of_another_range_are_found(linear):
    assert "the images had another range in training" not in causes(linear())
    halved = linear(lambda images: (images.float() / 2 + 127.5).round().byte())  # [0, 1] as levels of [-1, 1]
    assert causes(halved)[0] == "the images had another range in training"


def test_a_timestep_too_many_is_found(linear):
    assert "timesteps are counted from another number" not in causes(linear())
    assert causes(linear(told=1))[0] == "timesteps are counted from another number"
    assert causes(linear(told=-1))[0] == "timesteps are counted from another number"


def test_mirrored_digits_are_found(linear):
    both = linear(lambda images: torch.cat([images, images.flip(-1)]))
    assert causes(both)[0] == "it was trained on mirrored images"


def test_a_schedule_that_keeps_signal_and_a_late_start_are_told_apart():
    model = load_model("digits")
    short = changed(model, schedule={"num_timesteps": 10}, sampling={"num_steps": 10, "guidance_interval": None})
    assert causes(short)[0] == "the schedule leaves signal at its end"
    assert causes(model, spacing="leading", num_steps=2)[0] == "the first step is not at T - 1"


def test_guidance_is_judged_by_what_it_does_to_the_predictions():
    digits = load_model("digits")
    assert causes(digits, guidance_scale=8.0) == ["guidance is far too high"]
    undropped = changed(digits, training={"label_dropout": 0.0})
    assert causes(undropped) == ["guidance needs a network that knows images without a label"]
    assert causes(undropped, guidance_scale=1.0) == []


def test_a_network_that_remembers_is_found(monkeypatch):
    model = load_model("digits")
    train, test, digest = doctor.splits(model.config.data)
    known = nearest_of(train.scaled()[: patient.IMAGES], model.schedule)
    monkeypatch.setattr(doctor, "splits", lambda config: (train, test, digest))
    remembering = changed(model, model={"num_classes": 0}, sampling={"guidance_scale": 1.0})
    assert "it remembers its training images" in causes(Model(remembering.config, known, "remembers"))


def nearest_of(images, schedule) -> nn.Module:
    """The exact optimum for some images: every prediction is their weighted mean."""

    class Optimum(nn.Module):
        null_label = None

        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x_t, t, y=None):
            a, s = schedule.scales(t, x_t)
            away = (x_t.flatten(1)[:, None] - a.flatten(1)[:, None] * images.flatten(1)).square().sum(2)
            x0 = ((-away / (2 * s.flatten(1) ** 2)).softmax(1) @ images.flatten(1)).view_as(x_t)
            return target(schedule, x0, (x_t - a * x0) / s, t, "v")

    return Optimum()


def test_a_sign_that_cannot_be_looked_at_is_said(monkeypatch):
    def too_large(*_):
        raise MetricError("too many pixels")

    monkeypatch.setattr(patient.WienerDenoiser, "fit", too_large)
    signs = examine(load_model("digits"))
    (sign,) = [sign for sign in signs if sign.measured.startswith("not looked at")]
    assert (sign.wrong, sign.measured) == (False, "not looked at: too many pixels")


def test_the_curves_of_a_run_are_looked_at(tmp_path):
    run = RunFolder(tmp_path / "rising")
    records = [{"step": step, "epoch": step, "train_loss": 1 / step} for step in range(1, 60)]
    records += [{"step": step, "epoch": step, "val_loss": 0.1 + abs(step - 20) / 100} for step in range(5, 60, 5)]
    write_text(run.metrics, "\n".join(map(json.dumps, records)) + "\n")
    digits = replace(load_model("digits"), weights=run.checkpoint("ema"))
    (sign,) = [sign for sign in examine(digits) if sign.wrong]
    assert sign.cause == "the curves of its training warn"
    assert sign.measured.startswith("The validation loss has risen since step 20")
    assert "ckpts/best.pt" in sign.remedy


def test_weights_that_are_no_numbers_and_models_that_cannot_be_examined(random_model):
    model = random_model()
    next(model.network.parameters()).fill_(float("nan"))
    assert causes(model) == ["the training diverged"]
    with pytest.raises(MetricError, match="is distilled"):
        examine(load_model("mnist-fast"))


def test_an_untrained_network_has_learned_too_little(random_model):
    assert "it has learned too little, or its training diverged" in causes(random_model())


def test_the_command_names_the_likely_cause_first(cli):
    found = cli("doctor", "--model", "digits", "--guidance-scale", "8")
    assert found.code == 0, found.err
    assert found.out.startswith("Likely cause: guidance is far too high")
    assert "Remedy: " in found.out
    healthy = cli("doctor", "--model", "digits")
    assert healthy.out.startswith("No sign of a fault")
    assert cli("doctor", "--model", "mnist-fast").code == 1
