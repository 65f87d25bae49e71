"""Models on the pages: one copy for all visitors, one inference at a time."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
import torch

from ddpm.errors import DDPMError
from ddpm.hub import HubReference, Listing, cached, list_files
from ddpm.layouts import layout_among
from ddpm.models import (
    RESULTS,
    Model,
    fetch_model,
    hub_models,
    is_on_hub,
    load_model,
    resolve,
    shipped_models,
    trained_runs,
)
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
    """The models that are on this machine; those of the Hub by their commit."""
    return [*shipped_models(), *(f"run:{name}" for name in trained_runs()), *hub_models()]


def file_name_of(reference: str) -> str:
    """A reference as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", reference)


def pick_model(key: str) -> tuple[str, Model]:
    """A select box in the sidebar over all models, and a field for one of the Hub; stops the page with advice where
    there is none, it cannot be used, or it is still to be downloaded."""
    first = default_model()
    choices = [first, *(other for other in model_references() if other != first)]
    if first is None:
        st.info("There is no model yet. Train one in minutes: `python -m ddpm train --config configs/digits.yaml`")
        st.stop()
    if fetched := st.session_state.pop(f"{key}_fetched", None):
        st.session_state[key] = fetched
    asked = st.session_state.get(key) or st.query_params.get(key)
    offered = [asked] if asked and is_on_hub(asked) and asked not in choices else []
    if asked and asked not in (*choices, *offered):
        st.warning(f"This link asks for the model {asked!r}, which is not here.")
    with st.sidebar:
        st.divider()
        reference = st.selectbox(
            "Model", [*choices, *offered], key=key, bind="query-params",
            help="Shipped with DDPM Lab, trained by a run on this machine, or from the Hub.",
        )  # fmt: skip
        st.text_input(
            "Model on the Hub", key=f"{key}_named", placeholder="or from the Hub: hf://user/repo", on_change=_name,
            args=(key,), label_visibility="collapsed",
        )  # fmt: skip
    if problem := st.session_state.pop(f"{key}_problem", None):
        st.error(problem)
    try:
        if reference not in choices:
            _offer(HubReference.parse(reference), key)
        return reference, cached_model(reference)
    except DDPMError as error:
        st.error(str(error))
        st.stop()


def _name(key: str) -> None:
    """Ask for the model whose name was typed."""
    typed, st.session_state[f"{key}_named"] = st.session_state[f"{key}_named"].strip(), ""
    try:
        st.session_state[key] = str(HubReference.parse(typed))
    except DDPMError as error:
        st.session_state[f"{key}_problem"] = str(error)


def _offer(reference: HubReference, key: str) -> None:
    """Say what a model on the Hub is, and fetch it at a click, not before: a link must not fill anybody's disk."""
    listing = _listed(reference)
    found, files = listing.reference, layout_among(listing.sizes).files
    if cached(found, files):  # by another name
        st.session_state[f"{key}_fetched"] = str(found)
        st.rerun()
    names = [name for name in (*files, RESULTS) if name in listing.sizes]
    size = sum(listing.sizes[name] for name in names)
    with st.container(border=True):
        st.markdown(f"**`{found.repo_id}`** is a model on the Hub, not yet on this machine.")
        st.caption(
            f"Commit `{found.revision[:7]}`, {size / 1e6:,.1f} MB. Of its files only {', '.join(names)} are fetched, "
            "and nothing in them is run."
        )
        if st.button("Download", type="primary", icon=":material/download:", key=f"{key}_download"):
            bar = st.progress(0.0, "Asking the Hub")
            fetched = fetch_model(
                str(found),
                lambda done, total: bar.progress(done / total, f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB"),
            )
            st.session_state[f"{key}_fetched"] = str(fetched.reference)
            st.rerun()
    st.stop()


@st.cache_data(show_spinner="Asking the Hub", ttl=60, max_entries=32)
def _listed(reference: HubReference) -> Listing:
    return list_files(reference)
