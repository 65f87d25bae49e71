"""Images that a page draws beside its pictures: once for all visitors, in turn."""

from collections.abc import Callable, Iterator, Sequence

import streamlit as st
from torch import Tensor

from ddpm.deploy.public import check_evaluations
from ddpm.media.images import to_uint8
from ddpm.models import Model
from ddpm.samplers import Step

from .models import computing


@st.cache_resource(show_spinner=False, max_entries=128)
def kept(*key: object) -> list[Tensor]:
    """Stores the results of a key; [] before there are any. Inside a cached function one could not wait for a turn."""
    return []


def drawn_once(
    key: tuple[object, ...],
    model: Model,
    work: int,
    walks: Sequence[Callable[[], Iterator[Step]]],
    doing: str,
    what: str,
    instead: str,
) -> list[Tensor]:
    """The images at the end of each of ``walks``, uint8 (N, C, H, W), from the store of ``key`` or drawn now.

    Args:
        work: network evaluations of all walks together.
        doing: shown meanwhile.
        what, instead: what would be drawn and what to do if it is more than one request may have, for the error.

    Raises:
        ConfigError: it takes more network evaluations than one request may have here.
    """
    found = kept(*key)
    if not found:
        check_evaluations(work, what, instead)
        place, images = st.empty(), []
        with st.spinner(doing), computing(model.reference, work) as turn:
            for walk in walks:
                for step in walk():
                    last = step.x0
                    place.empty()  # where Streamlit ends the script of a visitor who has left
                    turn.give_way()
                images.append(to_uint8(last))
        found[:] = images  # all at once: a visitor may leave in the midst of it, and two may draw the same
    return found
