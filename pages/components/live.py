"""Which pictures follow a control as it moves: those that are quick on this machine, as measured, or already drawn."""

from ddpm.models import Model

from .gallery import kept, shown_of
from .models import expected_seconds
from .sampling import Request

LIVE_SECONDS = 0.3


def is_live(request: Request, model: Model) -> bool:
    """Whether a request is drawn without a click."""
    if kept(shown_of(request, model)) is not None:
        return True
    seconds = seconds_of(request, model)
    return seconds is not None and seconds <= LIVE_SECONDS


def seconds_of(request: Request, model: Model) -> float | None:
    """About how long a request takes here when nobody else asks for anything, from the pictures of this model so far;
    None before the first."""
    return expected_seconds(model.reference, request.count * request.evaluations_of_each(model.schedule))
