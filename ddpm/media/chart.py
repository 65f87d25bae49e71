"""What a chart shows, whichever library draws it: ``drawers`` has one for the pages and one for files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Okabe & Ito's colour-blind-safe hues as in .streamlit/config.toml, where the reasons stand.
PALETTE = ("#655DA8", "#E17702", "#348266", "#A94422", "#009BF4", "#AC8AA1")


def colour_of(number: int) -> str:
    """The colour of the so-and-so-many-th thing; after the last the first comes again."""
    return PALETTE[number % len(PALETTE)]


# Plotly's name: matplotlib's.
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
MARKS = {"circle": "o", "diamond": "D", "square": "s", "triangle-up": "^", "x-thin-open": "x"}


@dataclass(frozen=True)
class Trace:
    """Points that are joined by a line, marked, or both; lengths are in pixels."""

    x: Sequence[float]
    y: Sequence[float]  # not-a-number is a gap
    label: str = ""
    colour: str = PALETTE[0]
    dash: Literal["solid", "dash", "dot", "dashdot", ""] = "solid"  # "" joins nothing
    width: float = 2
    mark: Literal["circle", "diamond", "square", "triangle-up", "x-thin-open", ""] = ""  # "" marks nothing
    size: float = 6
    opacity: float = 1
    error: Sequence[float] | None = None  # half the width of the interval around each y
    hover: str = "%{y:.4g}"  # what the mouse reads off, as a template of Plotly; "" is nothing
    hover_data: Sequence[Any] | None = None  # a row for every point, which the template calls customdata


@dataclass(frozen=True)
class Axis:
    label: str = ""
    log: bool = False
    percent: bool = False
    with_zero: bool = False  # however far from 0 the values are
    reversed: bool = False
    ticks: Sequence[float] = ()  # these alone
    names: Sequence[str] = ()  # of the ticks, in place of their numbers
    range: tuple[float, float] | None = None
    visible: bool = True


@dataclass(frozen=True)
class Panel:
    traces: Sequence[Trace]
    y: Axis = Axis()
    title: str = ""
    meaning: str = ""  # of the title, in HTML: a page has room for it beside the title, a file has not


@dataclass(frozen=True)
class Chart:
    """Panels over one x axis: below one another on a page, in ``columns`` in a file."""

    panels: Sequence[Panel]
    x: Axis
    hover: str = "x unified"  # Plotly's hovermode
    legend: str = ""  # on a page: "above" or "right"; "" where the page has its own. A file names what has a label
    height: int = 300  # on a page, in pixels
    columns: int = 1
