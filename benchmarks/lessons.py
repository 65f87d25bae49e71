"""A class in the lessons: ``python -m benchmarks.public --live lessons --sessions 30``.

Students at once, a sixth of them in each lesson, each from the first card on. Each opens a card, chooses an answer,
runs the experiment, looks at what came for ``--think`` seconds, and goes on. The answer is timed from running the
experiment to the finished page, pictures among it. They speak Streamlit's protocol: thirty browsers would take the
machine for themselves.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from ddpm.lessons.content import Lesson, lessons
from tests.websocket_client import Visitor, connect, state

CAME = "**What came.**"


@dataclass
class Student:
    """One of the class, and the seconds that the page took: to open a card, to take a choice, and to answer."""

    number: int
    answers: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def study(self, url: str, end: float, think: float) -> None:
        """Go through the lessons in turn until ``end``, a time of ``time.monotonic``."""
        every = list(lessons().values())
        cards = [(lesson, k) for turn in range(len(every)) for lesson in [every[(self.number + turn) % len(every)]]
                 for k in range(len(lesson.cards))]  # fmt: skip
        with connect(url, origin=url) as visitor:
            for lesson, k in cards:
                if time.monotonic() > end:
                    return
                self._card(visitor, lesson, k)
                time.sleep(think)

    def _card(self, visitor: Visitor, lesson: Lesson, k: int) -> None:
        self.others.append(visitor.open("lessons", f"lesson={lesson.name}&card={k + 1}"))
        radio, number = visitor.widget(f"lesson_choice_{lesson.name}_{k}"), self.number % len(lesson.cards[k].choices)
        choice = state(radio, string_value=radio.shown.options[number])
        self.others.append(visitor.send(choice))
        self.answers.append(visitor.send(choice, state(visitor.widget("lesson_run"), trigger_value=True)))
        self.wrong += visitor.exceptions
        if CAME not in visitor.text:
            self.wrong.append(f"{lesson.name} {k + 1} has no answer")


def study(url: str, server: psutil.Process, arguments: argparse.Namespace) -> list[Student]:
    """Let a class study for ``arguments.minutes``.

    Raises:
        Exception: that of a student whose connection broke.
    """
    students = [Student(number) for number in range(arguments.sessions)]
    end = time.monotonic() + 60 * arguments.minutes
    with ThreadPoolExecutor(len(students)) as pool:
        for done in [pool.submit(student.study, url, end, arguments.think) for student in students]:
            done.result()
    return students
