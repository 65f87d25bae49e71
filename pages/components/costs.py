"""What a training will cost, on a page."""

from typing import Any

import streamlit as st

from ddpm.config import Config, config_to_yaml
from ddpm.deploy.public import check_config, is_public
from ddpm.errors import DDPMError
from ddpm.jobs import threads_per_run
from ddpm.quantities import span
from ddpm.training import queue
from ddpm.training.estimate import Estimate, as_costly, estimate, free_memory, measure_speed

from .models import computing
from .preflight import known_of
from .public import show_error


@st.cache_resource(show_spinner=False, max_entries=64)
def _kept(what: str, of: str) -> list[Any]:
    """Stores what is known about a config. Inside a cached function one could not wait for a turn."""
    return []


def _estimate(config: Config) -> Estimate:
    kept = _kept("estimate", f"{config_to_yaml(config)}{known_of(config.data)}")
    if not kept:
        with computing("estimate"):  # five seconds for the largest network that a config can ask for
            kept[:] = [estimate(config)]
    return kept[0]


def _speed(config: Config) -> float | None:
    """Images per second on this machine; None in public mode, where nothing is trained, and while a run is going, since
    it and the measurement would slow each other."""
    kept = _kept("speed", f"{config_to_yaml(_speed_depends_on(config))}{known_of(config.data)}")
    if not (kept or is_public() or queue.going()):
        with computing("speed", threads=threads_per_run()):
            kept[:] = [measure_speed(config)]
    return kept[0] if kept else None


def show_costs(config: Config | None, place) -> None:
    """Parameters, work, memory, steps and time of a training, dashes without a config; the time is filled in last,
    since it is measured."""
    told = rate = None
    cells = place.container(horizontal=True, gap="medium")
    time = cells.empty()
    try:
        if config:
            check_config(config)
            told = _estimate(config)
    except DDPMError as error:
        show_error(error, place)
    for label, value, meaning in (
        ("Parameters", told and f"{told.parameters / 1e6:.2f} M", "Weights of the network."),
        (
            "Work per image",
            told and f"{told.macs / 1e9:.3g} GMAC",
            "Billions of multiply-accumulates of one network evaluation of one image. A training step takes three "
            "times that for each image; a sample takes it at every step, twice under guidance.",
        ),
        (
            "Memory",
            told and f"{told.memory / 1e9:.2f} GB",
            "Tensors at the peak of a step: weights, gradients, AdamW's moments, the average, and what the backward "
            "pass needs of the images of a step. The process and its kernels take a few hundred MB more.",
        ),
        (
            "Steps",
            told and f"{told.steps:,}",
            "Epochs × whole batches in an epoch" + (f"; a step has {told.images_per_step:,} images." if told else "."),
        ),
    ):
        cells.metric(label, value or "–", help=meaning, width="content")
    if is_public():
        meaning = "The same page measures it on a machine of your own."
        time.metric("Time here", "–", help=meaning, width="content")
        return
    if told and told.memory > (free := free_memory(config)):  # measuring it could crash this server
        place.warning(
            f"This training needs {told.memory / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free here now: "
            "lower base_channels under Model, or batch_size under Training."
        )
    elif told:
        time.metric("Time here", "measuring", help="A few real steps on this machine.", width="content")
        rate = _speed(config)
    meaning = "Of the training steps alone; measured on this machine while no run is going and memory suffices."
    if rate:
        meaning = (
            f"Of the training steps at {rate:,.0f} images/s, the median of a few real ones here; validation and "
            "sample grids come on top."
        )
    time.metric("Time here", f"≥ {span(told.images / rate)}" if rate else "–", help=meaning, width="content")


def _speed_depends_on(config: Config) -> Config:
    """The config without what does not affect the speed, so that another name or seed needs no new measurement."""
    training = config.training.model_dump(include={"batch_size", "precision", "device"})
    return Config(data=config.data, model=as_costly(config.model), diffusion=config.diffusion, schedule=config.schedule,
                  training=training, sampling={"num_steps": 1})  # fmt: skip
