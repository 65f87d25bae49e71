"""What a lesson is, and how it is read from its file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from pydantic import Field, model_validator

from ..config.section import Section
from ..config.yaml_text import lines_of, parse_yaml
from ..errors import ConfigError, unknown
from .answers import LETTERS, SHOWN
from .kinds import Experiment

FOLDER = Path(__file__).parent
TERM = re.compile(r"\[([^\]]+)\]\(#([\w-]+)\)")
"""A term as the texts of a lesson link it: [the share that is left](#alpha_bar), an anchor of docs/glossary.md."""


class Visit(Section):
    """A page of the app, with settings."""

    page: str
    label: str
    link: dict[str, str | int | float | tuple[int | str, ...]] = Field(default_factory=dict)
    """What follows the ? of its address."""

    @property
    def query(self) -> str:
        return urlencode(self.link, doseq=True)


class Card(Section):
    """A question, an experiment that answers it, and why."""

    heading: str
    setup: str
    question: str
    choices: tuple[str, ...] = Field(min_length=2, max_length=len(LETTERS))
    answer: str
    """The letter of the right one."""
    experiment: Experiment
    came: str
    """What one should see."""
    why: str
    wrong: dict[str, str] = Field(default_factory=dict)
    """What is said to whoever chose another letter, where its misconception is the point of the card."""
    formula: str = ""
    """LaTeX, of which matplotlib's mathtext has a part."""
    command: str = ""
    """Which reproduces the numbers of the text."""
    visits: tuple[Visit, ...] = ()

    @model_validator(mode="after")
    def _has_its_answer(self):
        offered = LETTERS[: len(self.choices)]
        if self.answer not in [*offered]:
            raise ValueError(f"answer must be one of {', '.join(offered)}, the letter of a choice, got {self.answer!r}")
        if unknown_letters := self.wrong.keys() - ({*offered} - {self.answer}):
            raise ValueError(f"wrong must name letters of the other choices, got {', '.join(sorted(unknown_letters))}")
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """The anchors in the glossary of all terms that its texts link."""
        texts = " ".join((self.setup, self.question, *self.choices, self.came, self.why))
        return tuple(dict.fromkeys(anchor for _, anchor in TERM.findall(texts)))

    def held(self, answer: str) -> bool:
        return answer == self.answer

    def verdict(self, answer: str) -> str:
        """What a guess is told before what came; "" where it was shown without one."""
        if answer == SHOWN:
            return ""
        if self.held(answer):
            return "Your guess held."
        return f"It came otherwise than you guessed. {self.wrong.get(answer, '')}".strip()

    def choice(self, letter: str) -> str:
        return self.choices[LETTERS.index(letter)]


class Lesson(Section):
    """A lesson of some minutes."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    """In links: that of the file."""
    order: float
    heading: str
    minutes: int = Field(ge=1, le=120)
    asks: tuple[str, ...] = Field(min_length=1)
    """The questions that it answers, told before."""
    know: tuple[str, ...] = Field(min_length=1)
    """Its results, told at the end."""
    cards: tuple[Card, ...] = Field(min_length=2, max_length=12)

    @property
    def choices(self) -> tuple[int, ...]:
        """How many each card offers."""
        return tuple(len(card.choices) for card in self.cards)


def read_lesson(path: Path) -> Lesson:
    """Read the file of a lesson, which is called after it.

    Raises:
        ConfigError: names the file, the line, the field and what would be right.
    """
    text = path.read_text(encoding="utf-8")
    values = parse_yaml(text, path.name)
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name}: must have fields such as heading and cards")
    return Lesson.from_values({"name": path.stem} | values, path.name, lines_of(text))


@cache
def lessons() -> dict[str, Lesson]:
    """All lessons by their names, in their order.

    Raises:
        ConfigError: a file is not a lesson.
    """
    found = [read_lesson(path) for path in FOLDER.glob("*.yaml")]
    return {lesson.name: lesson for lesson in sorted(found, key=lambda lesson: (lesson.order, lesson.name))}


def lesson_named(name: str) -> Lesson:
    """A lesson by its name.

    Raises:
        ConfigError: there is none of that name; says which there are.
    """
    if name not in lessons():
        raise ConfigError(unknown("lesson", name, lessons()))
    return lessons()[name]


def plain(text: str) -> str:
    """Markdown in which terms are set in italics instead of linked, for where the glossary is listed beside it."""
    return TERM.sub(r"*\1*", text)
