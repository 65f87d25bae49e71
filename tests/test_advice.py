"""Advice on runs: given where the curves show the trouble, silent where they do not."""

import numpy as np
import pytest

from ddpm.training.advice import advice
from ddpm.training.history import History

FALLING = np.geomspace(1, 0.05, 60) * (1 + 0.3 * np.sin(np.arange(60)))  # as noisy as a real one


def history(train=FALLING, val=(), raw=None) -> History:
    every = max(1, len(train) // max(1, len(val)))
    raw = val if raw is None else raw
    return History(
        [{"step": 20 * (i + 1), "train_loss": float(value)} for i, value in enumerate(train)],
        [
            {"step": 20 * every * (i + 1), "val_loss": float(value), "raw_val_loss": float(other)}
            for i, (value, other) in enumerate(zip(val, raw, strict=True))
        ],
    )


def test_a_run_that_goes_well_needs_no_advice(tiny_config):
    assert advice(history(), tiny_config()) == []
    assert advice(history(val=[0.5, 0.3, 0.2, 0.15, 0.149, 0.1495]), tiny_config()) == []
    assert advice(History([], []), tiny_config()) == []


def test_a_jump_of_the_loss_names_its_step_and_the_rate(tiny_config):
    jumped = FALLING.copy()
    jumped[40] *= 8
    (said,) = advice(history(jumped), tiny_config(training__learning_rate=0.05))
    assert said.startswith("The loss jumped at step 820: lower training.learning_rate (now 0.05)")


def test_the_fall_from_the_first_loss_is_no_jump(tiny_config):
    assert advice(history(np.array([30.0, 1, 0.5, 0.4, *[0.3] * 40])), tiny_config()) == []


def test_validation_that_rises_while_training_falls_names_the_best_step(tiny_config):
    (said,) = advice(history(val=[0.5, 0.2, 0.25, 0.3, 0.35, 0.4]), tiny_config())
    assert said.startswith("The validation loss has risen since step 400")


@pytest.mark.parametrize("val", [[0.5, 0.2, 0.25], [0.5, 0.2, 0.201, 0.2, 0.202, 0.203], [0.5, 0.2, 0.3, 0.3, 0.199]])
def test_a_validation_loss_that_wavers_is_left_alone(val, tiny_config):
    assert advice(history(val=val), tiny_config()) == []


def test_a_young_average_is_told(tiny_config):
    (said,) = advice(history(val=[0.5, 0.4], raw=[0.2, 0.1]), tiny_config(training__ema_decay=0.999))
    assert "spans about 1,000 steps" in said
    assert advice(history(val=[0.5, 0.1], raw=[0.2, 0.1]), tiny_config()) == []
