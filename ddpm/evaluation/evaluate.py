"""The evaluation of a model in stages: calibration on the test set, then one stage for each way of sampling.

All models share one protocol: averaged weights, a fixed seed, balanced classes if the model has any, guidance 1 unless
asked otherwise; each result records what produced it. A stage that an earlier result already has, made by the same
weights in the same way, is reused, so that an interrupted evaluation continues where it stopped. If it lacks a metric,
one that is newer or that was unavailable then and is available now, only that is computed, from samples drawn again.

The result is a dict for JSON: ``calibration``, a stage such as ``ddim_50steps`` for each way of sampling, each with its
``made_by``, and ``made_by`` of the whole. A number that is unavailable is ``{"unavailable": "<reason and remedy>"}``,
and so may be a stage, or a part of one.
"""

from __future__ import annotations

import math
import platform
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..config.sections import SamplingConfig
from ..errors import MetricError
from ..files import file_sha256
from ..models import Model, repeat_labels
from ..sampling import evaluations, sample
from . import classifier
from .calibration import COLUMNS, SEED_TIMESTEPS, image_errors, per_class, table_of
from .judge import CLASSIFIER, DATASET, LPIPS, OF_REAL_ALONE, Judged, Measure, judge, measures_of
from .lpips_weights import Distance, load_lpips
from .metrics import check_lpips_size
from .protocol import Method, Protocol, methods_of
from .real_images import RealImages
from .results import LACKING, read_results, sound, total_seconds, unavailable, write_results
from .seed_report import SEED_REPORT
from .wiener import WienerDenoiser

BATCH_SIZE = 64
NOT_CALIBRATED = MetricError(
    "a distilled model predicts the end of its teacher's way, and not the mean of all clean images that x_t may come "
    "from: it is not calibrated, and need not be"
)


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
    """Nothing of it was computed."""
    results: dict[str, Any] = field(repr=False)
    added: tuple[str, ...] = ()
    """What was added to a stage that existed already."""


Event = StageProgress | StageDone


class _Evaluation:
    """One evaluation under way: what its stages share, and how much of it is done."""

    def __init__(self, model: Model, protocol: Protocol):
        self.model, self.protocol = model, protocol
        self.real = RealImages.load(model.config.data, protocol.seed, bool(model.num_classes))
        self.lpips = find_lpips(model.config.data.image_size, protocol.lpips_weights)
        self.timesteps = [t for t in SEED_TIMESTEPS if t < model.schedule.num_timesteps]
        self.started, self.done, self.total = time.perf_counter(), 0, 0

    @property
    def distilled(self) -> bool:
        return bool(self.model.config.model.step_counts)

    def plan(self) -> dict[str, Method | None]:
        """The stages by name; None is the calibration."""
        methods = {method.name: method for method in methods_of(self.model, self.protocol)}
        return methods if self.protocol.samples_only else {"calibration": None} | methods

    def cost(self, method: Method | None, lacking: Sequence[Measure] | None) -> int:
        """Network evaluations of what a stage lacks, see ``lacking``."""
        if lacking is not None:
            samples = 0 if method is None else len(self.samples_for(method, lacking))
        elif method is None:
            return 0 if self.real.test is None or self.distilled else len(self.real.test) * len(self.timesteps)
        else:
            samples = method.num_samples
        return samples and samples * evaluations(method.settings, self.model.schedule, bool(self.model.num_classes))

    def samples_for(self, method: Method, measures: Sequence[Measure]) -> list[int]:
        """Those of the samples that some measures use."""
        seed = self.protocol.seed
        return sorted({index for measure in measures for index in measure.needs(method.num_samples, seed)})

    def decisive(self, method: Method | None) -> dict[str, Any]:
        """What identifies a stage: if any of it differs, it is another stage."""
        how = {"model": self.model.reference, "sha256": self.model.sha256,
               "dataset": self.model.config.data.dataset, "seed": self.protocol.seed}  # fmt: skip
        if digest := self.real.digest:
            how["digest"] = digest
        if method is None:  # a table with the classes includes the one without: unrequested, it stays
            return how | ({"per_class": True} if self.protocol.per_class else {})
        return how | {"num_samples": method.num_samples, "settings": method.settings.model_dump(mode="json")}

    def circumstances(self) -> dict[str, Any]:
        """What was available to measure with. Metrics that lacked one of these are computed once it is available."""
        return {
            DATASET: not self.real.missing,
            LPIPS: not isinstance(self.lpips, MetricError),
            CLASSIFIER: file_sha256(classifier.SHIPPED),
        }

    def lacking(self, method: Method | None, stage: dict[str, Any]) -> list[Measure] | None:
        """What remains to be computed of a stage that was made before; None if it is the whole stage."""
        made_by, now = stage.get("made_by", {}), self.circumstances()
        if not _same(made_by, self.decisive(method)):
            return None
        if method is None:
            sound = "unavailable" in stage or stage.keys() >= {*COLUMNS, "wiener"}
            return None if not sound or (now[DATASET] and not made_by.get(DATASET)) else []

        def is_lacking(measure: Measure) -> bool:
            then = made_by | made_by.get("added", {}).get(measure.names[0], {})
            changed = any(now[key] and then.get(key) != now[key] for key in measure.depends_on)
            parts = [] if measure in OF_REAL_ALONE else [stage]
            if measure.beside and "unavailable" not in stage["reference"]:
                parts.append(stage["reference"])
            return changed or any(part.get(name, LACKING) == LACKING for part in parts for name in measure.names)

        return [measure for measure in measures_of(self.real) if is_lacking(measure)]

    def advance(self, stage: str, text: str, work: int) -> StageProgress:
        self.done += work
        elapsed = time.perf_counter() - self.started
        eta = elapsed / self.done * (self.total - self.done) if self.done else None
        return StageProgress(stage, text, self.done / max(1, self.total), eta)

    # -- the stages: they yield their progress and return their result ---------------------------------------------

    def calibration(self) -> Iterator[StageProgress]:
        if self.distilled:
            return unavailable(NOT_CALIBRATED)
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
            table["per_class"] = per_class(errors, labels)
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

    def sampling(self, method: Method, measures: Sequence[Measure]) -> Iterator[StageProgress]:
        classes, nfe, batches, counting = list(range(self.model.num_classes)) or None, Counter(), [], threading.Lock()
        indices = self.samples_for(method, measures)

        def count_evaluations(network, inputs, output) -> None:
            with counting:  # the parts of a batch are evaluated in separate threads
                nfe.update(total=len(inputs[0]), unreported=len(inputs[0]))

        hook = self.model.network.register_forward_hook(count_evaluations)
        try:
            for first in range(0, len(indices), BATCH_SIZE):
                part = indices[first : first + BATCH_SIZE]
                steps = sample(self.model, labels=classes, settings=method.settings, seed=self.protocol.seed,
                               indices=part)  # fmt: skip
                for step in steps:
                    if step.t >= 0:
                        text = f"{first:,} of {len(indices):,} samples, t = {step.t} of the next {len(part)}"
                        yield self.advance(method.name, text, nfe.pop("unreported"))
                batches.append(step.x0.clamp(-1, 1).cpu())
        finally:
            hook.remove()
        yield self.advance(method.name, f"judging {len(indices):,} samples", nfe["unreported"])
        images = torch.cat(batches) if batches else torch.empty(0, *self.model.config.image_shape)
        asked = torch.tensor(repeat_labels(classes, indices)) if classes else None
        found = judge(Judged(images, asked, self.real, self.lpips, indices, method.num_samples), measures)
        return {"network_evaluations": nfe["total"] / max(1, len(indices)), "num_samples": method.num_samples, **found}

    # -- a whole stage, and what was missing from one --------------------------------------------------------------

    def made(self, method: Method | None) -> Iterator[StageProgress]:
        """A stage from the beginning."""
        started = time.perf_counter()
        work = self.calibration() if method is None else self.sampling(method, measures_of(self.real))
        result = _without_nan((yield from work))
        how = self.decisive(method) | (self.circumstances() if method else {DATASET: not self.real.missing})
        return result | {"made_by": how | {"versions": versions(), "seconds": _since(started)}}

    def completed(self, method: Method, stage: dict[str, Any], measures: Sequence[Measure]) -> Iterator[StageProgress]:
        """A stage completed with what it lacked, which records how that was made; the rest stays as it is."""
        started = time.perf_counter()
        found = _without_nan((yield from self.sampling(method, measures)))
        real, fresh = stage["reference"], found["reference"]
        if "unavailable" in real:
            real = fresh
        else:  # what is unavailable now does not replace what was available before
            beside = [name for measure in measures if measure.beside for name in measure.names]
            real = real | {name: fresh.get(name, fresh) for name in beside
                           if "unavailable" not in fresh or name not in real}  # fmt: skip
        names = [name for measure in measures if measure not in OF_REAL_ALONE for name in measure.names]
        how = self.circumstances() | {"versions": versions()}
        made_by = stage["made_by"] | {
            "seconds": round(stage["made_by"]["seconds"] + _since(started), 3),
            "added": stage["made_by"].get("added", {}) | {measure.names[0]: how for measure in measures},
        }
        return stage | {name: found[name] for name in names} | {"reference": real, "made_by": made_by}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def find_lpips(image_size: int, weights: Path | None) -> Distance | MetricError:
    """The LPIPS network for images of this size, or why there is none."""
    try:
        check_lpips_size(image_size)  # first: it saves a download
        return load_lpips(weights)
    except MetricError as error:
        return error


def evaluate_to(path: Path, model: Model, protocol: Protocol) -> Iterator[Event]:
    """``evaluate``, continued from what ``path`` holds, with the result written there after every stage."""
    for event in evaluate(model, protocol, read_results(path) if path.is_file() else None):
        if isinstance(event, StageDone):
            write_results(path, event.results)
        yield event


def evaluate(model: Model, protocol: Protocol, previous: dict[str, Any] | None = None) -> Iterator[Event]:
    """Evaluate a model, stage by stage; the last event holds everything, as a dict for JSON.

    Args:
        previous: an earlier result. Its stages of the same weights are kept; those made in the same way are not
            computed again.

    Raises:
        ConfigError: settings that the model does not allow, or LPIPS weights that are not there.
    """
    work = _Evaluation(model, protocol)
    plan, results = work.plan(), _still_valid(previous or {}, model.sha256)
    lacking = {name: work.lacking(method, results.get(name, {})) for name, method in plan.items()}
    work.total = sum(work.cost(plan[name], lacking[name]) for name in plan)
    for name, method in plan.items():
        if lacking[name] is None:
            if "unavailable" in results.get(name, {}):
                yield work.advance(name, results[name]["unavailable"], 0)
            results[name] = yield from work.made(method)
        elif lacking[name]:
            results[name] = yield from work.completed(method, results[name], lacking[name])
        results["made_by"] = _summary(work, results)
        added = tuple(measure.names[0] for measure in lacking[name] or ())
        yield StageDone(name, lacking[name] == [], dict(results), added)


def _same(made_by: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if "settings" in made_by:  # a setting newer than the result had its default
        made_by = made_by | {"settings": SamplingConfig().model_dump(mode="json") | made_by["settings"]}
    return {key: made_by.get(key) for key in wanted} == wanted


def _still_valid(previous: dict[str, Any], sha256: str) -> dict[str, Any]:
    """The stages of an earlier result that are of these weights; a damaged one says that it is."""
    whole = previous.get("made_by", {})
    return {name: stage for name, stage in sound(previous).items()
            if name != "made_by" and sha256 and stage.get("made_by", whole).get("sha256") == sha256}  # fmt: skip


def _summary(work: _Evaluation, results: dict[str, Any]) -> dict[str, Any]:
    protocol, stages = work.protocol, [stage for name, stage in results.items() if name != "made_by"]
    return {
        "model": work.model.reference,
        "sha256": work.model.sha256,
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
    """``value`` with every number that JSON cannot hold replaced by why it is missing."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return unavailable(f"the result was {value}: the samples or predictions are not finite, or equal to the truth")
    return value
