"""One card: the question, then, once it is answered, what came and why."""

from urllib.parse import parse_qsl

import streamlit as st

from ddpm.errors import DDPMError
from ddpm.lessons.answers import LETTERS, OPEN, SHOWN
from ddpm.lessons.content import Card, Visit, lessons, plain

from ..frame import glossary, projected, shown_pages
from ..public import show_error
from .pictures import show_rows
from .place import Place, leave, open_lesson


def show_card(place: Place) -> None:
    """The card, its answer if there is one, and the ways to the other cards."""
    card = place.lesson.cards[place.index]
    _head(place)
    with st.container(border=True, key="lesson_card"):
        st.subheader(card.heading, anchor=False)
        st.markdown(plain(card.setup))
        _question(place, card)
        if place.answer != OPEN:
            _answer(place, card)
    _ways(place)
    if card.words:
        with st.expander("Words on this card", icon=":material/menu_book:"):
            st.markdown("\n".join(f"- {glossary()[word]}" for word in card.words))


def _head(place: Place) -> None:
    """Where one is: the lesson, and all its cards to choose from."""
    count = len(place.lesson.cards)
    st.session_state.lesson_at = place.index + 1
    lesson = place.lesson.heading + " · " if projected() else ""  # which has no heading there
    with st.container(horizontal=True, vertical_alignment="center", key="lesson_head"):
        st.button("All lessons", icon=":material/list:", key="lesson_list", type="tertiary", on_click=leave)
        st.segmented_control(
            "Card", range(1, count + 1), key="lesson_at", label_visibility="collapsed", required=True,
            on_change=lambda: place.go(st.session_state.lesson_at - 1),
        )  # fmt: skip
        st.caption(f"{plain(lesson)}Card {place.index + 1} of {count} · {place.answers.done} done", width="content")


def _question(place: Place, card: Card) -> None:
    """The choices to take from; once one has been taken, what they were."""
    question = f"**{plain(card.question)}**"
    if place.answer != OPEN:
        st.markdown(
            "\n".join([question, "", *(_choice(place, card, letter) for letter in LETTERS[: len(card.choices)])])
        )
        return
    chosen = st.radio(
        question, range(len(card.choices)), index=None, key=f"lesson_choice_{place.lesson.name}_{place.index}",
        format_func=lambda number: f"{LETTERS[number]}) {plain(card.choices[number])}",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Run the experiment", type="primary", icon=":material/science:", key="lesson_run", disabled=chosen is None,
            on_click=lambda: place.give(LETTERS[chosen]), help="" if chosen is not None else "Choose an answer first.",
        )  # fmt: skip
        st.button("Skip, just show me", type="tertiary", key="lesson_skip", on_click=lambda: place.give(SHOWN))


def _choice(place: Place, card: Card, letter: str) -> str:
    text, right = f"{letter}) {plain(card.choice(letter))}", letter == card.answer
    marks = ", ".join(["what came"] * right + ["your guess"] * (letter == place.answer))
    return f"- **{text}**  :small[← {marks}]" if right else f"- {text}  :small[← {marks}]" if marks else f"- {text}"


def _answer(place: Place, card: Card) -> None:
    """What came, and why."""
    with st.container(key="lesson_pictures"):
        try:
            show_rows(card.experiment, f"{place.lesson.name}_{place.index}")
        except DDPMError as error:
            show_error(error, where="These pictures cannot be drawn here: ")
    st.markdown(f"**What came.** {plain(card.verdict(place.answer))} {plain(card.came)}")
    st.markdown(f"**Why.** {plain(card.why)}")
    if card.formula:
        st.latex(card.formula)
    if card.command:
        st.caption("The numbers come from this command; Evaluate shows all of them.")
        st.code(card.command, language="bash", wrap_lines=True)
    with st.container(horizontal=True, gap="medium"):
        for visit in card.visits:
            _link(visit)
    st.button("Ask this card again", icon=":material/replay:", type="tertiary", key="lesson_again",
              on_click=lambda: place.give(OPEN))  # fmt: skip


def _link(visit: Visit) -> None:
    """A way to try it elsewhere in the app, if that page is there."""
    path = f"pages/{visit.page}.py"
    if path in (page.path for page in shown_pages()):
        st.page_link(path, label=visit.label, icon=":material/open_in_new:", query_params=parse_qsl(visit.query))


def _ways(place: Place) -> None:
    last = place.index == len(place.lesson.cards) - 1
    with st.container(horizontal=True):
        st.button("Back", icon=":material/arrow_back:", key="lesson_back", disabled=place.index == 0,
                  on_click=lambda: place.go(place.index - 1))  # fmt: skip
        if not last:
            st.button("Next card", icon=":material/arrow_forward:", key="lesson_next",
                      type="secondary" if place.answer == OPEN else "primary",
                      on_click=lambda: place.go(place.index + 1))  # fmt: skip
            return
        every = list(lessons().values())
        following = every[every.index(place.lesson) + 1 :][:1]
        for lesson in following:
            st.button(f"Next lesson: {lesson.heading}", icon=":material/arrow_forward:", key="lesson_following",
                      on_click=open_lesson, args=(lesson,),
                      type="secondary" if place.answer == OPEN else "primary")  # fmt: skip
    if place.answers.done == len(place.lesson.cards):
        st.success("That was the last card. You now know\n\n" + "\n".join(f"- {each}" for each in place.lesson.know))
