"""Problems of a training that show before its first step, from its config and its images.

Each finding names the field to change and, if one value of it would fix the problem by itself, that value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..config.data_section import DataConfig
from ..config.edit import change, config_from_dict
from ..config.schema import Config
from ..device import resolve_device, resolve_precision
from ..errors import ConfigError, DataError, Fault, ModelError, one_line
from ..image_folder.decode import in_colour, read_image
from ..image_folder.manifest import list_folder
from ..image_folder.reading import Sizes
from ..sampling import evaluations
from ..spacing import spaced_timesteps, starting_point
from ..storage.places import is_on_hub, resolve
from .estimate import dataset_sizes, sizes
from .loop import images_per_step, steps_per_epoch
from .start import NO_TEACHER, misfit, teacher_settings
from .trackers import not_installed

FEW = 10  # images, whose mean says little
TOO_FEW = 2  # images to evaluate with
STEP_COST = 3  # evaluations that a training step takes for each image: forward, and twice that backward


@dataclass(frozen=True)
class Finding:
    """A problem, or something worth knowing."""

    field: str
    """The field of the config to change, ``training.warmup_steps``."""
    text: str
    """What is wrong and its consequence: a sentence without its full stop."""
    value: Any = None
    """A value that would fit the field; None if that is not enough."""
    instead: str = ""
    """An alternative remedy."""
    kind: Literal["fault", "warning", "note"] = "warning"
    """A fault prevents the training; a note only informs."""

    def __str__(self) -> str:
        fits = "" if self.value is None else f"{shown(self.value)} would fit"
        remedy = ", or ".join(filter(None, (fits, self.instead)))
        return f"{self.field}: {self.text}{f' ({remedy})' if remedy else ''}"

    @property
    def line(self) -> str:
        """For the command line."""
        return f"{self.kind}: {self}"


class Facts(NamedTuple):
    """What the checks need to know about a dataset; None if it is no folder, or if it is unknown."""

    sizes: Sizes
    class_folders: int | None = None
    coloured: bool | None = None


def facts(data: DataConfig) -> Facts:
    """Count the images of a dataset, and look at one of them.

    Raises:
        DataError: its folder is not there, or cannot be used.
    """
    found = dataset_sizes(data)
    if data.dataset != "folder":
        return Facts(found)
    listing = list_folder(data.folder)
    classes = {name for _, name in listing.files} - {""}
    return Facts(found, len(classes), _coloured([listing.root / path for path, _ in listing.files]))


def _coloured(paths: Sequence[Path]) -> bool | None:
    """Whether the first image that can be read is in colour; None where none of the first few can."""
    for path in paths[:FEW]:
        try:
            return in_colour(read_image(path, 64, 3))
        except DataError:  # the training reports it
            continue
    return None


def check(config: Config, known: Facts | None = None) -> list[Finding]:
    """``preflight`` on this machine, with the facts of the config's own dataset unless they are ``known``.

    Raises:
        ConfigError: the device or the precision is not available here.
        DataError: see ``facts``.
    """
    resolve_precision(config.training.precision, resolve_device(config.training.device))
    if config.model.step_counts:
        known = Facts(sizes(config))
    missing = [Finding("training.track", text, kind="fault") for text in not_installed(config.training.track)]
    return [*preflight(config, known or facts(config.data)), *_of_the_start(config), *missing]


def preflight(config: Config, known: Facts) -> list[Finding]:
    """The problems of a training; empty if all is well."""
    return [*_of_the_images(config, known), *_of_the_steps(config, known.sizes), *_of_the_schedule(config)]


def refuse(findings: Sequence[Finding]) -> None:
    """Raise ConfigError for the first finding with which a training cannot begin."""
    for finding in findings:
        if finding.kind == "fault":
            raise ConfigError(str(finding), (Fault(finding.field, finding.text),))


def shown(value: Any) -> str:
    """A value as YAML and ``--set`` write it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _of_the_start(config: Config) -> Iterator[Finding]:
    """Whether there is a model to start from that fits; one on the Hub is fetched only when the training begins."""
    reference = config.training.start_from
    if reference is None and config.model.step_counts:
        yield Finding("training.start_from", NO_TEACHER, kind="fault")
    if reference is None or is_on_hub(reference):
        return
    try:
        begun = resolve(reference).config()
    except (ModelError, ConfigError) as error:
        yield Finding("training.start_from", one_line(error), kind="fault")
        return
    if begun and (why := misfit(config, begun)):
        yield Finding("training.start_from", f"{reference} {why}", kind="fault")
    elif begun and config.model.step_counts:
        count, settings = config.training.trajectories, teacher_settings(begun, config.model.step_counts)
        of_each = evaluations(settings, begun.schedule.build(), guided=bool(begun.model.num_classes))
        steps = count * of_each / (STEP_COST * config.training.batch_size)
        yield Finding(
            "training.trajectories",
            f"the teacher draws {count:,} images first, {of_each} evaluations each, which takes as long as "
            f"{steps:,.0f} steps",
            kind="note",
        )


def _of_the_images(config: Config, known: Facts) -> Iterator[Finding]:
    train, val, test = known.sizes.train, known.sizes.val, known.sizes.test
    classes, folders = config.model.num_classes, known.class_folders
    if folders is not None and classes and classes != folders:
        have = f"the folder has {_count(folders, 'class folder')}" if folders else "the folder has no class folders"
        yield Finding("model.num_classes", f"{classes} classes are asked for, and {have}", folders, kind="fault")
    if known.coloured and config.data.channels == 1:
        yield Finding("data.channels", "the images are in colour, and read as grey", 3)
    if test is not None and test < TOO_FEW:
        few = f"of {train + val + test} images {test or 'none'} {'is' if test < 2 else 'are'} kept for the test"
        yield Finding("data.path", f"{few}, too few to evaluate the model with", instead="20 images or more")
    elif test is not None:
        about = "" if known.sizes.exact else "about "
        yield Finding("data.path", f"{about}{test:,} of {train + val + test:,} images are set aside for the test, "
                      f"{val:,} to validate; {train:,} are learned from", kind="note")  # fmt: skip
    if val < FEW:
        enough = math.ceil(100 * FEW / (train + val)) / 100
        yield Finding(
            "data.val_fraction",
            f"{_count(val, 'image')} to validate with: the validation loss, which decides what is the best checkpoint, "
            "would be left to chance",
            enough if enough < 0.5 else None,
            instead="more images",
        )


def _of_the_steps(config: Config, have: Sizes) -> Iterator[Finding]:
    training, horizon = config.training, 1 / (1 - config.training.ema_decay)
    steps = training.epochs * steps_per_epoch(have.train, training.batch_size)
    if images_per_step(have.train, training.batch_size) < training.batch_size:
        fits = 2 ** max(0, int(math.log2(max(1, have.train / 4))))
        yield Finding(
            "training.batch_size", f"{training.batch_size:,} images per step, and there are {have.train:,} in all: an "
            "epoch is a single step", fits,
        )  # fmt: skip
    if steps <= training.warmup_steps:
        yield Finding(
            "training.warmup_steps",
            f"{_count(steps, 'step')} in all, under a warm-up of {training.warmup_steps:,}: the learning rate would "
            "never reach its peak",
            steps // 10,
            instead="more epochs",
        )
    if horizon > steps:
        yield Finding(
            "training.ema_decay",
            f"the averaged weights, which are sampled, would span {horizon:,.0f} steps, and there are {steps:,}",
            round(max(0.0, 1 - 10 / steps), 4),
            instead="more epochs",
        )


def _of_the_schedule(config: Config) -> Iterator[Finding]:
    def start(config: Config):
        sampling, schedule = config.sampling, config.schedule.build()
        visited = spaced_timesteps(schedule.num_timesteps, sampling.num_steps, sampling.spacing)
        return starting_point(schedule, visited, math.prod(config.image_shape))

    found = start(config)
    if not found.harmful:
        return
    text = f"{'; '.join(found.problems)}: samples cannot reach full black or white"
    for field, value in CURES:
        values = config.model_dump(mode="json")
        change(values, field, value)
        try:
            if not start(config_from_dict(values)).harmful:
                yield Finding(field, text, value)
                return
        except ConfigError:
            continue  # such as zero terminal SNR with eps-prediction
    yield Finding("schedule.name", text)


CURES = (
    ("sampling.spacing", "trailing"),
    ("schedule.num_timesteps", 1000),
    ("schedule.zero_terminal_snr", True),
    ("schedule.name", "cosine"),
)
"""Changes that may let a sampler start from noise alone, in the order in which they are tried."""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
