"""Images of one's own on the Train page: they arrive, become a dataset, and are looked at with a config that fits."""

from pathlib import Path

import streamlit as st
import torch
from PIL import Image
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime import exists, get_instance
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ddpm.config import Config, load_config
from ddpm.deploy.public import forbid, limits
from ddpm.errors import DDPMError, one_line
from ddpm.escaping import as_markdown
from ddpm.image_folder.arriving import MOST
from ddpm.image_folder.decode import read_image
from ddpm.image_folder.manifest import list_folder
from ddpm.image_folder.taking import all_taken, forget, images_dir, take_in, taken
from ddpm.media.images import GAP, enlarge, make_grid
from ddpm.names import in_short
from ddpm.training.proposal import MANY, Proposal, propose_here

from .models import computing, visitor
from .pictures import show
from .public import foreign, show_error
from .runs import NO_RUN, shown_runs

OWN = "images:"  # before the name of a dataset, among what a training can start from
PRESET = Path(__file__).parents[2] / "configs" / "folder.yaml"
COLUMNS, ROWS = 10, 4  # of the contact sheet
EDITION = "train_arrivals_edition"  # counts what was taken in: each time the uploaders are new, and empty
REFUSED = "train_arrivals_refused"  # the files that could not be taken in, and why

_names_folders = st.components.v2.component(
    "ddpm_dropped", js=Path(__file__).with_name("static").joinpath("dropped.js").read_text(encoding="utf-8")
)


def own_images() -> list[str]:
    """What a training can start from: the datasets that were taken in, the newest first."""
    return [f"{OWN}{name}" for name in all_taken()]


def last_learned_from(start: str) -> bool:
    """Whether the newest run learns from a dataset, ``images:`` and its name."""
    runs, folder = shown_runs(), images_dir() / start.removeprefix(OWN)
    try:
        return bool(runs) and (path := load_config(runs[0].config).data.path) is not None and Path(path) == folder
    except DDPMError:  # its card says so
        return False


def arrivals(key: str) -> None:
    """Places to drop images on. What arrives is taken in, and chosen in the select box ``key``, which comes later."""
    edition = st.session_state.setdefault(EDITION, 0)
    with st.container(key="train_arrivals"):
        left, right = st.columns(2)
        files = left.file_uploader(
            "Train on your own images: drop a ZIP, a folder, or the files here", accept_multiple_files=True,
            key=f"train_files_{edition}", max_upload_size=limits().file_megabytes,
            help=f"Folders are the classes. Up to {MOST.images:,} images in a ZIP, or {MOST.files:,} files. They go "
            "into the output folder of this machine, and nowhere else.",
        )  # fmt: skip
        files += right.file_uploader(
            "Or choose a folder", accept_multiple_files="directory", key=f"train_folder_{edition}",
            max_upload_size=limits().file_megabytes,
        )  # fmt: skip
        _names_folders(key="train_dropped", height=0)
    files = [file for file in files if isinstance(file, UploadedFile)]  # one may have been deleted meanwhile
    if not files:
        return
    ids = [file.file_id for file in files]
    refused, why = st.session_state.get(REFUSED, (None, ""))
    if refused == ids:
        show_error(why)
        return
    bar = st.progress(0.0, "Looking at what has come")
    try:
        forbid("Taking in images")
        with computing("images", len(files)):
            found = take_in(
                [(file.name, file) for file in files],
                tell=lambda done, total: bar.progress(done / total, f"Reading {done:,} of {total:,} images"),
            )
    except (DDPMError, OSError) as error:
        bar.empty()
        st.session_state[REFUSED] = ids, one_line(error)
        show_error(error)
        return
    _free(files)
    st.session_state[EDITION] += 1
    st.session_state[key] = f"{OWN}{found.name}"
    st.rerun()


def _free(files: list[UploadedFile]) -> None:
    """Give back the memory that the files took."""
    if exists():
        for file in files:
            get_instance().uploaded_file_mgr.remove_file(visitor(), file.file_id)


# -- what was taken in ---------------------------------------------------------------------------------------------


def proposal_of(start: str) -> Proposal:
    """The config that fits a dataset, ``images:`` and its name.

    Raises:
        DataError: it is not there, or damaged.
    """
    found = taken(start.removeprefix(OWN))
    return _proposal(found.name, found.folder.stat().st_mtime)


@st.cache_data(show_spinner=False, max_entries=16)
def _proposal(name: str, changed: float) -> Proposal:
    return propose_here(taken(name), load_config(PRESET))


@st.cache_data(show_spinner="Reading the images", max_entries=16)
def _contact_sheet(name: str, changed: float, size: int, channels: int) -> tuple[Image.Image, int, int]:
    """Some images as a network will see them, each class in rows of its own; of how many classes; and how many."""
    listing = list_folder(images_dir() / name)
    classes = list(taken(name).classes)[:ROWS] or [""]
    each = COLUMNS * (ROWS // len(classes))
    groups = [_spread([path for path, of in listing.files if of == name], each) for name in classes]
    blank = torch.full((channels, size, size), GAP, dtype=torch.uint8)
    shown = []
    for group in groups:
        found = [read_image(listing.root / path, size, channels) for path in group]
        shown += [*found, *[blank] * (-len(found) % COLUMNS)]
    return make_grid(torch.stack(shown), columns=COLUMNS), len(classes), sum(map(len, groups))


def _spread(paths: list[str], most: int) -> list[str]:
    """Up to so many of them, evenly over all."""
    return [paths[i * len(paths) // most] for i in range(most)] if len(paths) > most else paths


def look_at(start: str, config: Config | None) -> DeltaGenerator:
    """The images of a dataset as the network of a ``config`` will see them, and why the config that is proposed fits;
    returns a place for the button that starts it."""
    proposal, found = proposal_of(start), taken(start.removeprefix(OWN))
    data = (config or proposal.config).data
    left, right = st.columns([3, 2], gap="large")
    with left:
        sheet, shown, count = _contact_sheet(found.name, found.folder.stat().st_mtime, data.image_size, data.channels)
        show(enlarge(sheet, 960), f"{found.images} images, as the network will see them")
        names = [f"{name} ({images:,})" for name, images in found.classes.items()]
        classes = f"; row by row {in_short(names, shown)}" if names else ""
        part = f"{count:,} of the " if count < found.images else ""
        st.caption(f"{part}**{found.images:,} images**, as the network will see them{foreign(classes)}.")
        if found.images < MANY:
            st.caption("So few are easily learned by heart: under its pictures Playground shows the nearest of yours.")
        for sentence in found.skipped:
            st.caption(f":material/info: Left out: {foreign(sentence)}.")
        with st.container(horizontal=True, vertical_alignment="center"):
            button = st.container()
            with st.popover("Delete", icon=":material/delete:", key="train_ask_images", help="These images."):
                st.write(f"Delete the images **{as_markdown(found.name)}** from this machine? Runs that learned from "
                         "them stay; they can then be neither resumed nor evaluated.")  # fmt: skip
                st.button("Delete for good", icon=":material/delete_forever:", key="train_forget", on_click=_forget,
                          args=(found.name,), help="This cannot be undone.")  # fmt: skip
    for technical, place in ((False, right.container(gap=None)), (True, right.expander("How it learns, and why"))):
        for reason in proposal.reasons:
            if reason.technical == technical:
                place.markdown(f":small[**{foreign(reason.what)}**: {foreign(reason.why)}.]")
    return button


def _forget(name: str) -> None:
    try:
        forbid("Deleting images")
        forget(name)
    except (DDPMError, OSError) as error:
        st.session_state[NO_RUN] = one_line(error)
