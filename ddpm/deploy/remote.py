"""Runs that a job on Hugging Face trains: followed in a local folder as if they were trained here, stopped, cancelled.

``job.json`` in the run's folder says which job; status, metrics, grids and, at the end, checkpoints come from the run's
repo (see ``ddpm.deploy.run_repo``), the log from the job.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import HubError, ModelError
from ..files import RunFolder, write_text
from ..jobs import ACTIVE, Status, read_status, write_status
from ..storage.hub_errors import Unreachable, translate_hub_errors
from .run_repo import SMALL, STATUS, RunRepo

POLL = 10.0  # seconds between two looks at a job; tests look more often
LAST_LINES = 30.0  # seconds that a job which has uploaded everything takes to end, at most
PASSING = (408, 429)  # statuses of the Hub that ask for patience
OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")  # stages of a job that has ended


class Followed(ModelError):
    """Another process follows the run already."""


class RemoteJob(BaseModel):
    """Which job trains a run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    repo: str
    """user/name, the run's repo."""
    id: str
    namespace: str
    """Whose job it is, and who pays."""
    url: str
    flavor: str
    log_from: int = 0
    """Bytes of train.log that earlier jobs have written."""

    @classmethod
    def of(cls, folder: RunFolder) -> RemoteJob | None:
        """The latest job of a run; None for a run that was never trained elsewhere.

        Raises:
            ModelError: its file is damaged.
        """
        path = folder.path / "job.json"
        try:
            return cls.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError:
            raise ModelError(f"{path} is damaged: see your jobs on https://huggingface.co/settings/jobs") from None

    def keep(self, folder: RunFolder) -> None:
        write_text(folder.path / "job.json", self.model_dump_json(indent=2) + "\n")

    def stage(self) -> str:
        return self.ask("look up", "inspect_job").status.stage

    def log(self) -> Iterator[str]:
        """The lines of its log, until it is over; raises HubError."""
        from huggingface_hub import HfApi

        with translate_hub_errors(f"read the log of job {self.id} of", self.repo):
            yield from HfApi().fetch_job_logs(job_id=self.id, namespace=self.namespace, follow=True)

    def ask(self, doing: str, method: str, **how: Any) -> Any:
        """Call a method of huggingface_hub's API for this job; raises HubError."""
        from huggingface_hub import HfApi

        with translate_hub_errors(f"{doing} job {self.id} of", self.repo):
            return getattr(HfApi(), method)(job_id=self.id, namespace=self.namespace, **how)


def job_of(folder: RunFolder) -> RemoteJob | None:
    """The job that trains a run now, None if none does."""
    status = read_status(folder)
    return RemoteJob.of(folder) if status.remote and status.state in ACTIVE else None


# -- following -------------------------------------------------------------------------------------------------------


def mirror(folder: RunFolder, job: RemoteJob, repo: RunRepo | None = None) -> Status:
    """Bring a run's folder up to date with its job, once; when the job is over, with checkpoints.

    Args:
        repo: that of the last time, which knows what is there already.

    Raises:
        HubError: the Hub refuses or is out of reach; nothing has changed then.
    """
    seen, repo = job.ask("look up", "inspect_job").status, repo or RunRepo(job.repo)
    repo.pull_new(folder, *SMALL)
    status = told(seen.stage, seen.message, _reported(folder), job, folder)
    if status.state in ACTIVE and repo.stop_asked():
        status = status.model_copy(update={"doing": "stopping", "eta": None})
    if status.state not in ACTIVE:  # its last checkpoint is in the commit that said so
        repo.pull(folder)
    write_status(folder, status)
    return status


def _reported(folder: RunFolder) -> Status | None:
    """What the job itself last said of the training; None before it said anything."""
    try:
        return Status.model_validate_json((folder.path / STATUS).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise ModelError(f"{folder.path / STATUS} is damaged: delete it") from None


def told(stage: str, message: str | None, reported: Status | None, job: RemoteJob, folder: RunFolder) -> Status:
    """The status of a run, from the stage of its job and what the job reported last."""
    status = (reported or Status(state="running")).model_copy(
        update={"remote": job.url, "pid": None, "process_started": None}
    )
    if reported and reported.state not in ACTIVE:
        return status
    if stage == "SCHEDULING":
        return status.model_copy(update={"doing": f"waiting for a machine ({job.flavor})"})
    if stage not in OVER:
        return status if reported else status.model_copy(update={"doing": "installing the packages there"})
    ended = {"eta": None, "doing": None}
    if stage == "CANCELED":
        return status.model_copy(update={**ended, "state": "stopped"})
    why = message or folder.log_tail(5) or f"its job ended as {stage}"
    return status.model_copy(update={**ended, "state": "failed", "error": f"{why} (its job: {job.url})"})


def follow(folder: RunFolder, echo: Callable[[str], None] = lambda line: None) -> Status:
    """Bring a run's folder up to date until its job is over; ``echo`` gets every line of the job's log, and what keeps
    the Hub from answering.

    Raises:
        ModelError: no job trains this run, or, a ``Followed``, another process follows it.
        HubError: the Hub refuses.
    """
    job = job_of(folder)
    if job is None:
        raise ModelError(f"run {folder.path.name} is not being trained elsewhere: there is nothing to follow")
    with _alone(folder):
        log, repo = _Log(folder, job, echo), RunRepo(job.repo)
        while True:
            try:
                status = mirror(folder, job, repo)
            except HubError as error:
                if not isinstance(error, Unreachable) and error.status not in PASSING:
                    raise
                echo(f"{error}; trying again")
                status = read_status(folder)
            if status.state not in ACTIVE:
                log.join()
                return mirror(folder, job)  # whose error, if it failed, is the end of the log
            log.begin()
            log.wait(POLL)


class _Log:
    """Copies the log of a job into the run's, in a thread of its own, since the Hub sends it line by line."""

    def __init__(self, folder: RunFolder, job: RemoteJob, echo: Callable[[str], None]):
        self.folder, self.job, self.echo = folder, job, echo
        self.thread: threading.Thread | None = None
        self.whole = False

    def begin(self) -> None:
        """Start, or start again if the connection was lost; the Hub then sends all lines anew."""
        if not self.whole and (self.thread is None or not self.thread.is_alive()):
            self.thread = threading.Thread(target=self._copy, daemon=True)
            self.thread.start()

    def wait(self, seconds: float) -> None:
        """Sleep, shorter if the log ends, which is when the job does."""
        if self.thread:
            self.thread.join(seconds)

    def join(self) -> None:
        """Wait for the last lines."""
        self.begin()
        self.wait(LAST_LINES)

    def _copy(self) -> None:
        self.folder.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.log, "ab") as file:
            known, written = file.tell() - self.job.log_from, 0
            file.truncate(self.job.log_from)
            try:
                for line in self.job.log():
                    content = f"{line.rstrip()}\n".encode()
                    file.write(content)
                    file.flush()
                    written += len(content)
                    if written > known:
                        self.echo(line.rstrip())
                self.whole = True
            except HubError as error:
                self.echo(f"{error}; trying again")


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Only one process follows a run at a time."""
    with open(folder.path / ".follower", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Followed(f"run {folder.path.name} is followed already: its log is in {folder.log}") from None
        yield


def refresh(folder: RunFolder) -> None:
    """Bring a run that a job trains up to date, unless a process follows it anyway; nothing for other runs.

    Raises:
        HubError: the Hub refuses or is out of reach.
    """
    if job := job_of(folder):
        with suppress(Followed), _alone(folder):
            mirror(folder, job)
