"""The Playground: generate images with any model, and step through how they came about."""

import random

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.media.images import enlarge, make_grid
from pages.components.downloads import downloads
from pages.components.frame import about, page, share_link
from pages.components.link import ROLLED, link_to, roll_image, rolled_images, verdict_on_link
from pages.components.models import pick_model
from pages.components.pictures import show
from pages.components.player import player
from pages.components.public import show_error
from pages.components.sampling import (
    MAX_IMAGES,
    Request,
    Result,
    run_with_preview,
    sampler_controls,
)

page(
    "Playground",
    "Generate digits, change one setting at a time, and watch each image come out of the noise. "
    "The model and its sampler are set in the sidebar.",
)

BOUND = {"bind": "query-params"}


def roll() -> None:
    st.session_state.play_seed = random.randrange(100_000)
    st.query_params.pop(ROLLED, None)
    st.session_state.play_go = True


def roll_one() -> None:
    roll_image(st.session_state.play_player.roll)
    st.session_state.play_go = True


reference, model = pick_model("play_model")

classes = [str(k) for k in range(model.num_classes)]
row = st.container()
with row, st.container(horizontal=True, vertical_alignment="bottom"):
    draw = st.selectbox(
        "Draw",
        ["all classes", *classes, "no class"] if classes else ["no class"],
        key="play_draw",
        width=150,
        help="Which class to ask for. 'no class' leaves the choice to the model.",
        **BOUND,
    )
    count = st.number_input("Images", 1, MAX_IMAGES, 10, key="play_count", width=130, **BOUND)
    seed = st.number_input(
        "Seed",
        step=1,
        key="play_seed",
        width=150,
        help="The same seed gives the same images: image 3 of a seed stays itself however many you ask for.",
        **BOUND,
    )
    buttons = st.container(horizontal=True, width="content")

labels = tuple(range(model.num_classes)) if draw == "all classes" else (int(draw),) if draw.isdigit() else None
picture, facts = st.columns([3, 2], gap="large")
picture, progress = picture.empty(), facts.empty()
try:
    with st.sidebar:
        settings = sampler_controls(model, "play", labels is not None)
    request = Request(reference, count, labels, settings, seed, tuple(rolled_images().items()))
    most = request.most_images(model)
    possible = most is None or count <= most
    with buttons:
        st.button("Roll", icon=":material/casino:", on_click=roll, key="play_roll", disabled=not possible,
                  help="A new seed, drawn at once.")  # fmt: skip
        go = st.button("Generate", type="primary", icon=":material/auto_awesome:", key="play_generate",
                       disabled=not possible)  # fmt: skip
    go = st.session_state.pop("play_go", False) or go or "play_result" not in st.session_state
    if possible and most is not None:
        row.caption(f"With these settings up to {min(most, MAX_IMAGES)} images at once on this public page.")
    if possible and go:
        st.session_state.play_linked = "play_result" not in st.session_state
        st.session_state.play_result = run_with_preview(request, model, picture, progress)
    request.check(model)
except DDPMError as error:
    show_error(error, row)
    if "play_result" not in st.session_state:
        st.stop()

result: Result = st.session_state.play_result
shown = result.request
show(enlarge(make_grid(result.trajectory.images)), f"{shown.count} generated images", place=picture)
with progress.container():  # where the bar is while images are drawn, so that what stands below stays there
    first, second = st.columns(2)
    first.metric("Time", f"{result.seconds:.2f} s", help="From the first noise to the last image, on this server.")
    second.metric(
        "Evaluations",
        f"{result.evaluations:,}",
        help="How often the network looked at an image: images × steps, twice that with Heun, and twice that again "
        "under guidance.",
    )
with facts:
    verdict_on_link(result)
    if shown != request:
        st.info("The settings have changed since this picture. **Generate** draws it anew.", icon=":material/sync:")
    downloads(result)
    share_link(shown.reference, "Share this model")

st.header("Step through the reverse process", anchor=False)
player(result.frames, str(shown), "play_player", result.probabilities, roll_one)

with st.expander("A link to this picture", icon=":material/link:"):
    st.code(link_to(result), language=None, wrap_lines=True)
    st.caption(
        "It spells out every setting, and holds a fingerprint of the weights and of the pixels: who opens it is "
        "told whether the picture is the same."
    )
with st.expander("The same picture from the command line", icon=":material/terminal:"):
    st.code(shown.command_line(), language="bash", wrap_lines=True)
with st.expander("The same picture in Python", icon=":material/code:"):
    st.code(shown.python(), language="python", wrap_lines=True)

about(
    r"""
At every step the network looks at $x_t$ and predicts the clean image $\hat x_0$ and the noise $\hat\varepsilon$ in it.
DDIM goes to the next timestep $s < t$ by mixing the two again, with less noise:

$$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\,\hat\varepsilon + \sigma z.$$

DDPM is the case $\eta = 1$, with as much fresh noise $z$ as the forward process took away. Early steps decide the shape
(and, where no class is asked for, which digit), late ones the edges: compare $x_t$ with the predicted $x_0$.
""",
    "Song, Meng & Ermon 2021, Denoising Diffusion Implicit Models",
    "https://arxiv.org/abs/2010.02502",
)
