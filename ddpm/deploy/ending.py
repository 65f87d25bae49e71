"""Stop or kill a run, wherever it is trained."""

from __future__ import annotations

from .. import jobs
from ..files import RunFolder
from ..training import queue
from .remote import job_of, refresh
from .run_repo import RunRepo


def stop(folder: RunFolder) -> None:
    """Ask a run to finish its step, save and end, wherever it is trained.

    Raises:
        HubError: it is trained on Hugging Face, which refuses or is out of reach.
        ModelError: see ``ddpm.training.queue.stop``.
    """
    job = job_of(folder)
    if job is None:
        queue.stop(folder)
    elif job.stage() == "SCHEDULING":
        kill(folder)
    else:
        RunRepo(job.repo).ask_to_stop()


def kill(folder: RunFolder) -> None:
    """End a run at once, wherever it is trained; what it learned since its last checkpoint is lost.

    Raises:
        HubError: it is trained on Hugging Face, which refuses or is out of reach.
        ModelError: see ``ddpm.jobs.kill``.
    """
    if job := job_of(folder):
        job.ask("cancel", "cancel_job")
        refresh(folder)
    else:
        jobs.kill(folder)
