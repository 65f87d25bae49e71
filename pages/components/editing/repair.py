"""Inpainting: what a model puts where an image was painted over."""

from functools import partial

import streamlit as st

from ddpm import editing
from ddpm.media.images import enlarge, to_pil, to_uint8
from ddpm.media.strokes import LOWER_HALF, mask_of, strokes_text
from ddpm.models import Model
from ddpm.sampling import evaluations

from ..sampling import settings_python
from .asked import (
    ANSWERS,
    BOUND,
    answers,
    as_code,
    asked_words,
    hash_of,
    pick_image,
    pick_labels,
    pick_seed,
    settings_of,
)
from .canvas import canvas


def repair_tool(model: Model) -> None:
    picked = pick_image(model, "repair")
    if picked is None:
        return
    original = picked.pixels
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = pick_labels(model, "repair", "Repair it as")
        seed = pick_seed("repair", "Seed of the answers", roll=True)
    repeats = st.slider(
        "Repeats of each step", 1, 10, 4, key="repair_repeats",
        help="1 only puts the known pixels back at every step. More let the new part fit them (RePaint).", **BOUND,
    )  # fmt: skip
    left, right = st.container(key="draw_sides").columns(2, gap="large")
    with left:
        strokes = canvas("repair_mask", "What to paint over", LOWER_HALF, image=enlarge(to_pil(to_uint8(original)[0])),
                         ink="#E17702", opacity=0.75, pen=20, live=False)  # fmt: skip
        st.caption("Paint over what is to be made anew. The rest stays, to the pixel.")
    mask, settings = mask_of(strokes, model.config.data.image_size), settings_of(model, sampler="ddpm")
    make = partial(editing.inpaint, model, original.expand(ANSWERS, -1, -1, -1), mask, repeats=repeats,
                   labels=labels or None, settings=settings, seed=seed)  # fmt: skip
    work = ANSWERS * repeats * evaluations(settings, model.schedule, guided=bool(labels))
    with right:
        answers(model, "repair", (hash_of(original), hash_of(mask), labels, repeats, seed), work, make)
    text = strokes_text(strokes)
    as_code(
        model,
        ["inpaint", "--image", "image.png", "--mask", text, "--repeats", repeats, "--num-samples", ANSWERS,
         *asked_words(model, labels, settings), "--seed", seed, "--out", "repaired.png"],
        [f"image = {picked.python}", f"settings = {settings_python(settings)}",
         f"mask = mask_of(read_strokes('{text}'), {model.config.data.image_size})",
         f"steps = editing.inpaint(model, image.expand({ANSWERS}, -1, -1, -1), mask, repeats={repeats}, "
         f"labels={labels or None}, settings=settings, seed={seed})",
         "enlarge(make_grid(to_uint8(last(steps).x0))).save('repaired.png')"],
        original,
    )  # fmt: skip
