"""The pictures of experiments on the page: drawn once for all visitors, in turn."""

from html import escape

import streamlit as st

from ddpm.lessons.experiments import draw, models_of, work_of
from ddpm.lessons.figures import Figure, Row
from ddpm.lessons.kinds import Experiment
from ddpm.media.drawers import to_plotly

from ..models import cached_model, computing, identity
from ..shelf import Shelf

MOST_BYTES = 32_000_000
WIDE = 1.8  # times as wide as high: on a phone one to a line
PLOT = {"displayModeBar": False}

_ROWS: Shelf[tuple, tuple[Row, ...]] = Shelf(
    MOST_BYTES, lambda rows: sum(len(figure.data_uri) for row in rows for figure in row.figures if figure.image)
)


def rows_of(experiment: Experiment, place) -> tuple[Row, ...]:
    """The rows of an experiment, cached or drawn now; what is being done is told in ``place``.

    Raises:
        DDPMError: it cannot be drawn here.
    """
    models = {name: cached_model(name) for name in models_of(experiment)}
    key = (type(experiment).kind, experiment.model_dump_json(), *map(identity, models.values()))

    def make(tell) -> tuple[Row, ...]:
        steps = 0

        def waiting(text: str) -> None:
            tell(text)
            place.caption(text)

        def drawn() -> None:
            nonlocal steps
            steps += 1
            waiting(f"Drawing: {steps} steps")  # where Streamlit ends the script of a visitor who has left
            turn.give_way()

        with computing(next(iter(models), "lessons"), work_of(experiment, models.get), on_wait=waiting) as turn:
            return draw(experiment, drawn, models.get)

    found = _ROWS.get_or_make(key, make, lambda told: place.caption(str(told or "Drawing")))
    place.empty()
    return found


def show_rows(experiment: Experiment, key: str) -> None:
    """Draw an experiment into the page.

    Raises:
        DDPMError: it cannot be drawn here.
    """
    rows = rows_of(experiment, st.empty())
    for number, row in enumerate(rows):
        if any(figure.chart for figure in row.figures):
            _show_charts(row, f"{key}_{number}")
    pictures = [row for row in rows if all(figure.image for figure in row.figures)]
    if pictures:
        st.html(f'<div class="lesson">{"".join(map(_row, pictures))}</div>')


def _show_charts(row: Row, key: str) -> None:
    for number, (column, figure) in enumerate(zip(st.columns(len(row.figures)), row.figures, strict=True)):
        with column:
            st.markdown(f"**{figure.label}**")
            st.plotly_chart(to_plotly(figure.chart), key=f"lesson_chart_{key}_{number}", config=PLOT)
            if figure.facts:
                st.caption(figure.facts)


def _row(row: Row) -> str:
    label = f"<p>{escape(row.label)}</p>" if row.label else ""
    figures = "".join(_figure(row, figure) for figure in row.figures)
    if row.across:
        image = row.figures[0].image
        lines = " lines" if image.width > 0.9 * row.across * image.height else ""  # which are compared by column
        return f'{label}<div class="stack{lines}" style="--across:{row.across}">{figures}</div>'
    wide = " wide" if all(figure.image.width > WIDE * figure.image.height for figure in row.figures) else ""
    four = " four" if len(row.figures) == 4 else ""
    return f'{label}<div class="row{wide}{four}" style="--figures:{len(row.figures)}">{figures}</div>'


def _figure(row: Row, figure: Figure) -> str:
    alt = ", ".join(filter(None, (row.label, figure.label, figure.facts)))
    return (
        f'<figure><img src="{figure.data_uri}" alt="{escape(alt)}">'
        f"<figcaption><b>{escape(figure.label)}</b><br>{escape(figure.facts)}</figcaption></figure>"
    )
