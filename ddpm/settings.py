"""What a form or a manual has to know of every field of the config, read off the config itself."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from .config import Config, Section
from .errors import ConfigError
from .schedule import SCHEDULES
from .yaml_text import parse_yaml

SYMBOLS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True)
class Setting:
    """One field of the config."""

    section: str
    name: str
    kind: Literal["choice", "switch", "list", "number", "text"]
    default: Any
    choices: tuple[Any, ...]
    unit: str
    help: str
    """Effect, range and default, as Markdown."""

    @property
    def field(self) -> str:
        return f"{self.section}.{self.name}"

    def to_text(self, value: Any) -> str:
        """A value as one would type it; lists without brackets."""
        if value is None:
            return ""
        if self.kind == "switch":
            return "on" if value else "off"
        if isinstance(value, list | tuple):
            return ", ".join(map(self.to_text, value))
        return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)

    def from_text(self, text: str) -> Any:
        """What was typed as YAML would read it; what YAML cannot read stays text, for the config to refuse."""
        if self.kind == "text":
            return text or None
        try:
            return parse_yaml(f"[{text}]" if self.kind == "list" else text)
        except ConfigError:
            return text


def all_settings() -> dict[str, list[Setting]]:
    """The fields of every section, in the order of the config."""
    sections = {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    return {
        section: [_setting(section, name, field) for name, field in model.model_fields.items()]
        for section, model in sections.items()
    }


def applies(setting: Setting, values: Any) -> bool:
    """Whether a field has an effect beside the others in the nested dict ``values``."""
    chosen = {name: section if isinstance(section, dict) else {} for name, section in values.items()}
    if setting.field == "data.path":
        return chosen.get("data", {}).get("dataset") == "folder"
    if setting.field == "diffusion.min_snr_gamma":
        return chosen.get("diffusion", {}).get("weighting") == "min_snr"
    if setting.section == "schedule" and setting.default is None:
        schedule = chosen.get("schedule", {}).get("name", "linear")
        return any(schedule == name and setting.name in spec.defaults for name, spec in SCHEDULES.items())
    return True


def _setting(section: str, name: str, field: FieldInfo) -> Setting:
    annotation = field.annotation
    if isinstance(annotation, UnionType):  # "or None": left out
        annotation = get_args(annotation)[0]
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    kind = (
        "choice" if choices else "list" if get_origin(annotation) is tuple
        else {bool: "switch", str: "text"}.get(annotation, "number")
    )  # fmt: skip
    unit = field.json_schema_extra["unit"]
    default = Setting(section, name, kind, field.default, choices, unit, "").to_text(field.default)
    parts = [field.description, f"Unit: {unit}." if unit else "", _range(field), _own(name)]
    parts.append(f"Default: {default}." if default else "")
    return Setting(section, name, kind, field.default, choices, unit, " ".join(part for part in parts if part))


def _range(field: FieldInfo) -> str:
    limits = [
        f"{symbol} {getattr(limit, key):,g}"
        for limit in field.metadata
        for key, symbol in SYMBOLS.items()
        if hasattr(limit, key)
    ]
    limits += [f"a multiple of {limit.multiple_of}" for limit in field.metadata if hasattr(limit, "multiple_of")]
    limits += [f"at least {limit.min_length} of them" for limit in field.metadata if hasattr(limit, "min_length")]
    limits += [f"at most {limit.max_length}" for limit in field.metadata if hasattr(limit, "max_length")]
    return f"Range: {', '.join(limits)}." if limits else ""


def _own(name: str) -> str:
    """The defaults of a parameter that each schedule has its own of."""
    owners = {schedule: spec.defaults[name] for schedule, spec in SCHEDULES.items() if name in spec.defaults}
    return (
        "Default: " + ", ".join(f"{value:g} ({schedule})" for schedule, value in owners.items()) + "." if owners else ""
    )
