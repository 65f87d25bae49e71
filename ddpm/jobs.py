"""Jobs: training runs and evaluations as processes that outlive the one that started them, each with a status file.

Reading a status checks that the process with that id *and start time* still exists, so that a crash is noticed and a
process that merely reuses the id is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from .device import THREADS
from .errors import ConfigError, ModelError, one_line
from .files import RunFolder, write_text

ACTIVE = ("queued", "running")
STATUS_SECONDS = 1.0  # between two writes of status.json

_children: list[subprocess.Popen] = []  # started by this process and not yet seen to have ended


class Status(BaseModel):
    """A job's status, as its file holds it. Times are Unix seconds, durations seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["queued", "running", "stopped", "finished", "failed", "crashed"]
    pid: int | None = None
    process_started: float | None = None
    queued_at: float | None = None
    step: int = 0
    total_steps: int = 0
    images_per_second: float | None = None
    elapsed: float = 0.0
    eta: float | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    inexact: tuple[str, ...] = ()
    """Why the last resume was not bit-exact; empty if it was."""
    error: str | None = None
    doing: str | None = None
    """What an evaluation, or a run that is reading its images, is doing."""
    notes: tuple[str, ...] = ()
    """Which of the run's images were skipped, and what is odd about the others."""
    accept_changed_data: bool = False
    """For a queued run: continue even though its images have changed."""
    remote: str | None = None
    """The address of the job that trains the run elsewhere; None for this machine."""
    updated: float = 0.0


def write_status(folder: RunFolder, status: Status) -> None:
    write_text(folder.status, status.model_copy(update={"updated": time.time()}).model_dump_json(indent=2) + "\n")


def read_status(folder: RunFolder) -> Status:
    """A job's current status; a job whose process has vanished is ``crashed``, with the end of its log."""
    status = _status_on_disk(folder)
    while status.state == "running" and not status.remote and process_of(status) is None:
        again = _status_on_disk(folder)
        if again == status:  # else it was written by a process that ended meanwhile
            return status.model_copy(update={"state": "crashed", "error": folder.log_tail(5) or "the process vanished"})
        status = again
    return status


def _status_on_disk(folder: RunFolder) -> Status:
    try:
        return Status.model_validate_json(folder.status.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Status(state="stopped")
    except OSError as error:
        return Status(state="crashed", error=f"{folder.status} cannot be read: {error.strerror}")
    except (ValidationError, UnicodeDecodeError):
        return Status(state="crashed", error=f"{folder.status} is damaged")


def process_of(status: Status) -> psutil.Process | None:
    """The living process of a running job, identified by its start time as well as its id."""
    if status.state != "running" or status.pid is None or status.process_started is None:
        return None
    try:
        process = psutil.Process(status.pid)
        same = abs(process.create_time() - status.process_started) < 0.01
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


# -- starting and ending ---------------------------------------------------------------------------------------------


def max_runs() -> int:
    """$DDPM_MAX_RUNS, how many runs may train at once."""
    value = os.environ.get("DDPM_MAX_RUNS", "1")
    if not value.isdigit() or int(value) < 1:
        raise ConfigError(f"DDPM_MAX_RUNS must be a whole number from 1, got {value!r}")
    return int(value)


def threads_per_run() -> int:
    """How many threads a launched run computes with: all cores but one, shared by ``max_runs``.

    Threads that wait for each other at every layer suffer badly when a core is busy with something else: beside another
    busy process, two threads on two cores train at a quarter of the speed of one thread.
    """
    return THREADS if "OMP_NUM_THREADS" in os.environ else max(1, (THREADS - 1) // max_runs())


def start(folder: RunFolder, status: Status, arguments: list[str]) -> None:
    """Start ``python -m ddpm`` with ``arguments`` as a job whose status and log are those of ``folder``."""
    folder.log.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.log, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "ddpm", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={"OMP_NUM_THREADS": str(threads_per_run()), **os.environ},
        )
    started = psutil.Process(child.pid).create_time()  # before anything can reap it
    _children[:] = [one for one in _children if one.poll() is None] + [child]  # polling reaps ended processes
    write_status(folder, status.model_copy(update={"state": "running", "pid": child.pid, "process_started": started}))


def kill(folder: RunFolder) -> None:
    """Kill a job and mark it ``stopped``; a run loses only what it learned since its last checkpoint, and
    the next evaluation reuses the finished stages.

    Raises:
        ModelError: its process belongs to another user, or does not end.
    """
    if process := process_of(read_status(folder)):
        send(process, signal.SIGKILL)
        try:
            process.wait(10)
        except psutil.TimeoutExpired:
            raise ModelError(f"process {process.pid} was killed and has not ended after 10 s: try again") from None
        last = read_status(folder)
        if last.state == "crashed":  # else it had just ended by itself
            write_status(folder, last.model_copy(update={"state": "stopped", "error": None, "eta": None}))


def send(process: psutil.Process, number: int) -> None:
    """Signal a process, which may just have ended by itself.

    Raises:
        ModelError: it belongs to another user.
    """
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise ModelError(f"process {process.pid} belongs to another user: {one_line(error)}") from None
