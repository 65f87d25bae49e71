"""The answer sheet of a lesson: the questions, what was answered, what came and why, with the pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..media.document import data_uri, to_html
from .answers import LETTERS, OPEN, SHOWN, Answers
from .content import Card, Lesson, plain
from .figures import Row
from .formula import formula_png

Drawn = Mapping[int, tuple[Row, ...]]
"""The pictures of the cards that were answered, by their numbers from 0."""


def sheet_markdown(lesson: Lesson, answers: Answers, drawn: Drawn) -> bytes:
    """The sheet as one Markdown file; its pictures stand at the end of it, as data URIs."""
    with tempfile.TemporaryDirectory() as folder:
        files = _pictures(lesson, drawn, Path(folder))
        text = _markdown(lesson, answers, drawn)
        for name in files:
            text = text.replace(f"]({name})", f"][{name}]")
        return "\n".join([text, *(f"[{name}]: {data_uri(Path(folder, name))}" for name in files), ""]).encode()


def sheet_html(lesson: Lesson, answers: Answers, drawn: Drawn) -> bytes:
    """The sheet as one HTML file, with the pictures inside: from a browser it prints to PDF."""
    with tempfile.TemporaryDirectory() as folder:
        files = _pictures(lesson, drawn, Path(folder))
        return to_html(_markdown(lesson, answers, drawn), lesson.heading, Path(folder), files).encode()


def _pictures(lesson: Lesson, drawn: Drawn, folder: Path) -> list[str]:
    """Write the pictures of the answered cards into a folder; their names."""
    for index, rows in drawn.items():
        for r, row in enumerate(rows):
            for f, figure in enumerate(row.figures):
                Path(folder, _name(index, r, f)).write_bytes(figure.png(at_least=320))
        if formula := lesson.cards[index].formula:
            Path(folder, f"formula-{index + 1}.png").write_bytes(formula_png(formula))
    return sorted(path.name for path in folder.iterdir())


def _name(index: int, row: int, figure: int) -> str:
    return f"card-{index + 1}-{row + 1}-{figure + 1}.png"


def _markdown(lesson: Lesson, answers: Answers, drawn: Drawn) -> str:
    parts = [f"# {lesson.heading}", f"{answers.done} of {len(lesson.cards)} cards."]
    for index, card in enumerate(lesson.cards):
        parts += [f"## {index + 1}. {card.heading}", plain(card.setup), f"**{plain(card.question)}**"]
        parts.append(
            "\n".join(f"- {letter}) {plain(text)}" for letter, text in zip(LETTERS, card.choices, strict=False))
        )
        if answers[index] != OPEN:
            parts += _answered(index, card, answers[index], drawn[index])
        else:
            parts.append("*Not yet answered.*")
    return "\n\n".join(parts) + "\n"


def _answered(index: int, card: Card, answer: str, rows: tuple[Row, ...]) -> list[str]:
    held = ", which is what came" if card.held(answer) else f"; what came is {card.answer}"
    yours = f"none, it was shown; the answer is {card.answer}." if answer == SHOWN else f"{answer}{held}."
    parts = [" ".join(filter(None, (f"Your answer: {yours}", plain(card.wrong.get(answer, "")))))]
    for r, row in enumerate(rows):
        parts += [f"*{row.label}*"] if row.label else []
        parts.append("\n".join(f"![{figure.label}]({_name(index, r, f)})" for f, figure in enumerate(row.figures)))
        parts.append("; ".join(f"{each.label}{f' ({each.facts})' if each.facts else ''}" for each in row.figures))
    parts += [f"**What came.** {plain(card.came)}", f"**Why.** {plain(card.why)}"]
    return [*parts, f"![{card.formula}](formula-{index + 1}.png)"] if card.formula else parts
