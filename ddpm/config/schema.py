"""The config: its sections, and the checks that they fit each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from ..datasets import DATASETS, NUMERALS
from ..errors import ConfigError
from ..names import either, listed
from .data_section import DataConfig
from .section import Section, fields_of, setting
from .sections import DiffusionConfig, ModelConfig, SamplingConfig, ScheduleConfig, TrainingConfig

# With less at T - 1, x0 = (x_t - s eps) / sqrt(alpha_bar) is the rounding error of fp32. The cosine schedule has 2e-9.
MIN_ALPHA_BAR = 1e-12
MAX_YAML = 64_000  # bytes of a config; one with every field has 2,000


class Config(Section):
    """Everything that defines a model, its training and its default sampling."""

    name: str = setting("run", "Name of the run and of its folder.")
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)  # a factory: schedules registered later count
    diffusion: DiffusionConfig = DiffusionConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
            raise ValueError("must be 1 to 64 of a-z, 0-9, - and _, the first a letter or digit")
        return name

    @model_validator(mode="after")
    def _sections_fit_each_other(self):
        size, model = self.data.image_size, self.model
        factor = model.patch_size * 2 ** (len(model.channel_mult) - 1)
        if size % factor:
            raise ValueError(
                f"data.image_size {size} must be divisible by {factor} = model.patch_size {model.patch_size} "
                f"x {factor // model.patch_size} from {len(model.channel_mult)} levels"
            )
        if size == factor:
            raise ValueError(
                f"data.image_size {size} leaves a single pixel at the last of {len(model.channel_mult)} levels; "
                f"it must be at least {2 * factor}"
            )
        occurring = [size // model.patch_size // 2**level for level in range(len(model.channel_mult))]
        for resolution in model.attention_resolutions:
            if resolution not in occurring:
                raise ValueError(
                    f"model.attention_resolutions: this model has no {resolution}x{resolution} level; choose among "
                    f"{', '.join(map(str, occurring))}"
                )
        names = self.data.known_class_names
        if model.num_classes and names and model.num_classes != len(names):
            whose = self.data.dataset
            if self.data.class_names:
                whose = f"data.class_names {listed(names)}"
            raise ValueError(f"model.num_classes must be 0 or {len(names)} for {whose}, got {model.num_classes}")
        if self.schedule.zero_terminal_snr and self.diffusion.prediction_type == "eps":
            raise ValueError(
                "schedule.zero_terminal_snr needs diffusion.prediction_type v, u or x0: noise alone tells no x0"
            )
        left = self.schedule.build().alpha_bar(self.schedule.num_timesteps - 1)
        if left < MIN_ALPHA_BAR and self.diffusion.prediction_type == "eps":
            raise ValueError(
                f"diffusion.prediction_type must be v, u or x0 for this schedule: it leaves alpha_bar = {left:.0e} at "
                "T - 1, and noise alone tells no x0"
            )
        check_num_steps(self.sampling.num_steps, self.schedule.num_timesteps)
        check_few_steps(self.sampling, model.step_counts)
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.data.channels, self.data.image_size, self.data.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the model can draw, in the order of their labels: the dataset's, else "0", "1",
        ...; () for an unconditional model."""
        if not self.model.num_classes:
            return ()
        return self.data.known_class_names or tuple(map(str, range(self.model.num_classes)))

    @property
    def noun(self) -> str:
        """The noun for one of its images: digit or image."""
        info = DATASETS.get(self.data.dataset)
        return "digit" if info and info.class_names == NUMERALS else "image"

    def network_arguments(self) -> dict[str, Any]:
        """The arguments of ``ddpm.unet.UNet``."""
        return {"in_channels": self.data.channels, "image_size": self.data.image_size, **self.model.model_dump()}


def check_num_steps(num_steps: int, num_timesteps: int) -> None:
    if num_steps > num_timesteps:
        raise ConfigError(
            f"sampling.num_steps must be at most schedule.num_timesteps ({num_timesteps}), got {num_steps}"
        )


def check_few_steps(settings: SamplingConfig, step_counts: Sequence[int]) -> None:
    """Refuse settings that a distilled model has not learned to sample with; others take any."""
    if not step_counts:
        return
    counts = either(step_counts)
    for field, value, learned, right in (
        ("sampler", settings.sampler, settings.sampler == "ddim", "ddim"),
        ("num_steps", settings.num_steps, settings.num_steps in step_counts, counts),
        ("spacing", settings.spacing, settings.spacing == "trailing", "trailing"),
        ("guidance_scale", settings.guidance_scale, settings.guidance_scale == 1, "1"),
    ):
        if not learned:
            raise ConfigError(
                f"sampling.{field} must be {right} for a model that was distilled to {counts} steps of DDIM, guidance "
                f"included; got {value}"
            )


# -- fields by name ---------------------------------------------------------------------------------------------------


def field_at(path: str) -> FieldInfo | None:
    """The field ``section.field``; None if there is none."""
    *sections, name = path.split(".")
    return fields_of(Config, sections).get(name)


def holds_text(path: str) -> bool:
    """Whether a field takes only text, or a list of texts."""
    field = field_at(path)
    return field is not None and _kinds(field.annotation) - {NoneType, ...} == {str}


def _kinds(annotation: Any) -> set[Any]:
    """The types of the values that an annotation allows, including those of a list's items."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    return set().union(*map(_kinds, get_args(annotation))) if get_args(annotation) else {annotation}
