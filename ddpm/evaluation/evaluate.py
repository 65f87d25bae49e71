"""The evaluation of a model: calibration on the test set, and samples judged by the classifier."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch

from .. import __version__
from ..config import SamplingConfig
from ..data import load_dataset
from ..models import Model, resolve
from ..samplers import generate
from ..weights import weights_sha256
from .calibration import SEED_TIMESTEPS, calibrate
from .classifier import classify


def evaluate(
    model: Model,
    reference: str,
    *,
    settings: SamplingConfig | None = None,
    num_samples: int = 500,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Everything that is known of a model, as a dict for JSON, with what produced it beside each number.

    ``calibration`` has the keys of the seed report; timesteps beyond the model's T are left out.
    """
    settings, started = settings or model.config.sampling, time.perf_counter()
    test = load_dataset(model.config.data, "test")
    rows = []
    for row in calibrate(model, test.scaled(), [t for t in SEED_TIMESTEPS if t < model.schedule.num_timesteps], seed):
        rows.append(row)
        on_progress(f"t = {row.t:4d}  eps-MSE {row.mse:.6g}  x0-PSNR {row.psnr:.2f} dB")
    results = {
        "calibration": {
            "timesteps": [row.t for row in rows],
            "mse": [row.mse for row in rows],
            "psnr": [row.psnr for row in rows],
            "num_images": len(test),
        },
        "samples": _samples(model, settings, num_samples, seed, test.scaled()),
        "made_by": {
            "model": reference,
            "sha256": weights_sha256(resolve(reference)),
            "dataset": model.config.data.dataset,
            "seed": seed,
            "versions": {"ddpm": __version__, "torch": torch.__version__, "python": platform.python_version()},
        },
    }
    results["made_by"]["seconds"] = round(time.perf_counter() - started, 1)
    return results


def _samples(model: Model, settings: SamplingConfig, count: int, seed: int, test: torch.Tensor) -> dict[str, Any]:
    labels = list(range(model.num_classes)) or None
    images = generate(model, count, labels=labels, settings=settings, seed=seed)
    result: dict[str, Any] = {
        "num_samples": count,
        "settings": settings.model_dump(mode="json"),
        "pixel_std": images.std(0).mean().item(),
        "pixel_std_test": test.std(0).mean().item(),
    }
    if labels and model.config.data.dataset == "mnist":
        asked = torch.tensor(labels).repeat(count // len(labels) + 1)[:count]
        result["label_accuracy"] = (classify(images).argmax(1) == asked).double().mean().item()
    return result


def asdict_of(settings: SamplingConfig) -> dict[str, Any]:
    return settings.model_dump(mode="json")
