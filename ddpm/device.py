"""Where and how networks compute: device, precision, CPU cores, compilation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import ConfigError, DDPMError, one_line, unknown


def allowed_cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """How many cores' worth of CPU time a container may use, infinity if there is no limit. torch counts the host's
    cores, and threads beyond the limit wait for each other at every layer."""
    try:
        quota, period = limit.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file: no container, or cgroups of another version; "max": no limit
        return float("inf")


THREADS = max(1, int(min(torch.get_num_threads(), allowed_cores())))
"""Threads that this process started with: one for each core it may use, unless $OMP_NUM_THREADS says fewer."""


def over_cores(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Split a function's batch over the CPU's cores, for work in which no image depends on another.

    OpenMP's threads wait for each other at every layer, and they spin while they wait. On a busy machine the system
    suspends one of them for another process, all others spin until it is back, and one image took 16 times as long.
    Here one thread computes each part of the batch and waits for no other. There are as many parts as
    ``torch.get_num_threads()`` says in the calling thread, and no more than images; a function called within a part
    computes in that part's thread.

    Args:
        function: takes tensors (B, ...), any of which may be None, all on one device; returns (B, ...). On any device
            but a CPU it gets them whole. It inherits the caller's inference mode and gradient recording; any other mode
            it has to enter itself.
    """

    def split(*batch: Tensor | None) -> Tensor:
        cores, given = torch.get_num_threads(), next(tensor for tensor in batch if tensor is not None)
        if cores == 1 or given.device.type != "cpu":
            return function(*batch)
        size = -(-len(given) // cores)  # rounded up
        starts = range(0, len(given), size)
        inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

        def part(start: int) -> Tensor:
            with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
                return function(*(None if tensor is None else tensor[start : start + size] for tensor in batch))

        others = [_workers().submit(part, start) for start in starts[1:]]
        torch.set_num_threads(1)  # of this thread, which computes the first part
        try:
            first = part(0)
        finally:
            torch.set_num_threads(cores)
            done = [other.result() for other in others]
        return torch.cat([first, *done]) if done else first

    return split


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "core", initializer=torch.set_num_threads, initargs=(1,))


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA when there, else MPS, else the CPU; any other name is checked.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(f"device {name!r} is not available here: use auto, cpu, cuda, cuda:N or mps") from None
    return device


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished its work; kernel launches return before it is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of mixed precision; float32 means none.

    ``auto``: bf16 where the hardware multiplies it (CPUs with AVX512-BF16 or AMX, CUDA from Ampere on), fp16 on older
    CUDA, else fp32.

    Raises:
        ConfigError: an unknown name, or fp16 where there is no CUDA.
    """
    if name not in ("auto", *PRECISIONS):
        raise ConfigError(unknown("precision", name, ("auto", *PRECISIONS)))
    if name == "fp16" and device.type != "cuda":
        raise ConfigError("precision fp16 needs a CUDA device; use auto, bf16 or fp32")
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        if features.get("avx512_bf16") or features.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32


# -- a compiled network ---------------------------------------------------------------------------------------------


class Compiled(nn.Module):
    """A network compiled with ``torch.compile``: the same parameters, and the same output but for rounding.

    The first call with a shape, and the first backward pass, take a minute or more. Worth it for a long training or for
    thousands of images on a GPU, where launching a small network's many small kernels takes longer than running them.

    Args:
        network: (x_t, t, y) -> output.
        graphs: whether CUDA replays the kernels of a call as one graph. Off when several processes train together:
            with DistributedDataParallel, graphs have crashed (https://github.com/pytorch/pytorch/issues/128218).

    Raises:
        DDPMError: on a call, if this machine has nothing to compile with.
    """

    def __init__(self, network: nn.Module, *, graphs: bool = True):
        super().__init__()
        self.network = network
        self.graphs = graphs and next(network.parameters()).device.type == "cuda"
        mode = "reduce-overhead" if self.graphs else None
        self._call = torch.compile(network, fullgraph=True, mode=mode).__call__  # not registered as a second module

    @property
    def null_label(self) -> int | None:
        return self.network.null_label

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, n: Tensor | None = None) -> Tensor:
        """Shapes as in ``ddpm.unet.UNet``."""
        try:
            output = self._call(x, t, y) if n is None else self._call(x, t, y, n)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise DDPMError(
                f"the network cannot be compiled here ({one_line(error.inner_exception)}): torch.compile needs a C++ "
                "compiler, for a GPU Triton as well; without it, leave training.compile or --compile out"
            ) from None
        # A graph writes its output to the same place every time, and a sampler's caller may keep a step.
        return output.clone() if self.graphs and not torch.is_grad_enabled() else output
