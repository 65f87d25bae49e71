"""What a job on Hugging Face does around a training: fetches the run, uploads what it writes, and hears when it is to
stop. ``python -m ddpm hf-job`` starts it there."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from ..config.edit import load_config
from ..errors import HubError
from ..files import RunFolder
from ..jobs import Status, write_status
from .run_repo import LATEST, STATUS, RunRepo

UPLOAD_EVERY = 120.0  # seconds between two uploads, by default; the Hub allows 128 commits an hour in a repo
LISTEN_EVERY = 5.0  # seconds between two looks whether the run is to stop, at most
TRIES = 5  # to upload the end, which is not to be lost


def fetch_run(repo: RunRepo, name: str) -> RunFolder:
    """The folder of a run, as the repo has it, with its images where the config says; its status says that this process
    trains it.

    Raises:
        HubError: the Hub refuses or is out of reach.
    """
    folder = RunFolder.named(name)
    begun = any(file == LATEST or file.startswith(f"{folder.trajectories.name}/") for file in repo.files())
    repo.pull(folder, *(() if begun else ("config.yaml",)))  # else it begins again
    config = load_config(folder.config)
    me = psutil.Process()
    write_status(folder, Status(state="running", pid=me.pid, process_started=me.create_time()))
    if config.data.dataset == "folder" and not config.data.folder.is_dir():
        repo.pull_images(config.data.folder)
    return folder


@contextmanager
def uploaded(repo: RunRepo, folder: RunFolder, every: float) -> Iterator[None]:
    """Upload a run's folder every so many seconds while the block trains it, and at its end, however it ends."""
    ended = threading.Event()
    thread = threading.Thread(target=_keep_uploading, args=(repo, folder, every, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _upload_end(repo, folder)


def _keep_uploading(repo: RunRepo, folder: RunFolder, every: float, ended: threading.Event) -> None:
    due = time.monotonic()
    asked = False
    while not ended.wait(min(every, LISTEN_EVERY)):
        try:
            if not asked and repo.stop_asked():
                asked = True
                os.kill(os.getpid(), signal.SIGTERM)  # on which the training finishes its step and saves
            if time.monotonic() >= due:
                due = time.monotonic() + every
                _push(repo, folder, "So far")
        except HubError as error:
            print(f"{error}; trying again", file=sys.stderr, flush=True)


def _push(repo: RunRepo, folder: RunFolder, message: str) -> None:
    status = folder.status.read_bytes()  # before the rest is: what it tells of has been written by then
    repo.push(folder, message, {STATUS: status})


def _upload_end(repo: RunRepo, folder: RunFolder) -> None:
    for tried in range(1, TRIES + 1):
        try:
            return _push(repo, folder, "The end of the job")
        except HubError as error:
            if tried == TRIES:
                raise
            print(f"{error}; trying again", file=sys.stderr, flush=True)
            time.sleep(2**tried)
    return None
