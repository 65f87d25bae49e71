"""An evaluation on a page: its numbers beside the real baseline, and what is not available."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from ddpm.escaping import as_markdown
from ddpm.evaluation.intervals import better_of, ci95
from ddpm.evaluation.results import METRICS, Stage, absences, missing_metrics, name_in, stage_label
from ddpm.evaluation.structure import ROUNDING
from ddpm.media.drawers import to_plotly
from ddpm.media.figures import REFERENCES, calibration_chart, quality_chart
from ddpm.schedule import NoiseSchedule

from .classes import label_of, options
from .public import foreign
from .schedules import pick_axis

BOUND = {"bind": "query-params"}
PLOT = {"config": {"displayModeBar": False}}
CARD = 160  # pixels, so that four metrics stand side by side, and two on a phone


def missing(reasons: Mapping[str, str]) -> None:
    """Why something is not available, one line per reason, as from ``ddpm.evaluation.results.absences``."""
    for reason, names in reasons.items():
        # Not a caption: Streamlit makes those paler, and the links in them too pale to read.
        st.markdown(f":small[:material/info: **{as_markdown(names)}** not available: {foreign(reason)}.]")


def cards(stage: Stage) -> None:
    """The available metrics, each with its real baseline below; and why the others are missing."""
    with st.container(horizontal=True, gap="medium"):
        for key, metric in METRICS.items():
            if isinstance(stage.get(key), int | float):
                half = ci95(stage, key)
                sure = (
                    ""
                    if half is None
                    else (f" The 95 % interval for {stage['num_samples']:,} samples: ± {metric.format(half)}.")
                )
                real = stage["reference"].get(key)
                st.metric(
                    metric.label, metric.format(stage[key]),
                    f"real {metric.format(real)}" if isinstance(real, int | float) else None,
                    delta_color="off", delta_arrow="off", help=metric.meaning + sure, width=CARD,
                )  # fmt: skip
    guidance = stage["made_by"]["settings"]["guidance_scale"]
    st.caption(
        f"{stage['num_samples']:,} samples at guidance {guidance:g}, {stage['network_evaluations']:g} network "
        "evaluations per image. Grey badges: real images.",
        help=f"Real images: {foreign(stage['reference']['what'])}." if "what" in stage["reference"] else None,
    )
    absent = absences({"Real images": stage["reference"]} | {METRICS[key].label: stage[key] for key in METRICS})
    missing(absent)


def calibration(tables: Mapping[str, Stage], names: Sequence[str], schedules: Mapping[str, NoiseSchedule]) -> None:
    """The calibration of a model, and of a second one where there are two, as a chart and a table.

    ``names`` are those of the classes of the test images, as far as they are known."""
    with st.container(horizontal=True, gap="medium"):
        metric = st.segmented_control(
            "Of the predicted", ["mse", "psnr", "ssim"], default="mse", required=True, key="eval_metric", **BOUND,
            format_func={"mse": "noise: MSE", "psnr": "image: PSNR, dB", "ssim": "image: SSIM"}.get,
        )  # fmt: skip
        shown = st.segmented_control(
            "Beside", list(REFERENCES), default=list(REFERENCES), selection_mode="multi", key="eval_references",
            format_func=lambda key: REFERENCES[key][0], **BOUND,
            help="The linear denoiser knows the mean and covariance of the training images and nothing else: a network "
            "should do better. The seed report is the system that this project set out to beat.",
        )  # fmt: skip
        over = pick_axis("eval_over")
        classes = next(iter(tables.values())).get("per_class", {})
        label = "all"
        if classes and "unavailable" not in classes:
            there = {name_in(names, key): key for key in classes}
            offered = options("eval_class", list(there), first=["all"])
            chosen = st.selectbox("Test images of class", offered, key="eval_class", width=190, **BOUND)
            label = "all" if (at := label_of(list(there), chosen)) is None else list(classes)[at]
    if label != "all":
        tables = {name: table["per_class"][label] for name, table in tables.items()
                  if label in table.get("per_class", {})}  # fmt: skip
    first = next(iter(tables.values()))
    if isinstance(first[metric], Mapping):
        missing(absences({metric.upper(): first[metric]}))
    else:
        chart = calibration_chart(tables, metric, shown, over=over, schedules=schedules)
        st.plotly_chart(to_plotly(chart), key="eval_calibration", **PLOT)
    _calibration_table(tables)
    others = {"Linear denoiser": first.get("wiener"), "classes": classes}
    missing(absences(others if metric == "ssim" else others | {"SSIM": first.get("ssim")}))


def _calibration_table(tables: Mapping[str, Stage]) -> None:
    """A row for every timestep: ours with its interval, the identity, and what there is to compare with."""
    (_, table), *others = tables.items()

    def column(values: Any, form: str) -> list[str]:
        if not isinstance(values, list | tuple):
            return ["–"] * len(table["timesteps"])
        return [format(value, form) if isinstance(value, int | float) else "–" for value in values]

    def with_interval(name: str, form: str, small: str) -> list[str]:
        pairs = zip(column(table[name], form), column(table.get(f"{name}_ci95"), small), strict=True)
        return [value if width == "–" else f"{value} ± {width}" for value, width in pairs]

    def at_its_timesteps(other: Stage) -> list[str]:
        known = dict(zip(other.get("timesteps", ()), other.get("mse", ()), strict=True))
        return column([known.get(t) for t in table["timesteps"]], "#.3g")

    columns = {
        "t": [str(t) for t in table["timesteps"]],
        "noise: MSE": with_interval("mse", "#.3g", ".1g"),
        **{f"MSE, {name}": at_its_timesteps(other) for name, other in others},
        **{f"MSE, {label}": at_its_timesteps(table.get(key, {})) for key, (label, _) in REFERENCES.items()},
        "image: PSNR, dB": with_interval("psnr", ".2f", ".2f"),
        "image: SSIM": with_interval("ssim", ".3f", ".3f") if "ssim" in table else column(None, ""),
        "identity": column(table.get("identity_residual"), ".0e"),
    }
    about = st.column_config.Column(
        help="Relative difference of both sides of MSE(noise) = SNR · MSE(image), which hold before clipping. Above "
        f"{ROUNDING:g} it would be a bug in the program."
    )
    st.dataframe({name: values for name, values in columns.items() if set(values) != {"–"}}, hide_index=True,
                 column_config={"identity": about})  # fmt: skip
    known = any(key in table for key in REFERENCES)
    st.caption(
        f"Over {table['num_images']:,} test images, one noise each; ± is a 95 % confidence interval of the mean."
        + ("" if known else " The columns to compare with exist only for all classes together.")
    )


def quality(models: Mapping[str, Mapping[str, Stage]]) -> None:
    """A metric over network evaluations as a chart, and all of them as a table; stages by model."""
    stages = [(model, stage) for model, found in models.items() for stage in found.values()]
    known = [key for key in METRICS if any(isinstance(stage.get(key), float) for _, stage in stages)]
    if len(stages) > 1 and known:
        key = st.selectbox(
            "Over network evaluations", known, format_func=lambda key: METRICS[key].label, key="eval_quality",
            width=260, **BOUND,
        )  # fmt: skip
        drawn = {model: {name: stage for name, stage in found.items() if isinstance(stage.get(key), float)}
                 for model, found in models.items()}  # fmt: skip
        chart = quality_chart({model: found for model, found in drawn.items() if found}, key)
        st.plotly_chart(to_plotly(chart), key="eval_plot_quality", **PLOT)
    columns = {
        "model": [model for model, _ in stages],
        "samples by": [stage_label(stage) for _, stage in stages],
        "n": [f"{stage['num_samples']:,}" for _, stage in stages],
        "guidance": [f"{stage['made_by']['settings']['guidance_scale']:g}" for _, stage in stages],
        **{METRICS[key].label: [_with_interval(stage, key) for _, stage in stages] for key in known},
    }
    if len(models) == 1:
        del columns["model"]
    st.dataframe(columns, hide_index=True)
    for found in models.values():
        missing(missing_metrics(found.values(), everywhere=False))


def _with_interval(stage: Stage, key: str) -> str:
    value, half = METRICS[key].format(stage.get(key)), ci95(stage, key)
    return value if half is None else f"{value} ± {METRICS[key].format(half)}"


def which_is_better(models: Mapping[str, Stage]) -> None:
    """Of two models, sampled in the same way: which does better by each metric, and how sure that is."""
    (first, one), (second, other) = models.items()
    found = better_of(one, other)
    if not found:
        return
    st.markdown("**Which is better**", help="The certainty that the true values are in this order, given the 95 % "
                "intervals of both: of chance in the samples alone, not of another training.")  # fmt: skip
    st.dataframe(
        {
            "metric": [METRICS[better.metric].label for better in found],
            first: [_with_interval(one, better.metric) for better in found],
            second: [_with_interval(other, better.metric) for better in found],
            "better": [first if better.first else second for better in found],
            "certainty": ["> 99.9%" if better.certainty > 0.999 else f"{better.certainty:.1%}" for better in found],
        },
        hide_index=True,
    )
