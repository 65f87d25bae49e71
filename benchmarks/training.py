"""Training: images a second in complete steps, from the batch to the average of the weights."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import torch

from ddpm.config import load_config
from ddpm.files import RunFolder
from ddpm.training.run import Run

from .contenders import (
    CONFIG,
    NEVER,
    OURS,
    PEERS,
    TRAINING_SETTINGS,
    Contender,
    OurTraining,
    Setting,
    best_setting,
    training_images,
)
from .machine import Machine, convolution_dtype
from .rows import Row, interleaved

BATCH, QUICK_BATCH = 128, 32
PASSES = 3  # forward, and backward to the inputs and to the weights: each about as much as a forward one


def setting_of(peer: Contender, quick: bool) -> Setting:
    """With ``quick``, found on a part of the batch."""
    count, tries = (QUICK_BATCH // 4, 1) if quick else (BATCH, 3)
    return best_setting(peer.network_of_its_own, peer.predict, count, TRAINING_SETTINGS, training=True, tries=tries)


def rows(machine: Machine, quick: bool) -> list[Row]:
    batch, steps, rounds = (QUICK_BATCH, 1, 3) if quick else (BATCH, 3, 5)
    images = training_images()
    # The run records every round, which is several times as often as the config asks for.
    ours = [f"log_every={steps}", f"val_every={NEVER}", f"sample_every={NEVER}", "device=cpu"]
    config = load_config(CONFIG, [f"training.{setting}" for setting in (*ours, f"batch_size={batch}")])
    settings = {peer.key: setting_of(peer, quick) for peer in PEERS}
    trainings = {
        peer.key: peer.train(peer.make(), settings[peer.key], images.images, batch, 10_000, steps) for peer in PEERS
    }
    with tempfile.TemporaryDirectory() as outputs:
        folder = RunFolder(Path(outputs) / "training")
        with Run(config, folder, data=(images, images[:64])) as run:
            trainings = {OURS.key: OurTraining(run.state, run.events()), **trainings}
            works = {key: training.go_on for key, training in trainings.items()}
            dtypes = {key: convolution_dtype(work) for key, work in works.items()}  # the round that warms up
            seconds = interleaved(works, rounds, warm_up=False)
    speeds = {key: [batch * steps / one for one in found] for key, found in seconds.items()}

    def share(contender: Contender) -> float | None:
        gmac = PASSES * contender.gmac * statistics.median(speeds[contender.key])
        return machine.share(gmac, 1.0, dtypes[contender.key])

    autocast = "" if dtypes[OURS.key] == torch.float32 else ", bf16 autocast"
    return [
        Row.measured(
            "train", f"batch of {batch}, complete steps, {steps} a round{autocast}", "images/s",
            speeds[OURS.key], speeds[peer.key],
            peer_name=f"{peer.name} ({settings[peer.key]})", params_m=peer.params_m, gmac=peer.gmac,
            peak_share=(share(OURS), share(peer)),
        )
        for peer in PEERS
    ]  # fmt: skip
