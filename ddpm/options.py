"""Options that a function declares in its signature, for the config, the command line and the pages to read.

``eta: Annotated[float, option("Fresh noise.", "0 to 1", ge=0, le=1)] = 0.0`` declares one completely. Schedules and
samplers are such functions, registered under their names; those registered later, from a script or a package, work
exactly like the built-in ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import Field
from pydantic.fields import FieldInfo

from .errors import ConfigError


def option(help: str, unit: str = "", **limits: Any) -> Any:
    """Describe an option or a config field: what it does, its unit, and its limits, any of ``ge``, ``gt``, ``le``,
    ``lt``, ...; a field also passes its ``default``."""
    return Field(description=help, json_schema_extra={"unit": unit}, **limits)


def options_of(function: Callable) -> dict[str, FieldInfo]:
    """The keyword-only arguments of a function, with defaults, types, units, limits and help.

    Raises:
        ConfigError: one has no default or no type.
    """
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for parameter in own:
        if inspect.Parameter.empty in (parameter.default, parameter.annotation):
            raise ConfigError(f"{function.__name__}: its option {parameter.name} needs a type and a default")
    declared = SimpleNamespace(__annotations__={p.name: p.annotation for p in own})
    hints = get_type_hints(declared, function.__globals__, include_extras=True)
    found = {p.name: FieldInfo.from_annotated_attribute(hints[p.name], p.default) for p in own}
    for info in found.values():
        info.description, info.json_schema_extra = info.description or "", info.json_schema_extra or {"unit": ""}
    return found


@dataclass(frozen=True, eq=False)
class Entry:
    """A function in a registry; registries add what people should know about it."""

    function: Callable

    @cached_property
    def options(self) -> dict[str, FieldInfo]:
        """Its own options with their defaults, ranges, units and help."""
        return options_of(self.function)


def check_name(kind: str, function: Callable, known: Callable | None) -> None:
    """Refuse a function if another module's function, ``known``, already has its name.

    Raises:
        ConfigError: says which name.
    """
    if known and known.__module__ != function.__module__:
        raise ConfigError(f"there is a {kind} called {function.__name__} already: give yours another name")


def enter(registry: dict[str, Any], kind: str, entry: Any) -> Callable:
    """Register an entry under its function's name, and return the function; the same may be registered again, as when a
    notebook cell runs twice.

    Raises:
        ConfigError: another function has this name already.
    """
    name = entry.function.__name__
    check_name(kind, entry.function, registry[name].function if name in registry else None)
    options_of(entry.function)  # an error here rather than when a config is read
    registry[name] = entry
    return entry.function
