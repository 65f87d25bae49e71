"""The evaluation of a model in stages: calibration on the test set, then one stage for each way of sampling.

The protocol is one for all: averaged weights, a fixed seed, classes balanced where the model has any, guidance 1 unless
asked otherwise, and beside each result what produced it. A stage that is in an earlier result already, made by the same
weights in the same way, is taken from there, so that an interrupted evaluation goes on where it was.

The result is a dict for JSON: ``calibration``, a stage such as ``ddim_50steps`` for each way of sampling, each with its
``made_by``, and ``made_by`` of the whole. A number that could not be had is ``{"unavailable": "<reason and remedy>"}``,
and so may be a stage, or a part of one.
"""

from __future__ import annotations

import math
import platform
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import __version__
from ..config import SamplingConfig
from ..errors import MetricError
from ..models import Model, repeat_labels, resolve
from ..samplers import SAMPLERS
from ..sampling import evaluations, sample
from ..weights import weights_sha256
from . import classifier
from .calibration import SEED_TIMESTEPS, CalibrationRow, ImageErrors, image_errors
from .judge import RealImages, judge
from .lpips_weights import Distance, load_lpips
from .metrics import check_lpips_size
from .results import read_results, total_seconds, unavailable, write_results
from .seed_report import SEED_REPORT
from .wiener import WienerDenoiser

DDIM_STEPS = (10, 20, 50, 100)
FULL_CHAIN_SAMPLES = 64  # ddpm with all T steps costs too much for more
BATCH_SIZE = 64


@dataclass(frozen=True)
class Protocol:
    """What is evaluated, and how."""

    reference: str
    """The model, as ``ddpm.models.resolve`` takes it."""
    settings: SamplingConfig
    num_samples: int = 500
    seed: int = 0
    all_methods: bool = False
    """``DDIM_STEPS``, every other sampler, and ddpm with all T steps, in the place of ``settings``' sampler alone."""
    per_class: bool = False
    lpips_weights: Path | None = None


class Method(NamedTuple):
    """A way of sampling that is judged: the name of its stage, its settings, and how many samples it gets."""

    name: str
    settings: SamplingConfig
    num_samples: int


@dataclass(frozen=True)
class StageProgress:
    """Work is going on in a stage. ``eta`` is in seconds, for all stages; None before anything is known."""

    stage: str
    text: str
    share: float
    """Of the whole evaluation, 0..1, by network evaluations."""
    eta: float | None


@dataclass(frozen=True)
class StageDone:
    """A stage is complete; ``results`` is everything so far, ready for JSON."""

    stage: str
    reused: bool
    results: dict[str, Any] = field(repr=False)


Event = StageProgress | StageDone


def methods_of(model: Model, protocol: Protocol) -> list[Method]:
    """The ways of sampling that a protocol asks for, each at most once."""
    chosen, total = protocol.settings, model.schedule.num_timesteps
    if not protocol.all_methods:
        return [_method(chosen, protocol.num_samples)]
    ddim = [chosen.model_copy(update={"sampler": "ddim", "num_steps": steps}) for steps in DDIM_STEPS if steps <= total]
    others = [chosen.model_copy(update={"sampler": name}) for name in SAMPLERS if name != "ddim"]
    full = _method(
        chosen.model_copy(update={"sampler": "ddpm", "num_steps": total}), min(FULL_CHAIN_SAMPLES, protocol.num_samples)
    )
    wanted = [_method(settings, protocol.num_samples) for settings in (chosen, *ddim, *others)]
    return list({method.name: method for method in (*wanted, full)}.values())


def _method(settings: SamplingConfig, num_samples: int) -> Method:
    if settings.guidance_scale == 1:  # without guidance its interval decides nothing
        settings = settings.model_copy(update={"guidance_interval": None})
    return Method(f"{settings.sampler}_{settings.num_steps}steps", settings, num_samples)


class _Evaluation:
    """One evaluation under way: what its stages share, and how much of it is done."""

    def __init__(self, model: Model, protocol: Protocol):
        self.model, self.protocol = model, protocol
        self.real = RealImages.load(model.config.data, protocol.seed, bool(model.num_classes))
        self.lpips = _find_lpips(model, protocol)
        self.sha256 = weights_sha256(resolve(protocol.reference))
        self.timesteps = [t for t in SEED_TIMESTEPS if t < model.schedule.num_timesteps]
        self.started, self.done, self.total = time.perf_counter(), 0, 0

    def plan(self) -> dict[str, Method | None]:
        """The stages by name; None is the calibration."""
        return {"calibration": None} | {method.name: method for method in methods_of(self.model, self.protocol)}

    def cost(self, method: Method | None) -> int:
        """Network evaluations of a stage."""
        if method is None:
            return 0 if self.real.test is None else len(self.real.test) * len(self.timesteps)
        guided = bool(self.model.num_classes)
        return method.num_samples * evaluations(method.settings, self.model.schedule, guided)

    def made_by(self, method: Method | None) -> dict[str, Any]:
        """What decides the result of a stage: where it is the same, the result is not computed again."""
        how = {"dataset": self.model.config.data.dataset, "dataset_found": not self.real.missing,
               "seed": self.protocol.seed}  # fmt: skip
        if method is None:  # a table with the classes holds the one without: not asked for, they stay if they are there
            how |= {"per_class": True} if self.protocol.per_class else {}
        else:
            how |= {
                "num_samples": method.num_samples,
                "settings": method.settings.model_dump(mode="json"),
                "lpips_found": not isinstance(self.lpips, MetricError),
                "classifier_sha256": weights_sha256(classifier.SHIPPED),
            }
        return {"model": self.protocol.reference, "sha256": self.sha256, **how}

    def advance(self, stage: str, text: str, work: int) -> StageProgress:
        self.done += work
        elapsed = time.perf_counter() - self.started
        eta = elapsed / self.done * (self.total - self.done) if self.done else None
        return StageProgress(stage, text, self.done / max(1, self.total), eta)

    # -- the stages: they yield their progress and return their result ---------------------------------------------

    def calibration(self) -> Iterator[StageProgress]:
        if self.real.missing:
            return unavailable(self.real.missing)
        images, labels = self.real.test.scaled(), self.real.test.labels
        seed, schedule, errors = self.protocol.seed, self.model.schedule, []
        for found in image_errors(
            self.model.denoiser(clip=False), schedule, images, self.timesteps, seed, device=self.model.device
        ):
            errors.append(found)
            row = found.row()
            text = f"t = {row.t}: eps-MSE {row.mse:.3g} ± {row.mse_ci95:.1g}, x0-PSNR {row.psnr:.2f} dB"
            yield self.advance("calibration", text, len(images))
        table = table_of([found.row() for found in errors])
        if self.protocol.per_class:
            table["per_class"] = _per_class(errors, labels)
        yield self.advance("calibration", "the linear denoiser, for comparison", 0)
        try:
            wiener = WienerDenoiser.fit(self.real.train.images, schedule)
            found = image_errors(wiener, schedule, images, self.timesteps, seed)
            table["wiener"] = table_of([errors.row() for errors in found])
        except MetricError as error:
            table["wiener"] = unavailable(error)
        if self.model.config.data.dataset == SEED_REPORT.dataset:
            table["seed_report"] = SEED_REPORT._asdict()
        return table

    def sampling(self, method: Method) -> Iterator[StageProgress]:
        labels, looks, batches, counting = list(range(self.model.num_classes)) or None, Counter(), [], threading.Lock()

        def count_looks(network, inputs, output) -> None:
            with counting:  # the parts of a batch are looked at in threads of their own
                looks.update(made=len(inputs[0]), untold=len(inputs[0]))

        hook = self.model.network.register_forward_hook(count_looks)
        try:
            for first in range(0, method.num_samples, BATCH_SIZE):
                count = min(BATCH_SIZE, method.num_samples - first)
                steps = sample(self.model, labels=labels, settings=method.settings, seed=self.protocol.seed,
                               indices=range(first, first + count))  # fmt: skip
                for step in steps:
                    if step.t >= 0:
                        text = f"{first:,} of {method.num_samples:,} samples, t = {step.t} of the next {count}"
                        yield self.advance(method.name, text, looks.pop("untold"))
                batches.append(step.x0.clamp(-1, 1).cpu())
        finally:
            hook.remove()
        yield self.advance(method.name, f"judging {method.num_samples:,} samples", looks["untold"])
        asked = torch.tensor(repeat_labels(labels, range(method.num_samples))) if labels else None
        return {
            "network_evaluations": looks["made"] / method.num_samples,
            **judge(torch.cat(batches), asked, self.real, self.lpips),
        }


def _find_lpips(model: Model, protocol: Protocol) -> Distance | MetricError:
    try:
        check_lpips_size(model.config.data.image_size)  # first: it saves a download
        return load_lpips(protocol.lpips_weights)
    except MetricError as error:
        return error


def table_of(rows: list[CalibrationRow]) -> dict[str, Any]:
    """Calibration rows as columns, named as the seed report names them and beyond."""
    names = ("mse", "mse_ci95", "psnr", "psnr_ci95", "ssim", "ssim_ci95", "mse_x0", "identity_residual")
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in names}
    if any(row.ssim is None for row in rows):
        columns["ssim"] = columns["ssim_ci95"] = unavailable("SSIM needs images of 6 pixels or more: read PSNR instead")
    return {"timesteps": [row.t for row in rows], **columns, "num_images": rows[0].num_images if rows else 0}


def _per_class(errors: list[ImageErrors], labels: Tensor) -> dict[str, Any]:
    if int(labels.max()) < 0:
        return unavailable("the images have no labels: put them into one folder for each class")
    return {str(k): table_of([found.row(labels == k) for found in errors]) for k in labels.unique().tolist()}


def evaluate_to(path: Path, model: Model, protocol: Protocol) -> Iterator[Event]:
    """``evaluate``, its result written to ``path`` after every stage and continued from what ``path`` holds."""
    for event in evaluate(model, protocol, read_results(path) if path.is_file() else None):
        if isinstance(event, StageDone):
            write_results(path, event.results)
        yield event


def evaluate(model: Model, protocol: Protocol, previous: dict[str, Any] | None = None) -> Iterator[Event]:
    """Evaluate a model, stage by stage; the last event holds everything, as a dict for JSON.

    Args:
        previous: an earlier result. Its stages are kept where they are of the same weights, and not computed again
            where they were made in the same way.

    Raises:
        ConfigError: settings that the model does not allow, or LPIPS weights that are not there.
    """
    work = _Evaluation(model, protocol)
    plan = work.plan()
    results = _still_valid(previous or {}, work.sha256)
    fresh = {name for name, method in plan.items()
             if not _same(results.get(name, {}).get("made_by", {}), work.made_by(method))}  # fmt: skip
    work.total = sum(work.cost(plan[name]) for name in fresh)
    for name, method in plan.items():
        if name in fresh:
            started = time.perf_counter()
            result = yield from (work.calibration() if method is None else work.sampling(method))
            seconds = round(time.perf_counter() - started, 3)
            results[name] = _without_nan(result) | {
                "made_by": work.made_by(method) | {"versions": versions(), "seconds": seconds}
            }
        results["made_by"] = _summary(work, results)
        yield StageDone(name, name not in fresh, dict(results))


def _same(made_by: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if "settings" in made_by:  # one that is younger than the result had its default
        made_by = made_by | {"settings": SamplingConfig().model_dump(mode="json") | made_by["settings"]}
    return {key: made_by.get(key) for key in wanted} == wanted


def _still_valid(previous: dict[str, Any], sha256: str) -> dict[str, Any]:
    """The stages of an earlier result that are of these weights."""
    stages = {name: stage for name, stage in previous.items() if isinstance(stage, dict) and name != "made_by"}
    return {name: stage for name, stage in stages.items() if stage.get("made_by", {}).get("sha256") == sha256}


def _summary(work: _Evaluation, results: dict[str, Any]) -> dict[str, Any]:
    protocol, stages = work.protocol, [stage for name, stage in results.items() if name != "made_by"]
    return {
        "model": protocol.reference,
        "sha256": work.sha256,
        "weights": "averaged (EMA)",
        "dataset": work.model.config.data.dataset,
        "class_names": list(work.real.test.class_names) if work.real.test else [],
        "num_samples": protocol.num_samples,
        "classes": "balanced" if work.model.num_classes else "none",
        "seed": protocol.seed,
        "guidance_scale": protocol.settings.guidance_scale,
        "versions": versions(),
        "seconds": total_seconds(stages),
    }


def versions() -> dict[str, str]:
    return {"ddpm": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def _without_nan(value: Any) -> Any:
    """``value`` with every number that JSON does not know replaced by why it is missing."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return unavailable(f"the result was {value}: the samples or predictions are not finite, or equal to the truth")
    return value
