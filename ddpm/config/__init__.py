"""The typed, frozen config: every default, range and unit in one place; YAML in and out.

A YAML file holds only what differs from the defaults. An unknown key, a wrong type or an impossible combination is a
``ConfigError`` that names the field and what would be right.
"""

from ..datasets import DATASETS
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
from .schema import (
    MAX_YAML,
    Config,
    DataConfig,
    DiffusionConfig,
    ModelConfig,
    SamplingConfig,
    ScheduleConfig,
    Section,
    TrainingConfig,
    check_num_steps,
    holds_text,
)

__all__ = [
    "DATASETS",
    "MAX_YAML",
    "Config",
    "DataConfig",
    "DiffusionConfig",
    "ModelConfig",
    "SamplingConfig",
    "ScheduleConfig",
    "Section",
    "TrainingConfig",
    "change",
    "check_num_steps",
    "config_from_dict",
    "config_from_yaml",
    "config_to_yaml",
    "config_values",
    "differences",
    "holds_text",
    "load_config",
    "renamed",
    "sampling_settings",
    "with_overrides",
    "with_schedule",
]
