"""What classes are called: finding one by its name, and showing names that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    raise ConfigError(f"there is no class {text!r}: {hint}valid are {listed(names)}, or their numbers, 0 to "
                      f"{len(names) - 1}")  # fmt: skip


def as_markdown(name: str) -> str:
    """A name so that Markdown, HTML in it and LaTeX show it as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", name)
