"""The results of evaluations: where they are stored, how they are read and written, and how their numbers are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..datasets import DATASETS
from ..errors import DataError, MetricError
from ..escaping import csv_text
from ..files import RESULTS, EvaluationFolder, write_text
from ..samplers import SAMPLERS
from ..storage.hub import HubReference, is_on_hub
from .structure import METRICS, Summary, fault_of

if TYPE_CHECKING:
    from ..config.sections import SamplingConfig
    from ..models import Model

Stage = Mapping[str, Any]


# What else a stage holds about its samples, besides metrics.
DETAILS = ("kid_std", "confusion_matrix", "class_histogram", "surest", "least_sure", "nearest_training_image")
INTERVALS = ("frechet_distance_ci95",)  # half the width of 95 %; not in earlier results, of which nothing is missed


def unavailable(reason: Exception | str) -> dict[str, str]:
    """What replaces a number that cannot be computed: why, and the remedy."""
    return {"unavailable": str(reason)}


LACKING = unavailable("it has not been computed yet: evaluate again, which computes just what is missing")


# -- on disk -------------------------------------------------------------------------------------------------------


def folder_of(model: Model) -> EvaluationFolder:
    """Where a model's evaluation and report go: the folder of its run; for weights without a run, ``model-<name>``
    beside the runs, since a run of that name has its own results; for Hub models, ``model-<user>--<repo>``, since many
    of them share a name."""
    if is_on_hub(model.reference):
        return EvaluationFolder.named(f"model-{HubReference.parse(model.reference).repo_id.replace('/', '--')}")
    if run := model.run:
        return EvaluationFolder(run.path)
    return EvaluationFolder.named(f"model-{model.config.name}")


def read_results(path: Path) -> dict[str, Any]:
    """Read an evaluation; a damaged stage becomes unavailable, with what is wrong.

    Raises:
        DataError: the file cannot be read, or is no evaluation.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as an evaluation ({reason}): delete it, or name another file") from None
    if not isinstance(results, dict) or not isinstance(results.get("made_by", {}), dict):
        raise DataError(f"{path} is no evaluation: delete it, or name another file")
    if "made_by" not in results and not all(isinstance(stage, dict) for stage in results.values()):
        raise DataError(f"{path} is no evaluation: delete it, or name another file")
    return sound(results)


def sound(results: Stage) -> dict[str, Any]:
    """An evaluation with damaged stages made unavailable, with what is wrong with them."""
    return {name: stage if name == "made_by" or not (fault := fault_of(stage))
            else unavailable(f"what is stored of this stage is damaged ({fault}): evaluate again")
            for name, stage in results.items()}  # fmt: skip


def write_results(path: Path, results: Stage) -> None:
    """Write an evaluation; a number that JSON cannot hold is a ValueError."""
    write_text(path, json.dumps(results, indent=2, allow_nan=False) + "\n")


def find_results(model: Model) -> dict[str, Any]:
    """The evaluation of a model: that in its output folder, completed by the shipped stages beside its weights, so that
    the results that a model is shipped with stay visible while it is re-evaluated.

    Raises:
        MetricError: there is none, or only one of other weights; says how to make it.
    """
    remedy = f"run `python -m ddpm eval --model {model.reference}`"
    candidates = [folder_of(model).evaluation, *([model.weights.with_name(RESULTS)] if model.weights else [])]
    found = {path: read_results(path) for path in candidates if path.is_file()}
    ours = {path: results for path, results in found.items()
            if results.get("made_by", {}).get("sha256") == model.sha256}  # fmt: skip
    for path, results in ours.items():
        if fault := fault_of(results["made_by"], Summary):
            raise DataError(f"{path} is damaged (made_by.{fault}): {remedy}, which keeps its sound stages")
    if ours:
        newest, *_, shipped = [*ours.values(), *ours.values()]
        merged = shipped | {name: stage for name, stage in newest.items()
                            if "unavailable" not in stage or name not in shipped}  # fmt: skip
        whole = {name: _with_all_keys(stage) for name, stage in merged.items()}
        seconds = total_seconds(stage for name, stage in merged.items() if name != "made_by")
        return whole | {"made_by": merged["made_by"] | {"seconds": seconds}}
    if found:
        raise MetricError(f"the evaluation in {next(iter(found))} is of other weights: {remedy}")
    raise MetricError(f"this model has not been evaluated: {remedy}")


def _with_all_keys(stage: Stage) -> dict[str, Any]:
    """A stage with every metric that it lacks marked as missing."""

    def lacking(part: Stage, keys: Iterable[str]) -> dict[str, Any]:
        return {key: LACKING for key in keys if key not in part}

    if "reference" not in stage:
        return dict(stage)
    real = stage["reference"]
    if "unavailable" not in real:
        real = real | lacking(real, METRICS)
    return stage | lacking(stage, (*METRICS, *DETAILS)) | {"reference": real}


def total_seconds(stages: Iterable[Stage]) -> float:
    """The computing time of some stages."""
    return round(sum(stage["made_by"]["seconds"] for stage in stages if "made_by" in stage), 3)


# -- what they hold ------------------------------------------------------------------------------------------------


def sample_stages(results: Stage) -> dict[str, dict[str, Any]]:
    """The stages of an evaluation that judge samples, by name, the cheapest first."""
    found = {name: stage for name, stage in results.items() if isinstance(stage, dict) and "reference" in stage}
    return dict(sorted(found.items(), key=lambda item: item[1]["network_evaluations"]))


def stage_label(stage: Stage) -> str:
    """How samples were made, in words: DDIM, 50 steps."""
    settings = stage["made_by"]["settings"]
    return f"{SAMPLERS[settings['sampler']].label}, {settings['num_steps']:,} steps"


def headline(stages: Mapping[str, Stage], settings: SamplingConfig) -> str:
    """The stage to show first: that of the model's own ``settings``, else the one with the most samples."""
    own = f"{settings.sampler}_{settings.num_steps}steps"
    return own if own in stages else max(stages, key=lambda name: stages[name]["num_samples"])


class Series(NamedTuple):
    """Stages that differ only in their number of steps, so that a line may join them: the cheapest first."""

    sampler: str
    num_samples: int
    label: str
    """What distinguishes it from the others: DDIM, n = 1,000, guidance scale 2.0."""
    stages: list[Stage]


def series_of(stages: Iterable[Stage]) -> list[Series]:
    """Group stages that can be compared along a line: one sampler at one setting, judged on one number of samples.

    More samples alone lower a Fréchet distance and raise a recall; a line from few samples to many would attribute that
    to the steps.
    """
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(json.dumps(_apart(stage), sort_keys=True), []).append(stage)
    values: dict[str, set[str]] = {}  # of each setting, among the samplers that have it
    for group in groups.values():
        for name, value in _apart(group[0]).items():
            values.setdefault(name, set()).add(str(value))
    differing = [name for name, found in values.items() if len(found) > 1 and name != "sampler"]
    found = []
    for group in groups.values():
        apart = _apart(group[0])
        others = [f"{name.replace('_', ' ')} {apart[name]}" for name in differing if name in apart]
        label = ", ".join([SAMPLERS[apart["sampler"]].label, *others])
        group = sorted(group, key=lambda stage: stage["network_evaluations"])
        found.append(Series(apart["sampler"], group[0]["num_samples"], label, group))
    return sorted(found, key=lambda series: (series.sampler, -series.num_samples))


def _apart(stage: Stage) -> dict[str, Any]:
    """What two stages of one series have in common."""
    settings = {name: value for name, value in stage["made_by"]["settings"].items() if name != "num_steps"}
    return {"n =": f"{stage['num_samples']:,}"} | settings


def real_levels(stages: Iterable[Stage], key: str) -> dict[int, float]:
    """A metric's real baseline by the number of images, which is that of the samples; the most come first."""
    known = {stage["num_samples"]: stage["reference"].get(key) for stage in stages}
    return {count: known[count] for count in sorted(known, reverse=True) if isinstance(known[count], float)}


def missing_stages(results: Stage) -> dict[str, str]:
    """The ways of sampling that are unavailable as a whole, by their reason, as from ``absences``."""
    return absences({name: stage for name, stage in results.items() if name not in ("made_by", "calibration")})


def absences(values: Mapping[str, Any]) -> dict[str, str]:
    """What is unavailable among ``values``: the reason, and the keys that share it, as "a, b"."""
    reasons: dict[str, list[str]] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and "unavailable" in value:
            reasons.setdefault(value["unavailable"], []).append(key)
    return {reason: ", ".join(keys) for reason, keys in reasons.items()}


def missing_metrics(stages: Iterable[Stage], *, everywhere: bool = True) -> dict[str, str]:
    """The metrics that are unavailable in some stages, by their reason, as from ``absences``: "KID, Recall of DDIM, 10
    steps" if other stages have them. ``everywhere`` includes those that no stage has."""
    stages = list(stages)
    found: dict[str, dict[str, list[str]]] = {}  # reason: where: metrics
    for key, metric in METRICS.items():
        for reason in absences({str(k): stage[key] for k, stage in enumerate(stages)}):
            at = [stage_label(stage) for stage in stages if stage[key] == unavailable(reason)]
            where = f" of {'; '.join(at)}" if len(at) < len(stages) else ""
            if where or everywhere:
                found.setdefault(reason, {}).setdefault(where, []).append(metric.label)
    return {
        reason: "; ".join(", ".join(labels) + where for where, labels in groups.items())
        for reason, groups in found.items()
    }


def class_names(results: Stage) -> tuple[str, ...]:
    """The names of the test images' classes, in the order of their labels, as far as they are known: for results from
    before classes had names, those of a dataset that fixes them."""
    made_by = results.get("made_by", {})
    dataset = DATASETS.get(made_by.get("dataset"))
    return tuple(made_by.get("class_names", dataset.class_names if dataset else ()))


def name_in(names: Sequence[str], label: str) -> str:
    """The name of a class that results store by its number."""
    return names[int(label)] if label.isdecimal() and int(label) < len(names) else label


def results_csv(results: Stage) -> str:
    """The numbers of an evaluation as CSV: stage, timestep, metric, value, and the real baseline.

    The calibrations to compare with and those of the classes are stages too: ``calibration/wiener``,
    ``calibration/class 3``.
    """
    rows: list[tuple[object, ...]] = [("stage", "t", "metric", "value", "real")]
    for stage, table in calibration_tables(results.get("calibration", {}), class_names(results)):
        for name, values in table.items():
            if isinstance(values, list | tuple) and name != "timesteps":
                pairs = zip(table["timesteps"], values, strict=True)
                rows += ((stage, t, name, v, "") for t, v in pairs if isinstance(v, int | float))
    for stage, found in sample_stages(results).items():
        for name, value in found.items():
            if isinstance(value, int | float):
                rows.append((stage, "", name, value, found["reference"].get(name, "")))
    return csv_text(rows)


def calibration_tables(calibration: Stage, names: Sequence[str] = ()) -> Iterator[tuple[str, Stage]]:
    """The calibration, and those that it holds to compare with, by name; none if it is unavailable."""
    per_class = {f"class {name_in(names, k)}": table for k, table in calibration.get("per_class", {}).items()}
    others = {key: calibration.get(key, {}) for key in ("wiener", "seed_report")} | per_class
    for name, table in {"": calibration, **others}.items():
        if isinstance(table, Mapping) and "timesteps" in table:
            yield "/".join(filter(None, ("calibration", name))), table
