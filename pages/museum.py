"""The museum: classic faults of diffusion models, each really made, beside the same thing done right."""

import streamlit as st

from ddpm.media.drawers import to_plotly
from pages.components.address import translate
from pages.components.frame import about, legend, page
from pages.components.museum.exhibits import SIDES, Exhibit, exhibits
from pages.components.museum.gallery import COLOURS, calibration_chart, gallery, halves, losses_chart
from pages.components.pictures import show

PAGE = {
    "order": 5,
    "group": "Learn",
    "icon": ":material/museum:",
    "about": "Fifteen ways to get it wrong: why samples are grey, noisy or all alike, and the line of code behind it.",
}

page(
    "Museum",
    "The loss falls, and the samples are noise? Here are the classic faults. Each was really made: one thing is "
    "wrong, and beside it is the same done right, from the same noise.",
)

ALL = "All exhibits"
BOUND = {"bind": "query-params"}
CHARTS = {
    "losses": "**Training loss** over steps",
    "calibration": "**Calibration**: the mean squared error of the predicted noise over t",
}


def closer(title: str) -> None:
    """Show one exhibit, or all."""
    st.session_state.museum_exhibit = title


def pictures(exhibit: Exhibit) -> None:
    for column, side in zip(st.columns(2, gap="large"), SIDES, strict=True):
        with column:
            st.markdown(f"**{side.capitalize()}**")
            show(halves(exhibit, side), f"20 samples, {side}")
            st.code(getattr(exhibit, side), language="python", wrap_lines=True)
            st.markdown(f":small[:material/stethoscope: {exhibit.sign(side)}]")


def charts(exhibit: Exhibit) -> None:
    """How both learned, and how well they predict the noise, as far as they differ in it."""
    apart = [what for what in ("losses", "calibration") if exhibit.differs(what)]
    if not apart:
        st.info("Both sides are the same network, so that its loss and its calibration are no help here: only what is "
                "done with its predictions is wrong.", icon=":material/show_chart:")  # fmt: skip
        return
    legend(COLOURS)
    for column, what in zip(st.columns(2, gap="large"), apart, strict=False):
        with column:
            st.markdown(CHARTS[what])
            chart = (losses_chart if what == "losses" else calibration_chart)(exhibit)
            st.plotly_chart(to_plotly(chart), key=f"museum_{what}", config={"displayModeBar": False})


offered = {exhibit.title: exhibit for exhibit in exhibits().values()}
translate("museum_exhibit", lambda said: exhibits()[said].title if said in exhibits() else said)
chosen = st.selectbox("Exhibit", [ALL, *offered], key="museum_exhibit", width=420, **BOUND)
if chosen == ALL:
    st.caption("In each picture the right samples are above, the wrong ones below. Some faults hardly show.")
    gallery(offered.values(), closer)
else:
    exhibit, order = offered[chosen], list(offered)
    st.header(exhibit.title, anchor=False)
    st.markdown(f"**What one sees.** {exhibit.see}")
    pictures(exhibit)
    st.markdown(f"**Why.** {exhibit.why}")
    charts(exhibit)
    following = order[(order.index(chosen) + 1) % len(order)]
    with st.container(horizontal=True):
        st.button(ALL, on_click=closer, args=(ALL,), key="museum_all", icon=":material/apps:")
        st.button(f"Next: {following}", on_click=closer, args=(following,), key="museum_next",
                  icon=":material/arrow_forward:")  # fmt: skip

st.markdown(
    "Is it one of these with **your** model? `python -m ddpm doctor --model run:NAME` looks for the signs of all of "
    "them, and `--samples FOLDER` at images of any other program. The last two show in samples alone. The "
    "Playground, Curves and Evaluate have the doctor in a box."
)

about(
    r"""
The small models are of 8 × 8 digits (191,073 weights, 30 passes over 1,350 images, noise prediction, the linear
schedule of Ho et al.), trained for this page with one thing changed each; three exhibits are the shipped `mnist` with
one line of its sampler changed. Below each picture is the sign by which the doctor tells the two apart: it asks how the
network's error changes when its input, its timestep or the reading of its output does.
`python -m pages.components.museum.made` makes all of it again.
""",
    "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models",
    "https://arxiv.org/abs/2006.11239",
    ("eps", "x0", "schedule", "timestep", "guidance", "clipping", "ema", "eta", "calibration", "linear-denoiser"),
)
