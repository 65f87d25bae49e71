"""Public mode on the pages: why something is off and what to do instead; and error texts that strangers may read."""

import os

import streamlit as st

from ddpm.errors import DDPMError, one_line
from ddpm.public import redacted

HIDDEN = {
    "pages/share.py": "Sharing works with your own token, which you should type into a machine of your own only.",
}
"""Scripts of pages that are off in public mode, and why."""


def show_error(error: DDPMError | OSError | str, place=st) -> None:
    """An error in a box, without the folders of this machine in public mode."""
    place.error(redacted(one_line(error) if isinstance(error, Exception) else error))


def off(why: str, *commands: str) -> None:
    """Say why something is off here, and what does it on a machine of one's own."""
    st.info(f"{why} It works on a machine of your own:", icon=":material/public:")
    if commands:
        st.code("\n".join(commands), language="bash", wrap_lines=True)
    if space := os.environ.get("SPACE_ID"):
        st.link_button(
            "Duplicate this Space", f"https://huggingface.co/spaces/{space}?duplicate=true",
            icon=":material/content_copy:", help="A copy of this app in your own account, which you can make private.",
        )  # fmt: skip
