"""The step ladder: the same noise through every sampler, with few steps and with many."""

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.escaping import as_code
from ddpm.models import NO_CLASS
from ddpm.samplers import SAMPLERS
from pages.components.classes import label_of, options
from pages.components.frame import about, page
from pages.components.ladder import Ladder, climb_with_preview, draw, first_of, picture, plans
from pages.components.models import cached_model, in_turn, pick_model
from pages.components.opening import LADDER_CLASS, opening_ladder
from pages.components.public import show_error
from pages.components.recipes import recipe_of

PAGE = {
    "order": 3,
    "group": "Learn",
    "icon": ":material/stairs_2:",
    "about": "Compare samplers: the same noise in 1 step, in 5, in 50 and in all, each beside the ground truth.",
}

page(
    "Ladder",
    "How few steps are enough? Every image below starts from the same noise. Where no fresh noise is "
    "added, a better sampler needs fewer steps to match the ground truth.",
)

BOUND = {"bind": "query-params"}

model = pick_model("ladder_model")
if model.config.model.step_counts:
    st.info("A distilled model knows one sampler and a few numbers of steps: the Playground shows them. For a ladder "
            "choose its teacher, or any other model.", icon=":material/speed:")  # fmt: skip
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom"):
    offered = options("ladder_draw", model.class_names, last=[NO_CLASS])
    drawn = st.selectbox(
        "Draw", offered, min(LADDER_CLASS, max(0, model.num_classes - 1)), key="ladder_draw", width=190, **BOUND
    )
    seed = st.number_input("Seed", step=1, key="ladder_seed", width=150, **BOUND)
    label = label_of(model.class_names, drawn)
    possible = plans(model, None if label is None else [label])
    most = st.selectbox(
        "Up to",
        list(possible),
        index=first_of(possible),
        key="ladder_most",
        format_func=lambda n: f"{n} steps",
        width=150,
        help="The widest column. The ground truth, DDIM with all of the model's timesteps, always comes last; a public "
        "page uses as many as one request may.",
        **BOUND,
    )
    go = st.button("Climb", type="primary", icon=":material/stairs_2:", key="ladder_go")

if most not in possible:
    st.info("This model takes too many network evaluations for a ladder on a public page. Draw **no class**, or choose "
            "another model.", icon=":material/public:")  # fmt: skip
    st.stop()
wanted = Ladder(model.reference, label, seed, possible[most])
differences = st.toggle("Show what differs from the ground truth", key="ladder_differences", **BOUND)
progress, place = st.empty(), st.empty()
try:
    if go:
        climb_with_preview(wanted, model, place, progress)
except DDPMError as error:
    show_error(error)
    st.stop()

shown: Ladder = st.session_state.get("ladder") or opening_ladder() or wanted
draw(shown, place, differences)
if "ladder" not in st.session_state and (shown.key != wanted.key or not shown.climbed):
    whose = "" if shown.reference == model.reference else f", drawn with {as_code(shown.reference)},"
    came = f" This one{whose} came with the app." if shown.climbed else ""
    progress.info(f"**Climb** draws one image in {len(wanted.plan)} ways, from left to right.{came}",
                  icon=":material/stairs_2:")  # fmt: skip
elif shown.key != wanted.key:
    progress.info("You've changed the settings. Press **Climb** to redraw.", icon=":material/sync:")
elif not shown.complete:
    progress.info("Stopped before the end. **Climb** starts again.", icon=":material/stop_circle:")
else:
    progress.caption(
        "dB is the PSNR to the ground truth: at 30 dB the two are hard to tell apart. DDPM adds "
        "fresh noise and ends at another image of the same kind. Below are the network evaluations (two per step with "
        "Heun, but for the last; twice that where guidance acts) and the time."
    )
if shown.climbed:
    recipe = recipe_of(model, "ladder")
    st.download_button("Download PNG", in_turn(picture, get=lambda: (shown, recipe)), "ladder.png", "image/png",
                       key="ladder_png", icon=":material/download:", on_click="ignore")  # fmt: skip

with st.expander("The same ladder from the command line", icon=":material/terminal:"):
    st.code(shown.command_line(cached_model(shown.reference)), language="bash", wrap_lines=True)

about(
    r"""
A network that removes noise defines a curve from every $x_T$ to an image, the *probability-flow ODE*. With
$a = \sqrt{\bar\alpha_t}$ and $s = \sqrt{1 - \bar\alpha_t}$ it is

$$\mathrm d\!\left(\frac{x}{a}\right) = \hat\varepsilon(x, t)\;\mathrm d\!\left(\frac{s}{a}\right).$$

DDIM with $\eta = 0$, Heun and DPM-Solver++ all follow this one curve, in steps. DDIM's step is a straight line in
$x / a$ over $s / a$: half the step, half the error. Heun evaluates both ends of a step, DPM-Solver++ remembers the
step before: half the step, a quarter of the error. So all of them end at the same image, sooner or later. DDPM does
not: it adds fresh noise at every step, and ends at another image of the same kind.
""",
    SAMPLERS["dpmpp_2m"].source,
    "https://arxiv.org/abs/2211.01095",
    ("ladder", "sampler", "steps", "nfe", "psnr", "order", "ode", "eta"),
)
