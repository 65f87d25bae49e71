"""The Playground: generate images with any model, and step through how they came about."""

import random

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.media.images import enlarge, make_grid
from ddpm.models import NO_CLASS, repeat_labels
from pages.components.classes import ALL, label_of, options
from pages.components.doctor import doctor
from pages.components.downloads import downloads
from pages.components.frame import about, page, share_link
from pages.components.gallery import Shown, kept, picture_of, picture_with_preview, shown_of
from pages.components.guidance import guidance_section
from pages.components.link import ROLLED, link_to, roll_image, rolled_images, verdict_on_link
from pages.components.live import LIVE_SECONDS, is_live, seconds_of
from pages.components.models import cached_model, how_far, pick_model
from pages.components.nearest import nearest_section
from pages.components.opening import PLAYGROUND_IMAGES
from pages.components.pictures import show
from pages.components.player import player
from pages.components.public import show_error
from pages.components.recipes import settings_from_a_file
from pages.components.sampler_controls import sampler_controls
from pages.components.sampling import MAX_IMAGES, Request, Result
from pages.components.walk import walk_section

PAGE = {
    "order": 1,
    "group": "Explore",
    "icon": ":material/draw:",
    "about": "Generate images with your own settings, and step through the reverse process frame by frame.",
}

page(
    "Playground",
    "Generate images, change one setting at a time, and watch each image come out of the noise. "
    "The model and its sampler are set in the sidebar.",
)

BOUND = {"bind": "query-params"}
SHOWN, STOPPED = "play_shown", "play_stopped"  # in the session: the picture that is shown; whether a stop left none


def roll() -> None:
    st.session_state.play_seed = random.randrange(100_000)
    st.query_params.pop(ROLLED, None)
    st.session_state.play_go = True


def roll_one(k: int) -> None:
    roll_image(k)
    st.session_state.play_go = True


def stop() -> None:
    """Keep what is shown: the previous picture, or none."""
    if SHOWN in st.session_state:
        st.toast("Stopped. The last finished picture stays.")
    else:
        st.session_state[STOPPED] = True


def forget() -> None:
    st.session_state[STOPPED] = st.session_state.pop(SHOWN) is not None


def draw_again(shown: Shown) -> Result:
    """A picture that this visitor has seen, but that newer ones have since pushed out of the cache."""
    return picture_with_preview(shown.request, cached_model(shown.request.reference), picture, progress, forget)


model = pick_model("play_model")

row = st.container()
with row, st.container(horizontal=True, vertical_alignment="bottom"):
    draw = st.selectbox(
        "Draw",
        options("play_draw", model.class_names, first=[ALL] if model.num_classes else [], last=[NO_CLASS]),
        key="play_draw",
        width=190,
        help="Which class to ask for. 'no class' leaves the choice to the model.",
        **BOUND,
    )
    count = st.number_input("Images", 1, MAX_IMAGES, PLAYGROUND_IMAGES, key="play_count", width=130, **BOUND)
    seed = st.number_input(
        "Seed",
        step=1,
        key="play_seed",
        width=150,
        help="The same seed gives the same images: image 3 of a seed stays the same however many you ask for.",
        **BOUND,
    )
    buttons = st.container(horizontal=True, width="content", vertical_alignment="center")

label = label_of(model.class_names, draw)
labels = tuple(range(model.num_classes)) if draw == ALL else None if label is None else (label,)
picture, facts = st.columns([3, 2], gap="large")
picture, progress = picture.empty(), facts.empty()
result: Result | None = None
try:
    with st.sidebar:
        settings = sampler_controls(model, "play", labels is not None)
    request = Request(model.reference, count, labels, settings, seed, tuple(rolled_images().items()))
    most = request.most_images(model)
    possible = most is None or count <= most
    with buttons:
        st.button("Roll", icon=":material/casino:", on_click=roll, key="play_roll", disabled=not possible,
                  help="A new seed, drawn at once.")  # fmt: skip
        live = st.toggle(
            "Live",
            True,
            key="play_live",
            help=f"The picture follows the controls where it takes under {LIVE_SECONDS:g} s here, or was drawn before.",
            **BOUND,
        )
        quick = live and possible and is_live(request, model)
        go = quick or st.button("Generate", type="primary", icon=":material/auto_awesome:", key="play_generate",
                                disabled=not possible)  # fmt: skip
    asked = st.session_state.pop("play_go", False)
    go = asked or go or not (SHOWN in st.session_state or STOPPED in st.session_state)
    if possible and most is not None:
        row.caption(f"With these settings up to {min(most, MAX_IMAGES)} images at once on this public page.")
    if possible and go:
        first = SHOWN not in st.session_state
        st.session_state.pop(STOPPED, None)
        result = (
            picture_of(request, model, on_wait=progress.caption)  # for its turn; the picture before stays
            if quick
            else picture_with_preview(request, model, picture, progress, stop)
        )
        st.session_state[SHOWN], st.session_state.play_linked = shown_of(request, model), first
    request.check(model)
except DDPMError as error:
    show_error(error, row)
if STOPPED in st.session_state:
    picture.info("Stopped before a picture was finished. **Generate** draws it; fewer images or steps take less time.",
                 icon=":material/stop_circle:")  # fmt: skip
if SHOWN not in st.session_state:
    st.stop()
shown: Shown = st.session_state[SHOWN]
try:
    result = result or kept(shown) or draw_again(shown)
except DDPMError as error:
    show_error(error, row)
    st.stop()
asked = shown.request
show(enlarge(make_grid(result.trajectory.images)), f"{asked.count} generated images", place=picture)
with progress.container():  # where the bar is while images are drawn, so that nothing below moves
    first, second = st.columns(2)
    first.metric(
        "Time",
        "–" if result.seconds is None else f"{result.seconds:.2f} s",
        help="This picture came with the app, which draws the same to the pixel. **Roll** draws another one."
        if result.seconds is None
        else "From the first noise to the last image, on this server, when this picture was first drawn.",
    )
    second.metric(
        "Evaluations",
        f"{result.evaluations:,}",
        help="How often the network was evaluated: images × steps. Heun takes two evaluations a step, but for the "
        "last; where guidance acts, each becomes two.",
    )
with facts:
    how_far(model)
    verdict_on_link(result)
    if asked != request:
        seconds = seconds_of(request, model)
        takes = "" if seconds is None else f": about {seconds:.1f} s here"
        st.info(f"You've changed the settings. Press **Generate** to redraw{takes}.", icon=":material/sync:")
    downloads(shown, result.trajectory.timesteps)
    share_link(asked.reference, "Share this model")

nearest_section(cached_model(asked.reference), result.trajectory.images, asked.labels, asked.indices)
st.header("Step through the reverse process", anchor=False)
drawn = repeat_labels(asked.labels, asked.indices) if asked.labels else []
names = [cached_model(asked.reference).class_name(each) for each in drawn]
player(result.frames, str(shown), "play_player", result.probabilities, names, roll_one)

if asked.labels and not model.config.model.step_counts and asked.reference == model.reference:
    guidance_section(model, asked.labels[0], asked.seed)
walk_section(model, settings, seed, label, bool(labels))
doctor(model, settings, "play")

with st.expander("A link to this picture", icon=":material/link:"):
    st.code(link_to(result), language=None, wrap_lines=True)
    st.caption(
        "It spells out every setting, and holds a fingerprint of the weights and of the pixels: anyone who "
        "opens it sees whether their picture matches exactly."
    )
settings_from_a_file()
with st.expander("The same picture from the command line", icon=":material/terminal:"):
    st.code(asked.command_line(cached_model(asked.reference)), language="bash", wrap_lines=True)
with st.expander("The same picture in Python", icon=":material/code:"):
    st.code(asked.python(cached_model(asked.reference)), language="python", wrap_lines=True)

about(
    r"""
At every step the network takes $x_t$ and predicts the clean image $\hat x_0$ and the noise $\hat\varepsilon$ in it.
DDIM goes to the next timestep $s < t$ by recombining the two, with less noise:

$$
x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\,\hat\varepsilon + \sigma z, \qquad
\sigma = \eta\,\sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}\,\sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}.
$$

With $\eta = 0$ nothing is left to chance. DDPM is the case $\eta = 1$: its fresh noise $z$ has the variance of the
posterior $q(x_s \mid x_t, \hat x_0)$, or with `fixed_large` a little more. Early steps decide the shape
(and, where no class is asked for, what the image shows), late ones the edges: compare $x_t$ with the predicted $x_0$.

Guidance compares what the network predicts with the class and without it, and goes on in that direction:
$D = D_\varnothing + w\,(D_y - D_\varnothing)$. It trades variety for clarity. Acting only in the middle of the walk, as
the shipped model's does, it decides between classes without overdoing shape and contrast: moving $w$ from 1.5 to 6
changes few images then.

A *distilled* model draws in 1, 2, 4 or 8 steps: a student that has learned to land, in one step, where its teacher
arrived after several (Salimans & Ho 2022, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512)). The speed has a price.
In one step strokes get soft; the teacher's guidance is built in and cannot be changed; and since the student predicts
the end of a way and not the mean of all images that the noise may hide, it is not calibrated and knows no other
sampler.
""",
    "Song, Meng & Ermon 2021, Denoising Diffusion Implicit Models",
    "https://arxiv.org/abs/2010.02502",
    (
        "x0",
        "x_t",
        "eps",
        "timestep",
        "sampler",
        "steps",
        "nfe",
        "guidance",
        "guidance-interval",
        "eta",
        "clipping",
        "distillation",
        "seed",
    ),
)
