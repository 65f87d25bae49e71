"""Images that a page draws beside its pictures: once for all visitors, in turn."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import streamlit as st
import torch
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


def finished(steps: Iterator[Step]) -> Tensor:
    """The images at the end of a walk, uint8 (N, C, H, W)."""
    return to_uint8(deque(steps, maxlen=1).pop().x0)


def whole_walk(steps: Iterator[Step]) -> Tensor:
    """Every state of a walk and, last, its images: (S + 1, N, C, H, W)."""
    return torch.stack([step.x_t for step in steps])


def drawn_once(
    key: tuple[object, ...],
    model: Model,
    work: int,
    walks: Sequence[Callable[[], Iterator[Step]]],
    doing: str,
    what: str,
    instead: str,
    collect: Callable[[Iterator[Step]], Tensor] = finished,
) -> list[Tensor]:
    """What ``collect`` takes of each of ``walks``, from the store of ``key`` or drawn now.

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

        def told(walk: Callable[[], Iterator[Step]]) -> Iterator[Step]:
            for step in walk():
                yield step
                place.empty()  # where Streamlit ends the script of a visitor who has left
                turn.give_way()

        with st.spinner(doing), computing(model.reference, work) as turn:
            images += [collect(told(walk)) for walk in walks]
        found[:] = images  # all at once: a visitor may leave in the midst of it, and two may draw the same
    return found
