"""The metrics of a run as columns: read from its records, smoothed, written as CSV."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..escaping import csv_text


@dataclass(frozen=True)
class History:
    """The records of one run, oldest first: ``training`` of the steps, ``validation`` of the validations."""

    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]

    def column(self, name: str) -> np.ndarray:
        """One value of every record that has it, (N,) float64; ``elapsed`` of a validation is that of its step."""
        return np.array([record[name] for record in self._with(name)], dtype=np.float64)

    def axis(self, name: str, of: str) -> np.ndarray:
        """``step``, ``epoch`` or ``elapsed`` (seconds) of the records that have ``of``: (N,)."""
        if name == "elapsed":
            seconds = {record["step"]: record["elapsed"] for record in self.training}
            return np.array([seconds.get(record["step"], np.nan) for record in self._with(of)])
        return np.array([record[name] for record in self._with(of)], dtype=np.float64)

    def _with(self, name: str) -> list[dict[str, Any]]:
        return [record for record in (*self.training, *self.validation) if name in record]

    def csv(self) -> str:
        """All records as CSV, ordered by step; bands of t are columns loss_t0, loss_t1, ..."""
        rows = []
        for record in sorted((*self.training, *self.validation), key=lambda record: record["step"]):
            flat = {key: value for key, value in record.items() if key != "loss_by_t"}
            rows.append(flat | {f"loss_t{i}": value for i, value in enumerate(record.get("loss_by_t", ()))})
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return csv_text([columns, *([row.get(name, "") for name in columns] for row in rows)])


def read_history(path: Path) -> History:
    """Read ``training_metrics.jsonl``, without a last line that is still being written.

    Raises:
        DataError: no such file, or a line in it is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"no metrics at {path}: {error.strerror}") from None
    training, validation = [], []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            kind = training if "train_loss" in record else validation
            if not isinstance(record["step"], int) or not all(map(_is_measured, record.values())):
                raise TypeError
            kind.append(record)
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise DataError(f"{path}, line {number}: not a record of training metrics") from None
    return History(training, validation)


def _is_measured(value: Any) -> bool:
    """Whether a value of a record is a number, some numbers, or nothing."""
    return all(map(_is_measured, value)) if isinstance(value, list) else isinstance(value, int | float | None)


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """TensorBoard's smoothing: an exponential moving average, divided by the weight it has gathered so far.

    Values that are not finite, as for a band of t without images, stay as they are and do not enter the average.
    """
    result, average, gathered = values.astype(np.float64), 0.0, 0.0
    for i in np.flatnonzero(np.isfinite(values)):
        average = weight * average + (1 - weight) * values[i]
        gathered = weight * gathered + (1 - weight)
        result[i] = average / gathered if gathered else values[i]
    return result
