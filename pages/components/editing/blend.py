"""Blending two images at a noise level."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import streamlit as st
import torch
from torch import Tensor

from ddpm import editing
from ddpm.config import SamplingConfig
from ddpm.media.images import enlarge, make_grid
from ddpm.models import Model
from ddpm.samplers import Step
from ddpm.sampling import timesteps_from

from ..drawn import drawn_once
from ..models import identity
from ..pictures import show
from ..recipes import recipe_of
from ..sampling import settings_python
from ..walk import show_walk
from .asked import BOUND, INSTEAD, as_code, asked_words, hash_of, pick_image, pick_labels, pick_seed, settings_of
from .invert import STEPS

FRAMES = 17
SHARES = torch.linspace(0, 1, FRAMES).tolist()
NOISED, INVERTED = "at a noise level", "by the noise that makes each"


class Way(NamedTuple):
    """A way of blending: what draws it, its network evaluations, what decides it, and how the command and the Python
    say it."""

    make: Callable[[], Iterator[Step]]
    work: int
    key: tuple
    settings: SamplingConfig
    words: list
    call: str


def blend_tool(model: Model) -> None:
    first, second = pick_image(model, "blend_from", "From"), pick_image(model, "blend_to", "To", label=8)
    if first is None or second is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = pick_labels(model, "blend", "Draw as")
        how = st.segmented_control(
            "Mix", [NOISED] if model.config.model.step_counts else [NOISED, INVERTED], default=NOISED, required=True,
            key="blend_how", help="Noise both alike, and mix them; or turn both back into the noise that DDIM makes "
            "them of, and draw what lies between.", **BOUND,
        )  # fmt: skip
    way = (_inverted if how == INVERTED else _noised)(model, first.pixels, second.pixels, labels)
    key = "blend", identity(model), hash_of(first.pixels), hash_of(second.pixels), str(labels), *way.key
    (images,) = drawn_once(key, model, way.work, [way.make], "Blending", "this", INSTEAD)
    show(enlarge(make_grid(images[::2], columns=FRAMES // 2 + 1)), "From the first to the second")
    show_walk(images, ("the first", "the second"), str(key), "blend_walk", recipe_of(model, "draw"))
    as_code(
        model,
        ["blend", "--image", "image.png", "--image", "other.png", *way.words, "--frames", FRAMES,
         *asked_words(model, labels, way.settings), "--out", "blend.gif"],
        [f"first, second = {first.python}, {second.python}", f"settings = {settings_python(way.settings)}",
         f"shares = [k / {FRAMES - 1} for k in range({FRAMES})]",
         f"steps = editing.{way.call}, labels={labels or None}, settings=settings)",
         f"enlarge(make_grid(to_uint8(last(steps).x0), columns={FRAMES})).save('blend.png')"],
        first.pixels,
    )  # fmt: skip
    st.caption("To blend two seeds or two classes from pure noise on, see the Playground, **A walk to another image**.")


def _noised(model: Model, first: Tensor, second: Tensor, labels: list[int]) -> Way:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seed = pick_seed("blend", "Seed of the noise", roll=True)
    strength = st.slider(
        "Blend at, as a share of T", 0.05, 1.0, 0.6, 0.05, key="blend_strength", **BOUND,
        help="The noise level at which the two are mixed. At a low one you see two images laid over each other, at a "
        "high one an image of the model's own in between.",
    )  # fmt: skip
    settings = settings_of(model)
    start = editing.start_of(model, strength, settings)
    work = 2 * FRAMES * len(timesteps_from(model, start, editing.within(model, start, settings)))
    make = partial(editing.blend, model, first, second, SHARES, start, labels=labels or None, settings=settings,
                   seed=seed)  # fmt: skip
    words = ["--start", start, "--seed", seed]
    return Way(make, work, (start, seed), settings, words, f"blend(model, first, second, shares, {start}, seed={seed}")


def _inverted(model: Model, first: Tensor, second: Tensor, labels: list[int]) -> Way:
    settings = editing.redrawing(settings_of(model, STEPS))
    work = settings.num_steps * (2 * editing.INVERSION_ROUNDS + FRAMES)
    make = partial(editing.blend_inverted, model, first, second, SHARES, labels=labels or None, settings=settings)
    return Way(make, work, (INVERTED,), settings, ["--inverted"], "blend_inverted(model, first, second, shares")
