"""The costs of a training, against the real network, the real loop, and a real process's memory."""

import os
import subprocess
import sys

import pytest
import torch

from ddpm.config import load_config
from ddpm.data import load_dataset
from ddpm.datasets import DATASETS
from ddpm.errors import ConfigError, DataError
from ddpm.image_folder.reading import count_folder
from ddpm.training.estimate import BYTES_PER_PARAMETER, estimate, measure_speed
from ddpm.training.loop import TrainState, train
from ddpm.unet import UNet
from tests.conftest import ROOT


@pytest.mark.slow
def test_parameters_and_steps_are_those_of_the_real_training(tiny_config):
    config = tiny_config(training__epochs=2)
    told = estimate(config)
    state = TrainState(config)
    assert told.parameters == sum(p.numel() for p in state.model.parameters())
    last = list(train(state, load_dataset(config.data, "train"), load_dataset(config.data, "val")))[-1]
    assert told.steps == last.step
    assert told.images == told.steps * config.training.batch_size


def test_the_work_of_a_convolution_is_counted_by_hand(tiny_config):
    """One level, no attention: every multiplication is in a convolution or a linear layer whose sizes are known."""
    config = tiny_config(model__channel_mult=[1], model__attention_resolutions=[], model__num_classes=0)
    pixels = config.data.image_size**2
    macs = 0
    for module in UNet(**config.network_arguments()).modules():
        if isinstance(module, torch.nn.Conv2d):
            macs += pixels * module.weight.numel()
        elif isinstance(module, torch.nn.Linear):
            macs += module.weight.numel()
    assert estimate(config).macs == macs


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_the_table_knows_how_many_images_a_dataset_has(dataset, request, tiny_config):
    if dataset == "mnist":
        request.getfixturevalue("mnist_dir")
    config = tiny_config(data__dataset=dataset).data
    images = sum(len(load_dataset(config, split, download=False)) for split in ("train", "val"))
    assert images == DATASETS[dataset].num_train


@pytest.mark.slow
def test_a_folder_is_counted_without_reading_it(tiny_config, tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.png").write_bytes(b"never read %d" % i)
    config = tiny_config(data__dataset="folder", data__path=str(tmp_path), model__num_classes=0, training__batch_size=8)
    assert estimate(config).steps == count_folder(config.data).train // 8
    with pytest.raises(DataError, match="is not a folder"):
        estimate(tiny_config(data__dataset="folder", data__path=str(tmp_path / "none"), model__num_classes=0))


@pytest.mark.slow
def test_a_set_smaller_than_the_batch_costs_what_its_images_cost(tiny_config):
    """1,350 images under a batch of 8,192: one step an epoch, of 1,350 images."""
    small, large = tiny_config(training__batch_size=1350), tiny_config(training__batch_size=8192)
    assert estimate(large) == estimate(small)
    assert estimate(large).images == estimate(large).images_per_step == 1350


def test_the_speed_of_a_small_set_is_measured_on_steps_of_its_size(tiny_config, tmp_path, monkeypatch):
    for i in range(22):
        (tmp_path / f"{i:02}.png").write_bytes(b"never read %d" % i)
    config = tiny_config(
        data__dataset="folder", data__path=str(tmp_path), model__num_classes=0, training__batch_size=8192
    )
    seen = []
    monkeypatch.setattr("ddpm.training.estimate._speeds", lambda config, batch, seconds: seen.append(batch) or 1e6)
    measure_speed(config)
    assert seen == [8, count_folder(config.data).train]


MEMORY = """
import sys, torch
from pathlib import Path
from ddpm.config import load_config, with_overrides
from ddpm.data import ImageSet
from ddpm.training.events import Progress
from ddpm.training.loop import TrainState, train
config = with_overrides(load_config(sys.argv[1]), [f"training.batch_size={sys.argv[2]}", "training.log_every=1"])
count = config.training.batch_size
images = ImageSet(torch.zeros(count, *config.image_shape, dtype=torch.uint8), torch.zeros(count, dtype=torch.long))
steps = (event for event in train(TrainState(config), images, images[:1]) if isinstance(event, Progress))
next(steps), next(steps)
if sys.platform == "linux":  # where ru_maxrss is also that of the process which started this one
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_grows_with_the_batch_as_told():
    """What the kernels need for themselves comes on top of the tensors: up to as much again."""
    path = ROOT / "configs" / "mnist.yaml"

    def peak(batch: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), str(batch)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout)

    def told(batch: int) -> int:
        config = load_config(path, [f"training.batch_size={batch}"])
        return estimate(config).memory

    ratio = (peak(192) - peak(64)) / (told(192) - told(64))
    # Below 1 where loading the libraries took more memory than the steps of the smaller batch.
    assert 0.3 < ratio < 2
    assert told(64) > BYTES_PER_PARAMETER * 3_000_000


def test_the_speed_is_measured_and_leaves_nothing(tiny_config, output_dir):
    assert measure_speed(tiny_config(), seconds=0.2) > 10
    assert not output_dir.exists()


def test_a_device_that_is_not_here_is_named(tiny_config):
    with pytest.raises(ConfigError, match="cuda:7"):
        estimate(tiny_config(training__device="cuda:7"))
