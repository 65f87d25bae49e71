"""How many threads there are to compute with, and steps that never wait for a device."""

import dataclasses
import math
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpm.config import SamplingConfig
from ddpm.data import load_dataset
from ddpm.device import THREADS, allowed_cores
from ddpm.diffusion import loss_weights
from ddpm.sampling import sample
from ddpm.training.loop import TrainState, _train_step, _Window


@pytest.mark.parametrize(
    ("content", "cores"), [("200000 100000\n", 2), ("50000 100000\n", 0.5), ("max 100000\n", math.inf)]
)
def test_a_container_computes_with_the_cores_it_was_given(tmp_path, content, cores):
    (tmp_path / "cpu.max").write_text(content)
    assert allowed_cores(tmp_path / "cpu.max") == cores


def test_where_nothing_limits_it_every_core_counts(tmp_path):
    assert allowed_cores(tmp_path / "missing") == math.inf
    assert 1 <= THREADS <= torch.get_num_threads()


# -- a device whose numbers cannot be read -------------------------------------------------------------------------

META = torch.device("meta")  # which refuses to tell a value, as a GPU would refuse to tell it without waiting


class NothingMoves(TorchDispatchMode):
    """Refuses every copy between the CPU and another device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {tensor.device for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        made = {tensor.device for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)}
        assert not given or made <= given, f"{function} copies from {given} to {made}"
        return result


def test_a_training_step_waits_for_no_device(tiny_config, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *settings, **more: nullcontext())  # which does not know this device
    state = TrainState(tiny_config(data__horizontal_flip=True))
    images, schedule = load_dataset(state.config.data, "train")[torch.arange(64)], state.config.schedule.build()
    state.device = META
    state.model.to(META).train()
    state.ema.model.to(META)
    state.optimizer = torch.optim.AdamW(state.model.parameters())
    weights, window = loss_weights(schedule, "v", "min_snr"), _Window(META)
    batch = images.images.to(META), images.labels.to(META)

    def step(weights: torch.Tensor) -> None:
        _train_step(state, state.model, schedule, weights, *batch, 1e-3, window)

    there = weights.to(META, torch.float32)
    step(there)
    with NothingMoves():
        step(there)
    with pytest.raises(AssertionError, match="copies from"), NothingMoves():
        step(weights)


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m"])
def test_a_step_of_a_sampler_waits_for_no_device(random_model, sampler):
    model = random_model()
    model = dataclasses.replace(model, network=model.network.to(META))
    settings = SamplingConfig(sampler=sampler, num_steps=5, guidance_scale=2, guidance_interval=(5, 12))
    steps = sample(model, 4, labels=[3], settings=settings)
    next(steps)  # the noise is drawn on the CPU, the schedule copied once
    with NothingMoves():
        assert len(list(steps)) == 5
