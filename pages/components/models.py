"""Models on the pages: one copy for all visitors, one inference at a time."""

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import streamlit as st
import torch
from streamlit.logger import get_logger
from streamlit.runtime.scriptrunner import get_script_run_ctx
from torch import nn

from ddpm.deploy.public import check_cost, check_model, extra_models, is_public
from ddpm.errors import DDPMError
from ddpm.escaping import as_code, as_markdown
from ddpm.files import RESULTS
from ddpm.jobs import ACTIVE, read_status
from ddpm.models import Model, load_model
from ddpm.storage.hub import HubReference, Listing, cached, is_on_hub, list_files
from ddpm.storage.layouts import layout_among
from ddpm.storage.places import fetch_model, hub_models, resolve, shipped_models, trained_runs
from ddpm.storage.weights import values_sha256
from ddpm.training.queue import free_threads

from .memory import give_back
from .public import foreign, show_error
from .turns import Place, Replaced, Turn, Turns

_TURNS = Turns()


def visitor() -> str:
    """Who is being served: the session, or for code outside of a page its thread."""
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
        kind, work: see ``Turns.turn``; for sampling, the model and its network evaluations.
        who: the visitor, if no page is running.
        on_wait: shows the place in the queue; by default it appears where the page is being drawn. When something is
            drawn, Streamlit ends the script of a visitor who has left or clicked elsewhere, which frees the place.
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
    finally:
        give_back()


def in_turn(make: Callable[..., bytes], get: Callable[[], tuple] = tuple) -> Callable[[], bytes]:
    """For a download that is made on the click, outside of the page: in a separate turn, one per visitor.

    ``get`` fetches the arguments of ``make`` on the click, before the turn: whatever is passed here stays in the
    session as long as the button is there.
    """
    who = f"{visitor()}, download"

    def made() -> bytes:
        needed = get()
        with computing("download", who=who):
            return make(*needed)

    return made


def _worth_logging(record: logging.LogRecord) -> bool:
    """Whether an error in a download is a real one, and not that the visitor has since asked for something else."""
    error = record.exc_info and record.exc_info[1]
    while error and not isinstance(error, Replaced):
        error = error.__cause__ or error.__context__
    return not error


get_logger("streamlit.runtime.backend_operation_handler").addFilter(_worth_logging)


def _queued(place: Place) -> str:
    if not place.ahead:
        return ":material/hourglass: Waiting for this machine; your turn comes next"
    return f":material/hourglass: Waiting for this machine: {place.ahead} ahead of you, about {place.seconds:.0f} s"


@st.cache_data(show_spinner=False, ttl=1, max_entries=1)
def _free_threads() -> int:
    return free_threads()


@st.cache_resource(show_spinner=False, max_entries=8)
def _load(reference: str, weights: str, modified: float) -> Model:
    return load_model(reference)


def cached_model(reference: str) -> Model:
    """Load a model once for the whole server; a run that has trained further is loaded again.

    Raises:
        ModelError: no such model, not on this public page, or a single evaluation of it takes too much.
    """
    check_model(reference)
    weights = resolve(reference).weights
    model = _load(reference, str(weights), weights.stat().st_mtime)
    check_cost(model)
    return model


def expected_seconds(kind: str, work: float) -> float | None:
    """See ``Turns.expected``; for sampling, the model and its network evaluations."""
    return _TURNS.expected(kind, work)


_IDENTITIES: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def identity(model: Model) -> str:
    """A hash of all that decides a model's pictures: the weights, and the parts of the config that sampling uses."""
    if model.network not in _IDENTITIES:
        config = model.config
        # Without defaults: a field that a later version adds makes no model another.
        sections = [config.schedule, config.diffusion, config.model]
        parts = [*(section.model_dump(mode="json", exclude_defaults=True) for section in sections), config.image_shape]
        weights = {name: value.cpu().contiguous() for name, value in model.network.state_dict().items()}
        text = f"{values_sha256(weights)} {' '.join(map(repr, parts))}"
        _IDENTITIES[model.network] = hashlib.sha256(text.encode()).hexdigest()
    return _IDENTITIES[model.network]


def default_model() -> str | None:
    """The model to show first: the shipped mnist, else the first there is."""
    choices = model_references()
    return "mnist" if "mnist" in choices else next(iter(choices), None)


def model_references() -> list[str]:
    """The models that can be chosen: in public those that the owner allows, else all on this machine, with Hub models
    by their commit."""
    others = extra_models() if is_public() else [*(f"run:{name}" for name in trained_runs()), *hub_models()]
    return [*shipped_models(), *others]


def how_far(model: Model) -> None:
    """A line under a model whose run has not taken all its steps; nothing for others."""
    if model.run is None:
        return
    status = read_status(model.run)
    if status.step < status.total_steps:
        at = f"{status.state} at step {status.step:,} of {status.total_steps:,}"
        after = "it still learns" if status.state in ACTIVE or is_public() else "**Resume** on Train goes on"
        st.caption(f":material/pending: {as_markdown(model.reference)} is {foreign(at)}, so its pictures may still be "
                   f"noisy; {after}.")  # fmt: skip


def file_name_of(reference: str) -> str:
    """A reference as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", reference)


def pick_model(key: str, *, own_first: bool = False) -> Model:
    """A select box in the sidebar over all models, and a field for a Hub model; stops the page with advice if there is
    no model, it cannot be used, or it has yet to be downloaded.

    Args:
        own_first: begin with the newest run, if there is one.
    """
    own = (f"run:{name}" for name in trained_runs()) if own_first and not is_public() else iter(())
    first = next(own, default_model())
    choices = [first, *(other for other in model_references() if other != first)]
    if first is None:
        st.info("There is no model yet. Train one in minutes: `python -m ddpm train --config configs/digits.yaml`"
                + ("" if is_public() else ", or drop your own images on Train"))  # fmt: skip
        st.stop()
    if fetched := st.session_state.pop(f"{key}_fetched", None):
        st.session_state[key] = fetched
    asked = st.session_state.get(key) or st.query_params.get(key)
    named = asked and is_on_hub(asked) and asked not in choices and not is_public()
    offered = [asked] if named else []
    if asked and asked not in (*choices, *offered):
        st.warning(f"This link asks for the model {as_markdown(repr(asked))}, which is not here.")
    with st.sidebar:
        st.divider()
        reference = st.selectbox(
            "Model", [*choices, *offered], key=key, bind="query-params",
            help="Shipped with DDPM Lab, or chosen by the owner of this page." if is_public() else
            "Shipped with DDPM Lab, trained by a run on this machine, or from the Hub.",
        )  # fmt: skip
        if not is_public():
            st.text_input(
                "Model on the Hub", key=f"{key}_named", placeholder="or from the Hub: hf://user/repo", on_change=_name,
                args=(key,), label_visibility="collapsed",
            )  # fmt: skip
    if problem := st.session_state.pop(f"{key}_problem", None):
        show_error(problem)
    last = f"{key}_last"  # in the session: the last that could be used
    try:
        if reference not in choices:
            _offer(HubReference.parse(reference), key)
        model = cached_model(reference)
    except DDPMError as error:
        if st.session_state.get(last, reference) != reference:  # a wrong name does not replace the model in use
            st.session_state[f"{key}_problem"], st.session_state[f"{key}_fetched"] = str(error), st.session_state[last]
            st.rerun()
        if not problem:
            show_error(error)
        st.stop()
    st.session_state[last] = reference
    return model


def _name(key: str) -> None:
    """Ask for the model whose name was typed."""
    typed = st.session_state[f"{key}_named"].strip()
    try:
        st.session_state[key] = str(HubReference.parse(typed))
        st.session_state[f"{key}_named"] = ""
    except DDPMError as error:
        st.session_state[f"{key}_problem"] = str(error)


def _offer(reference: HubReference, key: str) -> None:
    """Describe a model on the Hub, and fetch it only on a click: a link must not fill anybody's disk."""
    listing = _listed(reference)
    found, files = listing.reference, layout_among(listing.sizes).files
    if cached(found, files):  # under another name
        st.session_state[f"{key}_fetched"] = str(found)
        st.rerun()
    names = [name for name in (*files, RESULTS) if name in listing.sizes]
    size = sum(listing.sizes[name] for name in names)
    with st.container(border=True):
        st.markdown(f"**{as_code(found.repo_id)}** is a model on the Hub, not yet on this machine.")
        st.caption(
            f"Commit {as_code(found.revision[:7])}, {size / 1e6:,.1f} MB. Of its files only "
            f"{as_markdown(', '.join(names))} are fetched, "
            "and nothing in them is run."
        )
        if st.button("Download", type="primary", icon=":material/download:", key=f"{key}_download"):
            bar = st.progress(0.0, "Asking the Hub")
            try:
                fetched = fetch_model(
                    str(found),
                    lambda done, total: bar.progress(done / total, f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB"),
                )
            except DDPMError as error:  # the name is right: it stays, to be tried again
                show_error(error)
                st.stop()
            st.session_state[f"{key}_fetched"] = str(fetched.reference)
            st.rerun()
    st.stop()


@st.cache_data(show_spinner="Asking the Hub", ttl=60, max_entries=32)
def _listed(reference: HubReference) -> Listing:
    return list_files(reference)
