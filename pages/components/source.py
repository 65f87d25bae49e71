"""Real images on the pages: of a dataset, photographs, or uploaded."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile
from torch import Tensor

from ddpm.config import DataConfig
from ddpm.data import ImageSet, load_dataset, photographs
from ddpm.deploy.public import limits
from ddpm.errors import DataError
from ddpm.image_folder.decode import read_image

from .models import computing

KINDS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP"}
UPLOAD, PHOTOGRAPHS = "your own image", "photographs"


@st.cache_resource(show_spinner=False, max_entries=8)
def images_of(name: str, size: int, channels: int) -> ImageSet:
    """The test images of a dataset that is on disk, or the photographs inside scikit-learn.

    Raises:
        DataError: the dataset is not on disk.
    """
    if name == PHOTOGRAPHS:
        return photographs(size)
    return load_dataset(DataConfig(dataset=name, image_size=size, channels=channels), "test", download=False)


def chosen(prefix: str, name: str, size: int, channels: int) -> Tensor | str:
    """A control for an image of a dataset: (1, C, H, W) uint8; or why there is none."""
    try:
        images = images_of(name, size, channels)
    except DataError as error:
        return str(error)
    index = st.number_input("Image", 0, len(images) - 1, 0, key=f"{prefix}_image_{name}", width=130,
                            bind="query-params")  # fmt: skip
    return images.images[index : index + 1]


def uploaded(prefix: str, size: int, channels: int) -> Tensor | str:
    """A control for an upload: (1, C, H, W) uint8; or why there is none."""
    file = st.file_uploader(
        "Image file", list(KINDS), key=f"{prefix}_upload", max_upload_size=limits().upload_megabytes, width=300,
        help=f"It is cropped to a square and scaled to {size} x {size} pixels. It stays only in this server's memory.",
    )  # fmt: skip
    if file is None:
        return "Choose an image file above."
    last = f"{prefix}_read"  # in the session: the last upload, as (file and format, picture or why there is none)
    wanted = file.file_id, size, channels
    known, picture = st.session_state.get(last, (None, None))
    if known != wanted:
        picture = _read(file, size, channels)
        st.session_state[last] = wanted, picture
    return picture


def _read(file: UploadedFile, size: int, channels: int) -> Tensor | str:
    """One upload at a time: a photograph takes more than a hundred megabytes once decoded."""
    here = limits()
    if file.size > here.upload_megabytes * 2**20:
        return f"The file has {file.size / 2**20:.1f} MB; {here.upload_megabytes} are the most."
    try:
        with computing("upload"):
            return read_image(
                file, size, channels, "The file", max_pixels=here.upload_pixels, kinds=tuple(KINDS.values())
            )[None]
    except DataError as error:
        return str(error)
