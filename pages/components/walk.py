"""A walk from one image to another, to be dragged: the noise of two seeds and the embeddings of two classes, mixed."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import streamlit as st
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from ddpm.config import SamplingConfig
from ddpm.errors import DDPMError
from ddpm.media.images import enlarge, gif_bytes, make_grid, mp4_bytes
from ddpm.models import Model
from ddpm.randomness import ImageNoise, NoiseBetween
from ddpm.sampling import evaluations, sample

from .classes import label_of, options
from .drawn import drawn_once
from .models import identity, in_turn
from .pictures import data_uri
from .public import show_error
from .recipes import recipe_of

FRAMES = 25
STATIC = Path(__file__).with_name("static")
_walker = st.components.v2.component(
    "ddpm_walk", **{kind: (STATIC / f"walk.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
)


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
            drawn = st.selectbox("To class", offered, first, key="play_to", width=190, bind="query-params")
            end = label_of(names, drawn)
    try:
        _show(model, settings, (seed, there), (start, end))
    except DDPMError as error:
        show_error(error)


def _show(
    model: Model, settings: SamplingConfig, seeds: tuple[int, int], labels: tuple[int | None, int | None]
) -> None:
    """The images between the first image of one seed and class and that of another.

    Raises:
        ConfigError: it takes more network evaluations than one request may have here.
    """
    images = _images(model, settings, seeds, labels)
    ends = [_end(model, *end) for end in zip(seeds, labels, strict=True)]
    recipe = recipe_of(model, "playground")
    show_walk(images, ends, f"{identity(model)} {settings} {seeds} {labels}", "play_walk", recipe)


def show_walk(images: Tensor, ends: Sequence[str], named: str, key: str, recipe: str) -> None:
    """Images on the way from one to another, uint8 (N, C, H, W), under a slider, with downloads.

    Args:
        ends: what the first and the last are.
        named: names these images; the slider goes back to the first when it changes.
        recipe: for the downloads.
    """
    data = {"frames": [data_uri(frame) for frame in _frames(images)], "ends": list(ends), "id": named}
    _walker(data=data, key=f"{key}er")
    with st.container(horizontal=True, gap="xsmall"):
        for label, encode, kind in (("GIF", gif_bytes, "image/gif"), ("MP4", mp4_bytes, "video/mp4")):
            file = in_turn(partial(_there_and_back, encode, recipe), get=lambda: (images,))
            st.download_button(label, file, f"walk.{label.lower()}", kind, key=f"{key}_{label}", on_click="ignore")


def key_of(model: Model, settings: SamplingConfig, seeds: tuple[int, int], labels: tuple) -> tuple[object, ...]:
    """All that decides a walk."""
    return "walk", identity(model), settings.model_dump_json(), seeds, labels


def _images(model: Model, settings: SamplingConfig, seeds: tuple[int, int], labels: tuple) -> Tensor:
    shares = torch.linspace(0, 1, FRAMES)
    mixture = None
    if None not in labels:
        first, last = (one_hot(torch.tensor(label), model.num_classes) for label in labels)
        mixture = (1 - shares[:, None]) * first + shares[:, None] * last
    ends = (ImageNoise(seed, [0], model.config.image_shape, model.device) for seed in seeds)
    noise = NoiseBetween(*ends, shares.tolist())
    walk = partial(sample, model, FRAMES, labels=mixture, settings=settings, noise=noise)
    work = FRAMES * evaluations(settings, model.schedule, guided=mixture is not None)
    key = key_of(model, settings, seeds, labels)
    (images,) = drawn_once(key, model, work, [walk], "Drawing the walk", "this walk", "choose fewer steps")
    return images


def _frames(images: Tensor) -> list[Image.Image]:
    return [enlarge(make_grid(frame[None], gap=0), 256) for frame in images]


def _there_and_back(encode: Callable[..., bytes], recipe: str, images: Tensor) -> bytes:
    frames = _frames(images)
    return encode([*frames, *frames[-2:0:-1]], recipe=recipe)


def _end(model: Model, seed: int, label: int | None) -> str:
    return f"seed {seed}" if label is None else f"{model.class_name(label)}, seed {seed}"
