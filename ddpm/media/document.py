"""From a template to Markdown, and from Markdown to one HTML file that needs nothing beside it: its images are inside.

A template (``templates/*.md.j2``) shows a document as it will be. Whatever it shows of a value is escaped, unless that
is ``Markdown``, which only a filter makes of it: a name that somebody else chose cannot become markup by an oversight.
A line that begins with two blanks goes on with the line before, so that long paragraphs can be read here and are one
line there.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
import shlex
from collections.abc import Container, Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ..escaping import as_code, as_markdown, as_sentence, fenced
from ..names import in_turn
from ..quantities import span

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


class Markdown(str):
    """A text that a template shows without escaping it. What is made of one, by ``~`` or ``join``, is none."""


def render(template: str, values: dict[str, Any]) -> str:
    """A document of a template; a value that the template asks for and that is not there is an error."""
    return environment().get_template(template).render(values)


@cache
def environment() -> Environment:
    """How templates are read."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    return environment


def _source(template: str) -> str:
    return re.sub(r"\n  (?! )", " ", (TEMPLATES / template).read_text(encoding="utf-8"))


# -- from Markdown to HTML -------------------------------------------------------------------------------------------


def to_html(markdown: str, title: str, folder: Path, figures: Container[str]) -> str:
    """An HTML page of CommonMark with tables, without links.

    Args:
        figures: the names of the images of ``folder`` that are put inside, as data URIs; of any other image only its
            description is shown.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink"])
    parser.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown)
    for image in (child for token in tokens for child in token.children or () if child.type == "image"):
        if image.attrs["src"] in figures:
            image.attrs["src"] = data_uri(folder / str(image.attrs["src"]))
        else:
            image.type, image.tag = "text", ""
    style = "\n" + (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return Template((TEMPLATES / "page.html").read_text(encoding="utf-8")).substitute(
        policy=_policy(style),
        title=escape(title),
        style=style,
        body=parser.renderer.render(tokens, parser.options, {}),
    )


def _policy(style: str) -> str:
    """By which a browser fetches and runs nothing of a page, whatever got into it, and takes no other style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"


def data_uri(path: Path) -> str:
    """A file's content as a data URI."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


# -- what templates show ---------------------------------------------------------------------------------------------


def shown(value: object) -> object:
    """What a template shows of a value: all but numbers and Markdown as text that is read as it is."""
    return value if isinstance(value, Markdown | int | float) else as_markdown(str(value))


def listed(items: Iterable[object]) -> str:
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last


def table(rows: Sequence[Sequence[object]]) -> Markdown:
    """A table whose first row is its header."""
    header, *rest = rows
    return Markdown("\n".join([_row(header), "|" + "---|" * len(header), *map(_row, rest)]))


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    return re.sub(r"\\?\|", r"\|", str(shown(value)))


def code_line(text: str) -> Markdown:
    """A text in a block of code, which it cannot leave: it stays on its line."""
    return Markdown(" ".join(text.splitlines()))


FILTERS = {
    "argument": lambda text: Markdown(shlex.quote(text)),  # of a command in a fenced block
    "cell": lambda text: Markdown(_cell(text)),
    "code": lambda text: Markdown(as_code(text)),
    "code_line": code_line,
    "fenced": lambda text, language: Markdown(fenced(language, text)),
    "in_turn": lambda names, *most: Markdown(in_turn(names, *most)),
    "listed": listed,
    "number": lambda value, form=".3g": Markdown(format(value, form)),
    "ours": Markdown,  # written in this code or that of an extension, as Markdown
    "sentence": lambda text: Markdown(as_sentence(text)),
    "span": span,
    "table": table,
}
