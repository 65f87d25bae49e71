"""Branching: go on from a state of a walk several times, and see what was decided by then."""

from functools import partial
from typing import NamedTuple

import streamlit as st
from torch import Tensor

from ddpm import editing
from ddpm.config import SamplingConfig
from ddpm.evaluation.intervals import wilson
from ddpm.media.chart import Axis, Chart, Panel, Trace
from ddpm.media.drawers import to_plotly
from ddpm.media.images import to_uint8
from ddpm.models import Model
from ddpm.sampling import sample
from ddpm.spacing import spaced_timesteps

from ..drawn import drawn_once, whole_walk
from ..models import identity
from .asked import BOUND, INSTEAD, one, pick_labels, pick_seed, read, reads, settings_of, show_answers

STEPS = 20
CHILDREN = 8
LEVELS = 3
COUNTED, MOMENTS = 24, 6  # children of each of so many moments, for the curve


def branch_tool(model: Model) -> None:
    if model.config.model.step_counts:
        st.info("A distilled model adds no noise on its way, so that all branches would be one. Choose its teacher, or "
                "any other model.", icon=":material/speed:")  # fmt: skip
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels, seed = pick_labels(model, "branch", "Class"), pick_seed("branch", "Seed of the root", roll=True)
    settings = settings_of(model, STEPS, sampler="ddpm")
    timesteps = spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)
    walk = partial(sample, model, 1, labels=labels or None, settings=settings, seed=seed)
    family = "branch", identity(model), str(labels), seed
    (states,) = drawn_once(family, model, 2 * STEPS, [walk], "Drawing", "this", INSTEAD, whole_walk)
    states = states[:, 0]
    followed: Followed | None = Followed(states, timesteps, family)
    for level in range(1, LEVELS + 1):
        followed = followed and _level(model, level, followed, labels, settings)
    if reads(model):
        _when_decided(model, states, timesteps, labels, settings, family)


class Followed(NamedTuple):
    """A walk: its states (S + 1, C, H, W), the last its image, the timesteps of the others, and what names it."""

    states: Tensor
    timesteps: list[int]
    name: tuple


def _level(model: Model, level: int, walk: Followed, labels: list[int], settings: SamplingConfig) -> Followed | None:
    """A level of the tree: where its branches leave a walk, and the branches; returns the one that is followed, if
    any."""
    if len(walk.timesteps) < 2:
        return None
    middle = walk.timesteps[int(0.4 * len(walk.timesteps))]
    t = st.select_slider(
        "Branch at t" if level == 1 else "Branch again at t", walk.timesteps, middle, key=f"branch_t{level}",
        help="The timestep of the walk from which on every branch has noise of its own.", **BOUND,
    )  # fmt: skip
    place = walk.timesteps.index(t)
    name = (*walk.name, t)
    left, right = st.columns([1, 2], gap="large")
    with left:
        one(to_uint8(walk.states[place]), f"The state at t = {t}")
    with right:
        branches = _grown(model, walk.states[place], walk.timesteps[place:], CHILDREN, labels, settings, name)
        show_answers(model, f"branches{level}", to_uint8(branches[-1]))
    if level == LEVELS:
        return None
    follow = st.pills("Follow branch", list(range(1, CHILDREN + 1)), key=f"branch_follow{level}", **BOUND)
    return Followed(branches[:, follow - 1], walk.timesteps[place:], (*name, follow)) if follow else None


def _grown(
    model: Model,
    state: Tensor,
    timesteps: list[int],
    count: int,
    labels: list[int],
    settings: SamplingConfig,
    name: tuple,
) -> Tensor:
    """The walks of ``count`` branches from a state, (S + 1, count, C, H, W)."""
    rest = settings.model_copy(update={"num_steps": len(timesteps)})
    make = partial(editing.branch, model, state[None], timesteps[0], count, labels=labels or None, settings=rest,
                   seed=len(name))  # fmt: skip
    work = 2 * count * len(timesteps)
    (walks,) = drawn_once((*name, count), model, work, [make], "Growing", "this", INSTEAD, whole_walk)
    return walks


def _when_decided(
    model: Model, states: Tensor, timesteps: list[int], labels: list[int], settings: SamplingConfig, name: tuple
) -> None:
    """How many branches stay the digit of their root, over the timestep at which they leave it."""
    st.header("When is it decided?", anchor=False)
    if not st.toggle(f"Grow {COUNTED} branches at each of {MOMENTS} timesteps", key="branch_count", **BOUND):
        return
    digit = read(states[-1:])[0]
    places = [round(k * (len(timesteps) - 1) / (MOMENTS - 1)) for k in range(MOMENTS)]
    same = []
    for place in places:
        branches = _grown(model, states[place], timesteps[place:], COUNTED, labels, settings, (*name, timesteps[place]))
        same.append(sum(each == digit for each in read(branches[-1])))
    ends = [wilson(count / COUNTED, COUNTED) for count in same]
    trace = Trace([timesteps[place] for place in places], [(low + high) / 2 for low, high in ends], mark="circle",
                  error=[(high - low) / 2 for low, high in ends], hover_data=same,
                  hover=f"t = %{{x}}: %{{customdata}} of {COUNTED}<extra></extra>")  # fmt: skip
    across = Axis("t at which the branches leave the root", reversed=True)
    up = Axis(f"read as {digit}, as the root", percent=True, range=(0, 1.02))
    chart = Chart([Panel([trace], up)], across, hover="closest", height=280)
    st.plotly_chart(to_plotly(chart), key="branch_plot", config={"displayModeBar": False})
    st.caption(
        "Bars: 95 % intervals (Wilson 1927). At T - 1 a branch is another image altogether; from where nearly all "
        "agree, the digit was decided, and later steps only settle its edges."
    )
