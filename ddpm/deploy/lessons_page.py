"""The lessons for the static page: texts as HTML, and the pictures as the library draws them when the page is built."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from ..lessons.answers import LETTERS
from ..lessons.content import Card, Visit, lessons, plain
from ..lessons.experiments import draw
from ..lessons.figures import Row
from ..lessons.formula import formula_png

PAGES = {"playground": "index.html", "plane": "plane.html"}
"""The pages of the app that the static page has too; they understand the same links."""
KNOWN = {
    *(f"play_{name}" for name in ("model", "draw", "count", "seed", "sampler", "steps", "guidance", "interval")),
    *(f"plane_{name}" for name in ("data", "class", "guidance", "walks", "arrows", "learn", "count", "steps")),
}
GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"


def lessons_json(models: Collection[str]) -> bytes:
    """The file ``lessons.json`` of a static page that offers these models. Drawing all of it takes some seconds.

    Where the library is installed without its documentation, the cards have no list of words.
    """
    page = [
        {
            "name": lesson.name,
            "heading": lesson.heading,
            "minutes": lesson.minutes,
            "asks": [_html(each) for each in lesson.asks],
            "know": [_html(each) for each in lesson.know],
            "cards": [_card(card, models) for card in lesson.cards],
        }
        for lesson in lessons().values()
    ]
    return json.dumps(page, ensure_ascii=False).encode()


def _card(card: Card, models: Collection[str]) -> dict[str, Any]:
    known = glossary()
    return {
        "heading": card.heading,
        "setup": _html(card.setup),
        "question": _html(card.question),
        "choices": [_html(choice) for choice in card.choices],
        "answer": LETTERS.index(card.answer),
        "verdicts": [_html(card.verdict(letter)) for letter in LETTERS[: len(card.choices)]],
        "came": _html(card.came),
        "why": _html(card.why),
        "formula": card.formula,
        **_drawn(card),
        "words": [_html(known[word]) for word in card.words if word in known],
        "visits": [
            {"label": visit.label, "address": f"{PAGES[visit.page]}?{visit.query}"}
            for visit in card.visits
            if visit.page in PAGES and _is_offered(visit, models)
        ],
    }


def _is_offered(visit: Visit, models: Collection[str]) -> bool:
    """Whether the static page can do all that a link asks of the app."""
    return visit.link.keys() <= KNOWN and visit.link.get("play_model") in (None, *models)


_PICTURES: dict[str, dict[str, Any]] = {}


def _drawn(card: Card) -> dict[str, Any]:
    """The pictures of a card and its formula, drawn once in a process."""
    key = card.model_dump_json()
    if key not in _PICTURES:
        formula = formula_png(card.formula) if card.formula else b""
        picture = f"data:image/png;base64,{base64.b64encode(formula).decode()}"
        _PICTURES[key] = {"rows": [_row(row) for row in draw(card.experiment)], "formulaPicture": picture}
    return _PICTURES[key]


def _row(row: Row) -> dict[str, Any]:
    figures = [
        {"label": figure.label, "facts": figure.facts, "source": figure.data_uri, "chart": figure.chart is not None}
        for figure in row.figures
    ]
    return {"label": row.label, "across": row.across, "figures": figures}


def _html(markdown: str) -> str:
    """A text of a lesson as HTML, without a paragraph around it."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).disable(["link", "autolink"]).renderInline(plain(markdown))


@cache
def glossary() -> dict[str, str]:
    """The entries of the glossary as Markdown by their anchors, {} where there is none beside the library."""
    text = GLOSSARY.read_text(encoding="utf-8") if GLOSSARY.is_file() else ""
    return {
        anchor: " ".join(entry.split())
        for anchor, entry in re.findall(r'^- <a id="(.+?)"></a>(.+(?:\n  .+)*)', text, re.MULTILINE)
    }
