"""What the Playground asks for, 16 digits of their classes in 20 steps, in fp32 as shipped and in bf16."""

from __future__ import annotations

from functools import partial

from ddpm.config import sampling_settings
from ddpm.data import load_dataset
from ddpm.evaluation.classifier import extract_features
from ddpm.evaluation.metrics import frechet_distance
from ddpm.models import Model, load_model
from ddpm.sampling import generate

from .contenders import SHIPPED
from .machine import Machine
from .rows import Row, interleaved

COUNT, STEPS = 16, 20
JUDGED = 1000  # digits, from the same noise in both precisions
PRECISIONS = ("fp32", "bf16")
PEER = "ours, precision bf16"


def rows(machine: Machine, quick: bool) -> list[Row]:
    model = load_model(SHIPPED)
    timed = [_seconds(model, scale, 3 if quick else 7) for scale in (1.0, model.config.sampling.guidance_scale)]
    return timed if quick else [*timed, _distances(model)]


def _draw(model: Model, count: int, scale: float, precision: str):
    settings = sampling_settings(model.config, num_steps=STEPS, guidance_scale=scale)
    return generate(model, count, labels=range(model.num_classes), settings=settings, precision=precision)


def _seconds(model: Model, scale: float, rounds: int) -> Row:
    seconds = interleaved({name: partial(_draw, model, COUNT, scale, name) for name in PRECISIONS}, rounds)
    what = f"{COUNT} digits of their classes, {STEPS} steps, guidance {scale:g}"
    return Row.measured("digits", what, "s", *seconds.values(), peer_name=PEER)


def _distances(model: Model) -> Row:
    """Of the classifier's features, to those of the test images."""
    real = extract_features(load_dataset(model.config.data, "test").scaled())
    exact, mixed = (frechet_distance(extract_features(_draw(model, JUDGED, 1.0, name)), real) for name in PRECISIONS)
    what = f"Fréchet distance of {JUDGED:,} such digits, guidance 1"
    return Row("digits", what, "Fréchet distance", exact, mixed, PEER)
