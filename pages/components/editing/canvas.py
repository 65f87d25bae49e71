"""A square to draw on: strokes for a sketch, or for a mask over a picture."""

import streamlit as st
from PIL import Image

from ddpm.deploy.static_page import ASSETS
from ddpm.errors import DataError
from ddpm.media.strokes import Stroke, read_strokes, strokes_text

from ..pictures import data_uri
from ..public import show_error

NOTHING = "0"  # in a link: an empty value would be the default
_canvas = st.components.v2.component(
    "ddpm_canvas", **{kind: (ASSETS / f"canvas.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
)


def canvas(
    key: str,
    label: str,
    default: str = "",
    *,
    image: Image.Image | None = None,
    ink: str = "white",
    opacity: float = 1.0,
    pen: int = 9,
    live: bool = True,
) -> list[Stroke]:
    """The strokes that a visitor has drawn, which the link holds as ``key``; [] for none.

    Args:
        label: what is drawn, for those who cannot see it.
        default: the text of the strokes to begin with, where the link has none.
        image: below the strokes; black without.
        ink, opacity: of the strokes.
        pen: the width to begin with, in hundredths of the side.
        live: report a stroke while it is being drawn, not only its end.
    """
    try:
        asked = st.query_params.get(key, default)
        begun = "" if asked == NOTHING else strokes_text(read_strokes(asked))
    except DataError as error:
        show_error(error)
        begun = ""
    first = st.session_state.setdefault(f"{key}_first", begun)  # what the canvas was opened with, whatever came since
    source = data_uri(image) if image else None
    drawn = _canvas(
        data={"id": f"{key} {source} {first}", "strokes": begun, "image": source, "ink": ink, "paper": "black",
              "opacity": opacity, "pen": pen, "label": label, "live": live},
        default={"strokes": begun},
        key=f"{key}_canvas",
        on_strokes_change=lambda: None,
    )  # fmt: skip
    try:
        strokes = read_strokes(drawn.strokes if isinstance(drawn.strokes, str) else "")  # a browser may send anything
    except DataError as error:
        show_error(error)
        return []
    if (text := strokes_text(strokes)) != st.query_params.get(key, default):
        st.query_params[key] = text or NOTHING
    return strokes
