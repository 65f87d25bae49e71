"""Which pictures follow a control as it moves: those that are quick on this machine, as measured, or already drawn."""

import time

import torch

from ddpm.models import Model

from .gallery import kept, shown_of
from .models import computing, identity
from .sampling import Request

LIVE_SECONDS = 0.3
REMEMBERED = 60  # seconds: a machine gets busy, and quiet again
_CALLS: dict[tuple[str, int], tuple[float, float]] = {}  # seconds of a call for so many images, and when measured


def is_live(request: Request, model: Model) -> bool:
    """Whether a request is drawn without a click."""
    return kept(shown_of(request, model)) is not None or seconds_of(request, model) <= LIVE_SECONDS


def seconds_of(request: Request, model: Model) -> float:
    """About how long a request takes here when nobody else asks for anything."""
    which = identity(model), request.count
    seconds, measured = _CALLS.get(which, (0.0, float("-inf")))
    if time.monotonic() - measured > REMEMBERED:
        seconds = _seconds_per_call(model, request.count)
        _CALLS[which] = seconds, time.monotonic()
    return seconds * request.evaluations_of_each(model.schedule)


def _seconds_per_call(model: Model, count: int) -> float:
    """Of the network; the first call, which has one-time costs, does not count."""
    denoise = model.denoiser(clip=False, num_steps=model.config.sampling.num_steps)
    x = torch.zeros(count, *model.config.image_shape, device=model.device)
    with computing(model.reference, 2 * count), torch.inference_mode():
        denoise(x, 0)
        started = time.perf_counter()
        denoise(x, 0).x0.cpu()
        return time.perf_counter() - started
