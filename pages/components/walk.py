"""A walk from one image to another, to be dragged: the noise of two seeds and the embeddings of two classes, mixed."""

import base64
from pathlib import Path

import streamlit as st
import torch

from ddpm.config import SamplingConfig
from ddpm.deploy.public import check_evaluations
from ddpm.errors import DDPMError
from ddpm.media.images import enlarge, gif_bytes, make_grid, mp4_bytes, png_bytes, to_uint8
from ddpm.models import Model
from ddpm.randomness import ImageNoise, NoiseBetween
from ddpm.sampling import evaluations, sample

from .classes import label_of, options
from .models import computing, identity, in_turn
from .public import show_error

FRAMES = 25
STATIC = Path(__file__).with_name("static")
_walker = st.components.v2.component(
    "ddpm_walk", **{kind: (STATIC / f"walk.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
)


@st.cache_resource(show_spinner=False, max_entries=64)
def _kept(*key: object) -> list[torch.Tensor]:
    """The walks that have been drawn, for all visitors. Inside a cached function one could not wait for a turn."""
    return []


def walk_section(model: Model, settings: SamplingConfig, seed: int, label: int | None, conditional: bool) -> None:
    """The part of the Playground that draws a walk when it is asked to, from the chosen seed and class; ``conditional``
    says whether any class is asked for."""
    st.header("A walk to another image", anchor=False)
    if not st.toggle("Walk from this seed and class to others", key="play_walk", bind="query-params"):
        return
    names, start, end = model.class_names, label, None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        there = st.number_input("To seed", value=1, step=1, key="play_to_seed", width=150, bind="query-params")
        if conditional:
            start = label or 0
            offered = options("play_to", names)
            first = (start + 1) % len(names)
            end = label_of(
                names, st.selectbox("To class", offered, first, key="play_to", width=190, bind="query-params")
            )
    try:
        _show(model, settings, (seed, there), (start, end))
    except DDPMError as error:
        show_error(error)


def _show(
    model: Model, settings: SamplingConfig, seeds: tuple[int, int], labels: tuple[int | None, int | None]
) -> None:
    """The images between the first image of one seed and class and that of another, with a slider and downloads.

    Raises:
        ConfigError: it takes more network evaluations than one request may have here.
    """
    kept = _kept(identity(model), settings.model_dump_json(), seeds, labels)
    if not kept:
        kept.append(_drawn(model, settings, seeds, labels))
    frames = [enlarge(make_grid(frame[None], gap=0), 256) for frame in kept[0]]
    _walker(
        data={
            "frames": [base64.b64encode(png_bytes(frame)).decode() for frame in frames],
            "ends": [_end(model, *end) for end in zip(seeds, labels, strict=True)],
            "id": f"{identity(model)} {settings} {seeds} {labels}",
        },
        key="play_walker",
    )
    there_and_back = [*frames, *frames[-2:0:-1]]
    with st.container(horizontal=True, gap="xsmall"):
        for label, make, kind in (("GIF", gif_bytes, "image/gif"), ("MP4", mp4_bytes, "video/mp4")):
            file = in_turn(make, get=lambda: (there_and_back,))
            st.download_button(label, file, f"walk.{label.lower()}", kind, key=f"play_walk_{label}", on_click="ignore")


def _drawn(model: Model, settings: SamplingConfig, seeds: tuple[int, int], labels: tuple) -> torch.Tensor:
    shares = torch.linspace(0, 1, FRAMES)
    guided = labels[0] is not None and labels[1] is not None
    work = FRAMES * evaluations(settings, model.schedule, guided=guided)
    check_evaluations(work, "this walk", "choose fewer steps")
    mixture = None
    if guided:
        first, last = (torch.nn.functional.one_hot(torch.tensor(label), model.num_classes) for label in labels)
        mixture = (1 - shares[:, None]) * first + shares[:, None] * last
    ends = (ImageNoise(seed, [0], model.config.image_shape, model.device) for seed in seeds)
    noise = NoiseBetween(*ends, shares.tolist())
    steps = sample(model, FRAMES, labels=mixture, settings=settings, noise=noise)
    place = st.empty()
    with st.spinner("Drawing the walk"), computing(model.reference, work) as turn:
        for step in steps:
            images = step.x0
            place.empty()  # where Streamlit ends the script of a visitor who has left
            turn.give_way()
    return to_uint8(images)


def _end(model: Model, seed: int, label: int | None) -> str:
    return f"seed {seed}" if label is None else f"{model.class_name(label)}, seed {seed}"
