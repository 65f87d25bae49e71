"""Sampling: so many images in so many steps of DDIM, from noise to an array."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from ddpm.config import sampling_settings
from ddpm.models import load_model
from ddpm.sampling import generate

from .contenders import (
    BF16_WEIGHTS,
    NUM_TIMESTEPS,
    OURS,
    PEERS,
    SHIPPED,
    TRAINING_SETTINGS,
    Contender,
    Setting,
    best_setting,
    lucidrains_diffusion,
)
from .machine import Machine, convolution_dtype
from .rows import Row, interleaved


def ours(count: int, steps: int) -> Callable[[], object]:
    """As shipped: the model's own settings, DDIM, without a label."""
    model = load_model(SHIPPED)
    settings = sampling_settings(model.config, sampler="ddim", num_steps=steps, guidance_scale=1.0)
    return lambda: generate(model, count, settings=settings)


def diffusers(network: nn.Module, setting: Setting, count: int, steps: int) -> Callable[[], object]:
    from diffusers import DDIMPipeline, DDIMScheduler

    pipeline = DDIMPipeline(network, DDIMScheduler(num_train_timesteps=NUM_TIMESTEPS, beta_schedule="linear"))
    pipeline.set_progress_bar_config(disable=True)
    ask = partial(pipeline, batch_size=count, num_inference_steps=steps)

    def draw() -> None:
        with setting.autocast():
            # NumPy knows no bfloat16, so that the pipeline has to leave the last conversion to its caller.
            if setting.dtype == torch.bfloat16:
                ask(output_type="pt", generator=torch.Generator().manual_seed(0)).images.float().numpy()
            else:
                ask(output_type="np", generator=torch.Generator().manual_seed(0))

    return draw


def lucidrains(network: nn.Module, setting: Setting, count: int, steps: int) -> Callable[[], object]:
    from denoising_diffusion_pytorch import denoising_diffusion_pytorch as module

    module.tqdm = lambda steps, **_: steps  # it has no switch for its progress bar
    diffusion = lucidrains_diffusion(network, sampling_timesteps=steps).eval()

    def draw() -> None:
        with setting.autocast():
            diffusion.sample(count)

    return draw


LIBRARIES = {"diffusers": diffusers, "lucidrains": lucidrains}


def setting_of(peer: Contender, count: int, quick: bool) -> Setting:
    """With ``quick``, found on a part of the batch."""
    settings = TRAINING_SETTINGS + (BF16_WEIGHTS if peer.library == "diffusers" else ())
    count, tries = (count // 4, 1) if quick else (count, 3)
    return best_setting(peer.network_of_its_own, peer.predict, count, settings, training=False, tries=tries)


def rows(machine: Machine, quick: bool) -> list[Row]:
    steps, rounds = (2, 3) if quick else (50, 5)
    return [
        row
        for count in (16, 64)
        for row in _rows(machine, count, steps, rounds, {peer.key: setting_of(peer, count, quick) for peer in PEERS})
    ]


def _rows(machine: Machine, count: int, steps: int, rounds: int, settings: dict[str, Setting]) -> list[Row]:
    works = {OURS.key: ours(count, steps)}
    for peer in PEERS:
        setting = settings[peer.key]
        network = setting.apply(peer.make().eval())
        works[peer.key] = LIBRARIES[peer.library](network, setting, count, steps)
    dtypes = {key: convolution_dtype(work) for key, work in works.items()}  # the round that warms up
    seconds = interleaved(works, rounds, warm_up=False)

    def share(contender: Contender) -> float | None:
        gmac = contender.gmac * count * steps
        return machine.share(gmac, statistics.median(seconds[contender.key]), dtypes[contender.key])

    return [
        Row.measured(
            "sample", f"{count} images, DDIM {steps} steps", "s", seconds[OURS.key], seconds[peer.key],
            peer_name=f"{peer.name} ({settings[peer.key]})", params_m=peer.params_m, gmac=peer.gmac,
            peak_share=(share(OURS), share(peer)),
        )
        for peer in PEERS
    ]  # fmt: skip
