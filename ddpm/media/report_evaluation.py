"""The part of a report that tells of the evaluation: calibration, samples beside real images, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .document import figure, number, table
from .figures import save_calibration, save_quality

if TYPE_CHECKING:
    from .report import Subject

# Of a stage that judges samples: what its numbers are called, and what they say.
METRICS = {
    "frechet_distance": ("Fréchet distance", "to the test set, on the classifier's features; lower is nearer"),
    "kid": ("KID", "kernel distance to the test set, unbiased: 0 for the same distribution"),
    "precision": ("Precision", "share of samples that look like a test image"),
    "recall": ("Recall", "share of test images that the samples come near to"),
    "label_accuracy": ("Label accuracy", "share that the classifier takes for the class asked for"),
    "lpips_diversity": ("LPIPS diversity", "mean perceptual distance of 100 pairs"),
    "pixel_diversity": ("Pixel diversity", "standard deviation over images of a pixel in [-1, 1]; noise has 1"),
}


def calibration_section(subject: Subject, result: Mapping[str, Any]) -> Iterator[str]:
    """The calibration: its plot, its table, and the same timesteps as others see them."""
    yield "### Calibration"
    yield ""
    if "unavailable" in result:
        yield f"Not available: {result['unavailable']}."
        yield ""
        return
    save_calibration(result, subject.folder / "calibration.png", subject.model.config.name)
    caption = (
        f"Noise of strength t is added once to each of {result['num_images']:,} test images, and the network, told no "
        f"class, predicts it. Bars are 95 % confidence intervals of the mean over images."
    )
    yield from figure("calibration.png", "Calibration over t", caption)
    columns = {
        "t": [str(t) for t in result["timesteps"]],
        "eps-MSE": _with_interval(result, "mse", "{:#.3g}"),
        "x0-PSNR, dB": _with_interval(result, "psnr", "{:.2f}"),
        "x0-SSIM": _with_interval(result, "ssim", "{:.3f}"),
    }
    columns = {name: cells for name, cells in columns.items() if cells}
    yield from table(list(columns), list(zip(*columns.values(), strict=True)))
    if "identity_residual" in result:
        worst = max((value for value in result["identity_residual"] if isinstance(value, float)), default=0.0)
        yield (
            "By definition MSE_eps = SNR x MSE_x0 before clipping; the largest relative difference here is "
            f"{worst:.1g}, which is {'rounding' if worst < 1e-4 else 'a fault of the prediction'}."
        )
        yield ""
    yield from _comparison(result)
    yield from _absences({"linear denoiser": result.get("wiener"), "SSIM": result.get("ssim")})


def _with_interval(result: Mapping[str, Any], name: str, form: str) -> list[str]:
    """The cells of a column; none where it is not there at all."""
    values, half = result.get(name), result.get(f"{name}_ci95")
    if not isinstance(values, list):
        return []
    cells = [form.format(value) if isinstance(value, float) else "–" for value in values]
    # No-break spaces: a number and its interval stay on one line.
    return [
        f"{cell}\u00a0±\u00a0{h:.1g}" if isinstance(h, float) else cell
        for cell, h in zip(cells, half if isinstance(half, list) else [None] * len(cells), strict=True)
    ]


def _comparison(result: Mapping[str, Any]) -> Iterator[str]:
    """The network beside the linear denoiser and the seed report, where these are known."""
    others = {label: result[key] for key, label in (("wiener", "linear"), ("seed_report", "seed report"))
              if "mse" in result.get(key, {})}  # fmt: skip
    if not others:
        return
    columns = {"t": [str(t) for t in result["timesteps"]]}
    for key, label, digits in (("mse", "eps-MSE", 3), ("psnr", "x0-PSNR, dB", 4)):
        columns[label] = [number(value, digits) for value in result[key]]
        for other, known in others.items():
            at = dict(zip(known["timesteps"], known[key], strict=True))
            columns[f"{label}, {other}"] = [number(at.get(t), digits) for t in result["timesteps"]]
    yield from table(list(columns), list(zip(*columns.values(), strict=True)))
    if "linear" in others:
        yield _against_linear(result, others["linear"])
        yield ""


def _against_linear(result: Mapping[str, Any], linear: Mapping[str, Any]) -> str:
    ratios = {
        t: ours / theirs
        for t, ours, theirs in zip(result["timesteps"], result["mse"], linear["mse"], strict=True)
        if isinstance(ours, float) and isinstance(theirs, float) and theirs
    }
    below, rest = [t for t, ratio in ratios.items() if ratio < 1], [ratio for ratio in ratios.values() if ratio >= 1]
    text = (
        "The linear (Wiener) denoiser sees the same noisy images and knows only the mean and the covariance of the "
        "training set: a network is worth its cost where its error is lower, here at t = "
        f"{', '.join(map(str, below)) or 'none of these'}."
    )
    return text + (f" Elsewhere its error is up to {max(rest) - 1:.1%} above the linear one." if rest else "")


def quality_section(subject: Subject, stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The metrics of the samples beside those of real images, one column a way of sampling."""
    yield "### Sample quality"
    yield ""
    if not stages:
        yield f"Not available: no samples have been judged: run `python -m ddpm eval --model {subject.reference}`."
        yield ""
        return
    if any("unavailable" not in stage["reference"] for stage in stages.values()):
        yield "Each cell is the metric of the samples, and in brackets that of as many real images: the level to reach."
        yield ""
    header = ["", *(f"{name.replace('_', ', ').replace('steps', ' steps')}" for name in stages)]
    rows = [
        ["Samples", *(f"{stage['num_samples']:,}" for stage in stages.values())],
        ["Network evaluations an image", *(number(stage["network_evaluations"], 4) for stage in stages.values())],
        ["Guidance", *(number(stage["made_by"]["settings"]["guidance_scale"]) for stage in stages.values())],
    ]
    shown = [key for key in METRICS if any(isinstance(stage[key], float) for stage in stages.values())]
    for key in shown:
        cells = [f"{number(stage[key])} ({number(stage['reference'].get(key))})" for stage in stages.values()]
        rows.append([METRICS[key][0], *cells])
    rows.append(["Nearest training image", *(_nearest(stage) for stage in stages.values())])
    yield from table(header, rows)
    headline = _headline(subject, stages)
    for key in shown:
        more = _natural_floor(headline) if key == "frechet_distance" else ""
        yield f"- **{METRICS[key][0]}**: {METRICS[key][1]}.{more}"
    yield (
        "- **Nearest training image**: median distance of a sample to the training image nearest to it, in units of "
        "that of a test image. About 1 is new; far below 1 is copied."
    )
    yield ""
    yield from _absences({label: headline[key] for key, (label, _) in METRICS.items()})
    yield from _quality_figure(subject, stages)
    yield from _confusion(headline)


def _headline(subject: Subject, stages: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The stage of the model's own settings, else the one with the most samples."""
    settings = subject.model.config.sampling
    name = f"{settings.sampler}_{settings.num_steps}steps"
    return stages[name] if name in stages else max(stages.values(), key=lambda stage: stage["num_samples"])


def _natural_floor(stage: Mapping[str, Any]) -> str:
    """What real images reach whose classes are as frequent as the test set's, where samples have all classes alike."""
    value = stage["reference"].get("frechet_distance_natural")
    if not isinstance(value, float):
        return ""
    return f" Real images reach {value:.3g} with the classes as often as they come, instead of balanced as here."


def _nearest(stage: Mapping[str, Any]) -> str:
    return number(stage["nearest_training_image"].get("ratio"))


def _quality_figure(subject: Subject, stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for key in ("frechet_distance", "pixel_diversity"):
        measured = {name: stage for name, stage in stages.items() if isinstance(stage[key], float)}
        if len(measured) > 1:
            label = METRICS[key][0]
            save_quality(measured, key, label, subject.folder / "quality.png")
            caption = f"{label} over the cost of a sample; dotted, the level of real images."
            yield from figure("quality.png", "Quality over cost", caption)
            return


def _confusion(stage: Mapping[str, Any]) -> Iterator[str]:
    matrix = stage["confusion_matrix"]
    if not isinstance(matrix, list):
        return
    yield "What the classifier takes the samples for (columns), by the class asked for (rows):"
    yield ""
    yield from table(["", *map(str, range(10))], [[f"**{k}**", *row] for k, row in enumerate(matrix)])


def _absences(values: Mapping[str, Any]) -> Iterator[str]:
    """What is unavailable among ``values``, one line a reason."""
    reasons: dict[str, list[str]] = {}
    for label, value in values.items():
        if isinstance(value, Mapping) and "unavailable" in value:
            reasons.setdefault(value["unavailable"], []).append(label)
    for reason, labels in reasons.items():
        yield f"Not available: **{', '.join(labels)}**: {reason}."
        yield ""
