"""The config's sections except ``data``: every field with its default, unit and range."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import field_validator, model_validator

from ..diffusion import PREDICTION_TYPES
from ..samplers import SAMPLERS
from ..schedule import SCHEDULES, NoiseSchedule, make_schedule
from ..spacing import SPACINGS
from .section import OneOf, OpenSection, Section, setting

MAX_WIDTH = 8192  # channels of a level
MAX_FEW = 64  # steps of a distilled model


class ScheduleConfig(OpenSection):
    """The noise schedule; besides these fields it has the parameters of the schedule that ``name`` names, no others."""

    title: ClassVar = "schedule"
    registry: ClassVar = SCHEDULES
    named_by: ClassVar = "name"

    name: Annotated[str, OneOf(SCHEDULES)] = setting(
        "linear", "How alpha_bar, the share of the image's variance that is left, falls from 1 to 0."
    )
    num_timesteps: int = setting(
        1000,
        "T, the number of steps from image to noise in training. Sampling may take fewer.",
        "timesteps",
        ge=2,
        le=10_000,
    )
    zero_terminal_snr: bool = setting(
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
    title: ClassVar = "diffusion"

    prediction_type: Literal[PREDICTION_TYPES] = setting(
        "eps",
        "What the network predicts: the noise, the clean image, v, a mix that is well scaled at every t and learns "
        "soonest, or u, the velocity eps - x0 of rectified flow.",
    )
    loss: Literal["mse", "l1", "huber"] = setting(
        "mse", "Distance between prediction and target. l1 and huber are less sensitive to outliers."
    )
    weighting: Literal["uniform", "min_snr"] = setting(
        "uniform", "Weight of the loss over t. min_snr gives less to the nearly clean images at small t."
    )
    min_snr_gamma: float = setting(
        5.0, "Where min_snr caps the SNR. Smaller gives less weight to more of the small t.", "SNR", gt=0, le=100
    )


class ModelConfig(Section):
    title: ClassVar = "model"

    base_channels: int = setting(
        32,
        "Width of the first level. Doubling it takes four times the parameters and the work, and learns more detail.",
        "channels",
        ge=8,
        le=512,
        multiple_of=8,
    )
    channel_mult: tuple[int, ...] = setting(
        (1, 2, 4),
        "Width of each level in units of base_channels; each level halves the resolution.",
        "factor per level",
        min_length=1,
        max_length=6,
    )
    num_res_blocks: int = setting(
        2, "Depth: residual blocks at each level. More learns more and takes longer.", "blocks", ge=1, le=8
    )
    attention_resolutions: tuple[int, ...] = setting(
        (8,),
        "Feature maps of these sizes get self-attention, which sees the whole image at once; costly at large sizes.",
        "pixels",
    )
    head_channels: int = setting(
        32, "Width of one attention head. Smaller makes more heads.", "channels", ge=8, le=256, multiple_of=8
    )
    dropout: float = setting(
        0.0,
        "Part of the features switched off at random in training. Helps small datasets, slows the rest.",
        "0 to 1",
        ge=0,
        lt=1,
    )
    num_classes: int = setting(
        0, "Classes that sampling can ask for; 0 for a model that draws any of its images.", "classes", ge=0, le=1000
    )
    patch_size: Literal[1, 2, 4] = setting(
        1,
        "Squares with sides of this length are folded into channels before the first level: 2 costs a quarter, and "
        "loses fine detail unless stem_channels is set.",
        "pixels",
    )
    stem_channels: int = setting(
        0,
        "Width of a layer at full resolution around the network, for fine detail; 0 for none.",
        "channels",
        ge=0,
        le=256,
        multiple_of=8,
    )
    step_counts: tuple[int, ...] = setting(
        (),
        "Numbers of steps that a distilled model draws in, such as 1, 2, 4, 8: it learns to do what the model in "
        "training.start_from does in many. Empty for a model that takes any number.",
        "steps",
        max_length=8,
    )

    @field_validator("step_counts")
    @classmethod
    def _rising(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if list(counts) != sorted(set(counts)) or (counts and not 1 <= counts[0] <= counts[-1] <= MAX_FEW):
            raise ValueError(f"must be whole numbers from 1 to {MAX_FEW}, rising, got {list(counts)}")
        if counts and math.lcm(*counts) > MAX_FEW:
            raise ValueError(
                f"must have a common multiple of at most {MAX_FEW}, the steps of the teacher, such as 1, 2, 4, 8; got "
                f"{list(counts)}"
            )
        return counts

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
    title: ClassVar = "training"

    epochs: int = setting(
        20,
        "Passes over the training images. More is better and takes longer, until the validation loss rises.",
        "epochs",
        ge=1,
        le=100_000,
    )
    batch_size: int = setting(
        128, "Images per training step. More is steadier and needs more memory.", "images", ge=1, le=8192
    )
    learning_rate: float = setting(
        2e-4,
        "Peak step size of AdamW. Too high and the loss jumps or explodes, too low and it crawls.",
        "per step",
        gt=0,
        le=1,
    )
    warmup_steps: int = setting(
        200,
        "The learning rate rises over these steps, then falls to zero along a cosine. More is safer at a high rate.",
        "steps",
        ge=0,
    )
    weight_decay: float = setting(
        0.0,
        "Pull of the weights towards zero (AdamW's, decoupled). Works against overfitting.",
        "per step",
        ge=0,
        le=1,
    )
    grad_clip: float = setting(
        1.0, "Gradients are clipped to this norm. Smaller calms a loss that jumps.", "L2 norm", gt=0
    )
    ema_decay: float = setting(
        0.9995,
        "The weights that are sampled are an average over about 1 / (1 - decay) steps. Closer to 1 is smoother "
        "and needs a longer training.",
        "per step",
        ge=0,
        lt=1,
    )
    ema_snapshots: int = setting(
        0,
        "Snapshots of two more averages, spread over the training, from which one of any length can be made "
        "afterwards: python -m ddpm ema. 16 are enough; each takes as much space as the weights.",
        "number",
        ge=0,
        le=256,
    )
    start_from: str | None = setting(
        None,
        "A trained model whose weights the training starts from, such as mnist or run:NAME. Its network must be the "
        "same; with model.step_counts it is the teacher. None to learn from scratch.",
    )
    trajectories: int = setting(
        24_000,
        "For a distillation: images that the teacher draws before the first step, with the states on their way, which "
        "are what is learned from. More is better.",
        "images",
        ge=2,
        le=1_000_000,
    )
    timesteps: Literal["stratified", "uniform", "logit_normal"] = setting(
        "stratified",
        "How training draws t: stratified is uniform and even over each batch, logit_normal prefers the middle "
        "of 0..T-1, where there is most to decide.",
    )
    label_dropout: float = setting(
        0.15,
        "Part of the labels dropped, so that the model also learns to draw without one. Guidance needs some.",
        "0 to 1",
        ge=0,
        lt=1,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "Mixed precision is up to twice as fast; auto takes one that is fast on the device."
    )
    compile: bool = setting(
        False,
        "Compile the network before the first step, into fewer kernels that a GPU replays as one graph. Takes minutes, "
        "so it is for long trainings, and needs a C++ compiler.",
    )
    device: str = setting(
        "auto", "Where to train: auto, cpu, cuda, cuda:N or mps. auto takes a GPU where there is one."
    )
    seed: int = setting(0, "Decides initial weights, order, noise and timesteps: same seed, same run.", "number", ge=0)
    log_every: int = setting(
        20, "Interval between records of the metrics. Longer gives smoother curves that move later.", "steps", ge=1
    )
    val_every: int = setting(
        500,
        "Interval between validations, each with a checkpoint: a crash loses at most this many steps.",
        "steps",
        ge=1,
    )
    sample_every: int = setting(
        1000, "Interval between sample grids. Each costs the time of a few dozen steps.", "steps", ge=1
    )
    track: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = setting(
        (),
        "Programs that show the curves and the sample grids as well, each a package that you install yourself. None "
        "for this app alone.",
    )

    @field_validator("track")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"must name each program once, got {list(names)}")
        return names


class SamplingConfig(OpenSection):
    """A model's default sampling settings, stored with it. Besides these fields it has the options of all samplers, so
    that they survive a change of sampler."""

    title: ClassVar = "sampling"
    registry: ClassVar = SAMPLERS
    named_by: ClassVar = "sampler"
    keeps_all: ClassVar = True

    sampler: Annotated[str, OneOf(SAMPLERS)] = setting(
        "ddim",
        "The reverse process: ddpm adds fresh noise at every step, ddim needs far fewer steps, heun and dpmpp_2m fewer "
        "still.",
    )
    num_steps: int = setting(50, "Timesteps that the sampler visits. More is slower and usually better.", "steps", ge=1)
    spacing: Literal[SPACINGS] = setting(
        "trailing",
        "Which timesteps are visited; trailing and quadratic start where the noise is strongest, and quadratic takes "
        "smaller steps where there is less.",
    )
    guidance_scale: float = setting(
        1.0,
        "How strongly to follow the class: 1 plainly, above 1 clearer and more alike, 0 not at all.",
        "factor",
        ge=0,
        le=20,
    )
    guidance_interval: tuple[int, ...] | None = setting(
        None,
        "First and last timestep at which guidance acts. Skipping the noisiest steps preserves variety; skipping the "
        "cleanest saves time. None for all.",
        "timesteps",
        min_length=2,
        max_length=2,
    )
    clip: bool = setting(True, "Clamp the predicted clean image to the range of images at every step.")

    @field_validator("guidance_interval")
    @classmethod
    def _is_an_interval(cls, interval: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if interval and not 0 <= interval[0] <= interval[1]:
            raise ValueError(f"must be two timesteps, the first from 0 to the last, got {list(interval)}")
        return interval
