"""Ten digits as the Playground draws them while a slider is dragged: the distilled model, and fewer steps of its
teacher, beside the teacher in fifty guided steps. On an idle machine, and beside twice as many busy processes as it has
cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.models import Model, load_model
from pages.components.opening import PLAYGROUND_IMAGES
from pages.components.sampling import Request, run

from .busy import busy_processes
from .machine import Machine
from .rows import Row, turns

TEACHER, STUDENT = "mnist", "mnist-fast"
STUDENT_STEPS = (8, 4, 2, 1)
FEW = {"sampler": "dpmpp_2m", "num_steps": 8, "spacing": "quadratic", "guidance_scale": 1.0}
MANY = {"sampler": "ddim", "num_steps": 50, "spacing": "trailing", "eta": 0.0, "guidance_scale": 1.5,
        "guidance_interval": (200, 600)}  # fmt: skip
"""What the teacher was first shipped with: 70 evaluations an image."""


def request(model: Model, seed: int, **settings: object) -> Request:
    chosen: SamplingConfig = sampling_settings(model.config, **settings)
    return Request(model.reference, PLAYGROUND_IMAGES, tuple(range(model.num_classes)), chosen, seed)


def rows(machine: Machine, quick: bool) -> list[Row]:
    teacher, student = load_model(TEACHER), load_model(STUDENT)
    whole = f"`{TEACHER}`, {request(teacher, 0, **MANY).evaluations_of_each(teacher.schedule)} evaluations"
    works: dict[str, Callable[[int], object]] = {
        f"`{STUDENT}`, {steps} evaluation{'s' * (steps > 1)}": partial(_draw, student, num_steps=steps)
        for steps in STUDENT_STEPS
    }
    works[f"`{TEACHER}`, {FEW['num_steps']} evaluations"] = partial(_draw, teacher, **FEW)
    works[whole] = partial(_draw, teacher, **MANY)
    seconds: dict[bool, dict[str, list[float]]] = {busy: {name: [] for name in works} for busy in (False, True)}
    with busy_processes(2 * machine.cores) as wake:
        for number in range(2 if quick else 6):
            for busy in (False, True):
                wake(busy)
                for name in turns(list(works), number):
                    started = time.perf_counter()
                    works[name](number)
                    if number:  # the first round warms up
                        seconds[busy][name].append(time.perf_counter() - started)
        wake(False)
    return [
        Row.measured("live", f"{PLAYGROUND_IMAGES} digits, {name}, {how}", "s", found[name], found[whole],
                     peer_name=whole)
        for busy, how in ((False, "idle"), (True, f"beside {2 * machine.cores} busy processes"))
        for found in [seconds[busy]]
        for name in works
        if name != whole
    ]  # fmt: skip


def _draw(model: Model, seed: int, **settings: object) -> object:
    return run(request(model, seed, **settings), model)
