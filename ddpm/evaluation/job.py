"""An evaluation as a job: a separate process, with a status on disk like that of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from ..errors import ModelError, one_line
from ..files import EvaluationFolder
from ..jobs import ACTIVE, STATUS_SECONDS, Status, read_status, start, write_status
from ..models import Model
from .evaluate import Event, StageProgress
from .results import folder_of

PARTS = 1000  # of an evaluation, which its status counts as steps


def launch(model: Model, *, num_samples: int, all_methods: bool = False, per_class: bool = False) -> None:
    """Start ``python -m ddpm eval`` for a model on this machine.

    Raises:
        ModelError: the model is being evaluated already.
    """
    folder = folder_of(model)
    if read_status(folder).state in ACTIVE:
        raise ModelError(f"model {model.reference} is being evaluated already")
    arguments = ["eval", "--model", model.reference, "--num-samples", str(num_samples)]
    arguments += [option for option, on in (("--all-methods", all_methods), ("--per-class", per_class)) if on]
    folder.log.unlink(missing_ok=True)
    start(folder, Status(state="running"), arguments)


def recorded(folder: EvaluationFolder, events: Iterator[Event]) -> Iterator[Event]:
    """Pass the events of an evaluation on, and keep its status up to date."""
    me = psutil.Process()
    status = Status(state="running", pid=me.pid, process_started=me.create_time(), total_steps=PARTS)
    if read_status(folder).pid != me.pid:  # not launched as a job, so the log is of another one
        folder.log.unlink(missing_ok=True)
    write_status(folder, status)
    written = time.monotonic()
    try:
        for event in events:
            if isinstance(event, StageProgress) and time.monotonic() - written > STATUS_SECONDS:
                written = time.monotonic()
                at = {"step": int(PARTS * event.share), "eta": event.eta, "doing": f"{event.stage}: {event.text}"}
                status = status.model_copy(update=at)
                write_status(folder, status)
            yield event
    except (KeyboardInterrupt, GeneratorExit):
        write_status(folder, status.model_copy(update={"state": "stopped", "eta": None, "doing": None}))
        raise
    except BaseException as error:
        write_status(folder, status.model_copy(update={"state": "failed", "error": one_line(error), "eta": None}))
        raise
    write_status(folder, status.model_copy(update={"state": "finished", "step": PARTS, "eta": None, "doing": None}))
