"""Lessons: questions to answer before the answer is drawn."""

import streamlit as st

from pages.components.frame import STATIC, about, page, projected, projector_switch
from pages.components.lessons import answer_sheets, place_of_link, show_card, show_overview
from pages.components.lessons.place import forget, remember
from pages.components.public import foreign

PAGE = {
    "order": 1,
    "group": "Learn",
    "icon": ":material/school:",
    "about": "Six lessons of fifteen minutes: guess first, then run the experiment and see.",
}

page("Lessons", "Guess first, then run the experiment: six lessons of fifteen minutes, for the third week of a course.")
st.html(STATIC / "lessons.css")

place, faults = place_of_link()
for fault in faults:
    st.warning(f"Part of the link cannot be used. {foreign(fault)}", icon=":material/link_off:")
if place:
    if not projected():
        st.header(place.lesson.heading, anchor=False)
    show_card(place)
    answer_sheets(place)
else:
    show_overview()
with st.container(horizontal=True):
    projector_switch()
    with st.popover("Forget my answers", icon=":material/delete:", type="tertiary"):
        st.markdown("The answers to all lessons, in this browser: they are kept nowhere else but in links and sheets.")
        st.button("Forget them all", type="primary", key="lesson_forget", on_click=forget)
remember(place)

about(
    """
Every card asks before it shows: a guess that fails is remembered longer than a sentence that was read. The experiments
run on this server with the models that came with the app, and what they draw is the same for everybody.

Answers stay in your browser and in the address of this page: whoever gets the link sees them. The answer sheet of a
lesson has them in one file.
""",
    "Crouch & Mazur 2001, Peer Instruction: Ten years of experience and results",
    "https://doi.org/10.1119/1.1374249",
)
