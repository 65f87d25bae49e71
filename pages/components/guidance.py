"""What guidance does, to be seen: the image of one seed at several scales."""

import base64
from html import escape

import streamlit as st
import torch

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.deploy.public import check_evaluations
from ddpm.errors import DDPMError
from ddpm.media.images import png_bytes, to_pil, to_uint8
from ddpm.models import Model
from ddpm.sampling import sample

from .models import computing, identity
from .public import show_error

SCALES = (0.0, 1.0, 1.5, 3.0, 6.0)
NUM_STEPS = 20


@st.cache_resource(show_spinner=False, max_entries=64)
def _kept(*key: object) -> list[torch.Tensor]:
    """The rows that have been drawn, for all visitors. Inside a cached function one could not wait for a turn."""
    return []


def guidance_section(model: Model, label: int, seed: int) -> None:
    """The part of the Playground that draws a strip when it is asked to."""
    st.header("What guidance does", anchor=False)
    if st.toggle("Draw one image at five scales", key="play_scales", bind="query-params"):
        try:
            _strip(model, label, seed)
        except DDPMError as error:
            show_error(error)


def _strip(model: Model, label: int, seed: int) -> None:
    """A row for every way in which guidance may act: within the model's own interval, if it has one, and at all t.

    Raises:
        ConfigError: it takes more network evaluations than one request may have here.
    """
    own, last = model.config.sampling.guidance_interval, model.schedule.num_timesteps - 1
    intervals = [interval for interval in (own, (0, last)) if interval]
    settings = [_settings(model, interval) for interval in intervals]
    kept = _kept(identity(model), label, seed)
    if not kept:
        work = len(settings) * len(SCALES) * settings[0].num_steps * 2
        check_evaluations(work, "this comparison", "choose another model")
        with st.spinner("Drawing"), computing(model.reference, work) as turn:
            for chosen in settings:
                seeds = [seed] * len(SCALES)
                for step in sample(model, labels=[label], settings=chosen, seeds=seeds, guidance=SCALES):
                    images = step.x0
                    turn.give_way()
                kept.append(to_uint8(images))
    head = "".join(f'<th scope="col">w = {scale:g}</th>' for scale in SCALES)
    named = [f"t = {first} to {last}" for first, last in intervals]
    rows = "".join(_row(name, images) for name, images in zip(named, kept, strict=True))
    st.html(
        '<div class="ladder guidance" tabindex="0" role="region" aria-label="Scales of guidance">'
        f'<table><tr><th scope="col">acts at</th>{head}</tr>{rows}</table></div>'
    )
    st.caption(
        f"Seed {seed}, {settings[0].num_steps} steps, the same noise everywhere. At w = 0 the class is ignored, at 1 "
        "followed plainly. Beyond, strokes get bolder and digits more alike, which acting at all t exaggerates; within "
        "an interval most images hardly change, since their shape is decided before and their edges after."
    )


def _settings(model: Model, interval: tuple[int, ...]) -> SamplingConfig:
    steps = min(NUM_STEPS, model.schedule.num_timesteps)
    return sampling_settings(model.config, num_steps=steps, guidance_interval=list(interval))


def _row(name: str, images: torch.Tensor) -> str:
    cells = "".join(
        f'<td><img alt="{escape(f"{name}, w = {scale:g}")}" src="data:image/png;base64,'
        f'{base64.b64encode(png_bytes(to_pil(image))).decode()}"></td>'
        for scale, image in zip(SCALES, images, strict=True)
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
