"""Links that reproduce a picture: making them, and checking that they open the picture they were made of."""

import os
import re
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

import streamlit as st
import torch

from ddpm.errors import ConfigError
from ddpm.media.fingerprint import HASH_LENGTH, compare, fingerprint

from .models import cached_model
from .public import foreign
from .sampler_controls import widget_values
from .sampling import Result

ROLLED, WEIGHTS, PIXELS = "play_rolled", "play_weights", "play_pixels"


def rolled_images() -> dict[int, int]:
    """How often each image was re-rolled, as the URL says: 3.1_7.2 is once image 3 and twice image 7.

    Raises:
        ConfigError: the URL says something else.
    """
    text = st.query_params.get(ROLLED, "")
    if text and not re.fullmatch(r"\d{1,4}\.\d{1,4}(_\d{1,4}\.\d{1,4})*", text):
        raise ConfigError(f"the link's {ROLLED}={text[:40]!r} must look like 3.1_7.2: image 3 rolled once, 7 twice")
    return {int(k): int(times) for k, times in (part.split(".") for part in text.split("_") if part)}


def roll_image(k: int) -> None:
    """Give image ``k`` new noise; the others stay."""
    rolled = rolled_images()
    rolled[k] = rolled.get(k, 0) + 1
    st.query_params[ROLLED] = _rolled_text(rolled.items())


def _rolled_text(rolled: Iterable[tuple[int, int]]) -> str:
    return "_".join(f"{image}.{times}" for image, times in sorted(rolled))


def link_to(result: Result) -> str:
    """The address that reproduces a picture."""
    return f"{address()}?{query_of(result)}"


def query_of(result: Result) -> str:
    """What follows the ? of a link to a picture: every setting, and the hashes of the weights and of the pixels."""
    request = result.request
    values = widget_values(request, cached_model(request.reference))
    values |= {WEIGHTS: result.weights[:HASH_LENGTH], PIXELS: fingerprint(result.trajectory.images)}
    if request.rolled:
        values[ROLLED] = _rolled_text(request.rolled)
    return urlencode(values, doseq=True)


def address() -> str:
    """The address of this page as others can open it. For a Space it is the Space's own, not that of the page on
    huggingface.co that frames it."""
    url = st.context.url or ""
    host = os.environ.get("SPACE_HOST")
    return f"https://{host}{urlsplit(url).path}" if host else url


def verdict_on_link(result: Result) -> None:
    """Say whether this is the picture that the link, with which the page was opened, was made of."""
    expected = st.query_params.get(PIXELS)
    if not expected or not st.session_state.get("play_linked"):
        return
    try:
        same, largest = compare(expected, result.trajectory.images)
    except ConfigError as error:
        st.warning(f"The link cannot be checked: {foreign(error)}.")
        return
    weights = st.query_params.get(WEIGHTS)
    if same:
        st.success("This is the picture of the link, to the last pixel.", icon=":material/verified:")
    elif weights and weights != result.weights[:HASH_LENGTH]:
        st.warning("This is not the picture of the link: the model's weights have changed since it was made.")
    else:
        st.info(
            f"This is the picture of the link as other hardware computes it (PyTorch {torch.__version__} here): the "
            f"largest difference of the pixels compared is {largest} of 255 levels."
            if largest <= 8
            else f"This is not the picture of the link: pixels differ by up to {largest} of 255 levels."
        )
