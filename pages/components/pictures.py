"""Pictures on the pages."""

import base64

import streamlit as st
from PIL import Image

from ddpm.media.images import png_bytes


def show(image: Image.Image | bytes, alt: str, *, place=st, width: int | str = "stretch") -> None:
    """Show a picture, given itself or as PNG bytes, in ``place``.

    It travels inside the page. Streamlit would keep it as a file of its own and forget that when the script has run to
    its end, at which a browser on a slow line or a busy machine may not have asked for it yet.
    """
    png = image if isinstance(image, bytes) else png_bytes(image)
    place.image(f"data:image/png;base64,{base64.b64encode(png).decode()}", width=width, alt=alt)
