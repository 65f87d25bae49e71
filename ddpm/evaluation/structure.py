"""What an evaluation holds: its metrics, and its structure on disk, which is checked on reading, so that code that
shows it need not.

Further keys may be there: those of other versions. Fields that default to None may be missing, but must not be null:
pydantic does not check defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from ..config.sections import SamplingConfig


class Metric(NamedTuple):
    """How a metric of samples is shown, everywhere."""

    label: str
    form: str
    meaning: str

    def format(self, value: Any) -> str:
        """A number, or a dash if it is unavailable; the reason is shown elsewhere."""
        return format(value, self.form) if isinstance(value, int | float) else "–"


METRICS = {
    "frechet_distance": Metric(
        "Fréchet distance", ".3g", "Between the clouds of samples and of test images in the classifier's features. "
        "Lower is better; as many real images are not at 0 either. Few images make it larger: compare at equal n.",
    ),
    "kid": Metric(
        "KID", ".2g", "Squared maximum mean discrepancy to the test images in the same features. Unbiased: real images "
        "have 0 on average, and what is below 0 is chance.",
    ),
    "precision": Metric("Precision", ".1%", "Share of samples that lie among the test images, in the same features."),
    "recall": Metric(
        "Recall", ".1%", "Share of test images that lie among the samples: is anything left out? Grows with n."
    ),
    "label_accuracy": Metric("Label accuracy", ".1%", "Share that the classifier takes for the class asked for."),
    "lpips_diversity": Metric(
        "LPIPS diversity", ".3g", "Mean perceptual distance of 100 pairs of images. Noise is diverse too: the level of "
        "real images is the one to reach, not to exceed.",
    ),
    "pixel_diversity": Metric(
        "Pixel diversity", ".3g", "Standard deviation over images of a pixel in [-1, 1], mean over pixels. Pure noise "
        "has 1: the level of real images is the one to reach, not to exceed.",
    ),
}  # fmt: skip


ROUNDING = 1e-4
"""The largest ``identity_residual`` that rounding explains."""


# -- on disk ------------------------------------------------------------------------------------------------------


class Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


class Absent(Part):
    """Replaces what is unavailable."""

    unavailable: str


Number = float | Absent
Count = Annotated[int, Field(ge=0, le=10**9)]
MOST_SHOWN = 64
Few = Annotated[list[Count], Field(max_length=MOST_SHOWN)]
"""Samples that a page draws again: an evaluation names 8."""


class Columns(Part):
    """A table over timesteps."""

    timesteps: list[Count]
    mse: list[Number]
    psnr: list[Number]
    mse_ci95: list[Number] | Absent = None
    psnr_ci95: list[Number] | Absent = None
    ssim: list[Number] | Absent = None
    ssim_ci95: list[Number] | Absent = None
    mse_x0: list[Number] | Absent = None
    identity_residual: list[Number] | Absent = None

    @model_validator(mode="after")
    def _as_long_as_each_other(self) -> Self:
        for name, values in self:
            if isinstance(values, list) and len(values) != len(self.timesteps):
                raise ValueError(f"{name} has {len(values)} values for {len(self.timesteps)} timesteps")
        return self


class Table(Columns):
    num_images: Count


class MadeBy(Part):
    """What every stage records about how it was made."""

    model: str
    sha256: str
    dataset: str
    seed: int
    seconds: float
    digest: str = None
    class_names: list[str] = None


class Summary(MadeBy):
    """The ``made_by`` of the whole."""

    versions: dict[str, str]


class SamplesMadeBy(MadeBy):
    settings: SamplingConfig

    @model_validator(mode="before")
    @classmethod
    def _as_in_json(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("settings"), dict):  # JSON stores a pair as a list
            return value | {"settings": SamplingConfig.model_validate(value["settings"])}
        return value


class Calibration(Table):
    made_by: MadeBy
    per_class: dict[str, Table] | Absent = None
    wiener: Table | Absent = None
    seed_report: Columns = None


class Closest(Part):
    sample: Count
    training_image: Count
    distance: float
    ratio: float


class Nearest(Part):
    ratio: float
    share_below_test_quantile: float
    test_quantile: float
    num_test_images: Count = None
    closest: Annotated[list[Closest], Field(max_length=MOST_SHOWN)]


# A metric that is not there has not been computed yet.
Metrics = create_model("Metrics", __base__=Part, **dict.fromkeys(METRICS, (Number, None)))


class Reference(Metrics):
    """The real baseline."""

    class_histogram: list[Count] | Absent = None
    what: str = None


class Samples(Metrics):
    made_by: SamplesMadeBy
    num_samples: int = Field(ge=1)
    network_evaluations: float
    reference: Reference | Absent
    class_histogram: list[Count] | Absent = None
    confusion_matrix: list[list[Count]] | Absent = None
    surest: Few | Absent = None
    least_sure: Few | Absent = None
    nearest_training_image: Nearest | Absent = None

    @model_validator(mode="after")
    def _asked_for_and_taken_for_are_the_same_classes(self) -> Self:
        rows = self.confusion_matrix if isinstance(self.confusion_matrix, list) else []
        if any(len(row) != len(rows) for row in rows):
            raise ValueError("confusion_matrix must have as many columns as rows")
        return self


def fault_of(stage: Any, kind: type[Part] | None = None) -> str:
    """What is wrong with the structure of a stage, as "num_samples: field required"; "" for a sound one, and for one
    that is unavailable.

    ``kind`` by default follows from the keys of the stage.
    """
    if not isinstance(stage, dict):
        return "it is no table of results"
    if kind is None:
        kind = Absent if "unavailable" in stage else Calibration if "timesteps" in stage else Samples
    try:
        kind.model_validate(stage)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = ".".join(_keys(stage, first["loc"]))
        return f"{where}: {message[:1].lower()}{message[1:]}" if where else message
    return ""


def _keys(stage: Any, loc: Sequence[str | int]) -> Iterator[str]:
    """The keys on the way to a fault, without the names of types that pydantic puts between them."""
    for place, part in enumerate(loc, 1):
        if (isinstance(stage, dict) and part in stage) or (isinstance(stage, list) and isinstance(part, int)):
            stage = stage[part]
            yield str(part)
        elif isinstance(stage, dict) and place == len(loc):  # it is missing
            yield str(part)
