"""The doctor on a page: looks for what is wrong with a model and with how it is sampled."""

from functools import cache

import streamlit as st

from ddpm.config import SamplingConfig
from ddpm.deploy.public import is_public
from ddpm.errors import DDPMError
from ddpm.escaping import as_markdown
from ddpm.evaluation.doctor import LOOKS, Sign, looks_at
from ddpm.evaluation.patient import ANGLES, IMAGES
from ddpm.models import Model

from .models import computing, identity
from .museum.faults import KINDS, first
from .public import show_error

CHANGES = 8  # of what the network is given, each asked for all images at all noise levels


@st.cache_resource(show_spinner=False, max_entries=64)
def _kept(*key: object) -> list[Sign]:
    """Stores the signs of one model and its settings, for all visitors. Inside a cached function one could not wait
    for a turn."""
    return []


def doctor(model: Model, settings: SamplingConfig, key: str) -> None:
    """A box with a button that looks for the cause of bad samples, and with what it found; none for a distilled
    model, nor in public, where it would take more than a visitor may ask for."""
    if is_public() or model.config.model.step_counts:  # whose errors say nothing: it aims at its teacher's images
        return
    with st.expander("Something looks wrong? Ask the doctor", icon=":material/stethoscope:"):
        st.caption(
            f"Measures how the error of {as_markdown(model.source)}, sampled as set here, changes when its input, its "
            f"timestep or the reading of its output does, on {IMAGES} test images, and names the likely cause, "
            "as shown in the Museum. It takes seconds for a small model, a minute for one like `mnist`."
        )
        signs = _kept(identity(model), settings.model_dump_json())
        if not signs:
            if not st.button("Examine", key=f"{key}_doctor", icon=":material/search:"):
                return
            try:
                _examine(model, settings, signs)
            except DDPMError as error:
                signs.clear()
                show_error(error)
                return
        _findings(signs)


@cache
def _exhibits() -> dict[str, str]:
    """The exhibit that shows a cause."""
    return {make(first).cause: kind for kind, make in reversed(KINDS.items())}


def _examine(model: Model, settings: SamplingConfig, signs: list[Sign]) -> None:
    work = CHANGES * len(ANGLES) * IMAGES
    place = st.empty()
    with computing("doctor " + identity(model), work) as turn:
        found = []
        for sign in looks_at(model, settings):
            found.append(sign)
            place.progress(min(1.0, len(found) / (2 * len(LOOKS))), "Looking")
            turn.give_way()
    place.empty()
    signs[:] = found


def _findings(signs: list[Sign]) -> None:
    wrong = [sign for sign in signs if sign.wrong]
    if not wrong:
        st.success(f"No sign of a fault; {len(signs)} were looked at.", icon=":material/check_circle:")
    for place, sign in enumerate(wrong):
        st.markdown(
            f"**{'Also seen' if place else 'Likely cause'}: {as_markdown(sign.cause)}.** {as_markdown(sign.measured)}. "
            f"{as_markdown(sign.remedy)}"
        )
        if kind := _exhibits().get(sign.cause):
            st.page_link("pages/museum.py", label="See it in the Museum", icon=":material/museum:",
                         query_params={"museum_exhibit": kind})  # fmt: skip
    with st.expander("All signs"):
        st.table([
            {"sign of": sign.cause, "measured": sign.measured, "found": "yes" if sign.wrong else "no"} for sign in signs
        ])  # fmt: skip
