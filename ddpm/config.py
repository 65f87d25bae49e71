"""The typed, frozen config: every default, range and unit in one place; YAML in and out.

A YAML file holds only what differs from the defaults. An unknown key, a wrong type or an impossible combination is a
``ConfigError`` that names the field and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from .errors import ConfigError, Fault, unknown
from .schedule import SCHEDULES, NoiseSchedule, make_schedule
from .yaml_text import lines_of, parse_yaml


class DatasetInfo(NamedTuple):
    """What is fixed about a dataset, before any file is read. None: the config decides."""

    channels: int | None
    num_classes: int | None
    image_size: int | None  # as stored; the config may ask for another
    about: str


DATASETS: dict[str, DatasetInfo] = {
    "digits": DatasetInfo(1, 10, 8, "scikit-learn's 1,797 handwritten digits, 8x8, inside the package"),
    "mnist": DatasetInfo(1, 10, 28, "MNIST, 70,000 handwritten digits, through torchvision"),
    "fashion_mnist": DatasetInfo(1, 10, 28, "Fashion-MNIST, 70,000 garments, through torchvision"),
    "cifar10": DatasetInfo(3, 10, 32, "CIFAR-10, 60,000 photographs, through torchvision"),
    "folder": DatasetInfo(None, None, None, "a folder of images; its subfolders, if any, are the classes"),
}


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_switch_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("input should not be true or false")
        return value


class DataConfig(Section):
    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10", "folder"] = Field(
        "mnist", description="What to learn from."
    )
    path: str | None = Field(None, description="The folder of images; for the dataset 'folder' only.")
    image_size: int = Field(32, ge=4, le=512, description="Height and width in pixels; images are resized to it.")
    channels: Literal[1, 3] = Field(1, description="1 for grey, 3 for colour.")
    val_fraction: float = Field(0.05, gt=0, lt=0.5, description="Share of the training images held out for validation.")
    horizontal_flip: bool = Field(False, description="Mirror half of the training images. Wrong for digits and text.")

    @model_validator(mode="after")
    def _fits_the_dataset(self):
        info = DATASETS[self.dataset]
        if info.channels and self.channels != info.channels:
            raise ValueError(f"channels must be {info.channels} for {self.dataset}, got {self.channels}")
        if (self.dataset == "folder") != (self.path is not None):
            raise ValueError("path goes with dataset 'folder', and only with it")
        return self


class ScheduleConfig(Section):
    name: Literal["linear", "cosine", "sigmoid", "quadratic", "scaled_linear"] = Field(
        "linear", description="How alpha_bar falls from 1 to 0."
    )
    num_timesteps: int = Field(1000, ge=2, le=10_000, description="T, the number of timesteps of training.")
    zero_terminal_snr: bool = Field(False, description="Rescale so that nothing of the image is left at T - 1.")
    beta_start: float | None = Field(None, gt=0, lt=1, description="beta at t = 0 (linear, quadratic, scaled_linear).")
    beta_end: float | None = Field(
        None, gt=0, lt=1, description="beta at t = T - 1 (linear, quadratic, scaled_linear)."
    )
    cosine_s: float | None = Field(None, gt=0, le=1, description="Offset s of the cosine schedule.")
    sigmoid_start: float | None = Field(None, ge=-20, le=20, description="Where on the sigmoid the schedule starts.")
    sigmoid_end: float | None = Field(None, ge=-20, le=20, description="Where on the sigmoid the schedule ends.")
    sigmoid_tau: float | None = Field(None, gt=0, le=10, description="Temperature of the sigmoid schedule.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, values: Any) -> Any:
        """Parameters left out take the named schedule's own defaults, so that a saved config says what ran."""
        if not isinstance(values, dict) or values.get("name", "linear") not in list(SCHEDULES):
            return values  # the field's own check names the fault
        return {
            **SCHEDULES[values.get("name", "linear")].defaults,
            **{k: v for k, v in values.items() if v is not None},
        }

    @model_validator(mode="after")
    def _only_its_own_parameters(self):
        known = SCHEDULES[self.name].defaults
        foreign = sorted(self.parameters.keys() - known)
        if foreign:
            raise ValueError(
                f"{foreign[0]} does not belong to the {self.name} schedule, which takes {', '.join(known)}"
            )
        if self.beta_start is not None and self.beta_start >= self.beta_end:
            raise ValueError(f"beta_start must be below beta_end, got {self.beta_start} and {self.beta_end}")
        if self.sigmoid_start is not None and self.sigmoid_start >= self.sigmoid_end:
            raise ValueError(
                f"sigmoid_start must be below sigmoid_end, got {self.sigmoid_start} and {self.sigmoid_end}"
            )
        self.build()
        return self

    @property
    def parameters(self) -> dict[str, float]:
        names = {name for spec in SCHEDULES.values() for name in spec.defaults}
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def build(self) -> NoiseSchedule:
        return make_schedule(self.name, self.num_timesteps, zero_terminal_snr=self.zero_terminal_snr, **self.parameters)


class DiffusionConfig(Section):
    prediction_type: Literal["eps", "x0", "v"] = Field("eps", description="What the network predicts.")
    loss: Literal["mse", "l1", "huber"] = Field("mse", description="Distance of prediction and target.")
    weighting: Literal["uniform", "min_snr"] = Field("uniform", description="Weight of the loss over t.")
    min_snr_gamma: float = Field(5.0, gt=0, le=100, description="Where min-SNR weighting caps the SNR.")


class ModelConfig(Section):
    base_channels: int = Field(32, ge=8, le=512, multiple_of=8, description="Channels of the first level.")
    channel_mult: tuple[int, ...] = Field(
        (1, 2, 4), min_length=1, max_length=6, description="Channels of each level, times base_channels."
    )
    num_res_blocks: int = Field(2, ge=1, le=8, description="Residual blocks a level.")
    attention_resolutions: tuple[int, ...] = Field((8,), description="Feature-map sizes in pixels with self-attention.")
    head_channels: int = Field(32, ge=8, le=256, multiple_of=8, description="Channels of one attention head.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in residual blocks.")
    num_classes: int = Field(0, ge=0, le=1000, description="Classes to condition on; 0 for an unconditional model.")
    patch_size: Literal[1, 2, 4] = Field(1, description="Pixels folded into channels before the first level.")
    stem_channels: int = Field(
        0, ge=0, le=256, multiple_of=8, description="Width of a full-resolution stem and head; 0 for none."
    )

    @model_validator(mode="after")
    def _positive(self):
        if min(self.channel_mult) < 1:
            raise ValueError(f"channel_mult must be 1 or more at every level, got {list(self.channel_mult)}")
        if any(
            m * self.base_channels % self.head_channels and m * self.base_channels > self.head_channels
            for m in self.channel_mult
        ):
            raise ValueError(
                f"head_channels {self.head_channels} must divide the channels of every level wider than it"
            )
        return self


class TrainingConfig(Section):
    epochs: int = Field(20, ge=1, le=100_000, description="Passes over the training images.")
    batch_size: int = Field(128, ge=1, le=8192, description="Images a step.")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Peak learning rate of AdamW.")
    warmup_steps: int = Field(200, ge=0, description="Steps of linear warm-up before the cosine decay to zero.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    grad_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(0.9995, ge=0, lt=1, description="Decay of the averaged weights, per step.")
    label_dropout: float = Field(
        0.15, ge=0, lt=1, description="Share of labels replaced by the null class; guidance needs it."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Mixed precision; auto takes what the device is fast at."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    seed: int = Field(0, ge=0, description="Seed of weights, order, noise and timesteps.")
    log_every: int = Field(20, ge=1, description="Steps between records of the metrics.")
    val_every: int = Field(500, ge=1, description="Steps between validations, each followed by a checkpoint.")
    sample_every: int = Field(1000, ge=1, description="Steps between sample grids.")


class SamplingConfig(Section):
    """How a model is sampled unless the caller says otherwise; a model carries its own."""

    sampler: Literal["ddpm", "ddim"] = Field("ddim", description="The reverse process.")
    num_steps: int = Field(50, ge=1, description="Network evaluations per image, without guidance.")
    eta: float = Field(0.0, ge=0, le=1, description="Share of fresh noise in DDIM: 0 deterministic, 1 as DDPM.")
    spacing: Literal["leading", "linspace", "trailing"] = Field("trailing", description="Which timesteps are visited.")
    guidance_scale: float = Field(1.0, ge=0, le=20, description="Classifier-free guidance; 1 is off.")
    clip: bool = Field(True, description="Clamp the predicted x0 to [-1, 1] at every step.")


class Config(Section):
    """Everything that defines a model, its training and its default sampling."""

    name: str = Field("run", description="Name of the run and of its folder.")
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()

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
                    f"model.attention_resolutions: {resolution} does not occur; this model has {occurring}"
                )
        classes = DATASETS[self.data.dataset].num_classes
        if model.num_classes and classes and model.num_classes != classes:
            raise ValueError(
                f"model.num_classes must be 0 or {classes} for {self.data.dataset}, got {model.num_classes}"
            )
        if self.schedule.zero_terminal_snr and self.diffusion.prediction_type == "eps":
            raise ValueError(
                "schedule.zero_terminal_snr needs diffusion.prediction_type v or x0: noise alone tells no x0"
            )
        check_num_steps(self.sampling.num_steps, self.schedule.num_timesteps)
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.data.channels, self.data.image_size, self.data.image_size

    def network_arguments(self) -> dict[str, Any]:
        """The arguments of ``ddpm.unet.UNet``."""
        return {"in_channels": self.data.channels, "image_size": self.data.image_size, **self.model.model_dump()}


def check_num_steps(num_steps: int, num_timesteps: int) -> None:
    if num_steps > num_timesteps:
        raise ConfigError(
            f"sampling.num_steps must be at most schedule.num_timesteps ({num_timesteps}), got {num_steps}"
        )


# -- reading and writing -------------------------------------------------------------------------------------------


def config_from_dict(
    values: Any, source: str = "config", lines: Mapping[str, int | None] = MappingProxyType({})
) -> Config:
    """Validate a nested dict; every fault is one line ``source, line N: section.field: what is wrong``.

    ``lines`` says where in ``source`` the fields stand, as ``ddpm.yaml_text.lines_of`` does.
    """
    if values is None:  # an empty file
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected sections such as 'data:' and 'model:', got {type(values).__name__}")
    values = {key: value for key, value in values.items() if value is not None}  # "training:" with nothing under it
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        faults = tuple(_explain(error, lines))
    texts = (
        f"{source}{f', line {fault.line}' if fault.line else ''}: "
        f"{f'{fault.field}: ' if fault.field else ''}{fault.message}"
        for fault in faults
    )
    raise ConfigError("\n".join(texts), faults)


def config_from_yaml(text: str, source: str = "YAML") -> Config:
    """Parse and validate YAML text; faults name their line."""
    values = parse_yaml(text, source)
    return config_from_dict(values, source, lines_of(text))


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML file. ``overrides`` are 'section.field=value' strings, applied on top."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    values = parse_yaml(text, str(path))
    lines: dict[str, int | None] = {**lines_of(text)}
    for override in overrides or []:
        values = {} if values is None else values
        lines[_override(values, override)] = None  # it no longer comes from the file
    return config_from_dict(values, str(path), lines)


def with_overrides(config: Config, overrides: list[str]) -> Config:
    """A copy of ``config`` with 'section.field=value' strings applied."""
    values = config.model_dump(mode="json")
    for override in overrides:
        _override(values, override)
    return config_from_dict(values, "--set")


def sampling_settings(config: Config, **changes: Any) -> SamplingConfig:
    """The config's sampling settings with ``changes``, checked against the rest of it; None leaves a setting as it is.

    Raises:
        ConfigError: unknown setting, a value out of range, or more steps than the schedule has timesteps.
    """
    values = config.model_dump(mode="json")
    values["sampling"] |= {name: value for name, value in changes.items() if value is not None}
    return config_from_dict(values, "sampling settings").sampling


def _override(values: Any, override: str) -> str:
    """Apply one 'section.field=value' to ``values``; returns 'section.field'."""
    path, equals, value = override.partition("=")
    path = path.strip()
    if not equals or not path:
        raise ConfigError(f"--set takes section.field=value, got {override!r}")
    change(values, path, parse_yaml(value, f"--set {path}"))
    return path


def change(values: Any, path: str, value: Any) -> None:
    """Set ``section.field`` in a nested dict; another schedule takes the parameters of the former with it.

    Raises:
        ConfigError: the sections of ``path`` are none in ``values``.
    """
    *sections, field = path.split(".")
    node = values
    for section in sections:
        node = node.setdefault(section, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ConfigError(f"--set {path}: {'.'.join(sections)} is no section")
    if path == "schedule.name" and value != node.get("name", "linear"):
        for parameter in {name for spec in SCHEDULES.values() for name in spec.defaults}:
            node.pop(parameter, None)
    node[field] = value


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs differ, ``{"training.epochs": (old value, new value)}``; names aside."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return {
        f"{section}.{field}": (before[section][field], after[section][field])
        for section in before
        if section != "name"
        for field in before[section]
        if before[section][field] != after[section][field]
    }


def config_to_yaml(config: Config) -> str:
    """The whole config, defaults included, as YAML that ``load_config`` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False, default_flow_style=None)


def _explain(error: ValidationError, lines: Mapping[str, int | None]) -> Iterator[Fault]:
    for fault in error.errors():
        where = [str(part) for part in fault["loc"]]
        if fault["type"] == "extra_forbidden":
            *sections, key = where
            field, message = ".".join(where), unknown("key", key, _fields_of(sections))
        elif fault["type"] == "model_type":
            field, message = ".".join(where), f"expected a section with fields, got {fault['input']!r}"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:] if message.startswith("Input") else message
            got = "" if isinstance(fault["input"], dict | BaseModel) else f", got {fault['input']!r}"
            field, message = _blame(where, f"{message}{got}")
        yield Fault(field, message, _line(field, lines))


def _blame(where: list[str], message: str) -> tuple[str, str]:
    """The field that a message is about, and the rest of the message.

    A check of several fields together begins its message with the one that it blames, as in "channels must be 3".
    """
    word, _, rest = message.partition(" ")
    path = [*where, *word.rstrip(":").split(".")]
    if len(path) == 2 and path[1] in _fields_of(path[:1]):
        return ".".join(path), rest
    return ".".join(where), message


def _line(field: str, lines: Mapping[str, int | None]) -> int | None:
    """The line of a field, else of the section that it is missing from."""
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return lines.get(field)


def _fields_of(sections: list[str]) -> list[str]:
    model: Any = Config
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not issubclass(field.annotation if isinstance(field.annotation, type) else object, Section):
            return []
        model = field.annotation
    return list(model.model_fields)
