"""A small digit classifier: it judges conditional samples, and its penultimate layer gives the features for evaluation.

``python -m ddpm train-classifier`` made the shipped weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.data_section import DataConfig
from ..data import ImageSet, epoch_order, to_float
from ..device import over_cores
from ..randomness import derive_seed
from ..storage.weights import load_weights, read_safetensors

SHIPPED = Path(__file__).with_name("mnist_classifier.safetensors")
DATA = DataConfig(dataset="mnist", image_size=32)
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 4e-3


class Classifier(nn.Module):
    """A convolutional network for (B, 1, 32, 32) in [-1, 1]; other sizes are resized."""

    num_features = 96

    def __init__(self):
        super().__init__()

        def conv(in_channels: int, out_channels: int) -> list[nn.Module]:
            layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
            return [layer, nn.BatchNorm2d(out_channels), nn.ReLU()]

        self.body = nn.Sequential(
            *conv(1, 24), nn.MaxPool2d(2),
            *conv(24, 48), *conv(48, 48), nn.MaxPool2d(2),
            *conv(48, 96), *conv(96, 96), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(self.num_features, 10)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, (B, 96)."""
        if x.shape[-2:] != (DATA.image_size, DATA.image_size):
            x = F.interpolate(x, (DATA.image_size, DATA.image_size), mode="bilinear", antialias=True)
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the ten digits, (B, 10)."""
        return self.head(self.features(x))


@cache
def load_classifier(weights: Path = SHIPPED) -> Classifier:
    """The shipped classifier or another of ``train-classifier``, in eval mode. Treat it as read-only: all callers share
    one.

    Raises:
        ModelError: the file does not hold one.
    """
    with torch.inference_mode(False):  # otherwise no gradient could ever pass through it
        model = Classifier()
        load_weights(model, read_safetensors(weights, model), str(weights))
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def classify(images: Tensor, batch_size: int = 500, *, weights: Path = SHIPPED) -> Tensor:
    """Probabilities of the ten digits, (N, 10), for images (N, 1, H, W) in [-1, 1]."""
    model = over_cores(load_classifier(weights))
    return torch.cat([model(chunk).softmax(1) for chunk in images.split(batch_size)])


@torch.inference_mode()
def extract_features(images: Tensor, batch_size: int = 500, *, weights: Path = SHIPPED) -> Tensor:
    """The classifier's penultimate layer, (N, 96), for images (N, 1, H, W) in [-1, 1]."""
    features = over_cores(load_classifier(weights).features)
    return torch.cat([features(chunk) for chunk in images.split(batch_size)])


def accuracy(model: Classifier, images: ImageSet, batch_size: int = 500) -> float:
    """The share of images that the classifier labels correctly."""
    with torch.inference_mode():
        hits = sum(
            int((model(to_float(part)).argmax(1) == labels).sum())
            for part, labels in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True)
        )
    return hits / len(images)


class EpochDone(NamedTuple):
    epoch: int
    loss: float


def train_classifier(model: Classifier, images: ImageSet, epochs: int, seed: int = 0) -> Iterator[EpochDone]:
    """Train with random affine distortions and a one-cycle rate (Smith & Topin 2018); yields after every epoch."""
    per_epoch = len(images) // BATCH_SIZE
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=epochs * per_epoch)
    for epoch in range(epochs):
        torch.manual_seed(derive_seed("classifier", seed, epoch))
        model.train()
        total = 0.0
        for batch in epoch_order(len(images), seed, epoch)[: per_epoch * BATCH_SIZE].split(BATCH_SIZE):
            logits = model(distort(to_float(images.images[batch])))
            loss = F.cross_entropy(logits, images.labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            total += loss.item()
        model.eval()
        yield EpochDone(epoch + 1, total / per_epoch)


def distort(x: Tensor) -> Tensor:
    """Rotate by up to 12 degrees, scale by up to 12 %, shear by up to 0.15 and shift by up to 2 pixels, at random."""
    n = len(x)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n) * 2 - 1) * limit

    angle, scale, shear = uniform(12 * torch.pi / 180), 1 + uniform(0.12), uniform(0.15)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = 2 * 2 / x.shape[-1]  # grid coordinates run over [-1, 1]
    rows = [torch.stack([cos, -sin + shear, uniform(shift)], 1), torch.stack([sin, cos, uniform(shift)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    # The border is background: shift it to 0, which is what grid_sample pads with.
    return F.grid_sample(x + 1, grid, align_corners=False) - 1
