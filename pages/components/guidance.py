"""What guidance does, to be seen: the image of one seed at several scales."""

from functools import partial
from html import escape

import streamlit as st
import torch

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.errors import DDPMError
from ddpm.media.images import to_pil
from ddpm.models import Model
from ddpm.sampling import sample

from .drawn import drawn_once
from .models import identity
from .pictures import data_uri
from .public import show_error

SCALES = (0.0, 1.0, 1.5, 3.0, 6.0)
NUM_STEPS = 20


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
    seeds = [seed] * len(SCALES)
    walks = [
        partial(sample, model, labels=[label], settings=chosen, seeds=seeds, guidance=SCALES) for chosen in settings
    ]
    work = len(settings) * len(SCALES) * settings[0].num_steps * 2
    key = "guidance", identity(model), label, seed
    images = drawn_once(key, model, work, walks, "Drawing", "this comparison", "choose another model")
    head = "".join(f'<th scope="col">w = {scale:g}</th>' for scale in SCALES)
    named = [f"t = {first} to {last}" for first, last in intervals]
    rows = "".join(_row(name, row) for name, row in zip(named, images, strict=True))
    st.html(
        '<div class="ladder guidance" tabindex="0" role="region" aria-label="Scales of guidance">'
        f'<table><tr><th scope="col">acts at</th>{head}</tr>{rows}</table></div>'
    )
    st.caption(
        f"Seed {seed}, {settings[0].num_steps} steps, the same noise everywhere. At w = 0 the class is ignored, at 1 "
        "followed plainly. Beyond, contrast grows and images get more alike, which acting at all t exaggerates; within "
        "an interval most images hardly change, since their shape is decided before and their edges after."
    )


def _settings(model: Model, interval: tuple[int, ...]) -> SamplingConfig:
    steps = min(NUM_STEPS, model.schedule.num_timesteps)
    return sampling_settings(model.config, num_steps=steps, guidance_interval=list(interval))


def _row(name: str, images: torch.Tensor) -> str:
    cells = "".join(
        f'<td><img alt="{escape(f"{name}, w = {scale:g}")}" src="{data_uri(to_pil(image))}"></td>'
        for scale, image in zip(SCALES, images, strict=True)
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
