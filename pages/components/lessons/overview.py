"""The list of lessons."""

import streamlit as st

from ddpm.lessons.content import Lesson, lessons

from .place import answers_to, open_lesson

COLUMNS = 3


def show_overview() -> None:
    """A box for every lesson: what it is about, how long it takes, how far the visitor has come."""
    every = list(lessons().values())
    boxes = st.container(key="lessons_overview")
    for first in range(0, len(every), COLUMNS):
        for column, lesson in zip(boxes.columns(COLUMNS), every[first : first + COLUMNS], strict=False):
            with column, st.container(border=True, height="stretch"):
                _box(every.index(lesson) + 1, lesson)


def _box(number: int, lesson: Lesson) -> None:
    done, count = answers_to(lesson).done, len(lesson.cards)
    st.header(f"{number}. {lesson.heading}", anchor=False)
    st.caption(f"{lesson.minutes} minutes, {count} cards" + (f", {done} done" if done else ""))
    st.markdown("\n".join(f"- {each}" for each in lesson.asks))
    answers = answers_to(lesson).cards
    at = next((index for index, answer in enumerate(answers) if answer == "-"), 0)
    text = "Start" if not done else "Look at it again" if done == count else "Go on"
    st.button(text, key=f"lesson_start_{lesson.name}", type="primary" if not done else "secondary",
              on_click=open_lesson, args=(lesson, at), icon=":material/arrow_forward:")  # fmt: skip
