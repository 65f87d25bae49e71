"""A new evaluation, started from a page as a separate process, and the report on existing results."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from ddpm.deploy.public import forbid, is_public
from ddpm.errors import DDPMError, one_line
from ddpm.evaluation import job
from ddpm.evaluation.results import folder_of
from ddpm.jobs import ACTIVE, kill, read_status
from ddpm.media.report import write_report
from ddpm.models import Model
from ddpm.quantities import duration

from .models import computing
from .public import foreign, off, show_error


def report_html(reference: str, who: str) -> bytes:
    """The report of a model as one file; other visitors get their turn between its sections."""
    forbid("Writing a report")
    with tempfile.TemporaryDirectory() as folder, computing("report", who=who) as turn:
        return write_report(reference, Path(folder), say=lambda section: turn.give_way()).html.read_bytes()


def evaluation_job(model: Model) -> None:
    """Start an evaluation of a model, and follow it."""
    if is_public():
        off(
            "Evaluations and reports are off on this public page: they would take the machine from everyone else.",
            f"python -m ddpm eval --model {model.reference} --num-samples 1000",
            f"python -m ddpm report --model {model.reference}",
        )
        return
    folder = folder_of(model)
    live = read_status(folder).state in ACTIVE

    @st.fragment(run_every=2 if live else None)
    def follow() -> None:
        status = read_status(folder)
        if (status.state in ACTIVE) != live:
            st.rerun()
        if status.state in ACTIVE:
            left = f", {duration(status.eta)} left" if status.eta is not None else ""
            st.progress(status.step / job.PARTS, f"{foreign(status.doing or 'starting')}{left}")
            st.button("Stop", icon=":material/stop_circle:", key="eval_stop", on_click=_tried, args=(kill, folder),
                      help="What is finished is kept: the next evaluation continues from there.")  # fmt: skip
        elif status.error:
            show_error(status.error)
        elif folder.status.is_file() and status.state == "stopped":
            st.caption("Stopped. Its finished stages are kept: **Evaluate** continues from there.")

    follow()
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        count = st.select_slider(
            "Samples", [16, 100, 200, 500, 1000, 2000, 5000, 10000], 500, key="eval_count", width=260,
            help="For each way of sampling. Fréchet distances need more than 96, and 10,000 to be reliable.",
        )  # fmt: skip
        methods = st.toggle(
            "All methods", key="eval_all",
            help="DDIM in 10, 20, 50 and 100 steps, the other samplers, Heun and DPM-Solver++ in 10 and 20 "
            "evaluations, and DDPM in all steps on at most 64 samples.",
        )  # fmt: skip
        per_class = st.toggle("Per class", key="eval_per_class", help="Calibrate every class by itself as well.")
        st.button(
            "Evaluate", type="primary", icon=":material/fact_check:", key="eval_start", disabled=live,
            on_click=_tried, args=(job.launch, model),
            kwargs={"num_samples": count, "all_methods": methods, "per_class": per_class},
            help="Continues when you leave. Results already made in the same way are not computed again.",
        )  # fmt: skip
    if problem := st.session_state.pop("eval_problem", None):
        show_error(problem)


def _tried(do: Callable[..., None], *arguments, **how: int | bool) -> None:
    try:
        forbid("Evaluating")
        do(*arguments, **how)
    except (DDPMError, OSError) as error:
        st.session_state.eval_problem = one_line(error)
