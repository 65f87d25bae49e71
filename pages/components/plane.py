"""The plane on a page: what a walk of many points needs to be drawn in the browser."""

import base64
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from ddpm.deploy.static_page import ASSETS
from ddpm.diffusion import Denoiser, Prediction, make_denoiser
from ddpm.media.chart import PALETTE, Axis, Chart, Panel, Trace
from ddpm.media.strokes import UNIT, Stroke, read_strokes, strokes_text
from ddpm.plane import (
    KERNELS,
    MLP,
    NOISE,
    Mixture,
    Points,
    even_noise,
    law_of,
    sample_data,
    sliced_wasserstein,
    train,
    walk,
)
from ddpm.samplers import SAMPLERS
from ddpm.schedule import NoiseSchedule, make_schedule
from ddpm.spacing import spaced_timesteps

from .models import computing

EXTENT = 2.6  # half of the plane's side that is shown
REACH = 1.6  # half of the side that can be drawn on
OWN = "own:"
LOOK, BEGUN = "plane_look", "plane_begun"
PARTICLES, COMPARED = 600, 2000  # points that are drawn, and those whose distance to the data is measured
FIELD, DENSITY = 15, 56  # cells of the field and of the density along a side
T = 1000
_plane = st.components.v2.component(
    "ddpm_plane", **{kind: (ASSETS / f"paths.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
)


@dataclass(frozen=True)
class Walk:
    """How points walk."""

    sampler: str
    num_steps: int
    schedule: str = "linear"

    @property
    def label(self) -> str:
        flow = ", rectified flow" if self.schedule == "rectified" else ""
        return f"{SAMPLERS[self.sampler].label}, {self.num_steps} step{'s' * (self.num_steps > 1)}{flow}"


WALKS = {
    walk.label: walk
    for walk in (
        *(Walk("ddim", n) for n in (1, 3, 5, 10, 50, 200)),
        *(Walk("ddpm", n) for n in (10, 50, 200)),
        *(Walk("heun", n) for n in (5, 10)),
        *(Walk("dpmpp_2m", n) for n in (5, 10)),
        *(Walk("ddim", n, "rectified") for n in (1, 5, 50)),
    )
}
GUIDED = Walk("ddim", 50)
COMPARED_EVENLY = 4096  # points that the guidance curve is measured with, spread evenly over noise and data
ALWAYS = (0, T - 1)
TABLE_STEPS = (5, 10, 20, 50)
REFLOWED = Walk("ddim", 1, "rectified")
PAIRS, REFLOW_STEPS = 5000, 4000
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def own_data(strokes: Sequence[Stroke]) -> str:
    """The name of data that somebody drew."""
    return OWN + strokes_text(strokes)


def data_of(name: str, count: int, seed: int = 0) -> Points:
    """Points of a preset; or along strokes, which are of class 0 and 1 in turn."""
    if not name.startswith(OWN):
        return sample_data(name, count, seed)
    pieces = [
        (start, end, number % 2)
        for number, (_, points) in enumerate(read_strokes(name.removeprefix(OWN)))
        for start, end in (pairwise(points) if len(points) > 1 else [(points[0], points[0])])
    ]
    ends = torch.tensor([[start, end] for start, end, _ in pieces], dtype=torch.float32) / UNIT
    ends = (ends - 0.5) * torch.tensor([1.0, -1.0]) * 2 * REACH
    generator = torch.Generator().manual_seed(seed)
    lengths = (ends[:, 1] - ends[:, 0]).norm(dim=1) + NOISE
    chosen = torch.multinomial(lengths, count, replacement=True, generator=generator)
    along = torch.rand(count, 1, generator=generator)
    x = ends[chosen, 0] + along * (ends[chosen, 1] - ends[chosen, 0])
    x = x + NOISE * torch.randn(count, 2, generator=generator)
    return Points(x, torch.tensor([label for *_, label in pieces])[chosen])


def truth(name: str) -> Mixture:
    """The exact law of some data: that of the mixture, or small Gaussians around points of a curve."""
    if name.startswith(OWN):
        return Mixture.of_points(data_of(name, KERNELS, seed=1), NOISE)
    return law_of(name)


@dataclass(frozen=True)
class Law:
    """What points are asked for: one class or all, and how strongly, within which timesteps."""

    name: str
    label: int | None = None
    scale: float = 1.0
    interval: tuple[int, int] = ALWAYS

    def denoiser(self, schedule: NoiseSchedule) -> Denoiser:
        """The exact one."""
        return truth(self.name).denoiser(schedule, self.label, self.scale, self.interval)


@st.cache_resource(show_spinner="Walking", max_entries=64)
def view(law: Law, asked: Walk, shows: str) -> dict[str, Any]:
    """What the browser draws a walk from, by the exact denoiser."""
    return _view(law, law.denoiser(make_schedule(asked.schedule, T)), asked, shows, asked.label)


@st.cache_resource(show_spinner=False, max_entries=8)
def _learned(*asked: object) -> list[MLP]:
    """Stores a network; inside a cached function one could not wait for a turn."""
    return []


def _train(network: MLP, training: Iterator[float], steps: int, place: DeltaGenerator) -> MLP:
    bar = place.progress(0.0, "Training")
    with computing("plane", steps) as turn:
        for step, loss in enumerate(training, 1):
            turn.give_way()
            if step % 50 == 0 or step == steps:
                bar.progress(step / steps, f"Training: step {step:,} of {steps:,}, loss {loss:.3f}")
    place.empty()
    return network.eval()


def learned_view(law: Law, count: int, steps: int, shows: str, place: DeltaGenerator) -> dict[str, Any]:
    """What the browser draws a walk from, by a network that learned ``count`` points in so many steps, which ``place``
    shows."""
    schedule, kept = make_schedule("linear", T), _learned(law.name, count, steps)
    if not kept:
        torch.manual_seed(0)
        network = MLP(T, num_classes=2)
        kept[:] = [_train(network, train(network, data_of(law.name, count), schedule, steps), steps, place)]
    labels = None if law.label is None else torch.full((COMPARED,), law.label)
    title = f"learned from {count:,} points in {steps:,} steps, {GUIDED.label}"

    def denoise(x_t: Tensor, t: int) -> Prediction:
        named = None if labels is None else labels[: len(x_t)]
        return make_denoiser(kept[0], schedule, "v", named, null_label=2, guidance_scale=law.scale,
                             guidance_interval=law.interval, clip=False)(x_t, t)  # fmt: skip

    return _view(law, denoise, GUIDED, shows, title)


def reflowed_view(name: str, shows: str, place: DeltaGenerator) -> dict[str, Any]:
    """What the browser draws a walk of one step from, by a network that learned straight paths from each noise to the
    point that the exact flow makes of it (reflow, Liu et al. 2023)."""
    schedule, kept = make_schedule("rectified", T), _learned(name, "reflow")
    if not kept:
        flow, timesteps = Law(name).denoiser(schedule), spaced_timesteps(T, GUIDED.num_steps)
        steps = list(walk(SAMPLERS["ddim"].function, flow, schedule, timesteps, PAIRS, 1))
        made = Points(steps[-1].x0.flatten(1), torch.zeros(PAIRS, dtype=torch.long))
        torch.manual_seed(0)
        network = MLP(T)
        training = train(network, made, schedule, REFLOW_STEPS, noise=steps[0].x_t, prediction_type="u")
        kept[:] = [_train(network, training, REFLOW_STEPS, place)]
    denoise = make_denoiser(kept[0], schedule, "u", clip=False)
    return _view(Law(name), denoise, REFLOWED, shows, f"reflowed, {REFLOWED.label}")


def distance_of_data(law: Law) -> float:
    """How far two sets of as many fresh points are apart: as near as samples can come."""
    sets = (truth(law.name).sample(COMPARED, seed, law.label).x for seed in (0, 2))
    return sliced_wasserstein(*sets)


def _view(law: Law, denoise: Denoiser, asked: Walk, shows: str, title: str) -> dict[str, Any]:
    """The arrays of a walk, and how far its end is from fresh data."""
    mixture, label = truth(law.name), law.label
    schedule, timesteps = make_schedule(asked.schedule, T), spaced_timesteps(T, asked.num_steps)
    steps = list(walk(SAMPLERS[asked.sampler].function, denoise, schedule, timesteps, COMPARED))
    states = torch.stack([step.x_t.flatten(1) for step in steps])
    distance = sliced_wasserstein(states[-1], mixture.sample(COMPARED, 0, label).x)
    nearest = torch.cdist(states[-1, :PARTICLES], mixture.means).argmin(1)
    part = mixture if label is None else mixture.of_class(label)
    return {
        "title": f"{title}: distance to the data {distance:.3f}",
        "times": [step.t for step in steps],
        "alphaBars": [schedule.alpha_bar(step.t) for step in steps],
        "labels": mixture.labels[nearest].tolist(),
        "particles": _base64(states[:, :PARTICLES]),
        "field": _base64(torch.stack([_field(denoise, t) for t in timesteps])),
        "density": _base64(torch.stack([_density(part, schedule, step.t) for step in steps])),
        "shows": shows,
    }  # fmt: skip


def _grid(cells: int) -> Tensor:
    """The middles of cells x cells over what is shown, rows from below: (cells^2, 2)."""
    axis = (torch.arange(cells) + 0.5) * (2 * EXTENT / cells) - EXTENT
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def _field(denoise: Denoiser, t: int) -> Tensor:
    with torch.no_grad():
        return denoise(_grid(FIELD)[:, :, None, None], t).x0.flatten(1)


def _density(mixture: Mixture, schedule: NoiseSchedule, t: int) -> Tensor:
    """How dark every cell is, 0 to 255, rows from above: (DENSITY, DENSITY) uint8."""
    density = mixture.log_density(_grid(DENSITY), schedule, t).exp().view(DENSITY, DENSITY).flip(0)
    return (200 * density / density.max()).round().byte()


def _base64(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def begin_with(at: float, field: bool) -> None:
    """Which moment is shown next, from 0, noise, to 1, the result; and whether arrows are."""
    number, *_ = st.session_state.get(BEGUN, (0,))
    st.session_state[BEGUN] = number + 1, at, field, None


def show_plane(views: list[dict[str, Any]], points: Points) -> None:
    """Draw walks side by side. The link brings back the moment that is shown, and whether arrows are."""
    if not has_begun():
        begin_with(*_read_look(st.query_params.get(LOOK)))
    number, at, field, arrows = st.session_state[BEGUN]
    arrows = arrows or views[0]["shows"]
    st.session_state[BEGUN] = number, at, field, arrows
    data = {"views": views, "points": _base64(points.x), "id": str(number), "at": at, "field": field, "arrows": arrows}
    drawn = _plane(data=data, default={"look": ""}, key="plane_views", on_look_change=lambda: None)
    if drawn.look:
        at, field = _read_look(drawn.look)
        st.query_params[LOOK] = f"{at:g},{field:d}"


def has_begun() -> bool:
    """Whether this visitor has seen the plane before."""
    return BEGUN in st.session_state


def _read_look(text: object) -> tuple[float, bool]:
    """Of a link, or of a browser, which may send anything."""
    found = re.fullmatch(r"(0(?:\.\d{1,3})?|1(?:\.0{1,3})?),([01])", text) if isinstance(text, str) else None
    return (float(found[1]), found[2] == "1") if found else (1.0, False)


@st.cache_resource(show_spinner="Guiding", max_entries=16)
def distances_over_guidance(name: str, label: int, interval: tuple[int, int]) -> list[float]:
    """For every one of ``SCALES``, how far the samples end from the class's own law."""
    schedule, timesteps = make_schedule(GUIDED.schedule, T), spaced_timesteps(T, GUIDED.num_steps)
    noise, data = even_noise(COMPARED_EVENLY), truth(name).evenly(COMPARED_EVENLY, label)
    ends = (
        deque(walk(SAMPLERS[GUIDED.sampler].function, Law(name, label, scale, interval).denoiser(schedule), schedule,
                   timesteps, COMPARED_EVENLY, first=noise), maxlen=1).pop().x0.flatten(1)
        for scale in SCALES
    )  # fmt: skip
    return [sliced_wasserstein(end, data) for end in ends]


def guidance_chart(name: str, label: int, interval: tuple[int, int]) -> Chart:
    curves = {"at all t": ALWAYS} | ({f"t = {interval[0]} to {interval[1]}": interval} if interval != ALWAYS else {})
    traces = [
        Trace(SCALES, distances_over_guidance(name, label, each), words, PALETTE[k], mark="circle",
              hover="w = %{x}: %{y:.3f}")
        for k, (words, each) in enumerate(curves.items())
    ]  # fmt: skip
    return Chart(
        [Panel(traces, Axis("distance to the data of the class", with_zero=True))],
        Axis("guidance scale"),
        height=280,
        legend="above",
    )


@st.cache_resource(show_spinner="Walking", max_entries=16)
def table_of_distances(name: str) -> dict[str, list[str]]:
    """How far each sampler ends from the data in so many steps, beside how far two fresh sets of data are apart."""
    mixture, schedule = truth(name), make_schedule(GUIDED.schedule, T)
    fresh, denoise = mixture.sample(COMPARED, 0).x, mixture.denoiser(schedule)

    def distance(sampler: str, steps: int) -> str:
        timesteps = spaced_timesteps(T, steps)
        *_, end = walk(SAMPLERS[sampler].function, denoise, schedule, timesteps, COMPARED, 1)
        return f"{sliced_wasserstein(end.x0.flatten(1), fresh):.3f}"

    rows = {SAMPLERS[name].label: [distance(name, steps) for steps in TABLE_STEPS] for name in SAMPLERS}
    floor = sliced_wasserstein(mixture.sample(COMPARED, 2).x, fresh)
    return {"sampler": [*rows, "fresh data"]} | {
        f"{steps} steps": [*(row[k] for row in rows.values()), f"{floor:.3f}"] for k, steps in enumerate(TABLE_STEPS)
    }
