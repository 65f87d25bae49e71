"""Error messages about configs: the field, what is wrong with it, what would be right, and the line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import ConfigError, Fault, unknown

FieldsOf = Callable[[Sequence[str]], Mapping[str, Any]]
"""The fields of the section at a path, () for the config itself."""


def worded(
    error: ValidationError,
    fields_of: FieldsOf,
    source: str,
    lines: Mapping[str, int | None] = MappingProxyType({}),
    path: tuple[str, ...] = (),
) -> ConfigError:
    """Reword pydantic's errors about the section at ``path``, one line for each fault.

    ``lines`` has the line of each field in ``source``.
    """
    faults = tuple(_explain(error, fields_of, lines, path))
    texts = (
        f"{source}{f', line {fault.line}' if fault.line else ''}: "
        f"{f'{_printable(fault.field)}: ' if fault.field else ''}{fault.message}"
        for fault in faults
    )
    return ConfigError("\n".join(texts), faults)


def _explain(
    error: ValidationError, fields_of: FieldsOf, lines: Mapping[str, int | None], path: tuple[str, ...]
) -> Iterator[Fault]:
    for fault in error.errors():
        where = [*path, *(str(part) for part in fault["loc"])]
        if fault["type"] == "extra_forbidden":
            *sections, key = where
            field, message = ".".join(where), unknown("key", key, fields_of(sections))
        elif fault["type"] == "model_type":
            field, message = ".".join(where), f"expected a section with fields, got {shown(fault['input'])}"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            message = re.sub(r", unable to parse .*", "", message.replace("Input should", "must", 1))
            got = "" if isinstance(fault["input"], dict | BaseModel) else f", got {shown(fault['input'])}"
            field, message = _blame(where, f"{message}{got}", fields_of)
        yield Fault(field, message, _line(field, lines))


def _printable(field: str) -> str:
    """A config's key for a message, where it may hold line breaks or be of any length."""
    return field if field.isprintable() and len(field) <= 200 else shown(field)


def _blame(where: list[str], message: str, fields_of: FieldsOf) -> tuple[str, str]:
    """The field that a message is about, and the rest of the message.

    A check of several fields together begins its message with the one that it blames, as in "channels must be 3".
    """
    word, _, rest = message.partition(" ")
    path = [*where, *word.rstrip(":").split(".")]
    if len(path) == 2 and path[1] in fields_of(path[:1]):
        return ".".join(path), rest
    return ".".join(where), message


def _line(field: str, lines: Mapping[str, int | None]) -> int | None:
    """The line of a field, else of the section that it is missing from."""
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return lines.get(field)


def shown(value: Any) -> str:
    """A config's value for a message, cut off if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a number with too many digits"
    return text if len(text) <= 200 else f"{text[:200]}..."
