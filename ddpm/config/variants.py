"""Schedules in a line of text, as a link and the command line write them: ``linear,cosine:cosine_s=0.02``.

Commas separate schedules. After a schedule's name come the fields of ``ScheduleConfig`` that differ from its defaults,
each after a colon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, unknown
from ..schedule import SCHEDULES
from .sections import ScheduleConfig

MAX_VARIANTS = 12  # nobody can tell more curves apart


def parse_schedule(text: str, **defaults: Any) -> ScheduleConfig:
    """One schedule from text such as ``cosine:cosine_s=0.02:num_timesteps=500``; ``defaults`` for what it leaves out.

    Raises:
        ConfigError: an unknown name or field, or a value out of its range; the message begins with the text.
    """
    name, *fields = (part.strip() for part in text.split(":"))
    if name not in SCHEDULES:
        raise ConfigError(unknown("schedule", name, SCHEDULES))
    values = {"name": name}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or key in values:
            raise ConfigError(f"{text}: expected field=value, each field once, got {field!r}")
        values[key] = value
    return ScheduleConfig.from_values({**defaults, **values}, text)


def parse_schedules(text: str, **defaults: Any) -> list[ScheduleConfig]:
    """Several schedules, separated by commas, see ``parse_schedule``; at most ``MAX_VARIANTS``."""
    pieces = text.split(",")
    if len(pieces) > MAX_VARIANTS:
        raise ConfigError(f"at most {MAX_VARIANTS} schedules side by side, got {len(pieces)}")
    return [parse_schedule(piece, **defaults) for piece in pieces]


def schedules_text(schedules: Sequence[ScheduleConfig]) -> str:
    """The text that ``parse_schedules`` reads back to the same schedules."""
    return ",".join(
        ":".join([schedule.name, *(f"{name}={_number(value)}" for name, value in changes(schedule).items())])
        for schedule in schedules
    )


def changes(schedule: ScheduleConfig) -> dict[str, Any]:
    """The fields that differ from the defaults of the schedule's name."""
    default = ScheduleConfig(name=schedule.name)
    return {name: value for name, value in schedule if value != getattr(default, name)}


def labels(schedules: Sequence[ScheduleConfig]) -> list[str]:
    """A name for each in a legend, all different: ``cosine, s = 0.02, T = 500``."""
    plain = [_label(schedule) for schedule in schedules]
    seen: Counter[str] = Counter()
    for i, label in enumerate(plain):
        seen[label] += 1
        plain[i] = f"{label} ({seen[label]})" if seen[label] > 1 else label
    return plain


def _label(schedule: ScheduleConfig) -> str:
    return ", ".join([schedule.name, *(_phrase(schedule, *change) for change in changes(schedule).items())])


def _phrase(schedule: ScheduleConfig, name: str, value: Any) -> str:
    if name == "zero_terminal_snr":
        return "zero terminal SNR"
    return f"{'T' if name == 'num_timesteps' else name.removeprefix(f'{schedule.name}_')} = {_number(value)}"


def _number(value: Any) -> str:
    """The shortest text that is read back to the same value."""
    short = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return short if not isinstance(value, float) or float(short) == value else repr(value)
