"""What a page's link asks of its widgets, and what of it had to be left out.

Streamlit seeds widgets from the link, and drops what they do not take without a word.
"""

import math
import re

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state.query_params import parse_url_param

ASKED = "address_asked"
MOST_SHOWN = 5
WHILE = 30  # seconds


def read_link() -> None:
    """Keep what the link asks for, before any widget is there, and drop what says nothing."""
    new = {key: st.query_params.get_all(key) for key in st.query_params if key not in st.session_state}
    silent = [key for key, values in new.items() if not all(map(_says_something, values))]
    st.session_state[ASKED] = new
    for key in silent:
        del st.query_params[key]
    if silent:  # widgets read the link as it came, of which Streamlit keeps a copy
        with get_script_run_ctx().session_state.query_params() as link:
            link.set_initial_query_params_from_current()


def tell_what_was_left_out() -> None:
    """Name what the link asked for and no widget took. Call it when all widgets are there."""
    asked: dict[str, list[str]] = st.session_state.pop(ASKED, {})
    left_out = [
        # Whoever wrote the link wrote this text: it must not leave its code span.
        re.sub(r"[`\s]+", " ", f"{key}={', '.join(values)}"[:60])
        for key, values in asked.items()
        if not _was_taken(key, values)
    ]
    if left_out:
        more = f" and {len(left_out) - MOST_SHOWN} more" if len(left_out) > MOST_SHOWN else ""
        st.toast(
            f"Left out of the link, since this page does not offer it: `{'`, `'.join(left_out[:MOST_SHOWN])}`{more}.",
            icon=":material/link_off:",
            duration=WHILE,
        )


def _says_something(value: str) -> bool:
    """Whether a value of a link says anything: Streamlit reads none from an empty one, even where a choice is required,
    and breaks on numbers without end."""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return bool(value)


def _was_taken(key: str, values: list[str]) -> bool:
    """Whether the widget of that key says what the link does; True where there is no such widget."""
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
