"""Pictures on the pages, and strokes beside the names of curves."""

import base64
from collections.abc import Sequence
from html import escape

import streamlit as st
from PIL import Image

from ddpm.media.images import png_bytes
from ddpm.media.schedule_figures import Line, Pen


def show(image: Image.Image | bytes, alt: str, *, place=st, width: int | str = "stretch") -> None:
    """Show a picture, an image or the bytes of a PNG or a GIF, in ``place``.

    It is sent inside the page. Streamlit would keep it as a separate file and drop that when the script has finished,
    perhaps before a browser on a slow connection or a busy machine has asked for it.
    """
    place.image(data_uri(image), width=width, alt=alt)


def data_uri(image: Image.Image | bytes) -> str:
    """An image, or the bytes of a PNG or a GIF, as the source of an ``img``."""
    encoded = image if isinstance(image, bytes) else png_bytes(image)
    kind = "gif" if encoded.startswith(b"GIF") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def stroke(pen: Pen, width: str = "26px") -> str:
    """HTML of a piece of a curve, to stand before its name."""
    ends = {"solid": (26,), "dash": (7, 11), "dot": (3, 6), "dashdot": (8, 11, 14, 17)}[pen.dash]
    starts, inks = (0, *ends), (pen.colour, "transparent")
    pattern = ",".join(f"{inks[i % 2]} {starts[i]}px {end}px" for i, end in enumerate(ends))
    return (
        f'<span style="display:inline-block;width:{width};height:3px;vertical-align:middle;margin-right:0.4rem;'
        f'background:repeating-linear-gradient(90deg,{pattern})"></span>'
    )


def stroke_legend(drawn: Sequence[Line]) -> None:
    """One legend for several figures of schedules."""
    names = "".join(
        f'<span style="white-space:nowrap;margin-right:1.25rem">{stroke(line.pen)}{escape(line.label)}</span>'
        for line in drawn
    )
    st.html(f'<div style="font-size:0.9rem">{names}</div>')
