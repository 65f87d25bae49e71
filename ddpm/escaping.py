"""Show any text literally: in Markdown, as code, and in a table's cell."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

_MARKUP = re.compile(
    r"[\\`*\[\]<>|~$&]|:(?=[a-zA-Z])|(?<!\w)_|_(?!\w)"  # an underscore within a word is no emphasis
    r"|^[-+=#]|(?<=\d)[.)](?=\s|$)"  # would start a list or a heading
)
_READ_LATER = re.compile(
    r"(?i:(?<=http:)|(?<=https:))(?=//)|(?<=[wW]{3})(?=\.)|(?=@[-\w]+\.)"  # addresses
    r"|(?<=:)(?=[\w+\\-][\w+/\\-]*:)"  # emoji, and icons such as :material/home:
    r"|(?<=-)(?=\\?>(\s|$))|(?<=[<>~])(?==(\s|$))|(?<=<)(?=-)|(?<=(?<!-)-)(?=-(\s|$))"  # arrows and dashes
)


def as_markdown(text: str) -> str:
    """Escape a text so that Streamlit's Markdown, with HTML, LaTeX, links and icons, shows it literally, on one line.

    After parsing Markdown, Streamlit also turns plain text into links, icons and arrows. Backslashes are gone by then;
    a WORD JOINER, which has no width, keeps the characters apart.
    """
    return _READ_LATER.sub("\u2060", _MARKUP.sub(r"\\\g<0>", " ".join(text.split())))


def as_sentence(text: str) -> str:
    """Escape a sentence for Markdown, with text between backticks as code. Our error messages need this: they may quote
    text by others."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0 or not all(part.strip() for part in parts[1::2]):
        return as_markdown(text)
    return "".join(as_code(part) if i % 2 else _between(part) for i, part in enumerate(parts))


def _between(text: str) -> str:
    """Escape part of a sentence for Markdown, keeping the blanks around it."""
    return f"{' ' * text.startswith(' ')}{as_markdown(text)}{' ' * (text.endswith(' ') and bool(text.strip()))}"


def as_code(text: str) -> str:
    """A text as code in Markdown: a span, or a block if it has several lines."""
    if "\n" in text.strip():
        return fenced("", text)
    fence = _fence(text, 1)
    line = " ".join(text.split())
    return f"{fence} {line} {fence}" if line.startswith("`") or line.endswith("`") else f"{fence}{line}{fence}"


def fenced(language: str, text: str) -> str:
    """A block of code in Markdown; the code may itself contain fences."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _fence(text: str, least: int) -> str:
    """A fence of ``least`` or more backticks, longer than any run of them in a text."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as the text of a CSV file, each value as ``as_cell`` has it."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(as_cell, row) for row in rows)
    return buffer.getvalue()


def as_cell(value: object) -> object:
    """A value for a CSV file. Text that a spreadsheet would take for a formula gets an apostrophe before it; numbers
    stay numbers."""
    return f"'{value}" if isinstance(value, str) and re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", value) else value
