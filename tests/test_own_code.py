"""The library as somebody uses it from a script: arrays in, a model out, and nothing silently wrong on the way."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import ddpm
from ddpm.config import SamplingConfig
from ddpm.errors import ConfigError, DataError, ModelError
from ddpm.evaluation.classifier import classify, load_classifier
from tests.conftest import ROOT

ARRAYS = {
    "name": "mine",
    "data": {"dataset": "arrays", "image_size": 8},
    "schedule": {"num_timesteps": 20},
    "diffusion": {"prediction_type": "v"},
    "model": {"base_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": []},
    "training": {"epochs": 2, "batch_size": 16, "precision": "fp32", "device": "cpu"},
    "sampling": {"num_steps": 5},
}


@pytest.mark.slow
def test_the_example_of_the_docs_learns_what_it_says(tmp_path):
    script = ROOT / "docs" / "own_code.py"
    assert len(script.read_text().splitlines()) <= 80
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1]
    dark, light, whiter, distance = map(float, re.findall(r"-?\d+\.\d+", said))
    assert dark < -0.2 < 0.2 < light, said
    assert whiter > 0.1, said
    assert distance < 0.3, said


def test_training_on_arrays_says_what_it_learned_from_and_is_the_same_twice(tmp_path):
    images = ddpm.ImageSet.from_arrays(torch.rand(40, 8, 8), [k % 2 for k in range(40)], class_names=["a", "b"],
                                       value_range=(0, 1))  # fmt: skip
    config = ddpm.Config(**ARRAYS | {"model": ARRAYS["model"] | {"num_classes": 2}})
    first, second = ddpm.train(config, images), ddpm.train(config, images)
    steps = [event.step for event in first if hasattr(event, "train_loss")]
    list(second)
    assert steps[-1] == 2 * (38 // 16)
    first.model.save(tmp_path / "first")
    loaded = ddpm.load_model(str(tmp_path / "first"))
    assert loaded.config.data.dataset == "arrays"
    assert loaded.class_names == ("a", "b")
    assert torch.equal(ddpm.generate(loaded, 2), ddpm.generate(second.model, 2))


@pytest.mark.parametrize(
    ("count", "size", "changes", "message"),
    [
        (1, 8, {}, "1 images are too few"),
        (8, 9, {}, "image_size.* 9 must be divisible by 2"),
        (8, 8, {"num_classes": 2}, "model.num_classes is 2, but the dataset has no labels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(count, size, changes, message):
    config = ddpm.Config(**ARRAYS | {"model": ARRAYS["model"] | changes})
    with pytest.raises((ConfigError, DataError), match=message):
        list(ddpm.train(config, ddpm.ImageSet.from_arrays(torch.rand(count, size, size), value_range=(0, 1))))


def test_a_config_made_in_python_names_its_faults():
    with pytest.raises(ConfigError, match=r"SamplingConfig: sampling.eta: must be less than or equal to 1, got 2"):
        SamplingConfig(eta=2)
    with pytest.raises(ConfigError, match=r"Config: training.epochs: must be greater than or equal to 1, got 0"):
        ddpm.Config(training={"epochs": 0})


def last_of(model, *args, **kwargs):
    *_, last = ddpm.sample(model, *args, **kwargs)
    return last.x0


def test_each_image_has_its_seed_and_its_guidance(random_model):
    model = random_model()
    together = last_of(model, seeds=[7, 3], labels=[1, 2], guidance=[1.0, 3.0])
    named = ((7, 1, 1.0), (3, 2, 3.0))
    alone = [last_of(model, 1, seed=seed, labels=[label], guidance=scale) for seed, label, scale in named]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_labels_of_numpy_and_none_among_labels(random_model):
    model = random_model()
    assert torch.equal(last_of(model, 2, labels=np.array([1, 2])), last_of(model, 2, labels=[1, 2]))
    assert torch.equal(last_of(model, 2, labels=[1, None]), last_of(model, 2, labels=[1, -1]))


def test_from_an_image_the_sampler_starts_where_it_is_told(random_model):
    model = random_model()
    init = torch.rand(2, *model.config.image_shape) * 2 - 1
    steps = list(ddpm.sample(model, 2, init=init, start=9))
    assert [step.t for step in steps] == [*ddpm.spaced_timesteps(10, 5), -1]
    noise = torch.stack([step.x_t for step in ddpm.sample(model, 2)][:1])[0]  # pure noise of the same seed
    at = torch.full((2,), 9)
    assert torch.allclose(steps[0].x_t, ddpm.q_sample(model.schedule, init, at, noise), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1.0}, "a seed must be a whole number, got 1.0"),
        ({"seed": torch.Generator()}, "a seed must be a whole number"),
        ({"seeds": [1, 2], "indices": [0, 1]}, "seeds and indices exclude each other"),
        ({"guidance": [1.0, 2.0, 3.0]}, r"one for each of 2 images, got \(3,\)"),
        ({"init": torch.zeros(2, 1, 8, 8)}, "start must be a timestep, 0 to 19, got None"),
        ({"init": torch.zeros(3, 1, 8, 8), "start": 3}, r"init must be floats \(2, 1, 8, 8\)"),
        ({"init": torch.full((2, 1, 8, 8), 255.0), "start": 3}, r"in \[-1, 1\]"),
        ({"init": torch.zeros(2, 1, 8, 8), "start": 20}, "start must be a timestep, 0 to 19, got 20"),
        ({"labels": [0.5]}, "labels must be whole numbers"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(random_model, arguments, message):
    with pytest.raises(ConfigError, match=message):
        ddpm.sample(random_model(), 2, **arguments)


def test_steps_and_classifier_may_be_used_where_gradients_are(random_model, mnist_dir):
    model = random_model()
    *_, last = ddpm.sample(model, 2)
    weight = torch.ones(1, requires_grad=True)
    (weight * last.x0).sum().backward()
    load_classifier.cache_clear()
    images = torch.zeros(2, 1, 32, 32)
    classify(images)
    x = images.clone().requires_grad_()
    load_classifier()(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_timestep_below_zero_is_no_timestep():
    schedule = ddpm.make_schedule()
    with pytest.raises(ConfigError, match="t must be 0 to 999, got -1"):
        ddpm.q_sample(schedule, torch.zeros(1, 1, 8, 8), torch.tensor([-1]), torch.zeros(1, 1, 8, 8))


def test_heun_takes_a_plain_pair(random_model):
    model, noise = random_model(), torch.randn(1, 1, 8, 8)
    denoise, timesteps = model.denoiser(), ddpm.spaced_timesteps(20, 5)
    heun = ddpm.SAMPLERS["heun"].function
    *_, ours = heun(denoise, model.schedule, timesteps, lambda: noise)
    *_, plain = heun(lambda x, t: tuple(denoise(x, t)), model.schedule, timesteps, lambda: noise)
    assert torch.equal(ours.x0, plain.x0)


def test_a_guidance_of_the_wrong_form_is_refused(random_model):
    with pytest.raises(ConfigError, match=r"guidance_scale must be a number or \(B,\)"):
        random_model().denoiser(torch.tensor([0]), guidance_scale=torch.ones(1, 1, 1, 1))


def test_a_run_that_has_ended_cannot_be_stopped(cli, tiny_run):
    for action in ("stop", "kill"):
        assert "run tiny is finished already: there is nothing to end" in cli("runs", action, "tiny").err


def test_a_dataset_that_only_a_program_has_is_not_offered(open_page, tmp_path):
    app = open_page("pages/train.py")
    assert "arrays" not in app.selectbox(key="train_data_dataset").options
    training = ddpm.train(ddpm.Config(**ARRAYS), ddpm.ImageSet.from_arrays(torch.rand(8, 8, 8), value_range=(0, 1)))
    training.model.save(tmp_path / "m")
    with pytest.raises(DataError, match="nothing says which images this model learned from"):
        ddpm.load_dataset(ddpm.load_model(str(tmp_path / "m")).config.data, "test")
    with pytest.raises(ModelError, match="no model at"):
        ddpm.load_model(str(tmp_path / "nothing"))
