"""``viz``, ``models`` and ``export``."""

from __future__ import annotations

from pathlib import Path

import click
from torch import Tensor

from ..config.edit import load_config
from ..config.sections import SamplingConfig
from ..config.variants import parse_schedules
from ..errors import DDPMError, ModelError, one_line
from ..files import RunFolder, output_dir, write_bytes
from ..models import Model, load_model
from ..names import listed
from ..quantities import size_text
from ..schedule import SCHEDULES
from ..spacing import SPACINGS
from ..storage.places import hub_models, resolve, shipped_models, trained_runs
from .options import UserPath, check_suffix, model_option


@click.group("viz")
def viz_group() -> None:
    """Draw figures."""


@viz_group.command("schedules")
@click.option(
    "--schedules",
    help="Names, separated by commas, each with any fields that are not at its defaults: linear,cosine:cosine_s=0.02  "
    "[default: all; none with --config]",
)
@click.option("--config", type=UserPath(), help="Draw the schedule of this YAML, and its sampler's steps.")
@click.option(
    "--num-timesteps",
    type=int,
    help="T, for --schedules without a :num_timesteps= of their own.  [default: the config's, or 1000]",
)
@click.option("--over", type=click.Choice(["t", "share", "log_snr"]), default="t", help="The x axis; share is t / T.")
@click.option(
    "--num-steps",
    "--steps",
    type=int,
    help="Steps of the sampler whose timesteps are marked.  [default: the config's, or 10]",
)
@click.option(
    "--spacing", type=click.Choice(SPACINGS), help="Which timesteps it visits.  [default: the config's, or trailing]"
)
@click.option("--image", type=UserPath(), help="The image to noise.  [default: a photograph]")
@click.option("--seed", type=int, default=0, help="Seed of the noise, which all schedules share.")
@click.option(
    "--out",
    type=UserPath(),
    help="The .png, .svg or .pdf to write.  [default: curves/schedules.png in the output folder]",
)
def viz_schedules(
    schedules: str | None, config: Path | None, num_timesteps: int | None, over: str, num_steps: int | None,
    spacing: str | None, image: Path | None, seed: int, out: Path | None,
) -> None:  # fmt: skip
    """Draw the noise schedules, as the Schedules page does: their curves in OUT, and beside it the timesteps that a
    sampler visits (OUT_steps) and an image under their noise (OUT_noised)."""
    from ..media.drawers import save_chart
    from ..media.schedule_figures import lines, noise_like, save_noised, schedules_chart, steps_chart

    out = out or output_dir() / "curves" / "schedules.png"
    check_suffix("--out", out, ".png", ".svg", ".pdf")
    own = load_config(config) if config else None
    if own and num_timesteps is not None and schedules is None:
        raise click.UsageError("--num-timesteps is for --schedules; that of the config is schedule.num_timesteps there")
    compared = [own.schedule] if own else []
    if schedules is not None or not own:
        total = num_timesteps if num_timesteps is not None else own.schedule.num_timesteps if own else 1000
        compared += parse_schedules(schedules or ",".join(SCHEDULES), num_timesteps=total)
    drawn, sampling = lines(compared), own.sampling if own else SamplingConfig(num_steps=10)
    num_steps, spacing = sampling.num_steps if num_steps is None else num_steps, spacing or sampling.spacing
    x0 = _clean_image(image)
    steps, under_noise = (out.with_stem(f"{out.stem}_{what}") for what in ("steps", "noised"))
    save_chart(steps_chart(drawn, num_steps, spacing, over), steps)
    save_noised(drawn, x0, noise_like(x0, seed), [i / 8 for i in range(9)], under_noise)
    save_chart(schedules_chart(drawn, over), out, inches=(4.2, 3.4))
    for path in (out, steps, under_noise):
        click.echo(path)


def _clean_image(path: Path | None) -> Tensor:
    """The image in a file, or the photograph that the Schedules page shows first: (1, 3, 64, 64) in [-1, 1]."""
    from ..data import photographs, to_float
    from ..image_folder.decode import read_image

    return to_float(read_image(path, 64, 3)[None]) if path else photographs(64)[:1].scaled()


@viz_group.command("curves")
@click.option("--run", help="The run's name.")
@click.option("--log-dir", type=UserPath(), help="Instead of --run: the logs folder of a run.")
@click.option("--out", type=UserPath(), help="The folder to write into.  [default: curves in the run's folder]")
def viz_curves(run: str | None, log_dir: Path | None, out: Path | None) -> None:
    """Draw the training curves of a run."""
    from ..media.figures import save_curves
    from ..training.history import read_history

    if (run is None) == (log_dir is None):
        raise click.UsageError("name a run: either --run NAME or --log-dir FOLDER")
    log_dir = log_dir or RunFolder.named(run).metrics.parent
    for path in save_curves(read_history(log_dir / "training_metrics.jsonl"), out or log_dir.parent / "curves"):
        click.echo(path)


@viz_group.command("dataset")
@click.option("--config", "path", type=UserPath(), required=True, help="A YAML such as configs/mnist.yaml.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test")
@click.option("--num-samples", type=click.IntRange(1), default=100, help="How many images, the classes in turn.")
@click.option("--out", type=UserPath(), required=True, help="The PNG to write.")
def viz_dataset(path: Path, split: str, num_samples: int, out: Path) -> None:
    """Draw the first images of a dataset, laid out as `sample grid` does."""
    from ..data import class_by_class, load_dataset
    from ..media.images import enlarge, make_grid, png_bytes

    images = class_by_class(load_dataset(load_config(path).data, split), num_samples)
    write_bytes(out, png_bytes(enlarge(make_grid(images.images))))
    click.echo(out)


@click.command("export")
@model_option(required=True)
@click.option("--to", "kind", type=click.Choice(["ddpm", "diffusers", "onnx"]), default="ddpm", help="This library, "
              "diffusers, or ONNX for the network alone.")  # fmt: skip
@click.option("--out", type=UserPath(), required=True, help="The folder to write into; of ONNX the file.")
@click.option("--weights", type=click.Choice(["fp16", "fp32"]), default="fp32", help="How ONNX stores them.")
def export_command(reference: str, kind: str, out: Path, weights: str) -> None:
    """Write a model's averaged weights as model.safetensors with its config.yaml, or for other programs."""
    if weights != "fp32" and kind != "onnx":
        raise click.UsageError("--weights goes with --to onnx")
    model = load_model(reference)
    if kind == "diffusers":
        _export_pipeline(model, out)
    elif kind == "onnx":
        _export_onnx(model, out, weights)
    else:
        click.echo(model.save(out))
        click.echo(f"sample it: python -m ddpm sample grid --model {out}", err=True)


def _export_pipeline(model: Model, out: Path) -> None:
    from ..deploy.to_diffusers import write_pipeline

    reasons = write_pipeline(model, out)
    click.echo(out)
    if reasons:
        click.echo(
            f"with a pipeline of its own, for {', '.join(reasons)}: load it with trust_remote_code=True", err=True
        )
    click.echo(f"how to load it: {out / 'README.md'}", err=True)


def _export_onnx(model: Model, out: Path, weights: str) -> None:
    from ..deploy.onnx_file import OPSET, TOLERANCE, largest_difference, onnx_bytes

    content = onnx_bytes(model, weights)
    try:
        off = largest_difference(model, content)
    except ImportError:
        compared = "not compared: pip install onnxruntime"
    else:
        if off > TOLERANCE[weights]:
            raise ModelError(
                f"onnxruntime differs from PyTorch by {off:.1e}, more than {TOLERANCE[weights]:g}: not written"
            )
        compared = f"onnxruntime differs from PyTorch by {off:.1e} at most ({TOLERANCE[weights]:g} is allowed)"
    write_bytes(out, content)
    click.echo(out)
    click.echo(f"opset {OPSET}, {size_text(len(content))}, {compared}", err=True)


@click.command("models")
def models_command() -> None:
    """List the models that can be sampled, and their classes."""
    for name in shipped_models():
        click.echo(f"{name}  (shipped)  {_what_it_draws(name)}")
    for reference in (*(f"run:{name}" for name in trained_runs()), *hub_models()):
        click.echo(f"{reference}  {_what_it_draws(reference)}")


def _what_it_draws(reference: str) -> str:
    try:
        config = resolve(reference).config()
    except DDPMError as error:
        return f"cannot be read: {one_line(error)}"
    names = config.class_names if config else ()
    return f"{len(names)} classes: {listed(names)}" if names else "no classes"
