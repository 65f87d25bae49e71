"""The runs on a page: state, progress, what to do with each, and where to look at it."""

import streamlit as st

from ddpm import jobs
from ddpm.config import load_config
from ddpm.deploy import ending
from ddpm.deploy.public import forbid, is_public, shows_run
from ddpm.errors import DDPMError, one_line
from ddpm.escaping import as_markdown
from ddpm.files import RunFolder
from ddpm.jobs import ACTIVE, Status, read_status
from ddpm.quantities import span
from ddpm.training import queue
from ddpm.training.advice import advice
from ddpm.training.checkpoint import why_inexact
from ddpm.training.history import read_history
from ddpm.training.identity import changes_of
from ddpm.training.runs import all_runs

from .frame import share_link
from .models import model_references
from .public import foreign, show_error
from .remote_runs import job_link, keep_followed, way_on_there

COLOURS = {"running": "green", "queued": "blue", "finished": "gray", "stopped": "orange"}  # else red
NO_RUN = "run_problem"  # in the session: why the last button did nothing


def shown_runs() -> list[RunFolder]:
    """The runs that pages show, the newest first: in public those that the owner names."""
    return [folder for folder in all_runs() if shows_run(folder.path.name)]


def any_active() -> bool:
    return any(read_status(folder).state in ACTIVE for folder in all_runs())


def run_list() -> None:
    """All runs, the newest first, live while one is going."""
    live = any_active()

    @st.fragment(run_every=2 if live else None)
    def cards() -> None:
        if not is_public():
            queue.advance_queue()
        if any_active() != live:
            st.rerun()  # the whole page, which then asks every two seconds, or stops to
        if problem := st.session_state.pop(NO_RUN, None):
            show_error(problem)
        runs = shown_runs()
        if not runs:
            st.info("There is no run yet. The button above starts the first.")
        for folder in runs:
            with st.container(border=True):
                card(folder, read_status(folder))

    cards()


def card(folder: RunFolder, status: Status) -> None:
    name = folder.path.name
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{as_markdown(name)}**", width="content")
        st.badge(status.state, color=COLOURS.get(status.state, "red"))
        st.page_link(
            "pages/curves.py", label="Curves", icon=":material/monitoring:", query_params={"curves_runs": name}
        )
        if f"run:{name}" in model_references() and folder.checkpoint("ema").is_file():
            link = {"play_model": f"run:{name}"}
            st.page_link("pages/playground.py", label="Playground", icon=":material/draw:", query_params=link)
            link = {"eval_model": f"run:{name}"}
            st.page_link("pages/evaluate.py", label="Evaluate", icon=":material/fact_check:", query_params=link)
            share_link(f"run:{name}")
        if not is_public():
            job_link(status)
    if status.total_steps:
        st.progress(min(1.0, status.step / status.total_steps), progress_text(status))
    elif status.state == "running":
        st.progress(0.0, foreign(status.doing or "starting"))
    if status.state == "queued" and (going := queue.going()) and not is_public():
        st.caption(f"Waits for {as_markdown(', '.join(going))}.")
    if status.error:
        show_error(status.error)
    if status.inexact:
        st.caption("Its last resume was not exact to the bit: " + foreign("; ".join(status.inexact)))
    for note in () if is_public() else status.notes:  # which name files of this machine
        st.caption(f"Of its images: {as_markdown(note)}")
    for sentence in suggestions(folder):
        st.warning(foreign(sentence), icon=":material/lightbulb:")
    if not is_public():
        keep_followed(folder)
        buttons(folder, status)


def progress_text(status: Status) -> str:
    parts = [f"step {status.step:,} of {status.total_steps:,}"]
    if status.state == "running" and status.images_per_second:
        parts.append(f"{status.images_per_second:,.0f} images/s")
    if status.state == "running":
        parts.append(foreign(status.doing or "starting") if status.eta is None else f"{span(status.eta)} left")
    else:
        parts.append(f"{span(status.elapsed)} of training")
    if status.train_loss is not None:
        parts.append(f"loss {status.train_loss:.4f}")
    if status.val_loss is not None:
        parts.append(f"validation {status.val_loss:.4f}, best {status.best_val_loss:.4f}")
    return " · ".join(parts)


def suggestions(folder: RunFolder) -> list[str]:
    if not folder.metrics.is_file():
        return []
    try:
        return advice(read_history(folder.metrics), load_config(folder.config))
    except DDPMError as error:
        return [str(error)]


def buttons(folder: RunFolder, status: Status) -> None:
    def button(label: str, icon: str, do, help: str, place=st) -> None:
        place.button(
            label, icon=f":material/{icon}:", key=f"train_{label}_{folder.path.name}", help=help,
            on_click=_tried, args=(do, folder),
        )  # fmt: skip

    with st.container(horizontal=True):
        if status.state in ACTIVE:
            button("Stop", "stop_circle", ending.stop, "Finish the step, save, and end. Resume continues from there.")
        if status.state == "running":
            with st.popover("Kill", icon=":material/dangerous:", key=f"train_sure_{folder.path.name}"):
                last = (
                    "since its last checkpoint"
                    if folder.checkpoint("latest").is_file() or status.remote
                    else "so far: it has no checkpoint yet"
                )
                st.write(f"End it at once, and lose what it learnt {last}? **Stop** loses nothing.")
                button("Kill now", "dangerous", ending.kill, "This cannot be undone.")
        if status.state in ACTIVE:
            return
        if status.state != "finished" and folder.can_resume:
            if data_changes(folder, status.updated):
                button("Resume with what is there", "play_circle", resume_changed, "Continue from the last "
                       "checkpoint although the images have changed.")  # fmt: skip
            else:
                button("Resume", "play_circle", resume, "Continue from the last checkpoint.")
        with st.popover("Delete", icon=":material/delete:", key=f"train_ask_{folder.path.name}"):
            st.write(f"Delete **{as_markdown(folder.path.name)}** with its checkpoints, curves and samples?")
            button("Delete for good", "delete_forever", queue.delete, "This cannot be undone.")
    if status.state != "finished" and status.remote:
        way_on_there(folder)
    if status.state != "finished" and folder.checkpoint("latest").is_file():
        st.caption(foreign(exactness(folder, folder.checkpoint("latest").stat().st_mtime)))
    elif status.state != "finished" and folder.can_resume:
        st.caption("Its teacher has begun to draw. Resume goes on, exactly to the bit, as if never interrupted.")
    elif status.state != "finished" and not status.remote:
        st.caption(
            "It ended before its first checkpoint (training.val_every says when that comes), so there is nothing to "
            "resume: delete it, or launch it again under another name."
        )


def resume(folder: RunFolder) -> None:
    queue.launch(load_config(folder.config), resume=True)


def resume_changed(folder: RunFolder) -> None:
    queue.launch(load_config(folder.config), resume=True, accept_changed_data=True)


@st.cache_data(show_spinner=False, max_entries=64, ttl=5, hash_funcs={RunFolder: lambda folder: str(folder.path)})
def data_changes(folder: RunFolder, updated: float) -> list[str]:
    """How the images differ from those that a run began with; also empty if it cannot continue with them."""
    try:
        return changes_of(folder, load_config(folder.config))
    except DDPMError:  # exactness() says why
        return []


@st.cache_data(show_spinner=False, max_entries=64, ttl=5, hash_funcs={RunFolder: lambda folder: str(folder.path)})
def exactness(folder: RunFolder, checkpoint_time: float) -> str:
    """Whether resuming would end with the weights of an uninterrupted run."""
    try:
        config = load_config(folder.config)
        reasons = why_inexact(folder.checkpoint("latest"), config, jobs.threads_per_run())
        changed = changes_of(folder, config)
    except DDPMError as error:
        return f"It cannot be resumed: {error}"
    if changed:
        return (
            f"The images in {config.data.folder} are not those that it began with: {'; '.join(changed)}. Put them back "
            "to resume exactly, or resume with what is there."
        )
    if reasons:
        return "Resume continues from the last checkpoint, but not exactly to the bit: " + "; ".join(reasons) + "."
    return "Resume continues from the last checkpoint, exactly to the bit, as if never interrupted."


def _tried(do, folder: RunFolder) -> None:
    try:
        forbid("Stopping, resuming and deleting runs")
        do(folder)
    except (DDPMError, OSError) as error:
        st.session_state[NO_RUN] = one_line(error)
