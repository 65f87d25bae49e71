"""Base classes for sections of the config: fields with defaults, units and ranges, and errors that name the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ..errors import ConfigError, did_you_mean
from ..names import either
from ..options import option
from .faults import worded


def setting(default: Any, description: str, unit: str = "", **limits: Any) -> Any:
    """A field with its default; the other arguments are those of ``option``."""
    return option(description, unit, default=default, **limits)


class _Meta(type(BaseModel)):
    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise cls.worded(error, cls.__name__) from None


class Section(BaseModel, metaclass=_Meta):
    """A part of the config.

    Raises:
        ConfigError: a value that is not valid; names the field and what would be right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: ClassVar[str] = ""
    """Its name in the config: data, schedule, ...; "" for the config itself."""

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], source: str, lines: Mapping[str, int | None] = MappingProxyType({})
    ) -> Self:
        """Validate values from somewhere else; every fault is one line ``source, line N: section.field: what is
        wrong``.

        ``lines`` has the line of each of the config's fields in ``source``.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise cls.worded(error, source, lines) from None

    @classmethod
    def worded(
        cls, error: ValidationError, source: str, lines: Mapping[str, int | None] = MappingProxyType({})
    ) -> ConfigError:
        """Reword pydantic's errors about it; ``lines`` has the line of each of the config's fields in ``source``."""
        path = (cls.title,) if cls.title else ()
        return worded(error, lambda at: fields_of(cls, at[len(path) :]), source, lines, path)

    @classmethod
    def known_fields(cls) -> dict[str, FieldInfo]:
        """Its fields by name."""
        return cls.model_fields

    @field_validator("*", mode="before")
    @classmethod
    def _a_switch_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("must not be true or false")
        return value


class OneOf:
    """Restricts a field to the names in a registry, which may have grown since this module was imported."""

    def __init__(self, registry: Mapping[str, Any]):
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def offered(self) -> tuple[str, ...]:
        """The names offered to users."""
        return tuple(name for name, entry in self.registry.items() if getattr(entry, "offered", True))

    def _check(self, name: Any) -> Any:
        if not isinstance(name, str) or name not in self.registry:
            known = either(map(repr, self.offered()))
            raise ValueError(f"{did_you_mean(name, self.offered())}must be {known}")
        return name


class OpenSection(Section, extra="allow"):
    """A section that also has the options of a registry's entries as fields, beside its own."""

    registry: ClassVar[Mapping[str, Any]]
    named_by: ClassVar[str]
    """The field that holds the name of one of the registry's entries."""
    keeps_all: ClassVar[bool] = False
    """Whether the options of all entries are fields, or only those of the named one."""

    @classmethod
    def known_fields(cls) -> dict[str, FieldInfo]:
        """Its own fields and the options of all entries. If only the named entry's count, their default is None: each
        entry has its own."""
        options = {name: info for entry in cls.registry.values() for name, info in entry.options.items()}
        if not cls.keeps_all:
            options = {name: copy(info) for name, info in options.items()}
            for info in options.values():
                info.default = None
        return cls.model_fields | options

    @classmethod
    def _entries(cls, values: Mapping[str, Any]) -> tuple[Any, ...]:
        if cls.keeps_all:
            return tuple(cls.registry.values())
        name = values.get(cls.named_by, cls.model_fields[cls.named_by].default)
        return (cls.registry[name],) if isinstance(name, str) and name in cls.registry else ()

    @model_validator(mode="wrap")
    @classmethod
    def _check_options(cls, values: Any, handler: Callable[[Any], Any]) -> Any:
        """Options left out take their defaults, so that a saved config says what ran."""
        if not isinstance(values, dict):
            return handler(values)
        values = stated(cls, values)
        entries, faults, options = cls._entries(values), [], {}
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        others = {key: value for key, value in values.items() if key not in cls.model_fields}
        if entries:
            try:
                options = _options_model(entries).model_validate(others).model_dump()
            except ValidationError as error:
                faults = [cls._of_another(fault, values, entries) for fault in error.errors(include_url=False)]
        try:
            section = handler(own | options)
        except ValidationError as error:
            faults = error.errors(include_url=False) + faults
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return section

    @classmethod
    def _of_another(cls, fault: Any, values: Mapping[str, Any], entries: Sequence[Any]) -> Any:
        """The fault of an option that goes with another entry, in words; any other fault as it is."""
        key = fault["loc"][0]
        if fault["type"] != "extra_forbidden" or key not in cls.known_fields():
            return fault
        takes = ", ".join(option for entry in entries for option in entry.options) or "none"
        name = values.get(cls.named_by) or cls.model_fields[cls.named_by].default
        said = f"{key} does not belong to the {name} {cls.title}, which takes {takes}"
        return {"type": "value_error", "loc": (), "input": values, "ctx": {"error": ValueError(said)}}


@lru_cache(maxsize=64)
def _options_model(entries: tuple[Any, ...]) -> type[Section]:
    options = {name: (info.annotation, info) for entry in entries for name, info in entry.options.items()}
    if taken := [name for name in options if hasattr(OpenSection, name)]:
        raise ConfigError(f"an option cannot be called {taken[0]}, which means something else in a config: rename it")
    return create_model("Options", __base__=Section, **options)


def stated(section: type[Section], values: dict[Any, Any]) -> dict[Any, Any]:
    """``values`` without empty fields, such as ``training:`` with nothing under it, which take their defaults. An
    unknown key stays, to be refused."""
    known = section.known_fields()
    return {key: value for key, value in values.items() if value is not None or key not in known}


def fields_of(section: type[Section], path: Sequence[str]) -> dict[str, FieldInfo]:
    """The fields of the section at a path from this one, {} where there is none."""
    for name in path:
        if name.isdecimal():  # an item of a tuple of sections
            continue
        field = section.model_fields.get(name)
        section = field.annotation if field else None
        section = get_args(section)[0] if get_origin(section) is tuple else section
        if not (isinstance(section, type) and issubclass(section, Section)):
            return {}
    return section.known_fields()
