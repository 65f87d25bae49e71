"""What several tools of the Draw page ask for and show: a class, a seed, an image, the answers."""

import random
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import streamlit as st
from torch import Tensor

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.data import to_float
from ddpm.datasets import DATASETS
from ddpm.errors import DataError
from ddpm.escaping import as_markdown
from ddpm.evaluation.classifier import DATA as CLASSIFIED
from ddpm.evaluation.classifier import classify
from ddpm.media.images import enlarge, make_grid, png_bytes, to_pil, to_uint8
from ddpm.models import NO_CLASS, Model
from ddpm.names import labels_text
from ddpm.samplers import Step
from ddpm.sampling import evaluations, sample

from ..classes import label_of, options
from ..drawn import drawn_once
from ..models import identity
from ..pictures import show
from ..public import foreign
from ..recipes import recipe_of
from ..sampling import settings_python, settings_words
from ..source import UPLOAD, chosen, images_of, uploaded

MADE = "drawn by the model"
ANSWERS = 4
STEPS = 10  # of a model that is not distilled: enough for a sketch, and quick
BOUND = {"bind": "query-params"}
INSTEAD = "choose a distilled model, or one with a smaller network"  # where a public page allows no more evaluations


def settings_of(model: Model, steps: int = STEPS, **more: object) -> SamplingConfig:
    """How the tools sample: a distilled model in all its steps, another in ``steps``."""
    if counts := model.config.model.step_counts:
        return sampling_settings(model.config, num_steps=max(counts))
    return sampling_settings(model.config, num_steps=min(steps, model.schedule.num_timesteps), **more)


def pick_labels(
    model: Model, key: str, title: str, *, first: int | None = None, extra: Sequence[str] = ()
) -> list | str:
    """A control for the class that is asked for, which begins with the class ``first``, or with ``extra`` choices, or
    with none: its label in a list, [] for none, or one of ``extra``."""
    if not model.num_classes:
        return []
    none_first = first is None and not extra
    offered = options(f"{key}_class", model.class_names, first=[*extra, *[NO_CLASS] * none_first],
                      last=[NO_CLASS] * (not none_first))  # fmt: skip
    begin = 0 if first is None else len(extra) + min(first, model.num_classes - 1)
    picked = st.selectbox(title, offered, begin, key=f"{key}_class", width=210, **BOUND)
    label = label_of(model.class_names, picked)
    return picked if picked in extra else [] if label is None else [label]


def pick_seed(key: str, title: str = "Seed", first: int = 0, *, roll: bool = False) -> int:
    """A control for a seed, with a button for another one if ``roll``."""
    seed = st.number_input(title, value=first, step=1, key=f"{key}_seed", width=150, **BOUND)
    if roll:
        st.button("Roll", icon=":material/casino:", key=f"{key}_roll", on_click=_roll, args=(key,))
    return seed


def _roll(key: str) -> None:
    st.session_state[f"{key}_seed"] = random.randrange(100_000)


class Picked(NamedTuple):
    """An image to work on, (1, C, H, W) in [-1, 1], and the Python that gets it."""

    pixels: Tensor
    python: str


def pick_image(model: Model, key: str, title: str = "Image", label: int = 3) -> Picked | None:
    """Controls for an image to work on; None, with the reason, while there is none.

    ``label`` is the class of the one to begin with, which the model draws.
    """
    data = model.config.data
    size, channels = data.image_size, data.channels
    sources = [MADE, *([data.dataset] if _is_here(data.dataset, size, channels) else []), UPLOAD]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.selectbox(title, sources, key=f"{key}_source", width=190, **BOUND)
        if source == MADE:
            labels, seed = pick_labels(model, f"{key}_made", "of class", first=label), pick_seed(f"{key}_made")
            settings = settings_python(settings_of(model))
            python = f"drawn(1, labels={labels or None}, settings={settings}, seed={seed})"
            return Picked(to_float(_made(model, labels, seed)), python)
        picture = uploaded(key, size, channels) if source == UPLOAD else chosen(key, source, size, channels)
        negative = False
        if source == UPLOAD and channels == 1:
            negative = st.toggle("Dark on light", key=f"{key}_negative", **BOUND,
                                 help="Turns dark on light into light on dark.")  # fmt: skip
    if isinstance(picture, str):
        st.info(foreign(picture))
        return None
    # The file is the download beside the answers: upright, cropped, scaled, light on dark.
    return Picked(
        to_float(picture) * (-1 if negative else 1), f"to_float(read_image('image.png', {size}, {channels})[None])"
    )


def _is_here(dataset: str, size: int, channels: int) -> bool:
    if dataset not in DATASETS or not DATASETS[dataset].function:
        return False
    try:
        images_of(dataset, size, channels)
    except DataError:
        return False
    return True


def _made(model: Model, labels: list[int], seed: int) -> Tensor:
    """An image of the model's own, uint8 (1, C, H, W)."""
    settings = settings_of(model)
    make = partial(sample, model, 1, labels=labels or None, settings=settings, seed=seed)
    work = evaluations(settings, model.schedule, guided=bool(labels))
    (made,) = drawn_once(("made", identity(model), str(labels), seed), model, work, [make], "Drawing", "it", INSTEAD)
    return made


def answers(model: Model, name: str, asked: tuple, work: int, make: Callable[[], Iterator[Step]]) -> None:
    """Draw the answers to what was ``asked``, once for all visitors, and show them."""
    (images,) = drawn_once((name, identity(model), *map(str, asked)), model, work, [make], "Drawing", "this", INSTEAD)
    show_answers(model, name, images)


def show_answers(model: Model, name: str, images: Tensor) -> None:
    """Show images, uint8 (N, C, H, W), with what the classifier reads in them and a download."""
    picture = enlarge(make_grid(images, columns=2 if len(images) == ANSWERS else 4))
    show(picture, f"{len(images)} answers")
    if reads(model):
        st.caption(f"The classifier reads {', '.join(map(str, read(to_float(images))))}.")
    st.download_button("PNG", png_bytes(picture, recipe_of(model, "draw")), f"{name}.png", "image/png",
                       key=f"{name}_png", on_click="ignore")  # fmt: skip


def asked_words(model: Model, labels: Sequence[int], settings: SamplingConfig) -> list[str]:
    """The class and the settings, as the command line takes them."""
    named = ["--labels", labels_text(model.class_names, tuple(labels))] if labels else []
    return [*named, *settings_words(settings)]


def as_code(model: Model, words: Sequence[str], lines: Sequence[str], image: Tensor | None = None) -> None:
    """The same from the command line and in Python; ``image`` is the file image.png that they read."""
    if image is not None:
        st.download_button("The image, as PNG", png_bytes(to_pil(to_uint8(image)[0])), "image.png", "image/png",
                           on_click="ignore")  # fmt: skip
    with st.expander("The same from the command line", icon=":material/terminal:"):
        command = ["python", "-m", "ddpm", "edit", words[0], "--model", model.reference, *words[1:]]
        st.code(shlex.join(map(str, command)), language="bash", wrap_lines=True)
    with st.expander("The same in Python", icon=":material/code:"):
        st.code("\n".join([PYTHON.format(reference=model.reference), *lines]), language="python", wrap_lines=True)


PYTHON = """# from the repository's root
import ddpm
from ddpm import editing
from ddpm.data import to_float
from ddpm.image_folder.decode import read_image
from ddpm.media.images import enlarge, make_grid, to_uint8
from ddpm.media.strokes import mask_of, read_strokes, sketch_of

model = ddpm.load_model({reference!r})

def last(steps):
    *_, step = steps
    return step

def drawn(*what, **how):
    return to_float(to_uint8(last(ddpm.sample(model, *what, **how)).x0))
"""


def one(image: Tensor, title: str) -> None:
    """Show one image, uint8 (C, H, W), and say below what it is."""
    show(enlarge(to_pil(image)), title)
    st.caption(as_markdown(title))


def reads(model: Model) -> bool:
    """Whether the classifier knows images of this kind."""
    return model.config.data.dataset == CLASSIFIED.dataset


def read(images: Tensor) -> list[int]:
    """The digits that the classifier reads."""
    return classify(images).argmax(1).tolist()


def hash_of(values: Tensor) -> str:
    return sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16]
