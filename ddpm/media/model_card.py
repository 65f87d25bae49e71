"""A model as a folder for the Hub: weights, config, evaluation, and a card that tells what the model is.

Every number of the card comes from what ran, as in the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.edit import config_to_yaml, sampling_settings
from ..config.schema import Config
from ..datasets import DATASETS
from ..errors import DDPMError
from ..evaluation.results import METRICS, headline, sample_stages, stage_label, write_results
from ..files import write_bytes, write_text
from ..sampling import generate
from ..storage.hub import SCHEME
from ..storage.layouts import CONFIG
from ..storage.places import RESULTS
from ..storage.weights import weights_sha256
from .document import render
from .images import enlarge, make_grid, png_bytes, to_uint8
from .report import model_details, training_details
from .report_evaluation import evaluation
from .subject import Subject

CARD, SAMPLES = "README.md", "samples.png"
NUM_SAMPLES, NUM_STEPS = 60, 50
PLACE = re.compile(r"(?<![\w.:/])/(?:[^/\s:;,()]+/)*([^/\s:;,()]+)")  # an absolute path; no web address


def write_model_folder(reference: str, folder: Path, repo_id: str, license: str | None = None) -> list[Path]:
    """Write a model as the Hub is to have it; returns the files.

    Args:
        reference: the model, see ``ddpm.storage.places``.
        repo_id: user/name, under which the card says that it can be loaded.
        license: as the Hub abbreviates it: mit, cc-by-4.0, ...

    Raises:
        ModelError: no such model.
    """
    subject = write_model_files(reference, folder)
    subject = replace(subject, model=replace(subject.model, reference=f"{SCHEME}{repo_id}"))
    write_text(folder / CARD, model_card(subject, license))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_model_files(reference: str, folder: Path) -> Subject:
    """Write the weights, config and evaluation of a model as others are to have them, with no place on this machine in
    them; returns what is known about it, with those weights."""
    found = Subject.read(reference, folder)
    weights = found.model.save(folder)
    sha256 = weights_sha256(weights)
    subject = replace(
        found,
        model=replace(found.model, config=_without_path(found.model.config), sha256=sha256, weights=weights),
        results=_as_published(found.results, {found.model.sha256: sha256}),
    )
    write_text(folder / CONFIG, config_to_yaml(subject.model.config))
    if not isinstance(subject.results, DDPMError):
        write_results(folder / RESULTS, subject.results)
    return subject


def _without_path(config: Config) -> Config:
    """The config without the place on this machine where a folder of images lies, only with its name."""
    if config.data.path is None:
        return config
    data = config.data.model_copy(update={"path": Path(config.data.path).resolve().name or "images"})
    return config.model_copy(update={"data": data})


def _as_published(value: Any, hashes: dict[str, str]) -> Any:
    """What an evaluation says, with the hash of the same weights in the file that is published, and the names of files
    and folders instead of where they lie on this machine."""
    if isinstance(value, dict):
        return {key: _as_published(part, hashes) for key, part in value.items()}
    if isinstance(value, list):
        return [_as_published(part, hashes) for part in value]
    return PLACE.sub(r"\1", hashes.get(value, value)) if isinstance(value, str) else value


def model_card(subject: Subject, license: str | None = None) -> str:
    """The card as Markdown under the Hub's metadata; its figures are written into the subject's folder."""
    from huggingface_hub import ModelCard, ModelCardData

    config = subject.model.config
    data = ModelCardData(
        license=license,
        library_name="ddpm-lab",
        pipeline_tag="unconditional-image-generation",
        tags=["ddpm", "diffusion", *(["class-conditional"] if config.model.num_classes else [])],
        model_name=config.name,
        eval_results=list(_eval_results(subject)) or None,
    )
    values = {"license": license, "about": DATASETS[config.data.dataset].about}
    for part in (_samples, model_details, training_details, evaluation):
        values |= part(subject)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{render('model_card.md.j2', values)}"))


def _eval_results(subject: Subject) -> Iterator[Any]:
    """The metrics of the samples to show first, as the Hub lists them."""
    from huggingface_hub import EvalResult

    stages = {} if isinstance(subject.results, DDPMError) else sample_stages(subject.results)
    if not stages:
        return
    config = subject.model.config
    stage = stages[headline(stages, config.sampling)]
    how = f"{stage_label(stage)}, guidance {stage['made_by']['settings']['guidance_scale']:g}"
    for key, metric in METRICS.items():
        if isinstance(stage[key], float):
            yield EvalResult(
                task_type="unconditional-image-generation",
                dataset_type=config.data.dataset,
                dataset_name=config.data.dataset,
                dataset_split="test",
                metric_type=key,
                metric_name=f"{metric.label} of {stage['num_samples']:,} samples ({how})",
                metric_value=round(stage[key], 6),
            )


def _samples(subject: Subject) -> dict[str, Any]:
    model = subject.model
    steps = min(NUM_STEPS, model.schedule.num_timesteps)
    settings = sampling_settings(model.config, sampler="ddim", num_steps=steps, eta=0.0)
    labels = list(range(model.num_classes)) or None
    images = generate(model, NUM_SAMPLES, labels=labels, settings=settings, seed=0)
    write_bytes(subject.figure(SAMPLES), png_bytes(enlarge(make_grid(to_uint8(images)))))
    return {"num_samples": NUM_SAMPLES, "settings": settings}
