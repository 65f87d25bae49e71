"""The Plane: diffusion in two dimensions, with the exact answer beside the learned one."""

import streamlit as st

from ddpm.diffusion import OUTPUTS
from ddpm.media.drawers import to_plotly
from ddpm.plane import DATASETS
from pages.components.editing.canvas import canvas
from pages.components.frame import about, page
from pages.components.plane import (
    ALWAYS,
    WALKS,
    Law,
    begin_with,
    data_of,
    distance_of_data,
    guidance_chart,
    has_begun,
    learned_view,
    own_data,
    reflowed_view,
    show_plane,
    table_of_distances,
    view,
)
from pages.components.plane_questions import QUESTIONS

PAGE = {
    "order": 4.5,
    "group": "Learn",
    "icon": ":material/scatter_plot:",
    "about": "Diffusion in two dimensions: every path, the field that makes it, and the exact answer.",
}

page(
    "Plane",
    "In two dimensions nothing is hidden: see the density, every path and the field behind it, and the exact answer "
    "beside a learned one.",
)

BOUND = {"bind": "query-params"}
ALL, DRAWN = "all", "your own"
TWO_ARCS = "30:150,500;250,250;500,180;750,250;850,500|30:150,620;250,800;500,860;750,800;850,620"
ARROWS = [kind for kind in OUTPUTS if kind != "x0"]
FIRST = ("DDIM, 50 steps", "DDIM, 5 steps")


def ask() -> None:
    """Show what answers the chosen question."""
    if question := QUESTIONS.get(st.session_state["plane_question"]):
        st.session_state.update(
            plane_data="mixture", plane_class=question.label, plane_guidance=question.guidance, plane_interval=ALWAYS,
            plane_walks=list(question.walks), plane_learn=False, plane_reflow=False,
        )  # fmt: skip
        if question.arrows:
            st.session_state["plane_arrows"] = question.arrows
        begin_with(question.at, question.arrows is not None)


asked = st.pills("Find out", list(QUESTIONS), key="plane_question", on_change=ask, **BOUND)
if asked:
    if not has_begun() and [key for key in st.query_params if key.startswith("plane_")] == ["plane_question"]:
        ask()
    st.info(QUESTIONS[asked].says)
pictures = st.container()

with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.selectbox("Data", [*DATASETS, DRAWN], DATASETS.index("mixture"), key="plane_data", width=160, **BOUND)
    chosen = st.segmented_control("Class", [ALL, "0", "1"], default=ALL, required=True, key="plane_class", **BOUND)
    shows = st.segmented_control(
        "Arrows show", ARROWS, default="v", required=True, key="plane_arrows",
        help="One field in four mixtures of noise and data: the predicted noise, v, the velocity u of flow matching, "
        "or the score. In these pictures a walk goes exactly against v.", **BOUND,
    )  # fmt: skip
if name == DRAWN:
    strokes = canvas("plane_strokes", "Data", TWO_ARCS, ink="#009BF4", pen=3, live=False)
    st.caption("Strokes are of class 0 and 1 in turn.")
    if not strokes:
        st.info("Draw something above.")
        st.stop()
    name = own_data(strokes)
label = None if chosen == ALL else int(chosen)
if label is not None and label not in data_of(name, 100).labels:
    st.info("There is no second class: draw another stroke.")
    label = None
left, right = st.columns(2, gap="large")
plain, first = label is None, "Choose a class first. "
scale = left.slider(
    "Guidance", 0.0, 6.0, 1.0, 0.5, key="plane_guidance", disabled=plain, **BOUND,
    help=first * plain + "1 draws the class as it is, 0 all classes, above 1 exaggerates it.",
)  # fmt: skip
interval = right.slider(
    "Guidance acts at t", *ALWAYS, ALWAYS, key="plane_interval", disabled=plain, **BOUND,
    help=first * plain + "0 is the data, 999 noise. At other t the class is drawn as it is.",
)  # fmt: skip
if plain:
    scale, interval = 1.0, ALWAYS
law = Law(name, label, scale, interval)
walks = st.multiselect("Walks", list(WALKS), list(FIRST), key="plane_walks", max_selections=10, **BOUND)

shown = [view(law, WALKS[each], shows) for each in walks]
if learns := st.toggle("A network that learned it, beside the exact answer", key="plane_learn", **BOUND):
    with st.container(horizontal=True, vertical_alignment="bottom"):
        count = st.select_slider(
            "Points to learn from", [10, 20, 100, 500, 1000, 5000], 5000, key="plane_count", **BOUND,
            help="With few points and a long training, remembering them is best.",
        )  # fmt: skip
        steps = st.select_slider("Training steps", [100, 500, 1500, 3000, 6000], 3000, key="plane_steps", **BOUND)
reflows = st.toggle(
    "Reflow: a network that learned which noise belongs to which point, so that one step is enough", key="plane_reflow",
    disabled=not plain, **BOUND, help="" if plain else "For all classes together.",
)  # fmt: skip
training = pictures.empty()  # always there, so that the pictures below stay where they are
if learns:
    shown.append(learned_view(law, count, steps, shows, training))
if plain and reflows:
    shown.append(reflowed_view(name, shows, training))
with pictures:
    if shown:
        show_plane(shown, data_of(name, 600))
        st.caption("Distance to the data: how far 2,000 points have to be moved to look like 2,000 of the data, seen "
                   "from 64 sides (sliced Wasserstein). Smaller is nearer; two sets of data are "
                   f"{distance_of_data(law):.3f} apart.")  # fmt: skip
    else:
        st.info("Choose at least one walk.")

if label is None:
    st.header("How near each sampler comes", anchor=False)
    if st.toggle("Measure them all", key="plane_table", **BOUND):
        st.table(table_of_distances(name))
        st.caption(
            "The sliced Wasserstein distance of 2,000 points to as many fresh ones, by the exact denoiser: what is "
            "missing is the sampler's fault alone."
        )
else:
    st.header("What guidance does to the distribution", anchor=False)
    st.plotly_chart(
        to_plotly(guidance_chart(name, label, interval)), key="plane_chart", config={"displayModeBar": False}
    )
    st.caption("How far the samples end from the distribution of their class, by the exact denoiser in 50 steps of "
               "DDIM. At 1 they follow it; beyond they leave it for where the other class is rarest.")  # fmt: skip

about(
    r"""
A point is noised as $x_t = a\,x_0 + s\,\varepsilon$, with $a = \sqrt{\bar\alpha_t}$ and
$s = \sqrt{1 - \bar\alpha_t}$. For a mixture of Gaussians the best possible guess of $x_0$ is known,
$\mathbb E[x_0 \mid x_t]$: no network is asked here unless you say so, and what differs between two walks is the sampler
alone. All pictures show the same noise level at a time.

All arrows are one vector field in several coordinates. From the guess of $x_0$ follow the noise
$\hat\varepsilon = (x_t - a\,\hat x_0)/s$, $v = a\,\hat\varepsilon - s\,\hat x_0$, the velocity
$u = \hat\varepsilon - \hat x_0$ of flow matching, and the score $-\hat\varepsilon / s$, the gradient of the
log-density. Longer arrows are stronger, at one moment; the next has a scale of its own. With $a = \cos\varphi$ and
$s = \sin\varphi$, $\mathrm d x_t / \mathrm d\varphi = v$: the slider is this angle, so points move against $v$, as fast
as it is long.

Flow matching is not another model: the schedule *rectified* has its noise levels, and a step of DDIM is one of Euler's
method along $u$: straight on, as far as the step is long.

Samplers without noise (DDIM, Heun, DPM-Solver++) and with (DDPM) have the same densities at every $t$, although their
paths look nothing alike. Heun asks twice a step, so five of its steps are nine of DDIM's.
""",
    "Song et al. 2021, Score-Based Generative Modeling through Stochastic Differential Equations",
    "https://arxiv.org/abs/2011.13456",
    ("x_t", "eps", "v", "u", "score", "ode", "sde", "guidance", "sampler", "steps"),
)
