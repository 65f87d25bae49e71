"""Models on the pages: one copy for all visitors, one inference at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
import torch

from ddpm.errors import DDPMError
from ddpm.models import Model, load_model, resolve, shipped_models, trained_runs
from ddpm.training.jobs import free_threads

_LOCK = threading.Lock()


@contextmanager
def computing(threads: int | None = None) -> Iterator[None]:
    """Compute for one visitor at a time, with ``threads``, by default those that no run uses.

    Two samplings at once on the same cores take longer than one after the other: their threads wait for each other.
    """
    with _LOCK:
        torch.set_num_threads(threads or _free_threads())  # of this thread: each script run has its own number
        yield


@st.cache_data(show_spinner=False, ttl=1)
def _free_threads() -> int:
    return free_threads()


@st.cache_resource(show_spinner=False, max_entries=8)
def _load(reference: str, modified: float) -> Model:
    return load_model(reference)


def cached_model(reference: str) -> Model:
    """Load a model once for the whole server; a run that has trained on since is loaded anew."""
    return _load(reference, resolve(reference).stat().st_mtime)


def default_model() -> str | None:
    """The model to show first: the shipped mnist, else whatever there is."""
    choices = model_references()
    return "mnist" if "mnist" in choices else next(iter(choices), None)


def model_references() -> list[str]:
    return [*shipped_models(), *(f"run:{name}" for name in trained_runs())]


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
        help="Shipped with DDPM Lab, or trained by a run on this machine.",
    )  # fmt: skip
    try:
        return reference, cached_model(reference)
    except DDPMError as error:
        st.error(str(error))
        st.stop()
