"""Where a visitor is, and what they answered: in the session, in the link, and in their browser.

The link has the answers to the lesson that is open. The browser's store has those to all lessons, and is asked once,
when a session begins; a link says more than the store, and the store is written only when the visitor answers.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import streamlit as st

from ddpm.errors import ConfigError
from ddpm.lessons.answers import Answers
from ddpm.lessons.content import Lesson, lesson_named, lessons

LESSON, CARD, ANSWERS = "lesson", "card", "answers"  # in the link
GIVEN = "lessons_given"  # in the session: the answers to each lesson that was opened
WRITTEN = "lessons_written"  # the link's answers as this page last wrote or read them
CHANGED = "lessons_changed"  # whether the visitor has answered, or forgotten, since the session began
ASKED = "lessons_asked"  # whether the browser has been asked what it remembers
FAULTS = "lessons_faults"  # what was wrong with the link, until the visitor goes on
MOST_REMEMBERED = 4000  # letters
_remember = st.components.v2.component(
    "ddpm_lessons", js=Path(__file__).parents[1].joinpath("static", "lessons.js").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Place:
    """A card of a lesson."""

    lesson: Lesson
    index: int

    @property
    def answers(self) -> Answers:
        return answers_to(self.lesson)

    @property
    def answer(self) -> str:
        return self.answers[self.index]

    def give(self, answer: str) -> None:
        """Answer this card, or with ``OPEN`` ask it again."""
        _given()[self.lesson.name] = self.answers.given(self.index, answer)
        st.session_state[CHANGED] = True
        self.go(self.index)

    def go(self, index: int) -> None:
        """Open a card of this lesson."""
        open_lesson(self.lesson, index)


def open_lesson(lesson: Lesson, index: int = 0) -> None:
    st.session_state.pop(FAULTS, None)
    _write(lesson, index)


def _write(lesson: Lesson, index: int) -> None:
    """Say in the link where the visitor is, and what they answered."""
    st.query_params[LESSON], st.query_params[CARD] = lesson.name, str(index + 1)
    if answers_to(lesson).done:
        st.query_params[ANSWERS] = str(answers_to(lesson))
    else:
        st.query_params.pop(ANSWERS, None)
    st.session_state[WRITTEN] = (lesson.name, st.query_params.get(ANSWERS))


def leave() -> None:
    """Go back to the list of lessons."""
    st.session_state.pop(FAULTS, None)
    _clear()


def _clear() -> None:
    for name in (LESSON, CARD, ANSWERS):
        st.query_params.pop(name, None)


def _given() -> dict[str, Answers]:
    return st.session_state.setdefault(GIVEN, {})


def answers_to(lesson: Lesson) -> Answers:
    found = _given().get(lesson.name)
    return found if found and len(found.cards) == len(lesson.cards) else Answers.none(len(lesson.cards))


def place_of_link() -> tuple[Place | None, list[str]]:
    """The card that the link asks for, None for the list of lessons; and what is wrong with the link.

    That is said until the visitor goes on: the page soon runs again, with what the browser remembered.
    """
    place, faults = _read()
    if faults:
        st.session_state[FAULTS] = faults
    return place, st.session_state.get(FAULTS, [])


def _read() -> tuple[Place | None, list[str]]:
    name, faults = st.query_params.get(LESSON), []
    if not name:
        return None, faults
    try:
        lesson = lesson_named(name)
    except ConfigError as error:
        _clear()
        return None, [str(error) if len(name) < 100 else "the link asks for an unknown lesson"]
    index, wrong = _card(lesson)
    said = st.query_params.get(ANSWERS)
    if said is not None and st.session_state.get(WRITTEN) != (lesson.name, said):
        try:
            _given()[lesson.name] = Answers.read(said, lesson.choices)
        except ConfigError as error:
            faults.append(str(error))
    _write(lesson, index)
    return Place(lesson, index), [*wrong, *faults]


def _card(lesson: Lesson) -> tuple[int, list[str]]:
    said = st.query_params.get(CARD, "1")
    if said.isascii() and said.isdecimal() and len(said) < 4 and 1 <= int(said) <= len(lesson.cards):
        return int(said) - 1, []
    return 0, [f"card={said[:20]!r} must be a number from 1 to {len(lesson.cards)}: this is the first"]


# -- the browser's store -------------------------------------------------------------------------------------------


def remember(place: Place | None) -> None:
    """Ask the browser once what it remembers, keep there what was answered since, and begin at the top of a new card.
    Call it last."""
    asks = not st.session_state.get(ASKED)
    st.session_state[ASKED] = True
    texts = {name: str(answers) for name, answers in _given().items() if answers.done}
    _remember(
        data={
            "ask": asks,
            "save": urlencode(texts) if st.session_state.get(CHANGED) else None,
            "at": f"{place.lesson.name} {place.index}" if place else "",
        },
        key="lessons_store",
        on_found_change=_recall,
    )


def _recall() -> None:
    """Take over what the browser remembered, but for lessons of which the session knows more, as from a link without
    answers."""
    found = st.session_state.lessons_store.get("found")
    if not isinstance(found, str) or len(found) > MOST_REMEMBERED:  # a browser may send anything
        return
    for name, text in parse_qsl(found, max_num_fields=100):
        if name not in lessons() or name in _given():
            continue
        try:
            _given()[name] = Answers.read(text, lessons()[name].choices)
        except ConfigError:
            fault = f"What this browser remembered of “{lessons()[name].heading}” does not fit it any more."
            st.session_state[FAULTS] = [*st.session_state.get(FAULTS, []), fault]
    if (name := st.query_params.get(LESSON)) in lessons():
        index, _ = _card(lessons()[name])
        _write(lessons()[name], index)


def forget() -> None:
    """Forget all answers, in the browser too."""
    _given().clear()
    st.session_state[CHANGED] = True
    st.query_params.pop(ANSWERS, None)
    st.session_state[WRITTEN] = None
