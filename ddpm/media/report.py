"""The report of a model: Markdown with figures beside it, and the same as one HTML file.

Every figure and number is taken from what ran: the network and its config, the records of the training, the results of
the evaluation. What is absent is named with its remedy.
"""

from __future__ import annotations

import os
import shlex
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from ..config import config_to_yaml
from ..errors import DDPMError
from ..escaping import as_code, as_markdown, as_sentence, fenced
from ..evaluation.evaluate import versions
from ..evaluation.results import sample_stages
from ..files import size_text, write_bytes, write_text
from ..jobs import read_status
from ..models import Model
from ..names import in_turn
from ..samplers import SAMPLERS
from ..sampling import generate, sample
from ..schedule import SCHEDULES
from ..unet import Attention, ResBlock
from .document import figure, listed, table, to_html
from .drawers import save_chart
from .figures import save_curves, span
from .images import Trajectory, enlarge, gif_bytes, make_grid, png_bytes, to_uint8
from .report_evaluation import calibration_section, quality_section
from .schedule_figures import lines, schedules_chart
from .subject import Subject

GRID_SAMPLES, TRAJECTORY_SAMPLES, TRAJECTORY_FRAMES, STRIP_SAMPLES = 60, 10, 41, 3

REFERENCES = {
    "ddpm": "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models, arXiv:2006.11239",
    "ddim": "Song, Meng & Ermon 2021, Denoising Diffusion Implicit Models, arXiv:2010.02502",
    "v": "Salimans & Ho 2022, Progressive Distillation (v-prediction), arXiv:2202.00512",
    "guidance": "Ho & Salimans 2022, Classifier-Free Diffusion Guidance, arXiv:2207.12598",
    "min_snr": "Hang et al. 2023, Efficient Diffusion Training via Min-SNR Weighting, arXiv:2303.09556",
    "zero_terminal_snr": "Lin et al. 2024, Common Noise Schedules and Sample Steps are Flawed, arXiv:2305.08891",
    "film": "Perez et al. 2018, FiLM: Visual Reasoning with a General Conditioning Layer, arXiv:1709.07871",
    "frechet_distance": "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule (FID), arXiv:1706.08500",
    "kid": "Binkowski et al. 2018, Demystifying MMD GANs (KID), arXiv:1801.01401",
    "precision": "Kynkäänniemi et al. 2019, Improved Precision and Recall Metric, arXiv:1904.06991",
    "lpips_diversity": "Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features (LPIPS), arXiv:1801.03924",
    "ssim": "Wang et al. 2004, Image Quality Assessment: From Error Visibility to Structural Similarity",
}


@dataclass(frozen=True)
class ReportFiles:
    """The report as it was written."""

    markdown: Path
    html: Path


def write_report(
    reference: str, folder: Path | None = None, *, device: str = "cpu", say: Callable[[str], None] = lambda text: None
) -> ReportFiles:
    """Write ``report.md`` with its figures, and ``report.html`` with all of it inside.

    Args:
        reference: the model, as ``ddpm.models.resolve`` takes it.
        folder: where to; by default ``report/`` in the model's output folder.
        say: is told what is being done.

    Raises:
        ModelError: no such model.
    """
    subject = Subject.read(reference, folder, device)
    parts = []
    for section in SECTIONS:
        say(section.__name__.strip("_").replace("_", " "))
        parts += [*section(subject), ""]
    text = "\n".join(parts)
    files = ReportFiles(subject.folder / "report.md", subject.folder / "report.html")
    write_text(files.markdown, text)
    write_text(files.html, to_html(text, f"{subject.model.config.name}: report", subject.folder, subject.figures))
    return files


# -- the sections, in their order ----------------------------------------------------------------------------------


def _overview(subject: Subject) -> Iterator[str]:
    config, network = subject.model.config, subject.model.network
    classes = f"conditional on {config.model.num_classes} classes" if config.model.num_classes else "unconditional"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    now = datetime.now().astimezone()
    yield f"# {config.name}: report of a diffusion model"
    yield ""
    yield f"**Generated on:** {now:%d %B %Y, %H:%M %Z}  "
    yield (
        f"**Model:** {as_markdown(subject.model.source)}: {type(network).__name__} of {parameters / 1e6:.2f} M "
        "parameters  "
    )
    yield f"**Weights:** {as_code(subject.weights.name)}, SHA-256 `{subject.model.sha256}`"
    yield ""
    yield "## Training overview"
    yield ""
    yield (
        f"A denoising diffusion probabilistic model (Ho et al. 2020) of the dataset {config.data.dataset}, {classes}. "
        f"In T = {config.schedule.num_timesteps:,} timesteps the {config.schedule.name} schedule turns an image into "
        f"noise; the network learns to predict {_predicted(subject)} from any of them, and sampling goes the way back."
    )
    yield ""
    yield "### Configuration summary"
    yield ""
    rows = [
        ("Dataset", config.data.dataset),
        ("Image size", f"{config.data.image_size} x {config.data.image_size}, {_colours(config.data.channels)}"),
        ("Timesteps", f"{config.schedule.num_timesteps:,}"),
        ("Schedule", config.schedule.name),
        ("Prediction", config.diffusion.prediction_type),
        ("Model channels", config.model.base_channels),
        ("Classes", f"{len(names)}: {in_turn(names)}" if (names := config.class_names) else "none"),
        ("Seed", config.training.seed),
    ]
    yield from table(("Setting", "Value"), rows)


def _predicted(subject: Subject) -> str:
    kind = subject.model.config.diffusion.prediction_type
    return {"eps": "the noise", "x0": "the clean image", "v": "v, a mixture of noise and image,"}[kind]


def _colours(channels: int) -> str:
    return {1: "grey", 3: "colour"}[channels]


def _training_curves(subject: Subject) -> Iterator[str]:
    yield "## Results"
    yield ""
    yield "### Training curves"
    yield ""
    history = subject.history
    if isinstance(history, DDPMError) or not history.training:
        why = str(history) if isinstance(history, DDPMError) else "the run has no records yet: train on"
        yield f"Not available: {as_sentence(why)}."
        return
    drawn = save_curves(history, subject.folder)
    subject.figures.update(path.name for path in drawn)
    yield "\n".join(f"![{path.stem.replace('_', ' ')}]({path.name})" for path in drawn)
    yield ""
    loss, steps = history.column("train_loss"), history.axis("step", "train_loss").astype(int)
    yield f"The loss of the training batches {_course_of(loss, steps)}."
    if history.validation:
        val, at = history.column("val_loss"), history.axis("step", "val_loss").astype(int)
        best = int(np.argmin(val))
        yield (
            f"On images held out of the training, the averaged weights reached {val[best]:.3g} at step {at[best]:,}"
            f"{', the last validation' if best == len(val) - 1 else f' and {val[-1]:.3g} at the last validation'}."
        )


def _course_of(loss: np.ndarray, steps: np.ndarray) -> str:
    """Where a loss (N,) began and ended, N of 1 or more."""
    if len(loss) == 1:
        return f"was {loss[0]:.3g} at step {steps[0]:,}"
    first, last = f"{loss[0]:.3g}", f"{loss[-1]:.3g}"
    if first == last:
        return f"was {first} at step {steps[0]:,} and still at step {steps[-1]:,}"
    went = "fell" if loss[-1] < loss[0] else "rose"
    return f"{went} from {first} at step {steps[0]:,} to {last} at step {steps[-1]:,}"


def _noise_schedule(subject: Subject) -> Iterator[str]:
    config, schedule = subject.model.config.schedule, subject.model.schedule
    save_chart(schedules_chart(lines([config])), subject.figure("schedules.png"), inches=(2.7, 2.2))
    yield "### Noise schedule"
    yield ""
    last = schedule.alpha_bar(schedule.num_timesteps - 1)
    parameters = ", ".join(f"{name} = {value:g}" for name, value in config.parameters.items())
    caption = (
        f"The {config.name} schedule ({parameters}): {SCHEDULES[config.name].source}. At t = "
        f"{schedule.num_timesteps - 1}, {last:.2g} of the image's variance is left."
    )
    yield from figure("schedules.png", "Noise schedule", caption)


def _generated_samples(subject: Subject) -> Iterator[str]:
    model, settings = subject.model, subject.model.config.sampling
    labels = list(range(model.num_classes)) or None
    grid = make_grid(to_uint8(generate(model, GRID_SAMPLES, labels=labels, settings=settings)))
    write_bytes(subject.figure("samples.png"), png_bytes(enlarge(grid)))
    order = f", the classes {in_turn(model.class_names)} in turn" if labels else ""
    yield "### Generated samples"
    yield ""
    caption = f"{GRID_SAMPLES} samples, unselected{order}: {_settings(subject)}, seed 0."
    yield from figure("samples.png", "Sample grid", caption)


def _settings(subject: Subject) -> str:
    settings = subject.model.config.sampling
    guidance = f"guidance {settings.guidance_scale:g}" if subject.model.num_classes else "no class"
    return f"{SAMPLERS[settings.sampler].label}, {settings.num_steps} steps, {guidance}"


def _reverse_process(subject: Subject) -> Iterator[str]:
    model, settings = subject.model, subject.model.config.sampling
    labels = list(range(model.num_classes)) or None
    steps = sample(model, TRAJECTORY_SAMPLES, labels=labels, settings=settings)
    trajectory = Trajectory.from_steps(steps, settings.num_steps, max_frames=TRAJECTORY_FRAMES)
    write_bytes(subject.figure("trajectory.gif"), gif_bytes(trajectory.grids()))
    few = trajectory.first(STRIP_SAMPLES)
    write_bytes(subject.figure("trajectory.png"), png_bytes(few.strip()))
    yield "### Reverse diffusion process"
    yield ""
    yield "![Trajectory animation](trajectory.gif)"
    yield ""
    yield f"*The first {TRAJECTORY_SAMPLES} of them, from noise at t = {trajectory.timesteps[0]} to the image.*"
    yield ""
    caption = (
        f"The first {STRIP_SAMPLES}, moment by moment: above the noisy state x_t, below it the clean image that the "
        f"network predicts from it."
    )
    yield from figure("trajectory.png", "Trajectory, frame by frame", caption)


def evaluation(subject: Subject) -> Iterator[str]:
    yield "## Evaluation metrics"
    yield ""
    results = subject.results
    if isinstance(results, DDPMError):
        yield f"Not available: {as_sentence(str(results))}, and write this report anew."
        return
    made_by = results["made_by"]
    versions_used = as_markdown(", ".join(f"{name} {version}" for name, version in made_by["versions"].items()))
    yield (
        f"Measured on the averaged weights with seed {made_by['seed']} in {span(made_by['seconds'])} ({versions_used})."
    )
    yield ""
    yield from calibration_section(subject, results.get("calibration", {"unavailable": "this stage has not run yet"}))
    yield from quality_section(subject, results)


def model_details(subject: Subject) -> Iterator[str]:
    model = subject.model
    blocks = [module for module in model.network.modules() if isinstance(module, ResBlock)]
    sizes = _attention_sizes(model)
    channels = sorted({block.conv2.out_channels for block in blocks})
    yield "## Model details"
    yield ""
    yield "### Architecture"
    yield ""
    yield f"- {type(model.network).__name__} of {len(blocks)} residual blocks with {listed(channels)} channels"
    yield "- FiLM: t and the class scale and shift the features of every residual block" if model.num_classes else \
        "- FiLM: t scales and shifts the features of every residual block"  # fmt: skip
    if sizes:
        maps = listed([f"{size} x {size}" for size in sorted({size for size, _ in sizes})])
        heads = listed(sorted({heads for _, heads in sizes}))
        yield f"- Multi-head self-attention in {len(sizes)} blocks, on maps of {maps}, with {heads} heads"
    else:
        yield "- No self-attention"
    if model.config.model.patch_size > 1:
        p = model.config.model.patch_size
        yield f"- Patches of {p} x {p} pixels are folded into channels before the first level"
    yield f"- Exponential moving average of the weights, decay {model.config.training.ema_decay:g}: sampled here"
    yield ""
    yield "### Configuration"
    yield ""
    yield from fenced("yaml", config_to_yaml(model.config).strip())


@torch.inference_mode()
def _attention_sizes(model: Model) -> list[tuple[int, int]]:
    """Feature-map size and heads of every attention layer that an image passes through."""
    seen: list[tuple[int, int]] = []
    layers = [module for module in model.network.modules() if isinstance(module, Attention)]
    hooks = [layer.register_forward_hook(lambda layer, inputs, _: seen.append((inputs[0].shape[-1], layer.heads)))
             for layer in layers]  # fmt: skip
    try:
        x = torch.zeros(1, *model.config.image_shape, device=model.device)
        model.denoiser()(x, torch.zeros(1, dtype=torch.long, device=model.device))
    finally:
        deque((hook.remove() for hook in hooks), maxlen=0)
    return seen


def training_details(subject: Subject) -> Iterator[str]:
    config, training = subject.model.config, subject.model.config.training
    yield "## Training details"
    yield ""
    rows = [
        (
            "Loss",
            f"{config.diffusion.loss} of {config.diffusion.prediction_type}, {config.diffusion.weighting} weights",
        ),
        ("Length", f"{training.epochs:,} epochs of batches of {training.batch_size:,}"),
        ("Optimizer", f"AdamW, weight decay {training.weight_decay:g}"),
        (
            "Learning rate",
            f"{training.learning_rate:g}, {training.warmup_steps:,} steps of warm-up, then a cosine to 0",
        ),
        ("Gradient clipping", f"at a norm of {training.grad_clip:g}"),
        ("Horizontal flips", "yes" if config.data.horizontal_flip else "no"),
        ("Held out for validation", f"{config.data.val_fraction:.0%} of the training images"),
        ("Precision", _precision(subject)),
    ]
    if config.model.num_classes:
        rows.append(("Labels dropped for guidance", f"{training.label_dropout:.0%}"))
    yield from table(("Setting", "Value"), [*rows, *_course(subject)])


def _precision(subject: Subject) -> str:
    made_on = subject.checkpoint.get("made_on")
    asked = subject.model.config.training.precision
    if not isinstance(made_on, dict) or not made_on:
        return asked
    was, device, torch_was = (as_markdown(str(made_on.get(name))) for name in ("precision", "device", "torch"))
    return f"{was} (asked for: {asked}) on {device}, torch {torch_was}"


def _course(subject: Subject) -> Iterator[tuple[str, str]]:
    """How the training went, where its records are kept."""
    if isinstance(subject.history, DDPMError) or not subject.history.training:
        return
    last = subject.history.training[-1]
    speed = float(np.median(subject.history.column("images_per_second")))
    status = read_status(subject.run) if subject.run else None
    if status:
        yield "State", status.state
    yield "Steps taken", f"{last['step']:,} of {last['total_steps']:,}"
    yield "Time in training steps", span(last["elapsed"])
    yield "Speed", f"{speed:,.0f} images/s (median of the records)"
    if status and status.inexact:
        yield "Resumed", "not exactly: " + as_markdown("; ".join(status.inexact))


def _files(subject: Subject) -> Iterator[str]:
    root = subject.run.path if subject.run else subject.weights.parent
    yield "## Files generated"
    yield ""
    yield f"In {as_code(_shown(root))}:"
    yield ""
    about = {
        "ckpts/best.pt": "averaged weights with the lowest validation loss",
        "ckpts/latest.pt": "everything that training needs to go on",
        "ckpts/ema.pt": "averaged (EMA) weights, used for sampling",
        "config.yaml": "the config that ran",
        "logs/training_metrics.jsonl": "training history",
        "logs/train.log": "what the training printed",
        "logs/evaluation_results.json": "evaluation",
        "evaluation_results.json": "evaluation",
        "model.safetensors": "averaged (EMA) weights",
        "README.md": "model card",
        "status.json": "state of the run",
    }
    kinds = {"grids": "sample grids", "animations": "reverse diffusion processes", "curves": "plots"}
    files = [path for path in sorted(root.rglob("*"))
             if path.is_file() and subject.folder not in path.parents and not path.name.startswith(".")]  # fmt: skip
    rows = []
    for kind, what in kinds.items():
        inside = [path for path in files if path.relative_to(root).parts[0] == kind]
        if inside:
            size = size_text(sum(path.stat().st_size for path in inside))
            rows.append((f"`{kind}/`", f"{what}, {len(inside)} {'files' if len(inside) > 1 else 'file'}", size))
    for path in files:
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] not in kinds:
            rows.append((as_code(name), about.get(name, ""), size_text(path.stat().st_size)))
    yield from table(("File", "What it is", "Size"), rows)


def _usage(subject: Subject) -> Iterator[str]:
    yield "## Usage examples"
    yield ""
    model = shlex.quote(subject.reference)
    lines = {
        "More samples": f"sample grid --model {model} --num-samples 100",
        "Another animation": f"sample traj --model {model} --sampler ddim --num-steps 20",
        "Evaluate every sampler": f"eval --model {model} --all-methods",
    }
    if subject.run:
        lines["Training curves"] = f"viz curves --log-dir {shlex.quote(_shown(subject.run.metrics.parent))}"
    yield from fenced("bash", "\n\n".join(f"# {what}\npython -m ddpm {line}" for what, line in lines.items()))


def _shown(path: Path) -> str:
    """A path as one would type it: relative where it lies below the working folder."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)


def _references(subject: Subject) -> Iterator[str]:
    config = subject.model.config
    stages = {} if isinstance(subject.results, DDPMError) else sample_stages(subject.results)
    calibration = {} if isinstance(subject.results, DDPMError) else subject.results.get("calibration", {})
    wanted = {
        "ddpm": True,
        "ddim": config.sampling.sampler == "ddim" or any(name.startswith("ddim") for name in stages),
        "v": config.diffusion.prediction_type == "v",
        "guidance": config.model.num_classes > 0,
        "min_snr": config.diffusion.weighting == "min_snr",
        "zero_terminal_snr": config.schedule.zero_terminal_snr,
        "film": True,
        "ssim": isinstance(calibration.get("ssim"), list),
        **{key: any(isinstance(stage.get(key), float) for stage in stages.values())
           for key in ("frechet_distance", "kid", "precision", "lpips_diversity")},
    }  # fmt: skip
    yield "## References"
    yield ""
    for key, used in wanted.items():
        if used:
            yield f"- {REFERENCES[key]}"
    yield ""
    yield f"*Written by {listed([f'{name} {version}' for name, version in versions().items()])}.*"


SECTIONS = (
    _overview,
    _training_curves,
    _noise_schedule,
    _generated_samples,
    _reverse_process,
    evaluation,
    model_details,
    training_details,
    _files,
    _usage,
    _references,
)
