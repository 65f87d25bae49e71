"""The frame that all pages share: title, one sentence, links, and the box that explains the page."""

import ast
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from ddpm.deploy.public import is_public
from ddpm.errors import ConfigError

from .address import read_link, remember_link, tell_what_was_left_out
from .incoming import guard
from .memory import keep_modules
from .public import off, show_error

guard()  # here, since every page imports this before it has a widget


class Page(NamedTuple):
    """A page as the others link to it: its own description, ``PAGE``, which is read without running the page."""

    path: str
    """Of its script, relative to the root of the project."""
    label: str
    icon: str
    about: str
    """What visitors can do there."""
    group: str = "Explore"
    """One of ``GROUPS``."""
    off_in_public: str = ""
    """Why it is off in public mode, if it is."""


GROUPS = {
    "Explore": "Make images",
    "Learn": "See how it works",
    "Train": "Train your own",
    "Share": "Show it to others",
}
"""Where pages stand in the sidebar, and what they are for, which heads them on Home."""


def _pages() -> tuple[Page, ...]:
    """Home, and every script in the folder pages, in the order that they state."""
    found, groups = [], list(GROUPS)
    for path in FOLDER.glob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        (said,) = (node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "PAGE")
        said = ast.literal_eval(said)
        order = said.pop("order")
        page = Page(f"pages/{path.name}", path.stem.replace("_", " ").capitalize(), **said)
        found.append((groups.index(page.group), order, page))
    return Page("streamlit_app.py", "Home", ":material/home:", ""), *(page for *_, page in sorted(found))


FOLDER = Path(__file__).parents[1]
STATIC = Path(__file__).with_name("static")
PAGES = _pages()
PROJECTOR = "projector"  # in the link, and in the session


def _icon(size: int = 64) -> Image.Image:
    """A disc that dissolves into noise, in the accent colour. A named icon would be fetched from elsewhere."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    cells = np.random.default_rng(0).random((8, 8)).repeat(size // 8, 0).repeat(size // 8, 1)
    inside = (x**2 + y**2 < 0.22) & (cells > x + 0.1)
    return Image.fromarray(np.where(inside[..., None], (11, 110, 124, 255), 0).astype(np.uint8))


def shown_pages() -> list[Page]:
    """The available ones of ``PAGES``: all but those that are off in public mode."""
    public = is_public()
    return [page for page in PAGES if not (public and page.off_in_public)]


def page(title: str, sentence: str) -> None:
    """Open a page: set its title, draw the links in the sidebar and the heading. Call it first.

    A page that is off in public mode ends here and says why.
    """
    keep_modules()
    name = title if title == "DDPM Lab" else f"{title} · DDPM Lab"
    st.set_page_config(page_title=name, page_icon=_icon(), layout="wide")
    st.html(STATIC / "app.css")
    read_link()
    if projected():
        st.html(STATIC / "projector.css")
    try:
        pages = shown_pages()
        st.set_option("client.showErrorDetails", "none" if is_public() else "full")  # config.toml starts with "none"
    except ConfigError as error:
        show_error(error)
        st.stop()
    with st.sidebar:
        for group, inside in groupby(pages, lambda one: one.about and one.group):
            if group:
                st.caption(group)
            for one in inside:
                st.page_link(one.path, label=one.label, icon=one.icon)
    st.title(title, anchor=False)
    st.markdown(sentence)
    if projected() and title != "Lessons":  # which has the switch below
        projector_switch()
    why = next((one.off_in_public for one in PAGES if one.label == title), "")
    if is_public() and why:
        off(f"This page is off in public. {why}", "make app")
        st.stop()


def projected() -> bool:
    """Whether pages are shown as for a room: ``?projector=on`` on any page switches that on for the session."""
    if (asked := st.query_params.get(PROJECTOR)) in ("on", "off"):
        st.session_state[PROJECTOR] = asked == "on"
    return st.session_state.get(PROJECTOR, False)


def projector_switch() -> None:
    """A button that shows all pages larger and without the sidebar, or as they were."""
    on = projected()

    def switch() -> None:
        st.query_params[PROJECTOR] = "off" if on else "on"

    st.button("Leave projector mode" if on else "Projector mode", icon=":material/fit_screen:", key="frame_projector",
              type="tertiary", on_click=switch, help="Larger type and pictures, no sidebar, on all pages.")  # fmt: skip


def share_link(reference: str, label: str = "Share") -> None:
    """A link to the Share page with a model chosen; nothing if that page is off."""
    if "pages/share.py" in (one.path for one in shown_pages()):
        st.page_link("pages/share.py", label=label, icon=":material/share:", query_params={"share_model": reference})


def legend(colours: dict[str, str]) -> None:
    """One legend for all figures of a page: a stroke of colour before each name."""
    entries = "".join(
        f'<span style="white-space:nowrap;margin-right:1.25rem"><span style="display:inline-block;width:1.5rem;'
        f'border-top:3px solid {colour};vertical-align:middle;margin-right:0.4rem"></span>{escape(name)}</span>'
        for name, colour in colours.items()
    )
    st.html(f'<div style="font-size:0.9rem">{entries}</div>')


@cache
def glossary() -> dict[str, str]:
    """The entries of ``docs/glossary.md`` as Markdown, by their anchors."""
    text = (FOLDER.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
    return {anchor: " ".join(entry.split())
            for anchor, entry in re.findall(r'^- <a id="(.+?)"></a>(.+(?:\n  .+)*)', text, re.MULTILINE)}  # fmt: skip


def about(text: str, paper: str, url: str, words: Iterable[str] = ()) -> None:
    """The box at the foot of a page: the formula, two sentences, the paper, and the ``words`` of the page as the
    glossary explains them, by their anchors there. Call it last."""
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(text)
        st.markdown(f"Paper: [{paper}]({url})")
        if words:
            st.markdown("\n".join(["**Words on this page**\n", *(f"- {glossary()[word]}" for word in words)]))
    tell_what_was_left_out()
    remember_link()
