"""Public mode on the pages: why something is off and what to do instead; and error texts that strangers may read."""

import os

import streamlit as st

from ddpm.deploy.public import redacted
from ddpm.errors import DDPMError, one_line
from ddpm.escaping import as_code, as_sentence


def foreign(text: object) -> str:
    """Escape a text from outside for Markdown, without the folders of this machine in public mode: what a link, a file,
    a model or an error says. Whatever a page inserts between its own words goes through here, or through
    ``as_markdown`` and ``as_code``; a test enforces that."""
    return as_sentence(redacted(one_line(text) if isinstance(text, Exception) else str(text)))


def show_error(error: DDPMError | OSError | str, place=st, *, where: str = "") -> None:
    """An error in a box, as text, after ``where``, which is Markdown; several lines as they are printed."""
    text = redacted(one_line(error) if isinstance(error, Exception) else error)
    place.error(where + (as_code(text) if "\n" in text.strip() else as_sentence(text)))


def off(why: str, *commands: str) -> None:
    """Say why something is off here, and which commands do it on your own machine."""
    st.info(f"{why} It works on a machine of your own:", icon=":material/public:")
    if commands:
        st.code("\n".join(commands), language="bash", wrap_lines=True)
    if space := os.environ.get("SPACE_ID"):
        st.link_button(
            "Duplicate this Space", f"https://huggingface.co/spaces/{space}?duplicate=true",
            icon=":material/content_copy:", help="A copy of this app in your own account, which you can make private.",
        )  # fmt: skip
