"""Read what a page's link asks of its widgets, report what was left out, and restore a page as it was left.

Streamlit sets widgets from the link, and silently drops what they do not accept. It empties the link of a page that is
left: visitors who come back, by the browser's Back or by our own list of pages, would find the defaults.
"""

import math
from collections.abc import Callable
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state.query_params import parse_url_param

from ddpm.escaping import as_code

ASKED = "address_asked"
LEFT, PAGE = "address_left", "address_page"  # in the session: the link that each page was left with; the page shown
MOST_SHOWN = 5
WHILE = 30  # seconds


def read_link() -> None:
    """Store what the link asks for, before there are any widgets, and drop values that cannot be used."""
    _come_back()
    new = {key: st.query_params.get_all(key) for key in st.query_params if key not in st.session_state}
    silent = [key for key, values in new.items() if not all(map(_says_something, values))]
    st.session_state[ASKED] = new
    for key in silent:
        del st.query_params[key]
    if silent:
        _update_initial_link()


def translate(key: str, translated: Callable[[str], str]) -> None:
    """Translate what the link says for the widget of that key, which does not exist yet."""
    asked = st.session_state.get(ASKED, {})
    said = asked.get(key, [])
    if (new := [translated(value) for value in said]) != said:
        asked[key] = st.query_params[key] = new
        _update_initial_link()


def _update_initial_link() -> None:
    """Widgets read the link as it first arrived, of which Streamlit keeps a copy: bring that up to date."""
    with get_script_run_ctx().session_state.query_params() as link:
        link.set_initial_query_params_from_current()


def _come_back() -> None:
    """If a page is reopened without a link of its own, restore the one that it was left with."""
    page = get_script_run_ctx().page_script_hash
    links: dict[str, dict[str, list[str]]] = st.session_state.setdefault(LEFT, {})
    before = st.session_state.get(PAGE, page)
    if page != before:
        found = _link()
        own = {key: values for key, values in found.items() if links.get(before, {}).get(key) != values}
        wanted = own or links.get(page, {})
        if wanted != found:
            with get_script_run_ctx().session_state.query_params() as link:
                link.populate_from_query_string(urlencode(wanted, doseq=True))
                link.set_initial_query_params_from_current()
                link._send_query_param_msg()
    st.session_state[PAGE] = page
    remember_link()


def remember_link() -> None:
    """Keep the link of this page as it is now."""
    st.session_state[LEFT][st.session_state[PAGE]] = _link()


def _link() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def tell_what_was_left_out() -> None:
    """List what the link asked for and no widget took. Call it after all widgets."""
    asked: dict[str, list[str]] = st.session_state.pop(ASKED, {})
    left_out = [
        as_code(f"{key}={', '.join(values)}"[:60]) for key, values in asked.items() if not _was_taken(key, values)
    ]
    if left_out:
        more = f" and {len(left_out) - MOST_SHOWN} more" if len(left_out) > MOST_SHOWN else ""
        st.toast(
            f"Left out of the link, since this page does not offer it: {', '.join(left_out[:MOST_SHOWN])}{more}.",
            icon=":material/link_off:",
            duration=WHILE,
        )


def _says_something(value: str) -> bool:
    """Whether a value of a link can be used: Streamlit reads an empty one as no choice, even if one is required, and
    breaks on numbers that are not finite."""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return bool(value)


def _was_taken(key: str, values: list[str]) -> bool:
    """Whether the widget of that key has the link's value; True if there is no such widget."""
    state = get_script_run_ctx().session_state._state
    widget = state.get_widget_id_from_key(key)
    about = widget and state.get_widget_metadata(widget)
    if not about or about.bind != "query-params" or key not in st.session_state:
        return True
    try:
        wanted = parse_url_param(values, about.value_type)
    except (ValueError, TypeError):
        return False
    held = about.serializer(st.session_state[key])
    return held == wanted or [held] == wanted
