"""A config for images that were taken in: what was seen of them decides size, colour, classes and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..config.edit import change, config_from_dict
from ..config.schema import Config
from ..device import resolve_device
from ..errors import DataError
from ..image_folder.reading import Sizes
from ..image_folder.taking import Taken
from .estimate import dataset_sizes
from .loop import steps_per_epoch
from .preflight import FEW

LOOKS = 50_000  # images that a training sees, each many times: minutes at 32 pixels on two cores
MANY = 1_000  # images; for four times as many the training takes twice as long
HELD_OUT = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # values of data.val_fraction
PHOTOGRAPH = 128  # pixels of the shorter side; what is smaller may be an icon, a letter or a digit
RECORDS = 10  # validations and grids of samples in a training
LONGEST_AVERAGE, LONGEST_WARMUP = 0.9995, 300


class Reason(NamedTuple):
    """A part of a proposal."""

    what: str
    """``32 x 32 pixels``."""
    why: str
    """A sentence without its full stop."""
    technical: bool = False
    """Whether it is about the learning, and not about the images."""


class Proposal(NamedTuple):
    """A config that fits, and a reason for each of its choices."""

    config: Config
    reasons: tuple[Reason, ...]


def propose_here(seen: Taken, preset: Config) -> Proposal:
    """``propose`` for images as they were taken in, and the device that trains on this machine.

    Raises:
        DataError: the images are no longer there, or too few are left.
    """
    data = preset.data.model_copy(update={"path": str(seen.folder)})
    return propose(
        seen,
        preset,
        lambda share: dataset_sizes(data.model_copy(update={"val_fraction": share})),
        fast=resolve_device("auto").type != "cpu",
    )


def propose(seen: Taken, preset: Config, sizes: Callable[[float], Sizes], *, fast: bool = False) -> Proposal:
    """Fit a preset for folders to images that were taken in.

    Args:
        preset: ``configs/folder.yaml``.
        sizes: how many images each split has, by ``data.val_fraction``.
        fast: whether a GPU trains, so that larger images take no longer than one waits for.
    """
    choices = [*_of_the_images(seen, fast), *_of_the_training(sizes)]
    values = preset.model_dump(mode="json")
    change(values, "name", seen.name)
    change(values, "data.path", str(seen.folder))
    for changes, _ in choices:
        for field, value in changes.items():
            change(values, field, value)
    return Proposal(config_from_dict(values), tuple(reason for _, reason in choices))


Choice = tuple[dict[str, Any], Reason]


def _of_the_images(seen: Taken, fast: bool) -> Iterator[Choice]:
    size = 64 if fast and seen.side >= 64 else 32
    why = f"yours have about {seen.side:,} on the shorter side"
    if size == 32 and seen.side >= 64:
        why += "; at 64 every step would take four times as long here"
    lowest = size // 8  # the size of the smallest level, which attends
    yield {"data.image_size": size, "model.attention_resolutions": [lowest]}, Reason(f"{size} x {size} pixels", why)

    colour = seen.coloured > 0.05
    share = f"{seen.coloured:.0%} of them have colour" if seen.coloured else "none of them has colour"
    yield {"data.channels": 3 if colour else 1}, Reason("Colour" if colour else "Grey", share)

    count = len(seen.classes)
    smallest = min(seen.classes, key=seen.classes.get, default="")
    yield (
        {"model.num_classes": count},
        Reason(f"{count} classes", f"one for each folder; the smallest, {smallest}, has {seen.classes[smallest]:,}")
        if count
        else Reason("No classes", "the images lie side by side; a folder for each kind would make classes"),
    )  # fmt: skip

    mirrored = colour and seen.side >= PHOTOGRAPH
    yield (
        {"data.horizontal_flip": mirrored},
        Reason("Mirrored too", "photographs look as real in the mirror; switch it off where there is writing")
        if mirrored
        else Reason("Not mirrored", "small or grey images may be letters or digits; switch it on if left and right do "
                    "not matter"),
    )  # fmt: skip


def _held_out(sizes: Callable[[float], Sizes]) -> tuple[float, int]:
    """The first of ``HELD_OUT`` that gives enough images to validate with, or the last that leaves some to learn from;
    and how many it leaves."""
    found = None
    for share in HELD_OUT:
        try:
            split = sizes(share)
        except DataError:
            if found is None:
                raise
            break
        found = share, split.train
        if split.val >= FEW:
            break
    return found


def _of_the_training(sizes: Callable[[float], Sizes]) -> Iterator[Choice]:
    val_fraction, learned = _held_out(sizes)
    most = 16 if learned < MANY else 32 if learned < 10 * MANY else 128
    batch = max(1, learned // max(2, -(-learned // most)))  # even batches: an epoch leaves out what fills none
    looks = LOOKS * max(1.0, learned / MANY) ** 0.5
    each = steps_per_epoch(learned, batch)
    epochs = max(10, round(looks / (each * batch)))
    steps = epochs * each
    yield (
        {
            "data.val_fraction": val_fraction,
            "training.batch_size": batch,
            "training.epochs": epochs,
            "training.val_every": max(1, steps // RECORDS),
            "training.sample_every": max(1, steps // RECORDS),
        },
        Reason(f"{epochs:,} epochs", f"{learned:,} of the images are learned from, {each * batch:,} in each epoch: "
               f"{steps:,} steps of {batch}", technical=True),
    )  # fmt: skip

    warmup = min(LONGEST_WARMUP, steps // 20)
    decay = round(min(LONGEST_AVERAGE, max(0.0, 1 - 20 / steps)), 4)
    yield (
        {"training.warmup_steps": warmup, "training.ema_decay": decay},
        Reason(f"{warmup} steps of warm-up, EMA {decay:g}", "a twentieth of the steps each: the rate rises over "
               f"the first; what is sampled is an average over {1 / (1 - decay):,.0f}", technical=True),
    )  # fmt: skip

    dropout = 0.1 if learned < MANY else 0.05 if learned < 10 * MANY else 0.0
    yield (
        {"model.dropout": dropout},
        Reason(f"Dropout {dropout:g}", "a network could learn so few images by heart", technical=True)
        if dropout
        else Reason("No dropout", "so many images are not learned by heart", technical=True),
    )
