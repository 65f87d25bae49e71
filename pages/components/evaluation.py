"""An evaluation on a page: its numbers beside those of real images, the samples behind them, and a new one as a job."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
import torch

from ddpm.config import SamplingConfig
from ddpm.data import load_dataset
from ddpm.errors import DDPMError
from ddpm.evaluation import job
from ddpm.files import EvaluationFolder
from ddpm.media.figures import duration, quality_figure
from ddpm.media.images import enlarge, make_grid, to_uint8
from ddpm.media.report import write_report
from ddpm.models import Model
from ddpm.sampling import sample
from ddpm.training.runs import ACTIVE, read_status

from .models import computing
from .pictures import show

Stage = dict[str, Any]


class Metric(NamedTuple):
    """How a metric of samples is shown."""

    label: str
    form: str
    meaning: str


METRICS = {
    "frechet_distance": Metric(
        "Fréchet distance", ".3g", "Between the clouds of samples and of test images in the classifier's features. "
        "Lower is better; as many real images are not at 0 either. Few images make it larger: compare at equal n.",
    ),
    "kid": Metric("KID", ".2g", "Squared maximum mean discrepancy in the same features, unbiased: 0 for real images."),
    "precision": Metric("Precision", ".1%", "Share of samples that lie among the real images."),
    "recall": Metric("Recall", ".1%", "Share of real images that lie among the samples: is anything left out?"),
    "label_accuracy": Metric("As asked", ".1%", "Share of samples that the classifier takes for the class asked for."),
    "lpips_diversity": Metric("LPIPS diversity", ".3g", "Mean perceptual distance of 100 pairs of samples."),
    "pixel_diversity": Metric("Pixel diversity", ".3g", "Standard deviation over samples per pixel, mean over pixels."),
}  # fmt: skip


def formatted(metric: str, value: Any) -> str:
    return format(value, METRICS[metric].form) if isinstance(value, int | float) else "–"


def headline(stages: dict[str, Stage], model: Model) -> str:
    """The stage to show first: that of the model's own sampler and steps, else the one with the most samples."""
    own = f"{model.config.sampling.sampler}_{model.config.sampling.num_steps}steps"
    return own if own in stages else max(stages, key=lambda name: stages[name]["num_samples"])


def cards(stage: Stage) -> None:
    """The metrics that there are, real images below each; and why the others are missing."""
    with st.container(horizontal=True, gap="medium"):
        for key, metric in METRICS.items():
            if isinstance(stage.get(key), int | float):
                st.metric(
                    metric.label, formatted(key, stage[key]), f"real {formatted(key, stage['reference'].get(key))}",
                    delta_color="off", delta_arrow="off", help=metric.meaning, width="content",
                )  # fmt: skip
    guidance = stage["made_by"]["settings"]["guidance_scale"]
    st.caption(
        f"{stage['num_samples']:,} samples at guidance {guidance:g}, {stage['network_evaluations']:g} looks of the "
        f"network at each. Real: as many training images (distances) and test images (the rest)."
    )
    for reason in dict.fromkeys(value["unavailable"] for key in METRICS if isinstance(value := stage.get(key), dict)):
        names = [METRICS[key].label for key in METRICS if stage.get(key) == {"unavailable": reason}]
        st.info(f"**{', '.join(names)}**: {reason}")


def calibration_table(table: Stage) -> None:
    """A row for every timestep: ours with its interval, the identity, and what there is to compare with."""

    def column(values: Any, form: str) -> list[str]:
        if not isinstance(values, list | tuple):
            return ["–"] * len(table["timesteps"])
        return [format(value, form) if isinstance(value, int | float) else "–" for value in values]

    def with_interval(name: str, form: str, small: str) -> list[str]:
        pairs = zip(column(table[name], form), column(table.get(f"{name}_ci95"), small), strict=True)
        return [value if width == "–" else f"{value} ± {width}" for value, width in pairs]

    columns = {
        "t": [str(t) for t in table["timesteps"]],
        "noise: MSE": with_interval("mse", ".3g", ".1g"),
        "image: PSNR, dB": with_interval("psnr", ".2f", ".2f"),
        "image: SSIM": with_interval("ssim", ".3f", ".3f") if "ssim" in table else column(None, ""),
        "MSE of the linear denoiser": column(table.get("wiener", {}).get("mse"), ".3g"),
        "MSE of the seed report": column(table.get("seed_report", {}).get("mse"), ".3g"),
        "MSE = SNR · MSE(x0), off by": column(table.get("identity_residual"), ".0e"),
    }
    st.dataframe({name: values for name, values in columns.items() if set(values) != {"–"}}, hide_index=True)
    st.caption(
        f"Over {table['num_images']:,} test images, one noise each; ± is a 95 % confidence interval of the mean."
    )


def quality(stages: dict[str, Stage]) -> None:
    """A metric over network evaluations as a chart, and all of them as a table."""
    known = [key for key in METRICS if any(isinstance(stage.get(key), float) for stage in stages.values())]
    if len(stages) > 1 and known:
        key = st.selectbox("Against network evaluations", known, format_func=lambda key: METRICS[key].label,
                           key="eval_quality", bind="query-params")  # fmt: skip
        drawn = {name: stage for name, stage in stages.items() if isinstance(stage.get(key), float)}
        st.plotly_chart(quality_figure(drawn, key), key="eval_plot_quality", config={"displayModeBar": False})
    columns = {
        "samples by": list(stages),
        "n": [f"{stage['num_samples']:,}" for stage in stages.values()],
        "guidance": [f"{stage['made_by']['settings']['guidance_scale']:g}" for stage in stages.values()],
        **{METRICS[key].label: [formatted(key, stage.get(key)) for stage in stages.values()] for key in known},
    }
    st.dataframe(columns, hide_index=True)


@st.cache_data(show_spinner="Drawing the samples again", max_entries=32, hash_funcs={Model: lambda model: None})
def _drawn(reference: str, model: Model, sha256: str, settings: SamplingConfig, seed: int, indices: tuple[int, ...]):
    """Samples of an evaluation, drawn anew from their seed: uint8 (N, C, H, W)."""
    labels = list(range(model.num_classes)) or None
    with computing():
        *_, last = sample(model, labels=labels, settings=settings, seed=seed, indices=indices)
    return to_uint8(last.x0)


def _samples(reference: str, model: Model, stage: Stage, indices: list[int]) -> torch.Tensor:
    by = stage["made_by"]
    return _drawn(reference, model, by["sha256"], SamplingConfig(**by["settings"]), by["seed"], tuple(indices))


def judged_samples(reference: str, model: Model, stage: Stage) -> None:
    """The samples that the classifier is surest of, and those that it is least sure of."""
    if isinstance(stage["surest"], dict):
        st.info(stage["surest"]["unavailable"])
        return
    for title, key, meaning in (
        ("Best", "surest", "Surest to be what was asked for, in the eyes of the classifier."),
        ("Worst", "least_sure", "Least like what was asked for: look here for what the model gets wrong."),
    ):
        st.markdown(f"**{title}**", help=meaning)
        images = _samples(reference, model, stage, stage[key])
        classes = model.num_classes
        asked = ", ".join(str(index % classes) if classes else "–" for index in stage[key])
        show(enlarge(make_grid(images, columns=8)), f"{title} samples, asked for {asked}")
        st.caption(f"Asked for: {asked}")


def closest(reference: str, model: Model, stage: Stage) -> None:
    """The samples nearest to a training image, above that image: has the model learnt by heart?"""
    found = stage["nearest_training_image"]
    st.markdown(
        "**Nearest training images**",
        help="Above: the samples that come nearest to a training image, in pixels. Below: that image. A copy would "
        "look the same; a ratio of 1 is as near as test images of its class come.",
    )
    if "unavailable" in found:
        st.info(found["unavailable"])
        return
    try:
        train = load_dataset(model.config.data, "train", download=False)
    except DDPMError as error:
        st.info(str(error))
        return
    pairs = found["closest"]
    samples = _samples(reference, model, stage, [pair["sample"] for pair in pairs])
    originals = train.images[[pair["training_image"] for pair in pairs]]
    show(enlarge(make_grid(torch.cat([samples, originals]), columns=len(pairs))), "Samples, and training images",
         width=640)  # fmt: skip
    st.caption(
        f"Ratios: {', '.join(format(pair['ratio'], '.2f') for pair in pairs)}. Median over all samples: "
        f"{found['ratio']:.2f}. {found['share_below_test_quantile']:.1%} of the samples come nearer than the nearest "
        f"{found['test_quantile']:.0%} of the test images."
    )


def report_html(reference: str) -> bytes:
    """The report of a model as one file."""
    with tempfile.TemporaryDirectory() as folder, computing():
        return write_report(reference, Path(folder)).html.read_bytes()


def evaluation_job(reference: str, model: Model) -> None:
    """Start an evaluation as a process of its own, and follow it."""
    folder = EvaluationFolder.named(model.config.name)
    live = read_status(folder).state in ACTIVE

    @st.fragment(run_every=2 if live else None)
    def follow() -> None:
        status = read_status(folder)
        if (status.state in ACTIVE) != live:
            st.rerun()
        if status.state in ACTIVE:
            left = f", {duration(status.eta)} left" if status.eta is not None else ""
            st.progress(status.step / job.PARTS, f"{status.doing or 'starting'}{left}")
            st.button("Stop", icon=":material/stop_circle:", key="eval_stop", on_click=job.stop, args=(folder,),
                      help="What is finished is kept: the next evaluation goes on from there.")  # fmt: skip
        elif status.error:
            st.error(status.error)

    follow()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        count = st.select_slider("Samples", [100, 200, 500, 1000, 2000, 5000, 10000], 500, key="eval_count", width=260)
        methods = st.toggle(
            "All methods",
            key="eval_all",
            help="DDIM in 10, 20, 50 and 100 steps, the other samplers, and DDPM in all steps.",
        )
        st.button(
            "Evaluate", type="primary", icon=":material/fact_check:", key="eval_start", disabled=live,
            on_click=_launched, args=(reference, model.config.name, count, methods),
            help="Runs on when you leave. The calibration over the whole test set is the longest part.",
        )  # fmt: skip
    if problem := st.session_state.pop("eval_problem", None):
        st.error(problem)


def _launched(reference: str, name: str, count: int, methods: bool) -> None:
    try:
        job.launch(reference, name, num_samples=count, all_methods=methods)
    except (DDPMError, OSError) as error:
        st.session_state.eval_problem = str(error)
