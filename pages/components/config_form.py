"""A config on a page: a form and a YAML editor, two views of one text, with every fault where it can be corrected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ddpm.config import Config, change, config_from_dict, config_to_yaml, config_values, differences
from ddpm.config.settings import Setting, all_settings, applies
from ddpm.config.yaml_text import dump_yaml, lines_of
from ddpm.deploy.public import limits
from ddpm.errors import ConfigError, Fault
from ddpm.escaping import as_code

from .models import computing
from .public import foreign, show_error

# The single source of truth, from which every widget is set before it is drawn. It is not a widget's own value: a
# browser that has not yet received a change sends back what it last showed, and would undo the change.
TEXT = "train_text"
EDITION = "train_edition"  # counts the changes that the YAML editor did not make itself
STALE = "train_stale"  # whether the fields have yet to be set to a text that they did not make themselves
TOUCHED = "train_touched"  # what is not in the text yet: by widget, a function that returns the fields to change
AS_TEXT = "train_as_text"  # whether the text was last changed as text, and not by a field
MOST_FAULTS = 20  # shown at once
TITLES = {
    "data": "Data",
    "schedule": "Schedule",
    "diffusion": "Diffusion",
    "model": "Model",
    "training": "Training",
    "sampling": "Sampling",
}


@dataclass(frozen=True)
class Draft:
    """The config as it stands in the editor."""

    values: dict[str, Any]
    """Nested, as in the YAML; if that cannot be read now, the last that could."""
    config: Config | None
    faults: tuple[Fault, ...]
    readable: bool

    def value(self, setting: Setting) -> Any:
        section = self.values.get(setting.section)
        given = section.get(setting.name, setting.default) if isinstance(section, dict) else setting.default
        if given is None and self.config:  # a parameter for which the chosen schedule has its own default
            return getattr(getattr(self.config, setting.section), setting.name)
        return given

    def faults_of(self, field: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.field == field]

    def on_form(self, fault: Fault) -> bool:
        """Whether the form shows what a fault is about: a field, or a tab as a whole."""
        settings = all_settings().get(fault.field.partition(".")[0], [])
        shown = [setting.field for setting in settings if applies(setting, self.values)]
        return self.readable and fault.field in ("name", *TITLES, *shown)

    def place(self, fault: Fault) -> str:
        """Where to correct a fault, as Markdown."""
        if not self.on_form(fault):
            return f"line {fault.line} of the YAML" if fault.line else "the YAML"
        section, _, name = fault.field.partition(".")
        return f"**{name}** under {TITLES[section]}" if name else f"**{TITLES[section]}**"


def text_of(upload: UploadedFile) -> str:
    """The YAML of a file.

    Raises:
        ConfigError: it is larger than any config.
    """
    most = limits().config_characters
    if upload.size > 4 * most:  # bytes, of which UTF-8 has up to four for a character
        raise ConfigError(f"The file has {upload.size:,} bytes; {most:,} characters are the most of a config")
    return upload.getvalue().decode("utf-8", "replace")


def start_from(config_text: str) -> None:
    """Put YAML text into the editor."""
    st.session_state.setdefault(TOUCHED, {}).clear()
    st.session_state[AS_TEXT] = True
    st.session_state[TEXT] = config_text
    st.session_state[STALE] = True
    st.session_state[EDITION] = st.session_state.get(EDITION, 0) + 1


def draft() -> Draft:
    """The editor's text with what the visitor changed, parsed and checked; in a turn, since YAML is slow to read."""
    with computing("config", len(st.session_state[TEXT])):
        _take()
        return _read()


def _read() -> Draft:
    try:
        values = _parsed()
        if not values or not isinstance(values, dict):
            raise ConfigError("expected sections such as 'data:' and 'model:'")
    except ConfigError as error:
        return Draft(st.session_state.get("train_values", {}), None, error.faults, readable=False)
    st.session_state.train_values = values
    try:
        return Draft(values, config_from_dict(values, lines=lines_of(st.session_state[TEXT])), (), readable=True)
    except ConfigError as error:
        return Draft(values, None, error.faults, readable=True)


def _parsed() -> Any:
    """The values of the editor's text, not validated.

    Raises:
        ConfigError: it is not YAML, or longer than any config.
    """
    if len(st.session_state[TEXT]) > (most := limits().config_characters):
        raise ConfigError(f"has more than {most:,} characters, which are the most of a config")
    return config_values(st.session_state[TEXT])


def _write(changes: dict[str, Any]) -> None:
    """Change fields in the editor's text, unless it has since become text without a place for them."""
    st.session_state[AS_TEXT] = False
    try:
        values = _parsed() or {}
        for field, value in changes.items():
            change(values, field, value)
    except ConfigError:
        st.session_state[AS_TEXT] = st.session_state[STALE] = True
        return
    try:
        text = config_to_yaml(config_from_dict(values))  # in the order of the config, with what the change brought
    except ConfigError:
        text = dump_yaml(values)
    st.session_state[TEXT] = text
    st.session_state[EDITION] += 1
    st.session_state[STALE] |= "schedule.name" in changes  # which changes other fields


def set_field(field: str, value: Any) -> None:
    """Change a field from outside its own widget, which then has to follow."""
    st.session_state[TOUCHED][field] = lambda: {field: value}
    st.session_state[STALE] = True


def form(current: Draft, base: Config | None, origin: str) -> None:
    """All fields, one tab per section; the help of each also names the value that ``base``, called ``origin``, has."""
    sections, different = all_settings(), differences(Config(), base) if base else {}
    tabs = st.tabs([TITLES[name] for name in sections])  # a label that changed would close its tab
    for tab, (name, settings) in zip(tabs, sections.items(), strict=True):
        with tab:
            for fault in current.faults_of(name):
                st.markdown(f":red[{foreign(fault.message)}]")
            shown = [setting for setting in settings if applies(setting, current.values)]
            left, right = st.columns(2)
            for i, setting in enumerate(shown):
                _, begun = different.get(setting.field, (None, None))
                help = (
                    setting.help
                    if begun is None
                    else f"{setting.help} {foreign(origin)} has {foreign(setting.to_text(begun))}."
                )
                with left if i < (len(shown) + 1) // 2 else right:
                    field(setting, current, help)


def field(setting: Setting, current: Draft, help: str) -> None:
    """One field, its unit in the label, its faults below it."""
    value, key = current.value(setting), f"train_{setting.section}_{setting.name}"
    label = f"{setting.name} ({setting.unit})" if setting.unit not in ("", setting.name) else setting.name
    common = taking(key, lambda new: {setting.field: new}) | {"help": help, "disabled": not current.readable}
    if setting.kind == "switch" and isinstance(value, bool):
        put(key, value)
        st.toggle(label, **common)
    elif setting.kind in ("choice", "switch"):
        choices = list(setting.choices or (True, False))
        put(key, value if isinstance(value, str | int | float | bool) else str(value))
        # A value that is none of the choices is shown as it is, with the fault that it causes.
        options = choices if value in choices else [*choices, st.session_state[key]]
        st.selectbox(label, options, **common)
    elif setting.kind == "choices" and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        put(key, list(dict.fromkeys(value)))
        options = dict.fromkeys([*setting.choices, *st.session_state[key]])  # what is no choice stays, with its fault
        st.pills(label, [*options], selection_mode="multi", wrap=True, **common)
    else:
        put(key, setting.to_text(value))
        st.text_input(label, **common | taking(key, lambda new: {setting.field: setting.from_text(new)}))
    for fault in current.faults_of(setting.field):
        st.markdown(f":red[{foreign(fault.message)}]")


def put(key: str, value: Any) -> None:
    """Set a widget only if it must change: setting it would wipe out what is being typed into it."""
    if key not in st.session_state or (st.session_state[STALE] and st.session_state[key] != value):
        st.session_state[key] = value


def taking(key: str, take: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Arguments that make a widget of this key pass its new values to ``take``, which returns the fields to change."""
    return {"key": key, "on_change": _touched, "args": (st.session_state[TOUCHED], key, take)}


def _touched(touched: dict, key: str, take: Callable[[Any], dict[str, Any]]) -> None:
    # Only noted: reading and writing YAML waits for its turn, on the page. And if the next request is waiting already,
    # as when someone types fast, Streamlit aborts a callback when it first accesses the session.
    touched[key] = lambda: take(st.session_state[key]) if key in st.session_state else {}


def _take() -> None:
    """Apply to the text what the visitor changed: all pending changes together."""
    touched = st.session_state[TOUCHED]
    taken = dict(touched)
    if changes := {field: value for take in taken.values() for field, value in take().items()}:
        _write(changes)
    for key in taken:
        touched.pop(key, None)


def editor(current: Draft, height: int) -> None:
    """The YAML itself, and below it its faults, with their lines."""
    edition = st.session_state[EDITION]
    key = f"train_yaml_{edition}"
    put(key, st.session_state[TEXT])
    with st.container(key="train_yaml"):
        st.text_area(
            "YAML", **taking(key, lambda text: _edited(edition, text)), height=height,
            help="The same config as text; fields left out take their defaults. Changes apply when you leave the box "
            "or press Ctrl+Enter.",
        )  # fmt: skip
    lines = st.session_state[TEXT].splitlines()
    told = [fault for fault in current.faults if st.session_state[AS_TEXT] or not current.on_form(fault)]
    for fault in told[:MOST_FAULTS]:
        where = ""
        if fault.line:
            shown = lines[fault.line - 1].strip() if fault.line <= len(lines) else ""
            where = f"Line {fault.line}{f', {as_code(shown)}' if shown else ''}: "
        show_error(f"{f'{fault.field} ' if fault.field else ''}{fault.message}", where=where)
    if more := len(told[MOST_FAULTS:]):
        show_error(f"{more} more of them")


def _edited(edition: int, text: str) -> dict[str, Any]:
    if edition == st.session_state[EDITION]:  # else the browser sent the text from before a field was changed
        st.session_state[TEXT] = text
        st.session_state[AS_TEXT] = st.session_state[STALE] = True
    return {}
