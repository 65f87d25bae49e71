"""What an earlier version has left on disk goes on working: tests/stored/run, a run of version 0.1 before schedules,
samplers and datasets were registered, with its evaluation and four pictures."""

import shutil

import numpy as np
import pytest
import torch

import ddpm
from ddpm.config import load_config
from ddpm.evaluation.results import find_results, sample_stages
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from ddpm.models import load_model
from ddpm.training.history import read_history
from ddpm.training.run import Run
from tests.conftest import ROOT


@pytest.fixture
def stored(output_dir):
    shutil.copytree(ROOT / "tests" / "stored" / "run", output_dir / "stored")
    return RunFolder.named("stored")


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun", "dpmpp_2m"])
def test_the_pictures_of_a_seed_are_the_same(stored, sampler):
    model = load_model("run:stored")
    settings = model.config.sampling.model_copy(update={"sampler": sampler, "eta": 0.5})
    images = ddpm.generate(model, 4, labels=[1, 2], seed=3, settings=settings)
    before = torch.from_numpy(np.load(stored.path / "pictures.npz")[sampler])
    assert (images - before).abs().max() < 1e-4  # another processor rounds otherwise


def test_the_config_the_records_and_the_evaluation_are_read(stored, open_page):
    config = load_config(stored.config)
    assert config.schedule.cosine_s == 0.008
    assert (config.sampling.eta, config.sampling.variance) == (0.0, "fixed_small")
    assert read_status(stored).state == "finished"
    assert len(read_history(stored.metrics).csv()) > 100
    results = find_results(load_model("run:stored"))
    assert set(sample_stages(results)) == {"ddim_5steps"}
    app = open_page("pages/evaluate.py", eval_model="run:stored")
    assert not app.error
    assert app.dataframe


def test_it_goes_on_from_its_checkpoint(stored):
    longer = load_config(stored.config, ["training.epochs=2"])
    with Run(longer, stored, resume=True) as run:
        steps = [event.step for event in run.events()]
    assert steps[0] > read_history(ROOT / "tests/stored/run/logs/training_metrics.jsonl").training[-1]["step"]
    assert read_status(stored).state == "finished"
