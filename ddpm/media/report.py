"""The report of a model: Markdown with figures beside it, and the same as one HTML file.

Every figure and number is taken from what ran: the network and its config, the records of the training, the results of
the evaluation. What is absent is named with its remedy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DDPMError
from ..evaluation.evaluate import versions
from ..files import write_bytes, write_text
from ..quantities import size_text
from ..samplers import SAMPLERS
from ..sampling import generate, sample
from ..schedule import SCHEDULES
from ..training.history import History
from .document import render, to_html
from .drawers import save_chart
from .figures import save_curves
from .images import Trajectory, enlarge, gif_bytes, make_grid, png_bytes, to_uint8
from .report_evaluation import evaluation
from .report_model import model_details, training_details
from .schedule_figures import lines, schedules_chart
from .subject import Subject

GRID_SAMPLES, TRAJECTORY_SAMPLES, TRAJECTORY_FRAMES, STRIP_SAMPLES = 60, 10, 41, 3

FILES = {
    "ckpts/best.pt": "averaged weights with the lowest validation loss",
    "ckpts/latest.pt": "everything that training needs to go on",
    "ckpts/ema.pt": "averaged (EMA) weights, used for sampling",
    "config.yaml": "the config that ran",
    "logs/training_metrics.jsonl": "training history",
    "logs/train.log": "what the training printed",
    "logs/evaluation_results.json": "evaluation",
    "evaluation_results.json": "evaluation",
    "model.safetensors": "averaged (EMA) weights",
    "README.md": "model card",
    "status.json": "state of the run",
}
FOLDERS = {"grids": "sample grids", "animations": "reverse diffusion processes", "curves": "plots"}


@dataclass(frozen=True)
class ReportFiles:
    """The report as it was written."""

    markdown: Path
    html: Path


def write_report(
    reference: str, folder: Path | None = None, *, device: str = "cpu", say: Callable[[str], None] = lambda text: None
) -> ReportFiles:
    """Write ``report.md`` with its figures, and ``report.html`` with all of it inside.

    Args:
        reference: the model, see ``ddpm.storage.places``.
        folder: where to; by default ``report/`` in the model's output folder.
        say: is told what is being done.

    Raises:
        ModelError: no such model.
    """
    subject = Subject.read(reference, folder, device)
    now, weights = datetime.now().astimezone(), subject.model.weights
    values: dict[str, Any] = {"now": now, "versions": versions(), "weights": weights}
    for part in PARTS:
        say(part.__name__.strip("_").replace("_", " "))
        values |= part(subject)
    text = render("report.md.j2", values | {"sources": _sources(subject, values["evaluation"]["uses"])})
    files = ReportFiles(subject.folder / "report.md", subject.folder / "report.html")
    write_text(files.markdown, text)
    write_text(files.html, to_html(text, f"{subject.model.config.name}: report", subject.folder, subject.figures))
    return files


def _sources(subject: Subject, uses: Container[str]) -> list[str]:
    """The papers of the schedule and of the samplers that were used."""
    config = subject.model.config
    used = [sampler for name, sampler in SAMPLERS.items() if name in uses or name == config.sampling.sampler]
    return [SCHEDULES[config.schedule.name].source, *(sampler.source for sampler in used)]


# -- what the templates show: each part draws its figures and returns its values ---------------------------------------


def _training_curves(subject: Subject) -> dict[str, Any]:
    history = subject.history
    if isinstance(history, DDPMError):
        return {"curves": {"unavailable": str(history)}}
    if not history.training:
        return {"curves": {"unavailable": "the run has no records yet: train on"}}
    plots = save_curves(history, subject.folder)
    subject.figures.update(path.name for path in plots)
    training, validation = _losses(history, "train_loss"), _losses(history, "val_loss")
    best = validation[np.argmin(history.column("val_loss"))] if validation else None
    return {"curves": {"plots": plots, "training": training, "validation": validation, "best": best}}


def _losses(history: History, name: str) -> list[dict[str, float]]:
    steps, losses = history.axis("step", name).astype(int), history.column(name)
    return [{"step": step, "loss": loss} for step, loss in zip(steps.tolist(), losses.tolist(), strict=True)]


def _noise_schedule(subject: Subject) -> dict[str, Any]:
    config, schedule = subject.model.config.schedule, subject.model.schedule
    save_chart(schedules_chart(lines([config])), subject.figure("schedules.png"), inches=(2.7, 2.2))
    return {
        "noise": {
            "parameters": [f"{name} = {value:g}" for name, value in config.parameters.items()],
            "source": SCHEDULES[config.name].source,
            "left": float(schedule.alpha_bar(schedule.num_timesteps - 1)),
        }
    }


def _generated_samples(subject: Subject) -> dict[str, Any]:
    model, settings = subject.model, subject.model.config.sampling
    labels = list(range(model.num_classes)) or None
    grid = make_grid(to_uint8(generate(model, GRID_SAMPLES, labels=labels, settings=settings)))
    write_bytes(subject.figure("samples.png"), png_bytes(enlarge(grid)))
    return {"grid_samples": GRID_SAMPLES, "sampler": SAMPLERS[settings.sampler].label}


def _reverse_process(subject: Subject) -> dict[str, Any]:
    model, settings = subject.model, subject.model.config.sampling
    labels = list(range(model.num_classes)) or None
    steps = sample(model, TRAJECTORY_SAMPLES, labels=labels, settings=settings)
    trajectory = Trajectory.from_steps(steps, settings.num_steps, max_frames=TRAJECTORY_FRAMES)
    write_bytes(subject.figure("trajectory.gif"), gif_bytes(trajectory.grids()))
    write_bytes(subject.figure("trajectory.png"), png_bytes(trajectory.first(STRIP_SAMPLES).strip()))
    return {
        "trajectory": {"samples": TRAJECTORY_SAMPLES, "few": STRIP_SAMPLES, "noisiest": trajectory.timesteps[0]},
    }


def _files(subject: Subject) -> dict[str, Any]:
    root = subject.run.path if subject.run else subject.model.weights.parent
    files = {path.relative_to(root): path for path in sorted(root.rglob("*"))
             if path.is_file() and subject.folder not in path.parents and not path.name.startswith(".")}  # fmt: skip
    rows = []
    for folder, what in FOLDERS.items():
        if inside := [path for name, path in files.items() if name.parts[0] == folder]:
            count = f"{len(inside)} {'files' if len(inside) > 1 else 'file'}"
            rows.append((f"{folder}/", f"{what}, {count}", size_text(sum(path.stat().st_size for path in inside))))
    rows += [(name.as_posix(), FILES.get(name.as_posix(), ""), size_text(path.stat().st_size))
             for name, path in files.items() if name.parts[0] not in FOLDERS]  # fmt: skip
    logs = _typed(subject.run.metrics.parent) if subject.run else None
    return {"root": _typed(root), "files": rows, "logs": logs}


def _typed(path: Path) -> str:
    """A path as one would type it: relative where it lies below the working folder."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)


PARTS = (
    model_details,
    _training_curves,
    _noise_schedule,
    _generated_samples,
    _reverse_process,
    evaluation,
    training_details,
    _files,
)
