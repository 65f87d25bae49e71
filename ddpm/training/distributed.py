"""Several processes that train one model: data-parallel, started by ``torchrun``.

Every process draws the randomness of the whole global batch and computes its share of it, so that order, noise,
timesteps and label dropout, and with them the learning curve, do not depend on their number. Gradients are
averaged by DistributedDataParallel (Li et al. 2020, arXiv:2006.15704). Process 0 leads: it alone locks, writes, prints.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..config.sections import TrainingConfig
from ..device import resolve_device
from ..errors import ConfigError, DDPMError, one_line

# torchrun ends all processes when one dies, so no timeout is needed to notice it; and process 0 may take long to draw.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class World:
    """The processes that train together. By default a single one, for which every method does nothing."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """This process's number on its machine, which is also that of its GPU."""
    store: dist.Store | None = field(default=None, repr=False, compare=False)
    restarts: bool = False
    """Whether torchrun starts all processes again when one of them has died (``--max-restarts``)."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process: its own GPU if the config says cuda.

        Raises:
            ConfigError: the config names one GPU for several processes, or a kind that cannot be shared.
        """
        device = resolve_device(name)
        if self.size == 1:
            return device
        if device.type not in ("cpu", "cuda") or device.index is not None:
            raise ConfigError(f"training.device {name} is for one process, not for {self.size}: use auto, cpu or cuda")
        if device.type == "cuda":
            device = resolve_device(f"cuda:{self.local_rank}")
            torch.cuda.set_device(device)
        return device

    def share(self, count: int) -> slice:
        """Which of ``count`` images this process takes: contiguous, at most one more than another's."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def check(self, training: TrainingConfig, num_images: int) -> None:
        """Refuse a batch that the processes cannot share equally: the mean of their means would not be its mean."""
        batch, size = training.batch_size, self.size
        if num_images < batch and num_images % size:
            raise ConfigError(
                f"training.batch_size {batch}: the {num_images} training images are one batch, which must be divisible "
                f"by the number of processes, {size}"
            )
        if num_images >= batch and batch % size:
            lower = batch // size * size
            near = f"{lower} and {lower + size} are" if lower else f"{size} is"
            raise ConfigError(
                f"training.batch_size {batch} must be divisible by the number of processes, {size}: {near}"
            )

    def parallel(self, model: nn.Module) -> nn.Module:
        """The network to train: shares its parameters with ``model``, and averages gradients over the processes."""
        return model if self.size == 1 else nn.parallel.DistributedDataParallel(model)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same in each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process. Exchanged on the CPU, so as not to wait for a GPU."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))).item())

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """Let one process on every machine go first, for example to download what the others then find."""
        if self.size > 1 and self.local_rank:
            self.any(False)
        yield
        if self.size > 1 and not self.local_rank:
            self.any(False)

    def cause(self, error: BaseException) -> tuple[int, str]:
        """The rank of the process that failed first, and its error: the others only lost their connection to it."""
        mine = one_line(lost_others(error))
        if self.store is None:
            return self.rank, mine
        try:
            rank, text = self.store.compare_set("ddpm/error", "", f"{self.rank} {mine}").decode().split(" ", 1)
        except dist.DistError:  # torchrun itself is gone
            return self.rank, mine
        return int(rank), text


def lost_others(error: BaseException) -> BaseException:
    """The error to show, if ``error`` says that a collective operation lost the other processes."""
    lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    return DDPMError("lost the other processes") if lost else error


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that ``torchrun`` started, found by its environment variables; without them, run alone.

    An error in one process ends all; the first to fail raises its own, the others exit with 1 silently.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    # Not how often they were started again: the machines do not count alike.
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if size == 1:
        yield World(restarts=restarts)
        return
    store, rank, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
    world = World(rank, size, int(os.environ["LOCAL_RANK"]), store, restarts)
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        yield world
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends all now, but this one has an error to report
        if world.cause(error)[0] != rank:
            raise SystemExit(1) from None
        raise lost_others(error) from None
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one
