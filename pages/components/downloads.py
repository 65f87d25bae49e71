"""The files of a sampling result: the picture, its pixels, and frames of how it came about."""

from collections.abc import Callable

import streamlit as st

from ddpm.media.images import Trajectory, enlarge, gif_bytes, make_grid, mp4_bytes, npz_bytes, png_bytes
from ddpm.media.recipe import Recipe
from ddpm.models import repeat_labels

from .gallery import Shown, picture_again
from .link import query_of
from .models import cached_model, file_name_of, in_turn


def downloads(shown: Shown, timesteps: list[int]) -> None:
    """A button for each format, and the choice of frames. A file is made when its button is pressed."""
    request = shown.request
    frames = st.multiselect(
        "Frames of the strip, GIF and MP4",
        range(len(timesteps)),
        format_func=lambda k: f"t = {timesteps[k]}" if timesteps[k] >= 0 else "result",
        placeholder="all of them",
        key="play_frames",
        help="If all are chosen, the strip shows no more than eleven.",
    )
    name = f"{file_name_of(request.reference)}_seed{request.seed}"
    names, labels = cached_model(request.reference).class_names, repeat_labels(request.labels, request.indices)

    def chosen(whole: Trajectory) -> Trajectory:
        return whole.at(frames) if frames else whole

    made: tuple[tuple[str, Callable[[Trajectory, str], bytes], str, str], ...] = (
        ("PNG", lambda whole, recipe: png_bytes(enlarge(make_grid(whole.images)), recipe), ".png", "image/png"),
        ("Strip", lambda whole, recipe: png_bytes(chosen(whole).strip(len(frames) or 11), recipe), "_strip.png",
         "image/png"),
        ("GIF", lambda whole, recipe: gif_bytes(chosen(whole).grids(), recipe=recipe), ".gif", "image/gif"),
        ("MP4", lambda whole, recipe: mp4_bytes(chosen(whole).grids(), recipe=recipe), ".mp4", "video/mp4"),
        ("NPZ", lambda whole, _: npz_bytes(whole.images, labels, names), ".npz", "application/octet-stream"),
    )  # fmt: skip

    def needed() -> tuple[Trajectory, str]:
        result = picture_again(shown)
        return result.trajectory, Recipe(request.reference, result.weights, "playground", query_of(result)).text()

    with st.container(horizontal=True, gap="xsmall"):
        for label, make, ending, kind in made:
            st.download_button(label, in_turn(make, get=needed), f"{name}{ending}", kind, on_click="ignore")
    st.caption(
        "PNG is the picture; the strip, GIF and MP4 show how it formed; NPZ is its pixels, labels and names of "
        "classes for numpy. All but NPZ carry their settings: see **Settings from a picture** below."
    )
