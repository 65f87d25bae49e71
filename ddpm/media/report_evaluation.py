"""The part of a report that tells of the evaluation: calibration, samples beside real images, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DDPMError
from ..evaluation.results import (
    METRICS,
    absences,
    class_names,
    headline,
    missing_metrics,
    missing_stages,
    name_in,
    sample_stages,
    stage_label,
    unavailable,
)
from ..evaluation.structure import ROUNDING
from .document import Markdown
from .drawers import save_chart
from .figures import calibration_chart, quality_chart

if TYPE_CHECKING:
    from .subject import Subject

Rows = list[Sequence[object]]


def evaluation(subject: Subject) -> dict[str, Any]:
    """What ``evaluation.md.j2`` shows; its figures are drawn."""
    results = subject.results
    if isinstance(results, DDPMError):
        return {"evaluation": {**unavailable(results), "uses": ()}}
    calibration = results.get("calibration", unavailable("this stage has not run yet"))
    stages = sample_stages(results)
    shown = [key for key in METRICS if any(isinstance(stage[key], float) for stage in stages.values())]
    uses = {*shown, *(stage["made_by"]["settings"]["sampler"] for stage in stages.values())}
    return {
        "evaluation": {
            "made_by": results["made_by"],
            "calibration": calibration if "unavailable" in calibration else _calibration(subject, calibration),
            "quality": {
                "absent_stages": missing_stages(results).items(),
                **(_quality(subject, stages, shown) if stages else {"table": None}),
            },
            "uses": uses | {"ssim"} if isinstance(calibration.get("ssim"), list) else uses,
        }
    }


def _calibration(subject: Subject, result: Mapping[str, Any]) -> dict[str, Any]:
    """The calibration as a table, and the same timesteps as others see them."""
    drawn = calibration_chart({subject.model.config.name: result}, "mse", y_label="MSE of the predicted noise")
    save_chart(drawn, subject.figure("calibration.png"))
    columns = {
        "t": result["timesteps"],
        "eps-MSE": _with_interval(result, "mse", "#.3g"),
        "x0-PSNR, dB": _with_interval(result, "psnr", ".2f"),
        "x0-SSIM": _with_interval(result, "ssim", ".3f"),
    }
    residuals = [value for value in result.get("identity_residual", ()) if isinstance(value, float)]
    others = {label: result[key] for key, label in (("wiener", "linear"), ("seed_report", "seed report"))
              if "mse" in result.get(key, {})}  # fmt: skip
    per_class = result.get("per_class", {})
    known = per_class and "unavailable" not in per_class
    reasons = (
        absences({"calibration per class": per_class}),
        absences({"linear denoiser": result.get("wiener"), "SSIM": result.get("ssim")}),
    )
    return {
        "num_images": result["num_images"],
        "table": _rows({name: cells for name, cells in columns.items() if cells}),
        "residual": max(residuals, default=0.0) if "identity_residual" in result else None,
        "is_rounding": max(residuals, default=0.0) < ROUNDING,
        "comparison": _comparison(result, others) if others else None,
        "linear": _against_linear(result, others["linear"]) if "linear" in others else None,
        "per_class": _class_by_class(per_class, class_names(subject.results)) if known else None,
        "absent": [pair for found in reasons for pair in found.items()],
    }


def _rows(columns: Mapping[str, Iterable[object]]) -> Rows:
    """Columns as a table, whose first row is its header."""
    return [list(columns), *zip(*columns.values(), strict=True)]


def _with_interval(result: Mapping[str, Any], name: str, form: str) -> list[Markdown]:
    """The cells of a column; none where it is not there at all."""
    values, half = result.get(name), result.get(f"{name}_ci95")
    if not isinstance(values, list):
        return []
    # No-break spaces: a number and its interval stay on one line.
    return [
        Markdown(f"{_number(value, form)}\u00a0±\u00a0{h:.1g}") if isinstance(h, float) else _number(value, form)
        for value, h in zip(values, half if isinstance(half, list) else [None] * len(values), strict=True)
    ]


def _number(value: Any, form: str = ".3g") -> Markdown:
    """A number; a dash where it is unavailable, for which the text gives the reason."""
    return Markdown(format(value, form) if isinstance(value, int | float) else "–")


def _comparison(result: Mapping[str, Any], others: Mapping[str, Any]) -> Rows:
    """The network beside the linear denoiser and the seed report, where these are known."""
    columns = {"t": result["timesteps"]}
    for key, label, form in (("mse", "eps-MSE", ".3g"), ("psnr", "x0-PSNR, dB", ".4g")):
        columns[label] = [_number(value, form) for value in result[key]]
        for other, known in others.items():
            at = dict(zip(known["timesteps"], known[key], strict=True))
            columns[f"{label}, {other}"] = [_number(at.get(t), form) for t in result["timesteps"]]
    return _rows(columns)


def _class_by_class(tables: Mapping[str, Any], names: Sequence[str]) -> Rows:
    """The error of the predicted noise for every class, where that was asked for."""
    rows = zip(next(iter(tables.values()))["timesteps"], *(part["mse"] for part in tables.values()), strict=True)
    header = ["t", *(name_in(names, label) for label in tables)]
    return [header, *([t, *(_number(value, ".2g") for value in values)] for t, *values in rows)]


def _against_linear(result: Mapping[str, Any], linear: Mapping[str, Any]) -> dict[str, Any]:
    """Where the network's error is below that of the linear denoiser, and by how much it is above elsewhere."""
    ratios = {
        t: ours / theirs
        for t, ours, theirs in zip(result["timesteps"], result["mse"], linear["mse"], strict=True)
        if isinstance(ours, float) and isinstance(theirs, float) and theirs
    }
    rest = [ratio for ratio in ratios.values() if ratio >= 1]
    return {"below": [t for t, ratio in ratios.items() if ratio < 1], "excess": max(rest) - 1 if rest else None}


def _quality(subject: Subject, stages: Mapping[str, Mapping[str, Any]], shown: Sequence[str]) -> dict[str, Any]:
    """The metrics of the samples beside those of real images, a row for each way of sampling."""
    first = stages[headline(stages, subject.model.config.sampling)]
    real = {stage["num_samples"]: stage["reference"] for stage in stages.values()
            if "unavailable" not in stage["reference"]}  # fmt: skip
    guidance = {stage["made_by"]["settings"]["guidance_scale"] for stage in stages.values()}
    natural = first["reference"].get("frechet_distance_natural")
    missing = absences({"Nearest training images": first["nearest_training_image"], "Real images": first["reference"]})
    return {
        "guidance": [f"{scale:g}" for scale in sorted(guidance)],
        "real": real,
        "table": _quality_table(stages.values(), real, shown),
        "metrics": {key: METRICS[key] for key in shown},
        "natural": natural if isinstance(natural, float) else None,
        "absent": [*missing_metrics(stages.values()).items(), *missing.items()],
        "drawn": _quality_figure(subject, stages),
        **_classes(first),
    }


def _quality_table(
    stages: Iterable[Mapping[str, Any]], real: Mapping[int, Mapping[str, Any]], shown: Sequence[str]
) -> Rows:
    """A row for each way of sampling, and below them a row for as many real images."""

    def metrics(measured: Mapping[str, Any]) -> list[Markdown]:
        return [_number(measured.get(key), METRICS[key].form) for key in shown]

    return [
        ["", "n", "Network evaluations", *(METRICS[key].label for key in shown), "Nearest"],
        *(
            [
                stage_label(stage),
                f"{stage['num_samples']:,}",
                f"{stage['network_evaluations']:,g}",
                *metrics(stage),
                _number(stage["nearest_training_image"].get("ratio")),
            ]
            for stage in stages
        ),
        *(
            [Markdown("**real images**"), f"{count:,}", "", *metrics(real[count]), ""]
            for count in sorted(real, reverse=True)
        ),
    ]


def _quality_figure(subject: Subject, stages: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Draw quality over cost; returns the metric that was drawn."""
    for key in ("frechet_distance", "pixel_diversity"):
        measured = {name: stage for name, stage in stages.items() if isinstance(stage[key], float)}
        if len(measured) > 1:
            label = METRICS[key].label
            save_chart(quality_chart({"": measured}, key, y_label=label), subject.figure("quality.png"))
            return label
    return None


def _classes(stage: Mapping[str, Any]) -> dict[str, Rows | None]:
    """What the classifier takes the samples for: by the class asked for, or beside the test set where none was."""
    matrix = stage["confusion_matrix"]
    counts = {"samples": stage["class_histogram"], "test images": stage["reference"].get("class_histogram")}
    header = ["", *map(str, range(10))]
    rows, shares = None, None
    if isinstance(matrix, list):
        rows = [header, *([Markdown(f"**{k}**"), *row] for k, row in enumerate(matrix))]
    elif isinstance(counts["samples"], list):
        known = {label: found for label, found in counts.items() if isinstance(found, list)}
        shares = [header, *([label, *(f"{k / max(1, sum(found)):.1%}" for k in found)]
                            for label, found in known.items())]  # fmt: skip
    return {"confusion": rows, "histogram": shares}
