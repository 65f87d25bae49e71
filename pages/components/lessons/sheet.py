"""The answer sheet, to take along: made when its button is pressed."""

import streamlit as st

from ddpm.lessons.answers import OPEN
from ddpm.lessons.sheet import sheet_html, sheet_markdown

from ..models import in_turn
from .pictures import rows_of
from .place import Place

FILES = (("HTML", sheet_html, "html", "text/html"), ("Markdown", sheet_markdown, "md", "text/markdown"))


class _Nowhere:
    """A place on a page where nothing is shown: a download has no page."""

    def caption(self, text: str) -> None:
        pass

    def empty(self) -> None:
        pass


def answer_sheets(place: Place) -> None:
    """Buttons for the answer sheet of a lesson."""
    lesson, answers = place.lesson, place.answers

    def needed() -> tuple:
        drawn = {
            index: rows_of(card.experiment, _Nowhere())
            for index, card in enumerate(lesson.cards)
            if answers[index] != OPEN
        }
        return lesson, answers, drawn

    with st.expander("Answer sheet", icon=":material/assignment:"):
        st.caption(
            f"The questions, your {answers.done} answers, what came and why, with the pictures. Print the HTML file "
            "from your browser for a PDF."
        )
        with st.container(horizontal=True):
            for label, make, ending, kind in FILES:
                name, key = f"lesson-{lesson.name}.{ending}", f"lesson_sheet_{ending}"
                st.download_button(label, in_turn(make, needed), name, kind, on_click="ignore", key=key,
                                   disabled=not answers.done)  # fmt: skip
