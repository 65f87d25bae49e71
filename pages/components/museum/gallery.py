"""The exhibits side by side, and their charts."""

import io
from collections.abc import Callable, Iterable

import streamlit as st
from PIL import Image

from ddpm.media.chart import PALETTE, Axis, Chart, Panel, Trace
from ddpm.media.images import enlarge

from ..pictures import show
from .exhibits import SIDES, Exhibit

IN_A_ROW = 3
COLOURS = {"right": PALETTE[2], "wrong": PALETTE[3]}


def picture(exhibit: Exhibit, side: str) -> Image.Image:
    """Twenty samples in two rows."""
    return Image.open(io.BytesIO(exhibit.picture(side)))


def beside(exhibit: Exhibit, count: int = 5) -> Image.Image:
    """The first samples of both sides, the right ones in the row above."""
    right, wrong = (picture(exhibit, side) for side in ("right", "wrong"))
    gap = 2
    cell = (right.width - gap) // 10
    row = (0, 0, count * cell + gap, cell + gap)
    both = Image.new(right.mode, (row[2], 2 * cell + gap), 128)
    both.paste(right.crop(row))
    both.paste(wrong.crop(row), (0, cell))
    return enlarge(both)


def halves(exhibit: Exhibit, side: str) -> Image.Image:
    """The samples of a side in four rows of five, which is large enough for the eye."""
    image = picture(exhibit, side)
    gap = 2
    width = (image.width - gap) // 2
    stacked = Image.new(image.mode, (width + gap, 2 * image.height - gap), 128)
    for half in range(2):
        part = image.crop((half * width, 0, half * width + width + gap, image.height))
        stacked.paste(part, (0, half * (image.height - gap)))
    return enlarge(stacked)


def gallery(shown: Iterable[Exhibit], closer: Callable[[str], None]) -> None:
    """Every exhibit with its samples; ``closer`` is called with the title that is clicked."""
    every = list(shown)
    for first in range(0, len(every), IN_A_ROW):
        columns = st.columns(IN_A_ROW, gap="medium")
        for column, exhibit in zip(columns, every[first : first + IN_A_ROW], strict=False):
            with column.container(border=True, height="stretch"):
                show(beside(exhibit), f"Samples: above right, below wrong. {exhibit.title}")
                st.button(exhibit.title, key=f"museum_{exhibit.kind}", on_click=closer, args=(exhibit.title,),
                          type="tertiary", icon=":material/search:")  # fmt: skip


def losses_chart(exhibit: Exhibit) -> Chart:
    """The training loss of both sides."""
    losses = {side: exhibit.measured[side]["losses"] for side in SIDES}
    traces = [Trace(*zip(*losses[side], strict=True), side, COLOURS[side]) for side in SIDES]
    return Chart([Panel(traces, Axis(log=True))], Axis("step"))


def calibration_chart(exhibit: Exhibit) -> Chart:
    """The error of the predicted noise of both sides, in the colours of their losses."""
    tables = {side: exhibit.measured[side]["calibration"] for side in SIDES}
    traces = [
        Trace(table["timesteps"], table["mse"], side, COLOURS[side], mark="circle") for side, table in tables.items()
    ]
    return Chart([Panel(traces, Axis(log=True))], Axis("t"))
