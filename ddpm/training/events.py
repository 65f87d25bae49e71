"""What a training says of itself while it goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The mean over the steps since the last one."""

    step: int
    total_steps: int
    epoch: float
    train_loss: float
    loss_by_t: list[float | None]
    """The loss in ``BANDS`` equal bands of t, from small to large; None where a band had no image."""
    learning_rate: float
    grad_norm: float
    images_per_second: float
    elapsed: float  # seconds of training steps, over all resumes
    eta: float  # seconds


@dataclass(frozen=True)
class Validated:
    """The loss on the validation images, always with the same noise and timesteps."""

    step: int
    epoch: float
    val_loss: float
    """Of the averaged weights."""
    raw_val_loss: float
    """Of the weights themselves: lower than ``val_loss`` while the average is still young."""
    is_best: bool


@dataclass(frozen=True)
class Stopped:
    """Training was asked to stop, and did so after this step."""

    step: int


@dataclass(frozen=True)
class SamplesDue:
    """A good moment to draw samples from ``state.ema.model``."""

    step: int


@dataclass(frozen=True)
class SnapshotDue:
    """The moment to keep a snapshot of ``state.averages``."""

    step: int


Event = Progress | Validated | SamplesDue | SnapshotDue | Stopped
