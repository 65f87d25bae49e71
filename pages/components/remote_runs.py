"""Runs that Hugging Face trains, on a page: the app follows each, and says what keeps it from doing so."""

import shlex
import threading
import time

import streamlit as st

from ddpm.deploy.remote import Followed, RemoteJob, follow, job_of
from ddpm.errors import DDPMError, one_line
from ddpm.files import RunFolder
from ddpm.jobs import Status

from .public import show_error

AGAIN = 60  # seconds until the app tries again to follow a run, after it could not


class _Follower:
    """Follows a run in a thread, as long as the app runs; ``problem`` is why it ended, if it did."""

    def __init__(self, folder: RunFolder):
        self.folder, self.problem, self.ended = folder, "", 0.0
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        try:
            follow(self.folder)
        except Followed:  # in a terminal
            self.problem = ""
        except (DDPMError, OSError) as error:
            self.problem = one_line(error)
        self.ended = time.monotonic()


@st.cache_resource(show_spinner=False, max_entries=1)
def _followers() -> dict[str, _Follower]:
    return {}


def keep_followed(folder: RunFolder) -> None:
    """Bring a run up to date from now on if Hugging Face trains it; say what is in the way."""
    if not job_of(folder):
        return
    followers, name = _followers(), str(folder.path)
    last = followers.get(name)
    if last is None or (not last.thread.is_alive() and time.monotonic() - last.ended > AGAIN):
        followers[name] = last = _Follower(folder)
    if last.problem:
        show_error(f"{last.problem}. Its job goes on, and costs.")


def job_link(status: Status) -> None:
    """A link to the job that trains a run, or trained it last."""
    if status.remote:
        st.link_button("Its job on Hugging Face", status.remote, icon=":material/open_in_new:", type="tertiary")


def way_on_there(folder: RunFolder) -> None:
    """How a run that Hugging Face has trained goes on there."""
    if job := RemoteJob.of(folder):
        config = shlex.quote(str(folder.config))
        if folder.can_resume:
            st.caption("Resume goes on here. There, for its price:")
        else:
            st.caption("It had no checkpoint yet. From the start there, for its price:")
        st.code(
            f"python -m ddpm train --config {config} --on hf-jobs --flavor {job.flavor} --resume",
            language="bash",
            wrap_lines=True,
        )
