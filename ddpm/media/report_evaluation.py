"""The part of a report that tells of the evaluation: calibration, samples beside real images, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..escaping import as_code, as_markdown, as_sentence
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
)
from .document import figure, listed, number, table
from .drawers import save_chart
from .figures import calibration_chart, quality_chart

if TYPE_CHECKING:
    from .subject import Subject


def calibration_section(subject: Subject, result: Mapping[str, Any]) -> Iterator[str]:
    """The calibration: its plot, its table, and the same timesteps as others see them."""
    yield "### Calibration"
    yield ""
    if "unavailable" in result:
        yield f"Not available: {as_sentence(result['unavailable'])}."
        yield ""
        return
    drawn = calibration_chart({subject.model.config.name: result}, "mse", y_label="MSE of the predicted noise")
    save_chart(drawn, subject.figure("calibration.png"))
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
    yield from _class_by_class(result.get("per_class", {}), class_names(subject.results))
    yield from _absences(absences({"linear denoiser": result.get("wiener"), "SSIM": result.get("ssim")}))


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


def _class_by_class(tables: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """The error of the predicted noise for every class, where that was asked for."""
    if "unavailable" in tables or not tables:
        yield from _absences(absences({"calibration per class": tables}))
        return
    yield "The eps-MSE of the images of each class:"
    yield ""
    rows = zip(next(iter(tables.values()))["timesteps"], *(part["mse"] for part in tables.values()), strict=True)
    header = ["t", *(as_markdown(name_in(names, label)) for label in tables)]
    yield from table(header, [[t, *(number(value, 2) for value in values)] for t, *values in rows])


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


def quality_section(subject: Subject, results: Mapping[str, Any]) -> Iterator[str]:
    """The metrics of the samples beside those of real images, one column a way of sampling."""
    stages = sample_stages(results)
    yield "### Sample quality"
    yield ""
    yield from _absences(missing_stages(results))
    if not stages:
        command = as_code(f"python -m ddpm eval --model {subject.reference}")
        yield f"Not available: no samples have been judged: run {command}."
        yield ""
        return
    shown = [key for key in METRICS if any(isinstance(stage[key], float) for stage in stages.values())]
    yield from _quality_table(list(stages.values()), shown)
    first = stages[headline(stages, subject.model.config.sampling)]
    for key in shown:
        more = _natural_floor(first) if key == "frechet_distance" else ""
        yield f"- **{METRICS[key].label}**. {METRICS[key].meaning}{more}"
    yield (
        "- **Nearest**. Median distance of a sample to the training image nearest to it, in units of "
        "that of a test image. About 1 is new; far below 1 is copied."
    )
    yield ""
    yield from _absences(missing_metrics(stages.values()))
    yield from _absences(absences({"Nearest training images": first["nearest_training_image"],
                                   "Real images": first["reference"]}))  # fmt: skip
    yield from _quality_figure(subject, stages)
    yield from _classes(first)


def _quality_table(stages: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> Iterator[str]:
    """A row for each way of sampling, and below them a row for as many real images."""
    rows = [
        [
            stage_label(stage),
            f"{stage['num_samples']:,}",
            f"{stage['network_evaluations']:,g}",
            *(METRICS[key].format(stage[key]) for key in shown),
            number(stage["nearest_training_image"].get("ratio")),
        ]
        for stage in stages
    ]
    real = {stage["num_samples"]: stage["reference"] for stage in stages if "unavailable" not in stage["reference"]}
    rows += [
        ["**real images**", f"{count:,}", "", *(METRICS[key].format(reference.get(key)) for key in shown), ""]
        for count, reference in sorted(real.items(), reverse=True)
    ]
    guidance = sorted({stage["made_by"]["settings"]["guidance_scale"] for stage in stages})
    level = " The last rows hold the same metrics of as many real images: the level to reach." if real else ""
    yield f"The samples are drawn at guidance {listed([f'{scale:g}' for scale in guidance])}.{level}"
    yield ""
    header = ["", "n", "Network evaluations", *(METRICS[key].label for key in shown), "Nearest"]
    yield from table(header, rows)


def _natural_floor(stage: Mapping[str, Any]) -> str:
    """What real images reach whose classes are as frequent as the test set's, where samples have all classes alike."""
    value = stage["reference"].get("frechet_distance_natural")
    if not isinstance(value, float):
        return ""
    return f" Real images reach {value:.3g} with the classes as often as they come, instead of balanced as here."


def _quality_figure(subject: Subject, stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for key in ("frechet_distance", "pixel_diversity"):
        measured = {name: stage for name, stage in stages.items() if isinstance(stage[key], float)}
        if len(measured) > 1:
            label = METRICS[key].label
            save_chart(quality_chart({"": measured}, key, y_label=label), subject.figure("quality.png"))
            caption = f"{label} over the cost of a sample; a line is for one number of samples, dotted for real images."
            yield from figure("quality.png", "Quality over cost", caption)
            return


def _classes(stage: Mapping[str, Any]) -> Iterator[str]:
    """What the classifier takes the samples for: by the class asked for, or beside the test set where none was."""
    matrix = stage["confusion_matrix"]
    counts = {"samples": stage["class_histogram"], "test images": stage["reference"].get("class_histogram")}
    if isinstance(matrix, list):
        yield "What the classifier takes the samples for (columns), by the class asked for (rows):"
        yield ""
        yield from table(["", *map(str, range(10))], [[f"**{k}**", *row] for k, row in enumerate(matrix)])
    elif isinstance(counts["samples"], list):
        yield "How many of the images the classifier takes for which class:"
        yield ""
        known = {label: found for label, found in counts.items() if isinstance(found, list)}
        rows = [[label, *(f"{k / max(1, sum(found)):.1%}" for k in found)] for label, found in known.items()]
        yield from table(["", *map(str, range(10))], rows)


def _absences(reasons: Mapping[str, str]) -> Iterator[str]:
    """Why something is not available, a paragraph a reason: what ``ddpm.evaluation.results.absences`` gives."""
    for reason, names in reasons.items():
        yield f"Not available: **{as_markdown(names)}**: {as_sentence(reason)}."
        yield ""
