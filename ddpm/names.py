"""Class names: find a class by its name, and list them in messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from .errors import ConfigError, did_you_mean
from .escaping import as_markdown

SHOWN = 12  # names in a message


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """Names joined for a message: ``'cat', 'dog'``; past ``most`` of them, only how many more there are."""
    return in_short([*map(repr, names)], most)


def either(words: Iterable[object]) -> str:
    """Alternatives for a message: ``1, 2, 4 or 8``."""
    *most, last = map(str, words)
    return f"{', '.join(most)} or {last}" if most else last


def in_short(words: Sequence[str], most: int = SHOWN) -> str:
    """The first words, and how many more there are: ``cat, dog and 8 more``."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more:,} more" if more > 0 else "")


def label_named(names: Sequence[str], text: str) -> int:
    """The label of a class, given its name or else its number.

    Names win even if they are numbers: of the folders 1 to 12, "3" is the third, whose label is 2.

    Raises:
        ConfigError: there is no such class; lists the valid ones.
    """
    if text in names:
        return names.index(text)
    if text.isdecimal() and text.isascii() and len(text) < 10 and int(text) < len(names):
        return int(text)
    numbers = "" if _are_numbers(names) else f", or their numbers, 0 to {len(names) - 1}"
    raise ConfigError(f"there is no class {text!r}: {did_you_mean(text, names)}valid are {listed(names)}{numbers}")


def labels_named(names: Sequence[str], text: str) -> list[int] | None:
    """Parse a comma-separated list of class names or numbers, as ``label_named`` does. -1 is no class; "none" alone is
    no class for any image. A name that contains a comma is in double quotes. ``labels_text`` is the inverse.

    Raises:
        ConfigError: there is no such class; lists the valid ones.
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


def in_turn(names: Sequence[str], most: int = SHOWN) -> str:
    """Which classes are drawn one after the other, for a caption in Markdown: "0 to 9", else "cat, dog"."""
    if _are_numbers(names):
        return f"0 to {len(names) - 1}"
    return in_short([*map(as_markdown, names)], most)


def _are_numbers(names: Sequence[str]) -> bool:
    return tuple(names) == tuple(map(str, range(len(names))))
