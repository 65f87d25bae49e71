"""SDEdit: what a model makes of a sketch."""

from functools import partial

import streamlit as st

from ddpm import editing
from ddpm.media.strokes import A_RING, A_THREE, sketch_of, strokes_text
from ddpm.models import Model
from ddpm.sampling import timesteps_from

from ..classes import article
from ..sampling import settings_python
from .asked import (
    ANSWERS,
    BOUND,
    answers,
    as_code,
    asked_words,
    hash_of,
    pick_labels,
    pick_seed,
    read,
    reads,
    settings_of,
)
from .canvas import canvas

READ = "as the classifier reads it"


def sketch_tool(model: Model) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = pick_labels(model, "draw", "Make it a", extra=[READ] if reads(model) else [])
        seed = pick_seed("draw", roll=True)
    strength = st.slider(
        "Strength", 0.0, 1.0, editing.STRENGTH, 0.05, key="draw_strength",
        help="How far back towards noise the sketch goes. 0 keeps it as it is, 1 forgets it.", **BOUND,
    )  # fmt: skip
    left, right = st.container(key="draw_sides").columns(2, gap="large")
    data = model.config.data
    with left:
        strokes = canvas("draw_strokes", "Sketch", A_THREE if model.config.noun == "digit" else A_RING)
        pixels = sketch_of(strokes, data.image_size, data.channels)
        if labels == READ:
            labels = read(pixels) if strokes else []
            st.caption(f"Read as {article(str(labels[0]))} {labels[0]}." if labels else "Draw something.")
    settings = settings_of(model)
    start = editing.start_of(model, strength, settings)
    steps = 0 if start is None else len(timesteps_from(model, start, editing.within(model, start, settings)))
    make = partial(editing.sketch, model, pixels.expand(ANSWERS, -1, -1, -1), strength, labels=labels or None,
                   settings=settings, seed=seed)  # fmt: skip
    with right:
        answers(model, "sketch", (hash_of(pixels), labels, start, strength == 1, seed), 2 * ANSWERS * steps, make)
    text, size = strokes_text(strokes), data.image_size
    as_code(
        model,
        ["sketch", "--image", text, "--strength", strength, "--num-samples", ANSWERS,
         *asked_words(model, labels, settings), "--seed", seed, "--out", "sketch.png"],
        [f"settings = {settings_python(settings)}",
         f"sketch = sketch_of(read_strokes('{text}'), {size}, {data.channels}).expand({ANSWERS}, -1, -1, -1)",
         f"steps = editing.sketch(model, sketch, {strength}, labels={labels or None}, settings=settings, seed={seed})",
         "enlarge(make_grid(to_uint8(last(steps).x0))).save('sketch.png')"],
    )  # fmt: skip
