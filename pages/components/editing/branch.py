"""Branching: go on from a state of a walk several times, and see what was decided by then."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import streamlit as st
from torch import Tensor

from ddpm import editing
from ddpm.config import SamplingConfig
from ddpm.evaluation.intervals import wilson
from ddpm.media.chart import PALETTE, Axis, Chart, Panel, Trace
from ddpm.media.drawers import to_plotly
from ddpm.media.images import to_uint8
from ddpm.media.schedule_figures import axis, places
from ddpm.models import Model
from ddpm.sampling import sample
from ddpm.spacing import spaced_timesteps

from ..decided import average
from ..drawn import drawn_once, whole_walk
from ..models import identity
from ..sampling import settings_python
from ..schedules import pick_axis
from .asked import (
    BOUND,
    INSTEAD,
    as_code,
    asked_words,
    one,
    pick_labels,
    pick_seed,
    read,
    reads,
    settings_of,
    show_answers,
)

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
    tree = Tree(model, labels, settings_of(model, STEPS, sampler="ddpm"), seed)
    root = tree.root()
    followed: Walk | None = root
    for level in range(1, LEVELS + 1):
        followed = followed and _level(tree, level, followed)
    if reads(model):
        _when_decided(tree, root)


class Walk(NamedTuple):
    """The states of a walk (S + 1, C, H, W), the last its image; the timesteps of the others; and what names it."""

    states: Tensor
    timesteps: list[int]
    name: tuple


@dataclass(frozen=True)
class Tree:
    """How walks are drawn."""

    model: Model
    labels: list[int]
    settings: SamplingConfig
    seed: int

    def root(self) -> Walk:
        name = "branch", identity(self.model), str(self.labels), self.seed
        make = partial(sample, self.model, 1, labels=self.labels or None, settings=self.settings, seed=self.seed)
        (states,) = drawn_once(name, self.model, 2 * STEPS, [make], "Drawing", "this", INSTEAD, whole_walk)
        settings = self.settings
        timesteps = spaced_timesteps(self.model.schedule.num_timesteps, settings.num_steps, settings.spacing)
        return Walk(states[:, 0], timesteps, name)

    def grow(self, walk: Walk, t: int, count: int) -> Tensor:
        """The walks of ``count`` branches that leave another at t, (S + 1, count, C, H, W)."""
        place = walk.timesteps.index(t)
        rest = self.settings.model_copy(update={"num_steps": len(walk.timesteps) - place})
        make = partial(editing.branch, self.model, walk.states[place][None], t, count, labels=self.labels or None,
                       settings=rest, seed=self.seed + 1)  # fmt: skip
        work, name = 2 * count * rest.num_steps, (*walk.name, t, count)
        (walks,) = drawn_once(name, self.model, work, [make], "Growing", "this", INSTEAD, whole_walk)
        return walks


def _level(tree: Tree, level: int, walk: Walk) -> Walk | None:
    """A level of the tree: where its branches leave a walk, and the branches; returns the one that is followed, if
    any."""
    if len(walk.timesteps) < 2:
        return None
    middle, key = walk.timesteps[int(0.4 * len(walk.timesteps))], f"branch_t{level}"
    if st.session_state.get(key, middle) not in walk.timesteps:  # chosen before the walk above was cut later
        del st.session_state[key]
    t = st.select_slider(
        "Branch at t" if level == 1 else "Branch again at t", walk.timesteps, middle, key=key,
        help="The timestep of the walk from which on every branch has noise of its own.", **BOUND,
    )  # fmt: skip
    place = walk.timesteps.index(t)
    left, right = st.columns([1, 2], gap="large")
    with left:
        one(to_uint8(walk.states[place]), f"The state at t = {t}")
    with right:
        branches = tree.grow(walk, t, CHILDREN)
        show_answers(tree.model, f"branches{level}", to_uint8(branches[-1]))
    if level == 1:
        _code(tree, t)
    if level == LEVELS:
        return None
    follow = st.pills("Follow branch", list(range(1, CHILDREN + 1)), key=f"branch_follow{level}", **BOUND)
    return Walk(branches[:, follow - 1], walk.timesteps[place:], (*walk.name, t, follow)) if follow else None


def _code(tree: Tree, t: int) -> None:
    labels, seed = tree.labels or None, tree.seed
    as_code(
        tree.model,
        ["branch", "--at", t, "--num-samples", CHILDREN, *asked_words(tree.model, tree.labels, tree.settings),
         "--seed", seed, "--out", "branches.png"],
        [f"settings = {settings_python(tree.settings)}",
         f"walk = list(ddpm.sample(model, 1, labels={labels}, settings=settings, seed={seed}))",
         f"root = next(step for step in walk if step.t == {t})",
         "rest = settings.model_copy(update={'num_steps': len(walk) - 1 - root.index})",
         f"steps = editing.branch(model, root.x_t, {t}, {CHILDREN}, labels={labels}, settings=rest, seed={seed + 1})",
         "enlarge(make_grid(to_uint8(last(steps).x0), columns=4)).save('branches.png')"],
    )  # fmt: skip


def _when_decided(tree: Tree, root: Walk) -> None:
    """How many branches stay the digit of their root, over the timestep at which they leave it."""
    st.header("When is it decided?", anchor=False)
    counted, digit = [], read(root.states[-1:])[0]
    if found := average(tree.model):
        same = found.given if tree.labels else found.none
        label = f"{found.roots} roots, {'their class given' if tree.labels else 'no class given'}"
        counted.append((found.times, same, found.of, label, PALETTE[2]))
    if st.toggle(f"Grow {COUNTED} branches of this root at each of {MOMENTS} timesteps", key="branch_count", **BOUND):
        last = len(root.timesteps) - 1
        times = [root.timesteps[round(k * last / (MOMENTS - 1))] for k in range(MOMENTS)]
        same = [sum(each == digit for each in read(tree.grow(root, t, COUNTED)[-1])) for t in times]
        counted.append((times, same, COUNTED, f"this root, a {digit}", PALETTE[0]))
    if not counted:
        return
    over = pick_axis("branch_over")
    traces = [_curve(places(tree.model.schedule, over), *each) for each in counted]
    up = Axis("read as the digit of their root", percent=True, range=(0, 1.02))
    chart = Chart([Panel(traces, up)], axis(over, reverse=True), hover="closest", height=300, legend="above")
    st.plotly_chart(to_plotly(chart), key="branch_plot", config={"displayModeBar": False})
    st.caption(
        "Over the moment at which the branches leave the root. Bars: 95 % intervals (Wilson 1927). At T - 1 a branch "
        "is another image altogether; from where nearly all agree, the digit was decided, and later steps only settle "
        "its edges."
    )


def _curve(at: np.ndarray, times: list[int], same: list[int], of: int, label: str, colour: str) -> Trace:
    ends = [wilson(count / of, of) for count in same]
    said = [*zip(times, same, strict=True)]
    return Trace(at[times], [(low + high) / 2 for low, high in ends], label, colour, mark="circle",
                 error=[(high - low) / 2 for low, high in ends], hover_data=said,
                 hover=f"t = %{{customdata[0]}}: %{{customdata[1]}} of {of}")  # fmt: skip
