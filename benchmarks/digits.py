"""What the Playground asks for, 16 digits of their classes in 20 steps: as shipped in fp32, and what it gave up for it.

Guidance acts in the shipped model's interval of timesteps; beside it stand guidance at all of them, and bf16.
"""

from __future__ import annotations

from functools import cache, partial

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
JUDGED = 1000  # digits, from the same noise every time
PEERS = {"ours, precision bf16": {"precision": "bf16"}, "ours, guidance at all t": {"guidance_interval": None}}


def rows(machine: Machine, quick: bool) -> list[Row]:
    model = load_model(SHIPPED)
    scales = (1.0, model.config.sampling.guidance_scale)
    timed = [row for scale in scales for row in _seconds(model, scale, 3 if quick else 7)]
    return timed if quick else [*timed, *(row for scale in scales for row in _distances(model, scale))]


def peers_at(scale: float) -> list[str]:
    """Without guidance there is none to give at all t."""
    return [name for name, how in PEERS.items() if scale != 1 or "guidance_interval" not in how]


def _draw(model: Model, count: int, scale: float, *, precision: str = "fp32", **how):
    settings = sampling_settings(model.config, num_steps=STEPS, guidance_scale=scale)
    settings = settings.model_copy(update=how)
    return generate(model, count, labels=range(model.num_classes), settings=settings, precision=precision)


def _seconds(model: Model, scale: float, rounds: int) -> list[Row]:
    peers = peers_at(scale)
    works = {name: partial(_draw, model, COUNT, scale, **PEERS.get(name, {})) for name in ("ours", *peers)}
    seconds = interleaved(works, rounds)
    what = f"{COUNT} digits of their classes, {STEPS} steps, guidance {scale:g}"
    return [Row.measured("digits", what, "s", seconds["ours"], seconds[name], peer_name=name) for name in peers]


def _distances(model: Model, scale: float) -> list[Row]:
    """Of the classifier's features, to those of the test images."""
    real = extract_features(load_dataset(model.config.data, "test").scaled())

    @cache
    def distance(name: str) -> float:
        return frechet_distance(extract_features(_draw(model, JUDGED, scale, **PEERS.get(name, {}))), real)

    what = f"Fréchet distance of {JUDGED:,} such digits, guidance {scale:g}"
    return [Row("digits", what, "Fréchet distance", distance("ours"), distance(name), name) for name in peers_at(scale)]
