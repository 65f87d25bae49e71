"""The exhibits side by side, and their charts."""

import io
from collections.abc import Callable, Iterable

import streamlit as st
from PIL import Image

from ddpm.media.chart import Axis, Chart, Panel, Trace
from ddpm.media.figures import history_chart, run_colours
from ddpm.media.images import enlarge
from ddpm.training.history import History

from ..pictures import show
from .exhibits import SIDES, Exhibit

IN_A_ROW = 3


def enlarged(exhibit: Exhibit, side: str, share: float = 1.0) -> Image.Image:
    """The picture of a side, or the left part of it."""
    image = Image.open(io.BytesIO(exhibit.picture(side)))
    return enlarge(image.crop((0, 0, round(image.width * share), image.height)))


def gallery(shown: Iterable[Exhibit], closer: Callable[[str], None]) -> None:
    """Every exhibit with its wrong samples; ``closer`` is called with the title that is clicked."""
    every = list(shown)
    for first in range(0, len(every), IN_A_ROW):
        columns = st.columns(IN_A_ROW, gap="medium")
        for column, exhibit in zip(columns, every[first : first + IN_A_ROW], strict=False):
            with column.container(border=True, height="stretch"):
                show(enlarged(exhibit, "wrong", share=0.5), f"Samples: {exhibit.title}")
                st.button(exhibit.title, key=f"museum_{exhibit.kind}", on_click=closer, args=(exhibit.title,),
                          type="tertiary", icon=":material/search:")  # fmt: skip


def losses_chart(exhibit: Exhibit) -> Chart:
    """The training loss of both sides."""
    losses = {side: exhibit.measured[side]["losses"] for side in SIDES}
    records = {side: [{"step": step, "train_loss": loss} for step, loss in losses[side]] for side in SIDES}
    return history_chart({side: History(records[side], []) for side in SIDES}, "loss", smoothing=0.6)


def calibration_chart(exhibit: Exhibit) -> Chart:
    """The error of the predicted noise of both sides, in the colours of their losses."""
    tables, colours = {side: exhibit.measured[side]["calibration"] for side in SIDES}, run_colours(SIDES)
    traces = [
        Trace(table["timesteps"], table["mse"], side, colours[side], mark="circle") for side, table in tables.items()
    ]
    return Chart([Panel(traces, Axis(log=True))], Axis("t"))
