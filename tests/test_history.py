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


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.6, 0.99])
@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0, 4.0], [3.0] * 5, [7.0], [], [1.0, np.nan, 4.0, 2.0], [np.nan, np.nan, 1.0, np.inf, 5.0]],
    ids=str,
)
def test_smoothing_is_tensorboards(values, weight):
    # Its classicSmoothing: a moving average divided by 1 - weight^count, that is, the mean of the finite values so far,
    # each weighted by weight^age; what is not finite is passed on and has no part in it.
    values = np.array(values)
    for n, (value, ours) in enumerate(zip(values, smoothed(values, weight), strict=True)):
        past = values[: n + 1][np.isfinite(values[: n + 1])]
        expected = np.average(past, weights=weight ** np.arange(len(past))[::-1]) if np.isfinite(value) else value
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
