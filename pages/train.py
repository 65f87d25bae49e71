"""The Train page: a config, what it will cost, a launch, and the runs."""

import re
from pathlib import Path

import streamlit as st

from ddpm.config import Config, config_to_yaml, differences, load_config
from ddpm.errors import DDPMError, Fault
from ddpm.files import RunFolder
from ddpm.training import jobs
from ddpm.training.runs import all_runs
from pages.components.config_form import TEXT, draft, editor, form, put, start_from, write
from pages.components.costs import show_costs
from pages.components.frame import about, page
from pages.components.runs import run_list

page("Train", "Choose a preset, change what you like, see what it will cost, and launch. A run goes on when you leave.")

PRESETS = {path.stem: path for path in sorted(Path(__file__).parents[1].glob("configs/*.yaml"))}
FILE = "a YAML file"


def base_of(start: str) -> Config:
    """The config of a preset, or of an earlier run; the first preset's while there is no file yet."""
    start = next(iter(PRESETS)) if start == FILE else start
    path = RunFolder.named(start.removeprefix("run:")).config if start.startswith("run:") else PRESETS[start]
    return load_config(path)


def new_text(config: Config) -> str:
    """A config as YAML, under a name that is free."""
    name = jobs.free_name(re.sub(r"-\d+$", "", config.name))
    return config_to_yaml(config.model_copy(update={"name": name}))


def launch(config: Config) -> None:
    try:
        folder = jobs.launch(config)
    except (DDPMError, OSError) as error:
        st.session_state.train_problem = str(error)
        return
    st.session_state.train_launched = folder.path.name
    start_from(new_text(config))


starts = [*PRESETS, *(f"run:{folder.path.name}" for folder in all_runs()), FILE]
first, second, third = st.columns([3, 3, 2], vertical_alignment="bottom")
start = first.selectbox(
    "Start from", starts, key="train_from", bind="query-params",
    help="A preset, the config of an earlier run, or your own file. Choosing anew discards what you changed below.",
)  # fmt: skip
upload = st.file_uploader("A config in YAML", ["yaml", "yml"]) if start == FILE else None
source = f"file {upload.file_id}" if upload else start
if TEXT not in st.session_state or source not in (FILE, st.session_state.train_source):
    st.session_state.train_source = source
    try:
        start_from(upload.getvalue().decode("utf-8", "replace") if upload else new_text(base_of(start)))
    except DDPMError as error:
        st.error(str(error))
        st.stop()

current = draft()
name = str(current.values.get("name", "run"))
taken = current.config is not None and RunFolder.named(name).path.exists()
name_faults = current.faults_of("name")
if taken:
    name_faults = [Fault("name", f"is taken by an earlier run: {jobs.free_name(name)} is free")]
put("train_name", name)
second.text_input(
    "Name of the run", key="train_name", disabled=not current.readable,
    on_change=lambda: write("name", st.session_state.train_name),
    help="Also the name of its folder: 1 to 64 of a-z, 0-9, - and _.",
)  # fmt: skip
third.button(
    "Launch", type="primary", icon=":material/rocket_launch:", key="train_launch", width="stretch",
    disabled=current.config is None or taken, on_click=launch, args=(current.config,),
    help="One run goes at a time unless DDPM_MAX_RUNS says otherwise; the others wait."
    if current.config
    else f"{len(current.faults)} to correct first: see under the YAML.",
)  # fmt: skip
messages = st.container()  # always there, so that what follows keeps its place
for fault in name_faults:
    messages.markdown(f":red[The name {fault.message}]")
if problem := st.session_state.pop("train_problem", None):
    messages.error(problem)
if launched := st.session_state.pop("train_launched", None):
    st.toast(
        f"**{launched}** is on its way: see it under Runs, and its curves on the Curves page.",
        icon=":material/rocket_launch:",
    )

price = st.container()
left, right = st.columns([3, 2], gap="large")
with left:
    form(current)
with right:
    editor(current, height=520)
    if current.config:
        st.download_button(
            "Download YAML", st.session_state[TEXT], f"{name}.yaml", "application/yaml", icon=":material/download:",
            on_click="ignore",
        )  # fmt: skip
        if start != FILE:
            changed = differences(base_of(start), current.config)
            with st.expander(f"Differs from {start} in {len(changed)} field{'' if len(changed) == 1 else 's'}"):
                for field, (before, now) in changed.items():
                    st.markdown(f"`{field}`: {before} → **{now}**")

st.subheader("Runs", anchor=False)
run_list()

about(
    r"""
Every field of a training is on this page. The network sees each training image `epochs` times, at random timesteps
$t$ and under fresh noise, and learns to predict what was added:

$$\min_\theta \; \mathbb E_{x_0, \varepsilon, t} \left\lVert \varepsilon - \varepsilon_\theta(x_t, t) \right\rVert^2.$$

What is sampled later is the moving average of the weights. A run writes checkpoints as it goes: killed at any moment,
it resumes from the last one, and ends with the same weights to the bit as if nothing had happened.
""",
    "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models, algorithm 1",
    "https://arxiv.org/abs/2006.11239",
)

show_costs(current.config, price)
