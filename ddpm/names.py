"""What classes are called: finding one by its name, and showing names that may hold anything."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from .errors import ConfigError

SHOWN = 12  # names in a message


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """Names in a row for a message: ``'cat', 'dog'``; of more than ``most`` the first, and how many more there are."""
    more = len(names) - most
    return ", ".join(map(repr, names[:most])) + (f" and {more:,} more" if more > 0 else "")


def label_named(names: Sequence[str], text: str) -> int:
    """The label of the class that ``text`` means: its name, else its number.

    A class that is called by a number is found by its name: of the folders 1 to 12, "3" is the third, whose label is 2.

    Raises:
        ConfigError: there is no such class; says which there are.
    """
    if text in names:
        return names.index(text)
    if text.isdecimal() and text.isascii() and len(text) < 10 and int(text) < len(names):
        return int(text)
    near = get_close_matches(text, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    numbers = "" if _are_numbers(names) else f", or their numbers, 0 to {len(names) - 1}"
    raise ConfigError(f"there is no class {text!r}: {hint}valid are {listed(names)}{numbers}")


def labels_named(names: Sequence[str], text: str) -> list[int] | None:
    """The labels that ``text`` means: names or numbers between commas, as ``label_named`` finds them; -1 is no class,
    as "none" is for all. A name with a comma in it stands in double quotes. Turned round by ``labels_text``.

    Raises:
        ConfigError: there is no such class; says which there are.
    """
    if text.strip() == "none":
        return None
    parts = next(csv.reader([text]), [""])
    exact = [part if part in names else part.strip() for part in parts]
    return [-1 if part == "-1" and part not in names else label_named(names, part) for part in exact]


def labels_text(names: Sequence[str], labels: Sequence[int] | None) -> str:
    """Labels as ``labels_named`` reads them, by name."""
    if not labels:
        return "none"
    words = [names[label] if label >= 0 else "-1" for label in labels]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(words)
    return str(labels[0]) if line.getvalue() == "none" else line.getvalue()


def as_sentence(text: str) -> str:
    """A sentence as Markdown that shows it as it is, with what stands between ` as code, as in an error of ours, which
    may hold words of others."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0 or not all(part.strip() for part in parts[1::2]):
        return as_markdown(text)
    return "".join(as_code(part) if i % 2 else _between(part) for i, part in enumerate(parts))


def _between(text: str) -> str:
    """A part of a sentence as Markdown, with the blanks around it."""
    return f"{' ' * text.startswith(' ')}{as_markdown(text)}{' ' * (text.endswith(' ') and bool(text.strip()))}"


def as_cell(value: object) -> object:
    """A value for a CSV file. Text that a spreadsheet would take for a formula gets an apostrophe before it; numbers
    stay numbers."""
    return f"'{value}" if isinstance(value, str) and re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", value) else value


def in_turn(names: Sequence[str], most: int = SHOWN) -> str:
    """Which classes are drawn one after the other, for a caption in Markdown: "0 to 9", else "cat, dog"."""
    if _are_numbers(names):
        return f"0 to {len(names) - 1}"
    more = len(names) - most
    return ", ".join(map(as_markdown, names[:most])) + (f" and {more:,} more" if more > 0 else "")


def _are_numbers(names: Sequence[str]) -> bool:
    return tuple(names) == tuple(map(str, range(len(names))))


_MARKUP = re.compile(
    r"[\\`*\[\]<>|~$&]|:(?=[a-zA-Z])|(?<!\w)_|_(?!\w)"  # an underscore within a word is no emphasis
    r"|^[-+=#]|(?<=\d)[.)](?=\s|$)"  # what makes a list or a heading of a line
)
_READ_LATER = re.compile(
    r"(?i:(?<=http:)|(?<=https:))(?=//)|(?<=[wW]{3})(?=\.)|(?=@[-\w]+\.)"  # addresses
    r"|(?<=:)(?=[\w+\\-][\w+/\\-]*:)"  # emoji, and icons such as :material/home:
    r"|(?<=-)(?=\\?>(\s|$))|(?<=[<>~])(?==(\s|$))|(?<=<)(?=-)|(?<=(?<!-)-)(?=-(\s|$))"  # arrows and dashes
)


def as_markdown(text: str) -> str:
    """A text so that Markdown on a page, with HTML, LaTeX, links and icons in it, shows it as it is, on one line.

    Streamlit also makes links, icons and arrows of what is plain text once Markdown was read. Backslashes are gone by
    then; a WORD JOINER, which has no width, keeps the letters apart.
    """
    return _READ_LATER.sub("\u2060", _MARKUP.sub(r"\\\g<0>", " ".join(text.split())))


def fenced(language: str, text: str) -> Iterator[str]:
    """The lines of a block of code in Markdown, which may hold fences itself."""
    fence = _fence(text, 3)
    yield f"{fence}{language}"
    yield text
    yield fence


def _fence(text: str, least: int) -> str:
    """Backticks, one more than stand together anywhere in a text."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


def as_code(text: str) -> str:
    """A text as code in Markdown: a span, or a block where it has several lines."""
    if "\n" in text.strip():
        return "\n".join(fenced("", text))
    fence = _fence(text, 1)
    line = " ".join(text.split())
    return f"{fence} {line} {fence}" if line.startswith("`") or line.endswith("`") else f"{fence}{line}{fence}"
