"""The metrics of a run as columns, smoothed and as CSV."""

import csv
import io
import json

import numpy as np
import pytest

from ddpm.errors import DataError
from ddpm.training.history import read_history, smoothed


@pytest.fixture
def metrics(tmp_path):
    records = [
        {"step": 2, "epoch": 0.5, "elapsed": 1.5, "train_loss": 0.5, "loss_by_t": [0.1, None]},
        {"step": 4, "epoch": 1.0, "elapsed": 3.0, "train_loss": 0.25, "loss_by_t": [0.2, 0.3]},
        {"step": 4, "epoch": 1.0, "val_loss": 0.3, "is_best": True},
    ]
    path = tmp_path / "training_metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_columns_and_axes_belong_together(metrics):
    history = read_history(metrics)
    assert history.column("train_loss").tolist() == [0.5, 0.25]
    assert history.axis("step", "train_loss").tolist() == [2, 4]
    assert history.axis("elapsed", "train_loss").tolist() == [1.5, 3.0]
    assert history.axis("elapsed", "val_loss").tolist() == [3.0]
    np.testing.assert_array_equal(history.column("loss_by_t"), [[0.1, np.nan], [0.2, 0.3]])


def test_the_csv_reads_back(metrics):
    rows = list(csv.DictReader(io.StringIO(read_history(metrics).csv())))
    assert [row["step"] for row in rows] == ["2", "4", "4"]
    assert [row["val_loss"] for row in rows] == ["", "", "0.3"]
    assert [row["loss_t0"] for row in rows] == ["0.1", "0.2", ""]


def test_a_line_that_is_being_written_is_left_out_and_a_damaged_one_is_named(metrics):
    with open(metrics, "a") as file:
        file.write('{"step": 6, "train_l')
    assert len(read_history(metrics).training) == 2
    metrics.write_text("nonsense\n" + metrics.read_text())
    with pytest.raises(DataError, match="line 1: not a record"):
        read_history(metrics)


def test_no_metrics_is_said(tmp_path):
    with pytest.raises(DataError, match="no metrics at"):
        read_history(tmp_path / "training_metrics.jsonl")


def test_smoothing_is_tensorboards():
    values, weight = np.array([1.0, 2.0, 4.0]), 0.5
    # Debiased exponential moving average: sum of w^(n-i) (1 - w) v_i over 1 - w^n.
    expected = [1.0, (0.25 * 1 + 0.5 * 2) / 0.75, (0.125 * 1 + 0.25 * 2 + 0.5 * 4) / 0.875]
    np.testing.assert_allclose(smoothed(values, weight), expected)
    np.testing.assert_array_equal(smoothed(values, 0.0), values)
