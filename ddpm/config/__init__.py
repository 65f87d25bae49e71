"""The typed, frozen config: every default, range and unit in one place; YAML in and out.

A YAML file holds only what differs from the defaults. An unknown key, a wrong type or an impossible combination is a
``ConfigError`` that names the field and what would be right.
"""

from .data_section import DataConfig
from .edit import (
    change,
    config_from_dict,
    config_from_yaml,
    config_to_yaml,
    config_values,
    differences,
    load_config,
    renamed,
    sampling_settings,
    with_overrides,
    with_schedule,
)
from .schema import Config, holds_text
from .section import Section
from .sections import DiffusionConfig, ModelConfig, SamplingConfig, ScheduleConfig, TrainingConfig
