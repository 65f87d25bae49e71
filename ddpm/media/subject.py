"""What a report and a model card are about: a model, and all that is on disk about it, here or as it is published."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config.edit import load_config
from ..errors import DDPMError, ModelError
from ..evaluation.results import find_results, folder_of, write_results
from ..files import RESULTS, RunFolder, file_sha256
from ..models import Model, load_model
from ..storage.checkpoints import read_checkpoint
from ..storage.layouts import CONFIG
from ..storage.pipelines import PipelineConfig
from ..training.history import History, read_history

PLACE = re.compile(r"(?<![\w.:/])/(?:[^/\s:;,()]+/)*([^/\s:;,()]+)")  # an absolute path; no web address


@dataclass(frozen=True)
class Subject:
    """A model and all that is on disk about it. What is absent is the error that says so."""

    model: Model
    folder: Path
    """Where the report goes."""
    run: RunFolder | None
    history: History | DDPMError
    results: dict[str, Any] | DDPMError
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    figures: set[str] = field(default_factory=set)
    """The names of those that were drawn."""

    @classmethod
    def read(cls, reference: str, folder: Path | None = None, device: str = "cpu") -> Subject:
        """Read a model's run, records and evaluation.

        Raises:
            ModelError: no such model, or one that does not say how it was trained.
        """
        model = load_model(reference, device)
        if isinstance(model.config, PipelineConfig):
            raise ModelError(f"{model.source} is a pipeline of diffusers, which does not say how it was trained")
        run = model.run
        latest = run.checkpoint("latest") if run else None
        metrics = (run or RunFolder(model.weights.parent)).metrics  # a shipped model has them beside its weights
        return cls(
            model=model,
            folder=folder or folder_of(model).report,
            run=run,
            history=_or_error(lambda: read_history(metrics)) if metrics.is_file() or run else DDPMError(
                "the records of its training are not kept with these weights: train it and report on the run, "
                f"`python -m ddpm report --run {model.config.name}`"
            ),
            results=_or_error(lambda: find_results(model)),
            checkpoint=read_checkpoint(latest)[1] if latest and latest.is_file() else {},
        )  # fmt: skip

    def figure(self, name: str) -> Path:
        """Where to draw a figure of the report."""
        self.figures.add(name)
        return self.folder / name


def _or_error(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except DDPMError as error:
        return error


def write_model_files(reference: str, folder: Path) -> Subject:
    """Write the weights, config and evaluation of a model as others are to have them, with no place on this machine in
    them; returns what is known about it, with those weights."""
    found = Subject.read(reference, folder)
    weights = found.model.save(folder)
    sha256 = file_sha256(weights)
    subject = replace(
        found,
        model=replace(found.model, config=load_config(folder / CONFIG), sha256=sha256, weights=weights),
        results=_as_published(found.results, {found.model.sha256: sha256}),
    )
    if not isinstance(subject.results, DDPMError):
        write_results(folder / RESULTS, subject.results)
    return subject


def _as_published(value: Any, hashes: dict[str, str]) -> Any:
    """What an evaluation says, with the hash of the same weights in the file that is published, and the names of files
    and folders instead of where they lie on this machine."""
    if isinstance(value, dict):
        return {key: _as_published(part, hashes) for key, part in value.items()}
    if isinstance(value, list):
        return [_as_published(part, hashes) for part in value]
    return PLACE.sub(r"\1", hashes.get(value, value)) if isinstance(value, str) else value
