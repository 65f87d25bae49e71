"""The experiments that a card of a lesson can have, as its file states them; ``experiments`` draws them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ..config.section import OneOf, Section
from ..errors import unknown
from ..plane import DATASETS as PLANES
from ..samplers import SAMPLERS
from ..schedule import SCHEDULES


class Shot(Section):
    """One set of images, and what is said of it."""

    label: str
    settings: dict[str, Any] = Field(default_factory=dict)
    """On top of the experiment's."""
    model: str | None = None
    seed: int | None = None
    labels: tuple[int, ...] | None = None
    between: tuple[int, int] | None = None
    """In place of the seed: images of noises mixed from those of two seeds, the first and the last being theirs."""
    fresh: int | None = None
    """The seed of the noise that is added on the way, where it is not that of the noise at the start."""


class Samples(Section):
    """Images that a model draws, in several sets, one below the other."""

    kind: ClassVar = "samples"

    shots: tuple[Shot, ...] = Field(min_length=1, max_length=5)
    model: str = "mnist"
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of ``sampling`` in a config; the model's own by default."""
    seed: int = 0
    labels: tuple[int, ...] = ()
    """() asks for no class."""
    count: int = Field(10, ge=1, le=16)
    columns: int = Field(5, ge=1, le=16)
    shows: Literal["images", "guesses"] = "images"
    """Guesses: the predicted x0 at five moments of the walk, from the first to the last."""
    measures: tuple[Literal["asked", "spread", "evaluations", "same", "near"], ...] = ()
    """Said below each set: how many the classifier reads as asked; the mean standard deviation of a pixel; network
    evaluations for each image; how many images equal those of the first set to the pixel; how near they come to those
    of the last, as a PSNR in dB."""


class Noising(Section):
    """One image at several noise levels of a schedule."""

    label: str = ""
    schedule: Annotated[str, OneOf(SCHEDULES)] = "linear"
    num_timesteps: int = Field(1000, ge=2, le=1000)
    t: tuple[int, ...] = ()
    alpha_bar: tuple[float, ...] = ()
    """In place of t: the timesteps at which as much is left; 1 is the picture without noise."""
    size: int = Field(128, ge=8, le=192)
    averaged: int = Field(1, ge=1, le=16)
    """Squares of so many pixels a side are replaced by their mean, and the contrast that noising took is put back."""
    stepwise: bool = False
    """Noised one step after the other, with fresh noise in each, and not in one go."""
    measured: bool = False
    """Mean and spread of the pixels are said below, in place of the share that is left."""


class Noised(Section):
    """A photograph under noise, whose pixels have mean 0 and variance 1, as the noise has. Colours end at ± 2."""

    kind: ClassVar = "noised"

    rows: tuple[Noising, ...] = Field(min_length=1, max_length=4)
    picture: Literal["flower", "temple"] = "flower"
    seed: int = 0


class Guessed(Section):
    """What a network makes of a noised picture, in one evaluation for each."""

    kind: ClassVar = "guessed"

    t: tuple[int, ...] = Field(min_length=1, max_length=8)
    asked: tuple[int | None, ...] = (None,)
    """A row for each of these classes; null asks for none."""
    model: str = "mnist"
    picture: Literal["digit", "flower"] = "digit"
    digit: int = Field(3, ge=0, le=9)
    seed: int = 0
    shows: tuple[Literal["x_t", "x0", "eps", "error"], ...] = ("x_t", "x0")
    """The error is that of the noise, ten times as strong."""


class Walked(Section):
    """Points in the plane, drawn with the exact denoiser."""

    label: str
    guidance: float = 1.0
    steps: int = Field(50, ge=1, le=200)
    sampler: Annotated[str, OneOf(SAMPLERS)] = "ddim"
    spacing: Literal["trailing", "quadratic"] = "trailing"
    points: int | None = Field(None, ge=2, le=5000)
    """In place of all data: so many points, of which the denoiser knows no more than a training set would tell it."""


class Walks(Section):
    """Points in the plane beside the data that they should follow."""

    kind: ClassVar = "plane"

    shots: tuple[Walked, ...] = Field(min_length=1, max_length=4)
    data: Annotated[str, OneOf(PLANES)] = "mixture"
    of_class: int | None = None


class Scored(Section):
    """A bar of a chart of scores: a stage of a model's evaluation, or the real images beside it."""

    label: str
    model: str
    stage: str
    real: bool = False
    value: float | None = None
    """In place of both: a number that needs no measuring."""


class Charted(Section):
    """A chart of what is known: of schedules, of a shipped evaluation, of a shipped training."""

    kind: ClassVar = "chart"

    of: Literal["schedules", "calibration", "loss", "bands", "scores", "averages"]
    schedules: tuple[Annotated[str, OneOf(SCHEDULES)], ...] = ("linear", "cosine")
    quantity: Literal["alpha_bar", "log_snr", "beta"] = "alpha_bar"
    model: str = "mnist"
    metric: str = "mse"
    """One of the calibration, or for scores one of ``ddpm.evaluation.results.METRICS`` or memorisation_ratio."""
    scores: tuple[Scored, ...] = ()
    decays: tuple[float, ...] = (0.99, 0.999)
    beside: Charted | None = None
    """A second chart."""


class Images(Section):
    """Real images, as they are and mirrored."""

    kind: ClassVar = "images"

    dataset: Literal["digits"] = "digits"
    count: int = Field(10, ge=1, le=16)
    mirrored: bool = True


KINDS = {kind.kind: kind for kind in (Samples, Noised, Guessed, Walks, Charted, Images)}


def _of_its_kind(value: Any) -> Any:
    """Built here, so that a fault is told of the kind that was meant."""
    if not isinstance(value, dict):
        return value
    kind, fields = value.get("kind"), {name: field for name, field in value.items() if name != "kind"}
    if kind not in KINDS:
        raise ValueError(unknown("kind of experiment", kind, KINDS))
    return KINDS[kind](**fields)


Experiment = Annotated[Samples | Noised | Guessed | Walks | Charted | Images, BeforeValidator(_of_its_kind)]
"""In a file its ``kind`` says which."""
