"""The typed, frozen config: every default, range and unit in one place; YAML in and out.

A YAML file holds only what differs from the defaults. An unknown key, a wrong type or an impossible combination is a
``ConfigError`` that names the field and what would be right.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from .errors import ConfigError, unknown
from .schedule import SCHEDULES, NoiseSchedule, make_schedule


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

    name: str = Field("run", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Name of the run: a-z, 0-9, - and _.")
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()

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


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's floats: 1.1 reads 2e-4 as a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, source: str = "YAML") -> Any:
    """Parse YAML text; a syntax error is a ConfigError that names ``source``, line and column."""
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = (getattr(error, "problem", None) or str(error)).splitlines()[0]
        raise ConfigError(f"{source}{where}: not valid YAML: {reason}") from None


def config_from_dict(values: Any, source: str = "config") -> Config:
    """Validate a nested dict; every fault is one line ``source: section.field: what is wrong``."""
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected sections such as 'data:' and 'model:', got {type(values).__name__}")
    values = {key: value for key, value in values.items() if value is not None}  # "training:" with nothing under it
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {line}" for line in _explain(error))) from None


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML file. ``overrides`` are 'section.field=value' strings, applied on top."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    values = parse_yaml(text, str(path))
    return config_from_dict(_with_overrides({} if values is None else values, overrides or []), str(path))


def with_overrides(config: Config, overrides: list[str]) -> Config:
    """A copy of ``config`` with 'section.field=value' strings applied."""
    return config_from_dict(_with_overrides(config.model_dump(mode="json"), overrides), "--set")


def sampling_settings(config: Config, **changes: Any) -> SamplingConfig:
    """The config's sampling settings with ``changes``, checked against the rest of it; None leaves a setting as it is.

    Raises:
        ConfigError: unknown setting, a value out of range, or more steps than the schedule has timesteps.
    """
    values = config.model_dump(mode="json")
    values["sampling"] |= {name: value for name, value in changes.items() if value is not None}
    return config_from_dict(values, "sampling settings").sampling


def _with_overrides(values: Any, overrides: list[str]) -> Any:
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set takes section.field=value, got {override!r}")
        *sections, field = path.strip().split(".")
        node = values
        for section in sections:
            node = node.setdefault(section, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(f"--set {path}: {'.'.join(sections)} is no section")
        new = parse_yaml(value, f"--set {path}")
        if (sections, field) == (["schedule"], "name") and new != node.get("name", "linear"):
            for parameter in {name for spec in SCHEDULES.values() for name in spec.defaults}:
                node.pop(parameter, None)  # another schedule brings its own
        node[field] = new
    return values


def config_to_yaml(config: Config) -> str:
    """The whole config, defaults included, as YAML that ``load_config`` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False, default_flow_style=None)


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            *sections, key = fault["loc"]
            lines.append(f"{where}: {unknown('key', key, _fields_of(sections))}")
            continue
        if fault["type"] == "model_type":
            lines.append(f"{where}: expected a section with fields, got {fault['input']!r}")
            continue
        message = fault["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:] if message.startswith("Input") else message
        got = "" if isinstance(fault["input"], dict | BaseModel) else f", got {fault['input']!r}"
        lines.append(f"{where}: {message}{got}" if where else f"{message}")
    return lines


def _fields_of(sections: list) -> list[str]:
    model: Any = Config
    for section in sections:
        model = model.model_fields[section].annotation
    return list(model.model_fields)
