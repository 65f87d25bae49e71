"""What a form or a manual needs to know about every config field, read from the config itself."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ..errors import ConfigError
from ..samplers import SAMPLERS
from ..schedule import SCHEDULES
from .schema import Config, holds_text
from .section import OneOf, OpenSection, Section
from .sections import SamplingConfig
from .yaml_text import parse_yaml

SYMBOLS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
PER_DECADE = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # stops of a slider that spans orders of magnitude


@dataclass(frozen=True)
class Setting:
    """One field of the config."""

    section: str
    name: str
    kind: Literal["choice", "choices", "switch", "list", "number", "text"]
    """``choice`` is one of ``choices``, ``choices`` any of them."""
    default: Any
    choices: tuple[Any, ...]
    unit: str
    description: str
    help: str
    """Description, range and default, as Markdown."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """For a number: some of ``ge``, ``gt``, ``le`` and ``lt``."""

    @property
    def field(self) -> str:
        return f"{self.section}.{self.name}"

    def to_text(self, value: Any) -> str:
        """A value as a user would type it; lists without brackets."""
        if value is None:
            return ""
        if self.kind == "switch":
            return "on" if value else "off"
        if isinstance(value, list | tuple):
            return ", ".join(map(self.to_text, value))
        return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)

    def from_text(self, text: str) -> Any:
        """Read typed text as YAML; what YAML cannot read stays text, for the config to refuse."""
        if self.kind == "text":
            return text or None
        try:
            as_yaml = f"[{text}]" if self.kind == "list" and text.strip() else text
            return parse_yaml(as_yaml, is_text=lambda _: holds_text(self.field))
        except ConfigError:
            return text

    def stops(self, *values: float) -> list[float]:
        """Round numbers for a slider over the whole range, and the given ``values`` among them, in order.

        They are spaced logarithmically if the range spans two or more orders of magnitude. A range that excludes its
        lower limit of 0 starts two orders below the smallest default.

        Raises:
            ConfigError: the field has no upper or no lower limit.
        """
        if not {"ge", "gt"} & self.limits.keys() or not {"le", "lt"} & self.limits.keys():
            raise ConfigError(f"{self.field} has no slider: its range is open")
        low = self.limits.get("ge", self.limits.get("gt"))
        high = self.limits.get("le", self.limits.get("lt"))
        if low == 0:
            low = min(_defaults(self.name).values()) / 100
        if low > 0 and high / low >= 100:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            stops = [float(f"{mantissa}e{decade}") for decade in decades for mantissa in PER_DECADE]
        else:
            finest = (high - low) / 200
            step = next(m * 10.0**d for d in range(-9, 9) for m in (1, 2, 5) if m * 10.0**d >= finest)
            stops = [round(i * step, 9) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if isinstance(self.default, int):
            stops = [int(stop) for stop in stops if stop == int(stop)]
        inside = [stop for stop in stops if low <= stop <= high]
        return sorted(
            {stop for stop in (*inside, *values) if all(getattr(operator, k)(stop, v) for k, v in self.limits.items())}
        )


def all_settings() -> dict[str, list[Setting]]:
    """The fields of every section, in the order of the config."""
    sections = {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    return {
        section: [_setting(section, name, field) for name, field in model.known_fields().items()]
        for section, model in sections.items()
    }


def sampler_settings(sampler: str | None = None) -> list[Setting]:
    """The options of a sampler, or of all of them."""
    own = SamplingConfig.model_fields if sampler is None else SAMPLERS[sampler].options
    return [setting for setting in all_settings()["sampling"] if (setting.name in own) == (sampler is not None)]


def applies(setting: Setting, values: Any) -> bool:
    """Whether a field can be set, given the others in the nested dict ``values``."""
    chosen = {name: section if isinstance(section, dict) else {} for name, section in values.items()}
    if setting.field in ("data.class_names", "data.digest"):  # training reads them from the folder
        return False
    if setting.field in ("data.path", "data.background"):
        return chosen.get("data", {}).get("dataset") == "folder"
    if setting.field == "diffusion.min_snr_gamma":
        return chosen.get("diffusion", {}).get("weighting") == "min_snr"
    section = Config.model_fields[setting.section].annotation
    if issubclass(section, OpenSection) and setting.name not in section.model_fields:
        named_by = section.named_by
        owner = chosen.get(setting.section, {}).get(named_by, section.model_fields[named_by].default)
        return any(owner == name and setting.name in entry.options for name, entry in section.registry.items())
    return True


def _setting(section: str, name: str, field: FieldInfo) -> Setting:
    annotation = field.annotation
    if isinstance(annotation, UnionType):  # "or None": left out
        annotation = get_args(annotation)[0]
    several = get_origin(annotation) is tuple
    item = get_args(annotation)[0] if several else annotation
    choices = get_args(item) if get_origin(item) is Literal else ()
    choices = next((one.offered() for one in field.metadata if isinstance(one, OneOf)), choices)
    kind = (
        ("choices" if several else "choice") if choices else "list" if several
        else {bool: "switch", str: "text"}.get(annotation, "number")
    )  # fmt: skip
    unit = field.json_schema_extra["unit"]
    default = Setting(section, name, kind, field.default, choices, unit, "", "").to_text(field.default)
    parts = [field.description, f"Unit: {unit}." if unit else "", _range(field), _own(name)]
    parts.append(f"Default: {default}." if default else "")
    help = " ".join(part for part in parts if part)
    return Setting(section, name, kind, field.default, choices, unit, field.description, help, _limits(field))


def _limits(field: FieldInfo) -> dict[str, float]:
    return {key: getattr(limit, key) for limit in field.metadata for key in SYMBOLS if hasattr(limit, key)}


def _range(field: FieldInfo) -> str:
    limits = [f"{SYMBOLS[key]} {limit:,g}" for key, limit in _limits(field).items()]
    limits += [f"a multiple of {limit.multiple_of}" for limit in field.metadata if hasattr(limit, "multiple_of")]
    limits += [f"at least {limit.min_length} of them" for limit in field.metadata if hasattr(limit, "min_length")]
    limits += [f"at most {limit.max_length}" for limit in field.metadata if hasattr(limit, "max_length")]
    return f"Range: {', '.join(limits)}." if limits else ""


def _own(name: str) -> str:
    own = ", ".join(f"{value:g} ({schedule})" for schedule, value in _defaults(name).items())
    return f"Default: {own}." if own else ""


def _defaults(name: str) -> dict[str, float]:
    """A parameter's default in each schedule that has it; {} for other fields."""
    return {schedule: spec.defaults[name] for schedule, spec in SCHEDULES.items() if name in spec.options}
