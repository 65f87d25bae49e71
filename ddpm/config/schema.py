"""The sections of a config and their checks; every field has its default, its unit and its range here."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ..datasets import DATASETS, NUMERALS
from ..errors import ConfigError
from ..files import user_path
from ..names import listed
from ..options import option
from ..samplers import SAMPLERS
from ..schedule import SCHEDULES, SPACINGS, NoiseSchedule, make_schedule
from .faults import shown, worded
from .yaml_text import dump_yaml

MAX_NAME = 100  # characters of a class's name
MAX_NAMES = 50_000  # bytes of all of them as YAML; the names of 1,000 classes have 15,000


def _setting(default: Any, description: str, unit: str = "", **limits: Any) -> Any:
    """A field with its default; the rest is that of an option."""
    return option(description, unit, default=default, **limits)


class _Meta(type(BaseModel)):
    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            path = tuple(name for name, field in Config.model_fields.items() if field.annotation is cls)
            raise worded(error, fields_of, cls.__name__, path=path) from None


class Section(BaseModel, metaclass=_Meta):
    """A part of the config.

    Raises:
        ConfigError: a value that is not valid; names the field and what would be right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    """Of a field: its text is a name in a registry, which may have grown since this module was imported."""

    def __init__(self, registry: Mapping[str, Any]):
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def offered(self) -> tuple[str, ...]:
        """The names that a person may choose."""
        return tuple(name for name, entry in self.registry.items() if getattr(entry, "offered", True))

    def _check(self, name: Any) -> Any:
        if not isinstance(name, str) or name not in self.registry:
            *most, last = map(repr, self.offered())
            raise ValueError(f"must be {', '.join(most)} or {last}")
        return name


class OpenSection(Section, extra="allow"):
    """A section that also has the options of what a registry holds as fields, flat beside its own."""

    registry: ClassVar[Mapping[str, Any]]
    named_by: ClassVar[str]
    """The field that holds the name of one of the registry's entries."""
    keeps_all: ClassVar[bool] = False
    """Whether the options of all entries are fields at any time, or those of the named one alone."""

    @classmethod
    def known_fields(cls) -> dict[str, FieldInfo]:
        """Its own fields and the options of all entries. Where only those of one count, their default is None: each
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
                faults = [cls._worded(fault, values, entries) for fault in error.errors(include_url=False)]
        try:
            section = handler(own | options)
        except ValidationError as error:
            faults = error.errors(include_url=False) + faults
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return section

    @classmethod
    def _worded(cls, fault: Any, values: Mapping[str, Any], entries: Sequence[Any]) -> Any:
        (key, *_), name = fault["loc"], values.get(cls.named_by, "")
        if fault["type"] != "extra_forbidden" or key not in cls.known_fields():
            return fault
        takes = ", ".join(name for entry in entries for name in entry.options)
        name = name or cls.model_fields[cls.named_by].default
        said = f"{key} does not belong to the {name} {cls.__name__.removesuffix('Config').lower()}, which takes {takes}"
        return {"type": "value_error", "loc": (), "input": values, "ctx": {"error": ValueError(said)}}


@lru_cache(maxsize=64)
def _options_model(entries: tuple[Any, ...]) -> type[Section]:
    options = {name: (info.annotation, info) for entry in entries for name, info in entry.options.items()}
    return create_model("Options", __base__=Section, **options)


def stated(section: type[Section], values: dict[Any, Any]) -> dict[Any, Any]:
    """``values`` without the fields that have none, which take their defaults, such as ``training:`` with nothing under
    it. A key that nobody knows stays, to be refused."""
    known = section.known_fields()
    return {key: value for key, value in values.items() if value is not None or key not in known}


class DataConfig(Section):
    dataset: Annotated[str, OneOf(DATASETS)] = _setting(
        "mnist", "What to learn from. digits is inside the package; the others are downloaded once; folder is your own."
    )
    path: str | None = _setting(
        None, "The folder of images, for the dataset 'folder' only; its subfolders are classes."
    )
    image_size: int = _setting(
        32,
        "Height and width that images are resized to. Twice the size costs four times the work.",
        "pixels",
        ge=4,
        le=512,
    )
    channels: Literal[1, 3] = _setting(1, "1 for grey images, 3 for colour; fixed by most datasets.", "channels")
    background: str = _setting(
        "white", "What shows where an image is transparent: white, black, or a colour such as #336699. For folders."
    )
    digest: str | None = _setting(
        None, "Which images a folder held when it was trained on: SHA-256 of their content. Training fills it in."
    )
    val_fraction: float = _setting(
        0.05,
        "Part of the training images held out to measure the validation loss. More is a steadier number, and "
        "fewer images to learn from.",
        "0 to 1",
        gt=0,
        lt=0.5,
    )
    horizontal_flip: bool = _setting(
        False, "Mirror half of the training images at random: more variety for photographs, wrong for digits and text."
    )
    class_names: tuple[str, ...] | None = _setting(
        None,
        "Names of the folder's classes, in the order of their labels. Training fills them in from its subfolders.",
        "names",
    )

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        if not re.fullmatch(r"white|black|#[0-9a-fA-F]{6}", background):
            raise ValueError("must be white, black or a colour such as '#336699'")
        return background

    @field_validator("digest")
    @classmethod
    def _is_a_hash(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("must be 64 of 0-9 and a-f, or left out")
        return digest

    @field_validator("class_names")
    @classmethod
    def _are_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if not names:
            return None
        for name in names:
            # Surrogates are what Python makes of a file name that is not UTF-8; no file of ours can hold them.
            if not 1 <= len(name) <= MAX_NAME or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
                raise ValueError(
                    f"must have names of 1 to {MAX_NAME} characters without line breaks, control characters or bytes "
                    f"that are not UTF-8; one is {shown(name)}"
                )
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"must differ from each other; {shown(twice[0])} stands there twice")
        if (size := len(dump_yaml(list(names)).encode())) > MAX_NAMES:
            raise ValueError(f"must be shorter: together they have {size:,} bytes, {MAX_NAMES:,} are the most")
        return names

    @model_validator(mode="after")
    def _fits_the_dataset(self):
        info = DATASETS[self.dataset]
        if info.channels and self.channels != info.channels:
            raise ValueError(f"channels must be {info.channels} for {self.dataset}, got {self.channels}")
        if self.dataset == "folder" and not (self.path or "").strip():
            raise ValueError("path must name the folder that holds the images")
        if self.dataset != "folder" and self.path is not None:
            raise ValueError(f"path must be left out for {self.dataset}: it is for the dataset 'folder' alone")
        if self.digest and self.dataset != "folder":
            raise ValueError("digest goes with dataset 'folder', and only with it")
        if self.class_names and info.function:
            raise ValueError(f"class_names go with dataset 'folder'; {self.dataset} has its own")
        return self

    @property
    def folder(self) -> Path:
        """``path`` from the root of the file system, with ~ as home."""
        return user_path(self.path).absolute()

    @property
    def known_class_names(self) -> tuple[str, ...]:
        """The names of the dataset's classes, as far as they are known before it is read; () where they are not."""
        return self.class_names or DATASETS[self.dataset].class_names


class ScheduleConfig(OpenSection):
    """The noise schedule; beside these fields it has the parameters of the schedule that ``name`` names, no others."""

    registry: ClassVar = SCHEDULES
    named_by: ClassVar = "name"

    name: Annotated[str, OneOf(SCHEDULES)] = _setting(
        "linear", "How alpha_bar, the share of the image's variance that is left, falls from 1 to 0."
    )
    num_timesteps: int = _setting(
        1000,
        "T, how finely training cuts the way from image to noise. Sampling may take fewer steps.",
        "timesteps",
        ge=2,
        le=10_000,
    )
    zero_terminal_snr: bool = _setting(
        False,
        "Rescale so that nothing of the image is left at T - 1: samples reach full black and white. Needs "
        "v- or x0-prediction.",
    )

    @model_validator(mode="after")
    def _makes_a_schedule(self):
        self.build()
        return self

    @property
    def parameters(self) -> dict[str, float]:
        return dict(self.model_extra)

    def build(self) -> NoiseSchedule:
        return make_schedule(self.name, self.num_timesteps, zero_terminal_snr=self.zero_terminal_snr, **self.parameters)


class DiffusionConfig(Section):
    prediction_type: Literal["eps", "x0", "v"] = _setting(
        "eps",
        "What the network predicts: the noise, the clean image, or v, a mix that is well scaled at every t and "
        "learns soonest.",
    )
    loss: Literal["mse", "l1", "huber"] = _setting(
        "mse", "Distance of prediction and target. l1 and huber mind outliers less."
    )
    weighting: Literal["uniform", "min_snr"] = _setting(
        "uniform", "Weight of the loss over t. min_snr holds back the nearly clean images at small t."
    )
    min_snr_gamma: float = _setting(
        5.0, "Where min_snr caps the SNR. Smaller holds back more of the small t.", "SNR", gt=0, le=100
    )


class ModelConfig(Section):
    base_channels: int = _setting(
        32,
        "Width of the first level. Twice the width is four times the parameters and the work, and more detail learnt.",
        "channels",
        ge=8,
        le=512,
        multiple_of=8,
    )
    channel_mult: tuple[int, ...] = _setting(
        (1, 2, 4),
        "Width of each level in units of base_channels; each level halves the resolution.",
        "factor per level",
        min_length=1,
        max_length=6,
    )
    num_res_blocks: int = _setting(
        2, "Depth: residual blocks at each level. More learns more and takes longer.", "blocks", ge=1, le=8
    )
    attention_resolutions: tuple[int, ...] = _setting(
        (8,),
        "Feature maps of these sizes get self-attention, which sees the whole image at once; costly at large sizes.",
        "pixels",
    )
    head_channels: int = _setting(
        32, "Width of one attention head. Smaller makes more heads.", "channels", ge=8, le=256, multiple_of=8
    )
    dropout: float = _setting(
        0.0,
        "Part of the features switched off at random in training. Helps small datasets, slows the rest.",
        "0 to 1",
        ge=0,
        lt=1,
    )
    num_classes: int = _setting(
        0, "Classes to ask for when sampling; 0 for a model that draws whatever it likes.", "classes", ge=0, le=1000
    )
    patch_size: Literal[1, 2, 4] = _setting(
        1,
        "Squares of this many pixels are folded into channels before the first level: 2 costs a quarter, and loses "
        "fine detail unless stem_channels is set.",
        "pixels",
    )
    stem_channels: int = _setting(
        0,
        "Width of a layer at full resolution around the network, for fine detail; 0 for none.",
        "channels",
        ge=0,
        le=256,
        multiple_of=8,
    )

    @model_validator(mode="after")
    def _positive(self):
        if min(self.channel_mult) < 1:
            raise ValueError(f"channel_mult must be 1 or more at every level, got {list(self.channel_mult)}")
        if max(self.channel_mult) * self.base_channels > MAX_WIDTH:
            raise ValueError(
                f"channel_mult must leave every level at most {MAX_WIDTH:,} channels, got {max(self.channel_mult)} x "
                f"{self.base_channels}"
            )
        if any(
            m * self.base_channels % self.head_channels and m * self.base_channels > self.head_channels
            for m in self.channel_mult
        ):
            raise ValueError(
                f"head_channels {self.head_channels} must divide the channels of every level wider than it"
            )
        return self


class TrainingConfig(Section):
    epochs: int = _setting(
        20,
        "Passes over the training images. More is better and takes longer, until the validation loss rises.",
        "epochs",
        ge=1,
        le=100_000,
    )
    batch_size: int = _setting(
        128, "Images that a step averages over. More is steadier and needs more memory.", "images", ge=1, le=8192
    )
    learning_rate: float = _setting(
        2e-4,
        "Peak step size of AdamW. Too high and the loss jumps or explodes, too low and it crawls.",
        "per step",
        gt=0,
        le=1,
    )
    warmup_steps: int = _setting(
        200,
        "The learning rate rises over these, then falls to zero on a cosine. More is safer at a high rate.",
        "steps",
        ge=0,
    )
    weight_decay: float = _setting(
        0.0,
        "Pull of the weights towards zero (AdamW's, decoupled). Works against overfitting.",
        "per step",
        ge=0,
        le=1,
    )
    grad_clip: float = _setting(
        1.0, "Longer gradients are cut to this norm. Smaller calms a loss that jumps.", "L2 norm", gt=0
    )
    ema_decay: float = _setting(
        0.9995,
        "The weights that are sampled are an average over about 1 / (1 - decay) steps. Closer to 1 is smoother "
        "and needs a longer training.",
        "per step",
        ge=0,
        lt=1,
    )
    label_dropout: float = _setting(
        0.15,
        "Part of the labels withheld, so that the model also learns to draw without one. Guidance needs some.",
        "0 to 1",
        ge=0,
        lt=1,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = _setting(
        "auto", "Mixed precision is up to twice as fast; auto takes what the device is fast at."
    )
    compile: bool = _setting(
        False,
        "Compile the network before the first step, into fewer kernels that a GPU replays as one graph. Takes minutes, "
        "so it is for long trainings, and needs a C++ compiler.",
    )
    device: str = _setting(
        "auto", "Where to train: auto, cpu, cuda, cuda:N or mps. auto takes a GPU where there is one."
    )
    seed: int = _setting(0, "Decides first weights, order, noise and timesteps: same seed, same run.", "number", ge=0)
    log_every: int = _setting(
        20, "Between two records of the metrics. More makes the curves smoother and slower to move.", "steps", ge=1
    )
    val_every: int = _setting(
        500,
        "Between two validations, each with a checkpoint: a crash loses at most this many steps.",
        "steps",
        ge=1,
    )
    sample_every: int = _setting(
        1000, "Between two sample grids. Each costs the time of a few dozen steps.", "steps", ge=1
    )


class SamplingConfig(OpenSection):
    """How a model is sampled unless the caller says otherwise; a model carries its own. Beside these fields it has the
    options of all samplers, so that one may change the sampler and keep them."""

    registry: ClassVar = SAMPLERS
    named_by: ClassVar = "sampler"
    keeps_all: ClassVar = True

    sampler: Annotated[str, OneOf(SAMPLERS)] = _setting(
        "ddim",
        "The reverse process: ddpm adds fresh noise at every step, ddim needs far fewer steps, heun and dpmpp_2m fewer "
        "still.",
    )
    num_steps: int = _setting(
        50, "Timesteps that the sampler visits. More is slower and usually better.", "steps", ge=1
    )
    spacing: Literal[SPACINGS] = _setting(
        "trailing",
        "Which timesteps are visited; trailing starts where the noise is strongest, quadratic as well, and takes "
        "smaller steps where there is less.",
    )
    guidance_scale: float = _setting(
        1.0,
        "How strongly to follow the class: 1 plainly, above 1 clearer and more alike, 0 not at all.",
        "factor",
        ge=0,
        le=20,
    )
    guidance_interval: tuple[int, ...] | None = _setting(
        None,
        "First and last timestep at which guidance acts. Skipping the noisiest steps preserves variety; skipping the "
        "cleanest saves time. None for all.",
        "timesteps",
        min_length=2,
        max_length=2,
    )
    clip: bool = _setting(True, "Clamp the predicted clean image to the range of images at every step.")

    @field_validator("guidance_interval")
    @classmethod
    def _is_an_interval(cls, interval: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if interval and not 0 <= interval[0] <= interval[1]:
            raise ValueError(f"must be two timesteps, the first from 0 to the last, got {list(interval)}")
        return interval


# With less at T - 1, x0 = (x_t - s eps) / sqrt(alpha_bar) is the rounding error of fp32. The cosine schedule has 2e-9.
MIN_ALPHA_BAR = 1e-12
MAX_YAML = 64_000  # bytes of a config; one with every field has 2,000
MAX_WIDTH = 8192  # channels of a level


class Config(Section):
    """Everything that defines a model, its training and its default sampling."""

    name: str = _setting("run", "Name of the run and of its folder.")
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)  # anew: what is registered later counts
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
                "schedule.zero_terminal_snr needs diffusion.prediction_type v or x0: noise alone tells no x0"
            )
        left = self.schedule.build().alpha_bar(self.schedule.num_timesteps - 1)
        if left < MIN_ALPHA_BAR and self.diffusion.prediction_type == "eps":
            raise ValueError(
                f"diffusion.prediction_type must be v or x0 for this schedule: it leaves alpha_bar = {left:.0e} at "
                "T - 1, and noise alone tells no x0"
            )
        check_num_steps(self.sampling.num_steps, self.schedule.num_timesteps)
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.data.channels, self.data.image_size, self.data.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes that the model can be asked for, in the order of their labels: those of the dataset,
        else "0", "1", ...; () for an unconditional model."""
        if not self.model.num_classes:
            return ()
        return self.data.known_class_names or tuple(map(str, range(self.model.num_classes)))

    @property
    def noun(self) -> str:
        """What its images are called, one of them: digit or image."""
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


# -- fields by name ---------------------------------------------------------------------------------------------------


def fields_of(sections: Sequence[str]) -> dict[str, FieldInfo]:
    model: Any = Config
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not issubclass(field.annotation if isinstance(field.annotation, type) else object, Section):
            return {}
        model = field.annotation
    return model.known_fields()


def field_at(path: str) -> FieldInfo | None:
    """The field ``section.field``; None where there is no such."""
    *sections, name = path.split(".")
    return fields_of(sections).get(name)


def holds_text(path: str) -> bool:
    """Whether a field takes text alone, or a list of texts."""
    field = field_at(path)
    return field is not None and _kinds(field.annotation) - {NoneType, ...} == {str}


def _kinds(annotation: Any) -> set[Any]:
    """The types of the values that an annotation allows, those of a list's items among them."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    return set().union(*map(_kinds, get_args(annotation))) if get_args(annotation) else {annotation}
