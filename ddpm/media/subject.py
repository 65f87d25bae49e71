"""What a report and a model card are about: a model, and all that is on disk about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DDPMError, ModelError
from ..evaluation.results import find_results, folder_of
from ..files import RunFolder
from ..models import Model, load_model
from ..storage.pipelines import PipelineConfig
from ..storage.weights import read_checkpoint
from ..training.history import History, read_history


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
