"""The variants on the Schedules page: set in cards, kept in the link, explained, and carried over to Train."""

import re
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from ddpm.config import ScheduleConfig
from ddpm.config.settings import Setting, all_settings, applies
from ddpm.config.variants import MAX_VARIANTS, parse_schedule, schedules_text
from ddpm.config.yaml_text import dump_yaml
from ddpm.errors import ConfigError
from ddpm.media.drawers import to_plotly
from ddpm.media.schedule_figures import AXES, Line, lines, pen_of, steps_chart
from ddpm.schedule import SCHEDULES
from ddpm.spacing import HARM, SPACINGS, spaced_timesteps, starting_point

from .pictures import stroke
from .public import foreign

LINK = "sched"  # the query parameter that holds all variants
VARIANTS = "sched_variants"  # the single source of truth, in the session: widgets are set from it and report to it
LINK_READ, LINK_FAULTS = "sched_link_read", "sched_link_faults"
CARRIED = "train_schedule"  # the query parameter of the Train page: the schedule that its form starts with
DEFAULT = ("linear", "cosine", "sigmoid")
PLOT = {"config": {"displayModeBar": False}}
UNSEEN = "A sampler starts from pure noise, which is a state that the model never saw there."
REMEDY = (
    "All spacings but leading start at T - 1; zero_terminal_snr removes what is left there "
    "([Lin et al. 2024](https://arxiv.org/abs/2305.08891))."
)
ZERO_SNR = "$\\bar\\alpha_{T-1}$ is brought to 0: Lin et al. 2024, algorithm 1 (arXiv:2305.08891)."


@dataclass
class Variant:
    """One card: what the section ``schedule`` of a config would hold, valid or not."""

    id: int
    values: dict[str, Any]

    def key(self, name: str) -> str:
        return f"sched_{self.id}_{name}"


def pick_variants() -> list[ScheduleConfig]:
    """A card for each variant, and one to add more; returns those that make a schedule, and writes them to the link."""
    if VARIANTS not in st.session_state:
        _read_link()
    chosen: list[ScheduleConfig] = []
    for variant in st.session_state[VARIANTS]:
        pen = pen_of(variant.values["name"], chosen)
        if config := _card(variant, stroke(pen, "100%")):
            chosen.append(config)
    full = len(st.session_state[VARIANTS]) == MAX_VARIANTS
    st.menu_button(
        "Add a schedule", list(SCHEDULES), key="sched_add", icon=":material/add:", width="stretch", disabled=full,
        on_click=lambda: _insert(_values(ScheduleConfig(name=st.session_state.sched_add))),
        help=f"At most {MAX_VARIANTS} side by side." if full else None,
    )  # fmt: skip
    text = schedules_text(chosen)
    if text != st.session_state[LINK_READ]:
        st.session_state[LINK_FAULTS] = []  # the visitor has moved on
    if text != ",".join(DEFAULT):
        st.query_params[LINK] = text
    elif LINK in st.query_params:
        del st.query_params[LINK]
    return chosen


def _read_link() -> None:
    """Take the variants from the link; what is wrong in it is left out and reported."""
    pieces = st.query_params.get(LINK, ",".join(DEFAULT)).split(",")
    faults, found = [], []
    for piece in pieces[:MAX_VARIANTS]:
        try:
            found.append(parse_schedule(piece))
        except ConfigError as error:
            faults.append(str(error) if len(piece) < 200 else f"{piece[:60]}… is no schedule")
    if len(pieces) > MAX_VARIANTS:
        faults.append(f"{len(pieces)} schedules; the first {MAX_VARIANTS} are shown")
    found = found or [parse_schedule(name) for name in DEFAULT]
    st.session_state[VARIANTS] = [Variant(i, _values(config)) for i, config in enumerate(found)]
    st.session_state[LINK_READ], st.session_state[LINK_FAULTS] = schedules_text(found), faults


def tell_link_faults() -> None:
    """Show what was wrong with the link, until a card is changed."""
    for fault in st.session_state[LINK_FAULTS]:
        st.warning(f"The link asks for an unknown schedule. {foreign(fault)}", icon=":material/link_off:")


def _values(config: ScheduleConfig) -> dict[str, Any]:
    return config.model_dump(exclude_none=True)


# -- a card --------------------------------------------------------------------------------------------------------


def _card(variant: Variant, stroke: str) -> ScheduleConfig | None:
    """The widgets of one variant under its ``stroke``; None, with a message, if their values make no schedule."""
    variants, name = st.session_state[VARIANTS], variant.values["name"]
    with st.container(border=True, gap="small"):
        st.html(stroke)
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
            st.selectbox(
                "Schedule", list(SCHEDULES), list(SCHEDULES).index(name), key=variant.key("name"),
                label_visibility="collapsed", on_change=_rename, args=(variant,),
            )  # fmt: skip
            st.button(
                ":material/content_copy:", key=variant.key("duplicate"), help="Duplicate", type="tertiary",
                on_click=_insert, args=(variant.values, variant), disabled=len(variants) == MAX_VARIANTS,
            )  # fmt: skip
            st.button(
                ":material/delete:", key=variant.key("remove"), help="Remove", type="tertiary",
                on_click=_remove, args=(variant,), disabled=len(variants) == 1,
            )  # fmt: skip
        for settings in _sliders(name):
            _slider(variant, settings)
        key = variant.key("zero_terminal_snr")
        st.toggle(
            "zero_terminal_snr", variant.values["zero_terminal_snr"], key=key,
            help=_settings()["zero_terminal_snr"].help,
            on_change=lambda: variant.values.update(zero_terminal_snr=st.session_state[key]),
        )  # fmt: skip
        try:
            return ScheduleConfig.from_values(variant.values, "schedule")
        except ConfigError as error:
            for fault in error.faults:
                field = fault.field.removeprefix("schedule").removeprefix(".")
                st.markdown(f":red[{foreign(field)} {foreign(fault.message)}]")
            return None


def _settings() -> dict[str, Setting]:
    return {setting.name: setting for setting in all_settings()["schedule"]}


def _sliders(name: str) -> list[tuple[Setting, ...]]:
    """The numbers of a schedule, a start and its end together."""
    own = [s for s in _settings().values() if s.kind == "number" and applies(s, {"schedule": {"name": name}})]
    ends = {s.name: s for s in own if s.name.endswith("_end")}
    partner = {name.replace("_end", "_start"): end for name, end in ends.items()}
    return [(s, partner[s.name]) if s.name in partner else (s,) for s in own if s.name not in ends]


def _slider(variant: Variant, settings: tuple[Setting, ...]) -> None:
    """One handle for one number, two for a start and an end."""
    names = [setting.name for setting in settings]
    # Another schedule has another range, so it needs another slider.
    key = variant.key(f"{variant.values['name']}_{names[0]}")
    given = tuple(variant.values[name] for name in names)

    def taken() -> None:
        value = st.session_state[key]
        variant.values.update(zip(names, value if len(names) > 1 else [value], strict=True))

    st.select_slider(
        " – ".join(names), sorted({stop for setting in settings for stop in setting.stops(*given)}),
        given if len(given) > 1 else given[0], key=key, format_func=lambda stop: f"{stop:g}", on_change=taken,
        help="\n\n".join(setting.help for setting in settings),
    )  # fmt: skip


def _rename(variant: Variant) -> None:
    """Choose another schedule: T and the rescaling stay, its own parameters take their defaults."""
    common = {name: variant.values[name] for name in ("num_timesteps", "zero_terminal_snr")}
    variant.values = _values(ScheduleConfig(name=st.session_state[variant.key("name")])) | common


def _insert(values: dict[str, Any], after: Variant | None = None) -> None:
    variants = st.session_state[VARIANTS]
    if len(variants) >= MAX_VARIANTS or (after and after not in variants):  # a click on a button that no longer exists
        return
    new = Variant(1 + max(variant.id for variant in variants), dict(values))
    variants.insert(variants.index(after) + 1 if after else len(variants), new)


def _remove(variant: Variant) -> None:
    variants = st.session_state[VARIANTS]
    if variant in variants and len(variants) > 1:  # else a second click, or one on a button that is disabled
        variants.remove(variant)


# -- where the steps land ------------------------------------------------------------------------------------------


def pick_axis(key: str, help: str = "The same noise has the same log SNR in every schedule.") -> str:
    """A control for what a chart is drawn over, one of ``AXES``."""
    return st.segmented_control(
        "Over", list(AXES), default="t", required=True, key=key, format_func=AXES.get, help=help, bind="query-params"
    )


def steps_landing(drawn: list[Line], over: str, num_values: int) -> None:
    """Controls for a sampler's steps, the timesteps that it visits, and what is wrong with where it starts.

    ``num_values`` is C H W of the image in question.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        most = int(_settings()["num_timesteps"].limits["le"])
        num_steps = st.number_input(
            "Steps of the sampler", 1, most, 10, key="sched_steps", width=170, bind="query-params"
        )
        spacing = st.segmented_control(
            "Timestep spacing", SPACINGS, default="trailing", required=True, key="sched_spacing", bind="query-params",
            help="trailing starts at T - 1; leading ends at 0 and starts below T - 1; linspace has both ends; "
            "quadratic starts at T - 1 and takes smaller steps where there is less noise.",
        )  # fmt: skip
    able = [line for line in drawn if line.schedule.num_timesteps >= num_steps]
    for line in drawn:
        if line not in able:
            st.info(
                f"**{foreign(line.label)}** has only {line.schedule.num_timesteps} timesteps for {num_steps} steps."
            )
    st.plotly_chart(to_plotly(steps_chart(able, num_steps, spacing, over)), key="sched_plot_steps", **PLOT)
    starts = {
        line.label: starting_point(
            line.schedule, spaced_timesteps(line.schedule.num_timesteps, num_steps, spacing), num_values
        )
        for line in able
    }
    if wrong := [
        f"- **{foreign(label)}**: {'; '.join(start.problems)}." for label, start in starts.items() if start.problems
    ]:
        harm = [HARM] if any(start.harmful for start in starts.values()) else []
        st.warning("\n".join([*wrong, "", UNSEEN, *harm, REMEDY]), icon=":material/warning:")
    elif able:
        st.caption("All start at T - 1, where no visible trace of the image remains: that's correct.")


# -- formulas, and on to training ----------------------------------------------------------------------------------


def details(configs: list[ScheduleConfig]) -> None:
    """A card for each: formula, paper, YAML to copy, and the way to the Train page."""
    pairs = list(zip(configs, lines(configs), strict=True))
    for first in range(0, len(pairs), 2):
        for pair, column in zip(pairs[first : first + 2], st.columns(2), strict=False):
            with column, st.container(border=True, height="stretch"):
                _detail(*pair)


def _detail(config: ScheduleConfig, line: Line) -> None:
    spec = SCHEDULES[config.name]
    st.html(f"{stroke(line.pen)}<b>{escape(line.label)}</b>")
    st.latex(spec.formula)
    st.markdown(_linked(spec.source + (f". {ZERO_SNR}" if config.zero_terminal_snr else "")))
    st.code(dump_yaml({"schedule": config.model_dump(mode="json", exclude_none=True)}), language="yaml")
    st.page_link(
        "pages/train.py", label="Train with it", icon=":material/model_training:",
        query_params={CARRIED: schedules_text([config])},
    )  # fmt: skip


def _linked(source: str) -> str:
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)
