"""The problems of a training, shown before it is launched, with the value that would fit one click away."""

import streamlit as st

from ddpm.config import Config, DataConfig
from ddpm.deploy.public import check_config
from ddpm.errors import Fault
from ddpm.escaping import as_markdown
from ddpm.training.preflight import Facts, Finding, check, facts, shown

from .config_form import Draft, set_field
from .public import foreign

MARKS = {"fault": ":red[:material/block:]", "warning": ":orange[:material/warning:]", "note": ":material/info:"}


@st.cache_data(show_spinner=False, ttl=10, max_entries=64, hash_funcs={DataConfig: repr})
def known_of(data: DataConfig) -> Facts:
    """The facts of a dataset; those of a folder are refreshed now and then, since images come and go."""
    return facts(data)


def findings_of(config: Config) -> list[Finding]:
    """The problems of a training.

    Raises:
        ConfigError, DataError: the training cannot begin here.
    """
    check_config(config)
    return check(config, known_of(config.data))


def show_findings(findings: list[Finding], current: Draft) -> None:
    """Each finding in a line, the worst first."""
    if not findings:
        return
    with st.container(border=True, key="train_findings", gap="small"):
        for finding in sorted(findings, key=lambda finding: list(MARKS).index(finding.kind)):
            said, cure = st.columns([5, 1], vertical_alignment="center")
            remedy = f" ({foreign(finding.instead)} would help as well)" if finding.instead else ""
            text = f"{current.place(Fault(finding.field, ''))}: {foreign(finding.text)}{remedy}"
            if finding.kind == "note":  # is about no field that one would set
                text = foreign(finding.text[:1].upper() + finding.text[1:])
            said.markdown(f"{MARKS[finding.kind]} {text}.")
            if finding.value is not None:
                cure.button(
                    f"Set to {as_markdown(shown(finding.value))}", key=f"train_fit_{finding.field}", on_click=set_field,
                    args=(finding.field, finding.value), width="stretch",
                )  # fmt: skip
