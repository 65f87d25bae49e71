"""The Evaluate page: how good a model is, each number beside what real images reach."""

import json

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.evaluation.evaluate import find_results, results_csv, sample_stages
from ddpm.media.figures import REFERENCES, calibration_figure, confusion_figure
from pages.components.evaluation import (
    calibration_table,
    cards,
    closest,
    evaluation_job,
    headline,
    judged_samples,
    quality,
    report_html,
)
from pages.components.frame import about, page
from pages.components.models import cached_model, model_references, pick_model

page("Evaluate", "How good is a model? Every number stands beside what real images reach, with how sure it is.")

BOUND = {"bind": "query-params"}
PLOT = {"config": {"displayModeBar": False}}
with st.sidebar:
    st.divider()
    reference, model = pick_model("eval_model")
    others = ["none", *(other for other in model_references() if other != reference)]
    second = st.selectbox("Compare its calibration with", others, key="eval_second", **BOUND)
    shown = st.multiselect(
        "References", list(REFERENCES), list(REFERENCES), key="eval_references", **BOUND,
        format_func=lambda key: REFERENCES[key][0],
        help="The linear denoiser knows the mean and covariance of the training images and nothing else: a network "
        "should do better. The seed report is the system that this project set out to beat.",
    )  # fmt: skip


def results_of(reference: str) -> dict | None:
    """The evaluation of a model; what is missing is said, with how to make it."""
    try:
        return find_results(reference, cached_model(reference))
    except DDPMError as error:
        st.info(str(error))
        return None


results = results_of(reference)
if results:
    made_by, stages = results["made_by"], sample_stages(results)
    st.caption(
        f"Of {reference}: {made_by['dataset']}, averaged weights, seed {made_by['seed']}, "
        f"{made_by['seconds'] / 60:,.0f} minutes of computing. Weights {made_by['sha256'][:12]}."
    )
    if stages:
        name = st.selectbox(
            "Samples by", list(stages), index=list(stages).index(headline(stages, model)), key="eval_stage", **BOUND,
            help="The sampler and its number of steps; all at the guidance that the table below states.",
        )  # fmt: skip
        cards(stages[name])

    st.subheader("Calibration", anchor=False)
    calibration = results["calibration"]
    if "unavailable" in calibration:
        st.info(calibration["unavailable"])
    else:
        tables = {reference: calibration}
        if second != "none" and (other := results_of(second)) and "timesteps" in other["calibration"]:
            tables[second] = other["calibration"]
        metric = st.segmented_control(
            "Of the predicted", ["mse", "psnr", "ssim"], default="mse", required=True, key="eval_metric", **BOUND,
            format_func={"mse": "noise: MSE", "psnr": "image: PSNR, dB", "ssim": "image: SSIM"}.get,
        )  # fmt: skip
        st.plotly_chart(calibration_figure(tables, metric, shown), key="eval_calibration", **PLOT)
        calibration_table(calibration)

    if stages:
        st.subheader("Samples", anchor=False)
        quality(stages)
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown(
                "**Asked for and taken for**", help="Rows: the digit asked for. Columns: what the classifier saw."
            )
            matrix = stages[name]["confusion_matrix"]
            if isinstance(matrix, dict):
                st.info(matrix["unavailable"])
            else:
                st.plotly_chart(confusion_figure(matrix), key="eval_confusion", **PLOT)
        with right:
            judged_samples(reference, model, stages[name])
        closest(reference, model, stages[name])
    with st.container(horizontal=True):
        st.download_button(
            "JSON", json.dumps(results, indent=2), f"{reference}.json", "application/json", on_click="ignore"
        )
        st.download_button("CSV", lambda: results_csv(results), f"{reference}.csv", "text/csv", on_click="ignore")

st.download_button(
    "Report", lambda: report_html(reference), f"{reference.replace(':', '_')}_report.html", "text/html",
    icon=":material/article:", on_click="ignore",
    help="Everything about this model in one HTML file, with its figures. Takes about half a minute to write.",
)  # fmt: skip

st.subheader("Evaluate it anew", anchor=False)
evaluation_job(reference, model)

about(
    r"""
Calibration noises every test image to $x_t$ and asks the network for the noise: its mean squared error, and that
of the image that follows from it, for which $\mathrm{MSE}_\varepsilon = \mathrm{SNR}_t \cdot \mathrm{MSE}_{x_0}$ holds
exactly. The Fréchet distance compares the clouds of samples and test images in the features of a digit classifier, as
$\lVert\mu_1 - \mu_2\rVert^2 + \operatorname{tr}(C_1 + C_2 - 2(C_1 C_2)^{1/2})$. Precision is the share of samples that
look like real images, recall the share of real images that samples come near to.
""",
    "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule (the Fréchet distance)",
    "https://arxiv.org/abs/1706.08500",
)
