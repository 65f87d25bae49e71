"""The Evaluate page: how good a model is, each score beside its real baseline."""

import json
from functools import partial

import streamlit as st

from ddpm.deploy.public import is_public, redacted
from ddpm.errors import DDPMError
from ddpm.escaping import as_markdown
from ddpm.evaluation.results import (
    absences,
    class_names,
    find_results,
    headline,
    missing_stages,
    results_csv,
    sample_stages,
    stage_label,
)
from ddpm.quantities import span
from pages.components.address import translate
from pages.components.average_length import length_of_average
from pages.components.doctor import doctor
from pages.components.evaluation import BOUND, calibration, cards, missing, quality, which_is_better
from pages.components.evaluation_job import evaluation_job, report_html
from pages.components.frame import about, page
from pages.components.judged import closest, seen_as
from pages.components.models import cached_model, file_name_of, model_references, pick_model, visitor
from pages.components.public import foreign

PAGE = {
    "order": 7,
    "group": "Train",
    "icon": ":material/fact_check:",
    "about": "How good is a model? Calibration and sample quality, next to the real baseline.",
}

page("Evaluate", "How good is a model? Each score of samples appears next to the one real images get.")

model = pick_model("eval_model")
reference = model.reference
with st.sidebar:
    others = ["none", *(other for other in model_references() if other != reference)]
    second = st.selectbox("Compare with", others, key="eval_second", **BOUND,
                          help="A second model, in the charts and tables of calibration and samples.")  # fmt: skip


def results_of(reference: str) -> dict | None:
    """The evaluation of a model; None, with a message on how to make it, if there is none."""
    try:
        return find_results(cached_model(reference))
    except DDPMError as error:
        choose = "" if reference == model.reference else "choose it as the model and "
        remedy = "" if is_public() else f", or {choose}press **Evaluate** below"
        st.info(f"{as_markdown(reference)}: {foreign(error)}{remedy}.")
        return None


found = {name: results for name in (reference, second) if name != "none" and (results := results_of(name))}
if reference in found:
    results, stages = found[reference], sample_stages(found[reference])
    made_by = results["made_by"]
    st.caption(
        f"The averaged weights of {as_markdown(reference)} ({as_markdown(made_by['sha256'][:12])}) on the dataset "
        f"{foreign(made_by['dataset'])}, seed {foreign(made_by['seed'])}, measured in {span(made_by['seconds'])}."
    )
    if stages:
        made = [(stage["made_by"]["settings"], stage_label(stage)) for stage in stages.values()]
        earlier = {f"{settings['sampler']}, {settings['num_steps']:,} steps": label for settings, label in made}
        translate("eval_stage", lambda said: earlier.get(said, said))  # what links of earlier versions say
        name = st.selectbox(
            "Samples by", list(stages), index=list(stages).index(headline(stages, model.config.sampling)),
            format_func=lambda name: stage_label(stages[name]), key="eval_stage", width=260, **BOUND,
            help="The sampler and its number of steps.",
        )  # fmt: skip
        cards(stages[name])
    missing(missing_stages(results))

    st.header("Calibration", anchor=False)
    tables = {name: every.get("calibration", {}) for name, every in found.items()}
    tables = {name: table for name, table in tables.items() if "timesteps" in table}
    if reference in tables:
        calibration(tables, class_names(results), {name: cached_model(name).schedule for name in tables})
    else:
        missing(absences({"Calibration": results.get("calibration", {})}))

    if stages:
        st.header("Samples", anchor=False)
        every = {name: sample_stages(results) for name, results in found.items()}
        quality(every)
        same = {of: stages[name] for of, stages in every.items() if name in stages}
        if len(same) == 2:
            which_is_better(same)
        seen_as(model, stages[name])
        closest(model, stages[name])
length_of_average(model)
doctor(model, model.config.sampling, "eval")

file_name = file_name_of(reference)
with st.container(horizontal=True):
    if not is_public():
        st.download_button(
            "Report", partial(report_html, reference, f"{visitor()}, report"), f"{file_name}_report.html", "text/html",
            icon=":material/article:", on_click="ignore",
            help="All about this model in one HTML file with its figures; takes half a minute.",
        )  # fmt: skip
    if reference in found:
        st.download_button("JSON", redacted(json.dumps(found[reference], indent=2)), f"{file_name}.json",
                           "application/json", on_click="ignore",
                           help="Everything that was measured, and what produced it.")  # fmt: skip
        st.download_button("CSV", lambda: redacted(results_csv(found[reference])), f"{file_name}.csv", "text/csv",
                           on_click="ignore", help="The numbers, one per line.")  # fmt: skip

st.header("Re-evaluate" if reference in found else "Evaluate it", anchor=False)
evaluation_job(model)

about(
    r"""
Calibration noises every test image to $x_t$ and asks the network for the noise: its mean squared error, and that
of the image that follows from it, for which $\mathrm{MSE}_\varepsilon = \mathrm{SNR}_t \cdot \mathrm{MSE}_{x_0}$ holds
exactly before clipping. The Fréchet distance compares the clouds of samples and test images in the features of a digit
classifier, by their means $\mu$ and covariances $C$:
$\lVert\mu_1 - \mu_2\rVert^2 + \operatorname{tr}(C_1 + C_2 - 2(C_1 C_2)^{1/2})$. Precision is the share of samples that
lie within a ball around a real image that reaches to its third nearest neighbour, recall the same with the two sets
exchanged (Kynkäänniemi et al. 2019). The classifier knows MNIST's digits: for other images these scores do not exist.
""",
    "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule (the Fréchet distance)",
    "https://arxiv.org/abs/1706.08500",
    (
        "calibration",
        "mse",
        "psnr",
        "linear-denoiser",
        "frechet-distance",
        "kid",
        "precision-and-recall",
        "label-accuracy",
        "lpips",
        "memorisation-ratio",
        "real-baseline",
        "confidence-interval",
        "nfe",
    ),
)
