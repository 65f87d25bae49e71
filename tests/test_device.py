"""How many threads there are to compute with, how they share a batch, and steps that never wait for a device."""

import dataclasses
import math
import threading
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.data import load_dataset
from ddpm.device import THREADS, allowed_cores, over_cores
from ddpm.evaluation.calibration import image_errors
from ddpm.evaluation.classifier import classify, extract_features
from ddpm.models import load_model
from ddpm.sampling import generate, sample
from ddpm.training.loop import TrainState, _train_step, _Window
from ddpm.training.objective import objective_of


@pytest.mark.parametrize(
    ("content", "cores"), [("200000 100000\n", 2), ("50000 100000\n", 0.5), ("max 100000\n", math.inf)]
)
def test_a_container_computes_with_the_cores_it_was_given(tmp_path, content, cores):
    (tmp_path / "cpu.max").write_text(content)
    assert allowed_cores(tmp_path / "cpu.max") == cores


def test_where_nothing_limits_it_every_core_counts(tmp_path):
    assert allowed_cores(tmp_path / "missing") == math.inf
    assert 1 <= THREADS <= torch.get_num_threads()


# -- one thread for every part of a batch --------------------------------------------------------------------------


@pytest.fixture
def three_cores():
    """This thread computes with three threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("images", "parts"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (4, [2, 2]), (64, [22, 22, 20])])
def test_every_part_of_a_batch_has_a_thread_of_its_own(three_cores, images, parts):
    seen = []

    def double(x, nothing):
        assert nothing is None
        assert torch.get_num_threads() == 1  # no barrier at any layer
        assert torch.equal(over_cores(lambda y: y + 1)(x), x + 1)  # called within a part, it stays in its thread
        seen.append((len(x), threading.get_ident()))
        return 2 * x

    x = torch.arange(images)[:, None]
    assert torch.equal(over_cores(double)(x, None), 2 * x)
    assert torch.get_num_threads() == 3
    assert sorted((count for count, _ in seen), reverse=True) == parts
    assert threading.get_ident() in {thread for _, thread in seen}


def test_a_batch_that_is_split_is_computed_in_the_modes_of_its_caller(three_cores):
    x, modes = torch.ones(6, 1, requires_grad=True), []

    def look(part):
        modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return part.square()

    over_cores(look)(x).sum().backward()
    assert torch.equal(x.grad, torch.full((6, 1), 2.0))
    with torch.inference_mode():
        over_cores(look)(x)
    with torch.no_grad():
        over_cores(look)(x)
    assert modes == [(False, True)] * 3 + [(True, False)] * 3 + [(False, False)] * 3


def test_an_error_in_a_part_is_the_callers(three_cores):
    def refuse(x):
        raise ZeroDivisionError(int(x[0]))

    with pytest.raises(ZeroDivisionError):
        over_cores(refuse)(torch.arange(6))
    assert torch.get_num_threads() == 3


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["mnist", "digits"])
def test_pictures_do_not_depend_on_how_many_cores_share_them(three_cores, reference):
    model = load_model(reference)
    settings = sampling_settings(model.config, num_steps=5)
    split = generate(model, 5, labels=[3, 8], settings=settings)
    torch.set_num_threads(1)
    assert (split - generate(model, 5, labels=[3, 8], settings=settings)).abs().max() < 1e-5


def test_calibration_and_the_classifier_do_not_depend_on_how_many_cores_share_them(three_cores, random_model):
    model, images = random_model(), torch.rand(7, 1, 8, 8) * 2 - 1
    digits = torch.rand(7, 1, 32, 32) * 2 - 1

    def found():
        errors = image_errors(model.denoiser(clip=False), model.schedule, images, [3, 15])
        return [each.row() for each in errors], classify(digits), extract_features(digits)

    shared = found()
    torch.set_num_threads(1)
    alone = found()
    for row, other in zip(shared[0], alone[0], strict=True):
        assert dataclasses.astuple(row) == pytest.approx(dataclasses.astuple(other), rel=1e-4, abs=1e-5)
    torch.testing.assert_close(shared[1:], alone[1:])


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


@pytest.mark.slow
def test_a_training_step_waits_for_no_device(tiny_config, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *settings, **more: nullcontext())  # which does not know this device
    state = TrainState(tiny_config(data__horizontal_flip=True))
    images = load_dataset(state.config.data, "train")[torch.arange(64)]
    state.device, state.objective = META, objective_of(state.config, META)
    state.model.to(META).train()
    state.ema.model.to(META)
    state.optimizer = torch.optim.AdamW(state.model.parameters())
    batch, window = images.to(META), _Window(META)
    step = partial(_train_step, state, state.model, batch, 1e-3, window)
    step()
    with NothingMoves():
        step()
    state.objective.weights = torch.ones(1000)
    with pytest.raises(AssertionError, match="copies from"), NothingMoves():
        step()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m"])
def test_a_step_of_a_sampler_waits_for_no_device(random_model, sampler):
    model = random_model()
    model = dataclasses.replace(model, network=model.network.to(META))
    settings = SamplingConfig(sampler=sampler, num_steps=5, guidance_scale=2, guidance_interval=(5, 12))
    steps = sample(model, 4, labels=[3], settings=settings)
    next(steps)  # the noise is drawn on the CPU, the schedule copied once
    with NothingMoves():
        assert len(list(steps)) == 5
