"""Pictures of requests: each is drawn once for all visitors, and a session keeps what it asked for, not the picture."""

import lzma
import time
from collections.abc import Callable
from typing import NamedTuple

import streamlit as st
from streamlit.logger import get_logger

from ddpm.media.images import enlarge, make_grid, to_uint8
from ddpm.models import Model
from ddpm.samplers import Step

from .models import cached_model, identity
from .opening import opening_picture
from .pictures import show
from .sampling import Request, Result, run
from .shelf import Shelf

MOST_BYTES = 128_000_000  # of all pictures that are kept: about forty of ten digits in 50 steps
PREVIEW_SECONDS = 0.25  # between two pictures: more often is more than a slow connection can carry
KNOWN_AFTER = 1.0  # seconds after which the time left can be estimated

_PICTURES: Shelf["Shown", Result] = Shelf(MOST_BYTES, lambda result: result.size)


class Shown(NamedTuple):
    """All that decides a picture, which is what a session keeps of it."""

    model: str
    """See ``identity``: a run that trains further is another model under the same name."""
    request: Request


def shown_of(request: Request, model: Model) -> Shown:
    return Shown(identity(model), request)


def picture_of(
    request: Request,
    model: Model,
    on_step: Callable[[Step], None] = lambda step: None,
    on_wait: Callable[[str], None] = lambda text: None,
) -> Result:
    """The picture of a request: cached, shipped with the app, or else drawn, by ``run``. Visitors who ask for one that
    is being drawn already see its progress, and get the same.

    Raises:
        ConfigError: it asks for more than is allowed here, or for what the model cannot do.
    """
    request.check(model)

    def make(tell: Callable[[object], None]) -> Result:
        def step_told(step: Step) -> None:
            tell(step)
            on_step(step)

        def wait_told(text: str) -> None:
            tell(text)
            on_wait(text)

        return _shipped(request, model) or run(request, model, step_told, wait_told)

    def watch(told: object) -> None:
        on_step(told) if isinstance(told, Step) else on_wait(str(told or "Starting from noise"))

    return _PICTURES.get_or_make(shown_of(request, model), make, watch)


def kept(shown: Shown) -> Result | None:
    """A picture that a session has shown, if it is still cached."""
    return _PICTURES.get(shown)


def picture_again(shown: Shown) -> Result:
    """A picture that a session has shown; drawn again if it is no longer cached.

    Raises:
        DDPMError: the model no longer exists.
    """
    return kept(shown) or picture_of(shown.request, cached_model(shown.request.reference))


def _shipped(request: Request, model: Model) -> Result | None:
    try:
        return opening_picture(request, model)
    except (OSError, lzma.LZMAError, ValueError, KeyError) as error:
        get_logger(__name__).warning("a picture that came with the app is damaged and is drawn again: %s", error)
        return None


def picture_with_preview(request: Request, model: Model, picture, progress, on_stop: Callable[[], None]) -> Result:
    """``picture_of`` with a live picture in the placeholder ``picture``, and a progress bar, the time left and a way to
    stop in ``progress``. ``on_stop`` is called when the visitor stops it."""
    with progress.container():
        bar, stop = st.progress(0.0, "Starting from noise"), st.empty()
        stop.button("Stop", icon=":material/stop_circle:", key="sampling_stop", on_click=on_stop)
    pace, shown = Pace(), 0.0

    def on_step(step: Step) -> None:
        nonlocal shown
        now = time.perf_counter()
        done = (step.index + 1) / (request.settings.num_steps + 1)
        left = pace.left(done, now)
        if now - shown < PREVIEW_SECONDS:
            return
        shown = now
        bar.progress(done, f"Step {step.index} of {request.settings.num_steps}{left}")
        show(enlarge(make_grid(to_uint8(step.x_t))), "Noise so far", place=picture)

    result = picture_of(request, model, on_step, on_wait=lambda text: bar.progress(0.0, text))
    # Emptied by itself: sent together with what the page draws next in this place, the message that empties it would be
    # replaced, and the button would stay.
    stop.empty()
    progress.empty()
    return result


class Pace:
    """The pace of some work since ``left`` was first called."""

    def __init__(self):
        self._first: tuple[float, float] | None = None

    def left(self, done: float, now: float) -> str:
        """The time left in words, if a share ``done`` of the work is done at ``now``, in seconds; "" before it is
        known."""
        if self._first is None:
            self._first = done, now
        before, since = self._first
        if done == before or now - since < KNOWN_AFTER:
            return ""
        return f", about {max(1, round((now - since) * (1 - done) / (done - before)))} s left"
