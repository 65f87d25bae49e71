"""The Train page: a config, what it will cost, a launch, and the runs."""

import re

import streamlit as st

from ddpm.config import Config, config_to_yaml, differences, load_config, with_schedule
from ddpm.config.variants import parse_schedule
from ddpm.deploy.public import forbid, is_public, published
from ddpm.errors import DDPMError, Fault
from ddpm.escaping import as_code, as_markdown
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from ddpm.training import queue
from pages.components.config_form import STALE, TEXT, draft, editor, form, put, set_field, start_from, taking, text_of
from pages.components.costs import show_costs
from pages.components.frame import about, page
from pages.components.own_images import OWN, PRESET, arrivals, last_learned_from, look_at, own_images, proposal_of
from pages.components.preflight import findings_of, show_findings
from pages.components.public import foreign, off, show_error
from pages.components.remote_runs import rent
from pages.components.runs import run_list, shown_runs
from pages.components.schedules import CARRIED

PAGE = {
    "order": 5,
    "group": "Train",
    "icon": ":material/model_training:",
    "about": "Train on your own images or on a preset: see what it will cost, launch, stop and resume.",
}

page(
    "Train",
    "Bring your own images or choose a preset, change what you like, see what it will cost, and launch. Runs continue "
    "after you close the page.",
)

FIRST = "digits"  # which needs no download, and minutes
PRESETS = sorted(PRESET.parent.glob("*.yaml"), key=lambda path: (path.stem != FIRST, path.stem))
PRESETS = {path.stem: path for path in PRESETS if path != PRESET}  # that one is for images that have arrived
FILE = "a YAML file"


def base_of(start: str) -> Config:
    """The config of a preset, or of an earlier run; the first preset's while there is no file yet."""
    if start.startswith(OWN):
        return proposal_of(start).config
    start = FIRST if start == FILE else start
    path = RunFolder.named(start.removeprefix("run:")).config if start.startswith("run:") else PRESETS[start]
    return published(load_config(path))


def origin_of(start: str) -> str:
    """What the values of a start are called."""
    if start.startswith(OWN):
        return "The proposal"
    return f"The {start.replace(':', ' ')}" if start.startswith("run:") else f"The preset {start}"


def new_text(config: Config) -> str:
    """A config as YAML, under a name that is free; what an earlier training found in its folder may have changed."""
    name = re.sub(r"-\d+$", "", config.name)
    name = name if is_public() else queue.free_name(name)  # which would reveal the names of runs
    data = config.data.model_copy(update={"digest": None, "class_names": None})
    return config_to_yaml(config.model_copy(update={"name": name, "data": data}))


def launch(config: Config) -> None:
    """Launch what is on the page now; a callback would only know what was there when the button was drawn."""
    try:
        forbid("Training")
        folder = queue.launch(config)
    except (DDPMError, OSError) as error:
        show_error(error, messages)
        return
    launched(folder)


def launched(folder: RunFolder) -> None:
    """Say that a run is on its way, and begin the next config."""
    waits = ", ".join(f"**{as_markdown(name)}**" for name in queue.going())
    st.session_state.train_launched = (
        f"**{as_markdown(folder.path.name)}** has started: its card is under Runs."
        if read_status(folder).state == "running"
        else f"**{as_markdown(folder.path.name)}** waits for {waits}: its card is under Runs."
    )
    start_from(new_text(current.config))
    st.rerun()


public = is_public()
if public:
    off("Training is off on this public page: it would take the machine from everyone else. Change what you like, see "
        "what it would cost, and download the YAML.", "python -m ddpm train --config my.yaml", "make app")  # fmt: skip
if not public and st.session_state.get("train_from", st.query_params.get("train_from")) != FILE:
    arrivals("train_from")
own = [] if public else own_images()
starts = [*own, *PRESETS, *(f"run:{folder.path.name}" for folder in shown_runs()), FILE]
first, second, third = st.columns([3, 3, 2], vertical_alignment="bottom")
start = first.selectbox(
    "Preset, images or run", starts, key="train_from", bind="query-params",
    help="A preset, images that you have sent, the config of an earlier run, or your own file. Choosing again discards "
    "your changes below.",
)  # fmt: skip
if start not in starts:  # a select box accepts whatever a browser sends
    start = starts[0]
upload = st.file_uploader("A config in YAML", ["yaml", "yml"], max_upload_size=1) if start == FILE else None
source = f"file {upload.file_id}" if upload else start
carried = st.query_params.get(CARRIED)
fresh, st.session_state.train_carried = carried not in (None, st.session_state.get("train_carried")), carried
if fresh or TEXT not in st.session_state or source not in (FILE, st.session_state.train_source):
    st.session_state.train_source = source
    try:
        if upload:
            start_from(text_of(upload))
        else:
            base = base_of(start)
            start_from(new_text(with_schedule(base, parse_schedule(carried)) if carried else base))
            if fresh:
                st.toast(f"Your schedule was copied into the {as_markdown(start)} preset; see the Schedule tab.")
    except DDPMError as error:
        show_error(error)
        st.session_state.train_source = None  # so that it is said again
        st.stop()

current = draft()
name = current.config.name if current.config else str(current.values.get("name") or "run")
name_faults = current.faults_of("name")
taken = not public and current.readable and not name_faults and RunFolder.named(name).path.exists()
if taken:
    name_faults = [Fault("name", "is taken by an earlier run")]
findings, obstacle = [], None
if current.config:
    try:
        findings = findings_of(current.config)
    except DDPMError as error:
        obstacle = error
launchable = current.config and not taken and not obstacle and all(finding.kind != "fault" for finding in findings)
put("train_name", name)
second.text_input(
    "Name of the run", **taking("train_name", lambda new: {"name": new}), disabled=not current.readable,
    help="Also the name of its folder: 1 to 64 of a-z, 0-9, - and _.",
)  # fmt: skip
again = start in own and last_learned_from(start)
runs_first = st.container()  # whoever comes back looks for the run that these images are in
if start in own:
    third = look_at(start, current.config)
label = "Train again" if again else "Looks right, start" if start in own else "Launch"
clicked = third.button(
    label, key="train_launch", type="primary", width="stretch",
    icon=":material/rocket_launch:",
    disabled=public or not launchable,
    help="Off on this public page." if public else None if launchable else "Correct what is listed below first.",
)  # fmt: skip
price = st.container() if start in own else None
# Both are always there: what follows keeps its place, and its open tab.
messages, findings_place = st.container(horizontal=True, vertical_alignment="center"), st.container()
for fault in name_faults:
    messages.markdown(f":red[The name {foreign(fault.message)}]", width="content")
if taken:
    free = queue.free_name(name)
    messages.button(f"Use {as_markdown(free)}", key="train_use_free", on_click=set_field, args=("name", free))
if places := dict.fromkeys(current.place(fault) for fault in current.faults if fault.field != "name"):
    messages.markdown(f":red[Fix before launching: {', '.join(places)}]")
with findings_place:
    if obstacle:
        show_error(obstacle)
    show_findings(findings, current)
if clicked and launchable and not public:
    launch(current.config)
if news := st.session_state.pop("train_launched", None):
    st.toast(news, icon=":material/rocket_launch:")

price = price or st.container()
base = None if start == FILE else base_of(start)
advanced = st.expander("Advanced: every field, and the config as YAML", icon=":material/tune:") if start in own else st
left, right = advanced.columns([3, 2], gap="large")
with left:
    form(current, base, origin_of(start))
with right:
    editor(current, height=520)
    st.session_state[STALE] = False  # all fields have been drawn
    st.download_button(
        "Download YAML", st.session_state[TEXT], f"{name}.yaml", "application/yaml", icon=":material/download:",
        on_click="ignore",
    )  # fmt: skip
    if current.config and base and (changed := differences(base, current.config)):
        with st.expander(f"Differs from {as_markdown(start)} in {len(changed)} field{'s' * (len(changed) > 1)}"):
            for field, (before, now) in changed.items():
                st.markdown(f"{as_code(field)}: {as_markdown(str(before))} → **{as_markdown(str(now))}**")
    if not public:
        rent(current.config if launchable else None, launched)

if not public or shown_runs():
    with runs_first if again else st.container():
        st.header("Runs", anchor=False)
        run_list()

about(
    r"""
Every field of a training is on this page. The network sees each training image `epochs` times, at random timesteps
$t$ and under fresh noise, and learns to predict a target $y$: the noise $\varepsilon$, the image $x_0$, or
$v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0$, as `prediction_type` says:

$$\min_\theta \; \mathbb E_{x_0, \varepsilon, t} w(t) \left\lVert y - f_\theta(x_t, t, c) \right\rVert^2$$

for a class $c$, or none. The weight $w$ is 1 unless `weighting` says otherwise; `loss` may choose another distance.

What is sampled later is the moving average of the weights. A run writes checkpoints as it goes: killed at any moment,
it resumes from the last one, and ends with exactly the weights of an uninterrupted run.
""",
    "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models, algorithm 1",
    "https://arxiv.org/abs/2006.11239",
    (
        "ema",
        "schedule",
        "prediction-type",
        "loss-weighting",
        "u-net",
        "class-conditional",
        "validation-loss",
        "checkpoint",
    ),
)

show_costs(None if obstacle else current.config, price)
