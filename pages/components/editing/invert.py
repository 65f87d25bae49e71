"""DDIM inversion: the noise that a model makes an image of, and what else it makes of that noise."""

from collections.abc import Iterator

import streamlit as st
import torch

from ddpm import editing
from ddpm.data import to_float
from ddpm.evaluation.calibration import psnr
from ddpm.media.images import to_uint8
from ddpm.models import Model
from ddpm.samplers import Step
from ddpm.sampling import sample

from ..drawn import drawn_once
from ..models import identity
from ..sampling import settings_python
from .asked import BOUND, INSTEAD, as_code, hash_of, one, pick_image, pick_labels, settings_of

STEPS = 20
FAR = 3  # standard deviations of the noise that are shown as black and white


def invert_tool(model: Model) -> None:
    picked = pick_image(model, "invert")
    if picked is None:
        return
    original = picked.pixels
    if model.config.model.step_counts:
        st.info("A distilled model takes steps too large to be taken back. Choose its teacher, or any other model.",
                icon=":material/speed:")  # fmt: skip
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = pick_labels(model, "invert", "Inverted as")
        other = pick_labels(model, "invert_to", "Drawn again as", first=8)
        scale = st.number_input("at guidance", 1.0, 10.0, 1.0, 0.5, key="invert_guidance", width=150, **BOUND,
                                disabled=not other)  # fmt: skip
    settings = settings_of(model, STEPS)
    plain = editing.redrawing(settings)
    guided = plain.model_copy(update={"guidance_scale": scale if other else 1.0})

    def there_and_back() -> Iterator[Step]:
        for step in editing.invert(model, original, labels=labels or None, settings=settings):
            yield step
        noise, seen = step.x_t, [step.x_t.clamp(-FAR, FAR) / FAR]
        for wanted, how in ((labels, plain), (other, guided)):
            for redrawn in sample(model, 1, labels=wanted or None, settings=how, noise=lambda: noise):
                yield redrawn
            seen.append(redrawn.x0.clamp(-1, 1))
        yield redrawn._replace(x0=torch.cat(seen))

    work = STEPS * (editing.INVERSION_ROUNDS + 3)
    asked = "inverted", identity(model), hash_of(original), str(labels), str(other), guided.guidance_scale
    (found,) = drawn_once(asked, model, work, [there_and_back], "Looking for the noise", "this", INSTEAD)
    names = model.class_name(other[0]) if other else "no class"
    titles = ("The image", "The noise that makes it", "What comes back", f"The same noise, drawn as {names}")
    columns = st.container(key="invert_row").columns(4)
    for column, title, picture in zip(columns, titles, [to_uint8(original)[0], *found], strict=True):
        with column:
            one(picture, title)
    back = psnr(to_float(found[1:2]), original).item()
    st.caption(
        f"There and back in {settings.num_steps} steps of DDIM, the way back found with {editing.INVERSION_ROUNDS} "
        f"evaluations a step: {back:.1f} dB. At 30 dB two images are hard to tell apart."
    )
    as_code(
        model,
        ["invert", "--image", "image.png", "--num-steps", settings.num_steps,
         *(["--labels", model.class_name(labels[0])] if labels else []),
         *(["--to", model.class_name(other[0])] if other else []),
         *(["--guidance-scale", guided.guidance_scale] if guided.guidance_scale != 1 else []), "--out", "inverted.png"],
        [f"image = {picked.python}", f"settings = {settings_python(guided)}",
         f"noise = last(editing.invert(model, image, labels={labels or None}, settings=settings)).x_t",
         f"again = drawn(1, labels={other or None}, settings=settings, noise=lambda: noise)",
         "enlarge(make_grid(to_uint8(again))).save('again.png')"],
        original,
    )  # fmt: skip
