"""Who is measured: ours as it is shipped, and four networks of the peers, each in its own best setting.

diffusers' ``UNet2DModel`` and denoising-diffusion-pytorch's ``Unet`` (lucidrains) come in two sizes each: with as many
parameters as ours, and with as many multiplications, both within 10 %. All of them draw 32x32 grey images without a
label, over the linear schedule with T = 1000.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ddpm import torchvision_cpu  # noqa: F401 - before diffusers and lucidrains, which import torchvision
from ddpm.config import load_config
from ddpm.data import ImageSet, epoch_order, load_dataset, to_float
from ddpm.models import load_model
from ddpm.training.events import Event, Progress
from ddpm.training.loop import TrainState

CONFIG = Path(__file__).parent.parent / "configs" / "mnist.yaml"
SHIPPED = "mnist"
SHAPE, NUM_TIMESTEPS = (1, 32, 32), 1000
NEVER = 1_000_000_000  # steps


# -- settings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """Precision and memory format, the two switches that a user of any of the libraries has."""

    precision: str = "fp32"  # or "bf16 autocast", "bf16 weights"
    channels_last: bool = False

    def __str__(self) -> str:
        return self.precision + ", channels_last" * self.channels_last

    def apply(self, network: nn.Module) -> nn.Module:
        """``network`` itself, changed."""
        if self.precision == "bf16 weights":
            network.to(torch.bfloat16)
        return network.to(memory_format=torch.channels_last) if self.channels_last else network

    @property
    def dtype(self) -> torch.dtype:
        """Of the images that the network is given."""
        return torch.bfloat16 if self.precision == "bf16 weights" else torch.float32

    def autocast(self) -> AbstractContextManager:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16 autocast")


TRAINING_SETTINGS = tuple(Setting(p, last) for p in ("fp32", "bf16 autocast") for last in (False, True))
BF16_WEIGHTS = tuple(Setting("bf16 weights", last) for last in (False, True))


def best_setting(
    network: nn.Module,
    predict: Callable,
    batch_size: int,
    settings: Iterable[Setting],
    *,
    training: bool,
    tries: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Setting:
    """The one whose fastest forward (and backward) pass of ``tries``, after one to warm up, is the fastest."""

    def seconds(setting: Setting) -> float:
        tried = setting.apply(copy.deepcopy(network)).train(training)
        x = torch.randn(batch_size, *SHAPE, dtype=setting.dtype)
        t = torch.randint(NUM_TIMESTEPS, (batch_size,))
        took = []
        for _ in range(tries + 1):
            start = clock()
            with torch.set_grad_enabled(training), setting.autocast():
                output = predict(tried, x, t)
            if training:
                output.float().square().mean().backward()
            took.append(clock() - start)
        return min(took[1:])

    return min(settings, key=seconds)


# -- training ------------------------------------------------------------------------------------------------------


def warm_up(recommended: int, total_steps: int) -> int:
    """Steps of a rising rate: at most a tenth of a training, much of which would otherwise be spent below the rate."""
    return min(recommended, total_steps // 10)


class OurTraining:
    """The real loop, which goes on by ``training.log_every`` steps at a time."""

    def __init__(self, state: TrainState, events: Iterator[Event]):
        self.state, self.events = state, events

    def go_on(self) -> bool:
        """Whether there is more to do. What the loop does after its last record, a validation, is left undone."""
        record = next(event for event in self.events if isinstance(event, Progress))
        return record.step < record.total_steps

    @property
    def steps(self) -> int:
        return self.state.step

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """The averaged weights and the raw ones."""
        return self.state.ema.model, self.state.model


class PeerTraining:
    """A peer's own loop, ``steps_at_a_time`` at a time; ``step`` does one, on a batch of uint8 images."""

    def __init__(self, images: Tensor, batch_size: int, steps_at_a_time: int):
        self.steps, self.steps_at_a_time = 0, steps_at_a_time
        self.batches = _batches(images, batch_size)

    def go_on(self) -> bool:
        for _ in range(self.steps_at_a_time):
            self.step(next(self.batches))
            self.steps += 1
        return True

    def step(self, images: Tensor) -> None:
        raise NotImplementedError

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """The averaged weights and the raw ones."""
        raise NotImplementedError


def _batches(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Without end, from memory: as ours gets them, and kinder to the peers than their loaders of files."""
    epoch = 0
    while True:
        order = epoch_order(len(images), 0, epoch)
        for first in range(0, len(images) - batch_size + 1, batch_size):
            yield images[order[first : first + batch_size]]
        epoch += 1


class DiffusersTraining(PeerTraining):
    """examples/unconditional_image_generation/train_unconditional.py, with its defaults."""

    def __init__(self, network, setting: Setting, images, batch_size: int, total_steps: int, steps_at_a_time: int):
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        super().__init__(images, batch_size, steps_at_a_time)
        self.network, self.setting = setting.apply(network).train(), setting
        self.noise = DDPMScheduler(num_train_timesteps=NUM_TIMESTEPS, beta_schedule="linear")
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        self.rate = get_scheduler(
            "cosine", self.optimizer, num_warmup_steps=warm_up(500, total_steps), num_training_steps=total_steps
        )
        self.ema = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4)

    def step(self, images: Tensor) -> None:
        x0 = to_float(images)
        eps, t = torch.randn_like(x0), torch.randint(NUM_TIMESTEPS, (len(x0),))
        x_t = self.noise.add_noise(x0, eps, t)
        with self.setting.autocast():
            output = self.network(x_t, t).sample
        F.mse_loss(output.float(), eps).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.rate.step()
        self.optimizer.zero_grad()
        self.ema.step(self.network.parameters())

    def networks(self) -> tuple[nn.Module, nn.Module]:
        averaged = copy.deepcopy(self.network)
        self.ema.copy_to(averaged.parameters())
        return averaged, self.network


class LucidrainsTraining(PeerTraining):
    """What denoising-diffusion-pytorch's ``Trainer`` does, with its defaults; its rate is constant."""

    def __init__(self, network, setting: Setting, images, batch_size: int, total_steps: int, steps_at_a_time: int):
        from ema_pytorch import EMA

        super().__init__(images, batch_size, steps_at_a_time)
        self.setting = setting
        self.diffusion = lucidrains_diffusion(setting.apply(network)).train()
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.ema = EMA(self.diffusion, beta=0.995, update_every=10)

    def step(self, images: Tensor) -> None:
        with self.setting.autocast():
            loss = self.diffusion(images.float() / 255)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update()

    def networks(self) -> tuple[nn.Module, nn.Module]:
        return self.ema.ema_model.model, self.diffusion.model


# -- the networks --------------------------------------------------------------------------------------------------


def _diffusers(widths: tuple[int, ...], attention: int, groups: int) -> nn.Module:
    """``attention``: the level that has it, 1 being 16x16, as in google/ddpm-cifar10-32."""
    from diffusers import UNet2DModel
    from diffusers.utils import logging

    logging.set_verbosity_error()  # no advice about casting, which is what is measured here
    down = ["AttnDownBlock2D" if level == attention else "DownBlock2D" for level in range(len(widths))]
    up = [name.replace("Down", "Up") for name in reversed(down)]
    return UNet2DModel(
        sample_size=SHAPE[-1], in_channels=SHAPE[0], out_channels=SHAPE[0], layers_per_block=2,
        block_out_channels=widths, down_block_types=tuple(down), up_block_types=tuple(up), norm_num_groups=groups,
    )  # fmt: skip


def _lucidrains(dim: int, multipliers: tuple[int, ...] = (1, 2, 4, 8)) -> nn.Module:
    from denoising_diffusion_pytorch import Unet

    return Unet(dim, dim_mults=multipliers, channels=SHAPE[0])


def lucidrains_diffusion(network: nn.Module, sampling_timesteps: int | None = None) -> nn.Module:
    from denoising_diffusion_pytorch import GaussianDiffusion

    return GaussianDiffusion(
        network,
        image_size=SHAPE[-1],
        timesteps=NUM_TIMESTEPS,
        sampling_timesteps=sampling_timesteps,
        beta_schedule="linear",
    )


@dataclass(frozen=True)
class Contender:
    """A network, and how its library wants it trained."""

    key: str
    name: str
    make: Callable[[], nn.Module]
    predict: Callable[[nn.Module, Tensor, Tensor], Tensor]
    """(network, x_t, t) -> output, without a label."""
    prediction_type: str
    batch_size: int
    """Recommended for training."""
    train: Callable[..., PeerTraining] | None = None
    """(network, setting, images, batch_size, total_steps, steps_at_a_time); None for ours, which needs no setting."""

    @property
    def library(self) -> str:
        return self.key.partition("-")[0]

    @cached_property
    def network_of_its_own(self) -> nn.Module:
        """One to count in, and to copy."""
        return self.make().eval()

    @property
    def params_m(self) -> float:
        """Millions of parameters."""
        return sum(parameter.numel() for parameter in self.network_of_its_own.parameters()) / 1e6

    @cached_property
    def gmac(self) -> float:
        """Billions of multiplications with an addition, of one evaluation of one image, attention included."""
        # The fused kernels of attention are unknown to the counter; matrix products are not.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self.predict(self.network_of_its_own, torch.zeros(1, *SHAPE), torch.zeros(1, dtype=torch.long))
        return counter.get_total_flops() / 2e9


def _call(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    return network(x, t)


def _sample_of(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    return network(x, t).sample


OURS = Contender(
    "ours", "ours", lambda: load_model(SHIPPED).network, _call,
    load_config(CONFIG).diffusion.prediction_type, load_config(CONFIG).training.batch_size,
)  # fmt: skip
# The example of diffusers takes batches of 16 on a GPU; 64 serve it better here. Those of lucidrains' README are of 32.
_OF_DIFFUSERS = {"predict": _sample_of, "prediction_type": "eps", "batch_size": 64, "train": DiffusersTraining}
_OF_LUCIDRAINS = {"predict": _call, "prediction_type": "v", "batch_size": 32, "train": LucidrainsTraining}
PEERS = (
    Contender(
        "diffusers-params", "diffusers, as many parameters",
        partial(_diffusers, (28, 56, 112), attention=1, groups=28), **_OF_DIFFUSERS,
    ),
    Contender(
        "diffusers-gmac", "diffusers, as many GMAC",
        partial(_diffusers, (16, 24, 48, 96), attention=2, groups=8), **_OF_DIFFUSERS,
    ),
    Contender("lucidrains-params", "lucidrains, as many parameters", partial(_lucidrains, 18), **_OF_LUCIDRAINS),
    Contender(
        "lucidrains-gmac", "lucidrains, as many GMAC", partial(_lucidrains, 14, (1, 2, 4, 7)), **_OF_LUCIDRAINS,
    ),
)  # fmt: skip
CONTENDERS = {contender.key: contender for contender in (OURS, *PEERS)}


@cache
def training_images() -> ImageSet:
    """MNIST's images without those that ours keeps for its validation: 57,000, the same for all."""
    return load_dataset(load_config(CONFIG).data, "train")
