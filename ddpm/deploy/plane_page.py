"""What the static page needs to know of the plane: its data, their exact laws, schedules, and how a network learns."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from ..diffusion import q_sample, target
from ..plane import DATASETS, MIXTURE, Mixture, law_of, sample_data
from ..schedule import NoiseSchedule, make_schedule

T = 1000
POINTS = 1000  # of each preset
SCHEDULES = ("linear", "rectified")
NETWORK = {"width": 32, "depth": 3}  # of ddpm.plane.MLP: what two cores train in JavaScript while somebody waits
# Small batches and a high rate: in the same time they come nearer than fewer steps of more points. The dropout is high
# because the page opens with all classes, which a network learns from those points alone that have lost theirs.
LEARNING = {"learningRate": 1e-2, "labelDropout": 0.4, "batch": 128}
COUNTS = (10, 100, 1000)  # of points to learn from; the most to begin with
STEPS, START_STEPS = (500, 1500, 3000, 6000), 3000
FLOOR_POINTS = 4096


def plane_json() -> bytes:
    """The file ``plane.json`` of a static page."""
    schedules = {name: make_schedule(name, T) for name in SCHEDULES}
    page = {
        "schedules": {name: _rounded(schedule.alphas_cumprod, 12) for name, schedule in schedules.items()},
        "data": {name: _data(name, schedules) for name in (MIXTURE, *(name for name in DATASETS if name != MIXTURE))},
        "network": NETWORK,
        "learning": LEARNING,
        "counts": COUNTS,
        "trainingSteps": STEPS,
        "startSteps": START_STEPS,
    }
    return json.dumps(page, separators=(",", ":")).encode()


def _data(name: str, schedules: dict[str, NoiseSchedule]) -> dict[str, Any]:
    points, law = sample_data(name, POINTS), law_of(name)
    return {
        "points": _rounded(points.x.flatten(), 3),
        "labels": points.labels.tolist(),
        "law": {
            "means": _rounded(law.means.flatten(), 4),
            "deviation": law.deviation,
            "labels": law.labels.tolist(),
        },
        "floors": {each: round(_floor(law, schedule), 4) for each, schedule in schedules.items()},
    }


def _floor(law: Mixture, schedule: NoiseSchedule) -> float:
    """The loss, as ``plane.train`` has it, of the exact denoiser: nobody who does not know the noise has less."""
    generator = torch.Generator().manual_seed(0)
    points = law.sample(FLOOR_POINTS)
    x0, eps = points.states(), torch.randn(FLOOR_POINTS, 2, 1, 1, generator=generator)
    t = torch.randint(T, (FLOOR_POINTS,), generator=generator)
    x_t = q_sample(schedule, x0, t, eps)

    def loss(label: int | None) -> float:
        chosen = torch.ones_like(t, dtype=torch.bool) if label is None else points.labels == label
        said = law.denoiser(schedule, label)(x_t[chosen], t[chosen])
        wanted, found = (target(schedule, *pair, t[chosen], "v") for pair in ((x0[chosen], eps[chosen]), said))
        return (found - wanted).square().mean().item() * chosen.float().mean().item()

    dropped = LEARNING["labelDropout"]
    return dropped * loss(None) + (1 - dropped) * sum(map(loss, points.labels.unique().tolist()))


def _rounded(values: Tensor, digits: int) -> list[float]:
    return [round(value, digits) for value in values.double().tolist()]
