"""The queue of training runs: launched, stopped and deleted from anywhere.

At most $DDPM_MAX_RUNS (default 1) run at once. The others wait in a queue that is nothing but their status files;
launching, ending or listing runs starts the next.
"""

from __future__ import annotations

import fcntl
import itertools
import shutil
import signal
import time

from ..config.edit import config_to_yaml
from ..config.schema import Config
from ..device import THREADS
from ..errors import ModelError
from ..files import EvaluationFolder, RunFolder, output_dir
from ..jobs import ACTIVE, Status, max_runs, process_of, read_status, send, start, threads_per_run, write_status
from .identity import check_unchanged, with_absolute_path
from .preflight import check, refuse
from .runs import all_runs, finished_text, is_finished, refusal


def going() -> list[str]:
    """The names of the runs that are running on this machine."""
    return [folder.path.name for folder in all_runs() if _runs_here(read_status(folder))]


def _runs_here(status: Status) -> bool:
    return status.state == "running" and not status.remote


def free_threads() -> int:
    """How many threads the current runs and evaluations leave free."""
    evaluations = (EvaluationFolder(path.parents[1]) for path in output_dir().glob("*/logs/evaluation_status.json"))
    running = sum(_runs_here(read_status(folder)) for folder in (*all_runs(), *evaluations))
    return max(1, THREADS - running * threads_per_run())


def free_name(name: str) -> str:
    """``name`` if no run has it yet, else the first of name-2, name-3, ... that is free."""
    names = (f"{name[:60]}-{number}" if number > 1 else name for number in itertools.count(1))
    return next(name for name in names if not RunFolder.named(name).path.exists())


def launch(config: Config, *, resume: bool = False, accept_changed_data: bool = False) -> RunFolder:
    """Queue a run, and start it when there is room.

    Raises:
        ModelError: a run of that name exists already; or with ``resume``, there is nothing to resume, or its images
            have changed without ``accept_changed_data``.
        ConfigError, DataError: it cannot begin, see ``ddpm.training.preflight``. The name stays free then.
    """
    config = with_absolute_path(config)
    folder = RunFolder.named(config.name)
    status = read_status(folder)
    if folder.exists() and status.state in ACTIVE:
        raise ModelError(f"run {config.name} is {status.state} already")
    if (resume or (folder.path.exists() and any(folder.path.iterdir()))) and (why := refusal(folder, resume)):
        raise ModelError(why)
    if not resume:
        refuse(check(config))
    elif is_finished(folder, config):
        raise ModelError(finished_text(folder, config))
    elif not accept_changed_data:
        check_unchanged(folder, config)
    folder.keep_config(config_to_yaml(config))
    asked = {"queued_at": time.time(), "accept_changed_data": accept_changed_data, "remote": None}
    write_status(folder, status.model_copy(update={"state": "queued", "error": None, "doing": None, **asked}))
    advance_queue()
    return folder


def advance_queue() -> None:
    """Start queued runs, the oldest first, while fewer than ``max_runs`` are running."""
    if not any(read_status(folder).state == "queued" for folder in all_runs()):
        return
    lock = output_dir() / ".queue.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        runs = [(folder, read_status(folder)) for folder in all_runs()]
        free = max_runs() - sum(_runs_here(status) for _, status in runs)
        waiting = sorted((r for r in runs if r[1].state == "queued"), key=lambda run: run[1].queued_at or 0)
        for folder, status in waiting[: max(0, free)]:
            _start(folder, status)


def _start(folder: RunFolder, status: Status) -> None:
    resume = ["--resume"] if folder.can_resume else []
    resume += ["--accept-changed-data"] if resume and status.accept_changed_data else []
    start(folder, status, ["train", "--config", str(folder.config.resolve()), "--run", folder.path.name, *resume])


def stop(folder: RunFolder) -> None:
    """Ask a run to finish its step, save and end as ``stopped``; a queued one just leaves the queue."""
    status = read_status(folder)
    if status.state == "queued":
        write_status(folder, status.model_copy(update={"state": "stopped"}))
    elif process := process_of(status):
        send(process, signal.SIGTERM)


def delete(folder: RunFolder) -> None:
    """Remove a run's folder with everything in it.

    Raises:
        ModelError: the run is queued or running.
    """
    status = read_status(folder)
    if status.state in ACTIVE:
        raise ModelError(f"run {folder.path.name} is {status.state}: stop it first")
    shutil.rmtree(folder.path)
