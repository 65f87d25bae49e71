"""Read, change and write configs: YAML, ``section.field=value`` overrides, and the differences between two configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, get_args, get_origin

from ..errors import ConfigError
from ..schedule import SCHEDULES
from .schema import MAX_YAML, MIN_ALPHA_BAR, Config, field_at, holds_text
from .section import stated
from .sections import SamplingConfig, ScheduleConfig
from .yaml_text import dump_yaml, lines_of, parse_yaml


def config_from_dict(
    values: Any, source: str = "config", lines: Mapping[str, int | None] = MappingProxyType({})
) -> Config:
    """Validate a nested dict; every fault is one line ``source, line N: section.field: what is wrong``.

    ``lines`` has the line of each field in ``source``, as from ``yaml_text.lines_of``.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected sections such as 'data:' and 'model:', got {type(values).__name__}")
    return Config.from_values(stated(Config, values), source, lines)


def with_schedule(config: Config, schedule: ScheduleConfig) -> Config:
    """A copy of ``config`` with another schedule and the changes that it requires: no more sampling steps than
    timesteps, and v-prediction if nothing is left of the image at T - 1."""
    values = config.model_dump(mode="json") | {"schedule": schedule.model_dump(mode="json")}
    values["sampling"]["num_steps"] = min(config.sampling.num_steps, schedule.num_timesteps)
    if schedule.build().alphas_cumprod[-1] < MIN_ALPHA_BAR and config.diffusion.prediction_type == "eps":
        values["diffusion"]["prediction_type"] = "v"
    return config_from_dict(values)


def config_from_yaml(text: str, source: str = "YAML", overrides: Sequence[str] = ()) -> Config:
    """Parse and validate YAML text; faults name their line. ``overrides`` are 'section.field=value' strings on top."""
    values = config_values(text, source)
    values = {} if values is None else values  # an empty file means the defaults
    lines: dict[str, int | None] = {**lines_of(text)}
    for override in overrides:
        lines[_override(values, override)] = None  # it no longer comes from the file
    return config_from_dict(values, source, lines)


def config_values(text: str, source: str = "YAML") -> Any:
    """The values of a config's YAML text, not validated; text fields stay text, as in ``name: 2024``."""
    return parse_yaml(text, source, holds_text)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file of at most ``MAX_YAML`` bytes, see ``config_from_yaml``."""
    try:
        if Path(path).stat().st_size > MAX_YAML:
            raise ConfigError(f"config {path} is no config: it has more than {MAX_YAML:,} bytes")
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return config_from_yaml(text, str(path), overrides)


def with_overrides(config: Config, overrides: list[str]) -> Config:
    """A copy of ``config`` with 'section.field=value' strings applied."""
    values = config.model_dump(mode="json")
    for override in overrides:
        _override(values, override)
    return config_from_dict(values, "--set")


def renamed(config: Config, name: str) -> Config:
    """A copy of ``config`` under another name, taken literally.

    Raises:
        ConfigError: not a valid name for a run.
    """
    return config_from_dict(config.model_dump(mode="json") | {"name": name}, "run")


def sampling_settings(config: Config, **changes: Any) -> SamplingConfig:
    """The config's sampling settings with ``changes``, checked against the rest of it; None leaves a setting as it is.

    Raises:
        ConfigError: unknown setting, a value out of range, or more steps than the schedule has timesteps.
    """
    values = config.model_dump(mode="json")
    values["sampling"] |= {name: value for name, value in changes.items() if value is not None}
    return type(config).from_values(values, "sampling settings").sampling


def _override(values: Any, override: str) -> str:
    """Apply one 'section.field=value' to ``values``; returns 'section.field'."""
    path, equals, value = override.partition("=")
    path = path.strip()
    if not equals or not path:
        raise ConfigError(f"--set takes section.field=value, got {override!r}")
    change(values, path, _given(path, value))
    return path


def _given(path: str, value: str) -> Any:
    """The value that ``--set path=value`` sets: parsed as YAML, or for a text field as typed, quoted or not."""
    field, text = field_at(path), value.strip()
    if field is None or not holds_text(path) or text[:1] in ("'", '"') or get_origin(field.annotation) is tuple:
        return parse_yaml(value, f"--set {path}", lambda _: holds_text(path))
    return None if text in ("", "null") and NoneType in get_args(field.annotation) else text


def change(values: Any, path: str, value: Any) -> None:
    """Set ``section.field`` in a nested dict. A change of schedule removes the old one's parameters; a change of images
    removes their path and class names.

    Raises:
        ConfigError: ``path`` names a section that is not one in ``values``.
    """
    *sections, field = path.split(".")
    node = values
    for section in sections:
        node = node.setdefault(section, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ConfigError(f"--set {path}: {'.'.join(sections)} is no section")
    if path == "data.dataset" and value != "folder":
        node.pop("path", None)
    if path in ("data.dataset", "data.path") and value != node.get(field):
        node.pop("class_names", None)  # they belong to the old images
    if path == "schedule.name" and value != node.get("name", "linear"):
        for parameter in {name for spec in SCHEDULES.values() for name in spec.options}:
            node.pop(parameter, None)
    node[field] = value


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs differ, ``{"training.epochs": (old value, new value)}``, except ``name``."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return {
        f"{section}.{field}": (before[section].get(field), after[section].get(field))
        for section in before
        if section != "name"
        for field in before[section] | after[section]
        if before[section].get(field) != after[section].get(field)
    }


def config_to_yaml(config: Config) -> str:
    """The whole config, defaults included, as YAML that ``load_config`` reads back to an equal config."""
    return dump_yaml(config.model_dump(mode="json", exclude_none=True))
