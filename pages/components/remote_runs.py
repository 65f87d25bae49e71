"""Runs that Hugging Face trains, on a page: it shows the price and starts them, follows each, and says what keeps it
from doing so."""

import shlex
import threading
import time
from collections.abc import Callable

import streamlit as st
from huggingface_hub import JobHardwareInfo

from ddpm.cli.hf_jobs import HOURS
from ddpm.config import Config
from ddpm.deploy.hf_jobs import offers, plan, price_text, submit
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


@st.cache_data(show_spinner="Asking Hugging Face for its machines", max_entries=1, ttl=600)
def _offers() -> dict[str, JobHardwareInfo]:
    return offers()


def rent(config: Config | None, started: Callable[[RunFolder], None]) -> None:
    """A box in which Hugging Face is asked to train a config: on which machine, for how long at most, for what price;
    ``started`` gets the folder of the run."""
    with st.expander("Or on a GPU rented from Hugging Face", icon=":material/cloud:"):
        st.markdown("A machine there trains, paid by the minute. It takes an account with credit and a token (run "
                    "`hf auth login` on this machine). Images of your own are sent along, into a private dataset of "
                    "yours; the run appears on this page like any other. Nothing starts before you have seen the "
                    "price.")  # fmt: skip
        if not st.toggle("Show machines and prices", key="train_rent"):
            return
        try:
            machines = _offers()
            name = st.selectbox("Machine", list(machines), key="train_machine",
                                format_func=lambda name: f"{name}: {price_text(machines[name])}")  # fmt: skip
            hours = st.number_input("Hours, at most", 0.1, 100.0, HOURS, key="train_hours",
                                    help="Then the job ends, and can be resumed.")  # fmt: skip
            asked = (config, name, hours)
            if st.button("What can it cost?", key="train_plan", icon=":material/request_quote:", disabled=not config):
                with st.spinner("Asking"):
                    st.session_state.train_planned = asked, plan(config, name, hours=hours)
            of, planned = st.session_state.get("train_planned", (None, None))
            if of != asked or not config:
                return
            st.code("\n".join(planned.lines), language=None, wrap_lines=True)
            if st.button("Start it there, for this price", key="train_rent_start", type="primary"):
                with st.spinner("Sending it"):
                    folder = submit(planned)
                del st.session_state.train_planned
                started(folder)
        except (DDPMError, OSError) as error:
            show_error(error)


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
