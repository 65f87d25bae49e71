"""Check the widget values that a browser sends, once for all pages.

Streamlit trusts the browser: a message may hold any value for any widget, of any kind and any number of times. After
``guard`` every value is read by ``value_of``, which turns it into one that the widget offers, or into the widget's
default, before a callback or a page sees it. A real browser sends no others, so this happens silently. Links are
checked in address.py, files by the code that reads them.
"""

import json
import math
from typing import Any

from streamlit.elements.widgets.file_uploader import FileUploaderSerde
from streamlit.elements.widgets.text_widgets import TextAreaSerde
from streamlit.errors import StreamlitAPIException
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.state.common import WidgetMetadata, unpack_widget_state_value
from streamlit.runtime.state.session_state import Serialized, SessionState, Value, WStates

from ddpm.deploy.public import Limits
from ddpm.image_folder.arriving import MOST

WHOLE = {"int_value": "double_value", "int_array_value": "double_array_value"}
"""From the kind in which a browser sends whole numbers to the kind that widgets of numbers have."""
TRIGGERS = ("trigger_value", "string_trigger_value", "json_trigger_value", "chat_input_value")
"""The kinds of widgets that are pressed, and count once."""


def value_of(state: WidgetState, widget: WidgetMetadata) -> Any:
    """The value of a widget as its page may see it, from the browser's message."""
    try:
        return widget.deserializer(_offered(state, widget))
    except StreamlitAPIException:  # a file of a type that was not asked for
        return widget.deserializer(None)


def _offered(state: WidgetState, widget: WidgetMetadata) -> Any:
    """The part of the message's value that the widget offers; None, which means its default, if that is nothing.

    Numbers out of range, and what a slider over options does not have, become the default in Streamlit's own
    deserialisers, which expect the right kind of value.
    """
    kind, options = state.WhichOneof("value"), widget.formatted_options
    if WHOLE.get(kind, kind) != WHOLE.get(widget.value_type, widget.value_type):
        return None
    match kind:
        case "string_array_value" if options is not None:
            given, offered = dict.fromkeys(state.string_array_value.data), set(options)  # each once, in their order
            chosen = [option for option in given if option in offered][: widget.max_array_length]
            one = widget.max_array_length == 1  # all such buttons here keep one pressed
            return None if not chosen and (given or one) else chosen
        case "string_value" if options is not None:
            return state.string_value if state.string_value in options else None
        case "string_value":
            return state.string_value[: _most_characters(widget)]
        case "double_value" if not math.isfinite(state.double_value):
            return None
        case "json_value" | "json_trigger_value":
            return unpack_widget_state_value(state) if _is_small_json(getattr(state, kind)) else None
        case "file_uploader_state_value":
            del state.file_uploader_state_value.uploaded_file_info[_most_files(widget) :]
    return unpack_widget_state_value(state)


def _most_files(widget: WidgetMetadata) -> int:
    serde = getattr(widget.deserializer, "__self__", None)
    several = isinstance(serde, FileUploaderSerde) and serde.accept_multiple_files
    return MOST.files + 1 if several else 1  # one too many: the page says so


def _most_characters(widget: WidgetMetadata) -> int:
    if isinstance(getattr(widget.deserializer, "__self__", None), TextAreaSerde):
        return Limits.config_characters + 1  # one too many: the page says that it is too long
    return Limits.field_characters


def _is_small_json(text: str) -> bool:
    if len(text) > Limits.field_characters:
        return False
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def guard() -> None:
    """Make Streamlit read every widget through ``value_of``, and ignore requests to clear its caches.

    All widgets of all sessions are read in one place, before callbacks and at their registration. What is cached here
    is keyed by what it was made from, or expires: the message that clears it, for all visitors, serves no purpose.
    """
    take, read, changed = SessionState.set_widgets_from_proto, WStates.__getitem__, SessionState._widget_changed

    def take_some(session: SessionState, states: WidgetStates) -> None:
        del states.widgets[Limits.widgets :]
        take(session, states)

    def read_checked(states: WStates, widget_id: str) -> Any:
        state, widget = states.states.get(widget_id), states.widget_metadata.get(widget_id)
        if isinstance(state, Serialized) and widget is not None:
            states.states[widget_id] = Value(value_of(state.value, widget))
        return read(states, widget_id)

    def is_changed(session: SessionState, widget_id: str) -> bool:
        # After an interrupted run Streamlit has forgotten that a button was not pressed, and takes any value for a
        # change: its callback ran although nobody had clicked.
        widget = session._new_widget_state.widget_metadata.get(widget_id)
        if widget is not None and widget.value_type in TRIGGERS and not session._new_widget_state.get(widget_id):
            return False
        return changed(session, widget_id)

    assert hasattr(AppSession, "_handle_clear_cache_request")  # else there is nothing to replace
    SessionState.set_widgets_from_proto = take_some
    SessionState._widget_changed = is_changed
    WStates.__getitem__ = read_checked
    # A run that is ending and the next one may access the values at once: iterating over them while they changed failed
    # about once in a thousand messages that came faster than the page.
    WStates.__iter__ = lambda states: iter(tuple(states.states))
    AppSession._handle_clear_cache_request = lambda session: None
