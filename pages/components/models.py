"""Models on the pages: one copy for all visitors, one inference at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st
import torch
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ddpm.errors import DDPMError
from ddpm.models import Model, load_model, resolve, shipped_models, trained_runs
from ddpm.public import check_model, extra_models, is_public
from ddpm.training.jobs import free_threads

from .public import show_error
from .turns import Place, Replaced, Turn, Turns

_TURNS = Turns()


def visitor() -> str:
    """Who is being served: the session; of code that no page runs, its thread."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context else f"thread {threading.get_ident()}"


@contextmanager
def computing(
    kind: str,
    work: float = 1,
    *,
    who: str | None = None,
    threads: int | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Turn]:
    """Compute for one visitor at a time, with ``threads``, by default those that no run uses.

    Two samplings at once on the same cores take longer than one after the other: their threads wait for each other.

    Args:
        kind, work: see ``Turns.turn``; of a sampling, the model and its network evaluations.
        who: the visitor, where no page runs.
        on_wait: shows the place in the queue; by default that is said where the page is being drawn. Drawing it is what
            Streamlit ends a script at whose visitor has gone or clicked elsewhere, and that frees the place.
    """
    on_page = get_script_run_ctx(suppress_warning=True) is not None
    place = st.empty() if on_page and on_wait is None else None
    if on_wait is None:
        on_wait = place.caption if place else lambda text: None
    try:
        with _TURNS.turn(who or visitor(), kind, work, lambda where: on_wait(_queued(where))) as turn:
            if place:
                place.empty()
            torch.set_num_threads(threads or _free_threads())  # of this thread: each script run has its own number
            yield turn
    except Replaced:
        if on_page:
            st.stop()
        raise


def in_turn(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """For a download that is made at the click, outside of the page: in a turn of its own, one of each visitor."""
    who = f"{visitor()}, download"

    def made() -> bytes:
        with computing("download", who=who):
            return make()

    return made


def _queued(place: Place) -> str:
    if not place.ahead:
        return ":material/hourglass: Waiting for this machine; your turn comes next"
    return f":material/hourglass: Waiting for this machine: {place.ahead} ahead of you, about {place.seconds:.0f} s"


@st.cache_data(show_spinner=False, ttl=1, max_entries=1)
def _free_threads() -> int:
    return free_threads()


@st.cache_resource(show_spinner=False, max_entries=8)
def _load(reference: str, modified: float) -> Model:
    return load_model(reference)


def cached_model(reference: str) -> Model:
    """Load a model once for the whole server; a run that has trained on since is loaded anew.

    Raises:
        ModelError: no such model, or not on this public page.
    """
    check_model(reference)
    return _load(reference, resolve(reference).stat().st_mtime)


def default_model() -> str | None:
    """The model to show first: the shipped mnist, else whatever there is."""
    choices = model_references()
    return "mnist" if "mnist" in choices else next(iter(choices), None)


def model_references() -> list[str]:
    others = extra_models() if is_public() else [f"run:{name}" for name in trained_runs()]
    return [*shipped_models(), *others]


def pick_model(key: str) -> tuple[str, Model]:
    """A select box over all models; stops the page with advice when there is none or it cannot be used."""
    choices = model_references()
    if not choices:
        st.info("There is no model yet. Train one in minutes: `python -m ddpm train --config configs/digits.yaml`")
        st.stop()
    asked = st.query_params.get(key)
    if asked and asked not in choices:
        st.warning(f"This link asks for the model {asked!r}, which is not here.")
    reference = st.selectbox(
        "Model", choices, index=choices.index(default_model()), key=key, bind="query-params",
        help="Shipped with DDPM Lab, or chosen by the owner of this page." if is_public() else
        "Shipped with DDPM Lab, or trained by a run on this machine.",
    )  # fmt: skip
    try:
        return reference, cached_model(reference)
    except DDPMError as error:
        show_error(error)
        st.stop()
