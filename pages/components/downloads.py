"""The files of a sampling result: the picture, its pixels, and frames of how it came about."""

import streamlit as st

from ddpm.media.images import enlarge, gif_bytes, make_grid, mp4_bytes, npz_bytes, png_bytes
from ddpm.models import repeat_labels

from .models import file_name_of, in_turn
from .sampling import Result


def downloads(result: Result) -> None:
    """A button for each format, and the choice of frames. A file is made when its button is pressed."""
    request, whole = result.request, result.trajectory
    timesteps = whole.timesteps
    frames = st.multiselect(
        "Frames of the strip, GIF and MP4",
        range(len(timesteps)),
        format_func=lambda k: f"t = {timesteps[k]}" if timesteps[k] >= 0 else "result",
        placeholder="all of them",
        key="play_frames",
        help="With all of them, the strip shows no more than eleven.",
    )
    chosen = whole.at(frames) if frames else whole
    name = f"{file_name_of(request.reference)}_seed{request.seed}"
    given = repeat_labels(request.labels, request.indices)
    with st.container(horizontal=True, gap="xsmall"):
        for label, make, ending, kind in (
            ("PNG", lambda: png_bytes(enlarge(make_grid(whole.images))), ".png", "image/png"),
            ("Strip", lambda: png_bytes(chosen.strip(len(frames) or 11)), "_strip.png", "image/png"),
            ("GIF", lambda: gif_bytes(chosen.grids()), ".gif", "image/gif"),
            ("MP4", lambda: mp4_bytes(chosen.grids()), ".mp4", "video/mp4"),
            ("NPZ", lambda: npz_bytes(whole.images, given), ".npz", "application/octet-stream"),
        ):
            st.download_button(label, in_turn(make), f"{name}{ending}", kind, on_click="ignore")
    st.caption(
        "PNG is the picture; the strip, GIF and MP4 are how it came about; NPZ is its pixels and labels for numpy."
    )
