"""The step ladder: the same noise through every sampler, in few steps and in many."""

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.evaluation.ladder import STEPS, rungs
from ddpm.samplers import SAMPLERS
from pages.components.frame import about, page
from pages.components.ladder import Ladder, climb_with_preview, draw
from pages.components.models import pick_model

page(
    "Ladder",
    "How few steps are enough? Every image below starts from the same noise: a better sampler comes near the exact "
    "answer sooner.",
)

BOUND = {"bind": "query-params"}

reference, model = pick_model("ladder_model")

last = model.schedule.num_timesteps
with st.container(horizontal=True, vertical_alignment="bottom"):
    classes = [str(k) for k in range(model.num_classes)]
    drawn = st.selectbox("Draw", [*classes, "no class"], min(3, len(classes)), key="ladder_draw", width=150, **BOUND)
    seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="ladder_seed", width=150, **BOUND)
    columns = [n for n in STEPS if n <= last] or [last]
    most = st.selectbox(
        "Up to",
        columns,
        index=min(4, len(columns) - 1),
        key="ladder_most",
        format_func=lambda n: f"{n} steps",
        width=150,
        help="The widest column. The reference, DDIM with all of the model's timesteps, comes last in any case.",
        **BOUND,
    )
    go = st.button("Climb", type="primary", icon=":material/stairs_2:", key="ladder_go")

wanted = Ladder(
    reference, int(drawn) if drawn.isdigit() else None, seed, rungs(last, steps=[n for n in columns if n <= most])
)
place, progress = st.empty(), st.empty()
try:
    if go:
        climb_with_preview(wanted, model, place, progress)
except DDPMError as error:
    st.error(str(error))
    st.stop()

shown: Ladder = st.session_state.get("ladder", wanted)
draw(shown, place)
if not shown.climbed:
    st.info(f"**Climb** draws one image in {len(shown.plan)} ways, from left to right.", icon=":material/stairs_2:")
elif shown.key != wanted.key:
    st.info("The settings have changed since this ladder. **Climb** draws it anew.", icon=":material/sync:")
elif not shown.complete:
    st.info("Stopped before the end. **Climb** starts again.", icon=":material/stop_circle:")

with st.expander("The same ladder from the command line", icon=":material/terminal:"):
    st.code(shown.command_line(), language="bash", wrap_lines=True)

about(
    "A network that removes noise defines a curve from every $x_T$ to an image: the *probability-flow ODE*. DDIM with "
    r"$\eta = 0$, Heun and DPM-Solver++ all follow this one curve, in steps. DDIM's step is a straight line, whose "
    "error falls in proportion to the number of steps; Heun looks at both ends of a step, DPM-Solver++ remembers the "
    "step before, and their error falls with its square. So all of them end at the same image, sooner or later. DDPM "
    "does not: it adds fresh noise at every step, and ends at another image of the same kind.\n\n"
    "PSNR is the distance to DDIM's image after all timesteps, in dB: 30 is hard to tell apart, 40 cannot be.",
    SAMPLERS["dpmpp_2m"].source,
    "https://arxiv.org/abs/2211.01095",
)
