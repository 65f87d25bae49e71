"""The Curves page: the training curves of runs, live while they train."""

from contextlib import suppress

import streamlit as st

from ddpm.config import load_config
from ddpm.deploy.public import is_public
from ddpm.errors import DDPMError
from ddpm.escaping import as_code, as_markdown
from ddpm.files import RunFolder
from ddpm.jobs import ACTIVE, read_status
from ddpm.media.drawers import to_plotly
from ddpm.media.figures import AXES, CURVES, bands_chart, curves_png, history_chart, run_colours
from ddpm.names import in_turn as classes_in_turn
from ddpm.storage.places import shipped_histories
from ddpm.training.history import History, read_history
from pages.components.doctor import doctor
from pages.components.frame import about, legend, page
from pages.components.models import cached_model, in_turn
from pages.components.pictures import show
from pages.components.public import foreign, off, show_error
from pages.components.runs import progress_text, shown_runs, suggestions

PAGE = {
    "order": 6,
    "group": "Train",
    "icon": ":material/monitoring:",
    "about": "Watch training runs learn, live, and compare them.",
}

page("Curves", "Watch training runs learn: the loss falls, the images come out of the noise.")

BOUND = {"bind": "query-params"}
own = {folder.path.name: folder for folder in shown_runs()}
shipped = {f"{name} (shipped)": folder for name, folder in shipped_histories().items()}
runs = own | shipped
if not own and not is_public():
    st.info("There is no run yet. The Train page launches one: a few minutes are enough for `digits`, or drop your own "
            "images there.")  # fmt: skip
    st.page_link("pages/train.py", label="Train", icon=":material/model_training:")
if not runs:
    if is_public():
        off("There is no run to show, since training is off on this public page.",
            "python -m ddpm train --config configs/digits.yaml", "make app")  # fmt: skip
    st.stop()

with st.sidebar:
    st.divider()
    names = st.multiselect("Runs", list(runs), list(runs)[:1], key="curves_runs", **BOUND)
    axis = st.segmented_control(
        "Over", list(AXES), default="step", required=True, key="curves_axis", format_func=AXES.get, **BOUND
    )
    smoothing = st.slider(
        "Smoothing", 0.0, 0.99, 0.6, 0.01, key="curves_smoothing", **BOUND,
        help="Weight of the past in an exponential moving average, as in TensorBoard; validation is not smoothed.",
    )  # fmt: skip
    log_scale = st.toggle("Logarithmic loss", True, key="curves_log", **BOUND)


def history_of(folder: RunFolder) -> History | None:
    """The metrics of a run; None before its first record, and, with a message, if they are damaged."""
    if not folder.metrics.exists():
        return None
    try:
        return read_history(folder.metrics)
    except DDPMError as error:
        show_error(error)
        return None


def any_active() -> bool:
    return any(read_status(own[name]).state in ACTIVE for name in names if name in own)


live = any_active()


@st.fragment(run_every=2 if live else None)
def curves() -> None:
    if live and not any_active():
        st.rerun()  # the whole page, so that it stops asking every two seconds
    for name in names:
        if name in shipped:
            st.markdown(f"**{as_markdown(name)}** How the model inside was trained, by {_command(shipped[name])}.")
            continue
        status = read_status(runs[name])
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{as_markdown(name)}** {status.state}")
            if status.total_steps:
                st.progress(min(1.0, status.step / status.total_steps), progress_text(status))
            if status.state != "finished" and not is_public():
                st.page_link("pages/train.py", label="Stop or resume", icon=":material/model_training:")
        if status.error:
            show_error(status.error)
        for sentence in suggestions(runs[name]):
            st.warning(foreign(sentence), icon=":material/lightbulb:")
    for name in names[:1]:
        grids(runs[name], waiting=name in own and read_status(own[name]).state in ACTIVE)
    histories = {name: history for name in names if (history := history_of(runs[name])) and history.training}
    if live:  # a curve needs two points
        histories = {name: history for name, history in histories.items() if len(history.training) > 1}
    if not histories:
        st.info("The curves begin with the second record." if live else "Nothing recorded yet.")
        return
    legend(run_colours(histories))
    st.caption("Bold: smoothed. Pale: as recorded. Dotted, with marks: on the validation images.")
    columns = st.columns(2)
    for i, (key, curve) in enumerate(CURVES.items()):
        with columns[i % 2]:
            st.markdown(f"**{curve.label}**", help=curve.meaning)
            chart = history_chart(
                histories, key, axis=axis, smoothing=smoothing, log_scale=log_scale if key == "loss" else None
            )
            st.plotly_chart(to_plotly(chart), key=f"curves_plot_{key}", config={"displayModeBar": False})
    first = next(iter(histories))
    st.markdown(
        f"**loss by band of t**, {as_markdown(first)}", help="Small t is fine detail, large t what the image will show."
    )
    st.plotly_chart(
        to_plotly(bands_chart(histories[first], axis=axis, smoothing=smoothing)),
        key="curves_plot_bands",
        config={"displayModeBar": False},
    )
    if first in own and not is_public():  # the log of a training names folders of this machine
        with st.expander("Log"):
            st.code(runs[first].log_tail(30) or "Nothing printed yet.", language=None)
    with st.container(horizontal=True):
        history = histories[first]
        st.download_button("CSV", history.csv, f"{first}.csv", "text/csv", on_click="ignore")
        st.download_button("PNG", in_turn(lambda: curves_png(history)), f"{first}.png", "image/png", on_click="ignore")


def _command(folder: RunFolder) -> str:
    return as_code(f"python -m ddpm train --config configs/{folder.path.name}.yaml")


def grids(folder: RunFolder, waiting: bool) -> None:
    """The sample grids of a run under a slider over steps; of one that is still going, when the first comes."""
    pictures = sorted(folder.grid("step").parent.glob("step_*.png"))
    if not pictures:
        if waiting:
            with suppress(DDPMError):  # suggestions() has reported it
                st.caption(f"First samples at step {load_config(folder.config).training.sample_every:,}.")
        return
    steps = [int(path.stem.removeprefix("step_")) for path in pictures]
    step = steps[-1]
    if len(steps) > 1:
        step = st.select_slider(
            "Samples after step", steps, steps[-1], key=f"curves_grid_{folder.path.name}_{len(steps)}"
        )
    show(pictures[steps.index(step)].read_bytes(), f"Samples after step {step}", width=480)
    try:
        classes = load_config(folder.config).class_names
    except DDPMError:  # suggestions() has reported it
        return
    if classes:
        st.caption(f"The classes {classes_in_turn(classes)} in turn.")


curves()
finished = next((name for name in names if name in own and not live and own[name].checkpoint("ema").is_file()), None)
if finished:
    try:
        model = cached_model(f"run:{finished}")
        doctor(model, model.config.sampling, "curves")
    except DDPMError as error:
        show_error(error)

about(
    r"""
The loss is the distance between what the network predicts and what it should, over random images, timesteps and noises:
by default the mean squared error, $\lVert v - \hat v\rVert^2$ for v-prediction. Validation uses held-out images, the
averaged weights, and always the same noise, so that its curve is smooth.
""",
    "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models, section 3.4",
    "https://arxiv.org/abs/2006.11239",
    ("validation-loss", "ema", "gradient-norm", "warm-up", "checkpoint"),
)
