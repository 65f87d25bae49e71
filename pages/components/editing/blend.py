"""Blending two images at a noise level."""

from functools import partial

import streamlit as st
import torch

from ddpm import editing
from ddpm.models import Model
from ddpm.sampling import timesteps_from

from ..drawn import drawn_once
from ..models import identity
from ..recipes import recipe_of
from ..sampling import settings_python
from ..walk import show_walk
from .asked import BOUND, INSTEAD, as_code, asked_words, hash_of, pick_image, pick_labels, pick_seed, settings_of

FRAMES = 17


def blend_tool(model: Model) -> None:
    first, second = pick_image(model, "blend_from", "From"), pick_image(model, "blend_to", "To", label=8)
    if first is None or second is None:
        return
    first, second, python = first.pixels, second.pixels, (first.python, second.python)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels, seed = pick_labels(model, "blend", "Draw as"), pick_seed("blend", "Seed of the noise", roll=True)
    strength = st.slider(
        "Blend at, as a share of T", 0.05, 1.0, 0.6, 0.05, key="blend_strength", **BOUND,
        help="The noise level at which the two are mixed. At a low one you see two images laid over each other, at a "
        "high one an image of the model's own in between.",
    )  # fmt: skip
    settings = settings_of(model)
    start = editing.start_of(model, strength, settings)
    shares = torch.linspace(0, 1, FRAMES).tolist()
    work = 2 * FRAMES * len(timesteps_from(model, start, editing.within(model, start, settings)))
    make = partial(editing.blend, model, first, second, shares, start, labels=labels or None, settings=settings,
                   seed=seed)  # fmt: skip
    asked = "blend", identity(model), hash_of(first), hash_of(second), str(labels), start, seed
    (images,) = drawn_once(asked, model, work, [make], "Blending", "this", INSTEAD)
    show_walk(images, ("the first", "the second"), str(asked), "blend_walk", recipe_of(model, "draw"))
    as_code(
        model,
        ["blend", "--image", "image.png", "--image", "other.png", "--start", start, "--frames", FRAMES,
         *asked_words(model, labels, settings), "--seed", seed, "--out", "blend.gif"],
        [f"first, second = {', '.join(python)}", f"settings = {settings_python(settings)}",
         f"shares = [k / {FRAMES - 1} for k in range({FRAMES})]",
         f"steps = editing.blend(model, first, second, shares, {start}, labels={labels or None}, settings=settings, "
         f"seed={seed})",
         f"enlarge(make_grid(to_uint8(last(steps).x0), columns={FRAMES})).save('blend.png')"],
        first,
    )  # fmt: skip
    st.caption("To blend two seeds or two classes from pure noise on, see the Playground, **A walk to another image**.")
