"""Choosing a class on a page, by its name. A link may also say its number, as those of earlier versions do."""

from collections.abc import Sequence

from ddpm.errors import ConfigError
from ddpm.models import NO_CLASS, Model
from ddpm.names import label_named

from .address import translate

ALL = "all classes"
RESERVED = (ALL, NO_CLASS, "all")


def texts(names: Sequence[str]) -> list[str]:
    """Class names as a widget offers them, besides its words for all and for none."""
    return [f"“{name}”" if name in RESERVED else name for name in names]


def options(key: str, names: Sequence[str], *, first: Sequence[str] = (), last: Sequence[str] = ()) -> list[str]:
    """What the select box of that key offers: the classes between other choices. Call it just before the box."""
    offered = [*first, *texts(names), *last]

    def named(said: str) -> str:
        try:
            return said if said in offered else texts(names)[label_named(names, said)]
        except ConfigError:
            return said  # for the page to say that it was left out

    if names:
        translate(key, named)
    return offered


def label_of(names: Sequence[str], choice: str) -> int | None:
    """The label of a choice from ``options``; None for one that is no class."""
    offered = texts(names)
    return offered.index(choice) if choice in offered else None


def asked_for(model: Model, label: int | None) -> str:
    """To follow "asked for": a 3, the class cat, no class."""
    if label is None or label < 0:
        return NO_CLASS
    name = model.class_name(label)
    return f"{article(name)} {name}" if model.config.noun == "digit" else f"the class {name}"


def article(digit: str) -> str:
    return "an" if digit == "8" else "a"
