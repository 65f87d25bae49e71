"""The home page: what a diffusion model does, at once, and where to go. ``streamlit_app.py`` shows it."""

import random
from itertools import groupby

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.escaping import as_markdown
from ddpm.models import Model

from .classes import article, asked_for, label_of, options
from .frame import GROUPS, about, page, shown_pages
from .gallery import picture_of
from .models import cached_model, default_model
from .opening import HOME_CLASS
from .pictures import show
from .public import show_error
from .sampling import Request, Result

MOST_OPEN = 120  # letters of all names together
MOMENTS = 7
ABOUT = r"""
Training adds noise to images and teaches a network to tell the noise from the image:

$$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I).$$

Sampling runs this backwards: it starts from noise alone, asks the network what the clean image may be, takes a small
step towards it, and asks again.
"""


def roll() -> None:
    st.query_params["seed"] = str(random.randrange(10_000))


def _pick(question: str, model: Model) -> int:
    """The label of the class to draw: a few short names are all visible, many are in a list."""
    names = model.class_names
    offered, first = options("home_digit", names), min(HOME_CLASS, len(names) - 1)
    plain = all(as_markdown(name) == name for name in offered)  # pills read Markdown, and put it into the link
    if plain and sum(map(len, offered)) <= MOST_OPEN:
        choice = st.pills(question, offered, default=offered[first], key="home_digit", bind="query-params",
                          required=True)  # fmt: skip
    else:
        choice = st.selectbox(question, offered, first, key="home_digit", bind="query-params", width=240)
    return label_of(names, choice)


def _read(result: Result) -> str:
    """What the classifier sees in the picture, if it knows such images: not always what was asked for."""
    if result.probabilities is None:
        return ""
    seen = str(int(result.probabilities[-1, 0].argmax()))
    return f"; the classifier sees {article(seen)} {seen}"


def home() -> None:
    page(
        "DDPM Lab",
        "A diffusion model turns noise into an image, a little at a time. Watch one at work.",
    )

    reference = default_model()
    if reference is None:
        st.info(
            "No model is shipped with this copy. Train one in a few minutes: "
            "`python -m ddpm train --config configs/digits.yaml`"
        )
        st.stop()

    seed = st.query_params.get("seed", "0")
    seed = int(seed) if seed.isdecimal() and len(seed) < 10 else 0
    try:
        model, label = cached_model(reference), None
    except DDPMError as error:
        show_error(error)
        st.stop()
    thing = "digit" if model.config.noun == "digit" else "class"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if model.num_classes:
            label = _pick(f"Which {thing}?", model)
        st.button("Roll again", icon=":material/casino:", on_click=roll, key="home_roll")

    # As high as the picture, even before it is there: two rows of squares, one per moment.
    st.html(f"<style>.st-key-home_picture {{ aspect-ratio: {MOMENTS} / 2; justify-content: center; }}</style>")
    movie, strip = st.columns([2, MOMENTS], gap="small")
    movie, place = movie.container(key="home_movie").empty(), strip.container(key="home_picture").empty()
    request = Request(reference, 1, None if label is None else (label,), model.config.sampling, seed)
    # Each step draws something, so that the next click interrupts a picture that nobody is waiting for any more.
    try:
        result = picture_of(
            request, model,
            on_step=lambda step: place.progress(step.index / request.settings.num_steps, "Drawing"),
            on_wait=lambda text: place.progress(0.0, text),
        )  # fmt: skip
    except DDPMError as error:
        show_error(error)
        st.stop()
    asked = asked_for(model, label)
    show(result.movie, f"An image forms out of noise, asked for {asked}", place=movie)
    show(
        result.trajectory.strip(MOMENTS),
        f"From noise to an image, asked for {asked}, in {MOMENTS} moments",
        place=place,
    )
    st.caption(
        f"Asked for {as_markdown(asked)}{_read(result)}. From pure noise to the image, moving and in {MOMENTS} of the "
        f"{request.settings.num_steps + 1} states that the sampler went through. Below each, the clean image that the "
        "network predicted from it. "
        + (
            "It came with the app; **Roll again** draws another."
            if result.seconds is None
            else f"Drawn on this server, in {result.seconds:.1f} s."
        )
    )

    groups = [(group, list(pages)) for group, pages in groupby(shown_pages()[1:], lambda one: one.group)]
    cards = st.container(key="home_groups")
    for column, (group, pages) in zip(cards.columns(len(groups)), groups, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.header(GROUPS[group], anchor=False)
            for one in pages:
                st.page_link(one.path, label=f"**{one.label}**", icon=one.icon)
                st.write(one.about)

    about(
        ABOUT,
        "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models",
        "https://arxiv.org/abs/2006.11239",
        ("forward-process", "reverse-process", "denoiser", "sampler", "seed"),
    )
