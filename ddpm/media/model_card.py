"""A model as a folder for the Hub: weights, config, evaluation, and a card that tells what the model is.

Every number of the card comes from what ran, as in the report.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import DATASETS, Config, config_to_yaml, sampling_settings
from ..errors import DDPMError
from ..escaping import as_code, as_markdown
from ..evaluation.results import METRICS, headline, sample_stages, stage_label, write_results
from ..files import write_bytes, write_text
from ..names import in_turn
from ..sampling import generate
from ..storage.hub import SCHEME
from ..storage.layouts import CONFIG, WEIGHTS
from ..storage.places import RESULTS
from ..storage.weights import weights_sha256
from .document import figure
from .images import enlarge, make_grid, png_bytes, to_uint8
from .report import evaluation, model_details, training_details
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
    text = "\n".join(
        line for section in SECTIONS for line in (*section(subject), "")
    ) + f"\n{_licence(license)}\n"  # fmt: skip
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))


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


# -- the sections, in their order ----------------------------------------------------------------------------------


def _introduction(subject: Subject) -> Iterator[str]:
    config, network = subject.model.config, subject.model.network
    size, kind = config.data.image_size, "class-conditional" if config.model.num_classes else "unconditional"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    yield f"# {config.name}"
    yield ""
    yield (
        f"A denoising diffusion model (Ho et al. 2020), {kind}: it draws images of {size} x {size} pixels, "
        f"{config.data.channels} {'channel' if config.data.channels == 1 else 'channels'}, like those of "
        f"{config.data.dataset}. A UNet of {parameters / 1e6:.2f} M parameters, T = {config.schedule.num_timesteps:,}, "
        f"{config.schedule.name} schedule, {config.diffusion.prediction_type}-prediction, made with DDPM Lab."
    )


def _samples(subject: Subject) -> Iterator[str]:
    model = subject.model
    labels = list(range(model.num_classes)) or None
    steps = min(NUM_STEPS, model.schedule.num_timesteps)
    settings = sampling_settings(model.config, sampler="ddim", num_steps=steps, eta=0.0)
    images = generate(model, NUM_SAMPLES, labels=labels, settings=settings, seed=0)
    write_bytes(subject.figure(SAMPLES), png_bytes(enlarge(make_grid(to_uint8(images)))))
    order = f", the classes {in_turn(model.class_names)} in turn" if labels else ""
    caption = (
        f"{NUM_SAMPLES} samples, unselected{order}: DDIM, {steps} steps, guidance {settings.guidance_scale:g}, seed 0."
    )
    yield from figure(SAMPLES, "Samples", caption)


def _loading(subject: Subject) -> Iterator[str]:
    config, reference = subject.model.config, subject.reference
    names, shape = config.class_names, (16, *config.image_shape)
    asked = min(3, len(names) - 1)
    yield "## How to load it"
    yield ""
    yield "```python"
    yield "import ddpm"
    yield ""
    yield f'model = ddpm.load_model("{reference}")'
    if names:
        yield f"for step in ddpm.sample(model, 16, labels=[{asked}], seed=0):  # {names[asked]}"
    else:
        yield "for step in ddpm.sample(model, 16, seed=0):"
    yield f"    ...  # step.x0 holds the images, {shape} in [-1, 1]"
    yield "```"
    yield ""
    yield "```bash"
    yield shlex.join(["python", "-m", "ddpm", "sample", "grid", "--model", reference, "--num-samples", "64"])
    yield "```"
    yield ""
    yield (
        f"`{reference}` is the newest commit; `{reference}@COMMIT` stays the same. Only `{WEIGHTS}` and `{CONFIG}` are "
        f"read, and nothing in them is run. SHA-256 of `{WEIGHTS}`: `{subject.model.sha256}`."
    )


def _training_data(subject: Subject) -> Iterator[str]:
    config = subject.model.config
    flips = "mirrored at random" if config.data.horizontal_flip else "never mirrored"
    yield "## Training data"
    yield ""
    yield (
        f"{DATASETS[config.data.dataset].about[0].upper()}{DATASETS[config.data.dataset].about[1:]}. Images of "
        f"{config.data.image_size} x {config.data.image_size} pixels, {flips}, {config.data.val_fraction:.0%} of the "
        "training images held out for validation."
    )
    if names := config.class_names:
        yield ""
        yield f"The model can be asked for {len(names)} classes: {in_turn(names, len(names))}."


def _evaluation(subject: Subject) -> Iterator[str]:
    if isinstance(subject.results, DDPMError):
        yield "## Evaluation metrics"
        yield ""
        yield f"It has not been evaluated yet; {as_code(f'python -m ddpm eval --model {subject.reference}')} does it."
    else:
        yield from evaluation(subject)


def _limits(subject: Subject) -> Iterator[str]:
    data = subject.model.config.data
    yield "## Intended use and limits"
    yield ""
    yield (
        f"For learning, teaching and experiments with diffusion models. It draws {data.image_size} x {data.image_size} "
        f"images like those of {data.dataset}, with whatever these have too much or too little of, and knows nothing "
        "else. Guidance above 1 makes the images clearer and more alike. Do not take its images for real ones: not as "
        "evidence, and not as data to judge another system by."
    )


def _licence(license: str | None) -> str:
    none = "None was chosen: ask the author before you use it for more than looking."
    return f"## Licence\n\n{as_markdown(license) if license else none}"


SECTIONS = (
    _introduction, _samples, _loading, _training_data, _evaluation, model_details, training_details, _limits
)  # fmt: skip
