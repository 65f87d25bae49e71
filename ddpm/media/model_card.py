"""A model as a folder for the Hub: weights, config, evaluation, and a card that tells what the model is.

Every number of the card comes from what ran, as in the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.edit import sampling_settings
from ..datasets import DATASETS
from ..errors import DDPMError
from ..evaluation.results import METRICS, headline, sample_stages, stage_label
from ..files import write_bytes, write_text
from ..sampling import generate
from ..storage.hub import SCHEME
from .document import render
from .images import enlarge, make_grid, png_bytes, to_uint8
from .report_evaluation import evaluation
from .report_model import model_details, training_details
from .subject import Subject, write_model_files

CARD, SAMPLES = "README.md", "samples.png"
NUM_SAMPLES, NUM_STEPS = 60, 50


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
    settings = model.config.sampling
    if not model.config.model.step_counts:  # a distilled model is sampled as it has learned to be
        steps = min(NUM_STEPS, model.schedule.num_timesteps)
        settings = sampling_settings(model.config, sampler="ddim", num_steps=steps, eta=0.0)
    labels = list(range(model.num_classes)) or None
    images = generate(model, NUM_SAMPLES, labels=labels, settings=settings, seed=0)
    write_bytes(subject.figure(SAMPLES), png_bytes(enlarge(make_grid(to_uint8(images)))))
    return {"num_samples": NUM_SAMPLES, "settings": settings}
