"""What one change of the training is worth at equal cost: ``python -m benchmarks.ablations``, all or ``--only`` a row.

A small version of ``mnist`` trains on as many images as ``--steps`` steps of 64 hold, with one thread, in every row but
those whose step costs more or less: their number of steps is that which takes the same CPU time, by a ratio measured
here step against step. So a row may be measured on a busy machine, and on another day than its neighbour.

Each row keeps its JSON and its samples. So an interrupted table goes on with the rows that are missing, and another
classifier can look at the same samples afterwards: ``--classifier FILE``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddpm.config import Config, load_config, sampling_settings
from ddpm.data import ImageSet, load_dataset
from ddpm.diffusion import q_sample, to_prediction
from ddpm.evaluation.classifier import SHIPPED, classify
from ddpm.evaluation.metrics import frechet_distance, precision_recall
from ddpm.evaluation.real_images import RealImages
from ddpm.files import output_dir, write_bytes, write_text
from ddpm.media.images import npz_bytes, to_uint8
from ddpm.models import Model
from ddpm.sampling import generate
from ddpm.training.in_memory import Training
from ddpm.training.loop import TrainState, train

from .contenders import CONFIG, NEVER, OurTraining, training_images
from .quality import IMAGES, repeated, seconds_per_step, validation

STEPS, SAMPLES = 600, 500
STEP_COUNTS, FEW = (5, 10, 20, 50), (20,)
BANDS = ((0, 249), (250, 499), (500, 749), (750, 999))  # timesteps
SMALL = ("model.base_channels=16", "training.batch_size=64", "training.warmup_steps=60", "training.ema_decay=0.99")
KINDS = ("eps", "x0", "v", "u")
SEEDS = (0, 1, 2)
PACES, PACE_STEPS = 5, 4

OBJECTIVES = {
    f"{kind}, seed {seed}": (f"diffusion.prediction_type={kind}", f"training.seed={seed}")
    for kind in KINDS
    for seed in SEEDS
}
CHANGES = {
    "t uniform": ("training.timesteps=uniform",),
    "t logit-normal": ("training.timesteps=logit_normal",),
    "min-SNR weights": ("diffusion.weighting=min_snr",),
    "learning rate doubled": ("training.learning_rate=2e-3",),
    "learning rate halved": ("training.learning_rate=5e-4",),
}
COSTS_OTHERWISE = {
    "batches of 128": ("training.batch_size=128", "training.warmup_steps=30"),
    "width 32": ("model.base_channels=32", "training.warmup_steps=20"),
}
ROWS = OBJECTIVES | CHANGES | COSTS_OTHERWISE
"""What each row changes. The row "v, seed 0" is what the others are compared with."""


def config_of(changes: Sequence[str]) -> Config:
    quiet = {"epochs": 1, "log_every": PACE_STEPS, "val_every": NEVER, "sample_every": NEVER, "device": "cpu"}
    return load_config(CONFIG, [*SMALL, *changes, *(f"training.{key}={value}" for key, value in quiet.items())])


def cost(changes: Sequence[str], images: ImageSet) -> float:
    """CPU time of a step in units of that of a step of the small version: median of several, one after the other."""

    def pace(config: Config) -> float:
        needed = repeated(images, (2 * PACE_STEPS + 5) * config.training.batch_size)
        return seconds_per_step(OurTraining(state := TrainState(config), train(state, needed, images[:1])), PACE_STEPS)

    ratios = [pace(config_of(changes)) / pace(config_of(())) for _ in range(PACES)]
    return statistics.median(ratios)


@torch.no_grad()
def errors(model: Model) -> list[float]:
    """The eps-MSE on test images, their class given, in each of ``BANDS``."""
    found: list[list[Tensor]] = [[] for _ in BANDS]
    test = load_dataset(model.config.data, "test")[:IMAGES]
    labels = test.labels.split(len(validation(test)[0][0]))
    for (x0, t, eps), y in zip(validation(test), labels, strict=True):
        x_t = q_sample(model.schedule, x0, t, eps)
        output = model.network(x_t, t, y)
        error = to_prediction(model.schedule, output, x_t, t, model.config.diffusion.prediction_type).eps - eps
        for band, (first, last) in zip(found, BANDS, strict=True):
            band.append(error.square().mean((1, 2, 3))[(t >= first) & (t <= last)])
    return [torch.cat(band).mean().item() for band in found]


def run_row(name: str, out: Path, steps: int) -> None:
    """Train it; keep its errors and its samples."""
    torch.set_num_threads(1)
    changes, images = ROWS[name], training_images()
    config = config_of(changes)
    ratio = cost(changes, images) if name in COSTS_OTHERWISE else 1.0  # elsewhere the network sees the same tensors
    own = round(steps / ratio)
    training = Training(config, repeated(images, own * config.training.batch_size), images[:1])
    for _ in training:
        pass
    model = training.model
    row = {"changes": changes, "cost of a step": ratio, "steps": own, "eps-MSE": errors(model)}
    labels = [index % 10 for index in range(SAMPLES)]
    for count in STEP_COUNTS if name in OBJECTIVES else FEW:
        settings = sampling_settings(model.config, num_steps=count, guidance_scale=1.0)
        samples = generate(model, SAMPLES, labels=labels, settings=settings, batch_size=100)
        write_bytes(samples_file(out, name, count), npz_bytes(to_uint8(samples), labels))
    write_text(out / f"{name}.json", json.dumps(row, indent=2) + "\n")


def samples_file(out: Path, name: str, steps: int) -> Path:
    return out / f"{name}, {steps} steps.npz"


# -- what came -----------------------------------------------------------------------------------------------------


@cache
def _real(classifier: Path) -> RealImages:
    return RealImages.load(load_config(CONFIG).data, 0, True, classifier)


def scores(path: Path, classifier: Path) -> tuple[float, float, float, float]:
    """Fréchet distance, precision, recall and the share that is as asked."""
    real = _real(classifier)
    with np.load(path) as arrays:
        samples = ImageSet.from_arrays(arrays["images"], arrays["labels"])
    features = real.features(samples.scaled())
    seen = classify(samples.scaled(), weights=classifier).argmax(1)
    asked = (seen == samples.labels).double().mean().item()
    return frechet_distance(features, real.test_features), *precision_recall(features, real.test_features), asked


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Of several seeds: their mean, and from the least to the largest."""
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def objectives_table(out: Path, classifier: Path) -> str:
    rows = []
    for kind in KINDS:
        names = [f"{kind}, seed {seed}" for seed in SEEDS]
        read = [json.loads((out / f"{name}.json").read_text(encoding="utf-8"))["eps-MSE"] for name in names]
        bands = [spread(values, 4) for values in zip(*read, strict=True)]
        distances = [
            spread([scores(samples_file(out, name, count), classifier)[0] for name in names], 2)
            for count in STEP_COUNTS
        ]
        rows.append([kind, *bands, *distances])
    heads = [f"eps-MSE, t = {first} to {last}" for first, last in BANDS]
    return table(["predicts", *heads, *(f"Fréchet, {count} steps" for count in STEP_COUNTS)], rows)


def changes_table(out: Path, classifier: Path) -> str:
    rows = []
    for name in ("v, seed 0", "v, seed 1", "v, seed 2", *CHANGES, *COSTS_OTHERWISE):
        row = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        distance, precision, recall, asked = scores(samples_file(out, name, FEW[0]), classifier)
        bands = [f"{value:.4f}" for value in row["eps-MSE"]]
        rows.append(
            [name, str(row["steps"]), *bands, f"{distance:.3f}", f"{precision:.1%}", f"{recall:.1%}", f"{asked:.1%}"]
        )
    heads = [f"eps-MSE, t = {first} to {last}" for first, last in BANDS]
    return table(["", "steps", *heads, "Fréchet", "precision", "recall", "as asked"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(ROWS), help="train this row, again if need be")
    parser.add_argument("--steps", type=int, default=STEPS, help="of 64 images (default %(default)s)")
    parser.add_argument("--classifier", type=Path, default=SHIPPED, help="that judges (default: the shipped one)")
    parser.add_argument(
        "--out", type=Path, default=output_dir() / "benchmarks" / "ablations", help="folder of the rows"
    )
    options = parser.parse_args()
    for name in options.only or [name for name in ROWS if not (options.out / f"{name}.json").exists()]:
        run_row(name, options.out, options.steps)
        print(f"{name}: done", flush=True)
    if all((options.out / f"{name}.json").exists() for name in ROWS):
        for show in (objectives_table, changes_table):
            print("\n" + show(options.out, options.classifier))


if __name__ == "__main__":
    main()
