"""Diagnoses from a run's curves, for problems with a known remedy."""

from __future__ import annotations

import numpy as np

from ..config.schema import Config
from .history import History

SPIKE = 3.0  # times the median of the records before it
RISEN = 1.03  # validation loss over its lowest
PATIENCE = 3  # validations in a row


def advice(history: History, config: Config) -> list[str]:
    """Sentences on what is wrong with a run and what helps; none if all is well."""
    training = config.training
    found = []
    if (spike := _spike(history)) is not None:
        found.append(
            f"The loss jumped at step {spike:,}: lower training.learning_rate (now {training.learning_rate:g}) or "
            f"training.grad_clip (now {training.grad_clip:g}), or raise training.warmup_steps."
        )
    if (lowest := _overfitting(history)) is not None:
        found.append(
            f"The validation loss has risen since step {lowest:,} while the training loss fell: the model memorises "
            f"the images. Stop there (ckpts/best.pt is of that step), raise model.dropout or "
            f"training.weight_decay, or train on more images."
        )
    if _average_is_young(history):
        found.append(
            f"The raw weights do better than their average, which is still young: it spans about "
            f"{1 / (1 - training.ema_decay):,.0f} steps. Train longer, or lower training.ema_decay "
            f"(now {training.ema_decay:g})."
        )
    return found


def _spike(history: History) -> int | None:
    """The last step whose loss stands far above the records before it, once the loss is past its initial fall."""
    loss, steps = history.column("train_loss"), history.axis("step", "train_loss")
    spikes = [i for i in range(20, len(loss)) if loss[i] > SPIKE * np.median(loss[i - 10 : i])]
    return int(steps[spikes[-1]]) if spikes else None


def _overfitting(history: History) -> int | None:
    """The step of the lowest validation loss, if the last ones are clearly above it while the training loss kept
    falling."""
    loss, steps = history.column("val_loss"), history.axis("step", "val_loss")
    if len(loss) <= PATIENCE:
        return None
    lowest = int(loss.argmin())
    if len(loss) - 1 - lowest < PATIENCE or loss[-PATIENCE:].min() < RISEN * loss[lowest]:
        return None
    train, at = history.column("train_loss"), history.axis("step", "train_loss")
    before, after = train[at <= steps[lowest]][-10:], train[-10:]
    return int(steps[lowest]) if len(before) and after.mean() < before.mean() else None


def _average_is_young(history: History) -> bool:
    raw, averaged = history.column("raw_val_loss"), history.column("val_loss")
    return len(raw) > 0 and len(raw) == len(averaged) and bool(raw[-1] < 0.98 * averaged[-1])
