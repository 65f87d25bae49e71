"""What a training will cost, estimated before it starts: parameters, work, memory, steps, and time."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ..config.data_section import DataConfig
from ..config.schema import Config
from ..config.sections import ModelConfig
from ..cost import cost_of
from ..data import ImageSet
from ..datasets import DATASETS
from ..device import resolve_device, resolve_precision
from ..image_folder.reading import Sizes, count_folder
from ..storage.layouts import empty_network
from ..unet import UNet
from .events import Progress
from .loop import TrainState, images_per_step, steps_per_epoch, train
from .trajectories import held_out

BYTES_PER_PARAMETER = 20  # float32 weights, gradients, AdamW's two moments, and the averaged weights


@dataclass(frozen=True)
class Estimate:
    """What can be computed from a config without training a step."""

    parameters: int
    macs: int
    """Multiply-accumulates of one network evaluation of one image; a training step does three times that."""
    memory: int
    """Peak bytes of tensors in a training step; the process and the kernels' scratch space come on top."""
    steps: int
    """Of the whole training."""
    images: int
    """Seen in the whole training."""
    images_per_step: int


def sizes(config: Config) -> Sizes:
    """How many images a training learns from and is validated with; of a distillation, how many walks of its teacher.

    Raises:
        DataError: see ``dataset_sizes``.
    """
    if not config.model.step_counts:
        return dataset_sizes(config.data)
    count = config.training.trajectories
    val = held_out(count, config.data.val_fraction)
    return Sizes(count - val, val, None)


def dataset_sizes(data: DataConfig) -> Sizes:
    """The sizes of the splits that ``load_dataset`` gives, without decoding an image; damaged images count too.

    Raises:
        DataError: the dataset is a folder that is not there, or has too few images.
    """
    if (available := DATASETS[data.dataset].num_train) is None:
        return count_folder(data)
    val = max(1, round(data.val_fraction * available))
    return Sizes(available - val, val, None)


def estimate(config: Config) -> Estimate:
    """Work out the costs of a training; the network is built and run without memory (PyTorch's fake tensors).

    Raises:
        ConfigError: the device or precision cannot be used here.
        DataError: the dataset is a folder that is not there.
    """
    training, train_images = config.training, sizes(config).train
    per_step = images_per_step(train_images, training.batch_size)
    precision = resolve_precision(training.precision, resolve_device(training.device))
    network = empty_network(config)
    parameters, macs = sum(p.numel() for p in network.parameters()), cost_of(network, config.image_shape).macs
    steps = training.epochs * steps_per_epoch(train_images, training.batch_size)
    memory = parameters * BYTES_PER_PARAMETER + _kept(config, per_step, precision)
    return Estimate(parameters, macs, memory, steps, steps * per_step, per_step)


def _kept(config: Config, batch: int, precision: torch.dtype) -> int:
    """Bytes that one forward pass keeps for the backward pass."""
    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}  # keeps the storages alive, so that no address is reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage, storage.nbytes()
        return tensor

    with FakeTensorMode():
        network = UNet(**config.network_arguments())
        x = torch.empty(batch, *config.image_shape)
        t = torch.zeros(batch, dtype=torch.long)
        with (
            torch.autocast("cpu", precision, enabled=precision != torch.float32),
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            network(x, t)
        own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    return sum(size for address, (_, size) in kept.items() if address not in own)


def free_memory(config: Config) -> int:
    """Bytes that are free now on the device that ``config`` trains on: the GPU's, else the machine's."""
    device = resolve_device(config.training.device)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def measure_speed(config: Config, seconds: float = 1.5) -> float:
    """The current training speed on this machine, images per second: the median of real steps on random images.

    Takes about ``seconds``; if a whole batch would take longer, part of one is measured.
    """
    whole = images_per_step(sizes(config).train, config.training.batch_size)
    few = _speeds(config, min(8, whole), seconds / 4)
    batch = max(min(8, whole), min(whole, int(few * seconds / 4)))
    return _speeds(config, batch, seconds)


def as_costly(model: ModelConfig) -> ModelConfig:
    """A model whose training steps take as long: of a student, that of its teacher."""
    return model.model_copy(update={"step_counts": ()})


def _speeds(config: Config, batch_size: int, seconds: float) -> float:
    often = {"batch_size": batch_size, "epochs": 100, "log_every": 1, "val_every": 10**9, "sample_every": 10**9,
             "compile": False}  # fmt: skip
    config = config.model_copy(update={"training": config.training.model_copy(update=often)})
    images = torch.randint(0, 256, (batch_size, *config.image_shape), dtype=torch.uint8)
    random = ImageSet(images, torch.zeros(len(images), dtype=torch.long))
    config = config.model_copy(update={"model": as_costly(config.model)})
    speeds: list[float] = []
    started = time.perf_counter()
    for event in train(TrainState(config), random, random[:1]):
        if isinstance(event, Progress):
            speeds.append(event.images_per_second)
        if len(speeds) >= 2 and time.perf_counter() - started > seconds:
            break
    return statistics.median(speeds[1:])  # the first step includes one-time costs
